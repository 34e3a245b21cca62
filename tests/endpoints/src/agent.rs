//! The program under test: a capture enters, its records leave, by the client's and the server's port.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `pqscope-agent read` on a capture.
pub(crate) fn read(program: &str, capture: &Path, keys: Option<&Path>) -> Result<HashMap<(u16, u16), Value>> {
    let mut command = Command::new(program);
    command.args(["read", "--format", "jsonl"]);
    if let Some(keys) = keys {
        command.arg("--keylog").arg(keys);
    }
    let output = command
        .arg(capture)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    let mut records = HashMap::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: Value = serde_json::from_slice(line)?;
        let port = |side: &str| record[side]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let ports = port("client").zip(port("server")).context("a record without ports")?;
        if let Some(other) = records.insert(ports, record) {
            let record = &records[&ports];
            bail!("two records about the ports {ports:?}: {other} and {record}");
        }
    }
    Ok(records)
}
