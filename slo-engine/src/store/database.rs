//! The only place that knows sled: one tree, atomic batches, and the care that sled needs to keep its promises.
//!
//! - `snap.*.generating` files are left by a process killed while opening and make the next open fail: they go first.
//! - `flush` hands the data to the kernel but does not wait for the disk: the `db` file is synced by us after it, and so
//!   are pages that outgrew it (over 128 KiB; values are kept small so that there are none) and the snapshot.
//! - What a batch replaces is freed by later accesses, a little by each, and a batch counts as one: memory and disk
//!   grow for ever unless reads follow it (measured: 1 KB per written key; none with one read per key).
//! - After an error sled repeats it for ever: the caller drops the database and opens it anew.

use super::StoreError;
use std::fs::{File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CACHE_BYTES: u64 = 32 << 20;
const LOG_FILE: &str = "db";
const SETTINGS_FILE: &str = "conf";
const BLOBS_FOLDER: &str = "blobs";
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// sled frees at every 128th access.
const LEAST_TOUCHES: usize = 1_024;
/// Looked up to no other end than to look something up.
const UNUSED_KEY: &[u8] = b"\x00";

/// One change of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Sets a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Vec<u8>),
}

/// An open database.
#[derive(Debug)]
pub(super) struct Database {
    folder: PathBuf,
    sled: sled::Db,
    log: File,
}

impl Database {
    /// Opens or creates the database in `folder`.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        remove_unfinished_snapshots(folder)?;
        let config = sled::Config::default()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None);
        let sled = open_patiently(folder, &config)?;
        let log = File::open(folder.join(LOG_FILE)).map_err(|source| StoreError::from_io(folder, source))?;
        // A new database is nothing without its settings and its name, and sled waits for neither.
        [&folder.join(SETTINGS_FILE), folder, folder.parent().unwrap_or(folder)]
            .into_iter()
            .try_for_each(|path| File::open(path)?.sync_all())
            .map_err(|source| StoreError::from_io(folder, source))?;
        Ok(Self { folder: folder.to_owned(), sled, log })
    }

    /// Writes all changes or none, and returns once the disk has them.
    pub(super) fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for change in changes {
            match change {
                Change::Put(key, value) => batch.insert(key.as_slice(), value.as_slice()),
                Change::Delete(key) => batch.remove(key.as_slice()),
            }
        }
        self.sled.apply_batch(batch).map_err(|error| fault(&self.folder, error))?;
        self.sled.flush().map_err(|error| fault(&self.folder, error))?;
        self.sync().map_err(|source| StoreError::from_io(&self.folder, source))?;
        self.collect_garbage(changes.len())
    }

    /// Waits until the disk has all that sled handed to the kernel.
    fn sync(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.folder.join(BLOBS_FOLDER)).into_iter().flatten() {
            match entry.and_then(|entry| File::open(entry.path())) {
                // Sled may have removed it meanwhile: its page is back in the log, or gone.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => opened?.sync_all()?,
            }
        }
        self.log.sync_all()
    }

    /// Touches the database once per change, and so gives sled the occasions to free what they replaced.
    fn collect_garbage(&self, changes: usize) -> Result<(), StoreError> {
        for _ in 0..changes.max(LEAST_TOUCHES) {
            self.sled.contains_key(UNUSED_KEY).map_err(|error| fault(&self.folder, error))?;
        }
        Ok(())
    }

    /// One value.
    pub(super) fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.sled.get(key).map_err(|error| fault(&self.folder, error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// All pairs whose key begins with `prefix`, in key order.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
    ) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), StoreError>> + '_ {
        self.sled.scan_prefix(prefix).map(|pair| {
            let (key, value) = pair.map_err(|error| fault(&self.folder, error))?;
            Ok((key.to_vec(), value.to_vec()))
        })
    }

    /// Lets go of the files, so that the folder can be moved. A background thread of sled may hold them for a moment
    /// longer, and what it writes then would go to whatever has that name by then: it is waited for.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let Self { folder, sled, log } = self;
        drop(sled);
        for _ in 0..LOCK_TRIES {
            match log.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(source)) => return Err(StoreError::from_io(&folder, source)),
            }
        }
        Err(StoreError::Failed { folder, detail: "sled does not let go of its files".to_owned() })
    }

    /// Bytes on disk.
    pub(super) fn size_on_disk_bytes(&self) -> u64 {
        self.sled.size_on_disk().unwrap_or(0)
    }
}

/// Opens, and waits for a predecessor in this very process: a background thread of sled may hold a dropped database,
/// and with it the lock on the file, for a moment longer. Nobody else can, for the folder is ours.
fn open_patiently(folder: &Path, config: &sled::Config) -> Result<sled::Db, StoreError> {
    let mut patience = LOCK_TRIES;
    loop {
        // Some damage is met by an assertion inside sled instead of an error.
        let opened = catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|_| StoreError::Damaged {
            folder: folder.to_owned(),
            detail: "sled gave up while reading it".to_owned(),
        })?;
        match opened {
            Err(sled::Error::Io(error)) if patience > 0 && error.to_string().contains("acquire lock") => {
                patience -= 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return opened.map_err(|error| fault(folder, error)),
        }
    }
}

fn remove_unfinished_snapshots(folder: &Path) -> Result<(), StoreError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StoreError::from_io(folder, source)),
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            std::fs::remove_file(entry.path()).map_err(|source| StoreError::from_io(folder, source))?;
        }
    }
    Ok(())
}

fn fault(folder: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) if source.kind() == std::io::ErrorKind::Other => {
            StoreError::Failed { folder: folder.to_owned(), detail: source.to_string() }
        }
        sled::Error::Io(source) => StoreError::from_io(folder, source),
        sled::Error::Corruption { .. } => {
            StoreError::Damaged { folder: folder.to_owned(), detail: error.to_string() }
        }
        other => StoreError::Failed { folder: folder.to_owned(), detail: other.to_string() },
    }
}
