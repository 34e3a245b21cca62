//! Captures for the tests: real handshakes from the lab, and blocks that the lab does not write.

use pqscope_lab::capture::{Endpoints, Format, Link, Packet, Session, Wire, encode};
use pqscope_lab::scenario::Scenario;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name in the ClientHello unless a test asks for another.
pub(crate) const SERVER_NAME: &str = "checkout.example";

/// What went by on a wire in one handshake.
pub(crate) fn packets(wire: &Wire, scenario: Scenario) -> Vec<Packet> {
    wire.packets(&wire.segments(&Session::of(scenario, SERVER_NAME).unwrap()))
}

/// A wire with this client port, so that several handshakes can stand in one capture.
pub(crate) fn wire(client_port: u16) -> Wire {
    let start = Wire::default().start + Duration::from_millis(u64::from(client_port % 1000));
    Wire { endpoints: Endpoints::v4(client_port), start, ..Wire::default() }
}

/// A capture of one completed hybrid handshake, as pcap with nanoseconds.
pub(crate) fn hybrid() -> Vec<u8> {
    encode(Format::Pcap, Link::Ethernet, &packets(&Wire::default(), Scenario::Hybrid))
}

/// Writes a file into a folder.
pub(crate) fn file(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A pcapng file, block by block.
#[derive(Debug)]
pub(crate) struct PcapNg(pub(crate) Vec<u8>);

impl PcapNg {
    /// A file with the head of one section.
    pub(crate) fn new() -> Self {
        let mut file = Self(Vec::new());
        file.section();
        file
    }

    /// A new section: interfaces count from zero again.
    pub(crate) fn section(&mut self) {
        let mut body = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        body.extend_from_slice(&[1, 0, 0, 0]);
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        self.block(0x0a0d_0d0a, &body);
    }

    /// An interface. `resolution` is the option's byte: a power of ten, or of two with the upper bit.
    pub(crate) fn interface(&mut self, link_number: u16, name: &str, resolution: u8) {
        let mut body = link_number.to_le_bytes().to_vec();
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&262_144_u32.to_le_bytes());
        option(&mut body, 2, name.as_bytes());
        option(&mut body, 9, &[resolution]);
        body.extend_from_slice(&[0; 4]);
        self.block(1, &body);
    }

    /// A packet of an interface at a time in that interface's units.
    pub(crate) fn packet(&mut self, interface: u32, units: u64, packet: &Packet) {
        let length = u32::try_from(packet.bytes.len()).unwrap().to_le_bytes();
        let mut body = interface.to_le_bytes().to_vec();
        body.extend_from_slice(&u32::try_from(units >> 32).unwrap().to_le_bytes());
        body.extend_from_slice(&u32::try_from(units & 0xffff_ffff).unwrap().to_le_bytes());
        body.extend_from_slice(&length);
        body.extend_from_slice(&length);
        body.extend_from_slice(&packet.bytes);
        self.block(6, &body);
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let total = u32::try_from(12 + padded).unwrap().to_le_bytes();
        self.0.extend_from_slice(&kind.to_le_bytes());
        self.0.extend_from_slice(&total);
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len() + padded - body.len(), 0);
        self.0.extend_from_slice(&total);
    }
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}
