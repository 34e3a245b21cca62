//! Objectives whose numbers a PromQL back end has: asked in tasks of their own, at every evaluation interval. What comes out
//! are the same measurements that the engine takes over its own counts, or a fault in words; the keeper looks at the latest
//! ones when it evaluates, and never waits for them.
//!
//! Long windows change slowly and cost the most, so each is asked again after a thousandth of its length, but not before
//! ten seconds and not after ten minutes: of a window of thirty days the answer is up to ten minutes old. Every source has
//! places and rounds of its own, so that one that hangs holds up no other; the rounds of one source do not overlap. One
//! fault spoils the whole measurement of its objective: half an answer must not look like health.

mod client;
mod measure;

use client::{Asker, Fault};
use measure::Memory;
use pqscope_slo_core::measure::Measurements;
use pqscope_slo_core::objective::{DataSource, Indicator, Objective, PromQuery, Sli};
use pqscope_slo_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::clock::Clock;

/// Objectives that one source is asked about at once.
const AT_ONCE: usize = 8;
/// A round that took longer, by a clock that may have been set meanwhile, makes nobody more patient.
const LONGEST_ROUND: Duration = Duration::from_secs(900);

/// The latest measurements by objective.
#[derive(Clone, Debug)]
pub(crate) struct Readings {
    latest: watch::Receiver<Latest>,
    interval: Duration,
}

/// What is known of all sources.
#[derive(Debug, Default)]
struct Latest {
    readings: BTreeMap<String, Reading>,
    /// How long the last round of a source took.
    rounds: BTreeMap<String, Duration>,
}

/// One measurement, and since when there is none.
#[derive(Clone, Debug)]
struct Reading {
    measured: Measurements,
    failing_since: Option<Timestamp>,
}

impl Readings {
    /// What an objective's back end said last. It says why when nothing is known, and since when: before the first answer,
    /// after a fault, and when there was no round for so long that the numbers say nothing about now.
    pub(crate) fn of(&self, objective: &Objective, now: Timestamp) -> Measurements {
        let Sli::Prometheus { source, .. } = &objective.sli else {
            return unknown(now, "not measured here".to_owned());
        };
        let latest = self.latest.borrow();
        let Some(Reading { measured, failing_since }) = latest.readings.get(&objective.name) else {
            return unknown(now, format!("{} was not asked yet", source.name));
        };
        // An objective is asked about again when the round of its source is over; two missed ones are too many.
        let round = latest.rounds.get(&source.name).copied().unwrap_or_default();
        let patience = self.interval * 3 + source.timeout * 2 + round * 2;
        if let (Some(fault), Some(since)) = (&measured.fault, failing_since) {
            return unknown(now, format!("{}, asked in vain since {since}: {fault}", source.name));
        }
        if now.since(measured.at) > patience {
            return unknown(now, format!("{} has not answered since {}", source.name, measured.at));
        }
        Measurements { at: now, ..measured.clone() }
    }
}

fn unknown(now: Timestamp, fault: String) -> Measurements {
    Measurements { at: now, fault: Some(fault), ..Measurements::default() }
}

/// Asks the back ends, round after round.
#[derive(Debug)]
pub(crate) struct Prometheus {
    sources: Vec<Rounds>,
}

impl Prometheus {
    /// For those of the objectives that a back end has the numbers of.
    pub(crate) fn new(objectives: &[Objective], clock: Clock, interval: Duration) -> (Self, Readings) {
        let (sender, latest) = watch::channel(Latest::default());
        let mut sources: BTreeMap<&str, Rounds> = BTreeMap::new();
        for objective in objectives {
            let Sli::Prometheus { source, .. } = &objective.sli else { continue };
            let rounds = sources.entry(&source.name).or_insert_with(|| Rounds {
                source: source.clone(),
                objectives: Vec::new(),
                clock: clock.clone(),
                interval,
                latest: sender.clone(),
                asker: None,
                memories: BTreeMap::new(),
            });
            rounds.objectives.push(Arc::new(objective.clone()));
        }
        (Self { sources: sources.into_values().collect() }, Readings { latest, interval })
    }

    /// Works until told to stop; what is under way then is dropped.
    pub(crate) async fn run(self, stopping: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        for rounds in self.sources {
            tasks.spawn(rounds.run(stopping.clone()));
        }
        while let Some(done) = tasks.join_next().await {
            if let Err(error) = done {
                tracing::error!("a data source is no longer asked: {error}");
            }
        }
    }
}

/// Asks one source about all objectives that it has the numbers of.
#[derive(Debug)]
struct Rounds {
    source: DataSource,
    objectives: Vec<Arc<Objective>>,
    clock: Clock,
    interval: Duration,
    latest: watch::Sender<Latest>,
    /// Without a token; `None` until it could be set up.
    asker: Option<Asker>,
    memories: BTreeMap<String, Memory>,
}

impl Rounds {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = self.round() => {}
            }
        }
    }

    /// Asks about every objective once.
    async fn round(&mut self) {
        let begun = self.clock.now();
        let asker = match self.prepare().await {
            Ok(asker) => asker,
            Err(fault) => {
                self.objectives.iter().for_each(|objective| self.note(objective, Err(fault.clone())));
                return;
            }
        };
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for objective in &self.objectives {
            let Sli::Prometheus { indicator, .. } = &objective.sli else { continue };
            let memory = self.memories.remove(&objective.name).unwrap_or_default();
            let (objective, indicator) = (Arc::clone(objective), indicator.clone());
            let (places, clock) = (Arc::clone(&places), self.clock.clone());
            tasks.spawn(ask(objective, indicator, asker.clone(), memory, places, clock));
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((objective, memory, outcome)) => {
                    self.memories.insert(objective.name.clone(), memory);
                    self.note(&objective, outcome);
                }
                Err(error) => tracing::error!("a measurement died: {error}"),
            }
        }
        let took = self.clock.now().since(begun).min(LONGEST_ROUND);
        self.latest.send_modify(|latest| {
            latest.rounds.insert(self.source.name.clone(), took);
        });
    }

    /// An asker for one round, with the token as it is now.
    async fn prepare(&mut self) -> Result<Asker, Fault> {
        let (known, source) = (self.asker.clone(), self.source.clone());
        let prepared = tokio::task::spawn_blocking(move || {
            let base = known.map_or_else(|| Asker::new(&source), Ok)?;
            Ok((base.clone(), base.for_a_round(&source)))
        });
        let (base, ready) = prepared
            .await
            .unwrap_or_else(|error| Err(Fault::Setup(format!("it was not set up: {error}"))))?;
        self.asker = Some(base);
        ready
    }

    fn note(&self, objective: &Objective, outcome: Result<Measurements, Fault>) {
        let now = self.clock.now();
        self.latest.send_modify(|latest| {
            let before = latest.readings.get(&objective.name).and_then(|reading| reading.failing_since);
            let reading = match outcome {
                Ok(measured) => Reading { measured, failing_since: None },
                Err(fault) => {
                    if before.is_none() {
                        tracing::warn!(slo = %objective.name, "cannot be measured: {fault}");
                    }
                    Reading {
                        measured: unknown(now, fault.to_string()),
                        failing_since: Some(before.unwrap_or(now)),
                    }
                }
            };
            latest.readings.insert(objective.name.clone(), reading);
        });
    }
}

async fn ask(
    objective: Arc<Objective>,
    indicator: Indicator<PromQuery>,
    asker: Asker,
    mut memory: Memory,
    places: Arc<Semaphore>,
    clock: Clock,
) -> (Arc<Objective>, Memory, Result<Measurements, Fault>) {
    // The semaphore is never closed.
    let _place = places.acquire().await;
    let outcome = measure::measure(&objective, &indicator, &asker, &mut memory, clock.now()).await;
    (objective, memory, outcome)
}
