//! What a capture does to finished packets: the same one twice, padding, checksums that were never filled in.

use super::frame::{Link, Packet};
use std::time::Duration;

/// Every packet twice, the copy right behind it and the same to the last bit.
pub fn captured_twice(packets: &[Packet]) -> Vec<Packet> {
    packets.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect()
}

/// Every packet as the interface `any` sees one that crosses two of its interfaces: first as one that came in, and
/// `later` as one that goes out, with one hop less to live. Only cooked captures tell the two apart.
pub fn forwarded(link: Link, packets: &[Packet], later: Duration) -> Vec<Packet> {
    let mut out = Vec::with_capacity(2 * packets.len());
    for packet in packets {
        let mut copy = Packet { at: packet.at + later, ..packet.clone() };
        let (direction, ip) = match link {
            Link::LinuxCooked => (Some(1), 16),
            Link::LinuxCooked2 => (Some(10), 20),
            Link::Ethernet => (None, 14),
            Link::Null | Link::Loop => (None, 4),
            Link::RawIp => (None, 0),
        };
        let mut first = packet.clone();
        if let Some(at) = direction {
            set(&mut first.bytes, at, |_| 0);
            set(&mut copy.bytes, at, |_| 4);
        }
        lose_a_hop(&mut copy.bytes, ip);
        out.extend([first, copy]);
    }
    out.sort_by_key(|packet| packet.at);
    out
}

/// Ethernet frames padded to the least that Ethernet carries (60 bytes without the check sequence), with filler that
/// is not zero.
pub fn padded(packets: &[Packet]) -> Vec<Packet> {
    let pad = |packet: &Packet| {
        let mut packet = packet.clone();
        let length = packet.bytes.len().max(60);
        packet.bytes.resize(length, 0x16);
        packet.original_length = packet.original_length.max(60);
        packet
    };
    packets.iter().map(pad).collect()
}

/// TCP checksums as a sender leaves them that has its network card fill them in: wrong. For IPv4 and IPv6 on Ethernet.
pub fn without_checksums(packets: &[Packet]) -> Vec<Packet> {
    let spoil = |packet: &Packet| {
        let mut packet = packet.clone();
        let ip_header = if packet.bytes.get(12..14) == Some(&[0x86, 0xdd]) { 40 } else { 20 };
        for at in [16, 17] {
            set(&mut packet.bytes, 14 + ip_header + at, |byte| byte ^ 0x5a);
        }
        packet
    };
    packets.iter().map(spoil).collect()
}

/// Takes one from the time to live, and mends the header's checksum (RFC 1624).
fn lose_a_hop(bytes: &mut [u8], ip: usize) {
    if bytes.get(ip).is_some_and(|first| first >> 4 == 6) {
        set(bytes, ip + 7, |hops| hops.wrapping_sub(1));
        return;
    }
    set(bytes, ip + 8, |hops| hops.wrapping_sub(1));
    let sum = bytes.get(ip + 10..).and_then(|rest| rest.first_chunk::<2>());
    let sum = sum.map(|sum| u32::from(u16::from_be_bytes(*sum)));
    let mended = sum.map(|sum| (sum + 0x100) % 0xffff).and_then(|sum| u16::try_from(sum).ok());
    if let (Some(mended), Some(place)) = (mended, bytes.get_mut(ip + 10..ip + 12)) {
        place.copy_from_slice(&mended.to_be_bytes());
    }
}

fn set(bytes: &mut [u8], at: usize, change: impl Fn(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = change(*byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Session, Wire};
    use crate::scenario::Scenario;

    fn packets(link: Link) -> Vec<Packet> {
        let wire = Wire { link, ..Wire::default() };
        wire.packets(&wire.segments(&Session::of(Scenario::X25519, "service.example").unwrap()))
    }

    #[test]
    fn a_forwarded_packet_is_the_same_but_for_its_way() {
        let plain = packets(Link::LinuxCooked);
        let twice = forwarded(Link::LinuxCooked, &plain, Duration::from_micros(1));
        assert_eq!(twice.len(), 2 * plain.len());
        assert_eq!((twice[0].bytes[1], twice[1].bytes[1]), (0, 4));
        assert_eq!((twice[0].bytes[24], twice[1].bytes[24]), (64, 63));
        assert_eq!(twice[0].bytes[36..], twice[1].bytes[36..], "TCP stays as it was");
        let sum: u32 = twice[1].bytes[16..36].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the header's checksum holds");
    }

    #[test]
    fn padding_and_checksums_change_no_length() {
        let plain = packets(Link::Ethernet);
        assert!(padded(&plain).iter().all(|packet| packet.bytes.len() >= 60));
        let spoilt = without_checksums(&plain);
        assert!(spoilt.iter().zip(&plain).all(|(a, b)| a != b && a.bytes.len() == b.bytes.len()));
    }
}
