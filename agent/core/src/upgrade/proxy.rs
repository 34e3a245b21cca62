//! The header in which a proxy passes on the addresses of its client (HAProxy's PROXY protocol, versions 1 and 2). It is
//! no upgrade: what follows begins as if nothing had been there.

use super::frame::{Framed, Frames, Measure};
use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

/// What a header of version 2 begins with.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Longest header of version 1, its line end included.
const LONGEST_LINE: usize = 107;

/// A header that is being read.
#[derive(Debug, Default)]
pub(super) struct ProxyHeader {
    frames: Frames,
}

fn measure(head: &[u8]) -> Measure {
    if head.starts_with(b"PROXY ") {
        return match head.iter().position(|byte| *byte == b'\n') {
            Some(end) => Measure::Total(end as u64 + 1),
            None if head.len() < LONGEST_LINE => Measure::More,
            None => Measure::Invalid,
        };
    }
    match head.split_first_chunk::<12>() {
        Some((signature, _)) if signature != SIGNATURE => Measure::Invalid,
        Some((_, [version, ..])) if version >> 4 != 2 => Measure::Invalid,
        Some((_, [_, _, high, low, ..])) => Measure::Total(16 + u64::from(u16::from_be_bytes([*high, *low]))),
        _ => Measure::More,
    }
}

impl Dialogue for ProxyHeader {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        if from == Side::Server {
            return Some(News::Lost);
        }
        Some(match self.frames.next(bytes, measure)? {
            Framed::Whole => News::Accepted,
            Framed::Invalid => News::Lost,
        })
    }

    fn is_between_units(&self, _: Side) -> bool {
        false
    }

    fn name(&self) -> Option<UpgradedFrom> {
        None
    }

    fn is_tunnel(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;
    use Side::Client as C;

    #[test]
    fn both_versions_end_where_they_say() {
        let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n\x16\x03\x01";
        assert_eq!(news(ProxyHeader::default, &[(C, line)])[..1], [(News::Accepted, 3)]);
        let binary = [&SIGNATURE[..], &[0x21, 0x11, 0, 12], &[7; 12], &[0x16, 3]].concat();
        assert_eq!(news(ProxyHeader::default, &[(C, &binary)])[..1], [(News::Accepted, 2)]);
    }

    #[test]
    fn what_is_none_is_told_soon() {
        let long = [&b"PROXY "[..], &[b'x'; 200]].concat();
        assert_eq!(news(ProxyHeader::default, &[(C, &long)])[0].0, News::Lost);
        let other = [&SIGNATURE[..], &[0x11, 0x11, 0, 0]].concat();
        assert_eq!(news(ProxyHeader::default, &[(C, &other)])[0].0, News::Lost);
    }
}
