//! What a connection's segments tell about its path: what was sent again, what came late, what the capture holds twice,
//! and what was never acknowledged.
//!
//! Enters: segments in the order of the capture. Leaves: their kinds, counted. It reads headers only; the bytes are
//! put in order elsewhere ([`super::reassembly`]).
//!
//! A packet that was captured twice (the `any` interface, a bridge and its port, a mirror) is told from one that was
//! sent twice by what the sender does not repeat: the identification of the IP header and the timestamp option
//! (RFC 7323 section 3). Where a packet has neither, only a copy within [`COPY_WITHIN_MS`] is taken for one, far below any
//! retransmission timeout.

use super::holes::Holes;
use super::key::{End, PerEnd};
use super::sequence::Sequence;
use crate::decode::Segment;
use crate::observation::{Evidence, Failure, FailureCause, Party, Phase};
use crate::time::Timestamp;
use std::time::Duration;

/// Two captures of one packet that far apart or less are taken for copies where nothing else tells; beyond twice as far
/// they never are.
const COPY_WITHIN_MS: u64 = 5;

/// How late a segment may come that was overtaken, where the round trip is not known; later it was sent again.
const OVERTAKEN_WITHIN: Duration = Duration::from_millis(3);

/// Packets that are remembered. The kernel shows a burst on one interface before it shows it on the next,
/// so that the copies follow in a row.
const COPIES: usize = 16;

/// How far a segment may lie from what its sender sent last; beyond it, it belongs to another connection.
const REACH: u32 = 1 << 24;

/// What a segment is to its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It carries something new, or nothing.
    New,
    /// The capture holds it twice.
    Duplicate,
    /// It was sent again.
    Retransmission,
    /// It was overtaken.
    OutOfOrder,
}

/// Counts of the kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PathCounts {
    pub(crate) retransmissions: u32,
    pub(crate) out_of_order: u32,
    pub(crate) duplicates: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Half {
    /// The beginning of what was seen.
    begin: Sequence,
    /// The end of what was sent so far.
    sent: Option<Sequence>,
    /// The end of the data among it: the peer of a dead path does not acknowledge a FIN either.
    data: Option<Sequence>,
    /// The highest number that the peer acknowledged.
    acknowledged: Option<Sequence>,
    holes: Holes,
    retransmissions: u16,
    mss: Option<u16>,
    /// It handed its network card more at once than fits into a segment.
    sent_large: bool,
}

/// Hashes of the last packets, over what their sender does not repeat. Sixteen bits do, since only a segment within what
/// was sent already can be a copy.
#[derive(Clone, Copy, Debug, Default)]
struct Prints {
    last: [u16; COPIES],
    next: u8,
}

impl Prints {
    /// Whether the same packet was seen before; remembers this one.
    fn is_copy(&mut self, at: Timestamp, segment: &Segment<'_>) -> bool {
        let [print, earlier] = prints(at, segment);
        let known = self.last.iter().any(|known| *known == print || *known == earlier);
        if let Some(slot) = self.last.get_mut(usize::from(self.next)) {
            *slot = print;
        }
        self.next = (self.next + 1) % COPIES as u8;
        known
    }
}

impl Half {
    /// Whether a segment belongs to the connection that is counted here. Anyone may send one that does not, and a server
    /// may answer a SYN twice with different numbers: what the peer acknowledges tells which of them stand.
    fn concerns(&mut self, segment: &Segment<'_>) -> bool {
        let Some(sent) = self.sent else { return true };
        let (number, begin) = (segment.sequence, self.begin);
        // The capture may hold the data before the SYN.
        let opens_it = number == begin || number.advanced(1) == begin;
        if if segment.syn { opens_it } else { is_near(number, sent) } {
            return true;
        }
        let stands = |place| self.acknowledged.is_some_and(|number| is_near(number, place));
        if stands(sent) || !(segment.syn || stands(number)) {
            return false;
        }
        let acknowledged = self.acknowledged.filter(|_| stands(number));
        (self.sent, self.data, self.holes) = (None, None, Holes::default());
        self.acknowledged = acknowledged;
        true
    }

    /// Takes the stretch of sequence space of a segment.
    fn take(&mut self, at: Timestamp, segment: &Segment<'_>, round_trip: Option<Duration>) -> Kind {
        let (from, to) = (segment.sequence, end(segment));
        let now = microseconds(at);
        let Some(sent) = self.sent else {
            (self.begin, self.sent) = (from, Some(to));
            return Kind::New;
        };
        if from.distance_from(self.begin) < 0 && to.distance_from(self.begin) <= 0 {
            // The capture's first packet of this direction was not the first that was sent.
            if to != self.begin {
                self.holes.open(to, self.begin, now);
            }
            self.begin = from;
            return Kind::OutOfOrder;
        }
        let ahead = from.distance_from(sent);
        if ahead >= 0 {
            if ahead > 0 {
                self.holes.open(sent, from, now);
            }
            self.sent = Some(to);
            return Kind::New;
        }
        self.sent = Some(sent.later(to));
        // A keepalive repeats the last byte, or none (RFC 9293 section 3.8.4).
        let may_be_keepalive = segment.payload_length == 1 && !segment.syn && !segment.fin;
        match self.holes.fill(from, to, now) {
            Some(late) => {
                let within = round_trip.map_or(OVERTAKEN_WITHIN, |rtt| rtt.max(OVERTAKEN_WITHIN));
                if late < within { Kind::OutOfOrder } else { Kind::Retransmission }
            }
            None if may_be_keepalive && to == sent && self.acknowledged == Some(sent) => Kind::New,
            None => Kind::Retransmission,
        }
    }
}

/// The path of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Path {
    halves: PerEnd<Half>,
    prints: Prints,
    counts: PathCounts,
}

impl Path {
    /// Takes a segment and tells what it is. `round_trip` is that of the connection, where it was measured.
    pub(crate) fn segment(
        &mut self,
        from: End,
        at: Timestamp,
        segment: &Segment<'_>,
        round_trip: Option<Duration>,
    ) -> Kind {
        if let Some(number) = segment.acknowledgment {
            let peer = self.halves.of_mut(from.peer());
            peer.acknowledged = Some(peer.acknowledged.map_or(number, |known| known.later(number)));
        }
        let limit = self.halves.of(from.peer()).mss;
        let half = self.halves.of_mut(from);
        if segment.syn && segment.mss.is_some() {
            half.mss = segment.mss;
        }
        let length = segment.payload_length + usize::from(segment.syn) + usize::from(segment.fin);
        if length == 0 || segment.rst || !half.concerns(segment) {
            return Kind::New;
        }
        let was_sent = half.sent.is_some_and(|sent| end(segment).distance_from(sent) <= 0);
        if self.prints.is_copy(at, segment) && was_sent {
            self.counts.duplicates = self.counts.duplicates.saturating_add(1);
            return Kind::Duplicate;
        }
        if segment.payload_length > 0 {
            let end = segment.sequence.advanced(length - usize::from(segment.fin));
            half.data = Some(half.data.map_or(end, |known| known.later(end)));
            let taken = segment.payload_length + segment.options.len();
            half.sent_large |= limit.is_some_and(|limit| taken > usize::from(limit));
        }
        let kind = half.take(at, segment, round_trip);
        match kind {
            Kind::Retransmission => {
                self.counts.retransmissions = self.counts.retransmissions.saturating_add(1);
                if segment.payload_length > 0 {
                    half.retransmissions = half.retransmissions.saturating_add(1);
                }
            }
            Kind::OutOfOrder => self.counts.out_of_order = self.counts.out_of_order.saturating_add(1),
            Kind::New | Kind::Duplicate => {}
        }
        kind
    }

    /// How often each kind came.
    pub(crate) const fn counts(&self) -> PathCounts {
        self.counts
    }

    /// The maximum segment size that an end announced.
    pub(crate) const fn mss(&self, end: End) -> Option<u16> {
        self.halves.of(end).mss
    }

    /// The end of the data that an end has sent; where none was seen, of what the peer acknowledged.
    pub(crate) fn sent(&self, end: End) -> Sequence {
        let half = self.halves.of(end);
        half.data.or(half.sent).or(half.acknowledged).unwrap_or_default()
    }

    /// Segments with data that an end sent again.
    pub(crate) const fn resent(&self, end: End) -> u16 {
        self.halves.of(end).retransmissions
    }

    /// Whether an end sent more in one go than the peer takes in one segment: its network card cuts that up after it was
    /// captured.
    pub(crate) const fn sent_large(&self, end: End) -> bool {
        self.halves.of(end).sent_large
    }

    /// Whether an end has sent data that the peer, whose packets are seen, has not acknowledged.
    pub(crate) fn is_unacknowledged(&self, end: End) -> bool {
        let half = self.halves.of(end);
        match (half.data, half.acknowledged) {
            (Some(data), Some(acknowledged)) => data.distance_from(acknowledged) > 0,
            _ => false,
        }
    }
}

/// A side whose data the peer did not acknowledge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StalledHalf {
    /// A router said that a packet of it was too big.
    pub(crate) too_big: bool,
}

/// What is known of a connection whose handshake did not go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stalled {
    /// The hello takes more than one segment.
    pub(crate) hello_is_large: bool,
    /// The client sent data again, and waited for an answer to that.
    pub(crate) client_resent: bool,
    /// The sides whose data was not acknowledged.
    pub(crate) client: Option<StalledHalf>,
    pub(crate) server: Option<StalledHalf>,
}

impl Stalled {
    /// The failure as the path explains it. An end that its own sender brought about, or silence, is the path's doing where
    /// what was sent last never arrived; a peer that answers with a close or a reset has been reached.
    pub(crate) fn explain(self, failure: Failure) -> Failure {
        let awaits_server = matches!(failure.after, Phase::Start | Phase::ClientHello | Phase::HelloRetry);
        let (client, server) = match failure.cause {
            FailureCause::Timeout => (self.client, self.server),
            FailureCause::Closed | FailureCause::Reset => (
                self.client.filter(|_| failure.by == Party::Client),
                self.server.filter(|_| failure.by == Party::Server),
            ),
            _ => return failure,
        };
        let mut stalled = client.into_iter().chain(server).peekable();
        if stalled.peek().is_none() {
            return failure;
        }
        if stalled.any(|half| half.too_big) {
            return Failure {
                cause: FailureCause::PathMtu,
                by: Party::Path,
                evidence: Evidence::Seen,
                ..failure
            };
        }
        if awaits_server && client.is_some() && self.client_resent && self.hello_is_large {
            let (cause, evidence) = (FailureCause::HelloBlackhole, Evidence::Inferred);
            return Failure { cause, by: Party::Path, evidence, ..failure };
        }
        match failure.cause {
            FailureCause::Timeout => Failure { by: Party::Path, ..failure },
            _ => failure,
        }
    }
}

fn is_near(a: Sequence, b: Sequence) -> bool {
    a.distance_from(b).unsigned_abs() <= REACH
}

/// The number behind the last that a segment takes.
fn end(segment: &Segment<'_>) -> Sequence {
    segment.sequence.advanced(segment.payload_length + usize::from(segment.syn) + usize::from(segment.fin))
}

fn microseconds(at: Timestamp) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "only differences matter, modulo 2^32")]
    let microseconds = (at.as_nanos() / 1_000) as u32;
    microseconds
}

/// A hash over what the sender varies from packet to packet. Where there is no such thing it is over the time too, and
/// the second is what a copy may have that came a little before.
fn prints(at: Timestamp, segment: &Segment<'_>) -> [u16; 2] {
    let timestamp = timestamp_value(segment.options);
    let flags = u32::from(segment.syn) | u32::from(segment.fin) << 1;
    let words = [
        segment.sequence.0,
        segment.acknowledgment.map_or(0, |number| number.0),
        u32::try_from(segment.payload_length).unwrap_or(u32::MAX) << 2 | flags,
        u32::from(segment.identification) << 16 | u32::from(segment.source_port),
        timestamp.unwrap_or_default(),
    ];
    let hash = words.into_iter().fold(0x811c_9dc5, mixed);
    if segment.identification != 0 || timestamp.is_some() {
        return [folded(hash); 2];
    }
    let period = at.as_nanos() / (COPY_WITHIN_MS * 1_000_000);
    #[expect(clippy::cast_possible_truncation, reason = "periods whose lower halves agree lie months apart")]
    [period, period.wrapping_sub(1)].map(|period| folded(mixed(hash, period as u32)))
}

/// The upper half, which every word has gone into.
const fn folded(hash: u32) -> u16 {
    let [high, low, ..] = hash.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// One round of a multiplicative hash; nobody gains by making two of their own packets alike.
fn mixed(hash: u32, word: u32) -> u32 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b1)
}

/// The sender's value of a timestamp option, kind 8 (RFC 7323 section 3.2).
fn timestamp_value(mut options: &[u8]) -> Option<u32> {
    loop {
        options = match *options {
            // Commonly the only option of a segment with data, behind two bytes of padding.
            [8, 10, a, b, c, d, ..] => return Some(u32::from_be_bytes([a, b, c, d])),
            [1, ref rest @ ..] => rest,
            [0, ..] | [] | [_] => return None,
            [_, length, ..] => options.get(usize::from(length.max(2))..)?,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Address, Encapsulation};

    fn segment(sequence: u32, length: usize, identification: u16) -> Segment<'static> {
        Segment {
            source: Address([0; 16]),
            destination: Address([1; 16]),
            source_port: 1,
            destination_port: 2,
            sequence: Sequence(sequence),
            acknowledgment: Some(Sequence(7)),
            syn: false,
            fin: false,
            rst: false,
            payload: &[],
            payload_length: length,
            mss: None,
            identification,
            options: &[],
            encapsulation: Encapsulation::default(),
        }
    }

    struct Run(Path);

    impl Run {
        fn new() -> Self {
            Self(Path::default())
        }

        fn at(&mut self, ms: u64, segment: &Segment<'_>) -> Kind {
            self.0.segment(End::Low, Timestamp::from_nanos(ms * 1_000_000), segment, None)
        }
    }

    #[test]
    fn a_copy_is_told_from_a_retransmission_by_its_identification() {
        let mut run = Run::new();
        assert_eq!(run.at(0, &segment(100, 50, 1)), Kind::New);
        assert_eq!(run.at(0, &segment(100, 50, 1)), Kind::Duplicate);
        assert_eq!(run.at(300, &segment(100, 50, 2)), Kind::Retransmission);
        assert_eq!(run.0.counts(), PathCounts { retransmissions: 1, out_of_order: 0, duplicates: 1 });
        assert_eq!(run.0.resent(End::Low), 1);
    }

    #[test]
    fn a_copy_is_told_by_its_timestamp_where_there_is_no_identification() {
        let options = |value: u8| [1, 1, 8, 10, 0, 0, 0, value, 0, 0, 0, 0];
        let (first, later) = (options(1), options(2));
        let mut run = Run::new();
        run.at(0, &Segment { options: &first, ..segment(100, 50, 0) });
        assert_eq!(run.at(900, &Segment { options: &first, ..segment(100, 50, 0) }), Kind::Duplicate);
        assert_eq!(run.at(900, &Segment { options: &later, ..segment(100, 50, 0) }), Kind::Retransmission);
    }

    #[test]
    fn without_either_only_time_tells() {
        let mut run = Run::new();
        run.at(0, &segment(100, 50, 0));
        assert_eq!(run.at(2, &segment(100, 50, 0)), Kind::Duplicate);
        assert_eq!(run.at(203, &segment(100, 50, 0)), Kind::Retransmission);
    }

    #[test]
    fn a_hole_that_is_filled_at_once_was_overtaken_and_later_sent_again() {
        for (late, kind) in [(1, Kind::OutOfOrder), (250, Kind::Retransmission)] {
            let mut run = Run::new();
            run.at(0, &segment(100, 50, 1));
            assert_eq!(run.at(0, &segment(200, 50, 3)), Kind::New);
            assert_eq!(run.at(late, &segment(150, 50, 2)), kind);
            assert_eq!(
                run.at(late + 1, &segment(150, 50, 4)),
                Kind::Retransmission,
                "the hole is filled by now"
            );
        }
    }

    #[test]
    fn what_precedes_the_first_packet_of_the_capture_was_overtaken() {
        let mut run = Run::new();
        run.at(0, &segment(150, 50, 2));
        assert_eq!(run.at(0, &segment(100, 50, 1)), Kind::OutOfOrder);
        assert_eq!(run.at(300, &segment(100, 50, 3)), Kind::Retransmission);
    }

    #[test]
    fn a_keepalive_is_nothing_that_was_lost() {
        let mut run = Run::new();
        run.at(0, &segment(100, 50, 1));
        let acknowledged = Segment { acknowledgment: Some(Sequence(150)), ..segment(7, 0, 0) };
        run.0.segment(End::High, Timestamp::from_nanos(1), &acknowledged, None);
        assert_eq!(run.at(30_000, &segment(149, 1, 2)), Kind::New);
        assert!(!run.0.is_unacknowledged(End::Low));
    }

    #[test]
    fn what_nobody_acknowledged_is_told() {
        let mut run = Run::new();
        run.at(0, &segment(100, 50, 1));
        assert!(!run.0.is_unacknowledged(End::Low), "the peer was never seen");
        let partly = Segment { acknowledgment: Some(Sequence(120)), ..segment(7, 0, 0) };
        run.0.segment(End::High, Timestamp::from_nanos(1), &partly, None);
        assert!(run.0.is_unacknowledged(End::Low));
    }

    #[test]
    fn copies_in_a_row_behind_their_originals_are_copies() {
        for marked in [true, false] {
            let mut run = Run::new();
            let burst: Vec<_> =
                (0..10_u16).map(|n| segment(u32::from(n) * 50, 50, if marked { n + 1 } else { 0 })).collect();
            for (expected, ms) in [(Kind::New, 0), (Kind::Duplicate, 4)] {
                let kinds: Vec<_> = burst.iter().map(|segment| run.at(ms, segment)).collect();
                assert_eq!(kinds, [expected; 10], "marked {marked}");
            }
        }
    }

    #[test]
    fn a_syn_or_fin_that_comes_again_is_no_keepalive() {
        let acknowledged = Segment { acknowledgment: Some(Sequence(101)), ..segment(7, 0, 0) };
        for (syn, fin) in [(true, false), (false, true)] {
            let mut run = Run::new();
            run.at(0, &Segment { syn, fin, ..segment(100, 0, 1) });
            run.0.segment(End::High, Timestamp::from_nanos(1), &acknowledged, None);
            assert_eq!(run.at(1000, &Segment { syn, fin, ..segment(100, 0, 2) }), Kind::Retransmission);
        }
    }

    #[test]
    fn a_late_syn_changes_no_count_but_its_own() {
        let mut run = Run::new();
        let syn = |number, identification| Segment { syn: true, ..segment(number, 0, identification) };
        run.at(0, &syn(99, 1));
        run.at(0, &segment(100, 50, 2));
        assert_eq!(run.at(1, &syn(99, 3)), Kind::Retransmission);
        assert_eq!(run.at(2, &segment(150, 50, 4)), Kind::New);
        assert_eq!(run.at(300, &segment(100, 50, 5)), Kind::Retransmission);
    }

    #[test]
    fn of_two_openings_the_acknowledged_one_counts() {
        let syn = |number, identification| Segment { syn: true, ..segment(number, 0, identification) };
        for (stands, other) in [(100, 1_500_000_000), (1_500_000_000, 100), (100, 3_000_000_000)] {
            for acknowledged_first in [true, false] {
                let mut run = Run::new();
                let acknowledge = |run: &mut Run| {
                    let segment = Segment { acknowledgment: Some(Sequence(stands + 1)), ..segment(7, 0, 0) };
                    run.0.segment(End::High, Timestamp::from_nanos(1), &segment, None);
                };
                run.at(0, &syn(stands, 1));
                if acknowledged_first {
                    acknowledge(&mut run);
                }
                run.at(0, &syn(other, 2));
                acknowledge(&mut run);
                run.at(1, &segment(stands + 1, 50, 3));
                assert_eq!(run.0.counts(), PathCounts::default(), "{stands} before {other}");
                assert_eq!(run.at(300, &segment(stands + 1, 50, 4)), Kind::Retransmission);
                assert!(run.0.is_unacknowledged(End::Low));
            }
        }
    }

    #[test]
    fn more_than_a_segment_in_one_go_is_told_by_what_the_peer_takes() {
        for (length, is_large) in [(1449, true), (1448, false)] {
            let mut run = Run::new();
            let answer = Segment { syn: true, mss: Some(1460), ..segment(7, 0, 0) };
            run.0.segment(End::High, Timestamp::from_nanos(1), &answer, None);
            run.at(0, &Segment { options: &[1; 12], ..segment(100, length, 1) });
            assert_eq!(run.0.sent_large(End::Low), is_large, "{length}");
        }
    }

    #[test]
    fn damaged_options_have_no_timestamp() {
        for options in [&[][..], &[8], &[8, 10, 1], &[3, 0, 0], &[2, 4, 5, 180, 0], &[1; 40], &[9, 255, 1]] {
            assert_eq!(timestamp_value(options), None, "{options:?}");
        }
    }
}
