//! Packets in tunnels, and in fragments, as a capture between the tunnel's ends sees them.

use super::frame::{Packet, checksum};

/// What to put around packets. Where the two directions of a tunnel have numbers of their own in the wild (GTP-U, GRE
/// keys, MPLS labels, call ids), they have them here too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrapper {
    /// An IEEE 802.1Q tag.
    Vlan(u16),
    /// VXLAN with this network identifier.
    Vxlan(u32),
    /// Geneve with this network identifier, and Ethernet in it.
    Geneve(u32),
    /// Geneve with this network identifier and options, and IP in it.
    GeneveIp(u32),
    /// GRE without optional fields.
    Gre,
    /// GRE with checksum, sequence number and a key that differs by direction.
    GreFull,
    /// NVGRE with this virtual subnet.
    Nvgre(u32),
    /// Mirrored traffic, type II.
    Erspan(u16),
    /// PPTP: GRE version 1, and PPP in it.
    Pptp,
    /// IP in IPv4.
    InIpv4,
    /// IP in IPv6.
    InIpv6,
    /// GTP-U with a sequence number.
    Gtpu,
    /// Labels of MPLS: two towards the server, one towards the client.
    Mpls,
    /// An MPLS pseudowire with a control word.
    Pseudowire,
    /// A PPPoE session.
    Pppoe(u16),
}

impl Wrapper {
    /// One of each.
    pub const ALL: [Self; 15] = [
        Self::Vlan(10),
        Self::Vxlan(42),
        Self::Geneve(7),
        Self::GeneveIp(8),
        Self::Gre,
        Self::GreFull,
        Self::Nvgre(9),
        Self::Erspan(3),
        Self::Pptp,
        Self::InIpv4,
        Self::InIpv6,
        Self::Gtpu,
        Self::Mpls,
        Self::Pseudowire,
        Self::Pppoe(5),
    ];

    /// The entries of a record's `tunnel` for the client's packets.
    pub fn tunnel(self, inner_is_v6: bool) -> Vec<String> {
        let one = |text: &str| vec![text.to_owned()];
        match self {
            Self::Vlan(id) => vec![format!("vlan:{id}")],
            Self::Vxlan(id) => vec![format!("vxlan:{id}")],
            Self::Geneve(id) | Self::GeneveIp(id) => vec![format!("geneve:{id}")],
            Self::Gre => one("gre"),
            Self::GreFull => one("gre:1001"),
            Self::Nvgre(id) => vec![format!("gre:{}", (id << 8) | 1)],
            Self::Erspan(id) => vec![format!("erspan:{id}")],
            Self::Pptp => one("gre:1001"),
            Self::InIpv4 => one(if inner_is_v6 { "6in4" } else { "ipip" }),
            Self::InIpv6 => one(if inner_is_v6 { "6in6" } else { "4in6" }),
            Self::Gtpu => one("gtpu:1001"),
            Self::Mpls => vec!["mpls:1001".to_owned(), "mpls:77".to_owned()],
            Self::Pseudowire => one("mpls:1001"),
            Self::Pppoe(id) => vec![format!("pppoe:{id}")],
        }
    }
}

const LINK_HEADER: usize = 14;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Ethernet packets in a tunnel between two other hosts; lengths on the wire grow by what is put around. What carries
/// whole frames, or names their EtherType, takes any packet; [`Wrapper::InIpv4`], [`Wrapper::InIpv6`], [`Wrapper::Pptp`],
/// [`Wrapper::Pppoe`], [`Wrapper::Gtpu`] and [`Wrapper::Mpls`] need IP right behind the Ethernet header.
pub fn encapsulate(packets: &[Packet], wrapper: Wrapper) -> Vec<Packet> {
    packets.iter().map(|packet| wrapped(packet, wrapper)).collect()
}

/// A packet that is being taken apart, or built from the inside out.
struct Parts<'a> {
    addresses: &'a [u8],
    /// EtherType of the content.
    kind: u16,
    content: &'a [u8],
    /// The content's length on the wire.
    length: usize,
    /// A number that differs by direction.
    number: u32,
}

fn wrapped(packet: &Packet, wrapper: Wrapper) -> Packet {
    let bytes = packet.bytes.as_slice();
    let kind = u16::from_be_bytes([byte(bytes, 12), byte(bytes, 13)]);
    // The lab's client has an address that ends in 1.
    let from_client = byte(bytes, 11) == 1;
    let parts = Parts {
        addresses: bytes.get(..12).unwrap_or_default(),
        kind,
        content: bytes.get(LINK_HEADER..).unwrap_or_default(),
        length: packet.original_length.saturating_sub(LINK_HEADER),
        number: if from_client { 1001 } else { 2002 },
    };
    let (kind, header, whole_frame) = around(&parts, wrapper, from_client);
    let content = if whole_frame { bytes } else { parts.content };
    let out = [parts.addresses, &kind.to_be_bytes(), &header, content].concat();
    let added = out.len() - bytes.len();
    Packet { at: packet.at, bytes: out, original_length: packet.original_length + added }
}

/// EtherType and headers to put before the content, and whether that is the whole frame rather than what is in it.
fn around(parts: &Parts<'_>, wrapper: Wrapper, from_client: bool) -> (u16, Vec<u8>, bool) {
    let number = parts.number.to_be_bytes();
    let protocol = parts.kind.to_be_bytes();
    let ppp: [u8; 2] = if parts.kind == IPV6 { [0, 0x57] } else { [0, 0x21] };
    let frame = parts.length + LINK_HEADER;
    let network = |id: u32| [id.to_be_bytes().get(1..).unwrap_or_default(), &[0]].concat();
    let gre = |header: Vec<u8>, length: usize| in_ipv4(47, &header, length, from_client);
    match wrapper {
        Wrapper::Vlan(id) => (0x8100, [id.to_be_bytes(), protocol].concat(), false),
        Wrapper::Vxlan(id) => {
            let header = [&[8, 0, 0, 0][..], &network(id)].concat();
            (IPV4, in_udp(4789, &header, frame, from_client), true)
        }
        Wrapper::Geneve(id) => {
            let header = [&[0, 0, 0x65, 0x58][..], &network(id)].concat();
            (IPV4, in_udp(6081, &header, frame, from_client), true)
        }
        Wrapper::GeneveIp(id) => {
            let header = [&[2, 0][..], &protocol, &network(id), &[1, 2, 3, 1, 9, 9, 9, 9]].concat();
            (IPV4, in_udp(6081, &header, parts.length, from_client), false)
        }
        Wrapper::Gre => (IPV4, gre([&[0, 0][..], &protocol].concat(), parts.length), false),
        Wrapper::GreFull => {
            let header = [&[0xb0, 0][..], &protocol, &[0; 4], &number, &[0, 0, 0, 1]].concat();
            (IPV4, gre(header, parts.length), false)
        }
        Wrapper::Nvgre(id) => {
            let key = ((id << 8) | (if from_client { 1 } else { 2 })).to_be_bytes();
            (IPV4, gre([&[0x20, 0, 0x65, 0x58][..], &key].concat(), frame), true)
        }
        Wrapper::Erspan(id) => {
            let head = [0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1];
            (IPV4, gre([&head[..], &(id & 0x3ff).to_be_bytes(), &[0; 4]].concat(), frame), true)
        }
        Wrapper::Pptp => {
            let length = u16::try_from(parts.length + 4).unwrap_or(u16::MAX).to_be_bytes();
            let header =
                [&[0x30, 1, 0x88, 0x0b][..], &length, number.get(2..).unwrap_or_default(), &[0, 0, 0, 1]];
            (IPV4, gre([&header.concat()[..], &[0xff, 3], &ppp].concat(), parts.length), false)
        }
        Wrapper::InIpv4 => {
            let protocol = if parts.kind == IPV6 { 41 } else { 4 };
            (IPV4, in_ipv4(protocol, &[], parts.length, from_client), false)
        }
        Wrapper::InIpv6 => {
            let next = if parts.kind == IPV6 { 41 } else { 4 };
            (IPV6, in_ipv6(next, parts.length, from_client), false)
        }
        Wrapper::Gtpu => {
            let length = u16::try_from(parts.length + 4).unwrap_or(u16::MAX).to_be_bytes();
            let header = [&[0x32, 255][..], &length, &number, &[0, 1, 0, 0]].concat();
            (IPV4, in_udp(2152, &header, parts.length, from_client), false)
        }
        Wrapper::Mpls if from_client => {
            (0x8847, [label(parts.number, false), label(77, true)].concat(), false)
        }
        Wrapper::Mpls => (0x8847, label(78, true).to_vec(), false),
        Wrapper::Pseudowire => (0x8847, [label(parts.number, true), [0; 4]].concat(), true),
        Wrapper::Pppoe(id) => {
            let length = u16::try_from(parts.length + 2).unwrap_or(u16::MAX).to_be_bytes();
            (0x8864, [&[0x11, 0][..], &id.to_be_bytes(), &length, &ppp].concat(), false)
        }
    }
}

fn label(number: u32, bottom: bool) -> [u8; 4] {
    ((number << 12) | (u32::from(bottom) << 8) | 64).to_be_bytes()
}

fn in_udp(port: u16, header: &[u8], content: usize, from_client: bool) -> Vec<u8> {
    let length = u16::try_from(8 + header.len() + content).unwrap_or(u16::MAX);
    let head: Vec<u8> = [50_000, port, length, 0].into_iter().flat_map(u16::to_be_bytes).collect();
    in_ipv4(17, &[&head, header].concat(), content, from_client)
}

/// An IPv4 header and what follows it before `content` bytes more.
fn in_ipv4(protocol: u8, header: &[u8], content: usize, from_client: bool) -> Vec<u8> {
    let total = u16::try_from(20 + header.len() + content).unwrap_or(u16::MAX).to_be_bytes();
    let hosts = [[203, 0, 113, 1], [203, 0, 113, 2]];
    let [from, to] = if from_client { hosts } else { [hosts[1], hosts[0]] };
    let head = [0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, protocol];
    let sum = checksum(&[&head, &from, &to]).to_be_bytes();
    [&head[..], &sum, &from, &to, header].concat()
}

fn in_ipv6(next: u8, content: usize, from_client: bool) -> Vec<u8> {
    let length = u16::try_from(content).unwrap_or(u16::MAX).to_be_bytes();
    let host = |last| [0x20, 1, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let [from, to] = if from_client { [host(1), host(2)] } else { [host(2), host(1)] };
    [&[0x60, 0, 0, 0][..], &length, &[next, 64], &from, &to].concat()
}

/// Ethernet packets whose outer IP packet is cut into fragments of at most `size` bytes of content each (rounded down to
/// a multiple of eight); the fragments share the time of the whole. Packets that fit, that are no IP, or that the capture
/// cut, stay as they are.
pub fn fragment(packets: &[Packet], size: usize) -> Vec<Packet> {
    let size = (size / 8).max(1) * 8;
    packets
        .iter()
        .zip(1_u32..)
        .flat_map(|(packet, number)| pieces(packet, size, number).unwrap_or_else(|| vec![packet.clone()]))
        .collect()
}

fn pieces(packet: &Packet, size: usize, number: u32) -> Option<Vec<Packet>> {
    let bytes = packet.bytes.as_slice();
    let (link, rest) = bytes.split_at_checked(LINK_HEADER)?;
    let is_v6 = match link.get(12..)? {
        [8, 0] => false,
        [0x86, 0xdd] => true,
        _ => return None,
    };
    let (header, content) = rest.split_at_checked(if is_v6 { 40 } else { 20 })?;
    if content.len() <= size || packet.original_length != bytes.len() {
        return None;
    }
    let mut out = Vec::new();
    for (index, piece) in content.chunks(size).enumerate() {
        let offset = u16::try_from(index * size).ok()?;
        let more = usize::from(offset) + piece.len() < content.len();
        let header = if is_v6 {
            v6_header(header, piece.len(), offset, more, number)?
        } else {
            v4_header(header, piece.len(), offset, more, number)?
        };
        let bytes = [link, &header, piece].concat();
        out.push(Packet { at: packet.at, original_length: bytes.len(), bytes });
    }
    Some(out)
}

fn v4_header(whole: &[u8], length: usize, offset: u16, more: bool, number: u32) -> Option<Vec<u8>> {
    let total = u16::try_from(20 + length).ok()?.to_be_bytes();
    let identification = number.to_be_bytes();
    let place = ((offset / 8) | (u16::from(more) << 13)).to_be_bytes();
    let head = [whole.get(..2)?, &total, identification.get(2..)?, &place, whole.get(8..10)?].concat();
    let addresses = whole.get(12..20)?;
    let sum = checksum(&[&head, addresses]).to_be_bytes();
    Some([&head[..], &sum, addresses].concat())
}

fn v6_header(whole: &[u8], length: usize, offset: u16, more: bool, number: u32) -> Option<Vec<u8>> {
    let total = u16::try_from(8 + length).ok()?.to_be_bytes();
    let place = (offset | u16::from(more)).to_be_bytes();
    let (next, hops) = (*whole.get(6)?, *whole.get(7)?);
    let head =
        [whole.get(..4)?, &total, &[44, hops], whole.get(8..40)?, &[next, 0], &place, &number.to_be_bytes()];
    Some(head.concat())
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Endpoints, Session, Wire};
    use crate::scenario::Scenario;

    fn packets(endpoints: Endpoints) -> Vec<Packet> {
        let session = Session::run(&Scenario::Hybrid.plan(), "checkout.example").unwrap();
        let wire = Wire { endpoints, ..Wire::default() };
        wire.packets(&wire.segments(&session))
    }

    #[test]
    fn what_is_wrapped_stands_at_the_end_of_every_packet() {
        for plain in [packets(Endpoints::v4(40_000)), packets(Endpoints::v6(40_000))] {
            for wrapper in Wrapper::ALL {
                let outer = encapsulate(&plain, wrapper);
                assert_eq!(outer.len(), plain.len());
                for (packet, inner) in outer.iter().zip(&plain) {
                    assert!(packet.bytes.ends_with(&inner.bytes[14..]), "{wrapper:?}");
                    assert!(packet.bytes.len() > inner.bytes.len(), "{wrapper:?}");
                    assert_eq!(packet.original_length, packet.bytes.len(), "{wrapper:?}");
                }
            }
        }
    }

    #[test]
    fn outer_ipv4_headers_have_their_length_and_checksum() {
        for wrapper in Wrapper::ALL {
            for packet in encapsulate(&packets(Endpoints::v4(40_000)), wrapper) {
                if packet.bytes[12..14] == [8, 0] {
                    let total = usize::from(u16::from_be_bytes([packet.bytes[16], packet.bytes[17]]));
                    assert_eq!(total, packet.bytes.len() - 14, "{wrapper:?}");
                    assert_eq!(checksum(&[&packet.bytes[14..34]]), 0, "{wrapper:?}");
                }
            }
        }
    }

    #[test]
    fn fragments_together_hold_what_the_packet_held() {
        for (endpoints, header) in [(Endpoints::v4(40_000), 34), (Endpoints::v6(40_000), 62)] {
            let plain = packets(endpoints);
            for packet in &plain {
                let pieces = fragment(std::slice::from_ref(packet), 200);
                if pieces.len() == 1 {
                    assert_eq!(&pieces[0], packet);
                    continue;
                }
                let joined: Vec<u8> =
                    pieces.iter().flat_map(|piece| piece.bytes[header..].to_vec()).collect();
                assert!(packet.bytes.ends_with(&joined) && joined.len() > packet.bytes.len() - 60);
                assert!(pieces.iter().all(|piece| piece.bytes.len() <= header + 200));
            }
            assert!(fragment(&plain, 200).len() > plain.len());
        }
    }
}
