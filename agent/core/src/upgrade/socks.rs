//! Tunnels through SOCKS 4, 4a and 5 (RFC 1928, with a user name and password by RFC 1929).

use super::frame::{Framed, Frames, Measure};
use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

/// The command that opens a connection, in all versions.
const CONNECT: u8 = 1;

/// Answer of a SOCKS 4 server that opened it.
const GRANTED: u8 = 0x5a;

/// The dialogue, from the client's first message on.
#[derive(Debug, Default)]
pub(super) struct Socks {
    client: Frames,
    server: Frames,
    /// SOCKS 5: what the client offers was read.
    greeted: bool,
    /// SOCKS 5: what the server chose was read.
    chosen: bool,
    four: bool,
}

/// Length of an address and port of SOCKS 5, by what stands from the type of the address on.
fn address(bytes: &[u8]) -> Measure {
    match bytes {
        [1, ..] => Measure::Total(7),
        [3, length, ..] => Measure::Total(4 + u64::from(*length)),
        [4, ..] => Measure::Total(19),
        [] | [3] => Measure::More,
        _ => Measure::Invalid,
    }
}

/// Request and answer of SOCKS 5: three bytes and an address.
fn with_address(head: &[u8]) -> Measure {
    match address(head.get(3..).unwrap_or_default()) {
        Measure::Total(length) => Measure::Total(length + 3),
        other => other,
    }
}

/// A user name, and in 4a the name of a host behind it, both ended by a zero.
fn four(head: &[u8]) -> Measure {
    let (Some([a, b, c, d]), Some(rest)) = (head.get(4..8), head.get(8..)) else { return Measure::More };
    let names = if [*a, *b, *c] == [0; 3] && *d != 0 { 2 } else { 1 };
    let mut ends = rest.iter().enumerate().filter(|(_, byte)| **byte == 0);
    ends.nth(names - 1).map_or(Measure::More, |(end, _)| Measure::Total(end as u64 + 9))
}

fn of_client(head: &[u8], greeted: bool) -> Measure {
    match head {
        [4, ..] => four(head),
        [5, count, ..] if !greeted => Measure::Total(2 + u64::from(*count)),
        [5, CONNECT, ..] if greeted => with_address(head),
        [1, user, rest @ ..] if greeted => match rest.get(usize::from(*user)) {
            Some(password) => Measure::Total(3 + u64::from(*user) + u64::from(*password)),
            None => Measure::More,
        },
        [1, ..] if !greeted => Measure::Invalid,
        [1 | 5] | [] => Measure::More,
        _ => Measure::Invalid,
    }
}

fn of_server(head: &[u8], is_four: bool, chosen: bool) -> Measure {
    match head {
        [0, ..] if is_four => Measure::Total(8),
        [5, ..] if !is_four && !chosen => Measure::Total(2),
        [1, ..] if chosen => Measure::Total(2),
        [5, ..] if chosen => with_address(head),
        [] => Measure::More,
        _ => Measure::Invalid,
    }
}

impl Socks {
    fn said_by_client(&mut self) -> Option<News> {
        match self.client.head() {
            [4, command, ..] => {
                self.four = true;
                Some(if *command == CONNECT { News::Asked } else { News::Lost })
            }
            [5, ..] if self.greeted => Some(News::Asked),
            _ => {
                self.greeted = true;
                None
            }
        }
    }

    fn said_by_server(&mut self) -> Option<News> {
        match self.server.head() {
            [0, status, ..] if self.four => {
                Some(if *status == GRANTED { News::Accepted } else { News::Refused })
            }
            // Without authentication, or by name and password; others may wrap what follows.
            [5, method] if !self.chosen => {
                self.chosen = true;
                (!matches!(method, 0 | 2)).then_some(News::Lost)
            }
            [1, status] => (*status != 0).then_some(News::Refused),
            [5, status, ..] => Some(if *status == 0 { News::Accepted } else { News::Refused }),
            _ => Some(News::Lost),
        }
    }
}

impl Dialogue for Socks {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        loop {
            let Self { greeted, chosen, four, .. } = *self;
            let framed = match from {
                Side::Client => self.client.next(bytes, |head| of_client(head, greeted)),
                Side::Server => self.server.next(bytes, |head| of_server(head, four, chosen)),
            }?;
            let news = match (framed, from) {
                (Framed::Invalid, _) => Some(News::Lost),
                (Framed::Whole, Side::Client) => self.said_by_client(),
                (Framed::Whole, Side::Server) => self.said_by_server(),
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
        Some(UpgradedFrom::Socks)
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

    fn told(said: &[(Side, &[u8])]) -> Vec<(News, usize)> {
        news(Socks::default, said)
    }

    #[test]
    fn socks_5_opens_with_and_without_a_password() {
        let name = b"\x05\x01\x00\x03\x09a.example\x01\xbb";
        let open = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38\x16";
        let plain = told(&[(C, b"\x05\x01\x00"), (S, b"\x05\x00"), (C, name), (S, open)]);
        assert_eq!(plain[..2], [(News::Asked, 0), (News::Accepted, 1)]);
        let said: [(Side, &[u8]); 6] = [
            (C, b"\x05\x02\x00\x02"),
            (S, b"\x05\x02"),
            (C, b"\x01\x02me\x03pwd"),
            (S, b"\x01\x00"),
            (C, name),
            (S, open),
        ];
        assert_eq!(told(&said)[..2], [(News::Asked, 0), (News::Accepted, 1)]);
        // All in one go, and the hello with it.
        let eager = [&b"\x05\x01\x00"[..], name, b"\x16\x03"].concat();
        assert_eq!(told(&[(C, &eager)])[0], (News::Asked, 2));
    }

    #[test]
    fn socks_4_and_4a_end_their_names_with_a_zero() {
        let four = b"\x04\x01\x01\xbb\x0a\x00\x00\x01user\x00";
        let four_a = b"\x04\x01\x01\xbb\x00\x00\x00\x01\x00a.example\x00";
        for request in [&four[..], four_a] {
            assert_eq!(told(&[(C, request), (S, b"\x00\x5a\0\0\0\0\0\0\x16")])[1], (News::Accepted, 1));
            assert_eq!(told(&[(C, request), (S, b"\x00\x5b\0\0\0\0\0\0")])[1], (News::Refused, 0));
        }
    }

    #[test]
    fn refusals_and_other_commands() {
        let start: [(Side, &[u8]); 2] = [(C, b"\x05\x01\x00"), (S, b"\x05\xff")];
        assert_eq!(told(&start), [(News::Lost, 0)]);
        let bind: [(Side, &[u8]); 3] = [(C, b"\x05\x01\x00"), (S, b"\x05\x00"), (C, b"\x05\x02\x00")];
        assert_eq!(told(&bind)[0].0, News::Lost);
        assert_eq!(told(&[(C, b"\x05\x01\x00"), (S, b"HTTP")])[0].0, News::Lost);
    }
}
