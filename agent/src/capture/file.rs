//! Capture files: pcap and pcapng, gzip-compressed or not, from a path or from standard input.
//!
//! A damaged or cut file gives everything that stands before the damage, and then an error that names the place.

use flate2::read::MultiGzDecoder;
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use pqscope_agent_core::decode::LinkType;
use pqscope_agent_core::time::Timestamp;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes read at a time: more than the largest packet that capture programs usually write (256 KiB).
const BUFFER_BYTES: usize = 1 << 20;

/// Bytes that one packet may take; more is taken for damage.
const MAX_PACKET_BYTES: usize = 16 << 20;

/// Bytes looked at to tell the format; the reader wants the first block in one piece.
const FIRST_BYTES: usize = 4096;

/// Why a capture file could not be read, or not further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot open: {0}")]
    Open(#[source] io::Error),
    #[error("cannot read: {0}")]
    Read(#[source] io::Error),
    #[error("the file is empty")]
    Empty,
    #[error(
        "not a capture file: it begins with neither the pcap nor the pcapng magic number \
         (capture with `tcpdump -w FILE`, or convert with `editcap IN OUT.pcap`)"
    )]
    NotACapture,
    #[error("link type {0} cannot be decoded; known are {known}", known = LinkType::KNOWN)]
    UnknownLinkType(u32),
    #[error("interface {interface} counts time in units that cannot be read (if_tsresol {code:#04x})")]
    Resolution { interface: usize, code: u8 },
    #[error("{packets} packets name interface {interface}, which the file does not describe")]
    UndescribedInterface { interface: usize, packets: u64 },
    #[error("the file is cut off within a packet, at byte {offset}; {packets} packets before it were read")]
    Cut { offset: usize, packets: u64 },
    #[error("the file is damaged at byte {offset}; {packets} packets before it were read")]
    Damaged { offset: usize, packets: u64 },
}

/// A frame of a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) link: LinkType,
    pub(crate) at: Timestamp,
    /// Name of the interface, where the file says one.
    pub(crate) interface: Option<&'a str>,
    /// Number of the interface within the file.
    pub(crate) interface_number: usize,
    pub(crate) bytes: &'a [u8],
    pub(crate) wire_length: usize,
}

/// What reading a file came to.
#[derive(Debug)]
pub(crate) struct FileSummary {
    pub(crate) packets: u64,
    /// Packets of interfaces whose link type cannot be decoded, with that link type.
    pub(crate) undecodable: Option<(u32, u64)>,
    /// What stopped the reading before the end.
    pub(crate) problem: Option<FileError>,
}

/// Bytes of a file that have been read, for a progress display.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads a file (`-`: standard input) and hands every frame to `take`.
///
/// # Errors
///
/// Where nothing at all could be read. A problem after the first packets is part of the summary.
pub(crate) fn read(
    path: &Path,
    progress: &Progress,
    mut take: impl FnMut(Frame<'_>),
) -> Result<FileSummary, FileError> {
    let source: Box<dyn Read + Send> = if path.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        let file = File::open(path).map_err(FileError::Open)?;
        if file.metadata().map_err(FileError::Open)?.is_dir() {
            return Err(FileError::Open(io::ErrorKind::IsADirectory.into()));
        }
        Box::new(file)
    };
    let source = Counted { source, bytes: Arc::clone(&progress.0) };
    let failure = Failure::default();
    let source = Watched { source: unpacked(source)?, failure: failure.clone() };
    let (first, rest) = split(source)?;
    if first.is_empty() {
        return Err(failure.take().map_or(FileError::Empty, FileError::Read));
    }
    let mut reader =
        create_reader(BUFFER_BYTES, Cursor::new(first).chain(rest)).map_err(|_| match failure.take() {
            Some(error) => FileError::Read(error),
            None => FileError::NotACapture,
        })?;
    let mut state = Reading::default();
    let mut has_grown = false;
    let problem = loop {
        let step = match reader.next() {
            Ok((length, block)) => state.block(&block, &mut take).map(|()| Step::Block(length)),
            Err(PcapError::Eof) => break None,
            Err(PcapError::Incomplete(_)) => Ok(Step::Incomplete),
            Err(PcapError::UnexpectedEof) => Ok(Step::Cut),
            Err(PcapError::BufferTooSmall) => Ok(Step::Large),
            Err(_) => Ok(Step::Damaged),
        };
        let (offset, packets) = (reader.consumed(), state.packets);
        match step {
            Ok(Step::Block(length)) => reader.consume_noshift(length),
            Ok(Step::Incomplete) if !reader.reader_exhausted() && reader.refill().is_ok() => {}
            Ok(Step::Incomplete | Step::Cut) => {
                break Some(failure.take().map_or(FileError::Cut { offset, packets }, FileError::Read));
            }
            Ok(Step::Large) if !has_grown && reader.grow(MAX_PACKET_BYTES) => has_grown = true,
            Ok(Step::Damaged | Step::Large) => break Some(FileError::Damaged { offset, packets }),
            Err(problem) => break Some(problem),
        }
    };
    let undescribed = state.undescribed;
    let unread =
        undescribed.map(|(interface, packets)| FileError::UndescribedInterface { interface, packets });
    let problem = problem.or(unread);
    let readable = state.packets - undescribed.map_or(0, |(_, count)| count);
    match (problem, state.undecodable) {
        (None, Some((number, count))) if count == readable => Err(FileError::UnknownLinkType(number)),
        (Some(problem), _) if readable == 0 => Err(problem),
        (problem, undecodable) => Ok(FileSummary { packets: state.packets, undecodable, problem }),
    }
}

/// Units of a pcapng time stamp in a second: a power of ten, or with the highest bit set a power of two; `None` where it
/// does not fit 64 bits. The parser's own function does not know powers of two.
fn units_per_second(resolution: u8) -> Option<u64> {
    match (resolution & 0x80, u32::from(resolution & 0x7f)) {
        (0, exponent) => 10_u64.checked_pow(exponent),
        (_, exponent) => 1_u64.checked_shl(exponent),
    }
}

/// What the parser came to.
enum Step {
    /// A block of this length was handled.
    Block(usize),
    /// More bytes are needed.
    Incomplete,
    /// The file ends within a block.
    Cut,
    /// A block is larger than the buffer.
    Large,
    /// The bytes are no block.
    Damaged,
}

/// Unpacks gzip, told by its magic number.
fn unpacked(source: Counted) -> Result<Box<dyn Read + Send>, FileError> {
    let (first, rest) = split(source)?;
    let gzip = first.starts_with(&[0x1f, 0x8b]);
    let whole = Cursor::new(first).chain(rest);
    Ok(if gzip { Box::new(MultiGzDecoder::new(whole)) } else { Box::new(whole) })
}

/// Reads the first bytes of a source, so that its kind can be told.
fn split<R: Read>(mut source: R) -> Result<(Vec<u8>, R), FileError> {
    let mut first = Vec::with_capacity(FIRST_BYTES);
    // An error here shows again, with its cause, when the rest is read.
    let _ = source.by_ref().take(FIRST_BYTES as u64).read_to_end(&mut first);
    Ok((first, source))
}

struct Counted {
    source: Box<dyn Read + Send>,
    bytes: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(buffer)?;
        self.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

/// Keeps the error that made a read fail, which the parser above only passes on as "read error".
#[derive(Clone, Debug, Default)]
struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Watched<R> {
    source: R,
    failure: Failure,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.source.read(buffer).inspect_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            *self.failure.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        })
    }
}

/// An interface of the section that is being read.
#[derive(Debug)]
struct Interface {
    link_number: u32,
    link: Option<LinkType>,
    name: Option<String>,
    units_per_second: u64,
    offset_seconds: i64,
}

impl Interface {
    fn at(&self, high: u32, low: u32) -> Timestamp {
        let units = (u64::from(high) << 32) | u64::from(low);
        let per_second = self.units_per_second.max(1);
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(per_second);
        let nanos =
            i128::try_from(nanos).unwrap_or(i128::MAX) + i128::from(self.offset_seconds) * 1_000_000_000;
        Timestamp::from_nanos(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

#[derive(Debug, Default)]
struct Reading {
    interfaces: Vec<Interface>,
    packets: u64,
    undecodable: Option<(u32, u64)>,
    /// Packets of interfaces that the file does not describe, with the first such interface.
    undescribed: Option<(usize, u64)>,
    latest: Timestamp,
}

impl Reading {
    fn block(
        &mut self,
        block: &PcapBlockOwned<'_>,
        take: &mut impl FnMut(Frame<'_>),
    ) -> Result<(), FileError> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                let units_per_second =
                    if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
                // The upper bits tell of a frame check sequence, which the IP length leaves out anyway.
                let number = header.network.0.cast_unsigned() & 0xffff;
                self.add_interface(number, None, units_per_second, 0);
                if LinkType::from_number(number).is_none() {
                    return Err(FileError::UnknownLinkType(number));
                }
            }
            PcapBlockOwned::Legacy(packet) => {
                let units = self.interfaces.first().map_or(1_000_000, |interface| interface.units_per_second);
                let fraction = u64::from(packet.ts_usec) * (1_000_000_000 / units.max(1));
                self.latest = Timestamp::from_nanos(u64::from(packet.ts_sec) * 1_000_000_000 + fraction);
                self.frame(0, packet.data, packet.origlen, take);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                let name = description.if_name().and_then(Result::ok).map(str::to_owned);
                let code = description.if_tsresol;
                let units = units_per_second(code)
                    .ok_or(FileError::Resolution { interface: self.interfaces.len(), code })?;
                let number = description.linktype.0.cast_unsigned();
                self.add_interface(number, name, units, description.ts_offset());
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let number = packet.if_id as usize;
                if let Some(interface) = self.interfaces.get(number) {
                    self.latest = interface.at(packet.ts_high, packet.ts_low);
                }
                self.frame(number, packet.packet_data(), packet.origlen, take);
            }
            // Has no time of its own.
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                self.frame(0, packet.packet_data(), packet.origlen, take);
            }
            PcapBlockOwned::NG(_) => {}
        }
        Ok(())
    }

    fn add_interface(&mut self, link_number: u32, name: Option<String>, units_per_second: u64, offset: i64) {
        self.interfaces.push(Interface {
            link_number,
            link: LinkType::from_number(link_number),
            name,
            units_per_second,
            offset_seconds: offset,
        });
    }

    fn frame(&mut self, number: usize, bytes: &[u8], wire: u32, take: &mut impl FnMut(Frame<'_>)) {
        self.packets += 1;
        let Some(interface) = self.interfaces.get(number) else {
            let (_, count) = self.undescribed.get_or_insert((number, 0));
            *count += 1;
            return;
        };
        let Some(link) = interface.link else {
            let (_, count) = self.undecodable.get_or_insert((interface.link_number, 0));
            *count += 1;
            return;
        };
        take(Frame {
            link,
            at: self.latest,
            interface: interface.name.as_deref(),
            interface_number: number,
            bytes,
            wire_length: (wire as usize).max(bytes.len()),
        });
    }
}
