//! Asks a running engine.

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::time::Duration;

/// An engine that does not answer within this time is taken to be down.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The JSON answer of a path.
pub(super) fn get(base: &str, path: &str) -> anyhow::Result<Value> {
    let address = format!("{}{path}", base.trim_end_matches('/'));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        let answer = client.get(&address).send().await.with_context(|| {
            format!("cannot reach the engine at {address}; is it running, and is --url right?")
        })?;
        let status = answer.status();
        let text = answer.text().await?;
        if !status.is_success() {
            bail!("{address} answered {status}: {}", text.trim());
        }
        serde_json::from_str(&text).with_context(|| format!("{address} did not answer like an engine"))
    })
}

/// A text of an answer; empty when it is not there.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

/// A number of an answer.
pub(super) fn number(value: &Value, key: &str) -> Option<f64> {
    value.get(key).and_then(Value::as_f64)
}

/// A list of an answer; empty when it is not there.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
