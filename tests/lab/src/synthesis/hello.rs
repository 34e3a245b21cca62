//! ClientHello, ServerHello and HelloRetryRequest by hand.

use super::{content, filler, message, record, record_of_version};

/// The server name in a hello that is not told otherwise.
pub(super) const NAME: &str = "service.example";

/// SHA-256 of "HelloRetryRequest": the random by which a retry is told (RFC 8446, section 4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// A list of numbers with its length in `prefix` bytes before it.
pub fn numbers(prefix: usize, list: &[u16]) -> Vec<u8> {
    prefixed(prefix, &list.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>())
}

/// The body of key_share in a ClientHello: groups, each with the length of its share.
pub fn key_shares(shares: &[(u16, usize)]) -> Vec<u8> {
    let list: Vec<u8> = shares
        .iter()
        .flat_map(|(group, length)| [&group.to_be_bytes()[..], &prefixed(2, &filler(*length))].concat())
        .collect();
    prefixed(2, &list)
}

/// The body of server_name.
pub fn server_name(name: &str) -> Vec<u8> {
    prefixed(2, &[&[0][..], &prefixed(2, name.as_bytes())].concat())
}

/// The body of application_layer_protocol_negotiation.
pub fn protocols(names: &[&[u8]]) -> Vec<u8> {
    prefixed(2, &names.iter().flat_map(|name| prefixed(1, name)).collect::<Vec<u8>>())
}

fn prefixed(prefix: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [length.get(4 - prefix.min(4)..).unwrap_or_default(), bytes].concat()
}

fn extension_list(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let list: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, body)| [&kind.to_be_bytes()[..], &prefixed(2, body)].concat())
        .collect();
    prefixed(2, &list)
}

/// A ClientHello to be changed and then written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// Version in the record header.
    pub record_version: u16,
    /// The version that TLS 1.3 left where it was.
    pub legacy_version: u16,
    /// Session id, at most 32 bytes.
    pub session_id: Vec<u8>,
    /// Cipher suites.
    pub suites: Vec<u16>,
    /// Extensions in order; `None` leaves the whole block out.
    pub extensions: Option<Vec<(u16, Vec<u8>)>>,
}

impl ClientHello {
    /// TLS 1.3 and 1.2; X25519MLKEM768 and x25519 with a share for each.
    pub fn tls13() -> Self {
        Self {
            record_version: 0x0301,
            legacy_version: 0x0303,
            session_id: filler(32),
            suites: vec![0x1301, 0x1302, 0xc02f],
            extensions: Some(vec![
                (0, server_name(NAME)),
                (10, numbers(2, &[0x11ec, 0x001d])),
                (13, numbers(2, &[0x0403, 0x0804])),
                (43, numbers(1, &[0x0304, 0x0303])),
                (51, key_shares(&[(0x11ec, 1216), (0x001d, 32)])),
            ]),
        }
    }

    /// TLS 1.2 with x25519 and P-256.
    pub fn tls12() -> Self {
        Self {
            session_id: Vec::new(),
            suites: vec![0xc02f, 0x009e, 0x002f],
            extensions: Some(vec![
                (0, server_name(NAME)),
                (10, numbers(2, &[0x001d, 0x0017])),
                (13, numbers(2, &[0x0403, 0x0804])),
            ]),
            ..Self::tls13()
        }
    }

    /// The same with this extension, in the place of one of the same type or at the end.
    #[must_use]
    pub fn with(mut self, kind: u16, body: Vec<u8>) -> Self {
        let extensions = self.extensions.get_or_insert_default();
        match extensions.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, known)) => *known = body,
            None => extensions.push((kind, body)),
        }
        self
    }

    /// The same without the extension of this type.
    #[must_use]
    pub fn without(mut self, kind: u16) -> Self {
        self.extensions.get_or_insert_default().retain(|(known, _)| *known != kind);
        self
    }

    /// The handshake message.
    pub fn message(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend(filler(32));
        body.extend(prefixed(1, &self.session_id));
        body.extend(numbers(2, &self.suites));
        body.extend([1, 0]);
        if let Some(extensions) = &self.extensions {
            body.extend(extension_list(extensions));
        }
        message(1, &body)
    }

    /// The message in one record.
    pub fn record(&self) -> Vec<u8> {
        record_of_version(self.record_version, content::HANDSHAKE, &self.message())
    }
}

/// A ServerHello or HelloRetryRequest to be changed and then written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerHello {
    /// The version that TLS 1.3 left where it was.
    pub legacy_version: u16,
    /// The random.
    pub random: [u8; 32],
    /// Session id, at most 32 bytes.
    pub session_id: Vec<u8>,
    /// Chosen suite.
    pub suite: u16,
    /// Extensions in order.
    pub extensions: Vec<(u16, Vec<u8>)>,
}

impl ServerHello {
    /// TLS 1.3, TLS_AES_128_GCM_SHA256, a share of this group.
    pub fn tls13(group: u16) -> Self {
        // As long as the group's shares are; of other groups any length will do.
        let length = match group {
            0x0017 => 65,
            0x11ec => 1120,
            _ => 32,
        };
        let share = [&group.to_be_bytes()[..], &prefixed(2, &filler(length))].concat();
        Self {
            legacy_version: 0x0303,
            random: [7; 32],
            session_id: filler(32),
            suite: 0x1301,
            extensions: vec![(43, vec![3, 4]), (51, share)],
        }
    }

    /// A HelloRetryRequest that asks for this group, or only hands out a cookie.
    pub fn retry(group: Option<u16>) -> Self {
        let wish = match group {
            Some(group) => (51, group.to_be_bytes().to_vec()),
            None => (44, prefixed(2, &filler(20))),
        };
        Self { random: RETRY_RANDOM, extensions: vec![(43, vec![3, 4]), wish], ..Self::tls13(0) }
    }

    /// TLS 1.2 with this suite and a new session.
    pub fn tls12(suite: u16) -> Self {
        Self { suite, session_id: vec![9; 32], extensions: Vec::new(), ..Self::tls13(0) }
    }

    /// The same with one more extension.
    #[must_use]
    pub fn with(mut self, kind: u16, body: Vec<u8>) -> Self {
        self.extensions.push((kind, body));
        self
    }

    /// The handshake message.
    pub fn message(&self) -> Vec<u8> {
        let mut body = self.legacy_version.to_be_bytes().to_vec();
        body.extend(self.random);
        body.extend(prefixed(1, &self.session_id));
        body.extend(self.suite.to_be_bytes());
        body.push(0);
        body.extend(extension_list(&self.extensions));
        message(2, &body)
    }

    /// The message in one record.
    pub fn record(&self) -> Vec<u8> {
        record(content::HANDSHAKE, &self.message())
    }
}
