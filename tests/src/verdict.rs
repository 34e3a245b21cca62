//! When one observation of a connection contradicts another one that was made with more packets.

use crate::records::{client_port, text};
use serde_json::Value;

/// Says how `part`, seen in fewer packets, contradicts `whole`; `None` when it does not.
///
/// With fewer packets an observation may know less: `incomplete` instead of an outcome, null instead of a value. What
/// it does say has to be the same.
pub fn contradiction(part: &Value, whole: &Value) -> Option<String> {
    let outcome = text(part, "outcome");
    let settled = matches!(outcome, Some("completed" | "failed"));
    if settled && outcome != text(whole, "outcome") {
        return Some(format!("{outcome:?} became {:?}", text(whole, "outcome")));
    }
    let mut facts = vec!["server_name", "version", "cipher_suite", "group.id", "key_exchange_class"];
    if settled {
        facts.extend(["failure.cause", "failure.by"]);
    }
    if settled && is_whole(part) {
        // The last message before the end is the last one that was seen: with bytes missing it may be an earlier one.
        facts.push("failure.after");
    }
    facts.into_iter().find_map(|fact| {
        let said = text(part, fact)?;
        let known = text(whole, fact);
        (known != Some(said)).then(|| format!("{fact} {said:?} became {known:?}"))
    })
}

/// Whether the capture has every byte of the attempt, in both directions.
fn is_whole(record: &Value) -> bool {
    let capture = |field: &str| record.get("capture").and_then(|capture| capture.get(field));
    capture("missing_bytes").and_then(Value::as_u64) == Some(0)
        && capture("truncated").and_then(Value::as_bool) == Some(false)
        && capture("one_sided").is_some_and(Value::is_null)
}

/// What tells the attempts of one capture apart: both ends and when the attempt began.
pub fn identity(record: &Value) -> String {
    let address = |side: &str| text(record, &format!("{side}.address")).unwrap_or("?").to_owned();
    let port =
        |side: &str| record.pointer(&format!("/{side}/port")).map(ToString::to_string).unwrap_or_default();
    format!(
        "{}:{} {}:{} {}",
        address("client"),
        client_port(record).unwrap_or_default(),
        address("server"),
        port("server"),
        text(record, "start").unwrap_or("?")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn less_is_no_contradiction() {
        let whole = json!({"outcome": "completed", "version": "0x0304", "group": {"id": "0x11ec"}});
        assert_eq!(contradiction(&json!({"outcome": "incomplete", "group": null}), &whole), None);
        assert_eq!(contradiction(&whole, &whole), None);
    }

    #[test]
    fn another_answer_is_one() {
        let whole = json!({"outcome": "failed", "failure": {"cause": "reset"}, "version": "0x0304"});
        assert!(contradiction(&json!({"outcome": "completed"}), &whole).is_some());
        assert!(contradiction(&json!({"outcome": "incomplete", "version": "0x0303"}), &whole).is_some());
        let closed = json!({"outcome": "failed", "failure": {"cause": "closed"}});
        assert!(contradiction(&closed, &whole).is_some());
        let now_open = json!({"outcome": "incomplete"});
        assert!(contradiction(&whole, &now_open).is_some(), "a verdict may not be taken back");
    }
}
