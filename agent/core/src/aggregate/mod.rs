//! Observations counted into metric series with bounded labels.
//!
//! Enters: observations. Leaves: a [`Collection`] of cumulative series, whatever carries them on. Memory is bounded by
//! [`Bounds`]: names seen on the wire pass through a bounded set and are `other` beyond it, series beyond their bound
//! go into one overflow series, and series that nothing has been added to for long are retired. What was folded is
//! counted.

mod distribution;
mod labels;
mod series;

use crate::histogram::ExponentialHistogram;
use crate::iana::{Group, KeyExchangeClass, ProtocolVersion};
use crate::inventory::Pooled;
use crate::observation::{IncompleteReason, Observation, Outcome, Protocol, Vantage};
use crate::time::Timestamp;
use distribution::{Distribution, chain_label, chain_size, may_be_compressed};
use labels::{
    AlertKey, Common, GroupLabel, HandshakeKey, HistogramKey, PathKey, Service, VersionLabel, alert_label,
    canonical, failure_label, is_odd, server_label,
};
use pqscope_telemetry::OTHER;
use pqscope_telemetry::metric::{Metric, agent};
use series::{BoundedSet, Clock, Map};
use std::borrow::Cow;
use std::collections::BTreeMap;
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
    /// Versions told apart beside those from SSL 2.0 to TLS 1.3: drafts, and numbers without a name.
    pub odd_versions: usize,
    /// Client fingerprints told apart.
    pub client_classes: usize,
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
            odd_versions: 16,
            client_classes: 64,
            series: 10_000,
            retire_after: Duration::from_secs(24 * 3600),
        }
    }
}

/// An attribute value.
pub type Value = Cow<'static, str>;

/// Attributes of a series: keys of [`pqscope_telemetry::attribute`], each once, in a fixed order per metric.
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

/// Counts observations.
#[derive(Debug)]
pub struct Aggregate {
    bounds: Bounds,
    clock: Clock,
    servers: BoundedSet<Arc<str>>,
    ports: BoundedSet<u16>,
    unknown_groups: BoundedSet<Group>,
    odd_versions: BoundedSet<ProtocolVersion>,
    client_classes: BoundedSet<Arc<str>>,
    handshakes: Map<HandshakeKey, u64>,
    /// Services with when they were last seen.
    services: BTreeMap<(Protocol, Service, Option<Vantage>), Timestamp>,
    alerts: Map<AlertKey, u64>,
    fallbacks: Map<HandshakeKey, u64>,
    path_events: Map<PathKey, u64>,
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

/// Path trouble of an attempt, by the word of the event.
fn path_events(seen: &Observation) -> [(&'static str, u32); 4] {
    let path = &seen.path;
    [
        ("retransmission", path.retransmissions),
        ("out_of_order", path.out_of_order),
        ("too_big", path.too_big),
        ("over_initial_window", u32::from(path.over_initial_window == Some(true))),
    ]
}

/// Counts a handshake; tells whether it went into the overflow series. Client classes multiply all other labels: once half
/// of the bound is taken, what is new is counted without its own, so that the other half is left to services and failures.
fn count_handshake(map: &mut Map<HandshakeKey, u64>, key: HandshakeKey, clock: Clock) -> bool {
    let key = if key.client_class.is_some() && map.is_half_full() && !map.holds(&key) {
        HandshakeKey { client_class: Some(Arc::from(OTHER)), ..key }
    } else {
        key
    };
    let (count, overflow) = map.entry(key, clock);
    *count += 1;
    overflow
}

impl Aggregate {
    /// An empty aggregate that counts from `start` on.
    pub fn new(bounds: Bounds, start: Timestamp) -> Self {
        Self {
            clock: Clock { last_collection: start, now: start },
            servers: BoundedSet::new(bounds.servers),
            ports: BoundedSet::new(bounds.ports),
            unknown_groups: BoundedSet::new(bounds.unknown_groups),
            odd_versions: BoundedSet::new(bounds.odd_versions),
            client_classes: BoundedSet::new(bounds.client_classes),
            handshakes: Map::new(bounds.series),
            services: BTreeMap::new(),
            alerts: Map::new(bounds.series),
            fallbacks: Map::new(bounds.series),
            path_events: Map::new(bounds.series),
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
        self.add_pooled(observation, Pooled::default(), now);
    }

    /// The same with what the handshakes of its server together say: a family that the handshake by itself does not tell,
    /// and a chain's size where it tells none.
    pub fn add_pooled(&mut self, observation: &Observation, pooled: Pooled, now: Timestamp) {
        self.clock.now = now;
        let (common, mut folded) = self.common(observation);
        self.begin_service(&common);
        let key = HandshakeKey {
            client_class: self.client_class(observation),
            outcome: observation.outcome,
            failure: observation.failure.map(failure_label),
            hello_retry: observation.hello_retry.is_some(),
            pq_reason: observation.pq_reason,
            common: common.clone(),
        };
        if observation.fallback_of.is_some() {
            count_handshake(&mut self.fallbacks, key.clone(), self.clock);
        }
        folded |= count_handshake(&mut self.handshakes, key, self.clock);
        for (kind, map) in &mut self.histograms {
            let is_chain = *kind == Distribution::Chain;
            let by_all =
                || if is_chain && !may_be_compressed(observation) { chain_size(pooled) } else { None };
            let Some(value) = kind.value(observation).or_else(by_all) else { continue };
            let chain = is_chain.then(|| chain_label(observation, pooled));
            let key = HistogramKey::of(&common, chain);
            map.entry(key, self.clock).0.record(value);
        }
        for alert in &observation.alerts {
            let service = Arc::clone(&common.service.name);
            let (description, sender) = (alert_label(alert.description), alert.sender);
            let key = AlertKey { service, vantage: common.vantage, description, sender };
            *self.alerts.entry(key, self.clock).0 += 1;
        }
        for (event, count) in path_events(observation).into_iter().filter(|(_, count)| *count > 0) {
            let key = PathKey { service: Arc::clone(&common.service.name), vantage: common.vantage, event };
            *self.path_events.entry(key, self.clock).0 += u64::from(count);
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
        let version = observation.version.map(|version| self.version(version));
        let folded = admitted.is_none()
            || port.is_none()
            || group == Some(GroupLabel::Overflow)
            || version == Some(VersionLabel::Overflow);
        let service = Service { name: admitted.unwrap_or_else(|| Arc::from(OTHER)), port };
        let common = Common {
            protocol: observation.protocol,
            version,
            service,
            group,
            class: observation.key_exchange_class,
            offered: observation.offered_class().unwrap_or(KeyExchangeClass::Unknown),
            key_exchange: observation.key_exchange,
            vantage: observation.vantage,
        };
        (common, folded)
    }

    fn version(&mut self, version: ProtocolVersion) -> VersionLabel {
        let version = canonical(version);
        let admitted = if is_odd(version) { self.odd_versions.admit(&version) } else { Some(version) };
        admitted.map_or(VersionLabel::Overflow, VersionLabel::Known)
    }

    /// The client's fingerprint, where it is known. Those beyond the bound are not counted as folded: a public server
    /// meets thousands, and that hides no service.
    fn client_class(&mut self, observation: &Observation) -> Option<Arc<str>> {
        let fingerprint = Arc::from(observation.client_hello.ja4.as_deref()?);
        Some(self.client_classes.admit(&fingerprint).unwrap_or_else(|| Arc::from(OTHER)))
    }

    /// A service's outcome series exist from zero, so that its first failure is an increase.
    fn begin_service(&mut self, common: &Common) {
        let service = common.service();
        if let Some(seen) = self.services.get_mut(&service) {
            *seen = self.clock.now;
            return;
        }
        if self.services.len() >= self.bounds.series {
            return;
        }
        self.services.insert(service, self.clock.now);
        for outcome in Outcome::ALL {
            self.handshakes.entry(HandshakeKey::bare(common, outcome), self.clock);
        }
    }

    /// Forgets what has been idle since before `oldest`, and with it the names that nothing is counted under any more.
    fn retire(&mut self, oldest: Timestamp) {
        self.services.retain(|_, seen| *seen >= oldest);
        let services = &self.services;
        let kept = |key: &HandshakeKey| key.is_bare() && services.contains_key(&key.service());
        let retired = self.handshakes.retire(oldest, kept);
        self.alerts.retire(oldest, |_| false);
        self.fallbacks.retire(oldest, |_| false);
        self.path_events.retire(oldest, |_| false);
        for map in self.histograms.values_mut() {
            map.retire(oldest, |_| false);
        }
        if retired {
            let labels = || self.handshakes.keys().map(|key| &key.common);
            self.servers.keep(labels().map(|common| Arc::clone(&common.service.name)));
            self.ports.keep(labels().filter_map(|common| common.service.port));
            self.unknown_groups.keep(labels().filter_map(Common::unknown_group));
            self.odd_versions.keep(labels().filter_map(Common::odd_version));
            let classes = self.handshakes.keys().filter_map(|key| key.client_class.clone());
            self.client_classes.keep(classes.filter(|class| &**class != OTHER));
        }
    }

    /// Everything counted so far, as of `now`.
    pub fn collect(&mut self, now: Timestamp) -> Collection {
        let retire_after = u64::try_from(self.bounds.retire_after.as_nanos()).unwrap_or(u64::MAX);
        let oldest = Timestamp::from_nanos(now.as_nanos().saturating_sub(retire_after));
        self.retire(oldest);
        self.clock = Clock { last_collection: now, now };
        let counters = [
            self.handshakes.family(agent::HANDSHAKES, SeriesValue::Count),
            self.alerts.family(agent::ALERTS, SeriesValue::Count),
            self.fallbacks.family(agent::FALLBACKS, SeriesValue::Count),
            self.path_events.family(agent::PATH_EVENTS, SeriesValue::Count),
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

#[cfg(test)]
mod tests;
