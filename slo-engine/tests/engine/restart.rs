//! What a restart must not change.

use crate::otlp::{Reading, client, cumulative, now, post};
use crate::process::{Engine, write_objective};
use crate::receiver::Receiver;

#[tokio::test]
async fn an_incident_survives_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let slo = write_objective(folder.path(), "a");
    let state = folder.path().join("state");
    let arguments =
        ["--slo", slo.to_str().unwrap(), "--webhook", &receiver.url, "--evaluation-interval", "100ms"];
    let engine = Engine::start(&state, &arguments);
    let span = (now(), now() + 1);
    let readings = [Reading::new("a", "completed", span, 10), Reading::new("a", "failed", span, 90)];
    post(&client(), &engine.http, &cumulative(&readings)).await.unwrap();
    engine.wait_for("the page", async |_| (receiver.posts().len() == 1).then_some(())).await;
    engine
        .wait_for("its note", async |engine| {
            (engine.json("/api/v1/alerts").await["notifications"][0]["state"] == "sent").then_some(())
        })
        .await;
    let before = engine.slo("a").await;
    assert_eq!(engine.stop().code(), Some(0), "a graceful end");

    for end in ["kill", "stop"] {
        let engine = Engine::start(&state, &arguments);
        let after = engine.slo("a").await;
        assert_eq!(after["alert"], before["alert"], "{end}");
        assert_eq!(after["budget"], before["budget"], "{end}");
        // The same export again: the stream's mark came back with the counts.
        post(&client(), &engine.http, &cumulative(&readings)).await.unwrap();
        engine
            .wait_for("a round", async |engine| {
                (engine.slo("a").await["last_heard"].is_string()).then_some(())
            })
            .await;
        assert_eq!(engine.events("a").await, (10, 100));
        if end == "kill" {
            engine.kill();
        } else {
            assert_eq!(engine.stop().code(), Some(0));
        }
    }
    assert_eq!(receiver.posts().len(), 1, "nobody is paged twice");
}
