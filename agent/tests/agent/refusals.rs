//! Live capture that cannot begin: each refusal names the thing and the way out.

use crate::program::{Ended, agent, run};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

/// Whether this user may capture; says so where not.
pub(crate) fn may_capture() -> bool {
    let ended: Ended = agent()
        .args(["run", "--interface=lo", "--duration=1ms"])
        .env("OTEL_METRICS_EXPORTER", "none")
        .output()
        .unwrap()
        .into();
    let may = ended.status == Some(0);
    if !may {
        println!("skipped: live capture is not possible here: {}", ended.stderr);
    }
    may
}

#[test]
fn every_fault_of_the_environment_is_told_at_once() {
    let variables = [
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no-pair"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=nameless"),
        ("OTEL_METRICS_EXPORTER", "smoke-signals"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
    ];
    let ended: Ended = agent().arg("run").envs(variables).output().unwrap().into();
    ended.refuses(1, &["invalid environment"]);
    for (name, value) in variables {
        ended.refuses(1, &[&format!("{name}=`{value}`: write ")]);
    }
}

#[test]
fn an_unknown_interface_is_told_with_the_known_ones() {
    let ended = run(["run", "--interface", "nosuch0"]);
    // Without permission libpcap does not get as far as the name.
    if ended.stderr.contains("no permission") {
        println!("skipped: live capture is not permitted here");
        return;
    }
    ended.refuses(1, &["`nosuch0`", "there are: ", "lo"]);
}

#[test]
fn an_invalid_filter_is_refused_before_anything_is_opened() {
    let ended = run(["run", "--interface", "nosuch0", "--filter", "tcp prot 443"]);
    ended.refuses(1, &["`tcp prot 443`", "syntax error", "man pcap-filter"]);
    assert!(!ended.stderr.contains("nosuch0"), "{}", ended.stderr);
}

#[test]
fn missing_permission_says_what_to_grant() {
    let folder = tempfile::tempdir().unwrap();
    // The other user must be able to reach the program.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("pqscope-agent");
    std::fs::copy(env!("CARGO_BIN_EXE_pqscope-agent"), &program).unwrap();
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command
    };
    let unprivileged = as_nobody().arg("true").stderr(Stdio::null()).status();
    let mut command = if unprivileged.is_ok_and(|status| status.success()) {
        let mut command = as_nobody();
        command.arg(&program);
        command
    } else if !may_capture() {
        // Then this user is as good as any other.
        Command::new(&program)
    } else {
        println!("skipped: the right to capture cannot be dropped here (setpriv fails)");
        return;
    };
    let ended: Ended = command.args(["run", "--interface=lo"]).output().unwrap().into();
    let grant = format!("setcap cap_net_raw+ep {}", program.display());
    ended.refuses(1, &["no permission to capture on `lo`", &grant, "systemd", "pqscope-agent read FILE"]);
}

#[test]
fn a_taken_port_is_named_with_its_option() {
    if !may_capture() {
        return;
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended: Ended = agent()
        .args(["run", "--interface=lo", "--prometheus", &address])
        .env("OTEL_METRICS_EXPORTER", "none")
        .output()
        .unwrap()
        .into();
    ended.refuses(1, &[&address, "--prometheus", "choose another", "in use"]);
}

#[test]
fn records_that_cannot_be_written_are_named() {
    if !may_capture() {
        return;
    }
    let ended: Ended = agent()
        .args(["run", "--interface=lo", "--records", "/proc/nowhere/records.jsonl"])
        .env("OTEL_METRICS_EXPORTER", "none")
        .output()
        .unwrap()
        .into();
    ended.refuses(1, &["/proc/nowhere/records.jsonl", "No such file"]);
}
