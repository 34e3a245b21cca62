//! `pqscope-slo status`: every objective of a running engine in a line.

use super::ask::{self, list, number, text};
use super::table::{self, percent};
use anyhow::Context as _;
use pqscope_slo_core::objective::with_prefix;
use serde_json::Value;
use std::io::Write as _;
use std::time::Duration;

/// Prints the objectives, those in trouble first. The answer says whether something fires.
pub(crate) fn status(url: &str, json: bool) -> anyhow::Result<bool> {
    let answer = ask::get(url, "/api/v1/slos")?;
    let mut out = std::io::stdout().lock();
    let firing = list(&answer, "slos").iter().any(|slo| alert_state(slo) == "firing");
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
        return Ok(firing);
    }
    write!(out, "{}", render(&answer)).context("cannot write to standard output")?;
    Ok(firing)
}

fn render(answer: &Value) -> String {
    let mut slos: Vec<&Value> = list(answer, "slos").iter().collect();
    slos.sort_by_key(|slo| urgency(slo));
    let mut table = table::table(&[
        "SLO",
        "SERVICE",
        "GOAL",
        "WINDOW",
        "STATE",
        "ALERT",
        "BUDGET LEFT",
        "GONE IN",
        "BAD",
        "EVENTS",
    ]);
    table::numbers(&mut table, &[6, 7, 8, 9]);
    for slo in &slos {
        let budget = slo.get("budget").unwrap_or(&Value::Null);
        let gone = number(budget, "exhaustion_seconds").filter(|seconds| *seconds > 0.0);
        let gone = gone.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        table.add_row([
            text(slo, "name").to_owned(),
            text(slo, "service").to_owned(),
            text(slo, "goal").to_owned(),
            text(slo, "window").to_owned(),
            text(slo, "state").to_owned(),
            alert(slo),
            percent(number(budget, "remaining")),
            gone.map_or_else(|| "-".to_owned(), table::span),
            amount(slo, number(budget, "bad")),
            amount(slo, number(budget, "total")),
        ]);
    }
    format!(
        "{}\nEvaluated {}. `pqscope-slo explain SLO` says why.\n",
        table::lines(&table),
        text(answer, "at")
    )
}

/// A count; of a growth objective, which has no target, what the gauge grew by and what is allowed.
fn amount(slo: &Value, number: Option<f64>) -> String {
    match number {
        Some(number) if slo.get("objective").is_some_and(Value::is_null) => with_prefix(number),
        number => table::count(number),
    }
}

fn alert_state(slo: &Value) -> &str {
    slo.get("alert").map_or("", |alert| text(alert, "state"))
}

fn alert(slo: &Value) -> String {
    let alert = slo.get("alert").unwrap_or(&Value::Null);
    match (text(alert, "state"), text(alert, "severity")) {
        ("inactive", _) => "-".to_owned(),
        (state, "") => state.to_owned(),
        (state, severity) => format!("{state} ({severity})"),
    }
}

/// Firing first, then what burns, what is spent, what is fine, and what has no data.
fn urgency(slo: &Value) -> (u8, String) {
    let rank = match (alert_state(slo), text(slo, "state")) {
        ("firing", _) => 0,
        ("pending", _) => 1,
        (_, "burning") => 2,
        (_, "overflowed") => 3,
        (_, "exhausted") => 4,
        (_, "no_data") => 7,
        (_, "insufficient_data") => 6,
        _ => 5,
    };
    (rank, text(slo, "name").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn trouble_comes_first() {
        let slo = |name: &str, state: &str, alert: Value| {
            json!({"name": name, "service": "tls", "goal": "99.9 %", "window": "30d", "state": state, "alert": alert,
                "budget": {"remaining": 0.25, "exhaustion_seconds": 7200, "good": 3, "bad": 1, "total": 4}})
        };
        let text = render(&json!({"at": "now", "slos": [
            slo("quiet", "no_data", json!({"state": "inactive", "severity": null})),
            slo("fine", "ok", json!({"state": "inactive", "severity": null})),
            slo("broken", "burning", json!({"state": "firing", "severity": "page"})),
        ]}));
        let order: Vec<usize> =
            ["broken", "fine", "quiet"].iter().map(|name| text.find(name).unwrap()).collect();
        assert!(order.is_sorted(), "{text}");
        assert!(text.contains("firing (page)") && text.contains("25.00 %") && text.contains("2 h"), "{text}");
    }
}
