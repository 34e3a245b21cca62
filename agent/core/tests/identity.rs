//! Who takes part in a handshake, as far as it shows: the client's fingerprint, the facts of leaf certificates, and
//! whether the key shares are what their numbers say. Real handshakes through the public interface.

#![expect(clippy::unwrap_used, reason = "a test stops at whatever it does not expect")]

use pqscope_agent_core::decode::LinkType;
use pqscope_agent_core::iana::{Group, KeyExchangeClass};
use pqscope_agent_core::observation::{Observation, Outcome};
use pqscope_agent_core::observer::{Health, InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::time::Timestamp;
use pqscope_lab::capture::{Session, Wire};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;

fn session(scenario: Scenario) -> Session {
    Session::of(scenario, "service.example").unwrap()
}

fn observe_on(wire: &Wire, session: &Session) -> (Observation, Health) {
    let mut observer = Observer::new(Settings::default());
    for packet in wire.packets(&wire.segments(session)) {
        observer.packet(&Packet {
            link: LinkType::Ethernet,
            at: Timestamp::from_nanos(packet.at.as_nanos().try_into().unwrap()),
            interface: InterfaceId::default(),
            bytes: &packet.bytes,
            wire_length: packet.original_length,
        });
    }
    observer.finish();
    let observation = *observer.next_observation().unwrap();
    assert!(observer.next_observation().is_none());
    (observation, observer.health())
}

fn observe(session: &Session) -> (Observation, Health) {
    observe_on(&Wire::default(), session)
}

/// Replaces the first place in what `sender` sent where `from` stands.
fn forge(session: &mut Session, sender: Side, from: &[u8], to: &[u8]) {
    let flight = session.flights.iter_mut().find(|flight| {
        flight.sender == sender && flight.bytes.windows(from.len()).any(|window| window == from)
    });
    let bytes = &mut flight.unwrap().bytes;
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    bytes.splice(at..at + from.len(), to.iter().copied());
}

#[test]
fn the_same_client_has_the_same_fingerprint_however_its_hello_travels() {
    // The library shuffles its extensions from one hello to the next.
    let first = observe(&session(Scenario::Hybrid)).0.client_hello.ja4.unwrap();
    assert!(first.starts_with("t13d") && first.len() == 36, "{first}");
    for segment_bytes in [1, 7, 100, 536, 1460] {
        let wire = Wire { segment_bytes, ..Wire::default() };
        let again = observe_on(&wire, &session(Scenario::Hybrid)).0;
        assert_eq!(again.client_hello.ja4.as_ref(), Some(&first), "{segment_bytes}");
    }
    let older = observe(&session(Scenario::Tls12)).0.client_hello.ja4.unwrap();
    assert!(older.starts_with("t12d") && older != first, "{older}");
}

#[test]
fn a_leaf_in_the_clear_has_facts() {
    let observation = observe(&session(Scenario::Tls12)).0;
    let leaf = observation.certificates.unwrap().leaf.unwrap();
    assert_eq!(leaf.key_algorithm, "ecdsa_p256");
    assert_eq!((leaf.key_bits, leaf.signature_algorithm.as_str()), (Some(256), "ecdsa_sha256"));
    assert!(leaf.subject.contains("CN=service.example"), "{}", leaf.subject);
    assert!(leaf.issuer != leaf.subject && leaf.spki_sha256.len() == 64);
    assert_eq!(leaf.not_before.as_deref(), Some("2020-01-01T00:00:00Z"));
    assert_eq!(leaf.not_after.as_deref(), Some("2120-01-01T00:00:00Z"));
}

#[test]
fn a_server_share_that_contradicts_its_group_is_of_unknown_class() {
    let mut session = session(Scenario::Hybrid);
    // The hybrid share of 1120 bytes under the number of x25519.
    forge(&mut session, Side::Server, &[0x11, 0xec, 0x04, 0x60], &[0x00, 0x1d, 0x04, 0x60]);
    let (observation, health) = observe(&session);
    assert_eq!(observation.key_exchange_class, Some(KeyExchangeClass::Unknown));
    assert_eq!(observation.group.map(|group| group.id), Some(Group(0x1d)));
    assert_eq!((observation.outcome, health.odd_key_shares), (Outcome::Completed, 1));
}

#[test]
fn a_client_share_that_contradicts_its_group_is_counted_and_changes_no_class() {
    let mut session = session(Scenario::Hybrid);
    forge(&mut session, Side::Client, &[0x11, 0xec, 0x04, 0xc0], &[0x00, 0x17, 0x04, 0xc0]);
    let (observation, health) = observe(&session);
    assert_eq!(observation.key_exchange_class, Some(KeyExchangeClass::Hybrid));
    assert_eq!(observation.client_hello.key_shares.unwrap().first(), Some(&Group(0x17)));
    assert_eq!(health.odd_key_shares, 1);
}

#[test]
fn shares_as_the_table_says_are_not_counted() {
    for scenario in [Scenario::Hybrid, Scenario::X25519, Scenario::HelloRetryToHybrid, Scenario::Tls12] {
        assert_eq!(observe(&session(scenario)).1.odd_key_shares, 0, "{scenario:?}");
    }
}
