//! Distinguished names as text (RFC 4514): the last relative name first, special and control characters escaped.

use super::der::{Element, Reader, dotted, tag};
use super::hex;
use std::borrow::Cow;
use std::fmt::Write;

/// Bytes of a name's text; a longer one ends with an ellipsis.
pub(super) const MAX_TEXT: usize = 1024;

/// Attribute types with the short names of RFC 4514 section 3 and of the registry that it refers to.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "givenName"),
    ("2.5.4.43", "initials"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.97", "organizationIdentifier"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    // Of the certificates that the CA/Browser Forum calls extended validation; the names are those of common tools.
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

/// The text of a name, given the elements of its sequence. A part that cannot be read ends the name.
pub(super) fn text(mut name: Reader<'_>) -> String {
    let mut parts = Vec::new();
    while let Some(part) = name.expect(tag::SET) {
        parts.push(part);
    }
    let mut out = Text::default();
    for (at, part) in parts.iter().rev().enumerate() {
        if at > 0 {
            out.push(",");
        }
        relative_name(*part, &mut out);
        if out.is_full {
            break;
        }
    }
    out.text
}

fn relative_name(part: Element<'_>, out: &mut Text) {
    let mut attributes = part.reader();
    let mut first = true;
    while let Some(mut attribute) = attributes.sequence() {
        if !std::mem::take(&mut first) {
            out.push("+");
        }
        let kind = attribute.expect(tag::OID).and_then(|oid| dotted(oid.content));
        let (Some(kind), Some(value)) = (kind, attribute.element()) else {
            out.push("?");
            continue;
        };
        let known = SHORT_NAMES.iter().find(|(oid, _)| *oid == kind).map(|(_, short)| *short);
        out.push(known.unwrap_or(&kind));
        out.push("=");
        match known.and_then(|_| characters(value)) {
            Some(characters) => out.push_escaped(&characters),
            None => {
                // RFC 4514 section 2.4: a value of a type without a name stands as the hex digits of its DER.
                out.push("#");
                out.push(&hex(value.whole.get(..MAX_TEXT / 2).unwrap_or(value.whole)));
            }
        }
    }
}

/// The characters of a string value; what its encoding does not allow reads as U+FFFD.
fn characters(value: Element<'_>) -> Option<Cow<'_, str>> {
    let content = value.content;
    Some(match value.tag {
        tag::UTF8_STRING
        | tag::NUMERIC_STRING
        | tag::PRINTABLE_STRING
        | tag::IA5_STRING
        | tag::VISIBLE_STRING => String::from_utf8_lossy(content),
        // In practice Latin-1, whatever T.61 says.
        tag::TELETEX_STRING => content.iter().map(|byte| char::from(*byte)).collect(),
        tag::BMP_STRING => {
            let (units, _) = content.as_chunks::<2>();
            char::decode_utf16(units.iter().map(|unit| u16::from_be_bytes(*unit)))
                .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        tag::UNIVERSAL_STRING => {
            let (units, _) = content.as_chunks::<4>();
            let character = |unit: &[u8; 4]| char::from_u32(u32::from_be_bytes(*unit));
            units.iter().map(|unit| character(unit).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        _ => return None,
    })
}

/// Text within the bound.
#[derive(Debug, Default)]
struct Text {
    text: String,
    is_full: bool,
}

impl Text {
    /// Adds a piece, or an ellipsis where there is no room for it.
    fn push(&mut self, piece: &str) {
        if self.is_full {
            return;
        }
        if self.text.len() + piece.len() > MAX_TEXT {
            self.text.push('…');
            self.is_full = true;
        } else {
            self.text.push_str(piece);
        }
    }

    fn push_escaped(&mut self, value: &str) {
        let mut piece = String::new();
        let mut characters = value.chars().enumerate().peekable();
        while let Some((at, character)) = characters.next() {
            let is_edge = at == 0 || characters.peek().is_none();
            piece.clear();
            if character.is_control() {
                let mut bytes = [0; 4];
                for byte in character.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(piece, "\\{byte:02X}");
                }
            } else {
                let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
                    || (character == ' ' && is_edge)
                    || (character == '#' && at == 0);
                if special {
                    piece.push('\\');
                }
                piece.push(character);
            }
            self.push(&piece);
            if self.is_full {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        assert!(content.len() < 0x1_0000);
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, content].concat()
    }

    fn attribute(oid: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        element(tag::SEQUENCE, &[element(tag::OID, oid), element(tag, value)].concat())
    }

    fn name(parts: &[Vec<u8>]) -> String {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| element(tag::SET, part)).collect();
        text(Reader::new(&bytes))
    }

    const CN: &[u8] = &[0x55, 4, 3];
    const O: &[u8] = &[0x55, 4, 10];

    fn common_name(tag: u8, value: &[u8]) -> String {
        name(&[attribute(CN, tag, value)])
    }

    #[test]
    fn the_last_part_comes_first() {
        let parts =
            [attribute(O, tag::PRINTABLE_STRING, b"Example"), attribute(CN, tag::UTF8_STRING, b"a.example")];
        assert_eq!(name(&parts), "CN=a.example,O=Example");
        assert_eq!(name(&[parts.concat()]), "O=Example+CN=a.example");
        assert_eq!(name(&[]), "");
    }

    #[test]
    fn special_and_control_characters_are_escaped() {
        assert_eq!(common_name(tag::UTF8_STRING, b"a\0b\n"), "CN=a\\00b\\0A");
        assert_eq!(common_name(tag::UTF8_STRING, b" a,b+c\"d\\e<f>g;h "), r#"CN=\ a\,b\+c\"d\\e\<f\>g\;h\ "#);
        assert_eq!(common_name(tag::UTF8_STRING, b"#a # b"), r"CN=\#a # b");
        assert_eq!(common_name(tag::UTF8_STRING, "\u{85}ü".as_bytes()), "CN=\\C2\\85ü");
    }

    #[test]
    fn every_kind_of_string_is_read() {
        assert_eq!(common_name(tag::BMP_STRING, &[0, b'a', 0x20, 0xac]), "CN=a€");
        assert_eq!(common_name(tag::TELETEX_STRING, &[b'a', 0xfc]), "CN=aü");
        assert_eq!(common_name(tag::UNIVERSAL_STRING, &[0, 1, 0xf6, 0]), "CN=😀");
        assert_eq!(common_name(tag::UTF8_STRING, &[b'a', 0xff]), "CN=a\u{fffd}");
    }

    #[test]
    fn a_type_or_value_without_a_name_keeps_its_numbers() {
        assert_eq!(name(&[attribute(&[0x2a, 3, 4], tag::UTF8_STRING, b"x")]), "1.2.3.4=#0c82000178");
        assert_eq!(common_name(tag::INTEGER, &[5]), "CN=#0282000105");
        assert_eq!(name(&[element(tag::SEQUENCE, &[])]), "?");
    }

    #[test]
    fn long_names_end_with_an_ellipsis() {
        let text = common_name(tag::UTF8_STRING, &[0; 5000]);
        assert!(text.len() <= MAX_TEXT + '…'.len_utf8() && text.ends_with("\\00…"), "{text}");
        let many = vec![attribute(O, tag::UTF8_STRING, b"x"); 2000];
        assert!(name(&many).len() <= MAX_TEXT + '…'.len_utf8());
    }
}
