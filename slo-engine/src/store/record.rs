//! Encoding of values: one byte for the version of the encoding, then JSON.
//!
//! JSON because a record must be readable by a later version of the program, with fields added or gone, and by a person
//! with a hex dump at three in the morning. The bulk of the state are counts, and those come as bytes of their own.

use super::database::Change;
use super::keys::Table;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) const JSON: u8 = 1;

/// Records to be written together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    changes: Vec<Change>,
}

impl Batch {
    /// Sets a record.
    pub(crate) fn put<T: Serialize>(&mut self, table: Table, key: &[u8], record: &T) {
        self.put_raw(table.key(key), record);
    }

    /// Sets a value that is written in an encoding of its own.
    pub(crate) fn put_bytes(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.changes.push(Change::Put(table.key(key), value));
    }

    /// Removes a record.
    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) {
        self.changes.push(Change::Delete(table.key(key)));
    }

    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn put_raw<T: Serialize>(&mut self, key: Vec<u8>, record: &T) {
        let mut value = vec![JSON];
        // Writing plain data into memory fails only for maps whose keys are not text; no record has one, and the tests
        // of each record would show it.
        if serde_json::to_writer(&mut value, record).is_ok() {
            self.changes.push(Change::Put(key, value));
        } else {
            debug_assert!(false, "a record cannot be written as JSON");
        }
    }

    pub(super) fn into_changes(self) -> Vec<Change> {
        self.changes
    }
}

/// Reads what [`Batch::put`] wrote; `None` when it is of no known encoding.
pub(super) fn decode<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    match value.split_first()? {
        (&JSON, rest) => serde_json::from_slice(rest).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_encoding_is_not_guessed_at() {
        let mut batch = Batch::default();
        batch.put(Table::Engine, b"x", &7u32);
        let Some(Change::Put(key, mut value)) = batch.into_changes().pop() else { panic!("one change") };
        assert_eq!(key, b"\x02x");
        assert_eq!(value, b"\x017");
        assert_eq!(decode::<u32>(&value), Some(7));
        value[0] = 9;
        assert_eq!(decode::<u32>(&value), None);
        assert_eq!(decode::<u32>(&[]), None);
    }
}
