//! Records of other programs as events: one line of a log goes in, what it tells comes out. Files and offsets are the
//! runner's affair.
//!
//! | kind | records |
//! |---|---|
//! | `vault` | audit log of HashiCorp Vault and OpenBao |
//! | `cloudtrail` | AWS CloudTrail records of KMS |
//! | `kubernetes` | Kubernetes events about certificates of cert-manager |
//! | `cosign` | what `cosign verify --output json` prints |
//! | `json` | any JSON lines, by a mapping of fields |
//! | `envoy`, `nginx` | access logs in JSON of a managed edge: handshakes instead of events |
//!
//! A line that is none of the kind's records is unreadable; one that tells nothing of ours is ignored. Both are counted.

mod access;
mod cloudtrail;
mod config;
mod cosign;
mod kubernetes;
mod mapping;
mod vault;

pub use access::Handshake;
pub use config::parse;
pub use mapping::Mapping;

use crate::event::{LONGEST_NAME_BYTES, RawEvent};
use serde_json::{Map, Value};
use std::fmt;

/// Longest line that is read, in bytes.
pub const LONGEST_LINE_BYTES: usize = 256 << 10;
/// Most records in one line.
const MOST_RECORDS: usize = 1_000;

/// Whose records a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// HashiCorp Vault, OpenBao.
    Vault,
    /// AWS CloudTrail.
    CloudTrail,
    /// Kubernetes events.
    Kubernetes,
    /// cosign.
    Cosign,
    /// By mapping.
    Json,
    /// Envoy.
    Envoy,
    /// nginx.
    Nginx,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 7] =
        [Self::Vault, Self::CloudTrail, Self::Kubernetes, Self::Cosign, Self::Json, Self::Envoy, Self::Nginx];

    /// The word on the command line and in files.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Vault => "vault",
            Self::CloudTrail => "cloudtrail",
            Self::Kubernetes => "kubernetes",
            Self::Cosign => "cosign",
            Self::Json => "json",
            Self::Envoy => "envoy",
            Self::Nginx => "nginx",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One file to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Adapter {
    /// Names it in figures and in the state; no two have the same.
    pub name: String,
    /// Whose records it holds.
    pub kind: Kind,
    /// Where it lies.
    pub path: String,
    /// Service of records that name none.
    pub service: Option<String>,
    /// Deployment of records that name none.
    pub deployment: Option<String>,
    /// How fields become data; of kind `json` only.
    pub mappings: Vec<Mapping>,
}

/// What a record tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// An event, not checked yet.
    Event(RawEvent),
    /// A handshake that an edge reports.
    Handshake(Handshake),
    /// Nothing of ours.
    Ignored,
    /// It is none of the kind's records.
    Unreadable,
}

/// Reads the records of one file, in their order.
#[derive(Debug)]
pub struct Reader {
    adapter: Adapter,
    vault: vault::Pairs,
}

impl Reader {
    /// A reader that has seen nothing yet.
    pub fn new(adapter: Adapter) -> Self {
        Self { adapter, vault: vault::Pairs::default() }
    }

    /// The file that it reads.
    pub const fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// What one line tells. `place` names the line among all that the file will ever hold: it stands in for the
    /// identity of a record that has none.
    pub fn read(&mut self, line: &str, place: &str) -> Vec<Reading> {
        let line = line.trim();
        if line.is_empty() {
            return Vec::new();
        }
        let Ok(value) = serde_json::from_str::<Value>(line) else { return vec![Reading::Unreadable] };
        let records = match self.adapter.kind {
            Kind::CloudTrail => unpacked(value, "Records"),
            Kind::Kubernetes => unpacked(value, "items"),
            Kind::Cosign => unpacked(value, ""),
            _ => vec![value],
        };
        if records.len() > MOST_RECORDS {
            return vec![Reading::Unreadable];
        }
        records.iter().enumerate().map(|(number, record)| self.read_record(record, place, number)).collect()
    }

    fn read_record(&mut self, record: &Value, place: &str, number: usize) -> Reading {
        let reading = match self.adapter.kind {
            Kind::Vault => self.vault.read(record),
            Kind::CloudTrail => cloudtrail::read(record),
            Kind::Kubernetes => kubernetes::read(record),
            Kind::Cosign => cosign::read(record),
            Kind::Json => mapping::read(&self.adapter.mappings, record),
            Kind::Envoy => access::read(record, &access::ENVOY),
            Kind::Nginx => access::read(record, &access::NGINX),
        };
        match reading {
            Reading::Event(event) => Reading::Event(self.complete(event, place, number)),
            Reading::Handshake(mut handshake) => {
                handshake.service = handshake.service.or_else(|| self.adapter.service.clone());
                Reading::Handshake(handshake)
            }
            other => other,
        }
    }

    /// Puts in what the record does not say.
    fn complete(&self, mut event: RawEvent, place: &str, number: usize) -> RawEvent {
        if event.id.is_empty() {
            event.id = format!("{place}/{number}");
        }
        if event.source.is_empty() {
            event.source = format!("adapter:{}", self.adapter.name);
        }
        for (name, value) in [("service", &self.adapter.service), ("deployment", &self.adapter.deployment)] {
            if let Some(value) = value {
                event.data.entry(name).or_insert_with(|| Value::from(value.as_str()));
            }
        }
        event
    }
}

/// The records in a list, or in a list under a key; else the value itself.
fn unpacked(value: Value, key: &str) -> Vec<Value> {
    match value {
        Value::Array(records) => records,
        Value::Object(mut fields) if fields.get(key).is_some_and(Value::is_array) => match fields.remove(key)
        {
            Some(Value::Array(records)) => records,
            _ => Vec::new(),
        },
        other => vec![other],
    }
}

/// The value at a path of keys with dots between them; numbers are places in lists.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    // A key may itself hold dots.
    if let Some(found) = value.get(path) {
        return Some(found);
    }
    path.split('.').try_fold(value, |value, key| match value {
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        value => value.get(key),
    })
}

/// A text at a path; numbers and truth values as they are written, empty ones not at all.
fn text_at(value: &Value, path: &str) -> Option<String> {
    match at(value, path)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// Data of an event, put together piece by piece. Names are cut to what a name may hold.
#[derive(Default)]
struct Data(Map<String, Value>);

impl Data {
    fn result(mut self, success: bool) -> Self {
        self.0.insert("result".to_owned(), Value::from(if success { "success" } else { "failure" }));
        self
    }

    fn put(mut self, name: &str, value: Option<impl Into<Value>>) -> Self {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    fn name(self, name: &str, value: Option<String>) -> Self {
        self.put(name, value.map(|text| short(&text)))
    }
}

fn short(text: &str) -> String {
    let mut end = LONGEST_NAME_BYTES.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests;
