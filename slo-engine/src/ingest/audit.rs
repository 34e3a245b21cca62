//! What a decoder of OTLP/JSON loses without a word.
//!
//! The decoder skips keys that it does not know, and values that it cannot read become absent: a metric whose
//! temporality is given by name, `"NaN"` as a number, or snake_case keys vanish. The text is therefore read twice: once
//! as plain JSON, where every point is counted, and once as OTLP. The difference was lost.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use serde_json::Value;
use std::collections::BTreeSet;

const SNAKE_CASE_KEYS: [&str; 12] = [
    "resource_metrics",
    "scope_metrics",
    "data_points",
    "exponential_histogram",
    "aggregation_temporality",
    "is_monotonic",
    "start_time_unix_nano",
    "time_unix_nano",
    "as_int",
    "as_double",
    "bucket_counts",
    "explicit_bounds",
];
const MOST_REMARKS: usize = 4;

/// What stands in the JSON text.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audit {
    /// Data points, however their keys are written.
    pub(super) points: u64,
    /// Oddities found, in words.
    pub(super) remarks: BTreeSet<String>,
}

impl Audit {
    /// Walks a request.
    pub(super) fn of(request: &Value) -> Self {
        let mut audit = Self::default();
        audit.walk(request);
        audit
    }

    fn walk(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Object(entries) => {
                for (key, value) in entries {
                    self.look_at(key, value);
                    self.walk(value);
                }
            }
            _ => {}
        }
    }

    fn look_at(&mut self, key: &str, value: &Value) {
        if matches!(key, "dataPoints" | "data_points") {
            self.points += value.as_array().map_or(0, |points| points.len() as u64);
        }
        if SNAKE_CASE_KEYS.contains(&key) {
            self.remark(format!("the key `{key}` is ignored, OTLP/JSON writes keys in lowerCamelCase"));
        }
        if key == "aggregationTemporality" && value.is_string() {
            self.remark(
                "aggregationTemporality must be a number (1 delta, 2 cumulative), not a name".to_owned(),
            );
        }
        if key == "asDouble" && value.is_string() {
            self.remark("asDouble must be a number".to_owned());
        }
    }

    fn remark(&mut self, text: String) {
        if self.remarks.len() < MOST_REMARKS {
            self.remarks.insert(text);
        }
    }
}

/// Data points of a decoded request.
pub(super) fn count_points(request: &ExportMetricsServiceRequest) -> u64 {
    request
        .resource_metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics)
        .map(|metric| match &metric.data {
            None => 0,
            Some(Data::Gauge(data)) => data.data_points.len() as u64,
            Some(Data::Sum(data)) => data.data_points.len() as u64,
            Some(Data::Histogram(data)) => data.data_points.len() as u64,
            Some(Data::ExponentialHistogram(data)) => data.data_points.len() as u64,
            Some(Data::Summary(data)) => data.data_points.len() as u64,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(sum: Value) -> Value {
        json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "pqscope.handshakes", "sum": sum}]}]}]})
    }

    fn lost(text: &Value) -> (u64, Audit) {
        let decoded = serde_json::from_value::<ExportMetricsServiceRequest>(text.clone()).unwrap();
        let audit = Audit::of(text);
        (audit.points - count_points(&decoded), audit)
    }

    #[test]
    fn a_sound_request_loses_nothing() {
        let point = json!({"asInt": "3", "timeUnixNano": "1"});
        let text = request(json!({"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point]}));
        let (lost, audit) = lost(&text);
        assert_eq!(lost, 0);
        assert_eq!(audit, Audit { points: 1, remarks: BTreeSet::new() });
    }

    #[test]
    fn an_enum_by_name_is_noticed() {
        let point = json!({"asInt": "3", "timeUnixNano": "1"});
        let text = request(json!({"aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
            "isMonotonic": true, "dataPoints": [point, point]}));
        let (lost, audit) = lost(&text);
        assert_eq!(lost, 2);
        assert!(audit.remarks.iter().any(|remark| remark.contains("aggregationTemporality")));
    }

    #[test]
    fn snake_case_is_noticed() {
        let text = json!({"resource_metrics": [{"scope_metrics": [{"metrics": [
            {"name": "pqscope.handshakes", "sum": {"data_points": [{"as_int": "3"}]}}]}]}]});
        let (lost, audit) = lost(&text);
        assert_eq!(lost, 1);
        assert!(audit.remarks.iter().any(|remark| remark.contains("resource_metrics")));
    }
}
