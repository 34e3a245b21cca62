//! Values of attributes from the wire, within bounds: beyond a number of values per attribute, new ones read `other`.

use crate::time::Timestamp;
use pqscope_telemetry::{OTHER, attribute};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A value that was not used for so long gives its place away.
const VALUE_MEMORY: Duration = Duration::from_secs(30 * 86_400);
/// A use is noted only this often, so that it costs no write each time.
const NOTE_INTERVAL: Duration = Duration::from_secs(86_400);

/// Most values of an attribute that have a place at a time.
fn most_values(key: &str) -> usize {
    match key {
        attribute::SERVICE => 256,
        attribute::DEPLOYMENT | attribute::STORE => 128,
        _ => 64,
    }
}

/// Attribute and value.
pub(super) type Label = (String, String);

/// Values of attributes that have a place.
#[derive(Default)]
pub(super) struct Labels {
    /// Services that have a place whatever comes: those of the services file.
    reserved: BTreeSet<String>,
    used: BTreeMap<Label, Timestamp>,
    dirty: BTreeSet<Label>,
}

impl Labels {
    pub(super) fn new(reserved: impl IntoIterator<Item = String>) -> Self {
        Self { reserved: reserved.into_iter().collect(), ..Self::default() }
    }

    /// The value itself when it has or gets a place, else `other`.
    pub(super) fn bounded<'a>(&mut self, key: &str, value: &'a str, now: Timestamp) -> &'a str {
        if key == attribute::SERVICE && self.reserved.contains(value) {
            return value;
        }
        let label = (key.to_owned(), value.to_owned());
        let noted = self.used.get(&label).copied();
        if noted.is_none() && self.values(key).count() >= most_values(key) && !self.make_room(key, now) {
            return OTHER;
        }
        if noted.is_none_or(|noted| now.since(noted) >= NOTE_INTERVAL) {
            self.used.insert(label.clone(), now);
            self.dirty.insert(label);
        }
        value
    }

    fn values(&self, key: &str) -> impl Iterator<Item = (&Label, &Timestamp)> {
        let first = (key.to_owned(), String::new());
        let key = key.to_owned();
        self.used.range(first..).take_while(move |((other, _), _)| *other == key)
    }

    /// Takes the place of a value that nobody uses any more, if there is one.
    fn make_room(&mut self, key: &str, now: Timestamp) -> bool {
        let idle = self.values(key).find(|(_, used)| now.since(**used) > VALUE_MEMORY);
        let Some((label, _)) = idle.map(|(label, used)| (label.clone(), *used)) else { return false };
        self.used.remove(&label);
        self.dirty.insert(label);
        true
    }

    pub(super) fn restore(&mut self, label: Label, used: Timestamp) {
        self.used.insert(label, used);
    }

    pub(super) fn unsaved(&self) -> usize {
        self.dirty.len()
    }

    /// What changed: values with the time of their use, or without when they lost their place.
    pub(super) fn take_changes(&mut self) -> Vec<(Label, Option<Timestamp>)> {
        let labels = std::mem::take(&mut self.dirty);
        labels.into_iter().map(|label| (label.clone(), self.used.get(&label).copied())).collect()
    }

    /// Has everything saved again.
    pub(super) fn touch_all(&mut self) {
        self.dirty.extend(self.used.keys().cloned());
    }

    pub(super) fn return_label(&mut self, label: Label) {
        self.dirty.insert(label);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_bound_values_become_other_until_one_lapses() {
        let mut labels = Labels::new(["mine".to_owned()]);
        let day = |number: u64| Timestamp::from_seconds(number * 86_400);
        for number in 0..256 {
            let name = format!("s{number}");
            assert_eq!(labels.bounded(attribute::SERVICE, &name, day(1)), name);
        }
        assert_eq!(labels.bounded(attribute::SERVICE, "late", day(2)), OTHER);
        assert_eq!(labels.bounded(attribute::SERVICE, "mine", day(2)), "mine", "it is in the services file");
        assert_eq!(labels.bounded(attribute::SERVICE, "s7", day(20)), "s7");
        assert_eq!(labels.bounded(attribute::ISSUER, "late", day(2)), "late", "each attribute has its bound");
        assert_eq!(labels.bounded(attribute::SERVICE, "late", day(40)), "late");
        let changes = labels.take_changes();
        assert_eq!(changes.iter().filter(|(_, used)| used.is_none()).count(), 1);
        assert!(changes.contains(&((attribute::SERVICE.to_owned(), "s7".to_owned()), Some(day(20)))));
        assert_eq!(labels.unsaved(), 0);
    }
}
