//! Which protocol the first bytes of a direction begin.

use super::Dialogue;
use super::http::HttpConnect;
use super::imap::Imap;
use super::ldap::Ldap;
use super::mysql::Mysql;
use super::postgres::{GSS_REQUEST, Postgres, SSL_REQUEST};
use super::proxy::{ProxyHeader, SIGNATURE};
use super::rdp::Rdp;
use super::replies::Replies;
use super::socks::Socks;
use super::xmpp::Xmpp;
use crate::observation::Side;

/// Bytes that settle the question for every protocol.
pub(crate) const LONGEST_PREFIX: usize = 16;

/// What is known beside the bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Circumstances {
    /// They are the first of their direction, not merely the first of the capture.
    pub(crate) from_start: bool,
    /// The other side has said something that is none of these protocols.
    pub(crate) answers_unknown: bool,
}

/// What the first bytes of a direction say.
#[derive(Debug)]
pub(crate) enum Recognition {
    /// So far they could begin one of the protocols.
    Undecided,
    /// One begins, and this side speaks.
    Is { dialogue: Box<dyn Dialogue>, speaker: Side },
    /// None of them.
    Other,
}

/// A protocol whose messages look alike from their first byte on.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Replies,
    Pop3,
    Imap,
    Xmpp,
    HttpConnect,
    Proxy,
    Postgres,
    Mysql,
    Socks,
    Rdp,
    Ldap,
}

/// What a direction begins with, and what that is.
type Prefix = (&'static [u8], Kind);

/// What the fields so far say, of a protocol that is told by several.
struct Fields {
    /// Bytes that settle it.
    needed: usize,
    fit: bool,
    speaker: Side,
    kind: Kind,
}

/// What servers greet with.
const GREETINGS: [Prefix; 5] = [
    (b"220 ", Kind::Replies),
    (b"220-", Kind::Replies),
    (b"+OK", Kind::Pop3),
    (b"* OK", Kind::Imap),
    (b"* PREAUTH", Kind::Imap),
];

/// What clients begin with, also where the capture has missed the greeting. STARTTLS alone would not tell SMTP from NNTP
/// and IRC.
const REQUESTS: [Prefix; 17] = [
    (b"EHLO ", Kind::Replies),
    (b"HELO ", Kind::Replies),
    (b"LHLO ", Kind::Replies),
    (b"AUTH TLS", Kind::Replies),
    (b"AUTH SSL", Kind::Replies),
    (b"STLS\r", Kind::Pop3),
    (b"STLS\n", Kind::Pop3),
    (b"CAPA\r", Kind::Pop3),
    (b"CAPA\n", Kind::Pop3),
    (b"<?xml ", Kind::Xmpp),
    (b"<stream:stream", Kind::Xmpp),
    (b"CONNECT ", Kind::HttpConnect),
    (b"PROXY TCP", Kind::Proxy),
    (b"PROXY UNKNOWN", Kind::Proxy),
    (SIGNATURE, Kind::Proxy),
    (SSL_REQUEST, Kind::Postgres),
    (GSS_REQUEST, Kind::Postgres),
];

/// Judges the first bytes of a direction. `Undecided` never with [`LONGEST_PREFIX`] bytes.
pub(crate) fn recognise(bytes: &[u8], circumstances: Circumstances) -> Recognition {
    let mut undecided = false;
    for (speaker, prefixes) in [(Side::Server, &GREETINGS[..]), (Side::Client, &REQUESTS[..])] {
        if speaker == Side::Server && circumstances.answers_unknown {
            continue;
        }
        for (prefix, kind) in prefixes {
            if starts_with(bytes, prefix) {
                return Recognition::Is { dialogue: dialogue(*kind, speaker), speaker };
            }
            undecided |= starts_with(prefix, bytes);
        }
    }
    match binary(bytes, circumstances) {
        Recognition::Other if undecided => Recognition::Undecided,
        other => other,
    }
}

fn starts_with(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn dialogue(kind: Kind, speaker: Side) -> Box<dyn Dialogue> {
    let greeted = speaker == Side::Server;
    match kind {
        Kind::Replies => Box::new(Replies::numbered(greeted)),
        Kind::Pop3 => Box::new(Replies::pop3(greeted)),
        Kind::Imap => Box::<Imap>::default(),
        Kind::Xmpp => Box::<Xmpp>::default(),
        Kind::HttpConnect => Box::<HttpConnect>::default(),
        Kind::Proxy => Box::<ProxyHeader>::default(),
        Kind::Postgres => Box::<Postgres>::default(),
        Kind::Mysql => Box::<Mysql>::default(),
        Kind::Socks => Box::<Socks>::default(),
        Kind::Rdp => Box::<Rdp>::default(),
        Kind::Ldap => Box::<Ldap>::default(),
    }
}

/// Protocols that are told by several fields.
fn binary(bytes: &[u8], circumstances: Circumstances) -> Recognition {
    let fields = match bytes {
        [] => return Recognition::Undecided,
        [0x30, ..] => return ldap(bytes),
        // Both are short, so that only the first bytes of a connection are held for them.
        [4 | 5, ..] if circumstances.from_start => socks(bytes),
        [3, rest @ ..] => {
            let header = [Some(0), None, None, None, Some(0xe0)];
            let fit =
                rest.iter().zip(header).all(|(byte, wanted)| wanted.is_none_or(|wanted| wanted == *byte));
            Fields { needed: 6, fit, speaker: Side::Client, kind: Kind::Rdp }
        }
        // What a client of MySQL asks for TLS with: capabilities, largest packet, character set, and zeros.
        [32, 0, 0, 1, rest @ ..] => {
            let asks = rest.get(1).is_none_or(|high| high & 0x08 != 0);
            let fit = asks && rest.iter().skip(9).all(|byte| *byte == 0);
            Fields { needed: 16, fit, speaker: Side::Client, kind: Kind::Mysql }
        }
        // Length, number 0, version 10 of the protocol, and a version that begins with a digit.
        [_, rest @ ..] => {
            let plausible = |place: usize, byte: u8| match place {
                1 | 2 => byte == 0,
                3 => byte == 10,
                4 => byte.is_ascii_digit(),
                _ => true,
            };
            let fit = rest.len() > 1 && rest.iter().enumerate().all(|(place, byte)| plausible(place, *byte));
            let fit = fit && !circumstances.answers_unknown;
            Fields { needed: 6, fit, speaker: Side::Server, kind: Kind::Mysql }
        }
    };
    if !fields.fit {
        Recognition::Other
    } else if bytes.len() < fields.needed {
        Recognition::Undecided
    } else {
        Recognition::Is { dialogue: dialogue(fields.kind, fields.speaker), speaker: fields.speaker }
    }
}

/// Version 5, how many methods, and the methods; or 4, CONNECT, port and address.
fn socks(bytes: &[u8]) -> Fields {
    let (needed, fit) = match bytes {
        [5, count @ 1..=10, methods @ ..] => {
            let mut offered = methods.iter().take(usize::from(*count));
            (2 + usize::from(*count), offered.all(|method| matches!(method, 0..=9 | 0x80..)))
        }
        [4, 1, rest @ ..] => (8, !rest.starts_with(&[0, 0])),
        [4 | 5] => (2, true),
        _ => (2, false),
    };
    Fields { needed, fit, speaker: Side::Client, kind: Kind::Socks }
}

/// A sequence, a message number, and an operation, which tells who speaks.
fn ldap(bytes: &[u8]) -> Recognition {
    let [_, length, rest @ ..] = bytes else { return Recognition::Undecided };
    let digits = match length {
        0x81..=0x84 => usize::from(length & 0x7f),
        1..=0x7f => 0,
        _ => return Recognition::Other,
    };
    let number = rest.get(digits..).unwrap_or_default();
    let operation = match number {
        [] | [2] => return Recognition::Undecided,
        [2, count @ 1..=4, rest @ ..] => rest.get(usize::from(*count)),
        _ => return Recognition::Other,
    };
    let speaker = match operation {
        None => return Recognition::Undecided,
        // Bind, unbind, search, modify, add, delete, rename, compare, abandon, extended.
        Some(0x60 | 0x42 | 0x63 | 0x66 | 0x68 | 0x4a | 0x6c | 0x6e | 0x50 | 0x77) => Side::Client,
        Some(0x61 | 0x64 | 0x65 | 0x73 | 0x78 | 0x79) => Side::Server,
        Some(_) => return Recognition::Other,
    };
    Recognition::Is { dialogue: dialogue(Kind::Ldap, speaker), speaker }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::UpgradedFrom;
    use proptest::prelude::*;

    const AT_START: Circumstances = Circumstances { from_start: true, answers_unknown: false };

    const MYSQL_REQUEST: &[u8] = b"\x20\0\0\x01\x05\xae\xff\x01\0\0\0\x01\xff\0\0\0\0";

    fn name(bytes: &[u8]) -> Option<(Option<UpgradedFrom>, Side)> {
        match recognise(bytes, AT_START) {
            Recognition::Is { dialogue, speaker } => Some((dialogue.name(), speaker)),
            Recognition::Undecided | Recognition::Other => None,
        }
    }

    #[test]
    fn every_protocol_is_known_by_its_first_bytes_and_undecided_before() {
        let server = Side::Server;
        for (bytes, protocol, speaker) in [
            (&b"220 ready"[..], None, server),
            (b"+OK ready", Some(UpgradedFrom::Pop3), server),
            (b"* OK ready", Some(UpgradedFrom::Imap), server),
            (b"<?xml version", None, Side::Client),
            (b"CONNECT a:443", Some(UpgradedFrom::HttpConnect), Side::Client),
            (b"PROXY TCP4 1", None, Side::Client),
            (b"\r\n\r\n\0\r\nQUIT\n\x21", None, Side::Client),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Some(UpgradedFrom::Postgres), Side::Client),
            (b"\x4a\0\0\0\x0a8.0.36\0", Some(UpgradedFrom::Mysql), server),
            (MYSQL_REQUEST, Some(UpgradedFrom::Mysql), Side::Client),
            (b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0", Some(UpgradedFrom::Rdp), Side::Client),
            (b"\x30\x0c\x02\x01\x01\x60\x07", Some(UpgradedFrom::Ldap), Side::Client),
            (b"\x05\x02\x00\x02", Some(UpgradedFrom::Socks), Side::Client),
            (b"\x04\x01\x01\xbb\x0a\0\0\x01", Some(UpgradedFrom::Socks), Side::Client),
        ] {
            assert_eq!(name(bytes), Some((protocol, speaker)), "{bytes:?}");
            // One byte of a length says nothing yet.
            for end in 3..bytes.len() {
                let prefix = recognise(&bytes[..end], AT_START);
                assert!(!matches!(prefix, Recognition::Other), "{:?}", &bytes[..end]);
            }
        }
    }

    #[test]
    fn common_traffic_is_other_from_its_first_bytes() {
        for bytes in
            [&b"GET / HTTP/1.1"[..], b"HTTP/1.1 200", b"SSH-2.0", b"POST", b"*1\r\n", b"\x05\x00\x0b\x03"]
        {
            assert!(
                matches!(recognise(&bytes[..2.max(bytes.len() / 2)], AT_START), Recognition::Other),
                "{bytes:?}"
            );
        }
        // A greeting comes first; what answers to something else is none.
        let answers = Circumstances { answers_unknown: true, ..AT_START };
        assert!(matches!(recognise(b"+OK\r\n", answers), Recognition::Other));
    }

    proptest! {
        #[test]
        fn sixteen_bytes_settle_it(bytes in proptest::array::uniform16(any::<u8>())) {
            prop_assert!(!matches!(recognise(&bytes, AT_START), Recognition::Undecided));
        }
    }
}
