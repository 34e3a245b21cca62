//! What should be measured and is not.

use crate::otlp::{Reading, client, cumulative, now, post};
use crate::process::Engine;
use serde_json::json;

#[tokio::test]
async fn expected_series_and_unlisted_endpoints_are_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let services = folder.path().join("services.yaml");
    std::fs::write(&services, "- name: ci\n  roles: [signer]\n- name: shop\n  hosts: [shop.example]\n")
        .unwrap();
    let arguments = ["--services", services.to_str().unwrap(), "--evaluation-interval", "100ms"];
    let engine = Engine::start(&state, &arguments);
    let span = (now(), now() + 1);
    let readings = ["shop.example", "forgotten.example"].map(|name| Reading::new(name, "completed", span, 5));
    post(&client(), &engine.http, &cumulative(&readings)).await.unwrap();
    let event = json!({"specversion": "1.0", "id": "1", "source": "/ci", "type": "pqscope.sign",
        "data": {"service": "ci", "result": "success"}});
    let sent = client()
        .post(format!("{}/api/v1/events", engine.web))
        .header("content-type", "application/json")
        .body(event.to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(sent.status().as_u16(), 200);
    engine.kill();

    // Coverage is checked at the first evaluation, and then every minute.
    let engine = Engine::start(&state, &arguments);
    let coverage = engine
        .wait_for("a check", async |engine| {
            let coverage = engine.json("/api/v1/coverage").await;
            coverage["checks"].as_array().is_some_and(|checks| !checks.is_empty()).then_some(coverage)
        })
        .await;
    assert_eq!((&coverage["expected"], &coverage["share"]), (&json!(1), &json!(1.0)), "{coverage}");
    assert_eq!(
        coverage["checks"],
        json!([
            {"service": "forgotten.example", "role": null, "series": "pqscope.handshakes", "result": "unlisted"},
            {"service": "ci", "role": "signer", "series": "pqscope.sign", "result": "present"},
        ])
    );
}
