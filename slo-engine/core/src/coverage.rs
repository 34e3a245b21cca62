//! Observability coverage: which measurements should be there, and which are. The services file and what was heard of go
//! in; one [`Check`] for each expected series comes out, and one for each endpoint that no file names.
//!
//! | role | series of the service | may be this old |
//! |---|---|---|
//! | `tls-server` | `pqscope.handshakes`, `pqscope.handshake.duration` | 5 min |
//! | `signer` | `pqscope.events` of type `pqscope.sign` | 24 h |
//! | `verifier` | `pqscope.events` of type `pqscope.verify` | 24 h |
//! | `decrypter` | `pqscope.events` of type `pqscope.decrypt` | 24 h |
//! | `kms`, `hsm` | `pqscope.events` of type `pqscope.key.import` | 24 h |
//! | `key-owner` | `pqscope.events` of type `pqscope.key.rotation` | 24 h |
//! | `ca` | `pqscope.events` of type `pqscope.certificate.issue` | 24 h |
//! | `builder` | `pqscope.events` of type `pqscope.build` | 24 h |
//! | `storage` | `pqscope.storage.size`, its `pqscope.store` the name of the service | 24 h |
//! | `entropy-source` | `pqscope.entropy.healthy`, likewise | 24 h |
//! | `qkd-link` | `pqscope.qkd.link.up`, likewise | 24 h |
//!
//! A service that rarely does what its role says gets a longer `freshness` in the services file.

use crate::series::{Selector, Series};
use crate::services::{Service, Services};
use crate::time::Timestamp;
use pqscope_telemetry::metric::{agent, engine};
use pqscope_telemetry::{OTHER, attribute};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Exports of agents come every ten seconds.
const MEASURED: Duration = Duration::from_secs(300);
/// Events come when something happens.
const TOLD: Duration = Duration::from_secs(86_400);
/// After our own start senders get so long to be heard of.
const START_GRACE: Duration = Duration::from_secs(300);
/// Most endpoints that are named as gaps.
pub const MOST_UNLISTED: usize = 200;

/// What a service is to the measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Answers TLS handshakes.
    TlsServer,
    /// Signs artifacts.
    Signer,
    /// Checks signatures.
    Verifier,
    /// Decrypts what others encrypted.
    Decrypter,
    /// Manages keys.
    Kms,
    /// Holds keys in hardware.
    Hsm,
    /// Has keys that are rotated.
    KeyOwner,
    /// Issues certificates.
    Ca,
    /// Builds artifacts.
    Builder,
    /// Keeps artifacts or data.
    Storage,
    /// Makes randomness.
    EntropySource,
    /// Carries quantum key distribution.
    QkdLink,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 12] = [
        Self::TlsServer,
        Self::Signer,
        Self::Verifier,
        Self::Decrypter,
        Self::Kms,
        Self::Hsm,
        Self::KeyOwner,
        Self::Ca,
        Self::Builder,
        Self::Storage,
        Self::EntropySource,
        Self::QkdLink,
    ];

    /// The word in the services file and in attributes.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TlsServer => "tls-server",
            Self::Signer => "signer",
            Self::Verifier => "verifier",
            Self::Decrypter => "decrypter",
            Self::Kms => "kms",
            Self::Hsm => "hsm",
            Self::KeyOwner => "key-owner",
            Self::Ca => "ca",
            Self::Builder => "builder",
            Self::Storage => "storage",
            Self::EntropySource => "entropy-source",
            Self::QkdLink => "qkd-link",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// What it makes us expect of a service.
    fn expects(self) -> Vec<Expected> {
        let event = |kind| Expected {
            metric: engine::EVENTS.name,
            kind: Some(kind),
            key: attribute::SERVICE,
            age: TOLD,
        };
        let gauge = |metric, key| Expected { metric, kind: None, key, age: TOLD };
        let measured = |metric| Expected { metric, kind: None, key: attribute::SERVICE, age: MEASURED };
        match self {
            Self::TlsServer => vec![measured(agent::HANDSHAKES.name), measured(agent::DURATION.name)],
            Self::Signer => vec![event("pqscope.sign")],
            Self::Verifier => vec![event("pqscope.verify")],
            Self::Decrypter => vec![event("pqscope.decrypt")],
            Self::Kms | Self::Hsm => vec![event("pqscope.key.import")],
            Self::KeyOwner => vec![event("pqscope.key.rotation")],
            Self::Ca => vec![event("pqscope.certificate.issue")],
            Self::Builder => vec![event("pqscope.build")],
            Self::Storage => vec![gauge(engine::STORAGE_SIZE.name, attribute::STORE)],
            Self::EntropySource => vec![gauge(engine::ENTROPY_HEALTHY.name, attribute::ENTROPY_SOURCE)],
            Self::QkdLink => vec![gauge(engine::QKD_LINK_UP.name, attribute::QKD_LINK)],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A row of the table above.
struct Expected {
    metric: &'static str,
    kind: Option<&'static str>,
    /// The attribute that holds the name of the service.
    key: &'static str,
    age: Duration,
}

/// A series that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Whose it is.
    pub service: String,
    /// Why it must be there.
    pub role: Role,
    /// Its name: the metric, or the type of the events.
    pub series: &'static str,
    /// Picks it.
    pub selector: Selector,
    /// How old its latest word may be.
    pub freshness: Duration,
}

/// Everything that a services file makes us expect.
pub fn expectations(services: &Services) -> Vec<Expectation> {
    let pairs =
        services.services.iter().flat_map(|service| service.roles.iter().map(move |role| (service, role)));
    pairs
        .flat_map(|(service, chosen)| {
            chosen.role.expects().into_iter().map(|expected| Expectation {
                service: service.name.clone(),
                role: chosen.role,
                series: expected.kind.unwrap_or(expected.metric),
                selector: selector(service, &expected),
                freshness: chosen.freshness.unwrap_or(expected.age),
            })
        })
        .collect()
}

fn selector(service: &Service, expected: &Expected) -> Selector {
    // Agents without a services file of their own name a service by its host.
    let names: BTreeSet<String> = std::iter::once(&service.name).chain(&service.hosts).cloned().collect();
    let mut matches = BTreeMap::from([(expected.key.to_owned(), names)]);
    if let Some(kind) = expected.kind {
        matches.insert(attribute::EVENT_TYPE.to_owned(), BTreeSet::from([kind.to_owned()]));
    }
    Selector { metric: expected.metric.to_owned(), matches, not_matches: BTreeMap::new() }
}

/// Picks the handshakes that servers of ours answered: those that a client of ours began elsewhere, and our own exports,
/// are no endpoints to list.
pub fn endpoints() -> Selector {
    let values = |text: &str| BTreeSet::from([text.to_owned()]);
    Selector {
        metric: agent::HANDSHAKES.name.to_owned(),
        matches: BTreeMap::new(),
        not_matches: BTreeMap::from([
            (attribute::VANTAGE.to_owned(), values("client")),
            (attribute::SELF.to_owned(), values("true")),
            (attribute::SERVICE.to_owned(), BTreeSet::from([String::new(), OTHER.to_owned()])),
        ]),
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Presence {
    /// It was heard of lately.
    Present,
    /// It was not.
    Absent,
    /// It is there, and no services file names it.
    Unlisted,
}

impl Presence {
    /// The value of `pqscope.result`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Absent => "absent",
            Self::Unlisted => "unlisted",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whom it is about.
    pub service: String,
    /// The role that makes us expect it; `None` for an endpoint that no file names.
    pub role: Option<Role>,
    /// What was looked for.
    pub series: &'static str,
    /// What was found.
    pub presence: Presence,
}

impl Check {
    /// The series that the check counts in.
    pub fn series(&self) -> Series {
        let mut attributes = vec![
            (attribute::SERVICE, self.service.as_str()),
            (attribute::COVERAGE_SERIES, self.series),
            (attribute::RESULT, self.presence.word()),
        ];
        attributes.extend(self.role.map(|role| (attribute::ROLE, role.word())));
        Series::new(engine::COVERAGE_CHECKS.name, attributes)
    }
}

/// When a check is made, and since when we could have heard of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// When this state was first started.
    pub birth: Timestamp,
    /// When this process was started.
    pub started: Timestamp,
    /// When the check is made.
    pub now: Timestamp,
}

impl Watch {
    /// Whether silence means anything: not just after our start, and not before something that comes once a day has
    /// had a day to come.
    fn can_tell(&self, freshness: Duration) -> bool {
        self.now.since(self.started) >= freshness.min(START_GRACE) && self.now.since(self.birth) >= freshness
    }
}

/// Checks every expectation. `heard` says whether any series that a selector picks was heard of within a span before
/// now; `seen` are the names of endpoints on the wire. Without a services file there is nothing to check.
pub fn check(
    expectations: &[Expectation],
    services: &Services,
    seen: &BTreeSet<String>,
    watch: Watch,
    heard: impl Fn(&Selector, Duration) -> bool,
) -> Vec<Check> {
    let mut checks = Vec::new();
    for expectation in expectations {
        let presence = if heard(&expectation.selector, expectation.freshness) {
            Presence::Present
        } else if watch.can_tell(expectation.freshness) {
            Presence::Absent
        } else {
            continue;
        };
        checks.push(Check {
            service: expectation.service.clone(),
            role: Some(expectation.role),
            series: expectation.series,
            presence,
        });
    }
    if !services.services.is_empty() {
        let listed = |name: &String| {
            services.services.iter().any(|service| service.name == *name || service.hosts.contains(name))
        };
        let unlisted = seen.iter().filter(|name| !listed(name)).take(MOST_UNLISTED);
        checks.extend(unlisted.map(|name| Check {
            service: name.clone(),
            role: None,
            series: agent::HANDSHAKES.name,
            presence: Presence::Unlisted,
        }));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(text: &str) -> Services {
        Services::parse("services.yaml", text).unwrap()
    }

    fn watch(since_birth: u64, since_start: u64) -> Watch {
        let now = Timestamp::from_seconds(10_000_000);
        let before = |seconds| now.before(Duration::from_secs(seconds));
        Watch { birth: before(since_birth), started: before(since_start), now }
    }

    #[test]
    fn roles_become_series_with_an_age() {
        let services = services(
            "- name: shop\n  hosts: [shop.example]\n  roles: [tls-server]\n- name: ci\n  roles: [{role: signer, freshness: 7d}]\n- name: registry\n  roles: [storage]\n",
        );
        let expected = expectations(&services);
        let rows: Vec<_> = expected
            .iter()
            .map(|expectation| {
                (expectation.service.as_str(), expectation.series, expectation.freshness.as_secs())
            })
            .collect();
        assert_eq!(
            rows,
            [
                ("shop", "pqscope.handshakes", 300),
                ("shop", "pqscope.handshake.duration", 300),
                ("ci", "pqscope.sign", 604_800),
                ("registry", "pqscope.storage.size", 86_400),
            ]
        );
        let by_host = Series::new("pqscope.handshakes", [(attribute::SERVICE, "shop.example")]);
        assert!(expected[0].selector.matches(&by_host));
        let event =
            |kind| Series::new("pqscope.events", [(attribute::SERVICE, "ci"), (attribute::EVENT_TYPE, kind)]);
        assert!(expected[2].selector.matches(&event("pqscope.sign")));
        assert!(!expected[2].selector.matches(&event("pqscope.verify")));
        let store = Series::new("pqscope.storage.size", [(attribute::STORE, "registry")]);
        assert!(expected[3].selector.matches(&store));
    }

    #[test]
    fn silence_counts_once_it_means_something() {
        let services = services("- name: shop\n  roles: [tls-server, signer]\n");
        let expected = expectations(&services);
        let results = |watch: Watch, heard: bool| -> Vec<Presence> {
            let checks = check(&expected, &services, &BTreeSet::new(), watch, |_, _| heard);
            checks.iter().map(|check| check.presence).collect()
        };
        let (present, absent) = (Presence::Present, Presence::Absent);
        assert_eq!(results(watch(10, 10), true), [present; 3], "what is there is there at once");
        assert_eq!(results(watch(299, 299), false), []);
        assert_eq!(results(watch(300, 300), false), [absent, absent], "a day is not over yet");
        assert_eq!(results(watch(86_400, 299), false), [], "we just came back");
        assert_eq!(results(watch(86_400, 300), false), [absent; 3]);
    }

    #[test]
    fn endpoints_that_no_file_names_are_gaps_by_name() {
        let services = services("- name: shop\n  hosts: [shop.example]\n");
        let seen = ["shop", "shop.example", "forgotten.example"].map(str::to_owned).into();
        let checks = check(&[], &services, &seen, watch(0, 0), |_, _| true);
        let [gap] = checks.as_slice() else { panic!("{checks:?}") };
        assert_eq!((gap.service.as_str(), gap.presence), ("forgotten.example", Presence::Unlisted));
        assert_eq!(gap.series().attribute(attribute::RESULT), "unlisted");
        assert_eq!(check(&[], &Services::default(), &seen, watch(0, 0), |_, _| true), []);
        let series = |pairs: &[(&str, &str)]| Series::new("pqscope.handshakes", pairs.iter().copied());
        let endpoints = endpoints();
        assert!(endpoints.matches(&series(&[(attribute::SERVICE, "x"), (attribute::VANTAGE, "server")])));
        assert!(!endpoints.matches(&series(&[(attribute::SERVICE, "x"), (attribute::VANTAGE, "client")])));
        assert!(!endpoints.matches(&series(&[(attribute::SERVICE, "other")])));
    }
}
