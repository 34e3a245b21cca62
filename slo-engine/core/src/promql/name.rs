//! Names and matchers: a selector over OpenTelemetry names goes in, a plain PromQL vector selector comes out.
//!
//! Names of our own metrics take unit and kind from the contract. Of a metric of others neither is known: what is counted
//! ends in `_total` and has no unit, histograms and gauges have neither. Where that does not fit, the query has to be
//! written as PromQL.

use crate::series::Selector;
use pqscope_telemetry::exposition::{label_name, metric_name, name_of, write_quoted};
use pqscope_telemetry::metric::{self, Kind};
use std::collections::BTreeSet;

/// What the place of a selector in an indicator says of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Its events are counted.
    Events,
    /// A histogram in one series.
    Native,
    /// A histogram as a series per bucket.
    Buckets,
    /// A value at a moment.
    Gauge,
}

/// The vector selector, such as `pqscope_handshakes_total{pqscope_outcome="failed"}`. Labels stand in the order of their
/// keys, those that are asked for before those that are not.
pub fn selector(selector: &Selector, place: Place) -> String {
    let name = prometheus_name(&selector.metric, place);
    let asked = selector.matches.iter().flat_map(|(key, values)| matching(key, values));
    let unwanted = selector.not_matches.iter().filter_map(|(key, values)| not_matching(key, values));
    let matchers: Vec<String> = asked.chain(unwanted).collect();
    if matchers.is_empty() { name } else { format!("{name}{{{}}}", matchers.join(",")) }
}

fn prometheus_name(name: &str, place: Place) -> String {
    let known = metric::named(name);
    let kind = known.map_or(
        match place {
            Place::Events => Kind::Counter,
            Place::Native | Place::Buckets => Kind::Histogram,
            Place::Gauge => Kind::UpDownCounter,
        },
        |metric| metric.kind,
    );
    let base = known.map_or_else(|| name_of(name, "", kind), metric_name);
    match (kind, place) {
        // The number of observations is a counter of its own.
        (Kind::Histogram, Place::Events) => format!("{base}_count"),
        (Kind::Histogram, Place::Buckets) => format!("{base}_bucket"),
        _ => base,
    }
}

/// No value at all cannot be met: two matchers that exclude each other.
fn matching(key: &str, values: &BTreeSet<String>) -> Vec<String> {
    let label = label_name(key);
    match values.first() {
        None => vec![format!("{label}=\"\""), format!("{label}!=\"\"")],
        Some(only) if values.len() == 1 => vec![format!("{label}={}", quoted(only))],
        Some(_) => vec![format!("{label}=~{}", quoted(&alternatives(values)))],
    }
}

fn not_matching(key: &str, values: &BTreeSet<String>) -> Option<String> {
    let label = label_name(key);
    match values.first() {
        None => None,
        Some(only) if values.len() == 1 => Some(format!("{label}!={}", quoted(only))),
        Some(_) => Some(format!("{label}!~{}", quoted(&alternatives(values)))),
    }
}

/// A regular expression for exactly these values; Prometheus anchors it. The empty value stands for a missing label.
fn alternatives(values: &BTreeSet<String>) -> String {
    values.iter().map(|value| literal(value)).collect::<Vec<_>>().join("|")
}

/// As RE2 reads it literally.
pub fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A string literal of PromQL, in double quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_quoted(&mut out, text);
    out
}

/// The name of the metric that a plain selector asks for, when it stands in front.
pub fn metric_of(selector: &str) -> &str {
    selector.split('{').next().unwrap_or_default().trim()
}

/// A plain selector under another name.
pub fn renamed(selector: &str, from: &str, to: &str) -> String {
    let name = metric_of(selector);
    let rest = selector.trim().strip_prefix(name).unwrap_or_default();
    format!("{}{to}{rest}", name.strip_suffix(from).unwrap_or(name))
}

/// A plain selector with one more matcher.
pub fn narrowed(selector: &str, matcher: &str) -> String {
    let selector = selector.trim();
    match selector.strip_suffix('}') {
        None => format!("{selector}{{{matcher}}}"),
        Some(open) => {
            let open = open.trim_end().trim_end_matches(',');
            let comma = if open.ends_with('{') { "" } else { "," };
            format!("{open}{comma}{matcher}}}")
        }
    }
}

/// The matcher of the bucket that ends at a bound. Whole numbers are written `1` or `1.0`, which depends on the version of
/// the client.
pub fn bucket_matcher(bound: f64) -> String {
    if bound.fract() == 0.0 { format!("le=~\"{bound}|{bound}\\\\.0\"") } else { format!("le=\"{bound}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::PromQuery;
    use std::collections::BTreeMap;

    fn picked(metric: &str, matches: &[(&str, &[&str])], not_matches: &[(&str, &[&str])]) -> Selector {
        let map = |pairs: &[(&str, &[&str])]| -> BTreeMap<String, BTreeSet<String>> {
            let owned = pairs.iter().map(|(key, values)| {
                ((*key).to_owned(), values.iter().map(|value| (*value).to_owned()).collect())
            });
            owned.collect()
        };
        Selector { metric: metric.to_owned(), matches: map(matches), not_matches: map(not_matches) }
    }

    #[test]
    fn names_follow_unit_and_kind() {
        let name = |metric: &str, place| selector(&picked(metric, &[], &[]), place);
        assert_eq!(name("pqscope.handshakes", Place::Events), "pqscope_handshakes_total");
        assert_eq!(name("pqscope.handshake.duration", Place::Native), "pqscope_handshake_duration_seconds");
        assert_eq!(
            name("pqscope.handshake.duration", Place::Buckets),
            "pqscope_handshake_duration_seconds_bucket"
        );
        assert_eq!(
            name("pqscope.handshake.duration", Place::Events),
            "pqscope_handshake_duration_seconds_count"
        );
        assert_eq!(name("pqscope.agent.coverage", Place::Gauge), "pqscope_agent_coverage_ratio");
        assert_eq!(name("http.server.requests", Place::Events), "http_server_requests_total");
        assert_eq!(name("queue.depth", Place::Gauge), "queue_depth");
    }

    #[test]
    fn matchers_say_what_the_selector_says() {
        let text = selector(
            &picked(
                "requests",
                &[("a.b", &["x"]), ("c", &["", "5.x", "y|z"]), ("d", &[""])],
                &[("e", &["true"]), ("f", &["p", "q"])],
            ),
            Place::Events,
        );
        assert_eq!(text, r#"requests_total{a_b="x",c=~"|5\\.x|y\\|z",d="",e!="true",f!~"p|q"}"#);
        let never = selector(&picked("requests", &[("s", &[])], &[("t", &[])]), Place::Events);
        assert_eq!(never, r#"requests_total{s="",s!=""}"#);
    }

    #[test]
    fn odd_values_stay_what_they_are() {
        let odd = "a\"b\\c\nd.e*(f)[g]{h}^$+?";
        for values in [&[odd][..], &[odd, "x"]] {
            let text = selector(&picked("requests", &[("k", values)], &[]), Place::Events);
            assert_eq!(crate::promql::check(&PromQuery(text.clone())), Ok(()), "{text}");
        }
    }

    #[test]
    fn selectors_can_be_narrowed_and_renamed() {
        assert_eq!(narrowed("a", "le=\"1\""), "a{le=\"1\"}");
        assert_eq!(narrowed("a{}", "le=\"1\""), "a{le=\"1\"}");
        assert_eq!(narrowed("a{b=\"}\", }", "le=\"1\""), "a{b=\"}\",le=\"1\"}");
        assert_eq!(renamed("d_bucket{b=\"_bucket\"}", "_bucket", "_count"), "d_count{b=\"_bucket\"}");
        assert_eq!(bucket_matcher(0.3), "le=\"0.3\"");
        assert_eq!(bucket_matcher(2.0), "le=~\"2|2\\\\.0\"");
    }
}
