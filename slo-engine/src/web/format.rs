//! Numbers and times as people read them.

use pqscope_slo_core::time::Timestamp;
use std::time::Duration;

/// A share as a percentage with as many digits as it needs.
pub(super) fn percent(share: f64) -> String {
    let value = share * 100.0;
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.01 || size == 0.0 => 2,
        _ => 4,
    };
    format!("{} %", trim(&format!("{value:.digits$}")))
}

/// A target, never rounded up to 100 %.
pub(super) fn target(share: f64) -> String {
    format!("{} %", trim(&format!("{:.6}", share * 100.0)))
}

/// A burn rate such as `14.4×`.
pub(super) fn burn(rate: f64) -> String {
    let digits = usize::from(rate < 100.0);
    format!("{}×", trim(&format!("{rate:.digits$}")))
}

/// A count with thin gaps between thousands.
pub(super) fn count(number: u64) -> String {
    spaced(&number.to_string())
}

/// A number of events that may come with a fraction, rounded.
pub(super) fn events(number: f64) -> String {
    spaced(&format!("{number:.0}"))
}

fn spaced(digits: &str) -> String {
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// How long ago, in one unit.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let span = now.since(then);
    if span < Duration::from_secs(2) { "just now".to_owned() } else { format!("{} ago", span_in_words(span)) }
}

/// A span in one unit: `45 s`, `12 min`, `3 h`, `5 d`.
pub(super) fn span_in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A size in bytes.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

fn trim(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_keep_the_digits_that_matter() {
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.9734), "97.3 %");
        assert_eq!(percent(0.0144), "1.44 %");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(-2.5), "-250 %");
        assert_eq!(percent(0.000_001), "0.0001 %");
        assert_eq!(target(0.999), "99.9 %");
        assert_eq!(target(0.999_999), "99.9999 %");
    }

    #[test]
    fn counts_and_spans_are_short() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(count(12), "12");
        assert_eq!(burn(14.4), "14.4×");
        assert_eq!(burn(300.04), "300×");
        assert_eq!(burn(0.0), "0×");
        assert_eq!(ago(Timestamp::from_seconds(100), Timestamp::from_seconds(280)), "3 min ago");
        assert_eq!(ago(Timestamp::from_seconds(100), Timestamp::from_seconds(90)), "just now");
        assert_eq!(size(600 << 10), "600 KiB");
    }
}
