//! Events at the keeper: counted in one commit with what they add, settled by the clock, and shown to who asks.

use super::Keeper;
use crate::adapters::{AdapterBatch, AdapterReply, Offset};
use crate::ingest::Unavailable;
use crate::ingest::events::{Entries, EventRequest, Verdicts};
use crate::store::{Batch, Store, StoreError, Table};
use pqscope_slo_core::adapter::Handshake;
use pqscope_slo_core::event::Refusal;
use pqscope_slo_core::event::desk::{Desk, DeskChange, Taken};
use pqscope_slo_core::event::rotation::State;
use pqscope_slo_core::intake::{FUTURE_TOLERANCE, Measured};
use pqscope_slo_core::time::Timestamp;
use pqscope_telemetry::attribute;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A commit takes no further request once it answers this many.
const MOST_REQUESTS: usize = 256;
/// Nor once it holds this many records.
const MOST_CHANGES: usize = 10_000;
/// With so many records that could not be saved, nothing more is counted until they are.
const MOST_UNSAVED: usize = 50_000;

/// Who waits for a commit.
enum Waiting {
    Sender(oneshot::Sender<Result<Verdicts, Unavailable>>, Verdicts),
    Adapter(AdapterReply, Box<AdapterBatch>),
}

/// What the keeper knows of events.
pub(super) struct Events {
    pub(super) desk: Desk,
    results: BTreeMap<&'static str, u64>,
    ignored_fields: u64,
    /// How far each adapter has read.
    offsets: BTreeMap<String, Offset>,
    unsaved_offsets: BTreeSet<String>,
    /// Number of the last batch of each adapter that was counted.
    batches: BTreeMap<String, u64>,
    records: BTreeMap<(String, &'static str), u64>,
}

/// Changes that are on their way to the disk.
pub(super) struct EventChanges {
    desk: Vec<DeskChange>,
    offsets: BTreeSet<String>,
}

/// Figures for `/metrics`.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFigures {
    /// Events received since the start, by what became of them.
    pub(crate) results: BTreeMap<&'static str, u64>,
    /// Data fields that are not known.
    pub(crate) ignored_fields: u64,
    /// Amounts that the counts refused although their event was taken.
    pub(crate) uncounted: u64,
    /// Records of adapters by adapter and what became of them.
    pub(crate) records: BTreeMap<(String, &'static str), u64>,
    /// Planned rotations by where they stand.
    pub(crate) rotations: BTreeMap<State, u64>,
}

impl Events {
    /// Everything that the store holds of events, and how many records could not be read.
    pub(super) fn load(
        store: &Store,
        services: impl IntoIterator<Item = String>,
        rotation_grace: Duration,
        now: Timestamp,
    ) -> Result<(Self, usize), StoreError> {
        let mut desk = Desk::new(now, services);
        desk.wait_for_rotations(rotation_grace);
        let (records, unreadable) = store.load_desk()?;
        records.into_iter().for_each(|record| desk.restore(record));
        // Every word exists from zero, so that its first increase shows.
        let results = ["counted", "duplicate"].into_iter().map(|word| (word, 0)).collect();
        let saved = store.load::<Offset>(Table::AdapterOffset)?;
        let offsets = saved
            .records
            .into_iter()
            .filter_map(|(key, offset)| Some((String::from_utf8(key).ok()?, offset)));
        let made = Self {
            desk,
            results,
            ignored_fields: 0,
            offsets: offsets.collect(),
            unsaved_offsets: BTreeSet::new(),
            batches: BTreeMap::new(),
            records: BTreeMap::new(),
        };
        Ok((made, unreadable + saved.unreadable))
    }

    /// How far each adapter has read.
    pub(super) const fn offsets(&self) -> &BTreeMap<String, Offset> {
        &self.offsets
    }

    fn note(&mut self, word: &'static str) {
        *self.results.entry(word).or_insert(0) += 1;
    }

    pub(super) fn figures(&self, now: Timestamp) -> EventFigures {
        EventFigures {
            results: self.results.clone(),
            ignored_fields: self.ignored_fields,
            uncounted: self.desk.uncounted(),
            records: self.records.clone(),
            rotations: self.desk.rotations().states(now),
        }
    }

    /// Number of records that wait to be saved.
    pub(super) fn unsaved(&self) -> usize {
        self.desk.unsaved() + self.unsaved_offsets.len()
    }

    /// Adds what waits to be saved to a batch.
    pub(super) fn add_changes(&mut self, batch: &mut Batch) -> EventChanges {
        let desk = self.desk.take_changes();
        desk.iter().for_each(|change| batch.desk(change));
        let offsets = std::mem::take(&mut self.unsaved_offsets);
        for adapter in &offsets {
            if let Some(offset) = self.offsets.get(adapter) {
                batch.put(Table::AdapterOffset, adapter.as_bytes(), offset);
            }
        }
        EventChanges { desk, offsets }
    }

    /// Has everything saved again.
    pub(super) fn touch_all(&mut self) {
        self.desk.touch_all();
        self.unsaved_offsets.extend(self.offsets.keys().cloned());
    }

    /// Takes back what could not be saved.
    pub(super) fn return_changes(&mut self, changes: EventChanges) {
        self.desk.return_changes(changes.desk);
        self.unsaved_offsets.extend(changes.offsets);
    }

    fn note_record(&mut self, adapter: &str, word: &'static str, count: u64) {
        *self.records.entry((adapter.to_owned(), word)).or_insert(0) += count;
    }
}

impl Keeper {
    /// Counts events and all that wait behind them, commits them together, and answers each.
    pub(super) fn take_events(&mut self, first: EventRequest, more: &mut mpsc::Receiver<EventRequest>) {
        let mut waiting: Vec<Waiting> = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                EventRequest::Take { entries, reply } => match self.room_for_events() {
                    Ok(()) => {
                        let verdicts = self.count_events(entries);
                        waiting.push(Waiting::Sender(reply, verdicts));
                    }
                    Err(error) => {
                        let _ = reply.send(Err(Unavailable::Store(error.to_string())));
                    }
                },
                EventRequest::Adapter { batch, reply } => match self.room_for_events() {
                    Ok(()) => {
                        let left = self.count_batch(batch);
                        waiting.push(Waiting::Adapter(reply, Box::new(left)));
                    }
                    Err(error) => {
                        let _ = reply.send(Err((Box::new(batch), Unavailable::Store(error.to_string()))));
                    }
                },
                EventRequest::Find { query, reply } => {
                    let _ = reply.send(self.events.desk.history().find(&query).cloned().collect());
                }
                EventRequest::Rotations { reply } => {
                    let _ = reply.send(self.events.desk.rotations().iter().cloned().collect());
                }
            }
            let full = waiting.len() >= MOST_REQUESTS || self.events.desk.unsaved() >= MOST_CHANGES;
            next = if full { None } else { more.try_recv().ok() };
        }
        if waiting.is_empty() {
            return;
        }
        let saved = self.save_counts();
        if let Err(error) = &saved {
            tracing::error!(
                requests = waiting.len(),
                "events refused, their senders will repeat them: {error}"
            );
        }
        for who in waiting {
            let unavailable = saved.as_ref().err().map(|error| Unavailable::Store(error.to_string()));
            // A sender that hung up does not hear the answer; it will repeat, and the repeat is recognised.
            match (who, unavailable) {
                (Waiting::Sender(reply, verdicts), None) => drop(reply.send(Ok(verdicts))),
                (Waiting::Sender(reply, _), Some(why)) => drop(reply.send(Err(why))),
                (Waiting::Adapter(reply, _), None) => drop(reply.send(Ok(()))),
                (Waiting::Adapter(reply, batch), Some(why)) => drop(reply.send(Err((batch, why)))),
            }
        }
    }

    /// What cannot be saved stays in memory, and that must not grow for ever.
    fn room_for_events(&mut self) -> Result<(), StoreError> {
        if self.events.desk.unsaved() < MOST_UNSAVED { Ok(()) } else { self.save_counts() }
    }

    fn count_events(&mut self, entries: Entries) -> Verdicts {
        let now = self.clock.now();
        let mut verdicts = Vec::with_capacity(entries.len());
        for entry in entries {
            let verdict = entry.and_then(|checked| {
                let recorder = &mut self.recorder;
                let taken = self.events.desk.take(checked.event, now, &mut |series, at, amount| {
                    recorder.contribute(series, at, amount, now)
                })?;
                self.events.ignored_fields += checked.ignored_fields;
                Ok(taken)
            });
            self.events.note(word_of(&verdict));
            verdicts.push(verdict);
        }
        verdicts
    }

    /// Counts a batch unless it was counted before; what is left of it is its number and its offset.
    fn count_batch(&mut self, mut batch: AdapterBatch) -> AdapterBatch {
        if self.events.batches.get(&batch.adapter) == Some(&batch.number) {
            return batch;
        }
        for verdict in self.count_events(std::mem::take(&mut batch.entries)) {
            let word = word_of(&verdict);
            self.events.note_record(&batch.adapter, word, 1);
        }
        for handshake in std::mem::take(&mut batch.handshakes) {
            let word = self.count_handshake(&handshake);
            self.events.note_record(&batch.adapter, word, 1);
        }
        for (word, count) in std::mem::take(&mut batch.others) {
            self.events.note_record(&batch.adapter, word, count);
        }
        self.events.batches.insert(batch.adapter.clone(), batch.number);
        if self.events.offsets.get(&batch.adapter) != Some(&batch.then) {
            self.events.offsets.insert(batch.adapter.clone(), batch.then.clone());
            self.events.unsaved_offsets.insert(batch.adapter.clone());
        }
        batch
    }

    /// What became of it, in a word.
    fn count_handshake(&mut self, handshake: &Handshake) -> &'static str {
        let now = self.clock.now();
        let desk = &mut self.events.desk;
        let service =
            handshake.service.as_deref().map(|name| desk.bounded(attribute::SERVICE, name, now).to_owned());
        let group = handshake.group().map(|name| desk.bounded(attribute::GROUP_NAME, name, now).to_owned());
        let series = handshake.series(service.as_deref(), group.as_deref());
        let at = handshake.time.unwrap_or(now);
        if at > now.after(FUTURE_TOLERANCE) {
            return "from_future";
        }
        match self.recorder.contribute(&series, at, Measured::Count(1), now) {
            Ok(()) => "handshake",
            Err(why) => why.word(),
        }
    }

    /// Settles what the clock settles.
    pub(super) fn tick_events(&mut self, now: Timestamp) {
        let recorder = &mut self.recorder;
        self.events.desk.tick(now, &mut |series, at, amount| recorder.contribute(series, at, amount, now));
    }
}

fn word_of(verdict: &Result<Taken, Refusal>) -> &'static str {
    match verdict {
        Ok(Taken::Counted) => "counted",
        Ok(Taken::Duplicate) => "duplicate",
        Err(refusal) => refusal.reason.word(),
    }
}
