//! An engine in miniature on simulated time: SLO text in, events in, evaluations, transitions out.

use pqscope_slo_core::alert::{self, AlertState, Phase, Transition, TransitionKind};
use pqscope_slo_core::diagnostic::Diagnostic;
use pqscope_slo_core::evaluation::{Evaluation, evaluate};
use pqscope_slo_core::exclusion::Exclusion;
use pqscope_slo_core::intake::{Level, Measured};
use pqscope_slo_core::ledger::{Ledger, Limits};
use pqscope_slo_core::measure::{Aside, slice_share};
use pqscope_slo_core::objective::Objective;
use pqscope_slo_core::openslo::{Catalog, SourceFile};
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::series::Series;
use pqscope_slo_core::slices::{BookId, SliceBook};
use pqscope_slo_core::time::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// 2027-01-15T08:00:00Z.
pub(crate) const BEGIN: u64 = 1_800_000_000;
pub(crate) const STEP: u64 = 10;
pub(crate) const MINUTE: u64 = 60;
pub(crate) const HOUR: u64 = 3_600;
pub(crate) const DAY: u64 = 86_400;

/// Completed requests over all requests.
pub(crate) const RATIO: &str = "{ratioMetric: {
        good: {metricSource: {type: pqscope, spec: {metric: requests, match: {outcome: completed}}}},
        total: {metricSource: {type: pqscope, spec: {metric: requests}}}}}";
/// Sizes or values of one metric.
pub(crate) const THRESHOLD: &str =
    "{thresholdMetric: {metricSource: {type: pqscope, spec: {metric: sizes, not_match: {of: others}}}}}";

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An SLO file of one document, of which a test says only what it is about.
#[derive(Clone)]
pub(crate) struct Slo {
    pub(crate) window: &'static str,
    pub(crate) method: &'static str,
    pub(crate) indicator: &'static str,
    pub(crate) entry: String,
    pub(crate) alerting: String,
}

impl Slo {
    /// A share of completed requests, with the standard window pairs and nothing besides.
    pub(crate) fn of_requests(target: f64) -> Self {
        Self {
            window: "{duration: 30d, isRolling: true}",
            method: "Occurrences",
            indicator: RATIO,
            entry: format!("{{target: {target}}}"),
            alerting: "{spike: off, dayShare: off}".to_owned(),
        }
    }

    pub(crate) fn text(&self) -> String {
        let Self { window, method, indicator, entry, alerting } = self;
        format!(
            "apiVersion: openslo/v1
kind: SLO
metadata: {{name: checkout}}
spec:
  service: shop
  budgetingMethod: {method}
  timeWindow: [{window}]
  indicator:
    spec: {indicator}
  objectives: [{entry}]
  pqscope.alerting: {alerting}
"
        )
    }

    pub(crate) fn parse(&self) -> Result<Catalog, Vec<Diagnostic>> {
        Catalog::parse(&[SourceFile { name: "slo.yaml", text: &self.text() }], None)
    }

    pub(crate) fn objective(&self) -> Objective {
        self.parse().unwrap().objectives.into_iter().next().unwrap()
    }
}

/// The engine, and its own list of what happened.
pub(crate) struct World {
    pub(crate) objective: Objective,
    pub(crate) ledger: Ledger,
    pub(crate) selections: Selections,
    pub(crate) book: Option<SliceBook>,
    pub(crate) exclusions: Vec<Exclusion>,
    pub(crate) state: AlertState,
    pub(crate) now: u64,
    pub(crate) transitions: Vec<Transition>,
}

impl World {
    pub(crate) fn new(slo: &Slo) -> Self {
        Self::of(slo.objective())
    }

    pub(crate) fn of(objective: Objective) -> Self {
        let book = BookId::of(&objective).map(|(id, slice)| SliceBook::new(id, slice));
        Self {
            objective,
            ledger: Ledger::new(Limits::default()),
            selections: Selections::default(),
            book,
            exclusions: Vec::new(),
            state: AlertState::default(),
            now: BEGIN,
            transitions: Vec::new(),
        }
    }

    /// Events of a series at a time that the engine hears of now.
    pub(crate) fn record(&mut self, time: u64, series: &Series, amount: Measured) {
        self.ledger.record(series, &[(at(time), amount)], at(self.now.max(time))).unwrap();
    }

    pub(crate) fn count_at(&mut self, time: u64, attributes: &[(&str, &str)], count: u64) {
        if count > 0 {
            let series = Series::new("requests", attributes.iter().copied());
            self.record(time, &series, Measured::Count(count));
        }
    }

    pub(crate) fn events_at(&mut self, time: u64, good: u64, bad: u64) {
        self.count_at(time, &[("outcome", "completed")], good);
        self.count_at(time, &[("outcome", "failed")], bad);
    }

    pub(crate) fn level(&mut self, attributes: &[(&str, &str)], value: f64) {
        let series = Series::new("sizes", attributes.iter().copied());
        let level = Level::new(at(self.now), value).unwrap();
        self.record(self.now, &series, Measured::Level(level));
    }

    /// Good events every ten seconds over some time that nobody evaluated.
    pub(crate) fn past(&mut self, length: u64, good: u64, bad: u64) {
        for _ in 0..length / STEP {
            self.now += STEP;
            self.events_at(self.now, good, bad);
        }
    }

    pub(crate) fn evaluate(&mut self) -> Evaluation {
        let now = at(self.now);
        if let Some(book) = &mut self.book {
            let share = slice_share(&self.objective, &self.ledger, &mut self.selections, now);
            book.advance(now, self.objective.window.nominal(), share);
        }
        let aside = Aside { exclusions: &self.exclusions, slices: self.book.as_ref() };
        let evaluation = evaluate(&self.objective, &self.ledger, &mut self.selections, aside, now);
        let (state, transitions) = alert::advance(&self.objective, &self.state, &evaluation);
        self.state = state;
        self.transitions.extend(transitions);
        evaluation
    }

    /// Time goes by, nothing happens, and the engine looks.
    pub(crate) fn wait(&mut self, length: u64) -> Evaluation {
        self.now += length;
        self.evaluate()
    }

    /// Ten seconds with so many events.
    pub(crate) fn tick(&mut self, good: u64, bad: u64) -> Evaluation {
        self.now += STEP;
        self.events_at(self.now, good, bad);
        self.evaluate()
    }

    pub(crate) fn run(&mut self, length: u64, good: u64, bad: u64) {
        for _ in 0..length / STEP {
            self.tick(good, bad);
        }
    }

    /// Ticks until somebody is told of this, and says how long it took; at most `longest`.
    pub(crate) fn until(&mut self, kind: TransitionKind, longest: u64, good: u64, bad: u64) -> Option<u64> {
        let (known, begin) = (self.transitions.len(), self.now);
        while self.now < begin + longest {
            self.tick(good, bad);
            if self.transitions.iter().skip(known).any(|transition| transition.kind == kind) {
                return Some(self.now - begin);
            }
        }
        None
    }

    /// What people are told, in order.
    pub(crate) fn told(&self) -> Vec<TransitionKind> {
        self.transitions.iter().map(|transition| transition.kind).filter(|kind| kind.notifies()).collect()
    }

    pub(crate) fn fires(&self) -> bool {
        matches!(self.state.phase, Phase::Firing(_))
    }

    pub(crate) fn exclude(&mut self, from: u64, until: Option<u64>) {
        self.exclusions.push(Exclusion {
            id: self.exclusions.len() as u64 + 1,
            objectives: BTreeSet::new(),
            services: BTreeSet::new(),
            from: at(from),
            until: until.map(at),
            author: "kim".to_owned(),
            reason: "planned change".to_owned(),
            entered: at(self.now),
        });
    }
}

/// Equal but for the rounding of floats.
pub(crate) fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// SplitMix64 (S. Vigna, public domain algorithm): the same numbers from the same seed, everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between 0 and 1, 1 excluded.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number of events that come by chance, `mean` on average (D. Knuth's method, in pieces so that it does not
    /// underflow).
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        let (mut left, mut count) = (mean, 0);
        while left > 0.0 {
            let piece = left.min(30.0);
            left -= piece;
            let (limit, mut product) = ((-piece).exp(), self.share());
            while product > limit {
                count += 1;
                product *= self.share();
            }
        }
        count
    }
}
