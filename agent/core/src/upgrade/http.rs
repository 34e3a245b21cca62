//! Tunnels through HTTP proxies: CONNECT (RFC 9110 section 9.3.6).

use super::line::{Line, Lines};
use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

/// What is read of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answer {
    /// Nothing is asked, or what comes is the body of a refusal.
    #[default]
    None,
    StatusLine,
    /// The fields of a final answer.
    Fields {
        success: bool,
    },
    /// Those of an interim one.
    Interim,
}

/// The dialogue, from the client's request on.
#[derive(Debug, Default)]
pub(super) struct HttpConnect {
    client: Lines,
    server: Lines,
    in_request: bool,
    answer: Answer,
}

impl HttpConnect {
    fn request(&mut self, line: &Line) -> Option<News> {
        if self.in_request {
            self.in_request = !line.text().is_empty();
            return (!self.in_request).then_some(News::Asked);
        }
        if line.text().is_empty() {
            return None;
        }
        if !line.begins_with(b"CONNECT ") {
            return Some(News::Lost);
        }
        self.in_request = true;
        // Whatever came of the answer before is over.
        self.server = Lines::default();
        self.answer = Answer::StatusLine;
        None
    }

    fn answer(&mut self, line: &Line) -> Option<News> {
        let blank = line.text().is_empty();
        match self.answer {
            Answer::None => {}
            Answer::StatusLine => {
                let status = line.text().strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(1..));
                let Some([b' ', class, _, _, ..]) = status else { return Some(News::Lost) };
                self.answer = match class {
                    b'1' => Answer::Interim,
                    class => Answer::Fields { success: *class == b'2' },
                };
            }
            Answer::Interim if blank => self.answer = Answer::StatusLine,
            Answer::Fields { success } if blank => {
                self.answer = Answer::None;
                return Some(if success { News::Accepted } else { News::Refused });
            }
            Answer::Interim | Answer::Fields { .. } => {}
        }
        None
    }
}

impl Dialogue for HttpConnect {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        loop {
            let news = match from {
                Side::Client => {
                    let line = self.client.next(bytes)?;
                    self.request(&line)
                }
                Side::Server if self.answer == Answer::None => {
                    *bytes = &[];
                    return None;
                }
                Side::Server => {
                    let line = self.server.next(bytes)?;
                    self.answer(&line)
                }
            };
            if news.is_some() {
                return news;
            }
        }
    }

    fn is_between_units(&self, side: Side) -> bool {
        match side {
            Side::Client => !self.in_request && self.client.is_between(),
            Side::Server => self.answer != Answer::None && self.server.is_between(),
        }
    }

    fn name(&self) -> Option<UpgradedFrom> {
        Some(UpgradedFrom::HttpConnect)
    }

    fn is_tunnel(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;
    use Side::{Client as C, Server as S};

    const REQUEST: (Side, &[u8]) = (C, b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example\r\nX: y\r\n\r\n");

    fn told(more: &[(Side, &[u8])]) -> Vec<(News, usize)> {
        let said: Vec<_> = [REQUEST].iter().chain(more).copied().collect();
        news(HttpConnect::default, &said)
    }

    #[test]
    fn a_tunnel_begins_behind_the_blank_line() {
        let answer = b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n\x16\x03";
        assert_eq!(told(&[(S, answer)]), [(News::Asked, 0), (News::Accepted, 2)]);
        let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n";
        assert_eq!(told(&[(S, interim)]), [(News::Asked, 0), (News::Accepted, 0)]);
    }

    #[test]
    fn a_client_may_ask_again_with_a_password() {
        let refusal = b"HTTP/1.1 407 Authenticate\r\nContent-Length: 25\r\n\r\n<html>\r\nHTTP/1.1 200\r\n";
        let said = [(S, &refusal[..]), REQUEST, (S, b"HTTP/1.1 200 ok\r\n\r\n")];
        let kinds: Vec<_> = told(&said).iter().map(|(news, _)| *news).collect();
        assert_eq!(kinds, [News::Asked, News::Refused, News::Asked, News::Accepted]);
    }

    #[test]
    fn other_requests_and_answers_are_not_followed() {
        assert_eq!(told(&[(S, b"SSH-2.0-x\r\n")]), [(News::Asked, 0), (News::Lost, 0)]);
        let said = [(S, &b"HTTP/1.1 403 No\r\n\r\n"[..]), (C, b"GET / HTTP/1.1\r\n")];
        assert_eq!(told(&said), [(News::Asked, 0), (News::Refused, 0), (News::Lost, 0)]);
    }
}
