//! Live capture through libpcap, on one or more interfaces.

use pcap::{Active, Capture, Device, Linktype, Precision};
use pqscope_agent_core::decode::LinkType;
use pqscope_agent_core::local::Network;
use pqscope_agent_core::time::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::time::Duration;

/// Ring buffer of an interface.
const BUFFER_BYTES: i32 = 32 << 20;

/// Bytes captured of a packet: more than any that a network card coalesces.
const SNAPSHOT_BYTES: i32 = 262_144;

/// How long the kernel gathers packets before it hands them over. Without it every packet wakes the agent, and the
/// kernel falls back to a ring that drops under load.
const GATHER: Duration = Duration::from_millis(100);

/// Packets taken from one interface before the next has its turn.
const BATCH: usize = 4096;

/// Why capture cannot begin, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LiveError {
    #[error(
        "no permission to capture on `{interface}`. Grant it to the program alone with\n  \
         sudo setcap cap_net_raw+ep {program}\n\
         or run it from a systemd unit with AmbientCapabilities=CAP_NET_RAW (see deploy/pqscope-agent.service), or as root.\n\
         Without it, a capture file can be read: pqscope-agent read FILE"
    )]
    NoPermission { interface: String, program: String },
    #[error("there is no interface `{interface}`; there are: {known}")]
    NoInterface { interface: String, known: String },
    #[error("`{interface}` has link type {number}, which cannot be decoded; known are {known}", known = LinkType::KNOWN)]
    UnknownLinkType { interface: String, number: i32 },
    #[error("cannot capture on `{interface}`: {problem}")]
    Other { interface: String, problem: String },
    #[error(
        "invalid packet filter `{expression}`: {problem} (the language is described in `man pcap-filter`)"
    )]
    Filter { expression: String, problem: String },
}

/// A frame from an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveFrame<'a> {
    pub(crate) link: LinkType,
    pub(crate) at: Timestamp,
    /// Place of the interface among those opened.
    pub(crate) interface: usize,
    pub(crate) bytes: &'a [u8],
    pub(crate) wire_length: usize,
}

/// What the kernel says of an interface, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InterfaceCounts {
    pub(crate) received: u64,
    pub(crate) kernel_dropped: u64,
    pub(crate) interface_dropped: u64,
}

/// Counts of libpcap are 32 bits wide and wrap.
#[derive(Clone, Copy, Debug, Default)]
struct Wrapping {
    last: u32,
    total: u64,
}

impl Wrapping {
    fn update(&mut self, now: u32) -> u64 {
        self.total += u64::from(now.wrapping_sub(self.last));
        self.last = now;
        self.total
    }
}

struct Interface {
    name: String,
    link: LinkType,
    capture: Capture<Active>,
    nanos_per_unit: u64,
    counts: [Wrapping; 3],
}

/// Interfaces that are being captured on.
pub(crate) struct LiveCapture {
    interfaces: Vec<Interface>,
}

impl LiveCapture {
    /// Opens interfaces by name; `any` stands for all of them.
    pub(crate) fn open(names: &[String], filter: Option<&str>) -> Result<Self, LiveError> {
        let interfaces = names.iter().map(|name| open(name, filter)).collect::<Result<_, _>>()?;
        Ok(Self { interfaces })
    }

    /// Names of the interfaces, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.interfaces.iter().map(|interface| interface.name.as_str())
    }

    /// Waits until a packet can be read, at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        let mut fds: Vec<PollFd<'_>> = self
            .interfaces
            .iter()
            .map(|interface| PollFd::from_borrowed_fd(interface.capture.as_fd(), PollFlags::IN))
            .collect();
        let timeout = Timespec::try_from(timeout).ok();
        // Interrupted or not: the caller looks for packets next.
        let _ = poll(&mut fds, timeout.as_ref());
    }

    /// Hands over the packets that have come, and tells how many they were.
    pub(crate) fn dispatch(&mut self, mut take: impl FnMut(LiveFrame<'_>)) -> Result<usize, LiveError> {
        let mut taken = 0;
        for (number, interface) in self.interfaces.iter_mut().enumerate() {
            let (link, nanos_per_unit) = (interface.link, interface.nanos_per_unit);
            let outcome = interface.capture.dispatch(Some(BATCH), |packet| {
                let time = packet.header.ts;
                let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                let fraction = u64::try_from(time.tv_usec).unwrap_or(0);
                take(LiveFrame {
                    link,
                    at: Timestamp::from_nanos(seconds * 1_000_000_000 + fraction * nanos_per_unit),
                    interface: number,
                    bytes: packet.data,
                    wire_length: (packet.header.len as usize).max(packet.data.len()),
                });
            });
            match outcome {
                Ok(count) => taken += count,
                Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => {}
                Err(error) => {
                    return Err(LiveError::Other {
                        interface: interface.name.clone(),
                        problem: error.to_string(),
                    });
                }
            }
        }
        Ok(taken)
    }

    /// What the kernel says of each interface.
    pub(crate) fn counts(&mut self) -> Vec<(String, InterfaceCounts)> {
        self.interfaces
            .iter_mut()
            .map(|interface| {
                let mut counts = InterfaceCounts::default();
                if let Ok(stats) = interface.capture.stats() {
                    let [received, dropped, if_dropped] = &mut interface.counts;
                    counts.received = received.update(stats.received);
                    counts.kernel_dropped = dropped.update(stats.dropped);
                    counts.interface_dropped = if_dropped.update(stats.if_dropped);
                }
                (interface.name.clone(), counts)
            })
            .collect()
    }
}

fn open(name: &str, filter: Option<&str>) -> Result<Interface, LiveError> {
    let classify = |error: pcap::Error| classify(name, &error);
    let inactive = Capture::from_device(name)
        .map_err(classify)?
        .promisc(false)
        .snaplen(SNAPSHOT_BYTES)
        .buffer_size(BUFFER_BYTES)
        .timeout(i32::try_from(GATHER.as_millis()).unwrap_or(100))
        .immediate_mode(false);
    // Not every kernel stamps nanoseconds; microseconds always work.
    let (capture, nanos_per_unit) = match inactive.precision(Precision::Nano).open() {
        Ok(capture) => (capture, 1),
        Err(error) if error.to_string().contains("precision") => {
            let inactive =
                Capture::from_device(name).map_err(classify)?.promisc(false).snaplen(SNAPSHOT_BYTES);
            let inactive = inactive.buffer_size(BUFFER_BYTES).timeout(100).immediate_mode(false);
            (inactive.open().map_err(classify)?, 1_000)
        }
        Err(error) => return Err(classify(error)),
    };
    let mut capture = capture.setnonblock().map_err(classify)?;
    if let Some(expression) = filter {
        capture.filter(expression, true).map_err(|error| LiveError::Filter {
            expression: expression.to_owned(),
            problem: error.to_string(),
        })?;
    }
    let Linktype(number) = capture.get_datalink();
    let link = u32::try_from(number)
        .ok()
        .and_then(LinkType::from_number)
        .ok_or_else(|| LiveError::UnknownLinkType { interface: name.to_owned(), number })?;
    Ok(Interface { name: name.to_owned(), link, capture, nanos_per_unit, counts: Default::default() })
}

fn classify(interface: &str, error: &pcap::Error) -> LiveError {
    let problem = error.to_string();
    let interface = interface.to_owned();
    if problem.contains("permission") || problem.contains("not permitted") {
        let program =
            std::env::current_exe().map_or_else(|_| "pqscope-agent".into(), |p| p.display().to_string());
        return LiveError::NoPermission { interface, program };
    }
    if problem.contains("No such device") || problem.contains("doesn't exist") {
        let devices = Device::list().unwrap_or_default();
        let known: Vec<String> = devices.into_iter().map(|device| device.name).collect();
        return LiveError::NoInterface { interface, known: known.join(", ") };
    }
    LiveError::Other { interface, problem }
}

/// The addresses of this host's interfaces.
pub(crate) fn local_addresses() -> Vec<Network> {
    let devices = Device::list().unwrap_or_default();
    let addresses = devices.into_iter().flat_map(|device| device.addresses);
    let hosts = addresses.map(|address| Network::host(address.addr));
    // All of 127.0.0.0/8 is this host, whatever the loopback interface lists.
    hosts.chain("127.0.0.0/8".parse()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_when_libpcaps_wrap() {
        let mut count = Wrapping::default();
        assert_eq!(count.update(u32::MAX - 1), u64::from(u32::MAX) - 1);
        assert_eq!(count.update(3), u64::from(u32::MAX) + 4);
    }

    #[test]
    fn missing_permission_says_what_to_grant() {
        let error = pcap::Error::PcapError("You don't have permission to capture on that device".into());
        let text = classify("eth0", &error).to_string();
        assert!(text.contains("setcap cap_net_raw+ep") && text.contains("pqscope-agent read FILE"), "{text}");
    }
}
