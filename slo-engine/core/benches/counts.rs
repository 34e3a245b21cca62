//! What counting costs: memory of busy series, sums over windows, points per second.
//!
//!     cargo bench -p pqscope-slo-core --bench counts

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops at a surprise")]

use pqscope_slo_core::intake::{Measured, Point, Temporality};
use pqscope_slo_core::ledger::{Ledger, Limits, Slot, Window};
use pqscope_slo_core::recorder::{Recorder, Recovery};
use pqscope_slo_core::series::{Attributes, Series, SeriesId, SourceId};
use pqscope_slo_core::time::Timestamp;
use std::time::{Duration, Instant};

const SERIES: usize = 10_000;
const NOW: u64 = 1_800_000_000;
/// The windows of four pairs and of the budget.
const WINDOWS: [u64; 9] = [300, 1_800, 3_600, 7_200, 21_600, 86_400, 259_200, 604_800, 2_592_000];

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = work();
    (result, begun.elapsed())
}

fn resident_mib() -> u64 {
    let figures = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = figures.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
}

fn series(number: usize) -> Series {
    Series::new(
        "pqscope.handshakes",
        [("pqscope.service", format!("service-{number}")), ("pqscope.outcome", "completed".into())],
    )
}

/// Every bucket of every tier, as a series has them that was busy for 400 days.
fn times() -> Vec<Timestamp> {
    let mut times = Vec::new();
    let mut time = NOW - 400 * 86_400;
    while time <= NOW {
        times.push(Timestamp::from_seconds(time));
        time += match NOW - time {
            age if age > 41 * 86_400 => 86_400,
            age if age > 4 * 86_400 + 3_600 => 3_600,
            age if age > 12 * 3_600 + 600 => 600,
            age if age > 2 * 3_600 + 60 => 60,
            _ => 10,
        };
    }
    times
}

fn main() {
    let now = Timestamp::from_seconds(NOW);
    let all: Vec<Series> = (0..SERIES).map(series).collect();
    let before = resident_mib();
    let mut ledger = Ledger::new(Limits { full_series: SERIES, series: SERIES, streams: SERIES });
    let times = times();
    // Old buckets go every few minutes; do not pile up what no engine ever holds.
    let one = [(now, Measured::Count(1))];
    all.iter().for_each(|series| ledger.record(series, &one, now).unwrap());
    ledger.expire(now);
    for series in &all {
        let parts: Vec<(Timestamp, Measured)> =
            times.iter().map(|time| (*time, Measured::Count(50))).collect();
        ledger.record(series, &parts, now).unwrap();
    }
    ledger.expire(now);
    println!("memory: {} MiB for {SERIES} counters that were busy for 400 days", resident_mib() - before);
    let slots: Vec<Slot> = all.iter().map(|series| ledger.slot(series.id()).unwrap()).collect();
    for round in 0..3 {
        let (sum, took) = timed(|| {
            let windows = WINDOWS.map(|seconds| Window::ending(now, Duration::from_secs(seconds)));
            slots
                .iter()
                .flat_map(|slot| windows.iter().map(|window| ledger.count(*slot, *window, now)))
                .sum::<u64>()
        });
        println!(
            "sums: round {round}: {SERIES} series x {} windows in {took:.1?} ({sum} events)",
            WINDOWS.len()
        );
    }
    let ids: Vec<SeriesId> = all.iter().map(Series::id).collect();
    let (_, took) = timed(|| {
        let windows = WINDOWS.map(|seconds| Window::ending(now, Duration::from_secs(seconds)));
        ids.iter().flat_map(|id| windows.iter().filter_map(|window| ledger.sum(*id, *window, now))).count()
    });
    println!("sums: by series number: {took:.1?}");
    drop(ledger);
    accept(&all, &ids);
}

fn accept(all: &[Series], ids: &[SeriesId]) {
    let limits = Limits { full_series: SERIES, series: SERIES, streams: 200_000 };
    let mut recorder = Recorder::new(Timestamp::from_seconds(NOW - 100), limits);
    let resource = Attributes::from([("service.instance.id".to_owned(), "a".to_owned())]);
    let source = SourceId::new(&resource, "pqscope", "pqscope.handshakes");
    let start = Some(Timestamp::from_seconds(NOW - 50));
    let rounds = 60;
    let mut chunks = Vec::new();
    let ((), took) = timed(|| {
        for round in 1..=rounds {
            let time = Timestamp::from_seconds(NOW + 10 * round);
            for (id, series) in ids.iter().zip(all) {
                let value = Some(Measured::Count(round * 50));
                let point = Point { temporality: Temporality::Cumulative, start, time, value };
                recorder.accept_known(source, *id, series, &point, time).unwrap();
            }
            chunks.extend(recorder.take_journal());
        }
    });
    let points = rounds * SERIES as u64;
    let bytes: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
    println!(
        "accept: {:.0} points/s; journal of {bytes} bytes, {:.1} per point",
        points as f64 / took.as_secs_f64(),
        bytes as f64 / points as f64
    );
    let ((), took) = timed(|| {
        let mut recovery = Recovery::new(recorder.birth(), limits);
        chunks.iter().for_each(|chunk| recovery.replay(chunk.number, &chunk.bytes));
        assert_eq!(recovery.finish().1, 0);
    });
    println!("replay: {:.0} points/s", points as f64 / took.as_secs_f64());
    let (bytes, took) = timed(|| {
        recorder.begin_checkpoint();
        let mut bytes = 0;
        while let Some(piece) = recorder.next_piece(256 << 10) {
            bytes += piece.saved.iter().map(|saved| saved.value.as_ref().map_or(0, Vec::len)).sum::<usize>();
        }
        bytes
    });
    println!("checkpoint: {bytes} bytes in {took:.1?}");
}
