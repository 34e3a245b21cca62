//! How incidents came to be known: when the excursion began, when somebody was told, and what people found first.

use super::Keeper;
use super::incidents::{Incidents, MOST_DETECTIONS};
use crate::store::{Batch, Table};
use pqscope_slo_core::alert::{Transition, TransitionKind};
use pqscope_slo_core::detection::{self, Detection};
use pqscope_slo_core::evaluation::{Evaluation, Verdict, chart};
use pqscope_slo_core::ledger::Ledger;
use pqscope_slo_core::objective::Objective;
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::time::Timestamp;
use std::time::Duration;

/// When the excursion began that has just fired; `None` when none has.
pub(super) fn began(
    objective: &Objective,
    ledger: &Ledger,
    selections: &mut Selections,
    transitions: &[Transition],
) -> Option<Detection> {
    let fired = transitions.iter().find(|transition| transition.kind == TransitionKind::Fired)?;
    let began = detection::look_back(longest_window(&fired.evidence), fired.at, |length, step| {
        chart(objective, ledger, selections, length, step, fired.at)
    });
    let began = began.unwrap_or(fired.at).min(fired.at);
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
    /// Notes that somebody was told of an incident, the first time. Goes into the batch that settles the notification.
    pub(super) fn note_detection(&mut self, objective: &str, at: Timestamp, batch: &mut Batch) {
        if let Some(detection) = self.incidents.told(objective, at, batch) {
            self.count_detection(detection, batch);
        }
    }

    /// Counts and keeps a detection.
    pub(super) fn count_detection(&mut self, detection: Detection, batch: &mut Batch) {
        let now = self.clock.now();
        let (series, at, observation) = detection.contribution();
        if let Err(why) = self.recorder.contribute(&series, at, observation, now) {
            tracing::warn!("the time to detect was not counted: {why}");
        }
        self.incidents.keep_detection(detection, batch);
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
    /// Marks the open incident of an objective as told; `None` when it was already, or is none.
    fn told(&mut self, objective: &str, at: Timestamp, batch: &mut Batch) -> Option<Detection> {
        let record = self.records.get_mut(objective)?;
        let detection = record.detection.as_mut().filter(|detection| detection.told.is_none())?;
        detection.told = Some(at);
        let told = detection.clone();
        batch.put(Table::Incident, objective.as_bytes(), record);
        Some(told)
    }

    fn keep_detection(&mut self, detection: Detection, batch: &mut Batch) {
        batch.put(Table::Detection, &key(&detection), &detection);
        self.detections.push_back(detection);
        while self.detections.len() > MOST_DETECTIONS {
            if let Some(oldest) = self.detections.pop_front() {
                batch.delete(Table::Detection, &key(&oldest));
            }
        }
    }
}

/// Time first, so that the table reads as a history.
fn key(detection: &Detection) -> Vec<u8> {
    let known = detection.told.or(detection.entered.as_ref().map(|entered| entered.at));
    let mut key = known.unwrap_or(detection.began).nanoseconds().to_be_bytes().to_vec();
    key.extend_from_slice(detection.objective.as_bytes());
    key
}
