//! What missing data does: alerts stay as they are, or after a stated time it is an alert of its own.

use crate::world::{DAY, HOUR, MINUTE, STEP, Slo, THRESHOLD, World};
use pqscope_slo_core::alert::TransitionKind::{Fired, Resolved};
use pqscope_slo_core::evaluation::ObjectiveState;
use pqscope_slo_core::objective::Severity;

fn alerting_after(after: &str) -> Slo {
    let alerting = format!("{{noData: {{after: {after}, severity: ticket}}, spike: off, dayShare: off}}");
    Slo { alerting, ..Slo::of_requests(0.99) }
}

/// Seconds of silence until somebody is told.
fn told_after(world: &mut World) -> Option<u64> {
    let begin = world.now;
    while world.now < begin + 3 * DAY {
        if world.wait(STEP).at.seconds() > begin && world.fires() {
            return Some(world.now - begin);
        }
    }
    None
}

#[test]
fn silence_alerts_after_the_stated_time_and_is_over_with_the_first_events() {
    for (after, seconds) in [("15m", 900), ("5m", 300), ("2m", 120), ("1m", 60), ("1h", 3_600)] {
        let mut world = World::new(&alerting_after(after));
        world.run(10 * MINUTE, 10, 0);
        let taken = told_after(&mut world).unwrap();
        assert!((seconds..=seconds + STEP).contains(&taken), "{after}: {taken}");
        assert_eq!(world.transitions.last().unwrap().severity, Severity::Ticket);
        assert_eq!(world.until(Resolved, HOUR, 10, 0), Some(2 * MINUTE + STEP));
        assert_eq!(world.told(), [Fired, Resolved]);
    }
}

#[test]
fn silence_is_held_where_nothing_else_is_said() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(10 * MINUTE, 10, 0);
    assert_eq!(told_after(&mut world), None);
    assert!(world.transitions.is_empty());
}

#[test]
fn an_engine_that_just_started_has_not_heard_silence_yet() {
    // Never any data: the stated time runs from the start.
    for (after, seconds) in [("5m", 300), ("15m", 900)] {
        let mut world = World::new(&alerting_after(after));
        world.evaluate();
        let taken = told_after(&mut world).unwrap();
        assert!((seconds..=seconds + STEP).contains(&taken), "{after}: {taken}");
    }
    // Away for an hour, and back before the senders.
    let mut world = World::new(&alerting_after("5m"));
    world.run(10 * MINUTE, 10, 0);
    world.wait(HOUR);
    world.run(MINUTE, 0, 0);
    assert!(!world.fires(), "it was the engine that was silent");
    world.run(10 * MINUTE, 10, 0);
    assert!(world.told().is_empty());
}

#[test]
fn exports_a_minute_apart_are_not_silence() {
    let mut world = World::new(&alerting_after("2m"));
    for _ in 0..60 {
        world.tick(10, 0);
        world.run(50, 0, 0);
    }
    assert!(world.transitions.is_empty());
}

#[test]
fn a_gauge_that_is_not_read_any_more_is_silent_though_its_value_stays() {
    let slo = Slo {
        indicator: THRESHOLD,
        entry: "{pqscope.growth: {budget: 1000}}".to_owned(),
        alerting: "{noData: {after: 15m, severity: ticket}}".to_owned(),
        ..Slo::of_requests(0.99)
    };
    let mut world = World::new(&slo);
    for _ in 0..30 {
        world.now += MINUTE;
        world.level(&[("store", "a")], 5.0);
        world.evaluate();
    }
    assert!(world.transitions.is_empty());
    let taken = told_after(&mut world).unwrap();
    assert!((15 * MINUTE..=15 * MINUTE + STEP).contains(&taken), "{taken}");
    assert_eq!(world.evaluate().level.unwrap().value, 5.0);
}

#[test]
fn what_is_excluded_was_still_heard() {
    let mut world = World::new(&alerting_after("15m"));
    world.run(10 * MINUTE, 10, 0);
    world.exclude(world.now, None);
    world.run(2 * HOUR, 5, 5);
    assert!(world.transitions.is_empty(), "{:?}", world.told());
}

/// OpenSLO's own word for it, in an AlertPolicy: a quarter of an hour, at the severity of the first condition.
#[test]
fn alert_when_no_data_of_a_policy_alerts() {
    let policy = |flag: &str| {
        let slo = Slo { alerting: "{spike: off}".to_owned(), ..Slo::of_requests(0.99) };
        let inline = format!(
            "alertPolicies: [{{kind: AlertPolicy, metadata: {{name: p}}, spec: {{{flag}conditions: [{{kind: AlertCondition, \
             metadata: {{name: c}}, spec: {{severity: page, condition: {{kind: burnrate, op: gte, threshold: 10, \
             lookbackWindow: 1h}}}}}}]}}}}]\n  objectives:"
        );
        slo.text().replace("objectives:", &inline)
    };
    let parse = |text: &str| {
        let file = pqscope_slo_core::openslo::SourceFile { name: "slo.yaml", text };
        pqscope_slo_core::openslo::Catalog::parse(&[file], None).unwrap().objectives.remove(0)
    };
    let mut world = World::of(parse(&policy("alertWhenNoData: true, ")));
    world.run(10 * MINUTE, 10, 0);
    let taken = told_after(&mut world).unwrap();
    assert!((900..=910).contains(&taken), "{taken}");
    assert_eq!(world.transitions.last().unwrap().severity, Severity::Page);
    let mut world = World::of(parse(&policy("")));
    world.run(10 * MINUTE, 10, 0);
    assert_eq!(told_after(&mut world), None);
    assert_eq!(world.evaluate().state, ObjectiveState::Ok, "the budget's window still has its events");
}
