//! Intake and ledger joined: points go in, counts, a journal of what changed, and checkpoints come out.
//!
//! The runner feeds a batch, takes the [journal](Recorder::take_journal), saves it in one transaction and only then
//! acknowledges the batch. When saving fails it [gives it back](Recorder::return_journal) and answers with an error: the
//! sender's retry then counts as a repeat, and the journal is saved with the next batch. Now and then the runner makes a
//! [checkpoint](Recorder::begin_checkpoint): all that changed is saved as it stands, piece by piece, and the journal up to
//! there goes. After a crash memory is [rebuilt](Recovery) from the checkpoints and the journal behind them, which is
//! exactly what was acknowledged.

mod layout1;
mod recovery;
mod saving;
mod slab;

pub use crate::checkpoint::{Piece, Saved, SavedKey};
pub use crate::journal::Chunk;
pub use layout1::{Record, from_layout_1};
pub use recovery::Recovery;

use crate::intake::{
    Background, FUTURE_TOLERANCE, Increment, Level, Measured, Point, Rejected, SourceState, Step,
    StreamState, Taken, advance,
};
use crate::journal::{Entry, Journal};
use crate::ledger::{Blocks, LONGEST_WINDOW, Ledger, Limits, Slot};
use crate::measured::Kind;
use crate::series::{Series, SeriesId, SourceId};
use crate::time::Timestamp;
use saving::Checkpoint;
use slab::Slab;
use std::collections::HashMap;
use std::time::Duration;

/// Streams silent for so long are forgotten. A cumulative stream that began before that and comes back is taken as new
/// history, not as news.
pub const STREAM_MEMORY: Duration = Duration::from_secs(7 * 86_400);

struct Stream {
    source: u32,
    id: SeriesId,
    /// Where its increments go, once there were any or there was room.
    slot: Option<Slot>,
    state: Option<StreamState>,
    dirty: bool,
}

struct Source {
    id: SourceId,
    state: SourceState,
    dirty: bool,
}

/// What the last point was about: points of one export come one after the other.
#[derive(Clone, Copy, PartialEq, Eq)]
struct LastNote {
    source: u32,
    time: Timestamp,
    now: Timestamp,
}

/// All that the engine has counted and what it must remember to count on.
pub struct Recorder {
    birth: Timestamp,
    limits: Limits,
    ledger: Ledger,
    streams: Slab<Stream>,
    stream_numbers: HashMap<(u32, SeriesId), u32, foldhash::fast::FixedState>,
    sources: Slab<Source>,
    source_numbers: HashMap<SourceId, u32, foldhash::fast::FixedState>,
    heard: HashMap<String, Timestamp>,
    last_note: Option<LastNote>,
    journal: Journal,
    dirty_streams: Vec<u32>,
    dirty_sources: Vec<u32>,
    /// Series that went, with the blocks that they may have on disk.
    gone: Vec<(Slot, Blocks)>,
    checkpoint: Option<Checkpoint>,
}

impl Recorder {
    /// A recorder without memory, started for the first time at `birth`.
    pub fn new(birth: Timestamp, limits: Limits) -> Self {
        Self {
            birth,
            limits,
            ledger: Ledger::new(limits),
            streams: Slab::default(),
            stream_numbers: HashMap::default(),
            sources: Slab::default(),
            source_numbers: HashMap::default(),
            heard: HashMap::new(),
            last_note: None,
            journal: Journal::new(1),
            dirty_streams: Vec::new(),
            dirty_sources: Vec::new(),
            gone: Vec::new(),
            checkpoint: None,
        }
    }

    /// When this state was first started.
    pub const fn birth(&self) -> Timestamp {
        self.birth
    }

    /// Takes one point. On an error nothing has changed.
    ///
    /// # Errors
    /// When the point cannot be counted; the sender is to be told in `partial_success`.
    pub fn accept(
        &mut self,
        source: SourceId,
        series: &Series,
        point: &Point,
        now: Timestamp,
    ) -> Result<Taken, Rejected> {
        self.accept_known(source, series.id(), series, point, now)
    }

    /// As [`accept`](Self::accept), for whoever knows the number of the series already: it costs more than all the rest.
    ///
    /// # Errors
    /// When the point cannot be counted.
    pub fn accept_known(
        &mut self,
        source: SourceId,
        id: SeriesId,
        series: &Series,
        point: &Point,
        now: Timestamp,
    ) -> Result<Taken, Rejected> {
        let source_number = self.source_numbers.get(&source).copied();
        let number = source_number.and_then(|source| self.stream_numbers.get(&(source, id)).copied());
        let stream = number.and_then(|number| self.streams.at(number));
        if stream.is_none() && point.value.is_some() && self.streams.len() >= self.limits.streams {
            return Err(Rejected::StreamLimit);
        }
        let known = stream.and_then(|stream| stream.state.as_ref());
        let sender = source_number.and_then(|source| self.sources.at(source));
        let background = Background {
            horizon: self.birth.max(now.before(STREAM_MEMORY)),
            previous_export: sender.and_then(|sender| sender.state.before(point.time)),
        };
        let Step { taken, advance } = advance(known, background, point, now)?;
        let bound = stream.and_then(|stream| stream.slot);
        let Some(advance) = advance else {
            self.note(source, &series.metric, point.time, now);
            self.hear(bound, now);
            return Ok(taken);
        };
        let is_news = advance.is_news(known);
        let entry = is_news.then(|| Entry::of_advance(number.unwrap_or_default(), known, &advance));
        let sample = advance.increment().map(|increment| &increment.amount).or(point.value.as_ref());
        let parts = advance.increment().filter(|increment| !increment.is_instant()).map(Increment::parts);
        if let Some(increment) = advance.increment() {
            let first =
                parts.as_ref().and_then(|parts| parts.first()).map_or(increment.until, |(time, _)| *time);
            if first < now.before(LONGEST_WINDOW) {
                return Err(Rejected::TooOld);
            }
        }
        let slot = self.slot_for(bound, id, series, sample, advance.increment().is_some())?;
        if let (Some(increment), Some(slot)) = (advance.increment(), slot) {
            self.ledger.check_kind(slot, &increment.amount)?;
            match parts {
                None => self.ledger.add(slot, increment.until, &increment.amount),
                Some(parts) => {
                    parts.iter().for_each(|(time, amount)| self.ledger.add(slot, *time, amount));
                }
            }
        }
        let source_number = self.note(source, &series.metric, point.time, now);
        let number = number.unwrap_or_else(|| self.open_stream(source_number, id));
        if let Some(slot) = slot.filter(|slot| bound != Some(*slot)) {
            self.journal.put(&Entry::Bind { stream: number, slot: slot.index() });
        }
        if let Some(mut entry) = entry {
            entry.rename(number, slot.map(Slot::index));
            self.journal.put(&entry);
        }
        self.hear(slot, now);
        if let Some(stream) = self.streams.at_mut(number) {
            stream.state = Some(advance.after(stream.state.take()));
            stream.slot = slot;
            if (is_news || slot != bound) && !std::mem::replace(&mut stream.dirty, true) {
                self.dirty_streams.push(number);
            }
        }
        Ok(taken)
    }

    /// The series that a stream's increments go to. One that has none yet gets a place only while there is plenty.
    fn slot_for(
        &mut self,
        bound: Option<Slot>,
        id: SeriesId,
        series: &Series,
        sample: Option<&Measured>,
        is_needed: bool,
    ) -> Result<Option<Slot>, Rejected> {
        if bound.is_some_and(|slot| self.ledger.account(slot).is_some()) {
            return Ok(bound);
        }
        let kind = sample.map_or(Kind::Count, Measured::kind);
        if is_needed || self.ledger.has_room() || self.ledger.slot(id).is_some() {
            return self.open(id, series, kind).map(Some);
        }
        Ok(None)
    }

    fn open(&mut self, id: SeriesId, series: &Series, kind: Kind) -> Result<Slot, Rejected> {
        let next = self.ledger.next_slot();
        let slot = self.ledger.open(id, series, kind)?;
        if slot == next
            && let Some(account) = self.ledger.account(slot)
        {
            let series = account.series.as_ref().clone();
            self.journal.put(&Entry::Series { slot: slot.index(), kind: account.kind(), series });
        }
        Ok(slot)
    }

    fn open_stream(&mut self, source: u32, id: SeriesId) -> u32 {
        let stream = self.streams.insert(Stream { source, id, slot: None, state: None, dirty: false });
        self.stream_numbers.insert((source, id), stream);
        self.journal.put(&Entry::Stream { stream, source, id });
        stream
    }

    /// Takes one reading of a gauge: the latest of a bucket stands. A repeat changes nothing.
    ///
    /// # Errors
    /// When the value is not finite, the time missing, ahead of the clock or too old, or the series measures something
    /// else.
    pub fn accept_level(
        &mut self,
        source: SourceId,
        series: &Series,
        at: Timestamp,
        value: f64,
        now: Timestamp,
    ) -> Result<Taken, Rejected> {
        let amount = Measured::Level(Level::new(at, value)?);
        self.add(series, at, &amount, now)?;
        self.note(source, &series.metric, at, now);
        Ok(Taken::Counted)
    }

    /// Counts what is no point of a stream: an event, the outcome of a check. Every call counts.
    ///
    /// # Errors
    /// When the time is missing, ahead of the clock or too old, the series measures something else, or there are too
    /// many series.
    pub fn contribute(
        &mut self,
        series: &Series,
        at: Timestamp,
        amount: Measured,
        now: Timestamp,
    ) -> Result<(), Rejected> {
        self.add(series, at, &amount, now)?;
        self.note_metric(&series.metric, now);
        Ok(())
    }

    fn add(
        &mut self,
        series: &Series,
        at: Timestamp,
        amount: &Measured,
        now: Timestamp,
    ) -> Result<(), Rejected> {
        if at == Timestamp::EPOCH {
            return Err(Rejected::NoTime);
        }
        if at > now.after(FUTURE_TOLERANCE) {
            return Err(Rejected::FromFuture);
        }
        if at < now.before(LONGEST_WINDOW) {
            return Err(Rejected::TooOld);
        }
        let slot = self.open(series.id(), series, amount.kind())?;
        self.ledger.check_kind(slot, amount)?;
        self.ledger.add(slot, at, amount);
        self.ledger.hear(slot, now);
        self.journal.put(&Entry::Add { slot: slot.index(), at, amount: amount.clone() });
        Ok(())
    }

    fn hear(&mut self, slot: Option<Slot>, now: Timestamp) {
        if let Some(slot) = slot {
            self.ledger.hear(slot, now);
        }
    }

    /// Notes a point of a sender; the sender's number.
    fn note(&mut self, id: SourceId, metric: &str, time: Timestamp, now: Timestamp) -> u32 {
        if let Some(last) = self.last_note
            && (last.time, last.now) == (time, now)
            && self.sources.at(last.source).is_some_and(|source| source.id == id)
        {
            return last.source;
        }
        self.note_metric(metric, now);
        let number = match self.source_numbers.get(&id) {
            Some(number) => *number,
            None => {
                let state = SourceState { previous: None, latest: time };
                let number = self.sources.insert(Source { id, state, dirty: true });
                self.source_numbers.insert(id, number);
                self.dirty_sources.push(number);
                self.journal.put(&Entry::Source { source: number, id, time });
                number
            }
        };
        if let Some(source) = self.sources.at_mut(number) {
            let state = source.state.noted(time);
            if state != source.state {
                source.state = state;
                self.journal.put(&Entry::Heard { source: number, time });
                if !std::mem::replace(&mut source.dirty, true) {
                    self.dirty_sources.push(number);
                }
            }
        }
        self.last_note = Some(LastNote { source: number, time, now });
        number
    }

    fn note_metric(&mut self, metric: &str, now: Timestamp) {
        match self.heard.get_mut(metric) {
            Some(heard) => *heard = now.max(*heard),
            None => {
                self.heard.insert(metric.to_owned(), now);
            }
        }
    }

    /// The counts.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The counts, to tell them which attributes to keep.
    pub const fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// When any sender was last heard of with this metric, on our clock; `None` since the start.
    pub fn last_heard(&self, metric: &str) -> Option<Timestamp> {
        self.heard.get(metric).copied()
    }

    /// When any stream of a series was last heard of, on our clock, although its value may not have changed; `None` since
    /// the start.
    pub fn series_heard(&self, slot: Slot) -> Option<Timestamp> {
        self.ledger.account(slot)?.heard
    }

    /// Number of streams that are remembered.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Drops fine history before its time, where the disk cannot hold all of it: step 1 halves what is kept of ten-second
    /// buckets, step 2 halves it again and that of minutes too, and so on. Windows are answered from coarser buckets
    /// then. The next checkpoint removes it from disk.
    pub fn shed(&mut self, now: Timestamp, step: u32) {
        self.ledger.shed(now, step);
    }

    /// Forgets what is beyond its retention. Call it every few minutes.
    pub fn expire(&mut self, now: Timestamp) {
        let oldest = now.before(STREAM_MEMORY);
        self.gone.extend(self.ledger.forget(now, oldest));
        self.last_note = None;
        let sources = &self.sources;
        let silent: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, stream)| {
                // A stream that did not change since the last start carries an old time; its sender's is the truth.
                let own = stream.state.as_ref().map_or(Timestamp::EPOCH, StreamState::time);
                let latest = sources.at(stream.source).map_or(own, |source| source.state.latest.max(own));
                latest < oldest
            })
            .map(|(number, _)| number)
            .collect();
        for number in silent {
            if let Some(stream) = self.streams.remove(number) {
                self.stream_numbers.remove(&(stream.source, stream.id));
                self.journal.put(&Entry::StreamGone { stream: number });
                self.dirty_streams.push(number);
            }
        }
        let silent: Vec<u32> = self
            .sources
            .iter()
            .filter(|(_, source)| source.state.latest < oldest)
            .map(|(number, _)| number)
            .collect();
        for number in silent {
            if let Some(source) = self.sources.remove(number) {
                self.source_numbers.remove(&source.id);
                self.journal.put(&Entry::SourceGone { source: number });
                self.dirty_sources.push(number);
            }
        }
    }
}
