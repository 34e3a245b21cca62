//! LDAP's StartTLS, an extended operation (RFC 4511 section 4.14), among other messages.

use super::frame::{Framed, Frames, Measure};
use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

/// Name of the operation.
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
const REQUEST_NAME: u8 = 0x80;

/// The dialogue.
#[derive(Debug, Default)]
pub(super) struct Ldap {
    client: Frames,
    server: Frames,
    /// Number of the request whose answer is awaited.
    awaited: Option<u32>,
}

/// Tag, content (as much as there is) and rest of the first element of BER; `None` where a length is not definite.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (length, header) = length(bytes)?;
    let content = bytes.get(header..)?;
    let length = usize::try_from(length).ok()?.min(content.len());
    let (content, rest) = content.split_at(length);
    Some((*bytes.first()?, content, rest))
}

/// Length of the content, and of tag and length themselves.
fn length(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.get(1)?;
    if first < 0x80 {
        return Some((u64::from(first), 2));
    }
    let count = usize::from(first & 0x7f);
    let digits = bytes.get(2..2 + count).filter(|_| (1..=4).contains(&count))?;
    Some((digits.iter().fold(0, |length, digit| length << 8 | u64::from(*digit)), 2 + count))
}

fn measure(head: &[u8]) -> Measure {
    match head {
        [] | [SEQUENCE] => Measure::More,
        [SEQUENCE, first, ..] if *first == 0x80 || *first > 0x84 => Measure::Invalid,
        [SEQUENCE, ..] => match length(head) {
            Some((length, header)) => Measure::Total(length + header as u64),
            None => Measure::More,
        },
        _ => Measure::Invalid,
    }
}

/// Number, operation and content of a message.
fn message(head: &[u8]) -> Option<(u32, u8, &[u8])> {
    let (_, content, _) = element(head)?;
    let (_, number, rest) = element(content).filter(|(tag, ..)| *tag == INTEGER)?;
    let number = number.iter().fold(0, |number: u32, digit| number << 8 | u32::from(*digit));
    let (operation, content, _) = element(rest)?;
    Some((number, operation, content))
}

impl Ldap {
    fn request(&mut self) -> Option<News> {
        let Some((number, operation, content)) = message(self.client.head()) else {
            return Some(News::Lost);
        };
        let (tag, name, _) = element(content)?;
        if operation != EXTENDED_REQUEST || tag != REQUEST_NAME || name != START_TLS {
            return None;
        }
        self.awaited = Some(number);
        Some(News::Asked)
    }

    fn answer(&mut self) -> Option<News> {
        let Some((number, operation, content)) = message(self.server.head()) else {
            return Some(News::Lost);
        };
        if operation != EXTENDED_RESPONSE || self.awaited != Some(number) {
            return None;
        }
        self.awaited = None;
        let (tag, code, _) = element(content)?;
        Some(if tag == ENUMERATED && code == [0] { News::Accepted } else { News::Refused })
    }
}

impl Dialogue for Ldap {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        loop {
            let frames = match from {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            let framed = frames.next(bytes, measure)?;
            let news = match (framed, from) {
                (Framed::Invalid, _) => Some(News::Lost),
                (Framed::Whole, Side::Client) => self.request(),
                (Framed::Whole, Side::Server) => self.answer(),
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

    fn name(&self) -> Option<UpgradedFrom> {
        Some(UpgradedFrom::Ldap)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;
    use Side::{Client as C, Server as S};

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn said(number: u8, operation: u8, content: &[u8]) -> Vec<u8> {
        tagged(SEQUENCE, &[&[INTEGER, 1, number][..], &tagged(operation, content)].concat())
    }

    fn answer(number: u8, code: u8) -> Vec<u8> {
        said(number, EXTENDED_RESPONSE, &[ENUMERATED, 1, code, 4, 0, 4, 0])
    }

    #[test]
    fn the_answer_bears_the_number_of_the_request() {
        let bind = said(1, 0x60, &[2, 1, 3, 4, 0, 0x80, 0]);
        let bound = said(1, 0x61, &[ENUMERATED, 1, 0, 4, 0, 4, 0]);
        let request = said(2, EXTENDED_REQUEST, &tagged(REQUEST_NAME, START_TLS));
        for (code, expected) in [(0, News::Accepted), (52, News::Refused), (2, News::Refused)] {
            let answers = [answer(9, 0), answer(2, code), vec![22]].concat();
            let told = news(
                Ldap::default,
                &[(C, &bind), (S, &bound), (C, &request), (S, &answers[..answers.len() - 1])],
            );
            assert_eq!(told, [(News::Asked, 0), (expected, 0)]);
        }
    }

    #[test]
    fn other_operations_and_long_lengths_pass() {
        let who = said(1, EXTENDED_REQUEST, &tagged(REQUEST_NAME, b"1.3.6.1.4.1.4203.1.11.3"));
        let search = [&[SEQUENCE, 0x82, 2, 0, INTEGER, 1, 3, 0x63, 0x82, 1, 0xf9][..], &[4; 505]].concat();
        assert_eq!(news(Ldap::default, &[(C, &who), (C, &search), (C, &who)]), []);
        assert_eq!(news(Ldap::default, &[(C, &[SEQUENCE, 0x80])]), [(News::Lost, 0)]);
    }
}
