//! What may stand under the keys that OpenSLO has no words for, and where a fault in it is told to be.

use crate::world::{MINUTE, Slo, THRESHOLD, seconds};
use pqscope_slo_core::objective::{AlertRule, Goal, NoDataPolicy, Severity};

fn rule(alerting: &str) -> AlertRule {
    Slo { alerting: alerting.to_owned(), ..Slo::of_requests(0.999) }.objective().alert
}

/// Line, column and message of every fault of a block under `pqscope.alerting`, the first line of which is line 14.
fn faults(alerting: &str) -> Vec<String> {
    faults_of(&Slo { alerting: format!("\n    {alerting}"), ..Slo::of_requests(0.999) })
}

fn faults_of(slo: &Slo) -> Vec<String> {
    let found = slo.parse().unwrap_err();
    found.iter().map(|fault| format!("{}:{} {}", fault.line, fault.column, fault.message)).collect()
}

#[test]
fn every_part_can_be_told() {
    let rule = rule(
        "
    tiers:
      - {long: 2h, short: 10m, factor: 7, severity: page, pendingFor: 1m}
      - {long: 1d, short: 2h, factor: 2, severity: ticket}
    clearFor: 5m
    minimumEvents: 50
    minimumBadEvents: 7
    spike: {by: [region, zone], among: [region], short: 2m, reference: 30m, minimumBadEvents: 9, minimumRatio: 4,
      significance: 0.0001, severity: ticket}
    dayShare: 0.5
    noData: {after: 20m, severity: page}",
    );
    let names: Vec<_> = rule.tiers.iter().map(|tier| (tier.name(), tier.factor, tier.severity)).collect();
    let expected = [("2h/10m", 7.0, Severity::Page), ("1d/2h", 2.0, Severity::Ticket)];
    assert_eq!(names, expected.map(|(name, factor, severity)| (name.to_owned(), factor, severity)));
    assert_eq!(rule.tiers[0].pending_for, seconds(MINUTE));
    assert_eq!(rule.tiers[1].pending_for, seconds(5 * MINUTE), "of a ticket, unless told");
    assert_eq!((rule.clear_for, rule.least_events, rule.least_bad), (seconds(5 * MINUTE), 50, 7));
    assert_eq!(rule.day_share, Some(0.5));
    assert_eq!(rule.no_data, NoDataPolicy::Alert { after: seconds(20 * MINUTE), severity: Severity::Page });
    let spike = rule.spike.unwrap();
    assert_eq!((spike.by.len(), spike.among.as_slice()), (2, ["region".to_owned()].as_slice()));
    assert_eq!((spike.short, spike.reference), (seconds(2 * MINUTE), seconds(30 * MINUTE)));
    assert_eq!((spike.least_bad, spike.least_ratio, spike.significance), (9, 4.0, 0.0001));
    assert_eq!(spike.severity, Severity::Ticket);
}

#[test]
fn what_is_not_told_is_the_default_and_off_is_off() {
    let default = rule("{}");
    assert!(default.spike.is_some() && default.day_share == Some(0.25));
    assert_eq!((default.least_events, default.least_bad, default.tiers.len()), (10, 3, 4));
    assert_eq!(default.no_data, NoDataPolicy::Hold);
    let off = rule("{spike: off, dayShare: off, noData: hold}");
    assert!(off.spike.is_none() && off.day_share.is_none());
    assert_eq!(off.no_data, NoDataPolicy::Hold);
    // Who chooses the window pairs gets those and nothing besides.
    let own = rule("{tiers: [{long: 1h, short: 5m, factor: 10, severity: page}]}");
    assert!(own.spike.is_none() && own.day_share.is_none());
}

#[test]
fn faults_are_told_with_line_and_column() {
    let cases = [
        ("tier: []", "14:5 `tier` is not a key of `pqscope.alerting`"),
        ("tiers: []", "14:5 `tiers` is empty"),
        (
            "tiers:\n      - {long: 1h, short: 5m, factor: 0, severity: page}",
            "15:39 `factor` must be above zero",
        ),
        (
            "tiers:\n      - {long: 5m, short: 1h, factor: 2, severity: page}",
            "15:9 the short window is longer than the long one",
        ),
        (
            "tiers:\n      - {long: 1h, short: 5m, factor: 2, severity: pager}",
            "15:52 `pager` is not a severity that is known here",
        ),
        (
            "tiers:\n      - {long: 1h, short: 5m, factor: 2, severity: page}\n      - {long: 1h, short: 5m, factor: 3, severity: ticket}",
            "16:9 the window pair 1h/5m stands twice",
        ),
        (
            "tiers:\n      - {long: 1h, short: 15s, factor: 2, severity: page}",
            "15:27 `short` is no multiple of ten seconds",
        ),
        (
            "tiers:\n      - {long: 500d, short: 5m, factor: 2, severity: page}",
            "15:16 `long` is too short or too long",
        ),
        ("clearFor: soon", "14:15 `soon` is no span of time for `clearFor`"),
        ("minimumEvents: 0", "14:20 `minimumEvents`: `0` is no number of events"),
        ("minimumBadEvents: many", "14:23 `minimumBadEvents`: `many` is no number of events"),
        ("dayShare: 25", "14:15 `dayShare` must be above 0 and at most 1"),
        ("dayShare: never", "14:15 `dayShare` must be a number"),
        ("spike: on", "14:12 `spike` must be a mapping, not a single value"),
        ("spike: {significance: 0}", "14:27 `significance` must be above 0 and at most 1"),
        ("spike: {by: [a], among: [b]}", "14:12 `among` names `b`, which is not in `by`"),
        ("noData: {after: 15m}", "14:13 `severity` is missing in `noData`, unless it is `hold`,"),
    ];
    for (text, expected) in cases {
        assert_eq!(faults(text), [expected], "{text}");
    }
}

#[test]
fn goals_are_checked_where_they_stand() {
    let entry = |entry: &str| Slo { entry: entry.to_owned(), ..Slo::of_requests(0.999) };
    let gauge = |text: &str| Slo { indicator: THRESHOLD, ..entry(text) };
    let both = "{target: 0.9, pqscope.zeroTolerance: {severity: page}}";
    assert!(faults_of(&entry(both))[0].ends_with(
        "an objective has one of `target`, `targetPercent`, `pqscope.zeroTolerance` and `pqscope.growth`"
    ));
    assert!(faults_of(&entry("{pqscope.zeroTolerance: {}}"))[0].starts_with("12:"));
    assert!(faults_of(&entry("{pqscope.growth: {budget: 5}}"))[0].ends_with("only a gauge grows"));
    assert!(faults_of(&gauge("{pqscope.growth: {budget: -5}}"))[0].ends_with("`budget` must be above zero"));
    let sliced = Slo { method: "Timeslices", ..entry("{pqscope.zeroTolerance: {severity: page}}") };
    assert!(faults_of(&sliced)[0].ends_with("slices of time belong to a target with an error budget"));
    let tiers = "{tiers: [{long: 1h, short: 5m, factor: 2, severity: page}]}".to_owned();
    let pairs = Slo { alerting: tiers, ..entry("{pqscope.zeroTolerance: {severity: page}}") };
    assert!(faults_of(&pairs)[0].ends_with("zero tolerance has no burn rate to alert on"));
    let hour = entry("{pqscope.zeroTolerance: {severity: ticket}}").objective().goal;
    assert_eq!(hour, Goal::ZeroTolerance { hold: seconds(60 * MINUTE), severity: Severity::Ticket });
}
