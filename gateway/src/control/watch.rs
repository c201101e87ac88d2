//! Follows the API server: every event goes into the index. What cannot be read is passed over,
//! and what was known of it stays. Where nothing was, and it may guard routes, these are closed.

use std::{collections::BTreeMap, fmt::Debug, mem, sync::Arc};

use forward_crds::{Middleware, PLUGIN_LABEL, PluginSystem, PluginSystemSpec};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, error_boundary::InvalidObject},
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::index::{Handle, Index, Object, SERVICE_LABEL};

/// How many events are taken in at once at most.
const BATCH: usize = 512;

/// The watches, and for each the sign that its first list is complete.
pub struct Watches {
    pub run: Vec<BoxFuture<'static, ()>>,
    pub listed: Vec<oneshot::Receiver<()>>,
}

impl Watches {
    /// `service` in `namespace` is the gateway's own.
    pub fn new(client: &Client, index: &Handle, namespace: &str, service: &str) -> Self {
        let mut watches = Self { run: Vec::new(), listed: Vec::new() };
        let everything = watcher::Config::default();
        let of_plugins = everything.clone().labels(PLUGIN_LABEL);
        let own = everything.clone().labels(&format!("{SERVICE_LABEL}={service}"));
        let all = || client.clone();
        watches.add(Api::all(all()), everything.clone(), index, Kind::of(Object::Plugin));
        let systems = Kind { wrap: Object::System, unread: Some(unread) };
        watches.add(Api::all(all()), everything, index, systems);
        watches.add(Api::all(all()), of_plugins, index, Kind::of(Object::Slice));
        watches.add(Api::namespaced(all(), namespace), own, index, Kind::of(Object::Own));
        watches
    }

    fn add<K>(
        &mut self,
        api: Api<DeserializeGuard<K>>,
        config: watcher::Config,
        index: &Handle,
        kind: Kind<K>,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let follower = Follower { kind, known: BTreeMap::new(), listing: BTreeMap::new() };
        self.listed.push(receiver);
        self.run.push(follower.run(api, config, index.clone(), sender).boxed());
    }
}

type Key = (Option<String>, String);

/// What becomes of the objects of a kind.
struct Kind<K> {
    wrap: fn(Arc<K>) -> Object,
    /// What counts in the place of one that cannot be read and is not known.
    unread: Option<fn(ObjectMeta) -> K>,
}

impl<K> Kind<K> {
    fn of(wrap: fn(Arc<K>) -> Object) -> Self {
        Self { wrap, unread: None }
    }
}

/// One whose namespace's routes nothing goes past: what it says of them is not known. It is there where this
/// gateway is older than what the API server accepts.
fn unread(metadata: ObjectMeta) -> PluginSystem {
    let unknown = Middleware {
        name: "what the PluginSystem says, which this gateway cannot read".to_owned(),
        ..Middleware::default()
    };
    let spec = PluginSystemSpec { middleware: vec![unknown], ..PluginSystemSpec::default() };
    PluginSystem { metadata, spec }
}

/// Follows one kind.
struct Follower<K> {
    kind: Kind<K>,
    /// What is there; what a new list does not name is gone.
    known: BTreeMap<Key, Object>,
    /// What the list that is under way has named.
    listing: BTreeMap<Key, Option<Object>>,
}

impl<K> Follower<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    async fn run(
        mut self,
        api: Api<DeserializeGuard<K>>,
        config: watcher::Config,
        index: Handle,
        listed: oneshot::Sender<()>,
    ) {
        let mut listed = Some(listed);
        let mut batches = watcher::watcher(api, config).default_backoff().ready_chunks(BATCH).boxed();
        while let Some(batch) = batches.next().await {
            let mut complete = false;
            index.change(|index| {
                for event in batch {
                    match event {
                        Ok(event) => complete |= self.take(event, index),
                        Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted"),
                    }
                }
            });
            if let Some(listed) = listed.take_if(|_| complete) {
                // Nobody waits any more when the gateway is stopping.
                listed.send(()).ok();
            }
        }
    }

    /// Take in an event; whether it completes a list.
    fn take(&mut self, event: Event<DeserializeGuard<K>>, index: &mut Index) -> bool {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                let (key, object) = self.read(object);
                if let Some(object) = object.clone() {
                    index.apply(object);
                }
                self.listing.insert(key, object);
            }
            Event::InitDone => {
                let mut before = mem::take(&mut self.known);
                for (key, object) in mem::take(&mut self.listing) {
                    before.remove(&key);
                    if let Some(object) = object {
                        self.known.insert(key, object);
                    }
                }
                before.into_values().for_each(|gone| index.delete(gone));
                return true;
            }
            Event::Apply(object) => {
                if let (key, Some(object)) = self.read(object) {
                    self.known.insert(key, object.clone());
                    index.apply(object);
                }
            }
            Event::Delete(object) => {
                if let Some(gone) = self.known.remove(&key(&object)) {
                    index.delete(gone);
                }
            }
        }
        false
    }

    fn read(&self, mut object: DeserializeGuard<K>) -> (Key, Option<Object>) {
        // They are half of an object's size, and nothing is decided from them.
        object.managed_fields_mut().clear();
        let key = key(&object);
        let wrap = |object| (self.kind.wrap)(Arc::new(object));
        let read = match object.0 {
            Ok(object) => Some(wrap(object)),
            Err(InvalidObject { metadata, error }) => {
                let plugin = format!("{}/{}", key.0.as_deref().unwrap_or_default(), key.1);
                tracing::warn!(kind = %K::kind(&()), plugin, error, "cannot read an object");
                let known = self.known.get(&key).cloned();
                known.or_else(|| self.kind.unread.map(|unread| wrap(unread(metadata))))
            }
        };
        (key, read)
    }
}

fn key(object: &impl ResourceExt) -> Key {
    (object.namespace(), object.name_any())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::worker::{Settings, Shared};

    #[test]
    fn what_cannot_be_read_closes_its_namespace_unless_it_was_known() {
        let mut index = Index::new(Shared::new(Settings::default(), 1), "gateway-0".to_owned());
        let kind = Kind { wrap: Object::System, unread: Some(unread) };
        let mut follower = Follower { kind, known: BTreeMap::new(), listing: BTreeMap::new() };
        let hosts = |hosts: serde_json::Value| -> Event<DeserializeGuard<PluginSystem>> {
            let metadata = json!({"namespace": "shop", "name": "default"});
            let object = json!({"apiVersion": "goforward.dev/v1alpha1", "kind": "PluginSystem",
                "metadata": metadata, "spec": {"hosts": hosts}});
            Event::InitApply(serde_json::from_value(object).unwrap())
        };
        let mut read = |event| {
            follower.take(Event::Init, &mut index);
            follower.take(event, &mut index);
            follower.take(Event::InitDone, &mut index);
            match follower.known.values().next() {
                Some(Object::System(system)) => (system.spec.hosts.len(), system.spec.middleware.len()),
                _ => panic!("it is known"),
            }
        };
        assert_eq!(read(hosts(json!({"new": "form"}))), (0, 1), "nothing goes past what is not known");
        assert_eq!(read(hosts(json!(["shop.example"]))), (1, 0));
        assert_eq!(read(hosts(json!({"new": "form"}))), (1, 0), "what was known stays");
    }
}
