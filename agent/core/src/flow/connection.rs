//! One connection: segments in, and once it is settled, what became of its handshake.

use super::key::{End, PerEnd};
use super::reassembly::{Event, Reassembly};
use super::sequence::Sequence;
use crate::decode::Segment;
use crate::observation::{IncompleteReason, Side};
use crate::time::Timestamp;
use crate::tls::detect::{self, Opening};
use crate::tls::machine::Machine;
use crate::tls::verdict::Verdict;
use std::ops::ControlFlow;
use std::time::Duration;

/// Segments with something other than TLS that may pass before a connection is no longer looked at: an upgrade from
/// plaintext, or a handshake in whose middle the capture began, shows within a few.
const MAX_STRIKES: u8 = 32;

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
                self.repeated |= self.syn.is_some();
                self.syn = Some((from, at));
            }
            (true, Some(_)) => {
                self.repeated |= self.awaited.is_some();
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

/// The first bytes of a direction, until they tell what it is.
#[derive(Clone, Copy, Debug, Default)]
struct Probe {
    bytes: [u8; detect::NEEDED],
    have: u8,
    segments: u8,
    first_at: Timestamp,
    /// The direction's first bytes are not in the capture.
    begun_before: bool,
    /// The direction began with something other than TLS.
    other: bool,
}

#[derive(Debug)]
enum Stage {
    /// What the connection carries is open.
    Probing(PerEnd<Probe>),
    /// A TLS handshake, begun by `client`.
    Following { client: End, machine: Box<Machine> },
}

/// A SYN for the endpoints of a connection that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rival {
    from: End,
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
    content: Content,
    /// A SYN for the same endpoints that nobody has answered yet.
    rival: Option<Rival>,
    /// Tells a timer entry of this connection from one of an earlier connection in the same place.
    pub(crate) generation: u32,
    /// Interface that the first packet came from.
    pub(crate) interface: u16,
    /// When something last happened that puts the deadline off, on the table's own clock.
    pub(crate) idle_since: u64,
    /// Bytes that the table has booked for this connection.
    pub(crate) booked_bytes: usize,
}

impl Connection {
    pub(crate) fn new(generation: u32, interface: u16, now: u64) -> Self {
        Self {
            reassembly: Reassembly::default(),
            round_trip: RoundTrip::default(),
            content: Content {
                stage: Stage::Probing(PerEnd::default()),
                strikes: 0,
                seen: PerEnd::default(),
                opening_seen: PerEnd::default(),
                ended: None,
                missing_bytes: 0,
                conclusion: None,
            },
            rival: None,
            generation,
            interface,
            idle_since: now,
            booked_bytes: 0,
        }
    }

    /// Memory that this connection takes.
    pub(crate) fn bytes(&self) -> usize {
        let machine = self.machine().map_or(0, |machine| size_of::<Machine>() + machine.heap_bytes());
        size_of::<Self>() + machine + self.reassembly.heap_bytes()
    }

    /// The machine, once there is an attempt.
    pub(crate) fn machine(&self) -> Option<&Machine> {
        match &self.content.stage {
            Stage::Probing(_) => None,
            Stage::Following { machine, .. } => Some(machine),
        }
    }

    /// The side of the handshake that an end is, once there is an attempt.
    pub(crate) fn side(&self, end: End) -> Option<Side> {
        match self.content.stage {
            Stage::Probing(_) => None,
            Stage::Following { client, .. } => Some(if end == client { Side::Client } else { Side::Server }),
        }
    }

    /// Round trip of the TCP handshake.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip.duration()
    }

    /// The only side whose packets were seen.
    pub(crate) fn one_sided(&self) -> Option<Side> {
        let Stage::Following { client, .. } = self.content.stage else { return None };
        match (self.content.seen.of(client), self.content.seen.of(client.peer())) {
            (true, false) => Some(Side::Client),
            (false, true) => Some(Side::Server),
            _ => None,
        }
    }

    /// Takes the connection apart: the client's end and the machine, where there is an attempt.
    pub(crate) fn into_attempt(self) -> Option<(End, Box<Machine>)> {
        match self.content.stage {
            Stage::Probing(_) => None,
            Stage::Following { client, machine } => Some((client, machine)),
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
            self.rival = Some(rival);
        }
        let answer = segment.acknowledgment.filter(|_| segment.syn)?;
        self.rival.filter(|rival| rival.from == from.peer() && rival.sequence.advanced(1) == answer)
    }

    /// Takes note of the SYN that opened this connection, where another segment is the first that it is given.
    pub(crate) fn opened_by(&mut self, opener: End, rival: Rival) {
        if rival.from == opener {
            self.round_trip.syn = Some((rival.from, rival.at));
            *self.content.seen.of_mut(opener) = true;
            *self.content.opening_seen.of_mut(opener) = true;
        }
    }

    /// Whether only one side was seen, or the connection has begun to close.
    pub(crate) fn is_half_open(&self) -> bool {
        let seen = &self.content.seen;
        !(*seen.of(End::Low) && *seen.of(End::High)) || self.content.ended.is_some()
    }

    /// Segments since the last call that repeated bytes with another content.
    pub(crate) fn take_conflicts(&mut self) -> u32 {
        self.reassembly.take_conflicts()
    }

    /// Takes a segment.
    pub(crate) fn segment(&mut self, from: End, at: Timestamp, segment: &Segment<'_>) -> Option<Conclusion> {
        self.round_trip.segment(from, at, segment);
        let Self { reassembly, content, .. } = self;
        *content.seen.of_mut(from) = true;
        *content.opening_seen.of_mut(from) |= segment.syn;
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
    strikes: u8,
    /// Which ends a packet was seen of.
    seen: PerEnd<bool>,
    /// Of which ends a SYN was seen, so that their first bytes are known.
    opening_seen: PerEnd<bool>,
    /// How one end ended the connection before anything was told of it.
    ended: Option<Early>,
    /// Bytes that were sent before anything was told of the connection, and are not in the capture.
    missing_bytes: u64,
    conclusion: Option<Conclusion>,
}

impl Content {
    fn event(&mut self, event: Event<'_>) -> ControlFlow<()> {
        self.conclusion = match (&mut self.stage, event) {
            (Stage::Probing(_), Event::Data { from, at, bytes }) => self.probe(from, at, bytes),
            (Stage::Probing(probes), Event::Missing { from, length, .. }) => {
                // Bytes from before the hole and after it are no beginning together.
                *probes.of_mut(from) = Probe { begun_before: true, ..Probe::default() };
                self.missing_bytes += length as u64;
                None
            }
            (Stage::Probing(_), Event::Close { .. }) => self.ended_early(Early::Closed),
            (Stage::Probing(_), Event::Reset { .. }) => self.ended_early(Early::Reset),
            (Stage::Following { client, machine }, event) => follow(*client, machine, event),
        };
        match self.conclusion {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    }

    /// An end closed or reset before anything was told. The other end's hello may still be under way: a server that
    /// accepts and closes at once fails every handshake.
    fn ended_early(&mut self, early: Early) -> Option<Conclusion> {
        let established = *self.opening_seen.of(End::Low) && *self.opening_seen.of(End::High);
        if self.ended.is_some() || !established || self.strikes > 0 {
            return Some(Conclusion::NotTls);
        }
        self.ended = Some(early);
        None
    }

    fn probe(&mut self, from: End, at: Timestamp, bytes: &[u8]) -> Option<Conclusion> {
        let Stage::Probing(probes) = &mut self.stage else { return None };
        let probe = probes.of_mut(from);
        let earlier = usize::from(probe.have);
        if earlier == 0 {
            probe.first_at = at;
        }
        let opening = if probe.other {
            detect::late_opening(bytes)
        } else {
            for (slot, byte) in probe.bytes.iter_mut().skip(earlier).zip(bytes) {
                *slot = *byte;
                probe.have += 1;
            }
            probe.segments += 1;
            detect::opening(probe.bytes.get(..usize::from(probe.have)).unwrap_or_default())
        };
        let probe = *probe;
        let server_start_is_known = *self.opening_seen.of(from.peer());
        let machine = match opening {
            Opening::Undecided => return None,
            Opening::Other => return self.strike(from),
            Opening::ClientHello => Machine::new(probe.first_at, server_start_is_known),
            Opening::Ssl2Hello => Machine::for_ssl2_hello(probe.first_at, server_start_is_known),
            Opening::ServerHello => {
                let opening_seen = *self.opening_seen.of(End::Low) || *self.opening_seen.of(End::High);
                let reason = match (*self.seen.of(from.peer()), opening_seen) {
                    (false, _) => IncompleteReason::OneSided,
                    (true, true) => IncompleteReason::Gap,
                    (true, false) => IncompleteReason::BeganLate,
                };
                Machine::without_hello(probe.first_at, reason, self.missing_bytes)
            }
        };
        let mut machine = Box::new(machine);
        let (client, side) = match opening {
            Opening::ServerHello => (from.peer(), Side::Server),
            _ => (from, Side::Client),
        };
        let begun = probe.bytes.get(..earlier).unwrap_or_default();
        let mut verdict = None;
        if !begun.is_empty() {
            // Bytes of several earlier segments are handed over as one.
            verdict = machine.data(side, probe.first_at, begun);
            machine.count_segments(u32::from(probe.segments).saturating_sub(2));
        }
        let verdict = verdict.or_else(|| machine.data(side, at, bytes));
        // The other end had ended already.
        let verdict = verdict.or_else(|| match self.ended {
            Some(Early::Reset) => Some(machine.reset(side.peer(), at)),
            Some(Early::Closed) => machine.closed(side.peer(), at),
            None => None,
        });
        self.stage = Stage::Following { client, machine };
        verdict.map(Conclusion::Settled)
    }

    /// A direction carries something else; the connection is watched on for a while.
    fn strike(&mut self, from: End) -> Option<Conclusion> {
        self.strikes += 1;
        if let Stage::Probing(probes) = &mut self.stage {
            let probe = probes.of_mut(from);
            // A direction whose first bytes were missed may still show a ServerHello in its next flight.
            let joined_late = !*self.opening_seen.of(from) || probe.begun_before;
            *probe = Probe { begun_before: probe.begun_before, other: !joined_late, ..Probe::default() };
        }
        (self.strikes > MAX_STRIKES).then_some(Conclusion::NotTls)
    }
}

fn follow(client: End, machine: &mut Machine, event: Event<'_>) -> Option<Conclusion> {
    let side = |from: End| if from == client { Side::Client } else { Side::Server };
    let verdict = match event {
        Event::Data { from, at, bytes } => machine.data(side(from), at, bytes),
        Event::Missing { from, at, length, truncated } => machine.missing(side(from), at, length, truncated),
        Event::Close { from, at } => machine.closed(side(from), at),
        Event::Reset { from, at } => Some(machine.reset(side(from), at)),
    };
    verdict.map(Conclusion::Settled)
}
