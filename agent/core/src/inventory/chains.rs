//! The certificate chains of one server: read, or sized where the Certificate message has records of its own.
//!
//! Enters: observations. Leaves: one entry per chain that can be told apart, with what all its handshakes say of it.

use crate::observation::{Certificates, Evidence, Observation, SignatureFamily};
use std::collections::BTreeMap;

/// Chains told apart for one server.
const MAX_CHAINS: usize = 8;

/// What tells chains apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChainKey {
    /// The certificates' own lengths.
    Read { evidence: Evidence, lengths: Vec<u32>, family: Option<SignatureFamily> },
    /// The length of the Certificate message, and whether it is known not to be compressed: other messages of one length
    /// would have to differ in their parts and agree in their sum.
    Sized { message_bytes: u32, family: Option<SignatureFamily>, uncompressed: bool },
}

/// What the handshakes with one chain say of it.
#[derive(Clone, Debug, Default)]
pub(super) struct ChainFacts {
    /// Handshakes that it was met in.
    pub(super) handshakes: u64,
    /// Length of the Certificate message.
    pub(super) message_bytes: Option<u32>,
    /// What every one of them allows; `None` where they contradict each other or none says anything.
    pub(super) bounds: Option<(u64, u64)>,
    contradicted: bool,
}

/// All chains of one server.
#[derive(Debug, Default)]
pub(super) struct Chains {
    known: BTreeMap<ChainKey, ChainFacts>,
    /// Handshakes with chains beyond the bound.
    pub(super) left_out: u64,
}

impl Chains {
    pub(super) fn add(&mut self, seen: &Observation) {
        let Some((key, chain)) =
            seen.certificates.as_ref().and_then(|chain| Some((key(seen, chain)?, chain)))
        else {
            return;
        };
        if self.known.len() >= MAX_CHAINS && !self.known.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        let facts = self.known.entry(key).or_default();
        facts.handshakes += 1;
        facts.message_bytes = chain.message_bytes;
        if let (Some(low), Some(high)) = (chain.low, chain.high) {
            facts.narrow(low, high);
        }
    }

    /// The chain that a handshake showed.
    pub(super) fn of(&self, seen: &Observation) -> Option<&ChainFacts> {
        self.known.get(&key(seen, seen.certificates.as_ref()?)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ChainKey, &ChainFacts)> {
        self.known.iter()
    }
}

impl ChainFacts {
    /// A client that did not ask for what may stand beside certificates narrows what those allow that did.
    fn narrow(&mut self, low: u64, high: u64) {
        if self.contradicted {
            return;
        }
        let (least, most) = self.bounds.unwrap_or((low, high));
        let (low, high) = (least.max(low), most.min(high));
        self.contradicted = low > high;
        self.bounds = (!self.contradicted).then_some((low, high));
    }
}

fn key(seen: &Observation, chain: &Certificates) -> Option<ChainKey> {
    let family = seen.certificate_verify.map(|verify| verify.family);
    match (chain.evidence, &chain.lengths, chain.message_bytes) {
        (Evidence::Inferred, _, Some(message_bytes)) => {
            Some(ChainKey::Sized { message_bytes, family, uncompressed: chain.compressed == Some(false) })
        }
        (Evidence::Inferred, _, None) | (_, None, _) => None,
        (evidence, Some(lengths), _) => Some(ChainKey::Read { evidence, lengths: lengths.clone(), family }),
    }
}
