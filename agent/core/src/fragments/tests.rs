use super::*;
use crate::decode::{LinkType, decode};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

/// A TCP segment with this much content.
fn tcp(content: usize) -> Vec<u8> {
    let mut bytes = vec![0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 7, 0, 0, 0, 99, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0];
    bytes.extend((0..content).map(|n| u8::try_from(n * 7 % 251).unwrap()));
    bytes
}

/// A piece of an IPv4 packet with this number.
fn v4(identification: u16, offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    let total = u16::try_from(20 + bytes.len()).unwrap().to_be_bytes();
    let place = (u16::try_from(offset / 8).unwrap() | (u16::from(more) << 13)).to_be_bytes();
    let [high, low] = identification.to_be_bytes();
    let head = [0x45, 0, total[0], total[1], high, low, place[0], place[1], 64, 6, 0, 0];
    [&head[..], &[192, 0, 2, 1, 192, 0, 2, 2], bytes].concat()
}

fn v6(identification: u32, offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + bytes.len()).unwrap().to_be_bytes();
    let place = (u16::try_from(offset).unwrap() | u16::from(more)).to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], 44, 64];
    let next = if offset == 0 { 6 } else { 17 };
    [
        &head[..],
        &[0x20; 16],
        &[0x30; 16],
        &[next, 0, place[0], place[1]],
        &identification.to_be_bytes(),
        bytes,
    ]
    .concat()
}

type Make = fn(bool, u16, usize, bool, &[u8]) -> Vec<u8>;

const MAKE: Make = |is_v6, number, offset, more, bytes| {
    if is_v6 { v6(number.into(), offset, more, bytes) } else { v4(number, offset, more, bytes) }
};

/// The pieces of a packet, of at most `size` bytes.
fn pieces(is_v6: bool, number: u16, whole: &[u8], size: usize) -> Vec<Vec<u8>> {
    let cuts = whole.chunks(size).enumerate();
    cuts.map(|(n, bytes)| MAKE(is_v6, number, n * size, (n * size + bytes.len()) < whole.len(), bytes))
        .collect()
}

struct Room {
    fragments: Fragments,
    now: u64,
    /// Contents of the packets that became whole.
    whole: Vec<Vec<u8>>,
}

impl Room {
    fn new() -> Self {
        Self { fragments: Fragments::default(), now: SECOND, whole: Vec::new() }
    }

    fn take(&mut self, packet: &[u8]) -> &mut Self {
        self.take_cut(packet, packet.len(), PathId(0))
    }

    fn take_cut(&mut self, packet: &[u8], keep: usize, path: PathId) -> &mut Self {
        let Ok(Decoded::Fragment(fragment)) = decode(LinkType::RawIp, &packet[..keep], packet.len()) else {
            panic!("no fragment");
        };
        if let Some(whole) = self.fragments.add(&fragment, path, self.now) {
            match whole.decode() {
                Ok(Decoded::Segment(segment)) => {
                    assert_eq!((segment.source_port, segment.destination_port), (40_000, 443));
                    self.whole.push(segment.payload.to_vec());
                }
                other => panic!("{other:?}"),
            }
        }
        self
    }

    fn take_all<'a>(&mut self, packets: impl IntoIterator<Item = &'a Vec<u8>>) -> &mut Self {
        packets.into_iter().for_each(|packet| {
            self.take(packet);
        });
        self
    }

    fn skipped(&self, skip: Skip) -> u64 {
        self.fragments.counts().skipped[skip.index()]
    }

    /// The room after the end of the capture: everything is accounted for.
    fn finish(&mut self) -> &mut Self {
        self.fragments.finish();
        assert_eq!(
            (self.fragments.bytes(), self.fragments.entries.len(), self.fragments.order.len()),
            (0, 0, 0)
        );
        self
    }
}

fn content(length: usize) -> Vec<u8> {
    tcp(length)[20..].to_vec()
}

#[test]
fn pieces_in_any_order_make_the_packet() {
    for is_v6 in [false, true] {
        let forward = pieces(is_v6, 1, &tcp(1000), 400);
        let backward: Vec<_> = forward.iter().rev().cloned().collect();
        for packets in [forward, backward] {
            let mut room = Room::new();
            room.take_all(&packets).finish();
            assert_eq!(room.whole, [content(1000)]);
            assert_eq!(room.fragments.counts().reassembled, 1);
        }
    }
}

#[test]
fn packets_with_interleaved_pieces_are_kept_apart() {
    let one = pieces(false, 1, &tcp(900), 304);
    let other = pieces(false, 2, &tcp(1000), 304);
    let mut room = Room::new();
    for (a, b) in one.iter().zip(&other) {
        room.take(a).take(b);
    }
    assert_eq!(room.whole, [content(900), content(1000)]);
}

#[test]
fn the_same_number_in_two_networks_is_two_packets() {
    let packets = pieces(false, 1, &tcp(900), 600);
    let mut room = Room::new();
    for path in [PathId(1), PathId(2)] {
        room.take_cut(&packets[0], packets[0].len(), path);
    }
    assert!(room.whole.is_empty());
    for path in [PathId(1), PathId(2)] {
        room.take_cut(&packets[1], packets[1].len(), path);
    }
    assert_eq!(room.whole.len(), 2);
}

#[test]
fn pieces_seen_twice_change_nothing() {
    for is_v6 in [false, true] {
        let mut room = Room::new();
        for packet in pieces(is_v6, 1, &tcp(1000), 400) {
            room.take(&packet).take(&packet);
        }
        room.finish();
        assert_eq!(room.whole, [content(1000)]);
        // The copy of the last piece came after the packet was whole.
        assert_eq!(room.fragments.counts().copies, 1);
        assert_eq!(room.fragments.counts().skipped, [0; Skip::ALL.len()]);
    }
}

#[test]
fn a_number_used_again_is_another_packet() {
    let mut room = Room::new();
    room.take_all(&pieces(false, 1, &tcp(1000), 400));
    room.now += SECOND;
    room.take_all(&pieces(false, 1, &tcp(500), 400));
    assert_eq!(room.whole, [content(1000), content(500)]);
    room.finish();
}

#[test]
fn a_number_used_again_before_its_packet_was_whole_mixes_nothing() {
    let mut new = tcp(1000);
    new[20..].reverse();
    let old = pieces(false, 4242, &tcp(900), 600);
    let new_pieces = pieces(false, 4242, &new, 600);
    for (after, reversed, lost) in [
        // The old packet has been given up by then.
        (13 * SECOND, false, 1),
        (13 * SECOND, true, 1),
        // It has not, but its beginning is another one's.
        (3 * SECOND, false, 1),
    ] {
        let mut room = Room::new();
        room.take(&old[0]);
        room.now += after;
        let mut packets = new_pieces.clone();
        if reversed {
            packets.reverse();
        }
        room.take_all(&packets);
        assert_eq!(room.whole, [new[20..].to_vec()], "{after} {reversed}");
        assert_eq!(room.skipped(Skip::Fragment), lost);
        room.finish();
        assert_eq!(room.skipped(Skip::Fragment), lost);
    }
}

#[test]
fn a_copy_that_was_cut_elsewhere_is_of_the_same_packet() {
    let packets = pieces(false, 1, &tcp(1000), 600);
    let mut room = Room::new();
    room.take(&packets[0]).take_cut(&packets[0], 100, PathId(0)).take(&packets[1]).finish();
    assert_eq!(room.whole, [content(1000)]);
}

#[test]
fn of_overlapping_bytes_in_ipv4_the_first_stand() {
    let whole = tcp(100);
    let mut forged = whole[16..80].to_vec();
    forged.fill(0xee);
    let mut room = Room::new();
    room.take(&v4(1, 0, true, &whole[..48])).take(&v4(1, 64, true, &whole[64..96]));
    // Over the end of the first, a hole of its own, and the beginning of the second: what it fills is the hole.
    room.take(&v4(1, 16, true, &forged)).take(&v4(1, 96, false, &whole[96..]));
    let mut expected = whole[20..].to_vec();
    expected[28..44].fill(0xee);
    assert_eq!(room.whole, [expected]);
}

#[test]
fn ipv6_packets_with_overlapping_pieces_are_dropped_whole() {
    let whole = tcp(100);
    let mut room = Room::new();
    room.take(&v6(1, 0, true, &whole[..48])).take(&v6(1, 40, true, &whole[40..96]));
    room.take(&v6(1, 48, true, &whole[48..96])).take(&v6(1, 96, false, &whole[96..]));
    room.finish();
    assert!(room.whole.is_empty());
    assert_eq!(room.skipped(Skip::FragmentOverlap), 4);
    // Another content at the same place is no copy.
    let mut room = Room::new();
    room.take(&v6(1, 0, true, &whole[..48])).take(&v6(1, 0, true, &[9; 48]));
    assert_eq!(room.skipped(Skip::FragmentOverlap), 2);
}

#[test]
fn a_packet_whose_pieces_never_all_come_is_counted() {
    for (is_v6, missing, limit) in [(false, 0, 5), (false, 1, 5), (false, 2, 5), (true, 1, 30)] {
        let packets = pieces(is_v6, 1, &tcp(1000), 400);
        let mut room = Room::new();
        room.take_all(packets.iter().enumerate().filter(|(n, _)| *n != missing).map(|(_, packet)| packet));
        room.fragments.advance(room.now + limit * SECOND);
        assert_eq!(room.skipped(Skip::Fragment), 0);
        room.fragments.advance(room.now + limit * SECOND + 1);
        assert_eq!(room.skipped(Skip::Fragment), 2);
        assert_eq!(room.fragments.bytes(), 0);
        // The last piece comes too late.
        room.take(&packets[missing]).finish();
        assert!(room.whole.is_empty());
        assert_eq!(room.skipped(Skip::Fragment), 3);
    }
}

#[test]
fn pieces_that_contradict_are_left_out() {
    let whole = tcp(100);
    let mut room = Room::new();
    // Not a multiple of eight, empty, beyond the largest packet, and two ends.
    room.take(&v4(1, 0, true, &whole[..47])).take(&v4(1, 0, true, &[])).take(&v4(1, 65_528, false, &whole));
    room.take(&v4(1, 96, false, &whole[96..])).take(&v4(1, 96, false, &whole[100..]));
    room.take(&v4(1, 120, true, &whole[..8]));
    assert_eq!(room.skipped(Skip::Malformed), 5);
    room.take(&v4(1, 0, true, &whole[..96]));
    assert_eq!(room.whole, [content(100)]);
}

#[test]
fn a_cut_piece_ends_what_is_known_of_the_packet() {
    let packets = pieces(false, 1, &tcp(1000), 400);
    let mut fragments = Fragments::default();
    let mut whole = None;
    for packet in &packets {
        let kept = &packet[..packet.len().min(300)];
        let Ok(Decoded::Fragment(fragment)) = decode(LinkType::RawIp, kept, packet.len()) else { panic!() };
        whole = whole
            .or(fragments.add(&fragment, PathId(0), 0).map(|whole| (whole.payload.clone(), whole.length)));
    }
    assert_eq!(whole, Some((tcp(1000)[..280].to_vec(), 1020)));
}

#[test]
fn the_bounds_hold_and_the_oldest_give_way() {
    let mut room = Room::new();
    let big = vec![7; 60_000];
    for number in 0..500_u16 {
        room.take(&v4(number, 8, true, &big));
        assert!(room.fragments.bytes() <= Fragments::MAX_BYTES);
    }
    assert!(room.skipped(Skip::FragmentEvicted) > 400);
    // The newest still is there.
    let kept = room.fragments.entries.keys().map(|key| key.identification).min();
    assert!(kept > Some(400), "{kept:?}");
    room.finish();
    let counts = room.fragments.counts();
    assert_eq!(counts.skipped.iter().sum::<u64>(), 500);

    let mut room = Room::new();
    for number in 0..20_000_u32 {
        room.take(&v6(number, 0, true, &[7; 8]));
        assert!(room.fragments.entries.len() <= Fragments::MAX_PACKETS);
        assert!(room.fragments.bytes() <= Fragments::MAX_BYTES);
    }
    room.finish();
    assert_eq!(room.fragments.counts().skipped.iter().sum::<u64>(), 20_000);
}

#[test]
fn a_packet_of_too_many_pieces_is_given_up() {
    let mut room = Room::new();
    for n in 0..2 * Fragments::MAX_PIECES {
        // Every other place: nothing joins.
        room.take(&v4(1, 16 * n, true, &[7; 8]));
    }
    assert_eq!(room.skipped(Skip::FragmentEvicted), 2 * Fragments::MAX_PIECES as u64);
    room.finish();
}

proptest! {
    #[test]
    fn any_order_of_pieces_and_copies_gives_the_packet(
        is_v6: bool,
        length in 30..2000usize,
        eighths in 3..60usize,
        order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..80),
    ) {
        let packets = pieces(is_v6, 1, &tcp(length), eighths * 8);
        prop_assume!(packets.len() > 1);
        let mut room = Room::new();
        for index in &order {
            room.take(&packets[index.index(packets.len())]);
        }
        room.take_all(&packets).finish();
        prop_assert_eq!(&room.whole, &vec![content(length)]);
        prop_assert_eq!(room.fragments.counts().skipped, [0; Skip::ALL.len()]);
    }

    #[test]
    fn any_pieces_are_taken_within_the_bounds_and_counted(
        pieces in proptest::collection::vec((any::<bool>(), 0..3u16, 0..64usize, any::<bool>(), 0..90usize), 0..60),
    ) {
        let (mut fragments, mut whole, mut taken) = (Fragments::default(), 0, 0);
        for (is_v6, number, eighth, more, length) in pieces {
            let packet = MAKE(is_v6, number, eighth * 8, more, &vec![0x50; length]);
            let Ok(Decoded::Fragment(fragment)) = decode(LinkType::RawIp, &packet, packet.len()) else { continue };
            taken += 1;
            whole += fragments.add(&fragment, PathId(0), 0).map_or(0, |whole| whole.pieces);
        }
        fragments.finish();
        let counts = fragments.counts();
        prop_assert_eq!(counts.skipped.iter().sum::<u64>() + counts.copies + whole, taken);
        prop_assert_eq!(fragments.bytes(), 0);
    }
}
