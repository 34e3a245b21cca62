use super::*;
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, KeyPair, SignatureAlgorithm, date_time_ymd};

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x84][..], &length, content].concat()
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(tag::SEQUENCE, &parts.concat())
}

fn oid(content: &[u8]) -> Vec<u8> {
    element(tag::OID, content)
}

fn name(common_name: &[u8]) -> Vec<u8> {
    let attribute = sequence(&[&oid(&[0x55, 4, 3]), &element(tag::UTF8_STRING, common_name)]);
    sequence(&[&element(tag::SET, &attribute)])
}

/// NIST's register of signature algorithms, 2.16.840.1.101.3.4.3.
fn nist_signature(last: u8) -> Vec<u8> {
    oid(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, last])
}

/// A certificate in parts, to be broken.
struct Parts {
    version: Vec<u8>,
    serial: Vec<u8>,
    signature: Vec<u8>,
    issuer: Vec<u8>,
    validity: Vec<u8>,
    subject: Vec<u8>,
    spki: Vec<u8>,
    rest: Vec<u8>,
}

fn spki(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    sequence(&[&sequence(&[algorithm]), &element(tag::BIT_STRING, &[&[0], key].concat())])
}

impl Default for Parts {
    fn default() -> Self {
        let times =
            [element(tag::UTC_TIME, b"260101000000Z"), element(tag::GENERALIZED_TIME, b"20510101000000Z")];
        Self {
            version: element(tag::EXPLICIT_0, &element(tag::INTEGER, &[2])),
            serial: element(tag::INTEGER, &[1]),
            signature: sequence(&[&nist_signature(19)]),
            issuer: name(b"issuer"),
            validity: sequence(&[&times.concat()]),
            subject: name(b"subject"),
            spki: spki(&nist_signature(18), &[7; 1952]),
            rest: element(0xa3, &[0; 100]),
        }
    }
}

impl Parts {
    fn der(&self) -> Vec<u8> {
        let fields = sequence(&[
            &self.version,
            &self.serial,
            &self.signature,
            &self.issuer,
            &self.validity,
            &self.subject,
            &self.spki,
            &self.rest,
        ]);
        sequence(&[&fields, &self.signature, &element(tag::BIT_STRING, &[0; 4628])])
    }

    fn facts(&self) -> LeafFacts {
        leaf_facts(&self.der()).unwrap()
    }
}

#[test]
fn a_post_quantum_certificate_is_read() {
    let parts = Parts::default();
    let expected = LeafFacts {
        issuer: "CN=issuer".to_owned(),
        subject: "CN=subject".to_owned(),
        key_algorithm: "ml_dsa_65".to_owned(),
        key_bits: Some(1952 * 8),
        signature_algorithm: "ml_dsa_87".to_owned(),
        not_before: Some("2026-01-01T00:00:00Z".to_owned()),
        not_after: Some("2051-01-01T00:00:00Z".to_owned()),
        spki_sha256: hex(&Sha256::digest(&parts.spki)),
    };
    assert_eq!(parts.facts(), expected);
}

/// Facts of a certificate that a library made, with the SubjectPublicKeyInfo that it put there.
fn made(algorithm: &'static SignatureAlgorithm) -> (LeafFacts, String) {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CountryName, "CH");
    params.distinguished_name.push(DnType::OrganizationName, "Example, Inc.");
    params.distinguished_name.push(DnType::CommonName, "a.example");
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 31), date_time_ymd(2120, 12, 1));
    let facts = leaf_facts(params.self_signed(&key).unwrap().der()).unwrap();
    (facts, hex(&Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key))))
}

#[test]
fn certificates_of_every_classical_kind_are_read() {
    let cases = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "ecdsa_p256", 256, "ecdsa_sha256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "ecdsa_p384", 384, "ecdsa_sha384"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, "ecdsa_p521", 521, "ecdsa_sha512"),
        (&rcgen::PKCS_ED25519, "ed25519", 256, "ed25519"),
        (&rcgen::PKCS_RSA_SHA256, "rsa", 2048, "sha256_rsa"),
    ];
    for (algorithm, key, bits, signature) in cases {
        let (facts, spki) = made(algorithm);
        assert_eq!((facts.key_algorithm.as_str(), facts.key_bits), (key, Some(bits)));
        assert_eq!(facts.signature_algorithm, signature);
        assert_eq!(facts.spki_sha256, spki);
        assert_eq!(facts.not_before.as_deref(), Some("2020-01-31T00:00:00Z"));
        assert_eq!(facts.not_after.as_deref(), Some("2120-12-01T00:00:00Z"));
        for text in ["CN=a.example", r"O=Example\, Inc.", "C=CH"] {
            assert!(
                facts.subject.split_inclusive(',').count() >= 3 && facts.subject.contains(text),
                "{}",
                facts.subject
            );
        }
        assert_eq!(facts.issuer, facts.subject);
    }
}

#[test]
fn certificates_that_break_the_rules_are_read_all_the_same() {
    let negative = Parts { serial: element(tag::INTEGER, &[0xff, 0x00]), ..Parts::default() };
    assert_eq!(negative.facts().subject, "CN=subject");
    let first_version = Parts { version: Vec::new(), ..Parts::default() };
    assert_eq!(first_version.facts().subject, "CN=subject");
    let empty_issuer = Parts { issuer: sequence(&[]), ..Parts::default() };
    assert_eq!(empty_issuer.facts().issuer, "");
    let no_issuer = Parts { issuer: Vec::new(), ..Parts::default() };
    let facts = no_issuer.facts();
    assert_eq!((facts.issuer.as_str(), facts.subject.as_str()), ("", "CN=subject"));
    assert_eq!(facts.not_before.as_deref(), Some("2026-01-01T00:00:00Z"));
    let nul = Parts { subject: name(b"good.example\0.bad.example"), ..Parts::default() };
    assert_eq!(nul.facts().subject, "CN=good.example\\00.bad.example");
    let old =
        sequence(&[&element(tag::GENERALIZED_TIME, b"19010203040506Z"), &element(tag::UTC_TIME, b"never")]);
    let facts = Parts { validity: old, ..Parts::default() }.facts();
    assert_eq!((facts.not_before.as_deref(), facts.not_after), (Some("1901-02-03T04:05:06Z"), None));
}

#[test]
fn a_certificate_with_ten_thousand_names_is_read_from_its_beginning() {
    let names: Vec<String> = (0..10_000).map(|n| format!("host-{n}.example")).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    assert!(certificate.der().len() > 100_000);
    let facts = leaf_facts(certificate.der()).unwrap();
    assert_eq!(leaf_facts(&certificate.der()[..MAX_LOOKED_AT]), Some(facts.clone()));
    assert_eq!((facts.key_algorithm.as_str(), facts.key_bits), ("ecdsa_p256", Some(256)));
}

#[test]
fn a_certificate_is_known_once_its_key_is_whole() {
    let parts = Parts::default();
    let (der, facts) = (parts.der(), parts.facts());
    let key_end =
        der.windows(parts.spki.len()).position(|window| window == parts.spki).unwrap() + parts.spki.len();
    for end in 0..der.len() {
        assert_eq!(leaf_facts(&der[..end]), (end >= key_end).then(|| facts.clone()), "{end} bytes");
    }
}

#[test]
fn an_algorithm_without_a_name_keeps_its_number() {
    // A composite of ML-DSA and RSA: 1.3.6.1.5.5.7.6.37.
    let composite = oid(&[0x2b, 6, 1, 5, 5, 7, 6, 37]);
    let facts =
        Parts { spki: spki(&composite, &[1; 40]), signature: sequence(&[&composite]), ..Parts::default() };
    let facts = facts.facts();
    assert_eq!((facts.key_algorithm.as_str(), facts.key_bits), ("1.3.6.1.5.5.7.6.37", None));
    assert_eq!(facts.signature_algorithm, "1.3.6.1.5.5.7.6.37");
    // A curve of no table, and explicit parameters.
    let ec = oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]);
    let key = |parameters: &[u8]| {
        Parts { spki: spki(&[&ec, parameters].concat(), &[4; 65]), ..Parts::default() }.facts().key_algorithm
    };
    assert_eq!(key(&oid(&[0x2b, 0x81, 0x04, 0, 1])), "ecdsa_1.3.132.0.1");
    assert_eq!(key(&sequence(&[])), "ecdsa");
}

#[test]
fn the_hash_of_a_pss_signature_is_told() {
    let pss = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10]);
    let signature = |parameters: &[u8]| {
        Parts { signature: sequence(&[&pss, parameters]), ..Parts::default() }.facts().signature_algorithm
    };
    let sha384 = sequence(&[&oid(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2])]);
    assert_eq!(signature(&sequence(&[&element(tag::EXPLICIT_0, &sha384)])), "sha384_rsa_pss");
    assert_eq!(signature(&sequence(&[])), "sha1_rsa_pss");
    assert_eq!(signature(&[]), "rsa_pss");
}

#[test]
fn hash_based_and_key_encapsulation_keys_have_names() {
    let key = |algorithm: &[u8], length| {
        let facts = Parts { spki: spki(algorithm, &vec![1; length]), ..Parts::default() }.facts();
        (facts.key_algorithm, facts.key_bits)
    };
    assert_eq!(key(&nist_signature(20), 32), ("slh_dsa_sha2_128s".to_owned(), Some(256)));
    assert_eq!(key(&nist_signature(31), 64), ("slh_dsa_shake_256f".to_owned(), Some(512)));
    let kem = oid(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04, 2]);
    assert_eq!(key(&kem, 1184), ("ml_kem_768".to_owned(), Some(9472)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = leaf_facts(&bytes);
    }

    #[test]
    fn damage_is_read_without_panic_and_within_bounds(
        changes in proptest::collection::vec((0..2300_usize, any::<u8>()), 1..6),
        end in 0..7000_usize,
    ) {
        let mut der = Parts::default().der();
        for (at, value) in changes {
            der[at] = value;
        }
        der.truncate(end);
        if let Some(facts) = leaf_facts(&der) {
            let bound = name::MAX_TEXT + '…'.len_utf8();
            prop_assert!(facts.subject.len() <= bound && facts.issuer.len() <= bound);
            prop_assert_eq!(facts.spki_sha256.len(), 64);
        }
    }
}
