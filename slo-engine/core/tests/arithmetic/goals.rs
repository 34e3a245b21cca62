//! Objectives without a share: no bad event at all, and a gauge that may grow by so much.

use crate::world::{BEGIN, DAY, HOUR, MINUTE, STEP, Slo, THRESHOLD, World, at, near, seconds};
use pqscope_slo_core::alert::TransitionKind::{Fired, Resolved};
use pqscope_slo_core::evaluation::{ObjectiveState, Verdict};
use pqscope_slo_core::objective::Severity;
use proptest::prelude::*;

fn zero_tolerance(hold: &str) -> Slo {
    let entry = format!("{{pqscope.zeroTolerance: {{severity: page, hold: {hold}}}}}");
    Slo { entry, ..Slo::of_requests(0.99) }
}

#[test]
fn the_first_bad_event_fires_whatever_the_traffic() {
    for good in [0, 1, 1_000_000_000] {
        let mut world = World::new(&zero_tolerance("1h"));
        world.run(HOUR, good, 0);
        assert!(world.transitions.is_empty());
        let evaluation = world.tick(good, 1);
        assert_eq!(world.told(), [Fired], "{good}");
        assert_eq!(world.transitions.last().unwrap().severity, Severity::Page);
        assert_eq!(evaluation.state, ObjectiveState::Burning);
        assert_eq!((evaluation.budget.remaining, evaluation.budget.exhaustion), (None, None));
        assert!(evaluation.windows.iter().all(|reading| reading.burn.is_none()));
    }
}

#[test]
fn a_bad_event_holds_for_its_time_and_no_longer() {
    let mut world = World::new(&zero_tolerance("30m"));
    world.run(MINUTE, 1, 0);
    world.tick(0, 1);
    let first = world.now;
    world.run(20 * MINUTE, 1, 0);
    world.tick(0, 1);
    assert_eq!(world.told(), [Fired], "a second one is the same incident");
    let second = world.now;
    // Then nothing happens at all: such events are rare, and their absence is no fault.
    while world.fires() && world.now < second + DAY {
        world.wait(STEP);
    }
    assert_eq!(world.now - second, 30 * MINUTE);
    assert!(second - first > 20 * MINUTE);
    assert_eq!(world.told(), [Fired, Resolved]);
    let after = world.wait(HOUR);
    assert_eq!(after.breach.unwrap().verdict, Verdict::Clear);
    assert_eq!(after.state, ObjectiveState::Exhausted, "the month had one");
    world.tick(0, 1);
    assert_eq!(world.told(), [Fired, Resolved, Fired]);
}

#[test]
fn a_bad_event_that_becomes_known_late_is_told_when_it_does() {
    let mut world = World::new(&zero_tolerance("30m"));
    world.run(3 * HOUR, 1, 0);
    // It happened two hours ago, and the log that tells of it was read only now.
    world.events_at(world.now - 2 * HOUR, 0, 1);
    world.wait(STEP);
    assert_eq!(world.told(), [Fired]);
    let told = world.now;
    while world.fires() && world.now < told + DAY {
        world.wait(STEP);
    }
    assert_eq!((world.now - told, world.told()), (30 * MINUTE, vec![Fired, Resolved]));
    // What was there before the first look is history.
    let mut late = World::new(&zero_tolerance("30m"));
    late.now += 3 * HOUR;
    late.events_at(late.now - 2 * HOUR, 0, 1);
    late.run(HOUR, 1, 0);
    assert!(late.transitions.is_empty());
}

#[test]
fn a_bad_event_that_is_excluded_does_not_fire() {
    let mut world = World::new(&zero_tolerance("1h"));
    world.run(MINUTE, 1, 0);
    world.exclude(world.now, Some(world.now + 10 * MINUTE));
    world.tick(1, 1);
    assert!(world.transitions.is_empty());
    world.run(10 * MINUTE, 1, 0);
    world.tick(1, 1);
    assert_eq!(world.told(), [Fired]);
}

fn growth(entry: &str) -> Slo {
    let entry = format!("{{pqscope.growth: {{{entry}}}}}");
    Slo { indicator: THRESHOLD, entry, alerting: "{}".to_owned(), ..Slo::of_requests(0.99) }
}

/// Days of hourly readings of some stores, each growing by so much a day.
fn grow(world: &mut World, days: u64, stores: &[(&str, f64, f64)]) {
    let begin = world.now;
    for hour in 1..=days * 24 {
        world.now = begin + hour * HOUR;
        for (store, from, a_day) in stores {
            world.level(&[("store", store)], from + a_day * hour as f64 / 24.0);
        }
        world.evaluate();
    }
}

#[test]
fn an_even_pace_burns_at_one_and_tells_when_it_is_full() {
    let mut world = World::new(&growth("budget: 3000, capacity: 10000"));
    grow(&mut world, 10, &[("a", 1_000.0, 100.0)]);
    let evaluation = world.evaluate();
    let day = evaluation.windows.iter().find(|reading| reading.length == seconds(DAY)).unwrap();
    assert!(near(day.burn.unwrap(), 1.0), "{day:?}");
    // What the first reading held is no growth.
    assert!((evaluation.budget.tally.bad - 1_000.0 + 100.0 / 24.0).abs() < 1e-6, "{:?}", evaluation.budget);
    assert!((evaluation.budget.remaining.unwrap() - (1.0 - 995.833 / 3_000.0)).abs() < 1e-4);
    assert_eq!(evaluation.level.unwrap().value, 2_000.0);
    // 8,000 are left, at 100 a day.
    assert!((evaluation.full_in.unwrap().as_secs_f64() / DAY as f64 - 80.0).abs() < 1e-6);
}

#[test]
fn stores_add_up_and_one_that_shrinks_makes_room() {
    let mut world = World::new(&growth("budget: 3000, capacity: 10000"));
    grow(&mut world, 8, &[("a", 1_000.0, 300.0), ("b", 5_000.0, -250.0)]);
    let evaluation = world.evaluate();
    let day = evaluation.windows.iter().find(|reading| reading.length == seconds(DAY)).unwrap();
    assert!(near(day.burn.unwrap(), 0.5), "{day:?}");
    assert_eq!(evaluation.level.unwrap().value, 6_400.0);
    assert!(world.transitions.is_empty());
}

#[test]
fn a_falling_gauge_spends_nothing_and_never_fills() {
    let mut world = World::new(&growth("budget: 3000, capacity: 10000"));
    grow(&mut world, 8, &[("a", 9_000.0, -100.0)]);
    let evaluation = world.evaluate();
    assert!(evaluation.windows.iter().all(|reading| reading.burn == Some(0.0)));
    assert_eq!((evaluation.budget.remaining, evaluation.full_in), (Some(1.0), None));
    world.now += HOUR;
    world.level(&[("store", "a")], 10_001.0);
    assert_eq!(world.evaluate().full_in, Some(seconds(0)), "it is full");
}

#[test]
fn a_leap_is_a_ticket_and_what_a_new_store_holds_is_no_growth() {
    let mut world = World::new(&growth("budget: 3000"));
    grow(&mut world, 3, &[("a", 1_000.0, 10.0)]);
    // Another store appears with much in it.
    for _ in 0..20 {
        world.now += MINUTE;
        world.level(&[("store", "a")], 1_030.0);
        world.level(&[("store", "new")], 500_000.0);
        world.evaluate();
    }
    assert!(world.transitions.is_empty(), "{:?}", world.told());
    // 300 more within a day are three times the pace.
    for _ in 0..10 {
        world.now += MINUTE;
        world.level(&[("store", "a")], 1_330.0);
        world.level(&[("store", "new")], 500_000.0);
        world.evaluate();
    }
    assert_eq!(world.told(), [Fired]);
    assert_eq!(world.transitions.last().unwrap().severity, Severity::Ticket);
}

#[test]
fn a_cold_start_of_a_gauge_is_no_growth() {
    let mut world = World::new(&growth("budget: 3000, capacity: 10000"));
    assert_eq!(world.evaluate().state, ObjectiveState::NoData);
    world.now += STEP;
    world.level(&[("store", "a")], 9_000.0);
    let evaluation = world.evaluate();
    assert_eq!(evaluation.state, ObjectiveState::Ok);
    assert_eq!((evaluation.budget.remaining, evaluation.full_in), (Some(1.0), None));
}

/// A gauge has no value before its first reading, however coarse the bucket that holds both moments.
#[test]
fn a_gauge_has_no_value_before_its_first_reading() {
    let mut world = World::new(&growth("budget: 3000"));
    world.now = BEGIN - BEGIN % DAY + 10 * HOUR;
    world.level(&[("store", "a")], 1_000.0);
    world.now += 13 * HOUR;
    world.level(&[("store", "a")], 1_400.0);
    let id = pqscope_slo_core::series::Series::new("sizes", [("store", "a")]).id();
    let first = BEGIN - BEGIN % DAY + 10 * HOUR;
    assert_eq!(world.ledger.level_at(id, at(first - HOUR), at(world.now)), None);
    assert_eq!(world.ledger.level_at(id, at(first + HOUR), at(world.now)).unwrap().value, 1_000.0);
    // The day before the window's beginning is the day of the first reading: what grew since then is growth.
    world.now = first + DAY - HOUR;
    world.level(&[("store", "a")], 1_400.0);
    let evaluation = world.evaluate();
    let day = evaluation.windows.iter().find(|reading| reading.length == seconds(DAY)).unwrap();
    assert_eq!(day.tally.bad, 400.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Growth of every window against the plain list of readings: each store's last one less its last one before the
    /// window, or its first.
    #[test]
    fn growth_agrees_with_the_list_of_readings(
        steps in proptest::collection::vec((any::<bool>(), -50_i32..200, any::<bool>(), -50_i32..200), 30..260)
    ) {
        let mut world = World::new(&growth("budget: 3000, capacity: 1000000"));
        world.now = BEGIN - BEGIN % DAY;
        let mut readings: [Vec<(u64, f64)>; 2] = [Vec::new(), Vec::new()];
        let mut values = [5_000.0, 700.0];
        for (number, (first, one, second, two)) in steps.iter().enumerate() {
            // Five minutes past the hour, so that no bucket holds a reading and the edge of a window.
            world.now = BEGIN - BEGIN % DAY + number as u64 * HOUR + 5 * MINUTE;
            for (store, (read, change)) in [(*first, *one), (*second, *two)].into_iter().enumerate() {
                values[store] += f64::from(change);
                if read {
                    world.level(&[("store", if store == 0 { "a" } else { "b" })], values[store]);
                    readings[store].push((world.now, values[store]));
                }
            }
        }
        world.now += 30 * MINUTE;
        let now = world.now;
        let evaluation = world.evaluate();
        let grown = |length: u64| {
            let stores = readings.iter().filter_map(|store| {
                let before = store.iter().rfind(|(time, _)| *time < now - length).or(store.first())?;
                Some(store.last()?.1 - before.1)
            });
            stores.sum::<f64>().max(0.0)
        };
        for reading in &evaluation.windows {
            if !reading.tally.is_empty() {
                prop_assert!(near(reading.tally.bad, grown(reading.length.as_secs())), "{reading:?}");
                let allowed = 3_000.0 * reading.length.as_secs_f64() / (30 * DAY) as f64;
                prop_assert!(near(reading.burn.unwrap(), reading.tally.bad / allowed));
            }
        }
        prop_assert_eq!(evaluation.level.map(|level| level.value), {
            let last: Vec<f64> = readings.iter().filter_map(|store| Some(store.last()?.1)).collect();
            (!last.is_empty()).then(|| last.iter().sum())
        });
        prop_assert_eq!(evaluation.at, at(now));
    }
}
