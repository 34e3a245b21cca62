//! Record protection of TLS 1.3 (RFC 8446, sections 5.2 and 7.3): a traffic secret enters, opened records leave.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, HKDF_SHA384, KeyType, Prk};

/// Opens the records that one secret protects, in their order.
pub(crate) struct Opener {
    key: LessSafeKey,
    vector: [u8; 12],
    sequence: u64,
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Opener {
    /// `None` for a suite that the lab does not use.
    pub(crate) fn new(suite: u16, secret: &[u8]) -> Option<Self> {
        let (hash, algorithm): (hkdf::Algorithm, &'static Algorithm) = match suite {
            0x1301 => (HKDF_SHA256, &AES_128_GCM),
            0x1302 => (HKDF_SHA384, &AES_256_GCM),
            0x1303 => (HKDF_SHA256, &CHACHA20_POLY1305),
            _ => return None,
        };
        let prk = Prk::new_less_safe(hash, secret);
        let key = expand(&prk, "key", algorithm.key_len())?;
        let vector = expand(&prk, "iv", 12)?.try_into().ok()?;
        Some(Self { key: LessSafeKey::new(UnboundKey::new(algorithm, &key).ok()?), vector, sequence: 0 })
    }

    /// Opens a record: its content type and content without padding. The sequence goes on only when it succeeds.
    pub(crate) fn open(&mut self, header: &[u8], body: &[u8]) -> Option<(u8, Vec<u8>)> {
        let mut nonce = self.vector;
        for (byte, number) in nonce.iter_mut().skip(4).zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        let mut buffer = body.to_vec();
        let plain = self
            .key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(header), &mut buffer)
            .ok()?;
        self.sequence += 1;
        let end = plain.iter().rposition(|byte| *byte != 0)?;
        Some((*plain.get(end)?, plain.get(..end)?.to_vec()))
    }
}

/// HKDF-Expand-Label with an empty context.
fn expand(prk: &Prk, label: &str, length: usize) -> Option<Vec<u8>> {
    let mut info = u16::try_from(length).ok()?.to_be_bytes().to_vec();
    info.push(u8::try_from(6 + label.len()).ok()?);
    info.extend_from_slice(b"tls13 ");
    info.extend_from_slice(label.as_bytes());
    info.push(0);
    let mut output = vec![0; length];
    prk.expand(&[&info], Length(length)).ok()?.fill(&mut output).ok()?;
    Some(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The server's handshake traffic key and vector of RFC 8448, section 3.
    #[test]
    fn keys_are_those_of_the_published_trace() {
        let secret = [
            0xb6, 0x7b, 0x7d, 0x69, 0x0c, 0xc1, 0x6c, 0x4e, 0x75, 0xe5, 0x42, 0x13, 0xcb, 0x2d, 0x37, 0xb4,
            0xe9, 0xc9, 0x12, 0xbc, 0xde, 0xd9, 0x10, 0x5d, 0x42, 0xbe, 0xfd, 0x59, 0xd3, 0x91, 0xad, 0x38,
        ];
        let prk = Prk::new_less_safe(HKDF_SHA256, &secret);
        assert_eq!(
            crate::wire::keylog::hex(&expand(&prk, "key", 16).unwrap()),
            "3fce516009c21727d0f2e4e86ee403bc"
        );
        assert_eq!(crate::wire::keylog::hex(&expand(&prk, "iv", 12).unwrap()), "5d313eb2671276ee13000b30");
    }
}
