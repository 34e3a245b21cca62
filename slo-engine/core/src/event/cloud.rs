//! CloudEvents 1.0 in JSON (CloudEvents specification 1.0.2 and its JSON event format): one event as a JSON object goes
//! in, a raw event comes out.

use super::RawEvent;
use super::instant::parse_time;
use super::refusal::{Refusal, RefusalReason};
use serde_json::{Map, Value};

/// Reads an event in structured mode. Extension attributes are not looked at.
///
/// # Errors
/// When it is no CloudEvent of version 1.0 whose data is a JSON object.
pub fn read(value: &Value) -> Result<RawEvent, Refusal> {
    let Value::Object(attributes) = value else {
        return Err(Refusal::whole(RefusalReason::Unreadable, "an event must be a JSON object"));
    };
    if attributes.get("specversion").and_then(Value::as_str) != Some("1.0") {
        return Err(Refusal::of(RefusalReason::Unreadable, "specversion", "must be \"1.0\""));
    }
    let text = |name: &'static str| match attributes.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Refusal::of(RefusalReason::BadValue, name, "must be a text")),
    };
    let time = text("time")?;
    let time = match time.as_str() {
        "" => None,
        text => Some(parse_time(text).ok_or_else(|| {
            Refusal::of(RefusalReason::BadValue, "time", "must be a time as in 2026-01-31T12:00:00Z")
        })?),
    };
    let data = data(attributes, &text("datacontenttype")?)?;
    Ok(RawEvent { id: text("id")?, source: text("source")?, kind: text("type")?, time, data })
}

fn data(attributes: &Map<String, Value>, content_type: &str) -> Result<Map<String, Value>, Refusal> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !matches!(essence.as_str(), "" | "application/json" | "text/json") && !essence.ends_with("+json") {
        let message = "must be application/json: the data of these events are JSON objects";
        return Err(Refusal::of(RefusalReason::BadValue, "datacontenttype", message));
    }
    if attributes.contains_key("data_base64") {
        let message = "is not taken; write the data as a JSON object under `data`";
        return Err(Refusal::of(RefusalReason::BadValue, "data_base64", message));
    }
    match attributes.get("data") {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(data)) => Ok(data.clone()),
        Some(_) => Err(Refusal::of(RefusalReason::BadValue, "data", "must be a JSON object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventKind, Outcome};
    use crate::time::Timestamp;
    use serde_json::json;

    fn sound() -> Value {
        json!({"specversion": "1.0", "id": "7", "source": "/ci", "type": "pqscope.sign",
            "time": "2026-01-31T12:00:00Z", "datacontenttype": "application/json; charset=utf-8",
            "traceparent": "00-x", "data": {"result": "success", "service": "registry"}})
    }

    #[test]
    fn a_structured_event_is_read() {
        let event = read(&sound()).unwrap().check(Timestamp::EPOCH).unwrap().event;
        assert_eq!((event.kind, event.data.result), (EventKind::Sign, Some(Outcome::Success)));
        assert_eq!(event.time.to_string(), "2026-01-31T12:00:00Z");
    }

    #[test]
    fn what_is_no_such_event_is_refused_with_the_field() {
        for (name, value) in [
            ("specversion", json!("0.3")),
            ("id", json!(7)),
            ("time", json!("noon")),
            ("datacontenttype", json!("application/xml")),
            ("data_base64", json!("e30=")),
            ("data", json!([1])),
        ] {
            let mut event = sound();
            event[name] = value;
            assert_eq!(read(&event).unwrap_err().field.as_deref(), Some(name));
        }
        assert_eq!(read(&json!([])).unwrap_err().field, None);
    }
}
