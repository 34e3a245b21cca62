//! What an evaluation asks of the counts: the events of every window of an objective, of its budget, of the groups that
//! its spike detector looks at. This room asks the engine's own ledger; for objectives of a PromQL back end somebody else
//! fills in the same [`Measurements`].

use crate::bucket::{Tier, Window, outward};
use crate::burn::Tally;
use crate::distribution::to_float;
use crate::exclusion::{Exclusion, excluded_parts, joined};
use crate::intake::{Level, Measured};
use crate::ledger::{Ledger, Slot};
use crate::objective::{Baseline, Budgeting, Goal, Indicator, NoDataPolicy, Objective, SpikeRule};
use crate::quantile::quantile;
use crate::selection::Selections;
use crate::series::Selector;
use crate::slices::SliceBook;
use crate::spike::Group;
use crate::time::Timestamp;
use pqscope_telemetry::attribute;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The window whose burn rate forecasts when the budget is gone.
pub const FORECAST_WINDOW: Duration = Duration::from_secs(3_600);
/// The same for growth, which goes in steps.
pub const GROWTH_FORECAST_WINDOW: Duration = Duration::from_secs(86_400);
/// The window of the rule about a large part of the budget gone in a day.
pub const DAY: Duration = Duration::from_secs(86_400);
/// Most groups that the spike detector looks at: those beyond the objective first, then those with the most bad events.
pub const MOST_GROUPS: usize = 100;
/// Most groups whose baselines are told.
const MOST_BASELINES: usize = 50;

/// Where a baseline came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaselineSource {
    /// The quantile of what was observed.
    Observed,
    /// The pinned value: too little was observed.
    Pinned,
    /// Too little was observed and nothing is pinned: these events are not judged.
    Missing,
}

/// What the events of one group were compared with, over the SLO window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaselineReading {
    /// Values of the attributes that the baseline groups by.
    pub labels: BTreeMap<String, String>,
    /// Where the bound came from.
    pub source: BaselineSource,
    /// The quantile or the pinned value, in the unit of the metric.
    pub value: Option<f64>,
    /// The baseline's observations.
    pub events: f64,
    /// The group's own events.
    pub judged: f64,
}

/// A gauge at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelReading {
    /// Its value; of several series the sum.
    pub value: f64,
    /// Time of the oldest reading in it.
    pub at: Timestamp,
}

/// The numbers of one objective at a moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measurements {
    /// The moment.
    pub at: Timestamp,
    /// Events per window length, shortest first; each length that [`lengths`] names.
    pub windows: Vec<(Duration, Tally)>,
    /// Events of the SLO window.
    pub spent: Tally,
    /// Since when events of the SLO window were counted: its beginning, or the first event if that is later.
    pub since: Timestamp,
    /// Events of the SLO window that were left out by exclusions.
    pub excluded: Tally,
    /// Whether the last minutes are excluded, so that silence means nothing.
    pub excused: bool,
    /// Groups for the spike detector.
    pub groups: Vec<Group>,
    /// Whether a sender folded events into an overflow series.
    pub folded: bool,
    /// What relative indicators compared with.
    pub baselines: Vec<BaselineReading>,
    /// The gauge of a growth objective.
    pub level: Option<LevelReading>,
    /// Whether anything came in during the shortest window, be it excluded; `None` where nothing but the events of that
    /// window tells.
    pub heard: Option<bool>,
    /// Why the numbers could not be had; nothing above is known then.
    pub fault: Option<String>,
}

impl Measurements {
    /// Of an objective that the engine has no counts of.
    pub(crate) fn of_back_end(now: Timestamp) -> Self {
        let fault = Some("this objective is measured by a back end".to_owned());
        Self { at: now, fault, ..Self::default() }
    }
}

/// The window whose pace tells when the budget is gone.
pub(crate) const fn forecast_window(goal: Goal) -> Duration {
    match goal {
        Goal::Growth { .. } => GROWTH_FORECAST_WINDOW,
        _ => FORECAST_WINDOW,
    }
}

/// The window lengths that an evaluation of the objective needs, shortest first.
pub fn lengths(objective: &Objective) -> Vec<Duration> {
    let tiers = objective.alert.tiers.iter().flat_map(|tier| [tier.long, tier.short]);
    let hold = match objective.goal {
        Goal::ZeroTolerance { hold, .. } => Some(hold),
        _ => None,
    };
    let day = objective.alert.day_share.map(|_| DAY);
    let mut lengths: Vec<Duration> =
        tiers.chain(hold).chain(day).chain([forecast_window(objective.goal)]).collect();
    lengths.sort_unstable();
    // Silence is looked for in the shortest window, which must not be longer than the silence that alerts.
    if let NoDataPolicy::Alert { after, .. } = objective.alert.no_data {
        let bucket = Tier::TenSeconds.seconds();
        let after = Duration::from_secs(after.as_secs().next_multiple_of(bucket).max(bucket));
        if lengths.first().is_none_or(|shortest| after < *shortest) {
            lengths.insert(0, after);
        }
    }
    lengths.dedup();
    lengths
}

/// What the engine knows besides the counts.
#[derive(Clone, Copy, Debug)]
pub struct Aside<'a> {
    /// Spans that do not count.
    pub exclusions: &'a [Exclusion],
    /// The slices of an objective that counts in slices.
    pub slices: Option<&'a SliceBook>,
}

impl Aside<'_> {
    /// Nothing besides the counts.
    pub const NONE: Aside<'static> = Aside { exclusions: &[], slices: None };
}

/// Takes all measurements of an objective over the engine's own counts, of series that were looked up already.
pub(crate) fn measure(
    objective: &Objective,
    picked: &Picked<'_>,
    ledger: &Ledger,
    aside: Aside<'_>,
    now: Timestamp,
) -> Measurements {
    let gauge = Gauge { objective, picked, ledger, aside, now };
    let span = objective.window.span(now);
    let windows: Vec<(Duration, Tally)> =
        lengths(objective).into_iter().map(|length| (length, gauge.last(length))).collect();
    let shortest = windows.first().map_or(FORECAST_WINDOW, |(length, _)| *length);
    let silence = Window::ending(now, shortest);
    let mut baselines = Vec::new();
    let excluded = gauge.left_out(span);
    let spent = gauge.whole(span, 1.0, &mut baselines).without(excluded);
    baselines.truncate(MOST_BASELINES);
    let allowed = objective.goal.allowed().unwrap_or(1.0);
    let groups = objective.alert.spike.as_ref().map(|rule| gauge.groups(rule, allowed));
    Measurements {
        at: now,
        windows,
        spent,
        since: picked.began(ledger, now).unwrap_or(now).max(Timestamp::from_seconds(span.from)),
        excluded,
        excused: gauge.is_excused(silence),
        groups: groups.unwrap_or_default(),
        folded: objective
            .sli
            .embedded()
            .is_some_and(|indicator| ledger.has_overflow(&indicator.total().metric, span, now)),
        baselines,
        level: picked.level(ledger, now, now),
        heard: Some(picked.heard(ledger, silence, now)),
        fault: None,
    }
}

/// Events of a span that exclusions leave out of an objective; slices of time not among them.
pub fn excluded(
    objective: &Objective,
    ledger: &Ledger,
    selections: &mut Selections,
    exclusions: &[Exclusion],
    span: Window,
    now: Timestamp,
) -> Tally {
    let Some(indicator) = objective.sli.embedded().filter(|_| !exclusions.is_empty()) else {
        return Tally::default();
    };
    let picked = Picked::new(indicator, ledger, selections);
    let aside = Aside { exclusions, slices: None };
    Gauge { objective, picked: &picked, ledger, aside, now }.left_out(span)
}

/// Share of good events in a span, for the slice book of an objective; `None` without events.
pub fn slice_share(
    objective: &Objective,
    ledger: &Ledger,
    selections: &mut Selections,
    now: Timestamp,
) -> impl Fn(Window) -> Option<f64> {
    let picked = objective.sli.embedded().map(|indicator| Picked::new(indicator, ledger, selections));
    move |window| match picked.as_ref()? {
        Picked::Level { ids, bound: Some((comparison, bound)) } => {
            let value = level_within(ids, ledger, window, now)?;
            Some(f64::from(u8::from(comparison.holds(value, *bound))))
        }
        Picked::Ratio { ids, of_good } => {
            let levels = ids.iter().filter_map(|id| level_of(*id, ledger, window, now));
            let (sum, count) =
                levels.fold((0.0, 0.0), |(sum, count), level| (sum + level.value, count + 1.0));
            let average = (count > 0.0).then(|| sum / count)?;
            // A ready-made ratio outside 0 to 1 is no ratio; it is held at the end that it passed.
            let average = average.clamp(0.0, 1.0);
            Some(if *of_good { average } else { 1.0 - average })
        }
        counted => {
            counted.tally(ledger, window, now, &mut Vec::new()).good_share().map(|share| share.min(1.0))
        }
    }
}

/// The series that an indicator picks.
#[derive(Debug)]
pub(crate) enum Picked<'a> {
    Good { good: Arc<[Slot]>, total: Arc<[Slot]> },
    Bad { bad: Arc<[Slot]>, total: Arc<[Slot]> },
    AtMost { ids: Arc<[Slot]>, bound: f64 },
    Relative { ids: Arc<[Slot]>, usual: Arc<[Slot]>, baseline: &'a Baseline },
    Level { ids: Arc<[Slot]>, bound: Option<(crate::objective::Comparison, f64)> },
    Ratio { ids: Arc<[Slot]>, of_good: bool },
}

/// Series with the same values of some attributes.
struct Part {
    labels: BTreeMap<String, String>,
    all: Vec<Slot>,
    /// Those whose events are good, or bad, as the indicator has it.
    judged: Vec<Slot>,
}

/// Everything that the events of one window depend on.
struct Gauge<'a> {
    objective: &'a Objective,
    picked: &'a Picked<'a>,
    ledger: &'a Ledger,
    aside: Aside<'a>,
    now: Timestamp,
}

impl Gauge<'_> {
    /// The slices of an objective that counts in slices.
    fn sliced(&self) -> Option<(&SliceBook, Budgeting)> {
        match self.objective.goal {
            Goal::Share { budgeting, .. } if budgeting.slice().is_some() => {
                Some((self.aside.slices?, budgeting))
            }
            _ => None,
        }
    }

    /// Events of the last so long, without what is excluded.
    fn last(&self, length: Duration) -> Tally {
        let pace = length.as_secs_f64() / self.objective.window.nominal().as_secs_f64();
        let span = match self.sliced() {
            Some((book, _)) => book.last(self.now, length),
            None => Window::ending(self.now, length),
        };
        self.whole(span, pace, &mut Vec::new()).without(self.left_out(span))
    }

    /// Events of a span, what is excluded among them. Growth is allowed so large a part of its budget in it.
    fn whole(&self, span: Window, pace: f64, baselines: &mut Vec<BaselineReading>) -> Tally {
        if let Goal::Growth { budget, .. } = self.objective.goal {
            return self.growth(span, budget * pace);
        }
        match self.sliced() {
            Some((book, budgeting)) => book.tally(budgeting, span),
            None => self.picked.tally(self.ledger, span, self.now, baselines),
        }
    }

    /// Events of a span that are excluded.
    fn left_out(&self, span: Window) -> Tally {
        let Objective { name, service, goal, .. } = self.objective;
        if self.aside.exclusions.is_empty() || matches!(goal, Goal::Growth { .. }) {
            return Tally::default();
        }
        let parts = excluded_parts(self.aside.exclusions, name, service, span).into_iter();
        match self.sliced() {
            Some((book, budgeting)) => {
                // What was excluded in a part of a slice cannot be told from the rest of it: the slice goes as a whole.
                let slices = joined(parts.map(|part| book.around(part)));
                slices.into_iter().map(|part| book.tally(budgeting, part)).sum()
            }
            None => whole_buckets(parts, span, self.now)
                .into_iter()
                .map(|part| self.picked.tally(self.ledger, part, self.now, &mut Vec::new()))
                .sum(),
        }
    }

    /// Whether an exclusion touches the window in which silence is seen.
    fn is_excused(&self, silence: Window) -> bool {
        let Objective { name, service, .. } = self.objective;
        !excluded_parts(self.aside.exclusions, name, service, silence).is_empty()
    }

    /// The groups that the spike detector looks at: those with bad events in the short window.
    fn groups(&self, rule: &SpikeRule, allowed: f64) -> Vec<Group> {
        let end = Window::ending(self.now, Duration::ZERO).to;
        let short = Window { from: end.saturating_sub(rule.short.as_secs()), to: end };
        let usual = Window { from: short.from.saturating_sub(rule.reference.as_secs()), to: short.from };
        if self.picked.is_spotless(self.ledger, short, self.now) {
            return Vec::new();
        }
        let parts = self.picked.divided(&rule.by, self.ledger);
        let short_tallies = self.by_part(&parts, short);
        if short_tallies.iter().all(|tally| tally.bad <= 0.0) {
            return Vec::new();
        }
        let own = self.by_part(&parts, usual);
        let mut shared: BTreeMap<BTreeMap<String, String>, Tally> = BTreeMap::new();
        for (part, tally) in parts.iter().zip(&own) {
            let sum = shared.entry(part_of(&part.labels, &rule.among)).or_default();
            *sum = *sum + *tally;
        }
        let mut groups: Vec<Group> = parts
            .into_iter()
            .zip(short_tallies.into_iter().zip(own))
            .filter(|(_, (short, _))| short.bad > 0.0)
            .map(|(Part { labels, .. }, (short, own))| {
                let among = shared.get(&part_of(&labels, &rule.among)).copied().unwrap_or_default();
                // A group with a past of its own is compared with that; a new one with its neighbours.
                let usual = if own.total >= 2.0 * short.total { own } else { among };
                Group { labels, short, usual }
            })
            .collect();
        most_striking(&mut groups, allowed);
        groups
    }

    /// Events of a span, part by part, without what is excluded.
    fn by_part(&self, parts: &[Part], span: Window) -> Vec<Tally> {
        let excluded = self.aside.excluded(self.objective, span, self.now);
        let tally = |part, window| self.picked.part_tally(part, self.ledger, window, self.now);
        let less = |part, whole: Tally| {
            excluded.iter().fold(whole, |left, window| left.without(tally(part, *window)))
        };
        parts.iter().map(|part| less(part, tally(part, span))).collect()
    }

    /// What the gauge grew by in a span, against what is allowed. With less history than the span, since the first
    /// reading there is.
    fn growth(&self, span: Window, allowance: f64) -> Tally {
        let Picked::Level { ids, .. } = self.picked else { return Tally::default() };
        let last = Timestamp::from_seconds(span.to.saturating_sub(1));
        let before = Timestamp::from_seconds(span.from.saturating_sub(1));
        let grown = ids.iter().filter_map(|id| {
            let now = self.ledger.level_at(*id, last, self.now)?;
            let then =
                self.ledger.level_at(*id, before, self.now).or_else(|| self.ledger.first_level(*id))?;
            Some(now.value - then.value)
        });
        let grown: Vec<f64> = grown.collect();
        if grown.is_empty() {
            return Tally::default();
        }
        Tally { good: 0.0, bad: grown.iter().sum::<f64>().max(0.0), total: allowance }
    }
}

/// Keeps the [`MOST_GROUPS`] groups that an alert could be about, of an objective that allows this share of bad events.
pub fn most_striking(groups: &mut Vec<Group>, allowed: f64) {
    groups
        .sort_by(|a, b| b.beyond(allowed).cmp(&a.beyond(allowed)).then(b.short.bad.total_cmp(&a.short.bad)));
    groups.truncate(MOST_GROUPS);
}

fn all_of(ids: &[Slot], ledger: &Ledger) -> u64 {
    ids.iter().fold(0, |total, id| total.saturating_add(ledger.total(*id)))
}

impl Aside<'_> {
    /// The parts of a span that are excluded, as whole buckets.
    pub(crate) fn excluded(&self, objective: &Objective, span: Window, now: Timestamp) -> Vec<Window> {
        let parts = excluded_parts(self.exclusions, &objective.name, &objective.service, span);
        whole_buckets(parts.into_iter(), span, now)
    }
}

/// Parts of a span, in their order, each as whole buckets of its time.
fn whole_buckets(parts: impl Iterator<Item = Window>, span: Window, now: Timestamp) -> Vec<Window> {
    joined(
        parts
            .map(|part| outward(part, now))
            .map(|part| Window { from: part.from.max(span.from), to: part.to.min(span.to) }),
    )
}

impl<'a> Picked<'a> {
    pub(crate) fn new(indicator: &'a Indicator, ledger: &Ledger, selections: &mut Selections) -> Self {
        let mut select = |selector: &Selector| selections.of(ledger, selector);
        match indicator {
            Indicator::Good { good, total } => Self::Good { good: select(good), total: select(total) },
            Indicator::Bad { bad, total } => Self::Bad { bad: select(bad), total: select(total) },
            Indicator::AtMost { observations, bound } => {
                Self::AtMost { ids: select(observations), bound: *bound }
            }
            Indicator::Relative { observations, baseline } => {
                Self::Relative { ids: select(observations), usual: select(&baseline.observations), baseline }
            }
            Indicator::Level { level, bound } => Self::Level { ids: select(level), bound: *bound },
            Indicator::Ratio { ratio, of_good } => Self::Ratio { ids: select(ratio), of_good: *of_good },
        }
    }

    /// All series of events, the good and the bad.
    pub(crate) fn ids(&self) -> &[Slot] {
        match self {
            Self::Good { total, .. } | Self::Bad { total, .. } => total,
            Self::AtMost { ids, .. }
            | Self::Relative { ids, .. }
            | Self::Level { ids, .. }
            | Self::Ratio { ids, .. } => ids,
        }
    }

    /// When the first of its events was counted.
    fn began(&self, ledger: &Ledger, now: Timestamp) -> Option<Timestamp> {
        self.ids().iter().filter_map(|id| ledger.began(*id, now)).min()
    }

    /// All events that were ever counted; `None` where there are no totals.
    pub(crate) fn ever(&self, ledger: &Ledger) -> Option<Tally> {
        match self {
            Self::Good { good, total } => Some(Tally::of_good(all_of(good, ledger), all_of(total, ledger))),
            Self::Bad { bad, total } => Some(Tally::of_bad(all_of(bad, ledger), all_of(total, ledger))),
            _ => None,
        }
    }

    /// Series whose events are bad; none where that does not go by series.
    pub(crate) fn bad_ids(&self) -> Vec<Slot> {
        match self {
            Self::Good { good, total } => {
                total.iter().filter(|slot| good.binary_search(slot).is_err()).copied().collect()
            }
            Self::Bad { bad, .. } => bad.to_vec(),
            _ => Vec::new(),
        }
    }

    /// Whether there are any events or readings in a window.
    fn heard(&self, ledger: &Ledger, window: Window, now: Timestamp) -> bool {
        self.ids().iter().any(|id| match self {
            Self::Level { .. } | Self::Ratio { .. } => level_of(*id, ledger, window, now).is_some(),
            _ => ledger.count(*id, window, now) > 0,
        })
    }

    /// Events in a window.
    pub(crate) fn tally(
        &self,
        ledger: &Ledger,
        window: Window,
        now: Timestamp,
        baselines: &mut Vec<BaselineReading>,
    ) -> Tally {
        let count = |slots: &[Slot]| count(slots, ledger, window, now);
        match self {
            Self::Good { good, total } => Tally::of_good(count(good), count(total)),
            Self::Bad { bad, total } => Tally::of_bad(count(bad), count(total)),
            Self::AtMost { ids, bound } => within(merged(ids.iter(), ledger, window, now).as_ref(), *bound),
            Self::Relative { ids, usual, baseline } => {
                relative(ids, usual, baseline, ledger, window, now, baselines)
            }
            Self::Level { .. } | Self::Ratio { .. } => Tally::default(),
        }
    }

    /// Whether no part of the traffic can have bad events in a window, as far as that is told without dividing it.
    fn is_spotless(&self, ledger: &Ledger, window: Window, now: Timestamp) -> bool {
        let bad = || self.tally(ledger, window, now, &mut Vec::new()).bad;
        match self {
            // Good events that are not among all events would make up for bad ones elsewhere.
            Self::Good { good, total } => {
                bad() <= 0.0 && good.iter().all(|slot| total.binary_search(slot).is_ok())
            }
            Self::Bad { .. } => bad() <= 0.0,
            _ => false,
        }
    }

    /// The series of the events by the values of attributes, in the order of those.
    fn divided(&self, by: &[String], ledger: &Ledger) -> Vec<Part> {
        let mut parts: BTreeMap<Vec<&str>, (Vec<Slot>, Vec<Slot>)> = BTreeMap::new();
        let values = |slot: &Slot| -> Option<Vec<&str>> {
            let series = ledger.series(*slot)?;
            Some(by.iter().map(|key| series.attribute(key)).collect())
        };
        for slot in self.ids() {
            if let Some(values) = values(slot) {
                parts.entry(values).or_default().0.push(*slot);
            }
        }
        if let Self::Good { good: judged, .. } | Self::Bad { bad: judged, .. } = self {
            for slot in judged.iter() {
                if let Some((_, judged)) = values(slot).and_then(|values| parts.get_mut(&values)) {
                    judged.push(*slot);
                }
            }
        }
        let labelled = parts.into_iter().map(|(values, (all, judged))| {
            let pairs = by.iter().zip(values).filter(|(_, value)| !value.is_empty());
            let labels = pairs.map(|(key, value)| (key.clone(), value.to_owned())).collect();
            Part { labels, all, judged }
        });
        let mut labelled: Vec<Part> = labelled.collect();
        labelled.sort_by(|a, b| a.labels.cmp(&b.labels));
        labelled
    }

    fn part_tally(&self, part: &Part, ledger: &Ledger, window: Window, now: Timestamp) -> Tally {
        let count = |slots: &[Slot]| count(slots, ledger, window, now);
        match self {
            Self::Good { .. } => Tally::of_good(count(&part.judged), count(&part.all)),
            Self::Bad { .. } => Tally::of_bad(count(&part.judged), count(&part.all)),
            Self::AtMost { bound, .. } => {
                within(merged(part.all.iter(), ledger, window, now).as_ref(), *bound)
            }
            // Spikes of latency are found by burn rates: a baseline moves with what it is compared with.
            Self::Relative { .. } | Self::Level { .. } | Self::Ratio { .. } => Tally::default(),
        }
    }

    /// The gauge at a moment.
    pub(crate) fn level(&self, ledger: &Ledger, at: Timestamp, now: Timestamp) -> Option<LevelReading> {
        let Self::Level { ids, .. } = self else { return None };
        let levels: Vec<Level> = ids.iter().filter_map(|id| ledger.level_at(*id, at, now)).collect();
        let oldest = levels.iter().map(|level| level.at).min()?;
        Some(LevelReading { value: levels.iter().map(|level| level.value).sum(), at: oldest })
    }
}

/// Events of series in a window. What senders claim may be anything; a sum that wraps would hide it.
fn count(slots: &[Slot], ledger: &Ledger, window: Window, now: Timestamp) -> u64 {
    slots.iter().fold(0, |total, slot| total.saturating_add(ledger.count(*slot, window, now)))
}

/// The values of attributes; those without a value are left out.
pub(crate) fn labels_of<'a>(by: &[String], value: impl Fn(&str) -> &'a str) -> BTreeMap<String, String> {
    let pairs = by.iter().map(|key| (key.clone(), value(key).to_owned()));
    pairs.filter(|(_, value)| !value.is_empty()).collect()
}

fn part_of(labels: &BTreeMap<String, String>, keys: &[String]) -> BTreeMap<String, String> {
    labels
        .iter()
        .filter(|(key, _)| keys.contains(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn merged<'a>(
    ids: impl Iterator<Item = &'a Slot>,
    ledger: &Ledger,
    window: Window,
    now: Timestamp,
) -> Option<Measured> {
    ids.filter_map(|id| ledger.sum(*id, window, now)).reduce(|mut merged, more| {
        merged.add(&more);
        merged
    })
}

fn within(observations: Option<&Measured>, bound: f64) -> Tally {
    // A plain counter under this name has no sizes: none of its events is known to be within bounds.
    observations.map_or_else(Tally::default, |observations| {
        Tally::of_good(observations.at_or_below(bound).unwrap_or(0), observations.total())
    })
}

fn relative(
    ids: &[Slot],
    usual: &[Slot],
    baseline: &Baseline,
    ledger: &Ledger,
    window: Window,
    now: Timestamp,
    readings: &mut Vec<BaselineReading>,
) -> Tally {
    let labels = |id: &Slot| {
        labels_of(&baseline.by, |key| ledger.series(*id).map_or("", |series| series.attribute(key)))
    };
    let mut groups: BTreeMap<BTreeMap<String, String>, (Vec<Slot>, Vec<Slot>)> = BTreeMap::new();
    for id in ids {
        groups.entry(labels(id)).or_default().0.push(*id);
    }
    for id in usual {
        if let Some((_, others)) = groups.get_mut(&labels(id)) {
            others.push(*id);
        }
    }
    let mut sum = Tally::default();
    for (group, (own, others)) in groups {
        let Some(own) = merged(own.iter(), ledger, window, now) else { continue };
        let others = merged(others.iter(), ledger, window, now);
        let events = others.as_ref().map_or(0, Measured::total);
        let observed = match &others {
            Some(Measured::Distribution(sizes)) if events >= baseline.least_events => {
                quantile(sizes, baseline.quantile).map(|found| found.value)
            }
            _ => None,
        };
        let (source, value) = match (observed, baseline.pinned) {
            (Some(value), _) => (BaselineSource::Observed, Some(value)),
            (None, Some(pinned)) => (BaselineSource::Pinned, Some(pinned)),
            (None, None) => (BaselineSource::Missing, None),
        };
        if let Some(value) = value {
            sum = sum + within(Some(&own), value + baseline.margin);
        }
        readings.push(BaselineReading {
            labels: group,
            source,
            value,
            events: to_float(events),
            judged: to_float(own.total()),
        });
    }
    sum
}

/// The last reading of a gauge within a span.
fn level_of(id: Slot, ledger: &Ledger, window: Window, now: Timestamp) -> Option<Level> {
    let level = ledger.level_at(id, Timestamp::from_seconds(window.to.saturating_sub(1)), now)?;
    (level.at.seconds() >= window.from).then_some(level)
}

/// The sum over the gauges that have a reading within a span.
fn level_within(ids: &[Slot], ledger: &Ledger, window: Window, now: Timestamp) -> Option<f64> {
    let levels = ids.iter().filter_map(|id| level_of(*id, ledger, window, now));
    levels.map(|level| level.value).reduce(|sum, value| sum + value)
}

/// Default groups of the spike detector.
pub fn spike_groups() -> (Vec<String>, Vec<String>) {
    let by = [attribute::SERVICE, attribute::DEPLOYMENT, attribute::STAGE].map(str::to_owned).to_vec();
    (by, vec![attribute::SERVICE.to_owned()])
}

/// Finest width to which the edge of a window of this length is exact.
pub fn resolution(length: Duration) -> Duration {
    Duration::from_secs(Tier::reaching(length).seconds())
}
