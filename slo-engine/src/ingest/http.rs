//! OTLP over HTTP: `POST /v1/metrics`.

use super::body::{self, BodyFault, Encoding};
use super::{Door, Unavailable, convert};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

/// Seconds after which a refused sender may try again.
const RETRY_AFTER_SECONDS: &str = "5";

/// The routes of the OTLP/HTTP listener.
pub(crate) fn router(door: Door) -> Router {
    Router::new().route("/v1/metrics", post(take_metrics)).fallback(explain).with_state(door)
}

async fn explain() -> impl IntoResponse {
    (
        StatusCode::NOT_FOUND,
        "This listener takes OTLP metrics: POST /v1/metrics. Traces and logs are not taken.\n",
    )
}

async fn take_metrics(State(door): State<Door>, request: Request) -> Response {
    let (parts, content) = request.into_parts();
    let encoding = match body::encoding_of(&parts.headers) {
        Ok(encoding) => encoding,
        Err(fault) => return refuse(Encoding::Json, &fault),
    };
    match read_and_submit(&door, encoding, &parts.headers, content).await {
        Ok(Ok(partial)) => respond(encoding, StatusCode::OK, body::encode_response(encoding, partial)),
        Ok(Err(unavailable)) => {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let body = body::encode_status(encoding, status, unavailable.to_string());
            let mut response = respond(encoding, status, body);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
            response
        }
        Err(fault) => refuse(encoding, &fault),
    }
}

type Answer = Result<Option<(i64, String)>, Unavailable>;

async fn read_and_submit(
    door: &Door,
    encoding: Encoding,
    headers: &HeaderMap,
    content: Body,
) -> Result<Answer, BodyFault> {
    let limit = door.max_request_bytes;
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(BodyFault::TooLarge(limit));
    }
    // The only other failure is a sender that hung up, and it will not read the answer.
    let bytes = to_bytes(content, limit).await.map_err(|_| BodyFault::TooLarge(limit))?;
    let content = body::decompress(headers, bytes.into(), limit)?;
    let decoded = body::decode(encoding, &content)?;
    let mut export = convert(&decoded.request, &door.interest);
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
    Ok(door.submit(export).await.map(|receipt| receipt.partial_success()))
}

fn refuse(encoding: Encoding, fault: &BodyFault) -> Response {
    let status = fault.status();
    respond(encoding, status, body::encode_status(encoding, status, fault.to_string()))
}

fn respond(encoding: Encoding, status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, encoding.content_type())], body).into_response()
}
