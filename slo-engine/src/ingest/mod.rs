//! The way in: OTLP metrics over gRPC and HTTP become samples for the keeper, and its answer becomes theirs.
//!
//! A request is answered with success only when everything in it that counts is on disk. What cannot be counted is said
//! in `partial_success`; what cannot be stored now is refused in a way that makes senders repeat it.

mod audit;
mod body;
mod convert;
pub(crate) mod events;
pub(crate) mod grpc;
pub(crate) mod http;
mod known;
mod wire;

pub(crate) use convert::{Interest, convert, refuse_points};

use known::Identified;
use pqscope_slo_core::intake::{Level, Point};
use pqscope_slo_core::series::SourceId;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Most reasons that one answer spells out.
const REASONS_SHOWN: usize = 8;

/// One point on its way to being counted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Who sent it.
    pub(crate) source: SourceId,
    /// What it counts.
    pub(crate) series: Identified,
    /// Time and value.
    pub(crate) reading: Reading,
}

/// Time and value of a point.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reading {
    /// Of a counter or histogram.
    Point(Point),
    /// Of a gauge.
    Level(Level),
}

/// Points that were not taken, with the reason: a stable word for metrics and a sentence for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusals {
    by_word: BTreeMap<&'static str, (u64, String)>,
}

impl Refusals {
    /// Notes refused points; the first sentence for a word is kept.
    pub(crate) fn add(&mut self, word: &'static str, count: u64, sentence: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        self.by_word.entry(word).and_modify(|(sum, _)| *sum += count).or_insert_with(|| (count, sentence()));
    }

    /// Number of refused points.
    pub(crate) fn total(&self) -> u64 {
        self.by_word.values().map(|(count, _)| count).sum()
    }

    /// Counts by word.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.by_word.iter().map(|(word, (count, _))| (*word, *count))
    }

    /// The reasons in words, for `partial_success`.
    pub(crate) fn message(&self) -> String {
        let mut text = String::new();
        for (count, sentence) in self.by_word.values().take(REASONS_SHOWN) {
            if !text.is_empty() {
                text.push_str("; ");
            }
            let _ = write!(text, "{count} {}: {sentence}", if *count == 1 { "point" } else { "points" });
        }
        if self.by_word.len() > REASONS_SHOWN {
            text.push_str("; and more");
        }
        text
    }
}

/// The samples of a request in protobuf.
#[cfg(test)]
pub(crate) fn unpacked(request: &[u8], interest: &Interest) -> Export {
    wire::convert_bytes(request, interest).unwrap()
}

/// A request, converted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Export {
    /// Points to count.
    pub(crate) samples: Vec<Sample>,
    /// Points that cannot be counted.
    pub(crate) refusals: Refusals,
    /// Points of metrics that nobody asks about.
    pub(crate) ignored: u64,
    /// Remarks about the request that cost no point.
    pub(crate) warnings: Vec<String>,
}

/// What became of an export that is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Points refused, here or while counting.
    pub(crate) refusals: Refusals,
    /// Remarks that cost no point.
    pub(crate) warnings: Vec<String>,
}

impl Receipt {
    /// `partial_success` of the answer: refused points and a message; `None` when all is well.
    pub(crate) fn partial_success(&self) -> Option<(i64, String)> {
        if self.refusals.total() == 0 && self.warnings.is_empty() {
            return None;
        }
        let mut message = self.refusals.message();
        for warning in &self.warnings {
            if !message.is_empty() {
                message.push_str("; ");
            }
            message.push_str(warning);
        }
        Some((i64::try_from(self.refusals.total()).unwrap_or(i64::MAX), message))
    }
}

/// Why an export was not taken although nothing is wrong with it: the sender should repeat it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unavailable {
    /// The store refused; the text says why.
    #[error("{0}")]
    Store(String),
    /// More is waiting to be written than may wait.
    #[error("the engine is behind with writing; repeat the request")]
    Busy,
    /// The engine ends.
    #[error("the engine is shutting down; repeat the request")]
    Stopping,
}

impl<T> From<mpsc::error::TrySendError<T>> for Unavailable {
    fn from(error: mpsc::error::TrySendError<T>) -> Self {
        match error {
            mpsc::error::TrySendError::Full(_) => Self::Busy,
            mpsc::error::TrySendError::Closed(_) => Self::Stopping,
        }
    }
}

/// An export with the place for its answer.
#[derive(Debug)]
pub(crate) struct Submission {
    /// What to count.
    pub(crate) export: Export,
    /// Where the answer goes once the disk has it.
    pub(crate) reply: oneshot::Sender<Result<Receipt, Unavailable>>,
}

/// The door that both transports lead to.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    interest: Arc<Interest>,
    submissions: mpsc::Sender<Submission>,
    max_request_bytes: usize,
}

impl Door {
    /// A door for metrics of `interest`, to whoever receives the submissions.
    pub(crate) fn new(
        interest: Interest,
        submissions: mpsc::Sender<Submission>,
        max_request_bytes: usize,
    ) -> Self {
        Self { interest: Arc::new(interest), submissions, max_request_bytes }
    }

    /// Hands an export over and waits until it is on disk.
    async fn submit(&self, export: Export) -> Result<Receipt, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.submissions.try_send(Submission { export, reply })?;
        answer.await.unwrap_or(Err(Unavailable::Stopping))
    }
}
