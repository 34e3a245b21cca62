//! Exports and backups: what is in a file comes back, and what is no whole file is said.

use crate::otlp::{Reading, client, cumulative, now, post};
use crate::process::{Engine, complaint, run, write_objective};
use crate::receiver::Receiver;
use std::time::Duration;

#[tokio::test]
async fn a_backup_is_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let slo = write_objective(folder.path(), "a");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (state, copy, file) = (path("state"), path("copy"), path("backup.jsonl.gz"));
    let arguments = [
        "--slo",
        slo.to_str().unwrap(),
        "--webhook",
        &receiver.url,
        "--evaluation-interval",
        "100ms",
        "--export-interval",
        "300ms",
        "--checkpoint-interval",
        "100ms",
    ];
    let engine = Engine::start(state.as_ref(), &arguments);
    let span = (now(), now() + 1);
    let readings = [Reading::new("a", "completed", span, 10), Reading::new("a", "failed", span, 90)];
    post(&client(), &engine.http, &cumulative(&readings)).await.unwrap();
    engine.wait_for("the page", async |_| (receiver.posts().len() == 1).then_some(())).await;
    let refused = run(&["backup", "--state", &state, "--to", &file]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("exports"), "{}", complaint(&refused));
    let exports = || std::fs::read_dir(folder.path().join("state/exports")).map_or(0, |files| files.count());
    engine.wait_for("an export", async |_| (exports() > 0).then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = engine.slo("a").await;
    assert_eq!(engine.stop().code(), Some(0));

    assert_eq!(run(&["backup", "--state", &state, "--to", &file]).status.code(), Some(0));
    let refused = run(&["restore", "--from", &file, "--state", &state]);
    assert!(complaint(&refused).contains("not empty"), "{}", complaint(&refused));
    assert_eq!(run(&["restore", "--from", &file, "--state", &copy]).status.code(), Some(0));
    let engine = Engine::start(copy.as_ref(), &arguments);
    let after = engine.slo("a").await;
    assert_eq!(after["alert"], before["alert"]);
    assert_eq!(after["budget"], before["budget"]);
    engine.kill();
    assert_eq!(receiver.posts().len(), 1, "nobody is paged twice");

    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let refused = run(&["restore", "--from", &file, "--state", &path("other")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("not a whole export"), "{}", complaint(&refused));
    assert!(!folder.path().join("other").exists());

    // Damaged beyond opening: the latest export takes its place.
    std::fs::write(folder.path().join("state/sled/conf"), b"not a configuration at all").unwrap();
    let engine = Engine::start(state.as_ref(), &arguments);
    assert_eq!(engine.events("a").await, (10, 100));
    engine.kill();
}

#[test]
fn what_is_no_folder_is_told_from_one_without_a_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("file"), "").unwrap();
    for (state, told) in [("file", "cannot read"), ("missing", "there is no state in")] {
        let refused = run(&["backup", "--state", &path(state), "--to", &path("backup.gz")]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(complaint(&refused).contains(told), "{}", complaint(&refused));
    }
}
