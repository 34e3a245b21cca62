//! The file of a key log: its lines as they are appended.
//!
//! Enters: a path. Leaves: lines, to the observer; complaints, to whoever asks. The file may not be there yet, may grow,
//! and may be cut or replaced, after which it is read from its beginning. Its bytes are overwritten after use.

use pqscope_agent_core::MAX_KEY_LOG_LINE;
use pqscope_agent_core::observer::Observer;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Bytes read at once.
const PORTION: usize = 64 * 1024;

/// A key log that is read as it grows.
pub(crate) struct KeyLogFile {
    path: PathBuf,
    /// Device and inode of the file that was read last.
    identity: Option<(u64, u64)>,
    /// How far it was read.
    offset: u64,
    lines: Lines,
    /// Whether the last attempt to read failed, which is told once.
    unreadable: bool,
}

impl KeyLogFile {
    /// A key log at a path where nothing has to be yet.
    pub(crate) fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path, identity: None, offset: 0, lines: Lines::default(), unreadable: false }
    }

    /// Reads the whole file, whose last line may lack its end.
    ///
    /// # Errors
    ///
    /// Where the file cannot be opened or read.
    pub(crate) fn read_all(
        &mut self,
        observer: &mut Observer,
        complain: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        let mut file = File::open(&self.path)?;
        self.read_on(&mut file, observer, complain)?;
        self.lines.finish(&mut taker(&self.path, observer, complain));
        Ok(())
    }

    #[cfg(any(test, feature = "live"))]
    /// Reads what was appended since the last call. Costs one look at the file's size where nothing was.
    pub(crate) fn refresh(&mut self, observer: &mut Observer, complain: &mut dyn FnMut(&str)) {
        let outcome = self.read_appended(observer, complain);
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                if !self.unreadable {
                    complain(&format!(
                        "cannot read the key log {}: {error}; it is tried again",
                        self.path.display()
                    ));
                }
                self.unreadable = true;
            }
            _ => self.unreadable = false,
        }
    }

    #[cfg(any(test, feature = "live"))]
    fn read_appended(&mut self, observer: &mut Observer, complain: &mut dyn FnMut(&str)) -> io::Result<()> {
        let identity = |file: &Metadata| (file.dev(), file.ino());
        let metadata = std::fs::metadata(&self.path)?;
        if self.identity != Some(identity(&metadata)) || metadata.len() < self.offset {
            self.begin_anew();
        } else if metadata.len() == self.offset {
            return Ok(());
        }
        let mut file = File::open(&self.path)?;
        self.identity = Some(identity(&file.metadata()?));
        file.seek(SeekFrom::Start(self.offset))?;
        self.read_on(&mut file, observer, complain)
    }

    #[cfg(any(test, feature = "live"))]
    fn begin_anew(&mut self) {
        self.offset = 0;
        self.lines.begin_anew();
    }

    fn read_on(
        &mut self,
        file: &mut File,
        observer: &mut Observer,
        complain: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        let mut portion = Zeroizing::new(vec![0; PORTION]);
        loop {
            let count = match file.read(&mut portion) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            self.offset += count as u64;
            let read = portion.get(..count).unwrap_or_default();
            self.lines.push(read, &mut taker(&self.path, observer, complain));
        }
    }
}

/// What is done with a line: the observer takes it, and the first bad one is told.
fn taker<'a>(
    path: &'a Path,
    observer: &'a mut Observer,
    complain: &'a mut dyn FnMut(&str),
) -> impl FnMut(u64, &[u8]) + 'a {
    move |number, line| {
        let taken = match std::str::from_utf8(line) {
            Ok(line) => observer.add_key_log_line(line),
            // A comment may be in any encoding.
            Err(_) if line.starts_with(b"#") => Ok(()),
            Err(_) => observer.add_key_log_line("\u{fffd}"),
        };
        if let Err(error) = taken
            && observer.health().key_log.bad_lines == 1
        {
            complain(&format!(
                "key log {}:{number}: {error}; further bad lines are only counted",
                path.display()
            ));
        }
    }
}

/// Cuts bytes into lines.
struct Lines {
    /// The begun line. It never grows beyond its room, so that no copy of it stays behind.
    begun: Zeroizing<Vec<u8>>,
    /// Number of the begun line, from 1.
    number: u64,
}

impl Default for Lines {
    fn default() -> Self {
        Self { begun: Zeroizing::new(Vec::with_capacity(MAX_KEY_LOG_LINE + 1)), number: 1 }
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8], take: &mut dyn FnMut(u64, &[u8])) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, ends) = match piece.split_last() {
                Some((b'\n', content)) => (content, true),
                _ => (piece, false),
            };
            // One byte more than is allowed is enough to see that a line is too long.
            let room = (MAX_KEY_LOG_LINE + 1).saturating_sub(self.begun.len()).min(content.len());
            self.begun.extend_from_slice(content.get(..room).unwrap_or_default());
            if ends {
                self.finish(take);
            }
        }
    }

    fn finish(&mut self, take: &mut dyn FnMut(u64, &[u8])) {
        take(self.number, &self.begun);
        self.begun.clear();
        self.number += 1;
    }

    #[cfg(any(test, feature = "live"))]
    fn begin_anew(&mut self) {
        self.begun.clear();
        self.number = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pqscope_agent_core::observer::Settings;
    use std::fs::{OpenOptions, rename, write};
    use std::io::Write;

    const LABELS: [&str; 2] = ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"];

    fn line(number: u8) -> String {
        LABELS
            .map(|label| format!("{label} {} {}\n", format!("{number:02x}").repeat(32), "ab".repeat(32)))
            .concat()
    }

    struct Watch {
        file: KeyLogFile,
        observer: Observer,
        said: Vec<String>,
    }

    impl Watch {
        fn new(path: &Path) -> Self {
            let observer = Observer::new(Settings { key_log: true, ..Settings::default() });
            Self { file: KeyLogFile::new(path), observer, said: Vec::new() }
        }

        /// Connections known, bad lines.
        fn refresh(&mut self) -> (usize, u64) {
            self.file.refresh(&mut self.observer, &mut |text| self.said.push(text.to_owned()));
            let counts = self.observer.health().key_log;
            (counts.connections, counts.bad_lines)
        }
    }

    #[test]
    fn a_file_is_read_as_it_comes_and_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let mut watch = Watch::new(&path);
        assert_eq!(watch.refresh(), (0, 0));
        write(&path, line(1) + &line(2)[..100]).unwrap();
        assert_eq!(watch.refresh(), (1, 0));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&line(2).as_bytes()[100..]).unwrap();
        assert_eq!(watch.refresh(), (2, 0));
        assert_eq!(watch.refresh(), (2, 0));
        assert_eq!(watch.said, [""; 0]);
    }

    #[test]
    fn a_file_that_is_cut_or_replaced_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let mut watch = Watch::new(&path);
        write(&path, line(1) + &line(2) + "begun").unwrap();
        assert_eq!(watch.refresh(), (2, 0));
        write(&path, line(3)).unwrap();
        assert_eq!(watch.refresh(), (3, 0));
        let other = folder.path().join("other");
        write(&other, line(4) + &line(5)).unwrap();
        rename(&other, &path).unwrap();
        assert_eq!(watch.refresh(), (5, 0));
    }

    #[test]
    fn the_first_bad_line_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let mut watch = Watch::new(&path);
        write(&path, line(1) + "# note\nnonsense\n" + &"x".repeat(5000) + "\n").unwrap();
        assert_eq!(watch.refresh(), (1, 2));
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"# caf\xe9\n\xff\xfe\n").unwrap();
        file.write_all(line(2).as_bytes()).unwrap();
        assert_eq!(watch.refresh(), (2, 3));
        let [said] = watch.said.as_slice() else { panic!("{:?}", watch.said) };
        assert!(said.starts_with(&format!("key log {}:4: a line is", path.display())), "{said}");
        assert!(said.ends_with("further bad lines are only counted"), "{said}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_once_and_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        std::fs::create_dir(&path).unwrap();
        let mut watch = Watch::new(&path);
        watch.refresh();
        watch.refresh();
        assert_eq!(watch.said.len(), 1, "{:?}", watch.said);
        std::fs::remove_dir(&path).unwrap();
        write(&path, line(1)).unwrap();
        assert_eq!(watch.refresh(), (1, 0));
    }
}
