//! Who is told: a checked webhook address, and its name in records and figures.

use reqwest::Url;
use sha2::{Digest, Sha256};
use std::str::FromStr;

/// A generic webhook. Its path and query often hold a secret, so only the name is ever shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receiver {
    name: String,
    url: Url,
}

impl Receiver {
    /// Host and port with four bytes of a hash over the whole address: stable over restarts, tells two hooks on one
    /// host apart, and gives nothing away.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }
}

/// Why an address is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadAddress {
    /// Not a URL at all.
    #[error("not a URL ({0}); write it like https://pager.example/hook")]
    NotUrl(String),
    /// Neither http nor https.
    #[error("webhooks are reached over http or https, not {0}")]
    Scheme(String),
}

impl FromStr for Receiver {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let url = Url::parse(text).map_err(|error| BadAddress::NotUrl(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(BadAddress::Scheme(url.scheme().to_owned()));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| BadAddress::NotUrl("no host".to_owned()))?;
        let port = url.port_or_known_default().unwrap_or(0);
        let digest = Sha256::digest(url.as_str());
        let mark: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { name: format!("{host}:{port}#{mark}"), url })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_hooks_apart_and_keeps_their_secret() {
        let one: Receiver = "https://pager.example/hook/s3cret?token=abc".parse().unwrap();
        let other: Receiver = "https://pager.example/hook/other".parse().unwrap();
        assert!(one.name().starts_with("pager.example:443#"));
        assert_ne!(one.name(), other.name());
        assert!(!one.name().contains("s3cret") && !one.name().contains("abc"));
        assert_eq!(one, "https://pager.example/hook/s3cret?token=abc".parse().unwrap());
    }

    #[test]
    fn addresses_that_cannot_be_posted_to_are_refused() {
        for wrong in ["", "pager.example", "/hook", "http://", "localhost:8080"] {
            assert!(wrong.parse::<Receiver>().is_err(), "{wrong}");
        }
        let scheme = "ftp://pager.example/".parse::<Receiver>();
        assert_eq!(scheme, Err(BadAddress::Scheme("ftp".to_owned())));
    }
}
