//! Handshake messages that TLS 1.3 sends encrypted, once their bytes are known.

use crate::iana::SignatureScheme;
use crate::observation::{Certificates, Evidence, SignatureFacts};
use crate::tls::client_hello::{AlpnNames, Extensions, extension};
use crate::x509::leaf_facts;
use flate2::read::ZlibDecoder;
use std::io::Read;

/// Certificates of one chain; longer chains are malformed or an attack.
const MAX_CERTIFICATES: usize = 64;

/// Most that a compressed chain may claim to weigh.
const MAX_INFLATED: u32 = 1 << 20;

/// The number of zlib among the certificate compression algorithms (RFC 8879 section 7.3).
const ZLIB: u16 = 1;

/// Takes a length of `N` bytes and that many bytes off the front.
fn vector<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<N>()?;
    let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let (body, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(body)
}

/// The protocol that EncryptedExtensions select (RFC 8446 section 4.3.1, RFC 7301 section 3.1).
pub(super) fn selected_protocol(mut body: &[u8]) -> Option<String> {
    let list = vector::<2>(&mut body)?;
    Extensions { rest: list }.find_map(|(kind, body)| match (kind, body) {
        (extension::ALPN, [_, _, list @ ..]) => {
            AlpnNames { list }.next().map(|name| String::from_utf8_lossy(name).into_owned())
        }
        _ => None,
    })
}

/// A chain out of a Certificate message (RFC 8446 section 4.4.2) of `message_bytes`, of which `body` is known.
pub(super) fn certificates(body: &[u8], message_bytes: u32) -> Certificates {
    match chain(body) {
        Some((lengths, leaf)) => {
            let chain: u64 = lengths.iter().copied().map(u64::from).sum();
            Certificates {
                count: Some(lengths.len()),
                lengths: Some(lengths),
                chain_bytes: Some(chain),
                message_bytes: Some(message_bytes),
                evidence: Evidence::Decrypted,
                low: Some(chain),
                high: Some(chain),
                compressed: Some(false),
                leaf: leaf.and_then(leaf_facts).map(Box::new),
            }
        }
        None => message_alone(message_bytes),
    }
}

/// A chain out of a CompressedCertificate message (RFC 8879 section 4). Of what zlib did not compress only the
/// message's own length is known.
pub(super) fn compressed_certificates(body: &[u8], message_bytes: u32) -> Certificates {
    let certificates = match inflated(body) {
        Some(inflated) => certificates(&inflated, message_bytes),
        None => message_alone(message_bytes),
    };
    Certificates { compressed: Some(true), ..certificates }
}

fn message_alone(message_bytes: u32) -> Certificates {
    Certificates {
        count: None,
        lengths: None,
        chain_bytes: None,
        message_bytes: Some(message_bytes),
        evidence: Evidence::Decrypted,
        low: None,
        high: None,
        compressed: Some(false),
        leaf: None,
    }
}

/// The DER lengths in order, and the first certificate.
fn chain(mut body: &[u8]) -> Option<(Vec<u32>, Option<&[u8]>)> {
    let _context = vector::<1>(&mut body)?;
    let mut list = vector::<3>(&mut body)?;
    let (mut lengths, mut leaf) = (Vec::new(), None);
    while !list.is_empty() {
        let certificate = vector::<3>(&mut list)?;
        let _extensions = vector::<2>(&mut list)?;
        if lengths.len() == MAX_CERTIFICATES {
            return None;
        }
        lengths.push(u32::try_from(certificate.len()).ok()?);
        leaf.get_or_insert(certificate);
    }
    body.is_empty().then_some((lengths, leaf))
}

fn inflated(body: &[u8]) -> Option<Vec<u8>> {
    let (algorithm, body) = body.split_first_chunk::<2>()?;
    let ([a, b, c], mut body) = body.split_first_chunk::<3>().map(|(length, rest)| (*length, rest))?;
    let claimed = u32::from_be_bytes([0, a, b, c]);
    if u16::from_be_bytes(*algorithm) != ZLIB || claimed > MAX_INFLATED {
        return None;
    }
    let compressed = vector::<3>(&mut body)?;
    let mut out = Vec::new();
    ZlibDecoder::new(compressed).take(u64::from(claimed) + 1).read_to_end(&mut out).ok()?;
    (out.len() == claimed as usize).then_some(out)
}

/// Scheme and length of the signature in a CertificateVerify (RFC 8446 section 4.4.3), from its first bytes.
pub(super) fn signature(body: &[u8]) -> Option<SignatureFacts> {
    let [a, b, high, low] = *body.first_chunk()?;
    let scheme = SignatureScheme(u16::from_be_bytes([a, b]));
    Some(SignatureFacts { scheme, length: u16::from_be_bytes([high, low]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use proptest::prelude::*;
    use std::io::Write;

    fn be24(length: usize) -> Vec<u8> {
        u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec()
    }

    fn certificate_message(lengths: &[usize]) -> Vec<u8> {
        let entry = |n: &usize| [be24(*n), vec![0x30; *n], vec![0, 2, 9, 9]].concat();
        let list = lengths.iter().map(entry).collect::<Vec<_>>().concat();
        [vec![0], be24(list.len()), list].concat()
    }

    fn compressed(algorithm: u8, message: &[u8], claimed: usize) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(message).unwrap();
        let bytes = encoder.finish().unwrap();
        [vec![0, algorithm], be24(claimed), be24(bytes.len()), bytes].concat()
    }

    #[test]
    fn a_chain_has_its_lengths_without_the_extensions() {
        let facts = certificates(&certificate_message(&[900, 1400]), 2316);
        assert_eq!((facts.count, facts.lengths), (Some(2), Some(vec![900, 1400])));
        assert_eq!((facts.chain_bytes, facts.low, facts.high), (Some(2300), Some(2300), Some(2300)));
        assert_eq!((facts.message_bytes, facts.evidence), (Some(2316), Evidence::Decrypted));
        let empty = certificates(&certificate_message(&[]), 4);
        assert_eq!((empty.count, empty.chain_bytes), (Some(0), Some(0)));
    }

    #[test]
    fn a_cut_or_endless_chain_has_no_lengths() {
        let body = certificate_message(&[900, 1400]);
        for cut in [0, 1, 5, 2300, body.len() - 1] {
            assert_eq!(certificates(&body[..cut], 2316), message_alone(2316), "{cut}");
        }
        assert_eq!(certificates(&certificate_message(&[1; 65]), 9), message_alone(9));
        assert_eq!(certificates(&certificate_message(&[1; 64]), 9).count, Some(64));
    }

    #[test]
    fn zlib_is_undone_within_the_length_that_is_claimed() {
        let alone = Certificates { compressed: Some(true), ..message_alone(99) };
        let message = certificate_message(&[700, 800]);
        let facts = compressed_certificates(&compressed(1, &message, message.len()), 99);
        assert_eq!((facts.lengths, facts.message_bytes), (Some(vec![700, 800]), Some(99)));
        for claimed in [message.len() - 1, message.len() + 1, 1 << 21] {
            let facts = compressed_certificates(&compressed(1, &message, claimed), 99);
            assert_eq!(facts, alone, "{claimed}");
        }
        let bomb = certificate_message(&[1 << 21]);
        assert_eq!(compressed_certificates(&compressed(1, &bomb, bomb.len()), 99), alone);
        let brotli = compressed(2, &message, message.len());
        assert_eq!(compressed_certificates(&brotli, 99), alone);
    }

    #[test]
    fn extensions_name_the_protocol() {
        let alpn = [0, 16, 0, 5, 0, 3, 2, b'h', b'2'];
        let body = [&[0, 14, 0, 0, 0, 1, 7][..], &alpn].concat();
        assert_eq!(selected_protocol(&body), Some("h2".to_owned()));
        assert_eq!(selected_protocol(&[0, 0]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (certificates(&bytes, 0), compressed_certificates(&bytes, 0));
            let _ = (selected_protocol(&bytes), signature(&bytes));
        }
    }
}
