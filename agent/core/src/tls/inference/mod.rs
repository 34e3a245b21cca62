//! Sizes of encrypted messages, inferred from the lengths of TLS 1.3 records.
//!
//! Enters: the lengths of one side's encrypted records up to its Finished, and what the hellos say about what may lie
//! in them. Leaves: the size of the Certificate message, bounds of the chain, and the signature family. A flow is
//! judged by itself alone, and what its lengths do not carry is left out.
//!
//! The messages of a flight have a fixed order (RFC 8446 section 4): EncryptedExtensions, perhaps CertificateRequest,
//! Certificate, CertificateVerify, Finished. Two of them have known sizes: Finished is a hash, CertificateVerify a
//! signature, and signatures of different families differ in length. So where each message has records of its own
//! ([`separate`]), the two anchor the flight at its end, and the Certificate is what lies before them. Where messages
//! share records ([`coalesced`]), only their sum is known; then what the others may weigh is taken off, and the
//! Certificate lies within bounds.

mod coalesced;
mod pooled;
mod separate;

pub(crate) use coalesced::{chains, tells_nothing};
pub(crate) use pooled::{LEAST_STAPLED, extensions_alone, last_plaintext, sum_before_finished};

use super::client_hello::ClientHello;
use crate::iana::{CipherSuite, SignatureScheme};
use crate::observation::{CertificateVerify, Certificates, ClientHelloFacts, Evidence, SignatureFamily};

/// Header of a handshake message: type and length.
const MESSAGE_HEADER: u32 = 4;

/// A CertificateVerify around its signature: message header, scheme, length (RFC 8446 section 4.4.3).
const VERIFY_OVERHEAD: u32 = MESSAGE_HEADER + 4;

/// A Certificate message body around its entries: request context, which is empty in a server's, and list length
/// (RFC 8446 section 4.4.2).
const LIST_OVERHEAD: u32 = 4;

/// An entry around its certificate: length, and length of its extensions.
const ENTRY_OVERHEAD: u32 = 5;

/// Entries beyond which no chain is believed: each takes [`ENTRY_OVERHEAD`] bytes that cannot be told from a
/// certificate's.
const MAX_ENTRIES: u32 = 10;

/// The least that an X.509 certificate weighs: key and signature of the smallest kind, two names, validity.
const LEAST_CERTIFICATE: u32 = 180;

/// Most bytes of plaintext in a record (RFC 8446 section 5.1).
const FULL_RECORD: u32 = 1 << 14;

/// Bytes of a stapled OCSP response around its signatures: identifiers, times, extension headers.
const LEAST_STAPLE: u32 = 226;

/// The most that a stapled response weighs without post-quantum signatures: RSA-4096, with the responder's certificate.
const MOST_CLASSICAL_STAPLE: u32 = 4_096;

/// The least that a certificate weighs around its key and its signature: names, validity, the extensions that an issuer
/// with a responder puts in.
const LEAST_ISSUED: u32 = 150;

/// The most that signed certificate timestamps weigh as an extension of an entry: five of a P-256 log.
const TIMESTAMPS: u32 = 620;

/// Timestamps come from public logs, which only take public chains; a leaf and an intermediate weigh no less.
const LEAST_PUBLIC_CHAIN: u32 = 1_100;

/// Sizes that follow from the cipher suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SuiteSizes {
    /// Bytes of the authentication tag.
    pub(super) tag: u16,
    /// Bytes of the hash, and so of a Finished.
    pub(super) hash: u16,
}

impl SuiteSizes {
    pub(super) const fn of(suite: Option<CipherSuite>) -> Self {
        match suite {
            // TLS_AES_256_GCM_SHA384
            Some(CipherSuite(0x1302)) => Self { tag: 16, hash: 48 },
            // TLS_AES_128_CCM_8_SHA256
            Some(CipherSuite(0x1305)) => Self { tag: 8, hash: 32 },
            _ => Self { tag: 16, hash: 32 },
        }
    }

    /// Length of a record that holds `plaintext` bytes: content, one byte of type, tag (RFC 8446 section 5.2).
    pub(super) const fn record(self, plaintext: u16) -> u16 {
        plaintext + 1 + self.tag
    }

    /// Plaintext of a record, its padding included; `None` where it is too short to have any.
    fn plaintext(self, record: u16) -> Option<u32> {
        record.checked_sub(1 + self.tag).filter(|length| *length > 0).map(u32::from)
    }

    /// A Finished with its header.
    const fn finished(self) -> u32 {
        MESSAGE_HEADER + self.hash as u32
    }
}

/// What the client's hello says about what the server's flight may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Families of the signature schemes; `None` where the hello was not seen.
    families: Option<Families>,
    /// A stapled OCSP response was asked for (RFC 6066 section 8).
    ocsp: bool,
    /// Signed certificate timestamps were asked for (RFC 6962 section 3.3.1).
    timestamps: bool,
    /// Compression of certificates was allowed (RFC 8879).
    compression: bool,
    /// An encrypted hello, to which a server may answer with its keys.
    encrypted_hello: bool,
    /// The longest application protocol's name.
    longest_protocol: usize,
}

impl Offer {
    pub(super) fn of(hello: Option<&ClientHello>) -> Self {
        let Some(hello) = hello.filter(|hello| !hello.is_cut()) else {
            // Nothing is known: everything may have been asked for.
            return Self {
                families: None,
                ocsp: true,
                timestamps: true,
                compression: true,
                encrypted_hello: true,
                longest_protocol: 255,
            };
        };
        Self {
            families: Some(hello.signature_scheme_numbers().map(SignatureScheme).collect()),
            ocsp: hello.offers_ocsp(),
            timestamps: hello.offers_timestamps(),
            compression: hello.offers_certificate_compression(),
            encrypted_hello: hello.has_ech(),
            longest_protocol: hello.longest_alpn(),
        }
    }

    /// The same from what an observation tells of a hello.
    pub(crate) fn of_facts(hello: &ClientHelloFacts) -> Self {
        let (Some(schemes), Some(wishes)) = (&hello.signature_schemes, hello.wishes) else {
            return Self::of(None);
        };
        Self {
            families: Some(schemes.iter().copied().collect()),
            ocsp: wishes.ocsp,
            timestamps: wishes.timestamps,
            compression: wishes.compression,
            encrypted_hello: hello.ech != Some(false),
            longest_protocol: hello.alpn.iter().flatten().map(String::len).max().unwrap_or(0),
        }
    }

    /// Whether the client would take a signature of this family.
    fn takes(&self, family: SignatureFamily) -> bool {
        self.families.is_none_or(|families| families.contains(family))
    }
}

/// One side's encrypted flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight<'a> {
    /// Length fields in order.
    pub(super) records: &'a [u16],
    /// The list is all that the side sent before the other answered.
    pub(super) is_whole: bool,
    pub(super) sizes: SuiteSizes,
}

impl Flight<'_> {
    fn plaintexts(&self) -> Option<Vec<u32>> {
        self.records.iter().map(|record| self.sizes.plaintext(*record)).collect()
    }
}

/// What was inferred of a server's flight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inferred {
    pub(super) certificates: Option<Certificates>,
    pub(super) verify: Option<CertificateVerify>,
}

/// Infers the sizes in a server's flight of a full handshake. `requested` tells whether the server asked for the
/// client's certificate, where the client's answer shows it.
pub(super) fn server(flight: Flight<'_>, offer: &Offer, requested: Option<bool>) -> Inferred {
    let Some(plaintexts) = flight.plaintexts() else { return Inferred::default() };
    let finished = flight.sizes.finished();
    if let Some(found) = separate::server(&plaintexts, finished, offer, requested) {
        return Inferred {
            certificates: Some(found.certificates(offer)),
            verify: Some(verify(found.signature.family)),
        };
    }
    if !flight.is_whole || requested != Some(false) || offer.compression {
        return Inferred::default();
    }
    coalesced::server(&plaintexts, finished, offer).unwrap_or_default()
}

/// Infers the size of a client's Certificate message from its flight. Whether the client compressed it depends on what
/// the server asked for, which is encrypted; so its chain is not bounded.
pub(super) fn client(flight: Flight<'_>) -> Option<Certificates> {
    let plaintexts = flight.plaintexts()?;
    separate::client(&plaintexts, flight.sizes.finished())
}

/// What a record says of the flight that it lists, for the tests of other rooms. No client certificate was asked for.
#[cfg(test)]
pub(crate) fn by_itself(
    seen: &crate::observation::Observation,
) -> (Option<Certificates>, Option<CertificateVerify>) {
    let records = seen.server_flight.as_ref().map_or(&[][..], |flight| &flight.records);
    let flight = Flight { records, is_whole: true, sizes: SuiteSizes::of(seen.cipher_suite) };
    let inferred = server(flight, &Offer::of_facts(&seen.client_hello), Some(false));
    (inferred.certificates, inferred.verify)
}

const fn verify(family: SignatureFamily) -> CertificateVerify {
    CertificateVerify { family, evidence: Evidence::Inferred }
}

/// A signature by its family, `Unknown` for a length that no table holds, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Signature {
    family: SignatureFamily,
    length: u32,
}

impl Signature {
    /// The least that the public key that made it weighs, as a SubjectPublicKeyInfo.
    const fn least_key(self) -> u32 {
        match self.family {
            // A modulus as long as its signatures, and the exponent.
            SignatureFamily::Rsa => self.length + 34,
            SignatureFamily::EcdsaP256 => 91,
            SignatureFamily::EcdsaP384 => 120,
            SignatureFamily::EcdsaP521 => 158,
            SignatureFamily::Ed25519 | SignatureFamily::Unknown => 44,
            SignatureFamily::Ed448 => 69,
            SignatureFamily::MlDsa44 => 1_334,
            SignatureFamily::MlDsa65 => 1_974,
            SignatureFamily::MlDsa87 => 2_614,
            SignatureFamily::SlhDsa => 50,
        }
    }

    /// The least that an issuer's signature weighs which signs such keys: RSA and post-quantum issuers do not sign with
    /// less than they certify.
    fn least_by_issuer(self) -> u32 {
        if self.family == SignatureFamily::Rsa || self.is_post_quantum() { self.length } else { 64 }
    }

    const fn is_post_quantum(self) -> bool {
        matches!(
            self.family,
            SignatureFamily::MlDsa44
                | SignatureFamily::MlDsa65
                | SignatureFamily::MlDsa87
                | SignatureFamily::SlhDsa
        )
    }
}

/// Bounds of a chain whose Certificate message has a body of `body` bytes: entries and their extensions cannot be seen.
fn chain_bounds(body: u32, offer: &Offer, signature: Signature) -> (u32, u32) {
    let list = body.saturating_sub(LIST_OVERHEAD);
    let high = list.saturating_sub(ENTRY_OVERHEAD);
    let entries = (list / (ENTRY_OVERHEAD + LEAST_CERTIFICATE)).clamp(1, MAX_ENTRIES);
    let without_extensions = list.saturating_sub(ENTRY_OVERHEAD * entries);
    let least_leaf = signature.least_key() + signature.least_by_issuer() + LEAST_ISSUED;
    let mut low = without_extensions;
    // A response is signed as its certificate is.
    if offer.ocsp && without_extensions >= least_leaf + LEAST_STAPLE + signature.least_by_issuer() {
        let with_responder = signature.least_key() + 2 * signature.length;
        let most = MOST_CLASSICAL_STAPLE + if signature.is_post_quantum() { with_responder } else { 0 };
        low = low.saturating_sub(most).max(least_leaf);
    }
    if offer.timestamps && without_extensions >= LEAST_PUBLIC_CHAIN {
        low = low.saturating_sub(TIMESTAMPS).max(least_leaf.min(low));
    }
    (low, high)
}

/// A chain known by its bounds.
fn inferred_certificates(message_bytes: Option<u32>, bounds: Option<(u32, u32)>) -> Certificates {
    Certificates {
        count: None,
        lengths: None,
        chain_bytes: None,
        message_bytes,
        evidence: Evidence::Inferred,
        low: bounds.map(|(low, _)| u64::from(low)),
        high: bounds.map(|(_, high)| u64::from(high)),
        compressed: None,
        leaf: None,
    }
}

/// Families with the lengths that their signatures take. DER encodes the two integers of an ECDSA signature as short as
/// they are; one signature in a million is shorter than the ranges here.
const FAMILIES: [(SignatureFamily, &[std::ops::RangeInclusive<u32>]); 10] = {
    use SignatureFamily::{
        EcdsaP256, EcdsaP384, EcdsaP521, Ed448, Ed25519, MlDsa44, MlDsa65, MlDsa87, Rsa, SlhDsa,
    };
    [
        (EcdsaP256, &[67..=72]),
        (EcdsaP384, &[99..=104]),
        (EcdsaP521, &[134..=139]),
        (Ed25519, &[64..=64]),
        (Ed448, &[114..=114]),
        (Rsa, &[128..=128, 192..=192, 256..=256, 384..=384, 512..=512, 1024..=1024, 2048..=2048]),
        (MlDsa44, &[2420..=2420]),
        (MlDsa65, &[3309..=3309]),
        (MlDsa87, &[4627..=4627]),
        (SlhDsa, &[7856..=7856, 16224..=16224, 17088..=17088, 29792..=29792, 35664..=35664, 49856..=49856]),
    ]
};

/// The family whose signatures are `length` bytes long.
fn family_by_length(length: u32) -> Option<SignatureFamily> {
    let fits =
        |lengths: &[std::ops::RangeInclusive<u32>]| lengths.iter().any(|range| range.contains(&length));
    FAMILIES.into_iter().find(|(_, lengths)| fits(lengths)).map(|(family, _)| family)
}

/// A set of families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Families(u16);

impl Families {
    const fn contains(self, family: SignatureFamily) -> bool {
        self.0 & 1 << family as u16 != 0
    }
}

impl FromIterator<SignatureScheme> for Families {
    fn from_iter<T: IntoIterator<Item = SignatureScheme>>(schemes: T) -> Self {
        Self(schemes.into_iter().fold(0, |set, scheme| set | 1 << family_of(scheme) as u16))
    }
}

/// The family of a scheme by the length of its signatures: curves of one size are one family here, and the numbers that
/// drafts use for SLH-DSA count.
pub(super) fn family_of(scheme: SignatureScheme) -> SignatureFamily {
    match scheme.0 {
        // The Brainpool schemes of RFC 8734, and SM2 (RFC 8998).
        0x081a | 0x0708 => SignatureFamily::EcdsaP256,
        0x081b => SignatureFamily::EcdsaP384,
        0x081c => SignatureFamily::EcdsaP521,
        0x0911..=0x091c => SignatureFamily::SlhDsa,
        _ => scheme.family(),
    }
}

#[cfg(test)]
mod tests;
