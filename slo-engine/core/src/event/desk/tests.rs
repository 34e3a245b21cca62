use super::*;
use crate::event::{EventData, EventKind, Outcome};
use crate::ledger::{Ledger, Limits, Window};
use crate::series::Selector;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const NOW: Timestamp = Timestamp::from_seconds(1_750_000_000);

fn event(id: &str, seconds_ago: u64, kind: EventKind, data: EventData) -> Event {
    let time = NOW.before(Duration::from_secs(seconds_ago));
    Event { id: id.to_owned(), source: "/test".to_owned(), kind, time, data }
}

fn signature(id: &str, seconds_ago: u64, result: Outcome) -> Event {
    let data = EventData {
        result: Some(result),
        service: Some("registry".to_owned()),
        duration: Some(0.25),
        ..EventData::default()
    };
    event(id, seconds_ago, EventKind::Sign, data)
}

/// A desk with counts behind it.
struct Office {
    desk: Desk,
    ledger: Ledger,
    saved: BTreeMap<String, DeskRecord>,
}

impl Office {
    fn new() -> Self {
        Self { desk: Desk::new(NOW, []), ledger: Ledger::new(Limits::default()), saved: BTreeMap::new() }
    }

    fn take(&mut self, event: Event, now: Timestamp) -> Result<Taken, Refusal> {
        let ledger = &mut self.ledger;
        self.desk.take(event, now, &mut |series, at, amount| ledger.record(series, &[(at, amount)], now))
    }

    fn tick(&mut self, now: Timestamp) {
        let ledger = &mut self.ledger;
        self.desk.tick(now, &mut |series, at, amount| ledger.record(series, &[(at, amount)], now));
    }

    fn save(&mut self) {
        for change in self.desk.take_changes() {
            let key = format!("{:?}", change.key());
            match change {
                DeskChange::Put(record) => self.saved.insert(key, record),
                DeskChange::Delete(_) => self.saved.remove(&key),
            };
        }
    }

    /// As after a restart at that time; the counts are what they were.
    fn restart(&mut self, now: Timestamp) {
        self.desk = Desk::new(now, []);
        self.saved.values().cloned().for_each(|record| self.desk.restore(record));
    }

    /// Counts of the last days by metric and result.
    fn counts(&self, now: Timestamp) -> BTreeMap<(String, String), u64> {
        let mut counts = BTreeMap::new();
        for metric in ["pqscope.events", "pqscope.event.duration", "pqscope.rotation.outcomes"] {
            let all = Selector {
                metric: metric.to_owned(),
                matches: BTreeMap::new(),
                not_matches: BTreeMap::new(),
            };
            for id in self.ledger.select(&all) {
                let window = Window::ending(now, Duration::from_secs(40 * 86_400));
                let total = self.ledger.sum(id, window, now).map_or(0, |sum| sum.total());
                let result = self.ledger.series(id).unwrap().attribute(attribute::RESULT).to_owned();
                *counts.entry((metric.to_owned(), result)).or_insert(0) += total;
            }
        }
        counts
    }

    fn outcomes(&self, now: Timestamp) -> Vec<(String, u64)> {
        let counts = self.counts(now).into_iter();
        counts
            .filter(|((metric, _), _)| metric == "pqscope.rotation.outcomes")
            .map(|((_, result), n)| (result, n))
            .collect()
    }
}

#[test]
fn an_event_counts_once_also_after_a_restart() {
    let mut office = Office::new();
    assert_eq!(office.take(signature("1", 60, Outcome::Success), NOW), Ok(Taken::Counted));
    assert_eq!(office.take(signature("1", 60, Outcome::Success), NOW), Ok(Taken::Duplicate));
    assert_eq!(
        office.take(signature("1", 5, Outcome::Failure), NOW),
        Ok(Taken::Duplicate),
        "whatever it says"
    );
    office.save();
    office.restart(NOW);
    assert_eq!(office.take(signature("1", 60, Outcome::Success), NOW), Ok(Taken::Duplicate));
    assert_eq!(office.counts(NOW).get(&("pqscope.events".into(), "success".into())), Some(&1));
    assert_eq!(office.counts(NOW).get(&("pqscope.event.duration".into(), String::new())), Some(&1));
    assert_eq!((office.desk.ids(), office.desk.history().len()), (1, 1));
}

#[test]
fn times_out_of_bounds_are_refused_with_the_reason() {
    let mut office = Office::new();
    let mut reason = |seconds_ago: i64| {
        let mut event = signature("1", 0, Outcome::Success);
        let span = Duration::from_secs(seconds_ago.unsigned_abs());
        event.time = if seconds_ago < 0 { NOW.after(span) } else { NOW.before(span) };
        office.take(event, NOW).unwrap_err().reason
    };
    assert_eq!(reason(-301), RefusalReason::FromFuture);
    assert_eq!(reason(401 * 86_400), RefusalReason::TooOld);
    assert_eq!(reason(8 * 86_400), RefusalReason::TooLateToTell);
    assert_eq!(office.take(signature("1", 6 * 86_400, Outcome::Success), NOW), Ok(Taken::Counted));
}

#[test]
fn a_refused_count_leaves_no_trace() {
    let mut desk = Desk::new(NOW, []);
    let refusal = desk
        .take(signature("1", 1, Outcome::Success), NOW, &mut |_, _, _| Err(Rejected::SeriesLimit))
        .unwrap_err();
    assert_eq!(refusal.reason.word(), "series_limit");
    assert_eq!((desk.ids(), desk.history().len()), (0, 0));
    assert_eq!(
        desk.take(signature("1", 1, Outcome::Success), NOW, &mut |_, _, _| Ok(())),
        Ok(Taken::Counted)
    );
}

#[test]
fn an_outcome_that_cannot_be_counted_is_settled_again() {
    let mut office = Office::new();
    office.take(plan("p", "r", &["a"], 60), NOW).unwrap();
    let later = NOW.after(Duration::from_secs(600));
    office.desk.tick(later, &mut |_, _, _| Err(Rejected::SeriesLimit));
    assert_eq!((office.desk.uncounted(), office.outcomes(later)), (1, vec![]));
    office.tick(later);
    office.tick(later);
    assert_eq!(office.outcomes(later), [("overdue".to_owned(), 1)]);
}

#[test]
fn changes_that_could_not_be_saved_come_again() {
    let mut office = Office::new();
    office.take(signature("1", 1, Outcome::Success), NOW).unwrap();
    office.take(plan("p", "r", &["a"], 60), NOW).unwrap();
    let changes = office.desk.take_changes();
    assert!(changes.len() >= 5, "{changes:?}");
    assert_eq!(office.desk.unsaved(), 0);
    office.desk.return_changes(changes.clone());
    assert_eq!(office.desk.take_changes(), changes);
}

/// A plan made ten minutes ago; due so many seconds after now.
fn plan(id: &str, rotation: &str, services: &[&str], due_in: u64) -> Event {
    let data = EventData {
        rotation_id: Some(rotation.to_owned()),
        due_at: Some(NOW.after(Duration::from_secs(due_in))),
        services: services.iter().map(|service| (*service).to_owned()).collect(),
        ..EventData::default()
    };
    event(id, 600, EventKind::KeyRotation, data)
}

fn report(id: &str, rotation: &str, service: &str, result: Outcome, seconds_ago: u64) -> Event {
    let data = EventData {
        rotation_id: Some(rotation.to_owned()),
        service: Some(service.to_owned()),
        result: Some(result),
        ..EventData::default()
    };
    event(id, seconds_ago, EventKind::KeyRotation, data)
}

#[test]
fn an_overdue_rotation_counts_at_its_due_time_however_late_we_come_back() {
    let mut office = Office::new();
    office.take(plan("p", "r", &["a", "b"], 60), NOW).unwrap();
    office.take(report("1", "r", "a", Outcome::Success, 5), NOW).unwrap();
    office.save();
    let back = NOW.after(Duration::from_secs(3 * 86_400));
    office.restart(back);
    office.tick(back);
    assert_eq!(office.outcomes(back), [], "reports under way are waited for");
    let later = back.after(Duration::from_secs(301));
    office.tick(later);
    office.tick(later);
    assert_eq!(office.outcomes(later), [("overdue".to_owned(), 1)]);
    let all = Selector {
        metric: "pqscope.rotation.outcomes".to_owned(),
        matches: BTreeMap::new(),
        not_matches: BTreeMap::new(),
    };
    let id = office.ledger.select(&all).next().unwrap();
    let due = NOW.seconds() + 60;
    let hour = Window { from: due - due % 600, to: due - due % 600 + 600 };
    assert_eq!(
        office.ledger.sum(id, hour, later).map(|sum| sum.total()),
        Some(1),
        "in the past, when it was due"
    );
    office.save();
    office.restart(later);
    office.tick(later.after(Duration::from_secs(600)));
    assert_eq!(office.outcomes(later), [("overdue".to_owned(), 1)]);
}

#[derive(Clone, Debug)]
enum Told {
    Signature(u8, bool),
    Plan(u8),
    Report(u8, u8, bool),
}

fn told() -> impl Strategy<Value = Vec<(u8, Told)>> {
    let one = prop_oneof![
        (any::<u8>(), any::<bool>()).prop_map(|(ago, good)| Told::Signature(ago, good)),
        (0..3_u8).prop_map(Told::Plan),
        (0..3_u8, 0..3_u8, any::<bool>())
            .prop_map(|(rotation, service, good)| Told::Report(rotation, service, good)),
    ];
    proptest::collection::vec((0..40_u8, one), 1..40)
}

fn made(number: u8, told: &Told) -> Event {
    let id = number.to_string();
    let result = |good: bool| if good { Outcome::Success } else { Outcome::Failure };
    match told {
        Told::Signature(ago, good) => signature(&id, u64::from(*ago), result(*good)),
        Told::Plan(rotation) => plan(&format!("plan-{rotation}"), &format!("r{rotation}"), &["s0", "s1"], 60),
        Told::Report(rotation, service, good) => {
            report(&id, &format!("r{rotation}"), &format!("s{service}"), result(*good), u64::from(number))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever order events come in, how often, and with whatever restarts: the counts and the outcomes are the same.
    #[test]
    fn order_and_repeats_do_not_matter(told in told(), order in any::<u64>(), restarts in 0..3_usize) {
        // One identity, one content: of several with the same number the first stands.
        let mut distinct = BTreeMap::new();
        for (number, told) in &told {
            let event = made(*number, told);
            distinct.entry(event.key()).or_insert(event);
        }
        let events: Vec<Event> = distinct.into_values().collect();
        let late = NOW.after(Duration::from_secs(3_600));

        let mut straight = Office::new();
        for event in &events {
            straight.take(event.clone(), NOW).unwrap();
        }
        straight.tick(late);

        let mut mixed: Vec<Event> = events.iter().chain(&events).cloned().collect();
        let mut seed = order;
        mixed.sort_by_cached_key(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        });
        let mut crooked = Office::new();
        for (position, event) in mixed.into_iter().enumerate() {
            crooked.take(event, NOW).unwrap();
            if restarts > 0 && position % (7 * restarts) == 0 {
                crooked.save();
                crooked.restart(NOW);
            }
        }
        crooked.tick(late);
        crooked.tick(late);
        prop_assert_eq!(straight.counts(late), crooked.counts(late));
        let planned = straight.desk.rotations().iter().filter(|rotation| rotation.is_planned()).count() as u64;
        prop_assert_eq!(straight.outcomes(late).iter().map(|(_, count)| count).sum::<u64>(), planned);
        prop_assert_eq!(straight.desk.rotations().states(late), crooked.desk.rotations().states(late));
    }
}
