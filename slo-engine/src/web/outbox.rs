//! Who was told what, and what happened.

use super::format::{ago, span_in_words};
use super::{Tone, View};
use crate::notify::{DeliveryFigures, OutboxRow, Progress, Standing};
use maud::{Markup, html};
use pqscope_slo_core::time::Timestamp;

const SHOWN: usize = 10;

/// The last notifications, or what to do to get some.
pub(super) fn notifications(view: &View, deliveries: &DeliveryFigures, now: Timestamp) -> Markup {
    html! {
        section aria-label="Notifications" {
            h2 { "Notifications" }
            @if view.receivers.is_empty() {
                p.empty { "Nobody is told: start the engine with " code { "--webhook URL" } "." }
            } @else if view.notifications.is_empty() {
                p.empty { "None so far. They go to " (view.receivers.join(", ")) "." }
            }
            @if !view.notifications.is_empty() {
                ol.log {
                    @for row in view.notifications.iter().take(SHOWN) {
                        (notification(row, deliveries.progress.get(&row.number), now))
                    }
                }
            }
        }
    }
}

fn notification(row: &OutboxRow, progress: Option<&Progress>, now: Timestamp) -> Markup {
    let tone = match (row.event.as_str(), &row.standing) {
        (_, Standing::Dead { .. }) => Tone::Warning,
        ("resolved" | "withdrawn", _) => Tone::Good,
        _ => Tone::of_severity(row.severity),
    };
    html! {
        li {
            span.when title=(row.created) { (ago(row.created, now)) }
            span.badge.(tone.class()) { (row.event) }
            span.what { (row.summary) }
            span.fate { (fate(row, progress, now)) " · " (row.receiver) }
        }
    }
}

fn fate(row: &OutboxRow, progress: Option<&Progress>, now: Timestamp) -> String {
    match (&row.standing, progress) {
        (Standing::Sent { attempts: 0 | 1, .. }, _) => "delivered".to_owned(),
        (Standing::Sent { attempts, .. }, _) => format!("delivered at try {attempts}"),
        (Standing::Dead { reason, .. }, _) => format!("not deliverable: {reason}"),
        (Standing::Waiting, None) => "on its way".to_owned(),
        (Standing::Waiting, Some(progress)) => format!(
            "tried {}, next in {}: {}",
            if progress.attempts == 1 { "once".to_owned() } else { format!("{} times", progress.attempts) },
            span_in_words(progress.next.since(now)),
            progress.reason
        ),
    }
}

/// The last transitions.
pub(super) fn history(view: &View, now: Timestamp) -> Markup {
    html! {
        @if !view.transitions.is_empty() {
            section aria-label="History" {
                h2 { "History" }
                ol.log {
                    @for transition in view.transitions.iter().take(SHOWN) {
                        li {
                            span.when title=(transition.at) { (ago(transition.at, now)) }
                            span.badge.quiet { (transition.kind.word()) }
                            span.what { code { (transition.objective) } }
                            span.fate { (transition.severity) }
                        }
                    }
                }
            }
        }
    }
}
