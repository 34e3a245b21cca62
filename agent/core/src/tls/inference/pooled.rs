//! Sums of a flight's messages, for whoever holds the flights of one server against each other.

use super::{Flight, LEAST_STAPLE, Offer, SuiteSizes};
use crate::iana::CipherSuite;

/// EncryptedExtensions: at least a message with an empty list, at most what any server sends.
const EXTENSIONS: std::ops::RangeInclusive<u32> = 6..=2_048;

/// Bytes of all messages before the Finished in a flight that holds handshake messages only and no padding; `None` where
/// the records are too short for that.
pub(crate) fn sum_before_finished(records: &[u16], suite: Option<CipherSuite>) -> Option<u32> {
    let sizes = SuiteSizes::of(suite);
    let plaintexts = Flight { records, is_whole: true, sizes }.plaintexts()?;
    plaintexts.iter().sum::<u32>().checked_sub(sizes.finished())
}

/// Bytes of the EncryptedExtensions of a flight under a pre-shared key: the Finished is all that follows them, in the same
/// record or in one of its own (RFC 8446 section 2.2).
pub(crate) fn extensions_alone(records: &[u16], suite: Option<CipherSuite>) -> Option<u32> {
    let sizes = SuiteSizes::of(suite);
    let is_alone = match records {
        [_] => true,
        [_, last] => sizes.plaintext(*last) == Some(sizes.finished()),
        _ => false,
    };
    sum_before_finished(records, suite).filter(|sum| is_alone && EXTENSIONS.contains(sum))
}

/// Bytes of plaintext in the last record, its padding included (RFC 8446 section 5.4).
pub(crate) fn last_plaintext(records: &[u16], suite: Option<CipherSuite>) -> Option<u32> {
    SuiteSizes::of(suite).plaintext(*records.last()?)
}

/// The least that a stapled response adds to a flight: it is signed, and the signatures of two flights may differ by five
/// bytes.
pub(crate) const LEAST_STAPLED: u32 = LEAST_STAPLE + 64 - 5;

impl Offer {
    /// The same where no response was stapled.
    pub(crate) fn without_staple(&self) -> Self {
        Self { ocsp: false, ..self.clone() }
    }

    /// Whether a server with several certificates has the same reason to choose one for both clients, which differ in that
    /// only this one asked for a stapled response.
    pub(crate) fn adds_only_a_staple_to(&self, other: &Self) -> bool {
        let alike = self.families == other.families && self.timestamps == other.timestamps;
        alike && self.ocsp && !other.ocsp
    }
}
