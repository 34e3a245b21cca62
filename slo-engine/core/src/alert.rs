//! One incident per objective: inactive, pending, firing, resolved.
//!
//! A tier fires when it was active for the rule's pending time, and is quiet again when it was clear, with data, for the
//! rule's clear time. The objective's alert fires while any tier does, at the highest severity among them. Without data
//! a tier stays as it is, however long that lasts: silence is no recovery.

use crate::evaluation::Evaluation;
use crate::objective::{Objective, Severity};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Names an alert by the labels that identify it: FNV-1a 64 over `name 0xFF value 0xFF` in the order of the names, as
/// Alertmanager does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of a set of labels.
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
        const PRIME: u64 = 0x0100_0000_01b3;
        let bytes = labels
            .iter()
            .flat_map(|(name, value)| name.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]));
        Self(bytes.fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME)))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What is remembered of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierState {
    /// Since when its condition holds.
    pub active_since: Option<Timestamp>,
    /// Since when its condition does not hold although it fires.
    pub clear_since: Option<Timestamp>,
    /// Whether it fires.
    pub firing: bool,
}

/// An incident: from firing to resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// When it fired; together with the fingerprint its identity.
    pub started: Timestamp,
    /// Its present severity.
    pub severity: Severity,
    /// The highest severity that it had.
    pub worst: Severity,
}

/// Where an alert stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing is wrong, as far as known.
    #[default]
    Inactive,
    /// A condition holds, not long enough yet.
    Pending {
        /// Since when.
        since: Timestamp,
    },
    /// An incident is open.
    Firing(Incident),
    /// The last incident is over; nothing has happened since.
    Resolved {
        /// The incident.
        incident: Incident,
        /// When it was over.
        at: Timestamp,
    },
}

/// What is remembered of the alert of one objective. Saved together with the transitions that led to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertState {
    /// Where it stands.
    pub phase: Phase,
    /// Number of transitions so far; never goes back.
    pub sequence: u64,
    /// Every tier by its name.
    pub tiers: BTreeMap<String, TierState>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// A condition holds for the first time.
    Pending,
    /// It went away before it fired.
    Cancelled,
    /// An incident opens.
    Fired,
    /// Its severity rises.
    Raised,
    /// Its severity falls.
    Eased,
    /// It is over.
    Resolved,
    /// Its objective was removed or renamed.
    Withdrawn,
}

impl TransitionKind {
    /// Whether people are told.
    pub const fn notifies(self) -> bool {
        !matches!(self, Self::Pending | Self::Cancelled)
    }

    /// A short stable word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Cancelled => "cancelled",
            Self::Fired => "fired",
            Self::Raised => "raised",
            Self::Eased => "eased",
            Self::Resolved => "resolved",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// One transition with its evidence. Written before anything is sent; never changed afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// Name of the objective.
    pub objective: String,
    /// Labels that identify the alert.
    pub labels: BTreeMap<String, String>,
    /// Their fingerprint.
    pub fingerprint: Fingerprint,
    /// What happened.
    pub kind: TransitionKind,
    /// When.
    pub at: Timestamp,
    /// Number of this transition of this alert, from 1.
    pub sequence: u64,
    /// The incident that it belongs to; `None` before one opens.
    pub incident: Option<Incident>,
    /// Severity of the highest tier involved, before and after; for `Resolved` the worst that the incident had.
    pub severity: Severity,
    /// What was measured.
    pub evidence: Evaluation,
}

/// The labels that identify the alert of an objective: its name and service. Nothing that can be edited without meaning
/// another alert, no annotation, no value.
pub fn labels(objective: &Objective) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("pqscope.slo.name".to_owned(), objective.name.clone()),
        ("pqscope.service".to_owned(), objective.service.clone()),
    ])
}

/// Moves the alert of an objective on by one evaluation. The time is the evaluation's.
pub fn advance(
    objective: &Objective,
    state: &AlertState,
    evaluation: &Evaluation,
) -> (AlertState, Vec<Transition>) {
    let _ = (objective, evaluation);
    (state.clone(), Vec::new())
}

/// Closes the incident of an objective that no longer exists. `None` when there is none.
pub fn withdraw(state: &AlertState, last: &Transition, now: Timestamp) -> Option<(AlertState, Transition)> {
    let _ = (state, last, now);
    None
}
