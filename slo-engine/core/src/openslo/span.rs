//! Spans of time as OpenSLO writes them: a whole number and a unit.

use crate::period::CalendarUnit;
use crate::yaml::{Findings, Located, Node};
use std::time::Duration;

/// Reads a span of minutes, hours, days or weeks. Months, quarters and years differ in length and are refused.
pub(super) fn read(node: &Node, what: &str, findings: &mut Findings) -> Option<Located<Duration>> {
    let text = findings.text(node, what)?;
    match parse(&text.value) {
        Ok(value) => Some(Located { value, place: text.place }),
        Err(help) => {
            findings.error(&text.place, format!("`{}` is no span of time for {what}", text.value), help);
            None
        }
    }
}

/// Reads the length of a calendar period.
pub(super) fn read_calendar(node: &Node, findings: &mut Findings) -> Option<Located<(CalendarUnit, u32)>> {
    let text = findings.text(node, "`duration`")?;
    let digits = text.value.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.value.strip_prefix(digits) {
        Some("d") => Some(CalendarUnit::Day),
        Some("w") => Some(CalendarUnit::Week),
        Some("M") => Some(CalendarUnit::Month),
        Some("Q") => Some(CalendarUnit::Quarter),
        Some("Y") => Some(CalendarUnit::Year),
        _ => None,
    };
    match (unit, digits.parse::<u32>()) {
        (Some(unit), Ok(count)) if count > 0 => Some(Located { value: (unit, count), place: text.place }),
        _ => {
            let help = "write a whole number with d, w, M (months), Q (quarters) or Y, such as 1M";
            findings.error(&text.place, format!("`{}` is no calendar period", text.value), help);
            None
        }
    }
}

fn parse(text: &str) -> Result<Duration, &'static str> {
    const HELP: &str = "write a whole number with s, m, h, d or w, such as 30d";
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let number: u64 = digits.parse().map_err(|_| HELP)?;
    let seconds = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        Some("w") => 7 * 86_400,
        Some("M" | "Q" | "Y") => {
            return Err(
                "months, quarters and years differ in length: they need `isRolling: false` and a calendar",
            );
        }
        _ => return Err(HELP),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or(HELP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_whole_numbers_with_a_unit() {
        assert_eq!(parse("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse("4w"), Ok(Duration::from_secs(28 * 86_400)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        for bad in ["", "30", "d", "-1d", "1.5h", "1M", "1y", "99999999999999999w", "1h30m"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
