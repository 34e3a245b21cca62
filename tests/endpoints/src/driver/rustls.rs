//! rustls with aws-lc-rs as one end of a handshake.

use super::accept::{Listeners, PATIENCE};
use super::{REPLY, REQUEST, Stack};
use crate::protocol::{Command, Report};
use anyhow::{Context, Result, bail};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, CommonState, ConfigBuilder, ConfigSide, HandshakeKind, KeyLog,
    RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion, WantsVerifier, WantsVersions,
};
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
pub(super) struct Rustls {
    listeners: Listeners,
    /// Resuming needs the very store and verifier of the first connection, so the whole configuration is kept.
    sessions: HashMap<String, Arc<ClientConfig>>,
}

impl Stack for Rustls {
    fn serve(&mut self, command: &Command) -> Result<u16> {
        let config = Arc::new(server_config(command)?);
        self.listeners.begin(command.id, &command.address, move |socket, _| {
            match ServerConnection::new(config.clone()) {
                Ok(connection) => attend(connection, socket),
                Err(error) => Report { error: error.to_string(), ..Report::default() },
            }
        })
    }

    fn connect(&mut self, command: &Command) -> Result<Report> {
        let config = match self.sessions.get(&command.session) {
            Some(config) => config.clone(),
            None => Arc::new(client_config(command)?),
        };
        if !command.session.is_empty() {
            self.sessions.insert(command.session.clone(), config.clone());
        }
        let name = ServerName::try_from(command.name.clone())?;
        let connection = ClientConnection::new(config, name)?;
        let socket = TcpStream::connect(&command.address)?;
        let patience =
            if command.patience_ms > 0 { Duration::from_millis(command.patience_ms) } else { PATIENCE };
        socket.set_read_timeout(Some(patience))?;
        let port = socket.local_addr()?.port();
        if command.manner == "abort" {
            let error = abort(connection, socket).err().map(|error| error.to_string()).unwrap_or_default();
            return Ok(Report { port, error, ..Report::default() });
        }
        Ok(Report { port, ..converse(connection, socket, command.early) })
    }

    fn stop(&mut self, command: &Command) -> Result<Vec<Report>> {
        Ok(self.listeners.end(command.serve, command.expect))
    }
}

/// Appends lines to the file that all stacks write to; a whole line at once, so that lines never mix.
#[derive(Debug)]
struct KeyLines(Mutex<File>);

impl KeyLines {
    fn open(path: &str) -> Result<Arc<Self>> {
        let file = File::options().append(true).create(true).open(path).with_context(|| path.to_owned())?;
        Ok(Arc::new(Self(Mutex::new(file))))
    }
}

impl KeyLog for KeyLines {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let line = format!(
            "{label} {} {}\n",
            crate::wire::keylog::hex(client_random),
            crate::wire::keylog::hex(secret)
        );
        if let Ok(mut file) = self.0.lock() {
            // A line that is missing shows as a flight that cannot be decrypted.
            let _ = file.write_all(line.as_bytes());
        }
    }
}

fn provider(command: &Command) -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    if !command.groups.is_empty() {
        let all = aws_lc_rs::ALL_KX_GROUPS;
        let find = |wanted: &u16| all.iter().copied().find(|group| u16::from(group.name()) == *wanted);
        provider.kx_groups = command.groups.iter().filter_map(find).collect();
    }
    if !command.suites.is_empty() {
        provider.cipher_suites.retain(|suite| command.suites.contains(&u16::from(suite.suite())));
    }
    Arc::new(provider)
}

fn versions(command: &Command) -> Vec<&'static SupportedProtocolVersion> {
    let wanted = |version: &&'static SupportedProtocolVersion| {
        let number = u16::from(version.version);
        number >= command.minimum && (command.maximum == 0 || number <= command.maximum)
    };
    [&rustls::version::TLS13, &rustls::version::TLS12].into_iter().filter(wanted).collect()
}

fn with_versions<S: ConfigSide>(
    builder: ConfigBuilder<S, WantsVersions>,
    command: &Command,
) -> Result<ConfigBuilder<S, WantsVerifier>> {
    Ok(builder.with_protocol_versions(&versions(command))?)
}

fn roots(path: &str) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path)? {
        store.add_parsable_certificates([certificate?]);
    }
    Ok(store)
}

fn identity(command: &Command) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = CertificateDer::pem_file_iter(&command.chain)?.collect::<Result<_, _>>()?;
    Ok((chain, PrivateKeyDer::from_pem_file(&command.key)?))
}

fn server_config(command: &Command) -> Result<ServerConfig> {
    let provider = provider(command);
    let builder = with_versions(ServerConfig::builder_with_provider(provider.clone()), command)?;
    let builder = if command.trust.is_empty() {
        builder.with_no_client_auth()
    } else {
        let roots = Arc::new(roots(&command.trust)?);
        builder
            .with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(roots, provider).build()?)
    };
    let (chain, key) = identity(command)?;
    let ocsp = if command.ocsp.is_empty() { Vec::new() } else { std::fs::read(&command.ocsp)? };
    let mut config = builder.with_single_cert_with_ocsp(chain, key, ocsp)?;
    config.alpn_protocols = command.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    config.key_log = KeyLines::open(&command.keylog)?;
    if command.tickets {
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        // Early data goes with sessions that the server itself remembers.
        if command.early {
            config.ticketer = Arc::new(NoTickets);
            config.max_early_data_size = 1024;
        }
    } else {
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    }
    if !command.compress {
        config.cert_compressors.clear();
        config.cert_decompressors.clear();
    }
    Ok(config)
}

/// Has the server remember sessions instead of sealing them into tickets.
#[derive(Debug)]
struct NoTickets;

impl rustls::server::ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }
    fn lifetime(&self) -> u32 {
        0
    }
    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

fn client_config(command: &Command) -> Result<ClientConfig> {
    let builder = with_versions(ClientConfig::builder_with_provider(provider(command)), command)?;
    let builder = builder.with_root_certificates(roots(&command.trust)?);
    let mut config = if command.chain.is_empty() {
        builder.with_no_client_auth()
    } else {
        let (chain, key) = identity(command)?;
        builder.with_client_auth_cert(chain, key)?
    };
    config.alpn_protocols = command.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    config.key_log = KeyLines::open(&command.keylog)?;
    config.enable_early_data = command.early;
    config.resumption = if command.session.is_empty() {
        Resumption::disabled()
    } else {
        Resumption::store(Arc::new(ClientSessionMemoryCache::new(4)))
    };
    if !command.compress {
        config.cert_compressors.clear();
        config.cert_decompressors.clear();
    }
    Ok(config)
}

fn attend(mut connection: ServerConnection, mut socket: TcpStream) -> Report {
    let mut report = Report::default();
    let result = (|| -> Result<()> {
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        report.done = true;
        let mut early = Vec::new();
        if let Some(mut data) = connection.early_data() {
            data.read_to_end(&mut early)?;
        }
        if early.is_empty() && rustls::Stream::new(&mut connection, &mut socket).read(&mut [0; 4096])? == 0 {
            bail!("closed before the request");
        }
        rustls::Stream::new(&mut connection, &mut socket).write_all(REPLY)?;
        report.served = true;
        connection.send_close_notify();
        while connection.wants_write() {
            connection.write_tls(&mut socket)?;
        }
        Ok(())
    })();
    tell(&mut report, &connection, result.err());
    report
}

fn converse(mut connection: ClientConnection, mut socket: TcpStream, early: bool) -> Report {
    let mut report = Report::default();
    let result = (|| -> Result<()> {
        let mut sent = false;
        if early && let Some(mut data) = connection.early_data() {
            data.write_all(REQUEST)?;
            sent = true;
        }
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        report.done = true;
        if !sent || !connection.is_early_data_accepted() {
            rustls::Stream::new(&mut connection, &mut socket).write_all(REQUEST)?;
        }
        let mut reply = Vec::new();
        rustls::Stream::new(&mut connection, &mut socket).read_to_end(&mut reply)?;
        report.served = !reply.is_empty();
        connection.send_close_notify();
        while connection.wants_write() {
            connection.write_tls(&mut socket)?;
        }
        Ok(())
    })();
    tell(&mut report, &connection, result.err());
    report
}

/// Sends a hello, waits for the answer and hangs up with it unread, which resets the connection.
fn abort(mut connection: ClientConnection, mut socket: TcpStream) -> Result<()> {
    connection.write_tls(&mut socket)?;
    socket.peek(&mut [0; 1])?;
    Ok(())
}

fn tell(report: &mut Report, state: &CommonState, error: Option<anyhow::Error>) {
    report.version = state.protocol_version().map(u16::from);
    report.suite = state.negotiated_cipher_suite().map(|suite| u16::from(suite.suite()));
    report.group = state.negotiated_key_exchange_group().map(|group| u16::from(group.name()));
    let kind = state.handshake_kind();
    report.resumed = kind.map(|kind| kind == HandshakeKind::Resumed);
    report.retry = kind.map(|kind| kind == HandshakeKind::FullWithHelloRetryRequest);
    report.alpn =
        state.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default();
    report.peer = state.peer_certificates().map(|chain| {
        chain.iter().map(|certificate| u32::try_from(certificate.len()).unwrap_or(u32::MAX)).collect()
    });
    let Some(error) = error else { return };
    report.error = format!("{error:#}");
    let cause = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
    if let Some(rustls::Error::AlertReceived(alert)) =
        cause.and_then(|cause| cause.downcast_ref::<rustls::Error>())
    {
        report.alert_received = Some(u8::from(*alert));
    }
}
