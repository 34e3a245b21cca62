//! How long to wait before the next try.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A receiver that asks for more than this is asked again anyway.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// The pause after the `attempt`th try (from 1): doubling from one second up to a minute, of which a random half is cut
/// off so that many senders do not come back together. A receiver's own wish, `asked`, is honoured when it is longer.
///
/// `chance` is a random number from 0 to 1.
pub(super) fn pause(attempt: u32, chance: f64, asked: Option<Duration>) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let full = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    let own = full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0));
    asked.map_or(own, |asked| own.max(asked.min(LONGEST_ASKED)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        let full: Vec<u64> = (1..=8).map(|attempt| pause(attempt, 1.0, None).as_secs()).collect();
        assert_eq!(full, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pause(u32::MAX, 1.0, None), seconds(60));
    }

    #[test]
    fn chance_takes_at_most_half() {
        assert_eq!(pause(3, 0.0, None), seconds(2));
        assert_eq!(pause(3, 0.5, None), seconds(3));
        assert_eq!(pause(3, 7.0, None), seconds(4));
    }

    #[test]
    fn a_longer_wish_is_honoured_within_reason() {
        assert_eq!(pause(1, 0.0, Some(seconds(30))), seconds(30));
        assert_eq!(pause(7, 1.0, Some(seconds(3))), seconds(60));
        assert_eq!(pause(1, 0.0, Some(seconds(86_400))), seconds(3600));
    }
}
