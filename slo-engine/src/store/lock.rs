//! One process per state folder.
//!
//! The operating system's lock on `lock` is what counts; it goes with the process, however that ends. The text in the
//! file only tells the next one who holds it.

use super::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

pub(super) const FILE_NAME: &str = "lock";

/// Holds the folder until dropped.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the folder, or says who has it.
    pub(super) fn take(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(FILE_NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| StoreError::from_io(folder, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Unreadable holder text must not hide the fact that the folder is taken.
                let _ = (&file).take(256).read_to_string(&mut holder);
                let holder = holder.lines().next().unwrap_or_default().trim();
                return Err(StoreError::Locked {
                    folder: folder.to_owned(),
                    holder: if holder.is_empty() { "another process".to_owned() } else { holder.to_owned() },
                });
            }
            Err(TryLockError::Error(source)) => return Err(StoreError::from_io(folder, source)),
        }
        // A full disk must not keep us from starting: the text is a courtesy, the lock is already ours.
        let _ = write_holder(&mut file);
        Ok(Self { _file: file })
    }
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "pqscope-slo, process {}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_about_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = FolderLock::take(folder.path()).unwrap();
        let error = FolderLock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        FolderLock::take(folder.path()).unwrap();
    }
}
