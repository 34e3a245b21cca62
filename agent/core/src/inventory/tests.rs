use super::*;
use crate::iana::{CipherSuite, ProtocolVersion, SignatureScheme};
use crate::observation::testing::observation;
use crate::observation::{
    CertificateVerify, CertificateWishes, Certificates, ClientHelloFacts, Evidence, KeyExchange, LeafFacts,
    Outcome, ServerFlight, UpgradedFrom,
};
use crate::time::Timestamp;
use crate::tls::inference::{self, sum_before_finished};
use proptest::prelude::*;
use serde_json::{Value, json};

const EVERY_SCHEME: [u16; 6] = [0x0403, 0x0503, 0x0603, 0x0804, 0x0807, 0x0904];
const NO_CURVE: [u16; 1] = [0x0804];

/// Record length of what is not the Finished: header of the Finished, hash, type and tag come on top.
const AROUND: u16 = 4 + 32 + 1 + 16;

/// A handshake of TLS 1.3 whose server sent `sum` bytes of messages and its Finished in one record.
fn shared(sum: u16, schemes: &[u16], ocsp: bool) -> Observation {
    let hello = ClientHelloFacts {
        signature_schemes: Some(schemes.iter().copied().map(SignatureScheme).collect()),
        alpn: Some(vec!["h2".to_owned()]),
        ech: Some(false),
        wishes: Some(CertificateWishes { ocsp, ..CertificateWishes::default() }),
        ..ClientHelloFacts::default()
    };
    let records = vec![sum + AROUND];
    let mut seen = Observation {
        client_hello: hello,
        version: Some(ProtocolVersion::TLS_1_3),
        cipher_suite: Some(CipherSuite(0x1301)),
        key_exchange: Some(KeyExchange::Ephemeral),
        server_flight: Some(ServerFlight { bytes: u64::from(sum + AROUND), records }),
        ..observation()
    };
    let (certificates, verify) = inference::by_itself(&seen);
    (seen.certificates, seen.certificate_verify) = (certificates, verify);
    seen
}

/// A resumption by the same client, with EncryptedExtensions of this size.
fn resumed(extensions: u16, schemes: &[u16]) -> Observation {
    let seen = shared(extensions, schemes, false);
    let key_exchange = Some(KeyExchange::PskEphemeral);
    Observation { key_exchange, certificates: None, certificate_verify: None, ..seen }
}

/// A server whose messages have records of their own.
fn separate(message_bytes: u32, family: SignatureFamily, (low, high): (u64, u64)) -> Observation {
    let chain = Certificates {
        count: None,
        lengths: None,
        chain_bytes: Some(low),
        low: Some(low),
        high: Some(high),
        evidence: Evidence::Inferred,
        ..Certificates::seen(Vec::new(), message_bytes)
    };
    let verify = CertificateVerify { family, evidence: Evidence::Inferred };
    Observation { certificates: Some(chain), certificate_verify: Some(verify), ..observation() }
}

/// EncryptedExtensions of 20 bytes, a chain of one certificate, and a signature.
fn sum(chain: u16, signature: u16) -> u16 {
    20 + (4 + 4 + 5 + chain) + (8 + signature)
}

/// The lengths of P-256 signatures in some order, in the shares of DER.
const P256_LENGTHS: [u16; 8] = [71, 72, 71, 70, 72, 71, 70, 71];

/// An inventory of these handshakes, each on a connection of its own.
fn of(all: impl IntoIterator<Item = Observation>) -> Inventory {
    let mut inventory = Inventory::default();
    for (port, mut seen) in (1_024..).zip(all) {
        seen.client.port = port;
        inventory.add(&seen);
    }
    inventory
}

fn written(inventory: &Inventory) -> Value {
    serde_json::to_value(inventory).unwrap()
}

fn chains(inventory: &Inventory) -> Vec<Value> {
    written(inventory)["servers"][0]["chains"].as_array().unwrap().clone()
}

fn p256(chain: u16, count: usize) -> impl Iterator<Item = Observation> {
    let lengths = P256_LENGTHS.into_iter().cycle().take(count);
    lengths.map(move |length| shared(sum(chain, length), &EVERY_SCHEME, false))
}

fn fixed(chain: u16, signature: u16, schemes: &'static [u16], count: usize) -> Vec<Observation> {
    (0..count).map(|_| shared(sum(chain, signature), schemes, false)).collect()
}

fn width(chain: &Value) -> u64 {
    chain["high"].as_u64().unwrap() - chain["low"].as_u64().unwrap()
}

#[track_caller]
fn holds(chain: &Value, truth: u64) {
    assert!(chain["low"].as_u64().unwrap() <= truth && truth <= chain["high"].as_u64().unwrap(), "{chain}");
}

#[test]
fn varying_sums_are_of_an_ecdsa_key() {
    let alone = &chains(&of(p256(600, 1)))[0];
    let inventory = of(p256(600, 80));
    let [chain] = &chains(&inventory)[..] else { panic!() };
    assert_eq!(chain["families"], json!(["ecdsa_p256", "ecdsa_p384"]));
    assert_eq!((&chain["family"], &chain["handshakes"]), (&json!("unknown"), &json!(80)));
    assert_eq!((&chain["evidence"], &chain["records"]), (&json!("inferred"), &json!("shared")));
    holds(chain, 600);
    assert!(width(chain) < width(alone), "{chain} {alone}");
}

#[test]
fn a_client_that_takes_one_curve_names_it() {
    let schemes = [0x0403, 0x0804];
    let lengths = P256_LENGTHS.into_iter().cycle().take(40);
    let inventory = of(lengths.map(|length| shared(sum(600, length), &schemes, false)));
    let [chain] = &chains(&inventory)[..] else { panic!() };
    assert_eq!(chain["family"], "ecdsa_p256");
    let pooled = inventory.pooled(&shared(sum(600, 71), &schemes, false));
    assert_eq!(pooled.family, Some(SignatureFamily::EcdsaP256));
}

#[test]
fn constant_sums_are_of_no_ecdsa_key() {
    for (signature, truth) in [(256, 900), (64, 400)] {
        let [chain] = &chains(&of(fixed(truth, signature, &EVERY_SCHEME, 40)))[..] else { panic!() };
        let families = chain["families"].as_array().unwrap().clone();
        assert!(families.iter().all(|family| !family.as_str().unwrap().starts_with("ecdsa")), "{chain}");
        assert!(families.contains(&json!(if signature == 64 { "ed25519" } else { "rsa" })));
        holds(chain, truth.into());
    }
    let few = &chains(&of(fixed(900, 256, &EVERY_SCHEME, 23)))[0];
    assert!(few["families"].as_array().unwrap().contains(&json!("ecdsa_p256")), "{few}");
}

#[test]
fn a_handshake_met_twice_is_evidence_once() {
    let mut inventory = Inventory::default();
    for port in (0..20).chain(0..20) {
        let mut seen = shared(sum(900, 256), &EVERY_SCHEME, false);
        seen.client.port = port;
        inventory.add(&seen);
    }
    let chain = &chains(&inventory)[0];
    assert_eq!(chain["handshakes"], 40);
    assert!(chain["families"].as_array().unwrap().contains(&json!("ecdsa_p256")), "{chain}");
}

#[test]
fn a_family_that_the_client_does_not_take_is_none() {
    let [chain] = &chains(&of(fixed(900, 256, &NO_CURVE, 40)))[..] else { panic!() };
    assert_eq!(chain["family"], "rsa");
    holds(chain, 900);
    // Three lengths in the shares of DER, and no curve to explain them.
    let lengths = P256_LENGTHS.into_iter().cycle().take(40);
    let odd = of(lengths.map(|length| shared(sum(900, 184 + length), &NO_CURVE, false)));
    assert_eq!(chains(&odd)[0]["family"], "rsa");
}

#[test]
fn a_sum_that_padding_would_make_tells_nothing() {
    // With the Finished of 36 bytes, a multiple of 16.
    let padded = |count| (0..count).map(|_| shared(1036, &EVERY_SCHEME, false));
    let open = chains(&of(padded(100)));
    assert!(open[0]["families"].as_array().unwrap().contains(&json!("ecdsa_p256")), "{open:?}");
    // Another sum shows that the server does not pad.
    let shown = of(padded(100).chain([shared(1501, &EVERY_SCHEME, true)]));
    assert!(!chains(&shown)[0]["families"].as_array().unwrap().contains(&json!("ecdsa_p256")));
}

#[test]
fn two_certificates_of_one_server_are_told_apart() {
    let mixed = p256(600, 80).zip(fixed(900, 256, &EVERY_SCHEME, 80)).flat_map(|(a, b)| [a, b]);
    let inventory = of(mixed.chain(p256(600, 80)));
    let [first, second] = &chains(&inventory)[..] else { panic!() };
    assert_eq!(first["families"], json!(["ecdsa_p256", "ecdsa_p384"]));
    holds(first, 600);
    assert_eq!(second["handshakes"], 80);
    assert!(!second["families"].as_array().unwrap().contains(&json!("ecdsa_p256")));
    holds(second, 900);
}

#[test]
fn a_resumption_shows_the_extensions_and_narrows_the_bounds() {
    let wide = &chains(&of(p256(600, 80)))[0];
    // The name was confirmed in the full handshake only.
    let narrow = &chains(&of(p256(600, 80).chain([resumed(16, &EVERY_SCHEME)])))[0];
    holds(narrow, 600);
    assert!(width(narrow) <= 64 && width(wide) > 64, "{narrow} {wide}");
    // One certificate, one curve: nothing else gives way.
    let lengths = P256_LENGTHS.into_iter().map(|length| shared(sum(300, length), &[0x0403], false));
    let tight = &chains(&of(lengths.chain([resumed(16, &[0x0403])])))[0];
    holds(tight, 300);
    let others = &chains(&of(p256(600, 80).chain([resumed(16, &NO_CURVE)])))[0];
    assert_eq!(width(others), width(wide));
}

#[test]
fn a_client_that_asked_for_no_staple_shows_that_none_was_sent() {
    let asked = |sum| (0..30).map(move |_| shared(sum, &NO_CURVE, true));
    let wide = &chains(&of(asked(sum(2_000, 256))))[0];
    let inventory = of(asked(sum(2_000, 256)).chain(fixed(2_000, 256, &NO_CURVE, 1)));
    let found = chains(&inventory);
    assert_eq!(found.len(), 1, "both say the same of the chain: {found:?}");
    holds(&found[0], 2_000);
    assert!(width(&found[0]) + 700 < width(wide), "{wide} {found:?}");
    // A client that takes other signatures may have got another certificate.
    let others = of(asked(sum(2_000, 256)).chain(fixed(2_000, 256, &EVERY_SCHEME, 1)));
    assert_eq!(width(&chains(&others)[0]), width(wide));
    // A staple of the least size was sent.
    let stapled = of(asked(sum(2_000 + 300, 256)).chain(fixed(2_000, 256, &NO_CURVE, 1)));
    assert!(chains(&stapled).iter().all(|chain| chain["low"].as_u64() <= Some(2_000)), "{stapled:?}");
}

#[test]
fn handshakes_of_unlike_clients_are_not_pooled() {
    let names = (0..24).map(|number| {
        let mut seen = shared(sum(900, 256), &EVERY_SCHEME, false);
        seen.client_hello.ja4 = Some(format!("t13d1516h2_8daaf6152771_{:012}", number % 2));
        seen
    });
    let families = chains(&of(names))[0]["families"].clone();
    assert!(families.as_array().unwrap().contains(&json!("ecdsa_p256")), "{families}");
}

#[test]
fn what_varies_beyond_the_bound_is_no_law() {
    let many = (0..40_u16).map(|number| shared(1_000 + 10 * number, &EVERY_SCHEME, false));
    let inventory = of(many.chain((0..30).map(|_| shared(1_000, &EVERY_SCHEME, false))));
    let found = chains(&inventory);
    assert_eq!(found[0]["handshakes"], 31);
    assert!(found[0]["families"].as_array().unwrap().contains(&json!("ecdsa_p256")));
    assert!(written(&inventory)["servers"][0]["chains_left_out"].as_u64().unwrap() > 0);
}

#[test]
fn a_client_that_asked_for_less_narrows_a_chain_in_records_of_its_own() {
    let asked = separate(930, SignatureFamily::Rsa, (300, 921));
    let inventory = of([asked.clone(), separate(930, SignatureFamily::Rsa, (911, 921)), asked.clone()]);
    let [chain] = &chains(&inventory)[..] else { panic!() };
    assert_eq!((&chain["low"], &chain["high"], &chain["handshakes"]), (&json!(911), &json!(921), &json!(3)));
    assert_eq!((&chain["records"], &chain["family"]), (&json!("separate"), &json!("rsa")));
    assert_eq!(inventory.pooled(&asked).chain, Some((911, 921)));
    let contradicting = of([asked, separate(930, SignatureFamily::Rsa, (940, 950))]);
    assert_eq!(chains(&contradicting)[0]["low"], Value::Null);
}

#[test]
fn chains_in_records_of_their_own_are_told_apart_and_bounded() {
    let every = (0..20).map(|number| separate(1000 + number, SignatureFamily::EcdsaP256, (900, 960)));
    let inventory = of(every.chain([separate(1000, SignatureFamily::Rsa, (900, 960))]));
    assert_eq!(chains(&inventory).len(), 8);
    assert_eq!(written(&inventory)["servers"][0]["chains_left_out"], 13);
}

fn leaf(number: u32) -> LeafFacts {
    LeafFacts {
        issuer: "CN=authority".to_owned(),
        subject: "CN=service".to_owned(),
        key_algorithm: "rsa".to_owned(),
        key_bits: Some(2048),
        signature_algorithm: "sha256_rsa".to_owned(),
        not_before: None,
        not_after: None,
        spki_sha256: format!("{number:064x}"),
    }
}

fn read(number: u32) -> Observation {
    let leaf = Some(Box::new(leaf(number)));
    let chain = Certificates { leaf, ..Certificates::seen(vec![900, 800], 1709) };
    Observation { certificates: Some(chain), ..observation() }
}

#[test]
fn certificates_that_were_read_are_listed_with_their_facts() {
    let inventory = of([read(1), read(2), read(1)]);
    let server = &written(&inventory)["servers"][0];
    assert_eq!(server["leaves"][0]["handshakes"], 2);
    assert_eq!(server["leaves"][0]["evidence"], "seen");
    assert_eq!(server["leaves"][0]["key_algorithm"], "rsa");
    assert_eq!(server["leaves"][1]["spki_sha256"], format!("{:064x}", 2));
    let chain = &server["chains"][0];
    assert_eq!((&chain["lengths"], &chain["chain_bytes"]), (&json!([900, 800]), &json!(1700)));
    assert_eq!((&chain["family"], &chain["records"]), (&Value::Null, &Value::Null));
    let many = written(&of((0..20).map(read)));
    assert_eq!(many["servers"][0]["leaves"].as_array().unwrap().len(), 8);
    assert_eq!(many["servers"][0]["leaves_left_out"], 12);
}

#[test]
fn a_server_is_an_address_a_port_and_a_name() {
    let named = |name: &str| Observation { server_name: Some(name.to_owned()), ..observation() };
    let mut other_port = observation();
    other_port.server.port = 8443;
    let all = [named("b.example"), other_port, named("B.Example"), named("a.example"), observation()];
    let inventory = written(&of(all));
    let servers = inventory["servers"].as_array().unwrap();
    let names: Vec<_> = servers.iter().map(|server| server["server_name"].clone()).collect();
    assert_eq!(names, [json!(null), json!("a.example"), json!("b.example"), json!(null)]);
    assert_eq!(servers[2]["handshakes"]["completed"], 2);
    assert_eq!(servers[3]["server"]["port"], 8443);
}

#[test]
fn handshakes_are_counted_by_what_they_were() {
    let failed = Observation {
        outcome: Outcome::Failed,
        start: Timestamp::from_nanos(5),
        upgraded_from: Some(UpgradedFrom::Smtp),
        ..observation()
    };
    let mut hybrid = Observation { version: Some(ProtocolVersion::TLS_1_3), ..observation() };
    let group = crate::iana::Group(0x11ec);
    hybrid.group = Some(group.into());
    hybrid.key_exchange_class = Some(group.class());
    hybrid.client_hello.groups = Some(vec![group]);
    let server = &written(&of([observation(), failed, hybrid]))["servers"][0];
    assert_eq!(server["handshakes"], json!({"completed": 2, "failed": 1, "incomplete": 0}));
    assert_eq!(server["first"], "1970-01-01T00:00:00.000000005Z");
    assert_eq!(server["groups"], json!({"X25519MLKEM768": 1, "x25519": 2}));
    assert_eq!(server["key_exchange_classes"], json!({"classical": 2, "hybrid": 1}));
    assert_eq!(server["post_quantum"], json!({"offered": 1, "completed": 1}));
    assert_eq!(server["upgraded_from"], json!({"smtp": 1}));
    assert_eq!(server["versions"], json!({"0x0304": 1}));
}

#[test]
fn servers_beyond_the_bound_and_names_that_are_none_are_left_out() {
    let mut inventory = Inventory::bounded(2);
    for number in 0..5 {
        let name = Some(format!("s{number}.example"));
        inventory.add(&Observation { server_name: name, ..observation() });
    }
    inventory.add(&Observation { server_name: Some("s0.example".to_owned()), ..observation() });
    inventory.add(&Observation { server_name: Some("x".repeat(254)), ..observation() });
    assert_eq!(inventory.left_out(), 4);
    assert_eq!(written(&inventory)["left_out"]["handshakes"], 4);
    assert_eq!(written(&inventory)["servers"].as_array().unwrap().len(), 2);
}

proptest! {
    #[test]
    fn any_flights_are_pooled_without_panic_and_within_the_records_bounds(
        flights in proptest::collection::vec((30u16..16_000, 0u8..3), 0..80), schemes: Vec<u16>,
    ) {
        let all: Vec<_> = flights.iter().map(|(sum, kind)| match kind {
            0 => resumed(*sum, &schemes),
            kind => shared(*sum, &schemes, *kind == 1),
        }).collect();
        let inventory = of(all.clone());
        for seen in &all {
            prop_assert!(sum_before_finished(&seen.server_flight.as_ref().unwrap().records, seen.cipher_suite).is_some());
            let pooled = inventory.pooled(seen).chain;
            let own = seen.certificates.as_ref().and_then(|chain| chain.low.zip(chain.high));
            if let (Some((low, high)), Some((least, most))) = (pooled, own) {
                prop_assert!(least <= low && low <= high && high <= most);
            }
        }
        written(&inventory);
    }

    #[test]
    fn pooled_bounds_hold_chains_of_any_size(
        chain in 250u16..8_000, lengths in proptest::collection::vec(70u16..=72, 1..60),
    ) {
        let inventory = of(lengths.iter().map(|length| shared(sum(chain, *length), &EVERY_SCHEME, false)));
        for found in chains(&inventory) {
            if let (Some(low), Some(high)) = (found["low"].as_u64(), found["high"].as_u64()) {
                prop_assert!((low..=high).contains(&u64::from(chain)), "{}", found);
            }
        }
    }
}
