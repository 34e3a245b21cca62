//! Programs that the lab starts: drivers, which are asked by lines of JSON, and the capture. Every one is ended by its own id.

use crate::network::{Network, Place};
use crate::protocol::{Answer, Command};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Longest that a driver may take for one command; its own bounds are shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// A stack's driver on one side of the network.
pub(crate) struct Driver {
    child: Child,
    input: ChildStdin,
    answers: Receiver<std::io::Result<String>>,
    last: u32,
}

impl Driver {
    /// Starts `words` at a place.
    pub(crate) fn start(words: &[String], network: &Network, place: Place) -> Result<Self> {
        let mut command = network.command(place, words);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", words.join(" ")))?;
        let input = child.stdin.take().context("no input")?;
        let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let (sender, answers) = channel();
        // The thread ends with the driver's output.
        std::thread::spawn(move || lines.for_each(|line| drop(sender.send(line))));
        Ok(Self { child, input, answers, last: 0 })
    }

    /// Gives a command and waits for its answer.
    pub(crate) fn ask(&mut self, mut command: Command) -> Result<Answer> {
        self.last += 1;
        command.id = self.last;
        let mut line = serde_json::to_vec(&command)?;
        line.push(b'\n');
        self.input.write_all(&line)?;
        let text = self.answers.recv_timeout(PATIENCE).context("the driver ended, or does not answer")??;
        let answer: Answer = serde_json::from_str(&text).with_context(|| text.clone())?;
        if !answer.error.is_empty() {
            bail!("{}: {}", command.deed, answer.error);
        }
        if answer.id != self.last {
            bail!("the driver answers {} to {}", answer.id, self.last);
        }
        Ok(answer)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // What is left of a driver holds nothing that would have to be saved.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running tcpdump.
pub(crate) struct Capture {
    child: Child,
    errors: Lines<BufReader<std::process::ChildStderr>>,
}

impl Capture {
    /// Begins to capture into `file`, and returns once it does.
    pub(crate) fn begin(network: &Network, file: &Path) -> Result<Self> {
        let file = file.display().to_string();
        let words = [
            "tcpdump",
            "-i",
            network.interface(),
            "-w",
            &file,
            "-U",
            "-s",
            "0",
            "-B",
            "65536",
            "-Z",
            "root",
            "tcp",
        ];
        let words: Vec<_> = words.map(str::to_owned).to_vec();
        let mut child =
            network.command(Place::Server, &words).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut errors = BufReader::new(child.stderr.take().context("no errors")?).lines();
        loop {
            let line = errors.next().context("tcpdump ended before it listened")??;
            if line.contains("listening on") {
                return Ok(Self { child, errors });
            }
        }
    }

    /// Ends it, and gives how many packets it lost.
    pub(crate) fn end(mut self) -> Result<u64> {
        // What is on its way through the kernel has to reach the file.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let id = self.child.id().to_string();
        std::process::Command::new("kill").args(["-INT", &id]).status()?;
        self.child.wait()?;
        let mut lost = 0;
        for line in self.errors.by_ref() {
            if let Some(count) = line?.strip_suffix(" packets dropped by kernel") {
                lost = count.trim().parse().unwrap_or(u64::MAX);
            }
        }
        Ok(lost)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
