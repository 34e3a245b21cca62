//! Which events were there already. Identities are remembered by the time of their event, the oldest go first, and
//! nothing at or before the time of one that went is taken any more: so no repeat is ever taken for news.

use super::EventKey;
use crate::time::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Identities are remembered for so long.
pub(super) const ID_MEMORY: Duration = Duration::from_secs(7 * 86_400);

/// What the memory says about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Familiarity {
    /// Never seen.
    New,
    /// Seen before.
    Known,
    /// So old that it cannot be told.
    Forgotten,
}

/// The identities.
pub(super) struct Memory {
    most: usize,
    by_key: HashMap<EventKey, Timestamp>,
    by_time: BTreeSet<(Timestamp, EventKey)>,
    /// Time of the youngest event whose identity had to go for room.
    horizon: Timestamp,
    dirty: BTreeSet<EventKey>,
    dirty_horizon: bool,
}

impl Memory {
    /// An empty memory for at most so many identities.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            by_key: HashMap::new(),
            by_time: BTreeSet::new(),
            horizon: Timestamp::EPOCH,
            dirty: BTreeSet::new(),
            dirty_horizon: false,
        }
    }

    pub(super) fn judge(&self, key: EventKey, time: Timestamp, now: Timestamp) -> Familiarity {
        if self.by_key.contains_key(&key) {
            Familiarity::Known
        } else if time <= self.horizon.max(now.before(ID_MEMORY)) {
            Familiarity::Forgotten
        } else {
            Familiarity::New
        }
    }

    pub(super) fn remember(&mut self, key: EventKey, time: Timestamp) {
        self.restore(key, time);
        self.dirty.insert(key);
        while self.by_time.len() > self.most {
            if let Some((time, key)) = self.by_time.pop_first() {
                self.by_key.remove(&key);
                self.dirty.insert(key);
                self.horizon = self.horizon.max(time);
                self.dirty_horizon = true;
            }
        }
    }

    pub(super) fn restore(&mut self, key: EventKey, time: Timestamp) {
        if let Some(old) = self.by_key.insert(key, time) {
            self.by_time.remove(&(old, key));
        }
        self.by_time.insert((time, key));
    }

    pub(super) fn restore_horizon(&mut self, horizon: Timestamp) {
        self.horizon = horizon;
    }

    /// Forgets what is beyond the age.
    pub(super) fn expire(&mut self, now: Timestamp) {
        let oldest = now.before(ID_MEMORY);
        while let Some((time, key)) = self.by_time.first().copied()
            && time < oldest
        {
            self.by_time.pop_first();
            self.by_key.remove(&key);
            self.dirty.insert(key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn unsaved(&self) -> usize {
        self.dirty.len()
    }

    /// What changed: identities with their time, or without when they were forgotten; and the horizon if it moved.
    pub(super) fn take_changes(&mut self) -> (Vec<(EventKey, Option<Timestamp>)>, Option<Timestamp>) {
        let keys = std::mem::take(&mut self.dirty);
        let keys = keys.into_iter().map(|key| (key, self.by_key.get(&key).copied())).collect();
        (keys, std::mem::take(&mut self.dirty_horizon).then_some(self.horizon))
    }

    /// Has everything saved again.
    pub(super) fn touch_all(&mut self) {
        self.dirty.extend(self.by_key.keys());
        self.dirty_horizon = true;
    }

    pub(super) fn return_key(&mut self, key: EventKey) {
        self.dirty.insert(key);
    }

    pub(super) const fn return_horizon(&mut self) {
        self.dirty_horizon = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn key(number: u64) -> EventKey {
        EventKey::new("s", &number.to_string())
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn the_oldest_go_first_and_nothing_as_old_is_taken_again() {
        let mut memory = Memory::new(2);
        let now = at(100 * DAY);
        for second in [3, 1, 2] {
            assert_eq!(memory.judge(key(second), at(100 * DAY - second), now), Familiarity::New);
            memory.remember(key(second), at(100 * DAY - second));
        }
        assert_eq!(memory.len(), 2);
        assert_eq!(memory.judge(key(1), at(100 * DAY - 1), now), Familiarity::Known);
        assert_eq!(memory.judge(key(3), at(100 * DAY - 3), now), Familiarity::Forgotten);
        assert_eq!(
            memory.judge(key(9), at(100 * DAY - 3), now),
            Familiarity::Forgotten,
            "cannot be told apart"
        );
        assert_eq!(memory.judge(key(9), at(100 * DAY - 2), now), Familiarity::New);
    }

    #[test]
    fn age_forgets_and_refuses_alike() {
        let mut memory = Memory::new(10);
        memory.remember(key(1), at(DAY));
        memory.expire(at(8 * DAY));
        assert_eq!(memory.judge(key(1), at(DAY), at(8 * DAY)), Familiarity::Known);
        memory.expire(at(8 * DAY + 1));
        assert_eq!(memory.judge(key(1), at(DAY), at(8 * DAY + 1)), Familiarity::Forgotten);
        let (changes, horizon) = memory.take_changes();
        assert_eq!((changes, horizon), (vec![(key(1), None)], None));
    }
}
