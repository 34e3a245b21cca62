//! The services file: what the operator says about each service. YAML text goes in, services come out.
//!
//! ```yaml
//! - name: checkout
//!   migrating: true
//!   hosts: [checkout.example.com]
//! ```

use crate::diagnostic::Diagnostic;
use crate::yaml::{self, Findings, Located, Node};
use serde::{Deserialize, Serialize};

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Whether it is being moved to post-quantum key exchange; not unless told.
    pub migrating: bool,
    /// Host names that belong to it, in lower case.
    pub hosts: Vec<String>,
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
        let mut findings = Findings::default();
        let documents = yaml::read(file, text, &mut findings);
        let mut read: Vec<Located<Service>> = Vec::new();
        for document in &documents {
            let entries = findings.list(document, "a services file").unwrap_or_default();
            for entry in entries {
                let Some(service) = read_service(entry, &mut findings) else { continue };
                check_unique(&read, &service, &mut findings);
                read.push(service);
            }
        }
        if findings.has_errors() {
            findings.list.sort_by_key(|finding| (finding.line, finding.column));
            return Err(findings.list);
        }
        Ok(Self { services: read.into_iter().map(|service| service.value).collect() })
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
    };
    Some(Located { value: service, place: name.place })
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
        assert_eq!(services.services[1], Service { name: "legacy".into(), migrating: false, hosts: vec![] });
        assert_eq!(Services::parse("empty.yaml", "").unwrap(), Services::default());
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
