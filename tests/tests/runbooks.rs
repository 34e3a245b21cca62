//! Whoever follows a runbook link gets there, and finds what a runbook has to say.

use pqscope_tests::binary;
use std::collections::BTreeSet;
use std::path::Path;

const MARK: &str = "/runbooks/";
/// Headings that every runbook has, in this order.
const HEADINGS: [&str; 6] = [
    "## What it means",
    "## What to check first",
    "## Mitigate",
    "## Roll back",
    "## Escalate",
    "## Verify that it is over",
];

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runbooks that the files of a folder link to.
fn linked(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(binary::repository().join(folder)).expect("a folder");
    let mut names = BTreeSet::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_file()) {
        for rest in read(&path).split(MARK).skip(1) {
            let name: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')).collect();
            if name.ends_with(".md") {
                names.insert(name);
            }
        }
    }
    names
}

#[test]
fn every_linked_runbook_is_there_and_whole() {
    let mut names = BTreeSet::new();
    for folder in ["alert-rules", "dashboards", "slos"] {
        let found = linked(folder);
        assert!(!found.is_empty(), "{folder} links to no runbook");
        names.extend(found);
    }
    for name in names {
        let text = read(&binary::repository().join("runbooks").join(&name));
        let mut from = 0;
        for heading in HEADINGS {
            let at = text[from..].find(heading);
            from += at.unwrap_or_else(|| panic!("{name}: `{heading}` is missing or out of order"));
        }
    }
}
