//! The handshake machine: stream bytes of both directions in, a verdict out.
//!
//! Events come in causal order: what a side sends in answer to something is delivered after that something. The
//! machine takes no part in the handshake: odd traffic is data, holes are told and change a verdict only where it
//! rests on them.

use super::client_hello::{ClientHello, HelloReader, Ssl2HelloReader};
use super::decrypt::Decryption;
use super::decrypt::key_log::SharedKeyLog;
use super::encrypted::{Encrypted, Judgement};
use super::ja4::Hashes;
use super::legacy::{CertificateReader, KEY_EXCHANGE_PREFIX, KeyExchangeParameters};
use super::legacy_flight::Legacy;
use super::message::{MessageHeader, MessageReader, MessageType, Part};
use super::record::{ContentType, Hole, Piece, RecordHeader, RecordReader};
use super::server_hello::{ServerHello, Ssl2Answer, Ssl2AnswerReader};
use super::verdict::Verdict;
use crate::fallback::any_post_quantum;
use crate::iana::{AlertDescription, ProtocolVersion};
use crate::observation::{
    Alert, Evidence, Failure, FailureCause, IncompleteReason, Outcome, Phase, Protocol, Side,
};
use crate::time::Timestamp;

/// Alerts that are listed one by one.
const MAX_ALERTS: usize = 16;

/// Length of an alert in the clear; one of another length is encrypted, or its key change was not seen.
const ALERT_LENGTH: u16 = 2;

/// Bytes of a ChangeCipherSpec with its record header.
const CHANGE_CIPHER_SPEC_LENGTH: usize = 6;

/// Bytes kept of a ServerHello; the largest real ones are under 2 KB.
const MAX_SERVER_HELLO: usize = 16 * 1024;

/// The message body that a direction stands in.
#[derive(Debug)]
enum Body {
    Hello(Box<HelloReader>),
    /// The first bytes of the body, up to a bound.
    Kept {
        bytes: Vec<u8>,
        bound: usize,
    },
    Certificates(Box<CertificateReader>),
    Ignored,
}

/// Reading state of one direction.
#[derive(Debug)]
struct Direction {
    records: RecordReader,
    messages: MessageReader,
    body: Body,
    /// A hole took the framing of messages.
    blind: bool,
    /// First byte of an alert whose second has not come yet.
    alert_level: Option<u8>,
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            records: RecordReader::default(),
            messages: MessageReader::default(),
            body: Body::Ignored,
            blind: false,
            alert_level: None,
        }
    }
}

impl Direction {
    fn heap_bytes(&self) -> usize {
        match &self.body {
            Body::Hello(reader) => size_of::<HelloReader>() + reader.heap_bytes(),
            Body::Kept { bytes, .. } => bytes.capacity(),
            Body::Certificates(reader) => size_of::<CertificateReader>() + reader.heap_bytes(),
            Body::Ignored => 0,
        }
    }
}

/// The first hello.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) start: Timestamp,
    /// `None` until it is whole, and for good where a hole lies in it.
    pub(super) hello: Option<ClientHello>,
    /// Length of a hello that was sent whole and that the snapshot length cut.
    pub(super) cut_length: Option<u32>,
    pub(super) records: u32,
    pub(super) segments: u32,
    /// The last packet that was needed for it so far.
    latest: Timestamp,
    pub(super) complete_at: Option<Timestamp>,
}

/// A HelloRetryRequest.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) request: ServerHello,
    pub(super) at: Timestamp,
    /// Segments of the hello that answers it.
    segments: u32,
}

/// The server's first flight: what it sends from its ServerHello on until the client answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FirstFlight {
    pub(crate) bytes: u64,
    pub(crate) segments: u32,
    is_over: bool,
    has_hole: bool,
}

/// What the machine waits for.
#[derive(Debug)]
pub(super) enum Step {
    /// The end of the first hello.
    FirstHello,
    /// The server's answer.
    Answer,
    /// The hello that the retry asked for.
    SecondHello,
    /// The server's answer to that.
    FinalAnswer,
    /// The end of a handshake of TLS 1.2 or earlier.
    Legacy(Box<Legacy>),
    /// The end of a TLS 1.3 handshake.
    Encrypted(Box<Encrypted>),
}

/// What stands in the framing of SSL 2.0.
#[derive(Debug)]
enum Ssl2 {
    Hello(Ssl2HelloReader),
    /// What answers such a hello.
    Answer(Ssl2AnswerReader),
    /// The version of a server that answered in SSL 2.0.
    Version(ProtocolVersion),
}

/// Follows one attempt.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) opening: Opening,
    pub(super) retry: Option<Box<Retry>>,
    pub(super) step: Step,
    pub(super) server_hello_at: Option<Timestamp>,
    first_flight: FirstFlight,
    pub(super) alerts: Vec<Alert>,
    /// Set when the hello was not seen: why not.
    unseen_hello: Option<IncompleteReason>,
    /// What is read in the framing of SSL 2.0.
    ssl2: Option<Ssl2>,
    client: Direction,
    server: Direction,
    /// One side closed the connection, and that settled what became of the attempt; it lasts until the other side
    /// has ended too, since the other side's answer may still come.
    closing: Option<Verdict>,
    /// When one side closed the connection.
    half_closed: Option<(Side, Timestamp)>,
    /// An alert below fatal that nothing has followed yet.
    pending_warning: Option<Alert>,
    last_progress: Timestamp,
    pub(super) missing_bytes: u64,
    pub(super) truncated: bool,
    /// Whole records may lie in a hole: what did not come may have come.
    hole_hides: bool,
    /// What the server sent first is what the capture shows first.
    server_start_is_known: bool,
    /// Where the secrets of the attempt are looked for.
    key_log: Option<SharedKeyLog>,
    pub(super) decryption: Option<Box<Decryption>>,
}

impl Machine {
    /// A machine for an attempt whose hello begins at `start`.
    ///
    /// `server_start_is_known`: the server's SYN was seen, so that its first bytes in the capture are its first.
    pub(crate) fn new(start: Timestamp, server_start_is_known: bool) -> Self {
        Self {
            opening: Opening {
                start,
                hello: None,
                cut_length: None,
                records: 0,
                segments: 0,
                latest: start,
                complete_at: None,
            },
            retry: None,
            step: Step::FirstHello,
            server_hello_at: None,
            first_flight: FirstFlight::default(),
            alerts: Vec::new(),
            unseen_hello: None,
            ssl2: None,
            closing: None,
            half_closed: None,
            client: Direction::default(),
            server: Direction::default(),
            pending_warning: None,
            last_progress: start,
            missing_bytes: 0,
            truncated: false,
            hole_hides: false,
            server_start_is_known,
            key_log: None,
            decryption: None,
        }
    }

    /// The same with a key log for the attempt's secrets.
    pub(crate) fn with_key_log(self, key_log: Option<SharedKeyLog>) -> Self {
        Self { key_log, ..self }
    }

    /// A machine for an attempt whose hello was not seen; it ends incomplete once the server has chosen.
    /// `missing_bytes` are those of the hello that are known to have been sent.
    pub(crate) fn without_hello(start: Timestamp, reason: IncompleteReason, missing_bytes: u64) -> Self {
        Self { step: Step::Answer, unseen_hello: Some(reason), missing_bytes, ..Self::new(start, true) }
    }

    /// A machine for an attempt whose hello comes in the framing of SSL 2.0.
    pub(crate) fn for_ssl2_hello(start: Timestamp, server_start_is_known: bool) -> Self {
        let ssl2 = Some(Ssl2::Hello(Ssl2HelloReader::default()));
        Self { ssl2, ..Self::new(start, server_start_is_known) }
    }

    /// Counts further segments that brought bytes of the hello.
    pub(crate) fn count_segments(&mut self, more: u32) {
        self.opening.segments += more;
    }

    /// A number for the kind of client, once the first hello is whole.
    pub(crate) fn client_kind(&self, hashes: &Hashes) -> Option<u64> {
        hashes.client_kind(self.opening.hello.as_ref()?, Protocol::Tls)
    }

    /// Whether the first hello has a hybrid or post-quantum key share; `None` while it is not whole.
    pub(crate) fn sends_post_quantum_share(&self) -> Option<bool> {
        self.opening.hello.as_ref().map(|hello| any_post_quantum(hello.key_share_groups()))
    }

    /// Whether the hello, or after a retry the second one, took more than one segment.
    pub(crate) fn hello_is_large(&self) -> bool {
        self.retry.as_ref().map_or(self.opening.segments, |retry| retry.segments) > 1
    }

    /// The server's first flight, once the client has answered it and where no byte of it is missing.
    pub(crate) fn first_flight(&self) -> Option<FirstFlight> {
        let flight = self.first_flight;
        (flight.is_over && !flight.has_hole && flight.bytes > 0).then_some(flight)
    }

    /// First byte of the hello.
    pub(crate) const fn start(&self) -> Timestamp {
        self.opening.start
    }

    /// The version of a server that answered in SSL 2.0.
    pub(super) const fn ssl2_version(&self) -> Option<ProtocolVersion> {
        match self.ssl2 {
            Some(Ssl2::Version(version)) => Some(version),
            _ => None,
        }
    }

    /// When one side closed the connection: nobody waited for the handshake any longer.
    pub(crate) fn half_closed(&self) -> Option<Timestamp> {
        self.half_closed.map(|(_, at)| at)
    }

    /// When the handshake last went on.
    pub(crate) const fn last_progress(&self) -> Timestamp {
        self.last_progress
    }

    /// Lets go of what is only needed while bytes may still come.
    pub(crate) fn close_books(&mut self) {
        self.client = Direction::default();
        self.server = Direction::default();
        if let Some(decryption) = &mut self.decryption {
            decryption.close_books();
        }
    }

    /// Heap bytes held.
    pub(crate) fn heap_bytes(&self) -> usize {
        let step = match &self.step {
            Step::Legacy(legacy) => size_of::<Legacy>() + legacy.heap_bytes(),
            Step::Encrypted(encrypted) => size_of::<Encrypted>() + encrypted.heap_bytes(),
            Step::FirstHello | Step::Answer | Step::SecondHello | Step::FinalAnswer => 0,
        };
        let hello = self.opening.hello.as_ref().map_or(0, ClientHello::heap_bytes);
        let alerts = self.alerts.capacity() * size_of::<Alert>();
        let decryption = self.decryption.as_ref().map_or(0, |it| size_of::<Decryption>() + it.heap_bytes());
        step + hello + alerts + decryption + self.client.heap_bytes() + self.server.heap_bytes()
    }

    /// How far the attempt has come.
    pub(crate) fn phase(&self) -> Phase {
        match &self.step {
            Step::FirstHello => Phase::Start,
            Step::Answer => Phase::ClientHello,
            Step::SecondHello | Step::FinalAnswer => Phase::HelloRetry,
            Step::Legacy(legacy) => legacy.phase(),
            Step::Encrypted(encrypted) => encrypted.phase(),
        }
    }

    fn direction(&mut self, side: Side) -> &mut Direction {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Takes the next bytes of a direction, which came in one packet at `at`.
    pub(crate) fn data(&mut self, from: Side, at: Timestamp, mut bytes: &[u8]) -> Option<Verdict> {
        let direction = self.direction(from);
        if direction.records.is_lost() && !direction.records.resume(bytes) {
            return None;
        }
        if from == Side::Client && matches!(self.step, Step::FirstHello) {
            self.opening.segments += 1;
            self.opening.latest = self.opening.latest.max(at);
        }
        // A ChangeCipherSpec before the second hello (RFC 8446 appendix D.4) may have a segment of its own.
        if from == Side::Client
            && matches!(self.step, Step::SecondHello)
            && bytes.len() > CHANGE_CIPHER_SPEC_LENGTH
            && let Some(retry) = &mut self.retry
        {
            retry.segments += 1;
        }
        self.count_flight(from, bytes.len());
        let waits_for_peer = matches!(&self.step, Step::Encrypted(state) if state.awaits_server());
        if from == Side::Server || !waits_for_peer {
            self.last_progress = at;
        }
        if from == Side::Client && matches!(self.ssl2, Some(Ssl2::Hello(_))) {
            self.ssl2_hello_bytes(&mut bytes);
        }
        if from == Side::Server
            && let Some(Ssl2::Answer(reader)) = &mut self.ssl2
        {
            match reader.push(bytes) {
                Ssl2Answer::Open => return None,
                Ssl2Answer::Version(version) => {
                    self.ssl2 = Some(Ssl2::Version(version));
                    // No more of SSL 2.0 is followed.
                    return Some(Verdict::incomplete(at, IncompleteReason::Ambiguous));
                }
                Ssl2Answer::Record => self.ssl2 = None,
                Ssl2Answer::Other => {
                    self.ssl2 = None;
                    return self.closing.is_none().then(|| self.invalid(from, at));
                }
            }
        }
        self.records(from, at, bytes)
    }

    /// Counts bytes of the server's first flight. A retry is no flight: the ServerHello that follows it begins anew.
    fn count_flight(&mut self, from: Side, length: usize) {
        let flight = &mut self.first_flight;
        match from {
            Side::Server if matches!(self.step, Step::FirstHello | Step::SecondHello) => {}
            Side::Server if !flight.is_over => {
                flight.bytes += length as u64;
                flight.segments += 1;
            }
            Side::Client if matches!(self.step, Step::SecondHello) => *flight = FirstFlight::default(),
            Side::Client => flight.is_over |= matches!(self.step, Step::Legacy(_) | Step::Encrypted(_)),
            Side::Server => {}
        }
    }

    /// Reads records as far as `bytes` go.
    fn records(&mut self, from: Side, at: Timestamp, mut bytes: &[u8]) -> Option<Verdict> {
        loop {
            let mut records = self.direction(from).records;
            let piece = records.next(&mut bytes);
            self.direction(from).records = records;
            // After a close the answer is read for its facts; the verdict stands.
            if let Some(verdict) = self.piece(from, at, piece?)
                && self.closing.is_none()
            {
                return Some(verdict);
            }
        }
    }

    fn ssl2_hello_bytes(&mut self, bytes: &mut &[u8]) {
        let Some(Ssl2::Hello(reader)) = &mut self.ssl2 else { return };
        if let Some(hello) = reader.push(bytes) {
            self.ssl2 = Some(Ssl2::Answer(Ssl2AnswerReader::default()));
            self.opening.hello = Some(hello);
            self.opening.records = 1;
            self.opening.complete_at = Some(self.opening.latest);
            self.step = Step::Answer;
        }
    }

    /// Takes a hole of `length` bytes in a direction, which showed at `at`.
    pub(crate) fn missing(
        &mut self,
        from: Side,
        at: Timestamp,
        length: usize,
        truncated: bool,
    ) -> Option<Verdict> {
        self.note_hole(from, length, truncated);
        // A message or a record whose body ends with the hole is over, and must count before what follows.
        let verdict = self.handshake_bytes(from, at, &[]);
        verdict.or_else(|| self.records(from, at, &[]))
    }

    fn note_hole(&mut self, from: Side, length: usize, truncated: bool) {
        self.missing_bytes += length as u64;
        self.truncated |= truncated;
        self.first_flight.has_hole |= from == Side::Server && !self.first_flight.is_over;
        let opaque = self.is_opaque(from);
        if from == Side::Server && matches!(self.ssl2, Some(Ssl2::Answer(_))) {
            self.ssl2 = None;
        }
        if let Some(decryption) = &mut self.decryption {
            decryption.hole(from);
        }
        match &mut self.step {
            Step::Legacy(legacy) => legacy.hole(from),
            Step::Encrypted(encrypted) => encrypted.hole(from),
            Step::FirstHello | Step::Answer | Step::SecondHello | Step::FinalAnswer => {}
        }
        let hello_begun = matches!(self.step, Step::FirstHello);
        let direction = self.direction(from);
        let within_message = match direction.records.skip(length) {
            Hole::InBody(header) if header.content == ContentType::Handshake && !opaque => {
                direction.messages.skip(length)
            }
            Hole::InBody(header) => {
                // Of other bodies only the length counts, and that was in the header; but an alert is its body.
                let is_alert = header.content == ContentType::Alert;
                direction.alert_level = None;
                self.hole_hides |= is_alert;
                return;
            }
            Hole::Beyond => false,
        };
        // Before the ServerHello every message matters; later ones are told by their types.
        self.hole_hides |= !within_message || !matches!(self.step, Step::Legacy(_));
        let direction = self.direction(from);
        direction.body = Body::Ignored;
        direction.alert_level = None;
        direction.blind |= !within_message;
        if from == Side::Client && hello_begun && !(truncated && within_message) {
            // It will never be whole; the server's answer may still come. One that was only cut goes on to its end.
            self.ssl2 = None;
            self.step = Step::Answer;
        }
    }

    /// A record begins after a hole: before the ServerHello messages begin with records, and can be read again. Later
    /// a record may be encrypted although its switch was not seen, and encrypted bytes must not pass for messages.
    fn see_again(&mut self, side: Side) {
        let in_clear = !matches!(self.step, Step::Legacy(_) | Step::Encrypted(_));
        let direction = self.direction(side);
        if in_clear && direction.blind {
            direction.blind = false;
            direction.messages = MessageReader::default();
        }
    }

    fn is_opaque(&self, side: Side) -> bool {
        match &self.step {
            Step::Legacy(legacy) => legacy.is_opaque(side),
            _ => false,
        }
    }

    fn piece(&mut self, from: Side, at: Timestamp, piece: Piece<'_>) -> Option<Verdict> {
        match piece {
            Piece::Start(header) => self.record_begins(from, at, header),
            Piece::Body(header, bytes) => match header.content {
                ContentType::Handshake if !self.is_opaque(from) => self.handshake_bytes(from, at, bytes),
                ContentType::Alert if !self.is_opaque(from) && header.length == ALERT_LENGTH => {
                    self.alert_bytes(from, at, bytes)
                }
                ContentType::ApplicationData => {
                    if let Some(decryption) = &mut self.decryption {
                        decryption.body(from, bytes);
                    }
                    None
                }
                _ => None,
            },
            Piece::End(header) => self.record_ends(from, at, header),
            Piece::Invalid if from == Side::Server && !self.server_start_is_known && self.is_unanswered() => {
                // The capture may have begun within a record.
                self.hole_hides = true;
                None
            }
            Piece::Invalid => Some(self.invalid(from, at)),
        }
    }

    fn record_begins(&mut self, from: Side, at: Timestamp, header: RecordHeader) -> Option<Verdict> {
        let opaque = self.is_opaque(from);
        self.direction(from).alert_level = None;
        self.see_again(from);
        match (&mut self.step, header.content) {
            (Step::FirstHello, ContentType::Handshake) if from == Side::Client => self.opening.records += 1,
            (Step::Legacy(legacy), ContentType::ApplicationData) => legacy.encrypted_begins(from, at),
            (Step::Legacy(legacy), ContentType::Handshake) if opaque => legacy.encrypted_begins(from, at),
            (Step::Legacy(legacy), ContentType::Alert) if opaque => {
                let judgement = legacy.encrypted_alert(from)?;
                return Some(self.verdict(at, judgement));
            }
            (Step::Encrypted(encrypted), ContentType::ApplicationData) => encrypted.record_begins(from, at),
            _ => {}
        }
        None
    }

    fn record_ends(&mut self, from: Side, at: Timestamp, header: RecordHeader) -> Option<Verdict> {
        let opaque = self.is_opaque(from);
        let judgement = match (&mut self.step, header.content) {
            (Step::Legacy(legacy), ContentType::ChangeCipherSpec) => {
                legacy.changed_cipher(from);
                None
            }
            (Step::Legacy(legacy), ContentType::Handshake) if opaque => legacy.finished(from),
            (Step::Legacy(legacy), ContentType::ApplicationData) => legacy.sent_data(from),
            (Step::Encrypted(encrypted), ContentType::ApplicationData) => {
                let judgement = encrypted.record_ends(from, header.length);
                match &mut self.decryption {
                    Some(decryption) => decryption.record_ends(from, encrypted.phase(), judgement),
                    None => judgement,
                }
            }
            _ => None,
        }?;
        Some(self.verdict(at, judgement))
    }

    fn handshake_bytes(&mut self, from: Side, at: Timestamp, mut bytes: &[u8]) -> Option<Verdict> {
        if self.direction(from).blind {
            return None;
        }
        self.pending_warning = None;
        loop {
            let mut messages = self.direction(from).messages;
            let part = messages.next(&mut bytes);
            self.direction(from).messages = messages;
            match part? {
                Part::Start(header) => {
                    let body = self.begin_message(from, at, header);
                    self.direction(from).body = body;
                }
                Part::Body(bytes) => match &mut self.direction(from).body {
                    Body::Hello(reader) => reader.push(bytes),
                    Body::Kept { bytes: kept, bound } => {
                        let room = bound.saturating_sub(kept.len()).min(bytes.len());
                        kept.extend_from_slice(bytes.get(..room).unwrap_or_default());
                    }
                    Body::Certificates(reader) => reader.push(bytes),
                    Body::Ignored => {}
                },
                Part::End(header) => {
                    let body = std::mem::replace(&mut self.direction(from).body, Body::Ignored);
                    if let Some(verdict) = self.end_message(from, at, header, body) {
                        return Some(verdict);
                    }
                }
            }
        }
    }

    fn begin_message(&mut self, from: Side, at: Timestamp, header: MessageHeader) -> Body {
        let kept = |bound: usize| {
            let expected = bound.min(header.length as usize);
            Body::Kept { bytes: Vec::with_capacity(expected.min(2048)), bound }
        };
        match (&mut self.step, from, header.kind) {
            (Step::FirstHello, Side::Client, MessageType::CLIENT_HELLO) => {
                let wants_random = self.key_log.is_some();
                Body::Hello(Box::new(HelloReader::new(header.length).with_random(wants_random)))
            }
            (
                Step::FirstHello | Step::Answer | Step::SecondHello | Step::FinalAnswer,
                Side::Server,
                MessageType::SERVER_HELLO | MessageType::HELLO_RETRY_REQUEST,
            ) => {
                self.server_hello_at = Some(at);
                kept(MAX_SERVER_HELLO)
            }
            (Step::Legacy(legacy), _, kind) => {
                legacy.message(from, kind);
                match (from, kind) {
                    (_, MessageType::CERTIFICATE) => Body::Certificates(Box::default()),
                    (Side::Server, MessageType::SERVER_KEY_EXCHANGE) => kept(KEY_EXCHANGE_PREFIX),
                    _ => Body::Ignored,
                }
            }
            _ => Body::Ignored,
        }
    }

    fn end_message(
        &mut self,
        from: Side,
        at: Timestamp,
        header: MessageHeader,
        body: Body,
    ) -> Option<Verdict> {
        match (body, header.kind) {
            (Body::Hello(reader), _) => {
                // Where lengths contradict each other, what was read before stands; the server judges the rest.
                self.opening.hello = Some(reader.finish());
                self.opening.complete_at = Some(self.opening.latest);
                self.step = Step::Answer;
                None
            }
            (Body::Kept { bytes, .. }, MessageType::SERVER_HELLO) => match ServerHello::parse(&bytes) {
                Some(hello) => self.answered(at, hello),
                None => Some(self.malformed(from, at)),
            },
            (Body::Kept { bytes, .. }, MessageType::HELLO_RETRY_REQUEST) => {
                match ServerHello::parse_draft_retry(&bytes) {
                    Some(hello) => self.answered(at, hello),
                    None => Some(self.malformed(from, at)),
                }
            }
            (Body::Kept { bytes, .. }, _) => {
                if let Step::Legacy(legacy) = &mut self.step {
                    let suite = legacy.server_hello.cipher_suite;
                    legacy.parameters = Some(KeyExchangeParameters::parse(&bytes, header.length, suite));
                }
                None
            }
            (Body::Certificates(reader), _) => {
                let chain = reader.finish(header.length);
                if let Step::Legacy(legacy) = &mut self.step {
                    match from {
                        Side::Server => legacy.certificates = chain,
                        Side::Client => legacy.client_certificates = chain,
                    }
                }
                None
            }
            (Body::Ignored, MessageType::CLIENT_HELLO) if from == Side::Client => {
                match self.step {
                    Step::FirstHello => {
                        self.opening.cut_length = Some(header.length);
                        self.opening.complete_at = Some(self.opening.latest);
                        self.step = Step::Answer;
                    }
                    Step::SecondHello => self.step = Step::FinalAnswer,
                    Step::Answer | Step::FinalAnswer | Step::Legacy(_) | Step::Encrypted(_) => {}
                }
                None
            }
            (Body::Ignored, _) => None,
        }
    }

    /// The server has answered a hello.
    fn answered(&mut self, at: Timestamp, hello: ServerHello) -> Option<Verdict> {
        if hello.is_retry {
            if self.retry.is_some() {
                // A second retry is an error (RFC 8446 section 4.1.4).
                return Some(self.malformed(Side::Server, at));
            }
            let at = self.server_hello_at.take().unwrap_or(at);
            self.retry = Some(Box::new(Retry { request: hello, at, segments: 0 }));
            self.step = Step::SecondHello;
        } else if hello.version.is_tls_1_3() {
            // A retry refuses early data (RFC 8446 section 4.2.10).
            let offered = self.opening.hello.as_ref().is_some_and(ClientHello::offers_early_data);
            let early_data = offered && self.retry.is_none();
            self.decryption = self.decryption_after(&hello, early_data);
            let mut encrypted = Encrypted::new(hello, early_data);
            if self.client.records.is_lost() {
                // What the client sent since may lie in the same hole.
                encrypted.forget_flight_end();
            }
            self.step = Step::Encrypted(Box::new(encrypted));
        } else {
            let session_id = self.opening.hello.as_ref().map(ClientHello::session_id).unwrap_or_default();
            self.step = Step::Legacy(Box::new(Legacy::new(hello, session_id)));
        }
        self.unseen_hello.map(|reason| Verdict::incomplete(at, reason))
    }

    fn decryption_after(&mut self, hello: &ServerHello, early_data: bool) -> Option<Box<Decryption>> {
        let key_log = self.key_log.take()?;
        let random = self.opening.hello.as_ref()?.random()?;
        Decryption::new(key_log, random, hello.version, hello.cipher_suite, early_data)
    }

    fn alert_bytes(&mut self, from: Side, at: Timestamp, bytes: &[u8]) -> Option<Verdict> {
        for byte in bytes {
            let Some(level) = self.direction(from).alert_level.take() else {
                self.direction(from).alert_level = Some(*byte);
                continue;
            };
            let alert = Alert { sender: from, level, description: AlertDescription(*byte) };
            if self.alerts.len() < MAX_ALERTS {
                self.alerts.push(alert);
            }
            if self.is_fatal(alert) {
                return Some(self.failed(at, FailureCause::Alert(alert.description), from, Evidence::Seen));
            }
            self.pending_warning = Some(alert);
        }
        None
    }

    /// Whether an alert ends the handshake. TLS 1.3 ignores the level (RFC 8446 section 6); before it, a warning lets
    /// the handshake go on. Closure alerts are no errors at any level.
    fn is_fatal(&self, alert: Alert) -> bool {
        let closure =
            matches!(alert.description, AlertDescription::CLOSE_NOTIFY | AlertDescription::USER_CANCELED);
        !closure && (alert.level != 1 || matches!(self.step, Step::Encrypted(_)))
    }

    fn is_unanswered(&self) -> bool {
        matches!(self.step, Step::FirstHello | Step::Answer)
    }

    fn invalid(&self, from: Side, at: Timestamp) -> Verdict {
        let unanswered = self.is_unanswered();
        let ssl2 = self.opening.hello.as_ref().is_some_and(ClientHello::is_ssl2);
        if from == Side::Server && unanswered && ssl2 {
            // The server may have answered in SSL 2.0, which is not followed.
            return Verdict::incomplete(at, IncompleteReason::Ambiguous);
        }
        if from == Side::Server && unanswered {
            return self.failed(at, FailureCause::NotTls, from, Evidence::Seen);
        }
        self.malformed(from, at)
    }

    fn malformed(&self, from: Side, at: Timestamp) -> Verdict {
        self.failed(at, FailureCause::Malformed, from, Evidence::Seen)
    }

    fn failed(&self, at: Timestamp, cause: FailureCause, by: Side, evidence: Evidence) -> Verdict {
        let failure = Failure { cause, after: self.phase(), by: by.into(), evidence };
        Verdict::failed(at, failure)
    }

    fn verdict(&self, at: Timestamp, judgement: Judgement) -> Verdict {
        match judgement {
            Judgement::Completed(evidence) => Verdict::completed(at, evidence),
            Judgement::Failed { cause, after, by, evidence } => {
                Verdict::failed(at, Failure { cause, after, by: by.into(), evidence })
            }
            Judgement::Incomplete(reason) => Verdict::incomplete(at, reason),
        }
    }

    /// The connection ended without a verdict from its bytes.
    fn ended(&self, at: Timestamp, cause: FailureCause, by: Side, evidence: Evidence) -> Verdict {
        if let Step::Encrypted(encrypted) = &self.step {
            return self.verdict(at, encrypted.ended(cause, by, evidence));
        }
        // A warning that nothing followed is what the close is about.
        let about = self.pending_warning.filter(|alert| {
            !matches!(alert.description, AlertDescription::CLOSE_NOTIFY | AlertDescription::USER_CANCELED)
        });
        match about {
            Some(alert) => {
                self.failed(at, FailureCause::Alert(alert.description), alert.sender, Evidence::Seen)
            }
            None => self.failed(at, cause, by, evidence),
        }
    }

    /// `from` closed its direction. The verdict follows once the other side has ended too.
    pub(crate) fn closed(&mut self, from: Side, at: Timestamp) -> Option<Verdict> {
        if let Some(verdict) = self.closing {
            return Some(Verdict { at, ..verdict });
        }
        let may_complete = match &self.step {
            // A side that has sent its Finished may close, and the handshake may still complete.
            Step::Legacy(legacy) => legacy.has_finished(from) && self.half_closed.is_none(),
            Step::Encrypted(encrypted) => {
                encrypted.awaits_server() && from == Side::Client && self.half_closed.is_none()
            }
            Step::FirstHello | Step::Answer | Step::SecondHello | Step::FinalAnswer => false,
        };
        // Whoever closed first gave the handshake up; the other side only follows.
        let by = self.half_closed.map_or(from, |(first, _)| first);
        let verdict = self.ended(at, FailureCause::Closed, by, Evidence::Seen);
        if self.half_closed.is_some() {
            return Some(verdict);
        }
        self.half_closed = Some((from, at));
        if !may_complete {
            self.closing = Some(verdict);
            if let Some(decryption) = &mut self.decryption {
                decryption.closing();
            }
        }
        None
    }

    /// `from` reset the connection.
    pub(crate) fn reset(&self, from: Side, at: Timestamp) -> Verdict {
        // A reset behind a close only answers what came too late for it: the close stands.
        match (self.closing, self.half_closed) {
            (Some(verdict), _) => Verdict { at, ..verdict },
            (None, Some((first, _))) => self.ended(at, FailureCause::Closed, first, Evidence::Seen),
            (None, None) => self.ended(at, FailureCause::Reset, from, Evidence::Seen),
        }
    }

    /// `by` opened another connection on the same endpoints: it has given this one up, although no reset was seen.
    pub(crate) fn superseded(&self, by: Side, at: Timestamp) -> Verdict {
        match self.closing {
            Some(verdict) => Verdict { at, ..verdict },
            None => self.ended(at, FailureCause::Reset, by, Evidence::Inferred),
        }
    }

    /// The server declined what the client asked for before TLS, at `at`.
    pub(crate) fn declined(&self, at: Timestamp, cause: FailureCause) -> Verdict {
        self.failed(at, cause, Side::Server, Evidence::Seen)
    }

    /// Nothing came any more until `at`.
    pub(crate) fn timed_out(&self, at: Timestamp) -> Verdict {
        if let Some(verdict) = self.closing {
            return Verdict { at, ..verdict };
        }
        let awaited = match self.phase() {
            Phase::ServerFlight if self.server_is_sending() => Side::Server,
            Phase::Start | Phase::ServerFlight => Side::Client,
            Phase::HelloRetry if matches!(self.step, Step::SecondHello) => Side::Client,
            Phase::ClientHello | Phase::HelloRetry | Phase::ServerHello | Phase::ClientFlight => Side::Server,
        };
        self.ended(at, FailureCause::Timeout, awaited, Evidence::Inferred)
    }

    /// Whether the server has begun something that it has not finished.
    fn server_is_sending(&self) -> bool {
        let unfinished = matches!(&self.step, Step::Legacy(legacy) if !legacy.server_has_done());
        unfinished || self.server.records.is_within_record()
    }

    /// The capture or the table gave the attempt up at `at`.
    pub(crate) fn abandoned(&self, at: Timestamp, reason: IncompleteReason) -> Verdict {
        self.closing.map_or_else(|| Verdict::incomplete(at, reason), |verdict| Verdict { at, ..verdict })
    }

    /// The verdict in the light of secrets that came after the records.
    pub(crate) fn revised(&mut self, verdict: Verdict) -> Verdict {
        let phase = self.phase();
        self.decryption.as_mut().map_or(verdict, |decryption| decryption.revised(phase, verdict))
    }

    /// The verdict as far as the capture carries it: an end that was concluded from what did not come is worth nothing
    /// where records may be missing or one side was never seen. What was read in the clear stands, and a hole within the
    /// body of one record hides nothing that a verdict rests on.
    pub(crate) fn tempered(&self, verdict: Verdict, one_sided: bool) -> Verdict {
        let stands = match (verdict.outcome, verdict.failure) {
            (Outcome::Completed, _) => true,
            (Outcome::Failed, Some(failure)) => {
                matches!(failure.cause, FailureCause::Alert(_) | FailureCause::UpgradeRefused)
            }
            _ => !matches!(verdict.incomplete, Some(IncompleteReason::EndedEarly)),
        };
        let reason = if stands {
            None
        } else if let Some(reason) = self.unseen_hello {
            Some(reason)
        } else if one_sided {
            Some(IncompleteReason::OneSided)
        } else if self.hole_hides && self.truncated {
            Some(IncompleteReason::Truncated)
        } else if self.hole_hides {
            Some(IncompleteReason::Gap)
        } else {
            None
        };
        reason.map_or(verdict, |reason| Verdict::incomplete(verdict.at, reason))
    }
}
