//! Objectives as recording and alerting rules for Prometheus: checked objectives go in, groups of rules come out, with the
//! reasons where one cannot be compiled. The rules say what the engine says: the same windows, gates, pending and clear
//! times, and the same three answers, for silence is no recovery there either.
//!
//! **Running totals.** Counters are read once per evaluation: what each series grew by since the evaluation before is added
//! to a total that is recorded. The events of any window are then a difference of two samples of that total, so a window of
//! thirty days costs what one of five minutes does, and nothing is extrapolated. A counter that falls began anew. A new
//! series counts from zero when its sender (`job`, `instance`) was known, else its first sample is the baseline. An
//! evaluation that Prometheus leaves out loses the events of its interval, good and bad alike; after more than an hour
//! without Prometheus the totals begin anew.
//!
//! **Delay.** A sample must be there when the evaluation that counts it runs, else it would count never. Counters are read
//! as they stood [`Options::delay`] ago.
//!
//! **Holding.** An alert that fires goes on until its condition is clear *with data*: the expression of each has a second
//! part that is its own `ALERTS` series unless the condition is clear. What is pending is not held: without data it ends.
//!
//! | room | what it makes |
//! |---|---|
//! | `counting` | running totals, events per window, burn rates, the budget |
//! | `alerts` | an alert per condition |
//! | `spike` | the detector of sudden failures |
//! | [`yaml`] | the file |

mod alerts;
mod counting;
mod names;
mod spike;
pub mod yaml;

use crate::diagnostic::{Diagnostic, Level};
use crate::objective::{Goal, Indicator, Objective, PromQuery, Sli};
use crate::openslo::SourceFile;
use crate::period::SloWindow;
use crate::promql::{self, Histograms, WINDOW};
use crate::time::span_text;
use std::time::Duration;

/// How rules are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How often the rules are evaluated. Whole seconds, at most two minutes: samples further apart are not seen together.
    pub interval: Duration,
    /// How long ago counters are read. At least as long as a sample may take from its time until it can be asked for.
    pub delay: Duration,
    /// How the back end stores the histograms of our own metrics.
    pub histograms: Histograms,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            delay: Duration::from_secs(30),
            histograms: Histograms::Native,
        }
    }
}

/// A rule with a word about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// For people: why it is there.
    pub comment: String,
    /// What it makes.
    pub kind: RuleKind,
    /// The PromQL, over several lines.
    pub expression: String,
    /// Labels in the order of the file.
    pub labels: Vec<(String, String)>,
}

/// What a rule makes.
#[derive(Clone, Debug, PartialEq)]
pub enum RuleKind {
    /// A series.
    Record(String),
    /// An alert.
    Alert {
        /// Its name.
        name: String,
        /// How long the condition must hold.
        pending_for: Duration,
        /// How long it goes on after the condition was clear.
        clear_for: Duration,
        /// Annotations in the order of the file.
        annotations: Vec<(String, String)>,
    },
}

/// The rules of one objective, evaluated one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Unique name.
    pub name: String,
    /// For people.
    pub comment: String,
    /// How often the rules are evaluated.
    pub interval: Duration,
    /// In the order of evaluation: each may use what those before it recorded.
    pub rules: Vec<Rule>,
}

/// What became of all objectives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    /// A group per objective that could be compiled, in their order.
    pub groups: Vec<Group>,
    /// What could not be compiled, wholly (an error) or in part (a warning), and why.
    pub findings: Vec<Diagnostic>,
}

impl Compiled {
    /// Whether an objective was refused.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Error)
    }
}

/// Compiles objectives. `sources` are the files that they came from, to name lines in findings.
pub fn compile(objectives: &[Objective], sources: &[SourceFile<'_>], options: Options) -> Compiled {
    let mut compiled = Compiled::default();
    for objective in objectives {
        let mut notes = Vec::new();
        let group = compile_one(objective, options, &mut notes);
        compiled.findings.extend(notes.into_iter().map(|note| note.located(objective, sources)));
        compiled.groups.extend(group);
    }
    compiled
}

/// A finding that is not located yet.
#[derive(Debug)]
struct Note {
    level: Level,
    message: String,
    help: &'static str,
}

impl Note {
    fn refused(message: impl Into<String>, help: &'static str) -> Self {
        Self { level: Level::Error, message: message.into(), help }
    }

    fn left_out(message: impl Into<String>, help: &'static str) -> Self {
        Self { level: Level::Warning, message: message.into(), help }
    }

    /// At the line that names the SLO.
    fn located(self, objective: &Objective, sources: &[SourceFile<'_>]) -> Diagnostic {
        let slo = objective.name.split('/').next().unwrap_or_default();
        let text =
            sources.iter().find(|source| source.name == objective.file).map_or("", |source| source.text);
        let names_it = |line: &str| {
            let mut names = line.split("name:").skip(1);
            names.any(|rest| {
                rest.trim_start().trim_start_matches(['"', '\'']).split(['"', '\'', ',', '}', ' ']).next()
                    == Some(slo)
            })
        };
        let line = text.lines().position(names_it).map_or(1, |position| position + 1);
        Diagnostic {
            level: self.level,
            file: objective.file.clone(),
            line,
            column: 1,
            message: format!("{}: {}", objective.name, self.message),
            help: self.help.to_owned(),
        }
    }
}

fn compile_one(objective: &Objective, options: Options, notes: &mut Vec<Note>) -> Option<Group> {
    let compiled;
    let indicator = match &objective.sli {
        Sli::Embedded(selectors) => {
            compiled = promql::compile_for(selectors, options.histograms);
            &compiled
        }
        Sli::Prometheus { indicator, .. } => indicator,
    };
    let pinned = pinned(indicator, notes);
    let indicator = pinned.as_ref().unwrap_or(indicator);
    let sheet = Sheet::new(objective, indicator, options, notes)?;
    let mut rules = counting::rules(&sheet);
    rules.extend(spike::recordings(&sheet));
    rules.extend(alerts::rules(&sheet));
    let comment = format!(
        "{}: {} over {}, from {}",
        objective.name,
        objective.goal.words(),
        objective.window_text(),
        objective.file
    );
    Some(Group {
        name: format!("pqscope-slo-{}", objective.name),
        comment,
        interval: options.interval,
        rules,
    })
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

/// Everything that the rules of one objective depend on.
struct Sheet<'a> {
    objective: &'a Objective,
    indicator: &'a Indicator<PromQuery>,
    options: Options,
    /// Windows that are looked at, shortest first.
    lengths: Vec<Duration>,
    /// The window of the budget, when it rolls.
    budget: Option<Duration>,
    /// Whether the detector of sudden failures is compiled.
    spikes: bool,
}

impl<'a> Sheet<'a> {
    fn new(
        objective: &'a Objective,
        indicator: &'a Indicator<PromQuery>,
        options: Options,
        notes: &mut Vec<Note>,
    ) -> Option<Self> {
        if matches!(indicator, Indicator::Relative { .. }) {
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
            matches!(indicator, Indicator::Good { .. } | Indicator::Bad { .. } | Indicator::AtMost { .. });
        let spikes = objective.alert.spike.is_some() && counts && !written;
        if objective.alert.spike.is_some() && written {
            let help = "plain selectors have one";
            notes.push(Note::left_out(
                "the spike detector needs the series of an expression and is left out",
                help,
            ));
        }
        if let Indicator::AtMost { observations, bound } = indicator
            && promql::query::is_classic(&observations.0)
        {
            let message =
                format!("a bucket that ends exactly at {bound} has to be there, else nothing is good");
            notes.push(Note::left_out(
                message,
                "use native histograms, or a bound that is one of the buckets'",
            ));
        }
        Some(Self {
            objective,
            indicator,
            options,
            lengths: crate::measure::lengths(objective),
            budget,
            spikes,
        })
    }

    fn written(&self) -> bool {
        self.indicator.queries().iter().any(|query| query.0.contains(WINDOW))
    }

    /// Labels of everything that is recorded and alerted on.
    fn labels(&self) -> Vec<(String, String)> {
        vec![
            (names::SLO.to_owned(), self.objective.name.clone()),
            (names::SERVICE.to_owned(), self.objective.service.clone()),
        ]
    }

    /// Selects a recorded series of this objective, whose name is unique; `more` are matchers, each with a comma in front.
    fn own(&self, series: &str, more: &str) -> String {
        format!("{series}{{{}={}{more}}}", names::SLO, promql::name::quoted(&self.objective.name))
    }

    /// Events of a window, as they are recorded.
    fn events(&self, window: Duration, result: &str) -> String {
        self.own(
            names::EVENTS,
            &format!(",{}=\"{}\",{}=\"{result}\"", names::WINDOW, span_text(window), names::RESULT),
        )
    }

    /// Bad events of a window; may fall below zero where good exceeds total.
    fn bad(&self, window: Duration) -> String {
        if self.good_is_counted() {
            let (total, good) = (self.events(window, "total"), self.events(window, "good"));
            format!("({total} - ignoring({}) {good})", names::RESULT)
        } else {
            self.events(window, "bad")
        }
    }

    /// Burn rate of a window, as it is recorded; nothing without events and when a part exceeds the whole.
    fn burn(&self, window: Duration) -> String {
        self.own(&names::burn(), &format!(",{}=\"{}\"", names::WINDOW, span_text(window)))
    }

    /// Whether good events are counted beside all; else bad ones are.
    fn good_is_counted(&self) -> bool {
        if matches!(self.objective.goal, Goal::Growth { .. }) {
            return false;
        }
        self.slice().is_some() || !matches!(self.indicator, Indicator::Bad { .. })
    }

    fn slice(&self) -> Option<Duration> {
        match self.objective.goal {
            Goal::Share { budgeting, .. } => budgeting.slice(),
            _ => None,
        }
    }

    const fn side(&self) -> &'static str {
        if matches!(self.indicator, Indicator::Bad { .. }) { "bad" } else { "good" }
    }

    fn is_growth(&self) -> bool {
        matches!(self.objective.goal, Goal::Growth { .. })
    }
}

/// A billionth less, as the engine compares: `1 - target` is not exact in binary.
fn nearly(factor: f64) -> String {
    promql::query::number(factor * (1.0 - 1e-9))
}

#[cfg(test)]
mod tests;
