//! What a packet costs, on the three paths that matter: data of a connection that is settled (nearly all of a real
//! wire), a whole hybrid handshake, and data that is no TLS.
//!
//! `cargo bench -p pqscope-agent-core --bench packets`. Each figure is one packet, or one handshake with all of its
//! packets, beside the allocations it makes.

#![expect(clippy::unwrap_used, reason = "a benchmark stops at whatever it does not expect")]

use divan::counter::{BytesCount, ItemsCount};
use divan::{AllocProfiler, Bencher, black_box};
use pqscope_agent_core::Limits;
use pqscope_agent_core::decode::LinkType;
use pqscope_agent_core::observer::{InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::time::Timestamp;
use pqscope_lab::capture::{self, Endpoints, Session, Wire};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// Connections among which the packets of the steady state are spread: more than the caches of a processor hold.
const CONNECTIONS: u16 = 20_000;

fn main() {
    divan::main();
}

fn timestamp(at: Duration) -> Timestamp {
    Timestamp::from_nanos(u64::try_from(at.as_nanos()).unwrap())
}

fn feed(observer: &mut Observer, packet: &capture::Packet, at: Duration) {
    observer.packet(&Packet {
        link: LinkType::Ethernet,
        at: timestamp(at),
        interface: InterfaceId::default(),
        bytes: &packet.bytes,
        wire_length: packet.original_length,
    });
}

fn observer() -> Observer {
    Observer::new(Settings { limits: Limits::default(), hash_seed: 7, ..Settings::default() })
}

/// A packet with `length` bytes of content from the server, in the midst of a connection.
fn data(wire: &Wire, length: usize) -> capture::Packet {
    let mut segment = wire.segments(&hybrid()).into_iter().find(|s| s.sender == Side::Server).unwrap();
    segment.sequence = segment.sequence.wrapping_add(100_000);
    segment.flags = pqscope_lab::capture::Flags { ack: true, ..Default::default() };
    segment.announced_segment_bytes = None;
    segment.payload = vec![0x17; length];
    wire.packets(&[segment]).remove(0)
}

fn hybrid() -> Session {
    Session::of(Scenario::Hybrid, "checkout.example").unwrap()
}

fn wires() -> impl Iterator<Item = Wire> {
    (0..CONNECTIONS).map(|n| Wire { endpoints: Endpoints::v4(10_000 + n), ..Wire::default() })
}

/// An observer that has settled every connection, and a packet of data for each of them.
fn steady(session: &Session, length: usize) -> (Observer, Vec<capture::Packet>) {
    let mut observer = observer();
    let template = data(&Wire::default(), length);
    let mut packets = Vec::new();
    for wire in wires() {
        let own = wire.packets(&wire.segments(session));
        for packet in &own {
            feed(&mut observer, packet, Wire::default().start);
        }
        let mut packet = template.clone();
        let port = wire.endpoints.of(Side::Client).port().to_be_bytes();
        packet.bytes.get_mut(36..38).unwrap().copy_from_slice(&port);
        packets.push(packet);
    }
    while observer.next_observation().is_some() {}
    (observer, packets)
}

fn bench_steady(bencher: Bencher<'_, '_>, session: &Session, length: usize) {
    let (mut observer, packets) = steady(session, length);
    let mut turn = packets.iter().cycle();
    let mut at = Wire::default().start;
    bencher.counter(ItemsCount::new(1_u32)).counter(BytesCount::new(length)).bench_local(|| {
        at += Duration::from_nanos(100);
        feed(black_box(&mut observer), black_box(turn.next().unwrap()), at);
    });
}

/// A packet of application data after the handshake.
#[divan::bench(args = [64, 1460], sample_count = 1000, sample_size = 1000)]
fn data_of_a_finished_handshake(bencher: Bencher<'_, '_>, length: usize) {
    bench_steady(bencher, &hybrid(), length);
}

/// A packet of a connection that carries something else.
#[divan::bench(args = [1460], sample_count = 1000, sample_size = 1000)]
fn data_that_is_no_tls(bencher: Bencher<'_, '_>, length: usize) {
    let mut session = hybrid();
    // Many words: a few in the clear may still be followed by TLS, and are watched for that.
    let words = [Side::Client, Side::Server].into_iter().cycle().take(100);
    let flight = |sender| capture::Flight { sender, bytes: b"a word in the clear\r\n".to_vec() };
    session.flights = words.map(flight).collect();
    bench_steady(bencher, &session, length);
}

/// A whole connection: opening, handshake, one request and answer, close; and its observation.
#[divan::bench(
    args = [Scenario::Hybrid, Scenario::X25519, Scenario::HelloRetryToHybrid, Scenario::Tls12],
    sample_count = 1000,
    sample_size = 20,
)]
fn handshake(bencher: Bencher<'_, '_>, scenario: Scenario) {
    let wire = Wire::default();
    let mut packets = wire.packets(&wire.segments(&Session::of(scenario, "checkout.example").unwrap()));
    let mut observer = observer();
    let (mut port, mut passed) = (0_u16, Duration::ZERO);
    bencher.counter(ItemsCount::new(packets.len())).bench_local(|| {
        port = port.wrapping_add(1);
        // Observations come out a second of capture time later, so that most iterations see one leave.
        passed += Duration::from_millis(10);
        for packet in &mut packets {
            // The client's port: source of what it sends, destination of what it receives (Ethernet and IPv4 before).
            let place = if packet.bytes.get(29) == Some(&10) { 34..36 } else { 36..38 };
            packet.bytes.get_mut(place).unwrap().copy_from_slice(&port.to_be_bytes());
            feed(&mut observer, packet, packet.at + passed);
        }
        while let Some(observation) = observer.next_observation() {
            black_box(observation);
        }
    });
}
