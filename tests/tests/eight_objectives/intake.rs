//! Telling the engine: events, and metrics over OTLP as JSON.

use jiff::{SignedDuration, Timestamp};
use pqscope_tests::http;
use pqscope_tests::live::Engine;
use serde_json::{Value, json};

/// Posts events of one type, each with an id of its own, and then once more: they count once.
pub(crate) fn post(engine: &Engine, kind: &str, data: &[Value]) {
    post_at(engine, kind, data, None);
}

pub(crate) fn post_at(engine: &Engine, kind: &str, data: &[Value], time: Option<String>) {
    let time = time.unwrap_or_else(|| at(0));
    let event = |(number, data)| {
        json!({"specversion": "1.0", "id": format!("{time}-{number}"), "source": "/test", "type": kind, "time": time,
            "data": data})
    };
    let events: Value = data.iter().enumerate().map(event).collect();
    for (accepted, duplicates) in [(data.len(), 0), (0, data.len())] {
        let answer = http::post_json(&engine.web, "/api/v1/events", &events).expect("an answer");
        let receipt: Value = serde_json::from_str(&answer.body).expect("a receipt");
        let count = |name: &str| receipt.get(name).and_then(Value::as_u64);
        let expected = (200, Some(accepted as u64), Some(duplicates as u64), Some(0));
        let found = (answer.status, count("accepted"), count("duplicates"), count("ignored_fields"));
        assert_eq!(found, expected, "{kind}: {receipt:#}");
    }
}

/// Exports one metric over OTLP, as JSON.
pub(crate) fn export(engine: &Engine, metric: Value) {
    let resource = json!({"attributes": [attribute(("service.name", "another-agent"))]});
    let scope_metrics = json!([{"scope": {"name": "test"}, "metrics": [metric]}]);
    let request = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": scope_metrics}]});
    let answer = http::post_json(&engine.otlp_http, "/v1/metrics", &request).expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
}

pub(crate) fn attribute((key, value): (&str, &str)) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

pub(crate) fn with(mut data: Value, key: &str, value: impl Into<Value>) -> Value {
    data.as_object_mut().expect("the data of an event").insert(key.to_owned(), value.into());
    data
}

/// So many seconds from now.
fn moment(seconds: i64) -> Timestamp {
    Timestamp::now() + SignedDuration::from_secs(seconds)
}

pub(crate) fn at(seconds: i64) -> String {
    moment(seconds).to_string()
}

pub(crate) fn nanoseconds(seconds: i64) -> String {
    moment(seconds).as_nanosecond().to_string()
}
