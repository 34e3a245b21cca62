//! What a capture makes of packets.

use crate::observe::observe;
use crate::stories::{attempts, packets, seen_in, segments, tls13};
use pqscope_agent_core::observation::Outcome;
use pqscope_lab::capture::{Link, Segment, Session, Wire, merge};
use pqscope_lab::synthesis::{ClientHello, ServerHello};
use std::time::Duration;

fn hybrid() -> Session {
    tls13(&ClientHello::tls13(), &ServerHello::tls13(0x11ec))
}

#[test]
fn the_same_endpoints_in_two_networks_are_two_connections() {
    let inside = |vlan: u16, after: u64| {
        let start = Wire::default().start + Duration::from_micros(after);
        let wire = Wire { vlans: vec![vlan], start, ..Wire::default() };
        wire.packets(&wire.segments(&hybrid()))
    };
    let seen = observe(Link::Ethernet, &merge(vec![inside(10, 0), inside(20, 5)]));
    let tunnels: Vec<_> = seen.iter().map(|seen| (seen.outcome, seen.tunnel.join(" "))).collect();
    let expected = ["vlan:10", "vlan:20"].map(|vlan| (Outcome::Completed, vlan.to_owned()));
    assert_eq!(tunnels, expected);
    assert_ne!(seen[0].id, seen[1].id);
}

/// Every place at which the clock may step back by so much.
fn stepped(plain: &[Segment], back: Duration) -> impl Iterator<Item = Vec<Segment>> + '_ {
    (1..plain.len()).map(move |from| {
        let step = |(at, segment): (usize, &Segment)| Segment {
            at: if at >= from { segment.at - back } else { segment.at },
            ..segment.clone()
        };
        plain.iter().enumerate().map(step).collect()
    })
}

#[test]
fn a_clock_that_steps_back_within_a_handshake_measures_nothing_negative() {
    let plain = segments(&hybrid());
    let longest = plain.last().unwrap().at - plain[0].at;
    for back in [1_000, 15_000_000, 900_000_000, 10_000_000_000].map(Duration::from_nanos) {
        for all in stepped(&plain, back) {
            for seen in attempts(&packets(&all)) {
                assert_eq!(seen.outcome, Outcome::Completed, "{back:?}");
                let timing = seen.timing;
                let all = [timing.tcp_rtt, timing.hello_retry, timing.server_hello, timing.client_encrypted];
                // A duration below zero would come out as an enormous one.
                assert!(all.into_iter().flatten().all(|measured| measured <= longest), "{timing:?}");
            }
        }
    }
}

#[test]
fn equal_times_are_no_trouble() {
    let plain = segments(&hybrid());
    let at = plain[0].at;
    let all: Vec<Segment> = plain.iter().map(|segment| Segment { at, ..segment.clone() }).collect();
    let seen = seen_in(&all);
    assert_eq!((seen.outcome, seen.start), (Outcome::Completed, seen.end));
}
