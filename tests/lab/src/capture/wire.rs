//! From flights to TCP segments with times: what a capture at the client's end of the wire would see.

use super::frame::{self, Link, Packet};
use super::session::{Ending, Session};
use crate::plan::Side;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

/// Addresses and ports of the two ends; both of the same family by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// IPv4.
    V4 {
        /// The end that opens the connection.
        client: SocketAddrV4,
        /// The end that accepts it.
        server: SocketAddrV4,
    },
    /// IPv6.
    V6 {
        /// The end that opens the connection.
        client: SocketAddrV6,
        /// The end that accepts it.
        server: SocketAddrV6,
    },
}

impl Endpoints {
    /// Documentation addresses (RFC 5737) with this client port, towards port 443.
    pub fn v4(client_port: u16) -> Self {
        Self::V4 {
            client: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 10), client_port),
            server: SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 20), 443),
        }
    }

    /// Documentation addresses (RFC 3849) with this client port, towards port 443.
    pub fn v6(client_port: u16) -> Self {
        let host = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        Self::V6 {
            client: SocketAddrV6::new(host(0x10), client_port, 0, 0),
            server: SocketAddrV6::new(host(0x20), 443, 0, 0),
        }
    }

    /// Address and port of one end.
    pub fn of(&self, side: Side) -> SocketAddr {
        match (self, side) {
            (Self::V4 { client, .. }, Side::Client) => SocketAddr::V4(*client),
            (Self::V4 { server, .. }, Side::Server) => SocketAddr::V4(*server),
            (Self::V6 { client, .. }, Side::Client) => SocketAddr::V6(*client),
            (Self::V6 { server, .. }, Side::Server) => SocketAddr::V6(*server),
        }
    }
}

/// TCP control bits that the lab uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Opens the connection.
    pub syn: bool,
    /// The acknowledgement number counts.
    pub ack: bool,
    /// The receiver should hand the bytes on.
    pub push: bool,
    /// Nothing more will be sent.
    pub fin: bool,
    /// The connection is broken off.
    pub reset: bool,
}

/// One TCP segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Capture time since 1970.
    pub at: Duration,
    /// Who sent it.
    pub sender: Side,
    /// Sequence number of its first byte.
    pub sequence: u32,
    /// The next byte that the sender expects from the peer.
    pub acknowledgement: u32,
    /// Control bits.
    pub flags: Flags,
    /// Maximum segment size option, in the segments that open a connection.
    pub announced_segment_bytes: Option<u16>,
    /// Content.
    pub payload: Vec<u8>,
}

/// How a session is carried.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    /// The two ends.
    pub endpoints: Endpoints,
    /// Link layer of the capture.
    pub link: Link,
    /// VLAN identifiers, outermost first; only Ethernet can carry them.
    pub vlans: Vec<u16>,
    /// Most content bytes of a segment, as both ends announce it.
    pub segment_bytes: u16,
    /// Sequence number of the client's SYN.
    pub client_first_sequence: u32,
    /// Sequence number of the server's SYN.
    pub server_first_sequence: u32,
    /// Capture time of the first packet since 1970.
    pub start: Duration,
    /// Time from the client's question to the server's answer.
    pub round_trip: Duration,
    /// Captured bytes of each packet at most; `None` for all.
    pub snap_length: Option<usize>,
    /// Whether every segment carries TCP timestamps (RFC 7323), and those that open the connection the options that
    /// usually come with them.
    pub tcp_options: bool,
}

impl Default for Wire {
    /// IPv4 on Ethernet, segments of 1,460 bytes, 20 ms round trip, 1 January 2026.
    fn default() -> Self {
        Self {
            endpoints: Endpoints::v4(40_000),
            link: Link::Ethernet,
            vlans: Vec::new(),
            segment_bytes: 1460,
            client_first_sequence: 1_000_000,
            server_first_sequence: 2_000_000,
            start: Duration::from_secs(1_767_225_600),
            round_trip: Duration::from_millis(20),
            snap_length: None,
            tcp_options: false,
        }
    }
}

/// Time between two segments that leave one after the other.
const SPACING: Duration = Duration::from_micros(12);
/// Time that the client thinks before it answers.
const THINKING: Duration = Duration::from_micros(300);

impl Wire {
    /// The segments of a session: the opening, every flight cut to the segment size and acknowledged, the ending.
    pub fn segments(&self, session: &Session) -> Vec<Segment> {
        let mut writer = Writer::open(self);
        for flight in &session.flights {
            writer.flight(flight.sender, &flight.bytes);
        }
        match session.ending {
            Ending::Open => (),
            Ending::Closed(first) => writer.close(first),
            Ending::Reset(by) => writer.reset(by),
        }
        writer.segments
    }

    /// The same segments as packets of the capture, with correct checksums.
    pub fn packets(&self, segments: &[Segment]) -> Vec<Packet> {
        segments
            .iter()
            .zip(0_u16..=u16::MAX)
            .map(|(segment, index)| frame::packet(self, segment, index))
            .collect()
    }
}

struct Writer<'a> {
    wire: &'a Wire,
    segments: Vec<Segment>,
    now: Duration,
    /// Next sequence numbers of client and server.
    next: [u32; 2],
    last: Side,
}

fn slot(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

impl<'a> Writer<'a> {
    fn open(wire: &'a Wire) -> Self {
        let mut writer = Self {
            wire,
            segments: Vec::new(),
            now: wire.start,
            next: [wire.client_first_sequence, wire.server_first_sequence],
            last: Side::Client,
        };
        let announced = Some(wire.segment_bytes);
        let syn = Flags { syn: true, ..Flags::default() };
        writer.push(Side::Client, syn, announced, &[]);
        writer.now += wire.round_trip;
        writer.push(Side::Server, Flags { ack: true, ..syn }, announced, &[]);
        writer.now += SPACING;
        writer.push(Side::Client, Flags { ack: true, ..Flags::default() }, None, &[]);
        writer.now += THINKING;
        writer
    }

    fn flight(&mut self, sender: Side, bytes: &[u8]) {
        if sender != self.last {
            self.now += match sender {
                Side::Server => self.wire.round_trip,
                Side::Client => THINKING,
            };
        }
        self.last = sender;
        let pieces = bytes.chunks(usize::from(self.wire.segment_bytes.max(1)));
        let final_piece = pieces.len().saturating_sub(1);
        for (index, piece) in pieces.enumerate() {
            let flags = Flags { ack: true, push: index == final_piece, ..Flags::default() };
            self.push(sender, flags, None, piece);
            self.now += SPACING;
        }
        self.push(sender.peer(), Flags { ack: true, ..Flags::default() }, None, &[]);
        self.now += SPACING;
    }

    fn close(&mut self, first: Side) {
        let fin = Flags { ack: true, fin: true, ..Flags::default() };
        self.push(first, fin, None, &[]);
        self.now += self.wire.round_trip;
        self.push(first.peer(), fin, None, &[]);
        self.now += SPACING;
        self.push(first, Flags { ack: true, ..Flags::default() }, None, &[]);
    }

    fn reset(&mut self, by: Side) {
        self.push(by, Flags { ack: true, reset: true, ..Flags::default() }, None, &[]);
    }

    fn push(&mut self, sender: Side, flags: Flags, announced_segment_bytes: Option<u16>, payload: &[u8]) {
        let [client, server] = self.next;
        let (sequence, peer) = match sender {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        let payload_length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let consumed = payload_length + u32::from(flags.syn) + u32::from(flags.fin);
        if let Some(next) = self.next.get_mut(slot(sender)) {
            *next = next.wrapping_add(consumed);
        }
        self.segments.push(Segment {
            at: self.now,
            sender,
            sequence,
            acknowledgement: if flags.ack { peer } else { 0 },
            flags,
            announced_segment_bytes,
            payload: payload.to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Flight;

    fn session() -> Session {
        Session {
            flights: vec![
                Flight { sender: Side::Client, bytes: vec![1; 2000] },
                Flight { sender: Side::Server, bytes: vec![2; 10] },
            ],
            ending: Ending::Closed(Side::Client),
            server_name: "checkout.example".to_owned(),
            agreement: None,
            alert: None,
            key_log: String::new(),
            certificate_lengths: Vec::new(),
        }
    }

    #[test]
    fn sequence_numbers_wrap_and_acknowledge() {
        let wire = Wire { client_first_sequence: u32::MAX - 1000, ..Wire::default() };
        let segments = wire.segments(&session());
        let data: Vec<_> = segments.iter().filter(|segment| !segment.payload.is_empty()).collect();
        assert_eq!(data[0].sequence, u32::MAX - 999);
        assert_eq!(data[1].sequence, 460, "the second piece lies behind the wrap");
        assert_eq!(data[1].payload.len(), 540);
        assert_eq!(data[2].acknowledgement, 1000, "the server acknowledges all of it");
        assert!(segments.windows(2).all(|pair| pair[0].at <= pair[1].at), "time never goes back");
    }

    #[test]
    fn the_opening_takes_one_round_trip() {
        let segments = Wire::default().segments(&session());
        assert_eq!(segments[1].at - segments[0].at, Duration::from_millis(20));
        assert!(segments[0].flags.syn && !segments[0].flags.ack);
        assert!(segments[1].flags.syn && segments[1].flags.ack);
        assert_eq!(segments.iter().filter(|segment| segment.flags.fin).count(), 2);
    }
}
