//! Whether a byte stream begins with TLS, told from its first bytes and not from its port.

use super::message::MessageType;
use super::record::{ContentType, HEADER_LENGTH, RecordHeader};

/// Bytes that settle the question for every framing.
pub(crate) const NEEDED: usize = 11;

/// What the first bytes of a direction say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// So far they could begin a hello.
    Undecided,
    /// A record with a ClientHello begins.
    ClientHello,
    /// A hello in the framing of SSL 2.0 begins (RFC 5246 appendix E.2).
    Ssl2Hello,
    /// A record with a ServerHello begins: the client's hello was missed.
    ServerHello,
    /// Something else.
    Other,
}

/// Judges the first bytes of a direction.
pub(crate) fn opening(bytes: &[u8]) -> Opening {
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return ssl2_opening(bytes);
    }
    let Some((header, body)) = bytes.split_first_chunk::<HEADER_LENGTH>() else {
        let plausible = [22, 3].iter().zip(bytes).all(|(wanted, byte)| wanted == byte);
        return if plausible { Opening::Undecided } else { Opening::Other };
    };
    let fits = RecordHeader::parse(*header)
        .is_some_and(|header| header.content == ContentType::Handshake && header.length > 0);
    match (fits, body.first()) {
        (false, _) => Opening::Other,
        (true, None) => Opening::Undecided,
        (true, Some(kind)) => match MessageType(*kind) {
            MessageType::CLIENT_HELLO => Opening::ClientHello,
            MessageType::SERVER_HELLO => Opening::ServerHello,
            _ => Opening::Other,
        },
    }
}

/// Length with the top bit set, type 1, version, and three lengths that add up.
fn ssl2_opening(bytes: &[u8]) -> Opening {
    let at = |n: usize| bytes.get(n).copied();
    let plausible = at(2).is_none_or(|kind| kind == 1)
        && at(3).is_none_or(|major| matches!(major, 0 | 3))
        && at(4).is_none_or(|minor| if at(3) == Some(0) { minor == 2 } else { minor <= 4 });
    let [high, low, _, _, _, a, b, c, d, e, f, ..] = *bytes else {
        return if plausible { Opening::Undecided } else { Opening::Other };
    };
    let number = |high: u8, low: u8| u32::from(u16::from_be_bytes([high, low]));
    let (suites, session_id, challenge) = (number(a, b), number(c, d), number(e, f));
    let adds_up = number(high & 0x7f, low) == 9 + suites + session_id + challenge && suites.is_multiple_of(3);
    if plausible && adds_up { Opening::Ssl2Hello } else { Opening::Other }
}

/// Judges bytes that begin a segment somewhere within a connection that carried something else before: only what is a
/// hello beyond doubt counts, since any bytes may stand there.
pub(crate) fn late_opening(bytes: &[u8]) -> Opening {
    let [_, _, _, high, low, _, long, middle, short, major, ..] = *bytes else { return Opening::Other };
    let record = u32::from(u16::from_be_bytes([high, low]));
    let message = u32::from_be_bytes([0, long, middle, short]);
    // The message fills its record, or goes on in the next; others may follow a ServerHello.
    let whole = message + 4 >= record || matches!(opening(bytes), Opening::ServerHello);
    let fits = whole && message < 1 << 16 && major == 3;
    match opening(bytes) {
        found @ (Opening::ClientHello | Opening::ServerHello) if fits => found,
        _ => Opening::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_of_a_hello_is_undecided_until_its_type_is_there() {
        let hello = [22, 3, 1, 2, 0, 1, 0, 1];
        for end in 0..=HEADER_LENGTH {
            assert_eq!(opening(&hello[..end]), Opening::Undecided, "{end} bytes");
        }
        assert_eq!(opening(&hello), Opening::ClientHello);
        assert_eq!(opening(&[22, 3, 3, 0, 90, 2]), Opening::ServerHello);
    }

    #[test]
    fn a_hello_in_ssl_2_framing_is_told_by_its_lengths() {
        let hello = [0x80, 0x2e, 1, 3, 1, 0, 21, 0, 0, 0, 16, 1, 2];
        for end in 1..NEEDED {
            assert_eq!(opening(&hello[..end]), Opening::Undecided, "{end} bytes");
        }
        assert_eq!(opening(&hello), Opening::Ssl2Hello);
        assert_eq!(opening(&[0x80, 0x2f, 1, 3, 1, 0, 21, 0, 0, 0, 16]), Opening::Other);
        assert_eq!(opening(&[0x80, 0x2e, 4]), Opening::Other);
    }

    #[test]
    fn other_protocols_are_other_from_their_first_byte() {
        for text in [
            &b"GET / HTTP/1.1"[..],
            b"SSH-2.0",
            b"\x17\x03\x03\x00\x10",
            b"\x16\x04",
            b"\x16\x03\x01\x00\x00",
        ] {
            assert_eq!(opening(text), Opening::Other, "{text:?}");
        }
        assert_eq!(opening(&[22, 3, 1, 2, 0, 4]), Opening::Other);
    }

    #[test]
    fn a_late_hello_must_fill_its_record() {
        assert_eq!(late_opening(&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]), Opening::ClientHello);
        assert_eq!(late_opening(&[22, 3, 1, 0, 200, 1, 0, 1, 196, 3, 3]), Opening::ClientHello);
        assert_eq!(late_opening(&[22, 3, 1, 0, 200, 1, 0, 0, 90, 3, 3]), Opening::Other);
        assert_eq!(late_opening(&[22, 3, 1, 0, 200, 1]), Opening::Other);
        assert_eq!(late_opening(&[22, 3, 3, 4, 200, 2, 0, 0, 90, 3, 3]), Opening::ServerHello);
        assert_eq!(late_opening(&[22, 3, 3, 4, 200, 2, 0, 0, 90, 4, 3]), Opening::Other);
    }
}
