//! The keeper: one thread that owns the counts, the incidents and the store.
//!
//! Exports come in and are acknowledged once the disk has them; at every interval the objectives are evaluated, and what
//! follows is written before anybody hears of it. A [`View`] of it all goes out for pages and figures, so that those
//! stay quick however busy the disk is. What arrives while one commit is on its way to the disk shares the next one.

mod counts;
mod coverage;
mod detections;
mod events;
mod incidents;
mod kept;
mod orders;
mod pace;
mod slices;
mod upkeep;
mod view;

pub(crate) use events::EventFigures;
pub(crate) use kept::{Kept, KeptValue};
pub(crate) use orders::{Order, OrderFault};
pub(crate) use view::{Notice, ObjectiveView, View};

use crate::adapters::Offset;
use crate::clock::Clock;
use crate::ingest::Submission;
use crate::ingest::events::EventRequest;
use crate::notify::{OutboxRow, Settlement};
use crate::prometheus::Readings;
use crate::store::{Batch, Finding, Recovered, Store, StoreError, Table, Urgency};
use coverage::Coverage;
use events::Events;
use incidents::Incidents;
use pace::Pace;
use pqscope_slo_core::exclusion::Exclusion;
use pqscope_slo_core::ledger::Limits;
use pqscope_slo_core::objective::{Objective, Subject};
use pqscope_slo_core::openslo::Catalog;
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::services::Services;
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
    /// Services of the services file.
    pub(crate) services: Services,
    /// Names of the receivers to write notifications for.
    pub(crate) receivers: Vec<String>,
    /// How often to evaluate.
    pub(crate) evaluation_interval: Duration,
    /// How long reports about a rotation are waited for after it was due.
    pub(crate) rotation_grace: Duration,
    /// Bounds on what is counted.
    pub(crate) limits: Limits,
    /// How often counts are written as they stand.
    pub(crate) checkpoint_interval: Duration,
    /// How often the whole state is exported.
    pub(crate) export_interval: Duration,
    /// Above this size of the database, fine history is dropped before its time.
    pub(crate) max_state_bytes: u64,
    /// What PromQL back ends say of the objectives that they measure.
    pub(crate) readings: Readings,
}

/// The channels that lead to the keeper.
#[derive(Debug)]
pub(crate) struct Channels {
    /// Exports to count.
    pub(crate) submissions: mpsc::Receiver<Submission>,
    /// Events to count, and questions about them.
    pub(crate) events: mpsc::Receiver<EventRequest>,
    /// Notifications that came to an end.
    pub(crate) settlements: mpsc::UnboundedReceiver<Settlement>,
    /// What people enter.
    pub(crate) orders: mpsc::Receiver<Order>,
    /// Becomes true when the keeper is to finish.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Everything that survives a restart, in memory and on disk.
pub(crate) struct Keeper {
    store: Store,
    clock: Clock,
    recorder: Recorder,
    events: Events,
    coverage: Coverage,
    incidents: Incidents,
    objectives: Vec<Arc<Objective>>,
    /// What notifications need to know of each.
    subjects: Vec<Arc<Subject>>,
    /// Whether no incident of a removed objective is open.
    all_withdrawn: bool,
    selections: Selections,
    books: BTreeMap<String, SliceBook>,
    exclusions: Vec<Exclusion>,
    duties: Duties,
    rows: mpsc::UnboundedSender<OutboxRow>,
    points: BTreeMap<&'static str, u64>,
    notices: Vec<Notice>,
    started: Timestamp,
    evaluations: u64,
    evaluation_time: Duration,
    /// Whether the clock may be believed that so much time has passed.
    pace: Pace,
    expired_at: Timestamp,
    checkpoint_at: Timestamp,
    exported_at: Timestamp,
    /// The thread that writes an export.
    exporting: Option<std::thread::JoinHandle<()>>,
    /// How much history is dropped before its time; zero is none.
    shed_step: u32,
    /// Size of the database after it was written anew.
    rewritten_bytes: u64,
    /// When that failed last, in time that has passed.
    rewrite_failed: Option<Duration>,
    /// The oldest chunk of the journal on disk.
    first_chunk: u64,
    /// Bytes of the journal that no checkpoint covers.
    journal_bytes: usize,
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
        let Recovered { mut recorder, unreadable, first_chunk, journal_bytes } =
            store.recover(duties.limits, now)?;
        recorder.ledger_mut().keep_attributes(duties.catalog.attributes());
        recorder.ledger_mut().begin(now);
        let names = duties.services.services.iter().map(|service| service.name.clone());
        let (events, unreadable_events) = Events::load(&store, names, duties.rotation_grace, now)?;
        let mut notices = load_notices(&mut store, findings, now)?;
        let left_out = unreadable + unreadable_events;
        if left_out > 0 {
            let text = format!("{left_out} records of the state could not be read and were left out");
            tracing::warn!("{text}");
            notices.push(Notice { at: now, text, rolled_back: false });
        }
        let incidents = Incidents::load(&store)?;
        let objectives: Vec<Arc<Objective>> =
            duties.catalog.objectives.iter().cloned().map(Arc::new).collect();
        let books = slices::load(&store, &objectives)?;
        let exclusions = store.load::<Exclusion>(Table::Exclusion)?.records;
        let (view, watcher) = watch::channel(Arc::new(View::empty(now)));
        let coverage = Coverage::new(&duties.services);
        let running = clock.running();
        // One that is started anew more often than once a night must be exported all the same.
        let exported_at = store.last_export().unwrap_or_else(|| recorder.birth());
        let mut keeper = Self {
            store,
            clock,
            recorder,
            events,
            coverage,
            incidents,
            subjects: objectives.iter().map(|objective| Arc::new(objective.subject())).collect(),
            objectives,
            all_withdrawn: false,
            selections: Selections::default(),
            books,
            exclusions: exclusions.into_iter().map(|(_, exclusion)| exclusion).collect(),
            duties,
            rows,
            points: BTreeMap::new(),
            notices,
            started: now,
            evaluations: 0,
            evaluation_time: Duration::ZERO,
            pace: Pace::new(now, running),
            expired_at: now,
            checkpoint_at: now,
            exported_at,
            exporting: None,
            shed_step: 0,
            rewritten_bytes: 0,
            rewrite_failed: None,
            first_chunk,
            journal_bytes,
            view,
        };
        for row in keeper.incidents.waiting() {
            let _ = keeper.rows.send(row.clone());
        }
        keeper.withdraw_removed(now);
        keeper.observe(now);
        Ok((keeper, watcher))
    }

    /// How far adapters have read.
    pub(crate) fn adapter_offsets(&self) -> BTreeMap<String, Offset> {
        self.events.offsets().clone()
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
                    self.settle_group(settlement, &mut channels.settlements);
                    self.publish();
                }
                Some(order) = channels.orders.recv() => self.obey(order),
                _ = ticks.tick() => self.evaluate(),
                Some(submission) = channels.submissions.recv() => {
                    self.take_group(submission, &mut channels.submissions);
                    self.advance_checkpoint();
                    // Events have their turn however many exports wait.
                    if let Ok(request) = channels.events.try_recv() {
                        self.take_events(request, &mut channels.events);
                    }
                }
                Some(request) = channels.events.recv() => {
                    self.take_events(request, &mut channels.events);
                }
            }
        }
        channels.submissions.close();
        channels.events.close();
        while let Ok(request) = channels.events.try_recv() {
            self.take_events(request, &mut channels.events);
        }
        while let Ok(submission) = channels.submissions.try_recv() {
            self.take_group(submission, &mut channels.submissions);
        }
        while let Ok(settlement) = channels.settlements.try_recv() {
            self.settle_group(settlement, &mut channels.settlements);
        }
        self.finish_checkpoint();
        if let Some(exporting) = self.exporting.take() {
            let _ = exporting.join();
        }
    }

    /// One round: age, save, evaluate, write, tell.
    fn evaluate(&mut self) {
        let now = self.clock.now();
        let is_trusted = self.pace.is_trusted(now, self.clock.running());
        if is_trusted && (now.since(self.expired_at) >= EXPIRY_INTERVAL || now < self.expired_at) {
            self.recorder.expire(now);
            if self.shed_step > 0 {
                self.recorder.shed(now, self.shed_step);
            }
            self.expired_at = now;
        }
        if is_trusted {
            self.tick_events(now);
        }
        self.check_coverage(now);
        self.make_good(now);
        if self.incidents.is_unsaved() {
            if let Err(error) = self.commit_with_counts(Batch::default(), Urgency::Essential) {
                tracing::warn!("notifications that were settled wait to be saved: {error}");
            }
        } else if self.recorder.unsaved() + self.events.unsaved() > 0
            && let Err(error) = self.save_counts()
        {
            tracing::warn!("counts wait to be saved: {error}");
        }
        self.advance_checkpoint();
        self.keep_within_bound(now, is_trusted);
        self.export(now);
        self.withdraw_removed(now);
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
        notices.push(write_notice(finding, number as u64, now, &mut batch));
    }
    if !batch.is_empty() {
        store.commit(batch, Urgency::Essential)?;
    }
    store.acknowledge_findings()?;
    Ok(notices)
}

/// Notes a finding; `number` tells it from others of the same moment.
fn write_notice(finding: &Finding, number: u64, now: Timestamp, batch: &mut Batch) -> Notice {
    tracing::error!("{finding}");
    let rolled_back = matches!(finding, Finding::RolledBack { .. } | Finding::MovedAside { .. });
    let notice = Notice { at: now, text: finding.to_string(), rolled_back };
    put_notice(&notice, number, batch);
    notice
}

fn put_notice(notice: &Notice, number: u64, batch: &mut Batch) {
    let mut key = NOTICE.to_vec();
    key.extend_from_slice(&notice.at.nanoseconds().saturating_add(number).to_be_bytes());
    batch.put(Table::Engine, &key, notice);
}

#[cfg(test)]
mod tests;
