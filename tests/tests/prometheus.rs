//! A real Prometheus scrapes both programs: its numbers are the ones made, the shipped rules load, and every panel of the
//! dashboards gets an answer.
#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value gives null where nothing is; the assertions show it"
)]

use pqscope_lab::loopback::{DEFAULT_PATIENCE, Loopback};
use pqscope_lab::scenario::Scenario;
use pqscope_tests::live::{self, Agent, Destination, Engine};
use pqscope_tests::process::wait_for;
use pqscope_tests::prometheus::Prometheus;
use pqscope_tests::{binary, dashboard, http, requirement};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SERVICE: &str = "checkout.example";
const PLAN: [(Scenario, usize); 4] = [
    (Scenario::Hybrid, 30),
    (Scenario::X25519, 6),
    (Scenario::NoSharedGroup, 10),
    // From outside this cannot be told from a regular close: it is not settled.
    (Scenario::RefusedClientCertificate, 3),
];
const TEST: &str = "prometheus_sees_what_was_made";

fn check_metrics(promtool: &Path, address: &str) {
    let answer = http::get(address, "/metrics").expect("metrics");
    assert_eq!(answer.status, 200);
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    check.stdin.take().expect("a pipe").write_all(answer.body.as_bytes()).expect("metrics to promtool");
    let output = check.wait_with_output().expect("promtool");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{address}: {said}");
}

/// Names that dashboards may ask for: families that the programs expose.
fn families(addresses: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for address in addresses {
        let body = http::get(address, "/metrics").expect("metrics").body;
        for line in body.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            if words.next() == Some("histogram") {
                names.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
            }
            names.insert(name);
        }
    }
    names
}

/// The metrics that a query asks for: words that are neither in a `by (...)` nor in front of a label's value.
fn metric_names(query: &str) -> Vec<String> {
    let mut ungrouped = String::new();
    for (index, part) in query.split("by (").enumerate() {
        let labels = if index == 0 { 0 } else { part.find(')').map_or(part.len(), |end| end + 1) };
        ungrouped.push_str(&part[labels..]);
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    ungrouped
        .match_indices("pqscope_")
        .filter_map(|(at, _)| {
            let word: String = ungrouped[at..].chars().take_while(|c| is_word(*c)).collect();
            let rest = &ungrouped[at + word.len()..];
            (!rest.starts_with(['=', '!'])).then_some(word)
        })
        .collect()
}

/// Counters that begin with their first event, which the traffic here need not have.
const BEGIN_WITH_AN_EVENT: [&str; 2] = ["pqscope_handshake_fallbacks_total", "pqscope_path_events_total"];

fn check_dashboards(prometheus: &Prometheus, exposed: &BTreeSet<String>) {
    let mut missing = BTreeSet::new();
    let is_known = |name: &String| exposed.contains(name) || BEGIN_WITH_AN_EVENT.contains(&name.as_str());
    for board in dashboard::all() {
        for (panel, query) in board.queries() {
            prometheus.query(&dashboard::resolve(&query));
            let unknown = metric_names(&query).into_iter().filter(|name| !is_known(name));
            missing.extend(unknown.map(|name| format!("{name} ({panel})")));
        }
    }
    assert!(missing.is_empty(), "dashboards ask for what neither program exposes: {missing:?}");
}

fn check_rules(prometheus: &Prometheus) {
    let wrong = wait_for(|| {
        let answer = http::get_json(&prometheus.address, "/api/v1/rules").ok()?;
        let groups = answer["data"]["groups"].as_array()?.clone();
        let rules: Vec<Value> =
            groups.iter().filter_map(|group| group["rules"].as_array().cloned()).flatten().collect();
        let evaluated = !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown");
        evaluated.then(|| rules.into_iter().filter(|rule| rule["health"] != "ok").collect::<Vec<_>>())
    });
    assert_eq!(wrong, Some(Vec::new()), "rules that fail");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_sees_what_was_made() {
    let find = |name| requirement::program(TEST, name, "prometheus");
    let (Some(program), Some(promtool)) = (find("prometheus"), find("promtool")) else { return };
    if !requirement::capture(TEST) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let lab = Loopback::start(0, &live::server_names(SERVICE), DEFAULT_PATIENCE).await.expect("a lab");
    let engine = Engine::start(&folder.path().join("state"), None);
    let port = live::free_port();
    let destination = Destination { protocol: "grpc", address: &engine.otlp_grpc };
    let records: PathBuf = folder.path().join("records.jsonl");
    let mut agent = Agent::start(lab.server_address().port(), records, Some(destination), Some(port));
    agent.warm_up(&lab).await;
    let agent_metrics = format!("127.0.0.1:{port}");
    let targets = [("pqscope-agent", agent_metrics.as_str()), ("pqscope-slo", engine.web.as_str())];
    let rules = binary::repository().join("alert-rules/pqscope.rules.yaml").canonicalize().expect("rules");
    let prometheus = Prometheus::start(&program, folder.path(), &rules, &targets);
    live::make(&lab, SERVICE, &PLAN).await;

    let ours = format!(r#"pqscope_service="{SERVICE}""#);
    let sum = |matchers: &str| format!("sum(pqscope_handshakes_total{{{ours}, {matchers}}})");
    prometheus.expect(&sum(r#"pqscope_outcome="completed", pqscope_group_class="hybrid""#), 30.0);
    prometheus.expect(&sum(r#"pqscope_outcome="completed", pqscope_group_class="classical""#), 6.0);
    prometheus.expect(&sum(r#"pqscope_outcome="failed", error_type="alert_handshake_failure""#), 10.0);
    prometheus.expect(&sum(r#"pqscope_outcome="incomplete""#), 3.0);
    prometheus.expect("sum(pqscope_agent_incomplete_total)", 3.0);
    prometheus.expect(&format!("sum(pqscope_handshake_duration_seconds_count{{{ours}}})"), 36.0);
    prometheus
        .expect(&format!(r#"sum(pqscope_handshake_duration_seconds_bucket{{{ours}, le="+Inf"}})"#), 36.0);
    let p95 = format!(
        "histogram_quantile(0.95, sum by (le) (pqscope_handshake_duration_seconds_bucket{{{ours}}}))"
    );
    let p95 = prometheus.number(&p95);
    assert!(p95.is_some_and(|seconds| seconds > 0.0 && seconds < 5.0), "p95 {p95:?}");

    let slo = r#"pqscope_slo_name="handshake-success""#;
    prometheus.expect(&format!(r#"pqscope_slo_events_total{{{slo}, pqscope_result="good"}}"#), 30.0);
    prometheus.expect(&format!(r#"pqscope_slo_events_total{{{slo}, pqscope_result="bad"}}"#), 10.0);
    prometheus.expect(&format!(r#"round(pqscope_slo_burn_rate_ratio{{{slo}, pqscope_window="1h"}})"#), 250.0);

    check_metrics(&promtool, &agent_metrics);
    check_metrics(&promtool, &engine.web);
    check_rules(&prometheus);
    check_dashboards(&prometheus, &families(&[&agent_metrics, &engine.web]));
    assert!(prometheus.process.interrupt().status.success());
    let (_, ended) = agent.stop();
    assert!(ended.status.success(), "the agent ended with {}: {:?}", ended.status, ended.errors);
}
