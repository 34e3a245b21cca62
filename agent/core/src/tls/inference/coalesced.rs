//! Flights in which messages share records, as BoringSSL and rustls send them: only the sum of all is known, and the
//! Certificate lies between what is left when the others are as large and as small as they can be.

use super::{
    CertificateVerify, ENTRY_OVERHEAD, FAMILIES, FULL_RECORD, Inferred, LIST_OVERHEAD, MESSAGE_HEADER, Offer,
    Signature, VERIFY_OVERHEAD, chain_bounds, inferred_certificates, verify,
};
use crate::observation::{Certificates, SignatureFamily};
use std::ops::RangeInclusive;

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
    let sum = plaintexts.iter().sum::<u32>().checked_sub(finished)?;
    let mut bounds: Option<(u32, u32)> = None;
    let mut families = Vec::new();
    for chain in chains(sum, &offer.extensions(), offer) {
        families.push(chain.family);
        bounds =
            Some(bounds.map_or((chain.low, chain.high), |(least, most)| {
                (least.min(chain.low), most.max(chain.high))
            }));
    }
    let (low, high) = bounds?;
    families.dedup();
    let certificates = (!tells_nothing(low, high))
        .then(|| Certificates { compressed: Some(false), ..inferred_certificates(None, Some((low, high))) });
    Some(Inferred { certificates, verify: Some(of_the_only(&families)) })
}

impl Offer {
    /// What EncryptedExtensions may weigh in answer to this client.
    pub(crate) fn extensions(&self) -> RangeInclusive<u32> {
        let protocol = u32::try_from(self.longest_protocol).unwrap_or(255);
        let keys = if self.encrypted_hello { MOST_RETRY_KEYS } else { 0 };
        LEAST_EXTENSIONS..=LEAST_EXTENSIONS + MOST_EXTENSIONS + protocol + keys
    }
}

/// A chain that explains the sum of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Of the signature in the CertificateVerify.
    pub(crate) family: SignatureFamily,
    /// Least bytes of the certificates.
    pub(crate) low: u32,
    /// Most of them.
    pub(crate) high: u32,
}

/// Whether bounds are so far apart that they say nothing.
pub(crate) fn tells_nothing(low: u32, high: u32) -> bool {
    high - low > MOST_WIDTH.max(high / 2)
}

/// The chains that explain a flight whose messages without the Finished weigh `sum`, and its EncryptedExtensions
/// `extensions`. A family whose signatures have several lengths has a chain for each.
pub(crate) fn chains(
    sum: u32,
    extensions: &RangeInclusive<u32>,
    offer: &Offer,
) -> impl Iterator<Item = Chain> {
    let (least_extensions, most_extensions) = (*extensions.start(), *extensions.end());
    let families = FAMILIES.into_iter().filter(|(family, _)| offer.takes(*family));
    let signatures =
        families.flat_map(|(family, lengths)| lengths.iter().map(move |length| (family, length)));
    signatures.filter_map(move |(family, length)| {
        let signature = Signature { family, length: *length.start() };
        // Of all messages but the Finished, the Certificate's body is what is left.
        let others = MESSAGE_HEADER + VERIFY_OVERHEAD;
        let most = sum.checked_sub(others + least_extensions + length.start())?;
        let least = sum.saturating_sub(others + most_extensions + length.end());
        let (_, high) = chain_bounds(most, offer, signature);
        let least_leaf = least_leaf(signature);
        if high < least_leaf || most < LIST_OVERHEAD + ENTRY_OVERHEAD {
            return None;
        }
        let low = chain_bounds(least, offer, signature).0.max(least_leaf);
        Some(Chain { family, low, high })
    })
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
