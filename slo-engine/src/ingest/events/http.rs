//! Events over HTTP: `POST` and `GET /api/v1/events`, `GET /api/v1/rotations`, on the web listener.

use super::answer::{EventsDto, ReceiptDto, RotationDto, RotationsDto, ignored_fields};
use super::{Entries, EventDoor, cloud};
use crate::ingest::Unavailable;
use crate::ingest::body::{self, BodyFault};
use crate::ingest::http::{read, retry_later};
use axum::extract::{Query as UrlQuery, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use pqscope_slo_core::event::history::Query;
use pqscope_slo_core::event::{EventKind, parse_time};
use serde::Deserialize;
use serde_json::json;

/// Events of an answer unless told.
const SHOWN: usize = 100;
/// Most events of an answer.
const MOST_SHOWN: usize = 10_000;

/// The routes for events.
pub(crate) fn router(door: EventDoor) -> Router {
    Router::new()
        .route("/api/v1/events", get(show_events).post(take_events))
        .route("/api/v1/rotations", get(show_rotations))
        .with_state(door)
}

async fn take_events(State(door): State<EventDoor>, request: Request) -> Response {
    let entries = match read_entries(&door, request).await {
        Ok(entries) => entries,
        Err(fault) => return refuse(fault.status(), &fault.to_string()),
    };
    let nothing_readable = !entries.is_empty() && entries.iter().all(Result::is_err);
    let ignored = ignored_fields(&entries);
    match door.take(entries).await {
        Ok(verdicts) => {
            let status = if nothing_readable { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            (status, Json(ReceiptDto::new(&verdicts, ignored))).into_response()
        }
        Err(unavailable) => busy(&unavailable),
    }
}

async fn read_entries(door: &EventDoor, request: Request) -> Result<Entries, BodyFault> {
    let (parts, content) = request.into_parts();
    let mode = cloud::mode_of(&parts.headers)?;
    let limit = door.max_request_bytes;
    let bytes = read(&parts.headers, content, limit).await?;
    let received = door.clock.now();
    let reading = tokio::task::spawn_blocking(move || {
        let content = body::decompress(&parts.headers, bytes, limit)?;
        cloud::read(mode, &parts.headers, &content, received)
    });
    // The task is neither aborted nor does it panic on bad input; if it did, it would be the input's fault.
    reading.await.map_err(|error| BodyFault::Malformed(format!("the body cannot be read: {error}")))?
}

#[derive(Debug, Deserialize)]
struct EventFilter {
    #[serde(rename = "type")]
    kind: Option<String>,
    service: Option<String>,
    since: Option<String>,
    limit: Option<usize>,
}

async fn show_events(State(door): State<EventDoor>, UrlQuery(filter): UrlQuery<EventFilter>) -> Response {
    let query = match query_of(filter) {
        Ok(query) => query,
        Err(message) => return refuse(StatusCode::BAD_REQUEST, &message),
    };
    match door.find(query).await {
        Ok(events) => {
            Json(EventsDto { events: events.into_iter().map(Into::into).collect() }).into_response()
        }
        Err(unavailable) => busy(&unavailable),
    }
}

fn query_of(filter: EventFilter) -> Result<Query, String> {
    let kind = filter.kind.filter(|word| !word.is_empty());
    let kind = kind.map(|word| EventKind::from_word(&word).ok_or(word)).transpose();
    let kind = kind.map_err(|word| {
        let known: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.word()).collect();
        format!("`type` must be one of {}, not {word:?}", known.join(", "))
    })?;
    let since = filter.since.filter(|text| !text.is_empty());
    let since =
        since.map(|text| parse_time(&text).ok_or("`since` must be a time as in 2026-01-31T12:00:00Z"));
    let limit = filter.limit.unwrap_or(SHOWN).min(MOST_SHOWN);
    Ok(Query {
        kind,
        service: filter.service.filter(|name| !name.is_empty()),
        since: since.transpose()?,
        limit,
    })
}

async fn show_rotations(State(door): State<EventDoor>) -> Response {
    let now = door.clock.now();
    match door.rotations().await {
        Ok(rotations) => {
            let rotations = rotations.iter().map(|rotation| RotationDto::new(rotation, now)).collect();
            Json(RotationsDto { rotations }).into_response()
        }
        Err(unavailable) => busy(&unavailable),
    }
}

fn busy(unavailable: &Unavailable) -> Response {
    retry_later(refuse(StatusCode::SERVICE_UNAVAILABLE, &unavailable.to_string()))
}

fn refuse(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}
