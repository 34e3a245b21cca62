//! A store as the engine has one: values by their names, and chunks of the journal by their numbers.

use pqscope_slo_core::ledger::Limits;
use pqscope_slo_core::recorder::{Chunk, Piece, Recorder, Recovery, SavedKey};
use pqscope_slo_core::time::Timestamp;
use std::collections::BTreeMap;

#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) saved: BTreeMap<SavedKey, Vec<u8>>,
    pub(crate) journal: BTreeMap<u64, Vec<u8>>,
}

impl Disk {
    /// Writes what was counted since the last time.
    pub(crate) fn save(&mut self, recorder: &mut Recorder) {
        self.write_journal(&recorder.take_journal());
    }

    pub(crate) fn write_journal(&mut self, chunks: &[Chunk]) {
        self.journal.extend(chunks.iter().map(|chunk| (chunk.number, chunk.bytes.clone())));
    }

    /// Writes a piece of a checkpoint.
    pub(crate) fn write(&mut self, piece: &Piece) {
        for saved in &piece.saved {
            match &saved.value {
                Some(value) => self.saved.insert(saved.key, value.clone()),
                None => self.saved.remove(&saved.key),
            };
        }
        if let Some(covers) = piece.covers {
            self.journal.retain(|number, _| *number > covers);
        }
    }

    /// Writes the counts as they stand, in pieces of about so many bytes.
    pub(crate) fn checkpoint(&mut self, recorder: &mut Recorder, bytes: usize) {
        recorder.begin_checkpoint();
        while let Some(piece) = recorder.next_piece(bytes) {
            self.write(&piece);
        }
    }

    /// A recorder that has read all of it.
    pub(crate) fn start(&self, birth: Timestamp, limits: Limits) -> Recorder {
        let mut recovery = Recovery::new(birth, limits);
        self.saved.iter().for_each(|(key, value)| recovery.take(*key, value));
        self.journal.iter().for_each(|(number, bytes)| recovery.replay(*number, bytes));
        let (recorder, unreadable) = recovery.finish();
        assert_eq!(unreadable, 0);
        recorder
    }
}
