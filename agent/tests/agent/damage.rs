//! Files that are cut, damaged, empty, missing or something else. What they hold is reported, the rest is named.

use crate::captures::{self, file, hybrid, packets};
use crate::program::{read, run_with_input};
use pqscope_lab::capture::{Format, Link, Wire, encode};
use pqscope_lab::scenario::Scenario;
use std::path::Path;

#[test]
fn a_cut_capture_reports_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    for format in Format::ALL {
        let mut packets = packets(&Wire::default(), Scenario::Hybrid);
        // The last packet belongs to the close; the handshake stands before it.
        let last = packets.pop().unwrap();
        let before = encode(format, Link::Ethernet, &packets);
        packets.push(last);
        let whole = encode(format, Link::Ethernet, &packets);
        let path = file(folder.path(), "cut.pcap", &whole[..whole.len() - 3]);
        let ended = read("jsonl", [&path]);
        let place = format!("byte {};", before.len());
        let kept = format!("{} packets", packets.len() - 1);
        ended.refuses(3, &["cut.pcap", "cut off within a packet", &place, &kept]);
        assert_eq!(ended.records()[0]["outcome"], "completed", "{format:?}");
    }
}

#[test]
fn every_place_of_a_cut_is_survived() {
    let whole = hybrid();
    let mut statuses = std::collections::BTreeSet::new();
    for length in (0..whole.len()).step_by(61) {
        let ended = run_with_input(&["read", "--format=jsonl", "-"], &whole[..length]);
        assert!(matches!(ended.status, Some(0 | 1 | 3)), "{length}: {ended:?}");
        assert!(ended.status == Some(0) || ended.stderr.contains("standard input"), "{length}: {ended:?}");
        for record in ended.records() {
            assert_ne!(record["outcome"], "failed", "{length}: a cut capture is no failed handshake");
        }
        statuses.insert(ended.status);
    }
    assert!(statuses.contains(&Some(1)) && statuses.contains(&Some(3)), "{statuses:?}");
}

#[test]
fn a_packet_with_an_impossible_length_ends_the_reading() {
    let folder = tempfile::tempdir().unwrap();
    let packets = packets(&Wire::default(), Scenario::Hybrid);
    let sound = encode(Format::Pcap, Link::Ethernet, &packets);
    let mut bytes = sound.clone();
    for field in [1_u32, 0, 0xffff_fff0, 0xffff_fff0] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.extend_from_slice(&[0; 64]);
    let path = file(folder.path(), "damaged.pcap", &bytes);
    let ended = read("jsonl", [&path]);
    ended.refuses(3, &["damaged.pcap", &format!("byte {}", sound.len())]);
    assert_eq!(ended.records().len(), 1);
}

#[test]
fn what_is_no_capture_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let text = file(folder.path(), "notes.txt", b"this is no capture, however long it may be");
    read("table", [&text]).refuses(1, &["notes.txt", "not a capture file", "tcpdump -w"]);
    let empty = file(folder.path(), "empty.pcap", b"");
    read("table", [&empty]).refuses(1, &["empty.pcap", "the file is empty"]);
    let stub = file(folder.path(), "stub.pcap", &hybrid()[..4]);
    read("table", [&stub]).refuses(1, &["stub.pcap"]);
    read("table", [folder.path()]).refuses(1, &[&folder.path().display().to_string(), "directory"]);
    let missing = folder.path().join("missing.pcap");
    read("table", [&missing]).refuses(1, &["missing.pcap", "cannot open", "No such file"]);
    run_with_input(&["read", "-"], b"").refuses(1, &["standard input", "empty"]);
}

#[test]
fn a_file_without_packets_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "quiet.pcap", &encode(Format::Pcap, Link::Ethernet, &[]));
    let ended = read("table", [&path]);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("No TLS handshake"), "{}", ended.stdout);
}

#[test]
fn an_unreadable_file_says_why() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "secret.pcap", &hybrid());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        println!("skipped: this user may read every file");
        return;
    }
    read("table", [&path]).refuses(1, &["secret.pcap", "cannot open", "Permission denied"]);
}

#[test]
fn a_read_that_fails_is_told_as_such() {
    // Opening the memory of a process works, reading at its start does not.
    let path = Path::new("/proc/self/mem");
    if !path.exists() {
        println!("skipped: there is no {}", path.display());
        return;
    }
    read("table", [path]).refuses(1, &["/proc/self/mem", "cannot read", "Input/output error"]);
}

#[test]
fn an_unknown_link_type_is_told_with_the_known_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = hybrid();
    bytes[20..24].copy_from_slice(&147_u32.to_le_bytes());
    let path = file(folder.path(), "odd.pcap", &bytes);
    read("table", [&path]).refuses(1, &["odd.pcap", "link type 147", "Ethernet (1)", "LINUX_SLL2 (276)"]);
}

#[test]
fn one_bad_file_does_not_spoil_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(folder.path(), "good.pcap", &hybrid());
    let bad = file(folder.path(), "bad.pcap", b"nothing of the kind");
    let ended = read("jsonl", [&bad, &good]);
    ended.refuses(3, &["bad.pcap", "not a capture file"]);
    assert!(!ended.stderr.contains("good.pcap"), "{}", ended.stderr);
    assert_eq!(ended.records().len(), 1);
    let neither = read("jsonl", [&bad, &folder.path().join("missing.pcap")]);
    neither.refuses(1, &["bad.pcap", "missing.pcap"]);
    assert_eq!(neither.stdout, "");
}

#[test]
fn damaged_compression_keeps_what_came_before() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&hybrid()).unwrap();
    let packed = packed.finish().unwrap();
    let path = file(folder.path(), "cut.pcap.gz", &packed[..packed.len() - 200]);
    let ended = read("jsonl", [&path]);
    ended.refuses(3, &["cut.pcap.gz"]);
    assert!(!ended.records().is_empty());
    let wrong = file(folder.path(), "wrong.gz", &[0x1f, 0x8b, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
    read("jsonl", [&wrong]).refuses(1, &["wrong.gz", "cannot read"]);
}

#[test]
fn packets_of_an_undescribed_interface_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = captures::PcapNg::new();
    for packet in packets(&Wire::default(), Scenario::Hybrid) {
        file.packet(7, 1, &packet);
    }
    let path = captures::file(folder.path(), "undescribed.pcapng", &file.0);
    read("jsonl", [&path]).refuses(1, &["undescribed.pcapng", "interface 7"]);
}
