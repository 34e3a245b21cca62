//! The shapes of the JSON answers. They are a public interface: fields are added, never changed.

use crate::keeper::{ObjectiveView, View};
use crate::notify::{DeliveryFigures, OutboxRow, Progress, Standing};
use pqscope_slo_core::alert::Fingerprint;
use pqscope_slo_core::alert::{Phase, Transition, labels};
use pqscope_slo_core::burn::Tally;
use pqscope_slo_core::evaluation::{
    Breach, Cause, DaySpend, ObjectiveState, TierReading, Verdict, WindowReading,
};
use pqscope_slo_core::measure::{BaselineReading, LevelReading};
use pqscope_slo_core::objective::Severity;
use pqscope_slo_core::spike::SpikeReading;
use pqscope_slo_core::time::span_text;
use serde::Serialize;
use std::collections::BTreeMap;

/// Answer of `GET /api/v1/slos`.
#[derive(Debug, Serialize)]
pub(super) struct Slos {
    /// Time of the evaluation, RFC 3339.
    at: String,
    slos: Vec<Slo>,
}

#[derive(Debug, Serialize)]
struct Slo {
    name: String,
    title: String,
    description: String,
    service: String,
    /// Share of events that must be good: 1 with zero tolerance, null for growth.
    objective: Option<f64>,
    /// The goal in words.
    goal: String,
    /// Length of the SLO window, such as `30d`; a calendar window with its start and time zone.
    window: String,
    state: ObjectiveState,
    budget: BudgetDto,
    burn_rates: Vec<BurnRate>,
    tiers: Vec<Tier>,
    /// Groups of the traffic with bad events in the last minutes, the most striking first.
    spikes: Vec<SpikeReading>,
    /// Zero tolerance: the events of the last while; null for other goals.
    breach: Option<Breach>,
    /// The last 24 hours' part of the budget.
    day: Option<DaySpend>,
    /// What latencies were compared with.
    baselines: Vec<BaselineReading>,
    /// The gauge of a growth objective.
    level: Option<LevelReading>,
    /// Seconds until the gauge reaches its capacity at the pace of the last day.
    full_in_seconds: Option<u64>,
    /// Events of the SLO window that were left out by exclusions.
    excluded: Tally,
    /// When the budget begins anew; null for a rolling window.
    renewed_at: Option<String>,
    /// Why there is no data, where a back end could not be asked.
    fault: Option<String>,
    causes: Vec<Cause>,
    alert: AlertDto,
    /// When the metric was last heard of since the engine started.
    last_heard: Option<String>,
}

#[derive(Debug, Serialize)]
struct BudgetDto {
    /// Share left; negative when overspent, null without events.
    remaining: Option<f64>,
    exhaustion_seconds: Option<u64>,
    #[serde(flatten)]
    tally: Tally,
}

#[derive(Debug, Serialize)]
struct BurnRate {
    window: String,
    /// Null without events.
    burn_rate: Option<f64>,
    #[serde(flatten)]
    tally: Tally,
}

#[derive(Debug, Serialize)]
struct Tier {
    windows: String,
    factor: f64,
    severity: Severity,
    verdict: Verdict,
}

impl From<&View> for Slos {
    fn from(view: &View) -> Self {
        Self { at: view.at.to_string(), slos: view.objectives.iter().map(Slo::from).collect() }
    }
}

impl From<&ObjectiveView> for Slo {
    fn from(view: &ObjectiveView) -> Self {
        let ObjectiveView { objective, evaluation, .. } = view;
        let budget = &evaluation.budget;
        Self {
            name: objective.name.clone(),
            title: objective.title.clone(),
            description: objective.description.clone(),
            service: objective.service.clone(),
            objective: objective.goal.share(),
            goal: objective.goal.words(),
            window: objective.window_text(),
            state: evaluation.state,
            budget: BudgetDto {
                remaining: budget.remaining,
                exhaustion_seconds: budget.exhaustion.map(|span| span.as_secs()),
                tally: budget.tally,
            },
            burn_rates: evaluation.windows.iter().map(BurnRate::from).collect(),
            tiers: evaluation.tiers.iter().map(Tier::from).collect(),
            spikes: evaluation.spikes.clone(),
            breach: evaluation.breach,
            day: evaluation.day,
            baselines: evaluation.baselines.clone(),
            level: evaluation.level,
            full_in_seconds: evaluation.full_in.map(|span| span.as_secs()),
            excluded: evaluation.excluded,
            renewed_at: evaluation.renewed_at.map(|time| time.to_string()),
            fault: evaluation.fault.clone(),
            causes: evaluation.causes.clone(),
            alert: AlertDto::from(view),
            last_heard: view.last_heard.map(|time| time.to_string()),
        }
    }
}

impl From<&WindowReading> for BurnRate {
    fn from(reading: &WindowReading) -> Self {
        Self { window: span_text(reading.length), burn_rate: reading.burn, tally: reading.tally }
    }
}

impl From<&TierReading> for Tier {
    fn from(reading: &TierReading) -> Self {
        Self {
            windows: reading.tier.name(),
            factor: reading.tier.factor,
            severity: reading.tier.severity,
            verdict: reading.verdict,
        }
    }
}

/// Answer of `GET /api/v1/alerts`.
#[derive(Debug, Serialize)]
pub(super) struct Alerts {
    at: String,
    /// Alerts that are not inactive.
    alerts: Vec<AlertDto>,
    /// What happened lately, newest first.
    transitions: Vec<TransitionDto>,
    /// Notifications, newest first.
    notifications: Vec<NotificationDto>,
}

#[derive(Debug, Serialize)]
struct AlertDto {
    slo: String,
    service: String,
    fingerprint: String,
    labels: BTreeMap<String, String>,
    /// `inactive`, `pending`, `firing` or `resolved`.
    state: &'static str,
    severity: Option<Severity>,
    /// When the present state began.
    since: Option<String>,
    /// When the incident opened.
    started_at: Option<String>,
    resolved_at: Option<String>,
    runbook: Option<String>,
}

impl From<&ObjectiveView> for AlertDto {
    fn from(view: &ObjectiveView) -> Self {
        let labels = labels(&view.objective);
        let (state, severity, since, started, resolved) = match view.alert.phase {
            Phase::Inactive => ("inactive", None, None, None, None),
            Phase::Pending { since, severity } => ("pending", Some(severity), Some(since), None, None),
            Phase::Firing(incident) => {
                ("firing", Some(incident.severity), Some(incident.started), Some(incident.started), None)
            }
            Phase::Resolved { incident, at } => {
                ("resolved", Some(incident.worst), Some(at), Some(incident.started), Some(at))
            }
        };
        Self {
            slo: view.objective.name.clone(),
            service: view.objective.service.clone(),
            fingerprint: Fingerprint::of(&labels).to_string(),
            labels,
            state,
            severity,
            since: since.map(|time| time.to_string()),
            started_at: started.map(|time| time.to_string()),
            resolved_at: resolved.map(|time| time.to_string()),
            runbook: view.objective.runbook.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct TransitionDto {
    slo: String,
    fingerprint: String,
    event: &'static str,
    at: String,
    sequence: u64,
    severity: Severity,
    started_at: Option<String>,
    tiers: Vec<Tier>,
    causes: Vec<Cause>,
}

impl From<&Transition> for TransitionDto {
    fn from(transition: &Transition) -> Self {
        Self {
            slo: transition.objective.clone(),
            fingerprint: transition.fingerprint.to_string(),
            event: transition.kind.word(),
            at: transition.at.to_string(),
            sequence: transition.sequence,
            severity: transition.severity,
            started_at: transition.incident.map(|incident| incident.started.to_string()),
            tiers: transition.evidence.tiers.iter().map(Tier::from).collect(),
            causes: transition.evidence.causes.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
struct NotificationDto {
    number: u64,
    receiver: String,
    slo: String,
    event: String,
    severity: Severity,
    summary: String,
    idempotency_key: String,
    created_at: String,
    /// `waiting`, `sent` or `dead`.
    state: &'static str,
    settled_at: Option<String>,
    /// Tries since the engine started.
    attempts: u32,
    /// Why the last try failed, or why it is dead.
    reason: Option<String>,
    next_attempt_at: Option<String>,
}

impl NotificationDto {
    fn new(row: &OutboxRow, progress: Option<&Progress>) -> Self {
        let (settled, attempts, reason, next) = match &row.standing {
            Standing::Waiting => (
                None,
                progress.map_or(0, |progress| progress.attempts),
                progress.map(|progress| progress.reason.clone()),
                progress.map(|progress| progress.next),
            ),
            Standing::Sent { at, attempts } => (Some(*at), *attempts, None, None),
            Standing::Dead { at, attempts, reason } => (Some(*at), *attempts, Some(reason.clone()), None),
        };
        Self {
            number: row.number,
            receiver: row.receiver.clone(),
            slo: row.objective.clone(),
            event: row.event.clone(),
            severity: row.severity,
            summary: row.summary.clone(),
            idempotency_key: row.idempotency_key.clone(),
            created_at: row.created.to_string(),
            state: row.standing.word(),
            settled_at: settled.map(|time| time.to_string()),
            attempts,
            reason,
            next_attempt_at: next.map(|time| time.to_string()),
        }
    }
}

impl Alerts {
    /// From a view and what the courier knows.
    pub(super) fn new(view: &View, deliveries: &DeliveryFigures) -> Self {
        let active = view.objectives.iter().filter(|objective| objective.alert.phase != Phase::Inactive);
        Self {
            at: view.at.to_string(),
            alerts: active.map(AlertDto::from).collect(),
            transitions: view.transitions.iter().map(TransitionDto::from).collect(),
            notifications: view
                .notifications
                .iter()
                .map(|row| NotificationDto::new(row, deliveries.progress.get(&row.number)))
                .collect(),
        }
    }
}
