//! Spans that do not count: out of the budget and the burn rates, and still shown.

use crate::reference::{Edge, Event, burn, events_of};
use crate::world::{BEGIN, DAY, HOUR, MINUTE, STEP, Slo, World, near};
use pqscope_slo_core::alert::TransitionKind::Fired;
use pqscope_slo_core::evaluation::ObjectiveState;
use proptest::prelude::*;

#[test]
fn maintenance_costs_nothing_and_is_shown() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(2 * HOUR, 100, 0);
    world.exclude(world.now + 1, None);
    world.run(HOUR, 0, 100);
    assert!(world.transitions.is_empty());
    let evaluation = world.evaluate();
    assert_eq!(evaluation.excluded.bad, 36_000.0);
    assert_eq!((evaluation.budget.tally.bad, evaluation.budget.remaining), (0.0, Some(1.0)));
    assert_eq!(evaluation.state, ObjectiveState::Ok);
    // It is ended, and the failures go on: from now on they count.
    world.exclusions[0].until = Some(crate::world::at(world.now));
    assert!(world.until(Fired, HOUR, 0, 100).is_some());
}

#[test]
fn what_is_excluded_is_no_cause() {
    let mut world = World::new(&Slo::of_requests(0.99));
    let fail = |world: &mut World, count: u64| {
        world.now += STEP;
        world.count_at(world.now, &[("outcome", "failed"), ("error.type", "reset")], count);
    };
    world.exclude(world.now, Some(world.now + 10 * MINUTE + STEP));
    (0..10 * MINUTE / STEP).for_each(|_| fail(&mut world, 100));
    assert_eq!(world.evaluate().causes, []);
    fail(&mut world, 7);
    let evaluation = world.evaluate();
    let told: Vec<(&str, u64)> =
        evaluation.causes.iter().map(|cause| (cause.value.as_str(), cause.count)).collect();
    assert_eq!((evaluation.budget.tally.bad, told), (7.0, vec![("reset", 7)]));
}

#[test]
fn a_spike_during_maintenance_pages_nobody() {
    let mut world = World::new(&Slo { alerting: "{dayShare: off}".to_owned(), ..Slo::of_requests(0.999) });
    world.run(2 * HOUR, 100, 0);
    world.exclude(world.now, Some(world.now + HOUR));
    world.run(30 * MINUTE, 50, 50);
    assert!(world.transitions.is_empty(), "{:?}", world.told());
    world.run(HOUR, 100, 0);
    // Nor does the maintenance hide a spike after it, as what was usual before.
    assert!(world.until(Fired, 5 * MINUTE, 95, 5).is_some());
}

#[test]
fn a_correction_after_the_fact_gives_the_budget_back() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(HOUR, 100, 0);
    let from = world.now;
    world.run(10 * MINUTE, 0, 100);
    world.run(HOUR, 100, 0);
    assert!(world.evaluate().budget.remaining.unwrap() < 0.0);
    world.exclude(from, Some(from + 11 * MINUTE));
    assert_eq!(world.evaluate().budget.remaining, Some(1.0));
}

#[test]
fn an_exclusion_of_other_objectives_is_none_of_ours() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.exclude(BEGIN, None);
    world.exclusions[0].services = ["elsewhere".to_owned()].into();
    world.run(HOUR, 0, 100);
    assert!(world.fires());
    assert!(world.evaluate().excluded.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any set of exclusions, overlapping or not, whole hours each: every window is that of the events outside of them.
    #[test]
    fn windows_are_those_of_the_other_events(
        hours in proptest::collection::vec((1_u64..100, 0_u64..40), 4..90),
        spans in proptest::collection::vec((0_u64..90, 1_u64..8), 0..6),
    ) {
        let mut world = World::new(&Slo::of_requests(0.99));
        let mut events = Vec::new();
        for (good, bad) in &hours {
            for part in 0..6 {
                world.now = BEGIN + events.len() as u64 * 10 * MINUTE + 5 * MINUTE;
                world.events_at(world.now, *good + part, *bad);
                events.push(Event { at: world.now, heard: world.now, good: *good + part, bad: *bad });
            }
        }
        world.now += 5 * MINUTE + 3;
        for (from, length) in &spans {
            world.exclude(BEGIN + from * HOUR, Some(BEGIN + (from + length) * HOUR));
        }
        let excluded = |at: u64| spans.iter().any(|(from, length)| {
            (BEGIN + from * HOUR..BEGIN + (from + length) * HOUR).contains(&at)
        });
        let counted: Vec<Event> = events.iter().copied().filter(|event| !excluded(event.at)).collect();
        let evaluation = world.evaluate();
        for reading in &evaluation.windows {
            let expected = events_of(&counted, world.now, reading.length.as_secs(), Edge::Promised);
            prop_assert_eq!((reading.tally.bad, reading.tally.total), expected);
            prop_assert_eq!(reading.burn.is_some(), burn(expected, 0.01).is_some());
        }
        let all = |events: &[Event]| events_of(events, world.now, 30 * DAY, Edge::Promised);
        let ((bad, total), (counted_bad, counted_total)) = (all(&events), all(&counted));
        let left = (counted_total > 0.0).then(|| 1.0 - counted_bad / (0.01 * counted_total));
        match (evaluation.budget.remaining, left) {
            (Some(engine), Some(expected)) => prop_assert!(near(engine, expected)),
            (engine, expected) => prop_assert_eq!(engine, expected),
        }
        prop_assert_eq!((evaluation.excluded.bad, evaluation.excluded.total), (bad - counted_bad, total - counted_total));
    }
}

/// Two minutes of maintenance stay left out when buckets of their time are an hour wide: then the whole hour is.
#[test]
fn a_short_exclusion_stays_what_it_is_when_its_buckets_get_coarser() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(HOUR, 10, 0);
    let begin = world.now + 600;
    world.exclude(begin, Some(begin + 2 * MINUTE));
    while world.now < begin + 10 * MINUTE {
        let bad = if (begin..begin + 2 * MINUTE).contains(&(world.now + STEP)) { 10 } else { 0 };
        world.tick(10 - bad, bad);
    }
    for wait in [MINUTE, 3 * HOUR, 10 * HOUR, DAY, 5 * DAY, 20 * DAY] {
        let evaluation = world.wait(wait);
        assert_eq!(evaluation.budget.tally.bad, 0.0, "after {wait}");
        assert!(evaluation.excluded.bad >= 110.0, "after {wait}");
    }
    assert!(world.transitions.is_empty());
}
