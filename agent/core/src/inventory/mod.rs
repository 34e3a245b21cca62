//! What servers there are, how their key exchanges and certificates stand: one entry per server.
//!
//! Enters: observations. Leaves: the inventory, as data that serialises to one documented JSON object, and what the
//! handshakes of a server together say of the chain of one of them. Certificates of TLS 1.3 are encrypted, and one flow
//! by itself bounds them loosely; the handshakes of a server narrow that (`sums`, `pattern`, `chains`). A record is
//! never touched by it.
//!
//! Bounded whatever is observed: servers, names and certificates beyond a bound are counted as left out.

mod chains;
mod met;
mod pattern;
mod server;
mod sums;
mod tally;

use crate::observation::{Endpoint, Observation, SCHEMA, SignatureFamily};
use serde::{Serialize, Serializer};
use server::Server;
use std::collections::BTreeMap;

/// Servers told apart.
const MAX_SERVERS: usize = 10_000;

/// Leaf certificates kept in all, of at most 3 KiB.
const MAX_LEAVES: usize = 10_000;

/// The longest host name (RFC 1035 section 2.3.4, as text); a longer one is a server's that is left out.
const MAX_NAME: usize = 253;

/// Address, port and name of a server. The name is in lower case.
type ServerKey = (Endpoint, Option<String>);

/// All servers that were met.
#[derive(Debug)]
pub struct Inventory {
    servers: BTreeMap<ServerKey, Server>,
    room_for_servers: usize,
    room_for_leaves: usize,
    left_out: u64,
}

/// What the handshakes of a server together say of one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pooled {
    /// How the server's certificate signs.
    pub family: Option<SignatureFamily>,
    /// Least and greatest size of its chain, in bytes.
    pub chain: Option<(u64, u64)>,
}

impl Default for Inventory {
    fn default() -> Self {
        Self {
            servers: BTreeMap::new(),
            room_for_servers: MAX_SERVERS,
            room_for_leaves: MAX_LEAVES,
            left_out: 0,
        }
    }
}

impl Inventory {
    /// An inventory of at most so many servers, and as many leaf certificates. A server takes about 3 KiB, and 20 KiB at
    /// the most.
    pub fn bounded(servers: usize) -> Self {
        Self { room_for_servers: servers, room_for_leaves: servers, ..Self::default() }
    }

    /// Adds a handshake to its server's entry.
    pub fn add(&mut self, seen: &Observation) {
        let key = key(seen);
        let is_left_out = key.1.as_ref().is_some_and(|name| name.len() > MAX_NAME);
        let known = !is_left_out && self.servers.contains_key(&key);
        if is_left_out || (!known && self.servers.len() >= self.room_for_servers) {
            self.left_out += 1;
            return;
        }
        let server = self.servers.entry(key).or_insert_with(|| Server::new(seen));
        server.add(seen, &mut self.room_for_leaves);
    }

    /// What the handshakes added so far say of this one, which is among them.
    pub fn pooled(&self, seen: &Observation) -> Pooled {
        let (family, chain) =
            self.servers.get(&key(seen)).map(|server| server.pooled(seen)).unwrap_or_default();
        Pooled { family, chain }
    }

    /// Handshakes of servers that there was no room for.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn key(seen: &Observation) -> ServerKey {
    (seen.server, seen.server_name.as_ref().map(|name| name.to_ascii_lowercase()))
}

/// One object with `schema`, `servers` in the order of address, port and name, and `left_out`.
impl Serialize for Inventory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Entry<'a> {
            server: Endpoint,
            server_name: Option<&'a str>,
            #[serde(flatten)]
            facts: &'a Server,
        }
        #[derive(Serialize)]
        struct Whole<'a> {
            schema: u32,
            servers: Vec<Entry<'a>>,
            left_out: LeftOut,
        }
        #[derive(Serialize)]
        struct LeftOut {
            handshakes: u64,
        }
        let servers = self.servers.iter().map(|((server, name), facts)| Entry {
            server: *server,
            server_name: name.as_deref(),
            facts,
        });
        let left_out = LeftOut { handshakes: self.left_out };
        Whole { schema: SCHEMA, servers: servers.collect(), left_out }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
