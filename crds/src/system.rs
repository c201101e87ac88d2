//! `PluginSystem`: what holds for all plugins of a namespace.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{Alerts, Duration, Middleware, NetworkMode, TemplateRules, rules};

/// The settings. What is absent has the default that the field names.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "goforward.dev",
    version = "v1alpha1",
    kind = "PluginSystem",
    doc = "Settings for all plugins of a namespace. There is one, named `default`; without it \
           everything has the default that the field names.",
    plural = "pluginsystems",
    shortname = "plgsys",
    category = "forward",
    namespaced,
    derive = "PartialEq",
    printcolumn(name = "Rollouts", type_ = "integer", json_path = ".spec.maxConcurrentRollouts"),
    printcolumn(name = "Timeout", type_ = "string", json_path = ".spec.timeout"),
    printcolumn(name = "Hosts", type_ = "string", json_path = ".spec.hosts"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::system_name()
)]
#[serde(rename_all = "camelCase")]
pub struct PluginSystemSpec {
    /// Whether the plugins of the namespace are loaded at all. With false they are unloaded,
    /// dependents first, as if each had `enabled: false`; with true those that are enabled
    /// themselves come back, dependencies first. Absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// How many plugins may be loaded at the same time. Those that are loaded keep their
    /// places, also when this is lowered; places that are left go to the oldest, by creation
    /// and then by name. Disabled plugins need no place. Absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_plugins: Option<i32>,
    /// What `image` of plugins may begin with, in whole components of its path:
    /// `registry.example/team` allows `registry.example/team/cart:1`, and not
    /// `registry.example/team-b/cart:1`. An image without a host is one of docker.io. What
    /// already runs goes on when its image is no longer allowed. Absent: every image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 512)))]
    #[x_kube(validation = rules::image_prefixes_have_host(), merge_strategy = ListMerge::Set)]
    pub image_prefixes: Vec<String>,
    /// How many plugins may be on their way up at the same time. Absent: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_concurrent_rollouts: Option<i32>,
    /// `sandbox.timeout` of plugins that do not set it. Absent: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// `sandbox` of plugins that do not set it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxDefaults>,
    /// What `template` of the plugins may ask for. Absent: nothing that leads out of the sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub templates: Option<TemplateRules>,
    /// The host names of the application: routes of this namespace that name no host are
    /// served under these. No plugin of another namespace is, unless its PluginSystem has the host too. Absent:
    /// under every host that is in no PluginSystem.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = rules::hosts_are_names(), merge_strategy = ListMerge::Set)]
    pub hosts: Vec<String>,
    /// What the gateway does with requests for all plugins of the namespace, besides what each of
    /// them has it do with its own. Limits are counted for each plugin by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub middleware: Vec<Middleware>,
    /// The plugins whose middleware may be for requests of other plugins: each may answer them, and
    /// sees what they carry. Absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 50), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub middleware_from: Vec<String>,
    /// Who is told when plugins are not as they should be. Absent: nobody but who looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<Alerts>,
}

/// `sandbox` of plugins that do not set it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SandboxDefaults {
    /// The memory of each pod. Absent: 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::quantity_is_positive())]
    pub memory: Option<Quantity>,
    /// The CPU that each pod may use at most. Absent: 500m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::quantity_is_positive())]
    pub cpu: Option<Quantity>,
    /// What plugins may reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkDefaults>,
}

/// `sandbox.network` of plugins that do not set it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NetworkDefaults {
    /// How far connections may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetworkMode>,
}
