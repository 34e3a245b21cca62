//! The keeper on a clock of its own: hours pass in seconds.

use super::*;
use crate::catalog;
use crate::prometheus::Prometheus;
use pqscope_slo_core::distribution::{Distribution, Explicit};
use pqscope_slo_core::intake::Measured;
use pqscope_slo_core::ledger::Window;
use pqscope_slo_core::series::Series;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

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
        assert_eq!(keeper.incidents.rows().count() + keeper.incidents.records.len(), 1);
    };
    check(&world.keeper);
    let incidents = world.keeper.incidents.records.len();
    drop(world);
    let world = World::open(folder.path(), START + rounds * 10, BOUND);
    assert_eq!(world.keeper.incidents.records.len(), incidents);
    check(&world.keeper);
}
