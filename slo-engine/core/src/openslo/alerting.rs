//! AlertPolicy and AlertCondition: which burn rates alert, in place of the standard window pairs.

use super::document::{Body, read_inline};
use super::span;
use crate::burn;
use crate::ledger::{LONGEST_WINDOW, Tier};
use crate::objective::{AlertTier, Severity};
use crate::yaml::{Fields, Findings, Located, Node};
use std::time::Duration;

/// The short window is this part of the long one (SRE Workbook, chapter 5).
const SHORT_PART: u32 = 12;
/// Shortest window that is looked back over: its short window is one bucket.
pub(super) const SHORTEST: Duration = Duration::from_secs(120);

/// A reference, or the thing itself.
#[derive(Clone, Debug)]
pub(super) enum Use<T> {
    Named(Located<String>),
    /// `None` where the fault is already reported.
    Inline(Option<T>),
}

/// An AlertPolicy as it is written.
#[derive(Clone, Debug)]
pub(super) struct RawPolicy {
    pub(super) alerts_on_no_data: bool,
    pub(super) conditions: Vec<Use<AlertTier>>,
    pub(super) targets: Vec<Use<()>>,
}

/// Reads the spec of an AlertPolicy.
pub(super) fn read_policy(node: &Node, findings: &mut Findings) -> Option<RawPolicy> {
    let mut fields = findings.fields(node, "the spec of an AlertPolicy")?;
    fields.optional("description");
    let no_data = fields.optional("alertWhenNoData");
    let no_data = no_data.and_then(|node| findings.truth(node, "`alertWhenNoData`"));
    flag(&mut fields, "alertWhenBreaching", true, "a policy that does not alert has no effect", findings);
    flag(&mut fields, "alertWhenResolved", true, "the end of an incident is always told", findings);
    let conditions = fields.required("conditions", findings, "conditions: [{conditionRef: my-condition}]");
    let conditions = conditions.and_then(|node| findings.list(node, "`conditions`"));
    let targets = fields.optional("notificationTargets");
    let targets = targets.and_then(|node| findings.list(node, "`notificationTargets`")).unwrap_or_default();
    let place = fields.place_of("conditions").cloned();
    fields.finish(findings);
    let conditions = conditions?;
    if let (true, Some(place)) = (conditions.is_empty(), place) {
        findings.error(&place, "the policy has no conditions", "conditions: [{conditionRef: my-condition}]");
    }
    let conditions = conditions.iter().map(|node| {
        read_use(node, "conditionRef", "AlertCondition", findings, |body| match body {
            Body::Condition(tier) => tier,
            _ => None,
        })
    });
    let conditions = conditions.collect();
    let targets = targets
        .iter()
        .map(|node| read_use(node, "targetRef", "AlertNotificationTarget", findings, |_| Some(())))
        .collect();
    let alerts_on_no_data = no_data.is_some_and(|no_data| no_data.value);
    Some(RawPolicy { alerts_on_no_data, conditions, targets })
}

fn flag(fields: &mut Fields<'_>, key: &'static str, only: bool, message: &str, findings: &mut Findings) {
    let value = fields.optional(key).and_then(|node| findings.truth(node, &format!("`{key}`")));
    if let Some(value) = value.filter(|value| value.value != only) {
        findings.error(&value.place, message, format!("write `{key}: {only}` or leave it out"));
    }
}

/// Reads an entry that names an object or holds one.
pub(super) fn read_use<T>(
    node: &Node,
    reference: &'static str,
    kind: &'static str,
    findings: &mut Findings,
    unwrap: impl FnOnce(Body) -> Option<T>,
) -> Use<T> {
    let Some(mut fields) = findings.fields(node, &format!("an entry with a `{reference}` or an {kind}"))
    else {
        return Use::Inline(None);
    };
    if let Some(named) = fields.optional(reference) {
        let name = findings.text(named, &format!("`{reference}`"));
        fields.finish(findings);
        return name.map_or(Use::Inline(None), Use::Named);
    }
    Use::Inline(read_inline(fields, kind, findings).and_then(|(_, body)| unwrap(body)))
}

/// Reads the spec of an AlertCondition.
pub(super) fn read_condition(node: &Node, findings: &mut Findings) -> Option<AlertTier> {
    let mut fields = findings.fields(node, "the spec of an AlertCondition")?;
    fields.optional("description");
    let severity = fields.required("severity", findings, "severity: page, or severity: ticket");
    let severity = severity.and_then(|node| read_severity(node, findings));
    let condition = fields.required("condition", findings, "condition: {kind: burnrate, op: gte, ...}");
    fields.finish(findings);
    let mut fields = findings.fields(condition?, "`condition`")?;
    one_of(&mut fields, "kind", "burnrate", "only burn rates alert", findings);
    one_of(&mut fields, "op", "gte", "a tier fires when the burn rate reaches the threshold", findings);
    let factor = fields.required("threshold", findings, "the burn rate, such as 14.4");
    let factor = factor.and_then(|node| findings.number(node, "`threshold`"));
    let long = fields.required("lookbackWindow", findings, "the long window, such as 1h");
    let long = long.and_then(|node| span::read(node, "`lookbackWindow`", findings));
    let pending = fields.optional("alertAfter").and_then(|node| span::read(node, "`alertAfter`", findings));
    fields.finish(findings);
    let (factor, long, severity) = (factor?, long?, severity?);
    if factor.value <= 0.0 {
        findings.error(&factor.place, "a burn rate of zero or less is always reached", "such as 14.4");
        return None;
    }
    if long.value < SHORTEST || long.value > LONGEST_WINDOW {
        let help = "from 2m to 400d; a twelfth of it is the short window, and counts are kept for 400 days";
        findings.error(&long.place, "this window is too short or too long", help);
        return None;
    }
    let bucket = Tier::TenSeconds.seconds();
    let short = Duration::from_secs((long.value / SHORT_PART).as_secs().next_multiple_of(bucket));
    let pending_for = pending.map_or_else(|| burn::pending_for(severity), |pending| pending.value);
    Some(AlertTier { long: long.value, short, factor: factor.value, pending_for, severity })
}

pub(super) fn read_severity(node: &Node, findings: &mut Findings) -> Option<Severity> {
    let severity = findings.text(node, "`severity`")?;
    match severity.value.as_str() {
        "page" => Some(Severity::Page),
        "ticket" => Some(Severity::Ticket),
        other => {
            let help = "`page` wakes somebody, `ticket` waits for working hours";
            findings.error(&severity.place, format!("`{other}` is not a severity that is known here"), help);
            None
        }
    }
}

fn one_of(fields: &mut Fields<'_>, key: &'static str, only: &str, why: &str, findings: &mut Findings) {
    let value = fields.required(key, findings, &format!("write `{key}: {only}`"));
    if let Some(value) = value.and_then(|node| findings.text(node, &format!("`{key}`")))
        && value.value != only
    {
        findings.error(
            &value.place,
            format!("`{key}: {}` is not supported: {why}", value.value),
            format!("write `{key}: {only}`"),
        );
    }
}
