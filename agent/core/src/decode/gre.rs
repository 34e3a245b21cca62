//! GRE: version 0 (RFC 2784, RFC 2890) with IP, Ethernet, mirrored Ethernet and whatever else has an EtherType, and
//! version 1, which is PPTP's (RFC 2637), with PPP.

use super::encapsulation::Layer;
use super::link::{ether_type, ethernet, hdlc, is_bridged};
use super::skip::Skip;
use super::view::View;
use super::{Around, Outcome};

const CHECKSUM: u16 = 0x8000;
const ROUTING: u16 = 0x4000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
const ACKNOWLEDGMENT: u16 = 0x0080;
const VERSION: u16 = 0x0007;

const ERSPAN_I_AND_II: u16 = 0x88be;
const ERSPAN_III: u16 = 0x22eb;
const PPP: u16 = 0x880b;

pub(super) fn packet<'a>(view: View<'a>, around: Around) -> Outcome<'a> {
    let (flags, kind) = (view.be16(0)?, view.be16(2)?);
    match flags & VERSION {
        // Source routes (RFC 1701) are history.
        0 if flags & ROUTING == 0 => version_0(flags, kind, view, around),
        1 if kind == PPP && flags & KEY != 0 => version_1(flags, view, around),
        _ => Err(Skip::NotTcp),
    }
}

fn version_0<'a>(flags: u16, kind: u16, view: View<'a>, mut around: Around) -> Outcome<'a> {
    let mut at = 4;
    let mut field = |is_there: bool| {
        let place = at;
        at += if is_there { 4 } else { 0 };
        is_there.then_some(place)
    };
    field(flags & CHECKSUM != 0);
    let key = field(flags & KEY != 0);
    let sequence = field(flags & SEQUENCE != 0);
    let key = key.map(|place| view.be32(place)).transpose()?;
    let content = view.after(at)?;
    match (kind, key) {
        (ERSPAN_I_AND_II, _) if sequence.is_none() => mirrored(0, content, around),
        (ERSPAN_I_AND_II, _) => mirrored(content.be16(2)? & 0x03ff, content.after(8)?, around),
        (ERSPAN_III, _) => {
            // The last bit says whether a sub-header of eight bytes follows.
            let header = if content.be16(10)? & 1 == 1 { 20 } else { 12 };
            mirrored(content.be16(2)? & 0x03ff, content.after(header)?, around)
        }
        (kind, key) if is_bridged(kind) => {
            around.encapsulation.push(key.map_or(Layer::Gre, Layer::Nvgre))?;
            ethernet(content, around)
        }
        (kind, key) => {
            around.encapsulation.push(key.map_or(Layer::Gre, Layer::GreKey))?;
            ether_type(kind, content, around)
        }
    }
}

fn mirrored<'a>(session: u16, content: View<'a>, mut around: Around) -> Outcome<'a> {
    around.encapsulation.push(Layer::Erspan(session))?;
    ethernet(content, around)
}

/// The key is the payload's length and the call's number. A packet without a sequence number only acknowledges.
fn version_1<'a>(flags: u16, view: View<'a>, mut around: Around) -> Outcome<'a> {
    if flags & SEQUENCE == 0 {
        return Err(Skip::NotTcp);
    }
    let header = if flags & ACKNOWLEDGMENT == 0 { 12 } else { 16 };
    around.encapsulation.push(Layer::GreKey(u32::from(view.be16(6)?)))?;
    hdlc(view.after(header)?.first(usize::from(view.be16(4)?)), around)
}
