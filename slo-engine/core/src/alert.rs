//! One incident per objective: inactive, pending, firing, resolved.
//!
//! An objective has several conditions: its window pairs, a bad event where none is allowed, a spike in a part of the
//! traffic, a day that took a large part of the budget, missing data where that is to alert. A condition fires when it
//! was active for its pending time, and is quiet again when it was clear, with data, for its clear time. The objective's
//! alert fires while any condition does, at the highest severity among them. Without data a condition stays as it is,
//! however long that lasts: silence is no recovery. Time in which nobody evaluated is not known to have been active or
//! clear: spans do not count across it.

use crate::burn::pending_for;
use crate::distribution::to_count;
use crate::evaluation::{Evaluation, Verdict};
use crate::objective::{Goal, NoDataPolicy, Objective, Severity};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::ParseIntError;
use std::sync::Arc;
use std::time::Duration;

/// Evaluations further apart say nothing about the time between them.
const LONGEST_GAP: Duration = Duration::from_secs(120);
/// The day's part of the budget is quiet again after the shortest window burned below 1 for so long.
pub(crate) const DAY_CLEAR_FOR: Duration = Duration::from_secs(2 * 3_600);
/// Names of the conditions that are not window pairs.
pub(crate) const BREACH: &str = "zero-tolerance";
pub(crate) const SPIKE: &str = "spike";
pub(crate) const DAY_SPEND: &str = "day-spend";
pub(crate) const NO_DATA: &str = "no-data";

/// Names an alert by the labels that identify it: FNV-1a 64 over `name 0xFF value 0xFF` in the order of the names, as
/// Alertmanager does it. Written as sixteen hexadecimal digits, for numbers of that size do not survive JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Fingerprint(u64);

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u64::from_str_radix(&text, 16).map(Self)
    }
}

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

/// What is remembered of one condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierState {
    /// Since when its condition holds.
    pub active_since: Option<Timestamp>,
    /// Since when its condition does not hold although it fires.
    pub clear_since: Option<Timestamp>,
    /// Whether it fires.
    pub firing: bool,
    /// Of zero tolerance: bad events of the SLO window when it was last looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bad_seen: Option<u64>,
    /// Of zero tolerance: when a bad event became known that was older than the time that one is held for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late: Option<Timestamp>,
    /// Of a spike: the groups that it was seen in.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<BTreeMap<String, String>>,
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
        /// Severity of the highest tier that is.
        severity: Severity,
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
#[serde(default)]
pub struct AlertState {
    /// Where it stands.
    pub phase: Phase,
    /// Number of transitions so far; never goes back.
    pub sequence: u64,
    /// The labels that identify it. While an incident is open they stay as they were when it opened, so that an edited
    /// objective ends the incident that it began.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Every condition by its name. Shared by the states of one evaluation after the other while nothing changes.
    pub tiers: Arc<BTreeMap<String, TierState>>,
    /// Time of the last evaluation.
    pub evaluated: Option<Timestamp>,
    /// Whether a day took so much of the budget that the open incident was escalated.
    pub escalated: bool,
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
    /// A large part of the budget went in a day: a reason to review the runbook and recent changes, not another page.
    Escalated,
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
            Self::Escalated => "escalated",
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
    /// Severity after it; for `Resolved` and `Withdrawn` the worst that the incident had.
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

/// Whether labels are those of an objective, without making them.
fn is_labelled(labels: &BTreeMap<String, String>, objective: &Objective) -> bool {
    let own = [("pqscope.service", &objective.service), ("pqscope.slo.name", &objective.name)];
    labels.iter().map(|(key, value)| (key.as_str(), value)).eq(own)
}

/// One condition at a moment.
struct Condition {
    name: Cow<'static, str>,
    severity: Severity,
    pending_for: Duration,
    clear_for: Duration,
    /// For how long it has held already when it is first seen to hold, if somebody was watching.
    held_before: Duration,
    verdict: Verdict,
}

/// All conditions of an objective, from what was evaluated. `state` is asked about spikes only, which are over when the
/// groups that they were seen in are.
fn conditions(objective: &Objective, state: &AlertState, evaluation: &Evaluation) -> Vec<Condition> {
    let clear_for = objective.alert.clear_for;
    let mut conditions: Vec<Condition> = evaluation
        .tiers
        .iter()
        .map(|reading| Condition {
            name: Cow::Owned(reading.tier.name()),
            severity: reading.tier.severity,
            pending_for: reading.tier.pending_for,
            clear_for,
            held_before: Duration::ZERO,
            verdict: reading.verdict,
        })
        .collect();
    if let (Goal::ZeroTolerance { severity, hold }, Some(breach)) = (objective.goal, evaluation.breach) {
        // The time that a breach keeps the incident open is part of the window that was looked at.
        let before = state.tiers.get(BREACH);
        let told_late = before.is_some_and(|tier| tier.learnt(evaluation))
            || before.and_then(|tier| tier.late).is_some_and(|late| evaluation.at.since(late) < hold);
        let verdict = match breach.verdict {
            Verdict::Clear if told_late => Verdict::Active,
            verdict => verdict,
        };
        conditions.push(Condition {
            name: Cow::Borrowed(BREACH),
            severity,
            pending_for: Duration::ZERO,
            clear_for: Duration::ZERO,
            held_before: Duration::ZERO,
            verdict,
        });
    }
    if let Some(rule) = &objective.alert.spike {
        conditions.push(Condition {
            name: Cow::Borrowed(SPIKE),
            severity: rule.severity,
            pending_for: rule.pending_for,
            clear_for,
            held_before: Duration::ZERO,
            verdict: spike_verdict(objective, state, evaluation),
        });
    }
    if let Some(day) = evaluation.day {
        conditions.push(Condition {
            name: Cow::Borrowed(DAY_SPEND),
            severity: Severity::Ticket,
            // As long as a page: where seconds take a quarter of the budget, the page still comes first.
            pending_for: pending_for(Severity::Page),
            clear_for: DAY_CLEAR_FOR,
            held_before: Duration::ZERO,
            verdict: day.verdict,
        });
    }
    if let (NoDataPolicy::Alert { after, severity }, Some(verdict)) =
        (objective.alert.no_data, evaluation.no_data)
    {
        // The shortest window is empty: there was no data for so long already.
        let held_before = evaluation.windows.first().map_or(Duration::ZERO, |reading| reading.length);
        let (name, pending_for) = (Cow::Borrowed(NO_DATA), after);
        conditions.push(Condition { name, severity, pending_for, clear_for, held_before, verdict });
    }
    conditions
}

/// A spike is over when every group that it was seen in is back within the objective, or has no traffic left while others
/// have: a deployment that was taken back.
fn spike_verdict(objective: &Objective, state: &AlertState, evaluation: &Evaluation) -> Verdict {
    if evaluation.fault.is_some() {
        return Verdict::NoData;
    }
    if evaluation.spikes.iter().any(|reading| reading.spike) {
        return Verdict::Active;
    }
    let seen = state.tiers.get(SPIKE).map(|tier| &tier.groups);
    let allowed = objective.goal.allowed().unwrap_or(1.0);
    let still = evaluation.spikes.iter().any(|reading| {
        seen.is_some_and(|seen| seen.contains(&reading.group.labels)) && reading.group.beyond(allowed)
    });
    let silent = evaluation.windows.first().is_none_or(|reading| reading.tally.is_empty());
    if silent {
        Verdict::NoData
    } else if still {
        Verdict::InsufficientData
    } else {
        Verdict::Clear
    }
}

/// Moves the alert of an objective on by one evaluation. The time is the evaluation's; the transitions come in the order
/// in which they happened.
pub fn advance(
    objective: &Objective,
    state: &AlertState,
    evaluation: &Evaluation,
) -> (AlertState, Vec<Transition>) {
    let now = evaluation.at;
    let stays = matches!(state.phase, Phase::Firing(_)) || is_labelled(&state.labels, objective);
    let mut next = AlertState {
        phase: state.phase,
        sequence: state.sequence,
        labels: if stays { Arc::clone(&state.labels) } else { Arc::new(labels(objective)) },
        tiers: Arc::clone(&state.tiers),
        evaluated: Some(now),
        escalated: state.escalated,
    };
    let unwatched = state.evaluated.is_some_and(|last| last > now || now.since(last) > LONGEST_GAP);
    // What the conditions say together: the highest severity that fires, and the earliest one that holds.
    let mut firing: Option<Severity> = None;
    let mut pending: Option<(Timestamp, Severity)> = None;
    let mut tiers: Vec<(Cow<'static, str>, TierState)> = Vec::new();
    for condition in conditions(objective, state, evaluation) {
        let mut tier = state.tiers.get(condition.name.as_ref()).cloned().unwrap_or_default();
        if unwatched {
            tier.active_since = None;
            tier.clear_since = None;
        }
        let learnt = condition.name == BREACH && tier.learnt(evaluation);
        let late = if learnt { Some(now) } else { tier.late };
        // Time before the first look, and before a gap, is not known to have been silent: senders were not heard.
        let held_before =
            if unwatched || state.evaluated.is_none() { Duration::ZERO } else { condition.held_before };
        let mut tier = tier.advanced(&condition, now.before(held_before), now);
        if condition.name == BREACH && evaluation.fault.is_none() {
            tier.bad_seen = Some(to_count(evaluation.budget.tally.bad.round()));
            tier.late = late.filter(|_| tier.firing);
        }
        if condition.name == SPIKE && (tier.firing || tier.active_since.is_some()) {
            let groups = evaluation.spikes.iter().filter(|reading| reading.spike);
            tier.groups.extend(groups.map(|reading| reading.group.labels.clone()));
        }
        if tier.firing {
            firing = firing.max(Some(condition.severity));
        }
        if let Some(since) = tier.active_since {
            let (earliest, highest) = pending.unwrap_or((since, condition.severity));
            pending = Some((earliest.min(since), highest.max(condition.severity)));
        }
        tiers.push((condition.name, tier));
    }
    let same = |(name, tier): &(Cow<'static, str>, TierState)| state.tiers.get(name.as_ref()) == Some(tier);
    if tiers.len() != state.tiers.len() || !tiers.iter().all(same) {
        next.tiers = Arc::new(tiers.into_iter().map(|(name, tier)| (name.into_owned(), tier)).collect());
    }
    // Conditions that an edit took away hold their incident while new ones may be about to take it over.
    if let (None, Some(_), Phase::Firing(incident)) = (firing, pending, state.phase) {
        let gone = state.tiers.iter().filter(|(name, tier)| tier.firing && !next.tiers.contains_key(*name));
        let gone: Vec<(String, TierState)> = gone.map(|(name, tier)| (name.clone(), tier.clone())).collect();
        firing = (!gone.is_empty()).then_some(incident.severity);
        Arc::make_mut(&mut next.tiers).extend(gone);
    }
    let mut log = Log { labels: &next.labels, evaluation, sequence: state.sequence, transitions: Vec::new() };
    let phase = step(state.phase, firing, pending, now, &mut log);
    let spends = next.tiers.get(DAY_SPEND).is_some_and(|tier| tier.firing);
    // Once an incident, though its spend may pause and go on: the review is asked for already.
    let known = state.escalated && matches!(state.phase, Phase::Firing(_));
    let escalated = match phase {
        Phase::Firing(incident) if spends && !known => {
            log.write(TransitionKind::Escalated, Some(incident), incident.severity);
            true
        }
        Phase::Firing(_) => known,
        _ => false,
    };
    let Log { sequence, transitions, .. } = log;
    (AlertState { phase, sequence, escalated, ..next }, transitions)
}

impl TierState {
    /// Whether there are more bad events than before: one may be told so late that it is not among the last ones.
    fn learnt(&self, evaluation: &Evaluation) -> bool {
        let bad = to_count(evaluation.budget.tally.bad.round());
        evaluation.fault.is_none() && self.bad_seen.is_some_and(|seen| bad > seen)
    }

    /// `begun`: when the condition began to hold, if it holds for the first time.
    fn advanced(self, condition: &Condition, begun: Timestamp, now: Timestamp) -> Self {
        match condition.verdict {
            Verdict::Active => {
                let since = self.active_since.unwrap_or(begun);
                let firing = self.firing || now.since(since) >= condition.pending_for;
                Self { active_since: Some(since), clear_since: None, firing, ..self }
            }
            Verdict::Clear if self.firing => {
                let since = self.clear_since.unwrap_or(now);
                if now.since(since) >= condition.clear_for {
                    Self::default()
                } else {
                    Self { clear_since: Some(since), ..self }
                }
            }
            Verdict::Clear => Self::default(),
            // Nothing is known: what was pending or firing stays so, and recovery must be shown anew.
            Verdict::NoData | Verdict::InsufficientData | Verdict::Overflowed => {
                Self { clear_since: None, ..self }
            }
        }
    }
}

/// The next phase.
fn step(
    phase: Phase,
    firing: Option<Severity>,
    pending: Option<(Timestamp, Severity)>,
    now: Timestamp,
    log: &mut Log<'_>,
) -> Phase {
    match (phase, firing) {
        (Phase::Firing(incident), Some(severity)) => {
            let moved = Incident { severity, worst: incident.worst.max(severity), ..incident };
            if severity > incident.severity {
                log.write(TransitionKind::Raised, Some(moved), severity);
            } else if severity < incident.severity {
                log.write(TransitionKind::Eased, Some(moved), severity);
            }
            Phase::Firing(moved)
        }
        (Phase::Firing(incident), None) => {
            log.write(TransitionKind::Resolved, Some(incident), incident.worst);
            Phase::Resolved { incident, at: now }
        }
        (before, Some(severity)) => {
            if !matches!(before, Phase::Pending { .. }) {
                log.write(TransitionKind::Pending, None, severity);
            }
            let incident = Incident { started: now, severity, worst: severity };
            log.write(TransitionKind::Fired, Some(incident), severity);
            Phase::Firing(incident)
        }
        (Phase::Pending { since, severity }, None) => match pending {
            Some((_, highest)) => Phase::Pending { since, severity: highest },
            None => {
                log.write(TransitionKind::Cancelled, None, severity);
                Phase::Inactive
            }
        },
        (Phase::Inactive | Phase::Resolved { .. }, None) => match pending {
            Some((since, severity)) => {
                log.write(TransitionKind::Pending, None, severity);
                Phase::Pending { since, severity }
            }
            None => phase,
        },
    }
}

/// Numbers transitions as they happen.
struct Log<'a> {
    labels: &'a BTreeMap<String, String>,
    evaluation: &'a Evaluation,
    sequence: u64,
    transitions: Vec<Transition>,
}

impl Log<'_> {
    fn write(&mut self, kind: TransitionKind, incident: Option<Incident>, severity: Severity) {
        self.sequence += 1;
        self.transitions.push(Transition {
            objective: self.evaluation.objective.clone(),
            fingerprint: Fingerprint::of(self.labels),
            labels: self.labels.clone(),
            kind,
            at: self.evaluation.at,
            sequence: self.sequence,
            incident,
            severity,
            evidence: self.evaluation.clone(),
        });
    }
}

/// Closes the incident of an objective that no longer exists; `None` when none is open. The evidence is that of the last
/// transition, for nothing new can be measured.
pub fn withdraw(state: &AlertState, last: &Transition, now: Timestamp) -> Option<(AlertState, Transition)> {
    let Phase::Firing(incident) = state.phase else { return None };
    let sequence = state.sequence + 1;
    let closed = AlertState {
        phase: Phase::Resolved { incident, at: now },
        sequence,
        tiers: Arc::default(),
        ..state.clone()
    };
    let transition = Transition {
        kind: TransitionKind::Withdrawn,
        at: now,
        sequence,
        incident: Some(incident),
        severity: incident.worst,
        ..last.clone()
    };
    Some((closed, transition))
}
