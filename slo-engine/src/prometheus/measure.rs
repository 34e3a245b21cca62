//! The measurements of one objective, question by question.

use super::client::{Asker, Fault, Sample};
use pqscope_slo_core::burn::Tally;
use pqscope_slo_core::measure::{
    BaselineReading, BaselineSource, LevelReading, Measurements, lengths, most_striking,
};
use pqscope_slo_core::objective::{Baseline, Budgeting, Goal, Indicator, Objective, PromQuery, SpikeRule};
use pqscope_slo_core::promql::query::{self, Counts, Side, Span};
use pqscope_slo_core::spike::Group;
use pqscope_slo_core::time::Timestamp;
use pqscope_telemetry::exposition::label_name;
use std::collections::BTreeMap;
use std::time::Duration;

/// A long window is asked again after a thousandth of its length, within these bounds.
const FRESHEST: Duration = Duration::from_secs(10);
const STALEST: Duration = Duration::from_secs(600);
/// Most groups with a baseline of their own; each costs two questions per window.
const MOST_BASELINES: usize = 50;

/// Answers about long windows, and when they were given.
#[derive(Debug, Default)]
pub(super) struct Memory {
    windows: BTreeMap<Duration, (Timestamp, Counted)>,
    facts: Option<(Timestamp, Facts)>,
}

/// Events of a window, with what a relative indicator compared them with.
#[derive(Clone, Debug, Default)]
struct Counted {
    tally: Tally,
    baselines: Vec<BaselineReading>,
}

/// What is asked about the SLO window besides its events.
#[derive(Clone, Copy, Debug)]
struct Facts {
    since: Option<Timestamp>,
    folded: bool,
}

/// For how long an answer about a window is good.
fn good_for(window: Duration) -> Duration {
    (window / 1_000).clamp(FRESHEST, STALEST)
}

fn is_good(asked: Timestamp, window: Duration, now: Timestamp) -> bool {
    // Ticks are not exact: an answer that is good for ten seconds is asked for again after ten, not after twenty.
    asked <= now && now.since(asked) + Duration::from_millis(500) < good_for(window)
}

/// Takes all measurements at one moment.
///
/// # Errors
/// The first fault; nothing is known then.
pub(super) async fn measure(
    objective: &Objective,
    indicator: &Indicator<PromQuery>,
    asker: &Asker,
    memory: &mut Memory,
    now: Timestamp,
) -> Result<Measurements, Fault> {
    let question = Question { objective, indicator, asker, now };
    let mut windows = Vec::new();
    for length in lengths(objective) {
        windows.push((length, question.remembered(memory, length, length).await?.tally));
    }
    let span = objective.window.span(now);
    // A rolling window ends now; a period of the calendar began at its beginning.
    let length = match &objective.window {
        pqscope_slo_core::period::SloWindow::Rolling(length) => *length,
        pqscope_slo_core::period::SloWindow::Calendar(_) => {
            Duration::from_secs(now.seconds().saturating_sub(span.from).max(1))
        }
    };
    let spent = question.remembered(memory, length, objective.window.nominal()).await?;
    let facts = question.facts(memory, length).await?;
    let groups = match &objective.alert.spike {
        Some(rule) => question.groups(rule).await?,
        None => Vec::new(),
    };
    let level = match (&objective.goal, indicator) {
        (Goal::Growth { .. }, Indicator::Level { level, .. }) => {
            question.one(&query::level(level)).await?.map(|value| LevelReading { value, at: now })
        }
        _ => None,
    };
    let from = Timestamp::from_seconds(span.from);
    Ok(Measurements {
        // Exclusions are the engine's own; a back end knows nothing of them.
        excused: false,
        heard: None,
        at: now,
        windows,
        spent: spent.tally,
        since: facts.since.unwrap_or(from).max(from),
        excluded: Tally::default(),
        groups,
        folded: facts.folded,
        baselines: spent.baselines,
        level,
        fault: None,
    })
}

struct Question<'a> {
    objective: &'a Objective,
    indicator: &'a Indicator<PromQuery>,
    asker: &'a Asker,
    now: Timestamp,
}

impl Question<'_> {
    /// Events of the last `length`, remembered under `nominal`: a period of the calendar has another length at every moment,
    /// and what is remembered of the one before is not of it.
    async fn remembered(
        &self,
        memory: &mut Memory,
        length: Duration,
        nominal: Duration,
    ) -> Result<Counted, Fault> {
        if let Some((asked, counted)) = memory.windows.get(&nominal)
            && is_good(*asked, length, self.now)
            && (length == nominal || self.now.since(*asked) < length)
        {
            return Ok(counted.clone());
        }
        let counted = self.window(length, nominal).await?;
        memory.windows.insert(nominal, (self.now, counted.clone()));
        Ok(counted)
    }

    /// Events of the last `length`. What growth is allowed in it is its part of `nominal`, as of a whole window.
    async fn window(&self, length: Duration, nominal: Duration) -> Result<Counted, Fault> {
        let tally = match (&self.objective.goal, self.indicator) {
            (Goal::Growth { budget, .. }, Indicator::Level { level, .. }) => {
                let pace = nominal.as_secs_f64() / self.objective.window.nominal().as_secs_f64();
                let grown = self.one(&query::growth(level, length)).await?;
                grown.map_or_else(Tally::default, |grown| Tally {
                    good: 0.0,
                    bad: grown.max(0.0),
                    total: budget * pace,
                })
            }
            (Goal::Share { budgeting, .. }, indicator) if *budgeting != Budgeting::Occurrences => {
                let slice = budgeting.slice().unwrap_or(length);
                let share = query::slice_share(indicator, slice);
                let counts =
                    share.and_then(|share| query::slices(&share, *budgeting, length, Duration::ZERO));
                let help = "slices of relative latencies cannot be asked for";
                self.counted(&counts.ok_or_else(|| Fault::Setup(help.to_owned()))?).await?
            }
            (_, Indicator::Relative { observations, baseline }) => {
                return self.relative(observations, baseline, Span::last(length)).await;
            }
            (_, indicator) => {
                let counts = query::events(indicator, Span::last(length), &[]);
                let help = "a gauge is counted in slices of time only";
                self.counted(&counts.ok_or_else(|| Fault::Setup(help.to_owned()))?).await?
            }
        };
        Ok(Counted { tally, baselines: Vec::new() })
    }

    async fn counted(&self, counts: &Counts) -> Result<Tally, Fault> {
        let total = self.events(&counts.total).await?;
        // Without events there is no part of them to ask for.
        let part = if total > 0.0 { self.events(&counts.part).await? } else { 0.0 };
        Ok(tally(counts.side, part, total))
    }

    /// The only sample of a query; `None` without one.
    async fn one(&self, text: &str) -> Result<Option<f64>, Fault> {
        let samples = self.asker.ask(text, self.now).await?;
        match samples.as_slice() {
            [] => Ok(None),
            [only] => Ok(Some(only.value)),
            several => Err(Fault::Unusable(format!("it has {} samples where one is needed", several.len()))),
        }
    }

    async fn events(&self, text: &str) -> Result<f64, Fault> {
        not_negative(self.one(text).await?.unwrap_or(0.0))
    }

    async fn facts(&self, memory: &mut Memory, length: Duration) -> Result<Facts, Fault> {
        if let Some((asked, facts)) = memory.facts
            && is_good(asked, length, self.now)
        {
            return Ok(facts);
        }
        let total = self.indicator.total();
        let since = match query::first_seen(total, length) {
            Some(text) => {
                self.one(&text).await?.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            }
            None => None,
        };
        let folded = match query::folded(total, length) {
            Some(text) => self.one(&text).await?.is_some(),
            None => false,
        };
        let facts = Facts { since: since.map(|since| Timestamp::EPOCH.after(since)), folded };
        memory.facts = Some((self.now, facts));
        Ok(facts)
    }

    async fn by_group(&self, text: &str) -> Result<BTreeMap<BTreeMap<String, String>, f64>, Fault> {
        let samples = self.asker.ask(text, self.now).await?;
        let pair = |sample: Sample| Ok((sample.labels, not_negative(sample.value)?));
        samples.into_iter().map(pair).collect()
    }

    async fn tallies(
        &self,
        span: Span,
        by: &[String],
    ) -> Result<BTreeMap<BTreeMap<String, String>, Tally>, Fault> {
        let Some(counts) = query::events(self.indicator, span, by) else { return Ok(BTreeMap::new()) };
        let totals = self.by_group(&counts.total).await?;
        let parts = self.by_group(&counts.part).await?;
        let pair = |(labels, total): (BTreeMap<String, String>, f64)| {
            let part = parts.get(&labels).copied().unwrap_or(0.0);
            (labels, tally(counts.side, part, total))
        };
        Ok(totals.into_iter().map(pair).collect())
    }

    /// The groups that the spike detector looks at: those with bad events in the short window.
    async fn groups(&self, rule: &SpikeRule) -> Result<Vec<Group>, Fault> {
        let short = self.tallies(Span::last(rule.short), &rule.by).await?;
        if short.values().all(|tally| tally.bad <= 0.0) {
            return Ok(Vec::new());
        }
        let own = self.tallies(Span { length: rule.reference, ago: rule.short }, &rule.by).await?;
        let among: Vec<String> = rule.among.iter().map(|key| label_name(key)).collect();
        let part = |labels: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            labels
                .iter()
                .filter(|(key, _)| among.contains(key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        };
        let mut shared: BTreeMap<BTreeMap<String, String>, Tally> = BTreeMap::new();
        for (labels, tally) in &own {
            let sum = shared.entry(part(labels)).or_default();
            *sum = *sum + *tally;
        }
        let mut groups: Vec<Group> = short
            .into_iter()
            .filter(|(_, tally)| tally.bad > 0.0)
            .map(|(labels, short)| {
                let own = own.get(&labels).copied().unwrap_or_default();
                let among = shared.get(&part(&labels)).copied().unwrap_or_default();
                let usual = if own.total >= 2.0 * short.total { own } else { among };
                Group { labels: keyed(&labels, &rule.by), short, usual }
            })
            .collect();
        most_striking(&mut groups, self.objective.goal.allowed().unwrap_or(1.0));
        Ok(groups)
    }

    /// Each group against its own baseline. Groups without one are not judged.
    async fn relative(
        &self,
        observations: &PromQuery,
        baseline: &Baseline<PromQuery>,
        span: Span,
    ) -> Result<Counted, Fault> {
        let asked = query::relative(observations, baseline, span);
        let judged = self.by_group(&asked.judged).await?;
        if judged.len() > MOST_BASELINES {
            let words = format!("{} groups have a baseline of their own, {MOST_BASELINES} may", judged.len());
            return Err(Fault::Unusable(words));
        }
        let usual = self.by_group(&asked.usual).await?;
        let quantiles = self.by_group(&asked.quantile).await?;
        let mut counted = Counted::default();
        for (labels, own) in judged {
            let events = usual.get(&labels).copied().unwrap_or(0.0);
            let enough = events >= float(baseline.least_events);
            let observed = quantiles.get(&labels).copied().filter(|_| enough);
            let (source, value) = match (observed, baseline.pinned) {
                (Some(value), _) => (BaselineSource::Observed, Some(value)),
                (None, Some(pinned)) => (BaselineSource::Pinned, Some(pinned)),
                (None, None) => (BaselineSource::Missing, None),
            };
            if let Some(value) = value.filter(|_| own > 0.0) {
                let mut picked = labels.clone();
                for key in &baseline.by {
                    picked.entry(label_name(key)).or_default();
                }
                let counts = query::within(observations, &picked, value + baseline.margin, span);
                counted.tally = counted.tally + self.counted(&counts).await?;
            }
            let labels = keyed(&labels, &baseline.by);
            counted.baselines.push(BaselineReading { labels, source, value, events, judged: own });
        }
        Ok(counted)
    }
}

fn tally(side: Side, part: f64, total: f64) -> Tally {
    match side {
        Side::Good => Tally::of_good_shares(part, total),
        Side::Bad => Tally::of_bad_shares(part, total),
    }
}

fn not_negative(value: f64) -> Result<f64, Fault> {
    if value < 0.0 { Err(Fault::Unusable(format!("{value} events were counted"))) } else { Ok(value) }
}

/// Labels under the attribute keys that the objective names; those without a value are left out.
fn keyed(labels: &BTreeMap<String, String>, by: &[String]) -> BTreeMap<String, String> {
    let pairs = by.iter().filter_map(|key| Some((key.clone(), labels.get(&label_name(key))?.clone())));
    pairs.filter(|(_, value)| !value.is_empty()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "bounds that people write stay below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_windows_are_asked_about_less_often() {
        let seconds = |window: u64| good_for(Duration::from_secs(window)).as_secs();
        assert_eq!([300, 3_600, 86_400, 30 * 86_400].map(seconds), [10, 10, 86, 600]);
        let now = Timestamp::from_seconds(1_000);
        let day = Duration::from_secs(86_400);
        assert!(is_good(now.before(Duration::from_secs(80)), day, now));
        assert!(!is_good(now.before(Duration::from_secs(87)), day, now));
        assert!(!is_good(now.after(Duration::from_secs(1)), day, now), "the clock was set back");
        assert!(!is_good(now.before(Duration::from_secs(10)), Duration::from_secs(60), now));
    }
}
