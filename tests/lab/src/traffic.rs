//! Handshakes at a steady rate, mixed as asked.

use crate::loopback::{Loopback, LoopbackError};
use crate::scenario::{Scenario, UnknownScenario};
use crate::truth::Truth;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Weights of scenarios, such as `hybrid=60,no_shared_group=25`, for one server name or for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// The server name that this mix is for; `None` for every name without a mix of its own.
    pub server_name: Option<String>,
    /// Scenarios with their weights, all above zero.
    pub weights: Vec<(Scenario, u32)>,
}

/// Why a text is no mix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MixError {
    /// One part is not `SCENARIO=WEIGHT`.
    #[error("`{0}` is not SCENARIO=WEIGHT, such as hybrid=60")]
    Part(String),
    /// The weight is not a whole number above zero.
    #[error("the weight of `{0}` must be a whole number from 1 to 1000000")]
    Weight(String),
    /// The scenario does not exist.
    #[error(transparent)]
    Scenario(#[from] UnknownScenario),
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (server_name, weights) = match text.split_once(':') {
            Some((name, rest)) => (Some(name.trim().to_owned()), rest),
            None => (None, text),
        };
        let weights = weights
            .split(',')
            .map(|part| {
                let (name, weight) = part.split_once('=').ok_or_else(|| MixError::Part(part.to_owned()))?;
                let scenario: Scenario = name.parse()?;
                match weight.trim().parse() {
                    Ok(weight @ 1..=1_000_000) => Ok((scenario, weight)),
                    _ => Err(MixError::Weight(part.to_owned())),
                }
            })
            .collect::<Result<_, MixError>>()?;
        Ok(Self { server_name, weights })
    }
}

/// Deals out scenarios so that after any number of attempts every share is as near to its weight as whole numbers
/// allow. No chance is involved: the same mix gives the same order.
#[derive(Clone, Debug)]
pub struct Dealer {
    hands: Vec<(Scenario, i64, i64)>,
    total: i64,
}

impl Dealer {
    /// A dealer for these weights.
    pub fn new(weights: &[(Scenario, u32)]) -> Self {
        let hands: Vec<_> =
            weights.iter().map(|(scenario, weight)| (*scenario, i64::from(*weight), 0)).collect();
        let total = hands.iter().map(|(_, weight, _)| weight).sum();
        Self { hands, total }
    }

    /// The next scenario; `None` when there are no weights at all.
    pub fn deal(&mut self) -> Option<Scenario> {
        for (_, weight, credit) in &mut self.hands {
            *credit += *weight;
        }
        // The first of equals wins, so that the order does not depend on how the maximum is searched.
        let (scenario, _, credit) = self.hands.iter_mut().rev().max_by_key(|(_, _, credit)| *credit)?;
        *credit -= self.total;
        Some(*scenario)
    }
}

/// How much traffic to make.
#[derive(Clone, Debug)]
pub struct Load {
    /// Attempts per second.
    pub rate: f64,
    /// For how long new attempts begin; `None` for no limit.
    pub duration: Option<Duration>,
    /// How many attempts at most; `None` for no limit.
    pub count: Option<u64>,
    /// Server names, used in turn.
    pub server_names: Vec<String>,
    /// What to do; a mix without a server name is for all names that have none of their own.
    pub mixes: Vec<Mix>,
}

/// Why a load makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// A mix is for a name that is not used.
    #[error("there is a mix for `{0}`, but no such --server-name")]
    UnusedMix(String),
    /// A name has no mix.
    #[error("there is no mix for `{0}`; give one without a server name for all the others")]
    NoMix(String),
    /// There are no names.
    #[error("no server name is given")]
    NoServerName,
}

impl Load {
    /// Finds what cannot be meant.
    ///
    /// # Errors
    /// When a mix or a server name has no counterpart.
    pub fn check(&self) -> Result<(), LoadError> {
        if self.server_names.is_empty() {
            return Err(LoadError::NoServerName);
        }
        let mut for_names = self.mixes.iter().filter_map(|mix| mix.server_name.as_ref());
        if let Some(unused) = for_names.find(|name| !self.server_names.contains(name)) {
            return Err(LoadError::UnusedMix(unused.clone()));
        }
        match self.server_names.iter().find(|name| weights_for(name, &self.mixes).is_empty()) {
            Some(name) => Err(LoadError::NoMix(name.clone())),
            None => Ok(()),
        }
    }
}

/// What has been made so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Attempts that are over.
    pub attempts: u64,
    /// Of those, the ones that both ends finished.
    pub completed: u64,
    /// Attempts per scenario.
    pub scenarios: BTreeMap<Scenario, u64>,
}

impl Tally {
    /// Counts one attempt.
    pub fn add(&mut self, truth: &Truth) {
        self.attempts += 1;
        self.completed += u64::from(truth.is_completed());
        *self.scenarios.entry(truth.scenario).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.attempts - self.completed;
        write!(out, "{} handshakes: {} completed, {failed} failed", self.attempts, self.completed)?;
        for (index, (scenario, count)) in self.scenarios.iter().enumerate() {
            write!(out, "{}{scenario} {count}", if index == 0 { " (" } else { ", " })?;
        }
        if self.scenarios.is_empty() { Ok(()) } else { write!(out, ")") }
    }
}

/// Makes attempts until the load is done or `stop` resolves, and sends the truth of each to `truths` as it ends.
/// Attempts under way are finished first.
///
/// # Errors
/// The first attempt that could not be made at all ends the run.
pub async fn make(
    lab: Arc<Loopback>,
    load: &Load,
    stop: impl Future<Output = ()>,
    truths: mpsc::Sender<Truth>,
) -> Result<(), LoopbackError> {
    let mut dealers: Vec<(String, Dealer)> = load
        .server_names
        .iter()
        .map(|name| (name.clone(), Dealer::new(weights_for(name, &load.mixes))))
        .collect();
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / load.rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running: JoinSet<Result<(), LoopbackError>> = JoinSet::new();
    let over = async {
        match load.duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(stop, over);
    let mut made = 0_u64;
    let mut turn = 0;
    while load.count.is_none_or(|count| made < count) && !dealers.is_empty() {
        tokio::select! {
            () = &mut stop => break,
            () = &mut over => break,
            Some(ended) = running.join_next() => ended.unwrap_or(Ok(()))?,
            _ = ticks.tick() => {
                let slot = turn % dealers.len();
                turn += 1;
                let Some((name, dealer)) = dealers.get_mut(slot) else { continue };
                let Some(scenario) = dealer.deal() else { continue };
                made += 1;
                let (lab, name, truths) = (Arc::clone(&lab), name.clone(), truths.clone());
                running.spawn(async move {
                    let truth = lab.attempt(scenario, &name).await?;
                    // Whoever listens may have stopped listening; the handshake was made all the same.
                    let _ = truths.send(truth).await;
                    Ok(())
                });
            }
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap_or(Ok(()))?;
    }
    Ok(())
}

fn weights_for<'a>(name: &str, mixes: &'a [Mix]) -> &'a [(Scenario, u32)] {
    let own = mixes.iter().find(|mix| mix.server_name.as_deref() == Some(name));
    let shared = || mixes.iter().find(|mix| mix.server_name.is_none());
    own.or_else(shared).map_or(&[], |mix| &mix.weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_reads_its_parts() {
        let mix: Mix = "checkout.example:hybrid=60,no-shared-group=25".parse().unwrap();
        assert_eq!(mix.server_name.as_deref(), Some("checkout.example"));
        assert_eq!(mix.weights, [(Scenario::Hybrid, 60), (Scenario::NoSharedGroup, 25)]);
        assert_eq!("hybrid".parse::<Mix>(), Err(MixError::Part("hybrid".to_owned())));
        assert_eq!("hybrid=0".parse::<Mix>(), Err(MixError::Weight("hybrid=0".to_owned())));
        assert!(matches!("hybird=3".parse::<Mix>(), Err(MixError::Scenario(_))));
    }

    #[test]
    fn shares_follow_weights_from_the_start() {
        let mut dealer = Dealer::new(&[(Scenario::Hybrid, 3), (Scenario::X25519, 1)]);
        let dealt: Vec<_> = std::iter::from_fn(|| dealer.deal()).take(8).collect();
        assert_eq!(dealt.iter().filter(|scenario| **scenario == Scenario::X25519).count(), 2);
        assert_eq!(dealt[..4].iter().filter(|scenario| **scenario == Scenario::X25519).count(), 1);
        assert_eq!(dealt[0], Scenario::Hybrid);
        assert_eq!(Dealer::new(&[]).deal(), None);
    }

    #[test]
    fn mixes_and_names_belong_together() {
        let load = |names: &[&str], mixes: &[&str]| Load {
            rate: 1.0,
            duration: None,
            count: Some(1),
            server_names: names.iter().map(|name| (*name).to_owned()).collect(),
            mixes: mixes.iter().map(|mix| mix.parse().unwrap()).collect(),
        };
        assert_eq!(load(&["a.example"], &["hybrid=1"]).check(), Ok(()));
        assert_eq!(load(&[], &["hybrid=1"]).check(), Err(LoadError::NoServerName));
        let unused = load(&["a.example"], &["hybrid=1", "b.example:hybrid=1"]).check();
        assert_eq!(unused, Err(LoadError::UnusedMix("b.example".to_owned())));
        let none = load(&["a.example", "b.example"], &["b.example:hybrid=1"]).check();
        assert_eq!(none, Err(LoadError::NoMix("a.example".to_owned())));
    }

    #[test]
    fn a_mix_of_its_own_wins() {
        let mixes = ["hybrid=1".parse().unwrap(), "a.example:x25519=1".parse().unwrap()];
        assert_eq!(weights_for("a.example", &mixes), [(Scenario::X25519, 1)]);
        assert_eq!(weights_for("b.example", &mixes), [(Scenario::Hybrid, 1)]);
    }
}
