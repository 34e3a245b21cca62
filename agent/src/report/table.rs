//! The summary for people.

mod details;

use super::Reading;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use pqscope_agent_core::summary::{Counts, Listed, Summary};
use std::io::{self, Write};

/// Servers that get a line.
const SERVERS_SHOWN: usize = 15;

/// Titles of columns of numbers.
const NUMERIC: [&str; 14] = [
    "ATTEMPTS",
    "COMPLETED",
    "COUNT",
    "FAILED",
    "HANDSHAKES",
    "LATENCY",
    "LATENCY p50",
    "LEAST",
    "MEDIAN",
    "MOST",
    "NOT SETTLED",
    "PACKETS",
    "POST-QUANTUM",
    "p95",
];

/// Writes the summary.
pub(crate) fn print(out: &mut impl Write, reading: &Reading, summary: &Summary) -> io::Result<()> {
    headline(out, reading, summary)?;
    if summary.all.total() == 0 {
        return writeln!(out, "\nNo TLS handshake over TCP was seen.");
    }
    overview(out, summary)?;
    counts(out, "KEY EXCHANGE", summary.by_class.iter().map(|(name, counts)| (class_title(name), counts)))?;
    counts(out, "GROUP", sorted(summary.by_group.iter().map(|(name, counts)| (name.to_string(), counts))))?;
    counts(
        out,
        "TLS VERSION",
        sorted(summary.by_version.iter().map(|(name, counts)| (name.clone(), counts))),
    )?;
    details::not_post_quantum(out, &summary.details)?;
    failures(out, summary)?;
    incomplete(out, summary)?;
    details::path(out, &summary.details)?;
    details::ways(out, &summary.details)?;
    details::certificates(out, &summary.details)?;
    servers(out, summary)?;
    listed(out, "SLOWEST COMPLETED", &summary.slowest)?;
    listed(out, "LATEST FAILED", &summary.latest_failed)
}

fn headline(out: &mut impl Write, reading: &Reading, summary: &Summary) -> io::Result<()> {
    let plural = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    write!(
        out,
        "{}, {}, {} over TCP",
        plural(reading.files as u64, "file", "files"),
        plural(reading.packets, "packet", "packets"),
        plural(summary.all.total(), "TLS handshake attempt", "TLS handshake attempts"),
    )?;
    if let (Some(first), Some(last)) = (summary.first, summary.last) {
        write!(out, "\nfirst begun {first}, last ended {last}")?;
    }
    if reading.evicted > 0 {
        write!(
            out,
            "\n{} connections were given up for want of memory: see --max-flows and --max-handshake-bytes",
            reading.evicted
        )?;
    }
    writeln!(out)
}

fn overview(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let all = &summary.all;
    writeln!(
        out,
        "\n{} completed, {} failed, {} not settled by the capture",
        all.completed, all.failed, all.incomplete
    )?;
    writeln!(
        out,
        "post-quantum key exchange: {} of completed handshakes ({} of {})",
        share(all.post_quantum, all.completed),
        all.post_quantum,
        all.completed
    )?;
    writeln!(
        out,
        "post-quantum offered by the client: {} of attempts ({} of {}); retried hellos: {}",
        share(summary.offered_post_quantum, all.total()),
        summary.offered_post_quantum,
        all.total(),
        summary.hello_retries
    )
}

fn class_title(class: &str) -> String {
    match class {
        "hybrid" => "hybrid (classical + post-quantum)",
        "pq" => "post-quantum alone",
        "none" => "none (resumed or pre-shared key)",
        "unknown" => "unknown group",
        other => other,
    }
    .to_owned()
}

/// Largest first.
fn sorted<'a>(
    rows: impl Iterator<Item = (String, &'a Counts)>,
) -> impl Iterator<Item = (String, &'a Counts)> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| b.1.total().cmp(&a.1.total()).then_with(|| a.0.cmp(&b.0)));
    rows.into_iter()
}

fn counts<'a>(
    out: &mut impl Write,
    title: &str,
    rows: impl Iterator<Item = (String, &'a Counts)>,
) -> io::Result<()> {
    let mut table = table(&[title, "COMPLETED", "FAILED", "NOT SETTLED", "LATENCY p50", "p95"]);
    for (name, counts) in rows {
        table.add_row(counts_row(&name, counts));
    }
    write(out, &table)
}

fn counts_row(name: &str, counts: &Counts) -> Vec<Cell> {
    let numbers = [counts.completed, counts.failed, counts.incomplete].map(|n| right(&n.to_string()));
    let latency = [0.5, 0.95].map(|q| right(&milliseconds(counts.latency.quantile(q))));
    [Cell::new(printable(name))].into_iter().chain(numbers).chain(latency).collect()
}

fn failures(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    if summary.failures.is_empty() {
        return Ok(());
    }
    let mut rows: Vec<_> = summary.failures.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let mut table = table(&["FAILURE", "AFTER", "BY", "COUNT"]);
    for (kind, count) in rows {
        table.add_row([
            Cell::new(&kind.cause),
            Cell::new(kind.after),
            Cell::new(kind.by),
            right(&count.to_string()),
        ]);
    }
    write(out, &table)
}

fn incomplete(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    if summary.incomplete.is_empty() {
        return Ok(());
    }
    let mut table = table(&["NOT SETTLED BECAUSE", "COUNT"]);
    for (reason, count) in &summary.incomplete {
        let reason = match *reason {
            "began_late" => "the capture began after the hello",
            "ended_early" => "the capture ended before the handshake did",
            "gap" => "the capture misses bytes that matter",
            "one_sided" => "packets of one side only",
            "truncated" => "packets cut by the snapshot length",
            "evicted" => "given up for want of memory",
            "ambiguous" => "two verdicts fit what was seen",
            other => other,
        };
        table.add_row([Cell::new(reason), right(&count.to_string())]);
    }
    write(out, &table)
}

fn servers(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let rows: Vec<_> =
        sorted(summary.by_server.iter().map(|(name, counts)| (name.clone(), counts))).collect();
    let mut table =
        table(&["SERVER", "COMPLETED", "FAILED", "NOT SETTLED", "LATENCY p50", "p95", "POST-QUANTUM"]);
    for (name, counts) in rows.iter().take(SERVERS_SHOWN) {
        let mut row = counts_row(name, counts);
        row.push(right(&share(counts.post_quantum, counts.completed)));
        table.add_row(row);
    }
    write(out, &table)?;
    if rows.len() > SERVERS_SHOWN {
        writeln!(out, "... and {} more (--format json lists all)", rows.len() - SERVERS_SHOWN)?;
    }
    Ok(())
}

fn listed(out: &mut impl Write, title: &str, rows: &[Listed]) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = table(&[title, "CLIENT", "SERVER", "KEY EXCHANGE", "LATENCY", "CAUSE"]);
    for row in rows {
        let cause = row.failure.as_ref().map_or_else(String::new, |failure| {
            format!("{} by {} after {}", failure.cause, failure.by, failure.after)
        });
        table.add_row([
            Cell::new(row.start),
            Cell::new(&row.client),
            Cell::new(printable(&row.server)),
            Cell::new(&row.group),
            right(&milliseconds(row.latency_seconds)),
            Cell::new(cause),
        ]);
    }
    write(out, &table)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    let right_from_second = |(at, title): (usize, &&str)| {
        if at > 0 && NUMERIC.contains(title) { right(title) } else { Cell::new(title) }
    };
    table.set_header(header.iter().enumerate().map(right_from_second));
    table
}

fn right(text: &str) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn write(out: &mut impl Write, table: &Table) -> io::Result<()> {
    writeln!(out)?;
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.strip_prefix(' ').unwrap_or(line).trim_end())?;
    }
    Ok(())
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage for people")]
    let percent = 100.0 * part as f64 / whole as f64;
    format!("{percent:.1} %")
}

fn milliseconds(seconds: Option<f64>) -> String {
    match seconds.map(|s| s * 1000.0) {
        None => "-".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) if ms < 1000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.2} s", ms / 1000.0),
    }
}

/// Names come from the wire: control characters must not reach a terminal, nor what turns the direction of a line or
/// breaks it.
fn printable(text: &str) -> String {
    let clean = |c: char| match c {
        '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    let shown: String = text.chars().take(64).map(clean).collect();
    if text.chars().count() > 64 { format!("{shown}...") } else { shown }
}
