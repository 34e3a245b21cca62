//! Memory has bounds that traffic cannot move. Measured is the peak of the process itself (VmHWM, proc(5)), read while
//! the agent waits with its report half written, when everything has been read and settled.
//!
//! Every capture also holds handshakes with 2,000 servers, which make the report longer than a pipe holds.

use crate::captures::SERVER_NAME;
use crate::program::agent;
use pqscope_lab::capture::{Ending, Link, Packet, Session, Wire};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use serde_json::Value;
use std::io::{BufWriter, Read, Write};
use std::process::Stdio;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

pub(crate) const MIB: u64 = 1 << 20;

/// Servers of the handshakes that every capture holds.
pub(crate) const SERVERS: u32 = 2000;

/// One measurement at a time: together they would need the memory of all.
static TURN: Mutex<()> = Mutex::new(());

/// Writes connections into a capture: one that the lab made, again and again under other addresses.
pub(crate) struct Flood {
    out: BufWriter<Box<dyn Write + Send>>,
    at: Duration,
}

impl Flood {
    fn new(out: Box<dyn Write + Send>) -> Self {
        let mut flood = Self { out: BufWriter::with_capacity(1 << 18, out), at: Wire::default().start };
        for field in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, Link::RawIp.number()] {
            flood.word(field);
        }
        flood
    }

    fn word(&mut self, value: u32) {
        self.out.write_all(&value.to_le_bytes()).unwrap();
    }

    /// Writes packets as those of connection `number`; capture time moves on by `step` after them.
    pub(crate) fn connection(&mut self, number: u32, packets: &[Packet], step: Duration) {
        let [_, b, c, d] = number.to_be_bytes();
        let client = [10, b, c, d];
        let server = [172, 16, 0, 1];
        let mut bytes = Vec::new();
        for packet in packets {
            bytes.clone_from(&packet.bytes);
            // IPv4 source and destination; the lab's client is 192.0.2.10.
            let from_client = bytes[12..16] == [192, 0, 2, 10];
            let (source, destination) = if from_client { (client, server) } else { (server, client) };
            bytes[12..16].copy_from_slice(&source);
            bytes[16..20].copy_from_slice(&destination);
            self.packet(&bytes);
        }
        self.at += step;
    }

    fn packet(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap();
        let seconds = u32::try_from(self.at.as_secs()).unwrap();
        for field in [seconds, self.at.subsec_nanos(), length, length] {
            self.word(field);
        }
        self.out.write_all(bytes).unwrap();
    }
}

/// A report with the memory that it took.
pub(crate) struct Measured {
    peak_bytes: u64,
    pub(crate) report: Value,
}

impl Measured {
    pub(crate) fn attempts(&self) -> u64 {
        ["completed", "failed", "incomplete"].into_iter().map(|kind| self.all(kind)).sum()
    }

    pub(crate) fn all(&self, kind: &str) -> u64 {
        self.report["handshakes"]["all"][kind].as_u64().unwrap()
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.report["reading"]["evicted"].as_u64().unwrap()
    }

    #[track_caller]
    pub(crate) fn takes_at_most(&self, bytes: u64) {
        let (peak, limit) = (self.peak_bytes, bytes);
        println!("peak {:.1} MiB of {:.1} MiB", mebibytes(peak), mebibytes(limit));
        assert!(peak <= limit, "{:.1} MiB instead of {:.1} MiB", mebibytes(peak), mebibytes(limit));
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MIB as f64
}

/// Has the agent read what `fill` writes, and looks at its memory when it is about to report.
pub(crate) fn measure(arguments: &[&str], fill: impl FnOnce(&mut Flood) + Send) -> Measured {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut command = agent();
    command.args(["read", "--format=json"]).args(arguments).arg("-");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (peak_bytes, text) = thread::scope(|scope| {
        scope.spawn(move || {
            let mut flood = Flood::new(Box::new(stdin));
            let refused = refused();
            for server in 0..SERVERS {
                flood.connection(
                    server,
                    &renamed(&refused, &format!("s{server:07}.example")),
                    Duration::ZERO,
                );
            }
            fill(&mut flood);
            flood.out.flush().unwrap();
        });
        let mut text = vec![0];
        stdout.read_exact(&mut text).unwrap();
        let peak = peak_of(child.id());
        stdout.read_to_end(&mut text).unwrap();
        (peak, text)
    });
    assert!(child.wait().unwrap().success());
    // A pipe holds 64 KiB, and the agent's own buffer as much.
    assert!(text.len() > 2 << 17, "the report was too short to wait for: {} bytes", text.len());
    Measured { peak_bytes, report: serde_json::from_slice(&text).unwrap() }
}

/// The largest resident set of a process so far.
fn peak_of(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the agent still runs");
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

pub(crate) fn raw_wire() -> Wire {
    Wire { link: Link::RawIp, segment_bytes: 1400, ..Wire::default() }
}

/// The first packets of a conversation.
pub(crate) fn packets(scenario: Scenario, count: usize) -> Vec<Packet> {
    let wire = raw_wire();
    let mut segments = wire.segments(&Session::of(scenario, SERVER_NAME).unwrap());
    segments.truncate(count);
    wire.packets(&segments)
}

/// A connection that the server resets after a hello of one segment: the cheapest attempt that is finished.
fn refused() -> Vec<Packet> {
    let whole = Session::of(Scenario::X25519, SERVER_NAME).unwrap();
    let wire = raw_wire();
    wire.packets(&wire.segments(&whole.cut_after(1, Ending::Reset(Side::Server))))
}

/// The same packets with another server name of the same length.
fn renamed(packets: &[Packet], name: &str) -> Vec<Packet> {
    assert_eq!(name.len(), SERVER_NAME.len());
    let mut packets = packets.to_vec();
    let mut found = 0;
    for packet in &mut packets {
        let mut places = packet.bytes.windows(name.len());
        if let Some(place) = places.position(|place| place == SERVER_NAME.as_bytes()) {
            packet.bytes[place..place + name.len()].copy_from_slice(name.as_bytes());
            found += 1;
        }
    }
    assert_eq!(found, 1, "the name stands in one packet");
    packets
}

/// A connection with a hybrid hello of two segments, up to this many of them, and nothing after.
pub(crate) fn half_open(segments_of_hello: usize) -> Vec<Packet> {
    let packets = packets(Scenario::SilentServer, 3 + segments_of_hello);
    let hello: Vec<_> = packets[3..].iter().map(|packet| packet.bytes.len()).collect();
    assert_eq!(hello.len(), segments_of_hello);
    assert_eq!(hello[0], 1440, "the hello fills its first segment");
    packets
}

/// The whole of `count` connections within less than the handshake timeout.
pub(crate) fn all_at_once(count: u32, packets: &[Packet], flood: &mut Flood) {
    let step = Duration::from_secs(4) / count;
    (0..count).for_each(|number| flood.connection(SERVERS + number, packets, step));
}

#[test]
fn a_hundred_thousand_hellos_of_which_half_has_come_fit_in_160_mib() {
    let packets = half_open(1);
    let measured = measure(&[], |flood| all_at_once(100_000, &packets, flood));
    assert_eq!((measured.evicted(), measured.all("incomplete")), (0, 100_000));
    measured.takes_at_most(160 * MIB);
}

#[test]
fn a_hundred_thousand_hellos_without_answer_fit_in_160_mib() {
    let packets = half_open(2);
    let measured = measure(&[], |flood| all_at_once(100_000, &packets, flood));
    assert_eq!((measured.evicted(), measured.all("incomplete")), (0, 100_000));
    measured.takes_at_most(160 * MIB);
}

#[test]
fn a_finished_connection_costs_less_than_128_bytes() {
    let refused = refused();
    let finished = |count: u32| {
        // Within the time that finished connections are remembered.
        let step = Duration::from_micros(100);
        let measured = measure(&["--max-flows=2000000"], |flood| {
            (0..count).for_each(|number| flood.connection(SERVERS + number, &refused, step));
        });
        assert_eq!((measured.evicted(), measured.all("failed")), (0, u64::from(count + SERVERS)));
        measured.peak_bytes
    };
    let (few, many) = (100_000, 600_000);
    let each = (finished(many) - finished(few)) / u64::from(many - few);
    println!("{each} bytes for each finished connection");
    assert!(each < 128, "{each} bytes");
    // The marks are there: a connection cannot be told from a new one for less than its two ends.
    assert!(each > 36, "{each} bytes");
}

/// Bound given to the agent in the floods that try to break it.
pub(crate) const BOUND: &str = "--max-handshake-bytes=16MiB";

/// What the agent takes by itself, with the handshakes that every capture here holds.
pub(crate) fn at_rest() -> u64 {
    measure(&[BOUND], |_| ()).peak_bytes
}

/// The bound, and half of it again for what allocators lose between blocks.
pub(crate) const BOUNDED: u64 = 24 * MIB;

#[test]
fn hellos_beyond_the_bound_evict_the_oldest() {
    let packets = half_open(2);
    let measured = measure(&[BOUND], |flood| all_at_once(100_000, &packets, flood));
    assert!(measured.evicted() > 50_000, "{}", measured.report["reading"]);
    assert_eq!(measured.attempts(), u64::from(SERVERS) + 100_000, "every attempt is told, given up or not");
    let marks = 100_000 * 128;
    // What is given up waits a second for its turn in the report, as 25,000 other attempts do in this flood.
    let waiting = 25_000 * 1536;
    measured.takes_at_most(at_rest() + BOUNDED + marks + waiting);
}

/// Segments of a stream without end: with 64 connections, four times the bound.
pub(crate) const ROUNDS: u32 = 800;

/// 64 connections at once; on each, after `opening`, `rounds` segments of `content`, in turn. `sequence` gives the
/// place in the stream of each round's segment, from the first byte of that side.
pub(crate) fn streams(
    flood: &mut Flood,
    opening: &[Packet],
    sender: Side,
    content: &[u8],
    rounds: u32,
    place: impl Fn(u32) -> u32,
) {
    let wire = raw_wire();
    let count = 64;
    (0..count).for_each(|number| flood.connection(SERVERS + number, opening, Duration::ZERO));
    // What acknowledges bytes that the peer has not sent would wait for them.
    let (first, acknowledged) = match sender {
        Side::Client => (wire.client_first_sequence, wire.server_first_sequence),
        Side::Server => (wire.server_first_sequence, wire.client_first_sequence),
    };
    let silent = Session::of(Scenario::SilentServer, SERVER_NAME).unwrap();
    let mut segment = wire.segments(&silent).into_iter().find(|segment| !segment.payload.is_empty()).unwrap();
    segment.sender = sender;
    segment.acknowledgement = acknowledged.wrapping_add(1);
    segment.payload = content.to_vec();
    for round in 0..rounds {
        segment.sequence = first.wrapping_add(1).wrapping_add(place(round));
        let packet = wire.packets(std::slice::from_ref(&segment));
        (0..count).for_each(|number| flood.connection(SERVERS + number, &packet, Duration::from_micros(10)));
    }
}

/// A TLS record of this type and content.
pub(crate) fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[kind, 3, 3, high, low], content].concat()
}

#[test]
fn a_message_that_never_ends_stays_within_the_bound() {
    let opening = packets(Scenario::SilentServer, 3);
    let hello = half_open(2);
    // A client hello (1), or a server hello (2), of 16 MiB; its records are full of what could be hellos again.
    let mut piece = vec![0; 1375];
    for (sender, opening, kind) in [(Side::Client, &opening, 1), (Side::Server, &hello, 2)] {
        piece[..4].copy_from_slice(&[kind, 0xff, 0xff, 0xff]);
        let content = record(22, &piece);
        let step = u32::try_from(content.len()).unwrap();
        let measured = measure(&[BOUND], |flood| {
            streams(flood, opening, sender, &content, ROUNDS, |round| round * step);
        });
        measured.takes_at_most(at_rest() + BOUNDED);
    }
}

#[test]
fn small_messages_without_end_stay_within_the_bound() {
    // Empty handshake messages of a type that nobody sends here, and hello requests, which may come at any time.
    for kind in [0, 24] {
        let content = record(22, &[kind, 0, 0, 0].repeat(340));
        let step = u32::try_from(content.len()).unwrap();
        let opening = half_open(2);
        let measured = measure(&[BOUND], |flood| {
            streams(flood, &opening, Side::Server, &content, ROUNDS, |round| round * step);
        });
        measured.takes_at_most(at_rest() + BOUNDED);
    }
}

#[test]
fn alerts_without_end_stay_within_the_bound() {
    // Warnings (level 1) that fail nothing: unrecognized_name.
    let content = record(21, &[1, 112]).repeat(200);
    let step = u32::try_from(content.len()).unwrap();
    let opening = half_open(2);
    let measured = measure(&[BOUND], |flood| {
        streams(flood, &opening, Side::Server, &content, ROUNDS, |round| round * step);
    });
    measured.takes_at_most(at_rest() + BOUNDED);
}

#[test]
fn segments_that_never_join_stay_within_the_bound() {
    let opening = half_open(1);
    let content = vec![22; 1400];
    // The second segment never comes: all that follows waits for it, in order, with gaps, and backwards.
    let places: [fn(u32) -> u32; 3] =
        [|round| 4200 + round * 1400, |round| 4200 + round * 2800, |round| 4200 + (ROUNDS - round) * 1400];
    for place in places {
        let measured = measure(&[BOUND], |flood| {
            streams(flood, &opening, Side::Client, &content, ROUNDS, place);
        });
        measured.takes_at_most(at_rest() + BOUNDED);
    }
}

#[test]
fn a_conversation_that_ends_is_still_told_after_a_flood() {
    let opening = half_open(1);
    let whole = packets(Scenario::Hybrid, usize::MAX);
    assert_eq!(Session::of(Scenario::Hybrid, SERVER_NAME).unwrap().ending, Ending::Closed(Side::Client));
    let measured = measure(&[BOUND], |flood| {
        all_at_once(50_000, &opening, flood);
        flood.connection(SERVERS + 60_000, &whole, Duration::ZERO);
    });
    assert_eq!(measured.all("completed"), 1);
}
