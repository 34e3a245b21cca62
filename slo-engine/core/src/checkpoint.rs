//! The saved form of counts and streams: what a key names and how its value is written.
//!
//! Values are absolute: writing one twice changes nothing. Each begins with a byte for its encoding. The runner maps
//! [`SavedKey`] to the keys of its store and knows nothing of the values. See `docs/state.md`.

use crate::distribution::Distribution;
use crate::intake::{Level, Measured, SourceState, StreamState};
use crate::journal::{get_series, put_series};
use crate::ledger::{Account, Row, Slot, Tier};
use crate::measured::Kind;
use crate::series::{Series, SeriesId, SourceId};
use crate::time::Timestamp;
use crate::wire::{Reader, put_float, put_number};

const ENCODING: u8 = 1;

/// Names a saved value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SavedKey {
    /// The numbers that are given away next.
    Numbers,
    /// What a series is: kind, metric, attributes.
    Series(Slot),
    /// Through which chunk of the journal the blocks of a series were brought up to date.
    Mark(Slot),
    /// Some neighbouring buckets of a series in one tier.
    Block {
        /// Whose.
        slot: Slot,
        /// How wide its buckets are.
        tier: Tier,
        /// Its place among the blocks of its tier, in the order of time.
        block: u32,
    },
    /// A stream: its sender, its series, and where it stands.
    Stream(u32),
    /// A sender, and when it was heard of.
    Source(u32),
}

/// One difference between memory and disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What it is about.
    pub key: SavedKey,
    /// The value; `None` removes it.
    pub value: Option<Vec<u8>>,
}

/// Part of a checkpoint: to be written in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// What to write.
    pub saved: Vec<Saved>,
    /// Chunks of the journal up to this number are no longer needed once the piece is written.
    pub covers: Option<u64>,
}

pub(crate) fn put_measured(out: &mut Vec<u8>, value: &Measured) {
    out.push(value.kind().code());
    match value {
        Measured::Count(count) => put_number(out, *count),
        Measured::Distribution(sizes) => sizes.encode(out),
        Measured::Level(level) => put_level(out, level),
    }
}

pub(crate) fn get_measured(bytes: &mut Reader<'_>) -> Option<Measured> {
    Some(match Kind::from_code(bytes.byte()?)? {
        Kind::Count => Measured::Count(bytes.number()?),
        Kind::Distribution => Distribution::decode(bytes)?.into(),
        Kind::Level => Measured::Level(get_level(bytes)?),
    })
}

fn put_level(out: &mut Vec<u8>, level: &Level) {
    put_number(out, level.at.nanoseconds());
    put_float(out, level.value);
}

fn get_level(bytes: &mut Reader<'_>) -> Option<Level> {
    let at = get_time(bytes)?;
    Level::new(at, bytes.float()?).ok()
}

fn get_time(bytes: &mut Reader<'_>) -> Option<Timestamp> {
    bytes.number().map(Timestamp::from_nanoseconds)
}

/// A time that may be missing: zero then, else one more.
fn put_maybe(out: &mut Vec<u8>, time: Option<Timestamp>) {
    put_number(out, time.map_or(0, |time| time.nanoseconds().saturating_add(1)));
}

fn get_maybe(bytes: &mut Reader<'_>) -> Option<Option<Timestamp>> {
    Some(bytes.number()?.checked_sub(1).map(Timestamp::from_nanoseconds))
}

/// Begins to read a value; `None` when its encoding is not known.
pub(crate) fn open(value: &[u8]) -> Option<Reader<'_>> {
    let mut bytes = Reader::new(value);
    (bytes.byte()? == ENCODING).then_some(bytes)
}

pub(crate) fn numbers(next_slot: u32, next_chunk: u64) -> Vec<u8> {
    let mut out = vec![ENCODING];
    put_number(&mut out, u64::from(next_slot));
    put_number(&mut out, next_chunk);
    out
}

pub(crate) fn read_numbers(value: &[u8]) -> Option<(u32, u64)> {
    let mut bytes = open(value)?;
    Some((bytes.short()?, bytes.number()?))
}

pub(crate) fn series(account: &Account) -> Vec<u8> {
    let mut out = vec![ENCODING, account.kind().code()];
    put_series(&mut out, &account.series);
    out
}

pub(crate) fn read_series(value: &[u8]) -> Option<(Kind, Series)> {
    let mut bytes = open(value)?;
    Some((Kind::from_code(bytes.byte()?)?, get_series(&mut bytes)?))
}

/// The chunk, then per tier the first bucket that is not expired.
pub(crate) fn mark(chunk: u64, oldest: [u32; 5]) -> Vec<u8> {
    let mut out = vec![ENCODING];
    put_number(&mut out, chunk);
    oldest.iter().for_each(|oldest| put_number(&mut out, u64::from(*oldest)));
    out
}

pub(crate) fn read_mark(value: &[u8]) -> Option<(u64, [u32; 5])> {
    let mut bytes = open(value)?;
    let chunk = bytes.number()?;
    let mut oldest = [0; 5];
    for place in &mut oldest {
        *place = bytes.short()?;
    }
    Some((chunk, oldest))
}

/// Kind, number of buckets, then per bucket its distance to the one before (of the first: to zero) and its value.
pub(crate) fn block(row: &Row) -> Vec<u8> {
    let mut out = vec![ENCODING];
    let mut last = 0;
    let mut put_bucket = |out: &mut Vec<u8>, number: u32| {
        put_number(out, u64::from(number - last));
        last = number;
    };
    match row {
        Row::Counts(buckets) => {
            out.push(Kind::Count.code());
            put_number(&mut out, buckets.len() as u64);
            for (number, count) in buckets {
                put_bucket(&mut out, *number);
                put_number(&mut out, *count);
            }
        }
        Row::Distributions(buckets) => {
            out.push(Kind::Distribution.code());
            put_number(&mut out, buckets.len() as u64);
            for (number, bytes) in buckets {
                put_bucket(&mut out, *number);
                out.extend_from_slice(bytes);
            }
        }
        Row::Levels(buckets) => {
            out.push(Kind::Level.code());
            put_number(&mut out, buckets.len() as u64);
            for (number, level) in buckets {
                put_bucket(&mut out, *number);
                put_level(&mut out, level);
            }
        }
    }
    out
}

pub(crate) fn read_block(value: &[u8]) -> Option<Row> {
    let mut bytes = open(value)?;
    let kind = Kind::from_code(bytes.byte()?)?;
    let length = bytes.length()?;
    let mut last = 0_u32;
    let mut next = |bytes: &mut Reader<'_>| {
        last = last.checked_add(bytes.short()?)?;
        Some(last)
    };
    Some(match kind {
        Kind::Count => {
            let buckets = (0..length).map(|_| Some((next(&mut bytes)?, bytes.number()?)));
            Row::Counts(buckets.collect::<Option<_>>()?)
        }
        Kind::Distribution => {
            let buckets = (0..length).map(|_| {
                let number = next(&mut bytes)?;
                let mut encoded = Vec::new();
                Distribution::decode(&mut bytes)?.encode(&mut encoded);
                Some((number, encoded.into_boxed_slice()))
            });
            Row::Distributions(buckets.collect::<Option<_>>()?)
        }
        Kind::Level => {
            let buckets = (0..length).map(|_| Some((next(&mut bytes)?, get_level(&mut bytes)?)));
            Row::Levels(buckets.collect::<Option<_>>()?)
        }
    })
}

/// A stream as it is saved.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SavedStream {
    pub(crate) mark: u64,
    pub(crate) source: u32,
    pub(crate) id: SeriesId,
    pub(crate) slot: Option<Slot>,
    pub(crate) state: Option<StreamState>,
}

const CUMULATIVE: u8 = 1;
const DELTA: u8 = 2;

impl SavedStream {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![ENCODING];
        put_number(&mut out, self.mark);
        put_number(&mut out, u64::from(self.source));
        out.extend_from_slice(&self.id.to_bytes());
        put_number(&mut out, self.slot.map_or(0, |slot| u64::from(slot.index()) + 1));
        match &self.state {
            None => out.push(0),
            Some(StreamState::Cumulative { start, time, value }) => {
                out.push(CUMULATIVE);
                put_maybe(&mut out, *start);
                put_number(&mut out, time.nanoseconds());
                put_measured(&mut out, value);
            }
            Some(StreamState::Delta { recent, forgotten }) => {
                out.push(DELTA);
                put_number(&mut out, forgotten.nanoseconds());
                put_number(&mut out, recent.len() as u64);
                for (start, time) in recent {
                    put_number(&mut out, time.nanoseconds());
                    put_number(&mut out, time.nanoseconds().saturating_sub(start.nanoseconds()));
                }
            }
        }
        out
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut bytes = open(value)?;
        let mark = bytes.number()?;
        let source = bytes.short()?;
        let id = SeriesId::from_bytes(bytes.bytes()?);
        let slot = match bytes.number()?.checked_sub(1) {
            Some(slot) => Some(Slot::from_index(slot.try_into().ok()?)),
            None => None,
        };
        let state = match bytes.byte()? {
            0 => None,
            CUMULATIVE => Some(StreamState::Cumulative {
                start: get_maybe(&mut bytes)?,
                time: get_time(&mut bytes)?,
                value: get_measured(&mut bytes)?,
            }),
            DELTA => {
                let forgotten = get_time(&mut bytes)?;
                let recent = (0..bytes.length()?).map(|_| {
                    let time = bytes.number()?;
                    let start = time.checked_sub(bytes.number()?)?;
                    Some((Timestamp::from_nanoseconds(start), Timestamp::from_nanoseconds(time)))
                });
                Some(StreamState::Delta { recent: recent.collect::<Option<_>>()?, forgotten })
            }
            _ => return None,
        };
        Some(Self { mark, source, id, slot, state })
    }
}

pub(crate) fn source(mark: u64, id: SourceId, state: SourceState) -> Vec<u8> {
    let mut out = vec![ENCODING];
    put_number(&mut out, mark);
    out.extend_from_slice(&id.to_bytes());
    put_maybe(&mut out, state.previous);
    put_number(&mut out, state.latest.nanoseconds());
    out
}

pub(crate) fn read_source(value: &[u8]) -> Option<(u64, SourceId, SourceState)> {
    let mut bytes = open(value)?;
    let mark = bytes.number()?;
    let id = SourceId::from_bytes(bytes.bytes()?);
    Some((mark, id, SourceState { previous: get_maybe(&mut bytes)?, latest: get_time(&mut bytes)? }))
}
