//! Counting: exports go to the recorder, and are answered when a commit that holds them is on disk.

use super::Keeper;
use crate::ingest::{Reading, Receipt, Sample, Submission, Unavailable, refuse_points};
use crate::store::{Batch, StoreError, Urgency};
use pqscope_slo_core::intake::Level;
use tokio::sync::{mpsc, oneshot};

/// A commit takes no further export once it holds this much.
const MOST_BYTES: usize = 512 << 10;
/// Nor once it answers this many exports: repeats make no changes, but their senders wait too.
const MOST_EXPORTS: usize = 256;

/// A checkpoint is begun when the journal is that large, however short ago the last one was.
const JOURNAL_BYTES: usize = 8 << 20;
/// Size of a part of a checkpoint.
const PIECE_BYTES: usize = 256 << 10;

type Reply = oneshot::Sender<Result<Receipt, Unavailable>>;

impl Keeper {
    /// Counts an export and all that wait behind it, commits them together, and answers each.
    pub(super) fn take_group(&mut self, first: Submission, more: &mut mpsc::Receiver<Submission>) {
        let mut answers: Vec<(Reply, Receipt)> = Vec::new();
        let mut next = Some(first);
        while let Some(Submission { export, reply }) = next {
            let receipt = self.count(export);
            answers.push((reply, receipt));
            let full = self.recorder.unsaved() >= MOST_BYTES || answers.len() >= MOST_EXPORTS;
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
        for Sample { source, series, reading } in &samples {
            let outcome = match reading {
                Reading::Point(point) => self.recorder.accept_known(*source, series.id(), series, point, now),
                Reading::Level(Level { at, value }) => {
                    self.recorder.accept_level(*source, series, *at, *value, now)
                }
            };
            match outcome {
                Ok(taken) => self.note(taken.word(), 1),
                Err(why) => refuse_points(&mut refusals, 1, &series.metric, why.word(), &why),
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
        self.commit_with_counts(Batch::default(), Urgency::Repeatable)
    }

    /// Writes a batch, and in the same commit what was counted since the last time.
    pub(super) fn commit_with_counts(
        &mut self,
        mut batch: Batch,
        urgency: Urgency,
    ) -> Result<(), StoreError> {
        let chunks = self.recorder.take_journal();
        chunks.iter().for_each(|chunk| batch.journal(chunk.clone()));
        // In the same commit: an event whose count is on disk without its identity would count again.
        let events = self.events.add_changes(&mut batch);
        // And a detection that was counted without the mark that it was would count again.
        self.incidents.add_unsaved(&mut batch);
        match self.store.commit(batch, urgency) {
            Ok(()) => {
                self.incidents.note_saved();
                self.journal_bytes += chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
                Ok(())
            }
            Err(error) => {
                self.recorder.return_journal(chunks);
                self.events.return_changes(events);
                Err(error)
            }
        }
    }

    /// Writes the counts as they stand, and drops the journal that led there: a part each time it is called, so that
    /// exports do not wait for all of it.
    pub(super) fn advance_checkpoint(&mut self) {
        let now = self.clock.now();
        if !self.recorder.is_in_checkpoint() {
            let waited =
                now.since(self.checkpoint_at) >= self.duties.checkpoint_interval || now < self.checkpoint_at;
            let due = self.journal_bytes >= JOURNAL_BYTES || (waited && self.journal_bytes > 0);
            if !due || self.recorder.unsaved() > 0 {
                return;
            }
            self.recorder.begin_checkpoint();
            self.checkpoint_at = now;
            // What comes from now on is behind the checkpoint.
            self.journal_bytes = 0;
        }
        if let Err(error) = self.write_piece() {
            tracing::warn!("a checkpoint could not be written and is begun again later: {error}");
        }
    }

    /// Has a checkpoint begun as soon as it may.
    pub(super) const fn checkpoint_is_due(&mut self) {
        self.journal_bytes = JOURNAL_BYTES;
    }

    /// Writes the rest of a whole checkpoint: before the end.
    pub(super) fn finish_checkpoint(&mut self) {
        self.recorder.begin_checkpoint();
        while self.recorder.is_in_checkpoint() {
            match self.write_piece() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(
                        "the last checkpoint could not be written, the next start takes longer: {error}"
                    );
                    return;
                }
            }
        }
    }

    /// Writes a part of the checkpoint under way; says whether there was one to write.
    fn write_piece(&mut self) -> Result<bool, StoreError> {
        let Some(piece) = self.recorder.next_piece(PIECE_BYTES) else { return Ok(false) };
        let mut batch = Batch::default();
        batch.piece(&piece);
        if let Some(last) = piece.covers {
            batch.discard_journal(self.first_chunk, last);
        }
        match self.store.commit(batch, Urgency::Repeatable) {
            Ok(()) => {
                self.first_chunk = piece.covers.map_or(self.first_chunk, |last| last + 1);
                Ok(true)
            }
            Err(error) => {
                self.recorder.return_piece(piece);
                Err(error)
            }
        }
    }
}
