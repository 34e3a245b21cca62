//! Real handshakes, made in memory and put on a simulated wire, through the public interface.

#![expect(clippy::unwrap_used, reason = "a test stops at whatever it does not expect")]

use pqscope_agent_core::Limits;
use pqscope_agent_core::decode::LinkType;
use pqscope_agent_core::iana::KeyExchangeClass;
use pqscope_agent_core::observation::{FailureCause, IncompleteReason, Observation, Outcome, Party, Phase};
use pqscope_agent_core::observer::{InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::time::Timestamp;
use pqscope_lab::capture::{self, Ending, Endpoints, Session, Wire, transform};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use std::time::Duration;

fn timestamp(at: Duration) -> Timestamp {
    Timestamp::from_nanos(at.as_nanos().try_into().unwrap())
}

fn feed(observer: &mut Observer, packets: &[capture::Packet]) {
    for packet in packets {
        observer.packet(&Packet {
            link: LinkType::Ethernet,
            at: timestamp(packet.at),
            interface: InterfaceId::default(),
            bytes: &packet.bytes,
            wire_length: packet.original_length,
        });
    }
}

fn drain(observer: &mut Observer) -> Vec<Observation> {
    std::iter::from_fn(|| observer.next_observation()).map(|observation| *observation).collect()
}

fn observe(packets: &[capture::Packet]) -> Vec<Observation> {
    let mut observer = Observer::new(Settings::default());
    feed(&mut observer, packets);
    observer.finish();
    drain(&mut observer)
}

fn session(scenario: Scenario) -> Session {
    Session::of(scenario, "service.example").unwrap()
}

/// A wire of its own client port, `after` the default start.
fn wire(client_port: u16, after: Duration) -> Wire {
    let endpoints = Endpoints::v4(client_port);
    Wire { endpoints, start: Wire::default().start + after, ..Wire::default() }
}

fn packets(wire: &Wire, session: &Session) -> Vec<capture::Packet> {
    wire.packets(&wire.segments(session))
}

fn only(observations: Vec<Observation>) -> Observation {
    let [observation] = <[Observation; 1]>::try_from(observations).unwrap();
    observation
}

#[test]
fn the_group_that_counts_is_the_one_of_the_final_server_hello() {
    for (scenario, class) in [
        (Scenario::HelloRetryToHybrid, KeyExchangeClass::Hybrid),
        (Scenario::HelloRetryToClassical, KeyExchangeClass::Classical),
    ] {
        let seen = only(observe(&packets(&Wire::default(), &session(scenario))));
        let group = seen.group.unwrap().id;
        assert_eq!((group.class(), seen.key_exchange_class), (class, Some(class)), "{scenario:?}");
        assert_eq!(seen.hello_retry.unwrap().group, Some(group), "{scenario:?}");
        assert_eq!(seen.outcome, Outcome::Completed, "{scenario:?}");
        // The offer is that of the first hello.
        assert!(!seen.client_hello.key_shares.unwrap().contains(&group), "{scenario:?}");
    }
}

#[test]
fn with_only_the_retry_there_is_no_group_yet() {
    let cut = session(Scenario::HelloRetryToHybrid).cut_after(2, Ending::Reset(Side::Client));
    let seen = only(observe(&packets(&Wire::default(), &cut)));
    assert!(seen.hello_retry.is_some() && seen.group.is_none() && seen.cipher_suite.is_none());
    assert_eq!(seen.version.unwrap().name().as_deref(), Some("1.3"));
    let failure = seen.failure.unwrap();
    assert_eq!((failure.cause, failure.after), (FailureCause::Reset, Phase::HelloRetry));
    assert_eq!(failure.by, Party::Client);
}

#[test]
fn a_port_used_again_is_another_attempt() {
    let first = session(Scenario::X25519).cut_after(1, Ending::Open);
    let mut all = packets(&wire(40_000, Duration::ZERO), &first);
    let again = Wire { client_first_sequence: 9_000_000, ..wire(40_000, Duration::from_secs(2)) };
    all.extend(packets(&again, &session(Scenario::Hybrid)));
    let seen = observe(&all);
    let outcomes: Vec<_> = seen.iter().map(|seen| seen.outcome).collect();
    assert_eq!(outcomes, [Outcome::Failed, Outcome::Completed]);
    assert_ne!(seen[0].id, seen[1].id);
}

#[test]
fn expiry_is_driven_by_packet_time() {
    let silent = session(Scenario::Hybrid).cut_after(1, Ending::Open);
    let mut all = packets(&wire(40_000, Duration::ZERO), &silent);
    // Another connection, six seconds later, moves the clock.
    all.extend(packets(&wire(40_001, Duration::from_secs(6)), &session(Scenario::X25519)));
    let seen = observe(&all);
    let timed_out = seen.iter().find(|seen| seen.outcome == Outcome::Failed).unwrap();
    let failure = timed_out.failure.unwrap();
    assert_eq!((failure.cause, failure.after), (FailureCause::Timeout, Phase::ClientHello));
    // The verdict is dated when the silence had lasted long enough, not when that was noticed.
    let lasted = timed_out.end.since(timed_out.start).unwrap();
    assert!(lasted >= Duration::from_secs(5) && lasted < Duration::from_millis(5_100), "{lasted:?}");
    // Without the other connection the capture does not show that time went by.
    let alone = only(observe(&packets(&Wire::default(), &silent)));
    assert_eq!(alone.incomplete_reason, Some(IncompleteReason::EndedEarly));
}

#[test]
fn records_come_in_the_order_of_their_ends() {
    let mut sessions = Vec::new();
    for n in 0..40_u16 {
        let after = Duration::from_millis(u64::from(n * 37 % 40) * 90);
        let scenario = if n % 3 == 0 { Scenario::NoSharedGroup } else { Scenario::SilentServer };
        sessions.push(packets(&wire(40_000 + n, after), &session(scenario)));
    }
    // Moves the clock past every timeout.
    sessions.push(packets(&wire(50_000, Duration::from_secs(30)), &session(Scenario::X25519)));
    let seen = observe(&capture::merge(sessions));
    assert_eq!(seen.len(), 41);
    assert_eq!(seen.iter().filter(|seen| seen.outcome == Outcome::Failed).count(), 40);
    assert!(seen.is_sorted_by_key(|seen| (seen.end, seen.start)));
}

#[test]
fn a_clock_that_steps_back_loses_no_attempt() {
    let mut all = packets(&wire(40_000, Duration::from_secs(3600)), &session(Scenario::Hybrid));
    all.extend(packets(&wire(40_001, Duration::ZERO), &session(Scenario::Hybrid)));
    let mut observer = Observer::new(Settings::default());
    feed(&mut observer, &all);
    observer.finish();
    let seen = drain(&mut observer);
    assert_eq!(seen.iter().filter(|seen| seen.outcome == Outcome::Completed).count(), 2);
    assert_eq!(observer.health().clock_steps, 1);
}

#[test]
fn over_the_byte_bound_the_oldest_attempt_is_given_up_and_said() {
    const BOUND: usize = 20_000;
    let half_open = session(Scenario::Hybrid).cut_after(1, Ending::Open);
    let half_open = |n: u16| packets(&wire(40_000 + n, Duration::from_millis(n.into())), &half_open);
    let limits = Limits { bytes: BOUND, ..Limits::default() };
    let mut observer = Observer::new(Settings { limits, ..Settings::default() });
    let mut most = 0;
    for packet in capture::merge((0..50).map(half_open).collect()) {
        feed(&mut observer, &[packet]);
        most = most.max(observer.health().buffered);
    }
    observer.finish();
    let seen = drain(&mut observer);
    let evicted =
        seen.iter().filter(|seen| seen.incomplete_reason == Some(IncompleteReason::Evicted)).count();
    assert!(evicted > 10, "{evicted}");
    // Connections without an attempt give way first, and are counted too.
    assert!(observer.health().table.evicted_bytes >= evicted as u64);
    assert_eq!(seen.len(), 50);
    assert!(most <= BOUND, "{most} bytes");
    assert_eq!((observer.health().buffered, observer.health().flows), (0, 0));
}

#[test]
fn a_full_table_forgets_finished_connections_first() {
    let limits = Limits { flows: 32, ..Limits::default() };
    let mut observer = Observer::new(Settings { limits, ..Settings::default() });
    let handshake = session(Scenario::X25519);
    for n in 0..200_u16 {
        feed(&mut observer, &packets(&wire(40_000 + n, Duration::from_millis(200) * n.into()), &handshake));
        assert!(observer.health().flows <= 32);
    }
    observer.finish();
    let seen = drain(&mut observer);
    assert_eq!(seen.iter().filter(|seen| seen.outcome == Outcome::Completed).count(), 200);
}

#[test]
fn packets_seen_twice_count_once() {
    let session = session(Scenario::Hybrid);
    let wire = Wire::default();
    let twice = wire.packets(&transform::duplicate(&wire.segments(&session)));
    let (once, twice) = (only(observe(&packets(&wire, &session))), only(observe(&twice)));
    assert_eq!((once.outcome, once.group), (twice.outcome, twice.group));
    assert_eq!(once.client_hello, twice.client_hello);
}

/// A segment of the session's connection that it does not hold itself.
fn stray(
    wire: &Wire,
    like: &capture::Segment,
    change: impl Fn(&mut capture::Segment),
) -> Vec<capture::Packet> {
    let mut segment = capture::Segment { payload: Vec::new(), ..like.clone() };
    change(&mut segment);
    wire.packets(&[segment])
}

#[test]
fn segments_with_other_numbers_change_nothing() {
    let session = session(Scenario::Hybrid);
    let wire = Wire::default();
    let segments = wire.segments(&session);
    let undisturbed = only(observe(&packets(&wire, &session)));
    for half_way in [1 << 31, 1 << 25, u32::MAX - 200] {
        for (reset, syn) in [(true, false), (false, true), (false, false)] {
            for place in 4..segments.len() - 4 {
                let mut all = wire.packets(&segments);
                let forged = stray(&wire, &segments[place], |segment| {
                    segment.sequence = segment.sequence.wrapping_add(half_way);
                    segment.flags.reset = reset;
                    segment.flags.syn = syn;
                    segment.flags.ack = false;
                    segment.payload = if reset || syn { Vec::new() } else { b"junk".to_vec() };
                });
                all.splice(place..place, forged);
                let seen = only(observe(&all));
                let what = format!("distance {half_way}, reset {reset}, syn {syn}, before {place}");
                assert_eq!(
                    (seen.outcome, seen.failure),
                    (undisturbed.outcome, undisturbed.failure),
                    "{what}"
                );
                assert_eq!(seen.group, undisturbed.group, "{what}");
            }
        }
    }
}

#[test]
fn an_answer_that_the_capture_missed_is_no_silence() {
    // The client acknowledges 3,000 bytes that are nowhere, and then nothing comes, or a bare reset.
    let wire = Wire::default();
    let hello = session(Scenario::Hybrid).cut_after(1, Ending::Open);
    let segments = wire.segments(&hello);
    let last = segments.iter().rfind(|segment| segment.sender == Side::Client).unwrap();
    let end = last.sequence.wrapping_add(u32::try_from(last.payload.len()).unwrap());
    for reset in [false, true] {
        let mut all = wire.packets(&segments);
        all.extend(stray(&wire, last, |segment| {
            segment.at += Duration::from_millis(30);
            segment.sequence = end;
            segment.acknowledgement = segment.acknowledgement.wrapping_add(3000);
        }));
        if reset {
            all.extend(stray(&wire, last, |segment| {
                segment.at += Duration::from_millis(40);
                segment.sequence = end;
                segment.flags = capture::Flags { reset: true, ..capture::Flags::default() };
            }));
        }
        all.extend(packets(&self::wire(50_000, Duration::from_secs(20)), &session(Scenario::X25519)));
        let seen = observe(&all);
        let seen = seen.iter().find(|seen| seen.client.port == 40_000).unwrap();
        assert_eq!(seen.incomplete_reason, Some(IncompleteReason::Gap), "reset {reset}");
        assert_eq!(seen.capture.missing_bytes, 3000);
    }
}

#[test]
fn a_server_that_closes_before_the_hello_arrives_fails_it() {
    let wire = Wire::default();
    let segments = wire.segments(&session(Scenario::Hybrid).cut_after(1, Ending::Open));
    for (reset, cause) in [(false, FailureCause::Closed), (true, FailureCause::Reset)] {
        let mut all = wire.packets(&segments);
        let ending = stray(&wire, &segments[1], |segment| {
            segment.sequence = segment.sequence.wrapping_add(1);
            segment.announced_segment_bytes = None;
            segment.flags = capture::Flags { ack: true, fin: !reset, reset, ..capture::Flags::default() };
        });
        all.splice(3..3, ending);
        all.extend(packets(&self::wire(50_000, Duration::from_secs(20)), &session(Scenario::X25519)));
        let seen = observe(&all);
        let failure = seen.iter().find(|seen| seen.client.port == 40_000).unwrap().failure.unwrap();
        assert_eq!((failure.cause, failure.by), (cause, Party::Server));
    }
}

#[test]
fn a_syn_flood_does_not_push_handshakes_out() {
    let handshake = session(Scenario::Hybrid);
    let limits = Limits { flows: 1_000, bytes: 1 << 20, ..Limits::default() };
    let mut observer = Observer::new(Settings { limits, ..Settings::default() });
    let mut flood: u16 = 0;
    for n in 0..50_u16 {
        for packet in packets(&wire(20_000 + n, Duration::from_millis(80) * n.into()), &handshake) {
            for _ in 0..20 {
                flood = flood.wrapping_add(1);
                let attacker = Wire { client_first_sequence: flood.into(), ..wire(flood, Duration::ZERO) };
                let endpoints = Endpoints::v6(flood);
                let attacker = Wire { endpoints, ..attacker };
                let mut syn = attacker.packets(&attacker.segments(&handshake)[..1]);
                syn[0].at = packet.at;
                feed(&mut observer, &syn);
            }
            feed(&mut observer, &[packet]);
        }
    }
    observer.finish();
    let seen = drain(&mut observer);
    assert_eq!(seen.iter().filter(|seen| seen.outcome == Outcome::Completed).count(), 50);
    assert_eq!(seen.len(), 50);
}

#[test]
fn interfaces_that_are_out_of_step_cause_no_timeout() {
    let mut observer = Observer::new(Settings::default());
    let (near, far) = (observer.interface(Some("near")), observer.interface(Some("far")));
    let ahead = packets(&wire(50_000, Duration::from_secs(3)), &session(Scenario::X25519));
    let all = packets(&Wire::default(), &session(Scenario::Hybrid));
    for (n, packet) in all.iter().enumerate() {
        for (interface, packet) in [(near, packet), (far, &ahead[n.min(ahead.len() - 1)])] {
            observer.packet(&Packet {
                link: LinkType::Ethernet,
                at: timestamp(packet.at),
                interface,
                bytes: &packet.bytes,
                wire_length: packet.original_length,
            });
        }
    }
    observer.finish();
    let outcomes: Vec<_> = drain(&mut observer).iter().map(|seen| seen.outcome).collect();
    assert_eq!(outcomes, [Outcome::Completed; 2]);
    assert_eq!(observer.health().clock_steps, 0);
}

#[test]
fn a_hello_after_a_minute_of_idling_is_an_attempt() {
    let wire = Wire::default();
    let session = session(Scenario::Hybrid);
    for extra in [0, 20, 67, 70, 200] {
        let mut all = packets(&wire, &session);
        for packet in &mut all[3..] {
            packet.at += Duration::from_secs(60) + Duration::from_millis(extra);
        }
        assert_eq!(only(observe(&all)).outcome, Outcome::Completed, "{extra} ms");
    }
}

#[test]
fn a_server_that_stalls_within_a_message_is_the_one_awaited() {
    for scenario in [Scenario::Hybrid, Scenario::Tls12] {
        let stalled = session(scenario).cut_after(2, Ending::Open).without_last_bytes(30);
        let mut all = packets(&Wire::default(), &stalled);
        all.extend(packets(&wire(50_000, Duration::from_secs(20)), &session(Scenario::X25519)));
        let seen = observe(&all);
        let failure = seen.iter().find(|seen| seen.client.port == 40_000).unwrap().failure.unwrap();
        assert_eq!((failure.cause, failure.by), (FailureCause::Timeout, Party::Server), "{scenario:?}");
    }
}

#[test]
fn the_hash_seed_never_shows() {
    let half_open = session(Scenario::X25519).cut_after(1, Ending::Open);
    let all: Vec<_> = (0..30).map(|n| packets(&wire(40_000 + n, Duration::ZERO), &half_open)).collect();
    let all = capture::merge(all);
    let with_seed = |hash_seed| {
        let mut observer = Observer::new(Settings { hash_seed, ..Settings::default() });
        feed(&mut observer, &all);
        observer.advance_to_at_least(timestamp(Wire::default().start + Duration::from_secs(60)));
        drain(&mut observer)
    };
    let seen = with_seed(1);
    assert_eq!(seen.len(), 30);
    assert_eq!(seen, with_seed(2));
}
