//! The `run` command: the only room that knows every other. A capture thread follows packets and counts; this thread's
//! runtime exports and serves what was counted. They share the counts, and neither waits for the other longer than it
//! takes to add or to copy them.

use crate::arguments::Run;
use crate::capture::live::{LiveCapture, LiveFrame, local_addresses};
use crate::export::client::Client;
use crate::export::settings::ExportSettings;
use crate::export::{otlp, prometheus, self_telemetry};
use crate::health::{Health, Snapshot};
use crate::inventory::InventoryFile;
use crate::key_log::growing::GrowingKeyLog;
use crate::records::Records;
use anyhow::{Context, anyhow};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use pqscope_agent_core::aggregate::{Aggregate, Bounds, Collection};
use pqscope_agent_core::inventory::Inventory;
use pqscope_agent_core::local::LocalNetworks;
use pqscope_agent_core::observer::{InterfaceId, Observer, Packet, Settings};
use pqscope_agent_core::time::Timestamp;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tracing::{info, warn};

/// How long the capture thread waits for packets before it looks at the clock.
const TICK: Duration = Duration::from_millis(100);

/// How far capture time stays behind the wall clock when no packet comes: packets gather in the kernel for a while.
const CLOCK_LAG: Duration = Duration::from_millis(300);

/// How often the capture thread reports on itself.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// Rounds of packets that are still taken after the stop; a saturated link would have no last one.
const LAST_ROUNDS: usize = 64;

/// How long the last export may take.
const LAST_EXPORT: Duration = Duration::from_secs(5);

/// What the threads share.
struct Shared {
    aggregate: Mutex<Aggregate>,
    health: Arc<Health>,
    stop: AtomicBool,
}

impl Shared {
    fn collect(&self) -> Collection {
        self.aggregate.lock().unwrap_or_else(PoisonError::into_inner).collect(wall_clock())
    }
}

/// Runs the command.
///
/// # Errors
///
/// Where the environment is wrong, an interface or address cannot be opened, or capture ends by itself.
pub(crate) fn run(arguments: &Run) -> anyhow::Result<ExitCode> {
    let settings = ExportSettings::read(&|name| std::env::var(name).ok())?;
    // Our own connections are post-quantum; a provider that is installed already is the same one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if let Some(expression) = &arguments.observe.filter {
        crate::capture::filter::Filter::compile(expression)?;
    }
    let mut names = arguments.interface.clone();
    if names.is_empty() {
        names.push("any".to_owned());
    }
    let capture = LiveCapture::open(&names, arguments.observe.filter.as_deref())?;
    let records = arguments.records.as_deref().map(|path| {
        Records::open(path).with_context(|| format!("cannot write records to `{}`", path.display()))
    });
    let records = records.transpose()?;
    let inventory_file = arguments.inventory.as_deref().map(|path| {
        let created = InventoryFile::create(path, wall_clock());
        created.with_context(|| format!("cannot write the inventory to `{}`", path.display()))
    });
    let inventory_file = inventory_file.transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let shared = Arc::new(Shared {
        aggregate: Mutex::new(Aggregate::new(Bounds::default(), wall_clock())),
        health: Arc::new(Health::default()),
        stop: AtomicBool::new(false),
    });
    let mut local = local_addresses();
    local.extend(arguments.observe.local_net.iter().copied());
    let observer = Observer::new(Settings {
        limits: arguments.observe.limits(),
        local: LocalNetworks(local),
        fallback_window: arguments.observe.fallback_window,
        hash_seed: crate::hash_seed(),
        key_log: arguments.observe.keylog.is_some(),
    });
    let mut worker = Worker::new(capture, observer, records, Arc::clone(&shared));
    worker.key_log = arguments.observe.keylog.as_deref().map(GrowingKeyLog::new);
    if inventory_file.is_some() {
        worker.inventory = Inventory::default();
    }
    worker.inventory_file = inventory_file;
    runtime.block_on(async {
        let exporter = Exporter::new(&settings, &shared)?;
        if let Some(address) = arguments.prometheus {
            serve_metrics(address, &shared).await?;
        }
        for interface in worker.capture.names() {
            announce(&format!("capturing: interface {interface}"));
        }
        let (ended, end) = oneshot::channel();
        let thread = std::thread::Builder::new().name("capture".to_owned()).spawn(move || {
            let outcome = worker.follow();
            let _ = ended.send(());
            outcome
        })?;
        exporter.run(arguments.duration, end).await;
        shared.stop.store(true, Ordering::Relaxed);
        let outcome = join(thread).await;
        exporter.finish().await;
        outcome.map(|()| ExitCode::SUCCESS)
    })
}

async fn join(thread: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
    joined.map_err(|_| anyhow!("the capture thread failed"))?
}

/// A line on standard output that scripts may wait for.
#[expect(clippy::print_stdout, reason = "said to whoever started the agent")]
fn announce(line: &str) {
    println!("{line}");
}

#[expect(clippy::disallowed_methods, reason = "this room hands the time to the others")]
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

async fn serve_metrics(address: SocketAddr, shared: &Arc<Shared>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on {address} (--prometheus); choose another address or port")
    })?;
    announce(&format!("listening: prometheus http://{}/metrics", listener.local_addr()?));
    let shared = Arc::clone(shared);
    let page = move || prometheus::page(&shared.collect(), &shared.health.readings());
    tokio::spawn(async move { axum::serve(listener, prometheus::router(page)).await });
    Ok(())
}

/// The capture thread's state.
struct Worker {
    capture: LiveCapture,
    observer: Observer,
    interfaces: Vec<InterfaceId>,
    records: Option<Records>,
    key_log: Option<GrowingKeyLog>,
    /// Also what narrows the metrics of certificates.
    inventory: Inventory,
    inventory_file: Option<InventoryFile>,
    shared: Arc<Shared>,
    reported: Timestamp,
}

impl Worker {
    fn new(
        capture: LiveCapture,
        mut observer: Observer,
        records: Option<Records>,
        shared: Arc<Shared>,
    ) -> Self {
        let interfaces = capture.names().map(|name| observer.interface(Some(name))).collect();
        Self {
            capture,
            observer,
            interfaces,
            records,
            key_log: None,
            inventory: Inventory::bounded(Bounds::default().servers),
            inventory_file: None,
            shared,
            reported: Timestamp::default(),
        }
    }

    /// Follows packets until told to stop.
    fn follow(&mut self) -> anyhow::Result<()> {
        let outcome = self.follow_until_stopped();
        // Whatever ended it, what was seen counts. What is in the kernel's ring by now was on the wire before the stop.
        std::thread::sleep(TICK);
        for _ in 0..LAST_ROUNDS {
            if self.take().unwrap_or(0) == 0 {
                break;
            }
            self.deliver();
        }
        self.observer.finish();
        self.deliver();
        self.report(true);
        outcome
    }

    fn follow_until_stopped(&mut self) -> anyhow::Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if self.take()? == 0 {
                let lag = u64::try_from(CLOCK_LAG.as_nanos()).unwrap_or(0);
                let behind = Timestamp::from_nanos(wall_clock().as_nanos().saturating_sub(lag));
                self.observer.advance_to_at_least(behind);
                self.deliver();
                self.report(false);
                self.capture.wait(TICK);
            } else {
                self.deliver();
                self.report(false);
            }
        }
        Ok(())
    }

    fn take(&mut self) -> anyhow::Result<usize> {
        let Self { capture, observer, interfaces, key_log, .. } = self;
        if let Some(key_log) = key_log {
            key_log.refresh(observer, &mut |text| warn!("{text}"));
        }
        let taken = capture.dispatch(|frame: LiveFrame<'_>| {
            observer.packet(&Packet {
                link: frame.link,
                at: frame.at,
                interface: interfaces.get(frame.interface).copied().unwrap_or_default(),
                bytes: frame.bytes,
                wire_length: frame.wire_length,
            });
        })?;
        Ok(taken)
    }

    /// Counts and writes what was settled.
    fn deliver(&mut self) {
        let Some(first) = self.observer.next_observation() else { return };
        let now = wall_clock();
        let shared = Arc::clone(&self.shared);
        let mut aggregate = shared.aggregate.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Some(first);
        while let Some(observation) = next {
            self.inventory.add(&observation);
            aggregate.add_pooled(&observation, self.inventory.pooled(&observation), now);
            if let Some(records) = &mut self.records
                && let Err(error) = records.write(&observation)
            {
                self.records_failed(&error);
            }
            next = self.observer.next_observation();
        }
        drop(aggregate);
        if let Some(Err(error)) = self.records.as_mut().map(Records::flush) {
            self.records_failed(&error);
        }
    }

    /// A full disk must not end the measurement.
    fn records_failed(&mut self, error: &std::io::Error) {
        warn!(%error, "records are no longer written; measuring and exporting go on");
        self.records = None;
    }

    /// A full disk must not end the measurement here either; the next minute tries again.
    fn write_inventory(&mut self, now: Timestamp, last: bool) {
        let Some(file) = self.inventory_file.as_mut().filter(|file| last || file.is_due(now)) else { return };
        if let Err(error) = file.write(&self.inventory, now) {
            warn!(%error, "the inventory could not be written; it is tried again in a minute");
        }
    }

    fn report(&mut self, last: bool) {
        let now = wall_clock();
        let due = now.since(self.reported).is_none_or(|since| since >= REPORT_EVERY);
        if !due && !last {
            return;
        }
        self.reported = now;
        self.write_inventory(now, last);
        let (overflowed, coverage) = {
            let aggregate = self.shared.aggregate.lock().unwrap_or_else(PoisonError::into_inner);
            (aggregate.overflowed(), aggregate.coverage())
        };
        self.shared.health.report(Snapshot {
            observer: self.observer.health(),
            interfaces: self.capture.counts(),
            overflowed,
            coverage,
        });
    }
}

/// Sends what was counted.
struct Exporter {
    shared: Arc<Shared>,
    client: Option<tokio::sync::Mutex<Client>>,
    self_telemetry: Option<SdkMeterProvider>,
    resource: Vec<(String, String)>,
    interval: Duration,
}

impl Exporter {
    fn new(settings: &ExportSettings, shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let resource = resource(&settings.resource);
        let client = settings.destination.as_ref().map(Client::new).transpose()?.map(tokio::sync::Mutex::new);
        let self_telemetry = match &settings.destination {
            Some(destination) => {
                info!(endpoint = destination.endpoint, "exporting OTLP");
                Some(self_telemetry::start(&shared.health, &resource, settings.interval)?)
            }
            None => None,
        };
        Ok(Self { shared: Arc::clone(shared), client, self_telemetry, resource, interval: settings.interval })
    }

    /// Exports at every interval until a signal, the end of the capture thread, or `duration`.
    async fn run(&self, duration: Option<Duration>, mut capture_ended: oneshot::Receiver<()>) {
        let stop = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(stop);
        let signal = shutdown_signal();
        tokio::pin!(signal);
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => tokio::select! {
                    () = self.export() => {}
                    // A receiver that does not answer must not hold up the end.
                    () = &mut signal => return,
                },
                () = &mut signal => return,
                () = &mut stop => return,
                _ = &mut capture_ended => return,
            }
        }
    }

    async fn export(&self) {
        let Some(client) = &self.client else { return };
        let collection = self.shared.collect();
        let points = otlp::points(&collection);
        if points == 0 {
            return;
        }
        let request = otlp::request(&self.resource, &collection, wall_clock());
        match client.lock().await.send(request).await {
            Ok(delivered) => {
                if delivered.rejected > 0 {
                    warn!(rejected = delivered.rejected, points, "the OTLP receiver refused data points");
                }
                self.shared.health.exported(points, delivered.rejected);
            }
            Err(error) => {
                // Cumulative: the next export carries what this one did not.
                warn!(%error, "OTLP export failed; the next one carries the same counts");
                self.shared.health.export_failed(points);
            }
        }
    }

    /// Sends the last counts, within a bound.
    async fn finish(&self) {
        let own_figures = async {
            let Some(provider) = self.self_telemetry.clone() else { return };
            let shutdown = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_EXPORT));
            if let Ok(Err(error)) = shutdown.await {
                warn!(%error, "the last export of the agent's own figures failed");
            }
        };
        let (counts, ()) = tokio::join!(tokio::time::timeout(LAST_EXPORT, self.export()), own_figures);
        if counts.is_err() {
            warn!("the last OTLP export took too long and was given up");
        }
    }
}

/// Resource attributes of everything exported; what the environment says wins.
fn resource(given: &[(String, String)]) -> Vec<(String, String)> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let instance = format!("{host}-{}-{:x}", std::process::id(), wall_clock().as_nanos());
    let defaults = [
        ("service.name", "pqscope-agent".to_owned()),
        ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ("service.instance.id", instance),
        ("host.name", host),
    ];
    let missing = defaults.into_iter().filter(|(key, _)| !given.iter().any(|(known, _)| known == key));
    let missing = missing.map(|(key, value)| (key.to_owned(), value));
    missing.chain(given.iter().cloned()).collect()
}

async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        warn!("signals cannot be caught: the agent ends without a last export");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
