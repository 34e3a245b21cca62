//! Real TLS stacks against each other, and what the agent says about it held against what they say.
//!
//! `pqscope-endpoints run` makes handshakes, captures them and compares; `driver STACK` is one end of them; `records CAPTURE KEYS`
//! shows what every record of a capture held. README.md says what is compared and how to read the tables.

mod agent;
mod compare;
mod driver;
mod figures;
mod keyed;
mod network;
mod plan;
mod process;
mod protocol;
mod report;
mod run;
mod stack;
mod truth;
mod wire;

use anyhow::{Context, Result, bail};
use figures::Figures;
use network::Network;
use plan::{Case, Planner};
use report::Table;
use stack::Programs;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: pqscope-endpoints run --agent PROGRAM --openssl PROGRAM --node PROGRAM --node-driver FILE \
    --go-driver PROGRAM --certificates FOLDER --folder FOLDER [--repeat N] [--workers N] [--no-namespaces] [--keylog]\n   \
    or: pqscope-endpoints driver STACK [PROGRAM]\n   or: pqscope-endpoints records CAPTURE KEYS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["driver", stack] => driver::run(stack, None).map(|()| true),
        ["driver", stack, program] => driver::run(stack, Some(program)).map(|()| true),
        ["records", capture, keys] => show_records(capture.as_ref(), keys.as_ref()).map(|()| true),
        ["run", options @ ..] => Options::read(options).and_then(|options| lab(&options)),
        _ => Err(anyhow::anyhow!(USAGE)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pqscope-endpoints: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Command line of `run`.
struct Options {
    agent: String,
    programs: Programs,
    certificates: PathBuf,
    folder: PathBuf,
    repeat: usize,
    workers: usize,
    namespaces: bool,
    keylog: bool,
}

impl Options {
    fn read(words: &[&str]) -> Result<Self> {
        let (mut values, mut switches) = (HashMap::new(), Vec::new());
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--no-namespaces" | "--keylog" => switches.push(*word),
                option if option.starts_with("--") => {
                    values.insert(
                        option,
                        (*words.next().with_context(|| format!("{option} needs a value"))?).to_owned(),
                    );
                }
                other => bail!("{other}: {USAGE}"),
            }
        }
        let mut take = |option: &str| values.remove(option).with_context(|| format!("{option} is missing"));
        let options = Self {
            agent: take("--agent")?,
            programs: Programs {
                openssl: take("--openssl")?,
                node: take("--node")?,
                node_driver: take("--node-driver")?,
                go_driver: take("--go-driver")?,
            },
            certificates: std::path::absolute(take("--certificates")?)?,
            folder: std::path::absolute(take("--folder")?)?,
            repeat: take("--repeat").unwrap_or("1".into()).parse()?,
            workers: take("--workers").unwrap_or("2".into()).parse()?,
            namespaces: !switches.contains(&"--no-namespaces"),
            keylog: switches.contains(&"--keylog"),
        };
        match values.keys().next() {
            Some(option) => bail!("{option}: {USAGE}"),
            None => Ok(options),
        }
    }
}

/// The whole lab; whether everything is equal and within its limit.
fn lab(options: &Options) -> Result<bool> {
    std::fs::create_dir_all(&options.folder)?;
    let mut result = Judged::default();
    let planner = |keys: &Path| Planner::new(&options.certificates, keys, options.repeat);
    let network = if options.namespaces { Network::namespaces() } else { Err(anyhow::anyhow!("not wanted")) };
    match network {
        Ok(network) => {
            let keys = options.folder.join("namespaces.keys");
            pass(options, &network, &planner(&keys).everything(), &keys, &mut result)?;
            let keys = options.folder.join("loopback.keys");
            pass(options, &Network::Loopback, &planner(&keys).short(), &keys, &mut result)?;
        }
        Err(error) => {
            println!("Without network namespaces ({error:#}): everything runs on the loopback interface.");
            let keys = options.folder.join("loopback.keys");
            pass(options, &Network::Loopback, &planner(&keys).everything(), &keys, &mut result)?;
        }
    }
    Ok(result.print(&options.folder))
}

/// What was found over all networks.
#[derive(Default)]
struct Judged {
    table: Table,
    figures: Figures,
    broken: Vec<String>,
    captures: Vec<PathBuf>,
}

fn pass(
    options: &Options,
    network: &Network,
    cases: &[Case],
    keys: &Path,
    judged: &mut Judged,
) -> Result<()> {
    let begin = Instant::now();
    let count: usize = cases.iter().map(|case| case.connects.len()).sum();
    println!("{count} connections to {} servers over {} ...", cases.len(), network.name());
    let capture = keys.with_extension("pcap");
    for file in [keys, &capture] {
        if file.exists() {
            std::fs::remove_file(file)?;
        }
    }
    std::fs::write(keys, "")?;
    let run = run::run(cases, network, &options.programs, &capture, options.workers)?;
    println!("... took {} s", begin.elapsed().as_secs());
    judged.broken.extend(run.broken);
    let views = wire::read(&capture, keys)?;
    let records = agent::read(&options.agent, &capture, None)?;
    let keyed =
        if options.keylog { agent::read(&options.agent, &capture, Some(keys))? } else { HashMap::new() };
    for connection in &run.connections {
        let about = report::about(connection);
        let (Some(view), Some(record)) = (views.get(&connection.ports), records.get(&connection.ports))
        else {
            judged.table.differences.push(format!("{about}: no record, or no packets"));
            continue;
        };
        match connection.truth(view) {
            Ok(truth) => {
                judged.table.add(connection, &compare::compare(&truth, record));
                if options.keylog {
                    let nothing = serde_json::Value::Null;
                    let record = keyed.get(&connection.ports).unwrap_or(&nothing);
                    judged.table.add(connection, &keyed::compare(&truth, record));
                }
                judged.figures.add(connection.server, view.hello_has(5), &truth, record);
            }
            Err(error) => judged.broken.push(format!("{about}: {error}")),
        }
    }
    judged.captures.push(capture);
    Ok(())
}

impl Judged {
    fn print(&self, folder: &Path) -> bool {
        println!("\n{}\n{}", self.table.text(), report::figures(&self.figures));
        let mut missed = self.figures.missed_limits();
        missed.extend(self.figures.too_few());
        for (heading, lines) in [
            ("Cases that did not go as meant:", &self.broken),
            ("Differences:", &self.table.differences),
            ("Limits missed:", &missed),
        ] {
            if !lines.is_empty() {
                println!("{heading}");
                lines.iter().for_each(|line| println!("  {line}"));
            }
        }
        let fine = self.broken.is_empty() && self.table.differences.is_empty() && missed.is_empty();
        if fine {
            println!("Everything is equal, and within its limits.");
        } else {
            println!("Captures and key logs are kept in {}", folder.display());
        }
        fine
    }
}

fn show_records(capture: &Path, keys: &Path) -> Result<()> {
    let views = wire::read(capture, keys)?;
    let mut connections: Vec<_> = views.iter().collect();
    connections.sort_by_key(|(ports, _)| **ports);
    for ((client, server), view) in connections {
        println!("tcp port {client} and tcp port {server}");
        for (side, records) in [("client", &view.client), ("server", &view.server)] {
            records.iter().for_each(|record| println!("  {side} {record}"));
        }
    }
    Ok(())
}
