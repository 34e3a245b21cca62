//! Prometheus text exposition of everything the agent counts.

use crate::health::Reading;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use pqscope_agent_core::aggregate::{Collection, Family, SeriesValue};
use pqscope_agent_core::histogram::ExponentialHistogram;
use pqscope_telemetry::exposition::{metric_name, write_header, write_sample};
use pqscope_telemetry::metric::Metric;

/// Bucket bounds of seconds: half octaves from 0.24 ms to 16 s.
const SECONDS: std::ops::RangeInclusive<i32> = -24..=8;

/// Bucket bounds of bytes: half octaves from 64 B to 128 KiB.
const BYTES: std::ops::RangeInclusive<i32> = 12..=34;

/// Writes the whole page.
pub(crate) fn page(collection: &Collection, readings: &[Reading]) -> String {
    let mut out = String::new();
    for family in &collection.families {
        write_family(&mut out, family);
    }
    let mut last: Option<Metric> = None;
    for reading in readings {
        let name = metric_name(&reading.metric);
        if last != Some(reading.metric) {
            write_header(&mut out, &name, reading.metric.kind, reading.metric.description);
            last = Some(reading.metric);
        }
        let labels = reading.attributes.iter().map(|(key, value)| (*key, value.as_ref()));
        write_sample(&mut out, &name, labels, reading.value);
    }
    out
}

fn write_family(out: &mut String, family: &Family) {
    let name = metric_name(&family.metric);
    write_header(out, &name, family.metric.kind, family.metric.description);
    for series in &family.series {
        let labels: Vec<(&str, &str)> =
            series.attributes.iter().map(|(key, value)| (*key, value.as_ref())).collect();
        match &series.value {
            SeriesValue::Count(count) => write_sample(out, &name, labels, float(*count)),
            SeriesValue::Distribution(histogram) => {
                write_histogram(out, &name, family.metric.unit, &labels, histogram);
            }
        }
    }
}

/// Exponential histograms have no form in text: their counts go into classic buckets, at bounds where they are exact.
fn write_histogram(
    out: &mut String,
    name: &str,
    unit: &str,
    labels: &[(&str, &str)],
    histogram: &ExponentialHistogram,
) {
    let bounds = if unit == "s" { SECONDS } else { BYTES };
    let bucket = format!("{name}_bucket");
    for halves in bounds {
        let bound = (f64::from(halves) / 2.0).exp2();
        let bound = format!("{bound:.6}");
        let bound = bound.trim_end_matches('0').trim_end_matches('.');
        let labels = labels.iter().copied().chain([("le", bound)]);
        write_sample(out, &bucket, labels, float(histogram.count_at_most_half_octave(halves)));
    }
    write_sample(out, &bucket, labels.iter().copied().chain([("le", "+Inf")]), float(histogram.count()));
    write_sample(out, &format!("{name}_sum"), labels.iter().copied(), histogram.sum());
    write_sample(out, &format!("{name}_count"), labels.iter().copied(), float(histogram.count()));
}

#[expect(clippy::cast_precision_loss, reason = "the text format carries floats")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Serves pages that `page` makes at `/metrics`.
pub(crate) fn router<F>(page: F) -> Router
where
    F: Fn() -> String + Clone + Send + Sync + 'static,
{
    let metrics = move || {
        let page = page.clone();
        async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page()) }
    };
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(|| async { "ok\n" }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pqscope_agent_core::aggregate::Series;
    use pqscope_agent_core::time::Timestamp;
    use pqscope_telemetry::attribute;
    use pqscope_telemetry::metric::agent;

    #[test]
    fn histograms_become_cumulative_buckets() {
        let mut histogram = ExponentialHistogram::default();
        for value in [0.010, 0.020, 0.300] {
            histogram.record(value);
        }
        let series = Series {
            attributes: vec![(attribute::SERVICE, "a\"b".into())],
            start: Timestamp::default(),
            value: SeriesValue::Distribution(histogram),
        };
        let family = Family { metric: agent::DURATION, series: vec![series] };
        let text = page(&Collection { families: vec![family] }, &[]);
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        has("# TYPE pqscope_handshake_duration_seconds histogram");
        has("pqscope_handshake_duration_seconds_bucket{pqscope_service=\"a\\\"b\",le=\"0.015625\"} 1");
        has("pqscope_handshake_duration_seconds_bucket{pqscope_service=\"a\\\"b\",le=\"0.03125\"} 2");
        has("pqscope_handshake_duration_seconds_bucket{pqscope_service=\"a\\\"b\",le=\"+Inf\"} 3");
        has("pqscope_handshake_duration_seconds_count{pqscope_service=\"a\\\"b\"} 3");
    }
}
