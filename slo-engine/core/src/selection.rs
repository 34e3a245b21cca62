//! Which series a selector picks, looked up once and kept until series come or go: thousands of objectives ask again and
//! again.

use crate::ledger::{Ledger, Slot};
use crate::series::{Selector, Series};
use std::collections::HashMap;
use std::sync::Arc;

/// With more new series than this at once, selections are looked up anew: each is compared with every selector.
const MOST_ADDED: u64 = 16;

/// Selections of one ledger.
#[derive(Debug, Default)]
pub struct Selections {
    /// The ledger's generation and removals when this was last renewed, and its next place then.
    seen: Option<(u64, u64, Slot)>,
    picked: HashMap<Selector, Arc<[Slot]>, foldhash::fast::FixedState>,
    /// Series by metric, attribute and value, for the attributes that were asked about.
    postings: HashMap<(String, String), HashMap<String, Vec<Slot>>>,
}

impl Selections {
    /// The places of the series that a selector picks, in their own order.
    pub fn of(&mut self, ledger: &Ledger, selector: &Selector) -> Arc<[Slot]> {
        self.renew(ledger);
        if let Some(known) = self.picked.get(selector) {
            return Arc::clone(known);
        }
        let mut picked = self.pick(ledger, selector);
        picked.sort_unstable();
        let picked: Arc<[Slot]> = picked.into();
        self.picked.insert(selector.clone(), Arc::clone(&picked));
        picked
    }

    /// Takes in the series that came; forgets everything when a series went, or when many came.
    fn renew(&mut self, ledger: &Ledger) {
        let current = (ledger.generation(), ledger.removals(), ledger.next_slot());
        let seen = self.seen.replace(current);
        if seen == Some(current) {
            return;
        }
        // A series that went into a place below the next one would be missed: as many have to be found as were made.
        let added = seen.filter(|(generation, removals, _)| {
            *removals == ledger.removals() && ledger.generation() - generation <= MOST_ADDED
        });
        let added = added.map(|(generation, _, next)| {
            (ledger.generation() - generation, ledger.added_since(next).collect::<Vec<_>>())
        });
        match added {
            Some((made, added)) if made == added.len() as u64 => {
                added.into_iter().for_each(|(slot, series)| self.add(slot, series));
            }
            _ => {
                self.picked.clear();
                self.postings.clear();
            }
        }
    }

    fn add(&mut self, slot: Slot, series: &Series) {
        for (selector, picked) in &mut self.picked {
            if selector.matches(series) {
                *picked = picked.iter().copied().chain([slot]).collect();
            }
        }
        for ((metric, attribute), by_value) in &mut self.postings {
            if *metric == series.metric {
                by_value.entry(series.attribute(attribute).to_owned()).or_default().push(slot);
            }
        }
    }

    /// Looks only at series that have the rarest of the values asked for.
    fn pick(&mut self, ledger: &Ledger, selector: &Selector) -> Vec<Slot> {
        let mut fewest: Option<Vec<Slot>> = None;
        for (attribute, values) in &selector.matches {
            let by_value = self.postings_of(ledger, &selector.metric, attribute);
            let candidates = values.iter().filter_map(|value| by_value.get(value));
            let count: usize = candidates.clone().map(Vec::len).sum();
            if fewest.as_ref().is_none_or(|fewest| count < fewest.len()) {
                fewest = Some(candidates.flatten().copied().collect());
            }
        }
        match fewest {
            Some(candidates) => candidates
                .into_iter()
                .filter(|slot| ledger.series(*slot).is_some_and(|series| selector.matches(series)))
                .collect(),
            None => ledger.select_slots(selector).collect(),
        }
    }

    fn postings_of(&mut self, ledger: &Ledger, metric: &str, attribute: &str) -> &HashMap<String, Vec<Slot>> {
        self.postings.entry((metric.to_owned(), attribute.to_owned())).or_insert_with(|| {
            let mut by_value: HashMap<String, Vec<Slot>> = HashMap::new();
            for slot in ledger.slots_of_metric(metric) {
                if let Some(series) = ledger.series(*slot) {
                    by_value.entry(series.attribute(attribute).to_owned()).or_default().push(*slot);
                }
            }
            by_value
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::Measured;
    use crate::ledger::Limits;
    use crate::time::Timestamp;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn selections_are_those_of_the_ledger_and_follow_it() {
        let mut ledger = Ledger::new(Limits::default());
        let now = Timestamp::from_seconds(1_800_000_000);
        let count = |ledger: &mut Ledger, attributes: &[(&str, &str)]| {
            let series = Series::new("m", attributes.iter().copied());
            ledger.record(&series, &[(now, Measured::Count(1))], now).unwrap();
        };
        count(&mut ledger, &[("a", "1"), ("b", "x")]);
        count(&mut ledger, &[("a", "2"), ("b", "x")]);
        count(&mut ledger, &[("b", "y")]);
        let values =
            |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
        let selectors = [
            (vec![], vec![]),
            (vec![("a", values(&["1", ""]))], vec![]),
            (vec![("a", values(&["1", "2"])), ("b", values(&["x"]))], vec![("a", values(&["2"]))]),
            (vec![("c", values(&["z"]))], vec![]),
        ];
        let mut selections = Selections::default();
        for round in 0..4_u32 {
            for (matches, not_matches) in &selectors {
                let map = |pairs: &[(&str, BTreeSet<String>)]| {
                    pairs
                        .iter()
                        .map(|(key, values)| ((*key).to_owned(), values.clone()))
                        .collect::<BTreeMap<_, _>>()
                };
                let selector =
                    Selector { metric: "m".to_owned(), matches: map(matches), not_matches: map(not_matches) };
                let expected: BTreeSet<Slot> = ledger.select_slots(&selector).collect();
                let found: BTreeSet<Slot> = selections.of(&ledger, &selector).iter().copied().collect();
                assert_eq!(found, expected, "round {round}, {selector:?}");
            }
            match round {
                // A few are taken in, many are looked up anew, and so is everything when a series goes.
                0 => count(&mut ledger, &[("a", "1"), ("b", "z")]),
                1 => (0..100).for_each(|n| count(&mut ledger, &[("a", "1"), ("c", &n.to_string())])),
                _ => {
                    ledger.expire(now.after(crate::bucket::LONGEST_WINDOW * 2));
                    count(&mut ledger, &[("a", "1"), ("b", "x")]);
                }
            }
        }
    }
}
