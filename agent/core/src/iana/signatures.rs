//! Signature schemes with their family and the length of their signatures.
//!
//! The table is made from the IANA registry "TLS SignatureScheme" and the specifications that its rows name; names of
//! RFC 5246's pairs of hash and signature follow the pattern of the registry. Numbers that drafts claim for SLH-DSA and
//! for composite ML-DSA overlap and may still change: they are told as drafts and keep their number.

use super::{Status, wire_number};
use crate::observation::SignatureFamily;

wire_number! {
    /// A number of the "TLS SignatureScheme" registry.
    SignatureScheme
}

/// Bytes of the signatures of a scheme.
///
/// Those of ECDSA are two DER integers: three lengths share all but one in about 500, which are shorter than `low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureLengths {
    /// The least usual length.
    pub low: u16,
    /// The greatest length.
    pub high: u16,
}

/// One row of the table: a number that the registry assigns, or reserves for a pair of RFC 5246.
#[derive(Clone, Copy, Debug)]
struct SchemeRow {
    number: u16,
    name: &'static str,
    family: SignatureFamily,
    /// `None` where the key decides: RSA's are as long as its modulus.
    lengths: Option<SignatureLengths>,
    /// RFC or draft.
    source: &'static str,
}

const fn row(
    number: u16,
    name: &'static str,
    family: SignatureFamily,
    lengths: Option<SignatureLengths>,
    source: &'static str,
) -> SchemeRow {
    SchemeRow { number, name, family, lengths, source }
}

const fn exactly(length: u16) -> Option<SignatureLengths> {
    between(length, length)
}

const fn between(low: u16, high: u16) -> Option<SignatureLengths> {
    Some(SignatureLengths { low, high })
}

/// Sorted by number.
const SCHEMES: &[SchemeRow] = {
    use SignatureFamily::{
        EcdsaP256, EcdsaP384, EcdsaP521, Ed448, Ed25519, MlDsa44, MlDsa65, MlDsa87, Rsa, Unknown,
    };
    &[
        row(0x0101, "rsa_pkcs1_md5", Rsa, None, "RFC 5246"),
        row(0x0201, "rsa_pkcs1_sha1", Rsa, None, "RFC 8446"),
        row(0x0202, "dsa_sha1", Unknown, None, "RFC 5246"),
        row(0x0203, "ecdsa_sha1", Unknown, None, "RFC 8446"),
        row(0x0301, "rsa_pkcs1_sha224", Rsa, None, "RFC 5246"),
        row(0x0302, "dsa_sha224", Unknown, None, "RFC 5246"),
        row(0x0303, "ecdsa_sha224", Unknown, None, "RFC 5246"),
        row(0x0401, "rsa_pkcs1_sha256", Rsa, None, "RFC 8446"),
        row(0x0402, "dsa_sha256", Unknown, None, "RFC 5246"),
        row(0x0403, "ecdsa_secp256r1_sha256", EcdsaP256, between(70, 72), "RFC 8446"),
        row(0x0420, "rsa_pkcs1_sha256_legacy", Rsa, None, "draft-ietf-tls-tls13-pkcs1"),
        row(0x0501, "rsa_pkcs1_sha384", Rsa, None, "RFC 8446"),
        row(0x0502, "dsa_sha384", Unknown, None, "RFC 5246"),
        row(0x0503, "ecdsa_secp384r1_sha384", EcdsaP384, between(102, 104), "RFC 8446"),
        row(0x0520, "rsa_pkcs1_sha384_legacy", Rsa, None, "draft-ietf-tls-tls13-pkcs1"),
        row(0x0601, "rsa_pkcs1_sha512", Rsa, None, "RFC 8446"),
        row(0x0602, "dsa_sha512", Unknown, None, "RFC 5246"),
        row(0x0603, "ecdsa_secp521r1_sha512", EcdsaP521, between(137, 139), "RFC 8446"),
        row(0x0620, "rsa_pkcs1_sha512_legacy", Rsa, None, "draft-ietf-tls-tls13-pkcs1"),
        row(0x0704, "eccsi_sha256", Unknown, None, "draft-wang-tls-raw-public-key-with-ibc"),
        row(0x0705, "iso_ibs1", Unknown, None, "draft-wang-tls-raw-public-key-with-ibc"),
        row(0x0706, "iso_ibs2", Unknown, None, "draft-wang-tls-raw-public-key-with-ibc"),
        row(0x0707, "iso_chinese_ibs", Unknown, None, "draft-wang-tls-raw-public-key-with-ibc"),
        row(0x0708, "sm2sig_sm3", Unknown, None, "RFC 8998"),
        row(0x0709, "gostr34102012_256a", Unknown, exactly(64), "RFC 9367"),
        row(0x070a, "gostr34102012_256b", Unknown, exactly(64), "RFC 9367"),
        row(0x070b, "gostr34102012_256c", Unknown, exactly(64), "RFC 9367"),
        row(0x070c, "gostr34102012_256d", Unknown, exactly(64), "RFC 9367"),
        row(0x070d, "gostr34102012_512a", Unknown, exactly(128), "RFC 9367"),
        row(0x070e, "gostr34102012_512b", Unknown, exactly(128), "RFC 9367"),
        row(0x070f, "gostr34102012_512c", Unknown, exactly(128), "RFC 9367"),
        row(0x0804, "rsa_pss_rsae_sha256", Rsa, None, "RFC 8446"),
        row(0x0805, "rsa_pss_rsae_sha384", Rsa, None, "RFC 8446"),
        row(0x0806, "rsa_pss_rsae_sha512", Rsa, None, "RFC 8446"),
        row(0x0807, "ed25519", Ed25519, exactly(64), "RFC 8446"),
        row(0x0808, "ed448", Ed448, exactly(114), "RFC 8446"),
        row(0x0809, "rsa_pss_pss_sha256", Rsa, None, "RFC 8446"),
        row(0x080a, "rsa_pss_pss_sha384", Rsa, None, "RFC 8446"),
        row(0x080b, "rsa_pss_pss_sha512", Rsa, None, "RFC 8446"),
        row(0x081a, "ecdsa_brainpoolP256r1tls13_sha256", Unknown, between(70, 72), "RFC 8734"),
        row(0x081b, "ecdsa_brainpoolP384r1tls13_sha384", Unknown, between(102, 104), "RFC 8734"),
        row(0x081c, "ecdsa_brainpoolP512r1tls13_sha512", Unknown, None, "RFC 8734"),
        row(0x0904, "mldsa44", MlDsa44, exactly(2420), "draft-ietf-tls-mldsa"),
        row(0x0905, "mldsa65", MlDsa65, exactly(3309), "draft-ietf-tls-mldsa"),
        row(0x0906, "mldsa87", MlDsa87, exactly(4627), "draft-ietf-tls-mldsa"),
    ]
};

/// Numbers that drafts use, more than one of them for some: composite ML-DSA (draft-reddy-tls-composite-mldsa, from
/// `0x0907` on) and SLH-DSA (draft-reddy-tls-slhdsa, `0x0911` to `0x091c`).
const PROVISIONAL: std::ops::RangeInclusive<u16> = 0x0907..=0x091c;

impl SignatureScheme {
    fn row(self) -> Option<&'static SchemeRow> {
        SCHEMES.binary_search_by_key(&self.0, |row| row.number).ok().and_then(|at| SCHEMES.get(at))
    }

    /// The registry's name, where the table has one.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.name)
    }

    /// Kind of signature under TLS 1.3, where the scheme fixes the curve. Unknown for schemes of a kind that has no word
    /// in the record, and for numbers in no table.
    pub fn family(self) -> SignatureFamily {
        self.row().map_or(SignatureFamily::Unknown, |row| row.family)
    }

    /// Bytes of its signatures, where the scheme alone fixes them.
    pub fn signature_lengths(self) -> Option<SignatureLengths> {
        self.row()?.lengths
    }

    /// How settled the number is.
    pub fn status(self) -> Status {
        match self.row() {
            Some(_) => Status::Standard,
            None if PROVISIONAL.contains(&self.0) => Status::Draft,
            None => Status::Unknown,
        }
    }

    /// The RFC or draft that the row is made from.
    pub fn source(self) -> Option<&'static str> {
        self.row().map(|row| row.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_table_is_sorted_and_names_nothing_twice() {
        assert!(SCHEMES.is_sorted_by(|a, b| a.number < b.number));
        let mut names: Vec<&str> = SCHEMES.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SCHEMES.len());
        assert!(SCHEMES.iter().all(|row| !row.source.is_empty()));
        assert!(SCHEMES.iter().filter_map(|row| row.lengths).all(|lengths| lengths.low <= lengths.high));
    }

    #[test]
    fn lattice_signatures_have_the_lengths_of_fips_204() {
        let lengths = |number| SignatureScheme(number).signature_lengths().unwrap();
        assert_eq!(lengths(0x0904), SignatureLengths { low: 2420, high: 2420 });
        assert_eq!(lengths(0x0905), SignatureLengths { low: 3309, high: 3309 });
        assert_eq!(lengths(0x0906), SignatureLengths { low: 4627, high: 4627 });
        assert_eq!(SignatureScheme(0x0905).family(), SignatureFamily::MlDsa65);
        assert_eq!(SignatureScheme(0x0905).status(), Status::Standard);
    }

    #[test]
    fn a_number_that_drafts_quarrel_over_stays_a_number() {
        for number in 0x0907..=0x091c {
            let scheme = SignatureScheme(number);
            assert_eq!((scheme.name(), scheme.status()), (None, Status::Draft));
            assert_eq!(scheme.family(), SignatureFamily::Unknown);
        }
        assert_eq!(SignatureScheme(0x091d).status(), Status::Unknown);
        assert_eq!(SignatureScheme(0xfea0).status(), Status::Unknown);
    }
}
