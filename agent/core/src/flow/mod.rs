//! TCP connections out of segments.
//!
//! Enters: decoded segments with their times, in the order of the capture. Leaves: settled attempts. `key` names a
//! connection, `path` tells what was sent again, `reassembly` puts its bytes in order, `probe` finds where TLS begins in
//! them, `connection` joins them with the machine, `timer` says when silence has lasted long enough, `table` owns all of it within one bound.

pub(crate) mod connection;
mod holes;
pub mod key;
mod overlap;
pub(crate) mod path;
pub(crate) mod probe;
pub(crate) mod reassembly;
pub mod sequence;
pub(crate) mod table;
pub(crate) mod timer;
