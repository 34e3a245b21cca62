//! Conditions of a family, each with the part that holds it while nothing is known, and an alert per condition of an
//! objective. Conditions are recorded where they are active, so that an alert costs next to nothing while all is well.

use super::names::{ACTIVE, BEGAN, CONDITION, EVENTS, FAMILY, RESULT, SERVICE, SLO, VERDICT, remaining};
use super::shared::{allowed, record};
use super::{Rule, RuleKind, Sheet, nearly, spike};
use crate::alert::{BREACH, DAY_CLEAR_FOR, DAY_SPEND, NO_DATA};
use crate::measure::DAY;
use crate::objective::{AlertTier, Goal, NoDataPolicy, Severity};
use crate::promql::name::quoted;
use crate::promql::query::number;
use crate::time::span_text;
use std::time::Duration;

/// How long a part must exceed the whole before somebody hears of it: two scrapes of one sender may be apart.
const OVERFLOW_FOR: Duration = Duration::from_secs(300);

const OVERFLOW: &str = "overflow";

/// What the alerts of a family ask for.
pub(super) fn conditions(family: &Sheet<'_>) -> Vec<Rule> {
    let mut rules = Vec::new();
    if family.objective.goal.allowed().is_some() && !family.objective.alert.tiers.is_empty() {
        rules.push(burn_active(family));
    }
    rules.extend(spike::active(family));
    rules.extend(day_spend_active(family));
    if has_overflow(family) {
        rules.push(overflow_active(family));
    }
    rules
}

/// The alerts of one objective.
pub(super) fn rules(sheet: &Sheet<'_>) -> Vec<Rule> {
    let alert = &sheet.objective.alert;
    let mut rules: Vec<Rule> = alert.tiers.iter().map(|tier| burn(sheet, tier)).collect();
    if let Goal::ZeroTolerance { hold, severity } = sheet.objective.goal {
        rules.push(breach(sheet, hold, severity));
    }
    rules.extend(spike::alert(sheet));
    rules.extend(day_spend(sheet));
    if let NoDataPolicy::Alert { after, severity } = alert.no_data {
        rules.push(no_data(sheet, after, severity));
    }
    if has_overflow(sheet) {
        rules.push(overflow(sheet));
    }
    rules
}

fn has_overflow(sheet: &Sheet<'_>) -> bool {
    !sheet.is_growth() && sheet.slice().is_none()
}

/// What an alert is made of besides its expression.
pub(super) struct Frame<'a> {
    pub(super) name: &'static str,
    pub(super) condition: &'a str,
    pub(super) severity: Severity,
    pub(super) pending_for: Duration,
    pub(super) clear_for: Duration,
    pub(super) comment: &'a str,
    pub(super) summary: String,
}

impl Frame<'_> {
    pub(super) fn rule(self, sheet: &Sheet<'_>, expression: String) -> Rule {
        let mut labels = sheet.labels();
        labels.push((CONDITION.to_owned(), self.condition.to_owned()));
        labels.push(("severity".to_owned(), self.severity.to_string()));
        let objective = sheet.objective;
        let mut annotations = vec![("summary".to_owned(), self.summary)];
        if !objective.description.is_empty() {
            annotations.push(("description".to_owned(), literal(&objective.description)));
        }
        let links = [("runbook_url", &objective.runbook), ("dashboard_url", &objective.dashboard)];
        for (key, link) in links {
            annotations.extend(link.iter().map(|link| (key.to_owned(), literal(link))));
        }
        let kind = RuleKind::Alert {
            name: self.name.to_owned(),
            pending_for: self.pending_for,
            clear_for: self.clear_for,
            annotations,
        };
        Rule { comment: self.comment.to_owned(), kind, expression, labels }
    }

    /// The alert that asks whether its condition was recorded.
    pub(super) fn asking(self, sheet: &Sheet<'_>) -> Rule {
        let condition = sheet.own(ACTIVE, &format!(",{CONDITION}={}", quoted(self.condition)));
        let expression = format!("max without ({FAMILY}) ({condition})");
        self.rule(sheet, expression)
    }
}

/// Series of an alert while it fires.
pub(super) fn firing(family: &Sheet<'_>, name: &str) -> String {
    family.own("ALERTS", &format!(",alertname=\"{name}\",alertstate=\"firing\""))
}

const BURN_RATE_ALERT: &str = "PqscopeSloBurnRate";
const DAY_SPEND_ALERT: &str = "PqscopeSloDaySpend";

/// Active, or firing and not clear: both give one sample per window pair, so that it stays the same alert.
fn burn_active(family: &Sheet<'_>) -> Rule {
    let verdict = family.shared(VERDICT, "");
    let by = format!("({SLO}, {CONDITION})");
    let expression = format!(
        "max by {by} (\n{verdict} == 2\nor on {by} ({} unless on {by} ({verdict} == 0))\n)",
        firing(family, BURN_RATE_ALERT)
    );
    record(family, ACTIVE, "Window pairs that are active, or fire and are not clear.", expression, &[])
}

/// Text of people within a template.
fn literal(text: &str) -> String {
    text.replace("{{", "{ {")
}

fn title(sheet: &Sheet<'_>) -> String {
    literal(&sheet.objective.title)
}

fn burn(sheet: &Sheet<'_>, tier: &AlertTier) -> Rule {
    let alert = &sheet.objective.alert;
    let name = tier.name();
    let frame = Frame {
        name: BURN_RATE_ALERT,
        condition: &name,
        severity: tier.severity,
        pending_for: tier.pending_for,
        clear_for: alert.clear_for,
        comment: "Both windows burn at the factor or faster, on enough events.",
        summary: format!(
            "{}: the budget burns {} times as fast as it lasts, over {} and {}",
            title(sheet),
            number((tier.factor * 100.0).round() / 100.0),
            span_text(tier.long),
            span_text(tier.short)
        ),
    };
    frame.asking(sheet)
}

fn breach(sheet: &Sheet<'_>, hold: Duration, severity: Severity) -> Rule {
    let frame = Frame {
        name: "PqscopeSloBreach",
        condition: BREACH,
        severity,
        pending_for: Duration::ZERO,
        clear_for: Duration::ZERO,
        comment: "One bad event is enough. It stays in the window for as long as it is to be seen.",
        summary: format!("{}: an event that must not happen", title(sheet)),
    };
    let expression = format!("max({} > 0)", sheet.bad(hold));
    frame.rule(sheet, expression)
}

/// What decides about a day's spend: the share, the window of the budget, and the shortest window of all pairs.
fn day_rule(sheet: &Sheet<'_>) -> Option<(f64, Duration, Duration)> {
    let alert = &sheet.objective.alert;
    sheet.objective.goal.allowed()?;
    let shortest = alert.tiers.iter().map(|tier| tier.short).min()?;
    Some((alert.day_share?, sheet.budget?, shortest))
}

/// Spend against the budget of a whole window; while that is not full yet, its events are taken to go on as they came.
fn day_spend_active(family: &Sheet<'_>) -> Option<Rule> {
    let (share, window, shortest) = day_rule(family)?;
    let alert = &family.objective.alert;
    let on = format!("on ({SLO})");
    let (short, bad) = (family.burn(shortest), family.bad(DAY));
    let limit = match family.objective.goal {
        Goal::Growth { .. } => nearly(share),
        _ => format!("{} * {}", nearly(share), allowed(family)),
    };
    let expression = format!(
        "{bad} >= {on} ({limit} * {on} {} * {on} clamp_min({} / clamp_min(time() - {}, 1), 1))\n\
         and {on} {short} >= {}\nand {on} {} >= {}\nand {on} {bad} >= {}\n\
         or {on} (max by ({SLO}) ({}) unless {on} {short} < {})",
        family.events(window, "total"),
        window.as_secs(),
        family.shared(BEGAN, ""),
        nearly(1.0),
        family.events(DAY, "total"),
        alert.least_events,
        alert.least_bad,
        firing(family, DAY_SPEND_ALERT),
        nearly(1.0)
    );
    let comment = "A large part of the budget went within a day and it still burns, or the alert fires and is not clear.";
    Some(record(family, ACTIVE, comment, expression, &[(CONDITION, DAY_SPEND)]))
}

fn day_spend(sheet: &Sheet<'_>) -> Option<Rule> {
    let (share, ..) = day_rule(sheet)?;
    let frame = Frame {
        name: DAY_SPEND_ALERT,
        condition: DAY_SPEND,
        severity: Severity::Ticket,
        pending_for: Duration::ZERO,
        clear_for: DAY_CLEAR_FOR,
        comment: "A large part of the budget went within a day: a reason to look at recent changes, not another page.",
        summary: format!(
            "{}: {} % of the budget went within a day; {{{{ with query {} }}}}{{{{ . | first | value | humanizePercentage }}}} is left{{{{ end }}}}",
            title(sheet),
            number((share * 1e6).round() / 1e4),
            go_literal(&sheet.own(&remaining(), ""))
        ),
    };
    Some(frame.asking(sheet))
}

/// A string literal of Go's templates.
fn go_literal(text: &str) -> String {
    if text.contains('`') { quoted(text) } else { format!("`{text}`") }
}

fn no_data(sheet: &Sheet<'_>, after: Duration, severity: Severity) -> Rule {
    let shortest = sheet.lengths.first().copied().unwrap_or_default();
    let frame = Frame {
        name: "PqscopeSloNoData",
        condition: NO_DATA,
        severity,
        // There was none for as long as the shortest window already.
        pending_for: after.saturating_sub(shortest),
        clear_for: sheet.objective.alert.clear_for,
        comment: "No events in the shortest window.",
        summary: format!("{}: no data, so nothing is known of it", title(sheet)),
    };
    let expression = format!("vector(1) unless on () ({} > 0)", sheet.events(shortest, "total"));
    frame.rule(sheet, expression)
}

fn overflow(sheet: &Sheet<'_>) -> Rule {
    let frame = Frame {
        name: "PqscopeSloOverflow",
        condition: OVERFLOW,
        severity: Severity::Ticket,
        pending_for: OVERFLOW_FOR,
        clear_for: sheet.objective.alert.clear_for,
        comment: "A part exceeds the whole: the selectors do not fit each other, and no burn rate can be trusted.",
        summary: format!("{}: more {} events than events", title(sheet), sheet.side()),
    };
    frame.asking(sheet)
}

fn overflow_active(family: &Sheet<'_>) -> Rule {
    let of = |result: &str| family.shared(EVENTS, &format!(",{RESULT}=\"{result}\""));
    let expression =
        format!("max by ({SLO}) ({} > ignoring ({RESULT}) 1.000000001 * {})", of(family.side()), of("total"));
    record(family, ACTIVE, "A part exceeds the whole.", expression, &[(CONDITION, OVERFLOW)])
}

/// Labels that every alert has of its own.
pub(super) const TAKEN: [&str; 9] =
    [SLO, FAMILY, SERVICE, CONDITION, RESULT, super::names::WINDOW, "severity", "alertname", "alertstate"];
