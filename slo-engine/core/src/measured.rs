//! Values that are counted, and the reasons why a point is not.

use crate::distribution::{Distribution, MalformedBuckets, to_count};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Largest number that a float holds exactly.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

/// A value of a counter or histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Measured {
    /// Number of events.
    Count(u64),
    /// Sizes of events.
    Distribution(Box<Distribution>),
    /// The value of a gauge: no events, the latest reading.
    Level(Level),
}

/// One reading of a gauge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// When it was read.
    pub at: Timestamp,
    /// The value: finite, in the unit of the metric.
    pub value: f64,
}

impl Level {
    /// A reading.
    ///
    /// # Errors
    /// When the value is not finite.
    pub fn new(at: Timestamp, value: f64) -> Result<Self, Rejected> {
        if value.is_finite() { Ok(Self { at, value }) } else { Err(Rejected::NotFinite) }
    }
}

impl Measured {
    /// A counter value sent as an integer.
    ///
    /// # Errors
    /// When it is negative.
    pub fn from_integer(value: i64) -> Result<Self, Rejected> {
        u64::try_from(value).map(Self::Count).map_err(|_| Rejected::Negative)
    }

    /// A counter value sent as a float.
    ///
    /// # Errors
    /// When it is not finite, negative, or no whole number: events are whole.
    pub fn from_double(value: f64) -> Result<Self, Rejected> {
        if !value.is_finite() {
            return Err(Rejected::NotFinite);
        }
        if value < 0.0 {
            return Err(Rejected::Negative);
        }
        if value.fract() != 0.0 || value > LARGEST_EXACT {
            return Err(Rejected::NotWhole);
        }
        Ok(Self::Count(to_count(value)))
    }

    /// Number of events; none in a level.
    pub fn total(&self) -> u64 {
        match self {
            Self::Count(count) => *count,
            Self::Distribution(distribution) => distribution.total(),
            Self::Level(_) => 0,
        }
    }

    /// Number of events of size `bound` or less; a plain count and a level have no sizes.
    pub fn at_or_below(&self, bound: f64) -> Option<u64> {
        match self {
            Self::Count(_) | Self::Level(_) => None,
            Self::Distribution(distribution) => Some(distribution.at_or_below(bound)),
        }
    }

    /// What came after `earlier`; `None` when a count dropped, the bounds differ or the kind does.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Self> {
        match (self, earlier) {
            (Self::Count(now), Self::Count(then)) => now.checked_sub(*then).map(Self::Count),
            (Self::Distribution(now), Self::Distribution(then)) => {
                now.since(then).map(|since| Self::Distribution(Box::new(since)))
            }
            _ => None,
        }
    }

    /// Adds another of the same kind and says whether it was. Of two levels the later stands, at the same time the second.
    pub(crate) fn add(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Count(sum), Self::Count(more)) => *sum = sum.saturating_add(*more),
            (Self::Distribution(sum), Self::Distribution(more)) => sum.add(more),
            (Self::Level(level), Self::Level(other)) => {
                if other.at >= level.at {
                    *level = *other;
                }
            }
            _ => return false,
        }
        true
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Count(_) => Kind::Count,
            Self::Distribution(_) => Kind::Distribution,
            Self::Level(_) => Kind::Level,
        }
    }

    pub(crate) fn map_counts(&self, rule: impl Fn(u64) -> u64) -> Self {
        match self {
            Self::Count(count) => Self::Count(rule(*count)),
            Self::Distribution(distribution) => Self::Distribution(Box::new(distribution.map_counts(rule))),
            Self::Level(level) => Self::Level(*level),
        }
    }
}

/// What a series measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Count,
    Distribution,
    Level,
}

impl Kind {
    /// A number of one byte for records; it never changes its meaning.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Count => 0,
            Self::Distribution => 1,
            Self::Level => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Count),
            1 => Some(Self::Distribution),
            2 => Some(Self::Level),
            _ => None,
        }
    }
}

impl From<Distribution> for Measured {
    fn from(distribution: Distribution) -> Self {
        Self::Distribution(Box::new(distribution))
    }
}

/// Why a point is refused. The sender is told in `partial_success`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Rejected {
    /// Not a number, or infinite.
    #[error("the value is not a finite number")]
    NotFinite,
    /// Counts never go below zero.
    #[error("the value is negative")]
    Negative,
    /// Events are whole.
    #[error("the value is not a whole number of events")]
    NotWhole,
    /// `time_unix_nano` is zero.
    #[error("the point has no time")]
    NoTime,
    /// The interval is upside down.
    #[error("the start time is after the time")]
    StartAfterTime,
    /// More than [`FUTURE_TOLERANCE`](crate::intake::FUTURE_TOLERANCE) ahead.
    #[error("the time is more than five minutes ahead of the engine's clock")]
    FromFuture,
    /// Older than anything that is kept.
    #[error("the time is older than the retention")]
    TooOld,
    /// A delta point older than the repeats that are remembered.
    #[error("the delta point is too late to tell whether it was counted before")]
    TooLateToTell,
    /// Its start is older than one seen on the same stream.
    #[error(
        "another process with the same resource and attributes has started later; give each a service.instance.id"
    )]
    OlderStart,
    /// A counter became a histogram or the other way round.
    #[error("the metric has changed its kind")]
    KindChanged,
    /// A stream changed between cumulative and delta.
    #[error("the stream has changed its temporality")]
    TemporalityChanged,
    /// Buckets that make no sense.
    #[error("malformed histogram: {0}")]
    Malformed(MalformedBuckets),
    /// Sums that may fall cannot count events.
    #[error("the sum is not monotonic")]
    NotMonotonic,
    /// Neither cumulative nor delta.
    #[error("the aggregation temporality is not set")]
    NoTemporality,
    /// The bound on series is reached.
    #[error("the limit on the number of series is reached")]
    SeriesLimit,
    /// The bound on streams is reached.
    #[error("the limit on the number of streams is reached")]
    StreamLimit,
}

impl Rejected {
    /// A short stable word for a metric attribute.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotFinite => "not_finite",
            Self::Negative => "negative",
            Self::NotWhole => "not_whole",
            Self::NoTime => "no_time",
            Self::StartAfterTime => "start_after_time",
            Self::FromFuture => "from_future",
            Self::TooOld => "too_old",
            Self::TooLateToTell => "too_late_to_tell",
            Self::OlderStart => "older_start",
            Self::KindChanged => "kind_changed",
            Self::TemporalityChanged => "temporality_changed",
            Self::Malformed(_) => "malformed_histogram",
            Self::NotMonotonic => "not_monotonic",
            Self::NoTemporality => "no_temporality",
            Self::SeriesLimit => "series_limit",
            Self::StreamLimit => "stream_limit",
        }
    }
}

impl From<MalformedBuckets> for Rejected {
    fn from(malformed: MalformedBuckets) -> Self {
        Self::Malformed(malformed)
    }
}
