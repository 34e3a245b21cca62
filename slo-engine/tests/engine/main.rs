//! Black-box tests: the real binary, real sockets, a real folder. Nothing here looks inside.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test stops at whatever it does not expect, and says what it skips"
)]

mod backup;
mod crash;
mod delivery;
mod disk;
mod ingest;
mod otlp;
mod power;
mod process;
mod receiver;
mod refusals;
mod restart;
