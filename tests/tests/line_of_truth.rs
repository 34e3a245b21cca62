//! One number followed through the whole line: handshakes made, records, counts in the engine, burn rate, one page.

use pqscope_lab::loopback::{DEFAULT_PATIENCE, Loopback};
use pqscope_lab::receiver::{Receiver, Verdict};
use pqscope_lab::scenario::Scenario;
use pqscope_lab::truth::Truth;
use pqscope_tests::live::{self, Agent, Destination, Engine};
use pqscope_tests::process::wait_for;
use pqscope_tests::{records, requirement};
use serde_json::Value;
use std::collections::BTreeMap;

const SERVICE: &str = "checkout.example";
const HYBRID: usize = 40;
const FAILED: usize = 10;
const SLO: &str = "handshake-success";
/// Share of bad events that the shipped objective allows.
const ALLOWED: f64 = 0.001;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_handshake_is_counted_once_and_pages_once() {
    if !requirement::capture("every_handshake_is_counted_once_and_pages_once") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let receiver = Receiver::start("127.0.0.1:0".parse().expect("an address"), 1).await.expect("a receiver");
    let lab = Loopback::start(0, &live::server_names(SERVICE), DEFAULT_PATIENCE).await.expect("a lab");
    let engine = Engine::start(&folder.path().join("state"), Some(&receiver.url()));
    let destination = Destination { protocol: "http/protobuf", address: &engine.otlp_http };
    let records = folder.path().join("records.jsonl");
    let mut agent = Agent::start(lab.server_address().port(), records, Some(destination), None);
    agent.warm_up(&lab).await;

    let plan = [(Scenario::Hybrid, HYBRID), (Scenario::NoSharedGroup, FAILED)];
    let truths = live::make(&lab, SERVICE, &plan).await;
    let (records, ended) = agent.stop();
    assert!(ended.status.success(), "the agent ended with {}: {:?}", ended.status, ended.errors);

    check_records(&records, &truths);
    check_counts(&engine);
    check_page(&receiver, &engine).await;
    let ended = engine.process.interrupt();
    assert!(ended.status.success(), "the engine ended with {}: {:?}", ended.status, ended.errors);
}

/// Every attempt has one record, matched by the client's port, and there is no other record.
fn check_records(records: &[Value], truths: &[Truth]) {
    let mut by_port: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for record in records {
        by_port.entry(records::client_port(record).expect("a port")).or_default().push(record);
    }
    assert_eq!(by_port.len(), truths.len(), "as many connections as were made");
    for truth in truths {
        match by_port.get(&u64::from(truth.client.port())).map(Vec::as_slice) {
            Some([record]) => check_record(record, truth),
            other => panic!("{truth:?}\nhas the records {other:?}"),
        }
    }
}

fn check_record(record: &Value, truth: &Truth) {
    let about = format!("{record}\n{truth:?}");
    assert_eq!(records::text(record, "server_name"), Some(truth.server_name.as_str()), "{about}");
    assert_eq!(records::text(record, "vantage"), Some("server"), "{about}");
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

/// The engine has the same counts, and the burn rate that follows from them.
fn check_counts(engine: &Engine) {
    let count = |slo: &Value, name: &str| slo.pointer(&format!("/budget/{name}")).and_then(Value::as_u64);
    let total = u64::try_from(HYBRID + FAILED).ok();
    let slo = wait_for(|| engine.slo(SLO).filter(|slo| count(slo, "total") == total));
    let slo = slo.unwrap_or_else(|| panic!("the engine never counts {total:?}: {:?}", engine.slo(SLO)));
    assert_eq!(count(&slo, "good"), u64::try_from(HYBRID).ok());
    assert_eq!(count(&slo, "bad"), u64::try_from(FAILED).ok());
    let expected = FAILED as f64 / (HYBRID + FAILED) as f64 / ALLOWED;
    for rate in slo.get("burn_rates").and_then(Value::as_array).expect("burn rates") {
        let burn = rate.get("burn_rate").and_then(Value::as_f64).expect("a burn rate");
        assert!((burn - expected).abs() < 1e-6 * expected, "{rate} instead of {expected}");
    }
}

/// The receiver refuses once and then gets the page, the same one, and no other.
async fn check_page(receiver: &Receiver, engine: &Engine) {
    let page =
        wait_for(|| receiver.deliveries().into_iter().find(|delivery| delivery.verdict == Verdict::Accepted));
    let page = page.unwrap_or_else(|| panic!("no page arrives{}", engine.process.log()));
    let body = page.json().expect("a JSON body");
    assert_eq!(records::text(&body, "status"), Some("firing"), "{body}");
    assert_eq!(records::text(&body, "slo"), Some(SLO), "{body}");
    assert_eq!(records::text(&body, "severity"), Some("page"), "{body}");
    // Five more evaluations, in which nothing may be sent again.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let deliveries = receiver.deliveries();
    let verdicts: Vec<_> = deliveries.iter().map(|delivery| delivery.verdict).collect();
    assert_eq!(verdicts, [Verdict::Refused, Verdict::Accepted], "{deliveries:?}");
    let [refused, accepted] = deliveries.as_slice() else { panic!("{deliveries:?}") };
    assert!(accepted.idempotency_key.is_some());
    assert_eq!(refused.idempotency_key, accepted.idempotency_key);
    assert_eq!(refused.body, accepted.body);
}
