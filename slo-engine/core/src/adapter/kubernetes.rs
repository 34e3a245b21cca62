//! Kubernetes events (`v1` and `events.k8s.io/v1`) about the certificates of cert-manager, as an event exporter or
//! `kubectl get events --output json --watch` write them: objects, lists, or what a watch sends.

use super::{Data, Reading, text_at};
use crate::event::{RawEvent, parse_time};
use serde_json::Value;

const KINDS: [&str; 4] = ["Certificate", "CertificateRequest", "Order", "Challenge"];

pub(super) fn read(record: &Value) -> Reading {
    // What a watch sends is `{"type": "ADDED", "object": ...}`.
    let event = record.get("object").filter(|object| object.is_object()).unwrap_or(record);
    let object = ["involvedObject", "regarding"].into_iter().find(|name| event.get(name).is_some());
    let (Some(object), Some(reason)) = (object, text_at(event, "reason")) else { return Reading::Unreadable };
    let about = |name: &str| text_at(event, &format!("{object}.{name}"));
    if !about("kind").is_some_and(|kind| KINDS.contains(&kind.as_str())) {
        return Reading::Ignored;
    }
    let message = text_at(event, "message").or_else(|| text_at(event, "note")).unwrap_or_default();
    let Some(success) = success_of(&reason, &message) else { return Reading::Ignored };
    // An event that happens again is the same object with a higher count.
    let count =
        text_at(event, "count").or_else(|| text_at(event, "series.count")).unwrap_or_else(|| "1".to_owned());
    let uid = text_at(event, "metadata.uid");
    let times = ["series.lastObservedTime", "lastTimestamp", "eventTime", "metadata.creationTimestamp"];
    let time = times.iter().find_map(|path| parse_time(&text_at(event, path)?));
    let data = Data::default()
        .result(success)
        .put("reason_class", (!success).then(|| class_of(&reason, &message)))
        .put("reason", (!success).then_some(message))
        .name("service", about("name"))
        .name("deployment", about("namespace"));
    Reading::Event(RawEvent {
        id: uid.map(|uid| format!("{uid}/{count}")).unwrap_or_default(),
        source: "kubernetes".to_owned(),
        kind: "pqscope.certificate.issue".to_owned(),
        time,
        data: data.0,
    })
}

/// `None` for what is only a step on the way.
fn success_of(reason: &str, message: &str) -> Option<bool> {
    match reason {
        // cert-manager's reason for the end of an issuance is that of its beginning.
        "Issuing" => message.contains("successfully issued").then_some(true),
        "Issued" | "CertIssued" => Some(true),
        "Failed" | "Denied" | "BadConfig" | "InvalidRequest" | "OrderFailed" | "IssuerNotReady"
        | "DoesNotExist" => Some(false),
        reason => (reason.starts_with("Err") || reason.ends_with("Failed")).then_some(false),
    }
}

fn class_of(reason: &str, message: &str) -> &'static str {
    let message = message.to_ascii_lowercase();
    match reason {
        "Denied" => "permission",
        "IssuerNotReady" | "DoesNotExist" => "unavailable",
        "BadConfig" | "InvalidRequest" => "unsupported_format",
        _ if message.contains("deadline exceeded") || message.contains("timeout") => "timeout",
        _ if message.contains("forbidden") || message.contains("denied") => "permission",
        _ => "other",
    }
}
