//! Listening sockets. They are bound before anything else, one per worker, so that the kernel spreads the connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::plan::config::{Address, Listen, SocketFile};
use crate::proxy::io::socket::Plain;
use crate::proxy::worker::Worker;
use crate::telemetry::Limit;

pub use super::bind_error::BindError;
use super::bind_error::Cause;
use super::driver::{self, Accepted};
use super::unix;

/// Sockets that the starter of the process handed over (systemd's socket activation).
#[derive(Debug, Default)]
pub struct Inherited {
    /// Sockets that listen on TCP.
    pub tcp: Vec<StdTcpListener>,
    /// Sockets that listen on a unix socket.
    pub unix: Vec<StdUnixListener>,
}

impl Inherited {
    /// Returns the addresses of the sockets that are left, as the config would write them.
    pub fn names(&self) -> Vec<String> {
        let tcp = self.tcp.iter().filter_map(|socket| socket.local_addr().ok()).map(|address| address.to_string());
        let path =
            |socket: &StdUnixListener| Some(format!("unix:{}", socket.local_addr().ok()?.as_pathname()?.display()));
        tcp.chain(self.unix.iter().filter_map(path)).collect()
    }
}

/// Socket on which one thread listens.
#[derive(Debug)]
pub enum Exclusive {
    /// A TCP socket.
    Tcp(StdTcpListener),
    /// A unix socket.
    Unix(StdUnixListener),
}

/// Binds an address for one thread. Also returns the socket's file, if it has one that must be removed at the end.
///
/// # Errors
/// Returns an error if the address cannot be bound.
pub fn bind_one_exclusively(
    listen: &Listen,
    inherited: &mut Inherited,
) -> Result<(Exclusive, Option<PathBuf>), BindError> {
    let mut bound = bind_one(listen, 1, (Family::Usual, inherited))?;
    let file = bound.file();
    match bound.sockets.pop() {
        Some(Std::Tcp(listener)) => Ok((Exclusive::Tcp(listener), file)),
        Some(Std::Unix(listener)) => Ok((Exclusive::Unix(listener), file)),
        None => {
            Err(BindError { address: listen.address.clone(), cause: io::Error::from(io::ErrorKind::NotFound).into() })
        }
    }
}

/// Address that is bound, with a socket for each worker.
#[derive(Debug)]
pub struct Bound {
    /// The bound address, with the port that was chosen if the config said 0.
    pub address: Address,
    /// True if the socket was inherited: another process may hold it too, and accept the connections that this one
    /// leaves.
    pub inherited: bool,
    listen: Listen,
    sockets: Vec<Std>,
}

#[derive(Debug)]
enum Std {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// Binds the config's listeners, each once for every worker. Uses inherited sockets where they fit.
///
/// # Errors
/// Returns the error of the first address that cannot be bound.
pub fn bind(listen: &[Listen], workers: usize, inherited: &mut Inherited) -> Result<Vec<Bound>, BindError> {
    let bound = |one: &Listen| bind_one(one, workers, (family(one, listen), inherited));
    listen.iter().map(bound).collect()
}

fn bind_one(
    listen: &Listen,
    workers: usize,
    (family, inherited): (Family, &mut Inherited),
) -> Result<Bound, BindError> {
    let bound = match &listen.address {
        Address::Ip(ip) => bind_tcp((*ip, family), workers, inherited).map_err(Cause::from),
        Address::Unix(path) => bind_unix((path, &listen.file), workers, inherited),
    };
    let (address, inherited, sockets) = bound.map_err(|cause| BindError { address: listen.address.clone(), cause })?;
    Ok(Bound { address, inherited, listen: listen.clone(), sockets })
}

/// Families of addresses that a socket takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    /// Family of its address; for `[::]` IPv4 as well.
    Usual,
    /// IPv6 alone, because another socket takes IPv4 on the same port.
    OnlyV6,
}

/// Returns the families that a listener takes beside the others.
fn family(one: &Listen, all: &[Listen]) -> Family {
    let beside = |port: u16| Address::Ip(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)));
    match one.address {
        Address::Ip(address) if all.iter().any(|other| other.address == beside(address.port())) => Family::OnlyV6,
        Address::Ip(_) | Address::Unix(_) => Family::Usual,
    }
}

/// The address that was bound, whether its socket was inherited, and a socket for each worker.
type Sockets = (Address, bool, Vec<Std>);

fn bind_tcp((address, family): (SocketAddr, Family), workers: usize, inherited: &mut Inherited) -> io::Result<Sockets> {
    let given = inherited.tcp.iter().position(|socket| socket.local_addr().is_ok_and(|local| local == address));
    if let Some(index) = given {
        let sockets = clone_per_worker(workers, inherited.tcp.swap_remove(index), StdTcpListener::try_clone, Std::Tcp)?;
        return Ok((Address::Ip(address), true, sockets));
    }
    // The first bind is without SO_REUSEPORT, and fails if the address is in use. With it, two processes would silently
    // share the connections.
    drop(tcp_socket(address, family, Sharing::Never)?);
    let first = tcp_socket(address, family, Sharing::Workers)?;
    let address = first.local_addr()?;
    let mut sockets = vec![Std::Tcp(first)];
    for _ in 1..workers {
        sockets.push(Std::Tcp(tcp_socket(address, family, Sharing::Workers)?));
    }
    Ok((Address::Ip(address), false, sockets))
}

/// Use of one address by several sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Never,
    /// One socket for each worker.
    Workers,
}

fn tcp_socket(address: SocketAddr, family: Family, sharing: Sharing) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Workers)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        // Said in both cases: the machine's default differs (net.ipv6.bindv6only).
        socket.set_only_v6(family == Family::OnlyV6)?;
    }
    // Connections inherit this setting. Without it the kernel buffers megabytes at once, and for seconds a slow client
    // looks like one that reads nothing.
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(
    (path, access): (&Path, &SocketFile),
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Sockets, Cause> {
    let has_path = |socket: &StdUnixListener| socket.local_addr().is_ok_and(|local| local.as_pathname() == Some(path));
    let given = inherited.unix.iter().position(has_path).map(|index| inherited.unix.swap_remove(index));
    let inherited = given.is_some();
    let socket = match given {
        Some(socket) => socket,
        None => unix::bind(path, access, BACKLOG)?,
    };
    let sockets = clone_per_worker(workers, socket, StdUnixListener::try_clone, Std::Unix)?;
    Ok((Address::Unix(path.to_owned()), inherited, sockets))
}

fn clone_per_worker<T>(
    count: usize,
    socket: T,
    copy: impl Fn(&T) -> io::Result<T>,
    wrap: impl Fn(T) -> Std,
) -> io::Result<Vec<Std>> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 1..count {
        sockets.push(wrap(copy(&socket)?));
    }
    sockets.push(wrap(socket));
    Ok(sockets)
}

impl Bound {
    /// Takes the socket of one worker.
    pub(crate) fn take(&mut self) -> Option<WorkerListener> {
        let socket = self.sockets.pop()?;
        Some(WorkerListener { socket, inherited: self.inherited, listen: self.listen.clone() })
    }

    /// Returns the socket's file, if it is our own and must be removed at the end.
    pub fn file(&self) -> Option<PathBuf> {
        match &self.address {
            Address::Unix(path) if !self.inherited => Some(path.clone()),
            Address::Unix(_) | Address::Ip(_) => None,
        }
    }
}

/// Listening socket of one worker.
#[derive(Debug)]
pub(crate) struct WorkerListener {
    socket: Std,
    pub(crate) inherited: bool,
    listen: Listen,
}

enum Listener {
    /// A socket and its address, whose port all of its connections share.
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener),
}

impl WorkerListener {
    fn into_listener(self) -> io::Result<Listener> {
        match self.socket {
            Std::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                let address = socket.local_addr()?;
                Ok(Listener::Tcp(TcpListener::from_std(socket)?, address))
            }
            Std::Unix(socket) => {
                socket.set_nonblocking(true)?;
                UnixListener::from_std(socket).map(Listener::Unix)
            }
        }
    }
}

impl Listener {
    /// Accepts the next connection; on TCP with the peer's address and our own.
    async fn accept(&self) -> io::Result<(Plain, Option<(SocketAddr, SocketAddr)>)> {
        match self {
            Self::Tcp(listener, address) => {
                let (stream, peer) = listener.accept().await?;
                // Heads and small answers must not wait for each other's acknowledgement.
                stream.set_nodelay(true)?;
                // Only a socket for all addresses does not know which of them a client has connected to.
                let local = if address.ip().is_unspecified() { stream.local_addr()? } else { *address };
                Ok((Plain::Tcp(stream), Some((peer, local))))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Plain::Unix(stream), None))
            }
        }
    }
}

/// Accepts connections until `open` turns false. Then accepts the connections that the kernel has already completed, so
/// that none of them is reset. `tls` is the index by which the live generation has the listener's TLS, if it has any.
pub(crate) async fn accept(
    worker: Rc<Worker>,
    socket: WorkerListener,
    tls: Option<usize>,
    mut open: watch::Receiver<bool>,
) {
    let listen = Rc::new(socket.listen.clone());
    let listener = match socket.into_listener() {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "cannot listen"),
    };
    let mut backoff = Backoff::default();
    while *open.borrow_and_update() {
        if worker.is_full() {
            worker.cell().reached(Limit::Connections);
            worker.fewer_than(worker.most).await;
        }
        tokio::select! {
            accepted = listener.accept() => take(&worker, accepted, (tls, &listen), &mut backoff).await,
            changed = open.changed() => if changed.is_err() { break },
        }
    }
    // Yielding lets the runtime look at the socket again, which it may not have done since the last connection came.
    tokio::task::yield_now().await;
    while let Ok(accepted) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        if accepted.is_err() {
            break;
        }
        take(&worker, accepted, (tls, &listen), &mut backoff).await;
    }
}

async fn take(
    worker: &Rc<Worker>,
    accepted: io::Result<(Plain, Option<(SocketAddr, SocketAddr)>)>,
    (tls, listen): (Option<usize>, &Rc<Listen>),
    backoff: &mut Backoff,
) {
    match accepted {
        Ok((stream, addresses)) => {
            backoff.succeeded();
            worker.cell().accepted.increment();
            // A listener with TLS always has a configuration. Without one, nothing may be taken for clear text.
            let tls = match tls.map(|listener| worker.generation().listeners.get(listener).cloned().flatten()) {
                Some(None) => return,
                tls => tls.flatten(),
            };
            let accepted = Accepted { stream, addresses, tls, listen: Rc::clone(listen) };
            // Counted now, not when its task first runs: the next connection may be accepted before that.
            let place = worker.admit();
            tokio::task::spawn_local(driver::run(Rc::clone(worker), accepted, place));
        }
        // The client had gone before it was accepted.
        Err(error) if is_connection_error(&error) => {}
        Err(error) => {
            worker.cell().accept_failures.increment();
            backoff.failed(&error).await;
        }
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidInput, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | BrokenPipe | NotConnected | InvalidInput)
}

/// Delays between attempts to accept when resources are short, such as descriptors or memory. The connection stays in
/// the kernel's queue, and an immediate retry would only burn the processor.
#[derive(Default)]
struct Backoff {
    wait: Option<Duration>,
}

impl Backoff {
    async fn failed(&mut self, error: &io::Error) {
        if self.wait.is_none() {
            tracing::warn!(%error, "cannot accept connections, trying again");
        }
        let wait = self.wait.map_or(FIRST_BACKOFF, |wait| (wait * 2).min(LONGEST_BACKOFF));
        self.wait = Some(wait);
        tokio::time::sleep(wait).await;
    }

    fn succeeded(&mut self) {
        if self.wait.take().is_some() {
            tracing::info!("accepting connections again");
        }
    }
}

/// Completed connections that may wait to be accepted; the kernel caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

const FIRST_BACKOFF: Duration = Duration::from_millis(10);
const LONGEST_BACKOFF: Duration = Duration::from_millis(500);

/// Bytes that the kernel accepts for a client before they can be sent. The kernel reports room again when half of them
/// have left.
const UNSENT: u32 = 64 * 1024;
