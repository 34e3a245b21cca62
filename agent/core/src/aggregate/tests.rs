use super::*;
use crate::iana::{AlertDescription, KeyExchangeClass};
use crate::observation::{
    Alert, CaptureFacts, Evidence, Failure, FailureCause, GroupFacts, Party, Phase, Side, SignatureFamily,
};
use pqscope_telemetry::attribute;
use proptest::prelude::*;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000)
}

fn completed(server: &str, group: u16) -> Observation {
    let group = Group(group);
    let mut seen = crate::observation::testing::observation();
    seen.server_name = Some(server.to_owned());
    seen.client_hello.groups = Some(vec![group]);
    seen.group = Some(GroupFacts::from(group));
    seen.key_exchange_class = Some(group.class());
    seen
}

fn failed(server: &str) -> Observation {
    let description = AlertDescription(40);
    Observation {
        outcome: Outcome::Failed,
        group: None,
        key_exchange_class: None,
        alerts: vec![Alert { sender: Side::Server, level: 2, description }],
        failure: Some(Failure {
            cause: FailureCause::Alert(description),
            after: Phase::ClientHello,
            by: Party::Server,
            evidence: Evidence::Seen,
        }),
        ..completed(server, 0x11ec)
    }
}

fn family<'a>(collection: &'a Collection, metric: &Metric) -> &'a Family {
    collection.families.iter().find(|family| family.metric == *metric).unwrap()
}

/// Series whose attributes include all of `wanted`.
fn matching<'a>(family: &'a Family, wanted: &[(&str, &str)]) -> Vec<&'a Series> {
    let has = |series: &Series, key: &str, value: &str| {
        series.attributes.iter().any(|(k, v)| *k == key && v == value)
    };
    family.series.iter().filter(|series| wanted.iter().all(|(key, value)| has(series, key, value))).collect()
}

fn count(series: &Series) -> u64 {
    match series.value {
        SeriesValue::Count(count) => count,
        SeriesValue::Distribution(_) => panic!("a distribution"),
    }
}

#[test]
fn handshakes_are_counted_by_what_became_of_them() {
    let mut aggregate = Aggregate::new(Bounds::default(), at(0));
    for _ in 0..3 {
        aggregate.add(&completed("a.example", 0x11ec), at(1));
    }
    aggregate.add(&failed("a.example"), at(1));
    let collection = aggregate.collect(at(10));
    let handshakes = family(&collection, &agent::HANDSHAKES);
    let [hybrid] = matching(handshakes, &[(attribute::GROUP_CLASS, "hybrid")])[..] else { panic!() };
    assert_eq!(count(hybrid), 3);
    let [refused] = matching(handshakes, &[(attribute::ERROR_TYPE, "alert_handshake_failure")])[..] else {
        panic!()
    };
    assert_eq!(count(refused), 1);
    let failure = [(attribute::FAILURE_AFTER, "client_hello"), (attribute::FAILURE_BY, "server")];
    assert_eq!(matching(handshakes, &failure), [refused]);
    assert_eq!(handshakes.series.iter().map(count).sum::<u64>(), 4);
    let [alerts] = &family(&collection, &agent::ALERTS).series[..] else { panic!() };
    assert_eq!(count(alerts), 1);
}

#[test]
fn a_seen_service_has_all_its_outcomes_from_zero() {
    let mut aggregate = Aggregate::new(Bounds::default(), at(0));
    aggregate.add(&completed("a.example", 0x11ec), at(1));
    let collection = aggregate.collect(at(10));
    let zero = family(&collection, &agent::HANDSHAKES);
    for outcome in ["completed", "failed", "incomplete"] {
        let series = matching(zero, &[(attribute::OUTCOME, outcome), (attribute::SERVICE, "a.example")]);
        assert!(series.iter().any(|series| count(series) == 0), "{outcome}");
    }
}

#[test]
fn a_series_counts_from_the_collection_before_it_appeared() {
    let mut aggregate = Aggregate::new(Bounds::default(), at(5));
    aggregate.add(&completed("a.example", 0x11ec), at(7));
    assert!(family(&aggregate.collect(at(10)), &agent::HANDSHAKES).series.iter().all(|s| s.start == at(5)));
    aggregate.add(&failed("a.example"), at(12));
    let collection = aggregate.collect(at(20));
    let failed = matching(family(&collection, &agent::HANDSHAKES), &[(attribute::FAILURE_BY, "server")])[0];
    assert_eq!(failed.start, at(10));
}

#[test]
fn names_beyond_the_bound_are_other_and_counted() {
    let mut aggregate = Aggregate::new(Bounds { servers: 2, ..Bounds::default() }, at(0));
    for n in 0..5 {
        aggregate.add(&completed(&format!("s{n}.example"), 0x11ec), at(1));
    }
    assert_eq!(aggregate.overflowed(), 3);
    let collection = aggregate.collect(at(10));
    let other = matching(family(&collection, &agent::HANDSHAKES), &[(attribute::SERVICE, OTHER)]);
    assert_eq!(other.into_iter().map(count).sum::<u64>(), 3);
}

#[test]
fn series_beyond_the_bound_share_one_that_says_so() {
    let mut aggregate = Aggregate::new(Bounds { series: 4, ..Bounds::default() }, at(0));
    for n in 0..10 {
        aggregate.add(&completed(&format!("s{n}.example"), 0x11ec), at(1));
    }
    let collection = aggregate.collect(at(10));
    let handshakes = family(&collection, &agent::HANDSHAKES);
    assert_eq!(handshakes.series.len(), 5);
    assert_eq!(handshakes.series.iter().map(count).sum::<u64>(), 10);
    assert_eq!(matching(handshakes, &[(attribute::OTEL_OVERFLOW, "true")]).len(), 1);
    assert!(aggregate.overflowed() > 0);
}

#[test]
fn hostile_names_and_numbers_stay_within_their_sets() {
    let bounds = Bounds { unknown_groups: 1, ..Bounds::default() };
    let mut aggregate = Aggregate::new(bounds, at(0));
    aggregate.add(&completed("a\u{7}b\" or 1=1", 0x2f01), at(1));
    aggregate.add(&completed("UPPER.example", 0x2f02), at(1));
    let collection = aggregate.collect(at(10));
    let handshakes = family(&collection, &agent::HANDSHAKES);
    assert_eq!(
        matching(handshakes, &[(attribute::SERVER_ADDRESS, "invalid"), (attribute::GROUP_ID, "0x2f01")])
            .len(),
        1
    );
    let folded = [(attribute::SERVER_ADDRESS, "upper.example"), (attribute::GROUP_NAME, OTHER)];
    let [folded] = matching(handshakes, &folded)[..] else { panic!() };
    // An unknown group is never classical.
    let class = KeyExchangeClass::Unknown.as_str();
    assert!(folded.attributes.contains(&(attribute::GROUP_CLASS, class.into())));
}

#[test]
fn idle_series_are_retired() {
    let mut aggregate =
        Aggregate::new(Bounds { retire_after: Duration::from_secs(60), ..Bounds::default() }, at(0));
    aggregate.add(&completed("a.example", 0x11ec), at(1));
    aggregate.collect(at(10));
    aggregate.add(&completed("b.example", 0x11ec), at(100));
    let collection = aggregate.collect(at(110));
    let handshakes = family(&collection, &agent::HANDSHAKES);
    assert!(matching(handshakes, &[(attribute::SERVICE, "a.example")]).is_empty());
    assert!(!matching(handshakes, &[(attribute::SERVICE, "b.example")]).is_empty());
    // Seen again, it begins anew with all its outcomes.
    aggregate.add(&completed("a.example", 0x11ec), at(120));
    let collection = aggregate.collect(at(130));
    let again = matching(family(&collection, &agent::HANDSHAKES), &[(attribute::SERVICE, "a.example")]);
    assert!(again.len() >= 4 && again.iter().all(|series| series.start == at(110)));
}

#[test]
fn the_zeros_of_an_active_service_stay() {
    let mut aggregate =
        Aggregate::new(Bounds { retire_after: Duration::from_secs(60), ..Bounds::default() }, at(0));
    for minute in 0..5 {
        aggregate.add(&completed("a.example", 0x11ec), at(50 * minute));
        aggregate.collect(at(50 * minute + 1));
    }
    let collection = aggregate.collect(at(210));
    let zero = [(attribute::SERVICE, "a.example"), (attribute::OUTCOME, "failed")];
    assert_eq!(matching(family(&collection, &agent::HANDSHAKES), &zero).len(), 1);
}

#[test]
fn names_that_are_gone_make_room() {
    let bounds = Bounds { servers: 1, retire_after: Duration::from_secs(60), ..Bounds::default() };
    let mut aggregate = Aggregate::new(bounds, at(0));
    aggregate.add(&completed("scanner.example", 0x11ec), at(1));
    aggregate.collect(at(100));
    aggregate.add(&completed("a.example", 0x11ec), at(101));
    let collection = aggregate.collect(at(110));
    let found = matching(family(&collection, &agent::HANDSHAKES), &[(attribute::SERVICE, "a.example")]);
    assert!(!found.is_empty() && aggregate.overflowed() == 0);
}

#[test]
fn clients_beyond_the_bound_are_other_and_unknown_ones_say_so() {
    let by = |fingerprint: Option<&str>| {
        let mut observation = completed("a.example", 0x11ec);
        observation.client_hello.ja4 = fingerprint.map(str::to_owned);
        observation
    };
    let bounds = Bounds { client_classes: 2, retire_after: Duration::from_secs(60), ..Bounds::default() };
    let mut aggregate = Aggregate::new(bounds, at(0));
    for fingerprint in [Some("t1"), Some("t2"), Some("t3"), Some("t4"), Some("t1"), None] {
        aggregate.add(&by(fingerprint), at(1));
    }
    let of = |collection: &Collection, class| {
        let series = [(attribute::CLIENT_CLASS, class), (attribute::OUTCOME, "completed")];
        matching(family(collection, &agent::HANDSHAKES), &series).into_iter().map(count).sum::<u64>()
    };
    let collection = aggregate.collect(at(10));
    assert_eq!(["t1", "t2", "t3", OTHER, "unknown"].map(|class| of(&collection, class)), [2, 1, 0, 2, 1]);
    assert_eq!(aggregate.overflowed(), 0);
    // What is idle makes room, and what is not keeps its own.
    aggregate.add(&by(Some("t1")), at(90));
    aggregate.collect(at(100));
    aggregate.add(&by(Some("t3")), at(101));
    aggregate.add(&by(Some("t4")), at(102));
    let collection = aggregate.collect(at(110));
    assert_eq!(["t1", "t3", "t4", OTHER].map(|class| of(&collection, class)), [3, 1, 0, 1]);
}

#[test]
fn many_kinds_of_clients_take_no_series_from_failures() {
    let mut aggregate = Aggregate::new(Bounds::default(), at(0));
    let services: Vec<String> = (0..30).map(|n| format!("s{n}.example")).collect();
    for service in &services {
        for client in 0..65 {
            for kind in 0..8 {
                let mut seen = completed(service, if kind % 2 == 0 { 0x11ec } else { 0x1d });
                seen.client_hello.ja4 = Some(format!("t{client}"));
                seen.vantage = Some([Vantage::Server, Vantage::Client][kind / 2 % 2]);
                seen.key_exchange_class = seen.key_exchange_class.filter(|_| kind < 4);
                seen.fallback_of = Some("earlier".to_owned());
                aggregate.add(&seen, at(1));
            }
        }
    }
    for service in &services {
        let mut seen = failed(service);
        seen.client_hello.ja4 = Some("t63".to_owned());
        seen.fallback_of = Some("earlier".to_owned());
        aggregate.add(&seen, at(2));
    }
    let collection = aggregate.collect(at(10));
    for metric in [agent::HANDSHAKES, agent::FALLBACKS] {
        let family = family(&collection, &metric);
        assert!(matching(family, &[(attribute::OTEL_OVERFLOW, "true")]).is_empty());
        for service in &services {
            let words =
                [(attribute::SERVICE, service.as_str()), (attribute::ERROR_TYPE, "alert_handshake_failure")];
            assert_eq!(matching(family, &words).into_iter().map(count).sum::<u64>(), 1, "{service}");
        }
        // Of the first clients each still has its own.
        assert!(!matching(family, &[(attribute::CLIENT_CLASS, "t5")]).is_empty());
        assert_eq!(family.series.iter().map(count).sum::<u64>(), 30 * 65 * 8 + 30);
    }
    assert_eq!(aggregate.overflowed(), 0);
}

#[test]
fn latencies_of_completed_handshakes_become_a_distribution() {
    let mut aggregate = Aggregate::new(Bounds::default(), at(0));
    aggregate.add(&completed("a.example", 0x11ec), at(1));
    aggregate.add(&failed("a.example"), at(1));
    let collection = aggregate.collect(at(10));
    let [series] = &family(&collection, &agent::DURATION).series[..] else { panic!() };
    let SeriesValue::Distribution(histogram) = &series.value else { panic!() };
    assert_eq!((histogram.count(), histogram.sum()), (1, 0.020));
}

#[test]
fn coverage_counts_what_was_seen_whole() {
    let mut aggregate = Aggregate::new(Bounds::default(), at(0));
    assert_eq!(aggregate.coverage().share(), None);
    aggregate.add(&completed("a.example", 0x11ec), at(1));
    let capture = CaptureFacts { missing_bytes: 100, ..CaptureFacts::default() };
    aggregate.add(&Observation { capture, ..completed("a.example", 0x11ec) }, at(1));
    assert_eq!(aggregate.coverage().share(), Some(0.5));
}

#[test]
fn what_a_servers_handshakes_say_together_stands_in_for_what_one_does_not() {
    use crate::observation::CertificateVerify;
    let unknown = CertificateVerify { family: SignatureFamily::Unknown, evidence: Evidence::Inferred };
    let seen = Observation { certificate_verify: Some(unknown), ..completed("a.example", 0x11ec) };
    let pooled = |low, high| Pooled { family: Some(SignatureFamily::EcdsaP256), chain: Some((low, high)) };
    let mut aggregate = Aggregate::new(Bounds::default(), at(0));
    aggregate.add_pooled(&seen, pooled(900, 964), at(1));
    aggregate.add_pooled(&seen, pooled(900, 965), at(1));
    aggregate.add_pooled(&seen, Pooled::default(), at(1));
    let collection = aggregate.collect(at(10));
    let [series] = &family(&collection, &agent::CERTIFICATE_CHAIN_SIZE).series[..] else { panic!() };
    let SeriesValue::Distribution(sizes) = &series.value else { panic!() };
    assert_eq!((sizes.count(), sizes.sum()), (1, 932.0));
    let words = [(attribute::EVIDENCE, "inferred"), (attribute::SIGNATURE_FAMILY, "ecdsa_p256")];
    assert_eq!(matching(family(&collection, &agent::CERTIFICATE_CHAIN_SIZE), &words).len(), 1);
}

#[test]
fn a_handshake_that_tells_its_family_and_size_keeps_them() {
    use crate::observation::{CertificateVerify, Certificates};
    let verify = CertificateVerify { family: SignatureFamily::MlDsa65, evidence: Evidence::Decrypted };
    let chain = Certificates { evidence: Evidence::Decrypted, ..Certificates::seen(vec![5000], 5009) };
    let seen = Observation {
        certificate_verify: Some(verify),
        certificates: Some(chain),
        ..completed("a.example", 0x11ec)
    };
    let mut aggregate = Aggregate::new(Bounds::default(), at(0));
    let pooled = Pooled { family: Some(SignatureFamily::Rsa), chain: Some((900, 901)) };
    aggregate.add_pooled(&seen, pooled, at(1));
    let collection = aggregate.collect(at(10));
    let words = [(attribute::EVIDENCE, "decrypted"), (attribute::SIGNATURE_FAMILY, "ml_dsa_65")];
    let [series] = matching(family(&collection, &agent::CERTIFICATE_CHAIN_SIZE), &words)[..] else {
        panic!()
    };
    let SeriesValue::Distribution(sizes) = &series.value else { panic!() };
    assert_eq!(sizes.sum(), 5000.0);
}

#[test]
fn chains_that_may_be_compressed_are_not_measured() {
    use crate::observation::{CertificateWishes, Certificates};
    let wishes = Some(CertificateWishes { ocsp: false, timestamps: false, compression: true });
    let pooled = Pooled { family: None, chain: Some((900, 901)) };
    let measured = |certificates: Option<Certificates>| {
        let mut seen = Observation { certificates, ..completed("a.example", 0x11ec) };
        seen.client_hello.wishes = wishes;
        let mut aggregate = Aggregate::new(Bounds::default(), at(0));
        aggregate.add_pooled(&seen, pooled, at(1));
        let collection = aggregate.collect(at(10));
        collection.families.iter().any(|family| family.metric == agent::CERTIFICATE_CHAIN_SIZE)
    };
    let chain = |evidence, compressed| {
        Some(Certificates { evidence, compressed, ..Certificates::seen(vec![900], 909) })
    };
    assert!(!measured(chain(Evidence::Inferred, None)));
    assert!(!measured(chain(Evidence::Inferred, None).map(|it| Certificates { chain_bytes: None, ..it })));
    assert!(!measured(None));
    assert!(measured(chain(Evidence::Inferred, Some(false))));
    // What was read has its size, however it travelled.
    assert!(measured(chain(Evidence::Decrypted, Some(true))));
    assert!(measured(chain(Evidence::Seen, Some(false))));
}

/// An observation out of whatever numbers may come from the wire.
fn odd((version, group, alerts, offered, family, port): OddNumbers) -> Observation {
    use crate::observation::{CertificateVerify, Certificates};
    let mut seen = completed(["", "other", "OTHER", "a.example"][usize::from(port % 4)], group);
    if alerts.len() > 2 {
        seen = failed("a.example");
    }
    seen.alerts = alerts
        .iter()
        .map(|number| Alert { sender: Side::Client, level: 2, description: AlertDescription(*number) })
        .collect();
    seen.failure =
        seen.failure.map(|it| Failure { cause: FailureCause::Alert(AlertDescription(alerts[0])), ..it });
    seen.version = version.map(ProtocolVersion);
    seen.client_hello.groups = offered.map(|group| group.into_iter().map(Group).collect());
    seen.server.port = port;
    seen.certificates = Some(Certificates::seen(vec![1000], 1009));
    let of = |family| CertificateVerify { family, evidence: Evidence::Seen };
    seen.certificate_verify =
        [None, Some(SignatureFamily::Unknown), Some(SignatureFamily::Rsa)][usize::from(family % 3)].map(of);
    seen
}

type OddNumbers = (Option<u16>, u16, Vec<u8>, Option<Vec<u16>>, u8, u16);

fn odd_numbers() -> impl Strategy<Value = OddNumbers> {
    let version = prop_oneof![0x7e00..0x7e04_u16, 0x7f00..0x7f04_u16, 0xfb00..0xfb04_u16, 0x0300..0x0307_u16];
    let group = prop_oneof![Just(0x1d_u16), Just(0x11ec_u16), 0x2f00..0x2f04_u16];
    let alerts = prop::collection::vec(prop_oneof![Just(40_u8), 200..204_u8], 0..4);
    let offered = prop::option::of(prop::collection::vec(group.clone(), 0..2));
    (prop::option::of(version), group, alerts, offered, any::<u8>(), 440..446_u16)
}

proptest! {
    #[test]
    fn no_two_series_of_a_metric_read_alike(numbers in prop::collection::vec(odd_numbers(), 1..60)) {
        let bounds = Bounds { unknown_groups: 2, ports: 4, servers: 2, ..Bounds::default() };
        let mut aggregate = Aggregate::new(bounds, at(0));
        for numbers in numbers {
            aggregate.add(&odd(numbers), at(1));
        }
        for family in aggregate.collect(at(10)).families {
            let mut all: Vec<_> = family.series.into_iter().map(|series| series.attributes).collect();
            all.sort();
            let different = all.windows(2).all(|two| two[0] != two[1]);
            prop_assert!(different, "{}: {all:?}", family.metric.name);
        }
    }
}

#[test]
fn versions_beyond_the_bound_are_other_and_counted() {
    let mut aggregate = Aggregate::new(Bounds::default(), at(0));
    for number in (0x7f00..=0x7fff).chain(0x0300..=0x0304).chain(0x1000..0x1100) {
        let version = Some(ProtocolVersion(number));
        aggregate.add(&Observation { version, ..completed("a.example", 0x11ec) }, at(1));
    }
    let collection = aggregate.collect(at(10));
    let handshakes = family(&collection, &agent::HANDSHAKES);
    let of =
        |word| matching(handshakes, &[(attribute::TLS_VERSION, word)]).into_iter().map(count).sum::<u64>();
    assert_eq!([of("1.3"), of("SSL 3.0"), of("1.3 draft 15"), of("1.3 draft 16")], [1, 1, 1, 0]);
    assert_eq!((of(OTHER), aggregate.overflowed()), (512 - 16, 512 - 16));
    assert!(family(&collection, &agent::DURATION).series.len() <= 22);
}
