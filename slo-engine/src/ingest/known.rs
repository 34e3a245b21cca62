//! Which series some attributes are: found once, then looked up.
//!
//! The attributes of a point are compared as they came, in their order, so a look-up neither sorts nor copies nor hashes
//! with SHA-256. Only texts are remembered; other values are rare and take the long way.

use foldhash::fast::RandomState;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use pqscope_slo_core::series::{Series, SeriesId};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// Bytes of attributes that are remembered; beyond it all are forgotten and found again.
const MOST_BYTES: usize = 64 << 20;
/// What an entry takes besides its texts.
const ENTRY_BYTES: usize = 400;
/// Longer attributes take the long way.
const LONGEST_BYTES: usize = 4 << 10;

/// A series with its number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Identified(Arc<(SeriesId, Series)>);

impl Identified {
    pub(super) fn new(series: Series) -> Self {
        Self(Arc::new((series.id(), series)))
    }

    /// The number of the series.
    pub(crate) fn id(&self) -> SeriesId {
        self.0.0
    }
}

impl Deref for Identified {
    type Target = Series;

    fn deref(&self) -> &Series {
        &self.0.1
    }
}

#[derive(Debug)]
struct Entry {
    form: Form,
    lifted: Arc<[(String, String)]>,
    series: Identified,
}

/// Attributes as they came.
#[derive(Debug)]
enum Form {
    /// Decoded: keys and values in their order.
    Pairs(Vec<(Box<str>, Box<str>)>),
    /// As they lie in a protobuf message.
    Bytes(Box<[u8]>),
}

impl Form {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.iter().map(|(key, value)| key.len() + value.len()).sum(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

#[derive(Debug, Default)]
struct Entries {
    by_hash: HashMap<u64, Entry, RandomState>,
    bytes: usize,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    entries: RwLock<Entries>,
    hash: RandomState,
}

impl Known {
    /// Looks up for one request; what it finds anew is remembered at its end.
    pub(super) fn begin(&self) -> Identities<'_> {
        let held = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        Identities { known: self, held: Some(held), found: Vec::new(), lifted: Arc::new([]), hash: 0 }
    }
}

/// The look-ups of one request.
pub(super) struct Identities<'a> {
    known: &'a Known,
    held: Option<RwLockReadGuard<'a, Entries>>,
    found: Vec<(u64, Entry)>,
    /// Attributes of the resource that its points carry.
    lifted: Arc<[(String, String)]>,
    /// Of the attributes that were looked up last.
    hash: u64,
}

impl Identities<'_> {
    /// Attributes of the resource that all points from now on carry, unless they have their own.
    pub(super) fn lift(&mut self, lifted: Arc<[(String, String)]>) {
        self.lifted = lifted;
    }

    /// See [`lift`](Self::lift).
    pub(super) fn lifted(&self) -> &[(String, String)] {
        &self.lifted
    }

    fn hasher(&self, metric: &str) -> impl Hasher + use<> {
        let mut hash = self.known.hash.build_hasher();
        hash.write(metric.as_bytes());
        for (key, value) in &*self.lifted {
            hash.write(key.as_bytes());
            hash.write(value.as_bytes());
        }
        hash
    }

    /// The series of a metric and attributes, if it is known.
    pub(super) fn find(&mut self, metric: &str, attributes: &[KeyValue]) -> Option<Identified> {
        let mut hash = self.hasher(metric);
        for pair in attributes {
            hash.write(pair.key.as_bytes());
            hash.write(text(pair)?.as_bytes());
        }
        self.hash = hash.finish();
        let entry = self.held.as_ref()?.by_hash.get(&self.hash)?;
        let Form::Pairs(pairs) = &entry.form else { return None };
        let same = entry.series.metric == metric
            && entry.lifted == self.lifted
            && pairs.len() == attributes.len()
            && pairs
                .iter()
                .zip(attributes)
                .all(|((key, value), pair)| **key == *pair.key && text(pair) == Some(value));
        same.then(|| entry.series.clone())
    }

    /// As [`find`](Self::find), for attributes as they lie in a protobuf message.
    pub(super) fn find_raw(&mut self, metric: &str, raw: &[u8]) -> Option<Identified> {
        let mut hash = self.hasher(metric);
        hash.write(raw);
        self.hash = hash.finish();
        let entry = self.held.as_ref()?.by_hash.get(&self.hash)?;
        let Form::Bytes(bytes) = &entry.form else { return None };
        (entry.series.metric == metric && entry.lifted == self.lifted && **bytes == *raw)
            .then(|| entry.series.clone())
    }

    /// Remembers what was just looked up in vain.
    pub(super) fn note(&mut self, attributes: &[KeyValue], series: Identified) -> Identified {
        let pairs: Option<Vec<(Box<str>, Box<str>)>> =
            attributes.iter().map(|pair| Some((pair.key.as_str().into(), text(pair)?.into()))).collect();
        match pairs {
            Some(pairs) => self.remember(Form::Pairs(pairs), series),
            None => series,
        }
    }

    /// Remembers what was just looked up in vain.
    pub(super) fn note_raw(&mut self, raw: &[u8], series: Identified) -> Identified {
        self.remember(Form::Bytes(raw.into()), series)
    }

    fn remember(&mut self, form: Form, series: Identified) -> Identified {
        if form.size_bytes() + series.metric.len() <= LONGEST_BYTES {
            self.found
                .push((self.hash, Entry { form, lifted: Arc::clone(&self.lifted), series: series.clone() }));
        }
        series
    }
}

impl Drop for Identities<'_> {
    fn drop(&mut self) {
        self.held = None;
        if self.found.is_empty() {
            return;
        }
        let mut entries = self.known.entries.write().unwrap_or_else(PoisonError::into_inner);
        for (hash, entry) in self.found.drain(..) {
            if entries.bytes > MOST_BYTES {
                *entries = Entries::default();
            }
            // Held twice: as they came, and in the series.
            entries.bytes += ENTRY_BYTES + 2 * entry.form.size_bytes();
            entries.by_hash.insert(hash, entry);
        }
    }
}

/// A value that is a text.
fn text(pair: &KeyValue) -> Option<&str> {
    match pair.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::AnyValue;

    fn pair(key: &str, value: &str) -> KeyValue {
        let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
        KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
    }

    #[test]
    fn only_the_very_same_attributes_are_found() {
        let known = Known::default();
        let attributes = [pair("a", "b"), pair("c", "d")];
        let series = Series::new("m", [("a", "b"), ("c", "d")]);
        let mut first = known.begin();
        assert_eq!(first.find("m", &attributes), None);
        first.note(&attributes, Identified::new(series.clone()));
        drop(first);
        let mut second = known.begin();
        assert_eq!(second.find("m", &attributes).map(|found| found.id()), Some(series.id()));
        assert_eq!(second.find("n", &attributes), None);
        assert_eq!(second.find("m", &attributes[..1]), None);
        assert_eq!(second.find("m", &[pair("ab", ""), pair("c", "d")]), None);
        assert_eq!(
            second.find("m", &[pair("c", "d"), pair("a", "b")]),
            None,
            "in another order: the long way"
        );
        let number = AnyValue { value: Some(any_value::Value::IntValue(1)) };
        let number = KeyValue { key: "a".to_owned(), value: Some(number), ..KeyValue::default() };
        assert_eq!(second.find("m", &[number]), None);
    }
}
