use super::*;
use pqscope_slo_core::ledger::{Limits, Window};
use pqscope_slo_core::series::Series;
use pqscope_slo_core::time::Timestamp;
use rustix::mount::{MountFlags, UnmountFlags};
use std::time::Duration;

fn batch(key: &str, value: u64) -> Batch {
    let mut batch = Batch::default();
    batch.put(Table::Transition, key.as_bytes(), &value);
    batch
}

fn values(store: &Store) -> Vec<(String, u64)> {
    let loaded = store.load::<u64>(Table::Transition).unwrap();
    assert_eq!(loaded.unreadable, 0);
    loaded.records.into_iter().map(|(key, value)| (String::from_utf8(key).unwrap(), value)).collect()
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, findings) = Store::open(folder.path()).unwrap();
    assert_eq!(findings, []);
    store.commit(batch("a", 1), Urgency::Repeatable).unwrap();
    store.commit(batch("b", 2), Urgency::Essential).unwrap();
    store.commit(batch("a", 3), Urgency::Repeatable).unwrap();
    let mut removal = Batch::default();
    removal.delete(Table::Transition, b"b");
    store.commit(removal, Urgency::Repeatable).unwrap();
    let commits = store.figures().commits;
    drop(store);

    let (store, findings) = Store::open(folder.path()).unwrap();
    assert_eq!(findings, []);
    assert_eq!(values(&store), [("a".to_owned(), 3)]);
    assert_eq!(store.figures().commits, commits);
}

#[test]
fn tables_do_not_see_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path()).unwrap();
    let mut batch = batch("a", 1);
    batch.put(Table::Notification, b"a", &"text");
    store.commit(batch, Urgency::Essential).unwrap();
    assert_eq!(values(&store).len(), 1);
    assert_eq!(store.load::<String>(Table::Notification).unwrap().records.len(), 1);
    // The wrong type is counted, not hidden.
    assert_eq!(store.load::<u64>(Table::Notification).unwrap(), Loaded { records: vec![], unreadable: 1 });
}

impl Store {
    /// Lets go of the database, as after a fault.
    pub(crate) fn lose_database(&mut self) {
        self.database.take().unwrap().close().unwrap();
    }
}

/// A fault makes the database be opened again, and it comes back as it was before the last commit.
#[test]
fn a_database_that_falls_back_while_running_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path()).unwrap();
    store.commit(batch("a", 1), Urgency::Repeatable).unwrap();
    let old = store.figures().commits;
    store.lose_database();
    let copy = tempfile::tempdir().unwrap();
    copy_files(&folder.path().join(DATABASE_FOLDER), copy.path());
    store.commit(batch("b", 2), Urgency::Repeatable).unwrap();
    assert_eq!(store.finding(), None, "nothing is lost yet");
    let acknowledged = store.figures().commits;
    store.lose_database();
    std::fs::remove_dir_all(folder.path().join(DATABASE_FOLDER)).unwrap();
    copy_files(copy.path(), &folder.path().join(DATABASE_FOLDER));

    store.commit(batch("c", 3), Urgency::Repeatable).unwrap();
    let found = Finding::RolledBack { acknowledged, found: old };
    assert_eq!(store.finding(), Some(&found));
    drop(store);
    // Killed before anybody was told: it is found again, for the mark has stayed.
    let (mut store, findings) = Store::open(folder.path()).unwrap();
    assert_eq!(findings, [Finding::RolledBack { acknowledged, found: old + 1 }]);
    store.acknowledge_findings().unwrap();
    store.commit(batch("d", 4), Urgency::Repeatable).unwrap();
    drop(store);
    let (store, findings) = Store::open(folder.path()).unwrap();
    assert_eq!((findings, store.figures().commits), (vec![], old + 2));
}

#[test]
fn the_folder_has_one_holder() {
    let folder = tempfile::tempdir().unwrap();
    let _store = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Locked { .. })));
}

#[test]
fn an_older_copy_of_the_database_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path()).unwrap();
    store.commit(batch("a", 1), Urgency::Repeatable).unwrap();
    let old = store.figures().commits;
    drop(store);
    let copy = tempfile::tempdir().unwrap();
    copy_files(&folder.path().join(DATABASE_FOLDER), copy.path());

    let (mut store, _) = Store::open(folder.path()).unwrap();
    store.commit(batch("a", 2), Urgency::Repeatable).unwrap();
    let acknowledged = store.figures().commits;
    drop(store);
    std::fs::remove_dir_all(folder.path().join(DATABASE_FOLDER)).unwrap();
    copy_files(copy.path(), &folder.path().join(DATABASE_FOLDER));

    let expected = [Finding::RolledBack { acknowledged, found: old }];
    let (store, findings) = Store::open(folder.path()).unwrap();
    assert_eq!(findings, expected);
    assert_eq!(values(&store), [("a".to_owned(), 1)]);
    drop(store);
    let (mut store, findings) = Store::open(folder.path()).unwrap();
    assert_eq!(findings, expected, "nobody has noted it yet");
    store.acknowledge_findings().unwrap();
    drop(store);
    // The state that is there now is the new truth.
    assert_eq!(Store::open(folder.path()).unwrap().1, []);
}

#[test]
fn a_damaged_database_is_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path()).unwrap();
    store.commit(batch("a", 1), Urgency::Repeatable).unwrap();
    drop(store);
    // sled refuses a configuration that it cannot read.
    std::fs::write(folder.path().join(DATABASE_FOLDER).join("conf"), b"not a configuration at all").unwrap();

    let (mut store, findings) = Store::open(folder.path()).unwrap();
    let [Finding::MovedAside { to, .. }] = findings.as_slice() else { panic!("{findings:?}") };
    assert!(to.join("db").exists(), "nothing is deleted");
    assert_eq!(values(&store), []);
    store.commit(batch("b", 2), Urgency::Repeatable).unwrap();
    store.acknowledge_findings().unwrap();
    drop(store);
    let (store, findings) = Store::open(folder.path()).unwrap();
    assert_eq!(findings, []);
    assert_eq!(values(&store), [("b".to_owned(), 2)]);
}

#[test]
fn leftovers_of_a_killed_open_go() {
    let folder = tempfile::tempdir().unwrap();
    drop(Store::open(folder.path()).unwrap());
    let leftover = folder.path().join(DATABASE_FOLDER).join("snap.00000000000000FF.generating");
    std::fs::write(&leftover, b"half").unwrap();
    let (_, findings) = Store::open(folder.path()).unwrap();
    assert_eq!(findings, []);
    assert!(!leftover.exists());
}

#[test]
fn a_newer_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path()).unwrap();
    let mut batch = Batch::default();
    batch.put_raw(keys::LAYOUT.to_vec(), &(LAYOUT + 1));
    store.commit(batch, Urgency::Essential).unwrap();
    drop(store);
    let error = Store::open(folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::NewerLayout { found, .. } if found == LAYOUT + 1), "{error}");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let error = Store::open(&file.join("state")).unwrap_err();
    assert!(matches!(error, StoreError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains("--state"));
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy_files(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Overwriting the same records for ever must not take more and more memory.
#[test]
fn rewriting_records_leaves_no_garbage() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path()).unwrap();
    let before = resident_bytes();
    for round in 0..300_u64 {
        let mut batch = Batch::default();
        (0..1_000_u32).for_each(|key| batch.put(Table::Transition, &key.to_be_bytes(), &round));
        store.commit(batch, Urgency::Repeatable).unwrap();
    }
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 30 << 20, "{grown} bytes more for 300,000 writes of 1,000 small records");
}

fn resident_bytes() -> usize {
    let figures = std::fs::read_to_string("/proc/self/statm").unwrap();
    figures.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

/// sled itself meets the end of the disk: the error is said, nothing acknowledged is lost, and it goes on with room.
#[test]
fn a_disk_that_is_full_to_the_last_byte_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path()) else { return };
    let state = folder.path().join("state");
    let (mut store, _) = Store::open(&state).unwrap();
    let big = "x".repeat(10_000);
    let put = |store: &mut Store, key: u32, urgency| {
        let mut batch = Batch::default();
        batch.put(Table::Transition, &key.to_be_bytes(), &big);
        store.commit(batch, urgency)
    };
    put(&mut store, 0, Urgency::Repeatable).unwrap();
    let filler = disk.fill();
    assert!(matches!(put(&mut store, 1, Urgency::Repeatable), Err(StoreError::DiskFull { .. })));
    // Essential records use up the ballast, and then there is nothing left.
    let mut written = 1;
    let error = loop {
        match put(&mut store, written, Urgency::Essential) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100_000, "the disk never got full");
    };
    assert!(matches!(error, StoreError::DiskFull { .. }), "{error}");
    assert!(written > 10, "the ballast held some: {written}");
    assert!(!store.figures().healthy);
    put(&mut store, written, Urgency::Essential).unwrap_err();

    std::fs::remove_file(filler).unwrap();
    put(&mut store, written, Urgency::Repeatable).unwrap();
    assert!(store.figures().healthy);
    drop(store);
    let (store, findings) = Store::open(&state).unwrap();
    assert_eq!(findings, []);
    let keys: Vec<Vec<u8>> =
        store.load::<String>(Table::Transition).unwrap().records.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, (0..=written).map(|key| key.to_be_bytes().to_vec()).collect::<Vec<_>>());
}

/// A small file system of its own; taken down when dropped.
struct SmallDisk<'a> {
    folder: &'a Path,
}

impl<'a> SmallDisk<'a> {
    fn mount(folder: &'a Path) -> Option<Self> {
        // Not by the command: a fork would hold the locks of the other tests' folders for a moment.
        let options = c"size=24m";
        match rustix::mount::mount("pqscope-test", folder, "tmpfs", MountFlags::empty(), options) {
            Ok(()) => Some(Self { folder }),
            Err(error) => {
                println!("skipped: cannot mount a tmpfs: {error}");
                None
            }
        }
    }

    fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.folder.join("filler");
        let mut file = std::fs::File::create(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.folder, UnmountFlags::DETACH);
    }
}

/// States that were written as others see them: 300, 600, 900 good events of `a`, 20 good and 80 bad ones of `b` three
/// times, seven as a delta, and two histograms; `b` burned. That of layout 2 has a gauge besides, and its writer was
/// killed.
const LAYOUT_1: &[u8] = include_bytes!("../../tests/fixtures/layout-1.tar.gz");
const LAYOUT_2: &[u8] = include_bytes!("../../tests/fixtures/layout-2.tar.gz");

#[test]
fn a_state_of_layout_1_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    unpack(LAYOUT_1, folder.path());
    let state = folder.path().join("state");
    let (mut store, findings) = Store::open(&state).unwrap();
    assert_eq!(findings, [Finding::Migrated { from: 1, unreadable: 0 }]);
    // 2026-11-25T01:39:00Z, just after it was written.
    check_fixture(&mut store, 1_795_570_740, 7);
    drop(store);
    let (mut store, findings) = Store::open(&state).unwrap();
    assert_eq!(findings, []);
    check_fixture(&mut store, 1_795_570_740, 7);
}

/// The bytes that this version writes; a later version must read them.
#[test]
fn a_state_of_layout_2_is_read() {
    let folder = tempfile::tempdir().unwrap();
    unpack(LAYOUT_2, folder.path());
    let (mut store, findings) = Store::open(&folder.path().join("state")).unwrap();
    assert_eq!(findings, []);
    let now = 1_795_573_776;
    check_fixture(&mut store, now, 7);
    let now = Timestamp::from_seconds(now);
    let recovered = store.recover(Limits::default(), now).unwrap();
    let level = Series::new("pqscope.level", [("pqscope.service", "a")]);
    assert_eq!(
        recovered.recorder.ledger().level_at(level.id(), now, now).map(|level| level.value),
        Some(0.75)
    );
}

fn check_fixture(store: &mut Store, now: u64, streams: usize) {
    let now = Timestamp::from_seconds(now);
    let recovered = store.recover(Limits::default(), now).unwrap();
    assert_eq!(recovered.unreadable, 0);
    let ledger = recovered.recorder.ledger();
    let window = Window::ending(now, Duration::from_secs(3_600));
    let sum = |series: &Series| ledger.sum(series.id(), window, now).map(|sum| sum.total());
    let handshakes = |service: &str, outcome: &str| {
        let attributes = [("pqscope.service", service), ("pqscope.outcome", outcome)];
        sum(&Series::new("pqscope.handshakes", attributes))
    };
    assert_eq!(handshakes("a", "completed"), Some(900));
    assert_eq!((handshakes("b", "completed"), handshakes("b", "failed")), (Some(60), Some(240)));
    let attributes = [("pqscope.service", "a"), ("pqscope.outcome", "completed")];
    assert_eq!(sum(&Series::new("pqscope.extra", attributes)), Some(7));
    let sizes = Series::new("pqscope.sizes", [("pqscope.service", "a")]);
    let sizes = ledger.sum(sizes.id(), window, now).unwrap();
    assert_eq!((sizes.total(), sizes.at_or_below(0.5)), (6, Some(3)));
    assert_eq!(sum(&Series::new("pqscope.handshake.duration", [("pqscope.service", "a")])), Some(9));
    assert_eq!(recovered.recorder.streams(), streams);
    assert_eq!(store.load::<serde_json::Value>(Table::Incident).unwrap().records.len(), 2);
    assert_eq!(store.load::<serde_json::Value>(Table::Transition).unwrap().records.len(), 2);
    assert_eq!(store.load::<serde_json::Value>(Table::Notification).unwrap().records.len(), 1);
    assert_eq!(store.load::<serde_json::Value>(Table::Bucket1).unwrap().records.len(), 0);
}

/// Puts the files of a compressed tar archive into a folder.
fn unpack(archive: &[u8], folder: &Path) {
    use std::io::Read;
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(archive).read_to_end(&mut bytes).unwrap();
    let mut rest = bytes.as_slice();
    while let Some((header, body)) = rest.split_at_checked(512).filter(|(header, _)| header[0] != 0) {
        let text = |range: std::ops::Range<usize>| {
            std::str::from_utf8(&header[range]).unwrap().trim_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(&text(124..136), 8).unwrap();
        let path = folder.join(text(0..100));
        if header[156] == b'5' {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, &body[..size]).unwrap();
        }
        rest = &body[size.next_multiple_of(512)..];
    }
}
