//! OpenSLO files as people write them: the shipped ones, and every fault that is known to happen, each told with its
//! place and the way out.

use pqscope_slo_core::diagnostic::{Diagnostic, Level};
use pqscope_slo_core::objective::{Goal, Indicator, Severity};
use pqscope_slo_core::openslo::{Catalog, SourceFile};
use pqscope_slo_core::period::SloWindow;
use pqscope_slo_core::series::Series;
use pqscope_slo_core::services::Services;
use std::time::Duration;

const SUCCESS: &str = include_str!("../../../slos/handshake-success.yaml");
const SHIPPED: [(&str, &str); 9] = [
    ("time-to-detect.yaml", include_str!("../../../slos/time-to-detect.yaml")),
    ("handshake-success.yaml", SUCCESS),
    ("handshake-latency.yaml", include_str!("../../../slos/handshake-latency.yaml")),
    ("key-rotation.yaml", include_str!("../../../slos/key-rotation.yaml")),
    ("verification-errors.yaml", include_str!("../../../slos/verification-errors.yaml")),
    ("storage-growth.yaml", include_str!("../../../slos/storage-growth.yaml")),
    ("observability-coverage.yaml", include_str!("../../../slos/observability-coverage.yaml")),
    ("hsm-import.yaml", include_str!("../../../slos/hsm-import.yaml")),
    ("crypto-operations.yaml", include_str!("../../../slos/crypto-operations.yaml")),
];

/// A small file that is right; the tests break it in one place each.
const RIGHT: &str = "\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow:
    - duration: 30d
      isRolling: true
  indicator:
    spec:
      ratioMetric:
        good:
          metricSource:
            type: pqscope
            spec: {metric: requests, match: {code: [\"200\", 201]}, not_match: {test: \"true\"}}
        total:
          metricSource:
            type: pqscope
            spec: {metric: requests}
  objectives:
    - target: 0.999
";

fn parse(text: &str) -> Result<Catalog, Vec<Diagnostic>> {
    Catalog::parse(&[SourceFile { name: "slo.yaml", text }], None)
}

/// The faults of the right file with one text replaced, as `line:column message`.
fn faults(from: &str, to: &str) -> Vec<String> {
    assert!(RIGHT.contains(from), "{from}");
    let Err(found) = parse(&RIGHT.replacen(from, to, 1)) else { panic!("{to} was taken") };
    found.iter().map(|fault| format!("{}:{} {}", fault.line, fault.column, fault.message)).collect()
}

fn warnings(from: &str, to: &str) -> Vec<String> {
    assert!(RIGHT.contains(from), "{from}");
    let catalog = parse(&RIGHT.replacen(from, to, 1)).expect("only warnings");
    catalog
        .warnings
        .iter()
        .map(|found| format!("{}:{} {}", found.line, found.column, found.message))
        .collect()
}

#[test]
fn the_right_file_is_right() {
    let catalog = parse(RIGHT).unwrap();
    assert!(catalog.warnings.is_empty(), "{:?}", catalog.warnings);
    let [objective] = catalog.objectives.as_slice() else { panic!("one objective") };
    assert_eq!((objective.name.as_str(), objective.service.as_str()), ("checkout", "shop"));
    assert_eq!(objective.window, SloWindow::Rolling(Duration::from_secs(30 * 86_400)));
    let names: Vec<_> = objective.alert.tiers.iter().map(|tier| (tier.name(), tier.severity)).collect();
    let expected = [
        ("1h/5m", Severity::Page),
        ("6h/30m", Severity::Page),
        ("1d/2h", Severity::Ticket),
        ("3d/6h", Severity::Ticket),
    ];
    assert_eq!(names, expected.map(|(name, severity)| (name.to_owned(), severity)));
    let Indicator::Good { good, total } = objective.sli.embedded().unwrap() else {
        panic!("a ratio of good events")
    };
    assert!(good.matches(&Series::new("requests", [("code", "201")])));
    assert!(!good.matches(&Series::new("requests", [("code", "201"), ("test", "true")])));
    assert!(!good.matches(&Series::new("requests", [("code", "500")])));
    assert!(total.matches(&Series::new("requests", [("code", "500")])));
}

#[test]
fn the_shipped_objectives_are_taken_without_a_warning() {
    let files: Vec<SourceFile<'_>> = SHIPPED.iter().map(|(name, text)| SourceFile { name, text }).collect();
    let catalog = Catalog::parse(&files, None).unwrap();
    assert!(catalog.warnings.is_empty(), "{:?}", catalog.warnings);
    let find = |name: &str| catalog.objectives.iter().find(|objective| objective.name == name).unwrap();
    // Each file is right by itself as well, for whoever takes only some of them.
    for file in files {
        let alone = Catalog::parse(&[file], None).unwrap();
        assert!(alone.warnings.is_empty(), "{}: {:?}", file.name, alone.warnings);
    }
    let goals = |names: &[&str]| names.iter().map(|name| find(name).goal.words()).collect::<Vec<_>>();
    assert_eq!(
        goals(&["key-rotation", "hsm-import", "hsm-import-blocking", "observability-coverage"]),
        ["every one", "every one", "every one", "every one"]
    );
    assert_eq!(goals(&["verification-errors", "time-to-detect"]), ["99.9999 %", "95 %"]);
    assert!(matches!(find("storage-growth").goal, Goal::Growth { budget: 100e9, capacity: None }));
    let adoption = &find("pq-adoption").alert;
    assert!(adoption.tiers.is_empty() && adoption.spike.is_none() && adoption.day_share.is_none());
    let (latency, success) = (find("handshake-latency"), find("handshake-success"));
    assert_eq!((success.name.as_str(), success.goal.share().unwrap()), ("handshake-success", 0.999));
    assert_eq!((latency.name.as_str(), latency.goal.share().unwrap()), ("handshake-latency", 0.95));
    assert!(latency.alert.tiers.iter().all(|tier| tier.severity == Severity::Ticket));
    let Indicator::Relative { baseline, .. } = latency.sli.embedded().unwrap() else { panic!("relative") };
    assert_eq!((baseline.quantile, baseline.margin, baseline.pinned), (0.95, 0.02, Some(0.28)));
    assert_eq!(baseline.by, ["pqscope.service"]);
    assert!(success.only_services.is_none());
    assert!(catalog.uses("pqscope.handshakes") && !catalog.uses("pqscope.alerts"));
}

/// What the handshake objective counts, one attempt each.
#[test]
fn the_shipped_success_objective_counts_as_the_requirement_says() {
    let catalog = Catalog::parse(&[SourceFile { name: "s", text: SUCCESS }], None).unwrap();
    let Indicator::Good { good, total } = catalog.objectives[0].sli.embedded().unwrap() else {
        panic!("a ratio")
    };
    let attempt = |changes: &[(&str, &str)]| {
        let mut series = Series::new(
            "pqscope.handshakes",
            [
                ("pqscope.vantage", "server"),
                ("pqscope.offered.class", "hybrid"),
                ("pqscope.outcome", "completed"),
                ("pqscope.group.class", "hybrid"),
                ("pqscope.key_exchange", "ephemeral"),
                ("pqscope.service", "checkout"),
            ],
        );
        for (key, value) in changes {
            if value.is_empty() {
                series.attributes.remove(*key);
            } else {
                series.attributes.insert((*key).to_owned(), (*value).to_owned());
            }
        }
        (good.matches(&series), total.matches(&series))
    };
    assert_eq!(attempt(&[]), (true, true));
    assert_eq!(attempt(&[("pqscope.group.class", "pq"), ("pqscope.offered.class", "pq")]), (true, true));
    let classical = [("pqscope.group.class", "classical")];
    assert_eq!(attempt(&classical), (false, true), "a classical completion of a capable client is bad");
    let failed = [("pqscope.outcome", "failed"), ("pqscope.group.class", ""), ("pqscope.key_exchange", "")];
    assert_eq!(attempt(&failed), (false, true), "a failure without a group is bad");
    assert_eq!(attempt(&[("pqscope.outcome", "incomplete")]), (false, false));
    assert_eq!(attempt(&[("pqscope.offered.class", "classical")]), (false, false));
    assert_eq!(attempt(&[("pqscope.key_exchange", "psk"), ("pqscope.group.class", "none")]), (false, false));
    assert_eq!(
        attempt(&[("pqscope.key_exchange", "resumed"), ("pqscope.group.class", "none")]),
        (false, false)
    );
    assert_eq!(attempt(&[("pqscope.key_exchange", "psk_ephemeral")]), (true, true));
    assert_eq!(attempt(&[("pqscope.vantage", "client")]), (false, false), "each handshake counts once");
    assert_eq!(attempt(&[("pqscope.self", "true")]), (false, false));
}

#[test]
fn only_migrating_services_count_when_there_is_a_services_file() {
    let services = Services::parse("services.yaml", "- {name: a, migrating: true}\n- {name: b}\n").unwrap();
    let files = [SourceFile { name: "s", text: SUCCESS }];
    let catalog = Catalog::parse(&files, Some(&services)).unwrap();
    for selector in catalog.objectives[0].sli.selectors() {
        assert_eq!(selector.matches["pqscope.service"].iter().collect::<Vec<_>>(), ["a"]);
    }
    let none = Services::parse("services.yaml", "- {name: b}\n").unwrap();
    let catalog = Catalog::parse(&files, Some(&none)).unwrap();
    assert!(catalog.warnings[0].message.contains("marks no service as migrating"));
}

#[test]
fn targets_without_a_budget_are_refused_with_the_way_out() {
    assert_eq!(
        faults("target: 0.999", "target: 1"),
        ["23:15 `target` 1 leaves no error budget, so no burn rate can be computed"]
    );
    assert_eq!(
        faults("target: 0.999", "targetPercent: 100"),
        ["23:22 `targetPercent` 100 leaves no error budget, so no burn rate can be computed"]
    );
    let found = parse(&RIGHT.replace("0.999", "1.0")).unwrap_err();
    assert!(found[0].help.contains("pqscope.zeroTolerance"), "{}", found[0].help);
    assert_eq!(
        faults("target: 0.999", "target: 0"),
        ["23:15 `target` 0 asks for nothing: every event may be bad"]
    );
    assert_eq!(faults("target: 0.999", "target: 99.9"), ["23:15 `target` must lie between 0 and 1"]);
    assert_eq!(faults("target: 0.999", "target: .nan"), ["23:15 `target` must be a number"]);
    assert_eq!(faults("target: 0.999", "target: \"0.9\""), ["23:15 `target` must be a number"]);
    assert_eq!(faults("target: 0.999", "displayName: x"), ["23:7 the objective has no target"]);
}

#[test]
fn percent_and_share_are_the_same_number() {
    let share = parse(RIGHT).unwrap().objectives[0].goal.share();
    let percent =
        parse(&RIGHT.replace("target: 0.999", "targetPercent: 99.9")).unwrap().objectives[0].goal.share();
    assert_eq!(share, percent);
}

#[test]
fn a_missing_denominator_is_refused_where_the_numerator_stands() {
    let total = &RIGHT[RIGHT.find("        total:").unwrap()..RIGHT.find("  objectives:").unwrap()];
    assert_eq!(faults(total, ""), ["14:9 `good` stands without `total`: a ratio needs its denominator"]);
}

#[test]
fn unknown_keys_kinds_and_versions_are_refused() {
    assert_eq!(
        faults("  service: shop", "  servise: shop"),
        [
            "6:3 `service` is missing in the spec of an SLO",
            "6:3 `servise` is not a key of the spec of an SLO",
        ]
    );
    assert_eq!(faults("kind: SLO", "kind: SLX"), ["2:7 `SLX` is not a kind of OpenSLO"]);
    assert_eq!(
        faults("openslo/v1", "openslo/v2alpha"),
        ["1:13 `openslo/v2alpha` is not a version that is read here"]
    );
    assert_eq!(
        faults("type: pqscope", "type: Prometheus"),
        [
            "16:19 a PromQL query needs a data source",
            "17:19 `query` is missing in the spec of a Prometheus query",
            "17:20 `metric` is not a key of the spec of a Prometheus query",
            "17:38 `match` is not a key of the spec of a Prometheus query",
            "17:67 `not_match` is not a key of the spec of a Prometheus query",
        ]
    );
    assert_eq!(
        faults("type: pqscope", "type: Datadog"),
        ["16:19 queries of type `Datadog` are not supported"]
    );
    assert_eq!(
        faults("metric: requests,", "metrics: requests,"),
        [
            "17:19 `metric` is missing in the spec of a pqscope metric",
            "17:20 `metrics` is not a key of the spec of a pqscope metric",
        ]
    );
}

#[test]
fn what_is_not_supported_yet_is_said() {
    assert_eq!(
        faults("- target: 0.999", "- {target: 0.999, compositeWeight: 2}"),
        ["23:40 `compositeWeight` cannot stand in an objective here"]
    );
    assert_eq!(
        faults("Occurrences", "Timeslices"),
        ["23:7 a budget in slices needs their length, `timeSliceWindow`"]
    );
    // What is there and wrong is not missed as well.
    let sliced = RIGHT.replace("Occurrences", "Timeslices");
    let sliced =
        sliced.replace("- target: 0.999", "- {target: 0.99, timeSliceWindow: 1m, timeSliceTarget: 95}");
    let refused = parse(&sliced).unwrap_err();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(
        faults("Occurrences", "occurrences"),
        ["7:20 `occurrences` is not a budgeting method of OpenSLO"]
    );
    assert_eq!(
        faults("isRolling: true", "isRolling: false"),
        ["9:7 a window that does not roll needs a `calendar`"]
    );
    assert_eq!(
        faults("isRolling: true", "calendar: {startTime: soon, timeZone: UTC}"),
        ["10:29 the start is not a date and time"]
    );
    assert_eq!(faults("30d", "1M"), ["9:17 `1M` is no span of time for `duration`"]);
    assert_eq!(faults("30d", "500d"), ["9:17 this window is too short or too long"]);
    let raw = "ratioMetric:\n        rawType: success\n        raw: {metricSource: {type: pqscope, spec: {metric: x}}}";
    assert_eq!(
        faults("ratioMetric:", raw),
        [
            "15:36 ready-made ratios cannot be added up: they say nothing of how many",
            "17:11 `good` cannot stand beside `raw`",
        ]
    );
}

#[test]
fn wrong_types_and_syntax_are_located() {
    assert_eq!(
        faults(
            "timeWindow:\n    - duration: 30d\n      isRolling",
            "timeWindow:\n      duration: 30d\n      isRolling"
        ),
        ["9:7 `timeWindow` must be a list, not a mapping"]
    );
    let found = faults("  service: shop", "  service: [shop");
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("this is not YAML"), "{found:?}");
    assert_eq!(faults("name: checkout", "name: Check out"), ["4:9 `Check out` cannot be `metadata.name`"]);
    assert_eq!(
        faults("  service: shop", "  service: shop\n  service: other"),
        ["7:3 `service` stands twice in the spec of an SLO"]
    );
    assert_eq!(
        faults("  name: checkout", "  name: &a checkout\n  displayName: *a"),
        ["5:16 YAML aliases are not supported here"]
    );
}

#[test]
fn all_faults_are_reported_at_once_in_their_order() {
    let text = RIGHT.replace("Occurrences", "Slices").replace("0.999", "1").replace("30d", "soon");
    let lines: Vec<_> = parse(&text).unwrap_err().iter().map(|fault| fault.line).collect();
    assert_eq!(lines, [7, 9, 23]);
}

#[test]
fn names_are_unique_and_references_are_followed_across_files() {
    let twice = [SourceFile { name: "a.yaml", text: RIGHT }, SourceFile { name: "b.yaml", text: RIGHT }];
    let found = Catalog::parse(&twice, None).unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].file.as_str(), found[0].line), ("b.yaml", 4));
    assert!(found[0].help.contains("a.yaml, line 4"), "{}", found[0].help);

    let from = RIGHT.find("  indicator:").unwrap();
    let to = RIGHT.find("  objectives:").unwrap();
    let by_name = format!("{}  indicatorRef: ok-requests\n{}", &RIGHT[..from], &RIGHT[to..]);
    let found = parse(&by_name).unwrap_err();
    assert_eq!(
        found[0].to_string(),
        "slo.yaml:11:17: error: there is no SLI named `ok-requests`\n  help: none of the files defines an SLI"
    );
    let sli = "apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: ok-requests}\nspec:\n  ratioMetric:\n    \
               bad: {metricSource: {type: pqscope, spec: {metric: errors}}}\n    total: {metricSource: {type: pqscope, \
               spec: {metric: requests}}}\n";
    let files = [SourceFile { name: "slo.yaml", text: &by_name }, SourceFile { name: "sli.yaml", text: sli }];
    let catalog = Catalog::parse(&files, None).unwrap();
    assert!(matches!(catalog.objectives[0].sli.embedded().unwrap(), Indicator::Bad { .. }));
}

#[test]
fn factors_that_cannot_be_meant_are_warned_about() {
    // At 90 % the burn rate is at most 10, so 14.4 is out of reach.
    let found = warnings("target: 0.999", "target: 0.9");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("23:15 the window pair 1h/5m can never fire"), "{found:?}");
    // Over 7 days the slow pairs would alert on a burn that the budget sustains.
    let found = warnings("30d", "7d");
    assert_eq!(found.len(), 2);
    assert!(found[0].contains("1d/2h would alert at a burn rate of 0.70"), "{found:?}");
    assert!(found[1].contains("3d/6h would alert at a burn rate of 0.23"), "{found:?}");
    let tiers = &parse(&RIGHT.replace("30d", "7d")).unwrap().objectives[0].alert.tiers;
    assert!(tiers.iter().all(|tier| tier.factor >= 1.0), "{tiers:?}");
    let found = warnings("30d", "1d");
    assert!(found.iter().any(|found| found.contains("3d/6h is longer than the SLO window")), "{found:?}");
}

const POLICY: &str = "\
---
apiVersion: openslo/v1
kind: AlertPolicy
metadata: {name: fast}
spec:
  conditions: [{conditionRef: hour}]
---
apiVersion: openslo/v1
kind: AlertCondition
metadata: {name: hour}
spec:
  severity: page
  condition: {kind: burnrate, op: gte, threshold: 10, lookbackWindow: 1h, alertAfter: 2m}
";

#[test]
fn a_policy_of_ones_own_replaces_the_standard_pairs() {
    let slo = RIGHT.replace("  objectives:", "  alertPolicies: [{alertPolicyRef: fast}]\n  objectives:");
    let catalog = parse(&format!("{slo}{POLICY}")).unwrap();
    let [tier] = catalog.objectives[0].alert.tiers.as_slice() else { panic!("one tier") };
    assert_eq!((tier.name().as_str(), tier.factor, tier.severity), ("1h/5m", 10.0, Severity::Page));
    assert_eq!(tier.pending_for, Duration::from_secs(120));

    let found = parse(&slo).unwrap_err();
    assert_eq!(found[0].message, "there is no AlertPolicy named `fast`");
    let dangling = POLICY.replace("conditionRef: hour", "conditionRef: day");
    let found = parse(&format!("{slo}{dangling}")).unwrap_err();
    assert_eq!(found[0].message, "there is no AlertCondition named `day`");
    let odd = POLICY.replace("op: gte", "op: lt").replace("severity: page", "severity: high");
    let found = parse(&format!("{slo}{odd}")).unwrap_err();
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn kinds_without_effect_are_named() {
    let target =
        "apiVersion: openslo/v1\nkind: AlertNotificationTarget\nmetadata: {name: x}\nspec: {target: slack}\n";
    let catalog = parse(target).unwrap();
    assert_eq!(catalog.warnings[0].level, Level::Warning);
    assert!(catalog.warnings[0].message.contains("has no effect"));
}

#[test]
fn annotations_are_ours_or_left_alone() {
    let annotated = |text: &str| format!("name: checkout\n  annotations:\n    {text}");
    assert!(
        faults("name: checkout", &annotated("pqscope.dev/runbok: x"))[0]
            .contains("is no annotation of pqscope")
    );
    assert!(
        faults("name: checkout", &annotated("pqscope.dev/minimum-events: 7"))[0]
            .contains("no annotation any more")
    );
    let with = RIGHT.replace("name: checkout", &annotated("pqscope.dev/runbook: https://r\n    team: shop"));
    assert_eq!(parse(&with).unwrap().objectives[0].runbook.as_deref(), Some("https://r"));
}

#[test]
fn several_objectives_need_names() {
    let two = "- {target: 0.999, displayName: strict}\n    - {target: 0.9, displayName: loose}";
    let catalog = parse(&RIGHT.replace("- target: 0.999", two)).unwrap();
    let names: Vec<_> = catalog.objectives.iter().map(|objective| objective.name.as_str()).collect();
    assert_eq!(names, ["checkout/loose", "checkout/strict"]);
    let found = faults("- target: 0.999", "- target: 0.999\n    - target: 0.9");
    assert!(found[0].contains("this one has no name"), "{found:?}");
}

/// No text, however broken, ends in a panic.
#[test]
fn every_prefix_of_a_file_is_read_or_refused() {
    for (end, _) in SUCCESS.char_indices() {
        let _ = parse(&SUCCESS[..end]);
    }
    for text in
        ["", "---\n---\n", "- a\n", "a: [", "\u{0}", "? {a: b}\n: c\n", "!!str x", "%YAML 9.9\n---\na"]
    {
        let _ = parse(text);
    }
    let deep = "[".repeat(10_000);
    assert!(parse(&deep).is_err());
}

#[test]
fn window_pairs_fit_slices_of_time() {
    let sliced = |slice: &str, more: &str| {
        let text = RIGHT
            .replace("Occurrences", "RatioTimeslices")
            .replace("- target: 0.999", &format!("- {{target: 0.99, timeSliceWindow: {slice}}}{more}"));
        parse(&text)
    };
    let tiers = |catalog: &Catalog| {
        let rule = &catalog.objectives[0].alert;
        rule.tiers.iter().map(|tier| (tier.name(), (tier.factor * 10.0).round() / 10.0)).collect::<Vec<_>>()
    };
    let catalog = sliced("5m", "").unwrap();
    assert!(catalog.warnings.is_empty());
    assert_eq!(tiers(&catalog)[0], ("1h/5m".to_owned(), 14.4));
    assert_eq!(catalog.objectives[0].alert.least_bad, 0, "the bad part of a ratio slice is a fraction");
    let catalog = sliced("6h", "").unwrap();
    assert!(
        catalog.warnings[0].message.contains("longer than the window pair 1h/5m"),
        "{:?}",
        catalog.warnings
    );
    let expected = [("6h/6h", 6.0), ("1d/6h", 3.0), ("3d/6h", 1.0)];
    assert_eq!(tiers(&catalog), expected.map(|(name, factor)| (name.to_owned(), factor)));
    let twins = "\n  pqscope.alerting: {tiers: [{long: 200m, short: 5m, factor: 5, severity: page}, {long: 4h, short: 1h, \
                 factor: 2, severity: ticket}]}";
    let refused = sliced("1h", twins).unwrap_err();
    assert!(refused[0].message.contains("two window pairs are both 4h/1h"), "{refused:?}");
}
