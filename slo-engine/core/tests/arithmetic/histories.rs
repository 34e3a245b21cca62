//! Random histories: what the engine measures and tells against the reference, look by look.

use crate::reference::{
    Edge, Event, Gates, Notice, Says, burn, events_of, firing, notices, tier_says, width,
};
use crate::world::{BEGIN, DAY, HOUR, Slo, World, at, near};
use pqscope_slo_core::alert::TransitionKind;
use pqscope_slo_core::evaluation::Evaluation;
use pqscope_slo_core::objective::Severity;
use proptest::prelude::*;

const TARGET: f64 = 0.99;
const ALLOWED: f64 = 1.0 - TARGET;

/// Some looks with the same events before each.
#[derive(Clone, Debug)]
struct Stretch {
    looks: u64,
    /// Seconds from look to look; now and then longer than the engine takes for watched.
    apart: u64,
    good: u64,
    bad: u64,
    /// How much later than they happened the engine hears of the events.
    late: u64,
}

fn stretches() -> impl Strategy<Value = Vec<Stretch>> {
    let bad = prop_oneof![3 => Just(0_u64), 2 => 1_u64..12, 2 => 1_u64..400];
    let apart =
        prop_oneof![4 => Just(10_u64), 3 => Just(30), 3 => Just(60), 1 => 61_u64..200, 1 => 900_u64..5_000];
    let late = prop_oneof![6 => Just(0_u64), 1 => 1_u64..90, 1 => 90_u64..5_000];
    let good = prop_oneof![1 => Just(0_u64), 5 => 1_u64..600];
    let stretch = (1_u64..40, apart, good, bad, late).prop_map(|(looks, apart, good, bad, late)| Stretch {
        looks,
        apart,
        good,
        bad,
        late,
    });
    proptest::collection::vec(stretch, 2..14)
}

/// Events long before, told by their age.
fn ancient() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
    let age = prop_oneof![2 * HOUR..DAY, DAY..4 * DAY, 4 * DAY..29 * DAY];
    proptest::collection::vec((age, 0_u64..50_000, 0_u64..300), 0..12)
}

struct Told {
    world: World,
    events: Vec<Event>,
    looks: Vec<(u64, Evaluation)>,
}

/// Plays a history to the engine.
fn play(ancient: &[(u64, u64, u64)], stretches: &[Stretch]) -> Told {
    let mut world = World::new(&Slo::of_requests(TARGET));
    let mut events = Vec::new();
    for (age, good, bad) in ancient {
        let at = BEGIN - age;
        events.push(Event { at, heard: at, good: *good, bad: *bad });
    }
    events.sort_by_key(|event| event.at);
    for Event { at: time, good, bad, .. } in &events {
        world.now = *time;
        world.events_at(*time, *good, *bad);
    }
    world.now = BEGIN;
    // What is on its way, by the time at which it is heard of.
    let mut under_way: Vec<Event> = Vec::new();
    let mut looks = Vec::new();
    for Stretch { looks: number, apart, good, bad, late } in stretches {
        for _ in 0..*number {
            world.now += apart;
            under_way.push(Event { at: world.now, heard: world.now + late, good: *good, bad: *bad });
            let now = world.now;
            for event in under_way.extract_if(.., |event| event.heard <= now) {
                world.events_at(event.at, event.good, event.bad);
                events.push(Event { heard: now, ..event });
            }
            looks.push((world.now, world.evaluate()));
            world.ledger.expire(at(world.now));
        }
    }
    Told { world, events, looks }
}

/// What the engine told, in the words of the reference.
fn engine_notices(world: &World) -> Vec<(u64, Notice)> {
    let notice = |kind, severity| match kind {
        TransitionKind::Fired => Some(Notice::Fired(severity)),
        TransitionKind::Raised => Some(Notice::Raised(severity)),
        TransitionKind::Eased => Some(Notice::Eased(severity)),
        TransitionKind::Resolved => Some(Notice::Resolved),
        _ => None,
    };
    let one = |transition: &pqscope_slo_core::alert::Transition| {
        Some((transition.at.seconds(), notice(transition.kind, transition.severity)?))
    };
    world.transitions.iter().filter_map(one).collect()
}

/// What the reference tells.
fn reference_notices(told: &Told) -> Vec<(u64, Notice)> {
    let rule = &told.world.objective.alert;
    let gates = Gates { least_events: rule.least_events as f64, least_bad: rule.least_bad as f64 };
    let times: Vec<u64> = told.looks.iter().map(|(time, _)| *time).collect();
    let tiers: Vec<(Severity, Vec<bool>)> = rule
        .tiers
        .iter()
        .map(|tier| {
            let says: Vec<(u64, Says)> = times
                .iter()
                .map(|now| {
                    let window = |length| events_of(&told.events, *now, length, Edge::Promised);
                    (*now, tier_says(tier, gates, ALLOWED, window))
                })
                .collect();
            (tier.severity, firing(&says, tier.pending_for, rule.clear_for))
        })
        .collect();
    notices(&times, &tiers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every window, the budget and its exhaustion at every look, to the last event; every notice at its second.
    #[test]
    fn the_engine_agrees_with_the_reference(ancient in ancient(), stretches in stretches()) {
        let told = play(&ancient, &stretches);
        for (now, evaluation) in &told.looks {
            for reading in &evaluation.windows {
                let length = reading.length.as_secs();
                let (bad, total) = events_of(&told.events, *now, length, Edge::Promised);
                prop_assert_eq!((reading.tally.bad, reading.tally.total), (bad, total), "{} at {}", length, now);
                match (reading.burn, burn((bad, total), ALLOWED)) {
                    (Some(engine), Some(expected)) => prop_assert!(near(engine, expected), "{engine} {expected}"),
                    (engine, expected) => prop_assert_eq!(engine, expected),
                }
                // Against windows to the second, what differs lies within one bucket at the old end.
                let (_, exact) = events_of(&told.events, *now, length, Edge::True);
                let oldest = now + 1 - length;
                let rounded = oldest.saturating_sub(width(length) + 10);
                let between: u64 = told.events.iter()
                    .filter(|event| event.heard <= *now && (rounded..oldest + 10).contains(&event.at))
                    .map(|event| event.good + event.bad)
                    .sum();
                prop_assert!((total - exact).abs() <= between as f64, "{length}: {total} {exact}, {between} at the edge");
            }
            let (bad, total) = events_of(&told.events, *now, 30 * DAY, Edge::Promised);
            let remaining = burn((bad, total), ALLOWED).map(|spent| 1.0 - spent);
            match (evaluation.budget.remaining, remaining) {
                (Some(engine), Some(expected)) => prop_assert!(near(engine, expected), "{engine} {expected}"),
                (engine, expected) => prop_assert_eq!(engine, expected),
            }
            let pace = burn(events_of(&told.events, *now, HOUR, Edge::Promised), ALLOWED);
            let exhausted_in = match (remaining, pace) {
                (Some(left), _) if left <= 0.0 => Some(0.0),
                (Some(left), Some(pace)) if pace > 0.0 => Some(left * (30 * DAY) as f64 / pace),
                _ => None,
            };
            match (evaluation.budget.exhaustion, exhausted_in) {
                (Some(engine), Some(expected)) => {
                    // What is left of nearly nothing is known to the last digits of a share only.
                    let off = (engine.as_secs_f64() - expected).abs();
                    prop_assert!(off <= 1e-3 + 1e-9 * expected, "{engine:?} {expected}");
                }
                (engine, expected) => prop_assert_eq!(engine.is_some(), expected.is_some()),
            }
        }
        prop_assert_eq!(engine_notices(&told.world), reference_notices(&told));
    }
}
