//! The data of an event: JSON fields go in, checked values come out, or the first field that is wrong.

use super::instant::parse_time;
use super::kind::{EventKind, Outcome, ReasonClass, words};
use super::refusal::{Refusal, RefusalReason};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Longest name: of a service, key, algorithm and so on, in bytes.
pub const LONGEST_NAME_BYTES: usize = 256;
/// Reasons are cut to this length, in characters.
const LONGEST_REASON: usize = 512;
/// Longest duration, in seconds: a year.
const LONGEST_DURATION: f64 = 366.0 * 86_400.0;
/// Most bytes that a store may hold: what a float holds exactly.
const MOST_BYTES: u64 = 1 << 53;
/// Most events that one may stand for.
const LARGEST_COUNT: u64 = 1_000_000_000;
/// Most services that a rotation may wait for.
pub const MOST_SERVICES: usize = 256;
/// Times before 2001 and after 2200 are slips of the pen.
const TIMES: std::ops::Range<Timestamp> =
    Timestamp::from_seconds(978_307_200)..Timestamp::from_seconds(7_258_118_400);

/// What an event tells besides its type and time. What was not told is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventData {
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Outcome>,
    /// Why, in the sender's words; at most 512 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, as a class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_class: Option<ReasonClass>,
    /// Whom it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Rollout unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Name or number of a key; never part of a series, for there is no end of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Algorithm, such as `ML-DSA-65`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Version of the algorithm or of its implementation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm_version: Option<String>,
    /// Certificate authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Hardware security module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsm: Option<String>,
    /// Whether somebody cannot go on because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocking: Option<bool>,
    /// Whether the wrapped key of the fall-back path was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrapped: Option<bool>,
    /// How long it took, in seconds; from 0 to a year. With a count, how long each took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Size in bytes; below 2^53.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Store whose size is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Number of equal events that this one stands for; 1 to 10^9, 1 when not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Planned rotation that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_id: Option<String>,
    /// When the rotation is to begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned_at: Option<Timestamp>,
    /// By when it must be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Services that must report before it is done; sorted, each once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// Stage of a rollout, such as `canary` or `10 %`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Source of randomness.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_source: Option<String>,
    /// Link of a quantum key distribution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl EventData {
    /// Number of events that this one stands for.
    pub fn number(&self) -> u64 {
        self.count.unwrap_or(1)
    }

    /// Whether it says anything about the plan of a rotation.
    pub fn is_plan(&self) -> bool {
        self.planned_at.is_some() || self.due_at.is_some() || !self.services.is_empty()
    }

    /// Reads the fields of an event of that kind; also the number of fields that are not known and were left out. A
    /// field that is null counts as left out.
    ///
    /// # Errors
    /// The first field that is missing or has a value that it cannot have.
    pub fn read(kind: EventKind, fields: &Map<String, Value>) -> Result<(Self, u64), Refusal> {
        let mut data = Self::default();
        let mut ignored = 0;
        for (key, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            if !data.take(key, value)? {
                ignored += 1;
            }
        }
        data.check(kind)?;
        Ok((data, ignored))
    }

    /// Takes one field and says whether it is known.
    fn take(&mut self, key: &str, value: &Value) -> Result<bool, Refusal> {
        let field = Field { key, value };
        match key {
            "result" => self.result = Some(field.one_of(Outcome::ALL, Outcome::word)?),
            "reason" => self.reason = Some(field.text()?.chars().take(LONGEST_REASON).collect()),
            "reason_class" => self.reason_class = Some(field.one_of(ReasonClass::ALL, ReasonClass::word)?),
            "service" => self.service = Some(field.name()?),
            "deployment" => self.deployment = Some(field.name()?),
            "key_id" => self.key_id = Some(field.name()?),
            "algorithm" => self.algorithm = Some(field.name()?),
            "algorithm_version" => self.algorithm_version = Some(field.name()?),
            "issuer" => self.issuer = Some(field.name()?),
            "hsm" => self.hsm = Some(field.name()?),
            "blocking" => self.blocking = Some(field.truth()?),
            "wrapped" => self.wrapped = Some(field.truth()?),
            "duration" => self.duration = Some(field.duration()?),
            "bytes" => self.bytes = Some(field.whole(0, MOST_BYTES)?),
            "store" => self.store = Some(field.name()?),
            "count" => self.count = Some(field.whole(1, LARGEST_COUNT)?),
            "rotation_id" => self.rotation_id = Some(field.name()?),
            "planned_at" => self.planned_at = Some(field.time()?),
            "due_at" => self.due_at = Some(field.time()?),
            "services" | "expected_services" => self.services = field.names()?,
            "stage" => self.stage = Some(field.name()?),
            "entropy_source" => self.entropy_source = Some(field.name()?),
            "link" => self.link = Some(field.name()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What must hold between fields.
    fn check(&self, kind: EventKind) -> Result<(), Refusal> {
        let missing = |field: &'static str, message: &str| {
            Err(Refusal::of(
                RefusalReason::MissingField,
                field,
                format!("{message} in an event of type {kind}"),
            ))
        };
        let must = |there: bool, field: &'static str, what: &str| {
            if there { Ok(()) } else { missing(field, &format!("is missing; it must be {what}")) }
        };
        if kind.needs_result() {
            must(self.result.is_some(), "data.result", "success or failure")?;
        }
        match kind {
            EventKind::StorageSize => {
                must(self.store.is_some(), "data.store", "the name of the store")?;
                must(self.bytes.is_some(), "data.bytes", "a number of bytes")?;
            }
            EventKind::EntropyHealth => {
                must(self.entropy_source.is_some(), "data.entropy_source", "the name of the source")?;
            }
            EventKind::QkdLink => must(self.link.is_some(), "data.link", "the name of the link")?,
            EventKind::RolloutStage => {
                must(self.deployment.is_some(), "data.deployment", "the rollout unit")?;
                must(self.stage.is_some(), "data.stage", "the stage that was reached")?;
            }
            EventKind::KeyRotation if self.is_plan() => {
                must(self.rotation_id.is_some(), "data.rotation_id", "the name of the planned rotation")?;
            }
            EventKind::KeyRotation => {
                must(self.result.is_some(), "data.result", "success or failure where nothing is planned")?;
            }
            _ => {}
        }
        if self.due_at.zip(self.planned_at).is_some_and(|(due, planned)| due < planned) {
            return Err(Refusal::of(
                RefusalReason::BadValue,
                "data.due_at",
                "must not lie before `planned_at`",
            ));
        }
        Ok(())
    }
}

/// One field on its way to being checked. Numbers and truth values may also come as text, since some senders know
/// nothing else.
struct Field<'a> {
    key: &'a str,
    value: &'a Value,
}

impl Field<'_> {
    fn bad<T>(&self, wanted: impl std::fmt::Display) -> Result<T, Refusal> {
        let found: String = self.value.to_string().chars().take(60).collect();
        let field = Cow::Owned(format!("data.{}", self.key));
        Err(Refusal::of(RefusalReason::BadValue, field, format!("must be {wanted}, not {found}")))
    }

    fn text(&self) -> Result<&str, Refusal> {
        self.value.as_str().map_or_else(|| self.bad("a text"), Ok)
    }

    fn name(&self) -> Result<String, Refusal> {
        match self.value {
            Value::String(text) if is_name(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => {
                self.bad(format_args!("a name of 1 to {LONGEST_NAME_BYTES} bytes without control characters"))
            }
        }
    }

    fn names(&self) -> Result<Vec<String>, Refusal> {
        let wanted = format!("a list of 1 to {MOST_SERVICES} names of services");
        let items = match self.value {
            Value::Array(items) if (1..=MOST_SERVICES).contains(&items.len()) => items.clone(),
            // A list in an attribute that can only be text.
            Value::String(text) => text.split(',').map(|name| Value::from(name.trim())).collect(),
            _ => return self.bad(wanted),
        };
        let names: Option<Vec<String>> =
            items.iter().map(|item| item.as_str().filter(|name| is_name(name)).map(str::to_owned)).collect();
        let Some(mut names) = names.filter(|names| names.len() <= MOST_SERVICES) else {
            return self.bad(wanted);
        };
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn one_of<T: Copy>(&self, all: &[T], word: impl Fn(T) -> &'static str) -> Result<T, Refusal> {
        let found = all.iter().copied().find(|known| self.value.as_str() == Some(word(*known)));
        found.map_or_else(|| self.bad(format_args!("one of {}", words(all, &word))), Ok)
    }

    fn truth(&self) -> Result<bool, Refusal> {
        match self.value {
            Value::Bool(value) => Ok(*value),
            Value::String(text) if text == "true" => Ok(true),
            Value::String(text) if text == "false" => Ok(false),
            _ => self.bad("true or false"),
        }
    }

    fn number(&self) -> Option<f64> {
        match self.value {
            Value::String(text) => text.parse().ok(),
            value => value.as_f64(),
        }
    }

    fn duration(&self) -> Result<f64, Refusal> {
        let number = self.number().filter(|number| (0.0..=LONGEST_DURATION).contains(number));
        number.map_or_else(|| self.bad("a number of seconds from 0 to a year"), Ok)
    }

    fn whole(&self, least: u64, most: u64) -> Result<u64, Refusal> {
        let number = match self.value {
            Value::String(text) => text.parse::<u64>().ok(),
            // Senders that know only floats write 3 as 3.0.
            value => value.as_u64().or_else(|| {
                value
                    .as_f64()
                    .filter(|number| number.fract() == 0.0 && *number >= 0.0)
                    .map(crate::distribution::to_count)
            }),
        };
        let number = number.filter(|number| (least..=most).contains(number));
        number.map_or_else(|| self.bad(format_args!("a whole number from {least} to {most}")), Ok)
    }

    fn time(&self) -> Result<Timestamp, Refusal> {
        let time = self.value.as_str().and_then(parse_time).filter(|time| TIMES.contains(time));
        time.map_or_else(|| self.bad("a time as in 2026-01-31T12:00:00Z"), Ok)
    }
}

/// Whether a text may name something.
fn is_name(text: &str) -> bool {
    (1..=LONGEST_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(kind: EventKind, fields: Value) -> Result<(EventData, u64), Refusal> {
        EventData::read(kind, fields.as_object().unwrap())
    }

    #[test]
    fn known_fields_are_taken_and_others_counted() {
        let fields = json!({"result": "failure", "reason_class": "timeout", "reason": "slow", "service": "ci",
            "duration": 1.5, "count": 3, "blocking": true, "wrapped": "false", "key_id": 7, "colour": "red",
            "issuer": null, "nested": {}});
        let (data, ignored) = read(EventKind::Sign, fields).unwrap();
        assert_eq!(ignored, 2);
        assert_eq!(data.result, Some(Outcome::Failure));
        assert_eq!(data.reason_class, Some(ReasonClass::Timeout));
        assert_eq!((data.blocking, data.wrapped, data.number()), (Some(true), Some(false), 3));
        assert_eq!((data.key_id.as_deref(), data.issuer), (Some("7"), None));
        let text =
            serde_json::to_string(&read(EventKind::Sign, json!({"result": "success"})).unwrap().0).unwrap();
        assert_eq!(text, r#"{"result":"success"}"#, "what was not told takes no room");
    }

    #[test]
    fn every_wrong_value_names_its_field_and_what_would_be_right() {
        let long = "x".repeat(257);
        for (field, value, wanted) in [
            ("result", json!("ok"), "one of success, failure"),
            ("reason_class", json!("cosmic_rays"), "corrupted_artifact"),
            ("service", json!(""), "a name"),
            ("service", json!(long), "a name"),
            ("service", json!("a\nb"), "a name"),
            ("service", json!(["a"]), "a name"),
            ("blocking", json!("yes"), "true or false"),
            ("duration", json!(-0.1), "0 to a year"),
            ("duration", json!("NaN"), "0 to a year"),
            ("duration", json!(1e300), "0 to a year"),
            ("bytes", json!(-1), "a whole number"),
            ("bytes", json!(1.5), "a whole number"),
            ("bytes", json!(1e300), "a whole number"),
            ("count", json!(0), "from 1 to 1000000000"),
            ("count", json!(u64::MAX), "from 1 to 1000000000"),
            ("due_at", json!("tomorrow"), "a time as in"),
            ("planned_at", json!("2400-01-01T00:00:00Z"), "a time as in"),
            ("services", json!([]), "a list"),
            ("services", json!([1]), "a list"),
            ("services", json!("a,,b"), "a list"),
        ] {
            let refusal = read(EventKind::PolicyDenial, json!({field: value})).unwrap_err();
            assert_eq!(refusal.reason, RefusalReason::BadValue, "{field}");
            assert_eq!(refusal.field.as_deref(), Some(&*format!("data.{field}")));
            assert!(refusal.message.contains(wanted), "{refusal}");
        }
    }

    #[test]
    fn what_a_type_needs_must_be_there() {
        for (kind, fields, missing) in [
            (EventKind::Sign, json!({}), "data.result"),
            (EventKind::StorageSize, json!({"store": "registry"}), "data.bytes"),
            (EventKind::StorageSize, json!({"bytes": 1}), "data.store"),
            (EventKind::EntropyHealth, json!({"result": "success"}), "data.entropy_source"),
            (EventKind::QkdLink, json!({"result": "success"}), "data.link"),
            (EventKind::RolloutStage, json!({"deployment": "a"}), "data.stage"),
            (EventKind::KeyRotation, json!({"due_at": "2026-01-01T00:00:00Z"}), "data.rotation_id"),
            (EventKind::KeyRotation, json!({"rotation_id": "r"}), "data.result"),
        ] {
            let refusal = read(kind, fields).unwrap_err();
            assert_eq!(
                (refusal.reason, refusal.field.as_deref()),
                (RefusalReason::MissingField, Some(missing))
            );
        }
        let upside_down = json!({"rotation_id": "r", "planned_at": "2026-01-02T00:00:00Z", "due_at": "2026-01-01T00:00:00Z"});
        assert_eq!(
            read(EventKind::KeyRotation, upside_down).unwrap_err().field.as_deref(),
            Some("data.due_at")
        );
        assert!(read(EventKind::PolicyDenial, json!({})).is_ok());
    }

    #[test]
    fn expected_services_are_sorted_and_each_once() {
        let fields = json!({"rotation_id": "r", "services": ["b", "a", "b"]});
        assert_eq!(read(EventKind::KeyRotation, fields).unwrap().0.services, ["a", "b"]);
        let fields = json!({"rotation_id": "r", "expected_services": "b, a"});
        assert_eq!(read(EventKind::KeyRotation, fields).unwrap().0.services, ["a", "b"]);
    }
}
