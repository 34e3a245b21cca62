//! What people and programs read: records, summaries, complaints.

mod table;

pub(crate) use table::print as print_table;

use pqscope_agent_core::observation::Observation;
use pqscope_agent_core::observer::Health;
use pqscope_agent_core::summary::Summary;
use serde::Serialize;
use std::io::{self, Write};

/// Writes one line on standard error.
#[expect(clippy::print_stderr, reason = "this is the one place that complains to people")]
pub(crate) fn complain(message: &str) {
    eprintln!("pqscope-agent: {message}");
}

/// Writes an observation as one line of JSON.
pub(crate) fn write_record(out: &mut impl Write, observation: &Observation) -> io::Result<()> {
    serde_json::to_writer(&mut *out, observation)?;
    out.write_all(b"\n")
}

/// What was read, beside what was seen in it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Reading {
    pub(crate) files: usize,
    pub(crate) packets: u64,
    pub(crate) segments: u64,
    pub(crate) evicted: u64,
}

impl Reading {
    /// Adds what an observer says of itself.
    pub(crate) fn add(&mut self, health: &Health) {
        self.segments += health.used;
        self.evicted += health.table.evicted_bytes + health.table.evicted_flows;
    }
}

/// Writes the summary as one JSON object.
pub(crate) fn write_summary(out: &mut impl Write, reading: &Reading, summary: &Summary) -> io::Result<()> {
    #[derive(Serialize)]
    struct Report<'a> {
        schema: u32,
        reading: &'a Reading,
        handshakes: &'a Summary,
    }
    let schema = pqscope_agent_core::observation::SCHEMA;
    serde_json::to_writer_pretty(&mut *out, &Report { schema, reading, handshakes: summary })?;
    out.write_all(b"\n")
}
