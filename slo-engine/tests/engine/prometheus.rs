//! Objectives that a PromQL back end has the numbers of.

use crate::process::{Engine, OBJECTIVE};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// What the back end does.
#[derive(Clone, Copy)]
enum Mood {
    /// So many good and all events, whatever the window.
    Counts(f64, f64),
    /// Status 503 with words.
    Broken,
    /// Not JSON.
    Confused,
}

/// A back end that answers every query alike, and remembers what it was asked and by whom.
#[derive(Clone)]
struct Backend {
    url: String,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Backend {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let backend = Self { url, mood: Arc::new(Mutex::new(mood)), asked: Arc::default() };
        let router = Router::new().route("/base/api/v1/query", post(answer)).with_state(backend.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        backend
    }

    fn turn(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

async fn answer(State(backend): State<Backend>, headers: HeaderMap, body: String) -> Response {
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let sender = format!("{} {}", header("authorization"), header("x-scope-orgid"));
    backend.asked.lock().unwrap().push((body.clone(), sender));
    let vector = |value: f64| {
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{value}"]}}]}}}}"#
        )
    };
    let empty = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
    match *backend.mood.lock().unwrap() {
        Mood::Broken => {
            (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"error","error":"out of memory"}"#).into_response()
        }
        Mood::Confused => "<html>hello</html>".into_response(),
        Mood::Counts(..) if body.contains("timestamp") || body.contains("overflow") => empty.into_response(),
        Mood::Counts(good, _) if body.contains("good_total") => vector(good).into_response(),
        Mood::Counts(_, total) => vector(total).into_response(),
    }
}

fn write_objective(folder: &Path, backend: &Backend) -> PathBuf {
    let path = folder.join("slo.yaml");
    let token = folder.join("token");
    std::fs::write(&token, "secret\n").unwrap();
    let source = format!(
        "apiVersion: openslo/v1
kind: DataSource
metadata: {{name: mimir}}
spec:
  type: Prometheus
  connectionDetails: {{url: '{}', headers: {{X-Scope-OrgID: team}}, bearerTokenFile: '{}', timeout: 2s}}
---
",
        backend.url,
        token.display()
    );
    let (before, after) = OBJECTIVE.split_once("        good:").unwrap();
    let (_, after) = after.split_once("  objectives:").unwrap();
    let metrics =
        "        good: {metricSource: {type: Prometheus, metricSourceRef: mimir, spec: {query: good_total}}}
        total: {metricSource: {type: Prometheus, metricSourceRef: mimir, spec: {query: all_total}}}
  objectives:";
    let slo = format!("{before}{metrics}{after}").replace("NAME", "remote");
    std::fs::write(&path, source + slo.trim_start()).unwrap();
    path
}

fn arguments(file: &Path) -> Vec<String> {
    ["--evaluation-interval", "200ms", "--slo"]
        .map(str::to_owned)
        .into_iter()
        .chain([file.display().to_string()])
        .collect()
}

async fn alert_state(engine: &Engine) -> String {
    engine.json("/api/v1/alerts").await["alerts"][0]["state"].as_str().unwrap_or("none").to_owned()
}

#[tokio::test]
async fn a_back_end_that_fails_neither_heals_nor_ends_an_incident() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start(Mood::Counts(500.0, 1_000.0)).await;
    let arguments = arguments(&write_objective(folder.path(), &backend));
    let engine = Engine::start(&folder.path().join("state"), &arguments);
    let slo = engine
        .wait_for("the page", async |engine| {
            let slo = engine.slo("remote").await;
            Some(slo).filter(|slo| slo["state"] == "burning")
        })
        .await;
    assert_eq!(alert_state(&engine).await, "firing");
    assert_eq!(slo["budget"]["total"], 1_000);
    {
        let asked = backend.asked.lock().unwrap();
        assert!(
            asked.iter().all(|(body, _)| body.starts_with("query=") && body.contains("&time=")),
            "{asked:?}"
        );
        assert!(asked.iter().all(|(_, sender)| sender == "Bearer secret team"), "{asked:?}");
        assert!(asked.iter().any(|(body, _)| body.contains("good_total%5B24m%5D")), "{asked:?}");
    }
    for (mood, words) in [(Mood::Broken, "out of memory"), (Mood::Confused, "no JSON")] {
        backend.turn(mood);
        let slo = engine
            .wait_for("the fault", async |engine| {
                let slo = engine.slo("remote").await;
                Some(slo).filter(|slo| slo["fault"].as_str().is_some_and(|fault| fault.contains(words)))
            })
            .await;
        assert_eq!(slo["state"], "no_data");
        assert_eq!(alert_state(&engine).await, "firing", "silence is no recovery: {slo}");
        assert_eq!(slo["budget"]["remaining"], serde_json::Value::Null);
        assert!(slo["fault"].as_str().unwrap().contains("since 2"), "{slo}");
    }
    assert!(engine.stop().success());
}

#[tokio::test]
async fn a_back_end_that_is_not_there_leaves_no_data() {
    let folder = tempfile::tempdir().unwrap();
    let mut backend = Backend::start(Mood::Broken).await;
    backend.url = "http://127.0.0.1:9".to_owned();
    let arguments = arguments(&write_objective(folder.path(), &backend));
    let engine = Engine::start(&folder.path().join("state"), &arguments);
    let slo = engine
        .wait_for("the fault", async |engine| {
            let slo = engine.slo("remote").await;
            Some(slo).filter(|slo| slo["fault"].as_str().is_some_and(|fault| fault.contains("no answer")))
        })
        .await;
    assert_eq!(slo["state"], "no_data");
}

/// Twenty objectives of a source that accepts and never answers, and one of a source that does answer.
#[tokio::test]
async fn a_source_that_hangs_blinds_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let hung = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = Backend::start(Mood::Counts(500.0, 1_000.0)).await;
    let healthy = std::fs::read_to_string(write_objective(folder.path(), &backend)).unwrap();
    let silent = Backend { url: format!("http://{}", hung.local_addr().unwrap()), ..backend.clone() };
    let silent = std::fs::read_to_string(write_objective(folder.path(), &silent)).unwrap();
    let silent = silent.replace("mimir", "hung");
    let (source, objective) = silent.split_once("---").unwrap();
    let copies: String = (0..20)
        .map(|number| format!("---{}\n", objective.replace("remote", &format!("hung-{number}"))))
        .collect();
    let file = folder.path().join("slo.yaml");
    std::fs::write(&file, format!("{healthy}\n---\n{source}{copies}")).unwrap();
    let arguments = arguments(&file);
    let engine = Engine::start(&folder.path().join("state"), &arguments);
    engine
        .wait_for("the page", async |engine| {
            let slo = engine.slo("remote").await;
            Some(slo).filter(|slo| slo["state"] == "burning")
        })
        .await;
    for number in [0, 19] {
        engine
            .wait_for("the fault", async |engine| {
                let slo = engine.slo(&format!("hung-{number}")).await;
                Some(slo).filter(|slo| slo["fault"].as_str().is_some_and(|fault| fault.contains("timed out")))
            })
            .await;
    }
    let slo = engine.slo("remote").await;
    assert_eq!((&slo["state"], &slo["fault"]), (&"burning".into(), &serde_json::Value::Null), "{slo}");
    assert!(engine.stop().success());
}
