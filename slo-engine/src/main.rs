//! Service level objectives, error budgets and pages for post-quantum migrations: arguments, logging, exit status.

mod adapters;
mod api;
mod app;
mod arguments;
#[cfg(test)]
mod bench;
mod catalog;
mod clock;
mod commands;
mod ingest;
mod keeper;
mod notify;
mod prometheus;
mod rules;
mod store;
mod unreachable;
mod web;

use anyhow::Context as _;
use arguments::{Arguments, Backup, Command, Replay, Restore, Serve, Status, Validate};
use clap::Parser;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Serve(options) => serve(*options),
        Command::Validate(options) => validate(&options),
        Command::Schema => schema(),
        Command::Status(options) => return status(&options),
        Command::Explain(options) => with_client(|| commands::explain(&options.url, &options.name)),
        Command::Replay(options) => replay(&options),
        Command::Backup(options) => backup(&options),
        Command::Restore(options) => restore(&options),
        Command::Rules(options) => rules::write(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

fn failure(error: &anyhow::Error) -> ExitCode {
    // `pqscope-slo schema | head` is no error.
    let closed = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    if closed == Some(std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "pqscope-slo: {}", explain(error));
    ExitCode::FAILURE
}

fn schema() -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&pqscope_slo_core::openslo::schema())?;
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Exit status of `status` while an alert fires.
const FIRING: u8 = 3;

fn status(options: &Status) -> ExitCode {
    match with_client(|| commands::status(&options.url, options.json)) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(FIRING),
        Err(error) => failure(&error),
    }
}

fn replay(options: &Replay) -> anyhow::Result<()> {
    commands::replay(options)
}

/// Runs what speaks HTTP.
fn with_client<T>(run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    install_cryptography()?;
    run()
}

fn install_cryptography() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another cryptography provider is installed already"))
}

/// The error, with those of its causes that it does not tell already.
fn explain(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

fn serve(options: Serve) -> anyhow::Result<()> {
    start_logging();
    install_cryptography()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(app::serve(options))?;
    Ok(())
}

fn validate(options: &Validate) -> anyhow::Result<()> {
    let services = options.services.as_deref().map(catalog::load_services).transpose()?;
    // Without files these would be the shipped objectives, which nobody asked about.
    let asked = !options.files.is_empty();
    let catalog = asked.then(|| catalog::load(&options.files, services.as_ref())).transpose()?;
    let adapters = catalog::load_adapters(options.adapters.as_deref(), Vec::new())?;
    let catalog = catalog.unwrap_or_default();
    for warning in &catalog.warnings {
        writeln!(std::io::stderr(), "{warning}")?;
    }
    let mut out = std::io::stdout().lock();
    for objective in &catalog.objectives {
        let (goal, window) = (objective.goal.words(), objective.window_text());
        writeln!(out, "{}: {} is fine: {goal} over {window}", objective.file, objective.name)?;
    }
    if let (Some(path), Some(services)) = (&options.services, &services) {
        writeln!(out, "{} is fine; services: {}", path.display(), services.services.len())?;
    }
    if let Some(path) = &options.adapters {
        writeln!(out, "{} is fine; adapters: {}", path.display(), adapters.len())?;
    }
    Ok(())
}

fn backup(options: &Backup) -> anyhow::Result<()> {
    if let Err(error) = std::fs::read_dir(&options.state)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot read {}", options.state.display()));
    }
    // Opening would make a state where there is none.
    anyhow::ensure!(store::is_state(&options.state), "there is no state in {}", options.state.display());
    let (store, findings) = store::Store::open(&options.state).map_err(|error| match error {
        locked @ store::StoreError::Locked { .. } => {
            let exports = options.state.join("exports");
            anyhow::anyhow!(
                "{locked}; a running engine exports its state every night into {}",
                exports.display()
            )
        }
        other => other.into(),
    })?;
    for finding in findings {
        writeln!(std::io::stderr(), "{finding}")?;
    }
    store.snapshot(app::system_clock().now())?.write(&options.to)?;
    Ok(())
}

fn restore(options: &Restore) -> anyhow::Result<()> {
    let records = store::restore(&options.from, &options.state)?;
    writeln!(std::io::stdout(), "{}: {records} records restored", options.state.display())?;
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
