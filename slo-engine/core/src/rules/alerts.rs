//! An alert per condition of an objective, each with the part that holds it while nothing is known.

use super::names::{BEGAN, CONDITION, EVENTS, RESULT, SERVICE, SLO, VERDICT, remaining};
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

pub(super) fn rules(sheet: &Sheet<'_>) -> Vec<Rule> {
    let alert = &sheet.objective.alert;
    let mut rules: Vec<Rule> = alert.tiers.iter().map(|tier| burn(sheet, tier)).collect();
    if let Goal::ZeroTolerance { hold, severity } = sheet.objective.goal {
        rules.push(breach(sheet, hold, severity));
    }
    rules.extend(spike::alert(sheet));
    if let (Some(share), Some(allowed), Some(window)) =
        (alert.day_share, sheet.objective.goal.allowed(), sheet.budget)
    {
        rules.extend(day_spend(sheet, share, allowed, window));
    }
    if let NoDataPolicy::Alert { after, severity } = alert.no_data {
        rules.push(no_data(sheet, after, severity));
    }
    if !sheet.is_growth() && sheet.slice().is_none() {
        rules.push(overflow(sheet));
    }
    rules
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

    /// The alert's own series while it fires.
    pub(super) fn firing(&self, sheet: &Sheet<'_>) -> String {
        let more = format!(
            ",alertname=\"{}\",alertstate=\"firing\",{CONDITION}={}",
            self.name,
            quoted(self.condition)
        );
        sheet.own("ALERTS", &more)
    }

    /// Active, or firing and not clear. Both give one sample without labels, so that it stays the same alert.
    fn held(&self, sheet: &Sheet<'_>, active: &str, clear: &str) -> String {
        format!("max(\n{active}\n)\nor (max({}) unless on () (\n{clear}\n))", self.firing(sheet))
    }
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
        name: "PqscopeSloBurnRate",
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
    let verdict = sheet.own(VERDICT, &format!(",{CONDITION}={}", quoted(&name)));
    let expression = frame.held(sheet, &format!("{verdict} == 2"), &format!("{verdict} == 0"));
    frame.rule(sheet, expression)
}

/// Enough events to act on.
fn gates(sheet: &Sheet<'_>, window: Duration) -> String {
    let alert = &sheet.objective.alert;
    format!(
        "\nand on () {} >= {}\nand on () {} >= {}",
        sheet.events(window, "total"),
        alert.least_events,
        sheet.bad(window),
        alert.least_bad
    )
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

/// Spend against the budget of a whole window; while that is not full yet, its events are taken to go on as they came.
fn day_spend(sheet: &Sheet<'_>, share: f64, allowed: f64, window: Duration) -> Option<Rule> {
    let shortest = sheet.objective.alert.tiers.iter().map(|tier| tier.short).min()?;
    let frame = Frame {
        name: "PqscopeSloDaySpend",
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
    let short = sheet.burn(shortest);
    let limit = number(share * (1.0 - 1e-9) * allowed);
    let seconds = window.as_secs();
    let whole = format!(
        "sum({}) * clamp_min({seconds} / clamp_min(time() - sum({}), 1), 1)",
        sheet.events(window, "total"),
        sheet.own(BEGAN, "")
    );
    let spent = format!("sum({}) >= {limit} * {whole}", sheet.bad(DAY));
    let active = format!("{spent}\nand on () {short} >= {}{}", nearly(1.0), gates(sheet, DAY));
    let clear = format!("{short} < {}", nearly(1.0));
    let expression = frame.held(sheet, &active, &clear);
    Some(frame.rule(sheet, expression))
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
        condition: "overflow",
        severity: Severity::Ticket,
        pending_for: OVERFLOW_FOR,
        clear_for: sheet.objective.alert.clear_for,
        comment: "A part exceeds the whole: the selectors do not fit each other, and no burn rate can be trusted.",
        summary: format!("{}: more {} events than events", title(sheet), sheet.side()),
    };
    let of = |result: &str| sheet.own(EVENTS, &format!(",{RESULT}=\"{result}\""));
    let expression = format!("max({} > ignoring({RESULT}) 1.000000001 * {})", of(sheet.side()), of("total"));
    frame.rule(sheet, expression)
}

/// Labels that every alert has of its own.
pub(super) const TAKEN: [&str; 8] =
    [SLO, SERVICE, CONDITION, RESULT, super::names::WINDOW, "severity", "alertname", "alertstate"];
