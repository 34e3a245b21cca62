//! What others may see of the keeper: a copy, renewed at every evaluation.

use super::{EventFigures, Keeper, Kept, kept};
use crate::notify::OutboxRow;
use crate::store::StoreFigures;
use pqscope_slo_core::alert::{AlertState, Transition};
use pqscope_slo_core::burn::Tally;
use pqscope_slo_core::coverage::Check;
use pqscope_slo_core::detection::Detection;
use pqscope_slo_core::evaluation::{ChartPoint, Evaluation, chart, ever, tally};
use pqscope_slo_core::exclusion::Exclusion;
use pqscope_slo_core::ledger::{Ledger, Window};
use pqscope_slo_core::measure::excluded;
use pqscope_slo_core::objective::Objective;
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Objectives with a chart: beyond so many nobody looks at all of them, only burning ones have one.
pub(super) const MOST_CHARTS: usize = 200;
/// Transitions and notifications in a view.
const RECENT: usize = 50;
/// Span and step of the chart.
const CHART: (Duration, Duration) = (Duration::from_secs(3_600), Duration::from_secs(60));
/// Span and step while there are no older events, so that the first minutes can be read too.
const EARLY_CHART: (Duration, Duration) = (Duration::from_secs(900), Duration::from_secs(20));
const HOUR_SECONDS: u64 = 3_600;

/// Something about the state folder that people should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notice {
    /// When it was found.
    pub(crate) at: Timestamp,
    /// What it is.
    pub(crate) text: String,
    /// Whether counts that were acknowledged are missing.
    pub(crate) rolled_back: bool,
}

/// One objective, evaluated.
#[derive(Clone, Debug)]
pub(crate) struct ObjectiveView {
    /// What was asked.
    pub(crate) objective: Arc<Objective>,
    /// What was measured.
    pub(crate) evaluation: Evaluation,
    /// Where its alert stands.
    pub(crate) alert: Arc<AlertState>,
    /// Events of the last hour by the minute, or of the last minutes in finer steps while there are no others.
    pub(crate) chart: Vec<ChartPoint>,
    /// All events that were ever counted, which only grow while the engine runs; of histograms those since the hour in which
    /// it started.
    pub(crate) events: Tally,
    /// Events since that hour that exclusions leave out.
    pub(crate) excluded: Tally,
    /// When its metric was last heard of since the engine started.
    pub(crate) last_heard: Option<Timestamp>,
}

const fn start_hour(started: Timestamp) -> u64 {
    started.seconds() - started.seconds() % HOUR_SECONDS
}

impl ObjectiveView {
    pub(super) fn new(
        objective: &Arc<Objective>,
        evaluation: Evaluation,
        alert: Arc<AlertState>,
        recorder: &Recorder,
        selections: &mut Selections,
        exclusions: &[Exclusion],
        started: Timestamp,
    ) -> Self {
        let (ledger, now) = (recorder.ledger(), evaluation.at);
        let since_start = Window { from: start_hour(started), to: Window::ending(now, Duration::ZERO).to };
        Self {
            chart: Vec::new(),
            events: ever(objective, ledger, selections)
                .unwrap_or_else(|| tally(objective, ledger, selections, since_start, now)),
            excluded: excluded(objective, ledger, selections, exclusions, since_start, now),
            last_heard: objective
                .sli
                .embedded()
                .and_then(|indicator| recorder.last_heard(&indicator.total().metric)),
            objective: Arc::clone(objective),
            evaluation,
            alert,
        }
    }

    /// Adds the chart, which costs more than everything else.
    pub(super) fn draw(&mut self, recorder: &Recorder, selections: &mut Selections) {
        self.chart = fitting_chart(&self.objective, recorder.ledger(), selections, self.evaluation.at);
    }
}

fn fitting_chart(
    objective: &Objective,
    ledger: &Ledger,
    selections: &mut Selections,
    now: Timestamp,
) -> Vec<ChartPoint> {
    let hour = chart(objective, ledger, selections, CHART.0, CHART.1, now);
    let early = now.before(EARLY_CHART.0);
    if hour.iter().any(|point| !point.tally.is_empty() && point.from < early) {
        return hour;
    }
    chart(objective, ledger, selections, EARLY_CHART.0, EARLY_CHART.1, now)
}

/// The engine at a moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The moment.
    pub(crate) at: Timestamp,
    /// When the engine started.
    pub(crate) started: Timestamp,
    /// How often it evaluates.
    pub(crate) evaluation_interval: Duration,
    /// Rounds of evaluation so far.
    pub(crate) evaluations: u64,
    /// How long the last of them took until its results were on disk.
    pub(crate) evaluation_time: Duration,
    /// Every objective.
    pub(crate) objectives: Arc<[ObjectiveView]>,
    /// What happened lately, newest first.
    pub(crate) transitions: Vec<Transition>,
    /// Notifications, newest first.
    pub(crate) notifications: Vec<OutboxRow>,
    /// Number of notifications kept, by receiver and standing.
    pub(crate) outbox: BTreeMap<(String, &'static str), u64>,
    /// Names of the receivers.
    pub(crate) receivers: Vec<String>,
    /// Points received by what became of them.
    pub(crate) points: BTreeMap<&'static str, u64>,
    /// The latest checks of coverage.
    pub(crate) coverage: Arc<Vec<Check>>,
    /// About events.
    pub(crate) events: EventFigures,
    /// Series counted.
    pub(crate) series: usize,
    /// Streams remembered.
    pub(crate) streams: usize,
    /// About the store.
    pub(crate) store: StoreFigures,
    /// How the latest incidents came to be known, newest first.
    pub(crate) detections: Vec<Detection>,
    /// Spans that do not count, newest first.
    pub(crate) exclusions: Vec<Exclusion>,
    /// What the engine counts itself.
    pub(crate) kept: Arc<[Kept]>,
    /// What people should know about the state.
    pub(crate) notices: Vec<Notice>,
}

impl View {
    /// Before the first evaluation.
    pub(crate) fn empty(now: Timestamp) -> Self {
        Self { at: now, started: now, ..Self::default() }
    }
}

impl Keeper {
    /// Shows what changed besides the objectives and the counts.
    pub(super) fn publish(&mut self) {
        let last = Arc::clone(&self.view.borrow());
        self.publish_with(Arc::clone(&last.objectives), Arc::clone(&last.kept), last.at);
    }

    /// Shows the outcome of an evaluation.
    pub(super) fn publish_evaluated(&mut self, objectives: Arc<[ObjectiveView]>, at: Timestamp) {
        let kept = kept::kept(self.recorder.ledger(), start_hour(self.started), at).into();
        self.publish_with(objectives, kept, at);
    }

    fn publish_with(&self, objectives: Arc<[ObjectiveView]>, kept: Arc<[Kept]>, at: Timestamp) {
        let mut outbox = BTreeMap::new();
        for row in self.incidents.rows() {
            *outbox.entry((row.receiver.clone(), row.standing.word())).or_insert(0) += 1;
        }
        self.view.send_replace(Arc::new(View {
            at,
            started: self.started,
            evaluation_interval: self.duties.evaluation_interval,
            evaluations: self.evaluations,
            evaluation_time: self.evaluation_time,
            objectives,
            transitions: self.incidents.transitions().take(RECENT).cloned().collect(),
            notifications: self.incidents.rows().take(RECENT).cloned().collect(),
            outbox,
            receivers: self.duties.receivers.clone(),
            points: self.points.clone(),
            coverage: Arc::clone(&self.coverage.latest),
            events: self.events.figures(at),
            series: self.recorder.ledger().len(),
            streams: self.recorder.streams(),
            store: self.store.figures(),
            detections: self.incidents.detections().cloned().collect(),
            exclusions: self.exclusions.iter().rev().cloned().collect(),
            kept,
            notices: self.notices.clone(),
        }));
    }
}
