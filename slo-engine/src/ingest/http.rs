//! OTLP over HTTP: `POST /v1/metrics`.

use super::body::{self, BodyFault, Encoding};
use super::wire::convert_bytes;
use super::{Door, Export, Interest, Unavailable, convert};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;
use std::time::Duration;

/// Seconds after which a refused sender may try again.
const RETRY_AFTER_SECONDS: &str = "5";
/// A body must arrive within this time.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The routes of the OTLP/HTTP listener.
pub(crate) fn router(door: Door) -> Router {
    Router::new().route("/v1/metrics", post(take_metrics)).fallback(explain).with_state(door)
}

async fn explain() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        "This listener takes OTLP metrics and logs: POST /v1/metrics, POST /v1/logs. Traces are not taken.\n",
    )
}

async fn take_metrics(State(door): State<Door>, request: Request) -> Response {
    let (parts, content) = request.into_parts();
    let encoding = match body::encoding_of(&parts.headers) {
        Ok(encoding) => encoding,
        Err(fault) => return refuse(Encoding::Json, &fault),
    };
    match read_and_submit(&door, encoding, parts.headers, content).await {
        Ok(Ok(partial)) => respond(encoding, StatusCode::OK, body::encode_response(encoding, partial)),
        Ok(Err(unavailable)) => busy(encoding, &unavailable),
        Err(fault) => refuse(encoding, &fault),
    }
}

/// The answer to a sender that is to repeat its request.
pub(super) fn busy(encoding: Encoding, unavailable: &Unavailable) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    retry_later(respond(encoding, status, body::encode_status(encoding, status, unavailable.to_string())))
}

/// Tells the sender when to try again.
pub(super) fn retry_later(mut response: Response) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
    response
}

type Answer = Result<Option<(i64, String)>, Unavailable>;

async fn read_and_submit(
    door: &Door,
    encoding: Encoding,
    headers: HeaderMap,
    content: Body,
) -> Result<Answer, BodyFault> {
    let bytes = read(&headers, content, door.max_request_bytes).await?;
    // Large bodies take a while to unpack; the threads that serve the page must not wait for them.
    let (interest, limit) = (Arc::clone(&door.interest), door.max_request_bytes);
    let unpacking = tokio::task::spawn_blocking(move || unpack(encoding, &headers, bytes, limit, &interest));
    // The task is neither aborted nor does it panic on bad input; if it did, it would be the input's fault.
    let export = unpacking
        .await
        .map_err(|error| BodyFault::Malformed(format!("the body cannot be unpacked: {error}")))??;
    Ok(door.submit(export).await.map(|receipt| receipt.partial_success()))
}

/// The body, up to `limit` bytes of it.
pub(super) async fn read(headers: &HeaderMap, content: Body, limit: usize) -> Result<Vec<u8>, BodyFault> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(BodyFault::TooLarge(limit));
    }
    let reading = tokio::time::timeout(READ_TIMEOUT, to_bytes(content, limit));
    let bytes = reading.await.map_err(|_| BodyFault::TooSlow(READ_TIMEOUT.as_secs()))?;
    // The only other failure is a sender that hung up, and it will not read the answer.
    Ok(bytes.map_err(|_| BodyFault::TooLarge(limit))?.into())
}

fn unpack(
    encoding: Encoding,
    headers: &HeaderMap,
    bytes: Vec<u8>,
    limit: usize,
    interest: &Interest,
) -> Result<Export, BodyFault> {
    let content = body::decompress(headers, bytes, limit)?;
    if encoding == Encoding::Protobuf
        && let Some(export) = convert_bytes(&content, interest)
    {
        return Ok(export);
    }
    let decoded = body::decode(encoding, &content)?;
    let mut export = convert(&decoded.request, interest);
    let mut remarks = decoded.remarks;
    if decoded.lost_points > 0 {
        let why = if remarks.is_empty() {
            "the JSON could not be read as OTLP".to_owned()
        } else {
            remarks.join(", ")
        };
        export.refusals.add("unreadable", decoded.lost_points, || why);
    } else {
        export.warnings.append(&mut remarks);
    }
    Ok(export)
}

pub(super) fn refuse(encoding: Encoding, fault: &BodyFault) -> Response {
    let status = fault.status();
    respond(encoding, status, body::encode_status(encoding, status, fault.to_string()))
}

pub(super) fn respond(encoding: Encoding, status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, encoding.content_type())], body).into_response()
}
