//! Reading observation records, the JSON lines that the agent writes.

use serde_json::Value;

/// Parses JSON lines.
///
/// # Panics
/// When a line is not JSON; the message quotes it.
pub fn parse<S: AsRef<str>>(lines: impl IntoIterator<Item = S>) -> Vec<Value> {
    lines
        .into_iter()
        .filter(|line| !line.as_ref().trim().is_empty())
        .map(|line| {
            serde_json::from_str(line.as_ref())
                .unwrap_or_else(|error| panic!("not a JSON line ({error}): {}", line.as_ref()))
        })
        .collect()
}

/// The text at a path such as `failure.cause`; `None` when it is not there, null or no text.
pub fn text<'a>(record: &'a Value, path: &str) -> Option<&'a str> {
    lookup(record, path)?.as_str()
}

/// The client's port.
pub fn client_port(record: &Value) -> Option<u64> {
    lookup(record, "client.port")?.as_u64()
}

fn lookup<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(record, |value, key| value.get(key))
}
