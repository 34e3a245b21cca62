//! XMPP (RFC 6120 section 5): a stream of XML on either side, with `<starttls/>` and `<proceed/>` at its top level.

use super::{Dialogue, News};
use crate::observation::{Side, UpgradedFrom};

/// Bytes kept of a tag: its name, and most often its namespace.
const HEAD: usize = 160;

/// Namespace of the elements of this upgrade.
const NAMESPACE: &[u8] = b"urn:ietf:params:xml:ns:xmpp-tls";

/// Cuts the bytes of one direction into tags.
#[derive(Debug)]
struct Tags {
    head: [u8; HEAD],
    have: usize,
    within: bool,
    quote: Option<u8>,
    last: u8,
    /// Elements that are open, the stream included.
    depth: u32,
    /// An element of the upgrade that has begun and not ended.
    open: Option<Element>,
}

impl Default for Tags {
    fn default() -> Self {
        Self { head: [0; HEAD], have: 0, within: false, quote: None, last: 0, depth: 0, open: None }
    }
}

/// The elements that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Element {
    StartTls,
    Proceed,
    Failure,
}

impl Tags {
    /// Reads to the end of the next tag.
    fn next(&mut self, bytes: &mut &[u8]) -> bool {
        if !self.within {
            self.have = 0;
        }
        while let Some((byte, rest)) = bytes.split_first() {
            *bytes = rest;
            match (self.within, self.quote, *byte) {
                (false, _, b'<') => (self.within, self.last) = (true, 0),
                (false, ..) => {}
                (true, None, b'>') => {
                    self.within = false;
                    return true;
                }
                (true, quote, byte) => {
                    self.quote = match quote {
                        Some(mark) if mark == byte => None,
                        None if matches!(byte, b'\'' | b'"') => Some(byte),
                        quote => quote,
                    };
                    if let Some(slot) = self.head.get_mut(self.have) {
                        *slot = byte;
                        self.have += 1;
                    }
                    self.last = byte;
                }
            }
        }
        false
    }

    fn text(&self) -> &[u8] {
        self.head.get(..self.have).unwrap_or_default()
    }

    /// Name of the tag, without a prefix.
    fn local_name(&self) -> &[u8] {
        let text = self.text().strip_prefix(b"/").unwrap_or(self.text());
        let name = text.split(|byte| byte.is_ascii_whitespace() || *byte == b'/').next().unwrap_or_default();
        name.rsplit(|byte| *byte == b':').next().unwrap_or_default()
    }

    fn begins_stream(&self) -> bool {
        self.local_name() == b"stream" && !self.text().starts_with(b"/")
    }

    /// The element of the upgrade that is whole with the last tag.
    fn element(&mut self) -> Option<Element> {
        if matches!(self.text().first(), Some(b'?' | b'!')) {
            return None;
        }
        if self.begins_stream() {
            self.depth = 1;
            return None;
        }
        if self.text().starts_with(b"/") {
            self.depth = self.depth.saturating_sub(1);
            return if self.depth <= 1 { self.open.take() } else { None };
        }
        let at_top = self.depth <= 1;
        let empty = self.last == b'/';
        self.depth = self.depth.saturating_add(u32::from(!empty));
        let element = match self.local_name() {
            b"starttls" => Element::StartTls,
            b"proceed" => Element::Proceed,
            b"failure" => Element::Failure,
            _ => return None,
        };
        let is_of_tls = self.text().windows(NAMESPACE.len()).any(|part| part == NAMESPACE);
        let element = Some(element).filter(|_| at_top && is_of_tls);
        if !empty {
            self.open = element;
            return None;
        }
        element
    }
}

/// The dialogue.
#[derive(Debug, Default)]
pub(super) struct Xmpp {
    client: Tags,
    server: Tags,
    begun: bool,
    asked: bool,
}

impl Dialogue for Xmpp {
    fn next(&mut self, from: Side, bytes: &mut &[u8]) -> Option<News> {
        loop {
            let tags = match from {
                Side::Client => &mut self.client,
                Side::Server => &mut self.server,
            };
            if !tags.next(bytes) {
                return None;
            }
            self.begun |= tags.begins_stream();
            if !self.begun && tags.text().first() != Some(&b'?') {
                return Some(News::Lost);
            }
            match (from, tags.element(), self.asked) {
                (Side::Client, Some(Element::StartTls), false) => {
                    self.asked = true;
                    return Some(News::Asked);
                }
                (Side::Server, Some(Element::Proceed), true) => {
                    self.asked = false;
                    return Some(News::Accepted);
                }
                (Side::Server, Some(Element::Failure), true) => {
                    self.asked = false;
                    return Some(News::Refused);
                }
                _ => {}
            }
        }
    }

    fn is_between_units(&self, side: Side) -> bool {
        match side {
            Side::Client => !self.client.within,
            Side::Server => !self.server.within,
        }
    }

    fn name(&self) -> Option<UpgradedFrom> {
        self.begun.then_some(UpgradedFrom::Xmpp)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::news;
    use super::*;
    use Side::{Client as C, Server as S};

    const OPEN: &[u8] = b"<?xml version='1.0'?><stream:stream to='a>b' xmlns='jabber:client' version='1.0'>";
    const ASK: &[u8] = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    const FEATURES: &[u8] =
        b"<stream:features><starttls xmlns=\"urn:ietf:params:xml:ns:xmpp-tls\"><required/>\
        </starttls></stream:features>";

    fn told(more: &[(Side, &[u8])]) -> Vec<(News, usize)> {
        let said: Vec<_> = [(C, OPEN), (S, OPEN), (S, FEATURES)].iter().chain(more).copied().collect();
        news(Xmpp::default, &said)
    }

    #[test]
    fn starttls_is_asked_and_answered() {
        let long = b"<tls:starttls xmlns:tls=\"urn:ietf:params:xml:ns:xmpp-tls\"></tls:starttls>\x16";
        let proceed = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'></proceed>\x16";
        assert_eq!(told(&[(C, long), (S, proceed)]), [(News::Asked, 1), (News::Accepted, 1)]);
        let failure = b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>";
        let refused = told(&[(C, ASK), (S, failure)]);
        assert_eq!(refused, [(News::Asked, 0), (News::Refused, 16)]);
    }

    #[test]
    fn what_a_message_says_is_no_request() {
        let message = [b"<message><body>", ASK, b"</body></message>"].concat();
        assert_eq!(told(&[(C, &message)]), []);
        assert_eq!(told(&[(C, b"<iq><failure xmlns='x'/></iq><starttls/>")]), []);
    }

    #[test]
    fn other_xml_is_not_followed() {
        assert_eq!(news(Xmpp::default, &[(C, b"<?xml version='1.0'?><soap>")]), [(News::Lost, 0)]);
    }
}
