//! Why a plugin is where it is. Every decision carries one of these values; conditions, events,
//! logs and reports all say it in the words of its `Display`.

use std::fmt;

use forward_config::{Violation, list as list_violations};
use forward_crds::{HookName, PluginState, RESTART, START, Word};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::{
    conflict::{Conflict, Fix, Refusal, Resolution},
    model::Problem,
    permissions::{self, Breach},
};

/// How many names a sentence lists before it says how many more there are: enough for every case
/// that a person can take in, and far below the 32 KiB that a condition's message may have.
const LISTED: usize = 100;

/// Why a plugin is where it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// It serves; without what it can do without.
    Serving {
        /// The version that serves.
        version: String,
        /// Optional dependencies that it works without.
        without: Vec<Obstacle>,
    },
    /// It serves, but not as it should.
    Degraded {
        /// The dependencies that are not as it needs them.
        obstacles: Vec<Obstacle>,
    },
    /// Its spec says what cannot be.
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// Its configuration does not fit its schema.
    ConfigInvalid {
        /// All that is wrong with it.
        violations: Vec<Violation>,
    },
    /// Its namespace does not allow its image.
    NotAllowed {
        /// The image.
        image: String,
        /// What images may begin with.
        allowed: Vec<String>,
    },
    /// As many plugins as may be loaded are, or are before it.
    Surplus {
        /// How many may be.
        limit: usize,
        /// Its number among all: those that are loaded first, then by age.
        rank: usize,
    },
    /// Its template asks for what its namespace does not allow.
    TemplateNotAllowed {
        /// What it asks for.
        breaches: Vec<Breach>,
    },
    /// It needs itself, by way of others.
    Cycle {
        /// Every plugin of the cycle, or of the cycles that hang together.
        members: Vec<String>,
        /// A shortest way round, from this plugin and back to it.
        path: Vec<String>,
        /// What to do: the fewest dependencies without which no cycle is left.
        resolutions: Vec<Resolution>,
    },
    /// It waits for dependencies of which at least one needs somebody to do something.
    Blocked {
        /// All that it waits for, the worst first.
        obstacles: Vec<Obstacle>,
        /// Since when.
        since: Option<Time>,
    },
    /// It waits for dependencies that are on their way.
    Waiting {
        /// All that it waits for.
        obstacles: Vec<Obstacle>,
        /// Since when.
        since: Option<Time>,
    },
    /// It is free to go, and as many plugins as may are on their way.
    Queued {
        /// How many may be.
        limit: usize,
    },
    /// Plugins that run do not accept its new version.
    Refused {
        /// The new version.
        version: String,
        /// Who refuses it.
        dependents: Vec<Refusal>,
        /// What to do. The last lets the new version through.
        resolutions: Vec<Resolution>,
    },
    /// Its pods are on their way.
    RollingOut {
        /// The version that rolls out.
        version: String,
        /// Pods of the new template.
        updated: i32,
        /// Ready pods.
        ready: i32,
        /// Pods wanted.
        wanted: i32,
    },
    /// A hook runs, and what comes after it waits.
    HookRunning {
        /// The hook.
        hook: HookName,
    },
    /// A hook has failed, and is not to be gone past.
    HookFailed {
        /// The hook.
        hook: HookName,
        /// What it said.
        message: String,
        /// The plugin.
        name: String,
    },
    /// It is as far as it goes until somebody says that it is to start.
    WaitsForStart {
        /// The version that waits.
        version: String,
        /// The plugin.
        name: String,
    },
    /// Its pods are told to take its new configuration, and have not said that they have.
    Reloading {
        /// Its version.
        version: String,
    },
    /// Its pods do not come up.
    Failed {
        /// The version that fails.
        version: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Its pods took longer than they may, and none says why.
    Overdue {
        /// The version that fails.
        version: String,
    },
    /// The gateway has not yet looked at what rolled out.
    Unregistered,
    /// The gateway does not register it.
    NotRegistered {
        /// The gateway's reason.
        reason: String,
        /// What the gateway says.
        message: String,
    },
    /// It says that it is not well.
    Unhealthy {
        /// What it says.
        message: String,
    },
    /// It is stopped, as its spec wants.
    Stopped {
        /// By `suspend`; otherwise by `replicas: 0`.
        suspended: bool,
        /// Whether no pod is left.
        done: bool,
    },
    /// It is unloaded, as its spec or its namespace wants.
    Disabled {
        /// Who wants it.
        by: Switch,
        /// Whether nothing of it is left.
        done: bool,
    },
    /// It is to go down, and plugins that run need it.
    Needed {
        /// Who needs it.
        by: Vec<String>,
        /// What is to happen to it.
        purpose: Purpose,
    },
    /// It is being deleted.
    Deleting {
        /// Without regard to who needs it.
        forced: bool,
    },
}

/// Whose `enabled` is false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// The plugin's own.
    Plugin,
    /// That of the PluginSystem.
    System,
}

/// What is to happen to a plugin that goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `suspend` or `replicas: 0`.
    Stop,
    /// `enabled: false`.
    Unload,
    /// Deletion.
    Delete,
}

/// A dependency that is not as a plugin needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The dependency.
    pub name: String,
    /// The range that its version must be in.
    pub range: Option<Word>,
    /// The version that it has.
    pub version: Option<Word>,
    /// Its state.
    pub state: Option<PluginState>,
    /// Whether the plugin can do without it.
    pub optional: bool,
    /// What is the matter with it.
    pub hindrance: Hindrance,
    /// Who cannot agree on it, where the matter is that, and what to do.
    pub conflict: Option<Conflict>,
}

/// What is the matter with a dependency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hindrance {
    /// It is itself the cause.
    Direct(Cause),
    /// It cannot go either; the cause lies further on.
    Indirect {
        /// The plugin that is the cause.
        root: String,
        /// What is the matter with that one.
        cause: Cause,
    },
    /// Nothing: it is on its way.
    OnItsWay,
}

/// Something that does not pass by waiting. The order is that of what to tell first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It is part of a dependency cycle.
    Cycle,
    /// Its version is not accepted.
    VersionConflict,
    /// There is no such plugin.
    Missing,
    /// Its spec says what cannot be.
    Invalid,
    /// Its configuration does not fit its schema.
    ConfigInvalid,
    /// Its image is not allowed.
    NotAllowed,
    /// There are more plugins than may be loaded.
    Surplus,
    /// Its template asks for what its namespace does not allow.
    TemplateNotAllowed,
    /// Its pods do not come up.
    Failed(Failure),
    /// It is disabled.
    Disabled,
    /// One of its hooks has failed.
    HookFailed,
    /// It is stopped.
    Stopped,
    /// It waits until somebody says that it is to start.
    NotStarted,
    /// It is being deleted.
    Deleting,
    /// Its new version is refused by others.
    Held,
}

/// A [`Problem`] without its particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// See [`Problem::ImageNotPulled`].
    ImageNotPulled,
    /// See [`Problem::Exited`].
    Crashing,
    /// See [`Problem::OutOfMemory`].
    OutOfMemory,
    /// See [`Problem::Unschedulable`].
    Unschedulable,
    /// See [`Problem::NeverReady`].
    NeverReady,
    /// See [`Problem::CreateFailed`].
    CreateFailed,
    /// See [`Problem::PodsRefused`].
    PodsRefused,
    /// See [`Problem::ConfigRefused`].
    ConfigRefused,
    /// No pod says why, and the deadline has passed.
    Overdue,
}

impl From<&Problem> for Failure {
    fn from(problem: &Problem) -> Self {
        match problem {
            Problem::ImageNotPulled { .. } => Self::ImageNotPulled,
            Problem::Exited { .. } => Self::Crashing,
            Problem::OutOfMemory { .. } => Self::OutOfMemory,
            Problem::Unschedulable { .. } => Self::Unschedulable,
            Problem::NeverReady { .. } => Self::NeverReady,
            Problem::CreateFailed { .. } => Self::CreateFailed,
            Problem::PodsRefused { .. } => Self::PodsRefused,
            Problem::ConfigRefused { .. } => Self::ConfigRefused,
        }
    }
}

impl Cause {
    /// What others see of a plugin that a hook, or the wait for its start, holds for good.
    pub(crate) fn of_hold(reason: &Reason) -> Option<Self> {
        match reason {
            Reason::HookFailed { .. } => Some(Self::HookFailed),
            Reason::WaitsForStart { .. } => Some(Self::NotStarted),
            _ => None,
        }
    }
}

impl Reason {
    /// Since when the plugin waits; nothing where it does not.
    pub fn since(&self) -> Option<&Time> {
        match self {
            Self::Blocked { since, .. } | Self::Waiting { since, .. } => since.as_ref(),
            _ => None,
        }
    }
}

impl Obstacle {
    /// Whether it is there in a version that is not accepted.
    pub fn is_refused(&self) -> bool {
        self.hindrance == Hindrance::Direct(Cause::VersionConflict)
    }

    /// What is the matter with the dependency, without its name.
    pub fn why(&self) -> String {
        let of = |cause: Cause| match (cause, &self.version, &self.range) {
            (Cause::VersionConflict, Some(version), Some(range)) => {
                format!("its version {version} is not in {range}")
            }
            _ => cause.to_string(),
        };
        match &self.hindrance {
            Hindrance::Direct(cause) => of(*cause),
            Hindrance::Indirect { root, cause: Cause::VersionConflict } => {
                format!("it cannot go because it does not accept the version of {root}")
            }
            Hindrance::Indirect { root, cause } => format!("it cannot go because of {root}: {cause}"),
            Hindrance::OnItsWay => {
                let state = self.state.unwrap_or(PluginState::Unloaded);
                format!("{} is on its way ({state:?})", self.version.as_deref().unwrap_or("it"))
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(range) = &self.range {
            write!(f, " {range}")?;
        }
        write!(f, ": {}", self.why())?;
        self.conflict.as_ref().map_or(Ok(()), |conflict| conflict.fmt(f))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cycle => f.write_str("it is part of a dependency cycle"),
            Self::VersionConflict => f.write_str("its version is not accepted"),
            Self::Missing => f.write_str("there is no such plugin"),
            Self::Invalid => f.write_str("its spec is invalid"),
            Self::ConfigInvalid => f.write_str("its configuration does not fit its schema"),
            Self::NotAllowed => f.write_str("its image is not allowed"),
            Self::Surplus => f.write_str("more plugins than may be loaded are before it"),
            Self::TemplateNotAllowed => {
                f.write_str("its template asks for what its namespace does not allow")
            }
            Self::Failed(failure) => write!(f, "it does not come up ({failure})"),
            Self::Disabled => f.write_str("it is disabled"),
            Self::HookFailed => f.write_str("one of its hooks has failed"),
            Self::Stopped => f.write_str("it is stopped"),
            Self::NotStarted => f.write_str("it waits to be started"),
            Self::Deleting => f.write_str("it is being deleted"),
            Self::Held => f.write_str("its update is held, because plugins that run refuse its new version"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ImageNotPulled => "its image cannot be had",
            Self::Crashing => "its process ends",
            Self::OutOfMemory => "it uses more memory than it may",
            Self::Unschedulable => "no node takes it",
            Self::NeverReady => "it is never ready",
            Self::CreateFailed => "its container cannot be made",
            Self::PodsRefused => "its pods are refused",
            Self::ConfigRefused => "it does not take its new configuration",
            Self::Overdue => "it took too long",
        })
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "stopped",
            Self::Unload => "unloaded",
            Self::Delete => "deleted",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving { version, without } if without.is_empty() => write!(f, "{version} serves"),
            Self::Serving { version, without } => {
                write!(f, "{version} serves without {}", list_obstacles(without))
            }
            Self::Degraded { obstacles } => write!(f, "runs degraded: {}", list_obstacles(obstacles)),
            Self::Invalid { message } => f.write_str(message),
            Self::ConfigInvalid { violations } => {
                write!(f, "the configuration does not fit its schema: {}", list_violations(violations))
            }
            Self::NotAllowed { image, allowed } => write!(
                f,
                "image {image} is not allowed: spec.imagePrefixes of the PluginSystem has {}; use an image from there, or add a prefix of this one",
                list(allowed)
            ),
            Self::Surplus { limit, rank } => write!(
                f,
                "is number {rank} of the plugins to be loaded, and spec.maxPlugins of the PluginSystem is {limit} (those that are loaded come first, then the oldest); delete or disable another, or raise it"
            ),
            Self::TemplateNotAllowed { breaches } => f.write_str(&permissions::tell(breaches)),
            Self::Cycle { members, path, resolutions } => {
                write!(f, "dependency cycle: {}", path.join(" -> "))?;
                if members.len() + 1 > path.len() {
                    write!(f, " (all members: {})", list(members))?;
                }
                Fix(resolutions).fmt(f)
            }
            Self::Blocked { obstacles, .. } | Self::Waiting { obstacles, .. } => {
                write!(f, "waits for {}", list_obstacles(obstacles))
            }
            Self::Queued { limit } => {
                write!(
                    f,
                    "free to go; waits for its turn, since at most {limit} may be on their way up at once"
                )
            }
            Self::Refused { version, dependents, resolutions } => {
                let (who, fix) = (list(dependents), Fix(resolutions));
                write!(f, "{version} is held, because it is refused by {who}{fix}")
            }
            Self::RollingOut { version, updated, ready, wanted } => {
                write!(f, "{version} rolls out: {updated} of {wanted} pods updated, {ready} ready")
            }
            Self::HookRunning { hook } => write!(f, "waits for its hook {hook}"),
            Self::HookFailed { hook, message, name } => write!(
                f,
                "its hook {hook} failed: {message}; mend what it needs, or the hook, and \"kubectl annotate plugin {name} {RESTART}=$(date +%s) --overwrite\" tries again"
            ),
            Self::WaitsForStart { version, name } => write!(
                f,
                "{version} waits, because spec.autoStart is false; \"kubectl annotate plugin {name} {START}=true\" starts it"
            ),
            Self::Reloading { version } => {
                write!(f, "waits to hear that the pods of {version} run with the newest configuration")
            }
            Self::Failed { version, problem, .. } => write!(f, "{version} failed: {problem}"),
            Self::Overdue { version } => {
                write!(f, "{version} failed: it took longer than it may to become ready")
            }
            Self::Unregistered => f.write_str("waits for the gateway to register it"),
            Self::NotRegistered { message, .. } => f.write_str(message),
            Self::Unhealthy { message } if message.is_empty() => f.write_str("reports that it is unhealthy"),
            Self::Unhealthy { message } => write!(f, "reports that it is unhealthy: {message}"),
            Self::Stopped { suspended, done } => {
                let why = if *suspended { "spec.suspend is true" } else { "spec.replicas is 0" };
                write!(f, "{}, because {why}", if *done { "stopped" } else { "stops" })
            }
            Self::Disabled { by, done } => {
                let what = if *done { "unloaded" } else { "is being unloaded" };
                let whose = match by {
                    Switch::Plugin => "",
                    Switch::System => " of the PluginSystem",
                };
                write!(f, "{what}, because spec.enabled{whose} is false")
            }
            Self::Needed { by, purpose } => {
                write!(f, "is to be {purpose}; kept as long as it is needed by {}", list(by))
            }
            Self::Deleting { forced: false } => f.write_str("is being deleted"),
            Self::Deleting { forced: true } => f.write_str("is being deleted without regard to who needs it"),
        }
    }
}

/// Names, or what reads like one.
pub(crate) fn list<T: fmt::Display>(items: &[T]) -> String {
    join(items, ", ")
}

/// Obstacles, which hold commas of their own.
pub fn list_obstacles<'a>(items: impl IntoIterator<Item = &'a Obstacle>) -> String {
    join(&items.into_iter().collect::<Vec<_>>(), "; ")
}

fn join<T: fmt::Display>(items: &[T], separator: &str) -> String {
    let shown: Vec<String> = items.iter().take(LISTED).map(ToString::to_string).collect();
    let more = items.len() - shown.len();
    let text = shown.join(separator);
    if more > 0 { format!("{text} and {more} more") } else { text }
}
