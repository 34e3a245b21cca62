//! A handshake of TLS 1.2 or earlier after its ServerHello (RFC 5246 section 7.3): everything is in the clear up to
//! each side's ChangeCipherSpec, and the first record after that is its Finished.

use super::encrypted::Judgement;
use super::legacy::{KeyExchangeParameters, SuiteKind};
use super::message::MessageType;
use super::server_hello::ServerHello;
use crate::observation::{Certificates, Evidence, FailureCause, KeyExchange, Phase, Side};
use crate::time::Timestamp;

/// One side's switch to encryption.
#[derive(Clone, Copy, Debug, Default)]
struct Switch {
    changed_cipher: bool,
    finished: bool,
    /// Application data after the switch; stands in for a Finished that the capture lost.
    sent_data: bool,
}

/// A handshake of TLS 1.2 or earlier after its ServerHello.
#[derive(Debug)]
pub(super) struct Legacy {
    pub(super) server_hello: ServerHello,
    /// The server repeated the session id that the client sent.
    session_id_echoed: bool,
    pub(super) certificates: Option<Certificates>,
    pub(super) client_certificates: Option<Certificates>,
    certificate_seen: bool,
    pub(super) parameters: Option<KeyExchangeParameters>,
    hello_done: bool,
    client_key_exchange: bool,
    server: Switch,
    client: Switch,
    /// A hole in the server's messages: what was not seen may yet have been sent.
    server_is_whole: bool,
    pub(super) client_encrypted_at: Option<Timestamp>,
}

impl Legacy {
    pub(super) fn new(server_hello: ServerHello, client_session_id: &[u8]) -> Self {
        let session_id_echoed = !client_session_id.is_empty() && server_hello.session_id == client_session_id;
        Self {
            server_hello,
            session_id_echoed,
            certificates: None,
            client_certificates: None,
            certificate_seen: false,
            parameters: None,
            hello_done: false,
            client_key_exchange: false,
            server: Switch::default(),
            client: Switch::default(),
            server_is_whole: true,
            client_encrypted_at: None,
        }
    }

    /// Heap bytes that the facts of both chains hold.
    pub(super) fn heap_bytes(&self) -> usize {
        let chains = [&self.certificates, &self.client_certificates].into_iter().flatten();
        chains.map(Certificates::heap_bytes).sum()
    }

    fn switch(&mut self, side: Side) -> &mut Switch {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Whether this side's records are encrypted by now.
    pub(super) fn is_opaque(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client.changed_cipher,
            Side::Server => self.server.changed_cipher,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        if self.client_key_exchange || self.client.changed_cipher {
            Phase::ClientFlight
        } else if self.hello_done || self.certificate_seen || self.server.changed_cipher {
            Phase::ServerFlight
        } else {
            Phase::ServerHello
        }
    }

    pub(super) fn changed_cipher(&mut self, side: Side) {
        self.switch(side).changed_cipher = true;
    }

    /// A message that is told by its type alone.
    pub(super) fn message(&mut self, from: Side, kind: MessageType) {
        match (from, kind) {
            (Side::Server, MessageType::CERTIFICATE) => self.certificate_seen = true,
            (Side::Server, MessageType::SERVER_HELLO_DONE) => self.hello_done = true,
            (Side::Client, MessageType::CLIENT_KEY_EXCHANGE) => self.client_key_exchange = true,
            _ => {}
        }
    }

    /// Bytes of `from` are not in the capture.
    pub(super) fn hole(&mut self, from: Side) {
        self.server_is_whole &= from != Side::Server;
    }

    /// An encrypted record begins: a handshake record after ChangeCipherSpec, or application data.
    pub(super) fn encrypted_begins(&mut self, from: Side, at: Timestamp) {
        if from == Side::Client {
            self.client_encrypted_at.get_or_insert(at);
        }
    }

    /// A handshake record after ChangeCipherSpec is over.
    pub(super) fn finished(&mut self, from: Side) -> Option<Judgement> {
        self.switch(from).finished = true;
        self.completion()
    }

    /// Application data: its sender took the handshake for done.
    pub(super) fn sent_data(&mut self, from: Side) -> Option<Judgement> {
        self.switch(from).sent_data = true;
        self.completion()
    }

    fn completion(&self) -> Option<Judgement> {
        let done = |switch: &Switch| switch.finished || switch.sent_data;
        let seen = self.client.finished && self.server.finished;
        let evidence = if seen { Evidence::Seen } else { Evidence::Inferred };
        (done(&self.client) && done(&self.server)).then_some(Judgement::Completed(evidence))
    }

    /// Whether a side has nothing more to send in this handshake.
    pub(super) fn has_finished(&self, side: Side) -> bool {
        match side {
            Side::Client => self.client.finished,
            Side::Server => self.server.finished,
        }
    }

    /// Whether the server has said all that it says before the client answers.
    pub(super) fn server_has_done(&self) -> bool {
        self.hello_done || self.server.changed_cipher
    }

    /// An encrypted alert. After its sender's own Finished it may be a closure alert, and does not settle anything.
    pub(super) fn encrypted_alert(&self, by: Side) -> Option<Judgement> {
        let failed = Judgement::Failed {
            cause: FailureCause::EncryptedAlert,
            after: self.phase(),
            by,
            evidence: Evidence::Seen,
        };
        (!self.has_finished(by)).then_some(failed)
    }

    /// Whether the server went on without the messages of a full handshake.
    fn is_resumed(&self) -> bool {
        let abbreviated = !self.certificate_seen && !self.hello_done && self.parameters.is_none();
        abbreviated && self.server_is_whole && (self.server.changed_cipher || self.session_id_echoed)
    }

    pub(super) fn key_exchange(&self) -> Option<KeyExchange> {
        if self.is_resumed() {
            return Some(KeyExchange::Resumed);
        }
        let kind = self.server_hello.cipher_suite.map(SuiteKind::of);
        match (self.parameters, kind) {
            (Some(KeyExchangeParameters::Named(_) | KeyExchangeParameters::FiniteField { .. }), kind) => {
                Some(match kind {
                    Some(SuiteKind::Anonymous) => KeyExchange::Anonymous,
                    Some(SuiteKind::PskEphemeral) => KeyExchange::PskEphemeral,
                    _ => KeyExchange::Ephemeral,
                })
            }
            (None, Some(SuiteKind::StaticRsa)) if self.hello_done => Some(KeyExchange::StaticRsa),
            (None | Some(KeyExchangeParameters::Other), Some(SuiteKind::Psk)) if self.hello_done => {
                Some(KeyExchange::Psk)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iana::{CipherSuite, Group, ProtocolVersion};

    fn after_hello(suite: u16, session_id: &[u8]) -> Legacy {
        let server_hello = ServerHello {
            version: ProtocolVersion::TLS_1_2,
            cipher_suite: Some(CipherSuite(suite)),
            is_retry: false,
            group: None,
            share_length: None,
            selects_psk: false,
            alpn: None,
            session_id: session_id.to_vec(),
        };
        Legacy::new(server_hello, &[1, 2, 3])
    }

    #[test]
    fn both_finished_complete_whichever_comes_first() {
        for order in [[Side::Client, Side::Server], [Side::Server, Side::Client]] {
            let mut state = after_hello(0xc02f, &[]);
            let [first, second] = order;
            state.changed_cipher(first);
            assert_eq!(state.finished(first), None);
            state.changed_cipher(second);
            assert_eq!(state.finished(second), Some(Judgement::Completed(Evidence::Seen)));
        }
    }

    #[test]
    fn data_both_ways_stands_in_for_a_lost_finished() {
        let mut state = after_hello(0xc02f, &[]);
        state.changed_cipher(Side::Client);
        assert_eq!(state.finished(Side::Client), None);
        assert_eq!(state.sent_data(Side::Client), None);
        assert_eq!(state.sent_data(Side::Server), Some(Judgement::Completed(Evidence::Inferred)));
    }

    #[test]
    fn resumption_is_no_key_exchange() {
        assert_eq!(after_hello(0xc02f, &[1, 2, 3]).key_exchange(), Some(KeyExchange::Resumed));
        let mut by_ticket = after_hello(0xc02f, &[]);
        assert_eq!(by_ticket.key_exchange(), None);
        by_ticket.changed_cipher(Side::Server);
        assert_eq!(by_ticket.key_exchange(), Some(KeyExchange::Resumed));
        let mut with_hole = after_hello(0xc02f, &[]);
        with_hole.hole(Side::Server);
        with_hole.changed_cipher(Side::Server);
        assert_eq!(with_hole.key_exchange(), None);
    }

    #[test]
    fn full_handshakes_are_sorted_by_parameters_and_suite() {
        let mut state = after_hello(0xc02f, &[]);
        state.message(Side::Server, MessageType::CERTIFICATE);
        state.parameters = Some(KeyExchangeParameters::Named(Group(0x1d)));
        assert_eq!(state.key_exchange(), Some(KeyExchange::Ephemeral));
        let mut rsa = after_hello(0x002f, &[]);
        rsa.message(Side::Server, MessageType::CERTIFICATE);
        assert_eq!(rsa.key_exchange(), None);
        rsa.message(Side::Server, MessageType::SERVER_HELLO_DONE);
        assert_eq!(rsa.key_exchange(), Some(KeyExchange::StaticRsa));
    }
}
