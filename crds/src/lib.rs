//! The API of `goforward.dev/v1alpha1`: the types [`Plugin`] and [`PluginSystem`],
//! their documentation (which is what `kubectl explain` prints) and their
//! validation rules (which the API server enforces).
//!
//! Owns what an object may look like. Refuses to own what follows from it: no
//! Kubernetes client, no decision. The YAML in `crds/yaml` is generated from here.
#![warn(missing_docs)]

mod alerts;
mod callers;
mod condition;
mod defaults;
mod definition;
mod document;
mod duration;
mod hooks;
mod middleware;
mod network;
mod plugin;
mod provided;
mod resilience;
mod rules;
mod schema;
mod status;
mod system;
mod templates;
mod validate;
mod word;

pub use alerts::{AlertLabel, AlertName, AlertReceiver, Alertmanager, Alerts, Webhook};
pub use callers::{Algorithm, ApiKey, Jwt, Permissions};
pub use condition::Condition;
pub use defaults::{CPU, MEMORY, TIMEOUT};
pub use definition::definitions;
pub use document::Document;
pub use duration::{Duration, ParseDurationError};
pub use hooks::{FailurePolicy, Hook, HookHttp, HookJob, HookName, HookOutcome, HookStatus, Hooks};
pub use middleware::{
    BodyLimit, Compress, Cors, Header, HeaderChanges, Headers, IpFilter, LogSample, Middleware,
    MiddlewarePhase, MiddlewareSource, MiddlewareState, MiddlewareStatus, RateKey, RateLimit, Redirect,
    Respond, RouteSelector, Scheme, Timeout,
};
pub use network::{Egress, Network, NetworkMode};
pub use plugin::{
    ConfigFrom, Dependency, FileSystem, HealthCheck, Http, Info, KeyRef, Plugin, PluginSpec, PodTemplate,
    Protocol, Reload, Route, Sandbox,
};
pub use provided::{FailureMode, MiddlewareScope, ProvidedBody, ProvidedMiddleware};
pub use resilience::{CircuitBreaker, Concurrency, Fallback, Priority, Retry, RetryCause};
pub use status::{
    Ailment, AnnouncedSchema, DependencyStatus, Health, HealthStatus, OverrideStatus, PluginState,
    PluginStatus, ReloadStatus, RouteSource, RouteStatus, Timings, UnhealthyPod,
};
pub use system::{NetworkDefaults, PluginSystem, PluginSystemSpec, SandboxDefaults};
pub use templates::TemplateRules;
pub use validate::{Validate, ValidateBody};
pub use word::Word;

/// The API group of every type here.
pub const GROUP: &str = "goforward.dev";
/// Label on every object that belongs to a plugin; its value is the plugin's name.
pub const PLUGIN_LABEL: &str = "goforward.dev/plugin";
/// Finalizer by which the operator holds a plugin until nothing needs it any more.
pub const FINALIZER: &str = "goforward.dev/dependents";
/// Annotation that deletes a plugin although others still need it; its value is `"true"`.
pub const FORCE_DELETE: &str = "goforward.dev/force-delete";
/// Annotation that starts a plugin's pods anew whenever its value, which can be anything, changes.
pub const RESTART: &str = "goforward.dev/restart";
/// Annotation that starts a plugin with `autoStart: false`; its value is `"true"`.
pub const START: &str = "goforward.dev/start";
/// Annotation that has the gateway forget what a plugin has said of who asks, whenever its value, which can be
/// anything, changes.
pub const FORGET_CALLERS: &str = "goforward.dev/forget-callers";
/// The one name under which a [`PluginSystem`] is read.
pub const SYSTEM_NAME: &str = "default";
