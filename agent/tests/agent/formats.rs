//! The same handshake in every kind of file gives the same record.

use crate::captures::{PcapNg, SERVER_NAME, file, hybrid, packets, wire};
use crate::program::{Ended, read, run, run_with_input};
use flate2::Compression;
use flate2::write::GzEncoder;
use pqscope_lab::capture::{Endpoints, Format, Link, Wire, encode};
use pqscope_lab::scenario::Scenario;
use serde_json::Value;
use std::io::Write;

/// The only record of a run that went well.
#[track_caller]
fn only(ended: &Ended) -> Value {
    assert_eq!(ended.status, Some(0), "{ended:#?}");
    let records = ended.records();
    assert_eq!(records.len(), 1, "{ended:#?}");
    records[0].clone()
}

/// The only record, checked to be the hybrid handshake that the lab made.
#[track_caller]
fn hybrid_record(ended: &Ended) -> Value {
    let record = only(ended);
    assert_eq!(record["group"]["name"], "X25519MLKEM768", "{record}");
    assert_eq!(record["outcome"], "completed", "{record}");
    assert_eq!(record["server_name"], SERVER_NAME, "{record}");
    record
}

#[test]
fn every_file_format_gives_the_same_record() {
    let folder = tempfile::tempdir().unwrap();
    let packets = packets(&Wire::default(), Scenario::Hybrid);
    let records = Format::ALL.map(|format| {
        let path = file(folder.path(), "capture", &encode(format, Link::Ethernet, &packets));
        hybrid_record(&read("jsonl", [&path]))
    });
    let [nanoseconds, microseconds, big_endian, pcapng] = records;
    assert_eq!(nanoseconds, big_endian);
    assert_eq!(nanoseconds, pcapng);
    // The lab's times are whole microseconds, so that nothing is lost in the coarser format either.
    assert_eq!(nanoseconds, microseconds);
    assert_eq!(nanoseconds["timing"]["tcp_rtt"], 0.020_012, "{nanoseconds}");
}

#[test]
fn nanoseconds_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut packets = packets(&Wire::default(), Scenario::Hybrid);
    for packet in &mut packets {
        packet.at += std::time::Duration::from_nanos(321);
    }
    let path = file(folder.path(), "fine.pcap", &encode(Format::Pcap, Link::Ethernet, &packets));
    let start = hybrid_record(&read("jsonl", [&path]))["start"].as_str().unwrap().to_owned();
    assert!(start.ends_with("321Z"), "{start}");
}

#[test]
fn every_link_layer_gives_the_same_handshake() {
    let folder = tempfile::tempdir().unwrap();
    for endpoints in [Endpoints::v4(40_000), Endpoints::v6(40_000)] {
        for link in Link::ALL {
            let wire = Wire { link, endpoints, ..Wire::default() };
            let path = folder.path().join("link.pcap");
            pqscope_lab::capture::write_pcap(&path, link, &packets(&wire, Scenario::Hybrid)).unwrap();
            hybrid_record(&read("jsonl", [&path]));
        }
    }
}

#[test]
fn standard_input_and_compression_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let plain = hybrid();
    let expected = hybrid_record(&read("jsonl", [file(folder.path(), "plain.pcap", &plain)]));
    assert_eq!(hybrid_record(&run_with_input(&["read", "--format=jsonl", "-"], &plain)), expected);
    // Two members, as `cat a.gz b.gz` makes them.
    let (head, tail) = plain.split_at(plain.len() / 2);
    let packed: Vec<u8> = [head, tail]
        .into_iter()
        .flat_map(|part| {
            let mut member = GzEncoder::new(Vec::new(), Compression::fast());
            member.write_all(part).unwrap();
            member.finish().unwrap()
        })
        .collect();
    assert_eq!(hybrid_record(&read("jsonl", [file(folder.path(), "packed.pcap.gz", &packed)])), expected);
    assert_eq!(hybrid_record(&run_with_input(&["read", "-"], &packed)), expected, "jsonl is the default");
}

#[test]
fn interfaces_of_a_pcapng_keep_their_names_and_clocks() {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = PcapNg::new();
    let ethernet = packets(&wire(40_001), Scenario::Hybrid);
    let raw_wire = Wire { link: Link::RawIp, ..wire(40_002) };
    let raw = packets(&raw_wire, Scenario::Hybrid);
    // Milliseconds, and nanoseconds; in between a kind that cannot be decoded.
    capture.interface(1, "eth0", 3);
    capture.interface(147, "odd0", 6);
    capture.interface(101, "tun0", 9);
    for packet in &ethernet {
        capture.packet(0, u64::try_from(packet.at.as_millis()).unwrap(), packet);
        capture.packet(1, u64::try_from(packet.at.as_micros()).unwrap(), packet);
    }
    for packet in &raw {
        capture.packet(2, u64::try_from(packet.at.as_nanos()).unwrap(), packet);
    }
    let ended = read("jsonl", [file(folder.path(), "several.pcapng", &capture.0)]);
    ended.refuses(3, &["several.pcapng", &format!("{} packets", ethernet.len()), "link type 147"]);
    let records = ended.records();
    let seen: Vec<_> = records.iter().map(|record| record["interface"].as_str().unwrap()).collect();
    assert_eq!(seen, ["eth0", "tun0"]);
    for record in &records {
        let round_trip = record["timing"]["tcp_rtt"].as_f64().unwrap();
        assert!((round_trip - 0.020).abs() <= 0.0011, "{record}");
        assert!(record["start"].as_str().unwrap().starts_with("2026-01-01T00:00:00."), "{record}");
    }
}

#[test]
fn times_in_powers_of_two_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = PcapNg::new();
    capture.interface(1, "eth0", 0x80 | 20);
    for packet in packets(&Wire::default(), Scenario::Hybrid) {
        let units = packet.at.as_nanos() * (1 << 20) / 1_000_000_000;
        capture.packet(0, u64::try_from(units).unwrap(), &packet);
    }
    let record = hybrid_record(&read("jsonl", [file(folder.path(), "binary.pcapng", &capture.0)]));
    assert!(record["start"].as_str().unwrap().starts_with("2026-01-01T00:00:00."), "{record}");
    let round_trip = record["timing"]["tcp_rtt"].as_f64().unwrap();
    assert!((round_trip - 0.020).abs() <= 0.0011, "{record}");
}

#[test]
fn a_second_section_has_interfaces_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut capture = PcapNg::new();
    for (name, port) in [("first0", 40_001), ("second0", 40_002)] {
        if name != "first0" {
            capture.section();
        }
        capture.interface(1, name, 9);
        for packet in packets(&wire(port), Scenario::X25519) {
            capture.packet(0, u64::try_from(packet.at.as_nanos()).unwrap(), &packet);
        }
    }
    let ended = read("jsonl", [file(folder.path(), "sections.pcapng", &capture.0)]);
    let names: Vec<_> = ended.records().iter().map(|record| record["interface"].clone()).collect();
    assert_eq!(names, ["first0", "second0"], "{ended:?}");
}

#[test]
fn packets_cut_by_the_snapshot_length_make_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let wire = Wire { snap_length: Some(96), ..Wire::default() };
    let path = file(
        folder.path(),
        "snap.pcap",
        &encode(Format::Pcap, Link::Ethernet, &packets(&wire, Scenario::Hybrid)),
    );
    let record = only(&read("jsonl", [&path]));
    assert_eq!(record["outcome"], "incomplete", "{record}");
    assert_eq!(record["incomplete_reason"], "truncated", "{record}");
    assert_eq!(record["capture"]["truncated"], true, "{record}");
}

#[test]
fn files_are_captures_of_their_own_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let packets = packets(&Wire::default(), Scenario::Hybrid);
    let (before, after) = packets.split_at(5);
    let first = file(folder.path(), "rotated.pcap0", &encode(Format::Pcap, Link::Ethernet, before));
    let second = file(folder.path(), "rotated.pcap1", &encode(Format::Pcap, Link::Ethernet, after));
    let apart = read("jsonl", [&first, &second]).records();
    assert!(apart.iter().all(|record| record["outcome"] == "incomplete"), "{apart:?}");
    let path = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let together = ["read", "--continuous", "--format=jsonl"].map(str::to_owned);
    hybrid_record(&run(together.into_iter().chain([path(&first), path(&second)])));
}

#[cfg(feature = "live")]
#[test]
fn a_filter_chooses_packets() {
    let folder = tempfile::tempdir().unwrap();
    let both = [(40_001, Scenario::Hybrid), (40_002, Scenario::X25519)]
        .map(|(port, scenario)| packets(&wire(port), scenario));
    let capture = encode(Format::Pcap, Link::Ethernet, &pqscope_lab::capture::merge(both.into()));
    let path = file(folder.path(), "two.pcap", &capture);
    let filtered = |filter: &str| run(["read", "--format=jsonl", "--filter", filter, path.to_str().unwrap()]);
    assert_eq!(only(&filtered("tcp port 40002"))["client"]["port"], 40_002);
    assert_eq!(filtered("udp").records().len(), 0);
    filtered("tcp prot 443").refuses(1, &["`tcp prot 443`", "syntax error", "man pcap-filter"]);
}
