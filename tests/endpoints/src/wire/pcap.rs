//! Reads classic capture files of Ethernet frames as tcpdump writes them here: bytes enter, TCP segments over IPv4 leave.

use anyhow::{Result, bail};

/// Address and port.
pub(crate) type End = ([u8; 4], u16);

/// One TCP segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment<'a> {
    /// Position in the file, from 1.
    pub(crate) packet: usize,
    /// Sender.
    pub(crate) from: End,
    /// Receiver.
    pub(crate) to: End,
    /// First sequence number; that of the SYN where there is one.
    pub(crate) sequence: u32,
    /// SYN was set.
    pub(crate) syn: bool,
    /// ACK was set.
    pub(crate) ack: bool,
    /// FIN was set.
    pub(crate) fin: bool,
    /// RST was set.
    pub(crate) reset: bool,
    /// Payload.
    pub(crate) data: &'a [u8],
}

/// All segments of a file.
pub(crate) fn segments(bytes: &[u8]) -> Result<Vec<Segment<'_>>> {
    let little = match bytes.get(..4) {
        Some([0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => true,
        Some([0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d]) => false,
        _ => bail!("no capture file"),
    };
    let number = |at: usize| {
        let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(four) } else { u32::from_be_bytes(four) })
    };
    if number(20) != Some(1) {
        bail!("not a capture of Ethernet frames");
    }
    let (mut at, mut packet, mut found) = (24, 0, Vec::new());
    while let Some(length) = number(at + 8) {
        let Some(frame) = bytes.get(at + 16..at + 16 + length as usize) else { break };
        at += 16 + length as usize;
        packet += 1;
        found.extend(segment(frame, packet));
    }
    Ok(found)
}

fn segment(frame: &[u8], packet: usize) -> Option<Segment<'_>> {
    let (ethernet, ip) = frame.split_at_checked(14)?;
    if ethernet.get(12..14)? != [8, 0] || *ip.get(9)? != 6 {
        return None;
    }
    let total = usize::from(short(ip, 2)?);
    let tcp = ip.get(usize::from(ip.first()? & 15) * 4..total)?;
    let flags = *tcp.get(13)?;
    Some(Segment {
        packet,
        from: (ip.get(12..16)?.try_into().ok()?, short(tcp, 0)?),
        to: (ip.get(16..20)?.try_into().ok()?, short(tcp, 2)?),
        sequence: u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?),
        syn: flags & 2 != 0,
        ack: flags & 16 != 0,
        fin: flags & 1 != 0,
        reset: flags & 4 != 0,
        data: tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?,
    })
}

/// Two bytes as a number.
pub(crate) fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
