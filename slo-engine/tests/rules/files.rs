//! The command `rules`, and the shipped objectives as it compiles them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SHIPPED: &str = "alert-rules/slos.rules.yaml";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

pub(crate) fn rules(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pqscope-slo"))
        .arg("rules")
        .args(arguments)
        .current_dir(repository())
        .output()
        .unwrap()
}

#[test]
fn the_shipped_rules_are_those_of_the_shipped_objectives() {
    let made = rules(&["slos"]);
    assert!(made.status.success(), "{made:?}");
    let told = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(told.contains("handshake-latency") && told.matches("warning:").count() == 1, "{told}");
    let kept = std::fs::read_to_string(repository().join(SHIPPED)).unwrap_or_default();
    let made = String::from_utf8(made.stdout).unwrap();
    assert!(
        made == kept,
        "{SHIPPED} has drifted; run `pqscope-slo rules slos -o {SHIPPED}` and look at what changed"
    );
}

#[test]
fn promtool_takes_rules_of_every_kind() {
    let Some(promtool) = crate::harness::promtool("promtool_takes_rules_of_every_kind") else { return };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.yaml");
    let file = folder.path().join("slo.yaml");
    std::fs::write(&file, KINDS).unwrap();
    for histograms in ["native", "classic"] {
        let made = rules(&[
            file.to_str().unwrap(),
            "--histograms",
            histograms,
            "--delay",
            "0s",
            "-o",
            out.to_str().unwrap(),
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let checked = Command::new(&promtool).args(["check", "rules"]).arg(&out).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success() && said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn what_has_no_rules_is_told_by_line_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("slo.yaml"), folder.path().join("out.yaml"));
    std::fs::write(&file, RELATIVE).unwrap();
    let made = rules(&[file.to_str().unwrap(), "-o", out.to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(1));
    let told = String::from_utf8_lossy(&made.stderr);
    assert!(told.contains("slo.yaml:4:1: error: relative: an objective with `pqscope.baseline`"), "{told}");
    assert!(!out.exists());
    let made = rules(&[file.to_str().unwrap(), "--interval", "1500ms"]);
    assert!(String::from_utf8_lossy(&made.stderr).contains("--interval is whole seconds"), "{made:?}");
}

/// Thresholds, growth, ready-made ratios, gauges in slices, written expressions, a calendar.
pub(crate) const KINDS: &str = r#"apiVersion: openslo/v1
kind: DataSource
metadata: {name: prom}
spec: {type: Prometheus, connectionDetails: {url: http://prometheus:9090}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: latency}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 28d, isRolling: true}]
  indicator:
    spec:
      thresholdMetric: {metricSource: {type: pqscope, spec: {metric: pqscope.handshake.duration}}}
  objectives: [{op: lte, value: 0.25, target: 0.95}]
  pqscope.alerting: {spike: {}, noData: {after: 20m, severity: page}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: growth}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    spec:
      thresholdMetric: {metricSource: {type: pqscope, spec: {metric: store.size}}}
  objectives: [{pqscope.growth: {budget: 50e9, capacity: 1e12}}]
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: link}
spec:
  service: shop
  budgetingMethod: RatioTimeslices
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    spec:
      ratioMetric: {rawType: success, raw: {metricSource: {type: pqscope, spec: {metric: link.up}}}}
  objectives: [{target: 0.99, timeSliceWindow: 5m}]
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: queue}
spec:
  service: shop
  budgetingMethod: Timeslices
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    spec:
      thresholdMetric: {metricSource: {type: pqscope, spec: {metric: queue.depth}}}
  objectives: [{op: lt, value: 100, target: 0.99, timeSliceWindow: 1m}]
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: written}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow:
    - duration: 1M
      isRolling: false
      calendar: {startTime: "2026-01-01 00:00:00", timeZone: Europe/Berlin}
  indicator:
    spec:
      ratioMetric:
        counter: true
        bad: {metricSource: {type: Prometheus, metricSourceRef: prom, spec: {query: 'sum(increase(e_total{code=~"5.."}[{{window}}]))'}}}
        total: {metricSource: {type: Prometheus, metricSourceRef: prom, spec: {query: 'sum(increase(e_total[{{window}}]))'}}}
  objectives: [{target: 0.999}]
"#;

const RELATIVE: &str = r"
apiVersion: openslo/v1
kind: SLO
metadata: {displayName: Relative, name: relative}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    spec:
      thresholdMetric: {metricSource: {type: pqscope, spec: {metric: pqscope.handshake.duration}}}
  objectives:
    - op: lte
      target: 0.95
      pqscope.baseline:
        metricSource: {type: pqscope, spec: {metric: pqscope.handshake.duration}}
        quantile: 0.95
        margin: 0.02
";
