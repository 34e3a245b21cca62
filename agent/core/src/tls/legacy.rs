//! Handshake messages that only TLS 1.2 and earlier send in the clear: certificate lists and key exchange parameters.

use crate::iana::{CipherSuite, Group};
use crate::observation::Certificates;
use crate::x509;
use tls_parser::{TlsCipherAu, TlsCipherKx, TlsCipherSuite};

/// Certificates of one chain whose lengths are listed; longer chains are malformed or an attack.
const MAX_CERTIFICATES: usize = 64;

/// Room made for a leaf when it begins; most fit.
const LEAF_CAPACITY: usize = 2 * 1024;

/// Walks a Certificate message (RFC 5246 section 7.4.2) as its bytes come. Keeps the length of each certificate, and of
/// the first as many bytes as its facts are read from.
#[derive(Debug, Default)]
pub(crate) struct CertificateReader {
    /// Bytes of the list's own length field and then of each certificate's that are still to come.
    field: [u8; 3],
    have: u8,
    list_begun: bool,
    /// Bytes left of the current certificate.
    left: u32,
    lengths: Vec<u32>,
    /// The first bytes of the first certificate.
    leaf: Vec<u8>,
}

impl CertificateReader {
    /// Takes the next bytes of the body.
    pub(crate) fn push(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            if self.left > 0 {
                let (certificate, rest) = input.split_at((self.left as usize).min(input.len()));
                self.keep_leaf(certificate);
                let passed = certificate.len();
                input = rest;
                self.left -= u32::try_from(passed).unwrap_or(self.left);
                continue;
            }
            let Some((first, rest)) = input.split_first() else { return };
            input = rest;
            if let Some(slot) = self.field.get_mut(usize::from(self.have)) {
                *slot = *first;
            }
            self.have += 1;
            if usize::from(self.have) == self.field.len() {
                self.have = 0;
                let [a, b, c] = self.field;
                self.field_read(u32::from_be_bytes([0, a, b, c]));
            }
        }
    }

    fn keep_leaf(&mut self, bytes: &[u8]) {
        let [length] = self.lengths.as_slice() else { return };
        if self.leaf.is_empty() {
            // A length is only a claim: what comes is what counts.
            self.leaf.reserve_exact(LEAF_CAPACITY.min(*length as usize));
        }
        let room = (x509::MAX_LOOKED_AT - self.leaf.len().min(x509::MAX_LOOKED_AT)).min(bytes.len());
        self.leaf.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    fn field_read(&mut self, value: u32) {
        if !self.list_begun {
            self.list_begun = true;
        } else if self.lengths.len() < MAX_CERTIFICATES {
            self.lengths.push(value);
            self.left = value;
        } else {
            self.left = value;
        }
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.leaf.capacity() + self.lengths.capacity() * size_of::<u32>()
    }

    /// The chain, once a message of `message_bytes` is over; `None` where it ended within a certificate. A first
    /// certificate that cannot be read has its length and no facts.
    pub(crate) fn finish(self, message_bytes: u32) -> Option<Certificates> {
        let whole = self.list_begun && self.have == 0 && self.left == 0;
        let leaf = || x509::leaf_facts(&self.leaf).map(Box::new);
        whole.then(|| Certificates { leaf: leaf(), ..Certificates::seen(self.lengths, message_bytes) })
    }
}

/// How a TLS 1.2 key exchange was parametrised, read from a ServerKeyExchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyExchangeParameters {
    /// An elliptic curve or another named group (RFC 8422 section 5.4).
    Named(Group),
    /// Finite-field Diffie-Hellman with a prime of this many bits (RFC 5246 section 7.4.3).
    FiniteField {
        /// Size of the prime.
        bits: u32,
    },
    /// Parameters of another kind: explicit curves, a pre-shared key hint, SRP.
    Other,
}

/// Bytes of a ServerKeyExchange that are looked at: a named curve stands in the first four, a prime's leading byte in
/// the first three; a pre-shared key hint may come before either.
pub(crate) const KEY_EXCHANGE_PREFIX: usize = 256;

impl KeyExchangeParameters {
    /// Reads the first bytes of a ServerKeyExchange whose body is `length` long. A suite that no table holds is read
    /// by structure.
    pub(crate) fn parse(prefix: &[u8], length: u32, suite: Option<CipherSuite>) -> Self {
        let known = suite.and_then(|suite| TlsCipherSuite::from_id(suite.0));
        let after_hint = || -> Option<&[u8]> {
            let hint = u16::from_be_bytes(*prefix.first_chunk()?);
            prefix.get(2 + usize::from(hint)..)
        };
        let with_hint = known.is_some_and(|suite| suite.au == TlsCipherAu::Psk);
        let parameters = if with_hint { after_hint().unwrap_or_default() } else { prefix };
        let kx = known.map(|suite| suite.kx);
        match kx {
            Some(TlsCipherKx::Ecdhe | TlsCipherKx::Aecdh | TlsCipherKx::Ecdh) => Self::curve(parameters),
            Some(TlsCipherKx::Dhe | TlsCipherKx::Dh | TlsCipherKx::Rsa) => {
                Self::finite_field(parameters, length)
            }
            Some(_) => None,
            None if prefix.first() == Some(&3) => Self::curve(parameters),
            None => Self::finite_field(parameters, length),
        }
        .unwrap_or(Self::Other)
    }

    fn curve(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // Curve type 3: named.
            [3, high, low, ..] => Some(Self::Named(Group(u16::from_be_bytes([*high, *low])))),
            _ => None,
        }
    }

    /// `bound` is the length of the message, which the prime cannot exceed.
    fn finite_field(bytes: &[u8], bound: u32) -> Option<Self> {
        let length = u32::from(u16::from_be_bytes(*bytes.first_chunk()?));
        if length >= bound {
            return None;
        }
        let prime = bytes.get(2..)?;
        let zeros = prime.iter().take(length as usize).take_while(|byte| **byte == 0).count();
        // What follows a prime of nothing but zeros is no part of it.
        let top = prime.get(..length as usize).unwrap_or(prime).get(zeros)?;
        let bits = (length - u32::try_from(zeros).ok()?) * 8 - top.leading_zeros();
        Some(Self::FiniteField { bits })
    }
}

/// How a suite of TLS 1.2 or earlier agrees on a key, as far as its name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SuiteKind {
    /// The client encrypts the secret to the server's RSA key.
    StaticRsa,
    /// No certificate vouches for the server.
    Anonymous,
    /// A pre-shared key alone.
    Psk,
    /// A pre-shared key with a Diffie-Hellman exchange.
    PskEphemeral,
    /// Diffie-Hellman under the server's certificate.
    Ephemeral,
    /// In no table, or of a kind that has no word in the record.
    Other,
}

impl SuiteKind {
    pub(crate) fn of(suite: CipherSuite) -> Self {
        let Some(suite) = TlsCipherSuite::from_id(suite.0) else { return Self::Other };
        match (suite.kx, suite.au) {
            (TlsCipherKx::Psk, _) => Self::Psk,
            (TlsCipherKx::Dhe | TlsCipherKx::Ecdhe, TlsCipherAu::Psk) => Self::PskEphemeral,
            (TlsCipherKx::Rsa, TlsCipherAu::Psk) => Self::Psk,
            (TlsCipherKx::Rsa, _) => Self::StaticRsa,
            (TlsCipherKx::Aecdh, _) | (TlsCipherKx::Dh | TlsCipherKx::Ecdh, TlsCipherAu::Null) => {
                Self::Anonymous
            }
            (TlsCipherKx::Dhe | TlsCipherKx::Ecdhe, TlsCipherAu::Null) => Self::Anonymous,
            (TlsCipherKx::Dhe | TlsCipherKx::Ecdhe, _) => Self::Ephemeral,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate_message(lengths: &[usize]) -> Vec<u8> {
        let be24 = |n: usize| [(n >> 16) as u8, (n >> 8) as u8, n as u8];
        let list: Vec<u8> =
            lengths.iter().flat_map(|n| [be24(*n).to_vec(), vec![0x30; *n]].concat()).collect();
        [be24(list.len()).to_vec(), list].concat()
    }

    #[test]
    fn certificate_lengths_are_exact_at_every_cut() {
        let bytes = certificate_message(&[900, 0, 1400]);
        for cut in (0..=bytes.len()).step_by(7) {
            let mut reader = CertificateReader::default();
            reader.push(&bytes[..cut]);
            reader.push(&bytes[cut..]);
            assert_eq!(reader.finish(100).unwrap().lengths, Some(vec![900, 0, 1400]), "cut at {cut}");
        }
    }

    #[test]
    fn a_list_that_ends_within_a_certificate_has_no_lengths() {
        let bytes = certificate_message(&[900]);
        let mut reader = CertificateReader::default();
        reader.push(&bytes[..500]);
        assert_eq!(reader.finish(100), None);
    }

    #[test]
    fn the_facts_of_the_leaf_are_read_at_every_cut_and_those_of_others_are_not() {
        let der = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.self_signed(&key).unwrap().der().to_vec()
        };
        let (leaf, issuer) = (der("leaf.example"), der("issuer.example"));
        let be24 = |n: usize| [(n >> 16) as u8, (n >> 8) as u8, n as u8];
        let entry = |der: &[u8]| [&be24(der.len())[..], der].concat();
        let list = [entry(&leaf), entry(&issuer)].concat();
        let bytes = [&be24(list.len())[..], &list].concat();
        let facts = x509::leaf_facts(&leaf).map(Box::new);
        assert!(facts.is_some() && facts != x509::leaf_facts(&issuer).map(Box::new));
        for cut in 0..=bytes.len() {
            let mut reader = CertificateReader::default();
            reader.push(&bytes[..cut]);
            reader.push(&bytes[cut..]);
            assert!(reader.heap_bytes() < 4096);
            assert_eq!(reader.finish(1).unwrap().leaf, facts, "cut at {cut}");
        }
    }

    #[test]
    fn an_empty_leaf_has_no_facts_and_takes_none_from_the_next() {
        let key = rcgen::KeyPair::generate().unwrap();
        let next = rcgen::CertificateParams::default().self_signed(&key).unwrap().der().to_vec();
        let be24 = |n: usize| [(n >> 16) as u8, (n >> 8) as u8, n as u8];
        let mut reader = CertificateReader::default();
        reader.push(&[&be24(6 + next.len())[..], &[0; 3], &be24(next.len()), &next].concat());
        let chain = reader.finish(1).unwrap();
        assert_eq!((chain.count, chain.leaf), (Some(2), None));
    }

    #[test]
    fn of_an_endless_leaf_only_the_beginning_is_kept() {
        let mut reader = CertificateReader::default();
        reader.push(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xfc]);
        for _ in 0..1000 {
            reader.push(&[0x30; 1400]);
        }
        assert!(reader.heap_bytes() <= 2 * x509::MAX_LOOKED_AT + 64, "{} bytes", reader.heap_bytes());
    }

    #[test]
    fn curves_and_primes_are_told_apart() {
        let parse = |bytes: &[u8], suite: u16| {
            KeyExchangeParameters::parse(bytes, u32::try_from(bytes.len()).unwrap(), Some(CipherSuite(suite)))
        };
        let curve = [&[3, 0, 0x1d, 32][..], &[9; 100]].concat();
        assert_eq!(parse(&curve, 0xc02f), KeyExchangeParameters::Named(Group(0x1d)));
        // A suite that no table holds.
        assert_eq!(parse(&curve, 0xfefe), KeyExchangeParameters::Named(Group(0x1d)));
        let prime = [&[1, 0, 0, 0x7f][..], &[9; 300]].concat();
        assert_eq!(parse(&prime, 0x009e), KeyExchangeParameters::FiniteField { bits: 256 * 8 - 8 - 1 });
        assert_eq!(parse(&[1, 2, 3], 0x009e), KeyExchangeParameters::Other);
        let no_prime = [&[0, 4, 0, 0, 0, 0][..], &[0; 100]].concat();
        assert_eq!(parse(&no_prime, 0x009e), KeyExchangeParameters::Other);
        let leading_zeros = [&[0, 3, 0, 0, 0x7f][..], &[9; 100]].concat();
        assert_eq!(parse(&leading_zeros, 0x009e), KeyExchangeParameters::FiniteField { bits: 7 });
    }

    #[test]
    fn suites_are_sorted_by_how_they_agree() {
        let kind = |suite| SuiteKind::of(CipherSuite(suite));
        assert_eq!(kind(0x002f), SuiteKind::StaticRsa);
        assert_eq!(kind(0xc02f), SuiteKind::Ephemeral);
        assert_eq!(kind(0x0033), SuiteKind::Ephemeral);
        assert_eq!(kind(0x0018), SuiteKind::Anonymous);
        assert_eq!(kind(0xc018), SuiteKind::Anonymous);
        assert_eq!(kind(0x008c), SuiteKind::Psk);
        assert_eq!(kind(0xc035), SuiteKind::PskEphemeral);
        assert_eq!(kind(0xfefe), SuiteKind::Other);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), suite: u16) {
            let _ = KeyExchangeParameters::parse(&bytes, 70, Some(CipherSuite(suite)));
            let mut reader = CertificateReader::default();
            reader.push(&bytes);
            let _ = reader.finish(300);
        }
    }
}
