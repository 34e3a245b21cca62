//! The detector of sudden failures in closed form: the bound of [`crate::spike`] needs nothing but logarithms.

use super::alerts::{Frame, TAKEN};
use super::counting::{base, group_labels};
use super::names::{GROUPS, GROUPS_RUNNING, RESULT, SLO, USUAL, WINDOW};
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
        expression: parts.windows(sheet),
        labels: parts.labels(sheet),
    };
    let usual = Rule {
        comment: "What a group is compared with: its own past, or that of its neighbours when it is new."
            .to_owned(),
        kind: RuleKind::Record(USUAL.to_owned()),
        expression: parts.usual(),
        labels: parts.labels(sheet),
    };
    vec![windows, usual]
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

    fn windows(&self, sheet: &Sheet<'_>) -> String {
        let Self { rule, slo, .. } = self;
        let running = |result: &str| format!("{GROUPS_RUNNING}{{{SLO}={slo},{RESULT}=\"{result}\"}}");
        let both = rule.short + rule.reference;
        let short = |result: &str| {
            let running = running(result);
            format!("({running} - {})", base(sheet, &running, rule.short))
        };
        let reference = |result: &str| {
            let running = running(result);
            format!("({} - {})", base(sheet, &running, rule.short), base(sheet, &running, both))
        };
        let window = |name: &str, events: &dyn Fn(&str) -> String| {
            let total = events("total");
            // A group without a bad event has no series of bad ones.
            let bad = if sheet.good_is_counted() {
                format!(
                    "(clamp_min({total} - ignoring({RESULT}) {}, 0) or ignoring({RESULT}) {total})",
                    events("good")
                )
            } else {
                format!("({} or ignoring({RESULT}) 0 * {total})", events("bad"))
            };
            let put = |text: &str, result: &str| {
                format!(
                    "label_replace(label_replace({text}, \"{RESULT}\", \"{result}\", \"\", \"\"), \"{WINDOW}\", \"{name}\", \"\", \"\")"
                )
            };
            format!("{}\nor {}", put(&bad, "bad"), put(&total, "total"))
        };
        format!("{}\nor {}", window("short", &short), window("reference", &reference))
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

    fn sum(&self, series: &str) -> String {
        format!("sum by ({}) ({series})", self.by)
    }

    fn short(&self, result: &str) -> String {
        self.sum(&self.of("short", &format!(",{RESULT}=\"{result}\"")))
    }

    fn compared(&self, result: &str) -> String {
        self.sum(&format!("{USUAL}{{{SLO}={},{RESULT}=\"{result}\"}}", self.slo))
    }

    /// `k` bad of `n` in the short window, `K` of `N` in both: a spike when `n KL(k/n || K/N) >= -ln significance`.
    fn active(&self) -> String {
        let rule = self.rule;
        let (bad, total) = (self.short("bad"), self.short("total"));
        let (usual_bad, usual_total) = (self.compared("bad"), self.compared("total"));
        let now = format!("({bad} / {total})");
        let pooled = format!("(({bad} + {usual_bad}) / ({total} + {usual_total}))");
        let divergence = format!(
            "({now} * ln({now} / {pooled}) + (1 - {now}) * ln(clamp_min(1 - {now}, 1e-300) / (1 - {pooled})))"
        );
        format!(
            "{bad} >= {}\nand {bad} <= {total}\nand {now} >= {} * {usual_bad} / ({usual_total} > 0)\nand {now} > {pooled}\nand {total} * {divergence} >= {}",
            rule.least_bad,
            number(rule.least_ratio),
            number(-rule.significance.ln())
        )
    }
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
    let still = renamed(format!("{} / {} >= {allowed}", parts.short("bad"), parts.short("total")));
    let shortest = sheet.lengths.first().copied().unwrap_or_default();
    let expression = format!(
        "{}\nor ({firing} and on ({kept}) {still})\nor ({firing} unless on () ({} > 0))",
        renamed(format!("\n{}\n", parts.active())),
        sheet.events(shortest, "total")
    );
    Some(frame.rule(sheet, expression))
}
