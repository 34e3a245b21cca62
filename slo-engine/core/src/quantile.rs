//! Quantiles of histograms, each with the bucket that holds it: the true quantile lies within.

use crate::distribution::{Distribution, to_float};
use serde::{Deserialize, Serialize};

/// A quantile of observations of which only buckets are known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// Estimate within the bucket: on the logarithmic scale where the bucket allows it, else linear.
    pub value: f64,
    /// Lower end of the bucket; the true quantile is no less.
    pub low: f64,
    /// Upper end of the bucket; the true quantile is no more. Infinite in the open last bucket.
    pub high: f64,
}

impl Quantile {
    /// Largest error of the estimate relative to the true quantile: of a histogram at scale `s`, no more than
    /// `2^(2^-s) - 1`. `None` where it has no bound.
    pub fn relative_error(&self) -> Option<f64> {
        (self.low > 0.0 && self.high.is_finite())
            .then(|| ((self.value - self.low) / self.low).max((self.high - self.value) / self.high))
    }
}

/// The quantile `q`, between 0 and 1: the smallest value that at least `q` of all observations do not exceed. `None`
/// without observations.
pub fn quantile(distribution: &Distribution, q: f64) -> Option<Quantile> {
    let mut buckets = distribution.buckets();
    let total: f64 = buckets.iter().map(|(_, _, count)| to_float(*count)).sum();
    if total <= 0.0 || !(0.0..=1.0).contains(&q) {
        return None;
    }
    // Buckets of senders with other bounds may overlap; in the order of their upper ends the sums are right at each end.
    buckets.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0)));
    let rank = (q * total).max(1.0_f64.min(total));
    let mut below = 0.0;
    for (low, high, count) in buckets {
        let count = to_float(count);
        if below + count >= rank * (1.0 - 1e-12) {
            let part = ((rank - below) / count).clamp(0.0, 1.0);
            return Some(Quantile { value: within(low, high, part), low, high });
        }
        below += count;
    }
    None
}

fn within(low: f64, high: f64, part: f64) -> f64 {
    if !high.is_finite() {
        low
    } else if low > 0.0 {
        low * (high / low).powf(part)
    } else {
        low + (high - low) * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::{Explicit, Exponential};
    use proptest::prelude::*;

    fn exponential(scale: i32, values: &[f64]) -> Distribution {
        let index = |value: f64| (value.log2() * f64::from(scale).exp2()).ceil() as i32 - 1;
        let low = values.iter().map(|value| index(*value)).min().unwrap_or(0);
        let high = values.iter().map(|value| index(*value)).max().unwrap_or(0);
        let mut counts = vec![0_u64; usize::try_from(high - low + 1).unwrap()];
        for value in values {
            counts[usize::try_from(index(*value) - low).unwrap()] += 1;
        }
        Exponential::new(scale, values.len() as u64, 0, low, &counts, 0).unwrap().into()
    }

    #[test]
    fn without_observations_there_is_none() {
        assert_eq!(quantile(&Distribution::default(), 0.5), None);
        let open: Distribution = Explicit::new(&[], &[], 3).unwrap().into();
        let found = quantile(&open, 0.5).unwrap();
        assert_eq!((found.low, found.high, found.relative_error()), (0.0, f64::INFINITY, None));
    }

    #[test]
    fn the_middle_of_a_bucket_is_taken_on_the_logarithmic_scale() {
        let sizes: Distribution = Explicit::new(&[1.0, 2.0, 4.0], &[0, 10, 10, 0], 20).unwrap().into();
        let found = quantile(&sizes, 0.75).unwrap();
        assert_eq!((found.low, found.high), (2.0, 4.0));
        assert!((found.value - 8.0_f64.sqrt()).abs() < 1e-9);
    }

    proptest! {
        /// Against the sorted values themselves: within the bucket, and within the error that the scale promises. Merging
        /// the histograms of two agents changes nothing.
        #[test]
        fn the_true_quantile_is_within_the_stated_error(
            values in prop::collection::vec(1e-4_f64..10.0, 1..400), q in 0.01_f64..1.0, split in 0_usize..400,
        ) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = ((q * sorted.len() as f64 * (1.0 - 1e-12)).ceil() as usize).max(1);
            let truth = sorted[rank - 1];
            let (one, two) = values.split_at(split.min(values.len()));
            let mut merged = Distribution::default();
            for part in [one, two].into_iter().filter(|part| !part.is_empty()) {
                merged.add(&exponential(5, part));
            }
            let found = quantile(&merged, q).unwrap();
            prop_assert!(found.low <= truth * (1.0 + 1e-9) && truth <= found.high * (1.0 + 1e-9), "{found:?} {truth}");
            let promised = (2.0_f64.powi(-5)).exp2() - 1.0;
            prop_assert!((found.value - truth).abs() / truth <= promised + 1e-9);
            prop_assert!(found.relative_error().unwrap() <= promised + 1e-9);
        }
    }
}
