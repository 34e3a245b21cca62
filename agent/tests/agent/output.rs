//! What is written: three formats, a reader that goes away, names made to harm a terminal, wrong usage.

use crate::captures::{SERVER_NAME, file, packets, wire};
use crate::program::{agent, read, run};
use pqscope_lab::capture::{Format, Link, Wire, encode, merge};
use pqscope_lab::scenario::Scenario;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

/// One completed hybrid handshake and one that the server refused, every flight in one packet.
fn mixed() -> Vec<u8> {
    let both = [(40_001, Scenario::Hybrid), (40_002, Scenario::NoSharedGroup)]
        .map(|(port, scenario)| packets(&Wire { segment_bytes: 9000, ..wire(port) }, scenario));
    encode(Format::Pcap, Link::Ethernet, &merge(both.into()))
}

#[test]
fn the_table_is_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let ended = read("table", [file(folder.path(), "mixed.pcap", &mixed())]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    for text in [
        "2 TLS handshake attempts",
        "1 completed, 1 failed, 0 not settled",
        "X25519MLKEM768",
        "alert_handshake_failure",
        SERVER_NAME,
    ] {
        assert!(ended.stdout.contains(text), "`{text}` is missing in\n{}", ended.stdout);
    }
}

#[test]
fn the_table_says_why_not_and_how_large() {
    let folder = tempfile::tempdir().unwrap();
    let both = [(40_001, Scenario::HelloRetryToClassical), (40_002, Scenario::Tls12)];
    let packets = merge(both.map(|(port, scenario)| packets(&wire(port), scenario)).into());
    let path = file(folder.path(), "classical.pcap", &encode(Format::Pcap, Link::Ethernet, &packets));
    let ended = read("table", [&path]);
    for text in ["NOT POST-QUANTUM BECAUSE", "retry_to_classical", "CERTIFICATES, BYTES", "seen", "inferred"]
    {
        assert!(ended.stdout.contains(text), "`{text}` is missing in\n{}", ended.stdout);
    }
    let summary: Value = serde_json::from_str(&read("json", [&path]).stdout).unwrap();
    let summary = &summary["handshakes"];
    assert_eq!(summary["not_post_quantum"]["retry_to_classical"], 1, "{summary}");
    assert_eq!(summary["fallbacks"], 0, "{summary}");
    assert!(summary["chains"].as_array().is_some_and(|rows| rows.len() == 2), "{summary}");
}

#[test]
fn jsonl_is_one_object_per_line_and_json_one_object() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "mixed.pcap", &mixed());
    let records = read("jsonl", [&path]).records();
    let outcomes: Vec<_> = records.iter().map(|record| &record["outcome"]).collect();
    assert_eq!(outcomes.len(), 2);
    assert!(outcomes.iter().any(|outcome| *outcome == "completed"));
    assert!(outcomes.iter().any(|outcome| *outcome == "failed"));
    assert!(records.iter().all(|record| record["schema"] == 1));

    let ended = read("json", [&path]);
    let summary: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(summary["schema"], 1);
    assert_eq!(summary["reading"]["files"], 1);
    assert_eq!(summary["handshakes"]["all"]["completed"], 1, "{summary}");
    assert_eq!(summary["handshakes"]["all"]["failed"], 1, "{summary}");
}

#[test]
fn the_same_capture_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "mixed.pcap", &mixed());
    for format in ["jsonl", "json", "table"] {
        assert_eq!(read(format, [&path]).stdout, read(format, [&path]).stdout, "{format}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let one = packets(&wire(40_001), Scenario::Hybrid);
    let path = file(folder.path(), "one.pcap", &encode(Format::Pcap, Link::Ethernet, &one));
    // Far more than fits into a pipe and the agent's own buffer.
    let mut command = agent();
    command.args(["read", "--format=jsonl"]).args(std::iter::repeat_n(&path, 600));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(line.starts_with('{'), "{line}");
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_told() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let Ok(full) = full else {
        println!("skipped: there is no /dev/full");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "mixed.pcap", &mixed());
    let output = agent().args(["read", "--format=table"]).arg(&path).stdout(full).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("cannot write the report") && stderr.contains("No space left"), "{stderr}");
}

/// The capture with every appearance of the server's name replaced by text of the same length.
fn renamed(bytes: &[u8], name: &[u8]) -> Vec<u8> {
    assert_eq!(name.len(), SERVER_NAME.len());
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at + name.len() <= out.len() {
        if &out[at..at + name.len()] == SERVER_NAME.as_bytes() {
            out[at..at + name.len()].copy_from_slice(name);
        }
        at += 1;
    }
    assert_ne!(out, bytes, "the name stands in the clear");
    out
}

#[test]
fn names_from_the_wire_cannot_steer_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    // Clear the screen and set the title, in the seven-bit and in the eight-bit form; a bell, a line of its own, colours.
    let hostile: [&[u8]; 4] = [
        b"\x1b[2J\x1b]0;pwned!!\x07",
        b"\xc2\x9b2J\xc2\x9d0;owned!\xc2\x9c",
        b"a\r\nb\x08\x7f\x00ple.evil1",
        b"\xff\xfe\x1b[31m\xc0\x80.exampl",
    ];
    for name in hostile {
        let path = file(folder.path(), "hostile.pcap", &renamed(&mixed(), name));
        for format in ["table", "jsonl", "json"] {
            let ended = read(format, [&path]);
            assert_eq!(ended.status, Some(0), "{ended:?}");
            // A table is made for terminals. JSON escapes what its grammar asks for (RFC 8259 section 7), and is piped.
            let harmful = |c: char| match format {
                "table" => c != '\n' && c.is_control(),
                _ => c != '\n' && c < ' ',
            };
            assert!(!ended.stdout.contains(harmful), "{format}: {:?}", ended.stdout);
            assert!(!ended.stdout.contains("a\nb"), "{format}: {:?}", ended.stdout);
        }
    }
}

#[test]
fn names_cannot_turn_the_direction_of_a_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "turned.pcap", &renamed(&mixed(), b"\xe2\x80\xaee\xe2\x81\xa6x.example"));
    let shown = read("table", [&path]).stdout;
    let turns =
        |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
    assert!(!shown.contains(turns), "{shown:?}");
}

#[test]
fn wrong_usage_names_the_argument() {
    run(["read"]).refuses(2, &["<FILE>", "Usage"]);
    run(["read", "--format", "xml", "x"]).refuses(2, &["xml", "--format", "table", "jsonl", "json"]);
    run(["read", "--handshake-timeout", "5", "x"]).refuses(2, &["--handshake-timeout", "`5`", "5s"]);
    run(["read", "--max-flows", "0", "x"]).refuses(2, &["--max-flows", "at least 1"]);
    run(["read", "--max-handshake-bytes", "lots", "x"]).refuses(2, &["`lots`", "128MiB"]);
    run(["read", "--local-net", "10.0.0.0/40", "x"]).refuses(2, &["--local-net", "10.0.0.0/40"]);
    run(["raed", "x"]).refuses(2, &["raed", "read"]);
    assert_eq!(run(["--help"]).status, Some(0));
    assert!(run(["--version"]).stdout.starts_with("pqscope-agent "));
}

#[test]
fn help_states_the_bounds() {
    let help = run(["read", "--help"]).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for text in ["--max-flows", "--max-handshake-bytes", "128MiB", "84 bytes", "Exit status"] {
        assert!(help.contains(text), "`{text}` is missing in\n{help}");
    }
}
