//! Access logs of managed edges, where nothing can be sniffed: one handshake for each connection that the edge reports.
//!
//! An access log has a line for each request. Where it tells the number of the request on its connection
//! (nginx: `connection_requests`, Envoy: `connection_requests` by `%CONNECTION_ID%`-aware formats), only the first
//! counts; else every line with a TLS version does. Resumed sessions are marked, for they have no key exchange of their
//! own to speak of.

use super::mapping::time_of;
use super::{Reading, short, text_at};
use crate::series::Series;
use crate::time::Timestamp;
use pqscope_telemetry::attribute;
use pqscope_telemetry::metric::agent;
use serde_json::Value;

/// A handshake that an edge reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// When; `None` when the log does not say.
    pub time: Option<Timestamp>,
    /// Server name, or what the adapter says. Comes from clients: bound it before it stands in a series.
    pub service: Option<String>,
    /// `1.2`, `1.3`.
    version: &'static str,
    group: Option<String>,
    offered: Option<&'static str>,
    resumed: bool,
    failed: bool,
}

impl Handshake {
    /// The series that it counts in, with the service and the name of the group as they are bounded.
    pub fn series(&self, service: Option<&str>, group: Option<&str>) -> Series {
        let class = self.group.as_deref().map_or("unknown", class_of);
        let mut attributes = vec![
            (attribute::PROTOCOL, "tls"),
            (attribute::TLS_VERSION, self.version),
            (attribute::OUTCOME, if self.failed { "failed" } else { "completed" }),
            (attribute::VANTAGE, "server"),
            (attribute::EVIDENCE, "reported"),
        ];
        if !self.failed {
            attributes.push((attribute::GROUP_CLASS, class));
        }
        if self.resumed {
            attributes.push((attribute::KEY_EXCHANGE, "resumed"));
        }
        attributes.extend(service.map(|service| (attribute::SERVICE, service)));
        attributes.extend(group.map(|group| (attribute::GROUP_NAME, group)));
        attributes.extend(self.offered.map(|offered| (attribute::OFFERED_CLASS, offered)));
        Series::new(agent::HANDSHAKES.name, attributes)
    }

    /// Name of the group, as the edge writes it or its IANA name.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }
}

/// nginx: `$ssl_protocol`, `$ssl_curve`, `$ssl_curves`, `$ssl_server_name`, `$ssl_session_reused`, `$time_iso8601` or
/// `$msec`, `$connection_requests`, each under its own name.
pub(super) const NGINX: Names = Names {
    time: &["time_iso8601", "time", "msec"],
    version: &["ssl_protocol"],
    group: &["ssl_curve"],
    offered: &["ssl_curves"],
    service: &["ssl_server_name", "server_name", "host"],
    failure: &[],
};

/// Envoy, for keys that its operators usually take for `%DOWNSTREAM_TLS_VERSION%`, `%REQUESTED_SERVER_NAME%`,
/// `%START_TIME%` and `%DOWNSTREAM_TRANSPORT_FAILURE_REASON%`.
pub(super) const ENVOY: Names = Names {
    time: &["start_time", "timestamp", "time"],
    version: &["downstream_tls_version", "tls_version"],
    group: &["downstream_tls_group", "tls_group", "downstream_tls_curve"],
    offered: &[],
    service: &["requested_server_name", "authority"],
    failure: &["downstream_transport_failure_reason"],
};

/// Where an access log has what.
pub(super) struct Names {
    time: &'static [&'static str],
    version: &'static [&'static str],
    group: &'static [&'static str],
    offered: &'static [&'static str],
    service: &'static [&'static str],
    failure: &'static [&'static str],
}

/// What a line says of its connection.
pub(super) fn read(record: &Value, names: &Names) -> Reading {
    if !record.is_object() {
        return Reading::Unreadable;
    }
    let time = names.time.iter().find_map(|name| time_of(&text_at(record, name)?));
    let first =
        |names: &[&str]| names.iter().find_map(|name| text_at(record, name).filter(|text| text != "-"));
    let failed = first(names.failure).is_some();
    let version = first(names.version).map(|text| version_of(&text));
    if version.is_none() && !failed {
        return Reading::Ignored;
    }
    if text_at(record, "connection_requests").is_some_and(|number| number != "1") {
        return Reading::Ignored;
    }
    let offered = first(names.offered).map(|list| best_class(&list));
    Reading::Handshake(Handshake {
        time,
        service: first(names.service)
            .map(|name| short(&name.to_ascii_lowercase()))
            .filter(|name| !name.is_empty()),
        version: version.unwrap_or("unknown"),
        group: first(names.group).map(|name| short(iana_name(&name))),
        offered,
        resumed: text_at(record, "ssl_session_reused").as_deref() == Some("r"),
        failed,
    })
}

fn version_of(text: &str) -> &'static str {
    match text {
        "TLSv1.3" => "1.3",
        "TLSv1.2" => "1.2",
        "TLSv1.1" => "1.1",
        "TLSv1" | "TLSv1.0" => "1.0",
        _ => "unknown",
    }
}

/// nginx writes the number of a group that its library has no name for.
fn iana_name(name: &str) -> &str {
    match name.to_ascii_lowercase().as_str() {
        "0x11ec" | "x25519mlkem768" => "X25519MLKEM768",
        "0x11eb" | "secp256r1mlkem768" => "SecP256r1MLKEM768",
        "0x11ed" | "secp384r1mlkem1024" => "SecP384r1MLKEM1024",
        "0x0200" | "mlkem512" => "MLKEM512",
        "0x0201" | "mlkem768" => "MLKEM768",
        "0x0202" | "mlkem1024" => "MLKEM1024",
        "0x001d" | "x25519" => "x25519",
        "0x0017" | "prime256v1" | "p-256" | "secp256r1" => "secp256r1",
        "0x0018" | "p-384" | "secp384r1" => "secp384r1",
        "0x0019" | "p-521" | "secp521r1" => "secp521r1",
        _ => name,
    }
}

fn class_of(group: &str) -> &'static str {
    let name = iana_name(group).to_ascii_lowercase();
    match name.find("mlkem") {
        Some(0) => "pq",
        Some(_) => "hybrid",
        // Draft 00 of the hybrid group, still spoken by older clients.
        None if name.contains("kyber") || name == "0x6399" => "hybrid",
        None if matches!(name.as_str(), "x25519" | "x448" | "secp256r1" | "secp384r1" | "secp521r1")
            || name.starts_with("ffdhe") =>
        {
            "classical"
        }
        None => "unknown",
    }
}

/// The best among the groups that the client listed; a list with a number that nobody knows is no proof of the worst.
fn best_class(list: &str) -> &'static str {
    let classes: Vec<&str> = list.split([':', ',']).map(|name| class_of(name.trim())).collect();
    ["hybrid", "pq", "classical"].into_iter().find(|class| classes.contains(class)).unwrap_or("unknown")
}
