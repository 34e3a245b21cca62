//! Layout of keys: one byte for the table, then big-endian parts, so that key order is the order of meaning.

/// What a record is about; the byte stands first in its key and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// Single values about the engine itself, by name.
    Engine,
    /// Layout 1: when a sender was heard of.
    Source1,
    /// Layout 1: metric and attributes of a series.
    Series1,
    /// Layout 1: where a stream of points stands.
    Stream1,
    /// Layout 1: counts of a series in one time bucket.
    Bucket1,
    /// Kind, metric and attributes of a series.
    Series,
    /// Through which chunk of the journal the blocks of a series were brought up to date.
    Mark,
    /// Some neighbouring buckets of a series.
    Block,
    /// Where a stream of points stands, with the marks that recognise repeats.
    Stream,
    /// A sender, and when it was heard of.
    Source,
    /// What was counted since the last checkpoint.
    Journal,
    /// Where the incident of an objective stands.
    Incident,
    /// What happened to an incident, with its evidence.
    Transition,
    /// A notification, waiting or done.
    Notification,
    /// How good the time slices of one day were, of an objective that counts in slices.
    Slices,
    /// A span that does not count.
    Exclusion,
    /// How an incident came to be known.
    Detection,
    /// An event that was told, by its time.
    Event,
    /// The identity of an event that was counted.
    EventId,
    /// A planned rotation.
    Rotation,
    /// How far an adapter has read its file.
    AdapterOffset,
    /// A value of an event's attribute that has a place among the bounded ones.
    EventLabel,
}

impl Table {
    /// The tables that layout 1 alone has.
    pub(super) const LAYOUT_1: [Self; 4] = [Self::Bucket1, Self::Stream1, Self::Source1, Self::Series1];
    /// The tables of counts.
    pub(super) const COUNTS: [Self; 6] =
        [Self::Series, Self::Mark, Self::Block, Self::Stream, Self::Source, Self::Journal];

    /// First byte of the table's keys.
    const fn prefix(self) -> u8 {
        match self {
            Self::Engine => 0x02,
            Self::Source1 => 0x10,
            Self::Series1 => 0x11,
            Self::Stream1 => 0x12,
            Self::Bucket1 => 0x13,
            Self::Series => 0x14,
            Self::Mark => 0x15,
            Self::Block => 0x16,
            Self::Stream => 0x17,
            Self::Source => 0x18,
            Self::Journal => 0x19,
            Self::Incident => 0x20,
            Self::Transition => 0x21,
            Self::Notification => 0x22,
            Self::Slices => 0x40,
            Self::Exclusion => 0x41,
            Self::Detection => 0x42,
            Self::Event => 0x30,
            Self::EventId => 0x31,
            Self::Rotation => 0x32,
            Self::AdapterOffset => 0x33,
            Self::EventLabel => 0x34,
        }
    }

    /// The full key of a record.
    pub(super) fn key(self, rest: &[u8]) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + rest.len());
        key.push(self.prefix());
        key.extend_from_slice(rest);
        key
    }
}

/// Number of the layout.
pub(super) const LAYOUT: &[u8] = b"\x01version";
/// Number and hash of the last commit.
pub(super) const POSITION: &[u8] = b"\x01position";
