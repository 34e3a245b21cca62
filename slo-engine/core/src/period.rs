//! The windows that budgets are counted over: rolling ones, and periods of the calendar in a time zone.

use crate::bucket::Window;
use crate::time::{Timestamp, span_text};
use jiff::Span;
use jiff::civil::DateTime;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;

/// The window of a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SloWindow {
    /// The last so long.
    Rolling(Duration),
    /// Periods of the calendar.
    Calendar(Calendar),
}

impl SloWindow {
    /// The span that the budget is counted over at a moment: up to and including the bucket that holds it.
    pub fn span(&self, now: Timestamp) -> Window {
        match self {
            Self::Rolling(length) => Window::ending(now, *length),
            Self::Calendar(calendar) => {
                let (from, _) = calendar.period(now);
                let to = Window::ending(now, Duration::ZERO).to;
                Window { from: from.seconds().min(to), to }
            }
        }
    }

    /// When the budget begins anew; `None` for a rolling window.
    pub fn renewed_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Rolling(_) => None,
            Self::Calendar(calendar) => Some(calendar.period(now).1),
        }
    }

    /// The length by which burn rates are scaled: of a calendar month 30 days, of a quarter 90, of a year 365, since a
    /// factor that changed from month to month would surprise.
    pub fn nominal(&self) -> Duration {
        match self {
            Self::Rolling(length) => *length,
            Self::Calendar(calendar) => calendar.nominal(),
        }
    }
}

/// As OpenSLO writes lengths, with the time zone of a calendar window: `30d`, `1M from 2026-01-01 Europe/Berlin`.
impl fmt::Display for SloWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rolling(length) => f.write_str(&span_text(*length)),
            Self::Calendar(calendar) => write!(
                f,
                "{}{} from {} {}",
                calendar.count,
                calendar.unit.letter(),
                calendar.start,
                calendar.zone
            ),
        }
    }
}

/// Unit of a calendar period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CalendarUnit {
    /// `d`: from one time of day to the next, 23 or 25 hours when clocks change.
    Day,
    /// `w`.
    Week,
    /// `M`.
    Month,
    /// `Q`: three months.
    Quarter,
    /// `Y`.
    Year,
}

impl CalendarUnit {
    /// The letter that OpenSLO has for it.
    pub const fn letter(self) -> char {
        match self {
            Self::Day => 'd',
            Self::Week => 'w',
            Self::Month => 'M',
            Self::Quarter => 'Q',
            Self::Year => 'Y',
        }
    }

    const fn days(self) -> u64 {
        match self {
            Self::Day => 1,
            Self::Week => 7,
            Self::Month => 30,
            Self::Quarter => 90,
            Self::Year => 365,
        }
    }

    fn span(self, count: i64) -> Option<Span> {
        let span = Span::new();
        match self {
            Self::Day => span.try_days(count),
            Self::Week => span.try_weeks(count),
            Self::Month => span.try_months(count),
            Self::Quarter => span.try_months(count.checked_mul(3)?),
            Self::Year => span.try_years(count),
        }
        .ok()
    }
}

/// Periods of `count` units, one after the other, the first beginning at a local time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calendar {
    start: DateTime,
    zone: String,
    unit: CalendarUnit,
    count: u32,
}

/// Why there is no such calendar window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarFault {
    /// Not a local date and time.
    #[error("the start is not a date and time")]
    Start,
    /// Not in the time zone database.
    #[error("there is no such time zone")]
    Zone,
    /// Not a positive number of units.
    #[error("a period has at least one unit")]
    Count,
}

impl Calendar {
    /// Periods from a local start, such as `2026-01-01 00:00:00` (the time may be left out), in an IANA time zone.
    ///
    /// # Errors
    /// When a part is not what it should be.
    pub fn new(start: &str, zone: &str, unit: CalendarUnit, count: u32) -> Result<Self, CalendarFault> {
        let start = start.trim().parse::<DateTime>().map_err(|_| CalendarFault::Start)?;
        if count == 0 {
            return Err(CalendarFault::Count);
        }
        zone_named(zone).ok_or(CalendarFault::Zone)?;
        Ok(Self { start, zone: zone.to_owned(), unit, count })
    }

    /// Begin and end of the period that holds a moment. Before the first start there are periods too. A local time that
    /// clocks skip is taken an hour later, one that they repeat at its first turn (RFC 5545, section 3.3.5).
    pub fn period(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let zone = zone_named(&self.zone).unwrap_or(TimeZone::UTC);
        // Counted from the first start each time, so that a month from the 31st does not drift.
        let begin = |number: i64| {
            let span = self.unit.span(number.checked_mul(i64::from(self.count))?)?;
            let local = self.start.checked_add(span).ok()?;
            zone.to_ambiguous_timestamp(local).compatible().ok().map(moment)
        };
        let length = self.nominal().as_secs().max(1);
        let first = begin(0).unwrap_or_default();
        let away = i128::from(now.seconds()) - i128::from(first.seconds());
        let mut number = i64::try_from(away.div_euclid(i128::from(length))).unwrap_or(0);
        // The guess from nominal lengths is off by a few periods over centuries at most.
        while begin(number).is_some_and(|begin| begin > now) {
            number -= 1;
        }
        while begin(number + 1).is_some_and(|end| end <= now) {
            number += 1;
        }
        let from = begin(number).unwrap_or_default();
        let to = begin(number + 1).unwrap_or_else(|| from.after(self.nominal()));
        (from, to)
    }

    fn nominal(&self) -> Duration {
        Duration::from_secs(u64::from(self.count) * self.unit.days() * DAY_SECONDS)
    }
}

/// From the database that is built in: the same everywhere, and no file is read.
fn zone_named(name: &str) -> Option<TimeZone> {
    static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
    DATABASE.get(name).ok()
}

fn moment(time: jiff::Timestamp) -> Timestamp {
    Timestamp::from_seconds(u64::try_from(time.as_second()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp::from_seconds(u64::try_from(time.as_second()).unwrap())
    }

    fn period(start: &str, zone: &str, unit: CalendarUnit, count: u32, now: &str) -> (String, String) {
        let (from, to) = Calendar::new(start, zone, unit, count).unwrap().period(at(now));
        (from.to_string(), to.to_string())
    }

    #[test]
    fn months_have_their_own_lengths() {
        let of = |now| period("2026-01-01 00:00:00", "UTC", CalendarUnit::Month, 1, now);
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(of("2026-02-28T23:59:59Z"), pair("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"));
        assert_eq!(of("2026-03-01T00:00:00Z"), pair("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"));
        assert_eq!(of("2028-02-29T12:00:00Z"), pair("2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"));
        assert_eq!(of("2019-12-31T12:00:00Z"), pair("2019-12-01T00:00:00Z", "2020-01-01T00:00:00Z"));
    }

    #[test]
    fn a_month_from_the_31st_does_not_drift() {
        let of = |now| period("2026-01-31", "UTC", CalendarUnit::Month, 1, now);
        assert_eq!(of("2026-03-15T00:00:00Z").0, "2026-02-28T00:00:00Z");
        assert_eq!(of("2026-04-10T00:00:00Z").0, "2026-03-31T00:00:00Z");
    }

    #[test]
    fn days_are_23_and_25_hours_long_when_clocks_change() {
        let of = |now| period("2026-01-01", "Europe/Berlin", CalendarUnit::Day, 1, now);
        let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        assert_eq!(of("2026-03-29T12:00:00Z"), pair("2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"));
        assert_eq!(of("2026-10-25T12:00:00Z"), pair("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"));
    }

    #[test]
    fn quarters_and_weeks_are_counted_from_their_start() {
        let quarter =
            period("2026-01-01", "America/New_York", CalendarUnit::Quarter, 1, "2026-05-05T00:00:00Z");
        assert_eq!(quarter, ("2026-04-01T04:00:00Z".to_owned(), "2026-07-01T04:00:00Z".to_owned()));
        let weeks =
            period("2026-01-05 09:30:00", "Asia/Kolkata", CalendarUnit::Week, 2, "2026-01-19T03:59:59Z");
        assert_eq!(weeks, ("2026-01-05T04:00:00Z".to_owned(), "2026-01-19T04:00:00Z".to_owned()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let new = |start, zone, count| Calendar::new(start, zone, CalendarUnit::Day, count).unwrap_err();
        assert_eq!(new("yesterday", "UTC", 1), CalendarFault::Start);
        assert_eq!(new("2026-01-01", "Europe/Atlantis", 1), CalendarFault::Zone);
        assert_eq!(new("2026-01-01", "UTC", 0), CalendarFault::Count);
    }

    #[test]
    fn the_window_grows_from_the_start_of_the_period_and_survives_writing() {
        let calendar = Calendar::new("2026-01-01", "UTC", CalendarUnit::Month, 1).unwrap();
        let window = SloWindow::Calendar(calendar);
        let now = at("2026-05-01T00:00:05Z");
        assert_eq!(
            window.span(now),
            Window { from: at("2026-05-01T00:00:00Z").seconds(), to: at("2026-05-01T00:00:10Z").seconds() }
        );
        let read: SloWindow = serde_json::from_str(&serde_json::to_string(&window).unwrap()).unwrap();
        assert_eq!(read.renewed_at(now), Some(at("2026-06-01T00:00:00Z")));
        assert_eq!(window.to_string(), "1M from 2026-01-01T00:00:00 UTC");
    }
}
