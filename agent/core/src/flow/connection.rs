//! One connection: segments in, and once it is settled, what became of its handshake.

use super::key::{End, PerEnd};
use super::path::{Kind, Path, Stalled, StalledHalf};
use super::probe::{Finding, Found, Known, Probing, Refusal};
use super::reassembly::{Event, Reassembly};
use super::sequence::Sequence;
use crate::decode::{Encapsulation, Segment};
use crate::observation::{FailureCause, IncompleteReason, PathFacts, Side, UpgradedFrom};
use crate::time::Timestamp;
use crate::tls::decrypt::key_log::SharedKeyLog;
use crate::tls::detect::Opening;
use crate::tls::machine::Machine;
use crate::tls::verdict::Verdict;
use crate::upgrade::{Dialogue, News};
use std::ops::ControlFlow;
use std::time::Duration;

/// The least that implementations wait before they send again (Linux; RFC 6298 asks for a second).
const LEAST_RTO: Duration = Duration::from_millis(200);

/// Segments that a server may send before the first acknowledgement (RFC 6928).
const INITIAL_WINDOW: u64 = 10;

/// How far a quoted sequence number may lie from the bytes that were delivered: a window of data under way, and some
/// data that came after the quoted segment.
const QUOTE_DISTANCE: u32 = 1 << 20;

/// The TCP handshake's round trip.
#[derive(Clone, Copy, Debug, Default)]
struct RoundTrip {
    syn: Option<(End, Timestamp)>,
    /// Number that acknowledges the SYN-ACK.
    awaited: Option<Sequence>,
    repeated: bool,
    measured: Option<Duration>,
}

impl RoundTrip {
    fn segment(&mut self, from: End, at: Timestamp, segment: &Segment<'_>) {
        match (segment.syn, segment.acknowledgment) {
            (true, None) => {
                // What comes again after the answer to it leaves no doubt about which was answered.
                self.repeated |= self.syn.is_some() && self.measured.is_none();
                self.syn = Some((from, at));
            }
            (true, Some(_)) => {
                self.repeated |= self.awaited.is_some() && self.measured.is_none();
                self.awaited = Some(segment.sequence.advanced(1));
            }
            (false, Some(number)) => {
                if let (Some((opener, sent)), Some(awaited), None) = (self.syn, self.awaited, self.measured)
                    && opener == from
                    && number.distance_from(awaited) >= 0
                {
                    self.measured = at.since(sent);
                }
            }
            (false, None) => {}
        }
    }

    /// Null where a repetition leaves open which packet was answered.
    fn duration(&self) -> Option<Duration> {
        self.measured.filter(|_| !self.repeated)
    }
}

#[derive(Debug)]
enum Stage {
    /// What the connection carries is open.
    Probing(Box<Probing>),
    /// A TLS handshake.
    Following(Attempt),
}

/// A TLS handshake, begun by `client`.
#[derive(Debug)]
struct Attempt {
    client: End,
    machine: Box<Machine>,
    upgraded_from: Option<UpgradedFrom>,
    /// An eager client's hello came before the server's answer to its request for TLS.
    awaited: Option<Box<dyn Dialogue>>,
}

/// A SYN for the endpoints of a connection that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rival {
    pub(super) from: End,
    at: Timestamp,
    sequence: Sequence,
}

/// The end of a connection that came before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Early {
    Closed,
    Reset,
}

/// What a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conclusion {
    /// Its handshake is settled.
    Settled(Verdict),
    /// It carries no TLS that could be seen.
    NotTls,
}

/// A connection that is being followed.
#[derive(Debug)]
pub(crate) struct Connection {
    reassembly: Reassembly,
    round_trip: RoundTrip,
    path: Path,
    content: Content,
    /// A SYN for the same endpoints that nobody has answered yet.
    rival: Option<Box<Rival>>,
    /// Messages of routers that a segment of an end was too large.
    too_big: PerEnd<u32>,
    /// What was around the first packet, if anything.
    pub(crate) tunnel: Option<Box<Encapsulation>>,
    /// Tells a timer entry of this connection from one of an earlier connection in the same place.
    pub(crate) generation: u32,
    /// Interface that the first packet came from.
    pub(crate) interface: u16,
    /// When something last happened that puts the deadline off, on the table's own clock.
    pub(crate) idle_since: u64,
    /// Bytes that the table has booked for this connection.
    pub(crate) booked_bytes: usize,
    /// Its attempt is one that a fallback may follow, and the table counts it as open. `None` while that is undecided.
    pub(crate) may_fall_back: Option<bool>,
}

impl Connection {
    pub(crate) fn new(generation: u32, interface: u16, now: u64, key_log: Option<SharedKeyLog>) -> Self {
        Self {
            reassembly: Reassembly::default(),
            round_trip: RoundTrip::default(),
            path: Path::default(),
            content: Content {
                stage: Stage::Probing(Box::default()),
                known: Known::default(),
                ended: None,
                refusal: None,
                conclusion: None,
                key_log,
            },
            rival: None,
            too_big: PerEnd::default(),
            tunnel: None,
            generation,
            interface,
            idle_since: now,
            booked_bytes: 0,
            may_fall_back: None,
        }
    }

    /// Memory that this connection takes.
    pub(crate) fn bytes(&self) -> usize {
        let stage = match &self.content.stage {
            Stage::Probing(probing) => size_of::<Probing>() + probing.heap_bytes(),
            Stage::Following(attempt) => attempt.heap_bytes(),
        };
        let tunnel = self.tunnel.as_ref().map_or(0, |_| size_of::<Encapsulation>());
        size_of::<Self>() + stage + tunnel + self.reassembly.heap_bytes()
    }

    /// Takes note that a router found a segment too large that `from` sent. Anyone may send such a message: one that
    /// quotes a number far from what the end has sent counts for nothing, nor does one about an end that was never seen.
    pub(crate) fn quoted_as_too_big(&mut self, from: End, sequence: Sequence) {
        if self.reassembly.is_near(from, sequence, QUOTE_DISTANCE) {
            let count = self.too_big.of_mut(from);
            *count = count.saturating_add(1);
        }
    }

    fn attempt(&self) -> Option<&Attempt> {
        match &self.content.stage {
            Stage::Probing(_) => None,
            Stage::Following(attempt) => Some(attempt),
        }
    }

    /// The machine, once there is an attempt.
    pub(crate) fn machine(&self) -> Option<&Machine> {
        self.attempt().map(|attempt| &*attempt.machine)
    }

    /// The plaintext protocol that the attempt was upgraded from.
    pub(crate) fn upgraded_from(&self) -> Option<UpgradedFrom> {
        self.attempt().and_then(|attempt| attempt.upgraded_from)
    }

    /// A request for TLS that the server declined, the first of the connection, once.
    pub(crate) fn take_refusal(&mut self) -> Option<Refusal> {
        self.content.refusal.take().map(|refusal| *refusal)
    }

    /// The side of the handshake that an end is, once there is an attempt.
    pub(crate) fn side(&self, end: End) -> Option<Side> {
        self.attempt().map(|attempt| attempt.side(end))
    }

    /// The end that is the client, once there is an attempt.
    pub(crate) fn client(&self) -> Option<End> {
        self.attempt().map(|attempt| attempt.client)
    }

    /// The end of the data that an end has sent.
    pub(crate) fn sent(&self, end: End) -> Sequence {
        self.path.sent(end)
    }

    /// Round trip of the TCP handshake.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip.duration()
    }

    /// Trouble on the path of an attempt of `client`.
    pub(crate) fn path(&self, client: End) -> PathFacts {
        let counts = self.path.counts();
        let mss = self.path.mss(client.peer());
        let flight = self.machine().and_then(Machine::first_flight);
        let window = mss.map(|mss| INITIAL_WINDOW * u64::from(mss));
        PathFacts {
            retransmissions: counts.retransmissions,
            out_of_order: counts.out_of_order,
            duplicates: counts.duplicates,
            too_big: self.too_big.of(End::Low).saturating_add(*self.too_big.of(End::High)),
            mss,
            over_initial_window: flight.zip(window).map(|(flight, window)| flight.bytes > window),
            flight_bytes: flight.map(|flight| flight.bytes),
            flight_segments: flight.map(|flight| flight.segments),
        }
    }

    /// The verdict as the path explains it.
    pub(crate) fn explained(&self, verdict: Verdict) -> Verdict {
        let (Some(attempt), Some(failure)) = (self.attempt(), verdict.failure) else { return verdict };
        let client = attempt.client;
        let given_up = attempt.machine.half_closed().unwrap_or(verdict.at);
        let stalled = Stalled {
            hello_is_large: attempt.machine.hello_is_large() || self.path.sent_large(client),
            client_resent: self.path.resent(client) > 0
                && given_up.since(attempt.machine.start()).is_some_and(|waited| waited >= LEAST_RTO),
            client: self.half_stalled(client),
            server: self.half_stalled(client.peer()),
        };
        let failure = stalled.explain(failure);
        Verdict { failure: Some(failure), evidence: failure.evidence, ..verdict }
    }

    fn half_stalled(&self, end: End) -> Option<StalledHalf> {
        let is_stalled = self.path.is_unacknowledged(end);
        is_stalled.then(|| StalledHalf { too_big: *self.too_big.of(end) > 0 })
    }

    /// The only side whose packets were seen.
    pub(crate) fn one_sided(&self) -> Option<Side> {
        let client = self.attempt()?.client;
        let seen = &self.content.known.seen;
        match (seen.of(client), seen.of(client.peer())) {
            (true, false) => Some(Side::Client),
            (false, true) => Some(Side::Server),
            _ => None,
        }
    }

    /// Takes the connection apart: the client's end and the machine, where there is an attempt.
    pub(crate) fn into_attempt(self) -> Option<(End, Box<Machine>)> {
        match self.content.stage {
            Stage::Probing(_) => None,
            Stage::Following(attempt) => Some((attempt.client, attempt.machine)),
        }
    }

    /// Whether a segment opens another connection on the same endpoints, and with which SYN. Anyone may send a SYN: while
    /// an attempt is under way, the peer's answer to it decides.
    pub(crate) fn is_reopened_by(
        &mut self,
        from: End,
        at: Timestamp,
        segment: &Segment<'_>,
    ) -> Option<Rival> {
        if self.reassembly.is_reopened_by(from, segment) {
            let rival = Rival { from, at, sequence: segment.sequence };
            if self.machine().is_none() {
                return Some(rival);
            }
            self.rival = Some(Box::new(rival));
        }
        let answer = segment.acknowledgment.filter(|_| segment.syn)?;
        self.rival
            .as_deref()
            .copied()
            .filter(|rival| rival.from == from.peer() && rival.sequence.advanced(1) == answer)
    }

    /// Takes note of the SYN that opened this connection, where another segment is the first that it is given.
    pub(crate) fn opened_by(&mut self, opener: End, rival: Rival) {
        if rival.from == opener {
            self.round_trip.syn = Some((rival.from, rival.at));
            *self.content.known.seen.of_mut(opener) = true;
            *self.content.known.opening_seen.of_mut(opener) = true;
        }
    }

    /// Whether only one side was seen, or the connection has begun to close.
    pub(crate) fn is_half_open(&self) -> bool {
        let seen = &self.content.known.seen;
        !(*seen.of(End::Low) && *seen.of(End::High)) || self.content.ended.is_some()
    }

    /// Segments since the last call that repeated bytes with another content.
    pub(crate) fn take_conflicts(&mut self) -> u32 {
        self.reassembly.take_conflicts()
    }

    /// Takes a segment.
    pub(crate) fn segment(&mut self, from: End, at: Timestamp, segment: &Segment<'_>) -> Option<Conclusion> {
        if self.path.segment(from, at, segment, self.round_trip.measured) != Kind::Duplicate {
            self.round_trip.segment(from, at, segment);
        }
        let Self { reassembly, content, .. } = self;
        *content.known.seen.of_mut(from) = true;
        *content.known.opening_seen.of_mut(from) |= segment.syn;
        let _ = reassembly.segment(from, at, segment, &mut |event| content.event(event));
        content.conclusion
    }

    /// Delivers what is held back, at the end of the connection or of the capture.
    pub(crate) fn flush(&mut self, now: Timestamp) -> Option<Conclusion> {
        let Self { reassembly, content, .. } = self;
        let _ = reassembly.flush(now, &mut |event| content.event(event));
        content.conclusion
    }
}

/// What the bytes of a connection are.
#[derive(Debug)]
struct Content {
    stage: Stage,
    known: Known,
    /// How one end ended the connection before anything was told of it.
    ended: Option<Early>,
    refusal: Option<Box<Refusal>>,
    conclusion: Option<Conclusion>,
    /// Where the secrets of an attempt are looked for.
    key_log: Option<SharedKeyLog>,
}

impl Content {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        self.conclusion = match (&mut self.stage, event) {
            (Stage::Probing(_), Event::Data { from, at, bytes }) => self.probe(from, at, bytes),
            (Stage::Probing(probing), Event::Missing { from, length, .. }) => {
                probing.hole(from, length);
                None
            }
            (Stage::Probing(_), Event::Close { .. }) => self.ended_early(Early::Closed),
            (Stage::Probing(_), Event::Reset { .. }) => self.ended_early(Early::Reset),
            (Stage::Following(attempt), event) => attempt.event(event).map(Conclusion::Settled),
        };
        match self.conclusion {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    /// An end closed or reset before anything was told. The other end's hello may still be under way: a server that
    /// accepts and closes at once fails every handshake.
    fn ended_early(&mut self, early: Early) -> Option<Conclusion> {
        let established = *self.known.opening_seen.of(End::Low) && *self.known.opening_seen.of(End::High);
        let awaits_hello = matches!(&self.stage, Stage::Probing(probing) if probing.awaits_hello());
        if self.ended.is_some() || !established || !awaits_hello {
            return Some(Conclusion::NotTls);
        }
        self.ended = Some(early);
        None
    }

    fn probe(&mut self, from: End, at: Timestamp, bytes: &[u8]) -> Option<Conclusion> {
        let Stage::Probing(probing) = &mut self.stage else { return None };
        let finding = probing.data(&self.known, from, at, bytes);
        if self.refusal.is_none() {
            self.refusal = probing.take_refusal().map(Box::new);
        }
        let found = match finding {
            Finding::Open => return None,
            Finding::NotTls => return Some(Conclusion::NotTls),
            Finding::Attempt(found) => found,
        };
        let missing_bytes = probing.missing_bytes;
        let (machine, verdict) = self.begin(from, at, &found, missing_bytes);
        let client = if found.opening == Opening::ServerHello { from.peer() } else { from };
        let Found { upgraded_from, awaited, .. } = found;
        self.stage = Stage::Following(Attempt { client, machine, upgraded_from, awaited });
        verdict.map(Conclusion::Settled)
    }

    /// The machine of an attempt, with its first bytes read.
    fn begin(
        &self,
        from: End,
        at: Timestamp,
        found: &Found<'_>,
        missing_bytes: u64,
    ) -> (Box<Machine>, Option<Verdict>) {
        let Known { seen, opening_seen } = &self.known;
        let server_start_is_known = *opening_seen.of(from.peer()) || found.in_step;
        let (side, machine) = match found.opening {
            Opening::ServerHello => {
                let opening_seen = *opening_seen.of(End::Low) || *opening_seen.of(End::High);
                let reason = match (*seen.of(from.peer()), opening_seen) {
                    (false, _) => IncompleteReason::OneSided,
                    (true, true) => IncompleteReason::Gap,
                    (true, false) => IncompleteReason::BeganLate,
                };
                (Side::Server, Machine::without_hello(found.first_at, reason, missing_bytes))
            }
            Opening::Ssl2Hello => {
                (Side::Client, Machine::for_ssl2_hello(found.first_at, server_start_is_known))
            }
            Opening::ClientHello | Opening::Undecided | Opening::Other => {
                (Side::Client, Machine::new(found.first_at, server_start_is_known))
            }
        };
        let mut machine = Box::new(machine.with_key_log(self.key_log.clone()));
        let mut verdict = None;
        if !found.begun().is_empty() {
            // Bytes of several earlier segments are handed over as one.
            verdict = machine.data(side, found.first_at, found.begun());
            machine.count_segments(u32::from(found.segments).saturating_sub(2));
        }
        let verdict = verdict.or_else(|| machine.data(side, at, found.bytes));
        // The other end had ended already.
        let verdict = verdict.or_else(|| match self.ended {
            Some(Early::Reset) => Some(machine.reset(side.peer(), at)),
            Some(Early::Closed) => machine.closed(side.peer(), at),
            None => None,
        });
        (machine, verdict)
    }
}

impl Attempt {
    fn side(&self, end: End) -> Side {
        if end == self.client { Side::Client } else { Side::Server }
    }

    fn heap_bytes(&self) -> usize {
        let awaited = self.awaited.as_ref().map_or(0, |dialogue| size_of_val(&**dialogue));
        size_of::<Machine>() + self.machine.heap_bytes() + awaited
    }

    fn event(&mut self, event: Event<'_>) -> Option<Verdict> {
        match event {
            Event::Data { from, at, mut bytes } => {
                let side = self.side(from);
                if side == Side::Server
                    && let Some(verdict) = self.answer(at, &mut bytes)
                {
                    return Some(verdict);
                }
                if bytes.is_empty() { None } else { self.machine.data(side, at, bytes) }
            }
            Event::Missing { from, at, length, truncated } => {
                let side = self.side(from);
                if side == Side::Server {
                    self.awaited = None;
                }
                self.machine.missing(side, at, length, truncated)
            }
            Event::Close { from, at } => self.machine.closed(self.side(from), at),
            Event::Reset { from, at } => Some(self.machine.reset(self.side(from), at)),
        }
    }

    /// Reads the server's answer to the request that came before the hello.
    fn answer(&mut self, at: Timestamp, bytes: &mut &[u8]) -> Option<Verdict> {
        // The types of an alert and of a handshake record begin no plaintext answer.
        if matches!(bytes.first(), Some(21 | 22)) {
            self.awaited = None;
        }
        let whole = *bytes;
        match self.awaited.as_mut()?.next(Side::Server, bytes)? {
            News::Accepted => {}
            News::Refused => {
                let cause = match &self.awaited {
                    Some(dialogue) if dialogue.is_tunnel() => FailureCause::NotTls,
                    _ => FailureCause::UpgradeRefused,
                };
                return Some(self.machine.declined(at, cause));
            }
            // The machine says that this is no TLS.
            News::Asked | News::Lost => *bytes = whole,
        }
        self.awaited = None;
        None
    }
}
