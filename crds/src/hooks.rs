//! What is to be done around the steps of a plugin's life, and what became of it.

use std::fmt;

use k8s_openapi::{api::core::v1::EnvVar, apimachinery::pkg::apis::meta::v1::Time};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, defaults, rules};

/// What is to be done around the steps of a plugin's life. Hooks are the plugin's and not those of
/// each pod: they run once for each spec that it is brought to, and once when it stops as a whole.
/// Each runs at least once, and may run again where the operator was interrupted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Hooks {
    /// Before pods of a new spec are made. With Abort none are: what ran before serves on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_load: Option<Hook>,
    /// Once the process of the first pod is up. Needs protocol Grpc, as it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_load: Option<Hook>,
    /// Before pods initialize, which wait for it. Needs protocol Grpc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_initialize: Option<Hook>,
    /// Once the first pod has initialized. Needs protocol Grpc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_initialize: Option<Hook>,
    /// Before pods start, which wait for it. Needs protocol Grpc.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_start: Option<Hook>,
    /// Once all pods of the new spec are ready. With Abort the plugin is stalled, and runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_start: Option<Hook>,
    /// Before the plugin's pods go because it is suspended, scaled to zero, disabled or deleted.
    /// With Abort they stay, unless the plugin is deleted: that is only ever held up for as long as
    /// the hook runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_stop: Option<Hook>,
    /// Once no pod is left of a plugin that was suspended, scaled to zero, disabled or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_stop: Option<Hook>,
    /// Whenever the plugin enters the state Error. `failurePolicy` makes no difference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<Hook>,
}

/// Something to be done: a Job to run, or a Service to call.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one_call())]
pub struct Hook {
    /// A Job to run, in the plugin's sandbox and with its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<HookJob>,
    /// A Service to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HookHttp>,
    /// How long it may take, for a Job including the time until its pod runs. Absent: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// What its failure means.
    #[serde(default)]
    pub failure_policy: FailurePolicy,
}

/// What the failure of a hook means.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// The plugin goes no further, and says so.
    #[default]
    Abort,
    /// The plugin goes on; `status.hooks` tells of it.
    Continue,
}

/// A container that runs to its end. Exit code 0 is success; it is not tried again. What the hook
/// is about is in variables whose names start with GOFORWARD_HOOK.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::job_says_what_to_run())]
pub struct HookJob {
    /// The image. The PluginSystem must allow it, as that of the plugin. Absent: the plugin's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = rules::image_is_reference())]
    pub image: Option<String>,
    /// What to run instead of the image's entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub command: Vec<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub args: Vec<String>,
    /// Environment variables to add to those that the plugin has. Those that start with GOFORWARD_
    /// are the operator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::variables_are_not_ours(), merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
}

/// A Service to send a POST to, with a JSON object that says what it is about (a CloudEvent). Any
/// answer of 2xx is success; redirects are not followed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HookHttp {
    /// The name of a Service in the plugin's namespace. It must select pods: one that leads
    /// elsewhere is not called.
    #[schemars(length(max = 63))]
    #[x_kube(validation = rules::service_is_name())]
    pub service: String,
    /// The port of the Service.
    #[serde(default = "defaults::hook_port")]
    #[schemars(default = "defaults::hook_port", range(min = 1, max = 65_535))]
    pub port: i32,
    /// The path to send to.
    #[serde(default = "defaults::hook_path")]
    #[schemars(default = "defaults::hook_path", length(max = 1024))]
    #[x_kube(validation = rules::path_is_absolute())]
    pub path: String,
}

/// The name of a hook, in the order of a plugin's life.
#[derive(
    Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash,
)]
#[serde(rename_all = "camelCase")]
pub enum HookName {
    /// See `spec.hooks.beforeLoad`.
    BeforeLoad,
    /// See `spec.hooks.afterLoad`.
    AfterLoad,
    /// See `spec.hooks.beforeInitialize`.
    BeforeInitialize,
    /// See `spec.hooks.afterInitialize`.
    AfterInitialize,
    /// See `spec.hooks.beforeStart`.
    BeforeStart,
    /// See `spec.hooks.afterStart`.
    AfterStart,
    /// See `spec.hooks.beforeStop`.
    BeforeStop,
    /// See `spec.hooks.afterStop`.
    AfterStop,
    /// See `spec.hooks.onError`.
    OnError,
}

/// What became of a hook.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookOutcome {
    /// It is to run once what it waits for has come.
    Pending,
    /// It is to run now, or runs.
    Running,
    /// It has done what it should.
    Succeeded,
    /// It has not.
    Failed,
    /// It could not be run, and was done without.
    Skipped,
}

/// What became of a hook the last time.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// The hook.
    pub hook: HookName,
    /// The spec that it was run for, in a word: it changes with everything but `replicas`,
    /// `priority`, `enabled`, `suspend` and `info`.
    pub revision: String,
    /// What became of it.
    pub outcome: HookOutcome,
    /// What is to be said about that: the exit code, the status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Since when that is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
}

impl Hooks {
    /// The hook of a name, where there is one.
    pub fn get(&self, name: HookName) -> Option<&Hook> {
        let Self {
            before_load,
            after_load,
            before_initialize,
            after_initialize,
            before_start,
            after_start,
            before_stop,
            after_stop,
            on_error,
        } = self;
        match name {
            HookName::BeforeLoad => before_load.as_ref(),
            HookName::AfterLoad => after_load.as_ref(),
            HookName::BeforeInitialize => before_initialize.as_ref(),
            HookName::AfterInitialize => after_initialize.as_ref(),
            HookName::BeforeStart => before_start.as_ref(),
            HookName::AfterStart => after_start.as_ref(),
            HookName::BeforeStop => before_stop.as_ref(),
            HookName::AfterStop => after_stop.as_ref(),
            HookName::OnError => on_error.as_ref(),
        }
    }

    /// Those that there are, in the order of a plugin's life.
    pub fn iter(&self) -> impl Iterator<Item = (HookName, &Hook)> {
        HookName::ALL.into_iter().filter_map(|name| Some((name, self.get(name)?)))
    }
}

impl Hook {
    /// How long it may take.
    pub fn limit(&self) -> Duration {
        self.timeout.unwrap_or(defaults::HOOK_TIMEOUT)
    }
}

impl HookName {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::BeforeLoad,
        Self::AfterLoad,
        Self::BeforeInitialize,
        Self::AfterInitialize,
        Self::BeforeStart,
        Self::AfterStart,
        Self::BeforeStop,
        Self::AfterStop,
        Self::OnError,
    ];

    /// The name as manifests have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeLoad => "beforeLoad",
            Self::AfterLoad => "afterLoad",
            Self::BeforeInitialize => "beforeInitialize",
            Self::AfterInitialize => "afterInitialize",
            Self::BeforeStart => "beforeStart",
            Self::AfterStart => "afterStart",
            Self::BeforeStop => "beforeStop",
            Self::AfterStop => "afterStop",
            Self::OnError => "onError",
        }
    }
}

impl fmt::Display for HookName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
