//! The key log (SSLKEYLOGFILE format): text enters, secrets by label and client random leave.

use std::collections::HashMap;

/// Secrets by label and client random, both as written.
#[derive(Debug, Default)]
pub(crate) struct KeyLog(HashMap<(String, String), Vec<u8>>);

impl KeyLog {
    /// Reads all lines; those that are none are passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let key = (words.next()?.to_owned(), words.next()?.to_lowercase());
            Some((key, bytes(words.next()?)?))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// The secret of a connection.
    pub(crate) fn secret(&self, label: &str, client_random: &[u8]) -> Option<&[u8]> {
        self.0.get(&(label.to_owned(), hex(client_random))).map(Vec::as_slice)
    }
}

/// Lower-case hexadecimal text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_by_label_and_random() {
        let log = KeyLog::parse("# a comment\nSERVER_HANDSHAKE_TRAFFIC_SECRET AB01 00ff\nnonsense\n");
        assert_eq!(log.secret("SERVER_HANDSHAKE_TRAFFIC_SECRET", &[0xab, 1]), Some(&[0, 255][..]));
        assert_eq!(log.secret("CLIENT_HANDSHAKE_TRAFFIC_SECRET", &[0xab, 1]), None);
    }
}
