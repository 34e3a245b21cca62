//! Annotations of ours, in the metadata of an SLO.

use super::document::Document;
use crate::yaml::{Findings, Place};

/// What our annotations say.
pub(super) struct Settings {
    pub(super) runbook: Option<String>,
    pub(super) dashboard: Option<String>,
    pub(super) migrating: Option<Place>,
}

/// Reads the annotations of an SLO.
pub(super) fn read(document: &Document, findings: &mut Findings) -> Settings {
    let mut settings = Settings { runbook: None, dashboard: None, migrating: None };
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
            "pqscope.dev/minimum-events" | "pqscope.dev/minimum-bad-events" => {
                let help = "write `pqscope.alerting: {minimumEvents: 10, minimumBadEvents: 3}` in the spec";
                findings.error(&key.place, format!("`{}` is no annotation any more", key.value), help);
            }
            other => {
                let help = "known are pqscope.dev/runbook, pqscope.dev/dashboard and pqscope.dev/services";
                findings.error(&key.place, format!("`{other}` is no annotation of pqscope"), help);
            }
        }
    }
    settings
}

/// Reports annotations of ours where they mean nothing.
pub(super) fn refuse(document: &Document, kind: &str, findings: &mut Findings) {
    for (key, _) in &document.annotations {
        let message = format!("`{}` has no effect on a {kind}", key.value);
        findings.error(&key.place, message, "annotations of pqscope belong to the metadata of an SLO");
    }
}
