//! Random histories of several senders that begin anew, fall silent and have little traffic: engine, rules and reference
//! model tell the same of each.

use crate::harness::{Counter, Traffic, all_agree, by_engine, by_rules, firing, objective, promtool};
use crate::{BURN_ONLY, MINUTE, slo};
use fastrand::Rng;
use std::iter::repeat_n;

const STEPS: usize = 5 * 60;
const SENDERS: [&str; 3] = ["a", "b", "c"];

/// What comes in a minute for some time.
#[derive(Clone, Copy)]
enum Weather {
    /// So many events per sender, of which so many of a thousand fail.
    Traffic(u64, u64),
    /// Counters that stand still.
    Idle,
    /// No samples at all.
    Silence,
}

fn weather(dice: &mut Rng) -> Vec<Weather> {
    let mut all = Vec::new();
    while all.len() < STEPS {
        let events = [2, 40, 600][dice.usize(0..3)];
        let failing = [0, 0, 5, 80, 160, 500, 1_000][dice.usize(0..7)];
        let now = match dice.u8(0..10) {
            0 => Weather::Idle,
            1 if !matches!(all.last(), Some(Weather::Silence)) => Weather::Silence,
            _ => Weather::Traffic(events, failing),
        };
        all.extend(repeat_n(now, dice.usize(3..40)));
    }
    all.truncate(STEPS);
    all
}

/// Nothing happens during a silence: the engine spreads what came in such a gap over it, rules count it when it is seen.
/// Silence lasts less than an hour: a counter that is away for longer is a new one to Prometheus. And a counter that begins
/// anew has less than before, or has been at zero: Prometheus would not see it.
fn traffic(dice: &mut Rng) -> Traffic {
    let weather = weather(dice);
    let mut series = Vec::new();
    for instance in SENDERS {
        let restarts: Vec<usize> = (0..dice.usize(0..4)).map(|_| dice.usize(1..STEPS)).collect();
        let mut counts = vec![(Some(0), Some(0))];
        let mut sums = (0_u64, 0_u64);
        for (number, now) in weather.iter().enumerate().skip(1) {
            let (mut good, mut bad) = match now {
                Weather::Traffic(events, failing) => {
                    let bad = (0..*events).filter(|_| dice.u64(0..1_000) < *failing).count() as u64;
                    (events - bad, bad)
                }
                Weather::Idle | Weather::Silence => (0, 0),
            };
            if matches!(weather[number - 1], Weather::Silence) {
                (good, bad) = (0, 0);
            }
            if restarts.contains(&number) {
                (good, bad) = (good.min(sums.0.saturating_sub(1)), bad.min(sums.1.saturating_sub(1)));
                sums = (0, 0);
            }
            sums = (sums.0 + good, sums.1 + bad);
            let silent = matches!(now, Weather::Silence);
            counts.push(if silent { (None, None) } else { (Some(good), Some(bad)) });
        }
        let (completed, failed) = counts.into_iter().unzip();
        for (outcome, increments) in [("completed", completed), ("failed", failed)] {
            let counter = Counter::new(instance, vec![("outcome", outcome.to_owned())], increments);
            series.push(Counter { restarts: restarts.clone(), ..counter });
        }
    }
    Traffic { step: MINUTE, series }
}

#[test]
fn engine_rules_and_reference_agree_on_any_history() {
    let Some(promtool) = promtool("any_history") else { return };
    let objective = objective(&slo("target: 0.99", BURN_ONLY));
    let mut fired = 0;
    for seed in 0..12 {
        let mut dice = Rng::with_seed(seed);
        let traffic = traffic(&mut dice);
        let delay = [0, 0, MINUTE, 90][dice.usize(0..4)];
        let engine = by_engine(&objective, &traffic);
        let rules = by_rules(&objective, &traffic, delay, &promtool);
        println!("seed {seed}, read {delay} s late");
        all_agree(&objective, &traffic, &engine, &rules);
        fired += rules.keys().map(|name| firing(&rules, name).len()).sum::<usize>();
    }
    assert!(fired > 24, "histories in which little happens prove little: {fired}");
}
