//! What the watches have seen, by plugin. `apply` and `delete` are synchronous; each keeps what
//! requests are answered from up to date and notes which plugins must be looked at again.
//!
//! An object costs its own plugin and those that claim the same routes. Endpoints and health take
//! effect at once; routes with the next [`Index::publish`], so that many objects cost one snapshot.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use forward_crds::{
    FORGET_CALLERS, HealthStatus, Middleware, MiddlewareStatus, PLUGIN_LABEL, Plugin, PluginSystem,
    PluginSystemSpec, ProvidedMiddleware, Route, RouteSource, RouteStatus, SYSTEM_NAME,
};
use forward_plan::{
    middleware::provided,
    routes::{Change, Claimant, Contest, Offer, PluginId, Slot, Winner},
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use tokio::sync::Notify;

use super::{
    middleware::{Chains, Targets},
    provide::{self, Providers, Reach},
    share::is_mine,
    slice::{Ready, merge, ready},
    watchlist::{Watched, Watchlist},
};
use crate::data::{
    snapshot::{self, Snapshot},
    stats::{PluginStats, RouteStats},
    worker::Shared,
};

/// The label by which a slice says whose it is.
pub const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// An object of a kind that is watched.
#[derive(Clone, Debug)]
pub enum Object {
    Plugin(Arc<Plugin>),
    System(Arc<PluginSystem>),
    Slice(Arc<EndpointSlice>),
    /// A slice of the gateway's own Service.
    Own(Arc<EndpointSlice>),
}

/// What registering a plugin starts from.
#[derive(Clone, Debug)]
pub struct View {
    pub plugin: Arc<Plugin>,
    pub ready: Vec<Ready>,
    /// Grows when others' claims to the plugin's routes change.
    pub contested: u64,
}

/// Counters of a plugin, for the metrics.
pub struct Counted {
    pub label: String,
    pub endpoints: usize,
    pub ejected: usize,
    pub unhealthy: usize,
    pub plugin: Arc<[PluginStats]>,
    pub routes: Vec<(String, Arc<[RouteStats]>)>,
}

/// The index, shared between the watches and the registrar.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    index: Mutex<Index>,
    touched: Notify,
}

/// Everything that has been seen.
pub struct Index {
    shared: Arc<Shared>,
    me: String,
    plugins: BTreeMap<PluginId, Entry>,
    targets: Targets,
    /// What the PluginSystems say of routes, by namespace.
    systems: BTreeMap<String, System>,
    /// Which namespaces have a host in their PluginSystem: it is nobody else's.
    owners: BTreeMap<String, BTreeSet<String>>,
    providers: Providers,
    watchlist: Watchlist,
    slices: BTreeMap<PluginId, BTreeMap<String, Vec<Ready>>>,
    own: BTreeMap<String, Vec<Ready>>,
    replicas: BTreeSet<String>,
    contest: Contest,
    snapshot: Snapshot,
    changed: bool,
    held: bool,
    touched: BTreeSet<PluginId>,
}

/// What a PluginSystem says of its namespace's routes.
#[derive(Clone, Debug, Default, PartialEq)]
struct System {
    hosts: Vec<String>,
    middleware: Vec<Middleware>,
    middleware_from: Vec<String>,
}

struct Entry {
    plugin: Arc<Plugin>,
    serving: Arc<snapshot::Plugin>,
    chains: Chains,
    /// By path pattern: a route that is taken away and given back goes on counting.
    stats: BTreeMap<String, Arc<[RouteStats]>>,
    contested: u64,
}

impl Handle {
    pub fn new(index: Index) -> Self {
        Self(Arc::new(Inner { index: Mutex::new(index), touched: Notify::new() }))
    }

    /// The index, for a moment: not across an await.
    pub fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take in events, then let requests and the registrar see what came of them.
    pub fn change(&self, change: impl FnOnce(&mut Index)) {
        let mut index = self.lock();
        change(&mut index);
        index.publish();
        let touched = !index.touched.is_empty();
        drop(index);
        if touched {
            self.0.touched.notify_one();
        }
    }

    /// Wait until there is something to look at, and take it.
    pub async fn touched(&self) -> BTreeSet<PluginId> {
        loop {
            let touched = mem::take(&mut self.lock().touched);
            if !touched.is_empty() {
                return touched;
            }
            self.0.touched.notified().await;
        }
    }
}

impl Index {
    /// An empty index of the replica `me`.
    pub fn new(shared: Arc<Shared>, me: impl Into<String>) -> Self {
        Self {
            shared,
            me: me.into(),
            plugins: BTreeMap::new(),
            targets: Targets::default(),
            systems: BTreeMap::new(),
            owners: BTreeMap::new(),
            providers: Providers::default(),
            watchlist: Watchlist::default(),
            slices: BTreeMap::new(),
            own: BTreeMap::new(),
            replicas: BTreeSet::new(),
            contest: Contest::default(),
            snapshot: Snapshot::default(),
            changed: false,
            held: false,
            touched: BTreeSet::new(),
        }
    }

    /// Take in an object as it is now.
    pub fn apply(&mut self, object: Object) {
        match object {
            Object::Plugin(plugin) => self.apply_plugin(plugin),
            Object::System(system) => {
                self.watchlist.set_system(&system);
                self.set_system(&system, System::of(&system));
            }
            Object::Slice(slice) => self.set_slice(&slice, Some(ready(&slice))),
            Object::Own(slice) => self.set_own(&slice, Some(ready(&slice))),
        }
    }

    /// Take in that an object is gone.
    pub fn delete(&mut self, object: Object) {
        match object {
            Object::Plugin(plugin) => self.delete_plugin(&id_of(&*plugin)),
            Object::System(system) => {
                self.watchlist.delete_system(&system);
                self.set_system(&system, System::default());
            }
            Object::Slice(slice) => self.set_slice(&slice, None),
            Object::Own(slice) => self.set_own(&slice, None),
        }
    }

    /// Let requests see no routes until [`Index::complete`]: what is not known yet may guard those that
    /// are.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// All that there is is known.
    pub fn complete(&mut self) {
        self.held = false;
    }

    /// Let requests see the routes as they are now.
    pub fn publish(&mut self) {
        if !self.held && mem::take(&mut self.changed) {
            self.snapshot.version += 1;
            self.shared.snapshot.store(Arc::new(self.snapshot.clone()));
        }
    }

    /// What registering a plugin starts from; `None` when it is gone or another replica's.
    pub fn view(&self, id: &PluginId) -> Option<View> {
        let entry = self.plugins.get(id)?;
        let mine = is_mine(&self.me, &self.replicas, &entry.plugin.uid().unwrap_or_default());
        mine.then(|| View { plugin: entry.plugin.clone(), ready: self.ready(id), contested: entry.contested })
    }

    /// Of the namespaces whose alerts are this replica's to tell, what is wrong in each.
    pub fn watched(&self) -> Vec<Watched> {
        self.watchlist.watched(|uid| is_mine(&self.me, &self.replicas, uid))
    }

    /// What a plugin's routes come to, if it announces these.
    pub fn judge(&self, plugin: &Plugin, announced: &[Route]) -> Vec<RouteStatus> {
        self.contest.judge(&self.offer(plugin, announced))
    }

    /// What to tell of a plugin's middleware, if it announces these routes.
    pub fn middleware(&self, plugin: &Plugin, announced: &[Route]) -> Vec<MiddlewareStatus> {
        let offer = self.offer(plugin, announced);
        self.plugins.get(&id_of(plugin)).map(|entry| entry.chains.status(&offer)).unwrap_or_default()
    }

    /// The names of what a plugin provides for others without leave, if it announces this.
    pub fn withheld(&self, plugin: &Plugin, announced: &[ProvidedMiddleware]) -> Vec<String> {
        let PluginId { namespace, name } = id_of(plugin);
        let leave = self.systems.get(&namespace).map_or(&[][..], |system| &system.middleware_from);
        let entries = provided::provided(&plugin.spec.provides_middleware, announced);
        provided::withheld(&name, &entries, leave).map(|entry| entry.name.clone()).collect()
    }

    /// All counters.
    pub fn counted(&self) -> Vec<Counted> {
        let counted = |entry: &Entry| Counted {
            label: entry.serving.label.clone(),
            endpoints: entry.serving.endpoints().len(),
            ejected: entry.serving.ejected(),
            unhealthy: entry.serving.endpoints().iter().filter(|it| it.is_unhealthy()).count(),
            plugin: entry.serving.stats.clone(),
            routes: entry.stats.iter().map(|(pattern, stats)| (pattern.clone(), stats.clone())).collect(),
        };
        self.plugins.values().map(counted).collect()
    }

    /// All plugins as requests see them, sorted.
    pub fn serving(&self) -> Vec<Arc<snapshot::Plugin>> {
        self.plugins.values().map(|entry| entry.serving.clone()).collect()
    }

    /// The plugins that claim a slot and do not have it, and why.
    pub fn losers(&self, slot: &Slot) -> Vec<(PluginId, String)> {
        self.contest.losers(slot)
    }

    fn apply_plugin(&mut self, plugin: Arc<Plugin>) {
        let id = id_of(&*plugin);
        let ready = self.ready(&id);
        let workers = self.shared.workers();
        let targets = &mut self.targets;
        let entry = self.plugins.entry(id.clone()).or_insert_with(|| {
            let serving = snapshot::Plugin::new(id.clone(), workers);
            serving.set_endpoints(&addresses(&ready));
            targets.add(serving.clone());
            let chains = Chains::default();
            Entry { plugin: plugin.clone(), serving, chains, stats: BTreeMap::new(), contested: 0 }
        });
        if entry.plugin.annotations().get(FORGET_CALLERS) != plugin.annotations().get(FORGET_CALLERS) {
            entry.serving.forget_callers();
        }
        entry.plugin = plugin.clone();
        self.watchlist.set_plugin(&id, &plugin);
        let health = plugin.status.as_ref().and_then(|status| status.health.as_ref());
        entry.serving.set_unhealthy(health.is_some_and(|health| health.status == HealthStatus::Unhealthy));
        tell_unhealthy(entry, &ready);
        self.provide_again(&id);
        self.declare(&id);
        self.touched.insert(id);
        self.offer_again(&plugin);
    }

    fn delete_plugin(&mut self, id: &PluginId) {
        let change = self.contest.remove(id);
        self.settle(change);
        self.watchlist.delete_plugin(id);
        if let Some(entry) = self.plugins.remove(id) {
            entry.serving.set_endpoints(&[]);
            self.targets.remove(id);
            self.touched.insert(id.clone());
        }
        let reach = self.providers.remove(id);
        self.reach(&id.namespace, &reach);
    }

    /// Let those meet a plugin's middleware whose requests it is for now. Of a plugin that is going it
    /// is there while a pod of it answers, no longer.
    fn provide_again(&mut self, id: &PluginId) {
        let Some(Entry { plugin, .. }) = self.plugins.get(id) else { return };
        let entries = match is_going(plugin) && self.ready(id).is_empty() {
            true => Vec::new(),
            false => provided::provided(&plugin.spec.provides_middleware, provide::announced(plugin)),
        };
        let targets = &mut self.targets;
        let reach = self.providers.set(id, || targets.of(id.clone()), entries);
        self.reach(&id.namespace, &reach);
    }

    /// Have plugins of a namespace looked at again whose middleware may be another.
    fn reach(&mut self, namespace: &str, reach: &Reach) {
        if reach.is_empty() {
            return;
        }
        let first = PluginId::new(namespace, "");
        let plugins = self.plugins.range(first..).map(|(id, _)| id);
        let concerned = plugins.take_while(|id| id.namespace == namespace).filter(|id| reach.holds(&id.name));
        for id in concerned.cloned().collect::<Vec<_>>() {
            self.declare(&id);
            self.touched.insert(id);
        }
    }

    fn set_system(&mut self, object: &PluginSystem, system: System) {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        if name != SYSTEM_NAME {
            return;
        }
        let earlier = self.systems.insert(namespace.clone(), system.clone()).unwrap_or_default();
        if earlier == system {
            return;
        }
        if earlier.hosts != system.hosts {
            self.own(&namespace, &earlier.hosts, &system.hosts);
        }
        let first = PluginId::new(namespace.clone(), "");
        let plugins = self.plugins.range(first..).take_while(|(id, _)| id.namespace == namespace);
        for (id, plugin) in plugins.map(|(id, it)| (id.clone(), it.plugin.clone())).collect::<Vec<_>>() {
            self.declare(&id);
            self.offer_again(&plugin);
            self.touched.insert(id);
        }
    }

    /// Let a namespace have these hosts, and no longer those of `earlier`. Routes of others under them are judged again.
    fn own(&mut self, namespace: &str, earlier: &[String], hosts: &[String]) {
        for host in earlier {
            let owners = self.owners.entry(host.clone()).or_default();
            owners.remove(namespace);
            if owners.is_empty() {
                self.owners.remove(host);
            }
        }
        for host in hosts {
            self.owners.entry(host.clone()).or_default().insert(namespace.to_owned());
        }
        self.snapshot.close(self.owners.keys().cloned().collect());
        self.changed = true;
        let is_changed = |route: &Route| earlier.contains(&route.host) != hosts.contains(&route.host);
        let concerned = self.plugins.values().map(|entry| entry.plugin.clone()).filter(|plugin| {
            let manifest = plugin.spec.http.as_ref().map_or(&[][..], |http| &http.routes);
            manifest.iter().any(is_changed) || announced(plugin).iter().any(is_changed)
        });
        for plugin in concerned.collect::<Vec<_>>() {
            self.offer_again(&plugin);
            self.touched.insert(id_of(&*plugin));
        }
    }

    fn set_slice(&mut self, slice: &EndpointSlice, ready: Option<Vec<Ready>>) {
        let labels = slice.labels();
        let Some(name) = labels.get(PLUGIN_LABEL) else { return };
        // The plugin's own Service has its name. Others may carry the label too: people copy it.
        if labels.get(SERVICE_LABEL) != Some(name) {
            return;
        }
        let id = PluginId::new(slice.namespace().unwrap_or_default(), name);
        let slices = self.slices.entry(id.clone()).or_default();
        let earlier = match ready.clone() {
            Some(ready) => slices.insert(slice.name_any(), ready),
            None => slices.remove(&slice.name_any()),
        };
        if slices.is_empty() {
            self.slices.remove(&id);
        }
        if earlier == ready {
            return;
        }
        if let Some(entry) = self.plugins.get(&id) {
            let ready = self.ready(&id);
            entry.serving.set_endpoints(&addresses(&ready));
            tell_unhealthy(entry, &ready);
            self.touched.insert(id);
            let plugin = entry.plugin.clone();
            if is_going(&plugin) {
                self.provide_again(&id_of(&*plugin));
                self.offer_again(&plugin);
            }
        }
    }

    fn set_own(&mut self, slice: &EndpointSlice, ready: Option<Vec<Ready>>) {
        match ready {
            Some(ready) => self.own.insert(slice.name_any(), ready),
            None => self.own.remove(&slice.name_any()),
        };
        let replicas: BTreeSet<_> = merge(self.own.values()).into_iter().map(|ready| ready.pod).collect();
        if self.replicas != replicas {
            let names = replicas.iter().cloned().collect::<Vec<_>>().join(", ");
            tracing::info!(replicas = names, "sharing the plugins");
            self.shared.set_replicas(replicas.len());
            self.replicas = replicas;
            self.touched.extend(self.plugins.keys().cloned());
        }
    }

    fn ready(&self, id: &PluginId) -> Vec<Ready> {
        self.slices.get(id).map(|slices| merge(slices.values())).unwrap_or_default()
    }

    fn offer(&self, plugin: &Plugin, announced: &[Route]) -> Offer {
        let id = id_of(plugin);
        let created = plugin.creation_timestamp().map_or(0, |time| time.0.as_second());
        let hosts = self.systems.get(&id.namespace).map_or(&[][..], |system| &system.hosts);
        let manifest = plugin.spec.http.as_ref().map_or(&[][..], |http| &http.routes);
        // A plugin that is going keeps its routes from others while a pod of it answers, no longer.
        let gone = is_going(plugin) && self.ready(&id).is_empty();
        let (manifest, announced) = if gone { (&[][..], &[][..]) } else { (manifest, announced) };
        let claimant = Claimant { id: id.clone().into(), priority: plugin.priority(), created };
        Offer::new(claimant, hosts, manifest, announced).yielding(|host| {
            let owners = self.owners.get(host).filter(|owners| !owners.contains(&id.namespace))?;
            owners.first().map(String::as_str)
        })
    }

    fn offer_again(&mut self, plugin: &Plugin) {
        if let Some(entry) = self.plugins.get_mut(&id_of(plugin)) {
            // What no route holds any more is not counted any more.
            entry.stats.retain(|_, stats| Arc::strong_count(stats) > 1);
        }
        let offer = self.offer(plugin, &announced(plugin));
        let change = self.contest.apply(offer);
        self.settle(change);
    }

    /// Let a plugin's routes have the middleware that is declared now.
    fn declare(&mut self, id: &PluginId) {
        let Some(entry) = self.plugins.get_mut(id) else { return };
        let system = self.systems.get(&id.namespace);
        let (system, leave) = system.map_or((&[][..], &[][..]), |it| (&it.middleware, &it.middleware_from));
        let own = entry.plugin.spec.http.as_ref().map_or(&[][..], |http| &http.middleware);
        let differs = entry.chains.declare(&id.name, system, own, self.providers.for_plugin(id, leave));
        self.targets.permit(id, entry.chains.may_stand_in());
        if !differs {
            return;
        }
        for slot in entry.chains.served() {
            let winner = self.contest.winner(&slot);
            self.serve(&slot, winner);
        }
    }

    /// Have requests for a slot go to its winner, or to nobody.
    fn serve(&mut self, slot: &Slot, winner: Option<Winner>) {
        let (workers, callers) = (self.shared.workers(), &self.shared.callers);
        let route = winner.and_then(|winner| {
            let entry = self.plugins.get_mut(&winner.plugin)?;
            let pattern = winner.pattern.as_str().to_owned();
            let stats = entry.stats.entry(pattern.clone());
            let stats = stats.or_insert_with(|| (0..workers).map(|_| RouteStats::default()).collect());
            let (plugin, stats) = (entry.serving.clone(), stats.clone());
            let chain = entry.chains.give(slot, &winner.plugin, callers, &mut self.targets);
            Some(Arc::new(snapshot::Route { plugin, pattern, stats, chain }))
        });
        self.snapshot.set(&slot.host, &slot.path, slot.method, route);
        self.changed = true;
    }

    /// Let the routes go to their winners, and have those looked at again whom it concerns.
    fn settle(&mut self, change: Change) {
        let Change { slots, plugins } = change;
        for (slot, winner) in slots {
            // The plugins whose claims are against each other are the only ones that can have had it.
            for id in &plugins {
                let loses = winner.as_ref().is_none_or(|winner| winner.plugin != *id);
                if let Some(entry) = self.plugins.get_mut(id).filter(|_| loses) {
                    entry.chains.take(&slot);
                }
            }
            self.serve(&slot, winner);
        }
        for id in plugins {
            if let Some(entry) = self.plugins.get_mut(&id) {
                entry.contested += 1;
                self.touched.insert(id);
            }
        }
    }
}

impl System {
    fn of(system: &PluginSystem) -> Self {
        let PluginSystemSpec { hosts, middleware, middleware_from, .. } = &system.spec;
        Self {
            hosts: hosts.clone(),
            middleware: middleware.clone(),
            middleware_from: middleware_from.clone(),
        }
    }
}

/// The routes that a plugin has announced, as its status has them.
pub fn announced(plugin: &Plugin) -> Vec<Route> {
    let routes = plugin.status.as_ref().map_or(&[][..], |status| &status.routes);
    let announced = routes.iter().filter(|route| route.source == RouteSource::Plugin);
    announced
        .map(|route| Route {
            host: route.host.clone(),
            method: route.method.clone(),
            path: route.path.clone(),
        })
        .collect()
}

/// Whether a plugin is to be unloaded or deleted.
fn is_going(plugin: &Plugin) -> bool {
    !plugin.is_enabled() || plugin.metadata.deletion_timestamp.is_some()
}

/// Have those pods get nothing that the status says so of.
fn tell_unhealthy(entry: &Entry, ready: &[Ready]) {
    let health = entry.plugin.status.as_ref().and_then(|status| status.health.as_ref());
    let names = health.map_or(&[][..], |health| &health.unhealthy_pods);
    let names = names.iter().map(|unhealthy| unhealthy.pod.as_str()).collect::<BTreeSet<_>>();
    let ill = ready.iter().filter(|ready| names.contains(ready.pod.as_str()));
    let ill = ill.map(|ready| ready.uid.as_str()).collect::<BTreeSet<_>>();
    entry.serving.set_unhealthy_pods(|uid| ill.contains(uid));
}

fn id_of(object: &impl ResourceExt) -> PluginId {
    PluginId::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn addresses(ready: &[Ready]) -> Vec<(String, std::net::SocketAddr)> {
    ready.iter().map(|ready| (ready.uid.clone(), ready.address)).collect()
}
