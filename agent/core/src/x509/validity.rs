//! The two times of a certificate (RFC 5280 section 4.1.2.5) as RFC 3339 text.

use super::der::{Element, Reader, tag};

/// Begin and end, each `None` where it is no time.
pub(super) fn read(mut validity: Reader<'_>) -> (Option<String>, Option<String>) {
    let begin = validity.element();
    let end = validity.element();
    (begin.and_then(time), end.and_then(time))
}

/// UTCTime has two digits of the year, of 1950 to 2049; GeneralizedTime has four. Seconds and `Z` may be missing in
/// what is not DER: without seconds they are 0, and a time of no known zone is none.
fn time(element: Element<'_>) -> Option<String> {
    let digits_of_year = match element.tag {
        tag::UTC_TIME => 2,
        tag::GENERALIZED_TIME => 4,
        _ => return None,
    };
    let mut digits = Digits { rest: element.content };
    let year = match (digits_of_year, digits.number(digits_of_year)?) {
        (2, year @ 0..50) => 2000 + year,
        (2, year) => 1900 + year,
        (_, year) => year,
    };
    let [month, day, hour, minute] =
        [digits.number(2)?, digits.number(2)?, digits.number(2)?, digits.number(2)?];
    let second = digits.number(2).unwrap_or(0);
    let fraction = digits.fraction()?;
    let in_range = (1..=12).contains(&month)
        && (1..=days(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let zone = digits.zone()?;
    in_range
        .then(|| format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}"))
}

const fn days(year: u16, month: u16) -> u16 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

struct Digits<'a> {
    rest: &'a [u8],
}

impl Digits<'_> {
    /// The next `count` digits, at most four, if that many follow.
    fn number(&mut self, count: usize) -> Option<u16> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        let mut value = 0_u16;
        for digit in digits {
            value = value * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        }
        self.rest = rest;
        Some(value)
    }

    /// A fraction of a second with its point, at most nine digits; empty where there is none.
    fn fraction(&mut self) -> Option<String> {
        let [b'.' | b',', rest @ ..] = self.rest else { return Some(String::new()) };
        let count = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = rest.get(..count).filter(|digits| (1..=9).contains(&digits.len()))?;
        self.rest = rest.get(count..)?;
        Some(format!(".{}", String::from_utf8_lossy(digits)))
    }

    /// The zone, which must end the text.
    fn zone(&mut self) -> Option<String> {
        match self.rest {
            [b'Z'] => Some("Z".to_owned()),
            [sign @ (b'+' | b'-'), rest @ ..] if rest.len() == 4 => {
                let sign = char::from(*sign);
                self.rest = rest;
                let (hours, minutes) = (self.number(2)?, self.number(2)?);
                (hours < 24 && minutes < 60).then(|| format!("{sign}{hours:02}:{minutes:02}"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tag: u8, content: &str) -> Option<String> {
        time(Element { tag, content: content.as_bytes(), whole: &[] })
    }

    #[test]
    fn both_kinds_of_time_are_read() {
        assert_eq!(text(tag::UTC_TIME, "491231235959Z").as_deref(), Some("2049-12-31T23:59:59Z"));
        assert_eq!(text(tag::UTC_TIME, "500101000000Z").as_deref(), Some("1950-01-01T00:00:00Z"));
        assert_eq!(text(tag::UTC_TIME, "691231235959Z").as_deref(), Some("1969-12-31T23:59:59Z"));
        assert_eq!(text(tag::GENERALIZED_TIME, "99991231235959Z").as_deref(), Some("9999-12-31T23:59:59Z"));
        assert_eq!(text(tag::GENERALIZED_TIME, "18990101000000Z").as_deref(), Some("1899-01-01T00:00:00Z"));
    }

    #[test]
    fn what_only_ber_allows_is_read_too() {
        assert_eq!(text(tag::UTC_TIME, "2601020304Z").as_deref(), Some("2026-01-02T03:04:00Z"));
        assert_eq!(text(tag::UTC_TIME, "260102030405+0130").as_deref(), Some("2026-01-02T03:04:05+01:30"));
        assert_eq!(
            text(tag::GENERALIZED_TIME, "20260102030405.25Z").as_deref(),
            Some("2026-01-02T03:04:05.25Z")
        );
    }

    #[test]
    fn what_is_no_time_is_none() {
        for content in
            ["", "Z", "261302030405Z", "260229030405Z", "260102240000Z", "260102030405", "2601020304056Z"]
        {
            assert_eq!(text(tag::UTC_TIME, content), None, "{content}");
        }
        for content in ["20260102", "20260102030405.Z", "2026010203040\u{661}Z", "20260102030405+9999"] {
            assert_eq!(text(tag::GENERALIZED_TIME, content), None, "{content}");
        }
        assert_eq!(text(tag::INTEGER, "260102030405Z"), None);
    }
}
