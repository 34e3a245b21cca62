//! When the excursion began that led to an incident: the point at which the share of bad events changed, not the first
//! stray error before it.
//!
//! Of all ways to cut the time before the alert in two, the one is taken under which the counts are most likely, each
//! part having a share of bad events of its own and the later one the larger (maximum likelihood for one change point of
//! a binomial share).

use crate::burn::Tally;
use crate::distribution::{Explicit, to_float};
use crate::evaluation::ChartPoint;
use crate::intake::Measured;
use crate::objective::Severity;
use crate::series::Series;
use crate::time::Timestamp;
use pqscope_telemetry::attribute;
use pqscope_telemetry::metric::engine;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bounds of the histogram of detection times, in seconds. What people found first lies beyond all of them.
const BOUNDS: [f64; 18] = [
    5.0, 10.0, 20.0, 30.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0, 420.0, 600.0, 900.0, 1_800.0, 3_600.0,
    7_200.0, 21_600.0, 86_400.0,
];

/// A beginning is looked for in at most so many steps.
const MOST_STEPS: u64 = 720;
/// Seconds of a step that counts are exact to.
const FINEST_STEP: u64 = 10;
/// Shortest time that is looked back over.
const SHORTEST: Duration = Duration::from_secs(3_600);

/// How an incident came to be known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detection {
    /// Name of the objective; empty for what no objective found.
    pub objective: String,
    /// OpenSLO service.
    pub service: String,
    /// Severity that it fired with.
    pub severity: Severity,
    /// When the excursion began.
    pub began: Timestamp,
    /// When the first notification was delivered; `None` for what people found first.
    pub told: Option<Timestamp>,
    /// Who entered it and what it was; for what people found first.
    pub entered: Option<Entered>,
}

/// Said by a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entered {
    /// Who.
    pub author: String,
    /// What happened.
    pub description: String,
    /// When it was entered.
    pub at: Timestamp,
}

impl Detection {
    /// Whether two are about one incident that people found: the same but for the time at which it was entered.
    pub fn tells_the_same(&self, other: &Self) -> bool {
        let entered =
            |detection: &Self| detection.entered.clone().map(|entered| (entered.author, entered.description));
        let told = |detection: &Self| (detection.began, detection.severity, detection.told);
        (&self.objective, &self.service, told(self), entered(self))
            == (&other.objective, &other.service, told(other), entered(other))
    }

    /// Time from the beginning to the first delivered notification; `None` for what people found first.
    pub fn taken(&self) -> Option<Duration> {
        self.told.map(|told| told.since(self.began))
    }

    /// When it became known.
    pub fn known(&self) -> Timestamp {
        self.told.or(self.entered.as_ref().map(|entered| entered.at)).unwrap_or(self.began)
    }

    /// What it adds to the counts: one observation, at the time it became known.
    pub fn contribution(&self) -> (Series, Timestamp, Measured) {
        let result = if self.told.is_some() { "detected" } else { "missed" };
        let severity = self.severity.to_string();
        let series = Series::new(
            engine::INCIDENT_DETECTION_DURATION.name,
            [(attribute::SEVERITY, severity.as_str()), (attribute::RESULT, result)],
        );
        let taken = self.taken().map_or(f64::INFINITY, |taken| taken.as_secs_f64());
        let bucket = BOUNDS.iter().position(|bound| taken <= *bound).unwrap_or(BOUNDS.len());
        let counts: Vec<u64> = (0..=BOUNDS.len()).map(|position| u64::from(position == bucket)).collect();
        // One observation in one of the buckets is well-formed.
        let histogram = Explicit::new(&BOUNDS, &counts, 1)
            .map(crate::distribution::Distribution::from)
            .unwrap_or_default();
        (series, self.known(), histogram.into())
    }
}

/// Detection of many incidents together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct DetectionSummary {
    /// Incidents that were told and incidents that people found first.
    pub incidents: u64,
    /// Those that people found first.
    pub missed: u64,
    /// Share of those; `None` without incidents.
    pub missed_share: Option<f64>,
    /// Mean time of those that were told, in seconds.
    pub mean_seconds: Option<f64>,
    /// Longest time of those that were told, in seconds.
    pub worst_seconds: Option<f64>,
}

/// Sums up.
pub fn summary<'a>(detections: impl IntoIterator<Item = &'a Detection>) -> DetectionSummary {
    let (mut incidents, mut times) = (0_u64, Vec::new());
    for detection in detections {
        incidents += 1;
        times.extend(detection.taken().map(|taken| taken.as_secs_f64()));
    }
    let told = times.len() as u64;
    let missed = incidents - told;
    DetectionSummary {
        incidents,
        missed,
        missed_share: (incidents > 0).then(|| to_float(missed) / to_float(incidents)),
        mean_seconds: (told > 0).then(|| times.iter().sum::<f64>() / to_float(told)),
        worst_seconds: times.iter().copied().reduce(f64::max),
    }
}

/// Begin of the excursion that leads up to `at`, looked for over the last `length`: at first in the coarse steps that so
/// long a time needs, then again over a shorter time that still holds as much of what was before, in finer ones. `chart`
/// gives the points of the last so long in steps of so long. `None` without bad events.
pub fn look_back(
    length: Duration,
    at: Timestamp,
    mut chart: impl FnMut(Duration, Duration) -> Vec<ChartPoint>,
) -> Option<Timestamp> {
    let mut length = length.max(SHORTEST);
    let mut found = None;
    loop {
        let step = Duration::from_secs((length.as_secs() / MOST_STEPS).max(FINEST_STEP));
        found = began(&chart(length, step)).or(found);
        let nearer = at.since(found?).saturating_mul(2).max(SHORTEST);
        // Shorter by half at least, so that this ends; and what is looked at in the finest steps is seen well enough.
        if step.as_secs() == FINEST_STEP || nearer > length / 2 {
            return found;
        }
        length = nearer;
    }
}

/// Begin of the excursion that the last of the points are part of; `None` without bad events.
fn began(points: &[ChartPoint]) -> Option<Timestamp> {
    let all: Tally = points.iter().map(|point| point.tally).sum();
    if all.bad <= 0.0 {
        return None;
    }
    let mut before = Tally::default();
    let mut best: Option<(f64, usize)> = None;
    for (position, point) in points.iter().enumerate() {
        let after = all.without(before);
        let worse = after.bad_share() > before.bad_share() || before.is_empty();
        let likelihood = log_likelihood(before) + log_likelihood(after);
        if worse && best.is_none_or(|(most, _)| likelihood > most + 1e-9) {
            best = Some((likelihood, position));
        }
        before = before + point.tally;
    }
    let (_, cut) = best?;
    points.iter().skip(cut).find(|point| point.tally.bad > 0.0).map(|point| point.from)
}

/// Of the counts of one part under its own share of bad events.
fn log_likelihood(tally: Tally) -> f64 {
    let part = |count: f64| if count > 0.0 { count * (count / tally.total).ln() } else { 0.0 };
    if tally.is_empty() { 0.0 } else { part(tally.bad) + part((tally.total - tally.bad).max(0.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(tallies: impl IntoIterator<Item = (u64, u64)>) -> Vec<ChartPoint> {
        let from = |position: u64| Timestamp::from_seconds(1_000 + 10 * position);
        let numbered = (0_u64..).zip(tallies);
        numbered
            .map(|(position, (bad, total))| ChartPoint {
                from: from(position),
                tally: Tally::of_bad(bad, total),
            })
            .collect()
    }

    fn position(points: &[ChartPoint]) -> Option<u64> {
        began(points).map(|time| (time.seconds() - 1_000) / 10)
    }

    #[test]
    fn what_people_found_first_is_beyond_all_bounds() {
        let began = Timestamp::from_seconds(1_000);
        let detection = |told| Detection {
            objective: "a".to_owned(),
            service: "tls".to_owned(),
            severity: Severity::Page,
            began,
            told,
            entered: None,
        };
        let quick = detection(Some(Timestamp::from_seconds(1_300)));
        let slow = detection(Some(Timestamp::from_seconds(1_301)));
        let missed = detection(None);
        let within = |one: &Detection| one.contribution().2.at_or_below(300.0);
        assert_eq!((within(&quick), within(&slow), within(&missed)), (Some(1), Some(0), Some(0)));
        let all = summary([&quick, &slow, &missed]);
        assert_eq!(
            (all.incidents, all.missed, all.mean_seconds, all.worst_seconds),
            (3, 1, Some(300.5), Some(301.0))
        );
        assert_eq!(summary([]), DetectionSummary::default());
    }

    #[test]
    fn a_stray_error_long_before_is_not_the_beginning() {
        let history = (0..360).map(|step| match step {
            20 => (1, 100),
            step if step >= 350 => (60, 100),
            _ => (0, 100),
        });
        assert_eq!(position(&points(history)), Some(350));
    }

    #[test]
    fn without_a_past_the_first_bad_bucket_is_the_beginning() {
        assert_eq!(position(&points([(0, 0), (0, 0), (3, 3), (4, 4)])), Some(2));
        assert_eq!(position(&points([(0, 9), (0, 9)])), None);
        assert_eq!(position(&points([])), None);
    }

    /// Twelve seconds of failures after three good days: seen in steps of six minutes they would have begun minutes ago.
    #[test]
    fn a_long_look_back_tells_the_beginning_as_exactly_as_a_short_one() {
        let at = Timestamp::from_seconds(1_000_000);
        for (length, age) in [(3_600, 12), (21_600, 12), (259_200, 12), (2_592_000, 12), (259_200, 3_000)] {
            let failing = at.before(Duration::from_secs(age));
            let mut looks = 0;
            let found = look_back(Duration::from_secs(length), at, |length, step| {
                looks += 1;
                let steps = length.as_secs() / step.as_secs();
                let from = |number| at.before(step * u32::try_from(steps - number).unwrap());
                let tally = |from: Timestamp| {
                    let bad = from.after(step).since(failing).as_secs().min(step.as_secs());
                    Tally::of_bad(bad, step.as_secs())
                };
                (0..steps)
                    .map(|number| ChartPoint { from: from(number), tally: tally(from(number)) })
                    .collect()
            });
            let found = found.unwrap();
            assert!(
                failing.since(found).as_secs() < 10 && found.since(failing).as_secs() == 0,
                "{length}: {found}"
            );
            assert!(looks <= 4, "{length}: {looks} looks");
        }
        assert_eq!(look_back(Duration::from_secs(259_200), at, |_, _| points([(0, 9)])), None);
    }

    #[test]
    fn buckets_without_events_say_nothing() {
        let history = (0..100).map(|step| {
            if step % 7 > 0 {
                (0, 0)
            } else if step < 70 {
                (0, 10)
            } else {
                (10, 10)
            }
        });
        assert_eq!(position(&points(history)), Some(70));
    }

    proptest! {
        /// A jump from a small share to a large one is found where it was made.
        #[test]
        fn a_jump_is_found_to_within_a_bucket(cut in 10_u64..300, lasting in 6_u64..60, total in 20_u64..500, worse in 5_u64..20) {
            let history = (0..cut + lasting).map(|step| {
                if step >= cut { (total * worse / 20, total) } else { (u64::from(step % 50 == 0), total * 50) }
            });
            let found = position(&points(history)).unwrap();
            prop_assert!(found.abs_diff(cut) <= 1, "{found} {cut}");
        }
    }
}
