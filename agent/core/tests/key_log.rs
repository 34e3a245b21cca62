//! Handshakes of a real TLS library with the key log that its client wrote, through the public interface.

#![expect(clippy::unwrap_used, reason = "a test stops at whatever it does not expect")]

use pqscope_agent_core::decode::LinkType;
use pqscope_agent_core::iana::{AlertDescription, ProtocolVersion};
use pqscope_agent_core::observation::{
    Evidence, FailureCause, IncompleteReason, Observation, Outcome, Party, Phase, SignatureFamily,
};
use pqscope_agent_core::observer::{InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::time::Timestamp;
use pqscope_lab::capture::{Packet as Captured, Session, Wire, transform};
use pqscope_lab::scenario::Scenario;

/// When the observer is given the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Never,
    Before,
    /// After the packets, and before the observation is asked for.
    After,
}

fn observe(packets: &[Captured], key_log: &str, given: Given) -> (Observation, Observer) {
    let mut observer = Observer::new(Settings { key_log: given != Given::Never, ..Settings::default() });
    let log = |observer: &mut Observer| {
        key_log.lines().for_each(|line| observer.add_key_log_line(line).unwrap());
    };
    if given == Given::Before {
        log(&mut observer);
    }
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
    if given == Given::After {
        log(&mut observer);
    }
    let observation = *observer.next_observation().unwrap();
    assert_eq!(observer.next_observation(), None);
    (observation, observer)
}

fn session(scenario: Scenario) -> Session {
    Session::of(scenario, "service.example").unwrap()
}

fn packets(session: &Session) -> Vec<Captured> {
    let wire = Wire::default();
    wire.packets(&wire.segments(session))
}

fn with_log(session: &Session, given: Given) -> Observation {
    observe(&packets(session), &session.key_log, given).0
}

/// What a key log may not change.
fn without_secrets(observation: Observation) -> Observation {
    Observation {
        decrypted: None,
        alpn: None,
        certificates: None,
        client_certificates: None,
        certificate_verify: None,
        ..observation
    }
}

fn kinds(observation: &Observation) -> (Vec<u8>, Vec<u8>) {
    let decrypted = observation.decrypted.as_ref().unwrap();
    let kinds =
        |list: &[pqscope_agent_core::observation::MessageFacts]| list.iter().map(|m| m.kind).collect();
    (kinds(&decrypted.server_messages), kinds(&decrypted.client_messages))
}

#[test]
fn every_suite_of_the_library_is_read() {
    for cipher_suite in [0x1301, 0x1302, 0x1303] {
        let mut plan = Scenario::Hybrid.plan();
        (plan.cipher_suite, plan.intermediates) = (Some(cipher_suite), 3);
        let session = Session::run(&plan, "service.example").unwrap();
        assert_eq!(session.agreement.as_ref().unwrap().cipher_suite, cipher_suite);
        for given in [Given::Before, Given::After] {
            let seen = with_log(&session, given);
            assert_eq!((seen.outcome, seen.outcome_evidence), (Outcome::Completed, Evidence::Decrypted));
            assert_eq!(kinds(&seen), (vec![8, 11, 15, 20], vec![20]), "{cipher_suite:#x}");
            let lengths: Vec<_> =
                session.certificate_lengths.iter().map(|length| u32::try_from(*length).unwrap()).collect();
            let certificates = seen.certificates.unwrap();
            assert_eq!((certificates.lengths, certificates.evidence), (Some(lengths), Evidence::Decrypted));
            let verify = seen.certificate_verify.unwrap();
            assert_eq!((verify.family, verify.evidence), (SignatureFamily::EcdsaP256, Evidence::Decrypted));
            assert_eq!(seen.alpn.as_deref(), Some("http/1.1"));
        }
    }
}

#[test]
fn retries_and_resumptions_are_read() {
    for scenario in [Scenario::HelloRetryToHybrid, Scenario::HelloRetryToClassical] {
        let seen = with_log(&session(scenario), Given::Before);
        assert_eq!((seen.outcome, seen.outcome_evidence), (Outcome::Completed, Evidence::Decrypted));
        assert_eq!(kinds(&seen), (vec![8, 11, 15, 20], vec![20]), "{scenario}");
    }
    let seen = with_log(&session(Scenario::Resumed), Given::Before);
    assert_eq!((seen.outcome, seen.outcome_evidence), (Outcome::Completed, Evidence::Decrypted));
    assert_eq!(kinds(&seen), (vec![8, 20], vec![20]));
    assert_eq!((seen.certificates, seen.certificate_verify), (None, None));
}

#[test]
fn client_certificates_are_told_and_leave_the_outcome_to_the_wire() {
    for (scenario, outcome, reason) in [
        (Scenario::ClientCertificate, Outcome::Completed, None),
        (Scenario::RefusedClientCertificate, Outcome::Incomplete, Some(IncompleteReason::Ambiguous)),
    ] {
        let session = session(scenario);
        let seen = with_log(&session, Given::Before);
        assert_eq!((seen.outcome, seen.incomplete_reason), (outcome, reason), "{scenario}");
        assert_eq!(kinds(&seen), (vec![8, 13, 11, 15, 20], vec![11, 15, 20]), "{scenario}");
        let chain = seen.client_certificates.clone().unwrap();
        assert_eq!((chain.count, chain.evidence), (Some(1), Evidence::Decrypted), "{scenario}");
        let plain = with_log(&session, Given::Never);
        assert_eq!(without_secrets(seen), without_secrets(plain), "{scenario}");
    }
}

#[test]
fn an_encrypted_alert_has_its_name() {
    let session = session(Scenario::UnknownCa);
    for given in [Given::Before, Given::After] {
        let seen = with_log(&session, given);
        let failure = seen.failure.unwrap();
        assert_eq!(failure.cause, FailureCause::Alert(AlertDescription(48)), "{given:?}");
        assert_eq!((failure.by, failure.after), (Party::Client, Phase::ServerFlight), "{given:?}");
        assert_eq!((failure.evidence, seen.outcome_evidence), (Evidence::Decrypted, Evidence::Decrypted));
        assert_eq!(seen.alerts, []);
        assert_eq!(seen.decrypted.unwrap().alerts.len(), 1);
    }
}

#[test]
fn a_handshake_of_tls_1_2_stays_as_it_is() {
    let session = session(Scenario::Tls12);
    let seen = with_log(&session, Given::Before);
    assert_eq!(seen.version, Some(ProtocolVersion::TLS_1_2));
    assert_eq!(seen, with_log(&session, Given::Never));
}

#[test]
fn wrong_secrets_are_counted_and_change_nothing() {
    let session = session(Scenario::Hybrid);
    let wrong: String = session
        .key_log
        .lines()
        .map(|line| {
            let (start, secret) = line.rsplit_once(' ').unwrap();
            format!("{start} {}\n", secret.chars().rev().collect::<String>())
        })
        .collect();
    let (seen, observer) = observe(&packets(&session), &wrong, Given::Before);
    assert_eq!(observer.health().key_log.decrypt_failed, 2);
    assert_eq!(seen, with_log(&session, Given::Never));
    let (seen, observer) = observe(&packets(&session), "# nothing", Given::Before);
    assert_eq!(observer.health().key_log.decrypt_failed, 0);
    assert_eq!(seen, with_log(&session, Given::Never));
}

#[test]
fn how_the_bytes_travelled_does_not_show() {
    let session = session(Scenario::ClientCertificate);
    let whole = with_log(&session, Given::Before);
    let wire = Wire::default();
    let segments = wire.segments(&session);
    for changed in [
        transform::split(&segments, 37),
        transform::reverse(&segments),
        transform::duplicate(&segments),
        transform::reorder(&transform::split(&segments, 300), 7),
    ] {
        let (seen, _) = observe(&wire.packets(&changed), &session.key_log, Given::Before);
        assert_eq!(seen.decrypted, whole.decrypted);
        assert_eq!((seen.certificates, seen.outcome), (whole.certificates.clone(), whole.outcome));
    }
}

#[test]
fn a_lost_packet_makes_vaguer_and_never_another_verdict() {
    for scenario in [Scenario::Hybrid, Scenario::UnknownCa] {
        let session = session(scenario);
        let wire = Wire { segment_bytes: 200, ..Wire::default() };
        let segments = wire.segments(&session);
        let (whole, _) = observe(&wire.packets(&segments), &session.key_log, Given::Before);
        let messages =
            |seen: &Observation| seen.decrypted.clone().map(|it| it.server_messages).unwrap_or_default();
        // All but the SYN, without which the rest is another capture.
        for lost in 1..segments.len() {
            let changed = transform::without(&segments, &[lost]);
            for given in [Given::Before, Given::After] {
                let (seen, _) = observe(&wire.packets(&changed), &session.key_log, given);
                let vaguer = seen.outcome == Outcome::Incomplete
                    || (seen.outcome == whole.outcome
                        && (seen.failure == whole.failure
                            || seen
                                .failure
                                .is_some_and(|failure| failure.cause == FailureCause::EncryptedAlert)));
                assert!(vaguer, "{scenario} {lost} {given:?}: {seen:?}");
                assert!(messages(&whole).starts_with(&messages(&seen)), "{scenario} {lost} {given:?}");
                assert!(seen.certificates.is_none() || seen.certificates == whole.certificates);
            }
        }
    }
}

#[test]
fn secrets_appear_nowhere() {
    let session = session(Scenario::Hybrid);
    let (seen, observer) = observe(&packets(&session), &session.key_log, Given::Before);
    let record = serde_json::to_string(&seen).unwrap();
    let inside = format!("{observer:?} {:?} {seen:?}", observer.health());
    for line in session.key_log.lines() {
        let secret = line.rsplit(' ').next().unwrap();
        assert!(secret.len() >= 64 && !record.contains(secret) && !inside.contains(secret));
        // As a list of numbers, as a derived `Debug` would have it.
        let pairs = secret.as_bytes().chunks(2).take(4);
        let numbers: Vec<String> = pairs
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap().to_string())
            .collect();
        assert!(!inside.contains(&numbers.join(", ")));
    }
}

#[test]
fn records_that_wait_for_a_secret_are_on_the_books() {
    let mut session = session(Scenario::Hybrid);
    // Up to the server's flight: the handshake stays under way.
    session.flights.truncate(2);
    let session = Session { ending: pqscope_lab::capture::Ending::Open, ..session };
    let buffered = |key_log: bool| {
        let mut observer = Observer::new(Settings { key_log, ..Settings::default() });
        for packet in packets(&session) {
            observer.packet(&Packet {
                link: LinkType::Ethernet,
                at: Timestamp::from_nanos(packet.at.as_nanos().try_into().unwrap()),
                interface: InterfaceId::default(),
                bytes: &packet.bytes,
                wire_length: packet.original_length,
            });
        }
        observer.health().buffered
    };
    let flight = session.flights.last().unwrap().bytes.len();
    assert!(buffered(true) > buffered(false) + flight / 2, "{} {}", buffered(true), buffered(false));
}
