//! A gateway, plugins and clients in one process.

use std::{
    collections::BTreeMap,
    future::Future,
    mem,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use forward_crds::Middleware;
use forward_gateway::{
    callers::Callers,
    data::{
        ask::Callee,
        bulkhead::Bulkhead,
        chain::{Chain, Kept, Site},
        limit::Limiter,
        resilience::Target,
        snapshot::{Plugin, Route, Snapshot},
        stats::{PluginTotals, RouteStats, RouteTotals},
        worker::{Secured, Settings, Shared, Workers},
    },
    tls::Tls,
};
use forward_plan::{
    middleware,
    routes::{Method, Pattern, PluginId},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

/// How long anything may take before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Gateway {
    pub shared: Arc<Shared>,
    pub address: SocketAddr,
    workers: Option<Workers>,
}

impl Gateway {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        let shared = Shared::new(settings, 2);
        let workers = Workers::start(([127, 0, 0, 1], 0).into(), None, &shared).unwrap();
        Self { shared, address: workers.address(), workers: Some(workers) }
    }

    /// That listens for TLS too, on any port.
    pub fn secured(settings: Settings, tls: Arc<Tls>) -> (Self, SocketAddr) {
        let shared = Shared::new(settings, 2);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let workers = Workers::start(any, Some(Secured { listen: any, tls }), &shared).unwrap();
        let secured = workers.secured_address().unwrap();
        (Self { shared, address: workers.address(), workers: Some(workers) }, secured)
    }

    /// A plugin `test/<name>` with routes as `METHOD host/path`.
    pub fn plugin(&self, name: &str, routes: &[&str], endpoints: &[SocketAddr]) -> Arc<Plugin> {
        self.plugin_with(name, routes, endpoints, None)
    }

    /// The same, with middleware.
    pub fn plugin_with(
        &self,
        name: &str,
        routes: &[&str],
        endpoints: &[SocketAddr],
        chain: Option<Arc<Chain>>,
    ) -> Arc<Plugin> {
        let plugin = Plugin::new(PluginId::new("test", name), self.shared.workers());
        set_endpoints(&plugin, endpoints);
        let mut snapshot = Snapshot::clone(&self.shared.snapshot.load());
        for text in routes {
            let (method, target) = text.split_once(' ').unwrap();
            let (host, path) = target.split_at(target.find('/').unwrap());
            let stats = (0..self.shared.workers()).map(|_| RouteStats::default()).collect();
            let route =
                Route { plugin: plugin.clone(), pattern: path.to_owned(), stats, chain: chain.clone() };
            let segments = path.parse::<Pattern>().unwrap();
            snapshot.set(host, segments.segments(), method.parse().unwrap(), Some(Arc::new(route)));
        }
        self.shared.snapshot.store(Arc::new(snapshot));
        plugin
    }

    /// One plugin that answers everything.
    pub fn to(&self, endpoint: SocketAddr) -> Arc<Plugin> {
        self.plugin("origin", &["* /", "* /*rest"], &[endpoint])
    }

    /// One plugin that answers everything behind this middleware.
    pub fn behind(&self, middleware: Value, endpoint: SocketAddr) -> Arc<Plugin> {
        self.behind_all(middleware, &[endpoint])
    }

    /// The same, with several pods.
    pub fn behind_all(&self, middleware: Value, endpoints: &[SocketAddr]) -> Arc<Plugin> {
        let chain = chain_of(middleware, "origin", &self.shared.callers);
        self.plugin_with("origin", &["* /", "* /*rest"], endpoints, Some(chain))
    }

    pub async fn client(&self) -> Peer {
        Peer::connect(self.address).await
    }

    /// Send one request and read all that comes until the connection is closed.
    pub async fn ask(&self, request: &str) -> String {
        let mut client = self.client().await;
        client.send(request).await;
        client.rest().await
    }

    pub async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).await
    }

    /// Stop as on SIGTERM, after the drain.
    pub async fn stop(&mut self) {
        let workers = self.workers.take().unwrap();
        tokio::task::spawn_blocking(move || workers.stop()).await.unwrap();
    }
}

/// A chain of these entries, as a manifest has them.
pub fn chain(middleware: Value) -> Arc<Chain> {
    chain_of(middleware, "origin", &Callers::default())
}

/// The same, for a plugin `test/<name>` and callers who are known by this.
pub fn chain_of(middleware: Value, name: &str, callers: &Callers) -> Arc<Chain> {
    let mut fresh = Fresh { spares: &BTreeMap::new(), asked: None };
    compile(middleware, name, callers, &mut fresh)
}

/// The same, where some plugins may stand in.
pub fn chain_with(middleware: Value, spares: &BTreeMap<String, Arc<Plugin>>) -> Arc<Chain> {
    compile(middleware, "origin", &Callers::default(), &mut Fresh { spares, asked: None })
}

fn compile(middleware: Value, name: &str, callers: &Callers, fresh: &mut Fresh<'_>) -> Arc<Chain> {
    let entries: Vec<Middleware> = serde_json::from_value(middleware).unwrap();
    let plan = middleware::Chain::new(&[], &entries, &[]);
    let site = Site { plugin: &PluginId::new("test", name), callers, plain_paths: plan.is_guarded_in_part() };
    Arc::new(Chain::compile(plan.of_route(&[], Method::Any), &site, fresh))
}

/// Counters that nothing has counted with yet, plugins that stand in, by name, and the one that is asked.
pub struct Fresh<'a> {
    pub spares: &'a BTreeMap<String, Arc<Plugin>>,
    pub asked: Option<Arc<Plugin>>,
}

impl Kept for Fresh<'_> {
    fn limiter(&mut self, entry: &middleware::Entry, limit: &middleware::RateLimit) -> Arc<Limiter> {
        Arc::new(Limiter::new(&entry.name, limit.clone()))
    }

    fn bulkhead(&mut self, _: &middleware::Entry) -> Arc<Bulkhead> {
        Arc::default()
    }

    fn callee(&mut self, entry: &middleware::Entry) -> Option<Arc<Callee>> {
        let plugin = self.asked.clone()?;
        let (id, target) = (plugin.id.clone(), Target::default());
        target.set(Some(plugin));
        Some(Arc::new(Callee::new(&id, Arc::new(target), entry.name.clone())))
    }

    fn target(&mut self, name: &str) -> Arc<Target> {
        let target = Target::default();
        target.set(self.spares.get(name).cloned());
        target.permit(true);
        Arc::new(target)
    }
}

pub fn set_endpoints(plugin: &Plugin, endpoints: &[SocketAddr]) {
    let ready = endpoints.iter().map(|address| (address.to_string(), *address)).collect::<Vec<_>>();
    plugin.set_endpoints(&ready);
}

/// What the workers have counted for a plugin.
pub fn totals(plugin: &Plugin) -> PluginTotals {
    PluginTotals::of(plugin.stats.iter())
}

/// How many requests the pods of a plugin have.
pub fn at_pods(plugin: &Plugin) -> usize {
    plugin.endpoints().iter().map(|endpoint| endpoint.in_flight.load(Relaxed)).sum()
}

pub fn unmatched(shared: &Shared) -> RouteTotals {
    RouteTotals::of(shared.unmatched.iter())
}

/// Wait until something holds.
pub async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap();
}

/// One end of a connection.
pub struct Peer {
    pub stream: TcpStream,
}

impl Peer {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    pub async fn send(&mut self, text: impl AsRef<[u8]>) {
        timeout(PATIENCE, self.stream.write_all(text.as_ref())).await.unwrap().unwrap();
    }

    /// Read up to and with the first of these; what was read so far when the stream ends.
    pub async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        let reading = async {
            while !bytes.ends_with(end.as_bytes()) {
                match self.stream.read_u8().await {
                    Ok(byte) => bytes.push(byte),
                    Err(_) => break,
                }
            }
        };
        if timeout(PATIENCE, reading).await.is_err() {
            panic!("waited for {end:?} in vain after {:?}", String::from_utf8_lossy(&bytes));
        }
        String::from_utf8(bytes).unwrap()
    }

    /// The head of a message, in lower case names and all.
    pub async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    pub async fn exact(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        timeout(PATIENCE, self.stream.read_exact(&mut bytes)).await.unwrap().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Everything until the other end closes.
    pub async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        match timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await {
            Ok(Ok(_) | Err(_)) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(_) => panic!("the connection stays open after {:?}", String::from_utf8_lossy(&bytes)),
        }
    }

    /// A message with a `Content-Length`: its head and body.
    pub async fn message(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = value(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let body = self.exact(length).await;
        (head, body)
    }
}

/// A header's value.
pub fn value<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next().unwrap();
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

pub fn status(message: &str) -> u16 {
    message.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {message:?}")).parse().unwrap()
}

pub fn body(message: &str) -> &str {
    message.split_once("\r\n\r\n").unwrap().1
}

/// A plugin that does this with each connection.
pub async fn origin<F>(serve: impl Fn(Peer) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(serve(Peer { stream }));
        }
    });
    address
}

/// A plugin that answers every request with what it got: head as body. Keeps connections open.
pub async fn mirror() -> SocketAddr {
    named("").await
}

/// As [`mirror`], with its name in front.
pub async fn named(name: &'static str) -> SocketAddr {
    origin(move |mut peer| async move {
        loop {
            let (head, body) = peer.message().await;
            if head.is_empty() {
                return;
            }
            let answer = format!("{name}{head}{body}");
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len())).await;
        }
    })
    .await
}

/// A plugin that answers every request with nothing, and how many it has seen: whatever looks like one.
pub async fn counting() -> (SocketAddr, Arc<AtomicUsize>) {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let plugin = origin(move |mut peer| {
        let counter = counter.clone();
        async move {
            let mut bytes = [0; 4096];
            while peer.stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {
                if bytes.windows(9).any(|window| window == b" HTTP/1.1") {
                    counter.fetch_add(1, Relaxed);
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                    bytes.fill(0);
                }
            }
        }
    });
    (plugin.await, seen)
}

/// An address that refuses connections, and that nobody else gets until the process ends.
pub fn nobody() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    mem::forget(socket);
    address
}

/// A plugin that breaks off what it is asked, and counts that.
pub async fn broken(asked: &Arc<AtomicUsize>) -> SocketAddr {
    let asked = asked.clone();
    origin(move |mut peer| {
        let asked = asked.clone();
        async move {
            if !peer.head().await.is_empty() {
                asked.fetch_add(1, Relaxed);
            }
        }
    })
    .await
}

/// A plugin that takes what it is asked, and never answers.
pub async fn mute() -> SocketAddr {
    origin(|mut peer| async move { drop(peer.rest().await) }).await
}

/// A plugin that answers everything with this status.
pub async fn always(status: u16) -> SocketAddr {
    origin(move |mut peer| async move {
        while !peer.message().await.0.is_empty() {
            peer.send(format!("HTTP/1.1 {status} Odd\r\nContent-Length: 3\r\n\r\nodd")).await;
        }
    })
    .await
}
