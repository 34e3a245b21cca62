//! Signatures that cosign has verified, as `cosign verify --output json` prints them: a list with one object for each
//! signature (the "simple signing" payload). cosign prints nothing there when a signature is wrong; a wrapper that
//! writes `{"error": "...", "image": "..."}` in its place is understood.

use super::{Data, Reading, text_at};
use crate::event::RawEvent;
use serde_json::Value;

pub(super) fn read(record: &Value) -> Reading {
    let image = text_at(record, "critical.identity.docker-reference");
    let data = match (image, text_at(record, "error")) {
        (Some(image), None) => Data::default()
            .result(true)
            .name("store", Some(image))
            .name("key_id", text_at(record, "critical.image.docker-manifest-digest"))
            .name("issuer", text_at(record, "optional.Issuer")),
        (image, Some(error)) => Data::default()
            .result(false)
            .put("reason_class", Some(class_of(&error)))
            .put("reason", Some(error))
            .name("store", image.or_else(|| text_at(record, "image"))),
        (None, None) => return Reading::Unreadable,
    };
    Reading::Event(RawEvent { kind: "pqscope.verify".to_owned(), data: data.0, ..RawEvent::default() })
}

fn class_of(error: &str) -> &'static str {
    let error = error.to_ascii_lowercase();
    if error.contains("no matching signatures") || error.contains("invalid signature") {
        "corrupted_artifact"
    } else if error.contains("unauthorized") || error.contains("denied") {
        "permission"
    } else if error.contains("timeout") || error.contains("deadline exceeded") {
        "timeout"
    } else if error.contains("not found") || error.contains("no such host") || error.contains("refused") {
        "unavailable"
    } else if error.contains("unsupported") {
        "unsupported_format"
    } else {
        "other"
    }
}
