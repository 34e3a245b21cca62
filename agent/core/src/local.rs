//! Which addresses belong to the host that the capture stands on.

use crate::observation::Vantage;
use std::net::IpAddr;
use std::str::FromStr;

/// A network in prefix notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_length: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no network: write an address with an optional prefix length, such as 10.0.0.0/8 or fd00::/8"
)]
pub struct InvalidNetwork {
    text: String,
}

impl Network {
    /// The network of one address.
    pub const fn host(address: IpAddr) -> Self {
        let prefix_length = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        Self { address, prefix_length }
    }

    /// Whether an address lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix_length);
                (u32::from(network) ^ u32::from(address)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix_length);
                (u128::from(network) ^ u128::from(address)).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidNetwork { text: text.to_owned() };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().map_err(|_| invalid())?)),
            None => (text, None),
        };
        let host = Self::host(address.parse().map_err(|_| invalid())?);
        let prefix_length = length.unwrap_or(host.prefix_length);
        if prefix_length > host.prefix_length {
            return Err(invalid());
        }
        Ok(Self { prefix_length, ..host })
    }
}

/// The networks that count as this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalNetworks(pub Vec<Network>);

impl LocalNetworks {
    /// Where the capture stands as seen from a connection; `None` where no address is known to be local. A host that
    /// talks to itself is the server: fleet figures count the server's view, and this is one.
    pub fn vantage(&self, client: IpAddr, server: IpAddr) -> Option<Vantage> {
        if self.0.is_empty() {
            return None;
        }
        let is_local = |address| self.0.iter().any(|network| network.contains(address));
        Some(match (is_local(client), is_local(server)) {
            (_, true) => Vantage::Server,
            (true, false) => Vantage::Client,
            (false, false) => Vantage::Transit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> LocalNetworks {
        LocalNetworks(texts.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[test]
    fn prefixes_contain_what_they_should() {
        let network: Network = "10.1.0.0/16".parse().unwrap();
        assert!(network.contains("10.1.255.9".parse().unwrap()));
        assert!(!network.contains("10.2.0.1".parse().unwrap()));
        assert!(!network.contains("::1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!("::/0".parse::<Network>().unwrap().contains("::1".parse().unwrap()));
        assert!("fd00::1".parse::<Network>().unwrap().contains("fd00::1".parse().unwrap()));
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a/b"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_servers_host_has_the_servers_view() {
        let local = networks(&["10.0.0.1", "127.0.0.0/8"]);
        let at = |client: &str, server: &str| local.vantage(client.parse().unwrap(), server.parse().unwrap());
        assert_eq!(at("192.0.2.1", "10.0.0.1"), Some(Vantage::Server));
        assert_eq!(at("10.0.0.1", "192.0.2.1"), Some(Vantage::Client));
        assert_eq!(at("127.0.0.1", "127.0.0.1"), Some(Vantage::Server));
        assert_eq!(at("192.0.2.1", "192.0.2.2"), Some(Vantage::Transit));
        assert_eq!(networks(&[]).vantage("127.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap()), None);
    }
}
