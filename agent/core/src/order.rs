//! Observations in the order of their ends.
//!
//! An expiry is noticed up to a tick late, and several workers do not settle in step; so observations wait here until
//! nothing earlier can come any more.

use crate::decode::Address;
use crate::flow::timer::TICK;
use crate::observation::Observation;
use crate::time::Timestamp;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::net::IpAddr;

/// How much earlier than the capture's clock a new observation may still end: the timer's two ticks, and the steps
/// back that do not rebase the clock.
const SLACK: u64 = 1_000_000_000 + 2 * TICK;

/// Orders observations.
#[derive(Debug, Default)]
pub(crate) struct Order {
    waiting: BinaryHeap<Waiting>,
}

#[derive(Debug)]
struct Waiting(Box<Observation>);

impl Waiting {
    fn rank(&self) -> (Timestamp, Timestamp, [(Address, u16); 2], &[String]) {
        let observation = &self.0;
        let endpoint = |address: IpAddr, port: u16| (Address::from(address), port);
        let client = endpoint(observation.client.address, observation.client.port);
        let server = endpoint(observation.server.address, observation.server.port);
        (observation.end, observation.start, [client, server], &observation.tunnel)
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
    /// Reversed: the heap's greatest is the one that ended first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.rank().cmp(&self.rank())
    }
}

impl Order {
    pub(crate) fn push(&mut self, observation: Observation) {
        self.waiting.push(Waiting(Box::new(observation)));
    }

    /// The next observation that nothing can precede any more at capture time `now`; with `None` the next of all.
    pub(crate) fn pop(&mut self, now: Option<Timestamp>) -> Option<Box<Observation>> {
        let first = self.waiting.peek()?;
        let settled = now.is_none_or(|now| first.0.end.as_nanos().saturating_add(SLACK) <= now.as_nanos());
        if settled { self.waiting.pop().map(|waiting| waiting.0) } else { None }
    }
}
