//! What can go wrong with the state folder, in words that name it.

use std::io;
use std::path::{Path, PathBuf};

/// A fault of the state folder or of the database in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// Another process holds the folder.
    #[error(
        "the state folder {} is in use by {holder}; stop it, or give this one a folder of its own with --state",
        folder.display()
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// Who holds it, as the holder wrote.
        holder: String,
    },
    /// The folder cannot be created or written.
    #[error(
        "the state folder {} cannot be written: {source}; make it writable for this user, or choose another with --state",
        folder.display()
    )]
    NotWritable {
        /// The folder.
        folder: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// No room is left; nothing of the commit was acknowledged.
    #[error("the disk that holds the state folder {} is full; free some space, the engine then goes on by itself", folder.display())]
    DiskFull {
        /// The folder.
        folder: PathBuf,
    },
    /// The database is damaged beyond opening.
    #[error("the database in {} is damaged: {detail}", folder.display())]
    Damaged {
        /// The folder.
        folder: PathBuf,
        /// What the database said.
        detail: String,
    },
    /// The folder was written by a newer program.
    #[error(
        "the state folder {} has layout {found}, this program knows up to {known}; use the newer program, or another folder with --state",
        folder.display()
    )]
    NewerLayout {
        /// The folder.
        folder: PathBuf,
        /// Layout of the folder.
        found: u32,
        /// Newest layout that this program reads.
        known: u32,
    },
    /// A restore into the folder was cut short.
    #[error(
        "a restore into the state folder {} did not finish; run `pqscope-slo restore` again, or remove the folder to begin without a state",
        folder.display()
    )]
    UnfinishedRestore {
        /// The folder.
        folder: PathBuf,
    },
    /// Any other fault.
    #[error("the state folder {} failed: {detail}", folder.display())]
    Failed {
        /// The folder.
        folder: PathBuf,
        /// What was said.
        detail: String,
    },
}

impl StoreError {
    /// Sorts an operating system error into the faults that people can act on.
    pub(super) fn from_io(folder: &Path, source: io::Error) -> Self {
        let folder = folder.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { folder },
            io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::NotFound
            | io::ErrorKind::AlreadyExists => Self::NotWritable { folder, source },
            _ => Self::Failed { folder, detail: source.to_string() },
        }
    }
}
