//! Points in time. A timestamp comes from a packet, an export or the runner's clock; nothing here asks what time it is.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};
use std::time::Duration;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds since 1970-01-01T00:00:00Z, as OTLP counts them. Good until the year 2554.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The time so many nanoseconds after the epoch.
    pub const fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// The time so many seconds after the epoch; saturates in the year 2554.
    pub const fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(NANOSECONDS_PER_SECOND))
    }

    /// Nanoseconds since the epoch.
    pub const fn nanoseconds(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / NANOSECONDS_PER_SECOND
    }

    /// This much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(span)))
    }

    /// This much earlier, not before the epoch.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(span)))
    }

    /// Time that went by since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC, to the second, or to the millisecond when there is a fraction.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds();
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)?;
        let milliseconds = self.0 % NANOSECONDS_PER_SECOND / 1_000_000;
        if milliseconds > 0 {
            write!(f, ".{milliseconds:03}")?;
        }
        f.write_str("Z")
    }
}

/// Year, month and day of the Gregorian calendar, from days since the epoch. Years are counted from March, so that the
/// leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // days from 0000-03-01 to 1970-01-01
    let era = days / 146_097; // 400 years
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A span in the words that SLOs use: `5m`, `1h`, `3d`; compound when it must be, such as `1h30m`.
pub fn span_text(span: Duration) -> String {
    let mut seconds = span.as_secs();
    if seconds == 0 {
        return format!("{}ms", span.as_millis());
    }
    let mut out = String::new();
    for (unit, name) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
        // Days only when nothing finer follows: `25h`, not `1d1h`.
        if unit == 86_400 && !seconds.is_multiple_of(unit) {
            continue;
        }
        if seconds >= unit {
            // Writing into memory cannot fail.
            let _ = write!(out, "{}{name}", seconds / unit);
            seconds %= unit;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Timestamp::from_seconds(951_782_400).to_string(), "2000-02-29T00:00:00Z");
        assert_eq!(Timestamp::from_seconds(1_735_689_599).to_string(), "2024-12-31T23:59:59Z");
        assert_eq!(
            Timestamp::from_nanoseconds(4_107_542_400_250_000_000).to_string(),
            "2100-03-01T00:00:00.250Z"
        );
    }

    #[test]
    fn spans_read_as_people_write_them() {
        let text = |seconds| span_text(Duration::from_secs(seconds));
        assert_eq!(text(300), "5m");
        assert_eq!(text(5_400), "1h30m");
        assert_eq!(text(86_400), "1d");
        assert_eq!(text(90_000), "25h");
        assert_eq!(text(30 * 86_400), "30d");
        assert_eq!(span_text(Duration::from_millis(20)), "20ms");
    }

    #[test]
    fn differences_never_go_below_zero() {
        let early = Timestamp::from_seconds(5);
        assert_eq!(early.since(Timestamp::from_seconds(9)), Duration::ZERO);
        assert_eq!(early.before(Duration::from_secs(9)), Timestamp::EPOCH);
    }
}
