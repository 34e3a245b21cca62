//! `pqscope-agent`: passive observer of TLS handshakes.

mod arguments;
mod capture;
mod read;
mod report;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Read(read) => read::run(&read),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A seed that outsiders cannot guess, from the randomness that the standard library's hash maps are keyed with.
fn hash_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
