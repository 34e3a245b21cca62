//! How incidents came to be known: when the excursion began, when somebody was told, and what people found first.

use super::Keeper;
use super::incidents::{Incidents, MOST_DETECTIONS};
use crate::notify::{OutboxRow, Standing};
use crate::store::{Batch, Table, Urgency};
use pqscope_slo_core::alert::{AlertState, Transition, TransitionKind};
use pqscope_slo_core::detection::{self, Detection, Entered};
use pqscope_slo_core::evaluation::{Evaluation, Verdict, chart};
use pqscope_slo_core::ledger::Ledger;
use pqscope_slo_core::objective::Objective;
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::time::Timestamp;
use std::time::Duration;

/// When the excursion began that has just fired; `None` when none has, and when nothing says: a back end, a level or a
/// gap in the data has no bad events to look back at, and what fired at the first look may have lasted for long.
pub(super) fn began(
    objective: &Objective,
    ledger: &Ledger,
    selections: &mut Selections,
    transitions: &[Transition],
    state: &AlertState,
) -> Option<Detection> {
    let fired = transitions.iter().find(|transition| transition.kind == TransitionKind::Fired)?;
    let began = detection::look_back(longest_window(&fired.evidence), fired.at, |length, step| {
        chart(objective, ledger, selections, length, step, fired.at)
    });
    let pending_since =
        state.tiers.values().filter(|tier| tier.firing).filter_map(|tier| tier.active_since).min();
    let began = began.or(pending_since.filter(|since| *since < fired.at))?.min(fired.at);
    Some(Detection {
        objective: objective.name.clone(),
        service: objective.service.clone(),
        severity: fired.severity,
        began,
        told: None,
        entered: None,
    })
}

impl Keeper {
    /// Notes that somebody was told of an incident, the first time, or that nobody will be. Written with the notification.
    pub(super) fn note_detection(&mut self, row: &OutboxRow) {
        if !row.says_that_it_is_bad() {
            return;
        }
        let noted = match &row.standing {
            Standing::Sent { at, .. } => self.incidents.told(&row.objective, row.incident, *at),
            Standing::Dead { at, .. } if !self.incidents.may_be_told(&row.objective, row.incident) => {
                self.incidents.given_up(&row.objective, row.incident, *at)
            }
            _ => None,
        };
        if let Some(detection) = noted {
            self.count_detection(detection);
        }
    }

    /// Counts incidents that were over before anybody was told.
    pub(super) fn note_missed(&mut self, ended: Vec<Detection>) {
        if ended.is_empty() {
            return;
        }
        let now = self.clock.now();
        for detection in ended {
            tracing::warn!(slo = %detection.objective, "an incident was over before anybody was told of it");
            self.count_detection(missed(detection, now));
        }
        if let Err(error) = self.commit_with_counts(Batch::default(), Urgency::Essential) {
            tracing::warn!("incidents that nobody was told of wait to be written: {error}");
        }
    }

    /// Counts and keeps a detection.
    pub(super) fn count_detection(&mut self, detection: Detection) {
        let now = self.clock.now();
        let (series, at, observation) = detection.contribution();
        if let Err(why) = self.recorder.contribute(&series, at, observation, now) {
            tracing::warn!("the time to detect was not counted: {why}");
        }
        self.incidents.keep_detection(detection);
    }
}

/// The longest window of what was active; zero where that has none.
fn longest_window(evaluation: &Evaluation) -> Duration {
    let tiers =
        evaluation.tiers.iter().filter(|tier| tier.verdict == Verdict::Active).map(|tier| tier.tier.long);
    let breach = evaluation.breach.map(|breach| breach.held.length);
    tiers.chain(breach).max().unwrap_or_default()
}

impl Incidents {
    /// Marks the open incident of an objective as told; `None` when it was already, or is another.
    fn told(&mut self, objective: &str, incident: Option<Timestamp>, at: Timestamp) -> Option<Detection> {
        let record = self.records.get_mut(objective)?;
        let detection = record.untold(incident)?.as_mut()?;
        detection.told = Some(at);
        let told = detection.clone();
        self.unsaved.records.insert(objective.to_owned());
        Some(told)
    }

    /// As [`Self::told`], for an incident whose notices were all refused. It is told of no more.
    fn given_up(&mut self, objective: &str, incident: Option<Timestamp>, at: Timestamp) -> Option<Detection> {
        let record = self.records.get_mut(objective)?;
        let detection = record.untold(incident)?.take()?;
        self.unsaved.records.insert(objective.to_owned());
        Some(missed(detection, at))
    }

    fn keep_detection(&mut self, detection: Detection) {
        self.unsaved.detections.insert(key(&detection));
        self.detections.push_back(detection);
        while self.detections.len() > MOST_DETECTIONS {
            if let Some(oldest) = self.detections.pop_front() {
                self.unsaved.detections.insert(key(&oldest));
            }
        }
    }

    /// Has all detections written again.
    pub(super) fn touch_detections(&mut self) {
        self.unsaved.detections.extend(self.detections.iter().map(key));
    }

    /// Adds detections that are not on disk, and the deletion of those that are no longer kept.
    pub(super) fn add_detections(&self, batch: &mut Batch) {
        for key in &self.unsaved.detections {
            batch.delete(Table::Detection, key);
        }
        let changed = self.detections.iter().map(|detection| (key(detection), detection));
        for (key, detection) in changed.filter(|(key, _)| self.unsaved.detections.contains(key)) {
            batch.put(Table::Detection, &key, detection);
        }
    }
}

/// Of an incident that nobody was told of: it is up to people to find it first.
fn missed(detection: Detection, at: Timestamp) -> Detection {
    let (author, description) = ("pqscope-slo".to_owned(), "no notification was delivered".to_owned());
    Detection { entered: Some(Entered { author, description, at }), ..detection }
}

/// Time first, so that the table reads as a history.
fn key(detection: &Detection) -> Vec<u8> {
    let mut key = detection.known().nanoseconds().to_be_bytes().to_vec();
    key.extend_from_slice(detection.objective.as_bytes());
    key
}
