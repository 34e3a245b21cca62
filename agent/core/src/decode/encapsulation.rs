//! What was around a packet, outside in.
//!
//! Two questions are asked of an encapsulation. What is *shown* is every layer with its number, as the first packet of
//! a connection had it. What tells connections *apart* ([`Encapsulation::identity`]) is less: only the numbers that
//! divide address spaces and are the same in both directions, which are VLAN id, network identifier (VXLAN, Geneve,
//! NVGRE) and PPPoE session. The same endpoints in two of those are two connections.
//!
//! The others are left out, for a connection whose two directions had different keys would fall in two halves: tunnel
//! endpoints of GTP-U and call ids of PPTP are chosen by the receiver; GRE keys and ERSPAN sessions may differ by
//! direction; an MPLS label means something to the next router only, and the last router but one takes it off; a tag
//! with VLAN id 0 gives a priority and no VLAN; a load balancer sends requests on in IP-in-IP, GRE or the like, and the
//! server answers its client directly. For the same reason outer IP addresses are no part of it: the two directions may
//! take different paths.
//!
//! A host whose interfaces show a packet both inside its tunnel and after it sees one connection where the tunnel is one
//! of those others, and two where its layer divides address spaces: nothing in the packet after it says where it was.

use super::skip::Skip;
use std::fmt;

/// One encapsulation around a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Layer {
    /// No layer: the place is free.
    #[default]
    None,
    /// An IEEE 802.1Q or 802.1ad tag with its VLAN id.
    Vlan(u16),
    /// VXLAN (RFC 7348) with its network identifier.
    Vxlan(u32),
    /// Geneve (RFC 8926) with its network identifier.
    Geneve(u32),
    /// GRE (RFC 2784) without a key.
    Gre,
    /// GRE with a key (RFC 2890), or with the call id of PPTP (RFC 2637).
    GreKey(u32),
    /// Ethernet in GRE with a key: NVGRE (RFC 7637), whose virtual subnet is the upper 24 bits of the key.
    Nvgre(u32),
    /// Mirrored traffic in GRE, with the session's number; type I has none.
    Erspan(u16),
    /// IPv4 in IPv4 (RFC 2003).
    IpInIp,
    /// IPv6 in IPv4 (RFC 4213).
    SixInFour,
    /// IPv4 in IPv6 (RFC 2473).
    FourInSix,
    /// IPv6 in IPv6 (RFC 2473).
    SixInSix,
    /// GTP-U (3GPP TS 29.281) with the receiver's tunnel endpoint.
    Gtpu(u32),
    /// One entry of an MPLS label stack (RFC 3032) with its label.
    Mpls(u32),
    /// A PPPoE session (RFC 2516) with its number.
    Pppoe(u16),
    /// IPv6 in UDP (RFC 4380).
    Teredo,
}

impl Layer {
    /// The part that tells connections apart, if any.
    const fn identity(self) -> Option<Self> {
        match self {
            Self::Vlan(0) => None,
            Self::Vlan(_) | Self::Vxlan(_) | Self::Geneve(_) | Self::Pppoe(_) => Some(self),
            // The lower eight bits are a hash of the flow.
            Self::Nvgre(key) => Some(Self::Nvgre(key & 0xffff_ff00)),
            Self::None
            | Self::Gre
            | Self::GreKey(_)
            | Self::Erspan(_)
            | Self::IpInIp
            | Self::SixInFour
            | Self::FourInSix
            | Self::SixInSix
            | Self::Gtpu(_)
            | Self::Mpls(_)
            | Self::Teredo => None,
        }
    }

    /// [`Layer::identity`] as a number, another one for every layer.
    fn word(self) -> Option<u64> {
        let (kind, number) = match self.identity()? {
            Self::Vlan(id) => (1, u32::from(id)),
            Self::Vxlan(network) => (2, network),
            Self::Geneve(network) => (3, network),
            Self::Pppoe(session) => (4, u32::from(session)),
            Self::Nvgre(key) => (5, key),
            _ => return None,
        };
        Some((kind << 32) | u64::from(number))
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Vlan(id) => write!(f, "vlan:{id}"),
            Self::Vxlan(id) => write!(f, "vxlan:{id}"),
            Self::Geneve(id) => write!(f, "geneve:{id}"),
            Self::Gre => f.write_str("gre"),
            Self::GreKey(key) | Self::Nvgre(key) => write!(f, "gre:{key}"),
            Self::Erspan(session) => write!(f, "erspan:{session}"),
            Self::IpInIp => f.write_str("ipip"),
            Self::SixInFour => f.write_str("6in4"),
            Self::FourInSix => f.write_str("4in6"),
            Self::SixInSix => f.write_str("6in6"),
            Self::Gtpu(endpoint) => write!(f, "gtpu:{endpoint}"),
            Self::Mpls(label) => write!(f, "mpls:{label}"),
            Self::Pppoe(session) => write!(f, "pppoe:{session}"),
            Self::Teredo => f.write_str("teredo"),
        }
    }
}

/// Encapsulations outside in, at most [`Encapsulation::MAX_DEPTH`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Encapsulation {
    layers: [Layer; Self::MAX_DEPTH],
}

impl Encapsulation {
    /// Deeper nesting is passed by and counted ([`Skip::TooDeep`]).
    pub const MAX_DEPTH: usize = 8;

    /// Whether the packet stood alone.
    pub const fn is_empty(&self) -> bool {
        matches!(self.layers[0], Layer::None)
    }

    /// The layers outside in.
    pub fn layers(&self) -> impl Iterator<Item = Layer> {
        self.layers.into_iter().filter(|layer| *layer != Layer::None)
    }

    /// What of it tells connections apart, as a number; equal for both directions of one, and 0 for nothing.
    ///
    /// One layer has a number that no other single one has. Of several it is a hash without a key, the same in every
    /// run: two stacks share one by a chance of 1 in 2^64.
    pub fn identity(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        self.layers().filter_map(Layer::word).fold(0, |above, word| mixed(above ^ word))
    }

    pub(super) fn push(&mut self, layer: Layer) -> Result<(), Skip> {
        let free = self.layers.iter_mut().find(|slot| **slot == Layer::None).ok_or(Skip::TooDeep)?;
        *free = layer;
        Ok(())
    }
}

/// Spreads a number over 64 bits; no two come to the same one (the finaliser of SplitMix64).
const fn mixed(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(layers: &[Layer]) -> Encapsulation {
        let mut encapsulation = Encapsulation::default();
        layers.iter().for_each(|layer| encapsulation.push(*layer).unwrap());
        encapsulation
    }

    #[test]
    fn numbers_that_differ_by_direction_tell_nothing_apart() {
        let there = around(&[Layer::Vlan(7), Layer::Mpls(16), Layer::Mpls(17), Layer::Gtpu(1)]);
        let back = around(&[Layer::Vlan(7), Layer::Gtpu(2)]);
        assert_eq!(there.identity(), back.identity());
        assert_eq!(around(&[Layer::Gre, Layer::IpInIp, Layer::GreKey(4), Layer::Erspan(1)]).identity(), 0);
    }

    #[test]
    fn numbers_of_networks_tell_connections_apart() {
        for (one, other) in [
            (Layer::Vlan(1), Layer::Vlan(2)),
            (Layer::Vxlan(1), Layer::Vxlan(2)),
            (Layer::Vxlan(1), Layer::Geneve(1)),
            (Layer::Geneve(1), Layer::Geneve(2)),
            (Layer::Pppoe(1), Layer::Pppoe(2)),
            (Layer::Nvgre(0x100), Layer::Nvgre(0x200)),
        ] {
            assert_ne!(around(&[one]).identity(), around(&[other]).identity(), "{one:?} {other:?}");
        }
        assert_eq!(around(&[Layer::Nvgre(0x101)]).identity(), around(&[Layer::Nvgre(0x102)]).identity());
    }

    #[test]
    fn stacks_of_networks_are_told_apart_by_every_layer_and_their_order() {
        let numbers = 0..40_u16;
        let pairs = numbers.clone().flat_map(|a| numbers.clone().map(move |b| (a, b)));
        let stacks = pairs.flat_map(|(a, b)| {
            let vlans = [Layer::Vlan(a), Layer::Vlan(b)];
            let mixed = [Layer::Vlan(a + 1), Layer::Vxlan(b.into())];
            [around(&vlans), around(&mixed), around(&[mixed[1], mixed[0]])]
        });
        let found: std::collections::HashSet<u64> = stacks.map(|stack| stack.identity()).collect();
        // VLAN 0 is none, so that (0, n) and (n, 0) are one network.
        assert_eq!(found.len(), 3 * 1600 - 39);
    }

    #[test]
    fn the_bound_holds() {
        let mut full = around(&[Layer::Mpls(1); Encapsulation::MAX_DEPTH]);
        assert_eq!(full.push(Layer::Gre), Err(Skip::TooDeep));
        assert_eq!(full.layers().count(), Encapsulation::MAX_DEPTH);
    }
}
