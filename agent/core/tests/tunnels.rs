//! Whole handshakes in tunnels and in fragments: the same observation comes out but for `tunnel`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at whatever it does not expect"
)]

use pqscope_agent_core::decode::{LinkType, Skip};
use pqscope_agent_core::observation::{Observation, Outcome};
use pqscope_agent_core::observer::{Health, InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::time::Timestamp;
use pqscope_lab::capture::transform::{Wrapper, encapsulate, fragment};
use pqscope_lab::capture::{self, Ending, Endpoints, Session, Wire};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use std::time::Duration;

fn observe(packets: &[capture::Packet]) -> (Vec<Observation>, Health) {
    let mut observer = Observer::new(Settings::default());
    for packet in packets {
        observer.packet(&Packet {
            link: LinkType::Ethernet,
            at: Timestamp::from_nanos(packet.at.as_nanos().try_into().unwrap()),
            interface: InterfaceId::default(),
            bytes: &packet.bytes,
            wire_length: packet.original_length,
        });
    }
    observer.finish();
    let seen = std::iter::from_fn(|| observer.next_observation()).map(|observation| *observation).collect();
    (seen, observer.health())
}

#[track_caller]
fn only(packets: &[capture::Packet]) -> Observation {
    let [observation] = <[Observation; 1]>::try_from(observe(packets).0).unwrap();
    observation
}

fn wire(endpoints: Endpoints) -> Wire {
    Wire { endpoints, ..Wire::default() }
}

fn packets(wire: &Wire, scenario: Scenario) -> Vec<capture::Packet> {
    wire.packets(&wire.segments(&Session::of(scenario, "service.example").unwrap()))
}

/// What must not depend on the way: all but the tunnel, and the name made of it.
fn facts(observation: &Observation) -> serde_json::Value {
    let mut value = serde_json::to_value(observation).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.remove("id").unwrap();
    fields.remove("tunnel").unwrap();
    value
}

fn tunnel(observation: &Observation) -> Vec<String> {
    let value = serde_json::to_value(observation).unwrap();
    serde_json::from_value(value["tunnel"].clone()).unwrap()
}

#[test]
fn every_tunnel_gives_the_same_observation() {
    for scenario in [Scenario::Hybrid, Scenario::HelloRetryToHybrid, Scenario::Tls12, Scenario::NoSharedGroup]
    {
        for (endpoints, is_v6) in [(Endpoints::v4(40_000), false), (Endpoints::v6(40_000), true)] {
            let plain = packets(&wire(endpoints), scenario);
            let expected = only(&plain);
            assert!(tunnel(&expected).is_empty());
            for wrapper in Wrapper::ALL {
                let seen = only(&encapsulate(&plain, wrapper));
                assert_eq!(facts(&seen), facts(&expected), "{scenario:?} {wrapper:?}");
                assert_eq!(tunnel(&seen), wrapper.tunnel(is_v6), "{scenario:?} {wrapper:?}");
            }
        }
    }
}

#[test]
fn tunnels_in_tunnels_give_the_same_observation() {
    let plain = packets(&Wire::default(), Scenario::Hybrid);
    let expected = facts(&only(&plain));
    for nested in [
        &[Wrapper::Vxlan(42), Wrapper::Vxlan(43), Wrapper::Vlan(9)][..],
        &[Wrapper::InIpv4, Wrapper::InIpv6, Wrapper::Gtpu, Wrapper::Vlan(1), Wrapper::Vlan(2)],
        &[Wrapper::Gre, Wrapper::Mpls, Wrapper::Pseudowire, Wrapper::Geneve(7)],
        &[Wrapper::Pppoe(3), Wrapper::Vlan(7), Wrapper::Nvgre(8), Wrapper::Erspan(1)],
    ] {
        let outer = nested.iter().fold(plain.clone(), |packets, wrapper| encapsulate(&packets, *wrapper));
        let seen = only(&outer);
        assert_eq!(facts(&seen), expected, "{nested:?}");
        let layers: Vec<_> = nested.iter().rev().flat_map(|wrapper| wrapper.tunnel(false)).collect();
        assert_eq!(tunnel(&seen), layers);
    }
}

#[test]
fn the_same_addresses_in_two_networks_are_two_connections() {
    let one = packets(&Wire::default(), Scenario::Hybrid);
    let other = packets(&Wire::default(), Scenario::NoSharedGroup);
    for (a, b) in [
        (Wrapper::Vxlan(1), Wrapper::Vxlan(2)),
        (Wrapper::Geneve(1), Wrapper::GeneveIp(2)),
        (Wrapper::Nvgre(1), Wrapper::Nvgre(2)),
        (Wrapper::Pppoe(1), Wrapper::Pppoe(2)),
        (Wrapper::Vlan(1), Wrapper::Vlan(2)),
    ] {
        let both = capture::merge(vec![encapsulate(&one, a), encapsulate(&other, b)]);
        let (seen, _) = observe(&both);
        let found =
            |wrapper: Wrapper| seen.iter().find(|seen| tunnel(seen) == wrapper.tunnel(false)).unwrap();
        assert_eq!(seen.len(), 2, "{a:?}");
        assert_eq!((found(a).outcome, found(b).outcome), (Outcome::Completed, Outcome::Failed), "{a:?}");
        assert_ne!(found(a).id, found(b).id);
    }
}

#[test]
fn a_packet_seen_within_its_tunnel_and_after_it_counts_once() {
    let plain = packets(&Wire::default(), Scenario::Hybrid);
    let twice: Vec<_> = encapsulate(&plain, Wrapper::InIpv4)
        .into_iter()
        .zip(plain.clone())
        .flat_map(<[_; 2]>::from)
        .collect();
    let seen = only(&twice);
    assert_eq!((tunnel(&seen), seen.outcome), (vec!["ipip".to_owned()], Outcome::Completed));
}

#[test]
fn an_answer_outside_the_tunnel_belongs_to_its_question() {
    let plain = packets(&Wire::default(), Scenario::Hybrid);
    let expected = facts(&only(&plain));
    // A balancer sends requests on in a tunnel, and the server answers its client directly.
    for wrapper in [Wrapper::InIpv4, Wrapper::Gre, Wrapper::Mpls] {
        let requests = encapsulate(&plain, wrapper);
        let mixed: Vec<_> = requests
            .into_iter()
            .zip(&plain)
            .map(|(tunnelled, packet)| if packet.bytes[11] == 1 { tunnelled } else { packet.clone() })
            .collect();
        assert_eq!(facts(&only(&mixed)), expected, "{wrapper:?}");
    }
}

#[test]
fn fragments_give_the_same_observation() {
    for endpoints in [Endpoints::v4(40_000), Endpoints::v6(40_000)] {
        let plain = packets(&wire(endpoints), Scenario::Tls12);
        let expected = facts(&only(&plain));
        for size in [8, 100, 600] {
            let cut = fragment(&plain, size);
            let (seen, health) = observe(&cut);
            assert_eq!(facts(&seen[0]), expected, "{size}");
            assert_eq!(health.used, cut.len() as u64, "{size}");
            assert!(health.reassembled > 0);
            assert_eq!(health.fragment_bytes, 0);
        }
    }
}

#[test]
fn fragments_in_tunnels_and_of_tunnels_give_the_same_observation() {
    let plain = packets(&Wire::default(), Scenario::Hybrid);
    let expected = facts(&only(&plain));
    for wrapper in Wrapper::ALL {
        let inner = encapsulate(&fragment(&plain, 400), wrapper);
        assert_eq!(facts(&only(&inner)), expected, "{wrapper:?}");
        let outer = fragment(&encapsulate(&plain, wrapper), 400);
        let seen = only(&outer);
        assert_eq!((facts(&seen), tunnel(&seen)), (expected.clone(), wrapper.tunnel(false)), "{wrapper:?}");
        // Fragments whose packets are cut into fragments again.
        let both = fragment(&encapsulate(&fragment(&plain, 400), wrapper), 104);
        assert_eq!(facts(&only(&both)), expected, "{wrapper:?}");
    }
}

#[test]
fn fragments_that_are_lost_make_vaguer_and_are_counted() {
    let plain = packets(&Wire::default(), Scenario::Tls12);
    let cut = fragment(&plain, 600);
    let whole = only(&plain);
    for missing in 0..cut.len() {
        let fewer: Vec<_> =
            cut.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, packet)| packet.clone()).collect();
        let (seen, health) = observe(&fewer);
        for seen in seen {
            assert!(
                seen.outcome == Outcome::Incomplete || seen.outcome == whole.outcome,
                "without {missing}: {:?}",
                seen.outcome
            );
        }
        let skipped: u64 = health.skipped.iter().sum();
        assert_eq!(health.used + skipped, fewer.len() as u64, "every packet is accounted for");
        let of_fragments = health.skipped[Skip::Fragment.index()];
        assert_eq!(of_fragments, skipped);
    }
}

/// A message of a router in the direction of the sender of `about`, which quotes this much of it behind the IP header.
fn too_big(about: &capture::Packet, quoted: usize) -> capture::Packet {
    let is_v6 = about.bytes[12..14] == [0x86, 0xdd];
    let (header, quote) = (if is_v6 { 40 } else { 20 }, &about.bytes[14..]);
    let quote = &quote[..header + quoted];
    let head: &[u8] = if is_v6 { &[2, 0, 0, 0, 0, 0, 5, 0] } else { &[3, 4, 0, 0, 0, 0, 5, 0] };
    let message = [head, quote].concat();
    let length = u16::try_from(message.len()).unwrap();
    let mut bytes = about.bytes[..14].to_vec();
    if is_v6 {
        bytes.extend([0x60, 0, 0, 0, 0, length.to_be_bytes()[1], 58, 64]);
        bytes.extend([[0x20; 16], about.bytes[22..38].try_into().unwrap()].concat());
    } else {
        bytes.extend([0x45, 0, 0, (length + 20).to_be_bytes()[1], 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 77]);
        bytes.extend(&about.bytes[26..30]);
    }
    bytes.extend(message);
    capture::Packet { at: about.at, original_length: bytes.len(), bytes }
}

/// Places of the packets with the server's content.
fn of_server(wire: &Wire, scenario: Scenario) -> (Vec<capture::Packet>, usize) {
    let segments =
        wire.segments(&Session::of(scenario, "service.example").unwrap().cut_after(2, Ending::Open));
    let place = segments.iter().position(|s| s.sender == Side::Server && !s.payload.is_empty()).unwrap();
    (wire.packets(&segments), place)
}

#[test]
fn messages_about_large_packets_are_counted_for_the_connection_that_they_quote() {
    for endpoints in [Endpoints::v4(40_000), Endpoints::v6(40_000)] {
        let (packets, place) = of_server(&wire(endpoints), Scenario::Hybrid);
        let message = too_big(&packets[place], 8);
        let mut with = packets.clone();
        with.insert(place + 1, message.clone());
        with.insert(place + 1, message.clone());
        let (seen, health) = observe(&with);
        assert_eq!(seen[0].path.too_big, 2);
        assert_eq!(health.used, with.len() as u64);
        assert_eq!(only(&packets).path.too_big, 0);
        // Of another connection, and of bytes far from all that were sent.
        for (at, value) in [(0, 0xee), (4, 0x7f)] {
            let mut other = message.clone();
            let tcp = other.bytes.len() - 8;
            other.bytes[tcp + at] ^= value;
            let mut with = packets.clone();
            with.insert(place + 1, other);
            assert_eq!(only(&with).path.too_big, 0, "{at}");
        }
    }
}

#[test]
fn a_message_from_beyond_the_tunnel_finds_its_connection_too() {
    let (packets, place) = of_server(&Wire::default(), Scenario::Hybrid);
    let message = too_big(&packets[place], 8);
    let with = |wrapper: Wrapper, message: &capture::Packet| {
        let mut with = encapsulate(&packets, wrapper);
        with.insert(place + 1, message.clone());
        only(&with).path.too_big
    };
    for wrapper in Wrapper::ALL {
        // In the same tunnel, and quoted with the tunnel's headers by a router below it.
        let within = &encapsulate(std::slice::from_ref(&message), wrapper)[0];
        assert_eq!(with(wrapper, within), 1, "{wrapper:?}");
        let outer = &encapsulate(&packets, wrapper)[place];
        if matches!(outer.bytes[12..14], [8, 0] | [0x86, 0xdd]) {
            assert_eq!(with(wrapper, &too_big(outer, 100)), 1, "{wrapper:?}");
        }
    }
    // A message in a network of its own about a connection in none; not the other way round.
    let mut plain = packets.clone();
    plain.insert(place + 1, encapsulate(std::slice::from_ref(&message), Wrapper::Vlan(6)).remove(0));
    assert_eq!(only(&plain).path.too_big, 1);
    assert_eq!(with(Wrapper::Vlan(6), &message), 0);
}

#[test]
fn tunnel_endpoints_without_number_are_no_bound_for_the_table_of_paths() {
    let mut observer = Observer::new(Settings::default());
    let plain = packets(&Wire::default(), Scenario::Hybrid);
    let syn = &encapsulate(&plain[..1], Wrapper::Gtpu)[0];
    for endpoint in 0..70_000_u32 {
        let mut bytes = syn.bytes.clone();
        bytes[14 + 20 + 8 + 4..][..4].copy_from_slice(&endpoint.to_be_bytes());
        observer.packet(&Packet {
            link: LinkType::Ethernet,
            at: Timestamp::from_nanos((syn.at + Duration::from_millis(1)).as_nanos().try_into().unwrap()),
            interface: InterfaceId::default(),
            bytes: &bytes,
            wire_length: bytes.len(),
        });
    }
    assert_eq!((observer.health().used, observer.health().flows), (70_000, 1));
}
