//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use pqscope_agent_core::Limits;
use pqscope_agent_core::local::Network;
use std::path::PathBuf;
use std::time::Duration;

/// Observes TLS handshakes in packets: negotiated groups, failures with their cause, sizes, latency.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read capture files and report their handshakes.
    #[command(after_help = READ_HELP)]
    Read(Read),
    /// Observe the traffic of this host's interfaces and export what is seen.
    #[cfg(feature = "live")]
    #[command(after_help = RUN_HELP)]
    Run(Run),
}

#[cfg(feature = "live")]
const RUN_HELP: &str = "\
Exports OTLP metrics as the standard variables say: OTEL_EXPORTER_OTLP_ENDPOINT (default http://localhost:4317),
OTEL_EXPORTER_OTLP_PROTOCOL (grpc or http/protobuf), _HEADERS, _TIMEOUT, _COMPRESSION, each also as
OTEL_EXPORTER_OTLP_METRICS_...; OTEL_METRIC_EXPORT_INTERVAL (default 10000 ms), OTEL_SERVICE_NAME,
OTEL_RESOURCE_ATTRIBUTES; OTEL_METRICS_EXPORTER=none exports nothing. RUST_LOG sets what is logged.

Needs the capability CAP_NET_RAW and nothing else:
  sudo setcap cap_net_raw+ep $(command -v pqscope-agent)

Examples:
  pqscope-agent run --interface eth0 --filter 'tcp port 443'
  OTEL_METRICS_EXPORTER=none pqscope-agent run --prometheus 127.0.0.1:9464 --records handshakes.jsonl";

const READ_HELP: &str = "\
Examples:
  pqscope-agent read capture.pcap
  pqscope-agent read --format jsonl capture.pcapng.gz | jq 'select(.outcome == \"failed\")'
  pqscope-agent read --format jsonl capture.pcap | jq 'select(.fallback_of != null or .failure.by == \"path\")'
  pqscope-agent read --format inventory capture.pcap | jq '.servers[] | {server_name, leaves, chains}'
  tcpdump -i eth0 -w - | pqscope-agent read -

Exit status: 0 all files read; 1 nothing could be read; 2 wrong usage;
3 read in part (a cut or damaged file is reported as far as it goes, and named on stderr).";

#[derive(Debug, Args)]
pub(crate) struct Read {
    /// Capture files (pcap or pcapng, also gzip-compressed); `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    /// How to report. Default: `table` on a terminal, `jsonl` otherwise.
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,

    /// Take the files, in the order given, for one capture that was rotated: handshakes go on from one to the next.
    /// Without it every file is a capture of its own.
    #[arg(long)]
    pub(crate) continuous: bool,

    #[command(flatten)]
    pub(crate) observe: Observe,
}

/// Arguments of `run`.
#[cfg(feature = "live")]
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Interface to capture on; may be repeated. Default: `any`.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) interface: Vec<String>,

    /// Also write every observation to this file, one JSON object per line; rotated at 64 MiB, four old files kept.
    #[arg(long, value_name = "PATH")]
    pub(crate) records: Option<PathBuf>,

    /// Also write what is known of each server to this file as one JSON object, every minute and at the end.
    #[arg(long, value_name = "PATH")]
    pub(crate) inventory: Option<PathBuf>,

    /// Serve the metrics for Prometheus to scrape, at http://ADDRESS/metrics.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) prometheus: Option<std::net::SocketAddr>,

    /// Stop after this time.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) duration: Option<Duration>,

    #[command(flatten)]
    pub(crate) observe: Observe,
}

/// What both commands share.
#[derive(Debug, Args)]
pub(crate) struct Observe {
    /// Look only at packets that match, in the language of `man pcap-filter`, such as "tcp port 443". It sees the outer
    /// packet only: such a filter passes nothing that is in a UDP tunnel.
    #[cfg(feature = "live")]
    #[arg(long, value_name = "BPF")]
    pub(crate) filter: Option<String>,

    /// Silence after which a handshake has timed out.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub(crate) handshake_timeout: Duration,

    /// How long after a failed post-quantum attempt another of the same client, without a post-quantum key share, counts as its
    /// fallback.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) fallback_window: Duration,

    /// Address or network of this host, for the vantage (client, server, transit); may be repeated.
    #[arg(long, value_name = "CIDR")]
    pub(crate) local_net: Vec<Network>,

    /// For staging: decrypt the handshake records of TLS 1.3 with the secrets that clients or servers write to this
    /// file (SSLKEYLOGFILE). Application data stays closed. Whoever can read the file can read the traffic.
    #[arg(long, value_name = "FILE")]
    pub(crate) keylog: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Memory")]
pub(crate) struct Bounds {
    /// Connections remembered at the same time, finished ones included. Each takes up to 84 bytes: 21 MiB by default.
    #[arg(long, value_name = "COUNT", default_value_t = Limits::default().flows, value_parser = at_least_one)]
    pub(crate) max_flows: usize,

    /// Bytes that unfinished handshakes may own together. One takes about 1.3 KiB, whatever its key shares weigh, and
    /// what it waits for out of order. Beyond the bound the oldest is given up and counted. Settled ones that
    /// wait for their place in the output may take a quarter more.
    #[arg(long, value_name = "BYTES", default_value = "128MiB", value_parser = bytes)]
    pub(crate) max_handshake_bytes: usize,
}

impl Observe {
    /// Bounds of the connection table.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            flows: self.bounds.max_flows,
            bytes: self.bounds.max_handshake_bytes,
            handshake_timeout: self.handshake_timeout,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A summary for people.
    Table,
    /// One JSON object per handshake attempt and line.
    Jsonl,
    /// The summary as one JSON object.
    Json,
    /// What is known of each server, its certificates among it, as one JSON object (docs/inventory.md).
    Inventory,
}

/// Reads a duration: a number with `ms`, `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid =
        || format!("`{text}` is no duration: write a number with ms, s, m or h, such as 5s or 500ms");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| invalid())?;
    let seconds = match text.get(digits.len()..) {
        Some("ms") => number / 1000.0,
        Some("s") => number,
        Some("m") => number * 60.0,
        Some("h") => number * 3600.0,
        _ => return Err(invalid()),
    };
    let duration = Duration::try_from_secs_f64(seconds).map_err(|_| invalid())?;
    if duration.is_zero() { Err(invalid()) } else { Ok(duration) }
}

/// Reads a size: a number, alone or with `KiB`, `MiB` or `GiB`.
fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..) {
        Some("" | "B") => Some(0),
        Some("KiB" | "K") => Some(10),
        Some("MiB" | "M") => Some(20),
        Some("GiB" | "G") => Some(30),
        _ => None,
    };
    let size = digits.parse::<usize>().ok().zip(shift).and_then(|(n, shift)| n.checked_mul(1 << shift));
    size.filter(|size| *size > 0).ok_or_else(|| {
        format!("`{text}` is no size: write a number of bytes, or one with KiB, MiB or GiB, such as 128MiB")
    })
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("`{text}` is no number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        for text in ["", "5", "s", "-1s", "0s", "5 s", "1e99h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
        assert_eq!(bytes("4096"), Ok(4096));
        for text in ["", "MiB", "0", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_stated_cost_of_a_flow_is_the_real_one() {
        const { assert!(Limits::BYTES_PER_FLOW <= 84) };
    }
}
