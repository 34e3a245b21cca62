//! The high-water mark: what the last durable commit was, kept outside the database.
//!
//! A damaged log can make the database open at an older point without a word. The mark is written and synced after each
//! commit, so a database that stands behind it on open has lost acknowledged data, and we can say so.
//! Two slots take turns: a torn write spoils one and leaves the other.

use super::StoreError;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

const FILE_NAME: &str = "high-water";
const MAGIC: &[u8; 8] = b"pqshwm01";
const SLOT_STRIDE_BYTES: u64 = 512;
const SLOT_BYTES: usize = 8 + 8 + 32 + 8;

/// Running hash over everything committed so far.
pub(super) type Chain = [u8; 32];

/// Position of a commit: its number, and the hash over it and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// Commits so far.
    pub(super) sequence: u64,
    /// Hash over them.
    pub(super) chain: Chain,
}

impl Position {
    /// The 40 bytes under which the database keeps its own position.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        [&self.sequence.to_be_bytes()[..], &self.chain[..]].concat()
    }

    /// Reads what [`Position::to_bytes`] wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (sequence, rest) = bytes.split_first_chunk::<8>()?;
        let chain = rest.first_chunk::<32>()?;
        Some(Self { sequence: u64::from_be_bytes(*sequence), chain: *chain })
    }
}

/// The file with the mark.
#[derive(Debug)]
pub(super) struct HighWaterMark {
    file: File,
    position: Option<Position>,
}

impl HighWaterMark {
    /// Opens or creates the file and reads the newest intact slot.
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE_NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|source| StoreError::from_io(folder, source))?;
        let position =
            [0, 1].into_iter().filter_map(|slot| read_slot(&file, slot)).max_by_key(|found| found.sequence);
        Ok(Self { file, position })
    }

    /// What the file said when it was opened, or was told since.
    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Moves the mark and waits until the disk has it.
    pub(super) fn advance(&mut self, position: Position) -> std::io::Result<()> {
        let mut slot = Vec::with_capacity(SLOT_BYTES);
        slot.extend_from_slice(MAGIC);
        slot.extend_from_slice(&position.to_bytes());
        let sum = checksum(&slot);
        slot.extend_from_slice(&sum);
        self.file.write_all_at(&slot, (position.sequence % 2) * SLOT_STRIDE_BYTES)?;
        self.file.sync_data()?;
        self.position = Some(position);
        Ok(())
    }

    /// Forgets the mark, then sets it: for a database that starts anew behind it.
    pub(super) fn restart(&mut self, position: Position) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.advance(position)
    }
}

fn read_slot(file: &File, slot: u64) -> Option<Position> {
    let mut bytes = [0u8; SLOT_BYTES];
    file.read_exact_at(&mut bytes, slot * SLOT_STRIDE_BYTES).ok()?;
    let (body, sum) = bytes.split_at_checked(SLOT_BYTES - 8)?;
    if checksum(body) != sum {
        return None;
    }
    Position::from_bytes(body.strip_prefix(MAGIC)?)
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let digest = Sha256::digest(bytes);
    let mut sum = [0; 8];
    for (to, from) in sum.iter_mut().zip(digest) {
        *to = from;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(sequence: u64) -> Position {
        Position { sequence, chain: [sequence as u8; 32] }
    }

    #[test]
    fn the_newest_intact_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut mark = HighWaterMark::open(folder.path()).unwrap();
        assert_eq!(mark.position(), None);
        for sequence in 1..=5 {
            mark.advance(position(sequence)).unwrap();
        }
        assert_eq!(HighWaterMark::open(folder.path()).unwrap().position(), Some(position(5)));

        // Slot 1 holds the fifth position; spoil a byte of it.
        mark.file.write_all_at(&[0xff], SLOT_STRIDE_BYTES + 20).unwrap();
        assert_eq!(HighWaterMark::open(folder.path()).unwrap().position(), Some(position(4)));
    }

    #[test]
    fn a_restarted_mark_forgets_the_higher_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut mark = HighWaterMark::open(folder.path()).unwrap();
        mark.advance(position(8)).unwrap();
        mark.advance(position(9)).unwrap();
        mark.restart(position(2)).unwrap();
        assert_eq!(HighWaterMark::open(folder.path()).unwrap().position(), Some(position(2)));
    }
}
