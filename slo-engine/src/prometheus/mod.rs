//! Objectives whose numbers a PromQL back end has: asked in tasks of their own, at every evaluation interval. What comes out
//! are the same measurements that the engine takes over its own counts, or a fault in words; the keeper looks at the latest
//! ones when it evaluates, and never waits for them.
//!
//! Long windows change slowly and cost the most, so each is asked again after a thousandth of its length, but not before
//! ten seconds and not after ten minutes: of a window of thirty days the answer is up to ten minutes old. Rounds do not
//! overlap. One fault spoils the whole measurement of its objective: half an answer must not look like health.

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

/// Objectives that are asked about at once.
const AT_ONCE: usize = 8;

/// The latest measurements by objective.
#[derive(Clone, Debug)]
pub(crate) struct Readings {
    latest: watch::Receiver<BTreeMap<String, Reading>>,
    interval: Duration,
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
        let Some(Reading { measured, failing_since }) = latest.get(&objective.name) else {
            return unknown(now, format!("{} was not asked yet", source.name));
        };
        // A round may take as long as the slowest answer; three missed ones are too many.
        let patience = self.interval * 3 + source.timeout * 2;
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
    objectives: Vec<Arc<Objective>>,
    clock: Clock,
    interval: Duration,
    latest: watch::Sender<BTreeMap<String, Reading>>,
}

impl Prometheus {
    /// For those of the objectives that a back end has the numbers of.
    pub(crate) fn new(objectives: &[Objective], clock: Clock, interval: Duration) -> (Self, Readings) {
        let (sender, latest) = watch::channel(BTreeMap::new());
        let asked = objectives.iter().filter(|objective| matches!(objective.sli, Sli::Prometheus { .. }));
        let objectives = asked.cloned().map(Arc::new).collect();
        (Self { objectives, clock, interval, latest: sender }, Readings { latest, interval })
    }

    /// Works until told to stop; what is under way then is dropped.
    pub(crate) async fn run(self, mut stopping: watch::Receiver<bool>) {
        if self.objectives.is_empty() {
            return;
        }
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut memories: BTreeMap<String, Memory> = BTreeMap::new();
        let mut askers: BTreeMap<String, Asker> = BTreeMap::new();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = self.round(&mut askers, &mut memories) => {}
            }
        }
    }

    /// Asks about every objective once.
    async fn round(&self, askers: &mut BTreeMap<String, Asker>, memories: &mut BTreeMap<String, Memory>) {
        let ready = self.prepare(askers).await;
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for objective in &self.objectives {
            let Sli::Prometheus { source, indicator } = &objective.sli else { continue };
            let asker = match ready.get(&source.name) {
                Some(Ok(asker)) => asker.clone(),
                Some(Err(fault)) => {
                    self.note(objective, Err(fault.clone()));
                    continue;
                }
                None => continue,
            };
            let memory = memories.remove(&objective.name).unwrap_or_default();
            let (objective, indicator) = (Arc::clone(objective), indicator.clone());
            let (places, clock) = (Arc::clone(&places), self.clock.clone());
            tasks.spawn(ask(objective, indicator, asker, memory, places, clock));
        }
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((objective, memory, outcome)) => {
                    memories.insert(objective.name.clone(), memory);
                    self.note(&objective, outcome);
                }
                Err(error) => tracing::error!("a measurement died: {error}"),
            }
        }
    }

    /// An asker per data source, with its token as it is now.
    async fn prepare(&self, askers: &mut BTreeMap<String, Asker>) -> BTreeMap<String, Result<Asker, Fault>> {
        let mut sources: BTreeMap<String, DataSource> = BTreeMap::new();
        for objective in &self.objectives {
            if let Sli::Prometheus { source, .. } = &objective.sli {
                sources.entry(source.name.clone()).or_insert_with(|| source.clone());
            }
        }
        let known = askers.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let prepare = |(name, source): (String, DataSource)| {
                let base = known.get(&name).cloned().map_or_else(|| Asker::new(&source), Ok);
                let ready = base.clone().and_then(|base| base.with_token(&source));
                (name, base, ready)
            };
            sources.into_iter().map(prepare).collect::<Vec<_>>()
        });
        let mut ready = BTreeMap::new();
        for (name, base, asker) in prepared.await.unwrap_or_default() {
            if let Ok(base) = base {
                askers.insert(name.clone(), base);
            }
            ready.insert(name, asker);
        }
        ready
    }

    fn note(&self, objective: &Objective, outcome: Result<Measurements, Fault>) {
        let now = self.clock.now();
        self.latest.send_modify(|latest| {
            let before = latest.get(&objective.name).and_then(|reading| reading.failing_since);
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
            latest.insert(objective.name.clone(), reading);
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
