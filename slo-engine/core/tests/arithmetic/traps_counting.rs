//! The known traps of counting; tests with the same number hold the same trap.

use crate::world::{BEGIN, DAY, HOUR, MINUTE, Slo, World, at, near, seconds};
use pqscope_slo_core::evaluation::{ObjectiveState, Verdict};
use pqscope_slo_core::intake::{Measured, Point, Rejected, Taken, Temporality};
use pqscope_slo_core::ledger::{Ledger, Limits, Window};
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::series::{Attributes, Series, SourceId};

fn source() -> SourceId {
    SourceId::new(&Attributes::from([("service.instance.id".to_owned(), "1".to_owned())]), "s", "requests")
}

fn series() -> Series {
    Series::new("requests", [("outcome", "failed")])
}

fn point(temporality: Temporality, start: u64, time: u64, value: Option<u64>) -> Point {
    let start = Some(at(BEGIN + start));
    Point { temporality, start, time: at(BEGIN + time), value: value.map(Measured::Count) }
}

fn take(recorder: &mut Recorder, point: &Point) -> Taken {
    recorder.accept(source(), &series(), point, point.time).unwrap()
}

fn total(recorder: &Recorder, now: u64) -> u64 {
    let now = at(BEGIN + now);
    let window = Window::ending(now, seconds(30 * DAY));
    recorder.ledger().sum(series().id(), window, now).map_or(0, |sum| sum.total())
}

#[test]
fn trap_01_a_reset_counts_anew_and_an_old_point_does_not() {
    let cumulative = |start, time, value| point(Temporality::Cumulative, start, time, Some(value));
    let mut recorder = Recorder::new(at(BEGIN), Limits::default());
    assert_eq!(take(&mut recorder, &cumulative(1, 10, 100)), Taken::Counted);
    // The value dropped because the point is old: nothing started anew.
    assert_eq!(take(&mut recorder, &cumulative(1, 8, 60)), Taken::OutOfOrder);
    assert_eq!(total(&recorder, 10), 100);
    // It dropped and is newer: everything since is news.
    assert_eq!(take(&mut recorder, &cumulative(1, 20, 7)), Taken::Reset);
    // It is higher than ever, under a later start: a restart all the same.
    assert_eq!(take(&mut recorder, &cumulative(25, 30, 500)), Taken::Reset);
    assert_eq!(total(&recorder, 30), 607);
}

#[test]
fn trap_02_a_first_point_counts_only_where_its_past_is_ours() {
    let mut recorder = Recorder::new(at(BEGIN), Limits::default());
    // Began on our watch: counts from its start, so that a first failure counts.
    assert_eq!(take(&mut recorder, &point(Temporality::Cumulative, 5, 10, Some(1))), Taken::Counted);
    assert_eq!(total(&recorder, 10), 1);
    // Years of history are a baseline, and so is what has no start.
    let old = Point { start: Some(at(BEGIN - DAY)), ..point(Temporality::Cumulative, 0, 10, Some(1_000)) };
    let unknown = Point { start: None, ..old.clone() };
    for point in [old, unknown] {
        let mut recorder = Recorder::new(at(BEGIN), Limits::default());
        assert_eq!(take(&mut recorder, &point), Taken::Baseline);
        assert_eq!(total(&recorder, 10), 0);
        let next = Point { time: at(BEGIN + 20), value: Some(Measured::Count(1_003)), ..point };
        assert_eq!(take(&mut recorder, &next), Taken::Counted);
        assert_eq!(total(&recorder, 20), 3);
    }
}

#[test]
fn trap_03_a_series_that_stopped_is_not_good() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(2 * HOUR, 100, 30);
    assert!(world.fires());
    let before = world.evaluate();
    for _ in 0..8 * 60 {
        world.wait(MINUTE);
    }
    let silent = world.evaluate();
    assert!(world.fires(), "silence is no recovery");
    assert!(silent.tiers.iter().any(|tier| tier.verdict == Verdict::NoData));
    assert!(
        silent.tiers.iter().all(|tier| tier.short.length > seconds(6 * HOUR) || tier.short.burn.is_none())
    );
    assert_eq!(silent.budget.remaining, before.budget.remaining, "nothing is earned by silence");
}

#[test]
fn trap_04_nothing_over_nothing_poisons_no_longer_window() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(HOUR, 98, 2);
    world.wait(3 * HOUR);
    world.run(10 * MINUTE, 98, 2);
    world.wait(20 * MINUTE);
    let evaluation = world.evaluate();
    let reading = |length| *evaluation.windows.iter().find(|one| one.length == seconds(length)).unwrap();
    assert_eq!(reading(5 * MINUTE).burn, None);
    assert!(near(reading(6 * HOUR).burn.unwrap(), 2.0), "{:?}", reading(6 * HOUR));
    assert!(near(evaluation.budget.remaining.unwrap(), -1.0));
    let text = serde_json::to_string(&evaluation).unwrap();
    assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
}

#[test]
fn trap_05_late_data_changes_what_was_evaluated_and_a_repeat_does_not() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(2 * HOUR, 100, 0);
    let clean = world.evaluate();
    assert!(clean.windows.iter().all(|reading| reading.burn == Some(0.0)));
    // Failures of an hour ago come in now: they belong to their own time, so the long windows know and nobody is paged
    // for what is over.
    world.events_at(world.now - 50 * MINUTE, 0, 9_000);
    let late = world.evaluate();
    let burn = |length| late.windows.iter().find(|one| one.length == seconds(length)).unwrap().burn.unwrap();
    assert!(burn(HOUR) > 14.4);
    assert_eq!(burn(5 * MINUTE), 0.0);
    assert!(late.budget.remaining < clean.budget.remaining);
    world.run(MINUTE, 100, 0);
    assert!(!world.told().contains(&pqscope_slo_core::alert::TransitionKind::Fired));

    let mut recorder = Recorder::new(at(BEGIN), Limits::default());
    let delta = point(Temporality::Delta, 0, 10, Some(5));
    assert_eq!(take(&mut recorder, &delta), Taken::Counted);
    let later = at(BEGIN + 600);
    assert_eq!(recorder.accept(source(), &series(), &delta, later), Ok(Taken::Duplicate));
    assert_eq!(total(&recorder, 600), 5);
}

#[test]
fn trap_16_too_many_label_values_become_other_and_still_count() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.ledger = Ledger::new(Limits { full_series: 4, series: 6, ..Limits::default() });
    world.ledger.keep_attributes(["outcome"]);
    world.now += 10;
    for client in 0..1_000 {
        let client = client.to_string();
        world.count_at(world.now, &[("outcome", "completed"), ("client", client.as_str())], 1);
        world.count_at(world.now, &[("outcome", "failed"), ("client", client.as_str())], 1);
    }
    let evaluation = world.evaluate();
    assert!(world.ledger.len() <= 6, "{}", world.ledger.len());
    assert_eq!((evaluation.budget.tally.good, evaluation.budget.tally.bad), (1_000.0, 1_000.0));
    let folded = Series::new("requests", [("outcome", "failed"), ("client", "other")]);
    assert!(world.ledger.series(folded.id()).is_some());
    // What cannot be folded into what is there is refused, and said so.
    let other = |name: &str| Series::new("requests", [("outcome", name)]);
    let mut outcomes = (0..9).map(|number| {
        let parts = [(at(world.now), Measured::Count(1))];
        world.ledger.record(&other(&number.to_string()), &parts, at(world.now))
    });
    assert!(outcomes.any(|outcome| outcome == Err(Rejected::SeriesLimit)));
}

#[test]
fn trap_20_more_good_than_all_is_flagged_and_not_clamped() {
    let slo = Slo {
        indicator: "{ratioMetric: {
            good: {metricSource: {type: pqscope, spec: {metric: requests, match: {outcome: completed}}}},
            total: {metricSource: {type: pqscope, spec: {metric: requests, match: {outcome: failed}}}}}}",
        ..Slo::of_requests(0.99)
    };
    let mut world = World::new(&slo);
    world.run(10 * MINUTE, 100, 20);
    let evaluation = world.evaluate();
    assert_eq!(evaluation.state, ObjectiveState::Overflowed);
    let tally = evaluation.budget.tally;
    assert_eq!((tally.good, tally.total), (6_000.0, 1_200.0), "shown as counted");
    assert!(evaluation.windows.iter().all(|reading| reading.burn.is_none()));
    assert!(evaluation.tiers.iter().all(|tier| tier.verdict == Verdict::Overflowed));
    assert!(world.transitions.is_empty());
}

#[test]
fn trap_21_repeats_after_a_lost_acknowledgement_count_once() {
    for temporality in [Temporality::Delta, Temporality::Cumulative] {
        let mut recorder = Recorder::new(at(BEGIN), Limits::default());
        for _ in 0..3 {
            take(&mut recorder, &point(temporality, 1, 10, Some(5)));
        }
        assert_eq!(total(&recorder, 10), 5, "{temporality:?}");
    }
    // Two processes behind one series are two streams.
    let mut recorder = Recorder::new(at(BEGIN), Limits::default());
    let other =
        SourceId::new(&Attributes::from([("service.instance.id".into(), "2".into())]), "s", "requests");
    let same = point(Temporality::Delta, 1, 10, Some(5));
    for source in [source(), other] {
        assert_eq!(recorder.accept(source, &series(), &same, same.time), Ok(Taken::Counted));
    }
    assert_eq!(total(&recorder, 10), 10);
}

#[test]
fn trap_21_a_point_without_a_recorded_value_changes_nothing() {
    let mut recorder = Recorder::new(at(BEGIN), Limits::default());
    take(&mut recorder, &point(Temporality::Cumulative, 1, 10, Some(5)));
    let absent = point(Temporality::Cumulative, 1, 20, None);
    assert_eq!(take(&mut recorder, &absent), Taken::NoRecordedValue);
    assert_eq!(take(&mut recorder, &point(Temporality::Cumulative, 1, 30, Some(8))), Taken::Counted);
    assert_eq!(total(&recorder, 30), 8, "neither a reset nor a gap");
}

#[test]
fn trap_21_an_overflow_series_is_a_fault_of_the_data() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(HOUR, 100, 0);
    assert_eq!(world.evaluate().state, ObjectiveState::Ok);
    world.count_at(world.now, &[("otel.metric.overflow", "true")], 1);
    assert_eq!(world.evaluate().state, ObjectiveState::Overflowed);
    // Another metric's overflow is not ours.
    let mut other = World::new(&Slo::of_requests(0.99));
    other.run(HOUR, 100, 0);
    let foreign = Series::new("sizes", [("otel.metric.overflow", "true")]);
    other.record(other.now, &foreign, Measured::Count(1));
    assert_eq!(other.evaluate().state, ObjectiveState::Ok);
}
