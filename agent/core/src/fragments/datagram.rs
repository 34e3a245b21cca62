//! The pieces of one packet.

use crate::decode::{Family, Fragment, Skip};

/// Largest payload of an IP packet.
const MAX_LENGTH: usize = 65_535;

#[derive(Debug)]
struct Piece {
    offset: usize,
    length: usize,
    /// The first bytes of it, as far as they were captured.
    bytes: Box<[u8]>,
}

impl Piece {
    const fn end(&self) -> usize {
        self.offset + self.length
    }
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Others are awaited.
    Held,
    /// The piece contradicts itself or those before it, and was left out; what is there stands.
    Dropped,
    /// The packet is whole.
    Whole,
    /// The packet cannot be put together.
    Refused(Skip),
}

/// A packet that is being collected: pieces in the order of their places, none over another.
#[derive(Debug, Default)]
pub(super) struct Datagram {
    pieces: Vec<Piece>,
    captured_bytes: usize,
    /// Sum of the pieces' lengths.
    covered: usize,
    /// Known from the last piece.
    total: Option<usize>,
    packets: u64,
    /// What the packet carries, by its first piece.
    protocol: u8,
}

impl Datagram {
    /// Captured packets that were taken.
    pub(super) fn pieces(&self) -> u64 {
        self.packets
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.captured_bytes + self.pieces.capacity() * size_of::<Piece>()
    }

    pub(super) fn take(&mut self, fragment: &Fragment<'_>, most: usize) -> Taken {
        let (from, end) = place(fragment);
        if !self.fits(fragment) {
            return Taken::Dropped;
        }
        self.packets += 1;
        if fragment.ends.family == Family::V6 {
            match self.over(from, end, fragment.bytes) {
                Over::Nothing => {}
                Over::Copy => return Taken::Held,
                Over::Others => return Taken::Refused(Skip::FragmentOverlap),
            }
        }
        if !fragment.more {
            self.total = Some(end);
        }
        if from == 0 {
            self.protocol = fragment.protocol;
        }
        self.fill(from, end, fragment.bytes);
        if self.pieces.len() > most {
            return Taken::Refused(Skip::FragmentEvicted);
        }
        if self.total == Some(self.covered) { Taken::Whole } else { Taken::Held }
    }

    /// Whether a piece is of another packet with the same number: its place is that of one that is held, and its bytes
    /// are others. IPv4 has 65,536 numbers between two hosts, which come round within seconds (RFC 4963).
    pub(super) fn is_of_another(&self, fragment: &Fragment<'_>) -> bool {
        let differs = |piece: &Piece| {
            let common = piece.bytes.len().min(fragment.bytes.len());
            piece.offset == fragment.offset && piece.bytes.get(..common) != fragment.bytes.get(..common)
        };
        fragment.ends.family == Family::V4 && self.fits(fragment) && self.pieces.iter().any(differs)
    }

    /// Whether a piece may be one, and agrees with what is known of the packet's end.
    fn fits(&self, fragment: &Fragment<'_>) -> bool {
        let (more, (_, end)) = (fragment.more, place(fragment));
        let is_odd = more && !fragment.length.is_multiple_of(8);
        if fragment.length == 0 || is_odd || end > MAX_LENGTH {
            return false;
        }
        let reached = self.pieces.last().map_or(0, Piece::end);
        match self.total {
            Some(total) => end <= total && (more || end == total),
            None => more || reached <= end,
        }
    }

    fn over(&self, from: usize, end: usize, bytes: &[u8]) -> Over {
        let mut over = Over::Nothing;
        for piece in &self.pieces {
            if (piece.offset, piece.end()) == (from, end) && *piece.bytes == *bytes {
                return Over::Copy;
            }
            if piece.offset < end && piece.end() > from {
                over = Over::Others;
            }
        }
        over
    }

    /// Fills what is still open between two places.
    fn fill(&mut self, start: usize, end: usize, bytes: &[u8]) {
        let mut from = start;
        let mut at = self.pieces.partition_point(|piece| piece.end() <= start);
        while from < end {
            let next = self.pieces.get(at).map(|piece| (piece.offset, piece.end()));
            match next {
                Some((offset, reached)) if offset <= from => from = from.max(reached),
                _ => {
                    let stop = next.map_or(end, |(offset, _)| offset.min(end));
                    let captured = bytes.get(from - start..).unwrap_or_default();
                    let captured = captured.get(..stop - from).unwrap_or(captured);
                    self.captured_bytes += captured.len();
                    self.covered += stop - from;
                    let piece = Piece { offset: from, length: stop - from, bytes: captured.into() };
                    self.pieces.insert(at, piece);
                    from = stop;
                }
            }
            at += 1;
        }
    }

    /// The payload's length on the wire.
    pub(super) fn length(&self) -> usize {
        self.covered
    }

    /// What the packet carries.
    pub(super) fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The payload as far as it was captured. The pieces are still there.
    pub(super) fn joined(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.captured_bytes);
        for piece in &self.pieces {
            payload.extend_from_slice(&piece.bytes);
            if piece.bytes.len() < piece.length {
                break;
            }
        }
        payload
    }
}

/// Where a piece begins and ends.
const fn place(fragment: &Fragment<'_>) -> (usize, usize) {
    (fragment.offset, fragment.offset.saturating_add(fragment.length))
}

/// What a piece lies over.
enum Over {
    Nothing,
    /// The same piece.
    Copy,
    Others,
}
