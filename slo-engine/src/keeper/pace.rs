//! Whether so much time has passed as the wall clock says: it can be set, and history that was dropped does not come back
//! when it is set right again.

use pqscope_slo_core::time::Timestamp;
use std::time::Duration;

/// The wall clock may run ahead of the time that has passed by so much from one round to the next.
const TOLERANCE: Duration = Duration::from_secs(300);
/// A clock that stays where it leapt to for so long is right.
const PROBATION: Duration = Duration::from_secs(3_600);

/// The clock at the last round, and where it leapt to.
#[derive(Debug)]
pub(super) struct Pace {
    wall: Timestamp,
    running: Duration,
    /// When it leapt, by the time that has passed.
    leapt: Option<Duration>,
}

impl Pace {
    /// Begins with a clock that is right.
    pub(super) const fn new(wall: Timestamp, running: Duration) -> Self {
        Self { wall, running, leapt: None }
    }

    /// Whether history may be dropped because of its age at `wall`; `running` is a time that nobody can set. A machine that
    /// slept looks like one whose clock was set: history then goes a little later.
    pub(super) fn is_trusted(&mut self, wall: Timestamp, running: Duration) -> bool {
        let passed = running.saturating_sub(self.running);
        if wall > self.wall.after(passed + TOLERANCE) {
            tracing::warn!(
                "the clock leapt from {} to {wall}: nothing is dropped for its age for now",
                self.wall
            );
            self.leapt = Some(running);
        } else if wall.after(TOLERANCE) < self.wall.after(passed) {
            // Set back: it is right again, or history is younger than it seemed.
            self.leapt = None;
        }
        self.leapt = self.leapt.filter(|leapt| running.saturating_sub(*leapt) < PROBATION);
        (self.wall, self.running) = (wall, running);
        self.leapt.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_leaps_is_believed_once_it_stays() {
        let (wall, passed) = (Timestamp::from_seconds, Duration::from_secs);
        let leap = 8 * 86_400;
        let mut pace = Pace::new(wall(1_000), passed(0));
        assert!(pace.is_trusted(wall(1_010), passed(10)));
        assert!(pace.is_trusted(wall(8_010), passed(7_000)), "a slow round is no leap");
        assert!(!pace.is_trusted(wall(8_020 + leap), passed(7_010)));
        assert!(!pace.is_trusted(wall(8_030 + leap), passed(7_020)));
        assert!(!pace.is_trusted(wall(11_610 + leap), passed(10_600)));
        assert!(pace.is_trusted(wall(11_620 + leap), passed(10_610)));
        assert!(!pace.is_trusted(wall(11_630 + 2 * leap), passed(10_620)));
        assert!(pace.is_trusted(wall(11_640 + leap), passed(10_630)), "it was set right");
    }
}
