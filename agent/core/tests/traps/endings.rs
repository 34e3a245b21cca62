//! Alerts, and what ends an attempt.

use crate::observe::observe_with_health;
use crate::stories::{FINISHED, attempts, packets, plain12, seen, segments, tls13};
use pqscope_agent_core::observation::{Evidence, FailureCause, Outcome, Party, Phase};
use pqscope_lab::capture::{Ending, Endpoints, Flight, Link, Session, Wire, merge};
use pqscope_lab::plan::Side::{Client, Server};
use pqscope_lab::synthesis::{
    ClientHello, ServerHello, alert, change_cipher_spec, content, conversation, encrypted,
    encrypted_handshake, record,
};
use std::time::Duration;

fn hybrid() -> Session {
    tls13(&ClientHello::tls13(), &ServerHello::tls13(0x11ec))
}

#[test]
fn a_warning_before_the_server_hello_after_which_the_handshake_goes_on() {
    for mut session in [plain12(), hybrid()] {
        // unrecognized_name, as a server sends that knows no such name and does not mind.
        session.flights[1].bytes.splice(0..0, alert(1, 112));
        let seen = seen(&session);
        assert_eq!((seen.outcome, seen.failure), (Outcome::Completed, None));
        assert_eq!((seen.alerts.len(), seen.alerts[0].level), (1, 1));
    }
}

#[test]
fn alert_reset_close_and_silence_in_place_of_a_server_hello_are_four_causes() {
    let hello = || (Client, ClientHello::tls13().record());
    let stories = [
        (
            conversation(vec![hello(), (Server, alert(2, 40))], Ending::Closed(Server)),
            "alert_handshake_failure",
        ),
        (conversation(vec![hello()], Ending::Reset(Server)), "reset"),
        (conversation(vec![hello()], Ending::Closed(Server)), "closed"),
        (conversation(vec![hello()], Ending::Open), "timeout"),
    ];
    for (session, expected) in stories {
        let later = Wire {
            endpoints: Endpoints::v4(50_000),
            start: Wire::default().start + Duration::from_secs(20),
            ..Wire::default()
        };
        let clock = later.packets(&later.segments(&hybrid()));
        let seen = attempts(&merge(vec![packets(&segments(&session)), clock]));
        let failure = seen.iter().find_map(|seen| seen.failure).unwrap();
        assert_eq!((failure.cause.as_str().as_ref(), failure.after), (expected, Phase::ClientHello));
        assert_eq!(failure.by, Party::Server, "{expected}");
    }
}

#[test]
fn an_alert_that_looks_like_application_data_is_no_success() {
    let mut session = hybrid();
    session.flights.truncate(2);
    // Records of application data went both ways; the client's is an alert.
    let refusal = [change_cipher_spec(), encrypted(19)].concat();
    session.flights.push(Flight { sender: Client, bytes: refusal });
    session.ending = Ending::Closed(Client);
    let by_client = seen(&session).failure.unwrap();
    assert_eq!((by_client.cause, by_client.by), (FailureCause::EncryptedAlert, Party::Client));
    assert_eq!((by_client.after, by_client.evidence), (Phase::ServerFlight, Evidence::Inferred));
    let mut session = hybrid();
    session.flights.truncate(1);
    let refusal = [ServerHello::tls13(0x11ec).record(), change_cipher_spec(), encrypted(19)].concat();
    session.flights.push(Flight { sender: Server, bytes: refusal });
    session.ending = Ending::Closed(Server);
    let by_server = seen(&session).failure.unwrap();
    assert_eq!((by_server.cause, by_server.by), (FailureCause::EncryptedAlert, Party::Server));
}

#[test]
fn a_change_of_cipher_for_middleboxes_absent_present_or_doubled() {
    let plain = seen(&hybrid());
    for times in [0, 1, 2, 5] {
        let filler = change_cipher_spec().repeat(times);
        let mut session = hybrid();
        session.flights[1].bytes =
            [ServerHello::tls13(0x11ec).record(), filler.clone(), encrypted(900)].concat();
        session.flights[2].bytes = [filler.clone(), encrypted(FINISHED), encrypted(120)].concat();
        let seen = seen(&session);
        assert_eq!(
            (seen.outcome, &seen.server_flight),
            (Outcome::Completed, &plain.server_flight),
            "{times}"
        );
    }
}

#[test]
fn a_renegotiation_is_no_second_attempt() {
    let mut session = plain12();
    // Handshake records under encryption, as long as a hello and a flight would be.
    for (sender, length) in [(Server, 32), (Client, 260), (Server, 2800), (Client, 400), (Server, 60)] {
        session.flights.push(Flight { sender, bytes: encrypted_handshake(length) });
        session.flights.push(Flight { sender, bytes: change_cipher_spec() });
    }
    session.flights.push(Flight { sender: Client, bytes: encrypted(500) });
    let seen = seen(&session);
    assert_eq!((seen.outcome, seen.outcome_evidence), (Outcome::Completed, Evidence::Seen));
    // A hello in the clear, which belongs to nothing.
    let mut session = plain12();
    session.flights.push(Flight { sender: Client, bytes: ClientHello::tls12().record() });
    assert_eq!(attempts(&packets(&segments(&session))).len(), 1);
}

#[test]
fn an_alert_flood_is_capped() {
    let flood = alert(1, 112).repeat(60_000);
    let mut session = plain12();
    session.flights[1].bytes.splice(0..0, flood);
    let wire = Wire { segment_bytes: 60_000, ..Wire::default() };
    let (seen, _) = observe_with_health(Link::Ethernet, &wire.packets(&wire.segments(&session)));
    assert_eq!((seen[0].outcome, seen[0].alerts.len()), (Outcome::Completed, 16));
    // Alerts that are nothing but beginnings, and several in one record.
    for odd in [record(content::ALERT, &[1]).repeat(50_000), record(content::ALERT, &[1, 112].repeat(500))] {
        let mut session = plain12();
        session.flights[1].bytes.splice(0..0, odd);
        let (seen, health) = observe_with_health(Link::Ethernet, &wire.packets(&wire.segments(&session)));
        assert_eq!((seen.len(), seen[0].outcome), (1, Outcome::Completed));
        assert!(seen[0].alerts.len() <= 16 && health.buffered == 0);
    }
}

#[test]
fn a_fatal_alert_in_two_pieces() {
    let bytes = alert(2, 80);
    for cut in 1..bytes.len() {
        let (a, b) = bytes.split_at(cut);
        let mut session = hybrid();
        session.flights.truncate(1);
        session.flights.push(Flight { sender: Server, bytes: a.to_vec() });
        session.flights.push(Flight { sender: Server, bytes: b.to_vec() });
        session.ending = Ending::Closed(Server);
        assert_eq!(seen(&session).failure.unwrap().cause.as_str(), "alert_internal_error", "cut at {cut}");
    }
    // One byte in each of two records: the protocol forbids it, and it is no alert.
    let mut session = hybrid();
    session.flights.truncate(1);
    let halves = [record(content::ALERT, &[2]), record(content::ALERT, &[80])].concat();
    session.flights.push(Flight { sender: Server, bytes: halves });
    session.ending = Ending::Closed(Server);
    assert_eq!(seen(&session).outcome, Outcome::Failed);
}
