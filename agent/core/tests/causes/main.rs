//! Whole handshakes whose path or peers fail them: what is counted, what is named, and what is left open.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at whatever it does not expect"
)]

mod encrypted_alerts;
mod fallbacks;
#[path = "../observe/mod.rs"]
mod observe;
mod path_facts;
mod reasons;
mod stage;
mod stalls;
