//! What the state needs now and then: an export of all of it, and less history where the disk cannot hold it.

use super::{EXPIRY_INTERVAL, Keeper, put_notice, write_notice};
use crate::store::{Batch, Copied, Table, Urgency};
use pqscope_slo_core::slices::SliceBook;
use pqscope_slo_core::time::Timestamp;
use std::time::Duration;

/// Beyond it there is hardly anything left to drop.
const LAST_SHED_STEP: u32 = 9;
/// Fine history is dropped for room only while history takes at least one in so many of the bytes.
const LEAST_SHARE_OF_HISTORY: u64 = 4;

impl Keeper {
    /// Exports the state when it is time. It is copied here, between two commits, and written by a thread of its own.
    pub(super) fn export(&mut self, now: Timestamp) {
        if self.exporting.as_ref().is_some_and(|exporting| !exporting.is_finished()) {
            return;
        }
        if now.since(self.exported_at) < self.duties.export_interval && now >= self.exported_at {
            return;
        }
        self.exported_at = now;
        let snapshot = match self.store.snapshot(now) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::error!("the state could not be exported: {error}");
                return;
            }
        };
        let folder = self.store.exports_folder();
        let writing = std::thread::Builder::new().name("export".to_owned()).spawn(move || {
            match snapshot.write_into(&folder) {
                Ok(path) => tracing::info!("the state was exported to {}", path.display()),
                Err(error) => tracing::error!("the state could not be exported: {error}"),
            }
        });
        match writing {
            Ok(writing) => self.exporting = Some(writing),
            Err(error) => tracing::error!("the state could not be exported: {error}"),
        }
    }

    /// Tells people when the database fell back while running, and has all that memory knows better written again. Until
    /// that is on disk it is tried again, and a start in between finds that the database fell back.
    pub(super) fn make_good(&mut self, now: Timestamp) {
        let Some(finding) = self.store.finding() else { return };
        let mut batch = Batch::default();
        let notice = write_notice(finding, 0, now, &mut batch);
        for notice in &self.notices {
            put_notice(notice, 0, &mut batch);
        }
        for exclusion in &self.exclusions {
            batch.put(Table::Exclusion, &exclusion.id.to_be_bytes(), exclusion);
        }
        self.incidents.add_transitions(&mut batch);
        batch.birth(self.recorder.birth());
        self.incidents.touch_all();
        self.events.touch_all();
        self.books.values_mut().for_each(SliceBook::touch_all);
        self.recorder.touch_all();
        self.checkpoint_is_due();
        let written = self
            .commit_with_counts(batch, Urgency::Essential)
            .and_then(|()| self.store.acknowledge_findings());
        match written {
            Ok(()) => self.notices.push(notice),
            Err(error) => tracing::error!("the state fell back and is not whole again: {error}"),
        }
    }

    /// Keeps the database within its bound. Where it is over, or the disk nearly full, it is written anew: most of a large
    /// file is room that was freed. Only when it takes more than half of the bound even then, fine history is dropped
    /// before its time, a step more until it does not. With room to spare after a rewrite, more is kept again.
    pub(super) fn keep_within_bound(&mut self, now: Timestamp, may_drop: bool) {
        let (size, bound) = (self.store.figures().size_bytes, self.duties.max_state_bytes);
        let is_short = self.store.is_running_out_of_room();
        // What takes so much for its records alone gets no smaller: without it one rewrite would follow the other.
        let is_due = (size > bound || is_short) && size >= self.rewritten_bytes.saturating_mul(2);
        let since_failure = |failed: Duration| self.clock.running().saturating_sub(failed);
        let is_too_soon = self.rewrite_failed.is_some_and(|failed| since_failure(failed) < EXPIRY_INTERVAL);
        if !is_due || is_too_soon {
            return;
        }
        let Some(mut copied) = self.rewrite() else { return };
        tracing::info!(
            "the database took {size} bytes of {bound}; written anew it takes {}",
            self.rewritten_bytes
        );
        if self.rewritten_bytes < bound / 4 {
            self.shed_step = self.shed_step.saturating_sub(1);
        }
        while self.rewritten_bytes > bound / 2 {
            let smaller = self.rewritten_bytes;
            // What cannot be dropped would have it all dropped, and be as large as before.
            let helps = copied.history_bytes >= copied.bytes / LEAST_SHARE_OF_HISTORY;
            if !helps || self.shed_step >= LAST_SHED_STEP || !may_drop {
                tracing::warn!(
                    "the database takes {smaller} bytes of {bound}, {} of {} bytes of records are history: none of it is \
                     dropped; choose a larger --max-state-size",
                    copied.history_bytes,
                    copied.bytes
                );
                return;
            }
            self.shed_step += 1;
            tracing::warn!(
                step = self.shed_step,
                "the database takes {smaller} bytes of {bound}: fine history is dropped before its time"
            );
            self.recorder.shed(now, self.shed_step);
            self.finish_checkpoint();
            let Some(again) = self.rewrite() else { return };
            copied = again;
        }
    }

    /// Writes the database anew, and notes how large it is then.
    fn rewrite(&mut self) -> Option<Copied> {
        match self.store.rewrite() {
            Ok(copied) => {
                self.rewrite_failed = None;
                self.rewritten_bytes = self.store.figures().size_bytes;
                Some(copied)
            }
            Err(error) => {
                tracing::error!("the database is too large and could not be written anew: {error}");
                self.rewrite_failed = Some(self.clock.running());
                None
            }
        }
    }
}
