//! `--keylog`: what it adds, what it says of bad lines and of a file that is not there.

use crate::captures::{SERVER_NAME, file};
use crate::program::{Ended, run};
use pqscope_lab::capture::{Format, Link, Session, Wire, encode};
use pqscope_lab::scenario::Scenario;
use std::ffi::OsStr;
use std::path::Path;
#[cfg(feature = "live")]
use {
    crate::program::agent,
    pqscope_lab::plan::Side,
    std::io::{BufRead, BufReader, Read, Write},
    std::net::{TcpListener, TcpStream},
    std::process::Stdio,
};

fn session() -> Session {
    Session::of(Scenario::UnknownCa, SERVER_NAME).unwrap()
}

fn read(folder: &Path, session: &Session, keys: &Path, format: &str) -> Ended {
    let wire = Wire::default();
    let bytes = encode(Format::Pcap, Link::Ethernet, &wire.packets(&wire.segments(session)));
    let capture = file(folder, "capture.pcap", &bytes);
    let arguments = ["read", "--format", format, "--keylog"].map(OsStr::new);
    run(arguments.into_iter().chain([keys.as_os_str(), capture.as_os_str()]))
}

#[test]
fn it_names_what_was_encrypted() {
    let (folder, session) = (tempfile::tempdir().unwrap(), session());
    // The last line may lack its end.
    let keys = file(folder.path(), "keys", session.key_log.trim_end().as_bytes());
    let ended = read(folder.path(), &session, &keys, "jsonl");
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    let record = &ended.records()[0];
    assert_eq!(record["failure"]["cause"], "alert_unknown_ca");
    assert_eq!(record["outcome_evidence"], "decrypted");
    assert_eq!(record["alerts"].as_array().unwrap().len(), 0);
    assert_eq!(record["decrypted"]["alerts"][0]["name"], "unknown_ca");
    assert_eq!(record["certificates"]["lengths"][0], session.certificate_lengths[0]);
    assert_eq!(record["certificate_verify"]["family"], "ecdsa_p256");
}

#[test]
fn a_bad_line_is_told_once_with_its_place_and_passed_by() {
    let (folder, session) = (tempfile::tempdir().unwrap(), session());
    let text = format!("# a comment\n\nno such line\n{}and no such\n", session.key_log);
    let keys = file(folder.path(), "keys", text.as_bytes());
    let ended = read(folder.path(), &session, &keys, "jsonl");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let place = format!("key log {}:3: ", keys.display());
    assert!(ended.stderr.contains(&place), "{}", ended.stderr);
    assert!(ended.stderr.contains("further bad lines are only counted"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert_eq!(ended.records()[0]["outcome_evidence"], "decrypted");
}

#[test]
fn secrets_that_do_not_fit_are_told() {
    let (folder, session) = (tempfile::tempdir().unwrap(), session());
    let text: String =
        session.key_log.lines().map(|line| line[..line.len() - 2].to_owned() + "00\n").collect();
    let keys = file(folder.path(), "keys", text.as_bytes());
    let ended = read(folder.path(), &session, &keys, "jsonl");
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("its secrets did not open 2 directions"), "{}", ended.stderr);
    assert_eq!(ended.records()[0]["decrypted"], serde_json::Value::Null);
}

#[cfg(feature = "live")]
#[test]
fn a_log_may_be_written_while_the_agent_runs() {
    if !crate::refusals::may_capture() {
        return;
    }
    let (folder, session) = (tempfile::tempdir().unwrap(), session());
    let (keys, records) = (folder.path().join("keys"), folder.path().join("records.jsonl"));
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let mut command = agent();
    command.args([
        "run",
        "--interface=lo",
        "--duration=3s",
        "--filter",
        &format!("tcp port {}", address.port()),
    ]);
    command.arg("--keylog").arg(&keys).arg("--records").arg(&records);
    command.env("OTEL_METRICS_EXPORTER", "none").stdout(Stdio::piped());
    let mut agent = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("capturing: "), "{line}");

    let mut client = TcpStream::connect(address).unwrap();
    let mut server = server.accept().unwrap().0;
    for flight in &session.flights {
        let (from, to) = match flight.sender {
            Side::Client => (&mut client, &mut server),
            Side::Server => (&mut server, &mut client),
        };
        from.write_all(&flight.bytes).unwrap();
        to.read_exact(&mut vec![0; flight.bytes.len()]).unwrap();
    }
    drop((client, server));
    // The secrets come after the records.
    std::fs::write(&keys, &session.key_log).unwrap();
    assert!(agent.wait().unwrap().success());
    let text = std::fs::read_to_string(&records).unwrap();
    let record: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(record["failure"]["cause"], "alert_unknown_ca", "{record}");
    assert_eq!(record["certificates"]["lengths"][0], session.certificate_lengths[0], "{record}");
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let (folder, session) = (tempfile::tempdir().unwrap(), session());
    let keys = folder.path().join("nowhere");
    let ended = read(folder.path(), &session, &keys, "jsonl");
    ended.refuses(1, &["cannot read the key log", &keys.display().to_string(), "No such file"]);
    assert_eq!(ended.stdout, "");
}

#[test]
fn secrets_are_never_printed() {
    let (folder, session) = (tempfile::tempdir().unwrap(), session());
    // Bad lines hold secrets too.
    let keys = file(folder.path(), "keys", session.key_log.replace('_', "-").as_bytes());
    let good = file(folder.path(), "good", session.key_log.as_bytes());
    for keys in [keys, good] {
        for format in ["jsonl", "json", "table"] {
            let ended = read(folder.path(), &session, &keys, format);
            assert_eq!(ended.status, Some(0), "{ended:?}");
            for line in session.key_log.lines() {
                let secret = line.rsplit(' ').next().unwrap();
                assert!(secret.len() >= 64);
                assert!(!ended.stdout.contains(secret) && !ended.stderr.contains(secret), "{ended:?}");
            }
        }
    }
}
