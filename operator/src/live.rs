//! The objects of the cluster that the operator follows, and those of one plugin among them.

use std::{borrow::Cow, collections::BTreeMap, slice, sync::Arc};

use forward_crds::{Plugin, PluginSystem, RouteSource, Word};
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::Resource;

use crate::{
    build::HOOK_POLICY,
    hooks::Ran,
    kept::{Identity, Keep, Kept, forget_holders},
};

/// How annotations begin that the operator knows.
const ANNOTATIONS: &str = "goforward.dev/";

/// An object of a kind that is watched.
#[derive(Clone)]
pub enum Object {
    Plugin(Arc<Plugin>),
    System(Arc<PluginSystem>),
    Deployment(Arc<Kept<Deployment>>),
    Service(Arc<Kept<Service>>),
    ServiceAccount(Arc<Kept<ServiceAccount>>),
    ConfigMap(Arc<Kept<ConfigMap>>),
    NetworkPolicy(Arc<Kept<NetworkPolicy>>),
    DisruptionBudget(Arc<Kept<PodDisruptionBudget>>),
    Pod(Arc<Kept<Pod>>),
    Job(Arc<Kept<Job>>),
}

/// The objects that are there for one plugin.
#[derive(Clone, Default)]
pub struct Live {
    pub deployment: Option<Arc<Kept<Deployment>>>,
    pub service: Option<Arc<Kept<Service>>>,
    pub service_account: Option<Arc<Kept<ServiceAccount>>>,
    pub network_policy: Option<Arc<Kept<NetworkPolicy>>>,
    pub disruption_budget: Option<Arc<Kept<PodDisruptionBudget>>>,
    pub config_maps: Group<ConfigMap>,
    pub pods: Group<Pod>,
    /// The policy of the pods of its hooks, and their Jobs.
    pub hook_policy: Option<Arc<Kept<NetworkPolicy>>>,
    pub jobs: Group<Job>,
    /// What came of hooks that no object tells of, by the id of the run: until the status says it.
    pub answers: BTreeMap<String, Ran>,
}

/// The few objects of one kind that a plugin has, by name.
pub struct Group<K: Keep>(Vec<Arc<Kept<K>>>);

impl Object {
    pub fn kind(&self) -> Cow<'static, str> {
        match self {
            Self::Plugin(_) => Plugin::kind(&()),
            Self::System(_) => PluginSystem::kind(&()),
            Self::Deployment(_) => Deployment::kind(&()),
            Self::Service(_) => Service::kind(&()),
            Self::ServiceAccount(_) => ServiceAccount::kind(&()),
            Self::ConfigMap(_) => ConfigMap::kind(&()),
            Self::NetworkPolicy(_) => NetworkPolicy::kind(&()),
            Self::DisruptionBudget(_) => PodDisruptionBudget::kind(&()),
            Self::Pod(_) => Pod::kind(&()),
            Self::Job(_) => Job::kind(&()),
        }
    }

    /// The namespace and the name.
    pub fn key(&self) -> (&str, &str) {
        let meta = match self {
            Self::Plugin(plugin) => plugin.meta(),
            Self::System(system) => system.meta(),
            object => return object.identity().map_or(("", ""), |it| (&it.namespace, &it.name)),
        };
        (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }

    /// That of an object that was made for a plugin.
    fn identity(&self) -> Option<&Identity> {
        Some(match self {
            Self::Plugin(_) | Self::System(_) => return None,
            Self::Deployment(object) => &object.identity,
            Self::Service(object) => &object.identity,
            Self::ServiceAccount(object) => &object.identity,
            Self::ConfigMap(object) => &object.identity,
            Self::NetworkPolicy(object) => &object.identity,
            Self::DisruptionBudget(object) => &object.identity,
            Self::Pod(object) => &object.identity,
            Self::Job(object) => &object.identity,
        })
    }

    /// The plugin that an object was made for. The label alone does not tell: people copy it onto
    /// objects of their own, as `kubectl expose` does. One of a plugin's name that the plugin owns is
    /// its whatever the label says, which is put right.
    pub fn plugin(&self) -> Option<Word> {
        let identity = self.identity()?;
        let label = identity.plugin.as_ref();
        let owner = identity.controller(Plugin::kind(&()).as_ref());
        let plugin = match (self, self.namesake()) {
            (_, Some(name)) => label.into_iter().chain(owner).find(|plugin| &***plugin == name),
            // A ReplicaSet has the name of its Deployment and a hash without hyphens.
            (Self::Pod(_), None) => {
                let replica_set = identity.controller("ReplicaSet");
                let deployment = replica_set.and_then(|name| name.rsplit_once('-'));
                label.filter(|plugin| deployment.is_some_and(|(name, _)| name == &***plugin))
            }
            (_, None) => label.filter(|plugin| owner == Some(plugin)),
        };
        plugin.cloned()
    }

    /// Which plugin an object can be of by its name. Of some kinds a plugin has several, whose names do
    /// not tell.
    pub fn namesake(&self) -> Option<&str> {
        match self {
            Self::Deployment(_) | Self::Service(_) | Self::ServiceAccount(_) | Self::DisruptionBudget(_) => {
                Some(self.key().1)
            }
            Self::NetworkPolicy(_) => {
                let name = self.key().1;
                Some(name.strip_suffix(HOOK_POLICY).unwrap_or(name))
            }
            Self::Plugin(_) | Self::System(_) | Self::ConfigMap(_) | Self::Pod(_) | Self::Job(_) => None,
        }
    }
}

macro_rules! objects {
    ($($kind:ident => $variant:ident),*) => {$(
        impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$variant(Arc::new(Kept::new(object)))
            }
        }
    )*};
}

objects! {
    Deployment => Deployment, Service => Service, ServiceAccount => ServiceAccount, ConfigMap => ConfigMap,
    NetworkPolicy => NetworkPolicy, PodDisruptionBudget => DisruptionBudget, Pod => Pod, Job => Job
}

impl From<Plugin> for Object {
    fn from(mut plugin: Plugin) -> Self {
        forget_holders(&mut plugin);
        trim(&mut plugin);
        Self::Plugin(Arc::new(plugin))
    }
}

/// Take off a plugin what nobody here asks of it, and the room for what is not there: with very many
/// plugins they are most of the memory.
fn trim(plugin: &mut Plugin) {
    let Plugin { metadata, spec, status } = plugin;
    (metadata.labels, metadata.owner_references) = Default::default();
    metadata.annotations = metadata.annotations.take().and_then(|mut annotations| {
        annotations.retain(|key, _| key.starts_with(ANNOTATIONS));
        (!annotations.is_empty()).then_some(annotations)
    });
    metadata.finalizers.iter_mut().for_each(Vec::shrink_to_fit);
    spec.info = None;
    spec.dependencies.shrink_to_fit();
    spec.http.iter_mut().for_each(|http| http.routes.shrink_to_fit());
    let Some(status) = status else { return };
    // Those of the manifest stand there too.
    status.routes.retain(|route| route.source == RouteSource::Plugin);
    status.routes.iter_mut().for_each(|route| route.message = None);
    (status.health, status.middleware, status.provides_middleware) = Default::default();
    status.routes.shrink_to_fit();
    status.conditions.shrink_to_fit();
    status.dependencies.shrink_to_fit();
}

impl From<PluginSystem> for Object {
    fn from(mut system: PluginSystem) -> Self {
        forget_holders(&mut system);
        Self::System(Arc::new(system))
    }
}

impl Live {
    /// Take in an object, or that it is gone.
    pub fn change(&mut self, object: Object, there: bool) {
        match object {
            Object::Plugin(_) | Object::System(_) => {}
            Object::Deployment(object) => self.deployment = there.then_some(object),
            Object::Service(object) => self.service = there.then_some(object),
            Object::ServiceAccount(object) => self.service_account = there.then_some(object),
            Object::NetworkPolicy(object) if object.identity.name.ends_with(HOOK_POLICY) => {
                self.hook_policy = there.then_some(object);
            }
            Object::NetworkPolicy(object) => self.network_policy = there.then_some(object),
            Object::Job(object) => self.jobs.change(object, there),
            Object::DisruptionBudget(object) => self.disruption_budget = there.then_some(object),
            Object::ConfigMap(object) => self.config_maps.change(object, there),
            Object::Pod(object) => self.pods.change(object, there),
        }
    }

    /// Whether an object of this kind and name is there.
    pub fn has(&self, object: &Object) -> bool {
        let name = object.key().1;
        match object {
            Object::Plugin(_) | Object::System(_) => false,
            Object::Deployment(_) => self.deployment.is_some(),
            Object::Service(_) => self.service.is_some(),
            Object::ServiceAccount(_) => self.service_account.is_some(),
            Object::NetworkPolicy(_) if name.ends_with(HOOK_POLICY) => self.hook_policy.is_some(),
            Object::NetworkPolicy(_) => self.network_policy.is_some(),
            Object::Job(_) => self.jobs.get(name).is_some(),
            Object::DisruptionBudget(_) => self.disruption_budget.is_some(),
            Object::ConfigMap(_) => self.config_maps.get(name).is_some(),
            Object::Pod(_) => self.pods.get(name).is_some(),
        }
    }

    /// All of them.
    pub fn objects(&self) -> impl Iterator<Item = Object> {
        let policies = self.network_policy.iter().chain(&self.hook_policy);
        let deployment = self.deployment.iter().cloned().map(Object::Deployment);
        deployment
            .chain(self.service.iter().cloned().map(Object::Service))
            .chain(self.service_account.iter().cloned().map(Object::ServiceAccount))
            .chain(self.disruption_budget.iter().cloned().map(Object::DisruptionBudget))
            .chain(policies.cloned().map(Object::NetworkPolicy))
            .chain(self.config_maps.iter().cloned().map(Object::ConfigMap))
            .chain(self.pods.iter().cloned().map(Object::Pod))
            .chain(self.jobs.iter().cloned().map(Object::Job))
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty() && self.objects().next().is_none()
    }
}

impl<K: Keep> Group<K> {
    pub fn get(&self, name: &str) -> Option<&Arc<Kept<K>>> {
        self.find(name).ok().map(|place| &self.0[place])
    }

    /// All of them, by name.
    pub fn iter(&self) -> slice::Iter<'_, Arc<Kept<K>>> {
        self.0.iter()
    }

    fn change(&mut self, mut object: Arc<Kept<K>>, there: bool) {
        match (self.find(&object.identity.name), there) {
            (Ok(place), true) => {
                let before = &self.0[place].identity;
                // What is said of one that goes does not give it more time.
                if before.uid == object.identity.uid
                    && let (Some(first), Some(new)) = (before.deadline, Arc::get_mut(&mut object))
                {
                    new.identity.deadline = Some(first);
                }
                self.0[place] = object;
            }
            (Ok(place), false) => drop(self.0.remove(place)),
            (Err(place), true) => {
                // Most have one.
                self.0.reserve_exact(1);
                self.0.insert(place, object);
            }
            (Err(_), false) => {}
        }
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|object| (*object.identity.name).cmp(name))
    }
}

impl<K: Keep> Clone for Group<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Keep> Default for Group<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_goes_has_no_more_time_with_each_word_on_it() {
        let going = |uid: &str, grace: i64| {
            let metadata = json!({"name": "a", "uid": uid, "deletionTimestamp": "2026-01-01T00:00:00Z",
                                  "deletionGracePeriodSeconds": grace});
            let pod: Pod = serde_json::from_value(json!({"metadata": metadata})).unwrap();
            Object::from(pod)
        };
        let mut live = Live::default();
        let mut deadline = |object| {
            live.change(object, true);
            live.pods.get("a").unwrap().identity.deadline
        };
        let first = deadline(going("u-1", 10));
        assert!(first.is_some());
        assert_eq!(deadline(going("u-1", 20)), first);
        assert!(deadline(going("u-2", 20)) > first, "that is another pod");
    }
}
