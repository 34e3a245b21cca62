//! Remote Desktop: an X.224 connection request in a TPKT that lists what the client can do for security, and a
//! confirmation with the server's choice ([MS-RDPBCGR] sections 2.2.1.1 and 2.2.1.2).

use super::frame::{Framed, Frames, Measure};
use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

const CONNECTION_REQUEST: u8 = 0xe0;
const CONNECTION_CONFIRM: u8 = 0xd0;
const NEGOTIATION_REQUEST: u8 = 1;
const NEGOTIATION_RESPONSE: u8 = 2;

/// TPKT (4 bytes) and the fixed part of X.224 (7 bytes).
const HEADER: usize = 11;

/// The dialogue.
#[derive(Debug, Default)]
pub(super) struct Rdp {
    client: Frames,
    server: Frames,
    asked: bool,
}

fn measure(head: &[u8]) -> Measure {
    match head {
        [3, 0, high, low, ..] => Measure::Total(u64::from(u16::from_be_bytes([*high, *low]))),
        [] | [3] | [3, 0] | [3, 0, _] => Measure::More,
        _ => Measure::Invalid,
    }
}

/// The protocols in a negotiation of one kind: 0 is RDP's own security, all others begin with TLS.
fn protocols(bytes: &[u8], kind: u8) -> Option<u32> {
    match bytes {
        [found, _, 8, 0, a, b, c, d, ..] if *found == kind => Some(u32::from_le_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}

/// A cookie or routing token may stand before the negotiation; it ends in a line end.
fn asks_for_tls(head: &[u8]) -> bool {
    let variable = head.get(HEADER..).unwrap_or_default();
    let after_cookie =
        variable.windows(2).position(|pair| pair == b"\r\n").and_then(|at| variable.get(at + 2..));
    let negotiation = protocols(variable, NEGOTIATION_REQUEST)
        .or_else(|| protocols(after_cookie.unwrap_or_default(), NEGOTIATION_REQUEST));
    negotiation.is_some_and(|protocols| protocols != 0)
}

impl Dialogue for Rdp {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        let frames = match from {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        if frames.next(bytes, measure)? == Framed::Invalid {
            return Some(News::Lost);
        }
        let head = frames.head();
        Some(match (from, self.asked, head.get(5)) {
            (Side::Client, false, Some(&CONNECTION_REQUEST)) if asks_for_tls(head) => {
                self.asked = true;
                News::Asked
            }
            (Side::Server, true, Some(&CONNECTION_CONFIRM)) => {
                self.asked = false;
                let chosen = protocols(head.get(HEADER..).unwrap_or_default(), NEGOTIATION_RESPONSE);
                // A failure, no word about it, or RDP's own security.
                if chosen.is_some_and(|chosen| chosen != 0) { News::Accepted } else { News::Refused }
            }
            _ => News::Lost,
        })
    }

    fn is_between_units(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client.is_between(),
            Side::Server => self.server.is_between(),
        }
    }

    fn name(&self) -> Option<UpgradedFrom> {
        Some(UpgradedFrom::Rdp)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;
    use Side::{Client as C, Server as S};

    fn packet(code: u8, variable: &[u8]) -> Vec<u8> {
        let length = u8::try_from(HEADER + variable.len()).unwrap();
        [&[3, 0, 0, length, length - 5, code, 0, 0, 0, 0, 0], variable].concat()
    }

    const TLS_OR_CREDSSP: [u8; 8] = [1, 0, 8, 0, 3, 0, 0, 0];

    #[test]
    fn the_choice_of_the_server_decides() {
        let cookie = [&b"Cookie: mstshash=someone\r\n"[..], &TLS_OR_CREDSSP].concat();
        for request in [packet(CONNECTION_REQUEST, &TLS_OR_CREDSSP), packet(CONNECTION_REQUEST, &cookie)] {
            for (answer, expected) in [
                (&[2, 0x1f, 8, 0, 2, 0, 0, 0][..], News::Accepted),
                (&[2, 0x1f, 8, 0, 0, 0, 0, 0], News::Refused),
                (&[3, 0, 8, 0, 2, 0, 0, 0], News::Refused),
                (&[], News::Refused),
            ] {
                let confirm = packet(CONNECTION_CONFIRM, answer);
                let told = news(Rdp::default, &[(C, &request), (S, &confirm)]);
                assert_eq!(told, [(News::Asked, 0), (expected, 0)], "{answer:?}");
            }
        }
    }

    #[test]
    fn a_client_that_does_not_ask_is_not_followed() {
        for variable in [&b"Cookie: mstshash=someone\r\n"[..], &[1, 0, 8, 0, 0, 0, 0, 0], &[0xc1, 2, 1, 0]] {
            let request = packet(CONNECTION_REQUEST, variable);
            assert_eq!(news(Rdp::default, &[(C, &request)]), [(News::Lost, 0)]);
        }
    }
}
