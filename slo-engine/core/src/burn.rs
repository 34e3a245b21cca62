//! The arithmetic of error budgets (SRE Workbook, chapter 5): burn rate, budget left, time to exhaustion, and the window
//! pairs that alert on them.

use crate::distribution::to_float;
use crate::objective::{AlertTier, Severity, Target};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Good, bad and all events of a window, as counted. When the selectors of an SLO do not fit each other, good or bad may
/// exceed total; that is shown, not hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Good events.
    pub good: u64,
    /// Bad events.
    pub bad: u64,
    /// All events.
    pub total: u64,
}

impl Tally {
    /// Good events were counted; bad is the rest.
    pub const fn of_good(good: u64, total: u64) -> Self {
        Self { good, bad: total.saturating_sub(good), total }
    }

    /// Bad events were counted; good is the rest.
    pub const fn of_bad(bad: u64, total: u64) -> Self {
        Self { good: total.saturating_sub(bad), bad, total }
    }

    /// Whether a part is larger than the whole.
    pub const fn overflowed(self) -> bool {
        self.good > self.total || self.bad > self.total
    }

    /// Share of good events; `None` without events.
    pub fn good_share(self) -> Option<f64> {
        (self.total > 0).then(|| to_float(self.good) / to_float(self.total))
    }

    /// `(bad / total) / (1 - target)`: 1 spends the budget exactly over the SLO window. `None` without events, for 0/0
    /// is no rate, and when a part exceeds the whole.
    pub fn burn_rate(self, target: Target) -> Option<f64> {
        (self.total > 0 && !self.overflowed())
            .then(|| to_float(self.bad) / to_float(self.total) / target.allowed())
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
    /// The budget for the events of the SLO window and the present burn rate.
    pub fn new(tally: Tally, target: Target, window: Duration, burn: Option<f64>) -> Self {
        let remaining = tally.burn_rate(target).map(|spent| 1.0 - spent);
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
        let budget = Budget::new(Tally::of_good(9_995, 10_000), target(0.999), month, Some(1.0));
        assert!((budget.remaining.unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(budget.exhaustion.unwrap().as_secs(), 15 * DAY);
    }

    #[test]
    fn an_overspent_budget_is_negative_and_gone_now() {
        let budget =
            Budget::new(Tally::of_bad(30, 10_000), target(0.999), Duration::from_secs(DAY), Some(0.0));
        assert!((budget.remaining.unwrap() + 2.0).abs() < 1e-9);
        assert_eq!(budget.exhaustion, Some(Duration::ZERO));
    }

    #[test]
    fn nothing_is_no_rate() {
        assert_eq!(Tally::default().burn_rate(target(0.99)), None);
        let budget = Budget::new(Tally::default(), target(0.99), Duration::from_secs(DAY), None);
        assert_eq!((budget.remaining, budget.exhaustion), (None, None));
    }

    #[test]
    fn a_part_larger_than_the_whole_is_flagged() {
        let tally = Tally::of_good(11, 10);
        assert!(tally.overflowed());
        assert_eq!(tally.good, 11);
        assert_eq!(tally.burn_rate(target(0.99)), None);
        assert!(Tally::of_bad(11, 10).overflowed());
    }

    #[test]
    fn exactly_at_the_factor_is_reached() {
        let burn = Tally::of_bad(144, 10_000).burn_rate(target(0.999)).unwrap();
        assert!(reaches(burn, 14.4));
        let burn = Tally::of_bad(1_439_999, 100_000_000).burn_rate(target(0.999)).unwrap();
        assert!(!reaches(burn, 14.4));
    }
}
