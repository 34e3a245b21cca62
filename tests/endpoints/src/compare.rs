//! Holds a record of the agent against what the ends tell: a truth and a record enter, one verdict per field leaves. Pure.

use crate::truth::{Chain, End, Truth};
use crate::wire::{Phase, Side};
use serde_json::{Value, json};

/// What became of one field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The record says what the ends say.
    Equal,
    /// The record leaves open what it could only infer.
    Unknown,
    /// The record says something else: what is right, and what it says.
    Different(String, String),
}

/// A field's name and verdict.
pub(crate) type Field = (&'static str, Verdict);

/// Compares everything that the ends tell.
pub(crate) fn compare(truth: &Truth, record: &Value) -> Vec<Field> {
    let mut fields = Vec::new();
    negotiated(truth, record, &mut fields);
    let clear = !truth.modern;
    if let Some(chain) = &truth.certificates {
        let names = ["certificates", "certificates: bounds", "certificates: message"];
        certificates(names, chain, clear, &record["certificates"], &mut fields);
    }
    if let Some(chain) = &truth.client_certificates {
        let names = ["client certificates", "client certificates: bounds", "client certificates: message"];
        certificates(names, chain, clear, &record["client_certificates"], &mut fields);
    }
    if let Some(family) = truth.certificates.as_ref().and_then(|chain| chain.family) {
        fields.push(("certificate_verify", open(&json!(family), &record["certificate_verify"]["family"])));
    }
    if let Some(flight) = &truth.flight {
        // Tickets may follow in the same packet, and 64 records are kept.
        let told = record["server_flight"]["records"]
            .as_array()
            .map(|told| told.iter().take(flight.len()).cloned().collect());
        let flight: Vec<_> = flight.iter().take(64).collect();
        fields.push(("server_flight", verdict(&json!(flight), &told.map_or(Value::Null, Value::Array))));
    }
    absent(truth, record, &mut fields);
    end(truth, record, &mut fields);
    fields
}

fn negotiated(truth: &Truth, record: &Value, fields: &mut Vec<Field>) {
    let mut add = |name, right: Option<Value>, said: &Value| {
        fields.extend(right.map(|right| (name, verdict(&right, said))))
    };
    let number = |value: Option<u16>| value.map(|value| json!(format!("0x{value:04x}")));
    add("version", number(truth.version), &record["version"]);
    add("cipher_suite", number(truth.suite), &record["cipher_suite"]);
    add("group", number(truth.group), &record["group"]["id"]);
    add("key_exchange", truth.key_exchange.map(Value::from), &record["key_exchange"]);
    let resumed = matches!(record["key_exchange"].as_str(), Some("resumed" | "psk" | "psk_ephemeral"));
    add("resumption", truth.resumed.map(Value::from), &json!(resumed));
    add("hello_retry", truth.retry.map(Value::from), &json!(!record["hello_retry"].is_null()));
    let clear = truth.alpn.as_ref().filter(|_| !truth.modern);
    let name = clear.map(|name| if name.is_empty() { Value::Null } else { json!(name) });
    add("alpn", name, &record["alpn"]);
}

/// In the clear everything has to be equal; otherwise bounds have to hold the truth, and the message's length is compared. A
/// client's empty list is no chain.
fn certificates(names: [&'static str; 3], chain: &Chain, clear: bool, said: &Value, fields: &mut Vec<Field>) {
    if clear {
        let Some(lengths) = &chain.lengths else { return };
        let bytes = chain.bytes;
        let right = json!([lengths.len(), lengths, bytes, chain.message, bytes, bytes, "seen"]);
        let keys = ["count", "lengths", "chain_bytes", "message_bytes", "low", "high", "evidence"];
        let told = keys.iter().map(|key| said[*key].clone()).collect();
        fields.push((names[0], verdict(&right, &told)));
        return;
    }
    if let Some(bytes) = chain.bytes.filter(|bytes| *bytes > 0) {
        let bounds = said["low"].as_u64().zip(said["high"].as_u64());
        let holds = bounds.map(|(low, high)| (low..=high).contains(&u64::from(bytes)));
        // Where the record does not know whether the message was compressed, its bounds are for one that was not.
        let open = chain.compressed && said["compressed"].is_null();
        let holds = holds.filter(|holds| *holds || !open);
        fields.push((names[1], near(holds, bytes, said)));
        let message = said["message_bytes"].as_f64();
        let close =
            message.map(|told| (told - f64::from(chain.message)).abs() <= f64::from(chain.message) / 100.0);
        fields.push((names[2], near(close, chain.message, said)));
    }
}

fn near(holds: Option<bool>, right: u32, said: &Value) -> Verdict {
    match holds {
        None => Verdict::Unknown,
        Some(true) => Verdict::Equal,
        Some(false) => Verdict::Different(right.to_string(), said.to_string()),
    }
}

/// Where no certificate was sent, as after a resumption, none may be told of.
fn absent(truth: &Truth, record: &Value, fields: &mut Vec<Field>) {
    if !truth.modern || truth.end != End::Completed {
        return;
    }
    if truth.certificates.is_none() {
        let said = json!([record["certificates"], record["certificate_verify"]]);
        fields.push(("certificates: none", verdict(&json!([null, null]), &said)));
    }
    if truth.client_certificates.is_none() {
        fields.push(("client certificates: none", verdict(&Value::Null, &record["client_certificates"])));
    }
}

fn end(truth: &Truth, record: &Value, fields: &mut Vec<Field>) {
    let told = json!([record["outcome"], record["failure"]["cause"], record["failure"]["by"]]);
    match &truth.end {
        End::Completed => fields.push(("outcome", verdict(&json!(["completed", null, null]), &told))),
        End::Cause(causes, by, late) => {
            let ambiguous = *late && record["incomplete_reason"] == "ambiguous";
            let said = causes.iter().find(|cause| record["failure"]["cause"] == **cause).or(causes.first());
            let right = verdict(&json!(["failed", said, side(*by)]), &told);
            fields.push(("outcome", if ambiguous { Verdict::Unknown } else { right }));
        }
        End::Alert { by, description, phase, late } => {
            let encrypted = *phase != Phase::Clear;
            let cause = if encrypted { "encrypted_alert".to_owned() } else { alert_cause(*description) };
            let right = verdict(&json!(["failed", cause, side(*by)]), &told);
            // A client that was refused after its Finished cannot be told from one that was served nothing.
            let ambiguous = *late && record["incomplete_reason"] == "ambiguous";
            fields.push(("outcome", if ambiguous { Verdict::Unknown } else { right }));
            if !encrypted {
                let listed = record["alerts"].as_array().is_some_and(|alerts| {
                    alerts
                        .iter()
                        .any(|alert| alert["sender"] == side(*by) && alert["description"] == *description)
                });
                let words = || {
                    Verdict::Different(
                        format!("{description} by the {}", side(*by)),
                        record["alerts"].to_string(),
                    )
                };
                fields.push(("alerts", if listed { Verdict::Equal } else { words() }));
            }
        }
    }
}

/// Word of the record for a side.
pub(crate) fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

pub(crate) fn verdict(right: &Value, said: &Value) -> Verdict {
    if right == said { Verdict::Equal } else { Verdict::Different(right.to_string(), said.to_string()) }
}

/// For what can only be inferred: nothing said is no error.
fn open(right: &Value, said: &Value) -> Verdict {
    if said.is_null() || said == "unknown" { Verdict::Unknown } else { verdict(right, said) }
}

/// `alert_` with the name of the registry (IANA, TLS Alerts).
pub(crate) fn alert_cause(description: u8) -> String {
    let name = match description {
        10 => "unexpected_message",
        20 => "bad_record_mac",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        109 => "missing_extension",
        112 => "unrecognized_name",
        116 => "certificate_required",
        120 => "no_application_protocol",
        _ => "other",
    };
    format!("alert_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth() -> Truth {
        Truth {
            modern: true,
            version: Some(0x0304),
            suite: Some(0x1301),
            group: Some(0x11ec),
            key_exchange: Some("ephemeral"),
            resumed: Some(false),
            retry: Some(false),
            alpn: None,
            messages: [vec![(8, 6), (11, 1714), (15, 260), (20, 32)], vec![(20, 32)]],
            certificates: Some(Chain {
                lengths: Some(vec![900, 800]),
                bytes: Some(1700),
                message: 1714,
                compressed: false,
                family: Some("rsa"),
            }),
            client_certificates: None,
            flight: Some(vec![23, 1735, 281, 53]),
            end: End::Completed,
        }
    }

    fn record() -> Value {
        json!({
            "version": "0x0304", "cipher_suite": "0x1301", "group": {"id": "0x11ec"}, "key_exchange": "ephemeral",
            "hello_retry": null, "alpn": null, "certificates": {"low": 1690, "high": 1705, "message_bytes": 1714},
            "certificate_verify": {"family": "rsa"}, "server_flight": {"records": [23, 1735, 281, 53, 139]},
            "alerts": [], "outcome": "completed", "failure": null, "incomplete_reason": null
        })
    }

    fn differing(truth: &Truth, record: &Value) -> Vec<&'static str> {
        let fields = compare(truth, record);
        fields
            .into_iter()
            .filter(|(_, verdict)| matches!(verdict, Verdict::Different(..)))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn a_right_record_is_equal_in_every_field() {
        let fields = compare(&truth(), &record());
        assert_eq!(fields.len(), 12);
        assert!(fields.iter().all(|(_, verdict)| *verdict == Verdict::Equal), "{fields:?}");
    }

    #[test]
    fn every_wrong_field_is_reported() {
        for (pointer, wrong, name) in [
            ("/version", json!("0x0303"), "version"),
            ("/cipher_suite", json!("0x1302"), "cipher_suite"),
            ("/group/id", json!("0x001d"), "group"),
            ("/group/id", Value::Null, "group"),
            ("/hello_retry", json!({"group": "0x001d"}), "hello_retry"),
            ("/certificates/high", json!(1699), "certificates: bounds"),
            ("/certificates/message_bytes", json!(1740), "certificates: message"),
            ("/certificate_verify/family", json!("ed25519"), "certificate_verify"),
            ("/server_flight/records", json!([23, 1735, 281]), "server_flight"),
            ("/outcome", json!("failed"), "outcome"),
        ] {
            let mut record = record();
            *record.pointer_mut(pointer).unwrap() = wrong;
            assert_eq!(differing(&truth(), &record), [name], "{pointer}");
        }
    }

    #[test]
    fn what_was_not_inferred_is_unknown_and_no_difference() {
        let mut record = record();
        record["certificates"] = Value::Null;
        record["certificate_verify"] = Value::Null;
        let fields = compare(&truth(), &record);
        assert_eq!(fields.iter().filter(|(_, verdict)| *verdict == Verdict::Unknown).count(), 3);
        assert!(differing(&truth(), &record).is_empty());
    }

    #[test]
    fn bounds_of_a_compressed_chain_bind_only_a_record_that_knows() {
        let chain =
            Chain { compressed: true, lengths: None, bytes: Some(4000), ..truth().certificates.unwrap() };
        let squeezed = Truth { certificates: Some(chain), ..truth() };
        let mut record = record();
        record["certificates"]["compressed"] = Value::Null;
        assert!(differing(&squeezed, &record).is_empty());
        record["certificates"]["compressed"] = json!(false);
        assert_eq!(differing(&squeezed, &record), ["certificates: bounds"]);
    }

    #[test]
    fn certificates_of_a_resumed_session_would_be_invented() {
        let resumed = Truth { certificates: None, ..truth() };
        assert_eq!(differing(&resumed, &record()), ["certificates: none"]);
        let mut record = record();
        record["certificates"] = Value::Null;
        record["certificate_verify"] = Value::Null;
        assert!(differing(&resumed, &record).is_empty());
        record["client_certificates"] = json!({"low": 1, "high": 2});
        assert_eq!(differing(&resumed, &record), ["client certificates: none"]);
    }

    #[test]
    fn an_alert_has_a_sender_a_name_and_a_place() {
        let alert = |phase, late| Truth {
            end: End::Alert { by: Side::Server, description: 48, phase, late },
            ..truth()
        };
        let mut record = record();
        record["outcome"] = json!("failed");
        record["failure"] = json!({"cause": "alert_unknown_ca", "by": "server"});
        record["alerts"] = json!([{"sender": "server", "description": 48}]);
        assert!(differing(&alert(Phase::Clear, false), &record).is_empty());
        assert_eq!(differing(&alert(Phase::Handshake, false), &record), ["outcome"]);
        record["alerts"] = json!([{"sender": "client", "description": 48}]);
        assert_eq!(differing(&alert(Phase::Clear, false), &record), ["alerts"]);
        record["failure"] = json!({"cause": "encrypted_alert", "by": "client"});
        assert_eq!(differing(&alert(Phase::Handshake, false), &record), ["outcome"]);
    }

    #[test]
    fn a_close_is_no_reset_and_the_side_counts() {
        let end = |causes| Truth { end: End::Cause(causes, Side::Client, false), ..truth() };
        let mut record = record();
        record["outcome"] = json!("failed");
        record["failure"] = json!({"cause": "reset", "by": "client"});
        assert_eq!(differing(&end(&["closed"]), &record), ["outcome"]);
        assert!(differing(&end(&["reset"]), &record).is_empty());
        record["failure"]["by"] = json!("server");
        assert_eq!(differing(&end(&["reset"]), &record), ["outcome"]);
    }

    #[test]
    fn only_a_refusal_after_the_client_s_finished_may_be_ambiguous() {
        let alert = |late| Truth {
            end: End::Alert { by: Side::Server, description: 116, phase: Phase::Application, late },
            ..truth()
        };
        let mut record = record();
        record["outcome"] = json!("incomplete");
        record["incomplete_reason"] = json!("ambiguous");
        assert!(differing(&alert(true), &record).is_empty());
        assert_eq!(differing(&alert(false), &record), ["outcome"]);
    }

    #[test]
    fn certificates_in_the_clear_have_to_be_exact() {
        let old = Truth { modern: false, version: Some(0x0303), ..truth() };
        let mut record = record();
        record["version"] = json!("0x0303");
        record["certificates"] = json!({"count": 2, "lengths": [900, 800], "chain_bytes": 1700, "message_bytes": 1714, "low": 1700,
            "high": 1700, "evidence": "seen"});
        assert!(differing(&old, &record).is_empty());
        record["certificates"]["lengths"] = json!([901, 799]);
        assert_eq!(differing(&old, &record), ["certificates"]);
    }
}
