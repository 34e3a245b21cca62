//! The keeper on a clock of its own: hours pass in seconds.

use super::*;
use crate::catalog;
use crate::prometheus::Prometheus;
use pqscope_slo_core::detection::{Detection, Entered};
use pqscope_slo_core::distribution::{Distribution, Explicit};
use pqscope_slo_core::event::desk::Taken;
use pqscope_slo_core::event::{Event, EventData, EventKind, Outcome};
use pqscope_slo_core::intake::Measured;
use pqscope_slo_core::ledger::Window;
use pqscope_slo_core::objective::Severity;
use pqscope_slo_core::series::Series;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::oneshot;

/// In seconds.
const START: u64 = 1_800_000_000;
const OBJECTIVE: &str = include_str!("tests/objective.yaml");

/// A keeper, the channel to its courier kept open, and the hand of its clock.
struct World {
    keeper: Keeper,
    seconds: Arc<AtomicU64>,
    _rows: mpsc::UnboundedReceiver<OutboxRow>,
}

impl World {
    fn open(state: &Path, at: u64, max_state_bytes: u64) -> Self {
        let seconds = Arc::new(AtomicU64::new(at));
        let (wall, running) = (Arc::clone(&seconds), Arc::clone(&seconds));
        let clock = Clock::new(
            move || Timestamp::from_seconds(wall.load(Ordering::SeqCst)),
            move || Duration::from_secs(running.load(Ordering::SeqCst)),
        );
        let catalog = catalog::parse(&[("objective.yaml".to_owned(), OBJECTIVE.to_owned())], None).unwrap();
        let (_, readings) = Prometheus::new(&catalog.objectives, clock.clone(), Duration::from_secs(10));
        let duties = Duties {
            catalog,
            services: Services::default(),
            receivers: Vec::new(),
            evaluation_interval: Duration::from_secs(10),
            rotation_grace: Duration::ZERO,
            limits: Limits::default(),
            checkpoint_interval: Duration::from_secs(300),
            export_interval: Duration::from_secs(86_400),
            max_state_bytes,
            readings,
        };
        let (rows, kept) = mpsc::unbounded_channel();
        let (store, findings) = Store::open(state).unwrap();
        let (keeper, _) = Keeper::new(store, &findings, duties, clock, rows).unwrap();
        Self { keeper, seconds, _rows: kept }
    }
}

fn histogram() -> Measured {
    let bounds: Vec<f64> = (1..=20).map(f64::from).collect();
    let counts: Vec<u64> = (0..=20).map(|bucket| u64::from(bucket % 4 == 0)).collect();
    Distribution::from(Explicit::new(&bounds, &counts, counts.iter().sum()).unwrap()).into()
}

/// Hours of counts that do not fit: the database stays within its bound, the oldest fine buckets go, no event does, and
/// what is asked about the last minutes and the whole window is answered as if there were no bound.
#[test]
fn a_state_stays_within_its_bound() {
    const BOUND: u64 = 16 << 20;
    const SERIES: u64 = 150;
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path(), START, BOUND);
    let sizes: Vec<Series> = (0..SERIES)
        .map(|number| Series::new("pqscope.sizes", [("pqscope.service", number.to_string())]))
        .collect();
    let failed = Series::new("pqscope.handshakes", [("pqscope.service", "a"), ("pqscope.outcome", "failed")]);
    let value = histogram();
    let (mut largest, mut rounds) = (0, 0);
    while world.keeper.shed_step < 2 || rounds % 30 != 0 {
        rounds += 1;
        let time = Timestamp::from_seconds(START + rounds * 10);
        world.seconds.store(START + rounds * 10, Ordering::SeqCst);
        for series in &sizes {
            world.keeper.recorder.contribute(series, time, value.clone(), time).unwrap();
        }
        world.keeper.recorder.contribute(&failed, time, Measured::Count(rounds), time).unwrap();
        world.keeper.evaluate();
        largest = largest.max(world.keeper.store.figures().size_bytes);
        assert!(rounds < 2_000, "never over the bound: {largest} bytes");
    }
    assert!(largest < BOUND + (1 << 20), "{largest} bytes");
    let check = |keeper: &Keeper| {
        let now = Timestamp::from_seconds(START + rounds * 10);
        let sum = |span: u64| {
            let window = Window::ending(now, Duration::from_secs(span));
            keeper.recorder.ledger().sum(failed.id(), window, now).map(|sum| sum.total())
        };
        assert_eq!(sum(30 * 86_400), Some(rounds * (rounds + 1) / 2), "every event is there");
        assert_eq!(sum(300), Some((rounds - 29..=rounds).sum()), "and the last minutes to the bucket");
        for series in &sizes {
            let all = Window::ending(now, Duration::from_secs(30 * 86_400));
            let sum = keeper.recorder.ledger().sum(series.id(), all, now).unwrap();
            assert_eq!(sum.total(), rounds * value.total());
        }
        assert_eq!(keeper.incidents.records.len(), keeper.objectives.len());
    };
    check(&world.keeper);
    let incidents = world.keeper.incidents.records.len();
    drop(world);
    let world = World::open(folder.path(), START + rounds * 10, BOUND);
    assert_eq!(world.keeper.incidents.records.len(), incidents);
    check(&world.keeper);
}

fn missed(at: u64) -> Detection {
    let entered = Entered {
        author: "kim".to_owned(),
        description: "no page".to_owned(),
        at: Timestamp::from_seconds(at),
    };
    Detection {
        objective: String::new(),
        service: "tls".to_owned(),
        severity: Severity::Page,
        began: Timestamp::from_seconds(START - 600),
        told: None,
        entered: Some(entered),
    }
}

fn enter(keeper: &mut Keeper, detection: Detection) -> Result<Detection, OrderFault> {
    let (reply, mut answer) = oneshot::channel();
    keeper.obey(Order::Missed(detection, reply));
    answer.try_recv().unwrap()
}

/// Has the database fail at the next commits: its folder is out of its place, and a file is there instead.
fn break_store(world: &mut World, folder: &Path) {
    world.keeper.store.lose_database();
    std::fs::rename(folder.join("sled"), folder.join("sled.elsewhere")).unwrap();
    std::fs::write(folder.join("sled"), b"").unwrap();
}

fn mend_store(folder: &Path) {
    std::fs::remove_file(folder.join("sled")).unwrap();
    std::fs::rename(folder.join("sled.elsewhere"), folder.join("sled")).unwrap();
}

#[test]
fn an_incident_that_is_entered_again_after_a_failed_commit_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path(), START, 2 << 30);
    break_store(&mut world, folder.path());
    enter(&mut world.keeper, missed(START)).unwrap_err();
    enter(&mut world.keeper, missed(START + 1)).unwrap_err();
    mend_store(folder.path());
    enter(&mut world.keeper, missed(START + 2)).unwrap();
    // The answer got lost on its way: the same again.
    enter(&mut world.keeper, missed(START + 3)).unwrap();
    let other = Detection { began: Timestamp::from_seconds(START - 60), ..missed(START + 4) };
    enter(&mut world.keeper, other.clone()).unwrap();
    let check = |keeper: &Keeper| {
        let now = Timestamp::from_seconds(START + 10);
        let window = Window::ending(now, Duration::from_secs(3_600));
        let counted = keeper.recorder.ledger().sum(other.contribution().0.id(), window, now);
        assert_eq!(counted.map(|sum| sum.total()), Some(2));
        assert_eq!(keeper.incidents.detections().count(), 2);
    };
    check(&world.keeper);
    drop(world);
    check(&World::open(folder.path(), START + 10, 2 << 30).keeper);
}

fn event(id: &str) -> Event {
    let data = EventData { result: Some(Outcome::Success), ..EventData::default() };
    let time = Timestamp::from_seconds(START);
    Event { id: id.to_owned(), source: "s".to_owned(), kind: EventKind::Sign, time, data }
}

fn tell(keeper: &mut Keeper, event: Event) -> Taken {
    let now = keeper.clock.now();
    let recorder = &mut keeper.recorder;
    let mut sink = |series: &Series, at, amount| recorder.contribute(series, at, amount, now);
    keeper.events.desk.take(event, now, &mut sink).unwrap()
}

/// The records of a table, each with its key.
type Records = (Table, Vec<(Vec<u8>, serde_json::Value)>);

/// What lies on disk besides the counts.
fn told_to_disk(keeper: &Keeper) -> Vec<Records> {
    let tables = [
        Table::Incident,
        Table::Transition,
        Table::Slices,
        Table::Exclusion,
        Table::Detection,
        Table::Event,
        Table::EventId,
    ];
    tables
        .map(|table| {
            let mut records = keeper.store.load::<serde_json::Value>(table).unwrap().records;
            // The time of the last look alone is not worth a write.
            records.iter_mut().for_each(|(_, record)| {
                drop(record.pointer_mut("/state/evaluated").map(serde_json::Value::take))
            });
            (table, records)
        })
        .into()
}

/// The database comes back as it was long ago, under a keeper that remembers: all of it is on disk again.
#[test]
fn what_a_database_lost_while_running_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::open(folder.path(), START, 2 << 30);
    world.keeper.store.lose_database();
    let (place, copy) = (folder.path().join("sled"), folder.path().join("old"));
    assert!(Command::new("cp").arg("-r").args([&place, &copy]).status().unwrap().success());

    assert_eq!(tell(&mut world.keeper, event("1")), Taken::Counted);
    let failed = Series::new("pqscope.handshakes", [("pqscope.service", "a"), ("pqscope.outcome", "failed")]);
    let now = Timestamp::from_seconds(START);
    world.keeper.recorder.contribute(&failed, now, Measured::Count(90), now).unwrap();
    enter(&mut world.keeper, missed(START)).unwrap();
    world.seconds.store(START + 400, Ordering::SeqCst);
    world.keeper.evaluate();
    let before = told_to_disk(&world.keeper);
    assert!(
        before.iter().filter(|(table, _)| *table != Table::Exclusion).all(|(_, records)| !records.is_empty())
    );

    world.keeper.store.lose_database();
    std::fs::remove_dir_all(&place).unwrap();
    std::fs::rename(&copy, &place).unwrap();
    let other = Series::new("pqscope.sizes", [("pqscope.service", "a")]);
    world.keeper.recorder.contribute(&other, now, Measured::Count(1), now).unwrap();
    world.keeper.save_counts().unwrap();
    assert!(world.keeper.store.finding().is_some());
    world.keeper.evaluate();
    assert_eq!(world.keeper.store.finding(), None);
    world.keeper.finish_checkpoint();
    for ((table, before), (_, after)) in before.iter().zip(told_to_disk(&world.keeper)) {
        assert!(*before == after, "{table:?}: {} records, {} after", before.len(), after.len());
    }
    drop(world);

    let mut world = World::open(folder.path(), START + 400, 2 << 30);
    let keeper = &mut world.keeper;
    assert_eq!(tell(keeper, event("1")), Taken::Duplicate, "identities are there again");
    assert_eq!(keeper.events.desk.history().len(), 1);
    assert_eq!(keeper.recorder.ledger().total(keeper.recorder.ledger().slot(failed.id()).unwrap()), 90);
    assert_eq!(keeper.notices.len(), 1, "{:?}", keeper.notices);
}
