//! Why a frame brought nothing.

/// Why a frame brought nothing that is followed. The words are those of the packet disposition attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// The capture cut the frame inside a header.
    TruncatedHeader,
    /// Neither IPv4 nor IPv6: ARP, LLDP and the like.
    NotIp,
    /// IP, but neither TCP nor something that is followed.
    NotTcp,
    /// A piece of a fragmented IP packet whose other pieces never came.
    Fragment,
    /// Header fields contradict each other.
    Malformed,
    /// More encapsulations than are followed.
    TooDeep,
    /// A piece of a fragmented IPv6 packet whose pieces overlap (RFC 5722 forbids to put those together).
    FragmentOverlap,
    /// A piece of a fragmented packet that was given up to stay within the room for fragments.
    FragmentEvicted,
}

impl Skip {
    /// Every reason, in the order of [`Skip::index`].
    pub const ALL: [Self; 8] = [
        Self::TruncatedHeader,
        Self::NotIp,
        Self::NotTcp,
        Self::Fragment,
        Self::Malformed,
        Self::TooDeep,
        Self::FragmentOverlap,
        Self::FragmentEvicted,
    ];

    /// Place in [`Skip::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The value of the packet disposition attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TruncatedHeader => "skipped_truncated_header",
            Self::NotIp => "skipped_not_ip",
            Self::NotTcp => "skipped_not_tcp",
            Self::Fragment => "skipped_fragment",
            Self::Malformed => "skipped_malformed",
            Self::TooDeep => "skipped_too_deep",
            Self::FragmentOverlap => "skipped_fragment_overlap",
            Self::FragmentEvicted => "skipped_fragment_evicted",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_index() {
        for (index, skip) in Skip::ALL.into_iter().enumerate() {
            assert_eq!(skip.index(), index, "{skip:?}");
        }
    }
}
