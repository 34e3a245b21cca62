//! How counts lie in tables: which key for which value, and the way back to a recorder.

use super::keys::Table;
use super::record::Batch;
use super::{Store, StoreError, Urgency};
use pqscope_slo_core::ledger::{Limits, Slot, Tier};
use pqscope_slo_core::recorder::{Chunk, Piece, Recorder, Recovery, SavedKey};
use pqscope_slo_core::time::Timestamp;

pub(super) const BIRTH: &[u8] = b"birth";
const NUMBERS: &[u8] = b"numbers";

impl Batch {
    /// Adds the time from which counts are kept.
    pub(crate) fn birth(&mut self, birth: Timestamp) {
        self.put(Table::Engine, BIRTH, &birth);
    }

    /// Adds a chunk of the journal.
    pub(crate) fn journal(&mut self, chunk: Chunk) {
        self.put_bytes(Table::Journal, &chunk.number.to_be_bytes(), chunk.bytes);
    }

    /// Adds a part of a checkpoint.
    pub(crate) fn piece(&mut self, piece: &Piece) {
        for saved in &piece.saved {
            let (table, key) = place(saved.key);
            match &saved.value {
                Some(value) => self.put_bytes(table, &key, value.clone()),
                None => self.delete(table, &key),
            }
        }
    }

    /// Removes chunks of the journal, the first up to and with the last.
    pub(crate) fn discard_journal(&mut self, first: u64, last: u64) {
        (first..=last).for_each(|number| self.delete(Table::Journal, &number.to_be_bytes()));
    }
}

/// Counts as they were when the last commit was acknowledged.
pub(crate) struct Recovered {
    /// The counts.
    pub(crate) recorder: Recorder,
    /// Values that could not be read.
    pub(crate) unreadable: usize,
    /// The first chunk of the journal that is still there, or the next to come.
    pub(crate) first_chunk: u64,
    /// Bytes of the journal.
    pub(crate) journal_bytes: usize,
}

impl Store {
    /// Rebuilds the counts. A state without a birth is born at `now`, and says so on disk.
    pub(crate) fn recover(&mut self, limits: Limits, now: Timestamp) -> Result<Recovered, StoreError> {
        let birth = match self.load_under::<Timestamp>(Table::Engine, BIRTH)?.records.pop() {
            Some((_, birth)) => birth,
            None => {
                let mut batch = Batch::default();
                batch.birth(now);
                self.commit(batch, Urgency::Essential)?;
                now
            }
        };
        let mut recovery = Recovery::new(birth, limits);
        let mut misplaced = 0;
        let tables = [Table::Series, Table::Mark, Table::Block, Table::Source, Table::Stream];
        if let Some(database) = &self.database {
            if let Some(value) = database.value(&Table::Engine.key(NUMBERS))? {
                recovery.take(SavedKey::Numbers, &value);
            }
            for table in tables {
                for pair in database.scan(&table.key(&[])) {
                    let (key, value) = pair?;
                    match key.get(1..).and_then(|key| name(table, key)) {
                        Some(key) => recovery.take(key, &value),
                        None => misplaced += 1,
                    }
                }
            }
        }
        let (mut first_chunk, mut journal_bytes) = (None, 0);
        if let Some(database) = &self.database {
            for pair in database.scan(&Table::Journal.key(&[])) {
                let (key, value) = pair?;
                let number = key.get(1..).and_then(|key| key.try_into().ok()).map(u64::from_be_bytes);
                let Some(number) = number else {
                    misplaced += 1;
                    continue;
                };
                first_chunk.get_or_insert(number);
                journal_bytes += value.len();
                recovery.replay(number, &value);
            }
        }
        let (recorder, unreadable) = recovery.finish();
        let first_chunk = first_chunk.unwrap_or_else(|| recorder.next_chunk());
        Ok(Recovered { recorder, unreadable: unreadable + misplaced, first_chunk, journal_bytes })
    }
}

/// Where a value lies.
fn place(key: SavedKey) -> (Table, Vec<u8>) {
    match key {
        SavedKey::Numbers => (Table::Engine, NUMBERS.to_vec()),
        SavedKey::Series(slot) => (Table::Series, slot.index().to_be_bytes().to_vec()),
        SavedKey::Mark(slot) => (Table::Mark, slot.index().to_be_bytes().to_vec()),
        SavedKey::Stream(number) => (Table::Stream, number.to_be_bytes().to_vec()),
        SavedKey::Source(number) => (Table::Source, number.to_be_bytes().to_vec()),
        SavedKey::Block { slot, tier, block } => {
            let mut key = slot.index().to_be_bytes().to_vec();
            key.push(tier.code());
            key.extend_from_slice(&block.to_be_bytes());
            (Table::Block, key)
        }
    }
}

/// What a key of a table names.
fn name(table: Table, key: &[u8]) -> Option<SavedKey> {
    let (number, rest) = key.split_first_chunk::<4>()?;
    let number = u32::from_be_bytes(*number);
    if let Table::Block = table {
        let (tier, block) = rest.split_first()?;
        let block = u32::from_be_bytes(block.try_into().ok()?);
        return Some(SavedKey::Block {
            slot: Slot::from_index(number),
            tier: Tier::from_code(*tier)?,
            block,
        });
    }
    if !rest.is_empty() {
        return None;
    }
    match table {
        Table::Series => Some(SavedKey::Series(Slot::from_index(number))),
        Table::Mark => Some(SavedKey::Mark(Slot::from_index(number))),
        Table::Stream => Some(SavedKey::Stream(number)),
        Table::Source => Some(SavedKey::Source(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_what_they_were_made_from() {
        let keys = [
            SavedKey::Series(Slot::from_index(7)),
            SavedKey::Mark(Slot::from_index(300)),
            SavedKey::Block { slot: Slot::from_index(1), tier: Tier::Hour, block: 5_000 },
            SavedKey::Stream(70_000),
            SavedKey::Source(u32::MAX),
        ];
        for key in keys {
            let (table, bytes) = place(key);
            assert_eq!(name(table, &bytes), Some(key));
            assert_eq!(name(table, &bytes[1..]), None);
        }
    }
}
