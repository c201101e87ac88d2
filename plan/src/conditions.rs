//! A reason as Kubernetes conditions. Owns the closed set of words that conditions may use as their
//! reason, and which of Ready, Reconciling and Stalled goes with which.
//!
//! Invariant, by the rules of kstatus: Stalled is True only where nothing but a change of the
//! plugin itself (or of its image) helps. What another object can put right is Reconciling, since
//! objects may be applied in any order. What is at rest because its spec or its namespace wants
//! that is Ready: otherwise tools would wait for it for ever.

use forward_config::list;

use crate::{
    config::{ConfigVerdict, Judged},
    decision::ConditionView,
    model::Problem,
    reason::{Cause, Hindrance, Obstacle, Reason, Switch, list_obstacles},
};

/// Starts of a process after which it is taken to fail for good: by then the kubelet waits longer
/// between two starts than any plugin needs to come up.
const CRASHES: i32 = 3;

/// Declares the words and the list of all of them together, so that none can be left out.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Every word that a condition of a plugin can have as its reason. `docs/status.md` says
        /// for each what to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ConditionReason {
            $($(#[$doc])* $name,)*
        }

        impl ConditionReason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// The spec can be carried out.
    Accepted,
    /// The spec says what cannot be.
    InvalidSpec,
    /// The namespace does not allow the image.
    ImageNotAllowed,
    /// The template asks for what the namespace does not allow.
    TemplateNotAllowed,
    /// The API server refused an object of the plugin.
    ObjectRefused,
    /// The configuration fits its schema.
    ConfigValid,
    /// The configuration does not fit its schema.
    ConfigInvalid,
    /// The required dependencies are as the plugin needs them.
    Satisfied,
    /// The plugin needs itself, by way of others.
    Cycle,
    /// A dependency has a version that the plugin does not accept.
    VersionConflict,
    /// A dependency does not exist.
    DependencyMissing,
    /// A dependency's spec is invalid, or asks for what its namespace does not allow.
    DependencyInvalid,
    /// A dependency does not come up.
    DependencyFailed,
    /// A dependency is disabled.
    DependencyDisabled,
    /// A dependency is stopped.
    DependencyStopped,
    /// A dependency is being deleted.
    DependencyDeleting,
    /// A dependency's image is not allowed, or there is no place for it.
    DependencyNotAdmitted,
    /// A dependency's update is held by others.
    DependencyHeld,
    /// A dependency is part of a cycle, or cannot go because of another plugin.
    DependencyBlocked,
    /// Dependencies are on their way.
    WaitingForDependencies,
    /// The current spec is rolled out.
    Available,
    /// The plugin serves.
    Ready,
    /// The plugin serves, but a dependency is not as it needs it.
    Degraded,
    /// As many plugins as may be loaded are.
    TooManyPlugins,
    /// As many plugins as may are on their way up.
    WaitingForSlot,
    /// Dependents that run do not accept the new version.
    DependentsRefuse,
    /// The pods are on their way.
    RollingOut,
    /// A hook runs.
    HookRunning,
    /// A hook has failed.
    HookFailed,
    /// The plugin waits until it is told to start.
    WaitsForStart,
    /// The pods are taking a new configuration.
    Reloading,
    /// The image cannot be had.
    ImageNotPulled,
    /// The process ends.
    Crashing,
    /// The process uses more memory than it may.
    OutOfMemory,
    /// No node takes the pods.
    Unschedulable,
    /// The process is up and does not become ready.
    NeverReady,
    /// The container cannot be made.
    ContainerNotCreated,
    /// The API server takes no pod.
    PodsRefused,
    /// The plugin does not take a configuration while it runs.
    ConfigRefused,
    /// The pods took too long, and none says why.
    ProgressDeadlineExceeded,
    /// The gateway has not looked at it yet.
    WaitingForRegistration,
    /// The plugin is stopped by `suspend`.
    Suspended,
    /// The plugin is stopped by `replicas: 0`.
    ScaledToZero,
    /// The plugin is going to no pods.
    Stopping,
    /// The plugin is unloaded by `enabled: false`.
    Disabled,
    /// The plugin is unloaded by `enabled: false` of the PluginSystem.
    SystemDisabled,
    /// The Deployment is being removed.
    Unloading,
    /// Plugins that run need this one, which is to go down.
    DependentsRunning,
    /// The plugin is being deleted.
    Deleting,
    /// Nothing is under way.
    Settled,
    /// Nothing has failed for good.
    NotStalled,
    /// A required dependency does not serve the plugin, which runs.
    RequiredDependencyLost,
    /// An optional dependency that was there is not any more, or is not as it should be.
    OptionalDependencyLost,
    /// Nothing is lost.
    NotDegraded,
    /// The gateway knows what the plugin offers.
    Registered,
    /// The gateway sees no pod that is ready.
    NoReadyEndpoints,
    /// A pod did not answer when it was asked what it offers.
    DescribeFailed,
    /// Another plugin has a route that this one wants.
    RouteConflict,
    /// The plugin announced a route that cannot be served.
    InvalidRoute,
    /// Middleware of the plugin, or of its namespace, cannot be carried out.
    InvalidMiddleware,
    /// The plugin provides middleware for the requests of others, and may not.
    MiddlewareNotAllowed,
    /// The plugin says that it is well.
    Healthy,
    /// The plugin says that it is not well, or does not answer.
    Unhealthy,
    /// So many pods could not be asked that the gateway mistrusts itself, and goes on sending requests.
    Unanswered,
    /// Nothing is known of the plugin's health.
    Unknown,
}

/// What conditions say besides the reason.
pub struct Situation<'a> {
    /// Whether the plugin is kept from going by a cycle.
    pub cycle: bool,
    /// How many dependencies it has.
    pub needs: usize,
    /// Those that are not as it needs them, optional ones too.
    pub obstacles: &'a [Obstacle],
    /// What is to be thought of its configuration.
    pub judged: &'a Judged,
    /// Whether the current spec is rolled out.
    pub available: bool,
    /// Whether the Deployment controller has given up.
    pub overdue: bool,
    /// What goes on serving meanwhile.
    pub serves_on: Option<String>,
    /// What the plugin, which runs, does without and should not have to.
    pub lost: Vec<&'a Obstacle>,
}

/// Which of the three summaries hold.
enum Phase {
    /// The plugin is as its spec wants it: it serves, or is at rest.
    Ready,
    Reconciling,
    Stalled,
    /// It is as its spec wants it, and says that it is not able to work.
    Unwell,
}

/// All conditions that the operator writes: seven, and ConfigValid where there is a schema.
pub fn view(reason: &Reason, situation: &Situation<'_>) -> Vec<ConditionView> {
    let code = code(reason);
    let message = match &situation.serves_on {
        Some(what) => format!("{reason}; {what} serves on"),
        None => reason.to_string(),
    };
    let phase = phase(reason, situation.overdue);
    let (ready, reconciling, stalled) = match phase {
        Phase::Ready => (true, false, false),
        Phase::Reconciling => (false, true, false),
        Phase::Stalled => (false, false, true),
        Phase::Unwell => (false, false, false),
    };
    let reconciling = match reconciling {
        true => condition("Reconciling", true, &code, &message),
        false => condition("Reconciling", false, ConditionReason::Settled.as_str(), "nothing is under way"),
    };
    let stalled = match stalled {
        true => condition("Stalled", true, &code, &message),
        false => {
            condition("Stalled", false, ConditionReason::NotStalled.as_str(), "nothing has failed for good")
        }
    };
    let mut conditions = vec![accepted(reason)];
    conditions.extend(config_valid(situation.judged));
    conditions.extend([
        dependencies_ready(reason, situation),
        available(reason, &code, &message, situation),
        condition("Ready", ready, &code, &message),
        reconciling,
        stalled,
        degraded(situation),
    ]);
    conditions
}

fn condition(type_: &str, status: bool, reason: &str, message: &str) -> ConditionView {
    ConditionView {
        type_: type_.to_owned(),
        status: if status { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

fn accepted(reason: &Reason) -> ConditionView {
    match reason {
        Reason::Invalid { message } => {
            condition("Accepted", false, ConditionReason::InvalidSpec.as_str(), message)
        }
        Reason::NotAllowed { .. } => {
            condition("Accepted", false, ConditionReason::ImageNotAllowed.as_str(), &reason.to_string())
        }
        Reason::TemplateNotAllowed { .. } => {
            condition("Accepted", false, ConditionReason::TemplateNotAllowed.as_str(), &reason.to_string())
        }
        _ => condition("Accepted", true, ConditionReason::Accepted.as_str(), "the spec can be carried out"),
    }
}

/// Without a schema there is nothing to say.
fn config_valid(Judged { verdict, unknown }: &Judged) -> Option<ConditionView> {
    const TYPE: &str = "ConfigValid";
    match verdict {
        ConfigVerdict::Unjudged => None,
        ConfigVerdict::Fits => {
            let message = match unknown.is_empty() {
                true => "the configuration fits its schema".to_owned(),
                false => format!("the configuration fits its schema, which does not know {unknown}"),
            };
            Some(condition(TYPE, true, ConditionReason::ConfigValid.as_str(), &message))
        }
        ConfigVerdict::Violates(violations) => {
            Some(condition(TYPE, false, ConditionReason::ConfigInvalid.as_str(), &list(violations)))
        }
        ConfigVerdict::Broken(message) => {
            Some(condition(TYPE, false, ConditionReason::InvalidSpec.as_str(), message))
        }
    }
}

fn dependencies_ready(reason: &Reason, situation: &Situation<'_>) -> ConditionView {
    const TYPE: &str = "DependenciesReady";
    if let (true, Reason::Cycle { .. }) = (situation.cycle, reason) {
        return condition(TYPE, false, ConditionReason::Cycle.as_str(), &reason.to_string());
    }
    // What is waited for, where the plugin waits: that can be optional too. Otherwise what is required.
    let mut missing: Vec<&Obstacle> = match reason {
        Reason::Blocked { obstacles, .. } | Reason::Waiting { obstacles, .. } => obstacles.iter().collect(),
        _ => situation.obstacles.iter().filter(|obstacle| !obstacle.optional).collect(),
    };
    missing.sort_by_key(|obstacle| (&obstacle.hindrance, &obstacle.name));
    if let Some(worst) = missing.first() {
        return condition(
            TYPE,
            false,
            hindrance_code(&worst.hindrance).as_str(),
            &list_obstacles(missing.iter().copied()),
        );
    }
    let message = match (situation.needs, situation.obstacles.is_empty()) {
        (0, _) => "it needs no other plugin".to_owned(),
        (_, true) => "all dependencies are ready".to_owned(),
        (_, false) => {
            format!("all required dependencies are ready; optional: {}", list_obstacles(situation.obstacles))
        }
    };
    condition(TYPE, true, ConditionReason::Satisfied.as_str(), &message)
}

fn degraded(situation: &Situation<'_>) -> ConditionView {
    const TYPE: &str = "Degraded";
    let code = match situation.lost.iter().map(|obstacle| obstacle.optional).min() {
        None => {
            let message = "nothing that it needs or had is lost";
            return condition(TYPE, false, ConditionReason::NotDegraded.as_str(), message);
        }
        Some(false) => ConditionReason::RequiredDependencyLost,
        Some(true) => ConditionReason::OptionalDependencyLost,
    };
    condition(TYPE, true, code.as_str(), &list_obstacles(situation.lost.iter().copied()))
}

fn available(reason: &Reason, code: &str, message: &str, situation: &Situation<'_>) -> ConditionView {
    const TYPE: &str = "Available";
    match reason {
        _ if situation.available => {
            let message = "the current spec is rolled out and all its pods are ready";
            condition(TYPE, true, ConditionReason::Available.as_str(), message)
        }
        Reason::Degraded { .. } => {
            condition(TYPE, false, ConditionReason::RollingOut.as_str(), "not all pods are ready")
        }
        _ => condition(TYPE, false, code, message),
    }
}

fn phase(reason: &Reason, overdue: bool) -> Phase {
    match reason {
        Reason::Serving { .. } => Phase::Ready,
        Reason::Degraded { obstacles } if obstacles.iter().all(|obstacle| obstacle.optional) => Phase::Ready,
        Reason::Invalid { .. } | Reason::ConfigInvalid { .. } | Reason::Overdue { .. } => Phase::Stalled,
        Reason::Failed { problem, .. } if overdue || is_final(problem) => Phase::Stalled,
        Reason::HookFailed { .. } => Phase::Stalled,
        Reason::WaitsForStart { .. } => Phase::Ready,
        Reason::Unhealthy { .. } => Phase::Unwell,
        Reason::Stopped { done: true, .. } | Reason::Disabled { done: true, .. } => Phase::Ready,
        Reason::Failed { .. }
        | Reason::NotAllowed { .. }
        | Reason::Surplus { .. }
        | Reason::Degraded { .. }
        | Reason::TemplateNotAllowed { .. }
        | Reason::Cycle { .. }
        | Reason::Blocked { .. }
        | Reason::Waiting { .. }
        | Reason::Queued { .. }
        | Reason::Refused { .. }
        | Reason::RollingOut { .. }
        | Reason::HookRunning { .. }
        | Reason::Reloading { .. }
        | Reason::Unregistered
        | Reason::NotRegistered { .. }
        | Reason::Stopped { .. }
        | Reason::Disabled { .. }
        | Reason::Needed { .. }
        | Reason::Deleting { .. } => Phase::Reconciling,
    }
}

/// Whether a problem does not pass by itself, as far as one can tell. A missing Secret or a full
/// cluster can, and so can a quota; they are given until the Deployment's deadline.
fn is_final(problem: &Problem) -> bool {
    match problem {
        Problem::ImageNotPulled { .. } | Problem::NeverReady { .. } | Problem::ConfigRefused { .. } => true,
        Problem::Exited { restarts, .. } | Problem::OutOfMemory { restarts, .. } => *restarts >= CRASHES,
        Problem::Unschedulable { .. } | Problem::CreateFailed { .. } | Problem::PodsRefused { .. } => false,
    }
}

fn code(reason: &Reason) -> String {
    let code = match reason {
        Reason::NotRegistered { reason, .. } => return reason.clone(),
        Reason::Serving { .. } => ConditionReason::Ready,
        Reason::Degraded { .. } => ConditionReason::Degraded,
        Reason::Invalid { .. } => ConditionReason::InvalidSpec,
        Reason::ConfigInvalid { .. } => ConditionReason::ConfigInvalid,
        Reason::NotAllowed { .. } => ConditionReason::ImageNotAllowed,
        Reason::Surplus { .. } => ConditionReason::TooManyPlugins,
        Reason::TemplateNotAllowed { .. } => ConditionReason::TemplateNotAllowed,
        Reason::Cycle { .. } => ConditionReason::Cycle,
        Reason::Blocked { obstacles, .. } | Reason::Waiting { obstacles, .. } => {
            let worst = obstacles.iter().map(|obstacle| &obstacle.hindrance).min();
            worst.map_or(ConditionReason::WaitingForDependencies, hindrance_code)
        }
        Reason::Queued { .. } => ConditionReason::WaitingForSlot,
        Reason::Refused { .. } => ConditionReason::DependentsRefuse,
        Reason::RollingOut { .. } => ConditionReason::RollingOut,
        Reason::HookRunning { .. } => ConditionReason::HookRunning,
        Reason::HookFailed { .. } => ConditionReason::HookFailed,
        Reason::WaitsForStart { .. } => ConditionReason::WaitsForStart,
        Reason::Reloading { .. } => ConditionReason::Reloading,
        Reason::Failed { problem, .. } => problem_code(problem),
        Reason::Overdue { .. } => ConditionReason::ProgressDeadlineExceeded,
        Reason::Unregistered => ConditionReason::WaitingForRegistration,
        Reason::Unhealthy { .. } => ConditionReason::Unhealthy,
        Reason::Stopped { done: false, .. } => ConditionReason::Stopping,
        Reason::Stopped { suspended: true, .. } => ConditionReason::Suspended,
        Reason::Stopped { suspended: false, .. } => ConditionReason::ScaledToZero,
        Reason::Disabled { done: false, .. } => ConditionReason::Unloading,
        Reason::Disabled { by: Switch::Plugin, .. } => ConditionReason::Disabled,
        Reason::Disabled { by: Switch::System, .. } => ConditionReason::SystemDisabled,
        Reason::Needed { .. } => ConditionReason::DependentsRunning,
        Reason::Deleting { .. } => ConditionReason::Deleting,
    };
    code.as_str().to_owned()
}

fn hindrance_code(hindrance: &Hindrance) -> ConditionReason {
    match hindrance {
        Hindrance::OnItsWay => ConditionReason::WaitingForDependencies,
        Hindrance::Indirect { .. } => ConditionReason::DependencyBlocked,
        Hindrance::Direct(cause) => match cause {
            Cause::Cycle => ConditionReason::DependencyBlocked,
            Cause::VersionConflict => ConditionReason::VersionConflict,
            Cause::Missing => ConditionReason::DependencyMissing,
            Cause::Invalid | Cause::TemplateNotAllowed | Cause::ConfigInvalid => {
                ConditionReason::DependencyInvalid
            }
            Cause::NotAllowed | Cause::Surplus => ConditionReason::DependencyNotAdmitted,
            Cause::Failed(_) | Cause::HookFailed => ConditionReason::DependencyFailed,
            Cause::Disabled => ConditionReason::DependencyDisabled,
            Cause::Stopped | Cause::NotStarted => ConditionReason::DependencyStopped,
            Cause::Deleting => ConditionReason::DependencyDeleting,
            Cause::Held => ConditionReason::DependencyHeld,
        },
    }
}

fn problem_code(problem: &Problem) -> ConditionReason {
    match problem {
        Problem::ImageNotPulled { .. } => ConditionReason::ImageNotPulled,
        Problem::Exited { .. } => ConditionReason::Crashing,
        Problem::OutOfMemory { .. } => ConditionReason::OutOfMemory,
        Problem::Unschedulable { .. } => ConditionReason::Unschedulable,
        Problem::NeverReady { .. } => ConditionReason::NeverReady,
        Problem::CreateFailed { .. } => ConditionReason::ContainerNotCreated,
        Problem::PodsRefused { .. } => ConditionReason::PodsRefused,
        Problem::ConfigRefused { .. } => ConditionReason::ConfigRefused,
    }
}
