//! When two observations of one conversation are alike, and when one contradicts the other.

use crate::observe::observe;
use pqscope_lab::capture::{Link, Packet};
use serde_json::{Map, Value};

/// What the way of arrival may change beside the addresses: everything else has to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freedom {
    /// Only how the packet was wrapped: addresses, tunnel, and the identifier made of them.
    Wrapping,
    /// Times, the number of segments, and what is said of the path as well.
    Timing,
    /// Also the number of records of the hello.
    Records,
}

const WRAPPING: &[&str] = &["id", "client", "server", "tunnel", "interface"];
const TIMING: &[&str] = &["start", "end", "timing", "path"];

/// The one observation of a capture.
pub(crate) fn only(link: Link, packets: &[Packet], about: &str) -> Value {
    let mut seen = observe(link, packets);
    assert_eq!(seen.len(), 1, "{about}: one attempt, not {seen:#?}");
    serde_json::to_value(seen.remove(0)).unwrap()
}

/// An observation without what may differ.
pub(crate) fn essence(record: &Value, freedom: Freedom) -> Map<String, Value> {
    let mut fields = record.as_object().unwrap().clone();
    WRAPPING.iter().for_each(|name| drop(fields.remove(*name)));
    if freedom != Freedom::Wrapping {
        TIMING.iter().for_each(|name| drop(fields.remove(*name)));
        let hello = fields.get_mut("client_hello").unwrap().as_object_mut().unwrap();
        hello.remove("segments");
        if freedom == Freedom::Records {
            hello.remove("records");
        }
    }
    fields
}

/// The fields in which two observations differ, with both values.
pub(crate) fn differences(one: &Value, other: &Value, freedom: Freedom) -> Vec<String> {
    let (one, other) = (essence(one, freedom), essence(other, freedom));
    let mut names: Vec<&String> = one.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| one.get(*name) != other.get(*name))
        .map(|name| format!("{name}: {:?} became {:?}", one.get(name), other.get(name)))
        .collect()
}

/// Fields that what is missing may change in other ways than to null.
const MAY_CHANGE: &[&str] = &[
    "id",
    "start",
    "end",
    "timing",
    "path",
    "capture",
    // Judged apart, below.
    "outcome",
    "outcome_evidence",
    "incomplete_reason",
    "failure",
    // Lists of what was seen, which may be shorter.
    "alerts",
    "server_flight",
];

/// Says how `part`, seen in fewer packets, contradicts `whole`: another verdict than the same or `incomplete`, or a
/// field that is neither null nor the same.
pub(crate) fn contradiction(part: &Value, whole: &Value) -> Option<String> {
    if part["outcome"] != "incomplete" {
        if part["outcome"] != whole["outcome"] {
            return Some(format!("outcome {} became {}", whole["outcome"], part["outcome"]));
        }
        let cause = |record: &Value| (record["failure"]["cause"].clone(), record["failure"]["by"].clone());
        if cause(part) != cause(whole) {
            return Some(format!("failure {} became {}", whole["failure"], part["failure"]));
        }
    }
    let records = |record: &Value| record["server_flight"]["records"].as_array().cloned();
    if let Some(part_records) = records(part) {
        let whole_records = records(whole).unwrap_or_default();
        let ended_early = part["incomplete_reason"] == "ended_early";
        let fits = part_records == whole_records || ended_early && whole_records.starts_with(&part_records);
        if !fits {
            return Some(format!("server_flight {whole_records:?} became {part_records:?}"));
        }
    }
    let known = whole["alerts"].as_array().unwrap();
    if let Some(alert) = part["alerts"].as_array().unwrap().iter().find(|alert| !known.contains(alert)) {
        return Some(format!("alert {alert} is not among {known:?}"));
    }
    let fields = part.as_object().unwrap().iter();
    let mut fields = fields.filter(|(name, _)| !MAY_CHANGE.contains(&name.as_str()));
    fields.find_map(|(name, said)| field_contradiction(name, said, &whole[name]))
}

fn field_contradiction(name: &str, said: &Value, known: &Value) -> Option<String> {
    if said.is_null() || said == known {
        return None;
    }
    match (name, said, known) {
        // Which pieces brought the hello depends on which were seen.
        ("segments", ..) => None,
        (_, Value::Object(said), Value::Object(known)) => said.iter().find_map(|(inner, said)| {
            field_contradiction(inner, said, known.get(inner).unwrap_or(&Value::Null))
        }),
        _ => Some(format!("{name} {known} became {said}")),
    }
}

#[test]
fn a_vaguer_record_is_no_contradiction_and_another_one_is() {
    use serde_json::json;
    let whole =
        json!({"outcome": "completed", "failure": null, "alerts": [], "group": {"id": 1}, "flight": 5});
    let part = |outcome, group| json!({"outcome": outcome, "failure": null, "alerts": [], "group": group});
    assert_eq!(contradiction(&part("incomplete", Value::Null), &whole), None);
    assert_eq!(contradiction(&part("completed", json!({"id": 1})), &whole), None);
    assert!(contradiction(&part("failed", Value::Null), &whole).is_some());
    assert!(contradiction(&part("incomplete", json!({"id": 2})), &whole).is_some());
}
