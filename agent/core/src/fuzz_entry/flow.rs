//! Segments in any order and with any numbers: reassembly by itself, and everything from the frame on.

use super::input::Input;
use crate::Limits;
use crate::decode::{Address, Encapsulation, LinkType, Segment};
use crate::flow::key::End;
use crate::flow::reassembly::{Event, Reassembly};
use crate::flow::sequence::Sequence;
use crate::observer::{InterfaceId, Observer, Packet, Settings};
use crate::time::Timestamp;
use std::ops::ControlFlow;

/// Steps of one input: enough to reach every bound, few enough for a fuzzer to be quick.
const MOST_STEPS: usize = 2000;

/// What a receiver finds at a place of a stream, whatever segment brings it.
fn byte_at(from: End, at: Sequence) -> u8 {
    let salt = if from == End::Low { 1 } else { 0x55 };
    let [_, _, high, low] = at.0.to_be_bytes();
    (low.wrapping_mul(31) ^ high) ^ salt
}

/// A step: who sends, flags, place, acknowledgement, length, time.
struct Step {
    from: End,
    at: u64,
    flags: u8,
    sequence: Sequence,
    acknowledgment: Option<Sequence>,
    length: usize,
}

impl Step {
    fn read(input: &mut Input<'_>, base: [u32; 2], now: u64) -> Option<Self> {
        let control = input.byte()?;
        let (from, own, peer) = match control & 1 {
            0 => (End::Low, base[0], base[1]),
            _ => (End::High, base[1], base[0]),
        };
        let far = |number: u16| if control & 0x20 != 0 { u32::from(number) << 12 } else { number.into() };
        let sequence = Sequence(own.wrapping_add(far(input.number()?)));
        let acknowledgment = Sequence(peer.wrapping_add(far(input.number()?)));
        let size = input.byte()?;
        let length = if control & 0x40 != 0 { usize::from(size) * 16 } else { size.into() };
        // Most steps are a moment apart, some a second.
        let pause = if size & 7 == 7 && control & 0x80 != 0 { 1_000_000_000 } else { 10_000 };
        let acknowledgment = (control & 2 != 0).then_some(acknowledgment);
        Some(Self { from, at: now + pause, flags: control >> 2, sequence, acknowledgment, length })
    }

    fn payload(&self) -> Vec<u8> {
        let first = self.sequence.advanced(usize::from(self.is_syn()));
        (0..self.length).map(|n| byte_at(self.from, first.advanced(n))).collect()
    }

    const fn is_syn(&self) -> bool {
        self.flags & 7 == 1
    }

    fn segment<'a>(&self, payload: &'a [u8]) -> Segment<'a> {
        Segment {
            source: Address([0; 16]),
            destination: Address([1; 16]),
            source_port: 1,
            destination_port: 2,
            sequence: self.sequence,
            acknowledgment: self.acknowledgment,
            syn: self.is_syn(),
            fin: self.flags & 7 == 2,
            rst: self.flags & 7 == 4,
            payload,
            payload_length: self.length,
            mss: None,
            identification: 0,
            options: &[],
            encapsulation: Encapsulation::default(),
        }
    }
}

/// An event without what it borrows.
enum Told {
    Data(End, Vec<u8>),
    Missing(End, usize),
    Close(End),
    Reset,
}

impl Told {
    fn of(event: Event<'_>) -> Self {
        match event {
            Event::Data { from, bytes, .. } => Self::Data(from, bytes.to_vec()),
            Event::Missing { from, length, .. } => Self::Missing(from, length),
            Event::Close { from, .. } => Self::Close(from),
            Event::Reset { .. } => Self::Reset,
        }
    }

    /// How far it moves its direction.
    fn advance(&self, end: End) -> usize {
        match self {
            Self::Data(from, bytes) if *from == end => bytes.len(),
            Self::Missing(from, length) if *from == end => *length,
            Self::Close(from) if *from == end => 1,
            _ => 0,
        }
    }
}

/// Eight bytes for the first numbers of both ends, one for the event at which a reader breaks off, then steps.
///
/// # Panics
/// Where bytes are delivered that nobody sent in that place, the delivered and the missing do not make up the advance
/// in sequence space, more is held than the bound, or something is told to a reader that has broken off.
pub fn reassembly(input: &[u8]) {
    let mut input = Input(input);
    let (Some(low), Some(high), Some(patience)) = (input.long_number(), input.long_number(), input.byte())
    else {
        return;
    };
    let mut whole = Reassembly::default();
    let mut impatient = Some((Reassembly::default(), usize::from(patience)));
    let mut now = 0;
    for _ in 0..MOST_STEPS {
        let Some(step) = Step::read(&mut input, [low, high], now) else { break };
        now = step.at;
        let payload = step.payload();
        let captured = if step.flags & 0x30 == 0x30 { payload.len() / 2 } else { payload.len() };
        let segment = step.segment(payload.get(..captured).unwrap_or_default());
        let at = Timestamp::from_nanos(now);
        let before = [End::Low, End::High].map(|end| whole.delivered_up_to(end));
        let mut told = Vec::new();
        let _ = whole.segment(step.from, at, &segment, &mut |event| {
            told.push(Told::of(event));
            ControlFlow::Continue(())
        });
        check(&whole, before, &told);
        impatient = impatient.and_then(|(mut reader, left)| {
            let mut left = Some(left);
            let _ = reader.segment(step.from, at, &segment, &mut |_| break_off(&mut left));
            left.map(|left| (reader, left))
        });
    }
    let before = [End::Low, End::High].map(|end| whole.delivered_up_to(end));
    let mut told = Vec::new();
    let _ = whole.flush(Timestamp::from_nanos(now), &mut |event| {
        told.push(Told::of(event));
        ControlFlow::Continue(())
    });
    check(&whole, before, &told);
    assert!(whole.is_empty(), "nothing is held after the end");
    if let Some((mut reader, left)) = impatient {
        let mut left = Some(left);
        let _ = reader.flush(Timestamp::from_nanos(now), &mut |_| break_off(&mut left));
    }
}

fn break_off(left: &mut Option<usize>) -> ControlFlow<()> {
    let still = left.expect("nothing is told after a reader has broken off");
    *left = still.checked_sub(1);
    if left.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

fn check(whole: &Reassembly, before: [Option<Sequence>; 2], told: &[Told]) {
    assert!(whole.heap_bytes() < 1 << 19, "{} bytes held", whole.heap_bytes());
    for (end, before) in [End::Low, End::High].into_iter().zip(before) {
        let Some(after) = whole.delivered_up_to(end) else { continue };
        let advance: usize = told.iter().map(|event| event.advance(end)).sum();
        let mut at = Sequence(after.0.wrapping_sub(u32::try_from(advance).unwrap_or(u32::MAX)));
        if let Some(before) = before {
            assert_eq!(before, at, "what is told makes up the advance");
        }
        for event in told {
            if let Told::Data(from, bytes) = event
                && *from == end
            {
                let sent = |(n, byte): (usize, &u8)| *byte == byte_at(end, at.advanced(n));
                assert!(bytes.iter().enumerate().all(sent), "only what was sent is delivered");
            }
            at = at.advanced(event.advance(end));
        }
    }
}

const FLOWS: usize = 24;
const BYTES: usize = 48 * 1024;

/// Steps, each with a connection, flags, numbers and a payload from the input, as frames of raw IPv4 to an observer with
/// narrow bounds.
///
/// # Panics
/// Where a bound is broken, an observation is told of nothing, or anything is left after the end.
pub fn observer(input: &[u8]) {
    let mut observer = bounded();
    let mut told = feed(input, &mut observer);
    let packets = observer.health().used;
    observer.finish();
    told += std::iter::from_fn(|| observer.next_observation()).count();
    assert!(told as u64 <= packets, "{told} attempts in {packets} packets");
    assert_eq!((observer.health().flows, observer.health().buffered), (0, 0));
}

/// An observer with the bounds that [`feed`] holds it to.
pub(super) fn bounded() -> Observer {
    let limits = Limits { flows: FLOWS, bytes: BYTES, ..Limits::default() };
    Observer::new(Settings { limits, ..Settings::default() })
}

/// Feeds the frames of an input; how many observations came out on the way.
pub(super) fn feed(input: &[u8], observer: &mut Observer) -> usize {
    let mut input = Input(input);
    let mut now = 1_000_000_000_000_u64;
    let mut told = 0;
    for _ in 0..MOST_STEPS {
        let Some(frame) = frame(&mut input, &mut now) else { break };
        observer.packet(&Packet {
            link: LinkType::RawIp,
            at: Timestamp::from_nanos(now),
            interface: InterfaceId::default(),
            bytes: &frame,
            wire_length: frame.len(),
        });
        let health = observer.health();
        assert!(health.flows <= FLOWS, "{} connections", health.flows);
        assert!(health.buffered <= BYTES, "{} bytes", health.buffered);
        told += std::iter::from_fn(|| observer.next_observation()).count();
    }
    told
}

/// A frame: control (side, time, flags), connection, numbers, length, payload.
fn frame(input: &mut Input<'_>, now: &mut u64) -> Option<Vec<u8>> {
    let (control, connection) = (input.byte()?, input.byte()? % 64);
    let (sequence, acknowledgment, length) = (input.number()?, input.number()?, input.byte()?);
    let payload = input.bytes(usize::from(length) * if control & 0x80 != 0 { 8 } else { 1 });
    *now = match control >> 5 & 3 {
        0 | 1 => *now + 20_000,
        2 => *now + 700_000_000,
        _ => now.saturating_sub(1_200_000_000),
    };
    let flags = [0x10, 0x02, 0x12, 0x18, 0x11, 0x04, 0x14, 0x13].get(usize::from(control >> 1 & 7)).copied();
    let (client, server) = ([10, 0, 0, connection], [10, 1, 0, 1]);
    let (client_port, server_port) = ([0xc0, connection], [1, 0xbb]);
    let from_client = control & 1 == 0;
    let total = u16::try_from(40 + payload.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut out = vec![0x45, 0];
    out.extend(total);
    out.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    let ends = if from_client { [client, server] } else { [server, client] };
    let ports = if from_client { [client_port, server_port] } else { [server_port, client_port] };
    out.extend(ends.concat());
    out.extend(ports.concat());
    out.extend(u32::from(sequence).wrapping_sub(100).to_be_bytes());
    out.extend(u32::from(acknowledgment).wrapping_sub(100).to_be_bytes());
    out.extend([0x50, flags.unwrap_or(0x10), 0xff, 0xff, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
    Some(out)
}
