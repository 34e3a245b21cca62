//! What an attempt came to.

use crate::observation::{Evidence, Failure, IncompleteReason, Outcome};
use crate::time::Timestamp;

/// How an attempt ended, and when that was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) at: Timestamp,
    pub(crate) outcome: Outcome,
    pub(crate) evidence: Evidence,
    pub(crate) failure: Option<Failure>,
    pub(crate) incomplete: Option<IncompleteReason>,
}

impl Verdict {
    pub(super) fn completed(at: Timestamp, evidence: Evidence) -> Self {
        Self { at, outcome: Outcome::Completed, evidence, failure: None, incomplete: None }
    }

    pub(super) fn failed(at: Timestamp, failure: Failure) -> Self {
        Self {
            at,
            outcome: Outcome::Failed,
            evidence: failure.evidence,
            failure: Some(failure),
            incomplete: None,
        }
    }

    pub(super) fn incomplete(at: Timestamp, reason: IncompleteReason) -> Self {
        Self {
            at,
            outcome: Outcome::Incomplete,
            evidence: Evidence::Seen,
            failure: None,
            incomplete: Some(reason),
        }
    }
}
