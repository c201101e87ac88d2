//! Follows the API server: every event goes into the index, and what it touches into the queue.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    marker::PhantomData,
    mem,
    sync::{Arc, Mutex},
};

use forward_crds::{PLUGIN_LABEL, Plugin, PluginSystem};
use forward_plan::HookRun;
use futures::{
    Stream, StreamExt,
    channel::mpsc::{UnboundedSender, unbounded},
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{ObjectMeta, PartialObjectMeta},
    runtime::{
        WatchStreamExt,
        reflector::{ObjectRef, store::Writer},
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::{
    index::{Index, lock},
    live::Object,
};

/// How many objects one answer to a list holds at most: the first lists of all kinds are read at the
/// same time, and what they are read into stays with the process.
const PAGE: u32 = 100;

/// A plugin's name, which is all that the controller keeps of it.
pub type Known = PartialObjectMeta<Plugin>;

/// Where events go.
#[derive(Clone, Default)]
pub struct Sink {
    pub index: Arc<Mutex<Index>>,
    pub queue: Queue,
    /// Told whenever the index has changed.
    pub changed: Arc<Notify>,
}

/// Where plugins go that must be looked at again: to the controller, while this replica has one.
#[derive(Clone, Default)]
pub struct Queue(Arc<Mutex<Option<UnboundedSender<ObjectRef<Plugin>>>>>);

/// The watches of all kinds, at work until they are dropped.
pub struct Watches {
    tasks: JoinSet<()>,
    pub listed: Listed,
}

/// Whether the first lists of all kinds are complete. Before they are, the index holds half of what
/// there is, and dependencies seem to be missing that are not.
#[derive(Clone)]
pub struct Listed {
    complete: watch::Receiver<usize>,
    kinds: usize,
}

impl Sink {
    /// The queue of a replica that begins to act: every plugin that there is, once, and from now on
    /// what events touch.
    pub fn open(&self) -> impl Stream<Item = ObjectRef<Known>> + Send + Unpin + use<> {
        // Unbounded, but read without delay into the controller's queue, which holds each plugin
        // once.
        let (sender, receiver) = unbounded();
        *lock(&self.queue.0) = Some(sender);
        // What an event touches before this is in the index already, and otherwise in the queue.
        self.queue.push(lock(&self.index).all());
        receiver.map(|plugin: ObjectRef<Plugin>| plugin.into_kind_unchecked(()))
    }

    /// Take in what came of a hook, as an event.
    pub fn answer(&self, namespace: &str, name: &str, id: &str, run: HookRun) {
        let touched = lock(&self.index).answer(namespace, name, id, run);
        self.changed.notify_waiters();
        self.queue.push(touched);
    }
}

impl Queue {
    fn push(&self, touched: Vec<ObjectRef<Plugin>>) {
        let mut queue = lock(&self.0);
        for plugin in touched {
            let Some(sender) = queue.as_ref() else { return };
            if sender.unbounded_send(plugin).is_err() {
                tracing::debug!("this replica acts no more");
                *queue = None;
            }
        }
    }
}

impl Listed {
    /// Of so many kinds, as many as are listed.
    pub fn new(complete: watch::Receiver<usize>, kinds: usize) -> Self {
        Self { complete, kinds }
    }

    pub fn is_complete(&self) -> bool {
        *self.complete.borrow() == self.kinds
    }

    pub async fn wait(&mut self) {
        let kinds = self.kinds;
        // An error means that the watches are gone, which their owner hears by itself.
        self.complete.wait_for(|complete| *complete == kinds).await.ok();
    }
}

impl Watches {
    pub fn start(client: &Client, sink: &Sink, store: Writer<Known>) -> Self {
        let (sender, complete) = watch::channel(0);
        let mut watches = Self { tasks: JoinSet::new(), listed: Listed::new(complete, 0) };
        watches.add(Follower::<Plugin>::new(client, sink, Some(store)), false, &sender);
        watches.add(Follower::<PluginSystem>::new(client, sink, None), false, &sender);
        watches.add(Follower::<Deployment>::new(client, sink, None), true, &sender);
        watches.add(Follower::<Service>::new(client, sink, None), true, &sender);
        watches.add(Follower::<ServiceAccount>::new(client, sink, None), true, &sender);
        watches.add(Follower::<ConfigMap>::new(client, sink, None), true, &sender);
        watches.add(Follower::<NetworkPolicy>::new(client, sink, None), true, &sender);
        watches.add(Follower::<PodDisruptionBudget>::new(client, sink, None), true, &sender);
        watches.add(Follower::<Pod>::new(client, sink, None), true, &sender);
        watches.add(Follower::<Job>::new(client, sink, None), true, &sender);
        watches
    }

    fn add<K: Watched>(&mut self, follower: Follower<K>, owned: bool, listed: &watch::Sender<usize>) {
        self.listed.kinds += 1;
        self.tasks.spawn(follower.run(owned, listed.clone()));
    }

    /// Wait until one of them has ended, which none does by itself.
    pub async fn ended(&mut self) {
        if let Some(Err(error)) = self.tasks.join_next().await {
            tracing::error!(%error, "a watch has failed");
        }
    }
}

trait Watched:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Into<Object> + Send + Sync + 'static
{
}

impl<K> Watched for K where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Into<Object> + Send + Sync + 'static
{
}

/// Follows one kind.
struct Follower<K: Watched> {
    api: Api<K>,
    sink: Sink,
    /// The controller's store of names, for the kind it reconciles.
    store: Option<Writer<Known>>,
    /// Namespaces and names that the list which is under way has named; what it does not name is gone.
    listing: BTreeSet<(String, String)>,
}

impl<K: Watched> Follower<K> {
    fn new(client: &Client, sink: &Sink, store: Option<Writer<Known>>) -> Self {
        Self { api: Api::all(client.clone()), sink: sink.clone(), store, listing: BTreeSet::new() }
    }

    async fn run(mut self, owned: bool, listed: watch::Sender<usize>) {
        let config = watcher::Config::default().page_size(PAGE);
        let config = if owned { config.labels(PLUGIN_LABEL) } else { config };
        let mut listed = Some(listed);
        // Managed fields are half of an object's size, and nothing is decided from them.
        let events = watcher::watcher(self.api.clone(), config).default_backoff();
        let mut events = events.modify(|object| object.meta_mut().managed_fields = None).boxed();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    let complete = matches!(event, Event::InitDone);
                    self.take(event);
                    if let Some(listed) = listed.take_if(|_| complete) {
                        listed.send_modify(|complete| *complete += 1);
                    }
                }
                Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted"),
            }
        }
    }

    fn take(&mut self, event: Event<K>) {
        if let Some(store) = &mut self.store {
            store.apply_watcher_event(&named(&event));
        }
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                self.listing.insert((object.namespace().unwrap_or_default(), object.name_any()));
                self.apply(object);
            }
            Event::InitDone => {
                let listed = mem::take(&mut self.listing);
                for object in self.unlisted(&listed) {
                    self.delete(object);
                }
            }
            Event::Apply(object) => self.apply(object),
            Event::Delete(object) => self.delete(object.into()),
        }
    }

    /// What is known of this kind and not listed.
    fn unlisted(&self, listed: &BTreeSet<(String, String)>) -> Vec<Object> {
        let is_unlisted = |object: &Object| {
            let (namespace, name) = object.key();
            object.kind() == K::kind(&()) && !listed.contains(&(namespace.to_owned(), name.to_owned()))
        };
        lock(&self.sink.index).objects().filter(is_unlisted).collect()
    }

    fn apply(&self, object: K) {
        let object = object.into();
        let touched = lock(&self.sink.index).apply(object);
        self.sink.changed.notify_waiters();
        self.sink.queue.push(touched);
    }

    fn delete(&self, object: Object) {
        let touched = lock(&self.sink.index).delete(object);
        self.sink.changed.notify_waiters();
        self.sink.queue.push(touched);
    }
}

/// The same event, of the object's name alone.
fn named<K: Resource>(event: &Event<K>) -> Event<Known> {
    let name = |object: &K| {
        let (name, namespace) = (object.meta().name.clone(), object.meta().namespace.clone());
        let metadata = ObjectMeta { name, namespace, ..ObjectMeta::default() };
        Known { types: None, metadata, _phantom: PhantomData }
    };
    match event {
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
        Event::InitApply(object) => Event::InitApply(name(object)),
        Event::Apply(object) => Event::Apply(name(object)),
        Event::Delete(object) => Event::Delete(name(object)),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
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
        let sink = Sink::default();
        let mut touched = sink.open();
        let mut follower = Follower::<Plugin>::new(&Client::new(service, "shop"), &sink, None);
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
        assert_eq!(touched.next().await, Some(ObjectRef::new("a").within("shop")));
    }
    #[tokio::test]
    async fn who_begins_to_act_is_told_of_every_plugin_once_and_then_of_events() {
        let (service, _server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let sink = Sink::default();
        let mut follower = Follower::<Plugin>::new(&Client::new(service, "shop"), &sink, None);
        fn received(queue: &mut (impl Stream<Item = ObjectRef<Known>> + Unpin)) -> Vec<String> {
            std::iter::from_fn(|| queue.next().now_or_never().flatten()).map(|plugin| plugin.name).collect()
        }
        // While this replica stands by, events are not kept.
        for name in ["a", "b", "a"] {
            follower.take(Event::Apply(plugin(name)));
        }
        let mut first = sink.open();
        assert_eq!(received(&mut first), ["a", "b"]);
        follower.take(Event::Apply(plugin("c")));
        assert_eq!(received(&mut first), ["c"]);
        drop(first);
        follower.take(Event::Apply(plugin("d")));
        assert!(lock(&sink.queue.0).is_none(), "nobody reads it");
        assert_eq!(received(&mut sink.open()), ["a", "b", "c", "d"]);
    }
}
