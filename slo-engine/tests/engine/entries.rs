//! What people enter: spans that do not count, and incidents that they found first.

use crate::otlp::{Reading, client, cumulative, now, post};
use crate::process::{Engine, write_objective};
use crate::receiver::Receiver;
use serde_json::{Value, json};

async fn send(engine: &Engine, path: &str, body: &Value) -> (u16, Value) {
    let request = client().post(format!("{}{path}", engine.web)).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn an_excluded_span_leaves_the_budget_alone_and_stays_visible() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_objective(folder.path(), "a");
    let state = folder.path().join("state");
    let arguments = ["--slo", slo.to_str().unwrap(), "--evaluation-interval", "100ms"];
    let engine = Engine::start(&state, &arguments);
    let start = now();
    let readings =
        [Reading::new("a", "completed", (start, now()), 10), Reading::new("a", "failed", (start, now()), 5)];
    post(&client(), &engine.http, &cumulative(&readings)).await.unwrap();
    engine.wait_for("the counts", async |engine| (engine.events("a").await == (10, 15)).then_some(())).await;

    let hour_ago = now() / 1_000_000_000 - 3_600;
    let from = pqscope_time(hour_ago);
    let body = json!({"objectives": ["a"], "from": from, "author": "kim", "reason": "load test"});
    let (status, made) = send(&engine, "/api/v1/exclusions", &body).await;
    assert_eq!((status, &made["id"], &made["active"]), (201, &json!(1), &json!(true)), "{made}");
    engine.wait_for("the exclusion", async |engine| (engine.events("a").await == (0, 0)).then_some(())).await;
    assert_eq!(engine.slo("a").await["excluded"], json!({"good": 10, "bad": 5, "total": 15}));

    // It survives a kill, and ends when somebody says so; what it left out stays left out.
    engine.kill();
    let engine = Engine::start(&state, &arguments);
    assert_eq!(engine.events("a").await, (0, 0));
    assert_eq!(engine.json("/api/v1/exclusions").await["exclusions"][0]["reason"], "load test");
    let (status, ended) = send(&engine, "/api/v1/exclusions/1/end", &json!({})).await;
    assert_eq!((status, &ended["active"]), (200, &json!(false)), "{ended}");
    assert_eq!(send(&engine, "/api/v1/exclusions/1/end", &json!({})).await.0, 404);
    engine.wait_for("the same", async |engine| (engine.events("a").await == (0, 0)).then_some(())).await;
}

#[tokio::test]
async fn entries_that_make_no_sense_are_refused_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_objective(folder.path(), "a");
    let engine = Engine::start(&folder.path().join("state"), &["--slo", slo.to_str().unwrap()]);
    let refused = async |body: Value| {
        let (status, answer) = send(&engine, "/api/v1/exclusions", &body).await;
        assert_eq!(status, 400, "{answer}");
        answer["error"].as_str().unwrap().to_owned()
    };
    assert!(refused(json!({"reason": "x"})).await.contains("author"));
    assert!(refused(json!({"author": " ", "reason": "x"})).await.contains("`author`: must not be empty"));
    assert!(refused(json!({"author": "k", "reason": "x", "untill": "y"})).await.contains("untill"));
    assert!(refused(json!({"author": "k", "reason": "x", "from": "noon"})).await.contains("`from`"));
    let early = json!({"author": "k", "reason": "x", "until": "2020-01-01T00:00:00Z"});
    assert!(refused(early).await.contains("`until`: must be later"));
    let strange = json!({"author": "k", "reason": "x", "objectives": ["b"]});
    assert!(refused(strange).await.contains("no objective or service named \"b\""));
    // A page of somebody else can only send what needs no leave.
    let plain = client().post(format!("{}/api/v1/exclusions", engine.web)).body("{}").send().await.unwrap();
    assert_eq!(plain.status().as_u16(), 400);
    assert!(engine.json("/api/v1/exclusions").await["exclusions"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn an_incident_that_was_told_and_one_that_people_found_are_both_counted() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_objective(folder.path(), "a");
    let receiver = Receiver::start().await;
    let state = folder.path().join("state");
    let arguments = [
        "--slo",
        slo.to_str().unwrap(),
        "--slo",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../slos/time-to-detect.yaml"),
        "--evaluation-interval",
        "100ms",
        "--webhook",
        &receiver.url,
    ];
    let engine = Engine::start(&state, &arguments);
    let start = now();
    let bad =
        [Reading::new("a", "completed", (start, now()), 10), Reading::new("a", "failed", (start, now()), 90)];
    post(&client(), &engine.http, &cumulative(&bad)).await.unwrap();
    let told = engine
        .wait_for("a detection", async |engine| {
            let answer = engine.json("/api/v1/detections").await;
            (answer["summary"]["incidents"] == 1).then_some(answer)
        })
        .await;
    assert_eq!((&told["summary"]["missed"], &told["detections"][0]["slo"]), (&json!(0), &json!("a")));
    // The excursion began with the first bad bucket, which began up to ten seconds before its events.
    assert!(told["detections"][0]["seconds"].as_f64().unwrap() < 60.0, "{told}");

    let missed = json!({"began": "2026-01-01T00:00:00Z", "service": "tls", "author": "kim", "description": "users called"});
    assert_eq!(send(&engine, "/api/v1/incidents/missed", &missed).await.0, 201);
    let future =
        json!({"began": "2199-01-01T00:00:00Z", "service": "tls", "author": "kim", "description": "x"});
    assert_eq!(send(&engine, "/api/v1/incidents/missed", &future).await.0, 400);
    engine
        .wait_for("M8", async |engine| (engine.events("time-to-detect").await == (1, 2)).then_some(()))
        .await;
    engine.kill();
    let engine = Engine::start(&state, &arguments);
    assert_eq!(engine.events("time-to-detect").await, (1, 2));
    let summary = engine.json("/api/v1/detections").await["summary"].clone();
    assert_eq!((&summary["incidents"], &summary["missed_share"]), (&json!(2), &json!(0.5)));
}

fn pqscope_time(seconds: u64) -> String {
    pqscope_slo_core::time::Timestamp::from_seconds(seconds).to_string()
}
