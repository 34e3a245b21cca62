//! The audit log of HashiCorp Vault and OpenBao: one line for each request and one for its answer, told together by
//! `request.id`. Paths and operations stand there in the clear; keys and plain text are hashed by the server.
//!
//! | path below its mount | event |
//! |---|---|
//! | transit: `keys/NAME/rotate` | `pqscope.key.rotation` |
//! | transit: `keys/NAME/import`, `keys/NAME/import_version` | `pqscope.key.import` |
//! | transit: `export/...`, `byok-export/...`, `backup/NAME` | `pqscope.key.export` |
//! | transit: `keys/NAME`, deleted | `pqscope.key.destroy` |
//! | transit: `sign/NAME`, `verify/NAME`, `decrypt/NAME`, `rewrap/NAME` | `pqscope.sign`, `.verify`, `.decrypt`, `.reencrypt` |
//! | pki: `issue/ROLE`, `sign/ROLE`, `issuer/NAME/issue/ROLE` and the like | `pqscope.certificate.issue` |
//! | pki: `revoke`, `revoke-with-key` | `pqscope.certificate.revoke` |

use super::{Data, Reading, text_at};
use crate::event::{RawEvent, parse_time};
use crate::time::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};

/// Requests whose answer is waited for.
const MOST_OPEN: usize = 1_000;

/// Requests without an answer yet, with their times. Lost in a restart, which costs those requests their durations.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    open: BTreeMap<String, Timestamp>,
    order: VecDeque<String>,
}

impl Pairs {
    pub(super) fn read(&mut self, record: &Value) -> Reading {
        let (Some(kind), Some(_)) = (text_at(record, "type"), record.get("request")) else {
            return Reading::Unreadable;
        };
        // The server's own requests, as those at its start, have none.
        let id = text_at(record, "request.id").unwrap_or_default();
        let time = text_at(record, "time").and_then(|text| parse_time(&text));
        match kind.as_str() {
            // A request that is refused before it is carried out has its error here, and an answer of the same id.
            "request" if text_at(record, "error").is_none() => {
                if let Some(time) = time {
                    self.begin(id, time);
                }
                Reading::Ignored
            }
            "request" | "response" => {
                let begun = self.end(&id);
                let duration = time.zip(begun).map(|(time, begun)| time.since(begun).as_secs_f64());
                event(record, id, time, duration).map_or(Reading::Ignored, Reading::Event)
            }
            _ => Reading::Unreadable,
        }
    }

    fn begin(&mut self, id: String, time: Timestamp) {
        if self.order.len() >= MOST_OPEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        self.order.push_back(id.clone());
        self.open.insert(id, time);
    }

    fn end(&mut self, id: &str) -> Option<Timestamp> {
        let begun = self.open.remove(id)?;
        self.order.retain(|other| other != id);
        Some(begun)
    }
}

fn event(record: &Value, id: String, time: Option<Timestamp>, duration: Option<f64>) -> Option<RawEvent> {
    let path = text_at(record, "request.path")?;
    let operation = text_at(record, "request.operation").unwrap_or_default();
    let mount = text_at(record, "request.mount_type").unwrap_or_default();
    let below = below_mount(&path, &text_at(record, "request.mount_point").unwrap_or_default())?;
    let Told { kind, key, issuer } = told(&below, &operation, &mount)?;
    let error = text_at(record, "error").or_else(|| text_at(record, "response.data.error"));
    // `valid` is a truth value, and those are not hashed.
    let invalid = kind == "pqscope.verify"
        && record.pointer("/response/data/valid").and_then(Value::as_bool) == Some(false);
    let class = error.as_deref().map(class_of).or(invalid.then_some("corrupted_artifact"));
    let data = Data::default()
        .result(error.is_none() && !invalid)
        .put("reason_class", class)
        // What the server hashed says nothing to anybody.
        .put("reason", error.filter(|text| !text.starts_with("hmac-")))
        .put("duration", duration)
        .name("key_id", key)
        .name("issuer", issuer)
        .name(
            "service",
            text_at(record, "auth.metadata.service").or_else(|| text_at(record, "auth.metadata.role_name")),
        );
    Some(RawEvent { id, source: "vault".to_owned(), kind: kind.to_owned(), time, data: data.0 })
}

/// The parts of a path after its mount. Older servers do not tell where the mount ends: it then has one part.
fn below_mount(path: &str, mount: &str) -> Option<Vec<String>> {
    let parts = |text: &str| text.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    match path.strip_prefix(mount) {
        Some(rest) if !mount.is_empty() => Some(parts(rest)),
        _ => path.split_once('/').map(|(_, rest)| parts(rest)),
    }
}

struct Told {
    kind: &'static str,
    key: Option<String>,
    issuer: Option<String>,
}

fn told(below: &[String], operation: &str, mount: &str) -> Option<Told> {
    let below: Vec<&str> = below.iter().map(String::as_str).collect();
    let writes = matches!(operation, "update" | "create");
    let key = |kind, name: &str| Some(Told { kind, key: Some(name.to_owned()), issuer: None });
    let certificate = |kind, issuer: &str| Some(Told { kind, key: None, issuer: Some(issuer.to_owned()) });
    if mount != "pki" {
        match below.as_slice() {
            ["keys", name, "rotate"] if writes => return key("pqscope.key.rotation", name),
            ["keys", name, "import" | "import_version"] if writes => return key("pqscope.key.import", name),
            ["keys", name] if operation == "delete" => return key("pqscope.key.destroy", name),
            ["export" | "byok-export", _, name, ..] | ["backup", name] if operation == "read" => {
                return key("pqscope.key.export", name);
            }
            ["sign", name, ..] if writes => return key("pqscope.sign", name),
            ["verify", name, ..] if writes => return key("pqscope.verify", name),
            ["decrypt", name, ..] if writes => return key("pqscope.decrypt", name),
            ["rewrap", name, ..] if writes => return key("pqscope.reencrypt", name),
            _ => {}
        }
    }
    if mount != "transit" && writes {
        match below.as_slice() {
            ["issue" | "sign" | "sign-verbatim", ..] | ["root", "sign-intermediate"] => {
                return certificate("pqscope.certificate.issue", "default");
            }
            ["issuer", name, "issue" | "sign" | "sign-verbatim" | "sign-intermediate", ..] => {
                return certificate("pqscope.certificate.issue", name);
            }
            ["revoke" | "revoke-with-key"] => return certificate("pqscope.certificate.revoke", "default"),
            _ => {}
        }
    }
    None
}

fn class_of(error: &str) -> &'static str {
    let error = error.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| error.contains(word));
    if has(&["permission denied", "not allowed", "forbidden"]) {
        "permission"
    } else if has(&["deadline exceeded", "timeout", "timed out"]) {
        "timeout"
    } else if has(&["unsupported", "not supported", "unknown key type", "invalid format", "unable to parse"])
    {
        "unsupported_format"
    } else if has(&["message authentication failed", "signature", "invalid ciphertext", "corrupt"]) {
        "corrupted_artifact"
    } else if has(&["sealed", "connection refused", "not found", "no such", "unavailable"]) {
        "unavailable"
    } else {
        "other"
    }
}
