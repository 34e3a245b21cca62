//! From points to counts: whatever order, repetition, restart or gap the points come with, the sum is the truth.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

mod disk;

use disk::Disk;
use pqscope_slo_core::distribution::{Distribution, Explicit, Exponential, MalformedBuckets};
use pqscope_slo_core::intake::{Measured, Point, Rejected, Taken, Temporality};
use pqscope_slo_core::ledger::{Limits, Window};
use pqscope_slo_core::recorder::{Recorder, STREAM_MEMORY};
use pqscope_slo_core::series::{Attributes, Selector, Series, SourceId};
use pqscope_slo_core::time::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// When the engine first started, in these tests.
const BIRTH: u64 = 1_800_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(BIRTH + seconds)
}

fn source(instance: &str) -> SourceId {
    let resource = Attributes::from([("service.instance.id".to_owned(), instance.to_owned())]);
    SourceId::new(&resource, "pqscope", "requests")
}

fn series(code: &str) -> Series {
    Series::new("requests", [("code", code)])
}

fn recorder() -> Recorder {
    Recorder::new(at(0), Limits::default())
}

fn cumulative(start: Option<Timestamp>, time: Timestamp, value: u64) -> Point {
    Point { temporality: Temporality::Cumulative, start, time, value: Some(Measured::Count(value)) }
}

fn delta(start: Timestamp, time: Timestamp, value: u64) -> Point {
    Point { temporality: Temporality::Delta, start: Some(start), time, value: Some(Measured::Count(value)) }
}

/// Everything that was ever counted for a series up to a time far ahead.
fn total(recorder: &Recorder, code: &str, now: Timestamp) -> u64 {
    let window = Window::ending(now.after(Duration::from_secs(600)), Duration::from_secs(100 * 86_400));
    recorder.ledger().sum(series(code).id(), window, now).map_or(0, |sum| sum.total())
}

/// Takes a cumulative point whose export is read at once.
fn feed(recorder: &mut Recorder, code: &str, start: u64, time: u64, value: u64) -> Taken {
    recorder
        .accept(source("a"), &series(code), &cumulative(Some(at(start)), at(time), value), at(time))
        .unwrap()
}

#[test]
fn a_sender_that_began_on_our_watch_counts_from_its_start() {
    let mut recorder = recorder();
    assert_eq!(feed(&mut recorder, "200", 5, 10, 7), Taken::Counted);
    assert_eq!(feed(&mut recorder, "200", 5, 20, 9), Taken::Counted);
    assert_eq!(total(&recorder, "200", at(20)), 9);
}

#[test]
fn old_history_is_only_a_baseline() {
    let mut recorder = recorder();
    let old = Some(Timestamp::from_seconds(BIRTH - 86_400));
    let mut take = |time, value| {
        recorder.accept(source("a"), &series("200"), &cumulative(old, at(time), value), at(time)).unwrap()
    };
    assert_eq!(take(10, 1_000_000), Taken::Baseline);
    assert_eq!(take(20, 1_000_003), Taken::Counted);
    assert_eq!(total(&recorder, "200", at(20)), 3);
}

#[test]
fn a_new_series_of_a_known_sender_counts_in_full() {
    let mut recorder = recorder();
    let old = Some(Timestamp::from_seconds(BIRTH - 86_400));
    let mut take = |code: &str, time, value| {
        recorder.accept(source("a"), &series(code), &cumulative(old, at(time), value), at(time)).unwrap()
    };
    assert_eq!(take("200", 10, 1_000_000), Taken::Baseline);
    // The same export, in another request: history as well.
    assert_eq!(take("404", 10, 5_000), Taken::Baseline);
    // Not in the export before, so it was zero then: the first failure counts.
    assert_eq!(take("500", 20, 1), Taken::Counted);
    assert_eq!(total(&recorder, "500", at(20)), 1);
    assert_eq!(total(&recorder, "404", at(20)), 0);
}

#[test]
fn another_sender_is_not_known_because_one_is() {
    let mut recorder = recorder();
    let old = Some(Timestamp::from_seconds(BIRTH - 86_400));
    recorder.accept(source("a"), &series("200"), &cumulative(old, at(10), 4), at(10)).unwrap();
    let taken = recorder.accept(source("b"), &series("200"), &cumulative(old, at(60), 9), at(60)).unwrap();
    assert_eq!(taken, Taken::Baseline);
}

#[test]
fn without_a_start_or_with_an_unknown_one_the_first_point_is_the_baseline() {
    let mut recorder = recorder();
    let mut take = |code: &str, start, time: u64, value| {
        recorder.accept(source("a"), &series(code), &cumulative(start, at(time), value), at(time)).unwrap()
    };
    assert_eq!(take("200", None, 10, 50), Taken::Baseline);
    assert_eq!(take("200", None, 20, 53), Taken::Counted);
    // OTLP's "unknown start": start equals time.
    assert_eq!(take("500", Some(at(30)), 30, 50), Taken::Baseline);
    assert_eq!(take("500", Some(at(30)), 40, 51), Taken::Counted);
    assert_eq!((total(&recorder, "200", at(40)), total(&recorder, "500", at(40))), (3, 1));
}

#[test]
fn a_reset_counts_from_its_start() {
    let mut recorder = recorder();
    feed(&mut recorder, "200", 5, 10, 100);
    // A new start time, although the value is higher.
    assert_eq!(feed(&mut recorder, "200", 12, 20, 150), Taken::Reset);
    // A value that dropped under the same start.
    assert_eq!(feed(&mut recorder, "200", 12, 30, 40), Taken::Reset);
    assert_eq!(total(&recorder, "200", at(30)), 290);
}

#[test]
fn repeats_and_late_points_add_nothing() {
    let mut recorder = recorder();
    feed(&mut recorder, "200", 5, 10, 4);
    feed(&mut recorder, "200", 5, 30, 10);
    assert_eq!(feed(&mut recorder, "200", 5, 30, 10), Taken::Duplicate);
    assert_eq!(feed(&mut recorder, "200", 5, 20, 6), Taken::OutOfOrder, "a drop that is older is no reset");
    assert_eq!(total(&recorder, "200", at(30)), 10);
    // A process that started earlier under the same identity is another one.
    let two = recorder.accept(source("a"), &series("200"), &cumulative(Some(at(1)), at(40), 3), at(40));
    assert_eq!(two, Err(Rejected::OlderStart));
}

#[test]
fn a_late_point_of_an_unknown_series_is_no_news() {
    let mut recorder = recorder();
    let old = Some(Timestamp::from_seconds(BIRTH - 86_400));
    for time in [20, 30] {
        recorder.accept(source("a"), &series("200"), &cumulative(old, at(time), 4), at(time)).unwrap();
    }
    let late = recorder.accept(source("a"), &series("500"), &cumulative(old, at(10), 9), at(30)).unwrap();
    assert_eq!(late, Taken::Baseline);
}

#[test]
fn delta_points_count_once_each() {
    let mut recorder = recorder();
    let mut take = |start: u64, time: u64, value| {
        recorder.accept(source("a"), &series("200"), &delta(at(start), at(time), value), at(100))
    };
    assert_eq!(take(0, 10, 3), Ok(Taken::Counted));
    assert_eq!(take(20, 30, 4), Ok(Taken::Counted));
    assert_eq!(take(10, 20, 5), Ok(Taken::Counted), "late, but not seen before");
    assert_eq!(take(0, 10, 3), Ok(Taken::Duplicate));
    assert_eq!(total(&recorder, "200", at(100)), 12);
    let mixed = recorder.accept(source("a"), &series("200"), &cumulative(Some(at(0)), at(40), 1), at(100));
    assert_eq!(mixed, Err(Rejected::TemporalityChanged));
}

#[test]
fn a_delta_point_too_late_to_tell_is_refused_rather_than_guessed() {
    let mut recorder = recorder();
    for step in 1..=70 {
        let point = delta(at(step * 10 - 10), at(step * 10), 1);
        recorder.accept(source("a"), &series("200"), &point, at(700)).unwrap();
    }
    let late = recorder.accept(source("a"), &series("200"), &delta(at(0), at(10), 1), at(700));
    assert_eq!(late, Err(Rejected::TooLateToTell));
    assert_eq!(total(&recorder, "200", at(700)), 70);
}

#[test]
fn what_cannot_be_counted_is_refused_with_its_reason() {
    assert_eq!(Measured::from_double(f64::NAN), Err(Rejected::NotFinite));
    assert_eq!(Measured::from_double(-1.0), Err(Rejected::Negative));
    assert_eq!(Measured::from_double(0.5), Err(Rejected::NotWhole));
    assert_eq!(Measured::from_double(12.0), Ok(Measured::Count(12)));
    assert_eq!(Measured::from_integer(-1), Err(Rejected::Negative));
    let mut recorder = recorder();
    let mut take = |point: &Point| recorder.accept(source("a"), &series("200"), point, at(1_000));
    assert_eq!(take(&cumulative(None, Timestamp::EPOCH, 1)), Err(Rejected::NoTime));
    assert_eq!(take(&cumulative(Some(at(20)), at(10), 1)), Err(Rejected::StartAfterTime));
    assert_eq!(take(&cumulative(Some(at(20)), at(2_000), 1)), Err(Rejected::FromFuture));
    let ancient = Timestamp::from_seconds(BIRTH - 500 * 86_400);
    assert_eq!(take(&delta(ancient, ancient.after(Duration::from_secs(9)), 1)), Err(Rejected::TooOld));
    let mut silent = cumulative(Some(at(20)), at(30), 1);
    silent.value = None;
    assert_eq!(take(&silent), Ok(Taken::NoRecordedValue));
    assert_eq!(recorder.streams(), 0, "nothing of it is remembered");
}

fn restarted(disk: &Disk) -> Recorder {
    disk.start(at(0), Limits::default())
}

fn checkpoint(disk: &mut Disk, recorder: &mut Recorder) {
    disk.save(recorder);
    disk.checkpoint(recorder, 500);
}

#[test]
fn what_happened_while_the_engine_was_down_is_counted_and_spread() {
    let mut disk = Disk::default();
    let mut recorder = recorder();
    feed(&mut recorder, "200", 5, 10, 100);
    disk.save(&mut recorder);
    let mut recorder = restarted(&disk);
    feed(&mut recorder, "200", 5, 3_610, 700);
    assert_eq!(total(&recorder, "200", at(3_610)), 700);
    // Six hundred over an hour are fifty in five minutes, not six hundred in ten seconds.
    let last = Window::ending(at(3_610), Duration::from_secs(300));
    let sum = recorder.ledger().sum(series("200").id(), last, at(3_610)).unwrap().total();
    assert_eq!(sum, 50);
}

#[test]
fn a_series_that_did_not_change_is_not_saved_again_and_still_knows_its_age() {
    let mut disk = Disk::default();
    let mut recorder = recorder();
    feed(&mut recorder, "500", 5, 10, 1);
    disk.save(&mut recorder);
    for step in 2..=360 {
        feed(&mut recorder, "500", 5, step * 10, 1);
        assert!(recorder.unsaved() < 20, "only that its sender was heard of: {}", recorder.unsaved());
        disk.save(&mut recorder);
    }
    let mut recorder = restarted(&disk);
    feed(&mut recorder, "500", 5, 3_610, 4);
    let last = Window::ending(at(3_610), Duration::from_secs(60));
    let sum = recorder.ledger().sum(series("500").id(), last, at(3_610)).unwrap().total();
    assert_eq!(sum, 3, "three failures of the last ten seconds, not spread over the quiet hour");
}

#[test]
fn what_could_not_be_saved_is_handed_over_again() {
    let mut disk = Disk::default();
    let mut recorder = recorder();
    feed(&mut recorder, "200", 5, 10, 3);
    let lost = recorder.take_journal();
    assert_eq!(recorder.unsaved(), 0);
    recorder.return_journal(lost);
    assert!(recorder.unsaved() > 0);
    assert_eq!(feed(&mut recorder, "200", 5, 10, 3), Taken::Duplicate, "the sender's retry");
    disk.save(&mut recorder);
    assert_eq!(total(&restarted(&disk), "200", at(10)), 3);
}

#[test]
fn streams_that_were_forgotten_are_history_when_they_return() {
    let mut disk = Disk::default();
    let mut recorder = recorder();
    feed(&mut recorder, "200", 5, 10, 100);
    disk.save(&mut recorder);
    let later = STREAM_MEMORY.as_secs() + 1_000;
    recorder.expire(at(later));
    assert_eq!(recorder.streams(), 0);
    checkpoint(&mut disk, &mut recorder);
    assert_eq!(restarted(&disk).streams(), 0);
    assert_eq!(feed(&mut recorder, "200", 5, later, 150), Taken::Baseline);
    assert_eq!(total(&recorder, "200", at(later)), 100);
}

#[test]
fn too_many_series_lose_what_nobody_asks_about_and_then_are_refused() {
    let limits = Limits { full_series: 2, series: 4, streams: 100 };
    let mut recorder = Recorder::new(at(0), limits);
    recorder.ledger_mut().keep_attributes(["outcome"]);
    let mut take = |outcome: &str, client: &str| {
        let series = Series::new("requests", [("outcome", outcome), ("client", client)]);
        recorder.accept(source("a"), &series, &cumulative(Some(at(1)), at(10), 1), at(10))
    };
    for client in ["a", "b", "c", "d", "e"] {
        assert_eq!(take("completed", client), Ok(Taken::Counted));
    }
    assert_eq!(take("failed", "f"), Ok(Taken::Counted));
    assert_eq!(take("incomplete", "f"), Err(Rejected::SeriesLimit));
    let selector = Selector {
        metric: "requests".to_owned(),
        matches: BTreeMap::from([("outcome".to_owned(), ["completed".to_owned()].into())]),
        not_matches: BTreeMap::new(),
    };
    let window = Window::ending(at(10), Duration::from_secs(3_600));
    let ledger = recorder.ledger();
    let sum: u64 =
        ledger.select(&selector).filter_map(|id| ledger.sum(id, window, at(10))).map(|sum| sum.total()).sum();
    assert_eq!((ledger.len(), sum), (4, 5), "folded, and still all counted");
}

fn exponential(scale: i32, offset: i32, buckets: &[u64]) -> Measured {
    let count = buckets.iter().sum();
    Distribution::from(Exponential::new(scale, count, 0, offset, buckets, 0).unwrap()).into()
}

fn histogram(time: u64, value: Measured) -> Point {
    Point { temporality: Temporality::Cumulative, start: Some(at(1)), time: at(time), value: Some(value) }
}

#[test]
fn histograms_count_like_counters_even_when_their_scale_changes() {
    let mut recorder = recorder();
    let mut take = |time, value| {
        recorder.accept(source("a"), &series("200"), &histogram(time, value), at(time)).unwrap()
    };
    // Scale 1: bounds are powers of the square root of two.
    take(10, exponential(1, 0, &[1, 2, 3, 4]));
    // Scale 0: the same ten observations in two buckets, and five more in the second and third.
    assert_eq!(take(20, exponential(0, 0, &[3, 9, 3])), Taken::Counted);
    // Finer again, and one more in (4, 8]: compared at the coarser of the two.
    assert_eq!(take(25, exponential(1, 0, &[3, 0, 9, 0, 4])), Taken::Counted);
    assert_eq!(take(30, exponential(0, 0, &[1, 0, 0])), Taken::Reset);
    let window = Window::ending(at(30), Duration::from_secs(3_600));
    let sum = recorder.ledger().sum(series("200").id(), window, at(30)).unwrap();
    assert_eq!(sum.total(), 17);
    assert_eq!((sum.at_or_below(1.0), sum.at_or_below(2.0)), (Some(0), Some(4)));
    assert_eq!((sum.at_or_below(4.0), sum.at_or_below(8.0)), (Some(13), Some(17)));
}

#[test]
fn explicit_and_exponential_senders_of_one_series_add_up() {
    let mut recorder = recorder();
    let explicit = Explicit::new(&[0.1, 0.3], &[5, 2, 1], 8).unwrap();
    let explicit = histogram(10, Distribution::from(explicit).into());
    recorder.accept(source("a"), &series("200"), &explicit, at(10)).unwrap();
    let exponential = histogram(10, exponential(0, -3, &[4, 0, 0, 6]));
    recorder.accept(source("b"), &series("200"), &exponential, at(10)).unwrap();
    let window = Window::ending(at(10), Duration::from_secs(60));
    let sum = recorder.ledger().sum(series("200").id(), window, at(10)).unwrap();
    assert_eq!(sum.total(), 18);
    // Seven explicit ones up to 0.3; four exponential ones in (1/8, 1/4]; the open bucket and (1, 2] are above.
    assert_eq!(sum.at_or_below(0.3), Some(11));
    let counter = cumulative(Some(at(1)), at(20), 1);
    let changed = recorder.accept(source("c"), &series("200"), &counter, at(20));
    assert_eq!(changed, Err(Rejected::KindChanged));
}

#[test]
fn malformed_histograms_are_refused() {
    assert_eq!(Exponential::new(0, 5, 0, 0, &[1, 1], 0), Err(MalformedBuckets::Count));
    assert_eq!(Exponential::new(21, 1, 0, 0, &[1], 0), Err(MalformedBuckets::Scale));
    assert_eq!(Exponential::new(0, 2, 0, i32::MAX, &[1, 1], 0), Err(MalformedBuckets::Offset));
    assert_eq!(Exponential::new(0, 1, 0, 0, &[1], 3), Err(MalformedBuckets::Negative));
    assert_eq!(Exponential::new(0, 1, u64::MAX, 0, &[2], 0), Err(MalformedBuckets::Count));
    assert_eq!(Explicit::new(&[1.0], &[1], 1), Err(MalformedBuckets::Lengths));
    assert_eq!(Explicit::new(&[2.0, 1.0], &[1, 0, 0], 1), Err(MalformedBuckets::Bounds));
    assert_eq!(Explicit::new(&[f64::NAN], &[1, 0], 1), Err(MalformedBuckets::Bounds));
    assert_eq!(Explicit::new(&[1.0], &[1, 1], 1), Err(MalformedBuckets::Count));
}

/// One life of a sender: the events between its exports, and how its exports arrive.
#[derive(Clone, Debug)]
struct Life {
    events: Vec<u64>,
    arrivals: Vec<usize>,
    restart_engine_before: Vec<bool>,
}

fn lives() -> impl Strategy<Value = Vec<Life>> {
    let life = proptest::collection::vec(0_u64..20, 1..12).prop_flat_map(|events| {
        let count = events.len();
        let arrivals = proptest::collection::vec(0..count, 0..3 * count);
        (Just(events), arrivals, proptest::collection::vec(proptest::bool::weighted(0.1), 3 * count + 1))
            .prop_map(|(events, mut arrivals, restart_engine_before)| {
                // The last export of a life arrives, the others may or may not, in any order and any number.
                arrivals.push(events.len() - 1);
                Life { events, arrivals, restart_engine_before }
            })
    });
    proptest::collection::vec(life, 1..4)
}

proptest! {
    /// Exports of a sender that restarts, repeated, dropped and out of order, to an engine that restarts too.
    #[test]
    fn cumulative_increments_sum_to_the_truth(lives in lives(), with_start in any::<bool>()) {
        let mut disk = Disk::default();
        let mut recorder = recorder();
        let mut clock = 10;
        let mut truth = 0;
        // Without start times the very first point would be a baseline: give it a zero to begin with.
        let first = cumulative(with_start.then(|| at(1)), at(2), 0);
        recorder.accept(source("a"), &series("200"), &first, at(2)).unwrap();
        for life in &lives {
            let start = clock;
            let mut sum = 0;
            // Without start times only a drop tells a reset: begin each life below where the last one ended.
            let exports: Vec<(u64, u64)> = life.events.iter().enumerate().map(|(index, events)| {
                sum += events;
                (start + 10 * (index as u64 + 1), sum)
            }).collect();
            clock = start + 10 * (exports.len() as u64 + 1);
            for (arrival, restart) in life.arrivals.iter().zip(&life.restart_engine_before) {
                if *restart {
                    disk.save(&mut recorder);
                    recorder = restarted(&disk);
                }
                let (time, value) = exports[*arrival];
                let start = with_start.then(|| at(start));
                recorder.accept(source("a"), &series("200"), &cumulative(start, at(time), value), at(clock)).unwrap();
            }
            truth += sum;
            if !with_start {
                break;
            }
        }
        prop_assert_eq!(total(&recorder, "200", at(clock)), truth);
    }

    /// Delta points in any order with any repeats.
    #[test]
    fn delta_increments_sum_to_the_truth(
        events in proptest::collection::vec(0_u64..50, 1..40),
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..120),
        restart in 0_usize..160,
    ) {
        let mut disk = Disk::default();
        let mut recorder = recorder();
        let now = at(1_000);
        let arrivals = order.iter().map(|index| index.index(events.len())).chain(0..events.len());
        for (step, arrival) in arrivals.enumerate() {
            if step == restart {
                disk.save(&mut recorder);
                recorder = restarted(&disk);
            }
            let time = 10 * (arrival as u64 + 1);
            let point = delta(at(time - 10), at(time), events[arrival]);
            recorder.accept(source("a"), &series("200"), &point, now).unwrap();
        }
        prop_assert_eq!(total(&recorder, "200", now), events.iter().sum::<u64>());
    }

    /// However long the span, the parts are the whole and lie within it.
    #[test]
    fn spread_increments_lose_nothing(events in 0_u64..5_000, span in 1_u64..2_000_000) {
        let increment = pqscope_slo_core::intake::Increment {
            from: at(0), until: at(span), amount: Measured::Count(events),
        };
        let parts = increment.parts();
        prop_assert!(parts.len() <= 60);
        prop_assert_eq!(parts.iter().map(|(_, amount)| amount.total()).sum::<u64>(), events);
        prop_assert!(parts.iter().all(|(time, _)| *time > at(0) && *time <= at(span)));
    }
}
