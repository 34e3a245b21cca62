//! A timer wheel: which connections may have been silent for long enough by now.
//!
//! Connections are put in under the time when they would expire if nothing happened. Nothing is moved when something
//! happens; whoever takes a connection out looks at its real deadline and puts it back if that lies ahead. So a packet
//! costs nothing here.

/// Nanoseconds of one tick, about 67 ms.
pub(crate) const TICK: u64 = 1 << 26;

/// Slots of the wheel: its turn takes about 69 s.
const SLOTS: usize = 1024;

/// Entries that an empty slot keeps room for.
const KEPT_CAPACITY: usize = 64;

/// A connection in the wheel: its place in the table, and the generation that tells whether the place is still its.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}

/// The wheel.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<Entry>>,
    /// The next tick to be looked at.
    next_tick: u64,
    entries: usize,
}

impl Wheel {
    /// An empty wheel.
    pub(crate) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS], next_tick: 0, entries: 0 }
    }

    fn slot(&mut self, tick: u64) -> Option<&mut Vec<Entry>> {
        self.slots.get_mut(usize::try_from(tick % SLOTS as u64).unwrap_or(0))
    }

    /// Puts an entry in under `deadline` (nanoseconds); a deadline beyond one turn comes up earlier and is put back.
    pub(crate) fn insert(&mut self, deadline: u64, entry: Entry) {
        let latest = self.next_tick + SLOTS as u64 - 1;
        let tick = (deadline / TICK).clamp(self.next_tick, latest);
        if let Some(slot) = self.slot(tick) {
            slot.push(entry);
            self.entries += 1;
        }
    }

    /// Entries, those of connections that are gone included.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Keeps only entries of connections that are still there.
    pub(crate) fn retain(&mut self, mut is_current: impl FnMut(Entry) -> bool) {
        for slot in &mut self.slots {
            slot.retain(|entry| is_current(*entry));
            slot.shrink_to(KEPT_CAPACITY.max(slot.len()));
        }
        self.entries = self.slots.iter().map(Vec::len).sum();
    }

    /// Takes out every entry whose time may have come by `now`, into `due`, oldest first.
    pub(crate) fn advance(&mut self, now: u64, due: &mut Vec<Entry>) {
        let now_tick = now / TICK;
        let before = due.len();
        // A jump over more than one turn looks at each slot once.
        let first = self.next_tick.max(now_tick.saturating_sub(SLOTS as u64));
        for tick in first..now_tick {
            if let Some(slot) = self.slot(tick) {
                due.append(slot);
                // A burst must not keep its memory for good.
                slot.shrink_to(KEPT_CAPACITY);
            }
        }
        self.entries -= due.len() - before;
        self.next_tick = self.next_tick.max(now_tick);
    }

    /// Takes out one of the entries of the tick that would expire first.
    pub(crate) fn take_oldest(&mut self) -> Option<Entry> {
        let first = self.next_tick;
        let oldest = (first..first + SLOTS as u64).find_map(|tick| self.slot(tick).and_then(Vec::pop));
        self.entries -= usize::from(oldest.is_some());
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.advance(now, &mut due);
        due.into_iter().map(|entry| entry.place).collect()
    }

    #[test]
    fn entries_come_up_once_their_tick_is_over() {
        let mut wheel = Wheel::new();
        wheel.advance(1_000 * TICK, &mut Vec::new());
        for (place, deadline) in [(1, 1_010 * TICK), (2, 1_003 * TICK + 5)] {
            wheel.insert(deadline, Entry { place, generation: 0 });
        }
        assert_eq!(due(&mut wheel, 1_003 * TICK + 6), [0_u32; 0]);
        assert_eq!(due(&mut wheel, 1_004 * TICK), [2]);
        assert_eq!(due(&mut wheel, 5_000 * TICK), [1]);
    }

    #[test]
    fn a_far_deadline_comes_up_early_rather_than_never() {
        let mut wheel = Wheel::new();
        wheel.insert(10_000 * TICK, Entry { place: 7, generation: 0 });
        assert_eq!(due(&mut wheel, 1_023 * TICK), [0_u32; 0]);
        assert_eq!(due(&mut wheel, 1_024 * TICK), [7]);
    }

    #[test]
    fn the_oldest_is_taken_first() {
        let mut wheel = Wheel::new();
        for (place, tick) in [(1, 30), (2, 10), (3, 20)] {
            wheel.insert(tick * TICK, Entry { place, generation: 0 });
        }
        let order: Vec<u32> = std::iter::from_fn(|| wheel.take_oldest()).map(|entry| entry.place).collect();
        assert_eq!(order, [2, 3, 1]);
    }
}
