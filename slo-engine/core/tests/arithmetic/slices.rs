//! Budgets in slices of time, from OpenSLO text to alerts: each slice good or bad as a whole, or by its share.

use crate::world::{BEGIN, DAY, HOUR, MINUTE, STEP, Slo, THRESHOLD, World, near, seconds};
use pqscope_slo_core::alert::TransitionKind::{Fired, Resolved};
use pqscope_slo_core::evaluation::{Evaluation, ObjectiveState, WindowReading};
use proptest::prelude::*;

fn sliced(method: &'static str, entry: &str) -> Slo {
    let entry = format!("{{{entry}, timeSliceWindow: 5m}}");
    Slo { method, entry, ..Slo::of_requests(0.9) }
}

fn reading(evaluation: &Evaluation, length: u64) -> WindowReading {
    *evaluation.windows.iter().find(|reading| reading.length == seconds(length)).unwrap()
}

/// Good and bad events of whole slices, one after the other, an evaluation after each.
fn fill(world: &mut World, slices: &[(u64, u64)]) -> Evaluation {
    for (good, bad) in slices {
        world.events_at(world.now + 150, *good, *bad);
        world.now += 5 * MINUTE;
        world.evaluate();
    }
    world.evaluate()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Budget and burn rates against the plain list of slices; those without events have no say.
    #[test]
    fn slices_agree_with_the_plain_list(
        slices in proptest::collection::vec(
            prop_oneof![1 => Just((0_u64, 0_u64)), 3 => (0_u64..100, Just(0)), 3 => (0_u64..100, 0_u64..30)], 1..400
        )
    ) {
        let mut whole = World::new(&sliced("Timeslices", "target: 0.9, timeSliceTarget: 0.8"));
        let mut shares = World::new(&sliced("RatioTimeslices", "target: 0.9"));
        let (judged, ratio) = (fill(&mut whole, &slices), fill(&mut shares, &slices));
        let last = |length: u64| {
            let count = usize::try_from(length / 300).unwrap().min(slices.len());
            let inside = slices[slices.len() - count..].iter().filter(|(good, bad)| good + bad > 0);
            inside.map(|(good, bad)| *good as f64 / (good + bad) as f64).collect::<Vec<f64>>()
        };
        for length in [5 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 6 * HOUR, DAY] {
            let shares = last(length);
            let total = shares.len() as f64;
            let bad = shares.iter().filter(|share| **share < 0.8).count() as f64;
            let tally = reading(&judged, length).tally;
            prop_assert_eq!((tally.bad, tally.total), (bad, total), "{}", length);
            let tally = reading(&ratio, length).tally;
            let good: f64 = shares.iter().sum();
            // Shares are kept to 24 bits.
            prop_assert!((tally.good - good).abs() < 1e-6 * total.max(1.0) && tally.total == total, "{tally:?} {good}");
        }
        let all = last(30 * DAY);
        let bad = all.iter().filter(|share| **share < 0.8).count() as f64;
        let left = (!all.is_empty()).then(|| 1.0 - bad / (0.1 * all.len() as f64));
        match (judged.budget.remaining, left) {
            (Some(engine), Some(expected)) => prop_assert!(near(engine, expected)),
            (engine, expected) => prop_assert_eq!(engine, expected),
        }
    }
}

#[test]
fn an_outage_in_slices_fires_and_resolves() {
    let mut world = World::new(&sliced("Timeslices", "target: 0.99, timeSliceTarget: 0.95"));
    let hours = |count: usize, slice: (u64, u64)| vec![slice; count * 12];
    fill(&mut world, &hours(24, (100, 0)));
    assert!(world.transitions.is_empty());
    // Slices at their target are good; those below are bad, however little.
    fill(&mut world, &hours(2, (95, 5)));
    assert!(world.transitions.is_empty());
    let begin = world.now;
    for _ in 0..2 * HOUR / STEP {
        world.tick(94, 6);
        if world.fires() {
            break;
        }
    }
    // 14.4 of 100: two of twelve slices, and the third has just begun when they are over.
    let taken = world.now - begin;
    assert!((10 * MINUTE..=11 * MINUTE).contains(&taken), "{taken}");
    while world.now < begin + 20 * HOUR {
        world.now += MINUTE;
        world.events_at(world.now, 20, 0);
        world.evaluate();
    }
    assert_eq!(world.told().first(), Some(&Fired));
    assert_eq!(world.told().last(), Some(&Resolved));
}

#[test]
fn a_gauge_makes_slices_good_or_bad() {
    let slo = Slo { indicator: THRESHOLD, ..sliced("Timeslices", "target: 0.9, op: lte, value: 80") };
    let mut world = World::new(&slo);
    for minute in 0..120 {
        world.now = BEGIN + minute * MINUTE;
        // Two stores add up; 50 and 30 are just right, for an hour, and then a little too much.
        world.level(&[("store", "a")], 50.0);
        world.level(&[("store", "b")], if minute < 60 { 30.0 } else { 30.5 });
    }
    world.now = BEGIN + 2 * HOUR;
    let tally = world.evaluate().budget.tally;
    assert_eq!((tally.good, tally.bad, tally.total), (12.0, 12.0, 24.0));
    // A gauge that is not read any more has no say, rather than its last value.
    world.now += HOUR;
    assert_eq!(world.evaluate().budget.tally.total, 24.0);
}

#[test]
fn a_ready_made_ratio_is_averaged_over_slices() {
    let raw = |kind: &'static str| Slo {
        indicator: if kind == "success" {
            "{ratioMetric: {rawType: success, raw: {metricSource: {type: pqscope, spec: {metric: sizes}}}}}"
        } else {
            "{ratioMetric: {rawType: failure, raw: {metricSource: {type: pqscope, spec: {metric: sizes}}}}}"
        },
        ..sliced("RatioTimeslices", "target: 0.9")
    };
    for (kind, good) in [("success", 0.75), ("failure", 0.25)] {
        let mut world = World::new(&raw(kind));
        for minute in 0..60 {
            world.now = BEGIN + minute * MINUTE;
            world.level(&[("region", "a")], 0.5);
            world.level(&[("region", "b")], 1.0);
        }
        world.now = BEGIN + HOUR;
        let tally = world.evaluate().budget.tally;
        assert!((tally.good - 12.0 * good).abs() < 1e-5 && tally.total == 12.0, "{tally:?}");
    }
}

#[test]
fn late_data_judges_a_slice_anew() {
    let mut world = World::new(&sliced("Timeslices", "target: 0.9, timeSliceTarget: 0.8"));
    fill(&mut world, &[(100, 0); 12]);
    assert_eq!(world.evaluate().budget.tally.bad, 0.0);
    world.events_at(world.now - 25 * MINUTE, 0, 30);
    assert_eq!(world.evaluate().budget.tally.bad, 1.0);
}

#[test]
fn an_exclusion_takes_whole_slices_at_every_moment() {
    let mut world = World::new(&sliced("Timeslices", "target: 0.9, timeSliceTarget: 0.8"));
    fill(&mut world, &[(100, 0); 24]);
    // Eight minutes of work that touch three slices, all of them bad.
    let from = world.now + 4 * MINUTE;
    world.exclude(from, Some(from + 8 * MINUTE));
    world.exclude(from + 2 * MINUTE, Some(from + 4 * MINUTE));
    fill(&mut world, &[(0, 100); 3]);
    let mut later = 0;
    while world.now < from + 3 * HOUR {
        world.tick(10, 0);
        let evaluation = world.evaluate();
        for reading in &evaluation.windows {
            assert_eq!(reading.tally.bad, 0.0, "{reading:?} {later} seconds later");
        }
        assert_eq!((evaluation.budget.tally.bad, evaluation.excluded.bad), (0.0, 3.0));
        later += STEP;
    }
    assert_eq!(world.evaluate().state, ObjectiveState::Ok);
    assert!(world.transitions.is_empty());
}
