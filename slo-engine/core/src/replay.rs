//! What an objective would have done on recorded data: points go in as they were recorded, time passes as they say, and
//! out comes when each condition would have fired and for how long.

use crate::alert::{self, AlertState, Phase, Transition, TransitionKind};
use crate::evaluation::{Evaluation, evaluate};
use crate::intake::{Level, Measured, Point, Rejected, Taken};
use crate::ledger::Limits;
use crate::measure::{Aside, slice_share};
use crate::objective::{Objective, Severity};
use crate::recorder::Recorder;
use crate::selection::Selections;
use crate::series::{Series, SourceId};
use crate::slices::{BookId, SliceBook};
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// An engine without a clock, a disk or anybody to tell.
pub struct Replay {
    interval: Duration,
    recorder: Recorder,
    selections: Selections,
    played: Vec<Played>,
    next: Timestamp,
    last: Timestamp,
}

/// One objective on its way through the data.
struct Played {
    objective: Objective,
    state: AlertState,
    book: Option<SliceBook>,
    transitions: Vec<Transition>,
    conditions: BTreeMap<String, ConditionCost>,
    evaluation: Option<Evaluation>,
}

/// What one condition would have cost by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ConditionCost {
    /// `page` or `ticket`; `None` for conditions that carry none of their own.
    pub severity: Option<Severity>,
    /// How many times it would have fired.
    pub times: u64,
    /// How long it would have fired in all.
    #[serde(serialize_with = "seconds")]
    pub firing: Duration,
    /// When it fired first.
    #[serde(skip)]
    pub first: Option<Timestamp>,
    #[serde(skip)]
    was_firing: bool,
}

fn seconds<S: serde::Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(span.as_secs())
}

/// An incident that would have been.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayedIncident {
    /// When it would have opened.
    pub opened: Timestamp,
    /// When it would have been over; `None` when the data ends before.
    pub resolved: Option<Timestamp>,
    /// The highest severity that it would have had.
    pub worst: Severity,
    /// Number of notifications that would have been sent.
    pub notifications: u64,
}

/// What became of one objective.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The objective.
    pub objective: Objective,
    /// Its incidents, in their order.
    pub incidents: Vec<ReplayedIncident>,
    /// Its conditions by name.
    pub conditions: BTreeMap<String, ConditionCost>,
    /// All transitions.
    pub transitions: Vec<Transition>,
    /// The last evaluation; `None` without data.
    pub evaluation: Option<Evaluation>,
}

impl Replay {
    /// Objectives over data that begins at `begin`, evaluated every `interval`.
    pub fn new(
        objectives: impl IntoIterator<Item = Objective>,
        begin: Timestamp,
        interval: Duration,
    ) -> Self {
        let played = objectives.into_iter().map(|objective| Played {
            book: BookId::of(&objective).map(|(id, slice)| SliceBook::new(id, slice)),
            objective,
            state: AlertState::default(),
            transitions: Vec::new(),
            conditions: BTreeMap::new(),
            evaluation: None,
        });
        Self {
            interval,
            recorder: Recorder::new(begin, Limits::default()),
            selections: Selections::default(),
            played: played.collect(),
            next: begin.after(interval),
            last: begin,
        }
    }

    /// Lets time pass: evaluates at every interval up to and including `now`. Time does not go back.
    pub fn pass(&mut self, now: Timestamp) {
        while self.next <= now {
            let at = self.next;
            self.next = at.after(self.interval);
            self.evaluate(at);
        }
    }

    /// Counts a point that arrived at `now`.
    ///
    /// # Errors
    /// As [`Recorder::accept`].
    pub fn accept(
        &mut self,
        source: SourceId,
        series: &Series,
        point: &Point,
        now: Timestamp,
    ) -> Result<Taken, Rejected> {
        self.recorder.accept(source, series, point, now)
    }

    /// Takes a reading of a gauge that arrived at `now`.
    ///
    /// # Errors
    /// As [`Recorder::accept_level`].
    pub fn accept_level(
        &mut self,
        source: SourceId,
        series: &Series,
        level: Level,
        now: Timestamp,
    ) -> Result<Taken, Rejected> {
        self.recorder.accept_level(source, series, level.at, level.value, now)
    }

    /// Counts what was counted already, such as a bucket of an export.
    ///
    /// # Errors
    /// As [`Recorder::contribute`].
    pub fn contribute(&mut self, series: &Series, at: Timestamp, amount: Measured) -> Result<(), Rejected> {
        let now = self.last.max(at);
        self.recorder.contribute(series, at, amount, now)
    }

    fn evaluate(&mut self, now: Timestamp) {
        let span = now.since(self.last);
        self.last = now;
        for played in &mut self.played {
            let ledger = self.recorder.ledger();
            if let Some(book) = &mut played.book {
                let share = slice_share(&played.objective, ledger, &mut self.selections, now);
                book.advance(now, played.objective.window.nominal() * 2, share);
            }
            let aside = Aside { exclusions: &[], slices: played.book.as_ref() };
            let evaluation = evaluate(&played.objective, ledger, &mut self.selections, aside, now);
            let (state, transitions) = alert::advance(&played.objective, &played.state, &evaluation);
            played.note(&state, &evaluation, span);
            played.state = state;
            played.transitions.extend(transitions);
            played.evaluation = Some(evaluation);
        }
    }

    /// Ends the replay.
    pub fn finish(self) -> Vec<Outcome> {
        self.played
            .into_iter()
            .map(|played| Outcome {
                incidents: incidents(&played.transitions, &played.state),
                objective: played.objective,
                conditions: played.conditions,
                transitions: played.transitions,
                evaluation: played.evaluation,
            })
            .collect()
    }
}

impl Played {
    fn note(&mut self, state: &AlertState, evaluation: &Evaluation, span: Duration) {
        for (name, tier) in state.tiers.iter() {
            let cost = self.conditions.entry(name.clone()).or_default();
            cost.severity = severity_of(&self.objective, name);
            if tier.firing {
                if cost.was_firing {
                    cost.firing += span;
                } else {
                    cost.times += 1;
                    cost.first = cost.first.or(Some(evaluation.at));
                }
            }
            cost.was_firing = tier.firing;
        }
    }
}

fn severity_of(objective: &Objective, condition: &str) -> Option<Severity> {
    objective.alert.tiers.iter().find(|tier| tier.name() == condition).map(|tier| tier.severity)
}

fn incidents(transitions: &[Transition], state: &AlertState) -> Vec<ReplayedIncident> {
    let mut incidents: Vec<ReplayedIncident> = Vec::new();
    for transition in transitions {
        match (transition.kind, transition.incident) {
            (TransitionKind::Fired, Some(incident)) => incidents.push(ReplayedIncident {
                opened: incident.started,
                resolved: None,
                worst: incident.worst,
                notifications: 0,
            }),
            (TransitionKind::Resolved, _) => {
                if let Some(last) = incidents.last_mut() {
                    last.resolved = Some(transition.at);
                }
            }
            _ => {}
        }
        if let Some(last) = incidents.last_mut().filter(|_| transition.kind.notifies()) {
            last.notifications += 1;
            last.worst = last.worst.max(transition.incident.map_or(last.worst, |incident| incident.worst));
        }
    }
    debug_assert_eq!(
        matches!(state.phase, Phase::Firing(_)),
        incidents.last().is_some_and(|last| last.resolved.is_none())
    );
    incidents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openslo::{Catalog, SourceFile};

    #[test]
    fn an_outage_in_recorded_data_is_an_incident_of_its_length() {
        let text = "apiVersion: openslo/v1
kind: SLO
metadata: {name: a}
spec:
  service: s
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    spec:
      ratioMetric:
        bad: {metricSource: {type: pqscope, spec: {metric: m, match: {r: bad}}}}
        total: {metricSource: {type: pqscope, spec: {metric: m}}}
  objectives: [{target: 0.99}]
  pqscope.alerting: {tiers: [{long: 1h, short: 5m, factor: 14.4, severity: page}]}
";
        let catalog = Catalog::parse(&[SourceFile { name: "a", text }], None).unwrap();
        let begin = 1_800_000_000;
        let at = Timestamp::from_seconds;
        let mut replay = Replay::new(catalog.objectives, at(begin), Duration::from_secs(10));
        for step in 0..6 * 60 * 3 {
            let now = at(begin + 10 * step);
            replay.pass(now);
            // Half an hour in which half the events are bad, after an hour without.
            let bad = if (360..540).contains(&step) { 50 } else { 0 };
            for (result, count) in [("good", 100 - bad), ("bad", bad)] {
                let series = Series::new("m", [("r", result)]);
                replay.contribute(&series, now, Measured::Count(count)).unwrap();
            }
        }
        let outcome = replay.finish().remove(0);
        let [incident] = outcome.incidents.as_slice() else { panic!("{:?}", outcome.incidents) };
        // A burn of 50: detected after 14.4 / 50 of an hour, over 5 min (1 - 14.4 / 50) after the end, and 2 min clear.
        let opened = incident.opened.seconds() - begin - 3_600;
        assert!((1_030..=1_080).contains(&opened), "{opened}");
        let over = incident.resolved.unwrap().seconds() - begin - 5_400;
        assert!((200..=360).contains(&over), "{over}");
        let cost = &outcome.conditions["1h/5m"];
        assert_eq!((cost.times, cost.severity, incident.notifications), (1, Some(Severity::Page), 2));
        assert!(cost.firing.as_secs().abs_diff(5_400 + over - 3_600 - opened) <= 20, "{cost:?}");
    }
}
