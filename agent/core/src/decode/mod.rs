//! From a captured frame to a TCP segment, to something else that is followed, or to a counted reason for passing the
//! frame by.
//!
//! Enters: link type, the captured bytes, the length on the wire. Leaves: a [`Decoded`] that borrows its payload from
//! the frame. No state, no allocation. Every way from a header to another of its kind counts: it adds a layer, or is one
//! of eight extension headers, or the one quote of a packet; so that no frame nests for ever. Encapsulations are followed to [`Encapsulation::MAX_DEPTH`], told by what a
//! header says of the next one, and UDP tunnels by port and a strict reading of their header. Lengths follow what the
//! headers say rather than the frame's end, since short Ethernet frames carry padding; a total length of 0 is a packet
//! that the sender's network card was to cut (segmentation offload) and reaches to the end of the frame. Checksums are
//! not looked at: offload leaves them wrong on the sending host.

mod address;
mod encapsulation;
mod gre;
mod icmp;
mod link;
mod network;
mod skip;
mod tcp;
mod udp;
mod view;

pub use address::Address;
pub use encapsulation::{Encapsulation, Layer};
pub use icmp::Quote;
pub use link::LinkType;
pub use network::{Family, Fragment};
pub use skip::Skip;
pub use tcp::Segment;

use view::View;

/// What a frame brought.
#[derive(Clone, Copy, Debug)]
pub enum Decoded<'a> {
    /// A TCP segment.
    Segment(Segment<'a>),
    /// A piece of a fragmented packet, to be put together with the others and decoded anew.
    Fragment(Fragment<'a>),
    /// A router says that a TCP segment was too large for it.
    TooBig(Quote),
}

type Outcome<'a> = Result<Decoded<'a>, Skip>;

/// What stands around the bytes that are being read.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    encapsulation: Encapsulation,
    /// The bytes are those of a packet that an ICMP message quotes; the quote may end anywhere.
    quoted: bool,
    /// Identification of the IPv4 header just before; 0 where there is none.
    identification: u16,
}

/// Decodes one frame. `wire_length` is the frame's length on the wire, at least `frame.len()`.
///
/// # Errors
///
/// The reason why the frame holds nothing that can be followed.
pub fn decode(link: LinkType, frame: &[u8], wire_length: usize) -> Result<Decoded<'_>, Skip> {
    link::frame(link, View::new(frame, wire_length))
}

/// Decodes a packet that was put together from its fragments. `like` is one of them; `payload` is what stood after the
/// IP header, as far as it was captured, and `wire_length` its length on the wire.
///
/// # Errors
///
/// As [`decode`].
pub(crate) fn resume<'a>(
    like: &Fragment<'_>,
    payload: &'a [u8],
    wire_length: usize,
) -> Result<Decoded<'a>, Skip> {
    let around = Around { encapsulation: like.encapsulation, ..Around::default() };
    network::content(like.protocol, like.ends, View::new(payload, wire_length), around)
}

#[cfg(test)]
mod tests;
