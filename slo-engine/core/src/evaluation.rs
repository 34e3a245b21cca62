//! An objective and the ledger at a moment: burn rates of all windows, the budget, the verdict of every alert tier and
//! the causes of the bad events.

use crate::burn::{Budget, Tally};
use crate::ledger::{Ledger, Window};
use crate::objective::{AlertTier, Objective};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Events and burn rate of one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowReading {
    /// Length of the window.
    pub length: Duration,
    /// Its events.
    pub tally: Tally,
    /// Its burn rate; `None` without events or with more good events than events.
    pub burn: Option<f64>,
}

/// What a window pair says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both windows burn at the factor or above, on enough events.
    Active,
    /// There is data, and it does not.
    Clear,
    /// A window has no events: neither burning nor recovered can be said.
    NoData,
    /// Both windows burn at the factor or above, but on too few events to act on.
    InsufficientData,
    /// There are more good events than events: the selectors do not fit each other.
    Overflowed,
}

/// One window pair at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TierReading {
    /// The pair.
    pub tier: AlertTier,
    /// Its long window.
    pub long: WindowReading,
    /// Its short window.
    pub short: WindowReading,
    /// What it says.
    pub verdict: Verdict,
}

/// The state of an objective as a whole, for people. The first that applies, from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveState {
    /// There are more good events than events, or the sender folded events into an overflow series.
    Overflowed,
    /// No events in the SLO window.
    NoData,
    /// A tier is active.
    Burning,
    /// The budget is spent.
    Exhausted,
    /// Too few events in the SLO window to say.
    InsufficientData,
    /// Within the objective.
    Ok,
}

/// How many bad events share a cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Attribute that names the cause.
    pub attribute: String,
    /// Its value.
    pub value: String,
    /// Bad events.
    pub count: u64,
}

/// An objective at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Name of the objective.
    pub objective: String,
    /// The moment.
    pub at: Timestamp,
    /// The state as a whole.
    pub state: ObjectiveState,
    /// The budget over the SLO window.
    pub budget: Budget,
    /// Every window of the tiers, shortest first.
    pub windows: Vec<WindowReading>,
    /// Every tier, in the order of the rule.
    pub tiers: Vec<TierReading>,
    /// Most frequent causes of bad events in the long window of the most severe active tier (else the longest), at
    /// most five, most frequent first.
    pub causes: Vec<Cause>,
}

/// Evaluates an objective.
pub fn evaluate(objective: &Objective, ledger: &Ledger, now: Timestamp) -> Evaluation {
    let _ = ledger;
    Evaluation {
        objective: objective.name.clone(),
        at: now,
        state: ObjectiveState::NoData,
        budget: Budget::new(Tally::default(), objective.target, objective.window, None),
        windows: Vec::new(),
        tiers: Vec::new(),
        causes: Vec::new(),
    }
}

/// Events of an objective in a window.
pub fn tally(objective: &Objective, ledger: &Ledger, window: Window, now: Timestamp) -> Tally {
    let _ = (objective, ledger, window, now);
    Tally::default()
}

/// One step of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartPoint {
    /// First second of the step.
    pub from: Timestamp,
    /// Its events.
    pub tally: Tally,
}

/// Events of an objective in steps of equal length that end now; `step` is rounded up to ten seconds.
pub fn chart(
    objective: &Objective,
    ledger: &Ledger,
    length: Duration,
    step: Duration,
    now: Timestamp,
) -> Vec<ChartPoint> {
    let _ = (objective, ledger, length, step, now);
    Vec::new()
}
