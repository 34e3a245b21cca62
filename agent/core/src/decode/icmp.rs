//! What ICMP says of packets that were too large for the path.
//!
//! "Fragmentation needed" (RFC 792, RFC 1191) and ICMPv6 "packet too big" (RFC 4443) quote the packet that did not
//! fit, often no more than eight bytes of it beyond its IP header. Where the packet was in a tunnel, a router below the
//! tunnel quotes the tunnel's headers: the quote is walked like any packet, to the TCP header if it reaches that far.

use super::address::Address;
use super::encapsulation::Encapsulation;
use super::network::{Ends, Family, ip};
use super::skip::Skip;
use super::view::View;
use super::{Around, Decoded, Outcome};
use crate::flow::sequence::Sequence;

/// A TCP segment that did not fit, as a router quoted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Who sent the segment, and so to whom the router complains.
    pub source: Address,
    /// To whom it was sent.
    pub destination: Address,
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// Sequence number of the segment.
    pub sequence: Sequence,
    /// What was around the message, and within it around the segment.
    pub encapsulation: Encapsulation,
}

/// An ICMP message; all but the two kinds are passed by.
pub(super) fn message<'a>(family: Family, view: View<'a>, mut around: Around) -> Outcome<'a> {
    let (kind, code) = (view.byte(0)?, view.byte(1)?);
    let is_too_big = match family {
        Family::V4 => (kind, code) == (3, 4),
        Family::V6 => kind == 2,
    };
    if !is_too_big || around.quoted {
        return Err(Skip::NotTcp);
    }
    around.quoted = true;
    ip(view.after(8)?, around)
}

/// The first eight bytes of a quoted TCP header.
#[cold]
pub(super) fn quote<'a>(ends: Ends, view: View<'a>, around: Around) -> Outcome<'a> {
    Ok(Decoded::TooBig(Quote {
        source: ends.source,
        destination: ends.destination,
        source_port: view.be16(0)?,
        destination_port: view.be16(2)?,
        sequence: Sequence(view.be32(4)?),
        encapsulation: around.encapsulation,
    }))
}
