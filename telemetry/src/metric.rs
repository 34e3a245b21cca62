//! Metric names with their kind, unit and description.

/// What a metric counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows while its process lives.
    Counter,
    /// Goes up and down; the sum over sources is meaningful.
    UpDownCounter,
    /// A value at a point in time.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// OpenTelemetry name, dotted lower case.
    pub name: &'static str,
    /// UCUM unit.
    pub unit: &'static str,
    /// Kind of instrument.
    pub kind: Kind,
    /// One sentence for people.
    pub description: &'static str,
}

const fn metric(name: &'static str, unit: &'static str, kind: Kind, description: &'static str) -> Metric {
    Metric { name, unit, kind, description }
}

/// Metrics of the agent.
pub mod agent {
    use super::{Kind, Metric, metric};

    /// Handshake attempts by what became of them.
    pub const HANDSHAKES: Metric =
        metric("pqscope.handshakes", "{handshake}", Kind::Counter, "Handshake attempts by outcome.");
    /// ClientHello to the client's first encrypted record.
    pub const DURATION: Metric = metric(
        "pqscope.handshake.duration",
        "s",
        Kind::Histogram,
        "First byte of the ClientHello to the client's first encrypted record of completed handshakes.",
    );
    /// The same without the round trips of the connection.
    pub const DURATION_NET: Metric = metric(
        "pqscope.handshake.duration_net",
        "s",
        Kind::Histogram,
        "Duration of completed handshakes less the round trips that they took on their connection.",
    );
    /// Failed post-quantum attempts that were retried without.
    pub const FALLBACKS: Metric = metric(
        "pqscope.handshake.fallbacks",
        "{handshake}",
        Kind::Counter,
        "Completed handshakes without a post-quantum share whose client had failed with one just before.",
    );
    /// ClientHello to ServerHello.
    pub const SERVER_HELLO_DURATION: Metric = metric(
        "pqscope.handshake.server_hello.duration",
        "s",
        Kind::Histogram,
        "Last needed packet of the first ClientHello to the first byte of the final ServerHello.",
    );
    /// TCP round trip of the same connections.
    pub const RTT: Metric = metric(
        "pqscope.handshake.rtt",
        "s",
        Kind::Histogram,
        "TCP round trip of the connections that handshakes were seen on.",
    );
    /// Size of ClientHellos.
    pub const CLIENT_HELLO_SIZE: Metric =
        metric("pqscope.client_hello.size", "By", Kind::Histogram, "Length of the first ClientHello.");
    /// Size of the server's encrypted flight in TLS 1.3.
    pub const SERVER_FLIGHT_SIZE: Metric = metric(
        "pqscope.server_flight.size",
        "By",
        Kind::Histogram,
        "Record lengths of the server's encrypted flight (TLS 1.3), summed.",
    );
    /// Size of certificate chains.
    pub const CERTIFICATE_CHAIN_SIZE: Metric = metric(
        "pqscope.certificate_chain.size",
        "By",
        Kind::Histogram,
        "Sum of the DER lengths of the server's certificates.",
    );
    /// Trouble on the network path.
    pub const PATH_EVENTS: Metric =
        metric("pqscope.path.events", "{event}", Kind::Counter, "Path trouble seen during handshakes.");
    /// Plaintext alerts.
    pub const ALERTS: Metric =
        metric("pqscope.alerts", "{alert}", Kind::Counter, "TLS alerts seen in the clear during handshakes.");
    /// Packets by what became of them.
    pub const PACKETS: Metric = metric(
        "pqscope.agent.packets",
        "{packet}",
        Kind::Counter,
        "Packets by interface and by what became of them.",
    );
    /// Bytes on the wire of the same packets.
    pub const BYTES: Metric =
        metric("pqscope.agent.bytes", "By", Kind::Counter, "Bytes on the wire of the packets handled.");
    /// Flows in the table now.
    pub const FLOWS: Metric =
        metric("pqscope.agent.flows", "{flow}", Kind::UpDownCounter, "Flows in the table.");
    /// Bytes that flows under way hold now.
    pub const BUFFERED: Metric = metric(
        "pqscope.agent.buffered",
        "By",
        Kind::UpDownCounter,
        "Bytes of the byte budget that unfinished handshakes hold.",
    );
    /// Flows dropped before their time.
    pub const EVICTIONS: Metric = metric(
        "pqscope.agent.evictions",
        "{flow}",
        Kind::Counter,
        "Flows dropped from the table before they ended.",
    );
    /// Observations that the capture does not settle.
    pub const INCOMPLETE: Metric = metric(
        "pqscope.agent.incomplete",
        "{handshake}",
        Kind::Counter,
        "Attempts whose outcome the capture does not settle, by reason.",
    );
    /// Records that came after a timeout verdict.
    pub const LATE_COMPLETIONS: Metric = metric(
        "pqscope.agent.late_completions",
        "{handshake}",
        Kind::Counter,
        "Attempts judged timed out whose handshake then went on.",
    );
    /// Bytes that could not be read as what they should be.
    pub const PARSE_ERRORS: Metric = metric(
        "pqscope.agent.parse_errors",
        "{error}",
        Kind::Counter,
        "Packets and messages that could not be parsed, by reason.",
    );
    /// Label values folded into `other`.
    pub const OVERFLOW: Metric = metric(
        "pqscope.agent.overflow",
        "{handshake}",
        Kind::Counter,
        "Handshakes counted under an overflow value because a bound on label values was reached.",
    );
    /// Jumps of the capture clock.
    pub const CLOCK_STEPS: Metric = metric(
        "pqscope.agent.clock_steps",
        "{step}",
        Kind::Counter,
        "Steps of the capture clock backwards by more than a second.",
    );
    /// Intervals that a clock made zero or negative.
    pub const UNMEASURED: Metric = metric(
        "pqscope.agent.unmeasured",
        "{interval}",
        Kind::Counter,
        "Intervals that were not recorded since the capture clock made them zero or negative.",
    );
    /// Share of flows seen whole.
    pub const COVERAGE: Metric = metric(
        "pqscope.agent.coverage",
        "1",
        Kind::Gauge,
        "Share of TLS flows seen from their first byte, in both directions, without a gap.",
    );
    /// Data points exported.
    pub const EXPORT: Metric =
        metric("pqscope.agent.export", "{datapoint}", Kind::Counter, "Data points exported, by result.");

    /// All of them.
    pub const ALL: &[Metric] = &[
        HANDSHAKES,
        DURATION,
        DURATION_NET,
        FALLBACKS,
        SERVER_HELLO_DURATION,
        RTT,
        CLIENT_HELLO_SIZE,
        SERVER_FLIGHT_SIZE,
        CERTIFICATE_CHAIN_SIZE,
        PATH_EVENTS,
        ALERTS,
        PACKETS,
        BYTES,
        FLOWS,
        BUFFERED,
        EVICTIONS,
        INCOMPLETE,
        LATE_COMPLETIONS,
        PARSE_ERRORS,
        OVERFLOW,
        CLOCK_STEPS,
        UNMEASURED,
        COVERAGE,
        EXPORT,
    ];
}

/// Metrics of the engine.
pub mod engine {
    use super::{Kind, Metric, metric};

    /// Target of an SLO.
    pub const SLO_OBJECTIVE: Metric =
        metric("pqscope.slo.objective", "1", Kind::Gauge, "Target share of good events.");
    /// Error budget left.
    pub const BUDGET_REMAINING: Metric = metric(
        "pqscope.slo.budget.remaining",
        "1",
        Kind::Gauge,
        "Share of the error budget left in the SLO window; negative when overspent.",
    );
    /// Time until the budget is gone.
    pub const BUDGET_EXHAUSTION: Metric = metric(
        "pqscope.slo.budget.exhaustion",
        "s",
        Kind::Gauge,
        "Time until the error budget is gone at the burn rate of the last hour.",
    );
    /// Burn rate per window.
    pub const BURN_RATE: Metric = metric(
        "pqscope.slo.burn_rate",
        "1",
        Kind::Gauge,
        "Error ratio of a window over the error ratio that the objective allows.",
    );
    /// Good and bad events.
    pub const SLO_EVENTS: Metric =
        metric("pqscope.slo.events", "{event}", Kind::Counter, "Events of an SLI by result.");
    /// State of an SLO.
    pub const SLO_STATE: Metric = metric(
        "pqscope.slo.state",
        "1",
        Kind::Gauge,
        "1 for the state that the SLO is in, 0 for the others.",
    );
    /// Time until incidents are told.
    pub const INCIDENT_DETECTION_DURATION: Metric = metric(
        "pqscope.incident.detection.duration",
        "s",
        Kind::Histogram,
        "From the beginning of an excursion to the first delivered notification about it; what people found first lies beyond all bounds.",
    );
    /// Data points received.
    pub const ENGINE_POINTS: Metric = metric(
        "pqscope.engine.points",
        "{datapoint}",
        Kind::Counter,
        "Data points received over OTLP, by what became of them.",
    );
    /// Series counted.
    pub const ENGINE_SERIES: Metric =
        metric("pqscope.engine.series", "{series}", Kind::UpDownCounter, "Series that are counted.");
    /// Streams remembered.
    pub const ENGINE_STREAMS: Metric = metric(
        "pqscope.engine.streams",
        "{stream}",
        Kind::UpDownCounter,
        "Series by sender whose last point is remembered.",
    );
    /// Commits on disk.
    pub const ENGINE_STORE_COMMITS: Metric = metric(
        "pqscope.engine.store.commits",
        "{commit}",
        Kind::Counter,
        "Commits that the disk has, since the state folder was made.",
    );
    /// Commits that failed.
    pub const ENGINE_STORE_FAILURES: Metric = metric(
        "pqscope.engine.store.failures",
        "{commit}",
        Kind::Counter,
        "Commits that failed; nothing in them was acknowledged.",
    );
    /// Size of the database.
    pub const ENGINE_STORE_SIZE: Metric =
        metric("pqscope.engine.store.size", "By", Kind::UpDownCounter, "Size of the database on disk.");
    /// Whether the last commit succeeded.
    pub const ENGINE_STORE_HEALTHY: Metric = metric(
        "pqscope.engine.store.healthy",
        "1",
        Kind::Gauge,
        "1 while commits succeed, 0 after one failed.",
    );
    /// Notifications by where they stand.
    pub const ENGINE_OUTBOX: Metric = metric(
        "pqscope.engine.outbox",
        "{notification}",
        Kind::UpDownCounter,
        "Notifications kept in the outbox, by receiver and state: waiting, sent or dead.",
    );
    /// Rounds of evaluation.
    pub const ENGINE_EVALUATIONS: Metric = metric(
        "pqscope.engine.evaluations",
        "{evaluation}",
        Kind::Counter,
        "Rounds in which all objectives were evaluated.",
    );
    /// How long a round takes.
    pub const ENGINE_EVALUATION_DURATION: Metric = metric(
        "pqscope.engine.evaluation.duration",
        "s",
        Kind::Gauge,
        "Time that the last round of evaluation took until its results were on disk.",
    );
    /// Notifications by result.
    pub const NOTIFICATIONS: Metric =
        metric("pqscope.notifications", "{notification}", Kind::Counter, "Notification attempts by result.");

    /// Events that were told.
    pub const EVENTS: Metric =
        metric("pqscope.events", "{event}", Kind::Counter, "Events that senders told, by type and result.");
    /// How long what an event tells took.
    pub const EVENT_DURATION: Metric = metric(
        "pqscope.event.duration",
        "s",
        Kind::Histogram,
        "Durations of the operations that events tell of.",
    );
    /// Outcomes of planned rotations.
    pub const ROTATION_OUTCOMES: Metric = metric(
        "pqscope.rotation.outcomes",
        "{rotation}",
        Kind::Counter,
        "Planned key rotations by outcome: done, failed or overdue; each counts once.",
    );
    /// Planned rotations by where they stand.
    pub const ROTATIONS: Metric = metric(
        "pqscope.rotations",
        "{rotation}",
        Kind::UpDownCounter,
        "Planned key rotations that are remembered, by where they stand.",
    );
    /// Size of a store.
    pub const STORAGE_SIZE: Metric =
        metric("pqscope.storage.size", "By", Kind::Gauge, "Size of a store as last told.");
    /// When stores are full.
    pub const STORAGE_FORECAST: Metric = metric(
        "pqscope.storage.forecast",
        "s",
        Kind::Gauge,
        "Time until the stores of a growth objective reach its capacity at the pace of the last day.",
    );
    /// Health of a source of randomness.
    pub const ENTROPY_HEALTHY: Metric = metric(
        "pqscope.entropy.healthy",
        "1",
        Kind::Gauge,
        "1 when the last health event of an entropy source told success, 0 when failure.",
    );
    /// Health of a link of a quantum key distribution.
    pub const QKD_LINK_UP: Metric = metric(
        "pqscope.qkd.link.up",
        "1",
        Kind::Gauge,
        "1 when the last event of a QKD link told success, 0 when failure.",
    );
    /// Checks of expected series.
    pub const COVERAGE_CHECKS: Metric = metric(
        "pqscope.coverage.checks",
        "{check}",
        Kind::Counter,
        "Checks, once a minute, whether an expected series was heard of lately.",
    );
    /// Events received.
    pub const ENGINE_EVENTS: Metric =
        metric("pqscope.engine.events", "{event}", Kind::Counter, "Events received, by what became of them.");
    /// Fields of events that are not known.
    pub const ENGINE_EVENT_FIELDS_IGNORED: Metric = metric(
        "pqscope.engine.event.fields_ignored",
        "{field}",
        Kind::Counter,
        "Data fields of events that are not known and were left out.",
    );
    /// Amounts that could not be counted.
    pub const ENGINE_EVENT_UNCOUNTED: Metric = metric(
        "pqscope.engine.event.uncounted",
        "{amount}",
        Kind::Counter,
        "Durations, sizes and outcomes that the counts refused although their event was taken.",
    );
    /// Records that adapters read.
    pub const ENGINE_ADAPTER_RECORDS: Metric = metric(
        "pqscope.engine.adapter.records",
        "{record}",
        Kind::Counter,
        "Records of files that adapters read, by what became of them.",
    );
    /// All of them.
    pub const ALL: &[Metric] = &[
        SLO_OBJECTIVE,
        BUDGET_REMAINING,
        BUDGET_EXHAUSTION,
        BURN_RATE,
        SLO_EVENTS,
        SLO_STATE,
        ENGINE_POINTS,
        ENGINE_SERIES,
        ENGINE_STREAMS,
        ENGINE_STORE_COMMITS,
        ENGINE_STORE_FAILURES,
        ENGINE_STORE_SIZE,
        ENGINE_STORE_HEALTHY,
        ENGINE_OUTBOX,
        ENGINE_EVALUATIONS,
        ENGINE_EVALUATION_DURATION,
        NOTIFICATIONS,
        INCIDENT_DETECTION_DURATION,
        EVENTS,
        EVENT_DURATION,
        ROTATION_OUTCOMES,
        ROTATIONS,
        STORAGE_SIZE,
        STORAGE_FORECAST,
        ENTROPY_HEALTHY,
        QKD_LINK_UP,
        COVERAGE_CHECKS,
        ENGINE_EVENTS,
        ENGINE_EVENT_FIELDS_IGNORED,
        ENGINE_EVENT_UNCOUNTED,
        ENGINE_ADAPTER_RECORDS,
    ];
}

/// The metric of the contract with this OpenTelemetry name; `None` for names of others.
pub fn named(name: &str) -> Option<&'static Metric> {
    agent::ALL.iter().chain(engine::ALL).find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A metric that is left out has no unit in the names that selectors are compiled to.
    #[test]
    fn every_metric_is_listed() {
        let defined = include_str!("metric.rs")
            .lines()
            .filter(|line| line.trim().starts_with("pub const ") && line.contains(": Metric ="));
        assert_eq!(agent::ALL.len() + engine::ALL.len(), defined.count());
    }
}
