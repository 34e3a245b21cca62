//! The agent as a process.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;

/// The agent, without whatever OTEL_* variables the machine has.
pub(crate) fn agent() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pqscope-agent"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTEL_")) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

/// What a finished agent left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit status; `None` after a signal.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// The lines of standard output as JSON.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Fails unless the agent ended with this status and every word stands in its complaint.
    #[track_caller]
    pub(crate) fn refuses(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, Some(status), "{self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is missing in\n{}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

/// Runs `pqscope-agent` with these arguments and without input.
pub(crate) fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ended {
    agent().args(arguments).stdin(Stdio::null()).output().unwrap().into()
}

/// Runs `pqscope-agent read --format FORMAT FILE...`.
pub(crate) fn read<S: AsRef<OsStr>>(format: &str, files: impl IntoIterator<Item = S>) -> Ended {
    let files: Vec<_> = files.into_iter().map(|file| file.as_ref().to_owned()).collect();
    run(["read", "--format", format].into_iter().map(|word| OsStr::new(word).to_owned()).chain(files))
}

/// Runs the agent with bytes on its standard input.
pub(crate) fn run_with_input(arguments: &[&str], input: &[u8]) -> Ended {
    let mut command = agent();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            // An agent that has seen enough may close its end early.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().unwrap().into()
    })
}
