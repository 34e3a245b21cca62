//! What else a capture tells beside outcomes: why handshakes are not post-quantum, what TLS came through, trouble on the
//! path, and how large the certificates are.
//!
//! Enters: observations. Leaves: counts by words of closed sets, or of sets with a bound.

use crate::histogram::ExponentialHistogram;
use crate::observation::{Certificates, Evidence, Observation};
use pqscope_telemetry::OTHER;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Ways through tunnels, and kinds of certificate keys, that are told apart.
const MAX_KINDS: usize = 64;

/// The word where neither the signature nor the key was read.
const UNKNOWN: &str = "unknown";

/// How often something happened, and to how many attempts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Attempts that it happened to.
    pub attempts: u64,
    /// How often it happened: packets or messages.
    pub events: u64,
}

/// Sizes of the server's certificate chains of one kind of key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chains {
    /// Handshakes with such a chain.
    pub handshakes: u64,
    /// The least that any of them may weigh, bytes; `None` where none is bounded.
    pub low: Option<u64>,
    /// The most that any of them may weigh.
    pub high: Option<u64>,
    /// Sizes as far as one can be given.
    sizes: ExponentialHistogram,
}

impl Chains {
    fn add(&mut self, chain: &Certificates) {
        self.handshakes += 1;
        self.low = self.low.into_iter().chain(chain.low).min();
        self.high = self.high.into_iter().chain(chain.high).max();
        if let Some(bytes) = chain.chain_bytes {
            #[expect(clippy::cast_precision_loss, reason = "chains are far below 2^53 bytes")]
            self.sizes.record(bytes as f64);
        }
    }

    /// The size that half of the chains are below, bytes; `None` where none has more than bounds.
    pub fn median(&self) -> Option<f64> {
        self.sizes.quantile(0.5)
    }
}

/// Which chains are counted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ChainKind {
    /// What the server signs with: a family of signatures, or the key of a leaf that was read.
    pub key: Cow<'static, str>,
    /// What the sizes rest on.
    pub evidence: Evidence,
    /// The certificates may have been compressed (RFC 8879): then they were larger than these sizes.
    pub may_be_compressed: bool,
}

/// The details of a capture.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Details {
    /// Completed handshakes that are not post-quantum, by why not.
    pub not_post_quantum: BTreeMap<&'static str, u64>,
    /// Completed handshakes without a post-quantum share whose client had just failed with one.
    pub fallbacks: u64,
    /// Attempts by what was around their packets, outside in, numbers left out: `vlan`, `vlan vxlan`.
    pub by_tunnel: BTreeMap<String, u64>,
    /// Attempts by the protocol that came before TLS.
    pub by_upgrade: BTreeMap<&'static str, u64>,
    /// Trouble on the path, by the words of the metric `pqscope.path.events`, and what the capture holds twice.
    pub path: BTreeMap<&'static str, Trouble>,
    /// Sizes of the servers' certificate chains.
    #[serde(serialize_with = "chain_rows")]
    pub chains: BTreeMap<ChainKind, Chains>,
}

impl Details {
    pub(super) fn add(&mut self, seen: &Observation) {
        if let Some(reason) = seen.pq_reason {
            *self.not_post_quantum.entry(reason.as_str()).or_default() += 1;
        }
        self.fallbacks += u64::from(seen.fallback_of.is_some());
        if !seen.tunnel.is_empty() {
            let way = bounded(&self.by_tunnel, way_through(&seen.tunnel), || OTHER.to_owned());
            *self.by_tunnel.entry(way).or_default() += 1;
        }
        if let Some(protocol) = seen.upgraded_from {
            *self.by_upgrade.entry(protocol.as_str()).or_default() += 1;
        }
        for (event, count) in path_events(seen).into_iter().filter(|(_, count)| *count > 0) {
            let trouble = self.path.entry(event).or_default();
            trouble.attempts += 1;
            trouble.events += u64::from(count);
        }
        if let Some(chain) = &seen.certificates {
            let may_be_compressed = chain.compressed.is_none();
            let kind = ChainKind { key: key_of(seen, chain), evidence: chain.evidence, may_be_compressed };
            let other = || ChainKind { key: OTHER.into(), ..kind.clone() };
            let kind = bounded(&self.chains, kind.clone(), other);
            self.chains.entry(kind).or_default().add(chain);
        }
    }
}

/// The key, or another one where there are too many.
fn bounded<K: Ord, V>(known: &BTreeMap<K, V>, key: K, other: impl FnOnce() -> K) -> K {
    if known.len() >= MAX_KINDS && !known.contains_key(&key) { other() } else { key }
}

fn way_through(tunnel: &[String]) -> String {
    let kinds: Vec<&str> = tunnel.iter().filter_map(|layer| layer.split(':').next()).collect();
    kinds.join(" ")
}

fn path_events(seen: &Observation) -> [(&'static str, u32); 5] {
    let path = &seen.path;
    [
        ("retransmission", path.retransmissions),
        ("out_of_order", path.out_of_order),
        ("too_big", path.too_big),
        ("over_initial_window", u32::from(path.over_initial_window == Some(true))),
        ("duplicate", path.duplicates),
    ]
}

/// The signature's family where there is one; TLS 1.2 and earlier show the key itself.
fn key_of(seen: &Observation, chain: &Certificates) -> Cow<'static, str> {
    match (seen.certificate_verify, &chain.leaf) {
        (Some(verify), _) => verify.family.as_str().into(),
        (None, Some(leaf)) => leaf.key_algorithm.clone().into(),
        (None, None) => UNKNOWN.into(),
    }
}

fn chain_rows<S: Serializer>(rows: &BTreeMap<ChainKind, Chains>, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        kind: &'a ChainKind,
        handshakes: u64,
        low: Option<u64>,
        median: Option<f64>,
        high: Option<u64>,
    }
    serializer.collect_seq(rows.iter().map(|(kind, chains)| Row {
        kind,
        handshakes: chains.handshakes,
        low: chains.low,
        median: chains.median(),
        high: chains.high,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::testing::observation;
    use crate::observation::{CertificateVerify, PathFacts, PqReason, SignatureFamily, UpgradedFrom};

    fn with_chain(family: SignatureFamily, low: u64, high: u64, size: Option<u64>) -> Observation {
        let mut seen = observation();
        let evidence = Evidence::Inferred;
        seen.certificate_verify = Some(CertificateVerify { family, evidence });
        let (low, high) = (Some(low), Some(high));
        seen.certificates = Some(Certificates {
            low,
            high,
            chain_bytes: size,
            evidence,
            ..Certificates::seen(Vec::new(), 0)
        });
        seen
    }

    fn counted(all: &[Observation]) -> Details {
        let mut details = Details::default();
        all.iter().for_each(|seen| details.add(seen));
        details
    }

    #[test]
    fn a_plain_handshake_adds_no_line() {
        let details = counted(&[observation()]);
        assert!(details.by_tunnel.is_empty() && details.by_upgrade.is_empty() && details.path.is_empty());
        assert!(details.chains.is_empty() && details.not_post_quantum.is_empty());
        assert_eq!(details.fallbacks, 0);
    }

    #[test]
    fn reasons_fallbacks_and_ways_are_counted() {
        let mut seen = observation();
        seen.pq_reason = Some(PqReason::ServerIgnoredShare);
        seen.fallback_of = Some("an id".to_owned());
        seen.tunnel = vec!["vlan:10".to_owned(), "vxlan:42".to_owned(), "ipip".to_owned()];
        seen.upgraded_from = Some(UpgradedFrom::Smtp);
        let details = counted(&[seen.clone(), seen]);
        assert_eq!(details.not_post_quantum, BTreeMap::from([("server_ignored_share", 2)]));
        assert_eq!(details.fallbacks, 2);
        assert_eq!(details.by_tunnel, BTreeMap::from([("vlan vxlan ipip".to_owned(), 2)]));
        assert_eq!(details.by_upgrade, BTreeMap::from([("smtp", 2)]));
    }

    #[test]
    fn trouble_counts_events_and_whom_it_hit() {
        let mut seen = observation();
        seen.path = PathFacts { retransmissions: 3, over_initial_window: Some(true), ..PathFacts::default() };
        let details = counted(&[seen.clone(), observation(), seen]);
        let trouble = |attempts, events| Trouble { attempts, events };
        let expected = [("over_initial_window", trouble(2, 2)), ("retransmission", trouble(2, 6))];
        assert_eq!(details.path, BTreeMap::from(expected));
    }

    #[test]
    fn chains_are_counted_by_family_and_their_bounds_hold_all_of_them() {
        let details = counted(&[
            with_chain(SignatureFamily::Rsa, 900, 940, Some(935)),
            with_chain(SignatureFamily::Rsa, 1200, 1290, None),
            with_chain(SignatureFamily::MlDsa65, 5600, 5640, Some(5635)),
        ]);
        let keys: Vec<_> = details.chains.keys().map(|kind| &*kind.key).collect();
        assert_eq!(keys, ["ml_dsa_65", "rsa"]);
        let rsa = details.chains.values().last().unwrap();
        assert_eq!((rsa.handshakes, rsa.low, rsa.high), (2, Some(900), Some(1290)));
        assert!(rsa.median().is_some_and(|median| (930.0..940.0).contains(&median)), "{rsa:?}");
    }

    #[test]
    fn kinds_are_bounded() {
        let mut details = Details::default();
        for n in 0..2 * MAX_KINDS {
            let mut seen = observation();
            seen.tunnel = vec![format!("kind{n}")];
            details.add(&seen);
        }
        assert_eq!(details.by_tunnel.len(), MAX_KINDS + 1);
        assert_eq!(details.by_tunnel.get(OTHER), Some(&(MAX_KINDS as u64)));
    }
}
