//! Protocol versions as they stand in hellos and records.

use super::wire_number;

wire_number! {
    /// A protocol version as it stands in hellos and records.
    ProtocolVersion
}

impl ProtocolVersion {
    /// SSL 2.0, which only ever stands in a hello of its own framing.
    pub const SSL_2: Self = Self(0x0002);
    /// SSL 3.0.
    pub const SSL_3: Self = Self(0x0300);
    /// TLS 1.0.
    pub const TLS_1_0: Self = Self(0x0301);
    /// TLS 1.1.
    pub const TLS_1_1: Self = Self(0x0302);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_the_names_people_use() {
        assert_eq!(ProtocolVersion(0x0304).name().as_deref(), Some("1.3"));
        assert_eq!(ProtocolVersion(0x0301).name().as_deref(), Some("1.0"));
        assert_eq!(ProtocolVersion(0x7f12).name().as_deref(), Some("1.3 draft 18"));
        assert_eq!(ProtocolVersion(0x1234).name(), None);
    }
}
