//! Whatever is saved when, memory comes back as it was.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

mod disk;

use disk::Disk;
use pqscope_slo_core::distribution::{Distribution, Explicit, Exponential};
use pqscope_slo_core::intake::{Level, Measured, Point, Temporality};
use pqscope_slo_core::ledger::{Limits, Slot, Window};
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::series::{Attributes, Series, SourceId};
use pqscope_slo_core::time::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const BIRTH: u64 = 1_800_000_000;
const LIMITS: Limits = Limits { full_series: 5, series: 8, streams: 40 };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(BIRTH + seconds)
}

fn source(number: u64) -> SourceId {
    let resource = Attributes::from([("service.instance.id".to_owned(), number.to_string())]);
    SourceId::new(&resource, "pqscope", "requests")
}

fn start(disk: &Disk) -> Recorder {
    let mut recorder = disk.start(at(0), LIMITS);
    recorder.ledger_mut().keep_attributes(["code"]);
    recorder
}

#[derive(Clone, Debug)]
enum Deed {
    Cumulative { source: u64, series: u64, more: u64, start: u64, age: u64 },
    Delta { source: u64, series: u64, amount: u64, age: u64 },
    Histogram { source: u64, index: i32, counts: Vec<u64>, explicit: bool },
    Level { value: f64, age: u64 },
    Contribute { series: u64, amount: u64, age: u64 },
    Wait(u64),
    Save,
    FailToSave,
    Begin,
    Piece { fails: bool },
    Restart,
    Expire,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let age = || prop_oneof![8 => 0_u64..30, 1 => 0_u64..90_000];
    let deed = prop_oneof![
        8 => (0_u64..3, 0_u64..7, 0_u64..9, 0_u64..3, age())
            .prop_map(|(source, series, more, start, age)| Deed::Cumulative { source, series, more, start, age }),
        3 => (0_u64..3, 7_u64..10, 1_u64..9, age())
            .prop_map(|(source, series, amount, age)| Deed::Delta { source, series, amount, age }),
        2 => (0_u64..2, -5_i32..5, proptest::collection::vec(0_u64..9, 1..5), any::<bool>())
            .prop_map(|(source, index, counts, explicit)| Deed::Histogram { source, index, counts, explicit }),
        2 => (-9.0_f64..9.0, age()).prop_map(|(value, age)| Deed::Level { value, age }),
        2 => (0_u64..3, 0_u64..9, age()).prop_map(|(series, amount, age)| Deed::Contribute { series, amount, age }),
        4 => prop_oneof![4 => 1_u64..20, 1 => 1_u64..5_000, 1 => Just(700_000_u64)].prop_map(Deed::Wait),
        4 => Just(Deed::Save),
        1 => Just(Deed::FailToSave),
        2 => Just(Deed::Begin),
        4 => any::<bool>().prop_map(|fails| Deed::Piece { fails }),
        2 => Just(Deed::Restart),
        1 => Just(Deed::Expire),
    ];
    proptest::collection::vec(deed, 1..120)
}

/// Everything that can be asked of a recorder, by series.
fn answers(recorder: &Recorder, now: Timestamp) -> Vec<String> {
    let ledger = recorder.ledger();
    let mut all: Vec<String> = ledger
        .added_since(Slot::from_index(0))
        .flat_map(|(slot, series)| {
            let lengths = [10, 60, 300, 3_600, 7_200, 43_200, 86_400, 345_600, 2_592_000, 30_000_000];
            let ends = [0, 600, 7_200, 50_000];
            let spans =
                lengths.into_iter().flat_map(move |length| ends.into_iter().map(move |end| (length, end)));
            spans.filter_map(move |(length, end)| {
                let window =
                    Window::ending(now.before(Duration::from_secs(end)), Duration::from_secs(length));
                let (sum, count) = (ledger.sum(slot, window, now), ledger.count(slot, window, now));
                assert_eq!(sum.as_ref().map_or(0, Measured::total), count);
                let level = ledger.level_at(slot, now.before(Duration::from_secs(end)), now);
                (sum.is_some() || level.is_some())
                    .then(|| format!("{series:?} {length} {end} {sum:?} {level:?}"))
            })
        })
        .collect();
    all.sort();
    all
}

struct World {
    recorder: Recorder,
    disk: Disk,
    clock: u64,
    values: BTreeMap<(u64, u64), (u64, u64)>,
    sizes: BTreeMap<u64, Measured>,
}

impl World {
    fn series(number: u64) -> Series {
        Series::new("requests", [("code", (number % 4).to_string()), ("client", number.to_string())])
    }

    fn take(
        &mut self,
        from: u64,
        series: &Series,
        start: u64,
        time: u64,
        value: Measured,
        temporality: Temporality,
    ) {
        let point =
            Point { temporality, start: Some(at(start.min(time))), time: at(time), value: Some(value) };
        let _ = self.recorder.accept(source(from), series, &point, at(self.clock));
    }

    fn act(&mut self, deed: &Deed) {
        let now = self.clock;
        match deed {
            Deed::Cumulative { source, series, more, start, age } => {
                let (held_start, value) = self.values.entry((*source, *series)).or_default();
                if *start == 2 {
                    (*held_start, *value) = (now.saturating_sub(5), 0);
                }
                *value += more;
                let (start, value) = (*held_start, Measured::Count(*value));
                self.take(
                    *source,
                    &Self::series(*series),
                    start,
                    now - age.min(&now),
                    value,
                    Temporality::Cumulative,
                );
            }
            Deed::Delta { source, series, amount, age } => {
                let time = now - age.min(&now);
                let value = Measured::Count(*amount);
                let start = time.saturating_sub(1 + amount * 20);
                self.take(*source, &Self::series(*series), start, time, value, Temporality::Delta);
            }
            Deed::Histogram { source, index, counts, explicit } => {
                let count = counts.iter().sum();
                let more: Distribution = if *explicit {
                    let bounds: Vec<f64> = (1..counts.len()).map(|bound| bound as f64).collect();
                    Explicit::new(&bounds, counts, count).unwrap().into()
                } else {
                    Exponential::new(2, count, 0, *index, counts, 0).unwrap().into()
                };
                self.sizes.insert(*source, more.clone().into());
                let series = Series::new("sizes", [("code", "1")]);
                self.take(*source, &series, now.saturating_sub(3), now, more.into(), Temporality::Cumulative);
            }
            Deed::Level { value, age } => {
                let series = Series::new("level", [("code", "1")]);
                let _ =
                    self.recorder.accept_level(source(9), &series, at(now - age.min(&now)), *value, at(now));
            }
            Deed::Contribute { series, amount, age } => {
                let amount = Measured::Count(*amount);
                let series = Series::new("events", [("code", series.to_string())]);
                let _ = self.recorder.contribute(&series, at(now - age.min(&now)), amount, at(now));
            }
            Deed::Wait(seconds) => self.clock += seconds,
            Deed::Save => self.disk.save(&mut self.recorder),
            Deed::FailToSave => {
                let chunks = self.recorder.take_journal();
                // It reached the disk although that was not said.
                self.disk.write_journal(&chunks);
                self.recorder.return_journal(chunks);
            }
            Deed::Begin => {
                self.disk.save(&mut self.recorder);
                self.recorder.begin_checkpoint();
            }
            Deed::Piece { fails } => {
                self.disk.save(&mut self.recorder);
                if let Some(piece) = self.recorder.next_piece(300) {
                    if *fails {
                        self.recorder.return_piece(piece);
                    } else {
                        self.disk.write(&piece);
                    }
                }
            }
            Deed::Restart => {
                self.disk.save(&mut self.recorder);
                self.compare();
                self.recorder = start(&self.disk);
            }
            Deed::Expire => self.recorder.expire(at(now)),
        }
    }

    /// What is on disk is what is in memory, as far as it can be asked about.
    fn compare(&mut self) {
        let now = at(self.clock);
        let mut other = start(&self.disk);
        other.expire(now);
        self.recorder.expire(now);
        let (found, expected) = (answers(&other, now), answers(&self.recorder, now));
        if found == expected {
            assert_eq!(other.streams(), self.recorder.streams());
            return;
        }
        let wrong: Vec<&String> = found.iter().filter(|answer| !expected.contains(answer)).take(3).collect();
        let missing: Vec<&String> =
            expected.iter().filter(|answer| !found.contains(answer)).take(3).collect();
        panic!("wrong: {wrong:#?}, missing: {missing:#?}");
    }
}

proptest! {
    #[test]
    fn a_recovered_recorder_is_the_one_that_was_saved(deeds in deeds()) {
        let mut recorder = Recorder::new(at(0), LIMITS);
        recorder.ledger_mut().keep_attributes(["code"]);
        let mut world = World {
            recorder,
            disk: Disk::default(),
            clock: 100_000,
            values: BTreeMap::new(),
            sizes: BTreeMap::new(),
        };
        for deed in &deeds {
            world.act(deed);
        }
        world.act(&Deed::Restart);
        // And it goes on alike: the same deeds again, on both.
        for deed in &deeds {
            world.act(deed);
        }
        world.act(&Deed::Restart);
    }
}

#[test]
fn the_latest_reading_of_a_gauge_is_found_at_any_age() {
    let mut recorder = Recorder::new(at(0), Limits::default());
    let series = Series::new("level", [("a", "b")]);
    let mut now = 100_000;
    for step in 0..50_u32 {
        now += 3_600;
        recorder.accept_level(source(1), &series, at(now), f64::from(step), at(now)).unwrap();
        recorder.expire(at(now));
    }
    let ledger = recorder.ledger();
    let slot = ledger.slot(series.id()).unwrap();
    let level = |back: u64| ledger.level_at(slot, at(now - back), at(now)).map(|level| level.value);
    assert_eq!(level(0), Some(49.0));
    assert_eq!(level(3_599), Some(48.0));
    assert_eq!(level(10 * 3_600), Some(39.0));
    assert_eq!(level(49 * 3_600), Some(0.0));
    assert_eq!(level(52 * 3_600), None);
    assert_eq!(ledger.first_level(slot), Some(Level { at: at(now - 49 * 3_600), value: 0.0 }));
    assert_eq!(recorder.series_heard(slot), Some(at(now)));
    assert!(recorder.accept_level(source(1), &series, at(now), f64::NAN, at(now)).is_err());
    assert!(recorder.contribute(&series, at(now), Measured::Count(1), at(now)).is_err());
}

#[test]
fn places_are_kept_and_never_given_away_again() {
    let mut recorder = Recorder::new(at(0), Limits::default());
    let mut disk = Disk::default();
    let one = Series::new("events", [("n", "1")]);
    recorder.contribute(&one, at(10), Measured::Count(1), at(10)).unwrap();
    let before = recorder.ledger().next_slot();
    let removals = recorder.ledger().removals();
    let later = 500 * 86_400;
    recorder.expire(at(later));
    assert!(recorder.ledger().is_empty());
    assert_ne!(recorder.ledger().removals(), removals);
    let two = Series::new("events", [("n", "2")]);
    recorder.contribute(&two, at(later), Measured::Count(1), at(later)).unwrap();
    let added: Vec<&Series> = recorder.ledger().added_since(before).map(|(_, series)| series).collect();
    assert_eq!(added, [&two]);
    disk.save(&mut recorder);
    disk.checkpoint(&mut recorder, 1_000);
    assert!(disk.journal.is_empty());
    let again = start(&disk);
    assert_eq!(again.ledger().slot(two.id()), recorder.ledger().slot(two.id()));
    assert_eq!(again.ledger().len(), 1);
}

/// A disk that lost everything has all of it again after one checkpoint, whatever was saved before.
#[test]
fn what_a_disk_lost_is_written_again() {
    let mut recorder = Recorder::new(at(0), Limits::default());
    let series = Series::new("events", [("n", "1")]);
    recorder.contribute(&series, at(10), Measured::Count(7), at(10)).unwrap();
    let mut disk = Disk::default();
    disk.save(&mut recorder);
    disk.checkpoint(&mut recorder, 1_000);
    disk = Disk::default();
    recorder.touch_all();
    disk.checkpoint(&mut recorder, 1_000);
    assert_eq!(answers(&start(&disk), at(20)), answers(&recorder, at(20)));
    assert_eq!(start(&disk).ledger().len(), 1);
}

#[test]
fn what_is_shed_is_answered_from_coarser_buckets() {
    let mut recorder = Recorder::new(at(0), Limits::default());
    let series = Series::new("events", [("n", "1")]);
    let sizes = Series::new("sizes", [("n", "1")]);
    let day = 86_400;
    for time in (0..day).step_by(10) {
        recorder.contribute(&series, at(time), Measured::Count(1), at(time)).unwrap();
        let one = Distribution::from(Explicit::new(&[1.0], &[1, 0], 1).unwrap());
        recorder.contribute(&sizes, at(time), one.into(), at(time)).unwrap();
    }
    let now = at(day - 1);
    recorder.expire(now);
    let counts = |recorder: &Recorder, seconds| {
        let window = Window::ending(now, Duration::from_secs(seconds));
        let count = |series: &Series| recorder.ledger().count(series.id(), window, now);
        assert_eq!(count(&series), count(&sizes), "{seconds}");
        count(&series)
    };
    let windows = [300, 3_600, 7_200, 21_600, 43_200, 86_400];
    let before = windows.map(|seconds| counts(&recorder, seconds));
    assert_eq!(before, windows.map(|seconds| seconds / 10));
    for step in 1..=6 {
        recorder.shed(now, step);
        for (seconds, before) in windows.into_iter().zip(before) {
            let after = counts(&recorder, seconds);
            // An edge is rounded down further, by less than an hour here; nothing is missing.
            assert!(before <= after && after < before + 360, "step {step}, {seconds} s: {before}, {after}");
        }
    }
    let mut disk = Disk::default();
    disk.save(&mut recorder);
    disk.checkpoint(&mut recorder, 1_000);
    let again = start(&disk);
    assert_eq!(
        windows.map(|seconds| counts(&again, seconds)),
        windows.map(|seconds| counts(&recorder, seconds))
    );
}
