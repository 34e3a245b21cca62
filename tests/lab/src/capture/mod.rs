//! Capture files of real handshakes, without a network.
//!
//! Data walks one way: a [`Session`] is what the TLS library said in memory; [`Wire::segments`] cuts it into TCP
//! segments with times; the functions of [`transform`] disturb those; [`Wire::packets`] wraps them in IP and a link
//! layer; [`transform::encapsulate`] and [`transform::fragment`] change those; [`copies`] repeats or spoils what was
//! captured; [`write_pcap`] makes a file of them. The bytes of the handshake differ from run to run (keys are fresh);
//! times, addresses and sequence numbers do not.
//!
//! ```
//! use pqscope_lab::capture::{Session, Wire, transform, write_pcap};
//! use pqscope_lab::scenario::Scenario;
//!
//! let session = Session::run(&Scenario::Hybrid.plan(), "checkout.example")?;
//! let wire = Wire::default();
//! let segments = transform::reorder(&wire.segments(&session), 7);
//! let folder = tempfile::tempdir()?;
//! write_pcap(&folder.path().join("reordered.pcap"), wire.link, &wire.packets(&segments))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod copies;
mod encapsulate;
mod file;
mod frame;
mod session;
pub mod transform;
mod wire;

pub use file::{Format, encode, merge, write, write_pcap};
pub use frame::{Link, Packet};
pub use session::{Ending, Flight, Session, SessionError};
pub use wire::{Endpoints, Flags, Segment, Wire};
