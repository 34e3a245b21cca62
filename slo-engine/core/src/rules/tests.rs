//! What the rules are made of; whether they say what the engine says is asked of promtool in the engine's tests.

use super::*;
use crate::openslo::Catalog;
use promql_parser::parser;

const SLO: &str = "apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout, displayName: 'Check {{out}} \"now\"'}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    spec:
      ratioMetric:
        good: {metricSource: {type: pqscope, spec: {metric: requests, match: {outcome: completed}}}}
        total: {metricSource: {type: pqscope, spec: {metric: requests}}}
  objectives: [{target: 0.999}]
";

fn compiled(text: &str) -> Compiled {
    let sources = [SourceFile { name: "slo.yaml", text }];
    let catalog = Catalog::parse(&sources, None).unwrap();
    let compiled = compile(&catalog.objectives, &sources, Options::default());
    for rule in compiled.groups.iter().flat_map(|group| &group.rules) {
        let parsed = parser::parse(&rule.expression);
        assert!(parsed.is_ok(), "{}\n{:?}", rule.expression, parsed.err());
    }
    compiled
}

#[test]
fn objectives_that_differ_in_counters_and_targets_share_all_but_totals_and_alerts() {
    let all: Vec<String> = (0..60)
        .map(|number| {
            let name = format!("name: checkout.{number}, displayName");
            let target = format!("target: 0.9{number}9");
            let service = format!("service: shop-{}", number % 7);
            SLO.replace("name: checkout, displayName", &name)
                .replace("target: 0.999", &target)
                .replace("service: shop", &service)
        })
        .collect();
    let compiled = compiled(&all.join("---\n"));
    assert!(compiled.findings.is_empty(), "{:?}", compiled.findings);
    let own = 10;
    let shared = 26;
    let counts: Vec<usize> = compiled.groups.iter().map(|group| group.rules.len()).collect();
    assert_eq!(counts, [50 * own + shared, 10 * own + shared]);
    // A dot in a name is no wildcard.
    let text = yaml::write(&compiled.groups, "");
    assert!(text.contains(r"checkout\\.0|checkout\\.1|"), "{text}");
}

#[test]
fn objectives_with_alerting_of_their_own_share_nothing() {
    let other = SLO.replace("name: checkout,", "name: other,").replace("30d", "28d");
    let compiled = compiled(&format!("{SLO}---\n{other}"));
    assert_eq!(compiled.groups.len(), 2);
}

#[test]
fn the_same_objectives_give_the_same_file() {
    let file = |text| yaml::write(&compiled(text).groups, "made\n\nby a test");
    assert_eq!(file(SLO), file(SLO));
    assert!(file(SLO).starts_with("# made\n#\n# by a test\ngroups:\n"));
    assert!(file(SLO).contains("summary: \"Check { {out}} \\\"now\\\": "));
}

#[test]
fn what_cannot_be_compiled_is_refused_where_it_stands() {
    let calendar = SLO.replace(
        "[{duration: 30d, isRolling: true}]",
        "[{duration: 1M, isRolling: false, calendar: {startTime: 2026-01-01 00:00:00, timeZone: Europe/Berlin}}]",
    );
    let compiled = compiled(&calendar);
    assert!(!compiled.has_errors());
    assert_eq!(compiled.findings.len(), 1);
    let told = compiled.findings[0].to_string();
    assert!(
        told.starts_with("slo.yaml:3:1: warning: checkout: a window that follows the calendar"),
        "{told}"
    );
}

/// Two objectives that differ in one thing alone, which the shared rules depend on.
#[test]
fn whatever_shared_rules_depend_on_keeps_objectives_apart() {
    let pair = "tiers: [{long: 1h, short: 5m, factor: 10, severity: page}]";
    let with = |text: &str, alerting: &str| format!("{text}  pqscope.alerting: {{{alerting}}}\n");
    let none_allowed =
        |hold: &str| SLO.replace("target: 0.999", &format!("pqscope.zeroTolerance: {{{hold}}}"));
    let sliced = |method: &str, objective: &str| {
        let text = SLO.replace("budgetingMethod: Occurrences", &format!("budgetingMethod: {method}"));
        let text = text.replace("target: 0.999", &format!("target: 0.999, {objective}"));
        with(&text, &format!("{pair}, minimumEvents: 10, minimumBadEvents: 3"))
    };
    let growth = |service: &str| {
        let text = SLO.replace("target: 0.999", "pqscope.growth: {budget: 5, capacity: 10}");
        let begin = text.find("      ratioMetric").unwrap_or_default();
        let end = text.find("  objectives").unwrap_or_default();
        let gauge = "      thresholdMetric: {metricSource: {type: pqscope, spec: {metric: size}}}\n";
        let text = text.replace(text.get(begin..end).unwrap_or_default(), gauge);
        text.replace("service: shop", &format!("service: {service}"))
    };
    let plain = with(SLO, pair);
    let asked = |form: &str| {
        let good = "{type: pqscope, spec: {metric: requests, match: {outcome: completed}}}";
        let source = |counter: &str| {
            let query = form.replace("COUNTER", counter);
            format!("{{type: Prometheus, metricSourceRef: prom, spec: {{query: '{query}'}}}}")
        };
        let text = plain.replace(good, &source("completed_total"));
        text.replace("{type: pqscope, spec: {metric: requests}}", &source("requests_total"))
            .replace("ratioMetric:\n", "ratioMetric:\n        counter: true\n")
    };
    let cases = [
        ("alerting", plain.clone(), with(SLO, &format!("{pair}, minimumEvents: 20"))),
        ("the window of the budget", plain.clone(), plain.replace("30d", "28d")),
        ("the windows", none_allowed("severity: page, hold: 1h"), none_allowed("severity: page, hold: 2h")),
        ("the side that is counted", plain.clone(), plain.replace("good: {", "bad: {")),
        ("the goal", SLO.to_owned(), none_allowed("severity: page")),
        ("slices", sliced("Timeslices", "timeSliceTarget: 0.9, timeSliceWindow: 1m"), plain.clone()),
        (
            "the method",
            sliced("Timeslices", "timeSliceTarget: 0.9, timeSliceWindow: 1m"),
            sliced("RatioTimeslices", "timeSliceWindow: 1m"),
        ),
        ("who wrote the expression", asked("COUNTER"), asked("sum(increase(COUNTER[{{window}}]))")),
        ("the service of growth", growth("shop"), growth("other")),
    ];
    for (what, one, other) in cases {
        let named = |text: &str| text.replace("name: checkout,", "name: other,");
        let source = "apiVersion: openslo/v1
kind: DataSource
metadata: {name: prom}
spec: {type: Prometheus, connectionDetails: {url: http://prometheus:9090}}
";
        let text = |other: &str| format!("{source}---\n{one}---\n{}", named(other));
        let groups = |other: &str| compiled(&text(other)).groups.len();
        assert_eq!(groups(&other), 2, "{what}");
        assert_eq!(groups(&one), 1, "{what}: not for another reason");
    }
}
