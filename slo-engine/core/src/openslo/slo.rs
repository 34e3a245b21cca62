//! The spec of an SLO as it is written, references not yet followed.

use super::alerting::{RawPolicy, Use, read_use};
use super::document::{Body, read_name};
use super::indicator::{self, RawIndicator};
use super::span;
use crate::ledger::LONGEST_WINDOW;
use crate::objective::Target;
use crate::yaml::{Fields, Findings, Located, Node, Place, Shape};
use std::time::Duration;

/// Shortest SLO window: below it the standard window pairs make no sense.
const SHORTEST_WINDOW: Duration = Duration::from_secs(86_400);

/// An SLO as it is written.
#[derive(Debug)]
pub(super) struct RawSlo {
    pub(super) description: String,
    pub(super) service: Located<String>,
    pub(super) indicator: Use<RawIndicator>,
    pub(super) window: Located<Duration>,
    pub(super) objectives: Vec<RawObjective>,
    pub(super) policies: Vec<Use<RawPolicy>>,
}

/// One entry of `objectives`.
#[derive(Debug)]
pub(super) struct RawObjective {
    pub(super) title: Option<Located<String>>,
    pub(super) bound: Option<Located<f64>>,
    pub(super) target: Located<Target>,
    pub(super) place: Place,
}

/// Reads the spec of an SLO.
pub(super) fn read(node: &Node, findings: &mut Findings) -> Option<RawSlo> {
    let mut fields = findings.fields(node, "the spec of an SLO")?;
    let description = fields.optional("description").and_then(|node| findings.text(node, "`description`"));
    let service = fields.required("service", findings, "the name of the service that it is about");
    let service = service.and_then(|node| read_name(node, "`service`", findings));
    let indicator = read_indicator(&mut fields, findings);
    let window = fields.required("timeWindow", findings, "timeWindow: [{duration: 30d, isRolling: true}]");
    let window = window.and_then(|node| read_window(node, findings));
    let method = fields.required("budgetingMethod", findings, "write `budgetingMethod: Occurrences`");
    read_method(method, findings);
    let objectives = fields.required("objectives", findings, "objectives: [{target: 0.999}]");
    let objectives = objectives.and_then(|node| read_objectives(node, findings));
    let policies = fields.optional("alertPolicies").and_then(|node| findings.list(node, "`alertPolicies`"));
    let policies = policies.unwrap_or_default().iter().map(|node| read_policy_use(node, findings)).collect();
    fields.finish(findings);
    Some(RawSlo {
        description: description.map(|text| text.value).unwrap_or_default(),
        service: service?,
        indicator: indicator?,
        window: window?,
        objectives: objectives?,
        policies,
    })
}

fn read_policy_use(node: &Node, findings: &mut Findings) -> Use<RawPolicy> {
    if let Shape::Scalar { text, .. } = &node.shape {
        return Use::Named(Located { value: text.clone(), place: node.place.clone() });
    }
    read_use(node, "alertPolicyRef", "AlertPolicy", findings, |body| match body {
        Body::Policy(policy) => policy,
        _ => None,
    })
}

fn read_indicator(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Use<RawIndicator>> {
    let inline = fields.optional("indicator");
    let named = fields.optional("indicatorRef");
    match (inline, named) {
        (Some(inline), None) => {
            let mut fields = findings.fields(inline, "`indicator`")?;
            fields.optional("apiVersion");
            fields.optional("kind");
            fields.optional("metadata");
            let spec = fields.required("spec", findings, "spec: {ratioMetric: {...}}");
            fields.finish(findings);
            Some(Use::Inline(spec.and_then(|spec| indicator::read(spec, findings))))
        }
        (None, Some(named)) => findings.text(named, "`indicatorRef`").map(Use::Named),
        (Some(_), Some(named)) => {
            findings.error(
                &named.place,
                "an SLO has either `indicator` or `indicatorRef`",
                "remove one of the two",
            );
            None
        }
        (None, None) => {
            let help = "add `indicator` with its spec, or `indicatorRef` with the name of an SLI";
            findings.error(&fields.place, "the SLO has no indicator", help);
            None
        }
    }
}

fn read_window(node: &Node, findings: &mut Findings) -> Option<Located<Duration>> {
    const HELP: &str = "timeWindow: [{duration: 30d, isRolling: true}]";
    let [entry] = findings.list(node, "`timeWindow`")? else {
        findings.error(&node.place, "`timeWindow` must have exactly one entry", HELP);
        return None;
    };
    let mut fields = findings.fields(entry, "`timeWindow`")?;
    let duration = fields.required("duration", findings, "such as 30d");
    let rolling = fields.optional("isRolling");
    let calendar = fields.optional("calendar");
    let place = fields.place.clone();
    fields.finish(findings);
    if let Some(calendar) = calendar {
        findings.error(&calendar.place, "calendar windows are not supported yet", HELP);
        return None;
    }
    match rolling.map(|node| findings.truth(node, "`isRolling`")) {
        Some(Some(rolling)) if !rolling.value => {
            findings.error(&rolling.place, "only rolling windows are supported yet", HELP);
            return None;
        }
        Some(_) => {}
        None => {
            findings.error(&place, "`isRolling` is missing in `timeWindow`", HELP);
            return None;
        }
    }
    let window = span::read(duration?, "`duration`", findings)?;
    if window.value < SHORTEST_WINDOW || window.value > LONGEST_WINDOW {
        let help = "from 1d to 400d: counts are kept for 400 days";
        findings.error(&window.place, "this window is too short or too long", help);
        return None;
    }
    Some(window)
}

fn read_method(node: Option<&Node>, findings: &mut Findings) {
    let Some(method) = node.and_then(|node| findings.text(node, "`budgetingMethod`")) else { return };
    let help = "write `budgetingMethod: Occurrences`, which counts events";
    match method.value.as_str() {
        "Occurrences" => {}
        "Timeslices" | "RatioTimeslices" => {
            findings.error(&method.place, format!("`{}` is not supported yet", method.value), help);
        }
        other => {
            findings.error(&method.place, format!("`{other}` is not a budgeting method of OpenSLO"), help)
        }
    }
}

fn read_objectives(node: &Node, findings: &mut Findings) -> Option<Vec<RawObjective>> {
    let entries = findings.list(node, "`objectives`")?;
    if entries.is_empty() {
        findings.error(&node.place, "the SLO has no objectives", "objectives: [{target: 0.999}]");
    }
    Some(entries.iter().filter_map(|node| read_objective(node, findings)).collect())
}

fn read_objective(node: &Node, findings: &mut Findings) -> Option<RawObjective> {
    let mut fields = findings.fields(node, "an objective")?;
    let title = fields.optional("displayName").and_then(|node| findings.text(node, "`displayName`"));
    let bound = read_bound(&mut fields, findings);
    let target = read_target(&mut fields, findings);
    for (key, instead) in [
        ("timeSliceTarget", "time slices are not supported yet"),
        ("timeSliceWindow", "time slices are not supported yet"),
        ("compositeWeight", "composite SLOs are not supported yet"),
        ("indicator", "composite SLOs are not supported yet: give the SLO one indicator"),
        ("indicatorRef", "composite SLOs are not supported yet: give the SLO one indicator"),
    ] {
        if let Some(node) = fields.optional(key) {
            findings.error(&node.place, format!("`{key}` cannot stand in an objective here"), instead);
        }
    }
    let place = fields.place.clone();
    fields.finish(findings);
    Some(RawObjective { title, bound: bound?, target: target?, place })
}

/// The bound of a threshold metric. The outer `None` is a fault; the inner one an objective without a bound.
fn read_bound(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Option<Located<f64>>> {
    let op = fields.optional("op");
    let value = fields.optional("value");
    let place = fields.place.clone();
    match (op, value) {
        (None, None) => Some(None),
        (Some(op), Some(value)) => {
            let op = findings.text(op, "`op`");
            let value = findings.number(value, "`value`");
            let (op, value) = (op?, value?);
            // A histogram does not tell an observation at the bound from one just below it.
            if !matches!(op.value.as_str(), "lte" | "lt") {
                let help = "write `op: lte`: observations up to `value` are good";
                findings.error(&op.place, format!("`op: {}` is not supported", op.value), help);
                return None;
            }
            if value.value <= 0.0 {
                findings.error(
                    &value.place,
                    "`value` must be above zero",
                    "in the unit of the metric, such as 0.3",
                );
                return None;
            }
            Some(Some(value))
        }
        _ => {
            findings.error(&place, "`op` and `value` belong together", "such as `op: lte` and `value: 0.3`");
            None
        }
    }
}

fn read_target(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Located<Target>> {
    let share = fields.optional("target");
    let percent = fields.optional("targetPercent");
    let (node, key, whole) = match (share, percent) {
        (Some(node), None) => (node, "`target`", 1.0),
        (None, Some(node)) => (node, "`targetPercent`", 100.0),
        (Some(_), Some(node)) => {
            findings.error(
                &node.place,
                "an objective has either `target` or `targetPercent`",
                "remove one of the two",
            );
            return None;
        }
        (None, None) => {
            findings.error(
                &fields.place,
                "the objective has no target",
                "target: 0.999, or targetPercent: 99.9",
            );
            return None;
        }
    };
    let number = findings.number(node, key)?;
    // Through the decimal digits, so that 99.9 percent and 0.999 are the same number.
    let value = (number.value / whole * 1e12).round() / 1e12;
    if let Some(target) = Target::new(value) {
        return Some(Located { value: target, place: number.place });
    }
    let example = if whole > 1.0 { "99.9" } else { "0.999" };
    let (message, help) = if value == 1.0 {
        (
            format!("{key} {} leaves no error budget, so no burn rate can be computed", number.value),
            format!(
                "choose a target below {whole}, such as {example}; for \"never\", a zero-tolerance objective is the right \
                 kind, which is not supported yet"
            ),
        )
    } else if value == 0.0 {
        (
            format!("{key} 0 asks for nothing: every event may be bad"),
            format!("choose a target such as {example}"),
        )
    } else {
        let hint = if whole == 1.0 && value > 1.0 && value < 100.0 {
            format!("write `targetPercent: {}`", number.value)
        } else {
            format!("such as {example}")
        };
        (format!("{key} must lie between 0 and {whole}"), hint)
    };
    findings.error(&number.place, message, help);
    None
}
