//! TLS that starts in the middle of a connection, through the public interface.

#![expect(clippy::unwrap_used, reason = "a test stops at whatever it does not expect")]

use pqscope_agent_core::decode::LinkType;
use pqscope_agent_core::observation::{
    Evidence, FailureCause, IncompleteReason, Observation, Outcome, Party, Phase, UpgradedFrom,
};
use pqscope_agent_core::observer::{InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::time::Timestamp;
use pqscope_lab::capture::{Ending, Flags, Flight, Segment, Session, Wire, transform};
use pqscope_lab::plan::Side::{self, Client as C, Server as S};
use pqscope_lab::scenario::Scenario;

type Said = (Side, &'static [u8]);

fn timestamp(segment: &Segment) -> Timestamp {
    Timestamp::from_nanos(segment.at.as_nanos().try_into().unwrap())
}

fn observe(segments: &[Segment]) -> Vec<Observation> {
    let mut observer = Observer::new(Settings::default());
    for packet in Wire::default().packets(segments) {
        observer.packet(&Packet {
            link: LinkType::Ethernet,
            at: Timestamp::from_nanos(packet.at.as_nanos().try_into().unwrap()),
            interface: InterfaceId::default(),
            bytes: &packet.bytes,
            wire_length: packet.original_length,
        });
    }
    observer.finish();
    std::iter::from_fn(|| observer.next_observation()).map(|observation| *observation).collect()
}

fn segments(session: &Session) -> Vec<Segment> {
    Wire::default().segments(session)
}

#[track_caller]
fn only(observations: Vec<Observation>) -> Observation {
    let [observation] = <[Observation; 1]>::try_from(observations).unwrap();
    observation
}

fn handshake() -> Session {
    Session::of(Scenario::Hybrid, "service.example").unwrap()
}

/// Only the dialogue.
fn spoken(dialogue: &[Said], ending: Ending) -> Session {
    handshake().cut_after(0, ending).preceded_by(dialogue)
}

const SMTP: [Said; 3] = [
    (S, b"220-mail.example ESMTP\r\n220 ready\r\n"),
    (C, b"EHLO client.example\r\n"),
    (S, b"250-mail.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
];
const LDAP_REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const RDP_REQUEST: &[u8] = b"\x03\0\0\x2a\x25\xe0\0\0\0\0\0Cookie: mstshash=user\r\n\x01\0\x08\0\x03\0\0\0";
const XMPP_STREAM: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' version='1.0'>";
const XMPP_REQUEST: &[u8] = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const GSS_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x30";
const MYSQL_GREETING: &[u8] =
    b"\x24\0\0\0\x0a8.0.36\0\x05\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15\0\0\0\0\0";
const MYSQL_REQUEST: &[u8] =
    b"\x20\0\0\x01\x05\xae\xff\x01\0\0\0\x01\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const CONNECT: &[u8] = b"CONNECT service.example:443 HTTP/1.1\r\nHost: service.example:443\r\n\r\n";
const CONNECTED: &[u8] = b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n";
const SOCKS_REQUEST: &[u8] = b"\x05\x01\x00\x03\x09a.example\x01\xbb";
const SOCKS_OPEN: &[u8] = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";

fn smtp(more: &[Said]) -> Vec<Said> {
    SMTP.iter().chain(more).copied().collect()
}

/// A protocol, what is said up to the request, the words that agree, and an answer that declines where there is one.
type Course = (UpgradedFrom, Vec<Said>, Said, Option<&'static [u8]>);

fn protocols() -> Vec<Course> {
    vec![
        (
            UpgradedFrom::Smtp,
            smtp(&[(C, b"RSET\r\n"), (S, b"250 ok\r\n"), (C, b"STARTTLS\r\n")]),
            (S, b"220 2.0.0 go\r\n"),
            Some(b"454 4.7.0 not now\r\n"),
        ),
        (
            UpgradedFrom::Imap,
            vec![(S, b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"), (C, b"a.1 STARTTLS\r\n")],
            (S, b"a.1 OK go\r\n"),
            Some(b"a.1 BAD what\r\n"),
        ),
        (
            UpgradedFrom::Pop3,
            vec![
                (S, b"+OK ready\r\n"),
                (C, b"CAPA\r\n"),
                (S, b"+OK\r\nUSER\r\nSTLS\r\n.\r\n"),
                (C, b"STLS\r\n"),
            ],
            (S, b"+OK go\r\n"),
            Some(b"-ERR no\r\n"),
        ),
        (
            UpgradedFrom::Ftp,
            vec![(S, b"220-Welcome\r\n anybody\r\n220 ready\r\n"), (C, b"AUTH TLS\r\n")],
            (S, b"234 go\r\n"),
            Some(b"530 log in first\r\n"),
        ),
        (
            UpgradedFrom::Xmpp,
            vec![(C, XMPP_STREAM), (S, XMPP_STREAM), (S, b"<stream:features/>"), (C, XMPP_REQUEST)],
            (S, b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            Some(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"),
        ),
        (
            UpgradedFrom::Ldap,
            vec![(C, LDAP_REQUEST)],
            (S, b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"),
            Some(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00"),
        ),
        (UpgradedFrom::Postgres, vec![(C, GSS_REQUEST), (S, b"N"), (C, SSL_REQUEST)], (S, b"S"), Some(b"N")),
        (UpgradedFrom::Mysql, vec![(S, MYSQL_GREETING)], (C, MYSQL_REQUEST), None),
        (
            UpgradedFrom::Rdp,
            vec![(C, RDP_REQUEST)],
            (S, b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x02\x0f\x08\0\x02\0\0\0"),
            Some(b"\x03\0\0\x13\x0e\xd0\0\0\x12\x34\0\x03\0\x08\0\x02\0\0\0"),
        ),
        (UpgradedFrom::HttpConnect, vec![(C, CONNECT)], (S, CONNECTED), None),
        (
            UpgradedFrom::Socks,
            vec![(C, b"\x05\x01\x00"), (S, b"\x05\x00"), (C, SOCKS_REQUEST)],
            (S, SOCKS_OPEN),
            None,
        ),
        (
            UpgradedFrom::Socks,
            vec![(C, b"\x04\x01\x01\xbb\x00\x00\x00\x01me\x00a.example\x00")],
            (S, b"\x00\x5a\0\0\0\0\0\0"),
            None,
        ),
    ]
}

fn accepted() -> impl Iterator<Item = (UpgradedFrom, Vec<Said>)> {
    protocols().into_iter().map(|(name, mut dialogue, agreement, _)| {
        dialogue.push(agreement);
        (name, dialogue)
    })
}

/// What an observation says apart from when it was and what came before.
fn told(observation: &Observation) -> Observation {
    let start = Timestamp::default();
    let end = start.plus(observation.end.since(observation.start).unwrap());
    Observation { id: String::new(), start, end, upgraded_from: None, ..observation.clone() }
}

#[test]
fn what_came_before_changes_nothing_but_the_name() {
    let plain = handshake();
    let without = told(&only(observe(&segments(&plain))));
    for (name, dialogue) in accepted() {
        let seen = only(observe(&segments(&plain.clone().preceded_by(&dialogue))));
        assert_eq!(seen.upgraded_from, Some(name));
        assert_eq!(told(&seen), without, "{name:?}");
    }
}

#[test]
fn nor_does_it_when_packets_are_cut_repeated_or_out_of_order() {
    let plain = handshake();
    for (name, dialogue) in accepted() {
        let segments = segments(&plain.clone().preceded_by(&dialogue));
        for disturbed in [
            transform::split(&segments, 3),
            transform::split(&segments, 5),
            transform::duplicate(&segments),
            transform::reverse(&transform::split(&segments, 50)),
        ] {
            let seen = observe(&disturbed);
            assert_eq!(seen.len(), 1, "{name:?}");
            let seen = only(seen);
            assert_eq!((seen.upgraded_from, seen.outcome), (Some(name), Outcome::Completed));
        }
    }
}

#[test]
fn a_hello_is_found_wherever_it_is_cut() {
    let plain = handshake();
    let hello = plain.flights[0].bytes.clone();
    for (name, dialogue) in accepted() {
        for cut in 1..14 {
            let mut session = plain.clone();
            session.flights[0].bytes.truncate(cut);
            let mut session = session.preceded_by(&dialogue);
            let place =
                session.flights.iter().position(|flight| flight.bytes.ends_with(&hello[..cut])).unwrap();
            session.flights.insert(place + 1, Flight { sender: C, bytes: hello[cut..].to_vec() });
            let seen = observe(&segments(&session));
            assert_eq!(seen.len(), 1, "{name:?} cut at {cut}");
            let seen = only(seen);
            assert_eq!((seen.upgraded_from, seen.outcome), (Some(name), Outcome::Completed), "{cut}");
            let needed = if hello.len() - cut > 1460 { 3 } else { 2 };
            assert_eq!(seen.client_hello.segments, Some(needed), "{name:?} cut at {cut}");
            assert_eq!(seen.start, timestamp(first_with(&segments(&session), &hello[..cut])));
        }
    }
}

fn first_with<'a>(segments: &'a [Segment], end: &[u8]) -> &'a Segment {
    segments.iter().find(|segment| segment.payload.ends_with(end)).unwrap()
}

/// The handshake with the server's answer behind the hello, as eager clients have it.
fn eager(dialogue: &[Said], answer: &[u8]) -> Session {
    let plain = handshake();
    let mut session = plain.clone();
    session.flights.truncate(1);
    let mut session = session.preceded_by(dialogue);
    session.flights.push(Flight { sender: S, bytes: answer.to_vec() });
    session.flights.extend(plain.flights.into_iter().skip(1));
    session
}

#[test]
fn an_eager_hello_may_come_before_the_answer() {
    for (name, dialogue, (side, answer), refusal) in protocols() {
        if side == C {
            continue;
        }
        let seen = only(observe(&segments(&eager(&dialogue, answer))));
        assert_eq!((seen.upgraded_from, seen.outcome), (Some(name), Outcome::Completed), "{name:?}");
        assert!(seen.group.is_some() && seen.client_hello.length.is_some());
        // A server that answers with TLS at once.
        let seen = only(observe(&segments(&eager(&dialogue, b""))));
        assert_eq!(seen.outcome, Outcome::Completed, "{name:?}");
        let Some(refusal) = refusal else { continue };
        let refused = eager(&dialogue, refusal).cut_after(dialogue.len() + 1, Ending::Closed(C));
        let failure = only(observe(&segments(&refused))).failure.unwrap();
        assert_eq!((failure.cause, failure.after), (FailureCause::UpgradeRefused, Phase::ClientHello));
    }
}

#[test]
fn a_refusal_is_an_attempt_without_a_hello() {
    for (name, dialogue, _, refusal) in protocols() {
        let Some(refusal) = refusal else { continue };
        for ending in [Ending::Closed(C), Ending::Reset(S), Ending::Open] {
            let said: Vec<_> = dialogue.iter().copied().chain([(S, refusal)]).collect();
            let segments = segments(&spoken(&said, ending));
            let seen = only(observe(&segments));
            let failure = seen.failure.unwrap();
            assert_eq!((seen.upgraded_from, failure.cause), (Some(name), FailureCause::UpgradeRefused));
            assert_eq!((failure.after, failure.by), (Phase::Start, Party::Server));
            assert_eq!((failure.evidence, seen.outcome_evidence), (Evidence::Seen, Evidence::Seen));
            assert_eq!(seen.client_hello, pqscope_agent_core::observation::ClientHelloFacts::default());
            let last_with = |end| segments.iter().rfind(|segment| segment.payload.ends_with(end)).unwrap();
            assert_eq!(seen.start, timestamp(last_with(dialogue.last().unwrap().1)), "{name:?}");
            assert_eq!(seen.end, timestamp(last_with(refusal)), "{name:?}");
            assert!(seen.timing.tcp_rtt.is_some());
        }
    }
}

#[test]
fn after_a_refusal_a_client_may_go_on_in_the_clear_or_try_again() {
    let refused = [(C, &b"STARTTLS\r\n"[..]), (S, &b"454 not now\r\n"[..])];
    let mail = [(C, &b"MAIL FROM:<a@b>\r\n"[..]), (S, &b"250 ok\r\n"[..])];
    let twice: Vec<_> = smtp(&refused).into_iter().chain(mail).chain(refused).collect();
    let seen = only(observe(&segments(&spoken(&twice, Ending::Closed(C)))));
    assert_eq!(seen.failure.unwrap().cause, FailureCause::UpgradeRefused);
    let again: Vec<_> =
        twice.into_iter().chain([(C, &b"STARTTLS\r\n"[..]), (S, &b"220 go\r\n"[..])]).collect();
    let seen = observe(&segments(&handshake().preceded_by(&again)));
    let outcomes: Vec<_> = seen.iter().map(|seen| (seen.upgraded_from, seen.outcome)).collect();
    let smtp = Some(UpgradedFrom::Smtp);
    assert_eq!(outcomes, [(smtp, Outcome::Failed), (smtp, Outcome::Completed)]);
}

#[test]
fn an_upgrade_that_the_client_does_not_use_is_no_attempt() {
    for (name, dialogue) in accepted() {
        for ending in [Ending::Closed(C), Ending::Closed(S), Ending::Reset(C), Ending::Open] {
            assert_eq!(observe(&segments(&spoken(&dialogue, ending))), [], "{name:?}");
        }
    }
}

#[test]
fn a_refused_tunnel_and_a_mere_offer_are_no_attempts() {
    let forbidden: [Said; 2] = [(C, CONNECT), (S, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")];
    let socks: [Said; 4] = [
        (C, b"\x05\x01\x00"),
        (S, b"\x05\x00"),
        (C, SOCKS_REQUEST),
        (S, b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"),
    ];
    let offered = smtp(&[(C, b"QUIT\r\n"), (S, b"221 bye\r\n")]);
    for dialogue in [&forbidden[..], &socks, &offered] {
        assert_eq!(observe(&segments(&spoken(dialogue, Ending::Closed(C)))), []);
    }
}

#[test]
fn words_in_a_text_are_no_request() {
    let mail = smtp(&[
        (C, b"DATA\r\n"),
        (S, b"354 go on\r\n"),
        (C, b"Subject: x\r\n\r\nSTARTTLS\r\n.\r\n"),
        (S, b"554 no\r\n"),
    ]);
    let web: [Said; 2] = [
        (C, b"POST / HTTP/1.1\r\n\r\nSTARTTLS\r\nCONNECT a:1 HTTP/1.1\r\n\r\n"),
        (S, b"220 ready\r\n454 no\r\n"),
    ];
    for dialogue in [&mail[..], &web] {
        assert_eq!(observe(&segments(&spoken(dialogue, Ending::Closed(C)))), []);
    }
}

#[test]
fn tunnels_may_lie_in_tunnels_and_hold_protocols_that_upgrade() {
    let chain: Vec<Said> = vec![(C, CONNECT), (S, CONNECTED), (C, CONNECT), (S, CONNECTED)];
    let seen = only(observe(&segments(&handshake().preceded_by(&chain))));
    assert_eq!(seen.upgraded_from, Some(UpgradedFrom::HttpConnect));
    let request: [Said; 2] = [(C, b"STARTTLS\r\n"), (S, b"220 go\r\n")];
    let mail: Vec<_> = [(C, CONNECT), (S, CONNECTED)].into_iter().chain(smtp(&request)).collect();
    let seen = only(observe(&segments(&handshake().preceded_by(&mail))));
    assert_eq!((seen.upgraded_from, seen.outcome), (Some(UpgradedFrom::Smtp), Outcome::Completed));
}

#[test]
fn the_header_of_a_proxy_is_no_upgrade() {
    let plain = handshake();
    let without = told(&only(observe(&segments(&plain))));
    let line: Said = (C, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n");
    let binary: Said =
        (C, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c");
    for header in [line, binary] {
        let seen = only(observe(&segments(&plain.clone().preceded_by(&[header]))));
        assert_eq!(seen.upgraded_from, None);
        assert_eq!(told(&seen), without);
        let upgraded: Vec<_> =
            [header].into_iter().chain(smtp(&[(C, b"STARTTLS\r\n"), (S, b"220 go\r\n")])).collect();
        let seen = only(observe(&segments(&plain.clone().preceded_by(&upgraded))));
        assert_eq!(seen.upgraded_from, Some(UpgradedFrom::Smtp));
    }
}

#[test]
fn behind_an_unknown_protocol_a_hello_that_begins_a_segment_is_found_without_a_name() {
    let unknown: Vec<Said> = vec![(C, b"STARTTLS\r\n"), (S, b":irc.example 670 * :go\r\n")];
    let seen = only(observe(&segments(&handshake().preceded_by(&unknown))));
    assert_eq!((seen.upgraded_from, seen.outcome), (None, Outcome::Completed));
}

#[test]
fn with_a_packet_missing_nothing_else_is_concluded() {
    for (name, dialogue, (side, answer), refusal) in protocols() {
        let last = [Some(answer), refusal].into_iter().flatten();
        for (answer, refused) in last.zip([false, true]) {
            let said: Vec<_> = dialogue.iter().copied().chain([(side, answer)]).collect();
            let session =
                if refused { spoken(&said, Ending::Closed(C)) } else { handshake().preceded_by(&said) };
            let whole = segments(&session);
            let full = only(observe(&whole));
            for place in (3..whole.len()).filter(|place| !whole[*place].payload.is_empty()) {
                for seen in observe(&transform::without(&whole, &[place])) {
                    let same = (seen.outcome, seen.failure) == (full.outcome, full.failure);
                    assert!(
                        same || seen.outcome == Outcome::Incomplete,
                        "{name:?} without {place}: {:?} {:?}",
                        seen.outcome,
                        seen.failure
                    );
                    assert!(seen.upgraded_from.is_none_or(|seen| seen == name));
                }
            }
        }
    }
}

#[test]
fn blanks_between_request_and_hello_do_no_harm() {
    let (_, dialogue) = accepted().find(|(name, _)| *name == UpgradedFrom::Xmpp).unwrap();
    let plain = handshake();
    let mut session = plain.clone();
    session.flights[0].bytes.splice(0..0, *b" \r\n");
    let seen = only(observe(&segments(&session.preceded_by(&dialogue))));
    assert_eq!((seen.upgraded_from, seen.outcome), (Some(UpgradedFrom::Xmpp), Outcome::Completed));
    assert_eq!(seen.client_hello, only(observe(&segments(&plain))).client_hello);
}

#[test]
fn of_one_side_alone_nothing_is_concluded() {
    for (name, dialogue) in accepted() {
        let whole = segments(&handshake().preceded_by(&dialogue));
        for side in [C, S] {
            let half: Vec<_> = whole.iter().filter(|segment| segment.sender == side).cloned().collect();
            let seen = observe(&half);
            assert_eq!(seen.len(), 1, "{name:?} {side:?}");
            let seen = only(seen);
            assert_eq!(seen.incomplete_reason, Some(IncompleteReason::OneSided), "{name:?} {side:?}");
            // What was said by the other side alone may leave the name open.
            assert!(seen.upgraded_from.is_none_or(|seen| seen == name), "{name:?} {side:?}");
        }
    }
}

#[test]
fn where_words_are_missing_no_answer_counts_as_a_refusal() {
    let mut session = handshake();
    let said: [Said; 6] = [
        (S, b"220 ready\r\n"),
        (C, b"EHLO a\r\nNOOP\r\nNOOP\r\nSTARTTLS\r\n"),
        (S, b"250 a\r\n"),
        (S, b"502 what\r\n"),
        (S, b"502 what\r\n"),
        (S, b"220 go\r\n"),
    ];
    let flights = said.iter().map(|(sender, bytes)| Flight { sender: *sender, bytes: bytes.to_vec() });
    session.flights.splice(0..0, flights);
    let whole = segments(&session);
    let missing = whole.iter().position(|segment| segment.payload == b"250 a\r\n").unwrap();
    for captured in [whole.clone(), transform::without(&whole, &[missing])] {
        let seen = only(observe(&captured));
        assert_eq!((seen.upgraded_from, seen.outcome), (Some(UpgradedFrom::Smtp), Outcome::Completed));
    }
}

#[test]
fn a_server_that_agrees_and_closes_fails_the_hello_that_is_under_way() {
    let agreed = smtp(&[(C, b"STARTTLS\r\n"), (S, b"220 go\r\n")]);
    let hello = handshake().cut_after(1, Ending::Open).preceded_by(&agreed);
    let mut all = segments(&hello);
    let place = all.iter().position(|segment| segment.payload == b"220 go\r\n").unwrap();
    let said = all[place].clone();
    let fin = Segment {
        sequence: said.sequence + 8,
        flags: Flags { ack: true, fin: true, ..Flags::default() },
        payload: Vec::new(),
        ..said
    };
    all.insert(place + 1, fin);
    let last = all.iter().rfind(|segment| segment.sender == C).unwrap().clone();
    let sent = u32::try_from(last.payload.len()).unwrap();
    let flags = Flags { ack: true, fin: true, ..Flags::default() };
    all.push(Segment { sequence: last.sequence + sent, flags, payload: Vec::new(), ..last });
    let failure = only(observe(&all)).failure.unwrap();
    assert_eq!((failure.cause, failure.by), (FailureCause::Closed, Party::Server));
}
