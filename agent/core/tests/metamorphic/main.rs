//! One conversation, many captures of it: whatever the way in which its packets reached the capture, the same
//! observation comes out, and with packets missing the same or a vaguer one.
//!
//! `sessions` are the conversations, `arrivals` the ways in which one may arrive, `likeness` says what has to be equal,
//! `cuts` cuts hellos at every place and others at random ones, `losses` takes packets out. Random tests print the case
//! that failed with its seed.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at whatever it does not expect"
)]

mod arrivals;
mod cuts;
mod likeness;
mod losses;
#[path = "../observe/mod.rs"]
mod observe;
mod sessions;
