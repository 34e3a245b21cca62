//! From the bytes of an HTTP request to an OTLP message, and from answers to bytes; no socket here.

use super::audit::{Audit, count_points};
use axum::http::{HeaderMap, StatusCode, header};
use flate2::read::MultiGzDecoder;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use std::borrow::Cow;
use std::io::Read;

/// `google.rpc.Code.INVALID_ARGUMENT`.
const INVALID_ARGUMENT: i32 = 3;
/// `google.rpc.Code.UNAVAILABLE`.
const UNAVAILABLE: i32 = 14;

/// How a request is written; its answer is written the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Encoding {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Why a request is refused for good: repeating it will not help.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyFault {
    /// Not one of the two types.
    #[error("the content type {0:?} is not taken; send application/x-protobuf or application/json")]
    ContentType(String),
    /// Not a type that events come in.
    #[error(
        "the content type {0:?} is not taken; send application/cloudevents+json, application/cloudevents-batch+json, or application/json with ce- headers"
    )]
    EventType(String),
    /// Not gzip.
    #[error("the content encoding {0:?} is not taken; send gzip or none")]
    ContentEncoding(String),
    /// Over the limit, before or after decompression.
    #[error("the request is larger than {0} bytes; send smaller batches, or raise --max-request")]
    TooLarge(usize),
    /// The body did not come in time.
    #[error("the request did not arrive within {0} seconds")]
    TooSlow(u64),
    /// Bytes that are not what they should be.
    #[error("{0}")]
    Malformed(String),
}

impl BodyFault {
    /// Status of the answer.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::ContentType(_) | Self::EventType(_) | Self::ContentEncoding(_) => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The content type as it was sent, and what it comes to without parameters (RFC 9110, section 8.3.1).
pub(super) fn content_type(headers: &HeaderMap) -> (Cow<'_, str>, String) {
    let text = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let text = text.unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (text, essence)
}

/// The encoding that the headers announce.
pub(super) fn encoding_of(headers: &HeaderMap) -> Result<Encoding, BodyFault> {
    let (text, essence) = content_type(headers);
    match essence.as_str() {
        "application/x-protobuf" => Ok(Encoding::Protobuf),
        "application/json" => Ok(Encoding::Json),
        _ => Err(BodyFault::ContentType(text.chars().take(100).collect())),
    }
}

/// Undoes the compression that the headers announce, up to `limit_bytes` of content.
pub(super) fn decompress(
    headers: &HeaderMap,
    bytes: Vec<u8>,
    limit_bytes: usize,
) -> Result<Vec<u8>, BodyFault> {
    let coding = headers.get(header::CONTENT_ENCODING).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match coding.as_deref().map(str::trim) {
        None | Some("" | "identity") => Ok(bytes),
        Some(coding) if coding.eq_ignore_ascii_case("gzip") => {
            let mut content = Vec::new();
            let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
            MultiGzDecoder::new(bytes.as_slice())
                .take(limit)
                .read_to_end(&mut content)
                .map_err(|error| BodyFault::Malformed(format!("the body is not valid gzip: {error}")))?;
            if content.len() > limit_bytes {
                return Err(BodyFault::TooLarge(limit_bytes));
            }
            Ok(content)
        }
        Some(other) => Err(BodyFault::ContentEncoding(other.chars().take(100).collect())),
    }
}

/// A decoded request, with what decoding lost.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) request: ExportMetricsServiceRequest,
    /// Points that stand in the text but not in the message.
    pub(super) lost_points: u64,
    /// What is odd about the text.
    pub(super) remarks: Vec<String>,
}

/// Decodes a request.
pub(super) fn decode(encoding: Encoding, content: &[u8]) -> Result<Decoded, BodyFault> {
    match encoding {
        Encoding::Protobuf => ExportMetricsServiceRequest::decode(content)
            .map(|request| Decoded { request, lost_points: 0, remarks: Vec::new() })
            .map_err(|error| {
                BodyFault::Malformed(format!("the body is not an ExportMetricsServiceRequest: {error}"))
            }),
        Encoding::Json => {
            let malformed = |error: serde_json::Error| {
                BodyFault::Malformed(format!(
                    "the body is not an ExportMetricsServiceRequest in JSON: {error}"
                ))
            };
            let text: serde_json::Value = serde_json::from_slice(content).map_err(malformed)?;
            let audit = Audit::of(&text);
            let request: ExportMetricsServiceRequest = serde_json::from_value(text).map_err(malformed)?;
            let lost_points = audit.points.saturating_sub(count_points(&request));
            Ok(Decoded { request, lost_points, remarks: audit.remarks.into_iter().collect() })
        }
    }
}

/// The success answer.
pub(super) fn encode_response(encoding: Encoding, partial: Option<(i64, String)>) -> Vec<u8> {
    let response = ExportMetricsServiceResponse {
        partial_success: partial.map(|(rejected_data_points, error_message)| ExportMetricsPartialSuccess {
            rejected_data_points,
            error_message,
        }),
    };
    match encoding {
        Encoding::Protobuf => response.encode_to_vec(),
        Encoding::Json => {
            // Written by hand: proto3 JSON leaves out what is not set, and writes 64-bit numbers as text.
            let body = match response.partial_success {
                None => serde_json::json!({}),
                Some(partial) => serde_json::json!({"partialSuccess": {
                    "rejectedDataPoints": partial.rejected_data_points.to_string(),
                    "errorMessage": partial.error_message,
                }}),
            };
            body.to_string().into_bytes()
        }
    }
}

/// `google.rpc.Status`, the body of every OTLP/HTTP error.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The body of an error answer.
pub(super) fn encode_status(encoding: Encoding, status: StatusCode, message: String) -> Vec<u8> {
    let code = if status.is_server_error() { UNAVAILABLE } else { INVALID_ARGUMENT };
    match encoding {
        Encoding::Protobuf => Status { code, message }.encode_to_vec(),
        Encoding::Json => serde_json::json!({"code": code, "message": message}).to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_two_types_are_taken_with_parameters() {
        let of = |text: &str| encoding_of(&headers(&[(header::CONTENT_TYPE, text)]));
        assert_eq!(of("application/json; charset=utf-8"), Ok(Encoding::Json));
        assert_eq!(of("Application/X-Protobuf"), Ok(Encoding::Protobuf));
        assert!(of("text/plain").is_err());
        assert_eq!(encoding_of(&HeaderMap::new()), Err(BodyFault::ContentType(String::new())));
    }

    #[test]
    fn the_limit_holds_after_decompression() {
        let gzipped = headers(&[(header::CONTENT_ENCODING, "gzip")]);
        assert_eq!(decompress(&gzipped, gzip(&[0; 1000]), 1000).unwrap().len(), 1000);
        assert_eq!(decompress(&gzipped, gzip(&[0; 1001]), 1000), Err(BodyFault::TooLarge(1000)));
        assert!(matches!(decompress(&gzipped, b"plain".to_vec(), 1000), Err(BodyFault::Malformed(_))));
        let mut cut = gzip(&[7; 500]);
        cut.truncate(cut.len() - 4);
        assert!(matches!(decompress(&gzipped, cut, 1000), Err(BodyFault::Malformed(_))));
        let brotli = headers(&[(header::CONTENT_ENCODING, "br")]);
        assert_eq!(decompress(&brotli, vec![], 10).unwrap_err().status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn errors_are_written_in_the_encoding_of_the_request() {
        let json = encode_status(Encoding::Json, StatusCode::BAD_REQUEST, "no".into());
        assert_eq!(json, br#"{"code":3,"message":"no"}"#);
        let bytes = encode_status(Encoding::Protobuf, StatusCode::SERVICE_UNAVAILABLE, "later".into());
        assert_eq!(Status::decode(bytes.as_slice()).unwrap(), Status { code: 14, message: "later".into() });
    }
}
