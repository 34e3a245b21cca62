//! Events: taken in every form, counted once, kept across kills, shown.

use crate::otlp::{PROTOBUF, client, text};
use crate::process::{Engine, OBJECTIVE};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An objective over events of the service of that name.
pub(crate) fn write_event_objective(folder: &Path, name: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join(format!("{name}.yaml"));
    let text = OBJECTIVE
        .replace("pqscope.handshakes", "pqscope.events")
        .replace("pqscope.outcome: [completed, failed]", "pqscope.result: [success, failure]")
        .replace("pqscope.outcome: completed", "pqscope.result: success")
        .replace("NAME", name);
    std::fs::write(&path, text).unwrap();
    path
}

fn signature(id: &str, service: &str, result: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/ci", "type": "pqscope.sign",
        "data": {"service": service, "result": result, "duration": 0.2, "algorithm": "ML-DSA-65"}})
}

/// Status and receipt of a post.
async fn post(engine: &Engine, kind: &str, body: String) -> Option<(u16, Value)> {
    let sent = client().post(format!("{}/api/v1/events", engine.web)).header("content-type", kind).body(body);
    let response = sent.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, serde_json::from_str(&response.text().await.ok()?).unwrap_or_default()))
}

const GROWTH: &str = "
apiVersion: openslo/v1
kind: SLO
metadata: {name: growth}
spec:
  service: keys
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    metadata: {name: growth}
    spec:
      thresholdMetric: {metricSource: {type: pqscope, spec: {metric: pqscope.storage.size}}}
  objectives: [{pqscope.growth: {budget: 1000, capacity: 500}}]
";

/// It grew by 100 bytes since yesterday, and 300 are left: three days.
#[tokio::test]
async fn a_store_that_grows_tells_when_it_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("growth.yaml");
    std::fs::write(&path, GROWTH).unwrap();
    let arguments = ["--slo", path.to_str().unwrap(), "--evaluation-interval", "100ms"];
    let engine = Engine::start(&folder.path().join("state"), &arguments);
    let size = |id: &str, hours_ago: i64, bytes: u64| {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(hours_ago);
        json!({"specversion": "1.0", "id": id, "source": "/store", "type": "pqscope.storage.size",
            "time": time.to_string(), "data": {"store": "keys", "bytes": bytes}})
    };
    let sizes = json!([size("1", 12, 100), size("2", 0, 200)]);
    let (status, receipt) = post(&engine, BATCH, sizes.to_string()).await.unwrap();
    assert_eq!((status, &receipt["accepted"]), (200, &json!(2)), "{receipt}");
    let forecast =
        "pqscope_storage_forecast_seconds{pqscope_slo_name=\"growth\",pqscope_service=\"keys\"} 259200\n";
    engine
        .wait_for(forecast, async |engine| engine.get("/metrics").await.1.contains(forecast).then_some(()))
        .await;
}

const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

#[tokio::test]
async fn every_form_counts_and_repeats_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_event_objective(folder.path(), "ci");
    let arguments = ["--slo", slo.to_str().unwrap(), "--evaluation-interval", "100ms"];
    let engine = Engine::start(&folder.path().join("state"), &arguments);

    let (status, receipt) = post(&engine, ONE, signature("1", "ci", "success").to_string()).await.unwrap();
    assert_eq!(
        (status, &receipt["accepted"], &receipt["duplicates"]),
        (200, &json!(1), &json!(0)),
        "{receipt}"
    );
    let mut bad = signature("4", "ci", "success");
    bad["data"]["duration"] = json!(-1);
    bad["data"]["colour"] = json!("red");
    let batch = json!([
        signature("1", "ci", "success"),
        signature("2", "ci", "failure"),
        {"specversion": "1.0", "id": "3", "source": "/ci", "type": "pqscope.sing"},
        bad,
    ]);
    let (status, receipt) = post(&engine, BATCH, batch.to_string()).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(
        (&receipt["accepted"], &receipt["duplicates"], &receipt["refused"]),
        (&json!(1), &json!(1), &json!(2))
    );
    assert_eq!(receipt["refused_by_reason"], json!({"bad_value": 1, "unknown_type": 1}));
    assert_eq!(
        (&receipt["refusals"][1]["index"], &receipt["refusals"][1]["field"]),
        (&json!(3), &json!("data.duration"))
    );

    let binary = client()
        .post(format!("{}/api/v1/events", engine.web))
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", "5")
        .header("ce-source", "/ci")
        .header("ce-type", "pqscope.sign")
        .body(json!({"service": "ci", "result": "success"}).to_string());
    assert_eq!(binary.send().await.unwrap().status().as_u16(), 200);
    engine.expect_events("ci", 2, 3).await;

    let metrics = engine.get("/metrics").await.1;
    assert!(metrics.contains("pqscope_engine_events_total{pqscope_result=\"counted\"} 3"), "{metrics}");
    assert!(metrics.contains("pqscope_engine_events_total{pqscope_result=\"duplicate\"} 1"), "{metrics}");
    let shown = engine.json("/api/v1/events?type=pqscope.sign&service=ci&limit=2").await;
    assert_eq!(shown["events"].as_array().unwrap().len(), 2);
    assert_eq!(shown["events"][0]["data"]["result"], "success");
    assert_eq!(engine.get("/api/v1/events?type=x").await.0, 400);
    assert_eq!(engine.get("/api/v1/events?since=yesterday").await.0, 400);
}

#[tokio::test]
async fn what_cannot_be_read_at_all_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start(&folder.path().join("state"), &["--max-request", "4KiB"]);
    for (kind, body, expected) in [
        ("text/plain", "{}".to_owned(), 415),
        (ONE, "{".to_owned(), 400),
        (ONE, "[1, 2]".to_owned(), 400),
        (ONE, json!({"specversion": "1.0", "id": "1", "source": "s", "type": "x"}).to_string(), 400),
        (ONE, format!("\"{}\"", "x".repeat(5_000)), 413),
    ] {
        let (status, answer) = post(&engine, kind, body.clone()).await.unwrap();
        assert_eq!(status, expected, "{body}: {answer}");
        assert!(answer["error"].is_string() || answer["refusals"][0]["message"].is_string(), "{answer}");
    }
    assert_eq!(post(&engine, BATCH, "[]".to_owned()).await.unwrap().0, 200);
}

fn log(id: Option<&str>, result: &str) -> ExportLogsServiceRequest {
    let mut attributes = vec![text("pqscope.service", "ci"), text("result", result)];
    attributes.extend(id.map(|id| text("event.id", id)));
    let record = LogRecord {
        time_unix_nano: crate::otlp::now(),
        event_name: "pqscope.verify".to_owned(),
        attributes,
        ..LogRecord::default()
    };
    let other = LogRecord { event_name: "exception".to_owned(), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record, other], ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

async fn post_logs(engine: &Engine, kind: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let sent = client().post(format!("{}/v1/logs", engine.http)).header("content-type", kind).body(body);
    let response = sent.send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn log_records_are_events_over_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    let slo = write_event_objective(folder.path(), "ci");
    let arguments = ["--slo", slo.to_str().unwrap(), "--evaluation-interval", "100ms"];
    let engine = Engine::start(&folder.path().join("state"), &arguments);

    let request = log(None, "success");
    for _ in 0..2 {
        let (status, body) = post_logs(&engine, PROTOBUF, request.encode_to_vec()).await;
        assert_eq!((status, body), (200, vec![]));
    }
    let json_form = serde_json::to_vec(&log(Some("j"), "failure")).unwrap();
    assert_eq!(post_logs(&engine, "application/json", json_form).await, (200, b"{}".to_vec()));
    let mut grpc = LogsServiceClient::connect(engine.grpc.clone()).await.unwrap();
    for _ in 0..2 {
        let answer = grpc.export(log(Some("g"), "success")).await.unwrap().into_inner();
        assert_eq!(answer.partial_success, None);
    }
    engine.expect_events("ci", 2, 3).await;

    let (status, body) = post_logs(&engine, PROTOBUF, log(Some("x"), "maybe").encode_to_vec()).await;
    let partial = ExportLogsServiceResponse::decode(body.as_slice()).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_log_records), (200, 1));
    assert!(partial.error_message.contains("data.result"), "{}", partial.error_message);
    assert_eq!(post_logs(&engine, PROTOBUF, vec![0xff; 9]).await.0, 400);
}

#[tokio::test]
async fn kills_lose_no_acknowledged_event_and_double_none() {
    let folder = tempfile::tempdir().unwrap();
    let (slo, state) = (write_event_objective(folder.path(), "ci"), folder.path().join("state"));
    let arguments = ["--slo", slo.to_str().unwrap(), "--evaluation-interval", "100ms"];
    let mut engine = Engine::start(&state, &arguments);
    let mut acknowledged = 0_u64;
    let mut chance = fastrand::Rng::with_seed(crate::otlp::now());
    println!("seed of the kill times: {}", chance.get_seed());
    for round in 0..10 {
        let pause = Duration::from_millis(chance.u64(5..120));
        let address = engine.web.clone();
        // Single events one after the other; the last one's answer may be lost with the engine.
        let sending = tokio::spawn(async move {
            let client = client();
            let mut number = 0;
            loop {
                let body = signature(&format!("{round}-{number}"), "ci", "success").to_string();
                let sent =
                    client.post(format!("{address}/api/v1/events")).header("content-type", ONE).body(body);
                match sent.send().await {
                    Ok(answer) if answer.status().is_success() => number += 1,
                    _ => return number,
                }
            }
        });
        tokio::time::sleep(pause).await;
        engine.kill();
        let answered = sending.await.unwrap();
        engine = Engine::start(&state, &arguments);
        // All of the round once more, and the one that got no answer: it counts now if it did not then.
        let again: Value =
            (0..=answered).map(|number| signature(&format!("{round}-{number}"), "ci", "success")).collect();
        let (_, receipt) = post(&engine, BATCH, again.to_string()).await.unwrap();
        let duplicates = receipt["duplicates"].as_u64().unwrap();
        assert!(duplicates >= answered, "round {round}: {answered} acknowledged, {receipt}");
        acknowledged += answered + 1;
        engine.expect_events("ci", acknowledged, acknowledged).await;
    }
    println!("{acknowledged} events");
}

fn rotation(id: &str, data: Value) -> String {
    json!({"specversion": "1.0", "id": id, "source": "/plan", "type": "pqscope.key.rotation", "data": data})
        .to_string()
}

#[tokio::test]
async fn a_rotation_is_done_when_all_have_reported_also_across_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let engine = Engine::start(&state, &["--evaluation-interval", "100ms"]);
    let plan = json!({"rotation_id": "r", "due_at": "2190-01-01T00:00:00Z", "services": ["a", "b"]});
    assert_eq!(post(&engine, ONE, rotation("1", plan)).await.unwrap().0, 200);
    let report = |service: &str| json!({"rotation_id": "r", "service": service, "result": "success"});
    post(&engine, ONE, rotation("2", report("a"))).await.unwrap();
    let shown = engine.json("/api/v1/rotations").await;
    assert_eq!(
        (&shown["rotations"][0]["state"], &shown["rotations"][0]["missing"]),
        (&json!("due"), &json!(["b"]))
    );
    engine.kill();
    let engine = Engine::start(&state, &["--evaluation-interval", "100ms"]);
    post(&engine, ONE, rotation("3", report("b"))).await.unwrap();
    let shown = engine.json("/api/v1/rotations").await;
    assert_eq!(
        (&shown["rotations"][0]["state"], &shown["rotations"][0]["outcome"]),
        (&json!("done"), &json!("done"))
    );
    engine
        .wait_for("the figure", async |engine| {
            let metrics = engine.get("/metrics").await.1;
            metrics.contains("pqscope_rotations{pqscope_state=\"done\"} 1").then_some(())
        })
        .await;
}
