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
//! **Families.** What an evaluation costs is mostly the rule and its selectors, not the samples. Objectives with the same
//! windows and alerting share everything but their counters and their alerts: such a rule makes the series of all of them,
//! and keeps them apart by name. What it makes bears the family, so that rules that are changed never meet what the former
//! ones left; what is read from long ago is selected by the names of objectives, whatever family they were in.
//!
//! | room | what it makes |
//! |---|---|
//! | `counting` | per objective: the target, running totals, what cannot be shared |
//! | `shared` | for a family at once: events per window, burn rates, the budget, what window pairs say |
//! | `alerts` | an alert per condition |
//! | `sheet` | what they depend on |
//! | `spike` | the detector of sudden failures |
//! | [`yaml`] | the file |

mod alerts;
mod counting;
mod names;
mod shared;
mod sheet;
mod spike;
pub mod yaml;

use crate::diagnostic::{Diagnostic, Level};
use crate::objective::Objective;
use crate::openslo::SourceFile;
use crate::promql::{self, Histograms};
use sheet::Sheet;
use std::time::Duration;

/// Most objectives in one group: Prometheus evaluates the rules of a group one after the other, and groups side by side.
const LARGEST_FAMILY: usize = 50;

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

/// The rules of one family of objectives, evaluated one after the other.
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
    /// A group per family of objectives that could be compiled, in the order of their first ones.
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
    let mut families: Vec<Vec<Sheet<'_>>> = Vec::new();
    for objective in objectives {
        let mut notes = Vec::new();
        let sheet = Sheet::new(objective, options, &mut notes);
        compiled.findings.extend(notes.into_iter().map(|note| note.located(objective, sources)));
        let Some(sheet) = sheet else { continue };
        let has_room = |family: &&mut Vec<Sheet<'_>>| {
            family.len() < LARGEST_FAMILY && family.first().is_some_and(|first| first.is_like(&sheet))
        };
        match families.iter_mut().find(has_room) {
            Some(family) => family.push(sheet),
            None => families.push(vec![sheet]),
        }
    }
    compiled.groups = families.into_iter().filter_map(|family| group(family, options)).collect();
    compiled
}

fn group(mut family: Vec<Sheet<'_>>, options: Options) -> Option<Group> {
    let first = family.first()?.objective.name.as_str();
    family.iter_mut().for_each(|sheet| sheet.family = first);
    let all = Sheet::of_all(&family)?;
    let mut rules: Vec<Rule> = family.iter().flat_map(counting::rules).collect();
    rules.extend(shared::rules(&all));
    rules.extend(spike::recordings(&all));
    rules.extend(alerts::conditions(&all));
    rules.extend(family.iter().flat_map(alerts::rules));
    let about = |sheet: &Sheet<'_>| {
        let Objective { name, goal, file, .. } = sheet.objective;
        format!("{name}: {} over {}, from {file}", goal.words(), sheet.objective.window_text())
    };
    let comment: Vec<String> = family.iter().map(about).collect();
    Some(Group {
        name: format!("pqscope-slo-{first}"),
        comment: comment.join("\n"),
        interval: options.interval,
        rules,
    })
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

/// A billionth less, as the engine compares: `1 - target` is not exact in binary.
fn nearly(factor: f64) -> String {
    promql::query::number(factor * (1.0 - 1e-9))
}

#[cfg(test)]
mod tests;
