//! Bytes taken for numbers and choices.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    pub(super) fn long_number(&mut self) -> Option<u32> {
        let (high, low) = (self.number()?, self.number()?);
        Some(u32::from(high) << 16 | u32::from(low))
    }

    /// The next bytes, fewer where there are not so many.
    pub(super) fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// What is left, in pieces whose lengths follow from `seed`.
    pub(super) fn pieces(self, seed: u32) -> Vec<&'a [u8]> {
        let mut state = seed | 1;
        let mut rest = self;
        let mut pieces = Vec::new();
        while !rest.0.is_empty() {
            // Marsaglia's xorshift; small pieces are the interesting ones.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let most = if state & 7 == 0 { 1000 } else { 9 };
            pieces.push(rest.bytes((state >> 8) as usize % most + 1));
        }
        pieces
    }
}
