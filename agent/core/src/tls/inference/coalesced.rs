//! Flights in which messages share records, as BoringSSL and rustls send them: only the sum of all is known, and the
//! Certificate lies between what is left when the others are as large and as small as they can be.

use super::{
    CertificateVerify, ENTRY_OVERHEAD, FAMILIES, FULL_RECORD, Inferred, LIST_OVERHEAD, MESSAGE_HEADER, Offer,
    Signature, VERIFY_OVERHEAD, chain_bounds, inferred_certificates, verify,
};
use crate::observation::{Certificates, SignatureFamily};

/// EncryptedExtensions with an empty list.
const LEAST_EXTENSIONS: u32 = 6;

/// What servers answer beside the application protocol: groups, an empty server_name, a record size limit, settings of
/// the application protocol.
const MOST_EXTENSIONS: u32 = 160;

/// Keys for an encrypted hello, sent where it could not be decrypted.
const MOST_RETRY_KEYS: u32 = 700;

/// Bounds that are further apart than this, and than half of the upper one, tell nothing.
const MOST_WIDTH: u32 = 4_096;

/// Infers bounds from a flight of which only the sum of its messages is known: every record but the last, or but the
/// last two where the Finished stands alone, is full. No client certificate was asked for.
pub(super) fn server(plaintexts: &[u32], finished: u32, offer: &Offer) -> Option<Inferred> {
    let (last, rest) = plaintexts.split_last()?;
    let packed = match rest.split_last() {
        Some((_, full)) if *last == finished => full,
        _ => rest,
    };
    if packed.iter().any(|length| *length != FULL_RECORD) {
        return None;
    }
    let total: u32 = plaintexts.iter().sum();
    let certificate_and_rest = total.checked_sub(finished + MESSAGE_HEADER)?;
    let most_extensions = LEAST_EXTENSIONS
        + MOST_EXTENSIONS
        + u32::try_from(offer.longest_protocol).unwrap_or(255)
        + if offer.encrypted_hello { MOST_RETRY_KEYS } else { 0 };
    let mut bounds: Option<(u32, u32)> = None;
    let mut families = Vec::new();
    for (family, lengths) in FAMILIES.into_iter().filter(|(family, _)| offer.takes(*family)) {
        for length in lengths {
            let signature = Signature { family, length: *length.start() };
            let most = certificate_and_rest.checked_sub(LEAST_EXTENSIONS + VERIFY_OVERHEAD + length.start());
            let least = certificate_and_rest.saturating_sub(most_extensions + VERIFY_OVERHEAD + length.end());
            let Some((_, high)) = most.map(|body| chain_bounds(body, offer, signature)) else { continue };
            let least_leaf = least_leaf(signature);
            if high < least_leaf || most < Some(LIST_OVERHEAD + ENTRY_OVERHEAD) {
                continue;
            }
            let low = chain_bounds(least, offer, signature).0.max(least_leaf);
            families.push(family);
            bounds = Some(bounds.map_or((low, high), |(least, most)| (least.min(low), most.max(high))));
        }
    }
    let (low, high) = bounds?;
    families.dedup();
    let certificates = (high - low <= MOST_WIDTH.max(high / 2))
        .then(|| Certificates { compressed: Some(false), ..inferred_certificates(None, Some((low, high))) });
    Some(Inferred { certificates, verify: Some(of_the_only(&families)) })
}

/// The least that a leaf weighs: the key that the signature was made with, an issuer's signature of any kind, names and
/// validity.
const fn least_leaf(signature: Signature) -> u32 {
    signature.least_key() + 64 + 70
}

fn of_the_only(families: &[SignatureFamily]) -> CertificateVerify {
    match families {
        [family] => verify(*family),
        _ => verify(SignatureFamily::Unknown),
    }
}
