//! The keeper: one thread that owns the counts, the incidents and the store.
//!
//! Exports come in and are acknowledged once the disk has them; at every interval the objectives are evaluated, and what
//! follows is written before anybody hears of it. A [`View`] of it all goes out for pages and figures, so that those
//! stay quick however busy the disk is. What arrives while one commit is on its way to the disk shares the next one.

mod counts;
mod incidents;
mod slices;
mod view;

pub(crate) use view::{Notice, ObjectiveView, View};

use crate::clock::Clock;
use crate::ingest::Submission;
use crate::notify::{OutboxRow, Settlement};
use crate::prometheus::Readings;
use crate::store::{Batch, Finding, Store, StoreError, Table, Urgency};
use incidents::Incidents;
use pqscope_slo_core::exclusion::Exclusion;
use pqscope_slo_core::ledger::Limits;
use pqscope_slo_core::objective::Objective;
use pqscope_slo_core::openslo::Catalog;
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::slices::SliceBook;
use pqscope_slo_core::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Counts are checked for age this often.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(300);
/// Notices about the state folder are shown for so long.
const NOTICE_TIME: Duration = Duration::from_secs(86_400);
const NOTICE: &[u8] = b"notice/";

/// What the keeper is to do.
#[derive(Debug)]
pub(crate) struct Duties {
    /// Objectives to evaluate.
    pub(crate) catalog: Catalog,
    /// Names of the receivers to write notifications for.
    pub(crate) receivers: Vec<String>,
    /// How often to evaluate.
    pub(crate) evaluation_interval: Duration,
    /// Bounds on what is counted.
    pub(crate) limits: Limits,
    /// What PromQL back ends say of the objectives that they measure.
    pub(crate) readings: Readings,
}

/// The channels that lead to the keeper.
#[derive(Debug)]
pub(crate) struct Channels {
    /// Exports to count.
    pub(crate) submissions: mpsc::Receiver<Submission>,
    /// Notifications that came to an end.
    pub(crate) settlements: mpsc::UnboundedReceiver<Settlement>,
    /// Becomes true when the keeper is to finish.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Everything that survives a restart, in memory and on disk.
pub(crate) struct Keeper {
    store: Store,
    clock: Clock,
    recorder: Recorder,
    incidents: Incidents,
    objectives: Vec<Arc<Objective>>,
    selections: Selections,
    books: BTreeMap<String, SliceBook>,
    exclusions: Vec<Exclusion>,
    duties: Duties,
    rows: mpsc::UnboundedSender<OutboxRow>,
    points: BTreeMap<&'static str, u64>,
    notices: Vec<Notice>,
    started: Timestamp,
    evaluations: u64,
    expired_at: Timestamp,
    view: watch::Sender<Arc<View>>,
}

impl Keeper {
    /// Loads what the store holds and takes up from there. Notifications that wait are handed out again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn new(
        mut store: Store,
        findings: &[Finding],
        duties: Duties,
        clock: Clock,
        rows: mpsc::UnboundedSender<OutboxRow>,
    ) -> Result<(Self, watch::Receiver<Arc<View>>), StoreError> {
        let now = clock.now();
        let (records, unreadable) = store.load_counts()?;
        let (mut recorder, orphans) = Recorder::restore(records, duties.limits, now);
        recorder.ledger_mut().keep_attributes(duties.catalog.attributes());
        let mut notices = load_notices(&mut store, findings, now)?;
        if unreadable + orphans > 0 {
            let text =
                format!("{} records of the state could not be read and were left out", unreadable + orphans);
            tracing::warn!("{text}");
            notices.push(Notice { at: now, text, rolled_back: false });
        }
        let incidents = Incidents::load(&store)?;
        let objectives: Vec<Arc<Objective>> =
            duties.catalog.objectives.iter().cloned().map(Arc::new).collect();
        let books = slices::load(&store, &objectives)?;
        let exclusions = store.load::<Exclusion>(Table::Exclusion)?.records;
        let (view, watcher) = watch::channel(Arc::new(View::empty(now)));
        let mut keeper = Self {
            store,
            clock,
            recorder,
            incidents,
            objectives,
            selections: Selections::default(),
            books,
            exclusions: exclusions.into_iter().map(|(_, exclusion)| exclusion).collect(),
            duties,
            rows,
            points: BTreeMap::new(),
            notices,
            started: now,
            evaluations: 0,
            expired_at: now,
            view,
        };
        for row in keeper.incidents.waiting() {
            let _ = keeper.rows.send(row.clone());
        }
        keeper.withdraw_removed(now);
        keeper.observe(now);
        Ok((keeper, watcher))
    }

    /// Works until told to stop, then writes what is left. Blocks on the disk: belongs on a thread of its own.
    pub(crate) async fn run(mut self, mut channels: Channels) {
        let mut ticks = tokio::time::interval(self.duties.evaluation_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                biased;
                _ = channels.stopping.wait_for(|stopping| *stopping) => break,
                Some(settlement) = channels.settlements.recv() => {
                    self.settle(settlement);
                    self.publish();
                }
                _ = ticks.tick() => self.evaluate(),
                Some(submission) = channels.submissions.recv() => {
                    self.take_group(submission, &mut channels.submissions);
                }
            }
        }
        channels.submissions.close();
        while let Ok(submission) = channels.submissions.try_recv() {
            self.take_group(submission, &mut channels.submissions);
        }
        while let Ok(settlement) = channels.settlements.try_recv() {
            self.settle(settlement);
        }
    }

    /// One round: age, save, evaluate, write, tell.
    fn evaluate(&mut self) {
        let now = self.clock.now();
        if now.since(self.expired_at) >= EXPIRY_INTERVAL || now < self.expired_at {
            self.recorder.expire(now);
            self.expired_at = now;
        }
        if self.recorder.unsaved() > 0
            && let Err(error) = self.save_counts()
        {
            tracing::warn!("counts wait to be saved: {error}");
        }
        self.evaluations += 1;
        self.observe(now);
    }
}

/// Writes down what was found on open, and returns that with what was found lately.
fn load_notices(store: &mut Store, findings: &[Finding], now: Timestamp) -> Result<Vec<Notice>, StoreError> {
    let mut batch = Batch::default();
    let found = store.load_under::<Notice>(Table::Engine, NOTICE)?.records;
    let mut notices = Vec::new();
    for (key, notice) in found {
        if now.since(notice.at) > NOTICE_TIME {
            batch.delete(Table::Engine, &key);
        } else {
            notices.push(notice);
        }
    }
    for (number, finding) in findings.iter().enumerate() {
        tracing::error!("{finding}");
        let rolled_back = matches!(finding, Finding::RolledBack { .. } | Finding::MovedAside { .. });
        let notice = Notice { at: now, text: finding.to_string(), rolled_back };
        let mut key = NOTICE.to_vec();
        key.extend_from_slice(&now.nanoseconds().saturating_add(number as u64).to_be_bytes());
        batch.put(Table::Engine, &key, &notice);
        notices.push(notice);
    }
    if !batch.is_empty() {
        store.commit(batch, Urgency::Essential)?;
    }
    Ok(notices)
}
