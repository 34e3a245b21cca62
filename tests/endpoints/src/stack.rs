//! The stacks, how their drivers are started, and what each can do.

/// A TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stack {
    /// rustls with aws-lc-rs.
    Rustls,
    /// BoringSSL.
    Boring,
    /// OpenSSL 3.5.
    OpenSsl,
    /// Go's crypto/tls.
    Go,
    /// Node, whose TLS is OpenSSL's.
    Node,
    /// A server that answers a hello with something else than TLS.
    Raw,
}

/// Programs that drivers need.
pub(crate) struct Programs {
    /// `openssl` of 3.5.
    pub(crate) openssl: String,
    /// Node.
    pub(crate) node: String,
    /// Node's driver.
    pub(crate) node_driver: String,
    /// Go's driver, built.
    pub(crate) go_driver: String,
}

/// All that speak TLS.
pub(crate) const ALL: &[Stack] = &[
    Stack::Rustls,
    #[cfg(feature = "boring")]
    Stack::Boring,
    Stack::OpenSsl,
    Stack::Go,
    Stack::Node,
];

impl Stack {
    /// Word of the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rustls => "rustls",
            Self::Boring => "boring",
            Self::OpenSsl => "openssl",
            Self::Go => "go",
            Self::Node => "node",
            Self::Raw => "raw",
        }
    }

    /// Command line of its driver.
    pub(crate) fn words(self, programs: &Programs) -> Vec<String> {
        let own = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
        match self {
            Self::Go => vec![programs.go_driver.clone()],
            Self::Node => vec![programs.node.clone(), programs.node_driver.clone()],
            Self::OpenSsl => vec![own, "driver".into(), "openssl".into(), programs.openssl.clone()],
            _ => vec![own, "driver".into(), self.name().into()],
        }
    }

    /// Whether it sends every handshake message in a record of its own; the others fill records.
    pub(crate) fn separates(self) -> bool {
        matches!(self, Self::OpenSsl | Self::Go | Self::Node)
    }

    /// Whether it signs with keys of a kind.
    pub(crate) fn signs(self, kind: &str) -> bool {
        kind != "ed25519" || self != Self::Boring
    }

    /// Whether it can check what was signed with keys of a kind.
    pub(crate) fn checks(self, kind: &str) -> bool {
        match kind {
            "ed25519" | "p521" => self != Self::Boring,
            "slhdsa" => matches!(self, Self::OpenSsl | Self::Node),
            _ => true,
        }
    }

    /// Whether it has a group.
    pub(crate) fn has_group(self, group: u16) -> bool {
        let list: &[u16] = match self {
            Self::Rustls => &[0x17, 0x18, 0x1d, 0x11eb, 0x11ec, 0x0201, 0x0202],
            Self::Boring => &[0x17, 0x18, 0x19, 0x1d, 0x11ec],
            Self::Go => &[0x17, 0x18, 0x19, 0x1d, 0x11eb, 0x11ec, 0x11ed],
            Self::OpenSsl => &[0x17, 0x18, 0x19, 0x1d, 0x1e, 0x11eb, 0x11ec, 0x11ed, 0x0200, 0x0201, 0x0202],
            Self::Node => &[0x17, 0x18, 0x19, 0x1d, 0x1e, 0x11eb, 0x11ec, 0x11ed],
            Self::Raw => &[],
        };
        list.contains(&group)
    }
}
