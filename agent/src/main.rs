//! `pqscope-agent`: passive observer of TLS handshakes.

mod arguments;
mod capture;
#[cfg(feature = "live")]
mod export;
#[cfg(feature = "live")]
mod health;
#[cfg(feature = "live")]
mod inventory;
mod key_log;
mod read;
#[cfg(feature = "live")]
mod records;
mod report;
#[cfg(feature = "live")]
mod run;

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Read(read) => read::run(&read),
        #[cfg(feature = "live")]
        Command::Run(run) => {
            start_logging();
            run::run(&run)
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            report::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Logs go to standard error; `RUST_LOG` chooses, and `NO_COLOR` is honoured.
#[cfg(feature = "live")]
fn start_logging() {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("pqscope_agent=info,warn"));
    let color =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color).init();
}

/// A seed that outsiders cannot guess, from the randomness that the standard library's hash maps are keyed with.
fn hash_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0)
}
