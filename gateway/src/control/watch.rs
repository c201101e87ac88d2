//! Follows the API server: every event goes into the index. What cannot be read is passed over,
//! and what was known of it stays.

use std::{collections::BTreeMap, fmt::Debug, mem, sync::Arc};

use forward_crds::{PLUGIN_LABEL, Plugin, PluginSystem};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{
    Api, Client, Resource, ResourceExt,
    core::DeserializeGuard,
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
        watches.add::<Plugin>(Api::all(all()), everything.clone(), index, Object::Plugin);
        watches.add::<PluginSystem>(Api::all(all()), everything, index, Object::System);
        watches.add::<EndpointSlice>(Api::all(all()), of_plugins, index, Object::Slice);
        watches.add::<EndpointSlice>(Api::namespaced(all(), namespace), own, index, Object::Own);
        watches
    }

    fn add<K>(
        &mut self,
        api: Api<DeserializeGuard<K>>,
        config: watcher::Config,
        index: &Handle,
        wrap: fn(Arc<K>) -> Object,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let follower = Follower { wrap, known: BTreeMap::new(), listing: BTreeMap::new() };
        self.listed.push(receiver);
        self.run.push(follower.run(api, config, index.clone(), sender).boxed());
    }
}

type Key = (Option<String>, String);

/// Follows one kind.
struct Follower<K> {
    wrap: fn(Arc<K>) -> Object,
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
                    let earlier = before.remove(&key);
                    if let Some(object) = object.or(earlier) {
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
        let read = match object.0 {
            Ok(object) => Some((self.wrap)(Arc::new(object))),
            Err(error) => {
                let plugin = format!("{}/{}", key.0.as_deref().unwrap_or_default(), key.1);
                tracing::warn!(kind = %K::kind(&()), plugin, %error, "cannot read an object");
                None
            }
        };
        (key, read)
    }
}

fn key(object: &impl ResourceExt) -> Key {
    (object.namespace(), object.name_any())
}
