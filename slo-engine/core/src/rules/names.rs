//! Names of what the rules record. Those of the contract are the engine's own, so that dashboards read either.

use pqscope_telemetry::exposition::metric_name;
use pqscope_telemetry::metric::engine;

/// Name of the objective.
pub(super) const SLO: &str = "pqscope_slo_name";
/// The OpenSLO service.
pub(super) const SERVICE: &str = "pqscope_service";
/// Length of a window, such as `1h`.
pub(super) const WINDOW: &str = "pqscope_window";
/// `good`, `bad` or `total`.
pub(super) const RESULT: &str = "pqscope_result";
/// The condition that an alert is about, such as `1h/5m`.
pub(super) const CONDITION: &str = "pqscope_condition";

/// The family that a series was recorded for: the name of its first objective.
pub(super) const FAMILY: &str = "pqscope_family";

/// Events since the rules began.
pub(super) const RUNNING: &str = "pqscope_slo:events:running";
/// The same by the groups of the spike detector.
pub(super) const GROUPS_RUNNING: &str = "pqscope_slo:group_events:running";
/// When the first event was counted; seconds since the epoch.
pub(super) const BEGAN: &str = "pqscope_slo:began:timestamp_seconds";
/// Events per window.
pub(super) const EVENTS: &str = "pqscope_slo:events:window";
/// What a window pair says: 2 active, 1 too few events, 0 clear; nothing without data.
pub(super) const VERDICT: &str = "pqscope_slo:condition:verdict";
/// Conditions that are active, or held since they are not clear; nothing when all is well.
pub(super) const ACTIVE: &str = "pqscope_slo:condition:active";
/// Events of groups in the short and the reference window of the spike detector.
pub(super) const GROUPS: &str = "pqscope_slo:group_events:window";
/// What groups are compared with.
pub(super) const USUAL: &str = "pqscope_slo:group_events:usual";
/// Shares of bad events of groups.
pub(super) const SHARES: &str = "pqscope_slo:group_events:bad_ratio";
/// Share of good events of the slice that ends now.
pub(super) const SLICE: &str = "pqscope_slo:slice:good_ratio";
/// A gauge whose growth is an objective.
pub(super) const LEVEL: &str = "pqscope_slo:level:sum";
/// Its first reading.
pub(super) const FIRST_LEVEL: &str = "pqscope_slo:level:first";

/// Burn rate per window.
pub(super) fn burn() -> String {
    metric_name(&engine::BURN_RATE)
}

/// Share of the budget that is left.
pub(super) fn remaining() -> String {
    metric_name(&engine::BUDGET_REMAINING)
}

/// The target.
pub(super) fn target() -> String {
    metric_name(&engine::SLO_OBJECTIVE)
}
