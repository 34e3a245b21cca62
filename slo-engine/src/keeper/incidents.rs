//! Evaluation and what follows from it: transitions of incidents, and the notifications about them, written in one
//! commit before anything is sent.

use super::{Keeper, ObjectiveView, detections, view};
use crate::notify::{OutboxRow, Settlement, Standing};
use crate::store::{Batch, Store, StoreError, Table, Urgency};
use pqscope_slo_core::alert::{self, AlertState, Phase, Transition, TransitionKind};
use pqscope_slo_core::detection::Detection;
use pqscope_slo_core::evaluation::{ObjectiveState, evaluate, judge};
use pqscope_slo_core::measure::Aside;
use pqscope_slo_core::notification::Notification;
use pqscope_slo_core::objective::{Sli, Subject};
use pqscope_slo_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Transitions that are kept.
const MOST_TRANSITIONS: usize = 1_000;
/// Detections that are kept.
pub(super) const MOST_DETECTIONS: usize = 1_000;
/// Settled notifications that are kept; those that wait are never dropped.
const MOST_SETTLED: usize = 500;
/// A commit settles no more notifications than this: evaluations and exports wait for it.
const MOST_SETTLEMENTS: usize = 256;

/// The alert of one objective, as kept on disk. The objective goes with it, so that its incident can be closed with a
/// proper notification after the objective is removed from the files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct IncidentRecord {
    objective: Subject,
    state: Arc<AlertState>,
    last: Option<Transition>,
    /// Of the incident that is open: when it began, and whether somebody was told.
    #[serde(default)]
    pub(super) detection: Option<Detection>,
}

impl IncidentRecord {
    /// The detection of the open incident while nobody was told of it; only if that opened then, where it is known.
    pub(super) fn untold(&mut self, incident: Option<Timestamp>) -> Option<&mut Option<Detection>> {
        let Phase::Firing(open) = self.state.phase else { return None };
        let is_meant = incident.is_none_or(|started| started == open.started);
        let untold = self.detection.as_ref().is_some_and(|detection| detection.told.is_none());
        (is_meant && untold).then_some(&mut self.detection)
    }

    /// Whether nothing but the time of the last evaluation would differ, which is not worth a write. After a restart it
    /// is older than it was then: spans begin anew, as after any time in which nobody evaluated.
    fn says_the_same(&self, objective: &Subject, state: &AlertState) -> bool {
        let AlertState { evaluated: _, phase, sequence, labels, tiers, escalated } = self.state.as_ref();
        self.objective == *objective
            && (phase, sequence, labels) == (&state.phase, &state.sequence, &state.labels)
            && (tiers, escalated) == (&state.tiers, &state.escalated)
    }
}

/// What changed in memory and is not on disk: written, as it is then, with the next commit of counts.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    pub(super) records: BTreeSet<String>,
    pub(super) rows: BTreeSet<u64>,
    pub(super) detections: BTreeSet<Vec<u8>>,
}

/// All alerts, what happened to them, and the outbox.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    pub(super) detections: VecDeque<Detection>,
    pub(super) records: BTreeMap<String, IncidentRecord>,
    transitions: VecDeque<Transition>,
    outbox: BTreeMap<u64, OutboxRow>,
    next_number: u64,
    pub(super) unsaved: Unsaved,
}

/// Changes to the above that are not on disk yet.
#[derive(Default)]
struct Draft {
    batch: Batch,
    records: Vec<(String, IncidentRecord)>,
    /// States that differ in the time of the evaluation alone, by objective.
    looks: Vec<(Arc<Subject>, Arc<AlertState>)>,
    transitions: Vec<Transition>,
    rows: Vec<OutboxRow>,
    /// Of incidents that are over without anybody having been told.
    missed: Vec<Detection>,
}

impl Incidents {
    pub(super) fn load(store: &Store) -> Result<Self, StoreError> {
        let records = store.load::<IncidentRecord>(Table::Incident)?;
        let transitions = store.load::<Transition>(Table::Transition)?;
        let rows = store.load::<OutboxRow>(Table::Notification)?;
        let unreadable = records.unreadable + transitions.unreadable + rows.unreadable;
        if unreadable > 0 {
            tracing::error!("{unreadable} records of incidents and notifications could not be read");
        }
        let outbox: BTreeMap<u64, OutboxRow> =
            rows.records.into_iter().map(|(_, row)| (row.number, row)).collect();
        let detections = store.load::<Detection>(Table::Detection)?.records;
        Ok(Self {
            detections: detections.into_iter().map(|(_, detection)| detection).collect(),
            records: records
                .records
                .into_iter()
                .map(|(_, record)| (record.objective.name.clone(), record))
                .collect(),
            transitions: transitions.records.into_iter().map(|(_, transition)| transition).collect(),
            next_number: outbox.last_key_value().map_or(1, |(number, _)| number + 1),
            outbox,
            unsaved: Unsaved::default(),
        })
    }

    /// Whether something waits to be written.
    pub(super) fn is_unsaved(&self) -> bool {
        let Unsaved { records, rows, detections } = &self.unsaved;
        !(records.is_empty() && rows.is_empty() && detections.is_empty())
    }

    /// Adds what waits to be written, as it is now. What was dropped meanwhile is not written again.
    pub(super) fn add_unsaved(&self, batch: &mut Batch) {
        for (name, record) in self.unsaved.records.iter().filter_map(|name| self.records.get_key_value(name))
        {
            batch.put(Table::Incident, name.as_bytes(), record);
        }
        for (number, row) in self.unsaved.rows.iter().filter_map(|number| self.outbox.get_key_value(number)) {
            batch.put(Table::Notification, &number.to_be_bytes(), row);
        }
        if !self.unsaved.detections.is_empty() {
            self.add_detections(batch);
        }
    }

    /// Adds all transitions that are kept.
    pub(super) fn add_transitions(&self, batch: &mut Batch) {
        for transition in &self.transitions {
            batch.put(Table::Transition, &transition_key(transition), transition);
        }
    }

    /// Has everything else written again.
    pub(super) fn touch_all(&mut self) {
        self.unsaved.records.extend(self.records.keys().cloned());
        self.unsaved.rows.extend(self.outbox.keys());
        self.touch_detections();
    }

    /// All that waited is on disk.
    pub(super) fn note_saved(&mut self) {
        self.unsaved = Unsaved::default();
    }

    /// Notifications to send, oldest first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &OutboxRow> {
        self.outbox.values().filter(|row| row.standing == Standing::Waiting)
    }

    /// How the latest incidents came to be known, newest first.
    pub(super) fn detections(&self) -> impl Iterator<Item = &Detection> {
        self.detections.iter().rev()
    }

    /// All notifications that are kept, newest first.
    pub(super) fn rows(&self) -> impl Iterator<Item = &OutboxRow> {
        self.outbox.values().rev()
    }

    /// What happened, newest first.
    pub(super) fn transitions(&self) -> impl Iterator<Item = &Transition> {
        self.transitions.iter().rev()
    }

    /// Whether notices that an incident has begun, or got worse, are on their way or were delivered.
    pub(super) fn may_be_told(&self, objective: &str, incident: Option<Timestamp>) -> bool {
        self.outbox.values().any(|row| {
            row.objective == objective
                && row.incident == incident
                && row.says_that_it_is_bad()
                && !matches!(row.standing, Standing::Dead { .. })
        })
    }

    fn state(&self, objective: &str) -> Arc<AlertState> {
        self.records.get(objective).map(|record| Arc::clone(&record.state)).unwrap_or_default()
    }

    /// Notes a state with the transitions that led to it, and a notification per receiver for each that people hear of.
    fn draft(
        &self,
        draft: &mut Draft,
        receivers: &[String],
        objective: &Arc<Subject>,
        state: Arc<AlertState>,
        transitions: Vec<Transition>,
        began: Option<Detection>,
    ) {
        let old = self.records.get(&objective.name);
        let quiet = transitions.is_empty() && began.is_none();
        if quiet && old.is_some_and(|old| old.says_the_same(objective, &state)) {
            draft.looks.push((Arc::clone(objective), state));
            return;
        }
        let last = transitions.last().cloned().or_else(|| old.and_then(|record| record.last.clone()));
        let has_begun = transitions.iter().any(|transition| transition.kind == TransitionKind::Fired);
        let kept = old.filter(|_| !has_begun).and_then(|record| record.detection.clone());
        let mut detection = began.or(kept);
        let is_over = transitions.iter().any(|transition| transition.kind == TransitionKind::Resolved);
        // A notice that still waits comes too late: it says of an incident that is over that it has begun.
        if is_over && let Some(ended) = detection.take_if(|detection| detection.told.is_none()) {
            draft.missed.extend((!receivers.is_empty()).then_some(ended));
        }
        let record = IncidentRecord { objective: objective.as_ref().clone(), state, last, detection };
        draft.batch.put(Table::Incident, objective.name.as_bytes(), &record);
        draft.records.push((objective.name.clone(), record));
        for transition in transitions {
            draft.batch.put(Table::Transition, &transition_key(&transition), &transition);
            if let Some(notification) = Notification::new(&transition, objective) {
                for receiver in receivers {
                    let number = self.next_number + draft.rows.len() as u64;
                    let row = outbox_row(number, receiver, &transition, &notification);
                    draft.batch.put(Table::Notification, &number.to_be_bytes(), &row);
                    draft.rows.push(row);
                }
            }
            draft.transitions.push(transition);
        }
    }

    /// Takes over what is now on disk; returns the rows to send.
    fn adopt(&mut self, draft: Draft) -> Vec<OutboxRow> {
        self.records.extend(draft.records);
        for (objective, state) in draft.looks {
            if let Some(record) = self.records.get_mut(&objective.name) {
                record.state = state;
            }
        }
        self.transitions.extend(draft.transitions);
        self.next_number += draft.rows.len() as u64;
        self.outbox.extend(draft.rows.iter().map(|row| (row.number, row.clone())));
        draft.rows
    }

    /// Drops the oldest of what is kept for show.
    fn trim(&mut self) -> Batch {
        let mut batch = Batch::default();
        while self.transitions.len() > MOST_TRANSITIONS {
            if let Some(oldest) = self.transitions.pop_front() {
                batch.delete(Table::Transition, &transition_key(&oldest));
            }
        }
        let settled: Vec<u64> = self
            .outbox
            .values()
            .filter(|row| row.standing != Standing::Waiting)
            .map(|row| row.number)
            .collect();
        for number in settled.iter().take(settled.len().saturating_sub(MOST_SETTLED)) {
            // The newest row stays whatever it is: the next number is counted from it.
            if self.outbox.last_key_value().is_some_and(|(last, _)| last != number) {
                self.outbox.remove(number);
                batch.delete(Table::Notification, &number.to_be_bytes());
            }
        }
        batch
    }
}

impl Keeper {
    /// Evaluates all objectives, moves their alerts on, and shows the result.
    pub(super) fn observe(&mut self, now: Timestamp) {
        let mut draft = Draft::default();
        let mut views = Vec::with_capacity(self.objectives.len());
        self.judge_slices(now);
        for (objective, subject) in self.objectives.iter().zip(&self.subjects) {
            let aside = Aside { exclusions: &self.exclusions, slices: self.books.get(&objective.name) };
            let ledger = self.recorder.ledger();
            let evaluation = match &objective.sli {
                Sli::Embedded(_) => evaluate(objective, ledger, &mut self.selections, aside, now),
                Sli::Prometheus { .. } => judge(objective, self.duties.readings.of(objective, now)),
            };
            let before = self.incidents.state(&objective.name);
            let (state, transitions) = alert::advance(objective, &before, &evaluation);
            for transition in &transitions {
                tracing::info!(slo = %transition.objective, severity = %transition.severity,
                    "{}", transition.kind.word());
            }
            let state = Arc::new(state);
            let ledger = self.recorder.ledger();
            let began = detections::began(objective, ledger, &mut self.selections, &transitions, &state);
            let receivers = &self.duties.receivers;
            self.incidents.draft(&mut draft, receivers, subject, Arc::clone(&state), transitions, began);
            let drawn = views.len() < view::MOST_CHARTS || evaluation.state == ObjectiveState::Burning;
            let mut shown = ObjectiveView::new(
                objective,
                evaluation,
                state,
                &self.recorder,
                &mut self.selections,
                &self.exclusions,
                self.started,
            );
            if drawn {
                shown.draw(&self.recorder, &mut self.selections);
            }
            views.push(shown);
        }
        self.write_draft(draft);
        let trimmed = self.incidents.trim();
        if let Err(error) = self.store.commit(trimmed, Urgency::Repeatable) {
            tracing::debug!("old transitions and notifications stay on disk for now: {error}");
        }
        self.evaluation_time = self.clock.now().since(now);
        self.publish_evaluated(views.into(), now);
    }

    /// Closes incidents whose objective is gone from the files, until that is on disk.
    pub(super) fn withdraw_removed(&mut self, now: Timestamp) {
        if self.all_withdrawn {
            return;
        }
        let mut draft = Draft::default();
        for (name, record) in &self.incidents.records {
            if self.objectives.iter().any(|objective| objective.name == *name) {
                continue;
            }
            let withdrawn = record.last.as_ref().and_then(|last| alert::withdraw(&record.state, last, now));
            if let Some((state, transition)) = withdrawn {
                tracing::info!(slo = %name, "incident withdrawn: its objective is gone from the files");
                let objective = Arc::new(record.objective.clone());
                let (receivers, state) = (&self.duties.receivers, Arc::new(state));
                self.incidents.draft(&mut draft, receivers, &objective, state, vec![transition], None);
            }
        }
        self.all_withdrawn = draft.transitions.is_empty();
        self.write_draft(draft);
    }

    /// Writes a draft, takes it over and sends what is to be sent. A draft that cannot be written is dropped: memory
    /// stays as the disk is, and the next evaluation comes to the same transitions.
    fn write_draft(&mut self, mut draft: Draft) {
        let batch = std::mem::take(&mut draft.batch);
        if batch.is_empty() {
            self.incidents.adopt(draft);
            return;
        }
        match self.store.commit(batch, Urgency::Essential) {
            Ok(()) => {
                let missed = std::mem::take(&mut draft.missed);
                for row in self.incidents.adopt(draft) {
                    let _ = self.rows.send(row);
                }
                self.note_missed(missed);
            }
            Err(error) => {
                tracing::error!("alerts could not be written and wait for the next evaluation: {error}")
            }
        }
    }

    /// Notes that a notification came to an end, and all that wait behind it, in one commit. What cannot be written is
    /// written with the next one; a start before that sends it once more, with the same key.
    pub(super) fn settle_group(&mut self, first: Settlement, more: &mut mpsc::UnboundedReceiver<Settlement>) {
        let mut next = Some(first);
        let mut settled = 0;
        while let Some(settlement) = next {
            self.settle(settlement);
            settled += 1;
            next = if settled < MOST_SETTLEMENTS { more.try_recv().ok() } else { None };
        }
        // What a detection adds to the counts goes with the mark that it was counted.
        if let Err(error) = self.commit_with_counts(Batch::default(), Urgency::Essential) {
            tracing::warn!("{settled} notifications were settled and that waits to be written: {error}");
        }
    }

    fn settle(&mut self, settlement: Settlement) {
        let Some(row) = self.incidents.outbox.get_mut(&settlement.number) else { return };
        row.standing = settlement.standing;
        let row = row.clone();
        self.incidents.unsaved.rows.insert(settlement.number);
        self.note_detection(&row);
    }
}

fn outbox_row(
    number: u64,
    receiver: &str,
    transition: &Transition,
    notification: &Notification,
) -> OutboxRow {
    OutboxRow {
        number,
        receiver: receiver.to_owned(),
        objective: transition.objective.clone(),
        incident: transition.incident.map(|incident| incident.started),
        idempotency_key: notification.idempotency_key.clone(),
        // Plain data with text keys: writing it into memory cannot fail.
        body: serde_json::to_string(notification).unwrap_or_default(),
        summary: notification.summary.clone(),
        event: transition.kind.word().to_owned(),
        severity: transition.severity,
        created: transition.at,
        standing: Standing::Waiting,
    }
}

/// Time first, so that the table reads as a history.
fn transition_key(transition: &Transition) -> Vec<u8> {
    let mut key = transition.at.nanoseconds().to_be_bytes().to_vec();
    key.extend_from_slice(transition.fingerprint.to_string().as_bytes());
    key.extend_from_slice(&transition.sequence.to_be_bytes());
    key
}
