//! Disturbances that a network or a capture can add. Each takes segments and returns others; none changes what was
//! said, except [`without`], which takes packets out of the capture. [`encapsulate`] and [`fragment`] do the like with
//! packets.

pub use super::encapsulate::{Wrapper, encapsulate, fragment};

use super::wire::{Flags, Segment};
use crate::plan::Side;
use std::time::Duration;

/// Shuffles the data segments of every burst (segments that one side sends without the other sending data between),
/// keeping the times of the places. The same seed gives the same order.
pub fn reorder(segments: &[Segment], seed: u64) -> Vec<Segment> {
    let mut out = segments.to_vec();
    let mut dice = Dice(seed);
    for burst in bursts(segments) {
        // Fisher-Yates from the end; what travels is all but the time.
        for upper in (1..burst.len()).rev() {
            let lower = dice.below(upper + 1);
            if let (Some(&a), Some(&b)) = (burst.get(lower), burst.get(upper)) {
                swap_keeping_times(&mut out, a, b);
            }
        }
    }
    out
}

/// Reverses the data segments of every burst.
pub fn reverse(segments: &[Segment]) -> Vec<Segment> {
    let mut out = segments.to_vec();
    for burst in bursts(segments) {
        for (a, b) in burst.iter().zip(burst.iter().rev()).take(burst.len() / 2) {
            swap_keeping_times(&mut out, *a, *b);
        }
    }
    out
}

/// Every data segment twice, the second one right behind the first.
pub fn duplicate(segments: &[Segment]) -> Vec<Segment> {
    segments
        .iter()
        .flat_map(|segment| {
            let copies = if segment.payload.is_empty() { 1 } else { 2 };
            std::iter::repeat_n(segment.clone(), copies)
        })
        .collect()
}

/// Data segments reach back over up to `bytes` bytes of what their sender sent before in the same burst.
pub fn overlap(segments: &[Segment], bytes: usize) -> Vec<Segment> {
    let mut out = segments.to_vec();
    for burst in bursts(segments) {
        for pair in burst.windows(2) {
            let &[before, here] = pair else { continue };
            let Some(previous) = segments.get(before) else { continue };
            let tail = previous.payload.len().saturating_sub(bytes);
            let repeated = previous.payload.get(tail..).unwrap_or_default();
            let Some(segment) = out.get_mut(here) else { continue };
            segment.sequence = segment.sequence.wrapping_sub(u32::try_from(repeated.len()).unwrap_or(0));
            segment.payload.splice(0..0, repeated.iter().copied());
        }
    }
    out
}

/// Cuts data segments into pieces of at most `bytes` bytes; the pieces share the time of the whole.
pub fn split(segments: &[Segment], bytes: usize) -> Vec<Segment> {
    let mut out = Vec::with_capacity(segments.len());
    for segment in segments {
        if segment.payload.is_empty() {
            out.push(segment.clone());
            continue;
        }
        let mut sequence = segment.sequence;
        for piece in segment.payload.chunks(bytes.max(1)) {
            out.push(Segment { sequence, payload: piece.to_vec(), ..segment.clone() });
            sequence = sequence.wrapping_add(u32::try_from(piece.len()).unwrap_or(0));
        }
    }
    out
}

/// Shuffles everything that was captured within windows of `window` packets, whoever sent it, keeping the times of the
/// places: what a capture on several queues may do. The same seed gives the same order.
pub fn shuffle(segments: &[Segment], window: usize, seed: u64) -> Vec<Segment> {
    let mut out = segments.to_vec();
    let mut dice = Dice(seed);
    for start in (0..out.len()).step_by(window.max(1)) {
        let length = window.min(out.len() - start);
        for upper in (1..length).rev() {
            swap_keeping_times(&mut out, start + dice.below(upper + 1), start + upper);
        }
    }
    out
}

/// The two sides of windows of `window` packets interleaved anew, each side in its own order, keeping the times of the
/// places: what a capture does that takes each direction from a queue of its own.
pub fn interleave(segments: &[Segment], window: usize, seed: u64) -> Vec<Segment> {
    let mut dice = Dice(seed);
    let mut out = Vec::with_capacity(segments.len());
    for window in segments.chunks(window.max(1)) {
        let (client, server): (Vec<&Segment>, Vec<&Segment>) =
            window.iter().partition(|segment| segment.sender == Side::Client);
        let (mut client, mut server) = (client.into_iter(), server.into_iter());
        for place in window {
            let from_client = dice.below(client.len() + server.len()) < client.len();
            let next = if from_client { client.next() } else { server.next() };
            out.extend(next.map(|segment| Segment { at: place.at, ..segment.clone() }));
        }
    }
    out
}

/// Before every data segment but a side's first, a keepalive of its sender: one byte of no meaning in the place of the
/// last one sent (RFC 9293, section 3.8.4).
pub fn keepalives(segments: &[Segment]) -> Vec<Segment> {
    let mut out = Vec::with_capacity(segments.len());
    let mut has_sent = Vec::new();
    for segment in segments {
        if !segment.payload.is_empty() {
            if has_sent.contains(&segment.sender) {
                let flags = Flags { ack: true, ..Flags::default() };
                let sequence = segment.sequence.wrapping_sub(1);
                out.push(Segment { sequence, flags, payload: vec![0], ..segment.clone() });
            } else {
                has_sent.push(segment.sender);
            }
        }
        out.push(segment.clone());
    }
    out
}

/// Data segments that follow each other become one of up to `bytes` bytes, as the receive offload of a network card
/// hands them on.
pub fn coalesce(segments: &[Segment], bytes: usize) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::with_capacity(segments.len());
    for segment in segments {
        if let Some(last) = out.last_mut()
            && last.sender == segment.sender
            && !last.payload.is_empty()
            && !segment.payload.is_empty()
            && last.payload.len() + segment.payload.len() <= bytes
        {
            last.payload.extend_from_slice(&segment.payload);
            last.flags = segment.flags;
        } else {
            out.push(segment.clone());
        }
    }
    out
}

/// Data segments come again after `later`, as their sender's timer sends them.
pub fn retransmit(segments: &[Segment], later: Duration) -> Vec<Segment> {
    let again = segments.iter().filter(|segment| !segment.payload.is_empty());
    let again = again.map(|segment| Segment { at: segment.at + later, ..segment.clone() });
    let mut out: Vec<Segment> = segments.iter().cloned().chain(again).collect();
    out.sort_by_key(|segment| segment.at);
    out
}

/// A side's data cut at these places of its stream, counted from its first byte.
pub fn cut_stream(segments: &[Segment], side: Side, cuts: &[usize]) -> Vec<Segment> {
    let mut out = Vec::with_capacity(segments.len() + cuts.len());
    let mut sent = 0;
    for segment in segments {
        let length = segment.payload.len();
        if segment.sender != side || length == 0 {
            out.push(segment.clone());
            continue;
        }
        let inner =
            cuts.iter().filter_map(|cut| cut.checked_sub(sent)).filter(|cut| (1..length).contains(cut));
        let mut ends: Vec<usize> = inner.chain([length]).collect();
        ends.sort_unstable();
        ends.dedup();
        let mut from = 0;
        for end in ends {
            let payload = segment.payload.get(from..end).unwrap_or_default().to_vec();
            let sequence = segment.sequence.wrapping_add(u32::try_from(from).unwrap_or(0));
            out.push(Segment { sequence, payload, ..segment.clone() });
            from = end;
        }
        sent += length;
    }
    out
}

/// The capture without the packets at these places.
pub fn without(segments: &[Segment], places: &[usize]) -> Vec<Segment> {
    segments
        .iter()
        .enumerate()
        .filter(|(place, _)| !places.contains(place))
        .map(|(_, segment)| segment.clone())
        .collect()
}

/// Places of the data segments, burst by burst.
fn bursts(segments: &[Segment]) -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = Vec::new();
    let mut sender = None;
    for (place, segment) in segments.iter().enumerate().filter(|(_, segment)| !segment.payload.is_empty()) {
        if sender == Some(segment.sender)
            && let Some(burst) = out.last_mut()
        {
            burst.push(place);
        } else {
            out.push(vec![place]);
        }
        sender = Some(segment.sender);
    }
    out
}

fn swap_keeping_times(segments: &mut [Segment], a: usize, b: usize) {
    if a == b || a >= segments.len() || b >= segments.len() {
        return;
    }
    segments.swap(a, b);
    let (low, high) = (a.min(b), a.max(b));
    let (left, right) = segments.split_at_mut(high);
    if let (Some(first), Some(second)) = (left.get_mut(low), right.first_mut()) {
        std::mem::swap(&mut first.at, &mut second.at);
    }
}

/// A small generator of repeatable numbers (splitmix64); quality matters little, repeatability does.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from((mixed ^ (mixed >> 31)) % limit).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Session, Wire};
    use crate::scenario::Scenario;

    fn segments() -> Vec<Segment> {
        let session = Session::run(&Scenario::Hybrid.plan(), "checkout.example").unwrap();
        Wire { segment_bytes: 200, ..Wire::default() }.segments(&session)
    }

    /// What a receiver makes of the segments of one side.
    fn stream(segments: &[Segment], side: Side) -> Vec<u8> {
        let first = segments.iter().find(|segment| segment.sender == side && segment.flags.syn).unwrap();
        let base = first.sequence.wrapping_add(1);
        let mut out = Vec::new();
        for segment in segments.iter().filter(|segment| segment.sender == side) {
            let from = segment.sequence.wrapping_sub(base) as usize;
            if segment.payload.is_empty() {
                continue;
            }
            out.resize(out.len().max(from + segment.payload.len()), 0);
            out[from..from + segment.payload.len()].copy_from_slice(&segment.payload);
        }
        out
    }

    #[test]
    fn no_disturbance_changes_what_was_said() {
        let plain = segments();
        let disturbed = [
            reorder(&plain, 3),
            reverse(&plain),
            duplicate(&plain),
            overlap(&plain, 50),
            split(&plain, 7),
            reorder(&duplicate(&overlap(&plain, 20)), 9),
            shuffle(&plain, 5, 4),
            interleave(&plain, 6, 2),
            coalesce(&plain, 60_000),
            retransmit(&plain, Duration::from_millis(3)),
            cut_stream(&plain, Side::Server, &[1, 5, 777]),
        ];
        for (index, other) in disturbed.iter().enumerate() {
            assert_ne!(other, &plain, "disturbance {index} does nothing");
            assert!(
                other.windows(2).all(|pair| pair[0].at <= pair[1].at),
                "disturbance {index} turns time back"
            );
            for side in [Side::Client, Side::Server] {
                assert_eq!(stream(other, side), stream(&plain, side), "disturbance {index}");
            }
        }
    }

    #[test]
    fn cuts_and_keepalives_lie_where_they_should() {
        let plain = segments();
        let cut = cut_stream(&plain, Side::Client, &[3, 203]);
        let lengths: Vec<_> = cut.iter().map(|segment| segment.payload.len()).filter(|n| *n > 0).collect();
        assert_eq!(lengths[..4], [3, 197, 3, 197]);
        let kept = keepalives(&plain);
        assert!(kept.len() > plain.len());
        let first = kept.iter().find(|segment| !segment.payload.is_empty()).unwrap();
        assert_eq!(first.payload.len(), 200, "nothing was sent before that could be kept alive");
    }

    #[test]
    fn packets_can_be_taken_out() {
        let plain = segments();
        let fewer = without(&plain, &[0, 3]);
        assert_eq!(fewer.len(), plain.len() - 2);
        assert_eq!(fewer[0], plain[1]);
    }
}
