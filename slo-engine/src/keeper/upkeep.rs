//! What the state needs now and then: an export of all of it, and less history where the disk cannot hold it.

use super::{Keeper, write_notice};
use crate::store::{Batch, Table, Urgency};
use pqscope_slo_core::time::Timestamp;

/// Beyond it there is hardly anything left to drop.
const LAST_SHED_STEP: u32 = 9;

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

    /// Tells people when the database fell back while running, and has what memory knows better written again: counts,
    /// incidents, notifications and exclusions.
    pub(super) fn make_good(&mut self, now: Timestamp) {
        let Some(finding) = self.store.take_finding() else { return };
        let mut batch = Batch::default();
        self.notices.push(write_notice(&finding, 0, now, &mut batch));
        for exclusion in &self.exclusions {
            batch.put(Table::Exclusion, &exclusion.id.to_be_bytes(), exclusion);
        }
        self.incidents.touch_all();
        self.recorder.touch_all();
        self.checkpoint_is_due();
        if let Err(error) = self.commit_with_counts(batch, Urgency::Essential) {
            tracing::error!("the state fell back and is not whole again: {error}");
        }
    }

    /// Drops fine history while the database is too large or the disk nearly full, a step more each time; keeps all
    /// again once there is room to spare.
    pub(super) fn shed(&mut self, now: Timestamp) {
        let (size, bound) = (self.store.figures().size_bytes, self.duties.max_state_bytes);
        if size > bound || self.store.is_short_of_room() {
            self.shed_step = (self.shed_step + 1).min(LAST_SHED_STEP);
            tracing::warn!(
                step = self.shed_step,
                "the database takes {size} bytes of {bound}, or the disk is nearly full: fine history is dropped before its time"
            );
        } else if size < bound / 4 * 3 && self.shed_step > 0 {
            self.shed_step -= 1;
        }
        if self.shed_step > 0 {
            self.recorder.shed(now, self.shed_step);
        }
    }
}
