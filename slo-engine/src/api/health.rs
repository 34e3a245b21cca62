//! Whether the engine does its work.

use crate::keeper::View;
use pqscope_slo_core::time::Timestamp;
use std::time::Duration;

/// An evaluation may be this late before it counts as stuck.
const LATENESS: Duration = Duration::from_secs(30);

/// What keeps the engine from its work; `None` when nothing does.
pub(super) fn fault(view: &View, now: Timestamp) -> Option<String> {
    if !view.store.healthy {
        return Some("not ready: the last commit failed, exports are refused; is the disk full?".to_owned());
    }
    let age = now.since(view.at);
    if age > view.evaluation_interval * 3 + LATENESS {
        return Some(format!("not ready: the last evaluation was {} seconds ago", age.as_secs()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreFigures;

    #[test]
    fn a_failed_commit_and_a_stuck_evaluation_show() {
        let now = Timestamp::from_seconds(1_000);
        let mut view = View::empty(now);
        assert!(fault(&view, now).is_some(), "nothing is committed yet");
        view.store = StoreFigures { healthy: true, ..StoreFigures::default() };
        view.evaluation_interval = Duration::from_secs(10);
        assert_eq!(fault(&view, now), None);
        assert_eq!(fault(&view, now.after(Duration::from_secs(60))), None);
        assert!(fault(&view, now.after(Duration::from_secs(61))).is_some());
    }
}
