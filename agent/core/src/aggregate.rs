//! Observations counted into metric series with bounded labels.
//!
//! Enters: observations. Leaves: a [`Collection`] of cumulative series, whatever carries them on. Memory is bounded by
//! [`Bounds`]: names seen on the wire pass through a bounded set and are `other` beyond it, series beyond their bound
//! go into one overflow series, and series that nothing has been added to for long are retired. What was folded is
//! counted.

use crate::histogram::ExponentialHistogram;
use crate::iana::{AlertDescription, Group, KeyExchangeClass, ProtocolVersion};
use crate::observation::{
    Evidence, Failure, IncompleteReason, KeyExchange, Observation, Outcome, Protocol, Side, Vantage,
};
use crate::time::Timestamp;
use pqscope_telemetry::metric::{Metric, agent};
use pqscope_telemetry::{OTHER, attribute};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Bounds of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Server names told apart.
    pub servers: usize,
    /// Server ports told apart.
    pub ports: usize,
    /// Group numbers told apart that no table names.
    pub unknown_groups: usize,
    /// Series of each metric.
    pub series: usize,
    /// Idle time after which a series is retired.
    pub retire_after: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            servers: 1_000,
            ports: 100,
            unknown_groups: 32,
            series: 10_000,
            retire_after: Duration::from_secs(24 * 3600),
        }
    }
}

/// An attribute value.
pub type Value = Cow<'static, str>;

/// Attributes of a series: keys of [`attribute`], each once, in a fixed order per metric.
pub type Attributes = Vec<(&'static str, Value)>;

/// The value of a series since its start.
#[derive(Clone, Debug, PartialEq)]
pub enum SeriesValue {
    /// A monotonic sum.
    Count(u64),
    /// A distribution.
    Distribution(ExponentialHistogram),
}

/// A cumulative series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its attributes.
    pub attributes: Attributes,
    /// When it began to count.
    pub start: Timestamp,
    /// What it counted since.
    pub value: SeriesValue,
}

/// All series of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The metric.
    pub metric: Metric,
    /// Its series, in the order of their attributes.
    pub series: Vec<Series>,
}

/// Everything an aggregate holds at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collection {
    /// One entry per metric that has series.
    pub families: Vec<Family>,
}

/// A set of names that stops growing.
#[derive(Debug)]
struct BoundedSet<T> {
    seen: BTreeSet<T>,
    bound: usize,
}

impl<T: Ord + Clone> BoundedSet<T> {
    fn new(bound: usize) -> Self {
        Self { seen: BTreeSet::new(), bound }
    }

    /// The value itself where it is known or there is room for it.
    fn admit(&mut self, value: &T) -> Option<T> {
        if let Some(known) = self.seen.get(value) {
            return Some(known.clone());
        }
        let room = self.seen.len() < self.bound;
        room.then(|| {
            self.seen.insert(value.clone());
            value.clone()
        })
    }
}

/// Which server, as labels tell it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    name: Arc<str>,
    /// `None` beyond the bound.
    port: Option<u16>,
}

/// Labels that every handshake counter carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Common {
    protocol: Protocol,
    version: Option<ProtocolVersion>,
    service: Service,
    group: Option<GroupLabel>,
    class: Option<KeyExchangeClass>,
    offered: Option<KeyExchangeClass>,
    key_exchange: Option<KeyExchange>,
    vantage: Option<Vantage>,
}

/// A group, or that it is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum GroupLabel {
    Known(Group),
    Overflow,
}

/// Labels of `pqscope.handshakes`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HandshakeKey {
    common: Common,
    outcome: Outcome,
    failure: Option<FailureLabel>,
    hello_retry: bool,
}

type FailureLabel = (Value, &'static str, &'static str);

/// Labels of histograms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HistogramKey {
    protocol: Protocol,
    version: Option<ProtocolVersion>,
    class: Option<KeyExchangeClass>,
    service: Arc<str>,
    vantage: Option<Vantage>,
    /// Of certificate chains only.
    evidence: Option<Evidence>,
}

/// Labels of `pqscope.alerts`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct AlertKey {
    service: Arc<str>,
    vantage: Option<Vantage>,
    description: AlertDescription,
    sender: Side,
}

/// The labels of a series as they are exported.
trait Labels {
    fn attributes(&self) -> Attributes;
}

/// A value with when it began and when it was last added to.
#[derive(Debug)]
struct Cell<V> {
    start: Timestamp,
    touched: Timestamp,
    value: V,
}

/// The series of one metric.
#[derive(Debug)]
struct Map<K, V> {
    cells: BTreeMap<K, Cell<V>>,
    overflow: Option<Cell<V>>,
    bound: usize,
}

impl<K: Ord + Labels, V: Default + Clone> Map<K, V> {
    fn new(bound: usize) -> Self {
        Self { cells: BTreeMap::new(), overflow: None, bound }
    }

    /// The value under `key`; tells whether it went into the overflow series.
    fn entry(&mut self, key: K, clock: Clock) -> (&mut V, bool) {
        let full = self.cells.len() >= self.bound && !self.cells.contains_key(&key);
        let new = || Cell { start: clock.last_collection, touched: clock.now, value: V::default() };
        let cell = if full {
            self.overflow.get_or_insert_with(new)
        } else {
            self.cells.entry(key).or_insert_with(new)
        };
        cell.touched = clock.now;
        (&mut cell.value, full)
    }

    fn retire(&mut self, oldest: Timestamp) {
        self.cells.retain(|_, cell| cell.touched >= oldest);
    }

    fn family(&self, metric: Metric, wrap: impl Fn(V) -> SeriesValue) -> Family {
        let series = |attributes: Attributes, cell: &Cell<V>| Series {
            attributes,
            start: cell.start,
            value: wrap(cell.value.clone()),
        };
        let known = self.cells.iter().map(|(key, cell)| series(key.attributes(), cell));
        let overflow =
            self.overflow.iter().map(|cell| series(vec![(attribute::OTEL_OVERFLOW, "true".into())], cell));
        Family { metric, series: known.chain(overflow).collect() }
    }
}

/// The aggregate's times, by the clock of whoever collects.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// A series that appears now was zero then.
    last_collection: Timestamp,
    now: Timestamp,
}

/// Counts observations.
#[derive(Debug)]
pub struct Aggregate {
    bounds: Bounds,
    clock: Clock,
    servers: BoundedSet<Arc<str>>,
    ports: BoundedSet<u16>,
    unknown_groups: BoundedSet<Group>,
    handshakes: Map<HandshakeKey, u64>,
    seen_services: BTreeSet<(Protocol, Service, Option<Vantage>)>,
    alerts: Map<AlertKey, u64>,
    incomplete: Map<IncompleteReason, u64>,
    histograms: BTreeMap<Distribution, Map<HistogramKey, ExponentialHistogram>>,
    overflowed: u64,
    coverage: Coverage,
}

/// How much of the attempts the capture held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Attempts seen from their first byte, in both directions, without a gap.
    pub whole: u64,
    /// All attempts.
    pub all: u64,
}

impl Coverage {
    /// Whole over all; `None` before the first attempt.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn share(self) -> Option<f64> {
        (self.all > 0).then(|| self.whole as f64 / self.all as f64)
    }
}

/// The histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Distribution {
    Duration,
    ServerHello,
    RoundTrip,
    ClientHello,
    ServerFlight,
    Chain,
}

impl Distribution {
    const ALL: [Self; 6] = [
        Self::Duration,
        Self::ServerHello,
        Self::RoundTrip,
        Self::ClientHello,
        Self::ServerFlight,
        Self::Chain,
    ];

    const fn metric(self) -> Metric {
        match self {
            Self::Duration => agent::DURATION,
            Self::ServerHello => agent::SERVER_HELLO_DURATION,
            Self::RoundTrip => agent::RTT,
            Self::ClientHello => agent::CLIENT_HELLO_SIZE,
            Self::ServerFlight => agent::SERVER_FLIGHT_SIZE,
            Self::Chain => agent::CERTIFICATE_CHAIN_SIZE,
        }
    }

    /// What an observation adds; sizes are exact in a float.
    #[expect(clippy::cast_precision_loss, reason = "flights are far below 2^53 bytes")]
    fn value(self, seen: &Observation) -> Option<f64> {
        let completed = seen.outcome == Outcome::Completed;
        match self {
            Self::Duration => seen.timing.client_encrypted.filter(|_| completed).map(|d| d.as_secs_f64()),
            Self::ServerHello => seen.timing.server_hello.map(|d| d.as_secs_f64()),
            Self::RoundTrip => seen.timing.tcp_rtt.map(|d| d.as_secs_f64()),
            Self::ClientHello => seen.client_hello.length.map(f64::from),
            Self::ServerFlight => seen.server_flight.as_ref().map(|flight| flight.bytes as f64),
            Self::Chain => {
                seen.certificates.as_ref().and_then(|chain| chain.chain_bytes).map(|bytes| bytes as f64)
            }
        }
    }
}

impl Aggregate {
    /// An empty aggregate that counts from `start` on.
    pub fn new(bounds: Bounds, start: Timestamp) -> Self {
        Self {
            clock: Clock { last_collection: start, now: start },
            servers: BoundedSet::new(bounds.servers),
            ports: BoundedSet::new(bounds.ports),
            unknown_groups: BoundedSet::new(bounds.unknown_groups),
            handshakes: Map::new(bounds.series),
            seen_services: BTreeSet::new(),
            alerts: Map::new(bounds.series),
            incomplete: Map::new(bounds.series),
            histograms: Distribution::ALL.map(|kind| (kind, Map::new(bounds.series))).into(),
            overflowed: 0,
            coverage: Coverage::default(),
            bounds,
        }
    }

    /// Handshakes counted under an overflow value.
    pub const fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// How much of the attempts the capture held.
    pub const fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Counts an observation; `now` is the time by the clock that collections are stamped with.
    pub fn add(&mut self, observation: &Observation, now: Timestamp) {
        self.clock.now = now;
        let (common, mut folded) = self.common(observation);
        self.begin_service(&common);
        let key = HandshakeKey {
            outcome: observation.outcome,
            failure: observation.failure.map(failure_label),
            hello_retry: observation.hello_retry.is_some(),
            common: common.clone(),
        };
        let (count, overflow) = self.handshakes.entry(key, self.clock);
        *count += 1;
        folded |= overflow;
        for (kind, map) in &mut self.histograms {
            let Some(value) = kind.value(observation) else { continue };
            let chain = observation.certificates.as_ref().filter(|_| *kind == Distribution::Chain);
            let key = HistogramKey::of(&common, chain.map(|chain| chain.evidence));
            map.entry(key, self.clock).0.record(value);
        }
        for alert in &observation.alerts {
            let service = Arc::clone(&common.service.name);
            let (description, sender) = (alert.description, alert.sender);
            let key = AlertKey { service, vantage: common.vantage, description, sender };
            *self.alerts.entry(key, self.clock).0 += 1;
        }
        if let Some(reason) = observation.incomplete_reason {
            *self.incomplete.entry(reason, self.clock).0 += 1;
        }
        self.overflowed += u64::from(folded);
        self.coverage.all += 1;
        self.coverage.whole += u64::from(is_whole(observation));
    }

    /// The labels of an observation, and whether a bound folded one of them.
    fn common(&mut self, observation: &Observation) -> (Common, bool) {
        let name = server_label(observation);
        let admitted = self.servers.admit(&name);
        let port = self.ports.admit(&observation.server.port);
        let group = observation.group.as_ref().map(|group| match group.id.name() {
            Some(_) => GroupLabel::Known(group.id),
            None => self.unknown_groups.admit(&group.id).map_or(GroupLabel::Overflow, GroupLabel::Known),
        });
        let folded = admitted.is_none() || port.is_none() || group == Some(GroupLabel::Overflow);
        let service = Service { name: admitted.unwrap_or_else(|| Arc::from(OTHER)), port };
        let common = Common {
            protocol: observation.protocol,
            version: observation.version,
            service,
            group,
            class: observation.key_exchange_class,
            offered: observation.offered_class(),
            key_exchange: observation.key_exchange,
            vantage: observation.vantage,
        };
        (common, folded)
    }

    /// A service's outcome series exist from zero, so that its first failure is an increase.
    fn begin_service(&mut self, common: &Common) {
        let service = (common.protocol, common.service.clone(), common.vantage);
        if self.seen_services.len() >= self.bounds.series || !self.seen_services.insert(service) {
            return;
        }
        for outcome in Outcome::ALL {
            let bare = Common {
                version: None,
                group: None,
                class: None,
                offered: None,
                key_exchange: None,
                ..common.clone()
            };
            let key = HandshakeKey { common: bare, outcome, failure: None, hello_retry: false };
            self.handshakes.entry(key, self.clock);
        }
    }

    /// Everything counted so far, as of `now`.
    pub fn collect(&mut self, now: Timestamp) -> Collection {
        let retire_after = u64::try_from(self.bounds.retire_after.as_nanos()).unwrap_or(u64::MAX);
        let oldest = Timestamp::from_nanos(now.as_nanos().saturating_sub(retire_after));
        self.handshakes.retire(oldest);
        self.alerts.retire(oldest);
        self.histograms.values_mut().for_each(|map| map.retire(oldest));
        self.clock = Clock { last_collection: now, now };
        let counters = [
            self.handshakes.family(agent::HANDSHAKES, SeriesValue::Count),
            self.alerts.family(agent::ALERTS, SeriesValue::Count),
            self.incomplete.family(agent::INCOMPLETE, SeriesValue::Count),
        ];
        let histograms =
            self.histograms.iter().map(|(kind, map)| map.family(kind.metric(), SeriesValue::Distribution));
        let families = counters.into_iter().chain(histograms).filter(|family| !family.series.is_empty());
        Collection { families: families.collect() }
    }
}

fn is_whole(observation: &Observation) -> bool {
    let lost = matches!(
        observation.incomplete_reason,
        Some(IncompleteReason::BeganLate | IncompleteReason::Gap | IncompleteReason::Evicted)
    );
    observation.capture.missing_bytes == 0 && observation.capture.one_sided.is_none() && !lost
}

fn failure_label(failure: Failure) -> FailureLabel {
    (failure.cause.as_str(), failure.after.as_str(), failure.by.as_str())
}

/// The server's name for labels: the SNI in lower case where it looks like a host name, the address where there is
/// none. What clients send is not to be trusted with a label of its own shape.
fn server_label(observation: &Observation) -> Arc<str> {
    let Some(name) = &observation.server_name else {
        return observation.server.address.to_string().into();
    };
    let is_host_name = name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':'));
    if is_host_name { name.to_ascii_lowercase().into() } else { Arc::from("invalid") }
}

const UNKNOWN: Value = Cow::Borrowed("unknown");
/// The word for what was never negotiated.
const NOT_NEGOTIATED: Value = Cow::Borrowed("not_negotiated");

fn version_label(version: Option<ProtocolVersion>) -> Value {
    version.map_or(UNKNOWN, |v| v.name().map_or_else(|| v.to_string().into(), Cow::Owned))
}

fn class_label(class: Option<KeyExchangeClass>) -> Value {
    class.map_or(NOT_NEGOTIATED, |class| class.as_str().into())
}

fn vantage_label(vantage: Option<Vantage>) -> Value {
    vantage.map_or(UNKNOWN, |vantage| vantage.as_str().into())
}

impl Labels for HandshakeKey {
    fn attributes(&self) -> Attributes {
        let common = &self.common;
        let mut attributes: Attributes = vec![
            (attribute::PROTOCOL, common.protocol.as_str().into()),
            (attribute::TLS_VERSION, version_label(common.version)),
            (attribute::SERVICE, common.service.name.to_string().into()),
            (attribute::SERVER_ADDRESS, common.service.name.to_string().into()),
            (
                attribute::SERVER_PORT,
                common.service.port.map_or(OTHER.into(), |port| port.to_string().into()),
            ),
            (attribute::GROUP_CLASS, class_label(common.class)),
            (attribute::OFFERED_CLASS, common.offered.map_or(UNKNOWN, |class| class.as_str().into())),
            (attribute::KEY_EXCHANGE, common.key_exchange.map_or(NOT_NEGOTIATED, |how| how.as_str().into())),
            (attribute::VANTAGE, vantage_label(common.vantage)),
            (attribute::OUTCOME, self.outcome.as_str().into()),
            (attribute::HELLO_RETRY, if self.hello_retry { "true" } else { "false" }.into()),
        ];
        match common.group {
            Some(GroupLabel::Known(group)) => {
                let name = group.name().map_or_else(|| group.to_string().into(), Cow::Borrowed);
                attributes.push((attribute::GROUP_NAME, name));
                attributes.push((attribute::GROUP_ID, group.to_string().into()));
            }
            Some(GroupLabel::Overflow) => attributes.push((attribute::GROUP_NAME, OTHER.into())),
            None => {}
        }
        if let Some((cause, after, by)) = &self.failure {
            attributes.push((attribute::ERROR_TYPE, cause.clone()));
            attributes.push((attribute::FAILURE_AFTER, (*after).into()));
            attributes.push((attribute::FAILURE_BY, (*by).into()));
        }
        attributes
    }
}

impl HistogramKey {
    fn of(common: &Common, evidence: Option<Evidence>) -> Self {
        Self {
            protocol: common.protocol,
            version: common.version,
            class: common.class,
            service: Arc::clone(&common.service.name),
            vantage: common.vantage,
            evidence,
        }
    }
}

impl Labels for HistogramKey {
    fn attributes(&self) -> Attributes {
        let mut attributes: Attributes = vec![
            (attribute::PROTOCOL, self.protocol.as_str().into()),
            (attribute::TLS_VERSION, version_label(self.version)),
            (attribute::SERVICE, self.service.to_string().into()),
            (attribute::GROUP_CLASS, class_label(self.class)),
            (attribute::VANTAGE, vantage_label(self.vantage)),
        ];
        if let Some(evidence) = self.evidence {
            attributes.push((attribute::EVIDENCE, evidence.as_str().into()));
        }
        attributes
    }
}

impl Labels for AlertKey {
    fn attributes(&self) -> Attributes {
        let name = self.description.name().map_or(OTHER.into(), Cow::Borrowed);
        vec![
            (attribute::SERVICE, self.service.to_string().into()),
            (attribute::VANTAGE, vantage_label(self.vantage)),
            (attribute::ALERT_DESCRIPTION, name),
            (attribute::ALERT_SENDER, self.sender.as_str().into()),
        ]
    }
}

impl Labels for IncompleteReason {
    fn attributes(&self) -> Attributes {
        vec![(attribute::INCOMPLETE_REASON, self.as_str().into())]
    }
}
