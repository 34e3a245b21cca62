//! Clients that fail with a post-quantum key share and come back without one.
//!
//! Enters: attempts as they begin and as they are settled. Leaves: for a completed attempt without a post-quantum share,
//! the failed one that it retries: from the same client address and of the same kind, to the same server, begun before,
//! and ended no longer than a window before this one began.
//!
//! Both may end in any order: a client that gives up on a hello opens its next connection long before the silence on the
//! first has lasted for the timeout. So an attempt that may be such a retry waits for its elders between the same two
//! ends ([`OpenAttempts`]).

use crate::decode::Address;
use crate::iana::{Group, KeyExchangeClass};
use crate::observation::{Endpoint, Observation, Outcome};
use crate::time::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// Failed attempts that are remembered; beyond it the oldest is forgotten.
const MAX_FAILED: usize = 4096;

/// Those of them between the same two ends.
const MAX_FAILED_OF_PAIR: usize = 64;

/// How long a retry may take and still find the attempt that it retries, begun at the window's very end.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Pairs of ends with open attempts that are followed; attempts of further ones are not waited for.
const MAX_PAIRS: usize = 16_384;

/// Open attempts between two ends that are followed.
const MAX_OPEN: usize = 64;

/// Which server a client talks to, whatever port it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pair {
    pub(crate) client: Address,
    pub(crate) server: Address,
    pub(crate) server_port: u16,
}

impl Pair {
    pub(crate) fn of(client: Endpoint, server: Endpoint) -> Self {
        let address = |address: IpAddr| Address::from(address);
        Self { client: address(client.address), server: address(server.address), server_port: server.port }
    }
}

/// Attempts under way whose hello has a post-quantum key share, by when they began.
#[derive(Debug, Default)]
pub(crate) struct OpenAttempts {
    begun: HashMap<Pair, Vec<Timestamp>>,
}

impl OpenAttempts {
    pub(crate) fn begin(&mut self, pair: Pair, start: Timestamp) {
        if self.begun.len() >= MAX_PAIRS && !self.begun.contains_key(&pair) {
            return;
        }
        let open = self.begun.entry(pair).or_default();
        if open.len() < MAX_OPEN {
            open.push(start);
        }
    }

    pub(crate) fn end(&mut self, pair: Pair, start: Timestamp) {
        let Some(open) = self.begun.get_mut(&pair) else { return };
        if let Some(at) = open.iter().position(|begun| *begun == start) {
            open.swap_remove(at);
        }
        if open.is_empty() {
            self.begun.remove(&pair);
        }
    }

    /// Whether an attempt that began before `start` is still open.
    pub(crate) fn has_elder(&self, pair: Pair, start: Timestamp) -> bool {
        self.begun.get(&pair).is_some_and(|open| open.iter().any(|begun| *begun < start))
    }
}

/// A failed attempt whose hello had a post-quantum key share.
#[derive(Clone, Debug)]
pub(crate) struct Failed {
    pub(crate) pair: Pair,
    /// The kind of client, as [`Machine::client_kind`](crate::tls::machine::Machine::client_kind) numbers it.
    pub(crate) kind: u64,
    pub(crate) id: String,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

/// Failed attempts that somebody may retry.
#[derive(Debug)]
pub(crate) struct Fallbacks {
    window: Duration,
    /// By the order in which they were noted.
    failed: BTreeMap<u64, Failed>,
    /// Which of them are between the same two ends, in the same order.
    of_pair: HashMap<Pair, Vec<u64>>,
    /// The number of the next.
    next: u64,
}

impl Fallbacks {
    /// `window` is how long after the end of a failed attempt another may begin that retries it.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, failed: BTreeMap::new(), of_pair: HashMap::new(), next: 0 }
    }

    /// Takes note of a failed attempt.
    pub(crate) fn failed(&mut self, failed: Failed) {
        if self.failed.len() >= MAX_FAILED {
            self.forget_oldest();
        }
        let of_pair = self.of_pair.entry(failed.pair).or_default();
        if of_pair.len() >= MAX_FAILED_OF_PAIR {
            self.failed.remove(&of_pair.remove(0));
        }
        of_pair.push(self.next);
        self.failed.insert(self.next, failed);
        self.next += 1;
    }

    /// Whether an attempt between these two ends is remembered.
    pub(crate) fn remembers(&self, pair: Pair) -> bool {
        self.of_pair.contains_key(&pair)
    }

    /// Forgets an attempt that did not fail after all.
    pub(crate) fn revoke(&mut self, pair: Pair, id: &str) {
        let of_pair = self.of_pair.get(&pair).into_iter().flatten();
        let number = of_pair.copied().find(|number| self.failed.get(number).is_some_and(|it| it.id == id));
        number.and_then(|number| self.forget(number));
    }

    /// The failed attempt that this one, by a client of this kind, retries; each is retried once.
    pub(crate) fn retried_by(&mut self, seen: &Observation, kind: Option<u64>) -> Option<String> {
        let is_retry = seen.outcome == Outcome::Completed
            && !seen.is_post_quantum()
            && sends_post_quantum_share(seen) == Some(false);
        // What ended too long ago is of no use to anybody. Attempts come by their ends: one that takes long may have begun
        // before those that came already.
        let kept = self.window.saturating_add(LONGEST_RETRY);
        while self.failed.values().next().is_some_and(|failed| failed.end.plus(kept) < seen.end) {
            self.forget_oldest();
        }
        let of_pair = self.of_pair.get(&Pair::of(seen.client, seen.server)).filter(|_| is_retry)?;
        let kind = kind?;
        let (number, _) = of_pair
            .iter()
            .filter_map(|number| Some((*number, self.failed.get(number)?)))
            .filter(|(_, failed)| failed.kind == kind)
            .filter(|(_, failed)| failed.start < seen.start && seen.start <= failed.end.plus(self.window))
            .max_by_key(|(_, failed)| failed.start)?;
        self.forget(number).map(|failed| failed.id)
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.failed.keys().next().copied() {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, number: u64) -> Option<Failed> {
        let failed = self.failed.remove(&number)?;
        if let Some(of_pair) = self.of_pair.get_mut(&failed.pair) {
            of_pair.retain(|other| *other != number);
            if of_pair.is_empty() {
                self.of_pair.remove(&failed.pair);
            }
        }
        Some(failed)
    }
}

/// Whether the first hello had a key share of a hybrid or post-quantum group; `None` where it was not read.
fn sends_post_quantum_share(seen: &Observation) -> Option<bool> {
    Some(any_post_quantum(seen.client_hello.key_shares.as_ref()?.iter().copied()))
}

/// Whether one of the groups is hybrid or post-quantum.
pub(crate) fn any_post_quantum(groups: impl IntoIterator<Item = Group>) -> bool {
    groups.into_iter().any(|group| matches!(group.class(), KeyExchangeClass::Hybrid | KeyExchangeClass::Pq))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::testing::observation;

    fn attempt(id: &str, seconds: (u64, u64), share: u16, outcome: Outcome) -> Observation {
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let mut seen = observation();
        seen.id = id.to_owned();
        (seen.start, seen.end) = (at(seconds.0), at(seconds.1));
        seen.outcome = outcome;
        seen.client_hello.key_shares = Some(vec![Group(share)]);
        seen.client_hello.ja4 = Some("t13d1516h2_a_b".to_owned());
        seen.key_exchange_class = Some(Group(share).class());
        seen
    }

    /// The tests tell kinds by the fingerprint.
    fn kind(seen: &Observation) -> Option<u64> {
        Some(seen.client_hello.ja4.as_ref()?.bytes().map(u64::from).sum())
    }

    fn failure(seen: &Observation) -> Option<Failed> {
        let is_one = seen.outcome == Outcome::Failed && sends_post_quantum_share(seen) == Some(true);
        is_one.then(|| Failed {
            pair: Pair::of(seen.client, seen.server),
            kind: kind(seen).unwrap(),
            id: seen.id.clone(),
            start: seen.start,
            end: seen.end,
        })
    }

    fn run(attempts: &[Observation]) -> Vec<Option<String>> {
        let mut fallbacks = Fallbacks::new(Duration::from_secs(10));
        attempts.iter().filter_map(failure).for_each(|failed| fallbacks.failed(failed));
        attempts.iter().map(|seen| fallbacks.retried_by(seen, kind(seen))).collect()
    }

    #[test]
    fn a_retry_without_the_share_is_told_whichever_ends_first() {
        let failed = attempt("a", (0, 5), 0x11ec, Outcome::Failed);
        for retry in [(2, 3), (6, 7), (15, 16)] {
            let again = attempt("b", retry, 0x1d, Outcome::Completed);
            assert_eq!(run(&[failed.clone(), again]), [None, Some("a".to_owned())], "{retry:?}");
        }
    }

    #[test]
    fn what_is_no_retry_is_none() {
        let failed = attempt("a", (3, 5), 0x11ec, Outcome::Failed);
        let again = || attempt("b", (6, 7), 0x1d, Outcome::Completed);
        let mut other_client = again();
        other_client.client.address = IpAddr::from([192, 0, 2, 77]);
        let mut other_kind = again();
        other_kind.client_hello.ja4 = Some("t13d1517h2_a_c".to_owned());
        let mut other_server = again();
        other_server.server.port += 1;
        let cases = [
            other_client,
            other_kind,
            other_server,
            attempt("b", (16, 17), 0x1d, Outcome::Completed),
            attempt("b", (2, 7), 0x1d, Outcome::Completed),
            attempt("b", (6, 7), 0x11ec, Outcome::Completed),
            attempt("b", (6, 7), 0x1d, Outcome::Failed),
        ];
        for case in cases {
            assert_eq!(run(&[failed.clone(), case.clone()])[1], None, "{case:?}");
        }
        let classical = attempt("a", (3, 5), 0x1d, Outcome::Failed);
        assert_eq!(run(&[classical, again()])[1], None);
    }

    #[test]
    fn each_failure_is_retried_once_and_the_latest_first() {
        let attempts = [
            attempt("a", (0, 1), 0x11ec, Outcome::Failed),
            attempt("b", (1, 2), 0x11ec, Outcome::Failed),
            attempt("c", (3, 4), 0x1d, Outcome::Completed),
            attempt("d", (3, 5), 0x1d, Outcome::Completed),
            attempt("e", (3, 6), 0x1d, Outcome::Completed),
        ];
        assert_eq!(run(&attempts)[2..], [Some("b".to_owned()), Some("a".to_owned()), None]);
    }

    #[test]
    fn a_retry_that_takes_long_is_one_although_later_attempts_ended_before() {
        let mut other = attempt("c", (16, 17), 0x1d, Outcome::Completed);
        other.client.address = IpAddr::from([192, 0, 2, 77]);
        let attempts = [
            attempt("a", (0, 5), 0x11ec, Outcome::Failed),
            other,
            attempt("b", (14, 20), 0x1d, Outcome::Completed),
        ];
        assert_eq!(run(&attempts), [None, None, Some("a".to_owned())]);
    }

    #[test]
    fn failures_are_remembered_within_bounds_and_the_oldest_forgotten() {
        let mut fallbacks = Fallbacks::new(Duration::from_secs(10));
        let by = |client: u32, id: u32, start| {
            let mut seen = attempt(&id.to_string(), (start, 5), 0x11ec, Outcome::Failed);
            seen.client.address = IpAddr::from(client.to_be_bytes());
            failure(&seen).unwrap()
        };
        let held = |fallbacks: &Fallbacks| {
            let numbers = fallbacks.of_pair.values().map(Vec::len).sum::<usize>();
            assert_eq!(
                (fallbacks.failed.len(), fallbacks.of_pair.values().any(Vec::is_empty)),
                (numbers, false)
            );
            numbers
        };
        for id in 0..1000 {
            fallbacks.failed(by(7, id, 0));
        }
        assert_eq!(held(&fallbacks), MAX_FAILED_OF_PAIR);
        assert_eq!(fallbacks.failed.values().next().unwrap().id, (1000 - MAX_FAILED_OF_PAIR).to_string());
        for id in 0..2 * MAX_FAILED as u32 {
            fallbacks.failed(by(1000 + id, id, 0));
        }
        assert_eq!((held(&fallbacks), fallbacks.of_pair.len()), (MAX_FAILED, MAX_FAILED));
        assert_eq!(fallbacks.failed.values().next().unwrap().id, MAX_FAILED.to_string());
        // What ended long ago goes with whatever comes.
        let late = attempt("z", (100, 101), 0x1d, Outcome::Completed);
        assert_eq!(fallbacks.retried_by(&late, kind(&late)), None);
        assert_eq!((held(&fallbacks), fallbacks.of_pair.len()), (0, 0));
    }

    #[test]
    fn what_did_not_fail_after_all_is_retried_by_nobody() {
        let mut fallbacks = Fallbacks::new(Duration::from_secs(10));
        let [first, second] = ["a", "b"].map(|id| attempt(id, (0, 5), 0x11ec, Outcome::Failed));
        let pair = Pair::of(first.client, first.server);
        for seen in [&first, &second] {
            fallbacks.failed(failure(seen).unwrap());
        }
        fallbacks.revoke(pair, "b");
        let again = attempt("c", (6, 7), 0x1d, Outcome::Completed);
        assert_eq!(fallbacks.retried_by(&again, kind(&again)), Some("a".to_owned()));
        fallbacks.revoke(pair, "a");
        assert!(!fallbacks.remembers(pair) && fallbacks.failed.is_empty());
    }

    #[test]
    fn only_elders_are_waited_for() {
        let pair = Pair { client: Address([1; 16]), server: Address([2; 16]), server_port: 443 };
        let at = |n| Timestamp::from_nanos(n);
        let mut open = OpenAttempts::default();
        open.begin(pair, at(5));
        assert!(open.has_elder(pair, at(6)));
        assert!(!open.has_elder(pair, at(5)));
        open.end(pair, at(5));
        assert!(!open.has_elder(pair, at(6)) && open.begun.is_empty());
    }
}
