//! Whether a connection was met before, in little room: two captures of one network hold every handshake twice, and twice
//! is no evidence.

use crate::observation::Endpoint;
use std::hash::{DefaultHasher, Hash, Hasher};

const WORDS: usize = 16;

/// Places taken before all are given back: beyond, too many new connections would pass for known ones.
const MOST_TAKEN: u32 = 512;

/// Clients' addresses and ports, one place of 1024 each. Two that share a place pass for one: evidence is lost, none is
/// made.
#[derive(Debug, Default)]
pub(super) struct Met {
    places: [u64; WORDS],
    taken: u32,
}

impl Met {
    /// Remembers a client; false where it was met before, or may have been.
    pub(super) fn is_new(&mut self, client: Endpoint) -> bool {
        let mut hasher = DefaultHasher::new();
        client.hash(&mut hasher);
        let number = hasher.finish();
        let bit = 1_u64 << (number % 64);
        let Some(word) =
            usize::try_from(number / 64 % WORDS as u64).ok().and_then(|at| self.places.get_mut(at))
        else {
            return false;
        };
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.taken += 1;
        if self.taken >= MOST_TAKEN {
            *self = Self::default();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> Endpoint {
        Endpoint { address: [192, 0, 2, 1].into(), port }
    }

    #[test]
    fn a_client_is_new_once() {
        let mut met = Met::default();
        assert!(met.is_new(client(1)) && !met.is_new(client(1)) && met.is_new(client(2)));
    }

    #[test]
    fn most_clients_are_new_however_many_there_are() {
        let mut met = Met::default();
        let new = (0..10_000).filter(|port| met.is_new(client(*port))).count();
        assert!(new > 6_000, "{new}");
    }
}
