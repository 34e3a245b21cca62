//! The way out: notifications from the outbox to their receivers.
//!
//! A notification enters once its row is on disk and leaves as a settlement: sent after a 2xx answer, or dead after an
//! answer that no repeat would change. In between it is repeated with the same body and the same key, over restarts
//! too, so it arrives at least once. Rows of one objective go to one receiver one after the other: a resolve never
//! overtakes its fire. Whether to alert is decided elsewhere.

mod backoff;
mod courier;
mod receiver;
mod webhook;

pub(crate) use courier::{Courier, DeliveryFigures, Progress};
pub(crate) use receiver::Receiver;

use pqscope_slo_core::objective::Severity;
use pqscope_slo_core::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A row of the outbox: one notification for one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutboxRow {
    /// Its place in the order of all rows.
    pub(crate) number: u64,
    /// Identity of the receiver.
    pub(crate) receiver: String,
    /// Objective that it is about; rows of one objective keep their order.
    pub(crate) objective: String,
    /// Same on every repeat, different for every other notification.
    pub(crate) idempotency_key: String,
    /// The bytes to send, made once.
    pub(crate) body: String,
    /// One line for people.
    pub(crate) summary: String,
    /// When the incident opened that it is about; `None` in rows of older versions.
    #[serde(default)]
    pub(crate) incident: Option<Timestamp>,
    /// What happened: `fired`, `resolved` and so on.
    pub(crate) event: String,
    /// How urgent it is.
    pub(crate) severity: Severity,
    /// When it was written.
    pub(crate) created: Timestamp,
    /// Where it stands.
    pub(crate) standing: Standing,
}

impl OutboxRow {
    /// Whether people learn from it that something is wrong.
    pub(crate) fn says_that_it_is_bad(&self) -> bool {
        matches!(self.event.as_str(), "fired" | "raised")
    }
}

/// Where a notification stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Standing {
    /// Not delivered yet.
    Waiting,
    /// Its receiver has it.
    Sent {
        /// When it was told so.
        at: Timestamp,
        /// Tries since the engine started.
        attempts: u32,
    },
    /// No repeat would help.
    Dead {
        /// When that was clear.
        at: Timestamp,
        /// Tries since the engine started.
        attempts: u32,
        /// What the receiver said.
        reason: String,
    },
}

impl Standing {
    /// A short stable word.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent { .. } => "sent",
            Self::Dead { .. } => "dead",
        }
    }
}

/// How a notification ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settlement {
    /// The row.
    pub(crate) number: u64,
    /// Sent or dead.
    pub(crate) standing: Standing,
}
