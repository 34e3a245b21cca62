//! The engine as a process.

use crate::otlp::client;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Longest wait for something that should take a fraction of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Pages as soon as 30 % of the events of 24 minutes, and of the last two, are bad; at once, so that tests need not wait.
pub(crate) const OBJECTIVE: &str = r#"
apiVersion: openslo/v1
kind: SLO
metadata:
  name: NAME
  displayName: Objective NAME
spec:
  description: For tests.
  service: tls
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    metadata: {name: NAME}
    spec:
      ratioMetric:
        counter: true
        good:
          metricSource:
            type: pqscope
            spec:
              metric: pqscope.handshakes
              match: {pqscope.service: NAME, pqscope.outcome: completed}
        total:
          metricSource:
            type: pqscope
            spec:
              metric: pqscope.handshakes
              match: {pqscope.service: NAME, pqscope.outcome: [completed, failed]}
  objectives: [{target: 0.99}]
  pqscope.alerting: {minimumEvents: 1, minimumBadEvents: 1}
  alertPolicies:
    - kind: AlertPolicy
      metadata: {name: policy-NAME}
      spec:
        conditions:
          - kind: AlertCondition
            metadata: {name: condition-NAME}
            spec:
              severity: page
              condition: {kind: burnrate, op: gte, threshold: 30, lookbackWindow: 24m, alertAfter: 0m}
"#;

/// Writes an objective of that name, about the service of that name.
pub(crate) fn write_objective(folder: &Path, name: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join(format!("{name}.yaml"));
    std::fs::write(&path, OBJECTIVE.replace("NAME", name)).unwrap();
    path
}

/// A command line of the engine.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pqscope-slo"));
    command.args(arguments).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// Runs the engine to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Standard error of a finished run.
pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running engine; killed when dropped.
pub(crate) struct Engine {
    child: Child,
    client: reqwest::Client,
    pub(crate) web: String,
    pub(crate) http: String,
    pub(crate) grpc: String,
}

impl Engine {
    /// Starts `serve` on free ports and waits for its addresses.
    pub(crate) fn start(state: &Path, more: &[impl AsRef<OsStr>]) -> Self {
        Self::try_start(state, more, PATIENCE)
            .unwrap_or_else(|status| panic!("the engine did not start: {status:?}"))
    }

    /// As [`Engine::start`]; the exit status when it ends first.
    pub(crate) fn try_start(
        state: &Path,
        more: &[impl AsRef<OsStr>],
        patience: Duration,
    ) -> Result<Self, Option<ExitStatus>> {
        Self::await_start(Self::spawn(state, more), patience)
    }

    /// A process that was started otherwise, with its standard output piped.
    pub(crate) fn of(child: Child) -> Self {
        Self::await_start(child, PATIENCE)
            .unwrap_or_else(|status| panic!("the engine did not start: {status:?}"))
    }

    fn await_start(mut child: Child, patience: Duration) -> Result<Self, Option<ExitStatus>> {
        let lines = lines_of(child.stdout.take().unwrap());
        let address = |kind: &str| {
            let line = lines.recv_timeout(patience).ok()?;
            Some(line.strip_prefix(&format!("listening: {kind} "))?.to_owned())
        };
        match (address("web"), address("otlp-http"), address("otlp-grpc")) {
            (Some(web), Some(http), Some(grpc)) => Ok(Self { child, client: client(), web, http, grpc }),
            _ => {
                let status = child.try_wait().unwrap();
                let _ = child.kill();
                let _ = child.wait();
                Err(status)
            }
        }
    }

    /// Starts the process and does not wait for anything.
    pub(crate) fn spawn(state: &Path, more: &[impl AsRef<OsStr>]) -> Child {
        let free = "127.0.0.1:0";
        let arguments = ["serve", "--listen", free, "--otlp-http", free, "--otlp-grpc", free, "--state"];
        command(&arguments).arg(state).args(more).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Ends it the hard way.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(mut self) -> ExitStatus {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Status and body of a GET on the web listener.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let response = self.client.get(format!("{}{path}", self.web)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// A JSON answer of the web listener.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// What an objective says.
    pub(crate) async fn slo(&self, name: &str) -> Value {
        let slos = self.json("/api/v1/slos").await;
        let slos = slos["slos"].as_array().unwrap();
        slos.iter().find(|slo| slo["name"] == name).unwrap_or_else(|| panic!("no {name} in {slos:?}")).clone()
    }

    /// Good and all events of an objective over its whole window.
    pub(crate) async fn events(&self, name: &str) -> (u64, u64) {
        let budget = &self.slo(name).await["budget"];
        (budget["good"].as_u64().unwrap(), budget["total"].as_u64().unwrap())
    }

    /// Waits until an objective has so many good ones among so many events.
    pub(crate) async fn expect_events(&self, name: &str, good: u64, total: u64) {
        let what = format!("{name}: {good} of {total}");
        self.wait_for(&what, async |engine| (engine.events(name).await == (good, total)).then_some(())).await;
    }

    /// Asks again and again until the answer is right.
    pub(crate) async fn wait_for<T>(&self, what: &str, mut check: impl AsyncFnMut(&Self) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = check(self).await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("{what}: not within {PATIENCE:?}"),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
