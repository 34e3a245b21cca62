//! The same traffic through the engine's core, through the compiled rules in promtool, and through the reference model,
//! which goes by the events themselves: when was which condition pending or firing? Enters: an objective and the
//! increments of each counter, step by step. Leaves: a list of changes from each.

use crate::reference::{Edge, Event, Gates, Says, events_of, firing as fires, tier_says};
use pqscope_slo_core::alert::{AlertState, advance};
use pqscope_slo_core::evaluation::evaluate;
use pqscope_slo_core::intake::{Measured, Point, Temporality};
use pqscope_slo_core::ledger::Limits;
use pqscope_slo_core::measure::{Aside, resolution, slice_share};
use pqscope_slo_core::objective::{Budgeting, Goal, Indicator, Objective, Sli, Target};
use pqscope_slo_core::openslo::{Catalog, SourceFile};
use pqscope_slo_core::promql::Histograms;
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::rules::{Options, compile, yaml};
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::series::{Attributes, Series, SourceId};
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

/// One counter of one sender. The first sample of a series is its beginning, and has to be zero.
pub(crate) struct Counter {
    /// The sender.
    pub(crate) instance: &'static str,
    pub(crate) attributes: Vec<(&'static str, String)>,
    /// By how much it grew since the step before; `None` for no sample at all.
    pub(crate) increments: Vec<Option<u64>>,
    /// Steps since the step before which the sender began anew, so that what it grew by then is all that it has.
    pub(crate) restarts: Vec<usize>,
}

/// A counter as its sender tells it.
struct Sample {
    value: u64,
    /// When the count began; seconds since the beginning of simulated time, which the first one lies before.
    start: Option<u64>,
}

impl Counter {
    pub(crate) fn new(
        instance: &'static str,
        attributes: Vec<(&'static str, String)>,
        increments: Vec<Option<u64>>,
    ) -> Self {
        let first = increments.iter().flatten().next();
        assert!(first.is_none_or(|first| *first == 0), "what was before the first sample is not known");
        Self { instance, attributes, increments, restarts: Vec::new() }
    }

    fn samples(&self, step: u64) -> Vec<Option<Sample>> {
        let (mut value, mut start) = (0, None);
        let next = |(number, increment): (usize, &Option<u64>)| {
            if self.restarts.contains(&number) {
                (value, start) = (0, Some(number as u64 * step - step / 2));
            }
            increment.map(|increment| {
                value += increment;
                Sample { value, start }
            })
        };
        self.increments.iter().enumerate().map(next).collect()
    }
}

impl Traffic {
    /// Good and bad events of one service: a counter with `outcome="completed"`, one with `outcome="failed"`.
    pub(crate) fn of(step: u64, counts: &[(u64, u64, u64)]) -> Self {
        let end = counts.last().map_or(0, |(time, ..)| *time);
        let find = |time| counts.iter().find(|(at, ..)| *at == time);
        let times: Vec<u64> = (0..=end / step).map(|number| number * step).collect();
        let counter = |outcome: &str, pick: fn(&(u64, u64, u64)) -> u64| {
            let increments = times.iter().map(|time| find(*time).map(pick)).collect();
            Counter::new("a", vec![("outcome", outcome.to_owned())], increments)
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

/// What the engine says, evaluated at every step. It is sent what Prometheus scrapes, with the start times besides.
pub(crate) fn by_engine(objective: &Objective, traffic: &Traffic) -> Report {
    let at = |time: u64| Timestamp::from_seconds(BEGIN + time);
    let mut recorder = Recorder::new(at(0), Limits::default());
    let mut selections = Selections::default();
    let mut state = AlertState::default();
    let mut book = BookId::of(objective).map(|(id, slice)| SliceBook::new(id, slice));
    let mut report = Report::new();
    let streams: Vec<(SourceId, Series, Vec<Option<Sample>>)> = traffic
        .series
        .iter()
        .map(|counter| {
            let resource =
                Attributes::from([("service.instance.id".to_owned(), counter.instance.to_owned())]);
            let attributes = counter.attributes.iter().map(|(key, value)| (*key, value.as_str()));
            let source = SourceId::new(&resource, "test", "requests");
            (source, Series::new("requests", attributes), counter.samples(traffic.step))
        })
        .collect();
    for number in 0..traffic.steps() {
        let time = number as u64 * traffic.step;
        let now = at(time);
        for (source, series, samples) in &streams {
            let Some(Some(Sample { value, start })) = samples.get(number) else { continue };
            let point = Point {
                temporality: Temporality::Cumulative,
                start: Some(start.map_or(Timestamp::from_seconds(BEGIN - 1), at)),
                time: now,
                value: Some(Measured::Count(*value)),
            };
            recorder.accept(*source, series, &point, now).unwrap();
        }
        recorder.expire(now);
        let ledger = recorder.ledger();
        if let Some(book) = &mut book {
            let share = slice_share(objective, ledger, &mut selections, now);
            book.advance(now, objective.window.nominal(), share);
        }
        let aside = Aside { exclusions: &[], slices: book.as_ref() };
        let evaluation = evaluate(objective, ledger, &mut selections, aside, now);
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

/// What the reference model says of the window pairs, at every step: windows that are cut as the engine promises, or to
/// the second as rules cut them. It sees events, no counters: what a restart does to these must not be seen. `None` for
/// objectives that it is no model of.
pub(crate) fn by_reference(objective: &Objective, traffic: &Traffic, edge: Edge) -> Option<Report> {
    let Goal::Share { target, budgeting: Budgeting::Occurrences, .. } = objective.goal else { return None };
    if !matches!(&objective.sli, Sli::Embedded(Indicator::Good { .. } | Indicator::Bad { .. })) {
        return None;
    }
    let times: Vec<u64> = (0..traffic.steps() as u64).map(|number| BEGIN + number * traffic.step).collect();
    let mut events = Vec::new();
    for counter in &traffic.series {
        let failed = counter.attributes.contains(&("outcome", "failed".to_owned()));
        for (at, count) in times.iter().zip(&counter.increments) {
            let count = count.unwrap_or(0);
            let (good, bad) = if failed { (0, count) } else { (count, 0) };
            events.push(Event { at: *at, heard: *at, good, bad });
        }
    }
    let rule = &objective.alert;
    let gates = Gates { least_events: rule.least_events as f64, least_bad: rule.least_bad as f64 };
    let mut report = Report::new();
    for tier in &rule.tiers {
        let says = |now: &u64| {
            let window = |length| events_of(&events, *now, length, edge);
            (*now, tier_says(tier, gates, 1.0 - target.share(), window))
        };
        let looks: Vec<(u64, Says)> = times.iter().map(says).collect();
        for ((now, _), fires) in looks.iter().zip(fires(&looks, tier.pending_for, rule.clear_for)) {
            let standing = if fires { Standing::Firing } else { Standing::Quiet };
            note(&mut report, &tier.name(), now - BEGIN, standing);
        }
    }
    Some(report)
}

fn note(report: &mut Report, name: &str, time: u64, standing: Standing) {
    let changes = report.get(name).and_then(|changes| changes.last()).map_or(Standing::Quiet, |last| last.1);
    if changes != standing {
        report.entry(name.to_owned()).or_default().push((time, standing));
    }
}

/// What promtool says of the compiled rules, evaluated at every step; times are those of the samples that are read: the
/// last ones from `delay` seconds ago or before. The alert of a spike has a series per group: it stands as the worst of
/// them. The objective is compiled as one of a family, whose rules it shares: with a twin of another name and service, of
/// which the same must be said, with one that nothing is ever counted for, and with a stricter one of which all events are
/// good at all times. Of these two nothing must be said.
pub(crate) fn by_rules(objective: &Objective, traffic: &Traffic, delay: u64, promtool: &Path) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        interval: Duration::from_secs(traffic.step),
        delay: Duration::from_secs(delay),
        histograms: Histograms::Native,
    };
    let mut well = sibling(objective, WELL, Some("well"));
    if let Goal::Share { target, .. } = &mut well.goal {
        *target = Target::new(0.99999).unwrap();
    }
    let family = [
        objective.clone(),
        sibling(objective, TWIN, None),
        sibling(objective, SILENT, Some("nothing")),
        well,
    ];
    let compiled = compile(&family, &[], options);
    assert!(!compiled.has_errors(), "{:?}", compiled.findings);
    assert_eq!(compiled.groups.len(), 1, "they share their rules");
    std::fs::write(folder.path().join("rules.yaml"), yaml::write(&compiled.groups, "")).unwrap();
    let test = folder.path().join("test.yaml");
    std::fs::write(&test, test_file(traffic, delay)).unwrap();
    let output = Command::new(promtool).args(["test", "rules"]).arg(&test).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Unit Testing"), "{said}");
    let mut reports = read(&said, traffic, delay);
    let mut report = |name: &str| reports.remove(name).unwrap_or_default();
    let (ours, twin, mut silent) = (report(&objective.name), report(TWIN), report(SILENT));
    assert_eq!(ours, twin, "a twin has the same alerts");
    silent.remove("no-data");
    assert!(silent.is_empty(), "{silent:?}");
    // Before its first event is counted, it has no data either.
    let well = report(WELL);
    let fires = |name| !firing(&well, name).is_empty();
    assert!(well.keys().all(|name| name == "no-data" && !fires(name)), "{well:?}");
    ours
}

/// A dot, which a regular expression would take for anything.
const TWIN: &str = "twin.of-it";
const SILENT: &str = "silent";
const WELL: &str = "well";

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
fn test_file(traffic: &Traffic, delay: u64) -> String {
    let step = traffic.step;
    let mut text = format!(
        "rule_files: [rules.yaml]\nevaluation_interval: {step}s\ntests:\n  - interval: {step}s\n    input_series:\n"
    );
    for counter in &traffic.series {
        let labels = counter.attributes.iter().map(|(key, value)| format!("{}={value:?}", label_name(key)));
        let labels: Vec<String> =
            labels.chain(["job=\"agent\"".to_owned(), format!("instance={:?}", counter.instance)]).collect();
        let _ = writeln!(text, "      - series: 'requests_total{{{}}}'", labels.join(","));
        let samples = counter.samples(step);
        let values = samples
            .iter()
            .map(|sample| sample.as_ref().map_or_else(|| "_".to_owned(), |sample| sample.value.to_string()));
        let _ = writeln!(text, "        values: '{}'", values.collect::<Vec<_>>().join(" "));
    }
    let _ = writeln!(
        text,
        "      - series: 'well_total{{outcome=\"completed\",job=\"agent\",instance=\"well\"}}'\n        values: '0+100x{}'",
        evaluations(traffic, delay)
    );
    text.push_str("    promql_expr_test:\n");
    for number in 0..evaluations(traffic, delay) {
        let _ = writeln!(
            text,
            "      - {{expr: 'count by (pqscope_slo_name, pqscope_condition, alertstate, pqscope_family) (ALERTS)', eval_time: {}s}}",
            number * step
        );
    }
    text
}

/// So many that what is read late is read to its end.
fn evaluations(traffic: &Traffic, delay: u64) -> u64 {
    traffic.steps() as u64 + delay.div_ceil(traffic.step)
}

/// Reads what promtool got: `expr: "...", time: 1h2m,` and, two lines on, `got: "{...} 1E+00, ..."`. A report per objective.
fn read(said: &str, traffic: &Traffic, delay: u64) -> BTreeMap<String, Report> {
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
            assert_eq!(value("pqscope_family"), None, "an alert stays the same when its family changes");
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
        for number in 0..evaluations(traffic, delay) {
            let time = number * traffic.step;
            let read = time.saturating_sub(delay.next_multiple_of(traffic.step));
            note(report, &condition, read, times.get(&time).copied().unwrap_or(Standing::Quiet));
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

/// Two of them say the same of every condition, within one evaluation or a width that windows of some length are known
/// to.
pub(crate) fn agree(
    objective: &Objective,
    (one, ours): (&str, &Report),
    (other, theirs): (&str, &Report),
    within: impl Fn(Duration) -> u64,
) {
    for name in ours.keys().chain(theirs.keys()) {
        let tier = objective.alert.tiers.iter().find(|tier| tier.name() == *name);
        let off = within(tier.map_or(Duration::ZERO, |tier| tier.long));
        let (a, b) = (firing(ours, name), firing(theirs, name));
        let close =
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.1 == b.1 && a.0.abs_diff(b.0) <= off);
        assert!(close, "{name}: {one} {a:?}, {other} {b:?}\n{ours:?}\n{theirs:?}");
    }
}

/// Engine, rules and reference model tell the same. The engine rounds the far edge of a long window down to its buckets, so
/// that the window is up to ten minutes longer than a day: as much is allowed for between it and the rules, not between
/// each of them and the model that cuts windows as they do.
pub(crate) fn all_agree(objective: &Objective, traffic: &Traffic, engine: &Report, rules: &Report) {
    let step = traffic.step;
    agree(objective, ("engine", engine), ("rules", rules), |long| step.max(resolution(long).as_secs()));
    for (name, report, edge) in [("engine", engine, Edge::Promised), ("rules", rules, Edge::True)] {
        let Some(reference) = by_reference(objective, traffic, edge) else { continue };
        let mut pairs = report.clone();
        pairs.retain(|name, _| objective.alert.tiers.iter().any(|tier| tier.name() == *name));
        agree(objective, ("reference", &reference), (name, &pairs), |_| step);
    }
}
