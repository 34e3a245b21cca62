//! The desk that events come to: each is taken once, what it adds goes to the counts, and rotations get their outcomes.
//!
//! As with the recorder, the runner takes the [changes](Desk::take_changes), saves them in one transaction with those
//! of the counts, and only then acknowledges. When saving fails it [gives them back](Desk::return_changes): the sender's
//! retry is then a repeat, and the changes are saved with the next commit. After a crash memory is what was saved.
//!
//! Bounds, and what they cost when full: [`MOST_IDS`] identities (about 100 bytes each in memory),
//! [`MOST_EVENTS`] events (about 500 bytes),
//! [`MOST_ROTATIONS`] rotations (about 100 bytes for each service).

use super::contribution::contributions;
use super::history::{History, MOST_BULK_EVENTS, MOST_EVENTS, Place};
use super::label::Labels;
use super::memory::{Familiarity, ID_MEMORY, Memory};
use super::refusal::{Refusal, RefusalReason};
use super::rotation::{MOST_ROTATIONS, Rotation, Rotations, Settlement};
use super::{Event, EventKey};
use crate::intake::FUTURE_TOLERANCE;
use crate::ledger::LONGEST_WINDOW;
use crate::measured::{Measured, Rejected};
use crate::series::Series;
use crate::time::{Timestamp, span_text};
use pqscope_telemetry::attribute;
use pqscope_telemetry::metric::engine;
use std::time::Duration;

/// Identities that are remembered; beyond it the oldest go, and with them the right to be as old.
pub const MOST_IDS: usize = 250_000;

/// One thing to keep on disk.
#[derive(Clone, Debug, PartialEq)]
pub enum DeskRecord {
    /// An identity with the time of its event.
    Id(EventKey, Timestamp),
    /// Nothing at or before this time is taken any more.
    Horizon(Timestamp),
    /// A value of an attribute that has a place, with the time of its use.
    Label(String, String, Timestamp),
    /// A rotation.
    Rotation(Box<Rotation>),
    /// An event.
    Event(Box<Event>),
}

/// Names a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeskKey {
    /// See [`DeskRecord::Id`].
    Id(EventKey),
    /// See [`DeskRecord::Horizon`].
    Horizon,
    /// See [`DeskRecord::Label`].
    Label(String, String),
    /// See [`DeskRecord::Rotation`].
    Rotation(String),
    /// See [`DeskRecord::Event`].
    Event(Place),
}

impl DeskRecord {
    /// The name under which the record is kept.
    pub fn key(&self) -> DeskKey {
        match self {
            Self::Id(key, _) => DeskKey::Id(*key),
            Self::Horizon(_) => DeskKey::Horizon,
            Self::Label(attribute, value, _) => DeskKey::Label(attribute.clone(), value.clone()),
            Self::Rotation(rotation) => DeskKey::Rotation(rotation.id.clone()),
            Self::Event(event) => DeskKey::Event((event.time, event.key())),
        }
    }
}

/// One difference between memory and disk. Applying a change twice is the same as once.
#[derive(Clone, Debug, PartialEq)]
pub enum DeskChange {
    /// Write the record.
    Put(DeskRecord),
    /// Remove the record.
    Delete(DeskKey),
}

impl DeskChange {
    /// The record that it is about.
    pub fn key(&self) -> DeskKey {
        match self {
            Self::Put(record) => record.key(),
            Self::Delete(key) => key.clone(),
        }
    }
}

/// What became of an event that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It counts.
    Counted,
    /// It was there before.
    Duplicate,
}

/// Where counts go: the recorder's `contribute`.
pub type Sink<'a> = dyn FnMut(&Series, Timestamp, Measured) -> Result<(), Rejected> + 'a;

/// Everything that is remembered of events.
pub struct Desk {
    memory: Memory,
    labels: Labels,
    rotations: Rotations,
    history: History,
    /// Amounts that the counts refused although their event was taken.
    uncounted: u64,
}

impl Desk {
    /// A desk without memory, opened at `started`. Services of the services file keep their names in series whatever
    /// else comes.
    pub fn new(started: Timestamp, services: impl IntoIterator<Item = String>) -> Self {
        Self {
            memory: Memory::new(MOST_IDS),
            labels: Labels::new(services),
            rotations: Rotations::new(started, MOST_ROTATIONS),
            history: History::new(MOST_EVENTS, MOST_BULK_EVENTS),
            uncounted: 0,
        }
    }

    /// Waits so long after the due time of a rotation for reports that are under way.
    pub const fn wait_for_rotations(&mut self, grace: Duration) {
        self.rotations.wait_for(grace);
    }

    /// Puts back a saved record.
    pub fn restore(&mut self, record: DeskRecord) {
        match record {
            DeskRecord::Id(key, time) => self.memory.restore(key, time),
            DeskRecord::Horizon(horizon) => self.memory.restore_horizon(horizon),
            DeskRecord::Label(attribute, value, used) => self.labels.restore((attribute, value), used),
            DeskRecord::Rotation(rotation) => self.rotations.restore(*rotation),
            DeskRecord::Event(event) => {
                self.history.restore(*event);
            }
        }
    }

    /// Takes an event, each once by its source and id. On an error nothing has changed.
    ///
    /// # Errors
    /// When it cannot be counted; the sender is to be told.
    pub fn take(&mut self, event: Event, now: Timestamp, sink: &mut Sink<'_>) -> Result<Taken, Refusal> {
        let key = event.key();
        check_time(event.time, now)?;
        match self.memory.judge(key, event.time, now) {
            Familiarity::Known => return Ok(Taken::Duplicate),
            Familiarity::Forgotten => return Err(too_late(now)),
            Familiarity::New => {}
        }
        self.rotations.check(&event)?;
        for (position, (series, amount)) in
            contributions(&event, &mut self.labels, now).into_iter().enumerate()
        {
            match sink(&series, event.time, amount) {
                Ok(()) => {}
                // The count of the event itself decides.
                Err(why) if position == 0 => {
                    return Err(Refusal::whole(
                        RefusalReason::Uncountable(why),
                        format!("cannot be counted: {why}"),
                    ));
                }
                Err(_) => self.uncounted += 1,
            }
        }
        self.memory.remember(key, event.time);
        if let Some((rotation, settlement)) = self.rotations.note(&event, now) {
            self.count_outcome(&rotation, settlement, now, sink);
        }
        self.history.add(event);
        Ok(Taken::Counted)
    }

    /// Settles rotations whose time is over, and forgets what is beyond its age. Call it at every evaluation.
    pub fn tick(&mut self, now: Timestamp, sink: &mut Sink<'_>) {
        for (rotation, settlement) in self.rotations.tick(now) {
            self.count_outcome(&rotation, settlement, now, sink);
        }
        self.memory.expire(now);
        self.history.expire(now);
    }

    fn count_outcome(
        &mut self,
        rotation: &Rotation,
        settlement: Settlement,
        now: Timestamp,
        sink: &mut Sink<'_>,
    ) {
        let mut attributes = vec![(attribute::RESULT, settlement.outcome.word())];
        if let Some(service) = rotation.sole_service() {
            attributes.push((attribute::SERVICE, self.labels.bounded(attribute::SERVICE, service, now)));
        }
        let series = Series::new(engine::ROTATION_OUTCOMES.name, attributes);
        // An end so long ago that nothing is kept of that time counts at the beginning of what is kept.
        let at = settlement.at.max(now.before(LONGEST_WINDOW)).min(now);
        if sink(&series, at, Measured::Count(1)).is_err() {
            // An outcome must not get lost: it is settled again at the next tick.
            self.uncounted += 1;
            self.rotations.reopen(&rotation.id);
        }
    }

    /// The rotations.
    pub const fn rotations(&self) -> &Rotations {
        &self.rotations
    }

    /// The latest events.
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// Number of identities that are remembered.
    pub fn ids(&self) -> usize {
        self.memory.len()
    }

    /// Amounts that the counts refused although their event was taken, since the start.
    pub const fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// The value itself when it has or gets a place among those of its attribute, else `other`: for series that others
    /// make of names from outside.
    pub fn bounded<'a>(&mut self, key: &str, value: &'a str, now: Timestamp) -> &'a str {
        self.labels.bounded(key, value, now)
    }

    /// Number of records that wait to be saved.
    pub fn unsaved(&self) -> usize {
        self.memory.unsaved() + self.labels.unsaved() + self.rotations.unsaved() + self.history.unsaved()
    }

    /// Hands over what differs from what was saved, to be saved in one transaction with the counts.
    pub fn take_changes(&mut self) -> Vec<DeskChange> {
        let (ids, horizon) = self.memory.take_changes();
        let mut changes: Vec<DeskChange> =
            horizon.map(|horizon| DeskChange::Put(DeskRecord::Horizon(horizon))).into_iter().collect();
        changes.extend(ids.into_iter().map(|(key, time)| {
            time.map_or(DeskChange::Delete(DeskKey::Id(key)), |time| {
                DeskChange::Put(DeskRecord::Id(key, time))
            })
        }));
        changes.extend(self.labels.take_changes().into_iter().map(|((key, value), used)| match used {
            Some(used) => DeskChange::Put(DeskRecord::Label(key, value, used)),
            None => DeskChange::Delete(DeskKey::Label(key, value)),
        }));
        changes.extend(self.rotations.take_changes().into_iter().map(|(id, rotation)| {
            rotation.map_or(DeskChange::Delete(DeskKey::Rotation(id)), |rotation| {
                DeskChange::Put(DeskRecord::Rotation(Box::new(rotation)))
            })
        }));
        changes.extend(self.history.take_changes().into_iter().map(|(place, event)| {
            event.map_or(DeskChange::Delete(DeskKey::Event(place)), |event| {
                DeskChange::Put(DeskRecord::Event(Box::new(event)))
            })
        }));
        changes
    }

    /// Marks all that is remembered as changed, for a disk that lost some of what it had.
    pub fn touch_all(&mut self) {
        self.memory.touch_all();
        self.labels.touch_all();
        self.rotations.touch_all();
        self.history.touch_all();
    }

    /// Takes back changes that could not be saved. They are handed over again, with the values of that time.
    pub fn return_changes(&mut self, changes: impl IntoIterator<Item = DeskChange>) {
        for change in changes {
            match change.key() {
                DeskKey::Id(key) => self.memory.return_key(key),
                DeskKey::Horizon => self.memory.return_horizon(),
                DeskKey::Label(key, value) => self.labels.return_label((key, value)),
                DeskKey::Rotation(id) => self.rotations.return_rotation(id),
                DeskKey::Event(place) => self.history.return_place(place),
            }
        }
    }
}

fn check_time(time: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if time > now.after(FUTURE_TOLERANCE) {
        let message = format!("is more than five minutes ahead of the engine's clock, which reads {now}");
        return Err(Refusal::of(RefusalReason::FromFuture, "time", message));
    }
    if time < now.before(LONGEST_WINDOW) {
        let message = format!("is older than counts are kept ({})", span_text(LONGEST_WINDOW));
        return Err(Refusal::of(RefusalReason::TooOld, "time", message));
    }
    Ok(())
}

fn too_late(now: Timestamp) -> Refusal {
    let message = format!(
        "is too long ago to tell whether the event was counted before: identities are remembered for {} at most, the \
         clock reads {now}",
        span_text(ID_MEMORY)
    );
    Refusal::of(RefusalReason::TooLateToTell, "time", message)
}

#[cfg(test)]
mod tests;
