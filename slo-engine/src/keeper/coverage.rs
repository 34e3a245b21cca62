//! Once a minute: is everything measured that should be? Each check counts, and the gaps are shown by name.

use super::Keeper;
use pqscope_slo_core::coverage::{self, Check, Expectation, Watch};
use pqscope_slo_core::intake::Measured;
use pqscope_slo_core::ledger::{Slot, Window};
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::series::Selector;
use pqscope_slo_core::services::Services;
use pqscope_slo_core::time::Timestamp;
use pqscope_telemetry::attribute;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often coverage is checked.
const INTERVAL: Duration = Duration::from_secs(60);
/// An endpoint with handshakes within this time is on the wire.
const SEEN: Duration = Duration::from_secs(3_600);

/// What is expected, and how that stands.
pub(super) struct Coverage {
    expectations: Vec<Expectation>,
    checked: Option<Timestamp>,
    pub(super) latest: Arc<Vec<Check>>,
}

impl Coverage {
    pub(super) fn new(services: &Services) -> Self {
        Self { expectations: coverage::expectations(services), checked: None, latest: Arc::new(Vec::new()) }
    }
}

impl Keeper {
    /// Checks when it is time to. A minute that we missed is not made up for: nobody looked then.
    pub(super) fn check_coverage(&mut self, now: Timestamp) {
        let due = self.coverage.checked.is_none_or(|last| now.since(last) >= INTERVAL || now < last);
        if !due {
            return;
        }
        self.coverage.checked = Some(now);
        let recorder = &self.recorder;
        let watch = Watch { birth: recorder.birth(), started: self.started, now };
        let services = &self.duties.services;
        let seen = endpoints(recorder, now);
        let heard = |selector: &Selector, span: Duration| is_heard(recorder, selector, span, now);
        let checks = coverage::check(&self.coverage.expectations, services, &seen, watch, heard);
        for check in &checks {
            if let Err(why) = self.recorder.contribute(&check.series(), now, Measured::Count(1), now) {
                tracing::warn!("a check of coverage is not counted: {why}");
            }
        }
        self.coverage.latest = Arc::new(checks);
    }
}

/// Whether a series that the selector picks was heard of within the span. One that exports the same count again and
/// again adds nothing to the ledger, and yet its sender was heard of.
fn is_heard(recorder: &Recorder, selector: &Selector, span: Duration, now: Timestamp) -> bool {
    let ledger = recorder.ledger();
    let told = |slot| recorder.series_heard(slot).is_some_and(|heard| now.since(heard) <= span);
    // After a restart nothing was heard yet, and yet what was counted lately was there.
    ledger.select_slots(selector).any(|slot| told(slot) || has_amount(recorder, slot, span, now))
}

fn has_amount(recorder: &Recorder, slot: Slot, span: Duration, now: Timestamp) -> bool {
    let sum = recorder.ledger().sum(slot, Window::ending(now, span), now);
    sum.is_some_and(|sum| sum.total() > 0 || matches!(sum, Measured::Level(_)))
}

/// Names of the endpoints with handshakes lately.
fn endpoints(recorder: &Recorder, now: Timestamp) -> BTreeSet<String> {
    let endpoints = coverage::endpoints();
    let slots = recorder.ledger().select_slots(&endpoints);
    let seen = slots.filter(|slot| has_amount(recorder, *slot, SEEN, now));
    let series = seen.filter_map(|slot| recorder.ledger().series(slot));
    series.map(|series| series.attribute(attribute::SERVICE).to_owned()).collect()
}
