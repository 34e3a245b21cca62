//! An objective and the ledger at a moment: burn rates of all windows, the budget, the verdict of every alert tier and
//! the causes of the bad events.

use crate::burn::{Budget, Tally, reaches};
use crate::ledger::{Ledger, Tier, Window};
use crate::objective::{AlertTier, Indicator, Objective};
use crate::series::SeriesId;
use crate::time::Timestamp;
use pqscope_telemetry::attribute;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

/// Events and burn rate of one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowReading {
    /// Length of the window.
    pub length: Duration,
    /// Its events.
    pub tally: Tally,
    /// Its burn rate; `None` without events or when a part exceeds the whole.
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
    /// Too few events in the SLO window to say.
    InsufficientData,
    /// The budget is spent.
    Exhausted,
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

/// The window whose burn rate forecasts when the budget is gone.
const FORECAST_WINDOW: Duration = Duration::from_secs(3_600);
/// Most causes that are named.
const MOST_CAUSES: usize = 5;
/// Attributes that name the cause of a bad event, the most telling first.
pub const CAUSE_ATTRIBUTES: [&str; 4] =
    [attribute::ERROR_TYPE, attribute::PQ_REASON, attribute::GROUP_CLASS, attribute::OUTCOME];

/// Evaluates an objective.
pub fn evaluate(objective: &Objective, ledger: &Ledger, now: Timestamp) -> Evaluation {
    let picked = Picked::new(objective, ledger);
    let read = |length| picked.reading(objective, ledger, length, now);
    let mut lengths: Vec<Duration> = objective
        .alert
        .tiers
        .iter()
        .flat_map(|tier| [tier.long, tier.short])
        .chain([FORECAST_WINDOW])
        .collect();
    lengths.sort_unstable();
    lengths.dedup();
    let windows: Vec<WindowReading> = lengths.into_iter().map(read).collect();
    let find = |length| windows.iter().find(|reading| reading.length == length).copied();
    let tiers: Vec<TierReading> = objective
        .alert
        .tiers
        .iter()
        .filter_map(|tier| Some(judge(objective, *tier, find(tier.long)?, find(tier.short)?)))
        .collect();
    let spent = read(objective.window).tally;
    let burn = find(FORECAST_WINDOW).and_then(|reading| reading.burn);
    let budget = Budget::new(spent, objective.target, objective.window, burn);
    let folded =
        ledger.has_overflow(&objective.indicator.total().metric, Window::ending(now, objective.window), now);
    let causes = picked.causes(ledger, Window::ending(now, cause_window(objective, &tiers)), now);
    Evaluation {
        objective: objective.name.clone(),
        at: now,
        state: state_of(objective, &budget, &tiers, folded),
        budget,
        windows,
        tiers,
        causes,
    }
}

fn judge(objective: &Objective, tier: AlertTier, long: WindowReading, short: WindowReading) -> TierReading {
    let rule = &objective.alert;
    let reached = |reading: WindowReading| reading.burn.is_some_and(|burn| reaches(burn, tier.factor));
    let verdict = if long.tally.overflowed() || short.tally.overflowed() {
        Verdict::Overflowed
    } else if long.tally.total == 0 || short.tally.total == 0 {
        Verdict::NoData
    } else if !(reached(long) && reached(short)) {
        Verdict::Clear
    } else if long.tally.total < rule.least_events || long.tally.bad < rule.least_bad {
        Verdict::InsufficientData
    } else {
        Verdict::Active
    };
    TierReading { tier, long, short, verdict }
}

fn state_of(objective: &Objective, budget: &Budget, tiers: &[TierReading], folded: bool) -> ObjectiveState {
    if budget.tally.overflowed() || folded {
        ObjectiveState::Overflowed
    } else if budget.tally.total == 0 {
        ObjectiveState::NoData
    } else if tiers.iter().any(|tier| tier.verdict == Verdict::Active) {
        ObjectiveState::Burning
    } else if budget.tally.total < objective.alert.least_events {
        ObjectiveState::InsufficientData
    } else if budget.remaining.is_some_and(|remaining| remaining <= 0.0) {
        ObjectiveState::Exhausted
    } else {
        ObjectiveState::Ok
    }
}

fn cause_window(objective: &Objective, tiers: &[TierReading]) -> Duration {
    let active = tiers.iter().filter(|tier| tier.verdict == Verdict::Active);
    let loudest = active.max_by_key(|tier| (tier.tier.severity, std::cmp::Reverse(tier.tier.long)));
    let longest = tiers.iter().map(|tier| tier.tier.long).max();
    loudest.map(|tier| tier.tier.long).or(longest).unwrap_or(objective.window)
}

/// Events of an objective in a window.
pub fn tally(objective: &Objective, ledger: &Ledger, window: Window, now: Timestamp) -> Tally {
    Picked::new(objective, ledger).tally(ledger, window, now)
}

/// One step of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartPoint {
    /// First second of the step.
    pub from: Timestamp,
    /// Its events.
    pub tally: Tally,
}

/// Events of an objective in equal steps over at least `length`, the last of which holds `now` and may still grow. The
/// step is rounded up to the width of the buckets that are kept for so long; steps begin at its multiples.
pub fn chart(
    objective: &Objective,
    ledger: &Ledger,
    length: Duration,
    step: Duration,
    now: Timestamp,
) -> Vec<ChartPoint> {
    let picked = Picked::new(objective, ledger);
    let kept = Tier::ALL.into_iter().find(|tier| length + step <= tier.reach()).unwrap_or(Tier::Day);
    let step = step.as_secs().max(1).next_multiple_of(kept.seconds());
    let to = (now.seconds() + 1).next_multiple_of(step);
    let count = length.as_secs().div_ceil(step).max(1);
    (0..count)
        .rev()
        .map(|back| {
            let to = to.saturating_sub(back * step);
            let from = to.saturating_sub(step);
            let tally = picked.tally(ledger, Window { from, to }, now);
            ChartPoint { from: Timestamp::from_seconds(from), tally }
        })
        .collect()
}

/// The series that an indicator picks, looked up once per evaluation.
enum Picked {
    Good { good: Vec<SeriesId>, total: Vec<SeriesId> },
    Bad { bad: Vec<SeriesId>, total: Vec<SeriesId> },
    AtMost { observations: Vec<SeriesId>, bound: f64 },
}

impl Picked {
    fn new(objective: &Objective, ledger: &Ledger) -> Self {
        let select = |selector| ledger.select(selector).collect();
        match &objective.indicator {
            Indicator::Good { good, total } => Self::Good { good: select(good), total: select(total) },
            Indicator::Bad { bad, total } => Self::Bad { bad: select(bad), total: select(total) },
            Indicator::AtMost { observations, bound } => {
                Self::AtMost { observations: select(observations), bound: *bound }
            }
        }
    }

    fn reading(
        &self,
        objective: &Objective,
        ledger: &Ledger,
        length: Duration,
        now: Timestamp,
    ) -> WindowReading {
        let tally = self.tally(ledger, Window::ending(now, length), now);
        WindowReading { length, tally, burn: tally.burn_rate(objective.target) }
    }

    fn tally(&self, ledger: &Ledger, window: Window, now: Timestamp) -> Tally {
        let count = |ids: &[SeriesId]| -> u64 {
            let sums = ids.iter().filter_map(|id| ledger.sum(*id, window, now));
            // What senders claim may be anything; a sum that wraps would hide it.
            sums.fold(0, |total, sum| total.saturating_add(sum.total()))
        };
        match self {
            Self::Good { good, total } => Tally::of_good(count(good), count(total)),
            Self::Bad { bad, total } => Tally::of_bad(count(bad), count(total)),
            Self::AtMost { observations, bound } => {
                let sums = observations.iter().filter_map(|id| ledger.sum(*id, window, now));
                let merged = sums.reduce(|mut merged, more| {
                    merged.add(&more);
                    merged
                });
                merged.map_or_else(Tally::default, |merged| {
                    // A plain counter under this name has no sizes: none of its events is known to be within bounds.
                    Tally::of_good(merged.at_or_below(*bound).unwrap_or(0), merged.total())
                })
            }
        }
    }

    fn causes(&self, ledger: &Ledger, window: Window, now: Timestamp) -> Vec<Cause> {
        let bad: Vec<SeriesId> = match self {
            Self::Good { good, total } => {
                let good: HashSet<&SeriesId> = good.iter().collect();
                total.iter().filter(|id| !good.contains(id)).copied().collect()
            }
            Self::Bad { bad, .. } => bad.clone(),
            Self::AtMost { .. } => Vec::new(),
        };
        let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for id in bad {
            let (Some(series), Some(sum)) = (ledger.series(id), ledger.sum(id, window, now)) else {
                continue;
            };
            let named = CAUSE_ATTRIBUTES.into_iter().map(|key| (key, series.attribute(key)));
            let Some(name) = named.into_iter().find(|(_, value)| !value.is_empty()) else { continue };
            let count: &mut u64 = counts.entry(name).or_insert(0);
            *count = count.saturating_add(sum.total());
        }
        let mut causes: Vec<Cause> = counts
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|((key, value), count)| Cause { attribute: key.to_owned(), value: value.to_owned(), count })
            .collect();
        // Equal counts keep the order of their names, so that the same counts give the same text.
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
        causes.truncate(MOST_CAUSES);
        causes
    }
}
