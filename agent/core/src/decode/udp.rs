//! Tunnels in UDP: VXLAN, Geneve, GTP-U and Teredo.
//!
//! A port alone proves nothing, since a client's port may be any: each header is read strictly, so that a DNS or QUIC
//! packet to such a port passes for none. VXLAN and Geneve are set up on other ports too; there the frame within must
//! read as Ethernet with an IP packet whose length fits, which leaves nothing to chance. What is no tunnel is passed by.

use super::encapsulation::Layer;
use super::link::{ether_type, ethernet, is_bridged, is_ethernet};
use super::network::{ip, ip_length};
use super::skip::Skip;
use super::view::View;
use super::{Around, Outcome};

/// VXLAN's port (RFC 7348), and the one that Linux took before there was one.
const VXLAN: [u16; 2] = [4789, 8472];
const GENEVE: u16 = 6081;
const GTP_USER: u16 = 2152;
const TEREDO: u16 = 3544;

pub(super) fn datagram<'a>(view: View<'a>, around: Around) -> Outcome<'a> {
    let (source, destination) = (view.be16(0)?, view.be16(2)?);
    // 0 is a jumbogram (RFC 2675), or one that the sender's network card was to cut.
    let content = match usize::from(view.be16(4)?) {
        0 => view.after(8)?,
        length => view.after(8)?.first(length.checked_sub(8).ok_or(Skip::Malformed)?),
    };
    if content.length < 8 {
        // Shorter than the header of any of them.
        return Err(Skip::NotTcp);
    }
    match destination {
        port if VXLAN.contains(&port) => vxlan(content, around),
        GENEVE => geneve(content, around),
        GTP_USER => gtp_user(content, around),
        TEREDO => teredo(content, around),
        _ if source == TEREDO => teredo(content, around),
        _ => elsewhere(content, around),
    }
}

/// VXLAN or Geneve on a port of the site's own.
fn elsewhere<'a>(content: View<'a>, around: Around) -> Outcome<'a> {
    let head = content.be32(0)?;
    let is_geneve = head & 0xc0bf_ffff == 0x0000_6558;
    if head != 0x0800_0000 && !is_geneve {
        return Err(Skip::NotTcp);
    }
    let options = if is_geneve { usize::from((content.byte(0)? & 0x3f) * 4) } else { 0 };
    match content.after(8 + options) {
        Ok(frame) if is_ethernet(frame) && frame.after(14).is_ok_and(fits) => {
            if is_geneve {
                geneve(content, around)
            } else {
                vxlan(content, around)
            }
        }
        _ => Err(Skip::NotTcp),
    }
}

/// Whether bytes begin with the header of an IP packet that ends where they do.
fn fits(packet: View<'_>) -> bool {
    // A short Ethernet frame is padded to 46 bytes of content.
    ip_length(packet).is_some_and(|length| length == packet.length || (length < 46 && packet.length == 46))
}

/// RFC 7348 section 5: of the first byte only the bit that says that there is a network identifier. Group policy uses
/// one more, and two bytes after it.
fn vxlan<'a>(view: View<'a>, mut around: Around) -> Outcome<'a> {
    let (flags, network) = (view.be32(0)?, view.be32(4)?);
    let is_plain = flags == 0x0800_0000;
    let has_group = flags & 0xffb7_0000 == 0x8800_0000;
    if !(is_plain || has_group) || network & 0xff != 0 {
        return Err(Skip::NotTcp);
    }
    around.encapsulation.push(Layer::Vxlan(network >> 8))?;
    ethernet(view.after(8)?, around)
}

/// RFC 8926 section 3.4: version 0, no control packet, reserved bits 0, and content that is Ethernet or IP.
fn geneve<'a>(view: View<'a>, mut around: Around) -> Outcome<'a> {
    let (head, kind, network) = (view.be16(0)?, view.be16(2)?, view.be32(4)?);
    // Of the second byte only "critical options" may be set.
    if head & 0xc0bf != 0 || network & 0xff != 0 {
        return Err(Skip::NotTcp);
    }
    let options = usize::from((head >> 8) & 0x3f) * 4;
    if !(is_bridged(kind) || matches!(kind, 0x0800 | 0x86dd)) {
        return Err(Skip::NotTcp);
    }
    around.encapsulation.push(Layer::Geneve(network >> 8))?;
    let content = view.after(8 + options)?;
    if is_bridged(kind) { ethernet(content, around) } else { ether_type(kind, content, around) }
}

/// 3GPP TS 29.281 section 5: version 1, a packet of a user (type 255), and a length that is the datagram's.
fn gtp_user<'a>(view: View<'a>, mut around: Around) -> Outcome<'a> {
    let (flags, kind) = (view.byte(0)?, view.byte(1)?);
    let length = usize::from(view.be16(2)?);
    if flags & 0xf8 != 0x30 || kind != 255 || length + 8 != view.length {
        return Err(Skip::NotTcp);
    }
    let endpoint = view.be32(4)?;
    let mut content = view.after(8)?;
    if flags & 0x07 != 0 {
        // Sequence number, N-PDU number, and the type of the first extension header.
        let mut next = if flags & 0x04 != 0 { content.byte(3)? } else { 0 };
        content = content.after(4)?;
        // Each takes at least four bytes.
        while next != 0 {
            let length = usize::from(content.byte(0)?) * 4;
            next = content.byte(length.checked_sub(1).ok_or(Skip::Malformed)?)?;
            content = content.after(length)?;
        }
    }
    if !matches!(content.byte(0)? >> 4, 4 | 6) {
        return Err(Skip::NotIp);
    }
    around.encapsulation.push(Layer::Gtpu(endpoint))?;
    ip(content, around)
}

/// RFC 4380 section 5.1.1: IPv6, after an authentication or an origin indication or both. One end or the other has a
/// Teredo address, 2001::/32.
fn teredo<'a>(mut view: View<'a>, mut around: Around) -> Outcome<'a> {
    if view.be16(0)? == 0x0001 {
        let lengths = usize::from(view.byte(2)?) + usize::from(view.byte(3)?);
        view = view.after(13 + lengths)?;
    }
    if view.be16(0)? == 0 {
        view = view.after(8)?;
    }
    let is_teredo =
        view.byte(0)? >> 4 == 6 && (view.be32(8)? == 0x2001_0000 || view.be32(24)? == 0x2001_0000);
    if !is_teredo {
        return Err(Skip::NotTcp);
    }
    around.encapsulation.push(Layer::Teredo)?;
    ip(view, around)
}
