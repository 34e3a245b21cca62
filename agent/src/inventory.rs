//! The inventory of a live capture in a file that is replaced as a whole: who reads it never meets half of one.

use crate::report;
use pqscope_agent_core::inventory::Inventory;
use pqscope_agent_core::time::Timestamp;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the file is replaced.
const WRITE_EVERY: Duration = Duration::from_secs(60);

/// Writes the inventory.
pub(crate) struct InventoryFile {
    path: PathBuf,
    written: Timestamp,
}

impl InventoryFile {
    /// Writes an empty inventory, so that a path which cannot be written is told at once.
    pub(crate) fn create(path: &Path, now: Timestamp) -> io::Result<Self> {
        let mut file = Self { path: path.to_owned(), written: now };
        file.write(&Inventory::default(), now)?;
        Ok(file)
    }

    /// Whether it is time to write.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        now.since(self.written).is_none_or(|since| since >= WRITE_EVERY)
    }

    /// Replaces the file.
    pub(crate) fn write(&mut self, inventory: &Inventory, now: Timestamp) -> io::Result<()> {
        // Also after a failure: a full disk is not tried at every packet.
        self.written = now;
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let fresh = PathBuf::from(name);
        let mut out = BufWriter::new(File::create(&fresh)?);
        report::write_inventory(&mut out, inventory)?;
        out.flush()?;
        std::fs::rename(&fresh, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("inventory.json");
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let file = InventoryFile::create(&path, at(100)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["schema"], 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(!file.is_due(at(159)) && file.is_due(at(160)));
        assert!(InventoryFile::create(&folder.path().join("none/inventory.json"), at(1)).is_err());
    }
}
