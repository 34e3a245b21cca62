//! Raw OTLP points through lost exports, repeats, late and out-of-order points, restarts of agents and of the engine: every
//! event that some export told is counted once, in the time between the exports that it lies between.

use crate::disk::Disk;
use crate::reference::width;
use crate::world::{BEGIN, DAY, Slo, at};

use pqscope_slo_core::evaluation::evaluate;
use pqscope_slo_core::intake::{Measured, Point, Temporality};
use pqscope_slo_core::ledger::Limits;
use pqscope_slo_core::measure::Aside;
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::series::{Attributes, Series, SourceId};
use proptest::prelude::*;

/// What happens to the export of one sender, or to the whole engine, at one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It arrives.
    Arrives,
    /// It gets lost. A sender of deltas keeps it for the next time.
    Lost,
    /// It arrives twice, for the acknowledgement got lost.
    Twice,
    /// It arrives, and the one before it arrives again.
    OldAgain,
    /// The agent starts anew; what it had not told is lost.
    AgentRestarts,
    /// The engine is stopped and started in good order.
    EngineRestarts,
    /// The engine dies before it could save and acknowledge; the sender tries again.
    EngineDies,
    /// The engine is away for some steps.
    EngineAway(u64),
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Arrives),
        2 => Just(Fate::Lost),
        2 => Just(Fate::Twice),
        2 => Just(Fate::OldAgain),
        1 => Just(Fate::AgentRestarts),
        1 => Just(Fate::EngineRestarts),
        1 => Just(Fate::EngineDies),
        1 => (1_u64..90).prop_map(Fate::EngineAway),
    ]
}

/// Events that some export told, which happened after `from`, up to `to`.
#[derive(Clone, Copy, Debug)]
struct Told {
    from: u64,
    to: u64,
    count: u64,
}

#[derive(Clone)]
struct Export {
    start: u64,
    time: u64,
    values: [u64; 2],
}

struct Sender {
    name: String,
    temporality: Temporality,
    start: u64,
    /// Time of the last export that was made.
    exported: u64,
    /// Counters of this life of the agent: good, bad.
    values: [u64; 2],
    /// Since when events have not been told, and how many.
    untold_since: u64,
    untold: [u64; 2],
    /// Whether what was counted before the first export is somebody else's past.
    past: bool,
    /// Deltas that wait for an acknowledgement.
    queue: Vec<Export>,
    sent: Vec<Export>,
}

impl Sender {
    /// `age`: for how long it had been running when the engine first started.
    fn new(number: usize, temporality: Temporality, age: u64) -> Self {
        let start = BEGIN - age;
        let before = if age > 0 { [1_000_000, 5_000] } else { [0, 0] };
        Self {
            name: format!("agent-{number}"),
            temporality,
            start,
            exported: BEGIN,
            values: before,
            untold_since: BEGIN,
            untold: [0, 0],
            past: age > 0 && temporality == Temporality::Cumulative,
            queue: Vec::new(),
            sent: Vec::new(),
        }
    }

    fn happen(&mut self, events: [u64; 2]) {
        for side in [0, 1] {
            self.values[side] += events[side];
            self.untold[side] += events[side];
        }
    }

    /// Makes the export of a step.
    fn export(&mut self, now: u64) -> Export {
        let export = match self.temporality {
            Temporality::Cumulative => Export { start: self.start, time: now, values: self.values },
            Temporality::Delta => {
                let values = std::mem::take(&mut self.untold);
                let export = Export { start: self.exported, time: now, values };
                self.queue.push(export.clone());
                export
            }
        };
        self.exported = now;
        export
    }

    /// What became known when its exports up to now arrived.
    fn heard(&mut self, now: u64, told: &mut [Vec<Told>; 2]) {
        match self.temporality {
            Temporality::Cumulative => {
                let untold = std::mem::take(&mut self.untold);
                if !std::mem::take(&mut self.past) {
                    for side in [0, 1] {
                        told[side].push(Told { from: self.untold_since, to: now, count: untold[side] });
                    }
                }
                self.untold_since = now;
            }
            Temporality::Delta => {
                for export in self.queue.drain(..) {
                    for side in [0, 1] {
                        let Export { start, time, values } = &export;
                        told[side].push(Told { from: *start, to: *time, count: values[side] });
                    }
                }
            }
        }
    }

    fn restart(&mut self, now: u64) {
        (self.start, self.exported, self.untold_since) = (now, now, now);
        (self.values, self.untold, self.past) = ([0, 0], [0, 0], false);
        self.queue.clear();
        self.sent.clear();
    }
}

/// The engine's memory and its disk.
struct Engine {
    recorder: Recorder,
    disk: Disk,
}

impl Engine {
    fn new(recorder: Recorder) -> Self {
        Self { recorder, disk: Disk::default() }
    }

    fn save(&mut self) {
        self.disk.save(&mut self.recorder);
    }

    /// What is on disk comes back, as it was written: on some restarts from a checkpoint, on others the journal alone leads
    /// back.
    fn restart(&mut self, now: u64) {
        if now.is_multiple_of(4) {
            self.disk.checkpoint(&mut self.recorder, 500);
        }
        self.recorder = self.disk.start(at(BEGIN), Limits::default());
    }

    fn take(&mut self, sender: &Sender, export: &Export, now: u64) {
        let resource = Attributes::from([("service.instance.id".to_owned(), sender.name.clone())]);
        let source = SourceId::new(&resource, "pqscope", "requests");
        for (outcome, value) in ["completed", "failed"].into_iter().zip(export.values) {
            let point = Point {
                temporality: sender.temporality,
                start: Some(at(export.start)),
                time: at(export.time),
                value: Some(Measured::Count(value)),
            };
            let series = Series::new("requests", [("outcome", outcome)]);
            self.recorder.accept(source, &series, &point, at(now)).unwrap();
        }
    }

    /// All that a sender has to tell arrives; what waited may come in any order.
    fn deliver(&mut self, sender: &Sender, export: &Export, now: u64) {
        if sender.temporality == Temporality::Delta {
            let (even, odd): (Vec<_>, Vec<_>) = sender.queue.iter().partition(|export| export.time % 2 == 0);
            for queued in even.into_iter().chain(odd).rev() {
                self.take(sender, queued, now);
            }
        } else {
            self.take(sender, export, now);
        }
    }
}

fn bounds(told: &[Told], edge: u64) -> (u64, u64) {
    let sum = |passes: &dyn Fn(&Told) -> bool| -> u64 {
        told.iter().filter(|told| passes(told)).map(|told| told.count).sum()
    };
    (sum(&|told| told.from >= edge), sum(&|told| told.to >= edge))
}

type Step = (u64, Vec<(Fate, u64, u64)>);

fn histories() -> impl Strategy<Value = (Vec<(bool, bool)>, Vec<Step>)> {
    let senders = proptest::collection::vec((any::<bool>(), any::<bool>()), 1..4);
    let one = (fates(), prop_oneof![Just(0_u64), 0_u64..500], prop_oneof![3 => Just(0_u64), 1 => 0_u64..90]);
    let step = (prop_oneof![Just(10_u64), Just(15), Just(60), 2_u64..60], proptest::collection::vec(one, 3));
    (senders, proptest::collection::vec(step, 1..60))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn every_event_that_was_told_counts_once_and_in_its_time((kinds, steps) in histories()) {
        let objective = Slo::of_requests(0.99).objective();
        let mut engine = Engine::new(Recorder::new(at(BEGIN), Limits::default()));
        let mut senders: Vec<Sender> = kinds.iter().enumerate().map(|(number, (delta, old))| {
            let temporality = if *delta { Temporality::Delta } else { Temporality::Cumulative };
            Sender::new(number, temporality, if *old { DAY } else { 0 })
        }).collect();
        let mut told: [Vec<Told>; 2] = [Vec::new(), Vec::new()];
        let mut now = BEGIN;
        let mut away_until = 0;
        for (apart, fates) in steps {
            now += apart;
            let back = away_until > 0 && now >= away_until;
            if back {
                engine.restart(now);
                away_until = 0;
            }
            for (sender, (fate, good, bad)) in senders.iter_mut().zip(fates) {
                sender.happen([good, bad]);
                if fate == Fate::AgentRestarts {
                    sender.restart(now);
                    continue;
                }
                if let (Fate::EngineAway(steps), 0) = (fate, away_until) {
                    engine.save();
                    away_until = now + steps * 30;
                }
                let export = sender.export(now);
                if away_until > 0 || fate == Fate::Lost {
                    continue;
                }
                if fate == Fate::EngineDies {
                    engine.save();
                    engine.deliver(sender, &export, now);
                    engine.restart(now);
                }
                engine.deliver(sender, &export, now);
                sender.heard(now, &mut told);
                if fate == Fate::Twice {
                    engine.take(sender, &export, now);
                }
                if let (Fate::OldAgain, Some(old)) = (fate, sender.sent.last().cloned()) {
                    engine.take(sender, &old, now);
                }
                sender.sent.push(export);
                if fate == Fate::EngineRestarts {
                    engine.save();
                    engine.restart(now);
                }
            }
            if away_until > 0 {
                continue;
            }
            engine.recorder.expire(at(now));
            let ledger = engine.recorder.ledger();
            let evaluation = evaluate(&objective, ledger, &mut Selections::default(), Aside::NONE, at(now));
            for reading in &evaluation.windows {
                let length = reading.length.as_secs();
                let end = now - now % 10 + 10;
                let edge = (end - length) - (end - length) % width(length);
                for (counted, told) in [(reading.tally.good, &told[0]), (reading.tally.bad, &told[1])] {
                    let (least, most) = bounds(told, edge);
                    prop_assert!(
                        (least as f64..=most as f64).contains(&counted),
                        "{length}: {least} <= {counted} <= {most} at {}", now - BEGIN
                    );
                }
            }
            let all = |told: &[Told]| told.iter().map(|told| told.count).sum::<u64>() as f64;
            let budget = evaluation.budget.tally;
            prop_assert_eq!((budget.good, budget.bad), (all(&told[0]), all(&told[1])), "at {}", now - BEGIN);
        }
    }
}
