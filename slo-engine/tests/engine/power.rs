//! The power fails at any moment: what was acknowledged is there, whatever became of writes that nobody waited for.
//!
//! A library between the engine and the kernel notes writes, truncations, renames and syncs of the state folder. From
//! that the folder is built as it may look after a cut: what was synced before is there; of the rest any part, in any
//! order. Names follow ext4: a sync of any file keeps the renames and removals before it.

use crate::kills::{backup, enlarge, large_export, records, restore, unpack};
use crate::otlp::{Reading, client, delta, now, post};
use crate::process::{Engine, command, complaint, write_objective};
use pqscope_tests::requirement::skip;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const CUTS: usize = 50;

/// Builds the library; `None` where there is no C compiler.
fn library(folder: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/power.c");
    let library = folder.join("power.so");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .args(["-ldl", "-lpthread"])
        .output();
    match built {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("cc: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            skip("the power cuts", &format!("no C compiler: {error}"));
            None
        }
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Open { file: u32, path: PathBuf, truncates: bool },
    Write { file: u32, at: usize, bytes: Vec<u8> },
    Truncate { file: u32, length: usize },
    SyncBegins(u32),
    SyncEnds(u32),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// The deeds of a log, each with the length of the log behind it.
fn deeds(log: &[u8]) -> Vec<(usize, Deed)> {
    let mut all = Vec::new();
    let mut rest = log;
    while let Some((head, body)) = rest.split_at_checked(17) {
        let number = |from: usize, length: usize| {
            head[from..from + length].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        let (file, at, length) = (number(1, 4) as u32, number(5, 8) as usize, number(13, 4) as usize);
        let Some((bytes, behind)) = body.split_at_checked(length) else { break };
        let path = |bytes: &[u8]| PathBuf::from(std::str::from_utf8(bytes).unwrap());
        let deed = match head[0] {
            b'o' => Deed::Open { file, path: path(bytes), truncates: at == 1 },
            b'w' => Deed::Write { file, at, bytes: bytes.to_vec() },
            b't' => Deed::Truncate { file, length: at },
            b's' => Deed::SyncBegins(file),
            b'S' => Deed::SyncEnds(file),
            b'u' => Deed::Remove(path(bytes)),
            b'r' => {
                let middle = bytes.iter().position(|byte| *byte == 0).unwrap();
                Deed::Rename(path(&bytes[..middle]), path(&bytes[middle + 1..]))
            }
            other => panic!("a record of kind {other}"),
        };
        rest = behind;
        all.push((log.len() - rest.len(), deed));
    }
    all
}

/// Something done to the bytes of a file.
#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, written) => {
                bytes.resize(bytes.len().max(at + written.len()), 0);
                bytes[*at..at + written.len()].copy_from_slice(written);
            }
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }
}

#[derive(Clone, Default)]
struct Content {
    safe: Vec<u8>,
    pending: Vec<Change>,
    /// Changes that the sync under way will have made safe.
    syncing: usize,
}

#[derive(Clone)]
enum Naming {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, content) => {
                names.insert(path.clone(), *content);
            }
            Self::Rename(from, to) => {
                // Of a file, or of a folder with all that is in it.
                let moved: Vec<PathBuf> =
                    names.keys().filter(|name| name.starts_with(from)).cloned().collect();
                for name in moved {
                    let rest = name.strip_prefix(from).unwrap();
                    let new = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                    let content = names.remove(&name).unwrap();
                    names.insert(new, content);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

/// The number that all folders have.
const A_FOLDER: u32 = u32::MAX;

/// What the disk has and what the kernel still holds.
#[derive(Clone, Default)]
struct Disk {
    contents: Vec<Content>,
    files: BTreeMap<u32, usize>,
    /// As the process sees them.
    names: BTreeMap<PathBuf, usize>,
    safe_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Naming>,
}

impl Disk {
    /// A folder that has been on disk for long.
    fn of(folder: &Path) -> Self {
        let mut disk = Self::default();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let safe = std::fs::read(&path).unwrap();
                    disk.names.insert(path.clone(), disk.contents.len());
                    disk.contents.push(Content { safe, ..Content::default() });
                }
            }
        }
        disk.safe_names = disk.names.clone();
        disk
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push(naming);
    }

    fn take(&mut self, deed: &Deed) {
        match deed {
            Deed::Open { file, path, truncates } => {
                let content = self.names.get(path).copied().unwrap_or_else(|| {
                    self.contents.push(Content::default());
                    let content = self.contents.len() - 1;
                    self.name(Naming::Create(path.clone(), content));
                    content
                });
                self.files.insert(*file, content);
                if *truncates {
                    self.contents[content].pending.push(Change::Truncate(0));
                }
            }
            Deed::Write { file, at, bytes } => {
                let content = self.files[file];
                self.contents[content].pending.push(Change::Write(*at, bytes.clone()));
            }
            Deed::Truncate { file, length } => {
                let content = self.files[file];
                self.contents[content].pending.push(Change::Truncate(*length));
            }
            Deed::SyncBegins(A_FOLDER) => {}
            Deed::SyncEnds(A_FOLDER) => self.keep_names(),
            Deed::SyncBegins(file) => {
                let content = &mut self.contents[self.files[file]];
                content.syncing = content.pending.len();
            }
            Deed::SyncEnds(file) => {
                let content = &mut self.contents[self.files[file]];
                let count = content.syncing.min(content.pending.len());
                for change in content.pending.drain(..count) {
                    change.apply(&mut content.safe);
                }
                content.syncing = 0;
                self.keep_names();
            }
            Deed::Rename(from, to) => self.name(Naming::Rename(from.clone(), to.clone())),
            Deed::Remove(path) => self.name(Naming::Remove(path.clone())),
        }
    }

    fn keep_names(&mut self) {
        for naming in self.pending_names.drain(..) {
            naming.apply(&mut self.safe_names);
        }
    }

    /// The folder after a cut, written to another place.
    fn fail(mut self, from: &Path, to: &Path, chance: &mut fastrand::Rng) {
        let kept = chance.usize(0..=self.pending_names.len());
        for naming in self.pending_names.drain(..kept) {
            naming.apply(&mut self.safe_names);
        }
        let manner = chance.u8(0..4);
        for (path, content) in &self.safe_names {
            let content = &self.contents[*content];
            let mut bytes = content.safe.clone();
            let prefix = chance.usize(0..=content.pending.len());
            for (place, change) in content.pending.iter().enumerate() {
                let is_kept = match manner {
                    0 => false,
                    1 => place < prefix,
                    2 => chance.bool(),
                    _ => true,
                };
                match change {
                    // The last page of what was under way may be torn.
                    Change::Write(at, written) if is_kept && chance.u8(0..4) == 0 => {
                        let cut = chance.usize(0..=written.len());
                        Change::Write(*at, written[..cut].to_vec()).apply(&mut bytes);
                    }
                    change if is_kept => change.apply(&mut bytes),
                    _ => {}
                }
            }
            let path = to.join(path.strip_prefix(from).unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            if path.ends_with("db") {
                std::fs::create_dir_all(path.with_file_name("blobs")).unwrap();
            }
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// What a process did to a folder, and how that was before.
struct Tape {
    folder: PathBuf,
    before: Disk,
    deeds: Vec<(usize, Deed)>,
    chance: fastrand::Rng,
}

impl Tape {
    /// Of a process that has ended.
    fn read(what: &str, folder: &Path, before: Disk, log: &Path) -> Self {
        let deeds = deeds(&std::fs::read(log).unwrap());
        let seed = std::env::var("PQSCOPE_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
        println!("{what}: PQSCOPE_SEED={seed}: {} deeds", deeds.len());
        Self { folder: folder.to_owned(), before, deeds, chance: fastrand::Rng::with_seed(seed) }
    }

    /// Cuts the power after any deed and builds the folder as it is then; says after how many deeds, and how long the log
    /// was.
    fn cut(&mut self, to: &Path) -> (usize, usize) {
        let renames: Vec<usize> = (1..)
            .zip(&self.deeds)
            .filter(|(_, (_, deed))| matches!(deed, Deed::Rename(..)))
            .map(|(done, _)| done)
            .collect();
        // Often just after a rename: there are few of them, and much depends on each.
        let done = match self.chance.choice(renames) {
            Some(done) if self.chance.u8(0..4) == 0 => done + self.chance.usize(0..=1),
            _ => self.chance.usize(0..=self.deeds.len()),
        };
        let done = done.min(self.deeds.len());
        (done, self.cut_after(done, to))
    }

    /// As [`Self::cut`], after so many deeds.
    fn cut_after(&mut self, done: usize, to: &Path) -> usize {
        let mut disk = self.before.clone();
        self.deeds[..done].iter().for_each(|(_, deed)| disk.take(deed));
        let _ = std::fs::remove_dir_all(to);
        disk.fail(&self.folder, to, &mut self.chance);
        done.checked_sub(1).map_or(0, |last| self.deeds[last].0)
    }
}

fn cuts(few: usize) -> usize {
    std::env::var("PQSCOPE_CUTS").map_or(few, |cuts| cuts.parse().unwrap())
}

/// A command whose deeds are noted.
fn noted(arguments: &[&str], library: &Path, folder: &Path, log: &Path) -> Command {
    let mut command = command(arguments);
    command.env("LD_PRELOAD", library).env("PQSCOPE_POWER_FOLDER", folder).env("PQSCOPE_POWER_LOG", log);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let slo = write_objective(&folder.path().join("slos"), "a");
    let (state, log) = (folder.path().join("state"), folder.path().join("log"));
    let arguments = [
        "--slo",
        slo.to_str().unwrap(),
        "--evaluation-interval",
        "100ms",
        "--checkpoint-interval",
        "200ms",
        "--export-interval",
        "250ms",
    ];
    let free = "127.0.0.1:0";
    let mut all = vec!["serve", "--listen", free, "--otlp-http", free, "--otlp-grpc", free, "--state"];
    all.push(state.to_str().unwrap());
    all.extend(arguments);
    let child = noted(&all, &library, &state, &log).stdout(Stdio::piped()).spawn().unwrap();
    let engine = Engine::of(child);
    // Length of the log when so many events were acknowledged.
    let mut acknowledged: Vec<(usize, u64)> = Vec::new();
    let client = client();
    for count in 1..=150_u64 {
        let pieces = delta(&[Reading::new("a", "completed", (now() - 1, now()), 1)]);
        assert_eq!(post(&client, &engine.http, &pieces).await.unwrap().partial_success, None);
        acknowledged.push((std::fs::metadata(&log).unwrap().len() as usize, count));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    engine.kill();

    let mut tape = Tape::read("ingest", &state, Disk::default(), &log);
    let copy = folder.path().join("cut");
    let mut exports = 0;
    for cut in 0..cuts(CUTS) {
        let (done, length) = tape.cut(&copy);
        let safe = acknowledged.iter().rfind(|(behind, _)| *behind <= length).map_or(0, |(_, count)| *count);
        for export in std::fs::read_dir(copy.join("exports")).into_iter().flatten() {
            let path = export.unwrap().path();
            if path.extension().is_some_and(|end| end == "gz") {
                exports += 1;
                assert!(records(&path).is_some(), "cut {cut} after {done} deeds: half of {}", path.display());
            }
        }
        let engine = Engine::try_start(&copy, &arguments, crate::process::PATIENCE)
            .unwrap_or_else(|status| panic!("cut {cut} after {done} deeds: did not start: {status:?}"));
        let (_, found) = engine.events("a").await;
        assert!(
            safe <= found && found <= 150,
            "cut {cut} after {done} deeds: {safe} acknowledged, {found} found"
        );
        engine.kill();
    }
    println!("{exports} exports were whole");
}

/// The power fails while a state is opened: it is taken over from an older layout, or a damaged database is replaced by an
/// export, or what a kill has left is read.
#[test]
fn power_cuts_while_opening_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let path = |name: &str| folder.path().join(name);
    let old = unpack("layout-1.tar.gz", &path("old"));
    enlarge(&old, 500);
    let killed = unpack("layout-2.tar.gz", &path("killed"));
    let damaged = unpack("layout-2.tar.gz", &path("damaged"));
    std::fs::create_dir(damaged.join("exports")).unwrap();
    let export = damaged.join("exports/2026-11-25T02-00-00Z.jsonl.gz");
    assert!(backup(&damaged, &export).status.success());
    std::fs::write(damaged.join("sled/conf"), b"not a configuration at all").unwrap();

    for (what, state) in [("migration", old), ("opening", killed), ("recovery", damaged)] {
        let (log, to, copy) = (path(&format!("{what}.log")), path("backup.gz"), path("cut"));
        let before = Disk::of(&state);
        let arguments = ["backup", "--state", state.to_str().unwrap(), "--to", to.to_str().unwrap()];
        let done = noted(&arguments, &library, &state, &log).output().unwrap();
        assert!(done.status.success(), "{what}: {}", complaint(&done));
        let expected = records(&to).unwrap();
        let mut tape = Tape::read(what, &state, before, &log);
        for cut in 0..cuts(12) {
            let (done, _) = tape.cut(&copy);
            let opened = backup(&copy, &to);
            assert!(opened.status.success(), "{what}, cut {cut} after {done} deeds: {}", complaint(&opened));
            assert!(
                records(&to).as_ref() == Some(&expected),
                "{what}, cut {cut} after {done} deeds: {}",
                complaint(&opened)
            );
        }
    }
}

/// The power fails during a restore: nothing opens that is not whole, and the restore can be run again.
#[test]
fn power_cuts_during_a_restore_leave_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let path = |name: &str| folder.path().join(name);
    let (export, expected) = large_export(folder.path(), 200 << 10);
    let (state, log, copy, to) = (path("state"), path("log"), path("cut"), path("check.gz"));
    let arguments = ["restore", "--from", export.to_str().unwrap(), "--state", state.to_str().unwrap()];
    let done = noted(&arguments, &library, &state, &log).output().unwrap();
    assert!(done.status.success(), "{}", complaint(&done));
    let mut tape = Tape::read("restore", &state, Disk::default(), &log);
    let (mut whole, mut refused) = (0, 0);
    for cut in 0..cuts(12) {
        let all = tape.deeds.len();
        // Some after the last, when it was said to be done.
        let (done, _) = if cut < 4 { (all, tape.cut_after(all, &copy)) } else { tape.cut(&copy) };
        let opened = backup(&copy, &to);
        let said = complaint(&opened);
        if opened.status.success() {
            whole += 1;
            assert!(records(&to).as_ref() == Some(&expected), "cut {cut} after {done} deeds: {said}");
            continue;
        }
        assert!(done < all, "what was said to be restored is there: {said}");
        refused += usize::from(said.contains("did not finish"));
        assert!(
            said.contains("did not finish") || said.contains("there is no state"),
            "cut {cut} after {done} deeds: {said}"
        );
        let again = restore(&export, &copy);
        assert!(again.status.success(), "cut {cut} after {done} deeds: {}", complaint(&again));
        assert!(backup(&copy, &to).status.success());
        assert!(records(&to).as_ref() == Some(&expected), "cut {cut} after {done} deeds, restored again");
    }
    println!("restore: {whole} whole, {refused} refused");
}

/// The power fails while a database that got too large is copied and replaced.
#[tokio::test]
async fn power_cuts_while_a_database_is_replaced_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let path = |name: &str| folder.path().join(name);
    let (export, _) = large_export(folder.path(), 200 << 10);
    let (state, log, copy, to) = (path("state"), path("log"), path("cut"), path("check.gz"));
    assert!(restore(&export, &state).status.success());
    wear_out(&state);
    let kept = |records: BTreeMap<String, String>| -> Vec<(String, String)> {
        records.into_iter().filter(|(key, _)| key.starts_with("40")).collect()
    };
    assert!(backup(&state, &to).status.success());
    let expected = kept(records(&to).unwrap());
    let before = Disk::of(&state);
    let slo = write_objective(folder.path(), "a");
    let free = "127.0.0.1:0";
    let mut all = vec!["serve", "--listen", free, "--otlp-http", free, "--otlp-grpc", free, "--state"];
    all.extend([state.to_str().unwrap(), "--slo", slo.to_str().unwrap()]);
    all.extend(["--evaluation-interval", "100ms", "--max-state-size", "16MiB"]);
    let engine = Engine::of(noted(&all, &library, &state, &log).stdout(Stdio::piped()).spawn().unwrap());
    let size = || std::fs::metadata(state.join("sled/db")).map_or(u64::MAX, |about| about.len());
    engine.wait_for("a small database", async |_| (size() < 8 << 20).then_some(())).await;
    engine.kill();
    let mut tape = Tape::read("replacing", &state, before, &log);
    let mut replaced = 0;
    for cut in 0..cuts(6) {
        let (done, _) = tape.cut(&copy);
        replaced += usize::from(copy.join("sled.replaced").exists());
        let opened = backup(&copy, &to);
        let said = complaint(&opened);
        assert!(opened.status.success() && said.is_empty(), "cut {cut} after {done} deeds: {said}");
        assert!(kept(records(&to).unwrap()) == expected, "cut {cut} after {done} deeds");
    }
    println!("replacing: {replaced} cuts left the old database under its other name");
}

/// Has a database take more than 16 MiB for records that are gone.
fn wear_out(state: &Path) {
    let sled = sled::Config::default().path(state.join("sled")).mode(sled::Mode::LowSpace).open().unwrap();
    let key = |number: u32| [b"\x02worn/".as_slice(), &number.to_be_bytes()].concat();
    let mut gone = sled::Batch::default();
    for start in (0..20_000).step_by(1_000) {
        let mut more = sled::Batch::default();
        for number in start..start + 1_000 {
            more.insert(key(number), vec![1; 1_000]);
            gone.remove(key(number));
        }
        sled.apply_batch(more).unwrap();
    }
    sled.apply_batch(gone).unwrap();
    sled.flush().unwrap();
    assert!(sled.size_on_disk().unwrap() > 17 << 20);
}
