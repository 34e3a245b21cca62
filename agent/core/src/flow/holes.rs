//! Stretches of a direction that segments passed over.
//!
//! Enters: what was passed over, and what came later. Leaves: how long a stretch had been open when something of it came,
//! by which a segment that was overtaken is told from one that was sent again.

use super::sequence::Sequence;
use std::time::Duration;

/// Holes that are remembered per direction.
const HOLES: usize = 3;

/// A stretch that was passed over; empty where both ends are the same.
#[derive(Clone, Copy, Debug, Default)]
struct Hole {
    from: Sequence,
    to: Sequence,
    /// Microseconds of capture time, modulo 2^32.
    since: u32,
}

impl Hole {
    fn is_empty(self) -> bool {
        self.from == self.to
    }

    fn touches(self, from: Sequence, to: Sequence) -> bool {
        !self.is_empty() && from.distance_from(self.to) < 0 && to.distance_from(self.from) > 0
    }
}

/// The holes of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Holes([Hole; HOLES]);

impl Holes {
    /// Takes note that `from..to` was passed over at `now` (microseconds). Beyond the bound the hole that ends last takes
    /// in what lies between.
    pub(super) fn open(&mut self, from: Sequence, to: Sequence, now: u32) {
        let hole = Hole { from, to, since: now };
        if !self.keep(hole)
            && let Some(last) = self.0.iter_mut().min_by_key(|hole| to.distance_from(hole.to))
        {
            last.to = to;
        }
    }

    fn keep(&mut self, hole: Hole) -> bool {
        let slot = self.0.iter_mut().find(|slot| slot.is_empty());
        slot.map(|slot| *slot = hole).is_some()
    }

    /// Fills what of the holes lies in `from..to`. Tells how long at `now` (microseconds) the oldest of them had been open;
    /// `None` where nothing of the stretch was missing.
    pub(super) fn fill(&mut self, from: Sequence, to: Sequence, now: u32) -> Option<Duration> {
        let mut longest = None;
        for at in 0..HOLES {
            let Some(hole) = self.0.get(at).copied().filter(|hole| hole.touches(from, to)) else { continue };
            // A clock that was set back makes it negative: no time to speak of.
            let open = u32::try_from(now.wrapping_sub(hole.since).cast_signed()).unwrap_or(0);
            longest = longest.max(Some(open));
            let left = (from.distance_from(hole.from) > 0).then_some(Hole { to: from, ..hole });
            let right = (to.distance_from(hole.to) < 0).then_some(Hole { from: to, ..hole });
            let rest = match (left, right) {
                // Where there is no room for both, the hole stays whole: what comes twice in it is told by its time.
                (Some(left), Some(right)) => {
                    if self.keep(right) {
                        left
                    } else {
                        hole
                    }
                }
                (rest, None) | (None, rest) => rest.unwrap_or_default(),
            };
            if let Some(slot) = self.0.get_mut(at) {
                *slot = rest;
            }
        }
        longest.map(|open| Duration::from_micros(open.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

    fn fill(holes: &mut Holes, from: u32, to: u32) -> Option<Duration> {
        holes.fill(Sequence(from), Sequence(to), 0)
    }

    fn with(stretches: &[(u32, u32)]) -> Holes {
        let mut holes = Holes::default();
        stretches.iter().for_each(|(from, to)| holes.open(Sequence(*from), Sequence(*to), 0));
        holes
    }

    #[test]
    fn a_piece_from_the_middle_leaves_both_ends_open() {
        let mut holes = with(&[(100, 400)]);
        for (from, to) in [(200, 300), (300, 400), (100, 200)] {
            assert_eq!(fill(&mut holes, from, to), AT_ONCE, "{from}");
            assert_eq!(fill(&mut holes, from, to), None, "{from} again");
        }
    }

    #[test]
    fn a_piece_may_fill_several_holes_and_what_lies_between() {
        let mut holes = with(&[(100, 200), (300, 400), (500, 600)]);
        assert_eq!(fill(&mut holes, 150, 550), AT_ONCE);
        assert_eq!([fill(&mut holes, 300, 400), fill(&mut holes, 150, 200)], [None, None]);
        assert_eq!([fill(&mut holes, 100, 150), fill(&mut holes, 550, 600)], [AT_ONCE, AT_ONCE]);
    }

    #[test]
    fn beyond_the_bound_no_hole_is_forgotten() {
        let stretches: Vec<_> = (0..9).map(|n| (n * 200, n * 200 + 100)).collect();
        let mut holes = with(&stretches);
        // The first place is free again; what follows must not reach over those that lie behind.
        for (from, to) in stretches {
            assert_eq!(fill(&mut holes, from, to), AT_ONCE, "{from}");
        }
    }

    #[test]
    fn the_last_hole_is_the_one_that_grows() {
        let mut holes = with(&[(200, 300), (400, 500), (600, 700)]);
        fill(&mut holes, 200, 300);
        holes.open(Sequence(800), Sequence(900), 7);
        holes.open(Sequence(1000), Sequence(1100), 9);
        assert_eq!(holes.fill(Sequence(1000), Sequence(1100), 10), Some(Duration::from_micros(3)));
        assert_eq!(fill(&mut holes, 700, 800), None);
    }

    #[test]
    fn sequence_numbers_and_clocks_wrap() {
        let mut holes = Holes::default();
        holes.open(Sequence(u32::MAX - 9), Sequence(10), u32::MAX - 4);
        assert_eq!(holes.fill(Sequence(u32::MAX - 9), Sequence(0), 5), Some(Duration::from_micros(10)));
        assert_eq!(holes.fill(Sequence(0), Sequence(10), u32::MAX - 9), AT_ONCE, "the clock was set back");
    }
}
