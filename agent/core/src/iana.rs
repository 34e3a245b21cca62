//! Numbers of the TLS registries as open newtypes: a number that no table names survives as itself.
//!
//! Tables hold what the verdicts and the reports need: supported groups with their class (IANA "TLS Supported
//! Groups", RFC 8446, RFC 7919, and the ML-KEM hybrids), protocol versions, alerts (RFC 8446 section 6 and the "TLS
//! Alerts" registry). Cipher suites come from `tls-parser`'s copy of the registry.

use serde::{Serialize, Serializer};
use std::fmt;

/// Whether a number on the wire is GREASE (RFC 8701): both bytes equal and ending in `a`.
pub const fn is_grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

macro_rules! wire_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u16);

        /// Four lower-case hex digits, such as `0x11ec`.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{:04x}", self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                let digit = |shift: u16| DIGITS.get(usize::from(self.0 >> shift & 15)).copied().unwrap_or(b'0');
                let text = [b'0', b'x', digit(12), digit(8), digit(4), digit(0)];
                serializer.serialize_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }
    };
}

wire_number! {
    /// A protocol version as it stands in hellos and records.
    ProtocolVersion
}
wire_number! {
    /// A number of the "TLS Supported Groups" registry.
    Group
}
wire_number! {
    /// A number of the "TLS Cipher Suites" registry.
    CipherSuite
}
wire_number! {
    /// A number of the "TLS SignatureScheme" registry.
    SignatureScheme
}

impl ProtocolVersion {
    /// SSL 2.0, which only ever stands in a hello of its own framing.
    pub const SSL_2: Self = Self(0x0002);
    /// SSL 3.0.
    pub const SSL_3: Self = Self(0x0300);
    /// TLS 1.0.
    pub const TLS_1_0: Self = Self(0x0301);
    /// TLS 1.2, also the legacy version of every TLS 1.3 hello.
    pub const TLS_1_2: Self = Self(0x0303);
    /// TLS 1.3.
    pub const TLS_1_3: Self = Self(0x0304);

    /// Whether the handshake after the ServerHello is encrypted: TLS 1.3, its drafts (`0x7fNN`) and the two private
    /// number ranges that browsers tried it under (`0xfbNN`, `0x7eNN`).
    pub const fn is_tls_1_3(self) -> bool {
        self.0 == Self::TLS_1_3.0 || matches!(self.0 >> 8, 0x7e | 0x7f | 0xfb)
    }

    /// Drafts before 22 of TLS 1.3 put their version into the ServerHello itself and left out the session id and
    /// compression fields.
    pub const fn has_short_server_hello(self) -> bool {
        self.0 >> 8 == 0x7f && self.0 & 0xff < 22
    }

    /// What people call it: `1.3`, `1.2`, `SSL 3.0`, `1.3 draft 18`; `None` for a number without a name.
    pub fn name(self) -> Option<String> {
        Some(match self.0 {
            0x0002 => "SSL 2.0".to_owned(),
            0x0300 => "SSL 3.0".to_owned(),
            0x0301..=0x0304 => format!("1.{}", self.0 - 0x0301),
            n if self.is_tls_1_3() => format!("1.3 draft {}", n & 0xff),
            _ => return None,
        })
    }
}

/// What a key exchange protects against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyExchangeClass {
    /// A classical and a post-quantum exchange combined.
    Hybrid,
    /// A post-quantum exchange alone.
    Pq,
    /// No post-quantum part; finite-field and RSA key transport included.
    Classical,
    /// No key was exchanged: a pre-shared key or a resumption alone.
    None,
    /// A group that no table names.
    Unknown,
}

impl KeyExchangeClass {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Pq => "pq",
            Self::Classical => "classical",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// How settled a group number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupStatus {
    /// In the registry, from a published or stable specification.
    Standard,
    /// From a draft that has been replaced, or a private experiment.
    Draft,
    /// In no table.
    Unknown,
}

/// One row of the group table.
struct GroupRow(u16, &'static str, KeyExchangeClass, GroupStatus);

/// Sorted by number.
const GROUPS: &[GroupRow] = {
    use GroupStatus::{Draft, Standard};
    use KeyExchangeClass::{Classical, Hybrid, Pq};
    &[
        GroupRow(0x0001, "sect163k1", Classical, Standard),
        GroupRow(0x0002, "sect163r1", Classical, Standard),
        GroupRow(0x0003, "sect163r2", Classical, Standard),
        GroupRow(0x0004, "sect193r1", Classical, Standard),
        GroupRow(0x0005, "sect193r2", Classical, Standard),
        GroupRow(0x0006, "sect233k1", Classical, Standard),
        GroupRow(0x0007, "sect233r1", Classical, Standard),
        GroupRow(0x0008, "sect239k1", Classical, Standard),
        GroupRow(0x0009, "sect283k1", Classical, Standard),
        GroupRow(0x000a, "sect283r1", Classical, Standard),
        GroupRow(0x000b, "sect409k1", Classical, Standard),
        GroupRow(0x000c, "sect409r1", Classical, Standard),
        GroupRow(0x000d, "sect571k1", Classical, Standard),
        GroupRow(0x000e, "sect571r1", Classical, Standard),
        GroupRow(0x000f, "secp160k1", Classical, Standard),
        GroupRow(0x0010, "secp160r1", Classical, Standard),
        GroupRow(0x0011, "secp160r2", Classical, Standard),
        GroupRow(0x0012, "secp192k1", Classical, Standard),
        GroupRow(0x0013, "secp192r1", Classical, Standard),
        GroupRow(0x0014, "secp224k1", Classical, Standard),
        GroupRow(0x0015, "secp224r1", Classical, Standard),
        GroupRow(0x0016, "secp256k1", Classical, Standard),
        GroupRow(0x0017, "secp256r1", Classical, Standard),
        GroupRow(0x0018, "secp384r1", Classical, Standard),
        GroupRow(0x0019, "secp521r1", Classical, Standard),
        GroupRow(0x001a, "brainpoolP256r1", Classical, Standard),
        GroupRow(0x001b, "brainpoolP384r1", Classical, Standard),
        GroupRow(0x001c, "brainpoolP512r1", Classical, Standard),
        GroupRow(0x001d, "x25519", Classical, Standard),
        GroupRow(0x001e, "x448", Classical, Standard),
        GroupRow(0x001f, "brainpoolP256r1tls13", Classical, Standard),
        GroupRow(0x0020, "brainpoolP384r1tls13", Classical, Standard),
        GroupRow(0x0021, "brainpoolP512r1tls13", Classical, Standard),
        GroupRow(0x0022, "GC256A", Classical, Standard),
        GroupRow(0x0023, "GC256B", Classical, Standard),
        GroupRow(0x0024, "GC256C", Classical, Standard),
        GroupRow(0x0025, "GC256D", Classical, Standard),
        GroupRow(0x0026, "GC512A", Classical, Standard),
        GroupRow(0x0027, "GC512B", Classical, Standard),
        GroupRow(0x0028, "GC512C", Classical, Standard),
        GroupRow(0x0029, "curveSM2", Classical, Standard),
        GroupRow(0x0100, "ffdhe2048", Classical, Standard),
        GroupRow(0x0101, "ffdhe3072", Classical, Standard),
        GroupRow(0x0102, "ffdhe4096", Classical, Standard),
        GroupRow(0x0103, "ffdhe6144", Classical, Standard),
        GroupRow(0x0104, "ffdhe8192", Classical, Standard),
        GroupRow(0x0200, "MLKEM512", Pq, Standard),
        GroupRow(0x0201, "MLKEM768", Pq, Standard),
        GroupRow(0x0202, "MLKEM1024", Pq, Standard),
        GroupRow(0x11eb, "SecP256r1MLKEM768", Hybrid, Standard),
        GroupRow(0x11ec, "X25519MLKEM768", Hybrid, Standard),
        GroupRow(0x11ed, "SecP384r1MLKEM1024", Hybrid, Standard),
        GroupRow(0x11ee, "curveSM2MLKEM768", Hybrid, Standard),
        GroupRow(0x4138, "CECPQ2", Hybrid, Draft),
        GroupRow(0x6399, "X25519Kyber768Draft00", Hybrid, Draft),
        GroupRow(0x639a, "SecP256r1Kyber768Draft00", Hybrid, Draft),
        GroupRow(0xff01, "arbitrary_explicit_prime_curves", Classical, Standard),
        GroupRow(0xff02, "arbitrary_explicit_char2_curves", Classical, Standard),
    ]
};

impl Group {
    fn row(self) -> Option<&'static GroupRow> {
        GROUPS.binary_search_by_key(&self.0, |row| row.0).ok().and_then(|at| GROUPS.get(at))
    }

    /// The registry's name, where a table has one.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.1)
    }

    /// What the group protects against; a number in no table is `Unknown`, never `Classical`.
    pub fn class(self) -> KeyExchangeClass {
        self.row().map_or(KeyExchangeClass::Unknown, |row| row.2)
    }

    /// How settled the number is.
    pub fn status(self) -> GroupStatus {
        self.row().map_or(GroupStatus::Unknown, |row| row.3)
    }
}

/// The best class among what a client listed: hybrid before pq before classical, unknown groups last; `None` when it
/// listed nothing.
pub fn best_class(groups: impl IntoIterator<Item = Group>) -> Option<KeyExchangeClass> {
    groups.into_iter().map(Group::class).min()
}

/// A TLS alert description (RFC 8446 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertDescription(pub u8);

impl AlertDescription {
    /// The sender is done sending.
    pub const CLOSE_NOTIFY: Self = Self(0);
    /// The handshake is cancelled for a reason unrelated to the protocol.
    pub const USER_CANCELED: Self = Self(90);

    /// The registry's name, where there is one.
    pub const fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "close_notify",
            10 => "unexpected_message",
            20 => "bad_record_mac",
            21 => "decryption_failed",
            22 => "record_overflow",
            30 => "decompression_failure",
            40 => "handshake_failure",
            41 => "no_certificate",
            42 => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            52 => "too_many_cids_requested",
            60 => "export_restriction",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            86 => "inappropriate_fallback",
            90 => "user_canceled",
            100 => "no_renegotiation",
            109 => "missing_extension",
            110 => "unsupported_extension",
            111 => "certificate_unobtainable",
            112 => "unrecognized_name",
            113 => "bad_certificate_status_response",
            114 => "bad_certificate_hash_value",
            115 => "unknown_psk_identity",
            116 => "certificate_required",
            117 => "general_error",
            120 => "no_application_protocol",
            121 => "ech_required",
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_table_is_sorted_for_binary_search() {
        assert!(GROUPS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn an_unknown_group_is_never_classical() {
        assert_eq!(Group(0x2f39).class(), KeyExchangeClass::Unknown);
        assert_eq!(Group(0x2f39).name(), None);
        assert_eq!(Group(0x11ec).class(), KeyExchangeClass::Hybrid);
        assert_eq!(Group(0x0201).class(), KeyExchangeClass::Pq);
        assert_eq!(Group(0x6399).status(), GroupStatus::Draft);
    }

    #[test]
    fn grease_is_exactly_the_sixteen_values_of_rfc_8701() {
        let found: Vec<u16> = (0..=u16::MAX).filter(|n| is_grease(*n)).collect();
        let wanted: Vec<u16> = (0..16).map(|n| (n << 12 | 0x0a00) | (n << 4 | 0x0a)).collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn the_best_offer_prefers_hybrid_over_pq_over_classical() {
        let class = |groups: &[u16]| best_class(groups.iter().map(|n| Group(*n)));
        assert_eq!(class(&[0x1d, 0x201, 0x11ec]), Some(KeyExchangeClass::Hybrid));
        assert_eq!(class(&[0x1d, 0x201]), Some(KeyExchangeClass::Pq));
        assert_eq!(class(&[0x2f39, 0x1d]), Some(KeyExchangeClass::Classical));
        assert_eq!(class(&[0x2f39]), Some(KeyExchangeClass::Unknown));
        assert_eq!(class(&[]), None);
    }

    #[test]
    fn numbers_print_as_four_hex_digits() {
        assert_eq!(Group(0x1d).to_string(), "0x001d");
        assert_eq!(serde_json::to_string(&CipherSuite(0x1301)).unwrap(), "\"0x1301\"");
    }

    #[test]
    fn versions_have_the_names_people_use() {
        assert_eq!(ProtocolVersion(0x0304).name().as_deref(), Some("1.3"));
        assert_eq!(ProtocolVersion(0x0301).name().as_deref(), Some("1.0"));
        assert_eq!(ProtocolVersion(0x7f12).name().as_deref(), Some("1.3 draft 18"));
        assert_eq!(ProtocolVersion(0x1234).name(), None);
    }
}
