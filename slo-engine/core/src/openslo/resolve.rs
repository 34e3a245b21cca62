//! References followed, defaults filled in, sanity checked: documents to objectives.

use super::alerting::{RawPolicy, Use};
use super::document::{Body, Document};
use super::extension::{RawGrowth, RawSpike, RawZeroTolerance};
use super::indicator::{Ask, RawQuery};
use super::settings::{self, Settings};
use super::shape;
use super::slo::{Method, RawGoal, RawObjective, RawSlo};
use crate::burn::{self, standard_tiers};
use crate::measure::DAY;
use crate::objective::{
    AlertRule, AlertTier, Budgeting, DataSource, Goal, Indicator, NoDataPolicy, Objective, Severity, Sli,
    Target,
};
use crate::period::SloWindow;
use crate::promql;
use crate::series::Selector;
use crate::services::Services;
use crate::time::span_text;
use crate::yaml::{Findings, Located, Place};
use pqscope_telemetry::attribute;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a firing tier must be clear before it is quiet: long enough not to flap with every export.
const CLEAR_FOR: Duration = Duration::from_secs(120);

/// Least events and bad events before anything fires. A single stray failure, or a pair, never pages.
const LEAST_EVENTS: u64 = 10;
const LEAST_BAD: u64 = 3;
/// Share of the budget that, gone in a day, escalates.
const DAY_SHARE: f64 = 0.25;
/// What OpenSLO's `alertWhenNoData` waits for.
const NO_DATA_AFTER: Duration = Duration::from_secs(900);

/// What the alert policies of an SLO say together.
struct CustomTiers {
    tiers: Vec<Located<AlertTier>>,
    alerts_on_no_data: bool,
}

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
            let goal = goal(slo, raw_objective, findings);
            let indicator = raw.as_ref().and_then(|raw| shape::indicator(raw, slo, raw_objective, findings));
            let sli = indicator.and_then(|indicator| self.sli(indicator, only.as_ref(), findings));
            let (Some(goal), Some(sli)) = (goal, sli) else { continue };
            let alert = alert_rule(slo, custom.as_ref(), &goal, &sli, raw_objective, findings);
            let title = raw_objective.title.as_ref().map(|title| title.value.clone());
            made.push(Objective {
                title: document.title.clone().or(title).unwrap_or_else(|| name.clone()),
                name,
                description: slo.description.clone(),
                service: slo.service.value.clone(),
                file: document.name.place.file.to_string(),
                sli,
                goal,
                window: slo.window.value.clone(),
                alert,
                runbook: settings.runbook.clone(),
                dashboard: settings.dashboard.clone(),
                only_services: only.clone(),
            });
        }
        made
    }

    /// Decides where the numbers come from. All queries of an indicator ask the same place.
    fn sli(
        &self,
        mut indicator: Indicator<RawQuery>,
        only: Option<&BTreeSet<String>>,
        findings: &mut Findings,
    ) -> Option<Sli> {
        for query in indicator.queries_mut() {
            if let (Ask::Selector(selector), Some(only)) = (&mut query.ask, only) {
                restrict(selector, only);
            }
        }
        let queries = indicator.queries();
        let named = |query: &RawQuery| query.source.as_ref().map(|name| name.value.clone());
        let first = queries.first().and_then(|query| named(query));
        if let Some(other) = queries.iter().find(|query| named(query) != first) {
            let help = "give every metricSource of an SLI the same metricSourceRef, or none";
            findings.error(&other.place, "one SLI cannot be measured in two places", help);
            return None;
        }
        let selectors = indicator
            .try_map(|query| match &query.ask {
                Ask::Selector(selector) => Ok(selector.clone()),
                Ask::PromQl(_) => Err(()),
            })
            .ok();
        let Some(name) = queries.first().and_then(|query| query.source.clone()) else {
            return selectors.map(Sli::Embedded);
        };
        let source = self.find("DataSource", &name, findings).and_then(|document| match &document.body {
            Body::DataSource(Some(raw)) => {
                Some(DataSource { name: document.name.value.clone(), ..raw.source.clone() })
            }
            _ => None,
        })?;
        // Selectors are compiled as a whole, for what a metric is called depends on its place in the indicator.
        let indicator = match selectors {
            Some(selectors) => promql::compile(&selectors),
            None => indicator
                .try_map(|query| match &query.ask {
                    Ask::PromQl(query) => Ok(query.clone()),
                    Ask::Selector(_) => Err(()),
                })
                .ok()
                .or_else(|| {
                    let help = "write all of them as `type: pqscope`, or all as `type: Prometheus`";
                    findings.error(&name.place, "one SLI cannot be asked for in two languages", help);
                    None
                })?,
        };
        Some(Sli::Prometheus { source, indicator })
    }

    /// The tiers of the SLO's own policies; `None` when it names none.
    fn custom_tiers(&self, slo: &RawSlo, findings: &mut Findings) -> Option<CustomTiers> {
        if slo.policies.is_empty() {
            return None;
        }
        let mut tiers: Vec<Located<AlertTier>> = Vec::new();
        let mut alerts_on_no_data = false;
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
            alerts_on_no_data |= policy.is_some_and(|policy| policy.alerts_on_no_data);
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
        Some(CustomTiers { tiers, alerts_on_no_data })
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

/// What has to be reached, and how it is counted.
fn goal(slo: &RawSlo, objective: &RawObjective, findings: &mut Findings) -> Option<Goal> {
    let target = match objective.goal.value {
        RawGoal::Share(target) => target,
        other => {
            if slo.method.value != Method::Occurrences {
                let help = "write `budgetingMethod: Occurrences`";
                findings.error(
                    &slo.method.place,
                    "slices of time belong to a target with an error budget",
                    help,
                );
                return None;
            }
            return Some(match other {
                RawGoal::ZeroTolerance(RawZeroTolerance { hold, severity }) => {
                    Goal::ZeroTolerance { hold, severity }
                }
                RawGoal::Growth(RawGrowth { budget, capacity }) => Goal::Growth { budget, capacity },
                RawGoal::Share(target) => Goal::Share { target, budgeting: Budgeting::Occurrences },
            });
        }
    };
    let budgeting = match (slo.method.value, &objective.slice) {
        (Method::Occurrences, None) => Budgeting::Occurrences,
        (Method::Occurrences, Some(slice)) => {
            findings.error(
                &slice.place,
                "events are counted, not slices",
                "write `budgetingMethod: Timeslices`",
            );
            return None;
        }
        (_, None) => {
            let help = "such as `timeSliceWindow: 5m`";
            findings.error(
                &objective.place,
                "a budget in slices needs their length, `timeSliceWindow`",
                help,
            );
            return None;
        }
        (Method::RatioTimeslices, Some(slice)) => Budgeting::RatioTimeslices { slice: slice.value },
        (Method::Timeslices, Some(slice)) => {
            // A threshold over a gauge makes a slice good or bad by itself.
            let slice_target = objective.slice_target.as_ref().map_or(1.0, |target| target.value);
            if objective.slice_target.is_none() && objective.bound.is_none() {
                let help = "such as `timeSliceTarget: 0.99`";
                findings.error(
                    &objective.place,
                    "a slice needs a target of its own, `timeSliceTarget`",
                    help,
                );
                return None;
            }
            Budgeting::Timeslices { slice: slice.value, slice_target }
        }
    };
    if let (Some(stray), false) = (&objective.slice_target, slo.method.value == Method::Timeslices) {
        findings.error(
            &stray.place,
            "`timeSliceTarget` belongs to `budgetingMethod: Timeslices`",
            "remove it",
        );
        return None;
    }
    Some(Goal::Share { target, budgeting })
}

/// Keeps only some services, by narrowing a selector.
fn restrict(selector: &mut Selector, only: &BTreeSet<String>) {
    let asked = selector.matches.entry(attribute::SERVICE.to_owned()).or_insert_with(|| only.clone());
    asked.retain(|name| only.contains(name));
}

/// When the objective alerts: what the SLO says, else what is usual for its kind.
fn alert_rule(
    slo: &RawSlo,
    custom: Option<&CustomTiers>,
    goal: &Goal,
    sli: &Sli,
    objective: &RawObjective,
    findings: &mut Findings,
) -> AlertRule {
    let told = slo.alerting.as_ref().map(|alerting| alerting.value.clone()).unwrap_or_default();
    if let (Some(_), Some(_), Some(alerting)) = (custom, &told.tiers, &slo.alerting) {
        let help = "keep `alertPolicies` or `tiers`";
        findings.error(
            &alerting.place,
            "window pairs stand in `alertPolicies` and in `pqscope.alerting`",
            help,
        );
    }
    let own = told.tiers.as_deref().or(custom.map(|custom| custom.tiers.as_slice()));
    let slice = match goal {
        Goal::Share { budgeting, .. } => budgeting.slice(),
        _ => None,
    };
    let mut tiers = match (goal, own) {
        (Goal::ZeroTolerance { .. }, own) => {
            if own.is_some_and(<[_]>::is_empty) {
                let help = "remove `pqscope.alerting: off`, or ask for a target below 1";
                findings.error(&objective.goal.place, "zero tolerance that tells nobody means nothing", help);
            } else if own.is_some() {
                let help =
                    "remove the window pairs; `severity` and `hold` of `pqscope.zeroTolerance` say it all";
                findings.error(&objective.goal.place, "zero tolerance has no burn rate to alert on", help);
            }
            Vec::new()
        }
        (_, Some(tiers)) => checked_tiers(tiers, goal, findings),
        (Goal::Growth { .. }, None) => growth_tiers(&slo.window, findings),
        (Goal::Share { target, .. }, None) => {
            let target = Located { value: *target, place: objective.goal.place.clone() };
            adapted_tiers(&slo.window, &target, findings)
        }
    };
    if let Some(slice) = slice {
        tiers = in_slices(tiers, slice, own.is_none(), &objective.goal.place, findings);
    }
    let counts_events = matches!(
        (goal, sli),
        (
            Goal::Share { budgeting: Budgeting::Occurrences, .. },
            Sli::Embedded(Indicator::Good { .. } | Indicator::Bad { .. })
        )
    );
    let spike = match told.spike {
        Some(told) => told.map(RawSpike::rule),
        // Where somebody chose the window pairs, there are no other conditions unless they are named too.
        None if counts_events && own.is_none() => Some(RawSpike::default().rule()),
        None => None,
    };
    let policy_no_data = custom.filter(|custom| custom.alerts_on_no_data).map(|custom| NoDataPolicy::Alert {
        after: NO_DATA_AFTER,
        severity: custom.tiers.first().map_or(Severity::Ticket, |tier| tier.value.severity),
    });
    let budgeted = matches!(goal, Goal::Share { .. }) && slo.window.value.nominal() > DAY && own.is_none();
    AlertRule {
        tiers,
        clear_for: told.clear_for.unwrap_or(CLEAR_FOR),
        least_events: told.least_events.unwrap_or(if slice.is_some() { 1 } else { LEAST_EVENTS }),
        // Of ratio slices the bad part is a fraction: any of it counts.
        least_bad: told.least_bad.unwrap_or(match goal {
            Goal::Share { budgeting: Budgeting::RatioTimeslices { .. }, .. } => 0,
            _ if slice.is_some() => 1,
            _ => LEAST_BAD,
        }),
        spike,
        day_share: told.day_share.unwrap_or(budgeted.then_some(DAY_SHARE)),
        no_data: told.no_data.or(policy_no_data).unwrap_or(NoDataPolicy::Hold),
    }
}

/// Growth is slow and goes in steps: a day and three days, as tickets.
fn growth_tiers(window: &Located<SloWindow>, findings: &mut Findings) -> Vec<AlertTier> {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let tier = |long: u64, short: u64, factor| AlertTier {
        long: days(long),
        short: days(short),
        factor,
        pending_for: burn::pending_for(Severity::Ticket),
        severity: Severity::Ticket,
    };
    let tiers = vec![tier(1, 1, 3.0), tier(7, 1, 1.0)];
    let fitting: Vec<AlertTier> =
        tiers.into_iter().filter(|tier| tier.long <= window.value.nominal()).collect();
    if fitting.is_empty() {
        findings.warn(&window.place, "this window is too short for growth to alert", "such as 30d");
    }
    fitting
}

/// The standard window pairs, made to fit the SLO window.
fn adapted_tiers(
    window: &Located<SloWindow>,
    target: &Located<Target>,
    findings: &mut Findings,
) -> Vec<AlertTier> {
    let mut tiers = Vec::new();
    let length = window.value.nominal();
    for mut tier in standard_tiers(length) {
        let name = tier.name();
        if tier.long > length {
            let message = format!("the window pair {name} is longer than the SLO window and is left out");
            findings.warn(&window.place, message, "a longer SLO window, such as 30d, has all four pairs");
            continue;
        }
        if tier.factor < 1.0 {
            let message = format!(
                "over {} the window pair {name} would alert at a burn rate of {:.2}, which the budget sustains; it alerts at 1",
                span_text(length),
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

/// Windows of whole slices. A standard pair whose long window is shorter than a slice has nothing to look at and is left
/// out; burn rates are scaled to the windows as they are then. Pairs that somebody wrote keep their burn rates.
fn in_slices(
    tiers: Vec<AlertTier>,
    slice: Duration,
    standard: bool,
    place: &Place,
    findings: &mut Findings,
) -> Vec<AlertTier> {
    let whole =
        |window: Duration| Duration::from_secs(window.as_secs().next_multiple_of(slice.as_secs())).max(slice);
    let mut kept: Vec<AlertTier> = Vec::new();
    for tier in tiers {
        if standard && tier.long < slice {
            let message = format!(
                "slices of {} are longer than the window pair {}, which is left out",
                span_text(slice),
                tier.name()
            );
            findings.warn(place, message, "shorter slices, or window pairs of your own");
            continue;
        }
        let long = whole(tier.long);
        let scale = if standard { tier.long.as_secs_f64() / long.as_secs_f64() } else { 1.0 };
        let factor = (tier.factor * scale).max(tier.factor.min(1.0));
        let fitted = AlertTier { long, short: whole(tier.short).min(long), factor, ..tier };
        if kept.iter().any(|other| other.name() == fitted.name()) {
            let message =
                format!("in slices of {} two window pairs are both {}", span_text(slice), fitted.name());
            findings.error(place, message, "keep one of them, or make the slices shorter");
            continue;
        }
        kept.push(fitted);
    }
    kept
}

/// Tiers that somebody wrote: taken as they are, with a word about what cannot be meant.
fn checked_tiers(tiers: &[Located<AlertTier>], goal: &Goal, findings: &mut Findings) -> Vec<AlertTier> {
    for Located { value: tier, place } in tiers {
        if let Goal::Share { target, .. } = goal {
            warn_unreachable(tier, *target, place, findings);
        }
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
