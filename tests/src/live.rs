//! The two programs running for real, as tests start them.

use crate::binary::{self, AGENT, ENGINE};
use crate::http;
use crate::process::{Ended, Running};
use crate::records;
use pqscope_lab::loopback::Loopback;
use pqscope_lab::scenario::Scenario;
use pqscope_lab::truth::Truth;
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Handshakes before the capture is known to run carry this server name, so that they are told from the counted ones. They
/// are classical: no objective counts them.
pub const WARM_UP: &str = "warm-up.example";
const MOST_WARM_UPS: u32 = 200;

/// How often the agent exports, in milliseconds.
pub const EXPORT_INTERVAL: &str = "1000";

/// Server names for a lab: this one and the one for warming up.
pub fn server_names(service: &str) -> [String; 2] {
    [service.to_owned(), WARM_UP.to_owned()]
}

/// An engine that is running.
pub struct Engine {
    /// The program.
    pub process: Running,
    /// Address of the page, the API and the metrics.
    pub web: String,
    /// Address of OTLP over HTTP.
    pub otlp_http: String,
    /// Address of OTLP over gRPC.
    pub otlp_grpc: String,
}

impl Engine {
    /// Starts an engine with the shipped objectives on free ports.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(state: &Path, webhook: Option<&str>) -> Self {
        Self::start_with(state, webhook, &[])
    }

    /// The same with more arguments.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_with(state: &Path, webhook: Option<&str>, more: &[String]) -> Self {
        let mut arguments = vec![
            "serve".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
            "--otlp-grpc=127.0.0.1:0".to_owned(),
            "--otlp-http=127.0.0.1:0".to_owned(),
            "--evaluation-interval=1s".to_owned(),
            format!("--state={}", state.display()),
        ];
        arguments.extend(webhook.map(|url| format!("--webhook={url}")));
        arguments.extend_from_slice(more);
        let mut process = Running::start(&binary::path(ENGINE), arguments, &[]);
        let mut address = |name: &str| {
            let prefix = format!("listening: {name} http://");
            process.expect_output(|line| line.strip_prefix(&prefix).map(str::to_owned))
        };
        let (web, otlp_http, otlp_grpc) = (address("web"), address("otlp-http"), address("otlp-grpc"));
        Self { process, web, otlp_http, otlp_grpc }
    }

    /// What it says about an objective.
    pub fn slo(&self, name: &str) -> Option<Value> {
        let answer = http::get_json(&self.web, "/api/v1/slos").ok()?;
        let slos = answer.get("slos")?.as_array()?.clone();
        slos.into_iter().find(|slo| slo.get("name").and_then(Value::as_str) == Some(name))
    }
}

/// Where an agent sends its metrics.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// `grpc` or `http/protobuf`.
    pub protocol: &'a str,
    /// Host and port.
    pub address: &'a str,
}

/// An agent that captures on the loopback interface.
pub struct Agent {
    /// The program.
    pub process: Running,
    records: PathBuf,
}

impl Agent {
    /// Starts an agent that watches one port of the loopback interface.
    pub fn start(
        port: u16,
        records: PathBuf,
        destination: Option<Destination<'_>>,
        prometheus: Option<u16>,
    ) -> Self {
        let mut arguments = vec![
            "run".to_owned(),
            "--interface=lo".to_owned(),
            format!("--filter=tcp port {port}"),
            format!("--records={}", records.display()),
        ];
        arguments.extend(prometheus.map(|port| format!("--prometheus=127.0.0.1:{port}")));
        let mut environment = vec![("OTEL_METRIC_EXPORT_INTERVAL", EXPORT_INTERVAL.to_owned())];
        match destination {
            Some(to) => environment.extend([
                ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", to.address)),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", to.protocol.to_owned()),
            ]),
            None => environment.push(("OTEL_METRICS_EXPORTER", "none".to_owned())),
        }
        let environment: Vec<_> = environment.iter().map(|(key, value)| (*key, value.as_str())).collect();
        Self { process: Running::start(&binary::path(AGENT), arguments, &environment), records }
    }

    /// Makes handshakes until the agent has seen one: from then on it misses none.
    ///
    /// # Panics
    /// When it never sees one.
    pub async fn warm_up(&mut self, lab: &Loopback) {
        for _ in 0..MOST_WARM_UPS {
            lab.attempt(Scenario::X25519, WARM_UP).await.expect("an attempt");
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(self.process.is_running(), "the agent ended{}", self.process.log());
            if !self.all_records().is_empty() {
                return;
            }
        }
        panic!("the agent sees nothing{}", self.process.log());
    }

    /// The records written so far, without those of warming up.
    pub fn records(&self) -> Vec<Value> {
        let mut records = self.all_records();
        records.retain(|record| records::text(record, "server_name") != Some(WARM_UP));
        records
    }

    fn all_records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.records).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        records::parse(whole.lines())
    }

    /// Ends it by SIGINT; returns the records and what it left behind.
    pub fn stop(self) -> (Vec<Value>, Ended) {
        let path = self.records.clone();
        let ended = self.process.interrupt();
        let mut records = records::parse(std::fs::read_to_string(path).unwrap_or_default().lines());
        records.retain(|record| records::text(record, "server_name") != Some(WARM_UP));
        (records, ended)
    }
}

/// Makes attempts one after the other.
///
/// # Panics
/// When one ends otherwise than its scenario is meant to.
pub async fn make(lab: &Loopback, service: &str, plan: &[(Scenario, usize)]) -> Vec<Truth> {
    let mut truths = Vec::new();
    for (scenario, count) in plan {
        for _ in 0..*count {
            let truth = lab.attempt(*scenario, service).await.expect("an attempt");
            assert_eq!(truth.is_completed(), scenario.is_meant_to_complete(), "{truth:?}");
            truths.push(truth);
        }
    }
    truths
}

/// A port that is free now.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}
