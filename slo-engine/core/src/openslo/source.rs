//! DataSource: a PromQL back end.

use crate::objective::DataSource;
use crate::yaml::{Findings, Located, Node, Place};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long an answer may take unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A DataSource as it is written, not yet named.
#[derive(Clone, Debug)]
pub(super) struct RawSource {
    pub(super) source: DataSource,
}

/// Reads the spec of a DataSource.
pub(super) fn read(node: &Node, findings: &mut Findings) -> Option<RawSource> {
    let mut fields = findings.fields(node, "the spec of a DataSource")?;
    fields.optional("description");
    let kind = fields.required("type", findings, "write `type: Prometheus`");
    let kind = kind.and_then(|node| findings.text(node, "`type`"));
    let help = "connectionDetails: {url: http://prometheus:9090}";
    let details = fields.required("connectionDetails", findings, help);
    fields.finish(findings);
    let kind = kind?;
    if !kind.value.eq_ignore_ascii_case("prometheus") {
        let help = "write `type: Prometheus`, which Mimir, Thanos and VictoriaMetrics speak too";
        findings.error(&kind.place, format!("data sources of type `{}` are not supported", kind.value), help);
        return None;
    }
    let mut fields = findings.fields(details?, "`connectionDetails`")?;
    let url =
        fields.required("url", findings, "the address with its base path, such as http://prometheus:9090");
    let url = url.and_then(|node| findings.text(node, "`url`")).and_then(|url| checked_url(url, findings));
    let headers =
        fields.optional("headers").map_or_else(|| Some(BTreeMap::new()), |node| read_headers(node, findings));
    let token = fields.optional("bearerTokenFile").and_then(|node| findings.text(node, "`bearerTokenFile`"));
    let authorities = fields.optional("caFile").and_then(|node| findings.text(node, "`caFile`"));
    let timeout = fields.optional("timeout").map(|node| super::span::read(node, "`timeout`", findings));
    refuse_secret(&fields.place_of("bearerToken").cloned(), findings);
    fields.optional("bearerToken");
    fields.finish(findings);
    let timeout = match timeout {
        None => TIMEOUT,
        Some(timeout) => checked_timeout(timeout?, findings)?,
    };
    Some(RawSource {
        source: DataSource {
            name: String::new(),
            url: url?,
            headers: headers?,
            bearer_token_file: token.map(|token| token.value),
            ca_file: authorities.map(|file| file.value),
            timeout,
        },
    })
}

fn checked_url(url: Located<String>, findings: &mut Findings) -> Option<String> {
    let text = url.value.trim_end_matches('/');
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let fits = rest.is_some_and(|rest| {
        !rest.is_empty() && !rest.starts_with('/') && !rest.contains(char::is_whitespace)
    });
    if !fits {
        findings.error(
            &url.place,
            format!("`{}` is no address of a web server", url.value),
            "such as http://prometheus:9090",
        );
        return None;
    }
    if rest.is_some_and(|rest| rest.split('/').next().is_some_and(|host| host.contains('@'))) {
        let help = "use `bearerTokenFile`, or a header";
        findings.error(&url.place, "an address with a password in it would be shown in logs", help);
        return None;
    }
    Some(text.to_owned())
}

fn read_headers(node: &Node, findings: &mut Findings) -> Option<BTreeMap<String, String>> {
    let fields = findings.fields(node, "`headers`")?;
    let mut headers = BTreeMap::new();
    for (name, node) in fields.all() {
        let value = findings.text(node, &format!("the header `{}`", name.value))?;
        let fits = !name.value.is_empty()
            && name.value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && value.value.chars().all(|c| !c.is_control());
        if !fits {
            findings.error(
                &name.place,
                format!("`{}` cannot be sent as a header", name.value),
                "such as X-Scope-OrgID: team",
            );
            return None;
        }
        headers.insert(name.value.clone(), value.value);
    }
    Some(headers)
}

fn checked_timeout(timeout: Located<Duration>, findings: &mut Findings) -> Option<Duration> {
    if timeout.value.is_zero() || timeout.value > Duration::from_secs(120) {
        findings.error(&timeout.place, "the time to wait for an answer is from 1s to 2m", "such as 10s");
        return None;
    }
    Some(timeout.value)
}

fn refuse_secret(place: &Option<Place>, findings: &mut Findings) {
    if let Some(place) = place {
        let help = "put it into a file and name that in `bearerTokenFile`";
        findings.error(place, "a secret does not belong in an SLO file", help);
    }
}
