//! The tables: verdicts and figures enter, text leaves. Collects first and prints last, so that differences stand at the end.

use crate::compare::{Field, Verdict};
use crate::figures::{Figures, share};
use crate::stack::Stack;
use crate::truth::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Equal, unknown and different of one cell.
type Cell = (u32, u32, u32);

/// Everything that is printed.
#[derive(Default)]
pub(crate) struct Table {
    rows: BTreeMap<(&'static str, &'static str), BTreeMap<Stack, Cell>>,
    /// Differences, one line each.
    pub(crate) differences: Vec<String>,
    compared: Cell,
}

impl Table {
    /// Adds what became of one connection.
    pub(crate) fn add(&mut self, connection: &Connection, fields: &[Field]) {
        for (name, verdict) in fields {
            let row = self.rows.entry((connection.scenario, name)).or_default();
            for cell in [row.entry(connection.server).or_default(), &mut self.compared] {
                match verdict {
                    Verdict::Equal => cell.0 += 1,
                    Verdict::Unknown => cell.1 += 1,
                    Verdict::Different(..) => cell.2 += 1,
                }
            }
            if let Verdict::Different(right, said) = verdict {
                let about = about(connection);
                self.differences.push(format!("{about}: {name}: the ends say {right}, the record {said}"));
            }
        }
    }

    /// Scenario and field down, the server's stack across; equal/told, with `+n` left open.
    pub(crate) fn text(&self) -> String {
        let stacks: BTreeSet<Stack> = self.rows.values().flat_map(BTreeMap::keys).copied().collect();
        let mut text = format!("{:<28}{:<30}", "scenario", "field");
        for stack in &stacks {
            let _ = write!(text, "{:>13}", stack.name());
        }
        text.push('\n');
        let mut before = "";
        for ((scenario, field), cells) in &self.rows {
            let shown = if *scenario == before { "" } else { scenario };
            before = scenario;
            let _ = write!(text, "{shown:<28}{field:<30}");
            for stack in &stacks {
                let cell = cells.get(stack).map_or_else(String::new, |(equal, unknown, different)| {
                    let told = equal + different;
                    let open = if *unknown > 0 { format!(" +{unknown}") } else { String::new() };
                    format!("{equal}/{told}{open}")
                });
                let _ = write!(text, "{cell:>13}");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        let (equal, unknown, different) = self.compared;
        let told = equal + different;
        let _ = writeln!(
            text,
            "\n{equal} of {told} told fields are equal, {unknown} were left open, {different} differ."
        );
        text
    }
}

/// Names a connection, so that it is found in the capture.
pub(crate) fn about(connection: &Connection) -> String {
    let (client, server) = (connection.client.name(), connection.server.name());
    let (near, far) = connection.ports;
    format!("{} ({client} to {server}; tcp port {near} and tcp port {far})", connection.scenario)
}

/// Figures of what is inferred.
pub(crate) fn figures(figures: &Figures) -> String {
    let mut text = String::from("Sizes inferred from full TLS 1.3 handshakes, by the server's stack\n");
    let _ = writeln!(
        text,
        "{:<9}{:>7}{:>8}{:>9}{:>7}{:>14}{:>13}{:>9}{:>18}{:>22}  {:<10}records in the flight",
        "server",
        "shakes",
        "right",
        "unknown",
        "wrong",
        "message <1 %",
        "bounds hold",
        "too wide",
        "width 50/99/max",
        "the same, OCSP asked",
        "habit"
    );
    for (stack, sizes) in &figures.sizes {
        let habit = if stack.separates() { "separate" } else { "coalesced" };
        let records: Vec<_> =
            sizes.records.iter().map(|(records, times)| format!("{records}: {times}")).collect();
        let _ = writeln!(
            text,
            "{:<9}{:>7}{:>7.2}%{:>9}{:>7}{:>14}{:>13}{:>9}{:>18}{:>22}  {habit:<10}{}",
            stack.name(),
            sizes.handshakes,
            100.0 * share(sizes.right, sizes.handshakes),
            sizes.unknown,
            sizes.wrong,
            format!("{}/{}", sizes.message_near, sizes.message_told),
            format!("{}/{}", sizes.bounds_hold, sizes.bounds_told),
            sizes.too_wide,
            widths(&sizes.widths),
            widths(&sizes.widths_with_ocsp),
            records.join(", ")
        );
    }
    let alerts = &figures.alerts;
    let _ = writeln!(
        text,
        "\nEncrypted alerts of TLS 1.3, over {} failures and {} successes: precision {:.3}, recall {:.3} (found {}, missed {}, \
         invented {}); ambiguous: {} failures ({:.1} %), {} successes",
        alerts.failures,
        alerts.successes,
        alerts.precision(),
        alerts.recall(),
        alerts.found,
        alerts.missed,
        alerts.invented,
        alerts.ambiguous,
        100.0 * if alerts.failures == 0 { 0.0 } else { share(alerts.ambiguous, alerts.failures) },
        alerts.ambiguous_successes
    );
    text
}

fn widths(widths: &[u64]) -> String {
    let mut sorted = widths.to_vec();
    sorted.sort_unstable();
    let at = |hundredth: usize| {
        sorted.get((sorted.len().saturating_sub(1)) * hundredth / 100).map_or("-".to_owned(), u64::to_string)
    };
    format!("{}/{}/{}", at(50), at(99), at(100))
}
