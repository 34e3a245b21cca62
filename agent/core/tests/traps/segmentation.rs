//! Segments, records and messages that do not begin and end where one would like them to.

use crate::observe::observe_with_health;
use crate::stories::{attempts, flight12, packets, plain12, seen, seen_in, segments, tls12, tls13};
use pqscope_agent_core::iana::Group;
use pqscope_agent_core::observation::{FailureCause, Outcome, Party};
use pqscope_lab::capture::{Ending, Flags, Link, Segment, Session, transform};
use pqscope_lab::plan::Side::{Client, Server};
use pqscope_lab::synthesis::{
    ClientHello, ServerHello, alert, content, conversation, encrypted, handshake_records, named_curve,
    record, record_of_version,
};
use std::time::Duration;

/// With padding (RFC 7685), so that the hello takes two segments.
fn large_hello() -> ClientHello {
    ClientHello::tls13().with(21, vec![0; 400])
}

fn hybrid() -> Session {
    tls13(&large_hello(), &ServerHello::tls13(0x11ec))
}

/// Places of a side's segments with data.
fn data_of(segments: &[Segment], side: pqscope_lab::plan::Side) -> Vec<usize> {
    let places = segments.iter().enumerate();
    places.filter(|(_, s)| s.sender == side && !s.payload.is_empty()).map(|(at, _)| at).collect()
}

#[test]
fn a_hello_over_two_segments() {
    let seen = seen(&hybrid());
    assert_eq!((seen.outcome, seen.client_hello.segments), (Outcome::Completed, Some(2)));
    assert_eq!(seen.group.unwrap().id, Group(0x11ec));
}

#[test]
fn a_hello_whose_first_segment_comes_last() {
    let mut all = transform::cut_stream(&segments(&hybrid()), Client, &[300, 600, 900]);
    let hello: Vec<usize> = data_of(&all, Client).into_iter().take(5).collect();
    let first = all.remove(hello[0]);
    all.insert(hello[4], first);
    let seen = seen_in(&all);
    assert_eq!((seen.outcome, seen.client_hello.segments), (Outcome::Completed, Some(5)));
    assert_eq!(seen.server_name.as_deref(), Some("service.example"));
}

#[test]
fn a_hello_in_records_of_a_few_bytes_with_cuts_within_its_header() {
    let hello = large_hello();
    let expected = seen(&hybrid()).client_hello;
    for size in 1..=20 {
        let mut session = hybrid();
        session.flights[0].bytes = handshake_records(&hello.message(), size);
        let seen = seen(&session);
        let records = hello.message().len().div_ceil(size);
        assert_eq!(seen.outcome, Outcome::Completed, "{size}");
        assert_eq!(seen.client_hello.records, Some(records.try_into().unwrap()), "{size}");
        assert_eq!(seen.client_hello.key_shares, expected.key_shares, "{size}");
        assert_eq!(seen.client_hello.length, expected.length, "{size}");
    }
}

#[test]
fn one_message_over_hundreds_of_records() {
    let flight =
        flight12(&ServerHello::tls12(0xc02f), &[vec![7; 60_000], vec![8; 3]], Some(named_curve(0x17)));
    let records = handshake_records(&flight, 100);
    assert!(records.len() / 105 > 600);
    let seen = seen(&tls12(&ClientHello::tls12(), records));
    assert_eq!(seen.outcome, Outcome::Completed);
    assert_eq!(seen.certificates.unwrap().lengths.unwrap(), [60_000, 3]);
    assert_eq!(seen.group.unwrap().id, Group(0x17));
}

#[test]
fn both_directions_hold_a_partial_record_at_the_same_time() {
    let hello = ClientHello::tls12().record();
    let (first, second) = hello.split_at(40);
    let warning = alert(1, 112);
    let mut session = plain12();
    let flight = session.flights[1].bytes.clone();
    session.flights.splice(
        0..2,
        conversation(
            vec![
                (Client, first.to_vec()),
                (Server, warning[..6].to_vec()),
                (Client, second.to_vec()),
                (Server, [&warning[6..], &flight].concat()),
            ],
            Ending::Open,
        )
        .flights,
    );
    let seen = seen(&session);
    assert_eq!((seen.outcome, seen.alerts.len()), (Outcome::Completed, 1));
    assert_eq!(seen.certificates.unwrap().lengths.unwrap(), [900, 1100]);
}

#[test]
fn several_messages_in_one_record_and_one_segment() {
    let flight = flight12(&ServerHello::tls12(0xc02f), &[vec![3; 700]], Some(named_curve(0x1d)));
    let one = record(content::HANDSHAKE, &flight);
    assert!(one.len() < 1460);
    let each: Vec<u8> = [
        record(content::HANDSHAKE, &ServerHello::tls12(0xc02f).message()),
        record(content::HANDSHAKE, &flight[ServerHello::tls12(0xc02f).message().len()..]),
    ]
    .concat();
    for bytes in [one, each] {
        let seen = seen(&tls12(&ClientHello::tls12(), bytes));
        assert_eq!(seen.outcome, Outcome::Completed);
        assert_eq!(seen.certificates.unwrap().lengths.unwrap(), [700]);
        assert_eq!(seen.group.unwrap().id, Group(0x1d));
    }
}

#[test]
fn records_of_length_zero() {
    let hello = large_hello().message();
    let empty = record(content::HANDSHAKE, &[]).repeat(50);
    let mut session = hybrid();
    let (a, b) = hello.split_at(2);
    session.flights[0].bytes = [record(content::HANDSHAKE, a), empty, record(content::HANDSHAKE, b)].concat();
    // Empty application data is allowed at any time in TLS 1.3 (RFC 8446 section 5.1), and tells nothing.
    session.flights[1].bytes.extend(record(content::APPLICATION_DATA, &[]).repeat(3));
    let seen = seen(&session);
    assert_eq!((seen.outcome, seen.client_hello.records), (Outcome::Completed, Some(52)));
}

#[test]
fn a_record_longer_than_the_limit_or_of_no_version_stops_the_reading() {
    let too_long = record(content::HANDSHAKE, &vec![2; 16_384 + 2_049]);
    let no_version = record_of_version(0x0707, content::HANDSHAKE, &ServerHello::tls13(0x1d).message());
    for bytes in [too_long, no_version] {
        let flights = vec![(Client, ClientHello::tls13().record()), (Server, bytes.clone())];
        let unanswered = seen(&conversation(flights, Ending::Closed(Server)));
        assert_eq!(unanswered.failure.unwrap().cause, FailureCause::NotTls);
        let mut session = hybrid();
        session.flights[1].bytes = [ServerHello::tls13(0x11ec).record(), bytes].concat();
        assert_eq!(seen(&session).failure.unwrap().cause, FailureCause::Malformed);
    }
}

#[test]
fn overlapping_segments_with_other_content_are_counted_and_the_first_bytes_stand() {
    let plain = segments(&hybrid());
    let spoilt = |segment: &Segment| {
        let payload = segment.payload.iter().map(|byte| byte ^ 0x20).collect();
        Segment { payload, ..segment.clone() }
    };
    let hello = data_of(&plain, Client);
    // After it was delivered, while it waits for a hole to be filled, and before the one that a receiver takes.
    for (about, place) in [("after", hello[0] + 1), ("while it waits", hello[1] + 1)] {
        let mut all = plain.clone();
        let spoilt = spoilt(&plain[place - 1]);
        all.insert(place, spoilt);
        if about == "while it waits" {
            let first = all.remove(hello[0]);
            all.insert(place, first);
        }
        let (seen, health) = observe_with_health(Link::Ethernet, &packets(&all));
        assert_eq!((seen.len(), seen[0].outcome), (1, Outcome::Completed), "{about}");
        assert_eq!(seen[0].server_name.as_deref(), Some("service.example"), "{about}");
        assert_eq!(health.table.conflicting_segments, 1, "{about}");
    }
    let faithful = transform::duplicate(&transform::overlap(&plain, 100));
    let (_, health) = observe_with_health(Link::Ethernet, &packets(&faithful));
    assert_eq!(health.table.conflicting_segments, 0);
}

#[test]
fn a_keepalive_that_repeats_a_byte_with_another_value() {
    let all = transform::keepalives(&segments(&hybrid()));
    let (seen, health) = observe_with_health(Link::Ethernet, &packets(&all));
    assert_eq!((seen.len(), seen[0].outcome), (1, Outcome::Completed));
    assert_eq!(health.table.conflicting_segments, 0, "that is what keepalives do");
}

#[test]
fn a_close_that_carries_the_last_bytes() {
    let flights = vec![(Client, ClientHello::tls13().record()), (Server, alert(2, 40))];
    let mut all = segments(&conversation(flights, Ending::Open));
    let place = data_of(&all, Server)[0];
    all[place].flags.fin = true;
    let failure = seen_in(&all).failure.unwrap();
    assert_eq!(failure.cause.as_str(), "alert_handshake_failure");
}

#[test]
fn a_syn_that_carries_the_hello() {
    // TCP Fast Open (RFC 7413): the SYN-ACK acknowledges the hello.
    let hello = ClientHello::tls12();
    let mut session = plain12();
    session.flights[0].bytes = hello.record();
    let mut all = segments(&session);
    let place = data_of(&all, Client)[0];
    let data = all.remove(place);
    all[0].payload.clone_from(&data.payload);
    all[1].acknowledgement = all[1].acknowledgement.wrapping_add(data.payload.len().try_into().unwrap());
    // The ACK that ends the opening stands behind the data.
    all[2].sequence = all[1].acknowledgement;
    let seen = seen_in(&all);
    assert_eq!((seen.outcome, seen.capture.missing_bytes), (Outcome::Completed, 0));
    assert_eq!(seen.client_hello.length, Some((hello.message().len() - 4).try_into().unwrap()));
}

#[test]
fn several_answers_to_the_syn_with_different_numbers() {
    let plain = segments(&hybrid());
    for (about, place) in [("before", 1), ("after", 2)] {
        for other in [123_u32, 2_000_000 + (1 << 20), u32::MAX - 5] {
            let mut all = plain.clone();
            let mut answer = plain[1].clone();
            answer.sequence = other;
            all.insert(place, answer);
            let seen = attempts(&packets(&all));
            assert_eq!(seen.len(), 1, "{about}, {other}");
            assert_eq!(seen[0].outcome, Outcome::Completed, "{about}, {other}");
            assert_eq!(seen[0].capture.missing_bytes, 0, "{about}, {other}");
        }
    }
}

#[test]
fn the_last_packet_of_the_opening_carries_the_hello() {
    let mut all = segments(&plain12());
    let place = data_of(&all, Client)[0];
    let hello = all.remove(place);
    all[2] = Segment { at: all[2].at, ..hello };
    let seen = seen_in(&all);
    assert_eq!(seen.outcome, Outcome::Completed);
    assert_eq!(seen.timing.tcp_rtt, Some(Duration::from_micros(20_012)));
}

#[test]
fn the_answer_is_seen_before_the_hello() {
    let plain = segments(&hybrid());
    let (hello, answer) = (data_of(&plain, Client), data_of(&plain, Server));
    // With all of the server's side before the client's as well: neither was seen to open the connection.
    let server_first: Vec<Segment> = [Server, Client]
        .into_iter()
        .flat_map(|side| plain.iter().filter(move |segment| segment.sender == side).cloned())
        .zip(&plain)
        .map(|(segment, place)| Segment { at: plain[0].at + (place.at - plain[0].at) / 100, ..segment })
        .collect();
    let mut swapped = plain.clone();
    let first_answer = swapped.remove(answer[0]);
    swapped.insert(hello[0], first_answer);
    for all in [swapped, server_first] {
        let seen = seen_in(&all);
        assert_eq!(seen.client.port, 40_000);
        assert_eq!(seen.client_hello.segments, Some(2));
        assert_eq!((seen.outcome, seen.group.unwrap().id), (Outcome::Completed, Group(0x11ec)));
    }
}

#[test]
fn encrypted_bytes_in_mid_stream_are_never_read_as_messages() {
    // Handshake records whose encrypted bodies begin like a ServerHello or a Certificate with plausible lengths; the
    // switch to encryption was before the capture.
    let disguised = |kind: u8| {
        record(content::HANDSHAKE, &[&[kind, 0, 0, 36, 0, 0, 33, 0, 0, 30][..], &[5; 30]].concat())
    };
    let flights = vec![
        (Client, encrypted(200)),
        (Server, [disguised(11), encrypted(400), disguised(2)].concat()),
        (Client, [disguised(11), disguised(16)].concat()),
        (Server, encrypted(1000)),
    ];
    let all = segments(&conversation(flights, Ending::Closed(Client)));
    assert_eq!(attempts(&packets(&all[3..])), []);
    // Where the hole hides the switch, a record may be encrypted as well.
    let whole = segments(&plain12());
    let server = data_of(&whole, Server);
    let mut holed = transform::without(&whole, &server[1..2]);
    let more = Segment { payload: disguised(11), ..whole[*server.last().unwrap()].clone() };
    let end = holed.iter().position(|segment| segment.flags.fin).unwrap();
    holed.insert(end, more);
    assert!(seen_in(&holed).certificates.is_none());
}

#[test]
fn a_reset_that_is_captured_before_the_bytes_that_it_follows() {
    let flights = vec![(Client, ClientHello::tls13().record())];
    let mut all = segments(&conversation(flights, Ending::Reset(Client)));
    let reset = all.pop().unwrap();
    assert!(reset.flags.reset);
    all.insert(3, reset);
    let failure = seen_in(&all).failure.unwrap();
    assert_eq!((failure.cause, failure.by), (FailureCause::Reset, Party::Client));
}

#[test]
fn pure_acknowledgements_of_nothing_new_tell_nothing() {
    let plain = segments(&hybrid());
    let flags = Flags { ack: true, ..Flags::default() };
    let again = |segment: &Segment| {
        let bare = Segment { flags, payload: Vec::new(), announced_segment_bytes: None, ..segment.clone() };
        [segment.clone(), bare.clone(), bare]
    };
    let (opening, rest) = plain.split_at(3);
    let all: Vec<Segment> = opening.iter().cloned().chain(rest.iter().flat_map(again)).collect();
    assert_eq!(seen_in(&all).outcome, Outcome::Completed);
}
