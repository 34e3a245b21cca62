//! What the two ends of an attempt know about it: the answer that an observer has to find by itself.

use crate::plan::Side;
use crate::scenario::Scenario;
use rustls::{AlertDescription, CommonState, HandshakeKind, ProtocolVersion};
use serde::Serialize;
use std::net::SocketAddr;

/// Whether the TLS library had to do all of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Course {
    /// One hello each.
    Full,
    /// The server asked for another hello.
    HelloRetry,
    /// A session ticket was used.
    Resumed,
}

/// What was agreed, in the words of the TLS library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// `1.2` or `1.3`.
    pub version: &'static str,
    /// Name of the key exchange group; absent for a TLS 1.2 resumption.
    pub group: Option<String>,
    /// IANA number of the cipher suite.
    pub cipher_suite: u16,
    /// How the handshake went.
    pub course: Course,
}

impl Agreement {
    /// Reads a finished connection; `None` while the handshake is under way.
    pub fn read(connection: &CommonState) -> Option<Self> {
        let course = match connection.handshake_kind()? {
            HandshakeKind::Full => Course::Full,
            HandshakeKind::FullWithHelloRetryRequest => Course::HelloRetry,
            HandshakeKind::Resumed => Course::Resumed,
        };
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_3 => "1.3",
            _ => "1.2",
        };
        let group = connection
            .negotiated_key_exchange_group()
            .and_then(|group| group.name().as_str().map(registry_name));
        let cipher_suite = u16::from(connection.negotiated_cipher_suite()?.suite());
        Some(Self { version, group, cipher_suite, course })
    }
}

/// The library spells groups its own way; observations use IANA's spelling.
fn registry_name(library: &str) -> String {
    match library {
        "X25519" => "x25519".to_owned(),
        other => other.to_owned(),
    }
}

/// How an attempt ended for one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum EndTruth {
    /// The handshake finished and application data went both ways.
    Completed(Agreement),
    /// The handshake did not finish.
    Failed {
        /// What the TLS library or the socket said.
        error: String,
        /// The alert that arrived from the peer, by IANA name.
        alert_received: Option<String>,
        /// What had been agreed before the failure, if anything.
        agreement: Option<Agreement>,
    },
    /// This side never meant to speak TLS.
    Acted {
        /// What it did instead.
        what: &'static str,
    },
}

impl EndTruth {
    /// A failure with what the library or the socket said about it.
    pub fn failed(error: &std::io::Error, agreement: Option<Agreement>) -> Self {
        let library = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let alert_received = match library {
            Some(rustls::Error::AlertReceived(alert)) => Some(alert_name(*alert)),
            _ => None,
        };
        Self::Failed { error: error.to_string(), alert_received, agreement }
    }

    /// What was agreed, where the handshake finished.
    pub fn agreement(&self) -> Option<&Agreement> {
        match self {
            Self::Completed(agreement) => Some(agreement),
            Self::Failed { agreement, .. } => agreement.as_ref(),
            Self::Acted { .. } => None,
        }
    }

    /// Whether this side finished the handshake and exchanged data.
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed(_))
    }
}

/// The IANA name of an alert, such as `handshake_failure`.
pub fn alert_name(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => "unknown_ca".to_owned(),
        AlertDescription::UnknownPSKIdentity => "unknown_psk_identity".to_owned(),
        AlertDescription::UnrecognisedName => "unrecognized_name".to_owned(),
        other => other.as_str().map_or_else(|| format!("{}", u8::from(other)), snake_case),
    }
}

fn snake_case(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len() + 4);
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// One attempt as its two ends know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// What the two ends were told to do.
    pub scenario: Scenario,
    /// The server name in the ClientHello.
    pub server_name: String,
    /// Address and port of the client.
    pub client: SocketAddr,
    /// Address and port of the server.
    pub server: SocketAddr,
    /// How it ended for the client.
    pub client_end: EndTruth,
    /// How it ended for the server; absent when no connection reached it.
    pub server_end: Option<EndTruth>,
}

impl Truth {
    /// Whether both ends finished the handshake and exchanged data.
    pub fn is_completed(&self) -> bool {
        self.client_end.is_completed() && self.server_end.as_ref().is_some_and(EndTruth::is_completed)
    }

    /// The group that both ends agreed on, if both say so.
    pub fn group(&self) -> Option<&str> {
        let client = self.client_end.agreement()?.group.as_deref()?;
        let server = self.server_end.as_ref()?.agreement()?.group.as_deref()?;
        (client == server).then_some(client)
    }

    /// The alert that ended the attempt and who sent it, as the end that received it reports.
    pub fn alert(&self) -> Option<(Side, &str)> {
        if let EndTruth::Failed { alert_received: Some(name), .. } = &self.client_end {
            return Some((Side::Server, name));
        }
        match &self.server_end {
            Some(EndTruth::Failed { alert_received: Some(name), .. }) => Some((Side::Client, name)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_their_registry_names() {
        assert_eq!(alert_name(AlertDescription::HandshakeFailure), "handshake_failure");
        assert_eq!(alert_name(AlertDescription::UnknownCA), "unknown_ca");
        assert_eq!(alert_name(AlertDescription::ProtocolVersion), "protocol_version");
        assert_eq!(alert_name(AlertDescription::Unknown(200)), "200");
    }
}
