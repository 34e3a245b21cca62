//! Events as OTLP log records, over HTTP (`POST /v1/logs`) and gRPC (`LogsService/Export`).
//!
//! A record is an event when its event name is a type of ours: the field `event_name`, or the attribute `event.name`.
//! Its data are the attributes, as `service` or `pqscope.service`, and the body where that is a map. Records with
//! another name, or none, are somebody else's and ignored; a name under `pqscope.` that is no type is refused.
//!
//! Repeats are told by the attribute `event.id` (or `cloudevents.event_id`), unique for its source (the attribute
//! `cloudevents.event_source`, else the resource's `service.name`). Without it the identity is a hash over name, time,
//! body, attributes and resource: the same record sent again counts once.

use super::{EventDoor, Verdicts, by_reason};
use crate::ingest::body::{self, BodyFault, Encoding};
use crate::ingest::convert::{json_of, text_of};
use crate::ingest::http::{busy, read, refuse, respond};
use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::http::StatusCode;
use axum::response::Response as HttpResponse;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use pqscope_slo_core::event::{Checked, RawEvent, Refusal};
use pqscope_slo_core::time::Timestamp;
use prost::Message;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

const OWN_PREFIX: &str = "pqscope.";
/// Attributes that are about the event rather than part of it.
const ABOUT: [&str; 4] = ["event.name", "event.id", "cloudevents.event_id", "cloudevents.event_source"];
/// Defaults that a resource may give for all its records.
const FROM_RESOURCE: [&str; 2] = ["pqscope.service", "pqscope.deployment"];

/// Events of a request; the records that are none of ours are not among them.
fn convert(request: &ExportLogsServiceRequest, received: Timestamp) -> Vec<Result<Checked, Refusal>> {
    let mut entries = Vec::new();
    for group in &request.resource_logs {
        let resource = group.resource.as_ref().map_or(&[][..], |resource| &resource.attributes);
        for record in group.scope_logs.iter().flat_map(|scope| &scope.log_records) {
            if let Some(kind) = kind_of(record) {
                entries.push(raw(record, kind, resource).check(received));
            }
        }
    }
    entries
}

fn kind_of(record: &LogRecord) -> Option<String> {
    let named = Some(record.event_name.clone()).filter(|name| !name.is_empty());
    let name = named.or_else(|| attribute(&record.attributes, "event.name"))?;
    name.starts_with(OWN_PREFIX).then_some(name)
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|pair| pair.key == key)?;
    found.value.as_ref().map(text_of).filter(|text| !text.is_empty())
}

fn raw(record: &LogRecord, kind: String, resource: &[KeyValue]) -> RawEvent {
    let mut data = Map::new();
    if let Some(AnyValue { value: Some(any_value::Value::KvlistValue(list)) }) = &record.body {
        put_all(&mut data, &list.values);
    }
    put_all(&mut data, &record.attributes);
    for key in FROM_RESOURCE {
        let name = key.trim_start_matches(OWN_PREFIX);
        if let Some(value) = attribute(resource, key).filter(|_| !data.contains_key(name)) {
            data.insert(name.to_owned(), Value::from(value));
        }
    }
    let id = ["event.id", "cloudevents.event_id"].iter().find_map(|key| attribute(&record.attributes, key));
    let source = attribute(&record.attributes, "cloudevents.event_source")
        .or_else(|| attribute(resource, "service.name"))
        .unwrap_or_else(|| "otlp".to_owned());
    let time = [record.time_unix_nano, record.observed_time_unix_nano].into_iter().find(|time| *time > 0);
    RawEvent {
        id: id.unwrap_or_else(|| hash_of(record, &kind, resource)),
        source,
        kind,
        time: time.map(Timestamp::from_nanoseconds),
        data,
    }
}

fn put_all(data: &mut Map<String, Value>, pairs: &[KeyValue]) {
    for pair in pairs.iter().filter(|pair| !ABOUT.contains(&pair.key.as_str())) {
        let name = pair.key.strip_prefix(OWN_PREFIX).unwrap_or(&pair.key);
        let value = match &pair.value {
            // JSON has no such numbers; as text they are refused by name instead of reading as left out.
            Some(AnyValue { value: Some(any_value::Value::DoubleValue(number)) }) if !number.is_finite() => {
                Value::from(number.to_string())
            }
            Some(value) => json_of(value),
            None => Value::Null,
        };
        data.insert(name.to_owned(), value);
    }
}

/// Identity of a record without one of its own.
fn hash_of(record: &LogRecord, kind: &str, resource: &[KeyValue]) -> String {
    let told = LogRecord {
        time_unix_nano: record.time_unix_nano,
        event_name: kind.to_owned(),
        body: record.body.clone(),
        attributes: record.attributes.clone(),
        ..LogRecord::default()
    };
    let mut hash = Sha256::new();
    hash.update(told.encode_to_vec());
    for pair in resource {
        hash.update(pair.encode_to_vec());
    }
    let digest = hash.finalize();
    digest.iter().take(16).fold(String::from("sha256:"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Number of refused records with the reasons, for `partial_success`; `None` when all is well.
fn partial(verdicts: &Verdicts, lost: u64) -> Option<(i64, String)> {
    let reasons = by_reason(verdicts);
    let refused = reasons.values().sum::<u64>() + lost;
    if refused == 0 {
        return None;
    }
    let mut message = String::new();
    for (word, count) in &reasons {
        let example = verdicts.iter().filter_map(|verdict| verdict.as_ref().err());
        let example =
            example.filter(|refusal| refusal.reason.word() == *word).map(ToString::to_string).next();
        let _ = write!(message, "{count} {word}: {}; ", example.unwrap_or_default());
    }
    if lost > 0 {
        let _ = write!(message, "{lost} unreadable: OTLP/JSON writes keys in lowerCamelCase; ");
    }
    let message = message.trim_end_matches("; ").to_owned();
    Some((i64::try_from(refused).unwrap_or(i64::MAX), message))
}

/// The route of the OTLP/HTTP listener.
pub(crate) fn router(door: EventDoor) -> Router {
    Router::new().route("/v1/logs", post(take_logs)).with_state(door)
}

async fn take_logs(State(door): State<EventDoor>, request: HttpRequest) -> HttpResponse {
    let (parts, content) = request.into_parts();
    let encoding = match body::encoding_of(&parts.headers) {
        Ok(encoding) => encoding,
        Err(fault) => return refuse(Encoding::Json, &fault),
    };
    let limit = door.max_request_bytes;
    let bytes = match read(&parts.headers, content, limit).await {
        Ok(bytes) => bytes,
        Err(fault) => return refuse(encoding, &fault),
    };
    let received = door.clock.now();
    let unpacking = tokio::task::spawn_blocking(move || {
        let content = body::decompress(&parts.headers, bytes, limit)?;
        let (request, lost) = decode(encoding, &content)?;
        Ok((convert(&request, received), lost))
    });
    let (entries, lost) = match unpacking.await {
        Ok(Ok(unpacked)) => unpacked,
        Ok(Err(fault)) => return refuse(encoding, &fault),
        Err(error) => {
            return refuse(encoding, &BodyFault::Malformed(format!("the body cannot be unpacked: {error}")));
        }
    };
    match door.take(entries).await {
        Ok(verdicts) => respond(encoding, StatusCode::OK, encode(encoding, partial(&verdicts, lost))),
        Err(unavailable) => busy(encoding, &unavailable),
    }
}

/// The request, and how many records stand in its text but not in the message.
fn decode(encoding: Encoding, content: &[u8]) -> Result<(ExportLogsServiceRequest, u64), BodyFault> {
    match encoding {
        Encoding::Protobuf => {
            let request = ExportLogsServiceRequest::decode(content).map_err(|error| {
                BodyFault::Malformed(format!("the body is not an ExportLogsServiceRequest: {error}"))
            })?;
            Ok((request, 0))
        }
        Encoding::Json => {
            let malformed = |error: serde_json::Error| {
                BodyFault::Malformed(format!("the body is not an ExportLogsServiceRequest in JSON: {error}"))
            };
            let text: Value = serde_json::from_slice(content).map_err(malformed)?;
            let written = records_in(&text);
            let request: ExportLogsServiceRequest = serde_json::from_value(text).map_err(malformed)?;
            let scopes = request.resource_logs.iter().flat_map(|group| &group.scope_logs);
            let kept: usize = scopes.map(|scope| scope.log_records.len()).sum();
            Ok((request, written.saturating_sub(kept as u64)))
        }
    }
}

/// Log records in a text, however their keys are written.
fn records_in(text: &Value) -> u64 {
    match text {
        Value::Array(items) => items.iter().map(records_in).sum(),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| match (key.as_str(), value) {
                ("logRecords" | "log_records", Value::Array(records)) => records.len() as u64,
                ("resourceLogs" | "resource_logs" | "scopeLogs" | "scope_logs", value) => records_in(value),
                _ => 0,
            })
            .sum(),
        _ => 0,
    }
}

fn encode(encoding: Encoding, partial: Option<(i64, String)>) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => response(partial).encode_to_vec(),
        // Written by hand: proto3 JSON leaves out what is not set, and writes 64-bit numbers as text.
        Encoding::Json => match partial {
            None => b"{}".to_vec(),
            Some((rejected, message)) => serde_json::json!({"partialSuccess": {
                "rejectedLogRecords": rejected.to_string(),
                "errorMessage": message,
            }})
            .to_string()
            .into_bytes(),
        },
    }
}

fn response(partial: Option<(i64, String)>) -> ExportLogsServiceResponse {
    ExportLogsServiceResponse {
        partial_success: partial.map(|(rejected_log_records, error_message)| ExportLogsPartialSuccess {
            rejected_log_records,
            error_message,
        }),
    }
}

/// The logs service, gzip taken, messages bounded before and after decompression.
pub(crate) fn service(door: EventDoor) -> LogsServiceServer<Service> {
    let limit = door.max_request_bytes;
    LogsServiceServer::new(Service { door })
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limit)
}

/// Answers `Export` calls.
#[derive(Debug)]
pub(crate) struct Service {
    door: EventDoor,
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let entries = convert(request.get_ref(), self.door.clock.now());
        drop(request);
        let verdicts = self
            .door
            .take(entries)
            .await
            .map_err(|unavailable| Status::unavailable(unavailable.to_string()))?;
        Ok(Response::new(response(partial(&verdicts, 0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entries(record: Value) -> Vec<Result<Checked, Refusal>> {
        let resource = json!({"attributes": [
            {"key": "service.name", "value": {"stringValue": "kms"}},
            {"key": "pqscope.deployment", "value": {"stringValue": "blue"}}]});
        let text = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": [record]}]}]});
        let (request, lost) = decode(Encoding::Json, text.to_string().as_bytes()).unwrap();
        assert_eq!(lost, 0);
        convert(&request, Timestamp::from_seconds(5))
    }

    fn texts(pairs: &[(&str, &str)]) -> Value {
        pairs.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect()
    }

    #[test]
    fn attributes_and_body_make_the_data() {
        let body =
            json!({"kvlistValue": {"values": texts(&[("service", "registry"), ("algorithm", "ML-DSA-65")])}});
        let attributes =
            texts(&[("pqscope.result", "failure"), ("event.id", "7"), ("thread", "1"), ("duration", "0.5")]);
        let record = json!({"timeUnixNano": "9000000000", "eventName": "pqscope.sign", "body": body, "attributes": attributes});
        let made = entries(record);
        let Checked { event, ignored_fields } = made[0].clone().unwrap();
        assert_eq!((event.id.as_str(), event.source.as_str(), ignored_fields), ("7", "kms", 1));
        assert_eq!(event.time, Timestamp::from_seconds(9));
        assert_eq!(event.data.service.as_deref(), Some("registry"));
        assert_eq!((event.data.deployment.as_deref(), event.data.duration), (Some("blue"), Some(0.5)));
    }

    #[test]
    fn records_of_others_are_ignored_and_unknown_types_of_ours_refused() {
        assert_eq!(entries(json!({"body": {"stringValue": "hello"}})), []);
        assert_eq!(entries(json!({"eventName": "exception"})), []);
        let refused = entries(json!({"attributes": texts(&[("event.name", "pqscope.sing")])}));
        assert_eq!(refused[0].as_ref().unwrap_err().reason.word(), "unknown_type");
        let nan = json!({"eventName": "pqscope.build", "attributes": [
            {"key": "result", "value": {"stringValue": "success"}}, {"key": "duration", "value": {"stringValue": "NaN"}}]});
        assert_eq!(entries(nan)[0].as_ref().unwrap_err().field.as_deref(), Some("data.duration"));
    }

    #[test]
    fn a_record_without_an_id_is_told_by_its_content() {
        let record = |time: &str, observed: &str| {
            let made = entries(json!({"timeUnixNano": time, "observedTimeUnixNano": observed,
                "eventName": "pqscope.policy.denial"}));
            made[0].clone().unwrap().event.key()
        };
        assert_eq!(record("1", "5"), record("1", "6"), "sent again");
        assert_ne!(record("1", "5"), record("2", "5"));
    }

    #[test]
    fn records_under_misspelt_keys_are_told() {
        let text = json!({"resource_logs": [{"scope_logs": [{"log_records": [{}, {}]}]}]});
        let (_, lost) = decode(Encoding::Json, text.to_string().as_bytes()).unwrap();
        assert_eq!(lost, 2);
        assert!(partial(&vec![], lost).unwrap().1.contains("lowerCamelCase"));
    }
}
