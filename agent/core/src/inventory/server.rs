//! What was learnt of one server.

use super::chains::{ChainFacts, ChainKey, Chains};
use super::sums::{Pooled, Sums};
use super::tally::Tally;
use crate::observation::{Evidence, LeafFacts, Observation, Outcome, SignatureFamily};
use crate::time::Timestamp;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// Leaf certificates told apart for one server.
const MAX_LEAVES: usize = 8;

/// Handshakes of one server by outcome.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Outcomes {
    completed: u64,
    failed: u64,
    incomplete: u64,
}

/// How far the server and its clients are.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct PostQuantum {
    /// Handshakes whose client listed a hybrid or post-quantum group.
    offered: u64,
    /// Completed ones with such a key exchange.
    completed: u64,
}

/// What was learnt of one server.
#[derive(Debug)]
pub(super) struct Server {
    first: Timestamp,
    last: Timestamp,
    handshakes: Outcomes,
    protocols: Tally,
    versions: Tally,
    groups: Tally,
    key_exchange_classes: Tally,
    post_quantum: PostQuantum,
    pq_reasons: Tally,
    upgraded_from: Tally,
    leaves: BTreeMap<String, Leaf>,
    leaves_left_out: u64,
    chains: Chains,
    sums: Sums,
}

/// A leaf certificate, by its key.
#[derive(Debug, Serialize)]
struct Leaf {
    evidence: Evidence,
    handshakes: u64,
    first: Timestamp,
    last: Timestamp,
    #[serde(flatten)]
    facts: LeafFacts,
}

impl Server {
    pub(super) fn new(seen: &Observation) -> Self {
        Self {
            first: seen.start,
            last: seen.end,
            handshakes: Outcomes::default(),
            protocols: Tally::default(),
            versions: Tally::default(),
            groups: Tally::default(),
            key_exchange_classes: Tally::default(),
            post_quantum: PostQuantum::default(),
            pq_reasons: Tally::default(),
            upgraded_from: Tally::default(),
            leaves: BTreeMap::new(),
            leaves_left_out: 0,
            chains: Chains::default(),
            sums: Sums::default(),
        }
    }

    /// Adds a handshake. `room` is for how many more leaf certificates there is room in the whole inventory.
    pub(super) fn add(&mut self, seen: &Observation, room: &mut usize) {
        self.first = self.first.min(seen.start);
        self.last = self.last.max(seen.end);
        match seen.outcome {
            Outcome::Completed => self.handshakes.completed += 1,
            Outcome::Failed => self.handshakes.failed += 1,
            Outcome::Incomplete => self.handshakes.incomplete += 1,
        }
        self.protocols.add(seen.protocol.as_str());
        if let Some(version) = seen.version {
            self.versions.add(version.to_string());
        }
        if let Some(group) = &seen.group {
            self.groups.add(group.name.clone());
        }
        if let Some(class) = seen.key_exchange_class {
            self.key_exchange_classes.add(class.as_str());
        }
        if let Some(reason) = seen.pq_reason {
            self.pq_reasons.add(reason.as_str());
        }
        if let Some(protocol) = seen.upgraded_from {
            self.upgraded_from.add(protocol.as_str());
        }
        self.post_quantum.offered += u64::from(seen.offers_post_quantum());
        self.post_quantum.completed += u64::from(seen.is_post_quantum());
        self.leaf(seen, room);
        self.chains.add(seen);
        self.sums.add(seen);
    }

    fn leaf(&mut self, seen: &Observation, room: &mut usize) {
        let Some(chain) = &seen.certificates else { return };
        let Some(facts) = &chain.leaf else { return };
        if let Some(leaf) = self.leaves.get_mut(&facts.spki_sha256) {
            // A renewed certificate may keep its key: what was seen last counts.
            if seen.end >= leaf.last {
                leaf.facts = facts.as_ref().clone();
            }
            leaf.handshakes += 1;
            leaf.first = leaf.first.min(seen.start);
            leaf.last = leaf.last.max(seen.end);
            leaf.evidence = leaf.evidence.min(chain.evidence);
        } else if self.leaves.len() < MAX_LEAVES && *room > 0 {
            *room -= 1;
            let leaf = Leaf {
                evidence: chain.evidence,
                handshakes: 1,
                first: seen.start,
                last: seen.end,
                facts: facts.as_ref().clone(),
            };
            self.leaves.insert(facts.spki_sha256.clone(), leaf);
        } else {
            self.leaves_left_out += 1;
        }
    }

    /// The family and the bounds of the chain that a handshake of this server showed, from all that are like it. What the
    /// handshake by itself says is never widened.
    pub(super) fn pooled(&self, seen: &Observation) -> (Option<SignatureFamily>, Option<(u64, u64)>) {
        let (family, pooled) = match (self.chains.of(seen), self.sums.of(seen)) {
            (Some(facts), _) => (None, facts.bounds),
            (None, Some(pooled)) => (only(&pooled.families), pooled.bounds),
            (None, None) => (None, None),
        };
        let own = seen.certificates.as_ref().and_then(|chain| chain.low.zip(chain.high));
        let bounds = match (pooled, own) {
            (Some((low, high)), Some((least, most))) => Some((low.max(least), high.min(most))),
            (pooled, _) => pooled,
        };
        (family, bounds.filter(|(low, high)| low <= high))
    }

    fn chain_rows(&self) -> Vec<ChainRow> {
        let known = self.chains.iter().map(|(key, facts)| ChainRow::of(key, facts));
        let mut rows: Vec<_> = known.chain(self.sums.chains().into_iter().map(ChainRow::pooled)).collect();
        rows.sort_by(|a, b| b.handshakes.cmp(&a.handshakes).then_with(|| a.order().cmp(&b.order())));
        rows
    }
}

fn only(families: &[SignatureFamily]) -> Option<SignatureFamily> {
    match families {
        [family] => Some(*family),
        _ => None,
    }
}

/// A chain as it is written.
#[derive(Debug, Serialize)]
struct ChainRow {
    evidence: Evidence,
    handshakes: u64,
    /// `separate` or `shared`; `None` where the certificates were read.
    records: Option<&'static str>,
    /// `None` where no signature was seen.
    family: Option<SignatureFamily>,
    /// Those that the signature may be of.
    families: Vec<SignatureFamily>,
    count: Option<usize>,
    lengths: Option<Vec<u32>>,
    chain_bytes: Option<u64>,
    message_bytes: Option<u32>,
    low: Option<u64>,
    high: Option<u64>,
    compressed: Option<bool>,
}

impl ChainRow {
    fn of(key: &ChainKey, facts: &ChainFacts) -> Self {
        let (ChainKey::Read { family, .. } | ChainKey::Sized { family, .. }) = key;
        let known = family.filter(|family| *family != SignatureFamily::Unknown);
        let row = Self {
            evidence: Evidence::Inferred,
            handshakes: facts.handshakes,
            records: None,
            family: *family,
            families: known.into_iter().collect(),
            count: None,
            lengths: None,
            chain_bytes: None,
            message_bytes: facts.message_bytes,
            low: facts.bounds.map(|(low, _)| low),
            high: facts.bounds.map(|(_, high)| high),
            compressed: None,
        };
        match key {
            ChainKey::Sized { uncompressed, .. } => {
                Self { records: Some("separate"), compressed: uncompressed.then_some(false), ..row }
            }
            ChainKey::Read { evidence, lengths, .. } => Self {
                evidence: *evidence,
                count: Some(lengths.len()),
                chain_bytes: facts.bounds.and_then(|(low, high)| (low == high).then_some(low)),
                lengths: Some(lengths.clone()),
                ..row
            },
        }
    }

    fn pooled(pooled: Pooled) -> Self {
        Self {
            evidence: Evidence::Inferred,
            handshakes: pooled.handshakes,
            records: Some("shared"),
            family: Some(only(&pooled.families).unwrap_or(SignatureFamily::Unknown)),
            families: pooled.families,
            count: None,
            lengths: None,
            chain_bytes: None,
            message_bytes: None,
            low: pooled.bounds.map(|(low, _)| low),
            high: pooled.bounds.map(|(_, high)| high),
            compressed: Some(false),
        }
    }

    fn order(&self) -> impl Ord {
        let sizes = (self.message_bytes, self.low, self.high, self.lengths.clone());
        (self.evidence, self.records, self.families.clone(), sizes, self.compressed)
    }
}

impl Serialize for Server {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            first: Timestamp,
            last: Timestamp,
            handshakes: Outcomes,
            protocols: &'a Tally,
            versions: &'a Tally,
            groups: &'a Tally,
            key_exchange_classes: &'a Tally,
            post_quantum: PostQuantum,
            pq_reasons: &'a Tally,
            upgraded_from: &'a Tally,
            leaves: Vec<&'a Leaf>,
            leaves_left_out: u64,
            chains: Vec<ChainRow>,
            chains_left_out: u64,
        }
        let row = Row {
            first: self.first,
            last: self.last,
            handshakes: self.handshakes,
            protocols: &self.protocols,
            versions: &self.versions,
            groups: &self.groups,
            key_exchange_classes: &self.key_exchange_classes,
            post_quantum: self.post_quantum,
            pq_reasons: &self.pq_reasons,
            upgraded_from: &self.upgraded_from,
            leaves: self.leaves.values().collect(),
            leaves_left_out: self.leaves_left_out,
            chains: self.chain_rows(),
            chains_left_out: self.chains.left_out + self.sums.left_out,
        };
        row.serialize(serializer)
    }
}
