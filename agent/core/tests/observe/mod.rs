//! Packets of the lab through the public interface, for the tests in this folder.

use pqscope_agent_core::decode::LinkType;
use pqscope_agent_core::observation::Observation;
use pqscope_agent_core::observer::{Health, InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::time::Timestamp;
use pqscope_lab::capture::{self, Link};
use std::time::Duration;

/// A moment of the lab's clock.
pub(crate) fn timestamp(at: Duration) -> Timestamp {
    Timestamp::from_nanos(at.as_nanos().try_into().unwrap())
}

/// Hands packets to an observer.
pub(crate) fn feed(observer: &mut Observer, link: Link, packets: &[capture::Packet]) {
    for packet in packets {
        observer.packet(&Packet {
            link: LinkType::from_number(link.number()).unwrap(),
            at: timestamp(packet.at),
            interface: InterfaceId::default(),
            bytes: &packet.bytes,
            wire_length: packet.original_length,
        });
    }
}

/// What a capture shows, and what the observer says of itself.
pub(crate) fn observe_with_health(link: Link, packets: &[capture::Packet]) -> (Vec<Observation>, Health) {
    let mut observer = Observer::new(Settings::default());
    feed(&mut observer, link, packets);
    observer.finish();
    let seen = std::iter::from_fn(|| observer.next_observation()).map(|seen| *seen).collect();
    (seen, observer.health())
}

/// What a capture shows.
pub(crate) fn observe(link: Link, packets: &[capture::Packet]) -> Vec<Observation> {
    observe_with_health(link, packets).0
}
