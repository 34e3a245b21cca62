//! What people and programs read: records, summaries, complaints.

mod table;

pub(crate) use table::print as print_table;

use pqscope_agent_core::inventory::Inventory;
use pqscope_agent_core::observation::Observation;
use pqscope_agent_core::observer::Health;
use pqscope_agent_core::summary::Summary;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{self, Write};

/// Writes one line on standard error.
#[expect(clippy::print_stderr, reason = "this is the one place that complains to people")]
pub(crate) fn complain(message: &str) {
    eprintln!("pqscope-agent: {message}");
}

/// Writes an observation as one line of JSON.
pub(crate) fn write_record(out: &mut impl Write, observation: &Observation) -> io::Result<()> {
    let text = serde_json::to_string(observation)?;
    out.write_all(escaped(&text).as_bytes())?;
    out.write_all(b"\n")
}

/// JSON with the control characters escaped that its rules let through (DEL and U+0080 to U+009F): names come from the
/// wire, and some terminals obey them.
fn escaped(json: &str) -> Cow<'_, str> {
    let obeyed = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !json.bytes().any(|byte| matches!(byte, 0x7f | 0xc2)) || !json.contains(obeyed) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if obeyed(c) {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
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
    let text = serde_json::to_string_pretty(&Report { schema, reading, handshakes: summary })?;
    out.write_all(escaped(&text).as_bytes())?;
    out.write_all(b"\n")
}

/// Writes the inventory as one JSON object.
pub(crate) fn write_inventory(out: &mut impl Write, inventory: &Inventory) -> io::Result<()> {
    let text = serde_json::to_string_pretty(inventory)?;
    out.write_all(escaped(&text).as_bytes())?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_leaves_in_json() {
        let name = "a\u{9b}31m\u{7f}b\u{1b}é";
        let json = serde_json::to_string(name).unwrap();
        let escaped = escaped(&json);
        assert!(!escaped.chars().any(char::is_control), "{escaped}");
        assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), name);
    }
}
