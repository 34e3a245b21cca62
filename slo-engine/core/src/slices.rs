//! Time slices (OpenSLO v1, `budgetingMethod: Timeslices` and `RatioTimeslices`): how good each slice of an objective was.
//!
//! A slice is judged once it is over, from counts that no longer grow, and judged anew while late data may still come. A
//! slice without events has no say. Slices are kept per objective rather than per series, because fine buckets do not
//! last for a month; what an objective counts and the length of its slices name the book, so that an edited objective
//! begins a new one, filled as far back as buckets of the right width reach.

use crate::bucket::{Tier, Window, floor};
use crate::burn::Tally;
use crate::objective::{Budgeting, Objective};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;
/// Late data changes a slice that ended up to so long ago.
pub const LATENESS: Duration = Duration::from_secs(2 * 3_600);

/// Slices of one objective.
#[derive(Clone, Debug)]
pub struct SliceBook {
    id: BookId,
    slice: u64,
    days: BTreeMap<u64, Vec<Option<f32>>>,
    changed: BTreeSet<u64>,
    /// End of the last slice that was looked at since the start.
    judged_to: Option<u64>,
}

/// Names a book: the first 16 bytes of SHA-256 over the objective's name, what it counts and the length of its slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BookId(pub [u8; 16]);

impl BookId {
    /// The book of an objective; `None` when it counts occurrences.
    pub fn of(objective: &Objective) -> Option<(Self, Duration)> {
        let crate::objective::Goal::Share { budgeting, .. } = objective.goal else { return None };
        let slice = budgeting.slice()?;
        let mut hash = Sha256::new();
        hash.update(b"pqscope slices 1");
        hash.update(objective.name.as_bytes());
        hash.update([0]);
        // Derived text of plain data: the same for the same indicator.
        hash.update(format!("{:?}", objective.sli).as_bytes());
        hash.update(slice.as_secs().to_be_bytes());
        let mut id = [0; 16];
        id.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
        Some((Self(id), slice))
    }
}

/// The slices of one day of UTC, as they are kept: share of good events, `None` without events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceDay {
    /// Whose.
    pub book: BookId,
    /// Days since the epoch.
    pub day: u64,
    /// One entry per slice, from midnight.
    pub shares: Vec<Option<f32>>,
}

impl SliceBook {
    /// An empty book. `slice` divides a day and is a whole number of ten seconds.
    pub fn new(id: BookId, slice: Duration) -> Self {
        Self {
            id,
            slice: slice.as_secs().max(1),
            days: BTreeMap::new(),
            changed: BTreeSet::new(),
            judged_to: None,
        }
    }

    /// Its name.
    pub const fn id(&self) -> BookId {
        self.id
    }

    /// Puts back a day. One of another length is of no use and left out.
    pub fn restore(&mut self, day: SliceDay) {
        if day.shares.len() == self.per_day() {
            self.days.insert(day.day, day.shares);
        }
    }

    fn per_day(&self) -> usize {
        usize::try_from(DAY_SECONDS / self.slice).unwrap_or(0)
    }

    /// Judges the slices that are over. `share` gives the share of good events in a span, `None` without events.
    pub fn advance(&mut self, now: Timestamp, keep: Duration, share: impl Fn(Window) -> Option<f64>) {
        let end = floor(now.seconds(), self.slice);
        let retold = end.saturating_sub(LATENESS.as_secs().next_multiple_of(self.slice));
        let first = match self.judged_to {
            Some(judged_to) => judged_to.min(retold),
            None if self.days.is_empty() => self.reach(now, keep),
            None => self.first_unknown().min(retold),
        };
        let mut from = floor(first, self.slice);
        while from + self.slice <= end {
            self.set(from, share(Window { from, to: from + self.slice }));
            from += self.slice;
        }
        self.judged_to = Some(end);
        let oldest = now.before(keep).seconds() / DAY_SECONDS;
        while let Some(entry) = self.days.first_entry().filter(|entry| *entry.key() < oldest) {
            self.changed.insert(*entry.key());
            entry.remove();
        }
    }

    /// How far back buckets of a width that divides a slice reach.
    fn reach(&self, now: Timestamp, keep: Duration) -> u64 {
        let exact = Tier::ALL.into_iter().filter(|tier| self.slice.is_multiple_of(tier.seconds()));
        let reach = exact.map(Tier::reach).max().unwrap_or(LATENESS).min(keep);
        // Not quite to the end of the reach, where an edge is rounded already.
        now.before(reach).seconds().next_multiple_of(self.slice) + self.slice
    }

    /// Begin of the first slice that was never looked at.
    fn first_unknown(&self) -> u64 {
        let last = self.days.last_key_value();
        last.map_or(0, |(day, shares)| {
            let known = shares.iter().rposition(Option::is_some).map_or(0, |position| position as u64 + 1);
            day * DAY_SECONDS + known * self.slice
        })
    }

    fn set(&mut self, from: u64, share: Option<f64>) {
        let (day, within) = (from / DAY_SECONDS, from % DAY_SECONDS / self.slice);
        let per_day = self.per_day();
        let shares = self.days.entry(day).or_insert_with(|| vec![None; per_day]);
        if let Some(slot) = usize::try_from(within).ok().and_then(|within| shares.get_mut(within)) {
            let share = share.map(narrowed);
            if *slot != share {
                *slot = share;
                self.changed.insert(day);
            }
        }
    }

    /// Slices of the last `length`, up to the last one that is over; at least one.
    pub fn tally_last(&self, budgeting: Budgeting, now: Timestamp, length: Duration) -> Tally {
        self.tally(budgeting, self.last(now, length))
    }

    /// The span of the last `length` in whole slices, up to the last one that is over; at least one.
    pub(crate) fn last(&self, now: Timestamp, length: Duration) -> Window {
        let to = floor(now.seconds(), self.slice);
        let length = length.as_secs().next_multiple_of(self.slice).max(self.slice);
        Window { from: to.saturating_sub(length), to }
    }

    /// A span in whole slices, those at its ends with it.
    pub(crate) fn around(&self, span: Window) -> Window {
        Window { from: floor(span.from, self.slice), to: span.to.next_multiple_of(self.slice) }
    }

    /// Slices that begin within a window.
    pub fn tally(&self, budgeting: Budgeting, window: Window) -> Tally {
        let days = self.days.range(window.from / DAY_SECONDS..=window.to / DAY_SECONDS);
        let shares = days.flat_map(|(day, shares)| {
            let begin = day * DAY_SECONDS;
            shares.iter().zip(0_u64..).filter_map(move |(share, position)| {
                share.map(|share| (begin + position * self.slice, f64::from(share)))
            })
        });
        let inside = shares.filter(|(begin, _)| (window.from..window.to).contains(begin));
        let (mut good, mut total) = (0.0, 0.0);
        for (_, share) in inside {
            total += 1.0;
            good += match budgeting {
                // The kept share has 24 bits; a slice exactly at its target is good.
                Budgeting::Timeslices { slice_target, .. } => {
                    f64::from(u8::from(share >= slice_target - 1e-7))
                }
                Budgeting::RatioTimeslices { .. } | Budgeting::Occurrences => share,
            };
        }
        Tally::of_good_shares(good, total)
    }

    /// Days that changed, to be kept; `None` for one that is to be removed.
    pub fn take_changes(&mut self) -> Vec<(u64, Option<SliceDay>)> {
        let changed = std::mem::take(&mut self.changed);
        let day_of = |day: u64| {
            let shares = self.days.get(&day)?.clone();
            Some(SliceDay { book: self.id, day, shares })
        };
        changed.into_iter().map(|day| (day, day_of(day))).collect()
    }

    /// Marks all days as changed, for a disk that lost some of what it had.
    pub fn touch_all(&mut self) {
        let judged = self.days.iter().filter(|(_, shares)| shares.iter().any(Option::is_some));
        self.changed.extend(judged.map(|(day, _)| *day));
    }

    /// Takes back days that could not be kept.
    pub fn return_changes(&mut self, days: impl IntoIterator<Item = u64>) {
        self.changed.extend(days);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a share needs no more than 24 bits")]
const fn narrowed(share: f64) -> f32 {
    share as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60;
    const RULE: Budgeting = Budgeting::Timeslices { slice: Duration::from_secs(300), slice_target: 0.9 };

    fn book() -> SliceBook {
        SliceBook::new(BookId([1; 16]), Duration::from_secs(300))
    }

    #[test]
    fn a_slice_is_good_or_bad_as_a_whole() {
        let mut book = book();
        let begin = 1_800_000_000;
        let now = Timestamp::from_seconds(begin + 3_605);
        // Every third slice of the hour is bad, the first had no events.
        let share = |window: Window| match (window.from - (begin - 7_200)) / 300 {
            0 => None,
            number if number % 3 == 0 => Some(0.89),
            _ => Some(0.9),
        };
        book.advance(now, Duration::from_secs(86_400), |window| {
            (window.from >= begin - 7_200).then(|| share(window)).flatten()
        });
        let hour = book.tally_last(RULE, now, Duration::from_secs(3_600));
        assert_eq!((hour.good, hour.bad, hour.total), (8.0, 4.0, 12.0));
        // The slice that is not over has no say, and a window shorter than a slice is one slice.
        assert_eq!(book.tally_last(RULE, now, Duration::from_secs(MINUTE)).total, 1.0);
    }

    #[test]
    fn the_ratio_of_slices_weighs_each_the_same() {
        let mut book = book();
        let now = Timestamp::from_seconds(1_800_000_600);
        book.advance(now, Duration::from_secs(86_400), |window| {
            (window.from >= 1_800_000_000).then_some(if window.from == 1_800_000_000 { 0.5 } else { 1.0 })
        });
        let rule = Budgeting::RatioTimeslices { slice: Duration::from_secs(300) };
        assert_eq!(book.tally_last(rule, now, Duration::from_secs(600)), Tally::of_good_shares(1.5, 2.0));
    }

    #[test]
    fn late_data_judges_a_slice_anew_and_a_restart_keeps_what_was_judged() {
        let mut old = book();
        let begin = 1_800_000_000;
        let now = Timestamp::from_seconds(begin + 1_000);
        let only_first = |share: f64| move |window: Window| (window.from == begin).then_some(share);
        old.advance(now, Duration::from_secs(86_400), only_first(1.0));
        let mut new = book();
        for (_, day) in old.take_changes() {
            new.restore(day.unwrap());
        }
        assert_eq!(new.take_changes(), vec![]);
        assert_eq!(new.tally_last(RULE, now, Duration::from_secs(3_600)).good, 1.0);
        new.advance(now.after(Duration::from_secs(600)), Duration::from_secs(86_400), only_first(0.5));
        assert_eq!(new.tally_last(RULE, now, Duration::from_secs(3_600)).bad, 1.0);
        assert_eq!(new.take_changes().len(), 1);
        // Beyond the lateness a slice stays as it was judged.
        new.advance(now.after(Duration::from_secs(9_000)), Duration::from_secs(86_400), only_first(1.0));
        assert_eq!(new.tally(RULE, Window { from: begin, to: begin + 300 }).bad, 1.0);
    }

    #[test]
    fn old_days_go() {
        let mut book = book();
        let begin = 1_800_000_000 - 1_800_000_000 % DAY_SECONDS;
        for day in 0..4 {
            let now = Timestamp::from_seconds(begin + day * DAY_SECONDS + 600);
            book.advance(now, Duration::from_secs(2 * DAY_SECONDS), |_| Some(1.0));
        }
        assert!(book.days.len() <= 3, "{}", book.days.len());
        assert!(book.take_changes().iter().any(|(_, day)| day.is_none()));
    }
}
