//! Bytes of a packet as far as they were captured, with their length on the wire.

use super::skip::Skip;

/// A part of a frame. The capture may have cut it: `length` bytes were on the wire, the first `bytes` are there.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) bytes: &'a [u8],
    /// At least `bytes.len()`.
    pub(super) length: usize,
}

impl<'a> View<'a> {
    pub(super) fn new(bytes: &'a [u8], length: usize) -> Self {
        Self { bytes, length: length.max(bytes.len()) }
    }

    pub(super) fn byte(&self, at: usize) -> Result<u8, Skip> {
        self.bytes.get(at).copied().ok_or(Skip::TruncatedHeader)
    }

    pub(super) fn be16(&self, at: usize) -> Result<u16, Skip> {
        Ok(u16::from_be_bytes([self.byte(at)?, self.byte(at + 1)?]))
    }

    pub(super) fn be32(&self, at: usize) -> Result<u32, Skip> {
        Ok((u32::from(self.be16(at)?) << 16) | u32::from(self.be16(at + 2)?))
    }

    /// What follows a header of this length.
    pub(super) fn after(&self, header: usize) -> Result<Self, Skip> {
        let bytes = self.bytes.get(header..).ok_or(Skip::TruncatedHeader)?;
        Ok(Self { bytes, length: self.length.saturating_sub(header) })
    }

    /// The first `length` bytes, by what a header says of its content. A header that says more than is there is
    /// believed: the capture, or a router that quotes a packet, has cut the rest.
    pub(super) fn first(&self, length: usize) -> Self {
        Self { bytes: self.bytes.get(..length).unwrap_or(self.bytes), length }
    }

    /// A header that does not parse was either cut by the capture or is wrong in itself.
    pub(super) fn short_or_malformed(&self, shortest: usize) -> Skip {
        if self.bytes.len() < shortest { Skip::TruncatedHeader } else { Skip::Malformed }
    }
}
