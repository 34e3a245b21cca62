//! The `read` command: capture files in, a report out.

use crate::arguments::{Format, Read};
use crate::capture::file::{self, FileError, Frame, Progress};
#[cfg(feature = "live")]
use crate::capture::filter::Filter;
use crate::key_log;
use crate::report::{self, Reading};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use pqscope_agent_core::inventory::Inventory;
use pqscope_agent_core::local::LocalNetworks;
use pqscope_agent_core::observer::{InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::summary::Summary;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// Exit status when a file was read in part only.
const READ_IN_PART: u8 = 3;

/// Runs the command.
///
/// # Errors
///
/// Where the filter is wrong or the report cannot be written.
pub(crate) fn run(arguments: &Read) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(arguments.format);
    #[cfg(feature = "live")]
    let filter = arguments.observe.filter.as_deref().map(Filter::compile).transpose()?;
    let bar = progress_bar(&arguments.files);
    let mut observer = new_observer(arguments);
    if let Some(path) = &arguments.observe.keylog {
        let mut complain = |text: &str| bar.suspend(|| report::complain(text));
        let read = key_log::read_all(path, &mut observer, &mut complain);
        read.with_context(|| format!("cannot read the key log `{}`", path.display()))?;
    }
    let (mut unread, mut partial) = (0, 0);
    for path in &arguments.files {
        let mut sink = Sink { observer: &mut observer, interfaces: Vec::new(), report: &mut report };
        let progress = Progress::default();
        let before = bar.position();
        let mut frames: u64 = 0;
        let outcome = file::read(path, &progress, |frame| {
            frames += 1;
            if frames.is_multiple_of(8192) {
                bar.set_position(before + progress.bytes());
            }
            #[cfg(feature = "live")]
            if filter.as_ref().is_some_and(|filter| !filter.passes(frame.link, frame.bytes)) {
                return;
            }
            sink.frame(frame);
        });
        bar.set_position(before + progress.bytes());
        if !arguments.continuous {
            observer.finish();
            report.drain(&mut observer);
        }
        match outcome {
            Ok(summary) => {
                report.reading.packets += summary.packets;
                report.reading.files += 1;
                if let Some((number, packets)) = summary.undecodable {
                    partial += 1;
                    let error = FileError::UnknownLinkType(number);
                    bar.suspend(|| complain(path, &format!("{packets} packets were passed by: {error}")));
                }
                if let Some(problem) = summary.problem {
                    partial += 1;
                    bar.suspend(|| complain(path, &problem.to_string()));
                }
            }
            Err(error) => {
                unread += 1;
                bar.suspend(|| complain(path, &error.to_string()));
            }
        }
        if report.is_closed() {
            break;
        }
    }
    observer.finish();
    report.drain(&mut observer);
    bar.finish_and_clear();
    if let (Some(path), failed @ 1..) = (&arguments.observe.keylog, observer.health().key_log.decrypt_failed)
    {
        let path = path.display();
        let text = format!("key log {path}: its secrets did not open {failed} directions of handshakes");
        report::complain(&text);
    }
    report.reading.add(&observer.health());
    report.finish().context("cannot write the report")?;
    Ok(match (unread, partial) {
        (0, 0) => ExitCode::SUCCESS,
        (unread, _) if unread == arguments.files.len() => ExitCode::FAILURE,
        _ => ExitCode::from(READ_IN_PART),
    })
}

fn new_observer(arguments: &Read) -> Observer {
    Observer::new(Settings {
        limits: arguments.observe.limits(),
        local: LocalNetworks(arguments.observe.local_net.clone()),
        fallback_window: arguments.observe.fallback_window,
        hash_seed: crate::hash_seed(),
        key_log: arguments.observe.keylog.is_some(),
    })
}

fn complain(path: &Path, problem: &str) {
    let name = if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() };
    report::complain(&format!("{name}: {problem}"));
}

/// A bar over the bytes of all files; hidden unless standard error is a terminal.
fn progress_bar(files: &[std::path::PathBuf]) -> ProgressBar {
    let total = files.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).sum();
    let bar = ProgressBar::new(total);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")
    {
        bar.set_style(style);
    }
    bar
}

/// Where frames of a file go.
struct Sink<'a> {
    observer: &'a mut Observer,
    /// The observer's number of each interface of the file.
    interfaces: Vec<(Option<String>, InterfaceId)>,
    report: &'a mut Report,
}

impl Sink<'_> {
    fn frame(&mut self, frame: Frame<'_>) {
        let interface = self.interface(&frame);
        self.observer.packet(&Packet {
            link: frame.link,
            at: frame.at,
            interface,
            bytes: frame.bytes,
            wire_length: frame.wire_length,
        });
        self.report.drain(self.observer);
    }

    fn interface(&mut self, frame: &Frame<'_>) -> InterfaceId {
        match self.interfaces.get(frame.interface_number) {
            Some((name, id)) if name.as_deref() == frame.interface => *id,
            _ => {
                // A new interface, or the first of a new section.
                let id = self.observer.interface(frame.interface);
                self.interfaces.resize(self.interfaces.len().max(frame.interface_number + 1), (None, id));
                if let Some(slot) = self.interfaces.get_mut(frame.interface_number) {
                    *slot = (frame.interface.map(str::to_owned), id);
                }
                id
            }
        }
    }
}

/// Where observations go.
struct Report {
    format: Format,
    out: BufWriter<io::Stdout>,
    summary: Summary,
    inventory: Inventory,
    reading: Reading,
    failure: Option<io::Error>,
}

impl Report {
    fn new(format: Option<Format>) -> Self {
        let default = if io::stdout().is_terminal() { Format::Table } else { Format::Jsonl };
        Self {
            format: format.unwrap_or(default),
            out: BufWriter::with_capacity(1 << 16, io::stdout()),
            summary: Summary::default(),
            inventory: Inventory::default(),
            reading: Reading::default(),
            failure: None,
        }
    }

    fn drain(&mut self, observer: &mut Observer) {
        while let Some(observation) = observer.next_observation() {
            match self.format {
                Format::Table | Format::Json => self.summary.add(&observation),
                Format::Inventory => self.inventory.add(&observation),
                Format::Jsonl if self.failure.is_none() => {
                    self.failure = report::write_record(&mut self.out, &observation).err();
                }
                Format::Jsonl => {}
            }
        }
    }

    /// Whether nobody reads any more.
    fn is_closed(&self) -> bool {
        self.failure.is_some()
    }

    fn finish(mut self) -> io::Result<()> {
        let written = match (self.failure, self.format) {
            (Some(error), _) => Err(error),
            (None, Format::Table) => report::print_table(&mut self.out, &self.reading, &self.summary),
            (None, Format::Json) => report::write_summary(&mut self.out, &self.reading, &self.summary),
            (None, Format::Inventory) => report::write_inventory(&mut self.out, &self.inventory),
            (None, Format::Jsonl) => Ok(()),
        };
        match written.and_then(|()| self.out.flush()) {
            // `pqscope-agent read ... | head` is no error.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}
