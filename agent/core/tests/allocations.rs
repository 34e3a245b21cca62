//! The steady state of a busy wire: packets of connections that are settled cost no memory, and no allocation either.

#![expect(clippy::unwrap_used, reason = "a test stops at whatever it does not expect")]

use allocation_counter::measure;
use pqscope_agent_core::decode::LinkType;
use pqscope_agent_core::observer::{InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::time::Timestamp;
use pqscope_lab::capture::{self, Endpoints, Flags, Session, Wire};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use std::time::Duration;

const CONNECTIONS: u16 = 50;

fn feed(observer: &mut Observer, packet: &capture::Packet) {
    observer.packet(&Packet {
        link: LinkType::Ethernet,
        at: Timestamp::from_nanos(u64::try_from(packet.at.as_nanos()).unwrap()),
        interface: InterfaceId::default(),
        bytes: &packet.bytes,
        wire_length: packet.original_length,
    });
}

fn wire(number: u16) -> Wire {
    Wire { endpoints: Endpoints::v4(40_000 + number), ..Wire::default() }
}

/// An observer that has seen this conversation, up to its close, on every connection.
fn settled(session: &Session) -> Observer {
    let mut observer = Observer::new(Settings::default());
    for number in 0..CONNECTIONS {
        let wire = wire(number);
        let mut packets = wire.packets(&wire.segments(session));
        // The expected order of a capture is that of time; here one connection follows the other.
        for packet in &mut packets {
            packet.at = wire.start + Duration::from_millis(u64::from(number));
            feed(&mut observer, packet);
        }
    }
    while observer.next_observation().is_some() {}
    observer
}

/// `rounds` packets of data in both directions for every connection, 1,000 bytes each, in order.
fn data(rounds: u32) -> Vec<capture::Packet> {
    let mut out = Vec::new();
    for round in 0..rounds {
        for number in 0..CONNECTIONS {
            for sender in [Side::Client, Side::Server] {
                let segment = capture::Segment {
                    at: wire(number).start + Duration::from_millis(100 + u64::from(round)),
                    sender,
                    sequence: 3_000_000 + round * 1000,
                    acknowledgement: 1,
                    flags: Flags { ack: true, ..Flags::default() },
                    announced_segment_bytes: None,
                    payload: vec![0x17; 1000],
                };
                out.extend(wire(number).packets(&[segment]));
            }
        }
    }
    out
}

#[track_caller]
fn assert_quiet(mut observer: Observer) {
    let packets = data(40);
    let used = observer.health().used;
    let measured = measure(|| {
        for packet in &packets {
            feed(&mut observer, packet);
            assert!(observer.next_observation().is_none());
        }
    });
    assert_eq!(observer.health().used - used, packets.len() as u64, "every packet was looked at");
    assert_eq!((measured.count_total, measured.bytes_total), (0, 0), "{measured:?}");
}

#[test]
fn data_of_finished_handshakes_allocates_nothing() {
    let session = Session::of(Scenario::Hybrid, "checkout.example").unwrap();
    assert_quiet(settled(&Session { ending: capture::Ending::Open, ..session }));
}

#[test]
fn data_of_failed_handshakes_allocates_nothing() {
    assert_quiet(settled(&Session::of(Scenario::ServerResets, "checkout.example").unwrap()));
}

#[test]
fn data_that_is_no_tls_allocates_nothing() {
    let mut session = Session::of(Scenario::Hybrid, "checkout.example").unwrap();
    // Many words: a few in the clear may still be followed by TLS, and are watched for that.
    let words = [Side::Client, Side::Server].into_iter().cycle().take(100);
    let flight = |sender| capture::Flight { sender, bytes: b"a word in the clear\r\n".to_vec() };
    session.flights = words.map(flight).collect();
    assert_quiet(settled(&Session { ending: capture::Ending::Open, ..session }));
}

#[test]
fn the_count_counts() {
    let session = Session::of(Scenario::Hybrid, "checkout.example").unwrap();
    let mut observer = Observer::new(Settings::default());
    let wire = wire(0);
    let packets = wire.packets(&wire.segments(&session));
    let measured = measure(|| packets.iter().for_each(|packet| feed(&mut observer, packet)));
    assert!(measured.count_total > 0, "a handshake cannot be followed without memory: {measured:?}");
}
