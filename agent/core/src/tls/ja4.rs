//! The JA4 fingerprint of a TLS client: which program sent a hello, told by what it offers.
//!
//! The method is FoxIO's JA4 (BSD 3-Clause, see NOTICE), written here from its description of 2023 with its later
//! clarifications. Only this one of their fingerprints is made. Enters: a condensed ClientHello. Leaves: text such as
//! `t13d1516h2_8daaf6152771_e5627efa2ab1`:
//!
//! 1. the carrying protocol, the highest version offered, whether there is a server_name (`d`) or none (`i`), the
//!    numbers of cipher suites and extensions (two digits each, at most 99), and two characters of the first ALPN name;
//! 2. a hash of the cipher suites in numeric order;
//! 3. a hash of the extensions in numeric order without server_name and ALPN, and the signature algorithms as sent.
//!
//! GREASE counts nowhere. A hash is the first 12 hex digits of a SHA-256, or zeros where there is nothing to hash.

use super::client_hello::{ClientHello, extension};
use crate::iana::ProtocolVersion;
use crate::observation::Protocol;
use foldhash::fast::FixedState;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{BuildHasher, Hash, Hasher};

/// Bytes of a fingerprint, which are always as many.
pub(crate) const LENGTH: usize = 36;

/// Suites or extensions that fit without more room; few clients have more.
const USUAL_COUNT: usize = 64;

/// Digits of a hash.
const HASH_DIGITS: usize = 12;

/// Lists of numbers whose hash is remembered; beyond it all are forgotten.
const MAX_REMEMBERED: usize = 512;

/// Bytes of a list that is remembered; those of real clients take some 300.
const LONGEST_REMEMBERED: usize = 1024;

/// Hashes that were made before: clients are few, and their hellos many. It never shows in the output.
#[derive(Debug)]
pub(crate) struct Hashes {
    known: HashMap<Box<[u8]>, [u8; HASH_DIGITS], FixedState>,
    /// The list that is being hashed, as it is written.
    listed: Vec<u8>,
}

impl Hashes {
    /// None yet. `seed` keeps outsiders from choosing lists that collide.
    pub(crate) fn new(seed: u64) -> Self {
        Self { known: HashMap::with_hasher(FixedState::with_seed(seed)), listed: Vec::new() }
    }

    /// A number for the kind of client that sent a hello: for what its fingerprint is made of, without what one client may
    /// send in one hello and not in the next. Padding (RFC 7685) fills hellos of certain lengths only, which a
    /// post-quantum share exceeds; a pre-shared key and the early data under it are used up or refused. So they count
    /// neither in a list nor as a number of extensions. `None` where there is no fingerprint.
    pub(crate) fn client_kind(&self, hello: &ClientHello, carried_by: Protocol) -> Option<u64> {
        if !is_whole(hello) {
            return None;
        }
        let sorted = |numbers: &mut dyn Iterator<Item = u16>| {
            let mut numbers: Vec<u16> = numbers.collect();
            numbers.sort_unstable();
            numbers
        };
        let suites = sorted(&mut hello.cipher_suites()?.map(|suite| suite.0));
        let extensions =
            sorted(&mut hello.extension_types().filter(|kind| is_hashed(*kind) && !comes_and_goes(*kind)));
        let schemes: Vec<u16> = hello.signature_scheme_numbers().collect();
        let mut hasher = self.known.hasher().build_hasher();
        (carried_by, version_word(hello), hello.has_server_name(), alpn_word(hello.first_alpn()))
            .hash(&mut hasher);
        (suites, extensions, schemes).hash(&mut hasher);
        Some(hasher.finish())
    }

    fn of_list(&mut self) -> [u8; HASH_DIGITS] {
        if let Some(known) = self.known.get(self.listed.as_slice()) {
            return *known;
        }
        let mut digits = [b'0'; HASH_DIGITS];
        let hash = Sha256::digest(&self.listed);
        let all = hash.iter().flat_map(|byte| [hex_digit(byte >> 4), hex_digit(byte & 15)]);
        digits.iter_mut().zip(all).for_each(|(slot, digit)| *slot = digit);
        if self.listed.len() <= LONGEST_REMEMBERED {
            if self.known.len() >= MAX_REMEMBERED {
                self.known.clear();
            }
            self.known.insert(self.listed.as_slice().into(), digits);
        }
        digits
    }
}

/// The fingerprint of a hello; `None` where a list that it is made of could not be read whole.
pub(crate) fn fingerprint(hello: &ClientHello, carried_by: Protocol, hashes: &mut Hashes) -> Option<String> {
    if !is_whole(hello) {
        return None;
    }
    let mut numbers = Vec::with_capacity(USUAL_COUNT);
    numbers.extend(hello.cipher_suites()?.map(|suite| suite.0));
    let mut text = String::with_capacity(LENGTH);
    text.push(match carried_by {
        Protocol::Tls => 't',
    });
    text.push_str(version_word(hello));
    text.push(if hello.has_server_name() { 'd' } else { 'i' });
    let _ = write!(text, "{:02}{:02}", numbers.len().min(99), hello.extension_types().count().min(99));
    text.extend(alpn_word(hello.first_alpn()));
    numbers.sort_unstable();
    push_hash(&mut text, &numbers, std::iter::empty(), hashes);
    numbers.clear();
    numbers.extend(hello.extension_types().filter(|kind| is_hashed(*kind)));
    numbers.sort_unstable();
    push_hash(&mut text, &numbers, hello.signature_scheme_numbers(), hashes);
    Some(text)
}

fn is_whole(hello: &ClientHello) -> bool {
    hello.is_well_formed() && !hello.is_cut()
}

/// Whether a fingerprint has the extension's number, and not something else of it.
const fn is_hashed(kind: u16) -> bool {
    !matches!(kind, extension::SERVER_NAME | extension::ALPN)
}

/// Whether one client may send the extension in one hello and not in the next. Early data stands beside a pre-shared key
/// only (RFC 8446 section 4.2.10).
const fn comes_and_goes(kind: u16) -> bool {
    matches!(kind, extension::PADDING | extension::PRE_SHARED_KEY | extension::EARLY_DATA)
}

/// The highest version offered; a version without a name, a draft's for instance, is `00`.
fn version_word(hello: &ClientHello) -> &'static str {
    match hello.highest_version() {
        ProtocolVersion::TLS_1_3 => "13",
        ProtocolVersion::TLS_1_2 => "12",
        ProtocolVersion::TLS_1_1 => "11",
        ProtocolVersion::TLS_1_0 => "10",
        ProtocolVersion::SSL_3 => "s3",
        ProtocolVersion::SSL_2 => "s2",
        _ => "00",
    }
}

/// First and last character of a name; where either is no ASCII letter or digit, first and last hex digit of its bytes.
fn alpn_word(name: Option<&[u8]>) -> [char; 2] {
    let Some((Some(first), Some(last))) = name.map(|name| (name.first(), name.last())) else {
        return ['0', '0'];
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(*first), char::from(*last)];
    }
    [hex_digit(first >> 4), hex_digit(last & 15)].map(char::from)
}

fn hex_digit(value: u8) -> u8 {
    b"0123456789abcdef".get(usize::from(value & 15)).copied().unwrap_or(b'0')
}

/// Adds an underscore and the hash of `first`, with `second` after it where there is any.
fn push_hash(text: &mut String, first: &[u16], second: impl Iterator<Item = u16>, hashes: &mut Hashes) {
    text.push('_');
    if first.is_empty() {
        text.extend(std::iter::repeat_n('0', HASH_DIGITS));
        return;
    }
    let listed = &mut hashes.listed;
    listed.clear();
    list_numbers(listed, first.iter().copied());
    let length = listed.len();
    listed.push(b'_');
    list_numbers(listed, second);
    if listed.len() == length + 1 {
        // Nothing followed.
        listed.truncate(length);
    }
    text.extend(hashes.of_list().map(char::from));
}

/// Writes numbers as four hex digits each, with commas between them.
fn list_numbers(text: &mut Vec<u8>, numbers: impl Iterator<Item = u16>) {
    for (place, number) in numbers.enumerate() {
        let [high, low] = number.to_be_bytes();
        let all = [b',', hex_digit(high >> 4), hex_digit(high), hex_digit(low >> 4), hex_digit(low)];
        text.extend_from_slice(all.get(usize::from(place == 0)..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::super::client_hello::HelloReader;
    use super::*;

    const GREASE: u16 = 0x5a5a;

    /// A hello to be written.
    struct Offer {
        version: u16,
        suites: Vec<u16>,
        extensions: Vec<(u16, Vec<u8>)>,
    }

    fn list(numbers: &[u16]) -> Vec<u8> {
        let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        [u16::try_from(body.len()).unwrap().to_be_bytes().to_vec(), body].concat()
    }

    fn versions(numbers: &[u16]) -> (u16, Vec<u8>) {
        let body: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        (43, [vec![u8::try_from(body.len()).unwrap()], body].concat())
    }

    fn alpn(names: &[&[u8]]) -> (u16, Vec<u8>) {
        let one = |name: &&[u8]| [&[u8::try_from(name.len()).unwrap()][..], name].concat();
        let body: Vec<u8> = names.iter().flat_map(one).collect();
        (16, [u16::try_from(body.len()).unwrap().to_be_bytes().to_vec(), body].concat())
    }

    fn empty(kinds: &[u16]) -> Vec<(u16, Vec<u8>)> {
        kinds.iter().map(|kind| (*kind, Vec::new())).collect()
    }

    impl Offer {
        fn bytes(&self) -> Vec<u8> {
            let mut out = self.version.to_be_bytes().to_vec();
            out.extend([7; 32]);
            out.push(0);
            out.extend(list(&self.suites));
            out.extend([1, 0]);
            let mut extensions = Vec::new();
            for (kind, body) in &self.extensions {
                extensions.extend(kind.to_be_bytes());
                extensions.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
                extensions.extend(body);
            }
            if !extensions.is_empty() {
                out.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
                out.extend(extensions);
            }
            out
        }

        fn ja4(&self) -> String {
            read(&[&self.bytes()]).unwrap()
        }
    }

    fn read(chunks: &[&[u8]]) -> Option<String> {
        let length: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let mut reader = HelloReader::new(u32::try_from(length).unwrap());
        chunks.iter().for_each(|chunk| reader.push(chunk));
        fingerprint(&reader.finish(), Protocol::Tls, &mut Hashes::new(0))
    }

    /// The hello that the method's description takes as its example, with GREASE wherever a client may put it.
    fn published_example() -> Offer {
        let suites = [
            GREASE, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014,
            0x009c, 0x009d, 0x002f, 0x0035,
        ];
        let schemes = [GREASE, 0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601];
        let mut extensions = empty(&[GREASE, 0x001b]);
        extensions.push((0, vec![0, 7, 0, 0, 4, b'a', b'.', b'b', b'c']));
        extensions.push((0x33, vec![0, 5, 0x5a, 0x5a, 0, 1, 0x55]));
        extensions.push(alpn(&[&[0x5a, 0x5a], b"h2", b"http/1.1"]));
        extensions.extend(empty(&[0x4469, 0x0017, 0x002d]));
        extensions.push((13, list(&schemes)));
        extensions.extend(empty(&[0x0005, 0x0023, 0x0012]));
        extensions.push(versions(&[GREASE, 0x0304, 0x0303]));
        extensions.extend(empty(&[0xff01, 0x000b]));
        extensions.push((10, list(&[GREASE, 0x11ec, 0x1d])));
        extensions.extend(empty(&[0x0015, 0x1a1a]));
        Offer { version: 0x0303, suites: suites.to_vec(), extensions }
    }

    #[test]
    fn the_published_example_has_its_published_fingerprint() {
        assert_eq!(published_example().ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn without_signature_algorithms_the_extensions_are_hashed_alone() {
        let mut offer = published_example();
        offer.extensions.iter_mut().find(|(kind, _)| *kind == 13).unwrap().1 = list(&[]);
        assert_eq!(offer.ja4(), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    }

    #[test]
    fn every_cut_point_of_a_hello_gives_the_same_fingerprint() {
        let bytes = published_example().bytes();
        let whole = read(&[&bytes]).unwrap();
        assert_eq!(whole.len(), LENGTH);
        for cut in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]).as_ref(), Some(&whole), "cut at {cut}");
        }
    }

    #[test]
    fn the_order_of_suites_and_extensions_does_not_show_and_that_of_schemes_does() {
        let mut offer = published_example();
        offer.suites.reverse();
        offer.extensions.reverse();
        assert_eq!(offer.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        offer.extensions.iter_mut().find(|(kind, _)| *kind == 13).unwrap().1 = list(&[0x0804, 0x0403]);
        assert_ne!(offer.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn server_name_and_alpn_are_counted_and_not_hashed() {
        let mut offer = published_example();
        offer.extensions.retain(|(kind, _)| !matches!(*kind, 0 | 16));
        assert_eq!(offer.ja4(), "t13i151400_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn a_hello_that_offers_nothing_has_zeros() {
        let bare = Offer { version: 0x0303, suites: vec![GREASE], extensions: Vec::new() };
        assert_eq!(bare.ja4(), "t12i000000_000000000000_000000000000");
        let named = Offer { extensions: vec![(0, vec![0, 0])], ..bare };
        assert_eq!(named.ja4(), "t12d000100_000000000000_000000000000");
    }

    #[test]
    fn counts_end_at_ninety_nine() {
        let suites: Vec<u16> = (0..130).map(|n| 0xc100 + n).collect();
        let kinds: Vec<u16> = (0..120).map(|n| 0x4000 + n).collect();
        let offer = Offer { version: 0x0303, suites, extensions: empty(&kinds) };
        assert!(offer.ja4().starts_with("t12i999900_"), "{}", offer.ja4());
    }

    #[test]
    fn the_version_is_the_highest_offered() {
        let word = |legacy, extension: Option<&[u16]>| {
            let extensions = extension.map(versions).into_iter().collect();
            Offer { version: legacy, suites: vec![0x1301], extensions }.ja4()[..3].to_owned()
        };
        assert_eq!(word(0x0303, Some(&[0x0302, 0x0304, 0x0303])), "t13");
        assert_eq!(word(0x0303, Some(&[GREASE, 0x0302])), "t11");
        assert_eq!(word(0x0303, Some(&[GREASE])), "t12");
        assert_eq!(word(0x0301, None), "t10");
        assert_eq!(word(0x0300, None), "ts3");
        assert_eq!(word(0x0303, Some(&[0x7f1c, 0x0303])), "t00");
    }

    #[test]
    fn odd_protocol_names_are_told_by_their_hex_digits() {
        let word = |name: &[u8]| String::from_iter(alpn_word(Some(name)));
        assert_eq!(word(b"http/1.1"), "h1");
        assert_eq!(word(b"h"), "hh");
        assert_eq!(word(&[0xab]), "ab");
        assert_eq!(word(&[0xab, 0xcd]), "ad");
        assert_eq!(word(&[0x30, 0xab]), "3b");
        assert_eq!(word(&[0x30, 0x31, 0xab, 0xcd]), "3d");
        assert_eq!(word(&[0x30, 0xab, 0xcd, 0x31]), "01");
        assert_eq!(word(&[]), "00");
        assert_eq!(alpn_word(None), ['0', '0']);
    }

    fn kind(offer: &Offer) -> Option<u64> {
        let bytes = offer.bytes();
        let mut reader = HelloReader::new(u32::try_from(bytes.len()).unwrap());
        reader.push(&bytes);
        Hashes::new(0).client_kind(&reader.finish(), Protocol::Tls)
    }

    #[test]
    fn padding_and_a_pre_shared_key_do_not_change_the_kind_of_client_and_all_else_does() {
        let whole = kind(&published_example());
        assert!(whole.is_some());
        let changed = |change: &dyn Fn(&mut Offer)| {
            let mut offer = published_example();
            change(&mut offer);
            kind(&offer)
        };
        assert_eq!(changed(&|offer| offer.extensions.retain(|(kind, _)| *kind != 21)), whole);
        assert_eq!(changed(&|offer| offer.extensions.extend(empty(&[42, 41]))), whole);
        assert_eq!(changed(&|offer| offer.extensions.reverse()), whole);
        let others: [&dyn Fn(&mut Offer); 7] = [
            &|offer| offer.suites.push(0x1304),
            &|offer| offer.extensions.extend(empty(&[22])),
            &|offer| offer.extensions.retain(|(kind, _)| *kind != 0),
            &|offer| offer.extensions.retain(|(kind, _)| *kind != 16),
            &|offer| {
                offer
                    .extensions
                    .iter_mut()
                    .filter(|(kind, _)| *kind == 16)
                    .for_each(|it| *it = alpn(&[b"h3"]))
            },
            &|offer| {
                offer
                    .extensions
                    .iter_mut()
                    .filter(|(kind, _)| *kind == 43)
                    .for_each(|it| *it = versions(&[0x0303]))
            },
            &|offer| {
                offer
                    .extensions
                    .iter_mut()
                    .filter(|(kind, _)| *kind == 13)
                    .for_each(|it| it.1 = list(&[0x0403]))
            },
        ];
        for (number, other) in others.iter().enumerate() {
            assert_ne!(changed(other), whole, "{number}");
        }
    }

    #[test]
    fn a_list_that_was_not_read_whole_gives_no_fingerprint() {
        let bytes = published_example().bytes();
        assert_eq!(read(&[&bytes[..bytes.len() - 1]]), None);
        let many = Offer { version: 0x0303, suites: vec![0xc02f; 1025], extensions: Vec::new() };
        assert_eq!(read(&[&many.bytes()]), None);
    }
}
