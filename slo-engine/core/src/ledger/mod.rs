//! Counts per series and time bucket, and sums over any window.
//!
//! Every increment is added to one bucket of each [`Tier`]: ten seconds, a minute, ten minutes, an hour, a day. Fine
//! buckets are kept for hours, coarse ones for months. Counters are held as running totals in every tier, so the events
//! of a window are one difference of two look-ups, however long it is; each edge is looked up in the finest tier that
//! still reaches it. Distributions and levels are held by bucket and joined, coarse ones in the middle and finer ones at
//! the ends. Numbers of events are added up, never ratios. A late event goes to the buckets of its own time.
//!
//! Memory: a counter that is busy all the time has at most 3,600 buckets of 12 bytes (about 45 KiB), a gauge as many of
//! 20, a histogram as many of 20 bytes and what its sizes take as varints (typically 50 to 200 bytes). [`Limits`] bound
//! the number of series: beyond the first bound new series lose the attributes that no objective asks about (their value
//! becomes `other`), beyond the second they are refused.

mod account;

pub use crate::bucket::{BucketKey, LONGEST_WINDOW, Tier, Window};

pub(crate) use account::{Account, Blocks, Row};

use crate::bucket::edge;
use crate::intake::{Level, Measured, Rejected};
use crate::measured::Kind;
use crate::series::{Attributes, Selector, Series, SeriesId};
use crate::time::Timestamp;
use crate::track::number;
use pqscope_telemetry::OTHER;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

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

impl Limits {
    /// Bounds for this number of series: the last fifth is for series without the attributes that nobody asks about, and
    /// every series may have ten senders.
    pub const fn of_series(series: usize) -> Self {
        Self { full_series: series - series / 5, series, streams: series.saturating_mul(10) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::of_series(20_000)
    }
}

/// Most events of one increment. Nothing counts so many; a sender that claims more must not drown the rest.
const MOST_EVENTS: u64 = 1 << 53;

/// Place of a series in a ledger: the quick way to it. A place is never given to another series, and it is the same after
/// a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(crate) u32);

impl Slot {
    /// The place as a number; places count up from zero.
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The place of a number.
    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }
}

/// What names a series: its [`Slot`], or, a look-up slower, its [`SeriesId`].
pub trait Handle: Copy {
    /// The place of the series; `None` when it is not there.
    fn place(self, ledger: &Ledger) -> Option<Slot>;
}

impl Handle for Slot {
    fn place(self, _: &Ledger) -> Option<Slot> {
        Some(self)
    }
}

impl Handle for SeriesId {
    fn place(self, ledger: &Ledger) -> Option<Slot> {
        ledger.slot(self)
    }
}

#[derive(Default)]
struct Members {
    slots: Vec<Slot>,
    /// Those of them that senders folded events into.
    overflow: Vec<Slot>,
}

/// All counts.
pub struct Ledger {
    limits: Limits,
    asked: BTreeSet<String>,
    accounts: Vec<Option<Box<Account>>>,
    index: HashMap<SeriesId, Slot, foldhash::fast::FixedState>,
    metrics: BTreeMap<String, Members>,
    generation: u64,
    removals: u64,
    /// New series take no buckets that are beyond their retention at this time.
    kept_at: Option<Timestamp>,
    /// Series that differ from what was saved.
    pub(crate) dirty: Vec<Slot>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            asked: BTreeSet::new(),
            accounts: Vec::new(),
            index: HashMap::default(),
            metrics: BTreeMap::new(),
            generation: 0,
            removals: 0,
            kept_at: None,
            dirty: Vec::new(),
        }
    }

    /// Attributes that folding must keep, because an objective or a notification asks about them.
    pub fn keep_attributes<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        self.asked.extend(keys.into_iter().map(str::to_owned));
    }

    /// Keeps new series from buckets that are beyond their retention already, so that history which comes late takes no
    /// more room than it would have taken in time. Follows from [`expire`](Self::expire) too.
    pub const fn begin(&mut self, now: Timestamp) {
        self.kept_at = Some(now);
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nothing was ever counted.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// A number that changes whenever a series comes or goes, so that selections can be kept.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// A number that changes whenever a series goes. While it stays the same, a selection is renewed by looking at what
    /// was [added since](Self::added_since) alone.
    pub const fn removals(&self) -> u64 {
        self.removals
    }

    /// The place that the next new series gets: what to hand to [`added_since`](Self::added_since) next time.
    pub fn next_slot(&self) -> Slot {
        Slot(u32::try_from(self.accounts.len()).unwrap_or(u32::MAX))
    }

    /// The series from a place on, in the order in which they came.
    pub fn added_since(&self, first: Slot) -> impl Iterator<Item = (Slot, &Series)> + '_ {
        let accounts = self.accounts.iter().enumerate().skip(first.0 as usize);
        accounts.filter_map(|(index, account)| {
            Some((Slot(u32::try_from(index).ok()?), account.as_ref()?.series.as_ref()))
        })
    }

    /// The place of a series.
    pub fn slot(&self, id: SeriesId) -> Option<Slot> {
        self.index.get(&id).copied()
    }

    /// The number of the series in a place.
    pub fn id(&self, slot: Slot) -> Option<SeriesId> {
        self.account(slot).map(|account| account.id)
    }

    /// A series by its number or place.
    pub fn series(&self, handle: impl Handle) -> Option<&Series> {
        Some(self.account(handle.place(self)?)?.series.as_ref())
    }

    /// Value of one bucket; `None` when it holds nothing.
    pub fn bucket(&self, key: BucketKey) -> Option<Measured> {
        self.account(self.slot(key.series)?)?.bucket(key.tier, number(key.tier, key.start))
    }

    /// The series that a selector picks.
    pub fn select<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = SeriesId> + 'a {
        self.select_slots(selector).filter_map(|slot| self.id(slot))
    }

    /// The places of the series that a selector picks.
    pub fn select_slots<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = Slot> + 'a {
        let slots = self.slots_of_metric(&selector.metric);
        slots.iter().copied().filter(|slot| self.series(*slot).is_some_and(|series| selector.matches(series)))
    }

    /// The places of all series of a metric.
    pub fn slots_of_metric(&self, metric: &str) -> &[Slot] {
        self.metrics.get(metric).map_or(&[], |members| &members.slots)
    }

    /// Whether events of a metric were folded into a sender's overflow series (`otel.metric.overflow`), so that their
    /// attributes are lost.
    pub fn has_overflow(&self, metric: &str, window: Window, now: Timestamp) -> bool {
        let folded = self.metrics.get(metric).map_or(&[][..], |members| &members.overflow);
        folded.iter().any(|slot| self.count(*slot, window, now) > 0)
    }

    /// Events of one series in a window; `None` when there are none. Each edge is rounded down to the finest tier that
    /// still reaches it: ten seconds within the last two hours, a minute within twelve, ten minutes within four days, an
    /// hour within forty days, a day beyond.
    pub fn sum(&self, handle: impl Handle, window: Window, now: Timestamp) -> Option<Measured> {
        let account = self.account(handle.place(self)?)?;
        account.sum(edge(window.from, now), edge(window.to, now))
    }

    /// As [`sum`](Self::sum), the number of events alone: for a counter two look-ups, however long the window is.
    pub fn count(&self, handle: impl Handle, window: Window, now: Timestamp) -> u64 {
        let account = handle.place(self).and_then(|slot| self.account(slot));
        account.map_or(0, |account| account.count(edge(window.from, now), edge(window.to, now)))
    }

    /// The latest reading of a gauge at or before a time. A bucket keeps its latest reading only, so a reading that was
    /// followed by another within the bucket of `time` may be missed for an older one: ten seconds at the most within the
    /// last two hours, the width of the tier that reaches `time` beyond.
    pub fn level_at(&self, handle: impl Handle, time: Timestamp, now: Timestamp) -> Option<Level> {
        let age = now.since(time);
        let finest = Tier::reaching(age);
        self.account(handle.place(self)?)?.level_at(finest, time)
    }

    /// Events of a counter that were ever counted, as far as is known: only grows while the process lives.
    pub fn total(&self, handle: impl Handle) -> u64 {
        handle.place(self).and_then(|slot| self.account(slot)).map_or(0, Account::total)
    }

    /// What was counted of a series, each part once and in the finest buckets that still have all of it: the end of each
    /// bucket with what it holds, in their order.
    pub fn history(&self, handle: impl Handle) -> Vec<(Timestamp, Measured)> {
        let account = handle.place(self).and_then(|slot| self.account(slot));
        account.map_or_else(Vec::new, Account::history)
    }

    /// When counting of a series began, to the width of the buckets that are kept for so long; at the latest when the
    /// oldest bucket that is kept began.
    pub fn began(&self, handle: impl Handle, now: Timestamp) -> Option<Timestamp> {
        self.account(handle.place(self)?)?.began(now)
    }

    /// The oldest reading of a gauge that is kept.
    pub fn first_level(&self, handle: impl Handle) -> Option<Level> {
        self.account(handle.place(self)?)?.first_level()
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
        let slot = self.open(series.id(), series, sample.kind())?;
        self.check_kind(slot, sample)?;
        parts.iter().for_each(|(time, amount)| self.add(slot, *time, amount));
        Ok(())
    }

    pub(crate) fn account(&self, slot: Slot) -> Option<&Account> {
        self.accounts.get(slot.0 as usize)?.as_deref()
    }

    pub(crate) fn account_mut(&mut self, slot: Slot) -> Option<&mut Account> {
        self.accounts.get_mut(slot.0 as usize)?.as_deref_mut()
    }

    /// The series of these attributes or, beyond the first bound, of those that somebody asks about; made if need be.
    pub(crate) fn open(&mut self, id: SeriesId, series: &Series, kind: Kind) -> Result<Slot, Rejected> {
        if let Some(slot) = self.slot(id) {
            return Ok(slot);
        }
        if self.has_room() {
            return Ok(self.insert(id, series.clone(), kind));
        }
        let folded = self.fold(series);
        let id = folded.id();
        if let Some(slot) = self.slot(id) {
            return Ok(slot);
        }
        if self.len() >= self.limits.series {
            return Err(Rejected::SeriesLimit);
        }
        Ok(self.insert(id, folded, kind))
    }

    /// Whether new series keep all their attributes.
    pub(crate) fn has_room(&self) -> bool {
        self.len() < self.limits.full_series
    }

    /// # Errors
    /// When the series measures something else.
    pub(crate) fn check_kind(&self, slot: Slot, sample: &Measured) -> Result<(), Rejected> {
        match self.account(slot) {
            Some(account) if account.kind() != sample.kind() => Err(Rejected::KindChanged),
            _ => Ok(()),
        }
    }

    /// Adds events to a series.
    pub(crate) fn add(&mut self, slot: Slot, time: Timestamp, amount: &Measured) {
        let Some(account) = self.accounts.get_mut(slot.0 as usize).and_then(Option::as_deref_mut) else {
            return;
        };
        match amount {
            Measured::Count(count) => account.add(time, &Measured::Count((*count).min(MOST_EVENTS))),
            other => account.add(time, other),
        }
        if !std::mem::replace(&mut account.dirty, true) {
            self.dirty.push(slot);
        }
    }

    /// Notes that a series was heard of.
    pub(crate) fn hear(&mut self, slot: Slot, now: Timestamp) {
        if let Some(account) = self.account_mut(slot) {
            account.heard = Some(account.heard.map_or(now, |heard| heard.max(now)));
        }
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

    fn insert(&mut self, id: SeriesId, series: Series, kind: Kind) -> Slot {
        let slot = self.next_slot();
        self.define(slot, id, series, kind);
        if let (Some(now), Some(account)) = (self.kept_at, self.account_mut(slot)) {
            account.expire(now);
        }
        self.mark_dirty(slot);
        slot
    }

    /// Puts a series into a place. Whatever was there is gone. Of two places of one series the later stands: the series
    /// went from the earlier one, and came back.
    pub(crate) fn define(&mut self, slot: Slot, id: SeriesId, series: Series, kind: Kind) {
        match self.slot(id) {
            Some(other) if other > slot => return,
            Some(other) => self.remove(other),
            None => {}
        }
        self.remove(slot);
        let index = slot.0 as usize;
        if self.accounts.len() <= index {
            self.accounts.resize_with(index + 1, || None);
        }
        let members = self.metrics.entry(series.metric.clone()).or_default();
        members.slots.push(slot);
        if series.attribute(pqscope_telemetry::attribute::OTEL_OVERFLOW) == "true" {
            members.overflow.push(slot);
        }
        self.index.insert(id, slot);
        if let Some(place) = self.accounts.get_mut(index) {
            *place = Some(Box::new(Account::new(id, Arc::new(series), kind)));
        }
        self.generation += 1;
    }

    /// Keeps the places below this one from being given away.
    pub(crate) fn reserve(&mut self, next: u32) {
        if self.accounts.len() < next as usize {
            self.accounts.resize_with(next as usize, || None);
        }
    }

    fn remove(&mut self, slot: Slot) {
        let Some(account) = self.accounts.get_mut(slot.0 as usize).and_then(Option::take) else { return };
        self.index.remove(&account.id);
        if let Some(members) = self.metrics.get_mut(&account.series.metric) {
            members.slots.retain(|other| *other != slot);
            members.overflow.retain(|other| *other != slot);
        }
        self.generation += 1;
        self.removals += 1;
    }

    pub(crate) fn mark_dirty(&mut self, slot: Slot) {
        if let Some(account) = self.account_mut(slot)
            && !std::mem::replace(&mut account.dirty, true)
        {
            self.dirty.push(slot);
        }
    }

    /// Forgets buckets beyond their retention, and series that have none left and were not heard of since `silent`.
    /// Returns the series that are gone.
    pub(crate) fn forget(&mut self, now: Timestamp, silent: Timestamp) -> Vec<(Slot, Blocks)> {
        self.begin(now);
        let mut gone = Vec::new();
        let mut aged = Vec::new();
        for (index, account) in self.accounts.iter_mut().enumerate() {
            let (Some(account), Ok(index)) = (account, u32::try_from(index)) else { continue };
            if account.expire(now) {
                aged.push(Slot(index));
            }
            if account.is_empty() && account.heard.is_none_or(|heard| heard < silent) {
                gone.push((Slot(index), account.saved_blocks()));
            }
        }
        aged.into_iter().for_each(|slot| self.mark_dirty(slot));
        gone.iter().for_each(|(slot, _)| self.remove(*slot));
        gone
    }

    /// Forgets buckets beyond their retention, and series that have none left.
    pub fn expire(&mut self, now: Timestamp) {
        self.forget(now, now);
    }

    /// Drops fine buckets before their time.
    pub(crate) fn shed(&mut self, now: Timestamp, step: u32) {
        let slots: Vec<Slot> = self.slots().collect();
        for slot in slots {
            if self.account_mut(slot).is_some_and(|account| account.shed(now, step)) {
                self.mark_dirty(slot);
            }
        }
    }

    /// All places that hold a series.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.added_since(Slot(0)).map(|(slot, _)| slot)
    }
}
