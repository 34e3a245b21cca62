//! Fragmented IP packets put together again.
//!
//! Enters: fragments with the path they came on and a time. Leaves: the payload of a packet whose pieces are all there,
//! to be decoded as if it had come whole ([`Whole::decode`]), and counts of those that never were. Packets that are no
//! fragments pass this room by.

mod datagram;

use crate::decode::{Address, Decoded, Family, Fragment, Skip, resume};
use crate::flow::key::PathId;
use datagram::{Datagram, Taken};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long after its first piece an IPv4 packet may become whole. RFC 791 suggests 15 s and Linux takes 30 s, but a fast
/// sender uses all 65,536 numbers within a few seconds (RFC 4963), and then pieces of two packets would be mixed; the
/// pieces of one come within milliseconds.
const TIMEOUT_V4: Duration = Duration::from_secs(5);

/// How long an IPv6 packet has, whose numbers are of 32 bits (RFC 8200 section 4.5 says 60 s; Linux takes 30 s).
const TIMEOUT_V6: Duration = Duration::from_secs(30);

/// How long after a packet became whole further pieces with its number are copies that the capture made, rather than
/// those of another packet: captures of several queues are out of order by milliseconds.
const COPIES: Duration = Duration::from_millis(200);

/// Packets that share a number: sender, receiver, identification, in IPv4 the protocol (RFC 791), and the path, since
/// the same addresses occur in different networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: Address,
    destination: Address,
    identification: u32,
    protocol: u8,
    family: Family,
    path: PathId,
}

impl Key {
    fn of(fragment: &Fragment<'_>, path: PathId) -> Self {
        Self {
            source: fragment.ends.source,
            destination: fragment.ends.destination,
            identification: fragment.identification,
            protocol: match fragment.ends.family {
                Family::V4 => fragment.protocol,
                Family::V6 => 0,
            },
            family: fragment.ends.family,
            path,
        }
    }

    const fn timeout(&self) -> Duration {
        match self.family {
            Family::V4 => TIMEOUT_V4,
            Family::V6 => TIMEOUT_V6,
        }
    }
}

#[derive(Debug)]
enum State {
    Collecting(Datagram),
    /// All pieces came, the last one at this time.
    Whole(u64),
    /// Its pieces cannot be put together; later ones share the fate of the others.
    Refused(Skip),
}

#[derive(Debug)]
struct Entry {
    /// When the first piece came.
    began: u64,
    state: State,
}

/// A packet whose pieces are all there.
#[derive(Debug)]
pub(crate) struct Whole<'a> {
    /// The last piece that came; the packet is from the same sender, in the same encapsulation.
    like: Fragment<'a>,
    payload: Vec<u8>,
    length: usize,
    /// Captured packets that it was put together from.
    pub(crate) pieces: u64,
}

impl Whole<'_> {
    /// What the packet holds. It may be a fragment again, of a packet within the packet.
    pub(crate) fn decode(&self) -> Result<Decoded<'_>, Skip> {
        resume(&self.like, &self.payload, self.length)
    }
}

/// Packets that were passed by, by reason, and others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FragmentCounts {
    /// Packets that were put together.
    pub(crate) reassembled: u64,
    /// Captured pieces that were copies of pieces already there.
    pub(crate) copies: u64,
    /// Captured pieces that came to nothing, by [`Skip::index`].
    pub(crate) skipped: [u64; Skip::ALL.len()],
}

/// Packets whose pieces are being collected.
///
/// Bounds: [`Fragments::MAX_BYTES`] for all together, overhead included; [`Fragments::MAX_PACKETS`] packets; of one
/// packet [`Fragments::MAX_PIECES`] pieces, 65,535 bytes (the protocol's own bound), and 5 s (IPv4) or 30 s (IPv6) of
/// capture time from its first piece; an IPv4 packet behind one of IPv6 is put away with that, and joins nothing more. Over the bounds for all, the packet begun first is given up; over those for one, that one.
///
/// Of overlapping bytes the first stand, except that an IPv4 piece with the place of another and other bytes begins a
/// packet anew, since the number was used again, and that IPv6 packets with overlapping pieces are dropped whole
/// (RFC 5722). A piece that repeats another exactly is a copy in either family. Of pieces that the capture cut, the
/// packet ends, as far as it was captured, at the first cut.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    entries: HashMap<Key, Entry>,
    /// Every entry once, begun first to begun last, but for those that were begun anew.
    order: VecDeque<(u64, Key)>,
    bytes: usize,
    counts: FragmentCounts,
}

impl Fragments {
    /// Memory for all packets together.
    pub(crate) const MAX_BYTES: usize = 4 << 20;

    /// Packets that are remembered at the same time.
    pub(crate) const MAX_PACKETS: usize = 4096;

    /// Pieces of one packet. At the usual packet size 65,535 bytes make 45.
    pub(crate) const MAX_PIECES: usize = 256;

    /// Memory of an entry in both collections, at their worst load.
    const BYTES_PER_ENTRY: usize = 2 * (size_of::<(Key, Entry)>() + size_of::<(u64, Key)>());

    /// Memory taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What has come of the fragments so far.
    pub(crate) fn counts(&self) -> FragmentCounts {
        self.counts
    }

    /// Takes a fragment; returns its packet if that is whole now. `now` never runs backwards.
    pub(crate) fn add<'a>(&mut self, fragment: &Fragment<'a>, path: PathId, now: u64) -> Option<Whole<'a>> {
        let key = Key::of(fragment, path);
        self.renew_if_used_again(&key, fragment, now);
        if !self.entries.contains_key(&key) {
            self.begin(key, now);
        }
        let entry = self.entries.get_mut(&key)?;
        let datagram = match &mut entry.state {
            State::Collecting(datagram) => datagram,
            State::Whole(_) => {
                self.counts.copies += 1;
                return None;
            }
            State::Refused(skip) => {
                let skip = *skip;
                self.count(skip, 1);
                return None;
            }
        };
        let before = datagram.heap_bytes();
        let taken = datagram.take(fragment, Self::MAX_PIECES);
        self.bytes = self.bytes + datagram.heap_bytes() - before;
        match taken {
            Taken::Held => {
                self.keep_within_bounds();
                None
            }
            Taken::Dropped => {
                self.count(Skip::Malformed, 1);
                None
            }
            Taken::Whole => {
                let whole = Whole {
                    like: Fragment { protocol: datagram.protocol(), ..*fragment },
                    payload: datagram.joined(),
                    length: datagram.length(),
                    pieces: datagram.pieces(),
                };
                self.bytes -= datagram.heap_bytes();
                entry.state = State::Whole(now);
                self.counts.reassembled += 1;
                Some(whole)
            }
            Taken::Refused(skip) => {
                let pieces = datagram.pieces();
                self.bytes -= datagram.heap_bytes();
                entry.state = State::Refused(skip);
                self.count(skip, pieces);
                None
            }
        }
    }

    /// Gives up what has waited too long.
    pub(crate) fn advance(&mut self, now: u64) {
        while self.order.front().is_some_and(|(began, key)| is_past(*began, key.timeout(), now)) {
            self.give_up_first(Skip::Fragment);
        }
    }

    /// Gives up everything at the end of the capture.
    pub(crate) fn finish(&mut self) {
        while !self.order.is_empty() {
            self.give_up_first(Skip::Fragment);
        }
    }

    fn begin(&mut self, key: Key, now: u64) {
        if self.entries.len() >= Self::MAX_PACKETS {
            self.give_up_first(Skip::FragmentEvicted);
        }
        self.entries.insert(key, Entry { began: now, state: State::Collecting(Datagram::default()) });
        self.order.push_back((now, key));
        self.bytes += Self::BYTES_PER_ENTRY;
    }

    /// The number of a packet that has long been whole, or had its time, or lies where another one does, is used again.
    fn renew_if_used_again(&mut self, key: &Key, fragment: &Fragment<'_>, now: u64) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let is_over = is_past(entry.began, key.timeout(), now);
        let (bytes, pieces) = match &entry.state {
            State::Whole(at) if is_past(*at, COPIES, now) => (0, 0),
            State::Refused(_) if is_over => (0, 0),
            State::Collecting(datagram) if is_over || datagram.is_of_another(fragment) => {
                (datagram.heap_bytes(), datagram.pieces())
            }
            _ => return,
        };
        *entry = Entry { began: now, state: State::Collecting(Datagram::default()) };
        self.bytes -= bytes;
        self.count(Skip::Fragment, pieces);
    }

    fn keep_within_bounds(&mut self) {
        while self.bytes > Self::MAX_BYTES && !self.order.is_empty() {
            self.give_up_first(Skip::FragmentEvicted);
        }
    }

    /// Forgets the packet begun first; one whose number was used again takes its place among the later ones.
    fn give_up_first(&mut self, reason: Skip) {
        let Some((began, key)) = self.order.pop_front() else { return };
        let Some(entry) = self.entries.get(&key) else { return };
        if entry.began != began {
            self.order.push_back((entry.began, key));
            return;
        }
        if let State::Collecting(datagram) = &entry.state {
            let (bytes, pieces) = (datagram.heap_bytes(), datagram.pieces());
            self.bytes -= bytes;
            self.count(reason, pieces);
        }
        self.bytes -= Self::BYTES_PER_ENTRY;
        self.entries.remove(&key);
    }

    fn count(&mut self, skip: Skip, pieces: u64) {
        if let Some(count) = self.counts.skipped.get_mut(skip.index()) {
            *count += pieces;
        }
    }
}

fn is_past(since: u64, limit: Duration, now: u64) -> bool {
    u128::from(now.saturating_sub(since)) > limit.as_nanos()
}

#[cfg(test)]
mod tests;
