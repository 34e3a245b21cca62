//! What a connection carries, from its first bytes, and where in it TLS begins.
//!
//! Enters: the bytes of both ends in causal order. Leaves: the byte with which a hello begins and the protocol that
//! came before, or that there is nothing to be found. Of a protocol that is known the dialogue is followed up to
//! [`MAX_SPOKEN_BYTES`] and [`MAX_SPOKEN_SEGMENTS`]; of any other a hello is found where it begins a segment, among the
//! first [`MAX_STRIKES`].

mod spoken;

pub(crate) use spoken::Refusal;

use super::key::{End, PerEnd};
use crate::observation::{Side, UpgradedFrom};
use crate::time::Timestamp;
use crate::tls::detect::{self, Opening};
use crate::upgrade::{self, Circumstances, Dialogue, LONGEST_PREFIX, Recognition};
use spoken::{Stand, Talk};

/// Segments with something unknown that may pass before a connection is no longer looked at: an upgrade from plaintext,
/// or a handshake in whose middle the capture began, shows within a few.
const MAX_STRIKES: u8 = 32;

/// Bytes of dialogues that are followed on one connection.
const MAX_SPOKEN_BYTES: usize = 64 * 1024;

/// Segments of dialogues that are followed on one connection.
const MAX_SPOKEN_SEGMENTS: u16 = 256;

const _: () = assert!(LONGEST_PREFIX >= detect::NEEDED, "a hello is told from what is kept");

/// What is known of the ends of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    /// Which ends a packet was seen of.
    pub(super) seen: PerEnd<bool>,
    /// Of which ends a SYN was seen, so that their first bytes are known.
    pub(super) opening_seen: PerEnd<bool>,
}

/// The first bytes of a direction, until they tell what it is.
#[derive(Clone, Copy, Debug, Default)]
struct Probe {
    bytes: [u8; LONGEST_PREFIX],
    have: u8,
    segments: u8,
    first_at: Timestamp,
    /// The direction's first bytes are not in the capture.
    begun_before: bool,
    /// It begins where a tunnel or a proxy's header says so.
    exact: bool,
    /// The direction began with something unknown.
    other: bool,
}

impl Probe {
    fn collect(&mut self, at: Timestamp, bytes: &[u8]) {
        if self.have == 0 {
            self.first_at = at;
        }
        for (slot, byte) in self.bytes.iter_mut().skip(usize::from(self.have)).zip(bytes) {
            *slot = *byte;
            self.have += 1;
        }
        self.segments = self.segments.saturating_add(1);
    }

    fn collected(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.have)).unwrap_or_default()
    }

    /// Forgets what was collected.
    fn restarted(&self) -> Self {
        Self { begun_before: self.begun_before, exact: self.exact, ..Self::default() }
    }
}

/// An attempt whose first bytes are there.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) opening: Opening,
    pub(super) first_at: Timestamp,
    /// Bytes of it that came in earlier segments.
    begun: [u8; LONGEST_PREFIX],
    have: u8,
    /// Segments that brought bytes of it, this one included.
    pub(super) segments: u8,
    /// Its bytes in this segment.
    pub(super) bytes: &'a [u8],
    pub(super) upgraded_from: Option<UpgradedFrom>,
    /// The hello came before the server's answer to the request, which is read first.
    pub(super) awaited: Option<Box<dyn Dialogue>>,
    /// What the server sends next is known to be its first bytes of TLS.
    pub(super) in_step: bool,
}

impl Found<'_> {
    pub(super) fn begun(&self) -> &[u8] {
        self.begun.get(..usize::from(self.have)).unwrap_or_default()
    }
}

/// What came of some bytes.
#[derive(Debug)]
pub(super) enum Finding<'a> {
    /// Nothing yet.
    Open,
    /// An attempt begins.
    Attempt(Found<'a>),
    /// Nothing is to be found any more.
    NotTls,
}

/// Looks at a connection until TLS begins.
#[derive(Debug, Default)]
pub(super) struct Probing {
    probes: PerEnd<Probe>,
    /// Which ends have said something unknown.
    unknown: PerEnd<bool>,
    strikes: u8,
    talk: Option<Box<Talk>>,
    spoken_bytes: usize,
    spoken_segments: u16,
    /// What the connection has come through, while what follows is open.
    after: Option<UpgradedFrom>,
    refusal: Option<Box<Refusal>>,
    /// A refusal was told; further ones add nothing.
    refused: bool,
    /// Bytes that were sent and are not in the capture.
    pub(super) missing_bytes: u64,
}

impl Probing {
    /// Memory on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        self.talk.as_ref().map_or(0, |talk| size_of::<Talk>() + size_of_val(&*talk.dialogue))
    }

    /// A refusal that was not taken yet.
    pub(super) fn take_refusal(&mut self) -> Option<Refusal> {
        self.refusal.take().map(|refusal| *refusal)
    }

    /// Whether the next bytes may begin a hello: nothing was said, or TLS was agreed upon.
    pub(super) fn awaits_hello(&self) -> bool {
        match &self.talk {
            Some(talk) => talk.stand == Stand::Accepted,
            None => self.strikes == 0,
        }
    }

    /// Takes the next bytes of an end.
    pub(super) fn data<'a>(
        &mut self,
        known: &Known,
        from: End,
        at: Timestamp,
        bytes: &'a [u8],
    ) -> Finding<'a> {
        if self.spoken_bytes > MAX_SPOKEN_BYTES || self.spoken_segments > MAX_SPOKEN_SEGMENTS {
            return Finding::NotTls;
        }
        let mut rest = bytes;
        let mut begins_segment = true;
        // Every round uses bytes up, or ends a dialogue for good.
        while !rest.is_empty() {
            let found = if self.talk.is_some() {
                self.spoken(known, from, at, &mut rest, begins_segment)
            } else {
                self.open(known, from, at, &mut rest)
            };
            match found {
                Finding::Open => begins_segment = false,
                found => return found,
            }
        }
        Finding::Open
    }

    /// Bytes of an end are missing.
    pub(super) fn hole(&mut self, from: End, length: usize) {
        self.missing_bytes += length as u64;
        let probe = self.probes.of_mut(from);
        // Bytes from before the hole and after it are no beginning together.
        *probe = Probe { begun_before: true, ..Probe::default() };
        let Some(talk) = &mut self.talk else { return };
        talk.doubtful = true;
        let side = talk.side(from);
        if talk.stand == Stand::Accepted && side == Side::Client {
            // The hello, or its beginning; the server's answer may still come.
            self.after = talk.dialogue.name();
            self.talk = None;
        } else if talk.stand != Stand::Accepted && !talk.dialogue.hole(side) {
            self.talk = None;
        }
    }

    /// Bytes of a connection of which nothing is known yet.
    fn open<'a>(&mut self, known: &Known, from: End, at: Timestamp, rest: &mut &'a [u8]) -> Finding<'a> {
        let bytes = std::mem::take(rest);
        let before = *self.probes.of(from);
        if before.other {
            return self.late(known, from, at, bytes);
        }
        let probe = self.probes.of_mut(from);
        probe.collect(at, bytes);
        let probe = *probe;
        let opening = detect::opening(probe.collected());
        match opening {
            Opening::ClientHello | Opening::Ssl2Hello | Opening::ServerHello => {
                return self.attempt(opening, &probe, before.have, bytes);
            }
            Opening::Undecided | Opening::Other => {}
        }
        let circumstances = Circumstances {
            from_start: !self.joined_late(known, from),
            answers_unknown: *self.unknown.of(from.peer()),
        };
        match upgrade::recognise(probe.collected(), circumstances) {
            Recognition::Is { dialogue, speaker } => {
                let client = if speaker == Side::Client { from } else { from.peer() };
                self.begin_talk(client, dialogue, at, from, before.collected());
                *rest = bytes;
                Finding::Open
            }
            Recognition::Undecided => Finding::Open,
            Recognition::Other if opening == Opening::Undecided => Finding::Open,
            Recognition::Other if before.have > 0 => self.late(known, from, at, bytes),
            Recognition::Other => self.strike(known, from),
        }
    }

    fn attempt<'a>(&self, opening: Opening, probe: &Probe, have: u8, bytes: &'a [u8]) -> Finding<'a> {
        Finding::Attempt(Found {
            opening,
            first_at: probe.first_at,
            begun: probe.bytes,
            have,
            segments: probe.segments,
            bytes,
            upgraded_from: self.after,
            awaited: None,
            in_step: probe.exact,
        })
    }

    /// Bytes behind something unknown: only a hello that begins a segment, and is one beyond doubt, counts.
    fn late<'a>(&mut self, known: &Known, from: End, at: Timestamp, bytes: &'a [u8]) -> Finding<'a> {
        let opening = detect::late_opening(bytes);
        let counts = match opening {
            Opening::ClientHello => true,
            // The client's hello is not in the capture.
            Opening::ServerHello => !*known.seen.of(from.peer()),
            _ => false,
        };
        if counts { self.attempt_at_once(opening, at, bytes) } else { self.strike(known, from) }
    }

    fn attempt_at_once<'a>(&self, opening: Opening, at: Timestamp, bytes: &'a [u8]) -> Finding<'a> {
        let probe = Probe { first_at: at, segments: 1, ..Probe::default() };
        self.attempt(opening, &probe, 0, bytes)
    }

    /// A direction carries something unknown; the connection is watched on for a while.
    fn strike<'a>(&mut self, known: &Known, from: End) -> Finding<'a> {
        self.strikes += 1;
        self.after = None;
        *self.unknown.of_mut(from) = true;
        self.call_other(known, from);
        if self.strikes > MAX_STRIKES { Finding::NotTls } else { Finding::Open }
    }

    fn call_other(&mut self, known: &Known, end: End) {
        // A direction whose first bytes were missed may still show a ServerHello in its next flight.
        let other = !self.joined_late(known, end);
        let probe = self.probes.of_mut(end);
        *probe = Probe { other, ..probe.restarted() };
    }

    fn joined_late(&self, known: &Known, end: End) -> bool {
        let probe = self.probes.of(end);
        !probe.exact && (!*known.opening_seen.of(end) || probe.begun_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH_OPENED: PerEnd<bool> = PerEnd::of_both(true);
    const KNOWN: Known = Known { seen: BOTH_OPENED, opening_seen: BOTH_OPENED };
    const HELLO: &[u8] = &[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 1, 2, 3];

    fn data<'a>(probing: &mut Probing, from: End, bytes: &'a [u8]) -> Finding<'a> {
        probing.data(&KNOWN, from, Timestamp::default(), bytes)
    }

    fn is_open(finding: &Finding<'_>) -> bool {
        matches!(finding, Finding::Open)
    }

    #[test]
    fn an_unknown_protocol_is_given_up_after_a_bound() {
        let mut probing = Probing::default();
        for _ in 0..MAX_STRIKES {
            assert!(is_open(&data(&mut probing, End::Low, b"GET / HTTP/1.1\r\n\r\n")));
            assert_eq!(probing.heap_bytes(), 0);
        }
        assert!(matches!(data(&mut probing, End::Low, b"more"), Finding::NotTls));
    }

    #[test]
    fn so_are_dialogues_and_headers_without_end() {
        for (first, more) in [
            (&b"220 ready\r\n"[..], &b"NOOP\r\n"[..]),
            (b"PROXY TCP4 a b 1 2\r\n", b"PROXY TCP4 a b 1 2\r\n"),
            (b"* OK\r\n", &[b'x'; 60_000]),
        ] {
            let mut probing = Probing::default();
            assert!(is_open(&data(&mut probing, End::Low, first)));
            let given_up = (0..=MAX_SPOKEN_SEGMENTS + 1)
                .any(|_| matches!(data(&mut probing, End::High, more), Finding::NotTls));
            assert!(given_up, "{first:?}");
        }
    }

    #[test]
    fn a_hello_may_begin_within_a_segment_only_where_a_protocol_says_so() {
        let mut probing = Probing::default();
        let bytes = [&b"PROXY TCP4 a b 1 2\r\n"[..], HELLO].concat();
        match data(&mut probing, End::Low, &bytes) {
            Finding::Attempt(found) => assert_eq!((found.bytes, found.segments), (HELLO, 1)),
            other => panic!("{other:?}"),
        }
        let mut probing = Probing::default();
        assert!(is_open(&data(&mut probing, End::Low, &[b"GREETINGS ", HELLO].concat())));
        assert!(matches!(data(&mut probing, End::Low, HELLO), Finding::Attempt(_)));
    }

    /// Words that lead deep into the dialogues, and bytes that lead nowhere.
    fn words() -> impl Strategy<Value = Vec<u8>> {
        let known: Vec<&[u8]> = vec![
            b"220 ready\r\n",
            b"EHLO a\r\n",
            b"STARTTLS\r\n",
            b"AUTH TLS\r\n",
            b"454 no\r\n",
            b"DATA\r\n354 go\r\n.\r\n",
            b"BDAT 99999999999999999999\r\n",
            b"* OK\r\na1 STARTTLS\r\na1 OK\r\n",
            b"a2 X {18446744073709551615}\r\n",
            b"+OK\r\nSTLS\r\n",
            b"<stream:stream a='>'><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            b"CONNECT a HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 200 ok\r\n\r\n",
            b"PROXY TCP4 a b 1 2\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"\x20\0\0\0\x0a8.0\0",
            b"\x05\x01\x00",
            b"\x05\x01\x00\x03\xffa",
            b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0",
            b"\x30\x84\xff\xff\xff\xff\x02\x01\x01\x77",
            b"\x16",
        ];
        prop_oneof![
            proptest::sample::select(known).prop_map(<[u8]>::to_vec),
            proptest::collection::vec(any::<u8>(), 0..40),
        ]
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_take_much(
            said in proptest::collection::vec((any::<bool>(), words(), any::<bool>()), 0..60)
        ) {
            let mut probing = Probing::default();
            for (low, bytes, hole) in said {
                let from = if low { End::Low } else { End::High };
                if hole && bytes.len() > 30 {
                    probing.hole(from, bytes.len());
                }
                if !is_open(&data(&mut probing, from, &bytes)) {
                    break;
                }
                prop_assert!(probing.heap_bytes() <= 1024, "{}", probing.heap_bytes());
            }
        }
    }
}
