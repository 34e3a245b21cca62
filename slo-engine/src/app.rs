//! The only room that knows every other: start-up in the order of what can fail, tasks, shutdown, and the real clock.

use crate::adapters;
use crate::api;
use crate::arguments::Serve;
use crate::catalog::{self, CatalogError};
use crate::clock::Clock;
use crate::ingest::events::EventDoor;
use crate::ingest::{self, Door, Interest};
use crate::keeper::{Channels, Duties, Keeper};
use crate::notify::Courier;
use crate::prometheus::Prometheus;
use crate::store::{Store, StoreError};
use axum::Router;
use pqscope_slo_core::ledger::Limits;
use pqscope_slo_core::time::Timestamp;
use std::future::Future;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tonic::transport::server::TcpIncoming;

/// Exports that may wait for the keeper; beyond it senders are asked to repeat.
const WAITING_EXPORTS: usize = 256;
/// Entries of people that may wait for the keeper.
const WAITING_ORDERS: usize = 16;
/// gRPC calls under way on one connection: bounds what is held decoded.
const CALLS_PER_CONNECTION: usize = 16;
/// Requests under way get this long to end.
const GRACE: Duration = Duration::from_secs(5);
/// Posts under way get this long to end; one that does not is repeated after the next start.
const COURIER_GRACE: Duration = Duration::from_secs(10);

/// Why the engine does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The objectives are not usable.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The state folder is not usable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A port is taken, or the address is not ours.
    #[error("cannot listen on {address}: {source}; stop what uses it, or choose another with {option}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option that sets it.
        option: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The HTTP client for webhooks cannot be made.
    #[error("cannot set up the client for webhooks: {0}")]
    Client(#[from] reqwest::Error),
    /// Threads, signals, standard output.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
    /// The keeper ended although nobody asked it to.
    #[error("the thread that keeps the state has died; the log above says why")]
    KeeperDied,
}

/// Runs the engine until SIGINT or SIGTERM.
pub(crate) async fn serve(options: Serve) -> Result<(), StartError> {
    let services = options.services.as_deref().map(catalog::load_services).transpose()?;
    let catalog = catalog::load(&options.slo, services.as_ref())?;
    let logs = catalog::load_adapters(options.adapters.as_deref(), options.adapter)?;
    for warning in &catalog.warnings {
        tracing::warn!("{warning}");
    }
    let (store, findings) = Store::open(&options.state)?;
    let web = bind(options.listen, "--listen").await?;
    let otlp_http = bind(options.otlp_http, "--otlp-http").await?;
    let otlp_grpc = bind(options.otlp_grpc, "--otlp-grpc").await?;
    let addresses = [web.local_addr()?, otlp_http.local_addr()?, otlp_grpc.local_addr()?];

    let clock = system_clock();
    let (submission_sender, submissions) = mpsc::channel(WAITING_EXPORTS);
    let (event_sender, events) = mpsc::channel(WAITING_EXPORTS);
    let (settlement_sender, settlements) = mpsc::unbounded_channel();
    let (rows, row_receiver) = mpsc::unbounded_channel();
    let (stop_courier, courier_stopping) = watch::channel(false);
    let (stop_keeper, stopping) = watch::channel(false);
    let (stop_servers, servers_stopping) = watch::channel(false);

    let door = Door::new(Interest::of(&catalog), submission_sender, options.max_request);
    let event_door = EventDoor::new(event_sender.clone(), clock.clone(), options.max_request);
    let courier = Courier::new(&options.webhook, clock.clone(), settlement_sender, courier_stopping)?;
    let delivery_figures = courier.figures();
    let (prometheus, readings) =
        Prometheus::new(&catalog.objectives, clock.clone(), options.evaluation_interval);
    let duties = Duties {
        receivers: options.webhook.iter().map(|receiver| receiver.name().to_owned()).collect(),
        catalog,
        services: services.unwrap_or_default(),
        evaluation_interval: options.evaluation_interval,
        rotation_grace: options.rotation_grace,
        limits: Limits::of_series(options.max_series as usize),
        checkpoint_interval: options.checkpoint_interval,
        export_interval: options.export_interval,
        max_state_bytes: options.max_state_size,
        readings,
    };
    let (order_sender, orders) = mpsc::channel(WAITING_ORDERS);
    let (keeper, view) = Keeper::new(store, &findings, duties, clock.clone(), rows)?;
    let offsets = keeper.adapter_offsets();
    let keeper_done = start_keeper(keeper, Channels { submissions, events, settlements, orders, stopping })?;
    let courier = tokio::spawn(courier.run(row_receiver));
    let prometheus = tokio::spawn(prometheus.run(servers_stopping.clone()));
    let servers = [
        spawn_http(
            web,
            api::router(view, clock.clone(), delivery_figures, order_sender)
                .merge(ingest::events::router(event_door.clone())),
            servers_stopping.clone(),
        ),
        spawn_http(
            otlp_http,
            ingest::http::router(door.clone()).merge(ingest::events::logs::router(event_door.clone())),
            servers_stopping.clone(),
        ),
        spawn_grpc(otlp_grpc, door, event_door, servers_stopping.clone()),
    ];
    let followers = adapters::start(logs, offsets, &event_sender, &clock, &servers_stopping);
    announce(addresses)?;

    let mut keeper_done = keeper_done;
    let died = tokio::select! {
        signal = shutdown_signal() => {
            signal?;
            false
        }
        _ = &mut keeper_done => true,
    };
    tracing::info!("shutting down");
    // Whoever waits for an acknowledgement gets it before the keeper goes; the keeper notes what the courier settles.
    stop_servers.send_replace(true);
    for server in servers.into_iter().chain(followers) {
        let _ = tokio::time::timeout(GRACE, server).await;
    }
    let _ = tokio::time::timeout(GRACE, prometheus).await;
    stop_courier.send_replace(true);
    let _ = tokio::time::timeout(COURIER_GRACE, courier).await;
    stop_keeper.send_replace(true);
    if died {
        return Err(StartError::KeeperDied);
    }
    let _ = keeper_done.await;
    Ok(())
}

/// The wall clock. Buckets and records carry its time; waiting is done by the runtime's monotonic one.
pub(crate) fn system_clock() -> Clock {
    let wall = || {
        #[expect(clippy::disallowed_methods, reason = "this room hands the time to all others")]
        let now = SystemTime::now();
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.after(since_epoch)
    };
    #[expect(clippy::disallowed_methods, reason = "this room hands the time to all others")]
    let begun = Instant::now();
    #[expect(clippy::disallowed_methods, reason = "this room hands the time to all others")]
    let elapsed = move || begun.elapsed();
    Clock::new(wall, elapsed)
}

async fn bind(address: SocketAddr, option: &'static str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, option, source })
}

/// Puts the keeper on a thread of its own, where it may block on the disk.
fn start_keeper(keeper: Keeper, channels: Channels) -> io::Result<oneshot::Receiver<()>> {
    let (done, is_done) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("keeper".to_owned()).spawn(move || {
        runtime.block_on(keeper.run(channels));
        let _ = done.send(());
    })?;
    Ok(is_done)
}

fn spawn_http(listener: TcpListener, router: Router, stopping: watch::Receiver<bool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped(stopping)).await {
            tracing::error!("an HTTP listener failed: {error}");
        }
    })
}

fn spawn_grpc(
    listener: TcpListener,
    door: Door,
    events: EventDoor,
    stopping: watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let served = tonic::transport::Server::builder()
            .concurrency_limit_per_connection(CALLS_PER_CONNECTION)
            .add_service(ingest::grpc::service(door))
            .add_service(ingest::events::logs::service(events))
            .serve_with_incoming_shutdown(TcpIncoming::from(listener), stopped(stopping))
            .await;
        if let Err(error) = served {
            tracing::error!("the gRPC listener failed: {error}");
        }
    })
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// One line per listener on standard output, for people and for scripts that asked for port 0.
fn announce([web, http, grpc]: [SocketAddr; 3]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "listening: web http://{web}")?;
    writeln!(out, "listening: otlp-http http://{http}")?;
    writeln!(out, "listening: otlp-grpc http://{grpc}")?;
    out.flush()
}

fn shutdown_signal() -> impl Future<Output = io::Result<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    }
}
