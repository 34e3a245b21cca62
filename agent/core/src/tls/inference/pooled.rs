//! Sums of a flight's messages, for whoever holds the flights of one server against each other.

use super::{Flight, SuiteSizes};
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
