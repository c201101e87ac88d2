//! Follows the API server: every event goes into the index, and what it touches into the queue.

use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::{Arc, Mutex},
};

use forward_crds::{PLUGIN_LABEL, Plugin, PluginSystem};
use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{ConfigMap, Pod, Service, ServiceAccount},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

use crate::{
    hooks::Ran,
    index::{Index, lock},
    live::Object,
    queue::{Queue, Turns},
};

/// How many objects one answer to a list holds at most: the first lists of all kinds are read at the
/// same time, and what they are read into stays with the process.
const PAGE: u32 = 100;

/// Where events go.
#[derive(Clone, Default)]
pub struct Sink {
    pub index: Arc<Mutex<Index>>,
    pub queue: Queue,
    /// Told whenever the index has changed.
    pub changed: Arc<Notify>,
}

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
    pub fn open(&self) -> Turns {
        let turns = self.queue.open();
        // What an event touches before this is in the index already, and otherwise in the queue.
        self.queue.push(lock(&self.index).all());
        turns
    }

    /// Take in what came of a hook, as an event.
    pub fn answer(&self, namespace: &str, name: &str, id: &str, ran: Ran) {
        let touched = lock(&self.index).answer(namespace, name, id, ran);
        self.changed.notify_waiters();
        self.queue.push(touched);
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
    pub fn start(client: &Client, sink: &Sink) -> Self {
        let (sender, complete) = watch::channel(0);
        let mut watches = Self { tasks: JoinSet::new(), listed: Listed::new(complete, 0) };
        watches.add(Follower::<Plugin>::new(client, sink), false, &sender);
        watches.add(Follower::<PluginSystem>::new(client, sink), false, &sender);
        watches.add(Follower::<Deployment>::new(client, sink), true, &sender);
        watches.add(Follower::<Service>::new(client, sink), true, &sender);
        watches.add(Follower::<ServiceAccount>::new(client, sink), true, &sender);
        watches.add(Follower::<ConfigMap>::new(client, sink), true, &sender);
        watches.add(Follower::<NetworkPolicy>::new(client, sink), true, &sender);
        watches.add(Follower::<PodDisruptionBudget>::new(client, sink), true, &sender);
        watches.add(Follower::<Pod>::new(client, sink), true, &sender);
        watches.add(Follower::<Job>::new(client, sink), true, &sender);
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
    /// Namespaces and names that the list which is under way has named; what it does not name is gone.
    /// Absent while nothing is known that a list could leave out.
    listing: Option<BTreeSet<(String, String)>>,
    /// Whether there was an object of the kind.
    knows: bool,
}

impl<K: Watched> Follower<K> {
    fn new(client: &Client, sink: &Sink) -> Self {
        Self { api: Api::all(client.clone()), sink: sink.clone(), listing: None, knows: false }
    }

    async fn run(mut self, owned: bool, listed: watch::Sender<usize>) {
        let config = watcher::Config::default().page_size(PAGE);
        let config = if owned { config.labels(PLUGIN_LABEL) } else { config };
        let mut listed = Some(listed);
        let mut events = watcher::watcher(self.api.clone(), config).default_backoff().boxed();
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
        match event {
            Event::Init => self.listing = self.knows.then(BTreeSet::new),
            Event::InitApply(object) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert((object.namespace().unwrap_or_default(), object.name_any()));
                }
                self.apply(object);
            }
            Event::InitDone => {
                for object in self.listing.take().map(|listed| self.unlisted(&listed)).unwrap_or_default() {
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

    fn apply(&mut self, object: K) {
        self.knows = true;
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

#[cfg(test)]
mod tests {
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
        let _turns = sink.open();
        let mut follower = Follower::<Plugin>::new(&Client::new(service, "shop"), &sink);
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
        assert_eq!(sink.queue.begun(), ["a", "b", "c"], "also of what is gone");
    }

    #[tokio::test]
    async fn what_a_list_named_that_was_begun_anew_is_gone_where_it_names_it_no_more() {
        let (service, _server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let sink = Sink::default();
        let mut follower = Follower::<Plugin>::new(&Client::new(service, "shop"), &sink);
        let broken_off = [Event::Init, Event::InitApply(plugin("a")), Event::InitApply(plugin("b"))];
        let anew = [Event::Init, Event::InitApply(plugin("b")), Event::InitDone];
        for event in broken_off.into_iter().chain(anew) {
            follower.take(event);
        }
        let there = |name| lock(&sink.index).snapshot("shop", name).is_some();
        assert_eq!(["a", "b"].map(there), [false, true]);
    }

    #[tokio::test]
    async fn who_begins_to_act_is_told_of_every_plugin_once_and_then_of_events() {
        let (service, _server) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let sink = Sink::default();
        let mut follower = Follower::<Plugin>::new(&Client::new(service, "shop"), &sink);
        // While this replica stands by, events are not kept.
        for name in ["a", "b", "a"] {
            follower.take(Event::Apply(plugin(name)));
        }
        let first = sink.open();
        assert_eq!(sink.queue.begun(), ["a", "b"]);
        follower.take(Event::Apply(plugin("c")));
        assert_eq!(sink.queue.begun(), ["c"]);
        drop(first);
        follower.take(Event::Apply(plugin("d")));
        assert!(sink.queue.begun().is_empty(), "nobody works");
        let _next = sink.open();
        assert_eq!(sink.queue.begun(), ["a", "b", "c", "d"]);
    }
}
