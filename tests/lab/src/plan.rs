//! What the two ends of a handshake are told to do. Plain data; nothing here speaks TLS.

use serde::Serialize;

/// A key exchange group that the TLS library can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Group {
    /// X25519 combined with ML-KEM-768, number 0x11ec.
    #[serde(rename = "X25519MLKEM768")]
    X25519MlKem768,
    /// Curve25519, number 0x001d.
    #[serde(rename = "x25519")]
    X25519,
    /// NIST P-256, number 0x0017.
    #[serde(rename = "secp256r1")]
    Secp256r1,
    /// NIST P-384, number 0x0018.
    #[serde(rename = "secp384r1")]
    Secp384r1,
}

impl Group {
    /// Every group, strongest against a quantum computer first.
    pub const ALL: [Self; 4] = [Self::X25519MlKem768, Self::X25519, Self::Secp256r1, Self::Secp384r1];

    /// The number in IANA's registry "TLS Supported Groups".
    pub fn number(self) -> u16 {
        match self {
            Self::X25519MlKem768 => 0x11ec,
            Self::X25519 => 0x001d,
            Self::Secp256r1 => 0x0017,
            Self::Secp384r1 => 0x0018,
        }
    }

    /// The name in the same registry.
    pub fn name(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "X25519MLKEM768",
            Self::X25519 => "x25519",
            Self::Secp256r1 => "secp256r1",
            Self::Secp384r1 => "secp384r1",
        }
    }

    /// `hybrid` or `classical`, as observations class it.
    pub fn class(self) -> &'static str {
        match self {
            Self::X25519MlKem768 => "hybrid",
            Self::X25519 | Self::Secp256r1 | Self::Secp384r1 => "classical",
        }
    }
}

/// A protocol version that the TLS library can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Version {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The end that sends the ClientHello.
    Client,
    /// The end that answers.
    Server,
}

impl Side {
    /// The end at the other side of the wire.
    pub fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// What one end may negotiate, best first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// Versions, in any order; the TLS library always prefers the highest.
    pub versions: Vec<Version>,
    /// Groups in order of preference. A client sends a key share for the first one, and where that is a hybrid also
    /// for the classical group inside it if that is listed.
    pub groups: Vec<Group>,
}

impl Offer {
    /// Both versions with these groups.
    pub fn of(groups: &[Group]) -> Self {
        Self { versions: vec![Version::Tls13, Version::Tls12], groups: groups.to_vec() }
    }

    /// The same with only this version.
    #[must_use]
    pub fn only(self, version: Version) -> Self {
        Self { versions: vec![version], ..self }
    }
}

/// How the client authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAuthentication {
    /// The server does not ask.
    NotAsked,
    /// The server asks and trusts the client's certificate.
    Trusted,
    /// The server asks and does not trust what it gets.
    Refused,
}

/// Everything that decides how a handshake between our two ends goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HandshakePlan {
    /// The client's side.
    pub client: Offer,
    /// The server's side.
    pub server: Offer,
    /// Whether the client knows the authority that signed the server's certificate.
    pub server_trusted: bool,
    /// How the client authenticates.
    pub client_authentication: ClientAuthentication,
    /// Whether the client keeps and uses session tickets.
    pub resumption: bool,
    /// Certificates between leaf and authority in the server's chain; each adds about 450 bytes.
    pub intermediates: usize,
    /// Application protocols that both ends name (ALPN); empty for none.
    pub application_protocols: Vec<String>,
    /// The only cipher suite that both ends know, by its IANA number; the library's own choice without.
    pub cipher_suite: Option<u16>,
}

impl HandshakePlan {
    /// A plain handshake between these two ends: trusted server, no client certificate, no resumption.
    pub fn between(client: Offer, server: Offer) -> Self {
        Self {
            client,
            server,
            server_trusted: true,
            client_authentication: ClientAuthentication::NotAsked,
            resumption: false,
            intermediates: 0,
            application_protocols: vec!["http/1.1".to_owned()],
            cipher_suite: None,
        }
    }
}
