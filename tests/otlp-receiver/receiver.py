#!/usr/bin/env python3
"""An OTLP metrics receiver that shares no code with pqscope: the project's own messages, Google's gRPC.

    receiver.py

Listens for OTLP over gRPC and over HTTP/protobuf on free ports of 127.0.0.1 and prints, one JSON object per line, first
the two ports and then every export as it arrives: metric name, kind, temporality, monotonicity, and its points with
attributes, start time, time, and value or count and sum.
"""
import gzip
import json
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as service_grpc

OUTPUT = threading.Lock()


def say(thing):
    with OUTPUT:
        print(json.dumps(thing, separators=(",", ":")), flush=True)


def value_of(any_value):
    kind = any_value.WhichOneof("value")
    return getattr(any_value, kind) if kind else None


def attributes(pairs):
    return {pair.key: value_of(pair.value) for pair in pairs}


def point_of(point, kind):
    out = {
        "attributes": attributes(point.attributes),
        "start": point.start_time_unix_nano,
        "time": point.time_unix_nano,
    }
    if kind in ("sum", "gauge"):
        which = point.WhichOneof("value")
        out["value"] = getattr(point, which) if which else None
    else:
        out["count"] = point.count
        out["sum"] = point.sum
    return out


def report(request, transport):
    for resource in request.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                kind = metric.WhichOneof("data")
                data = getattr(metric, kind)
                say({
                    "transport": transport,
                    "resource": attributes(resource.resource.attributes),
                    "schema_url": resource.schema_url or scope.schema_url,
                    "name": metric.name,
                    "unit": metric.unit,
                    "kind": kind,
                    "temporality": getattr(data, "aggregation_temporality", None),
                    "monotonic": getattr(data, "is_monotonic", None),
                    "points": [point_of(point, kind) for point in data.data_points],
                })


class Grpc(service_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        report(request, "grpc")
        return service.ExportMetricsServiceResponse()


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.body()
        if self.path != "/v1/metrics" or self.headers.get("content-type") != "application/x-protobuf":
            self.answer(400, b"")
            return
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        report(service.ExportMetricsServiceRequest.FromString(body), "http/protobuf")
        self.answer(200, service.ExportMetricsServiceResponse().SerializeToString())

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    grpc_server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    service_grpc.add_MetricsServiceServicer_to_server(Grpc(), grpc_server)
    grpc_port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    http_server = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    say({"grpc": grpc_port, "http": http_server.server_address[1]})
    try:
        http_server.serve_forever()
    except KeyboardInterrupt:
        pass
    grpc_server.stop(0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
