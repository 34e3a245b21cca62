//! The dialogue of a protocol that is known: it is followed up to the byte with which TLS, or what goes through a tunnel,
//! begins, and what the server declines is noted.

use super::{Finding, Found, Known, Probe, Probing};
use crate::flow::key::{End, PerEnd};
use crate::observation::{Side, UpgradedFrom};
use crate::time::Timestamp;
use crate::tls::detect::{self, Opening};
use crate::upgrade::{Dialogue, News};

/// How far the words about TLS have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    Open,
    /// The client has asked; an eager one may send its hello already.
    Asked,
    /// The server has agreed.
    Accepted,
}

/// A dialogue under way.
#[derive(Debug)]
pub(super) struct Talk {
    client: End,
    pub(super) dialogue: Box<dyn Dialogue>,
    pub(super) stand: Stand,
    /// When the client's last line or message began.
    unit_at: Timestamp,
    asked_at: Timestamp,
    /// Bytes are missing: an answer may be the answer to something else.
    pub(super) doubtful: bool,
}

impl Talk {
    pub(super) fn side(&self, end: End) -> Side {
        if end == self.client { Side::Client } else { Side::Server }
    }
}

/// A request for TLS that the server declined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) client: End,
    pub(crate) protocol: UpgradedFrom,
    /// The request.
    pub(crate) start: Timestamp,
    /// The answer.
    pub(crate) at: Timestamp,
}

impl Probing {
    /// Follows a dialogue from here on, beginning with what was collected of it before this segment.
    pub(super) fn begin_talk(
        &mut self,
        client: End,
        mut dialogue: Box<dyn Dialogue>,
        at: Timestamp,
        speaker: End,
        earlier: &[u8],
    ) {
        self.spoken_segments += 1;
        let peer = *self.probes.of(speaker.peer());
        let side = |end: End| if end == client { Side::Client } else { Side::Server };
        // Too few bytes for news: they did not even tell the protocol.
        let _ = dialogue.next(side(speaker.peer()), &mut peer.collected());
        let _ = dialogue.next(side(speaker), &mut &*earlier);
        let unit_at = if earlier.is_empty() { at } else { self.probes.of(speaker).first_at };
        for end in [End::Low, End::High] {
            *self.probes.of_mut(end) = self.probes.of(end).restarted();
        }
        self.talk = Some(Box::new(Talk {
            client,
            dialogue,
            stand: Stand::Open,
            unit_at,
            asked_at: at,
            doubtful: false,
        }));
    }

    /// Bytes of a connection whose dialogue is followed.
    pub(super) fn spoken<'a>(
        &mut self,
        known: &Known,
        from: End,
        at: Timestamp,
        rest: &mut &'a [u8],
        begins_segment: bool,
    ) -> Finding<'a> {
        let Some(talk) = &mut self.talk else { return Finding::Open };
        let side = talk.side(from);
        if begins_segment {
            self.spoken_bytes += rest.len();
            self.spoken_segments += 1;
            let opening = detect::late_opening(rest);
            let unasked = match opening {
                Opening::ClientHello => talk.stand == Stand::Open && talk.dialogue.is_between_units(side),
                // Whatever led to it is not in the capture.
                Opening::ServerHello => talk.doubtful || !*known.seen.of(from.peer()),
                _ => false,
            };
            if unasked {
                self.after = talk.dialogue.name();
                return self.attempt_at_once(opening, at, std::mem::take(rest));
            }
        }
        let between = talk.dialogue.is_between_units(side);
        match (side, talk.stand) {
            (Side::Server, Stand::Accepted) => {
                *rest = &[];
                return Finding::Open;
            }
            (Side::Client, Stand::Accepted) => return self.after_request(known, from, at, rest),
            (Side::Client, Stand::Asked) if between => return self.after_request(known, from, at, rest),
            (Side::Client, _) if between => talk.unit_at = at,
            _ => {}
        }
        let news = talk.dialogue.next(side, rest);
        self.told(known, from, at, news)
    }

    /// Bytes of the client where its hello may begin.
    fn after_request<'a>(
        &mut self,
        known: &Known,
        from: End,
        at: Timestamp,
        rest: &mut &'a [u8],
    ) -> Finding<'a> {
        let before = *self.probes.of(from);
        if before.have == 0 {
            // Line ends and blanks behind a request are harmless, and no hello begins so.
            *rest = rest.trim_ascii_start();
            if rest.is_empty() {
                return Finding::Open;
            }
        }
        let probe = self.probes.of_mut(from);
        probe.collect(at, rest);
        let probe = *probe;
        let opening = detect::opening(probe.collected());
        let Some(talk) = &mut self.talk else { return Finding::Open };
        match opening {
            Opening::Undecided => {
                *rest = &[];
                Finding::Open
            }
            Opening::ClientHello | Opening::Ssl2Hello => {
                self.after = talk.dialogue.name();
                let (in_step, awaits) = (!talk.doubtful, talk.stand == Stand::Asked);
                let awaited = self.talk.take().filter(|_| awaits).map(|talk| talk.dialogue);
                let bytes = std::mem::take(rest);
                match self.attempt(opening, &probe, before.have, bytes) {
                    Finding::Attempt(found) => Finding::Attempt(Found { awaited, in_step, ..found }),
                    other => other,
                }
            }
            Opening::ServerHello | Opening::Other => {
                *self.probes.of_mut(from) = probe.restarted();
                if talk.stand == Stand::Accepted {
                    return self.told(known, from, at, Some(News::Lost));
                }
                talk.unit_at = at;
                let news = talk.dialogue.next(Side::Client, &mut before.collected());
                let news = news.or_else(|| talk.dialogue.next(Side::Client, rest));
                self.told(known, from, at, news)
            }
        }
    }

    fn told<'a>(&mut self, known: &Known, from: End, at: Timestamp, news: Option<News>) -> Finding<'a> {
        let Some(talk) = &mut self.talk else { return Finding::Open };
        match news {
            None => return Finding::Open,
            Some(News::Asked) => (talk.stand, talk.asked_at) = (Stand::Asked, talk.unit_at),
            Some(News::Accepted) if talk.dialogue.is_tunnel() => {
                self.after = talk.dialogue.name().or(self.after);
                self.talk = None;
                self.strikes = 0;
                self.unknown = PerEnd::default();
                for end in [End::Low, End::High] {
                    *self.probes.of_mut(end) = Probe { exact: true, ..Probe::default() };
                }
                return Finding::Open;
            }
            Some(News::Accepted) => talk.stand = Stand::Accepted,
            Some(News::Refused) => {
                talk.stand = Stand::Open;
                let protocol = talk.dialogue.name().filter(|_| !talk.dialogue.is_tunnel() && !talk.doubtful);
                if let Some(protocol) = protocol
                    && !std::mem::replace(&mut self.refused, true)
                {
                    let refusal = Refusal { client: talk.client, protocol, start: talk.asked_at, at };
                    self.refusal = Some(Box::new(refusal));
                }
            }
            Some(News::Lost) => {
                self.talk = None;
                self.call_other(known, from.peer());
                return self.strike(known, from);
            }
        }
        let probe = self.probes.of_mut(from);
        *probe = probe.restarted();
        Finding::Open
    }
}
