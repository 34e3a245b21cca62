//! From an HTTP request to CloudEvents, in the modes of the HTTP protocol binding 1.0.2: structured, batched, and binary
//! (attributes as `ce-` headers, the data as the body). Bytes go in, checked events or refusals come out.

use super::Entries;
use crate::ingest::body::{BodyFault, content_type};
use axum::http::HeaderMap;
use percent_encoding::percent_decode_str;
use pqscope_slo_core::event::cloud;
use pqscope_slo_core::time::Timestamp;
use serde_json::{Map, Value};

/// Most events of one request.
const MOST_EVENTS: usize = 10_000;
const ATTRIBUTE_PREFIX: &str = "ce-";

/// How events lie in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One event, or a list of them.
    Structured,
    /// One event, its attributes among the headers.
    Binary,
}

/// The mode that the headers announce. The content type must be one of JSON: a web page of strangers cannot send that
/// without asking first.
pub(super) fn mode_of(headers: &HeaderMap) -> Result<Mode, BodyFault> {
    let (text, essence) = content_type(headers);
    match essence.as_str() {
        "application/cloudevents+json" | "application/cloudevents-batch+json" => Ok(Mode::Structured),
        "application/json" if headers.contains_key("ce-specversion") => Ok(Mode::Binary),
        "application/json" => Ok(Mode::Structured),
        _ => Err(BodyFault::EventType(text.chars().take(100).collect())),
    }
}

/// Reads the events of a request.
pub(super) fn read(
    mode: Mode,
    headers: &HeaderMap,
    content: &[u8],
    received: Timestamp,
) -> Result<Entries, BodyFault> {
    let body = match content {
        [] => Value::Null,
        content => serde_json::from_slice::<Value>(content)
            .map_err(|error| BodyFault::Malformed(format!("the body is not JSON: {error}")))?,
    };
    let events = match (mode, body) {
        (Mode::Structured, Value::Array(events)) => events,
        (Mode::Structured, event) => vec![event],
        (Mode::Binary, data) => vec![binary(headers, data)],
    };
    if events.len() > MOST_EVENTS {
        let count = events.len();
        return Err(BodyFault::Malformed(format!(
            "there are {count} events; send at most {MOST_EVENTS} at once"
        )));
    }
    Ok(events.iter().map(|event| cloud::read(event)?.check(received)).collect())
}

/// The same event in structured mode. Header values are percent-encoded UTF-8.
fn binary(headers: &HeaderMap, data: Value) -> Value {
    let mut event = Map::new();
    for (name, value) in headers {
        if let Some(attribute) = name.as_str().strip_prefix(ATTRIBUTE_PREFIX) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let text = percent_decode_str(&text).decode_utf8_lossy().into_owned();
            event.insert(attribute.to_owned(), Value::from(text));
        }
    }
    event.insert("data".to_owned(), data);
    Value::Object(event)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue, StatusCode};

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn entries(pairs: &[(&str, &str)], body: &str) -> Result<Entries, BodyFault> {
        let headers = headers(pairs);
        read(mode_of(&headers)?, &headers, body.as_bytes(), Timestamp::EPOCH)
    }

    const EVENT: &str =
        r#"{"specversion":"1.0","id":"1","source":"/é","type":"pqscope.sign","data":{"result":"success"}}"#;

    #[test]
    fn all_modes_read_the_same_event() {
        let structured =
            entries(&[("content-type", "application/cloudevents+json; charset=utf-8")], EVENT).unwrap();
        let batch = format!("[{EVENT}]");
        let batched = entries(&[("content-type", "application/cloudevents-batch+json")], &batch).unwrap();
        let plain = entries(&[("content-type", "application/json")], EVENT).unwrap();
        let binary = entries(
            &[
                ("content-type", "application/json"),
                ("ce-specversion", "1.0"),
                ("ce-id", "1"),
                ("ce-source", "/%C3%A9"),
                ("ce-type", "pqscope.sign"),
            ],
            r#"{"result":"success"}"#,
        )
        .unwrap();
        assert!(structured[0].is_ok(), "{structured:?}");
        for other in [batched, plain, binary] {
            assert_eq!(other, structured);
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_fault_and_what_is_wrong_a_refusal() {
        assert_eq!(
            entries(&[("content-type", "text/plain")], EVENT).unwrap_err().status(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        );
        let json = [("content-type", "application/json")];
        assert_eq!(entries(&json, "{").unwrap_err().status(), StatusCode::BAD_REQUEST);
        let many = format!("[{}1]", "1,".repeat(MOST_EVENTS));
        assert_eq!(entries(&json, &many).unwrap_err().status(), StatusCode::BAD_REQUEST);
        let mixed = entries(&json, &format!("[1,{EVENT},{{}}]")).unwrap();
        assert_eq!(mixed.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(entries(&json, "").unwrap()[0].as_ref().unwrap_err().reason.word(), "unreadable");
    }
}
