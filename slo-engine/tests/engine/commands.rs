//! The commands besides `serve`: a running engine asked from the terminal, and objectives tried on recorded data.

use crate::otlp::{Reading, client, cumulative, delta, now, post};
use crate::process::{Engine, complaint, run, write_objective};
use std::path::Path;

const SECOND: u64 = 1_000_000_000;

#[tokio::test]
async fn status_and_explain_show_what_the_engine_says() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_objective(folder.path(), "a");
    let engine = Engine::start(
        &folder.path().join("state"),
        &["--slo", slo.to_str().unwrap(), "--evaluation-interval", "100ms"],
    );
    let url = engine.web.clone();
    let quiet = run(&["status", "--url", &url]);
    assert_eq!(quiet.status.code(), Some(0), "{}", complaint(&quiet));
    assert!(String::from_utf8_lossy(&quiet.stdout).contains("no_data"));

    let start = now();
    let bad =
        [Reading::new("a", "completed", (start, now()), 10), Reading::new("a", "failed", (start, now()), 90)];
    post(&client(), &engine.http, &cumulative(&bad)).await.unwrap();
    engine
        .wait_for("an alert", async |engine| {
            (engine.slo("a").await["alert"]["state"] == "firing").then_some(())
        })
        .await;
    let firing = run(&["status", "--url", &url]);
    assert_eq!(firing.status.code(), Some(3), "scripts see it");
    let text = String::from_utf8_lossy(&firing.stdout).into_owned();
    assert!(text.contains("firing (page)") && text.contains("90") && text.contains("100"), "{text}");

    let explained = run(&["explain", "a", "--url", &url]);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(
        text.contains("24m/2m") && text.contains("both burn at 30.00 or more") && text.contains("active"),
        "{text}"
    );
    let unknown = run(&["explain", "b", "--url", &url]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(complaint(&unknown).contains("no SLO named `b`; it has a"), "{}", complaint(&unknown));
}

#[test]
fn an_engine_that_is_not_there_is_said_with_its_address() {
    let away = run(&["status", "--url", "http://127.0.0.1:1"]);
    assert_eq!(away.status.code(), Some(1));
    assert!(
        complaint(&away).contains("cannot reach the engine at http://127.0.0.1:1"),
        "{}",
        complaint(&away)
    );
}

/// Four hours of exports every minute, half an hour of which are bad.
fn record(path: &Path) {
    let begin = 1_800_000_000;
    let mut text = String::new();
    for minute in 1..240_u64 {
        let (from, to) = ((begin + 60 * (minute - 1)) * SECOND, (begin + 60 * minute) * SECOND);
        let bad = if (120..150).contains(&minute) { 60 } else { 0 };
        let readings = [
            Reading::new("a", "completed", (from, to), 100 - bad),
            Reading::new("a", "failed", (from, to), bad),
        ];
        text.push_str(&serde_json::to_string(&delta(&readings)).unwrap());
        text.push('\n');
    }
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_replay_says_when_it_would_have_alerted_and_for_how_long() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_objective(folder.path(), "a");
    let data = folder.path().join("data.jsonl");
    record(&data);
    let replayed =
        run(&["replay", "--slo", slo.to_str().unwrap(), "--from", data.to_str().unwrap(), "--json"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", complaint(&replayed));
    let answer: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    let slo = &answer["slos"][0];
    // 60 % bad burn at 60: detected after 30 / 60 of 24 minutes from 10:00 on, over when two minutes are clean, and the
    // clear time.
    assert_eq!(slo["incidents"].as_array().unwrap().len(), 1, "{answer}");
    let opened = slo["incidents"][0]["opened_at"].as_str().unwrap();
    assert!(opened.starts_with("2027-01-15T10:1"), "{opened}");
    let resolved = slo["incidents"][0]["resolved_at"].as_str().unwrap();
    assert!(resolved.starts_with("2027-01-15T10:3"), "{resolved}");
    assert_eq!(slo["conditions"]["24m/2m"]["times"], 1);
    assert_eq!(slo["budget"]["tally"], serde_json::json!({"good": 22_100, "bad": 1_800, "total": 23_900}));

    let words = run(&[
        "replay",
        "--slo",
        folder.path().join("a.yaml").to_str().unwrap(),
        "--from",
        data.to_str().unwrap(),
    ]);
    let text = String::from_utf8_lossy(&words.stdout).into_owned();
    assert!(text.contains("paged at 2027-01-15T10:1") && text.contains("notifications: 2"), "{text}");
}

/// The same as [`record`], as a Prometheus would answer.
fn matrix() -> serde_json::Value {
    let begin = 1_800_000_000_u64;
    let series = |outcome: &str, value: &dyn Fn(u64) -> u64| {
        let mut total = 0;
        let values: Vec<serde_json::Value> = (0..240)
            .map(|minute| {
                total += value(minute);
                serde_json::json!([begin + 60 * minute, total.to_string()])
            })
            .collect();
        serde_json::json!({"metric": {"__name__": "pqscope_handshakes_total", "pqscope_service": "a",
            "pqscope_outcome": outcome, "instance": "n1"}, "values": values})
    };
    let bad = |minute| if (120..150).contains(&minute) { 60 } else { 0 };
    let result = [series("completed", &|minute| 100 - bad(minute)), series("failed", &bad)];
    serde_json::json!({"status": "success", "data": {"resultType": "matrix", "result": result}})
}

#[test]
fn the_answer_of_a_prometheus_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_objective(folder.path(), "a");
    let data = folder.path().join("range.json");
    let replay =
        || run(&["replay", "--slo", slo.to_str().unwrap(), "--from", data.to_str().unwrap(), "--json"]);
    std::fs::write(&data, matrix().to_string()).unwrap();
    let replayed = replay();
    assert_eq!(replayed.status.code(), Some(0), "{}", complaint(&replayed));
    let answer: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    let slo_said = &answer["slos"][0];
    assert_eq!(slo_said["incidents"].as_array().unwrap().len(), 1, "{answer}");
    assert!(
        slo_said["incidents"][0]["opened_at"].as_str().unwrap().starts_with("2027-01-15T10:1"),
        "{answer}"
    );
    // The first sample of each series is what later ones are compared with.
    let expected = serde_json::json!({"good": 22_100, "bad": 1_800, "total": 23_900});
    assert_eq!(slo_said["budget"]["tally"], expected);

    let vector = serde_json::json!({"status": "success", "data": {"resultType": "vector", "result": []}});
    std::fs::write(&data, vector.to_string()).unwrap();
    assert!(complaint(&replay()).contains("holds a vector, not a matrix"), "{}", complaint(&replay()));
    std::fs::write(&data, matrix().to_string().replace("pqscope_handshakes_total", "up")).unwrap();
    assert!(complaint(&replay()).contains("the objectives ask about pqscope_handshakes_total"));
}

#[tokio::test]
async fn an_export_of_the_state_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_objective(folder.path(), "a");
    let state = folder.path().join("state");
    let engine = Engine::start(&state, &["--slo", slo.to_str().unwrap()]);
    // Three hours of the last four by the minute, the middle one bad: told at once, as a Collector does after an outage.
    let end = now() / (60 * SECOND) * 60;
    for minute in 0..180 {
        let (from, to) =
            ((end - 240 * 60 + 60 * minute) * SECOND, (end - 240 * 60 + 60 * (minute + 1)) * SECOND);
        let bad = if (60..120).contains(&minute) { 60 } else { 0 };
        let readings = [
            Reading::new("a", "completed", (from, to), 100 - bad),
            Reading::new("a", "failed", (from, to), bad),
        ];
        post(&client(), &engine.http, &delta(&readings)).await.unwrap();
    }
    assert!(engine.stop().success());
    let backup = folder.path().join("state.jsonl.gz");
    let written = run(&["backup", "--state", state.to_str().unwrap(), "--to", backup.to_str().unwrap()]);
    assert!(written.status.success(), "{}", complaint(&written));
    let replayed =
        run(&["replay", "--slo", slo.to_str().unwrap(), "--from", backup.to_str().unwrap(), "--json"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", complaint(&replayed));
    let answer: serde_json::Value = serde_json::from_slice(&replayed.stdout).unwrap();
    let slo_said = &answer["slos"][0];
    assert_eq!(slo_said["incidents"].as_array().unwrap().len(), 1, "{answer}");
    let expected = serde_json::json!({"good": 14_400, "bad": 3_600, "total": 18_000});
    assert_eq!(slo_said["budget"]["tally"], expected);
}

#[test]
fn data_that_cannot_be_replayed_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_objective(folder.path(), "a");
    let replay = |data: &str| run(&["replay", "--slo", slo.to_str().unwrap(), "--from", data]);
    let away = replay("/no/such/data");
    assert_eq!(away.status.code(), Some(1));
    assert!(complaint(&away).contains("cannot replay /no/such/data: No such file"), "{}", complaint(&away));
    let path = folder.path().join("odd.jsonl");
    std::fs::write(&path, "{}\n\nnot json\n").unwrap();
    let odd = replay(path.to_str().unwrap());
    assert!(complaint(&odd).contains("odd.jsonl: line 3 is no OTLP metrics request"), "{}", complaint(&odd));
    std::fs::write(&path, "{}\n").unwrap();
    assert!(complaint(&replay(path.to_str().unwrap())).contains("holds no point"));
}
