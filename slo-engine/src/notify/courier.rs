//! Carries rows to receivers: one lane per receiver and objective, each in order, each at its own pace.

use super::webhook::{self, Outcome};
use super::{OutboxRow, Receiver, Settlement, Standing, backoff};
use crate::clock::Clock;
use pqscope_slo_core::time::Timestamp;
use reqwest::Client;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// Posts under way at one receiver.
const POSTS_PER_RECEIVER: usize = 4;

/// How a waiting notification is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Tries so far, since the engine started.
    pub(crate) attempts: u32,
    /// What the last one came to.
    pub(crate) reason: String,
    /// When the next is due.
    pub(crate) next: Timestamp,
}

/// What happened at the receivers since the engine started.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeliveryFigures {
    /// Tries by receiver and result: `sent`, `retried` or `dead`.
    pub(crate) attempts: BTreeMap<(String, &'static str), u64>,
    /// Waiting notifications that were tried, by number.
    pub(crate) progress: BTreeMap<u64, Progress>,
}

/// Figures that lanes write and pages read.
type Figures = Arc<Mutex<DeliveryFigures>>;

/// What every lane needs.
#[derive(Clone)]
struct Office {
    client: Client,
    clock: Clock,
    figures: Figures,
    settlements: mpsc::UnboundedSender<Settlement>,
    stopping: watch::Receiver<bool>,
}

/// Hands rows to lanes.
pub(crate) struct Courier {
    office: Office,
    receivers: HashMap<String, (Receiver, Arc<Semaphore>)>,
    lanes: HashMap<(String, String), mpsc::UnboundedSender<OutboxRow>>,
    tasks: JoinSet<()>,
}

impl Courier {
    /// A courier to `receivers` that reports to `settlements` and stops when `stopping` becomes true.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up, for want of root certificates, say.
    pub(crate) fn new(
        receivers: &[Receiver],
        clock: Clock,
        settlements: mpsc::UnboundedSender<Settlement>,
        stopping: watch::Receiver<bool>,
    ) -> reqwest::Result<Self> {
        let receivers = receivers
            .iter()
            .map(|receiver| {
                let slots = Arc::new(Semaphore::new(POSTS_PER_RECEIVER));
                (receiver.name().to_owned(), (receiver.clone(), slots))
            })
            .collect();
        let office =
            Office { client: webhook::client()?, clock, figures: Figures::default(), settlements, stopping };
        Ok(Self { office, receivers, lanes: HashMap::new(), tasks: JoinSet::new() })
    }

    /// A view of what happens at the receivers.
    pub(crate) fn figures(&self) -> impl Fn() -> DeliveryFigures + Send + Sync + 'static {
        let figures = Arc::clone(&self.office.figures);
        move || figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Carries rows until told to stop, then waits for the posts under way.
    pub(crate) async fn run(mut self, mut rows: mpsc::UnboundedReceiver<OutboxRow>) {
        let mut stopping = self.office.stopping.clone();
        loop {
            tokio::select! {
                row = rows.recv() => match row {
                    Some(row) => self.post(row),
                    None => break,
                },
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
        }
        self.lanes.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    fn post(&mut self, row: OutboxRow) {
        let Some((receiver, slots)) = self.receivers.get(&row.receiver) else {
            let reason = "the receiver is no longer among the --webhook options".to_owned();
            let standing = Standing::Dead { at: self.office.clock.now(), attempts: 0, reason };
            let _ = self.office.settlements.send(Settlement { number: row.number, standing });
            return;
        };
        let lane = self.lanes.entry((row.receiver.clone(), row.objective.clone())).or_insert_with(|| {
            let (sender, rows) = mpsc::unbounded_channel();
            let lane =
                Lane { office: self.office.clone(), receiver: receiver.clone(), slots: Arc::clone(slots) };
            self.tasks.spawn(lane.run(rows));
            sender
        });
        // A lane ends only when the courier stops; the row then waits on disk for the next start.
        let _ = lane.send(row);
    }
}

struct Lane {
    office: Office,
    receiver: Receiver,
    slots: Arc<Semaphore>,
}

impl Lane {
    async fn run(mut self, mut rows: mpsc::UnboundedReceiver<OutboxRow>) {
        while let Some(row) = rows.recv().await {
            let Some(standing) = self.deliver(&row).await else { return };
            self.note(&standing);
            self.figures(|figures| figures.progress.remove(&row.number));
            if self.office.settlements.send(Settlement { number: row.number, standing }).is_err() {
                return;
            }
        }
    }

    /// Tries until the row is settled; `None` when the engine stops first.
    async fn deliver(&mut self, row: &OutboxRow) -> Option<Standing> {
        let mut attempts = 0u32;
        loop {
            if *self.office.stopping.borrow() {
                return None;
            }
            let outcome = {
                let _slot = self.slots.acquire().await.ok()?;
                webhook::post(&self.office.client, &self.receiver, row, self.office.clock.now()).await
            };
            attempts = attempts.saturating_add(1);
            let at = self.office.clock.now();
            match outcome {
                Outcome::Delivered => return Some(Standing::Sent { at, attempts }),
                Outcome::Refused { reason } => {
                    tracing::error!(receiver = self.receiver.name(), notification = %row.idempotency_key,
                        "notification refused for good: {reason}");
                    return Some(Standing::Dead { at, attempts, reason });
                }
                Outcome::Retry { reason, asked } => {
                    let pause = backoff::pause(attempts, fastrand::f64(), asked);
                    tracing::warn!(receiver = self.receiver.name(), notification = %row.idempotency_key,
                        attempts, "notification not delivered, next try in {pause:.1?}: {reason}");
                    self.count("retried");
                    let progress = Progress { attempts, reason, next: at.after(pause) };
                    self.figures(|figures| figures.progress.insert(row.number, progress));
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        _ = self.office.stopping.wait_for(|stopping| *stopping) => return None,
                    }
                }
            }
        }
    }

    fn note(&self, standing: &Standing) {
        self.count(standing.word());
    }

    fn count(&self, result: &'static str) {
        let key = (self.receiver.name().to_owned(), result);
        self.figures(|figures| *figures.attempts.entry(key).or_insert(0) += 1);
    }

    fn figures<T>(&self, change: impl FnOnce(&mut DeliveryFigures) -> T) {
        // Figures stay sound whoever panicked while holding them: they are plain numbers.
        change(&mut self.office.figures.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
