//! The name of a connection: two endpoints and what was around their packets.

use crate::decode::{Address, Encapsulation, Quote, Segment};
use crate::observation::Endpoint;
use std::collections::HashMap;

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

/// Number of what tells connections apart in an encapsulation ([`Encapsulation::identity`]); 0 is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PathId(pub(crate) u32);

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

/// The encapsulations seen so far, by what tells connections apart in them, each under a small number.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    numbers: HashMap<Encapsulation, PathId>,
    /// The packet before mostly came the same way.
    latest: Option<(Encapsulation, PathId)>,
}

impl Paths {
    /// Distinct encapsulations that get a number of their own; the table of VLAN ids of one site fits many times.
    const MAX: usize = 65_536;

    /// The number of an encapsulation; `None` where too many distinct ones have been seen.
    pub(crate) fn number(&mut self, encapsulation: &Encapsulation) -> Option<PathId> {
        if encapsulation.is_empty() {
            return Some(PathId::default());
        }
        if let Some((known, number)) = &self.latest
            && known == encapsulation
        {
            return Some(*number);
        }
        let number = self.number_of_identity(encapsulation.identity())?;
        self.latest = Some((*encapsulation, number));
        Some(number)
    }

    fn number_of_identity(&mut self, identity: Encapsulation) -> Option<PathId> {
        if identity.is_empty() {
            return Some(PathId::default());
        }
        if let Some(known) = self.numbers.get(&identity) {
            return Some(*known);
        }
        if self.numbers.len() >= Self::MAX {
            return None;
        }
        let number = PathId(u32::try_from(self.numbers.len() + 1).ok()?);
        self.numbers.insert(identity, number);
        Some(number)
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
}
