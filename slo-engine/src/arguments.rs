//! The command line.

use crate::notify::Receiver;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  pqscope-slo serve
      The shipped objectives, OTLP on ports 4317 and 4318, the page on http://127.0.0.1:9470/
  pqscope-slo serve --slo objectives/ --services services.yaml --webhook https://pager.example/hook
      Your own objectives, and somebody to tell
  pqscope-slo validate objectives/*.yaml
      Check objectives before they are rolled out
  pqscope-slo rules objectives/ -o pqscope-slo.rules.yaml
      The same objectives as rules for a Prometheus";

const SERVE_HELP: &str = "\
Counts are acknowledged once the disk has them, so a killed engine loses nothing that a sender was told is safe. \
Notifications are delivered at least once, each repeat with the same body and Idempotency-Key.

Environment:
  RUST_LOG   what is logged to standard error, such as `info` (default) or `pqscope_slo=debug`
  NO_COLOR   no colours in the log";

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
    /// Take OTLP metrics, evaluate objectives, send notifications, show a page.
    #[command(after_long_help = SERVE_HELP)]
    Serve(Serve),
    /// Check objective files and say what is wrong, by line.
    #[command(after_long_help = EXIT_STATUS)]
    Validate(Validate),
    /// Compile objectives to recording and alerting rules for Prometheus.
    #[command(after_long_help = RULES_HELP)]
    Rules(Rules),
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
    /// Address for OTLP over HTTP (POST /v1/metrics, protobuf or JSON).
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:4318")]
    pub(crate) otlp_http: SocketAddr,
    /// Folder for counts, incidents and notifications; created when it is not there.
    #[arg(long, value_name = "DIR", default_value = "pqscope-state")]
    pub(crate) state: PathBuf,
    /// OpenSLO file, or folder of them; may be repeated. Without it the shipped objectives are used.
    #[arg(long, value_name = "FILE_OR_DIR")]
    pub(crate) slo: Vec<PathBuf>,
    /// Services file: which services are migrating. Without it every service counts.
    #[arg(long, value_name = "FILE")]
    pub(crate) services: Option<PathBuf>,
    /// URL that notifications are posted to as JSON; may be repeated.
    #[arg(long, value_name = "URL")]
    pub(crate) webhook: Vec<Receiver>,
    /// How often objectives are evaluated.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_interval)]
    pub(crate) evaluation_interval: Duration,
    /// Largest OTLP request that is taken, before and after decompression.
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = parse_size)]
    pub(crate) max_request: usize,
}

/// Options of `validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// OpenSLO files.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
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

/// Reads a time such as `500ms`, `10s`, `1m`; at least 100 ms and at most an hour.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let example = "write a number with a unit, such as 10s, 500ms or 1m";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| example.to_owned())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => return Err(example.to_owned()),
    };
    match milliseconds {
        Some(milliseconds @ 100..=3_600_000) => Ok(Duration::from_millis(milliseconds)),
        _ => Err("choose between 100ms and 60m".to_owned()),
    }
}

/// Reads a size such as `512KiB`, `16MiB` or a plain number of bytes; at least 1 KiB and at most 1 GiB.
fn parse_size(text: &str) -> Result<usize, String> {
    let example = "write a number of bytes, or one with a unit, such as 512KiB or 16MiB";
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: usize = number.parse().map_err(|_| example.to_owned())?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(example.to_owned()),
    };
    match number.checked_mul(factor) {
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
