//! OpenSSL as one end of a handshake: its command line tools, whose output is read. `s_client` tells the negotiated values, and
//! with `-msg` every alert; `s_server` is not read, since it does not tell its connections apart.

use super::{REQUEST, Stack};
use crate::protocol::{Command, Report};
use anyhow::{Context, Result, anyhow};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

/// How long a client or server process may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct OpenSsl {
    program: String,
    servers: HashMap<u32, Child>,
    folder: std::path::PathBuf,
}

impl OpenSsl {
    pub(super) fn new(program: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("endpoints-openssl-{}", std::process::id()));
        Self { program: program.to_owned(), servers: HashMap::new(), folder }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        for child in self.servers.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Stack for OpenSsl {
    fn serve(&mut self, command: &Command) -> Result<u16> {
        let mut process = Process::new(&self.program);
        process.args(["s_server", "-www", "-accept", &command.address]).args(options(command));
        process.args(["-naccept", &command.expect.max(1).to_string()]);
        if !command.trust.is_empty() {
            process.args(["-Verify", "9", "-verify_return_error"]);
        }
        if !command.tickets {
            process.args(["-no_ticket", "-num_tickets", "0", "-no_cache"]);
        }
        if command.compress {
            process.arg("-cert_comp");
        }
        if command.early {
            process.args(["-early_data", "-no_anti_replay"]);
        }
        if !command.ocsp.is_empty() {
            process.args(["-status_file", &command.ocsp]);
        }
        if let Some(first) = command.alpn.first() {
            process.args(["-alpn", first]);
        }
        let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let output = child.stdout.take().context("no output")?;
        let mut lines = BufReader::new(output).lines();
        let port = loop {
            let line = lines.next().context("s_server ended before it listened")??;
            if let Some(address) = line.strip_prefix("ACCEPT ") {
                let port = address.rsplit(':').next().unwrap_or_default();
                break port.parse().with_context(|| address.to_owned())?;
            }
        };
        // Read on, or the server would stop at a full pipe. The thread ends with the process.
        std::thread::spawn(move || lines.for_each(drop));
        self.servers.insert(command.id, child);
        Ok(port)
    }

    fn connect(&mut self, command: &Command) -> Result<Report> {
        let host = command.address.rsplit_once(':').context("no port")?.0;
        let (mut output, mut port) = self.client(command, own_host(host))?;
        // Somebody else may have taken the port in between.
        for _ in 0..3 {
            if output.contains("unable to bind") {
                (output, port) = self.client(command, own_host(host))?;
            }
        }
        let mut report = read_client(&output);
        report.port = port;
        Ok(report)
    }

    fn stop(&mut self, command: &Command) -> Result<Vec<Report>> {
        if let Some(mut child) = self.servers.remove(&command.serve) {
            bounded_wait(&mut child, Duration::from_secs(2))?;
        }
        Ok(Vec::new())
    }
}

/// The client's own address: on loopback the same, between namespaces the neighbour of the server's (`network`).
fn own_host(server: &str) -> String {
    match server.rsplit_once('.') {
        Some((network, _)) if !server.starts_with("127.") => format!("{network}.1"),
        _ => server.to_owned(),
    }
}

impl OpenSsl {
    fn client(&self, command: &Command, host: String) -> Result<(String, u16)> {
        std::fs::create_dir_all(&self.folder)?;
        // The tool does not tell its port, so that it is given one.
        let port = TcpListener::bind((host.as_str(), 0))?.local_addr()?.port();
        let mut process = Process::new(&self.program);
        process.args(["s_client", "-msg", "-showcerts", "-ign_eof", "-verify_return_error"]);
        process.args([
            "-connect",
            &command.address,
            "-bind",
            &format!("{host}:{port}"),
            "-servername",
            &command.name,
        ]);
        process.args(["-verify_hostname", &command.name]).args(options(command));
        if !command.session.is_empty() {
            let file = self.folder.join(&command.session);
            if file.exists() {
                process.arg("-sess_in").arg(&file);
                if command.early {
                    let data = self.folder.join("request");
                    std::fs::write(&data, REQUEST)?;
                    process.arg("-early_data").arg(data);
                }
            } else {
                process.arg("-sess_out").arg(&file);
            }
        }
        if !command.compress {
            process.args(["-no_rx_cert_comp", "-no_tx_cert_comp"]);
        }
        if !command.ocsp.is_empty() {
            process.arg("-status");
        }
        if !command.alpn.is_empty() {
            process.args(["-alpn", &command.alpn.join(",")]);
        }
        let mut child =
            process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // Fails where the client has given up already, which its output tells.
            let _ = input.write_all(REQUEST);
        }
        let mut output = child.stdout.take().context("no output")?;
        let mut errors = child.stderr.take().context("no errors")?;
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).map(|_| bytes)
        });
        let error_reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            errors.read_to_end(&mut bytes).map(|_| bytes)
        });
        let patience =
            if command.patience_ms > 0 { Duration::from_millis(command.patience_ms) } else { PATIENCE };
        bounded_wait(&mut child, patience)?;
        let mut text = String::from_utf8_lossy(&reader.join().map_err(|_| anyhow!("reader"))??).into_owned();
        text.push_str(&String::from_utf8_lossy(&error_reader.join().map_err(|_| anyhow!("reader"))??));
        Ok((text, port))
    }
}

/// Waits for a process, and ends it where it takes longer.
fn bounded_wait(child: &mut Child, patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// What both tools take alike.
fn options(command: &Command) -> Vec<String> {
    let mut list = Vec::new();
    let mut add = |name: &str, value: &str| list.extend([name.to_owned(), value.to_owned()]);
    add("-keylogfile", &command.keylog);
    if !command.chain.is_empty() {
        // -cert takes the first certificate of its file, -cert_chain all of its own.
        add("-cert", &command.chain);
        let rest = format!("{}.rest", command.chain);
        if std::path::Path::new(&rest).exists() {
            add("-cert_chain", &rest);
        }
        add("-key", &command.key);
    }
    if !command.trust.is_empty() {
        add("-CAfile", &command.trust);
    }
    let version = |number| match number {
        0x0301 => "TLSv1",
        0x0302 => "TLSv1.1",
        0x0303 => "TLSv1.2",
        _ => "TLSv1.3",
    };
    if command.minimum != 0 {
        add("-min_protocol", version(command.minimum));
    }
    if command.maximum != 0 {
        add("-max_protocol", version(command.maximum));
    }
    if command.minimum != 0 && command.minimum < 0x0303 {
        add("-cipher", "DEFAULT:@SECLEVEL=0");
    }
    let names = |table: &[(u16, &str)], numbers: &[u16]| {
        let name = |number: &u16| table.iter().find(|(known, _)| known == number).map(|(_, name)| *name);
        numbers.iter().filter_map(name).collect::<Vec<_>>().join(":")
    };
    let groups = names(GROUPS, &command.groups);
    if !groups.is_empty() {
        add("-groups", &groups);
    }
    for (option, table) in [("-ciphersuites", SUITES), ("-cipher", OLD_SUITES)] {
        let suites = names(table, &command.suites);
        if !suites.is_empty() {
            add(option, &suites);
        }
    }
    list
}

const GROUPS: &[(u16, &str)] = &[
    (0x0017, "secp256r1"),
    (0x0018, "secp384r1"),
    (0x0019, "secp521r1"),
    (0x001d, "X25519"),
    (0x001e, "X448"),
    (0x0100, "ffdhe2048"),
    (0x0200, "MLKEM512"),
    (0x0201, "MLKEM768"),
    (0x0202, "MLKEM1024"),
    (0x11eb, "SecP256r1MLKEM768"),
    (0x11ec, "X25519MLKEM768"),
    (0x11ed, "SecP384r1MLKEM1024"),
];

const SUITES: &[(u16, &str)] = &[
    (0x1301, "TLS_AES_128_GCM_SHA256"),
    (0x1302, "TLS_AES_256_GCM_SHA384"),
    (0x1303, "TLS_CHACHA20_POLY1305_SHA256"),
];

const OLD_SUITES: &[(u16, &str)] = &[
    (0x009c, "AES128-GCM-SHA256"),
    (0x009d, "AES256-GCM-SHA384"),
    (0x009e, "DHE-RSA-AES128-GCM-SHA256"),
    (0x009f, "DHE-RSA-AES256-GCM-SHA384"),
    (0xc009, "ECDHE-ECDSA-AES128-SHA"),
    (0xc00a, "ECDHE-ECDSA-AES256-SHA"),
    (0xc013, "ECDHE-RSA-AES128-SHA"),
    (0xc014, "ECDHE-RSA-AES256-SHA"),
    (0xc02b, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (0xc02c, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (0xc02f, "ECDHE-RSA-AES128-GCM-SHA256"),
    (0xc030, "ECDHE-RSA-AES256-GCM-SHA384"),
    (0xcca8, "ECDHE-RSA-CHACHA20-POLY1305"),
    (0xcca9, "ECDHE-ECDSA-CHACHA20-POLY1305"),
];

/// Reads what `s_client` printed.
fn read_client(output: &str) -> Report {
    let mut report = Report::default();
    let (mut hellos, mut chain, mut certificate) = (0, Vec::new(), None::<String>);
    let mut lines = output.lines();
    while let Some(line) = lines.next() {
        if line.starts_with(">>> ") && line.ends_with(", ClientHello") {
            hellos += 1;
        } else if line.contains(", Alert [length 0002]") {
            let number = lines
                .next()
                .and_then(|bytes| bytes.split_whitespace().nth(1))
                .and_then(|hex| u8::from_str_radix(hex, 16).ok());
            let number = number.filter(|number| *number != 0);
            let slot =
                if line.starts_with(">>>") { &mut report.alert_sent } else { &mut report.alert_received };
            *slot = slot.or(number);
        } else if line == "Certificate chain" {
            // What was printed before belongs to a stapled response.
            chain.clear();
        } else if line.contains("-----BEGIN CERTIFICATE-----") {
            certificate = Some(String::new());
        } else if line.contains("-----END CERTIFICATE-----") {
            chain.extend(certificate.take().map(|text| der_length(&text)));
        } else if let Some(text) = certificate.as_mut() {
            text.push_str(line.trim());
        } else {
            read_line(line, &mut report);
        }
    }
    report.peer = Some(chain).filter(|chain| !chain.is_empty());
    if report.version.is_some() {
        report.retry = Some(hellos > 1);
    }
    report
}

fn read_line(line: &str, report: &mut Report) {
    let number = |table: &[(u16, &str)], name: &str| {
        table.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
    };
    if let Some((how, rest)) =
        line.split_once(", TLSv").and_then(|(how, rest)| Some((how, rest.split_once(", Cipher is ")?)))
    {
        report.done = true;
        report.resumed = Some(how == "Reused");
        report.suite = number(SUITES, rest.1).or_else(|| number(OLD_SUITES, rest.1));
    } else if let Some(name) =
        line.strip_prefix("Protocol: ").or_else(|| line.trim().strip_prefix("Protocol  : "))
    {
        report.version = match name.trim() {
            "TLSv1" => Some(0x0301),
            "TLSv1.1" => Some(0x0302),
            "TLSv1.2" => Some(0x0303),
            "TLSv1.3" => Some(0x0304),
            _ => None,
        };
    } else if let Some(name) = line.strip_prefix("Negotiated TLS1.3 group: ") {
        report.group = number(GROUPS, name);
    } else if let Some(rest) = line.strip_prefix("Peer Temp Key: ").filter(|_| report.group.is_none()) {
        let name = rest.split(", ").find(|word| *word != "ECDH" && *word != "DH").unwrap_or_default();
        report.group = match name {
            "prime256v1" => Some(0x0017),
            other => number(GROUPS, other),
        };
    } else if let Some(name) = line.strip_prefix("ALPN protocol: ") {
        name.clone_into(&mut report.alpn);
    } else if line.contains("TTP/1.0 200") {
        // TLS 1.0 sends the first byte in a record of its own.
        report.served = true;
    } else if line.contains("error:") {
        report.error = line.to_owned();
    }
}

/// Bytes behind a text in base64.
fn der_length(text: &str) -> u32 {
    let padding = text.bytes().rev().take_while(|byte| *byte == b'=').count();
    u32::try_from(text.len() / 4 * 3 - padding).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_s_words_become_a_report() {
        let report = read_client(
            "ALPN protocol: h2\n>>> TLS 1.3, Handshake [length 060e], ClientHello\n    01 00\nNegotiated TLS1.3 group: X25519MLKEM768\n\
             New, TLSv1.3, Cipher is TLS_AES_128_GCM_SHA256\nProtocol: TLSv1.3\n<<< TLS 1.3, Alert [length 0002], fatal unknown_ca\n    02 30\n",
        );
        assert_eq!(report.group, Some(0x11ec));
        assert_eq!(report.suite, Some(0x1301));
        assert_eq!(report.version, Some(0x0304));
        assert_eq!((report.retry, report.resumed), (Some(false), Some(false)));
        assert_eq!((report.alert_sent, report.alert_received), (None, Some(48)));
        assert_eq!(report.alpn, "h2");
    }

    #[test]
    fn a_certificate_s_size_is_that_of_its_der() {
        assert_eq!(der_length("AAAA"), 3);
        assert_eq!(der_length("AAAAAA=="), 4);
    }
}
