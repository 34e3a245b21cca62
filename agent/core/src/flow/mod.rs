//! TCP connections out of segments.
//!
//! Enters: decoded segments with their times, in the order of the capture. Leaves: settled attempts. `key` names a
//! connection, `reassembly` puts its bytes in order, `connection` joins them with the TLS machine, `timer` says
//! when silence has lasted long enough, `table` owns all of it within one bound.

pub(crate) mod connection;
pub mod key;
mod overlap;
pub(crate) mod reassembly;
pub mod sequence;
pub(crate) mod table;
pub(crate) mod timer;
