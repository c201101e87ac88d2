//! One plugin by itself: what is wanted of it, what its pods say, what it needs. Owns everything
//! that can be told without looking at another plugin.

use std::sync::Arc;

use forward_config::Violation;
use forward_crds::{FORCE_DELETE, Hooks, Plugin, PluginState, PluginStatus, Reload, ReloadStatus, Word};
use litemap::LiteMap;
use semver::Version;

use crate::{
    config::{ConfigVerdict, Judged},
    hooks::is_told_to_start,
    images::is_allowed,
    inherited::{restart, revision},
    model::{Observed, Pod, PodPhase, Problem, Settings, Workload},
    places::Claim,
    range::{Range, SharedRange},
    reason::{Failure, Reason},
};

/// What is wanted of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Run,
    Stop,
    Unload,
    Delete,
}

/// What a plugin needs of one dependency.
#[derive(Clone, Debug, PartialEq)]
pub struct Need {
    pub optional: bool,
    /// The range as it is written.
    pub text: Option<Word>,
    /// Absent where every version will do, pre-releases too (which `*` does not accept).
    pub range: Option<SharedRange>,
}

/// What a plugin needs, by name. Most need few, for which a tree would be large.
pub type Needs = LiteMap<Word, Need>;

/// The version that serves.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving {
    pub text: Word,
    /// Absent where what a pod says is not a version.
    pub version: Option<Version>,
    pub config_hash: Word,
}

/// A configuration that a plugin was given while it runs, and does not run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloading {
    /// Its pods have not said what became of it.
    Awaited,
    /// A pod goes on with what it had.
    Refused { message: String },
}

/// A plugin and what is observed of it, read once.
pub struct Facts {
    pub plugin: Arc<Plugin>,
    pub observed: Observed,
    pub wish: Wish,
    pub needs: Needs,
    /// The version of the spec, or what is wrong with the spec.
    pub version: Result<Version, String>,
    /// What is to be thought of its configuration.
    pub config: Arc<Judged>,
    pub serving: Option<Serving>,
}

impl Need {
    pub fn accepts(&self, version: &Version) -> bool {
        self.range.as_ref().is_none_or(|range| range.accepts(version))
    }
}

impl Facts {
    /// `before` is what was read of the plugin the last time: its configuration is judged again only
    /// where there is something else to judge.
    pub fn read(plugin: Arc<Plugin>, observed: Observed, settings: &Settings, before: Option<&Self>) -> Self {
        let known = before.and_then(|before| before.judged(&plugin));
        let config = known.unwrap_or_else(|| Arc::new(Judged::of(&plugin)));
        Self::of(plugin, observed, settings, config)
    }

    /// What is thought of the configuration, where there is the same to judge as in `plugin`.
    pub fn judged(&self, plugin: &Plugin) -> Option<Arc<Judged>> {
        Judged::is_same_for(&self.plugin, plugin).then(|| self.config.clone())
    }

    /// The facts of a plugin whose configuration is judged already.
    pub fn of(plugin: Arc<Plugin>, observed: Observed, settings: &Settings, config: Arc<Judged>) -> Self {
        let (needs, version) = match read_needs(&plugin) {
            Ok(needs) => (needs, read_version(&plugin.spec.version)),
            Err((needs, message)) => (needs, Err(message)),
        };
        let version = match (version, &config.verdict) {
            (Ok(_), ConfigVerdict::Broken(message)) => Err(message.clone()),
            (version, _) => version,
        };
        Self {
            wish: wish(&plugin, settings),
            needs,
            version,
            config,
            serving: serving(&observed),
            plugin,
            observed,
        }
    }

    /// What is wrong with the configuration.
    pub fn violations(&self) -> Option<&[Violation]> {
        match &self.config.verdict {
            ConfigVerdict::Violates(violations) => Some(violations),
            ConfigVerdict::Unjudged | ConfigVerdict::Fits | ConfigVerdict::Broken(_) => None,
        }
    }

    /// Whether a decision could differ from that for `other`.
    pub fn differs_from(&self, other: &Self) -> bool {
        let (a, b) = (&self.plugin, &other.plugin);
        let nothing = PluginStatus::default();
        let (said, before) = (a.status.as_ref(), b.status.as_ref());
        let (said, before) = (said.unwrap_or(&nothing), before.unwrap_or(&nothing));
        a.metadata.generation != b.metadata.generation
            || a.metadata.uid != b.metadata.uid
            || a.metadata.creation_timestamp != b.metadata.creation_timestamp
            || a.metadata.deletion_timestamp.is_some() != b.metadata.deletion_timestamp.is_some()
            || is_forced(a) != is_forced(b)
            || restart(a) != restart(b)
            || self.observed != other.observed
            || self.config != other.config
            || a.spec != b.spec
            || said.conditions != before.conditions
            || said.dependencies != before.dependencies
            || said.config_schema != before.config_schema
            || said.reload != before.reload
            || said.config_from_changed != before.config_from_changed
            || said.hooks != before.hooks
            // Whether the plugin enters Error is told by what it was.
            || (a.spec.hooks.is_some() && said.state != before.state)
            || is_told_to_start(a) != is_told_to_start(b)
    }

    pub fn workload(&self) -> Option<&Workload> {
        self.observed.workload.as_ref()
    }

    /// Whether requests are answered, by whatever version.
    pub fn is_alive(&self) -> bool {
        self.workload().is_some_and(|workload| workload.ready_replicas > 0)
    }

    /// Whether something is left that could still be using its dependencies.
    pub fn is_left(&self) -> bool {
        let workload = self.workload().is_some_and(|workload| match self.wish {
            Wish::Run | Wish::Stop => workload.replicas > 0 || workload.total_replicas > 0,
            Wish::Unload | Wish::Delete => true,
        });
        self.has_pods() || workload
    }

    /// Whether it has pods that have not ended for good.
    fn has_pods(&self) -> bool {
        !self.observed.pods.iter().all(Pod::is_ended)
    }

    /// What the namespace's settings have against a plugin that is to run. What runs of it already
    /// serves on and counts as running.
    pub fn forbidden(&self, settings: &Settings) -> Option<Reason> {
        if self.wish != Wish::Run {
            return None;
        }
        if let Some(image) = self.refused_image(settings) {
            let (image, allowed) = (image.to_owned(), settings.image_prefixes.clone());
            return Some(Reason::NotAllowed { image, allowed });
        }
        let breaches = settings.permissions.breaches(&self.plugin.spec);
        (!breaches.is_empty()).then_some(Reason::TemplateNotAllowed { breaches })
    }

    /// The first of its image and those of its hooks that its namespace does not allow.
    fn refused_image(&self, settings: &Settings) -> Option<&str> {
        let spec = &self.plugin.spec;
        let hooks = spec.hooks.as_deref().into_iter().flat_map(Hooks::iter);
        let jobs = hooks.filter_map(|(_, hook)| hook.job.as_ref()?.image.as_deref());
        let mut images = std::iter::once(spec.image.as_str()).chain(jobs);
        images.find(|image| !is_allowed(image, &settings.image_prefixes))
    }

    /// What the plugin has to do with the places of its namespace. One that is on its way down
    /// holds its place until nothing of it is left; one that could not be loaded takes none.
    pub fn place(&self, settings: &Settings) -> Option<Claim> {
        let is_wanted = match self.wish {
            Wish::Run => {
                let is_sound = self.version.is_ok() && self.violations().is_none();
                is_sound && self.forbidden(settings).is_none()
            }
            Wish::Stop => true,
            Wish::Unload | Wish::Delete => false,
        };
        let metadata = &self.plugin.metadata;
        if self.workload().is_some() || self.has_pods() {
            Some(Claim::Loaded)
        } else {
            let created = metadata.creation_timestamp.as_ref().map(|created| created.0);
            is_wanted.then_some(Claim::Wanted { created })
        }
    }

    /// Whether the plugin's dependencies must stay up for its sake.
    pub fn keeps_dependencies(&self) -> bool {
        if self.wish == Wish::Run { self.is_alive() } else { self.is_left() }
    }

    pub fn is_forced(&self) -> bool {
        is_forced(&self.plugin)
    }

    /// Whether the current spec was applied.
    pub fn is_applied(&self, settings: &Settings) -> bool {
        self.workload().is_some_and(|workload| workload.revision == revision(&self.plugin, settings))
    }

    /// Whether the current spec was applied and all its pods are ready, with its configuration.
    pub fn is_rolled_out(&self, settings: &Settings) -> bool {
        self.is_applied(settings) && self.has_its_pods() && self.reloading().is_none()
    }

    fn has_its_pods(&self) -> bool {
        self.workload().is_some_and(|workload| workload.rolled_out && workload.ready_replicas > 0)
    }

    /// What is outstanding of a configuration that the plugin was given while it runs.
    pub fn reloading(&self) -> Option<Reloading> {
        let workload = self.workload().filter(|_| self.has_its_pods())?;
        if self.plugin.spec.reload != Reload::InPlace {
            return None;
        }
        match reload(&self.plugin) {
            Some(ReloadStatus { config_hash, message }) if *config_hash == workload.config_hash => {
                message.clone().map(|message| Reloading::Refused { message })
            }
            _ => Some(Reloading::Awaited),
        }
    }

    /// Whether the plugin runs with another configuration than the one that was applied.
    pub fn keeps_former_config(&self) -> bool {
        self.reloading().is_some() && reload(&self.plugin).is_some()
    }

    /// The hash of the configuration that serves, as far as it is known.
    pub fn config_that_serves(&self) -> Option<Word> {
        let serving = self.serving.as_ref()?;
        if self.keeps_former_config() {
            return self.plugin.status.as_ref()?.config_hash.clone();
        }
        Some(serving.config_hash.clone()).filter(|hash| !hash.is_empty())
    }

    /// What keeps the newest template from coming up: what the pod says that has most to tell, or
    /// why there is none.
    pub fn problem(&self) -> Option<Problem> {
        let refused = || {
            let message = self.workload()?.pods_refused.clone()?;
            Some(Problem::PodsRefused { message })
        };
        let unloaded = || match self.reloading()? {
            Reloading::Refused { message } => Some(Problem::ConfigRefused { message }),
            Reloading::Awaited => None,
        };
        // Another pod takes the place of one that has ended: what that said is told where none has come up.
        let ended = || self.worst(true).filter(|_| self.is_overdue());
        self.worst(false).or_else(refused).or_else(unloaded).or_else(ended)
    }

    /// The worst that pods of the newest template say: those that have `ended` for good, or the others.
    fn worst(&self, ended: bool) -> Option<Problem> {
        let pods = self.observed.pods.iter().filter(|pod| pod.current && pod.is_ended() == ended);
        let problems = pods.filter_map(|pod| Some((pod.problem.as_ref()?, &pod.name)));
        let worst = problems.max_by_key(|(problem, name)| (problem.restarts(), std::cmp::Reverse(*name)));
        worst.map(|(problem, _)| problem.clone())
    }

    fn is_overdue(&self) -> bool {
        self.workload().is_some_and(|workload| workload.progress_deadline_exceeded)
    }

    pub fn failure(&self) -> Option<Failure> {
        if let Some(problem) = self.problem() {
            return Some((&problem).into());
        }
        self.is_overdue().then_some(Failure::Overdue)
    }

    /// How far the plugin has come in its life.
    pub fn state(&self) -> PluginState {
        let furthest = self.observed.pods.iter().filter(|pod| pod.current).map(|pod| match pod.phase {
            PodPhase::Pending | PodPhase::Terminating | PodPhase::Ended => PluginState::Unloaded,
            PodPhase::Loaded => PluginState::Loaded,
            PodPhase::Initialized => PluginState::Initialized,
            PodPhase::Ready => PluginState::Started,
        });
        let state = furthest.max().unwrap_or(PluginState::Unloaded);
        let is_stopped = self.wish == Wish::Stop && self.workload().is_some_and(|it| it.replicas == 0);
        if self.is_alive() {
            PluginState::Started
        } else if is_stopped {
            PluginState::Stopped
        } else if self.failure().is_some() {
            PluginState::Error
        } else {
            state
        }
    }
}

fn reload(plugin: &Plugin) -> Option<&ReloadStatus> {
    plugin.status.as_ref()?.reload.as_deref()
}

fn is_forced(plugin: &Plugin) -> bool {
    let annotations = plugin.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(FORCE_DELETE)).is_some_and(|value| value == "true")
}

fn wish(plugin: &Plugin, settings: &Settings) -> Wish {
    if plugin.metadata.deletion_timestamp.is_some() {
        Wish::Delete
    } else if !plugin.spec.enabled || !settings.enabled {
        Wish::Unload
    } else if plugin.spec.suspend || plugin.spec.replicas == 0 {
        Wish::Stop
    } else {
        Wish::Run
    }
}

fn read_version(text: &str) -> Result<Version, String> {
    Version::parse(text).map_err(|error| format!("spec.version \"{text}\" is not a version: {error}"))
}

/// The needs, and what is wrong with the first of them that is wrong: that one counts as a need of
/// any version, so that the graph has its edge.
fn read_needs(plugin: &Plugin) -> Result<Needs, (Needs, String)> {
    let mut wrong = None;
    let mut needs = Needs::with_capacity(plugin.spec.dependencies.len());
    for dependency in &plugin.spec.dependencies {
        let text = dependency.version.clone();
        let range = match text.as_deref().map(Range::parse).transpose() {
            Ok(range) => range,
            Err(error) => {
                let (name, text) = (&dependency.name, text.as_deref().unwrap_or_default());
                wrong.get_or_insert(format!("the range \"{text}\" for {name} is not one: {error}"));
                None
            }
        };
        let range = range.map(SharedRange::new);
        needs.insert(dependency.name.clone(), Need { optional: dependency.optional, text, range });
    }
    match wrong {
        Some(message) => Err((needs, message)),
        None => Ok(needs),
    }
}

/// While two versions serve side by side, the old one counts: it is the one that was promised.
fn serving(observed: &Observed) -> Option<Serving> {
    let workload = observed.workload.as_ref().filter(|workload| workload.ready_replicas > 0)?;
    let ready = observed.pods.iter().filter(|pod| pod.phase == PodPhase::Ready && !pod.version.is_empty());
    let oldest = ready.min_by_key(|pod| (pod.current, &pod.name));
    let (text, config_hash) = match oldest.filter(|_| !workload.rolled_out) {
        Some(pod) => (&pod.version, &pod.config_hash),
        None => (&workload.version, &workload.config_hash),
    };
    Some(Serving { text: text.clone(), version: Version::parse(text).ok(), config_hash: config_hash.clone() })
}
