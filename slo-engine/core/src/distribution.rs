//! Histograms as plain counts that can be subtracted, added and asked how many observations were small enough.

use crate::wire::{Reader, put_float, put_number, put_signed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Scales that OpenTelemetry SDKs produce. At scale 20 neighbouring bounds differ by less than a millionth.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;
/// Most buckets that a distribution keeps; beyond it the resolution is halved. Twice what SDKs use by default.
const MOST_BUCKETS: usize = 320;
/// Most sets of bounds that one distribution keeps apart.
const MOST_LAYOUTS: usize = 8;

/// Why the buckets of a point make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum MalformedBuckets {
    /// The scale is outside -10 to 20.
    #[error("the scale is outside -10 to 20")]
    Scale,
    /// Bucket numbers leave the range of 32 bits.
    #[error("the bucket offset is out of range")]
    Offset,
    /// The count differs from the sum over the buckets.
    #[error("the count differs from the sum of the bucket counts")]
    Count,
    /// There must be one more count than bounds.
    #[error("the number of bucket counts does not fit the number of bounds")]
    Lengths,
    /// Bounds must be finite and increase.
    #[error("the bucket bounds are not finite and increasing")]
    Bounds,
    /// Durations and sizes are never negative.
    #[error("there are negative observations")]
    Negative,
    /// More buckets than a histogram may sensibly have.
    #[error("there are too many buckets")]
    TooMany,
}

/// A base-2 exponential histogram: bucket `i` holds observations in `(b^i, b^(i+1)]` with `b = 2^(2^-scale)`
/// (OpenTelemetry metrics data model, "ExponentialHistogram").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exponential {
    scale: i32,
    zero: u64,
    buckets: BTreeMap<i32, u64>,
}

impl Exponential {
    /// From the fields of an OTLP point. `negative` is the sum over its negative buckets.
    ///
    /// # Errors
    /// When the fields contradict each other or describe what cannot be counted.
    pub fn new(
        scale: i32,
        count: u64,
        zero: u64,
        offset: i32,
        positive: &[u64],
        negative: u64,
    ) -> Result<Self, MalformedBuckets> {
        if !SCALES.contains(&scale) {
            return Err(MalformedBuckets::Scale);
        }
        if negative > 0 {
            return Err(MalformedBuckets::Negative);
        }
        let sum = positive.iter().try_fold(zero, |sum, bucket| sum.checked_add(*bucket));
        if sum != Some(count) {
            return Err(MalformedBuckets::Count);
        }
        let mut buckets = BTreeMap::new();
        for (position, bucket) in positive.iter().enumerate().filter(|(_, bucket)| **bucket > 0) {
            let position = i32::try_from(position).map_err(|_| MalformedBuckets::Offset)?;
            buckets.insert(offset.checked_add(position).ok_or(MalformedBuckets::Offset)?, *bucket);
        }
        let mut made = Self { scale, zero, buckets };
        made.shrink();
        Ok(made)
    }

    fn shrink(&mut self) {
        while self.buckets.len() > MOST_BUCKETS && self.scale > *SCALES.start() {
            self.rescale(self.scale - 1);
        }
    }

    /// Gives up resolution, so that two histograms can be compared bucket by bucket.
    fn rescale(&mut self, scale: i32) {
        let steps = self.scale.saturating_sub(scale);
        if steps <= 0 {
            return;
        }
        let mut coarse = BTreeMap::new();
        for (index, count) in std::mem::take(&mut self.buckets) {
            *coarse.entry(index >> steps.min(31)).or_insert(0) += count;
        }
        self.buckets = coarse;
        self.scale = scale;
    }

    fn total(&self) -> u64 {
        self.buckets.values().fold(self.zero, |sum, count| sum.saturating_add(*count))
    }

    fn since(&self, earlier: &Self) -> Option<Self> {
        let scale = self.scale.min(earlier.scale);
        let (mut now, mut then) = (self.clone(), earlier.clone());
        now.rescale(scale);
        then.rescale(scale);
        now.zero = now.zero.checked_sub(then.zero)?;
        for (index, count) in then.buckets {
            let current = now.buckets.get_mut(&index)?;
            *current = current.checked_sub(count)?;
        }
        now.buckets.retain(|_, count| *count > 0);
        Some(now)
    }

    fn add(&mut self, other: &Self) {
        let scale = self.scale.min(other.scale);
        self.rescale(scale);
        let mut other = other.clone();
        other.rescale(scale);
        self.zero = self.zero.saturating_add(other.zero);
        for (index, count) in other.buckets {
            let sum = self.buckets.entry(index).or_insert(0);
            *sum = sum.saturating_add(count);
        }
        self.shrink();
    }

    fn at_or_below(&self, bound: f64) -> f64 {
        if bound < 0.0 {
            return 0.0;
        }
        let zero = to_float(self.zero);
        if bound == 0.0 {
            return zero;
        }
        // Number of the bucket that holds the bound, with the share of that bucket below it as the fraction.
        let position = bound.log2() * f64::from(self.scale).exp2();
        // A bound that is a power of the base is the upper end of its bucket; rounding must not say otherwise.
        let position = if (position - position.round()).abs() < 1e-9 { position.round() } else { position };
        self.buckets
            .iter()
            .map(|(index, count)| to_float(*count) * (position - f64::from(*index)).clamp(0.0, 1.0))
            .fold(zero, |sum, share| sum + share)
    }
}

/// A histogram with bounds of its sender's choice: bucket `i` holds observations up to and including bound `i`, the
/// last one those above all bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explicit {
    bounds: Vec<f64>,
    counts: Vec<u64>,
}

impl Explicit {
    /// From the fields of an OTLP point; without buckets the point still counts its observations.
    ///
    /// # Errors
    /// When the fields contradict each other.
    pub fn new(bounds: &[f64], counts: &[u64], count: u64) -> Result<Self, MalformedBuckets> {
        if counts.is_empty() && bounds.is_empty() {
            return Ok(Self { bounds: Vec::new(), counts: vec![count] });
        }
        if counts.len() > MOST_BUCKETS {
            return Err(MalformedBuckets::TooMany);
        }
        if counts.len() != bounds.len() + 1 {
            return Err(MalformedBuckets::Lengths);
        }
        let increasing = bounds.iter().zip(bounds.iter().skip(1)).all(|(low, high)| low < high);
        if !increasing || !bounds.iter().all(|bound| bound.is_finite()) {
            return Err(MalformedBuckets::Bounds);
        }
        let sum = counts.iter().try_fold(0_u64, |sum, bucket| sum.checked_add(*bucket));
        if sum != Some(count) {
            return Err(MalformedBuckets::Count);
        }
        Ok(Self { bounds: bounds.to_vec(), counts: counts.to_vec() })
    }

    fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    fn since(&self, earlier: &Self) -> Option<Self> {
        if self.bounds != earlier.bounds {
            return None;
        }
        let counts = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.checked_sub(*then));
        Some(Self { bounds: self.bounds.clone(), counts: counts.collect::<Option<_>>()? })
    }

    fn at_or_below(&self, bound: f64) -> f64 {
        let mut lower = 0.0_f64;
        let mut sum = 0.0;
        for (upper, count) in self.bounds.iter().zip(&self.counts) {
            let share = if *upper <= bound {
                1.0
            } else if bound <= lower || *upper <= lower {
                0.0
            } else {
                (bound - lower) / (upper - lower)
            };
            sum += share * to_float(*count);
            lower = upper.max(lower);
        }
        sum
    }
}

/// Observations of one series, from senders that may use different bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    exponential: Option<Exponential>,
    explicit: Vec<Explicit>,
}

impl From<Exponential> for Distribution {
    fn from(exponential: Exponential) -> Self {
        Self { exponential: Some(exponential), explicit: Vec::new() }
    }
}

impl From<Explicit> for Distribution {
    fn from(explicit: Explicit) -> Self {
        Self { exponential: None, explicit: vec![explicit] }
    }
}

impl Distribution {
    /// Number of observations.
    pub fn total(&self) -> u64 {
        let exponential = self.exponential.as_ref().map_or(0, Exponential::total);
        self.explicit.iter().fold(exponential, |sum, explicit| sum.saturating_add(explicit.total()))
    }

    /// Number of observations at or below a bound. Those of the bucket around the bound are split in proportion, on
    /// the logarithmic scale in exponential histograms and linearly otherwise; the open last bucket is above all bounds.
    pub fn at_or_below(&self, bound: f64) -> u64 {
        let exponential = self.exponential.as_ref().map_or(0.0, |histogram| histogram.at_or_below(bound));
        let sum = self.explicit.iter().fold(exponential, |sum, explicit| sum + explicit.at_or_below(bound));
        to_count(sum.round()).min(self.total())
    }

    /// The buckets that hold observations, as lower end (excluded), upper end (included) and count. Zero is a bucket from
    /// zero to zero; the open last bucket of explicit bounds ends at infinity.
    pub(crate) fn buckets(&self) -> Vec<(f64, f64, u64)> {
        let mut buckets = Vec::new();
        if let Some(exponential) = &self.exponential {
            if exponential.zero > 0 {
                buckets.push((0.0, 0.0, exponential.zero));
            }
            let base = f64::from(-exponential.scale).exp2();
            let end = |index: i32| (f64::from(index) * base).exp2();
            buckets.extend(
                exponential
                    .buckets
                    .iter()
                    .map(|(index, count)| (end(*index), end(index.saturating_add(1)), *count)),
            );
        }
        for explicit in &self.explicit {
            let lower = std::iter::once(0.0_f64).chain(explicit.bounds.iter().copied());
            let upper = explicit.bounds.iter().copied().chain([f64::INFINITY]);
            let all = lower.zip(upper).zip(&explicit.counts).filter(|(_, count)| **count > 0);
            buckets.extend(all.map(|((lower, upper), count)| (lower.min(upper), upper, *count)));
        }
        buckets
    }

    /// What was observed after `earlier`; `None` when that cannot be, because a count dropped or the bounds differ.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Self> {
        let exponential = match (&self.exponential, &earlier.exponential) {
            (Some(now), Some(then)) => Some(now.since(then)?),
            (now, None) => now.clone(),
            (None, Some(_)) => return None,
        };
        if self.explicit.len() != earlier.explicit.len() {
            return None;
        }
        let explicit = self.explicit.iter().zip(&earlier.explicit).map(|(now, then)| now.since(then));
        Some(Self { exponential, explicit: explicit.collect::<Option<_>>()? })
    }

    /// Adds the observations of another. A ninth set of bounds joins as one open bucket: counted, of unknown size.
    pub(crate) fn add(&mut self, other: &Self) {
        match (&mut self.exponential, &other.exponential) {
            (Some(sum), Some(more)) => sum.add(more),
            (empty @ None, Some(more)) => *empty = Some(more.clone()),
            (_, None) => {}
        }
        for more in &other.explicit {
            self.add_explicit(more);
        }
    }

    fn add_explicit(&mut self, more: &Explicit) {
        if let Some(same) = self.explicit.iter_mut().find(|explicit| explicit.bounds == more.bounds) {
            for (sum, count) in same.counts.iter_mut().zip(&more.counts) {
                *sum = sum.saturating_add(*count);
            }
        } else if self.explicit.len() < MOST_LAYOUTS || more.bounds.is_empty() {
            self.explicit.push(more.clone());
        } else {
            self.add_explicit(&Explicit { bounds: Vec::new(), counts: vec![more.total()] });
        }
    }

    /// Applies a rule to every count.
    pub(crate) fn map_counts(&self, rule: impl Fn(u64) -> u64) -> Self {
        let mut mapped = self.clone();
        if let Some(exponential) = &mut mapped.exponential {
            exponential.zero = rule(exponential.zero);
            exponential.buckets.values_mut().for_each(|count| *count = rule(*count));
            exponential.buckets.retain(|_, count| *count > 0);
        }
        for explicit in &mut mapped.explicit {
            explicit.counts.iter_mut().for_each(|count| *count = rule(*count));
        }
        mapped
    }
}

/// As bytes, for the journal, for saved blocks, and for the many buckets that are held in memory.
impl Distribution {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_number(out, self.explicit.len() as u64 * 2 + u64::from(self.exponential.is_some()));
        if let Some(exponential) = &self.exponential {
            put_signed(out, i64::from(exponential.scale));
            put_number(out, exponential.zero);
            put_number(out, exponential.buckets.len() as u64);
            let mut last = 0;
            for (index, count) in &exponential.buckets {
                put_signed(out, i64::from(*index) - last);
                put_number(out, *count);
                last = i64::from(*index);
            }
        }
        for explicit in &self.explicit {
            put_number(out, explicit.bounds.len() as u64);
            explicit.bounds.iter().for_each(|bound| put_float(out, *bound));
            explicit.counts.iter().for_each(|count| put_number(out, *count));
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    pub(crate) fn decode(bytes: &mut Reader<'_>) -> Option<Self> {
        let head = bytes.number()?;
        let exponential = if head % 2 == 1 { Some(Exponential::decode(bytes)?) } else { None };
        let layouts = usize::try_from(head / 2).ok().filter(|layouts| *layouts <= MOST_LAYOUTS + 1)?;
        let explicit = (0..layouts).map(|_| Explicit::decode(bytes)).collect::<Option<_>>()?;
        Some(Self { exponential, explicit })
    }
}

impl Exponential {
    fn decode(bytes: &mut Reader<'_>) -> Option<Self> {
        let scale = i32::try_from(bytes.signed()?).ok().filter(|scale| SCALES.contains(scale))?;
        let zero = bytes.number()?;
        let mut buckets = BTreeMap::new();
        let mut index = 0_i64;
        for _ in 0..bytes.length()? {
            index = index.checked_add(bytes.signed()?)?;
            buckets.insert(i32::try_from(index).ok()?, bytes.number()?);
        }
        Some(Self { scale, zero, buckets })
    }
}

impl Explicit {
    fn decode(bytes: &mut Reader<'_>) -> Option<Self> {
        let length = bytes.length().filter(|length| *length < MOST_BUCKETS)?;
        let bounds = (0..length).map(|_| bytes.float()).collect::<Option<_>>()?;
        let counts = (0..=length).map(|_| bytes.number()).collect::<Option<_>>()?;
        Some(Self { bounds, counts })
    }
}

/// Exact below 2^53, which no count of events reaches.
#[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
pub(crate) fn to_float(count: u64) -> f64 {
    count as f64
}

/// The whole number below; zero for what is not positive.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
pub(crate) fn to_count(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(scale: i32, zero: u64, offset: i32, buckets: &[u64]) -> Exponential {
        let count = zero + buckets.iter().sum::<u64>();
        Exponential::new(scale, count, zero, offset, buckets, 0).expect("a histogram")
    }

    #[test]
    fn a_bound_between_two_buckets_takes_all_below_it() {
        // Scale 0: (1/8, 1/4], (1/4, 1/2], (1/2, 1].
        let sizes = Distribution::from(exponential(0, 2, -3, &[3, 4, 5]));
        let at = |bound| sizes.at_or_below(bound);
        assert_eq!((at(-1.0), at(0.0), at(0.1)), (0, 2, 2));
        assert_eq!((at(0.25), at(0.5), at(1.0), at(9.0)), (5, 9, 14, 14));
    }

    #[test]
    fn a_bound_within_a_bucket_splits_it_on_the_logarithmic_scale() {
        // The square root of 1/2 is the middle of (1/2, 1].
        let sizes = Distribution::from(exponential(0, 0, -1, &[100]));
        assert_eq!(sizes.at_or_below(0.5_f64.sqrt()), 50);
    }

    #[test]
    fn powers_of_the_base_are_upper_ends_at_every_scale() {
        for scale in -2..=12 {
            for index in [-40_i32, -1, 0, 1, 7, 200] {
                let sizes = Distribution::from(exponential(scale, 0, index, &[10]));
                let upper = (f64::from(index + 1) * f64::from(-scale).exp2()).exp2();
                assert_eq!(sizes.at_or_below(upper), 10, "scale {scale}, bucket {index}");
                let lower = (f64::from(index) * f64::from(-scale).exp2()).exp2();
                assert_eq!(sizes.at_or_below(lower), 0, "scale {scale}, bucket {index}");
            }
        }
    }

    #[test]
    fn giving_up_resolution_keeps_every_observation() {
        let many: Vec<u64> = (0..2_000).map(|count| count % 3).collect();
        let sizes = exponential(8, 1, -1_000, &many);
        assert!(sizes.buckets.len() <= MOST_BUCKETS);
        assert_eq!(sizes.total(), 1 + many.iter().sum::<u64>());
        // Negative bucket numbers halve downwards: bucket -1 stays -1, which holds the same sizes.
        let mut sizes = exponential(1, 0, -1, &[5]);
        sizes.rescale(0);
        assert_eq!(sizes, exponential(0, 0, -1, &[5]));
    }

    #[test]
    fn bytes_hold_all_of_it() {
        let mut sizes = Distribution::from(exponential(3, 2, -70, &[1, 0, 300, 7]));
        sizes.add(
            &Explicit::new(&[0.1, 2.5], &[1, 2, u64::from(u32::MAX)], 3 + u64::from(u32::MAX))
                .expect("sound")
                .into(),
        );
        sizes.add(&Explicit::new(&[], &[], 9).expect("sound").into());
        for sizes in [Distribution::default(), sizes] {
            let mut bytes = Vec::new();
            sizes.encode(&mut bytes);
            assert_eq!(Distribution::decode(&mut Reader::new(&bytes)), Some(sizes));
            (0..bytes.len())
                .for_each(|cut| assert_eq!(Distribution::decode(&mut Reader::new(&bytes[..cut])), None));
        }
    }

    #[test]
    fn a_ninth_layout_is_counted_without_its_sizes() {
        let mut sum = Distribution::default();
        for bound in 1..=20_u32 {
            let sizes = Explicit::new(&[f64::from(bound)], &[1, 0], 1).expect("a histogram");
            sum.add(&sizes.into());
        }
        assert_eq!(sum.total(), 20);
        assert_eq!(sum.at_or_below(1e9), 8);
        assert!(sum.explicit.len() <= MOST_LAYOUTS + 1);
    }
}
