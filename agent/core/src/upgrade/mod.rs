//! What a connection says in the clear before TLS: mail and other protocols that upgrade, tunnels, and the header that
//! a proxy puts in front.
//!
//! Enters: the bytes of both sides in causal order. Leaves: when the client has asked for TLS or for a tunnel, what the
//! server said to that, and with both the very byte that comes next. Told by content, never by port. Only the first
//! bytes of a line or message are kept, so that a dialogue takes some hundred bytes whatever is said in it.

mod frame;
mod http;
mod imap;
mod ldap;
mod line;
mod mysql;
mod postgres;
mod proxy;
mod rdp;
mod recognise;
mod replies;
mod socks;
mod xmpp;

pub(crate) use recognise::{Circumstances, LONGEST_PREFIX, Recognition, recognise};

use crate::observation::{Side, UpgradedFrom};
use std::fmt::Debug;

/// Something that matters beyond the dialogue. It is told before the bytes behind it are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The client has asked for TLS, or for a tunnel, and may send TLS from here on.
    Asked,
    /// TLS, or what goes through the tunnel, begins with the next byte of each side.
    Accepted,
    /// The server declined.
    Refused,
    /// This is not the protocol that it seemed to be, or TLS cannot follow any more.
    Lost,
}

/// A protocol that may precede TLS.
pub(crate) trait Dialogue: Debug + Send {
    /// Reads bytes of one side up to the next news, or all of them.
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News>;

    /// Whether a side stands between two lines or messages, or where it stands is not known.
    fn is_between_units(&self, side: Side) -> bool;

    /// Bytes of a side are missing. Whatever is concluded from an answer is in doubt from here on; `false` when the
    /// dialogue cannot be followed any more, as in most protocols.
    fn hole(&mut self, _side: Side) -> bool {
        false
    }

    /// The name in the record. `None` for what is no upgrade, and while several protocols look alike.
    fn name(&self) -> Option<UpgradedFrom>;

    /// Whether what is accepted is a stream of any kind rather than TLS.
    fn is_tunnel(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// Runs a dialogue; every news with the bytes of its segment that were left then.
    pub(super) fn told(dialogue: &mut dyn Dialogue, said: &[(Side, &[u8])]) -> Vec<(News, usize)> {
        let mut out = Vec::new();
        for (from, bytes) in said {
            let mut rest = *bytes;
            while let Some(news) = dialogue.next(*from, &mut rest) {
                out.push((news, rest.len()));
                if news == News::Lost {
                    return out;
                }
            }
            assert!(rest.is_empty(), "no news, and {} bytes left", rest.len());
        }
        out
    }

    /// The same with the bytes one by one; the bytes left are those of the whole pieces.
    pub(super) fn told_bytewise(dialogue: &mut dyn Dialogue, said: &[(Side, &[u8])]) -> Vec<(News, usize)> {
        let mut out = Vec::new();
        for (from, bytes) in said {
            for (n, byte) in bytes.chunks(1).enumerate() {
                let mut rest = byte;
                while let Some(news) = dialogue.next(*from, &mut rest) {
                    out.push((news, rest.len() + bytes.len() - n - 1));
                    if news == News::Lost {
                        return out;
                    }
                }
            }
        }
        out
    }

    /// Both ways must tell the same.
    pub(super) fn news<D: Dialogue>(make: impl Fn() -> D, said: &[(Side, &[u8])]) -> Vec<(News, usize)> {
        let (whole, bytewise) = (told(&mut make(), said), told_bytewise(&mut make(), said));
        assert_eq!(whole, bytewise, "the cut shows");
        whole
    }
}
