//! The handshake machine: bytes of both sides, holes, closes and resets in any order.

use super::input::Input;
use crate::observation::{Outcome, Side};
use crate::time::Timestamp;
use crate::tls::facts::Facts;
use crate::tls::machine::Machine;
use crate::tls::verdict::Verdict;

/// What one machine may own: a hello of 8 KiB kept with its capacity, a ServerHello of 16 KiB likewise, and little else.
const MOST_HEAP: usize = 96 * 1024;

/// A step of a conversation.
#[derive(Clone, Copy)]
enum Step<'a> {
    Data(Side, &'a [u8]),
    Missing(Side, usize),
    Close(Side),
    Reset(Side),
}

impl<'a> Step<'a> {
    /// One byte of control (side, kind), two of length, then as many bytes.
    fn read(input: &mut Input<'a>) -> Option<Self> {
        let control = input.byte()?;
        let side = if control & 1 == 0 { Side::Client } else { Side::Server };
        Some(match control >> 1 & 7 {
            0..5 => {
                let length = input.number()?;
                Self::Data(side, input.bytes(length.into()))
            }
            5 => Self::Missing(side, input.number()?.into()),
            6 => Self::Close(side),
            _ => Self::Reset(side),
        })
    }

    fn apply(self, machine: &mut Machine, at: Timestamp, by_byte: bool) -> Option<Verdict> {
        match self {
            Self::Data(side, bytes) if by_byte => {
                bytes.chunks(1).find_map(|byte| machine.data(side, at, byte))
            }
            Self::Data(side, bytes) => machine.data(side, at, bytes),
            Self::Missing(side, length) => machine.missing(side, at, length, length % 2 == 0),
            Self::Close(side) => machine.closed(side, at),
            Self::Reset(side) => Some(machine.reset(side, at)),
        }
    }
}

/// What became of a conversation: the verdict, tempered, and the facts that do not depend on segments.
fn run(steps: &[Step<'_>], kind: u8, by_byte: bool) -> (Verdict, Facts) {
    let start = Timestamp::from_nanos(1_000_000_000);
    let mut machine = match kind & 7 {
        6 => Machine::for_ssl2_hello(start, kind & 8 == 0),
        7 => Machine::without_hello(start, crate::observation::IncompleteReason::Gap, 5),
        _ => Machine::new(start, kind & 8 == 0),
    };
    let mut at = start;
    let mut verdict = None;
    for step in steps {
        at = Timestamp::from_nanos(at.as_nanos() + 1_000_000);
        verdict = step.apply(&mut machine, at, by_byte);
        assert!(machine.heap_bytes() <= MOST_HEAP, "{} bytes", machine.heap_bytes());
        assert!(machine.last_progress() <= at, "progress lies in the past");
        if verdict.is_some() {
            break;
        }
    }
    let verdict = machine.tempered(verdict.unwrap_or_else(|| machine.timed_out(at)), kind & 16 != 0);
    (verdict, machine.into_facts(&mut crate::tls::ja4::Hashes::new(0)))
}

/// One byte for how the attempt begins, then steps.
///
/// # Panics
/// Where a verdict contradicts itself, more is kept than the bound, or the pieces in which bytes come matter.
pub fn machine(input: &[u8]) {
    let mut input = Input(input);
    let Some(kind) = input.byte() else { return };
    let steps: Vec<Step<'_>> = std::iter::from_fn(|| Step::read(&mut input)).take(400).collect();
    let (verdict, facts) = run(&steps, kind, false);
    assert_eq!(verdict.failure.is_some(), verdict.outcome == Outcome::Failed);
    assert_eq!(verdict.incomplete.is_some(), verdict.outcome == Outcome::Incomplete);
    assert!(facts.alerts.len() <= 16);
    let is_plain = steps.iter().all(|step| matches!(step, Step::Data(..) | Step::Reset(_)));
    // After a hole, or within a stream whose beginning was missed, a segment's first byte is where reading goes on.
    if is_plain && kind & 8 == 0 {
        let (by_byte, facts_by_byte) = run(&steps, kind, true);
        assert_eq!(verdict, by_byte);
        let told = |facts: &Facts| {
            let mut hello = facts.client_hello.clone();
            hello.segments = None;
            (hello, facts.server_name.clone(), facts.version, facts.group, facts.certificates.clone())
        };
        assert_eq!(told(&facts), told(&facts_by_byte));
        assert_eq!((facts.server_flight, facts.alerts), (facts_by_byte.server_flight, facts_by_byte.alerts));
    }
}
