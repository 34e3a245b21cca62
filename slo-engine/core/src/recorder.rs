//! Intake and ledger joined: points go in, counts and the list of records to save come out.
//!
//! The runner feeds a batch, takes the [changes](Recorder::take_changes), saves them in one transaction and only then
//! acknowledges the batch. When saving fails it [gives them back](Recorder::return_changes) and answers with an error:
//! the sender's retry then counts as a repeat, and the changes are saved with the next batch. After a crash memory is
//! rebuilt from what was saved, which is exactly what was acknowledged.

use crate::intake::{Background, Measured, Point, Rejected, SourceState, Step, StreamState, Taken, advance};
use crate::ledger::{BucketKey, Ledger, Limits};
use crate::series::{Series, SeriesId, SourceId, StreamId};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Streams silent for so long are forgotten. A cumulative stream that began before that and comes back is taken as new
/// history, not as news.
pub const STREAM_MEMORY: Duration = Duration::from_secs(7 * 86_400);

/// One thing to keep on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    /// When this state was first started. Written once.
    Birth(Timestamp),
    /// A series, under [`Series::id`].
    Series(Series),
    /// The count of a bucket.
    Bucket(BucketKey, Measured),
    /// What is remembered of a stream.
    Stream(StreamId, StreamState),
    /// What is remembered of a sender.
    Source(SourceId, SourceState),
}

/// Names a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordKey {
    /// See [`Record::Birth`].
    Birth,
    /// See [`Record::Series`].
    Series(SeriesId),
    /// See [`Record::Bucket`].
    Bucket(BucketKey),
    /// See [`Record::Stream`].
    Stream(StreamId),
    /// See [`Record::Source`].
    Source(SourceId),
}

impl Record {
    /// The name under which the record is kept.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Birth(_) => RecordKey::Birth,
            Self::Series(series) => RecordKey::Series(series.id()),
            Self::Bucket(key, _) => RecordKey::Bucket(*key),
            Self::Stream(id, _) => RecordKey::Stream(*id),
            Self::Source(id, _) => RecordKey::Source(*id),
        }
    }
}

/// One difference between memory and disk. Values are absolute: applying a change twice is the same as once.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Write the record.
    Put(Record),
    /// Remove the record.
    Delete(RecordKey),
}

impl Change {
    /// The record that it is about.
    pub fn key(&self) -> RecordKey {
        match self {
            Self::Put(record) => record.key(),
            Self::Delete(key) => *key,
        }
    }
}

/// All that the engine has counted and what it must remember to count on.
pub struct Recorder {
    birth: Timestamp,
    limits: Limits,
    ledger: Ledger,
    streams: HashMap<StreamId, StreamState>,
    sources: HashMap<SourceId, SourceState>,
    heard: BTreeMap<String, Timestamp>,
    dirty_birth: bool,
    dirty_streams: BTreeSet<StreamId>,
    dirty_sources: BTreeSet<SourceId>,
}

impl Recorder {
    /// A recorder without memory, started for the first time at `birth`.
    pub fn new(birth: Timestamp, limits: Limits) -> Self {
        Self {
            birth,
            limits,
            ledger: Ledger::new(limits),
            streams: HashMap::new(),
            sources: HashMap::new(),
            heard: BTreeMap::new(),
            dirty_birth: true,
            dirty_streams: BTreeSet::new(),
            dirty_sources: BTreeSet::new(),
        }
    }

    /// A recorder with the memory of saved records, in any order. Buckets whose series is not among them are dropped;
    /// their number is returned. Without a saved birth the recorder is new, born at `now`.
    pub fn restore(
        records: impl IntoIterator<Item = Record>,
        limits: Limits,
        now: Timestamp,
    ) -> (Self, usize) {
        let mut made = Self::new(now, limits);
        let mut buckets = Vec::new();
        for record in records {
            match record {
                Record::Birth(birth) => {
                    made.birth = birth;
                    made.dirty_birth = false;
                }
                Record::Series(series) => made.ledger.restore_series(series),
                Record::Bucket(key, value) => buckets.push((key, value)),
                Record::Stream(id, state) => {
                    made.streams.insert(id, state);
                }
                Record::Source(id, state) => {
                    made.sources.insert(id, state);
                }
            }
        }
        let dropped = buckets
            .into_iter()
            .filter(|(key, value)| !made.ledger.restore_bucket(*key, value.clone()))
            .count();
        (made, dropped)
    }

    /// When this state was first started.
    pub const fn birth(&self) -> Timestamp {
        self.birth
    }

    /// Takes one point. On an error nothing has changed.
    ///
    /// # Errors
    /// When the point cannot be counted; the sender is to be told in `partial_success`.
    pub fn accept(
        &mut self,
        source: SourceId,
        series: &Series,
        point: &Point,
        now: Timestamp,
    ) -> Result<Taken, Rejected> {
        let id = StreamId { source, series: series.id() };
        let known = self.streams.get(&id);
        if known.is_none() && point.value.is_some() && self.streams.len() >= self.limits.streams {
            return Err(Rejected::StreamLimit);
        }
        let state = self.sources.get(&source);
        let background = Background {
            horizon: self.birth.max(now.before(STREAM_MEMORY)),
            previous_export: state.and_then(|state| state.before(point.time)),
        };
        let Step { taken, state, increment } = advance(known, background, point, now)?;
        if let Some(increment) = &increment {
            self.ledger.record(series, &increment.parts(), now)?;
        }
        if let Some(state) = state {
            // A value that did not change is not worth a write: the sender's record tells how fresh it is.
            if known.is_none_or(|known| differs(known, &state)) {
                self.dirty_streams.insert(id);
            }
            self.streams.insert(id, state);
        }
        self.note(source, &series.metric, point.time, now);
        Ok(taken)
    }

    /// Adds what was counted elsewhere, an event for instance: an amount of one series at one time.
    ///
    /// # Errors
    /// When it cannot be counted; nothing has changed then.
    pub fn contribute(
        &mut self,
        series: &Series,
        at: Timestamp,
        amount: Measured,
        now: Timestamp,
    ) -> Result<(), Rejected> {
        self.ledger.record(series, &[(at, amount)], now)
    }

    fn note(&mut self, source: SourceId, metric: &str, time: Timestamp, now: Timestamp) {
        let old = self.sources.get(&source).copied();
        let new = old.map_or(SourceState { previous: None, latest: time }, |old| old.noted(time));
        if old != Some(new) {
            self.sources.insert(source, new);
            self.dirty_sources.insert(source);
        }
        match self.heard.get_mut(metric) {
            Some(heard) => *heard = now.max(*heard),
            None => {
                self.heard.insert(metric.to_owned(), now);
            }
        }
    }

    /// The counts.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The counts, to tell them which attributes to keep.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// When any sender was last heard of with this metric, on our clock; `None` since the start.
    pub fn last_heard(&self, metric: &str) -> Option<Timestamp> {
        self.heard.get(metric).copied()
    }

    /// Number of streams that are remembered.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Number of records that wait to be saved.
    pub fn unsaved(&self) -> usize {
        self.dirty_streams.len()
            + self.dirty_sources.len()
            + usize::from(self.dirty_birth)
            + self.ledger.unsaved()
    }

    /// Forgets what is beyond its retention. Call it every few minutes.
    pub fn expire(&mut self, now: Timestamp) {
        self.ledger.expire(now);
        let oldest = now.before(STREAM_MEMORY);
        let sources = &self.sources;
        let dirty_streams = &mut self.dirty_streams;
        self.streams.retain(|id, state| {
            // A stream that did not change since the last start carries an old time; its sender's is the truth.
            let latest =
                sources.get(&id.source).map_or(state.time(), |source| source.latest.max(state.time()));
            let keep = latest >= oldest;
            if !keep {
                dirty_streams.insert(*id);
            }
            keep
        });
        let dirty_sources = &mut self.dirty_sources;
        self.sources.retain(|id, state| {
            let keep = state.latest >= oldest;
            if !keep {
                dirty_sources.insert(*id);
            }
            keep
        });
    }

    /// Hands over what differs from what was saved, to be saved in one transaction.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        if std::mem::take(&mut self.dirty_birth) {
            changes.push(Change::Put(Record::Birth(self.birth)));
        }
        let counts = self.ledger.take_changes();
        for id in counts.series {
            changes.push(match self.ledger.series(id) {
                Some(series) => Change::Put(Record::Series(series.clone())),
                None => Change::Delete(RecordKey::Series(id)),
            });
        }
        for key in counts.buckets {
            changes.push(match self.ledger.bucket(key) {
                Some(value) => Change::Put(Record::Bucket(key, value.clone())),
                None => Change::Delete(RecordKey::Bucket(key)),
            });
        }
        for id in std::mem::take(&mut self.dirty_streams) {
            changes.push(match self.streams.get(&id) {
                Some(state) => Change::Put(Record::Stream(id, state.clone())),
                None => Change::Delete(RecordKey::Stream(id)),
            });
        }
        for id in std::mem::take(&mut self.dirty_sources) {
            changes.push(match self.sources.get(&id) {
                Some(state) => Change::Put(Record::Source(id, *state)),
                None => Change::Delete(RecordKey::Source(id)),
            });
        }
        changes
    }

    /// Takes back changes that could not be saved. They are handed over again, with the values of that time.
    pub fn return_changes(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change.key() {
                RecordKey::Birth => self.dirty_birth = true,
                RecordKey::Series(id) => self.ledger.return_changes(Some(id), None),
                RecordKey::Bucket(key) => self.ledger.return_changes(None, Some(key)),
                RecordKey::Stream(id) => {
                    self.dirty_streams.insert(id);
                }
                RecordKey::Source(id) => {
                    self.dirty_sources.insert(id);
                }
            }
        }
    }
}

/// Whether a state holds more than a later time.
fn differs(old: &StreamState, new: &StreamState) -> bool {
    match (old, new) {
        (
            StreamState::Cumulative { start: old_start, value: old, .. },
            StreamState::Cumulative { start: new_start, value: new, .. },
        ) => old_start != new_start || old != new,
        _ => true,
    }
}
