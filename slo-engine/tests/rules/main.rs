//! The compiled rules against the engine and the reference model: the same traffic, the same alerts, within one evaluation.
//! Traffic that is meant to be above or below a threshold is so by at least five percent.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at whatever it does not expect"
)]

mod files;
mod harness;
mod histories;
mod prometheus;
#[expect(dead_code, reason = "the core's own tests ask it for more")]
#[path = "../../core/tests/reference/mod.rs"]
mod reference;

use harness::{Counter, Report, Traffic, all_agree, by_engine, by_rules, firing, objective, promtool};

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
    both_late(test, slo, traffic, 0)
}

/// With counters that the rules read so many seconds late.
fn both_late(test: &str, slo: &str, traffic: &Traffic, delay: u64) -> Option<Report> {
    let promtool = promtool(test)?;
    let objective = objective(slo);
    let engine = by_engine(&objective, traffic);
    let rules = by_rules(&objective, traffic, delay, &promtool);
    all_agree(&objective, traffic, &engine, &rules);
    Some(rules)
}

fn burning(test: &str, step: u64, parts: &[(u64, u64, u64)]) -> Option<Report> {
    both(test, &slo("target: 0.999", BURN_ONLY), &Traffic::of(step, &spans(step, parts)))
}

/// When conditions of the SRE Workbook began to fire, in minutes since the burn began.
fn fired(report: &Report, name: &str, begin: u64) -> Vec<u64> {
    let changes = firing(report, name);
    changes.iter().filter(|(_, fires)| *fires).map(|(time, _)| time.saturating_sub(begin) / MINUTE).collect()
}

#[test]
fn a_total_outage_pages_within_two_minutes_and_resolves() {
    let parts = [(2 * HOUR, 600, 0), (20 * MINUTE, 600, 1_000_000), (HOUR + 30 * MINUTE, 600, 0)];
    let Some(report) = burning("a_total_outage", 10, &parts) else { return };
    let page = firing(&report, "1h/5m");
    assert_eq!(page.len(), 2, "{page:?}");
    assert!(page[0].0 - 2 * HOUR <= 2 * MINUTE, "{page:?}");
}

/// SRE Workbook, chapter 5, table 5-8 and the text around it: 99.9 % over 30 days, error rates of 10 %, 1.44 %, 0.6 % and
/// 0.1 % are found by a fast page, the page, the slow page and the ticket; 5 % above and below each factor here.
#[test]
fn the_workbooks_burn_rates_are_found_by_the_pairs_that_are_meant_to() {
    for (share, pages, slow_pages, tickets) in [
        (100_000, true, true, true),
        (15_120, true, true, true),
        (13_680, false, true, true),
        (6_300, false, true, true),
        (5_700, false, false, true),
    ] {
        let parts = [(26 * HOUR, 6_000, 0), (8 * HOUR, 6_000, share), (2 * HOUR, 6_000, 0)];
        let Some(report) = burning("the_workbooks_burn_rates", 2 * MINUTE, &parts) else { return };
        let begin = 26 * HOUR;
        assert_eq!(!fired(&report, "1h/5m", begin).is_empty(), pages, "{share}: {report:?}");
        assert_eq!(!fired(&report, "6h/30m", begin).is_empty(), slow_pages, "{share}: {report:?}");
        assert_eq!(
            !fired(&report, "1d/2h", begin).is_empty(),
            tickets && share > 7_200,
            "{share}: {report:?}"
        );
        if share == 100_000 {
            // f x L / b is 14.4 x 60 / 100 = 8.64 minutes: seen at the evaluation after ten, fired one later.
            assert_eq!(fired(&report, "1h/5m", begin), [12], "{report:?}");
        }
    }
}

#[test]
fn slow_burns_open_tickets_only_above_their_factor() {
    for (share, day, days) in [(3_150, true, true), (950, false, false)] {
        let parts = [(3 * 24 * HOUR, 6_000, share)];
        let Some(report) = burning("slow_burns", 2 * MINUTE, &parts) else { return };
        assert_eq!(!fired(&report, "1d/2h", 0).is_empty(), day, "{share}: {report:?}");
        assert_eq!(!fired(&report, "3d/6h", 0).is_empty(), days, "{share}: {report:?}");
    }
}

#[test]
fn silence_is_no_recovery_and_recovery_has_to_be_shown() {
    let mut counts = spans(MINUTE, &[(2 * HOUR, 600, 0), (20 * MINUTE, 600, 500_000)]);
    let last = counts.last().unwrap().0;
    // Five hours without a sample, then half an hour of health.
    let back = last + 5 * HOUR;
    counts.extend((0..90).map(|number| (back + number * MINUTE, 600, 0)));
    let Some(report) =
        both("silence_is_no_recovery", &slo("target: 0.999", BURN_ONLY), &Traffic::of(MINUTE, &counts))
    else {
        return;
    };
    let page = firing(&report, "1h/5m");
    assert_eq!(page.len(), 2, "{page:?}");
    assert!(page[1].0 >= back, "resolved while nothing was known: {page:?}");
}

/// Of two senders one begins anew in the hour before, twice while the budget burns, and once more after a minute without
/// a sample. The burn is so near to the factor that a few events counted twice, or not at all, would change what is said.
fn with_restarts(share: u64) -> Traffic {
    let counts = spans(MINUTE, &[(90 * MINUTE, 600, share), (30 * MINUTE, 600, 0)]);
    let counter = |instance, outcome: &str, pick: fn(&(u64, u64, u64)) -> u64| {
        let increments = counts.iter().map(|count| Some(pick(count))).collect();
        Counter::new(instance, vec![("outcome", outcome.to_owned())], increments)
    };
    let mut series = Vec::new();
    for instance in ["steady", "fragile"] {
        series.push(counter(instance, "completed", |count| count.1));
        series.push(counter(instance, "failed", |count| count.2));
    }
    for counter in series.iter_mut().filter(|counter| counter.instance == "fragile") {
        counter.restarts = vec![40, 65, 70, 81];
        // It comes back at zero.
        for restart in &counter.restarts {
            counter.increments[*restart] = Some(0);
        }
        counter.increments[80] = None;
    }
    Traffic { step: MINUTE, series }
}

#[test]
fn counters_that_begin_anew_lose_and_invent_nothing() {
    for (share, pages) in [(15_120, true), (13_680, false)] {
        let Some(report) = both("counters_anew", &slo("target: 0.999", BURN_ONLY), &with_restarts(share))
        else {
            return;
        };
        assert_eq!(!firing(&report, "1h/5m").is_empty(), pages, "{share}: {report:?}");
    }
}

/// A sender fails whenever it has begun anew, at once: what it has then is less than before, and all of it counts.
#[test]
fn failures_right_after_a_restart_are_counted() {
    let restarts: Vec<usize> = (0..6).map(|number| 80 + 2 * number).collect();
    let failed = |step| match restarts.iter().position(|restart| *restart == step) {
        Some(number) => 50 - 5 * number as u64,
        // Too long ago for an alert, and more than there will be after any restart.
        None if step == 2 => 60,
        None => 0,
    };
    let counter = |outcome: &str, count: &dyn Fn(usize) -> u64| {
        let increments = (0..150).map(|step| Some(if step == 0 { 0 } else { count(step) })).collect();
        let counter = Counter::new("fragile", vec![("outcome", outcome.to_owned())], increments);
        Counter { restarts: restarts.clone(), ..counter }
    };
    let series = vec![counter("completed", &|_| 20), counter("failed", &failed)];
    let text = slo("target: 0.999", BURN_ONLY);
    let Some(report) = both("failures_after_restart", &text, &Traffic { step: MINUTE, series }) else {
        return;
    };
    assert!(firing(&report, "1h/5m").iter().any(|(time, _)| *time > 80 * MINUTE), "{report:?}");
}

/// Thirty seconds are no multiple of the evaluations a minute apart: what is read then is the sample before.
#[test]
fn counters_that_are_read_late_give_the_same_alerts_later() {
    let text = slo("target: 0.999", "spike: off, noData: {after: 15m, severity: ticket}");
    let parts = [(30 * MINUTE, 600, 0), (15 * MINUTE, 600, 100_000), (HOUR, 600, 0)];
    let mut counts = spans(MINUTE, &parts);
    let back = counts.last().map_or(0, |last| last.0) + 40 * MINUTE;
    counts.extend((0..20).map(|number| (back + number * MINUTE, if number == 0 { 0 } else { 600 }, 0)));
    for delay in [30, MINUTE, 5 * MINUTE] {
        let Some(report) = both_late("read_late", &text, &Traffic::of(MINUTE, &counts), delay) else {
            return;
        };
        assert_eq!(firing(&report, "1h/5m").len(), 2, "{report:?}");
        assert_eq!(firing(&report, "no-data").len(), 2, "{report:?}");
        let Some(report) = both_late("read_late", &text, &with_restarts(15_120), delay) else { return };
        assert!(!firing(&report, "1h/5m").is_empty(), "{report:?}");
    }
    let Some(report) = both_late("read_late", &slo("target: 0.9", "dayShare: off"), &ten_deployments(), 90)
    else {
        return;
    };
    assert_eq!(firing(&report, "spike").len(), 2, "{report:?}");
}

#[test]
fn a_few_stray_failures_of_little_traffic_page_nobody() {
    // Two failures in an hour of five attempts; then a third, on enough attempts.
    let mut counts: Vec<(u64, u64, u64)> =
        (0..180).map(|number| (number * MINUTE, u64::from(number.is_multiple_of(20)), 0)).collect();
    counts[0].1 = 0;
    counts[100].2 = 2;
    let quiet = counts.clone();
    let Some(report) =
        both("a_few_stray_failures", &slo("target: 0.99", BURN_ONLY), &Traffic::of(MINUTE, &quiet))
    else {
        return;
    };
    assert!(firing(&report, "1h/5m").is_empty(), "{report:?}");
    for count in counts.iter_mut().take(104).skip(101) {
        *count = (count.0, 5, 3);
    }
    let Some(report) =
        both("a_few_stray_failures", &slo("target: 0.99", BURN_ONLY), &Traffic::of(MINUTE, &counts))
    else {
        return;
    };
    assert!(!firing(&report, "1h/5m").is_empty(), "{report:?}");
}

/// What is enough is asked of the long window: five minutes of one attempt a minute never are.
#[test]
fn little_traffic_is_enough_when_the_long_window_has_it() {
    let counts: Vec<(u64, u64, u64)> = (0..180)
        .map(|number| {
            let fails = u64::from((120..126).contains(&number));
            (number * MINUTE, u64::from(number > 0) - fails, fails)
        })
        .collect();
    let Some(report) =
        both("little_traffic", &slo("target: 0.999", BURN_ONLY), &Traffic::of(MINUTE, &counts))
    else {
        return;
    };
    assert_eq!(firing(&report, "1h/5m").len(), 2, "{report:?}");
}

#[test]
fn bursts_around_the_threshold_do_not_flap() {
    let burst = [(6 * MINUTE, 600, 100_000), (6 * MINUTE, 600, 0)];
    let parts: Vec<(u64, u64, u64)> =
        std::iter::once((2 * HOUR, 600, 0)).chain(burst.into_iter().cycle().take(20)).collect();
    let Some(report) = burning("bursts", MINUTE, &parts) else { return };
    assert!(!firing(&report, "1h/5m").is_empty(), "{report:?}");
}

#[test]
fn one_failure_where_none_is_allowed_is_seen_for_as_long_as_it_is_held() {
    let text = slo("pqscope.zeroTolerance: {severity: page, hold: 1h}", "spike: off");
    let mut counts = spans(MINUTE, &[(3 * HOUR, 100, 0)]);
    counts[30].2 = 1;
    let Some(report) = both("one_failure", &text, &Traffic::of(MINUTE, &counts)) else { return };
    assert_eq!(firing(&report, "zero-tolerance"), [(30 * MINUTE, true), (90 * MINUTE, false)]);
}

#[test]
fn a_large_part_of_the_budget_in_a_day_opens_a_ticket() {
    let parts = [(26 * HOUR, 6_000, 0), (6 * HOUR, 6_000, 60_000), (8 * HOUR, 6_000, 0)];
    let Some(report) = both(
        "a_large_part",
        &slo("target: 0.999", "spike: off, dayShare: 0.25"),
        &Traffic::of(MINUTE, &spans(MINUTE, &parts)),
    ) else {
        return;
    };
    assert_eq!(firing(&report, "day-spend").len(), 2, "{report:?}");
}

#[test]
fn missing_data_alerts_where_it_is_to() {
    let mut counts = spans(MINUTE, &[(HOUR, 100, 0)]);
    let back = counts.last().unwrap().0 + HOUR;
    counts.extend((0..30).map(|number| (back + number * MINUTE, 100, 0)));
    let text = slo("target: 0.999", "spike: off, dayShare: off, noData: {after: 15m, severity: ticket}");
    let Some(report) = both("missing_data", &text, &Traffic::of(MINUTE, &counts)) else { return };
    assert_eq!(firing(&report, "no-data").len(), 2, "{report:?}");
}

/// Ten deployments of a service, one of which fails for ten minutes after an hour and a half.
fn ten_deployments() -> Traffic {
    let steps = 3 * 60;
    let counter = |deployment: u64, outcome: &str, count: &dyn Fn(u64) -> u64| {
        let attributes = vec![
            ("pqscope.deployment", format!("d{deployment}")),
            ("pqscope.service", "checkout".to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        let increments = (0..steps).map(|step| Some(if step == 0 { 0 } else { count(step) })).collect();
        Counter::new("a", attributes, increments)
    };
    let bad = |deployment: u64, step: u64| {
        if deployment == 3 && (90..100).contains(&step) { 18 } else { u64::from(step.is_multiple_of(60)) }
    };
    let series = (0..10).flat_map(|deployment| {
        [
            counter(deployment, "completed", &|step| 20 - bad(deployment, step)),
            counter(deployment, "failed", &|step| bad(deployment, step)),
        ]
    });
    Traffic { step: MINUTE, series: series.collect() }
}

fn is_found_as_a_spike(test: &str, slo: &str) {
    let Some(report) = both(test, slo, &ten_deployments()) else { return };
    let spike = firing(&report, "spike");
    assert_eq!(spike.len(), 2, "{report:?}");
    assert!((91 * MINUTE..=93 * MINUTE).contains(&spike[0].0), "{spike:?}");
}

#[test]
fn one_deployment_of_ten_that_fails_is_a_spike() {
    is_found_as_a_spike("one_deployment", &slo("target: 0.9", "dayShare: off"));
}

/// Failures over all, where the examples have successes over all.
fn counting_failures(slo: &str) -> String {
    slo.replace("good: {metricSource", "bad: {metricSource").replace("outcome: completed", "outcome: failed")
}

#[test]
fn failures_that_are_counted_beside_all_are_a_spike_too() {
    is_found_as_a_spike("failures_counted", &counting_failures(&slo("target: 0.9", "dayShare: off")));
}

/// Windows count slices then, groups still count events. There a spike is looked for only when asked for.
#[test]
fn a_spike_is_one_whatever_the_budget_is_made_of() {
    let sliced = slo("target: 0.9, timeSliceTarget: 0.9, timeSliceWindow: 5m", "dayShare: off, spike: {}")
        .replace("budgetingMethod: Occurrences", "budgetingMethod: Timeslices");
    is_found_as_a_spike("a_spike_in_slices", &sliced);
    is_found_as_a_spike("a_spike_in_slices", &counting_failures(&sliced));
}

#[test]
fn slices_of_time_burn_as_they_do_in_the_engine() {
    let text = slo("target: 0.99, timeSliceTarget: 0.95", BURN_ONLY)
        .replace("budgetingMethod: Occurrences", "budgetingMethod: Timeslices")
        .replace("timeSliceTarget: 0.95", "timeSliceTarget: 0.95, timeSliceWindow: 5m");
    let parts = [(2 * HOUR, 600, 0), (HOUR, 600, 100_000), (3 * HOUR, 600, 10_000)];
    for delay in [0, 90] {
        let traffic = Traffic::of(MINUTE, &spans(MINUTE, &parts));
        let Some(report) = both_late("slices", &text, &traffic, delay) else { return };
        assert!(!firing(&report, "1h/5m").is_empty(), "{report:?}");
    }
}
