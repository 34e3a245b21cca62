//! Running programs: their output is read as it comes, they are stopped by SIGINT as a person would, and they never
//! outlive the test.

use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a program may take for what a test waits for, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks at a condition until it gives a value or [`PATIENCE`] is over.
pub fn wait_for<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let looks = PATIENCE.as_millis() / PAUSE.as_millis();
    for _ in 0..looks {
        if let Some(value) = condition() {
            return Some(value);
        }
        thread::sleep(PAUSE);
    }
    None
}

#[derive(Default)]
struct Lines {
    read: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Lines {
    fn push(&self, line: String) {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.changed.notify_all();
    }

    fn all(&self) -> Vec<String> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A program that is running.
pub struct Running {
    name: String,
    child: Child,
    output: Arc<Lines>,
    errors: Arc<Lines>,
    readers: Vec<thread::JoinHandle<()>>,
}

/// What a program left behind.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Lines of its standard output.
    pub output: Vec<String>,
    /// Lines of its standard error.
    pub errors: Vec<String>,
}

impl Running {
    /// Starts a program with these arguments and additional environment variables. Variables of OpenTelemetry in the
    /// environment of the test are not passed on.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
    ) -> Self {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("OTEL_")) {
            command.env_remove(key);
        }
        let mut child = command
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        let (output, errors) = (Arc::new(Lines::default()), Arc::new(Lines::default()));
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(read_lines(pipe, Arc::clone(&output)));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(read_lines(pipe, Arc::clone(&errors)));
        }
        Self { name, child, output, errors, readers }
    }

    /// Waits for a line of standard output that this function accepts.
    ///
    /// # Panics
    /// When the program ends or [`PATIENCE`] is over before such a line.
    pub fn expect_output<T>(&mut self, accept: impl Fn(&str) -> Option<T>) -> T {
        let lines = Arc::clone(&self.output);
        self.expect_line(&lines, accept)
    }

    /// Waits for a line of standard error that this function accepts.
    ///
    /// # Panics
    /// When the program ends or [`PATIENCE`] is over before such a line.
    pub fn expect_error<T>(&mut self, accept: impl Fn(&str) -> Option<T>) -> T {
        let lines = Arc::clone(&self.errors);
        self.expect_line(&lines, accept)
    }

    fn expect_line<T>(&mut self, lines: &Lines, accept: impl Fn(&str) -> Option<T>) -> T {
        let looks = PATIENCE.as_millis() / PAUSE.as_millis();
        for _ in 0..looks {
            let read = lines.read.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = read.iter().find_map(|line| accept(line)) {
                return value;
            }
            drop(lines.changed.wait_timeout(read, PAUSE));
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("{} ended with {status} before it said what was waited for{}", self.name, self.log());
            }
        }
        panic!("{} did not say what was waited for{}", self.name, self.log());
    }

    /// Lines of standard error so far.
    pub fn errors(&self) -> Vec<String> {
        self.errors.all()
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGINT and waits for the end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub fn interrupt(self) -> Ended {
        self.signal(Signal::INT);
        self.wait()
    }

    /// Kills it with SIGKILL and waits for the end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        self.wait()
    }

    fn signal(&self, signal: Signal) {
        let sent = kill_process(Pid::from_child(&self.child), signal);
        assert!(sent.is_ok(), "cannot send {signal:?} to {}: {sent:?}", self.name);
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not end within [`PATIENCE`].
    pub fn wait(mut self) -> Ended {
        let status = wait_for(|| self.child.try_wait().ok().flatten())
            .unwrap_or_else(|| panic!("{} does not end{}", self.name, self.log()));
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Ended { status, output: self.output.all(), errors: self.errors.all() }
    }

    /// What it has said so far, for the message of a failed test.
    pub fn log(&self) -> String {
        let mut log = String::new();
        for (stream, lines) in [("output", &self.output), ("errors", &self.errors)] {
            let lines = lines.all();
            let from = lines.len().saturating_sub(30);
            log.push_str(&format!("\n--- last {stream} of {} ---\n", self.name));
            log.push_str(&lines.get(from..).unwrap_or_default().join("\n"));
        }
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already waited for where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(pipe: impl Read + Send + 'static, lines: Arc<Lines>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}

/// Runs a program to its end.
///
/// # Panics
/// When it cannot be started or does not end within [`PATIENCE`].
pub fn run<A: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = A>) -> Ended {
    Running::start(program, arguments, &[]).wait()
}
