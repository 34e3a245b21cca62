//! A TLS conversation in memory: both ends are the real library, and what they write is kept, flight by flight.

use crate::identity::KeyKind;
use crate::peers::{Peers, PeersError};
use crate::plan::{HandshakePlan, Side};
use crate::scenario::{ClientBehaviour, Scenario, ServerBehaviour};
use crate::truth::{Agreement, alert_name};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, KeyLog, ServerConfig, ServerConnection};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: laboratory\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

/// A handshake needs three turns of each side, with a retry and tickets a few more.
const MOST_TURNS: usize = 16;

/// Bytes that one side wrote before it waited for the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Who wrote.
    pub sender: Side,
    /// What was written: whole TLS records.
    pub bytes: Vec<u8>,
}

/// How the TCP connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This side closes first (FIN), the other follows.
    Closed(Side),
    /// This side resets the connection.
    Reset(Side),
    /// Nothing more is seen.
    Open,
}

/// Why a conversation could not be made.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The two ends could not be set up.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// The server name cannot stand in a ClientHello.
    #[error("`{0}` is not a server name that TLS can carry")]
    ServerName(String),
    /// The TLS library refused to start.
    #[error("the TLS library refuses to start: {0}")]
    Start(#[from] rustls::Error),
    /// Reading or writing in memory failed, which it never should.
    #[error("the conversation in memory broke: {0}")]
    Memory(#[from] io::Error),
    /// The two ends kept talking for ever.
    #[error("the handshake did not settle after {MOST_TURNS} turns")]
    Unsettled,
}

/// A whole conversation with its answer.
#[derive(Clone, Debug)]
pub struct Session {
    /// Everything written, in order.
    pub flights: Vec<Flight>,
    /// How the connection ends.
    pub ending: Ending,
    /// The server name in the ClientHello.
    pub server_name: String,
    /// What both ends agreed on; `None` when the handshake failed.
    pub agreement: Option<Agreement>,
    /// The alert that ended the handshake, and who sent it.
    pub alert: Option<(Side, String)>,
    /// DER lengths of the chain that the server shows, leaf first (not sent when a session is resumed).
    pub certificate_lengths: Vec<usize>,
    /// The key log that the client wrote, line by line (SSLKEYLOGFILE).
    pub key_log: String,
}

/// Keeps what a client logs.
#[derive(Debug, Default)]
struct Lines(Mutex<String>);

impl KeyLog for Lines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(lines, "{label} {} {}", hex(client_random), hex(secret));
    }
}

impl Session {
    /// Runs a handshake, a request, a response and a clean close. A plan with resumption runs twice, and the second
    /// conversation is returned. A handshake that fails is no error: its alert is part of the conversation.
    ///
    /// # Errors
    /// When the ends cannot be set up.
    pub fn run(plan: &HandshakePlan, server_name: &str) -> Result<Self, SessionError> {
        let peers = Peers::generate(&[server_name.to_owned()])?;
        let chain = peers.server_chain(plan)?;
        let lengths = chain.lengths();
        let lines = Arc::new(Lines::default());
        let mut client = peers.client(plan)?;
        client.key_log = Arc::<Lines>::clone(&lines);
        let client = Arc::new(client);
        let server = Arc::new(peers.server(plan, chain)?);
        if plan.resumption {
            Talk::start(&client, &server, server_name)?.run(server_name, &lengths)?;
        }
        let session = Talk::start(&client, &server, server_name)?.run(server_name, &lengths)?;
        let key_log = lines.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Self { key_log, ..session })
    }

    /// Conversations of one server with one chain, whose leaf's key is of this kind: so many with full handshakes, and so
    /// many that resume.
    ///
    /// # Errors
    /// When the ends cannot be set up.
    pub fn of_one_server(
        plan: &HandshakePlan,
        server_name: &str,
        kind: KeyKind,
        (full, resumed): (usize, usize),
    ) -> Result<Vec<Self>, SessionError> {
        let peers = Peers::generate(&[server_name.to_owned()])?;
        let chain = peers.server_chain_with(plan, kind)?;
        let lengths = chain.lengths();
        let returning = HandshakePlan { resumption: true, ..plan.clone() };
        let strangers = Arc::new(peers.client(&HandshakePlan { resumption: false, ..plan.clone() })?);
        let regulars = Arc::new(peers.client(&returning)?);
        let server = Arc::new(peers.server(&returning, chain)?);
        if resumed > 0 {
            Talk::start(&regulars, &server, server_name)?.run(server_name, &lengths)?;
        }
        let clients = std::iter::repeat_n(strangers, full).chain(std::iter::repeat_n(regulars, resumed));
        clients.map(|client| Talk::start(&client, &server, server_name)?.run(server_name, &lengths)).collect()
    }

    /// The conversation of a scenario, including those where one end does not speak TLS. A silent server leaves the
    /// hello unanswered and the connection open.
    ///
    /// # Errors
    /// When the ends cannot be set up.
    pub fn of(scenario: Scenario, server_name: &str) -> Result<Self, SessionError> {
        let whole = Self::run(&scenario.plan(), server_name)?;
        let after_hello =
            |ending| Self { agreement: None, alert: None, ..whole.clone() }.cut_after(1, ending);
        let by_client = match scenario.client_behaviour() {
            ClientBehaviour::Tls => None,
            ClientBehaviour::Reset => Some(after_hello(Ending::Reset(Side::Client))),
            ClientBehaviour::Close => Some(after_hello(Ending::Closed(Side::Client))),
        };
        Ok(by_client.unwrap_or_else(|| match scenario.server_behaviour() {
            ServerBehaviour::Tls => whole.clone(),
            ServerBehaviour::Reset => after_hello(Ending::Reset(Side::Server)),
            ServerBehaviour::Close => after_hello(Ending::Closed(Side::Server)),
            ServerBehaviour::Silent => after_hello(Ending::Open),
            ServerBehaviour::PlainText => {
                let mut session = after_hello(Ending::Closed(Side::Server));
                session.flights.push(Flight { sender: Side::Server, bytes: PLAIN_ANSWER.to_vec() });
                session
            }
        }))
    }

    /// The same with the first `count` flights only, and this ending.
    #[must_use]
    pub fn cut_after(mut self, count: usize, ending: Ending) -> Self {
        self.flights.truncate(count);
        self.ending = ending;
        self
    }

    /// The same behind a dialogue in the clear. What one side says in one go stands in one flight, so that a dialogue
    /// that ends with the client's words shares a segment with the hello.
    #[must_use]
    pub fn preceded_by(mut self, dialogue: &[(Side, &[u8])]) -> Self {
        let spoken = dialogue.iter().map(|(sender, said)| Flight { sender: *sender, bytes: said.to_vec() });
        let mut flights: Vec<Flight> = Vec::new();
        for flight in spoken.chain(self.flights) {
            match flights.last_mut() {
                Some(last) if last.sender == flight.sender => last.bytes.extend_from_slice(&flight.bytes),
                _ => flights.push(flight),
            }
        }
        self.flights = flights;
        self
    }

    /// The same with each flight's last bytes missing, as if the sender had stopped in the middle of its last flight.
    #[must_use]
    pub fn without_last_bytes(mut self, count: usize) -> Self {
        if let Some(flight) = self.flights.last_mut() {
            let left = flight.bytes.len().saturating_sub(count);
            flight.bytes.truncate(left);
        }
        self
    }

    /// The same with the client's first record cut into records of at most `bytes` bytes of content, as RFC 9846,
    /// section 5.1 allows for handshake messages.
    #[must_use]
    pub fn with_hello_in_records_of(mut self, bytes: usize) -> Self {
        if let Some(flight) = self.flights.first_mut() {
            flight.bytes = split_first_record(&flight.bytes, bytes.max(1));
        }
        self
    }
}

fn split_first_record(bytes: &[u8], most: usize) -> Vec<u8> {
    let Some((&[kind, major, minor, high, low], rest)) = bytes.split_first_chunk::<5>() else {
        return bytes.to_vec();
    };
    let length = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
    let (content, after) = rest.split_at(length);
    let mut out = Vec::with_capacity(bytes.len() + 5 * length.div_ceil(most));
    for piece in content.chunks(most) {
        let length = u16::try_from(piece.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&[kind, major, minor]);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(after);
    out
}

struct Talk {
    client: Connection,
    server: Connection,
    flights: Vec<Flight>,
    alert: Option<(Side, String)>,
}

impl Talk {
    fn start(
        client: &Arc<ClientConfig>,
        server: &Arc<ServerConfig>,
        server_name: &str,
    ) -> Result<Self, SessionError> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| SessionError::ServerName(server_name.to_owned()))?;
        Ok(Self {
            client: ClientConnection::new(Arc::clone(client), name)?.into(),
            server: ServerConnection::new(Arc::clone(server))?.into(),
            flights: Vec::new(),
            alert: None,
        })
    }

    fn run(mut self, server_name: &str, lengths: &[usize]) -> Result<Session, SessionError> {
        let settled = self.exchange()?;
        if settled {
            self.client.writer().write_all(REQUEST)?;
            self.exchange()?;
            self.server.writer().write_all(RESPONSE)?;
            self.exchange()?;
            self.client.send_close_notify();
            self.exchange()?;
            self.server.send_close_notify();
            self.exchange()?;
        }
        let agreement = if settled { Agreement::read(&self.client) } else { None };
        let ending = Ending::Closed(self.alert.as_ref().map_or(Side::Client, |(sender, _)| *sender));
        Ok(Session {
            flights: self.flights,
            ending,
            server_name: server_name.to_owned(),
            agreement,
            alert: self.alert,
            certificate_lengths: lengths.to_vec(),
            key_log: String::new(),
        })
    }

    /// Lets both sides speak until neither has anything to say; whether the handshake is done then.
    fn exchange(&mut self) -> Result<bool, SessionError> {
        for _ in 0..MOST_TURNS {
            let said = [self.speak(Side::Client)?, self.speak(Side::Server)?];
            if said == [false, false] {
                let done = !self.client.is_handshaking() && !self.server.is_handshaking();
                return Ok(done && self.alert.is_none());
            }
        }
        Err(SessionError::Unsettled)
    }

    fn speak(&mut self, sender: Side) -> Result<bool, SessionError> {
        let (from, to) = match sender {
            Side::Client => (&mut self.client, &mut self.server),
            Side::Server => (&mut self.server, &mut self.client),
        };
        let mut bytes = Vec::new();
        while from.wants_write() {
            from.write_tls(&mut bytes)?;
        }
        if bytes.is_empty() {
            return Ok(false);
        }
        let mut unread = bytes.as_slice();
        while !unread.is_empty() {
            to.read_tls(&mut unread)?;
            match to.process_new_packets() {
                Ok(state) => {
                    let mut plain = vec![0; state.plaintext_bytes_to_read()];
                    to.reader().read_exact(&mut plain)?;
                }
                Err(rustls::Error::AlertReceived(alert)) => {
                    self.alert = Some((sender, alert_name(alert)));
                    break;
                }
                // The receiver has queued an alert; it is said on its next turn.
                Err(_) => break,
            }
        }
        self.flights.push(Flight { sender, bytes });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use crate::truth::Course;

    fn session(scenario: Scenario) -> Session {
        Session::run(&scenario.plan(), "checkout.example").unwrap()
    }

    #[test]
    fn a_hybrid_handshake_is_whole() {
        let session = session(Scenario::Hybrid);
        let agreement = session.agreement.unwrap();
        assert_eq!(agreement.group.as_deref(), Some("X25519MLKEM768"));
        assert_eq!(agreement.course, Course::Full);
        let senders: Vec<_> = session.flights.iter().map(|flight| flight.sender).collect();
        assert_eq!(senders[..3], [Side::Client, Side::Server, Side::Client]);
        assert_eq!(session.flights[0].bytes[0], 22, "a handshake record comes first");
        assert!(session.flights[0].bytes.len() > 1184, "the hello holds an ML-KEM-768 key");
    }

    #[test]
    fn retries_and_resumptions_are_what_the_plan_says() {
        let retry = session(Scenario::HelloRetryToHybrid);
        assert_eq!(retry.agreement.unwrap().course, Course::HelloRetry);
        let resumed = session(Scenario::Resumed);
        assert_eq!(resumed.agreement.unwrap().course, Course::Resumed);
        let old = session(Scenario::Tls12Resumed);
        assert_eq!(old.agreement.unwrap().course, Course::Resumed);
    }

    #[test]
    fn a_refusal_ends_with_its_alert() {
        let refused = session(Scenario::NoSharedGroup);
        assert_eq!(refused.alert, Some((Side::Server, "handshake_failure".to_owned())));
        assert_eq!(refused.agreement, None);
        let last = refused.flights.last().unwrap();
        assert_eq!((last.sender, last.bytes[0]), (Side::Server, 21), "an alert record in the clear");
        let distrust = session(Scenario::UnknownCa);
        assert_eq!(distrust.alert, Some((Side::Client, "unknown_ca".to_owned())));
    }

    #[test]
    fn words_in_the_clear_come_first() {
        let plain = session(Scenario::X25519);
        let hello = plain.flights[0].bytes.clone();
        let said = [(Side::Server, &b"ready"[..]), (Side::Client, b"go ")];
        let flights = plain.preceded_by(&said).flights;
        assert_eq!(flights[0], Flight { sender: Side::Server, bytes: b"ready".to_vec() });
        assert_eq!(flights[1].bytes, [&b"go "[..], &hello].concat());
    }

    #[test]
    fn a_hello_in_small_records_keeps_its_content() {
        let whole = session(Scenario::Hybrid);
        let split = whole.clone().with_hello_in_records_of(100);
        let content = |bytes: &[u8]| {
            let (mut out, mut rest) = (Vec::new(), bytes);
            while let Some((header, after)) = rest.split_first_chunk::<5>() {
                let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
                out.extend_from_slice(&after[..length]);
                rest = &after[length..];
            }
            out
        };
        assert_eq!(content(&whole.flights[0].bytes), content(&split.flights[0].bytes));
        assert!(split.flights[0].bytes.len() > whole.flights[0].bytes.len());
    }
}
