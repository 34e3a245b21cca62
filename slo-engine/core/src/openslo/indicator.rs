//! `ratioMetric` and `thresholdMetric`: what is counted.

use crate::series::Selector;
use crate::yaml::{Fields, Findings, Located, Node, Place, Shape};
use std::collections::{BTreeMap, BTreeSet};

/// An SLI as it is written. What is good about a threshold metric stands in the objective.
#[derive(Clone, Debug)]
pub(super) enum RawIndicator {
    Good { good: Selector, total: Selector },
    Bad { bad: Selector, total: Selector },
    Threshold { observations: Selector },
}

/// Reads the spec of an SLI.
pub(super) fn read(node: &Node, findings: &mut Findings) -> Option<RawIndicator> {
    let mut fields = findings.fields(node, "the spec of an SLI")?;
    fields.optional("description");
    let ratio = fields.optional("ratioMetric");
    let threshold = fields.optional("thresholdMetric");
    let place = fields.place.clone();
    fields.finish(findings);
    match (ratio, threshold) {
        (Some(ratio), None) => read_ratio(ratio, findings),
        (None, Some(threshold)) => read_metric(threshold, "`thresholdMetric`", findings)
            .map(|observations| RawIndicator::Threshold { observations }),
        (None, None) => {
            findings.error(
                &place,
                "the SLI measures nothing",
                "give it a `ratioMetric` or a `thresholdMetric`",
            );
            None
        }
        (Some(_), Some(threshold)) => {
            let message = "an SLI has either a `ratioMetric` or a `thresholdMetric`";
            findings.error(&threshold.place, message, "make two SLIs of it");
            None
        }
    }
}

fn read_ratio(node: &Node, findings: &mut Findings) -> Option<RawIndicator> {
    let mut fields = findings.fields(node, "`ratioMetric`")?;
    if let Some(counter) = fields.optional("counter").and_then(|node| findings.truth(node, "`counter`"))
        && !counter.value
    {
        let help = "events are counted from counters and histograms; write `counter: true`";
        findings.error(&counter.place, "ratios of gauges are not supported", help);
    }
    for key in ["raw", "rawType"] {
        fields.optional(key);
        if let Some(place) = fields.place_of(key) {
            let help = "count the two sides apart: `good` (or `bad`) and `total`";
            findings.error(
                place,
                format!("`{key}`: ready-made ratios are not supported, they cannot be added up"),
                help,
            );
        }
    }
    let good = fields.optional("good");
    let bad = fields.optional("bad");
    let total = fields.optional("total");
    let sides = pick_sides(&fields, good, bad, total, findings);
    // Every side is read, so that its own faults are reported at the same time.
    let good = good.and_then(|node| read_metric(node, "`good`", findings));
    let bad = bad.and_then(|node| read_metric(node, "`bad`", findings));
    let total = total.and_then(|node| read_metric(node, "`total`", findings));
    fields.finish(findings);
    match sides? {
        Side::Good => Some(RawIndicator::Good { good: good?, total: total? }),
        Side::Bad => Some(RawIndicator::Bad { bad: bad?, total: total? }),
    }
}

enum Side {
    Good,
    Bad,
}

fn pick_sides(
    fields: &Fields<'_>,
    good: Option<&Node>,
    bad: Option<&Node>,
    total: Option<&Node>,
    findings: &mut Findings,
) -> Option<Side> {
    let place = |key| fields.place_of(key).unwrap_or(&fields.place).clone();
    match (good, bad, total) {
        (Some(_), None, Some(_)) => Some(Side::Good),
        (None, Some(_), Some(_)) => Some(Side::Bad),
        (Some(_), Some(_), _) => {
            let help = "keep one of the two; the other is the rest of `total`";
            findings.error(&place("bad"), "a ratio has either `good` or `bad`", help);
            None
        }
        (Some(_), None, None) | (None, Some(_), None) => {
            let side = if good.is_some() { "good" } else { "bad" };
            let help = "add `total` with a metricSource that picks all events, the good and the bad";
            findings.error(
                &place(side),
                format!("`{side}` stands without `total`: a ratio needs its denominator"),
                help,
            );
            None
        }
        (None, None, _) => {
            let help = "add `good` (or `bad`) with a metricSource that picks these events";
            findings.error(&fields.place, "a ratio needs `good` or `bad`", help);
            None
        }
    }
}

/// Reads `{metricSource: {type: pqscope, spec: {...}}}`.
fn read_metric(node: &Node, what: &str, findings: &mut Findings) -> Option<Selector> {
    let mut fields = findings.fields(node, what)?;
    let help = "metricSource: {type: pqscope, spec: {metric: pqscope.handshakes}}";
    let source = fields.required("metricSource", findings, help);
    fields.finish(findings);
    let mut fields = findings.fields(source?, "`metricSource`")?;
    if let Some(reference) = fields.optional("metricSourceRef") {
        let help = "the engine counts what it receives: write `type: pqscope` and name the metric in `spec`";
        findings.error(&reference.place, "references to data sources are not supported yet", help);
    }
    let kind = fields.required("type", findings, "write `type: pqscope`");
    let kind = kind.and_then(|node| findings.text(node, "`type`"));
    let spec = fields.required("spec", findings, help);
    fields.finish(findings);
    let kind = kind?;
    if kind.value != "pqscope" {
        let message = format!("queries of type `{}` are not supported yet", kind.value);
        findings.error(&kind.place, message, "write `type: pqscope` and name the metric in `spec`");
        return None;
    }
    read_selector(spec?, findings)
}

fn read_selector(node: &Node, findings: &mut Findings) -> Option<Selector> {
    let mut fields = findings.fields(node, "the spec of a pqscope metric")?;
    let metric = fields.required("metric", findings, "the OpenTelemetry name, such as pqscope.handshakes");
    let metric = metric.and_then(|node| read_metric_name(node, findings));
    let matches = fields
        .optional("match")
        .map_or_else(|| Some(BTreeMap::new()), |node| read_values(node, "`match`", findings));
    let not_matches = fields
        .optional("not_match")
        .map_or_else(|| Some(BTreeMap::new()), |node| read_values(node, "`not_match`", findings));
    fields.finish(findings);
    Some(Selector { metric: metric?.value, matches: matches?, not_matches: not_matches? })
}

fn read_metric_name(node: &Node, findings: &mut Findings) -> Option<Located<String>> {
    let metric = findings.text(node, "`metric`")?;
    let fits = metric.value.starts_with(|c: char| c.is_ascii_alphabetic())
        && metric.value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/'));
    if !fits {
        let help = "an OpenTelemetry name without labels, such as pqscope.handshakes; labels go to `match`";
        findings.error(&metric.place, format!("`{}` is no metric name", metric.value), help);
        return None;
    }
    Some(metric)
}

fn read_values(
    node: &Node,
    what: &str,
    findings: &mut Findings,
) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let fields = findings.fields(node, what)?;
    let mut values = BTreeMap::new();
    for (key, node) in fields.all() {
        let texts = findings.texts(node, &format!("the value of `{}`", key.value))?;
        if texts.is_empty() {
            no_values(&node.place, &key.value, findings);
        }
        if let Shape::Scalar { text, plain: true } = &node.shape
            && text.contains(['*', '|'])
        {
            let help = "patterns are not supported: list the values, [a, b]; quote the text if it is meant as it stands";
            findings.error(&node.place, format!("`{text}` looks like a pattern"), help);
        }
        values.insert(key.value.clone(), texts.into_iter().map(|text| text.value).collect());
    }
    Some(values)
}

fn no_values(place: &Place, key: &str, findings: &mut Findings) {
    let help = "list at least one value, or remove the attribute";
    findings.error(place, format!("`{key}` has an empty list of values"), help);
}
