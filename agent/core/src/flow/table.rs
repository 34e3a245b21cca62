//! The connections of one worker, within one bound.
//!
//! A connection under way owns its buffers; one that is settled, or carries no TLS, leaves a small mark that swallows
//! its later packets at the cost of one look-up. Two bounds hold: the number of connections, and the bytes that those
//! under way own. Over the first, the mark that was idle longest among a sample goes; over the second, the attempt
//! that would have expired first. Both are counted.

use super::connection::{Conclusion, Connection, Rival};
use super::key::{End, FlowKey, PathId};
use super::probe::Refusal;
use super::sequence::Sequence;
use super::timer::{Entry, TICK, Wheel};
use crate::decode::{Encapsulation, Quote, Segment};
use crate::fallback::{OpenAttempts, Pair};
use crate::observation::{FailureCause, IncompleteReason, PathFacts, Side, UpgradedFrom};
use crate::time::Timestamp;
use crate::tls::decrypt::key_log::SharedKeyLog;
use crate::tls::machine::Machine;
use crate::tls::verdict::Verdict;
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::time::Duration;

/// How long a connection without any attempt is remembered.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one is that only one side was seen of, or that has begun to close.
const HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// Timer entries of connections that are gone, beside twice those that are there, before the former are cleared.
const STALE_ENTRIES: usize = 16_384;

/// How long the mark of a settled connection swallows further packets after the last one.
const MARK_SECONDS: u32 = 300;

/// Clock ticks in which every mark is looked at once.
const SWEEP_TICKS: usize = 1024;

/// Marks looked at when one has to go.
const EVICTION_SAMPLE: usize = 16;

/// Bounds of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections remembered at the same time, settled ones included.
    pub flows: usize,
    /// Bytes that connections under way may own.
    pub bytes: usize,
    /// Silence after which an attempt has timed out.
    pub handshake_timeout: Duration,
}

impl Limits {
    /// Memory per remembered connection: its place in the table and its share of the index at the worst load.
    pub const BYTES_PER_FLOW: usize = size_of::<Place>() + 12;
}

impl Default for Limits {
    fn default() -> Self {
        Self { flows: 262_144, bytes: 128 << 20, handshake_timeout: Duration::from_secs(5) }
    }
}

/// What the table gave up or found odd.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Marks and idle connections dropped for room among the flows.
    pub evicted_flows: u64,
    /// Connections under way dropped for room among the bytes.
    pub evicted_bytes: u64,
    /// Attempts that went on after they had been judged timed out.
    pub late_completions: u64,
    /// Segments that repeated bytes of a connection under way with another content.
    pub conflicting_segments: u64,
}

/// A settled attempt on its way out.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) key: FlowKey,
    pub(crate) client: End,
    pub(crate) machine: Box<Machine>,
    pub(crate) verdict: Verdict,
    pub(crate) one_sided: Option<Side>,
    pub(crate) round_trip: Option<Duration>,
    pub(crate) interface: u16,
    pub(crate) path: PathFacts,
    /// What was around the connection's first packet, if anything.
    pub(crate) tunnel: Option<Box<Encapsulation>>,
    pub(crate) upgraded_from: Option<UpgradedFrom>,
}

impl Settled {
    /// An attempt that never had a hello: the server declined to go over to TLS.
    fn refused(key: FlowKey, connection: &Connection, refusal: Refusal, settled_at: Timestamp) -> Self {
        let machine = Machine::new(refusal.start, true);
        let verdict = machine.declined(refusal.at.max(settled_at), FailureCause::UpgradeRefused);
        Self {
            key,
            client: refusal.client,
            machine: Box::new(machine),
            verdict,
            one_sided: None,
            round_trip: connection.round_trip(),
            interface: connection.interface,
            path: connection.path(refusal.client),
            tunnel: connection.tunnel.clone(),
            upgraded_from: Some(refusal.protocol),
        }
    }
}

/// What a place holds.
#[derive(Debug)]
enum State {
    Vacant,
    /// A connection under way.
    Live(Box<Connection>),
    /// Settled, or not TLS.
    Done,
    /// Judged timed out; the next payload shows that the verdict was early.
    /// Data beyond the ends of what either side had sent shows that the verdict was early; the same data again does not.
    TimedOut {
        low: Sequence,
        high: Sequence,
    },
}

#[derive(Debug)]
struct Place {
    key: FlowKey,
    /// Seconds of the table's clock.
    last_seen: u32,
    state: State,
}

impl Place {
    /// Whether a timer entry still stands for the connection here: an attempt has its entry among the attempts, and the
    /// one from before it was an attempt counts no more.
    fn is_current(&self, entry: Entry, with_attempt: bool) -> bool {
        match &self.state {
            State::Live(connection) => {
                connection.generation == entry.generation && connection.machine().is_some() == with_attempt
            }
            State::Vacant | State::Done | State::TimedOut { .. } => false,
        }
    }
}

/// The connections of one worker.
#[derive(Debug)]
pub(crate) struct Table {
    limits: Limits,
    hasher: FixedState,
    index: HashTable<u32>,
    places: Vec<Place>,
    vacant: Vec<u32>,
    /// Where the search for old marks goes on.
    hand: usize,
    /// The last tick that the clock was moved to; within it nothing comes due.
    advanced_to: u64,
    /// Connections with an attempt.
    wheel: Wheel,
    /// Connections without one: they give way first.
    idle_wheel: Wheel,
    live: usize,
    due: Vec<Entry>,
    generation: u32,
    booked_bytes: usize,
    counts: TableCounts,
    settled: Vec<Settled>,
    open: OpenAttempts,
    /// Where the secrets of attempts are looked for.
    key_log: Option<SharedKeyLog>,
}

/// A segment with what the table needs to know about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) segment: &'a Segment<'a>,
    /// Capture time.
    pub(crate) at: Timestamp,
    /// The table's clock: never runs backwards.
    pub(crate) now: u64,
    pub(crate) path: PathId,
    pub(crate) interface: u16,
}

impl Table {
    /// An empty table. `seed` keeps outsiders from choosing endpoints that collide; it never shows in the output.
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            hasher: FixedState::with_seed(seed),
            index: HashTable::new(),
            places: Vec::new(),
            vacant: Vec::new(),
            hand: 0,
            advanced_to: 0,
            wheel: Wheel::new(),
            idle_wheel: Wheel::new(),
            live: 0,
            due: Vec::new(),
            generation: 0,
            booked_bytes: 0,
            counts: TableCounts::default(),
            settled: Vec::new(),
            open: OpenAttempts::default(),
            key_log: None,
        }
    }

    /// The same with a key log for the secrets of attempts.
    pub(crate) fn with_key_log(self, key_log: Option<SharedKeyLog>) -> Self {
        Self { key_log, ..self }
    }

    /// Attempts under way that a fallback may follow.
    pub(crate) fn open_attempts(&self) -> &OpenAttempts {
        &self.open
    }

    /// Connections in the table.
    pub(crate) fn flows(&self) -> usize {
        self.index.len()
    }

    /// Bytes that connections under way own.
    pub(crate) fn live_bytes(&self) -> usize {
        self.booked_bytes
    }

    pub(crate) fn counts(&self) -> TableCounts {
        self.counts
    }

    /// Settled attempts since the last call.
    pub(crate) fn take_settled(&mut self) -> std::vec::Drain<'_, Settled> {
        self.settled.drain(..)
    }

    /// Takes a segment.
    pub(crate) fn segment(&mut self, arrival: &Arrival<'_>) {
        let (key, from) = FlowKey::of(arrival.segment, arrival.path);
        let hash = self.hasher.hash_one(key);
        let places = &self.places;
        let found =
            self.index.find(hash, |at| places.get(*at as usize).is_some_and(|place| place.key == key));
        let Some(at) = found.copied() else {
            self.first_segment(key, hash, from, arrival);
            return;
        };
        let Some(place) = self.places.get_mut(at as usize) else { return };
        place.last_seen = seconds(arrival.now);
        let opens = arrival.segment.syn && arrival.segment.acknowledgment.is_none();
        match &mut place.state {
            State::Live(connection) => {
                let reopened = connection.is_reopened_by(from, arrival.at, arrival.segment);
                if self.expire_if_due(at, arrival.now) {
                    // What is left of it decides what this segment is: a mark, or nothing.
                    self.segment(arrival);
                } else if let Some(opening) = reopened {
                    self.give_up(at, arrival, opening.from);
                    self.reopen(at, from, arrival, Some(opening));
                } else {
                    self.live_segment(at, from, arrival);
                }
            }
            State::Done | State::TimedOut { .. } | State::Vacant if opens => {
                self.reopen(at, from, arrival, None)
            }
            State::TimedOut { low, high } => {
                let sent = if from == End::Low { *low } else { *high };
                let segment = arrival.segment;
                let goes_on = segment.sequence.advanced(segment.payload_length).distance_from(sent) > 0;
                if segment.payload_length > 0 && goes_on {
                    self.counts.late_completions += 1;
                    place.state = State::Done;
                }
            }
            State::Done | State::Vacant => {}
        }
    }

    /// Takes what a router says of a segment that was too large. The message may have been in another encapsulation than
    /// the segment, as that of a router beyond the tunnel: it counts for the connection on exactly its path, or else for
    /// the one with these endpoints in no network of its own.
    pub(crate) fn too_big(&mut self, quote: &Quote, path: PathId) {
        if !self.count_too_big(quote, path) && path != PathId::default() {
            self.count_too_big(quote, PathId::default());
        }
    }

    /// Whether a connection is under way on this path; then it takes note.
    fn count_too_big(&mut self, quote: &Quote, path: PathId) -> bool {
        let (key, from) = FlowKey::quoted(quote, path);
        let hash = self.hasher.hash_one(key);
        let places = &self.places;
        let found =
            self.index.find(hash, |at| places.get(*at as usize).is_some_and(|place| place.key == key));
        let place = found.copied().and_then(|at| self.places.get_mut(at as usize));
        let Some(Place { state: State::Live(connection), .. }) = place else { return false };
        connection.quoted_as_too_big(from, quote.sequence);
        true
    }

    fn first_segment(&mut self, key: FlowKey, hash: u64, from: End, arrival: &Arrival<'_>) {
        if arrival.segment.rst || (arrival.segment.fin && arrival.segment.payload_length == 0) {
            // The last packets of a connection that is not known; nothing follows.
            return;
        }
        if self.index.len() >= self.limits.flows {
            self.drop_one_mark(arrival.at);
        }
        let place = Place { key, last_seen: seconds(arrival.now), state: State::Vacant };
        let at = match self.vacant.pop() {
            Some(at) => {
                if let Some(slot) = self.places.get_mut(at as usize) {
                    *slot = place;
                }
                at
            }
            None => {
                let Ok(at) = u32::try_from(self.places.len()) else { return };
                self.places.push(place);
                at
            }
        };
        let (places, hasher) = (&self.places, &self.hasher);
        let rehash = |at: &u32| places.get(*at as usize).map_or(0, |place| hasher.hash_one(place.key));
        self.index.insert_unique(hash, at, rehash);
        self.reopen(at, from, arrival, None);
    }

    /// Begins to follow a connection in a place, and gives it its first segment; `opening` is a SYN that came before.
    fn reopen(&mut self, at: u32, from: End, arrival: &Arrival<'_>, opening: Option<Rival>) {
        self.generation = self.generation.wrapping_add(1);
        let (generation, interface) = (self.generation, arrival.interface);
        let mut connection =
            Box::new(Connection::new(generation, interface, arrival.now, self.key_log.clone()));
        let encapsulation = &arrival.segment.encapsulation;
        connection.tunnel = (!encapsulation.is_empty()).then(|| Box::new(*encapsulation));
        if let Some(rival) = opening {
            connection.opened_by(from.peer(), rival);
        }
        connection.booked_bytes = connection.bytes();
        self.booked_bytes += connection.booked_bytes;
        self.live += 1;
        let deadline = self.deadline(&connection);
        self.idle_wheel.insert(deadline, Entry { place: at, generation: self.generation });
        self.clear_stale_entries();
        if let Some(place) = self.places.get_mut(at as usize) {
            place.state = State::Live(connection);
        }
        self.live_segment(at, from, arrival);
    }

    /// When a connection expires if nothing happens, on the table's clock.
    fn deadline(&self, connection: &Connection) -> u64 {
        let timeout = match connection.machine() {
            Some(_) => self.limits.handshake_timeout,
            None if connection.is_half_open() => HALF_OPEN_TIMEOUT,
            None => IDLE_TIMEOUT,
        };
        connection.idle_since.saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
    }

    fn live_segment(&mut self, at: u32, from: End, arrival: &Arrival<'_>) {
        let Some(Place { state: State::Live(connection), key, .. }) = self.places.get_mut(at as usize) else {
            return;
        };
        let progress = connection.machine().map(|machine| machine.last_progress());
        let begun = progress.is_some();
        let conclusion = connection.segment(from, arrival.at, arrival.segment);
        self.counts.conflicting_segments += u64::from(connection.take_conflicts());
        if !begun || connection.machine().map(|machine| machine.last_progress()) != progress {
            connection.idle_since = arrival.now;
        }
        let refusal = connection.take_refusal();
        if let Some(refusal) = refusal {
            self.settled.push(Settled::refused(*key, connection, refusal, arrival.at));
        }
        if connection.may_fall_back.is_none() {
            connection.may_fall_back = connection.machine().and_then(Machine::sends_post_quantum_share);
            if connection.may_fall_back == Some(true)
                && let (Some(client), Some(machine)) = (connection.client(), connection.machine())
            {
                let start = machine.start();
                let pair = Pair::of(key.endpoint(client), key.endpoint(client.peer()));
                self.open.begin(pair, start);
            }
        }
        if conclusion.is_none() {
            if !begun && connection.machine().is_some() {
                let entry = Entry { place: at, generation: connection.generation };
                self.put_back(entry);
            }
            self.book(at);
            self.keep_within_bytes(arrival.at);
            return;
        }
        self.conclude(at, conclusion, arrival.at);
    }

    /// Brings the books up to date with what a connection owns.
    fn book(&mut self, at: u32) {
        if let Some(Place { state: State::Live(connection), .. }) = self.places.get_mut(at as usize) {
            let bytes = connection.bytes();
            self.booked_bytes = self.booked_bytes + bytes - connection.booked_bytes;
            connection.booked_bytes = bytes;
        }
    }

    /// Settles a connection; only a mark stays.
    fn conclude(&mut self, at: u32, conclusion: Option<Conclusion>, settled_at: Timestamp) {
        let Some(place) = self.places.get_mut(at as usize) else { return };
        let State::Live(mut connection) = std::mem::replace(&mut place.state, State::Done) else { return };
        self.booked_bytes -= connection.booked_bytes;
        self.live -= 1;
        if connection.may_fall_back == Some(true)
            && let (Some(client), Some(machine)) = (connection.client(), connection.machine())
        {
            let pair = Pair::of(place.key.endpoint(client), place.key.endpoint(client.peer()));
            self.open.end(pair, machine.start());
        }
        if let Some(refusal) = connection.take_refusal() {
            self.settled.push(Settled::refused(place.key, &connection, refusal, settled_at));
        }
        if let Some(Conclusion::Settled(verdict)) = conclusion {
            // What settles is the packet that is being handled, even where it only freed one held back.
            let verdict = connection.explained(Verdict { at: verdict.at.max(settled_at), ..verdict });
            let path = connection.client().map_or_else(PathFacts::default, |client| connection.path(client));
            let (one_sided, round_trip) = (connection.one_sided(), connection.round_trip());
            let (key, interface) = (place.key, connection.interface);
            let tunnel = connection.tunnel.take();
            let upgraded_from = connection.upgraded_from();
            if let Some((client, machine)) = connection.into_attempt() {
                self.settled.push(Settled {
                    key,
                    client,
                    machine,
                    verdict,
                    one_sided,
                    round_trip,
                    interface,
                    path,
                    tunnel,
                    upgraded_from,
                });
            }
        }
    }

    /// A new connection takes the endpoints of one that is under way.
    fn give_up(&mut self, at: u32, arrival: &Arrival<'_>, opener: End) {
        let Some(Place { state: State::Live(connection), .. }) = self.places.get_mut(at as usize) else {
            return;
        };
        // Whoever opens anew has given the old connection up.
        let conclusion = connection.flush(arrival.at).or_else(|| {
            let (machine, by) = (connection.machine()?, connection.side(opener)?);
            Some(Conclusion::Settled(machine.superseded(by, arrival.at)))
        });
        self.conclude(at, conclusion, arrival.at);
    }

    /// Moves the clock on: connections whose deadline has passed expire, and a share of the marks is looked through
    /// for old ones.
    pub(crate) fn advance(&mut self, now: u64) {
        let tick = now / TICK;
        if tick == self.advanced_to {
            return;
        }
        self.advanced_to = tick;
        let mut due = std::mem::take(&mut self.due);
        for with_attempt in [true, false] {
            let wheel = if with_attempt { &mut self.wheel } else { &mut self.idle_wheel };
            wheel.advance(now, &mut due);
            for entry in due.drain(..) {
                if self.is_current(entry, with_attempt) && !self.expire_if_due(entry.place, now) {
                    self.put_back(entry);
                }
            }
        }
        self.due = due;
        self.sweep(seconds(now));
    }

    /// Forgets marks that nothing has come for in a long time; a full round takes [`SWEEP_TICKS`] ticks.
    fn sweep(&mut self, now: u32) {
        let share = self.places.len() / SWEEP_TICKS + 1;
        for _ in 0..share.min(self.places.len()) {
            self.hand = (self.hand + 1) % self.places.len().max(1);
            let old = self.places.get(self.hand).is_some_and(|place| {
                matches!(place.state, State::Done | State::TimedOut { .. })
                    && now.saturating_sub(place.last_seen) > MARK_SECONDS
            });
            if old {
                self.vacate(u32::try_from(self.hand).unwrap_or(u32::MAX));
            }
        }
    }

    /// Whether an entry of one of the wheels still stands for a connection of that kind.
    fn is_current(&self, entry: Entry, with_attempt: bool) -> bool {
        self.places.get(entry.place as usize).is_some_and(|place| place.is_current(entry, with_attempt))
    }

    fn put_back(&mut self, entry: Entry) {
        if let Some(Place { state: State::Live(connection), .. }) = self.places.get(entry.place as usize) {
            let deadline = self.deadline(connection);
            let has_attempt = connection.machine().is_some();
            let wheel = if has_attempt { &mut self.wheel } else { &mut self.idle_wheel };
            wheel.insert(deadline, entry);
        }
    }

    /// Entries of connections that are gone wait for their time in the wheels; many of them are cleared at once.
    fn clear_stale_entries(&mut self) {
        if self.wheel.len() + self.idle_wheel.len() <= 3 * self.live + STALE_ENTRIES {
            return;
        }
        let Self { wheel, idle_wheel, places, .. } = self;
        let place = |entry: Entry| places.get(entry.place as usize);
        wheel.retain(|entry| place(entry).is_some_and(|place| place.is_current(entry, true)));
        idle_wheel.retain(|entry| place(entry).is_some_and(|place| place.is_current(entry, false)));
    }

    /// Takes out the connection that is to give way: one without an attempt, or else the attempt that would expire first.
    fn take_victim(&mut self) -> Option<u32> {
        loop {
            let idle = self.idle_wheel.take_oldest();
            let entry = idle.or_else(|| self.wheel.take_oldest())?;
            if self.is_current(entry, idle.is_none()) {
                return Some(entry.place);
            }
        }
    }

    /// Expires a connection whose deadline has passed; tells whether it is gone.
    fn expire_if_due(&mut self, at: u32, now: u64) -> bool {
        let Some(Place { state: State::Live(connection), .. }) = self.places.get(at as usize) else {
            return true;
        };
        if now < self.deadline(connection) {
            return false;
        }
        self.expire(at)
    }

    fn expire(&mut self, at: u32) -> bool {
        let timeout = self.limits.handshake_timeout;
        let Some(Place { state: State::Live(connection), .. }) = self.places.get_mut(at as usize) else {
            return true;
        };
        let before = connection.machine().map(|machine| machine.last_progress());
        let silent_since = before.unwrap_or_default();
        let conclusion = connection.flush(silent_since);
        let Some(progress) = connection.machine().map(|machine| machine.last_progress()) else {
            // An idle connection may yet begin a handshake: it must not leave a mark that swallows it.
            self.conclude(at, conclusion, Timestamp::default());
            self.vacate(at);
            return true;
        };
        let timed_out_at = progress.plus(timeout);
        if conclusion.is_none() && before != Some(progress) {
            // What was held back went on later than was known.
            let later = before.and_then(|before| progress.since(before)).unwrap_or_default();
            connection.idle_since += u64::try_from(later.as_nanos()).unwrap_or(u64::MAX);
            self.book(at);
            return false;
        }
        let silent = conclusion.is_none();
        let (low, high) = (connection.sent(End::Low), connection.sent(End::High));
        let conclusion = conclusion
            .or_else(|| connection.machine().map(|m| Conclusion::Settled(m.timed_out(timed_out_at))));
        self.conclude(at, conclusion, timed_out_at);
        if silent && let Some(place) = self.places.get_mut(at as usize) {
            place.state = State::TimedOut { low, high };
        }
        true
    }

    /// Drops attempts that would expire first until the byte bound holds.
    fn keep_within_bytes(&mut self, at: Timestamp) {
        while self.booked_bytes > self.limits.bytes {
            let Some(victim) = self.take_victim() else { return };
            self.counts.evicted_bytes += 1;
            self.abandon(victim, at, IncompleteReason::Evicted);
        }
    }

    fn abandon(&mut self, at: u32, when: Timestamp, reason: IncompleteReason) {
        let Some(Place { state: State::Live(connection), .. }) = self.places.get(at as usize) else { return };
        let conclusion =
            connection.machine().map(|machine| Conclusion::Settled(machine.abandoned(when, reason)));
        self.conclude(at, conclusion, when);
        if conclusion.is_none() {
            // It may yet begin a handshake: no mark must swallow it.
            self.vacate(at);
        }
    }

    /// Makes room for one more connection: of a sample of marks the one idle longest goes, and where the sample holds
    /// none, the attempt that would expire first.
    fn drop_one_mark(&mut self, when: Timestamp) {
        let mut oldest: Option<(u32, u32)> = None;
        let mut looked_at = 0;
        for step in 0..self.places.len().min(4 * EVICTION_SAMPLE) {
            let at = (self.hand + step) % self.places.len();
            let Some(place) = self.places.get(at) else { break };
            if matches!(place.state, State::Done | State::TimedOut { .. }) {
                let candidate = (place.last_seen, u32::try_from(at).unwrap_or(u32::MAX));
                oldest = Some(oldest.map_or(candidate, |known| known.min(candidate)));
                looked_at += 1;
            }
            if looked_at == EVICTION_SAMPLE {
                break;
            }
        }
        self.hand = (self.hand + EVICTION_SAMPLE) % self.places.len().max(1);
        self.counts.evicted_flows += 1;
        match oldest {
            Some((_, at)) => self.vacate(at),
            None => {
                if let Some(victim) = self.take_victim() {
                    self.abandon(victim, when, IncompleteReason::Evicted);
                    self.vacate(victim);
                }
            }
        }
    }

    fn vacate(&mut self, at: u32) {
        let Some(place) = self.places.get_mut(at as usize) else { return };
        if matches!(place.state, State::Vacant) {
            return;
        }
        let hash = self.hasher.hash_one(place.key);
        place.state = State::Vacant;
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
        self.vacant.push(at);
    }

    /// Settles everything at the end of the capture, whose last packet came at `at`.
    pub(crate) fn finish(&mut self, at: Timestamp) {
        for place in 0..u32::try_from(self.places.len()).unwrap_or(u32::MAX) {
            let Some(Place { state: State::Live(connection), .. }) = self.places.get_mut(place as usize)
            else {
                continue;
            };
            match connection.flush(at) {
                Some(conclusion) => self.conclude(place, Some(conclusion), at),
                None => self.abandon(place, at, IncompleteReason::EndedEarly),
            }
        }
        let (limits, seed) = (self.limits, self.hasher.clone());
        let (counts, settled) = (self.counts, std::mem::take(&mut self.settled));
        let (generation, key_log) = (self.generation, self.key_log.take());
        *self = Self { hasher: seed, counts, settled, generation, key_log, ..Self::new(limits, 0) };
    }
}

#[expect(clippy::cast_possible_truncation, reason = "136 years of capture before it wraps")]
const fn seconds(now: u64) -> u32 {
    (now / 1_000_000_000) as u32
}
