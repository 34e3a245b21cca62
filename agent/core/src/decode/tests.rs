use super::*;
use crate::flow::sequence::Sequence;
use etherparse::PacketBuilder;
use proptest::prelude::*;
use std::net::IpAddr;

/// A TCP segment with five bytes of content, from 192.0.2.1:40000 to 192.0.2.2:443 where it is put in IPv4.
fn tcp() -> Vec<u8> {
    let mut header =
        vec![0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 7, 0, 0, 0, 99, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0];
    header.extend(b"hello");
    header
}

fn v4(protocol: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + content.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    packet.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    packet.extend(content);
    packet
}

fn v6(next: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    packet.extend([[0x20; 16], [0x30; 16]].concat());
    packet.extend(content);
    packet
}

fn udp(destination: u16, content: &[u8]) -> Vec<u8> {
    udp_between(50_000, destination, content)
}

fn udp_between(source: u16, destination: u16, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + content.len()).unwrap();
    let head: Vec<u8> = [source, destination, length, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    [&head, content].concat()
}

fn ethernet(kind: u16, content: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind.to_be_bytes(), content].concat()
}

/// IPv4 with UDP in it.
fn outer(destination: u16, content: &[u8]) -> Vec<u8> {
    v4(17, &udp(destination, content))
}

fn plain() -> Vec<u8> {
    v4(6, &tcp())
}

fn segment(packet: &[u8]) -> Result<Segment<'_>, Skip> {
    segment_of(LinkType::RawIp, packet)
}

fn segment_of(link: LinkType, frame: &[u8]) -> Result<Segment<'_>, Skip> {
    match decode(link, frame, frame.len())? {
        Decoded::Segment(segment) => Ok(segment),
        other => panic!("{other:?}"),
    }
}

fn tunnel(segment: &Segment<'_>) -> Vec<String> {
    segment.encapsulation.layers().map(|layer| layer.to_string()).collect()
}

#[track_caller]
fn assert_tunnel(packet: &[u8], expected: &[&str]) {
    let found = segment(packet).unwrap();
    assert_eq!(tunnel(&found), expected);
    assert_eq!((found.payload, found.payload_length), (&b"hello"[..], 5));
    assert_eq!((found.source_port, found.destination_port), (40_000, 443));
}

const VXLAN_42: [u8; 8] = [8, 0, 0, 0, 0, 0, 42, 0];

fn vxlan(network: u8, inner: &[u8]) -> Vec<u8> {
    outer(4789, &[&[8, 0, 0, 0, 0, 0, network, 0], inner].concat())
}

#[test]
fn ip_in_ip_of_all_four_kinds() {
    assert_tunnel(&v4(4, &plain()), &["ipip"]);
    assert_tunnel(&v4(41, &v6(6, &tcp())), &["6in4"]);
    assert_tunnel(&v6(4, &plain()), &["4in6"]);
    assert_tunnel(&v6(41, &v6(6, &tcp())), &["6in6"]);
    // A destination option with a tunnel's encapsulation limit (RFC 2473 section 4.1.1).
    let limited = [&[4, 0, 4, 1, 4, 1, 0, 0][..], &plain()].concat();
    assert_tunnel(&v6(60, &limited), &["4in6"]);
    assert_eq!(segment(&v4(4, &v6(6, &tcp()))).unwrap_err(), Skip::Malformed);
}

#[test]
fn vxlan_with_and_without_a_group() {
    let inner = ethernet(0x0800, &plain());
    assert_tunnel(&vxlan(42, &inner), &["vxlan:42"]);
    assert_tunnel(&outer(8472, &[&VXLAN_42, &inner[..]].concat()), &["vxlan:42"]);
    assert_tunnel(&outer(4789, &[&[0x88, 0x40, 1, 2, 0, 0, 42, 0], &inner[..]].concat()), &["vxlan:42"]);
    let tagged = ethernet(0x8100, &[&[0, 9, 8, 0], &plain()[..]].concat());
    assert_tunnel(&vxlan(42, &tagged), &["vxlan:42", "vlan:9"]);
    let twice = vxlan(7, &ethernet(0x0800, &vxlan(42, &inner)));
    assert_tunnel(&twice, &["vxlan:7", "vxlan:42"]);
}

#[test]
fn geneve_with_options_and_either_content() {
    let frame = ethernet(0x86dd, &v6(6, &tcp()));
    assert_tunnel(&outer(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 7, 0], &frame[..]].concat()), &["geneve:7"]);
    assert_tunnel(&outer(6081, &[&[0, 0, 8, 0, 1, 0, 7, 0], &plain()[..]].concat()), &["geneve:65543"]);
    // Eight bytes of options, critical ones among them.
    let options = [&[2, 0x40, 8, 0, 0, 0, 7, 0, 1, 2, 0x80, 1, 9, 9, 9, 9], &plain()[..]].concat();
    assert_tunnel(&outer(6081, &options), &["geneve:7"]);
}

#[test]
fn gtp_u_with_sequence_numbers_and_extension_headers() {
    let bare = [&[0x30, 255, 0, 45, 0, 0, 0, 5], &plain()[..]].concat();
    assert_tunnel(&outer(2152, &bare), &["gtpu:5"]);
    let numbered = [&[0x32, 255, 0, 49, 0, 0, 0, 5, 0, 1, 0, 0], &plain()[..]].concat();
    assert_tunnel(&outer(2152, &numbered), &["gtpu:5"]);
    // A container of a 5G session (type 0x85), then another header.
    let extended =
        [&[0x34, 255, 0, 57, 0, 0, 0, 5, 0, 0, 0, 0x85, 1, 0x10, 1, 0x20, 1, 0, 0, 0], &plain()[..]].concat();
    assert_tunnel(&outer(2152, &extended), &["gtpu:5"]);
    let mut endless = extended.clone();
    endless[12] = 0;
    assert_eq!(segment(&outer(2152, &endless)).unwrap_err(), Skip::Malformed);
}

#[test]
fn teredo_with_its_indications() {
    let mut inner = v6(6, &tcp());
    inner[8..12].copy_from_slice(&[0x20, 1, 0, 0]);
    assert_tunnel(&outer(3544, &inner), &["teredo"]);
    let origin = [&[0, 0, 1, 2, 3, 4, 5, 6], &inner[..]].concat();
    let authenticated = [&[0, 1, 0, 0][..], &[7; 9], &origin].concat();
    assert_tunnel(&v4(17, &udp_between(3544, 50_000, &authenticated)), &["teredo"]);
    assert_eq!(segment(&outer(3544, &v6(6, &tcp()))).unwrap_err(), Skip::NotTcp);
}

#[test]
fn what_is_no_tunnel_is_not_taken_for_one_by_its_port() {
    let query = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, b'w', b'w', b'w', 0, 0, 1, 0, 1];
    let quic_long: Vec<u8> = [&[0xc3, 0, 0, 0, 1, 8][..], &[7; 60]].concat();
    let quic_short: Vec<u8> = [&[0x48][..], &[0; 60]].concat();
    let echo_request = [0x32, 1, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0];
    for port in [4789, 8472, 6081, 2152, 3544, 53, 443] {
        for content in [&query[..], &quic_long, &quic_short, &echo_request, &[1, 2, 3]] {
            assert_eq!(segment(&outer(port, content)).unwrap_err(), Skip::NotTcp, "{port} {content:?}");
        }
    }
}

#[test]
fn vxlan_and_geneve_on_another_port_are_told_by_their_frame() {
    for inner in [ethernet(0x0800, &plain()), ethernet(0x86dd, &v6(6, &tcp()))] {
        assert_tunnel(&outer(7789, &[&VXLAN_42, &inner[..]].concat()), &["vxlan:42"]);
        let options = [1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 0];
        assert_tunnel(&outer(7789, &[&options, &inner[..]].concat()), &["geneve:7"]);
        // A length that does not fit, and a frame of something else.
        for longer in [[&VXLAN_42, &inner[..], &[0; 2]].concat(), [&VXLAN_42, &inner[1..]].concat()] {
            assert_eq!(segment(&outer(7789, &longer)).unwrap_err(), Skip::NotTcp);
        }
    }
}

#[test]
fn gre_with_every_field() {
    assert_tunnel(&v4(47, &[&[0, 0, 8, 0], &plain()[..]].concat()), &["gre"]);
    let full = [&[0xb0, 0, 8, 0, 1, 2, 0, 0, 0, 0, 0, 77, 0, 0, 0, 1], &plain()[..]].concat();
    assert_tunnel(&v6(47, &full), &["gre:77"]);
    let bridged = [&[0x20, 0, 0x65, 0x58, 0, 1, 0, 3], &ethernet(0x0800, &plain())[..]].concat();
    assert_tunnel(&v4(47, &bridged), &["gre:65539"]);
    let routed = [&[0x40, 0, 8, 0, 0, 0, 0, 0], &plain()[..]].concat();
    assert_eq!(segment(&v4(47, &routed)).unwrap_err(), Skip::NotTcp);
}

#[test]
fn mirrored_traffic_of_all_three_types() {
    let frame = ethernet(0x0800, &plain());
    assert_tunnel(&v4(47, &[&[0, 0, 0x88, 0xbe], &frame[..]].concat()), &["erspan:0"]);
    let second = [&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 9, 0, 0, 0, 0], &frame[..]].concat();
    assert_tunnel(&v4(47, &second), &["erspan:9"]);
    let head = [0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 5, 4, 9, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_tunnel(&v4(47, &[&head, &frame[..]].concat()), &["erspan:9"]);
    let mut with_more = [&head[..], &[0; 8], &frame].concat();
    with_more[19] = 1;
    assert_tunnel(&v4(47, &with_more), &["erspan:9"]);
}

#[test]
fn pptp_carries_ppp() {
    let length = u8::try_from(plain().len() + 4).unwrap();
    let data = [
        &[0x30, 0x81, 0x88, 0x0b, 0, length, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2],
        &[0xff, 3, 0, 0x21][..],
        &plain(),
    ];
    assert_tunnel(&v4(47, &data.concat()), &["gre:6"]);
    let compressed = [&[0x30, 1, 0x88, 0x0b, 0, length - 3, 0, 6, 0, 0, 0, 1][..], &[0x21], &plain()];
    assert_tunnel(&v4(47, &compressed.concat()), &["gre:6"]);
    let acknowledgment = [0x20, 0x81, 0x88, 0x0b, 0, 0, 0, 6, 0, 0, 0, 1];
    assert_eq!(segment(&v4(47, &acknowledgment)).unwrap_err(), Skip::NotTcp);
}

#[test]
fn mpls_tells_its_content_by_the_first_bits() {
    let stack = [0, 1, 0, 64, 0, 2, 1, 64];
    for (content, expected) in [
        (plain(), &["mpls:16", "mpls:32"][..]),
        (v6(6, &tcp()), &["mpls:16", "mpls:32"]),
        ([&[0; 4][..], &ethernet(0x0800, &plain())].concat(), &["mpls:16", "mpls:32"]),
        (ethernet(0x0800, &plain()), &["mpls:16", "mpls:32"]),
        // A frame whose first address looks like the version of IP.
        ([&[0x45; 12][..], &[8, 0], &plain()].concat(), &["mpls:16", "mpls:32"]),
        (ethernet(0x8100, &[&[0, 9, 8, 0], &plain()[..]].concat()), &["mpls:16", "mpls:32", "vlan:9"]),
    ] {
        let packet = [&stack[..], &content].concat();
        for kind in [0x8847, 0x8848] {
            let frame = ethernet(kind, &packet);
            let found = segment_of(LinkType::Ethernet, &frame).unwrap();
            assert_eq!(
                (tunnel(&found), found.payload),
                (expected.iter().map(ToString::to_string).collect(), &b"hello"[..])
            );
        }
        assert_tunnel(&v4(137, &packet), expected);
    }
    let channel = [&stack[..], &[0x10, 0, 0, 7, 1, 2, 3, 4]].concat();
    assert_eq!(segment_of(LinkType::Ethernet, &ethernet(0x8847, &channel)).unwrap_err(), Skip::NotIp);
}

#[test]
fn an_ip_packet_below_labels_is_one_whatever_its_addresses_look_like() {
    // As an Ethernet frame's type: MPLS, PPPoE, IPv4, a VLAN tag, IPv6.
    for source in [[136, 71, 1, 2], [136, 100, 17, 0], [8, 0, 70, 1], [129, 0, 0, 9], [134, 221, 96, 1]] {
        let mut inner = plain();
        inner[12..16].copy_from_slice(&source);
        assert_tunnel(&v4(137, &[&[0, 1, 1, 64], &inner[..]].concat()), &["mpls:16"]);
        // An acknowledgment alone is padded to the least length of a frame.
        let mut short = v4(6, &tcp()[..20]);
        short[12..16].copy_from_slice(&source);
        let frame = ethernet(0x8847, &[&[0, 1, 1, 64], &short[..], &[0; 2]].concat());
        let found = segment_of(LinkType::Ethernet, &frame).unwrap();
        assert_eq!((IpAddr::from(found.source), found.payload_length), (IpAddr::from(source), 0));
    }
    for part in [[0x88, 0x47, 0, 0], [0x88, 0x64, 0x11, 0], [8, 0, 0x45, 0], [0x86, 0xdd, 0x60, 0]] {
        let mut inner = v6(6, &tcp());
        inner[12..16].copy_from_slice(&part);
        assert_tunnel(&v4(137, &[&[0, 1, 1, 64], &inner[..]].concat()), &["mpls:16"]);
    }
}

#[test]
fn pppoe_sessions_are_followed_and_their_padding_is_no_payload() {
    let length = u8::try_from(plain().len() + 2).unwrap();
    let mut frame = ethernet(0x8864, &[&[0x11, 0, 0, 5, 0, length, 0, 0x21], &plain()[..]].concat());
    frame.extend([0; 9]);
    let found = segment_of(LinkType::Ethernet, &frame).unwrap();
    assert_eq!((tunnel(&found), found.payload), (vec!["pppoe:5".to_owned()], &b"hello"[..]));
    // Link control, and an advertisement.
    frame[21] = 0xc0;
    assert_eq!(segment_of(LinkType::Ethernet, &frame).unwrap_err(), Skip::NotIp);
    frame[15] = 7;
    assert_eq!(segment_of(LinkType::Ethernet, &frame).unwrap_err(), Skip::NotIp);
}

#[test]
fn ppp_links_with_and_without_hdlc() {
    for head in [&[0, 0x21][..], &[0x21], &[0xff, 3, 0, 0x21], &[0xff, 3, 0x21], &[0x0f, 0, 8, 0]] {
        let frame = [head, &plain()].concat();
        assert_eq!(segment_of(LinkType::Ppp, &frame).unwrap().payload, b"hello", "{head:?}");
    }
    assert_eq!(LinkType::from_number(9), Some(LinkType::Ppp));
    assert_eq!(LinkType::from_number(50), Some(LinkType::Ppp));
}

#[test]
fn nesting_is_followed_to_the_bound_and_no_further() {
    let mut packet = plain();
    for depth in 1..=Encapsulation::MAX_DEPTH + 1 {
        packet = if depth % 2 == 0 { v4(4, &packet) } else { vxlan(1, &ethernet(0x0800, &packet)) };
        match segment(&packet) {
            Ok(found) => assert_eq!(tunnel(&found).len(), depth),
            Err(skip) => assert_eq!((skip, depth), (Skip::TooDeep, Encapsulation::MAX_DEPTH + 1)),
        }
    }
}

#[test]
fn framings_of_ppp_within_each_other_are_not_followed_for_ever() {
    let deep = [0x0f, 0, 0x88, 0x0b].repeat(16_375);
    let packet = v4(47, &[&[0, 0, 0x88, 0x0b], &deep[..4 * 16_370]].concat());
    assert_eq!(segment(&packet).unwrap_err(), Skip::NotIp);
    assert_eq!(segment_of(LinkType::Ppp, &deep).unwrap_err(), Skip::NotIp);
    assert_eq!(segment_of(LinkType::Ethernet, &ethernet(0x880b, &deep)).unwrap_err(), Skip::NotIp);
    // Once is what there is.
    let once = [&[0, 0, 0x88, 0x0b, 0x0f, 0, 8, 0], &plain()[..]].concat();
    assert_tunnel(&v4(47, &once), &["gre"]);
}

#[test]
fn fragment_headers_in_a_quote_are_not_followed_for_ever() {
    let header = |next: u8| [next, 0, 0, 1, 0, 0, 0, 7];
    let deep = header(44).repeat(8_000);
    assert_eq!(quote(&too_big_v6(&v6(44, &deep))).unwrap_err(), Skip::TooDeep);
    assert!(quote(&too_big_v6(&v6(44, &[&header(6), &tcp()[..]].concat()))).is_ok());
}

#[test]
fn whatever_header_repeats_comes_to_an_end() {
    // Every framing that may hold itself, as often as a packet has room.
    let label = [0, 1, 0, 64];
    let tag = [0, 5, 0x81, 0];
    let session = [0x11, 0, 0, 5, 0xff, 0xff, 0, 0x21];
    let bridged = [&[2; 12][..], &[0x81, 0, 0, 5, 0x81, 0]].concat();
    for (kind, unit) in [
        (0x8847, &label[..]),
        (0x8100, &tag),
        (0x8864, &session),
        (0x6558, &bridged),
        (0x880b, &[0xff, 3]),
        (0x880b, &[0x0f, 0, 0x81, 0, 0, 5, 0x88, 0x0b]),
        (0x880b, &[0x0f, 0, 0x88, 0x47, 0, 1, 1, 64]),
    ] {
        let content = unit.repeat(65_000 / unit.len());
        let bytes = v4(47, &[&[0, 0][..], &u16::to_be_bytes(kind), &content].concat());
        assert!(segment(&bytes).is_err(), "{kind:x}");
        assert!(segment_of(LinkType::Ethernet, &ethernet(kind, &content)).is_err(), "{kind:x}");
    }
    for next in [0, 43, 44, 51, 60, 135, 139, 140] {
        let length = u8::from(next == 51) * 4;
        let content = [next, length, 0, 0, 0, 0, 0, 0].repeat(8_000);
        assert!(segment(&v6(next, &content)).is_err(), "{next}");
        assert!(segment(&too_big_v6(&v6(next, &content[..60_000]))).is_err(), "{next}");
    }
}

#[test]
fn a_frame_cut_within_a_tunnel_tells_its_length_on_the_wire() {
    let mut packet = tcp();
    packet.extend([7; 1000]);
    let packet = vxlan(1, &ethernet(0x0800, &v4(6, &packet)));
    let Decoded::Segment(found) = decode(LinkType::RawIp, &packet[..200], packet.len()).unwrap() else {
        panic!()
    };
    assert_eq!((found.payload.len(), found.payload_length), (200 - 20 - 8 - 8 - 14 - 20 - 20, 1005));
    assert_eq!(decode(LinkType::RawIp, &packet[..60], packet.len()).unwrap_err(), Skip::TruncatedHeader);
}

fn quote(packet: &[u8]) -> Result<Quote, Skip> {
    match decode(LinkType::RawIp, packet, packet.len())? {
        Decoded::TooBig(quote) => Ok(quote),
        other => panic!("{other:?}"),
    }
}

/// "Fragmentation needed" of the path's next link with 1,400 bytes.
fn too_big_v4(quoted: &[u8]) -> Vec<u8> {
    v4(1, &[&[3, 4, 0, 0, 0, 0, 5, 0x78], quoted].concat())
}

fn too_big_v6(quoted: &[u8]) -> Vec<u8> {
    v6(58, &[&[2, 0, 0, 0, 0, 0, 5, 0x78], quoted].concat())
}

#[test]
fn a_quote_of_eight_bytes_names_its_segment() {
    for (message, length) in [(too_big_v4(&plain()[..28]), 28), (too_big_v6(&v6(6, &tcp())[..48]), 48)] {
        let found = quote(&message).unwrap();
        assert_eq!((found.source_port, found.destination_port, found.sequence), (40_000, 443, Sequence(7)));
        assert!(found.encapsulation.is_empty());
        if length == 28 {
            assert_eq!(IpAddr::from(found.source), IpAddr::from([192, 0, 2, 1]));
            assert_eq!(IpAddr::from(found.destination), IpAddr::from([192, 0, 2, 2]));
        }
        let cut = &message[..message.len() - 1];
        assert_eq!(quote(cut).unwrap_err(), Skip::TruncatedHeader);
    }
}

#[test]
fn a_quote_may_be_in_a_tunnel_and_hold_one() {
    let within = vxlan(9, &ethernet(0x0800, &too_big_v4(&plain()[..28])));
    let found = quote(&within).unwrap();
    assert_eq!(found.encapsulation.layers().collect::<Vec<_>>(), [Layer::Vxlan(9)]);
    let quoted = vxlan(42, &ethernet(0x0800, &plain()));
    let found = quote(&too_big_v4(&quoted[..quoted.len() - 17])).unwrap();
    assert_eq!(found.encapsulation.layers().collect::<Vec<_>>(), [Layer::Vxlan(42)]);
    assert_eq!(found.sequence, Sequence(7));
    // Cut before the inner header there is nothing to match.
    assert_eq!(quote(&too_big_v4(&quoted[..28])).unwrap_err(), Skip::TruncatedHeader);
}

#[test]
fn a_quote_of_a_first_fragment_counts_and_of_a_later_one_does_not() {
    let mut quoted = plain();
    quoted[6] = 0x20;
    assert!(quote(&too_big_v4(&quoted)).is_ok());
    quoted[7] = 1;
    assert_eq!(quote(&too_big_v4(&quoted)).unwrap_err(), Skip::NotTcp);
}

#[test]
fn other_messages_are_passed_by() {
    let mut unreachable = too_big_v4(&plain());
    unreachable[21] = 1;
    assert_eq!(quote(&unreachable).unwrap_err(), Skip::NotTcp);
    let mut expired = too_big_v6(&v6(6, &tcp()));
    expired[40] = 3;
    assert_eq!(quote(&expired).unwrap_err(), Skip::NotTcp);
    assert_eq!(quote(&too_big_v4(&too_big_v4(&plain()))).unwrap_err(), Skip::NotTcp);
}

#[test]
fn fragments_are_handed_on_with_their_place() {
    let mut packet = plain();
    packet[6..8].copy_from_slice(&[0x20, 3]);
    let Ok(Decoded::Fragment(found)) = decode(LinkType::RawIp, &packet, packet.len()) else { panic!() };
    assert_eq!((found.identification, found.offset, found.more, found.protocol), (1, 24, true, 6));
    assert_eq!((found.bytes, found.length), (&tcp()[..], 25));
    let header = [6, 0, 0, 0x19, 0, 1, 0, 2];
    let packet = v4(41, &v6(44, &[&header, &tcp()[..]].concat()));
    let Ok(Decoded::Fragment(found)) = decode(LinkType::RawIp, &packet, packet.len()) else { panic!() };
    assert_eq!((found.identification, found.offset, found.more, found.protocol), (65_538, 24, true, 6));
    assert_eq!(found.encapsulation.layers().collect::<Vec<_>>(), [Layer::SixInFour]);
}

fn ethernet_v4(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .tcp(40000, 443, 7, 1000)
        .ack(99);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

fn insert(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    [&frame[..at], bytes, &frame[at..]].concat()
}

#[test]
fn a_plain_segment_keeps_every_field() {
    let frame = ethernet_v4(b"hello");
    let segment = segment_of(LinkType::Ethernet, &frame).unwrap();
    assert_eq!(IpAddr::from(segment.source), IpAddr::from([192, 0, 2, 1]));
    assert_eq!((segment.source_port, segment.destination_port), (40000, 443));
    assert_eq!((segment.sequence, segment.acknowledgment), (Sequence(7), Some(Sequence(99))));
    assert_eq!((segment.payload, segment.payload_length), (&b"hello"[..], 5));
}

#[test]
fn ethernet_padding_is_no_payload() {
    let mut frame = ethernet_v4(b"");
    frame.extend([0; 6]);
    assert_eq!(segment_of(LinkType::Ethernet, &frame).unwrap().payload_length, 0);
}

#[test]
fn a_total_length_of_zero_reaches_to_the_frame_end() {
    let mut frame = ethernet_v4(&[9; 3000]);
    frame[16..18].copy_from_slice(&[0, 0]);
    assert_eq!(segment_of(LinkType::Ethernet, &frame).unwrap().payload.len(), 3000);
}

#[test]
fn a_cut_frame_tells_its_length_on_the_wire() {
    let frame = ethernet_v4(&[9; 1000]);
    let Decoded::Segment(segment) = decode(LinkType::Ethernet, &frame[..200], frame.len()).unwrap() else {
        panic!()
    };
    assert_eq!((segment.payload.len(), segment.payload_length), (200 - 54, 1000));
    assert_eq!(decode(LinkType::Ethernet, &frame[..40], frame.len()).unwrap_err(), Skip::TruncatedHeader);
}

#[test]
fn vlan_tags_are_kept_outside_in_up_to_the_bound() {
    let mut frame = ethernet_v4(b"x");
    frame = insert(&frame, 12, &[0x88, 0xa8, 0x20, 10, 0x81, 0x00, 0x00, 20]);
    let segment = segment_of(LinkType::Ethernet, &frame).unwrap();
    let layers: Vec<String> = segment.encapsulation.layers().map(|l| l.to_string()).collect();
    assert_eq!(layers, ["vlan:10", "vlan:20"]);
    for _ in 0..7 {
        frame = insert(&frame, 12, &[0x81, 0x00, 0x00, 1]);
    }
    assert_eq!(decode(LinkType::Ethernet, &frame, frame.len()).unwrap_err(), Skip::TooDeep);
}

#[test]
fn every_link_type_leads_to_the_same_segment() {
    let ethernet = ethernet_v4(b"hello");
    let packet = &ethernet[14..];
    let frames = [
        (LinkType::RawIp, packet.to_vec()),
        (LinkType::Ppp, [&[0, 0x21], packet].concat()),
        (LinkType::Loopback, [&[2, 0, 0, 0], packet].concat()),
        (LinkType::LinuxSll, [&[0; 14][..], &[8, 0], packet].concat()),
        (LinkType::LinuxSll2, [&[8, 0][..], &[0; 18], packet].concat()),
    ];
    for (link, frame) in frames {
        let segment = segment_of(link, &frame).unwrap();
        assert_eq!(segment.payload, b"hello", "{link:?}");
    }
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let mut frame = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(1, 2, 3, 4).write(&mut frame, b"hi").unwrap();
    let plain = segment_of(LinkType::RawIp, &frame).unwrap();
    assert_eq!(plain.payload, b"hi");
    // A hop-by-hop header and an atomic fragment header before TCP.
    let mut extended = insert(&frame, 40, &[44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 1]);
    extended[6] = 0;
    extended[5] += 16;
    assert_eq!(segment_of(LinkType::RawIp, &extended).unwrap().payload, b"hi");
    extended[51] = 1;
    let found = decode(LinkType::RawIp, &extended, extended.len());
    assert!(matches!(found, Ok(Decoded::Fragment(fragment)) if fragment.more), "{found:?}");
}

const LINKS: [LinkType; 6] = [
    LinkType::Ethernet,
    LinkType::Loopback,
    LinkType::RawIp,
    LinkType::LinuxSll,
    LinkType::LinuxSll2,
    LinkType::Ppp,
];

/// Bytes with one more header before them, by a number.
fn wrapped(kind: u8, content: &[u8]) -> Vec<u8> {
    let frame = ethernet(0x0800, content);
    match kind {
        0 => v4(4, content),
        1 => v4(41, &v6(4, content)),
        2 => v4(47, &[&[0, 0, 8, 0], content].concat()),
        3 => v4(47, &[&[0x30, 0, 0x65, 0x58, 0, 0, 0, 1, 0, 0, 0, 2], &frame[..]].concat()),
        4 => vxlan(1, &frame),
        5 => outer(6081, &[&[1, 0, 8, 0, 0, 0, 7, 0, 1, 2, 3, 0], content].concat()),
        6 => v4(137, &[&[0, 1, 1, 64], content].concat()),
        7 => too_big_v4(content),
        8 => v4(47, &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 9, 0, 0, 0, 0], &frame[..]].concat()),
        _ => {
            let length = u16::try_from(content.len() + 4).unwrap().to_be_bytes();
            let head = [0x34, 255, length[0], length[1], 0, 0, 0, 5, 0, 0, 0, 0];
            outer(2152, &[&head, content].concat())
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(link in 0..6usize, bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = decode(LINKS[link], &bytes, bytes.len() + 7);
    }

    #[test]
    fn damaged_segments_are_read_without_panic(at in 0..59usize, value: u8, keep in 0..59usize) {
        let mut frame = ethernet_v4(b"hello");
        frame[at] = value;
        let _ = decode(LinkType::Ethernet, &frame[..keep], frame.len());
    }

    #[test]
    fn any_nesting_leads_to_the_segment_and_no_damage_to_a_panic(
        kinds in proptest::collection::vec((0..10u8).prop_filter("no message", |kind| *kind != 7), 0..5),
        at: proptest::sample::Index,
        value: u8,
        keep: proptest::sample::Index,
    ) {
        let mut packet = kinds.iter().fold(plain(), |content, kind| wrapped(*kind, &content));
        prop_assert_eq!(segment(&packet).unwrap().payload, b"hello");
        let place = at.index(packet.len());
        packet[place] = value;
        let _ = decode(LinkType::RawIp, &packet[..keep.index(packet.len())], packet.len());
    }

    #[test]
    fn any_bytes_within_tunnels_are_read_without_panic(
        kinds in proptest::collection::vec(0..10u8, 0..9),
        bytes in proptest::collection::vec(any::<u8>(), 0..90),
    ) {
        let packet = kinds.iter().fold(bytes, |content, kind| wrapped(*kind, &content));
        let _ = decode(LinkType::RawIp, &packet, packet.len());
    }
}
