//! The state as a file of its own: a compressed list of everything, one line of JSON each, that is read back whole or not
//! at all.
//!
//! The first line is a header, then comes one line per record, then a line with their number and the SHA-256 of all
//! lines before it. A record is its key in hexadecimal and either its JSON or, for what is no JSON, its bytes in
//! hexadecimal; so a table that is added later is in the file without a word here. `docs/state.md` has an example.

use super::database::{Change, Database};
use super::{Store, StoreError, keys, record};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use pqscope_slo_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Version of the lines.
const VERSION: u32 = 1;
/// Exports that are kept.
const MOST_EXPORTS: usize = 7;
const EXPORTS_FOLDER: &str = "exports";
const PARTIAL: &str = "partial";
const SUFFIX: &str = ".jsonl.gz";
/// Records in one commit while they are read back.
const COMMIT_RECORDS: usize = 2_000;
const LONGEST_LINE_BYTES: u64 = 16 << 20;

/// Why an export cannot be written or read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It is no export, or not all of one.
    #[error("{} is not a whole export: {detail}; nothing was restored, try an older one", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// It would be lost.
    #[error("the folder {} is not empty; restore into a new one, or move what is there out of the way", folder.display())]
    NotEmpty {
        /// The folder.
        folder: PathBuf,
    },
    /// The state.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
struct Header {
    pqscope_state_export: u32,
    layout: u32,
    at: Timestamp,
    commits: u64,
}

#[derive(Serialize, Deserialize)]
struct Line {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Box<serde_json::value::RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Trailer {
    records: u64,
    sha256: String,
}

/// All records at one moment.
pub(crate) struct Snapshot {
    header: Header,
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Store {
    /// All records as of the last commit. They are held in memory: about as much as is live on disk.
    pub(crate) fn snapshot(&self, now: Timestamp) -> Result<Snapshot, StoreError> {
        let mut pairs = Vec::new();
        if let Some(database) = &self.database {
            for pair in database.scan(&[]) {
                let (key, value) = pair?;
                if key != keys::POSITION {
                    pairs.push((key, value));
                }
            }
        }
        let header = Header {
            pqscope_state_export: VERSION,
            layout: super::LAYOUT,
            at: now,
            commits: self.position.sequence,
        };
        Ok(Snapshot { header, pairs })
    }

    /// When the latest export of this state was written.
    pub(crate) fn last_export(&self) -> Option<Timestamp> {
        let latest = exports_in(&self.exports_folder()).pop()?;
        let written = std::fs::metadata(latest).and_then(|about| about.modified()).ok()?;
        Some(Timestamp::EPOCH.after(written.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?))
    }

    /// Where the nightly exports of this state lie.
    pub(crate) fn exports_folder(&self) -> PathBuf {
        self.folder.join(EXPORTS_FOLDER)
    }
}

impl Snapshot {
    /// Writes the export; the file is there whole or not at all.
    pub(crate) fn write(&self, path: &Path) -> Result<(), ExportError> {
        let fault = |source| ExportError::File { path: path.to_owned(), source };
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(PARTIAL);
        let partial = PathBuf::from(name);
        let written = self.write_to(&partial).and_then(|()| std::fs::rename(&partial, path)).and_then(|()| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        });
        if written.is_err() {
            let _ = std::fs::remove_file(&partial);
        }
        written.map_err(fault)
    }

    /// Writes the export under the name of its time, and removes the oldest beyond the number that is kept.
    pub(crate) fn write_into(&self, folder: &Path) -> Result<PathBuf, ExportError> {
        let fault = |source| ExportError::File { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(fault)?;
        // Nobody but us writes here, so these are of processes that were killed.
        for left in files_in(folder, &format!("{SUFFIX}.{PARTIAL}")) {
            std::fs::remove_file(left).map_err(fault)?;
        }
        let path = folder.join(format!("{}{SUFFIX}", self.header.at.to_string().replace(':', "-")));
        self.write(&path)?;
        let exports = exports_in(folder);
        for old in exports.iter().take(exports.len().saturating_sub(MOST_EXPORTS)) {
            std::fs::remove_file(old).map_err(fault)?;
        }
        Ok(path)
    }

    fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut out =
            Lines { out: GzEncoder::new(File::create(path)?, Compression::fast()), hash: Sha256::new() };
        out.put(&self.header)?;
        for (key, value) in &self.pairs {
            let json = value.split_first().filter(|(encoding, _)| **encoding == record::JSON);
            let json = json.and_then(|(_, text)| serde_json::from_slice(text).ok());
            let bytes = if json.is_none() { Some(hexadecimal(value)) } else { None };
            out.put(&Line { key: hexadecimal(key), json, bytes })?;
        }
        let sha256 = hexadecimal(&out.hash.clone().finalize());
        out.put(&Trailer { records: self.pairs.len() as u64, sha256 })?;
        out.out.finish()?.sync_all()
    }
}

struct Lines {
    out: GzEncoder<File>,
    hash: Sha256,
}

impl Lines {
    fn put<T: Serialize>(&mut self, line: &T) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.hash.update(&text);
        self.out.write_all(&text)
    }
}

/// The exports in a folder, oldest first.
fn exports_in(folder: &Path) -> Vec<PathBuf> {
    files_in(folder, SUFFIX)
}

/// The files in a folder whose names end so, in the order of their names.
fn files_in(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(end)).collect();
    files.sort();
    files
}

/// Puts the latest whole export of a state where its database was; the export, if there was one.
pub(super) fn restore_latest(state: &Path) -> Result<Option<PathBuf>, StoreError> {
    for export in exports_in(&state.join(EXPORTS_FOLDER)).into_iter().rev() {
        let restored = read(&export, &mut |_, _| Ok(())).and_then(|_| restore_database(&export, state));
        match restored {
            Ok(()) => return Ok(Some(export)),
            Err(ExportError::Store(error)) => return Err(error),
            Err(error) => tracing::error!("{error}"),
        }
    }
    Ok(None)
}

/// Makes a state of an export. One that was cut short is begun again.
pub(crate) fn restore(export: &Path, state: &Path) -> Result<u64, ExportError> {
    let check = || match holds_only(state, &[super::lock::FILE_NAME, super::RESTORING_FOLDER]) {
        true => Ok(()),
        false => Err(ExportError::NotEmpty { folder: state.to_owned() }),
    };
    check()?;
    let records = read(export, &mut |_, _| Ok(()))?;
    super::create_folder(state)?;
    let _lock = super::FolderLock::take(state)?;
    check()?;
    restore_database(export, state)?;
    Ok(records)
}

/// Whether a folder has a state in it, or what a restore has left that was cut short.
pub(crate) fn is_state(folder: &Path) -> bool {
    !holds_only(folder, &[super::lock::FILE_NAME])
}

/// Whether a restore into a new folder was cut short. That of a damaged database leaves a mark besides.
pub(super) fn is_unfinished_restore(state: &Path) -> bool {
    state.join(super::RESTORING_FOLDER).exists()
        && holds_only(state, &[super::lock::FILE_NAME, super::RESTORING_FOLDER])
}

fn holds_only(folder: &Path, names: &[&str]) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).all(|name| names.iter().any(|known| name == *known))
}

/// Builds the database beside its place, then moves it there: killed midway, nothing is where it was not. The export was
/// read to its end before: it is whole.
fn restore_database(export: &Path, state: &Path) -> Result<(), ExportError> {
    let fault = |source| ExportError::File { path: state.to_owned(), source };
    let (building, place) = (state.join(super::RESTORING_FOLDER), state.join(super::DATABASE_FOLDER));
    remove_folder(&building).map_err(fault)?;
    let database = Database::open(&building)?;
    let mut changes = Vec::new();
    read(export, &mut |key, value| {
        changes.push(Change::Put(key, value));
        if changes.len() >= COMMIT_RECORDS {
            database.apply(&std::mem::take(&mut changes))?;
        }
        Ok(())
    })?;
    database.apply(&changes)?;
    database.close()?;
    std::fs::rename(&building, &place).map_err(fault)?;
    File::open(state).and_then(|folder| folder.sync_all()).map_err(fault)
}

pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Hands over every record of an export. What was handed over counts only when this ends well.
fn read(
    path: &Path,
    take: &mut dyn FnMut(Vec<u8>, Vec<u8>) -> Result<(), StoreError>,
) -> Result<u64, ExportError> {
    let broken = |detail: &str| ExportError::Broken { path: path.to_owned(), detail: detail.to_owned() };
    let file = File::open(path).map_err(|source| ExportError::File { path: path.to_owned(), source })?;
    let mut lines = BufReader::new(GzDecoder::new(BufReader::new(file)));
    let mut hash = Sha256::new();
    let mut next = || {
        let mut line = Vec::new();
        let read = (&mut lines).take(LONGEST_LINE_BYTES).read_until(b'\n', &mut line);
        if read.is_err() || line.last() != Some(&b'\n') {
            return Err(broken("it ends early"));
        }
        Ok(line)
    };
    let line = next()?;
    hash.update(&line);
    let header: Header = serde_json::from_slice(&line).map_err(|_| broken("it has no header"))?;
    if header.pqscope_state_export > VERSION || header.layout > super::LAYOUT {
        return Err(broken("a newer version wrote it"));
    }
    let mut records = 0;
    loop {
        let line = next()?;
        if let Ok(trailer) = serde_json::from_slice::<Trailer>(&line) {
            let is_whole = trailer.records == records && trailer.sha256 == hexadecimal(&hash.finalize());
            if !is_whole {
                return Err(broken("its checksum is wrong"));
            }
            let mut behind = Vec::new();
            let ends = (&mut lines).take(1).read_to_end(&mut behind).is_ok_and(|read| read == 0);
            return if ends { Ok(records) } else { Err(broken("it ends early")) };
        }
        hash.update(&line);
        let line: Line = serde_json::from_slice(&line).map_err(|_| broken("a line cannot be read"))?;
        let key = from_hexadecimal(&line.key).ok_or_else(|| broken("a key cannot be read"))?;
        let value = match (line.json, line.bytes) {
            (Some(json), None) => [&[record::JSON][..], json.get().as_bytes()].concat(),
            (None, Some(bytes)) => {
                from_hexadecimal(&bytes).ok_or_else(|| broken("a value cannot be read"))?
            }
            _ => return Err(broken("a record has no value")),
        };
        take(key, value)?;
        records += 1;
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| DIGITS.get(usize::from(half)).map_or('0', |digit| char::from(*digit));
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Batch, Finding, Table, Urgency};

    fn filled(folder: &Path) -> Store {
        let (mut store, _) = Store::open(folder).unwrap();
        let mut batch = Batch::default();
        (0..3_000_u32)
            .for_each(|key| batch.put(Table::Transition, &key.to_be_bytes(), &format!("text {key}")));
        batch.put_bytes(Table::Block, b"\0\0\0\x01\0\0\0\0\x02", vec![1, 0, 255, 7]);
        batch.put(Table::Notification, b"n", &"waiting");
        store.commit(batch, Urgency::Essential).unwrap();
        store
    }

    fn pairs(store: &Store) -> Vec<(Vec<u8>, Vec<u8>)> {
        store.snapshot(Timestamp::EPOCH).unwrap().pairs
    }

    #[test]
    fn what_was_exported_comes_back_and_a_cut_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(&folder.path().join("a"));
        let file = folder.path().join("export.jsonl.gz");
        store.snapshot(Timestamp::from_seconds(1_800_000_000)).unwrap().write(&file).unwrap();
        let copy = folder.path().join("b");
        assert_eq!(restore(&file, &copy).unwrap(), pairs(&store).len() as u64);
        let (restored, findings) = Store::open(&copy).unwrap();
        assert_eq!(findings, []);
        assert_eq!(pairs(&restored), pairs(&store));
        assert!(matches!(restore(&file, &copy), Err(ExportError::NotEmpty { .. })));

        let bytes = std::fs::read(&file).unwrap();
        for cut in [0, 5, bytes.len() / 2, bytes.len() - 9, bytes.len() - 1] {
            std::fs::write(&file, &bytes[..cut]).unwrap();
            let error = restore(&file, &folder.path().join("c"));
            assert!(matches!(error, Err(ExportError::Broken { .. })), "{cut} of {}", bytes.len());
        }
    }

    #[test]
    fn a_damaged_database_is_replaced_by_the_latest_whole_export() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(folder.path());
        let good = store.snapshot(Timestamp::from_seconds(1_800_000_000)).unwrap();
        let export = good.write_into(&store.exports_folder()).unwrap();
        std::fs::write(store.exports_folder().join("9999.jsonl.gz"), b"half").unwrap();
        let before = pairs(&store);
        drop(store);
        std::fs::write(folder.path().join("sled/conf"), b"not a configuration at all").unwrap();
        let (store, findings) = Store::open(folder.path()).unwrap();
        let [Finding::MovedAside { restored, .. }] = findings.as_slice() else { panic!("{findings:?}") };
        assert_eq!(restored.as_ref(), Some(&export));
        assert_eq!(pairs(&store), before);
        drop(store);
        // Killed before it could be noted: said again, as far as it can still be told.
        let (mut store, findings) = Store::open(folder.path()).unwrap();
        assert!(matches!(findings[..], [Finding::RolledBack { .. }]), "{findings:?}");
        store.acknowledge_findings().unwrap();
        drop(store);
        assert_eq!(Store::open(folder.path()).unwrap().1, []);
    }

    #[test]
    fn only_so_many_exports_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = filled(&folder.path().join("a"));
        for day in 0..9 {
            let now = Timestamp::from_seconds(1_800_000_000 + day * 86_400);
            store.snapshot(now).unwrap().write_into(&store.exports_folder()).unwrap();
        }
        let exports = exports_in(&store.exports_folder());
        assert_eq!(exports.len(), MOST_EXPORTS);
        assert!(exports[0].to_string_lossy().contains("2027-01-17"), "{exports:?}");
    }
}
