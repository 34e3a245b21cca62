//! What is run: scenarios times stacks. Each case is one server and the connections made to it, one after the other.

use crate::protocol::Command;
use crate::stack::{ALL, Stack};
use std::path::{Path, PathBuf};

/// How a connection is meant to end. The endpoints' reports must agree, or the case itself is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// Both ends finish, the request is answered.
    Served,
    /// An end refuses, by an alert where its stack sends one.
    Refused,
    /// The server resets.
    ServerReset,
    /// The server closes.
    ServerClose,
    /// The server says nothing.
    Silence,
    /// The server answers something that is no TLS.
    NotTls,
    /// The client resets after the ServerHello.
    ClientReset,
}

/// One server with its clients' connections.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// Name of the scenario.
    pub(crate) scenario: &'static str,
    /// Server's stack.
    pub(crate) server: Stack,
    /// What the server is told.
    pub(crate) serve: Command,
    /// The clients' stacks, and what they are told.
    pub(crate) connects: Vec<(Stack, Command)>,
    /// How each is meant to end.
    pub(crate) meant: Meant,
}

/// What a plan is made from.
pub(crate) struct Planner {
    certificates: PathBuf,
    keys: String,
    repeat: usize,
    cases: Vec<Case>,
}

const SEPARATE_KINDS: &[&str] =
    &["rsa2048", "rsa4096", "p256", "p384", "p521", "ed25519", "mldsa44", "mldsa65", "mldsa87", "slhdsa"];
const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;

impl Planner {
    /// `repeat` multiplies the connections that figures are made of.
    pub(crate) fn new(certificates: &Path, keys: &Path, repeat: usize) -> Self {
        Self {
            certificates: certificates.to_owned(),
            keys: keys.display().to_string(),
            repeat,
            cases: Vec::new(),
        }
    }

    /// Everything.
    pub(crate) fn everything(mut self) -> Vec<Case> {
        self.certificate_kinds();
        self.features();
        self.failures();
        self.cases
    }

    /// Everything but the many certificates.
    pub(crate) fn short(mut self) -> Vec<Case> {
        self.features();
        self.failures();
        self.cases
    }

    fn file(&self, name: &str) -> String {
        self.certificates.join(name).display().to_string()
    }

    fn server(&self, kind: &str, length: usize) -> Command {
        Command {
            deed: "serve".into(),
            chain: self.file(&format!("{kind}.{length}.pem")),
            key: self.file(&format!("{kind}.key")),
            keylog: self.keys.clone(),
            minimum: TLS13,
            maximum: TLS13,
            tickets: true,
            ..Command::default()
        }
    }

    fn client(&self) -> Command {
        Command {
            deed: "connect".into(),
            name: "endpoint.test".into(),
            trust: self.file("trust.pem"),
            keylog: self.keys.clone(),
            minimum: TLS12,
            maximum: TLS13,
            ..Command::default()
        }
    }

    fn with_identity(&self, command: Command, kind: &str, length: usize) -> Command {
        let (chain, key) = (self.file(&format!("{kind}.{length}.pem")), self.file(&format!("{kind}.key")));
        Command { chain, key, ..command }
    }

    fn add(
        &mut self,
        scenario: &'static str,
        server: Stack,
        serve: &Command,
        connects: Vec<(Stack, Command)>,
        meant: Meant,
    ) {
        if !connects.is_empty() {
            let serve = Command { expect: connects.len(), ..serve.clone() };
            self.cases.push(Case { scenario, server, serve, connects, meant });
        }
    }

    /// Every server, and every client that `wanted` takes, each with `connect`, `times` over.
    fn pairs(
        &mut self,
        scenario: &'static str,
        (serve, connect): (&Command, &Command),
        times: usize,
        meant: Meant,
        wanted: impl Fn(Stack, Stack) -> bool,
    ) {
        for &server in ALL {
            let clients = ALL.iter().copied().filter(|client| wanted(server, *client));
            let connects =
                clients.flat_map(|client| std::iter::repeat_n((client, connect.clone()), times)).collect();
            self.add(scenario, server, serve, connects, meant);
        }
    }

    fn certificate_kinds(&mut self) {
        for kind in SEPARATE_KINDS {
            for length in 1..=4 {
                let pair = (&self.server(kind, length), &self.client());
                let can = |server: Stack, client: Stack| server.signs(kind) && client.checks(kind);
                self.pairs("certificates", pair, self.repeat, Meant::Served, can);
            }
        }
    }

    fn features(&mut self) {
        self.mutual();
        self.sessions();
        self.groups();
        self.old_versions();
        let (serve, connect) = (self.server("p256", 1), self.client());
        for suite in [0x1301, 0x1302, 0x1303] {
            let connect = Command { suites: vec![suite], minimum: TLS13, ..connect.clone() };
            self.pairs("suites", (&serve, &connect), 1, Meant::Served, |_, client| {
                matches!(client, Stack::OpenSsl | Stack::Rustls | Stack::Node)
            });
        }
        let alpn = |command: &Command| Command { alpn: vec!["http/1.1".into()], ..command.clone() };
        self.pairs("alpn", (&alpn(&serve), &alpn(&connect)), 1, Meant::Served, |_, _| true);
        let ocsp = self.file("ocsp.der");
        let staple = |command: &Command| Command { ocsp: ocsp.clone(), ..command.clone() };
        self.pairs("stapled", (&staple(&serve), &staple(&connect)), 1, Meant::Served, |_, _| true);
        for kind in ["rsa2048", "mldsa65"] {
            let squeeze = |command: Command| Command { compress: true, ..command };
            let pair = (&squeeze(self.server(kind, 3)), &squeeze(self.client()));
            let can = |stack| matches!(stack, Stack::OpenSsl | Stack::Rustls);
            self.pairs("compressed", pair, 2, Meant::Served, |server, client| can(server) && can(client));
        }
    }

    fn mutual(&mut self) {
        for (kind, length) in [("rsa2048", 1), ("p256", 3), ("ed25519", 1), ("mldsa65", 2), ("mldsa87", 4)] {
            let serve = Command { trust: self.file("trust.pem"), ..self.server("p256", 2) };
            let connect = self.with_identity(self.client(), kind, length);
            let can = |server: Stack, client: Stack| server.checks(kind) && client.signs(kind);
            self.pairs("mutual", (&serve, &connect), 2, Meant::Served, can);
        }
    }

    fn sessions(&mut self) {
        // BoringSSL's client keeps no session here (driver), and each pair needs a slot of its own.
        let keeps = |client: &Stack| *client != Stack::Boring;
        for version in [TLS12, TLS13] {
            let scenario = if version == TLS13 { "tickets" } else { "tickets, TLS 1.2" };
            for &server in ALL {
                let serve = Command { minimum: version, maximum: version, ..self.server("p256", 1) };
                let mut connects = Vec::new();
                for client in ALL.iter().copied().filter(keeps) {
                    let session = format!("{}-{}-{version:04x}", server.name(), client.name());
                    let connect = Command { session, ..self.client() };
                    connects.extend([(client, connect.clone()), (client, connect)]);
                }
                self.add(scenario, server, &serve, connects, Meant::Served);
            }
        }
        for (server, client) in [(Stack::Rustls, Stack::Rustls), (Stack::OpenSsl, Stack::OpenSsl)] {
            let serve = Command { early: true, ..self.server("p256", 1) };
            let session = format!("early-{}-{}", server.name(), client.name());
            let connect = Command { session, early: true, ..self.client() };
            self.add(
                "early data",
                server,
                &serve,
                vec![(client, connect.clone()), (client, connect)],
                Meant::Served,
            );
        }
    }

    fn groups(&mut self) {
        let (serve, connect) = (self.server("p256", 1), self.client());
        for group in [0x17, 0x18, 0x19, 0x1d, 0x1e, 0x11eb, 0x11ec, 0x11ed, 0x0200, 0x0201, 0x0202] {
            let only = |command: &Command| Command { groups: vec![group], minimum: TLS13, ..command.clone() };
            let has = |server: Stack, client: Stack| server.has_group(group) && client.has_group(group);
            self.pairs("groups", (&only(&serve), &only(&connect)), 1, Meant::Served, has);
        }
        // The first of the client's groups is the one that it sends a share for; Go adds X25519 to a hybrid one.
        for (wanted, offered) in
            [(0x18, vec![0x1d, 0x18]), (0x11ec, vec![0x1d, 0x11ec]), (0x17, vec![0x11ec, 0x17])]
        {
            let serve = Command { groups: vec![wanted], ..serve.clone() };
            let connect = Command { groups: offered, minimum: TLS13, ..connect.clone() };
            self.pairs("retry", (&serve, &connect), 1, Meant::Served, |_, _| true);
        }
    }

    fn old_versions(&mut self) {
        for (kind, length) in [("rsa2048", 2), ("p256", 1)] {
            let serve = Command { minimum: TLS12, maximum: TLS12, ..self.server(kind, length) };
            self.pairs("TLS 1.2", (&serve, &self.client()), 1, Meant::Served, |_, _| true);
            let serve = Command { trust: self.file("trust.pem"), ..serve };
            let connect = self.with_identity(self.client(), kind, length);
            self.pairs("mutual, TLS 1.2", (&serve, &connect), 1, Meant::Served, |_, _| true);
        }
        for suite in [0x009c, 0x009e] {
            let old =
                |command: Command| Command { minimum: TLS12, maximum: TLS12, suites: vec![suite], ..command };
            let pair = (&old(self.server("rsa2048", 1)), &old(self.client()));
            self.pairs("without curve", pair, 1, Meant::Served, |server, client| {
                server == Stack::OpenSsl && matches!(client, Stack::OpenSsl | Stack::Node)
            });
        }
        for version in [0x0301, 0x0302] {
            let old = |command: Command| Command { minimum: version, maximum: version, ..command };
            let pair = (&old(self.server("p256", 1)), &old(self.client()));
            let can = |stack| matches!(stack, Stack::OpenSsl | Stack::Go);
            self.pairs("TLS 1.0, 1.1", pair, 1, Meant::Served, |server, client| can(server) && can(client));
        }
    }

    fn failures(&mut self) {
        let times = self.repeat;
        let any = |_: Stack, _: Stack| true;
        for kind in ["rsa2048", "p256", "mldsa65"] {
            let stranger = Command { trust: self.file("stranger.pem"), ..self.client() };
            self.pairs(
                "unknown authority",
                (&self.server(kind, 2), &stranger),
                times * 2,
                Meant::Refused,
                any,
            );
        }
        let expired = Command { chain: self.file("expired.pem"), ..self.server("p256", 1) };
        self.pairs("expired", (&expired, &self.client()), times * 2, Meant::Refused, any);
        let demanding = Command { trust: self.file("trust.pem"), ..self.server("p256", 1) };
        self.pairs("no client certificate", (&demanding, &self.client()), times, Meant::Refused, any);
        let foreign = self.with_identity(self.client(), "stranger", 1);
        self.pairs("client refused", (&demanding, &foreign), times, Meant::Refused, any);
        let old = Command { minimum: TLS12, maximum: TLS12, ..self.server("rsa2048", 1) };
        let stranger = Command { trust: self.file("stranger.pem"), ..self.client() };
        self.pairs("unknown authority, TLS 1.2", (&old, &stranger), 1, Meant::Refused, any);
        let modern = Command { minimum: TLS13, ..self.client() };
        self.pairs("no shared version", (&old, &modern), 1, Meant::Refused, any);
        let group = |command: Command, group| Command { groups: vec![group], minimum: TLS13, ..command };
        let pair = (&group(self.server("p256", 1), 0x18), &group(self.client(), 0x1d));
        self.pairs("no shared group", pair, 1, Meant::Refused, any);
        let alpn = |command: Command, name: &str| Command { alpn: vec![name.into()], ..command };
        let pair = (&alpn(self.server("p256", 1), "one"), &alpn(self.client(), "another"));
        self.pairs("no shared protocol", pair, 1, Meant::Refused, any);
        self.without_alert();
    }

    fn without_alert(&mut self) {
        let manners = [
            ("reset", "server resets", Meant::ServerReset),
            ("close", "server closes", Meant::ServerClose),
            ("http", "plain answer", Meant::NotTls),
            ("silent", "server silent", Meant::Silence),
        ];
        for (manner, scenario, meant) in manners {
            let serve = Command { manner: manner.into(), ..self.server("p256", 1) };
            // Longer than the agent waits, for those whose patience is tried.
            let connect =
                Command { patience_ms: if meant == Meant::Silence { 7000 } else { 0 }, ..self.client() };
            let clients =
                ALL.iter().copied().filter(|client| meant != Meant::Silence || *client == Stack::Rustls);
            let connects = clients.map(|client| (client, connect.clone())).collect();
            self.add(scenario, Stack::Raw, &serve, connects, meant);
        }
        let abort = Command { manner: "abort".into(), ..self.client() };
        let pair = (&self.server("p256", 1), &abort);
        self.pairs("client resets", pair, 1, Meant::ClientReset, |_, client| client == Stack::Rustls);
    }
}
