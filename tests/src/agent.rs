//! Asking the agent what it sees in capture files.

use crate::binary::{self, AGENT};
use crate::records;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// The observation records of capture files, each read as a capture of its own.
///
/// # Panics
/// When the agent cannot be started, ends with a status other than 0 (all read), 1 (nothing could be read) and 3 (read in
/// part), or writes something else than JSON lines: none of this may happen, whatever the files hold.
pub fn read(files: &[PathBuf]) -> Vec<Value> {
    let arguments = ["read", "--format=jsonl", "--"].iter().map(OsStr::new);
    let output = Command::new(binary::path(AGENT))
        .args(arguments.chain(files.iter().map(|file| file.as_os_str())))
        .output()
        .expect("the agent starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    let first = files.first().map(|file| file.display().to_string()).unwrap_or_default();
    assert!(
        matches!(output.status.code(), Some(0 | 1 | 3)),
        "the agent ended with {} on {} files, the first being {first}:\n{errors}",
        output.status,
        files.len()
    );
    records::parse(String::from_utf8_lossy(&output.stdout).lines())
}
