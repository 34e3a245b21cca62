//! Captures from elsewhere, when `PQSCOPE_CORPUS` names a folder with them.

use pqscope_tests::binary::{self, AGENT};
use pqscope_tests::capture_file::CaptureFile;
use pqscope_tests::verdict::{contradiction, identity};
use pqscope_tests::{agent, requirement};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

/// Captures up to this size are cut behind every packet; larger ones behind this many packets, evenly spread.
const MOST_PREFIXES: usize = 1000;
/// Files given to one run of the agent.
const FILES_AT_ONCE: usize = 200;
/// Least share of agreement per field, in percent.
const LEAST_AGREEMENT: &str = "97";

fn captures(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").filter_map(Result::ok) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if [".pcap", ".pcapng", ".cap", ".gz"].iter().any(|end| name.ends_with(end)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The lengths at which a capture of this many packets is cut.
fn cuts(packets: usize) -> Vec<usize> {
    let step = packets.div_ceil(MOST_PREFIXES).max(1);
    (0..packets).step_by(step).collect()
}

/// Reads every prefix of a capture and returns how many there were, or what is wrong.
fn check_prefixes(path: &Path) -> Result<usize, String> {
    // Files that are damaged on purpose have no packets to cut between; that they are read without a crash is checked
    // where the whole is read.
    let whole = agent::read(&[path.to_owned()]);
    let Ok(capture) = CaptureFile::read(path) else { return Ok(0) };
    let whole: BTreeMap<String, Value> =
        whole.into_iter().map(|record| (identity(&record), record)).collect();
    let cuts = cuts(capture.packets());
    for some in cuts.chunks(FILES_AT_ONCE) {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut files = Vec::new();
        for packets in some {
            let file = folder.path().join(format!("{packets:06}.pcap"));
            std::fs::write(&file, capture.prefix(*packets)).map_err(|error| error.to_string())?;
            files.push(file);
        }
        for record in agent::read(&files) {
            check_record(&record, whole.get(&identity(&record)))
                .map_err(|wrong| format!("{}: {wrong}\nprefix: {record}", path.display()))?;
        }
    }
    Ok(cuts.len())
}

fn check_record(record: &Value, whole: Option<&Value>) -> Result<(), String> {
    match whole {
        Some(whole) => match contradiction(record, whole) {
            Some(contradiction) => Err(format!("{contradiction}\nwhole:  {whole}")),
            None => Ok(()),
        },
        None if record.get("outcome").and_then(Value::as_str) == Some("incomplete") => Ok(()),
        None => Err("a verdict on an attempt that the whole capture does not have".to_owned()),
    }
}

#[test]
fn no_prefix_of_a_capture_contradicts_the_whole() {
    let Some(folder) = requirement::corpus("no_prefix_of_a_capture_contradicts_the_whole") else { return };
    let captures = captures(&folder);
    assert!(!captures.is_empty(), "no captures in {}", folder.display());
    let queue = Mutex::new(captures.into_iter());
    let results = Mutex::new((0, Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(path) = queue.lock().expect("the queue").next() else { break };
                    let checked = check_prefixes(&path);
                    let mut results = results.lock().expect("the results");
                    match checked {
                        Ok(prefixes) => results.0 += prefixes,
                        Err(wrong) => results.1.push(wrong),
                    }
                }
            });
        }
    });
    let (prefixes, wrong) = results.into_inner().expect("the results");
    assert!(wrong.is_empty(), "{} captures:\n{}", wrong.len(), wrong.join("\n"));
    println!("{prefixes} prefixes read");
}

#[test]
fn observations_agree_with_the_ground_truth() {
    let Some(folder) = requirement::corpus("observations_agree_with_the_ground_truth") else { return };
    let output = Command::new("python3")
        .arg(folder.join("compare.py"))
        .arg("--agent")
        .arg(binary::path(AGENT))
        .args(["--level", "foundation", "--min", LEAST_AGREEMENT])
        .output()
        .expect("python3");
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{report}");
    assert!(output.status.success(), "{report}\n{}", String::from_utf8_lossy(&output.stderr));
}
