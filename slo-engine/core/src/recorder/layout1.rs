//! The first layout of a state: one record per bucket and stream. Read once, to be saved in the present one.

use super::{Recorder, Source, Stream};
use crate::intake::{Measured, SourceState, StreamState};
use crate::ledger::{BucketKey, Limits, Row, Slot};
use crate::series::{Series, SeriesId, SourceId, StreamId};
use crate::time::Timestamp;
use crate::track::number;
use std::collections::{BTreeMap, HashMap};

/// One record of the first layout.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// When the state was first started.
    Birth(Timestamp),
    /// A series.
    Series(Series),
    /// The count of a bucket.
    Bucket(BucketKey, Measured),
    /// What is remembered of a stream.
    Stream(StreamId, StreamState),
    /// What is remembered of a sender.
    Source(SourceId, SourceState),
}

/// A recorder with the memory of these records, in any order, all of it to be saved anew. Buckets whose series is not
/// among them are dropped; their number is returned. Without a birth the recorder is born at `now`.
pub fn from_layout_1(
    records: impl IntoIterator<Item = Record>,
    limits: Limits,
    now: Timestamp,
) -> (Recorder, usize) {
    let mut recorder = Recorder::new(now, limits);
    let mut series: BTreeMap<SeriesId, Series> = BTreeMap::new();
    let mut buckets: HashMap<SeriesId, Vec<(BucketKey, Measured)>> = HashMap::new();
    let mut streams = Vec::new();
    for record in records {
        match record {
            Record::Birth(birth) => recorder.birth = birth,
            Record::Series(found) => {
                series.insert(found.id(), found);
            }
            Record::Bucket(key, value) => buckets.entry(key.series).or_default().push((key, value)),
            Record::Stream(id, state) => streams.push((id, state)),
            Record::Source(id, state) => {
                let number = recorder.sources.insert(Source { id, state, dirty: true });
                recorder.source_numbers.insert(id, number);
                recorder.dirty_sources.push(number);
            }
        }
    }
    let mut dropped = 0;
    for (id, series) in series {
        let mut buckets = buckets.remove(&id).unwrap_or_default();
        let Some((_, sample)) = buckets.first() else { continue };
        let slot = recorder.ledger.next_slot();
        recorder.ledger.define(slot, id, series, sample.kind());
        buckets.sort_unstable_by_key(|(key, _)| *key);
        dropped +=
            buckets.into_iter().filter(|(key, value)| !restore(&mut recorder, slot, *key, value)).count();
        if let Some(account) = recorder.ledger.account_mut(slot) {
            account.settle();
            account.touch_all();
        }
        recorder.ledger.mark_dirty(slot);
    }
    dropped += buckets.values().map(Vec::len).sum::<usize>();
    for (id, state) in streams {
        // A stream without its sender begins anew.
        let Some(source) = recorder.source_numbers.get(&id.source).copied() else { continue };
        let slot = recorder.ledger.slot(id.series);
        let stream = Stream { source, id: id.series, slot, state: Some(state), dirty: true };
        let number = recorder.streams.insert(stream);
        recorder.stream_numbers.insert((source, id.series), number);
        recorder.dirty_streams.push(number);
    }
    (recorder, dropped)
}

fn restore(recorder: &mut Recorder, slot: Slot, key: BucketKey, value: &Measured) -> bool {
    let Some(account) = recorder.ledger.account_mut(slot) else { return false };
    let number = number(key.tier, key.start);
    let row = match value {
        Measured::Count(count) => Row::Counts(vec![(number, *count)]),
        Measured::Distribution(sizes) => {
            let mut bytes = Vec::new();
            sizes.encode(&mut bytes);
            Row::Distributions(vec![(number, bytes.into_boxed_slice())])
        }
        Measured::Level(level) => Row::Levels(vec![(number, *level)]),
    };
    let block = number / account.block_buckets(key.tier);
    account.restore(key.tier, block, row)
}
