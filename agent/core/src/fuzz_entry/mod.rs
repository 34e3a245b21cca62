//! The rooms that bytes of strangers reach, one function each, for fuzzing.
//!
//! Enters: any bytes, which each function takes for a list of steps. Leaves: nothing; a function panics where something
//! does not hold that always should. The same functions run over random bytes and over seeds in the unit tests, so that
//! what a fuzzer relies on cannot rot. Only there for tests and with the feature `fuzzing`.

mod flow;
mod input;
mod packets;
mod reading;
mod tls;

#[cfg(test)]
mod seeds;

pub use flow::{observer, reassembly};
pub use packets::{frames, icmp};
pub use reading::{certificate, decode, hello, key_log, message, record};
pub use tls::machine;
