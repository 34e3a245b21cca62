//! OpenSLO v1: YAML text goes in; a [`Catalog`] of checked objectives comes out, or everything that is wrong with the
//! files, each finding with its file, line and column.
//!
//! What is taken: every kind of v1, several documents per file and several files that refer to each other. Indicators are
//! ratios of counters (`good` or `bad` over `total`), ready-made ratios (`raw`, in time slices) and thresholds over
//! histograms or gauges, from the engine's own counts (`type: pqscope`) or a PromQL back end (`type: Prometheus`). Windows
//! roll or follow a calendar; occurrences, time slices and ratio time slices are counted. Composite SLOs are refused in
//! words; AlertNotificationTarget is read and warned about, for it has no effect yet.
//!
//! What OpenSLO has no words for stands under keys that begin with `pqscope.`:
//!
//! | key | where | meaning |
//! |---|---|---|
//! | `pqscope.zeroTolerance` | objective, in place of a target | no bad event at all |
//! | `pqscope.growth` | objective, in place of a target | a gauge may grow by so much over the window |
//! | `pqscope.baseline` | objective, in place of `value` | observations are compared with others' |
//! | `pqscope.alerting` | spec of an SLO | window pairs, gates, the spike detector, missing data |
//!
//! Annotations of ours, in the metadata of an SLO:
//!
//! | annotation | meaning |
//! |---|---|
//! | `pqscope.dev/runbook`, `pqscope.dev/dashboard` | links in every notification |
//! | `pqscope.dev/services: migrating` | only services that the services file marks as migrating count; without a services file all do |

mod alerting;
mod document;
mod extension;
mod indicator;
mod resolve;
mod schema;
mod settings;
mod shape;
mod slo;
mod source;
mod span;

pub use schema::schema;

use crate::diagnostic::Diagnostic;
use crate::evaluation::CAUSE_ATTRIBUTES;
use crate::objective::Objective;
use crate::services::Services;
use crate::yaml::{self, Findings};
use pqscope_telemetry::attribute;

/// A file to read.
#[derive(Clone, Copy, Debug)]
pub struct SourceFile<'a> {
    /// Its name in diagnostics.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// The checked objectives of all files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// In the order of their names.
    pub objectives: Vec<Objective>,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

impl Catalog {
    /// Reads files that may refer to each other. `services` restricts objectives with the annotation
    /// `pqscope.dev/services: migrating`; without a services file every service counts.
    ///
    /// # Errors
    /// All faults of all files, in the order of the files and their lines; warnings among them.
    pub fn parse(files: &[SourceFile<'_>], services: Option<&Services>) -> Result<Self, Vec<Diagnostic>> {
        let mut findings = Findings::default();
        let mut documents = Vec::new();
        for file in files {
            let nodes = yaml::read(file.name, file.text, &mut findings);
            documents.extend(nodes.iter().filter_map(|node| document::read(node, &mut findings)));
        }
        let mut objectives = resolve::resolve(&documents, services, &mut findings);
        objectives.sort_by(|a, b| a.name.cmp(&b.name));
        let refused = findings.has_errors();
        let mut found = findings.list;
        let order = |finding: &Diagnostic| files.iter().position(|file| file.name == finding.file);
        found.sort_by_key(|finding| (order(finding), finding.line, finding.column));
        if refused { Err(found) } else { Ok(Self { objectives, warnings: found }) }
    }

    /// Attributes that the objectives ask about, and those that notifications name: what the ledger must keep of a
    /// series when there are too many.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let selectors = self.objectives.iter().flat_map(|objective| objective.sli.selectors());
        let named = CAUSE_ATTRIBUTES.into_iter().chain([attribute::SERVICE, attribute::VANTAGE]);
        selectors.flat_map(|selector| selector.keys()).chain(named)
    }

    /// Whether an objective uses a metric.
    pub fn uses(&self, metric: &str) -> bool {
        self.objectives
            .iter()
            .flat_map(|objective| objective.sli.selectors())
            .any(|selector| selector.metric == metric)
    }
}
