//! The adapters file: which logs to read, and how. YAML text goes in, checked adapters come out.
//!
//! ```yaml
//! - kind: vault
//!   path: /var/log/openbao/audit.log
//! - name: hsm
//!   kind: json
//!   path: /var/log/hsm/operations.jsonl
//!   service: payments
//!   events:
//!     - type: pqscope.key.import
//!       when: {function: [C_UnwrapKey, C_CreateObject]}
//!       fields: {id: seq, time: at, result: rv, key_id: label, duration: seconds}
//!       values: {result: {CKR_OK: success, "*": failure}}
//!       constants: {hsm: softhsm}
//! ```

use super::{Adapter, Kind, Mapping};
use crate::diagnostic::Diagnostic;
use crate::event::EventKind;
use crate::yaml::{self, Fields, Findings, Located, Node, Shape};
use std::collections::BTreeMap;

/// Most adapters.
const MOST_ADAPTERS: usize = 64;
/// Fields that a mapping may fill beside those of the data.
const ABOUT: [&str; 3] = ["id", "source", "time"];
/// Data fields that a mapping may fill.
const DATA: [&str; 23] = [
    "result",
    "reason",
    "reason_class",
    "service",
    "deployment",
    "key_id",
    "algorithm",
    "algorithm_version",
    "issuer",
    "hsm",
    "blocking",
    "wrapped",
    "duration",
    "bytes",
    "store",
    "count",
    "rotation_id",
    "planned_at",
    "due_at",
    "services",
    "stage",
    "entropy_source",
    "link",
];

/// Reads an adapters file. An empty file has none.
///
/// # Errors
/// All faults of the file, in the order of their lines.
pub fn parse(file: &str, text: &str) -> Result<Vec<Adapter>, Vec<Diagnostic>> {
    yaml::read_list(file, text, "an adapters file", |entry, read: &[Located<Adapter>], findings| {
        let adapter = read_adapter(entry, findings)?;
        if let Some(other) = read.iter().find(|other| other.value.name == adapter.value.name) {
            let message = format!("there is already an adapter named `{}`", adapter.value.name);
            let help = format!("the first is on line {}; give each a `name` of its own", other.place.line);
            findings.error(&adapter.place, message, help);
        }
        if read.len() == MOST_ADAPTERS {
            findings.error(&adapter.place, format!("there are more than {MOST_ADAPTERS} adapters"), "");
        }
        Some(adapter)
    })
}

impl Adapter {
    /// An adapter as the command line writes it: `KIND:PATH`.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn from_argument(text: &str) -> Result<Self, String> {
        let known = || Kind::ALL.map(Kind::word).join(", ");
        let Some((word, path)) = text.split_once(':').filter(|(_, path)| !path.is_empty()) else {
            return Err(format!("write KIND:PATH, such as vault:/var/log/audit.log; kinds are {}", known()));
        };
        let kind =
            Kind::from_word(word).ok_or_else(|| format!("`{word}` is no kind; known are {}", known()))?;
        if kind == Kind::Json {
            return Err(
                "an adapter of kind json needs a mapping of fields; write it to a file for --adapters"
                    .to_owned(),
            );
        }
        let (name, path) = (text.to_owned(), path.to_owned());
        Ok(Self { name, kind, path, service: None, deployment: None, mappings: Vec::new() })
    }
}

fn read_adapter(node: &Node, findings: &mut Findings) -> Option<Located<Adapter>> {
    let mut fields = findings.fields(node, "an adapter")?;
    let kind = fields.required("kind", findings, "whose records the file holds, such as vault");
    let path = fields.required("path", findings, "the file to read");
    let mut text = |key, findings: &mut Findings| {
        let node = fields.optional(key)?;
        name(node, &format!("`{key}`"), findings)
    };
    let (own, service, deployment) =
        (text("name", findings), text("service", findings), text("deployment", findings));
    let events = fields.optional("events");
    let events_place = fields.place_of("events");
    fields.finish(findings);
    let path = path.and_then(|node| name(node, "`path`", findings));
    let kind =
        kind.and_then(|node| word(node, "a kind", Kind::from_word, &Kind::ALL.map(Kind::word), findings))?;
    let mappings = events.map(|node| read_mappings(node, findings)).unwrap_or_default();
    match (kind.value, events) {
        (Kind::Json, None) => {
            let help = "a list of mappings, each with `type` and `fields`";
            findings.error(&node.place, "`events` is missing in an adapter of kind json", help);
        }
        (other, Some(_)) if other != Kind::Json => {
            let place = events_place.unwrap_or(&node.place);
            findings.error(
                place,
                format!("`events` means nothing for the kind {other}"),
                "only for the kind json",
            );
        }
        _ => {}
    }
    let path = path?;
    let place = own.as_ref().map_or_else(|| path.place.clone(), |own| own.place.clone());
    let name = own.map_or_else(|| format!("{}:{}", kind.value, path.value), |own| own.value);
    let adapter = Adapter {
        name,
        kind: kind.value,
        path: path.value,
        service: service.map(|service| service.value),
        deployment: deployment.map(|deployment| deployment.value),
        mappings,
    };
    Some(Located { value: adapter, place })
}

fn read_mappings(node: &Node, findings: &mut Findings) -> Vec<Mapping> {
    let items = findings.list(node, "`events`").unwrap_or_default();
    items.iter().filter_map(|item| read_mapping(item, findings)).collect()
}

fn read_mapping(node: &Node, findings: &mut Findings) -> Option<Mapping> {
    let mut fields = findings.fields(node, "a mapping of events")?;
    let kind = fields.required("type", findings, "such as pqscope.sign");
    let when = fields.optional("when");
    let taken = fields.required("fields", findings, "data field: where its value stands");
    let values = fields.optional("values");
    let constants = fields.optional("constants");
    fields.finish(findings);
    let kinds: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.word()).collect();
    let kind = kind.and_then(|node| word(node, "a type", EventKind::from_word, &kinds, findings));
    let when = when
        .and_then(|node| findings.fields(node, "`when`"))
        .map(|fields| read_conditions(&fields, findings));
    let taken = taken
        .and_then(|node| findings.fields(node, "`fields`"))
        .map(|fields| read_texts(&fields, true, findings));
    let constants = constants
        .and_then(|node| findings.fields(node, "`constants`"))
        .map(|fields| read_texts(&fields, true, findings));
    let mut tables = BTreeMap::new();
    if let Some(fields) = values.and_then(|node| findings.fields(node, "`values`")) {
        for (key, node) in fields.all() {
            check_field(key, findings);
            if let Some(table) = findings.fields(node, "a table of values") {
                tables.insert(key.value.clone(), read_texts(&table, false, findings));
            }
        }
    }
    Some(Mapping {
        kind: kind?.value,
        when: when.unwrap_or_default(),
        fields: taken?,
        values: tables,
        constants: constants.unwrap_or_default(),
    })
}

fn read_conditions(fields: &Fields<'_>, findings: &mut Findings) -> BTreeMap<String, Vec<String>> {
    let mut conditions = BTreeMap::new();
    for (path, node) in fields.all() {
        let texts = findings.texts(node, "a condition").unwrap_or_default();
        conditions.insert(path.value.clone(), texts.into_iter().map(|text| text.value).collect());
    }
    conditions
}

fn read_texts(fields: &Fields<'_>, checked: bool, findings: &mut Findings) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for (key, node) in fields.all() {
        if checked {
            check_field(key, findings);
        }
        if let Some(text) = findings.text(node, "a value") {
            texts.insert(key.value.clone(), text.value);
        }
    }
    texts
}

fn check_field(key: &Located<String>, findings: &mut Findings) {
    if !ABOUT.contains(&key.value.as_str()) && !DATA.contains(&key.value.as_str()) {
        let help = format!("known are {}, {}", ABOUT.join(", "), DATA.join(", "));
        findings.error(&key.place, format!("`{}` is no field of an event", key.value), help);
    }
}

fn name(node: &Node, what: &str, findings: &mut Findings) -> Option<Located<String>> {
    let text = findings.text(node, what)?;
    if text.value.is_empty() || text.value.chars().any(char::is_control) || text.value.len() > 4_096 {
        findings.error(&text.place, format!("{what} must be a text without control characters"), "");
        return None;
    }
    Some(text)
}

fn word<T>(
    node: &Node,
    what: &str,
    read: impl Fn(&str) -> Option<T>,
    known: &[&str],
    findings: &mut Findings,
) -> Option<Located<T>> {
    if let Shape::Scalar { text, .. } = &node.shape
        && let Some(value) = read(text)
    {
        return Some(Located { value, place: node.place.clone() });
    }
    let found = findings.text(node, what)?;
    let help = format!("known here: {}", known.join(", "));
    findings.error(&found.place, format!("`{}` is not {what} that is known", found.value), help);
    None
}
