//! The buckets of one series in all tiers, and what of them is to be saved.

use super::Tier;
use crate::bucket::{Edge, floor};
use crate::distribution::Distribution;
use crate::intake::{Level, Measured};
use crate::measured::Kind;
use crate::series::{Series, SeriesId};
use crate::time::Timestamp;
use crate::track::{Counts, Sparse, number};
use crate::wire::Reader;
use std::sync::Arc;

/// Buckets per saved block, by tier: a block is written anew whenever one of its buckets changed, so the busy ones are
/// short. A distribution takes more bytes than a count, hence fewer to a block: values of the store must stay small.
const BLOCK_BUCKETS: [u32; 5] = [60, 60, 72, 84, 64];
const BLOCK_DISTRIBUTIONS: u32 = 6;

/// Blocks of a series.
pub(crate) type Blocks = Vec<(Tier, u32)>;

/// One row per tier.
pub(crate) enum Rows {
    Counts(Box<[Counts; 5]>),
    /// Encoded: a histogram takes a tenth of the memory that way, and is read far less often than written.
    Distributions(Box<[Sparse<Box<[u8]>>; 5]>),
    Levels(Box<[Sparse<Level>; 5]>),
}

/// One series.
pub(crate) struct Account {
    pub(crate) id: SeriesId,
    pub(crate) series: Arc<Series>,
    pub(crate) rows: Rows,
    /// When any stream of it was last heard of, on our clock, since the start.
    pub(crate) heard: Option<Timestamp>,
    /// Whether it differs from what was saved.
    pub(crate) dirty: bool,
    /// Whether it was never saved.
    pub(crate) is_new: bool,
    /// Blocks that differ from what was saved, by tier.
    dirty_blocks: [Vec<u32>; 5],
    /// Blocks that may be on disk, by tier.
    saved: [Vec<u32>; 5],
    /// First buckets that are not expired, by tier.
    oldest: [u32; 5],
}

/// The buckets of one block.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Row {
    Counts(Vec<(u32, u64)>),
    Distributions(Vec<(u32, Box<[u8]>)>),
    Levels(Vec<(u32, Level)>),
}

fn at(tier: Tier) -> usize {
    usize::from(tier.code())
}

fn row<T>(rows: &[T; 5], tier: Tier) -> Option<&T> {
    rows.get(at(tier))
}

impl Account {
    pub(crate) fn new(id: SeriesId, series: Arc<Series>, kind: Kind) -> Self {
        let rows = match kind {
            Kind::Count => Rows::Counts(Box::default()),
            Kind::Distribution => Rows::Distributions(Box::default()),
            Kind::Level => Rows::Levels(Box::default()),
        };
        Self {
            id,
            series,
            rows,
            heard: None,
            dirty: false,
            is_new: true,
            dirty_blocks: Default::default(),
            saved: Default::default(),
            oldest: [0; 5],
        }
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self.rows {
            Rows::Counts(_) => Kind::Count,
            Rows::Distributions(_) => Kind::Distribution,
            Rows::Levels(_) => Kind::Level,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match &self.rows {
            Rows::Counts(rows) => rows.iter().all(Counts::is_empty),
            Rows::Distributions(rows) => rows.iter().all(Sparse::is_empty),
            Rows::Levels(rows) => rows.iter().all(Sparse::is_empty),
        }
    }

    /// Adds to the bucket of a time in every tier.
    pub(crate) fn add(&mut self, time: Timestamp, amount: &Measured) {
        if let Measured::Count(0) = amount {
            return;
        }
        for tier in Tier::ALL {
            let number = number(tier, time.seconds());
            self.add_to(tier, number, amount);
            if self.oldest.get(at(tier)).is_some_and(|oldest| number < *oldest) {
                continue;
            }
            let block = number / self.block_buckets(tier);
            if let Some(dirty) = self.dirty_blocks.get_mut(at(tier))
                && dirty.last() != Some(&block)
                && !dirty.contains(&block)
            {
                dirty.push(block);
            }
        }
    }

    fn add_to(&mut self, tier: Tier, number: u32, amount: &Measured) {
        match (&mut self.rows, amount) {
            (Rows::Counts(rows), Measured::Count(count)) => {
                if let Some(row) = rows.get_mut(at(tier)) {
                    row.add(number, *count);
                }
            }
            (Rows::Distributions(rows), Measured::Distribution(sizes)) => {
                if let Some(row) = rows.get_mut(at(tier)) {
                    row.add(number, encoded(sizes), |held, _| {
                        let mut sum = decoded(held);
                        sum.add(sizes);
                        *held = encoded(&sum);
                    });
                }
            }
            (Rows::Levels(rows), Measured::Level(level)) => {
                if let Some(row) = rows.get_mut(at(tier)) {
                    row.add(number, *level, |held, more| {
                        if more.at >= held.at {
                            *held = more;
                        }
                    });
                }
            }
            _ => {}
        }
    }

    pub(crate) fn bucket(&self, tier: Tier, number: u32) -> Option<Measured> {
        let mut sum = None;
        self.join(tier, number, number.saturating_add(1), &mut sum);
        sum
    }

    /// The edge in the finest tier that holds it: where fine buckets were shed before their time, a coarser one answers.
    fn held(&self, edge: Edge) -> Edge {
        let holds = |tier: &Tier| {
            let oldest = self.oldest.get(at(*tier)).copied().unwrap_or(0);
            number(*tier, edge.seconds) >= oldest
        };
        let tiers = Tier::ALL.into_iter().filter(|tier| *tier >= edge.tier);
        match tiers.into_iter().find(holds) {
            Some(tier) => Edge { seconds: floor(edge.seconds, tier.seconds()), tier },
            None => Edge { seconds: floor(edge.seconds, Tier::Day.seconds()), tier: Tier::Day },
        }
    }

    /// Events between two edges, each on the grid of the finest tier that reaches it.
    pub(crate) fn count(&self, from: Edge, to: Edge) -> u64 {
        match &self.rows {
            Rows::Counts(rows) if from.seconds < to.seconds => {
                let before = |edge: Edge| {
                    let edge = self.held(edge);
                    row(rows, edge.tier).map_or(0, |row| row.before(number(edge.tier, edge.seconds)))
                };
                before(to).wrapping_sub(before(from))
            }
            Rows::Distributions(_) => self.sum(from, to).map_or(0, |sum| sum.total()),
            Rows::Counts(_) | Rows::Levels(_) => 0,
        }
    }

    pub(crate) fn sum(&self, from: Edge, to: Edge) -> Option<Measured> {
        if let Rows::Counts(_) = self.rows {
            return Some(self.count(from, to)).filter(|count| *count > 0).map(Measured::Count);
        }
        let (from, to) = (self.held(from), self.held(to));
        let mut sum = None;
        self.join_range(Tier::TenSeconds, from.seconds, to.seconds, &mut sum);
        sum
    }

    /// Joins the buckets of `[from, to)`, whole buckets of `tier`, taking coarser ones where they fit.
    fn join_range(&self, tier: Tier, from: u64, to: u64, sum: &mut Option<Measured>) {
        if from >= to {
            return;
        }
        if let Some(coarser) = tier.coarser() {
            let width = coarser.seconds();
            let (inner_from, inner_to) = (from.next_multiple_of(width), floor(to, width));
            if inner_from < inner_to {
                self.join(tier, number(tier, from), number(tier, inner_from), sum);
                self.join_range(coarser, inner_from, inner_to, sum);
                self.join(tier, number(tier, inner_to), number(tier, to), sum);
                return;
            }
        }
        self.join(tier, number(tier, from), number(tier, to), sum);
    }

    fn join(&self, tier: Tier, from: u32, to: u32, sum: &mut Option<Measured>) {
        self.each(tier, from, to, |_, amount| match sum {
            Some(sum) => {
                sum.add(&amount);
            }
            None => *sum = Some(amount),
        });
    }

    /// Visits the buckets with numbers in `[from, to)`.
    fn each(&self, tier: Tier, from: u32, to: u32, mut visit: impl FnMut(u32, Measured)) {
        match &self.rows {
            Rows::Counts(rows) => {
                let buckets = row(rows, tier).into_iter().flat_map(|row| row.range(from, to));
                buckets.for_each(|(number, count)| visit(number, Measured::Count(count)));
            }
            Rows::Distributions(rows) => {
                let buckets = row(rows, tier).into_iter().flat_map(|row| row.range(from, to));
                buckets.for_each(|(number, bytes)| visit(number, decoded(bytes).into()));
            }
            Rows::Levels(rows) => {
                let buckets = row(rows, tier).into_iter().flat_map(|row| row.range(from, to));
                buckets.for_each(|(number, level)| visit(number, Measured::Level(*level)));
            }
        }
    }

    /// All events of a counter, those of expired buckets included; none of other kinds.
    pub(crate) fn total(&self) -> u64 {
        match &self.rows {
            Rows::Counts(rows) => row(rows, Tier::Day).map_or(0, Counts::all),
            Rows::Distributions(_) | Rows::Levels(_) => 0,
        }
    }

    /// Everything, in the finest buckets that have all of what a coarser one holds.
    pub(crate) fn history(&self) -> Vec<(Timestamp, Measured)> {
        let mut parts = Vec::new();
        for (end, amount) in self.parts(Tier::Day, 0, u32::MAX) {
            self.expand(Tier::Day, end, amount, &mut parts);
        }
        parts
    }

    fn expand(&self, tier: Tier, end: Timestamp, amount: Measured, parts: &mut Vec<(Timestamp, Measured)>) {
        let finer = Tier::ALL.into_iter().rev().find(|finer| *finer < tier);
        let Some(finer) = finer else {
            parts.push((end, amount));
            return;
        };
        let (from, to) = (number(finer, end.seconds() - tier.seconds()), number(finer, end.seconds()));
        let inner = self.parts(finer, from, to);
        let whole: u64 = inner.iter().map(|(_, part)| part.total()).sum();
        if inner.is_empty() || whole != amount.total() {
            parts.push((end, amount));
            return;
        }
        for (end, part) in inner {
            self.expand(finer, end, part, parts);
        }
    }

    /// The buckets with numbers in `[from, to)`, each with its end.
    fn parts(&self, tier: Tier, from: u32, to: u32) -> Vec<(Timestamp, Measured)> {
        let end = |number: u32| Timestamp::from_seconds((u64::from(number) + 1) * tier.seconds());
        let mut parts = Vec::new();
        self.each(tier, from, to, |number, amount| parts.push((end(number), amount)));
        parts
    }

    /// A copy of the buckets with numbers in `[from, to)`.
    pub(crate) fn row(&self, tier: Tier, from: u32, to: u32) -> Row {
        match &self.rows {
            Rows::Counts(rows) => {
                Row::Counts(row(rows, tier).map_or_else(Vec::new, |row| row.range(from, to).collect()))
            }
            Rows::Distributions(rows) => Row::Distributions(row(rows, tier).map_or_else(Vec::new, |row| {
                row.range(from, to).map(|(number, bytes)| (number, bytes.clone())).collect()
            })),
            Rows::Levels(rows) => Row::Levels(row(rows, tier).map_or_else(Vec::new, |row| {
                row.range(from, to).map(|(number, level)| (number, *level)).collect()
            })),
        }
    }

    pub(crate) fn level_at(&self, finest: Tier, time: Timestamp) -> Option<Level> {
        let Rows::Levels(rows) = &self.rows else { return None };
        Tier::ALL.into_iter().filter(|tier| *tier >= finest).find_map(|tier| {
            let upto = number(tier, time.seconds()).saturating_add(1);
            let held = row(rows, tier)?.range(0, upto).rev();
            held.map(|(_, level)| *level).find(|level| level.at <= time)
        })
    }

    pub(crate) fn first_level(&self) -> Option<Level> {
        let Rows::Levels(rows) = &self.rows else { return None };
        let first = |row: &Sparse<Level>| row.range(0, u32::MAX).next().map(|(_, level)| *level);
        rows.iter().filter_map(first).min_by_key(|level| level.at)
    }

    /// When counting began: the first bucket of the finest tier whose older buckets cannot have gone.
    pub(crate) fn began(&self, now: Timestamp) -> Option<Timestamp> {
        let first = |tier: Tier| {
            let number = match &self.rows {
                Rows::Counts(rows) => row(rows, tier)?.numbers().front(),
                Rows::Distributions(rows) => row(rows, tier)?.numbers().front(),
                Rows::Levels(rows) => row(rows, tier)?.numbers().front(),
            };
            number.map(|number| (tier, u64::from(*number) * tier.seconds()))
        };
        let mut oldest = None;
        for (tier, start) in Tier::ALL.into_iter().filter_map(first) {
            oldest = Some(Timestamp::from_seconds(start));
            if start > now.before(tier.retention()).seconds().saturating_add(2 * tier.seconds()) {
                break;
            }
        }
        oldest
    }

    /// Drops buckets beyond their retention; says whether that leaves blocks on disk that should go.
    pub(crate) fn expire(&mut self, now: Timestamp) -> bool {
        let mut stale = false;
        for tier in Tier::ALL {
            let oldest = now.before(tier.retention()).seconds().div_ceil(tier.seconds());
            stale |= self.drop_before(tier, u32::try_from(oldest).unwrap_or(u32::MAX));
        }
        stale
    }

    /// Drops fine buckets before their time: each step halves what the finest tiers keep, and goes one tier further.
    pub(crate) fn shed(&mut self, now: Timestamp, step: u32) -> bool {
        let mut stale = false;
        for (tier, before) in Tier::ALL.into_iter().zip(0_u32..) {
            let halvings = step.saturating_sub(before).min(8);
            if halvings > 0 {
                let kept = std::time::Duration::from_secs(tier.reach().as_secs() >> halvings);
                let oldest = now.before(kept).seconds() / tier.seconds();
                stale |= self.drop_before(tier, u32::try_from(oldest).unwrap_or(u32::MAX));
            }
        }
        stale
    }

    /// First buckets that are not expired, by tier.
    pub(crate) const fn oldest(&self) -> [u32; 5] {
        self.oldest
    }

    /// Drops the buckets of a tier below a number; says whether that leaves blocks on disk that should go.
    pub(crate) fn drop_before(&mut self, tier: Tier, oldest: u32) -> bool {
        match &mut self.rows {
            Rows::Counts(rows) => {
                if let Some(row) = rows.get_mut(at(tier)) {
                    row.expire(oldest);
                }
            }
            Rows::Distributions(rows) => {
                if let Some(row) = rows.get_mut(at(tier)) {
                    row.expire(oldest);
                }
            }
            Rows::Levels(rows) => {
                if let Some(row) = rows.get_mut(at(tier)) {
                    row.expire(oldest);
                }
            }
        }
        if let Some(held) = self.oldest.get_mut(at(tier)) {
            *held = (*held).max(oldest);
        }
        let block = oldest / self.block_buckets(tier);
        self.saved.get(at(tier)).is_some_and(|saved| saved.iter().any(|held| *held < block))
    }

    pub(crate) const fn block_buckets(&self, tier: Tier) -> u32 {
        if let Rows::Distributions(_) = self.rows {
            return BLOCK_DISTRIBUTIONS;
        }
        match tier {
            Tier::TenSeconds => BLOCK_BUCKETS[0],
            Tier::Minute => BLOCK_BUCKETS[1],
            Tier::TenMinutes => BLOCK_BUCKETS[2],
            Tier::Hour => BLOCK_BUCKETS[3],
            Tier::Day => BLOCK_BUCKETS[4],
        }
    }

    /// Blocks that are to be written, and blocks that are to be deleted; they count as saved from now on.
    pub(crate) fn take_dirty_blocks(&mut self) -> (Blocks, Blocks) {
        let (mut changed, mut stale) = (Vec::new(), Vec::new());
        for tier in Tier::ALL {
            let buckets = self.block_buckets(tier);
            let (Some(dirty), Some(saved), Some(oldest)) = (
                self.dirty_blocks.get_mut(at(tier)),
                self.saved.get_mut(at(tier)),
                self.oldest.get(at(tier)),
            ) else {
                continue;
            };
            let first = oldest / buckets;
            stale.extend(saved.iter().filter(|block| **block < first).map(|block| (tier, *block)));
            saved.retain(|block| *block >= first);
            for block in std::mem::take(dirty).into_iter().filter(|block| *block >= first) {
                if !saved.contains(&block) {
                    saved.push(block);
                }
                changed.push((tier, block));
            }
        }
        (changed, stale)
    }

    /// Marks blocks as to be written or deleted after all.
    pub(crate) fn return_blocks(&mut self, blocks: impl IntoIterator<Item = (Tier, u32)>) {
        for (tier, block) in blocks {
            for list in
                [self.dirty_blocks.get_mut(at(tier)), self.saved.get_mut(at(tier))].into_iter().flatten()
            {
                if !list.contains(&block) {
                    list.push(block);
                }
            }
        }
    }

    /// Blocks that may be on disk.
    pub(crate) fn saved_blocks(&self) -> Blocks {
        let tiers = Tier::ALL.into_iter().zip(&self.saved);
        tiers.flat_map(|(tier, blocks)| blocks.iter().map(move |block| (tier, *block))).collect()
    }

    /// Puts back a saved block; says whether it is of the kind of this series.
    pub(crate) fn restore(&mut self, tier: Tier, block: u32, buckets: Row) -> bool {
        match (&mut self.rows, buckets) {
            (Rows::Counts(rows), Row::Counts(buckets)) => {
                if let Some(row) = rows.get_mut(at(tier)) {
                    buckets.into_iter().for_each(|(number, count)| row.add(number, count));
                }
            }
            (Rows::Distributions(rows), Row::Distributions(buckets)) => {
                if let Some(row) = rows.get_mut(at(tier)) {
                    buckets
                        .into_iter()
                        .for_each(|(number, bytes)| row.add(number, bytes, |held, more| *held = more));
                }
            }
            (Rows::Levels(rows), Row::Levels(buckets)) => {
                if let Some(row) = rows.get_mut(at(tier)) {
                    buckets
                        .into_iter()
                        .for_each(|(number, level)| row.add(number, level, |held, more| *held = more));
                }
            }
            _ => return false,
        }
        if let Some(saved) = self.saved.get_mut(at(tier))
            && !saved.contains(&block)
        {
            saved.push(block);
        }
        true
    }

    /// Marks every block as changed: for a state that is written anew.
    pub(crate) fn touch_all(&mut self) {
        for tier in Tier::ALL {
            let buckets = self.block_buckets(tier);
            let numbers = match &self.rows {
                Rows::Counts(rows) => row(rows, tier).map(Counts::numbers),
                Rows::Distributions(rows) => row(rows, tier).map(Sparse::numbers),
                Rows::Levels(rows) => row(rows, tier).map(Sparse::numbers),
            };
            let mut blocks: Vec<u32> = numbers.into_iter().flatten().map(|number| number / buckets).collect();
            blocks.dedup();
            if let Some(dirty) = self.dirty_blocks.get_mut(at(tier)) {
                *dirty = blocks;
            }
        }
    }

    /// Once all blocks are back: the coarsest tier holds every event, so what a finer one lacks came before its buckets.
    pub(crate) fn settle(&mut self) {
        let Rows::Counts(rows) = &mut self.rows else { return };
        let all = row(rows, Tier::Day).map_or(0, Counts::all);
        rows.iter_mut().for_each(|row| row.shift(all.wrapping_sub(row.all())));
    }
}

fn encoded(sizes: &Distribution) -> Box<[u8]> {
    let mut bytes = Vec::new();
    sizes.encode(&mut bytes);
    bytes.into_boxed_slice()
}

fn decoded(bytes: &[u8]) -> Distribution {
    // Only what was encoded here, or checked when it was read back, is in a row.
    Distribution::decode(&mut Reader::new(bytes)).unwrap_or_default()
}
