//! The standard `OTEL_*` environment variables, read once and checked whole.

use std::time::Duration;

/// How OTLP is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Grpc,
    HttpProtobuf,
}

/// Settings of the exporter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExportSettings {
    /// `None`: nothing is exported.
    pub(crate) destination: Option<Destination>,
    pub(crate) interval: Duration,
    pub(crate) resource: Vec<(String, String)>,
}

/// Where and how OTLP is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) transport: Transport,
    /// gRPC: scheme and authority. HTTP: the full address of the metrics path.
    pub(crate) endpoint: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) gzip: bool,
}

/// Everything that is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid environment:\n{}", .0.join("\n"))]
pub(crate) struct InvalidEnvironment(Vec<String>);

/// Ten seconds: burn-rate windows of five minutes need several points.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

struct Reader<'a> {
    variable: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn plain(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.trim().is_empty())
    }

    /// The variable for metrics alone, or else the one for all signals.
    fn signal(&self, suffix: &str) -> Option<(String, String)> {
        [format!("OTEL_EXPORTER_OTLP_METRICS_{suffix}"), format!("OTEL_EXPORTER_OTLP_{suffix}")]
            .into_iter()
            .find_map(|name| self.plain(&name).map(|value| (name, value)))
    }

    fn fault(&mut self, name: &str, value: &str, wanted: &str) {
        self.faults.push(format!("  {name}=`{value}`: {wanted}"));
    }

    fn milliseconds(&mut self, found: Option<(String, String)>, default: Duration) -> Duration {
        let Some((name, value)) = found else { return default };
        match value.trim().parse::<u64>() {
            Ok(milliseconds) if milliseconds > 0 => Duration::from_millis(milliseconds),
            _ => {
                self.fault(&name, &value, "write a number of milliseconds above 0, such as 10000");
                default
            }
        }
    }

    fn pairs(&mut self, found: Option<(String, String)>) -> Vec<(String, String)> {
        let Some((name, value)) = found else { return Vec::new() };
        let mut pairs = Vec::new();
        for part in value.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once('=') {
                Some((key, text)) if !key.trim().is_empty() => {
                    pairs.push((percent_decoded(key.trim()), percent_decoded(text.trim())));
                }
                _ => self.fault(&name, part, "write pairs as key=value, separated by commas"),
            }
        }
        pairs
    }
}

impl ExportSettings {
    /// Reads the environment through `variable`.
    ///
    /// # Errors
    ///
    /// Every value that cannot be used, at once.
    pub(crate) fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, InvalidEnvironment> {
        let mut reader = Reader { variable, faults: Vec::new() };
        let interval_name = "OTEL_METRIC_EXPORT_INTERVAL".to_owned();
        let interval = reader.plain(&interval_name).map(|value| (interval_name, value));
        let interval = reader.milliseconds(interval, DEFAULT_INTERVAL);
        let resource_name = "OTEL_RESOURCE_ATTRIBUTES".to_owned();
        let resource = reader.plain(&resource_name).map(|value| (resource_name, value));
        let mut resource = reader.pairs(resource);
        if let Some(name) = reader.plain("OTEL_SERVICE_NAME") {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), name));
        }
        let destination = reader.destination();
        if reader.faults.is_empty() {
            Ok(Self { destination, interval, resource })
        } else {
            Err(InvalidEnvironment(reader.faults))
        }
    }
}

impl Reader<'_> {
    fn destination(&mut self) -> Option<Destination> {
        let disabled =
            self.plain("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let name = "OTEL_METRICS_EXPORTER";
        let exporter = self.plain(name).unwrap_or_else(|| "otlp".to_owned());
        let wanted = match exporter.trim() {
            "otlp" => !disabled,
            "none" => false,
            other => {
                self.fault(name, other, "write otlp or none; scraping is switched on with --prometheus");
                false
            }
        };
        let transport = self.transport();
        let timeout = self.signal("TIMEOUT");
        let timeout = self.milliseconds(timeout, DEFAULT_TIMEOUT);
        let headers = self.signal("HEADERS");
        let headers = self.pairs(headers);
        let gzip = match self.signal("COMPRESSION") {
            None => false,
            Some((name, value)) => match value.as_str() {
                "gzip" => true,
                "none" => false,
                other => {
                    self.fault(&name, other, "write gzip or none");
                    false
                }
            },
        };
        let endpoint = self.endpoint(transport);
        wanted.then_some(Destination { transport, endpoint, headers, timeout, gzip })
    }

    fn transport(&mut self) -> Transport {
        match self.signal("PROTOCOL") {
            None => Transport::Grpc,
            Some((name, value)) => match value.as_str() {
                "grpc" => Transport::Grpc,
                "http/protobuf" => Transport::HttpProtobuf,
                other => {
                    self.fault(&name, other, "write grpc or http/protobuf");
                    Transport::Grpc
                }
            },
        }
    }

    fn endpoint(&mut self, transport: Transport) -> String {
        let own = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
        let shared = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let (name, value, is_whole) = match (self.plain(own), self.plain(shared), transport) {
            (Some(value), ..) => (own, value, true),
            (None, Some(value), _) => (shared, value, false),
            (None, None, Transport::Grpc) => return "http://localhost:4317".to_owned(),
            (None, None, Transport::HttpProtobuf) => return "http://localhost:4318/v1/metrics".to_owned(),
        };
        if !value.starts_with("http://") && !value.starts_with("https://") {
            self.fault(name, &value, "write an address with its scheme, such as http://collector:4317");
        }
        // Only the address for all signals gets the path of this one (OTLP exporter specification).
        match transport {
            Transport::HttpProtobuf if !is_whole => format!("{}/v1/metrics", value.trim_end_matches('/')),
            _ => value,
        }
    }
}

/// Undoes percent encoding, which the variables use for commas and the like.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = (*first == b'%')
            .then(|| tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match hex {
            Some(byte) => {
                out.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(variables: &[(&str, &str)]) -> Result<ExportSettings, InvalidEnvironment> {
        let map: BTreeMap<String, String> =
            variables.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ExportSettings::read(&|name| map.get(name).cloned())
    }

    #[test]
    fn an_empty_environment_means_the_local_collector() {
        let settings = read(&[]).unwrap();
        let destination = settings.destination.unwrap();
        assert_eq!(destination.endpoint, "http://localhost:4317");
        assert_eq!((destination.transport, settings.interval), (Transport::Grpc, Duration::from_secs(10)));
    }

    #[test]
    fn the_path_is_added_to_the_shared_address_only() {
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
        let shared = read(&[protocol, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/")]).unwrap();
        assert_eq!(shared.destination.unwrap().endpoint, "http://c:4318/v1/metrics");
        let own = read(&[protocol, ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://c/own")]).unwrap();
        assert_eq!(own.destination.unwrap().endpoint, "http://c/own");
    }

    #[test]
    fn names_headers_and_switches_work() {
        let settings = read(&[
            ("OTEL_SERVICE_NAME", "edge-agent"),
            ("OTEL_RESOURCE_ATTRIBUTES", "k8s.node.name=n%2C7,service.name=x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ])
        .unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(settings.resource, [pair("k8s.node.name", "n,7"), pair("service.name", "edge-agent")]);
        let destination = settings.destination.unwrap();
        assert_eq!(destination.headers, [pair("authorization", "Bearer t")]);
        assert!(destination.gzip);
        assert_eq!(read(&[("OTEL_METRICS_EXPORTER", "none")]).unwrap().destination, None);
        assert_eq!(read(&[("OTEL_SDK_DISABLED", "true")]).unwrap().destination, None);
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let error = read(&[
            ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ])
        .unwrap_err()
        .to_string();
        for name in ["EXPORT_INTERVAL", "PROTOCOL", "ENDPOINT", "TIMEOUT"] {
            assert!(error.contains(name), "{name} is missing in {error}");
        }
    }
}
