//! The contract between agent, engine, dashboards and rules: the names of metrics and attributes, their units and
//! kinds, and how they read in Prometheus. Plain constants and pure functions; nothing here measures anything.
//!
//! Names follow the OpenTelemetry semantic conventions where those have one, and stand under `pqscope.` otherwise.

pub mod attribute;
pub mod exposition;
pub mod metric;

/// The schema URL of the semantic conventions that the attribute names are taken from.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";

/// The value that stands for every further value of an attribute once its bound is reached.
pub const OTHER: &str = "other";
