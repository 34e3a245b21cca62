//! Logs of other programs are followed through kills, rotations and rubbish: every record counts, and counts once.

use crate::events::write_event_objective;
use crate::process::{Engine, complaint, run};
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

fn append(path: &Path, text: &str) {
    File::options().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// A time a few seconds ago, as logs write it.
fn time() -> String {
    let seconds = crate::otlp::now() / 1_000_000_000;
    pqscope_slo_core::time::Timestamp::from_seconds(seconds).to_string()
}

fn signature(id: &str, result: &str) -> String {
    let record = |kind: &str| {
        json!({"type": kind, "time": time(), "error": (result != "success").then_some("permission denied"),
            "auth": {"metadata": {"role_name": "ci"}},
            "request": {"id": id, "operation": "update", "path": "transit/sign/release", "mount_type": "transit",
                "mount_point": "transit/"}})
    };
    format!("{}\n{}\n", record("request"), record("response"))
}

/// Writes a file of adapters; the arguments of an engine that follows them.
pub(crate) fn write_adapters(folder: &Path, slo: &Path, adapters: &str) -> [String; 6] {
    let file = folder.join("adapters.yaml");
    std::fs::write(&file, adapters).unwrap();
    ["--evaluation-interval", "100ms", "--slo", slo.to_str().unwrap(), "--adapters", file.to_str().unwrap()]
        .map(str::to_owned)
}

#[tokio::test]
async fn a_log_is_followed_through_kills_and_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_event_objective(&folder.path().join("slos"), "ci");
    let (state, log) = (folder.path().join("state"), folder.path().join("audit.log"));
    let adapter = format!("vault:{}", log.display());
    let arguments = ["--slo", slo.to_str().unwrap(), "--evaluation-interval", "100ms", "--adapter", &adapter];

    // The file comes later than the engine.
    let engine = Engine::start(&state, &arguments);
    append(&log, &signature("1", "success"));
    append(&log, &signature("2", "failure"));
    engine.expect_events("ci", 1, 2).await;
    let metrics = engine.get("/metrics").await.1;
    assert!(metrics.contains("pqscope_result=\"ignored\"} 1"), "the request of the signature: {metrics}");

    // Killed within a line.
    let third = signature("3", "success");
    let (begin, end) = third.split_at(third.len() - 20);
    append(&log, begin);
    tokio::time::sleep(Duration::from_millis(700)).await;
    engine.kill();
    append(&log, end);
    append(&log, &signature("4", "success"));
    let engine = Engine::start(&state, &arguments);
    engine.expect_events("ci", 3, 4).await;

    // Rotated while it runs, and once more while it does not.
    std::fs::rename(&log, folder.path().join("audit.log.1")).unwrap();
    append(&log, &signature("5", "success"));
    engine.expect_events("ci", 4, 5).await;
    engine.kill();
    append(&log, &signature("6", "success"));
    std::fs::rename(&log, folder.path().join("audit.log.2")).unwrap();
    append(&log, &signature("7", "success"));
    let engine = Engine::start(&state, &arguments);
    engine.expect_events("ci", 6, 7).await;

    // Cut and written on, with rubbish.
    File::create(&log).unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    append(&log, "no json\n");
    append(&log, &"x".repeat(300 << 10));
    append(&log, "\n");
    append(&log, &signature("8", "success"));
    engine.expect_events("ci", 7, 8).await;
    let metrics = engine.get("/metrics").await.1;
    for word in ["unreadable", "too_long"] {
        assert!(metrics.contains(&format!("pqscope_result=\"{word}\"}} 1")), "{word}: {metrics}");
    }
    assert_eq!(engine.events("ci").await, (7, 8));
}

/// Kills at any moment while a log grows: records without an identity of their own count once too.
#[tokio::test]
async fn kills_neither_lose_nor_double_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_event_objective(&folder.path().join("slos"), "ci");
    let (state, log) = (folder.path().join("state"), folder.path().join("hsm.jsonl"));
    let adapters = format!(
        "- kind: json\n  path: {}\n  service: ci\n  events:\n    - type: pqscope.decrypt\n      fields: {{result: rv}}\n      values: {{result: {{CKR_OK: success, \"*\": failure}}}}\n",
        log.display()
    );
    let arguments = write_adapters(folder.path(), &slo, &adapters);
    let mut chance = fastrand::Rng::with_seed(crate::otlp::now());
    println!("seed of the kill times: {}", chance.get_seed());
    let mut total = 0;
    for _ in 0..8 {
        let engine = Engine::start(&state, &arguments);
        for _ in 0..50 {
            append(&log, "{\"rv\":\"CKR_OK\"}\n");
            total += 1;
        }
        tokio::time::sleep(Duration::from_millis(chance.u64(0..700))).await;
        engine.kill();
    }
    let engine = Engine::start(&state, &arguments);
    engine.expect_events("ci", total, total).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(engine.events("ci").await, (total, total));
}

#[tokio::test]
async fn handshakes_of_an_access_log_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let slo = crate::process::write_objective(folder.path(), "edge");
    let log = folder.path().join("access.log");
    let adapter = format!("nginx:{}", log.display());
    let arguments = ["--slo", slo.to_str().unwrap(), "--evaluation-interval", "100ms", "--adapter", &adapter];
    for number in [1, 2, 1] {
        let line = json!({"time_iso8601": time(), "ssl_protocol": "TLSv1.3", "ssl_curve": "X25519MLKEM768",
            "ssl_server_name": "edge", "connection_requests": number});
        append(&log, &format!("{line}\n"));
    }
    let engine = Engine::start(&folder.path().join("state"), &arguments);
    engine.expect_events("edge", 2, 2).await;
}

#[test]
fn faults_of_an_adapters_file_are_told_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("adapters.yaml");
    std::fs::write(&file, "- kind: valut\n  path: /a\n").unwrap();
    let state = folder.path().join("state");
    let output = run(&["serve", "--state", state.to_str().unwrap(), "--adapters", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("adapters.yaml:1:9: error: `valut`"), "{}", complaint(&output));
    let output = run(&["serve", "--adapter", "valut:/a"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint(&output).contains("known are vault"), "{}", complaint(&output));
}
