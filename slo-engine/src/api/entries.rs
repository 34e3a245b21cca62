//! What people enter and look up by hand: spans that do not count, and incidents that they found first.
//!
//! Bodies are JSON with the content type `application/json`, which a page of somebody else cannot send without being
//! asked first. Answers come once the disk has what was entered.

use super::Window;
use crate::keeper::{Order, OrderFault};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use pqscope_slo_core::detection::{Detection, Entered, summary};
use pqscope_slo_core::exclusion::Exclusion;
use pqscope_slo_core::objective::Severity;
use pqscope_slo_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use tokio::sync::oneshot;

/// Longest text that is taken, in bytes.
const LONGEST_TEXT: usize = 2_000;

/// Body of `POST /api/v1/exclusions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewExclusion {
    /// Names of objectives; all when left out.
    #[serde(default)]
    objectives: BTreeSet<String>,
    /// OpenSLO services; all when left out.
    #[serde(default)]
    services: BTreeSet<String>,
    /// RFC 3339; now when left out.
    from: Option<String>,
    /// RFC 3339; open until it is ended when left out.
    until: Option<String>,
    author: String,
    reason: String,
}

/// An exclusion in answers.
#[derive(Debug, Serialize)]
struct ExclusionDto {
    id: u64,
    objectives: BTreeSet<String>,
    services: BTreeSet<String>,
    from: String,
    until: Option<String>,
    author: String,
    reason: String,
    entered_at: String,
    /// Whether it holds now.
    active: bool,
}

impl ExclusionDto {
    fn new(exclusion: &Exclusion, now: Timestamp) -> Self {
        Self {
            id: exclusion.id,
            objectives: exclusion.objectives.clone(),
            services: exclusion.services.clone(),
            from: exclusion.from.to_string(),
            until: exclusion.until.map(|until| until.to_string()),
            author: exclusion.author.clone(),
            reason: exclusion.reason.clone(),
            entered_at: exclusion.entered.to_string(),
            active: exclusion.holds(now),
        }
    }
}

/// Body of `POST /api/v1/incidents/missed`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewMissed {
    /// When it began, RFC 3339.
    began: String,
    service: String,
    author: String,
    description: String,
    severity: Option<Severity>,
}

/// A detection in answers.
#[derive(Debug, Serialize)]
struct DetectionDto {
    slo: String,
    service: String,
    severity: Severity,
    began_at: String,
    told_at: Option<String>,
    seconds: Option<f64>,
    missed: bool,
    author: Option<String>,
    description: Option<String>,
}

impl From<&Detection> for DetectionDto {
    fn from(detection: &Detection) -> Self {
        let entered = detection.entered.as_ref();
        Self {
            slo: detection.objective.clone(),
            service: detection.service.clone(),
            severity: detection.severity,
            began_at: detection.began.to_string(),
            told_at: detection.told.map(|told| told.to_string()),
            seconds: detection.taken().map(|taken| taken.as_secs_f64()),
            missed: detection.told.is_none(),
            author: entered.map(|entered| entered.author.clone()),
            description: entered.map(|entered| entered.description.clone()),
        }
    }
}

/// Why an entry was not taken.
pub(super) enum Fault {
    Body(String),
    Field(&'static str, &'static str),
    Order(OrderFault),
    Stopping,
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Body(text) => (StatusCode::BAD_REQUEST, text),
            Self::Field(field, help) => (StatusCode::BAD_REQUEST, format!("`{field}`: {help}")),
            Self::Order(fault @ OrderFault::Unknown(_)) => (StatusCode::NOT_FOUND, fault.to_string()),
            Self::Order(fault @ OrderFault::NoSuchName(_)) => (StatusCode::BAD_REQUEST, fault.to_string()),
            Self::Order(fault @ OrderFault::Store(_)) => (StatusCode::SERVICE_UNAVAILABLE, fault.to_string()),
            Self::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, "the engine is busy or shutting down".to_owned())
            }
        };
        let mut response = (status, Json(json!({"error": text}))).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
        }
        response
    }
}

/// `GET /api/v1/exclusions`: newest first.
pub(super) async fn exclusions(State(window): State<Window>) -> impl IntoResponse {
    let now = window.clock.now();
    let view = window.view();
    let list: Vec<ExclusionDto> = view.exclusions.iter().map(|one| ExclusionDto::new(one, now)).collect();
    Json(json!({"exclusions": list}))
}

/// `POST /api/v1/exclusions`.
pub(super) async fn exclude(
    State(window): State<Window>,
    body: Result<Json<NewExclusion>, JsonRejection>,
) -> Result<impl IntoResponse, Fault> {
    let now = window.clock.now();
    let Json(new) = body.map_err(|error| Fault::Body(error.body_text()))?;
    let new = exclusion(new, now)?;
    let made = order(&window, |reply| Order::Exclude(new, reply)).await?;
    Ok((StatusCode::CREATED, Json(ExclusionDto::new(&made, now))))
}

fn exclusion(new: NewExclusion, now: Timestamp) -> Result<Exclusion, Fault> {
    let from = new.from.map_or(Ok(now), |text| time("from", &text))?;
    let until = new.until.map(|text| time("until", &text)).transpose()?;
    if until.is_some_and(|until| until <= from) {
        return Err(Fault::Field("until", "must be later than `from`"));
    }
    Ok(Exclusion {
        id: 0,
        objectives: new.objectives,
        services: new.services,
        from,
        until,
        author: text("author", new.author)?,
        reason: text("reason", new.reason)?,
        entered: now,
    })
}

/// `POST /api/v1/exclusions/{id}/end`.
pub(super) async fn end_exclusion(
    State(window): State<Window>,
    Path(id): Path<u64>,
) -> Result<impl IntoResponse, Fault> {
    let now = window.clock.now();
    let ended = order(&window, |reply| Order::EndExclusion { id, at: now, reply }).await?;
    Ok(Json(ExclusionDto::new(&ended, now)))
}

/// `GET /api/v1/detections`: how the latest incidents came to be known, and all of them together.
pub(super) async fn detections(State(window): State<Window>) -> impl IntoResponse {
    let view = window.view();
    let list: Vec<DetectionDto> = view.detections.iter().map(DetectionDto::from).collect();
    Json(json!({"summary": summary(&view.detections), "detections": list}))
}

/// `POST /api/v1/incidents/missed`.
pub(super) async fn missed(
    State(window): State<Window>,
    body: Result<Json<NewMissed>, JsonRejection>,
) -> Result<impl IntoResponse, Fault> {
    let now = window.clock.now();
    let Json(new) = body.map_err(|error| Fault::Body(error.body_text()))?;
    let new = missed_incident(new, now)?;
    let made = order(&window, |reply| Order::Missed(new, reply)).await?;
    Ok((StatusCode::CREATED, Json(DetectionDto::from(&made))))
}

fn missed_incident(new: NewMissed, now: Timestamp) -> Result<Detection, Fault> {
    let began = time("began", &new.began)?;
    if began > now {
        return Err(Fault::Field("began", "lies in the future"));
    }
    Ok(Detection {
        objective: String::new(),
        service: text("service", new.service)?,
        severity: new.severity.unwrap_or(Severity::Page),
        began,
        told: None,
        entered: Some(Entered {
            author: text("author", new.author)?,
            description: text("description", new.description)?,
            at: now,
        }),
    })
}

async fn order<T>(
    window: &Window,
    make: impl FnOnce(oneshot::Sender<Result<T, OrderFault>>) -> Order,
) -> Result<T, Fault> {
    let (reply, answer) = oneshot::channel();
    window.orders.try_send(make(reply)).map_err(|_| Fault::Stopping)?;
    answer.await.map_err(|_| Fault::Stopping)?.map_err(Fault::Order)
}

fn time(field: &'static str, text: &str) -> Result<Timestamp, Fault> {
    let fault = Fault::Field(field, "write a time as RFC 3339 has it, such as 2026-01-31T12:00:00Z");
    let Ok(time) = text.parse::<jiff::Timestamp>() else { return Err(fault) };
    match u64::try_from(time.as_nanosecond()) {
        Ok(nanoseconds) => Ok(Timestamp::from_nanoseconds(nanoseconds)),
        Err(_) => Err(fault),
    }
}

fn text(field: &'static str, text: String) -> Result<String, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::Field(field, "must not be empty"));
    }
    if text.len() > LONGEST_TEXT {
        return Err(Fault::Field(field, "is too long; at most 2000 bytes"));
    }
    Ok(text.to_owned())
}
