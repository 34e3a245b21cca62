//! A key log that grows while the agent runs.
//!
//! The file may not be there yet, is read on as it grows, and is read from its beginning once it was cut or replaced.

use super::{Lines, read_portions, taker};
use pqscope_agent_core::observer::Observer;
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A key log that is read as it grows.
pub(crate) struct GrowingKeyLog {
    path: PathBuf,
    /// Device and inode of the file that was read last.
    identity: Option<(u64, u64)>,
    /// How far it was read.
    offset: u64,
    lines: Lines,
    /// Whether the last attempt to read failed, which is told once.
    unreadable: bool,
}

impl GrowingKeyLog {
    /// A key log at a path where nothing has to be yet.
    pub(crate) fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path, identity: None, offset: 0, lines: Lines::default(), unreadable: false }
    }

    /// Reads what was appended since the last call. Costs one look at the file's size where nothing was.
    pub(crate) fn refresh(&mut self, observer: &mut Observer, complain: &mut dyn FnMut(&str)) {
        match self.read_appended(observer, complain) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                if !self.unreadable {
                    let path = self.path.display();
                    complain(&format!("cannot read the key log {path}: {error}; it is tried again"));
                }
                self.unreadable = true;
            }
            _ => self.unreadable = false,
        }
    }

    fn read_appended(&mut self, observer: &mut Observer, complain: &mut dyn FnMut(&str)) -> io::Result<()> {
        let identity = |file: &Metadata| Some((file.dev(), file.ino()));
        let metadata = std::fs::metadata(&self.path)?;
        let is_same = self.identity == identity(&metadata) && metadata.len() >= self.offset;
        if is_same && metadata.len() == self.offset {
            return Ok(());
        }
        let mut file = File::open(&self.path)?;
        // It may have been replaced in between.
        let opened = identity(&file.metadata()?);
        if !is_same || opened != self.identity {
            (self.identity, self.offset) = (opened, 0);
            self.lines.begin_anew();
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let Self { path, offset, lines, .. } = self;
        let mut take = taker(path, observer, complain);
        read_portions(&mut file, &mut |bytes| {
            *offset += bytes.len() as u64;
            lines.push(bytes, &mut take);
        })
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
        file: GrowingKeyLog,
        observer: Observer,
        said: Vec<String>,
    }

    impl Watch {
        fn new(path: &Path) -> Self {
            let observer = Observer::new(Settings { key_log: true, ..Settings::default() });
            Self { file: GrowingKeyLog::new(path), observer, said: Vec::new() }
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
