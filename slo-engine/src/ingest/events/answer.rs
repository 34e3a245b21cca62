//! What senders and readers of events are told, as JSON.

use super::{Entries, Verdicts, by_reason};
use pqscope_slo_core::event::desk::Taken;
use pqscope_slo_core::event::rotation::{Rotation, State};
use pqscope_slo_core::event::{Event, EventData};
use pqscope_slo_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Refusals that one receipt spells out.
const REFUSALS_SHOWN: usize = 100;

/// What became of the events of a request.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct ReceiptDto {
    accepted: usize,
    duplicates: usize,
    refused: usize,
    /// Data fields that are not known and were left out.
    ignored_fields: u64,
    refused_by_reason: BTreeMap<&'static str, u64>,
    /// The first hundred.
    refusals: Vec<RefusalDto>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct RefusalDto {
    /// Place in the request, from 0.
    index: usize,
    reason: &'static str,
    field: Option<String>,
    message: String,
}

/// Data fields of all events that were left out.
pub(super) fn ignored_fields(entries: &Entries) -> u64 {
    entries.iter().filter_map(|entry| entry.as_ref().ok()).map(|checked| checked.ignored_fields).sum()
}

impl ReceiptDto {
    pub(super) fn new(verdicts: &Verdicts, ignored_fields: u64) -> Self {
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == Ok(wanted)).count();
        let refusals =
            verdicts.iter().enumerate().filter_map(|(index, verdict)| Some((index, verdict.as_ref().err()?)));
        Self {
            accepted: count(Taken::Counted),
            duplicates: count(Taken::Duplicate),
            refused: verdicts.iter().filter(|verdict| verdict.is_err()).count(),
            ignored_fields,
            refused_by_reason: by_reason(verdicts),
            refusals: refusals
                .take(REFUSALS_SHOWN)
                .map(|(index, refusal)| RefusalDto {
                    index,
                    reason: refusal.reason.word(),
                    field: refusal.field.as_deref().map(str::to_owned),
                    message: refusal.to_string(),
                })
                .collect(),
        }
    }
}

/// Events, newest first.
#[derive(Debug, Serialize)]
pub(super) struct EventsDto {
    pub(super) events: Vec<EventDto>,
}

#[derive(Debug, Serialize)]
pub(super) struct EventDto {
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: &'static str,
    time: String,
    data: Map<String, Value>,
}

impl From<Event> for EventDto {
    fn from(event: Event) -> Self {
        Self {
            kind: event.kind.word(),
            time: event.time.to_string(),
            data: data_of(&event.data),
            id: event.id,
            source: event.source,
        }
    }
}

/// The data as its sender wrote it: times as text instead of numbers.
fn data_of(data: &EventData) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(data) else { return Map::new() };
    for (name, time) in [("planned_at", data.planned_at), ("due_at", data.due_at)] {
        if let Some(time) = time {
            fields.insert(name.to_owned(), Value::from(time.to_string()));
        }
    }
    fields
}

/// Rotations in the order of their ids.
#[derive(Debug, Serialize)]
pub(super) struct RotationsDto {
    pub(super) rotations: Vec<RotationDto>,
}

#[derive(Debug, Serialize)]
pub(super) struct RotationDto {
    id: String,
    state: State,
    due_at: String,
    expected: Vec<String>,
    missing: Vec<String>,
    failed: Vec<String>,
    outcome: Option<&'static str>,
    settled_at: Option<String>,
    completed_late_at: Option<String>,
}

impl RotationDto {
    pub(super) fn new(rotation: &Rotation, now: Timestamp) -> Self {
        let succeeded =
            |service: &String| rotation.reports.get(service).is_some_and(|report| report.success.is_some());
        let failing = rotation
            .reports
            .iter()
            .filter(|(_, report)| report.failure.is_some() && report.success.is_none());
        Self {
            id: rotation.id.clone(),
            state: rotation.state(now),
            due_at: rotation.due().to_string(),
            expected: rotation.expected().to_vec(),
            missing: rotation.expected().iter().filter(|service| !succeeded(service)).cloned().collect(),
            failed: failing.map(|(service, _)| service.clone()).collect(),
            outcome: rotation.settled.map(|settled| settled.outcome.word()),
            settled_at: rotation.settled.map(|settled| settled.at.to_string()),
            completed_late_at: rotation.completed_late().map(|time| time.to_string()),
        }
    }
}
