//! Handshake messages out of the bodies of handshake records (RFC 8446 section 4), one reader per direction.
//!
//! A message may be cut by record boundaries anywhere, its four-byte header included, and a record may hold several.
//! As with records, nothing but an unfinished header is buffered here.

/// Handshake message types that the machine looks at (IANA "TLS HandshakeType").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageType(pub(crate) u8);

impl MessageType {
    pub(crate) const CLIENT_HELLO: Self = Self(1);
    pub(crate) const SERVER_HELLO: Self = Self(2);
    /// Only in drafts before 22 of TLS 1.3; later a ServerHello with a fixed random.
    pub(crate) const HELLO_RETRY_REQUEST: Self = Self(6);
    pub(crate) const CERTIFICATE: Self = Self(11);
    pub(crate) const SERVER_KEY_EXCHANGE: Self = Self(12);
    pub(crate) const SERVER_HELLO_DONE: Self = Self(14);
    pub(crate) const CLIENT_KEY_EXCHANGE: Self = Self(16);
}

/// Type and length of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageHeader {
    pub(crate) kind: MessageType,
    /// Bytes of the body, up to 2^24 - 1.
    pub(crate) length: u32,
}

/// The next thing in a stream of handshake messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A message begins.
    Start(MessageHeader),
    /// Bytes of its body.
    Body(&'a [u8]),
    /// It is over.
    End(MessageHeader),
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Header { bytes: [u8; 4], have: u8 },
    Body { header: MessageHeader, left: u32 },
}

const BEFORE_HEADER: Place = Place::Header { bytes: [0; 4], have: 0 };

/// Reads handshake messages of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageReader {
    place: Place,
}

impl Default for MessageReader {
    fn default() -> Self {
        Self { place: BEFORE_HEADER }
    }
}

impl MessageReader {
    /// Takes the next part off `input`; `None` when `input` is used up.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Part<'a>> {
        match &mut self.place {
            Place::Body { header, left: 0 } => {
                let header = *header;
                self.place = BEFORE_HEADER;
                Some(Part::End(header))
            }
            Place::Body { left, .. } => {
                if input.is_empty() {
                    return None;
                }
                let (body, rest) = input.split_at((*left as usize).min(input.len()));
                *input = rest;
                *left -= u32::try_from(body.len()).unwrap_or(*left);
                Some(Part::Body(body))
            }
            Place::Header { bytes, have } => {
                while usize::from(*have) < bytes.len() {
                    let (first, rest) = input.split_first()?;
                    if let Some(slot) = bytes.get_mut(usize::from(*have)) {
                        *slot = *first;
                    }
                    *have += 1;
                    *input = rest;
                }
                let [kind, high, middle, low] = *bytes;
                let length = u32::from_be_bytes([0, high, middle, low]);
                let header = MessageHeader { kind: MessageType(kind), length };
                self.place = Place::Body { header, left: length };
                Some(Part::Start(header))
            }
        }
    }

    /// Passes over `length` missing bytes; `false` where the hole does not end within the current message, so that
    /// the place is lost.
    pub(crate) fn skip(&mut self, length: usize) -> bool {
        match &mut self.place {
            Place::Body { left, .. } if *left as usize >= length => {
                *left -= u32::try_from(length).unwrap_or(*left);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut_and_share_records() {
        let stream = [1, 0, 0, 3, 7, 8, 9, 14, 0, 0, 0, 2, 0, 0, 1, 5];
        for cut in 0..=stream.len() {
            let mut reader = MessageReader::default();
            let mut seen: Vec<(u8, Vec<u8>)> = Vec::new();
            let mut ends = 0;
            for chunk in [&stream[..cut], &stream[cut..]] {
                let mut input = chunk;
                while let Some(part) = reader.next(&mut input) {
                    match part {
                        Part::Start(header) => seen.push((header.kind.0, Vec::new())),
                        Part::Body(body) => seen.last_mut().unwrap().1.extend_from_slice(body),
                        Part::End(_) => ends += 1,
                    }
                }
            }
            assert_eq!(seen, [(1, vec![7, 8, 9]), (14, vec![]), (2, vec![5])], "cut at {cut}");
            assert_eq!(ends, 3);
        }
    }

    #[test]
    fn a_hole_may_lie_within_one_message_only() {
        let mut reader = MessageReader::default();
        let mut input: &[u8] = &[11, 0, 0, 10, 1];
        while reader.next(&mut input).is_some() {}
        assert!(!reader.skip(10));
        assert!(reader.skip(9));
        assert!(matches!(reader.next(&mut input), Some(Part::End(_))));
    }
}
