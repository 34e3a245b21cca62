//! The arithmetic of the engine against models of it that share none of its code, and against what the documentation
//! promises: budgets, burn rates, alerts, and every trap that is known to catch engines of this kind.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where a step fails")]

mod alerting_text;
mod baselines;
mod day_spend;
mod detection;
#[path = "../disk/mod.rs"]
mod disk;
mod exclusions;
mod goals;
mod histories;
mod points;
#[path = "../reference/mod.rs"]
mod reference;
mod silence;
mod slices;
mod spikes;
mod traps_alerting;
mod traps_counting;
mod world;
