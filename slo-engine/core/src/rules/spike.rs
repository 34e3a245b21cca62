//! The detector of sudden failures in closed form: the bound of [`crate::spike`] needs nothing but logarithms.

use super::alerts::{Frame, TAKEN};
use super::counting::{REACH, group_labels};
use super::names::{GROUPS, GROUPS_RUNNING, RESULT, SHARES, SLO, USUAL, WINDOW};
use super::{Rule, RuleKind, Sheet};
use crate::alert::SPIKE;
use crate::objective::SpikeRule;
use crate::promql::name::quoted;
use crate::promql::query::number;
use crate::time::span_text;
use pqscope_telemetry::exposition::label_name;

/// Events of every group in the two windows, and what it is compared with.
pub(super) fn recordings(sheet: &Sheet<'_>) -> Vec<Rule> {
    let Some(rule) = rule_of(sheet) else { return Vec::new() };
    let parts = Parts::new(sheet, rule);
    let windows = Rule {
        comment: "Events of groups in the short window and in the one before it.".to_owned(),
        kind: RuleKind::Record(GROUPS.to_owned()),
        expression: parts.windows(),
        labels: parts.labels(sheet),
    };
    let usual = Rule {
        comment: "What a group is compared with: its own past, or that of its neighbours when it is new."
            .to_owned(),
        kind: RuleKind::Record(USUAL.to_owned()),
        expression: parts.usual(),
        labels: parts.labels(sheet),
    };
    let shares = Rule {
        comment: "Shares of bad events: of the short window, of what it is compared with, of both together."
            .to_owned(),
        kind: RuleKind::Record(SHARES.to_owned()),
        expression: parts.shares(sheet.good_is_counted()),
        labels: parts.labels(sheet),
    };
    vec![windows, usual, shares]
}

fn rule_of<'a>(sheet: &'a Sheet<'_>) -> Option<&'a SpikeRule> {
    sheet.objective.alert.spike.as_ref().filter(|_| sheet.spikes)
}

struct Parts<'a> {
    rule: &'a SpikeRule,
    slo: String,
    by: String,
    among: String,
}

impl<'a> Parts<'a> {
    fn new(sheet: &Sheet<'_>, rule: &'a SpikeRule) -> Self {
        let among: Vec<String> = rule.among.iter().map(|key| label_name(key)).collect();
        Self {
            rule,
            slo: quoted(&sheet.objective.name),
            by: group_labels(sheet).join(", "),
            among: among.join(", "),
        }
    }

    /// Groups have a service of their own, so the objective's is not among their labels.
    fn labels(&self, sheet: &Sheet<'_>) -> Vec<(String, String)> {
        vec![(SLO.to_owned(), sheet.objective.name.clone())]
    }

    /// What the totals grew by; everything where they are younger than the window.
    fn windows(&self) -> String {
        let Self { rule, slo, .. } = self;
        let running = format!("{GROUPS_RUNNING}{{{SLO}={slo}}}");
        let then = |window| format!("last_over_time({running}[{REACH}] offset {})", span_text(window));
        let (short, both) = (then(rule.short), then(rule.short + rule.reference));
        format!(
            "label_replace(({running} - {short} >= 0) or {running}, \"{WINDOW}\", \"short\", \"\", \"\")\n\
             or label_replace(({short} - {both} >= 0) or {short}, \"{WINDOW}\", \"reference\", \"\", \"\")"
        )
    }

    fn of(&self, window: &str, more: &str) -> String {
        format!("{GROUPS}{{{SLO}={},{WINDOW}=\"{window}\"{more}}}", self.slo)
    }

    fn usual(&self) -> String {
        let Self { by, among, .. } = self;
        let total = format!(",{RESULT}=\"total\"");
        let (short, reference) = (self.of("short", ""), self.of("reference", ""));
        let with_result = |labels: &str| match labels {
            "" => RESULT.to_owned(),
            labels => format!("{labels}, {RESULT}"),
        };
        format!(
            "({reference} and on ({by}) ({} >= on ({by}) 2 * {}))\nor on ({}) (0 * {short} + on ({}) group_left () sum by ({}) ({reference}))",
            self.of("reference", &total),
            self.of("short", &total),
            with_result(by),
            with_result(among),
            with_result(among),
        )
    }

    /// Shares of bad events: of the short window, of what it is compared with, and of both together.
    fn shares(&self, good_is_counted: bool) -> String {
        let part = if good_is_counted { "good" } else { "bad" };
        let by = &self.by;
        let sum = |result: &str, window: &str| match window {
            "short" => self.of("short", &format!(",{RESULT}=\"{result}\"")),
            _ => format!("{USUAL}{{{SLO}={},{RESULT}=\"{result}\"}}", self.slo),
        };
        let both = |result: &str| format!("({} + on ({by}) {})", sum(result, "short"), sum(result, "usual"));
        let share = |part: &str, total: &str, name: &str| {
            let share = format!("({part} / on ({by}) {total} <= 1)");
            let bad = if good_is_counted { format!("1 - {share}") } else { share };
            format!("label_replace({bad}, \"{WINDOW}\", \"{name}\", \"\", \"\")")
        };
        let one = |window: &str| share(&sum(part, window), &sum("total", window), window);
        format!("{}\nor {}\nor {}", one("short"), one("usual"), share(&both(part), &both("total"), "both"))
    }

    fn share(&self, window: &str) -> String {
        format!("sum by ({}) ({SHARES}{{{SLO}={},{WINDOW}=\"{window}\"}})", self.by, self.slo)
    }

    /// `k` bad of `n` in the short window, `K` of `N` in both: a spike when `n KL(k/n || K/N) >= -ln significance`.
    fn active(&self) -> String {
        let rule = self.rule;
        let (now, usual, both) = (self.share("short"), self.share("usual"), self.share("both"));
        let total = format!("sum by ({}) ({})", self.by, self.of("short", &format!(",{RESULT}=\"total\"")));
        let divergence = format!(
            "({now} * ln({now} / {both}) + (1 - {now}) * ln(clamp_min(1 - {now}, 1e-300) / (1 - {both})))"
        );
        // A share times a whole is not exact: a millionth of an event is allowed for.
        format!(
            "{now} * {total} >= {}\nand {now} >= {} * {usual}\nand {now} > {both}\nand {total} * {divergence} >= {}",
            number(f64::max(rule_bad(rule) - 1e-6, 1e-6)),
            number(rule.least_ratio),
            number(-rule.significance.ln())
        )
    }
}

fn rule_bad(rule: &SpikeRule) -> f64 {
    crate::distribution::to_float(rule.least_bad)
}

/// The alert: one per group. It is over when the group is back within the objective, or has no traffic left while others
/// have.
pub(super) fn alert(sheet: &Sheet<'_>) -> Option<Rule> {
    let rule = rule_of(sheet)?;
    let parts = Parts::new(sheet, rule);
    let frame = Frame {
        name: "PqscopeSloSpike",
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
    // A label that the alert has of its own would be overwritten: the group's is kept under another name.
    let names: Vec<(String, String)> = group_labels(sheet)
        .into_iter()
        .map(|name| {
            let kept = if TAKEN.contains(&name.as_str()) { format!("group_{name}") } else { name.clone() };
            (name, kept)
        })
        .collect();
    let kept: Vec<&str> = names.iter().map(|(_, kept)| kept.as_str()).collect();
    let kept = kept.join(", ");
    let renamed = |text: String| {
        let renamed = names.iter().filter(|(name, kept)| name != kept).fold(text, |text, (name, kept)| {
            format!("label_replace({text}, \"{kept}\", \"$1\", \"{name}\", \"(.*)\")")
        });
        format!("sum by ({kept}) ({renamed})")
    };
    let firing = format!("sum by ({kept}) ({})", frame.firing(sheet));
    let allowed = number(sheet.objective.goal.allowed().unwrap_or(1.0));
    let still = renamed(format!("{} >= {allowed}", parts.share("short")));
    let shortest = sheet.lengths.first().copied().unwrap_or_default();
    let expression = format!(
        "{}\nor ({firing} and on ({kept}) {still})\nor ({firing} unless on () ({} > 0))",
        renamed(format!("\n{}\n", parts.active())),
        sheet.events(shortest, "total")
    );
    Some(frame.rule(sheet, expression))
}
