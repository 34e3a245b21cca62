//! What the engine counts itself, as figures for others: events, outcomes of rotations, checks of coverage, sizes of stores,
//! times to detect. Those who have no other copy of them, such as a Prometheus with compiled rules, read them here.

use pqscope_slo_core::intake::Measured;
use pqscope_slo_core::ledger::{Ledger, Window};
use pqscope_slo_core::series::Attributes;
use pqscope_slo_core::time::Timestamp;
use pqscope_telemetry::metric::{Metric, engine};

/// Counted since the state was begun.
const COUNTERS: [&Metric; 3] = [&engine::EVENTS, &engine::ROTATION_OUTCOMES, &engine::COVERAGE_CHECKS];
/// Told as they are now.
const GAUGES: [&Metric; 3] = [&engine::STORAGE_SIZE, &engine::ENTROPY_HEALTHY, &engine::QKD_LINK_UP];
/// Distributed since the hour in which the engine started, with the upper ends of the buckets that are shown, in seconds.
const HISTOGRAMS: [(&Metric, &[f64]); 2] = [
    (&engine::EVENT_DURATION, &[0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0]),
    (&engine::INCIDENT_DETECTION_DURATION, &[10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1_800.0, 3_600.0]),
];

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// What it measures.
    pub(crate) metric: &'static Metric,
    /// Its attributes.
    pub(crate) attributes: Attributes,
    /// Its value.
    pub(crate) value: KeptValue,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KeptValue {
    /// A count or a level.
    Number(f64),
    /// Observations up to each bound, and all of them.
    Buckets(Vec<(f64, u64)>, u64),
}

/// All of it, metric by metric.
pub(super) fn kept(ledger: &Ledger, since: u64, now: Timestamp) -> Vec<Kept> {
    let window = Window { from: since, to: Window::ending(now, std::time::Duration::ZERO).to };
    let mut all = Vec::new();
    let mut add = |metric: &'static Metric,
                   value: &dyn Fn(pqscope_slo_core::ledger::Slot) -> Option<KeptValue>| {
        for slot in ledger.slots_of_metric(metric.name) {
            if let (Some(series), Some(value)) = (ledger.series(*slot), value(*slot)) {
                all.push(Kept { metric, attributes: series.attributes.clone(), value });
            }
        }
    };
    for metric in COUNTERS {
        add(metric, &|slot| Some(KeptValue::Number(float(ledger.total(slot)))));
    }
    for metric in GAUGES {
        add(metric, &|slot| ledger.level_at(slot, now, now).map(|level| KeptValue::Number(level.value)));
    }
    for (metric, bounds) in HISTOGRAMS {
        add(metric, &|slot| {
            let sum = ledger.sum(slot, window, now);
            let upto = |bound: f64| sum.as_ref().and_then(|sum| sum.at_or_below(bound)).unwrap_or(0);
            let buckets = bounds.iter().map(|bound| (*bound, upto(*bound))).collect();
            Some(KeptValue::Buckets(buckets, sum.as_ref().map_or(0, Measured::total)))
        });
    }
    all
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only floats; counts stay below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}
