//! One run with real parts that moves each of the eight objectives M1 to M8 as they are shipped, and holds what the
//! engine says of them against figures worked out by hand: before and after the engine is started anew.

mod events;
mod handshakes;
mod intake;

use handshakes::Handshakes;
use intake::at;
use pqscope_lab::receiver::{Receiver, Verdict};
use pqscope_tests::live::Engine;
use pqscope_tests::process::wait_for;
use pqscope_tests::{http, records};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const TEST: &str = "each_of_the_eight_objectives_says_what_was_worked_out_by_hand";
const SERVICES: &str = "
- {name: checkout, migrating: true, hosts: [checkout.example], roles: [tls-server]}
- {name: legacy, hosts: [legacy.example]}
- {name: warm-up, hosts: [warm-up.example]}
- {name: artifacts, roles: [verifier, signer]}
- {name: keys, roles: [key-owner]}
- {name: payments, roles: [hsm]}
- {name: registry, roles: [storage]}
";
pub(crate) const CHECKOUT: &str = "checkout.example";
pub(crate) const LEGACY: &str = "legacy.example";
/// Stands in no services file.
pub(crate) const FORGOTTEN: &str = "forgotten.example";

/// Events and burn rates that an objective must show.
pub(crate) struct Figures {
    pub(crate) slo: &'static str,
    pub(crate) good: f64,
    pub(crate) bad: f64,
    pub(crate) total: f64,
    pub(crate) state: &'static str,
    /// Burn rates of windows; windows that are not named are not looked at.
    pub(crate) burn_rates: Vec<(&'static str, f64)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_the_eight_objectives_says_what_was_worked_out_by_hand() {
    let folder = tempfile::tempdir().expect("a folder");
    let services = folder.path().join("services.yaml");
    std::fs::write(&services, SERVICES).expect("a services file");
    let state = folder.path().join("state");
    let receiver = Receiver::start("127.0.0.1:0".parse().expect("an address"), 0).await.expect("a receiver");
    let more = [format!("--services={}", services.display()), "--rotation-grace=0s".to_owned()];
    let engine = Engine::start_with(&state, Some(&receiver.url()), &more);

    let handshakes = handshakes::shake_hands(&engine, folder.path()).await;
    let verified = events::verify_artifacts(&engine, folder.path());
    let imported = events::import_keys(&engine, folder.path());
    events::rotate_keys(&engine);
    events::grow_stores(&engine);
    let mut figures = events::rotation_and_storage_figures();
    figures.extend(handshakes.iter().flat_map(Handshakes::figures));
    figures.extend(verified.then(events::verification_figures).into_iter().flatten());
    figures.extend(imported.then(events::import_figures).into_iter().flatten());

    // M8. Each incident that pages is told well within five minutes; one more was found by people first.
    let pages = [(handshakes.is_some(), "handshake-success"), (imported, "hsm-import-blocking")];
    let pages: BTreeSet<&str> = pages.iter().filter(|(there, _)| *there).map(|(_, slo)| *slo).collect();
    check_detections(&engine, &receiver, &pages);
    enter_missed(&engine);
    let (told, all) = (pages.len() as f64, pages.len() as f64 + 1.0);
    // (1 of 3 / 0.05 allowed) = 6.67 with both pages.
    let burn_rates = vec![("30d", 1.0 / all / 0.05)];
    figures.push(Figures {
        slo: "time-to-detect",
        good: told,
        bad: 1.0,
        total: all,
        state: "burning",
        burn_rates,
    });

    figures.iter().for_each(|figures| check_figures(&engine, figures));
    events::check_rotations(&engine);
    events::check_storage(&engine);
    handshakes.iter().for_each(|handshakes| handshakes.check(&engine));
    let before = coverage_checks(&engine);
    let ended = engine.process.interrupt();
    assert!(ended.status.success(), "the engine ended with {}: {:?}", ended.status, ended.errors);

    // M7. The first evaluation after a start looks at coverage.
    let engine = Engine::start_with(&state, Some(&receiver.url()), &more);
    check_coverage(&engine, before, handshakes.is_some(), verified, imported);
    figures.iter().for_each(|figures| check_figures(&engine, figures));
    check_notifications(&receiver, handshakes.is_some(), imported);
    let ended = engine.process.interrupt();
    assert!(ended.status.success(), "the engine ended with {}: {:?}", ended.status, ended.errors);
}

/// The objective has these figures, now or as soon as it has counted what it was told.
fn check_figures(engine: &Engine, figures: &Figures) {
    let wanted = [figures.good, figures.bad, figures.total];
    let budget = |slo: &Value| {
        ["good", "bad", "total"].map(|name| slo.pointer(&format!("/budget/{name}")).and_then(Value::as_f64))
    };
    let slo = wait_for(|| engine.slo(figures.slo).filter(|slo| budget(slo) == wanted.map(Some)));
    let slo = slo.unwrap_or_else(|| {
        let said = engine.slo(figures.slo);
        panic!("{} never has {wanted:?}: {said:#?}{}", figures.slo, engine.process.log())
    });
    assert_eq!(records::text(&slo, "state"), Some(figures.state), "{slo:#}");
    let rates = slo.get("burn_rates").and_then(Value::as_array).expect("burn rates");
    for (window, expected) in &figures.burn_rates {
        let rate = rates.iter().find(|rate| records::text(rate, "window") == Some(window));
        let burn = rate.and_then(|rate| rate.get("burn_rate")).and_then(Value::as_f64);
        let burn = burn.unwrap_or_else(|| panic!("no burn rate of {window}: {slo:#}"));
        assert!(
            (burn - expected).abs() <= 1e-6 * expected,
            "{window}: {burn} instead of {expected}: {slo:#}"
        );
    }
}

/// Each page has a detection, and what the receiver got is what was told.
fn check_detections(engine: &Engine, receiver: &Receiver, pages: &BTreeSet<&str>) {
    let detections = wait_for(|| {
        let answer = http::get_json(&engine.web, "/api/v1/detections").ok()?;
        let rows = answer.get("detections")?.as_array()?.clone();
        let paged: Vec<Value> =
            rows.into_iter().filter(|row| records::text(row, "severity") == Some("page")).collect();
        (paged.len() >= pages.len()).then_some(paged)
    });
    let detections =
        detections.unwrap_or_else(|| panic!("not all of {pages:?} are told{}", engine.process.log()));
    let told: BTreeSet<&str> = detections.iter().filter_map(|row| records::text(row, "slo")).collect();
    assert_eq!((&told, detections.len()), (pages, pages.len()), "{detections:#?}");
    for detection in &detections {
        let seconds = detection.get("seconds").and_then(Value::as_f64).expect("seconds");
        assert!(seconds < 300.0, "{detection:#}");
        assert_eq!(detection.get("missed"), Some(&json!(false)), "{detection:#}");
    }
    let delivered = notifications(receiver);
    for page in pages {
        assert_eq!(delivered.get(*page).map(String::as_str), Some("page"), "{delivered:?}");
    }
}

fn enter_missed(engine: &Engine) {
    let missed =
        json!({"began": at(-3_600), "service": "tls", "author": "kim", "description": "users called"});
    let answer = http::post_json(&engine.web, "/api/v1/incidents/missed", &missed).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// Objective and severity of everything that the receiver took; each once.
fn notifications(receiver: &Receiver) -> BTreeMap<String, String> {
    let mut taken = BTreeMap::new();
    for delivery in receiver.deliveries() {
        let body = delivery.json().expect("a JSON body");
        assert_eq!(delivery.verdict, Verdict::Accepted, "{body:#}");
        assert_eq!(records::text(&body, "event"), Some("fired"), "{body:#}");
        let text = |name: &str| records::text(&body, name).unwrap_or_default().to_owned();
        let before = taken.insert(text("slo"), text("severity"));
        assert_eq!(before, None, "{body:#}");
    }
    taken
}

/// Nothing was sent but what had to be: latency, growth and verification are tickets that are given five minutes.
fn check_notifications(receiver: &Receiver, handshakes: bool, imported: bool) {
    let expected = [
        (handshakes, "handshake-success", "page"),
        (imported, "hsm-import-blocking", "page"),
        (imported, "hsm-import", "ticket"),
        (true, "key-rotation", "ticket"),
        (handshakes, "observability-coverage", "ticket"),
    ];
    let expected = expected.iter().filter(|(there, ..)| *there);
    let expected: BTreeMap<String, String> =
        expected.map(|(_, slo, severity)| ((*slo).to_owned(), (*severity).to_owned())).collect();
    let all = wait_for(|| (notifications(receiver).len() >= expected.len()).then_some(()));
    assert_eq!(notifications(receiver), expected, "all came: {}", all.is_some());
}

/// Bad and all checks of coverage so far; none when a run takes less than a minute.
fn coverage_checks(engine: &Engine) -> (f64, f64) {
    let slo = engine.slo("observability-coverage").expect("the objective");
    let number = |name: &str| slo.pointer(&format!("/budget/{name}")).and_then(Value::as_f64);
    (number("bad").expect("a count"), number("total").expect("a count"))
}

/// One round: present are two series of checkout, one each of artifacts, keys, payments and registry; not listed is one
/// endpoint. That nothing was signed yet is not held against the signer: it has a day from the first start.
fn check_coverage(engine: &Engine, before: (f64, f64), handshakes: bool, verified: bool, imported: bool) {
    let mut expected = BTreeSet::from([
        ("keys", "pqscope.key.rotation", "present"),
        ("registry", "pqscope.storage.size", "present"),
    ]);
    if handshakes {
        expected.insert(("checkout", "pqscope.handshakes", "present"));
        expected.insert(("checkout", "pqscope.handshake.duration", "present"));
        expected.insert((FORGOTTEN, "pqscope.handshakes", "unlisted"));
    }
    if verified {
        expected.insert(("artifacts", "pqscope.verify", "present"));
    }
    if imported {
        expected.insert(("payments", "pqscope.key.import", "present"));
    }
    let answer = wait_for(|| {
        let answer = http::get_json(&engine.web, "/api/v1/coverage").ok()?;
        let there = answer.get("checks")?.as_array().is_some_and(|checks| !checks.is_empty());
        there.then_some(answer)
    });
    let answer = answer.unwrap_or_else(|| panic!("nothing is checked{}", engine.process.log()));
    let checks = answer.get("checks").and_then(Value::as_array).expect("checks");
    let text = |check, name| records::text(check, name).unwrap_or_default();
    let found: BTreeSet<_> = checks
        .iter()
        .map(|check| (text(check, "service"), text(check, "series"), text(check, "result")))
        .collect();
    assert_eq!(found, expected, "{answer:#}");
    let unlisted = f64::from(u8::from(handshakes));
    assert_eq!(answer.get("share").and_then(Value::as_f64), Some(1.0), "{answer:#}");
    let after = wait_for(|| Some(coverage_checks(engine)).filter(|after| after.1 > before.1));
    let after = after.expect("a round that counts");
    let round = expected.len() as f64;
    assert_eq!((after.0 - before.0, after.1 - before.1), (unlisted, round), "from {before:?} to {after:?}");
}
