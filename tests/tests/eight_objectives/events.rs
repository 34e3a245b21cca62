//! M3 to M6: what no agent sees and is told as events: rotations, verifications, imports and sizes.

use crate::intake::{at, attribute, export, nanoseconds, post, post_at, with};
use crate::{Figures, TEST};
use pqscope_tests::live::Engine;
use pqscope_tests::signature::{Signed, Verdict, Verifier};
use pqscope_tests::softhsm::{PIN, Token};
use pqscope_tests::{http, records};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// M4: an artifact signed and verified, then damaged, then verified with a key of another algorithm; and the many
/// verifications of the month in one event.
pub(crate) fn verify_artifacts(engine: &Engine, folder: &Path) -> bool {
    let artifact: Vec<u8> = (0..=255).cycle().take(4_096).collect();
    let Some(signed) = Signed::make(TEST, folder, &artifact) else { return false };
    let mut verdicts = Vec::new();
    for _ in 0..4 {
        verdicts.push(signed.verify(&artifact, Verifier::Right));
    }
    for place in [0, 1_000, 2_000, 4_095] {
        let mut damaged = artifact.clone();
        *damaged.get_mut(place).expect("a byte there") ^= 1;
        verdicts.push(signed.verify(&damaged, Verifier::Right));
    }
    verdicts.push(signed.verify(&artifact, Verifier::Mistaken));
    let of = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    assert_eq!((of(Verdict::Good), of(Verdict::Corrupted), of(Verdict::Unverifiable)), (4, 4, 1));

    let data =
        |result: &str| json!({"service": "artifacts", "result": result, "algorithm": signed.algorithm()});
    let mut events: Vec<Value> = verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Good => data("success"),
            Verdict::Corrupted => with(data("failure"), "reason_class", "corrupted_artifact"),
            Verdict::Unverifiable => with(data("failure"), "reason_class", "algorithm_failure"),
        })
        .collect();
    events.push(with(data("success"), "count", 1_999_991));
    post(engine, "pqscope.verify", &events);
    true
}

pub(crate) fn verification_figures() -> Vec<Figures> {
    // 4 + 4 + 1 + 1,999,991 = 2,000,000, of which 4 + 1 failed: (5 / 2,000,000) / 1e-6 = 2.5, beyond what 3d/6h allow.
    let all = Figures {
        slo: "verification-errors",
        good: 1_999_995.0,
        bad: 5.0,
        total: 2_000_000.0,
        state: "burning",
        burn_rates: vec![("5m", 2.5), ("1h", 2.5), ("1d", 2.5), ("3d", 2.5)],
    };
    // Without the 4 corrupted ones: (1 / 1,999,996) / 1e-6 = 0.500001.
    let sound = Figures {
        slo: "verification-algorithm-errors",
        good: 1_999_995.0,
        bad: 1.0,
        total: 1_999_996.0,
        state: "ok",
        burn_rates: vec![("5m", 0.500_001), ("3d", 0.500_001)],
    };
    vec![all, sound]
}

/// M5: a SoftHSM refuses a key for a wrong PIN, which keeps somebody from going on; takes it with the right one; and
/// never gets to see what is no key.
pub(crate) fn import_keys(engine: &Engine, folder: &Path) -> bool {
    let Some(token) = Token::make(TEST, folder) else { return false };
    token.make_key("key.der");
    std::fs::write(folder.join("text.der"), "this is no key").expect("a file");
    let refused = token.import("key.der", "9999").expect_err("a wrong PIN is refused");
    assert_eq!(refused, "CKR_PIN_INCORRECT");
    token.import("key.der", PIN).expect("the right PIN is taken");
    let unreadable = token.import("text.der", PIN).expect_err("a text is refused");
    let data = |result: &str| json!({"service": "payments", "hsm": "softhsm", "result": result});
    let failure =
        |reason: &str, class: &str| with(with(data("failure"), "reason", reason), "reason_class", class);
    let events = [
        with(failure(&refused, "permission"), "blocking", true),
        data("success"),
        failure(&unreadable, "unsupported_format"),
    ];
    post(engine, "pqscope.key.import", &events);
    true
}

pub(crate) fn import_figures() -> Vec<Figures> {
    // One import of three failed and blocks; of the two that do not block, one failed.
    let blocking = Figures {
        slo: "hsm-import-blocking",
        good: 2.0,
        bad: 1.0,
        total: 3.0,
        state: "burning",
        burn_rates: vec![],
    };
    let other =
        Figures { slo: "hsm-import", good: 1.0, bad: 1.0, total: 2.0, state: "burning", burn_rates: vec![] };
    vec![blocking, other]
}

/// M3: four rotations are planned. Both services of one have the new key; the service of another could not take it, and
/// it is due in two seconds; one was due a second ago without a word; one has time left.
pub(crate) fn rotate_keys(engine: &Engine) {
    let plan = |id: &str, due: i64, services: &[&str]| json!({"service": "keys", "rotation_id": id, "due_at": at(due), "services": services});
    let report = |id: &str, service: &str, result: &str| json!({"rotation_id": id, "service": service, "result": result});
    let events = [
        plan("done", 600, &["checkout", "legacy"]),
        plan("failed", 2, &["checkout"]),
        plan("missed", -1, &["legacy"]),
        plan("later", 600, &["checkout", "legacy"]),
        report("done", "checkout", "success"),
        report("done", "legacy", "success"),
        report("failed", "checkout", "failure"),
        report("later", "checkout", "success"),
    ];
    post(engine, "pqscope.key.rotation", &events);
}

/// M6: one store grows, one shrinks, and a third is told of as a gauge over OTLP.
pub(crate) fn grow_stores(engine: &Engine) {
    let size = |store: &str, bytes: u64| json!({"store": store, "bytes": bytes});
    let earlier = [size("registry", 100_000_000_000), size("archive", 50_000_000_000)];
    post_at(engine, "pqscope.storage.size", &earlier, Some(at(-1_200)));
    let now = [size("registry", 130_000_000_000), size("archive", 45_000_000_000)];
    post(engine, "pqscope.storage.size", &now);
    for (ago, bytes) in [(-1_200, 1_000_000_000_u64), (0, 6_000_000_000)] {
        let point = json!({"attributes": [attribute(("pqscope.store", "keys"))], "timeUnixNano": nanoseconds(ago),
            "asInt": bytes.to_string()});
        export(engine, json!({"name": "pqscope.storage.size", "gauge": {"dataPoints": [point]}}));
    }
}

pub(crate) fn rotation_and_storage_figures() -> Vec<Figures> {
    // M3. Three are settled, two of them badly; the fourth does not count yet.
    let rotation = Figures {
        slo: "key-rotation",
        good: 1.0,
        bad: 2.0,
        total: 3.0,
        state: "burning",
        burn_rates: vec![],
    };
    // M6. 30 GB - 5 GB + 5 GB = 30 GB of 100 GB. An even pace allows 100/30 GB a day: 30 / (100/30) = 9 for a day, and
    // 30 / (700/30) = 9/7 for seven.
    let storage = Figures {
        slo: "storage-growth",
        good: 0.0,
        bad: 30e9,
        total: 100e9,
        state: "burning",
        burn_rates: vec![("1d", 9.0), ("7d", 9.0 / 7.0)],
    };
    vec![rotation, storage]
}

pub(crate) fn check_rotations(engine: &Engine) {
    let answer = http::get_json(&engine.web, "/api/v1/rotations").expect("rotations");
    let rows = answer.get("rotations").and_then(Value::as_array).expect("rotations");
    let outcomes: BTreeMap<_, _> =
        rows.iter().map(|row| (records::text(row, "id"), records::text(row, "outcome"))).collect();
    let expected = [
        (Some("done"), Some("done")),
        (Some("failed"), Some("failed")),
        (Some("missed"), Some("overdue")),
        (Some("later"), None),
    ];
    assert_eq!(outcomes, BTreeMap::from(expected), "{answer:#}");
    // Zero tolerance: no burn rate, and the two of the last hour keep the incident open.
    let slo = engine.slo("key-rotation").expect("the objective");
    assert_eq!(slo.pointer("/breach/verdict"), Some(&json!("active")), "{slo:#}");
    assert_eq!(slo.pointer("/breach/held/tally"), Some(&json!({"good": 1, "bad": 2, "total": 3})), "{slo:#}");
    assert_eq!(slo.pointer("/breach/held/burn"), Some(&Value::Null), "{slo:#}");
}

pub(crate) fn check_storage(engine: &Engine) {
    let slo = engine.slo("storage-growth").expect("the objective");
    let number = |path: &str| slo.pointer(path).and_then(Value::as_f64).expect("a number");
    // 130 + 45 + 6 = 181 GB in all; 30 of 100 are gone.
    assert_eq!(number("/level/value"), 181e9, "{slo:#}");
    assert!((number("/budget/remaining") - 0.7).abs() < 1e-9, "{slo:#}");
    // 0.7 of 30 days at nine times the even pace: 0.7 x 2,592,000 s / 9 = 201,600 s.
    assert!((number("/budget/exhaustion_seconds") - 201_600.0).abs() <= 1.0, "{slo:#}");
}
