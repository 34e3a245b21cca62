//! The database written anew, as small as its records are.
//!
//! sled uses again what was freed in its file and hardly ever gives it back: the file takes many times what is in it, and
//! deleting records makes it no smaller. So all records are copied to a new database beside the old one, which then takes
//! its place in two renames. Whoever opens the folder between the two finds the old one under its other name.

use super::database::{Change, Database};
use super::{DATABASE_FOLDER, Store, StoreError, Table, export, position_of};
use std::fs::{File, rename};
use std::path::Path;

/// The new database, until it is whole.
const REWRITING_FOLDER: &str = "sled.rewriting";
/// The old one, until the new one is in its place.
const REPLACED_FOLDER: &str = "sled.replaced";
/// Size of a commit while records are copied.
const COMMIT_BYTES: usize = 1 << 20;
/// sled takes about so many times the bytes of the records for a database that was written at one go.
const OVERHEAD: u64 = 3;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Bytes of all records.
    pub(crate) bytes: u64,
    /// Bytes of those that hold counts by time.
    pub(crate) history_bytes: u64,
}

impl Store {
    /// Writes the database anew. Nobody is answered meanwhile: it takes about a second for 20 MB of records. After an
    /// error it is as it was.
    pub(crate) fn rewrite(&mut self) -> Result<Copied, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.reopen()?,
        };
        let building = self.folder.join(REWRITING_FOLDER);
        let copied = match self.copy(&database, &building) {
            Ok(copied) => copied,
            Err(error) => {
                self.database = Some(database);
                let _ = export::remove_folder(&building);
                return Err(error);
            }
        };
        // From here on the next commit opens what is there, should anything fail.
        database.close()?;
        let place = self.folder.join(DATABASE_FOLDER);
        let fault = |source| StoreError::from_io(&self.folder, source);
        rename(&place, self.folder.join(REPLACED_FOLDER)).map_err(fault)?;
        rename(&building, &place).map_err(fault)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(fault)?;
        settle(&self.folder)?;
        self.database = Some(Database::open(&place)?);
        Ok(copied)
    }

    fn copy(&self, from: &Database, building: &Path) -> Result<Copied, StoreError> {
        let sum = |start: &[u8]| {
            from.scan(start).try_fold(0_u64, |sum, pair| {
                pair.map(|(key, value)| sum + key.len() as u64 + value.len() as u64)
            })
        };
        let copied = Copied { bytes: sum(&[])?, history_bytes: sum(&Table::Block.key(&[]))? };
        if self
            .ballast
            .free_bytes()
            .is_some_and(|free| free < super::ballast::RESERVE_BYTES + OVERHEAD * copied.bytes)
        {
            return Err(StoreError::DiskFull { folder: self.folder.clone() });
        }
        export::remove_folder(building).map_err(|source| StoreError::from_io(&self.folder, source))?;
        let to = Database::open(building)?;
        let (mut changes, mut size) = (Vec::new(), 0);
        for pair in from.scan(&[]) {
            let (key, value) = pair?;
            size += key.len() + value.len();
            changes.push(Change::Put(key, value));
            if size >= COMMIT_BYTES {
                to.apply(&std::mem::take(&mut changes))?;
                size = 0;
            }
        }
        to.apply(&changes)?;
        if position_of(&to)? != self.position {
            return Err(StoreError::Failed {
                folder: self.folder.clone(),
                detail: "the copy of the database is not what it was copied from".to_owned(),
            });
        }
        to.close()?;
        Ok(copied)
    }
}

/// Ends what a rewrite has left that was cut short: the old database is put back or goes.
pub(super) fn settle(folder: &Path) -> Result<(), StoreError> {
    let (place, replaced) = (folder.join(DATABASE_FOLDER), folder.join(REPLACED_FOLDER));
    let settled = if replaced.exists() && !place.exists() { rename(&replaced, &place) } else { Ok(()) };
    settled
        .and_then(|()| export::remove_folder(&replaced))
        .and_then(|()| export::remove_folder(&folder.join(REWRITING_FOLDER)))
        .map_err(|source| StoreError::from_io(folder, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Urgency};

    /// A state whose file is mostly room that was freed.
    fn worn(folder: &Path) -> Store {
        let (mut store, _) = Store::open(folder).unwrap();
        for round in 0..40_u32 {
            let mut batch = Batch::default();
            (0..1_000_u32).for_each(|key| {
                batch.put(Table::Transition, &key.to_be_bytes(), &format!("{round} {}", "x".repeat(100)));
            });
            store.commit(batch, Urgency::Repeatable).unwrap();
        }
        store
    }

    fn records(store: &Store) -> Vec<(Vec<u8>, String)> {
        store.load(Table::Transition).unwrap().records
    }

    #[test]
    fn a_rewritten_database_is_small_and_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = worn(folder.path());
        let (before, large) = (records(&store), store.figures());
        store.rewrite().unwrap();
        let small = store.figures();
        assert!(small.size_bytes < large.size_bytes / 2, "{large:?}, {small:?}");
        assert_eq!((records(&store), small.commits), (before.clone(), large.commits));
        let mut batch = Batch::default();
        batch.put(Table::Transition, &0_u32.to_be_bytes(), &"later");
        store.commit(batch, Urgency::Repeatable).unwrap();
        drop(store);
        let (store, findings) = Store::open(folder.path()).unwrap();
        assert_eq!(findings, []);
        let after = records(&store);
        assert_eq!((after[0].1.as_str(), &after[1..]), ("later", &before[1..]));
        assert!(!folder.path().join(REPLACED_FOLDER).exists());
    }

    #[test]
    fn cut_short_at_any_step_it_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = worn(folder.path());
        let before = records(&store);
        drop(store);
        let path = |name: &str| folder.path().join(name);
        let check = |step: &str| {
            let (store, findings) = Store::open(folder.path()).unwrap();
            assert_eq!(findings, [], "{step}");
            assert!(records(&store) == before, "{step}");
            assert!(!path(REWRITING_FOLDER).exists() && !path(REPLACED_FOLDER).exists(), "{step}");
        };
        std::fs::create_dir(path(REWRITING_FOLDER)).unwrap();
        std::fs::write(path(REWRITING_FOLDER).join("conf"), b"half").unwrap();
        check("the copy is half done");
        std::fs::create_dir(path(REWRITING_FOLDER)).unwrap();
        rename(path(DATABASE_FOLDER), path(REPLACED_FOLDER)).unwrap();
        check("the old one is out of its place");
        std::fs::create_dir(path(REPLACED_FOLDER)).unwrap();
        check("the new one is in its place");
    }

    #[test]
    fn without_room_for_a_copy_all_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = worn(folder.path());
        let before = records(&store);
        // A file where the folder of the copy would be.
        std::fs::write(folder.path().join(REWRITING_FOLDER), b"").unwrap();
        store.rewrite().unwrap_err();
        assert!(records(&store) == before);
        store.commit(Batch::default(), Urgency::Repeatable).unwrap();
        assert!(store.figures().healthy);
    }
}
