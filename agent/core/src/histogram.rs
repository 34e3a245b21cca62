//! A base-2 exponential histogram (OpenTelemetry metrics data model, "ExponentialHistogram").
//!
//! Bucket `i` holds values in `(base^i, base^(i+1)]` with `base = 2^(2^-scale)`. The scale begins fine and is halved
//! whenever the values would need more than [`MAX_BUCKETS`] buckets, so that any range fits in a bounded space with a
//! relative error that follows from the range.

/// Buckets at most.
pub const MAX_BUCKETS: usize = 160;

/// Finest scale; about 0.07 % between bucket bounds.
const MAX_SCALE: i32 = 10;

/// A distribution of positive values; zero is counted apart, negative and non-finite values are refused.
#[derive(Clone, Debug, PartialEq)]
pub struct ExponentialHistogram {
    scale: i32,
    zero_count: u64,
    /// Index of the first bucket.
    offset: i32,
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Default for ExponentialHistogram {
    fn default() -> Self {
        Self {
            scale: MAX_SCALE,
            zero_count: 0,
            offset: 0,
            buckets: Vec::new(),
            count: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }
    }
}

impl ExponentialHistogram {
    /// Adds a value; refuses what is negative or not finite and tells so.
    pub fn record(&mut self, value: f64) -> bool {
        if !value.is_finite() || value < 0.0 {
            return false;
        }
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value == 0.0 {
            self.zero_count += 1;
        } else {
            self.add(value);
        }
        true
    }

    fn add(&mut self, value: f64) {
        let mut index = index_of(value, self.scale);
        if self.buckets.is_empty() {
            self.offset = index;
        }
        loop {
            let (low, high) = self.span_with(index);
            let needed = usize::try_from(i64::from(high) - i64::from(low) + 1).unwrap_or(usize::MAX);
            if needed <= MAX_BUCKETS {
                self.widen(low, needed);
                break;
            }
            self.coarsen();
            index = index_of(value, self.scale);
        }
        let at = usize::try_from(index - self.offset).unwrap_or(0);
        if let Some(bucket) = self.buckets.get_mut(at) {
            *bucket += 1;
        }
    }

    /// First and last index once `index` is in.
    fn span_with(&self, index: i32) -> (i32, i32) {
        let last = self.offset + i32::try_from(self.buckets.len()).unwrap_or(0) - 1;
        if self.buckets.is_empty() { (index, index) } else { (self.offset.min(index), last.max(index)) }
    }

    fn widen(&mut self, low: i32, length: usize) {
        let before = usize::try_from(self.offset - low).unwrap_or(0);
        self.buckets.splice(0..0, std::iter::repeat_n(0, before));
        self.offset = low;
        if self.buckets.len() < length {
            self.buckets.resize(length, 0);
        }
    }

    /// Halves the scale: two neighbouring buckets become one.
    fn coarsen(&mut self) {
        self.scale -= 1;
        let offset = self.offset >> 1;
        let mut merged = Vec::with_capacity(self.buckets.len() / 2 + 1);
        for (index, count) in (self.offset..).zip(&self.buckets) {
            let at = usize::try_from((index >> 1) - offset).unwrap_or(0);
            if merged.len() <= at {
                merged.resize(at + 1, 0);
            }
            if let Some(bucket) = merged.get_mut(at) {
                *bucket += count;
            }
        }
        (self.offset, self.buckets) = (offset, merged);
    }

    /// The scale; bucket bounds are powers of `2^(2^-scale)`.
    pub const fn scale(&self) -> i32 {
        self.scale
    }

    /// Number of zeros.
    pub const fn zero_count(&self) -> u64 {
        self.zero_count
    }

    /// Index of the first bucket and the counts from there on.
    pub fn buckets(&self) -> (i32, &[u64]) {
        (self.offset, &self.buckets)
    }

    /// Number of values.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the values.
    pub const fn sum(&self) -> f64 {
        self.sum
    }

    /// Least and greatest value; `None` when there is none.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.min, self.max))
    }

    /// How many values are at most `2^exponent_halves/2`; exact for bounds of half octaves while the scale is at
    /// least 1, which holds for ranges under 80 octaves.
    pub fn count_at_most_half_octave(&self, exponent_halves: i32) -> u64 {
        let below = |index: i32| {
            // The upper bound of a bucket in half octaves: (index + 1) * 2^(1 - scale).
            f64::from(index + 1) * f64::from(1 - self.scale).exp2() <= f64::from(exponent_halves)
        };
        let counted = (self.offset..).zip(&self.buckets).take_while(|(index, _)| below(*index));
        self.zero_count + counted.map(|(_, count)| count).sum::<u64>()
    }

    /// The value below which a share `q` (0 to 1) of the values lie, by the nearest rank; `None` without values.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let (min, max) = self.range()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64).ceil() as u64).max(1);
        if rank <= self.zero_count {
            return Some(0.0);
        }
        let mut seen = self.zero_count;
        for (index, count) in (self.offset..).zip(&self.buckets) {
            seen += count;
            if seen >= rank {
                // The geometric middle of the bucket.
                let middle = (f64::from(index) + 0.5) * f64::from(-self.scale).exp2();
                return Some(middle.exp2().clamp(min, max));
            }
        }
        Some(max)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "finite positive numbers have exponents within +-1074")]
fn index_of(value: f64, scale: i32) -> i32 {
    (value.log2() * f64::from(scale).exp2()).ceil() as i32 - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> ExponentialHistogram {
        let mut histogram = ExponentialHistogram::default();
        for value in values {
            assert!(histogram.record(*value));
        }
        histogram
    }

    #[test]
    fn what_is_no_measurement_is_refused() {
        let mut histogram = ExponentialHistogram::default();
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(!histogram.record(value));
        }
        assert_eq!((histogram.count(), histogram.range(), histogram.quantile(0.5)), (0, None, None));
    }

    #[test]
    fn zeros_are_counted_apart() {
        let histogram = of(&[0.0, 0.0, 1.5]);
        assert_eq!((histogram.zero_count(), histogram.count()), (2, 3));
        assert_eq!(histogram.quantile(0.5), Some(0.0));
    }

    proptest! {
        #[test]
        fn every_value_lies_in_its_bucket(values in proptest::collection::vec(1e-9..1e9f64, 1..200)) {
            let histogram = of(&values);
            let (offset, buckets) = histogram.buckets();
            prop_assert!(buckets.len() <= MAX_BUCKETS);
            prop_assert_eq!(buckets.iter().sum::<u64>(), values.len() as u64);
            // Count each bucket afresh at the final scale.
            for (index, count) in (offset..).zip(buckets) {
                let here = values.iter().filter(|v| index_of(**v, histogram.scale()) == index).count();
                prop_assert_eq!(here as u64, *count);
            }
        }

        #[test]
        fn quantiles_are_within_a_bucket_of_the_truth(mut values in proptest::collection::vec(1e-5..10.0f64, 1..300), q in 0.01..1.0f64) {
            let estimate = of(&values).quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            let rank = ((q * values.len() as f64).ceil() as usize).max(1);
            let truth = values[rank - 1];
            // 20 octaves in 160 buckets: scale 3, a factor of 1.09 per bucket.
            prop_assert!((estimate / truth).ln().abs() < 0.1, "{} against {}", estimate, truth);
        }

        #[test]
        fn half_octave_bounds_count_exactly(values in proptest::collection::vec(1e-5..1e3f64, 1..100), halves in -30..20i32) {
            let bound = (f64::from(halves) / 2.0).exp2();
            let near = |v: &f64| (v / bound - 1.0).abs() < 1e-9;
            prop_assume!(!values.iter().any(near));
            let truth = values.iter().filter(|v| **v <= bound).count() as u64;
            prop_assert_eq!(of(&values).count_at_most_half_octave(halves), truth);
        }
    }
}
