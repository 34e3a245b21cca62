//! Names of key and signature algorithms, from a table of object identifiers.
//!
//! Sources: RFC 8017 (RSA), RFC 5480 and SEC 2 (curves), RFC 5639 (Brainpool), RFC 5758 (ECDSA), RFC 8410 (Edwards
//! curves), RFC 9881 (ML-DSA), RFC 9909 (SLH-DSA), NIST's register of algorithms (all of FIPS 203 to 205), RFC 9215
//! (GOST), GM/T 0006 (SM2). An identifier that is not here stays itself, with dots: composite ML-DSA for instance,
//! whose identifiers may still change.

use super::der::{Element, Reader, dotted, tag};

/// A public key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub(super) algorithm: String,
    pub(super) bits: Option<u32>,
}

/// How the size of a key is told.
#[derive(Clone, Copy, Debug)]
enum Size {
    /// The modulus, the first number of the key.
    Modulus,
    /// The prime, the first number of the parameters.
    Prime,
    /// The bits of the key itself.
    Key,
    /// Not told.
    Unknown,
}

const KEYS: &[(&str, &str, Size)] = &[
    ("1.2.840.113549.1.1.1", "rsa", Size::Modulus),
    ("1.2.840.113549.1.1.10", "rsa_pss", Size::Modulus),
    ("1.2.840.10040.4.1", "dsa", Size::Prime),
    ("1.3.101.110", "x25519", Size::Key),
    ("1.3.101.111", "x448", Size::Key),
    ("1.3.101.112", "ed25519", Size::Key),
    ("1.3.101.113", "ed448", Size::Key),
    ("2.16.840.1.101.3.4.4.1", "ml_kem_512", Size::Key),
    ("2.16.840.1.101.3.4.4.2", "ml_kem_768", Size::Key),
    ("2.16.840.1.101.3.4.4.3", "ml_kem_1024", Size::Key),
    ("1.2.643.2.2.19", "gost_2001", Size::Unknown),
    ("1.2.643.7.1.1.1.1", "gost_2012_256", Size::Unknown),
    ("1.2.643.7.1.1.1.2", "gost_2012_512", Size::Unknown),
];

/// Algorithms whose identifier names keys and signatures alike (FIPS 204 and 205).
const POST_QUANTUM_SIGNATURES: &[(&str, &str)] = &[
    ("2.16.840.1.101.3.4.3.17", "ml_dsa_44"),
    ("2.16.840.1.101.3.4.3.18", "ml_dsa_65"),
    ("2.16.840.1.101.3.4.3.19", "ml_dsa_87"),
    ("2.16.840.1.101.3.4.3.20", "slh_dsa_sha2_128s"),
    ("2.16.840.1.101.3.4.3.21", "slh_dsa_sha2_128f"),
    ("2.16.840.1.101.3.4.3.22", "slh_dsa_sha2_192s"),
    ("2.16.840.1.101.3.4.3.23", "slh_dsa_sha2_192f"),
    ("2.16.840.1.101.3.4.3.24", "slh_dsa_sha2_256s"),
    ("2.16.840.1.101.3.4.3.25", "slh_dsa_sha2_256f"),
    ("2.16.840.1.101.3.4.3.26", "slh_dsa_shake_128s"),
    ("2.16.840.1.101.3.4.3.27", "slh_dsa_shake_128f"),
    ("2.16.840.1.101.3.4.3.28", "slh_dsa_shake_192s"),
    ("2.16.840.1.101.3.4.3.29", "slh_dsa_shake_192f"),
    ("2.16.840.1.101.3.4.3.30", "slh_dsa_shake_256s"),
    ("2.16.840.1.101.3.4.3.31", "slh_dsa_shake_256f"),
];

const ELLIPTIC_CURVE_KEY: &str = "1.2.840.10045.2.1";

/// Curves with the bits of their field.
const CURVES: &[(&str, &str, u32)] = &[
    ("1.2.840.10045.3.1.1", "ecdsa_p192", 192),
    ("1.3.132.0.33", "ecdsa_p224", 224),
    ("1.2.840.10045.3.1.7", "ecdsa_p256", 256),
    ("1.3.132.0.34", "ecdsa_p384", 384),
    ("1.3.132.0.35", "ecdsa_p521", 521),
    ("1.3.132.0.10", "ecdsa_secp256k1", 256),
    ("1.3.36.3.3.2.8.1.1.7", "ecdsa_brainpool_p256r1", 256),
    ("1.3.36.3.3.2.8.1.1.11", "ecdsa_brainpool_p384r1", 384),
    ("1.3.36.3.3.2.8.1.1.13", "ecdsa_brainpool_p512r1", 512),
    ("1.2.156.10197.1.301", "sm2", 256),
];

const RSA_PSS: &str = "1.2.840.113549.1.1.10";

const SIGNATURES: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.2", "md2_rsa"),
    ("1.2.840.113549.1.1.4", "md5_rsa"),
    ("1.2.840.113549.1.1.5", "sha1_rsa"),
    ("1.3.14.3.2.29", "sha1_rsa"),
    ("1.2.840.113549.1.1.14", "sha224_rsa"),
    ("1.2.840.113549.1.1.11", "sha256_rsa"),
    ("1.2.840.113549.1.1.12", "sha384_rsa"),
    ("1.2.840.113549.1.1.13", "sha512_rsa"),
    ("1.2.840.10040.4.3", "dsa_sha1"),
    ("2.16.840.1.101.3.4.3.1", "dsa_sha224"),
    ("2.16.840.1.101.3.4.3.2", "dsa_sha256"),
    ("1.2.840.10045.4.1", "ecdsa_sha1"),
    ("1.2.840.10045.4.3.1", "ecdsa_sha224"),
    ("1.2.840.10045.4.3.2", "ecdsa_sha256"),
    ("1.2.840.10045.4.3.3", "ecdsa_sha384"),
    ("1.2.840.10045.4.3.4", "ecdsa_sha512"),
    ("2.16.840.1.101.3.4.3.10", "ecdsa_sha3_256"),
    ("2.16.840.1.101.3.4.3.11", "ecdsa_sha3_384"),
    ("2.16.840.1.101.3.4.3.12", "ecdsa_sha3_512"),
    ("1.3.101.112", "ed25519"),
    ("1.3.101.113", "ed448"),
    ("1.2.643.2.2.3", "gost_2001"),
    ("1.2.643.7.1.1.3.2", "gost_2012_256"),
    ("1.2.643.7.1.1.3.3", "gost_2012_512"),
    ("1.2.156.10197.1.501", "sm2_sm3"),
];

/// Hashes that RSASSA-PSS names in its parameters (RFC 8017, appendix A.2.3).
const PSS_HASHES: &[(&str, &str)] = &[
    ("1.3.14.3.2.26", "sha1_rsa_pss"),
    ("2.16.840.1.101.3.4.2.4", "sha224_rsa_pss"),
    ("2.16.840.1.101.3.4.2.1", "sha256_rsa_pss"),
    ("2.16.840.1.101.3.4.2.2", "sha384_rsa_pss"),
    ("2.16.840.1.101.3.4.2.3", "sha512_rsa_pss"),
];

fn post_quantum(oid: &str) -> Option<&'static str> {
    lookup(POST_QUANTUM_SIGNATURES, oid)
}

fn lookup(table: &[(&str, &'static str)], oid: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == oid).map(|(_, name)| *name)
}

fn identifier(reader: &mut Reader<'_>) -> Option<String> {
    dotted(reader.expect(tag::OID)?.content)
}

/// Reads a SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7).
pub(super) fn public_key(spki: &Element<'_>) -> Option<PublicKey> {
    if spki.tag != tag::SEQUENCE {
        return None;
    }
    let mut fields = spki.reader();
    let mut algorithm = fields.sequence()?;
    let oid = identifier(&mut algorithm)?;
    // The first byte of a bit string counts its unused bits.
    let key = fields.expect(tag::BIT_STRING).and_then(|bits| bits.content.get(1..)).unwrap_or_default();
    if oid == ELLIPTIC_CURVE_KEY {
        return Some(elliptic_curve_key(algorithm));
    }
    let named = KEYS.iter().find(|(known, ..)| *known == oid).map(|(_, name, size)| (*name, *size));
    let (name, size) = match named.or_else(|| Some((post_quantum(&oid)?, Size::Key))) {
        Some((name, size)) => (name.to_owned(), size),
        None => (oid, Size::Unknown),
    };
    let bits = match size {
        Size::Modulus => first_number_bits(Reader::new(key)),
        Size::Prime => first_number_bits(algorithm),
        Size::Key => u32::try_from(key.len() * 8).ok().filter(|bits| *bits > 0),
        Size::Unknown => None,
    };
    Some(PublicKey { algorithm: name, bits })
}

fn elliptic_curve_key(mut parameters: Reader<'_>) -> PublicKey {
    let Some(curve) = identifier(&mut parameters) else {
        // Explicit parameters (RFC 5480 forbids them), or none.
        return PublicKey { algorithm: "ecdsa".to_owned(), bits: None };
    };
    match CURVES.iter().find(|(known, ..)| *known == curve) {
        Some((_, name, bits)) => PublicKey { algorithm: (*name).to_owned(), bits: Some(*bits) },
        None => PublicKey { algorithm: format!("ecdsa_{curve}"), bits: None },
    }
}

/// Bits of the first number of a sequence.
fn first_number_bits(mut reader: Reader<'_>) -> Option<u32> {
    let number = reader.enter(tag::SEQUENCE)?.expect(tag::INTEGER)?.content;
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = number.get(zeros..)?;
    let unused = digits.first()?.leading_zeros();
    u32::try_from(digits.len()).ok()?.checked_mul(8)?.checked_sub(unused)
}

/// Reads an AlgorithmIdentifier, given its elements, as the algorithm of a signature.
pub(super) fn signature(mut algorithm: Reader<'_>) -> Option<String> {
    let oid = identifier(&mut algorithm)?;
    if oid == RSA_PSS {
        return Some(pss_hash(algorithm).unwrap_or("rsa_pss").to_owned());
    }
    let name = lookup(SIGNATURES, &oid).or_else(|| post_quantum(&oid));
    Some(name.map_or(oid, str::to_owned))
}

/// The hash of RSASSA-PSS; without one it is SHA-1.
fn pss_hash(mut algorithm: Reader<'_>) -> Option<&'static str> {
    let mut parameters = algorithm.sequence()?;
    let Some(hash) = parameters.expect(tag::EXPLICIT_0) else {
        return Some("sha1_rsa_pss");
    };
    lookup(PSS_HASHES, &identifier(&mut hash.reader().sequence()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identifier_stands_once() {
        let signatures = SIGNATURES.iter().chain(POST_QUANTUM_SIGNATURES).map(|(oid, _)| *oid);
        let keys =
            KEYS.iter().map(|(oid, ..)| *oid).chain(POST_QUANTUM_SIGNATURES.iter().map(|(oid, _)| *oid));
        let curves = CURVES.iter().map(|(oid, ..)| *oid);
        for oids in [signatures.collect::<Vec<_>>(), keys.collect(), curves.collect()] {
            let mut once = oids.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), oids.len());
        }
    }

    #[test]
    fn the_twelve_sets_of_slh_dsa_follow_their_numbers() {
        let sets = POST_QUANTUM_SIGNATURES.iter().filter(|(_, name)| name.starts_with("slh_dsa"));
        let numbers: Vec<&str> = sets.filter_map(|(oid, _)| oid.rsplit('.').next()).collect();
        assert_eq!(numbers, ["20", "21", "22", "23", "24", "25", "26", "27", "28", "29", "30", "31"]);
    }
}
