//! Lines of a text protocol, of which only the first and the last bytes are kept.

/// Bytes kept of a line's beginning: commands, tags and reply codes are shorter.
const HEAD: usize = 64;

/// Bytes kept of its end: the length of an IMAP literal stands there.
const TAIL: usize = 16;

/// A whole line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    head: [u8; HEAD],
    tail: [u8; TAIL],
    /// Without the line feed.
    length: usize,
}

impl Line {
    const EMPTY: Self = Self { head: [0; HEAD], tail: [0; TAIL], length: 0 };

    /// Its first bytes, without the carriage return where they are all of it.
    pub(super) fn text(&self) -> &[u8] {
        let head = self.head.get(..self.length).unwrap_or(&self.head);
        head.strip_suffix(b"\r").unwrap_or(head)
    }

    /// Its last bytes, without the carriage return.
    pub(super) fn end(&self) -> &[u8] {
        let kept = self.tail.get(TAIL - self.length.min(TAIL)..).unwrap_or_default();
        kept.strip_suffix(b"\r").unwrap_or(kept)
    }

    /// Whether the line is this word, in any case.
    pub(super) fn is(&self, word: &[u8]) -> bool {
        self.text().trim_ascii_end().eq_ignore_ascii_case(word)
    }

    /// Whether the line begins with this word, in any case.
    pub(super) fn begins_with(&self, word: &[u8]) -> bool {
        self.text().get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
    }

    fn push(&mut self, bytes: &[u8]) {
        let free = self.head.iter_mut().skip(self.length);
        free.zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        self.length = self.length.saturating_add(bytes.len());
        let last = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default();
        self.tail.rotate_left(last.len());
        let places = self.tail.iter_mut().skip(TAIL - last.len());
        places.zip(last).for_each(|(slot, byte)| *slot = *byte);
    }
}

/// Cuts the bytes of one direction into lines.
#[derive(Debug)]
pub(super) struct Lines {
    line: Line,
    /// Bytes to pass over before the next line.
    skip: u64,
    /// What comes is the rest of a line whose beginning is missing.
    lost: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self { line: Line::EMPTY, skip: 0, lost: false }
    }
}

impl Lines {
    /// The next whole line.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Line> {
        loop {
            let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= passed as u64;
            *bytes = bytes.get(passed..).unwrap_or_default();
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                self.line.push(bytes);
                *bytes = &[];
                return None;
            };
            self.line.push(bytes.get(..end).unwrap_or_default());
            *bytes = bytes.get(end + 1..).unwrap_or_default();
            let line = std::mem::replace(&mut self.line, Line::EMPTY);
            if !std::mem::take(&mut self.lost) {
                return Some(line);
            }
        }
    }

    /// The next `length` bytes belong to no line.
    pub(super) fn skip(&mut self, length: u64) {
        self.skip = length;
    }

    /// Whether a line may begin with the next byte.
    pub(super) fn is_between(&self) -> bool {
        self.lost || (self.skip == 0 && self.line.length == 0)
    }

    /// Bytes are missing.
    pub(super) fn hole(&mut self) {
        *self = Self { lost: true, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_ends() {
        let mut lines = Lines::default();
        let long = [&b"a1 APPEND "[..], &[b'x'; 500], b" {310}\r\nrest"].concat();
        let mut bytes = long.as_slice();
        let line = lines.next(&mut bytes).unwrap();
        assert!(line.begins_with(b"A1 append") && line.end().ends_with(b" {310}"));
        assert_eq!(line.text().len(), HEAD);
        assert_eq!(bytes, b"rest");
    }

    #[test]
    fn lines_may_end_in_a_bare_line_feed_and_come_in_any_pieces() {
        for size in 1..12 {
            let mut lines = Lines::default();
            let mut seen = Vec::new();
            for mut piece in b"one\ntwo\r\n\r\nthree\n".chunks(size) {
                while let Some(line) = lines.next(&mut piece) {
                    assert_eq!(line.text(), line.end());
                    seen.push(line.text().to_vec());
                }
            }
            assert_eq!(seen, [&b"one"[..], b"two", b"", b"three"], "{size}");
        }
    }

    #[test]
    fn what_is_passed_over_and_what_follows_a_hole_is_no_line() {
        let mut lines = Lines::default();
        lines.skip(4);
        let mut bytes = &b"ab\ncnext\n"[..];
        assert_eq!(lines.next(&mut bytes).unwrap().text(), b"next");
        lines.hole();
        assert!(lines.is_between());
        let mut bytes = &b"half\nwhole\n"[..];
        assert_eq!(lines.next(&mut bytes).unwrap().text(), b"whole");
    }
}
