//! Trouble on the path and fallbacks, from a capture file to the lines of records.

use crate::captures::{SERVER_NAME, file, packets, wire};
use crate::program::{read, run};
use pqscope_lab::capture::{
    Ending, Endpoints, Format, Link, Packet, Segment, Session, Wire, copies, encode, merge,
};
use pqscope_lab::plan::Side::{self, Client};
use pqscope_lab::scenario::Scenario;
use pqscope_lab::synthesis::{
    ClientHello, ServerHello, change_cipher_spec, conversation, encrypted, key_shares, numbers,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// A wire of this port, seconds after the default start.
fn later(port: u16, seconds: u64) -> Wire {
    Wire { start: Wire::default().start + Duration::from_secs(seconds), ..wire(port) }
}

/// A hybrid hello that the server never acknowledges, and that the client sends again.
fn lost(wire: &Wire) -> Vec<Packet> {
    let hello = conversation(vec![(Client, ClientHello::tls13().record())], Ending::Open);
    let wire = Wire { segment_bytes: 1000, ..wire.clone() };
    let mut segments = wire.segments(&hello);
    segments.pop();
    let first = segments.iter().find(|segment| !segment.payload.is_empty()).unwrap().clone();
    segments.extend(
        [250, 750].map(|after| Segment { at: first.at + Duration::from_millis(after), ..first.clone() }),
    );
    wire.packets(&segments)
}

/// The same client's handshake without a post-quantum share.
fn retry(wire: &Wire) -> Vec<Packet> {
    let hello = ClientHello::tls13().with(10, numbers(2, &[0x1d])).with(51, key_shares(&[(0x1d, 32)]));
    let flights = vec![
        (Client, hello.record()),
        (Side::Server, [ServerHello::tls13(0x1d).record(), change_cipher_spec(), encrypted(900)].concat()),
        (Client, [change_cipher_spec(), encrypted(53)].concat()),
    ];
    wire.packets(&wire.segments(&conversation(flights, Ending::Closed(Client))))
}

fn write(folder: &Path, link: Link, packets: Vec<Vec<Packet>>) -> std::path::PathBuf {
    file(folder, "capture.pcap", &encode(Format::Pcap, link, &merge(packets)))
}

fn of(records: &[Value], port: u16) -> &Value {
    records.iter().find(|record| record["client"]["port"] == port).unwrap()
}

#[test]
fn a_fallback_names_the_attempt_whose_hello_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    // The retry ends four seconds before the silence has lasted for the timeout.
    let captures = vec![
        lost(&later(40_000, 0)),
        retry(&later(40_001, 1)),
        packets(&later(40_002, 30), Scenario::X25519),
    ];
    let path = write(folder.path(), Link::Ethernet, captures);
    let records = read("jsonl", [&path]).records();
    let (first, second) = (of(&records, 40_000), of(&records, 40_001));
    let expected = json!({
        "cause": "hello_blackhole", "after": "client_hello", "by": "path", "evidence": "inferred"
    });
    assert_eq!(first["failure"], expected);
    assert_eq!(first["path"]["retransmissions"], 2);
    assert_eq!(second["outcome"], "completed");
    assert_eq!(second["fallback_of"], first["id"]);
    let ends: Vec<_> = records.iter().map(|record| record["end"].as_str().unwrap().to_owned()).collect();
    assert!(ends.is_sorted(), "{ends:?}");
}

#[test]
fn the_window_for_fallbacks_is_a_setting() {
    let folder = tempfile::tempdir().unwrap();
    // The first attempt ends some five seconds after its start, the second begins three seconds later.
    let captures = vec![
        lost(&later(40_000, 0)),
        retry(&later(40_001, 8)),
        packets(&later(40_002, 30), Scenario::X25519),
    ];
    let path = write(folder.path(), Link::Ethernet, captures);
    for (window, is_retry) in [("2s", false), ("4s", true)] {
        let path = path.to_str().unwrap();
        let records = run(["read", "--format", "jsonl", "--fallback-window", window, path]).records();
        assert_eq!(of(&records, 40_001)["fallback_of"].is_string(), is_retry, "{window}");
    }
}

#[test]
fn what_the_interface_any_shows_twice_was_not_sent_twice() {
    let folder = tempfile::tempdir().unwrap();
    for endpoints in [Endpoints::v4(40_000), Endpoints::v6(40_000)] {
        let wire = Wire { endpoints, link: Link::LinuxCooked2, segment_bytes: 600, ..Wire::default() };
        let session = Session::of(Scenario::Hybrid, SERVER_NAME).unwrap();
        let twice =
            copies::forwarded(wire.link, &wire.packets(&wire.segments(&session)), Duration::from_micros(150));
        let path = write(folder.path(), wire.link, vec![twice]);
        let records = read("jsonl", [&path]).records();
        let facts = &of(&records, 40_000)["path"];
        assert_eq!((&facts["retransmissions"], &facts["out_of_order"]), (&json!(0), &json!(0)), "{facts}");
        assert!(facts["duplicates"].as_u64().unwrap() > 4, "{facts}");
        assert_eq!(facts["mss"], 600);
    }
}
