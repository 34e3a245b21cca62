//! The power fails at any moment: what was acknowledged is there, whatever became of writes that nobody waited for.
//!
//! A library between the engine and the kernel notes writes, truncations, renames and syncs of the state folder. From
//! that the folder is built as it may look after a cut: what was synced before is there; of the rest any part, in any
//! order. Names follow ext4: a sync of any file keeps the renames and removals before it.

use crate::otlp::{Reading, client, delta, now, post};
use crate::process::{Engine, command, write_objective};
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
                if let Some(content) = names.remove(from) {
                    names.insert(to.clone(), content);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

/// What the disk has and what the kernel still holds.
#[derive(Default)]
struct Disk {
    contents: Vec<Content>,
    files: BTreeMap<u32, usize>,
    /// As the process sees them.
    names: BTreeMap<PathBuf, usize>,
    safe_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Naming>,
}

impl Disk {
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
                for naming in self.pending_names.drain(..) {
                    naming.apply(&mut self.safe_names);
                }
            }
            Deed::Rename(from, to) => self.name(Naming::Rename(from.clone(), to.clone())),
            Deed::Remove(path) => self.name(Naming::Remove(path.clone())),
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
            std::fs::write(path, bytes).unwrap();
        }
        std::fs::create_dir_all(to.join("sled/blobs")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = library(folder.path()) else { return };
    let slo = write_objective(&folder.path().join("slos"), "a");
    let (state, log) = (folder.path().join("state"), folder.path().join("log"));
    let arguments =
        ["--slo", slo.to_str().unwrap(), "--evaluation-interval", "100ms", "--checkpoint-interval", "200ms"];
    let free = "127.0.0.1:0";
    let mut all = vec!["serve", "--listen", free, "--otlp-http", free, "--otlp-grpc", free, "--state"];
    all.push(state.to_str().unwrap());
    all.extend(arguments);
    let child = command(&all)
        .env("LD_PRELOAD", &library)
        .env("PQSCOPE_POWER_FOLDER", &state)
        .env("PQSCOPE_POWER_LOG", &log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
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

    let log = std::fs::read(log).unwrap();
    let deeds = deeds(&log);
    let seed = std::env::var("PQSCOPE_SEED").map_or_else(|_| now(), |seed| seed.parse().unwrap());
    println!("PQSCOPE_SEED={seed}: {} deeds", deeds.len());
    let mut chance = fastrand::Rng::with_seed(seed);
    let cuts = std::env::var("PQSCOPE_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    for cut in 0..cuts {
        let last = chance.usize(0..deeds.len());
        let mut disk = Disk::default();
        deeds[..=last].iter().for_each(|(_, deed)| disk.take(deed));
        let length = deeds[last].0;
        let safe = acknowledged.iter().rfind(|(behind, _)| *behind <= length).map_or(0, |(_, count)| *count);
        let copy = folder.path().join(format!("cut-{cut}"));
        disk.fail(&state, &copy, &mut chance);
        let engine = Engine::try_start(&copy, &arguments, crate::process::PATIENCE)
            .unwrap_or_else(|status| panic!("cut {cut} after deed {last}: did not start: {status:?}"));
        let (_, found) = engine.events("a").await;
        assert!(
            safe <= found && found <= 150,
            "cut {cut} after deed {last}: {safe} acknowledged, {found} found"
        );
        engine.kill();
        std::fs::remove_dir_all(copy).unwrap();
    }
}
