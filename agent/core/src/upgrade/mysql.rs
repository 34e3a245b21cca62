//! MySQL and MariaDB: the server greets, and a client that wants TLS sends a short login packet and its hello right
//! behind it. The server has no way to decline.

use super::frame::{Framed, Frames, Measure};
use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

/// The capability that asks for TLS.
const CLIENT_SSL: u8 = 0x08;

/// The dialogue, from the server's greeting on.
#[derive(Debug, Default)]
pub(super) struct Mysql {
    client: Frames,
    server: Frames,
}

/// Three bytes of length, little-endian, and a number.
fn measure(head: &[u8]) -> Measure {
    match head {
        [a, b, c, _, ..] => Measure::Total(4 + u64::from(u32::from_le_bytes([*a, *b, *c, 0]))),
        _ => Measure::More,
    }
}

/// The packet with which a client asks for TLS: 32 bytes, or 5 of the oldest clients, with the second number.
fn is_request(head: &[u8]) -> bool {
    matches!(head, [32 | 5, 0, 0, 1, _, high, ..] if high & CLIENT_SSL != 0)
}

impl Dialogue for Mysql {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        loop {
            let frames = match from {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            let framed = frames.next(bytes, measure)?;
            if framed == Framed::Invalid {
                return Some(News::Lost);
            }
            if from == Side::Client {
                return Some(if is_request(frames.head()) { News::Accepted } else { News::Lost });
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
        Some(UpgradedFrom::Mysql)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;
    use Side::{Client as C, Server as S};

    fn greeting() -> Vec<u8> {
        [&[74, 0, 0, 0, 10][..], b"8.0.36\0", &[1; 66]].concat()
    }

    #[test]
    fn the_hello_follows_the_request_at_once() {
        let request = [&[32, 0, 0, 1, 0x05, 0xae, 0xff, 1][..], &[0; 28], &[22, 3]].concat();
        let told = news(Mysql::default, &[(S, &greeting()), (C, &request)]);
        assert_eq!(told[0], (News::Accepted, 2));
    }

    #[test]
    fn a_login_in_the_clear_ends_it() {
        let login = [&[40, 0, 0, 1, 0x05, 0xa6][..], &[0; 38]].concat();
        assert_eq!(news(Mysql::default, &[(S, &greeting()), (C, &login)]), [(News::Lost, 0)]);
    }
}
