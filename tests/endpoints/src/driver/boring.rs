//! BoringSSL as one end of a handshake. Resuming as a client is left out: its binding needs `unsafe`.

use super::accept::{Listeners, PATIENCE};
use super::{REPLY, REQUEST, Stack};
use crate::protocol::{Command, Report};
use anyhow::{Result, anyhow, bail};
use boring::ssl::{
    AlpnError, HandshakeError, Ssl, SslAlert, SslContext, SslContextBuilder, SslFiletype,
    SslInfoCallbackMode, SslInfoCallbackValue, SslMethod, SslOptions, SslRef, SslStream, SslVerifyMode,
    SslVersion,
};
use boring::x509::X509;
use std::cell::Cell;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Duration;

thread_local! {
    /// Alerts of this thread's connection: sent and received. Every connection has a thread of its own, or comes after the one
    /// before it.
    static ALERTS: Cell<(Option<u8>, Option<u8>)> = const { Cell::new((None, None)) };
}

/// The alerts that the lab's failures lead to; close_notify is none.
const ALERT_NUMBERS: &[(SslAlert, u8)] = &[
    (SslAlert::UNEXPECTED_MESSAGE, 10),
    (SslAlert::BAD_RECORD_MAC, 20),
    (SslAlert::HANDSHAKE_FAILURE, 40),
    (SslAlert::BAD_CERTIFICATE, 42),
    (SslAlert::UNSUPPORTED_CERTIFICATE, 43),
    (SslAlert::CERTIFICATE_EXPIRED, 45),
    (SslAlert::CERTIFICATE_UNKNOWN, 46),
    (SslAlert::ILLEGAL_PARAMETER, 47),
    (SslAlert::UNKNOWN_CA, 48),
    (SslAlert::DECODE_ERROR, 50),
    (SslAlert::DECRYPT_ERROR, 51),
    (SslAlert::PROTOCOL_VERSION, 70),
    (SslAlert::INTERNAL_ERROR, 80),
    (SslAlert::MISSING_EXTENSION, 109),
    (SslAlert::UNRECOGNIZED_NAME, 112),
    (SslAlert::CERTIFICATE_REQUIRED, 116),
    (SslAlert::NO_APPLICATION_PROTOCOL, 120),
];

#[derive(Default)]
pub(super) struct Boring {
    listeners: Listeners,
}

impl Stack for Boring {
    fn serve(&mut self, command: &Command) -> Result<u16> {
        let context = server_context(command)?;
        let ocsp = if command.ocsp.is_empty() { None } else { Some(std::fs::read(&command.ocsp)?) };
        self.listeners.begin(command.id, &command.address, move |socket, _| {
            match ready(&context, ocsp.as_deref()) {
                Ok(ssl) => attend(ssl, socket),
                Err(error) => Report { error: error.to_string(), ..Report::default() },
            }
        })
    }

    fn connect(&mut self, command: &Command) -> Result<Report> {
        let context = client_context(command)?;
        let mut ssl = Ssl::new(&context)?;
        ssl.set_hostname(&command.name)?;
        ssl.param_mut().set_host(&command.name)?;
        let socket = TcpStream::connect(&command.address)?;
        let patience =
            if command.patience_ms > 0 { Duration::from_millis(command.patience_ms) } else { PATIENCE };
        socket.set_read_timeout(Some(patience))?;
        let port = socket.local_addr()?.port();
        Ok(Report { port, ..converse(ssl, socket) })
    }

    fn stop(&mut self, command: &Command) -> Result<Vec<Report>> {
        Ok(self.listeners.end(command.serve, command.expect))
    }
}

fn ready(context: &SslContext, ocsp: Option<&[u8]>) -> Result<Ssl> {
    let mut ssl = Ssl::new(context)?;
    if let Some(response) = ocsp {
        ssl.set_ocsp_status(response)?;
    }
    Ok(ssl)
}

/// BoringSSL's names of the groups that it has.
fn group_name(group: u16) -> Option<&'static str> {
    Some(match group {
        0x0017 => "P-256",
        0x0018 => "P-384",
        0x0019 => "P-521",
        0x001d => "X25519",
        0x11ec => "X25519MLKEM768",
        _ => return None,
    })
}

fn base(command: &Command) -> Result<SslContextBuilder> {
    let mut builder = SslContext::builder(SslMethod::tls())?;
    if command.minimum != 0 {
        builder.set_min_proto_version(Some(
            SslVersion::try_from(command.minimum).map_err(|error| anyhow!(error))?,
        ))?;
    }
    if command.maximum != 0 {
        builder.set_max_proto_version(Some(
            SslVersion::try_from(command.maximum).map_err(|error| anyhow!(error))?,
        ))?;
    }
    if !command.groups.is_empty() {
        let names: Vec<_> = command.groups.iter().filter_map(|group| group_name(*group)).collect();
        builder.set_curves_list(&names.join(":"))?;
    }
    if !command.chain.is_empty() {
        builder.set_certificate_chain_file(&command.chain)?;
        builder.set_private_key_file(&command.key, SslFiletype::PEM)?;
    }
    if !command.trust.is_empty() {
        for certificate in X509::stack_from_pem(&std::fs::read(&command.trust)?)? {
            builder.cert_store_mut().add_cert(&certificate)?;
        }
    }
    let log = Mutex::new(File::options().append(true).create(true).open(&command.keylog)?);
    builder.set_keylog_callback(move |_, line| {
        if let Ok(mut log) = log.lock() {
            // A line that is missing shows as a flight that cannot be decrypted.
            let _ = log.write_all(format!("{line}\n").as_bytes());
        }
    });
    builder.set_info_callback(|_, mode, value| {
        let SslInfoCallbackValue::Alert(alert) = value else { return };
        let number =
            ALERT_NUMBERS.iter().find(|(known, _)| *known == alert.alert()).map(|(_, number)| *number);
        let (sent, received) = ALERTS.get();
        if mode == SslInfoCallbackMode::WRITE_ALERT {
            ALERTS.set((sent.or(number), received));
        } else if mode == SslInfoCallbackMode::READ_ALERT {
            ALERTS.set((sent, received.or(number)));
        }
    });
    Ok(builder)
}

fn server_context(command: &Command) -> Result<SslContext> {
    let mut builder = base(command)?;
    builder.set_session_id_context(b"endpoints")?;
    if !command.trust.is_empty() {
        builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    }
    if !command.tickets {
        builder.set_options(SslOptions::NO_TICKET);
    }
    if !command.alpn.is_empty() {
        let wanted = wire_list(&command.alpn);
        builder.set_alpn_select_callback(move |_, offered| {
            // The answer has to borrow from the offer.
            let chosen = boring::ssl::select_next_proto(&wanted, offered).ok_or(AlpnError::ALERT_FATAL)?;
            let at = offered
                .windows(chosen.len())
                .position(|window| window == chosen)
                .ok_or(AlpnError::ALERT_FATAL)?;
            offered.get(at..at + chosen.len()).ok_or(AlpnError::ALERT_FATAL)
        });
    }
    Ok(builder.build())
}

fn client_context(command: &Command) -> Result<SslContext> {
    let mut builder = base(command)?;
    builder.set_verify(SslVerifyMode::PEER);
    if !command.alpn.is_empty() {
        builder.set_alpn_protos(&wire_list(&command.alpn))?;
    }
    if !command.ocsp.is_empty() {
        builder.enable_ocsp_stapling();
    }
    Ok(builder.build())
}

/// Names in the form of the extension: each behind its length.
fn wire_list(names: &[String]) -> Vec<u8> {
    names
        .iter()
        .flat_map(|name| std::iter::once(u8::try_from(name.len()).unwrap_or(u8::MAX)).chain(name.bytes()))
        .collect()
}

fn attend(ssl: Ssl, socket: TcpStream) -> Report {
    ALERTS.set((None, None));
    let mut report = Report::default();
    let result = shaken(ssl.accept(socket), &mut report).and_then(|mut stream| {
        let result = (|| {
            if stream.read(&mut [0; 4096])? == 0 {
                bail!("closed before the request");
            }
            stream.write_all(REPLY)?;
            report.served = true;
            stream.shutdown()?;
            Ok(())
        })();
        tell(&mut report, stream.ssl());
        result
    });
    finish(report, result)
}

fn converse(ssl: Ssl, socket: TcpStream) -> Report {
    ALERTS.set((None, None));
    let mut report = Report::default();
    let result = shaken(ssl.connect(socket), &mut report).and_then(|mut stream| {
        let result = (|| {
            stream.write_all(REQUEST)?;
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply)?;
            report.served = !reply.is_empty();
            stream.shutdown()?;
            Ok(())
        })();
        tell(&mut report, stream.ssl());
        result
    });
    finish(report, result)
}

fn shaken(
    result: Result<SslStream<TcpStream>, HandshakeError<TcpStream>>,
    report: &mut Report,
) -> Result<SslStream<TcpStream>> {
    match result {
        Ok(stream) => {
            report.done = true;
            Ok(stream)
        }
        Err(HandshakeError::Failure(middle)) => {
            tell(report, middle.ssl());
            Err(anyhow!("{}", middle.error()))
        }
        Err(error) => Err(anyhow!("{error}")),
    }
}

fn tell(report: &mut Report, ssl: &SslRef) {
    if !report.done {
        return;
    }
    report.version = ssl.version2().and_then(|version| {
        [SslVersion::TLS1, SslVersion::TLS1_1, SslVersion::TLS1_2, SslVersion::TLS1_3]
            .iter()
            .zip(0x0301..)
            .find_map(|(known, number)| (*known == version).then_some(number))
    });
    report.suite = ssl.current_cipher().map(|cipher| cipher.protocol_id());
    report.group = ssl.curve();
    report.resumed = Some(ssl.session_reused());
    report.alpn = ssl
        .selected_alpn_protocol()
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .unwrap_or_default();
    let lengths = |chain: &boring::stack::StackRef<X509>| {
        chain.iter().filter_map(|certificate| certificate.to_der().ok()?.len().try_into().ok()).collect()
    };
    if !ssl.is_server() {
        report.peer = ssl.peer_cert_chain().map(lengths);
    }
}

fn finish(mut report: Report, result: Result<()>) -> Report {
    if let Err(error) = result {
        report.error = format!("{error:#}");
    }
    (report.alert_sent, report.alert_received) = ALERTS.get();
    report
}
