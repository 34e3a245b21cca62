//! The compiled rules against the engine: the same traffic, the same alerts, within one evaluation. Traffic that is meant to
//! be above or below a threshold is so by at least five percent.

#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test stops at whatever it does not expect, and says what it skips"
)]

mod files;
mod harness;

use harness::{Counter, Report, Traffic, agree, by_engine, by_rules, firing, objective, promtool};

const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

fn slo(target: &str, more: &str) -> String {
    format!(
        "apiVersion: openslo/v1
kind: SLO
metadata: {{name: checkout}}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{{duration: 30d, isRolling: true}}]
  indicator:
    spec:
      ratioMetric:
        good: {{metricSource: {{type: pqscope, spec: {{metric: requests, match: {{outcome: completed}}}}}}}}
        total: {{metricSource: {{type: pqscope, spec: {{metric: requests}}}}}}
  objectives: [{{{target}}}]
  pqscope.alerting: {{{more}}}
"
    )
}

const BURN_ONLY: &str = "spike: off, dayShare: off";

/// Spans of traffic, one after the other: length, events per step, bad of a million.
fn spans(step: u64, spans: &[(u64, u64, u64)]) -> Vec<(u64, u64, u64)> {
    let mut counts = vec![(0, 0, 0)];
    let mut owed = 0;
    for (length, events, share) in spans {
        for _ in 0..length / step {
            owed += events * share;
            let bad = owed / 1_000_000;
            owed %= 1_000_000;
            let time = counts.len() as u64 * step;
            counts.push((time, events - bad, bad));
        }
    }
    counts
}

fn both(test: &str, slo: &str, traffic: &Traffic) -> Option<Report> {
    let promtool = promtool(test)?;
    let objective = objective(slo);
    let engine = by_engine(&objective, traffic);
    let rules = by_rules(&objective, traffic, &promtool);
    agree(&engine, &rules, traffic.step);
    Some(rules)
}

fn burning(test: &str, step: u64, parts: &[(u64, u64, u64)]) -> Option<Report> {
    both(test, &slo("target: 0.999", BURN_ONLY), &Traffic::of(step, &spans(step, parts)))
}

#[test]
fn a_total_outage_pages_within_two_minutes_and_resolves() {
    let parts = [(6 * HOUR, 600, 0), (20 * MINUTE, 600, 1_000_000), (2 * HOUR, 600, 0)];
    let Some(report) = burning("a_total_outage", 10, &parts) else { return };
    let page = firing(&report, "1h/5m");
    assert_eq!(page.len(), 2, "{page:?}");
    assert!(page[0].0 - 6 * HOUR <= 2 * MINUTE, "{page:?}");
}
