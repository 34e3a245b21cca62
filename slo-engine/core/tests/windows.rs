//! Sums over windows against a list of events and nothing else.

use pqscope_slo_core::intake::Measured;
use pqscope_slo_core::ledger::{Ledger, Limits, Tier, Window};
use pqscope_slo_core::series::Series;
use pqscope_slo_core::time::Timestamp;
use proptest::prelude::*;
use std::time::Duration;

const NOW: u64 = 1_800_003_607;

/// What the documentation promises: the edge of a window, rounded down to ten seconds within two hours, a minute within
/// twelve, ten minutes within four days, an hour within forty days, a day beyond.
fn promised_edge(edge: u64) -> u64 {
    let end = NOW - NOW % 10 + 10;
    let width = match end.saturating_sub(edge) {
        age if age <= 2 * 3_600 => 10,
        age if age <= 12 * 3_600 => 60,
        age if age <= 4 * 86_400 => 600,
        age if age <= 40 * 86_400 => 3_600,
        _ => 86_400,
    };
    edge - edge % width
}

fn series() -> Series {
    Series::new("requests", [("code", "200")])
}

fn record(ledger: &mut Ledger, time: u64, count: u64, now: u64) {
    let parts = [(Timestamp::from_seconds(time), Measured::Count(count))];
    ledger.record(&series(), &parts, Timestamp::from_seconds(now)).expect("recorded");
}

fn sum(ledger: &Ledger, window: Window) -> u64 {
    ledger.sum(series().id(), window, Timestamp::from_seconds(NOW)).map_or(0, |sum| sum.total())
}

/// Ages of events: many recent ones, some far back, and those around the ends of what the tiers reach.
fn ages() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..400,
        0_u64..9_000,
        7_000_u64..7_500,
        40_000_u64..47_000,
        340_000_u64..352_000,
        3_400_000_u64..3_600_000,
        0_u64..30_000_000,
    ]
}

proptest! {
    #[test]
    fn window_sums_equal_brute_force(
        events in proptest::collection::vec((ages(), 1_u64..100, 0_u64..7_200), 0..80),
        lengths in proptest::collection::vec(ages(), 1..8),
        ends in proptest::collection::vec(prop_oneof![Just(0_u64), ages()], 8),
    ) {
        let mut ledger = Ledger::new(Limits::default());
        // Each event is recorded some time after it happened, in the order of recording; old buckets are dropped now
        // and then, as the engine does.
        let mut arrivals: Vec<(u64, u64, u64)> = events
            .iter()
            .map(|(age, count, late)| ((NOW - age + late).min(NOW), NOW - age, *count))
            .collect();
        arrivals.sort_unstable();
        for (arrival, time, count) in &arrivals {
            record(&mut ledger, *time, *count, *arrival);
            ledger.expire(Timestamp::from_seconds(*arrival));
        }
        ledger.expire(Timestamp::from_seconds(NOW));
        for (length, end) in lengths.iter().zip(&ends) {
            let to = NOW - NOW % 10 + 10 - end - end % 10;
            let to = to - to % 10;
            let window = Window { from: to.saturating_sub(*length), to };
            let (from, until) = (promised_edge(window.from), promised_edge(window.to));
            let truth: u64 =
                arrivals.iter().filter(|(_, time, _)| (from..until).contains(time)).map(|(_, _, count)| count).sum();
            prop_assert_eq!(sum(&ledger, window), truth, "window {:?}", window);
        }
    }
}

/// Short windows whose beginning a tier no longer reaches while their end is still within it.
#[test]
fn short_windows_across_the_end_of_a_tier_miss_nothing() {
    let mut ledger = Ledger::new(Limits::default());
    let first = NOW - 42 * 86_400;
    let mut time = first;
    while time <= NOW {
        record(&mut ledger, time, 1, NOW);
        // Ten minutes far back, where no tier looks closer.
        time += if NOW - time > 5 * 86_400 { 600 } else { 10 };
    }
    ledger.expire(Timestamp::from_seconds(NOW));
    let end = NOW - NOW % 10 + 10;
    // The ends of the tiers with ten-second data behind them.
    for reach in [Tier::TenSeconds, Tier::Minute, Tier::TenMinutes].map(|tier| tier.reach().as_secs()) {
        for after in (0..3_600).step_by(10) {
            let to = end - reach + after;
            for length in [10, 60, 300, 600, 1_800, 3_600] {
                let (from, until) = (promised_edge(to - length), promised_edge(to));
                let window = Window { from: to - length, to };
                assert_eq!(sum(&ledger, window), (until - from) / 10, "{window:?}");
            }
        }
    }
    for after in (0..86_400).step_by(600) {
        let to = end - Tier::Hour.reach().as_secs() + after;
        for length in [3_600, 7_200, 86_400] {
            let (from, until) = (promised_edge(to - length), promised_edge(to));
            let window = Window { from: to - length, to };
            assert_eq!(sum(&ledger, window), (until - from) / 600, "{window:?}");
        }
    }
}

#[test]
fn a_window_ends_with_the_bucket_that_holds_now() {
    let window = Window::ending(Timestamp::from_seconds(NOW), Duration::from_secs(300));
    assert_eq!((window.from, window.to), (1_800_003_310, 1_800_003_610));
}

#[test]
fn late_events_go_to_their_own_time() {
    let mut ledger = Ledger::new(Limits::default());
    record(&mut ledger, NOW, 1, NOW);
    record(&mut ledger, NOW - 3_600, 5, NOW);
    let now = Timestamp::from_seconds(NOW);
    assert_eq!(sum(&ledger, Window::ending(now, Duration::from_secs(300))), 1);
    assert_eq!(sum(&ledger, Window::ending(now, Duration::from_secs(7_200))), 6);
}

/// A series that is busy all the time stays within the bound that the documentation gives.
#[test]
fn the_number_of_buckets_is_bounded() {
    let mut ledger = Ledger::new(Limits::default());
    let days = 420;
    let begin = NOW - days * 86_400;
    let mut time = begin;
    while time < NOW {
        // Coarse steps far back, so that the test is quick; ten seconds over the last day.
        time += if NOW - time > 86_400 { 600 } else { 10 };
        record(&mut ledger, time.min(NOW), 1, time.min(NOW));
        if time % 3_600 < 10 {
            ledger.expire(Timestamp::from_seconds(time));
        }
    }
    ledger.expire(Timestamp::from_seconds(NOW));
    let id = series().id();
    let mut held = 0;
    for tier in Tier::ALL {
        let mut start = begin - begin % tier.seconds();
        while start <= NOW {
            let key = pqscope_slo_core::ledger::BucketKey { series: id, tier, start };
            held += u64::from(ledger.bucket(key).is_some());
            start += tier.seconds();
        }
    }
    assert!((3_200..3_600).contains(&held), "{held}");
}
