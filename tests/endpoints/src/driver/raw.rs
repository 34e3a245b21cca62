//! Peers that do not speak TLS as they should: what a server may do to a ClientHello instead of answering it.

use super::accept::Listeners;
use super::{REPLY, Stack};
use crate::protocol::{Command, Report};
use anyhow::{Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;

#[derive(Default)]
pub(super) struct Raw {
    listeners: Listeners,
}

impl Stack for Raw {
    fn serve(&mut self, command: &Command) -> Result<u16> {
        let manner = command.manner.clone();
        self.listeners.begin(command.id, &command.address, move |socket, _| Report {
            error: attend(socket, &manner).err().map(|error| error.to_string()).unwrap_or_default(),
            ..Report::default()
        })
    }

    fn connect(&mut self, _command: &Command) -> Result<Report> {
        bail!("this stack has no client")
    }

    fn stop(&mut self, command: &Command) -> Result<Vec<Report>> {
        Ok(self.listeners.end(command.serve, command.expect))
    }
}

fn attend(mut socket: TcpStream, manner: &str) -> Result<()> {
    let mut buffer = [0; 16_384];
    match manner {
        // A socket that is closed with bytes unread resets the connection.
        "reset" => {
            socket.peek(&mut buffer)?;
        }
        "close" => {
            let _length = socket.read(&mut buffer)?;
        }
        "silent" => while socket.read(&mut buffer)? > 0 {},
        "http" => {
            let _length = socket.read(&mut buffer)?;
            socket.write_all(REPLY)?;
        }
        other => bail!("unknown manner {other}"),
    }
    Ok(())
}
