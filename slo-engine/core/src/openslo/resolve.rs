//! References followed, defaults filled in, sanity checked: documents to objectives.

use super::alerting::{RawPolicy, Use};
use super::document::{Body, Document};
use super::indicator::RawIndicator;
use super::settings::{self, Settings};
use super::slo::{RawObjective, RawSlo};
use crate::burn::standard_tiers;
use crate::objective::{AlertRule, AlertTier, Indicator, Objective, Target};
use crate::services::Services;
use crate::time::span_text;
use crate::yaml::{Findings, Located, Place};
use pqscope_telemetry::attribute;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a firing tier must be clear before it is quiet: long enough not to flap with every export.
const CLEAR_FOR: Duration = Duration::from_secs(120);

/// Everything that can be referred to, by kind and name.
struct Index<'a>(BTreeMap<(&'static str, &'a str), &'a Document>);

/// Makes objectives of documents.
pub(super) fn resolve(
    documents: &[Document],
    services: Option<&Services>,
    findings: &mut Findings,
) -> Vec<Objective> {
    let index = Index::new(documents, findings);
    let mut objectives = Vec::new();
    for document in documents {
        match &document.body {
            Body::Slo(slo) => {
                let settings = settings::read(document, findings);
                if let Some(slo) = slo {
                    objectives.extend(index.objectives(document, slo, &settings, services, findings));
                }
            }
            body => settings::refuse(document, body.kind(), findings),
        }
        if let Body::Policy(Some(policy)) = &document.body {
            index.follow_policy(policy, findings);
        }
    }
    objectives
}

impl<'a> Index<'a> {
    fn new(documents: &'a [Document], findings: &mut Findings) -> Self {
        let mut index: BTreeMap<_, &Document> = BTreeMap::new();
        for document in documents {
            let key = (document.body.kind(), document.name.value.as_str());
            if let Some(first) = index.get(&key) {
                let message = format!("there is already an {} named `{}`", key.0, key.1);
                let Place { file, line, .. } = &first.name.place;
                findings.error(&document.name.place, message, format!("the first is in {file}, line {line}"));
            } else {
                index.insert(key, document);
            }
        }
        Self(index)
    }

    fn find(
        &self,
        kind: &'static str,
        name: &Located<String>,
        findings: &mut Findings,
    ) -> Option<&'a Document> {
        let found = self.0.get(&(kind, name.value.as_str())).copied();
        if found.is_none() {
            let known: Vec<&str> =
                self.0.keys().filter(|(other, _)| *other == kind).map(|(_, name)| *name).collect();
            let help = if known.is_empty() {
                format!("none of the files defines an {kind}")
            } else {
                format!("defined are {}", known.join(", "))
            };
            findings.error(&name.place, format!("there is no {kind} named `{}`", name.value), help);
        }
        found
    }

    fn objectives(
        &self,
        document: &Document,
        slo: &RawSlo,
        settings: &Settings,
        services: Option<&Services>,
        findings: &mut Findings,
    ) -> Vec<Objective> {
        if self.0.keys().any(|(kind, _)| *kind == "Service") {
            self.find("Service", &slo.service, findings);
        }
        let raw = match &slo.indicator {
            Use::Inline(indicator) => indicator.clone(),
            Use::Named(name) => self.find("SLI", name, findings).and_then(|document| match &document.body {
                Body::Sli(indicator) => indicator.clone(),
                _ => None,
            }),
        };
        let custom = self.custom_tiers(slo, findings);
        let only = only_services(settings, services, findings);
        let names = objective_names(document, slo, findings);
        let mut made = Vec::new();
        for (raw_objective, name) in slo.objectives.iter().zip(names) {
            let indicator = raw.as_ref().and_then(|raw| indicator(raw, raw_objective, findings));
            let tiers = match &custom {
                Some(tiers) => checked_tiers(tiers, raw_objective, findings),
                None => adapted_tiers(&slo.window, &raw_objective.target, findings),
            };
            let Some(mut indicator) = indicator else { continue };
            if let Some(only) = &only {
                restrict(&mut indicator, only);
            }
            let title = raw_objective.title.as_ref().map(|title| title.value.clone());
            made.push(Objective {
                title: document.title.clone().or(title).unwrap_or_else(|| name.clone()),
                name,
                description: slo.description.clone(),
                service: slo.service.value.clone(),
                file: document.name.place.file.to_string(),
                indicator,
                target: raw_objective.target.value,
                window: slo.window.value,
                alert: AlertRule {
                    tiers,
                    clear_for: CLEAR_FOR,
                    least_events: settings.least_events,
                    least_bad: settings.least_bad,
                },
                runbook: settings.runbook.clone(),
                dashboard: settings.dashboard.clone(),
                only_services: only.clone(),
            });
        }
        made
    }

    /// The tiers of the SLO's own policies; `None` when it names none.
    fn custom_tiers(&self, slo: &RawSlo, findings: &mut Findings) -> Option<Vec<Located<AlertTier>>> {
        if slo.policies.is_empty() {
            return None;
        }
        let mut tiers: Vec<Located<AlertTier>> = Vec::new();
        for policy in &slo.policies {
            let (policy, place) = match policy {
                Use::Inline(policy) => {
                    if let Some(policy) = policy {
                        self.follow_policy(policy, findings);
                    }
                    (policy.as_ref(), &slo.service.place)
                }
                Use::Named(name) => {
                    let found = self.find("AlertPolicy", name, findings);
                    let policy = found.and_then(|document| match &document.body {
                        Body::Policy(policy) => policy.as_ref(),
                        _ => None,
                    });
                    (policy, &name.place)
                }
            };
            for condition in policy.map(|policy| policy.conditions.as_slice()).unwrap_or_default() {
                let Some(tier) = self.condition(condition) else { continue };
                if tiers.iter().any(|other| other.value.name() == tier.name()) {
                    let message =
                        format!("two conditions of this SLO look back over {}", span_text(tier.long));
                    findings.error(place, message, "keep one of the two");
                } else {
                    tiers.push(Located { value: tier, place: place.clone() });
                }
            }
        }
        Some(tiers)
    }

    fn condition(&self, condition: &Use<AlertTier>) -> Option<AlertTier> {
        match condition {
            Use::Inline(tier) => *tier,
            Use::Named(name) => match self.0.get(&("AlertCondition", name.value.as_str()))?.body {
                Body::Condition(tier) => tier,
                _ => None,
            },
        }
    }

    /// Reports what a policy refers to and nobody defines.
    fn follow_policy(&self, policy: &RawPolicy, findings: &mut Findings) {
        for condition in &policy.conditions {
            if let Use::Named(name) = condition {
                self.find("AlertCondition", name, findings);
            }
        }
        for target in &policy.targets {
            if let Use::Named(name) = target {
                self.find("AlertNotificationTarget", name, findings);
            }
        }
    }
}

/// The SLO's name; with several objectives, followed by `/` and each one's display name, so that their order does not
/// matter.
fn objective_names(document: &Document, slo: &RawSlo, findings: &mut Findings) -> Vec<String> {
    let slo_name = &document.name.value;
    let mut taken = BTreeSet::new();
    let mut name = |objective: &RawObjective| {
        if slo.objectives.len() == 1 {
            return slo_name.clone();
        }
        let Some(title) = &objective.title else {
            let help = "give each a displayName: it becomes part of the alert's identity";
            findings.error(
                &objective.place,
                "this SLO has several objectives, and this one has no name",
                help,
            );
            return slo_name.clone();
        };
        let name = format!("{slo_name}/{}", title.value);
        if !taken.insert(name.clone()) {
            let message = format!("another objective of this SLO is named `{}` already", title.value);
            findings.error(&title.place, message, "give each another displayName");
        }
        name
    };
    slo.objectives.iter().map(&mut name).collect()
}

fn indicator(raw: &RawIndicator, objective: &RawObjective, findings: &mut Findings) -> Option<Indicator> {
    match (raw, &objective.bound) {
        (RawIndicator::Good { good, total }, None) => {
            Some(Indicator::Good { good: good.clone(), total: total.clone() })
        }
        (RawIndicator::Bad { bad, total }, None) => {
            Some(Indicator::Bad { bad: bad.clone(), total: total.clone() })
        }
        (RawIndicator::Threshold { observations }, Some(bound)) => {
            Some(Indicator::AtMost { observations: observations.clone(), bound: bound.value })
        }
        (RawIndicator::Threshold { .. }, None) => {
            let help = "add `op: lte` and `value`, in the unit of the metric";
            findings.error(&objective.place, "a threshold metric needs a bound in the objective", help);
            None
        }
        (_, Some(bound)) => {
            let help = "remove `op` and `value`; they belong to a thresholdMetric";
            findings.error(&bound.place, "a ratio has no threshold", help);
            None
        }
    }
}

/// Keeps only some services, by narrowing every selector.
fn restrict(indicator: &mut Indicator, only: &BTreeSet<String>) {
    let selectors = match indicator {
        Indicator::Good { good: part, total } | Indicator::Bad { bad: part, total } => vec![part, total],
        Indicator::AtMost { observations, .. } => vec![observations],
    };
    for selector in selectors {
        let asked = selector.matches.entry(attribute::SERVICE.to_owned()).or_insert_with(|| only.clone());
        asked.retain(|name| only.contains(name));
    }
}

/// The standard window pairs, made to fit the SLO window.
fn adapted_tiers(
    window: &Located<Duration>,
    target: &Located<Target>,
    findings: &mut Findings,
) -> Vec<AlertTier> {
    let mut tiers = Vec::new();
    for mut tier in standard_tiers(window.value) {
        let name = tier.name();
        if tier.long > window.value {
            let message = format!("the window pair {name} is longer than the SLO window and is left out");
            findings.warn(&window.place, message, "a longer SLO window, such as 30d, has all four pairs");
            continue;
        }
        if tier.factor < 1.0 {
            let message = format!(
                "over {} the window pair {name} would alert at a burn rate of {:.2}, which the budget sustains; it alerts at 1",
                span_text(window.value),
                tier.factor
            );
            findings.warn(&window.place, message, "a longer SLO window, or an AlertPolicy of your own");
            tier.factor = 1.0;
        }
        warn_unreachable(&tier, target.value, &target.place, findings);
        tiers.push(tier);
    }
    tiers
}

/// Tiers that somebody wrote: taken as they are, with a word about what cannot be meant.
fn checked_tiers(
    tiers: &[Located<AlertTier>],
    objective: &RawObjective,
    findings: &mut Findings,
) -> Vec<AlertTier> {
    for Located { value: tier, place } in tiers {
        warn_unreachable(tier, objective.target.value, place, findings);
        if tier.factor < 1.0 {
            let message = format!(
                "the tier {} alerts at a burn rate of {}, which the budget sustains",
                tier.name(),
                tier.factor
            );
            findings.warn(
                place,
                message,
                "1 spends the budget exactly over the SLO window; choose 1 or more",
            );
        }
    }
    tiers.iter().map(|tier| tier.value).collect()
}

fn warn_unreachable(tier: &AlertTier, target: Target, place: &Place, findings: &mut Findings) {
    let highest = target.highest_burn();
    if tier.factor > highest * (1.0 + 1e-9) {
        let message = format!(
            "the window pair {} can never fire: it needs a burn rate of {:.1}, and with every event bad the target {} \
             gives {highest:.1}",
            tier.name(),
            tier.factor,
            target.share()
        );
        let least = 1.0 - 1.0 / tier.factor;
        findings.warn(
            place,
            message,
            format!("it can with a target above {least:.4}, or with a lower threshold"),
        );
    }
}

fn only_services(
    settings: &Settings,
    services: Option<&Services>,
    findings: &mut Findings,
) -> Option<BTreeSet<String>> {
    let (place, services) = (settings.migrating.as_ref()?, services?);
    let only: BTreeSet<String> = services.migrating().map(str::to_owned).collect();
    if only.is_empty() {
        let help = "mark services with `migrating: true`, or start without a services file to count all";
        findings.warn(place, "the services file marks no service as migrating: this SLO has no events", help);
    }
    Some(only)
}
