//! Follows the API server: every event goes into the index, and what it touches into the queue.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    mem,
    sync::{Arc, Mutex},
};

use forward_crds::{PLUGIN_LABEL, Plugin, PluginSystem};
use futures::{StreamExt, channel::mpsc::UnboundedSender, future::BoxFuture};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, store::Writer},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use crate::index::{Index, Object, lock};

/// Where events go.
#[derive(Clone)]
pub struct Sink {
    pub index: Arc<Mutex<Index>>,
    /// Unbounded, but read without delay into the controller's queue, which holds each plugin once.
    pub queue: UnboundedSender<ObjectRef<Plugin>>,
}

/// The watches of all kinds, and for each the sign that its first list is complete.
pub struct Watches {
    pub run: Vec<BoxFuture<'static, ()>>,
    pub listed: Vec<oneshot::Receiver<()>>,
}

impl Watches {
    pub fn new(client: &Client, sink: &Sink, store: Writer<Plugin>) -> Self {
        let mut watches = Self { run: Vec::new(), listed: Vec::new() };
        watches.add(Follower::new(client, sink, Object::Plugin, Some(store)), false);
        watches.add(Follower::<PluginSystem>::new(client, sink, Object::System, None), false);
        watches.add(Follower::<Deployment>::new(client, sink, Object::Deployment, None), true);
        watches.add(Follower::<Service>::new(client, sink, Object::Service, None), true);
        watches.add(Follower::<ServiceAccount>::new(client, sink, Object::ServiceAccount, None), true);
        watches.add(Follower::<ConfigMap>::new(client, sink, Object::ConfigMap, None), true);
        watches.add(Follower::<NetworkPolicy>::new(client, sink, Object::NetworkPolicy, None), true);
        let budgets = Follower::<PodDisruptionBudget>::new(client, sink, Object::DisruptionBudget, None);
        watches.add(budgets, true);
        watches.add(Follower::<Pod>::new(client, sink, Object::Pod, None), true);
        watches
    }

    fn add<K: Watched>(&mut self, follower: Follower<K>, owned: bool) {
        let (sender, receiver) = oneshot::channel();
        self.listed.push(receiver);
        self.run.push(Box::pin(follower.run(owned, sender)));
    }
}

trait Watched: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static {}

impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static> Watched for K {}

type Key = (Option<String>, String);

/// Follows one kind.
struct Follower<K: Watched> {
    api: Api<K>,
    sink: Sink,
    wrap: fn(Arc<K>) -> Object,
    /// The controller's store, for the kind it reconciles.
    store: Option<Writer<K>>,
    /// What is there; what a new list does not name is gone.
    known: BTreeMap<Key, Arc<K>>,
    /// What the list that is under way has named.
    listing: BTreeMap<Key, Arc<K>>,
}

impl<K: Watched> Follower<K> {
    fn new(client: &Client, sink: &Sink, wrap: fn(Arc<K>) -> Object, store: Option<Writer<K>>) -> Self {
        let (known, listing) = (BTreeMap::new(), BTreeMap::new());
        Self { api: Api::all(client.clone()), sink: sink.clone(), wrap, store, known, listing }
    }

    async fn run(mut self, owned: bool, listed: oneshot::Sender<()>) {
        let config = watcher::Config::default();
        let config = if owned { config.labels(PLUGIN_LABEL) } else { config };
        let mut listed = Some(listed);
        // Managed fields are half of an object's size, and nothing is decided from them.
        let events = watcher::watcher(self.api.clone(), config).default_backoff();
        let mut events = events.modify(|object| object.managed_fields_mut().clear()).boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let complete = matches!(event, Event::InitDone);
                    self.take(event);
                    if let Some(listed) = listed.take_if(|_| complete) {
                        // Nobody waits any more when the operator is stopping.
                        listed.send(()).ok();
                    }
                }
                Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted"),
            }
        }
    }

    fn take(&mut self, event: Event<K>) {
        if let Some(store) = &mut self.store {
            store.apply_watcher_event(&event);
        }
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                let object = Arc::new(object);
                self.listing.insert(key(&*object), object.clone());
                self.apply(object);
            }
            Event::InitDone => {
                let listed = mem::take(&mut self.listing);
                for (key, object) in mem::replace(&mut self.known, listed) {
                    if !self.known.contains_key(&key) {
                        self.delete(object);
                    }
                }
            }
            Event::Apply(object) => {
                let object = Arc::new(object);
                self.known.insert(key(&*object), object.clone());
                self.apply(object);
            }
            Event::Delete(object) => {
                self.known.remove(&key(&object));
                self.delete(Arc::new(object));
            }
        }
    }

    fn apply(&self, object: Arc<K>) {
        self.enqueue(lock(&self.sink.index).apply((self.wrap)(object)));
    }

    fn delete(&self, object: Arc<K>) {
        self.enqueue(lock(&self.sink.index).delete((self.wrap)(object)));
    }

    fn enqueue(&self, touched: Vec<ObjectRef<Plugin>>) {
        for plugin in touched {
            if self.sink.queue.unbounded_send(plugin).is_err() {
                tracing::debug!("the queue is closed: stopping");
            }
        }
    }
}

fn key<K: Resource>(object: &K) -> Key {
    (object.namespace(), object.name_any())
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn plugin(name: &str) -> Plugin {
        let metadata = json!({"name": name, "namespace": "shop", "uid": name, "generation": 1});
        let spec = json!({"version": "1.0.0", "image": "a"});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[tokio::test]
    async fn what_a_new_list_does_not_name_is_gone() {
        let (service, _server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let (queue, mut touched) = mpsc::unbounded();
        let sink = Sink { index: Arc::default(), queue };
        let mut follower = Follower::new(&Client::new(service, "shop"), &sink, Object::Plugin, None);
        for event in
            [Event::Init, Event::InitApply(plugin("a")), Event::InitApply(plugin("b")), Event::InitDone]
        {
            follower.take(event);
        }
        follower.take(Event::Apply(plugin("c")));
        for event in [Event::Init, Event::InitApply(plugin("c")), Event::InitDone] {
            follower.take(event);
        }
        let there = |name| lock(&follower.sink.index).snapshot("shop", name).is_some();
        assert_eq!(["a", "b", "c"].map(there), [false, false, true]);
        assert_eq!(touched.try_recv().unwrap(), ObjectRef::new("a").within("shop"));
    }
}
