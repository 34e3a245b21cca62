//! JSON lines of any program by a mapping of fields: PKCS#11 traces, SoftHSM operations, random number generators, QKD
//! boxes.

use super::{Data, Reading, at, text_at};
use crate::event::{EventKind, RawEvent, parse_time};
use crate::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// How records that fit become events of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// The type.
    pub kind: EventKind,
    /// What a record must hold: a path, and the texts of which one must stand there. Nothing fits every record.
    pub when: BTreeMap<String, Vec<String>>,
    /// Data field, or `id`, `source` and `time`, to the path of its value.
    pub fields: BTreeMap<String, String>,
    /// Data field to a table of what is written and what it means; `*` stands for anything else.
    pub values: BTreeMap<String, BTreeMap<String, String>>,
    /// Data field to the same value for every record.
    pub constants: BTreeMap<String, String>,
}

/// The first mapping that fits makes the event.
pub(super) fn read(mappings: &[Mapping], record: &Value) -> Reading {
    if !record.is_object() {
        return Reading::Unreadable;
    }
    let mapping = mappings.iter().find(|mapping| mapping.fits(record));
    mapping.map_or(Reading::Ignored, |mapping| Reading::Event(mapping.event(record)))
}

impl Mapping {
    fn fits(&self, record: &Value) -> bool {
        self.when
            .iter()
            .all(|(path, wanted)| text_at(record, path).is_some_and(|text| wanted.contains(&text)))
    }

    fn event(&self, record: &Value) -> RawEvent {
        let mut data = Data::default();
        for (name, value) in &self.constants {
            data = data.put(name, Some(value.as_str()));
        }
        for (name, path) in
            self.fields.iter().filter(|(name, _)| !matches!(name.as_str(), "id" | "source" | "time"))
        {
            data = match self.values.get(name) {
                Some(table) => {
                    let meant =
                        text_at(record, path).and_then(|text| table.get(&text).or_else(|| table.get("*")));
                    data.put(name, meant.map(String::as_str))
                }
                None => data.put(name, at(record, path).cloned()),
            };
        }
        let about = |name: &str| self.fields.get(name).and_then(|path| text_at(record, path));
        let source = about("source").or_else(|| self.constants.get("source").cloned());
        data.0.remove("source");
        RawEvent {
            id: about("id").unwrap_or_default(),
            source: source.unwrap_or_default(),
            kind: self.kind.word().to_owned(),
            time: about("time").and_then(|text| time_of(&text)),
            data: data.0,
        }
    }
}

/// RFC 3339, or a number since the epoch: of seconds, milliseconds, microseconds or nanoseconds, told apart by size.
pub(super) fn time_of(text: &str) -> Option<Timestamp> {
    if let Some(time) = parse_time(text) {
        return Some(time);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let number: u64 = whole.parse().ok()?;
    let factor = match number {
        0..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).chain(std::iter::repeat(b'0')).take(9);
    let billionths = digits.fold(0, |sum: u64, digit| sum * 10 + u64::from(digit - b'0'));
    let nanoseconds = number.checked_mul(factor)?.checked_add(billionths * factor / 1_000_000_000)?;
    Some(Timestamp::from_nanoseconds(nanoseconds))
}
