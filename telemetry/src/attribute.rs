//! Attribute keys.

/// `tls`, `quic`, `dtls`, `ssh` or `ikev2`.
pub const PROTOCOL: &str = "network.protocol.name";
/// `1.0` to `1.3`; `unknown` when no server answer was read.
pub const TLS_VERSION: &str = "tls.protocol.version";
/// Server name indication, or the name that the services file gives; bounded.
pub const SERVER_ADDRESS: &str = "server.address";
/// TCP or UDP port of the server.
pub const SERVER_PORT: &str = "server.port";
/// Cause of a failure, one of the closed set of the observation record; absent on success.
pub const ERROR_TYPE: &str = "error.type";
/// `completed`, `failed` or `incomplete`.
pub const OUTCOME: &str = "pqscope.outcome";
/// Last message before a failure.
pub const FAILURE_AFTER: &str = "pqscope.failure.after";
/// Who ended a failed attempt: `client`, `server` or `path`.
pub const FAILURE_BY: &str = "pqscope.failure.by";
/// Whether the server asked for another hello: `true` or `false`.
pub const HELLO_RETRY: &str = "pqscope.hello_retry";
/// IANA name of the negotiated group, `0xNNNN` when no table names it.
pub const GROUP_NAME: &str = "pqscope.group.name";
/// The number of the negotiated group, four hex digits.
pub const GROUP_ID: &str = "pqscope.group.id";
/// `hybrid`, `pq`, `classical`, `none` or `unknown`.
pub const GROUP_CLASS: &str = "pqscope.group.class";
/// The best class among the groups that the client listed.
pub const OFFERED_CLASS: &str = "pqscope.offered.class";
/// How the key was agreed: `ephemeral`, `psk_ephemeral`, `psk`, `resumed`, `static_rsa` or `anonymous`.
pub const KEY_EXCHANGE: &str = "pqscope.key_exchange";
/// Service of the services file that the server belongs to.
pub const SERVICE: &str = "pqscope.service";
/// Deployment (rollout unit) that the observing agent was told it watches.
pub const DEPLOYMENT: &str = "pqscope.deployment";
/// Bounded client class.
pub const CLIENT_CLASS: &str = "pqscope.client.class";
/// Why a completed handshake is not post-quantum.
pub const PQ_REASON: &str = "pqscope.pq.reason";
/// Whose host the capture stands on: `client`, `server`, `transit` or `unknown`.
pub const VANTAGE: &str = "pqscope.vantage";
/// `seen`, `inferred` or `decrypted`.
pub const EVIDENCE: &str = "pqscope.evidence";
/// Kind of signature that a certificate chain was used with, such as `ecdsa_p256` or `ml_dsa_65`.
pub const SIGNATURE_FAMILY: &str = "pqscope.signature.family";
/// IANA name of an alert.
pub const ALERT_DESCRIPTION: &str = "pqscope.alert.description";
/// `client` or `server`.
pub const ALERT_SENDER: &str = "pqscope.alert.sender";
/// Kind of a path event.
pub const PATH_EVENT: &str = "pqscope.path.event";
/// Name of the interface that packets came from.
pub const INTERFACE: &str = "pqscope.interface";
/// What became of a packet.
pub const PACKET_DISPOSITION: &str = "pqscope.packet.disposition";
/// Why a flow was dropped from the table.
pub const EVICTION_REASON: &str = "pqscope.eviction.reason";
/// Why an observation is incomplete.
pub const INCOMPLETE_REASON: &str = "pqscope.incomplete.reason";
/// Free reason of a counted oddity; a closed set per metric.
pub const REASON: &str = "pqscope.reason";
/// `success` or `failure`; for SLO events `good`, `bad` or `excluded`.
pub const RESULT: &str = "pqscope.result";
/// Marks traffic of pqscope itself: `true`.
pub const SELF: &str = "pqscope.self";
/// Name of an SLO.
pub const SLO_NAME: &str = "pqscope.slo.name";
/// Length of an evaluation window, such as `1h`.
pub const WINDOW: &str = "pqscope.window";
/// State of an SLO or of a rotation.
pub const STATE: &str = "pqscope.state";
/// Severity of an alert: `page` or `ticket`.
pub const SEVERITY: &str = "pqscope.severity";
/// Name of a notification receiver.
pub const RECEIVER: &str = "pqscope.receiver";
/// OpenTelemetry's mark of the series that collects what went over a cardinality bound.
pub const OTEL_OVERFLOW: &str = "otel.metric.overflow";
/// Type of an event, such as `pqscope.key.rotation`.
pub const EVENT_TYPE: &str = "pqscope.event.type";
/// Why something failed: one of the closed set of events.
pub const REASON_CLASS: &str = "pqscope.reason_class";
/// Cryptographic algorithm as the sender of an event names it; bounded.
pub const ALGORITHM: &str = "pqscope.algorithm";
/// Name of a hardware security module; bounded.
pub const HSM: &str = "pqscope.hsm";
/// Whether a failure keeps somebody from going on: `true` or `false`.
pub const BLOCKING: &str = "pqscope.blocking";
/// Whether the wrapped key of the fall-back path was used: `true` or `false`.
pub const WRAPPED: &str = "pqscope.wrapped";
/// Certificate authority; bounded.
pub const ISSUER: &str = "pqscope.issuer";
/// Store whose size is told; bounded.
pub const STORE: &str = "pqscope.store";
/// Stage of a rollout; bounded.
pub const STAGE: &str = "pqscope.stage";
/// Source of randomness; bounded.
pub const ENTROPY_SOURCE: &str = "pqscope.entropy.source";
/// Link of a quantum key distribution; bounded.
pub const QKD_LINK: &str = "pqscope.qkd.link";
/// What a service is to the measurements: `tls-server`, `signer` and so on.
pub const ROLE: &str = "pqscope.role";
/// Name of an expected series.
pub const COVERAGE_SERIES: &str = "pqscope.coverage.series";
/// Name of an adapter that reads a file.
pub const ADAPTER: &str = "pqscope.adapter";
