//! Where the programs under test are.

use std::path::PathBuf;

/// The observer.
pub const AGENT: &str = "pqscope-agent";
/// The SLO engine.
pub const ENGINE: &str = "pqscope-slo";
/// The traffic generator.
pub const LAB: &str = "pqscope-lab";

/// The path of a binary, which Cargo leaves two folders above the test that is running.
///
/// # Panics
/// When it has not been built; the message says how to build it.
pub fn path(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("a test lies in target/PROFILE/deps");
    let binary = folder.join(name);
    assert!(
        binary.is_file(),
        "{} is not built; run `cargo build --workspace --bins` with the same profile first",
        binary.display()
    );
    binary
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
