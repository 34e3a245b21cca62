//! Sessions and wires that the tests of this folder change in one place.

use crate::observe::observe;
use pqscope_agent_core::observation::Observation;
use pqscope_lab::capture::{Endpoints, Flags, Packet, Segment, Session, Wire};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use std::time::Duration;

/// The client's port of [`Wire::default`].
pub(crate) const PORT: u16 = 40_000;

pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) fn session(scenario: Scenario) -> Session {
    Session::of(scenario, "service.example").unwrap()
}

/// A wire of its own client port, `after` the default start.
pub(crate) fn wire(client_port: u16, after: Duration) -> Wire {
    let endpoints = Endpoints::v4(client_port);
    Wire { endpoints, start: Wire::default().start + after, ..Wire::default() }
}

pub(crate) fn packets(wire: &Wire, session: &Session) -> Vec<Packet> {
    wire.packets(&wire.segments(session))
}

/// A connection that shows that time went by.
pub(crate) fn clock(wire: &Wire, after: Duration) -> Vec<Packet> {
    let endpoints = match wire.endpoints {
        Endpoints::V4 { .. } => Endpoints::v4(50_000),
        Endpoints::V6 { .. } => Endpoints::v6(50_000),
    };
    let later = Wire { endpoints, start: wire.start + after, ..wire.clone() };
    packets(&later, &session(Scenario::X25519))
}

/// The attempt of a wire's client port among those that packets show.
pub(crate) fn seen_in(wire: &Wire, packets: &[Packet]) -> Observation {
    let port = wire.endpoints.of(Side::Client).port();
    let seen = observe(wire.link, packets).into_iter().filter(|seen| seen.client.port == port);
    let [seen] = <[Observation; 1]>::try_from(seen.collect::<Vec<_>>()).unwrap();
    seen
}

/// The one attempt that segments show.
pub(crate) fn seen(wire: &Wire, segments: &[Segment]) -> Observation {
    seen_in(wire, &wire.packets(segments))
}

/// The same after twenty seconds without another packet.
pub(crate) fn seen_after_silence(wire: &Wire, segments: &[Segment]) -> Observation {
    let mut all = wire.packets(segments);
    all.extend(clock(wire, Duration::from_secs(20)));
    seen_in(wire, &all)
}

/// Whether a segment takes sequence numbers.
pub(crate) fn takes_numbers(segment: &Segment) -> bool {
    segment.flags.syn || segment.flags.fin || !segment.payload.is_empty()
}

/// The places of a side's data segments.
pub(crate) fn data(segments: &[Segment], side: Side) -> Vec<usize> {
    let is_data = |segment: &Segment| segment.sender == side && !segment.payload.is_empty();
    segments.iter().enumerate().filter(|(_, segment)| is_data(segment)).map(|(place, _)| place).collect()
}

/// A bare segment of a side with the numbers that it would have at the end of `segments`, `after` the last of them.
pub(crate) fn next(segments: &[Segment], sender: Side, after: Duration, flags: Flags) -> Segment {
    let last = segments.iter().rfind(|segment| segment.sender == sender).unwrap();
    let taken = last.payload.len() + usize::from(last.flags.syn) + usize::from(last.flags.fin);
    Segment {
        at: segments.last().unwrap().at + after,
        sequence: last.sequence.wrapping_add(u32::try_from(taken).unwrap()),
        flags,
        announced_segment_bytes: None,
        payload: Vec::new(),
        ..last.clone()
    }
}

pub(crate) const FIN: Flags = Flags { syn: false, ack: true, push: false, fin: true, reset: false };
pub(crate) const RESET: Flags = Flags { syn: false, ack: true, push: false, fin: false, reset: true };
pub(crate) const ACK: Flags = Flags { syn: false, ack: true, push: false, fin: false, reset: false };
