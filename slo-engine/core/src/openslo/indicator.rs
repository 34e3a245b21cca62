//! `ratioMetric` and `thresholdMetric`: what is counted.

use crate::objective::PromQuery;
use crate::series::Selector;
use crate::yaml::{Fields, Findings, Located, Node, Place, Shape};
use std::collections::{BTreeMap, BTreeSet};

/// How a metric is asked for, as it is written.
#[derive(Clone, Debug)]
pub(super) struct RawQuery {
    pub(super) ask: Ask,
    /// The DataSource that it names.
    pub(super) source: Option<Located<String>>,
    pub(super) place: Place,
}

/// The two languages.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Selector(Selector),
    PromQl(PromQuery),
}

/// An SLI as it is written. What is good about a threshold metric stands in the objective.
#[derive(Clone, Debug)]
pub(super) enum RawIndicator {
    Good { good: RawQuery, total: RawQuery },
    Bad { bad: RawQuery, total: RawQuery },
    Threshold { metric: RawQuery },
    Ratio { ratio: RawQuery, of_good: bool },
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
            .map(|metric| RawIndicator::Threshold { metric }),
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
    let counter = fields.optional("counter").and_then(|node| findings.truth(node, "`counter`"));
    let raw = fields.optional("raw");
    let raw_type = fields.optional("rawType").and_then(|node| findings.text(node, "`rawType`"));
    let good = fields.optional("good");
    let bad = fields.optional("bad");
    let total = fields.optional("total");
    if let Some(raw) = raw {
        let other =
            [("good", good), ("bad", bad), ("total", total)].into_iter().find(|(_, node)| node.is_some());
        if let Some((key, Some(node))) = other {
            let help = "keep `raw`, or count the sides: `good` (or `bad`) and `total`";
            findings.error(&node.place, format!("`{key}` cannot stand beside `raw`"), help);
        }
        let place = fields.place.clone();
        let ratio = read_metric(raw, "`raw`", findings);
        fields.finish(findings);
        return read_raw(ratio, raw_type, &place, findings);
    }
    if let Some(counter) = counter.filter(|counter| !counter.value) {
        let help = "events are counted from counters and histograms; write `counter: true`";
        findings.error(&counter.place, "ratios of gauges are not supported", help);
    }
    if let Some(raw_type) = raw_type {
        findings.error(&raw_type.place, "`rawType` has no meaning without `raw`", "remove it");
    }
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

fn read_raw(
    ratio: Option<RawQuery>,
    raw_type: Option<Located<String>>,
    place: &Place,
    findings: &mut Findings,
) -> Option<RawIndicator> {
    let help =
        "write `rawType: success` when the metric is the share of good events, `rawType: failure` else";
    let Some(raw_type) = raw_type else {
        findings.error(place, "`raw` needs a `rawType`", help);
        return None;
    };
    let of_good = match raw_type.value.as_str() {
        "success" => true,
        "failure" => false,
        other => {
            findings.error(&raw_type.place, format!("`{other}` is no type of a ready-made ratio"), help);
            return None;
        }
    };
    Some(RawIndicator::Ratio { ratio: ratio?, of_good })
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
pub(super) fn read_metric(node: &Node, what: &str, findings: &mut Findings) -> Option<RawQuery> {
    let mut fields = findings.fields(node, what)?;
    let help = "metricSource: {type: pqscope, spec: {metric: pqscope.handshakes}}";
    let source = fields.required("metricSource", findings, help);
    fields.finish(findings);
    read_source(source?, findings)
}

/// Reads the value of a `metricSource`.
pub(super) fn read_source(node: &Node, findings: &mut Findings) -> Option<RawQuery> {
    const HELP: &str =
        "`type: pqscope` with the metric in `spec`, or `type: Prometheus` with `spec: {query: ...}`";
    let mut fields = findings.fields(node, "`metricSource`")?;
    let source = fields.optional("metricSourceRef");
    let source = source.and_then(|node| findings.text(node, "`metricSourceRef`"));
    let kind = fields.required("type", findings, HELP);
    let kind = kind.and_then(|node| findings.text(node, "`type`"));
    let spec = fields.required("spec", findings, HELP);
    fields.finish(findings);
    let (kind, spec) = (kind?, spec?);
    let ask = match kind.value.to_ascii_lowercase().as_str() {
        "pqscope" => Ask::Selector(read_selector(spec, findings)?),
        "prometheus" => {
            if source.is_none() {
                let help = "add `metricSourceRef` with the name of a DataSource of type Prometheus";
                findings.error(&kind.place, "a PromQL query needs a data source", help);
            }
            Ask::PromQl(read_query(spec, findings)?)
        }
        _ => {
            let message = format!("queries of type `{}` are not supported", kind.value);
            findings.error(&kind.place, message, HELP);
            return None;
        }
    };
    Some(RawQuery { ask, source, place: kind.place })
}

fn read_query(node: &Node, findings: &mut Findings) -> Option<PromQuery> {
    let mut fields = findings.fields(node, "the spec of a Prometheus query")?;
    let help = "query: requests_total{code!~\"5..\"}, or an expression with [{{window}}] for the range";
    let query = fields.required("query", findings, help).and_then(|node| findings.text(node, "`query`"));
    fields.finish(findings);
    let query = query?;
    if let Err(why) = crate::promql::check(&PromQuery(query.value.clone())) {
        findings.error(&query.place, format!("this is no PromQL that can be used here: {why}"), help);
        return None;
    }
    Some(PromQuery(query.value))
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
