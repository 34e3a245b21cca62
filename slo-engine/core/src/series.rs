//! Identity of what is counted: a metric with its attributes, and the selectors that pick from them.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Attributes in the order of their names.
pub type Attributes = BTreeMap<String, String>;

/// A metric with one combination of attribute values: what a count is kept for. Who sent it is not part of it, so that
/// the agents of a fleet add up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Series {
    /// OpenTelemetry name of the metric.
    pub metric: String,
    /// Attributes of the data point. Values that are not strings are written as JSON writes them.
    pub attributes: Attributes,
}

impl Series {
    /// The series of a metric with these attributes.
    pub fn new<K: Into<String>, V: Into<String>>(
        metric: impl Into<String>,
        attributes: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Self {
            metric: metric.into(),
            attributes: attributes.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
        }
    }

    /// The stable number of this series.
    pub fn id(&self) -> SeriesId {
        let mut hash = IdentityHash::new("pqscope series 1");
        hash.text(&self.metric);
        hash.attributes(&self.attributes);
        SeriesId(hash.finish())
    }

    /// Value of an attribute; the empty text when there is none, as in Prometheus.
    pub fn attribute(&self, key: &str) -> &str {
        self.attributes.get(key).map_or("", String::as_str)
    }
}

/// Stable 128-bit number of a series: the first 16 bytes of SHA-256 over a domain word, the metric and the attributes
/// in the order of their names, each text preceded by its length (eight bytes, big-endian). Two series share a number
/// with a probability that no fleet will meet, and the number never changes, so it may stand in keys on disk.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SeriesId([u8; 16]);

impl SeriesId {
    /// The number as bytes for a key.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The number from the bytes of a key.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Who sends: the process behind a resource. `service.namespace`, `service.name` and `service.instance.id` when the
/// latter is there (the OpenTelemetry resource conventions make the three globally unique), else all attributes.
/// Attributes that a Collector adds later then do not turn a stream into a new one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SourceId([u8; 16]);

impl SourceId {
    /// The sender of one metric: resource attributes, name of the instrumentation scope, and the metric.
    pub fn new(resource: &Attributes, scope: &str, metric: &str) -> Self {
        let mut hash = IdentityHash::new("pqscope source 1");
        const INSTANCE: [&str; 3] = ["service.instance.id", "service.name", "service.namespace"];
        if resource.contains_key("service.instance.id") {
            let identity: Attributes = resource
                .iter()
                .filter(|(key, _)| INSTANCE.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            hash.attributes(&identity);
        } else {
            hash.attributes(resource);
        }
        hash.text(scope);
        hash.text(metric);
        Self(hash.finish())
    }

    /// The number as bytes for a key.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// The number from the bytes of a key.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// One series from one sender: what cumulative values belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamId {
    /// Who sends.
    pub source: SourceId,
    /// What is counted.
    pub series: SeriesId,
}

/// A text that is not the 32 hexadecimal digits of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an identity has 32 hexadecimal digits in lower case")]
pub struct NotAnId;

macro_rules! hexadecimal {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
        impl TryFrom<String> for $name {
            type Error = NotAnId;

            fn try_from(text: String) -> Result<Self, NotAnId> {
                // Upper case is refused, so that an identity has one text only.
                let number =
                    u128::from_str_radix(&text, 16).ok().filter(|number| format!("{number:032x}") == text);
                number.map(|number| Self(number.to_be_bytes())).ok_or(NotAnId)
            }
        }
    };
}
hexadecimal!(SeriesId);
hexadecimal!(SourceId);

/// Identity of a few texts: the first 16 bytes of SHA-256 over a domain word and them, each preceded by its length.
pub(crate) struct IdentityHash(Sha256);

impl IdentityHash {
    pub(crate) fn new(domain: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.text(domain);
        hash
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_be_bytes());
        self.0.update(text.as_bytes());
    }

    fn attributes(&mut self, attributes: &Attributes) {
        self.0.update((attributes.len() as u64).to_be_bytes());
        for (key, value) in attributes {
            self.text(key);
            self.text(value);
        }
    }

    pub(crate) fn finish(self) -> [u8; 16] {
        let mut id = [0; 16];
        id.iter_mut().zip(self.0.finalize()).for_each(|(to, from)| *to = from);
        id
    }
}

/// Picks series of one metric by the values of attributes, as `metric{a=~"x|y", b!~"z"}` does in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selector {
    /// OpenTelemetry name of the metric.
    pub metric: String,
    /// Attribute to the values of which it must have one. The empty text stands for a missing attribute.
    pub matches: BTreeMap<String, BTreeSet<String>>,
    /// Attribute to the values of which it must have none. A missing attribute has the empty text.
    pub not_matches: BTreeMap<String, BTreeSet<String>>,
}

impl Selector {
    /// Whether a series is picked.
    pub fn matches(&self, series: &Series) -> bool {
        self.metric == series.metric
            && self.matches.iter().all(|(key, values)| values.contains(series.attribute(key)))
            && !self.not_matches.iter().any(|(key, values)| values.contains(series.attribute(key)))
    }

    /// Attributes that the selector asks about.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.matches.keys().chain(self.not_matches.keys()).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_series_never_changes() {
        // Written to disk by every version: SHA-256 as documented, computed apart from this program.
        let id =
            Series::new("pqscope.handshakes", [("pqscope.outcome", "failed"), ("error.type", "timeout")])
                .id();
        assert_eq!(id.to_string(), "998f7a7f1f0bd40f48391589884e66bc");
        assert_eq!(SeriesId::try_from(id.to_string()), Ok(id));
        assert_eq!(SeriesId::from_bytes(id.to_bytes()), id);
        assert_eq!(SeriesId::try_from("abc".to_owned()), Err(NotAnId));
    }

    #[test]
    fn attributes_do_not_run_into_each_other() {
        let ids = [
            Series::new("m", [("a", "b"), ("c", "d")]).id(),
            Series::new("m", [("a", "bc"), ("", "d")]).id(),
            Series::new("ma", [("b", ""), ("c", "d")]).id(),
            Series::new("m", [("c", "d"), ("a", "b"), ("x", "")]).id(),
        ];
        let distinct: BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(ids[0], Series::new("m", [("c", "d"), ("a", "b")]).id(), "their order does not matter");
    }

    #[test]
    fn an_instance_is_told_by_its_instance_id_alone() {
        let source = |pairs: &[(&str, &str)]| {
            let resource =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            SourceId::new(&resource, "scope", "metric")
        };
        let instance = ("service.instance.id", "7");
        assert_eq!(source(&[instance]), source(&[instance, ("k8s.pod.name", "added later")]));
        assert_ne!(source(&[instance]), source(&[instance, ("service.name", "other")]));
        assert_ne!(source(&[("host.name", "a")]), source(&[("host.name", "b")]));
    }

    #[test]
    fn a_missing_attribute_is_the_empty_text() {
        let values = |text: &str| BTreeSet::from([text.to_owned()]);
        let mut selector =
            Selector { metric: "m".to_owned(), matches: BTreeMap::new(), not_matches: BTreeMap::new() };
        selector.matches.insert("error.type".to_owned(), values(""));
        assert!(selector.matches(&Series::new("m", [("a", "b")])));
        assert!(!selector.matches(&Series::new("m", [("error.type", "timeout")])));
        assert!(!selector.matches(&Series::new("n", [("a", "b")])));
        selector.matches.clear();
        selector.not_matches.insert("error.type".to_owned(), values("timeout"));
        assert!(selector.matches(&Series::new("m", [("a", "b")])));
        assert!(!selector.matches(&Series::new("m", [("error.type", "timeout")])));
    }
}
