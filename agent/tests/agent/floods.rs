//! Captures that are made to break the bounds on memory, beside those of `memory`: what single connections may hold, and
//! what very many may.

use crate::memory::{
    BOUND, BOUNDED, Flood, ROUNDS, SERVERS, all_at_once, at_rest, half_open, measure, packets, raw_wire,
    record, streams,
};
use pqscope_lab::capture::{Ending, Packet};
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use pqscope_lab::synthesis::{
    ClientHello, ServerHello, alert, content, conversation, encrypted, message, protocols,
};
use std::time::Duration;

/// A conversation so far, without an end, and how many bytes the server has sent.
fn opened(server_bytes: Vec<u8>) -> (Vec<Packet>, u32) {
    let sent = u32::try_from(server_bytes.len()).unwrap();
    let flights = vec![(Side::Client, ClientHello::tls12().record()), (Side::Server, server_bytes)];
    let wire = raw_wire();
    (wire.packets(&wire.segments(&conversation(flights, Ending::Open))), sent)
}

/// 64 conversations whose server goes on for ever with this after `begun`.
fn server_goes_on(begun: Vec<u8>, piece: &[u8]) -> impl FnOnce(&mut Flood) + Send + use<> {
    let (opening, sent) = opened(begun);
    let step = u32::try_from(piece.len()).unwrap();
    let piece = piece.to_vec();
    move |flood| streams(flood, &opening, Side::Server, &piece, ROUNDS, |round| sent + round * step)
}

#[track_caller]
fn stays_within_the_bound(fill: impl FnOnce(&mut Flood) + Send) {
    measure(&[BOUND], fill).takes_at_most(at_rest() + BOUNDED);
}

/// A ServerHello of TLS 1.2 and the beginning of a Certificate message of 16 MiB.
fn certificate_begun(first_bytes: &[u8]) -> Vec<u8> {
    let begun = [&[11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc][..], first_bytes].concat();
    [ServerHello::tls12(0xc02f).record(), record(content::HANDSHAKE, &begun)].concat()
}

#[test]
fn a_certificate_that_never_ends_stays_within_the_bound() {
    // One of 16 MiB, and very many: empty ones, and small ones.
    let filler = record(content::HANDSHAKE, &[0x30; 1300]);
    stays_within_the_bound(server_goes_on(certificate_begun(&[0xff, 0xff, 0xf9]), &filler));
    let empty = record(content::HANDSHAKE, &[0; 1302]);
    stays_within_the_bound(server_goes_on(certificate_begun(&[]), &empty));
    let small = record(content::HANDSHAKE, &[0, 0, 3, 0x30, 1, 0].repeat(217));
    stays_within_the_bound(server_goes_on(certificate_begun(&[]), &small));
}

#[test]
fn whole_messages_of_the_largest_size_stay_within_the_bound() {
    // Certificate after Certificate of 1,200 bytes, ServerKeyExchange after ServerKeyExchange, and hellos of the server.
    for kind in [11, 12, 2] {
        let piece = record(content::HANDSHAKE, &message(kind, &[0; 1200]));
        stays_within_the_bound(server_goes_on(ServerHello::tls12(0xc02f).record(), &piece));
    }
}

#[test]
fn records_of_no_or_one_byte_without_end_stay_within_the_bound() {
    let opening = packets(Scenario::SilentServer, 3);
    for (kind, body) in [(22, &[][..]), (22, &[1]), (21, &[]), (21, &[1]), (23, &[]), (20, &[1])] {
        let piece = record(kind, body).repeat(230);
        stays_within_the_bound(server_goes_on(ServerHello::tls12(0xc02f).record(), &piece));
        stays_within_the_bound(server_goes_on(ServerHello::tls13(0x1d).record(), &piece));
        // As a hello whose message is nearly 16 MiB long.
        let begun = record(content::HANDSHAKE, &[1, 0xff, 0xff, 0xff]);
        let step = u32::try_from(piece.len()).unwrap();
        let sent = u32::try_from(begun.len()).unwrap();
        let measured = measure(&[BOUND], |flood| {
            streams(flood, &opening, Side::Client, &begun, 1, |_| 0);
            streams(flood, &[], Side::Client, &piece, ROUNDS / 4, |round| sent + round * step);
        });
        measured.takes_at_most(at_rest() + BOUNDED);
    }
}

#[test]
fn encrypted_records_without_end_stay_within_the_bound() {
    // A server's flight that never ends, and one of nothing but alerts' size.
    for piece in [encrypted(1300), encrypted(19).repeat(50), alert(1, 112).repeat(150)] {
        stays_within_the_bound(server_goes_on(ServerHello::tls13(0x1d).record(), &piece));
    }
}

#[test]
fn single_bytes_out_of_order_stay_within_the_bound() {
    let opening = half_open(1);
    let places: [fn(u32) -> u32; 3] =
        [|round| 4200 + (ROUNDS - round) * 2, |round| 4200 + round * 2, |round| 4200 + round * 7919 % 65_521];
    for place in places {
        stays_within_the_bound(|flood| streams(flood, &opening, Side::Client, &[22], ROUNDS, place));
    }
}

#[test]
fn hellos_of_120_kilobytes_stay_within_the_bound() {
    let names: Vec<Vec<u8>> = (0..250_u8).map(|n| vec![b'a' + n % 26; 200]).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let hello = ClientHello { suites: vec![0x1301; 32_000], ..ClientHello::tls13() };
    let hello = hello.with(16, protocols(&names));
    let bytes: Vec<u8> =
        hello.message().chunks(16_384).flat_map(|piece| record(content::HANDSHAKE, piece)).collect();
    assert!(bytes.len() > 110_000);
    let wire = raw_wire();
    let whole = wire.packets(&wire.segments(&conversation(vec![(Side::Client, bytes)], Ending::Open)));
    // A third of the connections gets its hello whole, the others are left in its middle.
    let measured = measure(&[BOUND], |flood| {
        let step = Duration::from_micros(600);
        for number in 0..1500 {
            let count = if number % 3 == 0 { whole.len() } else { whole.len() / 2 };
            flood.connection(SERVERS + number, &whole[..count], step);
        }
    });
    assert_eq!(measured.attempts(), u64::from(SERVERS) + 1500);
    measured.takes_at_most(at_rest() + BOUNDED);
}

#[test]
fn a_million_syns_stay_within_the_bounds() {
    let syn = packets(Scenario::SilentServer, 1);
    let measured = measure(&[BOUND], |flood| all_at_once(1_000_000, &syn, flood));
    assert!(measured.evicted() > 500_000, "{}", measured.report["reading"]);
    assert_eq!(measured.attempts(), u64::from(SERVERS), "none of them is an attempt");
    // The places of as many connections as may be remembered.
    let places = 262_144 * 128;
    measured.takes_at_most(at_rest() + BOUNDED + places);
}
