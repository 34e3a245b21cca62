//! Where the packets of a capture file end, so that a file can be cut between any two of them.

use flate2::read::MultiGzDecoder;
use std::io::{self, Read};
use std::path::Path;
use thiserror::Error;

/// Why a file cannot be cut.
#[derive(Debug, Error)]
pub enum CutError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] io::Error),
    /// It is no pcap and no pcapng.
    #[error("it is neither pcap nor pcapng")]
    Format,
}

/// A capture file in memory, decompressed.
#[derive(Debug)]
pub struct CaptureFile {
    bytes: Vec<u8>,
    /// Where the header and every packet end.
    ends: Vec<usize>,
}

impl CaptureFile {
    /// Reads a file and finds its packets. A cut last packet is left out.
    ///
    /// # Errors
    /// When it cannot be read or is of another format.
    pub fn read(path: &Path) -> Result<Self, CutError> {
        let mut bytes = std::fs::read(path)?;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain)?;
            bytes = plain;
        }
        let ends = packet_ends(&bytes).ok_or(CutError::Format)?;
        Ok(Self { bytes, ends })
    }

    /// How many packets it holds.
    pub fn packets(&self) -> usize {
        self.ends.len().saturating_sub(1)
    }

    /// The file up to and with this many packets; the whole file beyond its end.
    pub fn prefix(&self, packets: usize) -> &[u8] {
        let end = self.ends.get(packets).copied().unwrap_or(self.bytes.len());
        self.bytes.get(..end).unwrap_or(&self.bytes)
    }
}

fn packet_ends(bytes: &[u8]) -> Option<Vec<usize>> {
    match bytes.get(..4)? {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => pcap_ends(bytes, u32::from_le_bytes),
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => pcap_ends(bytes, u32::from_be_bytes),
        [0x0a, 0x0d, 0x0d, 0x0a] => pcapng_ends(bytes),
        _ => None,
    }
}

fn pcap_ends(bytes: &[u8], order: fn([u8; 4]) -> u32) -> Option<Vec<usize>> {
    let mut at = 24;
    bytes.get(..at)?;
    let mut ends = vec![at];
    while let Some(length) = word(bytes, at + 8, order) {
        at += 16 + length;
        if at > bytes.len() {
            break;
        }
        ends.push(at);
    }
    Some(ends)
}

/// Blocks that hold a packet: Packet (2), Simple Packet (3) and Enhanced Packet (6).
fn pcapng_ends(bytes: &[u8]) -> Option<Vec<usize>> {
    let mut order: fn([u8; 4]) -> u32 = u32::from_le_bytes;
    let mut at = 0;
    let mut ends = vec![0];
    while let Some(kind) = word(bytes, at, order) {
        if kind == 0x0a0d_0d0a {
            let magic = bytes.get(at + 8..at + 12)?;
            order = if magic == [0x1a, 0x2b, 0x3c, 0x4d] { u32::from_be_bytes } else { u32::from_le_bytes };
        }
        let Some(length) = word(bytes, at + 4, order).filter(|length| *length >= 12) else { break };
        at += length;
        if at > bytes.len() {
            break;
        }
        if matches!(kind, 2 | 3 | 6) {
            ends.push(at);
        } else if ends.len() == 1 {
            // Sections and interfaces before the first packet belong to the header.
            ends = vec![at];
        }
    }
    Some(ends)
}

fn word(bytes: &[u8], at: usize, order: fn([u8; 4]) -> u32) -> Option<usize> {
    let field: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(order(field)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pqscope_lab::capture::{Format, Link, Packet, encode};
    use std::time::Duration;

    #[test]
    fn every_format_is_cut_between_packets() {
        let packet =
            |length| Packet { at: Duration::from_secs(1), bytes: vec![6; length], original_length: length };
        let packets = [packet(5), packet(60), packet(3)];
        for format in Format::ALL {
            let whole = encode(format, Link::RawIp, &packets);
            let ends = packet_ends(&whole).unwrap();
            assert_eq!(ends.len(), 4, "{format:?}");
            for (count, end) in ends.iter().enumerate() {
                assert_eq!(whole[..*end], encode(format, Link::RawIp, &packets[..count]), "{format:?}");
            }
            let cut = packet_ends(&whole[..whole.len() - 1]).unwrap();
            assert_eq!(cut.len(), 3, "{format:?}: a cut packet is left out");
        }
        assert_eq!(packet_ends(b"PK\x03\x04 something else"), None);
    }
}
