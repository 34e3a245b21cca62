//! What the packets held, read with the secrets that the endpoints wrote: a capture and a key log enter, the messages and alerts
//! of every record leave. It shares no code with the agent, so that it can be held against it.

pub(crate) mod keylog;
mod pcap;
mod protection;
mod streams;
mod view;

pub(crate) use view::{Phase, Side, View};

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::path::Path;

/// Reads a capture; one view per connection, by the client's and the server's port.
pub(crate) fn read(capture: &Path, keys: &Path) -> Result<HashMap<(u16, u16), View>> {
    let bytes = std::fs::read(capture).with_context(|| capture.display().to_string())?;
    let keys = keylog::KeyLog::parse(&std::fs::read_to_string(keys).unwrap_or_default());
    let segments = pcap::segments(&bytes)?;
    let streams = streams::assemble(&segments);
    Ok(streams.iter().map(|(ports, stream)| (*ports, View::read(stream, &keys))).collect())
}
