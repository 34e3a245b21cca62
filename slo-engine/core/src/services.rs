//! The services file: what the operator says about each service. YAML text goes in, services come out.
//!
//! ```yaml
//! - name: checkout
//!   migrating: true
//!   hosts: [checkout.example.com]
//!   roles: [tls-server, {role: signer, freshness: 72h}]
//!   owner: team-payments
//!   data_lifetime: 10y
//! ```

use crate::coverage::Role;
use crate::diagnostic::Diagnostic;
use crate::yaml::{self, Findings, Located, Node, Shape};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const DAY: u64 = 86_400;

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Whether it is being moved to post-quantum key exchange; not unless told.
    pub migrating: bool,
    /// Host names that belong to it, in lower case.
    pub hosts: Vec<String>,
    /// What it is to the measurements: from each role follows which series must be there.
    pub roles: Vec<ServiceRole>,
    /// Who answers for it.
    pub owner: Option<String>,
    /// For how long what it handles must stay secret, in days; a year has 365.
    pub data_lifetime_days: Option<u64>,
}

/// A role of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRole {
    /// Which.
    pub role: Role,
    /// How old the latest word of its series may be, where that differs from the role's own.
    pub freshness: Option<Duration>,
}

/// All services of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// In the order of the file.
    pub services: Vec<Service>,
}

impl Services {
    /// Reads a services file. An empty file has no services.
    ///
    /// # Errors
    /// All faults of the file, in the order of their lines.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let services = yaml::read_list(file, text, "a services file", |entry, read, findings| {
            let service = read_service(entry, findings)?;
            check_unique(read, &service, findings);
            Some(service)
        })?;
        Ok(Self { services })
    }

    /// What the attribute `pqscope.service` of the services marked as migrating may read: their names, and their host
    /// names, which agents without a services file of their own put there.
    pub fn migrating(&self) -> impl Iterator<Item = &str> {
        let migrating = self.services.iter().filter(|service| service.migrating);
        migrating.flat_map(|service| std::iter::once(&service.name).chain(&service.hosts)).map(String::as_str)
    }
}

fn read_service(node: &Node, findings: &mut Findings) -> Option<Located<Service>> {
    let mut fields = findings.fields(node, "a service")?;
    let name = fields.required("name", findings, "the value of the attribute pqscope.service");
    let name = name.and_then(|node| findings.text(node, "`name`"));
    let migrating = fields.optional("migrating").and_then(|node| findings.truth(node, "`migrating`"));
    let hosts = fields.optional("hosts").and_then(|node| findings.texts(node, "`hosts`")).unwrap_or_default();
    let roles = fields.optional("roles").map(|node| read_roles(node, findings)).unwrap_or_default();
    let owner = fields.optional("owner").and_then(|node| findings.text(node, "`owner`"));
    let lifetime = fields.optional("data_lifetime").and_then(|node| {
        let help = "write a whole number with d, w or y, such as 10y";
        read_span(node, "`data_lifetime`", &[("d", DAY), ("w", 7 * DAY), ("y", 365 * DAY)], help, findings)
    });
    fields.finish(findings);
    for host in &hosts {
        if host.value.is_empty() || host.value.contains(|c: char| c.is_whitespace() || c == '/') {
            findings.error(
                &host.place,
                format!("`{}` is no host name", host.value),
                "such as checkout.example.com",
            );
        }
    }
    let name = name?;
    if name.value.is_empty() {
        findings.error(&name.place, "the name of a service cannot be empty", "such as checkout");
    }
    let service = Service {
        name: name.value,
        migrating: migrating.is_some_and(|migrating| migrating.value),
        hosts: hosts.into_iter().map(|host| host.value.to_ascii_lowercase()).collect(),
        roles,
        owner: owner.map(|owner| owner.value),
        data_lifetime_days: lifetime.map(|lifetime| lifetime.as_secs() / DAY),
    };
    Some(Located { value: service, place: name.place })
}

/// A list of roles: each its name, or a mapping with its name and the freshness that it is held to.
fn read_roles(node: &Node, findings: &mut Findings) -> Vec<ServiceRole> {
    let mut roles: Vec<ServiceRole> = Vec::new();
    for item in findings.list(node, "`roles`").unwrap_or_default() {
        let (name, freshness) = match &item.shape {
            Shape::Mapping(_) => {
                let Some(mut fields) = findings.fields(item, "a role") else { continue };
                let name = fields.required("role", findings, "the name of a role, such as signer");
                let freshness = fields.optional("freshness").and_then(|node| {
                    let help = "write a whole number with m, h or d, such as 72h";
                    read_span(node, "`freshness`", &[("m", 60), ("h", 3_600), ("d", DAY)], help, findings)
                });
                fields.finish(findings);
                let Some(name) = name else { continue };
                (name, freshness)
            }
            _ => (item, None),
        };
        let Some(text) = findings.text(name, "a role") else { continue };
        let Some(role) = Role::from_word(&text.value) else {
            let known: Vec<&str> = Role::ALL.iter().map(|role| role.word()).collect();
            let help = format!("known here: {}", known.join(", "));
            findings.error(&text.place, format!("`{}` is no role", text.value), help);
            continue;
        };
        if roles.iter().any(|other| other.role == role) {
            findings.error(&text.place, format!("the role `{role}` stands twice"), "");
            continue;
        }
        roles.push(ServiceRole { role, freshness });
    }
    roles
}

/// A whole number, above zero, with one of these units (name and seconds); at most 200 years.
fn read_span(
    node: &Node,
    what: &str,
    units: &[(&str, u64)],
    help: &str,
    findings: &mut Findings,
) -> Option<Duration> {
    let text = findings.text(node, what)?;
    let digits = text.value.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.value.len());
    let (number, unit) = text.value.split_at(digits);
    let seconds = units.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds);
    let span = seconds.zip(number.parse::<u64>().ok()).and_then(|(unit, number)| unit.checked_mul(number));
    let span = span.filter(|seconds| (1..=200 * 365 * DAY).contains(seconds));
    if span.is_none() {
        findings.error(&text.place, format!("`{}` is no span of time for {what}", text.value), help);
    }
    span.map(Duration::from_secs)
}

fn check_unique(read: &[Located<Service>], service: &Located<Service>, findings: &mut Findings) {
    for other in read {
        let first = format!("the first is on line {}", other.place.line);
        if other.value.name == service.value.name {
            let message = format!("there is already a service named `{}`", service.value.name);
            findings.error(&service.place, message, first.clone());
        }
        for host in service.value.hosts.iter().filter(|host| other.value.hosts.contains(host)) {
            let message = format!("the host `{host}` belongs to `{}` already", other.value.name);
            findings.error(&service.place, message, first.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_file_is_a_plain_list() {
        let text = "- name: checkout\n  migrating: true\n  hosts: [Checkout.example.com]\n- name: legacy\n";
        let services = Services::parse("services.yaml", text).unwrap();
        assert_eq!(services.migrating().collect::<Vec<_>>(), ["checkout", "checkout.example.com"]);
        assert_eq!(services.services[0].hosts, ["checkout.example.com"]);
        assert_eq!(services.services[1], Service { name: "legacy".into(), ..Service::default() });
        assert_eq!(Services::parse("empty.yaml", "").unwrap(), Services::default());
    }

    #[test]
    fn roles_owner_and_lifetime_are_read() {
        let text = "- name: a\n  roles: [tls-server, {role: signer, freshness: 72h}]\n  owner: me\n  data_lifetime: 10y\n";
        let service = &Services::parse("s.yaml", text).unwrap().services[0];
        assert_eq!(
            service.roles,
            [
                ServiceRole { role: Role::TlsServer, freshness: None },
                ServiceRole { role: Role::Signer, freshness: Some(Duration::from_secs(72 * 3_600)) }
            ]
        );
        assert_eq!((service.owner.as_deref(), service.data_lifetime_days), (Some("me"), Some(3_650)));
        let text = "- name: a\n  roles: [king, signer, signer, {freshness: 1y}]\n  data_lifetime: 10 years\n";
        let faults = Services::parse("s.yaml", text).unwrap_err();
        let messages: Vec<_> = faults.iter().map(|fault| (fault.line, fault.message.as_str())).collect();
        assert_eq!(
            messages,
            [
                (2, "`king` is no role"),
                (2, "the role `signer` stands twice"),
                (2, "`role` is missing in a role"),
                (2, "`1y` is no span of time for `freshness`"),
                (3, "`10 years` is no span of time for `data_lifetime`"),
            ]
        );
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let text = "- name: a\n  migrating: yes\n  host: x\n- hosts: [\"b c\"]\n- name: a\n";
        let faults = Services::parse("s.yaml", text).unwrap_err();
        let places: Vec<_> =
            faults.iter().map(|fault| (fault.line, fault.column, fault.message.as_str())).collect();
        assert_eq!(
            places,
            [
                (2, 14, "`migrating` must be true or false"),
                (3, 3, "`host` is not a key of a service"),
                (4, 3, "`name` is missing in a service"),
                (4, 11, "`b c` is no host name"),
                (5, 9, "there is already a service named `a`"),
            ]
        );
        assert!(Services::parse("s.yaml", "name: a\n").unwrap_err()[0].message.contains("must be a list"));
    }
}
