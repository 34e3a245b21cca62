//! One number followed through the whole line: handshakes made, records, counts in the engine, burn rate, one page.

use pqscope_lab::loopback::{DEFAULT_PATIENCE, Loopback};
use pqscope_lab::receiver::{Receiver, Verdict};
use pqscope_lab::scenario::Scenario;
use pqscope_lab::truth::Truth;
use pqscope_tests::binary::{self, AGENT, ENGINE};
use pqscope_tests::process::{Running, wait_for};
use pqscope_tests::{http, records, requirement};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

const SERVICE: &str = "checkout.example";
const HYBRID: usize = 40;
const FAILED: usize = 10;
const SLO: &str = "handshake-success";
/// Share of bad events that the shipped objective allows.
const ALLOWED: f64 = 0.001;

struct Engine {
    process: Running,
    web: String,
    otlp_http: String,
}

fn start_engine(state: &Path, webhook: &str) -> Engine {
    let arguments = [
        "serve",
        "--listen=127.0.0.1:0",
        "--otlp-grpc=127.0.0.1:0",
        "--otlp-http=127.0.0.1:0",
        "--evaluation-interval=1s",
        &format!("--state={}", state.display()),
        &format!("--webhook={webhook}"),
    ];
    let mut process = Running::start(&binary::path(ENGINE), arguments, &[]);
    let mut address = |name: &str| {
        let prefix = format!("listening: {name} http://");
        process.expect_output(|line| line.strip_prefix(&prefix).map(str::to_owned))
    };
    let (web, otlp_http) = (address("web"), address("otlp-http"));
    Engine { process, web, otlp_http }
}

fn start_agent(port: u16, records: &Path, otlp: &str) -> Running {
    let arguments = [
        "run",
        "--interface=lo",
        &format!("--filter=tcp port {port}"),
        &format!("--records={}", records.display()),
    ];
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{otlp}")),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf".to_owned()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1000".to_owned()),
    ];
    let environment: Vec<_> = environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
    Running::start(&binary::path(AGENT), arguments, &environment)
}

fn read_records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    // The last line may be half written.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    records::parse(whole.lines())
}

/// Makes classical handshakes, which the objective does not count, until the agent sees them.
async fn warm_up(lab: &Loopback, agent: &mut Running, records: &Path) -> usize {
    for made in 1..=100 {
        lab.attempt(Scenario::X25519, SERVICE).await.expect("an attempt");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        assert!(agent.is_running(), "the agent ended{}", agent.log());
        if !read_records(records).is_empty() {
            return made;
        }
    }
    panic!("the agent sees nothing{}", agent.log());
}

async fn make(lab: &Loopback, scenario: Scenario, count: usize) -> Vec<Truth> {
    let mut truths = Vec::new();
    for _ in 0..count {
        let truth = lab.attempt(scenario, SERVICE).await.expect("an attempt");
        assert_eq!(truth.is_completed(), scenario.is_meant_to_complete(), "{truth:?}");
        truths.push(truth);
    }
    truths
}

fn check_record(record: &Value, truth: &Truth) {
    let about = format!("{record}\n{truth:?}");
    assert_eq!(records::text(record, "server_name"), Some(truth.server_name.as_str()), "{about}");
    if truth.is_completed() {
        assert_eq!(records::text(record, "outcome"), Some("completed"), "{about}");
        assert_eq!(records::text(record, "group.name"), truth.group(), "{about}");
        assert_eq!(records::text(record, "key_exchange_class"), Some("hybrid"), "{about}");
    } else {
        assert_eq!(records::text(record, "outcome"), Some("failed"), "{about}");
        let cause = records::text(record, "failure.cause").unwrap_or_default();
        assert!(truth.scenario.causes().contains(&cause), "{about}");
        assert_eq!(records::text(record, "failure.by"), Some("server"), "{about}");
    }
}

fn slo(web: &str) -> Option<Value> {
    let answer = http::get_json(web, "/api/v1/slos").ok()?;
    let slos = answer.get("slos")?.as_array()?.clone();
    slos.into_iter().find(|slo| slo.get("name").and_then(Value::as_str) == Some(SLO))
}

fn count(slo: &Value, name: &str) -> u64 {
    slo.pointer(&format!("/budget/{name}")).and_then(Value::as_u64).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_handshake_is_counted_once_and_pages_once() {
    if !requirement::capture("every_handshake_is_counted_once_and_pages_once") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start("127.0.0.1:0".parse().expect("an address"), 1).await.expect("a receiver");
    let lab = Loopback::start(0, &[SERVICE.to_owned()], DEFAULT_PATIENCE).await.expect("a lab");
    let engine = start_engine(&folder.path().join("state"), &receiver.url());
    let records_path = folder.path().join("records.jsonl");
    let mut agent = start_agent(lab.server_address().port(), &records_path, &engine.otlp_http);
    warm_up(&lab, &mut agent, &records_path).await;

    let mut truths = make(&lab, Scenario::Hybrid, HYBRID).await;
    truths.extend(make(&lab, Scenario::NoSharedGroup, FAILED).await);
    let ended = agent.interrupt();
    assert!(ended.status.success(), "the agent ended with {}: {:?}", ended.status, ended.errors);

    // The records: every attempt once, matched by the client's port, and nothing else.
    let mut by_port: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for record in read_records(&records_path) {
        if records::text(&record, "key_exchange_class") == Some("classical") {
            continue;
        }
        by_port.entry(records::client_port(&record).expect("a port")).or_default().push(record);
    }
    assert_eq!(by_port.len(), truths.len(), "as many connections as were made");
    for truth in &truths {
        match by_port.get(&u64::from(truth.client.port())).map(Vec::as_slice) {
            Some([record]) => check_record(record, truth),
            other => panic!("{truth:?}\nhas the records {other:?}"),
        }
    }

    // The engine: the same counts, and the burn rate that follows from them.
    let total = u64::try_from(truths.len()).expect("a count");
    let slo = wait_for(|| slo(&engine.web).filter(|slo| count(slo, "total") == total));
    let slo = slo.unwrap_or_else(|| panic!("the engine never counts {total}: {:?}", self::slo(&engine.web)));
    assert_eq!((count(&slo, "good"), count(&slo, "bad")), (HYBRID as u64, FAILED as u64));
    let expected = FAILED as f64 / (HYBRID + FAILED) as f64 / ALLOWED;
    for rate in slo.get("burn_rates").and_then(Value::as_array).expect("burn rates") {
        let burn = rate.get("burn_rate").and_then(Value::as_f64).expect("a burn rate");
        assert!((burn - expected).abs() < 1e-6 * expected, "{rate} instead of {expected}");
    }

    // The page: refused once by the receiver, then delivered once, and not again.
    let page =
        wait_for(|| receiver.deliveries().into_iter().find(|delivery| delivery.verdict == Verdict::Accepted));
    let page = page.unwrap_or_else(|| panic!("no page arrives{}", engine.process.log()));
    let body = page.json().expect("a JSON body");
    assert_eq!(records::text(&body, "status"), Some("firing"), "{body}");
    assert_eq!(records::text(&body, "slo"), Some(SLO), "{body}");
    assert_eq!(records::text(&body, "severity"), Some("page"), "{body}");
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let deliveries = receiver.deliveries();
    let verdicts: Vec<_> = deliveries.iter().map(|delivery| delivery.verdict).collect();
    assert_eq!(verdicts, [Verdict::Refused, Verdict::Accepted], "{deliveries:?}");
    assert_eq!(deliveries[0].idempotency_key, deliveries[1].idempotency_key);
    assert_eq!(deliveries[0].body, deliveries[1].body);
    assert!(deliveries[0].idempotency_key.is_some());
    let ended = engine.process.interrupt();
    assert!(ended.status.success(), "the engine ended with {}: {:?}", ended.status, ended.errors);
}
