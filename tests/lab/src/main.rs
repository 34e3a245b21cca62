//! `pqscope-lab`: a traffic generator and a webhook sink for tests and the demonstration.

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use pqscope_lab::capture::{Endpoints, Session, Wire, merge, write_pcap};
use pqscope_lab::loopback::{DEFAULT_PATIENCE, Loopback};
use pqscope_lab::receiver::Receiver;
use pqscope_lab::scenario::Scenario;
use pqscope_lab::traffic::{Dealer, Load, Mix, Tally, make};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

const MIX: &str = "hybrid=60,x25519=10,no_shared_group=25,client_resets=5";

/// Real TLS handshakes on the loopback interface, and somewhere to send pages to.
#[derive(Debug, Parser)]
#[command(name = "pqscope-lab", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make handshakes between a client and a server on 127.0.0.1 at a steady rate.
    Handshakes(Handshakes),
    /// Write a capture file of handshakes made in memory; needs no network and no privilege.
    Capture(Capture),
    /// Take webhook deliveries and print them readably; repeats are named as such.
    Receiver(ReceiverOptions),
}

#[derive(Debug, Args)]
#[command(after_help = format!("Scenarios: {}", Scenario::names()))]
struct Handshakes {
    /// Attempts per second, over all server names together.
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    rate: f64,
    /// How long to begin new attempts, such as 90s or 2m.
    #[arg(long, value_parser = duration)]
    duration: Option<Duration>,
    /// How many attempts at most.
    #[arg(long)]
    count: Option<u64>,
    /// `[SERVER_NAME:]SCENARIO=WEIGHT,...`; one without a server name is for all names that have none of their own.
    #[arg(
        long = "mix",
        value_name = "MIX",
        default_value = "hybrid=60,x25519=10,no_shared_group=25,client_resets=5"
    )]
    mixes: Vec<Mix>,
    /// Server names, used in turn.
    #[arg(long = "server-name", value_name = "NAME", value_delimiter = ',', default_values_t = ["checkout.example".to_owned(), "search.example".to_owned()])]
    server_names: Vec<String>,
    /// Port of the server on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// How long one end waits for the other before it gives up.
    #[arg(long, value_parser = duration, default_value = "6500ms")]
    patience: Duration,
    /// Print one JSON line per attempt to standard output: what both ends know about it.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(after_help = format!("Scenarios: {}", Scenario::names()))]
struct Capture {
    /// The file to write, in pcap format.
    #[arg(value_name = "FILE")]
    output: PathBuf,
    /// How many handshakes.
    #[arg(long, default_value_t = 40)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=20_000))]
    count: u16,
    /// Handshakes per second of capture time.
    #[arg(long, default_value_t = 2.0, value_parser = rate)]
    rate: f64,
    /// As for `handshakes`.
    #[arg(long, value_name = "MIX", default_value = MIX)]
    mix: Mix,
    /// The server name in the hellos.
    #[arg(long, value_name = "NAME", default_value = "checkout.example")]
    server_name: String,
}

#[derive(Debug, Args)]
struct ReceiverOptions {
    /// Address to listen on; port 0 takes any free one.
    #[arg(long, default_value = "127.0.0.1:9480")]
    listen: SocketAddr,
    /// Refuse this many deliveries first, to see retries.
    #[arg(long, default_value_t = 0)]
    fail_first: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Handshakes(options) => handshakes(options).await,
        Command::Capture(options) => capture(&options),
        Command::Receiver(options) => receiver(options).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "pqscope-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn handshakes(options: Handshakes) -> Result<()> {
    if options.duration.is_none() && options.count.is_none() {
        bail!("say when to stop: --duration 120s, --count 1000, or both");
    }
    let load = Load {
        rate: options.rate,
        duration: options.duration,
        count: options.count,
        server_names: options.server_names,
        mixes: options.mixes,
    };
    load.check()?;
    let lab = Arc::new(Loopback::start(options.port, &load.server_names, options.patience).await?);
    if options.patience < DEFAULT_PATIENCE {
        warn("a patience under 6.5 s ends silent attempts before an observer can call them timed out");
    }
    status(&format!("server on {}", lab.server_address()));
    let (sender, mut truths) = mpsc::channel(256);
    let making = make(lab, &load, interrupted(), sender);
    let json = options.json;
    let printing = async move {
        let mut tally = Tally::default();
        let mut every_second = tokio::time::interval(Duration::from_secs(1));
        let mut told = Tally::default();
        loop {
            tokio::select! {
                truth = truths.recv() => {
                    let Some(truth) = truth else { break };
                    tally.add(&truth);
                    if json {
                        let line = serde_json::to_string(&truth)?;
                        writeln!(io::stdout(), "{line}").context("cannot write to standard output")?;
                    }
                }
                _ = every_second.tick() => {
                    if told != tally {
                        status(&tally.to_string());
                        told = tally.clone();
                    }
                }
            }
        }
        status(&format!("done: {tally}"));
        anyhow::Ok(())
    };
    let (made, printed) = tokio::join!(making, printing);
    made?;
    printed
}

fn capture(options: &Capture) -> Result<()> {
    let mut dealer = Dealer::new(&options.mix.weights);
    let mut made: HashMap<Scenario, Session> = HashMap::new();
    let mut sessions = Vec::new();
    for index in 0..options.count {
        let Some(scenario) = dealer.deal() else { break };
        let session = match made.entry(scenario) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => place.insert(Session::of(scenario, &options.server_name)?),
        };
        let wire = Wire {
            endpoints: Endpoints::v4(20_000 + index),
            start: Wire::default().start + Duration::from_secs_f64(f64::from(index) / options.rate),
            ..Wire::default()
        };
        sessions.push(wire.packets(&wire.segments(session)));
    }
    write_pcap(&options.output, Wire::default().link, &merge(sessions))
        .with_context(|| format!("cannot write {}", options.output.display()))?;
    status(&format!("{} handshakes written to {}", options.count, options.output.display()));
    Ok(())
}

async fn receiver(options: ReceiverOptions) -> Result<()> {
    let mut receiver = Receiver::start(options.listen, options.fail_first)
        .await
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    let mut out = io::stdout();
    writeln!(out, "webhook receiver on {}", receiver.url())?;
    let stop = interrupted();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            delivery = receiver.next() => {
                let Some(delivery) = delivery else { return Ok(()) };
                write!(out, "{}", delivery.describe())?;
                out.flush()?;
            }
        }
    }
}

/// Resolves at SIGINT or SIGTERM. Where the handlers cannot be set, the signals end the program as they always would.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}

fn status(text: &str) {
    // Standard error may be closed; the handshakes matter more.
    let _ = writeln!(io::stderr(), "pqscope-lab: {text}");
}

fn warn(text: &str) {
    status(&format!("note: {text}"));
}

/// A positive number of attempts per second.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 10_000.0 => Ok(rate),
        _ => Err(format!("`{text}` is not a rate from above 0 to 10000 per second")),
    }
}

/// A whole number with `ms`, `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("`{text}` is not a duration such as 500ms, 90s, 2m or 1h")),
    };
    match digits.parse::<u64>().ok().and_then(|number| number.checked_mul(millis)) {
        Some(millis @ 1..) => Ok(Duration::from_millis(millis)),
        _ => Err(format!("`{text}` is not a duration above zero")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("6500ms"), Ok(Duration::from_millis(6500)));
        for wrong in ["90", "s", "0s", "1.5s", "99999999999999999999h", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn arguments_are_consistent() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
