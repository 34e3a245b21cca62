//! Where segments begin and end means nothing: hellos cut at every place, everything cut at random places.

use crate::likeness::{Freedom, differences, only};
use crate::sessions;
use pqscope_lab::capture::{Session, Wire, transform};
use pqscope_lab::plan::Side;
use proptest::prelude::*;
use serde_json::Value;

const LARGE: u16 = 60_000;

fn wire() -> Wire {
    Wire { segment_bytes: LARGE, ..Wire::default() }
}

fn observed(session: &Session, cuts: [&[usize]; 2], seed: Option<u64>, about: &str) -> Value {
    let wire = wire();
    let mut segments = wire.segments(session);
    for (side, cuts) in [Side::Client, Side::Server].into_iter().zip(cuts) {
        segments = transform::cut_stream(&segments, side, cuts);
    }
    if let Some(seed) = seed {
        segments = transform::reorder(&segments, seed);
    }
    only(wire.link, &wire.packets(&segments), about)
}

/// Every place of a side's first flight, in order and with the later piece first.
fn cut_everywhere(name: &str, side: Side) {
    let (name, session) = sessions::ALL.iter().find(|(known, _)| known == name).unwrap();
    let plain = observed(session, [&[], &[]], None, name);
    let flight = session.flights.iter().find(|flight| flight.sender == side).unwrap();
    for cut in 1..flight.bytes.len() {
        let cuts: [&[usize]; 2] = match side {
            Side::Client => [&[cut], &[]],
            Side::Server => [&[], &[cut]],
        };
        // Two pieces are either in order or not, and of ten seeds some do one and some the other.
        for seed in [None, Some(cut as u64)] {
            let about = format!("{name}: {side:?} cut at {cut}, {seed:?}");
            let found = differences(&plain, &observed(session, cuts, seed, &about), Freedom::Timing);
            assert!(found.is_empty(), "{about}: {found:?}");
        }
    }
}

#[test]
fn a_hybrid_hello_may_be_cut_anywhere() {
    cut_everywhere("hybrid", Side::Client);
}

#[test]
fn a_hello_of_tls_1_2_may_be_cut_anywhere() {
    cut_everywhere("tls12", Side::Client);
}

#[test]
fn a_hello_that_is_refused_may_be_cut_anywhere() {
    cut_everywhere("no_shared_group", Side::Client);
}

#[test]
fn the_servers_flight_may_be_cut_anywhere() {
    cut_everywhere("hello_retry_to_classical", Side::Server);
    cut_everywhere("tls12", Side::Server);
    cut_everywhere("x25519", Side::Server);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn everything_may_be_cut_at_random(
        which: prop::sample::Index,
        client in prop::collection::btree_set(1..4000usize, 0..12),
        server in prop::collection::btree_set(1..6000usize, 0..12),
        seed: Option<u64>,
    ) {
        let (name, session) = which.get(&sessions::ALL);
        let plain = observed(session, [&[], &[]], None, name);
        let (client, server): (Vec<_>, Vec<_>) = (client.into_iter().collect(), server.into_iter().collect());
        let other = observed(session, [&client, &server], seed, name);
        let found = differences(&plain, &other, Freedom::Timing);
        prop_assert!(found.is_empty(), "{}: {:?}", name, found);
    }
}
