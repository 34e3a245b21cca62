//! The command line.

use crate::notify::Receiver;
use clap::{Args, Parser, Subcommand};
use pqscope_slo_core::adapter::Adapter;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  pqscope-slo serve
      The shipped objectives, OTLP on ports 4317 and 4318, the page on http://127.0.0.1:9470/
  pqscope-slo serve --slo objectives/ --services services.yaml --webhook https://pager.example/hook
      Your own objectives, and somebody to tell
  pqscope-slo serve --adapter vault:/var/log/openbao/audit.log
      What a key manager logs counts as well
  pqscope-slo validate objectives/ --services services.yaml --adapters adapters.yaml
      Check files before they are rolled out
  pqscope-slo rules objectives/ -o pqscope-slo.rules.yaml
      The same objectives as rules for a Prometheus";

const SERVE_HELP: &str = "\
Counts are acknowledged once the disk has them, so a killed engine loses nothing that a sender was told is safe. \
Notifications are delivered at least once, each repeat with the same body and Idempotency-Key.

Environment:
  RUST_LOG   what is logged to standard error, such as `info` (default) or `pqscope_slo=debug`
  NO_COLOR   no colours in the log";

const STATUS_HELP: &str = "\
Exit status: 0 nothing fires, 1 something failed, 2 wrong usage, 3 an alert fires.";

const REPLAY_HELP: &str = "\
The file exporter of the OpenTelemetry Collector writes OTLP lines, `curl PROMETHEUS/api/v1/query_range` asks a Prometheus, \
and the folder `exports` of an engine's state has its nightly exports, in which older times are coarser. Time passes as \
the data say, so that a month takes seconds.

Exit status: 0 all well, 1 something failed, 2 wrong usage.";
const RULES_HELP: &str = "\
The rules need Prometheus 2.42 or later and say what the engine says: same windows, gates, pending and clear times, and \
alerts that fire are held while there is no data. Exclusions that were entered in an engine are unknown to them. Names \
of what they record are the engine's: let one Prometheus have either.

Exit status: 0 all objectives compiled, perhaps with warnings; 1 one was refused, and nothing was written; 2 wrong usage.";

const EXIT_STATUS: &str = "Exit status: 0 all well, 1 something failed, 2 wrong usage.";

/// Error budgets, burn rates and pages from the handshakes that pqscope agents see.
#[derive(Debug, Parser)]
#[command(name = "pqscope-slo", version, about, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{EXIT_STATUS}"))]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take OTLP metrics and events, evaluate objectives, send notifications, show a page.
    #[command(after_long_help = SERVE_HELP)]
    Serve(Box<Serve>),
    /// Check objective, services and adapters files and say what is wrong, by line.
    #[command(after_long_help = EXIT_STATUS)]
    Validate(Validate),
    /// Compile objectives to recording and alerting rules for Prometheus.
    #[command(after_long_help = RULES_HELP)]
    Rules(Rules),
    /// Print the JSON Schema of objective files, for editors.
    Schema,
    /// Show the objectives of a running engine, those in trouble first.
    #[command(after_long_help = STATUS_HELP)]
    Status(Status),
    /// Say why an objective of a running engine is in the state it is in.
    #[command(after_long_help = EXIT_STATUS)]
    Explain(Explain),
    /// Try objectives on recorded data: when would they have alerted, and what would each condition have cost.
    #[command(after_long_help = REPLAY_HELP)]
    Replay(Replay),
    /// Write the state of a stopped engine into one file.
    #[command(after_long_help = EXIT_STATUS)]
    Backup(Backup),
    /// Make a state folder from such a file, or from a nightly export.
    #[command(after_long_help = EXIT_STATUS)]
    Restore(Restore),
}

/// Options of `backup`.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Folder of the state. Of a running engine, copy the latest file in its folder `exports` instead.
    #[arg(long, value_name = "DIR", default_value = "pqscope-state")]
    pub(crate) state: PathBuf,
    /// File to write, such as state.jsonl.gz.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,
}

/// Options of `restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// File that `backup` or a running engine wrote.
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// Folder to make; it must be empty or not there.
    #[arg(long, value_name = "DIR", default_value = "pqscope-state")]
    pub(crate) state: PathBuf,
}

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address of the page, the API, /metrics, /healthz and /readyz.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9470")]
    pub(crate) listen: SocketAddr,
    /// Address for OTLP over gRPC.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4317")]
    pub(crate) otlp_grpc: SocketAddr,
    /// Address for OTLP over HTTP (POST /v1/metrics and /v1/logs, protobuf or JSON).
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4318")]
    pub(crate) otlp_http: SocketAddr,
    /// Folder for counts, incidents and notifications; created when it is not there.
    #[arg(long, value_name = "DIR", default_value = "pqscope-state")]
    pub(crate) state: PathBuf,
    /// OpenSLO file, or folder of them; may be repeated. Without it the shipped objectives are used.
    #[arg(long, value_name = "FILE_OR_DIR")]
    pub(crate) slo: Vec<PathBuf>,
    /// Services file: which services are migrating, and what must be measured of each. Without it every service counts.
    #[arg(long, value_name = "FILE")]
    pub(crate) services: Option<PathBuf>,
    /// Log of another program to read events from, as KIND:PATH; may be repeated. Kinds: vault, cloudtrail, kubernetes,
    /// cosign, envoy, nginx.
    #[arg(long, value_name = "KIND:PATH", value_parser = Adapter::from_argument)]
    pub(crate) adapter: Vec<Adapter>,
    /// File that names logs to read events from, also with a mapping of fields.
    #[arg(long, value_name = "FILE")]
    pub(crate) adapters: Option<PathBuf>,
    /// URL that notifications are posted to as JSON; may be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) webhook: Vec<Receiver>,
    /// How often objectives are evaluated.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_interval)]
    pub(crate) evaluation_interval: Duration,
    /// How long reports about a key rotation are waited for after it was due, before it is failed or overdue.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_grace)]
    pub(crate) rotation_grace: Duration,
    /// How often counts are written as they stand, and the journal of what came since is dropped. A start replays that
    /// journal; a short interval writes more.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_long_interval)]
    pub(crate) checkpoint_interval: Duration,
    /// How often the whole state is exported into the folder `exports` of the state; seven are kept.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_long_interval)]
    pub(crate) export_interval: Duration,
    /// Most series that are counted. The last fifth is for series without the attributes that no objective asks about;
    /// beyond that, points of new series are refused. A counter that is busy for 400 days takes 45 KiB of memory (20,000
    /// of them 0.9 GiB), a histogram several times as much.
    #[arg(long, value_name = "COUNT", default_value = "20000", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) max_series: u32,
    /// Above this size the database is written anew, which frees most of it; where it takes more than half of the size even
    /// then, fine history is dropped before its time: ten-second buckets first. Incidents and notifications are never
    /// dropped.
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = parse_disk_size)]
    pub(crate) max_state_size: u64,
    /// Largest OTLP request that is taken, before and after decompression.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = parse_size)]
    pub(crate) max_request: usize,
}

/// Options of `validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// OpenSLO files, or folders of them.
    #[arg(value_name = "FILE_OR_DIR", required_unless_present_any = ["services", "adapters"])]
    pub(crate) files: Vec<PathBuf>,
    /// Services file to check as well, and to check the objectives with.
    #[arg(long, value_name = "FILE")]
    pub(crate) services: Option<PathBuf>,
    /// Adapters file to check as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) adapters: Option<PathBuf>,
}

/// Options of `status`.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Address of the engine.
    #[arg(long, value_name = "URL", env = "PQSCOPE_SLO_URL", default_value = "http://127.0.0.1:9470")]
    pub(crate) url: String,
    /// Print the engine's answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Name of the objective.
    #[arg(value_name = "SLO")]
    pub(crate) name: String,
    /// Address of the engine.
    #[arg(long, value_name = "URL", env = "PQSCOPE_SLO_URL", default_value = "http://127.0.0.1:9470")]
    pub(crate) url: String,
}

/// Options of `replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// OpenSLO file, or folder of them; may be repeated. Without it the shipped objectives are used.
    #[arg(long, value_name = "FILE_OR_DIR")]
    pub(crate) slo: Vec<PathBuf>,
    /// Services file: which services are migrating.
    #[arg(long, value_name = "FILE")]
    pub(crate) services: Option<PathBuf>,
    /// Recorded data, plain or packed with gzip: OTLP metrics as JSON lines, the answer of a Prometheus to a range query, or
    /// an export of the engine's state; may be repeated.
    #[arg(long, value_name = "DATA", required = true)]
    pub(crate) from: Vec<PathBuf>,
    /// How often objectives are evaluated, on the time of the data.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_interval)]
    pub(crate) evaluation_interval: Duration,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `rules`.
#[derive(Debug, Args)]
pub(crate) struct Rules {
    /// OpenSLO files, or folders of them.
    #[arg(value_name = "FILE_OR_DIR", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// How often the rules are evaluated; whole seconds, at most 2m.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_interval)]
    pub(crate) interval: Duration,
    /// How long a sample may take from its time until it can be asked for; whole seconds, at most 5m.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_delay)]
    pub(crate) delay: Duration,
    /// How Prometheus stores the histograms of our own metrics: native when they come over OTLP, classic from a scrape.
    #[arg(long, value_name = "KIND", default_value = "native")]
    pub(crate) histograms: HistogramKind,
    /// Services file: which services are migrating. Without it every service counts.
    #[arg(long, value_name = "FILE")]
    pub(crate) services: Option<PathBuf>,
    /// Where to write; standard output without it.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// How Prometheus stores histograms.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum HistogramKind {
    /// In one series.
    Native,
    /// A series per bucket.
    Classic,
}

/// As [`parse_interval`], and 0s.
fn parse_delay(text: &str) -> Result<Duration, String> {
    if text == "0s" { Ok(Duration::ZERO) } else { parse_interval(text) }
}

/// Reads a time such as `500ms`, `10s`, `1m`; at least 100 ms and at most a minute: with longer pauses between looks
/// nothing could be said about the time between them.
fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_time(text)? {
        milliseconds @ 100..=60_000 => Ok(Duration::from_millis(milliseconds)),
        _ => Err("choose between 100ms and 1m".to_owned()),
    }
}

/// As [`parse_interval`], up to a week.
fn parse_long_interval(text: &str) -> Result<Duration, String> {
    match parse_time(text)? {
        milliseconds @ 100..=604_800_000 => Ok(Duration::from_millis(milliseconds)),
        _ => Err("choose between 100ms and 168h".to_owned()),
    }
}

/// A whole number, and what stands behind it.
fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

/// Milliseconds.
fn parse_time(text: &str) -> Result<u64, String> {
    let example = "write a number with a unit, such as 10s, 500ms, 1m or 24h";
    let (number, unit) = number_and_unit(text).ok_or(example)?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => return Err(example.to_owned()),
    };
    Ok(milliseconds.unwrap_or(u64::MAX))
}

/// Reads a time from nothing to an hour, such as `0s`, `30s` or `5m`.
fn parse_grace(text: &str) -> Result<Duration, String> {
    let seconds = match number_and_unit(text) {
        Some((number, "s")) => Some(number),
        Some((number, "m")) => number.checked_mul(60),
        _ => None,
    };
    match seconds {
        Some(seconds @ 0..=3_600) => Ok(Duration::from_secs(seconds)),
        _ => Err("write a number with s or m, from 0s to 60m, such as 5m".to_owned()),
    }
}

/// Reads a size such as `512MiB` or `2GiB`; at least 16 MiB.
fn parse_disk_size(text: &str) -> Result<u64, String> {
    let example = "write a number with a unit, such as 512MiB or 2GiB";
    let (number, unit) = number_and_unit(text).ok_or(example)?;
    let factor = match unit {
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(example.to_owned()),
    };
    match number.checked_mul(factor) {
        Some(bytes) if bytes >= 16 << 20 => Ok(bytes),
        _ => Err("choose at least 16MiB".to_owned()),
    }
}

/// Reads a size such as `512KiB`, `16MiB` or a plain number of bytes; at least 1 KiB and at most 1 GiB.
fn parse_size(text: &str) -> Result<usize, String> {
    let example = "write a number of bytes, or one with a unit, such as 512KiB or 16MiB";
    let (number, unit) = number_and_unit(text).ok_or(example)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(example.to_owned()),
    };
    match number.checked_mul(factor).and_then(|bytes| usize::try_from(bytes).ok()) {
        Some(bytes) if (1 << 10..=1 << 30).contains(&bytes) => Ok(bytes),
        _ => Err("choose between 1KiB and 1GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_and_sizes_need_sensible_units() {
        assert_eq!(parse_interval("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_interval("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["10", "s", "", "-1s", "1ms", "2d", "99999999999999999999m", "18446744073709551615m"] {
            assert!(parse_interval(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_size("16MiB"), Ok(16 << 20));
        assert_eq!(parse_size("2048"), Ok(2048));
        for wrong in ["16MB", "0", "", "MiB", "2GiB", "99999999999999999999"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
