//! The measurements of an objective judged: burn rates of all windows, the budget, the verdict of every alert condition
//! and the causes of the bad events.

use crate::bucket::{Tier, Window};
use crate::burn::{Budget, Tally, budget_share, reaches};
use crate::distribution::to_float;
use crate::ledger::Ledger;
use crate::measure::{
    Aside, BaselineReading, DAY, GROWTH_FORECAST_WINDOW, LevelReading, Measurements, Picked, forecast_window,
    lengths, measure,
};
use crate::objective::{AlertTier, Goal, NoDataPolicy, Objective};
use crate::selection::Selections;
use crate::spike::{self, SpikeReading};
use crate::time::Timestamp;
use pqscope_telemetry::attribute;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Events and burn rate of one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowReading {
    /// Length of the window.
    pub length: Duration,
    /// Its events.
    pub tally: Tally,
    /// Its burn rate; `None` without events, without a budget, or when a part exceeds the whole.
    pub burn: Option<f64>,
}

/// What an alert condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It holds, on enough events.
    Active,
    /// There is data, and it does not.
    Clear,
    /// There are no events: neither burning nor recovered can be said.
    NoData,
    /// It holds, but on too few events to act on.
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

/// The budget of one day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DaySpend {
    /// Share of the whole budget that went in the last 24 hours; `None` while there is no budget to speak of.
    pub share: Option<f64>,
    /// Share that escalates.
    pub limit: f64,
    /// What that says.
    pub verdict: Verdict,
}

/// The state of an objective as a whole, for people. The first that applies, from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveState {
    /// There are more good events than events, or the sender folded events into an overflow series.
    Overflowed,
    /// No events in the SLO window, or the numbers cannot be had.
    NoData,
    /// An alert condition is active.
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
    /// The budget over the SLO window. Without a budget only its tally says anything.
    pub budget: Budget,
    /// Every window that is looked at, shortest first.
    pub windows: Vec<WindowReading>,
    /// Every tier, in the order of the rule.
    pub tiers: Vec<TierReading>,
    /// Most frequent causes of bad events in the long window of the most severe active tier (else the longest), at
    /// most five, most frequent first.
    pub causes: Vec<Cause>,
    /// What one bad event says where none is allowed.
    #[serde(default)]
    pub breach: Option<Breach>,
    /// Groups of the traffic with bad events, the most striking first.
    #[serde(default)]
    pub spikes: Vec<SpikeReading>,
    /// The last day's part of the budget.
    #[serde(default)]
    pub day: Option<DaySpend>,
    /// What the policy about missing data says.
    #[serde(default)]
    pub no_data: Option<Verdict>,
    /// What a relative indicator compared with.
    #[serde(default)]
    pub baselines: Vec<BaselineReading>,
    /// The gauge of a growth objective.
    #[serde(default)]
    pub level: Option<LevelReading>,
    /// Time until the gauge reaches its capacity at the pace of the last day.
    #[serde(default)]
    pub full_in: Option<Duration>,
    /// Events of the SLO window that do not count because somebody said so.
    #[serde(default)]
    pub excluded: Tally,
    /// When the budget begins anew.
    #[serde(default)]
    pub renewed_at: Option<Timestamp>,
    /// Why the numbers could not be had.
    #[serde(default)]
    pub fault: Option<String>,
}

/// Zero tolerance at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// Events of the last while that a breach keeps the incident open for.
    pub held: WindowReading,
    /// Active on the first bad event.
    pub verdict: Verdict,
}

/// Most causes that are named.
const MOST_CAUSES: usize = 5;
/// Most groups with bad events that an evaluation tells of.
const MOST_SPIKES: usize = 20;
/// Attributes that name the cause of a bad event, the most telling first.
pub const CAUSE_ATTRIBUTES: [&str; 5] = [
    attribute::ERROR_TYPE,
    attribute::REASON_CLASS,
    attribute::PQ_REASON,
    attribute::GROUP_CLASS,
    attribute::OUTCOME,
];

/// Evaluates an objective over the engine's own counts.
pub fn evaluate(
    objective: &Objective,
    ledger: &Ledger,
    selections: &mut Selections,
    aside: Aside<'_>,
    now: Timestamp,
) -> Evaluation {
    let Some(indicator) = objective.sli.embedded() else {
        return judge(objective, Measurements::of_back_end(now));
    };
    let picked = Picked::new(indicator, ledger, selections);
    let mut evaluation = judge(objective, measure(objective, &picked, ledger, aside, now));
    evaluation.causes = causes(objective, &picked, ledger, aside, &evaluation);
    evaluation
}

/// Judges what was measured.
pub fn judge(objective: &Objective, measured: Measurements) -> Evaluation {
    let allowed = objective.goal.allowed();
    // A window that was not measured is one without data: a condition that is left out would end what it began.
    let read = |length: Duration| {
        let known = measured.windows.iter().find(|(known, _)| *known == length);
        let tally = known.map_or_else(Tally::default, |(_, tally)| *tally);
        WindowReading { length, tally, burn: burn(objective, tally) }
    };
    let windows: Vec<WindowReading> = lengths(objective).into_iter().map(read).collect();
    let find = |length| windows.iter().find(|reading| reading.length == length).copied();
    let tiers: Vec<TierReading> = objective
        .alert
        .tiers
        .iter()
        .filter_map(|tier| Some(judge_tier(objective, *tier, find(tier.long)?, find(tier.short)?)))
        .collect();
    let pace = find(forecast_window(objective.goal)).and_then(|reading| reading.burn);
    let budget = Budget::new(measured.spent, allowed, objective.window.nominal(), pace);
    let breach = match objective.goal {
        Goal::ZeroTolerance { hold, .. } => {
            find(hold).map(|held| judge_breach(held, measured.fault.is_some()))
        }
        _ => None,
    };
    let spikes = look_at_groups(objective, &measured);
    let day = objective.alert.day_share.map(|limit| judge_day(objective, limit, &measured, &windows, &tiers));
    let no_data = judge_silence(objective, &measured, &windows);
    let mut evaluation = Evaluation {
        objective: objective.name.clone(),
        at: measured.at,
        state: ObjectiveState::NoData,
        budget,
        windows,
        tiers,
        causes: Vec::new(),
        breach,
        spikes,
        day,
        no_data,
        full_in: full_in(objective, &measured),
        baselines: measured.baselines,
        level: measured.level,
        excluded: measured.excluded,
        renewed_at: objective.window.renewed_at(measured.at),
        fault: measured.fault,
    };
    evaluation.state = state_of(objective, &evaluation, measured.folded);
    evaluation
}

fn burn(objective: &Objective, tally: Tally) -> Option<f64> {
    let growth = matches!(objective.goal, Goal::Growth { .. });
    if tally.overflowed() && !growth {
        return None;
    }
    objective.goal.allowed().and_then(|allowed| tally.spent(allowed))
}

fn judge_tier(
    objective: &Objective,
    tier: AlertTier,
    long: WindowReading,
    short: WindowReading,
) -> TierReading {
    let rule = &objective.alert;
    let growth = matches!(objective.goal, Goal::Growth { .. });
    let reached = |reading: WindowReading| reading.burn.is_some_and(|burn| reaches(burn, tier.factor));
    let verdict = if !growth && (long.tally.overflowed() || short.tally.overflowed()) {
        Verdict::Overflowed
    } else if long.tally.is_empty() || short.tally.is_empty() {
        Verdict::NoData
    } else if !(reached(long) && reached(short)) {
        Verdict::Clear
    } else if !growth
        && (long.tally.total < to_float(rule.least_events) || long.tally.bad < to_float(rule.least_bad))
    {
        Verdict::InsufficientData
    } else {
        Verdict::Active
    };
    TierReading { tier, long, short, verdict }
}

/// Every bad event counts, however little else happened. That nothing happens is no fault: such events are rare.
fn judge_breach(held: WindowReading, unknown: bool) -> Breach {
    let verdict = if unknown {
        Verdict::NoData
    } else if held.tally.bad > 0.0 {
        Verdict::Active
    } else {
        Verdict::Clear
    };
    Breach { held, verdict }
}

fn look_at_groups(objective: &Objective, measured: &Measurements) -> Vec<SpikeReading> {
    let Some(rule) = &objective.alert.spike else { return Vec::new() };
    let allowed = objective.goal.allowed().unwrap_or(1.0);
    let mut readings: Vec<SpikeReading> =
        measured.groups.iter().map(|group| spike::look(rule, group)).collect();
    // A spike that has become usual stays in sight before any group within the objective: an alert that is about it is
    // held for as long as it is seen here.
    readings.sort_by(|a, b| {
        let beyond = |reading: &SpikeReading| reading.group.beyond(allowed);
        b.spike.cmp(&a.spike).then(beyond(b).cmp(&beyond(a))).then(a.chance.total_cmp(&b.chance))
    });
    readings.truncate(MOST_SPIKES);
    readings
}

/// Spend is measured against the budget of a whole SLO window. It is over when the shortest window burns below 1, which
/// the budget sustains, though the day's spend stays what it was for a day.
fn judge_day(
    objective: &Objective,
    limit: f64,
    measured: &Measurements,
    windows: &[WindowReading],
    tiers: &[TierReading],
) -> DaySpend {
    let rule = &objective.alert;
    let day =
        windows.iter().find(|reading| reading.length == DAY).map(|reading| reading.tally).unwrap_or_default();
    let enough = day.total >= to_float(rule.least_events) && day.bad >= to_float(rule.least_bad);
    // While the window is not full yet, its events are taken to go on as they came: a budget of two hours' events would
    // be gone before anybody is paged. A period that began at night is not measured by the night: the last day, which
    // reaches back before it, may tell of more.
    let counted = measured.at.since(measured.since).as_secs_f64().max(1.0);
    let missing = (objective.window.nominal().as_secs_f64() - counted).max(0.0);
    let pace = (measured.spent.total / counted).max(day.total / DAY.as_secs_f64());
    let whole = measured.spent.total + pace * missing;
    let share = objective.goal.allowed().and_then(|allowed| budget_share(day.bad, allowed, whole));
    let shortest = tiers.iter().map(|tier| tier.short).min_by_key(|short| short.length);
    let verdict = match (share, shortest.and_then(|short| short.burn)) {
        (None, _) | (_, None) => Verdict::NoData,
        (_, Some(burn)) if !reaches(burn, 1.0) => Verdict::Clear,
        (Some(share), _) if reaches(share, limit) && enough => Verdict::Active,
        _ => Verdict::InsufficientData,
    };
    DaySpend { share, limit, verdict }
}

fn judge_silence(
    objective: &Objective,
    measured: &Measurements,
    windows: &[WindowReading],
) -> Option<Verdict> {
    let NoDataPolicy::Alert { .. } = objective.alert.no_data else { return None };
    if measured.excused {
        return Some(Verdict::InsufficientData);
    }
    // The alert's own pending time is the time of silence; what is asked here is only whether there is data now. What is
    // excluded does not count, but it did come; and a gauge has a value long after its last reading.
    let counted = windows.first().is_some_and(|reading| !reading.tally.is_empty());
    let heard = measured.heard.unwrap_or(counted);
    Some(if measured.fault.is_none() && heard { Verdict::Clear } else { Verdict::Active })
}

fn full_in(objective: &Objective, measured: &Measurements) -> Option<Duration> {
    let Goal::Growth { capacity: Some(capacity), .. } = objective.goal else { return None };
    let level = measured.level?;
    let day = measured.windows.iter().find(|(length, _)| *length == GROWTH_FORECAST_WINDOW)?.1;
    let left = capacity - level.value;
    if left <= 0.0 {
        return Some(Duration::ZERO);
    }
    (day.bad > 0.0)
        .then(|| Duration::try_from_secs_f64(left / day.bad * GROWTH_FORECAST_WINDOW.as_secs_f64()).ok())
        .flatten()
}

fn state_of(objective: &Objective, evaluation: &Evaluation, folded: bool) -> ObjectiveState {
    let tally = evaluation.budget.tally;
    let growth = matches!(objective.goal, Goal::Growth { .. });
    let zero_tolerance = matches!(objective.goal, Goal::ZeroTolerance { .. });
    if evaluation.fault.is_some() {
        ObjectiveState::NoData
    } else if folded || (!growth && tally.overflowed()) {
        ObjectiveState::Overflowed
    } else if tally.is_empty() {
        ObjectiveState::NoData
    } else if evaluation.is_burning() {
        ObjectiveState::Burning
    } else if !growth && !zero_tolerance && tally.total < to_float(objective.alert.least_events) {
        ObjectiveState::InsufficientData
    } else if evaluation.budget.remaining.is_some_and(|remaining| remaining <= 0.0)
        || (zero_tolerance && tally.bad > 0.0)
    {
        ObjectiveState::Exhausted
    } else {
        ObjectiveState::Ok
    }
}

impl Evaluation {
    /// Whether any alert condition holds on enough events. The rule about a day's spend only escalates.
    pub fn is_burning(&self) -> bool {
        self.tiers.iter().any(|tier| tier.verdict == Verdict::Active)
            || self.breach.is_some_and(|breach| breach.verdict == Verdict::Active)
            || self.spikes.iter().any(|reading| reading.spike)
    }
}

fn cause_window(objective: &Objective, evaluation: &Evaluation) -> Duration {
    if let Some(breach) = evaluation.breach {
        return breach.held.length;
    }
    let active = evaluation.tiers.iter().filter(|tier| tier.verdict == Verdict::Active);
    let loudest = active.max_by_key(|tier| (tier.tier.severity, std::cmp::Reverse(tier.tier.long)));
    let longest = evaluation.tiers.iter().map(|tier| tier.tier.long).max();
    loudest.map(|tier| tier.tier.long).or(longest).unwrap_or_else(|| objective.window.nominal())
}

fn causes(
    objective: &Objective,
    picked: &Picked<'_>,
    ledger: &Ledger,
    aside: Aside<'_>,
    evaluation: &Evaluation,
) -> Vec<Cause> {
    let length = cause_window(objective, evaluation);
    let known = evaluation.windows.iter().find(|reading| reading.length == length);
    if known.is_some_and(|known| known.tally.bad <= 0.0) {
        return Vec::new();
    }
    let now = evaluation.at;
    let window = Window::ending(now, length);
    let excluded = aside.excluded(objective, window, now);
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for id in picked.bad_ids() {
        let Some(series) = ledger.series(id) else { continue };
        let named = CAUSE_ATTRIBUTES.into_iter().map(|key| (key, series.attribute(key)));
        let Some(name) = named.into_iter().find(|(_, value)| !value.is_empty()) else { continue };
        let count: &mut u64 = counts.entry(name).or_insert(0);
        let apart: u64 = excluded.iter().map(|part| ledger.count(id, *part, now)).sum();
        *count = count.saturating_add(ledger.count(id, window, now).saturating_sub(apart));
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

/// Events of an objective in a window, exclusions not applied; none where a back end has them.
pub fn tally(
    objective: &Objective,
    ledger: &Ledger,
    selections: &mut Selections,
    window: Window,
    now: Timestamp,
) -> Tally {
    objective.sli.embedded().map_or_else(Tally::default, |indicator| {
        Picked::new(indicator, ledger, selections).tally(ledger, window, now, &mut Vec::new())
    })
}

/// All events that were ever counted of an objective over counters, as far as is known: only grows while the process lives.
/// `None` for histograms, which keep no totals, for gauges, and where a back end has the numbers.
pub fn ever(objective: &Objective, ledger: &Ledger, selections: &mut Selections) -> Option<Tally> {
    Picked::new(objective.sli.embedded()?, ledger, selections).ever(ledger)
}

/// One step of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
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
    selections: &mut Selections,
    length: Duration,
    step: Duration,
    now: Timestamp,
) -> Vec<ChartPoint> {
    let Some(indicator) = objective.sli.embedded() else { return Vec::new() };
    let picked = Picked::new(indicator, ledger, selections);
    let kept = Tier::reaching(length + step);
    let step = step.as_secs().max(1).next_multiple_of(kept.seconds());
    let to = (now.seconds() + 1).next_multiple_of(step);
    let count = length.as_secs().div_ceil(step).max(1);
    (0..count)
        .rev()
        .map(|back| {
            let to = to.saturating_sub(back * step);
            let from = to.saturating_sub(step);
            let tally = picked.tally(ledger, Window { from, to }, now, &mut Vec::new());
            ChartPoint { from: Timestamp::from_seconds(from), tally }
        })
        .collect()
}
