//! From a captured frame to a TCP segment, or to a counted reason for passing the frame by.
//!
//! Enters: link type, the captured bytes, the length on the wire. Leaves: a [`Segment`] that borrows its payload from
//! the frame. No state, no allocation. Lengths follow what the headers say rather than the frame's end, since short
//! Ethernet frames carry padding; a total length of 0 is a packet that the sender's network card was to cut
//! (segmentation offload) and reaches to the end of the frame. Checksums are not looked at: offload leaves them wrong
//! on the sending host.

use crate::flow::sequence::Sequence;
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, TcpOptionElement};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The link types that can be decoded (values of the tcpdump.org LINKTYPE registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// LINKTYPE_ETHERNET, 1.
    Ethernet,
    /// LINKTYPE_NULL, 0, and LINKTYPE_LOOP, 108: four bytes of address family before the IP header.
    Loopback,
    /// LINKTYPE_RAW, 101, its older numbers 12 and 14, LINKTYPE_IPV4, 228, and LINKTYPE_IPV6, 229.
    RawIp,
    /// LINKTYPE_LINUX_SLL, 113: Linux "cooked" capture, as from the `any` interface.
    LinuxSll,
    /// LINKTYPE_LINUX_SLL2, 276: the second version, with the interface index.
    LinuxSll2,
}

impl LinkType {
    /// The link types that [`LinkType::from_number`] knows, for messages.
    pub const KNOWN: &'static str = "Ethernet (1), NULL (0), LOOP (108), RAW (101), IPV4 (228), IPV6 (229), LINUX_SLL (113), LINUX_SLL2 (276)";

    /// The link type of a number in a capture file's header, `None` where it cannot be decoded.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Ethernet,
            0 | 108 => Self::Loopback,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            113 => Self::LinuxSll,
            276 => Self::LinuxSll2,
            _ => return None,
        })
    }
}

/// One encapsulation around the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layer {
    /// An IEEE 802.1Q or 802.1ad tag with its VLAN id.
    Vlan(u16),
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vlan(id) => write!(f, "vlan:{id}"),
        }
    }
}

/// Encapsulations outside in, at most [`Encapsulation::MAX_DEPTH`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Encapsulation {
    layers: [Option<Layer>; Self::MAX_DEPTH],
}

impl Encapsulation {
    /// Deeper nesting is passed by and counted ([`Skip::TooDeep`]).
    pub const MAX_DEPTH: usize = 4;

    /// Whether the packet stood alone.
    pub const fn is_empty(&self) -> bool {
        self.layers[0].is_none()
    }

    /// The layers outside in.
    pub fn layers(&self) -> impl Iterator<Item = Layer> {
        self.layers.into_iter().flatten()
    }

    fn push(&mut self, layer: Layer) -> Result<(), Skip> {
        let free = self.layers.iter_mut().find(|slot| slot.is_none()).ok_or(Skip::TooDeep)?;
        *free = Some(layer);
        Ok(())
    }
}

/// Why a frame brought no segment. The words are those of the packet disposition attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// The capture cut the frame inside a header.
    TruncatedHeader,
    /// Neither IPv4 nor IPv6: ARP, LLDP and the like.
    NotIp,
    /// IP, but neither TCP nor something that is followed.
    NotTcp,
    /// A piece of a fragmented IP packet.
    Fragment,
    /// Header fields contradict each other.
    Malformed,
    /// More encapsulations than are followed.
    TooDeep,
}

impl Skip {
    /// Every reason, in the order of [`Skip::index`].
    pub const ALL: [Self; 6] =
        [Self::TruncatedHeader, Self::NotIp, Self::NotTcp, Self::Fragment, Self::Malformed, Self::TooDeep];

    /// Place in [`Skip::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The value of the packet disposition attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TruncatedHeader => "skipped_truncated_header",
            Self::NotIp => "skipped_not_ip",
            Self::NotTcp => "skipped_not_tcp",
            Self::Fragment => "skipped_fragment",
            Self::Malformed => "skipped_malformed",
            Self::TooDeep => "skipped_too_deep",
        }
    }
}

/// An IP address as sixteen bytes; IPv4 stands in its IPv6-mapped form (RFC 4291 section 2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 16]);

impl Address {
    const V4_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

    fn from_v4(octets: [u8; 4]) -> Self {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&Self::V4_PREFIX);
        bytes[12..].copy_from_slice(&octets);
        Self(bytes)
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let v6 = Ipv6Addr::from(address.0);
        v6.to_ipv4_mapped().map_or(Self::V6(v6), |v4: Ipv4Addr| Self::V4(v4))
    }
}

/// A TCP segment as far as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Sender's address.
    pub source: Address,
    /// Receiver's address.
    pub destination: Address,
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// Sequence number of the first byte, or of the SYN.
    pub sequence: Sequence,
    /// Acknowledgement number, when the ACK flag is set.
    pub acknowledgment: Option<Sequence>,
    /// SYN flag.
    pub syn: bool,
    /// FIN flag.
    pub fin: bool,
    /// RST flag.
    pub rst: bool,
    /// The payload as far as it was captured.
    pub payload: &'a [u8],
    /// The payload's length on the wire, at least `payload.len()`.
    pub payload_length: usize,
    /// Maximum segment size option of a SYN.
    pub mss: Option<u16>,
    /// Identification of the IPv4 header; 0 where there is none.
    pub identification: u16,
    /// Options of the TCP header.
    pub options: &'a [u8],
    /// What was around the packet.
    pub encapsulation: Encapsulation,
}

/// Decodes one frame. `wire_length` is the frame's length on the wire, at least `frame.len()`.
///
/// # Errors
///
/// The reason why the frame holds no TCP segment that can be followed.
pub fn decode(link: LinkType, frame: &[u8], wire_length: usize) -> Result<Segment<'_>, Skip> {
    let beyond = wire_length.saturating_sub(frame.len());
    let (ether_type, rest) = match link {
        LinkType::Ethernet => (be16(frame, 12)?, tail(frame, 14)?),
        LinkType::LinuxSll => (be16(frame, 14)?, tail(frame, 16)?),
        LinkType::LinuxSll2 => (be16(frame, 0)?, tail(frame, 20)?),
        LinkType::Loopback => return ip(tail(frame, 4)?, beyond, Encapsulation::default()),
        LinkType::RawIp => return ip(frame, beyond, Encapsulation::default()),
    };
    network(ether_type, rest, beyond)
}

const ETHER_TYPE_IPV4: u16 = 0x0800;
const ETHER_TYPE_IPV6: u16 = 0x86dd;

fn network(mut ether_type: u16, mut rest: &[u8], beyond: usize) -> Result<Segment<'_>, Skip> {
    let mut encapsulation = Encapsulation::default();
    // 802.1Q, 802.1ad and the number that came before the latter.
    while matches!(ether_type, 0x8100 | 0x88a8 | 0x9100) {
        encapsulation.push(Layer::Vlan(be16(rest, 0)? & 0x0fff))?;
        ether_type = be16(rest, 2)?;
        rest = tail(rest, 4)?;
    }
    match ether_type {
        ETHER_TYPE_IPV4 | ETHER_TYPE_IPV6 => ip(rest, beyond, encapsulation),
        _ => Err(Skip::NotIp),
    }
}

fn ip(packet: &[u8], beyond: usize, encapsulation: Encapsulation) -> Result<Segment<'_>, Skip> {
    match packet.first().ok_or(Skip::TruncatedHeader)? >> 4 {
        4 => ipv4(packet, beyond, encapsulation),
        6 => ipv6(packet, beyond, encapsulation),
        _ => Err(Skip::NotIp),
    }
}

const PROTOCOL_TCP: u8 = 6;

fn ipv4(packet: &[u8], beyond: usize, encapsulation: Encapsulation) -> Result<Segment<'_>, Skip> {
    let header = Ipv4HeaderSlice::from_slice(packet).map_err(|_| short_or_malformed(packet, 20))?;
    if header.is_fragmenting_payload() {
        return Err(Skip::Fragment);
    }
    if header.protocol().0 != PROTOCOL_TCP {
        return Err(Skip::NotTcp);
    }
    let header_length = header.slice().len();
    let rest = tail(packet, header_length)?;
    let stated = match usize::from(header.total_len()) {
        0 => rest.len() + beyond,
        total => total.checked_sub(header_length).ok_or(Skip::Malformed)?,
    };
    let source = Address::from_v4(header.source());
    let destination = Address::from_v4(header.destination());
    let segment = tcp(source, destination, rest, stated, encapsulation)?;
    Ok(Segment { identification: header.identification(), ..segment })
}

fn ipv6(packet: &[u8], beyond: usize, encapsulation: Encapsulation) -> Result<Segment<'_>, Skip> {
    let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| short_or_malformed(packet, 40))?;
    let mut rest = tail(packet, 40)?;
    let mut stated = match usize::from(header.payload_length()) {
        // A jumbo payload (RFC 2675) or segmentation offload.
        0 => rest.len() + beyond,
        length => length,
    };
    let mut next = header.next_header().0;
    // Extension headers (RFC 8200 section 4); eight are more than any real packet has.
    for _ in 0..8 {
        let length = match next {
            PROTOCOL_TCP => {
                return tcp(
                    Address(header.source()),
                    Address(header.destination()),
                    rest,
                    stated,
                    encapsulation,
                );
            }
            // Hop-by-hop, routing, destination, mobility, HIP, shim6: length in 8-byte units beyond the first.
            0 | 43 | 60 | 135 | 139 | 140 => (usize::from(byte(rest, 1)?) + 1) * 8,
            // Authentication header (RFC 4302): length in 4-byte units less two.
            51 => (usize::from(byte(rest, 1)?) + 2) * 4,
            44 if be16(rest, 2)? & 0xfff9 != 0 => return Err(Skip::Fragment),
            // An atomic fragment (RFC 6946) is a whole packet.
            44 => 8,
            _ => return Err(Skip::NotTcp),
        };
        next = byte(rest, 0)?;
        rest = tail(rest, length)?;
        stated = stated.checked_sub(length).ok_or(Skip::Malformed)?;
    }
    Err(Skip::TooDeep)
}

/// `stated` is the length of the TCP header and payload by the IP header.
fn tcp(
    source: Address,
    destination: Address,
    packet: &[u8],
    stated: usize,
    encapsulation: Encapsulation,
) -> Result<Segment<'_>, Skip> {
    let packet = packet.get(..stated).unwrap_or(packet);
    let header = TcpHeaderSlice::from_slice(packet).map_err(|_| short_or_malformed(packet, 20))?;
    let header_length = header.slice().len();
    let payload = tail(packet, header_length)?;
    let mss = if header.syn() {
        header.options_iterator().find_map(|option| match option {
            Ok(TcpOptionElement::MaximumSegmentSize(size)) => Some(size),
            _ => None,
        })
    } else {
        None
    };
    Ok(Segment {
        source,
        destination,
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        sequence: Sequence(header.sequence_number()),
        acknowledgment: header.ack().then(|| Sequence(header.acknowledgment_number())),
        syn: header.syn(),
        fin: header.fin(),
        rst: header.rst(),
        payload,
        payload_length: stated.saturating_sub(header_length).max(payload.len()),
        mss,
        identification: 0,
        options: packet.get(20..header_length).unwrap_or_default(),
        encapsulation,
    })
}

/// A header that does not parse was either cut by the capture or is wrong in itself.
fn short_or_malformed(packet: &[u8], shortest: usize) -> Skip {
    if packet.len() < shortest { Skip::TruncatedHeader } else { Skip::Malformed }
}

fn byte(bytes: &[u8], at: usize) -> Result<u8, Skip> {
    bytes.get(at).copied().ok_or(Skip::TruncatedHeader)
}

fn be16(bytes: &[u8], at: usize) -> Result<u16, Skip> {
    Ok(u16::from_be_bytes([byte(bytes, at)?, byte(bytes, at + 1)?]))
}

fn tail(bytes: &[u8], from: usize) -> Result<&[u8], Skip> {
    bytes.get(from..).ok_or(Skip::TruncatedHeader)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    fn ethernet_v4(payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .tcp(40000, 443, 7, 1000)
            .ack(99);
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).unwrap();
        frame
    }

    fn insert(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        [&frame[..at], bytes, &frame[at..]].concat()
    }

    #[test]
    fn a_plain_segment_keeps_every_field() {
        let frame = ethernet_v4(b"hello");
        let segment = decode(LinkType::Ethernet, &frame, frame.len()).unwrap();
        assert_eq!(IpAddr::from(segment.source), IpAddr::from([192, 0, 2, 1]));
        assert_eq!((segment.source_port, segment.destination_port), (40000, 443));
        assert_eq!((segment.sequence, segment.acknowledgment), (Sequence(7), Some(Sequence(99))));
        assert_eq!((segment.payload, segment.payload_length), (&b"hello"[..], 5));
    }

    #[test]
    fn ethernet_padding_is_no_payload() {
        let mut frame = ethernet_v4(b"");
        frame.extend([0; 6]);
        assert_eq!(decode(LinkType::Ethernet, &frame, 60).unwrap().payload_length, 0);
    }

    #[test]
    fn a_total_length_of_zero_reaches_to_the_frame_end() {
        let mut frame = ethernet_v4(&[9; 3000]);
        frame[16..18].copy_from_slice(&[0, 0]);
        assert_eq!(decode(LinkType::Ethernet, &frame, frame.len()).unwrap().payload.len(), 3000);
    }

    #[test]
    fn a_cut_frame_tells_its_length_on_the_wire() {
        let frame = ethernet_v4(&[9; 1000]);
        let segment = decode(LinkType::Ethernet, &frame[..200], frame.len()).unwrap();
        assert_eq!((segment.payload.len(), segment.payload_length), (200 - 54, 1000));
        assert_eq!(decode(LinkType::Ethernet, &frame[..40], frame.len()).unwrap_err(), Skip::TruncatedHeader);
    }

    #[test]
    fn vlan_tags_are_kept_outside_in_up_to_the_bound() {
        let mut frame = ethernet_v4(b"x");
        frame = insert(&frame, 12, &[0x88, 0xa8, 0x20, 10, 0x81, 0x00, 0x00, 20]);
        let segment = decode(LinkType::Ethernet, &frame, frame.len()).unwrap();
        let layers: Vec<String> = segment.encapsulation.layers().map(|l| l.to_string()).collect();
        assert_eq!(layers, ["vlan:10", "vlan:20"]);
        for _ in 0..3 {
            frame = insert(&frame, 12, &[0x81, 0x00, 0x00, 1]);
        }
        assert_eq!(decode(LinkType::Ethernet, &frame, frame.len()).unwrap_err(), Skip::TooDeep);
    }

    #[test]
    fn every_link_type_leads_to_the_same_segment() {
        let ethernet = ethernet_v4(b"hello");
        let packet = &ethernet[14..];
        let frames = [
            (LinkType::RawIp, packet.to_vec()),
            (LinkType::Loopback, [&[2, 0, 0, 0], packet].concat()),
            (LinkType::LinuxSll, [&[0; 14][..], &[8, 0], packet].concat()),
            (LinkType::LinuxSll2, [&[8, 0][..], &[0; 18], packet].concat()),
        ];
        for (link, frame) in frames {
            let segment = decode(link, &frame, frame.len()).unwrap();
            assert_eq!(segment.payload, b"hello", "{link:?}");
        }
    }

    #[test]
    fn ipv6_extension_headers_are_walked() {
        let mut frame = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(1, 2, 3, 4).write(&mut frame, b"hi").unwrap();
        let plain = decode(LinkType::RawIp, &frame, frame.len()).unwrap();
        assert_eq!(plain.payload, b"hi");
        // A hop-by-hop header and an atomic fragment header before TCP.
        let mut extended = insert(&frame, 40, &[44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1]);
        extended[6] = 0;
        extended[5] += 16;
        assert_eq!(decode(LinkType::RawIp, &extended, extended.len()).unwrap().payload, b"hi");
        extended[51] = 1;
        assert_eq!(decode(LinkType::RawIp, &extended, extended.len()).unwrap_err(), Skip::Fragment);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(link in 0..5u8, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let link = [LinkType::Ethernet, LinkType::Loopback, LinkType::RawIp, LinkType::LinuxSll, LinkType::LinuxSll2]
                [usize::from(link)];
            let _ = decode(link, &bytes, bytes.len() + 7);
        }

        #[test]
        fn damaged_segments_are_read_without_panic(at in 0..59usize, value: u8, keep in 0..59usize) {
            let mut frame = ethernet_v4(b"hello");
            frame[at] = value;
            let _ = decode(LinkType::Ethernet, &frame[..keep], frame.len());
        }
    }
}
