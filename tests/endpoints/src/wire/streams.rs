//! Puts segments in order: segments enter, both byte streams of every connection leave. Nothing is lost on loopback or between
//! namespaces, so that a hole is simply the end.

use super::pcap::{End, Segment};
use std::collections::HashMap;

/// Client and server.
type Ends = (End, End);

/// One direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Half {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Where each packet's bytes end, with the packet's number.
    pub(crate) ends: Vec<(usize, usize)>,
    /// First packet that closed or reset it, and whether it did the latter.
    pub(crate) closed: Option<(usize, bool)>,
}

/// One connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// From the client.
    pub(crate) client: Half,
    /// From the server.
    pub(crate) server: Half,
}

/// Connections by the client's and the server's port.
pub(crate) fn assemble(segments: &[Segment<'_>]) -> HashMap<(u16, u16), Stream> {
    let mut streams = HashMap::new();
    for open in segments.iter().filter(|segment| segment.syn && !segment.ack) {
        streams.entry((open.from, open.to)).or_insert((open.sequence, None, Vec::new(), Vec::new()));
    }
    for segment in segments {
        if let Some(stream) = streams.get_mut(&(segment.from, segment.to)) {
            stream.2.push(segment);
        } else if let Some(stream) = streams.get_mut(&(segment.to, segment.from)) {
            if segment.syn {
                stream.1 = Some(segment.sequence);
            }
            stream.3.push(segment);
        }
    }
    let whole =
        |((from, to), (start, answer, client, server)): (Ends, (u32, Option<u32>, Vec<_>, Vec<_>))| {
            let server = answer.map(|answer| half(answer, server)).unwrap_or_default();
            ((from.1, to.1), Stream { client: half(start, client), server })
        };
    streams.into_iter().map(whole).collect()
}

fn half(start: u32, segments: Vec<&Segment<'_>>) -> Half {
    let offset = |segment: &Segment<'_>| segment.sequence.wrapping_sub(start).wrapping_sub(1) as usize;
    let close = segments.iter().find(|segment| segment.fin || segment.reset);
    let mut half = Half { closed: close.map(|segment| (segment.packet, segment.reset)), ..Half::default() };
    let mut pieces: Vec<_> = segments.into_iter().filter(|segment| !segment.data.is_empty()).collect();
    pieces.sort_by_key(|segment| (offset(segment), segment.packet));
    for piece in pieces {
        let Some(known) = half.bytes.len().checked_sub(offset(piece)) else { break };
        if let Some(new) = piece.data.get(known..).filter(|new| !new.is_empty()) {
            half.bytes.extend_from_slice(new);
            half.ends.push((half.bytes.len(), piece.packet));
        }
    }
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: End = ([192, 0, 2, 1], 4000);
    /// Ports may be the same on both hosts.
    const SERVER: End = ([192, 0, 2, 2], 4000);

    fn segment(packet: usize, from: End, to: End, sequence: u32, data: &[u8]) -> Segment<'_> {
        Segment { packet, from, to, sequence, syn: false, ack: true, fin: false, reset: false, data }
    }

    #[test]
    fn bytes_are_put_in_order_and_repeated_ones_left_out() {
        let open =
            |packet, from, to, ack| Segment { syn: true, ack, ..segment(packet, from, to, u32::MAX, b"") };
        let segments = [
            open(1, CLIENT, SERVER, false),
            open(2, SERVER, CLIENT, true),
            segment(3, CLIENT, SERVER, 3, b"lo"),
            segment(4, CLIENT, SERVER, 0, b"hel"),
            segment(5, CLIENT, SERVER, 2, b"ll"),
            Segment { fin: true, ..segment(6, SERVER, CLIENT, 0, b"yes") },
        ];
        let streams = assemble(&segments);
        let stream = &streams[&(4000, 4000)];
        assert_eq!(stream.client.bytes, b"hello");
        assert_eq!(stream.client.ends, [(3, 4), (4, 5), (5, 3)]);
        assert_eq!((stream.server.bytes.as_slice(), stream.server.closed), (&b"yes"[..], Some((6, false))));
        assert_eq!(stream.client.closed, None);
    }
}
