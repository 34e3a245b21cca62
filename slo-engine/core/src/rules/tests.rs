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
fn the_standard_objective_needs_no_more_rules_than_others_make() {
    let compiled = compiled(SLO);
    assert!(compiled.findings.is_empty(), "{:?}", compiled.findings);
    assert_eq!(compiled.groups.len(), 1);
    assert_eq!(compiled.groups[0].rules.len(), 19);
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
