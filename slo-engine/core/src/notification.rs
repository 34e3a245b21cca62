//! What is sent about a transition. A pure function of the transition and the objective, made once and stored: every
//! repeat has the same body and the same idempotency key.

use crate::alert::{Fingerprint, Transition, TransitionKind};
use crate::evaluation::Cause;
use crate::objective::{Objective, Severity};
use crate::time::Timestamp;
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
    pub bad: u64,
    /// All events of the long window.
    pub total: u64,
    /// Whether it is active.
    pub active: bool,
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
    /// Target of the objective.
    pub target: f64,
    /// Length of the SLO window.
    pub window: String,
    /// Share of the budget left; negative when overspent.
    pub budget_remaining: Option<f64>,
    /// Seconds until the budget is gone.
    pub budget_exhaustion_seconds: Option<u64>,
    /// The window pairs.
    pub tiers: Vec<NotifiedTier>,
    /// Most frequent causes of bad events.
    pub causes: Vec<Cause>,
    /// Link to the runbook.
    pub runbook: Option<String>,
    /// Link to a dashboard.
    pub dashboard: Option<String>,
}

impl Notification {
    /// The notification of a transition; `None` for transitions that nobody is told of.
    pub fn new(transition: &Transition, objective: &Objective) -> Option<Self> {
        let _ = (transition, objective, Timestamp::EPOCH);
        None
    }
}
