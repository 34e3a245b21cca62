//! The agent's figures about itself: what was seen, passed by, given up, exported.

use crate::capture::live::InterfaceCounts;
use pqscope_agent_core::aggregate::Attributes;
use pqscope_agent_core::aggregate::Coverage;
use pqscope_agent_core::decode::Skip;
use pqscope_agent_core::observer;
use pqscope_telemetry::attribute;
use pqscope_telemetry::metric::{Metric, agent};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the capture thread knows, as of its last report.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) observer: observer::Health,
    pub(crate) interfaces: Vec<(String, InterfaceCounts)>,
    pub(crate) overflowed: u64,
    pub(crate) coverage: Coverage,
}

/// Figures shared between the threads.
#[derive(Debug, Default)]
pub(crate) struct Health {
    snapshot: Mutex<Snapshot>,
    exported: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

/// A value of one series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) metric: Metric,
    pub(crate) attributes: Attributes,
    pub(crate) value: f64,
}

impl Health {
    /// Replaces what the capture thread knows.
    pub(crate) fn report(&self, snapshot: Snapshot) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// What the capture thread reported last.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts an export that arrived.
    pub(crate) fn exported(&self, points: u64, rejected: u64) {
        self.exported.fetch_add(points.saturating_sub(rejected), Ordering::Relaxed);
        self.rejected.fetch_add(rejected, Ordering::Relaxed);
    }

    /// Counts an export that did not.
    pub(crate) fn export_failed(&self, points: u64) {
        self.failed.fetch_add(points, Ordering::Relaxed);
    }

    /// Every figure; those of one metric stand together, as the text format of Prometheus asks.
    pub(crate) fn readings(&self) -> Vec<Reading> {
        let Snapshot { observer, interfaces, overflowed, coverage } = self.snapshot();
        let mut readings = Readings(Vec::new());
        readings.disposition("used", observer.used);
        for skip in Skip::ALL {
            readings.disposition(skip.as_str(), observer.skipped.get(skip.index()).copied().unwrap_or(0));
        }
        for (name, counts) in interfaces {
            for (disposition, count) in
                [("kernel_dropped", counts.kernel_dropped), ("interface_dropped", counts.interface_dropped)]
            {
                let attributes = vec![
                    (attribute::INTERFACE, name.clone().into()),
                    (attribute::PACKET_DISPOSITION, disposition.into()),
                ];
                readings.add(agent::PACKETS, attributes, count);
            }
        }
        readings.add(agent::BYTES, Vec::new(), observer.bytes);
        readings.add(agent::FLOWS, Vec::new(), observer.flows as u64);
        readings.add(agent::BUFFERED, Vec::new(), observer.buffered as u64);
        readings.reason(agent::EVICTIONS, attribute::EVICTION_REASON, "flows", observer.table.evicted_flows);
        readings.reason(agent::EVICTIONS, attribute::EVICTION_REASON, "bytes", observer.table.evicted_bytes);
        readings.add(agent::LATE_COMPLETIONS, Vec::new(), observer.table.late_completions);
        readings.reason(
            agent::PARSE_ERRORS,
            attribute::REASON,
            "conflicting_overlap",
            observer.table.conflicting_segments,
        );
        let odd_key_shares = observer.odd_key_shares;
        readings.reason(agent::PARSE_ERRORS, attribute::REASON, "key_share_length", odd_key_shares);
        readings.add(agent::CLOCK_STEPS, Vec::new(), observer.clock_steps);
        for (reason, count) in [("negative", observer.negative_intervals), ("zero", observer.zero_intervals)]
        {
            readings.reason(agent::UNMEASURED, attribute::REASON, reason, count);
        }
        readings.add(agent::OVERFLOW, Vec::new(), overflowed);
        for (result, count) in
            [("success", &self.exported), ("rejected", &self.rejected), ("failure", &self.failed)]
        {
            readings.reason(agent::EXPORT, attribute::RESULT, result, count.load(Ordering::Relaxed));
        }
        if let Some(share) = coverage.share() {
            readings.0.push(Reading { metric: agent::COVERAGE, attributes: Vec::new(), value: share });
        }
        readings.0
    }
}

struct Readings(Vec<Reading>);

impl Readings {
    #[expect(clippy::cast_precision_loss, reason = "exposition formats carry floats")]
    fn add(&mut self, metric: Metric, attributes: Attributes, value: u64) {
        self.0.push(Reading { metric, attributes, value: value as f64 });
    }

    fn reason(&mut self, metric: Metric, key: &'static str, value: &'static str, count: u64) {
        self.add(metric, vec![(key, value.into())], count);
    }

    fn disposition(&mut self, disposition: &'static str, count: u64) {
        self.reason(agent::PACKETS, attribute::PACKET_DISPOSITION, disposition, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_one_metric_stand_together() {
        let mut names: Vec<_> =
            Health::default().readings().iter().map(|reading| reading.metric.name).collect();
        names.dedup();
        let runs = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(runs, names.len(), "a metric stands in more than one place");
    }

    #[test]
    fn every_figure_is_exported() {
        let coverage = Coverage { whole: 1, all: 2 };
        let health = Health::default();
        let interfaces = vec![("eth0".to_owned(), InterfaceCounts::default())];
        health.report(Snapshot { coverage, interfaces, ..Snapshot::default() });
        for reading in health.readings() {
            assert!(
                crate::export::self_telemetry::METRICS.contains(&reading.metric),
                "{} is read and not exported",
                reading.metric.name
            );
        }
    }
}
