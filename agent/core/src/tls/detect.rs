//! Whether a byte stream begins with TLS, told from its first bytes and not from its port.

use super::message::MessageType;
use super::record::{ContentType, HEADER_LENGTH, RecordHeader};

/// Bytes that settle the question: a record header and the first byte of its body.
pub(crate) const NEEDED: usize = HEADER_LENGTH + 1;

/// What the first bytes of a direction say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// So far they could begin a hello; there are fewer than [`NEEDED`].
    Undecided,
    /// A record with a ClientHello begins.
    ClientHello,
    /// A record with a ServerHello begins: the client's hello was missed.
    ServerHello,
    /// Something else.
    Other,
}

/// Judges the first bytes of a direction.
pub(crate) fn opening(bytes: &[u8]) -> Opening {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_of_a_hello_is_undecided_until_its_type_is_there() {
        let hello = [22, 3, 1, 2, 0, 1, 0, 1];
        for end in 0..NEEDED {
            assert_eq!(opening(&hello[..end]), Opening::Undecided, "{end} bytes");
        }
        assert_eq!(opening(&hello), Opening::ClientHello);
        assert_eq!(opening(&[22, 3, 3, 0, 90, 2]), Opening::ServerHello);
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
}
