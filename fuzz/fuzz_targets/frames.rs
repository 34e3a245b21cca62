//! See `pqscope_agent_core::fuzz_entry::frames`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| pqscope_agent_core::fuzz_entry::frames(bytes));
