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

impl StreamId {
    /// The number as bytes for a key: source, then series.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (source, series) = bytes.split_at_mut(16);
        source.copy_from_slice(&self.source.0);
        series.copy_from_slice(&self.series.0);
        bytes
    }
}

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
    };
}
hexadecimal!(SeriesId);
hexadecimal!(SourceId);

struct IdentityHash(Sha256);

impl IdentityHash {
    fn new(domain: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.text(domain);
        hash
    }

    fn text(&mut self, text: &str) {
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

    fn finish(self) -> [u8; 16] {
        let mut id = [0; 16];
        id.iter_mut().zip(self.0.finalize()).for_each(|(to, from)| *to = from);
        id
    }
}

/// Picks series of one metric by the values of attributes, as `metric{a=~"x|y", b!~"z"}` does in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
