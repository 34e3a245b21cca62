//! What people enter: spans that do not count, and incidents that they found first. Answered once the disk has it.

use super::Keeper;
use crate::store::{Batch, StoreError, Table, Urgency};
use pqscope_slo_core::detection::Detection;
use pqscope_slo_core::exclusion::Exclusion;
use pqscope_slo_core::time::Timestamp;
use tokio::sync::oneshot;

/// Spans that are kept; beyond it the one that ended first goes.
const MOST_EXCLUSIONS: usize = 1_000;

/// Something to enter, with the place for the answer.
#[derive(Debug)]
pub(crate) enum Order {
    /// A span that does not count; its number is given by the keeper.
    Exclude(Exclusion, oneshot::Sender<Result<Exclusion, OrderFault>>),
    /// The end of one, now or at a time.
    EndExclusion {
        /// Which.
        id: u64,
        /// When it ends.
        at: Timestamp,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Exclusion, OrderFault>>,
    },
    /// An incident that people found first.
    Missed(Detection, oneshot::Sender<Result<Detection, OrderFault>>),
}

/// Why something could not be entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OrderFault {
    /// There is no such span, or it is over.
    #[error("there is no exclusion {0} that could be ended")]
    Unknown(u64),
    /// No objective or service of that name.
    #[error("there is no objective or service named {0:?}")]
    NoSuchName(String),
    /// The disk does not take it now.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Keeper {
    /// Carries out an order. A sender that hung up does not hear the answer.
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::Exclude(exclusion, reply) => {
                let _ = reply.send(self.exclude(exclusion));
            }
            Order::EndExclusion { id, at, reply } => {
                let _ = reply.send(self.end_exclusion(id, at));
            }
            Order::Missed(detection, reply) => {
                let _ = reply.send(self.enter_missed(detection));
            }
        }
        self.publish();
    }

    fn exclude(&mut self, mut exclusion: Exclusion) -> Result<Exclusion, OrderFault> {
        let known = |name: &String, service: bool| {
            self.objectives
                .iter()
                .any(|objective| *name == if service { &*objective.service } else { &*objective.name })
        };
        let strange = exclusion.objectives.iter().find(|name| !known(name, false));
        if let Some(name) = strange.or_else(|| exclusion.services.iter().find(|name| !known(name, true))) {
            return Err(OrderFault::NoSuchName(name.clone()));
        }
        exclusion.id = self.exclusions.iter().map(|known| known.id).max().unwrap_or(0) + 1;
        let mut batch = Batch::default();
        batch.put(Table::Exclusion, &exclusion.id.to_be_bytes(), &exclusion);
        let gone = if self.exclusions.len() >= MOST_EXCLUSIONS {
            // The newest stays whatever it is: the next number is counted from it.
            let ended = self.exclusions.iter().filter(|known| known.until.is_some());
            ended.min_by_key(|known| (known.until, known.id)).map(|known| known.id)
        } else {
            None
        };
        if let Some(id) = gone {
            batch.delete(Table::Exclusion, &id.to_be_bytes());
        }
        self.store.commit(batch, Urgency::Essential)?;
        self.exclusions.retain(|known| Some(known.id) != gone);
        self.exclusions.push(exclusion.clone());
        tracing::info!(id = exclusion.id, author = %exclusion.author, "a span does not count: {}", exclusion.reason);
        Ok(exclusion)
    }

    fn end_exclusion(&mut self, id: u64, at: Timestamp) -> Result<Exclusion, OrderFault> {
        let found =
            self.exclusions.iter().find(|known| known.id == id && known.until.is_none_or(|until| until > at));
        let mut ended = found.cloned().ok_or(OrderFault::Unknown(id))?;
        ended.until = Some(at.max(ended.from));
        let mut batch = Batch::default();
        batch.put(Table::Exclusion, &id.to_be_bytes(), &ended);
        self.store.commit(batch, Urgency::Essential)?;
        if let Some(known) = self.exclusions.iter_mut().find(|known| known.id == id) {
            *known = ended.clone();
        }
        Ok(ended)
    }

    /// Counts it at once, so that a commit that fails leaves it to be written with the next one. Who hears of the failure
    /// and enters it again is answered with what is there: it counts once.
    fn enter_missed(&mut self, detection: Detection) -> Result<Detection, OrderFault> {
        let known = self.incidents.detections().find(|known| known.tells_the_same(&detection)).cloned();
        let entered = known.unwrap_or_else(|| {
            self.count_detection(detection.clone());
            detection
        });
        self.commit_with_counts(Batch::default(), Urgency::Essential)?;
        Ok(entered)
    }
}
