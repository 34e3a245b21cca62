//! Flights of which only the sum is known, pooled over the handshakes of one server.
//!
//! Enters: observations whose server sent its messages in shared records. Leaves: for each sum, what the certificate
//! chain may weigh and how it signs.
//!
//! Two handshakes are alike when their clients offered the same, and the server chose the same: then their
//! EncryptedExtensions and their Certificate are the same bytes, unless the server has several certificates, and their
//! sums differ by their signatures alone. Sums further apart than that are of other chains. A resumption by such a
//! client shows what the EncryptedExtensions weigh: nothing else stands before its Finished.

use super::met::Met;
use super::pattern::{Pattern, Seen};
use crate::observation::{Evidence, KeyExchange, Observation, SignatureFamily};
use crate::tls::inference::{
    LEAST_STAPLED, Offer, chains, extensions_alone, last_plaintext, sum_before_finished, tells_nothing,
};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::RangeInclusive;

/// Kinds of handshakes told apart for one server.
const MAX_KINDS: usize = 8;

/// Sums told apart for one kind.
const MAX_SUMS: usize = 16;

/// Sums this far apart are not of one chain: no two signatures of one curve are, all but one in a million.
const APART: u32 = 6;

/// A server may confirm the name in a full handshake and not in a resumption: an empty extension (RFC 6066 section 3).
const NAME_CONFIRMED: u32 = 4;

/// Padding to blocks of this size, or of a multiple, shows in sums.
const BLOCK: u32 = 16;

/// All flights of one server.
#[derive(Debug, Default)]
pub(super) struct Sums {
    kinds: BTreeMap<u64, Kind>,
    /// Least and greatest EncryptedExtensions of resumptions, by what their clients offered.
    extensions: BTreeMap<u64, (u32, u32)>,
    padding: Padding,
    /// Handshakes that no pool took.
    pub(super) left_out: u64,
}

/// Handshakes that are alike.
#[derive(Debug)]
struct Kind {
    offer: Offer,
    /// Its place in [`Sums::extensions`].
    offered: u64,
    sums: BTreeMap<u32, Seen>,
    last: Option<u32>,
    met: Met,
    /// There were more sums than are told apart: what does not vary here may vary there.
    is_full: bool,
}

/// Whether all sums are such as padding to a block makes them, with or without the byte of type (RFC 8446 section 5.4).
#[derive(Clone, Copy, Debug)]
struct Padding {
    without_type: bool,
    with_type: bool,
}

impl Default for Padding {
    fn default() -> Self {
        Self { without_type: true, with_type: true }
    }
}

impl Padding {
    fn add(&mut self, plaintext: u32) {
        self.without_type &= plaintext.is_multiple_of(BLOCK);
        self.with_type &= (plaintext + 1).is_multiple_of(BLOCK);
    }

    const fn may_be(self) -> bool {
        self.without_type || self.with_type
    }
}

/// What is known of one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pooled {
    /// Families that the signature may be of.
    pub(super) families: Vec<SignatureFamily>,
    /// Bounds of the chain's bytes, where they tell anything.
    pub(super) bounds: Option<(u64, u64)>,
    /// Handshakes that this rests on.
    pub(super) handshakes: u64,
}

/// Whether the record's own inference saw a flight of which only the sum is known.
fn is_shared(seen: &Observation) -> bool {
    let is_inferred = seen.certificate_verify.is_some_and(|verify| verify.evidence == Evidence::Inferred);
    is_inferred && seen.certificates.as_ref().is_none_or(|chain| chain.message_bytes.is_none())
}

/// A number for what a client offered, as far as EncryptedExtensions answer it. A resumption's differs in nothing but the
/// pre-shared key, and so in its fingerprint.
fn offered(seen: &Observation) -> u64 {
    let hello = &seen.client_hello;
    let mut hasher = DefaultHasher::new();
    (&hello.versions, &hello.groups, &hello.key_shares, &hello.signature_schemes).hash(&mut hasher);
    (&hello.alpn, hello.ech, hello.wishes, seen.hello_retry.is_some(), &seen.tunnel).hash(&mut hasher);
    hasher.finish()
}

/// A number for all that makes handshakes alike. A packet seen in two tunnels is not two.
fn kind(seen: &Observation) -> u64 {
    let mut hasher = DefaultHasher::new();
    let group = seen.group.as_ref().map(|group| group.id);
    (offered(seen), &seen.client_hello.ja4, seen.version, seen.cipher_suite, group).hash(&mut hasher);
    hasher.finish()
}

impl Sums {
    /// Adds a handshake where its flight's sum is known.
    pub(super) fn add(&mut self, seen: &Observation) {
        let Some(flight) = &seen.server_flight else { return };
        let is_resumed = matches!(seen.key_exchange, Some(KeyExchange::Psk | KeyExchange::PskEphemeral));
        if is_resumed {
            let alone = extensions_alone(&flight.records, seen.cipher_suite);
            if let Some(bytes) = alone {
                self.resumed(offered(seen), bytes);
            }
        } else if is_shared(seen)
            && let Some(sum) = sum_before_finished(&flight.records, seen.cipher_suite)
        {
            self.padding.add(last_plaintext(&flight.records, seen.cipher_suite).unwrap_or(0));
            self.full(seen, sum);
        }
    }

    fn resumed(&mut self, offered: u64, bytes: u32) {
        if self.extensions.len() < MAX_KINDS || self.extensions.contains_key(&offered) {
            let (least, most) = self.extensions.entry(offered).or_insert((bytes, bytes));
            (*least, *most) = ((*least).min(bytes), (*most).max(bytes));
        }
    }

    fn full(&mut self, seen: &Observation, sum: u32) {
        let number = kind(seen);
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&number) {
            self.left_out += 1;
            return;
        }
        let kind = self.kinds.entry(number).or_insert_with(|| Kind {
            offer: Offer::of_facts(&seen.client_hello),
            offered: offered(seen),
            sums: BTreeMap::new(),
            last: None,
            met: Met::default(),
            is_full: false,
        });
        if kind.sums.len() >= MAX_SUMS && !kind.sums.contains_key(&sum) {
            kind.is_full = true;
            self.left_out += 1;
            return;
        }
        let entry = kind.sums.entry(sum).or_default();
        entry.handshakes += 1;
        if kind.met.is_new(seen.client) {
            entry.count += 1;
            entry.changed +=
                u64::from(kind.last.is_some_and(|last| (1..APART).contains(&last.abs_diff(sum))));
            kind.last = Some(sum);
        }
    }

    /// What is known of the chain that a handshake showed, from its own flight and those like it.
    pub(super) fn of(&self, seen: &Observation) -> Option<Pooled> {
        let sum = sum_before_finished(&seen.server_flight.as_ref()?.records, seen.cipher_suite)?;
        let kind = self.kinds.get(&kind(seen)).filter(|_| is_shared(seen))?;
        let cluster = kind.clusters().into_iter().find(|cluster| cluster.iter().any(|(at, _)| *at == sum))?;
        self.judge(kind, &cluster)
    }

    /// What is known of every chain, those that most handshakes rest on first.
    pub(super) fn chains(&self) -> Vec<Pooled> {
        let mut known: Vec<Pooled> = Vec::new();
        for kind in self.kinds.values() {
            for cluster in kind.clusters() {
                let Some(found) = self.judge(kind, &cluster) else { continue };
                let same =
                    |other: &&mut Pooled| other.families == found.families && other.bounds == found.bounds;
                match known.iter_mut().find(same) {
                    Some(other) => other.handshakes += found.handshakes,
                    None => known.push(found),
                }
            }
        }
        known
    }

    fn judge(&self, kind: &Kind, cluster: &[(u32, Seen)]) -> Option<Pooled> {
        let extensions = self.extensions(kind);
        let pattern = if kind.is_full { Pattern::Open } else { Pattern::of(cluster, self.padding.may_be()) };
        let offer = if self.is_unstapled(kind) { kind.offer.without_staple() } else { kind.offer.clone() };
        // Each sum by itself: a certificate renewed by one of nearly the same size may be among them.
        let mut fits: Vec<_> =
            cluster.iter().flat_map(|(sum, _)| chains(*sum, &extensions, &offer)).collect();
        if fits.iter().any(|chain| pattern.allows(chain.family)) {
            // Otherwise the client takes no such signature, and what seemed a law is none.
            fits.retain(|chain| pattern.allows(chain.family));
        }
        let low = fits.iter().map(|chain| chain.low).min()?;
        let high = fits.iter().map(|chain| chain.high).max()?;
        let mut families: Vec<_> = fits.iter().map(|chain| chain.family).collect();
        families.sort_unstable();
        families.dedup();
        let bounds = (low <= high && !tells_nothing(low, high)).then_some((low.into(), high.into()));
        Some(Pooled { families, bounds, handshakes: cluster.iter().map(|(_, seen)| seen.handshakes).sum() })
    }

    /// Whether flights of this kind hold no stapled response although it was asked for: a client that asked for none got as
    /// much. Only where both got one chain, and the server had no reason to show them different ones.
    fn is_unstapled(&self, kind: &Kind) -> bool {
        let Some((_, most)) = kind.only_chain() else { return false };
        let least_extensions = *self.extensions(kind).start();
        self.kinds.values().filter(|other| kind.offer.adds_only_a_staple_to(&other.offer)).any(|other| {
            let most_extensions = *self.extensions(other).end();
            let stapled = |least: u32| least + LEAST_STAPLED + least_extensions;
            other.only_chain().is_some_and(|(least, _)| most + most_extensions < stapled(least))
        })
    }

    fn extensions(&self, kind: &Kind) -> RangeInclusive<u32> {
        match self.extensions.get(&kind.offered) {
            Some((least, most)) => *least..=most + NAME_CONFIRMED,
            None => kind.offer.extensions(),
        }
    }
}

impl Kind {
    /// The least and the greatest sum, where all may be of one chain.
    fn only_chain(&self) -> Option<(u32, u32)> {
        let ends = self.sums.first_key_value().zip(self.sums.last_key_value());
        let (least, most) = ends.map(|((least, _), (most, _))| (*least, *most))?;
        (!self.is_full && self.clusters().len() == 1).then_some((least, most))
    }

    /// Sums that may be of one chain.
    fn clusters(&self) -> Vec<Vec<(u32, Seen)>> {
        let sums: Vec<_> = self.sums.iter().map(|(sum, seen)| (*sum, *seen)).collect();
        sums.chunk_by(|(sum, _), (next, _)| next - sum < APART).map(<[_]>::to_vec).collect()
    }
}
