//! Carries out a plan: cases enter, connections with the words of both ends leave, and a capture and a key log lie in the folder.

use crate::network::{Network, Place};
use crate::plan::Case;
use crate::process::{Capture, Driver};
use crate::protocol::Command;
use crate::stack::{Programs, Stack};
use crate::truth::Connection;
use anyhow::{Context, Result, bail};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Mutex;

/// What a run gives.
#[derive(Default)]
pub(crate) struct Run {
    /// Connections that came about.
    pub(crate) connections: Vec<Connection>,
    /// Cases that could not be carried out, in words.
    pub(crate) broken: Vec<String>,
}

/// Carries out all cases, with `workers` at a time, and captures into `capture`.
pub(crate) fn run(
    cases: &[Case],
    network: &Network,
    programs: &Programs,
    capture: &Path,
    workers: usize,
) -> Result<Run> {
    let capture = Capture::begin(network, capture)?;
    let (queue, result) = (Mutex::new(cases.iter()), Mutex::new(Run::default()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut worker = Worker { network, programs, drivers: HashMap::new() };
                while let Some(case) = next(&queue) {
                    let done = worker.carry_out(case);
                    let Ok(mut result) = result.lock() else { return };
                    match done {
                        Ok(connections) => result.connections.extend(connections),
                        Err(error) => {
                            // A driver that failed may be in any state.
                            worker.drivers.clear();
                            let server = case.server.name();
                            result.broken.push(format!("{}, {server} as server: {error:#}", case.scenario));
                        }
                    }
                }
            });
        }
    });
    let lost = capture.end()?;
    if lost > 0 {
        bail!("tcpdump lost {lost} packets, so that nothing can be compared; is the machine overloaded?");
    }
    result.into_inner().ok().context("a worker panicked")
}

fn next<'a>(queue: &Mutex<std::slice::Iter<'a, Case>>) -> Option<&'a Case> {
    queue.lock().ok()?.next()
}

/// Drivers of one thread. A driver obeys one command after the other, so every worker has its own.
struct Worker<'a> {
    network: &'a Network,
    programs: &'a Programs,
    drivers: HashMap<(Stack, Place), Driver>,
}

impl<'a> Worker<'a> {
    fn driver(&mut self, stack: Stack, place: Place) -> Result<&mut Driver> {
        Ok(match self.drivers.entry((stack, place)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(Driver::start(&stack.words(self.programs), self.network, place)?)
            }
        })
    }

    fn carry_out(&mut self, case: &Case) -> Result<Vec<Connection>> {
        let host = self.network.address();
        let serve = Command { address: format!("{host}:0"), ..case.serve.clone() };
        let answer = self.driver(case.server, Place::Server)?.ask(serve)?;
        let mut connections = Vec::new();
        for (client, connect) in &case.connects {
            let connect = Command { address: format!("{host}:{}", answer.port), ..connect.clone() };
            let early = connect.early;
            let report =
                self.driver(*client, Place::Client)?.ask(connect).with_context(|| client.name())?.report;
            let said_client = report.context("no report")?;
            connections.push(Connection {
                scenario: case.scenario,
                server: case.server,
                client: *client,
                ports: (said_client.port, answer.port),
                meant: case.meant,
                early,
                said_client,
                said_server: None,
            });
        }
        let stop = Command {
            deed: "stop".into(),
            serve: answer.id,
            expect: connections.len(),
            ..Command::default()
        };
        let reports = self.driver(case.server, Place::Server)?.ask(stop)?.reports;
        for connection in &mut connections {
            connection.said_server = reports.iter().find(|report| report.port == connection.ports.0).cloned();
        }
        Ok(connections)
    }
}
