//! TCP sequence numbers (RFC 9293 section 3.4).

/// A sequence number: it wraps, and is compared only by distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Sequence(pub u32);

impl Sequence {
    /// How many bytes this number lies after `origin`; negative when before. Right for distances under 2 GiB.
    pub const fn distance_from(self, origin: Self) -> i32 {
        self.0.wrapping_sub(origin.0).cast_signed()
    }

    /// The number `bytes` further on.
    #[expect(clippy::cast_possible_truncation, reason = "sequence space is the integers modulo 2^32")]
    pub const fn advanced(self, bytes: usize) -> Self {
        Self(self.0.wrapping_add(bytes as u32))
    }

    /// The later of two numbers.
    pub const fn later(self, other: Self) -> Self {
        if self.distance_from(other) >= 0 { self } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_right_across_the_wrap() {
        let before = Sequence(u32::MAX - 9);
        let after = before.advanced(20);
        assert_eq!(after, Sequence(10));
        assert_eq!(after.distance_from(before), 20);
        assert_eq!(before.distance_from(after), -20);
        assert_eq!(before.later(after), after);
    }
}
