//! Selectors in the language of PromQL back ends.

use crate::objective::{Indicator, PromQuery};
use crate::series::Selector;

/// Whether a query that somebody wrote can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check(query: &PromQuery) -> Result<(), String> {
    if query.0.trim().is_empty() { Err("it is empty".to_owned()) } else { Ok(()) }
}

/// The same indicator for a back end.
pub fn compile(indicator: &Indicator<Selector>) -> Indicator<PromQuery> {
    let query = |selector: &Selector| PromQuery(selector.metric.replace('.', "_"));
    match indicator {
        Indicator::Good { good, total } => Indicator::Good { good: query(good), total: query(total) },
        Indicator::Bad { bad, total } => Indicator::Bad { bad: query(bad), total: query(total) },
        Indicator::AtMost { observations, bound } => {
            Indicator::AtMost { observations: query(observations), bound: *bound }
        }
        Indicator::Relative { observations, baseline } => Indicator::Relative {
            observations: query(observations),
            baseline: crate::objective::Baseline {
                observations: query(&baseline.observations),
                quantile: baseline.quantile,
                margin: baseline.margin,
                least_events: baseline.least_events,
                pinned: baseline.pinned,
                by: baseline.by.clone(),
            },
        },
        Indicator::Level { level, bound } => Indicator::Level { level: query(level), bound: *bound },
        Indicator::Ratio { ratio, of_good } => Indicator::Ratio { ratio: query(ratio), of_good: *of_good },
    }
}
