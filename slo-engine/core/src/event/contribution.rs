//! What an event adds to the counts: series with bounded attributes, and amounts.

use super::label::Labels;
use super::{Event, EventKind, Outcome, ReasonClass};
use crate::distribution::{Distribution, Exponential, to_count};
use crate::measured::{Level, Measured};
use crate::series::Series;
use crate::time::Timestamp;
use pqscope_telemetry::attribute;
use pqscope_telemetry::metric::engine;

/// Scale of the histograms: neighbouring bounds differ by 2.2 %.
const SCALE: i32 = 5;

/// Everything that an event adds; the count of the event itself comes first.
pub(super) fn contributions(event: &Event, labels: &mut Labels, now: Timestamp) -> Vec<(Series, Measured)> {
    let data = &event.data;
    let mut made = vec![(counter(event, labels, now), Measured::Count(data.number()))];
    if let Some(distribution) = data.duration.and_then(|seconds| observed(seconds, data.number())) {
        made.push((histogram(event, labels, now), distribution.into()));
    }
    let gauge = match event.kind {
        EventKind::StorageSize => data
            .store
            .as_deref()
            .zip(data.bytes)
            .map(|(store, bytes)| (engine::STORAGE_SIZE.name, attribute::STORE, store, float(bytes))),
        EventKind::EntropyHealth => data
            .entropy_source
            .as_deref()
            .map(|name| (engine::ENTROPY_HEALTHY.name, attribute::ENTROPY_SOURCE, name, good(data.result))),
        EventKind::QkdLink => data
            .link
            .as_deref()
            .map(|name| (engine::QKD_LINK_UP.name, attribute::QKD_LINK, name, good(data.result))),
        _ => None,
    };
    if let Some((metric, key, name, value)) = gauge
        && let Ok(level) = Level::new(event.time, value)
    {
        made.push((Series::new(metric, [(key, labels.bounded(key, name, now))]), Measured::Level(level)));
    }
    made
}

fn counter(event: &Event, labels: &mut Labels, now: Timestamp) -> Series {
    let data = &event.data;
    let mut attributes = vec![(attribute::EVENT_TYPE, event.kind.word())];
    attributes.extend(data.result.map(|result| (attribute::RESULT, result.word())));
    if data.result == Some(Outcome::Failure) || data.reason_class.is_some() {
        let class = data.reason_class.unwrap_or(ReasonClass::Other);
        attributes.push((attribute::REASON_CLASS, class.word()));
    }
    for (key, value) in [
        (attribute::SERVICE, &data.service),
        (attribute::DEPLOYMENT, &data.deployment),
        (attribute::ALGORITHM, &data.algorithm),
        (attribute::HSM, &data.hsm),
        (attribute::ISSUER, &data.issuer),
        (attribute::STORE, &data.store),
        (attribute::ENTROPY_SOURCE, &data.entropy_source),
        (attribute::QKD_LINK, &data.link),
    ] {
        attributes.extend(value.as_deref().map(|value| (key, labels.bounded(key, value, now))));
    }
    for (key, value) in [(attribute::BLOCKING, data.blocking), (attribute::WRAPPED, data.wrapped)] {
        attributes.extend(value.map(|value| (key, if value { "true" } else { "false" })));
    }
    Series::new(engine::EVENTS.name, attributes)
}

/// Histograms carry few attributes, for each costs many buckets.
fn histogram(event: &Event, labels: &mut Labels, now: Timestamp) -> Series {
    let data = &event.data;
    let mut attributes = vec![(attribute::EVENT_TYPE, event.kind.word())];
    for (key, value) in [(attribute::SERVICE, &data.service), (attribute::ALGORITHM, &data.algorithm)] {
        attributes.extend(value.as_deref().map(|value| (key, labels.bounded(key, value, now))));
    }
    Series::new(engine::EVENT_DURATION.name, attributes)
}

/// So many observations of one duration in seconds.
fn observed(seconds: f64, number: u64) -> Option<Distribution> {
    let made = if seconds > 0.0 {
        // Bucket i holds (b^i, b^(i+1)]: a power of the base is the upper end of its bucket.
        let position = seconds.log2() * f64::from(SCALE).exp2();
        let index = position.ceil() - 1.0;
        let negative = index < 0.0;
        let size = i32::try_from(to_count(index.abs())).ok()?;
        Exponential::new(SCALE, number, 0, if negative { -size } else { size }, &[number], 0)
    } else {
        Exponential::new(SCALE, number, number, 0, &[], 0)
    };
    made.ok().map(Distribution::from)
}

fn good(result: Option<Outcome>) -> f64 {
    f64::from(u8::from(result == Some(Outcome::Success)))
}

/// Exact below 2^53, which is as large as a store may be.
fn float(bytes: u64) -> f64 {
    crate::distribution::to_float(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventData;

    fn event(kind: EventKind, data: EventData) -> Event {
        Event { id: "1".into(), source: "s".into(), kind, time: Timestamp::from_seconds(9), data }
    }

    fn of(kind: EventKind, data: EventData) -> Vec<(Series, Measured)> {
        contributions(&event(kind, data), &mut Labels::default(), Timestamp::from_seconds(10))
    }

    #[test]
    fn a_failure_counts_with_its_class_and_never_with_its_key() {
        let data = EventData {
            result: Some(Outcome::Failure),
            service: Some("hsm".into()),
            key_id: Some("k-1".into()),
            blocking: Some(true),
            count: Some(3),
            duration: Some(0.5),
            ..EventData::default()
        };
        let made = of(EventKind::KeyImport, data);
        assert_eq!(
            made[0],
            (
                Series::new(
                    "pqscope.events",
                    [
                        ("pqscope.event.type", "pqscope.key.import"),
                        ("pqscope.result", "failure"),
                        ("pqscope.reason_class", "other"),
                        ("pqscope.service", "hsm"),
                        ("pqscope.blocking", "true"),
                    ]
                ),
                Measured::Count(3)
            )
        );
        assert_eq!(made[1].0.metric, "pqscope.event.duration");
        assert_eq!(
            (made[1].1.total(), made[1].1.at_or_below(0.5), made[1].1.at_or_below(0.48)),
            (3, Some(3), Some(0))
        );
    }

    #[test]
    fn sizes_and_healths_are_levels() {
        let data = EventData { store: Some("registry".into()), bytes: Some(1 << 40), ..EventData::default() };
        let made = of(EventKind::StorageSize, data);
        assert_eq!(made[1].0, Series::new("pqscope.storage.size", [("pqscope.store", "registry")]));
        assert!(matches!(made[1].1, Measured::Level(level) if level.value == 1_099_511_627_776.0));
        for (result, value) in [(Outcome::Success, 1.0), (Outcome::Failure, 0.0)] {
            let data = EventData { link: Some("a-b".into()), result: Some(result), ..EventData::default() };
            let made = of(EventKind::QkdLink, data);
            assert!(matches!(made[1].1, Measured::Level(level) if level.value == value));
        }
    }

    #[test]
    fn durations_of_every_size_are_counted_once() {
        for seconds in [0.0, 1e-300, 1e-9, 0.125, 0.3, 1.0, 2.0, 31_622_400.0] {
            let made = observed(seconds, 2).unwrap();
            assert_eq!((made.total(), made.at_or_below(seconds * 1.03)), (2, 2), "{seconds}");
            if seconds > 0.0 {
                assert_eq!(made.at_or_below(seconds * 0.97), 0, "{seconds}");
            }
        }
    }
}
