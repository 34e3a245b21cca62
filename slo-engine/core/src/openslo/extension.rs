//! What OpenSLO v1 has no words for, under keys that begin with `pqscope.`: zero tolerance, growth, relative baselines,
//! and how an SLO alerts beyond one window per condition.

use super::alerting::{SHORTEST, read_severity};
use super::indicator::{RawQuery, read_source};
use super::span;
use crate::burn;
use crate::ledger::{LONGEST_WINDOW, Tier};
use crate::objective::{AlertTier, NoDataPolicy, Severity, SpikeRule};
use crate::yaml::{Findings, Located, Node, Shape};
use std::time::Duration;

/// Longest time that a condition has to hold or to be clear.
const LONGEST_WAIT: Duration = Duration::from_secs(86_400);
/// Longest windows of the spike detector: it finds what burn rates see late.
const LONGEST_SPIKE: Duration = Duration::from_secs(3_600);
const LONGEST_REFERENCE: Duration = Duration::from_secs(7 * 86_400);
/// More events than this no gate can ask for.
const MOST_EVENTS: u64 = 1_000_000_000_000;
/// How long a bad event keeps the incident open unless told otherwise.
const HOLD: Duration = Duration::from_secs(3_600);
/// Fewer classical handshakes than this show no quantile.
const LEAST_BASELINE_EVENTS: u64 = 20;

/// `pqscope.zeroTolerance` of an objective.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawZeroTolerance {
    pub(super) hold: Duration,
    pub(super) severity: Severity,
}

/// Reads `pqscope.zeroTolerance: {severity: page, hold: 1h}`.
pub(super) fn read_zero_tolerance(node: &Node, findings: &mut Findings) -> Option<RawZeroTolerance> {
    let mut fields = findings.fields(node, "`pqscope.zeroTolerance`")?;
    let severity = fields.required("severity", findings, "severity: page, or severity: ticket");
    let severity = severity.and_then(|node| read_severity(node, findings));
    let hold = fields.optional("hold").map(|node| window(node, "`hold`", findings));
    fields.finish(findings);
    let hold = match hold {
        None => HOLD,
        Some(hold) => hold?,
    };
    Some(RawZeroTolerance { hold, severity: severity? })
}

/// `pqscope.growth` of an objective.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawGrowth {
    pub(super) budget: f64,
    pub(super) capacity: Option<f64>,
}

/// Reads `pqscope.growth: {budget: 50e9, capacity: 1e12}`.
pub(super) fn read_growth(node: &Node, findings: &mut Findings) -> Option<RawGrowth> {
    let mut fields = findings.fields(node, "`pqscope.growth`")?;
    let help = "what the gauge may grow by over the window, in its unit, such as 50e9";
    let budget =
        fields.required("budget", findings, help).and_then(|node| positive(node, "`budget`", findings));
    let capacity = fields.optional("capacity").map(|node| positive(node, "`capacity`", findings));
    fields.finish(findings);
    let capacity = match capacity {
        None => None,
        Some(capacity) => Some(capacity?),
    };
    Some(RawGrowth { budget: budget?, capacity })
}

/// `pqscope.baseline` of an objective.
#[derive(Clone, Debug)]
pub(super) struct RawBaseline {
    pub(super) metric: RawQuery,
    pub(super) quantile: f64,
    pub(super) margin: f64,
    pub(super) least_events: u64,
    pub(super) pinned: Option<f64>,
    pub(super) by: Vec<String>,
}

/// Reads `pqscope.baseline: {metricSource: {...}, quantile: 0.95, margin: 0.02, pinned: 0.3, by: [pqscope.service]}`.
pub(super) fn read_baseline(node: &Node, findings: &mut Findings) -> Option<RawBaseline> {
    let mut fields = findings.fields(node, "`pqscope.baseline`")?;
    let metric = fields.required("metricSource", findings, "picks what to compare with");
    let metric = metric.and_then(|node| read_source(node, findings));
    let quantile = fields.required("quantile", findings, "such as 0.95");
    let quantile = quantile.and_then(|node| share(node, "`quantile`", findings));
    let margin =
        fields.required("margin", findings, "added to the quantile, in the unit of the metric, such as 0.02");
    let margin = margin.and_then(|node| findings.number(node, "`margin`"));
    let least = fields.optional("minimumEvents").map(|node| whole(node, "`minimumEvents`", findings));
    let pinned = fields.optional("pinned").map(|node| positive(node, "`pinned`", findings));
    let by = fields.optional("by").map(|node| findings.texts(node, "`by`"));
    fields.finish(findings);
    let margin = margin?;
    if margin.value < 0.0 {
        findings.error(&margin.place, "a margin is not negative", "such as 0.02");
        return None;
    }
    let pinned = match pinned {
        None => None,
        Some(pinned) => Some(pinned?),
    };
    let least_events = match least {
        None => LEAST_BASELINE_EVENTS,
        Some(least) => least?,
    };
    let by = match by {
        None => Vec::new(),
        Some(by) => by?.into_iter().map(|key| key.value).collect(),
    };
    Some(RawBaseline { metric: metric?, quantile: quantile?, margin: margin.value, least_events, pinned, by })
}

/// `pqscope.alerting` of an SLO; what is not told is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct RawAlerting {
    pub(super) tiers: Option<Vec<Located<AlertTier>>>,
    pub(super) clear_for: Option<Duration>,
    pub(super) least_events: Option<u64>,
    pub(super) least_bad: Option<u64>,
    /// The inner `None` switches the detector off.
    pub(super) spike: Option<Option<RawSpike>>,
    /// The inner `None` switches the rule off.
    pub(super) day_share: Option<Option<f64>>,
    pub(super) no_data: Option<NoDataPolicy>,
}

/// `spike` within `pqscope.alerting`; what is not told is `None`.
#[derive(Clone, Debug, Default)]
pub(super) struct RawSpike {
    by: Option<Vec<String>>,
    among: Option<Vec<String>>,
    short: Option<Duration>,
    reference: Option<Duration>,
    least_bad: Option<u64>,
    least_ratio: Option<f64>,
    significance: Option<f64>,
    severity: Option<Severity>,
}

impl RawSpike {
    /// The rule, with what is not told taken from the defaults.
    pub(super) fn rule(self) -> SpikeRule {
        let (by, among) = crate::measure::spike_groups();
        SpikeRule {
            by: self.by.unwrap_or(by),
            among: self.among.unwrap_or(among),
            short: self.short.unwrap_or(Duration::from_secs(180)),
            reference: self.reference.unwrap_or(Duration::from_secs(3_600)),
            least_bad: self.least_bad.unwrap_or(5),
            least_ratio: self.least_ratio.unwrap_or(3.0),
            significance: self.significance.unwrap_or(1e-6),
            pending_for: burn::pending_for(Severity::Page),
            severity: self.severity.unwrap_or(Severity::Page),
        }
    }
}

/// Reads `pqscope.alerting`; `off` switches every condition off.
pub(super) fn read_alerting(node: &Node, findings: &mut Findings) -> Option<RawAlerting> {
    if let Shape::Scalar { text, .. } = &node.shape
        && text == "off"
    {
        let no_data = Some(NoDataPolicy::Hold);
        let tiers = Some(Vec::new());
        return Some(RawAlerting {
            tiers,
            spike: Some(None),
            day_share: Some(None),
            no_data,
            ..RawAlerting::default()
        });
    }
    let mut fields = findings.fields(node, "`pqscope.alerting`")?;
    let tiers = fields.optional("tiers").and_then(|node| findings.list(node, "`tiers`"));
    if let (Some([]), Some(place)) = (tiers, fields.place_of("tiers")) {
        findings.error(place, "`tiers` is empty", "leave it out for the standard window pairs");
    }
    let tiers =
        tiers.map(|nodes| nodes.iter().filter_map(|node| read_tier(node, findings)).collect::<Vec<_>>());
    refuse_twins(tiers.as_deref().unwrap_or_default(), findings);
    let clear_for = fields.optional("clearFor").and_then(|node| wait(node, "`clearFor`", findings));
    let least_events =
        fields.optional("minimumEvents").and_then(|node| whole(node, "`minimumEvents`", findings));
    let least_bad =
        fields.optional("minimumBadEvents").and_then(|node| whole(node, "`minimumBadEvents`", findings));
    let spike = fields.optional("spike").and_then(|node| read_off_or(node, findings, read_spike));
    let day_share = fields
        .optional("dayShare")
        .and_then(|node| read_off_or(node, findings, |node, findings| share(node, "`dayShare`", findings)));
    let no_data = fields.optional("noData").and_then(|node| read_no_data(node, findings));
    fields.finish(findings);
    let clear_for = clear_for.map(|span| span.value);
    Some(RawAlerting { tiers, clear_for, least_events, least_bad, spike, day_share, no_data })
}

/// `off`, or what `read` makes of it. The outer `None` is a fault.
fn read_off_or<T>(
    node: &Node,
    findings: &mut Findings,
    read: impl FnOnce(&Node, &mut Findings) -> Option<T>,
) -> Option<Option<T>> {
    match &node.shape {
        Shape::Scalar { text, .. } if text == "off" => Some(None),
        _ => read(node, findings).map(Some),
    }
}

/// Reads `{long: 1h, short: 5m, factor: 14.4, severity: page, pendingFor: 10s}`.
fn read_tier(node: &Node, findings: &mut Findings) -> Option<Located<AlertTier>> {
    let mut fields = findings.fields(node, "a window pair")?;
    let long = fields.required("long", findings, "the long window, such as 1h");
    let long = long.and_then(|node| window(node, "`long`", findings));
    let short = fields.required("short", findings, "the short window, such as 5m");
    let short = short.and_then(|node| window(node, "`short`", findings));
    let factor =
        fields.required("factor", findings, "the burn rate that both windows must reach, such as 14.4");
    let factor = factor.and_then(|node| positive(node, "`factor`", findings));
    let severity = fields.required("severity", findings, "severity: page, or severity: ticket");
    let severity = severity.and_then(|node| read_severity(node, findings));
    let pending = fields.optional("pendingFor").map(|node| wait(node, "`pendingFor`", findings));
    let place = fields.place.clone();
    fields.finish(findings);
    let (long, short, severity) = (long?, short?, severity?);
    if short > long {
        findings.error(&place, "the short window is longer than the long one", "exchange the two");
        return None;
    }
    let pending_for = match pending {
        None => burn::pending_for(severity),
        Some(pending) => pending?.value,
    };
    let tier = AlertTier { long, short, factor: factor?, pending_for, severity };
    Some(Located { value: tier, place })
}

fn refuse_twins(tiers: &[Located<AlertTier>], findings: &mut Findings) {
    for (position, tier) in tiers.iter().enumerate() {
        if tiers.iter().take(position).any(|other| other.value.name() == tier.value.name()) {
            let message = format!("the window pair {} stands twice", tier.value.name());
            findings.error(&tier.place, message, "keep one of the two");
        }
    }
}

fn read_spike(node: &Node, findings: &mut Findings) -> Option<RawSpike> {
    let mut fields = findings.fields(node, "`spike`")?;
    let mut texts = |key, findings: &mut Findings| {
        let list = fields.optional(key).and_then(|node| findings.texts(node, &format!("`{key}`")));
        list.map(|list| list.into_iter().map(|text| text.value).collect::<Vec<_>>())
    };
    let by = texts("by", findings);
    let among = texts("among", findings);
    let short = fields.optional("short").and_then(|node| window(node, "`short`", findings));
    let reference = fields.optional("reference").and_then(|node| window(node, "`reference`", findings));
    let least_bad =
        fields.optional("minimumBadEvents").and_then(|node| whole(node, "`minimumBadEvents`", findings));
    let least_ratio =
        fields.optional("minimumRatio").and_then(|node| positive(node, "`minimumRatio`", findings));
    let significance =
        fields.optional("significance").and_then(|node| share(node, "`significance`", findings));
    let severity = fields.optional("severity").and_then(|node| read_severity(node, findings));
    let place = fields.place.clone();
    fields.finish(findings);
    for (span, most, what) in
        [(short, LONGEST_SPIKE, "`short` up to 1h"), (reference, LONGEST_REFERENCE, "`reference` up to 7d")]
    {
        if span.is_some_and(|span| span > most) {
            findings.error(&place, "the windows of `spike` are too long to find anything sudden", what);
        }
    }
    let (default_by, _) = crate::measure::spike_groups();
    let divided = by.as_ref().unwrap_or(&default_by);
    if let Some(stray) = among.iter().flatten().find(|key| !divided.contains(key)) {
        findings.error(&place, format!("`among` names `{stray}`, which is not in `by`"), "add it there");
    }
    Some(RawSpike { by, among, short, reference, least_bad, least_ratio, significance, severity })
}

fn read_no_data(node: &Node, findings: &mut Findings) -> Option<NoDataPolicy> {
    if let Shape::Scalar { text, .. } = &node.shape
        && text == "hold"
    {
        return Some(NoDataPolicy::Hold);
    }
    let mut fields = findings.fields(node, "`noData`, unless it is `hold`,")?;
    let after = fields.required("after", findings, "such as 15m");
    let after = after.and_then(|node| span::read(node, "`after`", findings));
    let severity = fields.required("severity", findings, "severity: page, or severity: ticket");
    let severity = severity.and_then(|node| read_severity(node, findings));
    fields.finish(findings);
    Some(NoDataPolicy::Alert { after: after?.value, severity: severity? })
}

/// A time that somebody is made to wait for.
fn wait(node: &Node, what: &str, findings: &mut Findings) -> Option<Located<Duration>> {
    let span = span::read(node, what, findings)?;
    if span.value > LONGEST_WAIT {
        findings.error(&span.place, format!("{what} is too long to be meant"), "a day at most, such as 2m");
        return None;
    }
    Some(span)
}

/// A window that counts can be summed over.
fn window(node: &Node, what: &str, findings: &mut Findings) -> Option<Duration> {
    let span = span::read(node, what, findings)?;
    let bucket = Tier::TenSeconds.seconds();
    if span.value.as_secs() < bucket || span.value > LONGEST_WINDOW {
        findings.error(&span.place, format!("{what} is too short or too long"), "from 10s to 400d");
        return None;
    }
    if span.value >= SHORTEST || span.value.as_secs().is_multiple_of(bucket) {
        return Some(Duration::from_secs(span.value.as_secs().next_multiple_of(bucket)));
    }
    findings.error(&span.place, format!("{what} is no multiple of ten seconds"), "such as 30s");
    None
}

fn positive(node: &Node, what: &str, findings: &mut Findings) -> Option<f64> {
    let number = findings.number(node, what)?;
    if number.value <= 0.0 {
        findings.error(&number.place, format!("{what} must be above zero"), "");
        return None;
    }
    Some(number.value)
}

/// Above 0, at most 1.
fn share(node: &Node, what: &str, findings: &mut Findings) -> Option<f64> {
    let number = findings.number(node, what)?;
    if number.value <= 0.0 || number.value > 1.0 {
        findings.error(&number.place, format!("{what} must be above 0 and at most 1"), "");
        return None;
    }
    Some(number.value)
}

fn whole(node: &Node, what: &str, findings: &mut Findings) -> Option<u64> {
    let text = findings.text(node, what)?;
    match text.value.parse() {
        Ok(number) if (1..=MOST_EVENTS).contains(&number) => Some(number),
        _ => {
            findings.error(
                &text.place,
                format!("{what}: `{}` is no number of events", text.value),
                "write 1 or more",
            );
            None
        }
    }
}
