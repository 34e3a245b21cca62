//! Observations of a capture counted up: what the `table` and `json` formats show.
//!
//! Bounded whatever the capture holds: servers and causes beyond a bound are counted together, and only the slowest
//! and the latest failed attempts are kept one by one.

mod details;

pub use details::{ChainKind, Chains, Details, Trouble};

use crate::histogram::ExponentialHistogram;
use crate::observation::{Observation, Outcome};
use crate::time::Timestamp;
use pqscope_telemetry::OTHER;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

/// Servers told apart.
const MAX_SERVERS: usize = 10_000;

/// Attempts listed one by one.
const MAX_LISTED: usize = 10;

/// Counts of a group of attempts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Attempts that completed.
    pub completed: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Attempts that the capture does not settle.
    pub incomplete: u64,
    /// Completed attempts with a hybrid or post-quantum key exchange.
    pub post_quantum: u64,
    /// ClientHello to the client's first encrypted record, of completed attempts.
    #[serde(rename = "latency_seconds")]
    pub latency: Latency,
}

impl Counts {
    /// All attempts of the group.
    pub const fn total(&self) -> u64 {
        self.completed + self.failed + self.incomplete
    }

    fn add(&mut self, observation: &Observation) {
        match observation.outcome {
            Outcome::Completed => self.completed += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Incomplete => self.incomplete += 1,
        }
        if observation.is_post_quantum() {
            self.post_quantum += 1;
        }
        if let Some(latency) = completed_latency(observation) {
            self.latency.0.record(latency.as_secs_f64());
        }
    }
}

fn completed_latency(observation: &Observation) -> Option<Duration> {
    observation.timing.client_encrypted.filter(|_| observation.outcome == Outcome::Completed)
}

/// A distribution of latencies; serialised as its quantiles.
#[derive(Clone, Debug, Default)]
pub struct Latency(ExponentialHistogram);

impl Latency {
    /// The latency that a share `q` of the attempts stayed below, in seconds.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.0.quantile(q)
    }
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let quantiles = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];
        serializer.collect_map(quantiles.map(|(name, q)| (name, self.quantile(q))))
    }
}

/// A way in which attempts failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FailureKind {
    /// Cause, of the record's closed set.
    pub cause: Cow<'static, str>,
    /// Last message before the end.
    pub after: &'static str,
    /// Who ended it.
    pub by: &'static str,
}

/// A line of one of the lists.
#[derive(Clone, Debug, Serialize)]
pub struct Listed {
    /// When the attempt began.
    pub start: Timestamp,
    /// Client address and port.
    pub client: String,
    /// Server name, or its address.
    pub server: String,
    /// Negotiated group or class.
    pub group: String,
    /// Latency of a completed attempt, seconds.
    pub latency_seconds: Option<f64>,
    /// How a failed one failed.
    pub failure: Option<FailureKind>,
}

/// A capture in figures.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Start of the first attempt.
    pub first: Option<Timestamp>,
    /// End of the last.
    pub last: Option<Timestamp>,
    /// All attempts.
    pub all: Counts,
    /// By class of the key exchange; `not negotiated` where the server never chose.
    pub by_class: BTreeMap<&'static str, Counts>,
    /// By negotiated group.
    pub by_group: BTreeMap<Cow<'static, str>, Counts>,
    /// By negotiated version.
    pub by_version: BTreeMap<String, Counts>,
    /// Failures by cause.
    #[serde(serialize_with = "failure_rows")]
    pub failures: BTreeMap<FailureKind, u64>,
    /// Incomplete attempts by reason.
    pub incomplete: BTreeMap<&'static str, u64>,
    /// By server name (or address) and port.
    pub by_server: BTreeMap<String, Counts>,
    /// Attempts whose client offered a hybrid or post-quantum group.
    pub offered_post_quantum: u64,
    /// Attempts in which the server asked for another hello.
    pub hello_retries: u64,
    /// What else the capture tells.
    #[serde(flatten)]
    pub details: Details,
    /// The slowest completed attempts, slowest first.
    pub slowest: Vec<Listed>,
    /// The failed attempts that ended last, latest first.
    pub latest_failed: Vec<Listed>,
}

fn failure_rows<S: Serializer>(rows: &BTreeMap<FailureKind, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        kind: &'a FailureKind,
        count: u64,
    }
    serializer.collect_seq(rows.iter().map(|(kind, count)| Row { kind, count: *count }))
}

/// The word for attempts whose server never chose.
pub const NOT_NEGOTIATED: &str = "not negotiated";

impl Summary {
    /// Counts an observation.
    pub fn add(&mut self, observation: &Observation) {
        self.first = Some(self.first.map_or(observation.start, |first| first.min(observation.start)));
        self.last = Some(self.last.map_or(observation.end, |last| last.max(observation.end)));
        self.all.add(observation);
        let class = observation.key_exchange_class.map_or(NOT_NEGOTIATED, |class| class.as_str());
        self.by_class.entry(class).or_default().add(observation);
        if let Some(group) = &observation.group {
            self.by_group.entry(group.name.clone()).or_default().add(observation);
        }
        let version = observation.version.map(|v| v.name().unwrap_or_else(|| v.to_string()));
        self.by_version
            .entry(version.unwrap_or_else(|| NOT_NEGOTIATED.to_owned()))
            .or_default()
            .add(observation);
        self.server(observation).add(observation);
        if let Some(kind) = failure_kind(observation) {
            *self.failures.entry(kind).or_default() += 1;
        }
        if let Some(reason) = observation.incomplete_reason {
            *self.incomplete.entry(reason.as_str()).or_default() += 1;
        }
        self.offered_post_quantum += u64::from(observation.offers_post_quantum());
        self.hello_retries += u64::from(observation.hello_retry.is_some());
        self.details.add(observation);
        self.list(observation);
    }

    fn server(&mut self, observation: &Observation) -> &mut Counts {
        let name = format!("{}:{}", server_name(observation), observation.server.port);
        let full = self.by_server.len() >= MAX_SERVERS && !self.by_server.contains_key(&name);
        self.by_server.entry(if full { OTHER.to_owned() } else { name }).or_default()
    }

    fn list(&mut self, observation: &Observation) {
        match observation.outcome {
            Outcome::Completed => {
                let Some(latency) = completed_latency(observation).map(|l| l.as_secs_f64()) else { return };
                let slower = |listed: &Listed| listed.latency_seconds.is_some_and(|known| known >= latency);
                let at = self.slowest.iter().take_while(|listed| slower(listed)).count();
                if at < MAX_LISTED {
                    self.slowest.insert(at, listed(observation));
                    self.slowest.truncate(MAX_LISTED);
                }
            }
            Outcome::Failed => {
                self.latest_failed.insert(0, listed(observation));
                self.latest_failed.truncate(MAX_LISTED);
            }
            Outcome::Incomplete => {}
        }
    }
}

fn failure_kind(observation: &Observation) -> Option<FailureKind> {
    observation.failure.map(|failure| FailureKind {
        cause: failure.cause.as_str(),
        after: failure.after.as_str(),
        by: failure.by.as_str(),
    })
}

fn server_name(observation: &Observation) -> String {
    observation.server_name.clone().unwrap_or_else(|| observation.server.address.to_string())
}

fn listed(observation: &Observation) -> Listed {
    let class = observation.key_exchange_class.map_or(NOT_NEGOTIATED, |class| class.as_str());
    Listed {
        start: observation.start,
        client: observation.client.to_string(),
        server: server_name(observation),
        group: observation.group.as_ref().map_or_else(|| class.to_owned(), |group| group.name.to_string()),
        latency_seconds: completed_latency(observation).map(|latency| latency.as_secs_f64()),
        failure: failure_kind(observation),
    }
}
