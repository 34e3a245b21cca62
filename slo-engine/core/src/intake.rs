//! From the points of one stream to increments.
//!
//! What enters is a point and what is known of its stream; what leaves is the stream's next state and the events that the
//! point adds, or the reason why it adds none. The rules:
//!
//! - **Cumulative.** The increment is the difference to the last point. A later start time, or a value that dropped
//!   although the point is newer, is a reset: everything since the start counts. An older or equal time is a repeat or
//!   out of order and adds nothing, for the newer point already held it.
//! - **First point of a cumulative stream.** It counts in full when that is known to have happened on our watch: when its
//!   start lies after our [horizon](Background::horizon), or when its sender's export before this one was taken and did
//!   not hold it, so it was zero then. Otherwise it may be years of history and is only the baseline. Without a start
//!   time, or with one equal to the point's time ("unknown start" in OTLP), it is the baseline.
//! - **Delta.** Every point counts once, told apart by start and time.
//! - A point without a recorded value changes nothing.

pub use crate::measured::{Level, Measured, Rejected};

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// How far ahead of our clock a point may be.
pub const FUTURE_TOLERANCE: Duration = Duration::from_secs(300);
/// Delta points remembered per stream to recognise repeats.
const REMEMBERED_DELTAS: usize = 64;
/// Two points of one sender closer than this belong to the same export.
const SAME_EXPORT: Duration = Duration::from_secs(1);

/// Whether points hold everything since the start or what came since the point before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Temporality {
    /// Everything since the start time.
    Cumulative,
    /// What came between start time and time.
    Delta,
}

/// One data point of a monotonic sum or a histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// How to read the value.
    pub temporality: Temporality,
    /// `start_time_unix_nano`; `None` when it is zero.
    pub start: Option<Timestamp>,
    /// `time_unix_nano`.
    pub time: Timestamp,
    /// The value; `None` when the point carries the flag NO_RECORDED_VALUE.
    pub value: Option<Measured>,
}

/// What became of a point that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Taken {
    /// It moved the stream on; the increment may be zero.
    Counted,
    /// As `Counted`, and the stream had started anew.
    Reset,
    /// First point of a stream whose past is not ours to count.
    Baseline,
    /// Seen before.
    Duplicate,
    /// Older than a point that was taken; nothing in it is missing.
    OutOfOrder,
    /// The flag NO_RECORDED_VALUE.
    NoRecordedValue,
}

impl Taken {
    /// A short stable word for a metric attribute.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counted => "counted",
            Self::Reset => "reset",
            Self::Baseline => "baseline",
            Self::Duplicate => "duplicate",
            Self::OutOfOrder => "out_of_order",
            Self::NoRecordedValue => "no_recorded_value",
        }
    }
}

/// Events that happened after `from`, up to `until`.
#[derive(Clone, Debug, PartialEq)]
pub struct Increment {
    /// Time of the point before, or the start.
    pub from: Timestamp,
    /// Time of the point.
    pub until: Timestamp,
    /// The events.
    pub amount: Measured,
}

/// Increments over a longer span are spread over it rather than piled up at its end.
const SPREAD_BEYOND: Duration = Duration::from_secs(60);
/// Most parts that one increment is cut into.
const MOST_PARTS: u64 = 60;

impl Increment {
    /// Whether all of it lies at its end.
    pub(crate) fn is_instant(&self) -> bool {
        self.until.since(self.from) <= SPREAD_BEYOND
    }

    /// The events with a time each. An export interval up to a minute lies at its end. A longer span (the engine or the
    /// network was away) is spread evenly over at most 60 steps, so that what happened over an hour does not look like
    /// the last ten seconds. The parts always add up to the whole.
    pub fn parts(&self) -> Vec<(Timestamp, Measured)> {
        let span = self.until.since(self.from);
        if self.is_instant() {
            return vec![(self.until, self.amount.clone())];
        }
        let count = (span.as_secs() / 10).clamp(1, MOST_PARTS);
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        (1..=count)
            .map(|part| {
                let amount = self
                    .amount
                    .map_counts(|whole| portion(whole, part, count) - portion(whole, part - 1, count));
                let back = Duration::from_nanos(nanoseconds - portion(nanoseconds, part, count));
                (self.until.before(back), amount)
            })
            .filter(|(_, amount)| amount.total() > 0)
            .collect()
    }
}

/// `whole * part / count`, rounded down.
fn portion(whole: u64, part: u64, count: u64) -> u64 {
    u64::try_from(u128::from(whole) * u128::from(part) / u128::from(count.max(1))).unwrap_or(u64::MAX)
}

/// What is remembered of a stream. Saved together with the counts that it led to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum StreamState {
    /// The last point of a cumulative stream.
    Cumulative {
        /// Start time, when the sender gives one.
        start: Option<Timestamp>,
        /// Time of the point.
        time: Timestamp,
        /// Its value.
        value: Measured,
    },
    /// The delta points that were counted lately.
    Delta {
        /// Start (the epoch when there is none) and time of each, oldest arrival first.
        recent: VecDeque<(Timestamp, Timestamp)>,
        /// Latest time among those no longer remembered.
        forgotten: Timestamp,
    },
}

impl StreamState {
    /// Time of the latest point.
    pub fn time(&self) -> Timestamp {
        match self {
            Self::Cumulative { time, .. } => *time,
            Self::Delta { recent, forgotten } => {
                recent.iter().map(|(_, time)| *time).max().unwrap_or(*forgotten).max(*forgotten)
            }
        }
    }
}

/// What is known besides the stream itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Background {
    /// Nothing that began after this time can have been counted before and forgotten: the time of the first start on
    /// this state, or the age at which idle streams are forgotten, whichever is later.
    pub horizon: Timestamp,
    /// Time of the same sender's export before the one that the point belongs to.
    pub previous_export: Option<Timestamp>,
}

/// When a sender was heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceState {
    /// Time of the export before the latest.
    pub previous: Option<Timestamp>,
    /// Time of the latest export.
    pub latest: Timestamp,
}

impl SourceState {
    /// The export before the one that holds a point of this time.
    pub fn before(&self, time: Timestamp) -> Option<Timestamp> {
        let before = if time.since(self.latest) > SAME_EXPORT { Some(self.latest) } else { self.previous };
        // A late point may belong to an export older than any that is remembered.
        before.filter(|before| *before < time)
    }

    /// Notes a point of this time.
    #[must_use]
    pub fn noted(self, time: Timestamp) -> Self {
        if time.since(self.latest) > SAME_EXPORT {
            Self { previous: Some(self.latest), latest: time }
        } else {
            self
        }
    }
}

/// How far a stream moves on, and what that counts for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Advance {
    /// The next point of a cumulative stream.
    Cumulative {
        /// Start time, when the sender gives one.
        start: Option<Timestamp>,
        /// Time of the point.
        time: Timestamp,
        /// Its value.
        value: Measured,
        /// The events that it adds.
        increment: Option<Increment>,
    },
    /// A delta point that was not seen before.
    Delta {
        /// Start and time.
        mark: (Timestamp, Timestamp),
        /// The events that it adds.
        increment: Option<Increment>,
    },
}

impl Advance {
    pub(crate) const fn increment(&self) -> Option<&Increment> {
        match self {
            Self::Cumulative { increment, .. } | Self::Delta { increment, .. } => increment.as_ref(),
        }
    }

    /// Whether it says more than a later time.
    pub(crate) fn is_news(&self, known: Option<&StreamState>) -> bool {
        match (self, known) {
            (
                Self::Cumulative { start, value, increment: None, .. },
                Some(StreamState::Cumulative { start: old_start, value: old, .. }),
            ) => start != old_start || value != old,
            _ => true,
        }
    }

    /// The state of the stream after it.
    pub(crate) fn after(self, known: Option<StreamState>) -> StreamState {
        match self {
            Self::Cumulative { start, time, value, .. } => StreamState::Cumulative { start, time, value },
            Self::Delta { mark, .. } => {
                let (recent, forgotten) = match known {
                    Some(StreamState::Delta { recent, forgotten }) => (recent, forgotten),
                    _ => (VecDeque::new(), Timestamp::EPOCH),
                };
                remember(recent, forgotten, mark)
            }
        }
    }
}

/// The outcome for a point that is not refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    /// What it was.
    pub(crate) taken: Taken,
    /// How the stream moves on, when it does.
    pub(crate) advance: Option<Advance>,
}

impl Step {
    const fn nothing(taken: Taken) -> Self {
        Self { taken, advance: None }
    }
}

/// Takes one point of one stream.
///
/// # Errors
/// When the point cannot be counted; the state stays as it was.
pub(crate) fn advance(
    known: Option<&StreamState>,
    background: Background,
    point: &Point,
    now: Timestamp,
) -> Result<Step, Rejected> {
    let Some(value) = &point.value else {
        return Ok(Step::nothing(Taken::NoRecordedValue));
    };
    if point.time == Timestamp::EPOCH {
        return Err(Rejected::NoTime);
    }
    if point.start.is_some_and(|start| start > point.time) {
        return Err(Rejected::StartAfterTime);
    }
    if point.time > now.after(FUTURE_TOLERANCE) {
        return Err(Rejected::FromFuture);
    }
    match (point.temporality, known) {
        (Temporality::Cumulative, None) => Ok(first(background, point, value)),
        (Temporality::Cumulative, Some(StreamState::Cumulative { start, time, value: last })) => {
            next(Last { start: *start, time: *time, value: last }, background, point, value)
        }
        (Temporality::Delta, None) => Ok(counted_delta(point, value)),
        (Temporality::Delta, Some(StreamState::Delta { recent, forgotten })) => {
            delta(recent, *forgotten, point, value)
        }
        _ => Err(Rejected::TemporalityChanged),
    }
}

/// The first point of a cumulative stream.
fn first(background: Background, point: &Point, value: &Measured) -> Step {
    let start = point.start.filter(|start| *start < point.time);
    let from = match (start, background.previous_export) {
        (Some(start), Some(previous)) => Some(start.max(previous)),
        (Some(start), None) if start >= background.horizon => Some(start),
        _ => None,
    };
    match from {
        Some(from) => cumulative(Taken::Counted, point, value, increment(from, point, value.clone())),
        None => cumulative(Taken::Baseline, point, value, None),
    }
}

struct Last<'a> {
    start: Option<Timestamp>,
    time: Timestamp,
    value: &'a Measured,
}

/// A further point of a cumulative stream.
fn next(last: Last<'_>, background: Background, point: &Point, value: &Measured) -> Result<Step, Rejected> {
    if value.kind() != last.value.kind() {
        return Err(Rejected::KindChanged);
    }
    if point.time == last.time && point.start == last.start {
        return Ok(Step::nothing(Taken::Duplicate));
    }
    if point.time <= last.time {
        return Ok(Step::nothing(Taken::OutOfOrder));
    }
    if let (Some(new), Some(old)) = (point.start, last.start)
        && new < old
    {
        return Err(Rejected::OlderStart);
    }
    let restarted = matches!((point.start, last.start), (Some(new), Some(old)) if new > old);
    // A series that did not change is not saved at every export; its sender's exports tell how fresh it is.
    let seen =
        background.previous_export.map_or(last.time, |previous| previous.max(last.time)).min(point.time);
    if restarted {
        let from = point.start.unwrap_or(seen);
        if from == point.time {
            // "Unknown start": the point opens a new count whose past is not known.
            return Ok(cumulative(Taken::Baseline, point, value, None));
        }
        return Ok(cumulative(Taken::Reset, point, value, increment(from, point, value.clone())));
    }
    Ok(match value.since(last.value) {
        Some(amount) => cumulative(Taken::Counted, point, value, increment(seen, point, amount)),
        None => cumulative(Taken::Reset, point, value, increment(seen, point, value.clone())),
    })
}

fn delta(
    recent: &VecDeque<(Timestamp, Timestamp)>,
    forgotten: Timestamp,
    point: &Point,
    value: &Measured,
) -> Result<Step, Rejected> {
    let mark = (point.start.unwrap_or(Timestamp::EPOCH), point.time);
    if recent.contains(&mark) {
        return Ok(Step::nothing(Taken::Duplicate));
    }
    if point.time <= forgotten {
        return Err(Rejected::TooLateToTell);
    }
    Ok(counted_delta(point, value))
}

fn counted_delta(point: &Point, value: &Measured) -> Step {
    let mark = (point.start.unwrap_or(Timestamp::EPOCH), point.time);
    let increment = increment(point.start.unwrap_or(point.time), point, value.clone());
    Step { taken: Taken::Counted, advance: Some(Advance::Delta { mark, increment }) }
}

/// Remembers a delta point, and forgets the oldest beyond the bound.
fn remember(
    mut recent: VecDeque<(Timestamp, Timestamp)>,
    mut forgotten: Timestamp,
    mark: (Timestamp, Timestamp),
) -> StreamState {
    recent.push_back(mark);
    // The oldest by time goes, not the oldest by arrival: late points must not push out what still can repeat.
    while recent.len() > REMEMBERED_DELTAS {
        let oldest =
            recent.iter().enumerate().min_by_key(|(_, (_, time))| *time).map(|(position, _)| position);
        if let Some((_, time)) = oldest.and_then(|position| recent.remove(position)) {
            forgotten = forgotten.max(time);
        }
    }
    StreamState::Delta { recent, forgotten }
}

fn cumulative(taken: Taken, point: &Point, value: &Measured, increment: Option<Increment>) -> Step {
    let advance =
        Advance::Cumulative { start: point.start, time: point.time, value: value.clone(), increment };
    Step { taken, advance: Some(advance) }
}

fn increment(from: Timestamp, point: &Point, amount: Measured) -> Option<Increment> {
    (amount.total() > 0).then_some(Increment { from, until: point.time, amount })
}
