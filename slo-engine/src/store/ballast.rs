//! Room kept free for the hour when the disk is full.
//!
//! The database cannot even be opened without some free space. The ballast is a real, allocated file that is given
//! back then, and laid down again once there is room.

use std::fs::{File, remove_file};
use std::path::{Path, PathBuf};

const FILE_NAME: &str = "ballast";
const LARGEST_BYTES: u64 = 32 << 20;
/// The ballast takes at most this share (one in so many) of what is free.
const SHARE_OF_FREE: u64 = 8;

/// Below this much free space, data that its sender still has is refused rather than written.
pub(super) const RESERVE_BYTES: u64 = 4 << 20;
/// Below this much, the database had better not grow any more.
const SCARCE_BYTES: u64 = 32 << 20;

/// The ballast of one state folder.
#[derive(Debug)]
pub(super) struct Ballast {
    folder: PathBuf,
}

impl Ballast {
    /// The ballast in `folder`, laid or not.
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Free bytes of the file system; `None` when it does not say.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        let figures = rustix::fs::statvfs(&self.folder).ok()?;
        Some(figures.f_bavail.saturating_mul(figures.f_frsize))
    }

    /// Whether so little is free that ordinary writes should stop.
    pub(super) fn is_low(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < RESERVE_BYTES)
    }

    /// Whether it will come to that before long.
    pub(super) fn is_getting_low(&self) -> bool {
        self.free_bytes().is_some_and(|free| free < SCARCE_BYTES)
    }

    /// Lays the ballast if it is not there and there is room for it. Failure is no fault: there is then no room.
    pub(super) fn lay(&self) {
        // Killed while it was laid it is there and empty.
        if std::fs::metadata(self.path()).is_ok_and(|about| about.len() > 0) {
            return;
        }
        let Some(free) = self.free_bytes() else { return };
        let size = (free / SHARE_OF_FREE).min(LARGEST_BYTES);
        if free < 2 * RESERVE_BYTES || size == 0 {
            return;
        }
        let laid = File::create(self.path()).and_then(|file| {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
            file.sync_all()
        });
        if laid.is_err() {
            self.release();
        }
    }

    /// Gives the room back; says whether there was any.
    pub(super) fn release(&self) -> bool {
        remove_file(self.path()).is_ok()
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE_NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_is_real_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let ballast = Ballast::in_folder(folder.path());
        ballast.lay();
        let size = std::fs::metadata(ballast.path()).unwrap().len();
        assert!(size > 0 && size <= LARGEST_BYTES);
        assert!(ballast.release());
        assert!(!ballast.release());
        File::create(ballast.path()).unwrap();
        ballast.lay();
        assert_eq!(std::fs::metadata(ballast.path()).unwrap().len(), size);
    }
}
