//! The engine's own page: what is on fire, how much budget each objective has left, whom that was told. Rendered on the
//! server from a view; needs no script, fits a phone, follows the reader's choice of light or dark. Everything that
//! came over the wire is escaped by the template.

mod chart;
mod format;
mod objective;
mod outbox;

use crate::keeper::{ObjectiveView, View};
use crate::notify::DeliveryFigures;
use format::{ago, count, size, span_in_words};
use maud::{DOCTYPE, Markup, html};
use pqscope_slo_core::alert::Phase;
use pqscope_slo_core::evaluation::ObjectiveState;
use pqscope_slo_core::objective::Severity;
use pqscope_slo_core::time::Timestamp;

/// The style sheet of the page.
pub(crate) const STYLE: &str = include_str!("style.css");

/// Seconds after which the browser asks again.
const REFRESH_SECONDS: u64 = 10;

/// How the page and its parts are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tone {
    Quiet,
    Good,
    Warning,
    Critical,
}

impl Tone {
    const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Quiet => "quiet",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    const fn of_severity(severity: Severity) -> Self {
        match severity {
            Severity::Page => Self::Critical,
            Severity::Ticket => Self::Warning,
        }
    }
}

/// The page.
pub(crate) fn page(view: &View, deliveries: &DeliveryFigures, now: Timestamp) -> Markup {
    let (tone, verdict) = verdict(view);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="refresh" content=(REFRESH_SECONDS);
                title { (verdict) " · pqscope" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/style.css";
            }
            body {
                header.top {
                    div.brand { span.mark { "pq" } "scope" }
                    p.overall.(tone.class()) { span.dot {} (verdict) }
                    p.freshness title=(view.at) {
                        "evaluated " (ago(view.at, now)) ", every " (pqscope_slo_core::time::span_text(view.evaluation_interval))
                    }
                }
                main {
                    @for notice in &view.notices {
                        div.notice role="status" { strong { (notice.at) } " " (notice.text) }
                    }
                    (firing(view, now))
                    section aria-label="Objectives" {
                        h2 { "Objectives" }
                        div.cards {
                            @for slo in worst_first(view) { (objective::card(slo, now)) }
                        }
                        (objective::silent(view))
                    }
                    (outbox::notifications(view, deliveries, now))
                    (outbox::history(view, now))
                }
                (footer(view, now))
            }
        }
    }
}

/// The state of everything in a few words.
fn verdict(view: &View) -> (Tone, String) {
    let firing = |severity| {
        let fires = |slo: &&ObjectiveView| matches!(slo.alert.phase, Phase::Firing(incident) if incident.severity == severity);
        view.objectives.iter().filter(fires).count()
    };
    let some = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
    let (pages, tickets) = (firing(Severity::Page), firing(Severity::Ticket));
    if !view.store.healthy && view.evaluations > 0 {
        return (Tone::Critical, "State cannot be written".to_owned());
    }
    if pages > 0 {
        return (Tone::Critical, format!("{} firing", some(pages, "page")));
    }
    if tickets > 0 {
        return (Tone::Warning, format!("{} firing", some(tickets, "ticket")));
    }
    if view.objectives.iter().all(|slo| slo.evaluation.state == ObjectiveState::NoData) {
        return (Tone::Quiet, "Waiting for data".to_owned());
    }
    let worst =
        view.objectives.iter().map(|slo| objective::state_in_words(slo).0).max().unwrap_or(Tone::Quiet);
    match worst {
        Tone::Good | Tone::Quiet => (Tone::Good, "Within objectives".to_owned()),
        Tone::Warning | Tone::Critical => (worst, "Objectives at risk".to_owned()),
    }
}

/// Cards on the page; beyond so many nobody looks at all of them, and `/api/v1/slos` has the rest.
const MOST_CARDS: usize = 200;

fn worst_first(view: &View) -> Vec<&ObjectiveView> {
    let mut objectives: Vec<&ObjectiveView> =
        view.objectives.iter().filter(|slo| !objective::is_silent(slo)).collect();
    objectives.sort_by_key(|slo| std::cmp::Reverse(objective::state_in_words(slo).0));
    objectives.truncate(MOST_CARDS);
    objectives
}

fn firing(view: &View, now: Timestamp) -> Markup {
    let open: Vec<_> = view
        .objectives
        .iter()
        .filter_map(|slo| match slo.alert.phase {
            Phase::Firing(incident) => Some((slo, incident)),
            _ => None,
        })
        .collect();
    html! {
        @if !open.is_empty() {
            section aria-label="Firing alerts" {
                h2 { "Firing" }
                @for (slo, incident) in open {
                    article.alert.(Tone::of_severity(incident.severity).class()) {
                        header {
                            span.badge { (incident.severity) }
                            h3 { (slo.objective.title) }
                            span.since title=(incident.started) { "since " (span_in_words(now.since(incident.started))) }
                        }
                        @if let Some(row) = view.notifications.iter().find(|row| row.objective == slo.objective.name) {
                            p { (row.summary) }
                        }
                        @if !slo.evaluation.causes.is_empty() {
                            p.causes {
                                "Causes: "
                                @for cause in &slo.evaluation.causes {
                                    span.cause { code { (cause.value) } " " (count(cause.count)) }
                                }
                            }
                        }
                        (links(slo))
                    }
                }
            }
        }
    }
}

/// Links of an objective; only web addresses become links, anything else stays text.
fn links(slo: &ObjectiveView) -> Markup {
    let targets = [("Runbook", &slo.objective.runbook), ("Dashboard", &slo.objective.dashboard)];
    html! {
        @for (name, target) in targets {
            @if let Some(target) = target {
                @if target.starts_with("https://") || target.starts_with("http://") {
                    a.link href=(target) rel="noreferrer" { (name) }
                } @else {
                    span.link { (name) ": " (target) }
                }
            }
        }
    }
}

fn footer(view: &View, now: Timestamp) -> Markup {
    let sum = |taken: bool| -> u64 {
        let words =
            ["counted", "reset", "baseline", "duplicate", "out_of_order", "no_recorded_value", "ignored"];
        view.points.iter().filter(|(word, _)| words.contains(word) == taken).map(|(_, count)| count).sum()
    };
    html! {
        footer {
            p {
                "pqscope-slo " (env!("CARGO_PKG_VERSION")) " · up " (span_in_words(now.since(view.started)))
                " · " (count(sum(true))) " points received, " (count(sum(false))) " refused"
                " · " (count(view.series as u64)) " series · state " (size(view.store.size_bytes))
            }
            p {
                a href="/api/v1/slos" { "objectives as JSON" } " · "
                a href="/api/v1/alerts" { "alerts as JSON" } " · "
                a href="/metrics" { "metrics" }
            }
        }
    }
}

#[cfg(test)]
mod tests;
