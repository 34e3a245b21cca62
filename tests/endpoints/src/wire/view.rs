//! One connection as its endpoints know it: both byte streams and the secrets enter; records with the messages and alerts that
//! they hold leave.

use super::keylog::KeyLog;
use super::pcap::short;
use super::protection::Opener;
use super::streams::{Half, Stream};

/// Who sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The end that sent the ClientHello.
    Client,
    /// Its peer.
    Server,
}

/// Key of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// None: in the clear, or under a key that is not looked at.
    Clear,
    /// Handshake traffic.
    Handshake,
    /// Application traffic.
    Application,
    /// Could not be opened.
    Sealed,
}

/// One record.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Packet that completed it.
    pub(crate) packet: usize,
    /// Type on the outside.
    pub(crate) kind: u8,
    /// Length field.
    pub(crate) length: u16,
    /// What protected it.
    pub(crate) phase: Phase,
    /// Handshake messages that end in it: type and body.
    pub(crate) messages: Vec<(u8, Vec<u8>)>,
    /// Alert in it: level and description.
    pub(crate) alert: Option<(u8, u8)>,
    /// Bytes of padding.
    pub(crate) padding: usize,
}

/// One connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// From the client.
    pub(crate) client: Vec<Record>,
    /// From the server.
    pub(crate) server: Vec<Record>,
    /// Suite of the ServerHello.
    pub(crate) suite: Option<u16>,
    /// TLS 1.3 was chosen.
    pub(crate) modern: bool,
    /// How each side closed: the packet, and whether it reset. Client, then server.
    pub(crate) closed: [Option<(usize, bool)>; 2],
}

const HELLO_RETRY: [u8; 4] = [0xcf, 0x21, 0xad, 0x74];

impl View {
    /// Reads both directions.
    pub(crate) fn read(stream: &Stream, keys: &KeyLog) -> Self {
        let (client, server) = (split(&stream.client), split(&stream.server));
        let mut view = Self { closed: [stream.client.closed, stream.server.closed], ..Self::default() };
        let hello = clear_messages(&client).into_iter().find(|(kind, _)| *kind == 1);
        let random = hello.as_ref().and_then(|(_, body)| body.get(2..34)).unwrap_or_default();
        if let Some((_, hello)) = clear_messages(&server).into_iter().rev().find(|(kind, _)| *kind == 2) {
            view.read_server_hello(&hello);
        }
        let suite = view.suite.filter(|_| view.modern);
        let opener = |label: &str| Opener::new(suite?, keys.secret(label, random)?);
        let openers = [opener("CLIENT_HANDSHAKE_TRAFFIC_SECRET"), opener("CLIENT_TRAFFIC_SECRET_0")];
        view.client = open(client, openers, view.modern);
        let openers = [opener("SERVER_HANDSHAKE_TRAFFIC_SECRET"), opener("SERVER_TRAFFIC_SECRET_0")];
        view.server = open(server, openers, view.modern);
        view
    }

    fn read_server_hello(&mut self, hello: &[u8]) {
        if hello.get(2..6) == Some(&HELLO_RETRY) {
            return;
        }
        let session = usize::from(hello.get(34).copied().unwrap_or_default());
        self.suite = short(hello, 35 + session);
        let mut extensions = hello.get(40 + session..).unwrap_or_default();
        while let (Some(kind), Some(length)) = (short(extensions, 0), short(extensions, 2)) {
            let body = extensions.get(4..).unwrap_or_default();
            self.modern |= kind == 43 && short(body, 0) == Some(0x0304);
            extensions = body.get(usize::from(length)..).unwrap_or_default();
        }
    }

    /// Records of one side.
    pub(crate) fn records(&self, side: Side) -> &[Record] {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// First message of a type from one side.
    pub(crate) fn message(&self, side: Side, kind: u8) -> Option<&[u8]> {
        let mut messages = self.records(side).iter().flat_map(|record| &record.messages);
        messages.find(|(known, _)| *known == kind).map(|(_, body)| body.as_slice())
    }

    /// First alert of one side that is neither close_notify nor user_canceled.
    pub(crate) fn alert(&self, side: Side) -> Option<Alert> {
        let told = |record: &Record| {
            let (_, description) = record.alert.filter(|(_, description)| !matches!(description, 0 | 90))?;
            Some(Alert { description, phase: record.phase, packet: record.packet })
        };
        self.records(side).iter().find_map(told)
    }

    /// Type and length of a side's messages under the handshake keys.
    pub(crate) fn encrypted_messages(&self, side: Side) -> Vec<(u8, usize)> {
        let records = self.records(side).iter().filter(|record| record.phase == Phase::Handshake);
        records.flat_map(|record| record.messages.iter().map(|(kind, body)| (*kind, body.len()))).collect()
    }

    /// The view up to and with a packet.
    pub(crate) fn up_to(&self, packet: usize) -> Self {
        let mut view = self.clone();
        view.client.retain(|record| record.packet <= packet);
        view.server.retain(|record| record.packet <= packet);
        view
    }

    /// Whether both sides sent an encrypted handshake record, in TLS 1.2 or earlier.
    pub(crate) fn old_finished(&self) -> bool {
        let finished = |records: &[Record]| {
            records.iter().any(|record| record.kind == 22 && record.phase == Phase::Sealed)
        };
        !self.modern && finished(&self.client) && finished(&self.server)
    }

    /// Whether the first ClientHello has an extension.
    pub(crate) fn hello_has(&self, extension: u16) -> bool {
        self.message(Side::Client, 1).and_then(|hello| has_extension(hello, extension)).unwrap_or_default()
    }

    /// Whether a side sent its Finished (TLS 1.3) no later than in a packet.
    pub(crate) fn finished_before(&self, side: Side, packet: usize) -> bool {
        let finished =
            |record: &&Record| record.kind == 23 && record.messages.iter().any(|(kind, _)| *kind == 20);
        self.records(side).iter().find(finished).is_some_and(|record| record.packet <= packet)
    }
}

fn has_extension(hello: &[u8], extension: u16) -> Option<bool> {
    let rest = hello.get(35 + usize::from(*hello.get(34)?)..)?;
    let rest = rest.get(2 + usize::from(short(rest, 0)?)..)?;
    let mut rest = rest.get(1 + usize::from(*rest.first()?) + 2..)?;
    while let (Some(kind), Some(length)) = (short(rest, 0), short(rest, 2)) {
        if kind == extension {
            return Some(true);
        }
        rest = rest.get(4 + usize::from(length)..)?;
    }
    Some(false)
}

/// An alert.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alert {
    /// Its number.
    pub(crate) description: u8,
    /// Its key.
    pub(crate) phase: Phase,
    /// Packet that it came in.
    pub(crate) packet: usize,
}

/// Records with the bytes of header and body.
struct Raw {
    packet: usize,
    header: [u8; 5],
    body: Vec<u8>,
}

fn split(half: &Half) -> Vec<Raw> {
    let (mut at, mut records) = (0, Vec::new());
    while let Some(header) = half.bytes.get(at..at + 5).and_then(|header| <[u8; 5]>::try_from(header).ok()) {
        let [kind, 3, _, high, low] = header else { break };
        let end = at + 5 + usize::from(u16::from_be_bytes([high, low]));
        let Some(body) = half.bytes.get(at + 5..end).filter(|_| (20..=23).contains(&kind)) else { break };
        let packet = half.ends.iter().find(|(reach, _)| *reach >= end).map_or(0, |(_, packet)| *packet);
        records.push(Raw { packet, header, body: body.to_vec() });
        at = end;
    }
    records
}

fn clear_messages(records: &[Raw]) -> Vec<(u8, Vec<u8>)> {
    let mut joined = Joined::default();
    let handshake =
        records.iter().take_while(|record| record.header[0] != 23).filter(|record| record.header[0] == 22);
    handshake.flat_map(|record| joined.add(&record.body)).collect()
}

/// Handshake messages out of the contents of records.
#[derive(Default)]
struct Joined(Vec<u8>);

impl Joined {
    fn add(&mut self, content: &[u8]) -> Vec<(u8, Vec<u8>)> {
        self.0.extend_from_slice(content);
        let mut whole = Vec::new();
        while let Some([kind, a, b, c]) = self.0.get(..4).and_then(|header| <[u8; 4]>::try_from(header).ok())
        {
            let end = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
            let Some(body) = self.0.get(4..end) else { break };
            whole.push((kind, body.to_vec()));
            self.0.drain(..end);
        }
        whole
    }
}

/// Opens what the secrets open. The second opener takes over once Finished came. Records that the first cannot open before it
/// has opened any are early data.
fn open(
    records: Vec<Raw>,
    [mut handshake, mut application]: [Option<Opener>; 2],
    modern: bool,
) -> Vec<Record> {
    let (mut joined, mut finished, mut changed) = (Joined::default(), false, false);
    let mut read = Vec::new();
    for raw in records {
        let length = u16::from_be_bytes([raw.header[3], raw.header[4]]);
        let (packet, kind) = (raw.packet, raw.header[0]);
        let mut record = Record {
            packet,
            kind,
            length,
            phase: Phase::Clear,
            messages: Vec::new(),
            alert: None,
            padding: 0,
        };
        let content = if kind == 23 {
            let opener = if finished { &mut application } else { &mut handshake };
            let opened = opener.as_mut().and_then(|opener| opener.open(&raw.header, &raw.body));
            record.phase = match (&opened, finished) {
                (None, _) => Phase::Sealed,
                (_, false) => Phase::Handshake,
                (_, true) => Phase::Application,
            };
            opened
        } else if changed && !modern {
            // After ChangeCipherSpec the older versions encrypt under the same types.
            record.phase = Phase::Sealed;
            None
        } else {
            changed |= kind == 20;
            Some((kind, raw.body))
        };
        if let Some((inner, content)) = content {
            if kind == 23 {
                record.padding = usize::from(length).saturating_sub(content.len() + 17);
            }
            match inner {
                21 => {
                    record.alert =
                        content.first().copied().zip(content.get(1).copied()).filter(|_| content.len() == 2)
                }
                22 => record.messages = joined.add(&content),
                _ => {}
            }
            finished |= kind == 23 && record.messages.iter().any(|(kind, _)| *kind == 20);
        }
        read.push(record);
    }
    read
}

/// Name of a handshake message type (RFC 8446, section 4; RFC 8879).
fn message_name(kind: u8) -> &'static str {
    match kind {
        1 => "ClientHello",
        2 => "ServerHello",
        4 => "NewSessionTicket",
        5 => "EndOfEarlyData",
        8 => "EncryptedExtensions",
        11 => "Certificate",
        13 => "CertificateRequest",
        15 => "CertificateVerify",
        20 => "Finished",
        25 => "CompressedCertificate",
        _ => "other",
    }
}

/// `packet 7: 281 handshake CertificateVerify 260`: length field, key, messages with the length of their bodies.
impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "packet {}: type {} length {} {:?}", self.packet, self.kind, self.length, self.phase)?;
        if self.phase != Phase::Clear || self.kind == 22 {
            for (kind, body) in &self.messages {
                write!(f, " {} {}", message_name(*kind), body.len())?;
            }
        }
        if let Some((level, description)) = self.alert {
            write!(f, " alert level {level} description {description}")?;
        }
        if self.padding > 0 { write!(f, " padding {}", self.padding) } else { Ok(()) }
    }
}
