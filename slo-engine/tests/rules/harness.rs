//! The same traffic through the engine's core and through the compiled rules in promtool: when was which condition pending
//! or firing? Enters: an objective and the increments of each series, step by step. Leaves: two lists of changes.

use pqscope_slo_core::alert::{AlertState, advance};
use pqscope_slo_core::evaluation::evaluate;
use pqscope_slo_core::intake::Measured;
use pqscope_slo_core::ledger::{Ledger, Limits};
use pqscope_slo_core::measure::{Aside, resolution, slice_share};
use pqscope_slo_core::objective::{Objective, Sli};
use pqscope_slo_core::openslo::{Catalog, SourceFile};
use pqscope_slo_core::promql::Histograms;
use pqscope_slo_core::rules::{Options, compile, yaml};
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::series::Series;
use pqscope_slo_core::slices::{BookId, SliceBook};
use pqscope_slo_core::time::Timestamp;
use pqscope_telemetry::exposition::label_name;
use pqscope_tests::requirement;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Simulated time begins at a midnight, so that no window edge is rounded at the start.
const BEGIN: u64 = 1_800_057_600;

/// One condition of an objective at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Quiet,
    Pending,
    Firing,
}

/// When a condition came to stand so; seconds since the beginning.
pub(crate) type Changes = Vec<(u64, Standing)>;

/// Changes of every condition that was ever anything but quiet, by its name, such as `1h/5m` or `spike`.
pub(crate) type Report = BTreeMap<String, Changes>;

/// Counters of one metric, `requests` in OpenTelemetry's name.
pub(crate) struct Traffic {
    /// Seconds between samples, and between evaluations.
    pub(crate) step: u64,
    pub(crate) series: Vec<Counter>,
}

/// One counter: its attributes, and by how much it grew since the step before; `None` for no sample at all. The first
/// sample of a series is its beginning.
pub(crate) struct Counter {
    pub(crate) attributes: Vec<(&'static str, String)>,
    pub(crate) increments: Vec<Option<u64>>,
}

impl Traffic {
    /// Good and bad events of one service: a counter with `outcome="completed"`, one with `outcome="failed"`.
    pub(crate) fn of(step: u64, counts: &[(u64, u64, u64)]) -> Self {
        let end = counts.last().map_or(0, |(time, ..)| *time);
        let find = |time| counts.iter().find(|(at, ..)| *at == time);
        let times: Vec<u64> = (0..=end / step).map(|number| number * step).collect();
        let counter = |outcome: &str, pick: fn(&(u64, u64, u64)) -> u64| Counter {
            attributes: vec![("outcome", outcome.to_owned())],
            increments: times.iter().map(|time| find(*time).map(pick)).collect(),
        };
        Self { step, series: vec![counter("completed", |at| at.1), counter("failed", |at| at.2)] }
    }

    fn steps(&self) -> usize {
        self.series.iter().map(|counter| counter.increments.len()).max().unwrap_or(0)
    }
}

/// The only objective of an SLO file.
pub(crate) fn objective(text: &str) -> Objective {
    let catalog = Catalog::parse(&[SourceFile { name: "slo.yaml", text }], None).unwrap();
    catalog.objectives.into_iter().next().unwrap()
}

/// What the engine says, evaluated at every step.
pub(crate) fn by_engine(objective: &Objective, traffic: &Traffic) -> Report {
    let mut ledger = Ledger::new(Limits::default());
    let mut selections = Selections::default();
    let mut state = AlertState::default();
    let mut book = BookId::of(objective).map(|(id, slice)| SliceBook::new(id, slice));
    let mut report = Report::new();
    for number in 0..traffic.steps() {
        let time = number as u64 * traffic.step;
        let now = Timestamp::from_seconds(BEGIN + time);
        for counter in &traffic.series {
            let Some(Some(count)) = counter.increments.get(number) else { continue };
            let attributes = counter.attributes.iter().map(|(key, value)| (*key, value.as_str()));
            let series = Series::new("requests", attributes);
            ledger.record(&series, &[(now, Measured::Count(*count))], now).unwrap();
        }
        ledger.expire(now);
        if let Some(book) = &mut book {
            let share = slice_share(objective, &ledger, &mut selections, now);
            book.advance(now, objective.window.nominal(), share);
        }
        let aside = Aside { exclusions: &[], slices: book.as_ref() };
        let evaluation = evaluate(objective, &ledger, &mut selections, aside, now);
        state = advance(objective, &state, &evaluation).0;
        for (name, tier) in &*state.tiers {
            let standing = match (tier.firing, tier.active_since) {
                (true, _) => Standing::Firing,
                (false, Some(_)) => Standing::Pending,
                (false, None) => Standing::Quiet,
            };
            note(&mut report, name, time, standing);
        }
    }
    report
}

fn note(report: &mut Report, name: &str, time: u64, standing: Standing) {
    let changes = report.get(name).and_then(|changes| changes.last()).map_or(Standing::Quiet, |last| last.1);
    if changes != standing {
        report.entry(name.to_owned()).or_default().push((time, standing));
    }
}

/// What promtool says of the compiled rules, evaluated at every step. The alert of a spike has a series per group: it
/// stands as the worst of them. The objective is compiled as one of a family, whose rules it shares: with a twin of another
/// name and service, of which the same must be said, and with one that nothing is ever counted for, of which nothing must
/// be said.
pub(crate) fn by_rules(objective: &Objective, traffic: &Traffic, promtool: &Path) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        interval: Duration::from_secs(traffic.step),
        delay: Duration::ZERO,
        histograms: Histograms::Native,
    };
    let family =
        [objective.clone(), sibling(objective, TWIN, None), sibling(objective, SILENT, Some("nothing"))];
    let compiled = compile(&family, &[], options);
    assert!(!compiled.has_errors(), "{:?}", compiled.findings);
    assert_eq!(compiled.groups.len(), 1, "they share their rules");
    std::fs::write(folder.path().join("rules.yaml"), yaml::write(&compiled.groups, "")).unwrap();
    let test = folder.path().join("test.yaml");
    std::fs::write(&test, test_file(traffic)).unwrap();
    let output = Command::new(promtool).args(["test", "rules"]).arg(&test).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Unit Testing"), "{said}");
    let mut reports = read(&said, traffic);
    let mut report = |name: &str| reports.remove(name).unwrap_or_default();
    let (ours, twin, mut silent) = (report(&objective.name), report(TWIN), report(SILENT));
    assert_eq!(ours, twin, "a twin has the same alerts");
    silent.remove("no-data");
    assert!(silent.is_empty(), "{silent:?}");
    ours
}

/// A dot, which a regular expression would take for anything.
const TWIN: &str = "twin.of-it";
const SILENT: &str = "silent";

fn sibling(objective: &Objective, name: &str, metric: Option<&str>) -> Objective {
    let mut sibling = objective.clone();
    name.clone_into(&mut sibling.name);
    "elsewhere".clone_into(&mut sibling.service);
    if let (Sli::Embedded(indicator), Some(metric)) = (&mut sibling.sli, metric) {
        for selector in indicator.queries_mut() {
            metric.clone_into(&mut selector.metric);
        }
    }
    sibling
}

/// Every step expects no alert at all; what is there is told as a failure.
fn test_file(traffic: &Traffic) -> String {
    let step = traffic.step;
    let mut text = format!(
        "rule_files: [rules.yaml]\nevaluation_interval: {step}s\ntests:\n  - interval: {step}s\n    input_series:\n"
    );
    for counter in &traffic.series {
        let labels = counter.attributes.iter().map(|(key, value)| format!("{}={value:?}", label_name(key)));
        let labels: Vec<String> =
            labels.chain(["job=\"agent\"".to_owned(), "instance=\"a\"".to_owned()]).collect();
        let _ = writeln!(text, "      - series: 'requests_total{{{}}}'", labels.join(","));
        let mut sum = 0;
        let values = counter.increments.iter().map(|increment| match increment {
            None => "_".to_owned(),
            Some(increment) => {
                sum += increment;
                sum.to_string()
            }
        });
        let _ = writeln!(text, "        values: '{}'", values.collect::<Vec<_>>().join(" "));
    }
    text.push_str("    promql_expr_test:\n");
    for number in 0..traffic.steps() as u64 {
        let _ = writeln!(
            text,
            "      - {{expr: 'count by (pqscope_slo_name, pqscope_condition, alertstate) (ALERTS)', eval_time: {}s}}",
            number * step
        );
    }
    text
}

/// Reads what promtool got: `expr: "...", time: 1h2m,` and, two lines on, `got: "{...} 1E+00, ..."`. A report per objective.
fn read(said: &str, traffic: &Traffic) -> BTreeMap<String, Report> {
    let mut standings: BTreeMap<(String, String), BTreeMap<u64, Standing>> = BTreeMap::new();
    let mut time = None;
    for line in said.lines() {
        let line = line.trim();
        if let Some((_, at)) = line.split_once("time: ") {
            time = Some(seconds(at.trim_end_matches([',', ' '])));
        }
        let (Some(got), Some(time)) = (line.strip_prefix("got:"), time) else {
            assert!(!line.contains("err"), "{said}");
            continue;
        };
        let got = got.replace("\\\"", "\"");
        for sample in got.split('{').skip(1) {
            let value = |label: &str| {
                let from = sample.find(&format!("{label}=\""))? + label.len() + 2;
                sample.get(from..)?.split('"').next()
            };
            let labels = (value("pqscope_slo_name"), value("pqscope_condition"), value("alertstate"));
            let (Some(name), Some(condition), Some(state)) = labels else { panic!("{sample}") };
            let standing = if state == "firing" { Standing::Firing } else { Standing::Pending };
            let times = standings.entry((name.to_owned(), condition.to_owned())).or_default();
            let at = times.entry(time).or_insert(standing);
            if standing == Standing::Firing {
                *at = standing;
            }
        }
    }
    let mut reports: BTreeMap<String, Report> = BTreeMap::new();
    for ((name, condition), times) in standings {
        let report = reports.entry(name).or_default();
        for number in 0..traffic.steps() as u64 {
            let time = number * traffic.step;
            note(report, &condition, time, times.get(&time).copied().unwrap_or(Standing::Quiet));
        }
    }
    reports
}

/// A time as Go writes it: `1h30m0s`, `45s`.
fn seconds(text: &str) -> u64 {
    let mut sum = 0;
    let mut number = 0;
    for c in text.chars() {
        match c {
            '0'..='9' => number = number * 10 + u64::from(c as u32 - '0' as u32),
            unit => {
                sum += number
                    * match unit {
                        'd' => 86_400,
                        'h' => 3_600,
                        'm' => 60,
                        _ => 1,
                    };
                number = 0;
            }
        }
    }
    sum
}

/// promtool in the search path or among the tools that `scripts/test` unpacks; says so when it is not there.
pub(crate) fn promtool(test: &str) -> Option<PathBuf> {
    requirement::program(test, "promtool", "prometheus")
}

/// When a condition began and ceased to fire.
pub(crate) fn firing(report: &Report, name: &str) -> Vec<(u64, bool)> {
    let mut out: Vec<(u64, bool)> = Vec::new();
    for (time, standing) in report.get(name).into_iter().flatten() {
        let fires = *standing == Standing::Firing;
        if out.last().is_some_and(|last| last.1) != fires {
            out.push((*time, fires));
        }
    }
    out
}

/// Both say the same of every condition, within one evaluation. The engine rounds the far edge of a long window down to its
/// buckets, so that the window is up to ten minutes longer than a day: as much is allowed for.
pub(crate) fn agree(objective: &Objective, engine: &Report, rules: &Report, step: u64) {
    for name in engine.keys().chain(rules.keys()) {
        let tier = objective.alert.tiers.iter().find(|tier| tier.name() == *name);
        let edge = tier.map_or(0, |tier| resolution(tier.long).as_secs());
        let (ours, theirs) = (firing(engine, name), firing(rules, name));
        let close = ours.len() == theirs.len()
            && ours.iter().zip(&theirs).all(|(a, b)| a.1 == b.1 && a.0.abs_diff(b.0) <= step.max(edge));
        assert!(close, "{name}: engine {ours:?}, rules {theirs:?}\n{engine:?}\n{rules:?}");
    }
}
