//! The inventory over real handshakes: what many handshakes of one server say together, held against the truth and
//! against what each of them says by itself.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at whatever it does not expect"
)]

mod observe;

use observe::observe;
use pqscope_agent_core::inventory::Inventory;
use pqscope_agent_core::observation::Observation;
use pqscope_lab::capture::{Endpoints, Link, Session, Wire};
use pqscope_lab::identity::KeyKind;
use pqscope_lab::plan::{Group, HandshakePlan, Offer};
use serde_json::Value;
use std::time::Duration;

const NAME: &str = "service.example";

fn plan(protocol: &str, intermediates: usize) -> HandshakePlan {
    let offer = Offer::of(&[Group::X25519MlKem768, Group::X25519]);
    let plan = HandshakePlan::between(offer.clone(), offer);
    HandshakePlan { intermediates, application_protocols: vec![protocol.to_owned()], ..plan }
}

/// What is observed of these sessions, one after the other.
fn observations(sessions: &[Session]) -> Vec<Observation> {
    let mut seen = Vec::new();
    for (number, session) in (0_u16..).zip(sessions) {
        let start = Wire::default().start + Duration::from_secs(number.into());
        let wire = Wire { endpoints: Endpoints::v4(20_000 + number), start, ..Wire::default() };
        seen.extend(observe(Link::Ethernet, &wire.packets(&wire.segments(session))));
    }
    seen
}

/// A server's handshakes with the bytes of its chain.
struct Story {
    seen: Vec<Observation>,
    truth: u64,
    inventory: Inventory,
}

impl Story {
    /// So many full and resumed handshakes of one client, and one of another with a shorter protocol name, whose sum shows
    /// that the server does not pad.
    fn of(kind: KeyKind, intermediates: usize, (full, resumed): (usize, usize)) -> Self {
        let sessions =
            Session::of_one_server(&plan("http/1.1", intermediates), NAME, kind, (full, resumed)).unwrap();
        let other = Session::of_one_server(&plan("h2", intermediates), NAME, kind, (1, 0)).unwrap();
        let truth = sessions[0].certificate_lengths.iter().map(|length| *length as u64).sum();
        let seen = observations(&sessions);
        let mut inventory = Inventory::default();
        seen.iter().chain(&observations(&other)).for_each(|seen| inventory.add(seen));
        Self { seen, truth, inventory }
    }

    fn chains(&self) -> Vec<Value> {
        let written = serde_json::to_value(&self.inventory).unwrap();
        written["servers"][0]["chains"].as_array().unwrap().clone()
    }

    /// The families that the best known chain may sign with.
    fn families(&self) -> Vec<String> {
        let families = self.chains()[0]["families"].as_array().unwrap().clone();
        families.iter().map(|family| family.as_str().unwrap().to_owned()).collect()
    }

    /// Widths of the bounds of a record by itself, and of all together. Both hold the truth, and the latter lie within the
    /// former.
    #[track_caller]
    fn widths(&self) -> (u64, u64) {
        let chain = self.seen[0].certificates.as_ref().unwrap();
        let (least, most) = (chain.low.unwrap(), chain.high.unwrap());
        let (low, high) = self.inventory.pooled(&self.seen[0]).chain.unwrap();
        let truth = self.truth;
        assert!(
            (low..=high).contains(&truth) && least <= low && high <= most,
            "{truth}: {:?}",
            self.chains()
        );
        (most - least, high - low)
    }
}

const ALL: [KeyKind; 5] = [KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Ed25519, KeyKind::Rsa2048];

#[test]
fn pooled_bounds_hold_the_chain_and_are_narrower_than_a_records() {
    for kind in ALL {
        for intermediates in [0, 2] {
            for resumed in [0, 2] {
                let story = Story::of(kind, intermediates, (80, resumed));
                let (alone, pooled) = story.widths();
                println!(
                    "{kind:?}, {intermediates} intermediates, {resumed} resumed: {alone} alone, {pooled} pooled"
                );
                assert!(pooled < alone || resumed == 0, "{kind:?}: {alone}, {pooled}");
            }
        }
    }
}

#[test]
fn lengths_tell_ecdsa_from_the_rest() {
    for kind in [KeyKind::P256, KeyKind::P384] {
        assert_eq!(Story::of(kind, 0, (300, 0)).families(), ["ecdsa_p256", "ecdsa_p384"], "{kind:?}");
    }
    for kind in [KeyKind::Ed25519, KeyKind::Rsa2048] {
        assert_eq!(Story::of(kind, 0, (60, 0)).families(), ["rsa", "ed25519"], "{kind:?}");
    }
}

#[test]
fn few_handshakes_tell_no_more_than_one() {
    let story = Story::of(KeyKind::P256, 0, (5, 0));
    let every = ["rsa", "ecdsa_p256", "ecdsa_p384", "ecdsa_p521", "ed25519"];
    assert_eq!(story.families(), every);
    let pooled = story.inventory.pooled(&story.seen[0]);
    assert_eq!(pooled.family, None);
}

#[test]
fn a_resumption_tells_what_the_extensions_weigh() {
    let story = Story::of(KeyKind::P256, 0, (300, 2));
    let (_, pooled) = story.widths();
    assert!(pooled <= 64, "{pooled}");
}

#[test]
fn a_record_is_the_same_whatever_the_inventory_knows() {
    let sessions = Session::of_one_server(&plan("h2", 0), NAME, KeyKind::Rsa2048, (30, 1)).unwrap();
    let seen = observations(&sessions);
    let before = serde_json::to_string(&seen).unwrap();
    let mut inventory = Inventory::default();
    seen.iter().for_each(|seen| inventory.add(seen));
    assert_eq!(serde_json::to_string(&seen).unwrap(), before);
    assert!(!before.contains("wishes"), "{before}");
}
