//! Spans of time that do not count: maintenance, and corrections of a budget after the fact. Each has an author and a
//! reason, and what was left out stays visible.

use crate::bucket::{Tier, Window};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Width of the finest buckets, in seconds.
const BUCKET: u64 = Tier::TenSeconds.seconds();

/// A span that does not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// Number given by the engine, from 1; never used again.
    pub id: u64,
    /// Names of objectives; all when empty.
    pub objectives: BTreeSet<String>,
    /// OpenSLO services; all when empty.
    pub services: BTreeSet<String>,
    /// First moment that does not count.
    pub from: Timestamp,
    /// First moment after it; `None` until it is ended.
    pub until: Option<Timestamp>,
    /// Who entered it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was entered.
    pub entered: Timestamp,
}

impl Exclusion {
    /// Whether it is about an objective of a service.
    pub fn concerns(&self, objective: &str, service: &str) -> bool {
        (self.objectives.is_empty() || self.objectives.contains(objective))
            && (self.services.is_empty() || self.services.contains(service))
    }

    /// Whether it holds at a moment.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.from <= now && self.until.is_none_or(|until| now < until)
    }
}

/// The parts of a window that do not count for an objective: apart from each other and in order, at most as many as there
/// are exclusions.
pub fn excluded_parts(
    exclusions: &[Exclusion],
    objective: &str,
    service: &str,
    window: Window,
) -> Vec<Window> {
    let concerned = exclusions.iter().filter(|exclusion| exclusion.concerns(objective, service));
    let mut parts: Vec<Window> = concerned
        .map(|exclusion| Window {
            from: exclusion.from.seconds().max(window.from),
            // The bucket that the end falls into is left out as a whole, as the one of the beginning is.
            to: exclusion
                .until
                .map_or(window.to, |until| until.seconds().next_multiple_of(BUCKET).min(window.to)),
        })
        .filter(|part| part.from < part.to)
        .collect();
    parts.sort_unstable_by_key(|part| part.from);
    joined(parts)
}

/// Spans in the order of their beginnings, those that overlap or touch made one.
pub(crate) fn joined(parts: impl IntoIterator<Item = Window>) -> Vec<Window> {
    let mut joined: Vec<Window> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            Some(last) if part.from <= last.to => last.to = last.to.max(part.to),
            _ => joined.push(part),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exclusion(from: u64, until: Option<u64>, objective: &str) -> Exclusion {
        Exclusion {
            id: 1,
            objectives: if objective.is_empty() { BTreeSet::new() } else { [objective.to_owned()].into() },
            services: BTreeSet::new(),
            from: Timestamp::from_seconds(from),
            until: until.map(Timestamp::from_seconds),
            author: "kim".to_owned(),
            reason: "planned switch of the load balancer".to_owned(),
            entered: Timestamp::EPOCH,
        }
    }

    #[test]
    fn overlapping_spans_are_left_out_once() {
        let list = [
            exclusion(10, Some(20), ""),
            exclusion(15, Some(30), "a"),
            exclusion(100, None, "a"),
            exclusion(0, Some(500), "b"),
        ];
        let window = Window { from: 12, to: 200 };
        let parts = excluded_parts(&list, "a", "shop", window);
        assert_eq!(parts, [Window { from: 12, to: 30 }, Window { from: 100, to: 200 }]);
        assert_eq!(excluded_parts(&list, "c", "shop", window), [Window { from: 12, to: 20 }]);
        assert!(excluded_parts(&list, "a", "shop", Window { from: 40, to: 90 }).is_empty());
    }
}
