//! kill -9 at any moment: what was acknowledged is there, once; every alert arrives, each repeat the same.

use crate::kills::kills;
use crate::otlp::{Reading, client, cumulative, delta, now, post};
use crate::process::{Engine, PATIENCE, write_objective};
use crate::receiver::Receiver;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// As many unless PQSCOPE_KILLS says otherwise.
const KILLS: usize = 50;
/// An objective for every few kills, so that alerts fire all along.
const KILLS_PER_ALERT: usize = 5;

/// An agent that sends counts of one service in two ways, and repeats what was not acknowledged.
struct Agent {
    address: Mutex<String>,
    phase: AtomicUsize,
    finished: AtomicBool,
    /// Events of the acknowledged deltas, and of those together with the one under way.
    acknowledged: AtomicI64,
    offered: AtomicI64,
}

impl Agent {
    /// Until told to finish; then until everything is acknowledged.
    async fn run(self: Arc<Self>) {
        let client = client();
        let start = now();
        let mut count = 0;
        loop {
            let finishing = self.finished.load(Ordering::SeqCst);
            count += 1;
            self.offered.fetch_add(3, Ordering::SeqCst);
            let pieces = delta(&[Reading::new("delta", "completed", (now() - 1, now()), 3)]);
            while self.send(&client, &pieces).await.is_none() {}
            self.acknowledged.fetch_add(3, Ordering::SeqCst);

            let span = (start, now());
            let mut readings = vec![Reading::new("cumulative", "completed", span, 2 * count)];
            for failing in 0..=self.phase.load(Ordering::SeqCst) {
                readings.push(Reading::new(&format!("service-{failing}"), "failed", span, count));
            }
            let sums = cumulative(&readings);
            while self.send(&client, &sums).await.is_none() {}
            if finishing {
                return;
            }
        }
    }

    async fn send(
        &self,
        client: &reqwest::Client,
        request: &opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest,
    ) -> Option<()> {
        let address = self.address.lock().unwrap().clone();
        let answer = post(client, &address, request).await;
        match answer {
            Some(answer) => {
                assert_eq!(answer.partial_success, None);
                Some(())
            }
            None => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                None
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_and_double_nothing() {
    let kills = kills(KILLS);
    let folder = tempfile::tempdir().unwrap();
    let (slos, state) = (folder.path().join("slos"), folder.path().join("state"));
    let alerts = kills / KILLS_PER_ALERT;
    for name in ["delta", "cumulative"] {
        write_objective(&slos, name);
    }
    for number in 0..alerts {
        write_objective(&slos, &format!("service-{number}"));
    }
    let receiver = Receiver::start().await;
    // Long enough that an engine killed when a post arrives has not been answered yet.
    receiver.delay(Duration::from_millis(200));
    let mut arguments =
        vec!["--slo", slos.to_str().unwrap(), "--webhook", &receiver.url, "--evaluation-interval", "100ms"];
    // So often that every other kill meets one under way.
    arguments.extend(["--checkpoint-interval", "100ms", "--export-interval", "250ms"]);

    let mut engine = Engine::start(&state, &arguments);
    let agent = Arc::new(Agent {
        address: Mutex::new(engine.http.clone()),
        phase: AtomicUsize::new(0),
        finished: AtomicBool::new(false),
        acknowledged: AtomicI64::new(0),
        offered: AtomicI64::new(0),
    });
    let sending = tokio::spawn(Arc::clone(&agent).run());
    let chance = fastrand::Rng::with_seed(now());
    println!("seed of the kill times: {}", chance.get_seed());
    let mut chance = chance;
    for kill in 0..kills {
        agent.phase.store(kill / KILLS_PER_ALERT, Ordering::SeqCst);
        if kill % KILLS_PER_ALERT == 1 {
            // Between the post and its answer: the next engine cannot know that it arrived.
            let told = || receiver.by_key().len() > kill / KILLS_PER_ALERT;
            engine.wait_for("a post", async |_| told().then_some(())).await;
        } else {
            tokio::time::sleep(Duration::from_millis(chance.u64(20..500))).await;
        }
        let acknowledged = agent.acknowledged.load(Ordering::SeqCst);
        engine.kill();
        let offered = agent.offered.load(Ordering::SeqCst);
        // Now and then it is killed while it opens its state.
        if kill % 4 == 0 {
            let mut opening = Engine::spawn(&state, &arguments);
            tokio::time::sleep(Duration::from_millis(chance.u64(0..80))).await;
            opening.kill().unwrap();
            opening.wait().unwrap();
        }
        engine = Engine::try_start(&state, &arguments, PATIENCE)
            .unwrap_or_else(|status| panic!("did not start after kill {kill}: {status:?}"));
        let (_, found) = engine.events("delta").await;
        let found = i64::try_from(found).unwrap();
        // The agent does not know the new address yet: what is there was there before.
        assert!(
            acknowledged <= found && found <= offered,
            "kill {kill}: {acknowledged} <= {found} <= {offered}"
        );
        *agent.address.lock().unwrap() = engine.http.clone();
    }
    agent.finished.store(true, Ordering::SeqCst);
    sending.await.unwrap();

    let expected = u64::try_from(agent.acknowledged.load(Ordering::SeqCst)).unwrap();
    engine
        .wait_for("every delta once", async |engine| {
            (engine.events("delta").await.1 == expected).then_some(())
        })
        .await;
    let sums = engine.events("cumulative").await.1;
    assert_eq!(sums, expected / 3 * 2, "the cumulative counts tell the same story");

    let fired: BTreeSet<String> = (0..alerts).map(|number| format!("service-{number}")).collect();
    engine
        .wait_for("every alert at the receiver", async |_| {
            let told = receiver.by_key().values().map(|body| slo_of(body)).collect::<BTreeSet<String>>();
            (told == fired).then_some(())
        })
        .await;
    assert_eq!(receiver.by_key().len(), alerts, "one incident each, however often it was sent");
    assert!(receiver.posts().len() > alerts, "some were sent again: {}", receiver.posts().len());
    println!("{} posts for {alerts} alerts; {expected} events", receiver.posts().len());
}

fn slo_of(body: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body["event"], "fired");
    body["slo"].as_str().unwrap().to_owned()
}
