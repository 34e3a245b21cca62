//! Service level objectives, error budgets and pages for post-quantum migrations: arguments, logging, exit status.

mod api;
mod app;
mod arguments;
mod catalog;
mod clock;
mod ingest;
mod keeper;
mod notify;
mod prometheus;
mod rules;
mod store;
mod web;

use anyhow::Context as _;
use arguments::{Arguments, Command, Serve, Validate};
use clap::Parser;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Serve(options) => serve(options),
        Command::Validate(options) => validate(&options),
        Command::Rules(options) => rules::write(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(std::io::stderr(), "pqscope-slo: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error, with those of its causes that it does not tell already.
fn explain(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

fn serve(options: Serve) -> anyhow::Result<()> {
    start_logging();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another cryptography provider is installed already"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(app::serve(options))?;
    Ok(())
}

fn validate(options: &Validate) -> anyhow::Result<()> {
    let catalog = catalog::load(&options.files, None)?;
    for warning in &catalog.warnings {
        writeln!(std::io::stderr(), "{warning}")?;
    }
    let mut out = std::io::stdout().lock();
    for objective in &catalog.objectives {
        let (goal, window) = (objective.goal.words(), objective.window_text());
        writeln!(out, "{}: {} is fine: {goal} over {window}", objective.file, objective.name)?;
    }
    Ok(())
}

/// Logs go to standard error, with colours only where somebody sees them and does not mind.
fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sled=warn"));
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && !unwanted)
        .with_writer(std::io::stderr)
        .init();
}
