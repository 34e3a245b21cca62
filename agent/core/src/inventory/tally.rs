//! Counts by word, within a bound.

use pqscope_telemetry::OTHER;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Words that one tally tells apart.
const MAX_WORDS: usize = 32;

/// Counts by word in the order of the words; `other` beyond [`MAX_WORDS`].
#[derive(Clone, Debug, Default)]
pub(super) struct Tally(BTreeMap<Cow<'static, str>, u64>);

impl Tally {
    /// Counts a word.
    pub(super) fn add(&mut self, word: impl Into<Cow<'static, str>>) {
        let word = word.into();
        let full = self.0.len() >= MAX_WORDS && !self.0.contains_key(&word);
        *self.0.entry(if full { Cow::Borrowed(OTHER) } else { word }).or_default() += 1;
    }
}

impl Serialize for Tally {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_beyond_the_bound_are_counted_together() {
        let mut tally = Tally::default();
        for number in 0..100 {
            tally.add(format!("0x{number:04x}"));
            tally.add("0x0000");
        }
        assert_eq!(tally.0.len(), MAX_WORDS + 1);
        assert_eq!((tally.0["0x0000"], tally.0[OTHER]), (101, 68));
    }
}
