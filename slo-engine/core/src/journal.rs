//! What happened since the last checkpoint, in a few bytes per point: the way from a commit back to the counts.
//!
//! Entries say what changed, not what came in: replaying them needs no rule of [`intake`](crate::intake) and no clock. They
//! are cut into chunks with numbers that count up for ever; a chunk that could not be written keeps its number and its
//! bytes, so that writing it twice is the same as once. Entries add to what is there, so every saved record says through
//! which chunk it was brought up to date, and only later chunks are replayed on it.
//!
//! A chunk is one byte for the encoding, the time that its first entry counts from, and entries. An entry begins with a
//! byte that holds its kind and what follows; times and stream numbers are differences to the entry before.

use crate::checkpoint::{get_measured, put_measured};
use crate::intake::{Advance, Increment, Measured, StreamState};
use crate::measured::Kind;
use crate::series::{Attributes, Series, SeriesId, SourceId};
use crate::time::Timestamp;
use crate::wire::{Reader, put_number, put_signed, put_text};

const ENCODING: u8 = 1;
/// A chunk is closed beyond this size: sled keeps up to 17 values in a page, and pages of 128 KiB leave its log.
const CHUNK_BYTES: usize = 4 << 10;

const SERIES: u8 = 0;
const SOURCE: u8 = 1;
const STREAM: u8 = 2;
const BIND: u8 = 3;
const ADD: u8 = 4;
const COUNTER: u8 = 5;
const OTHER: u8 = 6;
const DELTA: u8 = 7;
const KIND: u8 = 0b111;
/// The time differs from that of the entry before.
const HAS_TIME: u8 = 1 << 3;
/// The start differs from that of the stream so far.
const HAS_START: u8 = 1 << 4;
/// The increment is to be spread from a time on.
const HAS_FROM: u8 = 1 << 5;
/// There is an increment.
const HAS_INCREMENT: u8 = 1 << 6;
/// In a counter: the increment is the whole value.
const IS_WHOLE: u8 = 1 << 7;
/// In a source: it is new.
const IS_NEW: u8 = 1 << 4;
/// In a source or stream: it is forgotten, and its number may be given away again.
const IS_GONE: u8 = 1 << 5;

/// A piece of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its number.
    pub number: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How the value of a stream changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// By the increment.
    Plus,
    /// To the increment.
    Whole,
    /// To this.
    Set(Measured),
}

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Entry {
    /// A series takes a place.
    Series { slot: u32, kind: Kind, series: Series },
    /// A sender takes a number.
    Source { source: u32, id: SourceId, time: Timestamp },
    /// A sender was heard of.
    Heard { source: u32, time: Timestamp },
    /// A stream takes a number.
    Stream { stream: u32, source: u32, id: SeriesId },
    /// A sender was silent for so long that it is forgotten.
    SourceGone { source: u32 },
    /// A stream was silent for so long that it is forgotten.
    StreamGone { stream: u32 },
    /// The increments of a stream go to a series.
    Bind { stream: u32, slot: u32 },
    /// A cumulative stream moves on. `start` is there when it changes.
    Cumulative {
        stream: u32,
        start: Option<Option<Timestamp>>,
        time: Timestamp,
        value: Value,
        increment: Option<Increment>,
        /// The series that an increment goes to.
        slot: Option<u32>,
    },
    /// A delta point was counted.
    Delta { stream: u32, mark: (Timestamp, Timestamp), increment: Option<Increment>, slot: Option<u32> },
    /// Something that is no stream was counted.
    Add { slot: u32, at: Timestamp, amount: Measured },
}

impl Entry {
    /// What moves a stream from its known state on.
    pub(crate) fn of_advance(stream: u32, known: Option<&StreamState>, advance: &Advance) -> Self {
        match advance {
            Advance::Delta { mark, increment } => {
                Self::Delta { stream, mark: *mark, increment: increment.clone(), slot: None }
            }
            Advance::Cumulative { start, time, value, increment } => {
                let (old_start, old) = match known {
                    Some(StreamState::Cumulative { start, value, .. }) => (Some(*start), Some(value)),
                    _ => (None, None),
                };
                let change = match (value, old, increment) {
                    (
                        Measured::Count(new),
                        Some(Measured::Count(old)),
                        Some(Increment { amount: Measured::Count(more), .. }),
                    ) if old.checked_add(*more) == Some(*new) => Value::Plus,
                    (Measured::Count(new), _, Some(Increment { amount: Measured::Count(more), .. }))
                        if new == more =>
                    {
                        Value::Whole
                    }
                    _ => Value::Set(value.clone()),
                };
                let start = (old_start != Some(*start)).then_some(*start);
                Self::Cumulative {
                    stream,
                    start,
                    time: *time,
                    value: change,
                    increment: increment.clone(),
                    slot: None,
                }
            }
        }
    }

    /// Gives the entry the number of its stream, and the place of the series that its increment goes to.
    pub(crate) const fn rename(&mut self, number: u32, place: Option<u32>) {
        if let Self::Cumulative { stream, slot, increment, .. }
        | Self::Delta { stream, slot, increment, .. } = self
        {
            *stream = number;
            *slot = if increment.is_some() { place } else { None };
        }
    }

    /// The state of a stream after the entry.
    pub(crate) fn after(&self, known: Option<StreamState>) -> Option<StreamState> {
        match self {
            Self::Cumulative { start, time, value, increment, .. } => {
                let (old_start, old) = match known {
                    Some(StreamState::Cumulative { start, value, .. }) => (start, Some(value)),
                    _ => (None, None),
                };
                let amount = increment.as_ref().map(|increment| &increment.amount);
                let value = match (value, old, amount) {
                    (Value::Set(value), ..) => value.clone(),
                    (Value::Plus, Some(Measured::Count(old)), Some(Measured::Count(more))) => {
                        Measured::Count(old.saturating_add(*more))
                    }
                    (_, _, Some(amount)) => amount.clone(),
                    (_, old, None) => old?,
                };
                Some(StreamState::Cumulative { start: start.unwrap_or(old_start), time: *time, value })
            }
            Self::Delta { mark, .. } => Some(Advance::Delta { mark: *mark, increment: None }.after(known)),
            _ => known,
        }
    }
}

/// What of entries is differences.
#[derive(Clone, Debug, Default)]
struct Context {
    time: u64,
    stream: u32,
    slot: u32,
}

/// Collects entries into chunks.
#[derive(Debug)]
pub(crate) struct Journal {
    bytes: Vec<u8>,
    context: Context,
    closed: Vec<Chunk>,
    closed_bytes: usize,
    next: u64,
}

impl Journal {
    /// A journal whose next chunk has this number.
    pub(crate) const fn new(next: u64) -> Self {
        Self {
            bytes: Vec::new(),
            context: Context { time: 0, stream: 0, slot: 0 },
            closed: Vec::new(),
            closed_bytes: 0,
            next,
        }
    }

    /// Bytes that were not taken yet.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len() + self.closed_bytes
    }

    /// Closes the chunk under way. Returns the number of the last chunk ever closed.
    pub(crate) fn close(&mut self) -> u64 {
        if !self.bytes.is_empty() {
            let bytes = std::mem::take(&mut self.bytes);
            self.closed_bytes += bytes.len();
            self.closed.push(Chunk { number: self.next, bytes });
            self.next += 1;
        }
        self.next.saturating_sub(1)
    }

    /// The number that the next chunk will have.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    /// Hands over what was written since the last time.
    pub(crate) fn take(&mut self) -> Vec<Chunk> {
        self.close();
        self.closed_bytes = 0;
        std::mem::take(&mut self.closed)
    }

    /// Takes chunks back, to be handed over again as they are.
    pub(crate) fn give_back(&mut self, mut chunks: Vec<Chunk>) {
        self.closed_bytes += chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
        chunks.append(&mut self.closed);
        self.closed = chunks;
    }

    pub(crate) fn put(&mut self, entry: &Entry) {
        if self.bytes.is_empty() {
            self.bytes.reserve(CHUNK_BYTES + CHUNK_BYTES / 8);
            self.bytes.push(ENCODING);
            let time = entry.time().nanoseconds();
            put_number(&mut self.bytes, time);
            self.context = Context { time, stream: 0, slot: 0 };
        }
        encode(&mut self.bytes, &mut self.context, entry);
        if self.bytes.len() >= CHUNK_BYTES {
            self.close();
        }
    }
}

impl Entry {
    const fn time(&self) -> Timestamp {
        match self {
            Self::Source { time, .. } | Self::Heard { time, .. } | Self::Cumulative { time, .. } => *time,
            Self::Delta { mark, .. } => mark.1,
            Self::Add { at, .. } => *at,
            Self::Series { .. }
            | Self::SourceGone { .. }
            | Self::StreamGone { .. }
            | Self::Stream { .. }
            | Self::Bind { .. } => Timestamp::EPOCH,
        }
    }
}

fn encode(out: &mut Vec<u8>, context: &mut Context, entry: &Entry) {
    match entry {
        Entry::Series { slot, kind, series } => {
            out.push(SERIES);
            put_number(out, u64::from(*slot));
            out.push(kind.code());
            put_series(out, series);
        }
        Entry::Source { source, id, time } => {
            put_head(out, context, SOURCE | IS_NEW, *time);
            put_number(out, u64::from(*source));
            out.extend_from_slice(&id.to_bytes());
        }
        Entry::Heard { source, time } => {
            put_head(out, context, SOURCE, *time);
            put_number(out, u64::from(*source));
        }
        Entry::Stream { stream, source, id } => {
            out.push(STREAM);
            put_stream(out, context, *stream);
            put_number(out, u64::from(*source));
            out.extend_from_slice(&id.to_bytes());
        }
        Entry::SourceGone { source } => {
            out.push(SOURCE | IS_GONE);
            put_number(out, u64::from(*source));
        }
        Entry::StreamGone { stream } => {
            out.push(STREAM | IS_GONE);
            put_stream(out, context, *stream);
        }
        Entry::Bind { stream, slot } => {
            out.push(BIND);
            put_stream(out, context, *stream);
            put_number(out, u64::from(*slot));
        }
        Entry::Add { slot, at, amount } => {
            put_head(out, context, ADD, *at);
            put_number(out, u64::from(*slot));
            put_measured(out, amount);
        }
        Entry::Cumulative { stream, start, time, value, increment, slot } => {
            let (kind, flags) = match (value, increment) {
                (Value::Plus, _) => (COUNTER, HAS_INCREMENT),
                (Value::Whole, _) => (COUNTER, HAS_INCREMENT | IS_WHOLE),
                (Value::Set(Measured::Count(_)), None) => (COUNTER, 0),
                (Value::Set(_), None) => (OTHER, 0),
                (Value::Set(_), Some(_)) => (OTHER, HAS_INCREMENT),
            };
            let start_flag = if start.is_some() { HAS_START } else { 0 };
            put_head(out, context, kind | flags | start_flag | from_flag(increment.as_ref()), *time);
            put_stream(out, context, *stream);
            if let Some(start) = start {
                // Zero is no start; a start is never later than the time.
                let back =
                    start.map_or(0, |start| time.nanoseconds().saturating_sub(start.nanoseconds()) + 1);
                put_number(out, back);
            }
            match (kind, value) {
                (COUNTER, Value::Set(value)) => put_number(out, value.total()),
                (_, Value::Set(value)) => put_measured(out, value),
                _ => {}
            }
            put_increment(out, context, increment.as_ref(), *slot, kind == COUNTER);
        }
        Entry::Delta { stream, mark: (start, time), increment, slot } => {
            let flags = if increment.is_some() { HAS_INCREMENT } else { 0 };
            put_head(out, context, DELTA | flags | from_flag(increment.as_ref()), *time);
            put_stream(out, context, *stream);
            put_number(out, time.nanoseconds().saturating_sub(start.nanoseconds()));
            put_increment(out, context, increment.as_ref(), *slot, false);
        }
    }
}

fn from_flag(increment: Option<&Increment>) -> u8 {
    if increment.is_some_and(|increment| !increment.is_instant()) { HAS_FROM } else { 0 }
}

fn put_increment(
    out: &mut Vec<u8>,
    context: &mut Context,
    increment: Option<&Increment>,
    slot: Option<u32>,
    is_counter: bool,
) {
    let Some(increment) = increment else { return };
    // Who has an increment has a series; where not, the highest place stands for none.
    let slot = slot.unwrap_or(u32::MAX);
    put_signed(out, i64::from(slot) - i64::from(context.slot));
    context.slot = slot;
    if !increment.is_instant() {
        put_number(out, increment.until.nanoseconds().saturating_sub(increment.from.nanoseconds()));
    }
    if is_counter {
        put_number(out, increment.amount.total());
    } else {
        put_measured(out, &increment.amount);
    }
}

fn put_head(out: &mut Vec<u8>, context: &mut Context, head: u8, time: Timestamp) {
    let time = time.nanoseconds();
    if time == context.time {
        out.push(head);
        return;
    }
    out.push(head | HAS_TIME);
    put_signed(out, time.wrapping_sub(context.time).cast_signed());
    context.time = time;
}

fn put_stream(out: &mut Vec<u8>, context: &mut Context, stream: u32) {
    put_signed(out, i64::from(stream) - i64::from(context.stream));
    context.stream = stream;
}

pub(crate) fn put_series(out: &mut Vec<u8>, series: &Series) {
    put_text(out, &series.metric);
    put_number(out, series.attributes.len() as u64);
    for (key, value) in &series.attributes {
        put_text(out, key);
        put_text(out, value);
    }
}

pub(crate) fn get_series(bytes: &mut Reader<'_>) -> Option<Series> {
    let metric = bytes.text()?;
    let mut attributes = Attributes::new();
    for _ in 0..bytes.length()? {
        attributes.insert(bytes.text()?, bytes.text()?);
    }
    Some(Series { metric, attributes })
}

/// The entries of a chunk, in order; `None` in place of the first that cannot be read, which ends them.
pub(crate) fn entries(chunk: &[u8]) -> impl Iterator<Item = Option<Entry>> + '_ {
    let mut bytes = Reader::new(chunk);
    let begun = bytes.byte().filter(|encoding| *encoding == ENCODING).and_then(|_| bytes.number());
    let mut context = Context { time: begun.unwrap_or(0), stream: 0, slot: 0 };
    let mut readable = begun.is_some();
    let mut first = true;
    std::iter::from_fn(move || {
        if !readable {
            return std::mem::take(&mut first).then_some(None);
        }
        first = false;
        if bytes.is_empty() {
            return None;
        }
        let entry = decode(&mut bytes, &mut context);
        readable = entry.is_some();
        Some(entry)
    })
}

fn decode(bytes: &mut Reader<'_>, context: &mut Context) -> Option<Entry> {
    let head = bytes.byte()?;
    let has = |flag: u8| head & flag != 0;
    if has(HAS_TIME) {
        context.time = context.time.wrapping_add(bytes.signed()?.cast_unsigned());
    }
    let time = Timestamp::from_nanoseconds(context.time);
    Some(match head & KIND {
        SERIES => {
            let slot = bytes.short()?;
            Entry::Series { slot, kind: Kind::from_code(bytes.byte()?)?, series: get_series(bytes)? }
        }
        SOURCE => {
            let source = bytes.short()?;
            if has(IS_GONE) {
                Entry::SourceGone { source }
            } else if has(IS_NEW) {
                Entry::Source { source, id: SourceId::from_bytes(bytes.bytes()?), time }
            } else {
                Entry::Heard { source, time }
            }
        }
        STREAM => {
            let stream = get_stream(bytes, context)?;
            if has(IS_GONE) {
                return Some(Entry::StreamGone { stream });
            }
            Entry::Stream { stream, source: bytes.short()?, id: SeriesId::from_bytes(bytes.bytes()?) }
        }
        BIND => {
            let stream = get_stream(bytes, context)?;
            Entry::Bind { stream, slot: bytes.short()? }
        }
        ADD => {
            let slot = bytes.short()?;
            Entry::Add { slot, at: time, amount: get_measured(bytes)? }
        }
        kind @ (COUNTER | OTHER) => {
            let stream = get_stream(bytes, context)?;
            let start = if has(HAS_START) {
                let back = bytes.number()?;
                Some(
                    back.checked_sub(1)
                        .map(|back| Timestamp::from_nanoseconds(time.nanoseconds().saturating_sub(back))),
                )
            } else {
                None
            };
            let is_counter = kind == COUNTER;
            let value = match (is_counter, has(HAS_INCREMENT)) {
                (true, true) if has(IS_WHOLE) => Value::Whole,
                (true, true) => Value::Plus,
                (true, false) => Value::Set(Measured::Count(bytes.number()?)),
                (false, _) => Value::Set(get_measured(bytes)?),
            };
            let (increment, slot) = get_increment(bytes, context, head, is_counter)?;
            Entry::Cumulative { stream, start, time, value, increment, slot }
        }
        _ => {
            let stream = get_stream(bytes, context)?;
            let start = Timestamp::from_nanoseconds(time.nanoseconds().saturating_sub(bytes.number()?));
            let (increment, slot) = get_increment(bytes, context, head, false)?;
            Entry::Delta { stream, mark: (start, time), increment, slot }
        }
    })
}

fn get_stream(bytes: &mut Reader<'_>, context: &mut Context) -> Option<u32> {
    context.stream = i64::from(context.stream).checked_add(bytes.signed()?)?.try_into().ok()?;
    Some(context.stream)
}

fn get_increment(
    bytes: &mut Reader<'_>,
    context: &mut Context,
    head: u8,
    is_counter: bool,
) -> Option<(Option<Increment>, Option<u32>)> {
    if head & HAS_INCREMENT == 0 {
        return Some((None, None));
    }
    context.slot = i64::from(context.slot).checked_add(bytes.signed()?)?.try_into().ok()?;
    let span = if head & HAS_FROM == 0 { 0 } else { bytes.number()? };
    let until = Timestamp::from_nanoseconds(context.time);
    let from = Timestamp::from_nanoseconds(context.time.saturating_sub(span));
    let amount = if is_counter { Measured::Count(bytes.number()?) } else { get_measured(bytes)? };
    Some((Some(Increment { from, until, amount }), Some(context.slot)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_counter_takes_five_bytes() {
        let mut journal = Journal::new(7);
        let at = Timestamp::from_seconds(1_800_000_000);
        for stream in 0..100 {
            let increment = Some(Increment {
                from: at,
                until: at.after(std::time::Duration::from_secs(10)),
                amount: Measured::Count(50),
            });
            let time = at.after(std::time::Duration::from_secs(10));
            journal.put(&Entry::Cumulative {
                stream,
                start: None,
                time,
                value: Value::Plus,
                increment,
                slot: Some(stream),
            });
        }
        let chunks = journal.take();
        assert_eq!(chunks.len(), 1);
        assert_eq!(chunks[0].number, 7);
        assert!(chunks[0].bytes.len() <= 520, "{}", chunks[0].bytes.len());
        assert_eq!(entries(&chunks[0].bytes).filter(Option::is_some).count(), 100);
    }

    #[test]
    fn what_cannot_be_read_is_said_once() {
        for chunk in [&b""[..], b"\x09abc", b"\x01\x05\xff"] {
            assert_eq!(entries(chunk).collect::<Vec<_>>(), [None]);
        }
        assert_eq!(entries(b"\x01\x05").count(), 0);
    }

    #[test]
    fn chunks_that_come_back_keep_their_number() {
        let mut journal = Journal::new(1);
        let bind = |slot| Entry::Bind { stream: 1, slot };
        journal.put(&bind(1));
        let first = journal.take();
        journal.put(&bind(2));
        journal.give_back(first.clone());
        let again = journal.take();
        assert_eq!(again[0], first[0]);
        assert_eq!(again.iter().map(|chunk| chunk.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(journal.len(), 0);
    }
}
