//! `pqscope-slo replay`: when objectives would have alerted on recorded data, for how long, and what each condition would
//! have cost.
//!
//! | data | what it begins with |
//! |---|---|
//! | OTLP metrics as JSON, one request per line, as the file exporter of the OpenTelemetry Collector writes them | anything else |
//! | the answer of a Prometheus to a range query, `/api/v1/query_range`, over counters or gauges | `{"status"` or `{"data"` |
//! | an export or backup of the engine's state | `{"pqscope_state_export"` |
//!
//! Each may be packed with gzip. Time passes as the data say: a request arrives at the latest time of its points, a bucket
//! of an export at its end.

mod export;
mod otlp;
mod prometheus;

use super::table::{self, span};
use crate::{arguments, catalog};
use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use pqscope_slo_core::intake::{Level, Measured, Point};
use pqscope_slo_core::objective::Severity;
use pqscope_slo_core::openslo::Catalog;
use pqscope_slo_core::replay::{Outcome, Replay};
use pqscope_slo_core::series::{Series, SourceId};
use pqscope_slo_core::time::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Runs objectives over recorded data and prints what would have happened.
pub(crate) fn replay(options: &arguments::Replay) -> anyhow::Result<()> {
    let services = options.services.as_deref().map(catalog::load_services).transpose()?;
    let catalog = catalog::load(&options.slo, services.as_ref())?;
    let mut err = std::io::stderr().lock();
    for warning in &catalog.warnings {
        writeln!(err, "{warning}")?;
    }
    let mut samples = read_all(&options.from, &catalog)?;
    samples.sort_by_key(|arrived| arrived.at);
    let (Some(first), Some(last)) = (samples.first().map(|one| one.at), samples.last().map(|one| one.at))
    else {
        bail!("the data holds no point of a metric that an objective asks about");
    };
    let begin = samples.iter().filter_map(|one| one.what.start()).min().unwrap_or(first).min(first);
    let mut replay = Replay::new(
        catalog.objectives,
        begin.max(first.before(Duration::from_secs(3_600))),
        options.evaluation_interval,
    );
    let bar = progress(&samples);
    let mut refused: BTreeMap<&'static str, u64> = BTreeMap::new();
    for Arrived { at, what } in &samples {
        replay.pass(*at);
        bar.inc(1);
        let taken = match what {
            Recorded::Point(source, series, point) => replay.accept(*source, series, point, *at).map(drop),
            Recorded::Level(source, series, level) => {
                replay.accept_level(*source, series, *level, *at).map(drop)
            }
            Recorded::Counted(series, time, amount) => replay.contribute(series, *time, amount.clone()),
        };
        if let Err(why) = taken {
            *refused.entry(why.word()).or_insert(0) += 1;
        }
    }
    replay.pass(last.after(options.evaluation_interval));
    bar.finish_and_clear();
    for (word, count) in &refused {
        writeln!(err, "pqscope-slo: {count} points were refused: {word}")?;
    }
    let outcomes = replay.finish();
    let text = if options.json { as_json(&outcomes, first, last)? } else { as_text(&outcomes, first, last) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

/// Something that was recorded, with the time at which it arrived.
pub(super) struct Arrived {
    pub(super) at: Timestamp,
    pub(super) what: Recorded,
}

/// What was recorded.
pub(super) enum Recorded {
    /// A point of a stream.
    Point(SourceId, Arc<Series>, Point),
    /// A reading of a gauge.
    Level(SourceId, Arc<Series>, Level),
    /// What an engine had counted already, at the time it happened.
    Counted(Arc<Series>, Timestamp, Measured),
}

impl Recorded {
    const fn start(&self) -> Option<Timestamp> {
        match self {
            Self::Point(_, _, point) => point.start,
            Self::Level(..) | Self::Counted(..) => None,
        }
    }
}

fn progress(samples: &[Arrived]) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} points, {eta} left");
    ProgressBar::new(samples.len() as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn read_all(paths: &[PathBuf], catalog: &Catalog) -> anyhow::Result<Vec<Arrived>> {
    let mut all = Vec::new();
    for path in paths {
        read(path, catalog, &mut all).with_context(|| format!("cannot replay {}", path.display()))?;
    }
    Ok(all)
}

/// What a file is, is seen by how it begins.
fn read(path: &Path, catalog: &Catalog, all: &mut Vec<Arrived>) -> anyhow::Result<()> {
    let mut begin = Vec::new();
    open(path)?.take(BEGIN_BYTES).read_to_end(&mut begin)?;
    let begin = String::from_utf8_lossy(&begin);
    if begin.starts_with("{\"pqscope_state_export\"") {
        export::read(path, catalog, all)
    } else if ["{\"status\"", "{\"data\""].iter().any(|key| begin.trim_start().starts_with(key)) {
        prometheus::read(open(path)?, catalog, all)
    } else {
        otlp::read(open(path)?, catalog, all)
    }
}

/// So much of a file tells what it is.
const BEGIN_BYTES: u64 = 200;

/// Plain, or unpacked where its first bytes are those of gzip (RFC 1952, section 2.3.1).
fn open(path: &Path) -> anyhow::Result<BufReader<Box<dyn Read>>> {
    let mut file = BufReader::new(File::open(path)?);
    let packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    Ok(BufReader::new(if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) }))
}

fn as_text(outcomes: &[Outcome], first: Timestamp, last: Timestamp) -> String {
    let mut text = format!("From {first} to {last}, {}.\n", span(last.since(first)));
    for outcome in outcomes {
        let objective = &outcome.objective;
        text.push_str(&format!(
            "\n{} ({} over {})\n",
            objective.name,
            objective.goal.words(),
            objective.window_text()
        ));
        match &outcome.evaluation {
            Some(end) => {
                let left = end.budget.remaining;
                let tally = end.budget.tally;
                text.push_str(&format!(
                    "  at the end: {} of the budget left, {} bad of {} events\n",
                    table::percent(left),
                    table::count(Some(tally.bad)),
                    table::count(Some(tally.total))
                ));
            }
            None => text.push_str("  no evaluation: the data is shorter than the interval\n"),
        }
        if outcome.incidents.is_empty() {
            text.push_str("  would not have alerted\n");
        }
        for incident in &outcome.incidents {
            let lasted = incident.resolved.map_or_else(
                || format!("still open at the end, after {}", span(last.since(incident.opened))),
                |resolved| format!("over after {}", span(resolved.since(incident.opened))),
            );
            text.push_str(&format!(
                "  {} at {}, {lasted}, notifications: {}\n",
                match incident.worst {
                    Severity::Page => "paged",
                    Severity::Ticket => "opened a ticket",
                },
                incident.opened,
                incident.notifications
            ));
        }
        text.push_str(&conditions(outcome));
    }
    text
}

/// What each condition would have done by itself.
fn conditions(outcome: &Outcome) -> String {
    let mut table = table::table(&["  CONDITION", "FIRED", "IN ALL", "FIRST"]);
    table::numbers(&mut table, &[1, 2]);
    for (name, cost) in &outcome.conditions {
        table.add_row([
            format!("  {name}"),
            cost.times.to_string(),
            span(cost.firing),
            cost.first.map_or_else(|| "-".to_owned(), |first| first.to_string()),
        ]);
    }
    if outcome.conditions.is_empty() { String::new() } else { table::lines(&table) }
}

fn as_json(outcomes: &[Outcome], first: Timestamp, last: Timestamp) -> anyhow::Result<String> {
    let list: Vec<serde_json::Value> = outcomes
        .iter()
        .map(|outcome| {
            let incidents: Vec<serde_json::Value> = outcome
                .incidents
                .iter()
                .map(|incident| {
                    json!({
                        "opened_at": incident.opened.to_string(),
                        "resolved_at": incident.resolved.map(|time| time.to_string()),
                        "severity": incident.worst,
                        "notifications": incident.notifications,
                    })
                })
                .collect();
            json!({
                "slo": outcome.objective.name,
                "incidents": incidents,
                "conditions": outcome.conditions,
                "budget": outcome.evaluation.as_ref().map(|end| end.budget),
            })
        })
        .collect();
    let whole = json!({"from": first.to_string(), "to": last.to_string(), "slos": list});
    Ok(format!("{}\n", serde_json::to_string_pretty(&whole)?))
}
