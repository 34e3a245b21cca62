//! What comes in is counted, over every transport and encoding; what cannot be counted is said.

use crate::otlp::{self, PROTOBUF, Reading, client, cumulative, delta, now, of_metric, post};
use crate::process::{Engine, write_objective};
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, NumberDataPoint, Summary, SummaryDataPoint, metric, number_data_point,
};
use prost::Message;
use std::io::Write;
use tempfile::TempDir;
use tonic::codec::CompressionEncoding;

fn engine(names: &[&str], more: &[&str]) -> (TempDir, Engine) {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        write_objective(&folder.path().join("slos"), name);
    }
    let slos = folder.path().join("slos");
    let mut arguments = vec!["--slo", slos.to_str().unwrap(), "--evaluation-interval", "100ms"];
    arguments.extend_from_slice(more);
    let engine = Engine::start(&folder.path().join("state"), &arguments);
    (folder, engine)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

async fn send(engine: &Engine, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, Vec<u8>) {
    let mut request = client().post(format!("{}/v1/metrics", engine.http)).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

fn counts(service: &str, start: u64, good: i64, bad: i64) -> ExportMetricsServiceRequest {
    let span = (start, now());
    cumulative(&[Reading::new(service, "completed", span, good), Reading::new(service, "failed", span, bad)])
}

#[tokio::test]
async fn every_transport_and_encoding_counts_the_same() {
    let names = ["protobuf", "gzipped", "json", "grpc", "grpc-gzipped"];
    let (_folder, engine) = engine(&names, &[]);
    let start = now();
    let bytes = |name: &str| counts(name, start, 70, 30).encode_to_vec();

    let (status, body) = send(&engine, &[("content-type", PROTOBUF)], bytes("protobuf")).await;
    assert_eq!((status, body), (200, vec![]));
    let headers = [("content-type", PROTOBUF), ("content-encoding", "gzip")];
    let (status, _) = send(&engine, &headers, gzip(&bytes("gzipped"))).await;
    assert_eq!(status, 200);
    let json = serde_json::to_vec(&counts("json", start, 70, 30)).unwrap();
    let (status, body) = send(&engine, &[("content-type", "application/json; charset=utf-8")], json).await;
    assert_eq!((status, body), (200, b"{}".to_vec()));
    let mut client = MetricsServiceClient::connect(engine.grpc.clone()).await.unwrap();
    let answer = client.export(counts("grpc", start, 70, 30)).await.unwrap();
    assert_eq!(answer.into_inner().partial_success, None);
    let mut client =
        client.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    client.export(counts("grpc-gzipped", start, 70, 30)).await.unwrap();

    for name in names {
        engine.expect_events(name, 70, 100).await;
    }
}

#[tokio::test]
async fn repeats_resets_and_deltas_are_told_apart() {
    let (_folder, engine) = engine(&["cumulative", "delta"], &[]);
    let client = client();
    let start = now();
    let first = counts("cumulative", start, 10, 0);
    let second = counts("cumulative", start, 25, 5);
    // The second twice, and the first once more, late: neither counts again.
    for request in [&first, &second, &second, &first] {
        assert_eq!(post(&client, &engine.http, request).await.unwrap().partial_success, None);
    }
    engine.expect_events("cumulative", 25, 30).await;
    // The agent restarts: its counts begin anew.
    post(&client, &engine.http, &counts("cumulative", now(), 3, 1)).await.unwrap();
    engine.expect_events("cumulative", 28, 34).await;

    let piece = |value| delta(&[Reading::new("delta", "completed", (now() - 1_000_000, now()), value)]);
    let (one, other) = (piece(4), piece(6));
    for request in [&one, &other, &one, &one] {
        post(&client, &engine.http, request).await.unwrap();
    }
    engine.expect_events("delta", 10, 10).await;
}

#[tokio::test]
async fn points_that_cannot_be_counted_are_reported() {
    let (_folder, engine) = engine(&["a"], &[]);
    let client = client();
    let span = (now(), now());
    let mixed = cumulative(&[Reading::new("a", "completed", span, 5), Reading::new("a", "failed", span, -1)]);
    let answer = post(&client, &engine.http, &mixed).await.unwrap().partial_success.unwrap();
    assert_eq!(answer.rejected_data_points, 1);
    assert!(answer.error_message.contains("negative"), "{}", answer.error_message);

    let gauge =
        Gauge { data_points: vec![NumberDataPoint { time_unix_nano: now(), ..NumberDataPoint::default() }] };
    let summary = Summary { data_points: vec![SummaryDataPoint::default()] };
    let answer =
        post(&client, &engine.http, &of_metric("pqscope.handshakes", metric::Data::Summary(summary))).await;
    assert_eq!(answer.unwrap().partial_success.unwrap().rejected_data_points, 1);
    // A gauge is a reading: it is kept, as long as it is a number.
    let mut level = gauge.clone();
    level.data_points[0].value = Some(number_data_point::Value::AsDouble(0.5));
    let answer =
        post(&client, &engine.http, &of_metric("pqscope.level", metric::Data::Gauge(level.clone()))).await;
    assert_eq!(answer.unwrap().partial_success, None);
    level.data_points[0].value = Some(number_data_point::Value::AsDouble(f64::NAN));
    let answer = post(&client, &engine.http, &of_metric("pqscope.level", metric::Data::Gauge(level))).await;
    assert!(answer.unwrap().partial_success.unwrap().error_message.contains("finite"));
    // A metric that nobody asks about is no fault of its sender.
    let answer = post(&client, &engine.http, &of_metric("system.cpu.time", metric::Data::Gauge(gauge))).await;
    assert_eq!(answer.unwrap().partial_success, None);

    let metrics = engine.wait_for("figures", async |engine| {
        let (_, text) = engine.get("/metrics").await;
        text.contains("pqscope_result=\"ignored\"").then_some(text)
    });
    let metrics = metrics.await;
    assert!(metrics.contains("pqscope_engine_points_total{pqscope_result=\"negative\"} 1"), "{metrics}");
    assert!(metrics.contains("pqscope_engine_points_total{pqscope_result=\"kind\"} 1"), "{metrics}");
}

#[tokio::test]
async fn what_json_loses_is_reported() {
    let (_folder, engine) = engine(&["a"], &[]);
    let sound = serde_json::to_string(&counts("a", now(), 1, 1)).unwrap();
    let enum_by_name = sound.replace(
        "\"aggregationTemporality\":2",
        "\"aggregationTemporality\":\"AGGREGATION_TEMPORALITY_CUMULATIVE\"",
    );
    let not_a_number = sound.replace("\"asInt\":\"1\"", "\"asDouble\":\"NaN\"");
    let snake_case = sound.replace("dataPoints", "data_points");
    for (text, word) in
        [(&enum_by_name, "aggregationTemporality"), (&not_a_number, "asDouble"), (&snake_case, "data_points")]
    {
        assert_ne!(*text, sound, "the replacement for {word} must change something");
        let (status, body) =
            send(&engine, &[("content-type", "application/json")], text.clone().into_bytes()).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(status, 200, "{body}");
        assert!(body.contains("\"rejectedDataPoints\":\"2\""), "{word}: {body}");
        assert!(body.contains(word), "{body}");
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[tokio::test]
async fn bad_requests_get_the_proper_status() {
    let (_folder, engine) = engine(&["a"], &["--max-request", "64KiB"]);
    let bomb = gzip(&vec![0; 10 << 20]);
    assert!(bomb.len() < 64 << 10);
    let json = ("content-type", "application/json");
    let protobuf = ("content-type", PROTOBUF);
    let gzipped = ("content-encoding", "gzip");

    assert_eq!(send(&engine, &[("content-type", "text/plain")], b"{}".to_vec()).await.0, 415);
    assert_eq!(send(&engine, &[], vec![]).await.0, 415);
    assert_eq!(send(&engine, &[json, ("content-encoding", "br")], b"{}".to_vec()).await.0, 415);
    assert_eq!(send(&engine, &[protobuf], vec![0; 65 << 10]).await.0, 413);
    assert_eq!(send(&engine, &[protobuf, gzipped], bomb.clone()).await.0, 413);

    let (status, body) = send(&engine, &[protobuf], b"\xff\xff\xff".to_vec()).await;
    let fault = RpcStatus::decode(body.as_slice()).unwrap();
    assert_eq!((status, fault.code), (400, 3), "{fault:?}");
    assert!(!fault.message.is_empty());
    let (status, body) = send(&engine, &[json], b"{\"resourceMetrics\": 7}".to_vec()).await;
    let fault: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, fault["code"].as_i64()), (400, Some(3)), "{fault}");
    assert_eq!(send(&engine, &[json], b"{".to_vec()).await.0, 400);
    assert_eq!(send(&engine, &[json, gzipped], b"{}".to_vec()).await.0, 400);

    let client = client();
    let traces = client.post(format!("{}/v1/traces", engine.http)).send().await.unwrap();
    assert_eq!(traces.status(), 404);
    let wrong_method = client.get(format!("{}/v1/metrics", engine.http)).send().await.unwrap();
    assert_eq!(wrong_method.status(), 405);

    let mut grpc = MetricsServiceClient::connect(engine.grpc.clone()).await.unwrap();
    let many: Vec<Reading> = (0..5_000).map(|_| Reading::new("a", "completed", (1, 2), 1)).collect();
    let plain = grpc.export(cumulative(&many)).await.unwrap_err();
    assert!(matches!(plain.code(), tonic::Code::OutOfRange | tonic::Code::ResourceExhausted), "{plain}");
    let mut grpc = grpc.send_compressed(CompressionEncoding::Gzip);
    let inflated = grpc.export(cumulative(&many)).await.unwrap_err();
    assert!(
        matches!(
            inflated.code(),
            tonic::Code::OutOfRange | tonic::Code::ResourceExhausted | tonic::Code::Internal
        ),
        "{inflated}"
    );

    // After all that it still works.
    assert_eq!(send(&engine, &[protobuf], counts("a", now(), 1, 0).encode_to_vec()).await.0, 200);
    engine.expect_events("a", 1, 1).await;
}

#[tokio::test]
async fn names_from_the_wire_are_escaped() {
    let (_folder, engine) = engine(&["a"], &[]);
    let nasty = "<img src=x onerror=alert(1)>\"\\\n";
    let mut request = counts("a", now(), 1, 1);
    let metric = &mut request.resource_metrics[0].scope_metrics[0].metrics[0];
    let Some(metric::Data::Sum(sum)) = &mut metric.data else { panic!("a sum") };
    sum.data_points.iter_mut().for_each(|point| point.attributes.push(otlp::text("error.type", nasty)));
    let answer = post(&client(), &engine.http, &request).await.unwrap();
    assert_eq!(answer, ExportMetricsServiceResponse::default());
    engine.expect_events("a", 1, 2).await;
    let (status, page) = engine.get("/").await;
    assert_eq!(status, 200);
    assert!(!page.contains("<img"), "{page}");
    assert_eq!(engine.get("/style.css").await.0, 200);
}
