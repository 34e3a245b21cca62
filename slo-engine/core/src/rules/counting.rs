//! What one objective has of its own: the target, the running totals, and windows that are not differences of them.

use super::names::{
    EVENTS, FAMILY, FIRST_LEVEL, GROUPS_RUNNING, LEVEL, RESULT, RUNNING, SLICE, SLO, WINDOW, target,
};
use super::{Rule, RuleKind, Sheet};
use crate::objective::{Budgeting, Goal, Indicator, PromQuery};
use crate::promql::name::{bucket_matcher, narrowed, renamed};
use crate::promql::query::{self, Counts, Span, is_classic, number, offset};
use crate::time::span_text;
use pqscope_telemetry::exposition::label_name;
use std::time::Duration;

/// How far back a recorded sample is looked for: a Prometheus that was down for less goes on where it was.
pub(super) const REACH: &str = "1h";

pub(super) fn rules(sheet: &Sheet<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    if let Some(share) = sheet.objective.goal.share() {
        rules.push(record(sheet, target(), "The target.", format!("vector({})", number(share)), &[]));
    }
    if sheet.is_growth() {
        rules.extend(levels(sheet));
    } else if !sheet.written() && sheet.counts_events() {
        rules.extend(totals(sheet));
    }
    if let Some(slice) = sheet.slice() {
        rules.push(slices(sheet, slice));
    }
    if !sheet.is_running() {
        rules.push(windows(sheet));
    }
    rules
}

pub(super) fn record(
    sheet: &Sheet<'_>,
    name: impl Into<String>,
    comment: &str,
    expression: String,
    more: &[(&str, &str)],
) -> Rule {
    let mut labels = sheet.labels();
    labels.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Rule { comment: comment.to_owned(), kind: RuleKind::Record(name.into()), expression, labels }
}

/// A counter as it stood some time ago, and as it was last seen before that.
struct Counter {
    now: String,
    before: String,
    /// The series behind it before that, whatever they say.
    known: String,
    /// Tells which series did not begin anew, when the counter's own difference does not.
    grew: Option<String>,
}

impl Counter {
    fn plain(selector: &str, ago: Duration, step: Duration) -> Self {
        let selector = selector.trim();
        let before = format!("last_over_time({selector}[{REACH}]{})", offset(ago + step));
        Self { now: format!("{selector}{}", offset(ago)), known: before.clone(), before, grew: None }
    }

    /// Observations of a native histogram, up to a bound or all. A histogram without observations has no fraction. A share
    /// is not exact, so that it may fall a little without a new beginning: the number of observations tells that.
    fn native(selector: &str, bound: Option<f64>, ago: Duration, step: Duration) -> Self {
        let Self { now, before, known, .. } = Self::plain(selector, ago, step);
        let count = |histogram: &str| format!("histogram_count({histogram})");
        let grew = bound.map(|_| format!("({} >= {})", count(&now), count(&before)));
        let counted = |histogram: &str| match bound {
            None => count(histogram),
            Some(bound) => {
                format!(
                    "(histogram_fraction(-Inf, {}, {histogram}) * {} >= 0)",
                    number(bound),
                    count(histogram)
                )
            }
        };
        Self { now: counted(&now), before: counted(&before), known, grew }
    }

    /// What each series grew by: the difference, or everything when it began anew or its sender was known without it.
    fn step(&self) -> String {
        let Self { now, before, known, grew } = self;
        let grown = match grew {
            None => format!("({now} - {before} >= 0)"),
            Some(grew) => format!("({now} - {before} and {grew})"),
        };
        format!("{grown}\nor ({now} and on (job, instance) {known})")
    }
}

/// The counters of the part that is counted and of all events.
fn counters(sheet: &Sheet<'_>) -> [(&'static str, Counter); 2] {
    let (ago, step) = (sheet.options.delay, sheet.options.interval);
    let plain = |query: &PromQuery| Counter::plain(&query.0, ago, step);
    match &*sheet.indicator {
        Indicator::AtMost { observations, bound } if is_classic(&observations.0) => {
            let bucket = narrowed(&observations.0, &bucket_matcher(*bound));
            let all = renamed(&observations.0, "_bucket", "_count");
            [("good", Counter::plain(&bucket, ago, step)), ("total", Counter::plain(&all, ago, step))]
        }
        Indicator::AtMost { observations, bound } => [
            ("good", Counter::native(&observations.0, Some(*bound), ago, step)),
            ("total", Counter::native(&observations.0, None, ago, step)),
        ],
        Indicator::Good { good: part, total } | Indicator::Bad { bad: part, total } => {
            [(sheet.side(), plain(part)), ("total", plain(total))]
        }
        other => [(sheet.side(), plain(other.total())), ("total", plain(other.total()))],
    }
}

fn totals(sheet: &Sheet<'_>) -> Vec<Rule> {
    if sheet.spikes {
        return group_totals(sheet);
    }
    let rule = |(result, counter): (&str, Counter)| {
        let matcher = format!(",{RESULT}=\"{result}\"");
        let last = sheet.own(RUNNING, &matcher);
        let expression =
            format!("sum(\n{}\nor last_over_time({last}[{REACH}])\nor vector(0)\n)", counter.step());
        let comment = match result {
            "total" => "All events since the rules began: the last total and what came since.",
            "good" => "The same of good events.",
            _ => "The same of bad events.",
        };
        record(sheet, RUNNING, comment, expression, &[(RESULT, result)])
    };
    let [part, total] = counters(sheet);
    vec![rule(total), rule(part)]
}

/// By groups, which the totals are the sums of: counters are read once.
fn group_totals(sheet: &Sheet<'_>) -> Vec<Rule> {
    let groups = group_labels(sheet).join(", ");
    let rule = |(result, counter): (&str, Counter)| {
        let last = sheet.own(GROUPS_RUNNING, &format!(",{RESULT}=\"{result}\""));
        // Every group has both series, whatever it has seen.
        let all = match result {
            "total" => String::new(),
            _ => format!("\nor 0 * {}", sheet.own(GROUPS_RUNNING, &format!(",{RESULT}=\"total\""))),
        };
        let expression =
            format!("sum by ({groups}) (\n{}\nor last_over_time({last}[{REACH}]){all}\n)", counter.step());
        let comment = match result {
            "total" => "All events since the rules began, by group: the last total and what came since.",
            "good" => "The same of good events.",
            _ => "The same of bad events.",
        };
        // The OpenSLO service is left out: the label is one that groups have of their own.
        let labels =
            vec![(SLO.to_owned(), sheet.objective.name.clone()), (RESULT.to_owned(), result.to_owned())];
        let kind = RuleKind::Record(GROUPS_RUNNING.to_owned());
        Rule { comment: comment.to_owned(), kind, expression, labels }
    };
    let [part, total] = counters(sheet);
    vec![rule(total), rule(part)]
}

/// Label names of the groups of the spike detector.
pub(super) fn group_labels(sheet: &Sheet<'_>) -> Vec<String> {
    let by = sheet.objective.alert.spike.iter().flat_map(|rule| &rule.by);
    by.map(|key| label_name(key)).collect()
}

/// A gauge, and where it began.
fn levels(sheet: &Sheet<'_>) -> Vec<Rule> {
    let level = query::level(sheet.indicator.total());
    let first = sheet.own(FIRST_LEVEL, "");
    vec![
        record(sheet, LEVEL, "The gauge.", level, &[]),
        record(
            sheet,
            FIRST_LEVEL,
            "Its first reading.",
            format!("max(last_over_time({first}[{REACH}]))\nor max({})", sheet.own(LEVEL, "")),
            &[],
        ),
    ]
}

/// Share of good events of the slice that ends now. Steps are those before the present one: a slice holds its first
/// moment and not its last.
fn slices(sheet: &Sheet<'_>, slice: Duration) -> Rule {
    let step = sheet.options.interval;
    let share = if cut_from_totals(sheet) {
        let grown = |result: &str| {
            let running = sheet.own(RUNNING, &format!(",{RESULT}=\"{result}\""));
            let end = format!("max({running}{})", offset(step));
            format!(
                "({end} - (max(last_over_time({running}[{REACH}] offset {})) or 0 * {end}))",
                span_text(slice + step)
            )
        };
        let ratio = format!("{}\n/ ({} > 0)", grown(sheet.side()), grown("total"));
        if sheet.side() == "good" {
            format!("clamp_max({ratio}, 1)")
        } else {
            format!("clamp_min(1 - {ratio}, 0)")
        }
    } else {
        query::slice_share(&sheet.indicator, slice).unwrap_or_default()
    };
    record(sheet, SLICE, "Share of good events of the slice that ends now.", share, &[])
}

/// Whether slices are differences of running totals.
fn cut_from_totals(sheet: &Sheet<'_>) -> bool {
    sheet.counts_events() && !sheet.written()
}

impl Counts {
    /// Of an expression that somebody wrote.
    pub(super) fn of_window(sheet: &Sheet<'_>, window: Duration) -> Self {
        query::events(&sheet.indicator, Span::last(window), &[]).unwrap_or_else(|| Self {
            side: query::Side::Good,
            part: String::new(),
            total: String::new(),
        })
    }
}

/// Events of windows, where they are not differences of running totals.
fn windows(sheet: &Sheet<'_>) -> Rule {
    let parts: Vec<String> = all_lengths(sheet).into_iter().map(|window| events_of(sheet, window)).collect();
    record(
        sheet,
        EVENTS,
        "Events per window, the parts apart from the whole.",
        parts.join("\nor "),
        &[(FAMILY, sheet.family)],
    )
}

/// Windows that are looked at, that of the budget among them, shortest first.
pub(super) fn all_lengths(sheet: &Sheet<'_>) -> Vec<Duration> {
    let mut lengths = sheet.lengths.clone();
    lengths.extend(sheet.budget);
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

fn labelled(text: &str, label: &str, value: &str) -> String {
    format!("label_replace({text}, \"{label}\", \"{value}\", \"\", \"\")")
}

fn events_of(sheet: &Sheet<'_>, window: Duration) -> String {
    let name = span_text(window);
    let two = |part: &str, side: &str, total: &str| {
        let part = labelled(&labelled(part, RESULT, side), WINDOW, &name);
        format!("{part}\nor {}", labelled(&labelled(total, RESULT, "total"), WINDOW, &name))
    };
    match &sheet.objective.goal {
        Goal::Growth { budget, .. } => {
            let (level, first) = (sheet.own(LEVEL, ""), sheet.own(FIRST_LEVEL, ""));
            let grown = format!(
                "clamp_min(max({level}) - (max(last_over_time({level}[{REACH}] offset {name})) or max({first})), 0)"
            );
            let pace = window.as_secs_f64() / sheet.objective.window.nominal().as_secs_f64();
            two(&grown, "bad", &format!("(vector({}) and on () {level})", number(budget * pace)))
        }
        Goal::Share { budgeting, .. } if *budgeting != Budgeting::Occurrences => {
            let share = sheet.own(SLICE, "");
            let length = sheet.slice().map_or(window, |slice| {
                Duration::from_secs(window.as_secs().next_multiple_of(slice.as_secs().max(1)))
            });
            // Counters are read late, so that a slice is known only then. Gauges are not.
            let late = if cut_from_totals(sheet) { sheet.options.delay } else { Duration::ZERO };
            match query::slices(&share, *budgeting, length, late) {
                Some(Counts { part, total, .. }) => two(&part, "good", &total),
                None => String::new(),
            }
        }
        _ if sheet.written() => {
            let Counts { part, total, .. } = Counts::of_window(sheet, window);
            two(&format!("({part} or vector(0))"), sheet.side(), &format!("({total} or vector(0))"))
        }
        _ => String::new(),
    }
}
