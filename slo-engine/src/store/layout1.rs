//! Layout 1, one JSON record per bucket, and the way from it to the present one.
//!
//! The counts are read, written anew in the tables of the present layout, and only then the layout's number changes;
//! the old tables go last. Killed before the number changes, all of it begins again; killed after, only the removal.

use super::counts::BIRTH;
use super::keys::Table;
use super::record::{self, Batch};
use super::{LAYOUT, Store, StoreError, Urgency, keys};
use pqscope_slo_core::intake::{Measured, SourceState, StreamState};
use pqscope_slo_core::ledger::{BucketKey, Limits, Tier};
use pqscope_slo_core::recorder::{Record, from_layout_1};
use pqscope_slo_core::series::{Series, SeriesId, SourceId, StreamId};
use pqscope_slo_core::time::Timestamp;
use serde::de::DeserializeOwned;

/// Size of a commit while counts are written anew.
const PIECE_BYTES: usize = 256 << 10;
/// Removals in one commit.
const MOST_REMOVALS: usize = 2_000;

impl Store {
    /// Brings a state of layout 1 up to date; returns how many records could not be read.
    pub(super) fn migrate_from_layout_1(&mut self) -> Result<usize, StoreError> {
        Table::COUNTS.into_iter().try_for_each(|table| self.clear(table))?;
        let (records, unreadable) = self.load_layout_1()?;
        // Without a birth nothing was counted yet.
        let (mut recorder, orphans) = from_layout_1(records, Limits::default(), Timestamp::EPOCH);
        recorder.begin_checkpoint();
        while let Some(piece) = recorder.next_piece(PIECE_BYTES) {
            let mut batch = Batch::default();
            batch.piece(&piece);
            self.commit(batch, Urgency::Essential)?;
        }
        let mut batch = Batch::default();
        batch.put_raw(keys::LAYOUT.to_vec(), &LAYOUT);
        self.commit(batch, Urgency::Essential)?;
        Ok(unreadable + orphans)
    }

    /// Removes what layout 1 has left.
    pub(super) fn remove_layout_1(&mut self) -> Result<(), StoreError> {
        Table::LAYOUT_1.into_iter().try_for_each(|table| self.clear(table))
    }

    /// Empties a table.
    pub(super) fn clear(&mut self, table: Table) -> Result<(), StoreError> {
        loop {
            let Some(database) = &self.database else { return Ok(()) };
            let keys: Result<Vec<_>, StoreError> = database
                .scan(&table.key(&[]))
                .take(MOST_REMOVALS)
                .map(|pair| pair.map(|(key, _)| key))
                .collect();
            let keys = keys?;
            if keys.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::default();
            keys.iter().for_each(|key| batch.delete(table, key.get(1..).unwrap_or_default()));
            self.commit(batch, Urgency::Essential)?;
        }
    }

    fn load_layout_1(&self) -> Result<(Vec<Record>, usize), StoreError> {
        let mut records = Vec::new();
        let mut unreadable = 0;
        let birth = self.load_under::<Timestamp>(Table::Engine, BIRTH)?;
        records.extend(birth.records.into_iter().map(|(_, birth)| Record::Birth(birth)));
        self.load_table(Table::Series1, &mut records, &mut unreadable, |_, series: Series| {
            Some(Record::Series(series))
        })?;
        self.load_table(Table::Source1, &mut records, &mut unreadable, |key, state: SourceState| {
            Some(Record::Source(SourceId::from_bytes(key.try_into().ok()?), state))
        })?;
        self.load_table(Table::Stream1, &mut records, &mut unreadable, |key, state: StreamState| {
            Some(Record::Stream(stream_of(key)?, state))
        })?;
        self.load_table(Table::Bucket1, &mut records, &mut unreadable, |key, value: Measured| {
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
        let Some(database) = &self.database else { return Ok(()) };
        for pair in database.scan(&table.key(&[])) {
            let (key, value) = pair?;
            let record = record::decode(&value).and_then(|value| read(key.get(1..)?, value));
            match record {
                Some(record) => records.push(record),
                None => *unreadable += 1,
            }
        }
        Ok(())
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
