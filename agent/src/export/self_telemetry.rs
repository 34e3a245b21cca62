//! The agent's figures about itself through the OpenTelemetry SDK and its OTLP exporter.

use crate::health::{Health, Reading};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use pqscope_telemetry::metric::{Kind, Metric, agent};
use std::sync::Arc;
use std::time::Duration;

/// Metrics that are read from [`Health`].
pub(crate) const METRICS: [Metric; 12] = [
    agent::PACKETS,
    agent::BYTES,
    agent::FLOWS,
    agent::BUFFERED,
    agent::EVICTIONS,
    agent::LATE_COMPLETIONS,
    agent::CLOCK_STEPS,
    agent::UNMEASURED,
    agent::PARSE_ERRORS,
    agent::OVERFLOW,
    agent::EXPORT,
    agent::COVERAGE,
];

/// Begins to export; ends with [`SdkMeterProvider::shutdown`]. The exporter reads the same environment variables.
///
/// # Errors
///
/// Where the exporter cannot be made from the environment.
pub(crate) fn start(
    health: &Arc<Health>,
    resource: &[(String, String)],
    interval: Duration,
) -> anyhow::Result<SdkMeterProvider> {
    let exporter = MetricExporter::builder().build()?;
    let reader = PeriodicReader::builder(exporter).with_interval(interval).build();
    let attributes = resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let resource = Resource::builder_empty().with_attributes(attributes).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
    let meter = provider.meter("pqscope-agent");
    for metric in METRICS {
        observe(&meter, metric, Arc::clone(health));
    }
    Ok(provider)
}

fn observe(meter: &Meter, metric: Metric, health: Arc<Health>) {
    let readings = move || health.readings().into_iter().filter(move |reading| reading.metric == metric);
    match metric.kind {
        Kind::Counter => {
            let counter = meter.u64_observable_counter(metric.name);
            counter
                .with_description(metric.description)
                .with_unit(metric.unit)
                .with_callback(move |observer| {
                    for reading in readings() {
                        observer.observe(whole(reading.value), &key_values(&reading));
                    }
                })
                .build();
        }
        Kind::UpDownCounter => {
            let counter = meter.i64_observable_up_down_counter(metric.name);
            counter
                .with_description(metric.description)
                .with_unit(metric.unit)
                .with_callback(move |observer| {
                    for reading in readings() {
                        observer.observe(whole(reading.value).cast_signed(), &key_values(&reading));
                    }
                })
                .build();
        }
        Kind::Gauge | Kind::Histogram => {
            let gauge = meter.f64_observable_gauge(metric.name);
            gauge
                .with_description(metric.description)
                .with_unit(metric.unit)
                .with_callback(move |observer| {
                    for reading in readings() {
                        observer.observe(reading.value, &key_values(&reading));
                    }
                })
                .build();
        }
    }
}

fn key_values(reading: &Reading) -> Vec<KeyValue> {
    reading.attributes.iter().map(|(key, value)| KeyValue::new(*key, value.to_string())).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "readings of counters are whole")]
fn whole(value: f64) -> u64 {
    value as u64
}
