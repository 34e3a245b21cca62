//! What is sent about a transition. A pure function of the transition and the objective, made once and stored: every
//! repeat has the same body and the same idempotency key.

use crate::alert::{Fingerprint, Transition, TransitionKind};
use crate::burn::whole_if_whole;
use crate::evaluation::{Cause, Evaluation, TierReading, Verdict};
use crate::objective::{Severity, Subject};
use crate::spike::SpikeReading;
use crate::time::span_text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `firing` or `resolved`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The incident is open.
    Firing,
    /// It is over.
    Resolved,
}

/// One window pair in a notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotifiedTier {
    /// `1h/5m`.
    pub windows: String,
    /// Severity of the pair.
    pub severity: Severity,
    /// Burn rate that both windows must reach.
    pub factor: f64,
    /// Burn rate of the long window.
    pub long_burn: Option<f64>,
    /// Burn rate of the short window.
    pub short_burn: Option<f64>,
    /// Bad events of the long window.
    #[serde(serialize_with = "whole_if_whole")]
    pub bad: f64,
    /// All events of the long window.
    #[serde(serialize_with = "whole_if_whole")]
    pub total: f64,
    /// Whether it is active.
    pub active: bool,
}

/// A group of the traffic that fails suddenly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotifiedSpike {
    /// Its attributes, such as service and deployment.
    pub group: BTreeMap<String, String>,
    /// Bad events of the short window.
    #[serde(serialize_with = "whole_if_whole")]
    pub bad: f64,
    /// All events of the short window.
    #[serde(serialize_with = "whole_if_whole")]
    pub total: f64,
    /// Share of bad events that is usual.
    pub usual: Option<f64>,
    /// Bound on the probability that it is chance.
    pub chance: f64,
}

/// The body of the generic webhook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Version of this shape: `1`.
    pub version: u32,
    /// Same for every repeat of this notification, different for every other.
    pub idempotency_key: String,
    /// Same for every notification of one incident.
    pub incident: String,
    /// Whether the incident is open or over.
    pub status: Status,
    /// What happened.
    pub event: TransitionKind,
    /// Severity.
    pub severity: Severity,
    /// One line for people.
    pub summary: String,
    /// Name of the objective.
    pub slo: String,
    /// Service.
    pub service: String,
    /// Fingerprint of the labels.
    pub fingerprint: Fingerprint,
    /// Labels that identify the alert.
    pub labels: BTreeMap<String, String>,
    /// When the incident opened, RFC 3339.
    pub started_at: String,
    /// When this happened, RFC 3339.
    pub at: String,
    /// Share of events that must be good: 1 with zero tolerance; none for growth.
    pub target: Option<f64>,
    /// Length of the SLO window.
    pub window: String,
    /// Share of the budget left; negative when overspent.
    pub budget_remaining: Option<f64>,
    /// Seconds until the budget is gone.
    pub budget_exhaustion_seconds: Option<u64>,
    /// Share of the whole budget that the last 24 hours took.
    pub budget_spent_in_day: Option<f64>,
    /// The window pairs.
    pub tiers: Vec<NotifiedTier>,
    /// Groups of the traffic that fail suddenly, by their attributes.
    pub spikes: Vec<NotifiedSpike>,
    /// Most frequent causes of bad events.
    pub causes: Vec<Cause>,
    /// Link to the runbook.
    pub runbook: Option<String>,
    /// Link to a dashboard.
    pub dashboard: Option<String>,
}

impl Notification {
    /// The notification of a transition; `None` for transitions that nobody is told of.
    pub fn new(transition: &Transition, objective: &Subject) -> Option<Self> {
        if !transition.kind.notifies() {
            return None;
        }
        let opened = transition.incident?;
        let evidence = &transition.evidence;
        let incident = format!("{}-{}", transition.fingerprint, opened.started.nanoseconds());
        Some(Self {
            version: 1,
            idempotency_key: format!("{incident}-{}-{}", transition.sequence, transition.kind.word()),
            incident,
            status: match transition.kind {
                TransitionKind::Resolved | TransitionKind::Withdrawn => Status::Resolved,
                _ => Status::Firing,
            },
            event: transition.kind,
            severity: transition.severity,
            summary: summary(transition, objective),
            slo: objective.name.clone(),
            service: objective.service.clone(),
            fingerprint: transition.fingerprint,
            labels: transition.labels.clone(),
            started_at: opened.started.to_string(),
            at: transition.at.to_string(),
            target: objective.target,
            window: span_text(objective.window),
            budget_remaining: evidence.budget.remaining.map(rounded),
            budget_exhaustion_seconds: evidence.budget.exhaustion.map(|span| span.as_secs()),
            budget_spent_in_day: evidence.day.and_then(|day| day.share).map(rounded),
            tiers: evidence.tiers.iter().map(NotifiedTier::new).collect(),
            spikes: evidence.spikes.iter().filter(|reading| reading.spike).map(NotifiedSpike::new).collect(),
            causes: evidence.causes.clone(),
            runbook: objective.runbook.clone(),
            dashboard: objective.dashboard.clone(),
        })
    }
}

impl NotifiedTier {
    fn new(reading: &TierReading) -> Self {
        Self {
            windows: reading.tier.name(),
            severity: reading.tier.severity,
            factor: rounded(reading.tier.factor),
            long_burn: reading.long.burn.map(rounded),
            short_burn: reading.short.burn.map(rounded),
            bad: reading.long.tally.bad,
            total: reading.long.tally.total,
            active: reading.verdict == Verdict::Active,
        }
    }
}

impl NotifiedSpike {
    fn new(reading: &SpikeReading) -> Self {
        let group = &reading.group;
        Self {
            group: group.labels.clone(),
            bad: group.short.bad,
            total: group.short.total,
            usual: group.usual.bad_share().map(rounded),
            chance: reading.chance,
        }
    }
}

/// Four digits behind the point are enough for people.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// What is left of the budget, or how many times over it is spent: nobody reads a share below zero.
fn budget_text(remaining: f64) -> String {
    if remaining >= 0.0 {
        format!("; {:.1} % of the error budget left", remaining * 100.0)
    } else {
        format!("; the error budget is spent {:.1} times over", 1.0 - remaining)
    }
}

/// One line for people.
fn summary(transition: &Transition, objective: &Subject) -> String {
    let (name, service) = (&objective.name, &objective.service);
    let evidence = &transition.evidence;
    let left = evidence.budget.remaining.map_or_else(String::new, budget_text);
    let what = match transition.kind {
        TransitionKind::Resolved => format!("{name} of {service} has recovered"),
        TransitionKind::Withdrawn => format!("{name} of {service} was removed while its alert was firing"),
        TransitionKind::Eased => {
            format!("{name} of {service} burns more slowly, down to a {}", transition.severity)
        }
        TransitionKind::Escalated => {
            let share = evidence.day.and_then(|day| day.share).unwrap_or_default() * 100.0;
            format!(
                "{name} of {service} spent {share:.0} % of its error budget in a day: review the runbook, and consider \
                 taking back recent changes of cryptography"
            )
        }
        _ => trouble(name, service, evidence),
    };
    let cause = match (evidence.causes.first(), transition.kind) {
        (Some(cause), TransitionKind::Fired | TransitionKind::Raised) => {
            format!("; most often {} ({})", cause.value, cause.count)
        }
        _ => String::new(),
    };
    format!("{what}{cause}{left}")
}

/// What is wrong, the most telling first.
fn trouble(name: &str, service: &str, evidence: &Evaluation) -> String {
    if let Some(tier) = loudest(evidence) {
        return format!(
            "{name} of {service} burns its error budget {:.1} times too fast over {}: {} of {} events were bad",
            tier.long.burn.unwrap_or_default(),
            span_text(tier.tier.long),
            rounded(tier.long.tally.bad),
            rounded(tier.long.tally.total),
        );
    }
    if let Some(breach) = evidence.breach.filter(|breach| breach.verdict == Verdict::Active) {
        let tally = breach.held.tally;
        return format!(
            "{name} of {service} allows no bad event, and {} of {} within {} were bad",
            rounded(tally.bad),
            rounded(tally.total),
            span_text(breach.held.length),
        );
    }
    if let Some(spike) = evidence.spikes.iter().find(|reading| reading.spike) {
        let SpikeReading { group, .. } = spike;
        let place: Vec<&str> = group.labels.values().map(String::as_str).collect();
        let usual = group.usual.bad_share().unwrap_or_default() * 100.0;
        return format!(
            "{name} of {service}: {} of {} events of {} were bad within minutes, where {usual:.2} % is usual",
            rounded(group.short.bad),
            rounded(group.short.total),
            if place.is_empty() { "all traffic".to_owned() } else { place.join(", ") },
        );
    }
    if evidence.no_data == Some(Verdict::Active) {
        let why = evidence.fault.as_deref().unwrap_or("nothing was counted");
        return format!("{name} of {service} has no data: {why}");
    }
    format!("{name} of {service} burns its error budget too fast")
}

fn loudest(evidence: &Evaluation) -> Option<&TierReading> {
    let active = evidence.tiers.iter().filter(|tier| tier.verdict == Verdict::Active);
    active.max_by_key(|tier| (tier.tier.severity, std::cmp::Reverse(tier.tier.long)))
}

#[cfg(test)]
mod tests {
    use super::budget_text;

    #[test]
    fn a_budget_is_left_or_overspent() {
        assert_eq!(budget_text(0.25), "; 25.0 % of the error budget left");
        assert_eq!(budget_text(0.0), "; 0.0 % of the error budget left");
        assert_eq!(budget_text(-127.0), "; the error budget is spent 128.0 times over");
    }
}
