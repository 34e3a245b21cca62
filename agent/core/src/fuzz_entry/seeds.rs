//! Seeds from the lab's conversations, and every entry point over them, over damaged ones and over random bytes.
//!
//! With `PQSCOPE_FUZZ_SEEDS=FOLDER` in the environment the seeds are also written there, a folder for each entry point.

use super::{
    certificate, decode, frames, hello, icmp, key_log, machine, message, observer, reassembly, record,
};
use pqscope_lab::capture::transform::Wrapper;
use pqscope_lab::capture::{Link, Session, Wire, transform};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use pqscope_lab::synthesis::{ClientHello, ServerHello};
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::LazyLock;

type Entry = fn(&[u8]);

const ENTRIES: [(&str, Entry); 11] = [
    ("certificate", certificate),
    ("decode", decode),
    ("frames", frames),
    ("hello", hello),
    ("icmp", icmp),
    ("key_log", key_log),
    ("machine", machine),
    ("message", message),
    ("observer", observer),
    ("reassembly", reassembly),
    ("record", record),
];

/// Scenarios that differ in what is on the wire.
const SCENARIOS: [Scenario; 7] = [
    Scenario::Hybrid,
    Scenario::HelloRetryToClassical,
    Scenario::Tls12,
    Scenario::Tls12Resumed,
    Scenario::ClientCertificate,
    Scenario::NoSharedGroup,
    Scenario::NotTls,
];

static SESSIONS: LazyLock<Vec<Session>> = LazyLock::new(|| {
    SCENARIOS.into_iter().map(|scenario| Session::of(scenario, "service.example").unwrap()).collect()
});

fn with_length(control: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[control][..], &length, bytes].concat()
}

fn side_bit(side: Side) -> u8 {
    u8::from(side == Side::Server)
}

/// A session as steps for the machine.
fn machine_seed(session: &Session) -> Vec<u8> {
    let steps = session.flights.iter().flat_map(|flight| with_length(side_bit(flight.sender), &flight.bytes));
    [0].into_iter().chain(steps).chain([12, 13]).collect()
}

fn stream(session: &Session, side: Side) -> Vec<u8> {
    let flights = session.flights.iter().filter(|flight| flight.sender == side);
    flights.flat_map(|flight| flight.bytes.clone()).collect()
}

/// Bodies of the handshake records at the beginning of a stream.
fn bodies(stream: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (stream, Vec::new());
    while let [22, _, _, high, low, more @ ..] = rest {
        let (body, after) = more.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(more.len()));
        out.extend_from_slice(body);
        rest = after;
    }
    out
}

/// A session as steps for reassembly: lengths and numbers only.
fn reassembly_seed(session: &Session) -> Vec<u8> {
    let wire = Wire { segment_bytes: 240, ..Wire::default() };
    let first = [wire.client_first_sequence, wire.server_first_sequence];
    let mut out: Vec<u8> = first.into_iter().flat_map(u32::to_be_bytes).chain([200]).collect();
    for segment in wire.segments(session) {
        let side = usize::from(side_bit(segment.sender));
        let flags = u8::from(segment.flags.syn)
            | u8::from(segment.flags.fin) << 1
            | u8::from(segment.flags.reset) << 2;
        out.push(side_bit(segment.sender) | u8::from(segment.flags.ack) << 1 | flags << 2);
        let low = |number: u32, base: u32| (number.wrapping_sub(base) as u16).to_be_bytes();
        out.extend(low(segment.sequence, first[side]));
        out.extend(low(segment.acknowledgement, first[1 - side]));
        out.push(segment.payload.len().try_into().unwrap());
    }
    out
}

/// A session as frames for the observer.
fn observer_seed(session: &Session) -> Vec<u8> {
    let wire =
        Wire { segment_bytes: 250, client_first_sequence: 0, server_first_sequence: 0, ..Wire::default() };
    let mut out = Vec::new();
    for segment in wire.segments(session) {
        let kind = match (segment.flags.syn, segment.flags.ack, segment.flags.fin, segment.flags.reset) {
            (true, false, ..) => 1,
            (true, true, ..) => 2,
            (.., true, _) => 4,
            (.., true) => 6,
            _ => 0,
        };
        out.extend([side_bit(segment.sender) | kind << 1, 7]);
        let low = |number: u32| ((number + 100) as u16).to_be_bytes();
        out.extend(low(segment.sequence));
        out.extend(low(segment.acknowledgement));
        out.push(segment.payload.len().try_into().unwrap());
        out.extend(&segment.payload);
    }
    out
}

/// A certificate of real size, with something different about each.
fn certificate_seed(number: usize) -> Vec<u8> {
    let name = "service.example.".repeat(number + 1);
    let names = vec![name[..name.len().min(60) - 1].to_owned()];
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap().der().to_vec()
}

/// The beginning of a session within something, whole and in fragments.
fn frames_seed(wrapper: Wrapper) -> Vec<u8> {
    let wire = Wire::default();
    let packets = wire.packets(&wire.segments(&SESSIONS[0]));
    let wrapped = transform::encapsulate(&packets[..4], wrapper);
    let pieces = transform::fragment(&wrapped, 600);
    wrapped.into_iter().chain(pieces).flat_map(|packet| with_length(0, &packet.bytes)).collect()
}

/// The beginning of a session and a router's word on its first data.
fn icmp_seed(session: &Session) -> Vec<u8> {
    let beginning: Vec<u8> = observer_seed(session).into_iter().take(600).collect();
    let quoted =
        [&[0x45, 0, 5, 220, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 7, 10, 1, 0, 1][..], &[0xc0, 7, 1, 0xbb]];
    let quote = [quoted.concat(), vec![0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0, 0]].concat();
    let message = [&[3, 4, 0, 0, 0, 0, 4, 208][..], &quote].concat();
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    [vec![0], length(&beginning), beginning.clone(), length(&message), message].concat()
}

/// Framings that hold themselves, as often as a packet has room: PPP in GRE, and fragment headers in a quote.
fn deep_seeds() -> [Vec<u8>; 2] {
    let gre = [&[0, 0, 0x88, 0x0b][..], &[0x0f, 0, 0x88, 0x0b].repeat(16_370)].concat();
    let length = |bytes: &[u8], more: usize| u16::try_from(bytes.len() + more).unwrap().to_be_bytes();
    let [high, low] = length(&gre, 20);
    let packet =
        [&[0x45, 0, high, low, 0, 1, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], &gre[..]].concat();
    let headers = [44, 0, 0, 1, 0, 0, 0, 7].repeat(8_000);
    let v6 = |next: u8, content: &[u8]| {
        let [high, low] = length(content, 0);
        [&[0x60, 0, 0, 0, high, low, next, 64][..], &[1; 32], content].concat()
    };
    let message = [&[2, 0, 0, 0, 0, 0, 5, 0x78], &v6(44, &headers)[..]].concat();
    // The third link type is an IP packet alone.
    [packet, v6(58, &message)].map(|packet| [vec![2, 0], packet].concat())
}

fn seeds(entry: &str) -> Vec<Vec<u8>> {
    let in_pieces = |bytes: Vec<u8>| [vec![0x12, 0x34, 0x56, 0x78], bytes].concat();
    let sides = || SESSIONS.iter().flat_map(|s| [stream(s, Side::Client), stream(s, Side::Server)]);
    match entry {
        "decode" => {
            let links = [Link::Ethernet, Link::Null, Link::RawIp, Link::LinuxCooked, Link::LinuxCooked2];
            let frames = links.into_iter().zip(0..).flat_map(|(link, number)| {
                let vlans = if link == Link::Ethernet { vec![20, 10] } else { vec![] };
                let wire = Wire { link, vlans, tcp_options: true, ..Wire::default() };
                let packets = wire.packets(&wire.segments(&SESSIONS[0]));
                packets.into_iter().take(4).map(move |packet| [vec![number, 0], packet.bytes].concat())
            });
            frames.chain(deep_seeds()).collect()
        }
        "hello" => {
            let hellos =
                [ClientHello::tls13(), ClientHello::tls12()].map(|hello| hello.message()[4..].to_vec());
            let real = SESSIONS.iter().map(|session| bodies(&session.flights[0].bytes)[4..].to_vec());
            hellos.into_iter().chain(real).map(in_pieces).collect()
        }
        "machine" => SESSIONS.iter().map(machine_seed).collect(),
        "certificate" => (0..7).map(certificate_seed).collect(),
        "frames" => Wrapper::ALL.into_iter().map(frames_seed).collect(),
        "icmp" => SESSIONS.iter().map(icmp_seed).collect(),
        "key_log" => {
            let log = |session: &Session| format!("# key log\n{}", session.key_log).into_bytes();
            SESSIONS.iter().map(log).collect()
        }
        "message" => {
            let answer = ServerHello::retry(Some(0x1d)).message();
            sides().map(|stream| bodies(&stream)).chain([answer]).map(in_pieces).collect()
        }
        "observer" => SESSIONS.iter().map(observer_seed).collect(),
        "reassembly" => SESSIONS.iter().map(reassembly_seed).collect(),
        _ => sides().map(in_pieces).collect(),
    }
}

#[test]
fn every_entry_point_holds_over_its_seeds_and_their_beginnings() {
    let folder = std::env::var_os("PQSCOPE_FUZZ_SEEDS").map(PathBuf::from);
    for (name, entry) in ENTRIES {
        let seeds = seeds(name);
        assert!(seeds.len() >= 7, "{name}");
        for (number, seed) in seeds.iter().enumerate() {
            entry(seed);
            (0..seed.len()).step_by(seed.len() / 40 + 1).for_each(|end| entry(&seed[..end]));
            if let Some(folder) = &folder {
                let folder = folder.join(name);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(format!("seed-{number:02}")), seed).unwrap();
            }
        }
    }
}

/// Inputs that fuzzers found something with.
#[test]
fn what_was_found_once_is_not_found_again() {
    // An answer to a hello of SSL 2.0 that begins like one of SSL 2.0 and is none, in one piece and byte by byte.
    let neither =
        [6, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0x87, 0x21, 0x87, 0x87, 0x87, 0x87];
    machine(&[&neither[..], &[0xff; 3]].concat());
}

#[test]
fn seeds_mean_what_they_should() {
    // Seeds that do not reach the far end of a room would teach a fuzzer little.
    let mut input = super::input::Input(&seeds("machine")[0]);
    assert_eq!((input.byte(), input.byte(), input.number().unwrap() > 1200), (Some(0), Some(0), true));
    let mut completed = crate::observer::Observer::new(crate::observer::Settings::default());
    super::flow::feed(&seeds("observer")[0], &mut completed);
    completed.finish();
    let seen = completed.next_observation().unwrap();
    assert_eq!(seen.outcome, crate::observation::Outcome::Completed);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_entry_point_holds_over_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        ENTRIES.iter().for_each(|(_, entry)| entry(&bytes));
    }

    #[test]
    fn every_entry_point_holds_over_damaged_seeds(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        doubled: bool,
    ) {
        for (name, entry) in ENTRIES {
            let seeds = seeds(name);
            let mut bytes = which.get(&seeds).clone();
            if doubled {
                bytes.extend(bytes.clone());
            }
            for (at, value) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            entry(&bytes);
        }
    }
}
