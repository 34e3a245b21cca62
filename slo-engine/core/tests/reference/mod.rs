//! What the documentation says, written down as plainly as possible and on purpose slowly: every number is found by
//! going through all events again, every alert by going through all verdicts again.

use pqscope_slo_core::objective::{AlertTier, Severity};
use std::time::Duration;

/// Events of one second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// When they happened.
    pub(crate) at: u64,
    /// When the engine heard of them.
    pub(crate) heard: u64,
    pub(crate) good: u64,
    pub(crate) bad: u64,
}

/// How a window is cut off at its old end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// As promised: down to ten seconds up to two hours ago, a minute up to twelve hours, ten minutes up to four days,
    /// an hour up to forty days, a day beyond.
    Promised,
    /// To the second.
    True,
}

/// The width of a bucket that is so old.
pub(crate) fn width(age: u64) -> u64 {
    match age {
        0..=7_200 => 10,
        7_201..=43_200 => 60,
        43_201..=345_600 => 600,
        345_601..=3_456_000 => 3_600,
        _ => 86_400,
    }
}

/// All events of a window that are known by now, `(bad, total)`.
pub(crate) fn events_of(events: &[Event], now: u64, length: u64, edge: Edge) -> (f64, f64) {
    let end = now - now % 10 + 10;
    let from = match edge {
        Edge::Promised => (end - length) - (end - length) % width(length),
        Edge::True => now + 1 - length,
    };
    let mut sum = (0.0, 0.0);
    for event in events {
        if event.heard <= now && event.at <= now && event.at >= from {
            sum.0 += event.bad as f64;
            sum.1 += (event.good + event.bad) as f64;
        }
    }
    sum
}

/// `(bad / total) / (1 - target)`; nothing is no rate.
pub(crate) fn burn((bad, total): (f64, f64), allowed: f64) -> Option<f64> {
    (total > 0.0).then(|| bad / total / allowed)
}

/// What a window pair says at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Yes,
    No,
    Unknown,
}

/// The gates that keep a few failures on little traffic from counting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gates {
    pub(crate) least_events: f64,
    pub(crate) least_bad: f64,
}

/// What a tier says.
pub(crate) fn tier_says(
    tier: &AlertTier,
    gates: Gates,
    allowed: f64,
    window: impl Fn(u64) -> (f64, f64),
) -> Says {
    let (long, short) = (window(tier.long.as_secs()), window(tier.short.as_secs()));
    let (Some(slow), Some(fast)) = (burn(long, allowed), burn(short, allowed)) else { return Says::Unknown };
    let reaches = |burn: f64| burn > tier.factor || ((burn - tier.factor) / tier.factor).abs() < 1e-9;
    if !reaches(slow) || !reaches(fast) {
        Says::No
    } else if long.1 < gates.least_events || long.0 < gates.least_bad {
        Says::Unknown
    } else {
        Says::Yes
    }
}

/// Longest time between two looks that still says something about the time between.
const LONGEST_GAP: u64 = 120;

/// At which of the looks a tier fires: it does from the look at which it had said yes for its pending time without a no
/// between, until the look at which it had said nothing but no for its clear time. Time that nobody looked at counts for
/// neither.
pub(crate) fn firing(looks: &[(u64, Says)], pending_for: Duration, clear_for: Duration) -> Vec<bool> {
    // The first look of the stretch that ends here and of which every look passes.
    let stretch = |last: usize, passes: &dyn Fn(Says) -> bool| -> Option<usize> {
        let mut first = None;
        for look in (0..=last).rev() {
            if !passes(looks[look].1) {
                break;
            }
            first = Some(look);
            if look > 0 && looks[look].0 - looks[look - 1].0 > LONGEST_GAP {
                break;
            }
        }
        first
    };
    let mut fires: Vec<bool> = Vec::new();
    for (number, (now, says)) in looks.iter().enumerate() {
        let fired = fires.last().copied().unwrap_or(false);
        let of = |from: usize| now - looks[from].0;
        fires.push(if fired {
            let quiet = stretch(number, &|says| says == Says::No).map(of);
            quiet.is_none_or(|quiet| quiet < clear_for.as_secs())
        } else {
            let from = stretch(number, &|says| says != Says::No);
            let first_yes =
                from.and_then(|from| (from..=number).find(|look| looks[*look].1 == Says::Yes)).map(of);
            *says == Says::Yes && first_yes.is_some_and(|held| held >= pending_for.as_secs())
        });
    }
    fires
}

/// What people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    Fired(Severity),
    Raised(Severity),
    Eased(Severity),
    Resolved,
}

/// Notices with their times, from which tiers fire at each look: one incident, at the highest severity of them.
pub(crate) fn notices(times: &[u64], tiers: &[(Severity, Vec<bool>)]) -> Vec<(u64, Notice)> {
    let mut open: Option<Severity> = None;
    let mut told = Vec::new();
    for (look, time) in times.iter().enumerate() {
        let loudest = tiers.iter().filter(|(_, fires)| fires[look]).map(|(severity, _)| *severity).max();
        let notice = match (open, loudest) {
            (None, Some(severity)) => Some(Notice::Fired(severity)),
            (Some(before), Some(severity)) if severity > before => Some(Notice::Raised(severity)),
            (Some(before), Some(severity)) if severity < before => Some(Notice::Eased(severity)),
            (Some(_), None) => Some(Notice::Resolved),
            _ => None,
        };
        told.extend(notice.map(|notice| (*time, notice)));
        open = loudest;
    }
    told
}
