//! Readers that keep no connection: frames, records, messages, hellos. Where a reader takes pieces, the pieces must not
//! matter.

use super::input::Input;
use crate::decode::{Decoded, LinkType, decode as decode_frame};
use crate::tls::client_hello::HelloReader;
use crate::tls::decrypt::key_log::SharedKeyLog;
use crate::tls::message::{MessageHeader, MessageReader, Part};
use crate::tls::record::{Piece, RecordHeader, RecordReader};

pub(super) const LINKS: [LinkType; 6] = [
    LinkType::Ethernet,
    LinkType::Loopback,
    LinkType::RawIp,
    LinkType::LinuxSll,
    LinkType::LinuxSll2,
    LinkType::Ppp,
];

/// One byte for the link type, one for the bytes that the capture cut off, then the frame.
///
/// # Panics
/// Where a segment holds more than its frame or less than its own length says.
pub fn decode(input: &[u8]) {
    let mut input = Input(input);
    let (Some(link), Some(cut)) = (input.byte(), input.byte()) else { return };
    let frame = input.0;
    for (number, kind) in LINKS.into_iter().enumerate() {
        if link != 0xff && usize::from(link) % LINKS.len() != number {
            continue;
        }
        if let Ok(Decoded::Segment(segment)) = decode_frame(kind, frame, frame.len() + usize::from(cut)) {
            assert!(segment.payload.len() <= frame.len(), "the payload lies in the frame");
            assert!(segment.payload.len() <= segment.payload_length, "no more was captured than sent");
            assert!(segment.encapsulation.layers().count() <= crate::decode::Encapsulation::MAX_DEPTH);
        }
    }
}

/// A record with its body as far as it came, and whether it is over.
type Record = (Option<RecordHeader>, Vec<u8>, bool);

fn records(pieces: &[&[u8]]) -> (Vec<Record>, bool) {
    let mut reader = RecordReader::default();
    let mut records: Vec<Record> = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        let mut steps = 0;
        while let Some(piece) = reader.next(&mut input) {
            steps += 1;
            assert!(steps <= 3 * piece_budget(pieces), "reading ends");
            match (piece, records.last_mut()) {
                (Piece::Start(header), _) => records.push((Some(header), Vec::new(), false)),
                (Piece::Invalid, _) => records.push((None, Vec::new(), true)),
                (Piece::Body(header, bytes), Some(last)) if last.0 == Some(header) && !last.2 => {
                    last.1.extend_from_slice(bytes);
                }
                (Piece::End(header), Some(last)) if last.0 == Some(header) => last.2 = true,
                (piece, last) => panic!("{piece:?} after {last:?}"),
            }
        }
        assert!(input.is_empty(), "what is given is used up");
    }
    (records, reader.is_lost())
}

fn piece_budget(pieces: &[&[u8]]) -> usize {
    pieces.iter().map(|piece| piece.len()).sum::<usize>() + 4
}

/// Four bytes for how the rest is cut into pieces, then the stream.
///
/// # Panics
/// Where the pieces matter, bytes are lost, or a record is longer or shorter than its header says.
pub fn record(input: &[u8]) {
    let mut input = Input(input);
    let Some(seed) = input.long_number() else { return };
    let (whole, lost) = records(&[input.0]);
    let in_pieces = records(&input.pieces(seed));
    assert_eq!((&whole, lost), (&in_pieces.0, in_pieces.1));
    let mut read = 0;
    for (header, body, is_over) in &whole {
        let Some(header) = header else { continue };
        assert!(body.len() <= usize::from(header.length));
        assert_eq!(*is_over, body.len() == usize::from(header.length), "over once it is whole");
        read += 5 + body.len();
    }
    assert!(lost || (read..read + 5).contains(&input.0.len()), "all but a begun header is read");
}

type Message = (MessageHeader, Vec<u8>, bool);

fn messages(pieces: &[&[u8]]) -> Vec<Message> {
    let mut reader = MessageReader::default();
    let mut messages: Vec<Message> = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while let Some(part) = reader.next(&mut input) {
            match (part, messages.last_mut()) {
                (Part::Start(header), _) => messages.push((header, Vec::new(), false)),
                (Part::Body(bytes), Some(last)) if !last.2 => last.1.extend_from_slice(bytes),
                (Part::End(header), Some(last)) if last.0 == header => last.2 = true,
                (part, last) => panic!("{part:?} after {last:?}"),
            }
        }
        assert!(input.is_empty(), "what is given is used up");
    }
    messages
}

/// Four bytes for how the rest is cut into pieces, then the bodies of handshake records.
///
/// # Panics
/// Where the pieces matter, bytes are lost, or a message is longer or shorter than its header says.
pub fn message(input: &[u8]) {
    let mut input = Input(input);
    let Some(seed) = input.long_number() else { return };
    let whole = messages(&[input.0]);
    assert_eq!(whole, messages(&input.pieces(seed)));
    let read: usize = whole.iter().map(|(_, body, _)| 4 + body.len()).sum();
    assert!((read..read + 4).contains(&input.0.len()), "all but a begun header is read");
    for (header, body, is_over) in &whole {
        assert_eq!(*is_over, body.len() == header.length as usize, "over once it is whole");
    }
}

/// Four bytes for how the rest is cut into pieces, then the body of a ClientHello.
///
/// # Panics
/// Where the pieces matter, or more is kept than the bound.
pub fn hello(input: &[u8]) {
    let mut input = Input(input);
    let Some(seed) = input.long_number() else { return };
    let length = u32::try_from(input.0.len()).unwrap_or(u32::MAX);
    let read = |pieces: &[&[u8]]| {
        let mut reader = HelloReader::new(length);
        for piece in pieces {
            reader.push(piece);
            assert!(reader.heap_bytes() <= 16 * 1024, "{} bytes kept", reader.heap_bytes());
        }
        reader.finish()
    };
    let whole = read(&[input.0]);
    assert_eq!(whole, read(&input.pieces(seed)));
    let listed = whole.groups().len() + whole.key_shares().len() + whole.versions().len();
    assert!(listed + whole.signature_schemes().len() + whole.alpn().len() <= 16 * 1024);
    let _ = (whole.server_name(), whole.session_id(), whole.offers_psk(), whole.has_ech());
}

/// A certificate in DER, or what somebody sends for one.
///
/// # Panics
/// Where a fact is longer than it may be.
pub fn certificate(input: &[u8]) {
    if let Some(facts) = crate::x509::leaf_facts(input) {
        assert!(facts.subject.len() <= 4096 && facts.issuer.len() <= 4096);
        assert_eq!(facts.spki_sha256.len(), 64);
    }
}

/// Lines of a key log.
///
/// # Panics
/// Where a line is neither taken, passed by nor refused.
pub fn key_log(input: &[u8]) {
    let log = SharedKeyLog::default();
    let text = String::from_utf8_lossy(input);
    let refused = text.lines().filter(|line| log.add_line(line).is_err()).count() as u64;
    assert_eq!(log.counts().bad_lines, refused);
}
