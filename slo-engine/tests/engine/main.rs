//! Black-box tests: the real binary, real sockets, a real folder. Nothing here looks inside.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test stops at whatever it does not expect, and says what it skips"
)]

mod adapters;
mod backup;
mod commands;
mod coverage;
mod crash;
mod delivery;
mod disk;
mod entries;
mod events;
mod ingest;
mod kills;
mod openbao;
mod otlp;
mod power;
mod process;
mod prometheus;
mod receiver;
mod refusals;
mod restart;
mod softhsm;
