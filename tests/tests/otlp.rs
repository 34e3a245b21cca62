//! What the agent exports, read by a receiver that shares no code with it (`tests/otlp-receiver`).
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value gives null where nothing is; the assertions show it"
)]

use pqscope_lab::loopback::{DEFAULT_PATIENCE, Loopback};
use pqscope_lab::scenario::Scenario;
use pqscope_tests::live::{self, Agent, Destination};
use pqscope_tests::process::Running;
use pqscope_tests::{binary, records, requirement};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

const SERVICE: &str = "checkout.example";
/// OTLP's number for cumulative temporality.
const CUMULATIVE: u64 = 2;
const PLAN: [(Scenario, usize); 5] = [
    (Scenario::Hybrid, 12),
    (Scenario::X25519, 5),
    (Scenario::HelloRetryToClassical, 3),
    (Scenario::NoSharedGroup, 4),
    (Scenario::ClientResets, 2),
];
const COMPLETED: u64 = 20;

/// The interpreter with the receiver's packages.
fn python(test: &str) -> Option<PathBuf> {
    let made = binary::repository().join("tests/.venv/bin/python");
    let named = std::env::var_os("PQSCOPE_OTLP_PYTHON").filter(|value| !value.is_empty()).map(PathBuf::from);
    let python = named.unwrap_or(made);
    if python.exists() {
        return Some(python);
    }
    requirement::skip(test, "the receiver's packages are not installed; run tests/otlp-receiver/prepare");
    None
}

/// The newest points of a metric, one per set of attributes.
struct Latest<'a> {
    export: &'a Value,
    points: BTreeMap<String, &'a Value>,
}

impl<'a> Latest<'a> {
    fn of(name: &str, exports: &'a [Value]) -> Self {
        let mut points = BTreeMap::new();
        let mut latest = None;
        for export in exports.iter().filter(|export| export["name"] == name) {
            latest = Some(export);
            for point in export["points"].as_array().expect("points") {
                points.insert(point["attributes"].to_string(), point);
            }
        }
        Self { export: latest.unwrap_or_else(|| panic!("{name} is never exported")), points }
    }

    /// Sum of a field over the points of the counted service with these attributes.
    fn sum(&self, field: &str, wanted: &[(&str, &str)]) -> u64 {
        let points = self.points.values().filter(|point| {
            let attribute = |key: &str| point["attributes"][key].as_str();
            attribute("pqscope.service") == Some(SERVICE)
                && wanted.iter().all(|(key, value)| attribute(key) == Some(*value))
        });
        points.map(|point| point[field].as_u64().unwrap_or_else(|| panic!("{point}: {field}"))).sum()
    }
}

async fn counts_arrive_by(protocol: &str, test: &str) {
    let Some(python) = python(test).filter(|_| requirement::capture(test)) else { return };
    let script = binary::repository().join("tests/otlp-receiver/receiver.py");
    let mut receiver = Running::start(&python, [script], &[]);
    let ports: Value = receiver.expect_output(|line| serde_json::from_str(line).ok());
    let port = &ports[if protocol == "grpc" { "grpc" } else { "http" }];
    let address = format!("127.0.0.1:{port}");

    let folder = tempfile::tempdir().expect("a folder");
    let lab = Loopback::start(0, &live::server_names(SERVICE), DEFAULT_PATIENCE).await.expect("a lab");
    let destination = Destination { protocol, address: &address };
    let records = folder.path().join("records.jsonl");
    let mut agent = Agent::start(lab.server_address().port(), records, Some(destination), None);
    agent.warm_up(&lab).await;
    live::make(&lab, SERVICE, &PLAN).await;
    let (_, ended) = agent.stop();
    assert!(ended.status.success(), "the agent ended with {}: {:?}", ended.status, ended.errors);

    let mut exports = records::parse(receiver.interrupt().output);
    exports.remove(0);
    check_exports(&exports, protocol);
}

fn check_exports(exports: &[Value], protocol: &str) {
    assert!(exports.iter().all(|export| export["transport"] == protocol));
    let handshakes = Latest::of("pqscope.handshakes", exports);
    let sum = |wanted: &[(&str, &str)]| handshakes.sum("value", wanted);
    assert_eq!(sum(&[("pqscope.outcome", "completed")]), COMPLETED);
    assert_eq!(sum(&[("pqscope.outcome", "completed"), ("pqscope.group.class", "hybrid")]), 12);
    assert_eq!(sum(&[("pqscope.outcome", "completed"), ("pqscope.group.name", "x25519")]), 5);
    assert_eq!(sum(&[("pqscope.hello_retry", "true"), ("pqscope.group.name", "secp256r1")]), 3);
    assert_eq!(sum(&[("pqscope.outcome", "failed")]), 6);
    assert_eq!(sum(&[("error.type", "alert_handshake_failure"), ("pqscope.failure.by", "server")]), 4);
    assert_eq!(sum(&[("error.type", "reset"), ("pqscope.failure.by", "client")]), 2);
    assert_eq!(sum(&[("pqscope.vantage", "server")]), COMPLETED + 6);

    let export = handshakes.export;
    assert_eq!(export["kind"], "sum");
    assert_eq!(export["unit"], "{handshake}");
    assert_eq!(export["temporality"].as_u64(), Some(CUMULATIVE));
    assert_eq!(export["monotonic"], true);
    let resource = &export["resource"];
    assert_eq!(resource["service.name"], "pqscope-agent");
    for attribute in ["service.version", "service.instance.id", "host.name"] {
        assert!(
            resource[attribute].as_str().is_some_and(|value| !value.is_empty()),
            "{attribute}: {resource}"
        );
    }
    for point in handshakes.points.values() {
        assert!(
            point["start"].as_u64() > Some(0) && point["start"].as_u64() <= point["time"].as_u64(),
            "{point}"
        );
    }

    let durations = Latest::of("pqscope.handshake.duration", exports);
    assert_eq!(durations.export["kind"], "exponential_histogram");
    assert_eq!(durations.export["unit"], "s");
    assert_eq!(durations.sum("count", &[]), COMPLETED);
    assert_eq!(durations.sum("count", &[("pqscope.group.class", "hybrid")]), 12);
    begins_from_zero(exports);
}

/// The outcomes of a service are there from the first export on, so that a first failure is a step from zero.
fn begins_from_zero(exports: &[Value]) {
    let first = exports.iter().filter(|export| export["name"] == "pqscope.handshakes").find_map(|export| {
        let points = export["points"].as_array()?;
        let ours: Vec<_> =
            points.iter().filter(|point| point["attributes"]["pqscope.service"] == SERVICE).collect();
        (!ours.is_empty()).then_some(ours)
    });
    let first = first.expect("an export of the service");
    for outcome in ["completed", "failed", "incomplete"] {
        let there = first.iter().any(|point| point["attributes"]["pqscope.outcome"] == outcome);
        assert!(there, "{outcome} is missing in the first export: {first:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_arrive_by_grpc() {
    counts_arrive_by("grpc", "counts_arrive_by_grpc").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_arrive_by_http() {
    counts_arrive_by("http/protobuf", "counts_arrive_by_http").await;
}
