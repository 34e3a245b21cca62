//! A real Prometheus of a test.

#![expect(
    clippy::indexing_slicing,
    reason = "indexing a JSON value gives null where nothing is; the assertions show it"
)]

use crate::process::{Running, wait_for};
use crate::{http, live};
use serde_json::Value;
use std::path::Path;

/// A server with a data folder of its own that scrapes and evaluates every second.
pub struct Prometheus {
    /// Its process.
    pub process: Running,
    /// Where it listens.
    pub address: String,
}

impl Prometheus {
    /// Starts one with a file of rules, which scrapes targets by the names of their jobs, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(program: &Path, folder: &Path, rules: &Path, targets: &[(&str, &str)]) -> Self {
        let mut config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n",
            rules.display()
        );
        for (job, target) in targets {
            config
                .push_str(&format!("  - job_name: {job}\n    static_configs: [{{targets: ['{target}']}}]\n"));
        }
        let file = folder.join("prometheus.yaml");
        std::fs::write(&file, config).expect("a configuration");
        let address = format!("127.0.0.1:{}", live::free_port());
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
            format!("--web.listen-address={address}"),
            "--log.level=warn".to_owned(),
        ];
        let process = Running::start(program, arguments, &[]);
        let ready = wait_for(|| http::get(&address, "/-/ready").ok().filter(|answer| answer.status == 200));
        assert!(ready.is_some(), "Prometheus does not come up{}", process.log());
        Self { process, address }
    }

    /// The samples that a query gives.
    ///
    /// # Panics
    /// When it is refused.
    pub fn query(&self, query: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", encode(query));
        let answer = http::get_json(&self.address, &path).expect("an answer");
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        match answer["data"]["resultType"].as_str() {
            Some("scalar") => vec![answer["data"].clone()],
            _ => answer["data"]["result"].as_array().cloned().expect("samples"),
        }
    }

    /// The only sample of a query, as a number.
    pub fn number(&self, query: &str) -> Option<f64> {
        match self.query(query).as_slice() {
            [sample] => sample["value"][1].as_str()?.parse().ok(),
            _ => None,
        }
    }

    /// Waits until the only sample of a query is this number.
    ///
    /// # Panics
    /// When it stays another.
    pub fn expect(&self, query: &str, expected: f64) {
        let seen = wait_for(|| self.number(query).filter(|value| (value - expected).abs() < 1e-9));
        assert!(seen.is_some(), "{query} is {:?} instead of {expected}", self.query(query));
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
