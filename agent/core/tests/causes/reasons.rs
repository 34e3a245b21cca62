//! Why a handshake was not post-quantum, one conversation for each answer.

use crate::stage::{seen, session};
use pqscope_agent_core::aggregate::{Aggregate, Bounds};
use pqscope_agent_core::observation::{Observation, Outcome, PqReason};
use pqscope_lab::capture::{Session, Wire};
use pqscope_lab::plan::{Group, HandshakePlan, Offer, Version};
use pqscope_lab::scenario::Scenario;

/// A conversation between a client and a server that know these groups.
fn between(client: &[Group], server: Offer) -> Session {
    Session::run(&HandshakePlan::between(Offer::of(client), server), "service.example").unwrap()
}

/// The value of the attribute on the handshake that was counted.
fn attribute(observation: &Observation) -> Option<String> {
    let mut aggregate = Aggregate::new(Bounds::default(), observation.start);
    aggregate.add(observation, observation.end);
    let collection = aggregate.collect(observation.end);
    let handshakes =
        collection.families.iter().find(|family| family.metric.name == "pqscope.handshakes").unwrap();
    let attributes = handshakes.series.iter().flat_map(|series| &series.attributes);
    let mut values =
        attributes.filter(|(key, _)| *key == "pqscope.pq.reason").map(|(_, value)| value.to_string());
    values.next()
}

#[test]
fn every_reason_has_a_conversation_that_shows_it() {
    use Group::{Secp256r1, X25519, X25519MlKem768};
    let classical_first = between(&[X25519, X25519MlKem768], Offer::of(&[X25519, X25519MlKem768]));
    let old_server = between(&[X25519MlKem768, X25519], Offer::of(&[X25519, Secp256r1]).only(Version::Tls12));
    let stories = [
        (session(Scenario::X25519), Some("not_offered")),
        (session(Scenario::P256), Some("not_offered")),
        (session(Scenario::Tls12), Some("not_offered")),
        (classical_first, Some("offered_without_share")),
        (session(Scenario::ClassicalServer), Some("server_ignored_share")),
        (session(Scenario::HelloRetryToClassical), Some("retry_to_classical")),
        (old_server, Some("version_too_old")),
        (session(Scenario::Tls12Resumed), Some("no_key_exchange")),
        (session(Scenario::Hybrid), None),
        (session(Scenario::HelloRetryToHybrid), None),
        (session(Scenario::Resumed), None),
    ];
    for (session, expected) in stories {
        let seen = seen(&Wire::default(), &Wire::default().segments(&session));
        assert_eq!(seen.outcome, Outcome::Completed, "{expected:?}");
        let reason = seen.pq_reason.map(PqReason::as_str);
        assert_eq!(reason, expected, "{:?}", seen.client_hello);
        assert_eq!(attribute(&seen).as_deref(), expected);
    }
}

#[test]
fn an_attempt_that_did_not_complete_has_no_reason() {
    for scenario in [Scenario::NoSharedGroup, Scenario::UnknownCa, Scenario::ServerResets] {
        let seen = seen(&Wire::default(), &Wire::default().segments(&session(scenario)));
        assert_eq!(seen.pq_reason, None, "{scenario}");
    }
}
