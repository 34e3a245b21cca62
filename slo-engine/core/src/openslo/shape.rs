//! An SLI as it is written joined with what its objective says: the shape of the indicator, in the queries of whoever is
//! asked.

use super::indicator::{RawIndicator, RawQuery};
use super::slo::{Method, RawGoal, RawObjective, RawSlo};
use crate::objective::{Baseline, Comparison, Indicator};
use crate::yaml::Findings;

/// The indicator of an objective, its queries as written.
pub(super) fn indicator(
    raw: &RawIndicator,
    slo: &RawSlo,
    objective: &RawObjective,
    findings: &mut Findings,
) -> Option<Indicator<RawQuery>> {
    if let RawGoal::Growth(_) = objective.goal.value {
        return growth(raw, objective, findings);
    }
    if let (Some(baseline), false) = (&objective.baseline, matches!(raw, RawIndicator::Threshold { .. })) {
        let help = "remove it; baselines belong to a thresholdMetric";
        findings.error(&baseline.place, "a ratio is compared with its target only", help);
        return None;
    }
    match raw {
        RawIndicator::Threshold { metric } => threshold(metric, slo, objective, findings),
        _ if objective.bound.is_some() => {
            let help = "remove `op` and `value`; they belong to a thresholdMetric";
            let place = objective.bound.as_ref().map_or(&objective.place, |bound| &bound.place);
            findings.error(place, "a ratio has no threshold", help);
            None
        }
        RawIndicator::Good { good, total } => {
            Some(Indicator::Good { good: good.clone(), total: total.clone() })
        }
        RawIndicator::Bad { bad, total } => Some(Indicator::Bad { bad: bad.clone(), total: total.clone() }),
        RawIndicator::Ratio { ratio, of_good } => {
            if slo.method.value == Method::Occurrences {
                let help = "write `budgetingMethod: RatioTimeslices` with `timeSliceWindow`, or count `good` and `total`";
                findings.error(
                    &ratio.place,
                    "ready-made ratios cannot be added up: they say nothing of how many",
                    help,
                );
                return None;
            }
            Some(Indicator::Ratio { ratio: ratio.clone(), of_good: *of_good })
        }
    }
}

fn growth(
    raw: &RawIndicator,
    objective: &RawObjective,
    findings: &mut Findings,
) -> Option<Indicator<RawQuery>> {
    match (raw, &objective.bound, &objective.baseline) {
        (RawIndicator::Threshold { metric }, None, None) => {
            Some(Indicator::Level { level: metric.clone(), bound: None })
        }
        (RawIndicator::Threshold { .. }, ..) => {
            let help = "remove `op`, `value` and `pqscope.baseline`";
            findings.error(&objective.goal.place, "growth is measured against its budget alone", help);
            None
        }
        _ => {
            let help = "give the SLI a `thresholdMetric` that picks a gauge";
            findings.error(&objective.goal.place, "only a gauge grows", help);
            None
        }
    }
}

fn threshold(
    metric: &RawQuery,
    slo: &RawSlo,
    objective: &RawObjective,
    findings: &mut Findings,
) -> Option<Indicator<RawQuery>> {
    if let Some(baseline) = &objective.baseline {
        if slo.method.value != Method::Occurrences {
            let help = "write `budgetingMethod: Occurrences`";
            findings.error(&baseline.place, "a baseline compares observations, not slices", help);
            return None;
        }
        let raw = &baseline.value;
        let baseline = Baseline {
            observations: raw.metric.clone(),
            quantile: raw.quantile,
            margin: raw.margin,
            least_events: raw.least_events,
            pinned: raw.pinned,
            by: raw.by.clone(),
        };
        return Some(Indicator::Relative { observations: metric.clone(), baseline });
    }
    let Some(bound) = &objective.bound else {
        let help = "add `op: lte` and `value`, in the unit of the metric";
        findings.error(&objective.place, "a threshold metric needs a bound in the objective", help);
        return None;
    };
    let (comparison, value) = bound.value;
    // A slice without a target of its own is judged by a gauge; with one, by the share of observations.
    if slo.method.value != Method::Occurrences && objective.slice_target.is_none() {
        return Some(Indicator::Level { level: metric.clone(), bound: Some(bound.value) });
    }
    // A histogram does not tell an observation at the bound from one just below it.
    if !matches!(comparison, Comparison::Lte | Comparison::Lt) {
        let help = "write `op: lte`: observations up to `value` are good";
        findings.error(&bound.place, "observations above a bound are not counted as good", help);
        return None;
    }
    if value <= 0.0 {
        findings.error(&bound.place, "`value` must be above zero", "in the unit of the metric, such as 0.3");
        return None;
    }
    Some(Indicator::AtMost { observations: metric.clone(), bound: value })
}
