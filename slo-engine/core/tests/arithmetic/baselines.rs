//! Latencies compared with what is usual for others: in the same window, service by service, and honest about what there
//! was to compare with.

use crate::world::{DAY, HOUR, MINUTE, STEP, Slo, THRESHOLD, World, near, seconds};
use pqscope_slo_core::distribution::{Distribution, Explicit};
use pqscope_slo_core::evaluation::{Evaluation, ObjectiveState, WindowReading};
use pqscope_slo_core::intake::Measured;
use pqscope_slo_core::measure::{BaselineReading, BaselineSource};
use pqscope_slo_core::series::Series;

/// At most 20 ms more than the others' 95 %, for 90 % of the events.
fn relative(pinned: &str) -> Slo {
    let entry = format!(
        "{{target: 0.9, pqscope.baseline: {{metricSource: {{type: pqscope, spec: {{metric: sizes, match: {{of: others}}}}}}, \
         quantile: 0.95, margin: 0.02, minimumEvents: 20, {pinned}by: [pqscope.service]}}}}"
    );
    Slo { indicator: THRESHOLD, entry, alerting: "{dayShare: off}".to_owned(), ..Slo::of_requests(0.9) }
}

/// Observations of about so many milliseconds, each in a bucket one wide.
fn observed(world: &mut World, service: &str, of: &str, milliseconds: u64, count: u64) {
    let bounds: Vec<f64> = (0..=300).map(|upper| f64::from(upper) / 1_000.0).collect();
    let mut counts = vec![0; bounds.len() + 1];
    counts[usize::try_from(milliseconds).unwrap()] = count;
    let sizes = Distribution::from(Explicit::new(&bounds, &counts, count).unwrap());
    let series = Series::new("sizes", [("pqscope.service", service), ("of", of)]);
    world.record(world.now, &series, Measured::from(sizes));
}

fn reading(evaluation: &Evaluation, length: u64) -> WindowReading {
    *evaluation.windows.iter().find(|reading| reading.length == seconds(length)).unwrap()
}

fn of_service<'a>(evaluation: &'a Evaluation, service: &str) -> &'a BaselineReading {
    let of = |reading: &&BaselineReading| {
        reading.labels.get("pqscope.service").is_some_and(|name| name == service)
    };
    evaluation.baselines.iter().find(of).unwrap()
}

#[test]
fn a_window_is_compared_with_its_own_time() {
    let mut world = World::new(&relative(""));
    // For hours everybody is slow; in the last ten minutes the others are fast again and we are not.
    for minute in 0..5 * 60 {
        world.now += MINUTE;
        observed(&mut world, "shop", "others", if minute < 290 { 200 } else { 50 }, 100);
        observed(&mut world, "shop", "us", 150, 100);
    }
    let evaluation = world.evaluate();
    assert_eq!(reading(&evaluation, 5 * MINUTE).tally.bad, 500.0, "150 is more than 50 + 20");
    assert_eq!(reading(&evaluation, 6 * HOUR).tally.bad, 0.0, "150 is less than 200");
    let told = of_service(&evaluation, "shop");
    assert_eq!(told.source, BaselineSource::Observed);
    assert!((told.value.unwrap() - 0.2).abs() < 0.002, "{told:?}");
    assert_eq!((told.events, told.judged), (30_000.0, 30_000.0));
}

#[test]
fn every_service_has_its_own_baseline() {
    let mut world = World::new(&relative(""));
    for _ in 0..60 {
        world.now += MINUTE;
        for (service, others) in [("near", 30), ("far", 180)] {
            observed(&mut world, service, "others", others, 100);
            observed(&mut world, service, "us", 100, 40);
        }
    }
    let evaluation = world.evaluate();
    let hour = reading(&evaluation, HOUR).tally;
    assert_eq!((hour.bad, hour.total), (2_400.0, 4_800.0), "slow for one, fast for the other");
    assert!((of_service(&evaluation, "near").value.unwrap() - 0.03).abs() < 0.002);
    assert!((of_service(&evaluation, "far").value.unwrap() - 0.18).abs() < 0.002);
}

#[test]
fn with_too_few_others_the_pinned_value_is_used_and_said_so() {
    let mut world = World::new(&relative("pinned: 0.08, "));
    world.now += STEP;
    observed(&mut world, "shop", "others", 200, 19);
    observed(&mut world, "shop", "us", 90, 60);
    observed(&mut world, "shop", "us", 110, 40);
    let evaluation = world.evaluate();
    let told = of_service(&evaluation, "shop");
    assert_eq!((told.source, told.value, told.events), (BaselineSource::Pinned, Some(0.08), 19.0));
    assert_eq!(evaluation.budget.tally.bad, 40.0, "beyond 80 + 20");
    // One more, and what was observed is taken.
    observed(&mut world, "shop", "others", 200, 1);
    let evaluation = world.evaluate();
    assert_eq!(of_service(&evaluation, "shop").source, BaselineSource::Observed);
    assert_eq!(evaluation.budget.tally.bad, 0.0);
}

#[test]
fn with_nothing_to_compare_with_events_are_not_judged() {
    let mut world = World::new(&relative(""));
    world.now += STEP;
    observed(&mut world, "shop", "us", 290, 1_000);
    let evaluation = world.evaluate();
    let told = of_service(&evaluation, "shop");
    assert_eq!((told.source, told.value, told.judged), (BaselineSource::Missing, None, 1_000.0));
    assert!(evaluation.budget.tally.is_empty());
    assert_eq!(evaluation.state, ObjectiveState::NoData);
    // Another service's baseline does not stand in, and its events count alone.
    observed(&mut world, "other", "others", 50, 100);
    observed(&mut world, "other", "us", 60, 10);
    let evaluation = world.evaluate();
    assert_eq!((evaluation.budget.tally.good, evaluation.budget.tally.total), (10.0, 10.0));
    assert!(near(evaluation.budget.remaining.unwrap(), 1.0));
}

#[test]
fn a_baseline_of_long_ago_is_none_of_a_short_window() {
    let mut world = World::new(&relative(""));
    world.now += STEP;
    observed(&mut world, "shop", "others", 50, 1_000);
    world.now += 2 * DAY;
    observed(&mut world, "shop", "us", 60, 100);
    let evaluation = world.evaluate();
    assert!(reading(&evaluation, HOUR).tally.is_empty(), "not judged by another day's measure");
    assert_eq!(evaluation.budget.tally.good, 100.0, "over the month there is one");
}
