//! Black-box tests of the agent alone: the real binary, capture files made here, nothing looked at inside.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test stops at whatever it does not expect, and says what it skips"
)]

mod captures;
mod damage;
#[cfg(target_os = "linux")]
mod floods;
mod formats;
mod inventory;
mod key_log;
#[cfg(target_os = "linux")]
mod memory;
mod output;
mod path;
mod program;
#[cfg(feature = "live")]
mod refusals;
