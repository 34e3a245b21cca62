//! Time slices of the objectives that count in them: judged before every evaluation, kept by day.

use super::Keeper;
use crate::store::{Batch, Store, StoreError, Table, Urgency};
use pqscope_slo_core::measure::slice_share;
use pqscope_slo_core::objective::Objective;
use pqscope_slo_core::slices::{BookId, SliceBook, SliceDay};
use pqscope_slo_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Slices are kept a day longer than the window needs, since its edge may be anywhere in a day.
const MARGIN: Duration = Duration::from_secs(86_400);

/// The books of the objectives, with what was kept of them. What belongs to no objective any more stays on disk until its
/// time is over: an edit that is taken back finds its past again.
pub(super) fn load(
    store: &Store,
    objectives: &[Arc<Objective>],
) -> Result<BTreeMap<String, SliceBook>, StoreError> {
    let mut books = BTreeMap::new();
    for objective in objectives {
        let Some((id, slice)) = BookId::of(objective) else { continue };
        let mut book = SliceBook::new(id, slice);
        for (_, day) in store.load_under::<SliceDay>(Table::Slices, &id.0)?.records {
            book.restore(day);
        }
        books.insert(objective.name.clone(), book);
    }
    Ok(books)
}

impl Keeper {
    /// Judges slices that are over, and writes what changed. What cannot be written is written with the next change.
    pub(super) fn judge_slices(&mut self, now: Timestamp) {
        let mut batch = Batch::default();
        let mut changed: Vec<(String, Vec<u64>)> = Vec::new();
        for objective in &self.objectives {
            let Some(book) = self.books.get_mut(&objective.name) else { continue };
            let keep = now.since(Timestamp::from_seconds(objective.window.span(now).from)) + MARGIN;
            let share = slice_share(objective, self.recorder.ledger(), &mut self.selections, now);
            book.advance(now, keep.max(objective.window.nominal() + MARGIN), share);
            let id = book.id();
            let changes = book.take_changes();
            for (day, kept) in &changes {
                let key = key(id, *day);
                match kept {
                    Some(kept) => batch.put(Table::Slices, &key, kept),
                    None => batch.delete(Table::Slices, &key),
                }
            }
            changed.push((objective.name.clone(), changes.into_iter().map(|(day, _)| day).collect()));
        }
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.store.commit(batch, Urgency::Repeatable) {
            tracing::debug!("time slices wait to be written: {error}");
            for (name, days) in changed {
                if let Some(book) = self.books.get_mut(&name) {
                    book.return_changes(days);
                }
            }
        }
    }
}

fn key(book: BookId, day: u64) -> Vec<u8> {
    let mut key = book.0.to_vec();
    key.extend_from_slice(&day.to_be_bytes());
    key
}
