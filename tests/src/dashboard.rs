//! Reading Grafana dashboards as far as tests need to.

use crate::binary;
use serde_json::Value;
use std::path::PathBuf;

/// A dashboard file.
#[derive(Debug)]
pub struct Dashboard {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub content: Value,
}

/// All dashboards of the repository.
///
/// # Panics
/// When the folder cannot be read or a file is not JSON.
pub fn all() -> Vec<Dashboard> {
    let folder = binary::repository().join("dashboards");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder of dashboards")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    paths.into_iter().map(read).collect()
}

fn read(path: PathBuf) -> Dashboard {
    let text = std::fs::read_to_string(&path).expect("a dashboard");
    let content = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Dashboard { path, content }
}

impl Dashboard {
    /// Its panels, rows included.
    pub fn panels(&self) -> &[Value] {
        self.content.get("panels").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Its variables by name.
    pub fn variables(&self) -> Vec<&str> {
        let list = self.content.pointer("/templating/list").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|variable| variable.get("name")?.as_str()).collect()
    }

    /// Title of the panel and query, for every query in it.
    pub fn queries(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        for panel in self.panels() {
            let title = panel.get("title").and_then(Value::as_str).unwrap_or("?");
            for target in panel.get("targets").and_then(Value::as_array).into_iter().flatten() {
                let query = target.get("expr").and_then(Value::as_str).unwrap_or_default();
                out.push((title.to_owned(), query.to_owned()));
            }
        }
        out
    }
}

/// A query as Prometheus gets it: variables replaced as Grafana would with everything selected.
pub fn resolve(query: &str) -> String {
    query
        .replace("$__rate_interval", "1m")
        .replace("$__range", "1h")
        .replace("$service", ".*")
        .replace("$vantage", ".*")
}
