//! Handshakes that do not go on: whose doing it is.

use crate::stage::{
    ACK, FIN, RESET, clock, data, ms, next, packets, seen, seen_after_silence, seen_in, session, wire,
};
use pqscope_agent_core::observation::{
    Evidence, FailureCause, IncompleteReason, Observation, Outcome, Party, Phase,
};
use pqscope_lab::capture::{Ending, Endpoints, Flags, Packet, Segment, Session, Wire, merge, transform};
use pqscope_lab::plan::Side::{Client, Server};
use pqscope_lab::scenario::Scenario;
use pqscope_lab::synthesis::{ClientHello, ServerHello, conversation};
use std::time::Duration;

/// A hello that the server does not acknowledge, seen from the client.
fn unheard(wire: &Wire, session: &Session) -> Vec<Segment> {
    let mut segments = wire.segments(&session.clone().cut_after(1, Ending::Open));
    segments.pop();
    segments
}

fn hybrid() -> Session {
    session(Scenario::Hybrid)
}

/// The first segment of the hello comes again after each of these times.
fn resent(mut segments: Vec<Segment>, after: &[u64]) -> Vec<Segment> {
    let first = segments[data(&segments, Client)[0]].clone();
    segments.extend(after.iter().map(|after| Segment { at: first.at + ms(*after), ..first.clone() }));
    segments
}

fn cause(seen: &Observation) -> (FailureCause, Phase, Party) {
    let failure = seen.failure.unwrap();
    (failure.cause, failure.after, failure.by)
}

const BLACKHOLE: (FailureCause, Phase, Party) =
    (FailureCause::HelloBlackhole, Phase::ClientHello, Party::Path);

/// Three ways in which a client gives up.
fn endings(segments: &[Segment]) -> [Vec<Segment>; 3] {
    [None, Some(FIN), Some(RESET)].map(|flags: Option<Flags>| {
        let end = flags
            .map(|flags| Segment { at: segments.last().unwrap().at + ms(100), ..end_of(segments, flags) });
        segments.iter().cloned().chain(end).collect()
    })
}

/// A bare segment of the client behind its hello.
fn end_of(segments: &[Segment], flags: Flags) -> Segment {
    let hello = data(segments, Client);
    let last = hello.iter().map(|place| &segments[*place]).max_by_key(|segment| segment.sequence).unwrap();
    let length = u32::try_from(last.payload.len()).unwrap();
    Segment { sequence: last.sequence.wrapping_add(length), ..next(segments, Client, Duration::ZERO, flags) }
}

#[test]
fn a_large_hello_that_is_sent_again_and_never_acknowledged_fell_into_a_black_hole() {
    for tcp_options in [false, true] {
        let wire = Wire { tcp_options, ..Wire::default() };
        for segments in endings(&resent(unheard(&wire, &hybrid()), &[210, 640])) {
            let seen = seen_after_silence(&wire, &segments);
            assert_eq!(cause(&seen), BLACKHOLE);
            assert_eq!(seen.outcome_evidence, Evidence::Inferred);
            assert_eq!(seen.path.retransmissions, 2);
        }
    }
}

#[test]
fn a_hello_of_which_only_a_part_arrives_fell_into_it_too() {
    let wire = Wire { segment_bytes: 700, ..Wire::default() };
    let plain = unheard(&wire, &hybrid());
    let hello = data(&plain, Client);
    // The first is lost and the server says so; or the first arrives and the others do not.
    for reached in [plain[hello[0]].sequence, plain[hello[1]].sequence] {
        let mut segments = plain.clone();
        let mut partly = next(&segments, Server, ms(20), ACK);
        partly.acknowledgement = reached;
        segments.push(partly);
        let is_lost = |place: &&usize| segments[**place].sequence == reached;
        let lost = segments[*hello.iter().find(is_lost).unwrap()].clone();
        segments.extend([230, 700].map(|after| Segment { at: lost.at + ms(after), ..lost.clone() }));
        for segments in endings(&segments) {
            assert_eq!(cause(&seen_after_silence(&wire, &segments)), BLACKHOLE);
        }
    }
}

#[test]
fn a_hello_that_the_network_card_cuts_up_is_large_too() {
    let wire = Wire::default();
    let whole = transform::coalesce(&unheard(&wire, &hybrid()), 65_000);
    assert_eq!(data(&whole, Client).len(), 1);
    let seen = seen_after_silence(&wire, &resent(whole, &[210]));
    assert_eq!((cause(&seen), seen.client_hello.segments), (BLACKHOLE, Some(1)));
}

#[test]
fn the_large_hello_after_a_retry_can_fall_into_it_as_well() {
    let wire = Wire { segment_bytes: 1000, ..Wire::default() };
    let retried = session(Scenario::HelloRetryToHybrid).cut_after(3, Ending::Open);
    let mut segments = wire.segments(&retried);
    segments.pop();
    let second = data(&segments, Client)[1];
    let again = Segment { at: segments[second].at + ms(300), ..segments[second].clone() };
    segments.push(again);
    let expected = (FailureCause::HelloBlackhole, Phase::HelloRetry, Party::Path);
    assert_eq!(cause(&seen_after_silence(&wire, &segments)), expected);
}

#[test]
fn what_is_no_black_hole_is_told_as_what_it_is() {
    let wire = Wire::default();
    // In one segment it is a dead path or peer like any other.
    let small = session(Scenario::X25519);
    let dead = seen_after_silence(&wire, &resent(unheard(&wire, &small), &[210]));
    assert_eq!(cause(&dead), (FailureCause::Timeout, Phase::ClientHello, Party::Path));
    // Acknowledged: the server has it and does not answer.
    let mut heard = wire.segments(&hybrid().cut_after(1, Ending::Open));
    let acknowledgement = heard.pop().unwrap();
    let mut heard = resent(heard, &[210]);
    heard.push(Segment { at: heard.last().unwrap().at + ms(20), ..acknowledgement });
    for (segments, expected) in endings(&heard).into_iter().zip([
        (FailureCause::Timeout, Phase::ClientHello, Party::Server),
        (FailureCause::Closed, Phase::ClientHello, Party::Client),
        (FailureCause::Reset, Phase::ClientHello, Party::Client),
    ]) {
        assert_eq!(cause(&seen_after_silence(&wire, &segments)), expected);
    }
    // Never sent again, or given up before any timer could have run out.
    let once = unheard(&wire, &hybrid());
    assert_eq!(
        cause(&seen_after_silence(&wire, &once)),
        (FailureCause::Timeout, Phase::ClientHello, Party::Path)
    );
    let [_, closed, reset] = endings(&resent(once, &[40]));
    assert_eq!(cause(&seen(&wire, &reset)).0, FailureCause::Reset);
    assert_eq!(cause(&seen_after_silence(&wire, &closed)).0, FailureCause::Closed);
}

#[test]
fn a_server_that_answers_ends_the_black_hole() {
    let wire = Wire { round_trip: ms(700), ..Wire::default() };
    let whole = transform::retransmit(&wire.segments(&hybrid()), ms(250));
    let seen = seen(&wire, &whole);
    assert_eq!((seen.outcome, seen.path.retransmissions), (Outcome::Completed, 2));
    // An alert, a close or a reset by the server comes from one that was reached.
    let lost = resent(unheard(&wire, &hybrid()), &[210, 640]);
    for (flags, expected) in [(FIN, FailureCause::Closed), (RESET, FailureCause::Reset)] {
        let mut segments = lost.clone();
        segments.push(next(&segments, Server, ms(10), flags));
        assert_eq!(
            cause(&seen_after_silence(&wire, &segments)),
            (expected, Phase::ClientHello, Party::Server)
        );
    }
}

#[test]
fn from_the_server_a_hello_that_never_becomes_whole_is_no_failure_of_the_server() {
    let wire = Wire::default();
    let whole = wire.segments(&hybrid().cut_after(1, Ending::Open));
    // The large first segment is lost before the capture, and so is what the client sends again.
    let hello = data(&whole, Client);
    let rest = transform::without(&whole, &[hello[0], whole.len() - 1]);
    let mut all = wire.packets(&rest);
    all.extend(clock(&wire, Duration::from_secs(20)));
    let others: Vec<_> = crate::observe::observe(wire.link, &all)
        .into_iter()
        .filter(|seen| seen.client.port == 40_000)
        .collect();
    assert!(others.iter().all(|seen| seen.outcome == Outcome::Incomplete), "{others:?}");
    // The second is lost: the server acknowledges what it got.
    let mut cut = transform::without(&whole, &[hello[1]]);
    let last = cut.last_mut().unwrap();
    last.acknowledgement =
        whole[hello[0]].sequence.wrapping_add(u32::try_from(whole[hello[0]].payload.len()).unwrap());
    assert_eq!(cause(&seen_after_silence(&wire, &cut)), (FailureCause::Timeout, Phase::Start, Party::Client));
}

/// A router's word that a packet of the wire was too big for it, on Ethernet.
fn too_big(wire: &Wire, segment: &Segment, after: Duration) -> Packet {
    let [quoted] = <[Packet; 1]>::try_from(wire.packets(std::slice::from_ref(segment))).unwrap();
    let (mac, ip) = quoted.bytes.split_at(14);
    let bytes = match wire.endpoints {
        Endpoints::V4 { .. } => {
            let quote = &ip[..28];
            let mut bytes = mac.to_vec();
            let length = u16::try_from(20 + 8 + quote.len()).unwrap().to_be_bytes();
            bytes.extend([0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 1]);
            bytes.extend(&ip[12..16]);
            bytes.extend([3, 4, 0, 0, 0, 0, 5, 20]);
            bytes.extend(quote);
            bytes
        }
        Endpoints::V6 { .. } => {
            let quote = &ip[..ip.len().min(600)];
            let mut bytes = mac.to_vec();
            bytes.extend([0x60, 0, 0, 0]);
            bytes.extend(u16::try_from(8 + quote.len()).unwrap().to_be_bytes());
            bytes.extend([58, 64]);
            bytes.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x99]);
            bytes.extend(&ip[8..24]);
            bytes.extend([2, 0, 0, 0, 0, 0, 5, 20]);
            bytes.extend(quote);
            bytes
        }
    };
    let original_length = bytes.len();
    Packet { at: segment.at + after, bytes, original_length }
}

#[test]
fn a_router_that_says_too_big_names_the_path() {
    for endpoints in [Endpoints::v4(40_000), Endpoints::v6(40_000)] {
        let wire = Wire { endpoints, ..Wire::default() };
        for segments in endings(&resent(unheard(&wire, &hybrid()), &[210])) {
            let router = too_big(&wire, &segments[data(&segments, Client)[0]], ms(2));
            let after = clock(&wire, Duration::from_secs(20));
            let seen = seen_in(&wire, &merge(vec![wire.packets(&segments), vec![router], after]));
            assert_eq!(cause(&seen), (FailureCause::PathMtu, Phase::ClientHello, Party::Path));
            assert_eq!((seen.outcome_evidence, seen.path.too_big), (Evidence::Seen, 1));
        }
    }
}

#[test]
fn the_servers_flight_can_be_too_big_as_well() {
    let wire = Wire::default();
    let mut segments = wire.segments(&hybrid().cut_after(2, Ending::Open));
    segments.pop();
    let flight = data(&segments, Server)[0];
    let router = too_big(&wire, &segments[flight], ms(2));
    let after = clock(&wire, Duration::from_secs(20));
    let seen = seen_in(&wire, &merge(vec![wire.packets(&segments), vec![router], after]));
    assert_eq!(cause(&seen), (FailureCause::PathMtu, Phase::ServerFlight, Party::Path));
}

#[test]
fn a_connection_that_recovers_from_too_big_only_counts_it() {
    let wire = Wire { round_trip: ms(700), ..Wire::default() };
    let segments = transform::retransmit(&wire.segments(&hybrid()), ms(250));
    let router = too_big(&wire, &segments[data(&segments, Client)[0]], ms(2));
    let seen = seen_in(&wire, &merge(vec![wire.packets(&segments), vec![router.clone()]]));
    assert_eq!((seen.outcome, seen.path.too_big), (Outcome::Completed, 1));
    // It was told of the client's hello, which arrived; that the client is silent later is another matter.
    let mut stalled = wire.segments(&hybrid().cut_after(2, Ending::Open));
    stalled.pop();
    let all = merge(vec![wire.packets(&stalled), vec![router], clock(&wire, Duration::from_secs(20))]);
    let seen = seen_in(&wire, &all);
    assert_eq!(cause(&seen), (FailureCause::Timeout, Phase::ServerFlight, Party::Path));
    assert_eq!(seen.path.too_big, 1);
}

#[test]
fn a_timeout_names_whose_turn_it_was() {
    let wire = Wire::default();
    let (all, unheard_flight) = {
        let all = wire.segments(&hybrid().cut_after(2, Ending::Open));
        (all.clone(), all[..all.len() - 1].to_vec())
    };
    let unheard_hello = unheard(&wire, &session(Scenario::X25519));
    let heard_hello = wire.segments(&hybrid().cut_after(1, Ending::Open));
    for (segments, after, by) in [
        (unheard_hello, Phase::ClientHello, Party::Path),
        (heard_hello, Phase::ClientHello, Party::Server),
        (unheard_flight, Phase::ServerFlight, Party::Path),
        (all, Phase::ServerFlight, Party::Client),
    ] {
        let seen = seen_after_silence(&wire, &segments);
        assert_eq!(cause(&seen), (FailureCause::Timeout, after, by));
        assert_eq!(seen.outcome_evidence, Evidence::Inferred);
    }
}

#[test]
fn a_close_stands_whether_a_reset_or_another_close_follows() {
    let wire = Wire::default();
    let hello = wire.segments(&hybrid().cut_after(1, Ending::Open));
    for (first, party) in [(Client, Party::Client), (Server, Party::Server)] {
        for second in [Client, Server] {
            let mut segments = hello.clone();
            segments.push(next(&segments, first, ms(5), FIN));
            let mut alone = segments.clone();
            segments.push(next(&segments, second, ms(5), RESET));
            assert_eq!(cause(&seen(&wire, &segments)), (FailureCause::Closed, Phase::ClientHello, party));
            alone.push(next(&alone, first.peer(), ms(5), FIN));
            assert_eq!(cause(&seen(&wire, &alone)), (FailureCause::Closed, Phase::ClientHello, party));
        }
    }
}

#[test]
fn whoever_closed_first_gave_the_handshake_up() {
    let wire = Wire::default();
    // The client has sent its Finished and then had enough; the server's never comes.
    let full = session(Scenario::Tls12);
    let segments = wire.segments(&full.clone().cut_after(3, Ending::Open));
    for flags in [FIN, RESET] {
        let mut given_up = segments.clone();
        given_up.push(next(&given_up, Client, Duration::from_secs(3), FIN));
        given_up.push(next(&given_up, Server, ms(20), flags));
        let seen = seen(&wire, &given_up);
        assert_eq!(cause(&seen), (FailureCause::Closed, Phase::ClientFlight, Party::Client), "{flags:?}");
    }
}

#[test]
fn a_new_connection_over_a_stalled_one_leaves_the_stalled_ones_cause() {
    let wire = Wire::default();
    let stalled = resent(unheard(&wire, &hybrid()), &[210, 640, 1500]);
    let later = Wire {
        start: wire.start + Duration::from_secs(3),
        client_first_sequence: wire.client_first_sequence.wrapping_add(0x4000_0000),
        server_first_sequence: wire.server_first_sequence.wrapping_add(0x4000_0000),
        ..wire.clone()
    };
    let all: Vec<Packet> =
        wire.packets(&stalled).into_iter().chain(packets(&later, &session(Scenario::X25519))).collect();
    let seen = crate::observe::observe(wire.link, &all);
    let [first, second] = seen.as_slice() else { panic!("{} attempts", seen.len()) };
    assert_eq!(cause(first), BLACKHOLE);
    assert_eq!(second.outcome, Outcome::Completed);
}

#[test]
fn only_what_goes_on_shows_that_a_timeout_came_early() {
    let wire = Wire::default();
    let hello = unheard(&wire, &hybrid());
    let late = |after: Duration, place: usize| {
        let mut segments = hello.clone();
        let again = hello[data(&hello, Client)[place]].clone();
        segments.push(Segment { at: again.at + after, ..again });
        segments
    };
    let early = |segments: &[Segment]| {
        let mut packets = wire.packets(segments);
        packets.extend(clock(&wire, Duration::from_secs(30)));
        packets.sort_by_key(|packet| packet.at);
        crate::observe::observe_with_health(wire.link, &packets).1.table.late_completions
    };
    // The clock has to pass the timeout first.
    let pass = |segments: Vec<Segment>| -> Vec<Segment> {
        let mut all = segments;
        let mut answer = next(&all, Server, Duration::ZERO, ACK);
        answer.at = all[0].at + Duration::from_secs(9);
        answer.payload = vec![22, 3, 3, 0, 4];
        all.push(answer);
        all
    };
    let again = late(Duration::from_secs(8), 0);
    assert_eq!(early(&again), 0, "the hello once more is no progress");
    assert_eq!(early(&pass(again)), 1, "an answer is");
}

#[test]
fn a_refused_upgrade_is_no_failure_of_the_path() {
    let dialogue: [(_, &[u8]); 3] = [
        (Server, b"220 mail.example ESMTP\r\n"),
        (Client, b"STARTTLS\r\n"),
        (Server, b"454 4.7.0 TLS not available\r\n"),
    ];
    let refused = conversation(Vec::new(), Ending::Closed(Client)).preceded_by(&dialogue);
    let seen = seen(&Wire::default(), &Wire::default().segments(&refused));
    assert_eq!(cause(&seen).0, FailureCause::UpgradeRefused);
    assert_eq!(cause(&seen).2, Party::Server);
}

#[test]
fn a_gap_is_never_blamed_on_the_path() {
    let wire = Wire::default();
    // The capture lost the server's whole answer; the client acknowledges it, and then nothing comes.
    let whole = wire.segments(&hybrid().cut_after(2, Ending::Open));
    let mut segments = transform::without(&whole, &data(&whole, Server));
    let seen_now = seen_after_silence(&wire, &segments);
    assert_eq!(seen_now.incomplete_reason, Some(IncompleteReason::Gap));
    // And then the client sends something that is not acknowledged, again and again.
    let mut lost = next(&segments, Client, ms(1), ACK);
    lost.payload = vec![23; 40];
    for after in [0, 210, 640] {
        segments.push(Segment { at: lost.at + ms(after), ..lost.clone() });
    }
    let seen_now = seen_after_silence(&wire, &segments);
    assert_eq!((seen_now.outcome, seen_now.failure), (Outcome::Incomplete, None));
    // A hello of which a piece is missing although the server acknowledged it.
    let hello = wire.segments(&hybrid().cut_after(1, Ending::Open));
    let holed = transform::without(&hello, &[data(&hello, Client)[1]]);
    assert_eq!(seen_after_silence(&wire, &holed).outcome, Outcome::Incomplete);
    // Of one side nothing can be said.
    let client_only: Vec<Segment> = resent(unheard(&wire, &hybrid()), &[210, 640])
        .into_iter()
        .filter(|segment| segment.sender == Client)
        .collect();
    let one_sided = seen_after_silence(&wire, &client_only);
    assert_eq!(one_sided.incomplete_reason, Some(IncompleteReason::OneSided));
}

#[test]
fn a_hello_in_ssl_2_that_is_answered_in_it_has_a_version() {
    let hello = [&[0x80, 46, 1, 0, 2, 0, 21, 0, 0, 0, 16][..], &[7; 37]].concat();
    let answer = [&[0x83, 0x2a, 4, 0, 1, 0, 2, 3, 0][..], &[1; 803]].concat();
    for size in [3, 100, 1460] {
        let flights = vec![(Client, hello.clone()), (Server, answer.clone())];
        let wire = Wire { segment_bytes: size, ..Wire::default() };
        let seen = seen(&wire, &wire.segments(&conversation(flights, Ending::Closed(Server))));
        assert_eq!(seen.incomplete_reason, Some(IncompleteReason::Ambiguous), "{size}");
        assert_eq!(seen.version.map(|version| version.0), Some(2), "{size}");
        assert_eq!(seen.cipher_suite, None);
    }
    // A server that knows better answers in TLS.
    let flights = vec![(Client, hello), (Server, ServerHello::tls12(0xc02f).record())];
    let wire = wire(40_000, Duration::ZERO);
    let seen = seen_in(&wire, &packets(&wire, &conversation(flights, Ending::Closed(Server))));
    assert_eq!(seen.version.map(|version| version.0), Some(0x0303));
    assert!(ClientHello::tls12().record().len() > 5);
}
