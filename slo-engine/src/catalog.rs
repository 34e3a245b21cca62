//! Objective, services and adapters files: found, read and checked. Paths go in; a catalog comes out, or everything that is wrong, by line.

use pqscope_slo_core::adapter::{self, Adapter};
use pqscope_slo_core::diagnostic::Diagnostic;
use pqscope_slo_core::openslo::{Catalog, SourceFile};
use pqscope_slo_core::services::Services;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Name and text of the objectives that come with the program.
const SHIPPED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// Why there is no catalog.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A folder holds no objectives.
    #[error("{} holds no .yaml or .yml file", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// No file defines an objective.
    #[error("no file defines an SLO")]
    NoObjectives,
    /// Two adapters have the same name, and with it the same offset.
    #[error("two adapters are named {name:?}; remove one, or give one another `name` in the adapters file")]
    SameAdapter {
        /// The name.
        name: String,
    },
    /// Files have faults.
    #[error("{}", list(diagnostics))]
    Faulty {
        /// What is wrong, and where.
        diagnostics: Vec<Diagnostic>,
    },
}

/// Reads objectives from files and folders, or the shipped ones when there are none.
pub(crate) fn load(paths: &[PathBuf], services: Option<&Services>) -> Result<Catalog, CatalogError> {
    let files = if paths.is_empty() {
        SHIPPED.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    } else {
        read_all(paths)?
    };
    parse(&files, services)
}

/// Reads objectives from the texts of files, each with its name.
pub(crate) fn parse(
    files: &[(String, String)],
    services: Option<&Services>,
) -> Result<Catalog, CatalogError> {
    let sources: Vec<SourceFile<'_>> = files.iter().map(|(name, text)| SourceFile { name, text }).collect();
    let catalog =
        Catalog::parse(&sources, services).map_err(|diagnostics| CatalogError::Faulty { diagnostics })?;
    if catalog.objectives.is_empty() {
        return Err(CatalogError::NoObjectives);
    }
    Ok(catalog)
}

/// Reads the services file.
pub(crate) fn load_services(path: &Path) -> Result<Services, CatalogError> {
    let text = read(path)?;
    Services::parse(&path.display().to_string(), &text)
        .map_err(|diagnostics| CatalogError::Faulty { diagnostics })
}

/// Reads the adapters file, and adds those of the command line.
pub(crate) fn load_adapters(file: Option<&Path>, more: Vec<Adapter>) -> Result<Vec<Adapter>, CatalogError> {
    let mut adapters = match file {
        Some(path) => adapter::parse(&path.display().to_string(), &read(path)?)
            .map_err(|diagnostics| CatalogError::Faulty { diagnostics })?,
        None => Vec::new(),
    };
    adapters.extend(more);
    let mut names = BTreeSet::new();
    match adapters.iter().find(|adapter| !names.insert(adapter.name.as_str())) {
        Some(adapter) => Err(CatalogError::SameAdapter { name: adapter.name.clone() }),
        None => Ok(adapters),
    }
}

/// Names and texts of files, and of those in folders.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<(String, String)>, CatalogError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = yaml_files(path)?;
            if found.is_empty() {
                return Err(CatalogError::EmptyFolder { path: path.clone() });
            }
            files.extend(found);
        } else {
            files.push(path.clone());
        }
    }
    files.into_iter().map(|path| Ok((path.display().to_string(), read(&path)?))).collect()
}

fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, CatalogError> {
    let unreadable = |source| CatalogError::Unreadable { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if is_yaml && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, CatalogError> {
    std::fs::read_to_string(path).map_err(|source| CatalogError::Unreadable { path: path.to_owned(), source })
}

fn list(diagnostics: &[Diagnostic]) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(text, "{diagnostic}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_and_must_hold_something() {
        let folder = tempfile::tempdir().unwrap();
        let empty = read_all(&[folder.path().to_owned()]).unwrap_err();
        assert!(matches!(empty, CatalogError::EmptyFolder { .. }));
        for name in ["b.yml", "a.yaml", "notes.txt"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let texts: Vec<String> =
            read_all(&[folder.path().to_owned()]).unwrap().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["a.yaml", "b.yml"]);
        let missing = read_all(&[folder.path().join("missing.yaml")]).unwrap_err();
        assert!(missing.to_string().contains("missing.yaml"), "{missing}");
    }
}
