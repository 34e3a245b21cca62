//! The ClientHello (RFC 8446 section 4.1.2), read as a stream and kept condensed.
//!
//! A post-quantum hello is 1.5 to 2.5 KB, most of it key material that nobody looks at again. [`HelloReader`] walks
//! the fields as their bytes come and keeps what verdicts and reports need: numbers, names and lengths, of every
//! extension at least its type. A half-open
//! hello therefore costs some 300 bytes whatever its key shares weigh, and an endless one costs no more than
//! [`MAX_KEPT`].

use crate::iana::{CipherSuite, Group, ProtocolVersion, SignatureScheme, is_grease};

/// Room that is made at once for what is kept, which is some 300 bytes of a hello of today. What stands before the key
/// shares, and so is kept of half a hello, differs with the order of extensions: at most one step of it is empty.
const ROOM_STEP: usize = 32;

/// Bytes kept of one hello; extension bodies beyond it are dropped and the hello is marked as cut.
const MAX_KEPT: usize = 8 * 1024;

/// Bytes of cipher suites kept, of those; a longer list is passed over, and only what rests on it is not told.
const MAX_SUITES: u16 = 2 * 1024;

/// Extension types (IANA "TLS ExtensionType Values").
pub(crate) mod extension {
    pub(crate) const SERVER_NAME: u16 = 0;
    pub(crate) const STATUS_REQUEST: u16 = 5;
    pub(crate) const SUPPORTED_GROUPS: u16 = 10;
    pub(crate) const SIGNATURE_ALGORITHMS: u16 = 13;
    pub(crate) const ALPN: u16 = 16;
    pub(crate) const SIGNED_CERTIFICATE_TIMESTAMP: u16 = 18;
    pub(crate) const PADDING: u16 = 21;
    pub(crate) const COMPRESS_CERTIFICATE: u16 = 27;
    /// The number that drafts before 23 used for key_share.
    pub(crate) const KEY_SHARE_DRAFT: u16 = 40;
    pub(crate) const PRE_SHARED_KEY: u16 = 41;
    pub(crate) const EARLY_DATA: u16 = 42;
    pub(crate) const SUPPORTED_VERSIONS: u16 = 43;
    pub(crate) const KEY_SHARE: u16 = 51;
    pub(crate) const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

/// What is done with the body of an extension.
enum Keep {
    /// Kept as it is.
    Body,
    /// Kept as pairs of group and length, without the key material.
    KeyShares,
    /// Only that it was there, and its length.
    Nothing,
}

const fn keep(extension_type: u16) -> Keep {
    match extension_type {
        extension::SERVER_NAME
        | extension::SUPPORTED_GROUPS
        | extension::SIGNATURE_ALGORITHMS
        | extension::ALPN
        | extension::SUPPORTED_VERSIONS => Keep::Body,
        extension::KEY_SHARE | extension::KEY_SHARE_DRAFT => Keep::KeyShares,
        _ => Keep::Nothing,
    }
}

/// What the reader waits for. A `Field` is a small integer that steers the walk; a `Run` is bytes to keep or drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Version,
    SessionIdLength,
    CipherSuitesLength,
    CompressionLength,
    ExtensionsLength,
    ExtensionHeader,
    KeySharesLength,
    KeyShareHeader,
    /// `left` bytes to store or to drop, then `next`.
    Run {
        left: u32,
        keep: bool,
        next: After,
    },
    Done,
    Malformed,
}

/// What follows a run of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    SessionIdLength,
    CipherSuitesLength,
    CompressionLength,
    ExtensionsLength,
    ExtensionHeader,
    KeyShareHeader,
}

impl From<After> for Step {
    fn from(after: After) -> Self {
        match after {
            After::SessionIdLength => Self::SessionIdLength,
            After::CipherSuitesLength => Self::CipherSuitesLength,
            After::CompressionLength => Self::CompressionLength,
            After::ExtensionsLength => Self::ExtensionsLength,
            After::ExtensionHeader => Self::ExtensionHeader,
            After::KeyShareHeader => Self::KeyShareHeader,
        }
    }
}

impl Step {
    /// Bytes of the integer that this step reads.
    const fn width(self) -> usize {
        match self {
            Self::SessionIdLength | Self::CompressionLength => 1,
            Self::Version | Self::CipherSuitesLength | Self::ExtensionsLength | Self::KeySharesLength => 2,
            Self::ExtensionHeader | Self::KeyShareHeader => 4,
            Self::Run { .. } | Self::Done | Self::Malformed => 0,
        }
    }
}

/// Reads one ClientHello as its bytes come.
#[derive(Debug)]
pub(crate) struct HelloReader {
    step: Step,
    field: [u8; 4],
    have: u8,
    /// Bytes left of the extension list, and of the key share list within it.
    extensions_left: u32,
    shares_left: u32,
    kept: ClientHello,
    /// Where the length of the extension being kept stands in `kept.bytes`.
    length_at: usize,
}

impl HelloReader {
    /// A reader for a body of `length` bytes.
    pub(crate) fn new(length: u32) -> Self {
        Self {
            step: Step::Version,
            field: [0; 4],
            have: 0,
            extensions_left: 0,
            shares_left: 0,
            kept: ClientHello::empty(length),
            length_at: 0,
        }
    }

    /// The same that also keeps the client's random, which only a key log asks for.
    pub(crate) fn with_random(mut self, wanted: bool) -> Self {
        self.kept.random_length = if wanted { 32 } else { 0 };
        self
    }

    /// Takes the next bytes of the body.
    pub(crate) fn push(&mut self, mut input: &[u8]) {
        while !input.is_empty() {
            match self.step {
                Step::Done => {
                    // Bytes after the last extension: the lengths contradict each other.
                    self.step = Step::Malformed;
                }
                Step::Malformed => return,
                Step::Run { left, keep, next } => {
                    let (run, rest) = input.split_at((left as usize).min(input.len()));
                    input = rest;
                    if keep {
                        self.store(run);
                    }
                    let left = left - u32::try_from(run.len()).unwrap_or(left);
                    self.step = if left == 0 { next.into() } else { Step::Run { left, keep, next } };
                    self.settle();
                }
                step => {
                    let wanted = step.width();
                    while usize::from(self.have) < wanted {
                        let Some((first, rest)) = input.split_first() else { return };
                        if let Some(slot) = self.field.get_mut(usize::from(self.have)) {
                            *slot = *first;
                        }
                        self.have += 1;
                        input = rest;
                    }
                    self.have = 0;
                    self.step = self.after_field(step);
                    self.settle();
                }
            }
        }
    }

    /// The hello, once its last byte has come. Where its lengths contradict each other, what stands before the
    /// contradiction is in it.
    pub(crate) fn finish(mut self) -> ClientHello {
        // A hello may end after the compression methods (RFC 5246 section 7.4.1.2).
        let whole = matches!(self.step, Step::Done | Step::ExtensionsLength) && self.have == 0;
        self.kept.is_well_formed = whole;
        self.kept.bytes.shrink_to_fit();
        self.kept
    }

    /// Heap bytes that this reader holds.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.kept.heap_bytes()
    }

    fn after_field(&mut self, step: Step) -> Step {
        let [a, b, c, d] = self.field;
        let (first, second) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        match step {
            Step::Version => {
                self.kept.legacy_version = ProtocolVersion(first);
                let keep = self.kept.random_length > 0;
                Step::Run { left: 32, keep, next: After::SessionIdLength }
            }
            Step::SessionIdLength if a <= 32 => {
                self.kept.session_id_length = a;
                Step::Run { left: u32::from(a), keep: true, next: After::CipherSuitesLength }
            }
            Step::CipherSuitesLength if first.is_multiple_of(2) => {
                let keep = first <= MAX_SUITES;
                self.kept.suites_length = keep.then_some(first);
                Step::Run { left: u32::from(first), keep, next: After::CompressionLength }
            }
            Step::CompressionLength => {
                Step::Run { left: u32::from(a), keep: false, next: After::ExtensionsLength }
            }
            Step::ExtensionsLength => {
                self.extensions_left = u32::from(first);
                Step::ExtensionHeader
            }
            Step::ExtensionHeader => self.begin_extension(first, second),
            Step::KeySharesLength => {
                self.extensions_left = self.extensions_left.saturating_sub(2);
                self.shares_left = u32::from(first);
                if self.shares_left > self.extensions_left { Step::Malformed } else { Step::KeyShareHeader }
            }
            Step::KeyShareHeader => self.begin_share(first, second),
            _ => Step::Malformed,
        }
    }

    fn begin_extension(&mut self, kind: u16, length: u16) -> Step {
        let Some(left) = self.extensions_left.checked_sub(4 + u32::from(length)) else {
            return Step::Malformed;
        };
        let keep = keep(kind);
        let kept_length = if matches!(keep, Keep::Body) { length } else { 0 };
        if !self.has_room(4 + usize::from(kept_length)) {
            self.extensions_left = left;
            return Step::Run { left: u32::from(length), keep: false, next: After::ExtensionHeader };
        }
        self.store(&kind.to_be_bytes());
        self.length_at = self.kept.bytes.len();
        self.store(&kept_length.to_be_bytes());
        if matches!(keep, Keep::KeyShares) && length >= 2 {
            // Counted down share by share.
            self.extensions_left -= 4;
            return Step::KeySharesLength;
        }
        self.extensions_left = left;
        Step::Run { left: u32::from(length), keep: kept_length > 0, next: After::ExtensionHeader }
    }

    fn begin_share(&mut self, group: u16, length: u16) -> Step {
        let size = 4 + u32::from(length);
        let (Some(shares), Some(extensions)) =
            (self.shares_left.checked_sub(size), self.extensions_left.checked_sub(size))
        else {
            return Step::Malformed;
        };
        (self.shares_left, self.extensions_left) = (shares, extensions);
        if self.has_room(4) {
            self.store(&group.to_be_bytes());
            self.store(&length.to_be_bytes());
            let kept = u16::try_from(self.kept.bytes.len() - self.length_at - 2).unwrap_or(u16::MAX);
            if let Some(slot) = self.kept.bytes.get_mut(self.length_at..self.length_at + 2) {
                slot.copy_from_slice(&kept.to_be_bytes());
            }
        }
        Step::Run { left: u32::from(length), keep: false, next: After::KeyShareHeader }
    }

    /// Passes over steps that need no byte: runs of length 0, ends of lists.
    fn settle(&mut self) {
        loop {
            self.step = match self.step {
                Step::Run { left: 0, next, .. } => next.into(),
                Step::KeyShareHeader if self.shares_left == 0 => Step::ExtensionHeader,
                Step::ExtensionHeader if self.extensions_left == 0 => Step::Done,
                _ => return,
            };
        }
    }

    fn store(&mut self, bytes: &[u8]) {
        let kept = &mut self.kept.bytes;
        if kept.capacity() - kept.len() < bytes.len() {
            // Doubling would take up to twice what a half-sent hello needs.
            kept.reserve_exact(bytes.len().max(ROOM_STEP));
        }
        self.kept.bytes.extend_from_slice(bytes);
    }

    /// Whether `more` bytes may be kept; asked before a field is begun, so that none is kept in part.
    fn has_room(&mut self, more: usize) -> bool {
        let fits = self.kept.bytes.len() + more <= MAX_KEPT;
        self.kept.is_cut |= !fits;
        fits
    }
}

/// A ClientHello without its key material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientHello {
    /// Random (32 bytes, where it is wanted), session id, cipher suites, then per extension its type, the length of what was kept of it,
    /// and that.
    bytes: Vec<u8>,
    length: u32,
    legacy_version: ProtocolVersion,
    /// 32 where the random is kept, else 0.
    random_length: u8,
    session_id_length: u8,
    /// Bytes of the cipher suites; `None` where they were too many to be kept, or not reached.
    suites_length: Option<u16>,
    is_cut: bool,
    is_well_formed: bool,
}

const RANDOM_LENGTH: usize = 32;

impl ClientHello {
    fn empty(length: u32) -> Self {
        Self {
            bytes: Vec::new(),
            length,
            legacy_version: ProtocolVersion(0),
            random_length: 0,
            session_id_length: 0,
            suites_length: None,
            is_cut: false,
            is_well_formed: true,
        }
    }

    /// Length of the message body on the wire.
    pub(crate) const fn length(&self) -> u32 {
        self.length
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The client's random, where it was kept.
    pub(crate) fn random(&self) -> Option<[u8; RANDOM_LENGTH]> {
        self.bytes.first_chunk().copied().filter(|_| self.random_length > 0)
    }

    /// Whether parts of the hello were too large to be kept.
    pub(crate) const fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether the hello came in the framing of SSL 2.0 and asks for that version.
    pub(crate) fn is_ssl2(&self) -> bool {
        self.legacy_version == ProtocolVersion::SSL_2
    }

    pub(crate) fn session_id(&self) -> &[u8] {
        let from = usize::from(self.random_length);
        self.bytes.get(from..self.suites_start()).unwrap_or_default()
    }

    /// Whether its lengths fit each other.
    pub(crate) const fn is_well_formed(&self) -> bool {
        self.is_well_formed
    }

    /// The highest of supported_versions; without any, the version of the fixed part.
    pub(crate) fn highest_version(&self) -> ProtocolVersion {
        let list = self.extension(extension::SUPPORTED_VERSIONS).and_then(|body| body.get(1..));
        numbers(list.unwrap_or_default()).max().map_or(self.legacy_version, ProtocolVersion)
    }

    fn suites_start(&self) -> usize {
        usize::from(self.random_length) + usize::from(self.session_id_length)
    }

    /// Cipher suites, GREASE removed; `None` where they were too many to be kept, or came in the framing of SSL 2.0.
    pub(crate) fn cipher_suites(&self) -> Option<impl Iterator<Item = CipherSuite>> {
        let end = self.suites_start() + usize::from(self.suites_length?);
        Some(numbers(self.bytes.get(self.suites_start()..end)?).map(CipherSuite))
    }

    fn extensions(&self) -> impl Iterator<Item = (u16, &[u8])> {
        let from = self.suites_start() + usize::from(self.suites_length.unwrap_or_default());
        Extensions { rest: self.bytes.get(from..).unwrap_or_default() }
    }

    /// Types of all extensions in order, GREASE removed.
    pub(crate) fn extension_types(&self) -> impl Iterator<Item = u16> {
        self.extensions().map(|(kind, _)| kind).filter(|kind| !is_grease(*kind))
    }

    fn extension(&self, wanted: u16) -> Option<&[u8]> {
        self.extensions().find(|(kind, _)| *kind == wanted).map(|(_, body)| body)
    }

    fn has(&self, wanted: u16) -> bool {
        self.extension(wanted).is_some()
    }

    /// The first host name of the server_name extension (RFC 6066 section 3). It is the client's word: anything may
    /// stand in it.
    pub(crate) fn server_name(&self) -> Option<String> {
        let body = self.extension(extension::SERVER_NAME)?;
        // List length, name type (0: host name), name length.
        let [_, _, 0, high, low, rest @ ..] = body else { return None };
        let name = rest.get(..usize::from(u16::from_be_bytes([*high, *low])))?;
        (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
    }

    /// Versions of supported_versions, or else the legacy version.
    pub(crate) fn versions(&self) -> Vec<ProtocolVersion> {
        self.extension(extension::SUPPORTED_VERSIONS)
            .and_then(|body| body.get(1..))
            .map_or_else(|| vec![self.legacy_version], |list| numbers(list).map(ProtocolVersion).collect())
    }

    /// Groups of supported_groups.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let list = self.extension(extension::SUPPORTED_GROUPS).and_then(|body| body.get(2..));
        numbers(list.unwrap_or_default()).map(Group).collect()
    }

    /// Groups that a key share was sent for, with the length of each.
    fn key_share_lengths(&self) -> impl Iterator<Item = (Group, u16)> {
        let pairs =
            self.extension(extension::KEY_SHARE).or_else(|| self.extension(extension::KEY_SHARE_DRAFT));
        let (pairs, _) = pairs.unwrap_or_default().as_chunks::<4>();
        let read = |[a, b, c, d]: &[u8; 4]| (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        let shares = pairs.iter().map(read).filter(|(group, _)| !is_grease(*group));
        shares.map(|(group, length)| (Group(group), length))
    }

    /// Groups that a key share was sent for.
    pub(crate) fn key_shares(&self) -> Vec<Group> {
        self.key_share_groups().collect()
    }

    /// The same one by one.
    pub(crate) fn key_share_groups(&self) -> impl Iterator<Item = Group> {
        self.key_share_lengths().map(|(group, _)| group)
    }

    /// Key shares whose length is not that of their group.
    pub(crate) fn odd_key_shares(&self) -> usize {
        let odd = |(group, length): &(Group, u16)| {
            group.share_lengths().is_some_and(|lengths| lengths.client != *length)
        };
        self.key_share_lengths().filter(odd).count()
    }

    /// Schemes of signature_algorithms.
    pub(crate) fn signature_schemes(&self) -> Vec<SignatureScheme> {
        self.signature_scheme_numbers().map(SignatureScheme).collect()
    }

    /// Their numbers.
    pub(crate) fn signature_scheme_numbers(&self) -> impl Iterator<Item = u16> {
        let list = self.extension(extension::SIGNATURE_ALGORITHMS).and_then(|body| body.get(2..));
        numbers(list.unwrap_or_default())
    }

    fn alpn_list(&self) -> AlpnNames<'_> {
        let list = self.extension(extension::ALPN).and_then(|body| body.get(2..));
        AlpnNames { list: list.unwrap_or_default() }
    }

    /// Protocol names of the ALPN extension (RFC 7301), GREASE removed.
    pub(crate) fn alpn(&self) -> Vec<String> {
        self.alpn_list().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    /// Length of the longest of them.
    pub(crate) fn longest_alpn(&self) -> usize {
        self.alpn_list().map(<[u8]>::len).max().unwrap_or(0)
    }

    /// The bytes of the first of them.
    pub(crate) fn first_alpn(&self) -> Option<&[u8]> {
        self.alpn_list().next()
    }

    /// Whether the extension is there, whatever its body.
    pub(crate) fn has_server_name(&self) -> bool {
        self.has(extension::SERVER_NAME)
    }

    pub(crate) fn offers_psk(&self) -> bool {
        self.has(extension::PRE_SHARED_KEY)
    }

    pub(crate) fn offers_early_data(&self) -> bool {
        self.has(extension::EARLY_DATA)
    }

    /// Whether a stapled OCSP response was asked for (RFC 6066 section 8).
    pub(crate) fn offers_ocsp(&self) -> bool {
        self.has(extension::STATUS_REQUEST)
    }

    /// Whether signed certificate timestamps were asked for (RFC 6962 section 3.3.1).
    pub(crate) fn offers_timestamps(&self) -> bool {
        self.has(extension::SIGNED_CERTIFICATE_TIMESTAMP)
    }

    /// Whether compressed certificates would be taken (RFC 8879).
    pub(crate) fn offers_certificate_compression(&self) -> bool {
        self.has(extension::COMPRESS_CERTIFICATE)
    }

    pub(crate) fn has_ech(&self) -> bool {
        self.has(extension::ENCRYPTED_CLIENT_HELLO)
    }
}

/// Reads a hello in the framing of SSL 2.0 (RFC 5246 appendix E.2): two bytes of length, one of type, the version.
#[derive(Debug, Default)]
pub(crate) struct Ssl2HelloReader {
    header: [u8; 5],
    have: u32,
}

impl Ssl2HelloReader {
    /// Takes bytes off `input`; the hello, once it is whole.
    pub(crate) fn push(&mut self, input: &mut &[u8]) -> Option<ClientHello> {
        while let Some((first, rest)) = input.split_first() {
            if let Some(slot) = self.header.get_mut(self.have as usize) {
                *slot = *first;
            }
            self.have += 1;
            *input = rest;
            let [high, low, _, major, minor] = self.header;
            let length = u32::from(u16::from_be_bytes([high & 0x7f, low]));
            if self.have > 5 && self.have >= length + 2 {
                let version = ProtocolVersion(u16::from_be_bytes([major, minor]));
                return Some(ClientHello { legacy_version: version, ..ClientHello::empty(length) });
            }
        }
        None
    }
}

/// Walks the names of an ALPN protocol list (RFC 7301 section 3.1), GREASE left out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AlpnNames<'a> {
    pub(crate) list: &'a [u8],
}

impl<'a> Iterator for AlpnNames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (length, rest) = self.list.split_first()?;
            let (name, rest) = rest.split_at_checked(usize::from(*length))?;
            self.list = rest;
            let grease = matches!(name, [a, b] if is_grease(u16::from_be_bytes([*a, *b])));
            if !grease {
                return Some(name);
            }
        }
    }
}

/// Two-byte numbers, GREASE removed.
fn numbers(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_be_bytes(*pair)).filter(|number| !is_grease(*number))
}

/// Walks a list of extensions: type, length, body. Stops where a length reaches beyond the end.
pub(crate) struct Extensions<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d, rest @ ..] = self.rest else { return None };
        let (body, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*c, *d])))?;
        self.rest = rest;
        Some((u16::from_be_bytes([*a, *b]), body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A hello body with the given extensions.
    fn body(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut list = Vec::new();
        for (kind, body) in extensions {
            list.extend(kind.to_be_bytes());
            list.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
            list.extend(body);
        }
        let mut out = vec![3, 3];
        out.extend([7; 32]);
        out.extend([4, 1, 2, 3, 4]);
        out.extend([0, 6, 0x0a, 0x0a, 0x13, 0x01, 0xc0, 0x2f]);
        out.extend([1, 0]);
        out.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
        out.extend(list);
        out
    }

    fn key_share_body(shares: &[(u16, usize)]) -> Vec<u8> {
        let mut list = Vec::new();
        for (group, length) in shares {
            list.extend(group.to_be_bytes());
            list.extend(u16::try_from(*length).unwrap().to_be_bytes());
            list.extend(vec![0x55; *length]);
        }
        [u16::try_from(list.len()).unwrap().to_be_bytes().to_vec(), list].concat()
    }

    fn sample() -> Vec<u8> {
        body(&[
            (0x2a2a, vec![]),
            (0, vec![0, 7, 0, 0, 4, b'a', b'.', b'b', b'c']),
            (10, vec![0, 6, 0x3a, 0x3a, 0x11, 0xec, 0, 0x1d]),
            (13, vec![0, 4, 4, 3, 8, 4]),
            (16, vec![0, 9, 2, 0x1a, 0x1a, 2, b'h', b'2', 2, b'h', b'3']),
            (21, vec![0; 700]),
            (43, vec![6, 0x4a, 0x4a, 3, 4, 3, 3]),
            (51, key_share_body(&[(0x3a3a, 1), (0x11ec, 1216), (0x1d, 32)])),
            (42, vec![]),
            (41, vec![0; 90]),
        ])
    }

    fn read(chunks: &[&[u8]]) -> Option<ClientHello> {
        let length = chunks.iter().map(|c| c.len()).sum::<usize>();
        let mut reader = HelloReader::new(u32::try_from(length).unwrap());
        for chunk in chunks {
            reader.push(chunk);
        }
        Some(reader.finish()).filter(|hello| hello.is_well_formed)
    }

    #[test]
    fn every_field_is_read_and_grease_is_gone() {
        let hello = read(&[&sample()]).unwrap();
        assert_eq!(hello.server_name().as_deref(), Some("a.bc"));
        assert_eq!(hello.groups(), [Group(0x11ec), Group(0x1d)]);
        assert_eq!(hello.key_shares(), [Group(0x11ec), Group(0x1d)]);
        assert_eq!(hello.signature_schemes(), [SignatureScheme(0x0403), SignatureScheme(0x0804)]);
        assert_eq!(hello.alpn(), ["h2", "h3"]);
        assert_eq!(hello.versions(), [ProtocolVersion::TLS_1_3, ProtocolVersion::TLS_1_2]);
        assert_eq!(hello.session_id(), [1, 2, 3, 4]);
        assert!(hello.offers_psk() && hello.offers_early_data() && !hello.has_ech());
        let suites: Vec<CipherSuite> = hello.cipher_suites().unwrap().collect();
        assert_eq!(suites, [CipherSuite(0x1301), CipherSuite(0xc02f)]);
        let types: Vec<u16> = hello.extension_types().collect();
        assert_eq!(types, [0, 10, 13, 16, 21, 43, 51, 42, 41]);
    }

    #[test]
    fn a_key_share_of_another_length_than_its_group_is_told() {
        assert_eq!(read(&[&sample()]).unwrap().odd_key_shares(), 0);
        let shares = key_share_body(&[(0x11ec, 1215), (0x1d, 32), (0x17, 66), (0x2f39, 7)]);
        assert_eq!(read(&[&body(&[(51, shares)])]).unwrap().odd_key_shares(), 2);
    }

    #[test]
    fn a_list_of_too_many_suites_costs_nothing_else() {
        let bytes = sample();
        let (before, after) = (&bytes[..39], &bytes[47..]);
        let list = |count: u16| {
            let suites: Vec<u8> = (0..count).flat_map(|n| (0xc000 + n).to_be_bytes()).collect();
            [before, &(2 * count).to_be_bytes(), &suites, after].concat()
        };
        let kept = read(&[&list(1024)]).unwrap();
        assert_eq!(kept.cipher_suites().unwrap().count(), 1024);
        assert_eq!(kept.server_name().as_deref(), Some("a.bc"));
        let passed_over = read(&[&list(1025)]).unwrap();
        assert!(passed_over.cipher_suites().is_none() && !passed_over.is_cut());
        assert_eq!(passed_over.server_name().as_deref(), Some("a.bc"));
    }

    #[test]
    fn key_material_is_not_kept() {
        let hello = read(&[&sample()]).unwrap();
        assert!(hello.length() > 2000);
        assert!(hello.heap_bytes() < 256, "{} bytes kept", hello.heap_bytes());
    }

    #[test]
    fn every_cut_point_gives_the_same_hello() {
        let bytes = sample();
        let whole = read(&[&bytes]).unwrap();
        for cut in 0..=bytes.len() {
            assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]).as_ref(), Some(&whole), "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&single), Some(whole));
    }

    #[test]
    fn no_prefix_of_a_hello_passes_for_a_whole_one() {
        let bytes = sample();
        let compression_end = 2 + 32 + 5 + 8 + 2;
        for end in (0..bytes.len()).filter(|end| *end != compression_end) {
            assert_eq!(read(&[&bytes[..end]]), None, "{end} bytes");
        }
        // Without extensions it is a hello of its own.
        let bare = read(&[&bytes[..compression_end]]).unwrap();
        assert_eq!(bare.versions(), [ProtocolVersion::TLS_1_2]);
        assert_eq!(bare.groups(), []);
    }

    #[test]
    fn contradicting_lengths_are_told() {
        let longer = [sample(), vec![0]].concat();
        assert_eq!(read(&[&longer]), None);
        let mut session_id = sample();
        session_id[34] = 33;
        assert_eq!(read(&[&session_id]), None);
        let share_beyond_list = body(&[(51, vec![0, 6, 0, 0x1d, 0, 9, 1, 2])]);
        assert_eq!(read(&[&share_beyond_list]), None);
    }

    #[test]
    fn a_hello_of_endless_names_is_capped() {
        let hello = read(&[&body(&[(16, vec![b'x'; 60_000])])]).unwrap();
        assert!(hello.heap_bytes() <= MAX_KEPT && hello.is_cut);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(hello) = read(&[&bytes]) {
                let _ = (hello.server_name(), hello.alpn(), hello.key_shares(), hello.groups());
            }
        }

        #[test]
        fn damage_is_read_without_panic(at in 0..2600usize, value: u8) {
            let mut bytes = sample();
            let at = at % bytes.len();
            bytes[at] = value;
            if let Some(hello) = read(&[&bytes]) {
                let _ = (hello.server_name(), hello.alpn(), hello.key_shares(), hello.groups());
            }
        }
    }
}
