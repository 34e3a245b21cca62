//! Metrics on their way out: OTLP over gRPC or HTTP, and Prometheus text for those who scrape.
//!
//! Export never holds up capture: it takes a copy of the counts under a short lock, and what it cannot deliver is
//! still in the next cumulative export.

pub(crate) mod client;
pub(crate) mod otlp;
pub(crate) mod prometheus;
pub(crate) mod self_telemetry;
pub(crate) mod settings;
