//! The command `rules`: objective files in, a rule file out. What cannot be compiled is told by line.

use crate::arguments::{HistogramKind, Rules};
use crate::catalog;
use anyhow::Context as _;
use pqscope_slo_core::openslo::SourceFile;
use pqscope_slo_core::promql::Histograms;
use pqscope_slo_core::rules::{Options, compile, yaml};
use pqscope_slo_core::time::span_text;
use std::io::Write as _;
use std::time::Duration;

/// Two evaluations must lie within what Prometheus looks back for a sample, five minutes, with room for one left out.
const LONGEST_INTERVAL: Duration = Duration::from_secs(120);
const LONGEST_DELAY: Duration = Duration::from_secs(300);

/// Compiles and writes.
pub(crate) fn write(options: &Rules) -> anyhow::Result<()> {
    let making = checked(options)?;
    let files = catalog::read_all(&options.files)?;
    let services = options.services.as_deref().map(catalog::load_services).transpose()?;
    let catalog = catalog::parse(&files, services.as_ref())?;
    let sources: Vec<SourceFile<'_>> = files.iter().map(|(name, text)| SourceFile { name, text }).collect();
    let compiled = compile(&catalog.objectives, &sources, making);
    let mut told = std::io::stderr().lock();
    for finding in catalog.warnings.iter().chain(&compiled.findings) {
        writeln!(told, "{finding}")?;
    }
    if compiled.has_errors() {
        anyhow::bail!("nothing was written; leave out the files that have no rules, or change them");
    }
    let text = yaml::write(&compiled.groups, &header(making));
    match &options.output {
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => Ok(std::io::stdout().lock().write_all(text.as_bytes())?),
    }
}

fn checked(options: &Rules) -> anyhow::Result<Options> {
    let whole = |span: Duration| span.subsec_nanos() == 0;
    if !whole(options.interval) || options.interval > LONGEST_INTERVAL {
        anyhow::bail!("--interval is whole seconds from 1s to 2m, such as 10s");
    }
    if !whole(options.delay) || options.delay > LONGEST_DELAY {
        anyhow::bail!("--delay is whole seconds up to 5m, such as 30s");
    }
    let histograms = match options.histograms {
        HistogramKind::Native => Histograms::Native,
        HistogramKind::Classic => Histograms::Classic,
    };
    Ok(Options { interval: options.interval, delay: options.delay, histograms })
}

fn header(options: Options) -> String {
    let delay = if options.delay.is_zero() { "0s".to_owned() } else { span_text(options.delay) };
    format!(
        "Made by `pqscope-slo rules`, evaluated every {}, {delay} late. Do not edit: change the objectives and make it anew.\n\
         \n\
         What is counted is added to running totals, and the events of a window are the difference of two of their samples.\n\
         An alert has two parts: its condition, and its own ALERTS series unless the condition is clear, so that an alert\n\
         that fires is held while there is no data. Exclusions that were entered in an engine are unknown here.",
        span_text(options.interval)
    )
}
