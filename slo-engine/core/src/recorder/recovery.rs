//! From what is on disk back to a recorder.

use super::{Recorder, Source, Stream};
use crate::checkpoint::{self, SavedKey, SavedStream};
use crate::intake::SourceState;
use crate::journal::{self, Entry, Journal};
use crate::ledger::{Limits, Slot, Tier};
use crate::time::Timestamp;
use std::collections::HashMap;

/// Rebuilds a recorder: first every saved value in any order, then the journal in the order of its numbers.
pub struct Recovery {
    recorder: Recorder,
    /// Blocks whose series has not come yet.
    early: Vec<(Slot, Tier, u32, Vec<u8>)>,
    /// First buckets that are not expired.
    oldest: Vec<(Slot, [u32; 5])>,
    series_marks: HashMap<u32, u64>,
    stream_marks: HashMap<u32, u64>,
    source_marks: HashMap<u32, u64>,
    next_slot: u32,
    next_chunk: u64,
    unreadable: usize,
    is_settled: bool,
}

impl Recovery {
    /// Begins. `birth` is when this state was first started.
    pub fn new(birth: Timestamp, limits: Limits) -> Self {
        Self {
            recorder: Recorder::new(birth, limits),
            early: Vec::new(),
            oldest: Vec::new(),
            series_marks: HashMap::new(),
            stream_marks: HashMap::new(),
            source_marks: HashMap::new(),
            next_slot: 0,
            next_chunk: 1,
            unreadable: 0,
            is_settled: false,
        }
    }

    /// Takes a saved value.
    pub fn take(&mut self, key: SavedKey, value: &[u8]) {
        if self.take_readable(key, value).is_none() {
            self.unreadable += 1;
        }
    }

    fn take_readable(&mut self, key: SavedKey, value: &[u8]) -> Option<()> {
        match key {
            SavedKey::Numbers => {
                let (slot, chunk) = checkpoint::read_numbers(value)?;
                self.next_slot = self.next_slot.max(slot);
                self.next_chunk = self.next_chunk.max(chunk);
            }
            SavedKey::Series(slot) => {
                let (kind, series) = checkpoint::read_series(value)?;
                self.recorder.ledger.define(slot, series.id(), series, kind);
                if let Some(account) = self.recorder.ledger.account_mut(slot) {
                    account.is_new = false;
                }
            }
            SavedKey::Mark(slot) => {
                let (mark, oldest) = checkpoint::read_mark(value)?;
                self.oldest.push((slot, oldest));
                self.series_marks.insert(slot.index(), mark);
                self.next_chunk = self.next_chunk.max(mark.checked_add(1)?);
            }
            SavedKey::Block { slot, tier, block } => match self.recorder.ledger.account_mut(slot) {
                None => self.early.push((slot, tier, block, value.to_vec())),
                Some(account) => {
                    if !account.restore(tier, block, checkpoint::read_block(value)?) {
                        return None;
                    }
                }
            },
            SavedKey::Stream(number) => {
                let saved = SavedStream::decode(value)?;
                self.stream_marks.insert(number, saved.mark);
                self.next_chunk = self.next_chunk.max(saved.mark.checked_add(1)?);
                self.recorder.stream_numbers.insert((saved.source, saved.id), number);
                let SavedStream { source, id, slot, state, .. } = saved;
                self.recorder.streams.put(number, Stream { source, id, slot, state, dirty: false });
            }
            SavedKey::Source(number) => {
                let (mark, id, state) = checkpoint::read_source(value)?;
                self.source_marks.insert(number, mark);
                self.next_chunk = self.next_chunk.max(mark.checked_add(1)?);
                self.recorder.source_numbers.insert(id, number);
                self.recorder.sources.put(number, Source { id, state, dirty: false });
            }
        }
        Some(())
    }

    /// Takes a chunk of the journal, once all saved values are there. What cannot be read ends the chunk.
    pub fn replay(&mut self, number: u64, chunk: &[u8]) {
        self.settle();
        self.next_chunk = self.next_chunk.max(number.saturating_add(1));
        for entry in journal::entries(chunk) {
            if entry.and_then(|entry| self.apply(number, entry)).is_none() {
                self.unreadable += 1;
            }
        }
    }

    fn settle(&mut self) {
        if std::mem::replace(&mut self.is_settled, true) {
            return;
        }
        for (slot, tier, block, value) in std::mem::take(&mut self.early) {
            let row = checkpoint::read_block(&value);
            let account = self.recorder.ledger.account_mut(slot);
            if !account.zip(row).is_some_and(|(account, row)| account.restore(tier, block, row)) {
                self.unreadable += 1;
            }
        }
        let slots: Vec<Slot> = self.recorder.ledger.slots().collect();
        for slot in slots {
            if let Some(account) = self.recorder.ledger.account_mut(slot) {
                account.settle();
            }
        }
        for (slot, oldest) in std::mem::take(&mut self.oldest) {
            let Some(account) = self.recorder.ledger.account_mut(slot) else { continue };
            for (tier, oldest) in Tier::ALL.into_iter().zip(oldest) {
                account.drop_before(tier, oldest);
            }
        }
    }

    /// Applies an entry to what was saved before it; `None` when it does not fit.
    fn apply(&mut self, chunk: u64, entry: Entry) -> Option<()> {
        let is_new =
            |marks: &HashMap<u32, u64>, number: u32| marks.get(&number).is_none_or(|mark| chunk > *mark);
        let recorder = &mut self.recorder;
        match &entry {
            Entry::Series { slot, kind, series } => {
                if is_new(&self.series_marks, *slot) {
                    recorder.ledger.define(Slot::from_index(*slot), series.id(), series.clone(), *kind);
                    recorder.ledger.mark_dirty(Slot::from_index(*slot));
                }
            }
            Entry::Source { source, id, time } => {
                if is_new(&self.source_marks, *source) {
                    let state = SourceState { previous: None, latest: *time };
                    if let Some(old) = recorder.sources.put(*source, Source { id: *id, state, dirty: true }) {
                        recorder.source_numbers.remove(&old.id);
                    }
                    recorder.source_numbers.insert(*id, *source);
                    recorder.dirty_sources.push(*source);
                }
            }
            Entry::Heard { source, time } => {
                // A sender that was forgotten meanwhile is no fault.
                if is_new(&self.source_marks, *source)
                    && let Some(held) = recorder.sources.at_mut(*source)
                {
                    held.state = held.state.noted(*time);
                    if !std::mem::replace(&mut held.dirty, true) {
                        recorder.dirty_sources.push(*source);
                    }
                }
            }
            Entry::SourceGone { source } => {
                if is_new(&self.source_marks, *source)
                    && let Some(old) = recorder.sources.remove(*source)
                {
                    recorder.source_numbers.remove(&old.id);
                    recorder.dirty_sources.push(*source);
                }
            }
            Entry::StreamGone { stream } => {
                if is_new(&self.stream_marks, *stream)
                    && let Some(old) = recorder.streams.remove(*stream)
                {
                    recorder.stream_numbers.remove(&(old.source, old.id));
                    recorder.dirty_streams.push(*stream);
                }
            }
            Entry::Stream { stream, source, id } => {
                if is_new(&self.stream_marks, *stream) {
                    let made = Stream { source: *source, id: *id, slot: None, state: None, dirty: true };
                    if let Some(old) = recorder.streams.put(*stream, made) {
                        recorder.stream_numbers.remove(&(old.source, old.id));
                    }
                    recorder.stream_numbers.insert((*source, *id), *stream);
                    recorder.dirty_streams.push(*stream);
                }
            }
            Entry::Bind { stream, slot } => {
                if is_new(&self.stream_marks, *stream) {
                    recorder.streams.at_mut(*stream)?.slot = Some(Slot::from_index(*slot));
                }
            }
            Entry::Cumulative { stream, slot, increment, .. }
            | Entry::Delta { stream, slot, increment, .. } => {
                // A stream that was forgotten meanwhile is no fault.
                if is_new(&self.stream_marks, *stream)
                    && let Some(held) = recorder.streams.at_mut(*stream)
                {
                    held.state = entry.after(held.state.take());
                    if !std::mem::replace(&mut held.dirty, true) {
                        recorder.dirty_streams.push(*stream);
                    }
                }
                if let (Some(slot), Some(increment)) = (slot, increment)
                    && is_new(&self.series_marks, *slot)
                {
                    let slot = Slot::from_index(*slot);
                    increment
                        .parts()
                        .iter()
                        .for_each(|(time, amount)| recorder.ledger.add(slot, *time, amount));
                }
            }
            Entry::Add { slot, at, amount } => {
                if is_new(&self.series_marks, *slot) {
                    recorder.ledger.add(Slot::from_index(*slot), *at, amount);
                }
            }
        }
        Some(())
    }

    /// The recorder, and how many values and entries could not be read.
    pub fn finish(mut self) -> (Recorder, usize) {
        self.settle();
        self.recorder.ledger.reserve(self.next_slot);
        self.recorder.streams.reclaim();
        self.recorder.sources.reclaim();
        self.recorder.journal = Journal::new(self.next_chunk);
        (self.recorder, self.unreadable)
    }
}
