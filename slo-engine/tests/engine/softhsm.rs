//! A real SoftHSM behind PKCS#11: operations that a wrapper logs as JSON lines become events by a mapping.

use crate::adapters::write_adapters;
use crate::events::write_event_objective;
use crate::process::Engine;
use pqscope_tests::requirement::skip;
use serde_json::json;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const MODULES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];

const ADAPTERS: &str = r#"
- name: hsm
  kind: json
  path: PATH
  service: payments
  events:
    - type: pqscope.key.import
      when: {function: C_CreateObject}
      fields: {result: rv, reason: rv, reason_class: rv, key_id: label, blocking: blocking}
      values:
        result: {CKR_OK: success, "*": failure}
        reason_class: {CKR_PIN_INCORRECT: permission, CKR_DEVICE_ERROR: firmware, CKR_FUNCTION_FAILED: other}
      constants: {hsm: softhsm}
    - type: pqscope.sign
      when: {function: C_Sign}
      fields: {result: rv, algorithm: mechanism}
      values: {result: {CKR_OK: success, "*": failure}}
      constants: {hsm: softhsm}
"#;

/// A token of its own.
struct Token {
    folder: PathBuf,
    module: &'static str,
}

impl Token {
    /// `None` where SoftHSM, OpenSC or OpenSSL are not installed.
    fn make(folder: &Path) -> Option<Self> {
        let module = MODULES.into_iter().find(|module| Path::new(module).exists());
        let tools = ["softhsm2-util", "pkcs11-tool", "openssl"];
        let there = |tool: &&str| {
            Command::new("sh")
                .args(["-c", &format!("command -v {tool}")])
                .output()
                .is_ok_and(|found| found.status.success())
        };
        let Some(module) = module.filter(|_| tools.iter().all(there)) else {
            skip(
                "operations_of_a_softhsm_become_events",
                "no SoftHSM with tools (apt-get install softhsm2 opensc openssl)",
            );
            return None;
        };
        std::fs::create_dir(folder.join("tokens")).unwrap();
        let config = format!("directories.tokendir = {}\n", folder.join("tokens").display());
        std::fs::write(folder.join("softhsm2.conf"), config).unwrap();
        let token = Self { folder: folder.to_owned(), module };
        let made = token.run(
            "softhsm2-util",
            &["--init-token", "--free", "--label", "t", "--pin", "1234", "--so-pin", "4321"],
        );
        assert!(made.status.success(), "{made:?}");
        Some(token)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("SOFTHSM2_CONF", self.folder.join("softhsm2.conf"));
        command.output().unwrap()
    }

    /// What PKCS#11 said.
    fn pkcs11(&self, arguments: &[&str]) -> String {
        let output =
            self.run("pkcs11-tool", &[&["--module", self.module, "--token-label", "t"], arguments].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let named = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .find(|word| word.starts_with("CKR_"));
        match (output.status.success(), named) {
            (true, _) => "CKR_OK".to_owned(),
            (false, named) => named.unwrap_or("CKR_FUNCTION_FAILED").to_owned(),
        }
    }
}

#[tokio::test]
async fn operations_of_a_softhsm_become_events() {
    let folder = tempfile::tempdir().unwrap();
    let Some(token) = Token::make(folder.path()) else { return };
    let made = token.run("openssl", &["genpkey", "-algorithm", "RSA", "-outform", "DER", "-out", "key.der"]);
    assert!(made.status.success(), "{made:?}");
    std::fs::write(folder.path().join("text"), [7; 32]).unwrap();

    let log = folder.path().join("hsm.jsonl");
    let mut file = File::create(&log).unwrap();
    let import = |pin: &str| {
        let more = ["--write-object", "key.der", "--type", "privkey", "--label", "k", "--id", "01"];
        token.pkcs11(&[&["--login", "--pin", pin], more.as_slice()].concat())
    };
    for pin in ["9999", "1234"] {
        let rv = import(pin);
        writeln!(file, "{}", json!({"function": "C_CreateObject", "rv": rv, "label": "k", "blocking": true}))
            .unwrap();
    }
    let rv = token.pkcs11(&[
        "--login",
        "--pin",
        "1234",
        "--sign",
        "--mechanism",
        "SHA256-RSA-PKCS",
        "--id",
        "01",
        "--input-file",
        "text",
        "--output-file",
        "signature",
    ]);
    writeln!(file, "{}", json!({"function": "C_Sign", "rv": rv, "mechanism": "SHA256-RSA-PKCS"})).unwrap();

    let slo = write_event_objective(&folder.path().join("slos"), "payments");
    let adapters = ADAPTERS.replace("PATH", log.to_str().unwrap());
    let arguments = write_adapters(folder.path(), &slo, &adapters);
    let engine = Engine::start(&folder.path().join("state"), &arguments);
    engine.expect_events("payments", 2, 3).await;
    let imports = engine.json("/api/v1/events?type=pqscope.key.import").await;
    let failed: Vec<_> = imports["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["data"]["result"] == "failure")
        .collect();
    assert_eq!(failed.len(), 1, "{imports}");
    assert_eq!(failed[0]["data"]["reason"], "CKR_PIN_INCORRECT");
    assert_eq!(failed[0]["data"]["reason_class"], "permission");
    assert_eq!(
        (&failed[0]["data"]["hsm"], &failed[0]["data"]["blocking"]),
        (&json!("softhsm"), &json!(true))
    );
}
