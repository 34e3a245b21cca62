//! Planned rotations of keys: events go in, one outcome for each rotation comes out.
//!
//! A rotation is named by its `rotation_id`. A *plan* (`planned_at`, `due_at`, `services`) and *reports* (`service`,
//! `result`) may come in any order, also in one event. The rules:
//!
//! - Of several plans the latest by event time stands, field by field.
//! - Without `due_at` a rotation is due 24 hours after `planned_at`, or after the first event about it.
//! - **Done** when every expected service has reported success at or before the due time; without expected services,
//!   when any service has. It is settled at once, at the time of the last success that was needed.
//! - A service that reports failure and, at any time up to the due time, success, counts as successful: a retry heals.
//!   What stands is therefore the same in whatever order the reports arrive. Until the due time a failing rotation
//!   shows as `failed` among the [states](State); its outcome waits.
//! - **Failed** when at the due time an expected service has reported failure and no success.
//! - **Overdue** when at the due time some have not reported, and none of the others has failed.
//! - The last two are settled [`ARRIVAL_GRACE`] (or what the operator says) after the due time, so that reports under way arrive; or after our own
//!   start, or after we first heard of the rotation, where that is later. They count at the due time.
//! - An outcome never changes. A success after it is noted as a late completion; a later plan changes nothing.
//! - Reports without a plan are no planned rotation and have no outcome; they are forgotten after
//!   [`ROTATION_MEMORY`], as settled ones are.

mod book;

pub use book::{MOST_ROTATIONS, Rotations};

use super::{Event, Outcome};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Reports may be under way for so long after the due time.
pub const ARRIVAL_GRACE: Duration = Duration::from_secs(300);
/// Settled rotations, and reports that no plan ever came for, are kept for so long.
pub const ROTATION_MEMORY: Duration = Duration::from_secs(30 * 86_400);
/// Time for a rotation whose plan names no due time.
const DEFAULT_TIME: Duration = Duration::from_secs(86_400);

/// What became of a planned rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RotationOutcome {
    /// Every expected service has the new key.
    Done,
    /// A service could not take it.
    Failed,
    /// Not all have reported in time.
    Overdue,
}

impl RotationOutcome {
    /// The value of `pqscope.result`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Overdue => "overdue",
        }
    }
}

/// Where a planned rotation stands now, for gauges; other than the outcome it may still change after the due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// There is time left and nothing has failed.
    Due,
    /// The time is over and services are missing.
    Overdue,
    /// A service has reported failure and no success since.
    Failed,
    /// Every service has the new key, be it late.
    Done,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Due, Self::Overdue, Self::Failed, Self::Done];

    /// The value of `pqscope.state`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Due => "due",
            Self::Overdue => "overdue",
            Self::Failed => "failed",
            Self::Done => "done",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The end of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settlement {
    /// What became of it.
    pub outcome: RotationOutcome,
    /// When: the last success that was needed, or the due time.
    pub at: Timestamp,
}

/// Order of plans: the time of the event, then its identity, so that two at the same time have an order too.
type Stamp = (Timestamp, [u8; 16]);

/// One field of a plan with the order of the event that it stands in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Planned<T> {
    stamp: Stamp,
    value: T,
}

/// What one service has reported: the earliest of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// First success.
    pub success: Option<Timestamp>,
    /// First failure.
    pub failure: Option<Timestamp>,
}

/// One rotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Its `rotation_id`.
    pub id: String,
    /// Time of the earliest event about it.
    pub first: Timestamp,
    /// When we first heard of it, on our clock.
    pub heard: Timestamp,
    planned_at: Option<Planned<Timestamp>>,
    due_at: Option<Planned<Timestamp>>,
    expected: Option<Planned<Vec<String>>>,
    /// What services have reported.
    pub reports: BTreeMap<String, Report>,
    /// Its end, if it has come.
    pub settled: Option<Settlement>,
}

impl Rotation {
    /// A rotation that nothing is known of yet.
    pub fn new(id: &str, first: Timestamp, heard: Timestamp) -> Self {
        Self { id: id.to_owned(), first, heard, ..Self::default() }
    }

    /// Whether it has no outcome yet.
    fn is_open(&self) -> bool {
        self.settled.is_none()
    }

    /// Takes an event about it.
    fn note(&mut self, event: &Event) {
        let data = &event.data;
        self.first = self.first.min(event.time);
        if self.settled.is_none() {
            let stamp = (event.time, event.key().to_bytes());
            amend(&mut self.planned_at, stamp, data.planned_at);
            amend(&mut self.due_at, stamp, data.due_at);
            amend(&mut self.expected, stamp, (!data.services.is_empty()).then(|| data.services.clone()));
        }
        let Some(result) = data.result else { return };
        // A report that names no service stands for the rotation as a whole.
        let report = self.reports.entry(data.service.clone().unwrap_or_default()).or_default();
        let first = match result {
            Outcome::Success => &mut report.success,
            Outcome::Failure => &mut report.failure,
        };
        *first = Some(first.map_or(event.time, |first| first.min(event.time)));
    }

    /// Whether anybody planned it.
    pub const fn is_planned(&self) -> bool {
        self.planned_at.is_some() || self.due_at.is_some() || self.expected.is_some()
    }

    /// By when it must be done.
    pub fn due(&self) -> Timestamp {
        let begun = self.planned_at.as_ref().map_or(self.first, |planned| planned.value);
        self.due_at.as_ref().map_or_else(|| begun.after(DEFAULT_TIME), |due| due.value)
    }

    /// Services that must report; empty when any one will do.
    pub fn expected(&self) -> &[String] {
        self.expected.as_ref().map_or(&[], |expected| &expected.value)
    }

    /// The service that it is about, when it is one only.
    pub fn sole_service(&self) -> Option<&str> {
        match self.expected() {
            [service] => Some(service),
            [] if self.reports.len() == 1 => {
                self.reports.keys().next().map(String::as_str).filter(|service| !service.is_empty())
            }
            _ => None,
        }
    }

    /// When the last success that is needed was reported; `None` while one is missing.
    pub fn completed(&self) -> Option<Timestamp> {
        let success = |service: &String| self.reports.get(service).and_then(|report| report.success);
        match self.expected() {
            [] => self.reports.values().filter_map(|report| report.success).min(),
            expected => expected
                .iter()
                .map(success)
                .try_fold(Timestamp::EPOCH, |last, success| Some(last.max(success?))),
        }
    }

    /// Completed after it was settled as something else.
    pub fn completed_late(&self) -> Option<Timestamp> {
        let settled = self.settled.filter(|settled| settled.outcome != RotationOutcome::Done);
        settled.and_then(|_| self.completed())
    }

    /// Whether an expected service has reported failure up to `until`, and no success.
    fn is_failing(&self, until: Timestamp) -> bool {
        let expected = self.expected();
        let counts = |service: &String| expected.is_empty() || expected.contains(service);
        let failing = |report: &Report| {
            let by = |time: Option<Timestamp>| time.is_some_and(|time| time <= until);
            by(report.failure) && !by(report.success)
        };
        self.reports.iter().any(|(service, report)| counts(service) && failing(report))
    }

    /// Where it stands.
    pub fn state(&self, now: Timestamp) -> State {
        if self.completed().is_some_and(|completed| completed <= self.due())
            || self.completed_late().is_some()
            || self.settled.is_some_and(|settled| settled.outcome == RotationOutcome::Done)
        {
            State::Done
        } else if self.is_failing(now) {
            State::Failed
        } else if now > self.due() {
            State::Overdue
        } else {
            State::Due
        }
    }

    /// Its good end, if it has come.
    fn done(&self) -> Option<Settlement> {
        let open = self.is_planned() && self.settled.is_none();
        let at = self.completed().filter(|completed| open && *completed <= self.due())?;
        Some(Settlement { outcome: RotationOutcome::Done, at })
    }

    /// Its end, if that can be told now. `started` is when this process began to listen.
    fn settlement(&self, started: Timestamp, grace: Duration, now: Timestamp) -> Option<Settlement> {
        let due = self.due();
        let decided = due.max(started).max(self.heard).after(grace);
        if !self.is_planned() || self.settled.is_some() || now < decided {
            return self.done();
        }
        self.done().or_else(|| {
            let failing = self.is_failing(due);
            let outcome = if failing { RotationOutcome::Failed } else { RotationOutcome::Overdue };
            Some(Settlement { outcome, at: due })
        })
    }

    /// Whether it can be forgotten.
    fn is_past(&self, now: Timestamp) -> bool {
        let last = self.settled.map_or(self.first, |settled| settled.at);
        (self.settled.is_some() || !self.is_planned()) && now.since(last) > ROTATION_MEMORY
    }
}

fn amend<T>(field: &mut Option<Planned<T>>, stamp: Stamp, value: Option<T>) {
    let Some(value) = value else { return };
    if field.as_ref().is_none_or(|old| old.stamp < stamp) {
        *field = Some(Planned { stamp, value });
    }
}

#[cfg(test)]
mod tests;
