//! One TLS handshake, from the bytes of both directions to a verdict.
//!
//! Enters: stream bytes, holes, closes and resets in causal order (see [`crate::flow`]), each with its time. Leaves:
//! a [`verdict::Verdict`] and the facts for an observation.

pub(crate) mod client_hello;
pub(crate) mod decrypt;
pub(crate) mod detect;
mod encrypted;
pub(crate) mod facts;
pub(crate) mod inference;
pub(crate) mod ja4;
mod legacy;
mod legacy_flight;
pub(crate) mod machine;
pub(crate) mod message;
pub(crate) mod record;
mod server_hello;
pub(crate) mod verdict;
