//! Adapters: logs of other programs are followed, and what they tell goes the way of all events. A batch of lines, the
//! events in it and the offset after it reach the disk together, so that neither a crash here nor one of the machine
//! loses or doubles a line.

mod tail;

pub(crate) use tail::Offset;

use crate::clock::Clock;
use crate::ingest::Unavailable;
use crate::ingest::events::{Entries, EventRequest};
use pqscope_slo_core::adapter::{Adapter, Handshake, Reader, Reading};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tail::{Line, Lines, Tail};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// How often a file is looked at when it had nothing.
const PAUSE: Duration = Duration::from_millis(500);
/// How often a file is tried that could not be read, or a batch that could not be stored.
const RETRY: Duration = Duration::from_secs(5);

/// What an adapter read at a time.
#[derive(Debug)]
pub(crate) struct AdapterBatch {
    /// Name of the adapter.
    pub(crate) adapter: String,
    /// Number of the batch, from 1: one that comes again was counted before if its number was.
    pub(crate) number: u64,
    /// Events to count.
    pub(crate) entries: Entries,
    /// Handshakes to count.
    pub(crate) handshakes: Vec<Handshake>,
    /// Lines that are neither, by what became of them.
    pub(crate) others: BTreeMap<&'static str, u64>,
    /// From where to go on once it is on disk.
    pub(crate) then: Offset,
}

/// Starts following the files. Tasks end when told to stop.
pub(crate) fn start(
    adapters: Vec<Adapter>,
    mut offsets: BTreeMap<String, Offset>,
    requests: &mpsc::Sender<EventRequest>,
    clock: &Clock,
    stopping: &watch::Receiver<bool>,
) -> Vec<JoinHandle<()>> {
    let follower = |adapter: Adapter| {
        let tail = Tail::new(PathBuf::from(&adapter.path), offsets.remove(&adapter.name));
        let requests = requests.clone();
        let follower = Follower {
            reader: Reader::new(adapter),
            tail,
            requests,
            clock: clock.clone(),
            batches: 0,
            complaint: None,
        };
        let mut stopping = stopping.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => {}
                () = follower.run() => {}
            }
        })
    };
    adapters.into_iter().map(follower).collect()
}

struct Follower {
    reader: Reader,
    tail: Tail,
    requests: mpsc::Sender<EventRequest>,
    clock: Clock,
    batches: u64,
    /// What was last said to be wrong, so that it is said once.
    complaint: Option<String>,
}

impl Follower {
    /// Until the keeper is gone.
    async fn run(mut self) {
        loop {
            // Files may lie on slow disks: they are read where waiting harms nobody.
            let Ok((follower, read)) = tokio::task::spawn_blocking(move || {
                let read = self.tail.read();
                (self, read)
            })
            .await
            else {
                return;
            };
            self = follower;
            match read {
                Ok(None) => {
                    self.complaint = None;
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Some(lines)) => {
                    self.complaint = None;
                    let more = lines.more;
                    if !self.hand_over(lines).await {
                        return;
                    }
                    if !more {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                Err(error) => {
                    self.complain(&error);
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        let text = error.to_string();
        if self.complaint.as_ref() != Some(&text) {
            let adapter = self.reader.adapter();
            tracing::warn!(adapter = %adapter.name, "{} cannot be read and is tried again: {text}", adapter.path);
            self.complaint = Some(text);
        }
    }

    /// Hands lines over until they are on disk; `false` when there is nobody to take them.
    async fn hand_over(&mut self, lines: Lines) -> bool {
        let then = lines.then.clone();
        let mut batch = self.convert(lines);
        loop {
            let (reply, answer) = oneshot::channel();
            if self.requests.send(EventRequest::Adapter { batch, reply }).await.is_err() {
                return false;
            }
            match answer.await {
                Ok(Ok(())) => {
                    self.tail.advance(then);
                    return true;
                }
                Ok(Err((returned, unavailable))) => {
                    self.complain(&io::Error::other(unavailable));
                    batch = *returned;
                    tokio::time::sleep(RETRY).await;
                }
                Err(_) => return false,
            }
        }
    }

    fn convert(&mut self, lines: Lines) -> AdapterBatch {
        let received = self.clock.now();
        self.batches += 1;
        let mut batch = AdapterBatch {
            number: self.batches,
            adapter: self.reader.adapter().name.clone(),
            entries: Vec::new(),
            handshakes: Vec::new(),
            others: BTreeMap::new(),
            then: lines.then,
        };
        let mut note = |word| *batch.others.entry(word).or_insert(0) += 1;
        for line in lines.lines {
            match line {
                Line::NotUtf8 => note("not_utf8"),
                Line::TooLong => note("too_long"),
                Line::Text(text, place) => {
                    for reading in self.reader.read(&text, &place) {
                        match reading {
                            Reading::Event(raw) => batch.entries.push(raw.check(received)),
                            Reading::Handshake(handshake) => batch.handshakes.push(handshake),
                            Reading::Ignored => note("ignored"),
                            Reading::Unreadable => note("unreadable"),
                        }
                    }
                }
            }
        }
        batch
    }
}

/// The answer to a batch: it is on disk, or it comes back to be handed over again.
pub(crate) type AdapterReply = oneshot::Sender<Result<(), (Box<AdapterBatch>, Unavailable)>>;
