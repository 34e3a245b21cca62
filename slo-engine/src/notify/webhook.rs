//! One try to deliver one notification over HTTP, and what its answer means.

use super::{OutboxRow, Receiver};
use crate::unreachable::describe;
use pqscope_slo_core::time::Timestamp;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(15);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a try came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It may work later.
    Retry {
        /// What went wrong.
        reason: String,
        /// How long the receiver asks us to wait.
        asked: Option<Duration>,
    },
    /// It will never work.
    Refused {
        /// What the receiver said.
        reason: String,
    },
}

/// A client for all receivers. Redirects are not followed: they would turn the post into something else.
pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(concat!("pqscope-slo/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none())
        .build()
}

/// Posts a row.
pub(super) async fn post(client: &Client, receiver: &Receiver, row: &OutboxRow, now: Timestamp) -> Outcome {
    let Ok(key) = HeaderValue::from_str(&row.idempotency_key) else {
        return Outcome::Refused { reason: "the idempotency key cannot be sent as a header".to_owned() };
    };
    let request = client
        .post(receiver.url().clone())
        .header(CONTENT_TYPE, "application/json")
        .header(IDEMPOTENCY_KEY, key)
        .body(row.body.clone());
    match request.send().await {
        Ok(response) => judge(response.status(), response.headers(), now),
        Err(error) => Outcome::Retry { reason: describe(error), asked: None },
    }
}

fn judge(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Outcome {
    let reason = format!("the receiver answered {status}");
    if status.is_success() {
        return Outcome::Delivered;
    }
    // Only an answer about the body itself is final. A token that is being rotated (401, 403) or an ingress that is being
    // redeployed (404) must not cost a page.
    let is_final = matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::GONE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY
    );
    if is_final {
        return Outcome::Refused { reason };
    }
    let asked = headers.get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
    Outcome::Retry { reason, asked }
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    let date = Timestamp::from_seconds(u64::try_from(date.as_second()).ok()?);
    Some(date.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, after: Option<&'static str>) -> Outcome {
        let headers = after.map(|after| (RETRY_AFTER, HeaderValue::from_static(after))).into_iter().collect();
        judge(StatusCode::from_u16(status).unwrap(), &headers, Timestamp::from_seconds(1_445_412_480))
    }

    #[test]
    fn only_success_delivers() {
        assert_eq!(answer(200, None), Outcome::Delivered);
        assert_eq!(answer(204, None), Outcome::Delivered);
        for status in [401, 403, 404, 408, 409, 429, 500, 502, 503, 301, 307] {
            assert!(matches!(answer(status, None), Outcome::Retry { asked: None, .. }), "{status}");
        }
        for status in [400, 410, 413, 422] {
            assert!(matches!(answer(status, None), Outcome::Refused { .. }), "{status}");
        }
    }

    #[test]
    fn the_receiver_may_ask_for_time() {
        let asked = |after| match answer(503, Some(after)) {
            Outcome::Retry { asked, .. } => asked,
            other => panic!("{other:?}"),
        };
        assert_eq!(asked("17"), Some(Duration::from_secs(17)));
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(asked("Wed, 21 Oct 2015 07:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
    }
}
