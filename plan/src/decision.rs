//! What is decided for a plugin, and for all of a namespace.

use std::fmt;

use forward_crds::{DependencyStatus, HookStatus, PluginState, Word};

use crate::{hooks::HookCall, model::Stage, reason::Reason};

/// What should happen to a plugin, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// How far the plugin has come.
    pub state: PluginState,
    /// Why it is no further.
    pub reason: Reason,
    /// Its dependencies, by name.
    pub dependencies: Vec<DependencyStatus>,
    /// Accepted, DependenciesReady, Available, Ready, Reconciling, Stalled and Degraded: always all
    /// seven, and ConfigValid where there is a schema to judge the configuration by.
    pub conditions: Vec<ConditionView>,
    /// The version that serves.
    pub version: Option<Word>,
    /// The hash of the configuration that serves.
    pub config_hash: Option<Word>,
    /// What is to be said of its hooks; what is new has no time yet.
    pub hooks: Vec<HookStatus>,
    /// The hooks that are to run now, or run.
    pub calls: Vec<HookCall>,
    /// How far its pods may go; nothing where they do not wait to be permitted.
    pub stage: Option<Stage>,
}

/// What to do about a plugin. Each can be done again without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Apply the objects of the current spec.
    Apply,
    /// Leave what runs, or does not run, as it is.
    Hold,
    /// Apply the objects of the current spec with no pods.
    Stop,
    /// Remove the Deployment.
    Unload,
    /// Remove everything, then the finalizer: nothing needs the plugin any more.
    Delete,
}

/// A condition without what only the writer knows: when it changed and for which generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionView {
    /// The condition's type.
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in a word: one of [`crate::ConditionReason`], or the gateway's.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}

/// Everything that is decided for a namespace at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What is to be done now. Steps do not wait for each other; the order is that in which to
    /// begin: what goes down first, dependents before what they need, then what goes up, what is
    /// needed before who needs it and higher priority before lower.
    pub steps: Vec<Step>,
    /// The decision for every plugin, dependencies before dependents.
    pub decisions: Vec<(String, Decision)>,
}

/// Something that is to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The plugin.
    pub name: String,
    /// What.
    pub change: Change,
}

/// A change to what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Start it where nothing of it is there.
    Start {
        /// The version.
        version: String,
    },
    /// Bring what is there to the current spec.
    Update {
        /// The version that is there.
        from: String,
        /// The version to come.
        version: String,
    },
    /// Go to no pods.
    Stop,
    /// Remove the Deployment.
    Unload,
    /// Remove everything.
    Delete,
}

impl Change {
    /// Whether the plugin goes down.
    pub fn is_down(&self) -> bool {
        matches!(self, Self::Stop | Self::Unload | Self::Delete)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, change } = self;
        match change {
            Change::Start { version } => write!(f, "start {name} {version}"),
            Change::Update { from, version } if from == version => write!(f, "update {name} {version}"),
            Change::Update { from, version } => write!(f, "update {name} {from} -> {version}"),
            Change::Stop => write!(f, "stop {name}"),
            Change::Unload => write!(f, "unload {name}"),
            Change::Delete => write!(f, "delete {name}"),
        }
    }
}
