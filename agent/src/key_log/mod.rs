//! The file of a key log: its lines, to the observer.
//!
//! Enters: a path. Leaves: lines, and complaints about the first bad one. `read` takes the whole file at once, `run`
//! takes what is appended (`growing`). The bytes are overwritten after use.

#[cfg(any(test, feature = "live"))]
pub(crate) mod growing;

use pqscope_agent_core::MAX_KEY_LOG_LINE;
use pqscope_agent_core::observer::Observer;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// Bytes read at once.
const PORTION: usize = 64 * 1024;

/// Reads a whole file, whose last line may lack its end.
///
/// # Errors
///
/// Where the file cannot be opened or read.
pub(crate) fn read_all(
    path: &Path,
    observer: &mut Observer,
    complain: &mut dyn FnMut(&str),
) -> io::Result<()> {
    let mut lines = Lines::default();
    let mut take = taker(path, observer, complain);
    read_portions(&mut File::open(path)?, &mut |bytes| lines.push(bytes, &mut take))?;
    if lines.has_begun() {
        lines.finish(&mut take);
    }
    Ok(())
}

/// Reads a file from where it stands to its end.
fn read_portions(file: &mut File, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut portion = Zeroizing::new(vec![0; PORTION]);
    loop {
        match file.read(&mut portion) {
            Ok(0) => return Ok(()),
            Ok(count) => take(portion.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
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

    fn has_begun(&self) -> bool {
        !self.begun.is_empty()
    }

    #[cfg(any(test, feature = "live"))]
    fn begin_anew(&mut self) {
        self.begun.clear();
        self.number = 1;
    }
}
