//! The spec of an SLO as it is written, references not yet followed.

use super::alerting::{RawPolicy, Use, read_use};
use super::document::{Body, read_metadata, read_name};
use super::extension::{self, RawAlerting, RawBaseline, RawGrowth, RawZeroTolerance};
use super::indicator::{self, RawIndicator};
use super::span;
use crate::ledger::{LONGEST_WINDOW, Tier};
use crate::objective::{Comparison, Target};
use crate::period::{Calendar, CalendarFault, SloWindow};
use crate::yaml::{Fields, Findings, Located, Node, Place, Shape};
use std::time::Duration;

/// Shortest SLO window: below it the standard window pairs make no sense.
const SHORTEST_WINDOW: Duration = Duration::from_secs(86_400);
const DAY_SECONDS: u64 = 86_400;

/// An SLO as it is written.
#[derive(Debug)]
pub(super) struct RawSlo {
    pub(super) description: String,
    pub(super) service: Located<String>,
    pub(super) indicator: Use<RawIndicator>,
    pub(super) window: Located<SloWindow>,
    pub(super) method: Located<Method>,
    pub(super) objectives: Vec<RawObjective>,
    pub(super) policies: Vec<Use<RawPolicy>>,
    pub(super) alerting: Option<Located<RawAlerting>>,
}

/// `budgetingMethod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Occurrences,
    Timeslices,
    RatioTimeslices,
}

/// What an objective asks for.
#[derive(Clone, Copy, Debug)]
pub(super) enum RawGoal {
    Share(Target),
    ZeroTolerance(RawZeroTolerance),
    Growth(RawGrowth),
}

/// One entry of `objectives`.
#[derive(Debug)]
pub(super) struct RawObjective {
    pub(super) title: Option<Located<String>>,
    pub(super) bound: Option<Located<(Comparison, f64)>>,
    pub(super) baseline: Option<Located<RawBaseline>>,
    pub(super) goal: Located<RawGoal>,
    pub(super) slice_target: Option<Located<f64>>,
    pub(super) slice: Option<Located<Duration>>,
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
    let method = method.and_then(|node| read_method(node, findings));
    let objectives = fields.required("objectives", findings, "objectives: [{target: 0.999}]");
    let objectives = objectives.and_then(|node| read_objectives(node, findings));
    let policies = fields.optional("alertPolicies").and_then(|node| findings.list(node, "`alertPolicies`"));
    let policies = policies.unwrap_or_default().iter().map(|node| read_policy_use(node, findings)).collect();
    let alerting = fields.optional("pqscope.alerting").and_then(|node| {
        let place = node.place.clone();
        extension::read_alerting(node, findings).map(|value| Located { value, place })
    });
    fields.finish(findings);
    Some(RawSlo {
        description: description.map(|text| text.value).unwrap_or_default(),
        service: service?,
        indicator: indicator?,
        window: window?,
        method: method?,
        objectives: objectives?,
        policies,
        alerting,
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
            if let Some(metadata) = fields.optional("metadata") {
                read_metadata(metadata, findings);
            }
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

fn read_window(node: &Node, findings: &mut Findings) -> Option<Located<SloWindow>> {
    const HELP: &str = "timeWindow: [{duration: 30d, isRolling: true}]";
    let [entry] = findings.list(node, "`timeWindow`")? else {
        findings.error(&node.place, "`timeWindow` must have exactly one entry", HELP);
        return None;
    };
    let mut fields = findings.fields(entry, "`timeWindow`")?;
    let duration = fields.required("duration", findings, "such as 30d");
    let rolling = fields.optional("isRolling").map(|node| findings.truth(node, "`isRolling`"));
    let calendar = fields.optional("calendar");
    let place = fields.place.clone();
    fields.finish(findings);
    let (duration, rolling) = (
        duration?,
        match rolling {
            Some(rolling) => Some(rolling?),
            None => None,
        },
    );
    match (rolling.as_ref().map(|rolling| rolling.value), calendar) {
        (Some(true), Some(calendar)) => {
            let help = "remove `calendar`, or write `isRolling: false`";
            findings.error(&calendar.place, "a rolling window follows no calendar", help);
            None
        }
        (Some(true), None) => read_rolling(duration, findings),
        (None | Some(false), Some(calendar)) => read_calendar(duration, calendar, findings),
        (Some(false), None) => {
            let help = "calendar: {startTime: 2026-01-01 00:00:00, timeZone: Europe/Berlin}";
            findings.error(&place, "a window that does not roll needs a `calendar`", help);
            None
        }
        (None, None) => {
            findings.error(&place, "`isRolling` is missing in `timeWindow`", HELP);
            None
        }
    }
}

fn read_rolling(duration: &Node, findings: &mut Findings) -> Option<Located<SloWindow>> {
    let window = span::read(duration, "`duration`", findings)?;
    if window.value < SHORTEST_WINDOW || window.value > LONGEST_WINDOW {
        let help = "from 1d to 400d: counts are kept for 400 days";
        findings.error(&window.place, "this window is too short or too long", help);
        return None;
    }
    Some(Located { value: SloWindow::Rolling(window.value), place: window.place })
}

fn read_calendar(duration: &Node, calendar: &Node, findings: &mut Findings) -> Option<Located<SloWindow>> {
    let period = span::read_calendar(duration, findings);
    let mut fields = findings.fields(calendar, "`calendar`")?;
    let start = fields.required("startTime", findings, "when a period begins, such as 2026-01-01 00:00:00");
    let start = start.and_then(|node| findings.text(node, "`startTime`"));
    let zone = fields.required("timeZone", findings, "an IANA time zone, such as Europe/Berlin or UTC");
    let zone = zone.and_then(|node| findings.text(node, "`timeZone`"));
    fields.finish(findings);
    let (period, start, zone) = (period?, start?, zone?);
    let (unit, count) = period.value;
    match Calendar::new(&start.value, &zone.value, unit, count) {
        Ok(made) if SloWindow::Calendar(made.clone()).nominal() <= LONGEST_WINDOW => {
            Some(Located { value: SloWindow::Calendar(made), place: period.place })
        }
        Ok(_) => {
            findings.error(
                &period.place,
                "this window is too long",
                "at most 400 days, for counts are kept so long",
            );
            None
        }
        Err(fault) => {
            let (place, help) = match fault {
                CalendarFault::Start => {
                    (&start.place, "write year-month-day and the time, such as 2026-01-01 00:00:00")
                }
                CalendarFault::Zone => (&zone.place, "an IANA time zone, such as Europe/Berlin or UTC"),
                CalendarFault::Count => (&period.place, "such as 1M"),
            };
            findings.error(place, fault.to_string(), help);
            None
        }
    }
}

fn read_method(node: &Node, findings: &mut Findings) -> Option<Located<Method>> {
    let method = findings.text(node, "`budgetingMethod`")?;
    let value = match method.value.as_str() {
        "Occurrences" => Method::Occurrences,
        "Timeslices" => Method::Timeslices,
        "RatioTimeslices" => Method::RatioTimeslices,
        other => {
            let help = "write `Occurrences` (events), `Timeslices` or `RatioTimeslices` (slices of time)";
            findings.error(&method.place, format!("`{other}` is not a budgeting method of OpenSLO"), help);
            return None;
        }
    };
    Some(Located { value, place: method.place })
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
    let baseline = fields.optional("pqscope.baseline").map(|node| {
        let place = node.place.clone();
        extension::read_baseline(node, findings).map(|value| Located { value, place })
    });
    let bound = read_bound(&mut fields, baseline.is_some(), findings);
    let goal = read_goal(&mut fields, findings);
    let slice_target = fields.optional("timeSliceTarget").map(|node| read_slice_target(node, findings));
    let slice = fields.optional("timeSliceWindow").map(|node| read_slice(node, findings));
    for key in ["compositeWeight", "indicator", "indicatorRef"] {
        if let Some(node) = fields.optional(key) {
            let help = "composite SLOs are not supported: give the SLO one indicator, and write an SLO for each part";
            findings.error(&node.place, format!("`{key}` cannot stand in an objective here"), help);
        }
    }
    let place = fields.place.clone();
    fields.finish(findings);
    let (bound, goal) = (bound?, goal?);
    let (baseline, slice_target, slice) = (sound(baseline)?, sound(slice_target)?, sound(slice)?);
    Some(RawObjective { title, bound, baseline, goal, slice_target, slice, place })
}

/// A field that may be left out, but not be faulty.
fn sound<T>(field: Option<Option<T>>) -> Option<Option<T>> {
    field.map_or(Some(None), |value| value.map(Some))
}

fn read_slice_target(node: &Node, findings: &mut Findings) -> Option<Located<f64>> {
    let number = findings.number(node, "`timeSliceTarget`")?;
    if number.value <= 0.0 || number.value > 1.0 {
        let help = "the share of good events that makes a slice good, such as 0.99";
        findings.error(&number.place, "`timeSliceTarget` must be above 0 and at most 1", help);
        return None;
    }
    Some(number)
}

fn read_slice(node: &Node, findings: &mut Findings) -> Option<Located<Duration>> {
    let slice = span::read(node, "`timeSliceWindow`", findings)?;
    let seconds = slice.value.as_secs();
    let fits = (60..=DAY_SECONDS).contains(&seconds)
        && DAY_SECONDS.is_multiple_of(seconds)
        && seconds.is_multiple_of(Tier::TenSeconds.seconds());
    if !fits {
        let help = "from 1m to 1d, and a whole number of them in a day, such as 5m";
        findings.error(&slice.place, "this is no length for a slice", help);
        return None;
    }
    Some(slice)
}

/// The bound of a threshold metric. The outer `None` is a fault; the inner one an objective without a bound.
fn read_bound(
    fields: &mut Fields<'_>,
    relative: bool,
    findings: &mut Findings,
) -> Option<Option<Located<(Comparison, f64)>>> {
    let op = fields.optional("op");
    let value = fields.optional("value");
    let place = fields.place.clone();
    match (op, value) {
        (Some(op), None) if relative => {
            let op = findings.text(op, "`op`")?;
            if op.value != "lte" {
                findings.error(&op.place, "only latencies up to a baseline are good", "write `op: lte`");
                return None;
            }
            Some(None)
        }
        (_, Some(value)) if relative => {
            let help = "remove `value`: the baseline takes its place; `pinned` is a value to fall back on";
            findings.error(&value.place, "an objective has either `value` or `pqscope.baseline`", help);
            None
        }
        (None, None) => Some(None),
        (Some(op), Some(value)) => {
            let op = findings.text(op, "`op`");
            let value = findings.number(value, "`value`");
            let (op, value) = (op?, value?);
            let comparison = match op.value.as_str() {
                "lte" => Comparison::Lte,
                "lt" => Comparison::Lt,
                "gte" => Comparison::Gte,
                "gt" => Comparison::Gt,
                other => {
                    findings.error(
                        &op.place,
                        format!("`op: {other}` is no comparison"),
                        "write lte, lt, gte or gt",
                    );
                    return None;
                }
            };
            Some(Some(Located { value: (comparison, value.value), place: value.place }))
        }
        _ => {
            findings.error(&place, "`op` and `value` belong together", "such as `op: lte` and `value: 0.3`");
            None
        }
    }
}

fn read_goal(fields: &mut Fields<'_>, findings: &mut Findings) -> Option<Located<RawGoal>> {
    let zero = fields.optional("pqscope.zeroTolerance");
    let growth = fields.optional("pqscope.growth");
    let share = fields.optional("target");
    let percent = fields.optional("targetPercent");
    let written: Vec<&Node> = [share, percent, zero, growth].into_iter().flatten().collect();
    match written.as_slice() {
        [] => {
            let help = "target: 0.999, or targetPercent: 99.9";
            findings.error(&fields.place, "the objective has no target", help);
            None
        }
        [only] => {
            let place = only.place.clone();
            let value = if zero.is_some() {
                RawGoal::ZeroTolerance(extension::read_zero_tolerance(only, findings)?)
            } else if growth.is_some() {
                RawGoal::Growth(extension::read_growth(only, findings)?)
            } else {
                let target = read_target(only, percent.is_some(), findings)?;
                return Some(Located { value: RawGoal::Share(target.value), place: target.place });
            };
            Some(Located { value, place })
        }
        [_, second, ..] => {
            let message = "an objective has one of `target`, `targetPercent`, `pqscope.zeroTolerance` and `pqscope.growth`";
            findings.error(&second.place, message, "keep one of them");
            None
        }
    }
}

fn read_target(node: &Node, percent: bool, findings: &mut Findings) -> Option<Located<Target>> {
    let (key, whole, example) =
        if percent { ("`targetPercent`", 100.0, "99.9") } else { ("`target`", 1.0, "0.999") };
    let number = findings.number(node, key)?;
    // Through the decimal digits, so that 99.9 percent and 0.999 are the same number.
    let value = (number.value / whole * 1e12).round() / 1e12;
    if let Some(target) = Target::new(value) {
        return Some(Located { value: target, place: number.place });
    }
    let (message, help) = if value == 1.0 {
        (
            format!("{key} {} leaves no error budget, so no burn rate can be computed", number.value),
            format!(
                "choose a target below {whole}, such as {example}; where no bad event is tolerated, write \
                 `pqscope.zeroTolerance: {{severity: page}}` in its place"
            ),
        )
    } else if value == 0.0 {
        (
            format!("{key} 0 asks for nothing: every event may be bad"),
            format!("choose a target such as {example}"),
        )
    } else {
        let hint = if !percent && value > 1.0 && value < 100.0 {
            format!("write `targetPercent: {}`", number.value)
        } else {
            format!("such as {example}")
        };
        (format!("{key} must lie between 0 and {whole}"), hint)
    };
    findings.error(&number.place, message, help);
    None
}
