//! Signatures that OpenSSL makes and verifies: ML-DSA where it knows that, else ECDSA.

use crate::requirement;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Name, arguments of `genpkey`, and arguments of `pkeyutl`, the best first.
const ALGORITHMS: [Algorithm; 2] = [
    Algorithm {
        name: "ML-DSA-65",
        key: &["-algorithm", "ML-DSA-65"],
        other: &["-algorithm", "ML-DSA-44"],
        digest: &[],
    },
    Algorithm {
        name: "ECDSA-P256",
        key: &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        other: &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        digest: &["-digest", "sha256"],
    },
];

struct Algorithm {
    name: &'static str,
    /// Makes a key.
    key: &'static [&'static str],
    /// Makes a key of the same family that is no use for the signatures of the first.
    other: &'static [&'static str],
    digest: &'static [&'static str],
}

/// Which key a verifier has been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// The signer's.
    Right,
    /// One of another parameter set: its algorithm cannot verify what was signed.
    Mistaken,
}

/// What a verification came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The signature is good.
    Good,
    /// It is not, and the artifact is not the one that was signed: its hash differs.
    Corrupted,
    /// It is not, although the artifact is the one that was signed.
    Unverifiable,
}

/// An artifact in a folder, signed.
pub struct Signed {
    folder: PathBuf,
    openssl: PathBuf,
    algorithm: &'static Algorithm,
    hash: Vec<u8>,
}

impl Signed {
    /// Signs an artifact; says so where OpenSSL is not installed.
    ///
    /// # Panics
    /// When OpenSSL is there and cannot.
    pub fn make(test: &str, folder: &Path, artifact: &[u8]) -> Option<Self> {
        let openssl = requirement::program(test, "openssl", "openssl")?;
        let folder = folder.to_owned();
        let run = |arguments: &[&str]| run(&openssl, &folder, arguments);
        let generate = |options: &[&str], file: &str| run(&[&["genpkey"], options, &["-out", file]].concat());
        let known = |algorithm: &&Algorithm| generate(algorithm.key, "key.pem").status.success();
        let algorithm = ALGORITHMS.iter().find(known).expect("an algorithm that OpenSSL knows");
        succeed(&generate(algorithm.other, "other.pem"));
        std::fs::write(folder.join("artifact"), artifact).expect("an artifact");
        let mut sign = vec!["pkeyutl", "-sign", "-rawin", "-inkey", "key.pem"];
        sign.extend(["-in", "artifact", "-out", "signature"]);
        succeed(&run(&[&sign, algorithm.digest].concat()));
        let hash = succeed(&run(&["dgst", "-sha256", "-binary", "artifact"])).stdout.clone();
        Some(Self { folder, openssl, algorithm, hash })
    }

    /// Name of the algorithm.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm.name
    }

    /// Verifies these bytes as the artifact, as a wrapper around OpenSSL would that knows the artifact's hash.
    ///
    /// # Panics
    /// When OpenSSL cannot be run.
    pub fn verify(&self, artifact: &[u8], verifier: Verifier) -> Verdict {
        std::fs::write(self.folder.join("received"), artifact).expect("an artifact");
        let key = match verifier {
            Verifier::Right => "key.pem",
            Verifier::Mistaken => "other.pem",
        };
        let mut verify = vec!["pkeyutl", "-verify", "-rawin", "-inkey", key];
        verify.extend(["-in", "received", "-sigfile", "signature"]);
        let run = |arguments: &[&str]| run(&self.openssl, &self.folder, arguments);
        if run(&[&verify, self.algorithm.digest].concat()).status.success() {
            return Verdict::Good;
        }
        let hash = succeed(&run(&["dgst", "-sha256", "-binary", "received"])).stdout.clone();
        if hash == self.hash { Verdict::Unverifiable } else { Verdict::Corrupted }
    }
}

fn run(openssl: &Path, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(openssl).args(arguments).current_dir(folder).output().expect("OpenSSL runs")
}

fn succeed(output: &Output) -> &Output {
    assert!(output.status.success(), "{output:?}");
    output
}
