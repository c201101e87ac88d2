//! What the watches have seen, by plugin, and the graph over it. `apply` and `delete` are
//! synchronous and answer with the plugins that must be looked at again.

mod homes;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use forward_crds::{OverrideStatus, Plugin, PluginState, PluginSystem, SYSTEM_NAME, Word};
use forward_plan::{
    Decision, Effective, Judged, Namespace, Overrides, Settings, Warning, hook_runs,
    routes::{Contest, Offer, PluginId},
};
use kube::{ResourceExt, runtime::reflector::ObjectRef};

use self::homes::Homes;
use crate::{
    hooks::Ran,
    live::{Live, Object},
    observe::observe,
};

/// Everything that a reconciliation of one plugin starts from, at one moment.
pub struct Snapshot {
    /// With its overrides.
    pub plugin: Arc<Plugin>,
    pub overrides: Vec<OverrideStatus>,
    pub system: Option<Arc<PluginSystem>>,
    pub settings: Settings,
    pub live: Live,
    pub decision: Decision,
}

/// A plugin as somebody wants it to be.
pub struct Prospect {
    pub manifest: Arc<Plugin>,
    /// With its overrides.
    pub effective: Arc<Plugin>,
    /// What is thought of its configuration.
    pub judged: Arc<Judged>,
}

/// How a plugin stands, for the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `namespace/name`.
    pub plugin: String,
    pub state: PluginState,
    pub ready: bool,
    /// That of the condition Ready; empty where there is none yet.
    pub reason: String,
    pub stalled: bool,
}

/// All namespaces that have plugins.
#[derive(Default)]
pub struct Index {
    tenants: BTreeMap<String, Tenant>,
    overrides: Overrides,
    /// Whose routes are whose, in all namespaces. The gateway decides that; here it is foreseen.
    contest: Contest,
}

#[derive(Default)]
struct Tenant {
    graph: Namespace,
    system: Option<Arc<PluginSystem>>,
    /// With their overrides.
    plugins: BTreeMap<Word, Arc<Plugin>>,
    /// Those that have overrides, as the API server has them.
    overridden: BTreeMap<String, Overridden>,
    live: BTreeMap<Word, Box<Live>>,
    homes: Homes,
}

struct Overridden {
    manifest: Arc<Plugin>,
    origins: Vec<OverrideStatus>,
}

/// What a mutex holds, for a moment: not across an await. A panic elsewhere leaves it usable, as
/// everything in it is read from the API server again.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    /// An empty index that takes in plugins with overrides.
    pub fn new(overrides: Overrides) -> Self {
        Self { overrides, ..Self::default() }
    }

    /// Take in an object; the answer is what to look at again.
    pub fn apply(&mut self, object: Object) -> Vec<ObjectRef<Plugin>> {
        self.change(object, true)
    }

    /// Take in that an object is gone; the answer is what to look at again.
    pub fn delete(&mut self, object: Object) -> Vec<ObjectRef<Plugin>> {
        self.change(object, false)
    }

    /// Take in what came of a hook; the answer is what to look at again.
    pub fn answer(&mut self, namespace: &str, name: &str, id: &str, ran: Ran) -> Vec<ObjectRef<Plugin>> {
        let Some(tenant) = self.tenants.get_mut(namespace) else { return Vec::new() };
        if !tenant.plugins.contains_key(name) {
            return Vec::new();
        }
        tenant.live.entry(name.into()).or_default().answers.insert(id.to_owned(), ran);
        let touched = tenant.decide_again(name.to_owned()).into_iter();
        touched.map(|name| ObjectRef::new(&name).within(namespace)).collect()
    }

    fn change(&mut self, object: Object, there: bool) -> Vec<ObjectRef<Plugin>> {
        let namespace = object.key().0.to_owned();
        self.contend(&object, there);
        let tenant = self.tenants.entry(namespace.clone()).or_default();
        let touched = tenant.change(object, there, &self.overrides);
        if tenant.is_empty() {
            self.tenants.remove(&namespace);
        }
        touched.into_iter().map(|name| ObjectRef::new(&name).within(&namespace)).collect()
    }

    /// Take in what an object means for routes: those of its plugin, or of a namespace whose host
    /// names are others.
    fn contend(&mut self, object: &Object, there: bool) {
        let (namespace, name) = object.key();
        let tenant = self.tenants.get(namespace);
        match object {
            Object::Plugin(plugin) if there => {
                self.contest.apply(Offer::of(plugin, tenant.map_or(&[][..], Tenant::hosts)));
            }
            Object::Plugin(_) => {
                self.contest.remove(&PluginId::new(namespace, name));
            }
            Object::System(system) if system.name_any() == SYSTEM_NAME => {
                let hosts = if there { &system.spec.hosts[..] } else { &[] };
                for plugin in tenant.iter().flat_map(|tenant| tenant.manifests()) {
                    self.contest.apply(Offer::of(plugin, hosts));
                }
            }
            _ => {}
        }
    }

    /// A plugin with its overrides, and what is thought of its configuration if there was the same
    /// to judge before.
    pub fn effective(&self, manifest: &Arc<Plugin>) -> (Arc<Plugin>, Option<Arc<Judged>>) {
        let tenant = self.tenants.get(&manifest.namespace().unwrap_or_default());
        let exists = |name: &str| tenant.is_some_and(|tenant| tenant.plugins.contains_key(name));
        let effective = self.overrides.effective(manifest, exists);
        let effective = effective.map_or_else(|| manifest.clone(), |effective| Arc::new(effective.plugin));
        let judged = tenant.and_then(|tenant| tenant.graph.judged(&effective));
        (effective, judged)
    }

    /// Whether what a plugin is with its overrides depends on which others there are.
    pub fn has_rivals(&self, name: &str) -> bool {
        !self.overrides.rivals(name).is_empty()
    }

    /// What applying a plugin would mean.
    pub fn foresee(&self, prospect: &Prospect) -> Vec<Warning> {
        let Prospect { manifest, effective, judged } = prospect;
        let tenant = self.tenants.get(&manifest.namespace().unwrap_or_default());
        // The gateway, which decides on routes, knows of no overrides.
        let routes = self.contest.foresee(&Offer::of(manifest, tenant.map_or(&[][..], Tenant::hosts)));
        let (effective, judged) = (effective.clone(), judged.clone());
        let mut warnings = match tenant {
            Some(tenant) => tenant.graph.foresee(effective, judged),
            None => Namespace::new().foresee(effective, judged),
        };
        warnings.extend(routes);
        warnings
    }

    /// A plugin as the API server had it when it was last seen.
    pub fn plugin(&self, namespace: &str, name: &str) -> Option<Arc<Plugin>> {
        self.tenants.get(namespace)?.manifest(name).cloned()
    }

    /// What is known of a plugin and what is to be done about it.
    pub fn snapshot(&self, namespace: &str, name: &str) -> Option<Snapshot> {
        let tenant = self.tenants.get(namespace)?;
        Some(Snapshot {
            plugin: tenant.plugins.get(name)?.clone(),
            overrides: tenant.overridden.get(name).map(|it| it.origins.clone()).unwrap_or_default(),
            system: tenant.system.clone(),
            settings: Settings::from(tenant.system.as_deref()),
            live: tenant.live.get(name).map(|live| Live::clone(live)).unwrap_or_default(),
            decision: tenant.graph.decide(name)?,
        })
    }

    /// Every plugin.
    pub fn all(&self) -> Vec<ObjectRef<Plugin>> {
        let plugins = self.tenants.iter().flat_map(|(namespace, tenant)| {
            tenant.plugins.keys().map(|name| ObjectRef::new(name).within(namespace))
        });
        plugins.collect()
    }

    /// Every object that is known.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        self.tenants.values().flat_map(Tenant::objects)
    }

    /// How every plugin stands, by what its status says.
    pub fn standings(&self) -> Vec<Standing> {
        let plugins = self.tenants.values().flat_map(|tenant| tenant.plugins.values());
        plugins.map(|plugin| Standing::of(plugin)).collect()
    }
}

impl Standing {
    fn of(plugin: &Plugin) -> Self {
        let status = plugin.status.as_ref();
        let condition = |type_| status.and_then(|status| status.condition(type_));
        let ready = condition("Ready");
        Self {
            plugin: format!("{}/{}", plugin.namespace().unwrap_or_default(), plugin.name_any()),
            state: status.and_then(|status| status.state).unwrap_or(PluginState::Unloaded),
            ready: ready.is_some_and(|ready| ready.status == "True"),
            reason: ready.map(|ready| ready.reason.to_string()).unwrap_or_default(),
            stalled: condition("Stalled").is_some_and(|stalled| stalled.status == "True"),
        }
    }
}

impl Tenant {
    fn manifest(&self, name: &str) -> Option<&Arc<Plugin>> {
        match self.overridden.get(name) {
            Some(overridden) => Some(&overridden.manifest),
            None => self.plugins.get(name),
        }
    }

    fn manifests(&self) -> impl Iterator<Item = &Arc<Plugin>> {
        self.plugins.keys().filter_map(|name| self.manifest(name))
    }

    fn objects(&self) -> impl Iterator<Item = Object> {
        let plugins = self.manifests().cloned().map(Object::Plugin);
        let system = self.system.clone().map(Object::System);
        plugins.chain(system).chain(self.live.values().flat_map(|live| live.objects()))
    }

    fn hosts(&self) -> &[String] {
        self.system.as_ref().map_or(&[][..], |system| &system.spec.hosts)
    }

    fn is_empty(&self) -> bool {
        self.plugins.is_empty() && self.live.is_empty() && self.system.is_none()
    }

    fn change(&mut self, object: Object, there: bool, overrides: &Overrides) -> BTreeSet<String> {
        match object {
            Object::Plugin(plugin) => self.change_plugin(plugin, there, overrides),
            Object::System(system) if system.name_any() == SYSTEM_NAME => {
                self.system = there.then_some(system);
                self.graph.configure(Settings::from(self.system.as_deref()))
            }
            Object::System(_) => BTreeSet::new(),
            object => self.change_object(object, there),
        }
    }

    /// Take in an object that was made for a plugin. Whose it was and is not any more has it no longer.
    fn change_object(&mut self, object: Object, there: bool) -> BTreeSet<String> {
        let after = object.plugin().filter(|_| there);
        let before = self.homes.move_to(&object, after.as_ref()).or_else(|| {
            let (name, live) = self.live.get_key_value(object.namesake()?)?;
            live.has(&object).then(|| name.clone())
        });
        let mut touched = BTreeSet::new();
        if let Some(before) = before.filter(|before| after.as_ref() != Some(before)) {
            self.put(&before, object.clone(), false);
            touched.append(&mut self.decide_again(before.to_string()));
        }
        if let Some(after) = after {
            self.put(&after, object, true);
            touched.append(&mut self.decide_again(after.to_string()));
        }
        touched
    }

    /// Take an object in among those of a plugin, or out.
    fn put(&mut self, name: &Word, object: Object, there: bool) {
        let live = self.live.entry(name.clone()).or_default();
        live.change(object, there);
        if live.is_empty() {
            self.live.remove(name);
        }
    }

    fn change_plugin(&mut self, plugin: Arc<Plugin>, there: bool, overrides: &Overrides) -> BTreeSet<String> {
        let name = plugin.name_any();
        let known = self.plugins.contains_key(name.as_str());
        self.forget_answers(&plugin, there);
        let mut touched = if there {
            self.take(plugin, overrides);
            self.decide_again(name.clone())
        } else {
            self.plugins.remove(name.as_str());
            self.overridden.remove(&name);
            self.graph.remove(&name)
        };
        // Whether a variable means another plugin can depend on whether there is this one.
        for rival in if known == there { BTreeSet::new() } else { overrides.rivals(&name) } {
            if let Some(Overridden { manifest, .. }) = self.overridden.get(&rival) {
                self.take(manifest.clone(), overrides);
                touched.append(&mut self.decide_again(rival));
            }
        }
        touched
    }

    /// What came of a hook is kept until the status says it.
    fn forget_answers(&mut self, plugin: &Plugin, there: bool) {
        let name = plugin.name_any();
        let Some(live) = self.live.get_mut(name.as_str()).filter(|live| !live.answers.is_empty()) else {
            return;
        };
        let awaited = if there { hook_runs(plugin) } else { BTreeSet::new() };
        live.answers.retain(|id, _| awaited.contains(id));
        if live.is_empty() {
            self.live.remove(name.as_str());
        }
    }

    /// Keep a plugin, with its overrides.
    fn take(&mut self, manifest: Arc<Plugin>, overrides: &Overrides) {
        let name = manifest.name_any();
        let exists = |name: &str| self.plugins.contains_key(name);
        let plugin = match overrides.effective(&manifest, exists) {
            None => manifest,
            Some(Effective { plugin, origins, .. }) => {
                self.overridden.insert(name.clone(), Overridden { manifest, origins });
                Arc::new(plugin)
            }
        };
        self.plugins.insert(name.into(), plugin);
    }

    fn decide_again(&mut self, name: String) -> BTreeSet<String> {
        let Some(plugin) = self.plugins.get(name.as_str()) else { return BTreeSet::new() };
        let observed = self.live.get(name.as_str()).map(|live| observe(live)).unwrap_or_default();
        let mut touched = self.graph.apply(plugin.clone(), observed);
        // Whatever changed, it may be a difference to what the plugin should have.
        touched.insert(name);
        touched
    }
}

#[cfg(test)]
mod tests;
