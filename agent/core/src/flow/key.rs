//! The name of a connection: two endpoints and what was around their packets.

use crate::decode::{Address, Encapsulation, Quote, Segment};
use crate::observation::Endpoint;

/// Which end of a connection: the endpoints of a key are sorted, and `Low` is the smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Low,
    High,
}

impl End {
    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// One value for each end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PerEnd<T> {
    low: T,
    high: T,
}

#[cfg(test)]
impl<T: Copy> PerEnd<T> {
    /// The same value for both.
    pub(crate) const fn of_both(value: T) -> Self {
        Self { low: value, high: value }
    }
}

impl<T> PerEnd<T> {
    pub(crate) const fn of(&self, end: End) -> &T {
        match end {
            End::Low => &self.low,
            End::High => &self.high,
        }
    }

    pub(crate) const fn of_mut(&mut self, end: End) -> &mut T {
        match end {
            End::Low => &mut self.low,
            End::High => &mut self.high,
        }
    }
}

/// What tells connections apart in an encapsulation ([`Encapsulation::identity`]); 0 is nothing.
///
/// There is no table of those seen: tunnels that somebody makes up would fill it, and shut out the real ones. Two
/// networks with the same number would join only connections with the same endpoints. Whoever looks for such a pair, since
/// the hash has no key, could as well send into the other network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PathId(pub(crate) u64);

impl PathId {
    pub(crate) fn of(encapsulation: &Encapsulation) -> Self {
        Self(encapsulation.identity())
    }
}

/// Both endpoints of a connection in a fixed order, so that its two directions share one key. The same endpoints
/// inside two networks (VLANs, VXLAN segments and the like) are two connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FlowKey {
    low: Address,
    high: Address,
    low_port: u16,
    high_port: u16,
    path: PathId,
}

impl FlowKey {
    /// The key of a segment's connection, and the end that sent it.
    pub(crate) fn of(segment: &Segment<'_>, path: PathId) -> (Self, End) {
        let source = (segment.source, segment.source_port);
        let destination = (segment.destination, segment.destination_port);
        Self::between(source, destination, path)
    }

    /// The key of the connection that a quoted segment belongs to, and the end that sent the segment.
    pub(crate) fn quoted(quote: &Quote, path: PathId) -> (Self, End) {
        let source = (quote.source, quote.source_port);
        let destination = (quote.destination, quote.destination_port);
        Self::between(source, destination, path)
    }

    fn between(source: (Address, u16), destination: (Address, u16), path: PathId) -> (Self, End) {
        let (from, low, high) = if source <= destination {
            (End::Low, source, destination)
        } else {
            (End::High, destination, source)
        };
        (Self { low: low.0, high: high.0, low_port: low.1, high_port: high.1, path }, from)
    }

    pub(crate) fn endpoint(&self, end: End) -> Endpoint {
        let (address, port) = match end {
            End::Low => (self.low, self.low_port),
            End::High => (self.high, self.high_port),
        };
        Endpoint { address: address.into(), port }
    }

    pub(crate) const fn path(&self) -> PathId {
        self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::sequence::Sequence;
    use std::net::IpAddr;

    fn segment(
        source: [u8; 4],
        source_port: u16,
        destination: [u8; 4],
        destination_port: u16,
    ) -> Segment<'static> {
        Segment {
            source: IpAddr::from(source).into(),
            destination: IpAddr::from(destination).into(),
            source_port,
            destination_port,
            sequence: Sequence(0),
            acknowledgment: None,
            syn: false,
            fin: false,
            rst: false,
            payload: &[],
            payload_length: 0,
            mss: None,
            identification: 0,
            options: &[],
            encapsulation: Encapsulation::default(),
        }
    }

    #[test]
    fn both_directions_share_a_key() {
        let (there, from) = FlowKey::of(&segment([10, 0, 0, 1], 5000, [10, 0, 0, 2], 443), PathId(0));
        let (back, to) = FlowKey::of(&segment([10, 0, 0, 2], 443, [10, 0, 0, 1], 5000), PathId(0));
        assert_eq!(there, back);
        assert_eq!((from, to), (End::Low, End::High));
        assert_eq!(there.endpoint(End::High).port, 443);
    }

    #[test]
    fn a_host_that_talks_to_itself_has_two_ends() {
        let (_, from) = FlowKey::of(&segment([127, 0, 0, 1], 443, [127, 0, 0, 1], 50_000), PathId(0));
        let (_, to) = FlowKey::of(&segment([127, 0, 0, 1], 50_000, [127, 0, 0, 1], 443), PathId(0));
        assert_eq!((from, to), (End::Low, End::High));
    }

    /// A SYN in VXLAN.
    fn in_network(network: u32) -> Vec<u8> {
        let v4 = |protocol: u8, content: &[u8]| {
            let total = u8::try_from(20 + content.len()).unwrap();
            let head = [0x45, 0, 0, total, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            [&head[..], content].concat()
        };
        let syn = v4(6, &[0x9c, 0x40, 1, 0xbb, 0, 0, 0, 7, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
        let [_, high, middle, low] = network.to_be_bytes();
        let udp = [0x9c, 0x40, 0x12, 0xb5, 0, 70, 0, 0, 8, 0, 0, 0, high, middle, low, 0];
        v4(17, &[&udp[..], &[2; 12], &[8, 0], &syn].concat())
    }

    #[test]
    fn a_flood_of_networks_that_are_made_up_shuts_out_none() {
        use crate::observer::{InterfaceId, Observer, Packet, Settings};
        let mut observer = Observer::new(Settings::default());
        for number in 0..70_000 {
            let bytes = in_network(number);
            observer.packet(&Packet {
                link: crate::decode::LinkType::RawIp,
                at: crate::time::Timestamp::from_nanos(1_000_000_000),
                interface: InterfaceId::default(),
                bytes: &bytes,
                wire_length: bytes.len(),
            });
        }
        assert_eq!((observer.health().used, observer.health().flows), (70_000, 70_000));
    }
}
