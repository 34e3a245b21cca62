//! Observations as JSON lines in a file that is rotated by size.

use crate::report;
use pqscope_agent_core::observation::Observation;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Size at which a file is rotated.
const MAX_BYTES: u64 = 64 << 20;

/// Rotated files that are kept beside the current one: `PATH.1` is the latest.
const KEPT: u32 = 4;

/// Writes records.
pub(crate) struct Records {
    path: PathBuf,
    out: BufWriter<Counted>,
}

struct Counted {
    file: File,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn open(path: &Path) -> io::Result<BufWriter<Counted>> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok(BufWriter::new(Counted { file, bytes }))
}

impl Records {
    /// Opens a file and appends to what it holds.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), out: open(path)? })
    }

    /// Writes one record.
    pub(crate) fn write(&mut self, observation: &Observation) -> io::Result<()> {
        report::write_record(&mut self.out, observation)?;
        if self.out.get_ref().bytes >= MAX_BYTES {
            self.rotate()?;
        }
        Ok(())
    }

    /// Makes what was written visible to readers.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.out.flush()?;
        let numbered = |number: u32| PathBuf::from(format!("{}.{number}", self.path.display()));
        for number in (1..KEPT).rev() {
            let from = numbered(number);
            if from.exists() {
                std::fs::rename(from, numbered(number + 1))?;
            }
        }
        std::fs::rename(&self.path, numbered(1))?;
        self.out = open(&self.path)?;
        Ok(())
    }
}
