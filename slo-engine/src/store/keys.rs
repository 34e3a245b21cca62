//! Layout of keys: one byte for the table, then big-endian parts, so that key order is the order of meaning.

/// What a record is about; the byte stands first in its key and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// Single values about the engine itself, by name.
    Engine,
    /// When a sender was heard of.
    Source,
    /// Metric and attributes of a series.
    Series,
    /// Where a stream of points stands, with the marks that recognise repeats.
    Stream,
    /// Counts of a series in one time bucket.
    Bucket,
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
    /// First byte of the table's keys.
    const fn prefix(self) -> u8 {
        match self {
            Self::Engine => 0x02,
            Self::Source => 0x10,
            Self::Series => 0x11,
            Self::Stream => 0x12,
            Self::Bucket => 0x13,
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
