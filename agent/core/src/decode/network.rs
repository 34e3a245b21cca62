//! IPv4 and IPv6, their extension headers, and what they carry.

use super::address::Address;
use super::encapsulation::{Encapsulation, Layer};
use super::skip::Skip;
use super::view::View;
use super::{Around, Decoded, Outcome, gre, icmp, link, tcp, udp};
use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice};

/// Version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Who sent a packet to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) family: Family,
}

/// A piece of a fragmented IP packet.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// Sender and receiver of the packet.
    pub(crate) ends: Ends,
    /// What the packet carries; in IPv6 the first piece's counts.
    pub(crate) protocol: u8,
    /// The number that the pieces of a packet share.
    pub(crate) identification: u32,
    /// Place of the piece's first byte in the packet's payload.
    pub(crate) offset: usize,
    /// Whether others come after it.
    pub(crate) more: bool,
    /// The piece as far as it was captured.
    pub(crate) bytes: &'a [u8],
    /// Its length on the wire.
    pub(crate) length: usize,
    pub(crate) encapsulation: Encapsulation,
}

/// The numbers of the protocol registry that are followed, and those of extension headers.
mod number {
    pub(super) const ICMP: u8 = 1;
    pub(super) const IPV4: u8 = 4;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const IPV6: u8 = 41;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const GRE: u8 = 47;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const MPLS: u8 = 137;
}

/// The length that an IP header tells of its packet, where the bytes may be such a header.
pub(super) fn ip_length(packet: View<'_>) -> Option<usize> {
    let first = packet.byte(0).ok()?;
    let (length, least) = match first >> 4 {
        4 if first & 0x0f >= 5 => (usize::from(packet.be16(2).ok()?), usize::from(first & 0x0f) * 4),
        6 => (usize::from(packet.be16(4).ok()?) + 40, 40),
        _ => return None,
    };
    (length >= least).then_some(length)
}

/// An IP packet; its first bits tell the version.
pub(super) fn ip<'a>(packet: View<'a>, around: Around) -> Outcome<'a> {
    ip_alone(packet, around)
}

/// [`ip`] for packets that nothing is around, which nearly all are: within the caller, so that nothing of it costs.
#[inline(always)]
pub(super) fn ip_alone<'a>(packet: View<'a>, around: Around) -> Outcome<'a> {
    match packet.byte(0)? >> 4 {
        4 => ipv4(packet, around),
        6 => ipv6(packet, around),
        _ => Err(Skip::NotIp),
    }
}

#[inline]
fn ipv4<'a>(packet: View<'a>, around: Around) -> Outcome<'a> {
    let header = Ipv4HeaderSlice::from_slice(packet.bytes).map_err(|_| packet.short_or_malformed(20))?;
    let header_length = header.slice().len();
    let rest = packet.after(header_length)?;
    let rest = match usize::from(header.total_len()) {
        0 => rest,
        total => rest.first(total.checked_sub(header_length).ok_or(Skip::Malformed)?),
    };
    let ends = Ends {
        source: Address::from_v4(header.source()),
        destination: Address::from_v4(header.destination()),
        family: Family::V4,
    };
    let protocol = header.protocol().0;
    if header.is_fragmenting_payload() {
        let piece = Piece {
            identification: u32::from(header.identification()),
            offset: usize::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
        };
        return fragment(protocol, ends, piece, rest, around);
    }
    let around = Around { identification: header.identification(), ..around };
    content(protocol, ends, rest, around)
}

#[inline]
fn ipv6<'a>(packet: View<'a>, around: Around) -> Outcome<'a> {
    let header = Ipv6HeaderSlice::from_slice(packet.bytes).map_err(|_| packet.short_or_malformed(40))?;
    let rest = packet.after(40)?;
    let rest = match usize::from(header.payload_length()) {
        // A jumbo payload (RFC 2675) or segmentation offload.
        0 => rest,
        length => rest.first(length),
    };
    let ends = Ends {
        source: Address(header.source()),
        destination: Address(header.destination()),
        family: Family::V6,
    };
    content(header.next_header().0, ends, rest, Around { identification: 0, ..around })
}

/// What an IP packet carries, from the end of its header on.
#[inline]
pub(super) fn content<'a>(protocol: u8, ends: Ends, view: View<'a>, around: Around) -> Outcome<'a> {
    match protocol {
        number::TCP => tcp::segment(ends, view, around),
        _ => other(protocol, ends, view, around),
    }
}

/// Whether a protocol number is that of a header that another one follows (RFC 8200 section 4). IPv4 knows one of them.
const fn is_extension(protocol: u8, family: Family) -> bool {
    match protocol {
        number::AUTHENTICATION => true,
        0 | 43 | 60 | 135 | 139 | 140 | number::FRAGMENT => matches!(family, Family::V6),
        _ => false,
    }
}

#[cold]
fn other<'a>(mut protocol: u8, ends: Ends, mut view: View<'a>, around: Around) -> Outcome<'a> {
    // Eight extension headers are more than any real packet has.
    for _ in 0..8 {
        if !is_extension(protocol, ends.family) {
            return carried(protocol, ends, view, around);
        }
        let next = view.byte(0)?;
        let length = match protocol {
            // RFC 4302: length in 4-byte units less two.
            number::AUTHENTICATION => (usize::from(view.byte(1)?) + 2) * 4,
            number::FRAGMENT => {
                let place = view.be16(2)?;
                // An atomic fragment (RFC 6946) is a whole packet. A quote holds one piece; of the first one what
                // follows is walked here, where it counts, for a quote may hold thousands of these headers.
                let is_first_of_quote = around.quoted && place & 0xfff8 == 0;
                if place & 0xfff9 != 0 && !is_first_of_quote {
                    let piece = Piece {
                        identification: view.be32(4)?,
                        offset: usize::from(place & 0xfff8),
                        more: place & 1 == 1,
                    };
                    return fragment(next, ends, piece, view.after(8)?, around);
                }
                8
            }
            // Hop-by-hop, routing, destination, mobility, HIP, shim6: length in 8-byte units beyond the first.
            _ => (usize::from(view.byte(1)?) + 1) * 8,
        };
        if length > view.length {
            return Err(Skip::Malformed);
        }
        protocol = next;
        view = view.after(length)?;
    }
    Err(Skip::TooDeep)
}

fn carried<'a>(protocol: u8, ends: Ends, view: View<'a>, around: Around) -> Outcome<'a> {
    match (protocol, ends.family) {
        (number::TCP, _) => tcp::segment(ends, view, around),
        (number::UDP, _) => udp::datagram(view, around),
        (number::GRE, _) => gre::packet(view, around),
        (number::IPV4, Family::V4) => within(Layer::IpInIp, 4, view, around),
        (number::IPV4, Family::V6) => within(Layer::FourInSix, 4, view, around),
        (number::IPV6, Family::V4) => within(Layer::SixInFour, 6, view, around),
        (number::IPV6, Family::V6) => within(Layer::SixInSix, 6, view, around),
        (number::MPLS, _) => link::mpls(view, around),
        (number::ICMP, Family::V4) | (number::ICMPV6, Family::V6) => icmp::message(ends.family, view, around),
        _ => Err(Skip::NotTcp),
    }
}

/// IP in IP.
fn within<'a>(layer: Layer, version: u8, view: View<'a>, mut around: Around) -> Outcome<'a> {
    if view.byte(0)? >> 4 != version {
        return Err(Skip::Malformed);
    }
    around.encapsulation.push(layer)?;
    ip(view, around)
}

struct Piece {
    identification: u32,
    offset: usize,
    more: bool,
}

#[cold]
fn fragment<'a>(protocol: u8, ends: Ends, piece: Piece, view: View<'a>, around: Around) -> Outcome<'a> {
    if around.quoted {
        // A quote holds one piece; only the first one tells whose it is.
        return if piece.offset == 0 { content(protocol, ends, view, around) } else { Err(Skip::NotTcp) };
    }
    Ok(Decoded::Fragment(Fragment {
        ends,
        protocol,
        identification: piece.identification,
        offset: piece.offset,
        more: piece.more,
        bytes: view.bytes,
        length: view.length,
        encapsulation: around.encapsulation,
    }))
}
