//! Real TLS handshakes with known answers, for tests and for the demonstration.
//!
//! Everything here speaks through the TLS library that the wider world uses (rustls over aws-lc-rs). Two ways to use it:
//!
//! - [`loopback`] makes handshakes over TCP on the loopback interface and returns, for every attempt, what the two
//!   ends know about it ([`truth::Truth`]). [`traffic`] drives it at a chosen rate.
//! - [`capture`] runs the same library in memory, cuts what it says into packets and writes capture files, with
//!   packets reordered, repeated, overlapped or removed as a test asks. No network and no privilege is needed.
//!
//! [`synthesis`] writes conversations by hand that no library would hold.
//! [`receiver`] is a webhook sink that keeps and prints the pages that arrive.

pub mod capture;
pub mod identity;
pub mod loopback;
pub mod peers;
pub mod plan;
pub mod receiver;
pub mod scenario;
pub mod synthesis;
pub mod traffic;
pub mod truth;
