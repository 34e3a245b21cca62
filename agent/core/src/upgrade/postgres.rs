//! PostgreSQL's SSLRequest: eight bytes, answered by one letter. A request for GSSAPI may come first.

use super::frame::{Framed, Frames, Measure};
use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

/// The request for TLS.
pub(super) const SSL_REQUEST: &[u8; 8] = b"\0\0\0\x08\x04\xd2\x16\x2f";

/// The request for GSSAPI encryption.
pub(super) const GSS_REQUEST: &[u8; 8] = b"\0\0\0\x08\x04\xd2\x16\x30";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    Tls,
    Gss,
}

/// The dialogue, from the first request on.
#[derive(Debug, Default)]
pub(super) struct Postgres {
    client: Frames,
    asked: Asked,
}

fn measure(head: &[u8]) -> Measure {
    match head.first_chunk() {
        Some(length) => Measure::Total(u64::from(u32::from_be_bytes(*length))),
        None => Measure::More,
    }
}

impl Dialogue for Postgres {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        loop {
            if from == Side::Server {
                let (letter, rest) = bytes.split_first()?;
                *bytes = rest;
                match (std::mem::take(&mut self.asked), letter) {
                    (Asked::Tls, b'S') => return Some(News::Accepted),
                    // Servers that do not know the request send an error.
                    (Asked::Tls, b'N' | b'E') => return Some(News::Refused),
                    (Asked::Gss, b'N') => {}
                    _ => return Some(News::Lost),
                }
                continue;
            }
            if self.client.next(bytes, measure)? == Framed::Invalid {
                return Some(News::Lost);
            }
            match self.client.head() {
                head if head == SSL_REQUEST => {
                    self.asked = Asked::Tls;
                    return Some(News::Asked);
                }
                head if head == GSS_REQUEST => self.asked = Asked::Gss,
                // It logs in without.
                _ => return Some(News::Lost),
            }
        }
    }

    fn is_between_units(&self, side: Side) -> bool {
        side == Side::Server || self.client.is_between()
    }

    fn name(&self) -> Option<UpgradedFrom> {
        Some(UpgradedFrom::Postgres)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;
    use Side::{Client as C, Server as S};

    #[test]
    fn one_letter_decides() {
        let told = |answer| news(Postgres::default, &[(C, SSL_REQUEST), (S, answer)]);
        assert_eq!(told(b"S"), [(News::Asked, 0), (News::Accepted, 0)]);
        assert_eq!(told(b"N"), [(News::Asked, 0), (News::Refused, 0)]);
        assert_eq!(told(b"X"), [(News::Asked, 0), (News::Lost, 0)]);
    }

    #[test]
    fn gssapi_may_be_asked_for_first() {
        let said: [(Side, &[u8]); 4] = [(C, GSS_REQUEST), (S, b"N"), (C, SSL_REQUEST), (S, b"S")];
        assert_eq!(news(Postgres::default, &said), [(News::Asked, 0), (News::Accepted, 0)]);
        assert_eq!(news(Postgres::default, &[(C, GSS_REQUEST), (S, b"G")]), [(News::Lost, 0)]);
    }

    #[test]
    fn a_login_in_the_clear_ends_it() {
        let login = b"\0\0\0\x0b\0\x03\0\0a\0\0";
        let told = news(Postgres::default, &[(C, SSL_REQUEST), (S, b"N"), (C, login)]);
        assert_eq!(told, [(News::Asked, 0), (News::Refused, 0), (News::Lost, 0)]);
    }
}
