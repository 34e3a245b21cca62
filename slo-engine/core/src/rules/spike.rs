//! The detector of sudden failures in closed form: the bound of [`crate::spike`] needs nothing but logarithms.

use super::alerts::{Frame, TAKEN, firing};
use super::counting::{REACH, group_labels};
use super::names::{ACTIVE, CONDITION, GROUPS, GROUPS_RUNNING, RESULT, SHARES, SLO, USUAL, WINDOW};
use super::shared::{allowed, record};
use super::{Rule, Sheet};
use crate::alert::SPIKE;
use crate::objective::SpikeRule;
use crate::promql::query::number;
use crate::time::span_text;
use pqscope_telemetry::exposition::label_name;

/// Events of every group in the two windows, and what those with bad events are compared with.
pub(super) fn recordings(family: &Sheet<'_>) -> Vec<Rule> {
    let Some(rule) = rule_of(family) else { return Vec::new() };
    let parts = Parts::new(family, rule);
    let record = |name: &str, window: Option<&str>, comment: &str, expression: String| {
        let more: Vec<(&str, &str)> = window.iter().map(|window| (WINDOW, *window)).collect();
        record(family, name, comment, expression, &more)
    };
    let [short, reference] = parts.windows();
    vec![
        record(GROUPS, Some("short"), "Events of groups in the short window.", short),
        record(GROUPS, Some("reference"), "Events of groups in the window before that.", reference),
        record(
            SHARES,
            Some("short"),
            "Shares of bad events of groups that have any, in the short window.",
            parts.share_now(),
        ),
        record(
            USUAL,
            None,
            "What these are compared with: their own past, or that of their neighbours when they are new.",
            parts.usual(),
        ),
        record(SHARES, Some("usual"), "Shares of bad events of that.", parts.share_usual()),
        record(SHARES, Some("both"), "Shares of bad events of both together.", parts.share_of_both()),
    ]
}

fn rule_of<'a>(sheet: &'a Sheet<'_>) -> Option<&'a SpikeRule> {
    sheet.objective.alert.spike.as_ref().filter(|_| sheet.spikes)
}

struct Parts<'a> {
    family: &'a Sheet<'a>,
    rule: &'a SpikeRule,
    /// Labels that tell groups apart: the objective's name and theirs.
    by: String,
    /// Those that groups share with their neighbours.
    among: String,
}

impl<'a> Parts<'a> {
    fn new(family: &'a Sheet<'a>, rule: &'a SpikeRule) -> Self {
        let named = |labels: Vec<String>| {
            let all: Vec<String> = std::iter::once(SLO.to_owned()).chain(labels).collect();
            all.join(", ")
        };
        let among = named(rule.among.iter().map(|key| label_name(key)).collect());
        Self { family, rule, by: named(group_labels(family)), among }
    }

    /// What the totals grew by; everything where they are younger than the window.
    fn windows(&self) -> [String; 2] {
        let running = self.family.own(GROUPS_RUNNING, "");
        let then = |window| format!("last_over_time({running}[{REACH}] offset {})", span_text(window));
        let (short, both) = (then(self.rule.short), then(self.rule.short + self.rule.reference));
        [format!("({running} - {short} >= 0) or {running}"), format!("({short} - {both} >= 0) or {short}")]
    }

    fn of(&self, window: &str, more: &str) -> String {
        self.family.shared(GROUPS, &format!(",{WINDOW}=\"{window}\"{more}"))
    }

    fn of_now(&self, result: &str) -> String {
        self.of("short", &format!(",{RESULT}=\"{result}\""))
    }

    fn of_usual(&self, result: &str) -> String {
        self.family.shared(USUAL, &format!(",{RESULT}=\"{result}\""))
    }

    /// Only for groups that have bad events: the others cannot spike.
    fn usual(&self) -> String {
        let Self { by, among, .. } = self;
        let suspects = format!("and on ({by}) {}", self.share("short"));
        let (short, reference) = (self.of("short", ""), self.of("reference", ""));
        format!(
            "({reference} {suspects} and on ({by}) ({} >= on ({by}) 2 * {}))\n\
             or on ({by}, {RESULT}) (0 * ({short} {suspects}) + on ({among}, {RESULT}) group_left () sum by ({among}, {RESULT}) ({reference}))",
            self.of("reference", &format!(",{RESULT}=\"total\"")),
            self.of_now("total"),
        )
    }

    /// What groups are counted by beside all events. That is not what windows are: slices of time are good or not, even
    /// where it is bad events that are counted.
    fn side(&self) -> &'static str {
        self.family.side()
    }

    /// Share of bad events of parts of wholes, none where a part exceeds its whole.
    fn bad_share(&self, part: &str, whole: &str) -> String {
        let share = format!("({part} / on ({}) {whole} <= 1)", self.by);
        if self.side() == "good" { format!("1 - {share}") } else { share }
    }

    fn share_now(&self) -> String {
        format!("{} > 0", self.bad_share(&self.of_now(self.side()), &self.of_now("total")))
    }

    fn share_usual(&self) -> String {
        self.bad_share(&self.of_usual(self.side()), &self.of_usual("total"))
    }

    fn share_of_both(&self) -> String {
        let both =
            |result: &str| format!("({} + on ({}) {})", self.of_now(result), self.by, self.of_usual(result));
        self.bad_share(&both(self.side()), &both("total"))
    }

    fn share(&self, window: &str) -> String {
        self.family.shared(SHARES, &format!(",{WINDOW}=\"{window}\""))
    }

    /// `k` bad of `n` in the short window, `K` of `N` in both: a spike when `n KL(k/n || K/N) >= -ln significance`.
    fn active(&self) -> String {
        let rule = self.rule;
        let on = format!("on ({})", self.by);
        let (now, usual, both) = (self.share("short"), self.share("usual"), self.share("both"));
        let total = self.of_now("total");
        let divergence = format!(
            "({now} * {on} ln({now} / {on} {both}) + {on} (1 - {now}) * {on} ln(clamp_min(1 - {now}, 1e-300) / {on} (1 - {both})))"
        );
        // A share times a whole is not exact: a millionth of an event is allowed for.
        format!(
            "{now} * {on} {total} >= {}\nand {on} {now} >= {on} {} * {usual}\nand {on} {now} > {on} {both}\n\
             and {on} {total} * {on} {divergence} >= {}",
            number(f64::max(rule_bad(rule) - 1e-6, 1e-6)),
            number(rule.least_ratio),
            number(-rule.significance.ln())
        )
    }
}

fn rule_bad(rule: &SpikeRule) -> f64 {
    crate::distribution::to_float(rule.least_bad)
}

const SPIKE_ALERT: &str = "PqscopeSloSpike";

/// Groups that spike, or whose alert fires. It is over when the group is back within the objective, or has no traffic left
/// while others have.
pub(super) fn active(family: &Sheet<'_>) -> Option<Rule> {
    let rule = rule_of(family)?;
    let parts = Parts::new(family, rule);
    // A label that the alert has of its own would be overwritten: the group's is kept under another name.
    let names: Vec<(String, String)> = group_labels(family)
        .into_iter()
        .map(|name| {
            let kept = if TAKEN.contains(&name.as_str()) { format!("group_{name}") } else { name.clone() };
            (name, kept)
        })
        .collect();
    let kept: Vec<&str> = std::iter::once(SLO).chain(names.iter().map(|(_, kept)| kept.as_str())).collect();
    let kept = kept.join(", ");
    let renamed = |text: String| {
        let renamed = names.iter().filter(|(name, kept)| name != kept).fold(text, |text, (name, kept)| {
            format!("label_replace({text}, \"{kept}\", \"$1\", \"{name}\", \"(.*)\")")
        });
        format!("sum by ({kept}) ({renamed})")
    };
    let firing = format!("sum by ({kept}) ({})", firing(family, SPIKE_ALERT));
    let allowed = match family.objective.goal.allowed() {
        Some(_) => format!("on ({SLO}) group_left () {}", allowed(family)),
        None => "1".to_owned(),
    };
    let still = renamed(format!("{} >= {allowed}", parts.share("short")));
    let shortest = family.lengths.first().copied().unwrap_or_default();
    let expression = format!(
        "{}\nor ({firing} and on ({kept}) {still})\nor ({firing} unless on ({SLO}) ({} > 0))",
        renamed(format!("\n{}\n", parts.active())),
        family.events(shortest, "total")
    );
    let comment = "Groups of which far more fail than before, or whose alert fires and is not clear.";
    Some(record(family, ACTIVE, comment, expression, &[(CONDITION, SPIKE)]))
}

/// The alert: one per group.
pub(super) fn alert(sheet: &Sheet<'_>) -> Option<Rule> {
    let rule = rule_of(sheet)?;
    let frame = Frame {
        name: SPIKE_ALERT,
        condition: SPIKE,
        severity: rule.severity,
        pending_for: rule.pending_for,
        clear_for: sheet.objective.alert.clear_for,
        comment: "Far more of a group fails than before, and not by chance.",
        summary: format!(
            "{}: sudden failures in a part of the traffic, within {}",
            sheet.objective.title.replace("{{", "{ {"),
            span_text(rule.short)
        ),
    };
    Some(frame.asking(sheet))
}
