//! Handshakes over TCP on the loopback interface.
//!
//! One listening socket serves all scenarios: a client announces its own port before it connects, and the server looks
//! up by that port what it is meant to do. What enters is a scenario and a server name, what leaves is the
//! [`Truth`] of the attempt.

use crate::peers::{Peers, PeersError};
use crate::plan::HandshakePlan;
use crate::scenario::{ClientBehaviour, Scenario, ServerBehaviour};
use crate::truth::{Agreement, EndTruth, Truth};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: laboratory\r\nConnection: close\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
const PLAIN_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";

/// How long one end waits for the other before it gives up. A silent server is left alone for so long, which has to be
/// more than the five seconds after which an observer calls an attempt timed out.
pub const DEFAULT_PATIENCE: Duration = Duration::from_millis(6500);

/// Client ports remembered, so that truth can be looked up by port.
const REMEMBERED_PORTS: usize = 8192;

/// Why the lab cannot work.
#[derive(Debug, Error)]
pub enum LoopbackError {
    /// The two ends could not be set up.
    #[error(transparent)]
    Peers(#[from] PeersError),
    /// The listening socket could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No local port could be had for a client.
    #[error("cannot open a client socket: {0}")]
    ClientSocket(io::Error),
    /// The server name cannot stand in a ClientHello.
    #[error("`{0}` is not a server name that TLS can carry")]
    ServerName(String),
}

/// What the server does with the connection from one client port.
struct Appointment {
    behaviour: ServerBehaviour,
    /// For so long the hello lies unread.
    pause: Duration,
    config: Arc<ServerConfig>,
    report: oneshot::Sender<EndTruth>,
}

#[derive(Clone, Default)]
struct Appointments(Arc<Mutex<HashMap<u16, Appointment>>>);

impl Appointments {
    fn put(&self, port: u16, appointment: Appointment) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(port, appointment);
    }

    fn take(&self, port: u16) -> Option<Appointment> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&port)
    }
}

#[derive(Clone)]
struct Ends {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

/// A server on the loopback interface and the clients that talk to it.
pub struct Loopback {
    server: SocketAddr,
    patience: Duration,
    ends: HashMap<Scenario, Ends>,
    appointments: Appointments,
    recent_ports: Mutex<VecDeque<u16>>,
    accepting: JoinHandle<()>,
}

impl Loopback {
    /// Listens on 127.0.0.1 at this port (0: any free one) and makes certificates for these server names.
    ///
    /// # Errors
    /// When the port is taken or a certificate cannot be made.
    pub async fn start(port: u16, names: &[String], patience: Duration) -> Result<Self, LoopbackError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listen = |source| LoopbackError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let server = listener.local_addr().map_err(listen)?;
        let peers = Peers::generate(names)?;
        let mut ends = HashMap::new();
        for scenario in Scenario::ALL {
            ends.insert(scenario, configure(&peers, &scenario.plan())?);
        }
        let appointments = Appointments::default();
        let accepting = tokio::spawn(accept(listener, appointments.clone(), patience));
        let recent_ports = Mutex::new(VecDeque::with_capacity(REMEMBERED_PORTS));
        Ok(Self { server, patience, ends, appointments, recent_ports, accepting })
    }

    /// Address and port of the server.
    pub fn server_address(&self) -> SocketAddr {
        self.server
    }

    /// Makes one attempt and returns what both ends know about it.
    ///
    /// # Errors
    /// When no attempt could be made at all. A handshake that fails is no error: it is the truth asked for.
    pub async fn attempt(&self, scenario: Scenario, server_name: &str) -> Result<Truth, LoopbackError> {
        self.attempt_slowed(scenario, server_name, Duration::ZERO).await
    }

    /// The same with a server that leaves the hello unread for so long.
    ///
    /// # Errors
    /// As [`Loopback::attempt`].
    pub async fn attempt_slowed(
        &self,
        scenario: Scenario,
        server_name: &str,
        pause: Duration,
    ) -> Result<Truth, LoopbackError> {
        let unusable = || LoopbackError::ServerName(server_name.to_owned());
        let name = ServerName::try_from(server_name.to_owned()).map_err(|_| unusable())?;
        let ends = self.ends.get(&scenario).ok_or_else(unusable)?;
        let (socket, client) = self.open_client()?;
        let (report, server_report) = oneshot::channel();
        self.appointments.put(
            client.port(),
            Appointment {
                behaviour: scenario.server_behaviour(),
                pause,
                config: Arc::clone(&ends.server),
                report,
            },
        );
        let talk = talk(socket, self.server, scenario.client_behaviour(), Arc::clone(&ends.client), name);
        let client_end = match tokio::time::timeout(self.patience, talk).await {
            Ok(end) => end,
            Err(_) => EndTruth::Failed {
                error: "gave up waiting for the server".to_owned(),
                alert_received: None,
                agreement: None,
            },
        };
        let server_end = tokio::time::timeout(self.patience, server_report).await.ok().and_then(Result::ok);
        self.appointments.take(client.port());
        Ok(Truth {
            scenario,
            server_name: server_name.to_owned(),
            client,
            server: self.server,
            client_end,
            server_end,
        })
    }

    /// A socket bound to a port that no recent attempt used, so that ports tell attempts apart.
    fn open_client(&self) -> Result<(TcpSocket, SocketAddr), LoopbackError> {
        let mut refused = Vec::new();
        loop {
            let socket = TcpSocket::new_v4().map_err(LoopbackError::ClientSocket)?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).map_err(LoopbackError::ClientSocket)?;
            let address = socket.local_addr().map_err(LoopbackError::ClientSocket)?;
            let mut recent = self.recent_ports.lock().unwrap_or_else(PoisonError::into_inner);
            if recent.contains(&address.port()) {
                // Kept open until a fresh port turns up, so that the system does not offer this one again.
                refused.push(socket);
                continue;
            }
            if recent.len() == REMEMBERED_PORTS {
                recent.pop_front();
            }
            recent.push_back(address.port());
            return Ok((socket, address));
        }
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn configure(peers: &Peers, plan: &HandshakePlan) -> Result<Ends, PeersError> {
    let chain = peers.server_chain(plan)?;
    Ok(Ends { client: Arc::new(peers.client(plan)?), server: Arc::new(peers.server(plan, chain)?) })
}

async fn accept(listener: TcpListener, appointments: Appointments, patience: Duration) {
    loop {
        let Ok((stream, client)) = listener.accept().await else {
            // Out of descriptors or the like: let running attempts finish before the next try.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Some(appointment) = appointments.take(client.port()) else { continue };
        tokio::spawn(async move {
            if !appointment.pause.is_zero() {
                tokio::time::sleep(appointment.pause).await;
            }
            let served = serve(stream, appointment.behaviour, appointment.config);
            // A little more patience than the client's, so that it is the client who gives up.
            let end =
                tokio::time::timeout(patience + Duration::from_secs(1), served).await.unwrap_or_else(|_| {
                    EndTruth::Failed {
                        error: "gave up waiting for the client".to_owned(),
                        alert_received: None,
                        agreement: None,
                    }
                });
            // The attempt may be gone if the program is shutting down; then nobody wants the answer.
            let _ = appointment.report.send(end);
        });
    }
}

async fn serve(mut stream: TcpStream, behaviour: ServerBehaviour, config: Arc<ServerConfig>) -> EndTruth {
    match behaviour {
        ServerBehaviour::Tls => serve_tls(stream, config).await,
        ServerBehaviour::Reset => {
            read_some(&mut stream).await;
            // Closing with no time to linger makes the system send RST instead of FIN.
            let _ = stream.set_zero_linger();
            EndTruth::Acted { what: "reset the connection after the hello" }
        }
        ServerBehaviour::Close => {
            read_some(&mut stream).await;
            let _ = stream.shutdown().await;
            read_to_end(&mut stream).await;
            EndTruth::Acted { what: "closed the connection after the hello" }
        }
        ServerBehaviour::Silent => {
            read_to_end(&mut stream).await;
            EndTruth::Acted { what: "never answered" }
        }
        ServerBehaviour::PlainText => {
            read_some(&mut stream).await;
            let _ = stream.write_all(PLAIN_ANSWER).await;
            let _ = stream.shutdown().await;
            read_to_end(&mut stream).await;
            EndTruth::Acted { what: "answered with plain text" }
        }
    }
}

async fn serve_tls(stream: TcpStream, config: Arc<ServerConfig>) -> EndTruth {
    let mut tls = match TlsAcceptor::from(config).accept(stream).await {
        Ok(tls) => tls,
        Err(error) => return EndTruth::failed(&error, None),
    };
    let agreement = Agreement::read(tls.get_ref().1);
    let talked = async {
        let mut request = vec![0; REQUEST.len()];
        tls.read_exact(&mut request).await?;
        tls.write_all(RESPONSE).await?;
        tls.flush().await?;
        read_to_end(&mut tls).await;
        tls.shutdown().await
    }
    .await;
    conclude(talked, agreement)
}

async fn talk(
    socket: TcpSocket,
    server: SocketAddr,
    behaviour: ClientBehaviour,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> EndTruth {
    let stream = match socket.connect(server).await {
        Ok(stream) => stream,
        Err(error) => return EndTruth::failed(&error, None),
    };
    // One write is one flight; waiting for more would only blur the times.
    let _ = stream.set_nodelay(true);
    match behaviour {
        ClientBehaviour::Tls => talk_tls(stream, config, name).await,
        ClientBehaviour::Reset => leave_after_hello(stream, config, name, true).await,
        ClientBehaviour::Close => leave_after_hello(stream, config, name, false).await,
    }
}

async fn talk_tls(stream: TcpStream, config: Arc<ClientConfig>, name: ServerName<'static>) -> EndTruth {
    let mut tls = match TlsConnector::from(config).connect(name, stream).await {
        Ok(tls) => tls,
        Err(error) => return EndTruth::failed(&error, None),
    };
    let agreement = Agreement::read(tls.get_ref().1);
    let talked = async {
        tls.write_all(REQUEST).await?;
        tls.flush().await?;
        let mut response = vec![0; RESPONSE.len()];
        tls.read_exact(&mut response).await?;
        tls.shutdown().await?;
        read_to_end(&mut tls).await;
        Ok(())
    }
    .await;
    conclude(talked, agreement)
}

async fn leave_after_hello(
    mut stream: TcpStream,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    reset: bool,
) -> EndTruth {
    let mut hello = Vec::new();
    let written = ClientConnection::new(config, name)
        .map_err(io::Error::other)
        .and_then(|mut connection| connection.write_tls(&mut hello));
    let sent = match written {
        Ok(_) => stream.write_all(&hello).await,
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        return EndTruth::failed(&error, None);
    }
    if reset {
        let _ = stream.set_zero_linger();
        EndTruth::Acted { what: "reset the connection after its hello" }
    } else {
        let _ = stream.shutdown().await;
        read_to_end(&mut stream).await;
        EndTruth::Acted { what: "closed the connection after its hello" }
    }
}

fn conclude(talked: io::Result<()>, agreement: Option<Agreement>) -> EndTruth {
    match (talked, agreement) {
        (Ok(()), Some(agreement)) => EndTruth::Completed(agreement),
        (Ok(()), None) => {
            EndTruth::failed(&io::Error::other("the TLS library does not say what was agreed"), None)
        }
        (Err(error), agreement) => EndTruth::failed(&error, agreement),
    }
}

async fn read_some(stream: &mut (impl AsyncRead + Unpin)) {
    let mut buffer = [0; 16 * 1024];
    let _ = stream.read(&mut buffer).await;
}

/// Reads until the peer closes or breaks the connection; how it ends does not matter any more at that point.
async fn read_to_end(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let mut buffer = [0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}
