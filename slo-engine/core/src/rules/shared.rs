//! What the objectives of a family have in common: every rule makes the series of all of them.

use super::counting::{REACH, all_lengths};
use super::names::{
    BEGAN, CONDITION, EVENTS, GROUPS_RUNNING, RESULT, RUNNING, SERVICE, SLICE, SLO, VERDICT, WINDOW, burn,
    remaining, target,
};
use super::{Rule, RuleKind, Sheet, nearly};
use crate::objective::AlertTier;
use crate::promql::query::number;
use crate::time::span_text;
use std::time::Duration;

pub(super) fn rules(family: &Sheet<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    if family.spikes {
        let sum = format!("sum by ({SLO}, {RESULT}) ({})", family.own(GROUPS_RUNNING, ""));
        rules.push(record(family, RUNNING, "Events of all groups since the rules began.", sum, &[]));
    }
    if !family.is_growth() {
        rules.push(began(family));
    }
    if family.is_running() {
        rules.extend(all_lengths(family).into_iter().map(|window| events(family, window)));
    }
    if family.objective.goal.allowed().is_some() {
        rules.push(burns(family));
        rules.extend(family.budget.map(|length| budget(family, length)));
        rules.extend(family.objective.alert.tiers.iter().map(|tier| verdict(family, tier)));
    }
    rules
}

pub(super) fn record(
    family: &Sheet<'_>,
    name: impl Into<String>,
    comment: &str,
    expression: String,
    more: &[(&str, &str)],
) -> Rule {
    let labels = family.shared_labels(more);
    Rule { comment: comment.to_owned(), kind: RuleKind::Record(name.into()), expression, labels }
}

fn began(family: &Sheet<'_>) -> Rule {
    let first = if family.slice().is_some() {
        family.own(SLICE, "")
    } else if family.written() {
        let shortest = family.lengths.first().copied().unwrap_or_default();
        format!("{} > 0", family.events(shortest, "total"))
    } else {
        format!("{} > 0", running(family, &format!(",{RESULT}=\"total\"")))
    };
    let last = family.own(BEGAN, "");
    let expression = format!(
        "max by ({SLO}) (last_over_time({last}[{REACH}]))\nor on ({SLO}) group by ({SLO}) ({first}) * time()"
    );
    record(family, BEGAN, "When the first event was counted.", expression, &[])
}

/// The running totals. Those that are sums of groups bear the family, the others are an objective's own.
fn running(family: &Sheet<'_>, more: &str) -> String {
    if family.spikes { family.shared(RUNNING, more) } else { family.own(RUNNING, more) }
}

/// The running totals less what they were when the window began; all of them where that was before their time.
fn events(family: &Sheet<'_>, window: Duration) -> Rule {
    let now = running(family, "");
    let then = family.own(RUNNING, "");
    let name = span_text(window);
    let expression = format!(
        "{now} - on ({SLO}, {RESULT}) (max by ({SLO}, {RESULT}) (last_over_time({then}[{REACH}] offset {name})) and on ({SLO}) ({} <= time() - {}))\n\
         or on ({SLO}, {RESULT}) max by ({SLO}, {RESULT}) ({now})",
        family.shared(BEGAN, ""),
        window.as_secs()
    );
    let comment = format!("Events of {name}, the parts apart from the whole.");
    record(family, EVENTS, &comment, expression, &[(WINDOW, &name)])
}

/// The share that an objective allows to be bad.
pub(super) fn allowed(family: &Sheet<'_>) -> String {
    format!("(1 - {})", family.own(&target(), ""))
}

/// Shares of bad events over the share that is allowed. No comparison lets 0/0 through, nor what exceeds the whole.
fn burns(family: &Sheet<'_>) -> Rule {
    let of = |result: &str| family.shared(EVENTS, &format!(",{RESULT}=\"{result}\""));
    let share =
        |part: &str, bound: &str| format!("({} / ignoring ({RESULT}) {} {bound})", of(part), of("total"));
    let expression = if family.is_growth() {
        share("bad", ">= 0")
    } else {
        let bad = if family.good_is_counted() {
            format!("clamp_min(1 - {}, 0)", share("good", "<= 1.000000001"))
        } else {
            share("bad", "<= 1.000000001")
        };
        format!("{bad}\n/ on ({SLO}) group_left ({SERVICE}) {}", allowed(family))
    };
    let comment = "Burn rates; none without events, and none where a part exceeds the whole.";
    let service = [(SERVICE, family.objective.service.as_str())];
    let more: &[_] = if family.is_growth() { &service } else { &[] };
    record(family, burn(), comment, expression, more)
}

fn budget(family: &Sheet<'_>, length: Duration) -> Rule {
    let expression = format!("max by ({SLO}, {SERVICE}) (1 - {})", family.burn(length));
    record(family, remaining(), "The part of the error budget that is left.", expression, &[])
}

/// A window pair: both windows burn, one does not, or one says nothing; then whether there were enough events in the long
/// one.
fn verdict(family: &Sheet<'_>, tier: &AlertTier) -> Rule {
    let alert = &family.objective.alert;
    let factor = nearly(tier.factor);
    let burning = format!(
        "({} >= bool {factor}) * on ({SLO}) ({} >= bool {factor})",
        family.burn(tier.long),
        family.burn(tier.short)
    );
    let expression = if family.is_growth() {
        format!("2 * {burning}")
    } else {
        format!(
            "{burning}\n* on ({SLO}) (1 + ({} >= bool {}) * on ({SLO}) ({} >= bool {}))",
            family.events(tier.long, "total"),
            alert.least_events,
            family.bad(tier.long),
            alert.least_bad
        )
    };
    let comment = format!(
        "Whether both windows burn at the factor {} or faster: 2 active, 1 too few events, 0 clear; nothing \
         without data.",
        number((tier.factor * 100.0).round() / 100.0)
    );
    record(family, VERDICT, &comment, expression, &[(CONDITION, &tier.name())])
}
