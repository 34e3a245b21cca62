//! From OTLP messages to samples: identity, time and value of every point that somebody asks about.
//!
//! Telling which series a point belongs to costs more than counting it: its attributes are put in order and hashed. The
//! same attributes come with every export, so what they were found to be is [remembered](Known) by their bytes.

use super::known::{Identified, Identities, Known};
use super::{Export, Reading, Refusals, Sample};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, ExponentialHistogramDataPoint, HistogramDataPoint, Metric,
    NumberDataPoint, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use pqscope_slo_core::distribution::{Distribution, Explicit, Exponential};
use pqscope_slo_core::intake::{Level, Measured, Point, Rejected, Temporality};
use pqscope_slo_core::openslo::Catalog;
use pqscope_slo_core::series::{Attributes, Series, SourceId};
use pqscope_slo_core::time::Timestamp;
use pqscope_telemetry::attribute;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Every metric under this prefix is counted, so that a new objective has history.
const OWN_PREFIX: &str = "pqscope.";
/// Own metrics that describe agents and engines rather than handshakes: counted only when an objective asks.
const HOUSEKEEPING_PREFIXES: [&str; 3] = ["pqscope.agent.", "pqscope.slo.", "pqscope.engine."];
/// Attributes of a resource that its points carry.
const LIFTED: [&str; 2] = [attribute::DEPLOYMENT, attribute::STAGE];
/// Most attributes of a point.
const MOST_ATTRIBUTES: usize = 64;
/// Most bytes of an attribute's key or value.
const LONGEST_TEXT_BYTES: usize = 1024;

/// Which metrics are counted.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    asked: BTreeSet<String>,
    known: Known,
}

impl Interest {
    /// The metrics of pqscope, and those that objectives ask about.
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let selectors = catalog.objectives.iter().flat_map(|objective| objective.sli.selectors());
        Self { asked: selectors.map(|selector| selector.metric.clone()).collect(), known: Known::default() }
    }

    fn asks(&self, metric: &str) -> bool {
        self.asked.contains(metric)
    }

    pub(super) const fn known(&self) -> &Known {
        &self.known
    }

    pub(super) fn counts(&self, metric: &str) -> bool {
        let housekeeping = HOUSEKEEPING_PREFIXES.iter().any(|prefix| metric.starts_with(prefix));
        self.asks(metric) || (metric.starts_with(OWN_PREFIX) && !housekeeping)
    }
}

/// Converts a request. Points of other metrics are ignored; falling sums and summaries are refused where an
/// objective asks about them, for they cannot be counted.
pub(crate) fn convert(request: &ExportMetricsServiceRequest, interest: &Interest) -> Export {
    let mut export = Export::default();
    let mut identities = interest.known.begin();
    for resource in &request.resource_metrics {
        let sender = Sender::new(resource.resource.as_ref());
        identities.lift(sender.lifted());
        for scope in &resource.scope_metrics {
            let scope_name = scope.scope.as_ref().map_or("", |scope| scope.name.as_str());
            for metric in &scope.metrics {
                convert_metric(metric, &sender, scope_name, interest, &mut identities, &mut export);
            }
        }
    }
    drop(identities);
    export
}

/// The process behind a resource.
pub(super) struct Sender {
    attributes: Attributes,
}

impl Sender {
    pub(super) fn new(resource: Option<&Resource>) -> Self {
        let own = resource.map_or(&[][..], |resource| &resource.attributes);
        Self { attributes: own.iter().map(text_pair).collect() }
    }

    /// What its points carry of it: which part of a rollout it watches is said once, for the whole process.
    pub(super) fn lifted(&self) -> Arc<[(String, String)]> {
        let told = |key: &&str| Some(((*key).to_owned(), self.attributes.get(*key)?.clone()));
        LIFTED.iter().filter_map(told).filter(|(_, value)| value.len() <= LONGEST_TEXT_BYTES).collect()
    }

    /// The sender of one of its metrics.
    pub(super) fn source(&self, scope: &str, metric: &str) -> SourceId {
        SourceId::new(&self.attributes, scope, metric)
    }
}

pub(super) fn convert_metric(
    metric: &Metric,
    sender: &Sender,
    scope: &str,
    interest: &Interest,
    identities: &mut Identities<'_>,
    export: &mut Export,
) {
    let name = metric.name.as_str();
    let Some(data) = &metric.data else { return };
    if !interest.counts(name) {
        export.ignored += points_of(data);
        return;
    }
    let source = sender.source(scope, name);
    let asked = interest.asks(name);
    match data {
        Data::Sum(sum) if sum.is_monotonic => {
            let temporality = temporality(sum.aggregation_temporality);
            for point in &sum.data_points {
                take(export, identities, source, name, &point.attributes, number_point(point, temporality));
            }
        }
        Data::Histogram(histogram) => {
            let temporality = temporality(histogram.aggregation_temporality);
            for point in &histogram.data_points {
                take(export, identities, source, name, &point.attributes, explicit_point(point, temporality));
            }
        }
        Data::ExponentialHistogram(histogram) => {
            let temporality = temporality(histogram.aggregation_temporality);
            for point in &histogram.data_points {
                take(
                    export,
                    identities,
                    source,
                    name,
                    &point.attributes,
                    exponential_point(point, temporality),
                );
            }
        }
        Data::Gauge(gauge) => {
            for point in &gauge.data_points {
                take(export, identities, source, name, &point.attributes, level_point(point));
            }
        }
        Data::Sum(_) if asked => refuse(export, points_of(data), name, &Fault::from(Rejected::NotMonotonic)),
        Data::Summary(_) if asked => refuse(export, points_of(data), name, &Fault::Kind),
        Data::Sum(_) | Data::Summary(_) => export.ignored += points_of(data),
    }
}

/// Why a point cannot be made a sample.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("summaries cannot be counted, send a counter or a histogram")]
    Kind,
    #[error("the point has neither asInt nor asDouble that could be read")]
    NoValue,
    #[error("a point has at most {MOST_ATTRIBUTES} attributes of at most {LONGEST_TEXT_BYTES} bytes")]
    Attributes,
    #[error("{0}")]
    Core(#[from] Rejected),
}

impl Fault {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::NoValue => "unreadable",
            Self::Attributes => "attributes",
            Self::Core(rejected) => rejected.word(),
        }
    }
}

fn refuse(export: &mut Export, count: u64, metric: &str, fault: &Fault) {
    refuse_points(&mut export.refusals, count, metric, fault.word(), fault);
}

/// Notes refused points of a metric. The name comes from the wire and is cut to a bearable length.
pub(crate) fn refuse_points(
    refusals: &mut Refusals,
    count: u64,
    metric: &str,
    word: &'static str,
    why: &dyn std::fmt::Display,
) {
    refusals.add(word, count, || {
        let name: String = metric.chars().take(80).collect();
        format!("{name:?}: {why}")
    });
}

fn take(
    export: &mut Export,
    identities: &mut Identities<'_>,
    source: SourceId,
    metric: &str,
    attributes: &[KeyValue],
    reading: Result<Reading, Fault>,
) {
    let series = match identities.find(metric, attributes) {
        Some(series) => Ok(series),
        None => identify(attributes, metric, identities.lifted())
            .map(|series| identities.note(attributes, series)),
    };
    take_found(export, source, metric, series, reading);
}

/// Takes a point whose series was looked up.
pub(super) fn take_found(
    export: &mut Export,
    source: SourceId,
    metric: &str,
    series: Result<Identified, Fault>,
    reading: Result<Reading, Fault>,
) {
    match reading.and_then(|reading| Ok(Sample { source, series: series?, reading })) {
        Ok(sample) => export.samples.push(sample),
        Err(fault) => refuse(export, 1, metric, &fault),
    }
}

/// The series of a metric with these attributes.
pub(super) fn identify(
    attributes: &[KeyValue],
    metric: &str,
    lifted: &[(String, String)],
) -> Result<Identified, Fault> {
    let mut attributes = checked_attributes(attributes)?;
    for (key, value) in lifted {
        attributes.entry(key.clone()).or_insert_with(|| value.clone());
    }
    Ok(Identified::new(Series { metric: metric.to_owned(), attributes }))
}

fn checked_attributes(attributes: &[KeyValue]) -> Result<Attributes, Fault> {
    if attributes.len() > MOST_ATTRIBUTES {
        return Err(Fault::Attributes);
    }
    let attributes: Attributes = attributes.iter().map(text_pair).collect();
    let fits = |text: &String| text.len() <= LONGEST_TEXT_BYTES;
    let all_fit = attributes.iter().all(|(key, value)| fits(key) && fits(value));
    all_fit.then_some(attributes).ok_or(Fault::Attributes)
}

pub(super) fn number_point(
    point: &NumberDataPoint,
    temporality: Option<Temporality>,
) -> Result<Reading, Fault> {
    let value = if has_no_value(point.flags) {
        None
    } else {
        Some(match point.value {
            Some(number_data_point::Value::AsInt(value)) => Measured::from_integer(value)?,
            Some(number_data_point::Value::AsDouble(value)) => Measured::from_double(value)?,
            None => return Err(Fault::NoValue),
        })
    };
    timed(point.start_time_unix_nano, point.time_unix_nano, temporality, value)
}

fn explicit_point(point: &HistogramDataPoint, temporality: Option<Temporality>) -> Result<Reading, Fault> {
    let value = if has_no_value(point.flags) {
        None
    } else {
        let histogram = Explicit::new(&point.explicit_bounds, &point.bucket_counts, point.count);
        Some(Distribution::from(histogram.map_err(Rejected::from)?).into())
    };
    timed(point.start_time_unix_nano, point.time_unix_nano, temporality, value)
}

fn exponential_point(
    point: &ExponentialHistogramDataPoint,
    temporality: Option<Temporality>,
) -> Result<Reading, Fault> {
    let value = if has_no_value(point.flags) {
        None
    } else {
        let (offset, positive) =
            point.positive.as_ref().map_or((0, &[][..]), |buckets| (buckets.offset, &buckets.bucket_counts));
        let negative = point.negative.as_ref().map_or(&[][..], |buckets| &buckets.bucket_counts);
        let negative = negative.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let histogram =
            Exponential::new(point.scale, point.count, point.zero_count, offset, positive, negative);
        Some(Distribution::from(histogram.map_err(Rejected::from)?).into())
    };
    timed(point.start_time_unix_nano, point.time_unix_nano, temporality, value)
}

fn timed(
    start_nanoseconds: u64,
    nanoseconds: u64,
    temporality: Option<Temporality>,
    value: Option<Measured>,
) -> Result<Reading, Fault> {
    let temporality = temporality.ok_or(Rejected::NoTemporality)?;
    let start = (start_nanoseconds > 0).then(|| Timestamp::from_nanoseconds(start_nanoseconds));
    let time = Timestamp::from_nanoseconds(nanoseconds);
    Ok(Reading::Point(Point { temporality, start, time, value }))
}

fn level_point(point: &NumberDataPoint) -> Result<Reading, Fault> {
    let at = Timestamp::from_nanoseconds(point.time_unix_nano);
    if has_no_value(point.flags) {
        let point = Point { temporality: Temporality::Cumulative, start: None, time: at, value: None };
        return Ok(Reading::Point(point));
    }
    let value = match point.value {
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a measurement; 53 bits of it are enough")]
        Some(number_data_point::Value::AsInt(value)) => value as f64,
        Some(number_data_point::Value::AsDouble(value)) => value,
        None => return Err(Fault::NoValue),
    };
    Ok(Reading::Level(Level::new(at, value)?))
}

pub(super) fn temporality(code: i32) -> Option<Temporality> {
    match AggregationTemporality::try_from(code) {
        Ok(AggregationTemporality::Cumulative) => Some(Temporality::Cumulative),
        Ok(AggregationTemporality::Delta) => Some(Temporality::Delta),
        Ok(AggregationTemporality::Unspecified) | Err(_) => None,
    }
}

const fn has_no_value(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

fn points_of(data: &Data) -> u64 {
    let count = match data {
        Data::Gauge(data) => data.data_points.len(),
        Data::Sum(data) => data.data_points.len(),
        Data::Histogram(data) => data.data_points.len(),
        Data::ExponentialHistogram(data) => data.data_points.len(),
        Data::Summary(data) => data.data_points.len(),
    };
    count as u64
}

fn text_pair(pair: &KeyValue) -> (String, String) {
    (pair.key.clone(), pair.value.as_ref().map(text_of).unwrap_or_default())
}

/// A value as text: texts as they are, everything else as JSON writes it.
pub(super) fn text_of(value: &AnyValue) -> String {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        None => String::new(),
        Some(_) => json_of(value).to_string(),
    }
}

/// A value as JSON.
pub(super) fn json_of(value: &AnyValue) -> serde_json::Value {
    use serde_json::Value as Json;
    match &value.value {
        None => Json::Null,
        Some(any_value::Value::StringValue(text)) => Json::from(text.as_str()),
        Some(any_value::Value::BoolValue(value)) => Json::from(*value),
        Some(any_value::Value::IntValue(value)) => Json::from(*value),
        Some(any_value::Value::DoubleValue(value)) => Json::from(*value),
        Some(any_value::Value::ArrayValue(array)) => array.values.iter().map(json_of).collect(),
        Some(any_value::Value::KvlistValue(list)) => list
            .values
            .iter()
            .map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(Json::Null, json_of)))
            .collect(),
        Some(any_value::Value::BytesValue(bytes)) => {
            Json::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        Some(_) => Json::Null,
    }
}
