//! Whole frames: encapsulations, fragments, messages of routers.

use super::flow::{bounded, feed};
use super::input::Input;
use super::reading::LINKS;
use crate::observer::{InterfaceId, Observer, Packet, Settings};
use crate::time::Timestamp;

const MOST_FRAMES: usize = 400;

/// Frames, each behind one byte of link type and two of length, to an observer: whatever is around a packet, and pieces of
/// packets.
///
/// # Panics
/// Where unfinished packets take more than their bound, or packets are not all accounted for.
pub fn frames(input: &[u8]) {
    let mut input = Input(input);
    let mut observer = Observer::new(Settings::default());
    for number in 0..MOST_FRAMES {
        let (Some(link), Some(length)) = (input.byte(), input.number()) else { break };
        let bytes = input.bytes(usize::from(length));
        let link = LINKS.get(usize::from(link) % LINKS.len()).copied().unwrap_or(LINKS[0]);
        observer.packet(&packet(link, number, bytes));
        assert!(observer.health().fragment_bytes <= crate::fragments::Fragments::MAX_BYTES);
    }
    observer.finish();
    while observer.next_observation().is_some() {}
    assert_eq!(observer.health().flows, 0);
}

fn packet(link: crate::decode::LinkType, number: usize, bytes: &[u8]) -> Packet<'_> {
    Packet {
        link,
        at: Timestamp::from_nanos(1_000_000_000 + number as u64 * 1_000_000),
        interface: InterfaceId::default(),
        bytes,
        wire_length: bytes.len(),
    }
}

/// One byte for the version of IP, one for the length of a conversation's beginning, that beginning as for the observer's
/// target, then messages of ICMP, each behind two bytes of length.
///
/// # Panics
/// Where more messages count for a connection than there were.
pub fn icmp(input: &[u8]) {
    let mut input = Input(input);
    let (Some(version), Some(length)) = (input.byte(), input.number()) else { return };
    let mut observer = bounded();
    let beginning = input.bytes(usize::from(length));
    let _ = feed(beginning, &mut observer);
    let mut messages = 0;
    for number in 0..MOST_FRAMES {
        let Some(length) = input.number() else { break };
        let message = input.bytes(usize::from(length));
        let frame = if version & 1 == 0 { ipv4(message) } else { ipv6(message) };
        observer.packet(&packet(crate::decode::LinkType::RawIp, number, &frame));
        messages += 1;
    }
    observer.finish();
    while let Some(seen) = observer.next_observation() {
        assert!(seen.path.too_big <= messages, "{} of {messages}", seen.path.too_big);
    }
}

fn ipv4(payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let header = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 1, 0, 0, 10, 9, 9, 9, 10, 0, 0, 1];
    [&header[..], payload].concat()
}

fn ipv6(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[0x60, 0, 0, 0, length[0], length[1], 58, 64][..], &[1; 16], &[2; 16], payload].concat()
}
