//! Events at the keeper: counted in one commit with what they add, settled by the clock, and shown to who asks.

use super::Keeper;
use crate::ingest::Unavailable;
use crate::ingest::events::{Entries, EventRequest, Verdicts};
use crate::store::{Batch, Store, StoreError};
use pqscope_slo_core::event::desk::{Desk, DeskChange, Taken};
use pqscope_slo_core::event::rotation::State;
use pqscope_slo_core::time::Timestamp;
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

/// A commit takes no further request once it answers this many.
const MOST_REQUESTS: usize = 256;
/// With so many records that could not be saved, nothing more is counted until they are.
const MOST_UNSAVED: usize = 50_000;

type Reply = oneshot::Sender<Result<Verdicts, Unavailable>>;

/// What the keeper knows of events.
pub(super) struct Events {
    pub(super) desk: Desk,
    results: BTreeMap<&'static str, u64>,
    ignored_fields: u64,
}

/// Figures for `/metrics`.
#[derive(Clone, Debug, Default)]
pub(crate) struct EventFigures {
    /// Events received since the start, by what became of them.
    pub(crate) results: BTreeMap<&'static str, u64>,
    /// Data fields that are not known.
    pub(crate) ignored_fields: u64,
    /// Planned rotations by where they stand.
    pub(crate) rotations: BTreeMap<State, u64>,
}

impl Events {
    /// Everything that the store holds of events, and how many records could not be read.
    pub(super) fn load(
        store: &Store,
        services: impl IntoIterator<Item = String>,
        now: Timestamp,
    ) -> Result<(Self, usize), StoreError> {
        let mut desk = Desk::new(now, services);
        let (records, unreadable) = store.load_desk()?;
        records.into_iter().for_each(|record| desk.restore(record));
        // Every word exists from zero, so that its first increase shows.
        let results = ["counted", "duplicate"].into_iter().map(|word| (word, 0)).collect();
        Ok((Self { desk, results, ignored_fields: 0 }, unreadable))
    }

    fn note(&mut self, word: &'static str) {
        *self.results.entry(word).or_insert(0) += 1;
    }

    pub(super) fn figures(&self, now: Timestamp) -> EventFigures {
        EventFigures {
            results: self.results.clone(),
            ignored_fields: self.ignored_fields,
            rotations: self.desk.rotations().states(now),
        }
    }

    /// Adds what waits to be saved to a batch.
    pub(super) fn add_changes(&mut self, batch: &mut Batch) -> Vec<DeskChange> {
        let changes = self.desk.take_changes();
        changes.iter().for_each(|change| batch.desk(change));
        changes
    }
}

impl Keeper {
    /// Counts events and all that wait behind them, commits them together, and answers each.
    pub(super) fn take_events(&mut self, first: EventRequest, more: &mut mpsc::Receiver<EventRequest>) {
        let mut answers: Vec<(Reply, Verdicts)> = Vec::new();
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                EventRequest::Take { entries, reply } => match self.room_for_events() {
                    Ok(()) => {
                        let verdicts = self.count_events(entries);
                        answers.push((reply, verdicts));
                    }
                    Err(error) => {
                        let _ = reply.send(Err(Unavailable::Store(error.to_string())));
                    }
                },
                EventRequest::Find { query, reply } => {
                    let _ = reply.send(self.events.desk.history().find(&query).cloned().collect());
                }
                EventRequest::Rotations { reply } => {
                    let _ = reply.send(self.events.desk.rotations().iter().cloned().collect());
                }
            }
            next = if answers.len() >= MOST_REQUESTS { None } else { more.try_recv().ok() };
        }
        if answers.is_empty() {
            return;
        }
        let saved = self.save_counts();
        if let Err(error) = &saved {
            tracing::error!(
                requests = answers.len(),
                "events refused, their senders will repeat them: {error}"
            );
        }
        for (reply, verdicts) in answers {
            let answer = match &saved {
                Ok(()) => Ok(verdicts),
                Err(error) => Err(Unavailable::Store(error.to_string())),
            };
            // A sender that hung up does not hear the answer; it will repeat, and the repeat is recognised.
            let _ = reply.send(answer);
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
            self.events.note(match &verdict {
                Ok(Taken::Counted) => "counted",
                Ok(Taken::Duplicate) => "duplicate",
                Err(refusal) => refusal.reason.word(),
            });
            verdicts.push(verdict);
        }
        verdicts
    }

    /// Settles what the clock settles.
    pub(super) fn tick_events(&mut self, now: Timestamp) {
        let recorder = &mut self.recorder;
        self.events.desk.tick(now, &mut |series, at, amount| recorder.contribute(series, at, amount, now));
    }
}
