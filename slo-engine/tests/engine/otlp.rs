//! OTLP requests as an agent would send them, and a sender for them.

use crate::process::PATIENCE;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) const PROTOBUF: &str = "application/x-protobuf";

/// Nanoseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "points carry the wall clock's time")]
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// One series of `pqscope.handshakes` in one export.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) service: String,
    pub(crate) outcome: &'static str,
    pub(crate) start: u64,
    pub(crate) time: u64,
    pub(crate) value: i64,
}

impl Reading {
    pub(crate) fn new(service: &str, outcome: &'static str, (start, time): (u64, u64), value: i64) -> Self {
        Self { service: service.to_owned(), outcome, start, time, value }
    }
}

/// An export of cumulative counts.
pub(crate) fn cumulative(readings: &[Reading]) -> ExportMetricsServiceRequest {
    export(readings, AggregationTemporality::Cumulative)
}

/// An export of deltas.
pub(crate) fn delta(readings: &[Reading]) -> ExportMetricsServiceRequest {
    export(readings, AggregationTemporality::Delta)
}

fn export(readings: &[Reading], temporality: AggregationTemporality) -> ExportMetricsServiceRequest {
    let points = readings.iter().map(|reading| NumberDataPoint {
        attributes: vec![text("pqscope.service", &reading.service), text("pqscope.outcome", reading.outcome)],
        start_time_unix_nano: reading.start,
        time_unix_nano: reading.time,
        value: Some(number_data_point::Value::AsInt(reading.value)),
        ..NumberDataPoint::default()
    });
    of_metric(
        "pqscope.handshakes",
        metric::Data::Sum(Sum {
            data_points: points.collect(),
            aggregation_temporality: temporality.into(),
            is_monotonic: true,
        }),
    )
}

/// An export of one observation per service and time, each in one of twenty buckets.
pub(crate) fn durations(services: usize, times: &[u64]) -> ExportMetricsServiceRequest {
    let bounds: Vec<f64> = (1..=20).map(f64::from).collect();
    let points = times.iter().flat_map(|time| {
        let bounds = &bounds;
        (0..services).map(move |service| HistogramDataPoint {
            attributes: vec![text("pqscope.service", &service.to_string())],
            start_time_unix_nano: time - 10_000_000_000,
            time_unix_nano: *time,
            count: 11,
            bucket_counts: (0..=20).map(|bucket| u64::from(bucket % 2 == 0)).collect(),
            explicit_bounds: bounds.clone(),
            ..HistogramDataPoint::default()
        })
    });
    of_metric(
        "pqscope.handshake.duration",
        metric::Data::Histogram(Histogram {
            data_points: points.collect(),
            aggregation_temporality: AggregationTemporality::Delta.into(),
        }),
    )
}

/// A request with one metric from one agent.
pub(crate) fn of_metric(name: &str, data: metric::Data) -> ExportMetricsServiceRequest {
    let resource = Resource {
        attributes: vec![text("service.name", "pqscope-agent"), text("service.instance.id", "test")],
        ..Resource::default()
    };
    let metric = Metric { name: name.to_owned(), data: Some(data), ..Metric::default() };
    let scope = InstrumentationScope { name: "pqscope".to_owned(), ..InstrumentationScope::default() };
    let scope_metrics =
        vec![ScopeMetrics { scope: Some(scope), metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

/// An HTTP client that trusts itself to find the way on its own.
pub(crate) fn client() -> reqwest::Client {
    // Every test is first at some time; the others find it done.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap()
}

/// Posts a request as protobuf; the answer, or `None` when the engine is away or asks to repeat.
pub(crate) async fn post(
    client: &reqwest::Client,
    http: &str,
    request: &ExportMetricsServiceRequest,
) -> Option<ExportMetricsServiceResponse> {
    let sent = client
        .post(format!("{http}/v1/metrics"))
        .header("content-type", PROTOBUF)
        .body(request.encode_to_vec())
        .send()
        .await
        .ok()?;
    match sent.status().as_u16() {
        200 => ExportMetricsServiceResponse::decode(sent.bytes().await.ok()?).ok(),
        503 => None,
        other => panic!("status {other}: {:?}", sent.bytes().await),
    }
}
