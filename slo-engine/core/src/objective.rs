//! Checked objectives: what an SLO file means once every fault is out of it.

use crate::period::SloWindow;
use crate::series::Selector;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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

/// How a value is compared with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Comparison {
    /// At most.
    Lte,
    /// Less.
    Lt,
    /// At least.
    Gte,
    /// More.
    Gt,
}

impl Comparison {
    /// Whether the value is on the good side of the bound.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Lte => value <= bound,
            Self::Lt => value < bound,
            Self::Gte => value >= bound,
            Self::Gt => value > bound,
        }
    }

    /// As PromQL writes it.
    pub const fn operator(self) -> &'static str {
        match self {
            Self::Lte => "<=",
            Self::Lt => "<",
            Self::Gte => ">=",
            Self::Gt => ">",
        }
    }
}

/// What counts as an event and what as a good one. `Q` is how metrics are asked for: a [`Selector`] over the engine's
/// own counts, or a [`PromQuery`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Indicator<Q = Selector> {
    /// Good events over all events; bad is the rest.
    Good {
        /// Picks the good events.
        good: Q,
        /// Picks all events.
        total: Q,
    },
    /// Bad events over all events; good is the rest.
    Bad {
        /// Picks the bad events.
        bad: Q,
        /// Picks all events.
        total: Q,
    },
    /// Observations of a histogram up to a bound are good.
    AtMost {
        /// Picks the observations.
        observations: Q,
        /// The bound in the unit of the metric.
        bound: f64,
    },
    /// Observations of a histogram up to what is usual for others, plus a margin, are good.
    Relative {
        /// Picks the observations.
        observations: Q,
        /// What they are compared with.
        baseline: Baseline<Q>,
    },
    /// A gauge compared with a bound; only in time slices and for growth.
    Level {
        /// Picks the gauge; several series are added up.
        level: Q,
        /// How to compare. `None` for growth.
        bound: Option<(Comparison, f64)>,
    },
    /// A gauge that holds a ready-made ratio between 0 and 1; only in time slices, since ratios cannot be added up.
    Ratio {
        /// Picks the gauge; several series are averaged.
        ratio: Q,
        /// Whether it is the share of good events; else of bad ones.
        of_good: bool,
    },
}

/// What latencies are compared with: a quantile of other observations in the same window, group by group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline<Q = Selector> {
    /// Picks the observations that show what is usual.
    pub observations: Q,
    /// Quantile of these, between 0 and 1.
    pub quantile: f64,
    /// Added to the quantile; in the unit of the metric.
    pub margin: f64,
    /// With fewer observations in the window the quantile is not taken.
    pub least_events: u64,
    /// Stands in for the quantile, margin not yet added, when there are too few observations.
    pub pinned: Option<f64>,
    /// Attributes by which observations are grouped; each group is compared with its own baseline.
    pub by: Vec<String>,
}

impl<Q> Indicator<Q> {
    /// The queries that it is made of.
    pub fn queries(&self) -> Vec<&Q> {
        match self {
            Self::Good { good: part, total } | Self::Bad { bad: part, total } => vec![part, total],
            Self::AtMost { observations: only, .. }
            | Self::Level { level: only, .. }
            | Self::Ratio { ratio: only, .. } => vec![only],
            Self::Relative { observations, baseline } => vec![observations, &baseline.observations],
        }
    }

    /// The same, to be changed.
    pub fn queries_mut(&mut self) -> Vec<&mut Q> {
        match self {
            Self::Good { good: part, total } | Self::Bad { bad: part, total } => vec![part, total],
            Self::AtMost { observations: only, .. }
            | Self::Level { level: only, .. }
            | Self::Ratio { ratio: only, .. } => vec![only],
            Self::Relative { observations, baseline } => vec![observations, &mut baseline.observations],
        }
    }

    /// The same with other queries.
    ///
    /// # Errors
    /// The first that `query` gives.
    pub fn try_map<B, E>(&self, query: impl Fn(&Q) -> Result<B, E>) -> Result<Indicator<B>, E> {
        Ok(match self {
            Self::Good { good, total } => Indicator::Good { good: query(good)?, total: query(total)? },
            Self::Bad { bad, total } => Indicator::Bad { bad: query(bad)?, total: query(total)? },
            Self::AtMost { observations, bound } => {
                Indicator::AtMost { observations: query(observations)?, bound: *bound }
            }
            Self::Relative { observations, baseline } => Indicator::Relative {
                observations: query(observations)?,
                baseline: Baseline {
                    observations: query(&baseline.observations)?,
                    quantile: baseline.quantile,
                    margin: baseline.margin,
                    least_events: baseline.least_events,
                    pinned: baseline.pinned,
                    by: baseline.by.clone(),
                },
            },
            Self::Level { level, bound } => Indicator::Level { level: query(level)?, bound: *bound },
            Self::Ratio { ratio, of_good } => Indicator::Ratio { ratio: query(ratio)?, of_good: *of_good },
        })
    }

    /// Picks all events.
    pub const fn total(&self) -> &Q {
        match self {
            Self::Good { total, .. } | Self::Bad { total, .. } => total,
            Self::AtMost { observations: only, .. }
            | Self::Relative { observations: only, .. }
            | Self::Level { level: only, .. }
            | Self::Ratio { ratio: only, .. } => only,
        }
    }
}

/// A query of a PromQL back end. `{{window}}` in the text stands for the range; a text without it is a plain vector
/// selector, which is wrapped as its place asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PromQuery(pub String);

/// A PromQL back end, from a DataSource document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSource {
    /// Name of the document.
    pub name: String,
    /// Address with the base path, such as `https://mimir.example.com/prometheus`.
    pub url: String,
    /// Headers sent with every query, such as `X-Scope-OrgID`.
    pub headers: BTreeMap<String, String>,
    /// File that holds a bearer token; read anew for every round of evaluation.
    pub bearer_token_file: Option<String>,
    /// File with certificates of authorities to trust beside the system's.
    pub ca_file: Option<String>,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

/// Where an indicator's numbers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sli {
    /// The engine's own counts.
    Embedded(Indicator<Selector>),
    /// A PromQL back end.
    Prometheus {
        /// Which.
        source: DataSource,
        /// What to ask it.
        indicator: Indicator<PromQuery>,
    },
}

impl Sli {
    /// The indicator over the engine's own counts; `None` when a back end has the numbers.
    pub const fn embedded(&self) -> Option<&Indicator<Selector>> {
        match self {
            Self::Embedded(indicator) => Some(indicator),
            Self::Prometheus { .. } => None,
        }
    }

    /// The selectors over the engine's own counts.
    pub fn selectors(&self) -> Vec<&Selector> {
        self.embedded().map(Indicator::queries).unwrap_or_default()
    }
}

/// How the budget is counted (OpenSLO v1, `budgetingMethod`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Budgeting {
    /// Events.
    Occurrences,
    /// Slices of time, each good or bad as a whole.
    Timeslices {
        /// Length of a slice.
        slice: Duration,
        /// Share of good events that makes a slice good.
        slice_target: f64,
    },
    /// The average over slices of each slice's share of good events.
    RatioTimeslices {
        /// Length of a slice.
        slice: Duration,
    },
}

impl Budgeting {
    /// Length of a slice; `None` for occurrences.
    pub const fn slice(self) -> Option<Duration> {
        match self {
            Self::Occurrences => None,
            Self::Timeslices { slice, .. } | Self::RatioTimeslices { slice } => Some(slice),
        }
    }
}

/// What has to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Goal {
    /// A share of good events, with an error budget.
    Share {
        /// The share.
        target: Target,
        /// How it is counted.
        budgeting: Budgeting,
    },
    /// No bad event at all: no budget, no burn rate, no gate for low traffic.
    ZeroTolerance {
        /// How long a bad event keeps the incident open.
        hold: Duration,
        /// What is done about one.
        severity: Severity,
    },
    /// A gauge may grow by so much over the window.
    Growth {
        /// In the unit of the gauge.
        budget: f64,
        /// The largest that the gauge may get, when there is such a bound.
        capacity: Option<f64>,
    },
}

impl Goal {
    /// The target share: 1 with zero tolerance; `None` for growth.
    pub const fn share(&self) -> Option<f64> {
        match self {
            Self::Share { target, .. } => Some(target.share()),
            Self::ZeroTolerance { .. } => Some(1.0),
            Self::Growth { .. } => None,
        }
    }

    /// The share of events that the budget allows to be bad; `None` without a budget. Growth is measured against its
    /// whole allowance.
    pub fn allowed(&self) -> Option<f64> {
        match self {
            Self::Share { target, .. } => Some(target.allowed()),
            Self::ZeroTolerance { .. } => None,
            Self::Growth { .. } => Some(1.0),
        }
    }

    /// The target in words: `99.9 %`, `every one`, `at most 100 G more`.
    pub fn words(&self) -> String {
        match self {
            Self::Share { target, .. } => format!("{} %", percent(target.share())),
            Self::ZeroTolerance { .. } => "every one".to_owned(),
            Self::Growth { budget, .. } => format!("at most {} more", with_prefix(*budget)),
        }
    }
}

/// A number with a decimal prefix (IEC 80000-1, table 1), as it stands before a unit: `100 G`.
pub fn with_prefix(number: f64) -> String {
    const PREFIXES: [(f64, &str); 5] = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (unit, prefix) = PREFIXES.into_iter().find(|(unit, _)| number.abs() >= *unit).unwrap_or((1.0, ""));
    format!("{} {prefix}", (number / unit * 100.0).round() / 100.0).trim_end().to_owned()
}

/// A share as percentage without the noise of binary fractions.
fn percent(share: f64) -> f64 {
    (share * 1e11).round() / 1e9
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

/// The detector of sudden failures in a part of the traffic; see [`crate::spike`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpikeRule {
    /// Attributes whose values divide the traffic into groups.
    pub by: Vec<String>,
    /// Attributes, a part of `by`, whose values a group shares with the traffic that it is compared with.
    pub among: Vec<String>,
    /// The window that is looked at.
    pub short: Duration,
    /// The window before it that shows what is usual.
    pub reference: Duration,
    /// Least bad events in the short window.
    pub least_bad: u64,
    /// The share of bad events must be at least so many times the usual one.
    pub least_ratio: f64,
    /// Highest probability, per look at a group, that nothing but chance made it so.
    pub significance: f64,
    /// How long the condition must hold.
    pub pending_for: Duration,
    /// What is done about it.
    pub severity: Severity,
}

/// What the absence of data does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoDataPolicy {
    /// Alerts stay as they are; the state says `no_data`.
    Hold,
    /// No data for so long is an alert of its own.
    Alert {
        /// For how long.
        after: Duration,
        /// What is done about it.
        severity: Severity,
    },
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
    /// The detector of sudden failures; `None` where it does not fit.
    pub spike: Option<SpikeRule>,
    /// Share of the budget that, gone within 24 hours, escalates; `None` for never.
    pub day_share: Option<f64>,
    /// What the absence of data does.
    pub no_data: NoDataPolicy,
}

impl AlertRule {
    /// Whether anything at all alerts.
    pub fn is_off(&self) -> bool {
        self.tiers.is_empty()
            && self.spike.is_none()
            && self.day_share.is_none()
            && self.no_data == NoDataPolicy::Hold
    }
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
    pub sli: Sli,
    /// What has to be reached.
    pub goal: Goal,
    /// The window of the budget.
    pub window: SloWindow,
    /// When it alerts.
    pub alert: AlertRule,
    /// Link to the runbook.
    pub runbook: Option<String>,
    /// Link to a dashboard.
    pub dashboard: Option<String>,
    /// Services it is restricted to, by `pqscope.dev/services: migrating`; `None` when every service counts.
    pub only_services: Option<BTreeSet<String>>,
}

impl Objective {
    /// What notifications need to know of it.
    pub fn subject(&self) -> Subject {
        Subject {
            name: self.name.clone(),
            title: self.title.clone(),
            service: self.service.clone(),
            target: self.goal.share(),
            window: self.window.nominal(),
            runbook: self.runbook.clone(),
            dashboard: self.dashboard.clone(),
        }
    }

    /// Whether it is there to be looked at only.
    pub fn is_quiet(&self) -> bool {
        !matches!(self.goal, Goal::ZeroTolerance { .. }) && self.alert.is_off()
    }

    /// Length of the window as people write it.
    pub fn window_text(&self) -> String {
        self.window.to_string()
    }
}

/// What notifications need to know of an objective. Kept with its alert, so that an incident can be closed properly after
/// its objective is removed from the files. Field names are those of a whole objective, which earlier versions kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// See [`Objective::name`].
    pub name: String,
    /// See [`Objective::title`].
    pub title: String,
    /// See [`Objective::service`].
    pub service: String,
    /// Share of good events; 1 with zero tolerance; `None` for growth.
    #[serde(default)]
    pub target: Option<f64>,
    /// Nominal length of the window.
    pub window: Duration,
    /// Link to the runbook.
    pub runbook: Option<String>,
    /// Link to a dashboard.
    pub dashboard: Option<String>,
}
