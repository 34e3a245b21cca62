//! A full disk: exports are refused so that their senders keep them, and all goes on once there is room.

use crate::otlp::{Reading, client, cumulative, now, post};
use crate::process::{Engine, write_objective};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system of its own; taken down when dropped.
struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// `None` where that needs more rights than we have.
    fn mount(folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=40m", "pqscope-test"])
            .arg(folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self { folder: folder.to_owned() }),
            Ok(output) => {
                println!("skipped: cannot mount a tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: cannot run mount: {error}");
                None
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.folder).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk")) else { return };
    let slo = write_objective(folder.path(), "a");
    let state = disk.folder.join("state");
    let arguments = ["--slo", slo.to_str().unwrap(), "--evaluation-interval", "100ms"];
    let client = client();
    let engine = Engine::start(&state, &arguments);
    let start = now();
    let counts = |count| cumulative(&[Reading::new("a", "completed", (start, now()), count)]);
    assert!(post(&client, &engine.http, &counts(5)).await.is_some());

    disk.fill();
    let refused = counts(7);
    assert!(post(&client, &engine.http, &refused).await.is_none(), "503 asks the sender to repeat");
    let event =
        serde_json::json!({"specversion": "1.0", "id": "1", "source": "/a", "type": "pqscope.policy.denial"});
    let tell = async |engine: &Engine| {
        let sent =
            client.post(format!("{}/api/v1/events", engine.web)).header("content-type", "application/json");
        sent.body(event.to_string()).send().await.unwrap()
    };
    let answer = tell(&engine).await;
    assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true));
    engine.wait_for("not ready", async |engine| (engine.get("/readyz").await.0 == 503).then_some(())).await;
    assert_eq!(engine.get("/healthz").await.0, 200);

    disk.free();
    assert!(post(&client, &engine.http, &refused).await.is_some());
    assert_eq!(tell(&engine).await.status().as_u16(), 200);
    engine.wait_for("ready", async |engine| (engine.get("/readyz").await.0 == 200).then_some(())).await;
    engine.kill();
    let engine = Engine::start(&state, &arguments);
    assert_eq!(engine.events("a").await, (7, 7));
    assert_eq!(
        engine.json("/api/v1/events").await["events"].as_array().unwrap().len(),
        1,
        "told twice, kept once"
    );

    // Killed and started on a full disk: it opens, and shows what it has.
    disk.fill();
    engine.kill();
    let engine = Engine::start(&state, &arguments);
    assert_eq!(engine.events("a").await, (7, 7));
    disk.free();
    engine
        .wait_for("an acknowledgement", async |engine| {
            post(&client, &engine.http, &counts(9)).await.map(|_| ())
        })
        .await;
    engine.kill();
    let engine = Engine::start(&state, &arguments);
    assert_eq!(engine.events("a").await, (9, 9));
}
