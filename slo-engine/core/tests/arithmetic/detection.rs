//! When a constant burn is detected and when its alert is over: the two formulas of multiwindow alerts, to one look.
//!
//! From clean, a burn `b` is detected after `f * L / b`; once it stops, the alert is quiet after `S * (1 - f / b)`. Looks
//! are ten seconds apart, and the pending and the clear time come on top.

use crate::world::{HOUR, MINUTE, STEP, Slo, World, near};
use pqscope_slo_core::alert::TransitionKind::{Fired, Resolved};
use pqscope_slo_core::objective::AlertTier;
use proptest::prelude::*;

/// Events of ten seconds; so many that any share of them is a whole number, nearly.
const EVENTS: u64 = 100_000_000;

struct Measured {
    detected: u64,
    quiet: u64,
}

/// One window pair, clean history, then a burn that goes on until both windows hold nothing else or it is detected,
/// whichever comes later, then good events only.
fn measure(target: f64, long: u64, short: u64, factor: f64, burn: f64) -> (AlertTier, Measured) {
    let tiers = format!("[{{long: {long}s, short: {short}s, factor: {factor}, severity: page}}]");
    let slo = Slo {
        alerting: format!("{{tiers: {tiers}, spike: off, dayShare: off}}"),
        ..Slo::of_requests(target)
    };
    let mut world = World::new(&slo);
    world.past(long, EVENTS, 0);
    world.evaluate();
    let bad = (burn * (1.0 - target) * EVENTS as f64).round() as u64;
    let detected = world.until(Fired, 2 * long, EVENTS - bad, bad).unwrap();
    world.past(short, EVENTS - bad, bad);
    world.evaluate();
    let quiet = world.until(Resolved, 2 * long, EVENTS, 0).unwrap();
    (world.objective.alert.tiers[0], Measured { detected, quiet })
}

/// Seconds by the formulas, pending and clear time included.
fn expected(tier: &AlertTier, clear_for: u64, burn: f64) -> (f64, f64) {
    let (long, short) = (tier.long.as_secs_f64(), tier.short.as_secs_f64());
    let detected = tier.factor * long / burn + tier.pending_for.as_secs_f64();
    (detected, short * (1.0 - tier.factor / burn) + clear_for as f64)
}

const CLEAR_FOR: u64 = 2 * MINUTE;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_constant_burn_is_detected_and_over_when_the_formulas_say(
        target in prop_oneof![Just(0.9), Just(0.99), Just(0.999), Just(0.9999), 0.8_f64..0.9999],
        long in (6_u64..=12).prop_map(|tens| tens * 10 * MINUTE),
        parts in prop_oneof![Just(6_u64), Just(12), Just(15)],
        factor in 0.05_f64..0.6,
        burn in 1.1_f64..12.0,
    ) {
        // The factor and the burn as parts of what the target allows at most.
        let highest = 1.0 / (1.0 - target);
        let factor = (factor * highest * 1000.0).round() / 1000.0;
        let burn = (factor * burn).min(highest * 0.999);
        let short = (long / parts).next_multiple_of(STEP);
        let (tier, Measured { detected, quiet }) = measure(target, long, short, factor, burn);
        let (due, over) = expected(&tier, CLEAR_FOR, burn);
        let slack = STEP as f64 + 0.1;
        prop_assert!((due - 0.1..due + slack).contains(&(detected as f64)), "detected after {detected}, due {due}");
        prop_assert!((over - 0.1..over + slack).contains(&(quiet as f64)), "quiet after {quiet}, due {over}");
    }
}

/// The rows of the table for 1 h / 5 m at a factor of 14.4, in minutes: 0.9 and 4.9, 8.6 and 4.3, 43 and 1.4.
#[test]
fn the_table_of_detection_and_reset_is_right() {
    for (burn, detected, quiet) in [(1_000.0, 0.9, 4.9), (100.0, 8.6, 4.3), (20.0, 43.0, 1.4)] {
        let (tier, measured) = measure(0.999, HOUR, 5 * MINUTE, 14.4, burn);
        let (due, over) = expected(&tier, CLEAR_FOR, burn);
        let minutes = |seconds: f64| seconds / MINUTE as f64;
        let rounded = |value: f64| (value * 10.0).round() / 10.0;
        let bare = (minutes(due - tier.pending_for.as_secs_f64()), minutes(over - CLEAR_FOR as f64));
        assert!(rounded(bare.0) == detected || bare.0.round() == detected, "{bare:?}");
        assert_eq!(rounded(bare.1), quiet, "{bare:?}");
        assert!(
            (0.0..=STEP as f64).contains(&(measured.detected as f64 - due)),
            "{burn}: {} {due}",
            measured.detected
        );
        assert!(
            (0.0..=STEP as f64).contains(&(measured.quiet as f64 - over)),
            "{burn}: {} {over}",
            measured.quiet
        );
    }
}

/// Remaining share of the budget times the window over the burn.
#[test]
fn a_constant_burn_is_gone_when_the_formula_says() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.past(2 * HOUR, 995, 5);
    let evaluation = world.evaluate();
    // Half of what is allowed was bad, and it goes on like that: the other half lasts another window.
    assert!(near(evaluation.budget.remaining.unwrap(), 0.5));
    assert!(near(evaluation.budget.exhaustion.unwrap().as_secs_f64(), (30 * 24 * HOUR) as f64));
}

/// The slow window pairs, of which the old edges are a minute and ten minutes wide: detected and quiet within that and
/// one look, a minute here.
#[test]
fn the_slow_pairs_detect_and_reset_within_the_width_of_their_edges() {
    let day = 24 * HOUR;
    for (long, short, factor, burn, wide) in [
        (6 * HOUR, 30 * MINUTE, 6.0, 20.0, MINUTE),
        (day, 2 * HOUR, 3.0, 12.0, 10 * MINUTE),
        (3 * day, 6 * HOUR, 1.0, 9.0, 10 * MINUTE),
    ] {
        let tiers = format!("[{{long: {long}s, short: {short}s, factor: {factor}, severity: ticket}}]");
        let alerting = format!("{{tiers: {tiers}, spike: off, dayShare: off}}");
        let mut world = World::new(&Slo { alerting, ..Slo::of_requests(0.999) });
        let minute = |world: &mut World, burn: f64| {
            world.now += MINUTE;
            let bad = (burn * 1_000.0) as u64;
            world.events_at(world.now, 1_000_000 - bad, bad);
        };
        (0..3 * day / MINUTE + 60).for_each(|_| minute(&mut world, 0.0));
        world.evaluate();
        let tier = world.objective.alert.tiers[0];
        let (due, over) = expected(&tier, CLEAR_FOR, burn);
        for (burning, due) in [(burn, due), (0.0, over)] {
            let (begin, told) = (world.now, world.transitions.len());
            let wanted = if burning > 0.0 { Fired } else { Resolved };
            while world.transitions.iter().skip(told).all(|transition| transition.kind != wanted) {
                minute(&mut world, burning);
                world.evaluate();
                assert!(world.now < begin + long, "{long}: no {wanted:?}");
            }
            let taken = (world.now - begin) as f64;
            let slack = (wide + MINUTE) as f64 + 1.0;
            assert!((due - slack..due + slack).contains(&taken), "{long} {wanted:?}: {taken}, due {due}");
            // The short window holds nothing but failures before they end.
            if burning > 0.0 {
                (0..short / MINUTE).for_each(|_| minute(&mut world, burning));
                world.evaluate();
            }
        }
    }
}
