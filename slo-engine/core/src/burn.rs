//! The arithmetic of error budgets (SRE Workbook, chapter 5): burn rate, budget left, time to exhaustion, and the window
//! pairs that alert on them.

use crate::distribution::{to_count, to_float};
use crate::objective::{AlertTier, Severity, Target};
use serde::{Deserialize, Serialize, Serializer};
use std::time::Duration;

/// Good, bad and all events of a window, as counted. When the selectors of an SLO do not fit each other, good or bad may
/// exceed total; that is shown, not hidden. Whole numbers up to 2^53 when they are counts of the engine's own; a back end
/// may give fractions, since it extrapolates. For growth `bad` is what a gauge has grown by and `total` what an even pace
/// allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Good events.
    #[serde(serialize_with = "whole_if_whole")]
    pub good: f64,
    /// Bad events.
    #[serde(serialize_with = "whole_if_whole")]
    pub bad: f64,
    /// All events.
    #[serde(serialize_with = "whole_if_whole")]
    pub total: f64,
}

/// Writes a count as people write it: without a point unless there is something behind it.
pub fn whole_if_whole<S: Serializer>(count: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if count.fract() == 0.0 && (0.0..LARGEST_EXACT).contains(count) {
        serializer.serialize_u64(to_count(*count))
    } else {
        serializer.serialize_f64(*count)
    }
}

/// Beyond it a float no longer tells neighbouring whole numbers apart.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;

impl Tally {
    /// Good events were counted; bad is the rest.
    pub fn of_good(good: u64, total: u64) -> Self {
        Self::of_good_shares(to_float(good), to_float(total))
    }

    /// Bad events were counted; good is the rest.
    pub fn of_bad(bad: u64, total: u64) -> Self {
        Self::of_bad_shares(to_float(bad), to_float(total))
    }

    /// As [`Tally::of_good`], for numbers that need not be whole.
    pub fn of_good_shares(good: f64, total: f64) -> Self {
        Self { good, bad: (total - good).max(0.0), total }
    }

    /// As [`Tally::of_bad`], for numbers that need not be whole.
    pub fn of_bad_shares(bad: f64, total: f64) -> Self {
        Self { good: (total - bad).max(0.0), bad, total }
    }

    /// Whether there are no events.
    pub fn is_empty(self) -> bool {
        self.total <= 0.0
    }

    /// Whether a part is larger than the whole, by more than a back end's rounding.
    pub fn overflowed(self) -> bool {
        let most = self.total * (1.0 + 1e-9);
        self.good > most || self.bad > most
    }

    /// Share of good events; `None` without events.
    pub fn good_share(self) -> Option<f64> {
        (!self.is_empty()).then(|| self.good / self.total)
    }

    /// Share of bad events; `None` without events.
    pub fn bad_share(self) -> Option<f64> {
        (!self.is_empty()).then(|| self.bad / self.total)
    }

    /// `(bad / total) / (1 - target)`: 1 spends the budget exactly over the SLO window. `None` without events, for 0/0
    /// is no rate, and when a part exceeds the whole.
    pub fn burn_rate(self, target: Target) -> Option<f64> {
        if self.overflowed() { None } else { self.spent(target.allowed()) }
    }

    /// Share of bad events over the share that is allowed; `None` without events.
    pub fn spent(self, allowed: f64) -> Option<f64> {
        self.bad_share().map(|bad| bad / allowed)
    }

    /// Less the events of another, part of this one; what would fall below zero is zero.
    #[must_use]
    pub fn without(self, part: Self) -> Self {
        let less = |whole: f64, part: f64| (whole - part).max(0.0);
        Self {
            good: less(self.good, part.good),
            bad: less(self.bad, part.bad),
            total: less(self.total, part.total),
        }
    }
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { good: self.good + other.good, bad: self.bad + other.bad, total: self.total + other.total }
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(tallies: I) -> Self {
        tallies.fold(Self::default(), |sum, tally| sum + tally)
    }
}

/// Whether a burn rate reaches a factor. Exactly at the factor it does; a billionth is allowed for, because `1 - target`
/// is not exact in binary.
pub fn reaches(burn: f64, factor: f64) -> bool {
    burn >= factor * (1.0 - 1e-9)
}

/// The error budget over the SLO window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Events of the SLO window.
    pub tally: Tally,
    /// `1 - bad / ((1 - target) * total)`: 1 untouched, 0 spent, negative overspent; `None` without events.
    pub remaining: Option<f64>,
    /// Time until it is spent at the present burn rate: `remaining * window / burn`. Zero when it is spent; `None` when
    /// it is not being spent or nothing is known.
    pub exhaustion: Option<Duration>,
}

impl Budget {
    /// The budget for the events of the SLO window, what is allowed to be bad, and the present burn rate. `allowed` is
    /// `None` for an objective without a budget.
    pub fn new(tally: Tally, allowed: Option<f64>, window: Duration, burn: Option<f64>) -> Self {
        let spent = allowed.and_then(|allowed| tally.spent(allowed));
        let remaining = spent.map(|spent| 1.0 - spent);
        let exhaustion = match (remaining, burn) {
            (Some(remaining), _) if remaining <= 0.0 => Some(Duration::ZERO),
            (Some(remaining), Some(burn)) if burn > 0.0 => {
                Duration::try_from_secs_f64(remaining * window.as_secs_f64() / burn).ok()
            }
            _ => None,
        };
        Self { tally, remaining, exhaustion }
    }
}

/// Share of the whole budget that was spent on some events: `bad / (allowed * total of the SLO window)`. Equals
/// `burn * length / SLO window` only on even traffic.
pub fn budget_share(bad: f64, allowed: f64, total: f64) -> Option<f64> {
    let budget = allowed * total;
    (budget > 0.0).then(|| bad / budget)
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Long window, short window, share of the budget gone when a constant burn is detected, severity.
const STANDARD: [(u64, u64, f64, Severity); 4] = [
    (HOUR, 5 * MINUTE, 0.02, Severity::Page),
    (6 * HOUR, 30 * MINUTE, 0.05, Severity::Page),
    (DAY, 2 * HOUR, 0.10, Severity::Ticket),
    (3 * DAY, 6 * HOUR, 0.10, Severity::Ticket),
];

/// How long a condition must hold unless told otherwise. For a page two evaluations, so that the half of an export that
/// holds the failures does not page before the other half is in. For a ticket five minutes: nobody waits for it, and
/// while there is less history than its long window, it would otherwise be reached before the page is and announce every
/// outage twice.
pub const fn pending_for(severity: Severity) -> Duration {
    match severity {
        Severity::Page => Duration::from_secs(10),
        Severity::Ticket => Duration::from_secs(5 * MINUTE),
    }
}

/// The window pairs of the SRE Workbook (chapter 5, table 5-8) for an SLO window: factor = share of budget * SLO window
/// / long window, which is 14.4, 6, 3 and 1 for 30 days.
pub fn standard_tiers(window: Duration) -> Vec<AlertTier> {
    STANDARD
        .into_iter()
        .map(|(long, short, share, severity)| {
            let (long, short) = (Duration::from_secs(long), Duration::from_secs(short));
            let factor = share * window.as_secs_f64() / long.as_secs_f64();
            AlertTier { long, short, factor, pending_for: pending_for(severity), severity }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(share: f64) -> Target {
        Target::new(share).expect("a share between 0 and 1")
    }

    #[test]
    fn factors_are_those_of_the_workbook() {
        let factors = |days: u64| -> Vec<f64> {
            let tiers = standard_tiers(Duration::from_secs(days * DAY));
            tiers.iter().map(|tier| (tier.factor * 100.0).round() / 100.0).collect()
        };
        assert_eq!(factors(30), [14.4, 6.0, 3.0, 1.0]);
        assert_eq!(factors(28), [13.44, 5.6, 2.8, 0.93]);
        assert_eq!(factors(7), [3.36, 1.4, 0.7, 0.23]);
        assert_eq!(factors(90), [43.2, 18.0, 9.0, 3.0]);
    }

    #[test]
    fn a_burn_of_one_spends_the_budget_over_the_window() {
        let burn = Tally::of_good(9_990, 10_000).burn_rate(target(0.999)).unwrap();
        assert!((burn - 1.0).abs() < 1e-9);
        let month = Duration::from_secs(30 * DAY);
        let budget = Budget::new(Tally::of_good(9_995, 10_000), Some(0.001), month, Some(1.0));
        assert!((budget.remaining.unwrap() - 0.5).abs() < 1e-9);
        let days = budget.exhaustion.unwrap().as_secs_f64() / 86_400.0;
        assert!((days - 15.0).abs() < 1e-9);
    }

    #[test]
    fn an_overspent_budget_is_negative_and_gone_now() {
        let budget = Budget::new(Tally::of_bad(30, 10_000), Some(0.001), Duration::from_secs(DAY), Some(0.0));
        assert!((budget.remaining.unwrap() + 2.0).abs() < 1e-9);
        assert_eq!(budget.exhaustion, Some(Duration::ZERO));
    }

    #[test]
    fn nothing_is_no_rate() {
        assert_eq!(Tally::default().burn_rate(target(0.99)), None);
        let budget = Budget::new(Tally::default(), Some(0.01), Duration::from_secs(DAY), None);
        assert_eq!((budget.remaining, budget.exhaustion), (None, None));
    }

    #[test]
    fn a_part_larger_than_the_whole_is_flagged() {
        let tally = Tally::of_good(11, 10);
        assert!(tally.overflowed());
        assert_eq!(tally.good, 11.0);
        assert_eq!(tally.burn_rate(target(0.99)), None);
        assert!(Tally::of_bad(11, 10).overflowed());
    }

    #[test]
    fn a_day_takes_its_share_of_the_whole_budget() {
        // A thousandth of a million may be bad; 250 bad events are a quarter of it, whatever the traffic of the day was.
        assert!((budget_share(250.0, 0.001, 1e6).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(budget_share(1.0, 0.001, 0.0), None);
    }

    #[test]
    fn exactly_at_the_factor_is_reached() {
        let burn = Tally::of_bad(144, 10_000).burn_rate(target(0.999)).unwrap();
        assert!(reaches(burn, 14.4));
        let burn = Tally::of_bad(1_439_999, 100_000_000).burn_rate(target(0.999)).unwrap();
        assert!(!reaches(burn, 14.4));
    }
}
