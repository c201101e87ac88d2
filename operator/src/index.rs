//! What the watches have seen, by plugin, and the graph over it. `apply` and `delete` are
//! synchronous and answer with the plugins that must be looked at again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use forward_crds::{PLUGIN_LABEL, Plugin, PluginState, PluginSystem, SYSTEM_NAME};
use forward_plan::{Decision, Namespace, Settings};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
};
use kube::{Resource, ResourceExt, runtime::reflector::ObjectRef};

use crate::observe::observe;

/// An object of a kind that is watched.
#[derive(Clone)]
pub enum Object {
    Plugin(Arc<Plugin>),
    System(Arc<PluginSystem>),
    Deployment(Arc<Deployment>),
    Service(Arc<Service>),
    ServiceAccount(Arc<ServiceAccount>),
    ConfigMap(Arc<ConfigMap>),
    Pod(Arc<Pod>),
}

/// The objects that are there for one plugin.
#[derive(Clone, Default)]
pub struct Live {
    pub deployment: Option<Arc<Deployment>>,
    pub service: Option<Arc<Service>>,
    pub service_account: Option<Arc<ServiceAccount>>,
    pub config_maps: BTreeMap<String, Arc<ConfigMap>>,
    pub pods: BTreeMap<String, Arc<Pod>>,
}

/// Everything that a reconciliation of one plugin starts from, at one moment.
pub struct Snapshot {
    pub plugin: Arc<Plugin>,
    pub system: Option<Arc<PluginSystem>>,
    pub settings: Settings,
    pub live: Live,
    pub decision: Decision,
}

/// All namespaces that have plugins.
#[derive(Default)]
pub struct Index {
    tenants: BTreeMap<String, Tenant>,
}

#[derive(Default)]
struct Tenant {
    graph: Namespace,
    system: Option<Arc<PluginSystem>>,
    plugins: BTreeMap<String, Arc<Plugin>>,
    live: BTreeMap<String, Live>,
}

impl Index {
    /// Take in an object; the answer is what to look at again.
    pub fn apply(&mut self, object: Object) -> Vec<ObjectRef<Plugin>> {
        self.change(object, true)
    }

    /// Take in that an object is gone; the answer is what to look at again.
    pub fn delete(&mut self, object: Object) -> Vec<ObjectRef<Plugin>> {
        self.change(object, false)
    }

    fn change(&mut self, object: Object, there: bool) -> Vec<ObjectRef<Plugin>> {
        let namespace = object.namespace();
        let tenant = self.tenants.entry(namespace.clone()).or_default();
        let touched = tenant.change(object, there);
        if tenant.is_empty() {
            self.tenants.remove(&namespace);
        }
        touched.into_iter().map(|name| ObjectRef::new(&name).within(&namespace)).collect()
    }

    /// What is known of a plugin and what is to be done about it.
    pub fn snapshot(&self, namespace: &str, name: &str) -> Option<Snapshot> {
        let tenant = self.tenants.get(namespace)?;
        Some(Snapshot {
            plugin: tenant.plugins.get(name)?.clone(),
            system: tenant.system.clone(),
            settings: Settings::from(tenant.system.as_deref()),
            live: tenant.live.get(name).cloned().unwrap_or_default(),
            decision: tenant.graph.decide(name)?,
        })
    }

    /// How many plugins are in each state, by what their status says.
    pub fn states(&self) -> BTreeMap<PluginState, usize> {
        let mut counts = BTreeMap::new();
        for plugin in self.tenants.values().flat_map(|tenant| tenant.plugins.values()) {
            let state = plugin.status.as_ref().and_then(|status| status.state);
            *counts.entry(state.unwrap_or(PluginState::Unloaded)).or_default() += 1;
        }
        counts
    }
}

impl Tenant {
    fn is_empty(&self) -> bool {
        self.plugins.is_empty() && self.live.is_empty() && self.system.is_none()
    }

    fn change(&mut self, object: Object, there: bool) -> BTreeSet<String> {
        let name = match object {
            Object::Plugin(plugin) => {
                let name = plugin.name_any();
                if !there {
                    self.plugins.remove(&name);
                    return self.graph.remove(&name);
                }
                self.plugins.insert(name.clone(), plugin);
                name
            }
            Object::System(system) if system.name_any() == SYSTEM_NAME => {
                self.system = there.then_some(system);
                return self.graph.configure(Settings::from(self.system.as_deref()));
            }
            Object::System(_) => return BTreeSet::new(),
            object => {
                let Some(name) = object.plugin() else { return BTreeSet::new() };
                let live = self.live.entry(name.clone()).or_default();
                live.change(object, there);
                if live.is_empty() {
                    self.live.remove(&name);
                }
                name
            }
        };
        self.decide_again(name)
    }

    fn decide_again(&mut self, name: String) -> BTreeSet<String> {
        let Some(plugin) = self.plugins.get(&name) else { return BTreeSet::new() };
        let observed = self.live.get(&name).map(observe).unwrap_or_default();
        let mut touched = self.graph.apply(plugin.clone(), observed);
        // Whatever changed, it may be a difference to what the plugin should have.
        touched.insert(name);
        touched
    }
}

impl Live {
    fn change(&mut self, object: Object, there: bool) {
        match object {
            Object::Plugin(_) | Object::System(_) => {}
            Object::Deployment(object) => self.deployment = there.then_some(object),
            Object::Service(object) => self.service = there.then_some(object),
            Object::ServiceAccount(object) => self.service_account = there.then_some(object),
            Object::ConfigMap(object) => change(&mut self.config_maps, object, there),
            Object::Pod(object) => change(&mut self.pods, object, there),
        }
    }

    fn is_empty(&self) -> bool {
        let Self { deployment, service, service_account, config_maps, pods } = self;
        deployment.is_none()
            && service.is_none()
            && service_account.is_none()
            && config_maps.is_empty()
            && pods.is_empty()
    }
}

fn change<K: Resource>(map: &mut BTreeMap<String, Arc<K>>, object: Arc<K>, there: bool) {
    if there {
        map.insert(object.name_any(), object);
    } else {
        map.remove(&object.name_any());
    }
}

impl Object {
    fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
        match self {
            Self::Plugin(object) => object.meta(),
            Self::System(object) => object.meta(),
            Self::Deployment(object) => object.meta(),
            Self::Service(object) => object.meta(),
            Self::ServiceAccount(object) => object.meta(),
            Self::ConfigMap(object) => object.meta(),
            Self::Pod(object) => object.meta(),
        }
    }

    fn namespace(&self) -> String {
        self.meta().namespace.clone().unwrap_or_default()
    }

    /// The plugin that an owned object says it belongs to.
    fn plugin(&self) -> Option<String> {
        self.meta().labels.as_ref()?.get(PLUGIN_LABEL).cloned()
    }
}
