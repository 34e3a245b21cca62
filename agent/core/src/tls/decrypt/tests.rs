//! Handshakes whose records are made here, message by message.

use super::*;
use crate::decode::LinkType;
use crate::iana::AlertDescription;
use crate::observer::{InterfaceId, Observer, Packet, Settings};
use crate::time::Timestamp;
use pqscope_lab::capture::{Ending, Endpoints, Wire};
use pqscope_lab::plan::Side as LabSide;
use pqscope_lab::synthesis as lab;
use proptest::prelude::*;
use std::time::Duration;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const RANDOM: Random = [5; 32];
const COMPLETED: Option<Judgement> = Some(Judgement::Completed(Evidence::Decrypted));
const INFERRED: Option<Judgement> = Some(Judgement::Completed(Evidence::Inferred));

fn message(kind: u8, length: usize) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(length).unwrap().to_be_bytes();
    [&[kind, a, b, c][..], &vec![0; length]].concat()
}

/// EncryptedExtensions, Certificate with one of 300 bytes, CertificateVerify, Finished.
fn server_flight() -> Vec<Vec<u8>> {
    let mut certificate = message(11, 309);
    certificate[4..11].copy_from_slice(&[0, 0, 1, 49, 0, 1, 44]);
    let mut verify = message(15, 75);
    verify[4..8].copy_from_slice(&[4, 3, 0, 71]);
    vec![message(8, 2), certificate, verify, message(20, 32)]
}

/// One attempt, and both ends.
struct Attempt {
    decryption: Decryption,
    log: SharedKeyLog,
    client: RecordKeys,
    server: RecordKeys,
}

impl Attempt {
    fn begin(early_data: bool) -> Self {
        let log = SharedKeyLog::default();
        let keys = |secret: u8| RecordKeys::derive(Suite::Aes128Gcm, &[secret; 32]).unwrap();
        let suite = Some(CipherSuite(0x1301));
        let decryption =
            Decryption::new(log.clone(), RANDOM, ProtocolVersion::TLS_1_3, suite, early_data).unwrap();
        Self { decryption: *decryption, log, client: keys(1), server: keys(2) }
    }

    fn with_secrets() -> Self {
        let attempt = Self::begin(false);
        attempt.log_secrets(1, 2);
        attempt
    }

    fn log_secrets(&self, client: u8, server: u8) {
        for (side, secret) in [("CLIENT", client), ("SERVER", server)] {
            let (random, secret) = ("05".repeat(32), format!("{secret:02x}").repeat(32));
            self.log.add_line(&format!("{side}_HANDSHAKE_TRAFFIC_SECRET {random} {secret}")).unwrap();
        }
    }

    fn seal(&mut self, from: Side, content: &[u8], kind: u8, padding: usize) -> Vec<u8> {
        match from {
            Side::Client => self.client.seal(content, kind, padding),
            Side::Server => self.server.seal(content, kind, padding),
        }
    }

    /// A record comes, in pieces; `inferred` is what its length says.
    fn comes(&mut self, from: Side, body: &[u8], inferred: Option<Judgement>) -> Option<Judgement> {
        body.chunks(100).for_each(|piece| self.decryption.body(from, piece));
        self.decryption.record_ends(from, Phase::ServerFlight, inferred)
    }

    fn sends(&mut self, from: Side, content: &[u8], kind: u8) -> Option<Judgement> {
        let body = self.seal(from, content, kind, 0);
        self.comes(from, &body, None)
    }

    fn server_sends_flight(&mut self) {
        for message in server_flight() {
            assert_eq!(self.sends(Side::Server, &message, HANDSHAKE), None);
        }
    }

    fn revised(&mut self, verdict: Verdict) -> Verdict {
        self.decryption.revised(Phase::ServerFlight, verdict)
    }

    fn revealed(self) -> Revealed {
        self.decryption.revealed()
    }
}

fn at() -> Timestamp {
    Timestamp::from_nanos(9)
}

fn failed(cause: FailureCause, by: Side) -> Verdict {
    let failure = Failure { cause, after: Phase::ServerFlight, by: by.into(), evidence: Evidence::Inferred };
    Verdict::failed(at(), failure)
}

fn kinds(messages: &[crate::observation::MessageFacts]) -> Vec<(u8, u32)> {
    messages.iter().map(|message| (message.kind, message.length)).collect()
}

#[test]
fn both_finished_complete_and_the_messages_are_told() {
    let mut attempt = Attempt::with_secrets();
    attempt.server_sends_flight();
    assert_eq!(attempt.sends(Side::Client, &message(20, 32), HANDSHAKE), COMPLETED);
    let revealed = attempt.revealed();
    let decrypted = revealed.decrypted.unwrap();
    assert_eq!(kinds(&decrypted.server_messages), [(8, 2), (11, 309), (15, 75), (20, 32)]);
    assert_eq!(kinds(&decrypted.client_messages), [(20, 32)]);
    assert_eq!(revealed.certificates.unwrap().lengths, Some(vec![300]));
    assert_eq!(decrypted.certificate_verify.unwrap().length, 71);
}

#[test]
fn messages_may_share_records_and_span_them_padded_or_not() {
    let whole = server_flight().concat();
    for size in [1, 7, 36, 200, whole.len()] {
        let mut attempt = Attempt::with_secrets();
        for (number, piece) in whole.chunks(size).enumerate() {
            let body = attempt.seal(Side::Server, piece, HANDSHAKE, number % 3);
            attempt.comes(Side::Server, &body, None);
        }
        assert_eq!(attempt.sends(Side::Client, &message(20, 32), HANDSHAKE), COMPLETED, "{size}");
        assert_eq!(attempt.revealed().certificates.unwrap().lengths, Some(vec![300]), "{size}");
    }
}

#[test]
fn a_secret_may_come_after_the_records() {
    let mut attempt = Attempt::begin(false);
    attempt.server_sends_flight();
    let last = attempt.seal(Side::Client, &message(20, 32), HANDSHAKE, 0);
    assert_eq!(attempt.comes(Side::Client, &last, INFERRED), INFERRED);
    attempt.decryption.close_books();
    attempt.log_secrets(1, 2);
    let verdict = attempt.revised(Verdict::completed(at(), Evidence::Inferred));
    assert_eq!(verdict, Verdict::completed(at(), Evidence::Decrypted));
    assert_eq!(attempt.revealed().certificates.unwrap().count, Some(1));
}

#[test]
fn without_a_secret_nothing_changes() {
    let mut attempt = Attempt::begin(false);
    attempt.server_sends_flight();
    let last = attempt.seal(Side::Client, &message(20, 32), HANDSHAKE, 0);
    assert_eq!(attempt.comes(Side::Client, &last, INFERRED), INFERRED);
    let verdict = failed(FailureCause::EncryptedAlert, Side::Client);
    assert_eq!(attempt.revised(verdict), verdict);
    assert!(attempt.revealed().decrypted.is_none());
}

#[test]
fn a_wrong_secret_is_counted_once_per_direction_and_changes_nothing() {
    let mut attempt = Attempt::begin(false);
    attempt.log_secrets(8, 9);
    attempt.server_sends_flight();
    for _ in 0..3 {
        let last = attempt.seal(Side::Client, &message(20, 32), HANDSHAKE, 0);
        assert_eq!(attempt.comes(Side::Client, &last, INFERRED), INFERRED);
    }
    assert_eq!(attempt.log.counts().decrypt_failed, 2);
    let verdict = Verdict::completed(at(), Evidence::Inferred);
    assert_eq!(attempt.revised(verdict), verdict);
    assert!(attempt.revealed().decrypted.is_none());
}

#[test]
fn a_secret_of_another_hash_is_a_wrong_one() {
    let mut attempt = Attempt::begin(false);
    let line = format!("SERVER_HANDSHAKE_TRAFFIC_SECRET {} {}", "05".repeat(32), "02".repeat(48));
    attempt.log.add_line(&line).unwrap();
    attempt.server_sends_flight();
    assert_eq!(attempt.log.counts().decrypt_failed, 1);
}

#[test]
fn a_hole_ends_its_direction_and_what_came_before_stands() {
    for secret_comes_late in [false, true] {
        let mut attempt = if secret_comes_late { Attempt::begin(false) } else { Attempt::with_secrets() };
        let [extensions, certificate, verify, finished] = <[_; 4]>::try_from(server_flight()).unwrap();
        attempt.sends(Side::Server, &extensions, HANDSHAKE);
        let cut = attempt.seal(Side::Server, &certificate, HANDSHAKE, 0);
        attempt.decryption.body(Side::Server, &cut[..100]);
        attempt.decryption.hole(Side::Server);
        attempt.comes(Side::Server, &cut[200..], None);
        attempt.sends(Side::Server, &verify, HANDSHAKE);
        attempt.sends(Side::Server, &finished, HANDSHAKE);
        attempt.log_secrets(1, 2);
        let last = attempt.seal(Side::Client, &message(20, 32), HANDSHAKE, 0);
        assert_eq!(attempt.comes(Side::Client, &last, INFERRED), INFERRED);
        let verdict = Verdict::completed(at(), Evidence::Inferred);
        assert_eq!(attempt.revised(verdict), verdict);
        assert_eq!(attempt.log.counts().decrypt_failed, 0);
        let revealed = attempt.revealed();
        let decrypted = revealed.decrypted.unwrap();
        assert_eq!(kinds(&decrypted.server_messages), [(8, 2)]);
        assert_eq!(kinds(&decrypted.client_messages), [(20, 32)]);
        assert_eq!((revealed.certificates, revealed.certificate_verify), (None, None));
    }
}

#[test]
fn early_data_is_passed_by_until_the_finished() {
    for secret_comes_late in [false, true] {
        let mut attempt = Attempt::begin(true);
        if !secret_comes_late {
            attempt.log_secrets(1, 2);
        }
        attempt.server_sends_flight();
        // More of it than may wait; its last record is EndOfEarlyData, under the same key.
        let mut early = RecordKeys::derive(Suite::Aes128Gcm, &[3; 32]).unwrap();
        for _ in 0..8 {
            let body = early.seal(&[7; 16_000], 23, 0);
            assert_eq!(attempt.comes(Side::Client, &body, None), None);
        }
        let body = early.seal(&message(5, 0), HANDSHAKE, 0);
        attempt.comes(Side::Client, &body, None);
        let finished = attempt.sends(Side::Client, &message(20, 32), HANDSHAKE);
        assert_eq!(finished, if secret_comes_late { None } else { COMPLETED });
        attempt.log_secrets(1, 2);
        let verdict = attempt.revised(Verdict::incomplete(at(), IncompleteReason::Ambiguous));
        assert_eq!(verdict, Verdict::completed(at(), Evidence::Decrypted));
        assert_eq!(attempt.log.counts().decrypt_failed, 0);
        assert_eq!(kinds(&attempt.revealed().decrypted.unwrap().client_messages), [(20, 32)]);
    }
}

#[test]
fn a_fatal_alert_is_named() {
    for (sender, phase) in [(Side::Client, Phase::ServerFlight), (Side::Server, Phase::ServerHello)] {
        let mut attempt = Attempt::with_secrets();
        let Some(Judgement::Failed { cause, after, by, evidence }) = attempt.sends(sender, &[1, 48], ALERT)
        else {
            panic!("{sender:?}")
        };
        assert_eq!(cause, FailureCause::Alert(AlertDescription(48)));
        assert_eq!((after, by, evidence), (phase, sender, Evidence::Decrypted));
        let alerts = attempt.revealed().decrypted.unwrap().alerts;
        assert_eq!((alerts[0].sender, alerts[0].level, alerts[0].description.0), (sender, 1, 48));
    }
}

#[test]
fn an_alert_whose_secret_comes_late_is_named_too() {
    let mut attempt = Attempt::begin(false);
    attempt.server_sends_flight();
    assert_eq!(attempt.sends(Side::Client, &[2, 42], ALERT), None);
    attempt.log_secrets(1, 2);
    let verdict = attempt.revised(failed(FailureCause::EncryptedAlert, Side::Client));
    assert_eq!(verdict.failure.unwrap().cause, FailureCause::Alert(AlertDescription(42)));
    assert_eq!((verdict.evidence, verdict.at), (Evidence::Decrypted, at()));
}

#[test]
fn an_alert_that_only_closes_is_no_cause() {
    let mut attempt = Attempt::with_secrets();
    attempt.server_sends_flight();
    assert_eq!(attempt.sends(Side::Client, &[1, 0], ALERT), None);
    let verdict = attempt.revised(failed(FailureCause::EncryptedAlert, Side::Client)).failure.unwrap();
    assert_eq!((verdict.cause, verdict.evidence), (FailureCause::Closed, Evidence::Decrypted));
    let other = failed(FailureCause::EncryptedAlert, Side::Server);
    assert_eq!(attempt.revised(other), other);
}

#[test]
fn what_comes_after_a_close_is_told_and_settles_nothing() {
    let mut attempt = Attempt::with_secrets();
    attempt.server_sends_flight();
    attempt.decryption.closing();
    assert_eq!(attempt.sends(Side::Client, &message(11, 4), HANDSHAKE), None);
    assert_eq!(attempt.sends(Side::Client, &[2, 42], ALERT), None);
    let verdict = failed(FailureCause::Closed, Side::Server);
    assert_eq!(attempt.revised(verdict), verdict);
    assert_eq!(attempt.revealed().decrypted.unwrap().alerts.len(), 1);
}

#[test]
fn an_alert_in_the_clear_stands() {
    let mut attempt = Attempt::begin(false);
    attempt.server_sends_flight();
    attempt.sends(Side::Client, &message(20, 32), HANDSHAKE);
    attempt.log_secrets(1, 2);
    let failure = Failure {
        evidence: Evidence::Seen,
        ..failed(FailureCause::Alert(AlertDescription(80)), Side::Server).failure.unwrap()
    };
    let verdict = Verdict::failed(at(), failure);
    assert_eq!(attempt.revised(verdict), verdict);
}

#[test]
fn lengths_do_not_complete_what_is_known_not_to_be_finished() {
    let mut attempt = Attempt::with_secrets();
    attempt.server_sends_flight();
    // An empty certificate, padded to the size of a Finished.
    let body = attempt.seal(Side::Client, &message(11, 4), HANDSHAKE, 28);
    assert_eq!(attempt.comes(Side::Client, &body, INFERRED), None);
    let verdict = attempt.revised(Verdict::completed(at(), Evidence::Inferred));
    assert_eq!(verdict.incomplete, Some(IncompleteReason::Ambiguous));
}

#[test]
fn a_client_certificate_may_still_be_refused() {
    let mut attempt = Attempt::with_secrets();
    attempt.sends(Side::Server, &message(13, 40), HANDSHAKE);
    attempt.server_sends_flight();
    let certificate = server_flight().remove(1);
    assert_eq!(attempt.sends(Side::Client, &certificate, HANDSHAKE), None);
    assert_eq!(attempt.sends(Side::Client, &message(20, 32), HANDSHAKE), None);
    // An answer of the server, as lengths show it.
    assert_eq!(attempt.comes(Side::Server, &[0; 200], INFERRED), INFERRED);
    assert_eq!(attempt.revealed().client_certificates.unwrap().lengths, Some(vec![300]));
}

#[test]
fn nothing_after_the_finished_is_opened() {
    let mut attempt = Attempt::with_secrets();
    attempt.server_sends_flight();
    // Under the same key, as it must not be: it would open.
    attempt.sends(Side::Server, b"a secret of the application", 23);
    attempt.sends(Side::Server, &[2, 42], ALERT);
    assert_eq!(attempt.decryption.server.heap_bytes(), attempt.decryption.server.facts.heap_bytes());
    let last = attempt.seal(Side::Client, &[message(20, 32), message(11, 4)].concat(), HANDSHAKE, 0);
    assert_eq!(attempt.comes(Side::Client, &last, None), COMPLETED);
    assert_eq!(attempt.log.counts().decrypt_failed, 0);
    let decrypted = attempt.revealed().decrypted.unwrap();
    assert_eq!((decrypted.client_messages.len(), decrypted.alerts.len()), (1, 0));
}

#[test]
fn what_waits_is_bounded_and_what_fitted_is_opened() {
    let mut attempt = Attempt::begin(false);
    attempt.server_sends_flight();
    for _ in 0..100 {
        attempt.comes(Side::Server, &[7; 16_000], None);
        attempt.comes(Side::Client, &[7; 16_000], None);
    }
    assert!(attempt.decryption.heap_bytes() < 3 * half::MAX_WAITING, "{}", attempt.decryption.heap_bytes());
    attempt.log_secrets(1, 2);
    attempt.revised(Verdict::completed(at(), Evidence::Inferred));
    assert_eq!(attempt.revealed().decrypted.unwrap().server_messages.len(), 4);
}

#[test]
fn empty_records_and_endless_messages_are_bounded() {
    let mut attempt = Attempt::begin(false);
    for _ in 0..100_000 {
        attempt.comes(Side::Server, &[], None);
    }
    assert!(attempt.decryption.heap_bytes() < 3 * half::MAX_WAITING, "{}", attempt.decryption.heap_bytes());
    let mut attempt = Attempt::with_secrets();
    attempt.sends(Side::Server, &[11, 0xff, 0xff, 0xff], HANDSHAKE);
    for _ in 0..100 {
        attempt.sends(Side::Server, &[7; 16_000], HANDSHAKE);
    }
    assert!(attempt.decryption.heap_bytes() < 300_000, "{}", attempt.decryption.heap_bytes());
    let mut attempt = Attempt::with_secrets();
    for _ in 0..1000 {
        attempt.sends(Side::Server, &message(8, 0), HANDSHAKE);
        attempt.sends(Side::Client, &[1, 0], ALERT);
    }
    let decrypted = attempt.revealed().decrypted.unwrap();
    assert_eq!((decrypted.server_messages.len(), decrypted.alerts.len()), (64, 16));
}

#[test]
fn other_versions_and_suites_are_left_alone() {
    let new = |version, suite| {
        Decryption::new(SharedKeyLog::default(), RANDOM, ProtocolVersion(version), suite, false)
    };
    assert!(new(0x0304, Some(CipherSuite(0x1305))).is_some());
    assert!(new(0x0304, Some(CipherSuite(0x1306))).is_none());
    assert!(new(0x7f1c, Some(CipherSuite(0x1301))).is_none());
    assert!(new(0x0304, None).is_none());
}

proptest! {
    #[test]
    fn any_content_is_taken_without_panic(
        records in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..80), 20_u8..24), 0..8),
    ) {
        let mut attempt = Attempt::with_secrets();
        for (content, kind) in records {
            attempt.sends(Side::Server, &content, kind);
            attempt.sends(Side::Client, &content, kind);
        }
        attempt.revised(Verdict::completed(at(), Evidence::Inferred));
        let _ = attempt.revealed();
    }
}

/// A hybrid handshake whose client sends its Finished in records that have the length of an alert.
fn seems_refused(attempt: &mut Attempt) -> Vec<(LabSide, Vec<u8>)> {
    let record = |body: Vec<u8>| lab::record(23, &body);
    let sealed =
        server_flight().into_iter().map(|it| attempt.server.seal(&it, HANDSHAKE, 0)).flat_map(record);
    let flight = [lab::ServerHello::tls13(0x11ec).record(), sealed.collect()].concat();
    let finished = message(20, 32);
    let finished = finished.chunks(2).map(|it| attempt.client.seal(it, HANDSHAKE, 0)).flat_map(record);
    vec![
        (LabSide::Client, lab::ClientHello::tls13().record()),
        (LabSide::Server, flight),
        (LabSide::Client, finished.collect()),
    ]
}

#[test]
fn an_attempt_that_late_secrets_complete_is_retried_by_nobody() {
    let first = lab::conversation(seems_refused(&mut Attempt::begin(false)), Ending::Closed(LabSide::Server));
    let hello = lab::ClientHello::tls13();
    let classical = hello.with(10, lab::numbers(2, &[29])).with(51, lab::key_shares(&[(29, 32)]));
    let second = lab::conversation(
        vec![
            (LabSide::Client, classical.record()),
            (LabSide::Server, [lab::ServerHello::tls13(29).record(), lab::encrypted(900)].concat()),
            (LabSide::Client, [lab::encrypted(53), lab::encrypted(120)].concat()),
            (LabSide::Server, lab::encrypted(300)),
        ],
        Ending::Closed(LabSide::Client),
    );
    let wires = [(40_000, 0), (40_001, 1)].map(|(port, seconds)| Wire {
        endpoints: Endpoints::v4(port),
        start: Wire::default().start + Duration::from_secs(seconds),
        ..Wire::default()
    });
    let packets = [(&wires[0], &first), (&wires[1], &second)]
        .map(|(wire, session)| wire.packets(&wire.segments(session)));
    for (given, outcome, is_retry) in
        [(0, Outcome::Failed, true), (1, Outcome::Completed, false), (2, Outcome::Completed, false)]
    {
        let mut observer = Observer::new(Settings { key_log: true, ..Settings::default() });
        let random: String = lab::filler(32).iter().map(|byte| format!("{byte:02x}")).collect();
        for (number, packets) in packets.iter().enumerate() {
            for packet in packets {
                observer.packet(&Packet {
                    link: LinkType::Ethernet,
                    at: Timestamp::from_nanos(packet.at.as_nanos().try_into().unwrap()),
                    interface: InterfaceId::default(),
                    bytes: &packet.bytes,
                    wire_length: packet.original_length,
                });
            }
            // As soon as the attempt has ended, and then once the retry has.
            if given == number + 1 {
                for (side, secret) in [("CLIENT", "01"), ("SERVER", "02")] {
                    let secret = secret.repeat(32);
                    let line = format!("{side}_HANDSHAKE_TRAFFIC_SECRET {random} {secret}");
                    observer.add_key_log_line(&line).unwrap();
                }
            }
        }
        observer.finish();
        let [first, second] = [(); 2].map(|()| observer.next_observation().unwrap());
        assert_eq!((first.outcome, second.outcome), (outcome, Outcome::Completed), "{given} {first:?}");
        assert_eq!(second.fallback_of == Some(first.id), is_retry, "{given}");
    }
}
