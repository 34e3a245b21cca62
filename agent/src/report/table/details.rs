//! The lines about what stands beside the outcomes. A capture without any such thing has none of them.

use super::{printable, right, table, write};
use comfy_table::Cell;
use pqscope_agent_core::observation::Evidence;
use pqscope_agent_core::summary::{ChainKind, Details};
use std::io::{self, Write};

/// Why completed handshakes are not post-quantum, and how many of them are fallbacks.
pub(super) fn not_post_quantum(out: &mut impl Write, details: &Details) -> io::Result<()> {
    let mut rows: Vec<_> = details.not_post_quantum.iter().collect();
    if rows.is_empty() && details.fallbacks == 0 {
        return Ok(());
    }
    rows.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let mut lines = table(&["NOT POST-QUANTUM BECAUSE", "", "COMPLETED"]);
    for (reason, count) in rows {
        lines.add_row([Cell::new(reason), Cell::new(reason_title(reason)), right(&count.to_string())]);
    }
    write(out, &lines)?;
    if details.fallbacks > 0 {
        let text = "completed without a post-quantum key share after the same client had failed with one";
        writeln!(out, "fallbacks: {} {text}", details.fallbacks)?;
    }
    Ok(())
}

fn reason_title(reason: &str) -> &'static str {
    match reason {
        "no_key_exchange" => "resumed, or a pre-shared key alone",
        "not_offered" => "the client lists no post-quantum group",
        "version_too_old" => "a version before TLS 1.3 was negotiated",
        "retry_to_classical" => "the server asked for a classical share instead",
        "server_ignored_share" => "the server passed over the client's post-quantum share",
        "offered_without_share" => "listed by the client, without a share, and not asked for",
        _ => "",
    }
}

/// Trouble on the path.
pub(super) fn path(out: &mut impl Write, details: &Details) -> io::Result<()> {
    if details.path.is_empty() {
        return Ok(());
    }
    let mut lines = table(&["PATH", "ATTEMPTS", "PACKETS"]);
    for (event, trouble) in &details.path {
        let (title, counts_packets) = match *event {
            "retransmission" => ("sent again", true),
            "out_of_order" => ("out of order", true),
            "too_big" => ("too big, says a router (ICMP)", true),
            "over_initial_window" => ("server's flight over ten segments", false),
            "duplicate" => ("captured twice", true),
            other => (other, true),
        };
        let packets = if counts_packets { trouble.events.to_string() } else { "-".to_owned() };
        lines.add_row([Cell::new(title), right(&trouble.attempts.to_string()), right(&packets)]);
    }
    write(out, &lines)
}

/// What TLS came through: tunnels, and protocols that were spoken before.
pub(super) fn ways(out: &mut impl Write, details: &Details) -> io::Result<()> {
    let upgrades = details.by_upgrade.iter().map(|(name, count)| (*name, *count));
    let tunnels = details.by_tunnel.iter().map(|(name, count)| (name.as_str(), *count));
    counted(out, "UPGRADED FROM", upgrades)?;
    counted(out, "IN TUNNELS", tunnels)
}

fn counted<'a>(
    out: &mut impl Write,
    title: &str,
    rows: impl Iterator<Item = (&'a str, u64)>,
) -> io::Result<()> {
    let mut lines = table(&[title, "ATTEMPTS"]);
    for (name, count) in rows {
        lines.add_row([Cell::new(printable(name)), right(&count.to_string())]);
    }
    if lines.is_empty() { Ok(()) } else { write(out, &lines) }
}

/// Sizes of the servers' certificate chains, in bytes.
pub(super) fn certificates(out: &mut impl Write, details: &Details) -> io::Result<()> {
    if details.chains.is_empty() {
        return Ok(());
    }
    let mut lines = table(&["CERTIFICATES, BYTES", "EVIDENCE", "HANDSHAKES", "LEAST", "MEDIAN", "MOST"]);
    for (kind, chains) in &details.chains {
        let bytes = |bytes: Option<u64>| right(&bytes.map_or_else(|| "-".to_owned(), |n| n.to_string()));
        let median = chains.median().map_or_else(|| "-".to_owned(), |median| format!("{median:.0}"));
        lines.add_row([
            Cell::new(printable(&kind.key)),
            Cell::new(evidence(kind)),
            right(&chains.handshakes.to_string()),
            bytes(chains.low),
            right(&median),
            bytes(chains.high),
        ]);
    }
    write(out, &lines)
}

fn evidence(kind: &ChainKind) -> &'static str {
    match kind.evidence {
        Evidence::Inferred if kind.may_be_compressed => "inferred, if not compressed",
        evidence => evidence.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pqscope_agent_core::summary::Trouble;

    fn shown(details: &Details) -> String {
        let mut out = Vec::new();
        not_post_quantum(&mut out, details).unwrap();
        path(&mut out, details).unwrap();
        ways(&mut out, details).unwrap();
        certificates(&mut out, details).unwrap();
        let text = String::from_utf8(out).unwrap();
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
    }

    #[test]
    fn nothing_remarkable_has_no_lines() {
        assert_eq!(shown(&Details::default()), "");
    }

    #[test]
    fn every_detail_has_a_line() {
        let mut details = Details { fallbacks: 2, ..Details::default() };
        details.not_post_quantum.insert("not_offered", 1);
        details.not_post_quantum.insert("server_ignored_share", 3);
        details.path.insert("retransmission", Trouble { attempts: 4, events: 9 });
        details.path.insert("over_initial_window", Trouble { attempts: 1, events: 1 });
        details.by_tunnel.insert("vlan vxlan".to_owned(), 5);
        details.by_upgrade.insert("smtp", 6);
        let kind = ChainKind { key: "rsa".into(), evidence: Evidence::Inferred, may_be_compressed: true };
        let chains = details.chains.entry(kind).or_default();
        (chains.handshakes, chains.low, chains.high) = (7, Some(900), Some(940));
        let text = shown(&details);
        for line in [
            "server_ignored_share the server passed over the client's post-quantum share 3",
            "not_offered the client lists no post-quantum group 1",
            "fallbacks: 2 completed without a post-quantum key share after the same client had failed with one",
            "sent again 4 9",
            "server's flight over ten segments 1 -",
            "vlan vxlan 5",
            "smtp 6",
            "rsa inferred, if not compressed 7 900 - 940",
        ] {
            assert!(text.lines().any(|shown| shown == line), "`{line}` is missing in\n{text}");
        }
        assert!(text.find("server_ignored_share") < text.find("not_offered"), "most frequent first");
    }
}
