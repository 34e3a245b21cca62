//! What happened in one connection, in the words of its ends: a case, both reports and the decrypted packets enter; what a right
//! record says leaves.

use crate::plan::Meant;
use crate::protocol::Report;
use crate::stack::Stack;
use crate::wire::{Phase, Side, View};

/// One connection and who had it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// Scenario.
    pub(crate) scenario: &'static str,
    /// Server's stack.
    pub(crate) server: Stack,
    /// Client's stack.
    pub(crate) client: Stack,
    /// Client's and server's port.
    pub(crate) ports: (u16, u16),
    /// What the scenario is for.
    pub(crate) meant: Meant,
    /// Early data was sent.
    pub(crate) early: bool,
    /// The client's words.
    pub(crate) said_client: Report,
    /// The server's, where its stack has some.
    pub(crate) said_server: Option<Report>,
}

/// Certificates of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// DER lengths in order; `None` for a compressed message.
    pub(crate) lengths: Option<Vec<u32>>,
    /// Bytes of all; of a compressed message as the client unpacked it.
    pub(crate) bytes: Option<u32>,
    /// The message without its header.
    pub(crate) message: u32,
    /// It was sent as CompressedCertificate.
    pub(crate) compressed: bool,
    /// Family of the signature that went with it, in TLS 1.3.
    pub(crate) family: Option<&'static str>,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Completed.
    Completed,
    /// By an alert.
    Alert {
        /// Who sent it.
        by: Side,
        /// Its number.
        description: u8,
        /// What protected it.
        phase: Phase,
        /// After the client's Finished.
        late: bool,
    },
    /// Another cause of failure, who, and whether the client had sent its Finished before. Several words where the record may
    /// say either.
    Cause(&'static [&'static str], Side, bool),
}

/// What a right record says. `None`: the ends do not tell.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    /// TLS 1.3, so that certificates are encrypted.
    pub(crate) modern: bool,
    /// Version.
    pub(crate) version: Option<u16>,
    /// Cipher suite.
    pub(crate) suite: Option<u16>,
    /// Group.
    pub(crate) group: Option<u16>,
    /// How the key was agreed.
    pub(crate) key_exchange: Option<&'static str>,
    /// A session was resumed.
    pub(crate) resumed: Option<bool>,
    /// There was a HelloRetryRequest.
    pub(crate) retry: Option<bool>,
    /// Protocol chosen, empty for none; encrypted in TLS 1.3.
    pub(crate) alpn: Option<String>,
    /// Type and length of the messages under the handshake keys: the server's, then the client's.
    pub(crate) messages: [Vec<(u8, usize)>; 2],
    /// The server's certificates.
    pub(crate) certificates: Option<Chain>,
    /// The client's.
    pub(crate) client_certificates: Option<Chain>,
    /// Lengths of the server's encrypted records up to its Finished.
    pub(crate) flight: Option<Vec<u16>>,
    /// How it ended.
    pub(crate) end: End,
}

impl Connection {
    /// Joins the words of both ends with what they sent. An error says that the ends contradict each other, or the scenario.
    pub(crate) fn truth(&self, view: &View) -> Result<Truth, String> {
        let server = self.said_server.clone().unwrap_or_default();
        let end = self.end(view, &server)?;
        let cut = match &end {
            End::Alert { by, .. } => view.alert(*by).map(|alert| view.up_to(alert.packet)),
            _ => None,
        };
        // An attempt is over with its alert, though more of a flight may be on its way.
        let view = cut.as_ref().unwrap_or(view);
        // What an end says of a handshake that it did not finish may be what it hoped for.
        let said = |of: fn(&Report) -> Option<u16>| {
            let finished = [&self.said_client, &server].into_iter().filter(|report| report.done);
            finished.filter_map(of).next()
        };
        let version = said(|report| report.version);
        let completed = self.meant == Meant::Served;
        let resumed = self.said_client.resumed.or(server.resumed);
        let mut certificates = chain(view, Side::Server);
        self.agree(&server, certificates.as_ref())?;
        if let (Some(chain), Some(told)) = (&mut certificates, &self.said_client.peer) {
            chain.bytes = chain.bytes.or_else(|| Some(told.iter().sum()));
        }
        Ok(Truth {
            modern: view.modern,
            version,
            suite: said(|report| report.suite),
            // The stacks tell the group of the session; before TLS 1.3 resuming it exchanges no key.
            group: said(|report| report.group).filter(|_| view.modern || resumed != Some(true)),
            key_exchange: completed
                .then(|| key_exchange(version, resumed, said(|report| report.suite)))
                .flatten(),
            resumed: resumed.filter(|_| completed),
            retry: self.said_client.retry.or(server.retry).filter(|_| completed),
            alpn: Some(self.said_client.alpn.clone()).filter(|_| completed),
            messages: [Side::Server, Side::Client].map(|side| view.encrypted_messages(side)),
            certificates,
            client_certificates: chain(view, Side::Client),
            flight: flight(view).filter(|_| completed && !self.early),
            end,
        })
    }

    /// What both ends tell has to be the same.
    fn agree(&self, server: &Report, certificates: Option<&Chain>) -> Result<(), String> {
        let client = &self.said_client;
        let served = self.meant == Meant::Served;
        if served && !(client.done && client.served) {
            return Err(format!(
                "was meant to be served; the client says: {:?}, the server: {:?}",
                client.error, server.error
            ));
        }
        if !served && client.served {
            return Err("was meant to fail and was served".to_owned());
        }
        let differ = |name: &str, a: Option<u16>, b: Option<u16>| match (a, b) {
            (Some(a), Some(b)) if a != b => {
                Err(format!("{name}: the client says {a:#06x}, the server {b:#06x}"))
            }
            _ => Ok(()),
        };
        if !(client.done && server.done) {
            return Ok(());
        }
        differ("version", client.version, server.version)?;
        differ("cipher suite", client.suite, server.suite)?;
        differ("group", client.group, server.group)?;
        if let (Some(told), Some(sent)) =
            (&client.peer, certificates.and_then(|chain| chain.lengths.as_ref()))
            && served
            && told != sent
        {
            return Err(format!("certificates: the client was given {told:?}, the packets hold {sent:?}"));
        }
        Ok(())
    }

    fn end(&self, view: &View, server: &Report) -> Result<End, String> {
        Ok(match self.meant {
            Meant::Served => End::Completed,
            Meant::ServerReset => End::Cause(&["reset"], Side::Server, false),
            Meant::ServerClose => End::Cause(&["closed"], Side::Server, false),
            Meant::Silence => End::Cause(&["timeout"], Side::Server, false),
            Meant::NotTls => End::Cause(&["not_tls"], Side::Server, false),
            Meant::ClientReset => End::Cause(&["reset"], Side::Client, false),
            Meant::Refused => {
                let [client_closed, server_closed] = view.closed;
                let closed = [(Side::Client, client_closed), (Side::Server, server_closed)];
                let close = closed
                    .into_iter()
                    .filter_map(|(side, close)| Some((side, close?)))
                    .min_by_key(|(_, close)| close.0);
                let sent = |side| Some((side, view.alert(side)?));
                let alert = [sent(Side::Client), sent(Side::Server)]
                    .into_iter()
                    .flatten()
                    .min_by_key(|(_, alert)| alert.packet);
                let late = |by, packet| by == Side::Server && view.finished_before(Side::Client, packet);
                match (alert, close) {
                    // An alert to a peer that has hung up is no cause.
                    (Some((by, alert)), close)
                        if close.is_none_or(|(_, (packet, _))| alert.packet <= packet) =>
                    {
                        self.heard(by, server, alert.description)?;
                        let late = late(by, alert.packet);
                        End::Alert { by, description: alert.description, phase: alert.phase, late }
                    }
                    // Node checks certificates once the handshake is over, and hangs up.
                    (_, Some(_)) if view.old_finished() => End::Completed,
                    (_, Some((by, (packet, reset)))) => {
                        // A reset behind a close only answers data that came after it.
                        let causes: &[&str] = if reset { &["reset"] } else { &["closed"] };
                        End::Cause(causes, by, late(by, packet))
                    }
                    (_, None) => return Err("was meant to be refused, and nothing ended it".to_owned()),
                }
            }
        })
    }

    /// An alert that was sent is the one that was received, where the receiver tells.
    fn heard(&self, by: Side, server: &Report, sent: u8) -> Result<(), String> {
        let heard = if by == Side::Server { self.said_client.alert_received } else { server.alert_received };
        match heard {
            Some(heard) if heard != sent => Err(format!("alert {sent} was sent, and {heard} received")),
            _ => Ok(()),
        }
    }
}

fn key_exchange(version: Option<u16>, resumed: Option<bool>, suite: Option<u16>) -> Option<&'static str> {
    Some(match (version? >= 0x0304, resumed?) {
        (true, true) => "psk_ephemeral",
        (false, true) => "resumed",
        (false, false) if matches!(suite, Some(0x0000..0x0033 | 0x009c | 0x009d)) => "static_rsa",
        (_, false) => "ephemeral",
    })
}

/// Length fields of the records with the server's flight. Those of tickets may follow in the same packet.
fn flight(view: &View) -> Option<Vec<u16>> {
    let mut lengths = Vec::new();
    for record in view.server.iter().filter(|record| record.kind == 23) {
        lengths.push(record.length);
        if record.messages.iter().any(|(kind, _)| *kind == 20) {
            return Some(lengths);
        }
    }
    None
}

fn chain(view: &View, side: Side) -> Option<Chain> {
    let family = view
        .message(side, 15)
        .and_then(|body| Some(family(u16::from_be_bytes(body.get(..2)?.try_into().ok()?))));
    let family = family.filter(|_| view.modern);
    let size = |body: &[u8]| u32::try_from(body.len()).unwrap_or(u32::MAX);
    if let Some(body) = view.message(side, 25) {
        return Some(Chain { lengths: None, bytes: None, message: size(body), compressed: true, family });
    }
    let body = view.message(side, 11)?;
    let mut rest =
        if view.modern { body.get(1 + usize::from(*body.first()?) + 3..)? } else { body.get(3..)? };
    let mut lengths = Vec::new();
    while let Some([a, b, c]) = rest.get(..3).and_then(|length| <[u8; 3]>::try_from(length).ok()) {
        let length = u32::from_be_bytes([0, a, b, c]);
        lengths.push(length);
        rest = rest.get(3 + length as usize..)?;
        if view.modern {
            let extensions = usize::from(u16::from_be_bytes(rest.get(..2)?.try_into().ok()?));
            rest = rest.get(2 + extensions..)?;
        }
    }
    let bytes = Some(lengths.iter().sum());
    Some(Chain { bytes, lengths: Some(lengths), message: size(body), compressed: false, family })
}

/// Family of a signature scheme (IANA, TLS SignatureScheme), in the words of the record.
fn family(scheme: u16) -> &'static str {
    match scheme {
        0x0403 => "ecdsa_p256",
        0x0503 => "ecdsa_p384",
        0x0603 => "ecdsa_p521",
        0x0807 => "ed25519",
        0x0808 => "ed448",
        0x0904 => "ml_dsa_44",
        0x0905 => "ml_dsa_65",
        0x0906 => "ml_dsa_87",
        0x0401 | 0x0501 | 0x0601 | 0x0804..=0x0806 | 0x0809..=0x080b => "rsa",
        _ => "unknown",
    }
}
