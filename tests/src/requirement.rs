//! What a test needs from the machine. A test that cannot run says so on standard error and passes; `scripts/test` looks
//! at the same conditions and lists what was left out.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Bit of CAP_NET_RAW in the capability masks of `/proc/self/status` (linux/capability.h).
const CAP_NET_RAW_BIT: u32 = 13;

/// Whether programs started by this one may capture packets.
pub fn may_capture() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> CAP_NET_RAW_BIT & 1 == 1)
}

/// Whether the test may capture on the loopback interface; says why not.
pub fn capture(test: &str) -> bool {
    let may = may_capture();
    if !may {
        skip(test, "capturing packets is not permitted here (CAP_NET_RAW is missing); run as root");
    }
    may
}

/// A program found in the search path; says so when it is not there.
pub fn program(test: &str, name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let tools = crate::binary::repository().join("target/tools/bin");
    let found = std::env::split_paths(&path)
        .chain([tools])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file());
    if found.is_none() {
        skip(test, &format!("`{name}` is not installed (package {package})"));
    }
    found
}

/// The folder that `PQSCOPE_CORPUS` names; says so when it names none.
///
/// # Panics
/// When it names something that is no folder: a wrong setting must not look like a passed test.
pub fn corpus(test: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("PQSCOPE_CORPUS").filter(|value| !value.is_empty()) else {
        skip(test, "PQSCOPE_CORPUS does not name a folder with captures");
        return None;
    };
    let folder = PathBuf::from(folder);
    assert!(Path::new(&folder).is_dir(), "PQSCOPE_CORPUS is not a folder: {}", folder.display());
    Some(folder)
}

/// Says on standard error that a test is left out, and why.
pub fn skip(test: &str, reason: &str) {
    // Nothing can be done when standard error is closed.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}
