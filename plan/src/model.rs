//! What is observed of a plugin, as plain data. Owns the vocabulary between those who look at a
//! cluster and those who decide; refuses to know where the facts come from.

use std::{collections::BTreeMap, fmt};

use forward_crds::{PluginSystem, PluginSystemSpec, Word};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::{inherited::Inherited, permissions::Permissions};

/// How many plugins may be on their way up at once where no PluginSystem says so.
pub const DEFAULT_CONCURRENT_ROLLOUTS: usize = 50;

/// What runs of a plugin, as read from its Deployment and pods.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Observed {
    /// The plugin's Deployment, where there is one.
    pub workload: Option<Workload>,
    /// Its pods, those of older templates too.
    pub pods: Vec<Pod>,
    /// What is seen of its hooks, by the id of each run.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hooks: BTreeMap<String, HookRun>,
    /// How far its pods were permitted to go, by the spec that they are of (see
    /// [`hook_revision`](crate::hook_revision)).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub stages: BTreeMap<String, Stage>,
}

/// What is seen of a hook that is to run.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all_fields = "camelCase")]
pub enum HookRun {
    /// It runs.
    Going,
    /// It has done what it should.
    Succeeded,
    /// It has not.
    Failed {
        /// What it said.
        message: String,
    },
    /// It cannot be run, and is not to hold up anything.
    Skipped {
        /// Why.
        message: String,
    },
}

/// How far pods may go that wait to be permitted.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not beyond their configuration.
    Wait,
    /// To Initialize, and not beyond.
    Initialize,
    /// As far as they can.
    Start,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Wait, Self::Initialize, Self::Start];

    /// The word that pods are told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Initialize => "initialize",
            Self::Start => "start",
        }
    }
}

/// What a plugin's Deployment says.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Workload {
    /// What was last applied (see [`revision`](crate::revision)), from the annotation `goforward.dev/revision`.
    pub revision: Word,
    /// The spec that hooks were run for, from the annotation `goforward.dev/hook-revision`; empty for
    /// a plugin without hooks that starts by itself.
    #[serde(skip_serializing_if = "is_empty")]
    pub hook_revision: Word,
    /// The plugin's version in the newest template.
    pub version: Word,
    /// The hash of the configuration in the newest template or, of a plugin that takes it while it
    /// runs, the newest.
    pub config_hash: Word,
    /// Pods wanted.
    pub replicas: i32,
    /// Pods there are, of any template.
    pub total_replicas: i32,
    /// Pods of the newest template.
    pub updated_replicas: i32,
    /// Ready pods, of any template.
    pub ready_replicas: i32,
    /// The Deployment controller has seen the newest spec, all pods are of its template and
    /// available, and none of an older one is left.
    pub rolled_out: bool,
    /// The Deployment controller has given up waiting for progress.
    pub progress_deadline_exceeded: bool,
    /// What the API server says against making its pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods_refused: Option<String>,
}

fn is_empty(word: &Word) -> bool {
    word.is_empty()
}

/// One pod of a plugin.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Pod {
    /// The pod's name.
    pub name: Word,
    /// Whether it is of the newest template.
    pub current: bool,
    /// How far it has come.
    pub phase: PodPhase,
    /// What keeps it from becoming ready.
    pub problem: Option<Problem>,
    /// The plugin's version in it.
    pub version: Word,
    /// The hash of the configuration in it.
    pub config_hash: Word,
    /// When it was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// When its process was started, where one is up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<Time>,
    /// When it became ready, where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<Time>,
}

/// How far a pod has come in its life.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodPhase {
    /// No process is up.
    #[default]
    Pending,
    /// A process is up.
    Loaded,
    /// Initialize has succeeded.
    Initialized,
    /// It answers requests.
    Ready,
    /// It is going.
    Terminating,
    /// Its processes have ended for good; only the object is left, which nothing needs and nobody may ever
    /// delete.
    Ended,
}

/// What keeps a pod from becoming ready. `Display` says it in plain words.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all_fields = "camelCase")]
pub enum Problem {
    /// The kubelet could not get the image.
    ImageNotPulled {
        /// The image.
        image: String,
        /// What the kubelet says.
        message: String,
    },
    /// The process ended.
    Exited {
        /// Its exit code.
        code: i32,
        /// Its termination message; empty where it left none.
        message: String,
        /// How often it was started again; 0 where it had run for long.
        restarts: i32,
    },
    /// The kernel ended the process because it used more memory than it may.
    OutOfMemory {
        /// The memory that it may use.
        limit: String,
        /// How often it was started again.
        restarts: i32,
    },
    /// No node takes the pod.
    Unschedulable {
        /// What the scheduler says.
        message: String,
    },
    /// The process is up and does not become ready.
    NeverReady {
        /// How long that was waited for.
        after: String,
    },
    /// The kubelet could not make the container.
    CreateFailed {
        /// What the kubelet says.
        message: String,
    },
    /// The API server takes no pod.
    PodsRefused {
        /// What it says.
        message: String,
    },
    /// The plugin has not taken the configuration that it was given while it runs.
    ConfigRefused {
        /// What it says.
        message: String,
    },
}

/// The settings of a namespace, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether its plugins are loaded at all.
    pub enabled: bool,
    /// How many plugins may be loaded; absent where any number may.
    pub max_plugins: Option<usize>,
    /// What images may begin with; empty where every image will do.
    pub image_prefixes: Vec<String>,
    /// How many plugins may be on their way up at once.
    pub max_concurrent_rollouts: usize,
    /// What plugins are built with that do not say otherwise.
    pub inherited: Inherited,
    /// What plugins may ask for in their `template`.
    pub permissions: Permissions,
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(None)
    }
}

impl From<Option<&PluginSystem>> for Settings {
    fn from(system: Option<&PluginSystem>) -> Self {
        // A new field must be given its place here: nothing else makes a change of it known.
        let PluginSystemSpec {
            enabled,
            max_plugins,
            image_prefixes,
            max_concurrent_rollouts,
            timeout,
            sandbox,
            templates,
            hosts: _,
            middleware: _,
            middleware_from: _,
            alerts: _,
        } = system.map(|system| system.spec.clone()).unwrap_or_default();
        let count = |limit: Option<i32>| limit.and_then(|limit| usize::try_from(limit).ok());
        Self {
            enabled: enabled.unwrap_or(true),
            max_plugins: count(max_plugins),
            image_prefixes,
            max_concurrent_rollouts: count(max_concurrent_rollouts).unwrap_or(DEFAULT_CONCURRENT_ROLLOUTS),
            inherited: Inherited::new(timeout, sandbox.unwrap_or_default()),
            permissions: Permissions::from(templates.as_ref()),
        }
    }
}

impl Pod {
    /// Whether its processes have ended for good.
    pub fn is_ended(&self) -> bool {
        self.phase == PodPhase::Ended
    }
}

impl Problem {
    /// How often the process was started again.
    pub fn restarts(&self) -> i32 {
        match self {
            Self::Exited { restarts, .. } | Self::OutOfMemory { restarts, .. } => *restarts,
            _ => 0,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImageNotPulled { image, message } => write!(f, "cannot get image {image}: {message}"),
            Self::Exited { code, message, restarts } => {
                write!(f, "exited with code {code}")?;
                if !message.is_empty() {
                    write!(f, ": {message}")?;
                }
                restarted(f, *restarts)
            }
            Self::OutOfMemory { limit, restarts } => {
                f.write_str("was ended for using more memory than it may")?;
                if !limit.is_empty() {
                    write!(f, " ({limit})")?;
                }
                restarted(f, *restarts)
            }
            Self::Unschedulable { message } => write!(f, "no node takes its pod: {message}"),
            Self::NeverReady { after } => write!(f, "is up but was not ready within {after}"),
            Self::CreateFailed { message } => write!(f, "its container cannot be made: {message}"),
            Self::PodsRefused { message } => write!(f, "its pods are refused: {message}"),
            Self::ConfigRefused { message } => write!(f, "does not take its new configuration: {message}"),
        }
    }
}

fn restarted(f: &mut fmt::Formatter<'_>, restarts: i32) -> fmt::Result {
    match restarts {
        ..=0 => Ok(()),
        1 => f.write_str(" (started again once)"),
        times => write!(f, " (started again {times} times)"),
    }
}
