//! Supported groups with what they protect against and what their key shares weigh.
//!
//! The table is made from the IANA registry "TLS Supported Groups" and the specifications that its rows name. A number
//! that it does not hold is unknown, and never passes for classical.

use super::{Status, wire_number};
use serde::Serialize;

wire_number! {
    /// A number of the "TLS Supported Groups" registry.
    Group
}

/// What a key exchange protects against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyExchangeClass {
    /// A classical and a post-quantum exchange combined.
    Hybrid,
    /// A post-quantum exchange alone.
    Pq,
    /// No post-quantum part; finite-field and RSA key transport included.
    Classical,
    /// No key was exchanged: a pre-shared key or a resumption alone.
    None,
    /// A group that no table names.
    Unknown,
}

impl KeyExchangeClass {
    /// The word of the record and of the metric attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hybrid => "hybrid",
            Self::Pq => "pq",
            Self::Classical => "classical",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// Bytes of a group's key shares in TLS 1.3 (RFC 8446 section 4.2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShareLengths {
    /// Of the share in a ClientHello.
    pub client: u16,
    /// Of the share in a ServerHello.
    pub server: u16,
}

/// One row of the group table.
#[derive(Clone, Copy, Debug)]
struct GroupRow {
    number: u16,
    name: &'static str,
    class: KeyExchangeClass,
    /// `None` where a specification does not fix them, or TLS 1.3 does not have the group.
    shares: Option<ShareLengths>,
    status: Status,
    /// RFC or draft.
    source: &'static str,
}

const fn row(
    number: u16,
    name: &'static str,
    class: KeyExchangeClass,
    shares: Option<ShareLengths>,
    status: Status,
    source: &'static str,
) -> GroupRow {
    GroupRow { number, name, class, shares, status, source }
}

const fn shares(client: u16, server: u16) -> Option<ShareLengths> {
    Some(ShareLengths { client, server })
}

/// Sorted by number.
const GROUPS: &[GroupRow] = {
    use KeyExchangeClass::{Classical, Hybrid, Pq};
    use Status::{Draft, Standard};
    &[
        row(0x0001, "sect163k1", Classical, None, Standard, "RFC 8422"),
        row(0x0002, "sect163r1", Classical, None, Standard, "RFC 8422"),
        row(0x0003, "sect163r2", Classical, None, Standard, "RFC 8422"),
        row(0x0004, "sect193r1", Classical, None, Standard, "RFC 8422"),
        row(0x0005, "sect193r2", Classical, None, Standard, "RFC 8422"),
        row(0x0006, "sect233k1", Classical, None, Standard, "RFC 8422"),
        row(0x0007, "sect233r1", Classical, None, Standard, "RFC 8422"),
        row(0x0008, "sect239k1", Classical, None, Standard, "RFC 8422"),
        row(0x0009, "sect283k1", Classical, None, Standard, "RFC 8422"),
        row(0x000a, "sect283r1", Classical, None, Standard, "RFC 8422"),
        row(0x000b, "sect409k1", Classical, None, Standard, "RFC 8422"),
        row(0x000c, "sect409r1", Classical, None, Standard, "RFC 8422"),
        row(0x000d, "sect571k1", Classical, None, Standard, "RFC 8422"),
        row(0x000e, "sect571r1", Classical, None, Standard, "RFC 8422"),
        row(0x000f, "secp160k1", Classical, None, Standard, "RFC 8422"),
        row(0x0010, "secp160r1", Classical, None, Standard, "RFC 8422"),
        row(0x0011, "secp160r2", Classical, None, Standard, "RFC 8422"),
        row(0x0012, "secp192k1", Classical, None, Standard, "RFC 8422"),
        row(0x0013, "secp192r1", Classical, None, Standard, "RFC 8422"),
        row(0x0014, "secp224k1", Classical, None, Standard, "RFC 8422"),
        row(0x0015, "secp224r1", Classical, None, Standard, "RFC 8422"),
        row(0x0016, "secp256k1", Classical, None, Standard, "RFC 8422"),
        row(0x0017, "secp256r1", Classical, shares(65, 65), Standard, "RFC 8446"),
        row(0x0018, "secp384r1", Classical, shares(97, 97), Standard, "RFC 8446"),
        row(0x0019, "secp521r1", Classical, shares(133, 133), Standard, "RFC 8446"),
        row(0x001a, "brainpoolP256r1", Classical, None, Standard, "RFC 7027"),
        row(0x001b, "brainpoolP384r1", Classical, None, Standard, "RFC 7027"),
        row(0x001c, "brainpoolP512r1", Classical, None, Standard, "RFC 7027"),
        row(0x001d, "x25519", Classical, shares(32, 32), Standard, "RFC 8446"),
        row(0x001e, "x448", Classical, shares(56, 56), Standard, "RFC 8446"),
        row(0x001f, "brainpoolP256r1tls13", Classical, shares(65, 65), Standard, "RFC 8734"),
        row(0x0020, "brainpoolP384r1tls13", Classical, shares(97, 97), Standard, "RFC 8734"),
        row(0x0021, "brainpoolP512r1tls13", Classical, shares(129, 129), Standard, "RFC 8734"),
        row(0x0022, "GC256A", Classical, None, Standard, "RFC 9189"),
        row(0x0023, "GC256B", Classical, None, Standard, "RFC 9189"),
        row(0x0024, "GC256C", Classical, None, Standard, "RFC 9189"),
        row(0x0025, "GC256D", Classical, None, Standard, "RFC 9189"),
        row(0x0026, "GC512A", Classical, None, Standard, "RFC 9189"),
        row(0x0027, "GC512B", Classical, None, Standard, "RFC 9189"),
        row(0x0028, "GC512C", Classical, None, Standard, "RFC 9189"),
        row(0x0029, "curveSM2", Classical, shares(65, 65), Standard, "RFC 8998"),
        row(0x0100, "ffdhe2048", Classical, shares(256, 256), Standard, "RFC 7919"),
        row(0x0101, "ffdhe3072", Classical, shares(384, 384), Standard, "RFC 7919"),
        row(0x0102, "ffdhe4096", Classical, shares(512, 512), Standard, "RFC 7919"),
        row(0x0103, "ffdhe6144", Classical, shares(768, 768), Standard, "RFC 7919"),
        row(0x0104, "ffdhe8192", Classical, shares(1024, 1024), Standard, "RFC 7919"),
        row(0x0200, "MLKEM512", Pq, shares(800, 768), Standard, "draft-ietf-tls-mlkem"),
        row(0x0201, "MLKEM768", Pq, shares(1184, 1088), Standard, "draft-ietf-tls-mlkem"),
        row(0x0202, "MLKEM1024", Pq, shares(1568, 1568), Standard, "draft-ietf-tls-mlkem"),
        row(0x11eb, "SecP256r1MLKEM768", Hybrid, shares(1249, 1153), Standard, "draft-ietf-tls-ecdhe-mlkem"),
        row(0x11ec, "X25519MLKEM768", Hybrid, shares(1216, 1120), Standard, "draft-ietf-tls-ecdhe-mlkem"),
        row(0x11ed, "SecP384r1MLKEM1024", Hybrid, shares(1665, 1665), Standard, "draft-ietf-tls-ecdhe-mlkem"),
        row(
            0x11ee,
            "curveSM2MLKEM768",
            Hybrid,
            shares(1249, 1153),
            Standard,
            "draft-yang-tls-hybrid-sm2-mlkem",
        ),
        row(0x4138, "CECPQ2", Hybrid, None, Draft, "CECPQ2, an experiment of 2018"),
        row(
            0x6399,
            "X25519Kyber768Draft00",
            Hybrid,
            shares(1216, 1120),
            Draft,
            "draft-tls-westerbaan-xyber768d00",
        ),
        row(
            0x639a,
            "SecP256r1Kyber768Draft00",
            Hybrid,
            shares(1249, 1153),
            Draft,
            "draft-kwiatkowski-tls-ecdhe-kyber",
        ),
        row(0xff01, "arbitrary_explicit_prime_curves", Classical, None, Standard, "RFC 8422"),
        row(0xff02, "arbitrary_explicit_char2_curves", Classical, None, Standard, "RFC 8422"),
    ]
};

impl Group {
    fn row(self) -> Option<&'static GroupRow> {
        GROUPS.binary_search_by_key(&self.0, |row| row.number).ok().and_then(|at| GROUPS.get(at))
    }

    /// The registry's name, where a table has one.
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|row| row.name)
    }

    /// What the group protects against; a number in no table is `Unknown`, never `Classical`.
    pub fn class(self) -> KeyExchangeClass {
        self.row().map_or(KeyExchangeClass::Unknown, |row| row.class)
    }

    /// How settled the number is.
    pub fn status(self) -> Status {
        self.row().map_or(Status::Unknown, |row| row.status)
    }

    /// The RFC or draft that the row is made from.
    pub fn source(self) -> Option<&'static str> {
        self.row().map(|row| row.source)
    }

    /// Bytes of its key shares in TLS 1.3, where they are fixed: a share of another length shows that the number is not
    /// used as the table says.
    pub fn share_lengths(self) -> Option<ShareLengths> {
        self.row()?.shares
    }
}

/// The best class among what a client listed: hybrid before pq before classical, unknown groups last; `None` when it
/// listed nothing.
pub fn best_class(groups: impl IntoIterator<Item = Group>) -> Option<KeyExchangeClass> {
    groups.into_iter().map(Group::class).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_table_is_sorted_and_names_nothing_twice() {
        assert!(GROUPS.is_sorted_by(|a, b| a.number < b.number));
        let mut names: Vec<&str> = GROUPS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), GROUPS.len());
        assert!(GROUPS.iter().all(|row| !row.source.is_empty() && row.status != Status::Unknown));
    }

    #[test]
    fn a_hybrid_share_is_as_long_as_its_parts_together() {
        let hybrids = [
            (0x11eb, 0x0017, 0x0201),
            (0x11ec, 0x001d, 0x0201),
            (0x11ed, 0x0018, 0x0202),
            (0x11ee, 0x0029, 0x0201),
            // Kyber768 shares weigh what ML-KEM-768's do.
            (0x6399, 0x001d, 0x0201),
            (0x639a, 0x0017, 0x0201),
        ];
        for (hybrid, classical, kem) in hybrids {
            let lengths = |number| Group(number).share_lengths().unwrap();
            let (whole, first, second) = (lengths(hybrid), lengths(classical), lengths(kem));
            assert_eq!(whole.client, first.client + second.client, "{hybrid:#x}");
            assert_eq!(whole.server, first.server + second.server, "{hybrid:#x}");
            assert_eq!(Group(hybrid).class(), KeyExchangeClass::Hybrid);
        }
    }

    #[test]
    fn every_post_quantum_group_that_the_registry_holds_has_share_lengths() {
        let pq = |row: &&GroupRow| matches!(row.class, KeyExchangeClass::Hybrid | KeyExchangeClass::Pq);
        for row in GROUPS.iter().filter(pq).filter(|row| row.status == Status::Standard) {
            assert!(row.shares.is_some(), "{}", row.name);
        }
    }

    #[test]
    fn an_unknown_group_is_never_classical() {
        assert_eq!(Group(0x2f39).class(), KeyExchangeClass::Unknown);
        assert_eq!(Group(0x2f39).name(), None);
        assert_eq!(Group(0x2f39).share_lengths(), None);
        assert_eq!(Group(0x11ec).class(), KeyExchangeClass::Hybrid);
        assert_eq!(Group(0x0201).class(), KeyExchangeClass::Pq);
        assert_eq!(Group(0x6399).status(), Status::Draft);
    }

    #[test]
    fn the_best_offer_prefers_hybrid_over_pq_over_classical() {
        let class = |groups: &[u16]| best_class(groups.iter().map(|n| Group(*n)));
        assert_eq!(class(&[0x1d, 0x201, 0x11ec]), Some(KeyExchangeClass::Hybrid));
        assert_eq!(class(&[0x1d, 0x201]), Some(KeyExchangeClass::Pq));
        assert_eq!(class(&[0x2f39, 0x1d]), Some(KeyExchangeClass::Classical));
        assert_eq!(class(&[0x2f39]), Some(KeyExchangeClass::Unknown));
        assert_eq!(class(&[]), None);
    }
}
