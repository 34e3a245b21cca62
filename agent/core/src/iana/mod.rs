//! Numbers of the TLS registries as open newtypes: a number that no table names survives as itself.
//!
//! One room per registry, each with one table: supported groups, signature schemes, alerts, protocol versions, cipher
//! suites. What a row says is known from the registry and the specification that it names; nothing is guessed.

mod alerts;
mod groups;
mod signatures;
mod suites;
mod versions;

pub use alerts::AlertDescription;
pub use groups::{Group, KeyExchangeClass, ShareLengths, best_class};
pub use signatures::{SignatureLengths, SignatureScheme};
pub use suites::CipherSuite;
pub use versions::ProtocolVersion;

use serde::Serialize;

/// Whether a number on the wire is GREASE (RFC 8701): both bytes equal and ending in `a`.
pub const fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

/// How settled a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// In the registry, from a published or stable specification.
    Standard,
    /// From a draft that has been replaced or may still change, or a private experiment.
    Draft,
    /// In no table.
    Unknown,
}

macro_rules! wire_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u16);

        /// Four lower-case hex digits, such as `0x11ec`.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "0x{:04x}", self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let digit = |shift: u16| DIGITS.get(usize::from(self.0 >> shift & 15)).copied().unwrap_or(b'0');
                let text = [b'0', b'x', digit(12), digit(8), digit(4), digit(0)];
                serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }
    };
}
use wire_number;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grease_is_exactly_the_sixteen_values_of_rfc_8701() {
        let found: Vec<u16> = (0..=u16::MAX).filter(|n| is_grease(*n)).collect();
        let wanted: Vec<u16> = (0..16).map(|n| (n << 12 | 0x0a00) | (n << 4 | 0x0a)).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn numbers_print_as_four_hex_digits() {
        assert_eq!(Group(0x1d).to_string(), "0x001d");
        assert_eq!(serde_json::to_string(&CipherSuite(0x1301)).unwrap(), "\"0x1301\"");
    }
}
