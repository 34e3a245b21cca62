//! What was sent again, what came late, what the capture holds twice.

use crate::stage::{
    ACK, FIN, PORT, data, ms, next, seen, seen_after_silence, seen_in, session, takes_numbers,
};
use pqscope_agent_core::observation::{Observation, Outcome, PathFacts};
use pqscope_lab::capture::{Ending, Endpoints, Link, Packet, Segment, Session, Wire, copies, transform};
use pqscope_lab::plan::Side::{Client, Server};
use pqscope_lab::scenario::Scenario;
use std::time::Duration;

/// Wires by what their packets are told apart by: the identification of IPv4, timestamps, both, neither. The numbers of
/// the last one wrap in the middle of the flights.
fn wires() -> Vec<Wire> {
    let (v4, v6) = (Endpoints::v4(PORT), Endpoints::v6(PORT));
    let mut all = Vec::new();
    for (endpoints, tcp_options) in [(v4, false), (v6, true), (v4, true), (v6, false)] {
        for link in [Link::Ethernet, Link::LinuxCooked2] {
            all.push(Wire { endpoints, tcp_options, link, ..narrow() });
        }
    }
    let wraps = |first: u32| u32::MAX - first;
    all.push(Wire { client_first_sequence: wraps(700), server_first_sequence: wraps(2000), ..narrow() });
    all
}

/// Segments so small that a flight takes many.
fn narrow() -> Wire {
    Wire { segment_bytes: 500, ..Wire::default() }
}

/// A hybrid handshake with a server flight of seven segments or more.
fn long_flight() -> Session {
    let mut plan = Scenario::Hybrid.plan();
    plan.intermediates = 5;
    Session::run(&plan, "service.example").unwrap()
}

fn counts(seen: &Observation) -> (u32, u32, u32) {
    let PathFacts { retransmissions, out_of_order, duplicates, .. } = seen.path;
    (retransmissions, out_of_order, duplicates)
}

/// How many segments with numbers come before the client's Finished, which settles the attempt.
fn until_settled(segments: &[Segment]) -> usize {
    let server = data(segments, Server)[0];
    let settling = *data(segments, Client).iter().find(|place| **place > server).unwrap();
    segments[..settling].iter().filter(|segment| takes_numbers(segment)).count()
}

#[test]
fn a_handshake_on_a_clean_path_has_nothing_to_count() {
    for wire in wires() {
        let seen = seen(&wire, &wire.segments(&long_flight()));
        assert_eq!((seen.outcome, counts(&seen)), (Outcome::Completed, (0, 0, 0)), "{wire:?}");
        assert_eq!(seen.path.mss, Some(500));
    }
}

#[test]
fn a_packet_captured_twice_is_never_a_retransmission() {
    let session = long_flight();
    for wire in wires() {
        let segments = wire.segments(&session);
        let plain = wire.packets(&segments);
        let expected = u32::try_from(until_settled(&segments)).unwrap();
        let mut captures = vec![copies::captured_twice(&plain)];
        // The interface `any` on a router shows a whole burst coming in before it shows it going out.
        let later = [0, 200].map(Duration::from_micros);
        captures.extend(later.map(|later| copies::forwarded(wire.link, &plain, later)));
        for capture in captures {
            let seen = seen_in(&wire, &capture);
            assert_eq!(counts(&seen), (0, 0, expected), "{wire:?}");
            assert_eq!(seen.outcome, Outcome::Completed);
        }
        // So late that the copies of the last flight come after the verdict.
        let seen = seen_in(&wire, &copies::forwarded(wire.link, &plain, ms(4)));
        assert_eq!((counts(&seen).0, counts(&seen).1), (0, 0), "{wire:?}");
    }
}

#[test]
fn what_the_senders_timer_sends_again_is_a_retransmission_captured_once_or_twice() {
    let hello_segments = 3;
    for wire in wires() {
        // The answer takes longer than the timer, so that the hello is sent again before it.
        let wire = Wire { round_trip: ms(600), ..wire };
        let again = transform::retransmit(&wire.segments(&session(Scenario::Hybrid)), ms(203));
        let plain: Vec<Packet> = wire.packets(&again);
        let once = seen_in(&wire, &plain);
        assert_eq!(counts(&once), (hello_segments, 0, 0), "{wire:?}");
        let twice = seen_in(&wire, &copies::captured_twice(&plain));
        assert_eq!((counts(&twice).0, counts(&twice).1), (hello_segments, 0), "{wire:?}");
        assert_eq!(twice.outcome, Outcome::Completed);
    }
}

/// The server's flight in another order, with the times as they were.
fn in_order(segments: &[Segment], order: &[usize]) -> Vec<Segment> {
    let flight = data(segments, Server);
    let mut out = segments.to_vec();
    for (place, from) in flight.iter().zip(order) {
        out[*place] = Segment { at: segments[*place].at, ..segments[flight[*from]].clone() };
    }
    out
}

#[test]
fn segments_that_overtake_each_other_are_counted_one_by_one() {
    let session = long_flight();
    let orders = [
        [0, 4, 2, 1, 3, 5, 6],
        [0, 2, 4, 6, 1, 3, 5],
        [6, 5, 4, 3, 2, 1, 0],
        [1, 0, 3, 2, 5, 4, 6],
        [3, 0, 6, 1, 4, 2, 5],
    ];
    for wire in wires() {
        let segments = wire.segments(&session);
        assert!(data(&segments, Server).len() >= 7);
        for order in orders {
            let overtaken =
                (0..7).filter(|at| order[..*at].iter().any(|before| *before > order[*at])).count();
            let seen = seen(&wire, &in_order(&segments, &order));
            assert_eq!(counts(&seen), (0, u32::try_from(overtaken).unwrap(), 0), "{order:?} {wire:?}");
        }
    }
}

#[test]
fn a_hole_that_is_filled_within_a_round_trip_was_overtaken_and_later_sent_again() {
    let session = long_flight();
    for (late, expected) in [(10, (0, 1, 0)), (19, (0, 1, 0)), (25, (1, 0, 0)), (230, (1, 0, 0))] {
        let wire = narrow();
        let mut segments = wire.segments(&session);
        let flight = data(&segments, Server);
        let (delayed, last) = (flight[2], flight[6]);
        for segment in &mut segments[last + 1..] {
            segment.at += ms(late + 1);
        }
        segments[delayed].at += ms(late);
        segments.sort_by_key(|segment| segment.at);
        assert_eq!(counts(&seen(&wire, &segments)), expected, "{late} ms");
    }
}

#[test]
fn a_keepalive_on_a_slow_handshake_is_nothing_that_was_lost() {
    for length in [0, 1] {
        let wire = Wire { round_trip: ms(900), ..Wire::default() };
        let mut segments = wire.segments(&session(Scenario::Hybrid));
        let hello = data(&segments, Client)[1];
        // The server acknowledges the hello at once and answers late.
        segments.truncate(hello + 2);
        for nth in 1..4 {
            let mut keepalive = next(&segments, Client, ms(nth * 200), ACK);
            keepalive.sequence = segments[hello]
                .sequence
                .wrapping_add(u32::try_from(segments[hello].payload.len()).unwrap() - 1);
            keepalive.payload = vec![0; length];
            segments.push(keepalive);
        }
        let seen = seen_after_silence(&wire, &segments);
        assert_eq!(counts(&seen), (0, 0, 0), "{length}");
    }
}

#[test]
fn a_fin_that_comes_again_is_a_retransmission() {
    let wire = Wire::default();
    let mut segments = wire.segments(&session(Scenario::Hybrid).cut_after(1, Ending::Open));
    let fin = next(&segments, Client, ms(5), FIN);
    segments.push(fin.clone());
    let mut acknowledged = next(&segments, Server, ms(20), ACK);
    acknowledged.acknowledgement = fin.sequence.wrapping_add(1);
    segments.push(acknowledged);
    segments.push(Segment { at: fin.at + ms(220), ..fin });
    assert_eq!(counts(&seen_after_silence(&wire, &segments)), (1, 0, 0));
}

#[test]
fn a_second_syn_ack_counts_once_and_leaves_the_round_trip_open() {
    let wire = Wire::default();
    let plain = wire.segments(&session(Scenario::Hybrid));
    // Before the acknowledgement, before the hello, after the hello, amid the server's flight.
    for place in [2, 3, 5, data(&plain, Server)[1]] {
        let mut segments = plain.clone();
        let again = Segment { at: segments[place - 1].at, ..segments[1].clone() };
        segments.insert(place, again);
        let seen = seen(&wire, &segments);
        assert_eq!((counts(&seen), seen.outcome), ((1, 0, 0), Outcome::Completed), "{place}");
        // After the acknowledgement it is clear which one was answered only where it had not come yet.
        assert!(seen.timing.tcp_rtt.is_none() || place > 2, "{place}");
    }
}

#[test]
fn a_syn_ack_with_other_numbers_disturbs_no_count() {
    let wire = Wire::default();
    let plain = wire.segments(&session(Scenario::Hybrid));
    for distance in [1 << 25, 1 << 30, 3 << 30] {
        for place in [1, 2, 3, 5] {
            let mut segments = plain.clone();
            let sequence = segments[1].sequence.wrapping_add(distance);
            let stray = Segment { at: segments[place - 1].at, sequence, ..segments[1].clone() };
            segments.insert(place, stray);
            let seen = seen(&wire, &segments);
            assert_eq!((counts(&seen), seen.outcome), ((0, 0, 0), Outcome::Completed), "{distance} {place}");
        }
    }
}

#[test]
fn a_segment_that_repeats_a_part_and_brings_more_is_a_retransmission() {
    for wire in wires() {
        let wire = Wire { round_trip: ms(600), ..wire };
        let mut segments = wire.segments(&session(Scenario::Hybrid));
        let hello = data(&segments, Client);
        let (first, second) = (segments[hello[1]].clone(), segments[hello[2]].clone());
        // The second is lost; the timer sends it together with the end of the first.
        let tail = first.payload[first.payload.len() - 100..].to_vec();
        segments[hello[2]] = Segment {
            at: second.at + Duration::from_millis(250),
            sequence: second.sequence.wrapping_sub(100),
            payload: [tail, second.payload].concat(),
            ..second
        };
        segments.sort_by_key(|segment| segment.at);
        let seen = seen(&wire, &segments);
        assert_eq!((counts(&seen), seen.outcome), ((1, 0, 0), Outcome::Completed), "{wire:?}");
    }
}
