//! Puts segments in order: segments enter, both byte streams of every connection leave. Nothing is lost on loopback or between
//! namespaces, so that a hole is simply the end.

use super::pcap::Segment;
use std::collections::HashMap;

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
        streams.entry(open.ports).or_insert((open.sequence, None, Vec::new(), Vec::new()));
    }
    for segment in segments {
        let (client, server) = segment.ports;
        if let Some(stream) = streams.get_mut(&(client, server)) {
            stream.2.push(segment);
        } else if let Some(stream) = streams.get_mut(&(server, client)) {
            if segment.syn {
                stream.1 = Some(segment.sequence);
            }
            stream.3.push(segment);
        }
    }
    let whole = |(ports, (start, answer, client, server)): (_, (u32, Option<u32>, Vec<_>, Vec<_>))| {
        let server = answer.map(|answer| half(answer, server)).unwrap_or_default();
        (ports, Stream { client: half(start, client), server })
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
