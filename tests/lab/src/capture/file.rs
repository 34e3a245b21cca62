//! Capture files: pcap in both byte orders and both time resolutions, and pcapng.

use super::frame::{Link, Packet};
use std::io;
use std::path::Path;

/// How packets are kept in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// pcap, little endian, nanoseconds.
    Pcap,
    /// pcap, little endian, microseconds: times are cut.
    PcapMicroseconds,
    /// pcap, big endian, nanoseconds.
    PcapBigEndian,
    /// pcapng with one interface and nanoseconds.
    PcapNg,
}

impl Format {
    /// Every format that the lab can write.
    pub const ALL: [Self; 4] = [Self::Pcap, Self::PcapMicroseconds, Self::PcapBigEndian, Self::PcapNg];
}

/// Packets of several sessions in one capture, by time; packets of the same time stay in order.
pub fn merge(sessions: Vec<Vec<Packet>>) -> Vec<Packet> {
    let mut out: Vec<Packet> = sessions.into_iter().flatten().collect();
    out.sort_by_key(|packet| packet.at);
    out
}

/// Writes packets to a new pcap file with nanoseconds.
///
/// # Errors
/// When the file cannot be written.
pub fn write_pcap(path: &Path, link: Link, packets: &[Packet]) -> io::Result<()> {
    write(path, Format::Pcap, link, packets)
}

/// Writes packets to a new file of this format.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, format: Format, link: Link, packets: &[Packet]) -> io::Result<()> {
    std::fs::write(path, encode(format, link, packets))
}

/// The bytes of a capture file.
pub fn encode(format: Format, link: Link, packets: &[Packet]) -> Vec<u8> {
    match format {
        Format::Pcap => encode_pcap(link, packets, 0xa1b2_3c4d, 1, u32::to_le_bytes),
        Format::PcapMicroseconds => encode_pcap(link, packets, 0xa1b2_c3d4, 1000, u32::to_le_bytes),
        Format::PcapBigEndian => encode_pcap(link, packets, 0xa1b2_3c4d, 1, u32::to_be_bytes),
        Format::PcapNg => encode_pcapng(link, packets),
    }
}

fn encode_pcap(
    link: Link,
    packets: &[Packet],
    magic: u32,
    nanoseconds_per_unit: u32,
    order: fn(u32) -> [u8; 4],
) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&order(magic));
    // Version 2.4 as two half words, which lie in the file in the order that the byte order asks for.
    let [a, b, c, d] = order(0x0004_0002);
    let version = if order(1) == [1, 0, 0, 0] { [a, b, c, d] } else { [c, d, a, b] };
    out.extend_from_slice(&version);
    for field in [0, 0, 262_144, link.number()] {
        out.extend_from_slice(&order(field));
    }
    for packet in packets {
        let seconds = u32::try_from(packet.at.as_secs()).unwrap_or(u32::MAX);
        let fraction = packet.at.subsec_nanos() / nanoseconds_per_unit;
        for field in [seconds, fraction, length(packet.bytes.len()), length(packet.original_length)] {
            out.extend_from_slice(&order(field));
        }
        out.extend_from_slice(&packet.bytes);
    }
    out
}

fn encode_pcapng(link: Link, packets: &[Packet]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut section = Vec::new();
    section.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
    section.extend_from_slice(&[1, 0, 0, 0]);
    section.extend_from_slice(&u64::MAX.to_le_bytes());
    push_block(&mut out, 0x0a0d_0d0a, &section);

    let mut interface = Vec::new();
    interface.extend_from_slice(&link.number().to_le_bytes());
    interface.extend_from_slice(&262_144_u32.to_le_bytes());
    // Option if_tsresol (9) of one byte: 10 to the minus 9; then the end of options.
    interface.extend_from_slice(&[9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
    push_block(&mut out, 1, &interface);

    for packet in packets {
        let nanoseconds = u64::try_from(packet.at.as_nanos()).unwrap_or(u64::MAX);
        let (high, low) = (nanoseconds >> 32, nanoseconds & 0xffff_ffff);
        let mut body = Vec::with_capacity(24 + packet.bytes.len());
        body.extend_from_slice(&0_u32.to_le_bytes());
        for half in [high, low] {
            body.extend_from_slice(&u32::try_from(half).unwrap_or(u32::MAX).to_le_bytes());
        }
        body.extend_from_slice(&length(packet.bytes.len()).to_le_bytes());
        body.extend_from_slice(&length(packet.original_length).to_le_bytes());
        body.extend_from_slice(&packet.bytes);
        push_block(&mut out, 6, &body);
    }
    out
}

fn push_block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let padding = body.len().next_multiple_of(4) - body.len();
    let total = length(12 + body.len() + padding).to_le_bytes();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&total);
    out.extend_from_slice(body);
    out.extend(std::iter::repeat_n(0, padding));
    out.extend_from_slice(&total);
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn packet() -> Packet {
        Packet { at: Duration::new(7, 1_234), bytes: vec![9; 5], original_length: 6 }
    }

    #[test]
    fn pcap_headers_are_in_the_asked_order() {
        let little = encode(Format::Pcap, Link::Ethernet, &[packet()]);
        assert_eq!(little[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!(little[24..40], [7, 0, 0, 0, 0xd2, 4, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0]);
        let big = encode(Format::PcapBigEndian, Link::Ethernet, &[packet()]);
        assert_eq!(big[..8], [0xa1, 0xb2, 0x3c, 0x4d, 0, 2, 0, 4]);
        let coarse = encode(Format::PcapMicroseconds, Link::Ethernet, &[packet()]);
        assert_eq!(coarse[28..32], [1, 0, 0, 0]);
    }

    #[test]
    fn pcapng_blocks_are_padded_and_sized_twice() {
        let bytes = encode(Format::PcapNg, Link::RawIp, &[packet()]);
        assert_eq!(bytes.len() % 4, 0);
        let last = &bytes[bytes.len() - 40..];
        assert_eq!(last[..8], [6, 0, 0, 0, 40, 0, 0, 0]);
        assert_eq!(last[36..], [40, 0, 0, 0]);
    }
}
