//! Packets in, observations out: the rooms of this crate joined.

use crate::decode::{Decoded, LinkType, Segment, Skip, decode};
use crate::fallback::{Failed, Fallbacks, Pair};
use crate::flow::key::{End, FlowKey, PathId};
use crate::flow::table::{Arrival, Limits, Settled, Table, TableCounts};
use crate::fragments::Fragments;
use crate::local::LocalNetworks;
use crate::observation::{
    CaptureFacts, GroupFacts, IncompleteReason, Observation, Outcome, PqReason, Protocol, SCHEMA, Timing,
    Transport,
};
use crate::order::Order;
use crate::time::Timestamp;
use crate::tls::decrypt::key_log::{KeyLogCounts, KeyLogError, SharedKeyLog};
use crate::tls::ja4::Hashes;
use crate::tls::verdict::Verdict;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A step back of an interface's clock beyond this rebases the capture's; a smaller one is disorder.
const REBASE: Duration = Duration::from_secs(1);

/// Interfaces that are told apart.
const MAX_INTERFACES: u16 = 4096;

/// How many times over a fragmented packet may hold a fragmented packet.
const MAX_REASSEMBLIES: u8 = 3;

/// The year 2200; what claims to be later is damaged.
const LATEST_TIME: Timestamp = Timestamp::from_nanos(7_258_118_400_000_000_000);

/// Where packets come from.
#[derive(Debug)]
struct Interface {
    name: Option<Arc<str>>,
    /// Its latest packet.
    latest: Timestamp,
}

/// Settings of an observer.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds of the connection table.
    pub limits: Limits,
    /// Addresses of this host, for the vantage.
    pub local: LocalNetworks,
    /// How long after a failed post-quantum attempt another of the same client counts as its fallback.
    pub fallback_window: Duration,
    /// Seed of the connection table's hash. It never shows in the output.
    pub hash_seed: u64,
    /// Whether a key log is going to be given, by [`Observer::add_key_log_line`]: the encrypted handshake records of an
    /// attempt are then kept until its secrets have come, within 64 KiB per direction.
    pub key_log: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            local: LocalNetworks::default(),
            fallback_window: Duration::from_secs(10),
            hash_seed: 0,
            key_log: false,
        }
    }
}

/// A captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// How its first bytes are framed.
    pub link: LinkType,
    /// When it was captured.
    pub at: Timestamp,
    /// Where, as [`Observer::interface`] numbered it.
    pub interface: InterfaceId,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// Length on the wire, at least `bytes.len()`.
    pub wire_length: usize,
}

/// Number of an interface within an observer; the default is that of packets without a known one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterfaceId(u16);

/// What became of the packets so far, and what else an observer has to say of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Packets that held a segment, a piece of one, or a message about one.
    pub used: u64,
    /// Packets passed by, by [`Skip::index`].
    pub skipped: [u64; Skip::ALL.len()],
    /// Bytes on the wire of all packets.
    pub bytes: u64,
    /// Steps back of the capture clock by more than a second.
    pub clock_steps: u64,
    /// Key shares whose length is not that of their group.
    pub odd_key_shares: u64,
    /// Intervals that the capture clock made negative: their records hold `None`.
    pub negative_intervals: u64,
    /// Intervals that it made zero: their records hold 0, and no histogram counts them.
    pub zero_intervals: u64,
    /// Connections in the table.
    pub flows: usize,
    /// Bytes that unfinished handshakes hold.
    pub buffered: usize,
    /// What the table gave up or found odd.
    pub table: TableCounts,
    /// IP packets that were put together from fragments.
    pub reassembled: u64,
    /// Bytes that fragments of packets take that are not whole yet.
    pub fragment_bytes: usize,
    /// What became of the key log.
    pub key_log: KeyLogCounts,
}

/// Follows every connection of a capture.
#[derive(Debug)]
pub struct Observer {
    local: LocalNetworks,
    key_log: Option<SharedKeyLog>,
    table: Table,
    fragments: Fragments,
    order: Order,
    fallbacks: Fallbacks,
    hashes: Hashes,
    interfaces: Vec<Interface>,
    numbers: HashMap<Option<Arc<str>>, InterfaceId>,
    health: Health,
    /// How long after its start a record waits for an elder attempt that it may be the fallback of.
    patience: Duration,
    /// Latest capture time, in the epoch since the last rebase.
    latest: Timestamp,
    /// The table's clock less the capture's: grows with each step back, so that the table's never goes back.
    ahead: u64,
    /// Observations that the last rebase or the end set free are all due.
    all_due: bool,
}

impl Observer {
    /// An observer without any connection.
    pub fn new(settings: Settings) -> Self {
        let key_log = settings.key_log.then(SharedKeyLog::default);
        Self {
            local: settings.local,
            table: Table::new(settings.limits, settings.hash_seed).with_key_log(key_log.clone()),
            key_log,
            fragments: Fragments::default(),
            order: Order::new(settings.limits.bytes / 4),
            fallbacks: Fallbacks::new(settings.fallback_window),
            hashes: Hashes::new(settings.hash_seed),
            patience: settings.limits.handshake_timeout.saturating_add(REBASE),
            interfaces: vec![Interface { name: None, latest: Timestamp::default() }],
            numbers: HashMap::from([(None, InterfaceId::default())]),
            health: Health::default(),
            latest: Timestamp::default(),
            ahead: 0,
            all_due: false,
        }
    }

    /// The number of an interface; `None` stands for packets without a known one.
    pub fn interface(&mut self, name: Option<&str>) -> InterfaceId {
        let name: Option<Arc<str>> = name.map(Arc::from);
        if let Some(known) = self.numbers.get(&name) {
            return *known;
        }
        // Beyond the bound interfaces share the last number, and with it a name that is none.
        let number =
            InterfaceId(u16::try_from(self.interfaces.len()).unwrap_or(u16::MAX).min(MAX_INTERFACES));
        if number.0 < MAX_INTERFACES {
            self.numbers.insert(name.clone(), number);
            self.interfaces.push(Interface { name, latest: Timestamp::default() });
        } else if self.interfaces.len() == usize::from(MAX_INTERFACES) {
            self.interfaces.push(Interface { name: None, latest: Timestamp::default() });
        }
        number
    }

    /// Takes a line of a key log (SSLKEYLOGFILE, RFC 9850). The secrets serve connections that are under way, and those
    /// that come. Without [`Settings::key_log`] nothing is taken.
    ///
    /// # Errors
    ///
    /// Where the text is no such line. It is counted in [`Health::key_log`].
    pub fn add_key_log_line(&mut self, line: &str) -> Result<(), KeyLogError> {
        self.key_log.as_ref().map_or(Ok(()), |log| log.add_line(line))
    }

    /// Takes the next packet of the capture.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.health.bytes += packet.wire_length as u64;
        if packet.at > LATEST_TIME {
            self.count_skip(Skip::Malformed, 1);
            return;
        }
        let stepped_back = self.interfaces.get_mut(usize::from(packet.interface.0)).is_none_or(|interface| {
            let back = interface.latest.since(packet.at).is_some_and(|back| back > REBASE);
            interface.latest = if back { packet.at } else { interface.latest.max(packet.at) };
            back
        });
        let now = self.clock(packet.at, stepped_back);
        let when = When { at: packet.at, now, interface: packet.interface.0 };
        match &decode(packet.link, packet.bytes, packet.wire_length) {
            Ok(Decoded::Segment(segment)) => self.segment(segment, when, 1),
            other => self.other(other, when, 1, 0),
        }
    }

    /// Takes a segment that came in this number of captured packets.
    fn segment(&mut self, segment: &Segment<'_>, when: When, packets: u64) {
        let path = PathId::of(&segment.encapsulation);
        self.health.used += packets;
        let When { at, now, interface } = when;
        self.table.segment(&Arrival { segment, at, now, path, interface });
        self.collect();
    }

    /// Takes what is more than a segment, or less.
    #[cold]
    fn other(&mut self, decoded: &Result<Decoded<'_>, Skip>, when: When, packets: u64, reassemblies: u8) {
        match decoded {
            Err(skip) => self.count_skip(*skip, packets),
            Ok(Decoded::Segment(segment)) => self.segment(segment, when, packets),
            Ok(Decoded::TooBig(quote)) => {
                self.health.used += packets;
                self.table.too_big(quote, PathId::of(&quote.encapsulation));
            }
            Ok(Decoded::Fragment(_)) if reassemblies >= MAX_REASSEMBLIES => {
                self.count_skip(Skip::TooDeep, packets);
            }
            Ok(Decoded::Fragment(fragment)) => {
                let path = PathId::of(&fragment.encapsulation);
                if let Some(whole) = self.fragments.add(fragment, path, when.now) {
                    self.other(&whole.decode(), when, whole.pieces, reassemblies + 1);
                }
            }
        }
    }

    fn count_skip(&mut self, skip: Skip, packets: u64) {
        if let Some(count) = self.health.skipped.get_mut(skip.index()) {
            *count += packets;
        }
    }

    /// Tells that capture time has reached `now` although no packet came. A time before the latest packet's tells
    /// nothing.
    pub fn advance_to_at_least(&mut self, now: Timestamp) {
        if now > self.latest {
            self.clock(now, false);
        }
    }

    /// Moves the clock to `at`, and expires what that passes. Returns the table's time. An interface that lags behind
    /// another does not turn the clock back; one whose own time goes back by more than a second does.
    fn clock(&mut self, at: Timestamp, stepped_back: bool) -> u64 {
        if at < self.latest {
            let back = self.latest.as_nanos() - at.as_nanos();
            if !stepped_back {
                return self.latest.as_nanos().saturating_add(self.ahead);
            }
            self.health.clock_steps += 1;
            self.ahead = self.ahead.saturating_add(back);
            self.all_due = true;
        }
        self.latest = at;
        let now = at.as_nanos().saturating_add(self.ahead);
        self.fragments.advance(now);
        self.table.advance(now);
        self.collect();
        now
    }

    /// Settles everything at the end of the capture. Packets may follow; they begin anew.
    pub fn finish(&mut self) {
        self.fragments.finish();
        self.table.finish(self.latest);
        self.collect();
        self.all_due = true;
    }

    /// The next observation in the order of their ends, once nothing earlier can come.
    pub fn next_observation(&mut self) -> Option<Box<Observation>> {
        let open = self.table.open_attempts();
        let (latest, patience) = (self.latest, self.patience);
        // A completed attempt may be the fallback of one that is still under way. One that goes on for longer than silence
        // may last was not given up when this one began.
        let waits = |settled: &Settled| {
            let machine = &settled.machine;
            settled.verdict.outcome == Outcome::Completed
                && latest.since(machine.start()).is_some_and(|waited| waited <= patience)
                && machine.sends_post_quantum_share() == Some(false)
                && open.has_elder(pair(settled), machine.start())
        };
        let Some(settled) = self.order.pop((!self.all_due).then_some(self.latest), waits) else {
            self.all_due = false;
            return None;
        };
        let pair = pair(&settled);
        let is_known = self.fallbacks.remembers(pair);
        let kind = is_known.then(|| settled.machine.client_kind(&self.hashes)).flatten();
        let context = Context { local: &self.local, interfaces: &self.interfaces };
        let (observation, oddities) = context.observation(settled, &mut self.hashes);
        self.health.odd_key_shares += oddities.key_shares;
        self.health.negative_intervals += oddities.negative_intervals;
        self.health.zero_intervals += zero_intervals(&observation.timing);
        let mut observation = Box::new(observation);
        if is_known && observation.outcome != Outcome::Failed {
            // Secrets that came since it ended may have changed what became of it.
            self.fallbacks.revoke(pair, &observation.id);
        }
        observation.fallback_of = self.fallbacks.retried_by(&observation, kind);
        Some(observation)
    }

    /// Figures about the observer itself.
    pub fn health(&self) -> Health {
        let fragments = self.fragments.counts();
        let mut skipped = self.health.skipped;
        for (count, of_fragments) in skipped.iter_mut().zip(fragments.skipped) {
            *count += of_fragments;
        }
        Health {
            used: self.health.used + fragments.copies,
            skipped,
            reassembled: fragments.reassembled,
            fragment_bytes: self.fragments.bytes(),
            flows: self.table.flows(),
            buffered: self.table.live_bytes(),
            table: self.table.counts(),
            key_log: self.key_log.as_ref().map(SharedKeyLog::counts).unwrap_or_default(),
            ..self.health.clone()
        }
    }

    fn collect(&mut self) {
        for mut settled in self.table.take_settled() {
            if let Some(failed) = failed_post_quantum(&mut settled, &self.hashes) {
                self.fallbacks.failed(failed);
            }
            self.order.push(settled);
        }
    }
}

fn pair(settled: &Settled) -> Pair {
    Pair::of(settled.key.endpoint(settled.client), settled.key.endpoint(settled.client.peer()))
}

/// The attempt as one that somebody may retry without a post-quantum share, where it is one by all that is known so far:
/// secrets may still come, but a retry may be done before the attempt's own record is made.
fn failed_post_quantum(settled: &mut Settled, hashes: &Hashes) -> Option<Failed> {
    let pair = pair(settled);
    let machine = &mut settled.machine;
    (machine.sends_post_quantum_share() == Some(true)).then_some(())?;
    let verdict = machine.revised(settled.verdict);
    let verdict = machine.tempered(verdict, settled.one_sided.is_some());
    (verdict.outcome == Outcome::Failed).then_some(())?;
    Some(Failed {
        pair,
        kind: machine.client_kind(hashes)?,
        id: attempt_id(settled.key, settled.client, machine.start()),
        start: machine.start(),
        end: verdict.at,
    })
}

fn zero_intervals(timing: &Timing) -> u64 {
    let all = [timing.tcp_rtt, timing.hello_retry, timing.server_hello, timing.client_encrypted];
    all.into_iter().flatten().filter(Duration::is_zero).count() as u64
}

/// What is counted of an attempt beside its record.
struct Oddities {
    key_shares: u64,
    negative_intervals: u64,
}

/// When and where a packet was captured.
#[derive(Clone, Copy, Debug)]
struct When {
    at: Timestamp,
    /// The table's time.
    now: u64,
    interface: u16,
}

/// What an observation takes from beyond its connection.
struct Context<'a> {
    local: &'a LocalNetworks,
    interfaces: &'a [Interface],
}

impl Context<'_> {
    /// The observation, and what of it is only counted.
    fn observation(&self, settled: Settled, hashes: &mut Hashes) -> (Observation, Oddities) {
        let Settled { key, client: client_end, mut machine, verdict, one_sided, round_trip, .. } = settled;
        let Settled { interface, path, tunnel, upgraded_from, .. } = settled;
        let verdict = machine.revised(verdict);
        let verdict = machine.tempered(verdict, one_sided.is_some());
        let facts = machine.into_facts(hashes);
        let (client, server) = (key.endpoint(client_end), key.endpoint(client_end.peer()));
        let observation = Observation {
            schema: SCHEMA,
            id: attempt_id(key, client_end, facts.start),
            protocol: Protocol::Tls,
            transport: Transport::Tcp,
            start: facts.start,
            end: verdict.at,
            client,
            server,
            vantage: self.local.vantage(client.address, server.address),
            interface: self
                .interfaces
                .get(usize::from(interface))
                .and_then(|interface| interface.name.clone()),
            tunnel: tunnel.iter().flat_map(|path| path.layers()).map(|layer| layer.to_string()).collect(),
            upgraded_from,
            server_name: facts.server_name,
            client_hello: facts.client_hello,
            server_groups: None,
            hello_retry: facts.hello_retry,
            version: facts.version,
            cipher_suite: facts.cipher_suite,
            quic_version: None,
            alpn: facts.alpn,
            group: facts.group.map(GroupFacts::from),
            dhe_bits: facts.dhe_bits,
            key_exchange: facts.key_exchange,
            key_exchange_class: facts.key_exchange_class,
            pq_reason: None,
            certificates: facts.certificates,
            client_certificates: facts.client_certificates,
            certificate_verify: facts.certificate_verify,
            server_flight: facts.server_flight.filter(|_| facts.flight_is_over || shows_flight(&verdict)),
            alerts: facts.alerts,
            outcome: verdict.outcome,
            outcome_evidence: verdict.evidence,
            incomplete_reason: verdict.incomplete,
            failure: verdict.failure,
            fallback_of: None,
            timing: Timing {
                tcp_rtt: round_trip,
                hello_retry: facts.hello_retry_after,
                server_hello: facts.server_hello_after,
                client_encrypted: facts.client_encrypted_after,
            },
            path,
            capture: CaptureFacts {
                missing_bytes: facts.missing_bytes,
                truncated: facts.truncated,
                one_sided,
            },
            decrypted: facts.decrypted,
        };
        let oddities =
            Oddities { key_shares: facts.odd_key_shares, negative_intervals: facts.negative_intervals };
        (Observation { pq_reason: PqReason::of(&observation), ..observation }, oddities)
    }
}

/// Whether what came of a flight is told although the client's answer did not show that it was over: where the attempt
/// failed it is all of it, and where the capture ended all that there was. Otherwise more of it may lie in what is missing.
fn shows_flight(verdict: &Verdict) -> bool {
    matches!(verdict.incomplete, None | Some(IncompleteReason::EndedEarly))
}

/// A name made of what no two attempts of a run share: the start and the endpoints (FNV-1a, 64 bits).
fn attempt_id(key: FlowKey, client: End, start: Timestamp) -> String {
    let (low, high) = (key.endpoint(client), key.endpoint(client.peer()));
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    for endpoint in [low, high] {
        crate::decode::Address::from(endpoint.address).0.into_iter().for_each(&mut add);
        endpoint.port.to_be_bytes().into_iter().for_each(&mut add);
    }
    key.path().0.to_be_bytes().into_iter().for_each(&mut add);
    format!("{:x}-{hash:016x}", start.as_nanos())
}
