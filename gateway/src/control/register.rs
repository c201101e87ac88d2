//! Registers one plugin: follows its ready pods, and writes what they say into its status when it
//! differs from what is there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use forward_crds::{Plugin, Protocol};
use forward_plan::routes::PluginId;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff::Timestamp};
use kube::{Client, ResourceExt};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    call::Said,
    index::{Handle, View},
    probe::{News, Terms, follow},
    process::Processes,
    status,
    verdict::{Facts, Judged, Pod, Registration, decide},
};
use crate::{data::balance::Dice, metrics::Calls};

/// How long to wait for more to write: what pods say of themselves and of their health comes
/// within milliseconds.
const GATHER: Duration = Duration::from_millis(20);
/// The shortest time between two writes.
const PACE: Duration = Duration::from_millis(200);
/// The shortest and the longest pause after a failed write.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// News that wait to be read; pods wait in their turn.
const QUEUE: usize = 64;

/// One plugin's registration.
pub struct Registrant {
    pub client: Client,
    pub index: Handle,
    pub calls: Calls,
}

struct State {
    id: PluginId,
    processes: Processes,
    view: View,
    /// The plugin as it was last seen or written. Shared with the view where it was seen: plugins are
    /// large, and each has one of these.
    plugin: Arc<Plugin>,
    pods: BTreeMap<String, Pod>,
    followers: BTreeMap<String, AbortOnDropHandle<()>>,
    terms: watch::Sender<Terms>,
    news: mpsc::Sender<(String, News)>,
    /// When to write next, if there is something to write.
    due: Option<Instant>,
    written: Instant,
    pause: Duration,
}

impl Registrant {
    /// Register a plugin until nobody has a view of it for us any more.
    pub async fn run(self, id: PluginId, mut views: watch::Receiver<View>) {
        let (sender, mut news) = mpsc::channel(QUEUE);
        let mut state =
            State::new(&id, self.calls.processes.clone(), views.borrow_and_update().clone(), sender);
        let dice = Dice::new();
        loop {
            state.follow(&self.calls);
            let registration = state.decide(&self.index);
            state.schedule(&registration);
            let due = state.due;
            tokio::select! {
                changed = views.changed() => match changed {
                    Ok(()) => state.see(views.borrow_and_update().clone()),
                    Err(_) => return,
                },
                Some((uid, news)) = news.recv() => state.learn(&uid, news),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    // On the heap while it lasts, so that those who wait stay small.
                    let written = Box::pin(status::write(&self.client, &state.plugin, &registration)).await;
                    self.calls.wrote(written.is_ok());
                    state.wrote(written, &id, &dice);
                }
            }
        }
    }
}

impl State {
    fn new(id: &PluginId, processes: Processes, view: View, news: mpsc::Sender<(String, News)>) -> Self {
        let (terms, _) = watch::channel(Terms::of(&view.plugin));
        Self {
            id: id.clone(),
            processes,
            plugin: view.plugin.clone(),
            view,
            pods: BTreeMap::new(),
            followers: BTreeMap::new(),
            terms,
            news,
            due: None,
            written: Instant::now() - PACE,
            pause: RETRY.0,
        }
    }

    /// Take in what the watches have seen; it may be older than what was written since.
    fn see(&mut self, view: View) {
        let version =
            |plugin: &Plugin| plugin.resource_version().and_then(|version| version.parse::<u64>().ok());
        if view.plugin.uid() != self.plugin.uid() || version(&view.plugin) >= version(&self.plugin) {
            self.plugin = view.plugin.clone();
        }
        self.view = view;
    }

    /// Follow the pods that are ready, and no others.
    fn follow(&mut self, calls: &Calls) {
        let terms = Terms::of(&self.plugin);
        self.terms.send_if_modified(|current| std::mem::replace(current, terms) != terms);
        let called = self.plugin.spec.protocol == Protocol::Grpc;
        let ready = self.view.ready.iter().filter(|_| called);
        let ready = ready.map(|ready| (ready.uid.clone(), ready)).collect::<BTreeMap<_, _>>();
        self.followers.retain(|uid, _| ready.contains_key(uid));
        self.pods.retain(|uid, _| ready.contains_key(uid));
        self.processes.keep(&self.id, |uid| ready.contains_key(uid));
        for (uid, ready) in ready {
            self.followers.entry(uid).or_insert_with(|| {
                let following =
                    follow(ready.clone(), self.terms.subscribe(), self.news.clone(), calls.clone());
                AbortOnDropHandle::new(tokio::spawn(following))
            });
        }
    }

    fn learn(&mut self, uid: &str, news: News) {
        // News of a pod that has gone meanwhile are of no interest.
        if !self.followers.contains_key(uid) {
            return;
        }
        if let News::Health(Ok(Said { process: Some(process), .. })) = &news
            && let Some(ready) = self.view.ready.iter().find(|ready| ready.uid == uid)
        {
            self.processes.say(&self.id, uid, &ready.pod, *process, Instant::now());
        }
        let pod = self.pods.entry(uid.to_owned()).or_default();
        match news {
            News::Described(described) => pod.described(described),
            News::Health(said) => pod.said(said, self.terms.borrow().failure_threshold),
        }
    }

    fn decide(&self, index: &Handle) -> Registration {
        // The API keeps whole seconds.
        let now = Timestamp::now();
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let facts = Facts { plugin: &self.plugin, ready: &self.view.ready, pods: &self.pods, now };
        decide(&facts, |announced, provided| {
            let index = index.lock();
            Judged {
                routes: index.judge(&self.plugin, announced),
                middleware: index.middleware(&self.plugin, announced),
                withheld: index.withheld(&self.plugin, provided),
            }
        })
    }

    fn schedule(&mut self, registration: &Registration) {
        if *registration == Registration::of(&self.plugin) {
            self.due = None;
        } else if self.due.is_none() {
            self.due = Some((Instant::now() + GATHER).max(self.written + PACE));
        }
    }

    fn wrote(&mut self, written: Result<Option<Plugin>, status::WriteError>, id: &PluginId, dice: &Dice) {
        self.written = Instant::now();
        self.due = None;
        match written {
            Ok(plugin) => {
                self.pause = RETRY.0;
                // When it is gone, there is nothing to write until it is seen again.
                match plugin {
                    Some(plugin) => {
                        tell(id, &Registration::of(&self.plugin), &Registration::of(&plugin));
                        self.plugin = Arc::new(plugin);
                    }
                    None => self.due = Some(self.written + RETRY.1),
                }
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(plugin = %id, %error, cause, "cannot register the plugin");
                let percent = u32::try_from(dice.roll() % 50).expect("a remainder of 50 fits") + 75;
                self.due = Some(self.written + self.pause * percent / 100);
                self.pause = (self.pause * 2).min(RETRY.1);
            }
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.processes.keep(&self.id, |_| false);
    }
}

/// Log what has turned out otherwise than before.
fn tell(id: &PluginId, before: &Registration, after: &Registration) {
    for condition in &after.conditions {
        let Condition { type_, status, reason, message, .. } = condition;
        let same = |earlier: &&Condition| earlier.type_ == *type_ && earlier.status == *status;
        if !before.conditions.iter().any(|earlier| same(&earlier) && earlier.reason == *reason) {
            tracing::info!(plugin = %id, condition = type_, status, reason, detail = message, "registered");
        }
    }
}
