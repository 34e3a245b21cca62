//! Widths of buckets, and windows made of them.

use crate::series::SeriesId;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Width of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Ten seconds.
    TenSeconds,
    /// One minute.
    Minute,
    /// Ten minutes.
    TenMinutes,
    /// One hour.
    Hour,
    /// One day of UTC.
    Day,
}

/// Longest window: how far back counts are kept.
pub const LONGEST_WINDOW: Duration = Tier::Day.reach();

impl Tier {
    /// All tiers, finest first.
    pub const ALL: [Self; 5] = [Self::TenSeconds, Self::Minute, Self::TenMinutes, Self::Hour, Self::Day];

    /// Seconds from the start of a bucket to the start of the next.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::TenSeconds => 10,
            Self::Minute => 60,
            Self::TenMinutes => 600,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }

    /// The finest tier whose edges reach so far back.
    pub fn reaching(age: Duration) -> Self {
        Self::ALL.into_iter().find(|tier| age <= tier.reach()).unwrap_or(Self::Day)
    }

    /// How far back the edge of a window is exact to this tier.
    pub const fn reach(self) -> Duration {
        Duration::from_secs(match self {
            Self::TenSeconds => 2 * 3_600,
            Self::Minute => 12 * 3_600,
            Self::TenMinutes => 4 * 86_400,
            Self::Hour => 40 * 86_400,
            Self::Day => 400 * 86_400,
        })
    }

    /// How long buckets are kept: the reach, and one bucket of the next coarser tier for windows that begin beyond it.
    pub const fn retention(self) -> Duration {
        let margin = match self {
            Self::TenSeconds => 60,
            Self::Minute => 600,
            Self::TenMinutes => 3_600,
            Self::Hour | Self::Day => 86_400,
        };
        Duration::from_secs(self.reach().as_secs() + margin)
    }

    pub(crate) const fn coarser(self) -> Option<Self> {
        match self {
            Self::TenSeconds => Some(Self::Minute),
            Self::Minute => Some(Self::TenMinutes),
            Self::TenMinutes => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => None,
        }
    }

    /// A number of one byte for keys; finer tiers have lower numbers.
    pub const fn code(self) -> u8 {
        match self {
            Self::TenSeconds => 0,
            Self::Minute => 1,
            Self::TenMinutes => 2,
            Self::Hour => 3,
            Self::Day => 4,
        }
    }

    /// The tier of a [`code`](Self::code).
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::TenSeconds),
            1 => Some(Self::Minute),
            2 => Some(Self::TenMinutes),
            3 => Some(Self::Hour),
            4 => Some(Self::Day),
            _ => None,
        }
    }
}

/// One bucket of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BucketKey {
    /// Whose bucket.
    pub series: SeriesId,
    /// How wide it is.
    pub tier: Tier,
    /// Its first second since the epoch; a multiple of the width.
    pub start: u64,
}

/// Half-open span of whole buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First second.
    pub from: u64,
    /// First second after it.
    pub to: u64,
}

impl Window {
    /// The last `length` up to and including the bucket that holds `now`.
    pub fn ending(now: Timestamp, length: Duration) -> Self {
        let to = next_bucket(now);
        Self { from: to.saturating_sub(length.as_secs()), to }
    }
}

fn next_bucket(now: Timestamp) -> u64 {
    let width = Tier::TenSeconds.seconds();
    floor(now.seconds(), width).saturating_add(width)
}

pub(crate) const fn floor(seconds: u64, width: u64) -> u64 {
    seconds - seconds % width
}

/// The edge of a window, rounded down to the finest tier that reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) seconds: u64,
    pub(crate) tier: Tier,
}

/// A span widened to whole buckets of the finest tiers that reach its edges. What was counted in it is then in it for ever,
/// though buckets of its time get coarser.
pub(crate) fn outward(span: Window, now: Timestamp) -> Window {
    let (from, to) = (edge(span.from, now), edge(span.to, now));
    let up = if to.seconds < span.to { to.tier.seconds() } else { 0 };
    Window { from: from.seconds, to: to.seconds + up }
}

pub(crate) fn edge(seconds: u64, now: Timestamp) -> Edge {
    let age = next_bucket(now).saturating_sub(seconds);
    let tier = Tier::reaching(Duration::from_secs(age));
    Edge { seconds: floor(seconds, tier.seconds()), tier }
}
