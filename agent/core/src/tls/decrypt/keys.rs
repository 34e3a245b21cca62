//! Record protection of TLS 1.3 (RFC 8446 sections 5.2, 5.3, 7.1 and 7.3), for reading only.
//!
//! Enters: a handshake traffic secret and protected records in order. Leaves: their content.

use crate::iana::CipherSuite;
use aes::Aes128;
use aes_gcm::aead::consts::{U8, U12, U16};
use aes_gcm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use ccm::Ccm;
use chacha20poly1305::ChaCha20Poly1305;
use hkdf::Hkdf;
use sha2::{Sha256, Sha384};
use std::fmt;
use zeroize::Zeroizing;

type Aes128Ccm = Ccm<Aes128, U16, U12>;
type Aes128Ccm8 = Ccm<Aes128, U8, U12>;

/// Bytes of a nonce (RFC 8446 section 5.3).
const NONCE_LENGTH: usize = 12;

/// A cipher suite of TLS 1.3 (RFC 8446 appendix B.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suite {
    Aes128Gcm,
    Aes256Gcm,
    ChaCha20Poly1305,
    Aes128Ccm,
    Aes128Ccm8,
}

impl Suite {
    pub(super) const fn of(suite: CipherSuite) -> Option<Self> {
        Some(match suite.0 {
            0x1301 => Self::Aes128Gcm,
            0x1302 => Self::Aes256Gcm,
            0x1303 => Self::ChaCha20Poly1305,
            0x1304 => Self::Aes128Ccm,
            0x1305 => Self::Aes128Ccm8,
            _ => return None,
        })
    }

    const fn key_length(self) -> usize {
        match self {
            Self::Aes128Gcm | Self::Aes128Ccm | Self::Aes128Ccm8 => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// HKDF-Expand-Label with an empty context (RFC 8446 section 7.1); `None` for a secret that is shorter than the
    /// suite's hash.
    fn expand_label(self, secret: &[u8], label: &str, into: &mut [u8]) -> Option<()> {
        let length = u16::try_from(into.len()).ok()?.to_be_bytes();
        let label_length = u8::try_from(6 + label.len()).ok()?;
        let info = [&length[..], &[label_length], b"tls13 ", label.as_bytes(), &[0]].concat();
        match self {
            Self::Aes256Gcm => Hkdf::<Sha384>::from_prk(secret).ok()?.expand(&info, into).ok(),
            _ => Hkdf::<Sha256>::from_prk(secret).ok()?.expand(&info, into).ok(),
        }
    }
}

/// An AEAD with its key. Each overwrites its key when it is dropped.
enum Cipher {
    Aes128Gcm(Aes128Gcm),
    Aes256Gcm(Aes256Gcm),
    ChaCha20Poly1305(ChaCha20Poly1305),
    Aes128Ccm(Aes128Ccm),
    Aes128Ccm8(Aes128Ccm8),
}

impl Cipher {
    fn new(suite: Suite, key: &[u8]) -> Option<Self> {
        Some(match suite {
            Suite::Aes128Gcm => Self::Aes128Gcm(Aes128Gcm::new_from_slice(key).ok()?),
            Suite::Aes256Gcm => Self::Aes256Gcm(Aes256Gcm::new_from_slice(key).ok()?),
            Suite::ChaCha20Poly1305 => Self::ChaCha20Poly1305(ChaCha20Poly1305::new_from_slice(key).ok()?),
            Suite::Aes128Ccm => Self::Aes128Ccm(Aes128Ccm::new_from_slice(key).ok()?),
            Suite::Aes128Ccm8 => Self::Aes128Ccm8(Aes128Ccm8::new_from_slice(key).ok()?),
        })
    }

    fn open(&self, nonce: &[u8; NONCE_LENGTH], aad: &[u8], body: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Aes128Gcm(cipher) => open(cipher, nonce, aad, body),
            Self::Aes256Gcm(cipher) => open(cipher, nonce, aad, body),
            Self::ChaCha20Poly1305(cipher) => open(cipher, nonce, aad, body),
            Self::Aes128Ccm(cipher) => open(cipher, nonce, aad, body),
            Self::Aes128Ccm8(cipher) => open(cipher, nonce, aad, body),
        }
    }
}

fn open<C: AeadInOut>(cipher: &C, nonce: &[u8], aad: &[u8], body: &mut Vec<u8>) -> Option<()> {
    let nonce = Nonce::<C>::try_from(nonce).ok()?;
    let tag_at = body.len().checked_sub(size_of::<Tag<C>>())?;
    let tag = Tag::<C>::try_from(body.get(tag_at..)?).ok()?;
    body.truncate(tag_at);
    cipher.decrypt_inout_detached(&nonce, aad, body.as_mut_slice().into(), &tag).ok()
}

/// The keys of one direction, and which record comes next.
pub(super) struct RecordKeys {
    cipher: Cipher,
    iv: Zeroizing<[u8; NONCE_LENGTH]>,
    sequence: u64,
}

impl fmt::Debug for RecordKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordKeys").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

impl RecordKeys {
    /// The keys that follow from a traffic secret (RFC 8446 section 7.3); `None` where its length does not fit the
    /// suite.
    pub(super) fn derive(suite: Suite, secret: &[u8]) -> Option<Self> {
        let hash_length = if suite == Suite::Aes256Gcm { 48 } else { 32 };
        if secret.len() != hash_length {
            return None;
        }
        let mut key = Zeroizing::new([0; 32]);
        let key = key.get_mut(..suite.key_length())?;
        suite.expand_label(secret, "key", key)?;
        let mut iv = Zeroizing::new([0; NONCE_LENGTH]);
        suite.expand_label(secret, "iv", &mut *iv)?;
        Some(Self { cipher: Cipher::new(suite, key)?, iv, sequence: 0 })
    }

    fn nonce(&self) -> [u8; NONCE_LENGTH] {
        let mut nonce = *self.iv;
        for (slot, byte) in nonce.iter_mut().skip(4).zip(self.sequence.to_be_bytes()) {
            *slot ^= byte;
        }
        nonce
    }

    /// Whether a record was opened already.
    pub(super) const fn has_opened(&self) -> bool {
        self.sequence > 0
    }

    /// Opens the next record, whose body is replaced by content, one byte of type and padding (TLSInnerPlaintext).
    /// `None` where it is not under these keys; the next record may still be the one that is expected.
    pub(super) fn open(&mut self, body: &mut Vec<u8>) -> Option<()> {
        let [high, low] = u16::try_from(body.len()).ok()?.to_be_bytes();
        // Type 23, version 0x0303 (RFC 8446 section 5.2).
        self.cipher.open(&self.nonce(), &[23, 3, 3, high, low], body)?;
        self.sequence = self.sequence.wrapping_add(1);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl RecordKeys {
        /// Protects a record as its sender does; returns its body.
        pub(crate) fn seal(&mut self, content: &[u8], kind: u8, padding: usize) -> Vec<u8> {
            let mut body = [content, &[kind], &vec![0; padding]].concat();
            let tag_length = if matches!(self.cipher, Cipher::Aes128Ccm8(_)) { 8 } else { 16 };
            let [high, low] = u16::try_from(body.len() + tag_length).unwrap().to_be_bytes();
            let (nonce, aad) = (self.nonce(), [23, 3, 3, high, low]);
            match &self.cipher {
                Cipher::Aes128Gcm(cipher) => seal(cipher, &nonce, &aad, &mut body),
                Cipher::Aes256Gcm(cipher) => seal(cipher, &nonce, &aad, &mut body),
                Cipher::ChaCha20Poly1305(cipher) => seal(cipher, &nonce, &aad, &mut body),
                Cipher::Aes128Ccm(cipher) => seal(cipher, &nonce, &aad, &mut body),
                Cipher::Aes128Ccm8(cipher) => seal(cipher, &nonce, &aad, &mut body),
            }
            self.sequence += 1;
            body
        }
    }

    fn seal<C: AeadInOut>(cipher: &C, nonce: &[u8], aad: &[u8], body: &mut Vec<u8>) {
        let nonce = Nonce::<C>::try_from(nonce).unwrap();
        cipher.encrypt_in_place(&nonce, aad, body).unwrap();
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit.try_into().unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    /// RFC 8448 section 3, "derive write traffic keys for handshake data" of both sides, and the client's Finished.
    #[test]
    fn keys_and_record_are_those_of_rfc_8448() {
        let server = bytes("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38");
        let client = bytes("b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21");
        let expand = |secret: &[u8], label, length| {
            let mut out = vec![0; length];
            Suite::Aes128Gcm.expand_label(secret, label, &mut out).unwrap();
            out
        };
        assert_eq!(expand(&server, "key", 16), bytes("3fce516009c21727d0f2e4e86ee403bc"));
        assert_eq!(expand(&server, "iv", 12), bytes("5d313eb2671276ee13000b30"));
        assert_eq!(expand(&client, "key", 16), bytes("dbfaa693d1762c5b666af5d950258d01"));
        assert_eq!(expand(&client, "iv", 12), bytes("5bd3c71b836e0b76bb73265f"));
        let mut record = bytes(
            "75ec4dc238cce60b298044a71e219c56cc77b0517fe9b93c7a4bfc44d87f38f80338ac98fc46deb384bd1caeacab6867d7\
             26c40546",
        );
        RecordKeys::derive(Suite::Aes128Gcm, &client).unwrap().open(&mut record).unwrap();
        assert_eq!((record.len(), &record[..4], record[36]), (37, &[20, 0, 0, 32][..], 22));
    }

    /// The records of an alert under the secret 00 01 02 ..., made with another library.
    #[test]
    fn every_suite_opens_records_in_their_order() {
        let cases = [
            (
                Suite::Aes256Gcm,
                48,
                "4a1f6a8c4b5d8653caee6607ec1ec833735867",
                "9f396c632a1c2220c05f6fdf24dff2cd4ee735",
            ),
            (
                Suite::ChaCha20Poly1305,
                32,
                "b0867e4850484cd7f06d74d73979eec7e9cda2",
                "099d20a4bdf28222d3a040324dafb2b13265eb",
            ),
            (
                Suite::Aes128Ccm,
                32,
                "5309e88b9d8832a4920c66010988cdbfb768b9",
                "767db6b786f3094180d70a345002e61207be94",
            ),
            (Suite::Aes128Ccm8, 32, "5309e824ced697f2f16e3b", "767db681ee2af85f542cd0"),
        ];
        for (suite, secret, first, second) in cases {
            let secret: Vec<u8> = (0..secret).collect();
            let mut keys = RecordKeys::derive(suite, &secret).unwrap();
            let mut early = bytes(second);
            assert!(keys.open(&mut early).is_none(), "{suite:?} takes the second record for the first");
            for record in [first, second] {
                let mut record = bytes(record);
                keys.open(&mut record).unwrap();
                assert_eq!(record, [2, 40, 21], "{suite:?}");
            }
        }
    }

    #[test]
    fn what_is_no_record_is_not_opened() {
        let mut keys = RecordKeys::derive(Suite::Aes128Gcm, &[7; 32]).unwrap();
        for length in [0, 1, 15, 16, 17, 70_000] {
            assert!(keys.open(&mut vec![0; length]).is_none(), "{length}");
        }
        assert!(RecordKeys::derive(Suite::Aes128Gcm, &[7; 48]).is_none());
        assert!(RecordKeys::derive(Suite::Aes256Gcm, &[7; 32]).is_none());
    }

    #[test]
    fn keys_do_not_show() {
        let keys = RecordKeys::derive(Suite::Aes128Gcm, &[7; 32]).unwrap();
        assert_eq!(format!("{keys:?}"), "RecordKeys { sequence: 0, .. }");
    }
}
