//! What is observed of a plugin. The operator writes everything but `routes`, `middleware`,
//! `providesMiddleware`, `health`, `reload`, `configFromChanged`, `configSchema` and the conditions
//! `Registered` and `Healthy`, which the gateway writes: each by server-side apply under a field manager
//! of its own.

use std::{collections::BTreeMap, str::FromStr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, HookStatus, MiddlewareStatus, Plugin, ProvidedMiddleware, Reload, Word};

/// What is observed of a plugin.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PluginStatus {
    /// How far the plugin has come in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PluginState>,
    /// When the operator saw it enter that state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_time: Option<Time>,
    /// How long the newest pod that came up took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// The generation of the spec that the operator last decided on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The version that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Word>,
    /// The hash of the configuration that serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_hash: Option<Word>,
    /// How many pods there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
    /// How many of them are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// The label selector of the pods, for autoscalers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Word>,
    /// The plugins that this one needs, and how they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub dependencies: Vec<DependencyStatus>,
    /// The routes of the plugin, those of the manifest and those it announced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["host".into(), "method".into(), "path".into()]))]
    pub routes: Vec<RouteStatus>,
    /// What the gateway does with requests for the plugin, in the order in which requests meet it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub middleware: Vec<MiddlewareStatus>,
    /// What the plugin has announced that the gateway is to ask it about requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub provides_middleware: Vec<ProvidedMiddleware>,
    /// How the plugin fares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<Health>>,
    /// Of a plugin with `reload: InPlace`: what became of the newest configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Box<ReloadStatus>>,
    /// When pods said that a value of `configFrom` is another one than they started with. Those that
    /// were started before are replaced, unless they take new configurations while they run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_from_changed: Option<Time>,
    /// What became of the plugin's hooks: of those on the way up while it is to run, of those on the
    /// way down while it is not, and of onError the last time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["hook".into()]))]
    pub hooks: Vec<HookStatus>,
    /// The fields of the spec that variables of the operator's environment override, and those
    /// variables that could not be heeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["variable".into(), "field".into()]))]
    pub overrides: Vec<OverrideStatus>,
    /// The schema for the configuration that the plugin announced. Where the spec has none of its
    /// own, and still names the image that announced it, configurations are judged by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Box<AnnouncedSchema>>,
    /// Ready is the summary: the plugin is as its spec wants, which for a plugin that is
    /// stopped or disabled means that nothing of it runs; see `state` for what runs.
    /// Reconciling and Stalled follow kstatus. Degraded says of a plugin that runs, and may be
    /// Ready, that it lost something it needs or uses. The operator writes these and Accepted,
    /// ConfigValid (where there is a schema), DependenciesReady and Available; the gateway writes Registered and Healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

impl PluginStatus {
    /// The condition of a type.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

impl Plugin {
    /// `spec.enabled`, unless it is overridden.
    pub fn is_enabled(&self) -> bool {
        self.overridden("enabled").unwrap_or(self.spec.enabled)
    }

    /// `spec.priority`, unless it is overridden.
    pub fn priority(&self) -> i32 {
        self.overridden("priority").unwrap_or(self.spec.priority)
    }

    /// `spec.reload`, unless it is overridden.
    pub fn reload(&self) -> Reload {
        match self.overridden::<String>("reload").as_deref() {
            Some("Rolling") => Reload::Rolling,
            _ => self.spec.reload,
        }
    }

    /// The value that a field has by what the status says.
    fn overridden<T: FromStr>(&self, field: &str) -> Option<T> {
        let overrides = self.status.as_ref().map_or(&[][..], |status| &status.overrides);
        overrides.iter().find(|it| it.field == field)?.value.as_ref()?.parse().ok()
    }
}

/// How far a plugin has come in its life.
#[derive(
    Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum PluginState {
    /// No pods: not yet free to go, disabled, or going.
    Unloaded,
    /// A process is up.
    Loaded,
    /// Initialize has succeeded.
    Initialized,
    /// Ready: requests are answered.
    Started,
    /// Suspended, or scaled to zero, and nothing answers any more.
    Stopped,
    /// It failed to come up, or to stay up.
    Error,
}

/// How long a pod took to come up, in whole seconds: that is how exactly Kubernetes tells when a
/// container was started and when a pod was ready. When Initialize succeeded it does not tell at
/// all; that is when the operator saw it.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// The pod.
    pub pod: Word,
    /// From the pod's creation until its process was started: finding a node, getting the
    /// image. Earlier runs of a process that failed are part of it.
    #[schemars(range(min = 0))]
    pub load: i64,
    /// From there until Initialize had succeeded; absent before. Where Start was as good as
    /// immediate, its time is in here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub initialize: Option<i64>,
    /// From there until the pod was ready; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub start: Option<i64>,
}

/// How a dependency is.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DependencyStatus {
    /// The name of the plugin that is needed.
    pub name: Word,
    /// The range that its version must be in; absent where every version will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Word>,
    /// Whether the plugin can do without it.
    #[serde(default)]
    pub optional: bool,
    /// Its version; absent where there is no such plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Word>,
    /// Its state; absent where there is no such plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PluginState>,
    /// Whether it satisfies this plugin now.
    pub ready: bool,
    /// Whether it did so since this plugin's current spec runs, and does so no more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lost: bool,
    /// Why it does not; absent when it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Word>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What became of a configuration that pods were given while they ran.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ReloadStatus {
    /// The hash of the configuration.
    pub config_hash: String,
    /// Why a pod has not taken it and goes on with what it had; absent where all pods run with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A field of the spec that a variable of the operator's environment is meant to override.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OverrideStatus {
    /// The field below `spec`: enabled, priority, reload or `config.<key>`.
    pub field: String,
    /// The variable that the value comes from.
    pub variable: String,
    /// The value that counts. Values of the configuration are not shown: they may be secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Why the variable is not heeded; absent where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A route of a plugin and whether the gateway serves it.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RouteStatus {
    /// The host name; empty for every host.
    #[serde(default)]
    pub host: String,
    /// The method, or `*`.
    pub method: String,
    /// The path pattern.
    pub path: String,
    /// Who named the route.
    pub source: RouteSource,
    /// Whether requests for it go to this plugin.
    pub active: bool,
    /// Why they do not; absent when they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Who named a route.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteSource {
    /// The manifest (`spec.http.routes`).
    Manifest,
    /// The plugin itself, through Describe.
    Plugin,
}

/// A schema that a plugin announced, through Describe.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AnnouncedSchema {
    /// The image that announced it.
    pub image: String,
    /// The schema, as JSON, as it was announced: what the API server would do to it as an object,
    /// to nulls and numbers, would make it differ from that.
    pub schema: String,
}

/// How a plugin fares, as it says itself.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// What the plugin says about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Facts for people, as they were when something else was last written, or ten minutes ago.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// When this was first found so.
    pub timestamp: Time,
    /// The ready pods that get no requests while others do, by name: the first hundred.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["pod".into()]))]
    pub unhealthy_pods: Vec<UnhealthyPod>,
}

/// A pod that gets no requests while others of its plugin do.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UnhealthyPod {
    /// Its name.
    pub pod: String,
    /// Why it gets none.
    pub reason: Ailment,
    /// What it said, or why it could not be asked, when that was found.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When that was found.
    pub since: Time,
}

/// Why a pod gets no requests.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ailment {
    /// It says that it is not able to work.
    Unhealthy,
    /// It does not answer the gateway that asks it, and other pods of the plugin do.
    Unanswered,
}

/// Whether a plugin is able to work.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthStatus {
    /// Able to answer requests.
    Healthy,
    /// Every ready pod says that it is not able to: the gateway answers 503 for it.
    Unhealthy,
    /// Nothing is known: no pod is ready, or so many could not be asked that the gateway mistrusts itself.
    Unknown,
}
