//! A SoftHSM of its own for a test: keys are brought into it, and what its tools say is read.

use crate::requirement;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where distributions put the PKCS#11 library.
const LIBRARIES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
const LABEL: &str = "token";

/// The PIN that the token takes.
pub const PIN: &str = "1234";

/// A token in a folder.
pub struct Token {
    folder: PathBuf,
    library: &'static str,
    util: PathBuf,
    pkcs11: PathBuf,
    openssl: PathBuf,
}

impl Token {
    /// Makes a token in a folder; says what is missing where SoftHSM, OpenSC or OpenSSL are not installed.
    ///
    /// # Panics
    /// When the token cannot be made although everything is there.
    pub fn make(test: &str, folder: &Path) -> Option<Self> {
        let util = requirement::program(test, "softhsm2-util", "softhsm2")?;
        let pkcs11 = requirement::program(test, "pkcs11-tool", "opensc")?;
        let openssl = requirement::program(test, "openssl", "openssl")?;
        let Some(library) = LIBRARIES.into_iter().find(|library| Path::new(library).exists()) else {
            requirement::skip(test, "the PKCS#11 library of SoftHSM is not installed (package softhsm2)");
            return None;
        };
        let tokens = folder.join("tokens");
        std::fs::create_dir_all(&tokens).expect("a folder for tokens");
        let config = format!("directories.tokendir = {}\n", tokens.display());
        std::fs::write(folder.join("softhsm2.conf"), config).expect("a configuration");
        let token = Self { folder: folder.to_owned(), library, util, pkcs11, openssl };
        let init = ["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", "4321"];
        let made = token.run(&token.util, &init);
        assert!(made.status.success(), "{made:?}");
        Some(token)
    }

    /// Makes an RSA key outside of the token, as PKCS#8 in DER.
    ///
    /// # Panics
    /// When OpenSSL cannot.
    pub fn make_key(&self, file: &str) {
        let made =
            self.run(&self.openssl, &["genpkey", "-algorithm", "RSA", "-outform", "DER", "-out", file]);
        assert!(made.status.success(), "{made:?}");
    }

    /// Brings a private key into the token; `Err` with the code of PKCS#11, or what the tool said where it got no code.
    ///
    /// # Errors
    /// When the key was refused.
    pub fn import(&self, file: &str, pin: &str) -> Result<(), String> {
        let arguments = [
            "--module",
            self.library,
            "--token-label",
            LABEL,
            "--login",
            "--pin",
            pin,
            "--write-object",
            file,
        ];
        let rest = ["--type", "privkey", "--label", "key", "--id", "01"];
        let output = self.run(&self.pkcs11, &[arguments.as_slice(), rest.as_slice()].concat());
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        Err(words.find(|word| word.starts_with("CKR_")).map_or_else(|| text.trim().to_owned(), str::to_owned))
    }

    fn run(&self, program: &Path, arguments: &[impl AsRef<OsStr>]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .env("SOFTHSM2_CONF", self.folder.join("softhsm2.conf"))
            .output()
            .expect("a tool that runs")
    }
}
