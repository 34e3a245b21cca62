//! From a collection to an OTLP request: a pure conversion.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use pqscope_agent_core::aggregate::{Attributes, Collection, Family, SeriesValue};
use pqscope_agent_core::histogram;
use pqscope_agent_core::time::Timestamp;
use pqscope_telemetry::{SCHEMA_URL, attribute};

/// Makes the request for one export at `now`.
pub(crate) fn request(
    resource: &[(String, String)],
    collection: &Collection,
    now: Timestamp,
) -> ExportMetricsServiceRequest {
    let attributes = resource.iter().map(|(key, value)| text(key, value)).collect();
    let metrics = collection.families.iter().map(|family| metric(family, now)).collect();
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource { attributes, ..Resource::default() }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "pqscope-agent".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics,
                schema_url: SCHEMA_URL.to_owned(),
            }],
            schema_url: SCHEMA_URL.to_owned(),
        }],
    }
}

/// Data points that a collection makes.
pub(crate) fn points(collection: &Collection) -> u64 {
    collection.families.iter().map(|family| family.series.len() as u64).sum()
}

fn metric(family: &Family, now: Timestamp) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let distributions = family.series.iter().any(|s| matches!(s.value, SeriesValue::Distribution(_)));
    let data = if distributions {
        let data_points = family
            .series
            .iter()
            .filter_map(|series| match &series.value {
                SeriesValue::Distribution(histogram) => {
                    Some(distribution(&series.attributes, series.start, now, histogram))
                }
                SeriesValue::Count(_) => None,
            })
            .collect();
        Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: cumulative })
    } else {
        let data_points = family
            .series
            .iter()
            .filter_map(|series| match &series.value {
                SeriesValue::Count(count) => Some(NumberDataPoint {
                    attributes: key_values(&series.attributes),
                    start_time_unix_nano: series.start.as_nanos(),
                    time_unix_nano: now.as_nanos(),
                    value: Some(Number::AsInt(i64::try_from(*count).unwrap_or(i64::MAX))),
                    ..NumberDataPoint::default()
                }),
                SeriesValue::Distribution(_) => None,
            })
            .collect();
        Data::Sum(Sum { data_points, aggregation_temporality: cumulative, is_monotonic: true })
    };
    Metric {
        name: family.metric.name.to_owned(),
        description: family.metric.description.to_owned(),
        unit: family.metric.unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn distribution(
    attributes: &Attributes,
    start: Timestamp,
    now: Timestamp,
    histogram: &histogram::ExponentialHistogram,
) -> ExponentialHistogramDataPoint {
    let (offset, counts) = histogram.buckets();
    let range = histogram.range();
    ExponentialHistogramDataPoint {
        attributes: key_values(attributes),
        start_time_unix_nano: start.as_nanos(),
        time_unix_nano: now.as_nanos(),
        count: histogram.count(),
        sum: Some(histogram.sum()),
        scale: histogram.scale(),
        zero_count: histogram.zero_count(),
        positive: Some(Buckets { offset, bucket_counts: counts.to_vec() }),
        min: range.map(|(min, _)| min),
        max: range.map(|(_, max)| max),
        ..ExponentialHistogramDataPoint::default()
    }
}

fn key_values(attributes: &Attributes) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|(key, value)| match (*key, value.parse()) {
            // The conventions make it a number.
            (attribute::SERVER_PORT, Ok(port)) => key_value(key, Any::IntValue(port)),
            _ => text(key, value),
        })
        .collect()
}

fn text(key: &str, value: &str) -> KeyValue {
    key_value(key, Any::StringValue(value.to_owned()))
}

fn key_value(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
