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
            return self.read_on();
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
mod tests {
    use super::*;
    use std::io::Write as _;
    use tempfile::TempDir;

    struct Log {
        folder: TempDir,
    }

    impl Log {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("log")
        }

        fn append(&self, bytes: impl AsRef<[u8]>) {
            let file = File::options().append(true).create(true).open(self.path());
            file.unwrap().write_all(bytes.as_ref()).unwrap();
        }

        fn rotate(&self) {
            std::fs::rename(self.path(), self.folder.path().join("log.1")).unwrap();
        }

        fn tail(&self) -> Tail {
            Tail::new(self.path(), None)
        }
    }

    /// Everything that is there, as texts; odd lines in angle brackets.
    fn drain(tail: &mut Tail) -> Vec<String> {
        let mut texts = Vec::new();
        // Twice nothing is the end: a file that was replaced is looked at once more.
        let mut quiet = 0;
        while quiet < 3 {
            match tail.read().unwrap() {
                Some(lines) => {
                    quiet = if lines.lines.is_empty() && !lines.more { quiet + 1 } else { 0 };
                    assert_eq!(lines.lines.len(), lines.lines.len().min(MOST_LINES));
                    texts.extend(lines.lines.iter().map(|line| match line {
                        Line::Text(text, _) => text.clone(),
                        Line::NotUtf8 => "<not utf-8>".to_owned(),
                        Line::TooLong => "<too long>".to_owned(),
                    }));
                    tail.advance(lines.then);
                }
                None => quiet += 1,
            }
        }
        texts
    }

    #[test]
    fn a_line_counts_once_it_is_whole() {
        let log = Log::new();
        let mut tail = log.tail();
        assert_eq!(drain(&mut tail), Vec::<String>::new(), "it may come later");
        log.append("a\nb");
        assert_eq!(drain(&mut tail), ["a"]);
        log.append("c\n\nd\r\n");
        assert_eq!(drain(&mut tail), ["bc", "", "d\r"]);
    }

    #[test]
    fn reading_without_advancing_gives_the_same() {
        let log = Log::new();
        log.append("a\nb\n");
        let mut tail = log.tail();
        let first = tail.read().unwrap();
        assert_eq!(tail.read().unwrap(), first);
        assert_eq!(drain(&mut tail), ["a", "b"]);
    }

    #[test]
    fn rotation_by_renaming_loses_and_doubles_nothing() {
        let log = Log::new();
        log.append("a\n");
        let mut tail = log.tail();
        assert_eq!(drain(&mut tail), ["a"]);
        log.append("b\nlast words");
        log.rotate();
        assert_eq!(drain(&mut tail), ["b"], "no successor yet: it may still grow");
        log.append("c\n");
        assert_eq!(drain(&mut tail), ["last words", "c"]);
    }

    #[test]
    fn rotation_while_we_were_down_is_followed() {
        let log = Log::new();
        log.append("a\n");
        let mut tail = log.tail();
        drain(&mut tail);
        let offset = tail.offset.clone();
        log.append("b\n");
        log.rotate();
        log.append("c\n");
        assert_eq!(drain(&mut Tail::new(log.path(), offset.clone())), ["b", "c"]);
        std::fs::remove_file(log.folder.path().join("log.1")).unwrap();
        assert_eq!(drain(&mut Tail::new(log.path(), offset)), ["c"], "what is gone is gone");
    }

    #[test]
    fn a_file_that_was_cut_is_read_anew() {
        let log = Log::new();
        log.append("one\ntwo\n");
        let mut tail = log.tail();
        assert_eq!(drain(&mut tail), ["one", "two"]);
        File::create(log.path()).unwrap();
        log.append("3\n");
        assert_eq!(drain(&mut tail), ["3"], "shorter than before");
        File::create(log.path()).unwrap();
        log.append("longer than what was there before\nand more\n");
        assert_eq!(
            drain(&mut tail),
            ["longer than what was there before", "and more"],
            "known by its first bytes"
        );
        let offset = tail.offset.clone();
        File::create(log.path()).unwrap();
        log.append("as long as what was there before.\nor longer, while nobody looked\n");
        assert_eq!(drain(&mut Tail::new(log.path(), offset)).len(), 2);
    }

    #[test]
    fn lines_of_two_files_never_have_the_same_name() {
        let log = Log::new();
        let mut tail = log.tail();
        let mut names = std::collections::BTreeSet::new();
        for _ in 0..3 {
            log.append("same\n");
            let lines = tail.read().unwrap().unwrap();
            let [Line::Text(_, name)] = lines.lines.as_slice() else { panic!("{lines:?}") };
            assert!(names.insert(name.clone()), "{name}");
            tail.advance(lines.then);
            // The new file may well get the inode of the old one.
            File::create(log.path()).unwrap();
            assert_eq!(tail.read().unwrap(), None);
        }
    }

    #[test]
    fn rubbish_is_passed_over_and_told() {
        let log = Log::new();
        log.append(b"\xff\xfe\x00\x01\nok\n");
        log.append(vec![b'x'; LONGEST_LINE_BYTES + 1]);
        log.append("\n");
        log.append(vec![b'y'; 3 * CHUNK_BYTES]);
        let mut tail = log.tail();
        assert_eq!(drain(&mut tail), ["<not utf-8>", "ok", "<too long>"]);
        let offset = tail.offset.clone();
        log.append("zzz\nfine\n");
        assert_eq!(
            drain(&mut Tail::new(log.path(), offset)),
            ["<too long>", "fine"],
            "also across a restart"
        );
        log.append(vec![0; 100]);
        assert_eq!(drain(&mut tail), ["<too long>", "fine"]);
    }

    #[test]
    fn a_folder_or_a_pipe_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut tail = Tail::new(folder.path().to_owned(), None);
        assert!(tail.read().unwrap_err().to_string().contains("plain file"));
    }
}
