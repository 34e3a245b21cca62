//! Every scenario, made for real on the loopback interface, ends as its name says.

use pqscope_lab::loopback::Loopback;
use pqscope_lab::plan::Side;
use pqscope_lab::scenario::Scenario;
use pqscope_lab::traffic::{Load, Tally, make};
use pqscope_lab::truth::{Course, Truth};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const NAME: &str = "checkout.example";

async fn lab() -> Loopback {
    Loopback::start(0, &[NAME.to_owned()], Duration::from_millis(1500)).await.expect("a lab")
}

async fn attempt(lab: &Loopback, scenario: Scenario) -> Truth {
    lab.attempt(scenario, NAME).await.expect("an attempt")
}

#[tokio::test]
async fn every_scenario_ends_as_it_is_meant_to() {
    let lab = lab().await;
    for scenario in Scenario::ALL {
        let truth = attempt(&lab, scenario).await;
        assert_eq!(truth.is_completed(), scenario.is_meant_to_complete(), "{truth:?}");
        assert_eq!(truth.server, lab.server_address());
        let causes = scenario.causes();
        if let Some(alert) = causes.first().and_then(|cause| cause.strip_prefix("alert_")) {
            assert_eq!(truth.alert().map(|(_, name)| name), Some(alert), "{truth:?}");
        }
    }
}

#[tokio::test]
async fn groups_and_courses_are_the_asked_ones() {
    let lab = lab().await;
    for (scenario, group, course) in [
        (Scenario::Hybrid, "X25519MLKEM768", Course::Full),
        (Scenario::X25519, "x25519", Course::Full),
        (Scenario::P256, "secp256r1", Course::Full),
        (Scenario::ClassicalServer, "x25519", Course::Full),
        (Scenario::HelloRetryToHybrid, "X25519MLKEM768", Course::HelloRetry),
        (Scenario::HelloRetryToClassical, "secp256r1", Course::HelloRetry),
        (Scenario::Tls12, "x25519", Course::Full),
    ] {
        let truth = attempt(&lab, scenario).await;
        assert_eq!(truth.group(), Some(group), "{scenario}");
        assert_eq!(
            truth.client_end.agreement().map(|agreement| agreement.course),
            Some(course),
            "{scenario}"
        );
    }
}

#[tokio::test]
async fn the_second_attempt_resumes() {
    let lab = lab().await;
    for scenario in [Scenario::Resumed, Scenario::Tls12Resumed, Scenario::DowngradedResumed] {
        let mut courses = Vec::new();
        for _ in 0..2 {
            let truth = attempt(&lab, scenario).await;
            courses.extend(truth.client_end.agreement().map(|agreement| agreement.course));
        }
        assert_eq!(courses, [Course::Full, Course::Resumed], "{scenario}");
    }
}

#[tokio::test]
async fn both_ends_name_the_sender_of_an_alert() {
    let lab = lab().await;
    let by_server = attempt(&lab, Scenario::NoSharedGroup).await;
    assert_eq!(by_server.alert(), Some((Side::Server, "handshake_failure")));
    let by_client = attempt(&lab, Scenario::UnknownCa).await;
    assert_eq!(by_client.alert(), Some((Side::Client, "unknown_ca")));
}

#[tokio::test]
async fn a_load_makes_exactly_what_was_asked_with_a_port_each() {
    let lab = Arc::new(lab().await);
    let load = Load {
        rate: 500.0,
        duration: None,
        count: Some(60),
        server_names: vec![NAME.to_owned()],
        mixes: vec!["hybrid=2,no_shared_group=1".parse().expect("a mix")],
    };
    let (sender, mut truths) = mpsc::channel(100);
    make(lab, &load, std::future::pending(), sender).await.expect("a run");
    let mut tally = Tally::default();
    let mut ports = std::collections::BTreeSet::new();
    while let Some(truth) = truths.recv().await {
        tally.add(&truth);
        ports.insert(truth.client.port());
    }
    assert_eq!((tally.attempts, tally.completed), (60, 40));
    assert_eq!(tally.scenarios.get(&Scenario::NoSharedGroup), Some(&20));
    assert_eq!(ports.len(), 60);
}
