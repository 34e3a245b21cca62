//! Bytes of a connection in causal order, from segments in the order of the capture.
//!
//! Each direction is put in sequence; beyond that, a segment that acknowledges bytes of the peer is held until those
//! bytes have been delivered (or are known to be lost to the capture). So whoever reads the result sees a ServerHello
//! after the ClientHello that it answers, whatever order the capture had.
//!
//! Overlaps: the bytes that were delivered first stand (what a receiver that had acknowledged them would have), and
//! segments that contradict others are counted. Held segments are bounded per connection by [`MAX_HELD`] and [`MAX_HELD_BYTES`].

use super::key::{End, PerEnd};
use super::overlap::{self, Recent};
use super::sequence::Sequence;
use crate::decode::Segment;
use crate::time::Timestamp;
use std::ops::ControlFlow;
use std::time::Duration;

/// Segments held per connection before the oldest hole is given up.
const MAX_HELD: usize = 256;

/// Bytes held per connection before the oldest hole is given up.
const MAX_HELD_BYTES: usize = 256 * 1024;

/// How long a hole that the peer has acknowledged may still be filled: captures of several queues are out of order
/// by milliseconds.
const CAPTURE_DISORDER: Duration = Duration::from_millis(200);

/// A segment further off than this belongs to another connection, or to none.
const PLAUSIBLE_DISTANCE: i32 = 1 << 24;

/// What a connection delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The next bytes of a direction.
    Data { from: End, at: Timestamp, bytes: &'a [u8] },
    /// Bytes that were sent and are not in the capture; `at` is when that showed. `truncated`: cut by the snapshot
    /// length.
    Missing { from: End, at: Timestamp, length: usize, truncated: bool },
    /// The direction is closed.
    Close { from: End, at: Timestamp },
    /// The connection is reset.
    Reset { from: End, at: Timestamp },
}

/// How a direction's place in sequence space is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Base {
    #[default]
    Unknown,
    /// From the first segment or acknowledgement seen.
    Guessed,
    /// From a SYN.
    Exact,
}

#[derive(Clone, Copy, Debug, Default)]
struct Half {
    base: Base,
    /// Sequence number of the next byte to deliver.
    next: Sequence,
    /// The same by an earlier SYN with another number: the peer's acknowledgement decides.
    next_by_earlier_syn: Option<Sequence>,
    /// Highest number that the peer has acknowledged.
    acknowledged: Option<Sequence>,
    /// Whether any packet of this end was seen.
    seen: bool,
    /// Nothing was seen of this end for so long that nothing is waited for.
    absent: bool,
    /// Segments that were delivered last.
    recent: Recent,
    delivered: bool,
}

impl Half {
    /// Bytes that the peer has acknowledged and that have not been delivered: the capture missed them.
    fn unseen(&self) -> i32 {
        self.acknowledged.map_or(0, |number| number.distance_from(self.next))
    }
}

/// What ends a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    None,
    Close,
    Reset,
}

/// The parts of a segment that matter here.
#[derive(Clone, Copy, Debug)]
struct Slice<'a> {
    from: End,
    at: Timestamp,
    sequence: Sequence,
    acknowledgment: Option<Sequence>,
    bytes: &'a [u8],
    /// Length on the wire.
    length: usize,
    ending: Ending,
}

/// A segment that waits for a hole to be filled.
#[derive(Debug)]
struct Held {
    from: End,
    at: Timestamp,
    sequence: Sequence,
    acknowledgment: Option<Sequence>,
    bytes: Box<[u8]>,
    length: usize,
    ending: Ending,
}

impl Held {
    fn slice(&self) -> Slice<'_> {
        Slice {
            from: self.from,
            at: self.at,
            sequence: self.sequence,
            acknowledgment: self.acknowledgment,
            bytes: &self.bytes,
            length: self.length,
            ending: self.ending,
        }
    }
}

/// Puts one connection's segments in order.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    halves: PerEnd<Half>,
    held: Vec<Held>,
    held_bytes: usize,
    conflicts: u32,
}

impl Reassembly {
    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.held_bytes + self.held.capacity() * size_of::<Held>()
    }

    /// Segments since the last call that repeated bytes with another content.
    pub(crate) fn take_conflicts(&mut self) -> u32 {
        std::mem::take(&mut self.conflicts)
    }

    /// How far a direction has been told, once anything was.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn delivered_up_to(&self, end: End) -> Option<Sequence> {
        let half = self.halves.of(end);
        half.delivered.then_some(half.next)
    }

    /// Whether nothing is held.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.held_bytes == 0
    }

    /// Whether a SYN with another sequence number than the one known opens a new connection on the same endpoints.
    pub(crate) fn is_reopened_by(&self, from: End, segment: &Segment<'_>) -> bool {
        if !segment.syn || segment.acknowledgment.is_some() {
            return false;
        }
        let half = self.halves.of(from);
        match half.base {
            Base::Unknown => self.halves.of(from.peer()).delivered,
            Base::Guessed => half.delivered,
            // A repeated SYN lies just before what has been delivered.
            Base::Exact if half.delivered => {
                !(1..PLAUSIBLE_DISTANCE).contains(&half.next.distance_from(segment.sequence))
            }
            Base::Exact => half.next != segment.sequence.advanced(1),
        }
    }

    /// Whether a sequence number of an end lies within a distance of its next byte to deliver; unknown places do not.
    pub(crate) fn is_near(&self, end: End, sequence: Sequence, distance: u32) -> bool {
        let half = self.halves.of(end);
        half.base != Base::Unknown && sequence.distance_from(half.next).unsigned_abs() <= distance
    }

    /// Takes a segment and delivers what has come into order. `deliver` may break off, after which nothing more is
    /// delivered.
    pub(crate) fn segment(
        &mut self,
        from: End,
        at: Timestamp,
        segment: &Segment<'_>,
        deliver: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let ending = match (segment.rst, segment.fin) {
            (true, _) => Ending::Reset,
            (false, true) => Ending::Close,
            (false, false) => Ending::None,
        };
        let sequence = if segment.syn { segment.sequence.advanced(1) } else { segment.sequence };
        // Payload of a reset is a message to people (RFC 9293 section 3.5.2), not part of the stream.
        let (bytes, length) =
            if segment.rst { (&[][..], 0) } else { (segment.payload, segment.payload_length) };
        let slice =
            Slice { from, at, sequence, acknowledgment: segment.acknowledgment, bytes, length, ending };
        self.place(&slice, segment.syn);
        if (length > 0 || ending != Ending::None) && self.is_of_this_stream(&slice) {
            self.conflicts += u32::from(self.contradicts(&slice));
            if self.is_due(&slice) {
                self.deliver(&slice, deliver)?;
            } else {
                self.hold(&slice);
            }
        }
        if self.held.is_empty() {
            return ControlFlow::Continue(());
        }
        self.release(deliver)?;
        self.give_up_old_holes(at, deliver)
    }

    /// Learns what a segment tells about the sequence spaces of both ends.
    fn place(&mut self, slice: &Slice<'_>, syn: bool) {
        let peer = self.halves.of(slice.from.peer());
        let peer_agrees = peer.base != Base::Unknown
            && slice
                .acknowledgment
                .is_some_and(|number| number.distance_from(peer.next).unsigned_abs() < 1 << 16);
        let half = self.halves.of_mut(slice.from);
        half.seen = true;
        half.absent = false;
        let distance = slice.sequence.distance_from(half.next);
        let place = match half.base {
            Base::Unknown => true,
            _ if half.delivered || slice.ending == Ending::Reset => false,
            _ if syn => half.acknowledged != Some(half.next),
            // Before anything was delivered: data from before the first segment that the capture had, or a connection
            // that went on with another of several SYN-ACKs, which its acknowledgements of the peer show.
            // A keepalive lies one before what was sent.
            Base::Guessed if is_plausible(distance) => distance < if slice.length > 0 { 0 } else { -1 },
            _ => slice.length > 0 && !is_plausible(distance) && peer_agrees,
        };
        if place {
            let is_another_syn = syn && half.base == Base::Exact && distance != 0;
            half.next_by_earlier_syn = is_another_syn.then_some(half.next);
            half.next = slice.sequence;
            half.base = if syn { Base::Exact } else { Base::Guessed };
        }
        let Some(number) = slice.acknowledgment else { return };
        let peer = self.halves.of_mut(slice.from.peer());
        // An acknowledgement that the capture shows late is of earlier bytes, which were sent all the same.
        let is_earlier = peer.base == Base::Guessed
            && !peer.delivered
            && (-PLAUSIBLE_DISTANCE..0).contains(&number.distance_from(peer.next));
        if (peer.base == Base::Unknown || is_earlier) && slice.ending != Ending::Reset {
            peer.base = Base::Guessed;
            peer.next = number;
        }
        if peer.next_by_earlier_syn == Some(number) && !peer.delivered {
            peer.next = number;
            peer.next_by_earlier_syn = None;
        }
        let highest = peer.acknowledged.map_or(number, |known| known.later(number));
        peer.acknowledged = Some(highest);
    }

    /// Whether a receiver would take a segment for part of this connection: anyone may send one with other numbers.
    fn is_of_this_stream(&self, slice: &Slice<'_>) -> bool {
        let half = self.halves.of(slice.from);
        if slice.ending != Ending::Reset {
            return is_plausible(slice.sequence.distance_from(half.next));
        }
        // A reset that ends what its side sent bears the next number; one that answers a segment bears the number which
        // that acknowledged (RFC 9293 section 3.5.2). Receivers ignore others (RFC 5961 section 3.2). One that refuses a
        // SYN bears no number of its own.
        let ahead = slice.sequence.distance_from(half.next);
        half.acknowledged.is_none_or(|number| number == slice.sequence)
            || (0..PLAUSIBLE_DISTANCE).contains(&ahead)
    }

    /// Whether everything before a segment has been delivered, in its own direction and in what it acknowledges.
    fn is_due(&self, slice: &Slice<'_>) -> bool {
        let half = self.halves.of(slice.from);
        let own = slice.sequence.distance_from(half.next);
        // Before anything was delivered a number is only known from a SYN; what refuses one bears any.
        if slice.ending == Ending::Reset && half.base != Base::Exact && !half.delivered {
            return true;
        }
        own <= 0 && self.awaited_from_peer(slice) <= 0
    }

    /// Bytes of the peer that a segment acknowledges and that have not been delivered.
    fn awaited_from_peer(&self, slice: &Slice<'_>) -> i32 {
        let peer = self.halves.of(slice.from.peer());
        match slice.acknowledgment {
            // One-sided captures: there is nothing to wait for.
            Some(number) if !peer.absent => match number.distance_from(peer.next) {
                distance if distance < PLAUSIBLE_DISTANCE => distance,
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Whether a segment repeats bytes of another that was delivered lately or is held, and says something else.
    fn contradicts(&self, slice: &Slice<'_>) -> bool {
        let half = self.halves.of(slice.from);
        let known = slice.sequence.distance_from(half.next) < 0;
        known && half.recent.contradicts(slice.sequence, slice.bytes)
            || self
                .held
                .iter()
                .filter(|held| held.from == slice.from)
                .any(|held| overlap::differ((held.sequence, &held.bytes), (slice.sequence, slice.bytes)))
    }

    fn hold(&mut self, slice: &Slice<'_>) {
        let repeated = self.held.iter().any(|held| {
            held.from == slice.from
                && held.sequence == slice.sequence
                && held.length >= slice.length
                && held.ending == slice.ending
        });
        if repeated {
            return;
        }
        self.held_bytes += slice.bytes.len();
        self.held.push(Held {
            from: slice.from,
            at: slice.at,
            sequence: slice.sequence,
            acknowledgment: slice.acknowledgment,
            bytes: slice.bytes.into(),
            length: slice.length,
            ending: slice.ending,
        });
    }

    /// Delivers held segments that have come into order.
    fn release(&mut self, deliver: &mut impl FnMut(Event<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        while let Some(at) = self.held.iter().position(|held| self.is_due(&held.slice())) {
            let held = self.held.remove(at);
            self.held_bytes -= held.bytes.len();
            self.deliver(&held.slice(), deliver)?;
        }
        ControlFlow::Continue(())
    }

    /// Delivers one segment that is due.
    fn deliver(
        &mut self,
        slice: &Slice<'_>,
        deliver: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (from, at) = (slice.from, slice.at);
        if slice.ending == Ending::Reset {
            self.declare_unseen(at, deliver)?;
            return deliver(Event::Reset { from, at });
        }
        let half = self.halves.of_mut(from);
        let known = usize::try_from(-i64::from(slice.sequence.distance_from(half.next))).unwrap_or(0);
        if known < slice.length {
            half.next = slice.sequence.advanced(slice.length);
            half.delivered = true;
            let bytes = slice.bytes.get(known..).unwrap_or_default();
            if !bytes.is_empty() {
                half.recent.remember(slice.sequence.advanced(known), bytes);
                deliver(Event::Data { from, at, bytes })?;
            }
            let cut = slice.length - slice.bytes.len().max(known);
            if cut > 0 {
                deliver(Event::Missing { from, at, length: cut, truncated: true })?;
            }
        }
        // A close that was delivered already counts one number further on.
        if slice.ending == Ending::Close && known <= slice.length {
            self.halves.of_mut(from).next = slice.sequence.advanced(slice.length + 1);
            self.declare_unseen(at, deliver)?;
            deliver(Event::Close { from, at })?;
        }
        ControlFlow::Continue(())
    }

    /// Declares missing what the peer has acknowledged and nothing that is held follows: what comes next (a close, a
    /// reset, silence) would otherwise pass for the answer to something else.
    fn declare_unseen(
        &mut self,
        at: Timestamp,
        deliver: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for from in [End::Low, End::High] {
            let half = self.halves.of_mut(from);
            let unseen = half.unseen();
            if half.base == Base::Unknown || !(1..PLAUSIBLE_DISTANCE).contains(&unseen) {
                continue;
            }
            let length = usize::try_from(unseen).unwrap_or(0);
            half.next = half.next.advanced(length);
            half.delivered = true;
            deliver(Event::Missing { from, at, length, truncated: false })?;
        }
        ControlFlow::Continue(())
    }

    fn give_up_old_holes(
        &mut self,
        now: Timestamp,
        deliver: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while let Some(oldest) = self.held.first() {
            let full = self.held.len() > MAX_HELD || self.held_bytes > MAX_HELD_BYTES;
            let waited = now.since(oldest.at).is_some_and(|waited| waited > CAPTURE_DISORDER);
            let lost = waited && self.lost_by_capture(&oldest.slice());
            if !full && !lost {
                break;
            }
            self.give_up_hole(deliver)?;
        }
        ControlFlow::Continue(())
    }

    /// Whether the hole that a held segment waits for was received by the peer, so that no retransmission will fill
    /// it. A side whose peer was never seen cannot tell, and is taken at its word.
    fn lost_by_capture(&self, slice: &Slice<'_>) -> bool {
        let half = self.halves.of(slice.from);
        self.awaited_from_peer(slice) > 0 || half.unseen() > 0 || !self.halves.of(slice.from.peer()).seen
    }

    /// Declares the hole before the oldest held segment missing and delivers what that frees.
    fn give_up_hole(&mut self, deliver: &mut impl FnMut(Event<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let Some(oldest) = self.held.first().map(Held::slice) else { return ControlFlow::Continue(()) };
        let (at, awaited) = (oldest.at, self.awaited_from_peer(&oldest));
        let (from, wanted) = if awaited > 0 {
            (oldest.from.peer(), awaited)
        } else {
            (oldest.from, oldest.sequence.distance_from(self.halves.of(oldest.from).next))
        };
        if !self.halves.of(from).seen {
            // The capture has one side only, and what the other sent is not counted.
            self.halves.of_mut(from).absent = true;
            return self.release(deliver);
        }
        let next = self.halves.of(from).next;
        // Up to the first held segment of that direction, if one lies before.
        let first_held = self
            .held
            .iter()
            .filter(|held| held.from == from)
            .map(|held| held.sequence.distance_from(next))
            .filter(|distance| *distance > 0)
            .min();
        let length = usize::try_from(first_held.map_or(wanted, |held| held.min(wanted))).unwrap_or(0);
        if length > 0 {
            let half = self.halves.of_mut(from);
            half.next = next.advanced(length);
            half.delivered = true;
            deliver(Event::Missing { from, at, length, truncated: false })?;
        } else if !self.held.is_empty() {
            // Two segments that wait for each other: impossible numbers. The older one goes.
            let dropped = self.held.remove(0);
            self.held_bytes -= dropped.bytes.len();
        }
        self.release(deliver)
    }

    /// Delivers what is held at the end of the connection or of the capture. Holes that the peer acknowledged, or
    /// that a close or reset of the same side follows, are declared missing; what waits for a retransmission that
    /// never came is dropped, since the peer has not had it either.
    pub(crate) fn flush(
        &mut self,
        now: Timestamp,
        deliver: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while let Some(oldest) = self.held.first() {
            let from = oldest.from;
            let ends = self.held.iter().any(|held| held.from == from && held.ending != Ending::None);
            if ends || self.lost_by_capture(&oldest.slice()) {
                self.give_up_hole(deliver)?;
            } else {
                let dropped = self.held.remove(0);
                self.held_bytes -= dropped.bytes.len();
            }
        }
        self.declare_unseen(now, deliver)
    }
}

/// Whether two numbers may belong to one connection.
const fn is_plausible(distance: i32) -> bool {
    distance.unsigned_abs() < PLAUSIBLE_DISTANCE.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Address, Encapsulation};
    use proptest::prelude::*;

    #[derive(Debug, Default, PartialEq, Eq, Clone)]
    struct Seen {
        low: Vec<u8>,
        high: Vec<u8>,
        missing: usize,
        ends: Vec<&'static str>,
    }

    fn segment(sequence: u32, acknowledgment: Option<u32>, payload: &[u8]) -> Segment<'_> {
        Segment {
            source: Address([0; 16]),
            destination: Address([1; 16]),
            source_port: 1,
            destination_port: 2,
            sequence: Sequence(sequence),
            acknowledgment: acknowledgment.map(Sequence),
            syn: false,
            fin: false,
            rst: false,
            payload,
            payload_length: payload.len(),
            mss: None,
            identification: 0,
            options: &[],
            encapsulation: Encapsulation::default(),
        }
    }

    fn syn(sequence: u32, acknowledgment: Option<u32>) -> Segment<'static> {
        Segment { syn: true, ..segment(sequence, acknowledgment, &[]) }
    }

    struct Run {
        reassembly: Reassembly,
        seen: Seen,
        clock: u64,
    }

    impl Run {
        fn new() -> Self {
            Self { reassembly: Reassembly::default(), seen: Seen::default(), clock: 0 }
        }

        fn collect(seen: &mut Seen) -> impl FnMut(Event<'_>) -> ControlFlow<()> + '_ {
            |event| {
                match event {
                    Event::Data { from: End::Low, bytes, .. } => seen.low.extend_from_slice(bytes),
                    Event::Data { from: End::High, bytes, .. } => seen.high.extend_from_slice(bytes),
                    Event::Missing { length, .. } => seen.missing += length,
                    Event::Close { .. } => seen.ends.push("close"),
                    Event::Reset { .. } => seen.ends.push("reset"),
                }
                ControlFlow::Continue(())
            }
        }

        fn push(&mut self, from: End, segment: &Segment<'_>) -> &mut Self {
            self.clock += 1_000_000;
            let at = Timestamp::from_nanos(self.clock);
            let _ = self.reassembly.segment(from, at, segment, &mut Self::collect(&mut self.seen));
            self
        }

        fn flush(&mut self) -> &Seen {
            let _ =
                self.reassembly.flush(Timestamp::from_nanos(self.clock), &mut Self::collect(&mut self.seen));
            assert_eq!((self.reassembly.held.len(), self.reassembly.held_bytes), (0, 0));
            &self.seen
        }

        fn opened() -> Self {
            let mut run = Self::new();
            run.push(End::Low, &syn(99, None)).push(End::High, &syn(499, Some(100)));
            run
        }
    }

    #[test]
    fn out_of_order_overlapping_and_repeated_segments_make_one_stream() {
        let mut run = Run::opened();
        run.push(End::Low, &segment(104, Some(500), b"efgh"))
            .push(End::Low, &segment(104, Some(500), b"efgh"))
            .push(End::Low, &segment(100, Some(500), b"abcd"))
            .push(End::Low, &segment(102, Some(500), b"XXXXij"))
            .push(End::Low, &segment(108, Some(500), b"i"));
        assert_eq!(run.flush().low, b"abcdefghi");
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut run = Run::new();
        run.push(End::Low, &syn(u32::MAX - 2, None))
            .push(End::High, &syn(7, Some(u32::MAX - 1)))
            .push(End::Low, &segment(2, Some(8), b"efg"))
            .push(End::Low, &segment(u32::MAX - 1, Some(8), b"abcd"));
        assert_eq!(run.flush().low, b"abcdefg");
    }

    #[test]
    fn an_answer_waits_for_what_it_answers() {
        let mut run = Run::opened();
        run.push(End::High, &segment(500, Some(104), b"answer"));
        assert!(run.seen.high.is_empty());
        run.push(End::Low, &segment(100, Some(500), b"abcd"));
        assert_eq!((&run.seen.low[..], &run.seen.high[..]), (&b"abcd"[..], &b"answer"[..]));
    }

    #[test]
    fn a_hole_that_the_peer_acknowledged_is_missing() {
        let mut run = Run::opened();
        run.push(End::Low, &segment(104, Some(500), b"efgh"))
            .push(End::High, &segment(500, Some(108), b"ok"));
        run.clock += 1_000_000_000;
        run.push(End::High, &segment(502, Some(108), b"!"));
        assert_eq!((&run.seen.low[..], &run.seen.high[..], run.seen.missing), (&b"efgh"[..], &b"ok!"[..], 4));
    }

    #[test]
    fn a_hole_that_nobody_acknowledged_waits_for_its_retransmission() {
        let mut run = Run::opened();
        run.push(End::Low, &segment(104, Some(500), b"efgh"));
        run.clock += 3_000_000_000;
        run.push(End::High, &segment(500, Some(100), b""));
        assert!(run.seen.low.is_empty());
        run.push(End::Low, &segment(100, Some(500), b"abcd"));
        assert_eq!((&run.seen.low[..], run.seen.missing), (&b"abcdefgh"[..], 0));
        let mut lost = Run::opened();
        lost.push(End::Low, &segment(104, Some(500), b"efgh"));
        assert_eq!(lost.flush(), &Seen::default());
    }

    #[test]
    fn a_close_comes_after_the_bytes_before_it() {
        let mut run = Run::opened();
        run.push(End::Low, &Segment { fin: true, ..segment(104, Some(500), b"") });
        assert!(run.seen.ends.is_empty());
        run.push(End::Low, &segment(100, Some(500), b"abcd"));
        run.push(End::Low, &Segment { fin: true, ..segment(104, Some(500), b"") });
        assert_eq!((&run.seen.low[..], &run.seen.ends[..]), (&b"abcd"[..], &["close"][..]));
    }

    #[test]
    fn a_reset_that_refuses_a_syn_counts_at_once() {
        let mut run = Run::new();
        run.push(End::Low, &syn(99, None))
            .push(End::High, &Segment { rst: true, ..segment(0, Some(100), b"") });
        assert_eq!(run.seen.ends, ["reset"]);
    }

    #[test]
    fn a_reset_outside_the_window_is_nobodys() {
        for sequence in [400, 0, 500 + (1 << 25), 500 + (1 << 31)] {
            let mut run = Run::opened();
            run.push(End::High, &segment(500, Some(100), b"abcd"))
                .push(End::Low, &segment(100, Some(504), b"efgh"));
            run.push(End::High, &Segment { rst: true, ..segment(sequence, None, b"") });
            assert!(run.seen.ends.is_empty(), "{sequence}");
        }
    }

    #[test]
    fn data_from_half_way_round_is_nobodys() {
        let mut run = Run::opened();
        run.push(End::Low, &segment(100, Some(500), b"abcd"))
            .push(End::Low, &segment(104 + (1 << 31), Some(500), b"junk"))
            .push(End::Low, &segment(104, Some(500), b"efgh"));
        assert_eq!(run.flush().low, b"abcdefgh");
        let mut before = Run::opened();
        before
            .push(End::Low, &segment(100 + (1 << 31), None, b"junk"))
            .push(End::Low, &segment(100, Some(500), b"abcd"));
        assert_eq!(before.flush().low, b"abcd");
    }

    #[test]
    fn what_the_peer_acknowledged_unseen_is_missing_before_an_end() {
        let mut run = Run::opened();
        run.push(End::Low, &segment(100, Some(500), b"abcd")).push(End::Low, &segment(104, Some(3500), b""));
        assert_eq!(run.seen.missing, 0);
        run.push(End::Low, &Segment { rst: true, ..segment(104, None, b"") });
        assert_eq!((run.seen.missing, &run.seen.ends[..]), (3000, &["reset"][..]));
    }

    #[test]
    fn of_several_answers_to_a_syn_the_one_that_is_acknowledged_counts() {
        for numbers in [[499, 9_000], [9_000, 499], [499, 3], [3, 499]] {
            let mut run = Run::new();
            run.push(End::Low, &syn(99, None))
                .push(End::High, &syn(numbers[0], Some(100)))
                .push(End::High, &syn(numbers[1], Some(100)))
                .push(End::Low, &segment(100, Some(500), b"abcd"))
                .push(End::High, &syn(70_000, Some(100)))
                .push(End::High, &segment(500, Some(104), b"efgh"));
            let seen = run.flush();
            assert_eq!((&seen.high[..], seen.missing), (&b"efgh"[..], 0), "{numbers:?}");
        }
    }

    #[test]
    fn late_acknowledgements_show_that_there_were_bytes_before_the_guess() {
        for sign in [segment(500, Some(100), b""), segment(100, Some(500), b"abcd")] {
            let from = if sign.payload.is_empty() { End::High } else { End::Low };
            let mut run = Run::new();
            run.push(End::Low, &syn(99, None))
                .push(End::Low, &segment(104, Some(700), b"efgh"))
                .push(from, &sign)
                .push(End::Low, &segment(100, Some(500), b"abcd"));
            let seen = run.flush();
            assert_eq!((&seen.low[..], seen.missing), (&b"abcdefgh"[..], 200));
        }
    }

    #[test]
    fn data_before_the_first_segment_seen_still_comes_first() {
        let mut run = Run::new();
        run.push(End::High, &segment(500, Some(100), b""));
        run.push(End::Low, &segment(100, Some(500), b"abcd"));
        assert_eq!(run.flush().low, b"abcd");
    }

    #[test]
    fn cut_segments_tell_what_is_missing() {
        let mut run = Run::opened();
        run.push(End::Low, &Segment { payload_length: 10, ..segment(100, Some(500), b"abcd") })
            .push(End::Low, &segment(110, Some(500), b"xyz"));
        let seen = run.flush();
        assert_eq!((&seen.low[..], seen.missing), (&b"abcdxyz"[..], 6));
    }

    #[test]
    fn a_keepalive_brings_no_bytes() {
        let mut run = Run::opened();
        run.push(End::Low, &segment(100, Some(500), b"abcd")).push(End::Low, &segment(103, Some(500), b"?"));
        assert_eq!(run.flush().low, b"abcd");
    }

    #[test]
    fn held_bytes_are_bounded() {
        let mut run = Run::opened();
        for n in 0..2000 {
            run.push(End::Low, &segment(200 + n * 1000, Some(500), &[7; 1000]));
        }
        assert!(run.reassembly.heap_bytes() < 2 * MAX_HELD_BYTES);
        assert!(run.seen.missing > 0);
    }

    proptest! {
        /// Any order within the capture's disorder, with repeats: the streams come out whole and in order.
        #[test]
        fn any_order_of_segments_gives_both_streams(
            order in Just((0..24usize).collect::<Vec<_>>()).prop_shuffle(),
            repeats in proptest::collection::vec(0..24usize, 0..8),
        ) {
            let stream = |seed: u8| (0..120u8).map(|n| n.wrapping_mul(7).wrapping_add(seed)).collect::<Vec<u8>>();
            let (low, high) = (stream(1), stream(2));
            let mut run = Run::opened();
            for n in order.into_iter().chain(repeats) {
                // Twelve turns: each side sends ten bytes and acknowledges all that the other sent before.
                let turn = u32::try_from(n / 2).unwrap();
                let at = 10 * (n / 2);
                if n % 2 == 0 {
                    run.push(End::Low, &segment(100 + 10 * turn, Some(500 + 10 * turn), &low[at..at + 10]));
                } else {
                    run.push(End::High, &segment(500 + 10 * turn, Some(110 + 10 * turn), &high[at..at + 10]));
                }
            }
            let seen = run.flush();
            prop_assert_eq!(&seen.low, &low);
            prop_assert_eq!(&seen.high, &high);
            prop_assert_eq!(seen.missing, 0);
        }

        #[test]
        fn any_numbers_are_taken_without_panic_or_spin(
            steps in proptest::collection::vec((any::<bool>(), any::<u32>(), any::<Option<u32>>(), 0..9usize, 0..8u8), 0..60),
        ) {
            let mut run = Run::new();
            for (low, sequence, acknowledgment, length, flags) in steps {
                let bytes = [0; 9];
                let segment = Segment {
                    syn: flags & 1 != 0,
                    fin: flags & 2 != 0,
                    rst: flags & 4 != 0,
                    ..segment(sequence, acknowledgment, &bytes[..length])
                };
                run.push(if low { End::Low } else { End::High }, &segment);
            }
            run.flush();
        }
    }
}
