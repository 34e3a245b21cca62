//! The situations that the lab can make, by name.

use crate::plan::{ClientAuthentication, Group, HandshakePlan, Offer, Version};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// One situation between a client and a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scenario {
    /// Both ends prefer X25519MLKEM768, TLS 1.3.
    Hybrid,
    /// The client knows only X25519, TLS 1.3.
    X25519,
    /// The client knows only P-256, TLS 1.3.
    P256,
    /// The client offers a hybrid and X25519, the server only knows X25519: completed, but classical.
    ClassicalServer,
    /// The client's first share is X25519; the server insists on X25519MLKEM768 and asks again.
    HelloRetryToHybrid,
    /// The client's first share is X25519MLKEM768; the server only knows P-256 and asks again.
    HelloRetryToClassical,
    /// TLS 1.2 with an ephemeral elliptic curve.
    Tls12,
    /// TLS 1.3 with the session ticket of an earlier handshake (the first attempt of a service has none and is full).
    Resumed,
    /// TLS 1.2 with the session ticket of an earlier handshake (likewise).
    Tls12Resumed,
    /// The client offers a hybrid, the server only speaks TLS 1.2: classical at first, then resumed by ticket.
    DowngradedResumed,
    /// TLS 1.3 where the client shows a certificate that the server trusts.
    ClientCertificate,
    /// The client insists on a hybrid, the server only knows P-256: alert `handshake_failure` by the server.
    NoSharedGroup,
    /// The client only speaks TLS 1.2, the server only 1.3: alert `protocol_version` by the server.
    NoSharedVersion,
    /// The client does not trust the server's certificate: an encrypted alert in TLS 1.3.
    UnknownCa,
    /// The same in TLS 1.2, where the alert is in the clear.
    Tls12UnknownCa,
    /// The server does not trust the client's certificate: the client believes that the handshake finished.
    RefusedClientCertificate,
    /// The client resets the connection after its hello.
    ClientResets,
    /// The client closes the connection after its hello.
    ClientCloses,
    /// The server resets the connection after the hello.
    ServerResets,
    /// The server closes the connection after the hello.
    ServerCloses,
    /// The server accepts and reads, and never answers; the client gives up in the end.
    SilentServer,
    /// The server answers the hello with a line of HTTP.
    NotTls,
}

/// A name that is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown scenario `{0}`; known are: {known}", known = Scenario::names())]
pub struct UnknownScenario(String);

/// How the server behaves once it has accepted a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerBehaviour {
    /// Speaks TLS.
    Tls,
    /// Reads the hello, then resets the connection.
    Reset,
    /// Reads the hello, then closes the connection.
    Close,
    /// Reads until the client has had enough.
    Silent,
    /// Answers with plain text.
    PlainText,
}

/// How the client behaves once it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientBehaviour {
    /// Speaks TLS to the end.
    Tls,
    /// Resets the connection after its hello.
    Reset,
    /// Closes the connection after its hello.
    Close,
}

impl Scenario {
    /// Every scenario.
    pub const ALL: [Self; 22] = [
        Self::Hybrid,
        Self::X25519,
        Self::P256,
        Self::ClassicalServer,
        Self::HelloRetryToHybrid,
        Self::HelloRetryToClassical,
        Self::Tls12,
        Self::Resumed,
        Self::Tls12Resumed,
        Self::DowngradedResumed,
        Self::ClientCertificate,
        Self::NoSharedGroup,
        Self::NoSharedVersion,
        Self::UnknownCa,
        Self::Tls12UnknownCa,
        Self::RefusedClientCertificate,
        Self::ClientResets,
        Self::ClientCloses,
        Self::ServerResets,
        Self::ServerCloses,
        Self::SilentServer,
        Self::NotTls,
    ];

    /// The name on the command line and in truth lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::X25519 => "x25519",
            Self::P256 => "p256",
            Self::ClassicalServer => "classical_server",
            Self::HelloRetryToHybrid => "hello_retry_to_hybrid",
            Self::HelloRetryToClassical => "hello_retry_to_classical",
            Self::Tls12 => "tls12",
            Self::Resumed => "resumed",
            Self::Tls12Resumed => "tls12_resumed",
            Self::DowngradedResumed => "downgraded_resumed",
            Self::ClientCertificate => "client_certificate",
            Self::NoSharedGroup => "no_shared_group",
            Self::NoSharedVersion => "no_shared_version",
            Self::UnknownCa => "unknown_ca",
            Self::Tls12UnknownCa => "tls12_unknown_ca",
            Self::RefusedClientCertificate => "refused_client_certificate",
            Self::ClientResets => "client_resets",
            Self::ClientCloses => "client_closes",
            Self::ServerResets => "server_resets",
            Self::ServerCloses => "server_closes",
            Self::SilentServer => "silent_server",
            Self::NotTls => "not_tls",
        }
    }

    /// All names, separated by commas, for messages and help.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Whether the two ends are meant to finish the handshake.
    pub fn is_meant_to_complete(self) -> bool {
        self.server_behaviour() == ServerBehaviour::Tls
            && self.client_behaviour() == ClientBehaviour::Tls
            && !matches!(
                self,
                Self::NoSharedGroup
                    | Self::NoSharedVersion
                    | Self::UnknownCa
                    | Self::Tls12UnknownCa
                    | Self::RefusedClientCertificate
            )
    }

    /// The failure causes that an observer may name, as `failure.cause` of observations; empty when the handshake is
    /// meant to complete. The first one is the most exact, the others are what less knowledge allows.
    pub fn causes(self) -> &'static [&'static str] {
        match self {
            Self::NoSharedGroup => &["alert_handshake_failure"],
            Self::NoSharedVersion => &["alert_protocol_version"],
            Self::UnknownCa => &["encrypted_alert", "closed"],
            Self::Tls12UnknownCa => &["alert_unknown_ca"],
            Self::RefusedClientCertificate => &["encrypted_alert"],
            Self::ClientResets | Self::ServerResets => &["reset"],
            Self::ClientCloses | Self::ServerCloses => &["closed"],
            Self::SilentServer => &["timeout"],
            Self::NotTls => &["not_tls"],
            _ => &[],
        }
    }

    /// What the two ends are told to negotiate.
    pub fn plan(self) -> HandshakePlan {
        use Group::{Secp256r1, X25519, X25519MlKem768};
        let every = Offer::of(&[X25519MlKem768, X25519, Secp256r1]);
        let (client, server) = match self {
            Self::X25519 => (Offer::of(&[X25519]), every),
            Self::P256 => (Offer::of(&[Secp256r1]), every),
            Self::ClassicalServer => (every, Offer::of(&[X25519])),
            Self::DowngradedResumed => (every.clone(), every.only(Version::Tls12)),
            Self::HelloRetryToHybrid => {
                (Offer::of(&[X25519, X25519MlKem768]), Offer::of(&[X25519MlKem768]).only(Version::Tls13))
            }
            Self::HelloRetryToClassical => {
                (Offer::of(&[X25519MlKem768, Secp256r1]), Offer::of(&[Secp256r1]).only(Version::Tls13))
            }
            Self::NoSharedGroup => (
                Offer::of(&[X25519MlKem768]).only(Version::Tls13),
                Offer::of(&[Secp256r1]).only(Version::Tls13),
            ),
            Self::NoSharedVersion => {
                (Offer::of(&[X25519]).only(Version::Tls12), Offer::of(&[X25519]).only(Version::Tls13))
            }
            Self::Tls12 | Self::Tls12Resumed | Self::Tls12UnknownCa => {
                (Offer::of(&[X25519, Secp256r1]).only(Version::Tls12), every)
            }
            _ => (every.clone(), every),
        };
        let mut plan = HandshakePlan::between(client, server);
        plan.resumption = matches!(self, Self::Resumed | Self::Tls12Resumed | Self::DowngradedResumed);
        plan.server_trusted = !matches!(self, Self::UnknownCa | Self::Tls12UnknownCa);
        plan.client_authentication = match self {
            Self::ClientCertificate => ClientAuthentication::Trusted,
            Self::RefusedClientCertificate => ClientAuthentication::Refused,
            _ => ClientAuthentication::NotAsked,
        };
        plan
    }

    pub(crate) fn server_behaviour(self) -> ServerBehaviour {
        match self {
            Self::ServerResets => ServerBehaviour::Reset,
            Self::ServerCloses => ServerBehaviour::Close,
            Self::SilentServer | Self::ClientResets | Self::ClientCloses => ServerBehaviour::Silent,
            Self::NotTls => ServerBehaviour::PlainText,
            _ => ServerBehaviour::Tls,
        }
    }

    pub(crate) fn client_behaviour(self) -> ClientBehaviour {
        match self {
            Self::ClientResets => ClientBehaviour::Reset,
            Self::ClientCloses => ClientBehaviour::Close,
            _ => ClientBehaviour::Tls,
        }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = text.trim().replace('-', "_");
        Self::ALL
            .into_iter()
            .find(|scenario| scenario.name() == wanted)
            .ok_or_else(|| UnknownScenario(text.trim().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse(), Ok(scenario));
            assert_eq!(serde_json::to_value(scenario).unwrap(), scenario.name());
        }
        let message = "hybird".parse::<Scenario>().unwrap_err().to_string();
        assert!(message.contains("hybird") && message.contains("no_shared_group"), "{message}");
    }

    #[test]
    fn what_is_meant_to_fail_has_a_cause() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.causes().is_empty(), scenario.is_meant_to_complete(), "{scenario}");
        }
    }
}
