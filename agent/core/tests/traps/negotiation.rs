//! Hellos: what was offered, what was chosen, and what only looks like it.

use crate::stories::{FINISHED, flight12, seen, seen_in, segments, tls12, tls13};
use pqscope_agent_core::iana::{CipherSuite, Group, KeyExchangeClass, ProtocolVersion, SignatureScheme};
use pqscope_agent_core::observation::{HelloRetry, KeyExchange, Observation, Outcome};
use pqscope_lab::capture::{Ending, Session, transform};
use pqscope_lab::plan::Side::{Client, Server};
use pqscope_lab::synthesis::{
    ClientHello, ServerHello, change_cipher_spec, conversation, encrypted, encrypted_handshake, finite_field,
    handshake_records, key_shares, named_curve, numbers, protocols, server_name,
};

fn chosen12(suite: u16, key_exchange: Option<Vec<u8>>) -> Observation {
    let flight = flight12(&ServerHello::tls12(suite), &[vec![1; 900]], key_exchange);
    let seen = seen(&tls12(&ClientHello::tls12(), handshake_records(&flight, 16_384)));
    assert_eq!(seen.outcome, Outcome::Completed);
    seen
}

/// A handshake with a retry; the second hello may be the first again.
fn retried(request: &ServerHello, second: &ClientHello, answer: &ServerHello) -> Session {
    let mut session = tls13(&ClientHello::tls13(), answer);
    let retry = conversation(
        vec![
            (Client, ClientHello::tls13().record()),
            (Server, [request.record(), change_cipher_spec()].concat()),
            (Client, [change_cipher_spec(), second.record()].concat()),
        ],
        Ending::Open,
    );
    session.flights.splice(0..1, retry.flights);
    session
}

#[test]
fn a_retry_that_only_hands_out_a_cookie() {
    let second = ClientHello::tls13().with(44, vec![0, 2, 7, 7]);
    let seen = seen(&retried(&ServerHello::retry(None), &second, &ServerHello::tls13(0x11ec)));
    assert_eq!((seen.outcome, seen.hello_retry), (Outcome::Completed, Some(HelloRetry { group: None })));
    assert_eq!(seen.group.unwrap().id, Group(0x11ec));
}

#[test]
fn a_second_hello_that_repeats_the_first_to_the_last_byte() {
    let retry = ServerHello::retry(Some(0x1d));
    let seen = seen(&retried(&retry, &ClientHello::tls13(), &ServerHello::tls13(0x1d)));
    assert_eq!(seen.outcome, Outcome::Completed);
    assert_eq!(seen.hello_retry, Some(HelloRetry { group: Some(Group(0x1d)) }));
    assert_eq!(seen.client_hello.records, Some(1));
    assert_eq!(seen.client_hello.key_shares.unwrap(), [Group(0x11ec), Group(0x1d)]);
}

#[test]
fn a_retry_that_the_capture_lost_changes_neither_group_nor_verdict() {
    let second = ClientHello::tls13().with(51, key_shares(&[(0x17, 65)]));
    let session = retried(&ServerHello::retry(Some(0x17)), &second, &ServerHello::tls13(0x17));
    let all = segments(&session);
    let retry = all.iter().position(|s| s.sender == Server && !s.payload.is_empty()).unwrap();
    let seen = seen_in(&transform::without(&all, &[retry]));
    assert_ne!(seen.outcome, Outcome::Failed);
    assert_eq!(seen.hello_retry, None);
    assert!(seen.group.is_none_or(|group| group.id == Group(0x17)));
    assert!(seen.capture.missing_bytes > 0);
}

#[test]
fn the_version_extension_beats_the_version_fields() {
    for (version, record_version) in [(0x0304_u16, 0x0301), (0x7f1c, 0x0301), (0xfb23, 0x0303)] {
        let mut hello = ClientHello::tls13().with(43, numbers(1, &[version, 0x0303]));
        hello.record_version = record_version;
        let mut answer = ServerHello::tls13(0x11ec);
        answer.extensions[0].1 = version.to_be_bytes().to_vec();
        let seen = seen(&tls13(&hello, &answer));
        assert_eq!(seen.outcome, Outcome::Completed, "{version:#06x}");
        assert_eq!(seen.version, Some(ProtocolVersion(version)));
        assert_eq!(seen.client_hello.versions.unwrap(), [ProtocolVersion(version), ProtocolVersion::TLS_1_2]);
    }
    // TLS 1.2 where the client spoke of 1.3 as well.
    let flight = flight12(&ServerHello::tls12(0xc02f), &[vec![1; 9]], Some(named_curve(0x1d)));
    let seen = seen(&tls12(&ClientHello::tls13(), handshake_records(&flight, 16_384)));
    assert_eq!((seen.version, seen.outcome), (Some(ProtocolVersion::TLS_1_2), Outcome::Completed));
}

#[test]
fn a_hello_in_ssl_2_framing_that_asks_for_tls() {
    // Length, type 1, version, lengths of suites, session id and challenge.
    let mut hello = vec![0x80, 9 + 6 + 16, 1, 3, 1, 0, 6, 0, 0, 0, 16, 0, 0, 0x2f, 0, 0, 0x35];
    hello.extend([0x5a; 16]);
    let mut answer = ServerHello::tls12(0x002f);
    answer.legacy_version = 0x0301;
    let mut session =
        tls12(&ClientHello::tls12(), handshake_records(&flight12(&answer, &[vec![1; 900]], None), 16_384));
    for cut in [None, Some(1), Some(2), Some(10), Some(20)] {
        session.flights[0].bytes.clone_from(&hello);
        let all = transform::cut_stream(&segments(&session), Client, cut.as_slice());
        let seen = seen_in(&all);
        assert_eq!(seen.outcome, Outcome::Completed, "{cut:?}");
        assert_eq!(seen.version, Some(ProtocolVersion(0x0301)));
        assert_eq!(seen.client_hello.versions.unwrap(), [ProtocolVersion(0x0301)]);
        assert_eq!(seen.key_exchange, Some(KeyExchange::StaticRsa));
        assert_eq!((seen.server_name, seen.client_hello.groups), (None, Some(vec![])));
    }
}

#[test]
fn reserved_values_that_mean_nothing_are_in_no_list() {
    let hello = ClientHello::tls13()
        .with(0x0a0a, vec![0])
        .with(0xfafa, vec![])
        .with(10, numbers(2, &[0x2a2a, 0x11ec, 0x001d]))
        .with(13, numbers(2, &[0x3a3a, 0x0403]))
        .with(16, protocols(&[&[0x4a, 0x4a], b"h2"]))
        .with(43, numbers(1, &[0x5a5a, 0x0304]))
        .with(51, key_shares(&[(0x2a2a, 1), (0x11ec, 1216)]));
    let hello = ClientHello { suites: vec![0x6a6a, 0x1301], ..hello };
    let seen = seen(&tls13(&hello, &ServerHello::tls13(0x11ec)));
    assert_eq!(seen.outcome, Outcome::Completed);
    let offered = seen.client_hello;
    assert_eq!(offered.groups.unwrap(), [Group(0x11ec), Group(0x001d)]);
    assert_eq!(offered.key_shares.unwrap(), [Group(0x11ec)]);
    assert_eq!(offered.versions.unwrap(), [ProtocolVersion::TLS_1_3]);
    assert_eq!(offered.signature_schemes.unwrap(), [SignatureScheme(0x0403)]);
    assert_eq!(offered.alpn.unwrap(), ["h2"]);
}

#[test]
fn an_unknown_group_keeps_its_number_and_is_not_classical() {
    let hello = ClientHello::tls13()
        .with(10, numbers(2, &[0x9999, 0x001d]))
        .with(51, key_shares(&[(0x9999, 500), (0x001d, 32)]));
    let seen = seen(&tls13(&hello, &ServerHello::tls13(0x9999)));
    assert_eq!(seen.client_hello.groups.unwrap(), [Group(0x9999), Group(0x001d)]);
    let group = seen.group.unwrap();
    assert_eq!((group.id, group.name.as_ref()), (Group(0x9999), "0x9999"));
    assert_eq!(seen.key_exchange_class, Some(KeyExchangeClass::Unknown));
}

#[test]
fn a_hello_without_any_extension_is_whole_and_offers_no_group() {
    let hello = ClientHello { extensions: None, ..ClientHello::tls12() };
    let flight = flight12(&ServerHello::tls12(0x002f), &[vec![1; 900]], None);
    let seen = seen(&tls12(&hello, handshake_records(&flight, 16_384)));
    assert_eq!((seen.outcome, seen.server_name, seen.group), (Outcome::Completed, None, None));
    assert_eq!(seen.client_hello.groups, Some(vec![]));
    assert_eq!(seen.client_hello.versions.unwrap(), [ProtocolVersion::TLS_1_2]);
}

#[test]
fn groups_of_tls_1_2_are_read_by_structure() {
    let hybrid = chosen12(0xc02f, Some(named_curve(0x11ec)));
    assert_eq!(hybrid.group.unwrap().id, Group(0x11ec));
    assert_eq!(hybrid.key_exchange_class, Some(KeyExchangeClass::Hybrid));
    let in_no_table = chosen12(0xfefe, Some(named_curve(0x001d)));
    assert_eq!(in_no_table.group.unwrap().id, Group(0x1d));
    assert_eq!(in_no_table.cipher_suite, Some(CipherSuite(0xfefe)));
    let finite = chosen12(0x009e, Some(finite_field(256, 0xff)));
    assert_eq!((finite.group, finite.dhe_bits), (None, Some(2048)));
    let odd = chosen12(0x009e, Some(finite_field(200, 0x03)));
    assert_eq!((odd.group, odd.dhe_bits), (None, Some(199 * 8 + 2)));
    assert_eq!(odd.key_exchange_class, Some(KeyExchangeClass::Classical));
    let rsa = chosen12(0x002f, None);
    assert_eq!((rsa.group, rsa.dhe_bits, rsa.key_exchange), (None, None, Some(KeyExchange::StaticRsa)));
}

#[test]
fn a_pre_shared_key_alone_is_no_key_exchange_and_with_a_share_it_is() {
    let hello = ClientHello::tls13().with(45, vec![2, 0, 1]).with(41, vec![0; 80]);
    let mut alone = ServerHello::tls13(0).with(41, vec![0, 0]);
    alone.extensions.retain(|(kind, _)| *kind != 51);
    let alone = seen(&tls13(&hello, &alone));
    assert_eq!((alone.outcome, alone.key_exchange), (Outcome::Completed, Some(KeyExchange::Psk)));
    assert_eq!((alone.group, alone.key_exchange_class), (None, Some(KeyExchangeClass::None)));
    let share = seen(&tls13(&hello, &ServerHello::tls13(0x11ec).with(41, vec![0, 0])));
    assert_eq!(share.key_exchange, Some(KeyExchange::PskEphemeral));
    assert_eq!(share.key_exchange_class, Some(KeyExchangeClass::Hybrid));
    assert_eq!(share.client_hello.psk_offered, Some(true));
}

#[test]
fn a_ticket_of_tls_1_2_is_no_classical_key_exchange() {
    // The server has no session id to repeat: only what it leaves out tells.
    let hello = ClientHello::tls12().with(35, vec![6; 180]);
    let mut answer = ServerHello::tls12(0xc02f);
    answer.session_id.clear();
    let finished = [change_cipher_spec(), encrypted_handshake(40)].concat();
    let flights = vec![
        (Client, hello.record()),
        (Server, [answer.record(), finished.clone()].concat()),
        (Client, [finished, encrypted(90)].concat()),
    ];
    let seen = seen(&conversation(flights, Ending::Closed(Client)));
    assert_eq!((seen.outcome, seen.key_exchange), (Outcome::Completed, Some(KeyExchange::Resumed)));
    assert_eq!((seen.group, seen.key_exchange_class), (None, Some(KeyExchangeClass::None)));
}

#[test]
fn early_data_before_the_server_hello() {
    let hello = ClientHello::tls13().with(42, vec![]).with(41, vec![0; 80]);
    let answer = ServerHello::tls13(0x11ec).with(41, vec![0, 0]);
    let flights = vec![
        // Among it a record of exactly Finished's size.
        (
            Client,
            [hello.record(), change_cipher_spec(), encrypted(700), encrypted(FINISHED), encrypted(90)]
                .concat(),
        ),
        (Server, [answer.record(), change_cipher_spec(), encrypted(100)].concat()),
        // EndOfEarlyData, then Finished.
        (Client, [encrypted(21), encrypted(FINISHED)].concat()),
        (Server, encrypted(400)),
    ];
    let session = conversation(flights, Ending::Closed(Client));
    let whole = seen(&session);
    assert_eq!((whole.outcome, whole.client_hello.early_data), (Outcome::Completed, Some(true)));
    assert_eq!((whole.timing.client_encrypted, whole.server_flight), (None, None));
    let unanswered = seen(&session.cut_after(1, Ending::Reset(Server)));
    assert_eq!(unanswered.outcome, Outcome::Failed);
}

#[test]
fn early_data_that_a_retry_refuses() {
    let first = ClientHello::tls13().with(42, vec![]).with(41, vec![0; 80]);
    let second = ClientHello::tls13().with(51, key_shares(&[(0x17, 65)]));
    let mut session = retried(&ServerHello::retry(Some(0x17)), &second, &ServerHello::tls13(0x17));
    session.flights[0].bytes = [first.record(), encrypted(700), encrypted(FINISHED)].concat();
    let seen = seen(&session);
    assert_eq!((seen.outcome, seen.group.unwrap().id), (Outcome::Completed, Group(0x17)));
    assert_eq!(seen.hello_retry.unwrap().group, Some(Group(0x17)));
}

#[test]
fn an_encrypted_hello_shows_only_its_outer_name() {
    let hello = ClientHello::tls13().with(0, server_name("outer.example")).with(0xfe0d, vec![0; 200]);
    let seen = seen(&tls13(&hello, &ServerHello::tls13(0x11ec)));
    assert_eq!(seen.server_name.as_deref(), Some("outer.example"));
    assert_eq!(seen.client_hello.ech, Some(true));
}

#[test]
fn the_signature_schemes_of_certificates_are_a_list_of_their_own() {
    for (with, expected) in [(true, vec![SignatureScheme(0x0403)]), (false, vec![])] {
        let hello = ClientHello::tls13().with(50, numbers(2, &[0x0905, 0x0401]));
        let hello = if with { hello.with(13, numbers(2, &[0x0403])) } else { hello.without(13) };
        let seen = seen(&tls13(&hello, &ServerHello::tls13(0x11ec)));
        assert_eq!(seen.client_hello.signature_schemes, Some(expected));
    }
}
