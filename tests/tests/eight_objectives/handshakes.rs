//! M1 and M2: real handshakes on the loopback interface.

use crate::intake::{attribute, export, nanoseconds};
use crate::{CHECKOUT, FORGOTTEN, Figures, LEGACY, TEST};
use pqscope_lab::loopback::{DEFAULT_PATIENCE, Loopback};
use pqscope_lab::scenario::Scenario;
use pqscope_tests::live::{self, Agent, Destination, Engine};
use pqscope_tests::{records, requirement};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// So slow is a server that is slow: more than the pinned 0.28 s and the 20 ms beside it.
const SLOW: Duration = Duration::from_millis(400);
/// Handshakes of checkout that another agent told of, forty minutes ago, all of them good.
const EARLIER: u32 = 400;

/// What the agent wrote of the handshakes.
pub(crate) struct Handshakes {
    /// Those of warming up that were settled.
    warm_up: usize,
    records: Vec<Value>,
}

/// M1 and M2: real handshakes on the loopback interface, seen by an agent. `None` where it may not capture.
pub(crate) async fn shake_hands(engine: &Engine, folder: &Path) -> Option<Handshakes> {
    if !requirement::capture(TEST) {
        return None;
    }
    let names = [CHECKOUT, LEGACY, FORGOTTEN, live::WARM_UP].map(str::to_owned);
    let lab = Loopback::start(0, &names, DEFAULT_PATIENCE).await.expect("a lab");
    tell_of_earlier(engine);
    let destination = Destination { protocol: "http/protobuf", address: &engine.otlp_http };
    let path = folder.join("records.jsonl");
    let mut agent = Agent::start(lab.server_address().port(), path.clone(), Some(destination), None);
    agent.warm_up(&lab).await;

    let checkout = [
        (Scenario::Hybrid, 28),
        (Scenario::Resumed, 3),
        (Scenario::NoSharedGroup, 6),
        (Scenario::ClassicalServer, 4),
        (Scenario::DowngradedResumed, 3),
        (Scenario::X25519, 100),
    ];
    live::make(&lab, CHECKOUT, &checkout).await;
    let legacy = [(Scenario::Hybrid, 5), (Scenario::NoSharedGroup, 2), (Scenario::X25519, 10)];
    live::make(&lab, LEGACY, &legacy).await;
    live::make(&lab, FORGOTTEN, &[(Scenario::Hybrid, 2)]).await;
    for service in [CHECKOUT, CHECKOUT, LEGACY, LEGACY] {
        let truth = lab.attempt_slowed(Scenario::Hybrid, service, SLOW).await.expect("an attempt");
        assert!(truth.is_completed(), "{truth:?}");
    }

    let (records, ended) = agent.stop();
    assert!(ended.status.success(), "the agent ended with {}: {:?}", ended.status, ended.errors);
    assert_eq!(records.len(), 28 + 3 + 6 + 4 + 3 + 100 + 17 + 2 + 4);
    let all = records::parse(std::fs::read_to_string(path).expect("records").lines());
    let warm_up = all.iter().filter(|record| {
        let settled = matches!(records::text(record, "outcome"), Some("completed" | "failed"));
        settled && records::text(record, "server_name") == Some(live::WARM_UP)
    });
    Some(Handshakes { warm_up: warm_up.count(), records })
}

/// An hour cannot be lived through: another agent has counted it.
fn tell_of_earlier(engine: &Engine) {
    let attributes = [
        ("pqscope.service", CHECKOUT),
        ("pqscope.vantage", "server"),
        ("pqscope.offered.class", "hybrid"),
        ("pqscope.outcome", "completed"),
        ("pqscope.group.class", "hybrid"),
        ("pqscope.key_exchange", "ephemeral"),
    ];
    let point = json!({"attributes": attributes.map(attribute), "asInt": EARLIER.to_string(),
        "startTimeUnixNano": nanoseconds(-2_410), "timeUnixNano": nanoseconds(-2_400)});
    let sum = json!({"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point]});
    export(engine, json!({"name": "pqscope.handshakes", "sum": sum}));
}

impl Handshakes {
    pub(crate) fn figures(&self) -> Vec<Figures> {
        // M1. Good: 28 + 2 slow hybrid, 3 of `Resumed` (two of which resume with a hybrid exchange), 400 earlier. Bad: 6
        // failed, 4 that a classical server took, 1 full handshake in TLS 1.2 by a client that offers a hybrid. Left out:
        // its 2 resumptions; the 100 whose client offers nothing better; legacy, which is not migrating.
        let good = 30.0 + 3.0 + f64::from(EARLIER);
        // 11 of 44 in the last minutes / 0.001 = 250; 11 of 444 / 0.001 = 24.77 in windows that reach back forty minutes.
        let (now, hour) = (11.0 / 44.0 / 0.001, 11.0 / 444.0 / 0.001);
        let success = Figures {
            slo: "handshake-success",
            good,
            bad: 6.0 + 4.0 + 1.0,
            total: 444.0,
            state: "burning",
            burn_rates: vec![("5m", now), ("30m", now), ("1h", hour), ("6h", hour), ("3d", hour)],
        };
        // Adoption asks the same of everybody: 5 + 2 hybrid of legacy and 2 of the forgotten one are good too; the 2
        // resumptions, 100 + 10 classical ones, 2 failures of legacy and those of warming up are not.
        let classical = 2.0 + 100.0 + 10.0 + 2.0 + self.warm_up as f64;
        let adoption_total = 444.0 + 7.0 + 2.0 + classical;
        let adoption = Figures {
            slo: "pq-adoption",
            good: good + 7.0 + 2.0,
            bad: 11.0 + classical,
            total: adoption_total,
            state: "ok",
            burn_rates: vec![],
        };
        vec![success, adoption]
    }

    /// Durations of the completed handshakes of a service with this class of key exchange, in order.
    fn durations(&self, service: &str, class: &str) -> Vec<f64> {
        let ours = self.records.iter().filter(|record| {
            records::text(record, "server_name") == Some(service)
                && records::text(record, "key_exchange_class") == Some(class)
                && records::text(record, "outcome") == Some("completed")
        });
        let mut durations: Vec<f64> = ours
            .filter_map(|record| record.pointer("/timing/client_encrypted").and_then(Value::as_f64))
            // Intervals of zero are in no histogram.
            .filter(|duration| *duration > 0.0)
            .collect();
        durations.sort_by(f64::total_cmp);
        durations
    }

    pub(crate) fn check(&self, engine: &Engine) {
        self.check_spike(engine);
        self.check_latency(engine);
    }

    /// The failures stand out against the earlier hour: with k/n = 11/44 and K/N = 11/444,
    /// KL = 0.25 ln(0.25/0.024775) + 0.75 ln(0.75/0.975225) = 0.57791 - 0.19693 = 0.38098 and
    /// P = exp(-44 x 0.38098) = 5.3e-8, below 1e-6.
    fn check_spike(&self, engine: &Engine) {
        let slo = engine.slo("handshake-success").expect("the objective");
        let spikes = slo.get("spikes").and_then(Value::as_array).expect("spikes");
        let [spike] = spikes.as_slice() else { panic!("{slo:#}") };
        assert_eq!(spike.get("spike"), Some(&json!(true)), "{spike}");
        assert_eq!(spike.pointer("/group/labels"), Some(&json!({"pqscope.service": CHECKOUT})), "{spike}");
        assert_eq!(
            spike.pointer("/group/short"),
            Some(&json!({"good": 33, "bad": 11, "total": 44})),
            "{spike}"
        );
        assert_eq!(
            spike.pointer("/group/usual"),
            Some(&json!({"good": 400, "bad": 0, "total": 400})),
            "{spike}"
        );
        let chance = spike.get("chance").and_then(Value::as_f64).expect("a chance");
        assert!((5.2e-8..5.4e-8).contains(&chance), "{chance}");
    }

    /// M2. Every hybrid handshake against the classical ones of its service: 105 of checkout (100, 4 and 1 of the three
    /// above), so that their 95th percentile is taken; 10 and 0 of the others, so that 0.28 s is pinned.
    fn check_latency(&self, engine: &Engine) {
        let slo = engine.slo("handshake-latency").expect("the objective");
        let baselines = slo.get("baselines").and_then(Value::as_array).expect("baselines");
        assert_eq!(baselines.len(), 3, "{slo:#}");
        let (mut fewest, mut most, mut total) = (0, 0, 0);
        for (service, hybrid, classical) in [(CHECKOUT, 33, 105), (LEGACY, 7, 10), (FORGOTTEN, 2, 0)] {
            let labels = json!({"pqscope.service": service});
            let reading = baselines.iter().find(|reading| reading.get("labels") == Some(&labels));
            let reading = reading.unwrap_or_else(|| panic!("{service}: {slo:#}"));
            let number = |name: &str| reading.get(name).and_then(Value::as_f64).expect("a number");
            let (ours, usual) = (self.durations(service, "hybrid"), self.durations(service, "classical"));
            assert_eq!((ours.len(), usual.len()), (hybrid, classical), "{service}");
            assert_eq!((number("judged"), number("events")), (hybrid as f64, classical as f64), "{reading}");
            let source = if classical >= 100 { "observed" } else { "pinned" };
            assert_eq!(records::text(reading, "source"), Some(source), "{reading}");
            let value = if classical >= 100 {
                // The smallest of 105 that 95 % do not exceed: the 100th, since 0.95 x 105 = 99.75.
                let truth = usual.get(99).copied().expect("105 of them");
                let error = stated_error(&usual);
                assert!(
                    (number("value") - truth).abs() <= truth * error,
                    "{reading}: {truth} within {error}"
                );
                number("value")
            } else {
                assert_eq!(number("value"), 0.28, "{reading}");
                0.28
            };
            let bound = value + 0.020;
            let error = stated_error(&ours);
            let within = |bound: f64| ours.iter().filter(|duration| **duration <= bound).count();
            fewest += within(bound / (1.0 + error));
            most += within(bound * (1.0 + error));
            total += hybrid;
        }
        let count = |name: &str| {
            let count = slo.pointer(&format!("/budget/{name}")).and_then(Value::as_u64).expect("a count");
            usize::try_from(count).expect("few")
        };
        assert_eq!((count("total"), count("good") + count("bad")), (total, total), "{slo:#}");
        assert!((fewest..=most).contains(&count("good")), "{fewest} to {most}: {slo:#}");
        // Two of legacy took 0.4 s where 0.3 s are allowed.
        assert!(most <= 40 && count("bad") >= 2, "{slo:#}");
    }
}

/// Largest relative error at the scale that holds these in 160 buckets, as `slos/README.md` has it.
fn stated_error(sorted: &[f64]) -> f64 {
    let (least, most) = (sorted.first().expect("one"), sorted.last().expect("one"));
    let octaves = (most / least).log2();
    // A range that begins and ends within buckets touches two more.
    let scale = (0..=10).rev().find(|scale| octaves * f64::from(1 << scale) + 2.0 <= 160.0).unwrap_or(0);
    2_f64.powf(1.0 / f64::from(1 << scale)) - 1.0
}
