//! A walk over DER (X.690 section 8 and 10) that reads headers only and tolerates what it need not understand.

use std::fmt::Write;

/// Tags that certificates use.
pub(super) mod tag {
    pub(in super::super) const INTEGER: u8 = 0x02;
    pub(in super::super) const BIT_STRING: u8 = 0x03;
    pub(in super::super) const OID: u8 = 0x06;
    pub(in super::super) const UTF8_STRING: u8 = 0x0c;
    pub(in super::super) const NUMERIC_STRING: u8 = 0x12;
    pub(in super::super) const PRINTABLE_STRING: u8 = 0x13;
    pub(in super::super) const TELETEX_STRING: u8 = 0x14;
    pub(in super::super) const IA5_STRING: u8 = 0x16;
    pub(in super::super) const UTC_TIME: u8 = 0x17;
    pub(in super::super) const GENERALIZED_TIME: u8 = 0x18;
    pub(in super::super) const VISIBLE_STRING: u8 = 0x1a;
    pub(in super::super) const UNIVERSAL_STRING: u8 = 0x1c;
    pub(in super::super) const BMP_STRING: u8 = 0x1e;
    pub(in super::super) const SEQUENCE: u8 = 0x30;
    pub(in super::super) const SET: u8 = 0x31;
    pub(in super::super) const EXPLICIT_0: u8 = 0xa0;
}

/// An element that is there whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// Header and content.
    pub(super) whole: &'a [u8],
}

impl<'a> Element<'a> {
    pub(super) fn reader(&self) -> Reader<'a> {
        Reader::new(self.content)
    }
}

/// Elements that stand one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Tag and lengths of header and content. Tags of more than one byte and the indefinite length of BER are not
    /// read; certificates have neither.
    fn header(&self) -> Option<(u8, usize, usize)> {
        let (tag, rest) = self.rest.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let count = usize::from(first & 0x7f);
        match (first & 0x80 != 0, count) {
            (false, length) => Some((*tag, 2, length)),
            (true, 1..=4) => {
                let bytes = rest.get(..count)?;
                let length = bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
                Some((*tag, 2 + count, length))
            }
            (true, _) => None,
        }
    }

    /// The next element, which must be there whole.
    pub(super) fn element(&mut self) -> Option<Element<'a>> {
        let (tag, header, length) = self.header()?;
        let (whole, rest) = self.rest.split_at_checked(header.checked_add(length)?)?;
        self.rest = rest;
        Some(Element { tag, content: whole.get(header..)?, whole })
    }

    /// The next element, if it has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.element().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }

    /// The elements of the next one, which must be a sequence.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.expect(tag::SEQUENCE).map(|element| element.reader())
    }

    /// Goes into the next element, which may be cut.
    pub(super) fn enter(&mut self, wanted: u8) -> Option<Self> {
        let (tag, header, length) = self.header()?;
        let content = self.rest.get(header..)?;
        (tag == wanted).then(|| Self::new(content.get(..length).unwrap_or(content)))
    }

    /// Passes over the next element if it has this tag; `None` where that is cut.
    pub(super) fn skip_if(&mut self, tag: u8) -> Option<()> {
        if self.rest.first() == Some(&tag) {
            self.element()?;
        }
        Some(())
    }

    pub(super) fn begins_with_time(&self) -> bool {
        matches!(self.rest.first(), Some(&(tag::UTC_TIME | tag::GENERALIZED_TIME)))
    }
}

/// An object identifier's content in dotted form; `None` where it is none, or has an arc beyond 64 bits.
pub(super) fn dotted(content: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(USUAL_DOTTED);
    let mut arc = 0_u64;
    let mut within = false;
    for byte in content.get(..content.len().min(MAX_OID))? {
        if arc >> 57 != 0 {
            return None;
        }
        arc = arc << 7 | u64::from(byte & 0x7f);
        within = byte & 0x80 != 0;
        if within {
            continue;
        }
        if text.is_empty() {
            let first = (arc / 40).min(2);
            let _ = write!(text, "{first}.{}", arc - first * 40);
        } else {
            let _ = write!(text, ".{arc}");
        }
        arc = 0;
    }
    (!text.is_empty() && !within && content.len() <= MAX_OID).then_some(text)
}

/// Characters that the dotted forms of known identifiers fit in.
const USUAL_DOTTED: usize = 28;

/// Bytes of the longest object identifier that is read.
const MAX_OID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_size_are_read() {
        let long = [&[0x04, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        let mut reader = Reader::new(&long);
        assert_eq!(reader.element().unwrap().content, [7; 256]);
        assert!(reader.rest.is_empty());
        // Indefinite, five bytes of length, a long tag, a length beyond the end.
        for bytes in [&[0x30, 0x80, 0, 0][..], &[0x04, 0x85, 0, 0, 0, 0, 0], &[0x1f, 1, 0], &[0x04, 2, 0]] {
            assert_eq!(Reader::new(bytes).element(), None);
        }
    }

    #[test]
    fn object_identifiers_are_written_with_dots() {
        assert_eq!(dotted(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]).as_deref(), Some("1.2.840.10045.2.1"));
        assert_eq!(
            dotted(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18]).as_deref(),
            Some("2.16.840.1.101.3.4.3.18")
        );
        assert_eq!(dotted(&[0x88, 0x37]).as_deref(), Some("2.999"));
        for bytes in [&[][..], &[0x2a, 0x86], &[0xff; 12], &[1; 65]] {
            assert_eq!(dotted(bytes), None);
        }
    }
}
