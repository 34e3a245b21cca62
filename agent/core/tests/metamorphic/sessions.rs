//! The conversations: every scenario of the lab, and chains, mutual TLS, retries and resumption in both versions.

use pqscope_lab::capture::Session;
use pqscope_lab::plan::{ClientAuthentication, Group, HandshakePlan, Offer, Version};
use pqscope_lab::scenario::Scenario;
use std::sync::LazyLock;

/// A conversation with its name.
pub(crate) type Named = (String, Session);

const NAME: &str = "service.example";

fn plan(version: Version) -> HandshakePlan {
    let offer = Offer::of(&[Group::X25519MlKem768, Group::X25519, Group::Secp384r1]).only(version);
    HandshakePlan::between(offer.clone(), offer)
}

/// Made once: keys and certificates take their time.
pub(crate) static ALL: LazyLock<Vec<Named>> = LazyLock::new(|| {
    let mut all: Vec<Named> = Scenario::ALL
        .into_iter()
        .map(|scenario| (scenario.to_string(), Session::of(scenario, NAME).unwrap()))
        .collect();
    for version in [Version::Tls12, Version::Tls13] {
        for intermediates in 1..=3 {
            let plan = HandshakePlan { intermediates, ..plan(version) };
            let name = format!("{version:?}, {} certificates", intermediates + 1);
            all.push((name, Session::run(&plan, NAME).unwrap()));
        }
        for client_authentication in [ClientAuthentication::Trusted, ClientAuthentication::Refused] {
            let plan = HandshakePlan { client_authentication, intermediates: 1, ..plan(version) };
            let name = format!("{version:?}, client certificate {client_authentication:?}");
            all.push((name, Session::run(&plan, NAME).unwrap()));
        }
    }
    let mut retried = plan(Version::Tls13);
    retried.client.groups = vec![Group::X25519, Group::Secp384r1];
    retried.server.groups = vec![Group::Secp384r1];
    for (name, resumption, client_authentication) in [
        ("retry and resumption", true, ClientAuthentication::NotAsked),
        ("retry and client certificate", false, ClientAuthentication::Trusted),
    ] {
        let plan = HandshakePlan { resumption, client_authentication, ..retried.clone() };
        all.push((name.to_owned(), Session::run(&plan, NAME).unwrap()));
    }
    all
});

#[test]
fn every_session_has_a_hello_and_a_name_of_its_own() {
    let mut names: Vec<_> = ALL.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
    assert!(ALL.iter().all(|(_, session)| session.flights[0].bytes.starts_with(&[22, 3, 1])));
}
