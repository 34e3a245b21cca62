//! Everything that keeps the engine from starting says what, and what to do.

use crate::process::{Engine, OBJECTIVE, command, complaint, run, write_objective};
use std::net::TcpListener;
use std::process::Stdio;

#[test]
fn a_folder_in_use_names_the_folder_and_the_holder() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let engine = Engine::start(&state, &[""; 0]);
    let free = "127.0.0.1:0";
    let state = state.to_str().unwrap();
    let second =
        run(&["serve", "--listen", free, "--otlp-http", free, "--otlp-grpc", free, "--state", state]);
    assert_eq!(second.status.code(), Some(1));
    let text = complaint(&second);
    assert!(text.contains(state) && text.contains(&engine.process().to_string()), "{text}");
    assert!(text.contains("--state"), "{text}");
}

#[test]
fn a_port_in_use_names_the_option() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--listen", "--otlp-http", "--otlp-grpc"] {
        let folder = tempfile::tempdir().unwrap();
        let mut arguments = vec!["serve", "--state", folder.path().to_str().unwrap()];
        for other in ["--listen", "--otlp-http", "--otlp-grpc"] {
            arguments.extend([other, if other == option { &address } else { "127.0.0.1:0" }]);
        }
        let refused = run(&arguments);
        assert_eq!(refused.status.code(), Some(1));
        let text = complaint(&refused);
        assert!(text.contains(&address) && text.contains(option), "{text}");
        assert_eq!(text.matches("in use").count(), 1, "said once: {text}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let state = file.join("state");
    let refused = run(&["serve", "--state", state.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let text = complaint(&refused);
    assert!(text.contains(state.to_str().unwrap()) && text.contains("--state"), "{text}");
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["serve", "--webhook", "pager.example"][..],
        &["serve", "--webhook", "ftp://pager.example/"],
        &["serve", "--evaluation-interval", "10"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--max-request", "12 parsecs"],
        &["serve", "--unknown"],
        &["validate"],
        &[],
    ] {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}: {}", complaint(&refused));
        assert!(!complaint(&refused).is_empty());
    }
}

#[test]
fn help_shows_examples() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(text.contains("Examples:") && text.contains("pqscope-slo serve"), "{text}");
}

#[test]
fn faults_of_objectives_are_named_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.yaml");
    let broken = OBJECTIVE
        .replace("NAME", "x")
        .replace("target: 0.99", "target: 1.0")
        .replace("isRolling: true", "isRoling: true");
    std::fs::write(&bad, broken).unwrap();
    let path = bad.to_str().unwrap();
    let state = folder.path().join("state");
    for arguments in [&["validate", path][..], &["serve", "--slo", path, "--state", state.to_str().unwrap()]]
    {
        let refused = run(arguments);
        assert_eq!(refused.status.code(), Some(1));
        let text = complaint(&refused);
        let findings = text.matches(&format!("{path}:")).count();
        assert!(findings >= 2, "all faults at once: {text}");
    }
    // Nothing is opened before the objectives are sound.
    assert!(!state.exists());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command(&["schema"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let ended = ended.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), complaint(&ended).as_str()), (Some(0), ""));
}

#[test]
fn files_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.yaml");
    for option in ["--slo", "--services"] {
        let refused = run(&["serve", option, missing.to_str().unwrap()]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(complaint(&refused).contains("missing.yaml"));
    }
    let empty = run(&["serve", "--slo", folder.path().to_str().unwrap()]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(complaint(&empty).contains("no .yaml"));
}

#[test]
fn sound_files_are_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let path = write_objective(folder.path(), "fine");
    let confirmed = run(&["validate", path.to_str().unwrap()]);
    assert_eq!(confirmed.status.code(), Some(0), "{}", complaint(&confirmed));
    assert!(String::from_utf8(confirmed.stdout).unwrap().contains("fine"));
}

#[test]
fn services_and_adapters_are_checked_before_they_are_rolled_out() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let services = write("services.yaml", "- name: shop\n- name: bank\n");
    let adapters = write("adapters.yaml", "- {kind: vault, path: /var/log/audit.log}\n");
    let confirmed = run(&["validate", "--services", &services, "--adapters", &adapters]);
    assert_eq!(confirmed.status.code(), Some(0), "{}", complaint(&confirmed));
    let text = String::from_utf8(confirmed.stdout).unwrap();
    assert_eq!(text, format!("{services} is fine; services: 2\n{adapters} is fine; adapters: 1\n"));

    let faulty = write("faulty.yaml", "- {kind: valt, path: /var/log/audit.log}\n");
    let refused = run(&["validate", "--adapters", &faulty]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(complaint(&refused).contains("faulty.yaml:1:"), "{}", complaint(&refused));
}
