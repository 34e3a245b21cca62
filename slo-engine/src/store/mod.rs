//! The state folder: what is written here survives the process, and the machine.
//!
//! In come batches of typed records, out comes an acknowledgement once the disk has all of them or an error when it has
//! none; on open, everything that was ever acknowledged. Calls block: one thread owns the store, never an async one.
//!
//! ```text
//! STATE/lock         who holds the folder
//! STATE/high-water   number and hash of the last acknowledged commit
//! STATE/ballast      room kept for a full disk
//! STATE/sled/        the database
//! STATE/exports/     the state of the last nights, each in a file of its own
//! ```

mod ballast;
mod counts;
mod database;
mod error;
mod events;
mod export;
mod keys;
mod layout1;
mod lock;
mod mark;
mod record;
mod rewrite;

pub(crate) use counts::Recovered;
pub(crate) use error::StoreError;
pub(crate) use export::{is_state, restore};
pub(crate) use keys::Table;
pub(crate) use record::Batch;
pub(crate) use rewrite::Copied;

use ballast::Ballast;
use database::{Change, Database};
use lock::FolderLock;
use mark::{HighWaterMark, Position};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};

/// Layout of keys and values that this program writes.
const LAYOUT: u32 = 2;
const DATABASE_FOLDER: &str = "sled";
/// A database that is being built from an export.
const RESTORING_FOLDER: &str = "sled.restoring";

/// Whether the sender of a batch still has what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Data that its sender keeps until acknowledged: refused while the disk is nearly full.
    Repeatable,
    /// Alerts and notifications: written while there is any room at all, the ballast included.
    Essential,
}

/// Something about the folder that people should know, found on open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The database was damaged; it was kept aside and an empty one begun.
    MovedAside {
        /// Where the damaged one is now.
        to: PathBuf,
        /// What was wrong.
        detail: String,
        /// The export that took its place.
        restored: Option<PathBuf>,
    },
    /// The database stands behind what was acknowledged.
    RolledBack {
        /// Commits that were acknowledged.
        acknowledged: u64,
        /// Commits that the database holds.
        found: u64,
    },
    /// The state was written by an older version, and is now in the present layout.
    Migrated {
        /// Layout that it had.
        from: u32,
        /// Records that could not be read.
        unreadable: usize,
    },
    /// The disk was so full that the ballast was given back.
    BallastReleased,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MovedAside { to, detail, restored: Some(export) } => write!(
                f,
                "the state was damaged ({detail}); it was moved to {} and the export {} restored: what came after it is missing",
                to.display(),
                export.display()
            ),
            Self::MovedAside { to, detail, restored: None } => write!(
                f,
                "the state was damaged ({detail}); it was moved to {} and an empty one begun: budgets and incidents start anew",
                to.display()
            ),
            Self::RolledBack { acknowledged, found } => write!(
                f,
                "state rolled back: {acknowledged} commits were acknowledged, the database holds {found}; counts and alerts since then are missing, and firing alerts are kept until data shows otherwise"
            ),
            Self::Migrated { from, unreadable: 0 } => {
                write!(f, "the state was brought from layout {from} to layout {LAYOUT}; nothing was lost")
            }
            Self::Migrated { from, unreadable } => write!(
                f,
                "the state was brought from layout {from} to layout {LAYOUT}; {unreadable} records could not be read and were left out"
            ),
            Self::BallastReleased => f.write_str(
                "the disk is nearly full; the ballast was given back so that the state could be opened",
            ),
        }
    }
}

/// Figures about the store for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct StoreFigures {
    /// Commits that the disk has.
    pub(crate) commits: u64,
    /// Commits that failed since the start.
    pub(crate) failures: u64,
    /// Bytes of the database on disk.
    pub(crate) size_bytes: u64,
    /// Whether the last commit succeeded.
    pub(crate) healthy: bool,
}

/// What a table holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Loaded<T> {
    /// Key (without the table) and record, in key order.
    pub(crate) records: Vec<(Vec<u8>, T)>,
    /// Number of records in an encoding that is not known.
    pub(crate) unreadable: usize,
}

/// The state folder, held by this process.
#[derive(Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    _lock: FolderLock,
    ballast: Ballast,
    mark: HighWaterMark,
    /// `None` after a fault, until it could be opened again.
    database: Option<Database>,
    position: Position,
    failures: u64,
    healthy: bool,
    /// What was found when the database was opened again.
    found: Option<Finding>,
    /// Whether the mark stays where it is, ahead of the database, until people were told: a start before that has to find
    /// once more what was found.
    mark_waits: bool,
}

impl Store {
    /// Takes the folder and opens what is in it, creating both when they are not there.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<Finding>), StoreError> {
        create_folder(folder)?;
        let lock = FolderLock::take(folder)?;
        if export::is_unfinished_restore(folder) {
            // Nobody has told yet that it was restored; without a word here it would open as an empty one.
            return Err(StoreError::UnfinishedRestore { folder: folder.to_owned() });
        }
        let mut findings = Vec::new();
        let ballast = Ballast::in_folder(folder);
        if ballast.is_low() && ballast.release() {
            findings.push(Finding::BallastReleased);
        }
        let mark = HighWaterMark::open(folder)?;
        export::remove_folder(&folder.join(RESTORING_FOLDER))
            .map_err(|source| StoreError::from_io(folder, source))?;
        rewrite::settle(folder)?;
        if mark.position().is_some()
            && !folder.join(DATABASE_FOLDER).exists()
            && let Some(to) = last_moved_aside(folder)
            && let Some(export) = export::restore_latest(folder)?
        {
            // Killed after the damaged database was moved aside and before the export was in its place.
            let detail = "found on the start before".to_owned();
            findings.push(Finding::MovedAside { to, detail, restored: Some(export) });
        }
        let database = match Database::open(&folder.join(DATABASE_FOLDER)) {
            Ok(database) => database,
            Err(StoreError::Damaged { detail, .. }) => {
                let to = move_aside(folder)?;
                let restored = export::restore_latest(folder)?;
                findings.push(Finding::MovedAside { to, detail, restored });
                Database::open(&folder.join(DATABASE_FOLDER))?
            }
            Err(error) => return Err(error),
        };
        let position = position_of(&database)?;
        let acknowledged = mark.position().filter(|acknowledged| is_rolled_back(*acknowledged, position));
        if let Some(acknowledged) = acknowledged
            && !findings.iter().any(|finding| matches!(finding, Finding::MovedAside { .. }))
        {
            findings
                .push(Finding::RolledBack { acknowledged: acknowledged.sequence, found: position.sequence });
        }
        let mut store = Self {
            folder: folder.to_owned(),
            _lock: lock,
            ballast,
            mark,
            database: Some(database),
            position,
            failures: 0,
            healthy: true,
            found: None,
            mark_waits: acknowledged.is_some(),
        };
        findings.extend(store.migrate()?);
        store.ballast.lay();
        Ok((store, findings))
    }

    /// Writes a batch, all of it or nothing, and returns once the disk has it.
    ///
    /// After an error nothing is known to be written: the caller keeps the records and writes them again, which is
    /// harmless since records hold absolute values.
    pub(crate) fn commit(&mut self, batch: Batch, urgency: Urgency) -> Result<(), StoreError> {
        if batch.is_empty() && self.healthy {
            return Ok(());
        }
        let outcome = self.write(batch, urgency);
        self.healthy = outcome.is_ok();
        match &outcome {
            Ok(()) => self.ballast.lay(),
            Err(_) => self.failures += 1,
        }
        outcome
    }

    /// All records of a table.
    pub(crate) fn load<T: DeserializeOwned>(&self, table: Table) -> Result<Loaded<T>, StoreError> {
        self.load_under(table, &[])
    }

    /// As [`Store::load`], for the keys that begin with `start`.
    pub(crate) fn load_under<T: DeserializeOwned>(
        &self,
        table: Table,
        start: &[u8],
    ) -> Result<Loaded<T>, StoreError> {
        let mut loaded = Loaded { records: Vec::new(), unreadable: 0 };
        let Some(database) = &self.database else { return Ok(loaded) };
        for pair in database.scan(&table.key(start)) {
            let (key, value) = pair?;
            match record::decode(&value) {
                Some(record) => loaded.records.push((key.get(1..).unwrap_or_default().to_vec(), record)),
                None => loaded.unreadable += 1,
            }
        }
        Ok(loaded)
    }

    /// What was found when the database was opened again after a fault, until it is acknowledged.
    pub(crate) const fn finding(&self) -> Option<&Finding> {
        self.found.as_ref()
    }

    /// To be called once what was found is on disk, for people to see: it is not found again then.
    pub(crate) fn acknowledge_findings(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.mark_waits) {
            let restarted = self.mark.restart(self.position);
            self.mark_waits = restarted.is_err();
            restarted.map_err(|source| StoreError::from_io(&self.folder, source))?;
        }
        self.found = None;
        Ok(())
    }

    /// Whether the disk will be full before long.
    pub(crate) fn is_running_out_of_room(&self) -> bool {
        self.ballast.is_getting_low()
    }

    /// Figures as of now.
    pub(crate) fn figures(&self) -> StoreFigures {
        StoreFigures {
            commits: self.position.sequence,
            failures: self.failures,
            size_bytes: self.database.as_ref().map_or(0, Database::size_on_disk_bytes),
            healthy: self.healthy,
        }
    }

    fn write(&mut self, batch: Batch, urgency: Urgency) -> Result<(), StoreError> {
        if self.ballast.is_low() {
            match urgency {
                Urgency::Repeatable => return Err(StoreError::DiskFull { folder: self.folder.clone() }),
                Urgency::Essential => {
                    self.ballast.release();
                }
            }
        }
        let mut changes = batch.into_changes();
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        let next =
            Position { sequence: self.position.sequence + 1, chain: chain_over(&self.position, &changes) };
        changes.push(Change::Put(keys::POSITION.to_vec(), next.to_bytes()));
        // On a fault the database is dropped here: sled repeats an error for ever, only opening it anew helps.
        database.apply(&changes)?;
        self.database = Some(database);
        self.position = next;
        if self.mark_waits {
            return Ok(());
        }
        self.mark.advance(next).map_err(|source| StoreError::from_io(&self.folder, source))
    }

    fn reopen(&mut self) -> Result<Database, StoreError> {
        self.ballast.release();
        rewrite::settle(&self.folder)?;
        let database = Database::open(&self.folder.join(DATABASE_FOLDER))?;
        // The commit that failed may have reached the disk after all.
        let found = position_of(&database)?;
        if is_rolled_back(self.position, found) {
            let acknowledged = self.position.sequence;
            self.found = Some(Finding::RolledBack { acknowledged, found: found.sequence });
            self.mark_waits = true;
        }
        self.position = found;
        Ok(database)
    }

    /// Brings an older layout up to ours, step by step. Every step may be cut short and begun again.
    fn migrate(&mut self) -> Result<Option<Finding>, StoreError> {
        let Some(database) = &self.database else { return Ok(None) };
        let found = database.value(keys::LAYOUT)?.and_then(|value| record::decode::<u32>(&value));
        match found {
            Some(found) if found > LAYOUT => {
                Err(StoreError::NewerLayout { folder: self.folder.clone(), found, known: LAYOUT })
            }
            Some(LAYOUT) => {
                self.remove_layout_1()?;
                Ok(None)
            }
            Some(from) => {
                let unreadable = self.migrate_from_layout_1()?;
                self.remove_layout_1()?;
                Ok(Some(Finding::Migrated { from, unreadable }))
            }
            None => {
                let mut batch = Batch::default();
                batch.put_raw(keys::LAYOUT.to_vec(), &LAYOUT);
                self.commit(batch, Urgency::Essential)?;
                Ok(None)
            }
        }
    }
}

fn position_of(database: &Database) -> Result<Position, StoreError> {
    Ok(database.value(keys::POSITION)?.and_then(|bytes| Position::from_bytes(&bytes)).unwrap_or_default())
}

/// A crash between commit and mark leaves the database one ahead: fine. Behind, or elsewhere at the same number, is not.
fn is_rolled_back(acknowledged: Position, found: Position) -> bool {
    found.sequence < acknowledged.sequence
        || (found.sequence == acknowledged.sequence && found.chain != acknowledged.chain)
}

fn chain_over(previous: &Position, changes: &[Change]) -> mark::Chain {
    let mut hash = Sha256::new();
    hash.update(previous.chain);
    for change in changes {
        let (kind, key, value): (u8, &[u8], &[u8]) = match change {
            Change::Put(key, value) => (1, key, value),
            Change::Delete(key) => (0, key, &[]),
        };
        hash.update([kind]);
        for part in [key, value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().into()
}

fn create_folder(folder: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| StoreError::from_io(folder, source))?;
    // The folder's own name: not everybody may read the folder above, and then it has to do without.
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let _ = std::fs::File::open(above).and_then(|above| above.sync_all());
    Ok(())
}

/// Renames the database folder to the first free `sled.damaged-N`.
fn move_aside(folder: &Path) -> Result<PathBuf, StoreError> {
    let from = folder.join(DATABASE_FOLDER);
    let to = (1u32..)
        .map(|number| folder.join(format!("{DATABASE_FOLDER}.damaged-{number}")))
        .find(|candidate| !candidate.exists())
        .unwrap_or_else(|| folder.join(format!("{DATABASE_FOLDER}.damaged")));
    std::fs::rename(from, &to).map_err(|source| StoreError::from_io(folder, source))?;
    Ok(to)
}

fn last_moved_aside(folder: &Path) -> Option<PathBuf> {
    let candidates = (1u32..).map(|number| folder.join(format!("{DATABASE_FOLDER}.damaged-{number}")));
    candidates.take_while(|candidate| candidate.exists()).last()
}

#[cfg(test)]
mod tests;
