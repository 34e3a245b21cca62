//! Secrets out of a key log (the format of SSLKEYLOGFILE, RFC 9850 section 2).
//!
//! Enters: one line of text at a time. Leaves: the handshake traffic secrets of a connection, found by the random of
//! its ClientHello. Only these two labels are read: everything that protects application data, early data or
//! exporters stays unread. Secrets are held in memory, overwritten when they are dropped, and shown nowhere.

use crate::observation::Side;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;
use zeroize::Zeroize;

/// Longest line that is taken. The longest that the format knows has about 250 bytes.
pub const MAX_LINE: usize = 1024;

/// Connections whose secrets are remembered, at some 300 bytes each.
const MAX_CONNECTIONS: usize = 100_000;

/// Bytes of a ClientHello's random.
pub(in crate::tls) const RANDOM_LENGTH: usize = 32;

/// Bytes of the longest secret: SHA-384 makes it.
const MAX_SECRET: usize = 48;

/// The random of a ClientHello.
pub(in crate::tls) type Random = [u8; RANDOM_LENGTH];

/// Why a line of a key log was not taken. Nothing of the line itself is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyLogError {
    /// More than [`MAX_LINE`] bytes.
    #[error("the line has more than {MAX_LINE} bytes")]
    TooLong,
    /// A line is a label, a random and a secret.
    #[error("a line is a label, the client random and a secret, with one space between them")]
    Fields,
    /// The label has other characters than capital letters, digits and underscores.
    #[error("the label holds other characters than capital letters, digits and `_`")]
    Label,
    /// The random is no 32 bytes in hexadecimal.
    #[error("the client random is not 64 hexadecimal digits")]
    Random,
    /// The secret is not as long as one of a TLS 1.3 cipher suite.
    #[error("the secret is not 64 or 96 hexadecimal digits")]
    Secret,
}

/// What became of a key log so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyLogCounts {
    /// Connections whose secrets are remembered.
    pub connections: usize,
    /// Connections whose secrets were forgotten for room.
    pub forgotten: u64,
    /// Lines that were not taken.
    pub bad_lines: u64,
    /// Directions of a connection that the secret given for it did not open.
    pub decrypt_failed: u64,
}

/// One secret; of length 0 where there is none.
#[derive(Default)]
struct Secret {
    bytes: Buffer,
    length: usize,
}

struct Buffer([u8; MAX_SECRET]);

impl Default for Buffer {
    fn default() -> Self {
        Self([0; MAX_SECRET])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl Secret {
    /// Reads hexadecimal digits in place, so that no copy stays behind.
    fn read(&mut self, digits: &str) -> bool {
        let length = digits.len() / 2;
        let fits = matches!(length, 32 | 48) && digits.len().is_multiple_of(2);
        let Some(room) = self.bytes.0.get_mut(..length).filter(|_| fits) else { return false };
        let read = read_hex(digits, room);
        self.length = if read { length } else { 0 };
        read
    }

    fn bytes(&self) -> Option<&[u8]> {
        self.bytes.0.get(..self.length).filter(|bytes| !bytes.is_empty())
    }
}

/// The two handshake traffic secrets of a connection (RFC 8446 section 7.1).
#[derive(Default)]
struct Secrets {
    client: Secret,
    server: Secret,
}

/// The secrets of the connections logged last.
pub(crate) struct KeyLog {
    /// Boxed, so that a table that grows leaves no copies of secrets behind.
    secrets: HashMap<Random, Box<Secrets>>,
    /// From the oldest to the newest.
    order: VecDeque<Random>,
    max_connections: usize,
    counts: KeyLogCounts,
}

impl Default for KeyLog {
    fn default() -> Self {
        Self {
            secrets: HashMap::new(),
            order: VecDeque::new(),
            max_connections: MAX_CONNECTIONS,
            counts: KeyLogCounts::default(),
        }
    }
}

impl fmt::Debug for KeyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyLog").field("connections", &self.secrets.len()).finish_non_exhaustive()
    }
}

impl KeyLog {
    /// Takes a line without its end. Empty lines, comments and labels that are not needed are passed by.
    fn add_line(&mut self, line: &str) -> Result<(), KeyLogError> {
        if line.len() > MAX_LINE {
            return Err(KeyLogError::TooLong);
        }
        let line = line.trim_end_matches(['\r', '\n', ' ']);
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let mut fields = line.split(' ');
        let (Some(label), Some(random), Some(secret), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(KeyLogError::Fields);
        };
        let is_label = |c: u8| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_';
        if label.is_empty() || !label.bytes().all(is_label) {
            return Err(KeyLogError::Label);
        }
        match label {
            "CLIENT_HANDSHAKE_TRAFFIC_SECRET" => self.add(Side::Client, random, secret),
            "SERVER_HANDSHAKE_TRAFFIC_SECRET" => self.add(Side::Server, random, secret),
            _ => Ok(()),
        }
    }

    fn add(&mut self, side: Side, random: &str, secret: &str) -> Result<(), KeyLogError> {
        let mut key = [0; RANDOM_LENGTH];
        if random.len() != 2 * RANDOM_LENGTH || !read_hex(random, &mut key) {
            return Err(KeyLogError::Random);
        }
        let mut read = Box::new(Secret::default());
        if !read.read(secret) {
            return Err(KeyLogError::Secret);
        }
        let of_connection = match self.secrets.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.order.push_back(key);
                entry.insert(Box::default())
            }
        };
        let slot = match side {
            Side::Client => &mut of_connection.client,
            Side::Server => &mut of_connection.server,
        };
        std::mem::swap(slot, &mut read);
        self.forget_oldest();
        Ok(())
    }

    fn forget_oldest(&mut self) {
        while self.order.len() > self.max_connections {
            if let Some(oldest) = self.order.pop_front() {
                self.secrets.remove(&oldest);
                self.counts.forgotten += 1;
            }
        }
    }

    fn secret(&self, random: &Random, side: Side) -> Option<&[u8]> {
        let secrets = self.secrets.get(random)?;
        match side {
            Side::Client => secrets.client.bytes(),
            Side::Server => secrets.server.bytes(),
        }
    }
}

/// The one key log of an observer, which every attempt that is followed looks into.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedKeyLog(Arc<Mutex<KeyLog>>);

impl SharedKeyLog {
    fn lock(&self) -> MutexGuard<'_, KeyLog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a line of the log.
    ///
    /// # Errors
    ///
    /// Where it is no such line; it is counted.
    pub(crate) fn add_line(&self, line: &str) -> Result<(), KeyLogError> {
        let mut log = self.lock();
        let added = log.add_line(line);
        log.counts.bad_lines += u64::from(added.is_err());
        added
    }

    /// What became of the log so far.
    pub(crate) fn counts(&self) -> KeyLogCounts {
        let log = self.lock();
        KeyLogCounts { connections: log.secrets.len(), ..log.counts }
    }

    /// Makes something of a secret, where it is known.
    pub(super) fn with_secret<T>(
        &self,
        random: &Random,
        side: Side,
        make: impl FnOnce(&[u8]) -> T,
    ) -> Option<T> {
        self.lock().secret(random, side).map(make)
    }

    /// Counts a direction that its secret did not open.
    pub(super) fn count_failed(&self) {
        self.lock().counts.decrypt_failed += 1;
    }
}

/// Reads exactly `into.len()` bytes from hexadecimal digits of either case.
fn read_hex(digits: &str, into: &mut [u8]) -> bool {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if pairs.len() != into.len() || !rest.is_empty() {
        return false;
    }
    for (slot, [high, low]) in into.iter_mut().zip(pairs) {
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return false };
        *slot = high << 4 | low;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, random: u8, secret: u8, secret_bytes: usize) -> String {
        let hex = |byte: u8, count: usize| format!("{byte:02x}").repeat(count);
        format!("{label} {} {}", hex(random, 32), hex(secret, secret_bytes))
    }

    fn known(log: &SharedKeyLog, random: u8, side: Side) -> Option<Vec<u8>> {
        log.with_secret(&[random; 32], side, <[u8]>::to_vec)
    }

    #[test]
    fn the_two_handshake_secrets_are_found_by_the_random() {
        let log = SharedKeyLog::default();
        log.add_line("# a comment").unwrap();
        log.add_line("").unwrap();
        log.add_line(&line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 1, 0xab, 32)).unwrap();
        log.add_line(&(line("SERVER_HANDSHAKE_TRAFFIC_SECRET", 1, 0xcd, 48).to_uppercase() + "\r\n"))
            .unwrap();
        assert_eq!(known(&log, 1, Side::Client), Some(vec![0xab; 32]));
        assert_eq!(known(&log, 1, Side::Server), Some(vec![0xcd; 48]));
        assert_eq!(known(&log, 2, Side::Client), None);
    }

    #[test]
    fn nothing_else_is_kept() {
        let log = SharedKeyLog::default();
        for label in [
            "CLIENT_RANDOM",
            "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_TRAFFIC_SECRET_0",
            "CLIENT_EARLY_TRAFFIC_SECRET",
            "EXPORTER_SECRET",
            "ECH_SECRET",
            "A_LABEL_OF_TOMORROW",
        ] {
            log.add_line(&line(label, 1, 9, 48)).unwrap();
        }
        assert_eq!(log.counts(), KeyLogCounts::default());
    }

    #[test]
    fn bad_lines_are_told_apart_counted_and_not_repeated() {
        let log = SharedKeyLog::default();
        let good = line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 1, 0xab, 32);
        let cases = [
            ("x".repeat(MAX_LINE + 1), KeyLogError::TooLong),
            ("CLIENT_HANDSHAKE_TRAFFIC_SECRET".to_owned(), KeyLogError::Fields),
            (good.clone() + " more", KeyLogError::Fields),
            (good.to_lowercase(), KeyLogError::Label),
            (good.replace("0101 ab", "01 ab"), KeyLogError::Random),
            (good.replace("0101 ab", "01gg ab"), KeyLogError::Random),
            (good.clone() + "ab", KeyLogError::Secret),
            (good.clone() + "a", KeyLogError::Secret),
            (good.replace("abab", "abéb"), KeyLogError::Secret),
        ];
        for (line, error) in &cases {
            assert_eq!(log.add_line(line), Err(*error), "{line}");
            assert!(!error.to_string().contains("abab"), "{error}");
        }
        assert_eq!(log.counts().bad_lines, cases.len() as u64);
        assert_eq!(known(&log, 1, Side::Client), None);
    }

    #[test]
    fn the_oldest_give_way() {
        let log = SharedKeyLog(Arc::new(Mutex::new(KeyLog { max_connections: 3, ..KeyLog::default() })));
        for random in 0..5 {
            for label in ["CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"] {
                log.add_line(&line(label, random, random, 32)).unwrap();
            }
        }
        assert_eq!((log.counts().connections, log.counts().forgotten), (3, 2));
        assert_eq!(known(&log, 1, Side::Server), None);
        assert_eq!(known(&log, 2, Side::Server), Some(vec![2; 32]));
    }

    #[test]
    fn secrets_do_not_show() {
        let log = SharedKeyLog::default();
        log.add_line(&line("CLIENT_HANDSHAKE_TRAFFIC_SECRET", 1, 0xab, 32)).unwrap();
        let text = format!("{log:?}");
        assert!(!text.contains("ab, ab") && !text.contains("171"), "{text}");
    }
}
