//! Prometheus text exposition of the contract's names.
//!
//! The translation is the one that OpenTelemetry's Prometheus compatibility specification describes: dots become
//! underscores, the unit's word is appended unless the name already ends in it, counters end in `_total`, and gauges
//! of unit `1` in `_ratio`.

use crate::metric::{Kind, Metric};
use std::fmt::Write;

/// The Prometheus name of a metric, without the `_bucket`, `_sum` and `_count` of histograms.
pub fn metric_name(metric: &Metric) -> String {
    name_of(metric.name, metric.unit, metric.kind)
}

/// The Prometheus name for an OpenTelemetry name, unit and kind.
pub fn name_of(name: &str, unit: &str, kind: Kind) -> String {
    let mut out = sanitize(name);
    let word = match unit {
        "s" => "seconds",
        "By" => "bytes",
        "1" if kind == Kind::Gauge => "ratio",
        _ => "",
    };
    if !word.is_empty() && !out.ends_with(&format!("_{word}")) {
        out.push('_');
        out.push_str(word);
    }
    if kind == Kind::Counter && !out.ends_with("_total") {
        out.push_str("_total");
    }
    out
}

/// The Prometheus label name of an attribute key.
pub fn label_name(key: &str) -> String {
    sanitize(key)
}

fn sanitize(name: &str) -> String {
    let mut out: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == ':' { c } else { '_' })
        .collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    out
}

/// Writes the `HELP` and `TYPE` lines that open a metric family.
pub fn write_header(out: &mut String, name: &str, kind: Kind, help: &str) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::UpDownCounter | Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Writes `text` in double quotes, as the exposition format and PromQL read it.
pub fn write_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Writes one sample line. `labels` are OpenTelemetry keys with their values; keys are translated, values escaped.
pub fn write_sample<'a>(
    out: &mut String,
    name: &str,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    value: f64,
) {
    out.push_str(name);
    let mut open = false;
    for (key, text) in labels {
        out.push(if open { ',' } else { '{' });
        open = true;
        out.push_str(&label_name(key));
        out.push('=');
        write_quoted(out, text);
    }
    if open {
        out.push('}');
    }
    let _ = match value {
        v if v.is_nan() => writeln!(out, " NaN"),
        v if v == f64::INFINITY => writeln!(out, " +Inf"),
        v if v == f64::NEG_INFINITY => writeln!(out, " -Inf"),
        v => writeln!(out, " {v}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{agent, engine};

    #[test]
    fn names_follow_the_translator() {
        assert_eq!(metric_name(&agent::HANDSHAKES), "pqscope_handshakes_total");
        assert_eq!(metric_name(&agent::DURATION), "pqscope_handshake_duration_seconds");
        assert_eq!(metric_name(&agent::CLIENT_HELLO_SIZE), "pqscope_client_hello_size_bytes");
        assert_eq!(metric_name(&agent::BYTES), "pqscope_agent_bytes_total");
        assert_eq!(metric_name(&agent::COVERAGE), "pqscope_agent_coverage_ratio");
        assert_eq!(metric_name(&engine::BUDGET_EXHAUSTION), "pqscope_slo_budget_exhaustion_seconds");
        assert_eq!(label_name("tls.protocol.version"), "tls_protocol_version");
        assert_eq!(label_name("9lives"), "_9lives");
    }

    #[test]
    fn label_values_are_escaped() {
        let mut out = String::new();
        write_sample(&mut out, "x", [("a.b", "q\"\\\nz")], 1.5);
        assert_eq!(out, "x{a_b=\"q\\\"\\\\\\nz\"} 1.5\n");
        out.clear();
        write_sample(&mut out, "x", [], f64::INFINITY);
        assert_eq!(out, "x +Inf\n");
    }
}
