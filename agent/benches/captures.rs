//! Writes the two captures that `scripts/bench` measures on. Measures nothing itself.
//!
//! `cargo bench -p pqscope-agent --bench captures -- bulk FILE` or `-- handshakes FILE`
//!
//! - `bulk`: 2,000 connections in 5 seconds, each with a handshake and 310,000 bytes of application data;
//! - `handshakes`: 50,000 connections at 5,000 a second, with a handshake, a small request and answer, and nothing else.
//!
//! Each connection is one of three that the lab made (60 % hybrid, 20 % X25519, 20 % TLS 1.2), under an address of its
//! own; the connections run side by side, as on a wire. Checksums are those of the original, which capture programs
//! do not look at.

use anyhow::{Context, bail, ensure};
use pqscope_lab::capture::{Ending, Flags, Link, Packet, Segment, Session, Wire, encode};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Duration;

/// Scenarios with their shares of ten connections.
const MIX: [(Scenario, u32); 3] = [(Scenario::Hybrid, 6), (Scenario::X25519, 2), (Scenario::Tls12, 2)];

/// Content of one record of application data, at most (RFC 9846 section 5.1).
const RECORD_BYTES: usize = 16_384;

/// Time between two segments of application data of one connection.
const SPACING: Duration = Duration::from_micros(50);

/// What a capture holds.
struct Plan {
    connections: u32,
    per_second: u32,
    data_bytes: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (plan, path) = match arguments.as_slice() {
        // `cargo bench` runs every target.
        [] => return Ok(()),
        ["bulk", path] => (Plan { connections: 2_000, per_second: 400, data_bytes: 310_000 }, path),
        ["handshakes", path] => (Plan { connections: 50_000, per_second: 5_000, data_bytes: 0 }, path),
        _ => bail!("usage: cargo bench -p pqscope-agent --bench captures -- bulk|handshakes FILE"),
    };
    let file = File::create_new(path).with_context(|| format!("cannot create `{path}`"))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write_capture(&plan, &mut out).with_context(|| format!("cannot write `{path}`"))?;
    out.flush().with_context(|| format!("cannot write `{path}`"))
}

fn write_capture(plan: &Plan, out: &mut impl Write) -> anyhow::Result<()> {
    let templates =
        MIX.iter().map(|(scenario, _)| template(*scenario, plan)).collect::<anyhow::Result<Vec<_>>>()?;
    let deck: Vec<usize> = MIX
        .iter()
        .enumerate()
        .flat_map(|(at, (_, share))| std::iter::repeat_n(at, *share as usize))
        .collect();
    out.write_all(&encode(pqscope_lab::capture::Format::Pcap, Link::Ethernet, &[]))?;
    // The next packet of every connection under way, earliest first.
    let mut due = BinaryHeap::new();
    let mut bytes = Vec::new();
    let spacing = Duration::from_secs(1) / plan.per_second;
    for number in 0..plan.connections {
        let begins = spacing * number;
        write_due(&mut due, &templates, &deck, Some(begins), &mut bytes, out)?;
        due.push(Reverse((begins, number, 0)));
    }
    write_due(&mut due, &templates, &deck, None, &mut bytes, out)
}

/// When a packet is due after the begin of the capture, of which connection, and which of its packets.
type Due = Reverse<(Duration, u32, usize)>;

/// Writes packets in the order of time, up to `until`.
fn write_due(
    due: &mut BinaryHeap<Due>,
    templates: &[Vec<Packet>],
    deck: &[usize],
    until: Option<Duration>,
    bytes: &mut Vec<u8>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    while let Some(Reverse((at, number, index))) = due.peek().copied() {
        if until.is_some_and(|until| at > until) {
            break;
        }
        due.pop();
        let card = deck.get(number as usize % deck.len()).copied().unwrap_or(0);
        let template = templates.get(card).context("every card has a template")?;
        let packet = template.get(index).context("only packets that exist are due")?;
        write_packet(packet, number, Wire::default().start + at, bytes, out)?;
        if let Some(next) = template.get(index + 1) {
            due.push(Reverse((at + next.at.saturating_sub(packet.at), number, index + 1)));
        }
    }
    Ok(())
}

fn write_packet(
    packet: &Packet,
    number: u32,
    at: Duration,
    bytes: &mut Vec<u8>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    bytes.clone_from(&packet.bytes);
    let [_, b, c, d] = number.to_be_bytes();
    // The client's address (192.0.2.10 in the template) is the connection's own.
    let place = if bytes.get(26..30) == Some(&[192, 0, 2, 10]) { 26..30 } else { 30..34 };
    bytes.get_mut(place).context("an IPv4 packet")?.copy_from_slice(&[10, b, c, d]);
    let length = u32::try_from(bytes.len())?;
    for field in [u32::try_from(at.as_secs())?, at.subsec_nanos(), length, length] {
        out.write_all(&field.to_le_bytes())?;
    }
    Ok(out.write_all(bytes)?)
}

/// The packets of one connection.
fn template(scenario: Scenario, plan: &Plan) -> anyhow::Result<Vec<Packet>> {
    let wire = Wire::default();
    let mut session = Session::of(scenario, "checkout.example")?;
    ensure!(session.agreement.is_some(), "{scenario} completes");
    if plan.data_bytes > 0 {
        session.ending = Ending::Open;
    }
    let mut segments = wire.segments(&session);
    push_data(&mut segments, usize::from(wire.segment_bytes), plan.data_bytes);
    // One packet at a time: the packet's number within the connection is no longer than 16 bits otherwise.
    Ok(segments.iter().flat_map(|segment| wire.packets(std::slice::from_ref(segment))).collect())
}

/// Lets the server send application data after all the rest, and the client acknowledge every second segment.
fn push_data(segments: &mut Vec<Segment>, segment_bytes: usize, data_bytes: usize) {
    let end = |side| {
        let mut of_side = segments.iter().filter(|segment| segment.sender == side);
        of_side.next_back().map_or(0, |segment| segment.sequence.wrapping_add(length(&segment.payload)))
    };
    let (client, mut server) = (end(Side::Client), end(Side::Server));
    let mut at = segments.last().map_or(Duration::ZERO, |segment| segment.at);
    let mut stream = Vec::with_capacity(data_bytes + data_bytes / 1000);
    let mut left = data_bytes;
    while left > 0 {
        let content = left.min(RECORD_BYTES);
        left -= content;
        let [high, low] = u16::try_from(content).unwrap_or(u16::MAX).to_be_bytes();
        stream.extend_from_slice(&[0x17, 3, 3, high, low]);
        // Any bytes will do: what follows a handshake is not looked into.
        stream.extend((0..content).map(|n| u8::try_from(n * 31 % 251).unwrap_or(0)));
    }
    let flags = Flags { ack: true, ..Flags::default() };
    for (index, piece) in stream.chunks(segment_bytes).enumerate() {
        at += SPACING;
        let from_server = Segment {
            at,
            sender: Side::Server,
            sequence: server,
            acknowledgement: client,
            flags,
            announced_segment_bytes: None,
            payload: piece.to_vec(),
        };
        server = server.wrapping_add(length(piece));
        segments.push(from_server);
        if index % 2 == 1 {
            segments.push(Segment {
                at,
                sender: Side::Client,
                sequence: client,
                acknowledgement: server,
                flags,
                announced_segment_bytes: None,
                payload: Vec::new(),
            });
        }
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}
