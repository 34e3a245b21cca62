//! Conversations that no TLS library would hold: records, messages and hellos put together by hand.
//!
//! Enters: what the messages are to say. Leaves: bytes of flights, and a [`Session`] of them, which a
//! [`Wire`](crate::capture::Wire) carries like any other. Keys and certificates are filler: an observer that looks from
//! outside cannot tell.

mod hello;

pub use hello::{ClientHello, ServerHello, key_shares, numbers, protocols, server_name};

use crate::capture::{Ending, Flight, Session};
use crate::plan::Side;

/// Content types of records (RFC 8446, section 5.1).
pub mod content {
    /// ChangeCipherSpec.
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    /// Alert.
    pub const ALERT: u8 = 21;
    /// Handshake.
    pub const HANDSHAKE: u8 = 22;
    /// Application data, and everything that is encrypted in TLS 1.3.
    pub const APPLICATION_DATA: u8 = 23;
}

/// A record of this type with this body, which may be longer than the protocol allows but not than its length field
/// (65,535 bytes); version 0x0303.
pub fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    record_of_version(0x0303, kind, body)
}

/// The same with another number in the version field.
pub fn record_of_version(version: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    [&[kind][..], &version.to_be_bytes(), &length.to_be_bytes(), body].concat()
}

/// `bytes` as the bodies of handshake records of at most `most` bytes each.
pub fn handshake_records(bytes: &[u8], most: usize) -> Vec<u8> {
    bytes.chunks(most.max(1)).flat_map(|piece| record(content::HANDSHAKE, piece)).collect()
}

/// A handshake message (RFC 8446, section 4): type, length of three bytes, body.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &three_bytes(body.len()), body].concat()
}

/// An alert in the clear.
pub fn alert(level: u8, description: u8) -> Vec<u8> {
    record(content::ALERT, &[level, description])
}

/// A ChangeCipherSpec.
pub fn change_cipher_spec() -> Vec<u8> {
    record(content::CHANGE_CIPHER_SPEC, &[1])
}

/// An encrypted record of TLS 1.3, or application data, with a body of `length` bytes.
pub fn encrypted(length: usize) -> Vec<u8> {
    record(content::APPLICATION_DATA, &filler(length))
}

/// A Finished of TLS 1.2: the record after ChangeCipherSpec.
pub fn encrypted_handshake(length: usize) -> Vec<u8> {
    record(content::HANDSHAKE, &filler(length))
}

/// A Certificate message of TLS 1.2 (RFC 5246, section 7.4.2) with these certificates.
pub fn certificates(list: &[Vec<u8>]) -> Vec<u8> {
    let entries: Vec<u8> = list.iter().flat_map(|der| [&three_bytes(der.len())[..], der].concat()).collect();
    message(11, &[&three_bytes(entries.len())[..], &entries].concat())
}

/// A ServerKeyExchange with a named curve (RFC 8422, section 5.4) and a signature of filler.
pub fn named_curve(group: u16) -> Vec<u8> {
    let [high, low] = group.to_be_bytes();
    message(12, &[&[3, high, low, 32][..], &filler(32), &[4, 3, 0, 70], &filler(70)].concat())
}

/// A ServerKeyExchange with a prime (RFC 5246, section 7.4.3) of this many whole bytes, whose first byte is `top`.
pub fn finite_field(prime_bytes: usize, top: u8) -> Vec<u8> {
    let length = u16::try_from(prime_bytes).unwrap_or(u16::MAX).to_be_bytes();
    let mut prime = filler(prime_bytes);
    if let Some(first) = prime.first_mut() {
        *first = top;
    }
    let public = [&length[..], &filler(prime_bytes)].concat();
    message(12, &[&length[..], &prime, &[0, 1, 2], &public, &[4, 1, 1, 0], &filler(256)].concat())
}

/// ServerHelloDone.
pub fn server_hello_done() -> Vec<u8> {
    message(14, &[])
}

/// ClientKeyExchange with `length` bytes.
pub fn client_key_exchange(length: usize) -> Vec<u8> {
    message(16, &filler(length))
}

/// Bytes that mean nothing: not all alike, and the same every time.
pub fn filler(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n * 31 % 251).unwrap_or(0)).collect()
}

/// A conversation of these flights.
pub fn conversation(flights: Vec<(Side, Vec<u8>)>, ending: Ending) -> Session {
    Session {
        flights: flights.into_iter().map(|(sender, bytes)| Flight { sender, bytes }).collect(),
        ending,
        server_name: hello::NAME.to_owned(),
        agreement: None,
        alert: None,
        certificate_lengths: Vec::new(),
        key_log: String::new(),
    }
}

fn three_bytes(length: usize) -> [u8; 3] {
    let [_, a, b, c] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_stand_where_they_belong() {
        assert_eq!(record(22, &[7, 8]), [22, 3, 3, 0, 2, 7, 8]);
        assert_eq!(message(11, &[9]), [11, 0, 0, 1, 9]);
        assert_eq!(handshake_records(&[1, 2, 3], 2), [22, 3, 3, 0, 2, 1, 2, 22, 3, 3, 0, 1, 3]);
        assert_eq!(certificates(&[vec![5], vec![]]), [11, 0, 0, 10, 0, 0, 7, 0, 0, 1, 5, 0, 0, 0]);
    }
}
