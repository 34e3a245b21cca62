//! Coverage as JSON: what was checked last, gaps first.

use crate::keeper::View;
use pqscope_slo_core::coverage::{Check, Presence};
use serde::Serialize;

/// The latest checks.
#[derive(Debug, Serialize)]
pub(super) struct CoverageDto {
    at: String,
    present: usize,
    expected: usize,
    /// `present` over `expected`; null when nothing is expected.
    share: Option<f64>,
    checks: Vec<CheckDto>,
}

#[derive(Debug, Serialize)]
struct CheckDto {
    service: String,
    role: Option<&'static str>,
    series: &'static str,
    /// `present`, `absent`, or `unlisted` for an endpoint that no services file names.
    result: &'static str,
}

impl From<&View> for CoverageDto {
    fn from(view: &View) -> Self {
        let count = |wanted| view.coverage.iter().filter(|check| check.presence == wanted).count();
        let (present, absent) = (count(Presence::Present), count(Presence::Absent));
        let expected = present + absent;
        let (gaps, others): (Vec<&Check>, Vec<&Check>) =
            view.coverage.iter().partition(|check| check.presence != Presence::Present);
        #[expect(clippy::cast_precision_loss, reason = "a services file has far fewer than 2^53 lines")]
        let share = (expected > 0).then(|| present as f64 / expected as f64);
        Self {
            at: view.at.to_string(),
            present,
            expected,
            share,
            checks: gaps.into_iter().chain(others).map(CheckDto::from).collect(),
        }
    }
}

impl From<&Check> for CheckDto {
    fn from(check: &Check) -> Self {
        Self {
            service: check.service.clone(),
            role: check.role.map(|role| role.word()),
            series: check.series,
            result: check.presence.word(),
        }
    }
}
