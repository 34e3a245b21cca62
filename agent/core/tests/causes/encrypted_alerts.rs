//! Alerts under encryption, told by the lengths of records and by how the connection ends.

use crate::stage::{clock, seen_in, session};
use pqscope_agent_core::observation::{
    Evidence, FailureCause, IncompleteReason, Observation, Outcome, Party,
};
use pqscope_lab::capture::{Ending, Flight, Session, Wire};
use pqscope_lab::plan::Side::{self, Client, Server};
use pqscope_lab::plan::{Group, HandshakePlan, Offer, Version};
use pqscope_lab::scenario::Scenario;
use pqscope_lab::synthesis::{
    ClientHello, ServerHello, alert, change_cipher_spec, conversation, encrypted, record,
};
use std::time::Duration;

const ENDINGS: [Ending; 5] = [
    Ending::Closed(Client),
    Ending::Closed(Server),
    Ending::Reset(Client),
    Ending::Reset(Server),
    Ending::Open,
];

/// What is seen of a session that ends so, once time has gone by.
fn seen(session: &Session, ending: Ending) -> Observation {
    let wire = Wire::default();
    let session = Session { ending, ..session.clone() };
    let mut all = wire.packets(&wire.segments(&session));
    all.extend(clock(&wire, Duration::from_secs(20)));
    seen_in(&wire, &all)
}

fn is_alert_by(seen: &Observation, by: Party) -> bool {
    seen.failure.is_some_and(|failure| {
        (failure.cause, failure.by, failure.evidence)
            == (FailureCause::EncryptedAlert, by, Evidence::Inferred)
    })
}

/// Suites with tags and hashes of different lengths: AES-128-GCM, AES-256-GCM, ChaCha20-Poly1305.
const SUITES: [u16; 3] = [0x1301, 0x1302, 0x1303];

fn with_suite(scenario: Scenario, suite: u16) -> Session {
    let offer = Offer::of(&[Group::X25519MlKem768, Group::X25519]).only(Version::Tls13);
    let plan =
        HandshakePlan { client: offer.clone(), server: offer, cipher_suite: Some(suite), ..scenario.plan() };
    Session::run(&plan, "service.example").unwrap()
}

#[test]
fn a_client_that_refuses_the_certificate_is_named_however_the_connection_ends() {
    for suite in SUITES {
        let refused = with_suite(Scenario::UnknownCa, suite);
        assert_eq!(refused.alert.as_ref().unwrap().0, Client);
        for ending in ENDINGS {
            let seen = seen(&refused, ending);
            assert!(is_alert_by(&seen, Party::Client), "{suite:#x} {ending:?} {:?}", seen.failure);
        }
    }
}

#[test]
fn a_client_certificate_that_is_refused_is_never_a_success() {
    for suite in SUITES {
        let refused = with_suite(Scenario::RefusedClientCertificate, suite);
        assert_eq!(refused.alert.as_ref().unwrap().0, Server);
        for ending in ENDINGS {
            let seen = seen(&refused, ending);
            assert_eq!(seen.incomplete_reason, Some(IncompleteReason::Ambiguous), "{suite:#x} {ending:?}");
        }
        // The same with a server that is content: its first record is more than an alert.
        for ending in ENDINGS {
            let trusted = seen(&with_suite(Scenario::ClientCertificate, suite), ending);
            assert_eq!(trusted.outcome, Outcome::Completed, "{suite:#x} {ending:?}");
        }
    }
}

#[test]
fn a_handshake_that_finished_is_no_alert_however_it_ends() {
    for suite in SUITES {
        let whole = with_suite(Scenario::Hybrid, suite);
        for ending in ENDINGS {
            // With a request and without, with the close_notify that a client sends right behind its Finished.
            for flights in 3..=whole.flights.len() {
                let seen = seen(&whole.clone().cut_after(flights, ending), ending);
                assert_eq!(seen.outcome, Outcome::Completed, "{suite:#x} {ending:?} {flights}");
            }
            let mut hasty = whole.clone().cut_after(3, ending);
            hasty.flights[2].bytes.extend(encrypted(19));
            assert_eq!(seen(&hasty, ending).outcome, Outcome::Completed);
        }
    }
    for ending in ENDINGS {
        assert_eq!(seen(&session(Scenario::Resumed), ending).outcome, Outcome::Completed, "{ending:?}");
    }
}

/// A TLS 1.3 handshake up to here: the server's flight after its hello, then the client's.
fn by_hand(server: &[Vec<u8>], client: &[Vec<u8>]) -> Session {
    let mut flights = vec![
        (Client, ClientHello::tls13().record()),
        (
            Server,
            [vec![ServerHello::tls13(0x11ec).record(), change_cipher_spec()], server.to_vec()]
                .concat()
                .concat(),
        ),
    ];
    if !client.is_empty() {
        flights.push((Client, client.concat()));
    }
    conversation(flights, Ending::Open)
}

#[test]
fn alerts_stay_alerts_in_pairs_and_behind_fillers_of_middleboxes() {
    let alert = || encrypted(19);
    for by_client in [
        vec![alert()],
        vec![alert(), alert()],
        vec![change_cipher_spec(), alert()],
        vec![change_cipher_spec(), alert(), change_cipher_spec(), alert()],
        vec![alert(), alert(), alert()],
    ] {
        for ending in ENDINGS {
            let seen = seen(&by_hand(&[encrypted(900)], &by_client), ending);
            assert!(is_alert_by(&seen, Party::Client), "{ending:?} {:?}", seen.failure);
        }
    }
    for by_server in [
        vec![alert()],
        vec![alert(), alert()],
        vec![encrypted(200), alert()],
        vec![encrypted(900), change_cipher_spec(), alert(), alert()],
    ] {
        for ending in ENDINGS {
            let seen = seen(&by_hand(&by_server, &[]), ending);
            assert!(is_alert_by(&seen, Party::Server), "{ending:?} {:?}", seen.failure);
        }
    }
}

#[test]
fn an_alert_in_the_clear_after_the_server_hello_is_read() {
    for (sender, place) in [(Client, 2), (Server, 2)] {
        for fillers in [0, 1] {
            let mut session = by_hand(&[encrypted(900)], &[]);
            let bytes = [change_cipher_spec().repeat(fillers), alert(2, 47)].concat();
            session.flights.insert(place, Flight { sender, bytes });
            for ending in ENDINGS {
                let seen = seen(&session, ending);
                let failure = seen.failure.unwrap();
                assert_eq!(failure.cause.as_str(), "alert_illegal_parameter");
                assert_eq!(failure.evidence, Evidence::Seen);
                assert_eq!(failure.by, if sender == Client { Party::Client } else { Party::Server });
            }
        }
    }
}

#[test]
fn without_a_record_of_an_alerts_size_there_is_no_alert() {
    for length in [17, 18, 20, 21, 25, 52] {
        for (by, session) in [
            (Side::Client, by_hand(&[encrypted(900)], &[encrypted(length)])),
            (Side::Server, by_hand(&[encrypted(900), encrypted(length)], &[])),
        ] {
            let closed = seen(&session, Ending::Closed(by));
            assert_eq!(closed.failure.unwrap().cause, FailureCause::Closed, "{by:?} {length}");
            let reset = seen(&session, Ending::Reset(by));
            assert_eq!(reset.failure.unwrap().cause, FailureCause::Reset, "{by:?} {length}");
            let silent = seen(&session, Ending::Open);
            assert_eq!(silent.failure.unwrap().cause, FailureCause::Timeout, "{by:?} {length}");
        }
    }
    // An alert's length in a record of another type says nothing.
    let filler = by_hand(&[encrypted(900)], &[record(24, &[0; 19])]);
    assert_eq!(seen(&filler, Ending::Closed(Client)).failure.unwrap().cause, FailureCause::Closed);
}

#[test]
fn an_alert_of_the_server_that_crosses_the_clients_finished_completes_nothing() {
    for ending in ENDINGS {
        let crossing = by_hand(&[encrypted(900), encrypted(19)], &[encrypted(53)]);
        let seen = seen(&crossing, ending);
        assert_eq!(seen.incomplete_reason, Some(IncompleteReason::Ambiguous), "{ending:?}");
    }
}

#[test]
fn after_refused_early_data_a_certificate_in_one_record_with_the_finished_is_no_failure() {
    // The client offers early data, which the server ignores while it asks for a certificate.
    let hello = ClientHello::tls13().with(42, Vec::new());
    let flights = vec![
        (Client, [hello.record(), change_cipher_spec(), encrypted(600)].concat()),
        (Server, [ServerHello::tls13(0x11ec).record(), change_cipher_spec(), encrypted(900)].concat()),
        (Client, encrypted(1400)),
        (Server, encrypted(19)),
    ];
    let whole = conversation(flights, Ending::Open);
    for ending in ENDINGS {
        assert_ne!(seen(&whole, ending).outcome, Outcome::Failed, "{ending:?}");
    }
}

#[test]
fn an_alert_sized_record_behind_a_hole_proves_nothing() {
    let wire = Wire::default();
    // A whole record of the client is missing before what may be its close_notify.
    let mut session = by_hand(&[encrypted(900)], &[]);
    for length in [53, 19] {
        session.flights.push(Flight { sender: Client, bytes: encrypted(length) });
    }
    session.ending = Ending::Closed(Client);
    let mut segments = wire.segments(&session);
    let finished = segments.iter().position(|segment| segment.payload.len() == 58).unwrap();
    segments.remove(finished);
    let seen = seen_in(&wire, &wire.packets(&segments));
    assert_eq!((seen.outcome, seen.incomplete_reason), (Outcome::Incomplete, Some(IncompleteReason::Gap)));
}
