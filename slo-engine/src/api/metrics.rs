//! The engine's figures in Prometheus' text format.

use crate::keeper::{Kept, KeptValue, ObjectiveView, View};
use crate::notify::DeliveryFigures;
use pqscope_slo_core::evaluation::ObjectiveState;
use pqscope_slo_core::series::Attributes;
use pqscope_slo_core::time::span_text;
use pqscope_telemetry::attribute::{ADAPTER, RECEIVER, RESULT, SERVICE, SLO_NAME, STATE, WINDOW};
use pqscope_telemetry::exposition::{metric_name, write_header, write_sample};
use pqscope_telemetry::metric::{Metric, engine};

/// States of an SLO in the metric, in the contract's words.
const STATES: [&str; 7] =
    ["ok", "burning", "exhausted", "no_data", "insufficient_data", "overflowed", "rolled_back"];

/// Writes all families.
pub(super) fn exposition(view: &View, deliveries: &DeliveryFigures) -> String {
    let mut page = Page::default();
    write_objectives(&mut page, view);
    write_engine(&mut page, view, deliveries);
    write_events(&mut page, view);
    page.text
}

fn write_objectives(page: &mut Page, view: &View) {
    page.family(&engine::SLO_OBJECTIVE, |family| {
        for slo in view.objectives.iter() {
            if let Some(share) = slo.objective.goal.share() {
                family.sample(slo, &[], share);
            }
        }
    });
    page.family(&engine::BUDGET_REMAINING, |family| {
        for slo in view.objectives.iter() {
            if let Some(remaining) = slo.evaluation.budget.remaining {
                family.sample(slo, &[], remaining);
            }
        }
    });
    page.family(&engine::BUDGET_EXHAUSTION, |family| {
        for slo in view.objectives.iter() {
            if let Some(exhaustion) = slo.evaluation.budget.exhaustion {
                family.sample(slo, &[], exhaustion.as_secs_f64());
            }
        }
    });
    page.family(&engine::STORAGE_FORECAST, |family| {
        for slo in view.objectives.iter() {
            if let Some(full_in) = slo.evaluation.full_in {
                family.sample(slo, &[], full_in.as_secs_f64());
            }
        }
    });
    page.family(&engine::BURN_RATE, |family| {
        for slo in view.objectives.iter() {
            for reading in &slo.evaluation.windows {
                if let Some(burn) = reading.burn {
                    family.sample(slo, &[(WINDOW, &span_text(reading.length))], burn);
                }
            }
        }
    });
    page.family(&engine::SLO_EVENTS, |family| {
        for slo in view.objectives.iter() {
            family.sample(slo, &[(RESULT, "good")], slo.events.good);
            family.sample(slo, &[(RESULT, "bad")], slo.events.bad);
            family.sample(slo, &[(RESULT, "excluded")], slo.excluded.total);
        }
    });
    let rolled_back = view.notices.iter().any(|notice| notice.rolled_back);
    page.family(&engine::SLO_STATE, |family| {
        for slo in view.objectives.iter() {
            for state in STATES {
                let holds = match state {
                    "rolled_back" => rolled_back,
                    state => state == word(slo.evaluation.state),
                };
                family.sample(slo, &[(STATE, state)], f64::from(u8::from(holds)));
            }
        }
    });
}

fn write_engine(page: &mut Page, view: &View, deliveries: &DeliveryFigures) {
    write_kept(page, view);
    page.family(&engine::NOTIFICATIONS, |family| {
        for receiver in &view.receivers {
            for result in ["sent", "retried", "dead"] {
                let count = deliveries.attempts.get(&(receiver.clone(), result)).copied().unwrap_or(0);
                family.plain(&[(RECEIVER, receiver), (RESULT, result)], float(count));
            }
        }
    });
    page.family(&engine::ENGINE_OUTBOX, |family| {
        for ((receiver, state), count) in &view.outbox {
            family.plain(&[(RECEIVER, receiver), (STATE, state)], float(*count));
        }
    });
    page.family(&engine::ENGINE_POINTS, |family| {
        for (result, count) in &view.points {
            family.plain(&[(RESULT, result)], float(*count));
        }
    });
    page.family(&engine::ENGINE_SERIES, |family| family.plain(&[], float(view.series as u64)));
    page.family(&engine::ENGINE_STREAMS, |family| family.plain(&[], float(view.streams as u64)));
    page.family(&engine::ENGINE_EVALUATIONS, |family| family.plain(&[], float(view.evaluations)));
    let took = view.evaluation_time.as_secs_f64();
    page.family(&engine::ENGINE_EVALUATION_DURATION, |family| family.plain(&[], took));
    page.family(&engine::ENGINE_STORE_COMMITS, |family| family.plain(&[], float(view.store.commits)));
    page.family(&engine::ENGINE_STORE_FAILURES, |family| family.plain(&[], float(view.store.failures)));
    page.family(&engine::ENGINE_STORE_SIZE, |family| family.plain(&[], float(view.store.size_bytes)));
    let healthy = f64::from(u8::from(view.store.healthy));
    page.family(&engine::ENGINE_STORE_HEALTHY, |family| family.plain(&[], healthy));
}

fn write_events(page: &mut Page, view: &View) {
    page.family(&engine::ENGINE_EVENTS, |family| {
        for (result, count) in &view.events.results {
            family.plain(&[(RESULT, result)], float(*count));
        }
    });
    let ignored = float(view.events.ignored_fields);
    page.family(&engine::ENGINE_EVENT_FIELDS_IGNORED, |family| family.plain(&[], ignored));
    let uncounted = float(view.events.uncounted);
    page.family(&engine::ENGINE_EVENT_UNCOUNTED, |family| family.plain(&[], uncounted));
    page.family(&engine::ENGINE_ADAPTER_RECORDS, |family| {
        for ((adapter, result), count) in &view.events.records {
            family.plain(&[(ADAPTER, adapter), (RESULT, result)], float(*count));
        }
    });
    page.family(&engine::ROTATIONS, |family| {
        for (state, count) in &view.events.rotations {
            family.plain(&[(STATE, state.word())], float(*count));
        }
    });
}

fn labels<'a>(attributes: &'a Attributes, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    own.chain(more.iter().copied()).collect()
}

/// What the engine counts itself, family by family as they lie in the view.
fn write_kept(page: &mut Page, view: &View) {
    for family in view.kept.chunk_by(|a, b| a.metric == b.metric) {
        let Some(first) = family.first() else { continue };
        page.family(first.metric, |page| {
            for Kept { attributes, value, .. } in family {
                match value {
                    KeptValue::Number(number) => page.plain(&labels(attributes, &[]), *number),
                    KeptValue::Buckets(buckets, count) => {
                        let name = format!("{}_bucket", page.name);
                        let bounds = buckets.iter().map(|(bound, upto)| (bound.to_string(), *upto));
                        for (bound, upto) in bounds.chain([("+Inf".to_owned(), *count)]) {
                            let all = labels(attributes, &[("le", &bound)]);
                            write_sample(page.text, &name, all, float(upto));
                        }
                        let name = format!("{}_count", page.name);
                        write_sample(page.text, &name, labels(attributes, &[]), float(*count));
                    }
                }
            }
        });
    }
}

const fn word(state: ObjectiveState) -> &'static str {
    match state {
        ObjectiveState::Overflowed => "overflowed",
        ObjectiveState::NoData => "no_data",
        ObjectiveState::Burning => "burning",
        ObjectiveState::Exhausted => "exhausted",
        ObjectiveState::InsufficientData => "insufficient_data",
        ObjectiveState::Ok => "ok",
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only floats; counts stay below 2^53")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, metric: &Metric, fill: impl FnOnce(&mut Family<'_>)) {
        let name = metric_name(metric);
        write_header(&mut self.text, &name, metric.kind, metric.description);
        fill(&mut Family { text: &mut self.text, name });
    }
}

struct Family<'a> {
    text: &'a mut String,
    name: String,
}

impl Family<'_> {
    /// A sample about an objective.
    fn sample(&mut self, slo: &ObjectiveView, more: &[(&str, &str)], value: f64) {
        let own = [(SLO_NAME, slo.objective.name.as_str()), (SERVICE, slo.objective.service.as_str())];
        write_sample(self.text, &self.name, own.into_iter().chain(more.iter().copied()), value);
    }

    /// A sample about the engine.
    fn plain(&mut self, labels: &[(&str, &str)], value: f64) {
        write_sample(self.text, &self.name, labels.iter().copied(), value);
    }
}
