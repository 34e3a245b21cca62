//! Commands and numbered replies: SMTP and LMTP (RFC 3207), FTP (RFC 4217), and POP3 (RFC 2595 section 4), whose replies
//! are two words instead of numbers.
//!
//! SMTP and FTP greet alike; which of them it is shows by the client's commands. Commands may be sent in one go, so the
//! answer to STARTTLS is found by counting replies.

use super::line::{Line, Lines};
use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

/// Commands of FTP that SMTP does not have.
const FTP_COMMANDS: [&[u8]; 7] = [b"USER ", b"PASS ", b"FEAT", b"SYST", b"OPTS ", b"AUTH TLS", b"AUTH SSL"];

/// Commands of SMTP and LMTP that FTP does not have.
const SMTP_COMMANDS: [&[u8]; 6] = [b"EHLO ", b"HELO ", b"LHLO ", b"MAIL ", b"STARTTLS", b"BDAT "];

/// A reply, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Positive,
    /// The server waits for more of the same command; `data`: for the lines of a mail.
    Intermediate {
        data: bool,
    },
    Negative,
}

/// A request whose answer has not come.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// Replies that belong to earlier commands.
    ahead: u32,
}

/// The dialogue of all three protocols.
#[derive(Debug)]
pub(super) struct Replies {
    /// `None` while it may be SMTP or FTP.
    name: Option<UpgradedFrom>,
    client: Lines,
    server: Lines,
    /// Commands whose replies have not come.
    outstanding: u32,
    request: Option<Request>,
    /// Code of the reply of several lines that is being sent.
    within: Option<[u8; 3]>,
    /// The client sends the lines of a mail.
    mail: bool,
}

impl Replies {
    /// A dialogue of SMTP or FTP. `greeted_by_server`: it begins with the greeting.
    pub(super) fn numbered(greeted_by_server: bool) -> Self {
        Self {
            name: None,
            client: Lines::default(),
            server: Lines::default(),
            // The greeting answers to nothing that was said.
            outstanding: u32::from(greeted_by_server),
            request: None,
            within: None,
            mail: false,
        }
    }

    /// A dialogue of POP3.
    pub(super) fn pop3(greeted_by_server: bool) -> Self {
        Self { name: Some(UpgradedFrom::Pop3), ..Self::numbered(greeted_by_server) }
    }

    fn command(&mut self, line: &Line) -> Option<News> {
        if self.mail && !line.is(b".") {
            return None;
        }
        let ahead = self.outstanding;
        self.outstanding = self.outstanding.saturating_add(1);
        if std::mem::take(&mut self.mail) {
            return None;
        }
        if self.name.is_none() {
            let fits = |commands: &[&[u8]]| commands.iter().any(|command| line.begins_with(command));
            self.name = if fits(&SMTP_COMMANDS) {
                Some(UpgradedFrom::Smtp)
            } else if fits(&FTP_COMMANDS) {
                Some(UpgradedFrom::Ftp)
            } else {
                None
            };
        }
        let asks = match self.name? {
            UpgradedFrom::Smtp => {
                if line.begins_with(b"BDAT ") {
                    self.client.skip(number(line.text().get(5..).unwrap_or_default()));
                }
                line.is(b"STARTTLS")
            }
            UpgradedFrom::Ftp => {
                [&b"AUTH TLS"[..], b"AUTH SSL", b"AUTH TLS-C", b"AUTH TLS-P"].iter().any(|word| line.is(word))
            }
            UpgradedFrom::Pop3 => line.is(b"STLS"),
            _ => false,
        };
        if !asks || self.request.is_some() {
            return None;
        }
        self.request = Some(Request { ahead });
        Some(News::Asked)
    }

    fn reply(&mut self, line: &Line) -> Option<News> {
        let reply =
            if self.name == Some(UpgradedFrom::Pop3) { word(line) } else { self.numbered_reply(line) }?;
        self.outstanding = self.outstanding.saturating_sub(1);
        if let Some(Request { ahead: ahead @ 1.. }) = &mut self.request {
            *ahead -= 1;
            return None;
        }
        if self.request.take().is_some() {
            // Old servers of FTP say 334.
            return Some(if reply == Reply::Negative { News::Refused } else { News::Accepted });
        }
        self.mail = reply == Reply::Intermediate { data: true } && self.name == Some(UpgradedFrom::Smtp);
        None
    }

    /// The last line of a reply (RFC 5321 section 4.2.1, RFC 959 section 4.2): lines before it have a hyphen after the
    /// code, or in FTP any text at all.
    fn numbered_reply(&mut self, line: &Line) -> Option<Reply> {
        let (code, after) = line.text().split_first_chunk::<3>()?;
        let last = matches!(after.first(), None | Some(b' '));
        let (kind, _) = code.split_first().filter(|_| code.iter().all(u8::is_ascii_digit))?;
        if self.within.is_some_and(|within| within != *code) {
            return None;
        }
        if !last {
            self.within = Some(*code).filter(|_| after.first() == Some(&b'-'));
            return None;
        }
        self.within = None;
        match kind {
            b'2' => Some(Reply::Positive),
            b'3' => Some(Reply::Intermediate { data: code == b"354" }),
            b'4' | b'5' => Some(Reply::Negative),
            // Preliminary: the reply proper follows.
            _ => None,
        }
    }
}

fn word(line: &Line) -> Option<Reply> {
    if line.begins_with(b"+OK") {
        Some(Reply::Positive)
    } else if line.begins_with(b"-ERR") {
        Some(Reply::Negative)
    } else if line.begins_with(b"+ ") || line.is(b"+") {
        Some(Reply::Intermediate { data: false })
    } else {
        None
    }
}

/// The decimal number that a text begins with.
pub(super) fn number(text: &[u8]) -> u64 {
    let digits = text.iter().map_while(|byte| byte.is_ascii_digit().then(|| u64::from(byte - b'0')));
    digits.fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(digit))
}

impl Dialogue for Replies {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        loop {
            let news = match from {
                Side::Client => {
                    let line = self.client.next(bytes)?;
                    self.command(&line)
                }
                Side::Server => {
                    let line = self.server.next(bytes)?;
                    self.reply(&line)
                }
            };
            if news.is_some() {
                return news;
            }
        }
    }

    fn is_between_units(&self, side: Side) -> bool {
        match side {
            Side::Client => !self.mail && self.client.is_between(),
            Side::Server => self.server.is_between(),
        }
    }

    fn hole(&mut self, side: Side) -> bool {
        match side {
            Side::Client => self.client.hole(),
            Side::Server => self.server.hole(),
        }
        self.outstanding = 0;
        self.within = None;
        self.mail = false;
        self.request = self.request.map(|_| Request { ahead: 0 });
        true
    }

    fn name(&self) -> Option<UpgradedFrom> {
        self.name
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;
    use Side::{Client as C, Server as S};

    const GREETING: (Side, &[u8]) = (S, b"220-mail.example ESMTP\r\n220 ready\r\n");
    const EHLO: (Side, &[u8]) = (C, b"EHLO client.example\r\n");
    const OFFER: (Side, &[u8]) = (S, b"250-mail.example\r\n250-STARTTLS\r\n250 HELP\r\n");

    fn smtp(more: &[(Side, &[u8])]) -> Vec<(News, usize)> {
        let said: Vec<_> = [GREETING, EHLO, OFFER].iter().chain(more).copied().collect();
        news(|| Replies::numbered(true), &said)
    }

    #[test]
    fn smtp_is_asked_and_answers() {
        let asked = (News::Asked, 0);
        assert_eq!(smtp(&[(C, b"starttls\r\n"), (S, b"220 2.0.0 go\r\n")]), [asked, (News::Accepted, 0)]);
        for refusal in [&b"454 TLS not available\r\n"[..], b"502 no\r\n", b"503-first\r\n503 second\r\n"] {
            assert_eq!(smtp(&[(C, b"STARTTLS\r\n"), (S, refusal)]), [asked, (News::Refused, 0)]);
        }
        // The offer alone is no request.
        assert_eq!(smtp(&[(C, b"MAIL FROM:<a@b>\r\n"), (S, b"250 ok\r\n")]), []);
    }

    #[test]
    fn the_bytes_behind_request_and_answer_are_left() {
        let told = smtp(&[(C, b"RSET\r\nSTARTTLS\r\n\x16\x03\x01"), (S, b"250 ok\r\n220 go\r\n\x16")]);
        // Whoever reads on takes the hello out; here it waits in the line.
        assert_eq!(told, [(News::Asked, 3), (News::Accepted, 1)]);
    }

    #[test]
    fn replies_to_earlier_commands_are_not_the_answer() {
        let said = [
            GREETING,
            (C, b"EHLO a\r\nNOOP\r\nSTARTTLS\r\n"),
            (S, b"250 a\r\n502 what\r\n"),
            (S, b"220 go\r\n"),
        ];
        assert_eq!(news(|| Replies::numbered(true), &said), [(News::Asked, 0), (News::Accepted, 0)]);
    }

    #[test]
    fn the_text_of_a_mail_is_no_command() {
        let mail: [(Side, &[u8]); 6] = [
            (C, b"DATA\r\n"),
            (S, b"354 go on\r\n"),
            (C, b"Subject: x\r\n\r\nSTARTTLS\r\n.\r\n"),
            (S, b"250 queued\r\n"),
            (C, b"BDAT 20 LAST\r\nSTARTTLS\r\nSTARTTLS\r\n"),
            (S, b"250 queued\r\n"),
        ];
        assert_eq!(smtp(&mail), []);
        let then: Vec<_> =
            mail.into_iter().chain([(C, &b"STARTTLS\r\n"[..]), (S, &b"220 go\r\n"[..])]).collect();
        assert_eq!(smtp(&then), [(News::Asked, 0), (News::Accepted, 0)]);
    }

    #[test]
    fn ftp_has_long_banners_and_two_spellings() {
        let banner: (Side, &[u8]) = (S, b"220-Welcome\r\n 220 not yet\r\n421 users\r\n\r\n220 End\r\n");
        let said =
            [banner, (C, b"AUTH TLS\r\n"), (S, b"504 no\r\n"), (C, b"AUTH SSL\r\n"), (S, b"234 go\r\n")];
        let told = news(|| Replies::numbered(true), &said);
        let kinds: Vec<_> = told.iter().map(|(news, _)| *news).collect();
        assert_eq!(kinds, [News::Asked, News::Refused, News::Asked, News::Accepted]);
        let mut dialogue = Replies::numbered(true);
        super::super::testing::told(&mut dialogue, &said);
        assert_eq!(dialogue.name(), Some(UpgradedFrom::Ftp));
    }

    #[test]
    fn pop3_has_two_words() {
        let start: [(Side, &[u8]); 3] =
            [(S, b"+OK ready <1@a>\r\n"), (C, b"CAPA\r\n"), (S, b"+OK\r\nSTLS\r\nUSER\r\n.\r\n")];
        for (answer, news_) in [(&b"+OK go\r\n"[..], News::Accepted), (b"-ERR no\r\n", News::Refused)] {
            let said: Vec<_> = start.iter().copied().chain([(C, &b"STLS\r\n"[..]), (S, answer)]).collect();
            assert_eq!(news(|| Replies::pop3(true), &said), [(News::Asked, 0), (news_, 0)]);
        }
    }
}
