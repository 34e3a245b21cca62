//! What the engine costs: points per second from the bytes of a request to the counts, and bytes of disk per day.
//!
//!     cargo test --release -p pqscope-slo -- --ignored bench --nocapture --test-threads 1
//!     PQSCOPE_HOURS=24 ...     a whole simulated day on disk instead of an hour

use crate::ingest::{Interest, Reading, unpacked};
use crate::store::{Batch, Store, Table, Urgency};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use pqscope_slo_core::intake::{Measured, Point, Temporality};
use pqscope_slo_core::ledger::Limits;
use pqscope_slo_core::recorder::Recorder;
use pqscope_slo_core::series::{Attributes, Series, SourceId};
use pqscope_slo_core::time::Timestamp;
use prost::Message;
use std::time::{Duration, Instant};

const NOW: u64 = 1_800_000_000;

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn export(series: u32, round: u64) -> Vec<u8> {
    let time = Timestamp::from_seconds(NOW + 10 * round).nanoseconds();
    let points = (0..series).map(|number| NumberDataPoint {
        attributes: vec![
            text("pqscope.service", &format!("service-{}.example", number / 10)),
            text("pqscope.outcome", ["completed", "failed"][number as usize % 2]),
            text("tls.protocol.version", "1.3"),
            text("pqscope.group.class", &format!("class-{}", number % 10)),
        ],
        start_time_unix_nano: Timestamp::from_seconds(NOW - 50).nanoseconds(),
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsInt(i64::try_from(round * 40).unwrap())),
        ..NumberDataPoint::default()
    });
    let sum = Sum { data_points: points.collect(), aggregation_temporality: 2, is_monotonic: true };
    let metric = Metric {
        name: "pqscope.handshakes".to_owned(),
        data: Some(metric::Data::Sum(sum)),
        ..Metric::default()
    };
    let resource = Resource {
        attributes: vec![text("service.name", "agent"), text("service.instance.id", "7")],
        ..Resource::default()
    };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }.encode_to_vec()
}

#[test]
#[ignore = "a benchmark"]
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn bench_ingest() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path()).unwrap();
    let interest = Interest::default();
    let mut recorder = Recorder::new(Timestamp::from_seconds(NOW - 100), Limits::default());
    let (series, rounds) = (8_000_u32, 40);
    let requests: Vec<Vec<u8>> = (1..=rounds).map(|round| export(series, round)).collect();
    let (mut decoding, mut counting, mut committing) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for (round, request) in (1..).zip(&requests) {
        let begun = Instant::now();
        let export = unpacked(request, &interest);
        decoding += begun.elapsed();
        let begun = Instant::now();
        let now = Timestamp::from_seconds(NOW + 10 * round);
        for sample in &export.samples {
            let Reading::Point(point) = &sample.reading else { panic!("a counter") };
            recorder.accept_known(sample.source, sample.series.id(), &sample.series, point, now).unwrap();
        }
        counting += begun.elapsed();
        let begun = Instant::now();
        let mut batch = Batch::default();
        recorder.take_journal().into_iter().for_each(|chunk| batch.journal(chunk));
        store.commit(batch, Urgency::Repeatable).unwrap();
        committing += begun.elapsed();
    }
    let points = f64::from(series) * rounds as f64;
    let per_point = |time: Duration| time.as_secs_f64() * 1e9 / points;
    println!(
        "ingest: {:.0} points/s: bytes to samples {:.0} ns, counting {:.0} ns, commit with fsync {:.0} ns a point",
        points / (decoding + counting + committing).as_secs_f64(),
        per_point(decoding),
        per_point(counting),
        per_point(committing)
    );
}

/// A thousand series that move every ten seconds, committed each time, with a checkpoint every five minutes.
#[test]
#[ignore = "a benchmark"]
fn bench_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path()).unwrap();
    let hours: u64 = std::env::var("PQSCOPE_HOURS").map_or(1, |hours| hours.parse().unwrap());
    let mut recorder = Recorder::new(Timestamp::from_seconds(NOW - 100), Limits::default());
    let all: Vec<Series> = (0..1_000)
        .map(|number| Series::new("pqscope.handshakes", [("service", number.to_string())]))
        .collect();
    let resource = Attributes::from([("service.instance.id".to_owned(), "a".to_owned())]);
    let source = SourceId::new(&resource, "pqscope", "pqscope.handshakes");
    let (mut first, mut written) = (recorder.next_chunk(), 0);
    let mut value = 0;
    for round in 1..=hours * 360 {
        let time = Timestamp::from_seconds(NOW + 10 * round);
        value += 30 + round % 40;
        for series in &all {
            let start = Some(Timestamp::from_seconds(NOW - 50));
            let value = Some(Measured::Count(value));
            let point = Point { temporality: Temporality::Cumulative, start, time, value };
            recorder.accept(source, series, &point, time).unwrap();
        }
        let mut batch = Batch::default();
        for chunk in recorder.take_journal() {
            written += chunk.bytes.len();
            batch.journal(chunk);
        }
        store.commit(batch, Urgency::Repeatable).unwrap();
        if round % 30 == 0 {
            recorder.expire(time);
            recorder.begin_checkpoint();
            while let Some(piece) = recorder.next_piece(256 << 10) {
                written +=
                    piece.saved.iter().map(|saved| saved.value.as_ref().map_or(0, Vec::len)).sum::<usize>();
                let mut batch = Batch::default();
                batch.piece(&piece);
                if let Some(last) = piece.covers {
                    batch.discard_journal(first, last);
                    first = last + 1;
                }
                store.commit(batch, Urgency::Repeatable).unwrap();
            }
        }
        if round % 360 == 0 {
            println!(
                "disk: hour {}: {:.1} MiB in the folder, {:.1} MiB of values written so far",
                round / 360,
                store.figures().size_bytes as f64 / f64::from(1 << 20),
                written as f64 / f64::from(1 << 20)
            );
        }
    }
}

/// How long nobody is answered while a database is copied to be smaller.
#[test]
#[ignore = "a benchmark"]
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn bench_rewrite() {
    for megabytes in [20_u32, 200] {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(folder.path()).unwrap();
        for part in 0..megabytes {
            let mut batch = Batch::default();
            // As large as the blocks of counters are.
            (0..2_000_u32).for_each(|number| {
                let mut bytes = vec![0; 500];
                bytes.iter_mut().zip(number.to_be_bytes().iter().cycle()).for_each(|(to, from)| *to = *from);
                batch.put_bytes(Table::Block, &(part * 2_000 + number).to_be_bytes(), bytes);
            });
            store.commit(batch, Urgency::Repeatable).unwrap();
        }
        let begun = Instant::now();
        let copied = store.rewrite().unwrap();
        println!(
            "rewrite: {:.0} MB of records in {:.2} s",
            copied.bytes as f64 / 1e6,
            begun.elapsed().as_secs_f64()
        );
    }
}
