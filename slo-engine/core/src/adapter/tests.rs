use super::*;
use crate::event::{Event, Outcome, ReasonClass};
use crate::time::Timestamp;
use proptest::prelude::*;
use serde_json::json;

fn reader(kind: Kind) -> Reader {
    let word = kind.word();
    Reader::new(Adapter {
        name: word.to_owned(),
        kind,
        path: "/log".to_owned(),
        service: None,
        deployment: None,
        mappings: Vec::new(),
    })
}

fn events(reader: &mut Reader, line: &Value) -> Vec<Event> {
    let readings = reader.read(&line.to_string(), "place").into_iter();
    readings
        .filter_map(|reading| match reading {
            Reading::Event(raw) => Some(raw.check(Timestamp::from_seconds(1)).unwrap().event),
            _ => None,
        })
        .collect()
}

fn only_handshake(readings: Vec<Reading>) -> Handshake {
    match readings.as_slice() {
        [Reading::Handshake(handshake)] => handshake.clone(),
        other => panic!("{other:?}"),
    }
}

fn vault(kind: &str, id: &str, time: &str, path: &str, operation: &str, error: Option<&str>) -> Value {
    let mount = path.split('/').next().unwrap();
    json!({"time": time, "type": kind, "error": error, "auth": {"metadata": {"role_name": "ci"}},
        "request": {"id": id, "operation": operation, "path": path, "mount_type": mount,
            "mount_point": format!("{mount}/")}, "response": {"data": {"valid": false}}})
}

#[test]
fn vault_requests_and_answers_are_one_event() {
    let mut reader = reader(Kind::Vault);
    let request =
        vault("request", "1", "2026-01-01T00:00:00Z", "transit/sign/release/sha2-256", "update", None);
    assert_eq!(reader.read(&request.to_string(), "p"), [Reading::Ignored]);
    let response =
        vault("response", "1", "2026-01-01T00:00:00.25Z", "transit/sign/release/sha2-256", "update", None);
    let [event] = events(&mut reader, &response).try_into().unwrap();
    assert_eq!((event.kind.word(), event.id.as_str(), event.source.as_str()), ("pqscope.sign", "1", "vault"));
    assert_eq!((event.data.duration, event.data.key_id.as_deref()), (Some(0.25), Some("release")));
    assert_eq!((event.data.result, event.data.service.as_deref()), (Some(Outcome::Success), Some("ci")));
    assert_eq!(events(&mut reader, &response)[0].data.duration, None, "its request is not known any more");
}

#[test]
fn vault_paths_and_errors_are_told_apart() {
    let mut reader = reader(Kind::Vault);
    let denied = "1 error occurred:\n\t* permission denied\n\n";
    for (path, operation, error, told, class) in [
        ("transit/keys/k/rotate", "update", None, Some("pqscope.key.rotation"), None),
        (
            "transit/keys/k/import",
            "update",
            Some(denied),
            Some("pqscope.key.import"),
            Some(ReasonClass::Permission),
        ),
        ("transit/keys/k", "delete", None, Some("pqscope.key.destroy"), None),
        ("transit/verify/k", "update", None, Some("pqscope.verify"), Some(ReasonClass::CorruptedArtifact)),
        (
            "transit/decrypt/k",
            "update",
            Some("cipher: message authentication failed"),
            Some("pqscope.decrypt"),
            Some(ReasonClass::CorruptedArtifact),
        ),
        ("transit/encrypt/k", "update", None, None, None),
        ("transit/keys/k", "read", None, None, None),
        ("pki/issue/web", "update", None, Some("pqscope.certificate.issue"), None),
        ("pki/sign/web", "update", None, Some("pqscope.certificate.issue"), None),
        ("pki/revoke", "update", None, Some("pqscope.certificate.revoke"), None),
        ("auth/token/lookup-self", "read", None, None, None),
    ] {
        let line = vault("response", path, "2026-01-01T00:00:00Z", path, operation, error);
        let found = events(&mut reader, &line).pop();
        assert_eq!(found.as_ref().map(|event| event.kind.word()), told, "{path}");
        assert_eq!(found.and_then(|event| event.data.reason_class), class, "{path}");
    }
    assert_eq!(reader.read("{\"type\": \"request\"}", "p"), [Reading::Unreadable]);
}

#[test]
fn cloudtrail_records_of_kms_are_read() {
    let mut reader = reader(Kind::CloudTrail);
    let record = |name: &str, error: Option<&str>| {
        json!({"eventVersion": "1.08", "eventSource": "kms.amazonaws.com", "eventName": name, "eventID": name,
            "eventTime": "2026-01-01T00:00:00Z", "awsRegion": "eu-west-1", "recipientAccountId": "1",
            "errorCode": error, "requestParameters": {"keyId": "k", "signingAlgorithm": "ML_DSA_SHAKE_256"},
            "resources": [{"ARN": "arn:aws:kms:k"}]})
    };
    let records = json!({"Records": [
        record("Sign", None), record("Verify", Some("KMSInvalidSignatureException")),
        record("Decrypt", Some("AccessDenied")), record("DescribeKey", None),
        {"eventSource": "kms.amazonaws.com", "eventName": "RotateKey", "eventType": "AwsServiceEvent", "eventID": "r",
            "serviceEventDetails": {"keyId": "rotated"}},
        {"eventSource": "s3.amazonaws.com", "eventName": "GetObject"}]});
    let found = events(&mut reader, &records);
    let rows: Vec<_> = found.iter().map(|event| (event.kind.word(), event.data.reason_class)).collect();
    assert_eq!(
        rows,
        [
            ("pqscope.sign", None),
            ("pqscope.verify", Some(ReasonClass::CorruptedArtifact)),
            ("pqscope.decrypt", Some(ReasonClass::Permission)),
            ("pqscope.key.rotation", None),
        ]
    );
    assert_eq!(
        (found[0].source.as_str(), found[0].data.algorithm.as_deref()),
        ("aws:kms:eu-west-1:1", Some("ML_DSA_SHAKE_256"))
    );
    assert_eq!(found[3].data.key_id.as_deref(), Some("rotated"));
}

#[test]
fn events_of_cert_manager_are_issuances() {
    let mut reader = reader(Kind::Kubernetes);
    let event = |reason: &str, message: &str, kind: &str| {
        json!({"kind": "Event", "metadata": {"uid": reason, "creationTimestamp": "2026-01-01T00:00:00Z"}, "count": 2,
            "involvedObject": {"kind": kind, "name": "web", "namespace": "shop"}, "reason": reason, "message": message})
    };
    let list = json!({"kind": "List", "items": [
        event("Issuing", "Issuing certificate as Secret does not exist", "Certificate"),
        event("Issuing", "The certificate has been successfully issued", "Certificate"),
        event("Failed", "context deadline exceeded", "CertificateRequest"),
        event("Scheduled", "assigned", "Pod")]});
    let found = events(&mut reader, &list);
    let rows: Vec<_> =
        found.iter().map(|event| (event.id.as_str(), event.data.result, event.data.reason_class)).collect();
    assert_eq!(
        rows,
        [
            ("Issuing/2", Some(Outcome::Success), None),
            ("Failed/2", Some(Outcome::Failure), Some(ReasonClass::Timeout)),
        ]
    );
    let watched = json!({"type": "ADDED", "object": event("Issued", "done", "CertificateRequest")});
    assert_eq!(events(&mut reader, &watched)[0].data.deployment.as_deref(), Some("shop"));
}

#[test]
fn cosign_prints_what_it_verified() {
    let mut reader = reader(Kind::Cosign);
    let signature = json!({"critical": {"identity": {"docker-reference": "registry/app"},
        "image": {"docker-manifest-digest": "sha256:1"}, "type": "cosign container image signature"}, "optional": null});
    let found = events(&mut reader, &json!([signature, signature]));
    assert_eq!(found.len(), 2);
    assert_ne!(found[0].id, found[1].id);
    assert_eq!(
        (found[0].data.store.as_deref(), found[0].time),
        (Some("registry/app"), Timestamp::from_seconds(1))
    );
    let failed = events(&mut reader, &json!({"error": "no matching signatures", "image": "registry/app"}));
    assert_eq!(failed[0].data.reason_class, Some(ReasonClass::CorruptedArtifact));
}

const FILE: &str = r#"
- kind: vault
  path: /var/log/audit.log
- name: hsm
  kind: json
  path: /var/log/hsm.jsonl
  service: payments
  events:
    - type: pqscope.key.import
      when: {function: [C_UnwrapKey, C_CreateObject]}
      fields: {id: seq, time: at, result: call.rv, duration: seconds}
      values: {result: {CKR_OK: success, "*": failure}}
      constants: {hsm: softhsm, blocking: "true"}
    - type: pqscope.sign
      fields: {result: rv}
"#;

#[test]
fn a_mapping_turns_any_record_into_an_event() {
    let mut adapters = parse("adapters.yaml", FILE).unwrap();
    assert_eq!(adapters[0].name, "vault:/var/log/audit.log");
    let mut reader = Reader::new(adapters.remove(1));
    let line = json!({"function": "C_UnwrapKey", "seq": 7, "at": 1_767_225_600.5, "call": {"rv": "CKR_DEVICE_ERROR"}, "seconds": 0.1});
    let [event] = events(&mut reader, &line).try_into().unwrap();
    assert_eq!((event.id.as_str(), event.source.as_str()), ("7", "adapter:hsm"));
    assert_eq!((event.kind.word(), event.data.result), ("pqscope.key.import", Some(Outcome::Failure)));
    assert_eq!((event.data.hsm.as_deref(), event.data.blocking), (Some("softhsm"), Some(true)));
    assert_eq!((event.data.service.as_deref(), event.data.duration), (Some("payments"), Some(0.1)));
    assert_eq!(event.time, Timestamp::from_nanoseconds(1_767_225_600_500_000_000));
}

#[test]
fn every_fault_of_a_file_is_told_with_its_place() {
    let text = "- kind: valut\n  path: /a\n- kind: vault\n  events: []\n- kind: json\n  path: /b\n- kind: json\n  path: /c\n  events:\n    - type: pqscope.sing\n      fields: {rv: x}\n      values: {result: yes}\n- {kind: nginx, path: /d}\n- {kind: nginx, path: /d}\n";
    let faults = parse("a.yaml", text).unwrap_err();
    let rows: Vec<_> = faults.iter().map(|fault| (fault.line, fault.message.as_str())).collect();
    assert_eq!(
        rows,
        [
            (1, "`valut` is not a kind that is known"),
            (3, "`path` is missing in an adapter"),
            (4, "`events` means nothing for the kind vault"),
            (5, "`events` is missing in an adapter of kind json"),
            (10, "`pqscope.sing` is not a type that is known"),
            (11, "`rv` is no field of an event"),
            (12, "a table of values must be a mapping, not a single value"),
            (14, "there is already an adapter named `nginx:/d`"),
        ]
    );
}

#[test]
fn arguments_name_a_kind_and_a_path() {
    assert_eq!(Adapter::from_argument("vault:/a:b").map(|adapter| adapter.path), Ok("/a:b".to_owned()));
    for wrong in ["vault", "vault:", "x:/a", "json:/a"] {
        assert!(Adapter::from_argument(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn access_logs_report_handshakes() {
    let mut nginx = reader(Kind::Nginx);
    let line = |more: Value| {
        let mut line = json!({"time_iso8601": "2026-01-01T00:00:00+00:00", "ssl_protocol": "TLSv1.3",
            "ssl_curve": "0x11ec", "ssl_curves": "0x11ec:X25519:prime256v1", "ssl_server_name": "Shop.example",
            "ssl_session_reused": ".", "connection_requests": 1});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line.to_string()
    };
    let handshake = only_handshake(nginx.read(&line(json!({})), "p"));
    assert_eq!(
        (handshake.service.as_deref(), handshake.group()),
        (Some("shop.example"), Some("X25519MLKEM768"))
    );
    let series = handshake.series(handshake.service.as_deref(), handshake.group());
    for (key, value) in [
        ("tls.protocol.version", "1.3"),
        ("pqscope.group.class", "hybrid"),
        ("pqscope.offered.class", "hybrid"),
        ("pqscope.outcome", "completed"),
        ("pqscope.evidence", "reported"),
        ("pqscope.vantage", "server"),
    ] {
        assert_eq!(series.attribute(key), value, "{key}");
    }
    assert_eq!(nginx.read(&line(json!({"connection_requests": 2})), "p"), [Reading::Ignored]);
    assert_eq!(nginx.read(&line(json!({"ssl_protocol": ""})), "p"), [Reading::Ignored]);

    let mut envoy = reader(Kind::Envoy);
    let line = json!({"start_time": "2026-01-01T00:00:00Z", "downstream_tls_version": "TLSv1.2",
        "requested_server_name": "api", "downstream_transport_failure_reason": "-"});
    let handshake = only_handshake(envoy.read(&line.to_string(), "p"));
    assert_eq!(handshake.series(None, None).attribute("pqscope.group.class"), "unknown");
    let line = json!({"downstream_transport_failure_reason": "TLS_error:|268435703:SSL routines:WRONG_VERSION_NUMBER"});
    let handshake = only_handshake(envoy.read(&line.to_string(), "p"));
    assert_eq!(handshake.series(None, None).attribute("pqscope.outcome"), "failed");
}

proptest! {
    /// Whatever stands in a line, it is read without a fault.
    #[test]
    fn no_line_does_harm(line in "\\PC{0,200}", keys in proptest::collection::vec("[a-z_]{1,12}", 0..6)) {
        let object: serde_json::Map<String, Value> =
            keys.iter().map(|key| (key.clone(), json!([{"x": line}, line, 1, null]))).collect();
        for kind in Kind::ALL {
            let mut reader = reader(kind);
            reader.read(&line, "p");
            reader.read(&Value::from(object.clone()).to_string(), "p");
            reader.read(&json!({"type": line, "request": {"id": line, "path": line}, "Records": [1]}).to_string(), "p");
        }
    }
}
