//! Indicators in the language of PromQL back ends: selectors of ours go in, PromQL comes out; what people wrote is
//! checked. Nothing is asked here.
//!
//! Names follow the OTLP translator (OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility"): see
//! [`name`]. The text of whole queries is made in [`query`].

pub mod name;
pub mod query;

use crate::objective::{Indicator, PromQuery};
use crate::series::Selector;
use name::{Place, selector};
use promql_parser::parser::{self, Expr, value::ValueType};
use std::convert::Infallible;

/// Stands for the range in a query that somebody wrote.
pub const WINDOW: &str = "{{window}}";

/// How histograms are stored by the back end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Histograms {
    /// Exponential buckets in one series, as OTLP histograms arrive.
    #[default]
    Native,
    /// A counter per bucket, as a scrape of our text pages gives.
    Classic,
}

/// Whether a query that somebody wrote can be used. With `{{window}}` any expression that gives samples will do; without it
/// the query is a plain vector selector, which is wrapped as its place asks for.
///
/// # Errors
/// What is wrong with it.
pub fn check(query: &PromQuery) -> Result<(), String> {
    let text = query.0.trim();
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let expression = parser::parse(&text.replace(WINDOW, "5m")).map_err(|fault| fault.to_string())?;
    if text.contains(WINDOW) {
        return match expression.value_type() {
            ValueType::Vector | ValueType::Scalar => Ok(()),
            other => Err(format!("it gives {other:?} where one value per series is needed")),
        };
    }
    match expression {
        Expr::VectorSelector(selector) if selector.offset.is_some() || selector.at.is_some() => {
            Err("a plain selector has neither `offset` nor `@`: they would shift every window".to_owned())
        }
        Expr::VectorSelector(_) => Ok(()),
        _ => Err(format!(
            "an expression needs {WINDOW} where its range stands; only a plain selector does without"
        )),
    }
}

/// The same indicator for a back end that has native histograms.
pub fn compile(indicator: &Indicator<Selector>) -> Indicator<PromQuery> {
    compile_for(indicator, Histograms::Native)
}

/// The same indicator for a back end: plain selectors, of a classic histogram its `_bucket` series.
pub fn compile_for(indicator: &Indicator<Selector>, histograms: Histograms) -> Indicator<PromQuery> {
    let place = match indicator {
        Indicator::Good { .. } | Indicator::Bad { .. } => Place::Events,
        Indicator::AtMost { .. } | Indicator::Relative { .. } => match histograms {
            Histograms::Native => Place::Native,
            Histograms::Classic => Place::Buckets,
        },
        Indicator::Level { .. } | Indicator::Ratio { .. } => Place::Gauge,
    };
    let Ok(compiled) = indicator.try_map(|picked| Ok::<_, Infallible>(PromQuery(selector(picked, place))));
    compiled
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> Result<(), String> {
        check(&PromQuery(text.to_owned()))
    }

    #[test]
    fn selectors_and_expressions_with_a_window_can_be_used() {
        for fine in [
            "requests_total",
            r#" requests_total{code!~"5..",job="a"} "#,
            r#"{__name__="requests_total"}"#,
            "sum(increase(requests_total[{{window}}]))",
            "sum by (job) (rate(a_total[{{window}}])) * 60",
            "histogram_count(sum(increase(d_seconds[{{window}}])))",
        ] {
            assert_eq!(verdict(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_told() {
        let told = |text: &str| verdict(text).unwrap_err();
        assert_eq!(told("  "), "it is empty");
        assert!(told("sum(requests_total)").contains("{{window}}"));
        assert!(told("requests_total[5m]").contains("{{window}}"));
        assert!(told("requests_total offset 5m").contains("offset"));
        assert!(told("requests_total[{{window}}]").contains("Matrix"));
        assert!(!told("sum(increase(requests_total[{{window}}])").is_empty(), "a bracket is open");
        assert!(!told("requests_total{code=5}").is_empty());
        assert!(!told("inrease(requests_total[{{window}}])").is_empty(), "no such function");
    }
}
