//! The threads that carry the traffic: each with a runtime, a listening socket of its own on the
//! one address (the kernel deals connections out), and its own connections to plugins.

use std::{
    io,
    net::SocketAddr,
    num::NonZeroUsize,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use forward_plan::Cidr;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::{
    net::TcpListener,
    runtime::LocalOptions,
    sync::{Notify, Semaphore, watch},
};

use super::{
    accept::{Connections, accept},
    balance::Dice,
    channel::Channels,
    clock::Clock,
    connection_limit::ConnectionLimit,
    inflow::GATHERED,
    pool::Pool,
    secure::Handshakes,
    snapshot::Snapshot,
    span::Spans,
    stats::RouteStats,
};
use crate::{callers::Callers, tls::Tls};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How often unused connections are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// After how much silence a client is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Of which requests a line is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum AccessLog {
    #[default]
    None,
    /// Those that are answered with 5xx.
    Errors,
    All,
}

/// What the traffic is carried by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the end of a request to the head of its answer.
    pub upstream_timeout: Duration,
    /// How long the head of a request may take to come in.
    pub head_timeout: Duration,
    /// How long a connection is kept without a request.
    pub idle_timeout: Duration,
    /// How long a client may take nothing of an answer of which there is more.
    pub send_timeout: Duration,
    /// How many bytes of a body a client has to send in a second, where it is waited for.
    pub least_rate: u64,
    /// How many connections clients may have, and each of them.
    pub max_connections: usize,
    pub max_connections_per_client: Option<NonZeroUsize>,
    /// How long requests that are under way may take to end when the process stops.
    pub stop_timeout: Duration,
    /// Whose word about the client is believed.
    pub trusted: Vec<Cidr>,
    pub access_log: AccessLog,
    /// Where the spans of requests go, if traces are kept.
    pub spans: Option<Arc<Spans>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            upstream_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            least_rate: 512,
            max_connections: 16_384,
            max_connections_per_client: None,
            stop_timeout: Duration::from_secs(30),
            trusted: Vec::new(),
            access_log: AccessLog::None,
            spans: None,
        }
    }
}

/// What all workers have in common.
#[derive(Debug)]
pub struct Shared {
    pub snapshot: ArcSwap<Snapshot>,
    pub settings: Settings,
    /// What callers are known by.
    pub callers: Arc<Callers>,
    /// Requests without a route, by worker.
    pub unmatched: Vec<RouteStats>,
    /// What gathered bodies may still take, in bytes.
    pub gathering: Arc<Semaphore>,
    /// How many large bodies may be judged at a time: each is a thread, and what is read takes many
    /// times the room of its text.
    pub judging: Arc<Semaphore>,
    /// The connections of clients.
    pub connections: Arc<ConnectionLimit>,
    /// Connections on which nothing happens: see [`super::http1`].
    pub dormant: AtomicUsize,
    draining: AtomicBool,
    /// Of the gateway, this one among them: they share the limits.
    replicas: AtomicU32,
}

impl Shared {
    pub fn new(settings: Settings, workers: usize) -> Arc<Self> {
        let connections = ConnectionLimit::new(settings.max_connections, settings.max_connections_per_client);
        Arc::new(Self {
            snapshot: ArcSwap::default(),
            settings,
            callers: Arc::default(),
            unmatched: (0..workers).map(|_| RouteStats::default()).collect(),
            gathering: Arc::new(Semaphore::new(GATHERED)),
            judging: Arc::new(Semaphore::new(workers)),
            connections,
            dormant: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            replicas: AtomicU32::new(1),
        })
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.unmatched.len()
    }

    /// Ask clients to open their next connection elsewhere.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// How many replicas of the gateway there are.
    pub fn replicas(&self) -> u32 {
        self.replicas.load(Relaxed)
    }

    pub fn set_replicas(&self, count: usize) {
        self.replicas.store(u32::try_from(count.max(1)).unwrap_or(u32::MAX), Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

/// One thread's own.
pub struct Worker {
    pub index: usize,
    pub shared: Arc<Shared>,
    pub clock: Rc<Clock>,
    pub pool: Rc<Pool>,
    pub channels: Channels,
    pub dice: Dice,
    pub connections: Rc<Connections>,
    pub handshakes: Handshakes,
}

/// Where to listen for TLS, and what for.
#[derive(Clone, Debug)]
pub struct Secured {
    pub listen: SocketAddr,
    pub tls: Arc<Tls>,
}

/// One thread's listening sockets.
struct Sockets {
    plain: std::net::TcpListener,
    secured: Option<(std::net::TcpListener, Arc<Tls>)>,
}

/// The running threads.
pub struct Workers {
    address: SocketAddr,
    secured: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    died: Arc<Notify>,
    threads: Vec<JoinHandle<()>>,
}

/// Tells when its thread ends, even by a panic.
struct Alarm(Arc<Notify>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Workers {
    /// Listen on an address, and on another one for TLS where that is wanted, and carry traffic.
    pub fn start(listen: SocketAddr, secured: Option<Secured>, shared: &Arc<Shared>) -> io::Result<Self> {
        let plain = bind_all(listen, shared.workers())?;
        let address = plain.address;
        let (tls, mut secured) = match secured {
            Some(Secured { listen, tls }) => (Some(tls), Some(bind_all(listen, shared.workers())?)),
            None => (None, None),
        };
        let secured_address = secured.as_ref().map(|bound| bound.address);
        let (stop, stopped) = watch::channel(false);
        let died = Arc::new(Notify::new());
        let mut threads = Vec::new();
        for (index, plain) in plain.listeners.into_iter().enumerate() {
            let secured = secured.as_mut().and_then(|bound| bound.listeners.pop()).zip(tls.clone());
            let sockets = Sockets { plain, secured };
            let runtime = tokio::runtime::Builder::new_current_thread();
            let (shared, stopped, alarm) = (shared.clone(), stopped.clone(), Alarm(died.clone()));
            let thread = std::thread::Builder::new().name(format!("traffic-{index}"));
            threads.push(thread.spawn(move || {
                let _alarm = alarm;
                run(runtime, index, shared, sockets, stopped);
            })?);
        }
        Ok(Self { address, secured: secured_address, stop, died, threads })
    }

    /// Where they listen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where they listen for TLS.
    pub fn secured_address(&self) -> Option<SocketAddr> {
        self.secured
    }

    /// Resolves when a thread has ended that was not told to.
    pub async fn died(&self) {
        self.died.notified().await;
    }

    /// Accept no more connections, end the requests that are under way, and the threads. Blocks
    /// until that is done, at most for the stop timeout.
    pub fn stop(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a traffic thread panicked");
            }
        }
    }
}

/// Sockets of several threads on one address.
struct Bound {
    address: SocketAddr,
    listeners: Vec<std::net::TcpListener>,
}

fn bind_all(listen: SocketAddr, count: usize) -> io::Result<Bound> {
    let first = bind(listen)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..count {
        listeners.push(bind(address)?);
    }
    Ok(Bound { address, listeners })
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Accepted connections inherit it.
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn run(
    mut runtime: tokio::runtime::Builder,
    index: usize,
    shared: Arc<Shared>,
    sockets: Sockets,
    stopped: watch::Receiver<bool>,
) {
    let result = runtime
        .enable_all()
        .build_local(LocalOptions::default())
        .and_then(|runtime| runtime.block_on(work(index, shared, sockets, stopped)));
    if let Err(error) = result {
        tracing::error!(%error, "a traffic thread cannot run");
    }
}

async fn work(
    index: usize,
    shared: Arc<Shared>,
    sockets: Sockets,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let plain = TcpListener::from_std(sockets.plain)?;
    let secured = match sockets.secured {
        Some((listener, tls)) => Some((TcpListener::from_std(listener)?, tls)),
        None => None,
    };
    let worker = Rc::new(Worker {
        index,
        shared,
        clock: Clock::new(),
        pool: Rc::default(),
        channels: Channels::default(),
        dice: Dice::new(),
        connections: Rc::default(),
        handshakes: Handshakes::default(),
    });
    tokio::task::spawn_local(worker.clock.clone().run());
    tokio::task::spawn_local(sweep(worker.clone()));
    let accept_secured = async {
        match &secured {
            Some((listener, tls)) => accept(&worker, listener, Some(tls)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = accept(&worker, &plain, None) => {}
        () = accept_secured => {}
        // An error means that whoever could say stop is gone.
        _ = stopped.wait_for(|stopped| *stopped) => {}
    }
    drop((plain, secured));
    worker.connections.stop();
    let mut late = worker.clock.after(worker.shared.settings.stop_timeout);
    tokio::select! {
        () = worker.connections.gone() => {}
        () = &mut late => tracing::warn!("requests were broken off to stop in time"),
    }
    Ok(())
}

async fn sweep(worker: Rc<Worker>) {
    loop {
        worker.clock.after(SWEEP).await;
        worker.pool.sweep(worker.clock.now());
        worker.channels.sweep(worker.clock.now());
    }
}
