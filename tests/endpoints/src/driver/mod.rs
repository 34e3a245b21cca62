//! The drivers of the stacks that are reached from Rust: commands enter by standard input, answers leave by standard output.

mod accept;
#[cfg(feature = "boring")]
mod boring;
mod openssl;
mod raw;
mod rustls;

use crate::protocol::{Answer, Command, Report};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, Write};

/// Bytes that every client sends once the handshake is over.
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
/// What every server answers.
const REPLY: &[u8] = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One stack, as server and as client.
trait Stack {
    /// Listens and gives the port.
    fn serve(&mut self, command: &Command) -> Result<u16>;
    /// Runs one handshake as a client.
    fn connect(&mut self, command: &Command) -> Result<Report>;
    /// Ends a server and gives what it saw.
    fn stop(&mut self, command: &Command) -> Result<Vec<Report>>;
}

/// Obeys until standard input ends. `program` is the command line tool, for stacks that are one.
pub(crate) fn run(stack: &str, program: Option<&str>) -> Result<()> {
    let mut stack: Box<dyn Stack> = match stack {
        "rustls" => Box::new(rustls::Rustls::default()),
        #[cfg(feature = "boring")]
        "boring" => Box::new(boring::Boring::default()),
        "openssl" => {
            Box::new(openssl::OpenSsl::new(program.context("openssl needs the path of the program")?))
        }
        "raw" => Box::new(raw::Raw::default()),
        other => bail!("there is no driver for {other}"),
    };
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let command: Command = serde_json::from_str(&line?)?;
        let mut answer = obey(stack.as_mut(), &command)
            .unwrap_or_else(|error| Answer { error: format!("{error:#}"), ..Answer::default() });
        answer.id = command.id;
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn obey(stack: &mut dyn Stack, command: &Command) -> Result<Answer> {
    let mut answer = Answer::default();
    match command.deed.as_str() {
        "serve" => answer.port = stack.serve(command)?,
        "connect" => answer.report = Some(stack.connect(command)?),
        "stop" => answer.reports = stack.stop(command)?,
        other => bail!("unknown command {other}"),
    }
    Ok(answer)
}
