//! One YAML document to one OpenSLO object: `apiVersion`, `kind`, `metadata` and, by kind, `spec`.

use super::alerting::{self, RawPolicy};
use super::indicator::{self, RawIndicator};
use super::slo::{self, RawSlo};
use super::source::{self, RawSource};
use crate::objective::AlertTier;
use crate::yaml::{Fields, Findings, Located, Node, Place};

/// Annotations under this prefix are ours; all others are somebody else's and left alone.
const PREFIX: &str = "pqscope.dev/";
/// Kinds of OpenSLO v1.
pub(super) const KINDS: [&str; 7] =
    ["Service", "SLI", "SLO", "DataSource", "AlertPolicy", "AlertCondition", "AlertNotificationTarget"];

/// An object with the parts that all kinds have.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) name: Located<String>,
    pub(super) title: Option<String>,
    pub(super) annotations: Vec<(Located<String>, Located<String>)>,
    pub(super) body: Body,
}

/// What is particular to a kind; `None` where the fault is already reported.
#[derive(Debug)]
pub(super) enum Body {
    Service,
    Sli(Option<RawIndicator>),
    Slo(Option<Box<RawSlo>>),
    DataSource(Option<RawSource>),
    Policy(Option<RawPolicy>),
    Condition(Option<AlertTier>),
    NotificationTarget,
}

impl Body {
    /// The kind's name.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Sli(_) => "SLI",
            Self::Slo(_) => "SLO",
            Self::DataSource(_) => "DataSource",
            Self::Policy(_) => "AlertPolicy",
            Self::Condition(_) => "AlertCondition",
            Self::NotificationTarget => "AlertNotificationTarget",
        }
    }
}

/// Reads one document.
pub(super) fn read(node: &Node, findings: &mut Findings) -> Option<Document> {
    let mut fields = findings.fields(node, "an OpenSLO document")?;
    read_version(&mut fields, findings);
    let help = format!("one of {}", KINDS.join(", "));
    let kind = fields.required("kind", findings, &help).and_then(|node| findings.text(node, "`kind`"));
    let metadata = fields.required("metadata", findings, "metadata: {name: my-objective}");
    let metadata = metadata.and_then(|node| read_metadata(node, findings));
    let spec = fields.required("spec", findings, "every OpenSLO object has a spec");
    let body = kind.and_then(|kind| read_body(&kind, spec, findings));
    fields.finish(findings);
    let ((name, title, annotations), body) = (metadata?, body?);
    Some(Document { name, title, annotations, body })
}

fn read_version(fields: &mut Fields<'_>, findings: &mut Findings) {
    let help = "write `apiVersion: openslo/v1`";
    let Some(node) = fields.required("apiVersion", findings, help) else { return };
    if let Some(version) = findings.text(node, "`apiVersion`")
        && version.value != "openslo/v1"
    {
        findings.error(
            &version.place,
            format!("`{}` is not a version that is read here", version.value),
            help,
        );
    }
}

fn read_body(kind: &Located<String>, spec: Option<&Node>, findings: &mut Findings) -> Option<Body> {
    let what = format!("the spec of {} {}", article(&kind.value), kind.value);
    let simple = |known: &[&'static str], findings: &mut Findings| {
        if let Some(mut fields) = spec.and_then(|spec| findings.fields(spec, &what)) {
            for key in known {
                fields.optional(key);
            }
            fields.finish(findings);
        }
    };
    Some(match kind.value.as_str() {
        "Service" => {
            simple(&["description"], findings);
            Body::Service
        }
        "DataSource" => Body::DataSource(spec.and_then(|spec| source::read(spec, findings))),
        "AlertNotificationTarget" => {
            simple(&["description", "target"], findings);
            let help = "every notification goes to the receiver that the engine was started with";
            findings.warn(&kind.place, "notification targets do not route yet; this one has no effect", help);
            Body::NotificationTarget
        }
        "SLI" => Body::Sli(spec.and_then(|spec| indicator::read(spec, findings))),
        "SLO" => Body::Slo(spec.and_then(|spec| slo::read(spec, findings)).map(Box::new)),
        "AlertPolicy" => Body::Policy(spec.and_then(|spec| alerting::read_policy(spec, findings))),
        "AlertCondition" => Body::Condition(spec.and_then(|spec| alerting::read_condition(spec, findings))),
        other => {
            let help = format!("OpenSLO v1 has {}", KINDS.join(", "));
            findings.error(&kind.place, format!("`{other}` is not a kind of OpenSLO"), help);
            return None;
        }
    })
}

fn article(kind: &str) -> &'static str {
    if kind.starts_with(['A', 'S']) && kind != "Service" { "an" } else { "a" }
}

pub(super) type Metadata = (Located<String>, Option<String>, Vec<(Located<String>, Located<String>)>);

pub(super) fn read_metadata(node: &Node, findings: &mut Findings) -> Option<Metadata> {
    let mut fields = findings.fields(node, "`metadata`")?;
    let name = fields.required("name", findings, "lower case letters, digits, `-` and `.`");
    let name = name.and_then(|node| read_name(node, "`metadata.name`", findings));
    let title = fields.optional("displayName").and_then(|node| findings.text(node, "`displayName`"));
    if let Some(labels) = fields.optional("labels").and_then(|node| findings.fields(node, "`labels`")) {
        for (_, node) in labels.all() {
            findings.texts(node, "a label");
        }
    }
    let mut annotations = Vec::new();
    if let Some(found) =
        fields.optional("annotations").and_then(|node| findings.fields(node, "`annotations`"))
    {
        for (key, node) in found.all() {
            let value = findings.text(node, "an annotation");
            annotations
                .extend(value.filter(|_| key.value.starts_with(PREFIX)).map(|value| (key.clone(), value)));
        }
    }
    fields.finish(findings);
    Some((name?, title.map(|title| title.value), annotations))
}

/// A name as Kubernetes and OpenSLO want it, so that it can stand in addresses and labels.
pub(super) fn read_name(node: &Node, what: &str, findings: &mut Findings) -> Option<Located<String>> {
    let name = findings.text(node, what)?;
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let fits = name.value.len() <= 253
        && name.value.chars().all(inner)
        && name.value.starts_with(ends)
        && name.value.ends_with(ends);
    if !fits {
        let help = "use lower case letters, digits, `-` and `.`, such as `handshake-success`";
        findings.error(&name.place, format!("`{}` cannot be {what}", name.value), help);
        return None;
    }
    Some(name)
}

/// Reads an object that is written in place of a reference: `kind`, `metadata` and `spec`, without a version.
pub(super) fn read_inline(
    mut fields: Fields<'_>,
    kind: &'static str,
    findings: &mut Findings,
) -> Option<(Place, Body)> {
    let place = fields.place.clone();
    fields.optional("apiVersion");
    let found = fields.required("kind", findings, &format!("write `kind: {kind}`, or refer to one by name"));
    let found = found.and_then(|node| findings.text(node, "`kind`"));
    let metadata = fields.required("metadata", findings, "metadata: {name: my-name}");
    metadata.and_then(|node| read_metadata(node, findings));
    let spec = fields.required("spec", findings, "");
    fields.finish(findings);
    let found = found?;
    if found.value != kind {
        findings.error(
            &found.place,
            format!("`{}` cannot stand here", found.value),
            format!("write `kind: {kind}`"),
        );
        return None;
    }
    read_body(&found, spec, findings).map(|body| (place, body))
}
