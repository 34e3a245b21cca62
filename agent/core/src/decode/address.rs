//! Addresses of either family in one shape.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address as sixteen bytes; IPv4 stands in its IPv6-mapped form (RFC 4291 section 2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 16]);

impl Address {
    const V4_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

    pub(super) fn from_v4(octets: [u8; 4]) -> Self {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&Self::V4_PREFIX);
        bytes[12..].copy_from_slice(&octets);
        Self(bytes)
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        let v6 = Ipv6Addr::from(address.0);
        v6.to_ipv4_mapped().map_or(Self::V6(v6), |v4: Ipv4Addr| Self::V4(v4))
    }
}
