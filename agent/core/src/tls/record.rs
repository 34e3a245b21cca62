//! TLS records out of a byte stream (RFC 8446 section 5.1), one reader per direction.
//!
//! Enters: bytes in stream order, in pieces of any size, and the lengths of holes. Leaves: record headers, bodies as
//! far as they have come, record ends. Nothing is buffered but a header that is not whole yet, so a record costs the
//! same whatever its length.

/// Kind of a record by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentType {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
    Heartbeat,
}

impl ContentType {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            24 => Self::Heartbeat,
            _ => return None,
        })
    }
}

/// What a record's five header bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) content: ContentType,
    /// Length field: bytes of the body.
    pub(crate) length: u16,
}

/// Length of a record header.
pub(crate) const HEADER_LENGTH: usize = 5;

/// 2^14 and the most that encryption and compression may add (RFC 5246 section 6.2.3).
const MAX_LENGTH: u16 = 16_384 + 2_048;

impl RecordHeader {
    /// Reads a header; `None` where the bytes are none: an unknown type, a version that is not 3.x or a private or
    /// draft number, an impossible length.
    pub(crate) fn parse(bytes: [u8; HEADER_LENGTH]) -> Option<Self> {
        let [kind, major, minor, high, low] = bytes;
        let content = ContentType::from_byte(kind)?;
        let length = u16::from_be_bytes([high, low]);
        let version_fits = (major == 3 && minor <= 4) || matches!(major, 0x7e | 0x7f | 0xfb);
        (version_fits && length <= MAX_LENGTH).then_some(Self { content, length })
    }
}

/// The next thing in a stream of records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A record begins.
    Start(RecordHeader),
    /// Bytes of the body of the record that began last.
    Body(RecordHeader, &'a [u8]),
    /// The record that began last is over.
    End(RecordHeader),
    /// What stands where a header should is none; the reader has lost its place.
    Invalid,
}

/// Where a reader stands in the stream.
#[derive(Clone, Copy, Debug)]
enum Place {
    Header { bytes: [u8; HEADER_LENGTH], have: u8 },
    Body { header: RecordHeader, left: u16 },
    Lost,
}

const BEFORE_HEADER: Place = Place::Header { bytes: [0; HEADER_LENGTH], have: 0 };

/// Reads records of one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordReader {
    place: Place,
}

impl Default for RecordReader {
    fn default() -> Self {
        Self { place: BEFORE_HEADER }
    }
}

impl RecordReader {
    /// Whether the reader no longer knows where records begin.
    pub(crate) const fn is_lost(&self) -> bool {
        matches!(self.place, Place::Lost)
    }

    /// Whether a record or its header has begun and is not over.
    pub(crate) const fn is_within_record(&self) -> bool {
        match self.place {
            Place::Header { have, .. } => have > 0,
            Place::Body { .. } => true,
            Place::Lost => false,
        }
    }

    /// Takes the next piece off `input`; `None` when `input` is used up. A lost reader consumes everything.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        match &mut self.place {
            Place::Lost => {
                *input = &[];
                None
            }
            Place::Body { header, left: 0 } => {
                let header = *header;
                self.place = BEFORE_HEADER;
                Some(Piece::End(header))
            }
            Place::Body { header, left } => {
                if input.is_empty() {
                    return None;
                }
                let (body, rest) = input.split_at(usize::from(*left).min(input.len()));
                *input = rest;
                *left -= u16::try_from(body.len()).unwrap_or(*left);
                Some(Piece::Body(*header, body))
            }
            Place::Header { bytes, have } => {
                while usize::from(*have) < HEADER_LENGTH {
                    let (first, rest) = input.split_first()?;
                    if let Some(slot) = bytes.get_mut(usize::from(*have)) {
                        *slot = *first;
                    }
                    *have += 1;
                    *input = rest;
                }
                let Some(header) = RecordHeader::parse(*bytes) else {
                    self.place = Place::Lost;
                    return Some(Piece::Invalid);
                };
                self.place = Place::Body { header, left: header.length };
                Some(Piece::Start(header))
            }
        }
    }

    /// Passes over `length` bytes that the capture does not hold. The reader keeps its place where the hole ends
    /// within the current record, and is lost otherwise. Returns the part of the hole that lay in the current body.
    pub(crate) fn skip(&mut self, length: usize) -> Hole {
        match &mut self.place {
            Place::Body { header, left } if usize::from(*left) >= length => {
                *left -= u16::try_from(length).unwrap_or(*left);
                Hole::InBody(*header)
            }
            _ => {
                self.place = Place::Lost;
                Hole::Beyond
            }
        }
    }

    /// Whether `bytes`, which begin a segment after a hole, plausibly begin a record too; if so, a lost reader reads
    /// on from there. Flights usually begin with a segment of their own.
    pub(crate) fn resume(&mut self, bytes: &[u8]) -> bool {
        let resumable = bytes
            .first_chunk()
            .copied()
            .and_then(RecordHeader::parse)
            .is_some_and(|header| header.length > 0 && header.content != ContentType::Heartbeat);
        if resumable {
            self.place = BEFORE_HEADER;
        }
        resumable
    }
}

/// Where a hole in the capture lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hole {
    /// Within the body of this record.
    InBody(RecordHeader),
    /// Over a record boundary: the framing is lost.
    Beyond,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(reader: &mut RecordReader, chunks: &[&[u8]]) -> Vec<(Option<ContentType>, Vec<u8>)> {
        let mut records = Vec::new();
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(piece) = reader.next(&mut input) {
                match piece {
                    Piece::Start(header) => records.push((Some(header.content), Vec::new())),
                    Piece::Body(_, body) => records.last_mut().unwrap().1.extend_from_slice(body),
                    Piece::End(_) => {}
                    Piece::Invalid => records.push((None, Vec::new())),
                }
            }
        }
        records
    }

    const STREAM: &[u8] = &[22, 3, 1, 0, 2, 9, 8, 20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 0, 21, 3, 3, 0, 2, 1, 0];

    #[test]
    fn every_cut_gives_the_same_records() {
        let whole = read_all(&mut RecordReader::default(), &[STREAM]);
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[0], (Some(ContentType::Handshake), vec![9, 8]));
        for cut in 0..=STREAM.len() {
            let (a, b) = STREAM.split_at(cut);
            assert_eq!(read_all(&mut RecordReader::default(), &[a, b]), whole, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
        assert_eq!(read_all(&mut RecordReader::default(), &bytes), whole);
    }

    #[test]
    fn garbage_is_said_once_and_then_swallowed() {
        let mut reader = RecordReader::default();
        assert_eq!(read_all(&mut reader, &[b"HTTP/1.1 400 Bad Request\r\n"]), [(None, vec![])]);
        assert!(reader.is_lost());
        assert_eq!(read_all(&mut reader, &[STREAM]), []);
    }

    #[test]
    fn impossible_lengths_and_versions_are_no_header() {
        assert!(RecordHeader::parse([22, 3, 3, 0x48, 1]).is_none());
        assert!(RecordHeader::parse([22, 3, 3, 0x48, 0]).is_some());
        assert!(RecordHeader::parse([22, 4, 3, 0, 1]).is_none());
        assert!(RecordHeader::parse([19, 3, 3, 0, 1]).is_none());
    }

    #[test]
    fn a_hole_within_a_body_keeps_the_framing() {
        let mut reader = RecordReader::default();
        read_all(&mut reader, &[&[22, 3, 3, 0, 10, 1, 2]]);
        assert!(matches!(reader.skip(5), Hole::InBody(_)));
        let rest = read_all(&mut reader, &[&[8, 9, 10, 20, 3, 3, 0, 1, 1][..]].map(|b| &b[..0]));
        assert!(rest.is_empty());
        let mut input: &[u8] = &[8, 9, 10, 20, 3, 3, 0, 1, 1];
        assert!(matches!(reader.next(&mut input), Some(Piece::Body(_, [8, 9, 10]))));
        assert!(matches!(reader.next(&mut input), Some(Piece::End(_))));
        assert!(matches!(reader.next(&mut input), Some(Piece::Start(_))));
    }

    #[test]
    fn a_hole_over_a_boundary_loses_the_framing_until_a_segment_begins_a_record() {
        let mut reader = RecordReader::default();
        read_all(&mut reader, &[&[22, 3, 3, 0, 10, 1, 2]]);
        assert_eq!(reader.skip(9), Hole::Beyond);
        assert!(!reader.resume(&[1, 2, 3, 4, 5, 6]));
        assert!(reader.resume(&[20, 3, 3, 0, 1, 1]));
        assert_eq!(read_all(&mut reader, &[&[20, 3, 3, 0, 1, 1]]).len(), 1);
    }
}
