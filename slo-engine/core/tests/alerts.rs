//! Whole incidents on simulated time: events in, evaluations every ten seconds, transitions and notifications out.

#![expect(clippy::unwrap_used, reason = "a test ends where a step fails")]

use pqscope_slo_core::alert::{self, AlertState, Fingerprint, Phase, Transition, TransitionKind};
use pqscope_slo_core::evaluation::{Evaluation, ObjectiveState, Verdict, chart, evaluate};
use pqscope_slo_core::intake::Measured;
use pqscope_slo_core::ledger::{Ledger, Limits};
use pqscope_slo_core::measure::Aside;
use pqscope_slo_core::notification::{Notification, Status};
use pqscope_slo_core::objective::{Goal, Objective, Severity};
use pqscope_slo_core::openslo::{Catalog, SourceFile};
use pqscope_slo_core::selection::Selections;
use pqscope_slo_core::series::Series;
use pqscope_slo_core::time::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const BEGIN: u64 = 1_800_000_000;
const MINUTE: u64 = 60;
const HOUR: u64 = 3_600;

fn objective(target: &str) -> Objective {
    let text = format!(
        "apiVersion: openslo/v1
kind: SLO
metadata:
  name: checkout
  annotations: {{pqscope.dev/runbook: https://example.com/runbook, pqscope.dev/dashboard: https://example.com/board}}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{{duration: 30d, isRolling: true}}]
  indicator:
    spec:
      ratioMetric:
        good: {{metricSource: {{type: pqscope, spec: {{metric: requests, match: {{outcome: completed}}}}}}}}
        total: {{metricSource: {{type: pqscope, spec: {{metric: requests}}}}}}
  objectives: [{{target: {target}}}]
  pqscope.alerting: {{spike: off, dayShare: off}}
"
    );
    let catalog = Catalog::parse(&[SourceFile { name: "slo.yaml", text: &text }], None).unwrap();
    catalog.objectives.into_iter().next().unwrap()
}

/// An engine in miniature, and its own list of what happened.
struct World {
    objective: Objective,
    ledger: Ledger,
    selections: Selections,
    state: AlertState,
    now: u64,
    transitions: Vec<Transition>,
    /// Second, good, bad.
    truth: Vec<(u64, u64, u64)>,
}

impl World {
    fn new(target: &str) -> Self {
        Self {
            objective: objective(target),
            ledger: Ledger::new(Limits::default()),
            selections: Selections::default(),
            state: AlertState::default(),
            now: BEGIN,
            transitions: Vec::new(),
            truth: Vec::new(),
        }
    }

    fn record(&mut self, outcome: &[(&str, &str)], count: u64) {
        if count > 0 {
            let now = Timestamp::from_seconds(self.now);
            let series = Series::new("requests", outcome.iter().copied());
            self.ledger.record(&series, &[(now, Measured::Count(count))], now).unwrap();
        }
    }

    /// Ten seconds with so many good and bad events.
    fn step(&mut self, good: u64, bad: u64) -> Evaluation {
        self.now += 10;
        self.record(&[("outcome", "completed")], good);
        self.record(&[("outcome", "failed"), ("error.type", "alert.handshake_failure")], bad);
        self.truth.push((self.now, good, bad));
        self.evaluate()
    }

    fn evaluate(&mut self) -> Evaluation {
        let evaluation = evaluate(
            &self.objective,
            &self.ledger,
            &mut self.selections,
            Aside::NONE,
            Timestamp::from_seconds(self.now),
        );
        let (state, transitions) = alert::advance(&self.objective, &self.state, &evaluation);
        self.state = state;
        self.transitions.extend(transitions);
        evaluation
    }

    /// Some seconds with the same events every ten.
    fn run(&mut self, seconds: u64, good: u64, bad: u64) {
        for _ in 0..seconds / 10 {
            self.step(good, bad);
        }
    }

    /// Runs until a transition of a kind, and says how long that took.
    fn until(&mut self, kind: TransitionKind, good: u64, bad: u64) -> u64 {
        let (before, begin) = (self.transitions.len(), self.now);
        while self.now < begin + 12 * HOUR {
            self.step(good, bad);
            if self.transitions.iter().skip(before).any(|transition| transition.kind == kind) {
                return self.now - begin;
            }
        }
        panic!("no {kind:?} within twelve hours");
    }

    fn kinds(&self) -> Vec<TransitionKind> {
        self.transitions.iter().map(|transition| transition.kind).collect()
    }

    fn told(&self) -> Vec<TransitionKind> {
        self.kinds().into_iter().filter(|kind| kind.notifies()).collect()
    }

    /// Burn rate of the last `length` seconds, from the list alone.
    fn burn(&self, length: u64, allowed: f64) -> Option<f64> {
        let end = self.now - self.now % 10 + 10;
        let within = self.truth.iter().filter(|(time, ..)| (end - length..end).contains(time));
        let (good, bad) =
            within.fold((0.0, 0.0), |(good, bad), (_, g, b)| (good + *g as f64, bad + *b as f64));
        (good + bad > 0.0).then(|| bad / (good + bad) / allowed)
    }
}

use TransitionKind::{Cancelled, Eased, Escalated, Fired, Pending, Raised, Resolved, Withdrawn};

#[test]
fn a_full_outage_pages_within_minutes_and_recovers() {
    let mut world = World::new("0.999");
    world.run(2 * HOUR, 100, 0);
    assert!(world.transitions.is_empty());
    // From clean, a burn of b is detected after f * 1h / b: 14.4 * 3600 / 1000 = 52 s, one bucket, and the pending time.
    let taken = world.until(Fired, 0, 100);
    assert!((50..=80).contains(&taken), "{taken}");
    let Phase::Firing(incident) = world.state.phase else { panic!("firing") };
    assert_eq!((incident.severity, incident.worst), (Severity::Page, Severity::Page));
    // Recovered: the page is over after the short window and the clear time; what remains is a ticket.
    world.run(5 * MINUTE, 0, 100);
    let taken = world.until(Eased, 100, 0);
    assert!(taken <= 6 * HOUR, "{taken}");
    world.until(Resolved, 100, 0);
    assert_eq!(world.told(), [Fired, Eased, Resolved]);
    assert_eq!(world.transitions.last().unwrap().severity, Severity::Page, "the worst that it was");
    world.run(HOUR, 100, 0);
    assert_eq!(world.told().len(), 3, "told once");
}

#[test]
fn just_below_every_factor_nothing_happens_and_at_it_a_ticket_opens() {
    // The slowest tier is 3d/6h at 1: with 0.1 % bad it is reached exactly.
    let mut below = World::new("0.999");
    below.run(13 * HOUR, 9_991, 9);
    assert!(below.transitions.is_empty(), "{:?}", below.kinds());
    let mut exactly = World::new("0.999");
    exactly.run(13 * HOUR, 9_990, 10);
    assert_eq!(exactly.kinds(), [Pending, Fired]);
    assert_eq!(exactly.transitions[1].severity, Severity::Ticket);
}

#[test]
fn a_page_needs_both_windows() {
    let mut world = World::new("0.999");
    world.run(HOUR, 100, 0);
    world.run(10, 0, 100);
    let evaluation = world.step(100, 0);
    let hour = evaluation.tiers.iter().find(|tier| tier.tier.name() == "1h/5m").unwrap();
    // One bad bucket: the short window burns at 33 and more, the long one at 2.8.
    assert!(hour.short.burn.unwrap() > 14.4 && hour.long.burn.unwrap() < 14.4);
    assert_eq!(hour.verdict, Verdict::Clear);
}

#[test]
fn severity_rises_within_one_incident() {
    let mut world = World::new("0.999");
    world.run(8 * HOUR, 1_000, 0);
    // A burn of 4 reaches the ticket tiers only.
    world.until(Fired, 996, 4);
    let first = world.transitions.last().unwrap().incident.unwrap();
    assert_eq!(first.severity, Severity::Ticket);
    world.until(Raised, 0, 1_000);
    let raised = world.transitions.last().unwrap();
    let incident = raised.incident.unwrap();
    assert_eq!((incident.started, incident.severity), (first.started, Severity::Page));
    assert_eq!(world.told(), [Fired, Raised], "several tiers, one incident");
    let bodies: Vec<_> = world
        .transitions
        .iter()
        .filter_map(|one| Notification::new(one, &world.objective.subject()))
        .collect();
    assert_eq!(bodies[0].incident, bodies[1].incident);
    assert_ne!(bodies[0].idempotency_key, bodies[1].idempotency_key);
}

#[test]
fn a_few_failures_on_little_traffic_are_insufficient_data() {
    let mut world = World::new("0.999");
    world.run(HOUR, 0, 0);
    let evaluation = world.step(1, 2);
    assert!(evaluation.tiers.iter().all(|tier| tier.verdict == Verdict::InsufficientData));
    assert_eq!(evaluation.state, ObjectiveState::InsufficientData);
    world.run(10 * MINUTE, 0, 0);
    assert!(world.transitions.is_empty());
    world.run(30, 2, 2);
    assert!(world.kinds().contains(&Fired), "ten events, three of them bad, are enough");
}

#[test]
fn silence_is_neither_good_nor_bad() {
    let mut world = World::new("0.999");
    assert_eq!(world.evaluate().state, ObjectiveState::NoData);
    world.run(HOUR, 100, 0);
    world.until(Fired, 0, 100);
    let firing = world.state.phase;
    // Nothing comes in any more: for hours the incident stays as it is, through all windows running empty.
    for _ in 0..4 * 6 {
        world.now += 10 * MINUTE;
        world.evaluate();
    }
    assert_eq!((world.state.phase, world.told()), (firing, vec![Fired]));
    let evaluation = world.evaluate();
    assert!(evaluation.tiers[0].verdict == Verdict::NoData);
    // Good data again: now recovery is shown, not assumed.
    world.run(12 * HOUR, 100, 0);
    assert_eq!(world.told().last(), Some(&Resolved));
}

#[test]
fn a_condition_that_goes_away_at_once_never_fires() {
    let mut world = World::new("0.999");
    world.objective.alert.tiers.iter_mut().for_each(|tier| tier.pending_for = Duration::from_secs(600));
    world.run(HOUR, 100, 0);
    world.run(2 * MINUTE, 0, 100);
    assert_eq!(world.kinds(), [Pending]);
    // So much good traffic that every window clears.
    world.run(10 * MINUTE, 1_000_000, 0);
    assert_eq!(world.kinds(), [Pending, Cancelled]);
    assert_eq!(world.state.phase, Phase::Inactive);
}

#[test]
fn flapping_at_the_threshold_is_one_incident() {
    let mut world = World::new("0.999");
    world.objective.alert.tiers.truncate(1);
    world.run(2 * HOUR, 1_000, 0);
    world.until(Fired, 900, 100);
    // A burst a minute long every seven: in the last minute before the next one the short window is under the factor,
    // which is less than the clear time of two minutes.
    let mut dips = 0;
    for _ in 0..20 {
        world.run(MINUTE, 850, 150);
        for _ in 0..6 * 6 {
            let evaluation = world.step(990, 10);
            dips += u64::from(evaluation.tiers[0].verdict == Verdict::Clear);
        }
    }
    assert!(dips >= 20, "it does flap: {dips}");
    assert_eq!(world.told(), [Fired]);
    world.until(Resolved, 1_000, 0);
    assert_eq!(world.told(), [Fired, Resolved]);
}

#[test]
fn every_notice_of_an_incident_has_a_key_of_its_own() {
    let mut world = World::new("0.999");
    world.run(8 * HOUR, 1_000, 0);
    world.until(Fired, 0, 1_000);
    for _ in 0..2 {
        world.until(Eased, 1_000, 0);
        world.run(HOUR, 1_000, 0);
        world.until(Raised, 0, 1_000);
    }
    assert_eq!(world.told(), [Fired, Eased, Raised, Eased, Raised]);
    let bodies: Vec<_> = world
        .transitions
        .iter()
        .filter_map(|one| Notification::new(one, &world.objective.subject()))
        .collect();
    let keys: std::collections::BTreeSet<_> = bodies.iter().map(|body| &body.idempotency_key).collect();
    assert_eq!(keys.len(), bodies.len());
    assert!(bodies.iter().all(|body| body.incident == bodies[0].incident));
}

#[test]
fn a_second_outage_is_a_second_incident() {
    let mut world = World::new("0.999");
    world.objective.alert.tiers.truncate(1);
    world.run(HOUR, 100, 0);
    world.until(Fired, 0, 100);
    world.until(Resolved, 100, 0);
    world.run(2 * HOUR, 100, 0);
    world.until(Fired, 0, 100);
    let bodies: Vec<_> = world
        .transitions
        .iter()
        .filter_map(|one| Notification::new(one, &world.objective.subject()))
        .collect();
    assert_eq!(bodies.len(), 3);
    assert_eq!(bodies[0].fingerprint, bodies[2].fingerprint);
    assert_ne!(bodies[0].incident, bodies[2].incident);
}

#[test]
fn a_restart_in_the_middle_changes_nothing() {
    let mut world = World::new("0.999");
    let mut restarted = World::new("0.999");
    for minute in 0..240_u64 {
        let bad = if (60..90).contains(&minute) { 50 } else { 0 };
        for _ in 0..6 {
            world.step(50, bad);
            restarted.step(50, bad);
            let saved = serde_json::to_string(&restarted.state).unwrap();
            restarted.state = serde_json::from_str(&saved).unwrap();
        }
    }
    assert_eq!(world.transitions, restarted.transitions);
    assert!(world.kinds().contains(&Fired));
    for transition in &world.transitions {
        let saved = serde_json::to_string(transition).unwrap();
        assert_eq!(*transition, serde_json::from_str::<Transition>(&saved).unwrap());
    }
}

#[test]
fn a_restart_gap_freezes_what_was_firing() {
    let mut world = World::new("0.999");
    world.run(HOUR, 100, 0);
    world.until(Fired, 0, 100);
    // The engine was away for twenty minutes; its first evaluation comes before any sender has caught up.
    world.now += 20 * MINUTE;
    world.evaluate();
    assert_eq!(world.told(), [Fired]);
    world.run(MINUTE, 0, 100);
    assert_eq!(world.told(), [Fired]);
}

#[test]
fn more_good_than_all_is_flagged_and_moves_nothing() {
    let mut world = World::new("0.999");
    world.run(HOUR, 0, 10);
    let phase = world.state.phase;
    // The objective is edited so that its total misses the good events.
    let text = serde_json::to_string(&world.objective).unwrap();
    let broken = text.replace(
        r#""total":{"metric":"requests","matches":{}"#,
        r#""total":{"metric":"requests","matches":{"outcome":["failed"]}"#,
    );
    assert_ne!(text, broken);
    world.objective = serde_json::from_str(&broken).unwrap();
    world.run(10, 10_000, 1);
    let evaluation = world.evaluate();
    assert_eq!(evaluation.state, ObjectiveState::Overflowed);
    assert!(evaluation.budget.tally.good > evaluation.budget.tally.total, "shown as counted");
    assert_eq!(world.state.phase, phase);
}

#[test]
fn events_in_a_senders_overflow_series_are_a_fault_of_the_data() {
    let mut world = World::new("0.999");
    world.run(HOUR, 100, 0);
    world.record(&[("otel.metric.overflow", "true")], 5);
    assert_eq!(world.evaluate().state, ObjectiveState::Overflowed);
}

#[test]
fn the_identity_is_name_and_service_only() {
    let objective = objective("0.999");
    let mut edited = objective.clone();
    edited.title = "Another title".to_owned();
    edited.description = "Another text".to_owned();
    edited.runbook = None;
    edited.alert.tiers.reverse();
    let Goal::Share { target, .. } = &mut edited.goal else { panic!("a share") };
    *target = pqscope_slo_core::objective::Target::new(0.99).unwrap();
    assert_eq!(alert::labels(&objective), alert::labels(&edited));
    let mut other = objective.clone();
    other.service = "elsewhere".to_owned();
    assert_ne!(Fingerprint::of(&alert::labels(&objective)), Fingerprint::of(&alert::labels(&other)));
    // FNV-1a 64 of nothing is its offset basis, and the published value of the single byte `a` is af63dc4c8601ec8c;
    // here `a 0xFF 0xFF` continues from it.
    assert_eq!(Fingerprint::of(&BTreeMap::new()).to_string(), "cbf29ce484222325");
    let step = |hash: u64, byte: u64| (hash ^ byte).wrapping_mul(0x0100_0000_01b3);
    let expected = step(step(0xaf63_dc4c_8601_ec8c, 0xff), 0xff);
    let labels = BTreeMap::from([("a".to_owned(), String::new())]);
    assert_eq!(Fingerprint::of(&labels).to_string(), format!("{expected:016x}"));
}

#[test]
fn an_objective_edited_during_an_incident_ends_the_incident_that_it_began() {
    let mut world = World::new("0.999");
    world.run(HOUR, 100, 0);
    world.until(Fired, 0, 100);
    let opened = world.transitions.last().unwrap().fingerprint;
    world.objective.service = "elsewhere".to_owned();
    world.objective.alert.tiers.truncate(1);
    world.until(Resolved, 100, 0);
    assert_eq!(world.transitions.last().unwrap().fingerprint, opened);
    world.run(2 * HOUR, 100, 0);
    world.until(Fired, 0, 100);
    assert_ne!(world.transitions.last().unwrap().fingerprint, opened, "the next one is another alert");
}

#[test]
fn an_objective_that_is_removed_closes_its_incident_once() {
    let mut world = World::new("0.999");
    world.run(HOUR, 100, 0);
    world.until(Fired, 0, 100);
    let last = world.transitions.last().unwrap().clone();
    let now = Timestamp::from_seconds(world.now + 10);
    let (state, transition) = alert::withdraw(&world.state, &last, now).unwrap();
    assert_eq!((transition.kind, transition.sequence), (Withdrawn, last.sequence + 1));
    assert!(alert::withdraw(&state, &transition, now).is_none());
    let body = Notification::new(&transition, &world.objective.subject()).unwrap();
    assert_eq!(body.status, Status::Resolved);
}

#[test]
fn a_notification_says_what_the_person_on_call_needs() {
    let mut world = World::new("0.999");
    world.run(HOUR, 100, 0);
    world.until(Fired, 20, 80);
    let fired = world.transitions.last().unwrap();
    let body = Notification::new(fired, &world.objective.subject()).unwrap();
    assert_eq!(
        (body.slo.as_str(), body.service.as_str(), body.severity),
        ("checkout", "shop", Severity::Page)
    );
    assert_eq!((body.status, body.event), (Status::Firing, Fired));
    assert_eq!(body.runbook.as_deref(), Some("https://example.com/runbook"));
    assert_eq!(body.dashboard.as_deref(), Some("https://example.com/board"));
    assert_eq!(
        (body.causes[0].attribute.as_str(), body.causes[0].value.as_str()),
        ("error.type", "alert.handshake_failure")
    );
    let page = body.tiers.iter().find(|tier| tier.active && tier.severity == Severity::Page).unwrap();
    assert!(page.long_burn.unwrap() >= page.factor && page.short_burn.unwrap() >= page.factor);
    assert_eq!(body.causes[0].count as f64, page.bad);
    assert!(body.budget_remaining.unwrap() < 1.0);
    assert!(body.summary.starts_with("checkout of shop burns its error budget "), "{}", body.summary);
    assert!(body.summary.contains("alert.handshake_failure"), "{}", body.summary);
    // Made again from what was saved, it is the same, byte for byte.
    let saved: Transition = serde_json::from_str(&serde_json::to_string(fired).unwrap()).unwrap();
    let again = Notification::new(&saved, &world.objective.subject()).unwrap();
    assert_eq!(serde_json::to_string(&body).unwrap(), serde_json::to_string(&again).unwrap());
    assert!(body.idempotency_key.is_ascii() && body.idempotency_key.len() <= 255);
    assert_eq!(world.transitions[0].kind, Pending);
    assert!(Notification::new(&world.transitions[0], &world.objective.subject()).is_none());
}

#[test]
fn a_chart_adds_up_to_what_was_counted() {
    let mut world = World::new("0.999");
    world.run(3 * HOUR, 7, 1);
    let now = Timestamp::from_seconds(world.now);
    let points = chart(
        &world.objective,
        &world.ledger,
        &mut world.selections,
        Duration::from_secs(4 * HOUR),
        Duration::from_secs(300),
        now,
    );
    assert_eq!(points.len(), 48);
    assert_eq!(points.iter().map(|point| point.tally.total).sum::<f64>(), 3.0 * 360.0 * 8.0);
    assert_eq!(points.iter().map(|point| point.tally.bad).sum::<f64>(), 3.0 * 360.0);
    assert!(points.iter().all(|point| point.from.seconds().is_multiple_of(300)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Burn rates and firing against sums over the plain list of events.
    #[test]
    fn evaluation_agrees_with_an_independent_sum(
        phases in proptest::collection::vec((1_u64..60, 0_u64..300, prop_oneof![Just(0_u64), 0_u64..4, 0_u64..300]), 1..12)
    ) {
        let mut world = World::new("0.99");
        for (steps, good, bad) in phases {
            for _ in 0..steps {
                let before = matches!(world.state.phase, Phase::Firing(_));
                let evaluation = world.step(good, bad);
                for reading in evaluation.windows.iter().filter(|reading| reading.length.as_secs() <= 2 * HOUR) {
                    let expected = world.burn(reading.length.as_secs(), 0.01);
                    match (reading.burn, expected) {
                        (Some(burn), Some(expected)) => {
                            prop_assert!((burn - expected).abs() <= 1e-9 * expected.max(1.0), "{burn} {expected}");
                        }
                        (burn, expected) => prop_assert_eq!(burn, expected),
                    }
                }
                // Whatever happens, an incident opens only while some tier is active.
                let after = matches!(world.state.phase, Phase::Firing(_));
                if after && !before {
                    prop_assert!(evaluation.is_burning() || evaluation.day.is_some_and(|day| day.verdict == Verdict::Active));
                }
            }
        }
        // Transitions are numbered without a gap, and notices alternate: an incident opens before it ends.
        let numbers: Vec<u64> = world.transitions.iter().map(|transition| transition.sequence).collect();
        prop_assert_eq!(numbers, (1..=world.transitions.len() as u64).collect::<Vec<_>>());
        let mut open = false;
        for transition in &world.transitions {
            match transition.kind {
                Fired => { prop_assert!(!open); open = true; }
                Resolved => { prop_assert!(open); open = false; }
                Raised | Eased | Escalated | Withdrawn => prop_assert!(open),
                Pending | Cancelled => prop_assert!(!open),
            }
        }
    }
}
