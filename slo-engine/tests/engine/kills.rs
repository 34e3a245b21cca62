//! kill -9 of what happens now and then: a backup, a restore, the way from an older layout, the hour in which the state
//! gets too large. What was there is there, whole, or it is said what to do.

use crate::otlp::{Reading, client, delta, durations, now, post};
use crate::process::{Engine, PATIENCE, command, complaint, run, write_objective};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// As many of each kind unless PQSCOPE_KILLS says otherwise.
pub(crate) fn kills(few: usize) -> usize {
    std::env::var("PQSCOPE_KILLS").map_or(few, |kills| kills.parse().unwrap())
}

fn chance(what: &str) -> fastrand::Rng {
    let chance = fastrand::Rng::with_seed(now());
    println!("{what}: seed of the kill times: {}", chance.get_seed());
    chance
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The records of an export, by key; `None` when it is not whole.
pub(crate) fn records(export: &Path) -> Option<BTreeMap<String, String>> {
    let mut all = String::new();
    GzDecoder::new(File::open(export).unwrap()).read_to_string(&mut all).ok()?;
    let lines: Vec<&str> = all.strip_suffix('\n')?.split('\n').collect();
    let (trailer, lines) = lines.split_last()?;
    let trailer: serde_json::Value = serde_json::from_str(trailer).ok()?;
    let records: BTreeMap<String, String> = lines[1..]
        .iter()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            (record["key"].as_str().unwrap().to_owned(), record.to_string())
        })
        .collect();
    (trailer["records"].as_u64()? == records.len() as u64).then_some(records)
}

/// The records of a state.
fn records_of(state: &Path) -> BTreeMap<String, String> {
    let file = state.with_extension("check.gz");
    let done = backup(state, &file);
    assert!(done.status.success(), "{}", complaint(&done));
    assert_eq!(complaint(&done), "", "nothing was found on opening");
    let found = records(&file).unwrap();
    std::fs::remove_file(file).unwrap();
    found
}

pub(crate) fn backup(state: &Path, to: &Path) -> Output {
    run(&["backup", "--state", text(state), "--to", text(to)])
}

pub(crate) fn restore(from: &Path, state: &Path) -> Output {
    run(&["restore", "--from", text(from), "--state", text(state)])
}

/// Writes an export with so many bytes of records beside those of another: time slices of objectives that are gone.
fn write_export(to: &Path, mut records: BTreeMap<String, String>, more_bytes: usize) {
    let mut chance = fastrand::Rng::with_seed(7);
    for number in 0..more_bytes / 1_000 {
        let shares: Vec<f64> = (0..50).map(|_| chance.f64()).collect();
        let key = format!("40{:032x}{:016x}", number / 400, number % 400);
        let line = serde_json::json!({"key": key, "json": {"book": vec![0; 16], "day": number % 400, "shares": shares}});
        records.insert(key, line.to_string());
    }
    let header = r#"{"pqscope_state_export":1,"layout":2,"at":1795570740000000000,"commits":7}"#;
    let mut lines = format!("{header}\n");
    for line in records.values() {
        lines.push_str(line);
        lines.push('\n');
    }
    let sum: String = Sha256::digest(&lines).iter().map(|byte| format!("{byte:02x}")).collect();
    let trailer = serde_json::json!({"records": records.len(), "sha256": sum});
    let mut out = GzEncoder::new(File::create(to).unwrap(), Compression::fast());
    writeln!(out, "{lines}{trailer}").unwrap();
    out.finish().unwrap();
}

/// The state that a fixture holds.
pub(crate) fn unpack(fixture: &str, folder: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    let done = Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder).status().unwrap();
    assert!(done.success());
    folder.join("state")
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}

fn spawn(arguments: &[&str]) -> Child {
    command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills a process after a while; says whether it was still running then.
fn kill_after(mut child: Child, time: Duration) -> bool {
    std::thread::sleep(time);
    let was_running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    was_running
}

/// A time before the end of what takes `whole`, as likely as any other.
fn some(chance: &mut fastrand::Rng, whole: Duration) -> Duration {
    whole.mul_f64(1.1 * chance.f64())
}

#[expect(clippy::disallowed_methods, reason = "kills are spread over the time that it takes")]
fn timed(run: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    run();
    begun.elapsed()
}

/// An export of a real state, with some megabytes more.
pub(crate) fn large_export(folder: &Path, more_bytes: usize) -> (PathBuf, BTreeMap<String, String>) {
    let real = records_of(&unpack("layout-2.tar.gz", &folder.join("fixture")));
    let export = folder.join("large.jsonl.gz");
    write_export(&export, real, more_bytes);
    let all = records(&export).unwrap();
    (export, all)
}

#[test]
fn a_killed_backup_harms_neither_the_state_nor_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (export, expected) = large_export(folder.path(), 1 << 20);
    let (state, file) = (folder.path().join("state"), folder.path().join("backup.jsonl.gz"));
    assert!(restore(&export, &state).status.success());
    let whole = timed(|| assert!(backup(&state, &file).status.success()));
    let mut chance = chance("backup");
    let (mut midway, mut halves) = (0, 0);
    let partial = folder.path().join("backup.jsonl.gz.partial");
    for kill in 0..kills(8) {
        let is_over_another = chance.bool();
        if !is_over_another && file.exists() {
            std::fs::remove_file(&file).unwrap();
        }
        let had_one = file.exists();
        let running = spawn(&["backup", "--state", text(&state), "--to", text(&file)]);
        midway += usize::from(kill_after(running, some(&mut chance, whole)));
        assert!(file.exists() || !had_one, "kill {kill}: the file that was there is there");
        if file.exists() {
            assert!(
                records(&file).as_ref() == Some(&expected),
                "kill {kill}: a file under its name is whole"
            );
        }
        if partial.exists() {
            let other = folder.path().join("other");
            let done = restore(&partial, &other);
            if done.status.success() {
                assert!(records_of(&other) == expected, "kill {kill}: it was whole");
                std::fs::remove_dir_all(&other).unwrap();
            } else {
                halves += 1;
                assert!(complaint(&done).contains("not a whole export"), "{}", complaint(&done));
                assert!(!other.exists(), "kill {kill}: nothing is made of half a file");
            }
        }
        // Every kill a check of the state, which is a whole backup as well.
        assert!(records_of(&state) == expected, "kill {kill}: the state is as it was");
    }
    println!("backup: {midway} kills before its end, {halves} times half a file");
    assert!(backup(&state, &file).status.success());
    assert!(!partial.exists());
}

#[test]
fn a_killed_restore_is_refused_until_it_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (export, expected) = large_export(folder.path(), 1 << 20);
    let state = folder.path().join("state");
    let slo = write_objective(folder.path(), "a");
    let whole = timed(|| assert!(restore(&export, &state).status.success()));
    std::fs::remove_dir_all(&state).unwrap();
    let mut chance = chance("restore");
    let (mut midway, mut refused, mut none, mut there) = (0, 0, 0, 0);
    for kill in 0..kills(6) {
        for _ in 0..chance.usize(1..=2) {
            let running = spawn(&["restore", "--from", text(&export), "--state", text(&state)]);
            midway += usize::from(kill_after(running, some(&mut chance, whole)));
        }
        let check = folder.path().join("check.gz");
        let opened = if chance.u8(0..4) == 0 && state.join("sled.restoring").exists() {
            run(&["serve", "--slo", text(&slo), "--state", text(&state)])
        } else {
            backup(&state, &check)
        };
        let said = complaint(&opened);
        if opened.status.success() {
            there += 1;
            assert!(records(&check).as_ref() == Some(&expected), "kill {kill}: what opens is whole");
        } else if said.contains("there is no state") {
            none += 1;
        } else {
            refused += 1;
            assert!(said.contains("did not finish; run `pqscope-slo restore` again"), "kill {kill}: {said}");
        }
        let again = restore(&export, &state);
        let is_whole_already = complaint(&again).contains("not empty");
        assert_eq!(again.status.success(), !opened.status.success(), "kill {kill}: {}", complaint(&again));
        assert_eq!(is_whole_already, opened.status.success(), "kill {kill}");
        assert!(records_of(&state) == expected, "kill {kill}");
        std::fs::remove_dir_all(&state).unwrap();
    }
    println!(
        "restore: {midway} kills before its end; then {refused} refused, {none} not begun, {there} whole"
    );
}

/// More buckets for a state of layout 1, so that writing it anew takes many commits.
pub(crate) fn enlarge(state: &Path, more: u64) {
    let sled = sled::Config::default().path(state.join("sled")).mode(sled::Mode::LowSpace).open().unwrap();
    let pairs: Vec<(Vec<u8>, Vec<u8>)> = sled
        .scan_prefix([0x13])
        .map(|pair| pair.map(|(key, value)| (key.to_vec(), value.to_vec())).unwrap())
        .collect();
    let (key, value) =
        pairs.iter().filter(|(key, _)| key[17] == 0).max_by_key(|(_, value)| value.len()).unwrap();
    let start = u64::from_be_bytes(key[18..].try_into().unwrap());
    let mut batch = sled::Batch::default();
    for earlier in 1..=more {
        let key = [&key[..18], &(start - 10 * earlier).to_be_bytes()].concat();
        batch.insert(key, value.as_slice());
    }
    sled.apply_batch(batch).unwrap();
    sled.flush().unwrap();
}

#[test]
fn a_killed_migration_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let old = unpack("layout-1.tar.gz", &folder.path().join("fixture"));
    enlarge(&old, 6_000);
    let (state, check) = (folder.path().join("state"), folder.path().join("check.gz"));
    let migrate = || {
        copy(&old, &state);
        let done = backup(&state, &check);
        assert!(
            complaint(&done).contains("from layout 1 to layout 2; nothing was lost"),
            "{}",
            complaint(&done)
        );
    };
    let whole = timed(migrate);
    let expected = records(&check).unwrap();
    assert!(expected.len() > 1_000, "{} records", expected.len());
    std::fs::remove_dir_all(&state).unwrap();
    let mut chance = chance("migration");
    let (mut midway, mut first) = (0, 0);
    for kill in 0..kills(5) {
        copy(&old, &state);
        for _ in 0..chance.usize(1..=3) {
            let running = spawn(&["backup", "--state", text(&state), "--to", text(&check)]);
            midway += usize::from(kill_after(running, some(&mut chance, whole)));
        }
        let opened = backup(&state, &check);
        let said = complaint(&opened);
        assert!(opened.status.success(), "kill {kill}: {said}");
        let begun_again = said.contains("from layout 1 to layout 2; nothing was lost");
        first += usize::from(begun_again);
        assert!(begun_again || said.is_empty(), "kill {kill}: {said}");
        assert!(records(&check).as_ref() == Some(&expected), "kill {kill}: everything is there");
        std::fs::remove_dir_all(&state).unwrap();
    }
    println!("migration: {midway} kills before its end; {first} times it was begun again");
}

/// An objective about durations: every observation is good.
const DURATIONS: &str = r#"
apiVersion: openslo/v1
kind: SLO
metadata: {name: durations}
spec:
  description: For tests.
  service: tls
  budgetingMethod: Occurrences
  timeWindow: [{duration: 30d, isRolling: true}]
  indicator:
    metadata: {name: durations}
    spec:
      thresholdMetric:
        metricSource:
          type: pqscope
          spec: {metric: pqscope.handshake.duration}
  objectives: [{op: lte, value: 20, target: 0.99}]
"#;

/// A state over its bound: the engine copies it, drops fine history step by step, and copies it again.
#[tokio::test]
async fn a_kill_while_a_large_state_is_cut_down_loses_no_event() {
    const SERVICES: usize = 40;
    const TIMES: u64 = 500;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let slo = write_objective(&path("slos"), "a");
    std::fs::write(path("slos").join("durations.yaml"), DURATIONS).unwrap();
    let slos = slo.parent().unwrap();
    let arguments = ["--slo", text(slos), "--evaluation-interval", "100ms", "--checkpoint-interval", "100ms"];
    let bounded = [&arguments[..], &["--max-state-size", "16MiB"]].concat();
    let client = client();
    let engine = Engine::start(&path("small"), &arguments);
    let send = async |engine: &Engine| {
        let pieces = delta(&[Reading::new("a", "completed", (now() - 1, now()), 1)]);
        assert_eq!(post(&client, &engine.http, &pieces).await.unwrap().partial_success, None);
    };
    let times: Vec<u64> = (0..TIMES).rev().map(|step| now() - step * 10_000_000_000).collect();
    for times in times.chunks(20) {
        let answer = post(&client, &engine.http, &durations(SERVICES, times)).await;
        assert_eq!(answer.unwrap().partial_success, None);
    }
    let observations = TIMES * SERVICES as u64 * 11;
    engine
        .wait_for("all of it", async |engine| {
            (engine.events("durations").await.1 >= observations).then_some(())
        })
        .await;
    let durations = engine.events("durations").await;
    engine.stop();
    write_export(&path("large.gz"), records_of(&path("small")), 3 << 20);
    assert!(restore(&path("large.gz"), &path("large")).status.success());
    let blocks = |state: &Path| records_of(state).keys().filter(|key| key.starts_with("16")).count();
    let fillers = |state: &Path| records_of(state).into_iter().filter(|(key, _)| key.starts_with("40"));
    let (expected, all): (Vec<_>, _) = (fillers(&path("large")).collect(), blocks(&path("large")));
    let is_copying =
        |state: &Path| state.join("sled.rewriting").exists() || state.join("sled.replaced").exists();

    let mut chance = chance("cutting down");
    let (mut midway, mut swaps, mut fewest) = (0, 0, all);
    for kill in 0..kills(1) {
        let state = path("state");
        copy(&path("large"), &state);
        for _ in 0..chance.usize(1..=2) {
            if std::fs::metadata(state.join("sled/db")).is_ok_and(|about| about.len() <= 16 << 20) {
                break;
            }
            let engine = Engine::start(&state, &bounded);
            engine.wait_for("a copy", async |_| is_copying(&state).then_some(())).await;
            tokio::time::sleep(Duration::from_millis(chance.u64(0..1_000))).await;
            midway += usize::from(is_copying(&state));
            engine.kill();
            swaps += usize::from(state.join("sled.replaced").exists());
        }
        let engine = Engine::try_start(&state, &bounded, PATIENCE)
            .unwrap_or_else(|status| panic!("did not start after kill {kill}: {status:?}"));
        assert_eq!(engine.events("durations").await, durations, "kill {kill}");
        send(&engine).await;
        engine
            .wait_for("within its bound", async |engine| {
                let (_, figures) = engine.get("/metrics").await;
                let size =
                    figures.lines().find_map(|line| line.strip_prefix("pqscope_engine_store_size_bytes "));
                (size.unwrap().parse::<f64>().unwrap() <= f64::from(16 << 20)).then_some(())
            })
            .await;
        engine.kill();
        let engine = Engine::start(&state, &arguments);
        assert_eq!(engine.events("durations").await, durations, "kill {kill}");
        assert_eq!(engine.events("a").await, (1, 1), "kill {kill}");
        engine.kill();
        assert!(!is_copying(&state), "kill {kill}: what was left is gone");
        assert!(fillers(&state).eq(expected.iter().cloned()), "kill {kill}: only fine history goes");
        fewest = fewest.min(blocks(&state));
        std::fs::remove_dir_all(&state).unwrap();
    }
    println!(
        "cutting down: {midway} kills during a copy, {swaps} while the old database was out of its place"
    );
    println!("of {all} blocks at least {fewest} were left");
    assert!(fewest < all, "history was dropped");
}
