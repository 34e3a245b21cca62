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
    /// The keys that follow from a traffic secret (RFC 8446 section 7.3); `None` where its length does not fit the suite.
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
