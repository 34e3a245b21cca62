//! An export or backup of the engine's state: what was counted, in the finest buckets that were kept of its time.

use super::{Arrived, Recorded};
use crate::store::{self, Store};
use pqscope_slo_core::ledger::{Limits, Slot};
use pqscope_slo_core::openslo::Catalog;
use pqscope_slo_core::time::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder that goes when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn read(path: &Path, catalog: &Catalog, all: &mut Vec<Arrived>) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("pqscope-replay-{}-{}", std::process::id(), all.len()));
    let scratch = Scratch(folder);
    store::restore(path, &scratch.0)?;
    let (mut store, _) = Store::open(&scratch.0)?;
    let recovered = store.recover(Limits::default(), Timestamp::EPOCH)?;
    let ledger = recovered.recorder.ledger();
    for (slot, series) in ledger.added_since(Slot::from_index(0)) {
        if !catalog.uses(&series.metric) {
            continue;
        }
        let series = Arc::new(series.clone());
        for (end, amount) in ledger.history(slot) {
            let time = end.before(std::time::Duration::from_secs(1));
            all.push(Arrived { at: end, what: Recorded::Counted(Arc::clone(&series), time, amount) });
        }
    }
    Ok(())
}
