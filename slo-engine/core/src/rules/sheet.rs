//! What the rules of an objective or of a family depend on, and how their series are selected.

use super::{Note, Options, names};
use crate::objective::{Goal, Indicator, Objective, PromQuery, Sli};
use crate::period::SloWindow;
use crate::promql::{self, WINDOW};
use crate::time::span_text;
use std::borrow::Cow;
use std::time::Duration;

/// Everything that the rules of one objective depend on, or those of a family.
#[derive(Clone)]
pub(super) struct Sheet<'a> {
    /// The first one of a family.
    pub(super) objective: &'a Objective,
    /// Selects by the names of objectives.
    pub(super) names: String,
    /// Selects what was recorded for a family, or the part of it that is one objective's.
    pub(super) scope: String,
    /// The name of the first objective of the family.
    pub(super) family: &'a str,
    pub(super) indicator: Cow<'a, Indicator<PromQuery>>,
    pub(super) options: Options,
    /// Windows that are looked at, shortest first.
    pub(super) lengths: Vec<Duration>,
    /// The window of the budget, when it rolls.
    pub(super) budget: Option<Duration>,
    /// Whether the detector of sudden failures is compiled.
    pub(super) spikes: bool,
}

impl<'a> Sheet<'a> {
    pub(super) fn new(objective: &'a Objective, options: Options, notes: &mut Vec<Note>) -> Option<Self> {
        let indicator = match &objective.sli {
            Sli::Embedded(selectors) => Cow::Owned(promql::compile_for(selectors, options.histograms)),
            Sli::Prometheus { indicator, .. } => Cow::Borrowed(indicator),
        };
        let indicator = pinned(&indicator, notes).map_or(indicator, Cow::Owned);
        if matches!(*indicator, Indicator::Relative { .. }) {
            let help = "give the baseline a `pinned` value, which the rules then compare with";
            let message = "an objective with `pqscope.baseline` cannot be compiled: PromQL compares a histogram with one \
                           number, not each group with its own";
            notes.push(Note::refused(message, help));
            return None;
        }
        let written = indicator.queries().iter().any(|query| query.0.contains(WINDOW));
        if written && matches!(objective.goal, Goal::Growth { .. }) {
            let help = "write the gauge as a plain selector";
            notes.push(Note::refused("growth cannot be taken of an expression with {{window}}", help));
            return None;
        }
        if written {
            let help = "plain selectors are counted once and cost the same for every window";
            notes.push(Note::left_out(
                "an expression with {{window}} is evaluated anew over every window, the longest ones too",
                help,
            ));
        }
        let budget = match &objective.window {
            SloWindow::Rolling(length) => Some(*length),
            SloWindow::Calendar(_) => {
                let message = format!(
                    "a window that follows the calendar ({}) has no form in PromQL: the budget that is left and the rule \
                     about a day's spend are left out; burn rates and their alerts are as in the engine",
                    objective.window
                );
                notes.push(Note::left_out(message, "a rolling window, such as 30d, has both"));
                None
            }
        };
        let counts =
            matches!(*indicator, Indicator::Good { .. } | Indicator::Bad { .. } | Indicator::AtMost { .. });
        let spikes = objective.alert.spike.is_some() && counts && !written;
        if objective.alert.spike.is_some() && written {
            let help = "plain selectors have one";
            notes.push(Note::left_out(
                "the spike detector needs the series of an expression and is left out",
                help,
            ));
        }
        if let Indicator::AtMost { observations, bound } = &*indicator
            && promql::query::is_classic(&observations.0)
        {
            let message =
                format!("a bucket that ends exactly at {bound} has to be there, else nothing is good");
            notes.push(Note::left_out(
                message,
                "use native histograms, or a bound that is one of the buckets'",
            ));
        }
        let named = format!("{}={}", names::SLO, promql::name::quoted(&objective.name));
        Some(Self {
            objective,
            names: named.clone(),
            scope: named,
            family: &objective.name,
            indicator,
            options,
            lengths: crate::measure::lengths(objective),
            budget,
            spikes,
        })
    }

    /// The sheet of a family: that of its first objective, with the names of all.
    pub(super) fn of_all(family: &[Self]) -> Option<Self> {
        let first = family.first()?.clone();
        let scope = format!("{}={}", names::FAMILY, promql::name::quoted(first.family));
        let names: Vec<String> =
            family.iter().map(|sheet| promql::name::literal(&sheet.objective.name)).collect();
        let names = match names.len() {
            1 => first.names,
            _ => format!("{}=~{}", names::SLO, promql::name::quoted(&names.join("|"))),
        };
        Some(Self { names, scope, ..first })
    }

    /// Whether nothing that the shared rules depend on differs.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let (ours, theirs) = (self.objective, other.objective);
        let goals = match (ours.goal, theirs.goal) {
            (Goal::Share { budgeting: ours, .. }, Goal::Share { budgeting: theirs, .. }) => ours == theirs,
            (Goal::ZeroTolerance { .. }, Goal::ZeroTolerance { .. }) => true,
            // Without a recorded target there is no other source of the service.
            (growth, other) => growth == other && ours.service == theirs.service,
        };
        goals
            && ours.alert == theirs.alert
            && self.lengths == other.lengths
            && self.budget == other.budget
            && self.spikes == other.spikes
            && self.side() == other.side()
            && self.written() == other.written()
    }

    /// Whether events of windows are differences of running totals.
    pub(super) fn is_running(&self) -> bool {
        !self.is_growth() && !self.written() && self.slice().is_none()
    }

    /// Whether events are counted, not a gauge read.
    pub(super) fn counts_events(&self) -> bool {
        !matches!(*self.indicator, Indicator::Level { .. } | Indicator::Ratio { .. })
    }

    pub(super) fn written(&self) -> bool {
        self.indicator.queries().iter().any(|query| query.0.contains(WINDOW))
    }

    /// Labels of everything that is recorded and alerted on.
    pub(super) fn labels(&self) -> Vec<(String, String)> {
        vec![
            (names::SLO.to_owned(), self.objective.name.clone()),
            (names::SERVICE.to_owned(), self.objective.service.clone()),
        ]
    }

    /// Labels of what is recorded for a family: names are in the series.
    pub(super) fn shared_labels(&self, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = [(names::FAMILY, self.family)];
        own.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Selects recorded series by the names of objectives; `more` are matchers, each with a comma in front.
    pub(super) fn own(&self, series: &str, more: &str) -> String {
        format!("{series}{{{}{more}}}", self.names)
    }

    /// Selects what is recorded for a family.
    pub(super) fn shared(&self, series: &str, more: &str) -> String {
        format!("{series}{{{}{more}}}", self.scope)
    }

    /// Events of a window, as they are recorded.
    pub(super) fn events(&self, window: Duration, result: &str) -> String {
        self.shared(
            names::EVENTS,
            &format!(",{}=\"{}\",{}=\"{result}\"", names::WINDOW, span_text(window), names::RESULT),
        )
    }

    /// Bad events of a window; may fall below zero where good exceeds total.
    pub(super) fn bad(&self, window: Duration) -> String {
        if self.good_is_counted() {
            let (total, good) = (self.events(window, "total"), self.events(window, "good"));
            format!("({total} - ignoring ({}) {good})", names::RESULT)
        } else {
            self.events(window, "bad")
        }
    }

    /// Burn rate of a window, as it is recorded; nothing without events and when a part exceeds the whole.
    pub(super) fn burn(&self, window: Duration) -> String {
        self.shared(&names::burn(), &format!(",{}=\"{}\"", names::WINDOW, span_text(window)))
    }

    /// Whether good events are counted beside all; else bad ones are.
    pub(super) fn good_is_counted(&self) -> bool {
        if self.is_growth() {
            return false;
        }
        self.slice().is_some() || !matches!(*self.indicator, Indicator::Bad { .. })
    }

    pub(super) fn slice(&self) -> Option<Duration> {
        match self.objective.goal {
            Goal::Share { budgeting, .. } => budgeting.slice(),
            _ => None,
        }
    }

    pub(super) fn side(&self) -> &'static str {
        if matches!(*self.indicator, Indicator::Bad { .. }) { "bad" } else { "good" }
    }

    pub(super) fn is_growth(&self) -> bool {
        matches!(self.objective.goal, Goal::Growth { .. })
    }
}

/// A relative indicator with its pinned value in place of what is observed: PromQL compares a histogram with one number,
/// not each group with its own. `None` for other indicators, and without a pinned value.
fn pinned(indicator: &Indicator<PromQuery>, notes: &mut Vec<Note>) -> Option<Indicator<PromQuery>> {
    let Indicator::Relative { observations, baseline } = indicator else { return None };
    // Through the decimal digits, so that 0.28 and 0.02 are 0.3.
    let bound = ((baseline.pinned? + baseline.margin) * 1e12).round() / 1e12;
    let message = format!(
        "PromQL compares a histogram with one number, not each group with its own: observations up to {bound}, the pinned \
         baseline and its margin, are good in the rules"
    );
    notes.push(Note::left_out(message, "the engine compares with what it observes"));
    Some(Indicator::AtMost { observations: observations.clone(), bound })
}
