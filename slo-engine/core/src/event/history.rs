//! The latest events, for timelines and for people: newest last, within bounds of number and age.
//!
//! Single successes of bulk operations (signatures, decryptions, health checks) have bounds of their own, so that they
//! cannot push out the rotation of last week.

use super::{Event, EventKey, EventKind, Outcome};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Events are kept for so long.
pub const HISTORY: Duration = Duration::from_secs(30 * 86_400);
/// Most events that are kept.
pub const MOST_EVENTS: usize = 100_000;
/// How many of them may be single successes of bulk operations.
pub const MOST_BULK_EVENTS: usize = 20_000;

/// Place of an event: its time, then its identity.
pub type Place = (Timestamp, EventKey);

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Of this type.
    pub kind: Option<EventKind>,
    /// Of this service.
    pub service: Option<String>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// No more than so many, the newest ones.
    pub limit: usize,
}

/// The latest events.
pub struct History {
    most: usize,
    most_bulk: usize,
    events: BTreeMap<Place, Event>,
    bulk: BTreeSet<Place>,
    dirty: BTreeSet<Place>,
}

impl History {
    /// An empty history with bounds on all events and on bulk ones.
    pub fn new(most: usize, most_bulk: usize) -> Self {
        Self { most, most_bulk, events: BTreeMap::new(), bulk: BTreeSet::new(), dirty: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, event: Event) {
        let place = self.restore(event);
        self.dirty.insert(place);
        if self.bulk.len() > self.most_bulk
            && let Some(oldest) = self.bulk.first().copied()
        {
            self.remove(oldest);
        }
        if self.events.len() > self.most
            && let Some((oldest, _)) = self.events.first_key_value()
        {
            self.remove(*oldest);
        }
    }

    /// Puts an event in its place.
    pub(super) fn restore(&mut self, event: Event) -> Place {
        let place = (event.time, event.key());
        if event.kind.is_bulk() && event.data.result != Some(Outcome::Failure) {
            self.bulk.insert(place);
        }
        self.events.insert(place, event);
        place
    }

    fn remove(&mut self, place: Place) {
        self.events.remove(&place);
        self.bulk.remove(&place);
        self.dirty.insert(place);
    }

    pub(super) fn expire(&mut self, now: Timestamp) {
        let oldest = now.before(HISTORY);
        while let Some((place, _)) = self.events.first_key_value()
            && place.0 < oldest
        {
            self.remove(*place);
        }
    }

    /// Events that fit, newest first.
    pub fn find<'a>(&'a self, query: &'a Query) -> impl Iterator<Item = &'a Event> {
        let from = (query.since.unwrap_or(Timestamp::EPOCH), EventKey::from_bytes([0; 16]));
        let fits = |event: &&Event| {
            query.kind.is_none_or(|kind| event.kind == kind)
                && query.service.as_ref().is_none_or(|service| event.data.service.as_ref() == Some(service))
        };
        self.events.range(from..).rev().map(|(_, event)| event).filter(fits).take(query.limit)
    }

    /// Number of events that are kept.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn unsaved(&self) -> usize {
        self.dirty.len()
    }

    /// What changed: events, or only their places when they went.
    pub(super) fn take_changes(&mut self) -> Vec<(Place, Option<Event>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|place| (place, self.events.get(&place).cloned())).collect()
    }

    /// Has everything saved again.
    pub(super) fn touch_all(&mut self) {
        self.dirty.extend(self.events.keys());
    }

    pub(super) fn return_place(&mut self, place: Place) {
        self.dirty.insert(place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventData;

    fn event(second: u64, kind: EventKind, result: Outcome) -> Event {
        let data = EventData { result: Some(result), service: Some("s".into()), ..EventData::default() };
        Event {
            id: second.to_string(),
            source: "s".into(),
            kind,
            time: Timestamp::from_seconds(second),
            data,
        }
    }

    #[test]
    fn bulk_successes_push_out_only_each_other() {
        let mut history = History::new(5, 2);
        history.add(event(1, EventKind::KeyRotation, Outcome::Success));
        history.add(event(2, EventKind::Sign, Outcome::Failure));
        for second in 3..10 {
            history.add(event(second, EventKind::Sign, Outcome::Success));
        }
        let seconds = |history: &History, query: &Query| -> Vec<u64> {
            history.find(query).map(|event| event.time.seconds()).collect()
        };
        let all = Query { limit: 100, ..Query::default() };
        assert_eq!(seconds(&history, &all), [9, 8, 2, 1]);
        for second in 20..25 {
            history.add(event(second, EventKind::Deploy, Outcome::Success));
        }
        assert_eq!(seconds(&history, &all), [24, 23, 22, 21, 20]);
        let some = Query { since: Some(Timestamp::from_seconds(22)), limit: 2, ..all.clone() };
        assert_eq!(seconds(&history, &some), [24, 23]);
        let none = Query { kind: Some(EventKind::Build), ..all.clone() };
        assert_eq!(seconds(&history, &none), Vec::<u64>::new());
        history.expire(Timestamp::from_seconds(22).after(HISTORY));
        assert_eq!(seconds(&history, &all), [24, 23, 22]);
        // Gone and never written, or written and gone: both read as gone.
        assert_eq!(history.take_changes().iter().filter(|(_, event)| event.is_some()).count(), 3);
    }
}
