//! Counts per series and time bucket, and sums over any window.
//!
//! Every increment is added to one bucket of each [`Tier`]: ten seconds, a minute, ten minutes, an hour, a day. Fine
//! buckets are kept for hours, coarse ones for months, so a window is summed from a bounded number of buckets: coarse ones in the
//! middle, finer ones at its ends. Numbers of events are added up, never ratios. A late event goes to the buckets of its
//! own time. Buckets hold absolute values; saving one twice changes nothing.
//!
//! Memory: about 30 bytes per bucket that holds a count, at most 3,500 buckets for a series that is busy all the time
//! (0.1 MB), a few kilobytes for a rare one. [`Limits`] bound the number of series: beyond the first bound new series
//! lose the attributes that no objective asks about (their value becomes `other`), beyond the second they are refused.

pub use crate::bucket::{BucketKey, LONGEST_WINDOW, Tier, Window};

use crate::bucket::{edge, floor};
use crate::intake::{Level, Measured, Rejected};
use crate::series::{Attributes, Selector, Series, SeriesId};
use crate::time::Timestamp;
use pqscope_telemetry::OTHER;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bounds on what is held in memory and on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Beyond this number, new series lose the attributes that no objective asks about.
    pub full_series: usize,
    /// Beyond this number, new series are refused.
    pub series: usize,
    /// Beyond this number, new streams (series times senders) are refused.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { full_series: 8_000, series: 10_000, streams: 200_000 }
    }
}

struct Account {
    series: Series,
    kind: Measured,
    buckets: Buckets,
}

/// The buckets of one series, by the number of their width since the epoch: four bytes instead of eight, millions of times.
#[derive(Default)]
struct Buckets {
    ten_seconds: BTreeMap<u32, Measured>,
    minutes: BTreeMap<u32, Measured>,
    ten_minutes: BTreeMap<u32, Measured>,
    hours: BTreeMap<u32, Measured>,
    days: BTreeMap<u32, Measured>,
}

impl Buckets {
    const fn tier(&self, tier: Tier) -> &BTreeMap<u32, Measured> {
        match tier {
            Tier::TenSeconds => &self.ten_seconds,
            Tier::Minute => &self.minutes,
            Tier::TenMinutes => &self.ten_minutes,
            Tier::Hour => &self.hours,
            Tier::Day => &self.days,
        }
    }

    const fn tier_mut(&mut self, tier: Tier) -> &mut BTreeMap<u32, Measured> {
        match tier {
            Tier::TenSeconds => &mut self.ten_seconds,
            Tier::Minute => &mut self.minutes,
            Tier::TenMinutes => &mut self.ten_minutes,
            Tier::Hour => &mut self.hours,
            Tier::Day => &mut self.days,
        }
    }

    fn is_empty(&self) -> bool {
        Tier::ALL.into_iter().all(|tier| self.tier(tier).is_empty())
    }
}

/// Number of the bucket that holds a second. Good until the year 3331.
fn number(tier: Tier, seconds: u64) -> u32 {
    u32::try_from(seconds / tier.seconds()).unwrap_or(u32::MAX)
}

/// All counts.
pub struct Ledger {
    limits: Limits,
    asked: BTreeSet<String>,
    accounts: HashMap<SeriesId, Account>,
    metrics: BTreeMap<String, Vec<SeriesId>>,
    changes: Changes,
    generation: u64,
}

/// What differs from what was saved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    pub(crate) series: BTreeSet<SeriesId>,
    pub(crate) buckets: BTreeSet<BucketKey>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            asked: BTreeSet::new(),
            accounts: HashMap::new(),
            metrics: BTreeMap::new(),
            changes: Changes::default(),
            generation: 0,
        }
    }

    /// Attributes that folding must keep, because an objective or a notification asks about them.
    pub fn keep_attributes<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        self.asked.extend(keys.into_iter().map(str::to_owned));
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether nothing was ever counted.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// A number that changes whenever a series comes or goes, so that selections can be kept.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// A series by its number.
    pub fn series(&self, id: SeriesId) -> Option<&Series> {
        self.accounts.get(&id).map(|account| &account.series)
    }

    /// Value of one bucket; `None` when it holds nothing.
    pub fn bucket(&self, key: BucketKey) -> Option<&Measured> {
        self.accounts.get(&key.series)?.buckets.tier(key.tier).get(&number(key.tier, key.start))
    }

    /// The series that a selector picks.
    pub fn select<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = SeriesId> + 'a {
        let ids = self.metrics.get(&selector.metric).map_or(&[][..], Vec::as_slice);
        ids.iter().copied().filter(|id| self.series(*id).is_some_and(|series| selector.matches(series)))
    }

    /// All series of a metric.
    pub fn of_metric(&self, metric: &str) -> &[SeriesId] {
        self.metrics.get(metric).map_or(&[], Vec::as_slice)
    }

    /// Whether events of a metric were folded into a sender's overflow series (`otel.metric.overflow`), so that their
    /// attributes are lost.
    pub fn has_overflow(&self, metric: &str, window: Window, now: Timestamp) -> bool {
        let ids = self.metrics.get(metric).map_or(&[][..], Vec::as_slice);
        ids.iter().any(|id| {
            self.series(*id)
                .is_some_and(|series| series.attribute(pqscope_telemetry::attribute::OTEL_OVERFLOW) == "true")
                && self.sum(*id, window, now).is_some_and(|sum| sum.total() > 0)
        })
    }

    /// Adds events of one series at one time.
    ///
    /// # Errors
    /// When the bound on series is reached, the time is older than anything kept, or the metric has changed its kind.
    pub fn record(
        &mut self,
        series: &Series,
        parts: &[(Timestamp, Measured)],
        now: Timestamp,
    ) -> Result<(), Rejected> {
        let Some((_, sample)) = parts.first() else { return Ok(()) };
        let oldest = now.before(LONGEST_WINDOW);
        if parts.iter().any(|(time, _)| *time < oldest) {
            return Err(Rejected::TooOld);
        }
        let id = self.open(series, sample)?;
        let Some(account) = self.accounts.get_mut(&id) else { return Ok(()) };
        if !parts.iter().all(|(_, amount)| amount.same_kind(&account.kind)) {
            return Err(Rejected::KindChanged);
        }
        for (time, amount) in parts {
            for tier in Tier::ALL {
                let start = floor(time.seconds(), tier.seconds());
                if start.saturating_add(tier.retention().as_secs()) < now.seconds() {
                    continue;
                }
                account
                    .buckets
                    .tier_mut(tier)
                    .entry(number(tier, start))
                    .and_modify(|sum| {
                        sum.add(amount);
                    })
                    .or_insert_with(|| amount.clone());
                self.changes.buckets.insert(BucketKey { series: id, tier, start });
            }
        }
        Ok(())
    }

    fn open(&mut self, series: &Series, sample: &Measured) -> Result<SeriesId, Rejected> {
        let id = series.id();
        if self.accounts.contains_key(&id) {
            return Ok(id);
        }
        if self.accounts.len() < self.limits.full_series {
            self.insert(id, series.clone(), sample.clone());
            return Ok(id);
        }
        let folded = self.fold(series);
        let id = folded.id();
        if self.accounts.contains_key(&id) {
            return Ok(id);
        }
        if self.accounts.len() >= self.limits.series {
            return Err(Rejected::SeriesLimit);
        }
        self.insert(id, folded, sample.clone());
        Ok(id)
    }

    fn fold(&self, series: &Series) -> Series {
        let attributes: Attributes = series
            .attributes
            .iter()
            .map(|(key, value)| {
                let kept = if self.asked.contains(key) { value.clone() } else { OTHER.to_owned() };
                (key.clone(), kept)
            })
            .collect();
        Series { metric: series.metric.clone(), attributes }
    }

    fn insert(&mut self, id: SeriesId, series: Series, kind: Measured) {
        self.metrics.entry(series.metric.clone()).or_default().push(id);
        self.accounts.insert(id, Account { series, kind, buckets: Buckets::default() });
        self.changes.series.insert(id);
        self.generation += 1;
    }

    /// Events of one series in a window; `None` when there are none. Each edge is rounded down to the finest tier that
    /// still reaches it: ten seconds within the last two hours, a minute within twelve, ten minutes within four days, an
    /// hour within forty days, a day beyond.
    pub fn sum(&self, id: SeriesId, window: Window, now: Timestamp) -> Option<Measured> {
        let account = self.accounts.get(&id)?;
        let mut sum = None;
        let (from, to) = (edge(window.from, now), edge(window.to, now));
        account.add_range(Tier::TenSeconds, from, to, &mut sum);
        sum
    }

    /// The latest reading of a gauge up to and including a moment, to the width of the buckets that are kept for so long.
    pub fn level_at(&self, id: SeriesId, at: Timestamp, now: Timestamp) -> Option<Level> {
        let account = self.accounts.get(&id)?;
        let tier = Tier::ALL.into_iter().find(|tier| now.since(at) <= tier.reach()).unwrap_or(Tier::Day);
        let end = floor(at.seconds(), tier.seconds()).saturating_add(tier.seconds());
        let coarser = Tier::ALL.into_iter().filter(|candidate| *candidate >= tier);
        // A coarser bucket may hold a reading that came after the moment; the one before it cannot.
        coarser
            .flat_map(|tier| account.buckets.tier(tier).range(..=number(tier, at.seconds())).rev().take(2))
            .find_map(|(_, value)| match value {
                Measured::Level(level) if level.at.seconds() < end => Some(*level),
                _ => None,
            })
    }

    /// When counting of a series began, to the width of the buckets that are kept for so long; at the latest when the
    /// oldest bucket that is kept began.
    pub fn began(&self, id: SeriesId, now: Timestamp) -> Option<Timestamp> {
        let account = self.accounts.get(&id)?;
        let first = |tier: Tier| {
            let (number, _) = account.buckets.tier(tier).first_key_value()?;
            Some((tier, u64::from(*number) * tier.seconds()))
        };
        let firsts: Vec<(Tier, u64)> = Tier::ALL.into_iter().filter_map(first).collect();
        // The first bucket of a tier is the beginning unless older ones may have gone.
        let told = firsts.iter().find(|(tier, start)| {
            *start > now.before(tier.retention()).seconds().saturating_add(2 * tier.seconds())
        });
        told.or(firsts.last()).map(|(_, start)| Timestamp::from_seconds(*start))
    }

    /// The oldest reading of a gauge that is kept.
    pub fn first_level(&self, id: SeriesId) -> Option<Level> {
        let account = self.accounts.get(&id)?;
        let first = |tier| account.buckets.tier(tier).values().next();
        let levels = Tier::ALL.into_iter().filter_map(first).filter_map(|value| match value {
            Measured::Level(level) => Some(*level),
            _ => None,
        });
        levels.min_by_key(|level| level.at)
    }

    /// Forgets buckets beyond their retention, and series that have none left.
    pub fn expire(&mut self, now: Timestamp) {
        let mut gone = Vec::new();
        for (id, account) in &mut self.accounts {
            for tier in Tier::ALL {
                let oldest = now.before(tier.retention()).seconds();
                let buckets = account.buckets.tier_mut(tier);
                while let Some(first) = buckets.first_entry() {
                    let start = u64::from(*first.key()) * tier.seconds();
                    if start >= oldest {
                        break;
                    }
                    first.remove();
                    self.changes.buckets.insert(BucketKey { series: *id, tier, start });
                }
            }
            if account.buckets.is_empty() {
                gone.push(*id);
            }
        }
        for id in gone {
            if let Some(account) = self.accounts.remove(&id)
                && let Some(ids) = self.metrics.get_mut(&account.series.metric)
            {
                ids.retain(|other| *other != id);
            }
            self.changes.series.insert(id);
            self.generation += 1;
        }
    }

    /// Puts back a saved series. Series come before their buckets.
    pub(crate) fn restore_series(&mut self, series: Series) {
        let id = series.id();
        if !self.accounts.contains_key(&id) {
            self.insert(id, series, Measured::Count(0));
            self.changes.series.remove(&id);
        }
    }

    /// Puts back a saved bucket and says whether its series is known.
    pub(crate) fn restore_bucket(&mut self, key: BucketKey, value: Measured) -> bool {
        let Some(account) = self.accounts.get_mut(&key.series) else { return false };
        if account.buckets.is_empty() {
            account.kind = value.clone();
        }
        account.buckets.tier_mut(key.tier).insert(number(key.tier, key.start), value);
        true
    }

    pub(crate) fn unsaved(&self) -> usize {
        self.changes.series.len() + self.changes.buckets.len()
    }

    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn return_changes(&mut self, series: Option<SeriesId>, bucket: Option<BucketKey>) {
        self.changes.series.extend(series);
        self.changes.buckets.extend(bucket);
    }
}

impl Account {
    /// Adds the buckets of `[from, to)`, whole buckets of `tier`, taking coarser ones where they fit.
    fn add_range(&self, tier: Tier, from: u64, to: u64, sum: &mut Option<Measured>) {
        if from >= to {
            return;
        }
        if let Some(coarser) = tier.coarser() {
            let width = coarser.seconds();
            let (inner_from, inner_to) = (from.next_multiple_of(width), floor(to, width));
            if inner_from < inner_to {
                self.add_buckets(tier, from, inner_from, sum);
                self.add_range(coarser, inner_from, inner_to, sum);
                self.add_buckets(tier, inner_to, to, sum);
                return;
            }
        }
        self.add_buckets(tier, from, to, sum);
    }

    fn add_buckets(&self, tier: Tier, from: u64, to: u64, sum: &mut Option<Measured>) {
        if from >= to {
            return;
        }
        for (_, amount) in self.buckets.tier(tier).range(number(tier, from)..number(tier, to)) {
            match sum {
                Some(sum) => {
                    sum.add(amount);
                }
                None => *sum = Some(amount.clone()),
            }
        }
    }
}
