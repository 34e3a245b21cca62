//! Dashboards are well formed, their panels do not overlap, and Prometheus can parse every query.

use pqscope_tests::dashboard::{self, Dashboard};
use pqscope_tests::requirement;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

/// The newest schema of the classic format.
const SCHEMA: u64 = 42;
const COLUMNS: u64 = 24;

fn dashboards() -> Vec<Dashboard> {
    let all = dashboard::all();
    assert!(!all.is_empty(), "there are dashboards");
    all
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn every_dashboard_says_what_it_is() {
    let mut uids = BTreeSet::new();
    for board in dashboards() {
        let about = board.path.display().to_string();
        assert_eq!(board.content.pointer("/schemaVersion").and_then(Value::as_u64), Some(SCHEMA), "{about}");
        for field in ["/title", "/uid", "/description", "/refresh", "/time/from", "/time/to"] {
            assert!(!text(&board.content, field).is_empty(), "{about}: {field}");
        }
        assert!(uids.insert(text(&board.content, "/uid").to_owned()), "{about}: the uid is taken");
        assert!(
            board.content.get("id").is_some_and(Value::is_null),
            "{about}: the id is the server's to give"
        );
        let variables = board.variables();
        for needed in ["datasource", "service"] {
            assert!(variables.contains(&needed), "{about}: variable {needed}");
        }
    }
}

#[test]
fn every_panel_explains_itself() {
    for board in dashboards() {
        let mut ids = BTreeSet::new();
        for panel in board.panels() {
            let about = format!("{}: panel {}", board.path.display(), text(panel, "/title"));
            assert!(!text(panel, "/title").is_empty(), "{about}");
            let id = panel.get("id").and_then(Value::as_u64).unwrap_or_else(|| panic!("{about}: id"));
            assert!(ids.insert(id), "{about}: the id is taken");
            if text(panel, "/type") == "row" {
                continue;
            }
            assert!(text(panel, "/description").len() > 20, "{about}: description");
            assert!(!text(panel, "/fieldConfig/defaults/unit").is_empty(), "{about}: unit");
            assert_eq!(text(panel, "/datasource/uid"), "${datasource}", "{about}");
            check_targets(panel, &about);
        }
    }
}

fn check_targets(panel: &Value, about: &str) {
    let targets = panel.get("targets").and_then(Value::as_array).expect("targets");
    assert!(!targets.is_empty(), "{about}: a panel without a query");
    let mut references = BTreeSet::new();
    for target in targets {
        assert!(references.insert(text(target, "/refId").to_owned()), "{about}: refId");
        assert_eq!(text(target, "/datasource/uid"), "${datasource}", "{about}");
        assert!(!text(target, "/expr").is_empty(), "{about}: expr");
    }
}

#[test]
fn panels_do_not_overlap() {
    for board in dashboards() {
        let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
        for panel in board.panels() {
            let about = format!("{}: panel {}", board.path.display(), text(panel, "/title"));
            let side = |name: &str| {
                let value = panel.pointer(&format!("/gridPos/{name}")).and_then(Value::as_u64);
                value.unwrap_or_else(|| panic!("{about}: gridPos.{name}"))
            };
            let (x, y, width, height) = (side("x"), side("y"), side("w"), side("h"));
            assert!(width > 0 && height > 0 && x + width <= COLUMNS, "{about}: outside the grid");
            for cell in (x..x + width).flat_map(|column| (y..y + height).map(move |row| (column, row))) {
                assert!(taken.insert(cell), "{about}: overlaps at {cell:?}");
            }
        }
    }
}

#[test]
fn queries_use_no_unknown_variable() {
    for board in dashboards() {
        let known = board.variables();
        for (panel, query) in board.queries() {
            for name in variables_in(&query) {
                let built_in = ["__rate_interval", "__range"].contains(&name.as_str());
                assert!(built_in || known.contains(&name.as_str()), "{panel}: ${name} in {query}");
            }
        }
    }
}

fn variables_in(query: &str) -> Vec<String> {
    query
        .split('$')
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect())
        .collect()
}

#[test]
fn prometheus_can_parse_every_query() {
    let name = "prometheus_can_parse_every_query";
    let Some(promtool) = requirement::program(name, "promtool", "prometheus") else { return };
    // Every query as a recording rule: the rule checker parses it.
    let mut rules = "groups:\n  - name: queries\n    rules:\n".to_owned();
    for board in dashboards() {
        for (index, (_, query)) in board.queries().iter().enumerate() {
            let query = serde_json::to_string(&dashboard::resolve(query)).expect("a string");
            writeln!(rules, "      - record: query:{index}\n        expr: {query}").expect("a string");
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("queries.yaml");
    std::fs::write(&file, rules).expect("a file");
    let output = Command::new(promtool).args(["check", "rules"]).arg(&file).output().expect("promtool");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
