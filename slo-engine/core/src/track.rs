//! The buckets of one series in one tier, as two dense rows: bucket numbers and what belongs to them.
//!
//! A bucket's number is its start divided by its width: four bytes, good until the year 3331.

use crate::bucket::Tier;
use std::collections::VecDeque;

/// Number of the bucket that holds a second.
pub(crate) fn number(tier: Tier, seconds: u64) -> u32 {
    u32::try_from(seconds / tier.seconds()).unwrap_or(u32::MAX)
}

/// Makes room for one more without doubling: thousands of rows that are half empty would be half the memory.
fn make_room<T>(row: &mut VecDeque<T>) {
    if row.len() == row.capacity() {
        row.reserve_exact(row.len() / 16 + 4);
    }
}

/// Gives back room that is left over after many were dropped.
fn give_back_room<T>(row: &mut VecDeque<T>) {
    let needed = row.len() + row.len() / 16 + 4;
    if row.capacity() > needed + needed / 4 {
        row.shrink_to(needed);
    }
}

/// Counts as running totals: the events of any span are one difference, however long the span.
///
/// Totals wrap; differences stay right as long as the span itself holds fewer than 2^64 events. Events before the first
/// bucket are in `base`, so that the totals of all tiers of a series are the same at the same time, and a span may end in
/// another tier than it begins in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    numbers: VecDeque<u32>,
    totals: VecDeque<u64>,
    base: u64,
    /// Buckets below this number were dropped; late events of that time go to the base.
    floor: u32,
}

impl Counts {
    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Adds events to a bucket, and so to the totals of all later ones.
    pub(crate) fn add(&mut self, number: u32, amount: u64) {
        if number < self.floor {
            self.shift(amount);
            return;
        }
        match (self.numbers.back(), self.totals.back_mut()) {
            (Some(last), Some(total)) if *last == number => *total = total.wrapping_add(amount),
            (Some(last), Some(total)) if *last < number => {
                let total = total.wrapping_add(amount);
                self.push(number, total);
            }
            (None, _) | (_, None) => self.push(number, self.base.wrapping_add(amount)),
            _ => self.add_late(number, amount),
        }
    }

    fn push(&mut self, number: u32, total: u64) {
        make_room(&mut self.numbers);
        make_room(&mut self.totals);
        self.numbers.push_back(number);
        self.totals.push_back(total);
    }

    fn add_late(&mut self, number: u32, amount: u64) {
        let position = self.numbers.partition_point(|held| *held < number);
        if self.numbers.get(position) != Some(&number) {
            let before = self.total_at(position);
            make_room(&mut self.numbers);
            make_room(&mut self.totals);
            self.numbers.insert(position, number);
            self.totals.insert(position, before);
        }
        self.totals.iter_mut().skip(position).for_each(|total| *total = total.wrapping_add(amount));
    }

    /// Events before the bucket at a position.
    fn total_at(&self, position: usize) -> u64 {
        position.checked_sub(1).and_then(|last| self.totals.get(last)).copied().unwrap_or(self.base)
    }

    /// Events before a bucket.
    pub(crate) fn before(&self, number: u32) -> u64 {
        // Most windows end now: behind the last bucket.
        let Some(later) = self.numbers.back().and_then(|last| last.checked_sub(number)) else {
            return self.all();
        };
        // A series that is busy all the time has every bucket, so the place of one follows from its number.
        let place = self.numbers.len().checked_sub(1 + later as usize);
        match place.filter(|place| self.numbers.get(*place) == Some(&number)) {
            Some(place) => self.total_at(place),
            None => self.total_at(self.numbers.partition_point(|held| *held < number)),
        }
    }

    /// All events there ever were.
    pub(crate) fn all(&self) -> u64 {
        self.totals.back().copied().unwrap_or(self.base)
    }

    /// Counts events that happened before all buckets.
    pub(crate) fn shift(&mut self, amount: u64) {
        self.base = self.base.wrapping_add(amount);
        self.totals.iter_mut().for_each(|total| *total = total.wrapping_add(amount));
    }

    /// Drops the buckets below a number.
    pub(crate) fn expire(&mut self, oldest: u32) {
        while self.numbers.front().is_some_and(|first| *first < oldest) {
            self.numbers.pop_front();
            if let Some(total) = self.totals.pop_front() {
                self.base = total;
            }
        }
        give_back_room(&mut self.numbers);
        give_back_room(&mut self.totals);
        self.floor = self.floor.max(oldest);
    }

    /// Buckets with numbers in `[from, to)` and their events.
    pub(crate) fn range(&self, from: u32, to: u32) -> impl Iterator<Item = (u32, u64)> + '_ {
        let first = self.numbers.partition_point(|held| *held < from);
        let mut before = self.total_at(first);
        let held = self.numbers.iter().zip(&self.totals).skip(first);
        held.take_while(move |(number, _)| **number < to).map(move |(number, total)| {
            let amount = total.wrapping_sub(before);
            before = *total;
            (*number, amount)
        })
    }

    pub(crate) fn numbers(&self) -> &VecDeque<u32> {
        &self.numbers
    }
}

/// Buckets that hold something of their own: distributions and levels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sparse<T> {
    numbers: VecDeque<u32>,
    values: VecDeque<T>,
    floor: u32,
}

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self { numbers: VecDeque::new(), values: VecDeque::new(), floor: 0 }
    }
}

impl<T> Sparse<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// Joins a value with that of a bucket, or begins the bucket with it. Nothing where buckets were dropped.
    pub(crate) fn add(&mut self, number: u32, value: T, join: impl FnOnce(&mut T, T)) {
        if number < self.floor {
            return;
        }
        let position = match self.numbers.back() {
            Some(last) if *last >= number => self.numbers.partition_point(|held| *held < number),
            _ => self.numbers.len(),
        };
        if self.numbers.get(position) == Some(&number) {
            if let Some(held) = self.values.get_mut(position) {
                join(held, value);
            }
            return;
        }
        make_room(&mut self.numbers);
        make_room(&mut self.values);
        self.numbers.insert(position, number);
        self.values.insert(position, value);
    }

    /// Drops the buckets below a number.
    pub(crate) fn expire(&mut self, oldest: u32) {
        while self.numbers.front().is_some_and(|first| *first < oldest) {
            self.numbers.pop_front();
            self.values.pop_front();
        }
        give_back_room(&mut self.numbers);
        give_back_room(&mut self.values);
        self.floor = self.floor.max(oldest);
    }

    /// Buckets with numbers in `[from, to)`, oldest first.
    pub(crate) fn range(&self, from: u32, to: u32) -> impl DoubleEndedIterator<Item = (u32, &T)> + '_ {
        let (first, end) = (self.place(from), self.place(to));
        let span = end.saturating_sub(first);
        let first = first.min(self.numbers.len());
        let numbers = self.numbers.range(first..first + span.min(self.numbers.len() - first));
        let values = self.values.range(first..first + span.min(self.values.len() - first));
        numbers.copied().zip(values)
    }

    fn place(&self, number: u32) -> usize {
        self.numbers.partition_point(|held| *held < number)
    }

    pub(crate) fn numbers(&self) -> &VecDeque<u32> {
        &self.numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(adds: &[(u32, u64)]) -> Counts {
        let mut counts = Counts::default();
        adds.iter().for_each(|(number, amount)| counts.add(*number, *amount));
        counts
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let sorted = counts(&[(3, 1), (5, 2), (9, 4)]);
        assert_eq!(counts(&[(9, 4), (3, 1), (5, 1), (5, 1)]), sorted);
        assert_eq!(sorted.before(9) - sorted.before(5), 2);
        assert_eq!(sorted.range(4, 10).collect::<Vec<_>>(), [(5, 2), (9, 4)]);
    }

    #[test]
    fn what_is_dropped_stays_in_the_totals() {
        let mut dropped = counts(&[(3, 1), (5, 2), (9, 4)]);
        dropped.expire(6);
        assert_eq!((dropped.all(), dropped.before(9)), (7, 3));
        dropped.add(4, 10);
        assert_eq!((dropped.all(), dropped.before(9)), (17, 13));
    }

    #[test]
    fn a_total_beyond_64_bits_leaves_later_spans_right() {
        let counts = counts(&[(1, u64::MAX), (2, 5), (3, 7)]);
        assert_eq!(counts.before(4).wrapping_sub(counts.before(2)), 12);
    }

    #[test]
    fn sparse_rows_join_and_keep_their_order() {
        let mut row = Sparse::default();
        for (number, value) in [(5, "b"), (2, "a"), (5, "c")] {
            row.add(number, value.to_owned(), |held, more| held.push_str(&more));
        }
        let all: Vec<(u32, &String)> = row.range(0, 9).collect();
        assert_eq!(all, [(2, &"a".to_owned()), (5, &"bc".to_owned())]);
        row.expire(3);
        row.add(1, "z".to_owned(), |_, _| {});
        assert_eq!(row.numbers(), &VecDeque::from([5]));
    }
}
