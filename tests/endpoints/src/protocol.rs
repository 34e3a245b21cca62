//! What the lab and a driver say to each other: one JSON object a line, commands to the driver's standard input, answers from
//! its standard output. Every stack is behind a driver, in whatever language it is at home (README, "Drivers").

use serde::{Deserialize, Serialize};

/// One command. Fields that a command does not need are left at their default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Command {
    /// Repeated in the answer; for `serve` also the name that `stop` uses.
    pub(crate) id: u32,
    /// `serve`, `connect` or `stop`.
    #[serde(rename = "do")]
    pub(crate) deed: String,
    /// Address and port to listen on (port 0) or to connect to.
    pub(crate) address: String,
    /// Server name that the client asks for and checks.
    pub(crate) name: String,
    /// PEM file with the own chain, leaf first; empty for none.
    pub(crate) chain: String,
    /// PEM file with the own key.
    pub(crate) key: String,
    /// PEM file with the roots that the peer has to come from. A server with it demands a certificate.
    pub(crate) trust: String,
    /// Groups in order of preference; empty for the stack's own.
    pub(crate) groups: Vec<u16>,
    /// Lowest version.
    pub(crate) minimum: u16,
    /// Highest version.
    pub(crate) maximum: u16,
    /// Cipher suites; empty for the stack's own.
    pub(crate) suites: Vec<u16>,
    /// Application protocols.
    pub(crate) alpn: Vec<String>,
    /// File that secrets are appended to, in the format of SSLKEYLOGFILE.
    pub(crate) keylog: String,
    /// Client: name of a slot to keep the session in and to resume from; empty for none.
    pub(crate) session: String,
    /// Server: whether it hands out tickets.
    pub(crate) tickets: bool,
    /// Whether certificates may be compressed (RFC 8879).
    pub(crate) compress: bool,
    /// Whether early data is sent, or taken.
    pub(crate) early: bool,
    /// Server: DER file with the OCSP response to staple. Client: not empty to ask for one.
    pub(crate) ocsp: String,
    /// Odd behaviour of the stack `raw`, or of a client that gives up half-way.
    pub(crate) manner: String,
    /// `stop`: the `id` of the `serve`.
    pub(crate) serve: u32,
    /// `serve`: how many connections are going to come.
    pub(crate) expect: usize,
    /// Client: when to give up, in milliseconds; 0 for the driver's own bound.
    pub(crate) patience_ms: u64,
}

/// What one end says about one connection. What its library does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Report {
    /// The client's port, on both sides.
    pub(crate) port: u16,
    /// Whether the handshake was over in this end's eyes.
    pub(crate) done: bool,
    /// Whether the request was answered after it.
    pub(crate) served: bool,
    /// Negotiated version.
    pub(crate) version: Option<u16>,
    /// Negotiated cipher suite.
    pub(crate) suite: Option<u16>,
    /// Negotiated group.
    pub(crate) group: Option<u16>,
    /// Whether a session was resumed.
    pub(crate) resumed: Option<bool>,
    /// Whether there was a HelloRetryRequest.
    pub(crate) retry: Option<bool>,
    /// Selected application protocol; empty for none.
    pub(crate) alpn: String,
    /// DER lengths of the peer's certificates.
    pub(crate) peer: Option<Vec<u32>>,
    /// Alert that this end sent.
    pub(crate) alert_sent: Option<u8>,
    /// Alert that this end received.
    pub(crate) alert_received: Option<u8>,
    /// The library's words when something went wrong.
    pub(crate) error: String,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    /// Of the command.
    pub(crate) id: u32,
    /// `serve`: the port.
    pub(crate) port: u16,
    /// `connect`: what the client says.
    pub(crate) report: Option<Report>,
    /// `stop`: what the server says, one report per connection that it can tell of.
    pub(crate) reports: Vec<Report>,
    /// Why the command could not be carried out.
    pub(crate) error: String,
}
