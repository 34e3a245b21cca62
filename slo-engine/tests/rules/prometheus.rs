//! A real Prometheus with compiled rules: it scrapes a service that tells what it is to, and its alerts begin and end.

use crate::files::{KINDS, rules};
use crate::slo;
use pqscope_tests::process::wait_for;
use pqscope_tests::prometheus::Prometheus;
use pqscope_tests::{http, requirement};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const TEST: &str = "a_real_prometheus_fires_for_what_burns_alone";

/// Answers scrapes until the test is over, with a hundred requests more each time. One service fails half of its requests
/// while it is `ill`, another none; the other metrics are there for rules of every kind to be evaluated on something.
fn service(ill: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut requests, mut failed) = (0, 0);
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let _ = stream.read(&mut [0; 4_096]);
            requests += 100;
            failed += if ill.load(Ordering::SeqCst) { 50 } else { 0 };
            let mut body = String::new();
            for (service, failed) in [("burning", failed), ("healthy", 0)] {
                for (outcome, count) in [("completed", requests - failed), ("failed", failed)] {
                    let labels = format!("pqscope_service=\"{service}\",outcome=\"{outcome}\"");
                    let _ = writeln!(body, "requests_total{{{labels}}} {count}");
                }
            }
            for (name, value) in [
                ("store_size", requests),
                ("link_up", 1),
                ("queue_depth", 7),
                ("e_total{code=\"200\"}", requests),
                ("e_total{code=\"500\"}", failed),
                ("pqscope_handshake_duration_seconds_bucket{le=\"0.25\"}", requests - failed),
                ("pqscope_handshake_duration_seconds_bucket{le=\"+Inf\"}", requests),
                ("pqscope_handshake_duration_seconds_count", requests),
            ] {
                let _ = writeln!(body, "{name} {value}");
            }
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    address
}

/// Objectives of both services, which share their rules, and those of every kind.
fn objectives() -> String {
    let tiers = "spike: {}, dayShare: 0.25, clearFor: 2s, \
                 tiers: [{long: 2m, short: 10s, factor: 10, severity: page, pendingFor: 2s}]";
    let of = |service: &str| {
        slo("target: 0.99", tiers)
            .replace("name: checkout", &format!("name: {service}"))
            .replace("outcome: completed", &format!("outcome: completed, pqscope.service: {service}"))
            .replace(
                "total: {metricSource: {type: pqscope, spec: {metric: requests",
                &format!(
                    "total: {{metricSource: {{type: pqscope, spec: {{metric: requests, match: {{pqscope.service: {service}}}"
                ),
            )
    };
    format!("{}---\n{}---\n{KINDS}", of("burning"), of("healthy"))
}

fn ask(prometheus: &Prometheus, path: &str) -> Option<Value> {
    http::get_json(&prometheus.address, path).ok().map(|answer| answer["data"].clone())
}

fn all_rules(prometheus: &Prometheus) -> Option<Vec<Value>> {
    let groups = ask(prometheus, "/api/v1/rules")?["groups"].as_array()?.clone();
    Some(groups.iter().filter_map(|group| group["rules"].as_array().cloned()).flatten().collect())
}

/// Which of the two services a window pair fires for; other objectives have windows too long for a test.
fn burning(prometheus: &Prometheus) -> Option<Vec<String>> {
    let alerts = ask(prometheus, "/api/v1/alerts")?["alerts"].as_array()?.clone();
    let fires =
        |alert: &&Value| alert["state"] == "firing" && alert["labels"]["alertname"] == "PqscopeSloBurnRate";
    let name = |alert: &Value| alert["labels"]["pqscope_slo_name"].as_str().unwrap_or_default().to_owned();
    let names = alerts.iter().filter(fires).map(name);
    Some(names.filter(|name| ["burning", "healthy"].contains(&name.as_str())).collect())
}

fn burn(prometheus: &Prometheus, objective: &str) -> Option<f64> {
    prometheus.number(&format!(
        "pqscope_slo_burn_rate_ratio{{pqscope_slo_name=\"{objective}\",pqscope_window=\"2m\"}}"
    ))
}

#[test]
fn a_real_prometheus_fires_for_what_burns_alone() {
    let Some(program) = requirement::program(TEST, "prometheus", "prometheus") else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("slo.yaml");
    std::fs::write(&file, objectives()).unwrap();
    let out = folder.path().join("rules.yaml");
    let paths = (file.to_str().unwrap(), out.to_str().unwrap());
    let told = ["--interval", "1s", "--delay", "2s", "--histograms", "classic"];
    let made = rules(&[&[paths.0, "-o", paths.1][..], &told].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let text = std::fs::read_to_string(&out).unwrap();
    let count = text.matches("- record:").count() + text.matches("- alert:").count();

    let ill = Arc::new(AtomicBool::new(true));
    let prometheus =
        Prometheus::start(&program, folder.path(), &out, &[("service", &service(Arc::clone(&ill)))]);
    let log = || prometheus.process.log();
    let fired = wait_for(|| burning(&prometheus).filter(|names| !names.is_empty()));
    assert_eq!(fired, Some(vec!["burning".to_owned()]), "{}", log());
    // The other one is known to be well, not unknown.
    assert_eq!(burn(&prometheus, "healthy"), Some(0.0));
    assert!(burn(&prometheus, "burning").is_some_and(|burn| (40.0..=50.1).contains(&burn)), "{}", log());

    ill.store(false, Ordering::SeqCst);
    let over = wait_for(|| burning(&prometheus).filter(Vec::is_empty));
    assert!(over.is_some(), "{:?}{}", burning(&prometheus), log());

    let evaluated = wait_for(|| {
        let rules = all_rules(&prometheus)?;
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    });
    let evaluated = evaluated.unwrap_or_default();
    assert_eq!(evaluated.len(), count, "all rules are loaded");
    let fails = |rule: &&Value| rule["health"] != "ok" || !rule["lastError"].is_null();
    assert_eq!(evaluated.iter().filter(fails).collect::<Vec<_>>(), Vec::<&Value>::new());
    // Not only at the last evaluation: none failed, and no series was made twice.
    let metrics = http::get(&prometheus.address, "/metrics").unwrap().body;
    let failures: Vec<&str> = metrics
        .lines()
        .filter(|line| {
            line.starts_with("prometheus_rule_evaluation_failures_total{") && !line.ends_with(" 0")
        })
        .collect();
    assert_eq!(failures, Vec::<&str>::new(), "{}", log());
    assert!(metrics.contains("prometheus_rule_evaluation_failures_total{"), "the metric is there");
    let ended = prometheus.process.interrupt();
    assert!(ended.status.success(), "{:?}", ended.errors);
    let told: Vec<&String> = ended.errors.iter().filter(|line| line.contains("rule")).collect();
    assert_eq!(told, Vec::<&String>::new());
}
