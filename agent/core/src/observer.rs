//! Packets in, observations out: the rooms of this crate joined.

use crate::decode::{LinkType, Skip, decode};
use crate::flow::key::{End, FlowKey, PathId, Paths};
use crate::flow::table::{Arrival, Limits, Settled, Table, TableCounts};
use crate::local::LocalNetworks;
use crate::observation::{
    CaptureFacts, GroupFacts, IncompleteReason, Observation, PathFacts, Protocol, SCHEMA, Timing, Transport,
};
use crate::order::Order;
use crate::time::Timestamp;
use crate::tls::verdict::Verdict;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A step back of an interface's clock beyond this rebases the capture's; a smaller one is disorder.
const REBASE: Duration = Duration::from_secs(1);

/// Interfaces that are told apart.
const MAX_INTERFACES: u16 = 4096;

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
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Bounds of the connection table.
    pub limits: Limits,
    /// Addresses of this host, for the vantage.
    pub local: LocalNetworks,
    /// Seed of the connection table's hash. It never shows in the output.
    pub hash_seed: u64,
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
    /// Packets that held a segment.
    pub used: u64,
    /// Packets passed by, by [`Skip::index`].
    pub skipped: [u64; Skip::ALL.len()],
    /// Bytes on the wire of all packets.
    pub bytes: u64,
    /// Steps back of the capture clock by more than a second.
    pub clock_steps: u64,
    /// Connections in the table.
    pub flows: usize,
    /// Bytes that unfinished handshakes hold.
    pub buffered: usize,
    /// What the table gave up or found odd.
    pub table: TableCounts,
}

/// Follows every connection of a capture.
#[derive(Debug)]
pub struct Observer {
    local: LocalNetworks,
    table: Table,
    paths: Paths,
    order: Order,
    interfaces: Vec<Interface>,
    numbers: HashMap<Option<Arc<str>>, InterfaceId>,
    health: Health,
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
        Self {
            local: settings.local,
            table: Table::new(settings.limits, settings.hash_seed),
            paths: Paths::default(),
            order: Order::new(settings.limits.bytes / 4),
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

    /// Takes the next packet of the capture.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.health.bytes += packet.wire_length as u64;
        if packet.at > LATEST_TIME {
            self.count_skip(Skip::Malformed);
            return;
        }
        let stepped_back = self.interfaces.get_mut(usize::from(packet.interface.0)).is_none_or(|interface| {
            let back = interface.latest.since(packet.at).is_some_and(|back| back > REBASE);
            interface.latest = if back { packet.at } else { interface.latest.max(packet.at) };
            back
        });
        let now = self.clock(packet.at, stepped_back);
        let segment = match decode(packet.link, packet.bytes, packet.wire_length) {
            Ok(segment) => segment,
            Err(skip) => {
                self.count_skip(skip);
                return;
            }
        };
        let Some(path) = self.paths.number(&segment.encapsulation) else {
            self.count_skip(Skip::TooDeep);
            return;
        };
        self.health.used += 1;
        let interface = packet.interface.0;
        self.table.segment(&Arrival { segment: &segment, at: packet.at, now, path, interface });
        self.collect();
    }

    fn count_skip(&mut self, skip: Skip) {
        if let Some(count) = self.health.skipped.get_mut(skip.index()) {
            *count += 1;
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
        self.table.advance(now);
        self.collect();
        now
    }

    /// Settles everything at the end of the capture. Packets may follow; they begin anew.
    pub fn finish(&mut self) {
        self.table.finish(self.latest);
        self.collect();
        self.all_due = true;
    }

    /// The next observation in the order of their ends, once nothing earlier can come.
    pub fn next_observation(&mut self) -> Option<Box<Observation>> {
        let Some(settled) = self.order.pop((!self.all_due).then_some(self.latest)) else {
            self.all_due = false;
            return None;
        };
        let context = Context { local: &self.local, paths: &self.paths, interfaces: &self.interfaces };
        Some(Box::new(context.observation(settled)))
    }

    /// Figures about the observer itself.
    pub fn health(&self) -> Health {
        Health {
            flows: self.table.flows(),
            buffered: self.table.live_bytes(),
            table: self.table.counts(),
            ..self.health.clone()
        }
    }

    fn collect(&mut self) {
        self.table.take_settled().for_each(|settled| self.order.push(settled));
    }
}

/// What an observation takes from beyond its connection.
struct Context<'a> {
    local: &'a LocalNetworks,
    paths: &'a Paths,
    interfaces: &'a [Interface],
}

impl Context<'_> {
    fn observation(&self, settled: Settled) -> Observation {
        let Settled { key, client: client_end, machine, verdict, one_sided, round_trip, interface } = settled;
        let verdict = machine.tempered(verdict, one_sided.is_some());
        let facts = machine.into_facts();
        let (client, server) = (key.endpoint(client_end), key.endpoint(client_end.peer()));
        Observation {
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
            tunnel: if key.path() == PathId::default() {
                Vec::new()
            } else {
                self.paths.describe(key.path())
            },
            upgraded_from: None,
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
            certificate_verify: None,
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
            path: PathFacts::default(),
            capture: CaptureFacts {
                missing_bytes: facts.missing_bytes,
                truncated: facts.truncated,
                one_sided,
            },
            decrypted: None,
        }
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
