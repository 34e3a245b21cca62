//! The journal and the checkpoints of a recorder.

use super::{Recorder, Stream};
use crate::checkpoint::{self, Piece, Saved, SavedKey, SavedStream};
use crate::journal::Chunk;
use crate::ledger::{Blocks, Slot};

/// A checkpoint under way: what is still to be written, and the last chunk of the journal before it.
#[derive(Debug, Default)]
pub(super) struct Checkpoint {
    slots: Vec<Slot>,
    streams: Vec<u32>,
    sources: Vec<u32>,
    gone: Vec<(Slot, Blocks)>,
    covers: u64,
    numbers_are_due: bool,
}

impl Recorder {
    /// Bytes of the journal that wait to be saved.
    pub const fn unsaved(&self) -> usize {
        self.journal.len()
    }

    /// The number that the next chunk of the journal will have.
    pub const fn next_chunk(&self) -> u64 {
        self.journal.next()
    }

    /// Hands over the journal since the last time, to be saved in one transaction, each chunk under its number.
    pub fn take_journal(&mut self) -> Vec<Chunk> {
        self.journal.take()
    }

    /// Takes back chunks that could not be saved. They are handed over again as they are.
    pub fn return_journal(&mut self, chunks: Vec<Chunk>) {
        self.journal.give_back(chunks);
    }

    /// Whether a checkpoint is under way.
    pub const fn is_in_checkpoint(&self) -> bool {
        self.checkpoint.is_some()
    }

    /// Begins a checkpoint of all that changed since the last one. Points may be taken while it is under way.
    pub fn begin_checkpoint(&mut self) {
        if self.checkpoint.is_some() {
            return;
        }
        let covers = self.journal.close();
        self.checkpoint = Some(Checkpoint {
            slots: std::mem::take(&mut self.ledger.dirty),
            streams: std::mem::take(&mut self.dirty_streams),
            sources: std::mem::take(&mut self.dirty_sources),
            gone: std::mem::take(&mut self.gone),
            covers,
            numbers_are_due: true,
        });
    }

    /// Marks all that memory holds as changed, for a disk that lost some of what it had: the next checkpoint writes all of
    /// it. One that is under way is given up.
    pub fn touch_all(&mut self) {
        self.return_piece(Piece::default());
        let slots: Vec<Slot> = self.ledger.slots().collect();
        for slot in slots {
            if let Some(account) = self.ledger.account_mut(slot) {
                account.is_new = true;
                account.touch_all();
            }
            self.ledger.mark_dirty(slot);
        }
        for number in self.stream_numbers.values().copied() {
            let stream = self.streams.at_mut(number);
            if stream.is_some_and(|stream| !std::mem::replace(&mut stream.dirty, true)) {
                self.dirty_streams.push(number);
            }
        }
        for number in self.source_numbers.values().copied() {
            let source = self.sources.at_mut(number);
            if source.is_some_and(|source| !std::mem::replace(&mut source.dirty, true)) {
                self.dirty_sources.push(number);
            }
        }
    }

    /// The next part of the checkpoint, of about `bytes`; `None` when none is under way. The part that
    /// [covers](Piece::covers) some of the journal is the last. Every part stands for itself: a crash between two leaves
    /// nothing half done.
    ///
    /// The journal has to be saved before, for one half of what a point changed must not be on disk without the other:
    /// there is no part while some of the journal waits.
    pub fn next_piece(&mut self, bytes: usize) -> Option<Piece> {
        if self.unsaved() > 0 {
            return None;
        }
        let mut checkpoint = self.checkpoint.take()?;
        // All that memory holds is in chunks up to this one.
        let mark = self.journal.close();
        let mut piece = Piece::default();
        let mut size = 0;
        let mut put = |piece: &mut Piece, key, value: Option<Vec<u8>>| {
            size += 32 + value.as_ref().map_or(0, Vec::len);
            piece.saved.push(Saved { key, value });
            size >= bytes
        };
        let mut full = false;
        if std::mem::take(&mut checkpoint.numbers_are_due) {
            let numbers = checkpoint::numbers(self.ledger.next_slot().index(), self.journal.next());
            full |= put(&mut piece, SavedKey::Numbers, Some(numbers));
        }
        while !full && let Some((slot, blocks)) = checkpoint.gone.pop() {
            for (tier, block) in blocks {
                put(&mut piece, SavedKey::Block { slot, tier, block }, None);
            }
            put(&mut piece, SavedKey::Series(slot), None);
            full |= put(&mut piece, SavedKey::Mark(slot), None);
        }
        while !full && let Some(number) = checkpoint.sources.pop() {
            let value = self.sources.at_mut(number).map(|source| {
                source.dirty = false;
                checkpoint::source(mark, source.id, source.state)
            });
            full |= put(&mut piece, SavedKey::Source(number), value);
        }
        while !full && let Some(slot) = checkpoint.slots.pop() {
            let Some(account) = self.ledger.account_mut(slot) else { continue };
            account.dirty = false;
            if std::mem::take(&mut account.is_new) {
                put(&mut piece, SavedKey::Series(slot), Some(checkpoint::series(account)));
            }
            let (changed, stale) = account.take_dirty_blocks();
            for (tier, block) in changed {
                let first = block.saturating_mul(account.block_buckets(tier));
                let row = account.row(tier, first, first.saturating_add(account.block_buckets(tier)));
                put(&mut piece, SavedKey::Block { slot, tier, block }, Some(checkpoint::block(&row)));
            }
            for (tier, block) in stale {
                put(&mut piece, SavedKey::Block { slot, tier, block }, None);
            }
            full |= put(&mut piece, SavedKey::Mark(slot), Some(checkpoint::mark(mark, account.oldest())));
        }
        while !full && let Some(number) = checkpoint.streams.pop() {
            let value = self.streams.at_mut(number).map(|stream| {
                stream.dirty = false;
                saved_stream(stream, mark).encode()
            });
            full |= put(&mut piece, SavedKey::Stream(number), value);
        }
        if full {
            self.checkpoint = Some(checkpoint);
        } else {
            piece.covers = Some(checkpoint.covers);
        }
        Some(piece)
    }

    /// Takes back a part that could not be saved, and ends the checkpoint: the next one begins with all of it.
    pub fn return_piece(&mut self, piece: Piece) {
        let rest = self.checkpoint.take().unwrap_or_default();
        self.gone.extend(rest.gone);
        for slot in rest.slots {
            // Still marked as changed, but no longer listed.
            self.ledger.dirty.push(slot);
        }
        self.dirty_streams.extend(rest.streams);
        self.dirty_sources.extend(rest.sources);
        for saved in piece.saved {
            match saved.key {
                SavedKey::Numbers => {}
                SavedKey::Series(slot) => match self.ledger.account_mut(slot) {
                    Some(account) => account.is_new = true,
                    None => self.gone.push((slot, Vec::new())),
                },
                SavedKey::Mark(slot) => self.ledger.mark_dirty(slot),
                SavedKey::Block { slot, tier, block } => match self.ledger.account_mut(slot) {
                    Some(account) => account.return_blocks([(tier, block)]),
                    None => self.gone.push((slot, vec![(tier, block)])),
                },
                SavedKey::Stream(number) => {
                    let held = self.streams.at_mut(number);
                    if held.is_none_or(|stream| !std::mem::replace(&mut stream.dirty, true)) {
                        self.dirty_streams.push(number);
                    }
                }
                SavedKey::Source(number) => {
                    let held = self.sources.at_mut(number);
                    if held.is_none_or(|source| !std::mem::replace(&mut source.dirty, true)) {
                        self.dirty_sources.push(number);
                    }
                }
            }
        }
    }
}

fn saved_stream(stream: &Stream, mark: u64) -> SavedStream {
    SavedStream { mark, source: stream.source, id: stream.id, slot: stream.slot, state: stream.state.clone() }
}
