//! The arithmetic of error budgets (SRE Workbook, chapter 5): burn rate, budget left, time to exhaustion, and the window
//! pairs that alert on them.

use crate::distribution::to_float;
use crate::objective::{AlertTier, Severity, Target};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Good and all events of a window, as counted. Good may exceed total when the selectors of an SLO do not fit each
/// other; that is shown, not hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Good events.
    pub good: u64,
    /// All events.
    pub total: u64,
}

impl Tally {
    /// Events that are not good; zero when good exceeds total.
    pub const fn bad(self) -> u64 {
        self.total.saturating_sub(self.good)
    }

    /// Whether there are more good events than events.
    pub const fn overflowed(self) -> bool {
        self.good > self.total
    }

    /// Share of good events; `None` without events.
    pub fn good_share(self) -> Option<f64> {
        (self.total > 0).then(|| to_float(self.good) / to_float(self.total))
    }

    /// `(bad / total) / (1 - target)`: 1 spends the budget exactly over the SLO window. `None` without events, for 0/0
    /// is no rate, and when good exceeds total.
    pub fn burn_rate(self, target: Target) -> Option<f64> {
        (self.total > 0 && !self.overflowed())
            .then(|| to_float(self.bad()) / to_float(self.total) / target.allowed())
    }
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

/// The window pairs of the SRE Workbook (chapter 5, table 5-8) for an SLO window: factor = share of budget * SLO window
/// / long window, which is 14.4, 6, 3 and 1 for 30 days.
pub fn standard_tiers(window: Duration) -> Vec<AlertTier> {
    STANDARD
        .into_iter()
        .map(|(long, short, share, severity)| {
            let (long, short) = (Duration::from_secs(long), Duration::from_secs(short));
            AlertTier { long, short, factor: share * window.as_secs_f64() / long.as_secs_f64(), severity }
        })
        .collect()
}
