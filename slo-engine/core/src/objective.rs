//! Checked objectives: what an SLO file means once every fault is out of it.

use crate::series::Selector;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// Share of events that must be good: above 0, below 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Target(f64);

impl Target {
    /// A target between 0 and 1, both excluded; `None` otherwise.
    pub fn new(share: f64) -> Option<Self> {
        (share > 0.0 && share < 1.0).then_some(Self(share))
    }

    /// The share of events that must be good.
    pub const fn share(self) -> f64 {
        self.0
    }

    /// The share of events that may be bad.
    pub fn allowed(self) -> f64 {
        1.0 - self.0
    }

    /// The burn rate when every event is bad: no rule with a higher factor can ever fire.
    pub fn highest_burn(self) -> f64 {
        1.0 / self.allowed()
    }
}

/// What counts as an event and what as a good one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Indicator {
    /// Good events over all events; bad is the rest.
    Good {
        /// Picks the good events.
        good: Selector,
        /// Picks all events.
        total: Selector,
    },
    /// Bad events over all events; good is the rest.
    Bad {
        /// Picks the bad events.
        bad: Selector,
        /// Picks all events.
        total: Selector,
    },
    /// Observations of a histogram up to a bound are good.
    AtMost {
        /// Picks the observations.
        observations: Selector,
        /// The bound in the unit of the metric.
        bound: f64,
    },
}

impl Indicator {
    /// The selectors it is made of.
    pub fn selectors(&self) -> Vec<&Selector> {
        match self {
            Self::Good { good: part, total } | Self::Bad { bad: part, total } => vec![part, total],
            Self::AtMost { observations, .. } => vec![observations],
        }
    }

    /// Picks all events.
    pub const fn total(&self) -> &Selector {
        match self {
            Self::Good { total, .. } | Self::Bad { total, .. } => total,
            Self::AtMost { observations, .. } => observations,
        }
    }
}

/// What is done about a burn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody looks at it in working hours.
    Ticket,
    /// Somebody is woken.
    Page,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ticket => "ticket",
            Self::Page => "page",
        })
    }
}

/// One window pair: fires when the burn rate of both windows reaches the factor (SRE Workbook, chapter 5,
/// "Multiwindow, Multi-Burn-Rate Alerts").
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertTier {
    /// The window that shows that the burn matters.
    pub long: Duration,
    /// The window that shows that it is still going on.
    pub short: Duration,
    /// Burn rate that both must reach.
    pub factor: f64,
    /// How long the condition must hold before the tier fires.
    pub pending_for: Duration,
    /// What is done about it.
    pub severity: Severity,
}

impl AlertTier {
    /// A stable name, such as `1h/5m`.
    pub fn name(&self) -> String {
        format!("{}/{}", crate::time::span_text(self.long), crate::time::span_text(self.short))
    }
}

/// When and how an objective alerts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertRule {
    /// The window pairs.
    pub tiers: Vec<AlertTier>,
    /// How long the condition of a firing tier must not hold, with data, before the tier is quiet again.
    pub clear_for: Duration,
    /// Least events in the long window; with fewer a tier says `insufficient_data`.
    pub least_events: u64,
    /// Least bad events in the long window before a tier fires.
    pub least_bad: u64,
}

/// One checked objective of an SLO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Unique name: the SLO's, with `/` and the objective's own when the SLO has several.
    pub name: String,
    /// Title for people.
    pub title: String,
    /// What it is about.
    pub description: String,
    /// The OpenSLO service.
    pub service: String,
    /// File that it came from, as the caller named it.
    pub file: String,
    /// What is counted.
    pub indicator: Indicator,
    /// The target.
    pub target: Target,
    /// The rolling window of the budget.
    pub window: Duration,
    /// When it alerts.
    pub alert: AlertRule,
    /// Link to the runbook.
    pub runbook: Option<String>,
    /// Link to a dashboard.
    pub dashboard: Option<String>,
    /// Services it is restricted to, by `pqscope.dev/services: migrating`; `None` when every service counts.
    pub only_services: Option<BTreeSet<String>>,
}
