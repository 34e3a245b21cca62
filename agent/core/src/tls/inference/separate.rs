//! Flights in which each message has records of its own, as OpenSSL, Go, GnuTLS and others send them.

use super::{
    FULL_RECORD, LIST_OVERHEAD, MESSAGE_HEADER, Offer, Signature, VERIFY_OVERHEAD, chain_bounds,
    family_by_length, inferred_certificates,
};
use crate::observation::{Certificates, SignatureFamily};

/// EncryptedExtensions: at least a message with an empty list, at most what any server sends.
const EXTENSIONS: std::ops::RangeInclusive<u32> = 6..=2_048;

/// The most records that one signature takes: SLH-DSA-256f with 49,856 bytes.
const VERIFY_RECORDS: usize = 4;

/// The Certificate and CertificateVerify of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Body of the Certificate message.
    pub(super) body: u32,
    pub(super) signature: Signature,
}

impl Found {
    pub(super) fn certificates(self, offer: &Offer) -> Certificates {
        let (low, high) = chain_bounds(self.body, offer, self.signature);
        let mut chain = inferred_certificates(Some(self.body), Some((low, high)));
        // Without a staple: a list of two entries is the most common, and each more or less moves it by five bytes.
        chain.compressed = (!offer.compression).then_some(false);
        chain.chain_bytes = Some(u64::from(high.saturating_sub(super::ENTRY_OVERHEAD).max(low)));
        chain
    }
}

/// Finds Certificate and CertificateVerify by the Finished that ends the flight; `None` where nothing or more than one
/// thing fits. Records after the Finished (session tickets, early answers) are passed by.
pub(super) fn server(
    plaintexts: &[u32],
    finished: u32,
    offer: &Offer,
    requested: Option<bool>,
) -> Option<Found> {
    if !EXTENSIONS.contains(plaintexts.first()?) {
        return None;
    }
    let known = |lengths: &[u32]| {
        let length = lengths.iter().sum::<u32>().checked_sub(VERIFY_OVERHEAD)?;
        let family = family_by_length(length).filter(|family| offer.takes(*family))?;
        Some(Signature { family, length })
    };
    let ends = || plaintexts.iter().enumerate().skip(3).filter(|(_, length)| **length == finished);
    let mut found = None;
    for (end, _) in ends() {
        for count in 1..=VERIFY_RECORDS {
            let Some((before, verify)) = split_message(plaintexts, end, count) else { continue };
            let Some(signature) = known(verify) else { continue };
            for body in certificate_bodies(before, requested) {
                let one = Found { body, signature };
                if found.is_some_and(|other| other != one) {
                    return None;
                }
                found = Some(one);
            }
        }
    }
    found.or_else(|| {
        // A signature of unknown length stands in one record, and nothing else does beside the two that are known.
        let (end, _) = ends().next()?;
        let (before, verify) = split_message(plaintexts, end, 1)?;
        let mut bodies = certificate_bodies(before, requested);
        let body = bodies.next().filter(|_| requested == Some(false))?;
        let length = verify.iter().sum::<u32>().checked_sub(VERIFY_OVERHEAD)?;
        let signature = Signature { family: SignatureFamily::Unknown, length };
        bodies.next().is_none().then_some(Found { body, signature })
    })
}

/// Splits off the message that fills the `count` records before `end`: all but its last are full.
fn split_message(plaintexts: &[u32], end: usize, count: usize) -> Option<(&[u32], &[u32])> {
    let (before, message) = plaintexts.get(..end)?.split_at_checked(end.checked_sub(count)?)?;
    let (last, full) = message.split_last()?;
    let fits = full.iter().all(|length| *length == FULL_RECORD) && *last <= FULL_RECORD;
    fits.then_some((before, message))
}

/// Bodies that a Certificate at the end of `before` may have: EncryptedExtensions comes first, then CertificateRequest
/// where one was sent, then nothing else.
fn certificate_bodies(before: &[u32], requested: Option<bool>) -> impl Iterator<Item = u32> {
    let full = fragment_length(before);
    let others = match requested {
        Some(false) => 1..=1,
        Some(true) => 2..=2,
        None => 1..=2,
    };
    others.filter_map(move |others| {
        let certificate = before.get(others..)?;
        // A full record before the others is the Certificate's own beginning, not a request.
        let is_preceded = before.get(1..others)?.iter().all(|length| *length < full);
        let (last, first) = certificate.split_last()?;
        let is_one = is_preceded && first.iter().all(|length| *length == full) && *last <= full;
        let length: u32 = certificate.iter().sum();
        // One entry at the least.
        let body = length.checked_sub(MESSAGE_HEADER)?;
        (is_one && body > LIST_OVERHEAD + super::ENTRY_OVERHEAD + super::LEAST_CERTIFICATE).then_some(body)
    })
}

/// The most that a record of this flight holds: 2^14, or less where the client asked for shorter records (RFC 8449),
/// which then shows in records of equal length.
fn fragment_length(plaintexts: &[u32]) -> u32 {
    let longest = plaintexts.iter().copied().max().unwrap_or(FULL_RECORD);
    let repeated = plaintexts.iter().filter(|length| **length == longest).count() > 1;
    if repeated { longest } else { FULL_RECORD }
}

/// The Certificate of a client's flight: Certificate, CertificateVerify, Finished, or an empty Certificate and a Finished.
pub(super) fn client(plaintexts: &[u32], finished: u32) -> Option<Certificates> {
    let end = plaintexts.iter().position(|length| *length == finished)?;
    if let [empty] = plaintexts.get(..end)?
        && *empty == MESSAGE_HEADER + LIST_OVERHEAD
    {
        let none = Certificates {
            count: Some(0),
            chain_bytes: Some(0),
            compressed: Some(false),
            ..inferred_certificates(Some(LIST_OVERHEAD), Some((0, 0)))
        };
        return Some(none);
    }
    let mut bodies = (1..=VERIFY_RECORDS).filter_map(|count| {
        let (certificate, verify) = split_message(plaintexts, end, count)?;
        family_by_length(verify.iter().sum::<u32>().checked_sub(VERIFY_OVERHEAD)?)?;
        let (last, full) = certificate.split_last()?;
        let is_one = full.iter().all(|length| *length == FULL_RECORD) && *last <= FULL_RECORD;
        is_one.then(|| certificate.iter().sum::<u32>().saturating_sub(MESSAGE_HEADER))
    });
    let body = bodies.next()?;
    bodies.next().is_none().then(|| inferred_certificates(Some(body), None))
}
