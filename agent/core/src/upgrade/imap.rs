//! IMAP (RFC 9051 section 6.2.1): commands bear tags, and so do their answers.

use super::line::{Line, Lines};
use super::replies::number;
use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

/// Longest tag of a STARTTLS that is followed.
const MAX_TAG: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Imap {
    client: Lines,
    server: Lines,
    tag: [u8; MAX_TAG],
    /// Length of the tag whose answer is awaited.
    awaited: Option<usize>,
}

impl Imap {
    fn command(&mut self, line: &Line) -> Option<News> {
        let text = line.text();
        let end = text.iter().position(|byte| *byte == b' ').filter(|end| (1..=MAX_TAG).contains(end))?;
        let (tag, command) = text.split_at_checked(end)?;
        if !command.trim_ascii().eq_ignore_ascii_case(b"STARTTLS") {
            return None;
        }
        self.tag.iter_mut().zip(tag).for_each(|(slot, byte)| *slot = *byte);
        self.awaited = Some(end);
        Some(News::Asked)
    }

    fn answer(&mut self, line: &Line) -> Option<News> {
        let tag = self.tag.get(..self.awaited?)?;
        let words = line.text().strip_prefix(tag)?.strip_prefix(b" ")?;
        let word = words.split(|byte| *byte == b' ').next()?;
        let news = if word.eq_ignore_ascii_case(b"OK") {
            News::Accepted
        } else if word.eq_ignore_ascii_case(b"NO") || word.eq_ignore_ascii_case(b"BAD") {
            News::Refused
        } else {
            return None;
        };
        self.awaited = None;
        Some(news)
    }
}

/// Length of the literal that a line announces (RFC 9051 section 4.3).
fn literal(line: &Line) -> Option<u64> {
    let end = line.end().strip_suffix(b"}")?;
    let end = end.strip_suffix(b"+").unwrap_or(end);
    let digits = end.get(end.iter().rposition(|byte| *byte == b'{')? + 1..)?;
    (!digits.is_empty() && digits.iter().all(u8::is_ascii_digit)).then(|| number(digits))
}

impl Dialogue for Imap {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        loop {
            let lines = match from {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            let line = lines.next(bytes)?;
            if let Some(length) = literal(&line) {
                lines.skip(length);
            }
            let news = match from {
                Side::Client => self.command(&line),
                Side::Server => self.answer(&line),
            };
            if news.is_some() {
                return news;
            }
        }
    }

    fn is_between_units(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client.is_between(),
            Side::Server => self.server.is_between(),
        }
    }

    fn hole(&mut self, side: Side) -> bool {
        match side {
            Side::Client => self.client.hole(),
            Side::Server => self.server.hole(),
        }
        true
    }

    fn name(&self) -> Option<UpgradedFrom> {
        Some(UpgradedFrom::Imap)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;
    use Side::{Client as C, Server as S};

    const START: [(Side, &[u8]); 3] = [
        (S, b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
        (C, b"a1 CAPABILITY\r\n"),
        (S, b"* CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED\r\na1 OK done\r\n"),
    ];

    fn told(more: &[(Side, &[u8])]) -> Vec<(News, usize)> {
        let said: Vec<_> = START.iter().chain(more).copied().collect();
        news(Imap::default, &said)
    }

    #[test]
    fn the_answer_bears_the_tag_of_the_request() {
        let asked = (News::Asked, 0);
        let request: (Side, &[u8]) = (C, b"a2 StartTLS\r\n");
        assert_eq!(told(&[request, (S, b"* OK a2 NO\r\na2 OK go\r\n")]), [asked, (News::Accepted, 0)]);
        assert_eq!(told(&[request, (S, b"a1 BAD\r\na2 NO never\r\n")]), [asked, (News::Refused, 0)]);
        assert_eq!(told(&[request, (S, b"a2 BAD what\r\n")]), [asked, (News::Refused, 0)]);
        assert_eq!(told(&[request, (S, b"a21 OK\r\n")]), [asked]);
    }

    #[test]
    fn literals_are_no_lines() {
        assert_eq!(told(&[(C, b"a2 APPEND x {15+}\r\na3 STARTTLS\r\nx\r\n")]), []);
        let said: [(Side, &[u8]); 2] =
            [(C, b"a2 APPEND x {15+}\r\na3 STARTTLS\r\nx\r\na4 STARTTLS\r\n\x16"), (S, b"a4 OK\r\n")];
        assert_eq!(told(&said), [(News::Asked, 1), (News::Accepted, 0)]);
    }
}
