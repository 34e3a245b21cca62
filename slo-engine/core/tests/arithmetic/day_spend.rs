//! A quarter of the budget gone in a day: escalates an incident once, never pages again, and never is the first to notice.

use crate::world::{BEGIN, DAY, Dice, HOUR, MINUTE, STEP, Slo, World, near, seconds};
use pqscope_slo_core::alert::TransitionKind::{Eased, Escalated, Fired, Raised, Resolved};
use pqscope_slo_core::alert::{Transition, TransitionKind};
use pqscope_slo_core::burn::standard_tiers;
use pqscope_slo_core::objective::Severity;
use std::collections::BTreeMap;

fn with_day_share() -> Slo {
    Slo { alerting: "{spike: off}".to_owned(), ..Slo::of_requests(0.999) }
}

const A_MINUTE: u64 = 1_000_000;

/// A month of clean traffic.
fn after_a_month(slo: &Slo) -> World {
    let mut world = World::new(slo);
    world.now = BEGIN - BEGIN % DAY;
    for _ in 0..30 * 24 {
        world.now += HOUR;
        world.events_at(world.now - 1, 60 * A_MINUTE, 0);
    }
    world.evaluate();
    world
}

/// Minutes at a burn rate, a look after each.
fn burn(world: &mut World, minutes: u64, burn: f64) {
    let bad = (burn * 0.001 * A_MINUTE as f64).round() as u64;
    for _ in 0..minutes {
        world.now += MINUTE;
        world.events_at(world.now, A_MINUTE - bad, bad);
        world.evaluate();
    }
}

fn count(world: &World, kind: TransitionKind) -> usize {
    world.told().iter().filter(|told| **told == kind).count()
}

fn first(world: &World, kind: TransitionKind) -> &Transition {
    world.transitions.iter().find(|transition| transition.kind == kind).unwrap()
}

/// At a burn of `b` a quarter of the budget of thirty days is gone after 180 hours / b.
#[test]
fn a_quarter_in_a_day_escalates_once_and_when_it_is_gone() {
    for rate in [9.0, 20.0, 100.0, 1_000.0] {
        let mut world = after_a_month(&with_day_share());
        let begin = world.now;
        let due = 180.0 * HOUR as f64 / rate;
        burn(&mut world, (1.3 * due / 60.0) as u64 + 20, rate);
        assert_eq!(count(&world, Escalated), 1, "{rate}: {:?}", world.told());
        let escalated = first(&world, Escalated);
        let taken = (escalated.at.seconds() - begin) as f64;
        assert!((due - 1.0..due * 1.01 + 130.0).contains(&taken), "{rate}: {taken}, due {due}");
        assert!(escalated.evidence.day.unwrap().share.unwrap() >= 0.25);
        let fired = first(&world, Fired);
        assert!(fired.at < escalated.at, "{rate}");
        assert_eq!(fired.incident.unwrap().started, escalated.incident.unwrap().started);
        // The severity is that of the incident: escalating wakes nobody a second time.
        assert_eq!(escalated.severity, escalated.incident.unwrap().severity);
        let pages = world.transitions.iter().filter(|transition| {
            matches!(transition.kind, Fired | Raised) && transition.severity == Severity::Page
        });
        assert_eq!(pages.count(), 1, "{rate}: {:?}", world.told());
    }
}

/// Where ten seconds take more than a quarter of the budget the page is still the first, and there is one.
#[test]
fn five_nines_page_before_they_escalate() {
    let mut world = World::new(&Slo { alerting: "{spike: off}".to_owned(), ..Slo::of_requests(0.99999) });
    world.now = BEGIN - BEGIN % DAY;
    for _ in 0..30 * 24 {
        world.now += HOUR;
        world.events_at(world.now - 1, 60 * A_MINUTE, 0);
    }
    world.evaluate();
    world.run(MINUTE, 0, A_MINUTE / 6);
    assert_eq!(world.told(), [Fired, Escalated]);
    assert_eq!(first(&world, Fired).severity, Severity::Page);
}

#[test]
fn just_below_a_quarter_nothing_escalates() {
    let mut world = after_a_month(&with_day_share());
    burn(&mut world, 30 * 60, 7.2);
    assert!(world.evaluate().day.unwrap().share.unwrap() > 0.23);
    assert_eq!(count(&world, Escalated), 0);
    assert!(count(&world, Fired) == 1);
}

#[test]
fn it_is_over_when_the_short_window_burned_below_one_for_two_hours() {
    let tiers = "{tiers: [{long: 1h, short: 5m, factor: 14.4, severity: page}], dayShare: 0.25, spike: off}";
    let mut world = after_a_month(&Slo { alerting: tiers.to_owned(), ..with_day_share() });
    burn(&mut world, 60, 200.0);
    assert_eq!(world.told(), [Fired, Escalated]);
    let end = world.now;
    // An hour and a half below one, a minute above, and again below: the two hours begin anew.
    burn(&mut world, 90, 0.5);
    assert_eq!(world.told(), [Fired, Escalated, Eased], "the page is over, the ticket is not");
    burn(&mut world, 1, 20.0);
    burn(&mut world, 118, 0.5);
    assert!(world.fires());
    burn(&mut world, 10, 0.5);
    assert_eq!(world.told(), [Fired, Escalated, Eased, Resolved]);
    let resolved = first(&world, Resolved).at.seconds() - end;
    assert!((91 * MINUTE + 2 * HOUR..91 * MINUTE + 2 * HOUR + 6 * MINUTE).contains(&resolved), "{resolved}");
    assert!(world.evaluate().day.unwrap().share.unwrap() > 0.25, "though the day's spend is what it was");
}

#[test]
fn an_incident_that_pauses_and_goes_on_is_escalated_once() {
    let mut world = after_a_month(&with_day_share());
    burn(&mut world, 60, 300.0);
    assert_eq!(count(&world, Escalated), 1);
    for _ in 0..3 {
        // Long enough for the spend to be quiet, not for the six hours' window.
        burn(&mut world, 150, 0.2);
        assert!(world.fires() && !world.state.tiers["day-spend"].firing);
        burn(&mut world, 30, 300.0);
        assert!(world.state.tiers["day-spend"].firing);
    }
    assert_eq!((count(&world, Escalated), count(&world, Fired)), (1, 1), "{:?}", world.told());
    // Another incident is another review.
    burn(&mut world, 12 * 60, 0.0);
    assert_eq!(count(&world, Resolved), 1);
    burn(&mut world, 60, 300.0);
    assert_eq!((count(&world, Escalated), count(&world, Fired)), (2, 2));
}

/// A month begins at night. What went in the day before is a part of a month like that day, not of a month of nights.
#[test]
fn a_new_month_is_not_measured_by_its_first_minutes() {
    let window = "{duration: 1M, calendar: {startTime: 2027-01-01 00:00:00, timeZone: UTC}}";
    let mut world = World::new(&Slo { window, ..with_day_share() });
    world.now = 1_801_440_000 - 20 * DAY; // 2027-02-01T00:00:00Z
    for _ in 0..20 {
        for hour in 0..24 {
            world.now += HOUR;
            // Busy by day, little by night; half the sustainable burn all the time.
            let busy = if (6..22).contains(&hour) { 20_000_000 } else { 40_000 };
            world.events_at(world.now - 1, busy, busy / 2_000);
        }
    }
    for _ in 0..2 * HOUR / STEP {
        world.now += STEP;
        world.events_at(world.now, 998, 2);
        let evaluation = world.evaluate();
        let day = evaluation.day.unwrap();
        assert!(day.share.unwrap() < 0.03, "{day:?}");
    }
    assert_eq!(count(&world, Escalated), 0);
}

/// Minutes of a month and two days, summed up so that any window is one subtraction.
struct Minutes {
    bad: Vec<f64>,
    total: Vec<f64>,
}

impl Minutes {
    fn new() -> Self {
        Self { bad: vec![0.0], total: vec![0.0] }
    }

    fn push(&mut self, total: f64, share: f64) {
        let (bad, all) = (self.bad.last().unwrap() + total * share, self.total.last().unwrap() + total);
        self.bad.push(bad);
        self.total.push(all);
    }

    fn last(&self, minutes: usize) -> (f64, f64) {
        let (end, from) = (self.bad.len() - 1, (self.bad.len() - 1).saturating_sub(minutes));
        (self.bad[end] - self.bad[from], self.total[end] - self.total[from])
    }

    fn burn(&self, minutes: usize, allowed: f64) -> f64 {
        let (bad, total) = self.last(minutes);
        if total > 0.0 { bad / total / allowed } else { 0.0 }
    }
}

/// Thousands of incidents by the formulas alone, on traffic with days and nights: what the four window pairs see, and when
/// a quarter of the budget is gone in a day while it still burns.
#[test]
fn the_day_is_never_the_first_to_notice() {
    let tiers = standard_tiers(seconds(30 * DAY));
    let minutes = |span: std::time::Duration| usize::try_from(span.as_secs() / MINUTE).unwrap();
    let mut dice = Dice::new(4_489);
    let traffic = |minute: u64, swing: f64| {
        1_000.0 * (1.0 + swing * (minute as f64 / 1_440.0 * std::f64::consts::TAU).sin())
    };
    let mut months: BTreeMap<u64, Minutes> = BTreeMap::new();
    let (mut escalated, mut first) = (0, 0);
    for _ in 0..1_500 {
        let swing = (dice.next() % 10) as f64 / 10.0;
        let allowed: f64 = [0.05, 0.01, 0.001, 0.0001][usize::try_from(dice.next() % 4).unwrap()];
        let month = months.entry((swing * 10.0) as u64).or_insert_with(|| {
            let mut month = Minutes::new();
            (0..30 * 1_440).for_each(|minute| month.push(traffic(minute, swing), 0.0));
            month
        });
        let clean = month.bad.len();
        let begin = dice.next() % 1_440;
        // A burn rate for some time, another after it, pauses among them.
        let (mut share, mut left) = (0.0, 0);
        let mut noticed = tiers.iter().map(|_| None::<u64>).collect::<Vec<_>>();
        let (mut fired_at, mut spending) = (None, None);
        for minute in 0..begin + 1_440 {
            if minute >= begin && left == 0 {
                let burn = (dice.share() * (1.0 / allowed).ln()).exp();
                share = if dice.next().is_multiple_of(4) { 0.0 } else { burn * allowed };
                left = 5 + dice.next() % 300;
            }
            left -= u64::from(left > 0);
            month.push(traffic(minute, swing), if minute < begin { 0.0 } else { share });
            if minute < begin {
                continue;
            }
            for (tier, since) in tiers.iter().zip(&mut noticed) {
                let holds = [tier.long, tier.short]
                    .into_iter()
                    .all(|window| month.burn(minutes(window), allowed) >= tier.factor * (1.0 - 1e-9));
                *since = if holds { since.or(Some(minute)) } else { None };
                if since.is_some_and(|since| (minute - since) * MINUTE >= tier.pending_for.as_secs()) {
                    fired_at = fired_at.or(Some(minute));
                }
            }
            let (spent, budget) = (month.last(1_440).0, month.last(30 * 1_440).1 * allowed);
            let spends = spent >= 0.25 * budget && month.burn(5, allowed) >= 1.0;
            if spends && spending.is_some_and(|since| since < minute) {
                escalated += 1;
                first += u32::from(fired_at.is_none());
                break;
            }
            spending = if spends { spending.or(Some(minute)) } else { None };
        }
        month.bad.truncate(clean);
        month.total.truncate(clean);
    }
    assert!(escalated > 300, "{escalated} escalate");
    assert_eq!(first, 0, "of {escalated}");
    // The check itself: with the window pairs gone, the day does see incidents.
    let mut world = after_a_month(&Slo {
        alerting:
            "{tiers: [{long: 1h, short: 5m, factor: 1000, severity: page}], dayShare: 0.25, spike: off}"
                .to_owned(),
        ..with_day_share()
    });
    burn(&mut world, 4 * 60, 100.0);
    assert_eq!(world.told(), [Fired, Escalated]);
    assert!(near(world.evaluate().day.unwrap().limit, 0.25));
}
