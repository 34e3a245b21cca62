//! `pqscope-slo replay`: when objectives would have alerted on recorded data, for how long, and what each condition would
//! have cost.
//!
//! Data are OTLP metrics as JSON, one request per line, as the file exporter of the OpenTelemetry Collector writes them;
//! files that end in `.gz` are unpacked. Time passes as the points say: a request arrives at the latest time of its
//! points.

use super::table::{self, span};
use crate::catalog;
use crate::ingest::{Interest, Reading, Sample, convert};
use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use pqscope_slo_core::objective::Severity;
use pqscope_slo_core::replay::{Outcome, Replay};
use pqscope_slo_core::time::Timestamp;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest line that is read.
const LONGEST_LINE: u64 = 64 << 20;

/// What to replay.
pub(crate) struct Request<'a> {
    /// Objective files; the shipped ones when empty.
    pub(crate) slo: &'a [PathBuf],
    /// Services file.
    pub(crate) services: Option<&'a Path>,
    /// Recorded data.
    pub(crate) from: &'a [PathBuf],
    /// How often to evaluate.
    pub(crate) interval: Duration,
    /// Whether to print JSON.
    pub(crate) json: bool,
}

/// Runs objectives over recorded data and prints what would have happened.
pub(crate) fn replay(request: &Request<'_>) -> anyhow::Result<()> {
    let services = request.services.map(catalog::load_services).transpose()?;
    let catalog = catalog::load(request.slo, services.as_ref())?;
    let mut err = std::io::stderr().lock();
    for warning in &catalog.warnings {
        writeln!(err, "{warning}")?;
    }
    let selectors = catalog.objectives.iter().flat_map(|objective| objective.sli.selectors());
    let interest = Interest::new(selectors.map(|selector| selector.metric.clone()));
    let mut samples = read_all(request.from, &interest)?;
    samples.sort_by_key(|arrived| arrived.at);
    let (Some(first), Some(last)) = (samples.first().map(|one| one.at), samples.last().map(|one| one.at))
    else {
        bail!("the data holds no point of a metric that an objective asks about");
    };
    let begin = samples.iter().filter_map(|one| start_of(&one.sample)).min().unwrap_or(first).min(first);
    let mut replay = Replay::new(
        catalog.objectives,
        begin.max(first.before(Duration::from_secs(3_600))),
        request.interval,
    );
    let bar = progress(&samples);
    let mut refused: BTreeMap<&'static str, u64> = BTreeMap::new();
    for Arrived { at, sample } in &samples {
        replay.pass(*at);
        bar.inc(1);
        let series = &*sample.series;
        let taken = match &sample.reading {
            Reading::Point(point) => replay.accept(sample.source, series, point, *at),
            Reading::Level(level) => replay.accept_level(sample.source, series, *level, *at),
        };
        if let Err(why) = taken {
            *refused.entry(why.word()).or_insert(0) += 1;
        }
    }
    replay.pass(last.after(request.interval));
    bar.finish_and_clear();
    for (word, count) in &refused {
        writeln!(err, "pqscope-slo: {count} points were refused: {word}")?;
    }
    let outcomes = replay.finish();
    let text = if request.json { as_json(&outcomes, first, last)? } else { as_text(&outcomes, first, last) };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

const fn start_of(sample: &Sample) -> Option<Timestamp> {
    match &sample.reading {
        Reading::Point(point) => point.start,
        Reading::Level(_) => None,
    }
}

const fn time_of(sample: &Sample) -> Timestamp {
    match &sample.reading {
        Reading::Point(point) => point.time,
        Reading::Level(level) => level.at,
    }
}

struct Arrived {
    at: Timestamp,
    sample: Sample,
}

fn progress(samples: &[Arrived]) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} points, {eta} left");
    ProgressBar::new(samples.len() as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn read_all(paths: &[PathBuf], interest: &Interest) -> anyhow::Result<Vec<Arrived>> {
    let mut samples = Vec::new();
    for path in paths {
        read(path, interest, &mut samples).with_context(|| format!("cannot replay {}", path.display()))?;
    }
    Ok(samples)
}

fn read(path: &Path, interest: &Interest, samples: &mut Vec<Arrived>) -> anyhow::Result<()> {
    let file = File::open(path)?;
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let reader: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let length = Read::by_ref(&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        if length as u64 == LONGEST_LINE {
            bail!("line {number} is longer than {LONGEST_LINE} bytes");
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let request: ExportMetricsServiceRequest = serde_json::from_slice(&line)
            .with_context(|| format!("line {number} is no OTLP metrics request in JSON"))?;
        let export = convert(&request, interest);
        let at = export.samples.iter().map(time_of).max();
        let arrived = |sample| at.map(|at| Arrived { at, sample });
        samples.extend(export.samples.into_iter().filter_map(arrived));
    }
    Ok(())
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
                "  {} at {}, {lasted}, {} notifications\n",
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
