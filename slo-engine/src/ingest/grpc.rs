//! OTLP over gRPC: `MetricsService/Export`.

use super::{Door, convert};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

/// The metrics service, gzip taken, messages bounded before and after decompression.
pub(crate) fn service(door: Door) -> MetricsServiceServer<Service> {
    let limit = door.max_request_bytes;
    MetricsServiceServer::new(Service { door })
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(limit)
}

/// Answers `Export` calls.
#[derive(Debug)]
pub(crate) struct Service {
    door: Door,
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let export = convert(request.get_ref(), &self.door.interest);
        drop(request);
        let receipt = self
            .door
            .submit(export)
            .await
            .map_err(|unavailable| Status::unavailable(unavailable.to_string()))?;
        let partial_success = receipt.partial_success().map(|(rejected_data_points, error_message)| {
            ExportMetricsPartialSuccess { rejected_data_points, error_message }
        });
        Ok(Response::new(ExportMetricsServiceResponse { partial_success }))
    }
}
