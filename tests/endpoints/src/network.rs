//! Where handshakes travel: the loopback interface, or a pair of network namespaces joined by virtual Ethernet with an MTU of
//! 1500. The namespaces are made here, have names of this process alone, and go when the value does.

use anyhow::{Result, bail};
use std::process::{Command, Stdio};

/// Which end of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// Where clients run.
    Client,
    /// Where servers run, and the capture.
    Server,
}

/// A network to test on.
pub(crate) enum Network {
    /// 127.0.0.1.
    Loopback,
    /// Two namespaces: the client's and the server's.
    Namespaces(String, String),
}

impl Network {
    /// Makes two namespaces.
    pub(crate) fn namespaces() -> Result<Self> {
        let id = std::process::id();
        let (client, server) = (format!("pqs-c-{id}"), format!("pqs-s-{id}"));
        // Dropped, and so removed, when a later step fails.
        let network = Self::Namespaces(client.clone(), server.clone());
        let (near, far) = (format!("pqc{id}"), format!("pqs{id}"));
        ip(&["netns", "add", &client])?;
        ip(&["netns", "add", &server])?;
        ip(&[
            "link", "add", &near, "netns", &client, "mtu", "1500", "type", "veth", "peer", "name", &far,
            "netns", &server,
        ])?;
        for (space, link, address) in [(&client, &near, "192.0.2.1/24"), (&server, &far, "192.0.2.2/24")] {
            ip(&["-n", space, "link", "set", link, "name", "wire"])?;
            ip(&["-n", space, "address", "add", address, "dev", "wire"])?;
            ip(&["-n", space, "link", "set", "wire", "up"])?;
            ip(&["-n", space, "link", "set", "lo", "up"])?;
            // Segments as long as the wire allows, not as long as the kernel would hand them over. Without the tool they are longer.
            let words =
                ["netns", "exec", space, "ethtool", "-K", "wire", "tso", "off", "gso", "off", "gro", "off"];
            let _ = ip(&words);
        }
        Ok(network)
    }

    /// Words of the table's heading.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Namespaces(..) => "two namespaces, MTU 1500",
        }
    }

    /// Address that servers listen on.
    pub(crate) fn address(&self) -> &'static str {
        match self {
            Self::Loopback => "127.0.0.1",
            Self::Namespaces(..) => "192.0.2.2",
        }
    }

    /// Interface to capture on, at the server's place.
    pub(crate) fn interface(&self) -> &'static str {
        match self {
            Self::Loopback => "lo",
            Self::Namespaces(..) => "wire",
        }
    }

    /// A command that runs at a place.
    pub(crate) fn command(&self, place: Place, words: &[String]) -> Command {
        let space = match (self, place) {
            (Self::Loopback, _) => None,
            (Self::Namespaces(client, _), Place::Client) => Some(client),
            (Self::Namespaces(_, server), Place::Server) => Some(server),
        };
        let mut all =
            space.map_or_else(Vec::new, |space| ["ip", "netns", "exec", space].map(str::to_owned).to_vec());
        all.extend_from_slice(words);
        let mut words = all.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Self::Namespaces(client, server) = self {
            for space in [client, server] {
                let _ = ip(&["netns", "delete", space]);
            }
        }
    }
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("ip {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
