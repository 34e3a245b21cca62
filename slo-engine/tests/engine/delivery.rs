//! Notifications arrive: at least once, each repeat the same, in order.

use crate::otlp::{Reading, client, cumulative, now, post};
use crate::process::{Engine, write_objective};
use crate::receiver::Receiver;
use std::path::Path;

fn start(folder: &Path, slo: &str, receivers: &[&Receiver]) -> Engine {
    let slos = write_objective(folder, slo);
    let mut arguments = vec!["--slo", slos.to_str().unwrap(), "--evaluation-interval", "100ms"];
    for receiver in receivers {
        arguments.extend(["--webhook", &receiver.url]);
    }
    Engine::start(&folder.join("state"), &arguments)
}

async fn fail_handshakes(engine: &Engine, service: &str) {
    let span = (now(), now() + 1);
    let readings = [Reading::new(service, "completed", span, 10), Reading::new(service, "failed", span, 90)];
    post(&client(), &engine.http, &cumulative(&readings)).await.unwrap();
}

async fn wait_for_standing(engine: &Engine, standing: &str) -> serde_json::Value {
    engine
        .wait_for(standing, async |engine| {
            let alerts = engine.json("/api/v1/alerts").await;
            let found =
                alerts["notifications"].as_array()?.iter().find(|row| row["state"] == standing)?.clone();
            Some(found)
        })
        .await
}

#[tokio::test]
async fn each_receiver_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (Receiver::start().await, Receiver::start().await);
    let engine = start(folder.path(), "a", &[&one, &other]);
    fail_handshakes(&engine, "a").await;
    engine
        .wait_for("both told", async |_| (one.posts().len() + other.posts().len() >= 2).then_some(()))
        .await;
    wait_for_standing(&engine, "sent").await;
    let before = engine.slo("a").await["alert"].clone();
    assert_eq!(before["state"], "firing");
    // More of the same is the same incident.
    fail_handshakes(&engine, "a").await;
    let evaluations = || async {
        let (_, text) = engine.get("/metrics").await;
        let line = text
            .lines()
            .find(|line| line.starts_with("pqscope_engine_evaluations_total"))
            .unwrap()
            .to_owned();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let seen = evaluations().await;
    engine.wait_for("five more rounds", async |_| (evaluations().await > seen + 5).then_some(())).await;
    assert_eq!((one.posts().len(), other.posts().len()), (1, 1));
    let body: serde_json::Value = serde_json::from_str(&one.posts()[0].body).unwrap();
    assert_eq!(
        (&body["slo"], &body["status"], &body["severity"]),
        (&"a".into(), &"firing".into(), &"page".into())
    );
    assert_eq!(body["idempotency_key"], one.posts()[0].key);
}

#[tokio::test]
async fn a_refused_notification_is_repeated_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    receiver.answer(500, None);
    let engine = start(folder.path(), "a", &[&receiver]);
    fail_handshakes(&engine, "a").await;
    engine.wait_for("two tries", async |_| (receiver.posts().len() >= 2).then_some(())).await;
    let waiting = wait_for_standing(&engine, "waiting").await;
    assert!(waiting["reason"].as_str().unwrap().contains("500"), "{waiting}");
    receiver.answer(204, None);
    wait_for_standing(&engine, "sent").await;
    assert_eq!(receiver.by_key().len(), 1);
}

#[tokio::test]
async fn a_notification_that_no_repeat_helps_is_shown_as_dead() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    receiver.answer(422, None);
    let engine = start(folder.path(), "a", &[&receiver]);
    fail_handshakes(&engine, "a").await;
    let dead = wait_for_standing(&engine, "dead").await;
    assert!(dead["reason"].as_str().unwrap().contains("422"), "{dead}");
    assert_eq!(receiver.posts().len(), 1);
    let (_, metrics) = engine.get("/metrics").await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("pqscope_notifications_total") && line.contains("\"dead\""));
    assert!(line.unwrap().ends_with(" 1"), "{metrics}");
    assert!(engine.get("/").await.1.contains("not deliverable"));
    let answer = engine.json("/api/v1/detections").await;
    let (summary, detection) = (&answer["summary"], &answer["detections"][0]);
    assert_eq!(
        (&summary["incidents"], &summary["missed"]),
        (&1.into(), &1.into()),
        "nobody was told: {answer}"
    );
    assert_eq!((&detection["slo"], &detection["missed"]), (&"a".into(), &true.into()), "{answer}");
}

#[tokio::test]
async fn the_receiver_may_ask_for_time() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    receiver.answer(429, Some("3000"));
    let engine = start(folder.path(), "a", &[&receiver]);
    fail_handshakes(&engine, "a").await;
    let next = engine
        .wait_for("a planned try", async |engine| {
            let alerts = engine.json("/api/v1/alerts").await;
            alerts["notifications"][0]["next_attempt_at"].as_str().map(str::to_owned)
        })
        .await;
    let next: jiff::Timestamp = next.parse().unwrap();
    let planned = u64::try_from(next.as_second()).unwrap() - now() / 1_000_000_000;
    assert!((2_900..=3_000).contains(&planned), "{planned}");
}

#[tokio::test]
async fn the_end_of_an_incident_never_overtakes_its_begin() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    receiver.answer(503, None);
    let engine = start(folder.path(), "a", &[&receiver]);
    fail_handshakes(&engine, "a").await;
    engine.wait_for("a try", async |_| (!receiver.posts().is_empty()).then_some(())).await;
    engine.kill();
    // The objective is removed while its alert fires: the incident is withdrawn, and its begin still waits.
    let engine = start(folder.path(), "b", &[&receiver]);
    engine.wait_for("another try", async |_| (receiver.posts().len() >= 2).then_some(())).await;
    receiver.answer(200, None);
    engine.wait_for("the end", async |_| (receiver.by_key().len() == 2).then_some(())).await;
    let events: Vec<String> = receiver.posts().iter().map(|post| event_of(&post.body)).collect();
    let (end, begins) = events.split_last().unwrap();
    assert_eq!(end, "withdrawn");
    assert!(begins.iter().all(|event| event == "fired"), "{events:?}");
}

fn event_of(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["event"].as_str().unwrap().to_owned()
}
