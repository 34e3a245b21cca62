//! What the sums of like flights say about the signature in them.
//!
//! Enters: how often each sum came up, and how often one followed another. Leaves: whether the signature is an ECDSA
//! one, none, or that the figures do not carry it.
//!
//! DER writes the two integers of an ECDSA signature without leading zeroes, so its length follows a law. The top bit of
//! a P-256 or P-384 integer is set half the time, which takes one byte more: both integers a quarter of the time, one of
//! them half the time, none a quarter. The orders of these curves lie just below a power of two, so this holds to within
//! one in a hundred. A P-521 integer fills its 66 bytes three times in four, its top bit being bit 520. Signatures of
//! all other families have one length.

use crate::observation::SignatureFamily;

/// Like flights before anything is concluded from their sums. All signatures of a P-521 key have one length in 24
/// handshakes once in 990,000 times, (9/16)^24; those of P-256 and P-384 once in 17 million, (1/2)^24.
pub(super) const LEAST_HANDSHAKES: u64 = 24;

/// Bytes between the longest and the shortest signature of a curve, all but one in a million.
const MOST_SPAN: u32 = 5;

/// Twice the logarithm of the likelihood ratio above which counts do not follow a law: passed once in ten million times
/// by counts that do (chi-squared with two degrees of freedom).
const MOST_DEVIATION: f64 = 32.0;

/// One in so many handshakes differs from the one before it at the least: half of all do under either law. Lengths that
/// change now and then, with a stapled response or a renewed certificate, do not.
const LEAST_CHANGES: u64 = 4;

/// How often a sum came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// All handshakes.
    pub(super) handshakes: u64,
    /// Those of connections that were not met before.
    pub(super) count: u64,
    /// Those of them whose predecessor had another sum of the same chain.
    pub(super) changed: u64,
}

/// A conclusion about the signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// ECDSA: its lengths follow the law of P-256 and P-384, of P-521, or of both as far as can be told.
    Ecdsa { p256_or_p384: bool, p521: bool },
    /// Always the same length: not ECDSA.
    Fixed,
    /// Nothing can be told.
    Open,
}

impl Pattern {
    /// The pattern of sums that lie close to each other, in rising order. `may_be_padded` tells that all sums of the
    /// server are such as padding to a block would make them, which hides what varies.
    pub(super) fn of(sums: &[(u32, Seen)], may_be_padded: bool) -> Self {
        let handshakes: u64 = sums.iter().map(|(_, seen)| seen.count).sum();
        let changes: u64 = sums.iter().map(|(_, seen)| seen.changed).sum();
        let (Some((least, _)), Some((most, _))) = (sums.first(), sums.last()) else { return Self::Open };
        if handshakes < LEAST_HANDSHAKES {
            return Self::Open;
        }
        if least == most {
            return if may_be_padded { Self::Open } else { Self::Fixed };
        }
        let is_three = sums.len() >= 3 && most - least <= MOST_SPAN;
        if !is_three || changes * LEAST_CHANGES < handshakes {
            return Self::Open;
        }
        let at = |sum: u32| sums.iter().find(|(other, _)| *other == sum).map_or(0, |(_, seen)| seen.count);
        let (longest, next) = (at(*most), at(most - 1));
        let counts = [longest, next, handshakes - longest - next];
        match (follows(counts, [0.25, 0.5, 0.25]), follows(counts, [9.0 / 16.0, 6.0 / 16.0, 1.0 / 16.0])) {
            (false, false) => Self::Open,
            (p256_or_p384, p521) => Self::Ecdsa { p256_or_p384, p521 },
        }
    }

    /// Whether the signature may be of this family.
    pub(super) const fn allows(self, family: SignatureFamily) -> bool {
        use SignatureFamily::{EcdsaP256, EcdsaP384, EcdsaP521};
        match self {
            Self::Open => true,
            Self::Fixed => !matches!(family, EcdsaP256 | EcdsaP384 | EcdsaP521),
            Self::Ecdsa { p256_or_p384, p521 } => match family {
                EcdsaP256 | EcdsaP384 => p256_or_p384,
                EcdsaP521 => p521,
                _ => false,
            },
        }
    }
}

/// Whether counts may come from these shares (the likelihood-ratio test).
#[expect(clippy::cast_precision_loss, reason = "counts of handshakes are far below 2^53")]
fn follows(counts: [u64; 3], shares: [f64; 3]) -> bool {
    let all: u64 = counts.iter().sum();
    let deviation: f64 = counts
        .into_iter()
        .zip(shares)
        .filter(|(count, _)| *count > 0)
        .map(|(count, share)| 2.0 * count as f64 * (count as f64 / (all as f64 * share)).ln())
        .sum();
    deviation <= MOST_DEVIATION
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sums from 1000 on with these counts; every other handshake differs from the one before it.
    fn pattern(counts: &[u64]) -> Pattern {
        let seen = |count: u64| Seen { handshakes: count, count, changed: count / 2 };
        let sums: Vec<_> = (1000..).zip(counts).map(|(sum, count)| (sum, seen(*count))).collect();
        Pattern::of(&sums, false)
    }

    #[test]
    fn three_lengths_in_the_shares_of_der_are_ecdsa() {
        assert_eq!(pattern(&[6, 12, 6]), Pattern::Ecdsa { p256_or_p384: true, p521: true });
        assert_eq!(pattern(&[1, 49, 100, 50]), Pattern::Ecdsa { p256_or_p384: true, p521: false });
        assert_eq!(pattern(&[12, 75, 113]), Pattern::Ecdsa { p256_or_p384: false, p521: true });
    }

    #[test]
    fn one_length_over_enough_handshakes_is_not_ecdsa() {
        assert_eq!(pattern(&[24]), Pattern::Fixed);
        assert_eq!(pattern(&[23]), Pattern::Open);
        assert!(!Pattern::Fixed.allows(SignatureFamily::EcdsaP256));
        assert!(
            Pattern::Fixed.allows(SignatureFamily::Rsa) && Pattern::Open.allows(SignatureFamily::EcdsaP256)
        );
    }

    #[test]
    fn other_shares_two_lengths_and_few_handshakes_tell_nothing() {
        for counts in [&[50, 50][..], &[100, 5, 100], &[1, 1, 200], &[200, 10, 10], &[5, 10, 5], &[]] {
            assert_eq!(pattern(counts), Pattern::Open, "{counts:?}");
        }
    }

    #[test]
    fn lengths_that_change_now_and_then_are_another_certificates() {
        let seen = |count| Seen { handshakes: count, count, changed: 2 };
        let sums = [(1000, seen(25)), (1001, seen(50)), (1002, seen(25))];
        assert_eq!(Pattern::of(&sums, false), Pattern::Open);
    }

    #[test]
    fn padding_hides_what_varies() {
        let sums = [(1000, Seen { handshakes: 500, count: 500, changed: 0 })];
        assert_eq!(Pattern::of(&sums, true), Pattern::Open);
        assert_eq!(Pattern::of(&sums, false), Pattern::Fixed);
    }
}
