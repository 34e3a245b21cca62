//! The known traps of windows and alerts; tests with the same number hold the same trap.

use crate::world::{BEGIN, DAY, HOUR, MINUTE, STEP, Slo, World, at, near, seconds};
use pqscope_slo_core::alert::TransitionKind::{Eased, Fired, Pending, Raised, Resolved};
use pqscope_slo_core::alert::{self, Fingerprint, Phase};
use pqscope_slo_core::evaluation::Verdict;
use pqscope_slo_core::intake::{Measured, Point, Rejected, Temporality};
use pqscope_slo_core::ledger::Limits;
use pqscope_slo_core::objective::Severity;
use pqscope_slo_core::period::{Calendar, CalendarUnit, SloWindow};
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::series::{Attributes, Series, SourceId};

/// One window pair that fires after a minute.
fn one_pair(pending: &str) -> Slo {
    let pair = format!("{{long: 1h, short: 5m, factor: 10, severity: page, pendingFor: {pending}}}");
    Slo { alerting: format!("{{tiers: [{pair}], spike: off, dayShare: off}}"), ..Slo::of_requests(0.99) }
}

#[test]
fn trap_06_our_own_gap_freezes_what_fires() {
    let mut world = World::new(&one_pair("10s"));
    world.past(HOUR, 100, 0);
    world.until(Fired, HOUR, 0, 100).unwrap();
    let saved = serde_json::to_string(&world.state).unwrap();
    // Half an hour later we are back, before any sender is: nothing is known, and nothing is resolved.
    world.state = serde_json::from_str(&saved).unwrap();
    world.wait(30 * MINUTE);
    world.run(10 * MINUTE, 0, 0);
    assert_eq!(world.told(), [Fired]);
    assert_eq!(world.evaluate().tiers[0].verdict, Verdict::NoData);
}

#[test]
fn trap_06_neither_pending_nor_clear_time_runs_while_we_are_away() {
    let mut world = World::new(&one_pair("5m"));
    world.past(HOUR, 100, 0);
    world.until(Pending, HOUR, 0, 100).unwrap();
    world.run(4 * MINUTE, 0, 100);
    // Away for an hour; the failures go on, and the pending time begins anew.
    world.past(HOUR, 0, 100);
    world.evaluate();
    assert!(!world.fires());
    let taken = world.until(Fired, HOUR, 0, 100).unwrap();
    assert_eq!(taken, 5 * MINUTE);
    // Good again, the clear time of two minutes nearly over, and away: it begins anew too.
    while world.evaluate().tiers[0].verdict != Verdict::Clear {
        world.tick(100, 0);
    }
    world.run(MINUTE + 40, 100, 0);
    assert!(world.fires());
    world.past(3 * MINUTE, 100, 0);
    world.evaluate();
    assert!(world.fires());
    assert_eq!(world.until(Resolved, HOUR, 100, 0), Some(2 * MINUTE));
}

/// What happened while we were away is spread over that time, and does not look like an outage of the last minute.
#[test]
fn trap_06_what_came_while_we_were_away_is_spread_over_that_time() {
    let mut recorder = Recorder::new(at(BEGIN), Limits::default());
    let source = SourceId::new(&Attributes::new(), "s", "requests");
    let series = Series::new("requests", [("outcome", "failed")]);
    let mut take = |time: u64, value: u64| {
        let value = Some(Measured::Count(value));
        let (temporality, start) = (Temporality::Cumulative, Some(at(BEGIN + 1)));
        let point = Point { temporality, start, time: at(BEGIN + time), value };
        recorder.accept(source, &series, &point, point.time).unwrap();
    };
    take(10, 5);
    take(HOUR + 10, 3_605);
    let last = |length| {
        let now = at(BEGIN + HOUR + 10);
        let window = pqscope_slo_core::ledger::Window::ending(now, seconds(length));
        recorder.ledger().sum(series.id(), window, now).map_or(0, |sum| sum.total())
    };
    assert_eq!(last(2 * HOUR), 3_605, "nothing is lost");
    assert!((300..=360).contains(&last(5 * MINUTE)), "{}", last(5 * MINUTE));
    assert!((1_800..=1_860).contains(&last(30 * MINUTE)), "{}", last(30 * MINUTE));
}

#[test]
fn trap_07_a_clock_that_is_set_makes_no_alert_and_ends_none() {
    // Forward: pending for one look, an hour is skipped; the next looks do not take the hour for pending time.
    let mut world = World::new(&one_pair("5m"));
    world.past(HOUR, 100, 0);
    world.until(Pending, HOUR, 0, 100).unwrap();
    world.now += 20 * MINUTE;
    world.run(MINUTE, 0, 100);
    assert!(!world.fires());
    // Back: what fires goes on to fire, and its clear time is not counted backwards.
    let mut world = World::new(&one_pair("10s"));
    world.past(3 * HOUR, 100, 0);
    world.until(Fired, HOUR, 0, 100).unwrap();
    world.now -= HOUR;
    let evaluation = world.evaluate();
    assert!(world.fires(), "{:?}", evaluation.tiers[0].verdict);
    // By the set clock there was an hour of good events: that is what the windows say, for the clear time, and no sooner.
    assert_eq!(evaluation.tiers[0].verdict, Verdict::Clear);
    assert_eq!(world.until(Resolved, HOUR, 100, 0), Some(2 * MINUTE));
}

#[test]
fn trap_07_a_sender_with_a_clock_ahead_is_refused() {
    let mut recorder = Recorder::new(at(BEGIN), Limits::default());
    let source = SourceId::new(&Attributes::new(), "s", "requests");
    let series = Series::new("requests", [("outcome", "failed")]);
    let mut take = |ahead: u64| {
        let value = Some(Measured::Count(1));
        let point = Point { temporality: Temporality::Delta, start: None, time: at(BEGIN + ahead), value };
        recorder.accept(source, &series, &point, at(BEGIN))
    };
    assert!(take(300).is_ok());
    assert_eq!(take(301), Err(Rejected::FromFuture));
}

fn monthly() -> Slo {
    let window = "{duration: 1M, calendar: {startTime: 2027-01-01 00:00:00, timeZone: Europe/Berlin}}";
    Slo { window, ..Slo::of_requests(0.99) }
}

#[test]
fn trap_08_days_have_23_and_25_hours_and_months_their_own_length() {
    let span = |unit, now: &str| {
        let (from, to) =
            Calendar::new("2027-01-01 00:00:00", "Europe/Berlin", unit, 1).unwrap().period(rfc(now));
        (to.seconds() - from.seconds()) / HOUR
    };
    assert_eq!(span(CalendarUnit::Day, "2027-03-28T12:00:00Z"), 23);
    assert_eq!(span(CalendarUnit::Day, "2027-10-31T12:00:00Z"), 25);
    assert_eq!(span(CalendarUnit::Day, "2027-06-01T12:00:00Z"), 24);
    assert_eq!(span(CalendarUnit::Month, "2027-02-10T12:00:00Z"), 28 * 24);
    assert_eq!(span(CalendarUnit::Month, "2027-03-10T12:00:00Z"), 31 * 24 - 1);
    assert_eq!(span(CalendarUnit::Month, "2027-10-10T12:00:00Z"), 31 * 24 + 1);
    assert_eq!(span(CalendarUnit::Quarter, "2028-02-10T12:00:00Z"), 91 * 24 - 1);
    assert_eq!(span(CalendarUnit::Year, "2028-02-10T12:00:00Z"), 366 * 24);
}

fn rfc(text: &str) -> pqscope_slo_core::time::Timestamp {
    let time: jiff::Timestamp = text.parse().unwrap();
    at(u64::try_from(time.as_second()).unwrap())
}

#[test]
fn trap_08_a_new_period_resets_the_budget_and_not_the_incident() {
    let mut world = World::new(&monthly());
    // The last hours of January in Berlin.
    let midnight = rfc("2027-01-31T23:00:00Z").seconds();
    world.now = midnight - 3 * HOUR;
    world.run(3 * HOUR - STEP, 90, 10);
    let before = world.evaluate();
    assert!(world.fires());
    assert!(near(before.budget.remaining.unwrap(), -9.0), "{:?}", before.budget);
    assert_eq!(before.renewed_at, Some(at(midnight)));
    let told = world.told();
    world.tick(100, 0);
    let after = world.evaluate();
    assert_eq!(world.now, midnight);
    assert_eq!(after.budget.remaining, Some(1.0), "a new budget");
    assert_eq!(after.renewed_at, Some(rfc("2027-02-28T23:00:00Z")));
    assert_eq!((world.told(), world.fires()), (told, true), "the incident goes on");
    let hour = after.windows.iter().find(|reading| reading.length == seconds(HOUR)).unwrap();
    assert!(near(hour.burn.unwrap(), 359.0 / 360.0 * 10.0), "burn rates look back across the edge");
}

#[test]
fn trap_09_a_cold_start_is_judged_by_what_there_is() {
    let mut world = World::new(&Slo { alerting: "{spike: off}".to_owned(), ..Slo::of_requests(0.99) });
    // Twenty minutes in, half of a two-hour window and less than one in two thousand of the budget's.
    world.run(20 * MINUTE, 199, 1);
    let evaluation = world.evaluate();
    for reading in &evaluation.windows {
        assert!(near(reading.burn.unwrap(), 0.5), "{reading:?}");
    }
    assert!(near(evaluation.budget.remaining.unwrap(), 0.5));
    // A day at this pace takes a sixtieth of the budget; of twenty minutes' events it would be half.
    let share = evaluation.day.unwrap().share.unwrap();
    assert!((share - 0.5 / (30.0 * 72.0)).abs() < 1e-5, "{share}");
    assert!(world.transitions.is_empty());
    // An outage right at the start pages, once, and no ticket comes before.
    let mut world = World::new(&Slo { alerting: "{spike: off}".to_owned(), ..Slo::of_requests(0.99) });
    world.run(20 * MINUTE, 0, 100);
    assert_eq!(world.told()[0], Fired);
    assert_eq!(world.transitions[1].severity, Severity::Page);
}

#[test]
fn trap_10_exactly_at_the_threshold_fires_and_below_does_not() {
    for (bad, fires) in [(1_000, true), (999, false)] {
        let mut world = World::new(&one_pair("10s"));
        world.run(2 * HOUR, 10_000 - bad, bad);
        assert_eq!(world.fires(), fires, "a burn of {}", bad as f64 / 100.0);
    }
}

#[test]
fn trap_10_flapping_at_the_threshold_is_one_incident() {
    let mut world = World::new(&one_pair("10s"));
    world.run(HOUR, 90, 10);
    let mut clear = 0;
    // A burst of a minute every seven: before the next one the short window is under the factor for a minute, which is
    // less than the clear time.
    for _ in 0..20 {
        for look in 0..42 {
            let bad = if look < 6 { 150 } else { 99 };
            let evaluation = world.tick(1_000 - bad, bad);
            clear += u32::from(evaluation.tiers[0].verdict == Verdict::Clear);
        }
    }
    assert!(clear >= 100, "it does flap: {clear}");
    assert_eq!(world.told(), [Fired]);
}

#[test]
fn trap_11_several_tiers_are_one_incident_at_the_highest_severity() {
    let mut world = World::new(&Slo::of_requests(0.999));
    world.past(6 * HOUR, 100, 0);
    world.run(3 * HOUR, 0, 100);
    let firing = world.state.tiers.values().filter(|tier| tier.firing).count();
    assert_eq!(firing, 4, "{:?}", world.state.tiers);
    assert_eq!(world.told(), [Fired]);
    let Phase::Firing(incident) = world.state.phase else { panic!("open") };
    assert_eq!(incident.severity, Severity::Page);
    // As the short windows empty, the page goes first and the tickets last: never a second incident.
    for _ in 0..14 * HOUR / MINUTE {
        world.now += MINUTE;
        world.events_at(world.now, 600, 0);
        world.evaluate();
    }
    assert_eq!(world.told(), [Fired, Eased, Resolved]);
}

#[test]
fn trap_17_titles_links_and_the_order_of_tiers_are_no_identity() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.past(HOUR, 100, 0);
    world.until(Fired, HOUR, 0, 100).unwrap();
    let before = Fingerprint::of(&alert::labels(&world.objective));
    let incident = world.state.phase;
    world.objective.title = "Another".to_owned();
    world.objective.description = "Another".to_owned();
    world.objective.runbook = Some("https://example.com/other".to_owned());
    world.objective.dashboard = None;
    world.objective.file = "moved.yaml".to_owned();
    world.objective.alert.tiers.reverse();
    world.run(5 * MINUTE, 0, 100);
    assert_eq!(Fingerprint::of(&alert::labels(&world.objective)), before);
    assert_eq!((world.state.phase, world.told()), (incident, vec![Fired]));
}

#[test]
fn trap_18_an_edited_objective_has_its_history() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(3 * HOUR, 996, 4);
    assert!(near(world.evaluate().budget.remaining.unwrap(), 0.6));
    assert!(world.transitions.is_empty());
    // Ten times as strict from now on: counted with the events of before, at once.
    world.objective = Slo::of_requests(0.999).objective();
    let evaluation = world.evaluate();
    assert!(near(evaluation.budget.remaining.unwrap(), -3.0));
    assert!(evaluation.windows.iter().all(|reading| near(reading.burn.unwrap(), 4.0)));
    world.run(10 * MINUTE, 996, 4);
    assert_eq!(world.told(), [Fired]);
    // And back: the incident ends as every incident does, after the clear time.
    world.objective = Slo::of_requests(0.99).objective();
    assert_eq!(world.until(Resolved, HOUR, 996, 4), Some(2 * MINUTE + STEP));
    // A window of another length is another span of the same events.
    world.objective = Slo { window: "{duration: 7d, isRolling: true}", ..Slo::of_requests(0.99) }.objective();
    assert_eq!(world.objective.window, SloWindow::Rolling(seconds(7 * DAY)));
    assert!(near(world.evaluate().budget.remaining.unwrap(), 0.6));
}

#[test]
fn trap_18_window_pairs_that_are_replaced_during_an_outage_do_not_end_it() {
    let mut world = World::new(&Slo::of_requests(0.99));
    world.run(2 * HOUR, 100, 0);
    world.run(HOUR, 50, 50);
    assert!(world.fires());
    let before = world.told();
    let pair = "{tiers: [{long: 2h, short: 10m, factor: 5, severity: page, pendingFor: 5m}], spike: off}";
    world.objective = Slo { alerting: pair.to_owned(), ..Slo::of_requests(0.99) }.objective();
    world.run(10 * MINUTE, 50, 50);
    assert_eq!(world.told(), before, "the same outage, seen by other conditions");
    world.until(Resolved, 6 * HOUR, 100, 0).unwrap();
    // Where no new condition holds, the incident is over.
    let mut over = World::new(&Slo::of_requests(0.99));
    over.run(2 * HOUR, 100, 0);
    over.run(HOUR, 50, 50);
    let pair = "{tiers: [{long: 2h, short: 10m, factor: 80, severity: page}], spike: off}";
    over.objective = Slo { alerting: pair.to_owned(), ..Slo::of_requests(0.99) }.objective();
    over.run(MINUTE, 50, 50);
    assert!(!over.fires() && over.told().last() == Some(&Resolved));
}

#[test]
fn trap_18_a_stricter_tier_raises_the_open_incident() {
    let mut world = World::new(&Slo {
        alerting: "{tiers: [{long: 1h, short: 5m, factor: 2, severity: ticket}], spike: off}".to_owned(),
        ..Slo::of_requests(0.99)
    });
    world.run(2 * HOUR, 96, 4);
    assert_eq!(world.told(), [Fired]);
    world.objective.alert.tiers[0].severity = Severity::Page;
    world.run(MINUTE, 96, 4);
    assert_eq!(world.told(), [Fired, Raised]);
}

#[test]
fn trap_19_rules_that_cannot_fire_or_always_do_are_said() {
    let warnings = |slo: &Slo| {
        let warnings = slo.parse().unwrap().warnings;
        warnings.into_iter().map(|warning| (warning.line, warning.message)).collect::<Vec<_>>()
    };
    let found = warnings(&Slo::of_requests(0.9));
    assert!(
        matches!(found.as_slice(), [(12, message)] if message.contains("1h/5m can never fire")),
        "{found:?}"
    );
    let tiers =
        |tier: &str| Slo { alerting: format!("{{tiers: [{tier}], spike: off}}"), ..Slo::of_requests(0.99) };
    let found = warnings(&tiers("{long: 1h, short: 5m, factor: 101, severity: page}"));
    assert!(found[0].1.contains("can never fire"), "{found:?}");
    assert!(warnings(&tiers("{long: 1h, short: 5m, factor: 100, severity: page}")).is_empty());
    let found = warnings(&tiers("{long: 1h, short: 5m, factor: 0.5, severity: page}"));
    assert!(found[0].1.contains("which the budget sustains"), "{found:?}");
    let refused = |slo: &Slo| slo.parse().unwrap_err()[0].message.clone();
    assert!(refused(&Slo::of_requests(1.0)).contains("leaves no error budget"));
    let short = refused(&tiers("{long: 1h, short: 5s, factor: 5, severity: page}"));
    assert!(short.contains("too short"), "{short}");
    // A short window never rounds to nothing, however short the SLO window.
    let day = Slo { window: "{duration: 1d, isRolling: true}", ..Slo::of_requests(0.99) };
    assert!(day.objective().alert.tiers.iter().all(|tier| tier.short >= seconds(STEP) && tier.factor >= 1.0));
}
