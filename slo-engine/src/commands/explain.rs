//! `pqscope-slo explain SLO`: the numbers behind the state of one objective, and what is missing for each alert condition.

use super::ask::{self, list, number, text};
use super::table::{self, count, percent, rate};
use anyhow::bail;
use serde_json::Value;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

/// Prints everything about one objective.
pub(crate) fn explain(url: &str, name: &str) -> anyhow::Result<()> {
    let answer = ask::get(url, "/api/v1/slos")?;
    let slos = list(&answer, "slos");
    let Some(slo) = slos.iter().find(|slo| text(slo, "name") == name) else {
        let names: Vec<&str> = slos.iter().map(|slo| text(slo, "name")).collect();
        bail!("the engine has no SLO named `{name}`; it has {}", names.join(", "));
    };
    std::io::stdout().lock().write_all(render(slo, text(&answer, "at")).as_bytes())?;
    Ok(())
}

fn render(slo: &Value, at: &str) -> String {
    let mut out = String::new();
    let budget = slo.get("budget").unwrap_or(&Value::Null);
    let _ = writeln!(out, "{} ({})", text(slo, "title"), text(slo, "name"));
    if !text(slo, "description").is_empty() {
        let _ = writeln!(out, "{}", text(slo, "description"));
    }
    let _ = writeln!(
        out,
        "\nGoal      {} over {}, service {}",
        text(slo, "goal"),
        text(slo, "window"),
        text(slo, "service")
    );
    let _ = writeln!(out, "State     {} at {at}", text(slo, "state"));
    if !text(slo, "fault").is_empty() {
        let _ = writeln!(out, "Fault     {}", text(slo, "fault"));
    }
    let _ = writeln!(
        out,
        "Budget    {} left; {} bad of {} events{}",
        percent(number(budget, "remaining")),
        count(number(budget, "bad")),
        count(number(budget, "total")),
        excluded(slo)
    );
    if let Some(seconds) =
        number(budget, "exhaustion_seconds").and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    {
        let _ = writeln!(out, "Gone in   {} at the present rate", table::span(seconds));
    }
    if !text(slo, "renewed_at").is_empty() {
        let _ = writeln!(out, "Renewed   {}", text(slo, "renewed_at"));
    }
    gauge(slo, &mut out);
    windows(slo, &mut out);
    conditions(slo, &mut out);
    baselines(slo, &mut out);
    causes(slo, &mut out);
    out
}

fn excluded(slo: &Value) -> String {
    let total = slo.get("excluded").and_then(|excluded| number(excluded, "total")).unwrap_or(0.0);
    if total > 0.0 { format!(" ({} excluded)", count(Some(total))) } else { String::new() }
}

fn gauge(slo: &Value, out: &mut String) {
    if let Some(level) = slo.get("level").filter(|level| !level.is_null()) {
        let _ = writeln!(out, "Level     {}", count(number(level, "value")));
    }
    if let Some(full) =
        number(slo, "full_in_seconds").and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    {
        let _ = writeln!(out, "Full in   {} at the pace of the last day", table::span(full));
    }
}

fn windows(slo: &Value, out: &mut String) {
    let mut table = table::table(&["WINDOW", "BURN RATE", "BAD", "EVENTS"]);
    table::numbers(&mut table, &[1, 2, 3]);
    for reading in list(slo, "burn_rates") {
        table.add_row([
            text(reading, "window").to_owned(),
            rate(number(reading, "burn_rate")),
            count(number(reading, "bad")),
            count(number(reading, "total")),
        ]);
    }
    let _ = write!(out, "\n{}", table::lines(&table));
}

fn conditions(slo: &Value, out: &mut String) {
    let mut table = table::table(&["CONDITION", "SEVERITY", "FIRES WHEN", "VERDICT"]);
    for tier in list(slo, "tiers") {
        table.add_row([
            text(tier, "windows").to_owned(),
            text(tier, "severity").to_owned(),
            format!("both burn at {} or more", rate(number(tier, "factor"))),
            text(tier, "verdict").to_owned(),
        ]);
    }
    if let Some(breach) = slo.get("breach").filter(|breach| !breach.is_null()) {
        let bad =
            breach.get("held").and_then(|held| held.get("tally")).and_then(|tally| number(tally, "bad"));
        table.add_row([
            "zero tolerance",
            "",
            &format!("one event is bad; {} were", count(bad)),
            text(breach, "verdict"),
        ]);
    }
    for reading in list(slo, "spikes") {
        let spikes = reading.get("spike").and_then(Value::as_bool) == Some(true);
        table.add_row([
            format!("spike {}", labels(reading.get("group").and_then(|group| group.get("labels")))),
            String::new(),
            format!(
                "chance at most the significance; it is {:.1e}",
                number(reading, "chance").unwrap_or(1.0)
            ),
            if spikes { "active" } else { "clear" }.to_owned(),
        ]);
    }
    if let Some(day) = slo.get("day").filter(|day| !day.is_null()) {
        let condition = format!(
            "{} of the budget go in a day; {} did",
            percent(number(day, "limit")),
            percent(number(day, "share"))
        );
        let reached = number(day, "share") >= number(day, "limit");
        let verdict = if reached { text(day, "verdict") } else { "clear" };
        table.add_row(["day's spend", "escalates", &condition, verdict]);
    }
    if table.row_count() > 0 {
        let _ = write!(out, "\n{}", table::lines(&table));
    }
    let alert = slo.get("alert").unwrap_or(&Value::Null);
    let since = text(alert, "since");
    let since = if since.is_empty() { String::new() } else { format!(" since {since}") };
    let _ = writeln!(out, "\nAlert     {}{since}", text(alert, "state"));
}

fn baselines(slo: &Value, out: &mut String) {
    let readings = list(slo, "baselines");
    if readings.is_empty() {
        return;
    }
    let mut table = table::table(&["COMPARED GROUP", "BASELINE", "FROM", "EVENTS", "JUDGED"]);
    table::numbers(&mut table, &[1, 3, 4]);
    for reading in readings {
        table.add_row([
            labels(reading.get("labels")),
            number(reading, "value").map_or_else(|| "-".to_owned(), |value| format!("{value:.4}")),
            text(reading, "source").to_owned(),
            count(number(reading, "events")),
            count(number(reading, "judged")),
        ]);
    }
    let _ = write!(out, "\n{}", table::lines(&table));
}

fn causes(slo: &Value, out: &mut String) {
    let causes = list(slo, "causes");
    if causes.is_empty() {
        return;
    }
    let _ = writeln!(out, "\nMost frequent causes");
    for cause in causes {
        let _ = writeln!(
            out,
            "  {} {}={}",
            count(number(cause, "count")),
            text(cause, "attribute"),
            text(cause, "value")
        );
    }
}

fn labels(value: Option<&Value>) -> String {
    let map = value.and_then(Value::as_object);
    let pairs: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    if pairs.is_empty() { "all traffic".to_owned() } else { pairs.join(" ") }
}
