//! Sends OTLP requests, over gRPC or HTTP.

use super::settings::{Destination, Transport};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;
use std::str::FromStr;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{MetadataKey, MetadataMap, MetadataValue};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// Why an export did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportError {
    #[error("{0}")]
    Grpc(Box<tonic::Status>),
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("the receiver answered {status}: {body}")]
    Refused { status: u16, body: String },
}

/// Why an exporter cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidDestination {
    #[error("the OTLP endpoint `{endpoint}` cannot be used: {problem}")]
    Endpoint { endpoint: String, problem: String },
    #[error("the OTLP header `{name}` cannot be sent")]
    Header { name: String },
}

/// Points that the receiver took and did not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) rejected: u64,
}

/// A connection to a receiver.
pub(crate) enum Client {
    Grpc { client: Box<MetricsServiceClient<Channel>>, metadata: MetadataMap },
    Http { client: reqwest::Client, destination: Destination },
}

impl Client {
    /// Prepares a client. Nothing is connected yet: a receiver that is not up is a failed export, not an error here.
    pub(crate) fn new(destination: &Destination) -> Result<Self, InvalidDestination> {
        match destination.transport {
            Transport::Grpc => Self::grpc(destination),
            Transport::HttpProtobuf => Self::http(destination),
        }
    }

    fn grpc(destination: &Destination) -> Result<Self, InvalidDestination> {
        let invalid = |error: tonic::transport::Error| InvalidDestination::Endpoint {
            endpoint: destination.endpoint.clone(),
            problem: error.to_string(),
        };
        let mut endpoint =
            Endpoint::from_str(&destination.endpoint).map_err(invalid)?.timeout(destination.timeout);
        endpoint = endpoint.connect_timeout(destination.timeout);
        if destination.endpoint.starts_with("https://") {
            endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(invalid)?;
        }
        let mut client = MetricsServiceClient::new(endpoint.connect_lazy());
        if destination.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        let mut metadata = MetadataMap::new();
        for (name, value) in &destination.headers {
            let invalid = || InvalidDestination::Header { name: name.clone() };
            let key = MetadataKey::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            metadata.insert(key, MetadataValue::try_from(value.as_str()).map_err(|_| invalid())?);
        }
        Ok(Self::Grpc { client: Box::new(client), metadata })
    }

    fn http(destination: &Destination) -> Result<Self, InvalidDestination> {
        let client = reqwest::Client::builder().timeout(destination.timeout).build();
        let client = client.map_err(|error| InvalidDestination::Endpoint {
            endpoint: destination.endpoint.clone(),
            problem: error.to_string(),
        })?;
        Ok(Self::Http { client, destination: destination.clone() })
    }

    /// Sends a request.
    pub(crate) async fn send(
        &mut self,
        request: ExportMetricsServiceRequest,
    ) -> Result<Delivered, ExportError> {
        let response = match self {
            Self::Grpc { client, metadata } => {
                let mut request = tonic::Request::new(request);
                *request.metadata_mut() = metadata.clone();
                let response = client.export(request).await;
                response.map_err(|status| ExportError::Grpc(Box::new(status)))?.into_inner()
            }
            Self::Http { client, destination } => post(client, destination, &request).await?,
        };
        let rejected = response.partial_success.map_or(0, |partial| partial.rejected_data_points);
        Ok(Delivered { rejected: u64::try_from(rejected).unwrap_or(0) })
    }
}

async fn post(
    client: &reqwest::Client,
    destination: &Destination,
    request: &ExportMetricsServiceRequest,
) -> Result<ExportMetricsServiceResponse, ExportError> {
    let mut post = client.post(&destination.endpoint).header("content-type", "application/x-protobuf");
    for (name, value) in &destination.headers {
        post = post.header(name, value);
    }
    let body = request.encode_to_vec();
    let post = if destination.gzip {
        post.header("content-encoding", "gzip").body(compressed(&body))
    } else {
        post.body(body)
    };
    let response = post.send().await?;
    let status = response.status();
    let body = response.bytes().await?;
    if !status.is_success() {
        let body = String::from_utf8_lossy(&body).chars().take(200).collect();
        return Err(ExportError::Refused { status: status.as_u16(), body });
    }
    Ok(ExportMetricsServiceResponse::decode(body).unwrap_or_default())
}

fn compressed(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}
