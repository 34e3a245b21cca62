//! From captured packets to observations of TLS handshakes, as values in and values out.
//!
//! ```text
//! decode  ->  flow (key, reassembly, connection, table)  ->  tls (record, message, machine)  ->  observation
//! ```
//!
//! [`Observer`](observer::Observer) joins the rooms. Nothing here opens a file or a socket, reads a clock or starts a
//! thread: the same packets give the same observations, byte for byte. Whatever comes from the network is data; no
//! input panics, grows memory beyond the configured bounds, or spins.

pub mod aggregate;
pub mod decode;
mod fallback;
pub mod flow;
mod fragments;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz_entry;
pub mod histogram;
pub mod iana;
pub mod inventory;
pub mod local;
pub mod observation;
pub mod observer;
mod order;
pub mod summary;
pub mod time;
mod tls;
mod upgrade;
pub mod x509;

pub use flow::table::{Limits, TableCounts};
pub use tls::decrypt::key_log::{KeyLogCounts, KeyLogError, MAX_LINE as MAX_KEY_LOG_LINE};
