//! The way in for events: CloudEvents over HTTP, OTLP logs, and what adapters read become events for the keeper, and its
//! answer becomes theirs. As with metrics, an answer of success means that everything in it is on disk.

mod answer;
mod cloud;
mod http;
pub(crate) mod logs;

pub(crate) use http::router;

use super::Unavailable;
use crate::adapters::{AdapterBatch, AdapterReply};
use crate::clock::Clock;
use pqscope_slo_core::event::desk::Taken;
use pqscope_slo_core::event::history::Query;
use pqscope_slo_core::event::rotation::Rotation;
use pqscope_slo_core::event::{Checked, Event, Refusal};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

/// Events on their way to being counted, in the order of the request; those that could not be read stand among them.
pub(crate) type Entries = Vec<Result<Checked, Refusal>>;

/// What became of each, in the same order.
pub(crate) type Verdicts = Vec<Result<Taken, Refusal>>;

/// Something to ask of the keeper.
#[derive(Debug)]
pub(crate) enum EventRequest {
    /// Count these.
    Take {
        /// The events.
        entries: Entries,
        /// Where the answer goes once the disk has them.
        reply: oneshot::Sender<Result<Verdicts, Unavailable>>,
    },
    /// Count what an adapter read.
    Adapter {
        /// What it read.
        batch: AdapterBatch,
        /// Where the answer goes once the disk has it.
        reply: AdapterReply,
    },
    /// Show those.
    Find {
        /// What to look for.
        query: Query,
        /// Where they go, newest first.
        reply: oneshot::Sender<Vec<Event>>,
    },
    /// Show the rotations.
    Rotations {
        /// Where they go.
        reply: oneshot::Sender<Vec<Rotation>>,
    },
}

/// The door that all ways lead to.
#[derive(Clone, Debug)]
pub(crate) struct EventDoor {
    requests: mpsc::Sender<EventRequest>,
    clock: Clock,
    max_request_bytes: usize,
}

impl EventDoor {
    /// A door to whoever receives the requests.
    pub(crate) const fn new(
        requests: mpsc::Sender<EventRequest>,
        clock: Clock,
        max_request_bytes: usize,
    ) -> Self {
        Self { requests, clock, max_request_bytes }
    }

    /// Hands events over and waits until they are on disk.
    pub(crate) async fn take(&self, entries: Entries) -> Result<Verdicts, Unavailable> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(|reply| EventRequest::Take { entries, reply }).await?
    }

    async fn find(&self, query: Query) -> Result<Vec<Event>, Unavailable> {
        self.ask(|reply| EventRequest::Find { query, reply }).await
    }

    async fn rotations(&self) -> Result<Vec<Rotation>, Unavailable> {
        self.ask(|reply| EventRequest::Rotations { reply }).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> EventRequest,
    ) -> Result<T, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(request(reply))?;
        answer.await.map_err(|_| Unavailable::Stopping)
    }
}

/// Number of refusals by their word.
fn by_reason(verdicts: &Verdicts) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for refusal in verdicts.iter().filter_map(|verdict| verdict.as_ref().err()) {
        *counts.entry(refusal.reason.word()).or_insert(0) += 1;
    }
    counts
}
