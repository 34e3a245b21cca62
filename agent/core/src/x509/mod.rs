//! What a certificate says of itself (RFC 5280): names, key, validity, the algorithm that it was signed with.
//!
//! Enters: the DER bytes of a certificate, or the first of them. Leaves: [`LeafFacts`] for the record. Nothing is
//! verified: the facts are an inventory. Certificates of the wild break every rule, so the reader asks for no more than
//! it needs: the fields stand before the extensions, in one order; of a certificate cut after them everything is
//! known. What cannot be read gives `None`, and nothing else depends on it.

mod algorithm;
mod der;
mod name;
mod validity;

use crate::observation::LeafFacts;
use der::{Reader, tag};
use sha2::{Digest, Sha256};

/// Bytes of a certificate that are looked at. The facts stand before the extensions, and a certificate with ten thousand
/// names has them there too; the largest keys in use are under 3 KB.
pub const MAX_LOOKED_AT: usize = 16 * 1024;

/// Reads the facts of a certificate from its DER bytes, of which the first [`MAX_LOOKED_AT`] are looked at. `None`
/// where these are no certificate, or end before its public key does.
pub fn leaf_facts(der: &[u8]) -> Option<LeafFacts> {
    let mut outer = Reader::new(der.get(..MAX_LOOKED_AT).unwrap_or(der));
    let mut certificate = outer.enter(tag::SEQUENCE)?;
    let mut fields = certificate.enter(tag::SEQUENCE)?;
    // Version and serial number, whatever its sign and size, say nothing that is told.
    fields.skip_if(tag::EXPLICIT_0)?;
    fields.skip_if(tag::INTEGER)?;
    let signature = fields.sequence()?;
    let mut issuer = Some(fields.sequence()?);
    let validity = if issuer.as_ref().is_some_and(Reader::begins_with_time) {
        // There is no issuer at all.
        issuer.take()?
    } else {
        fields.sequence()?
    };
    let (not_before, not_after) = validity::read(validity);
    let subject = fields.sequence()?;
    let spki = fields.element()?;
    let key = algorithm::public_key(&spki)?;
    Some(LeafFacts {
        issuer: issuer.map(name::text).unwrap_or_default(),
        subject: name::text(subject),
        key_algorithm: key.algorithm,
        key_bits: key.bits,
        signature_algorithm: algorithm::signature(signature)?,
        not_before,
        not_after,
        spki_sha256: hex(&Sha256::digest(spki.whole)),
    })
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests;
