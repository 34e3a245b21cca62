//! The detector of sudden failures: finds within minutes what burn rates see late, such as one deployment of a hundred
//! that fails wholly.
//!
//! The traffic is divided into groups by attributes such as service and deployment. The share of bad events in the short
//! window of a group is compared with what is usual: the reference window before it, of the group itself and of all
//! groups that it shares the service with. Were bad events spread by chance over both, the number in the short window
//! would follow a hypergeometric distribution, the tail of which is at most
//!
//! ```text
//! P(bad >= k) <= exp(-n * KL(k/n || K/N)),   KL(a || b) = a ln(a/b) + (1-a) ln((1-a)/(1-b))
//! ```
//!
//! with `k` bad of `n` in the short window and `K` of `N` in both together (W. Hoeffding, "Probability inequalities for
//! sums of bounded random variables", 1963, sections 2 and 6). The bound needs no estimate of the usual rate and no large
//! numbers. An alert asks for a bound at or below the rule's significance. With 1e-6 and a look every ten seconds, chance
//! alone gives at most 8,640e-6, less than one false alarm per group in a hundred days. Bad events that come in clusters, such as one
//! client that tries again and again, are not chance in this sense; the least number of bad events is there for them.

use crate::burn::Tally;
use crate::objective::SpikeRule;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Events of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Values of the attributes that divide the traffic; attributes without a value are left out.
    pub labels: BTreeMap<String, String>,
    /// Its events in the short window.
    pub short: Tally,
    /// Events of the reference window that it is compared with.
    pub usual: Tally,
}

impl Group {
    /// Whether its share of bad events in the short window is as much as an objective allows, or more.
    pub fn beyond(&self, allowed: f64) -> bool {
        self.short.bad_share().is_some_and(|bad| bad >= allowed)
    }
}

/// A group that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpikeReading {
    /// The group.
    pub group: Group,
    /// Bound on the probability that chance made it so, between 0 and 1.
    pub chance: f64,
    /// Whether it is a spike.
    pub spike: bool,
}

/// Looks at a group.
pub fn look(rule: &SpikeRule, group: &Group) -> SpikeReading {
    let Group { short, usual, .. } = group;
    let chance = chance(short, usual);
    let enough = short.bad >= crate::distribution::to_float(rule.least_bad);
    let worse = match (short.bad_share(), usual.bad_share()) {
        (Some(now), Some(before)) => now >= before * rule.least_ratio,
        _ => false,
    };
    SpikeReading { group: group.clone(), chance, spike: enough && worse && chance <= rule.significance }
}

/// Bound on the probability that chance alone puts so many of all bad events into the short window. 1 where nothing can
/// be said: without events in one of the windows, or when the short window is no worse.
pub fn chance(short: &Tally, usual: &Tally) -> f64 {
    if short.is_empty() || usual.is_empty() || short.overflowed() || usual.overflowed() {
        return 1.0;
    }
    let both = *short + *usual;
    let (now, pooled) = (short.bad / short.total, both.bad / both.total);
    if now <= pooled {
        return 1.0;
    }
    (-short.total * divergence(now, pooled)).exp()
}

/// Kullback-Leibler divergence of two coins, in nats; `b` lies between 0 and 1, both excluded, or equals `a`.
fn divergence(a: f64, b: f64) -> f64 {
    let part = |a: f64, b: f64| if a > 0.0 { a * (a / b).ln() } else { 0.0 };
    part(a, b) + part(1.0 - a, 1.0 - b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::Severity;
    use std::time::Duration;

    fn rule() -> SpikeRule {
        SpikeRule {
            by: vec![],
            among: vec![],
            short: Duration::from_secs(180),
            reference: Duration::from_secs(3_600),
            least_bad: 5,
            least_ratio: 3.0,
            significance: 1e-6,
            pending_for: Duration::ZERO,
            severity: Severity::Page,
        }
    }

    fn spike(short: (u64, u64), usual: (u64, u64)) -> bool {
        let tally = |(bad, total)| Tally::of_bad(bad, total);
        look(&rule(), &Group { labels: BTreeMap::new(), short: tally(short), usual: tally(usual) }).spike
    }

    #[test]
    fn a_canary_that_fails_wholly_is_seen_after_five_attempts() {
        assert!(spike((5, 5), (50, 60_000)));
        assert!(!spike((4, 4), (50, 60_000)), "too few to act on");
    }

    #[test]
    fn five_percent_of_a_busy_service_is_seen_within_the_window() {
        // 60 attempts a minute: three minutes hold 180.
        assert!(spike((9, 180), (4, 3_600)));
        assert!(!spike((2, 180), (4, 3_600)));
    }

    #[test]
    fn what_is_usual_is_no_spike() {
        assert!(!spike((180, 180), (3_600, 3_600)));
        assert!(!spike((30, 180), (500, 3_600)));
        assert!(!spike((0, 180), (0, 3_600)));
        assert!(!spike((10, 10), (0, 0)), "nothing to compare with");
    }

    /// The bound against the exact tail of the hypergeometric distribution.
    #[test]
    fn the_bound_lies_above_the_exact_probability() {
        let ln_choose =
            |n: u64, k: u64| -> f64 { (1..=k).map(|i| ((n - k + i) as f64).ln() - (i as f64).ln()).sum() };
        for (short_total, usual_total, bad) in [(10, 100, 5), (50, 1_000, 20), (180, 3_600, 30), (5, 5, 4)] {
            let all = short_total + usual_total;
            for in_short in 1..=bad.min(short_total) {
                let exact: f64 = (in_short..=bad.min(short_total))
                    .filter(|k| bad - k <= usual_total)
                    .map(|k| {
                        (ln_choose(bad, k) + ln_choose(all - bad, short_total - k)
                            - ln_choose(all, short_total))
                        .exp()
                    })
                    .sum();
                let bound = chance(
                    &Tally::of_bad(in_short, short_total),
                    &Tally::of_bad(bad - in_short, usual_total),
                );
                assert!(bound >= exact * (1.0 - 1e-9), "{in_short} of {bad}: {bound} < {exact}");
            }
        }
    }
}
