//! Captures of handshakes whose answer is known: what is observed must not depend on how packets arrive, and with
//! packets missing an observation may only become vaguer.

use pqscope_lab::capture::{
    self, Ending, Endpoints, Format, Link, Segment, Session, Wire, merge, transform, write, write_pcap,
};
use pqscope_lab::plan::{Group, HandshakePlan, Offer, Side, Version};
use pqscope_lab::scenario::Scenario;
use pqscope_lab::truth::Course;
use pqscope_tests::verdict::contradiction;
use pqscope_tests::{agent, records};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "checkout.example";

fn session(scenario: Scenario) -> Session {
    Session::of(scenario, NAME).expect("a session in memory")
}

fn wire(port: u16) -> Wire {
    Wire { endpoints: Endpoints::v4(port), ..Wire::default() }
}

fn write_segments(path: &Path, wire: &Wire, segments: &[Segment]) {
    write_pcap(path, wire.link, &wire.packets(segments)).expect("a capture file");
}

/// Records by the client's port.
fn by_port(records: Vec<Value>) -> BTreeMap<u64, Vec<Value>> {
    let mut out: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
    for record in records {
        out.entry(records::client_port(&record).expect("a port")).or_default().push(record);
    }
    out
}

fn group_number(name: &str) -> String {
    let group = Group::ALL.into_iter().find(|group| group.name() == name).expect("a known group");
    format!("{:#06x}", group.number())
}

#[test]
fn what_both_ends_agreed_on_is_what_is_observed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    let mut sessions = BTreeMap::new();
    for (scenario, port) in Scenario::ALL.into_iter().zip(10_000_u16..) {
        let session = session(scenario);
        let file = folder.path().join(format!("{scenario}.pcap"));
        write_segments(&file, &wire(port), &wire(port).segments(&session));
        files.push(file);
        sessions.insert(u64::from(port), (scenario, session));
    }
    let records = by_port(agent::read(&files));
    for (port, (scenario, session)) in &sessions {
        let Some([record]) = records.get(port).map(Vec::as_slice) else {
            panic!("{scenario}: {:?}", records.get(port))
        };
        check_against_session(*scenario, session, record);
    }
}

fn check_against_session(scenario: Scenario, session: &Session, record: &Value) {
    let about = format!("{scenario}: {record}");
    assert_eq!(records::text(record, "server_name"), Some(NAME), "{about}");
    let outcome = records::text(record, "outcome");
    if let Some(agreement) = &session.agreement {
        let version = if agreement.version == "1.3" { "0x0304" } else { "0x0303" };
        assert_eq!(records::text(record, "version"), Some(version), "{about}");
        let cipher = format!("{:#06x}", agreement.cipher_suite);
        assert_eq!(records::text(record, "cipher_suite"), Some(cipher.as_str()), "{about}");
        let group = agreement.group.as_deref().map(group_number);
        assert_eq!(records::text(record, "group.id"), group.as_deref(), "{about}");
        let retried = agreement.course == Course::HelloRetry;
        assert_eq!(record["hello_retry"].is_object(), retried, "{about}");
        assert_eq!(outcome, Some("completed"), "{about}");
    }
    if !scenario.is_meant_to_complete() {
        let cause = records::text(record, "failure.cause");
        match scenario {
            // Nothing follows in the file, so the capture does not settle it.
            Scenario::SilentServer => assert_eq!(outcome, Some("incomplete"), "{about}"),
            // Seen from outside the server's refusal cannot be told from its regular close.
            Scenario::RefusedClientCertificate => assert_ne!(outcome, Some("completed"), "{about}"),
            _ => {
                assert_eq!(outcome, Some("failed"), "{about}");
                assert!(cause.is_some_and(|cause| scenario.causes().contains(&cause)), "{about}");
            }
        }
    }
    if scenario == Scenario::Tls12 {
        assert_eq!(
            record.pointer("/certificates/lengths"),
            Some(&json!(session.certificate_lengths)),
            "{about}"
        );
    }
}

#[test]
fn a_long_certificate_chain_in_the_clear_is_measured() {
    let offer = Offer::of(&[Group::Secp384r1]).only(Version::Tls12);
    let plan = HandshakePlan { intermediates: 3, ..HandshakePlan::between(offer.clone(), offer) };
    let session = Session::run(&plan, NAME).expect("a session in memory");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("chain.pcap");
    write_segments(&file, &wire(40_000), &wire(40_000).segments(&session));
    let records = agent::read(&[file]);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(session.certificate_lengths.len(), 4);
    assert_eq!(records[0].pointer("/certificates/lengths"), Some(&json!(session.certificate_lengths)));
    assert_eq!(records::text(&records[0], "group.id"), Some("0x0018"));
}

#[test]
fn silence_is_a_timeout_once_the_capture_shows_that_time_went_by() {
    let folder = tempfile::tempdir().expect("a folder");
    let silent = wire(10_000).packets(&wire(10_000).segments(&session(Scenario::SilentServer)));
    let later = Wire { start: wire(0).start + Duration::from_secs(10), ..wire(10_001) };
    let other = later.packets(&later.segments(&session(Scenario::Hybrid)));
    let file = folder.path().join("silence.pcap");
    write_pcap(&file, Link::Ethernet, &merge(vec![silent, other])).expect("a capture file");
    let records = by_port(agent::read(&[file]));
    let silent = &records[&10_000][0];
    assert_eq!(records::text(silent, "outcome"), Some("failed"), "{silent}");
    assert_eq!(records::text(silent, "failure.cause"), Some("timeout"), "{silent}");
    assert_eq!(records::text(silent, "failure.after"), Some("client_hello"), "{silent}");
    assert_eq!(records::text(&records[&10_001][0], "outcome"), Some("completed"));
}

/// How the same session can reach the observer.
type Carriage = (&'static str, fn(&Session, u16, &Path));

fn disturbed(session: &Session, port: u16, path: &Path, disturb: impl Fn(&[Segment]) -> Vec<Segment>) {
    let wire = Wire { segment_bytes: 300, ..wire(port) };
    write_segments(path, &wire, &disturb(&wire.segments(session)));
}

fn linked(session: &Session, port: u16, path: &Path, change: impl Fn(&mut Wire)) {
    let mut wire = wire(port);
    change(&mut wire);
    write_segments(path, &wire, &wire.segments(session));
}

fn formatted(session: &Session, port: u16, path: &Path, format: Format) {
    let wire = wire(port);
    write(path, format, wire.link, &wire.packets(&wire.segments(session))).expect("a capture file");
}

const CARRIAGES: &[Carriage] = &[
    ("plain", |s, port, path| linked(s, port, path, |_| ())),
    ("small segments", |s, port, path| disturbed(s, port, path, <[Segment]>::to_vec)),
    ("tiny pieces", |s, port, path| disturbed(s, port, path, |s| transform::split(s, 7))),
    ("reordered", |s, port, path| disturbed(s, port, path, |s| transform::reorder(s, 11))),
    ("reversed", |s, port, path| disturbed(s, port, path, transform::reverse)),
    ("duplicated", |s, port, path| disturbed(s, port, path, transform::duplicate)),
    ("overlapping", |s, port, path| disturbed(s, port, path, |s| transform::overlap(s, 40))),
    ("all of it", |s, port, path| {
        disturbed(s, port, path, |s| {
            transform::reorder(&transform::duplicate(&transform::overlap(s, 99)), 5)
        });
    }),
    ("client wraps", |s, port, path| {
        linked(s, port, path, |wire| {
            (wire.client_first_sequence, wire.segment_bytes) = (u32::MAX - 500, 200)
        });
    }),
    ("server wraps", |s, port, path| {
        linked(s, port, path, |wire| {
            (wire.server_first_sequence, wire.segment_bytes) = (u32::MAX - 700, 200)
        });
    }),
    ("one VLAN", |s, port, path| linked(s, port, path, |wire| wire.vlans = vec![10])),
    ("two VLANs", |s, port, path| linked(s, port, path, |wire| wire.vlans = vec![20, 10])),
    ("cooked", |s, port, path| linked(s, port, path, |wire| wire.link = Link::LinuxCooked)),
    ("cooked 2", |s, port, path| linked(s, port, path, |wire| wire.link = Link::LinuxCooked2)),
    ("raw IP", |s, port, path| linked(s, port, path, |wire| wire.link = Link::RawIp)),
    ("null", |s, port, path| linked(s, port, path, |wire| wire.link = Link::Null)),
    ("loop", |s, port, path| linked(s, port, path, |wire| wire.link = Link::Loop)),
    ("IPv6", |s, port, path| linked(s, port, path, |wire| wire.endpoints = Endpoints::v6(port))),
    ("IPv6 cooked", |s, port, path| {
        linked(s, port, path, |wire| {
            (wire.endpoints, wire.link) = (Endpoints::v6(port), Link::LinuxCooked2);
        });
    }),
    ("IPv6 null", |s, port, path| {
        linked(s, port, path, |wire| (wire.endpoints, wire.link) = (Endpoints::v6(port), Link::Null));
    }),
    ("microseconds", |s, port, path| formatted(s, port, path, Format::PcapMicroseconds)),
    ("big endian", |s, port, path| formatted(s, port, path, Format::PcapBigEndian)),
    ("pcapng", |s, port, path| formatted(s, port, path, Format::PcapNg)),
    ("hello in many records", |s, port, path| {
        linked(&s.clone().with_hello_in_records_of(60), port, path, |_| ());
    }),
    ("gzip", |s, port, path| {
        let wire = wire(port);
        let bytes = capture::encode(Format::Pcap, wire.link, &wire.packets(&wire.segments(s)));
        let file = std::fs::File::create(path).expect("a capture file");
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &bytes).expect("a compressed capture");
        gzip.finish().expect("a compressed capture");
    }),
];

/// The part of an observation that may not depend on how the packets arrive.
fn essence(record: &Value) -> Value {
    let mut record = record.clone();
    if let Some(fields) = record.as_object_mut() {
        for key in
            ["id", "start", "end", "client", "server", "tunnel", "timing", "path", "capture", "interface"]
        {
            fields.remove(key);
        }
        if let Some(hello) = fields.get_mut("client_hello").and_then(Value::as_object_mut) {
            hello.remove("segments");
            hello.remove("records");
        }
    }
    record
}

#[test]
fn the_way_packets_arrive_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut files = Vec::new();
    let mut expected = Vec::new();
    let mut port = 10_000;
    for scenario in Scenario::ALL {
        let session = session(scenario);
        let plain = port;
        for (name, carry) in CARRIAGES {
            let file = folder.path().join(format!("{port}.capture"));
            carry(&session, port, &file);
            files.push(file);
            expected.push((scenario, *name, u64::from(plain), u64::from(port)));
            port += 1;
        }
    }
    let records = by_port(agent::read(&files));
    for (scenario, name, plain, port) in expected {
        let one = |port: u64| match records.get(&port).map(Vec::as_slice) {
            Some([record]) => record,
            other => panic!("{scenario}, {name}: one record expected, got {other:?}"),
        };
        assert_eq!(essence(one(port)), essence(one(plain)), "{scenario}, {name}");
    }
}

/// How captures of one session with something missing contradict the whole.
fn contradictions(files: &[PathBuf], whole: &Path, about: &str) -> Vec<String> {
    let whole = agent::read(&[whole.to_owned()]);
    let [whole] = whole.as_slice() else { panic!("{about}: one attempt expected, got {whole:?}") };
    agent::read(files)
        .iter()
        .filter_map(|part| {
            let contradiction = contradiction(part, whole)?;
            Some(format!("{about}: {contradiction}\npart:  {part}\nwhole: {whole}"))
        })
        .collect()
}

/// Writes variants of every scenario's capture, made of its segments, and holds each against the whole.
fn hold_variants_against_whole(
    about: &str,
    variants: impl Fn(&Wire, &[Segment]) -> Vec<(Wire, Vec<Segment>)>,
) {
    let mut wrong = Vec::new();
    for scenario in Scenario::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        let wire = Wire { segment_bytes: 600, ..wire(10_000) };
        let segments = wire.segments(&session(scenario));
        let whole = folder.path().join("whole.pcap");
        write_segments(&whole, &wire, &segments);
        let files: Vec<_> = variants(&wire, &segments)
            .into_iter()
            .enumerate()
            .map(|(index, (wire, segments))| {
                let file = folder.path().join(format!("{index:04}.pcap"));
                write_segments(&file, &wire, &segments);
                file
            })
            .collect();
        wrong.extend(contradictions(&files, &whole, &format!("{scenario}, {about}")));
    }
    assert!(wrong.is_empty(), "{} contradictions\n{}", wrong.len(), wrong.join("\n\n"));
}

#[test]
fn a_missing_packet_only_makes_the_answer_vaguer() {
    hold_variants_against_whole("one packet missing", |wire, segments| {
        (0..segments.len()).map(|missing| (wire.clone(), transform::without(segments, &[missing]))).collect()
    });
}

#[test]
fn two_missing_packets_only_make_the_answer_vaguer() {
    hold_variants_against_whole("two packets missing", |wire, segments| {
        let pairs = (0..segments.len()).flat_map(|first| (0..first).map(move |second| [second, first]));
        pairs.map(|missing| (wire.clone(), transform::without(segments, &missing))).collect()
    });
}

#[test]
fn no_prefix_contradicts_the_whole() {
    hold_variants_against_whole("a prefix", |wire, segments| {
        (0..segments.len()).map(|length| (wire.clone(), segments[..length].to_vec())).collect()
    });
}

#[test]
fn a_capture_that_begins_late_contradicts_nothing() {
    hold_variants_against_whole("begun late", |wire, segments| {
        (1..segments.len()).map(|from| (wire.clone(), segments[from..].to_vec())).collect()
    });
}

#[test]
fn a_snapped_capture_is_never_wrong() {
    hold_variants_against_whole("snapped", |wire, segments| {
        [0, 13, 34, 54, 60, 96, 128, 256, 400]
            .map(|bytes| (Wire { snap_length: Some(bytes), ..wire.clone() }, segments.to_vec()))
            .to_vec()
    });
}

#[test]
fn one_side_alone_contradicts_nothing() {
    hold_variants_against_whole("one side alone", |wire, segments| {
        [Side::Client, Side::Server]
            .map(|side| {
                let seen = segments.iter().filter(|segment| segment.sender == side).cloned().collect();
                (wire.clone(), seen)
            })
            .to_vec()
    });
}

#[test]
fn a_flight_cut_anywhere_is_incomplete() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = session(Scenario::Hybrid);
    // One, two or three flights, the last of them without its last byte.
    for (flights, port) in (1..=3).zip(20_000_u16..) {
        let cut = whole.clone().cut_after(flights, Ending::Open).without_last_bytes(1);
        let file = folder.path().join(format!("{flights}.pcap"));
        write_segments(&file, &wire(port), &wire(port).segments(&cut));
        let records = agent::read(&[file]);
        assert_eq!(records.len(), 1, "{records:?}");
        assert_eq!(records::text(&records[0], "outcome"), Some("incomplete"), "{flights}: {}", records[0]);
    }
}
