//! Reading a log while it is written: whole lines leave, with the offset from which to go on.
//!
//! The offset knows its file by device, inode and a fingerprint of the first bytes. Rotation by renaming is followed: the
//! old file is read to its end, then the new one from its beginning; also when it happened while we were down, as long
//! as the old file still lies in the same folder. A file that was cut or written anew (copytruncate) is read from its
//! beginning. A last line without its end waits for it, for as long as the file may still grow.

use pqscope_slo_core::adapter::LONGEST_LINE_BYTES;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes read at a time; more than the longest line.
const CHUNK_BYTES: usize = 1 << 20;
/// Most lines of one batch.
const MOST_LINES: usize = 2_000;
/// Bytes of a fingerprint.
const FINGERPRINT_BYTES: u64 = 256;

/// How far a file has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offset {
    device: u64,
    inode: u64,
    /// Counts the files, and beginnings anew, that the adapter has read: inodes are used again.
    generation: u64,
    /// Bytes that are done with.
    position: u64,
    /// Bytes that the fingerprint covers.
    covered: u64,
    /// The first eight bytes of SHA-256 over them, in hexadecimal digits.
    fingerprint: String,
    /// Whether the position lies within a line that is too long.
    skipping: bool,
}

/// A line, or what stands in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line without its end, and a name for it that no other line of the file will have.
    Text(String, String),
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// Longer than a line may be; its bytes were passed over.
    TooLong,
}

/// Lines that were read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) lines: Vec<Line>,
    /// From where to go on once they are dealt with.
    pub(super) then: Offset,
    /// Whether more may be there already.
    pub(super) more: bool,
}

/// One file, followed.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    file: Option<File>,
    offset: Option<Offset>,
    /// The path led to another file when this one was last read to its end.
    replaced: bool,
}

impl Tail {
    /// Goes on from an offset; without one from the beginning.
    pub(super) const fn new(path: PathBuf, offset: Option<Offset>) -> Self {
        Self { path, file: None, offset, replaced: false }
    }

    /// Notes that everything up to there is dealt with.
    pub(super) fn advance(&mut self, offset: Offset) {
        self.offset = Some(offset);
    }

    /// Lines that came since; `None` when there is nothing to read. Reading again without [advancing](Self::advance)
    /// gives the same.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(super) fn read(&mut self) -> io::Result<Option<Lines>> {
        if self.file.is_none() && !self.open()? {
            return Ok(None);
        }
        let (Some(file), Some(offset)) = (&self.file, &self.offset) else { return Ok(None) };
        let length = file.metadata()?.len();
        if length < offset.position || !is_same(file, offset)? {
            // Cut or written anew: its lines are others now.
            self.offset = Some(begin(file, offset.generation + 1)?);
        }
        self.read_on()
    }

    fn read_on(&mut self) -> io::Result<Option<Lines>> {
        let (Some(file), Some(offset)) = (&self.file, &self.offset) else { return Ok(None) };
        let mut bytes = vec![0; CHUNK_BYTES];
        let count = read_at(file, &mut bytes, offset.position)?;
        bytes.truncate(count);
        let last = self.replaced;
        let mut lines = split(&bytes, offset, last);
        if lines.then.position > offset.position {
            lines.then = fingerprinted(file, lines.then)?;
            return Ok(Some(lines));
        }
        self.end_of_file()
    }

    /// Nothing is left here; looks whether the path leads elsewhere by now.
    fn end_of_file(&mut self) -> io::Result<Option<Lines>> {
        let current = match std::fs::metadata(&self.path) {
            Ok(current) => current,
            // Renamed, and its successor is not there yet: it may still be written to.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(offset) = &self.offset else { return Ok(None) };
        if (current.dev(), current.ino()) == (offset.device, offset.inode) {
            self.replaced = false;
            return Ok(None);
        }
        if !self.replaced {
            // Its writer may have had a last line under way: it is read to the end once more.
            self.replaced = true;
            return Ok(Some(Lines { lines: Vec::new(), then: offset.clone(), more: false }));
        }
        let generation = offset.generation + 1;
        self.replaced = false;
        self.file = None;
        match open_plain(&self.path) {
            Ok(file) => {
                self.offset = Some(begin(&file, generation)?);
                self.file = Some(file);
                self.read_on()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens what the offset speaks of, or else the file at the path; says whether there is one.
    fn open(&mut self) -> io::Result<bool> {
        let file = match open_plain(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(offset) = &self.offset else {
            self.offset = Some(begin(&file, 0)?);
            self.file = Some(file);
            return Ok(true);
        };
        let found = file.metadata()?;
        if is_file_of(&found, offset) && is_same(&file, offset)? {
            self.file = Some(file);
            return Ok(true);
        }
        if let Some(renamed) = find_renamed(&self.path, offset) {
            self.file = Some(renamed);
            return Ok(true);
        }
        self.offset = Some(begin(&file, offset.generation + 1)?);
        self.file = Some(file);
        Ok(true)
    }
}

/// Only plain files: a pipe would hold the thread up.
fn open_plain(path: &Path) -> io::Result<File> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a plain file"))
    }
}

fn begin(file: &File, generation: u64) -> io::Result<Offset> {
    let found = file.metadata()?;
    Ok(Offset { device: found.dev(), inode: found.ino(), generation, ..Offset::default() })
}

fn is_file_of(found: &Metadata, offset: &Offset) -> bool {
    (found.dev(), found.ino()) == (offset.device, offset.inode) && found.len() >= offset.position
}

/// Whether the file begins as it did.
fn is_same(file: &File, offset: &Offset) -> io::Result<bool> {
    Ok(offset.covered == 0 || fingerprint(file, offset.covered)?.as_ref() == Some(&offset.fingerprint))
}

fn fingerprinted(file: &File, mut offset: Offset) -> io::Result<Offset> {
    let covered = offset.position.min(FINGERPRINT_BYTES);
    if covered > offset.covered
        && let Some(fingerprint) = fingerprint(file, covered)?
    {
        offset.covered = covered;
        offset.fingerprint = fingerprint;
    }
    Ok(offset)
}

/// `None` when the file is shorter.
fn fingerprint(file: &File, covered: u64) -> io::Result<Option<String>> {
    let mut bytes = vec![0; usize::try_from(covered).unwrap_or(0)];
    if read_at(file, &mut bytes, 0)? < bytes.len() {
        return Ok(None);
    }
    Ok(Some(Sha256::digest(&bytes).iter().take(8).map(|byte| format!("{byte:02x}")).collect()))
}

/// The file of an offset under another name in the same folder.
fn find_renamed(path: &Path, offset: &Offset) -> Option<File> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        if entry.metadata().is_ok_and(|found| found.is_file() && is_file_of(&found, offset)) {
            let file = open_plain(&entry.path()).ok()?;
            return is_same(&file, offset).ok()?.then_some(file);
        }
    }
    None
}

fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = bytes.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, position + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// Cuts bytes at `offset` into lines. `last` takes a last line without its end, since nothing will be added to it.
fn split(bytes: &[u8], offset: &Offset, last: bool) -> Lines {
    let mut then = offset.clone();
    let mut lines = Vec::new();
    let mut rest = bytes;
    while lines.len() < MOST_LINES && !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (line, used) = match end {
            Some(end) => (rest.get(..end).unwrap_or_default(), end + 1),
            None if last && rest.len() <= LONGEST_LINE_BYTES => (rest, rest.len()),
            None if then.skipping || rest.len() > LONGEST_LINE_BYTES => {
                // Within a line that is too long: its bytes go, the line is told at its end.
                then.position += rest.len() as u64;
                then.skipping = true;
                if last {
                    lines.push(Line::TooLong);
                    then.skipping = false;
                }
                return Lines { lines, then, more: bytes.len() == CHUNK_BYTES };
            }
            None => break,
        };
        lines.push(if then.skipping || line.len() > LONGEST_LINE_BYTES {
            Line::TooLong
        } else {
            match std::str::from_utf8(line) {
                Ok(text) => Line::Text(text.to_owned(), format!("{}@{}", then.generation, then.position)),
                Err(_) => Line::NotUtf8,
            }
        });
        then.skipping = false;
        then.position += used as u64;
        rest = rest.get(used..).unwrap_or_default();
    }
    Lines { more: bytes.len() == CHUNK_BYTES || lines.len() == MOST_LINES, lines, then }
}

#[cfg(test)]
mod tests;
