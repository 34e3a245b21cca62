//! The text of queries over a window that ends now: an indicator goes in, PromQL comes out. Every query is to be asked at
//! one moment (`/api/v1/query`) and gives one sample per group, none where there are no events.
//!
//! Numerators and denominators are asked for apart and never as ratios. `increase` extrapolates to the ends of its window
//! and passes over the first sample of a series, so numbers need not be whole.

use super::WINDOW;
use super::name::{bucket_matcher, metric_of, narrowed, quoted, renamed};
use crate::objective::{Baseline, Budgeting, Comparison, Indicator, PromQuery};
use crate::time::span_text;
use pqscope_telemetry::exposition::label_name;
use std::collections::BTreeMap;
use std::time::Duration;

/// A window that ends some time ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its length.
    pub length: Duration,
    /// How long ago it ended.
    pub ago: Duration,
}

impl Span {
    /// The last so long.
    pub const fn last(length: Duration) -> Self {
        Self { length, ago: Duration::ZERO }
    }
}

/// Which events a query counts beside all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The good ones; bad is the rest.
    Good,
    /// The bad ones; good is the rest.
    Bad,
}

/// Two queries for the events of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// What `part` counts.
    pub side: Side,
    /// Query for some of the events; where it gives nothing there are none of them.
    pub part: String,
    /// Query for all events; where it gives nothing there are none.
    pub total: String,
}

/// Events of a window, by the values of attributes. `None` for indicators that do not count events: relative ones have
/// [`relative`], gauges [`slices`] and [`growth`].
pub fn events(indicator: &Indicator<PromQuery>, span: Span, by: &[String]) -> Option<Counts> {
    let sum = |query: &PromQuery| sum_by(by, &increase(&query.0, span));
    match indicator {
        Indicator::Good { good, total } => {
            Some(Counts { side: Side::Good, part: sum(good), total: sum(total) })
        }
        Indicator::Bad { bad, total } => Some(Counts { side: Side::Bad, part: sum(bad), total: sum(total) }),
        Indicator::AtMost { observations, bound } => {
            Some(at_most(&observations.0, &number(*bound), span, by))
        }
        Indicator::Relative { .. } | Indicator::Level { .. } | Indicator::Ratio { .. } => None,
    }
}

/// Observations up to a bound, which may be an expression that gives a scalar when the histogram is native.
fn at_most(observations: &str, bound: &str, span: Span, by: &[String]) -> Counts {
    let side = Side::Good;
    if is_classic(observations) {
        let bucket = bound.parse().map_or_else(|_| format!("le={}", quoted(bound)), bucket_matcher);
        let part = sum_by(by, &increase(&narrowed(observations, &bucket), span));
        let total = sum_by(by, &increase(&renamed(observations, "_bucket", "_count"), span));
        return Counts { side, part, total };
    }
    let all = sum_by(by, &increase(observations, span));
    let total = format!("histogram_count({all})");
    // Of no observations there is no fraction (NaN), which no comparison lets through.
    Counts { side, part: format!("histogram_fraction(-Inf, {bound}, {all}) * {total} >= 0"), total }
}

/// Whether a selector asks for the buckets of a classic histogram.
pub fn is_classic(observations: &str) -> bool {
    !observations.contains(WINDOW) && metric_of(observations).ends_with("_bucket")
}

/// Queries for a relative indicator: first those about the baseline, each giving a sample per group, then one per group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relative {
    /// The quantile of the baseline, by group, in the unit of the metric.
    pub quantile: String,
    /// The baseline's observations, by group.
    pub usual: String,
    /// The observations that are judged, by group.
    pub judged: String,
}

/// What is asked first for a relative indicator; then [`within`] for every group of `judged`.
pub fn relative(observations: &PromQuery, baseline: &Baseline<PromQuery>, span: Span) -> Relative {
    let by = &baseline.by;
    let counted = |text: &str| {
        if is_classic(text) {
            sum_by(by, &increase(&renamed(text, "_bucket", "_count"), span))
        } else {
            format!("histogram_count({})", sum_by(by, &increase(text, span)))
        }
    };
    let usual = &baseline.observations.0;
    let mut grouped = by.clone();
    if is_classic(usual) {
        grouped.push("le".to_owned());
    }
    Relative {
        quantile: format!(
            "histogram_quantile({}, {}) > -Inf",
            number(baseline.quantile),
            sum_by(&grouped, &increase(usual, span))
        ),
        usual: counted(usual),
        judged: counted(&observations.0),
    }
}

/// Observations of one group up to a bound. `labels` are Prometheus label names with their values; of a label that a group
/// does not have the value is empty. With a query that somebody wrote as an expression the group is picked from its result.
pub fn within(observations: &PromQuery, labels: &BTreeMap<String, String>, bound: f64, span: Span) -> Counts {
    let mut text = observations.0.clone();
    if !text.contains(WINDOW) {
        for (label, value) in labels {
            text = narrowed(&text, &format!("{label}={}", quoted(value)));
        }
    }
    at_most(&text, &number(bound), span, &[])
}

/// When the first sample of a plain selector within a window was taken: seconds since the epoch, to the hour. `None` for
/// an expression.
pub fn first_seen(query: &PromQuery, window: Duration) -> Option<String> {
    let range = span_text(window);
    let plain = !query.0.contains(WINDOW);
    plain.then(|| format!("min(min_over_time(timestamp({})[{range}:1h]))", query.0.trim()))
}

/// Events that their sender folded into an overflow series. `None` for an expression.
pub fn folded(query: &PromQuery, window: Duration) -> Option<String> {
    let matcher = format!("{}=\"true\"", label_name(pqscope_telemetry::attribute::OTEL_OVERFLOW));
    let plain = !query.0.contains(WINDOW);
    plain.then(|| format!("sum(increase({}[{}])) > 0", narrowed(&query.0, &matcher), span_text(window)))
}

/// Share of good events in the slice that ends at the moment of evaluation; nothing without events.
pub fn slice_share(indicator: &Indicator<PromQuery>, slice: Duration) -> Option<String> {
    let range = span_text(slice);
    match indicator {
        Indicator::Level { level, bound: Some((comparison, bound)) } => {
            Some(held(&format!("sum({})", over(&level.0, "last_over_time", &range)), *comparison, *bound))
        }
        Indicator::Ratio { ratio, of_good } => {
            let average = format!("clamp(avg({}), 0, 1)", over(&ratio.0, "last_over_time", &range));
            Some(if *of_good { average } else { format!("1 - {average}") })
        }
        Indicator::Level { bound: None, .. } | Indicator::Relative { .. } => None,
        counted => {
            let Counts { side, part, total } = events(counted, Span::last(slice), &[])?;
            let share = format!("clamp_max((({part}) or 0 * {total}) / ({total} > 0), 1)");
            Some(if side == Side::Good { share } else { format!("1 - {share}") })
        }
    }
}

fn held(value: &str, comparison: Comparison, bound: f64) -> String {
    format!("{value} {} bool {}", comparison.operator(), number(bound))
}

/// Slices of a window: the good and all that had events, as a subquery over `share`, one step per slice. `share` is what
/// [`slice_share`] gives, or the name of a series that it is recorded as, `late` after a slice ended. `None` when events are
/// counted.
pub fn slices(share: &str, budgeting: Budgeting, window: Duration, late: Duration) -> Option<Counts> {
    let slice = budgeting.slice()?;
    let window = window.max(slice);
    // Steps of a subquery stand at multiples of the step, as slices do. A second less than the window leaves out the slice
    // that ended where it begins.
    let range = format!(
        "[{}:{}]{}",
        span_text(window.saturating_sub(Duration::from_secs(1))),
        span_text(slice),
        offset(late)
    );
    // What is recorded late is looked for later than the step, which stays at the end of the slice.
    let share =
        if late.is_zero() { share.to_owned() } else { format!("{share} offset -{}", span_text(late)) };
    let part = match budgeting {
        Budgeting::Timeslices { slice_target, .. } => {
            format!("sum_over_time((({share}) >= bool {}){range})", number(slice_target - 1e-7))
        }
        Budgeting::RatioTimeslices { .. } | Budgeting::Occurrences => {
            format!("sum_over_time(({share}){range})")
        }
    };
    Some(Counts { side: Side::Good, part, total: format!("count_over_time(({share}){range})") })
}

/// What a gauge grew by over a window; less than nothing when it shrank. Where it has no reading from before the window,
/// since the lowest one within it.
pub fn growth(level: &PromQuery, window: Duration) -> String {
    let text = &level.0;
    let range = span_text(window);
    if text.contains(WINDOW) {
        return format!("sum({})", text.replace(WINDOW, &range));
    }
    format!("sum({text} - ({text} offset {range} or min_over_time({text}[{range}])))")
}

/// The gauge now.
pub fn level(level: &PromQuery) -> String {
    format!("sum({})", level.0.replace(WINDOW, "5m"))
}

fn over(text: &str, function: &str, range: &str) -> String {
    if text.contains(WINDOW) { text.replace(WINDOW, range) } else { format!("{function}({text}[{range}])") }
}

/// How far back a selector looks; nothing for now.
pub fn offset(ago: Duration) -> String {
    if ago.is_zero() { String::new() } else { format!(" offset {}", span_text(ago)) }
}

/// What was counted in a window, per series.
fn increase(text: &str, span: Span) -> String {
    let length = span_text(span.length);
    let ago = offset(span.ago);
    if text.contains(WINDOW) {
        let bracket = format!("[{WINDOW}]");
        return text.replace(&bracket, &format!("[{length}]{ago}")).replace(WINDOW, &length);
    }
    format!("increase({}[{length}]{ago})", text.trim())
}

/// Added up by the values of attributes.
pub fn sum_by(by: &[String], text: &str) -> String {
    if by.is_empty() {
        return format!("sum({text})");
    }
    let labels: Vec<String> = by.iter().map(|key| label_name(key)).collect();
    format!("sum by ({}) ({text})", labels.join(", "))
}

/// As PromQL reads it back exactly.
pub fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".to_owned()
    } else if value != 0.0 && !(1e-5..1e15).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use promql_parser::parser;

    const HOUR: Span = Span::last(Duration::from_secs(3_600));

    fn query(text: &str) -> PromQuery {
        PromQuery(text.to_owned())
    }

    fn sound(texts: &[&str]) {
        for text in texts {
            assert!(parser::parse(text).is_ok(), "{text}: {:?}", parser::parse(text).err());
        }
    }

    #[test]
    fn events_are_summed_increases() {
        let indicator = Indicator::Bad { bad: query("e_total{code=\"5\"}"), total: query("e_total") };
        let counts = events(&indicator, HOUR, &[]).unwrap();
        assert_eq!(counts.side, Side::Bad);
        assert_eq!(counts.part, "sum(increase(e_total{code=\"5\"}[1h]))");
        assert_eq!(counts.total, "sum(increase(e_total[1h]))");
        let span = Span { length: Duration::from_secs(3_600), ago: Duration::from_secs(180) };
        let by = ["a.b".to_owned(), "c".to_owned()];
        let counts = events(&indicator, span, &by).unwrap();
        assert_eq!(counts.total, "sum by (a_b, c) (increase(e_total[1h] offset 3m))");
        let written = query("increase(e_total[{{window}}]) - increase(f_total[{{window}}])");
        let written = Indicator::Good { good: written.clone(), total: written };
        let counts = events(&written, span, &[]).unwrap();
        assert_eq!(counts.part, "sum(increase(e_total[1h] offset 3m) - increase(f_total[1h] offset 3m))");
        sound(&[&counts.part]);
    }

    #[test]
    fn histograms_of_both_kinds_are_asked_for_a_bound() {
        let at_most = |text: &str, bound| {
            events(&Indicator::AtMost { observations: query(text), bound }, HOUR, &[]).unwrap()
        };
        let native = at_most("d_seconds{a=\"x\"}", 0.3);
        assert_eq!(native.total, "histogram_count(sum(increase(d_seconds{a=\"x\"}[1h])))");
        assert!(native.part.starts_with("histogram_fraction(-Inf, 0.3, sum(increase("), "{}", native.part);
        let classic = at_most("d_seconds_bucket{a=\"x\"}", 0.3);
        assert_eq!(classic.part, "sum(increase(d_seconds_bucket{a=\"x\",le=\"0.3\"}[1h]))");
        assert_eq!(classic.total, "sum(increase(d_seconds_count{a=\"x\"}[1h]))");
        sound(&[&native.part, &native.total, &classic.part, &classic.total]);
    }

    #[test]
    fn baselines_are_asked_by_group() {
        let baseline = Baseline {
            observations: query("d_seconds{class=\"classical\"}"),
            quantile: 0.95,
            margin: 0.02,
            least_events: 20,
            pinned: None,
            by: vec!["pqscope.service".to_owned()],
        };
        let asked = relative(&query("d_seconds{class=\"hybrid\"}"), &baseline, HOUR);
        assert_eq!(
            asked.quantile,
            "histogram_quantile(0.95, sum by (pqscope_service) (increase(d_seconds{class=\"classical\"}[1h]))) > -Inf"
        );
        let labels = BTreeMap::from([("pqscope_service".to_owned(), "shop \"a\"".to_owned())]);
        let group = within(&query("d_seconds{class=\"hybrid\"}"), &labels, 0.12, HOUR);
        assert!(group.part.contains("pqscope_service=\"shop \\\"a\\\"\""), "{}", group.part);
        sound(&[&asked.quantile, &asked.usual, &asked.judged, &group.part, &group.total]);
    }

    #[test]
    fn slices_and_growth_are_subqueries_and_differences() {
        let five = Duration::from_secs(300);
        let level = Indicator::Level { level: query("q"), bound: Some((Comparison::Lte, 10.0)) };
        let share = slice_share(&level, five).unwrap();
        assert_eq!(share, "sum(last_over_time(q[5m])) <= bool 10");
        let rule = Budgeting::Timeslices { slice: five, slice_target: 1.0 };
        let counts = slices(&share, rule, Duration::from_secs(3_600), Duration::ZERO).unwrap();
        assert_eq!(counts.total, "count_over_time((sum(last_over_time(q[5m])) <= bool 10)[59m59s:5m])");
        let ratio = Indicator::Ratio { ratio: query("r"), of_good: false };
        let share = slice_share(&ratio, five).unwrap();
        assert_eq!(share, "1 - clamp(avg(last_over_time(r[5m])), 0, 1)");
        let events = Indicator::Good { good: query("g_total"), total: query("t_total") };
        let of_events = slice_share(&events, five).unwrap();
        let grown = growth(&query("size_bytes{a=\"b\"}"), Duration::from_secs(86_400));
        sound(&[&counts.part, &counts.total, &share, &of_events, &grown]);
    }

    #[test]
    fn numbers_are_read_back_as_they_are() {
        for value in [0.0, 0.3, 14.4, 1e-6, 5e10, 1e300, 0.1 + 0.2] {
            assert_eq!(number(value).parse::<f64>().unwrap(), value, "{}", number(value));
        }
    }
}
