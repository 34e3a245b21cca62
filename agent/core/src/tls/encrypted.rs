//! What can be told of a TLS 1.3 handshake after the ServerHello, where every message is encrypted.
//!
//! Record lengths tell more than one may expect. An alert is two bytes, and no handshake message is that short; so a
//! record of an alert's size in place of a flight is an alert. A Finished is a hash and its header; so a client whose
//! first record has exactly that size sent no certificate, and nothing is left for the server to refuse.

use super::inference::{self, Flight, Inferred, Offer, SuiteSizes};
use super::server_hello::ServerHello;
use crate::observation::{Certificates, Evidence, FailureCause, IncompleteReason, Phase, ServerFlight, Side};
use crate::time::Timestamp;

/// Record lengths that follow from the cipher suite (RFC 8446 section 5.2: content, one byte of type, tag).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RecordSizes {
    alert: u16,
    finished: u16,
    end_of_early_data: u16,
}

impl RecordSizes {
    const fn of(sizes: SuiteSizes) -> Self {
        Self {
            alert: sizes.record(2),
            finished: sizes.record(4 + sizes.hash),
            end_of_early_data: sizes.record(4),
        }
    }
}

/// Records of the client's flight that are remembered: a certificate chain of 200 KB and what follows it.
const MAX_CLIENT_RECORDS: usize = 16;

/// The client's answer as far as its record lengths tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientFlight {
    /// Nothing yet.
    Awaited,
    /// Records of an alert's size (what is wrong, and perhaps a close_notify), and nothing else.
    AlertSized,
    /// Records too short for a Finished: an empty certificate, the end of early data.
    Begun,
    /// A record that can hold the Finished, beside something that the server may still refuse.
    AwaitingServer,
}

/// What a record or an end says about the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    Completed(Evidence),
    Failed { cause: FailureCause, after: Phase, by: Side, evidence: Evidence },
    Incomplete(IncompleteReason),
}

/// A TLS 1.3 handshake after its final ServerHello.
#[derive(Debug)]
pub(super) struct Encrypted {
    pub(super) server_hello: ServerHello,
    suite: SuiteSizes,
    sizes: RecordSizes,
    early_data: bool,
    server_flight: ServerFlight,
    /// Holes make the flight's sizes unknown.
    flight_is_whole: bool,
    /// What the client sent first after the flight was not lost.
    flight_end_is_known: bool,
    server_has_sent: bool,
    server_alert_sized: bool,
    /// A record of the server was larger than an alert.
    server_sent_flight: bool,
    /// The server's current record began after the client's flight.
    record_follows_client: bool,
    client: ClientFlight,
    client_is_whole: bool,
    /// Lengths of the client's records, at most [`MAX_CLIENT_RECORDS`].
    client_records: Vec<u16>,
    /// A client record after the server's flight began can hold a Finished, whatever else it may be.
    has_room_for_finished: bool,
    /// The last record had the size of EndOfEarlyData.
    early_data_ended: bool,
    /// First byte of the client's first encrypted record.
    pub(super) client_encrypted_at: Option<Timestamp>,
}

impl Encrypted {
    pub(super) fn new(server_hello: ServerHello, early_data: bool) -> Self {
        let suite = SuiteSizes::of(server_hello.cipher_suite);
        Self {
            suite,
            sizes: RecordSizes::of(suite),
            server_hello,
            early_data,
            server_flight: ServerFlight::default(),
            flight_is_whole: true,
            flight_end_is_known: true,
            server_has_sent: false,
            server_alert_sized: false,
            server_sent_flight: false,
            record_follows_client: false,
            client: ClientFlight::Awaited,
            client_is_whole: true,
            client_records: Vec::new(),
            has_room_for_finished: false,
            early_data_ended: false,
            client_encrypted_at: None,
        }
    }

    /// The server's flight so far, where no hole lies in it or in what shows its end. With early data the client's
    /// records begin before the flight is over, so its end is not known.
    pub(super) fn flight(&self) -> Option<ServerFlight> {
        let is_known = self.flight_is_whole && self.flight_end_is_known && !self.early_data;
        is_known.then(|| self.server_flight.clone())
    }

    /// Heap bytes held.
    pub(super) fn heap_bytes(&self) -> usize {
        (self.server_flight.records.capacity() + self.client_records.capacity()) * size_of::<u16>()
    }

    /// What the lengths of the server's records tell of its certificates; nothing where it sent none (a pre-shared key),
    /// where bytes are missing, or where early data blurs the flight's end.
    pub(super) fn inferred(&self, offer: &Offer) -> Inferred {
        let records = &self.server_flight.records;
        let is_listed = records.len() < ServerFlight::MAX_RECORDS;
        if self.server_hello.selects_psk || self.early_data || !self.flight_is_whole || !is_listed {
            return Inferred::default();
        }
        let is_whole = self.client_encrypted_at.is_some() && self.flight_end_is_known;
        inference::server(
            Flight { records, is_whole, sizes: self.suite },
            offer,
            self.certificate_requested(),
        )
    }

    /// What the lengths of the client's records tell of its certificates.
    pub(super) fn inferred_client(&self) -> Option<Certificates> {
        if self.server_hello.selects_psk || self.early_data || !self.client_is_whole {
            return None;
        }
        let flight = Flight { records: &self.client_records, is_whole: true, sizes: self.suite };
        (self.certificate_requested() == Some(true)).then(|| inference::client(flight)).flatten()
    }

    /// Whether the server asked for the client's certificate: a client whose first record is a Finished was not asked, and
    /// one that sends something else first, and no alert, was.
    fn certificate_requested(&self) -> Option<bool> {
        let first = self.client_records.first().filter(|_| self.client_is_whole)?;
        (*first != self.sizes.alert).then_some(*first != self.sizes.finished)
    }

    pub(super) fn phase(&self) -> Phase {
        match self.client {
            ClientFlight::AwaitingServer => Phase::ClientFlight,
            _ if self.server_has_sent => Phase::ServerFlight,
            _ => Phase::ServerHello,
        }
    }

    /// Whether only the server's answer to the client's flight is awaited; more from the client is no progress.
    pub(super) fn awaits_server(&self) -> bool {
        self.client == ClientFlight::AwaitingServer
    }

    /// An encrypted record begins.
    pub(super) fn record_begins(&mut self, from: Side, at: Timestamp) {
        match from {
            Side::Client => {
                self.client_encrypted_at.get_or_insert(at);
            }
            Side::Server => self.record_follows_client = self.awaits_server(),
        }
    }

    /// An encrypted record with a body of `length` bytes is over.
    pub(super) fn record_ends(&mut self, from: Side, length: u16) -> Option<Judgement> {
        match from {
            Side::Server => self.server_record(length),
            Side::Client => self.client_record(length),
        }
    }

    fn server_record(&mut self, length: u16) -> Option<Judgement> {
        self.server_has_sent = true;
        if self.client_encrypted_at.is_none() {
            self.server_flight.bytes += u64::from(length);
            if self.server_flight.records.len() < ServerFlight::MAX_RECORDS {
                self.server_flight.records.push(length);
            }
        }
        self.server_alert_sized = length == self.sizes.alert;
        self.server_sent_flight |= length > self.sizes.alert;
        let answers = self.record_follows_client && length > self.sizes.alert;
        answers.then_some(Judgement::Completed(Evidence::Inferred))
    }

    fn client_record(&mut self, length: u16) -> Option<Judgement> {
        if !self.server_has_sent && self.flight_is_whole {
            // Early data that was under way before the ServerHello; no Finished can come yet.
            return None;
        }
        if self.client_records.len() < MAX_CLIENT_RECORDS {
            self.client_records.push(length);
        }
        let exact = length == self.sizes.finished;
        self.has_room_for_finished |= length >= self.sizes.finished;
        if self.early_data {
            // Early data of any size may still come. EndOfEarlyData and then a record of exactly Finished's size stand
            // out; the latter alone, where early data was refused, waits for the server to answer.
            let ends = self.early_data_ended && exact && self.client_is_whole;
            self.early_data_ended = length == self.sizes.end_of_early_data;
            if exact {
                self.client = ClientFlight::AwaitingServer;
            }
            return ends.then_some(Judgement::Completed(Evidence::Inferred));
        }
        match self.client {
            // A Finished that crossed the server's alert completes nothing.
            ClientFlight::Awaited if exact && self.client_is_whole && !self.server_alert_sized => {
                return Some(Judgement::Completed(Evidence::Inferred));
            }
            ClientFlight::Awaited | ClientFlight::AlertSized if length == self.sizes.alert => {
                self.client = ClientFlight::AlertSized;
            }
            _ if length >= self.sizes.finished => self.client = ClientFlight::AwaitingServer,
            ClientFlight::Awaited | ClientFlight::AlertSized => self.client = ClientFlight::Begun,
            ClientFlight::Begun | ClientFlight::AwaitingServer => {}
        }
        None
    }

    /// The client's first record, which ends the flight, may be missing.
    pub(super) fn forget_flight_end(&mut self) {
        self.flight_end_is_known = false;
    }

    /// Bytes of `from` are not in the capture.
    pub(super) fn hole(&mut self, from: Side) {
        match from {
            Side::Server if self.client_encrypted_at.is_none() => self.flight_is_whole = false,
            Side::Server => {}
            Side::Client => {
                self.client_is_whole = false;
                // The client's first record, which ends the flight, may lie in the hole.
                self.flight_end_is_known &= self.client_encrypted_at.is_some();
            }
        }
    }

    /// What an end by `cause` (close, reset or silence) says. `by` is who brought it about.
    pub(super) fn ended(&self, cause: FailureCause, by: Side, evidence: Evidence) -> Judgement {
        let alert = |by| Judgement::Failed {
            cause: FailureCause::EncryptedAlert,
            after: self.phase(),
            by,
            evidence: Evidence::Inferred,
        };
        match self.client {
            ClientFlight::AlertSized => alert(Side::Client),
            ClientFlight::AwaitingServer => Judgement::Incomplete(IncompleteReason::Ambiguous),
            // Where early data was refused, one of the records may be a certificate and the Finished in one.
            _ if self.early_data && self.has_room_for_finished && self.server_sent_flight => {
                Judgement::Incomplete(IncompleteReason::Ambiguous)
            }
            ClientFlight::Awaited | ClientFlight::Begun if self.server_alert_sized => alert(Side::Server),
            ClientFlight::Awaited | ClientFlight::Begun => {
                Judgement::Failed { cause, after: self.phase(), by, evidence }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iana::{CipherSuite, ProtocolVersion};

    fn after_hello(early_data: bool) -> Encrypted {
        let server_hello = ServerHello {
            version: ProtocolVersion::TLS_1_3,
            cipher_suite: Some(CipherSuite(0x1301)),
            is_retry: false,
            group: None,
            share_length: None,
            selects_psk: false,
            alpn: None,
            session_id: Vec::new(),
        };
        Encrypted::new(server_hello, early_data)
    }

    fn record(state: &mut Encrypted, from: Side, length: u16) -> Option<Judgement> {
        state.record_begins(from, Timestamp::from_nanos(1));
        state.record_ends(from, length)
    }

    fn closed(state: &Encrypted, by: Side) -> Judgement {
        state.ended(FailureCause::Closed, by, Evidence::Seen)
    }

    const COMPLETED: Option<Judgement> = Some(Judgement::Completed(Evidence::Inferred));

    #[test]
    fn a_lone_finished_completes() {
        let mut state = after_hello(false);
        assert_eq!(record(&mut state, Side::Server, 900), None);
        assert_eq!(record(&mut state, Side::Client, 53), COMPLETED);
        assert_eq!(state.flight().unwrap().records, [900]);
    }

    #[test]
    fn an_alert_in_place_of_the_finished_is_a_failure_once_the_connection_ends() {
        let mut state = after_hello(false);
        record(&mut state, Side::Server, 900);
        assert_eq!(record(&mut state, Side::Client, 19), None);
        let Judgement::Failed { cause, after, by, evidence } = closed(&state, Side::Server) else { panic!() };
        assert_eq!((cause, after), (FailureCause::EncryptedAlert, Phase::ServerFlight));
        assert_eq!((by, evidence), (Side::Client, Evidence::Inferred));
    }

    #[test]
    fn what_is_wrong_and_a_close_notify_are_two_alerts() {
        for by in [Side::Client, Side::Server] {
            let mut state = after_hello(false);
            record(&mut state, Side::Server, 900);
            for _ in 0..2 {
                assert_eq!(record(&mut state, by, 19), None);
            }
            let Judgement::Failed { cause, by: told, .. } = closed(&state, by) else { panic!() };
            assert_eq!((cause, told), (FailureCause::EncryptedAlert, by));
        }
    }

    #[test]
    fn a_finished_that_crosses_the_servers_alert_completes_nothing() {
        let mut state = after_hello(false);
        record(&mut state, Side::Server, 900);
        record(&mut state, Side::Server, 19);
        assert_eq!(record(&mut state, Side::Client, 53), None);
        assert_eq!(closed(&state, Side::Server), Judgement::Incomplete(IncompleteReason::Ambiguous));
        // Two bytes of data before the client's Finished look the same; a server that goes on was content.
        assert_eq!(record(&mut state, Side::Server, 240), COMPLETED);
    }

    #[test]
    fn refused_early_data_may_end_in_a_certificate_and_finished_in_one_record() {
        let mut state = after_hello(true);
        record(&mut state, Side::Server, 900);
        assert_eq!(record(&mut state, Side::Client, 1400), None);
        assert_eq!(closed(&state, Side::Client), Judgement::Incomplete(IncompleteReason::Ambiguous));
        // An alert in place of the server's flight is one whatever early data was under way.
        let mut state = after_hello(true);
        record(&mut state, Side::Server, 19);
        record(&mut state, Side::Client, 1400);
        assert!(matches!(closed(&state, Side::Server), Judgement::Failed { by: Side::Server, .. }));
    }

    #[test]
    fn a_client_certificate_waits_for_the_servers_answer() {
        let mut state = after_hello(false);
        record(&mut state, Side::Server, 900);
        for length in [1200, 120, 53] {
            assert_eq!(record(&mut state, Side::Client, length), None);
        }
        assert_eq!(closed(&state, Side::Client), Judgement::Incomplete(IncompleteReason::Ambiguous));
        assert_eq!(record(&mut state, Side::Server, 19), None);
        assert_eq!(closed(&state, Side::Server), Judgement::Incomplete(IncompleteReason::Ambiguous));
        assert_eq!(record(&mut state, Side::Server, 240), COMPLETED);
    }

    #[test]
    fn a_record_that_began_before_the_clients_flight_is_no_answer_to_it() {
        let mut state = after_hello(false);
        record(&mut state, Side::Server, 900);
        state.record_begins(Side::Server, Timestamp::from_nanos(1));
        assert_eq!(record(&mut state, Side::Client, 1200), None);
        assert_eq!(state.record_ends(Side::Server, 900), None);
    }

    #[test]
    fn an_empty_client_certificate_may_be_refused_too() {
        let mut state = after_hello(false);
        record(&mut state, Side::Server, 900);
        record(&mut state, Side::Client, 25);
        assert_eq!(record(&mut state, Side::Client, 53), None);
    }

    #[test]
    fn a_server_that_breaks_off_with_an_alert_is_named() {
        let mut state = after_hello(false);
        record(&mut state, Side::Server, 19);
        assert!(matches!(
            closed(&state, Side::Server),
            Judgement::Failed { cause: FailureCause::EncryptedAlert, by: Side::Server, .. }
        ));
    }

    #[test]
    fn early_data_is_no_finished() {
        let mut state = after_hello(true);
        record(&mut state, Side::Server, 120);
        for length in [600, 900] {
            assert_eq!(record(&mut state, Side::Client, length), None);
        }
        assert_eq!(record(&mut state, Side::Server, 300), None);
        assert_eq!(record(&mut state, Side::Client, 53), None);
        assert_eq!(record(&mut state, Side::Server, 300), COMPLETED);
        assert_eq!(state.flight(), None);
    }

    #[test]
    fn the_end_of_early_data_and_a_finished_complete() {
        let mut state = after_hello(true);
        record(&mut state, Side::Server, 120);
        for length in [600, 21] {
            assert_eq!(record(&mut state, Side::Client, length), None);
        }
        assert_eq!(record(&mut state, Side::Client, 53), COMPLETED);
    }

    #[test]
    fn a_hole_takes_the_flights_sizes_but_not_the_verdict() {
        let mut state = after_hello(false);
        state.hole(Side::Server);
        assert_eq!(record(&mut state, Side::Client, 53), COMPLETED);
        assert_eq!(state.flight(), None);
    }

    #[test]
    fn a_hole_before_the_clients_finished_may_hide_a_certificate() {
        let mut state = after_hello(false);
        record(&mut state, Side::Server, 900);
        state.hole(Side::Client);
        assert_eq!(record(&mut state, Side::Client, 53), None);
        assert_eq!(record(&mut state, Side::Server, 300), COMPLETED);
    }

    #[test]
    fn listed_records_are_bounded() {
        let mut state = after_hello(false);
        for _ in 0..100 {
            record(&mut state, Side::Server, 16_000);
        }
        let flight = state.flight().unwrap();
        assert_eq!((flight.records.len(), flight.bytes), (ServerFlight::MAX_RECORDS, 1_600_000));
    }
}
