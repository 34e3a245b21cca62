//! Settled attempts in the order of their ends.
//!
//! An expiry is noticed up to a tick late, and several workers do not settle in step; so attempts wait here until nothing
//! earlier can come any more. They wait as they are and become observations one by one on the way out, so that many
//! attempts that end at once take no more memory than they did before.

use crate::flow::table::Settled;
use crate::flow::timer::TICK;
use crate::observation::Endpoint;
use crate::time::Timestamp;
use crate::tls::machine::Machine;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// How much earlier than the capture's clock a new attempt may still end: the timer's two ticks, and the steps back that
/// do not rebase the clock.
const SLACK: u64 = 1_000_000_000 + 2 * TICK;

/// Attempts that an empty order keeps room for.
const KEPT_CAPACITY: usize = 1024;

/// Orders attempts.
#[derive(Debug)]
pub(crate) struct Order {
    waiting: BinaryHeap<Waiting>,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    settled: Settled,
    start: Timestamp,
    bytes: usize,
}

impl Waiting {
    /// End, start, endpoints, encapsulation.
    fn rank(&self) -> (Timestamp, Timestamp, [Endpoint; 2], u64) {
        let Settled { key, client, verdict, .. } = &self.settled;
        let endpoints = [key.endpoint(*client), key.endpoint(client.peer())];
        (verdict.at, self.start, endpoints, key.path().0)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    /// Reversed: the heap's greatest is the one that ended first. Ends differ nearly always, so the rest of the rank is
    /// made only for the others.
    fn cmp(&self, other: &Self) -> Ordering {
        let ends = other.settled.verdict.at.cmp(&self.settled.verdict.at);
        ends.then_with(|| other.rank().cmp(&self.rank()))
    }
}

impl Order {
    /// An order in which attempts of at most `max_bytes` wait at the same time; beyond it the first goes although an
    /// earlier one might still come.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { waiting: BinaryHeap::new(), bytes: 0, max_bytes }
    }

    pub(crate) fn push(&mut self, mut settled: Settled) {
        settled.machine.close_books();
        let start = settled.machine.start();
        let bytes = size_of::<Waiting>() + size_of::<Machine>() + settled.machine.heap_bytes();
        self.bytes += bytes;
        self.waiting.push(Waiting { settled, start, bytes });
    }

    /// The next attempt that nothing can precede any more at capture time `now`; with `None` the next of all. One that
    /// `waits` for another keeps its place.
    pub(crate) fn pop(
        &mut self,
        now: Option<Timestamp>,
        waits: impl Fn(&Settled) -> bool,
    ) -> Option<Settled> {
        let first = self.waiting.peek()?;
        let is_settled = now.is_none_or(|now| {
            first.settled.verdict.at.as_nanos().saturating_add(SLACK) <= now.as_nanos()
                && !waits(&first.settled)
        });
        if !is_settled && self.bytes <= self.max_bytes {
            return None;
        }
        let Waiting { settled, bytes, .. } = self.waiting.pop()?;
        self.bytes -= bytes;
        if self.waiting.is_empty() {
            // A burst must not keep its memory for good.
            self.waiting.shrink_to(KEPT_CAPACITY);
        }
        Some(settled)
    }
}
