//! Counting: exports go to the recorder, and are answered when a commit that holds them is on disk.

use super::Keeper;
use crate::ingest::{Receipt, Submission, Unavailable, refuse_points};
use crate::store::{Batch, StoreError, Urgency};
use tokio::sync::{mpsc, oneshot};

/// A commit takes no further export once it holds this many changes.
const MOST_CHANGES: usize = 10_000;
/// Nor once it answers this many exports: repeats make no changes, but their senders wait too.
const MOST_EXPORTS: usize = 256;

type Reply = oneshot::Sender<Result<Receipt, Unavailable>>;

impl Keeper {
    /// Counts an export and all that wait behind it, commits them together, and answers each.
    pub(super) fn take_group(&mut self, first: Submission, more: &mut mpsc::Receiver<Submission>) {
        let mut answers: Vec<(Reply, Receipt)> = Vec::new();
        let mut next = Some(first);
        while let Some(Submission { export, reply }) = next {
            let receipt = self.count(export);
            answers.push((reply, receipt));
            let full = self.recorder.unsaved() >= MOST_CHANGES || answers.len() >= MOST_EXPORTS;
            next = if full { None } else { more.try_recv().ok() };
        }
        let saved = self.save_counts();
        if let Err(error) = &saved {
            tracing::error!(
                exports = answers.len(),
                "exports refused, their senders will repeat them: {error}"
            );
        }
        for (reply, receipt) in answers {
            let answer = match &saved {
                Ok(()) => Ok(receipt),
                Err(error) => Err(Unavailable::Store(error.to_string())),
            };
            // A sender that hung up does not hear the answer; it will repeat, and the repeat is recognised.
            let _ = reply.send(answer);
        }
    }

    fn count(&mut self, export: crate::ingest::Export) -> Receipt {
        let now = self.clock.now();
        let crate::ingest::Export { samples, mut refusals, ignored, warnings } = export;
        for sample in &samples {
            match self.recorder.accept(sample.source, &sample.series, &sample.point, now) {
                Ok(taken) => self.note(taken.word(), 1),
                Err(why) => refuse_points(&mut refusals, 1, &sample.series.metric, why.word(), &why),
            }
        }
        for (word, count) in refusals.counts() {
            *self.points.entry(word).or_insert(0) += count;
        }
        self.note("ignored", ignored);
        Receipt { refusals, warnings }
    }

    fn note(&mut self, word: &'static str, count: u64) {
        if count > 0 {
            *self.points.entry(word).or_insert(0) += count;
        }
    }

    /// Writes what was counted since the last time, in one commit. What could not be written stays to be written.
    pub(super) fn save_counts(&mut self) -> Result<(), StoreError> {
        let changes = self.recorder.take_changes();
        let mut batch = Batch::default();
        changes.iter().for_each(|change| batch.record(change));
        // In the same commit: an event whose count is on disk without its identity would count again.
        let events = self.events.add_changes(&mut batch);
        self.store.commit(batch, Urgency::Repeatable).inspect_err(|_| {
            self.recorder.return_changes(changes);
            self.events.return_changes(events);
        })
    }
}
