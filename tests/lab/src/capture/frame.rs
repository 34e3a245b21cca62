//! From a TCP segment to the bytes of a captured packet: TCP, IP and link headers with correct checksums.

use super::wire::{Endpoints, Segment, Wire};
use crate::plan::Side;
use std::time::Duration;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const PROTOCOL_TCP: u8 = 6;

/// The link layer of a capture, by its number in the list of link-layer header types of tcpdump.org.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// BSD loopback: address family in the byte order of the capturing host (0).
    Null,
    /// Ethernet (1).
    Ethernet,
    /// IP without a link layer (101).
    RawIp,
    /// OpenBSD loopback: address family in network byte order (108).
    Loop,
    /// Linux cooked capture, as the interface `any` gives it (113).
    LinuxCooked,
    /// Linux cooked capture, version 2 (276).
    LinuxCooked2,
}

impl Link {
    /// Every link layer that the lab can write.
    pub const ALL: [Self; 6] =
        [Self::Null, Self::Ethernet, Self::RawIp, Self::Loop, Self::LinuxCooked, Self::LinuxCooked2];

    /// The number in the file header.
    pub fn number(self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Ethernet => 1,
            Self::RawIp => 101,
            Self::Loop => 108,
            Self::LinuxCooked => 113,
            Self::LinuxCooked2 => 276,
        }
    }
}

/// One captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Capture time since 1970.
    pub at: Duration,
    /// Bytes that the capture kept.
    pub bytes: Vec<u8>,
    /// Bytes that were on the wire.
    pub original_length: usize,
}

pub(super) fn packet(wire: &Wire, segment: &Segment, identification: u16) -> Packet {
    let mut bytes = Vec::with_capacity(segment.payload.len() + 80);
    push_link_header(&mut bytes, wire, segment.sender);
    push_ip_packet(&mut bytes, wire, segment, identification);
    let original_length = bytes.len();
    if let Some(most) = wire.snap_length {
        bytes.truncate(most);
    }
    Packet { at: segment.at, bytes, original_length }
}

fn push_link_header(out: &mut Vec<u8>, wire: &Wire, sender: Side) {
    // The number of the IPv6 family differs by system: 30 where BSD loopback captures mostly come from, 24 on OpenBSD.
    let (ethertype, null_family, loop_family) = match wire.endpoints {
        Endpoints::V4 { .. } => (ETHERTYPE_IPV4, 2_u32, 2_u32),
        Endpoints::V6 { .. } => (ETHERTYPE_IPV6, 30, 24),
    };
    // Locally administered addresses, one for each end.
    let (source, destination) = match sender {
        Side::Client => ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]),
        Side::Server => ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]),
    };
    // Seen from the client's host: 4 is sent by it, 0 is addressed to it.
    let direction: u8 = if sender == Side::Client { 4 } else { 0 };
    match wire.link {
        Link::RawIp => (),
        Link::Null => out.extend_from_slice(&null_family.to_le_bytes()),
        Link::Loop => out.extend_from_slice(&loop_family.to_be_bytes()),
        Link::Ethernet => {
            out.extend_from_slice(&destination);
            out.extend_from_slice(&source);
            for (index, vlan) in wire.vlans.iter().enumerate() {
                let outer = index + 1 < wire.vlans.len();
                let tag = if outer { ETHERTYPE_SERVICE_VLAN } else { ETHERTYPE_VLAN };
                out.extend_from_slice(&tag.to_be_bytes());
                out.extend_from_slice(&(vlan & 0x0fff).to_be_bytes());
            }
            out.extend_from_slice(&ethertype.to_be_bytes());
        }
        Link::LinuxCooked => {
            out.extend_from_slice(&[0, direction, 0, 1, 0, 6]);
            out.extend_from_slice(&source);
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(&ethertype.to_be_bytes());
        }
        Link::LinuxCooked2 => {
            out.extend_from_slice(&ethertype.to_be_bytes());
            out.extend_from_slice(&[0, 0, 0, 0, 0, 2, 0, 1, direction, 6]);
            out.extend_from_slice(&source);
            out.extend_from_slice(&[0, 0]);
        }
    }
}

fn push_ip_packet(out: &mut Vec<u8>, wire: &Wire, segment: &Segment, identification: u16) {
    let tcp = tcp_segment(wire, segment);
    let length = u16::try_from(tcp.len()).unwrap_or(u16::MAX);
    match wire.endpoints {
        Endpoints::V4 { client, server } => {
            let (from, to) = directed(segment.sender, client, server);
            let mut header = Vec::with_capacity(20);
            header.extend_from_slice(&[0x45, 0]);
            header.extend_from_slice(&length.saturating_add(20).to_be_bytes());
            header.extend_from_slice(&identification.to_be_bytes());
            header.extend_from_slice(&[0x40, 0, 64, PROTOCOL_TCP]);
            let mut addresses = from.ip().octets().to_vec();
            addresses.extend_from_slice(&to.ip().octets());
            let sum = checksum(&[&header, &addresses]);
            header.extend_from_slice(&sum.to_be_bytes());
            out.extend_from_slice(&header);
            out.extend_from_slice(&addresses);
        }
        Endpoints::V6 { client, server } => {
            let (from, to) = directed(segment.sender, client, server);
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&[PROTOCOL_TCP, 64]);
            out.extend_from_slice(&from.ip().octets());
            out.extend_from_slice(&to.ip().octets());
        }
    }
    out.extend_from_slice(&tcp);
}

/// The segment with its checksum, which also covers the addresses (RFC 9293, section 3.1).
fn tcp_segment(wire: &Wire, segment: &Segment) -> Vec<u8> {
    let from = wire.endpoints.of(segment.sender);
    let to = wire.endpoints.of(segment.sender.peer());
    let options = options(wire, segment);
    let words = 5 + u8::try_from(options.len() / 4).unwrap_or(0);
    let flags = segment.flags;
    let bits = u8::from(flags.fin)
        | u8::from(flags.syn) << 1
        | u8::from(flags.reset) << 2
        | u8::from(flags.push) << 3
        | u8::from(flags.ack) << 4;
    let mut head = Vec::with_capacity(16);
    head.extend_from_slice(&from.port().to_be_bytes());
    head.extend_from_slice(&to.port().to_be_bytes());
    head.extend_from_slice(&segment.sequence.to_be_bytes());
    head.extend_from_slice(&segment.acknowledgement.to_be_bytes());
    head.extend_from_slice(&[words << 4, bits, 0xff, 0xff]);

    let length = head.len() + 4 + options.len() + segment.payload.len();
    let mut pseudo = Vec::with_capacity(40);
    match wire.endpoints {
        Endpoints::V4 { client, server } => {
            pseudo.extend_from_slice(&client.ip().octets());
            pseudo.extend_from_slice(&server.ip().octets());
        }
        Endpoints::V6 { client, server } => {
            pseudo.extend_from_slice(&client.ip().octets());
            pseudo.extend_from_slice(&server.ip().octets());
        }
    }
    pseudo.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    pseudo.extend_from_slice(&[0, 0, 0, PROTOCOL_TCP]);
    let sum = checksum(&[&pseudo, &head, &options, &segment.payload]);

    let mut out = head;
    out.extend_from_slice(&sum.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&options);
    out.extend_from_slice(&segment.payload);
    out
}

/// Maximum segment size where it is announced; timestamps, and with them selective acknowledgement and window scale,
/// where the wire has them.
fn options(wire: &Wire, segment: &Segment) -> Vec<u8> {
    let mut options = Vec::new();
    if let Some(bytes) = segment.announced_segment_bytes {
        let [high, low] = bytes.to_be_bytes();
        options.extend_from_slice(&[2, 4, high, low]);
    }
    if wire.tcp_options {
        if segment.flags.syn {
            options.extend_from_slice(&[1, 1, 4, 2, 1, 3, 3, 7]);
        }
        let now = u32::try_from(segment.at.as_millis() & 0xffff_ffff).unwrap_or(0);
        options.extend_from_slice(&[1, 1, 8, 10]);
        options.extend_from_slice(&now.to_be_bytes());
        options.extend_from_slice(&now.wrapping_sub(20).to_be_bytes());
    }
    options
}

fn directed<T>(sender: Side, client: T, server: T) -> (T, T) {
    match sender {
        Side::Client => (client, server),
        Side::Server => (server, client),
    }
}

/// The Internet checksum (RFC 1071) over parts, of which all but the last have an even length.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for word in part.chunks(2) {
            let high = word.first().copied().unwrap_or(0);
            let low = word.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([high, low]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !u16::try_from(sum & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_a_known_header() {
        // The worked example of a well-known IPv4 header: zero where the checksum goes.
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(checksum(&[&header]), 0xb861);
        assert_eq!(checksum(&[&header[..10], &[0xb8, 0x61], &header[12..]]), 0);
    }
}
