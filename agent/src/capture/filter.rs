//! Packet filters in libpcap's language, applied to frames of a file.

use pcap::{BpfProgram, Capture, Linktype};
use pqscope_agent_core::decode::LinkType;

/// A filter that libpcap does not understand.
#[derive(Debug, thiserror::Error)]
#[error("invalid packet filter `{expression}`: {problem} (the language is described in `man pcap-filter`)")]
pub(crate) struct InvalidFilter {
    pub(crate) expression: String,
    pub(crate) problem: String,
}

/// A filter, compiled once per link type.
pub(crate) struct Filter {
    programs: Vec<(LinkType, BpfProgram)>,
}

impl Filter {
    /// Compiles an expression.
    pub(crate) fn compile(expression: &str) -> Result<Self, InvalidFilter> {
        let invalid = |error: pcap::Error| InvalidFilter {
            expression: expression.to_owned(),
            problem: error.to_string(),
        };
        let program =
            |number: i32| Capture::dead(Linktype(number)).and_then(|dead| dead.compile(expression, true));
        let mut programs = Vec::new();
        // DLT numbers, which differ from the LINKTYPE ones for raw IP.
        let kinds = [
            (LinkType::Ethernet, 1),
            (LinkType::Loopback, 0),
            (LinkType::RawIp, 12),
            (LinkType::LinuxSll, 113),
            (LinkType::LinuxSll2, 276),
            (LinkType::Ppp, 9),
        ];
        for (link, number) in kinds {
            match program(number) {
                Ok(program) => programs.push((link, program)),
                // Not every expression makes sense on every link, `ether host` on raw IP for one.
                Err(error) if link == LinkType::Ethernet => return Err(invalid(error)),
                Err(_) => {}
            }
        }
        Ok(Self { programs })
    }

    /// Whether a frame passes; none does on a link that the expression makes no sense on.
    pub(crate) fn passes(&self, link: LinkType, bytes: &[u8]) -> bool {
        self.programs.iter().any(|(known, program)| *known == link && program.filter(bytes))
    }
}
