//! Annotations of ours, in the metadata of an SLO.

use super::document::Document;
use crate::yaml::{Findings, Located, Place};

/// Default of `pqscope.dev/minimum-events`.
const LEAST_EVENTS: u64 = 10;
/// Default of `pqscope.dev/minimum-bad-events`. A single stray failure, or a pair, never pages.
const LEAST_BAD: u64 = 3;

/// What our annotations say.
pub(super) struct Settings {
    pub(super) runbook: Option<String>,
    pub(super) dashboard: Option<String>,
    pub(super) migrating: Option<Place>,
    pub(super) least_events: u64,
    pub(super) least_bad: u64,
}

/// Reads the annotations of an SLO.
pub(super) fn read(document: &Document, findings: &mut Findings) -> Settings {
    let mut settings = Settings {
        runbook: None,
        dashboard: None,
        migrating: None,
        least_events: LEAST_EVENTS,
        least_bad: LEAST_BAD,
    };
    for (key, text) in &document.annotations {
        match key.value.as_str() {
            "pqscope.dev/runbook" => settings.runbook = Some(text.value.clone()),
            "pqscope.dev/dashboard" => settings.dashboard = Some(text.value.clone()),
            "pqscope.dev/services" if text.value == "migrating" => {
                settings.migrating = Some(text.place.clone())
            }
            "pqscope.dev/services" => {
                let message = format!("`{}` is no choice of services", text.value);
                findings.error(
                    &text.place,
                    message,
                    "write `migrating`, or leave the annotation out for all",
                );
            }
            "pqscope.dev/minimum-events" => whole(text, &mut settings.least_events, findings),
            "pqscope.dev/minimum-bad-events" => whole(text, &mut settings.least_bad, findings),
            other => {
                let help = "known are pqscope.dev/runbook, dashboard, services, minimum-events and minimum-bad-events";
                findings.error(&key.place, format!("`{other}` is no annotation of pqscope"), help);
            }
        }
    }
    settings
}

fn whole(text: &Located<String>, setting: &mut u64, findings: &mut Findings) {
    match text.value.parse() {
        Ok(number) if number > 0 => *setting = number,
        _ => {
            findings.error(&text.place, format!("`{}` is no number of events", text.value), "write 1 or more")
        }
    }
}

/// Reports annotations of ours where they mean nothing.
pub(super) fn refuse(document: &Document, kind: &str, findings: &mut Findings) {
    for (key, _) in &document.annotations {
        let message = format!("`{}` has no effect on a {kind}", key.value);
        findings.error(&key.place, message, "annotations of pqscope belong to the metadata of an SLO");
    }
}
