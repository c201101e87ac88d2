//! What requests are answered from: routes by host, method and path, and behind each route its
//! plugin with its present endpoints. Routes change by publishing another snapshot; endpoints
//! and health change behind the plugin, without one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    ops::ControlFlow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use forward_plan::routes::{Method, PluginId, Segment, Trie};
use tokio::sync::Semaphore;

use super::{
    budget::{Budget, RESERVE},
    bulkhead::Bulkhead,
    chain::Chain,
    circuit::Circuit,
    clock::{Tick, present},
    inflow::{GATHERED_FOR_ONE, Room},
    pace::Pace,
    resilience::Policies,
    stats::{PluginStats, RouteStats},
    worker::Shared,
};

/// All routes at one moment. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts the changes.
    pub version: u64,
    /// By host; under the empty name what holds for every host.
    hosts: Arc<BTreeMap<String, Trie<Methods>>>,
    /// Hosts under which only their own routes are served.
    closed: Arc<BTreeSet<String>>,
}

/// The routes of one path, by method.
#[derive(Clone, Debug, Default)]
struct Methods(Vec<(Method, Arc<Route>)>);

/// A route that a plugin has won.
#[derive(Debug)]
pub struct Route {
    pub plugin: Arc<Plugin>,
    /// The path pattern as the plugin spells it: the label for metrics.
    pub pattern: String,
    /// By worker.
    pub stats: Arc<[RouteStats]>,
    /// The middleware; `None` where there is none.
    pub chain: Option<Arc<Chain>>,
}

/// A plugin as requests see it.
#[derive(Debug)]
pub struct Plugin {
    pub id: PluginId,
    /// `namespace/name`.
    pub label: String,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    unhealthy: AtomicBool,
    /// By worker.
    pub stats: Arc<[PluginStats]>,
    /// Requests that wait for the head of an answer.
    pub waiting: Arc<Bulkhead>,
    /// Those of them whose clients still send: what they take says nothing of the plugin.
    pub uploading: Arc<Bulkhead>,
    /// How many of them there may be.
    pub pace: Pace,
    /// Questions to it about requests for others, and how many there may be: they are answered in a time
    /// of their own.
    pub asked: Arc<Bulkhead>,
    pub asked_pace: Pace,
    /// What the bodies that are gathered for it may still take, in bytes.
    gathering: Arc<Semaphore>,
    /// How many large bodies for it may be judged at a time.
    pub judging: Arc<Semaphore>,
    /// Of retries, by worker.
    pub budgets: Box<[Budget]>,
    /// Held while it is decided whether an endpoint may be ejected.
    pub ejecting: Mutex<()>,
}

/// A ready pod of a plugin.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in the process: what connections are pooled by.
    pub key: u64,
    /// The pod's UID, or its address where that is unknown.
    pub pod: String,
    pub address: SocketAddr,
    /// Requests that are under way to it, from all workers.
    pub in_flight: AtomicUsize,
    retired: AtomicBool,
    /// By what the plugin's status says of it.
    unhealthy: AtomicBool,
    shunned_until: AtomicU64,
    pub circuit: Circuit,
}

/// A route with where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    /// Empty: every host.
    pub host: &'a str,
    pub method: Method,
    pub route: &'a Arc<Route>,
}

/// What a request comes to.
#[derive(Clone, Debug)]
pub enum Match {
    Route(Arc<Route>),
    /// There are routes for the path, but not for the method: those that there are.
    Allow(Vec<Method>),
    NotFound,
}

impl Snapshot {
    /// Serve under these hosts, and no others, only what names them.
    pub fn close(&mut self, hosts: BTreeSet<String>) {
        self.closed = Arc::new(hosts);
    }

    /// Give a slot to a route, or to nobody.
    pub fn set(&mut self, host: &str, path: &[Segment], method: Method, route: Option<Arc<Route>>) {
        let hosts = Arc::make_mut(&mut self.hosts);
        let trie = hosts.entry(host.to_owned()).or_default();
        trie.edit(path, |methods| {
            let all = methods.get_or_insert_default();
            all.0.retain(|(other, _)| *other != method);
            all.0.extend(route.map(|route| (method, route)));
            if all.0.is_empty() {
                *methods = None;
            }
        });
        if trie.is_empty() {
            hosts.remove(host);
        }
    }

    /// Find the route for a request. A host's own routes go before those of every host, which a closed one does
    /// not have, the more
    /// specific path before the less specific one, the method's own route before that for all.
    pub fn find(&self, host: &str, method: &http::Method, path: &str) -> Match {
        let mut allowed = Vec::new();
        let found = self.visit(host, path, |_, methods| match methods.find(method) {
            Some(route) => ControlFlow::Break(route),
            None => {
                allowed.extend(methods.0.iter().map(|(method, _)| *method));
                ControlFlow::Continue(())
            }
        });
        match found {
            Some(route) => Match::Route(route.clone()),
            None if allowed.is_empty() => Match::NotFound,
            None => Match::Allow(allowed),
        }
    }

    /// The routes whose host and path match, whatever their methods, those first that
    /// [`find`](Self::find) looks at first.
    pub fn candidates(&self, host: &str, path: &str) -> Vec<Placed<'_>> {
        let mut candidates = Vec::new();
        self.visit::<()>(host, path, |host, methods| {
            candidates.extend(methods.placed(host));
            ControlFlow::Continue(())
        });
        candidates
    }

    /// All routes, by host.
    pub fn routes(&self) -> Vec<Placed<'_>> {
        let mut routes = Vec::new();
        for (host, trie) in self.hosts.iter() {
            routes.extend(trie.values().into_iter().flat_map(|methods| methods.placed(host)));
        }
        routes
    }

    fn visit<'a, B>(
        &'a self,
        host: &str,
        path: &str,
        mut take: impl FnMut(&'a str, &'a Methods) -> ControlFlow<B>,
    ) -> Option<B> {
        let own = if host.is_empty() { None } else { self.hosts.get_key_value(host) };
        let of_every_host = Some("").filter(|_| !self.closed.contains(host));
        let every = of_every_host.and_then(|every| self.hosts.get_key_value(every));
        let mut tries = own.into_iter().chain(every);
        tries.find_map(|(host, trie)| trie.visit(path, |methods| take(host, methods)))
    }
}

impl Route {
    /// What its requests do about failures of the plugin.
    pub fn policies(&self) -> &Policies {
        self.chain.as_ref().map_or(Policies::usual(), |chain| &chain.policies)
    }
}

impl Methods {
    fn placed<'a>(&'a self, host: &'a str) -> impl Iterator<Item = Placed<'a>> {
        self.0.iter().map(move |(method, route)| Placed { host, method: *method, route })
    }

    fn find(&self, method: &http::Method) -> Option<&Arc<Route>> {
        let known = method.as_str().parse::<Method>().ok();
        let get = |wanted| self.0.iter().find(|(method, _)| *method == wanted).map(|(_, route)| route);
        known
            .filter(|known| *known != Method::Any)
            .and_then(get)
            .or_else(|| get(Method::Get).filter(|_| known == Some(Method::Head)))
            .or_else(|| get(Method::Any))
    }
}

impl Plugin {
    pub fn new(id: PluginId, workers: usize) -> Arc<Self> {
        let label = id.to_string();
        let stats = (0..workers).map(|_| PluginStats::default()).collect();
        let budgets = (0..workers).map(|_| Budget::new(RESERVE.div_ceil(workers))).collect();
        Arc::new(Self {
            id,
            label,
            endpoints: ArcSwap::default(),
            unhealthy: AtomicBool::new(false),
            stats,
            waiting: Arc::default(),
            uploading: Arc::default(),
            pace: Pace::default(),
            asked: Arc::default(),
            asked_pace: Pace::default(),
            gathering: Arc::new(Semaphore::new(GATHERED_FOR_ONE)),
            // Others have the other half.
            judging: Arc::new(Semaphore::new((workers / 2).max(1))),
            budgets,
            ejecting: Mutex::new(()),
        })
    }

    /// What bodies that are gathered for it may take.
    pub fn room(&self, shared: &Shared) -> Room {
        Room { all: shared.gathering.clone(), own: self.gathering.clone() }
    }

    pub fn endpoints(&self) -> arc_swap::Guard<Arc<Vec<Arc<Endpoint>>>> {
        self.endpoints.load()
    }

    /// Send requests to these from now on. Those of them that were there before stay the same,
    /// with their connections; the others are retired.
    pub fn set_endpoints(&self, ready: &[(String, SocketAddr)]) {
        let before = self.endpoints.load();
        let now = ready
            .iter()
            .map(|(pod, address)| {
                let same = before.iter().find(|old| old.pod == *pod && old.address == *address);
                same.cloned().unwrap_or_else(|| Endpoint::new(pod.clone(), *address))
            })
            .collect::<Vec<_>>();
        for old in before.iter().filter(|old| now.iter().all(|new| new.key != old.key)) {
            old.retired.store(true, Relaxed);
        }
        self.endpoints.store(Arc::new(now));
    }

    /// Have nothing count any more that its pods have said of who asks, nor what they are being asked
    /// now: both hold only together with the very list of endpoints that there was.
    pub fn forget_callers(&self) {
        self.endpoints.rcu(|endpoints| Vec::clone(endpoints));
    }

    /// Whether all of it is: nothing is sent to it.
    pub fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Relaxed)
    }

    /// Send nothing to these of the present endpoints while there are others.
    pub fn set_unhealthy_pods(&self, is_unhealthy: impl Fn(&str) -> bool) {
        for endpoint in self.endpoints.load().iter() {
            endpoint.unhealthy.store(is_unhealthy(&endpoint.pod), Relaxed);
        }
    }

    pub fn set_unhealthy(&self, unhealthy: bool) {
        self.unhealthy.store(unhealthy, Relaxed);
    }
}

impl Endpoint {
    pub fn new(pod: String, address: SocketAddr) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            key: NEXT.fetch_add(1, Relaxed),
            pod,
            address,
            in_flight: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            unhealthy: AtomicBool::new(false),
            shunned_until: AtomicU64::new(0),
            circuit: Circuit::default(),
        })
    }

    /// Whether it is no longer to be sent anything.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Whether it is to be sent nothing while others are not so.
    pub fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Relaxed)
    }

    /// Prefer others for a while: no connection came about.
    pub fn shun(&self, ticks: Tick) {
        self.shunned_until.store(present() + ticks, Relaxed);
    }

    pub fn is_shunned(&self, now: Tick) -> bool {
        self.shunned_until.load(Relaxed) > now
    }
}

#[cfg(test)]
mod tests {
    use forward_plan::routes::Pattern;

    use super::*;

    fn snapshot(routes: &[(&str, &str, &str)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (host, method, path) in routes {
            let plugin = Plugin::new(PluginId::new("n", format!("{method} {host}{path}")), 1);
            let pattern = path.parse::<Pattern>().unwrap();
            let route = Route { plugin, pattern: (*path).to_owned(), stats: Arc::default(), chain: None };
            snapshot.set(host, pattern.segments(), method.parse().unwrap(), Some(Arc::new(route)));
        }
        snapshot
    }

    fn find(snapshot: &Snapshot, host: &str, method: http::Method, path: &str) -> String {
        match snapshot.find(host, &method, path) {
            Match::Route(route) => route.plugin.id.name.clone(),
            Match::Allow(methods) => {
                methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(",")
            }
            Match::NotFound => "none".to_owned(),
        }
    }

    #[test]
    fn prefers_the_methods_own_route_and_gives_head_to_get() {
        let table = snapshot(&[("", "GET", "/a"), ("", "*", "/a"), ("", "POST", "/b"), ("", "*", "/c")]);
        assert_eq!(find(&table, "", http::Method::GET, "/a"), "GET /a");
        assert_eq!(find(&table, "", http::Method::HEAD, "/a"), "GET /a");
        assert_eq!(find(&table, "", http::Method::PUT, "/a"), "* /a");
        assert_eq!(find(&table, "", http::Method::HEAD, "/c"), "* /c");
        assert_eq!(find(&table, "", http::Method::from_bytes(b"BREW").unwrap(), "/c"), "* /c");
        assert_eq!(find(&table, "", http::Method::from_bytes(b"*").unwrap(), "/c"), "* /c");
        assert_eq!(find(&table, "", http::Method::GET, "/b"), "POST");
        assert_eq!(find(&table, "", http::Method::GET, "/d"), "none");
    }

    #[test]
    fn falls_back_from_the_host_to_every_host() {
        let table =
            snapshot(&[("a", "GET", "/x"), ("", "POST", "/x"), ("", "GET", "/y"), ("a", "GET", "/:z")]);
        assert_eq!(find(&table, "a", http::Method::GET, "/x"), "GET a/x");
        assert_eq!(find(&table, "a", http::Method::POST, "/x"), "POST /x");
        assert_eq!(find(&table, "a", http::Method::GET, "/y"), "GET a/:z");
        assert_eq!(find(&table, "b", http::Method::GET, "/y"), "GET /y");
        assert_eq!(find(&table, "b", http::Method::GET, "/x"), "POST");
    }

    #[test]
    fn goes_on_to_a_less_specific_path_for_the_method() {
        let table = snapshot(&[("", "POST", "/a/b"), ("", "GET", "/a/:x"), ("", "PUT", "/*r")]);
        assert_eq!(find(&table, "", http::Method::GET, "/a/b"), "GET /a/:x");
        assert_eq!(find(&table, "", http::Method::DELETE, "/a/b"), "POST,GET,PUT");
    }

    #[test]
    fn forgets_routes_and_hosts_without_disturbing_older_snapshots() {
        let mut table = snapshot(&[("a", "GET", "/x")]);
        let before = table.clone();
        table.set("a", "/x".parse::<Pattern>().unwrap().segments(), Method::Get, None);
        assert!(table.hosts.is_empty());
        assert_eq!(find(&before, "a", http::Method::GET, "/x"), "GET a/x");
    }

    #[test]
    fn keeps_endpoints_that_stay_and_retires_those_that_go() {
        let plugin = Plugin::new(PluginId::new("n", "p"), 1);
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        plugin.set_endpoints(&[("a".to_owned(), at(1)), ("b".to_owned(), at(2))]);
        let before = plugin.endpoints().clone();
        plugin.set_endpoints(&[("b".to_owned(), at(2)), ("c".to_owned(), at(1))]);
        let after = plugin.endpoints().clone();
        assert!(before[0].is_retired());
        assert!(Arc::ptr_eq(&before[1], &after[0]) && !after[0].is_retired());
        assert_eq!((after.len(), after[1].pod.as_str()), (2, "c"));
    }
}
