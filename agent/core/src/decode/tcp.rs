//! TCP segments.

use super::address::Address;
use super::encapsulation::Encapsulation;
use super::icmp;
use super::network::Ends;
use super::view::View;
use super::{Around, Decoded, Outcome};
use crate::flow::sequence::Sequence;
use etherparse::{TcpHeaderSlice, TcpOptionElement};

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

/// The view's length is that of header and payload by the IP header.
#[inline]
pub(super) fn segment<'a>(ends: Ends, view: View<'a>, around: Around) -> Outcome<'a> {
    if around.quoted {
        return icmp::quote(ends, view, around);
    }
    let header = TcpHeaderSlice::from_slice(view.bytes).map_err(|_| view.short_or_malformed(20))?;
    let header_length = header.slice().len();
    let payload = view.after(header_length)?;
    let mss = if header.syn() {
        header.options_iterator().find_map(|option| match option {
            Ok(TcpOptionElement::MaximumSegmentSize(size)) => Some(size),
            _ => None,
        })
    } else {
        None
    };
    Ok(Decoded::Segment(Segment {
        source: ends.source,
        destination: ends.destination,
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        sequence: Sequence(header.sequence_number()),
        acknowledgment: header.ack().then(|| Sequence(header.acknowledgment_number())),
        syn: header.syn(),
        fin: header.fin(),
        rst: header.rst(),
        payload: payload.bytes,
        payload_length: payload.length.max(payload.bytes.len()),
        mss,
        identification: around.identification,
        options: view.bytes.get(20..header_length).unwrap_or_default(),
        encapsulation: around.encapsulation,
    }))
}
