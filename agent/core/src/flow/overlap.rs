//! Segments that repeat bytes and say something else: an error, or someone who tries to show an observer another story
//! than the receiver. Which bytes stand is settled in [`super::reassembly`]; here it is only noticed.
//!
//! Delivered bytes are not kept. Of the last [`KEPT`] segments of a direction a hash is, so that one is compared which
//! begins where one of them began and is at least as long.

use super::sequence::Sequence;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;

/// Segments of a direction that are remembered.
const KEPT: usize = 2;

/// Shorter segments are not compared: a keepalive repeats one byte, and any byte will do.
const LEAST: usize = 2;

/// A segment that was delivered.
#[derive(Clone, Copy, Debug, Default)]
struct Piece {
    sequence: Sequence,
    length: u32,
    hash: u32,
}

/// The last segments of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Recent {
    pieces: [Piece; KEPT],
    next: u8,
}

impl Recent {
    /// Takes note of a segment.
    pub(super) fn remember(&mut self, sequence: Sequence, bytes: &[u8]) {
        let Ok(length) = u32::try_from(bytes.len()) else { return };
        if let Some(slot) = self.pieces.get_mut(usize::from(self.next) % KEPT) {
            *slot = Piece { sequence, length, hash: hash(bytes) };
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Whether a segment repeats one of these with other bytes.
    pub(super) fn contradicts(&self, sequence: Sequence, bytes: &[u8]) -> bool {
        self.pieces.iter().any(|piece| {
            let repeated = bytes.get(..piece.length as usize);
            piece.sequence == sequence
                && repeated.is_some_and(|repeated| repeated.len() >= LEAST && hash(repeated) != piece.hash)
        })
    }
}

/// Whether two segments overlap and say different things there.
pub(super) fn differ(a: (Sequence, &[u8]), b: (Sequence, &[u8])) -> bool {
    let distance = b.0.distance_from(a.0);
    let ((early, early_bytes), (late, late_bytes)) = if distance >= 0 { (a, b) } else { (b, a) };
    let offset = usize::try_from(late.distance_from(early)).unwrap_or(usize::MAX);
    let common = early_bytes.get(offset..).unwrap_or_default();
    let length = common.len().min(late_bytes.len());
    length >= LEAST && common.get(..length) != late_bytes.get(..length)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half of a hash is one")]
fn hash(bytes: &[u8]) -> u32 {
    FixedState::with_seed(0).hash_one(bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_with_other_bytes_are_told_from_faithful_ones() {
        let mut recent = Recent::default();
        recent.remember(Sequence(10), b"hello");
        assert!(!recent.contradicts(Sequence(10), b"hello"));
        assert!(!recent.contradicts(Sequence(10), b"hello and more"));
        assert!(recent.contradicts(Sequence(10), b"HELLO"));
        assert!(recent.contradicts(Sequence(10), b"hallo and more"));
        assert!(!recent.contradicts(Sequence(11), b"HELLO"));
        recent.remember(Sequence(20), b"x");
        assert!(!recent.contradicts(Sequence(20), b"?"), "a keepalive");
    }

    #[test]
    fn only_what_two_segments_share_is_compared() {
        let at = |sequence: u32, bytes: &'static [u8]| (Sequence(sequence), bytes);
        assert!(!differ(at(u32::MAX - 1, b"abcd"), at(0, b"cdef")));
        assert!(differ(at(u32::MAX - 1, b"abcd"), at(0, b"cxef")));
        assert!(differ(at(0, b"cxef"), at(u32::MAX - 1, b"abcd")));
        assert!(!differ(at(1, b"ab"), at(3, b"xy")));
    }
}
