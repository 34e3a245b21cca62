//! Link layers, and what stands between them and IP: VLAN tags, MPLS labels, PPPoE and PPP.

use super::encapsulation::Layer;
use super::network::{ip, ip_alone, ip_length};
use super::skip::Skip;
use super::view::View;
use super::{Around, Outcome};

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
    /// LINKTYPE_PPP, 9, and LINKTYPE_PPP_HDLC, 50: PPP, with or without the bytes of HDLC before it.
    Ppp,
}

impl LinkType {
    /// The link types that [`LinkType::from_number`] knows, for messages.
    pub const KNOWN: &'static str = "Ethernet (1), NULL (0), LOOP (108), RAW (101), IPV4 (228), IPV6 (229), LINUX_SLL (113), LINUX_SLL2 (276), PPP (9), PPP_HDLC (50)";

    /// The link type of a number in a capture file's header, `None` where it cannot be decoded.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Ethernet,
            0 | 108 => Self::Loopback,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            113 => Self::LinuxSll,
            276 => Self::LinuxSll2,
            9 | 50 => Self::Ppp,
            _ => return None,
        })
    }
}

/// A captured frame. What leads straight to IP stays on one path without calls.
pub(super) fn frame(link: LinkType, view: View<'_>) -> Outcome<'_> {
    let alone = Around::default();
    let (kind, rest) = match link {
        LinkType::Ethernet => (view.be16(12)?, view.after(14)?),
        LinkType::LinuxSll => (view.be16(14)?, view.after(16)?),
        LinkType::LinuxSll2 => (view.be16(0)?, view.after(20)?),
        LinkType::Loopback => (number::IPV4, view.after(4)?),
        LinkType::RawIp => (number::IPV4, view),
        LinkType::Ppp => return hdlc(view, alone),
    };
    match kind {
        number::IPV4 | number::IPV6 => ip_alone(rest, alone),
        _ => between(kind, rest, alone),
    }
}

/// An Ethernet frame, from its destination address on.
pub(super) fn ethernet<'a>(view: View<'a>, around: Around) -> Outcome<'a> {
    ether_type(view.be16(12)?, view.after(14)?, around)
}

/// The numbers of the EtherType registry that are followed.
mod number {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const SERVICE_VLAN: u16 = 0x88a8;
    /// What 802.1ad was before it had a number.
    pub(super) const OLD_SERVICE_VLAN: u16 = 0x9100;
    pub(super) const MPLS: u16 = 0x8847;
    pub(super) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(super) const PPPOE_SESSION: u16 = 0x8864;
    pub(super) const ETHERNET: u16 = 0x6558;
    pub(super) const PPP: u16 = 0x880b;
}

/// What an EtherType announces.
pub(super) fn ether_type<'a>(kind: u16, view: View<'a>, around: Around) -> Outcome<'a> {
    match kind {
        number::IPV4 | number::IPV6 => ip(view, around),
        _ => between(kind, view, around),
    }
}

/// What an EtherType other than IP's announces.
#[cold]
fn between<'a>(kind: u16, view: View<'a>, mut around: Around) -> Outcome<'a> {
    match kind {
        number::VLAN | number::SERVICE_VLAN | number::OLD_SERVICE_VLAN => {
            around.encapsulation.push(Layer::Vlan(view.be16(0)? & 0x0fff))?;
            ether_type(view.be16(2)?, view.after(4)?, around)
        }
        number::MPLS | number::MPLS_UPSTREAM => mpls(view, around),
        number::PPPOE_SESSION => pppoe(view, around),
        number::PPP => hdlc(view, around),
        _ => Err(Skip::NotIp),
    }
}

/// An MPLS label stack (RFC 3032). Nothing says what stands below it; its first bits tell (RFC 4928).
pub(super) fn mpls<'a>(mut view: View<'a>, mut around: Around) -> Outcome<'a> {
    loop {
        let entry = view.be32(0)?;
        around.encapsulation.push(Layer::Mpls(entry >> 12))?;
        view = view.after(4)?;
        if entry & 0x100 != 0 {
            break;
        }
    }
    if is_ip(view) {
        // First of all, for there is little chance in a length that fits; where Ethernet has its type, IP has an address.
        return ip(view, around);
    }
    if is_ethernet(view) {
        // Before the others: an address may begin like any of them.
        return ethernet(view, around);
    }
    match view.byte(0)? >> 4 {
        4 | 6 => ip(view, around),
        // A pseudowire's control word (RFC 4385), and Ethernet after it.
        0 if view.after(4).is_ok_and(is_ethernet) => ethernet(view.after(4)?, around),
        _ => Err(Skip::NotIp),
    }
}

/// Whether bytes below labels are an IP packet whose length fits. A packet in a short frame is followed by padding, up to
/// the 46 bytes of a frame's least content; a frame with a TCP segment in it is never that short.
fn is_ip(view: View<'_>) -> bool {
    ip_length(view).is_some_and(|length| length == view.length || (length < view.length && view.length <= 46))
}

/// Whether bytes read as an Ethernet frame with something in it that is followed.
pub(super) fn is_ethernet(view: View<'_>) -> bool {
    let (Ok(kind), Ok(first)) = (view.be16(12), view.byte(14)) else { return false };
    match kind {
        number::IPV4 => first >> 4 == 4 && first & 0x0f >= 5,
        number::IPV6 => first >> 4 == 6,
        number::VLAN | number::SERVICE_VLAN => {
            matches!(view.be16(16), Ok(number::IPV4 | number::IPV6 | number::VLAN))
        }
        number::MPLS | number::PPPOE_SESSION => true,
        _ => false,
    }
}

/// A packet of a PPPoE session (RFC 2516 section 4): version and type 1, code 0.
fn pppoe<'a>(view: View<'a>, mut around: Around) -> Outcome<'a> {
    if view.be16(0)? != 0x1100 {
        return Err(Skip::NotIp);
    }
    around.encapsulation.push(Layer::Pppoe(view.be16(2)?))?;
    let length = usize::from(view.be16(4)?);
    ppp(view.after(6)?.first(length), around)
}

/// PPP with or without HDLC's address and control bytes (RFC 1662), or Cisco's framing of the same kind, which names an
/// EtherType (RFC 1547 section 4.3.1).
pub(super) fn hdlc<'a>(view: View<'a>, around: Around) -> Outcome<'a> {
    match view.be16(0)? {
        0xff03 => ppp(view.after(2)?, around),
        0x0f00 | 0x8f00 => match view.be16(2)? {
            // Framing within framing is no layer that counts, and a packet has room for thousands of it.
            number::PPP => Err(Skip::NotIp),
            kind => ether_type(kind, view.after(4)?, around),
        },
        _ => ppp(view, around),
    }
}

/// A PPP packet from its protocol number on. An odd first byte is a number of one byte (RFC 1661 section 6.5).
fn ppp<'a>(view: View<'a>, around: Around) -> Outcome<'a> {
    let first = view.byte(0)?;
    let (protocol, content) =
        if first & 1 == 1 { (u16::from(first), view.after(1)?) } else { (view.be16(0)?, view.after(2)?) };
    match protocol {
        0x0021 | 0x0057 => ip(content, around),
        0x0281 | 0x0283 => mpls(content, around),
        _ => Err(Skip::NotIp),
    }
}

/// Whether an EtherType is that of a whole Ethernet frame in another protocol.
pub(super) const fn is_bridged(kind: u16) -> bool {
    kind == number::ETHERNET
}
