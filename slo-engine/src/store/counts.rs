//! How the records of the core lie in tables: which key, which value.

use super::keys::Table;
use super::record::Batch;
use super::{Store, StoreError};
use pqscope_slo_core::intake::{Measured, SourceState, StreamState};
use pqscope_slo_core::ledger::{BucketKey, Tier};
use pqscope_slo_core::recorder::{Change, Record, RecordKey};
use pqscope_slo_core::series::{SeriesId, SourceId, StreamId};
use pqscope_slo_core::time::Timestamp;
use serde::de::DeserializeOwned;

const BIRTH: &[u8] = b"birth";

impl Batch {
    /// Adds a change of counts.
    pub(crate) fn record(&mut self, change: &Change) {
        let (table, key) = place(change.key());
        match change {
            Change::Delete(_) => self.delete(table, &key),
            Change::Put(Record::Birth(birth)) => self.put(table, &key, birth),
            Change::Put(Record::Series(series)) => self.put(table, &key, series),
            Change::Put(Record::Bucket(_, value)) => self.put(table, &key, value),
            Change::Put(Record::Stream(_, state)) => self.put(table, &key, state),
            Change::Put(Record::Source(_, state)) => self.put(table, &key, state),
        }
    }
}

impl Store {
    /// All counts, and how many records could not be read.
    pub(crate) fn load_counts(&self) -> Result<(Vec<Record>, usize), StoreError> {
        let mut records = Vec::new();
        let mut unreadable = 0;
        let birth = self.load_under::<Timestamp>(Table::Engine, BIRTH)?;
        records.extend(birth.records.into_iter().map(|(_, birth)| Record::Birth(birth)));
        self.load_table(Table::Series, &mut records, &mut unreadable, |_, series| {
            Some(Record::Series(series))
        })?;
        self.load_table(Table::Source, &mut records, &mut unreadable, |key, state: SourceState| {
            Some(Record::Source(SourceId::from_bytes(key.try_into().ok()?), state))
        })?;
        self.load_table(Table::Stream, &mut records, &mut unreadable, |key, state: StreamState| {
            Some(Record::Stream(stream_of(key)?, state))
        })?;
        self.load_table(Table::Bucket, &mut records, &mut unreadable, |key, value: Measured| {
            Some(Record::Bucket(bucket_of(key)?, value))
        })?;
        Ok((records, unreadable))
    }

    fn load_table<T: DeserializeOwned>(
        &self,
        table: Table,
        records: &mut Vec<Record>,
        unreadable: &mut usize,
        read: impl Fn(&[u8], T) -> Option<Record>,
    ) -> Result<(), StoreError> {
        let loaded = self.load::<T>(table)?;
        *unreadable += loaded.unreadable;
        for (key, value) in loaded.records {
            match read(&key, value) {
                Some(record) => records.push(record),
                None => *unreadable += 1,
            }
        }
        Ok(())
    }
}

/// Where a record lies.
fn place(key: RecordKey) -> (Table, Vec<u8>) {
    match key {
        RecordKey::Birth => (Table::Engine, BIRTH.to_vec()),
        RecordKey::Series(id) => (Table::Series, id.to_bytes().to_vec()),
        RecordKey::Stream(id) => (Table::Stream, id.to_bytes().to_vec()),
        RecordKey::Source(id) => (Table::Source, id.to_bytes().to_vec()),
        RecordKey::Bucket(BucketKey { series, tier, start }) => {
            let mut key = series.to_bytes().to_vec();
            key.push(tier.code());
            key.extend_from_slice(&start.to_be_bytes());
            (Table::Bucket, key)
        }
    }
}

fn stream_of(key: &[u8]) -> Option<StreamId> {
    let (source, rest) = key.split_first_chunk::<16>()?;
    let series = <[u8; 16]>::try_from(rest).ok()?;
    Some(StreamId { source: SourceId::from_bytes(*source), series: SeriesId::from_bytes(series) })
}

fn bucket_of(key: &[u8]) -> Option<BucketKey> {
    let (series, rest) = key.split_first_chunk::<16>()?;
    let (tier, start) = rest.split_first()?;
    let start = <[u8; 8]>::try_from(start).ok()?;
    Some(BucketKey {
        series: SeriesId::from_bytes(*series),
        tier: Tier::from_code(*tier)?,
        start: u64::from_be_bytes(start),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Urgency;
    use pqscope_slo_core::distribution::Exponential;
    use pqscope_slo_core::series::Series;

    fn samples() -> Vec<Record> {
        let series =
            Series::new("pqscope.handshakes", [("pqscope.outcome", "failed"), ("x", "\u{0}\u{ff}\"")]);
        let id = series.id();
        let source = SourceId::new(&[("host.name".to_owned(), "a".to_owned())].into(), "", "m");
        let sizes = Exponential::new(3, 7, 1, -4, &[2, 0, 4], 0).unwrap();
        let time = Timestamp::from_nanoseconds(1_700_000_000_123_456_789);
        vec![
            Record::Birth(time),
            Record::Series(series),
            Record::Source(source, SourceState { previous: Some(Timestamp::EPOCH), latest: time }),
            Record::Stream(
                StreamId { source, series: id },
                StreamState::Cumulative { start: None, time, value: Measured::Count(u64::MAX) },
            ),
            Record::Bucket(BucketKey { series: id, tier: Tier::TenSeconds, start: 10 }, Measured::Count(3)),
            Record::Bucket(
                BucketKey { series: id, tier: Tier::Hour, start: 3_600 },
                Measured::Distribution(Box::new(sizes.into())),
            ),
        ]
    }

    #[test]
    fn records_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(folder.path()).unwrap();
        let mut batch = Batch::default();
        samples().into_iter().for_each(|record| batch.record(&Change::Put(record)));
        store.commit(batch, Urgency::Repeatable).unwrap();
        drop(store);
        let (mut store, _) = Store::open(folder.path()).unwrap();
        assert_eq!(store.load_counts().unwrap(), (samples(), 0));

        let mut batch = Batch::default();
        samples().iter().for_each(|record| batch.record(&Change::Delete(record.key())));
        store.commit(batch, Urgency::Repeatable).unwrap();
        assert_eq!(store.load_counts().unwrap(), (vec![], 0));
    }

    /// The bytes that this version writes; a later version must read them.
    #[test]
    fn the_encoding_of_layout_1_is_fixed() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(folder.path()).unwrap();
        drop(store);
        let database = sled_at(folder.path());
        let mut key = vec![0x13];
        key.extend([7; 16]);
        key.push(0);
        key.extend(20_u64.to_be_bytes());
        database.insert(key, b"\x01{\"Count\":5}").unwrap();
        database.flush().unwrap();
        drop(database);
        let (store, _) = Store::open(folder.path()).unwrap();
        let key = BucketKey { series: SeriesId::from_bytes([7; 16]), tier: Tier::TenSeconds, start: 20 };
        assert_eq!(store.load_counts().unwrap(), (vec![Record::Bucket(key, Measured::Count(5))], 0));
    }

    fn sled_at(folder: &std::path::Path) -> sled::Db {
        sled::Config::default().path(folder.join("sled")).mode(sled::Mode::LowSpace).open().unwrap()
    }
}
