//! All rotations that are remembered, within bounds, and which of them changed.

use super::{ARRIVAL_GRACE, Rotation, Settlement, State};
use crate::event::{Event, EventKind, MOST_SERVICES, Refusal, RefusalReason};
use crate::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Most rotations that are remembered.
pub const MOST_ROTATIONS: usize = 10_000;

/// The rotations, by their id.
pub struct Rotations {
    started: Timestamp,
    grace: Duration,
    most: usize,
    all: BTreeMap<String, Rotation>,
    dirty: BTreeSet<String>,
}

impl Rotations {
    /// None, for a process that began to listen at `started`.
    pub fn new(started: Timestamp, most: usize) -> Self {
        Self { started, grace: ARRIVAL_GRACE, most, all: BTreeMap::new(), dirty: BTreeSet::new() }
    }

    /// Waits so long after the due time for reports that are under way.
    pub const fn wait_for(&mut self, grace: Duration) {
        self.grace = grace;
    }

    /// Whether an event is about a rotation with a name.
    pub(crate) fn concerns(event: &Event) -> Option<&str> {
        (event.kind == EventKind::KeyRotation).then_some(event.data.rotation_id.as_deref()).flatten()
    }

    /// Whether there is room for an event.
    ///
    /// # Errors
    /// When a bound is reached and nothing that is settled can give way.
    pub(crate) fn check(&self, event: &Event) -> Result<(), Refusal> {
        let Some(id) = Self::concerns(event) else { return Ok(()) };
        let refuse =
            |message: String| Err(Refusal::of(RefusalReason::RotationLimit, "data.rotation_id", message));
        match self.all.get(id) {
            None if self.all.len() >= self.most && self.all.values().all(Rotation::is_open) => {
                refuse(format!("names a new rotation, and {} are open already", self.most))
            }
            Some(rotation)
                if rotation.reports.len() >= MOST_SERVICES
                    && !event
                        .data
                        .service
                        .as_ref()
                        .is_some_and(|service| rotation.reports.contains_key(service)) =>
            {
                refuse(format!("names a rotation that {MOST_SERVICES} services have reported on already"))
            }
            _ => Ok(()),
        }
    }

    /// Takes an event that was [checked](Self::check); the rotation and its end if that came with the event.
    pub(crate) fn note(&mut self, event: &Event, now: Timestamp) -> Option<(Rotation, Settlement)> {
        let id = Self::concerns(event)?;
        if !self.all.contains_key(id) {
            self.make_room();
            self.all.insert(id.to_owned(), Rotation::new(id, event.time, now));
        }
        self.all.get_mut(id)?.note(event);
        self.dirty.insert(id.to_owned());
        // A bad end waits for the next tick: the report that averts it may be right behind.
        let done = self.all.get(id)?.done()?;
        self.settle(id, done)
    }

    /// Settles all whose time is over; forgets those that are past.
    pub(crate) fn tick(&mut self, now: Timestamp) -> Vec<(Rotation, Settlement)> {
        let (started, grace) = (self.started, self.grace);
        let open = self.all.values().filter(|rotation| rotation.is_open());
        let ends: Vec<(String, Settlement)> = open
            .filter_map(|rotation| Some((rotation.id.clone(), rotation.settlement(started, grace, now)?)))
            .collect();
        let settled = ends.into_iter().filter_map(|(id, end)| self.settle(&id, end)).collect();
        let past: Vec<String> = self
            .all
            .values()
            .filter(|rotation| rotation.is_past(now))
            .map(|rotation| rotation.id.clone())
            .collect();
        for id in past {
            self.forget(&id);
        }
        settled
    }

    fn settle(&mut self, id: &str, settlement: Settlement) -> Option<(Rotation, Settlement)> {
        let rotation = self.all.get_mut(id)?;
        rotation.settled = Some(settlement);
        self.dirty.insert(id.to_owned());
        Some((rotation.clone(), settlement))
    }

    /// Takes back an end that could not be counted.
    pub(crate) fn reopen(&mut self, id: &str) {
        if let Some(rotation) = self.all.get_mut(id) {
            rotation.settled = None;
            self.dirty.insert(id.to_owned());
        }
    }

    /// Lets the one go that was settled longest ago when all places are taken.
    fn make_room(&mut self) {
        if self.all.len() < self.most {
            return;
        }
        let settled = self.all.values().filter_map(|rotation| Some((rotation.settled?.at, &rotation.id)));
        let oldest = settled.min().map(|(_, id)| id.clone());
        if let Some(id) = oldest {
            self.forget(&id);
        }
    }

    fn forget(&mut self, id: &str) {
        self.all.remove(id);
        self.dirty.insert(id.to_owned());
    }

    pub(crate) fn restore(&mut self, rotation: Rotation) {
        self.all.insert(rotation.id.clone(), rotation);
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Rotation> {
        self.all.values()
    }

    /// Number of planned ones by state; every state is there.
    pub fn states(&self, now: Timestamp) -> BTreeMap<State, u64> {
        let mut states: BTreeMap<State, u64> = State::ALL.into_iter().map(|state| (state, 0)).collect();
        for rotation in self.all.values().filter(|rotation| rotation.is_planned()) {
            *states.entry(rotation.state(now)).or_insert(0) += 1;
        }
        states
    }

    pub(crate) fn unsaved(&self) -> usize {
        self.dirty.len()
    }

    /// What changed: rotations, or only their ids when they were forgotten.
    pub(crate) fn take_changes(&mut self) -> Vec<(String, Option<Rotation>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|id| (id.clone(), self.all.get(&id).cloned())).collect()
    }

    /// Has everything saved again.
    pub(crate) fn touch_all(&mut self) {
        self.dirty.extend(self.all.keys().cloned());
    }

    pub(crate) fn return_rotation(&mut self, id: String) {
        self.dirty.insert(id);
    }
}
