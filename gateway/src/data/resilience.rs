//! What a route's requests do about a plugin that fails or is slow.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::ArcSwapOption;
use forward_crds::{MiddlewareSource, Priority};
use forward_plan::middleware::{CircuitBreaker, Concurrency, Entry, Fallback, Respond, Retry, Step, places};

use super::{
    body::Progress,
    bulkhead::{Bulkhead, Place},
    chain::Kept,
    clock::Tick,
    exchange::Failure,
    snapshot::Plugin,
    worker::Worker,
};

/// How many requests may wait for the head of an answer without an entry, for each ready pod of a
/// plugin that answers as usual: at a tenth of a second each, ten thousand a second.
const WAITING_PER_POD: usize = 1024;
/// How many may for all pods of a plugin: what they hold must fit into the gateway's memory.
const WAITING: usize = 4096;

/// What holds without an entry.
static USUAL: LazyLock<Policies> = LazyLock::new(Policies::default);

/// What holds for a route's requests. Where several entries have a say, the plugin's own goes before
/// its namespace's, then the one that stands first; limits all hold.
#[derive(Debug, Default)]
pub struct Policies {
    pub breaker: CircuitBreaker,
    pub retry: Option<Retry>,
    limits: Vec<(usize, Arc<Bulkhead>)>,
    priority: Priority,
    fallback: Option<Instead>,
}

/// What is answered where the plugin cannot.
#[derive(Debug)]
enum Instead {
    Answer(Respond),
    Plugin(Arc<Target>),
}

/// A plugin by its name, whether or not it is there.
#[derive(Debug, Default)]
pub struct Target {
    plugin: ArcSwapOption<Plugin>,
    /// It asks no more of who calls it than those that it stands in for.
    permitted: AtomicBool,
}

/// A request that may be sent to its plugin: its places among those that are under way.
#[derive(Debug)]
pub struct Admission {
    /// Until the head of the answer, where no entry limits the requests.
    pub waiting: Option<Place>,
    /// Until the end of the answer.
    pub underway: Vec<Place>,
    since: Instant,
}

impl Admission {
    /// The head of an answer is there. What is left is what it holds to its end.
    pub fn answered(self, plugin: &Plugin, upload: Option<&Progress>) -> Vec<Place> {
        // Until all was sent it was the client who took its time.
        let since = upload.map_or(Some(self.since), |upload| upload.done().map(|done| done.max(self.since)));
        if let Some(since) = since {
            plugin.pace.answered(since.elapsed());
        }
        if let Some(upload) = upload {
            upload.count(None);
        }
        self.underway
    }
}

impl Policies {
    /// What entries come to, in their order.
    pub fn compile<'a>(entries: impl Iterator<Item = &'a Entry> + Clone, kept: &mut impl Kept) -> Self {
        let (mut breaker, mut retry, mut fallback, mut priority) = (None, None, None, None);
        let mut limits = Vec::new();
        // Who is known here alone is nobody to another plugin.
        let known_here = entries.clone().any(Entry::knows_callers_by_itself);
        for entry in entries {
            match &entry.step {
                Ok(Step::CircuitBreaker(it)) => prefer(&mut breaker, entry.source, it),
                Ok(Step::Retry(it)) => prefer(&mut retry, entry.source, it),
                Ok(Step::Fallback(it)) => prefer(&mut fallback, entry.source, it),
                Ok(Step::Concurrency(Concurrency::Priority(it))) => prefer(&mut priority, entry.source, it),
                Ok(Step::Concurrency(Concurrency::Max(most))) => {
                    limits.push((usize::try_from(*most).unwrap_or(usize::MAX), kept.bulkhead(entry)));
                }
                _ => {}
            }
        }
        Self {
            breaker: breaker.map(|(_, it)| it.clone()).unwrap_or_default(),
            retry: retry.map(|(_, it)| it.clone()),
            limits,
            priority: priority.map(|(_, it)| *it).unwrap_or_default(),
            fallback: fallback.and_then(|(_, it)| match it {
                Fallback::Respond(respond) => Some(Instead::Answer(respond.clone())),
                Fallback::Plugin(_) if known_here => None,
                Fallback::Plugin(name) => Some(Instead::Plugin(kept.target(name))),
            }),
        }
    }

    /// What holds without an entry.
    pub fn usual() -> &'static Self {
        &USUAL
    }

    /// Whether a request may be sent to the plugin now.
    pub fn admit(
        &self,
        worker: &Worker,
        plugin: &Plugin,
        upload: Option<&Progress>,
    ) -> Result<Admission, Failure> {
        plugin.reach()?;
        let replicas = usize::try_from(worker.shared.replicas()).unwrap_or(1);
        let room = |most: usize| places(self.priority, most.div_ceil(replicas));
        let underway = self.limits.iter().map(|(most, limit)| limit.enter(room(*most)));
        let underway = underway.collect::<Option<_>>().ok_or(Failure::Overloaded)?;
        let waiting = match self.limits[..] {
            [] => Some(plugin.wait(self.priority, worker.clock.now()).ok_or(Failure::Overloaded)?),
            _ => None,
        };
        if let Some(upload) = upload {
            upload.count(waiting.as_ref().and_then(|_| plugin.uploading.enter(usize::MAX)));
        }
        Ok(Admission { waiting, underway, since: Instant::now() })
    }

    /// The answer where the plugin cannot.
    pub fn answer(&self) -> Option<&Respond> {
        match &self.fallback {
            Some(Instead::Answer(respond)) => Some(respond),
            Some(Instead::Plugin(_)) | None => None,
        }
    }

    /// The plugin that is asked where the request's own cannot answer, if it is there.
    pub fn substitute(&self, own: &Plugin) -> Option<Arc<Plugin>> {
        self.target().and_then(Target::get).filter(|plugin| plugin.id != own.id)
    }

    /// Whether another plugin may be asked.
    pub fn target(&self) -> Option<&Target> {
        match &self.fallback {
            Some(Instead::Plugin(target)) => Some(target),
            Some(Instead::Answer(_)) | None => None,
        }
    }
}

impl Plugin {
    /// Whether there is anybody to send to.
    pub fn reach(&self) -> Result<(), Failure> {
        match self.endpoints().is_empty() {
            true => Err(Failure::NoEndpoint),
            false if self.is_unhealthy() => Err(Failure::Unhealthy),
            false => Ok(()),
        }
    }

    /// A place among the requests that wait for an answer's head, if there is one.
    pub fn wait(&self, priority: Priority, now: Tick) -> Option<Place> {
        let waiting = self.waiting.underway().saturating_sub(self.uploading.underway());
        let bound = self.pace.bound(self.most_waiting(), waiting, now);
        self.waiting.enter(places(priority, bound))
    }

    /// A place among the questions that wait for an answer, if there is one.
    pub fn wait_for_word(&self, now: Tick) -> Option<Place> {
        let bound = self.asked_pace.bound(self.most_waiting(), self.asked.underway(), now);
        self.asked.enter(places(Priority::default(), bound))
    }

    fn most_waiting(&self) -> usize {
        (WAITING_PER_POD * self.endpoints().len()).min(WAITING)
    }
}

impl Target {
    /// The plugin, if it is there.
    pub fn plugin(&self) -> Option<Arc<Plugin>> {
        self.plugin.load_full()
    }

    /// The plugin, if it is there and may stand in for others.
    pub fn get(&self) -> Option<Arc<Plugin>> {
        self.plugin().filter(|_| self.permitted.load(Relaxed))
    }

    /// Whether it may stand in for another plugin.
    pub fn permit(&self, may_stand_in: bool) {
        self.permitted.store(may_stand_in, Relaxed);
    }

    /// It is there now, or is gone. It may stand in once that is [permitted](Self::permit).
    pub fn set(&self, plugin: Option<Arc<Plugin>>) {
        self.permit(false);
        self.plugin.store(plugin);
    }
}

fn prefer<T>(found: &mut Option<(MiddlewareSource, T)>, source: MiddlewareSource, it: T) {
    if found.as_ref().is_none_or(|(other, _)| *other < source) {
        *found = Some((source, it));
    }
}
