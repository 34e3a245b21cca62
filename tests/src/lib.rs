//! What the black-box tests share: finding and running the binaries, asking them over HTTP, reading what they print,
//! and saying why a test cannot run here. The tests themselves are in `tests/`; they know the programs only by their
//! command lines, files and sockets.

pub mod agent;
pub mod binary;
pub mod capture_file;
pub mod dashboard;
pub mod http;
pub mod live;
pub mod process;
pub mod prometheus;
pub mod records;
pub mod requirement;
pub mod signature;
pub mod softhsm;
pub mod verdict;
