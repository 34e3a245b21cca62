//! A listener whose connections are attended one thread each: a function enters that attends one connection, the reports of all
//! leave when it is stopped.

use crate::protocol::Report;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long one read or write of a connection may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Listeners by the id of the command that began them.
#[derive(Default)]
pub(super) struct Listeners(HashMap<u32, Receiver<Report>>);

impl Listeners {
    /// Listens on `address` and gives the port.
    pub(super) fn begin<F>(&mut self, id: u32, address: &str, attend: F) -> Result<u16>
    where
        F: Fn(TcpStream, u16) -> Report + Clone + Send + 'static,
    {
        let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let port = listener.local_addr()?.port();
        let (sender, receiver) = channel();
        self.0.insert(id, receiver);
        // The thread ends with the process: what is left of it is one blocked call.
        std::thread::spawn(move || {
            while let Ok((socket, peer)) = listener.accept() {
                let (attend, sender) = (attend.clone(), sender.clone());
                std::thread::spawn(move || {
                    let bounded =
                        socket.set_read_timeout(Some(PATIENCE)).and(socket.set_write_timeout(Some(PATIENCE)));
                    let mut report = match bounded {
                        Ok(()) => attend(socket, peer.port()),
                        Err(error) => Report { error: error.to_string(), ..Report::default() },
                    };
                    report.port = peer.port();
                    // Nobody listens any more once the server was stopped.
                    let _ = sender.send(report);
                });
            }
        });
        Ok(port)
    }

    /// Waits for the reports of `expect` connections, bounded, and gives what came.
    pub(super) fn end(&mut self, id: u32, expect: usize) -> Vec<Report> {
        let Some(receiver) = self.0.remove(&id) else { return Vec::new() };
        let deadline = Instant::now() + PATIENCE;
        let mut reports = Vec::new();
        while reports.len() < expect {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(report) => reports.push(report),
                Err(_) => break,
            }
        }
        reports
    }
}
