//! The ServerHello, the HelloRetryRequest that looks like one (RFC 8446 section 4.1.3 and 4.1.4), and the same two in
//! the drafts that had other shapes.

use super::client_hello::{AlpnNames, Extensions, extension};
use crate::iana::{CipherSuite, Group, ProtocolVersion};

/// The random that turns a ServerHello into a HelloRetryRequest: SHA-256 of "HelloRetryRequest".
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What the server chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerHello {
    pub(crate) version: ProtocolVersion,
    /// `None` only in a HelloRetryRequest of a draft that named no suite.
    pub(crate) cipher_suite: Option<CipherSuite>,
    pub(crate) is_retry: bool,
    /// The group of the key share, or the one that a retry asks for.
    pub(crate) group: Option<Group>,
    /// Bytes of the key share; `None` without one.
    pub(crate) share_length: Option<u16>,
    pub(crate) selects_psk: bool,
    pub(crate) alpn: Option<String>,
    pub(crate) session_id: Vec<u8>,
}

impl ServerHello {
    /// Reads the body of a ServerHello message.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let legacy = ProtocolVersion(u16::from_be_bytes(*body.first_chunk()?));
        if legacy.has_short_server_hello() {
            let rest = body.get(34..)?;
            let suite = u16::from_be_bytes(*rest.first_chunk()?);
            return Some(Self::new(legacy, Some(suite), false, &[], rest.get(4..)));
        }
        let (_, fixed) = tls_parser::parse_tls_handshake_server_hello(body).ok()?;
        let is_retry = fixed.random == RETRY_RANDOM;
        let session_id = fixed.session_id.unwrap_or_default();
        Some(Self::new(legacy, Some(fixed.cipher.0), is_retry, session_id, fixed.ext))
    }

    /// Reads the body of the message type that drafts before 22 used for a retry: version, from draft 19 on a cipher
    /// suite, extensions.
    pub(crate) fn parse_draft_retry(body: &[u8]) -> Option<Self> {
        let version = ProtocolVersion(u16::from_be_bytes(*body.first_chunk()?));
        let with_suite = version.0 & 0xff >= 19;
        let suite = if with_suite { Some(u16::from_be_bytes(*body.get(2..)?.first_chunk()?)) } else { None };
        let extensions = body.get(if with_suite { 6 } else { 4 }..);
        Some(Self::new(version, suite, true, &[], extensions))
    }

    fn new(
        legacy: ProtocolVersion,
        suite: Option<u16>,
        is_retry: bool,
        session_id: &[u8],
        extensions: Option<&[u8]>,
    ) -> Self {
        let mut hello = Self {
            version: legacy,
            cipher_suite: suite.map(CipherSuite),
            is_retry,
            group: None,
            share_length: None,
            selects_psk: false,
            alpn: None,
            session_id: session_id.to_vec(),
        };
        for (kind, body) in (Extensions { rest: extensions.unwrap_or_default() }) {
            match (kind, body) {
                (extension::SUPPORTED_VERSIONS, [high, low]) => {
                    hello.version = ProtocolVersion(u16::from_be_bytes([*high, *low]));
                }
                (extension::KEY_SHARE | extension::KEY_SHARE_DRAFT, [high, low, share @ ..]) => {
                    hello.group = Some(Group(u16::from_be_bytes([*high, *low])));
                    hello.share_length = share.first_chunk().map(|length| u16::from_be_bytes(*length));
                }
                (extension::PRE_SHARED_KEY, _) => hello.selects_psk = true,
                (extension::ALPN, [_, _, list @ ..]) => {
                    let name = AlpnNames { list }.next();
                    hello.alpn = name.map(|name| String::from_utf8_lossy(name).into_owned());
                }
                _ => {}
            }
        }
        hello
    }

    /// Whether the key share is as long as one of its group is: `false` shows that the number is not used as the table
    /// says. A group whose lengths are not known fits.
    pub(crate) fn share_fits_group(&self) -> bool {
        let lengths = self.group.and_then(Group::share_lengths);
        match (lengths, self.share_length) {
            (Some(lengths), Some(length)) => lengths.server == length,
            _ => true,
        }
    }
}

/// What the first bytes that answer a hello in the framing of SSL 2.0 are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ssl2Answer {
    /// More are needed.
    Open,
    /// A SERVER-HELLO of this version.
    Version(ProtocolVersion),
    /// By its first byte a TLS record, as of a server that knows better.
    Record,
    /// Neither.
    Other,
}

/// Reads the beginning of a server's answer in SSL 2.0 ("The SSL Protocol", Hickman 1995, sections 1.1 and 2.6): two bytes
/// of length with the top bit set, the type, whether the session is known, the certificate's type, the version.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ssl2AnswerReader {
    header: [u8; 7],
    have: u8,
}

impl Ssl2AnswerReader {
    /// Takes the server's next bytes. A record shows by its first byte, so that nothing of it is lost.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Ssl2Answer {
        for byte in bytes {
            if let Some(slot) = self.header.get_mut(usize::from(self.have)) {
                *slot = *byte;
            }
            self.have += 1;
            let [length, _, kind, _, _, major, minor] = self.header;
            match self.have {
                1 if length & 0x80 == 0 => return Ssl2Answer::Record,
                3 if kind != SSL2_SERVER_HELLO => return Ssl2Answer::Other,
                7 => return Ssl2Answer::Version(ProtocolVersion(u16::from_be_bytes([major, minor]))),
                _ => {}
            }
        }
        Ssl2Answer::Open
    }
}

/// Type of the SERVER-HELLO of SSL 2.0.
const SSL2_SERVER_HELLO: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body(random: [u8; 32], extensions: &[u8]) -> Vec<u8> {
        let length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
        [&[3, 3][..], &random, &[2, 0xaa, 0xbb], &[0x13, 0x02, 0], &length, extensions].concat()
    }

    #[test]
    fn a_final_hello_names_version_suite_and_group() {
        let share = [0, 51, 0, 8, 0x11, 0xec, 0, 4, 1, 2, 3, 4];
        let versions = [0, 43, 0, 2, 3, 4];
        let hello = ServerHello::parse(&body([1; 32], &[&share[..], &versions].concat())).unwrap();
        assert_eq!(hello.version, ProtocolVersion::TLS_1_3);
        assert_eq!(hello.cipher_suite, Some(CipherSuite(0x1302)));
        assert_eq!((hello.group, hello.is_retry), (Some(Group(0x11ec)), false));
        assert_eq!(hello.session_id, [0xaa, 0xbb]);
    }

    #[test]
    fn a_key_share_of_another_length_than_its_group_is_told() {
        let share = |group: [u8; 2], length: u16| {
            let header = [&[0, 51][..], &(length + 4).to_be_bytes(), &group, &length.to_be_bytes()].concat();
            ServerHello::parse(&body([1; 32], &[header, vec![9; usize::from(length)]].concat())).unwrap()
        };
        assert!(share([0x11, 0xec], 1120).share_fits_group());
        assert!(!share([0x11, 0xec], 1216).share_fits_group());
        assert!(!share([0, 0x1d], 33).share_fits_group());
        assert!(share([0x2f, 0x39], 33).share_fits_group());
        assert_eq!(share([0x11, 0xec], 1216).group, Some(Group(0x11ec)));
    }

    #[test]
    fn a_retry_is_told_by_its_random() {
        let retry =
            ServerHello::parse(&body(RETRY_RANDOM, &[0, 51, 0, 2, 0, 0x1d, 0, 43, 0, 2, 3, 4])).unwrap();
        assert_eq!((retry.is_retry, retry.group), (true, Some(Group(0x1d))));
        assert!(retry.share_length.is_none() && retry.share_fits_group());
        let cookie_only =
            ServerHello::parse(&body(RETRY_RANDOM, &[0, 44, 0, 3, 0, 1, 9, 0, 43, 0, 2, 3, 4])).unwrap();
        assert_eq!((cookie_only.is_retry, cookie_only.group), (true, None));
    }

    #[test]
    fn drafts_before_22_have_no_session_id() {
        let extensions = [0, 40, 0, 6, 0, 0x1d, 0, 2, 5, 5];
        let mut bytes = vec![0x7f, 18];
        bytes.extend([4; 32]);
        bytes.extend([0x13, 0x01, 0, 10]);
        bytes.extend(extensions);
        let hello = ServerHello::parse(&bytes).unwrap();
        assert_eq!((hello.version, hello.group), (ProtocolVersion(0x7f12), Some(Group(0x1d))));
        let retry = ServerHello::parse_draft_retry(&[0x7f, 18, 0, 6, 0, 40, 0, 2, 0, 0x17]).unwrap();
        assert_eq!((retry.group, retry.cipher_suite), (Some(Group(0x17)), None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ServerHello::parse(&bytes);
            let _ = ServerHello::parse_draft_retry(&bytes);
        }
    }

    #[test]
    fn an_answer_in_ssl_2_is_read_in_pieces_of_any_size() {
        let answer = [0x83, 0x3a, 4, 0, 1, 0, 2, 3, 0x15];
        for size in 1..=answer.len() {
            let mut reader = Ssl2AnswerReader::default();
            let read: Vec<_> = answer.chunks(size).map(|piece| reader.push(piece)).collect();
            let version = read.into_iter().find(|read| *read != Ssl2Answer::Open);
            assert_eq!(version, Some(Ssl2Answer::Version(ProtocolVersion(2))), "{size}");
        }
        for record in [&[22, 3, 1][..], &[21]] {
            assert_eq!(Ssl2AnswerReader::default().push(record), Ssl2Answer::Record);
        }
        assert_eq!(Ssl2AnswerReader::default().push(&[0x80, 3, 0, 0, 1]), Ssl2Answer::Other);
    }
}
