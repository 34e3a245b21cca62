//! What one handshake attempt told: the public record, one JSON object per attempt.
//!
//! Plain data, in the order and with the names of the documented format (schema 1). Anything not observed is `None`
//! and reads `null`: never 0, never a guess. Sizes are bytes, durations seconds.

use crate::iana::{
    AlertDescription, CipherSuite, Group, KeyExchangeClass, ProtocolVersion, SignatureScheme, Status,
    best_class,
};
use crate::time::Timestamp;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Version of the record format.
pub const SCHEMA: u32 = 1;

/// One handshake attempt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Observation {
    /// [`SCHEMA`].
    pub schema: u32,
    /// A name unique within the run, made of start and endpoints.
    pub id: String,
    /// Handshake protocol.
    pub protocol: Protocol,
    /// What carried it.
    pub transport: Transport,
    /// First byte of the hello.
    pub start: Timestamp,
    /// The packet or expiry that settled the verdict.
    pub end: Timestamp,
    /// Sender of the hello.
    pub client: Endpoint,
    /// Its peer.
    pub server: Endpoint,
    /// Whose host the capture stands on.
    pub vantage: Option<Vantage>,
    /// Interface that the first packet was seen on.
    pub interface: Option<Arc<str>>,
    /// Encapsulations outside in, such as `vlan:10`.
    pub tunnel: Vec<String>,
    /// Plaintext protocol that was upgraded.
    pub upgraded_from: Option<UpgradedFrom>,
    /// Server name indication (RFC 6066), as the client sent it.
    pub server_name: Option<String>,
    /// What the client offered.
    pub client_hello: ClientHelloFacts,
    /// SSH and IKEv2 only.
    pub server_groups: Option<Vec<String>>,
    /// Set when the server asked for another hello.
    pub hello_retry: Option<HelloRetry>,
    /// Negotiated version.
    pub version: Option<ProtocolVersion>,
    /// Negotiated cipher suite.
    pub cipher_suite: Option<CipherSuite>,
    /// QUIC only.
    pub quic_version: Option<String>,
    /// Selected application protocol, where it can be read (TLS 1.2 and earlier).
    pub alpn: Option<String>,
    /// Negotiated group.
    pub group: Option<GroupFacts>,
    /// Size of the prime of a finite-field exchange in TLS 1.2 and earlier.
    pub dhe_bits: Option<u32>,
    /// How the key was agreed.
    pub key_exchange: Option<KeyExchange>,
    /// What that protects against.
    pub key_exchange_class: Option<KeyExchangeClass>,
    /// Why a completed handshake is not post-quantum.
    pub pq_reason: Option<PqReason>,
    /// The server's certificate chain.
    pub certificates: Option<Certificates>,
    /// The client's.
    pub client_certificates: Option<Certificates>,
    /// The server's CertificateVerify (TLS 1.3).
    pub certificate_verify: Option<CertificateVerify>,
    /// The server's encrypted flight (TLS 1.3).
    pub server_flight: Option<ServerFlight>,
    /// Alerts in the clear.
    pub alerts: Vec<Alert>,
    /// What became of the attempt.
    pub outcome: Outcome,
    /// What the outcome rests on.
    pub outcome_evidence: Evidence,
    /// Why the outcome is not settled.
    pub incomplete_reason: Option<IncompleteReason>,
    /// Why and where it failed.
    pub failure: Option<Failure>,
    /// The failed attempt that this one retries.
    pub fallback_of: Option<String>,
    /// Latencies.
    pub timing: Timing,
    /// Trouble on the path.
    pub path: PathFacts,
    /// What the capture missed.
    pub capture: CaptureFacts,
    /// What a key log revealed.
    pub decrypted: Option<Box<Decrypted>>,
}

impl Observation {
    /// Whether it completed with a hybrid or post-quantum key exchange.
    pub fn is_post_quantum(&self) -> bool {
        let class = matches!(self.key_exchange_class, Some(KeyExchangeClass::Hybrid | KeyExchangeClass::Pq));
        class && self.outcome == Outcome::Completed
    }

    /// The handshake's duration less the round trips that it took on its connection: one, and one for each retry.
    pub fn duration_net(&self) -> Option<Duration> {
        let trips = 1 + u32::from(self.hello_retry.is_some());
        self.timing.client_encrypted?.checked_sub(self.timing.tcp_rtt? * trips)
    }

    /// The best class among the groups that the client listed.
    pub fn offered_class(&self) -> Option<KeyExchangeClass> {
        best_class(self.client_hello.groups.iter().flatten().copied())
    }

    /// Whether the client listed a hybrid or post-quantum group.
    pub fn offers_post_quantum(&self) -> bool {
        matches!(self.offered_class(), Some(KeyExchangeClass::Hybrid | KeyExchangeClass::Pq))
    }
}

/// Handshake protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TLS over TCP.
    Tls,
}

impl Protocol {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
        }
    }
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
}

/// Address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Endpoint {
    /// Innermost address where the packet was encapsulated.
    pub address: IpAddr,
    /// TCP or UDP port.
    pub port: u16,
}

/// `192.0.2.1:443`, `[2001:db8::1]:443`.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::net::SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// Whose host the capture stands on. Two nodes may see one handshake; fleet figures count the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vantage {
    /// The client's address is local, the server's is not.
    Client,
    /// The server's address is local.
    Server,
    /// Neither is.
    Transit,
}

impl Vantage {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Transit => "transit",
        }
    }
}

/// Contents of the first ClientHello. Lists are in the order of the wire without GREASE (RFC 8701), empty when the
/// extension was absent, `None` when they could not be read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClientHelloFacts {
    /// supported_versions, else the legacy version.
    pub versions: Option<Vec<ProtocolVersion>>,
    /// supported_groups.
    pub groups: Option<Vec<Group>>,
    /// Groups of the key shares.
    pub key_shares: Option<Vec<Group>>,
    /// signature_algorithms.
    pub signature_schemes: Option<Vec<SignatureScheme>>,
    /// Application protocols.
    pub alpn: Option<Vec<String>>,
    /// Length of the handshake message without its header of four bytes; `None` while it never completed.
    pub length: Option<u32>,
    /// Records that carried it.
    pub records: Option<u32>,
    /// Distinct pieces that brought new bytes of it.
    pub segments: Option<u32>,
    /// Whether a pre-shared key was offered.
    pub psk_offered: Option<bool>,
    /// Whether early data was announced.
    pub early_data: Option<bool>,
    /// Whether an encrypted hello was there, GREASE ones included.
    pub ech: Option<bool>,
    /// JA4 client fingerprint.
    pub ja4: Option<String>,
    /// What the client asked for beside certificates. Not part of the record: the inventory compares like with like by it.
    #[serde(skip)]
    pub wishes: Option<CertificateWishes>,
}

/// What a client asked for beside the server's certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CertificateWishes {
    /// A stapled OCSP response (RFC 6066 section 8).
    pub ocsp: bool,
    /// Signed certificate timestamps (RFC 6962 section 3.3.1).
    pub timestamps: bool,
    /// Compressed certificates would do (RFC 8879).
    pub compression: bool,
}

/// A HelloRetryRequest (RFC 8446 section 4.1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HelloRetry {
    /// The group asked for; `None` for a retry that only hands out a cookie.
    pub group: Option<Group>,
}

/// A negotiated group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupFacts {
    /// Its number.
    pub id: Group,
    /// The registry's name, or the number again.
    pub name: Cow<'static, str>,
    /// How settled the number is.
    pub status: Status,
}

impl From<Group> for GroupFacts {
    fn from(id: Group) -> Self {
        let name = id.name().map_or_else(|| Cow::Owned(id.to_string()), Cow::Borrowed);
        Self { id, name, status: id.status() }
    }
}

/// How the key was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyExchange {
    /// A fresh exchange under a certificate.
    Ephemeral,
    /// A fresh exchange beside a pre-shared key.
    PskEphemeral,
    /// A pre-shared key alone.
    Psk,
    /// An abbreviated handshake of TLS 1.2 or earlier.
    Resumed,
    /// The client encrypted the secret to the server's RSA key.
    StaticRsa,
    /// A fresh exchange that nothing vouches for.
    Anonymous,
}

impl KeyExchange {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ephemeral => "ephemeral",
            Self::PskEphemeral => "psk_ephemeral",
            Self::Psk => "psk",
            Self::Resumed => "resumed",
            Self::StaticRsa => "static_rsa",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Plaintext protocol that a connection spoke before TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UpgradedFrom {
    /// SMTP and LMTP (RFC 3207).
    Smtp,
    /// IMAP (RFC 9051 section 6.2.1).
    Imap,
    /// POP3 (RFC 2595 section 4).
    Pop3,
    /// FTP (RFC 4217).
    Ftp,
    /// XMPP (RFC 6120 section 5).
    Xmpp,
    /// LDAP (RFC 4511 section 4.14).
    Ldap,
    /// PostgreSQL's SSLRequest.
    Postgres,
    /// MySQL's SSLRequest.
    Mysql,
    /// Remote Desktop: an X.224 connection request with a TLS negotiation.
    Rdp,
    /// An HTTP tunnel (RFC 9110 section 9.3.6).
    HttpConnect,
    /// SOCKS 4, 4a and 5 (RFC 1928).
    Socks,
}

impl UpgradedFrom {
    /// The word of the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Imap => "imap",
            Self::Pop3 => "pop3",
            Self::Ftp => "ftp",
            Self::Xmpp => "xmpp",
            Self::Ldap => "ldap",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Rdp => "rdp",
            Self::HttpConnect => "http_connect",
            Self::Socks => "socks",
        }
    }
}

/// Why a completed handshake is not post-quantum: the first of these that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PqReason {
    /// Resumed, or a pre-shared key alone: no key was exchanged.
    NoKeyExchange,
    /// The client listed no hybrid or post-quantum group.
    NotOffered,
    /// A version before TLS 1.3 was negotiated although the client listed such a group.
    VersionTooOld,
    /// The server asked for another hello with a group that is not post-quantum.
    RetryToClassical,
    /// The client sent a share for such a group, and the server chose another.
    ServerIgnoredShare,
    /// The client listed such a group and sent no share for it, and the server did not ask for one.
    OfferedWithoutShare,
}

impl PqReason {
    /// Why a handshake did not come to a hybrid or post-quantum exchange; `None` where it did, did not complete, or where
    /// what it came to cannot be told.
    pub fn of(seen: &Observation) -> Option<Self> {
        let is_post_quantum =
            |group: &Group| matches!(group.class(), KeyExchangeClass::Hybrid | KeyExchangeClass::Pq);
        if seen.outcome != Outcome::Completed {
            return None;
        }
        match seen.key_exchange_class? {
            KeyExchangeClass::Hybrid | KeyExchangeClass::Pq | KeyExchangeClass::Unknown => return None,
            KeyExchangeClass::None => return Some(Self::NoKeyExchange),
            KeyExchangeClass::Classical => {}
        }
        let groups = seen.client_hello.groups.as_ref()?;
        let retried = seen.hello_retry.and_then(|retry| retry.group);
        // A request for another hello may lie in what the capture missed.
        let may_hide_retry = seen.hello_retry.is_none() && seen.capture.missing_bytes > 0;
        Some(if !groups.iter().any(is_post_quantum) {
            Self::NotOffered
        } else if !seen.version?.is_tls_1_3() {
            Self::VersionTooOld
        } else if retried.is_some_and(|group| !is_post_quantum(&group)) {
            Self::RetryToClassical
        } else if may_hide_retry {
            return None;
        } else if seen.client_hello.key_shares.as_ref()?.iter().any(is_post_quantum) {
            Self::ServerIgnoredShare
        } else {
            Self::OfferedWithoutShare
        })
    }

    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoKeyExchange => "no_key_exchange",
            Self::NotOffered => "not_offered",
            Self::VersionTooOld => "version_too_old",
            Self::RetryToClassical => "retry_to_classical",
            Self::ServerIgnoredShare => "server_ignored_share",
            Self::OfferedWithoutShare => "offered_without_share",
        }
    }
}

/// What a statement rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// Read in the clear.
    Seen,
    /// Concluded from lengths and timing.
    Inferred,
    /// Decrypted with a key log.
    Decrypted,
}

impl Evidence {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Inferred => "inferred",
            Self::Decrypted => "decrypted",
        }
    }
}

/// A certificate chain. The chain's bytes lie in `low..=high`; where the certificates were read, all three are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Certificates {
    /// Number of certificates.
    pub count: Option<usize>,
    /// DER length of each, in order.
    pub lengths: Option<Vec<u32>>,
    /// Their sum.
    pub chain_bytes: Option<u64>,
    /// Length of the Certificate message without its header.
    pub message_bytes: Option<u32>,
    /// What the figures rest on.
    pub evidence: Evidence,
    /// Least that the chain can weigh.
    pub low: Option<u64>,
    /// Most that it can weigh.
    pub high: Option<u64>,
    /// Whether the message was compressed (RFC 8879); `None` where it may have been and cannot be told. Then the bounds hold
    /// for a message that was not.
    pub compressed: Option<bool>,
    /// Facts of the first certificate.
    pub leaf: Option<Box<LeafFacts>>,
}

impl Certificates {
    /// A chain read in the clear.
    pub fn seen(lengths: Vec<u32>, message_bytes: u32) -> Self {
        let chain: u64 = lengths.iter().copied().map(u64::from).sum();
        Self {
            count: Some(lengths.len()),
            lengths: Some(lengths),
            chain_bytes: Some(chain),
            message_bytes: Some(message_bytes),
            evidence: Evidence::Seen,
            low: Some(chain),
            high: Some(chain),
            compressed: Some(false),
            leaf: None,
        }
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        let lengths = self.lengths.as_ref().map_or(0, |lengths| lengths.capacity() * size_of::<u32>());
        lengths + self.leaf.as_ref().map_or(0, |leaf| size_of::<LeafFacts>() + leaf.heap_bytes())
    }
}

/// Facts of a leaf certificate (RFC 5280). They belong into an inventory, never into metric labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeafFacts {
    /// Issuer as RFC 4514 text.
    pub issuer: String,
    /// Subject as RFC 4514 text.
    pub subject: String,
    /// Name of the public key's algorithm, such as `rsa`, `ecdsa_p256`, `ml_dsa_65`; the dotted OID of an unknown one.
    pub key_algorithm: String,
    /// Size of the public key in bits.
    pub key_bits: Option<u32>,
    /// Name of the algorithm that the issuer signed with; the dotted OID of an unknown one.
    pub signature_algorithm: String,
    /// Start of validity, RFC 3339; `None` where the certificate's own text is no time.
    pub not_before: Option<String>,
    /// End of validity, likewise.
    pub not_after: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo, 64 hex digits.
    pub spki_sha256: String,
}

impl LeafFacts {
    /// Heap bytes held.
    fn heap_bytes(&self) -> usize {
        let times = [&self.not_before, &self.not_after].into_iter().flatten();
        let names = [&self.issuer, &self.subject, &self.key_algorithm, &self.signature_algorithm];
        times.chain(names).map(String::capacity).sum::<usize>() + self.spki_sha256.capacity()
    }
}

/// The server's CertificateVerify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateVerify {
    /// Kind of signature.
    pub family: SignatureFamily,
    /// What that rests on.
    pub evidence: Evidence,
}

/// Kinds of signature that their length tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureFamily {
    /// RSA, PKCS #1 v1.5 or PSS, of any size.
    Rsa,
    /// ECDSA over P-256.
    EcdsaP256,
    /// ECDSA over P-384.
    EcdsaP384,
    /// ECDSA over P-521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
    /// Ed448.
    Ed448,
    /// ML-DSA-44 (FIPS 204).
    #[serde(rename = "ml_dsa_44")]
    MlDsa44,
    /// ML-DSA-65.
    #[serde(rename = "ml_dsa_65")]
    MlDsa65,
    /// ML-DSA-87.
    #[serde(rename = "ml_dsa_87")]
    MlDsa87,
    /// SLH-DSA (FIPS 205) of any parameter set.
    SlhDsa,
    /// There was a signature; which one the evidence does not carry.
    Unknown,
}

impl SignatureFamily {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::EcdsaP256 => "ecdsa_p256",
            Self::EcdsaP384 => "ecdsa_p384",
            Self::EcdsaP521 => "ecdsa_p521",
            Self::Ed25519 => "ed25519",
            Self::Ed448 => "ed448",
            Self::MlDsa44 => "ml_dsa_44",
            Self::MlDsa65 => "ml_dsa_65",
            Self::MlDsa87 => "ml_dsa_87",
            Self::SlhDsa => "slh_dsa",
            Self::Unknown => "unknown",
        }
    }
}

/// What a key log revealed of a TLS 1.3 handshake. Application data is never decrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Decrypted {
    /// The server's encrypted handshake messages up to its Finished.
    pub server_messages: Vec<MessageFacts>,
    /// The client's.
    pub client_messages: Vec<MessageFacts>,
    /// The server's CertificateVerify.
    pub certificate_verify: Option<SignatureFacts>,
    /// The client's.
    pub client_certificate_verify: Option<SignatureFacts>,
    /// Application protocol that the server selected.
    pub alpn: Option<String>,
    /// Alerts under the handshake keys.
    pub alerts: Vec<Alert>,
}

/// Type and length of a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MessageFacts {
    /// IANA number of the handshake type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// Bytes of the body, without the header of four bytes.
    pub length: u32,
}

/// A signature in a CertificateVerify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SignatureFacts {
    /// Its scheme.
    pub scheme: SignatureScheme,
    /// Bytes of the signature.
    pub length: u16,
}

/// The server's encrypted records between its ServerHello and the client's first encrypted record (TLS 1.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServerFlight {
    /// Length fields in order, at most [`ServerFlight::MAX_RECORDS`].
    pub records: Vec<u16>,
    /// Sum of all, also of those beyond the bound.
    pub bytes: u64,
}

impl ServerFlight {
    /// Records that are listed one by one.
    pub const MAX_RECORDS: usize = 64;
}

/// Which side of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Sender of the ClientHello.
    Client,
    /// Its peer.
    Server,
}

impl Side {
    /// The other side.
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// An alert in the clear (RFC 8446 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Who sent it.
    pub sender: Side,
    /// 1 warning, 2 fatal; other values as they were sent.
    pub level: u8,
    /// Its description.
    pub description: AlertDescription,
}

impl Serialize for Alert {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut alert = serializer.serialize_struct("Alert", 4)?;
        alert.serialize_field("sender", &self.sender)?;
        alert.serialize_field("level", &self.level)?;
        alert.serialize_field("description", &self.description.0)?;
        alert.serialize_field("name", &self.description.name())?;
        alert.end()
    }
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Positive evidence that both sides finished.
    Completed,
    /// Positive evidence that it did not come about.
    Failed,
    /// The capture does not settle it.
    Incomplete,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Incomplete];

    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Incomplete => "incomplete",
        }
    }
}

/// Why a capture does not settle an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncompleteReason {
    /// The hello was sent before the capture began.
    BeganLate,
    /// The capture ended, or the agent stopped, before the attempt did.
    EndedEarly,
    /// Bytes that the verdict rests on are not in the capture.
    Gap,
    /// Packets of one side only were seen.
    OneSided,
    /// Packets were cut by the snapshot length.
    Truncated,
    /// Dropped to stay within the memory bound.
    Evicted,
    /// Two verdicts fit what was seen.
    Ambiguous,
}

impl IncompleteReason {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BeganLate => "began_late",
            Self::EndedEarly => "ended_early",
            Self::Gap => "gap",
            Self::OneSided => "one_sided",
            Self::Truncated => "truncated",
            Self::Evicted => "evicted",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The cause, of a closed set.
    pub cause: FailureCause,
    /// Last message before the end.
    pub after: Phase,
    /// Who ended it.
    pub by: Party,
    /// What the cause rests on.
    pub evidence: Evidence,
}

/// The closed set of failure causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureCause {
    /// An alert in the clear.
    Alert(AlertDescription),
    /// A record of an alert's size in place of a flight, followed by close or silence.
    EncryptedAlert,
    /// TCP reset.
    Reset,
    /// TCP close.
    Closed,
    /// Silence.
    Timeout,
    /// A hello over one segment that was sent again and never fully acknowledged or answered.
    HelloBlackhole,
    /// A router said that a packet of this connection was too big, and the attempt ended for want of an answer.
    PathMtu,
    /// The server declined to go over to TLS.
    UpgradeRefused,
    /// The answer was none of TLS.
    NotTls,
    /// TLS whose fields contradict each other.
    Malformed,
}

impl FailureCause {
    /// The word of the record and of the `error.type` attribute.
    pub fn as_str(self) -> Cow<'static, str> {
        match self {
            Self::Alert(description) => match description.name() {
                Some(name) => Cow::Owned(format!("alert_{name}")),
                None => Cow::Borrowed("alert_other"),
            },
            Self::EncryptedAlert => Cow::Borrowed("encrypted_alert"),
            Self::Reset => Cow::Borrowed("reset"),
            Self::Closed => Cow::Borrowed("closed"),
            Self::Timeout => Cow::Borrowed("timeout"),
            Self::HelloBlackhole => Cow::Borrowed("hello_blackhole"),
            Self::PathMtu => Cow::Borrowed("path_mtu"),
            Self::UpgradeRefused => Cow::Borrowed("upgrade_refused"),
            Self::NotTls => Cow::Borrowed("not_tls"),
            Self::Malformed => Cow::Borrowed("malformed"),
        }
    }
}

impl Serialize for FailureCause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.as_str())
    }
}

/// How far an attempt had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The first hello had begun.
    Start,
    /// The first hello was whole.
    ClientHello,
    /// The server had asked for another hello.
    HelloRetry,
    /// The server had chosen.
    ServerHello,
    /// The server had sent more than its hello.
    ServerFlight,
    /// The client had answered that.
    ClientFlight,
}

impl Phase {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::ClientHello => "client_hello",
            Self::HelloRetry => "hello_retry",
            Self::ServerHello => "server_hello",
            Self::ServerFlight => "server_flight",
            Self::ClientFlight => "client_flight",
        }
    }
}

/// Who ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// The client.
    Client,
    /// The server.
    Server,
    /// Neither: something between them.
    Path,
}

impl Party {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Path => "path",
        }
    }
}

impl From<Side> for Party {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Server => Self::Server,
        }
    }
}

/// Latencies in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Timing {
    /// Last SYN before the SYN-ACK to the client's ACK.
    #[serde(serialize_with = "seconds")]
    pub tcp_rtt: Option<Duration>,
    /// First hello complete to the retry request.
    #[serde(serialize_with = "seconds")]
    pub hello_retry: Option<Duration>,
    /// Last needed packet of the first hello to the first byte of the final ServerHello.
    #[serde(serialize_with = "seconds")]
    pub server_hello: Option<Duration>,
    /// First byte of the first hello to the client's first encrypted record after the ServerHello.
    #[serde(serialize_with = "seconds")]
    pub client_encrypted: Option<Duration>,
}

/// Trouble on the path while the attempt lasted, from the connection's own packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PathFacts {
    /// Segments sent again. A copy that the capture made is none.
    pub retransmissions: u32,
    /// Segments that came after later bytes of their direction.
    pub out_of_order: u32,
    /// Packets that the capture holds twice.
    pub duplicates: u32,
    /// ICMP "fragmentation needed" and ICMPv6 "packet too big" messages that quote this connection.
    pub too_big: u32,
    /// Maximum segment size that the server announced.
    pub mss: Option<u16>,
    /// Whether the server's flight was larger than ten segments (RFC 6928); `None` where it was not seen whole.
    pub over_initial_window: Option<bool>,
    /// Bytes of the server's first flight: from its ServerHello to the client's answer; `None` where it was not seen whole.
    pub flight_bytes: Option<u64>,
    /// Distinct pieces of the TCP stream that brought them.
    pub flight_segments: Option<u32>,
}

fn seconds<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => serializer.serialize_f64(duration.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}

/// What the capture missed of the connection while the attempt lasted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CaptureFacts {
    /// Bytes of the handshake that were sent and are not in the capture.
    pub missing_bytes: u64,
    /// Whether packets were cut by the snapshot length.
    pub truncated: bool,
    /// The only side whose packets were seen.
    pub one_sided: Option<Side>,
}

/// Records for the tests of other rooms.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A completed handshake with nothing remarkable about it.
    pub(crate) fn observation() -> Observation {
        let at = |seconds: u64| Timestamp::from_nanos(seconds * 1_000_000_000);
        let group = Group(0x1d);
        let endpoint = |last, port| Endpoint { address: IpAddr::from([192, 0, 2, last]), port };
        Observation {
            schema: SCHEMA,
            id: String::new(),
            protocol: Protocol::Tls,
            transport: Transport::Tcp,
            start: at(1),
            end: at(2),
            client: endpoint(1, 40_000),
            server: endpoint(2, 443),
            vantage: Some(Vantage::Server),
            interface: None,
            tunnel: Vec::new(),
            upgraded_from: None,
            server_name: None,
            client_hello: ClientHelloFacts { groups: Some(vec![group]), ..ClientHelloFacts::default() },
            server_groups: None,
            hello_retry: None,
            version: None,
            cipher_suite: None,
            quic_version: None,
            alpn: None,
            group: Some(GroupFacts::from(group)),
            dhe_bits: None,
            key_exchange: None,
            key_exchange_class: Some(group.class()),
            pq_reason: None,
            certificates: None,
            client_certificates: None,
            certificate_verify: None,
            server_flight: None,
            alerts: Vec::new(),
            outcome: Outcome::Completed,
            outcome_evidence: Evidence::Inferred,
            incomplete_reason: None,
            failure: None,
            fallback_of: None,
            timing: Timing { client_encrypted: Some(Duration::from_millis(20)), ..Timing::default() },
            path: PathFacts::default(),
            capture: CaptureFacts::default(),
            decrypted: None,
        }
    }
}
