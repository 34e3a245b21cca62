//! One direction of a handshake under its traffic secret.
//!
//! Enters: the bodies of protected records in order, holes, and the keys once they are known. Leaves: the handshake
//! messages up to the sender's Finished, and alerts. Nothing after the Finished is opened: what follows is under
//! other keys, which are never derived.

use super::keys::RecordKeys;
use super::message;
use crate::iana::AlertDescription;
use crate::observation::{Alert, Certificates, MessageFacts, Side, SignatureFacts};
use crate::tls::message::{MessageHeader, MessageReader, MessageType, Part};
use std::collections::VecDeque;

/// Bytes of records that wait for their secret.
pub(super) const MAX_WAITING: usize = 64 * 1024;

/// Bytes kept of one message; the lengths of a longer chain are not told.
const MAX_MESSAGE: usize = 128 * 1024;

/// Messages that are listed; no handshake has a quarter of that.
const MAX_MESSAGES: usize = 64;

/// Alerts that are listed.
const MAX_ALERTS: usize = 16;

mod content {
    pub(super) const ALERT: u8 = 21;
    pub(super) const HANDSHAKE: u8 = 22;
}

mod kind {
    pub(super) const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub(super) const CERTIFICATE: u8 = 11;
    pub(super) const CERTIFICATE_REQUEST: u8 = 13;
    pub(super) const CERTIFICATE_VERIFY: u8 = 15;
    pub(super) const FINISHED: u8 = 20;
    pub(super) const COMPRESSED_CERTIFICATE: u8 = 25;
}

/// Whether records can be opened.
#[derive(Debug)]
enum State {
    /// The secret is not known yet.
    Waiting,
    Reading(Box<RecordKeys>),
    /// Nothing more is looked at.
    Over,
}

/// What records came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Fine,
    /// The secret does not open this direction.
    Failed,
}

/// Bytes that a waiting record takes: an empty one is not free.
fn cost(record: &Vec<u8>) -> usize {
    record.capacity() + size_of::<Vec<u8>>()
}

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    side: Side,
    state: State,
    /// Body of the record that is coming.
    record: Vec<u8>,
    /// Whole records that were not opened yet.
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// Further records are of use: none is missing between those that were taken and the next.
    is_whole: bool,
    /// Early data, which is under another key, may come first (RFC 8446 section 4.2.10).
    may_be_early: bool,
    /// Records that were opened or passed by.
    passed: u32,
    /// Those from this one on came after the connection had begun to close, and settle nothing any more.
    last_word: Option<u32>,
    messages: MessageReader,
    message: Vec<u8>,
    pub(super) facts: HalfFacts,
}

/// What a direction revealed.
#[derive(Debug, Default)]
pub(super) struct HalfFacts {
    pub(super) has_opened: bool,
    pub(super) messages: Vec<MessageFacts>,
    pub(super) certificates: Option<Certificates>,
    pub(super) signature: Option<SignatureFacts>,
    pub(super) alpn: Option<String>,
    pub(super) alerts: Vec<Alert>,
    pub(super) requests_certificate: bool,
    /// Finished, and before any close.
    pub(super) finished: bool,
    /// An alert that ends the handshake, before any close.
    pub(super) fatal: Option<AlertDescription>,
}

impl HalfFacts {
    pub(super) fn heap_bytes(&self) -> usize {
        self.messages.capacity() * size_of::<MessageFacts>() + self.alerts.capacity() * size_of::<Alert>()
    }
}

impl Half {
    pub(super) fn new(side: Side, may_be_early: bool) -> Self {
        Self {
            side,
            state: State::Waiting,
            record: Vec::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_whole: true,
            may_be_early,
            passed: 0,
            last_word: None,
            messages: MessageReader::default(),
            message: Vec::new(),
            facts: HalfFacts::default(),
        }
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        let keys = if matches!(self.state, State::Reading(_)) { size_of::<RecordKeys>() } else { 0 };
        let room = self.waiting.capacity().saturating_sub(self.waiting.len()) * size_of::<Vec<u8>>();
        let queue = self.waiting_bytes + room;
        keys + queue + self.facts.heap_bytes() + self.record.capacity() + self.message.capacity()
    }

    /// Whether records wait for a secret.
    pub(super) fn awaits_secret(&self) -> bool {
        matches!(self.state, State::Waiting) && !self.waiting.is_empty()
    }

    /// Whether every record so far was opened and the Finished is not among them.
    pub(super) fn is_short_of_finished(&self) -> bool {
        matches!(self.state, State::Reading(_)) && self.facts.has_opened && self.is_whole
    }

    /// Takes bytes of the body of the record that is coming.
    pub(super) fn body(&mut self, bytes: &[u8]) {
        if self.is_whole {
            self.record.extend_from_slice(bytes);
        }
    }

    /// The record that was coming is whole.
    pub(super) fn record_ends(&mut self) {
        if !self.is_whole {
            return;
        }
        let record = std::mem::take(&mut self.record);
        self.waiting_bytes += cost(&record);
        self.waiting.push_back(record);
        while self.waiting_bytes > MAX_WAITING && matches!(self.state, State::Waiting) {
            // The records before the first that a secret opens count for nothing where early data may come.
            let dropped = if self.may_be_early { self.waiting.pop_front() } else { self.waiting.pop_back() };
            self.waiting_bytes -= dropped.as_ref().map_or(self.waiting_bytes, cost);
            self.is_whole &= self.may_be_early;
            self.passed += u32::from(self.may_be_early);
        }
    }

    /// Records are missing from here on.
    pub(super) fn hole(&mut self) {
        self.is_whole = false;
        self.record = Vec::new();
        if self.waiting.is_empty() {
            self.end();
        }
    }

    /// The connection has begun to close: what comes from now on is told and settles nothing.
    pub(super) fn closing(&mut self) {
        let taken = self.passed + u32::try_from(self.waiting.len()).unwrap_or(u32::MAX);
        self.last_word.get_or_insert(taken);
    }

    /// Lets go of what only later bytes would need.
    pub(super) fn close_books(&mut self) {
        self.record = Vec::new();
        if !self.awaits_secret() {
            self.end();
        }
    }

    fn end(&mut self) {
        self.state = State::Over;
        self.is_whole = false;
        self.record = Vec::new();
        self.message = Vec::new();
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
    }

    /// Opens what waits, with `keys` where there were none yet.
    pub(super) fn open(&mut self, keys: impl FnOnce() -> Option<Option<RecordKeys>>) -> Progress {
        if self.awaits_secret() {
            match keys() {
                Some(Some(keys)) => self.state = State::Reading(Box::new(keys)),
                // A secret that does not fit the suite opens nothing.
                Some(None) => {
                    self.end();
                    return Progress::Failed;
                }
                None => return Progress::Fine,
            }
        }
        while let State::Reading(keys) = &mut self.state {
            let Some(mut record) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= cost(&record);
            if keys.open(&mut record).is_some() {
                self.facts.has_opened = true;
                self.content(&record);
            } else if !self.may_be_early || keys.has_opened() {
                self.end();
                return Progress::Failed;
            }
            self.passed = self.passed.saturating_add(1);
        }
        if self.waiting.is_empty() && !self.is_whole {
            self.end();
        }
        Progress::Fine
    }

    /// Takes content with its type and padding (RFC 8446 section 5.4).
    fn content(&mut self, inner: &[u8]) {
        let kind_at = inner.iter().rposition(|byte| *byte != 0);
        let content = kind_at.and_then(|at| Some((*inner.get(at)?, inner.get(..at)?)));
        match content {
            Some((content::HANDSHAKE, bytes)) => self.handshake(bytes),
            Some((content::ALERT, [level, description])) => self.alert(*level, *description),
            // No other content is allowed under these keys.
            _ => self.end(),
        }
    }

    fn counts(&self) -> bool {
        self.last_word.is_none_or(|last| self.passed < last)
    }

    fn alert(&mut self, level: u8, description: u8) {
        let description = AlertDescription(description);
        if self.facts.alerts.len() < MAX_ALERTS {
            self.facts.alerts.push(Alert { sender: self.side, level, description });
        }
        // In TLS 1.3 every other alert is fatal, whatever its level (RFC 8446 section 6).
        if !matches!(description, AlertDescription::CLOSE_NOTIFY | AlertDescription::USER_CANCELED) {
            self.facts.fatal = Some(description).filter(|_| self.counts());
            self.end();
        }
    }

    fn handshake(&mut self, mut bytes: &[u8]) {
        let mut messages = self.messages;
        while let Some(part) = messages.next(&mut bytes) {
            match part {
                Part::Start(header) => {
                    self.message.clear();
                    if self.facts.messages.len() == MAX_MESSAGES {
                        return self.end();
                    }
                    let MessageHeader { kind: MessageType(kind), length } = header;
                    if kind == kind::FINISHED && length > u32::from(u8::MAX) {
                        return self.end();
                    }
                }
                Part::Body(bytes) => {
                    let room = MAX_MESSAGE.saturating_sub(self.message.len()).min(bytes.len());
                    self.message.extend_from_slice(bytes.get(..room).unwrap_or_default());
                }
                Part::End(header) => {
                    self.message(header);
                    if header.kind.0 == kind::FINISHED {
                        return self.end();
                    }
                }
            }
        }
        self.messages = messages;
    }

    fn message(&mut self, header: MessageHeader) {
        let MessageHeader { kind: MessageType(kind), length } = header;
        let counts = self.counts();
        let (body, facts) = (self.message.as_slice(), &mut self.facts);
        facts.messages.push(MessageFacts { kind, length });
        match kind {
            kind::ENCRYPTED_EXTENSIONS => facts.alpn = message::selected_protocol(body),
            kind::CERTIFICATE => facts.certificates = Some(message::certificates(body, length)),
            kind::COMPRESSED_CERTIFICATE => {
                facts.certificates = Some(message::compressed_certificates(body, length));
            }
            kind::CERTIFICATE_VERIFY => facts.signature = message::signature(body),
            kind::CERTIFICATE_REQUEST => facts.requests_certificate = true,
            kind::FINISHED => facts.finished = counts,
            _ => {}
        }
    }
}
