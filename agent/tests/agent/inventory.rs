//! The inventory of servers, as `--format inventory` prints it.

use crate::captures::{SERVER_NAME, file, packets, wire};
use crate::program::read;
use pqscope_lab::capture::{Format, Link, encode, merge};
use pqscope_lab::scenario::Scenario;
use serde_json::{Value, json};

/// A hybrid handshake, one of TLS 1.2 and a refused one, of one server.
fn capture() -> Vec<u8> {
    let scenarios =
        [(40_001, Scenario::Hybrid), (40_002, Scenario::Tls12), (40_003, Scenario::NoSharedGroup)];
    let packets = scenarios.map(|(port, scenario)| packets(&wire(port), scenario));
    encode(Format::Pcap, Link::Ethernet, &merge(packets.into()))
}

#[test]
fn the_inventory_is_one_object_with_an_entry_per_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "server.pcap", &capture());
    let ended = read("inventory", [&path]);
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""));
    let inventory: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&inventory["schema"], &inventory["left_out"]["handshakes"]), (&json!(1), &json!(0)));
    let [server] = &inventory["servers"].as_array().unwrap()[..] else { panic!("{inventory}") };
    assert_eq!((&server["server_name"], &server["server"]["port"]), (&json!(SERVER_NAME), &json!(443)));
    assert_eq!(server["handshakes"], json!({"completed": 2, "failed": 1, "incomplete": 0}));
    assert_eq!((&server["versions"]["0x0303"], &server["versions"]["0x0304"]), (&json!(1), &json!(1)));
    assert_eq!(server["groups"]["X25519MLKEM768"], 1);
    assert_eq!(server["post_quantum"]["completed"], 1);
    let [leaf] = &server["leaves"].as_array().unwrap()[..] else { panic!("{server}") };
    assert_eq!((&leaf["evidence"], &leaf["key_algorithm"]), (&json!("seen"), &json!("ecdsa_p256")));
    let chains = server["chains"].as_array().unwrap();
    let chain = |evidence: &str| chains.iter().find(|chain| chain["evidence"] == evidence).unwrap();
    assert_eq!(chain("seen")["count"], 1, "{server}");
    let inferred = chain("inferred");
    assert!(inferred["low"].as_u64() < inferred["high"].as_u64(), "{inferred}");
}

#[test]
fn the_same_capture_gives_the_same_inventory() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "server.pcap", &capture());
    assert_eq!(read("inventory", [&path]).stdout, read("inventory", [&path]).stdout);
}

#[test]
fn a_capture_without_handshakes_has_an_empty_inventory() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "empty.pcap", &encode(Format::Pcap, Link::Ethernet, &[]));
    let inventory: Value = serde_json::from_str(&read("inventory", [path]).stdout).unwrap();
    assert_eq!(inventory["servers"], json!([]));
}

#[cfg(feature = "live")]
#[test]
fn a_live_capture_leaves_its_inventory_whole() {
    use crate::program::{Ended, agent};
    if !crate::refusals::may_capture() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("inventory.json");
    let run = |path: &std::path::Path| -> Ended {
        let mut command = agent();
        command.args(["run", "--interface=lo", "--filter=tcp port 9", "--duration=10ms", "--inventory"]);
        command.arg(path).env("OTEL_METRICS_EXPORTER", "none").output().unwrap().into()
    };
    let ended = run(&path);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    let inventory: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(inventory["servers"], json!([]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    run(&folder.path().join("none/inventory.json")).refuses(1, &["cannot write the inventory", "none"]);
}
