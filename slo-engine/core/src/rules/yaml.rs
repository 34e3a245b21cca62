//! The file that Prometheus reads: the same objectives give the same bytes.

use super::{Group, Rule, RuleKind};
use crate::time::span_text;
use std::fmt::Write as _;
use std::time::Duration;

/// The groups as YAML, with `header` as comment on top.
pub fn write(groups: &[Group], header: &str) -> String {
    let mut out = String::new();
    comment(&mut out, "", header);
    out.push_str(if groups.is_empty() { "groups: []\n" } else { "groups:\n" });
    for group in groups {
        comment(&mut out, "  ", &group.comment);
        let _ = writeln!(out, "  - name: {}", quoted(&group.name));
        let _ = writeln!(out, "    interval: {}", duration(group.interval));
        out.push_str("    rules:\n");
        for rule in &group.rules {
            write_rule(&mut out, rule);
        }
    }
    out
}

fn write_rule(out: &mut String, rule: &Rule) {
    comment(out, "      ", &rule.comment);
    let annotations = match &rule.kind {
        RuleKind::Record(name) => {
            let _ = writeln!(out, "      - record: {name}");
            write_expression(out, &rule.expression);
            &[][..]
        }
        RuleKind::Alert { name, pending_for, clear_for, annotations } => {
            let _ = writeln!(out, "      - alert: {name}");
            write_expression(out, &rule.expression);
            for (key, span) in [("for", pending_for), ("keep_firing_for", clear_for)] {
                if !span.is_zero() {
                    let _ = writeln!(out, "        {key}: {}", duration(*span));
                }
            }
            annotations
        }
    };
    write_map(out, "labels", &rule.labels);
    write_map(out, "annotations", annotations);
}

fn write_map(out: &mut String, key: &str, pairs: &[(String, String)]) {
    if pairs.is_empty() {
        return;
    }
    let _ = writeln!(out, "        {key}:");
    for (key, value) in pairs {
        let _ = writeln!(out, "          {key}: {}", quoted(value));
    }
}

fn write_expression(out: &mut String, expression: &str) {
    out.push_str("        expr: |-\n");
    for line in expression.lines() {
        let _ = writeln!(out, "          {line}");
    }
}

fn comment(out: &mut String, indent: &str, text: &str) {
    for line in text.lines() {
        let _ = writeln!(out, "{}", format!("{indent}# {line}").trim_end());
    }
}

/// As Prometheus reads it; it knows no fractions.
fn duration(span: Duration) -> String {
    if span.subsec_millis() == 0 { span_text(span) } else { format!("{}ms", span.as_millis()) }
}

/// A scalar in double quotes, which every text fits into. JSON's escapes are among YAML's (YAML 1.2, section 5.7).
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || c == '\u{feff}' => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
