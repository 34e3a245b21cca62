//! The series of one metric, within a bound.

use super::{Attributes, Family, Series, SeriesValue};
use crate::time::Timestamp;
use pqscope_telemetry::attribute;
use pqscope_telemetry::metric::Metric;
use std::collections::{BTreeMap, BTreeSet};

/// A set of names that stops growing.
#[derive(Debug)]
pub(super) struct BoundedSet<T> {
    seen: BTreeSet<T>,
    bound: usize,
}

impl<T: Ord + Clone> BoundedSet<T> {
    pub(super) fn new(bound: usize) -> Self {
        Self { seen: BTreeSet::new(), bound }
    }

    /// Forgets every value that is not among these.
    pub(super) fn keep(&mut self, values: impl Iterator<Item = T>) {
        self.seen = values.collect();
    }

    /// The value itself where it is known or there is room for it.
    pub(super) fn admit(&mut self, value: &T) -> Option<T> {
        if let Some(known) = self.seen.get(value) {
            return Some(known.clone());
        }
        let room = self.seen.len() < self.bound;
        room.then(|| {
            self.seen.insert(value.clone());
            value.clone()
        })
    }
}

/// The labels of a series as they are exported.
pub(super) trait Labels {
    fn attributes(&self) -> Attributes;
}

/// A value with when it began and when it was last added to.
#[derive(Debug)]
struct Cell<V> {
    start: Timestamp,
    touched: Timestamp,
    value: V,
}

/// The series of one metric.
#[derive(Debug)]
pub(super) struct Map<K, V> {
    cells: BTreeMap<K, Cell<V>>,
    overflow: Option<Cell<V>>,
    bound: usize,
}

impl<K: Ord + Labels, V: Default + Clone> Map<K, V> {
    pub(super) fn new(bound: usize) -> Self {
        Self { cells: BTreeMap::new(), overflow: None, bound }
    }

    pub(super) fn holds(&self, key: &K) -> bool {
        self.cells.contains_key(key)
    }

    /// Whether half of the bound is taken.
    pub(super) fn is_half_full(&self) -> bool {
        self.cells.len() >= self.bound / 2
    }

    /// The value under `key`; tells whether it went into the overflow series.
    pub(super) fn entry(&mut self, key: K, clock: Clock) -> (&mut V, bool) {
        let full = self.cells.len() >= self.bound && !self.cells.contains_key(&key);
        let new = || Cell { start: clock.last_collection, touched: clock.now, value: V::default() };
        let cell = if full {
            self.overflow.get_or_insert_with(new)
        } else {
            self.cells.entry(key).or_insert_with(new)
        };
        cell.touched = clock.now;
        (&mut cell.value, full)
    }

    /// Drops series that nothing was added to since `oldest` and that `kept` does not hold; tells whether there were any.
    pub(super) fn retire(&mut self, oldest: Timestamp, kept: impl Fn(&K) -> bool) -> bool {
        let before = self.cells.len();
        self.cells.retain(|key, cell| cell.touched >= oldest || kept(key));
        self.cells.len() < before
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.cells.keys()
    }

    pub(super) fn family(&self, metric: Metric, wrap: impl Fn(V) -> SeriesValue) -> Family {
        let series = |attributes: Attributes, cell: &Cell<V>| Series {
            attributes,
            start: cell.start,
            value: wrap(cell.value.clone()),
        };
        let known = self.cells.iter().map(|(key, cell)| series(key.attributes(), cell));
        let overflow =
            self.overflow.iter().map(|cell| series(vec![(attribute::OTEL_OVERFLOW, "true".into())], cell));
        Family { metric, series: known.chain(overflow).collect() }
    }
}

/// The aggregate's times, by the clock of whoever collects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// A series that appears now was zero then.
    pub(super) last_collection: Timestamp,
    pub(super) now: Timestamp,
}
