//! Events that cannot be sniffed: rotations and imports of keys, signatures, entropy, deployments. What senders write
//! goes in, what is counted comes out.
//!
//! | room | what enters | what leaves |
//! |---|---|---|
//! | this one, `data`, [`cloud`] | JSON | a checked [`Event`], or a [`Refusal`] that names the field |
//! | [`desk`] | events and the time | counts for the ledger, each event once; what is to be saved |
//! | `memory` | the identity of an event | whether it was there before |
//! | `label` | values of attributes | the same, or `other` beyond a bound |
//! | [`rotation`] | events about rotations | one outcome for each planned rotation |
//! | [`history`] | events | the latest ones, for people |

pub mod cloud;
mod contribution;
mod data;
pub mod desk;
pub mod history;
mod instant;
mod kind;
mod label;
mod memory;
mod refusal;
pub mod rotation;

pub use data::{EventData, LONGEST_NAME_BYTES, MOST_SERVICES};
pub use instant::parse_time;
pub use kind::{EventKind, Outcome, ReasonClass};
pub use refusal::{Refusal, RefusalReason};

use crate::series::IdentityHash;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest `id` and `source` of an event, in bytes.
const LONGEST_IDENTITY_BYTES: usize = 1024;

/// One event, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Identity, unique together with the source (CloudEvents 1.0, "id").
    pub id: String,
    /// Who tells it (CloudEvents 1.0, "source").
    pub source: String,
    /// What is told.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// When it happened; when it was received if its sender did not say.
    pub time: Timestamp,
    /// The rest.
    pub data: EventData,
}

impl Event {
    /// The identity by which repeats are recognised.
    pub fn key(&self) -> EventKey {
        EventKey::new(&self.source, &self.id)
    }
}

/// Identity of an event in 16 bytes: the first of SHA-256 over a domain word, source and id, each preceded by its
/// length (eight bytes, big-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey([u8; 16]);

impl EventKey {
    /// The identity of an event.
    pub fn new(source: &str, id: &str) -> Self {
        let mut hash = IdentityHash::new("pqscope event 1");
        hash.text(source);
        hash.text(id);
        Self(hash.finish())
    }

    /// The identity as bytes for a key.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The identity from the bytes of a key.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// An event as its sender wrote it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawEvent {
    /// Identity, unique together with the source.
    pub id: String,
    /// Who tells it.
    pub source: String,
    /// What is told; one of the words of [`EventKind`].
    pub kind: String,
    /// When it happened.
    pub time: Option<Timestamp>,
    /// The rest.
    pub data: Map<String, Value>,
}

/// An event that passed all checks.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The event.
    pub event: Event,
    /// Number of data fields that are not known and were left out.
    pub ignored_fields: u64,
}

impl RawEvent {
    /// Checks everything that can be checked without knowing other events. `received` stands in for a missing time.
    ///
    /// # Errors
    /// The first fault, with its field.
    pub fn check(self, received: Timestamp) -> Result<Checked, Refusal> {
        for (field, text) in [("id", &self.id), ("source", &self.source)] {
            if text.is_empty() {
                let message = "is missing; id and source together tell repeats of an event";
                return Err(Refusal::of(RefusalReason::MissingField, field, message));
            }
            if text.len() > LONGEST_IDENTITY_BYTES {
                let message = format!("must have at most {LONGEST_IDENTITY_BYTES} bytes");
                return Err(Refusal::of(RefusalReason::BadValue, field, message));
            }
        }
        if self.kind.is_empty() {
            let message = format!("is missing; it must be one of {}", kinds());
            return Err(Refusal::of(RefusalReason::MissingField, "type", message));
        }
        let Some(kind) = EventKind::from_word(&self.kind) else {
            let found: String = self.kind.chars().take(80).collect();
            let message = format!("must be one of {}, not {found:?}", kinds());
            return Err(Refusal::of(RefusalReason::UnknownType, "type", message));
        };
        let (data, ignored_fields) = EventData::read(kind, &self.data)?;
        let time = self.time.unwrap_or(received);
        Ok(Checked { event: Event { id: self.id, source: self.source, kind, time, data }, ignored_fields })
    }
}

fn kinds() -> String {
    kind::words(EventKind::ALL, EventKind::word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_of_an_event_never_changes() {
        // SHA-256 as documented, computed apart from this program.
        assert_eq!(
            EventKey::new("/ci", "1").to_bytes().map(|byte| format!("{byte:02x}")).concat(),
            "030af55cf15244a7bc1049f781e01ee5"
        );
        assert_ne!(EventKey::new("a", "bc"), EventKey::new("ab", "c"));
    }

    #[test]
    fn an_unknown_type_is_refused_with_the_known_ones() {
        let raw = |kind: &str| RawEvent {
            id: "1".into(),
            source: "/s".into(),
            kind: kind.into(),
            ..RawEvent::default()
        };
        let refusal = raw("pqscope.sing").check(Timestamp::EPOCH).unwrap_err();
        assert_eq!((refusal.reason, refusal.field.as_deref()), (RefusalReason::UnknownType, Some("type")));
        assert!(refusal.message.contains("pqscope.sign,"), "{refusal}");
        let refusal = raw("").check(Timestamp::EPOCH).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::MissingField);
        let checked = raw("pqscope.policy.denial").check(Timestamp::from_seconds(9)).unwrap();
        assert_eq!(checked.event.time, Timestamp::from_seconds(9));
    }
}
