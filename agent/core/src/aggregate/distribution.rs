//! What an observation adds to each histogram.
//!
//! Enters: observations, and what the handshakes of a server say together. Leaves: one value or none, and the labels of a
//! chain's size. What was not measured, or may be something else than the metric says, is none.

use super::labels::ChainLabel;
use crate::inventory::Pooled;
use crate::observation::{Evidence, Observation, Outcome, SignatureFamily};
use pqscope_telemetry::metric::{Metric, agent};
use std::time::Duration;

/// The histograms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Distribution {
    Duration,
    DurationNet,
    ServerHello,
    RoundTrip,
    ClientHello,
    ServerFlight,
    Chain,
}

impl Distribution {
    pub(super) const ALL: [Self; 7] = [
        Self::Duration,
        Self::DurationNet,
        Self::ServerHello,
        Self::RoundTrip,
        Self::ClientHello,
        Self::ServerFlight,
        Self::Chain,
    ];

    pub(super) const fn metric(self) -> Metric {
        match self {
            Self::Duration => agent::DURATION,
            Self::DurationNet => agent::DURATION_NET,
            Self::ServerHello => agent::SERVER_HELLO_DURATION,
            Self::RoundTrip => agent::RTT,
            Self::ClientHello => agent::CLIENT_HELLO_SIZE,
            Self::ServerFlight => agent::SERVER_FLIGHT_SIZE,
            Self::Chain => agent::CERTIFICATE_CHAIN_SIZE,
        }
    }

    /// What an observation adds; sizes are exact in a float. An interval of no length was not measured.
    #[expect(clippy::cast_precision_loss, reason = "flights are far below 2^53 bytes")]
    pub(super) fn value(self, seen: &Observation) -> Option<f64> {
        let seconds = |interval: Option<Duration>| {
            interval.filter(|interval| !interval.is_zero()).map(|interval| interval.as_secs_f64())
        };
        let completed = seen.outcome == Outcome::Completed;
        match self {
            Self::Duration => seconds(seen.timing.client_encrypted.filter(|_| completed)),
            Self::DurationNet => seconds(seen.duration_net().filter(|_| completed)),
            Self::ServerHello => seconds(seen.timing.server_hello),
            Self::RoundTrip => seconds(seen.timing.tcp_rtt),
            Self::ClientHello => seen.client_hello.length.map(f64::from),
            Self::ServerFlight => seen.server_flight.as_ref().map(|flight| flight.bytes as f64),
            Self::Chain => {
                let chain = seen.certificates.as_ref().filter(|_| !may_be_compressed(seen))?;
                chain.chain_bytes.map(|bytes| bytes as f64)
            }
        }
    }
}

/// Whether the chain may have been compressed on the way, so that sizes inferred from it hold only if it was not.
pub(super) fn may_be_compressed(seen: &Observation) -> bool {
    seen.certificates.as_ref().map_or_else(
        || seen.client_hello.wishes.is_some_and(|wishes| wishes.compression),
        |chain| chain.evidence == Evidence::Inferred && chain.compressed != Some(false),
    )
}

/// The middle of a chain's bounds, where they are as narrow as those of a server whose messages have records of their
/// own: no more than 64 bytes or two in a hundred.
#[expect(clippy::cast_precision_loss, reason = "chains are far below 2^53 bytes")]
pub(super) fn chain_size(pooled: Pooled) -> Option<f64> {
    let (low, high) = pooled.chain?;
    (high.checked_sub(low)? <= (high / 50).max(64)).then(|| (low + high) as f64 / 2.0)
}

/// What a chain's size rests on, and its family: the handshake's own, else what all of its server say.
pub(super) fn chain_label(observation: &Observation, pooled: Pooled) -> ChainLabel {
    let evidence = observation.certificates.as_ref().map_or(Evidence::Inferred, |chain| chain.evidence);
    let own = observation.certificate_verify.map(|verify| verify.family);
    let known = own.filter(|family| *family != SignatureFamily::Unknown);
    ChainLabel { evidence, family: known.or(pooled.family).unwrap_or(SignatureFamily::Unknown) }
}
