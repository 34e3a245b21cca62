//! How the records of the event desk lie in tables: which key, which value.

use super::keys::Table;
use super::record::Batch;
use super::{Store, StoreError};
use pqscope_slo_core::event::desk::{DeskChange, DeskKey, DeskRecord};
use pqscope_slo_core::event::rotation::Rotation;
use pqscope_slo_core::event::{Event, EventKey};
use pqscope_slo_core::time::Timestamp;

const HORIZON: &[u8] = b"event-horizon";
/// Between attribute and value in the key of a label; no attribute's name holds it.
const SEPARATOR: u8 = 0;

impl Batch {
    /// Adds a change of the event desk.
    pub(crate) fn desk(&mut self, change: &DeskChange) {
        let (table, key) = place(&change.key());
        match change {
            DeskChange::Delete(_) => self.delete(table, &key),
            DeskChange::Put(DeskRecord::Id(_, time) | DeskRecord::Label(_, _, time)) => {
                self.put(table, &key, time)
            }
            DeskChange::Put(DeskRecord::Horizon(horizon)) => self.put(table, &key, horizon),
            DeskChange::Put(DeskRecord::Rotation(rotation)) => self.put(table, &key, rotation),
            DeskChange::Put(DeskRecord::Event(event)) => self.put(table, &key, event),
        }
    }
}

impl Store {
    /// Everything about events, and how many records could not be read.
    pub(crate) fn load_desk(&self) -> Result<(Vec<DeskRecord>, usize), StoreError> {
        let mut records = Vec::new();
        let horizon = self.load_under::<Timestamp>(Table::Engine, HORIZON)?;
        records.extend(horizon.records.into_iter().map(|(_, horizon)| DeskRecord::Horizon(horizon)));
        let ids = self.load::<Timestamp>(Table::EventId)?;
        let labels = self.load::<Timestamp>(Table::EventLabel)?;
        let rotations = self.load::<Rotation>(Table::Rotation)?;
        let events = self.load::<Event>(Table::Event)?;
        let mut unreadable = horizon.unreadable
            + ids.unreadable
            + labels.unreadable
            + rotations.unreadable
            + events.unreadable;
        for (key, time) in ids.records {
            match <[u8; 16]>::try_from(key.as_slice()) {
                Ok(key) => records.push(DeskRecord::Id(EventKey::from_bytes(key), time)),
                Err(_) => unreadable += 1,
            }
        }
        for (key, used) in labels.records {
            match label_of(key) {
                Some((attribute, value)) => records.push(DeskRecord::Label(attribute, value, used)),
                None => unreadable += 1,
            }
        }
        records.extend(
            rotations.records.into_iter().map(|(_, rotation)| DeskRecord::Rotation(Box::new(rotation))),
        );
        records.extend(events.records.into_iter().map(|(_, event)| DeskRecord::Event(Box::new(event))));
        Ok((records, unreadable))
    }
}

fn place(key: &DeskKey) -> (Table, Vec<u8>) {
    match key {
        DeskKey::Id(key) => (Table::EventId, key.to_bytes().to_vec()),
        DeskKey::Horizon => (Table::Engine, HORIZON.to_vec()),
        DeskKey::Label(attribute, value) => {
            (Table::EventLabel, [attribute.as_bytes(), &[SEPARATOR], value.as_bytes()].concat())
        }
        DeskKey::Rotation(id) => (Table::Rotation, id.as_bytes().to_vec()),
        DeskKey::Event((time, key)) => {
            (Table::Event, [&time.nanoseconds().to_be_bytes()[..], &key.to_bytes()].concat())
        }
    }
}

fn label_of(key: Vec<u8>) -> Option<(String, String)> {
    let text = String::from_utf8(key).ok()?;
    let (attribute, value) = text.split_once(char::from(SEPARATOR))?;
    Some((attribute.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Urgency;
    use pqscope_slo_core::event::{EventData, EventKind, Outcome};

    #[test]
    fn records_come_back_as_they_were() {
        let time = Timestamp::from_nanoseconds(1_700_000_000_123_456_789);
        let data = EventData { result: Some(Outcome::Success), duration: Some(0.1), ..EventData::default() };
        let event = Event { id: "1".into(), source: "s".into(), kind: EventKind::Sign, time, data };
        let rotation = Rotation::new("r/1", time, time);
        let records = vec![
            DeskRecord::Horizon(time),
            DeskRecord::Id(event.key(), time),
            DeskRecord::Label("pqscope.service".into(), "a b".into(), time),
            DeskRecord::Rotation(Box::new(rotation)),
            DeskRecord::Event(Box::new(event)),
        ];
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(folder.path()).unwrap();
        let mut batch = Batch::default();
        records.iter().cloned().for_each(|record| batch.desk(&DeskChange::Put(record)));
        store.commit(batch, Urgency::Repeatable).unwrap();
        assert_eq!(store.load_desk().unwrap(), (records.clone(), 0));
        let mut batch = Batch::default();
        records.iter().for_each(|record| batch.desk(&DeskChange::Delete(record.key())));
        store.commit(batch, Urgency::Repeatable).unwrap();
        assert_eq!(store.load_desk().unwrap(), (vec![], 0));
    }
}
