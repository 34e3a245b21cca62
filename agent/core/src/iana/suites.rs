//! Cipher suites. What a number means comes from `tls-parser`'s copy of the registry, in the rooms that ask.

use super::wire_number;

wire_number! {
    /// A number of the "TLS Cipher Suites" registry.
    CipherSuite
}
