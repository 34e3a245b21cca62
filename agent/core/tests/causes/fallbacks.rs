//! Clients that fail with a post-quantum share and come back without one.

use crate::observe::feed;
use crate::stage::{ACK, data, ms, next, packets, session, wire};
use pqscope_agent_core::aggregate::{Aggregate, Bounds, SeriesValue};
use pqscope_agent_core::observation::{Observation, Outcome};
use pqscope_agent_core::observer::{Observer, Settings};
use pqscope_lab::capture::{Ending, Endpoints, Packet, Segment, Session, Wire, merge};
use pqscope_lab::plan::Side::{Client, Server};
use pqscope_lab::scenario::Scenario;
use pqscope_lab::synthesis::{
    ClientHello, ServerHello, change_cipher_spec, conversation, encrypted, key_shares, numbers,
};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// A client's hello with a hybrid share, or the same without one: the fingerprint does not change.
fn hello(post_quantum: bool) -> ClientHello {
    let hello = ClientHello::tls13();
    if post_quantum {
        return hello;
    }
    hello.with(10, numbers(2, &[0x001d])).with(51, key_shares(&[(0x001d, 32)]))
}

/// What becomes of the hybrid attempt.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Alert,
    Reset,
    Close,
    /// The hello is never acknowledged: it ends five seconds later.
    Lost,
}

fn failed(wire: &Wire, fate: Fate) -> Vec<Packet> {
    let mut flights = vec![(Client, hello(true).record())];
    let ending = match fate {
        Fate::Alert => {
            flights.push((Server, pqscope_lab::synthesis::alert(2, 40)));
            Ending::Closed(Server)
        }
        Fate::Reset => Ending::Reset(Server),
        Fate::Close => Ending::Closed(Server),
        Fate::Lost => Ending::Open,
    };
    let mut segments = wire.segments(&conversation(flights, ending));
    if matches!(fate, Fate::Lost) {
        segments.pop();
        let first = segments[data(&segments, Client)[0]].clone();
        segments.push(Segment { at: first.at + ms(250), ..first });
    }
    wire.packets(&segments)
}

fn completed(wire: &Wire, hello: &ClientHello) -> Vec<Packet> {
    let flights = vec![
        (Client, hello.record()),
        (Server, [ServerHello::tls13(0x001d).record(), change_cipher_spec(), encrypted(900)].concat()),
        (Client, [change_cipher_spec(), encrypted(53), encrypted(120)].concat()),
        (Server, encrypted(300)),
    ];
    packets(wire, &conversation(flights, Ending::Closed(Client)))
}

fn retry(wire: &Wire) -> Vec<Packet> {
    completed(wire, &hello(false))
}

fn clock(after: u64) -> Vec<Packet> {
    let wire = Wire {
        endpoints: Endpoints::v6(50_000 + u16::try_from(after).unwrap()),
        ..wire(0, Duration::from_secs(after))
    };
    packets(&wire, &session(Scenario::X25519))
}

fn observe_within(window: Duration, captures: Vec<Vec<Packet>>) -> Vec<Observation> {
    let mut observer = Observer::new(Settings { fallback_window: window, ..Settings::default() });
    let mut seen = Vec::new();
    for packet in merge(captures) {
        feed(&mut observer, Wire::default().link, std::slice::from_ref(&packet));
        // Live, records leave as soon as nothing earlier can come.
        seen.extend(std::iter::from_fn(|| observer.next_observation()).map(|seen| *seen));
    }
    observer.finish();
    seen.extend(std::iter::from_fn(|| observer.next_observation()).map(|seen| *seen));
    seen
}

fn observe(captures: Vec<Vec<Packet>>) -> Vec<Observation> {
    observe_within(Duration::from_secs(10), captures)
}

fn of(seen: &[Observation], port: u16) -> &Observation {
    seen.iter().find(|seen| seen.client.port == port).unwrap()
}

#[test]
fn the_retry_names_the_failed_attempt_whichever_ends_first() {
    for fate in [Fate::Alert, Fate::Reset, Fate::Close, Fate::Lost] {
        for after in [1, 3, 6] {
            let first = failed(&wire(40_000, Duration::ZERO), fate);
            let second = retry(&wire(40_001, Duration::from_secs(after)));
            // Time goes by in small steps, as live; nothing may leave before the first attempt has ended.
            let steps = (1..30).map(clock);
            let seen = observe([first, second].into_iter().chain(steps).collect());
            let (failed, retry) = (of(&seen, 40_000), of(&seen, 40_001));
            assert_eq!((failed.outcome, retry.outcome), (Outcome::Failed, Outcome::Completed), "{fate:?}");
            assert_eq!(retry.fallback_of.as_ref(), Some(&failed.id), "{fate:?} {after}");
            assert_eq!(failed.fallback_of, None);
            assert!(seen.is_sorted_by_key(|seen| (seen.end, seen.start)), "{fate:?} {after}");
            // And so it is counted.
            let mut aggregate = Aggregate::new(Bounds::default(), seen[0].start);
            seen.iter().for_each(|seen| aggregate.add(seen, seen.end));
            let collection = aggregate.collect(seen.last().unwrap().end);
            let name = "pqscope.handshake.fallbacks";
            let family = collection.families.iter().find(|family| family.metric.name == name).unwrap();
            let counts: Vec<_> = family.series.iter().map(|series| &series.value).collect();
            assert!(matches!(counts[..], [SeriesValue::Count(1)]), "{counts:?}");
        }
    }
}

#[test]
fn what_is_no_retry_of_it_names_nothing() {
    let at = Duration::from_secs(1);
    let like = wire(40_001, at);
    let client = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 99), 40_001);
    let server = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 99), 443);
    let Endpoints::V4 { client: known_client, server: known_server } = like.endpoints else { panic!() };
    let other_client = Wire { endpoints: Endpoints::V4 { client, server: known_server }, ..like.clone() };
    let other_server = Wire { endpoints: Endpoints::V4 { client: known_client, server }, ..like.clone() };
    let other_port = SocketAddrV4::new(*known_server.ip(), 8443);
    let other_port =
        Wire { endpoints: Endpoints::V4 { client: known_client, server: other_port }, ..like.clone() };
    let other_kind = hello(false).with(16, pqscope_lab::synthesis::protocols(&[b"h2"]));
    let cases = [
        ("another client", retry(&other_client)),
        ("another server", retry(&other_server)),
        ("another port of the server", retry(&other_port)),
        ("another fingerprint", completed(&like, &other_kind)),
        ("outside the window", retry(&wire(40_001, Duration::from_secs(12)))),
        ("with a hybrid share again", completed(&like, &hello(true))),
    ];
    for (what, second) in cases {
        let seen = observe(vec![failed(&wire(40_000, Duration::ZERO), Fate::Alert), second, clock(30)]);
        assert_eq!(of(&seen, 40_001).outcome, Outcome::Completed, "{what}");
        assert!(seen.iter().all(|seen| seen.fallback_of.is_none()), "{what}");
    }
    // The attempt before the failure retries nothing, and neither does one after a success.
    let before = retry(&wire(40_001, Duration::ZERO));
    let seen = observe(vec![before, failed(&wire(40_000, at), Fate::Alert), clock(30)]);
    assert!(seen.iter().all(|seen| seen.fallback_of.is_none()));
    let success = completed(&wire(40_000, Duration::ZERO), &hello(true));
    assert!(observe(vec![success, retry(&like), clock(30)]).iter().all(|seen| seen.fallback_of.is_none()));
}

#[test]
fn padding_and_a_pre_shared_key_in_one_of_both_hide_no_retry() {
    let padding = |hello: ClientHello| hello.with(21, vec![0; 120]);
    let key = |hello: ClientHello| hello.with(42, Vec::new()).with(41, vec![0; 90]);
    // The hybrid hello is too long to be padded.
    for (what, again) in [("padding", padding(hello(false))), ("pre_shared_key", key(hello(false)))] {
        let second = completed(&wire(40_001, Duration::from_secs(1)), &again);
        let seen = observe(vec![failed(&wire(40_000, Duration::ZERO), Fate::Alert), second, clock(30)]);
        let (failed, retry) = (of(&seen, 40_000), of(&seen, 40_001));
        assert_ne!(failed.client_hello.ja4, retry.client_hello.ja4, "{what}");
        assert_eq!(retry.fallback_of.as_ref(), Some(&failed.id), "{what}");
    }
}

#[test]
fn the_window_begins_with_the_end_of_the_failure() {
    let first = || failed(&wire(40_000, Duration::ZERO), Fate::Lost);
    // It ends about five seconds after its start.
    for (after, is_retry) in [(6, true), (8, false)] {
        let second = retry(&wire(40_001, Duration::from_secs(after)));
        let seen = observe_within(Duration::from_secs(2), vec![first(), second, clock(30)]);
        assert_eq!(of(&seen, 40_001).fallback_of.is_some(), is_retry, "{after}");
    }
}

/// A client that sends its hello byte by byte and never ends it, a second apart.
fn dribbling(wire: &Wire, seconds: u64) -> Vec<Packet> {
    let hello =
        Session { ending: Ending::Open, ..conversation(vec![(Client, hello(true).record())], Ending::Open) };
    let bytes = &hello.flights[0].bytes;
    // The hello is whole, and the server's answer dribbles.
    let mut segments = wire.segments(&hello);
    let answer = ServerHello::tls13(0x11ec).record();
    assert!(bytes.len() > 1000);
    for n in 0..seconds {
        let mut piece = next(&segments, Server, Duration::from_secs(1), ACK);
        piece.payload = vec![answer[usize::try_from(n).unwrap()]];
        segments.push(piece);
    }
    wire.packets(&segments)
}

#[test]
fn an_attempt_that_never_ends_holds_nothing_up_for_good() {
    let mut observer = Observer::new(Settings::default());
    let elder = dribbling(&wire(40_000, Duration::ZERO), 60);
    let waiting = retry(&wire(40_001, Duration::from_secs(2)));
    let mut came = Vec::new();
    for packet in merge(vec![elder, waiting]) {
        feed(&mut observer, Wire::default().link, std::slice::from_ref(&packet));
        let now = packet.at - Wire::default().start;
        came.extend(std::iter::from_fn(|| observer.next_observation()).map(|seen| (now, seen.client.port)));
    }
    let [(when, 40_001)] = came[..] else { panic!("{came:?}") };
    assert!(when > Duration::from_secs(7) && when < Duration::from_secs(11), "{when:?}");
}

#[test]
fn many_clients_behind_one_address_hold_nothing_up() {
    let mut observer = Observer::new(Settings::default());
    let mut captures = Vec::new();
    for n in 0..300_u16 {
        let after = ms(u64::from(n) * 100);
        let wire = wire(20_000 + n, after);
        captures.push(if n % 3 == 0 { retry(&wire) } else { failed(&wire, Fate::Lost) });
    }
    captures.push(clock(60));
    let (mut retries, mut count) = (0, 0);
    let mut take = |observer: &mut Observer, now: Option<Duration>| {
        while let Some(seen) = observer.next_observation() {
            count += 1;
            retries += usize::from(seen.fallback_of.is_some());
            let late = now.and_then(|now| now.checked_sub(Duration::from_nanos(seen.end.as_nanos())));
            assert!(late.is_none_or(|late| late < Duration::from_secs(8)), "{late:?}");
        }
    };
    let crowd_is_over = wire(0, Duration::from_secs(29)).start;
    for packet in merge(captures) {
        feed(&mut observer, Wire::default().link, std::slice::from_ref(&packet));
        take(&mut observer, (packet.at < crowd_is_over).then_some(packet.at));
    }
    observer.finish();
    take(&mut observer, None);
    assert_eq!(count, 301);
    assert!(retries >= 95, "{retries}");
}
