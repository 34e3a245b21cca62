//! The answer of a Prometheus to a range query: a matrix of counters or gauges, whose names and labels are those that the
//! objectives' metrics and attributes have there.

use super::{Arrived, Recorded};
use anyhow::{Context as _, bail};
use pqscope_slo_core::intake::{Level, Measured, Point, Temporality};
use pqscope_slo_core::objective::{Goal, Indicator};
use pqscope_slo_core::openslo::Catalog;
use pqscope_slo_core::promql::{compile, name::metric_of};
use pqscope_slo_core::series::{Attributes, Series, SourceId};
use pqscope_slo_core::time::Timestamp;
use pqscope_telemetry::exposition::label_name;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

/// Largest answer that is read.
const LARGEST: u64 = 1 << 30;

#[derive(Deserialize)]
struct Answer {
    status: String,
    data: Option<Data>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    #[serde(default)]
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

/// A metric that objectives ask about.
struct Asked {
    metric: String,
    is_level: bool,
}

pub(super) fn read(reader: impl Read, catalog: &Catalog, all: &mut Vec<Arrived>) -> anyhow::Result<()> {
    let answer: Answer =
        serde_json::from_reader(reader.take(LARGEST)).context("it is no answer of a Prometheus")?;
    let data = match (answer.status.as_str(), answer.data) {
        ("success", Some(data)) if data.result_type == "matrix" => data,
        ("success", Some(data)) => {
            bail!("it holds a {}, not a matrix: ask /api/v1/query_range", data.result_type)
        }
        _ => bail!("the query had failed: {}", answer.error.unwrap_or_default()),
    };
    let asked = asked(catalog);
    let keys = keys(catalog);
    let mut strange = 0;
    for row in data.result {
        let Some(found) = row.metric.get("__name__").and_then(|name| asked.get(name)) else {
            strange += 1;
            continue;
        };
        let (series, source) = identify(&found.metric, &row.metric, &keys);
        for (seconds, text) in row.values {
            let value: f64 = text.parse().with_context(|| format!("{text:?} is no number"))?;
            let at = moment(seconds)?;
            let what = if found.is_level {
                let Ok(level) = Level::new(at, value) else { continue };
                Recorded::Level(source, Arc::clone(&series), level)
            } else {
                let Ok(value) = Measured::from_double(value) else { continue };
                let point =
                    Point { temporality: Temporality::Cumulative, start: None, time: at, value: Some(value) };
                Recorded::Point(source, Arc::clone(&series), point)
            };
            all.push(Arrived { at, what });
        }
    }
    if all.is_empty() && strange > 0 {
        let names: Vec<&str> = asked.keys().map(String::as_str).collect();
        bail!("none of its series is asked about; the objectives ask about {}", names.join(", "));
    }
    Ok(())
}

/// By their names in Prometheus.
fn asked(catalog: &Catalog) -> BTreeMap<String, Asked> {
    let mut asked = BTreeMap::new();
    for objective in &catalog.objectives {
        let Some(indicator) = objective.sli.embedded() else { continue };
        let is_level = matches!(indicator, Indicator::Level { .. } | Indicator::Ratio { .. })
            || matches!(objective.goal, Goal::Growth { .. });
        let compiled = compile(indicator);
        for (selector, query) in indicator.queries().into_iter().zip(compiled.queries()) {
            let entry = Asked { metric: selector.metric.clone(), is_level };
            asked.insert(metric_of(&query.0).to_owned(), entry);
        }
    }
    asked
}

/// Attributes by the labels that they become.
fn keys(catalog: &Catalog) -> BTreeMap<String, String> {
    catalog.attributes().map(|key| (label_name(key), key.to_owned())).collect()
}

/// Labels that stand for no attribute that is asked about tell senders apart.
fn identify(
    metric: &str,
    labels: &BTreeMap<String, String>,
    keys: &BTreeMap<String, String>,
) -> (Arc<Series>, SourceId) {
    let (mut attributes, mut rest) = (Attributes::new(), Attributes::new());
    for (label, value) in labels.iter().filter(|(label, _)| *label != "__name__") {
        match keys.get(label) {
            Some(key) => attributes.insert(key.clone(), value.clone()),
            None => rest.insert(label.clone(), value.clone()),
        };
    }
    let source = SourceId::new(&rest, "prometheus", metric);
    (Arc::new(Series { metric: metric.to_owned(), attributes }), source)
}

fn moment(seconds: f64) -> anyhow::Result<Timestamp> {
    let span = std::time::Duration::try_from_secs_f64(seconds).context("a sample has no time")?;
    Ok(Timestamp::EPOCH.after(span))
}
