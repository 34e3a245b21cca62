//! The card of one objective.

use super::format::{burn, events as amount, percent, span_in_words, target};
use super::{Tone, ago, chart, links};
use crate::keeper::{ObjectiveView, View};
use maud::{Markup, html};
use pqscope_slo_core::alert::Phase;
use pqscope_slo_core::evaluation::{ObjectiveState, TierReading, Verdict, WindowReading};
use pqscope_slo_core::objective::{AlertTier, Budgeting, Goal, Objective, Severity, Sli, with_prefix};
use pqscope_slo_core::time::{Timestamp, span_text};

/// The state as a colour and a word.
pub(super) fn state_in_words(slo: &ObjectiveView) -> (Tone, &'static str) {
    let wakes = |tier: &TierReading| tier.verdict == Verdict::Active && tier.tier.severity == Severity::Page;
    let wakes_on_breach = matches!(slo.objective.goal, Goal::ZeroTolerance { severity: Severity::Page, .. });
    let spikes = slo.evaluation.spikes.iter().any(|reading| reading.spike);
    match slo.evaluation.state {
        ObjectiveState::Exhausted | ObjectiveState::Ok | ObjectiveState::InsufficientData
            if slo.objective.is_quiet() =>
        {
            (Tone::Quiet, "for information")
        }
        ObjectiveState::Burning if wakes_on_breach || spikes => (Tone::Critical, "burning"),
        ObjectiveState::Exhausted if matches!(slo.objective.goal, Goal::ZeroTolerance { .. }) => {
            (Tone::Warning, "missed")
        }
        ObjectiveState::Ok => (Tone::Good, "ok"),
        ObjectiveState::NoData => (Tone::Quiet, "no data"),
        ObjectiveState::InsufficientData => (Tone::Quiet, "too little data"),
        ObjectiveState::Burning if slo.evaluation.tiers.iter().any(wakes) => (Tone::Critical, "burning"),
        ObjectiveState::Burning => (Tone::Warning, "burning slowly"),
        ObjectiveState::Exhausted => (Tone::Critical, "budget spent"),
        ObjectiveState::Overflowed => (Tone::Warning, "bad data"),
    }
}

/// Whether nothing has arrived for an objective, and nothing is open.
pub(super) fn is_silent(slo: &ObjectiveView) -> bool {
    slo.evaluation.state == ObjectiveState::NoData
        && slo.evaluation.fault.is_none()
        && slo.alert.phase == Phase::Inactive
}

/// Names the objectives that wait for their first data, in a few lines.
pub(super) fn silent(view: &View) -> Markup {
    let silent: Vec<&ObjectiveView> = view.objectives.iter().filter(|slo| is_silent(slo)).collect();
    html! {
        @if !silent.is_empty() {
            p.silent {
                "Waiting for their first data: "
                @for (position, slo) in silent.iter().take(MOST_NAMES).enumerate() {
                    @if position > 0 { ", " }
                    span title=(slo.objective.name) { (slo.objective.title) }
                }
                @if silent.len() > MOST_NAMES { " and " (silent.len() - MOST_NAMES) " more" }
                ". Absent is not good: they say nothing until somebody reports."
            }
        }
    }
}

/// Names in the list of objectives without data.
const MOST_NAMES: usize = 50;

/// Draws an objective.
pub(super) fn card(slo: &ObjectiveView, now: Timestamp) -> Markup {
    let (tone, word) = state_in_words(slo);
    let objective = &slo.objective;
    html! {
        article.card.(tone.class()) {
            header {
                div {
                    h3 { (objective.title) }
                    p.name { code { (objective.name) } @if !objective.service.is_empty() { " · " (objective.service) } }
                }
                span.badge.(tone.class()) { (word) }
            }
            div.figures {
                (budget(slo))
                div.figure {
                    span.caption { "Objective" }
                    span.number { (goal_in_figures(objective)) }
                    span.detail { (goal_detail(objective)) " over " (objective.window_text()) }
                }
                (events(slo, now))
            }
            (burn_rates(slo))
            (drawing(slo, now))
            (remark(slo, now))
            (links(slo))
        }
    }
}

fn budget(slo: &ObjectiveView) -> Markup {
    let budget = &slo.evaluation.budget;
    if let Goal::ZeroTolerance { .. } = slo.objective.goal {
        return html! {
            div.figure.budget {
                span.caption { "Bad events" }
                span.number { (amount(budget.tally.bad)) }
                span.detail { "one is a breach: there is no budget" }
            }
        };
    }
    let caption = match slo.objective.goal {
        Goal::Growth { .. } => "Growth left",
        _ => "Error budget left",
    };
    html! {
        div.figure.budget {
            span.caption { (caption) }
            @match budget.remaining {
                None => {
                    span.number.unknown { "–" }
                    span.detail { "not known before the first events" }
                }
                Some(remaining) => {
                    span.number { (percent(remaining.max(0.0))) }
                    svg.bar viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true" {
                        rect.track width="100" height="4" {}
                        rect.(bar_tone(remaining).class()) width=(format!("{:.1}", remaining.clamp(0.0, 1.0) * 100.0)) height="4" {}
                    }
                    span.detail { (exhaustion(slo, remaining)) }
                }
            }
        }
    }
}

fn bar_tone(remaining: f64) -> Tone {
    match remaining {
        left if left >= 0.5 => Tone::Good,
        left if left >= 0.2 => Tone::Warning,
        _ => Tone::Critical,
    }
}

fn exhaustion(slo: &ObjectiveView, remaining: f64) -> String {
    if remaining <= 0.0 {
        let spent = 1.0 - remaining;
        return if spent < 1.05 { "spent".to_owned() } else { format!("spent {} over", burn(spent)) };
    }
    match slo.evaluation.budget.exhaustion {
        Some(span) => format!("gone in {} at this rate", span_in_words(span)),
        None => "not being spent".to_owned(),
    }
}

fn events(slo: &ObjectiveView, now: Timestamp) -> Markup {
    let tally = slo.evaluation.budget.tally;
    if let Goal::Growth { .. } = slo.objective.goal {
        return html! {
            div.figure {
                span.caption { "Grown" }
                span.number { (with_prefix(tally.bad)) }
                span.detail {
                    @if let Some(level) = slo.evaluation.level { "to " (with_prefix(level.value)) }
                    @if let Some(full) = slo.evaluation.full_in { ", full in " (span_in_words(full)) }
                }
            }
        };
    }
    html! {
        div.figure {
            span.caption { "Events" }
            span.number { (amount(tally.total)) }
            span.detail {
                (amount(tally.bad)) " bad"
                @if let Some(heard) = slo.last_heard { span title=(heard) { ", heard " (ago(heard, now)) } }
            }
        }
    }
}

fn burn_rates(slo: &ObjectiveView) -> Markup {
    html! {
        ul.burns aria-label="Burn rates" {
            @for reading in &slo.evaluation.windows {
                @let reached = highest_reached(slo, reading);
                li.burn.(reached.map_or("", |tier| Tone::of_severity(tier.severity).class())) title=(explain(slo, reading)) {
                    span.window { (span_text(reading.length)) }
                    span.rate { @match reading.burn { Some(rate) => (burn(rate)), None => "–" } }
                }
            }
        }
    }
}

/// The most severe tier whose factor the burn rate of a window reaches.
fn highest_reached<'a>(slo: &'a ObjectiveView, reading: &WindowReading) -> Option<&'a AlertTier> {
    let rate = reading.burn?;
    tiers_of(slo, reading).filter(|tier| rate >= tier.factor).max_by_key(|tier| tier.severity)
}

fn tiers_of<'a>(slo: &'a ObjectiveView, reading: &WindowReading) -> impl Iterator<Item = &'a AlertTier> {
    let length = reading.length;
    slo.objective.alert.tiers.iter().filter(move |tier| tier.long == length || tier.short == length)
}

fn explain(slo: &ObjectiveView, reading: &WindowReading) -> String {
    let mut text = format!("{} of {} events bad", amount(reading.tally.bad), amount(reading.tally.total));
    for tier in tiers_of(slo, reading) {
        text.push_str(&format!("; {} at {} over {}", tier.severity, burn(tier.factor), tier.name()));
    }
    text
}

fn drawing(slo: &ObjectiveView, now: Timestamp) -> Markup {
    let pages = slo.objective.alert.tiers.iter().filter(|tier| tier.severity == Severity::Page);
    let threshold = pages
        .filter_map(|tier| slo.objective.goal.allowed().map(|allowed| tier.factor * allowed))
        .fold(None, |least: Option<f64>, next| Some(least.map_or(next, |least| least.max(next))));
    let has_events = slo.chart.iter().any(|point| !point.tally.is_empty());
    html! {
        figure {
            @if has_events {
                (chart::error_ratio(&slo.chart, threshold, now))
                figcaption {
                    "Share of bad events over time"
                    @if let Some(threshold) = threshold { " · dashed: pages at " (percent(threshold)) }
                }
            } @else {
                p.empty { "No events lately." }
            }
        }
    }
}

/// The goal as a number.
fn goal_in_figures(objective: &Objective) -> String {
    match objective.goal {
        Goal::Share { target: share, .. } => target(share.share()),
        Goal::ZeroTolerance { .. } => "every one".to_owned(),
        Goal::Growth { budget, .. } => format!("+{}", with_prefix(budget)),
    }
}

const fn goal_detail(objective: &Objective) -> &'static str {
    match objective.goal {
        Goal::Share { budgeting: Budgeting::Occurrences, .. } => "good",
        Goal::Share { budgeting: Budgeting::Timeslices { .. }, .. } => "of the time slices good",
        Goal::Share { budgeting: Budgeting::RatioTimeslices { .. }, .. } => "good on average of time slices",
        Goal::ZeroTolerance { .. } => "must be good",
        Goal::Growth { .. } => "at most",
    }
}

/// Where the numbers come from.
fn source_of(slo: &ObjectiveView) -> String {
    match &slo.objective.sli {
        Sli::Embedded(indicator) => indicator.total().metric.clone(),
        Sli::Prometheus { source, .. } => format!("the data source {}", source.name),
    }
}

/// What the figures cannot say.
fn remark(slo: &ObjectiveView, now: Timestamp) -> Markup {
    let text = match (slo.evaluation.state, slo.alert.phase) {
        (_, Phase::Pending { since, severity }) => {
            Some(format!("A {severity} is pending for {}.", span_in_words(now.since(since))))
        }
        (ObjectiveState::NoData, _) => Some(format!(
            "No event of {} has arrived yet. Absent is not good: this objective says nothing until somebody reports.",
            source_of(slo)
        )),
        (ObjectiveState::InsufficientData, _) => {
            Some("Too few events to judge; the burn rates are shown, nobody is paged for them.".to_owned())
        }
        (ObjectiveState::Overflowed, _) => Some(
            "There are more good events than events, or a sender folded attributes away; check the selectors and the sender's limits."
                .to_owned(),
        ),
        (_, Phase::Resolved { at, .. }) => Some(format!("The last incident was over {}.", ago(at, now))),
        _ => None,
    };
    html! { @if let Some(text) = text { p.remark { (text) } } }
}
