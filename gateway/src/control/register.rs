//! Registers one plugin: follows its ready pods, and writes what they say into its status when it
//! differs from what is there.

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use forward_crds::{Condition, Plugin, Protocol};
use forward_plan::routes::PluginId;
use k8s_openapi::jiff::Timestamp;
use kube::{Client, Resource, ResourceExt};
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    call::Said,
    health::tally,
    index::{Handle, View},
    probe::{News, Terms, Told, follow},
    process::Processes,
    status,
    trust::Trust,
    verdict::{Difference, Facts, Judged, Pod, Registration, decide},
};
use crate::{data::balance::Dice, events::Events, metrics::Calls};

/// How long to wait for more to write: what pods say of themselves and of their health comes
/// within milliseconds.
const GATHER: Duration = Duration::from_millis(20);
/// The shortest time between two writes.
const PACE: Duration = Duration::from_millis(200);
/// The shortest time between a write and one of nothing but details of the health: a length of a queue
/// is another one each time, and with thousands of plugins that would be hundreds of writes a second.
const DETAILS: Duration = Duration::from_secs(600);
/// The same for what is said of the health while it is what it was.
const WORDS: Duration = Duration::from_secs(60);
/// The shortest and the longest pause after a failed write.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// News that wait to be read; pods wait in their turn.
const QUEUE: usize = 64;

/// How many statuses are written at a time: each has a connection to the API server while it is, and of
/// thousands of plugins there is one of each to write when the gateway starts.
const WRITES: usize = 16;

/// Registers plugins.
pub struct Registrant {
    client: Client,
    index: Handle,
    calls: Calls,
    events: Events,
    trust: Trust,
    writes: Semaphore,
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
    news: mpsc::Sender<Told>,
    /// When to write next, if there is something to write.
    due: Option<Instant>,
    written: Instant,
    /// Not before, since the last write failed or found no plugin.
    not_before: Option<Instant>,
    pause: Duration,
}

impl Registrant {
    pub fn new(client: Client, index: Handle, calls: Calls, events: Events) -> Arc<Self> {
        let writes = Semaphore::new(WRITES);
        Arc::new(Self { client, index, calls, events, trust: Trust::new(), writes })
    }

    /// Register a plugin until nobody has a view of it for us any more.
    pub async fn run(self: Arc<Self>, id: PluginId, mut views: watch::Receiver<View>) {
        let (sender, mut news) = mpsc::channel(QUEUE);
        let mut state =
            State::new(&id, self.calls.processes.clone(), views.borrow_and_update().clone(), sender);
        let dice = Dice::new();
        let (mut report, mut mistrust) = (self.trust.report(), self.trust.watch());
        loop {
            state.follow(&self.calls);
            report.set(tally(&state.facts(false)));
            let mistrusted = *mistrust.borrow_and_update();
            let unwritten = state.decide(&self.index, mistrusted);
            tokio::select! {
                changed = views.changed() => match changed {
                    Ok(()) => state.see(views.borrow_and_update().clone()),
                    Err(_) => return,
                },
                Some(told) = news.recv() => {
                    let (uid, news) = *told;
                    state.learn(&uid, news);
                }
                // The sender is in what is held here.
                Ok(()) = mistrust.changed() => {}
                (registration, _turn) = self.ripe(unwritten) => {
                    // On the heap while it lasts, so that those who wait stay small.
                    let written = Box::pin(status::write(&self.client, &state.plugin, &registration)).await;
                    self.calls.wrote(written.is_ok());
                    let before = state.unhealthy();
                    state.wrote(written, &id, &dice);
                    self.tell_pods(&before, &state);
                }
            }
        }
    }
}

impl Registrant {
    /// What is to be written, once it is time and its turn; never where there is nothing.
    async fn ripe(
        &self,
        unwritten: Option<(Instant, Box<Registration>)>,
    ) -> (Box<Registration>, Option<SemaphorePermit<'_>>) {
        let Some((due, registration)) = unwritten else { return pending().await };
        sleep_until(due).await;
        // It is never closed.
        (registration, self.writes.acquire().await.ok())
    }

    /// Tell people which pods get no requests any more, and which do again. Nobody waits for that.
    fn tell_pods(&self, before: &BTreeMap<String, String>, state: &State) {
        let after = state.unhealthy();
        let about = self.events.about(state.plugin.object_ref(&()));
        let is_new = |(pod, _): &(&String, &String)| !before.contains_key(*pod);
        for (pod, message) in after.iter().filter(is_new) {
            let (about, note) = (about.pod(pod), format!("pod {pod} gets no requests: {message}"));
            tokio::spawn(async move { about.warn("PodUnhealthy", &note).await });
        }
        // One that is gone is not well again.
        let is_ready = |pod: &&String| state.view.ready.iter().any(|ready| ready.pod == **pod);
        for pod in before.keys().filter(|pod| !after.contains_key(*pod)).filter(is_ready) {
            let (about, note) = (about.pod(pod), format!("pod {pod} gets requests again"));
            tokio::spawn(async move { about.note("PodHealthy", &note).await });
        }
    }
}

impl State {
    /// The pods that get no requests by what the status says, and what it says of them.
    fn unhealthy(&self) -> BTreeMap<String, String> {
        let health = self.plugin.status.as_ref().and_then(|status| status.health.as_ref());
        let pods = health.map_or(&[][..], |health| &health.unhealthy_pods);
        pods.iter().map(|it| (it.pod.clone(), it.message.clone())).collect()
    }

    fn new(id: &PluginId, processes: Processes, view: View, news: mpsc::Sender<Told>) -> Self {
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
            not_before: None,
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
        let health = self.plugin.status.as_ref().and_then(|status| status.health.as_ref());
        let unhealthy = health.map_or(&[][..], |health| &health.unhealthy_pods);
        for (uid, ready) in ready {
            // Another replica may have asked it before: one that was unhealthy stays so until it is well.
            if let Some(before) = unhealthy.iter().find(|before| before.pod == ready.pod) {
                self.pods.entry(uid.clone()).or_insert_with(|| Pod::resumed(before.reason));
            }
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
            News::Health(said) => pod.said(said, self.terms.borrow().thresholds),
        }
    }

    fn facts(&self, mistrusted: bool) -> Facts<'_> {
        // The API keeps whole seconds.
        let now = Timestamp::now();
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        Facts { plugin: &self.plugin, ready: &self.view.ready, pods: &self.pods, mistrusted, now }
    }

    /// What is to be written, and when. Where there is nothing, what was decided is what the status says,
    /// and not kept.
    fn decide(&mut self, index: &Handle, mistrusted: bool) -> Option<(Instant, Box<Registration>)> {
        let registration = decide(&self.facts(mistrusted), |announced, provided| {
            let index = index.lock();
            Judged {
                routes: index.judge(&self.plugin, announced),
                middleware: index.middleware(&self.plugin, announced),
                withheld: index.withheld(&self.plugin, provided),
            }
        });
        self.schedule(&registration);
        self.due.map(|due| (due, Box::new(registration)))
    }

    fn schedule(&mut self, registration: &Registration) {
        let pace = match registration.difference(&Registration::of(&self.plugin)) {
            Difference::None => {
                self.due = None;
                return;
            }
            Difference::Details => DETAILS,
            Difference::Words => WORDS,
            Difference::Matters => PACE,
        };
        let due = (Instant::now() + GATHER).max(self.written + pace);
        let due = self.not_before.map_or(due, |not_before| due.max(not_before));
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    fn wrote(&mut self, written: Result<Option<Plugin>, status::WriteError>, id: &PluginId, dice: &Dice) {
        self.written = Instant::now();
        (self.due, self.not_before) = (None, None);
        match written {
            Ok(plugin) => {
                self.pause = RETRY.0;
                // When it is gone, there is nothing to write until it is seen again.
                match plugin {
                    Some(plugin) => {
                        tell(id, &Registration::of(&self.plugin), &Registration::of(&plugin));
                        self.plugin = Arc::new(plugin);
                    }
                    None => self.not_before = Some(self.written + RETRY.1),
                }
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(plugin = %id, %error, cause, "cannot register the plugin");
                let percent = dice.within(75..=124);
                self.not_before = Some(self.written + self.pause * u32::from(percent) / 100);
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
            tracing::info!(plugin = %id, condition = %type_, %status, %reason, detail = %message, "registered");
        }
    }
}
