//! Messages that tell their length, of which only the first bytes are kept.

/// Bytes kept of a message.
const HEAD: usize = 320;

/// How long a message is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// They are too few to tell.
    More,
    /// Its length with everything that belongs to it.
    Total(u64),
    /// This is no message of the protocol.
    Invalid,
}

/// What reading came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framed {
    /// A message is whole; [`Frames::head`] holds its first bytes until more is read.
    Whole,
    /// This is no message of the protocol.
    Invalid,
}

/// Cuts the bytes of one direction into messages.
#[derive(Debug)]
pub(super) struct Frames {
    head: [u8; HEAD],
    have: u64,
    total: Option<u64>,
}

impl Default for Frames {
    fn default() -> Self {
        Self { head: [0; HEAD], have: 0, total: None }
    }
}

impl Frames {
    /// Reads up to the end of the next message.
    pub(super) fn next(&mut self, bytes: &mut &[u8], measure: impl Fn(&[u8]) -> Measure) -> Option<Framed> {
        if self.is_whole() {
            (self.have, self.total) = (0, None);
        }
        while self.total.is_none() {
            let (byte, rest) = bytes.split_first()?;
            self.keep(&[*byte]);
            *bytes = rest;
            match measure(self.head()) {
                Measure::More if self.have < HEAD as u64 => {}
                Measure::Total(total) if total >= self.have => self.total = Some(total),
                Measure::More | Measure::Total(_) | Measure::Invalid => return Some(Framed::Invalid),
            }
        }
        let left = self.total.unwrap_or_default() - self.have;
        let (body, rest) = bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
        self.keep(body);
        *bytes = rest;
        self.is_whole().then_some(Framed::Whole)
    }

    /// The first bytes of the message.
    pub(super) fn head(&self) -> &[u8] {
        self.head.get(..usize::try_from(self.have).unwrap_or(usize::MAX)).unwrap_or(&self.head)
    }

    /// Whether a message may begin with the next byte.
    pub(super) fn is_between(&self) -> bool {
        self.have == 0 || self.is_whole()
    }

    fn is_whole(&self) -> bool {
        self.total == Some(self.have)
    }

    fn keep(&mut self, bytes: &[u8]) {
        let free = self.head.iter_mut().skip(usize::try_from(self.have).unwrap_or(usize::MAX));
        free.zip(bytes).for_each(|(slot, byte)| *slot = *byte);
        self.have += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(head: &[u8]) -> Measure {
        match head {
            [0, ..] => Measure::Invalid,
            [length, ..] => Measure::Total(u64::from(*length) * 4),
            [] => Measure::More,
        }
    }

    #[test]
    fn messages_come_whole_however_they_are_cut() {
        let two = [&[1, 2, 3, 4][..], &[200; 800], &[1, 7]].concat();
        for size in [1, 3, 5, 900] {
            let mut frames = Frames::default();
            let mut heads = Vec::new();
            for mut piece in two.chunks(size) {
                while let Some(framed) = frames.next(&mut piece, measure) {
                    assert_eq!(framed, Framed::Whole);
                    heads.push(frames.head().len());
                }
            }
            assert_eq!(heads, [4, HEAD], "{size}");
            assert!(!frames.is_between());
        }
    }

    #[test]
    fn what_has_no_length_is_no_message() {
        assert_eq!(Frames::default().next(&mut &[0][..], measure), Some(Framed::Invalid));
        let endless = |_: &[u8]| Measure::More;
        assert_eq!(Frames::default().next(&mut &[1; 400][..], endless), Some(Framed::Invalid));
        assert_eq!(Frames::default().next(&mut &[1; 100][..], endless), None);
    }
}
