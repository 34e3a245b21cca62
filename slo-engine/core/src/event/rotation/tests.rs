use super::*;
use crate::event::{EventData, EventKind};

const DUE: u64 = 2_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn event(time: u64, data: EventData) -> Event {
    let data = EventData { rotation_id: Some("r".to_owned()), ..data };
    let id = format!("{time}-{data:?}");
    Event { id, source: "s".to_owned(), kind: EventKind::KeyRotation, time: at(time), data }
}

fn plan(time: u64, services: &[&str], due: Option<u64>) -> Event {
    let services = services.iter().map(|service| (*service).to_owned()).collect();
    event(time, EventData { services, due_at: due.map(at), ..EventData::default() })
}

fn report(time: u64, service: &str, result: Outcome) -> Event {
    event(time, EventData { service: Some(service.to_owned()), result: Some(result), ..EventData::default() })
}

fn book(events: &[Event], now: u64) -> (Rotations, Vec<Settlement>) {
    let mut book = Rotations::new(at(0), 10);
    let mut settled: Vec<Settlement> = events
        .iter()
        .filter_map(|event| book.note(event, event.time))
        .map(|(_, settlement)| settlement)
        .collect();
    settled.extend(book.tick(at(now)).into_iter().map(|(_, settlement)| settlement));
    (book, settled)
}

fn settled(events: &[Event], now: u64) -> Vec<(RotationOutcome, u64)> {
    book(events, now).1.iter().map(|settlement| (settlement.outcome, settlement.at.seconds())).collect()
}

fn state(events: &[Event], now: u64) -> State {
    book(events, now).0.iter().next().unwrap().state(at(now))
}

#[test]
fn done_when_all_have_reported() {
    let plan = plan(1_000, &["a", "b"], Some(DUE));
    let (a, b) = (report(1_100, "a", Outcome::Success), report(1_200, "b", Outcome::Success));
    assert_eq!(settled(&[plan.clone(), a.clone()], 1_500), []);
    assert_eq!(state(&[plan.clone(), a.clone()], 1_500), State::Due);
    for events in [[&plan, &a, &b], [&b, &a, &plan], [&a, &plan, &b]] {
        let events = events.map(Clone::clone);
        assert_eq!(settled(&events, 1_500), [(RotationOutcome::Done, 1_200)]);
    }
}

#[test]
fn a_failure_waits_for_a_retry_until_the_due_time() {
    let plan = plan(1_000, &["a"], Some(DUE));
    let failed = [plan.clone(), report(1_100, "a", Outcome::Failure)];
    assert_eq!(state(&failed, 1_500), State::Failed);
    assert_eq!(settled(&failed, DUE + 299), []);
    assert_eq!(settled(&failed, DUE + 300), [(RotationOutcome::Failed, DUE)]);
    let healed = [failed.as_slice(), &[report(1_900, "a", Outcome::Success)]].concat();
    assert_eq!(settled(&healed, 1_950), [(RotationOutcome::Done, 1_900)]);
    // Too late: it stays failed, and where it stands is told apart.
    let mut late = Rotations::new(at(0), 10);
    failed.iter().for_each(|event| assert_eq!(late.note(event, at(1_500)), None));
    assert_eq!(late.tick(at(2_300)).len(), 1);
    assert_eq!(late.note(&report(2_400, "a", Outcome::Success), at(2_400)), None);
    let rotation = late.iter().next().unwrap();
    assert_eq!(rotation.settled.unwrap().outcome, RotationOutcome::Failed);
    assert_eq!((rotation.completed_late(), rotation.state(at(2_500))), (Some(at(2_400)), State::Done));
    assert_eq!(late.tick(at(9_000)), vec![]);
}

#[test]
fn a_success_after_the_due_time_does_not_count_even_when_it_is_known_in_time() {
    let events = [plan(1_000, &["a"], Some(DUE)), report(DUE + 10, "a", Outcome::Success)];
    assert_eq!(settled(&events, DUE + 100), []);
    assert_eq!(state(&events, DUE + 100), State::Overdue);
    assert_eq!(settled(&events, DUE + 300), [(RotationOutcome::Overdue, DUE)]);
    let in_time = [plan(1_000, &["a"], Some(DUE)), report(DUE, "a", Outcome::Success)];
    assert_eq!(settled(&in_time, DUE + 299), [(RotationOutcome::Done, DUE)], "it was only long under way");
    // The later report comes first: the earlier one still counts.
    let crossed = [
        plan(1_000, &["a"], Some(DUE)),
        report(DUE + 20, "a", Outcome::Success),
        report(1_900, "a", Outcome::Success),
    ];
    assert_eq!(settled(&crossed, DUE + 100), [(RotationOutcome::Done, 1_900)]);
}

#[test]
fn the_latest_plan_stands_field_by_field() {
    let first = plan(1_000, &["a", "b"], Some(DUE));
    let longer = plan(1_001, &[], Some(3_000));
    let fewer = plan(1_002, &["a"], None);
    for events in [[&first, &longer, &fewer], [&fewer, &longer, &first]] {
        let (book, settled) = book(&events.map(Clone::clone), 1_500);
        let rotation = book.iter().next().unwrap();
        assert_eq!((rotation.due(), rotation.expected()), (at(3_000), &["a".to_owned()][..]));
        assert_eq!((settled, rotation.sole_service()), (vec![], Some("a")));
    }
}

#[test]
fn reports_without_a_plan_have_no_outcome() {
    let events = [report(1_000, "a", Outcome::Failure)];
    assert_eq!(settled(&events, 1_000_000), []);
    let (mut book, _) = book(&events, 2_000);
    assert_eq!(book.states(at(2_000)).values().sum::<u64>(), 0);
    book.tick(at(1_001).after(ROTATION_MEMORY));
    assert_eq!(book.iter().count(), 0);
}

#[test]
fn a_plan_without_services_or_due_time_is_done_by_anyone_within_a_day() {
    let planned = EventData { planned_at: Some(at(5_000)), ..EventData::default() };
    let plan = event(1_000, planned);
    assert_eq!(
        settled(std::slice::from_ref(&plan), 5_000 + 86_400 + 300),
        [(RotationOutcome::Overdue, 91_400)]
    );
    let events = [plan, report(6_000, "x", Outcome::Success)];
    assert_eq!(settled(&events, 6_000), [(RotationOutcome::Done, 6_000)]);
}

#[test]
fn only_settled_ones_give_way() {
    let mut book = Rotations::new(at(0), 2);
    let named = |name: &str, mut event: Event| {
        event.data.rotation_id = Some(name.to_owned());
        event
    };
    let open = plan(1_000, &["a"], Some(DUE));
    for name in ["x", "y"] {
        book.note(&named(name, open.clone()), at(1_000));
    }
    let third = named("z", open);
    assert_eq!(book.check(&third).unwrap_err().reason.word(), "rotation_limit");
    book.note(&named("x", report(1_100, "a", Outcome::Success)), at(1_100));
    assert_eq!(book.check(&third), Ok(()));
    book.note(&third, at(1_200));
    assert_eq!(book.iter().map(|rotation| rotation.id.as_str()).collect::<Vec<_>>(), ["y", "z"]);
}

#[test]
fn a_plan_that_comes_after_its_due_time_waits_for_the_reports_behind_it() {
    let mut book = Rotations::new(at(0), 10);
    assert_eq!(book.note(&plan(1_000, &["a"], Some(DUE)), at(9_000)), None);
    assert_eq!(book.tick(at(9_299)), vec![]);
    let (_, settlement) = book.note(&report(1_900, "a", Outcome::Success), at(9_299)).unwrap();
    assert_eq!((settlement.outcome, settlement.at), (RotationOutcome::Done, at(1_900)));
}
