//! `Plugin`: one plugin of an application, and what it wants.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Affinity, EnvVar, LocalObjectReference, Toleration, TopologySpreadConstraint},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    Document, Duration, Hooks, Middleware, Network, PluginStatus, ProvidedMiddleware, Word, defaults, rules,
    schema,
};

/// What is wanted of a plugin.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "goforward.dev",
    version = "v1alpha1",
    kind = "Plugin",
    doc = "A plugin: a container that adds routes to the application. The operator runs it once \
           what it depends on has started; the gateway sends it its requests.",
    plural = "plugins",
    shortname = "plg",
    category = "forward",
    namespaced,
    status = "PluginStatus",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Health", type_ = "string", json_path = ".status.health.status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Priority", type_ = "integer", json_path = ".spec.priority", priority = 1),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1
    ),
    selectable = ".spec.version",
    validation = rules::plugin_name(),
    validation = rules::dependency_is_not_self()
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::health_path_needs_http_protocol(), validation = rules::http_protocol_needs_routes(),
    validation = rules::reload_in_place_needs_grpc_protocol(), validation = rules::hooks_in_pods_need_grpc_protocol(),
    validation = rules::provided::needs_grpc_protocol())]
pub struct PluginSpec {
    /// The plugin's version (Semantic Versioning 2.0.0). Other plugins' ranges are
    /// compared with it; it should be the version of what `image` holds.
    #[schemars(length(max = 64))]
    #[x_kube(validation = rules::version_is_semver())]
    pub version: String,

    /// The container image to run.
    #[schemars(length(max = 512))]
    #[x_kube(validation = rules::image_is_reference())]
    pub image: String,

    /// How the plugin is spoken to. Grpc: it serves the contract goforward.plugin.v1
    /// (the SDKs do), so it can announce routes and report its health. Http: any HTTP
    /// image; its routes stand in `http.routes`, its health is that of its probe.
    #[serde(default)]
    pub protocol: Protocol,

    /// Facts for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub info: Option<Box<Info>>,

    /// Whether the plugin is loaded at all. With false its Deployment is removed and its
    /// state is Unloaded; its Service, config and place in the graph stay.
    #[serde(default = "defaults::enabled")]
    #[schemars(default = "defaults::enabled")]
    pub enabled: bool,

    /// Stop the plugin without unloading it: its Deployment is kept at zero replicas and
    /// its state is Stopped.
    #[serde(default)]
    pub suspend: bool,

    /// Whether the plugin is started once it is initialized. With false it waits there, until the
    /// annotation goforward.dev/start of the plugin is "true"; what ran before serves on. With
    /// protocol Http, where nobody can be asked to wait, no pods are made until then.
    #[serde(default = "defaults::auto_start")]
    #[schemars(default = "defaults::auto_start")]
    pub auto_start: bool,

    /// Who goes first where several could: among plugins that are free to start (when
    /// rollouts are limited) and among plugins that claim the same route. Higher is first.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,

    /// How many pods run the plugin. `kubectl scale` and a HorizontalPodAutoscaler set this
    /// field. With 0 the plugin is Stopped.
    #[serde(default = "defaults::replicas")]
    #[schemars(default = "defaults::replicas", range(min = 0, max = 1_000))]
    pub replicas: i32,

    /// Plugins of the same namespace that this one needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub dependencies: Vec<Dependency>,

    /// The plugin's configuration, any JSON object. It reaches the plugin as the file
    /// config.json; `reload` says what a change does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub config: Option<Document>,

    /// Values of the configuration that stand in Secrets and ConfigMaps. The operator never
    /// reads them: the kubelet mounts them next to config.json.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["path".into()]))]
    pub config_from: Vec<ConfigFrom>,

    /// What a change of `config` does. Rolling: the pods are replaced, as by any other change.
    /// InPlace: the pods stay, and the plugin is told to take the new configuration; one that it
    /// refuses changes nothing and shows in the status. A change of the Secrets and ConfigMaps that
    /// `configFrom` names does the same once the kubelet has brought it, within about a minute.
    #[serde(default)]
    pub reload: Reload,

    /// What the configuration must be like: a schema of JSON Schema 2020-12. Its defaults are
    /// filled in before the plugin sees the configuration. A configuration that does not fit is
    /// refused and, where it got in, never rolled out: what ran before serves on. Values of `configFrom` are judged by the plugin
    /// when it starts. References within the schema only; patterns without look-around.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub config_schema: Option<Document>,

    /// The port the plugin listens on and the routes it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,

    /// What the gateway is to ask the plugin about requests, besides what it announces itself; one
    /// that both name is as it stands here. Only what stands here is there before the plugin has
    /// announced anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub provides_middleware: Vec<ProvidedMiddleware>,

    /// How often and how patiently the plugin's health is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Box<HealthCheck>>,

    /// What the plugin may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,

    /// What is to be done around the steps of the plugin's life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Box<Hooks>>,

    /// Overrides for the plugin's pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Box<PodTemplate>>,
}

/// How a plugin is spoken to.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The plugin serves the contract goforward.plugin.v1.
    #[default]
    Grpc,
    /// Any HTTP image.
    Http,
}

/// What a change of the configuration does.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reload {
    /// New pods, which start with it.
    #[default]
    Rolling,
    /// The pods take it while they run.
    InPlace,
}

/// Facts about a plugin for people. Nothing is decided from them.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Info {
    /// What the plugin does, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub author: Option<String>,
    /// Its licence, as an SPDX expression, for example Apache-2.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub license: Option<String>,
    /// The address of its home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub homepage: Option<String>,
    /// The address of its source repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub repository: Option<String>,
}

/// A plugin that another one needs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// The name of the plugin.
    #[schemars(length(max = 50))]
    #[x_kube(validation = rules::dependency_name())]
    pub name: Word,
    /// The versions that will do, for example `1.2` (the same as `^1.2`), `~1.2.3` or
    /// `>=1.2, <3`. Absent: every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[x_kube(validation = rules::range_is_semver())]
    pub version: Option<Word>,
    /// An optional dependency is waited for while it is on its way up, and done without
    /// where it is absent, broken or stopped.
    #[serde(default)]
    pub optional: bool,
}

/// A value of the configuration that stands in a Secret or a ConfigMap.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one_source())]
pub struct ConfigFrom {
    /// Where the value goes in the configuration: a JSON pointer (RFC 6901), for example
    /// `/api_key`. Objects on the way are made; a value of `config` there is replaced.
    #[schemars(length(max = 256))]
    #[x_kube(validation = rules::path_is_json_pointer())]
    pub path: String,
    /// A key of a Secret in the plugin's namespace. Its value is a JSON string there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
    /// A key of a ConfigMap in the plugin's namespace. Its value is a JSON string there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
}

/// A key of a Secret or ConfigMap.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// The name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// The port a plugin listens on and the routes it answers.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// The port that the plugin listens on in its container.
    #[serde(default = "defaults::port")]
    #[schemars(default = "defaults::port", range(min = 1, max = 65_535))]
    pub port: i32,
    /// Routes that the gateway sends to the plugin, besides those that it announces itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["host".into(), "method".into(), "path".into()]))]
    pub routes: Vec<Route>,
    /// What the gateway does with requests for the plugin, besides what the namespace's PluginSystem
    /// has it do with those for all plugins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub middleware: Vec<Middleware>,
}

impl Default for Http {
    fn default() -> Self {
        Self { port: defaults::port(), routes: Vec::new(), middleware: Vec::new() }
    }
}

/// Requests that go to a plugin.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The host name that is asked for. Empty: every host of the namespace (see
    /// PluginSystem), or every host at all.
    #[serde(default)]
    #[schemars(length(max = 253))]
    #[x_kube(validation = rules::host_is_name())]
    pub host: String,
    /// The method: GET (which answers HEAD too), POST, …, or `*` for all.
    #[serde(default = "defaults::method")]
    #[schemars(default = "defaults::method", length(max = 16))]
    #[x_kube(validation = rules::method_is_known())]
    pub method: String,
    /// The path: literal segments, `:name` for one segment, `*name` at the end for the
    /// rest, for example `/api/payments/:id/refund`. A literal goes before a parameter.
    #[schemars(length(max = 512))]
    #[x_kube(validation = rules::path_is_pattern())]
    pub path: String,
}

/// How a plugin's health is asked.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// For protocol Http: a path that answers with a status below 400 when the plugin is
    /// able to work. Absent: the port accepts connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    #[x_kube(validation = rules::path_is_absolute())]
    pub path: Option<String>,
    /// The time between two questions, at least 1s. Absent: 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::duration_is_a_second())]
    pub interval: Option<Duration>,
    /// How long an answer may take. Absent: 2s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// After how many failures in a row a pod counts as unhealthy: answers that it is, or none. It
    /// gets no requests while other pods are healthy. Absent: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub failure_threshold: Option<i32>,
    /// After how many answers in a row that it is well a pod that was unhealthy counts as healthy
    /// again. Absent: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub success_threshold: Option<i32>,
    /// With more than so many of a hundred pods without an answer, the gateway takes itself for
    /// the one that fails: it goes on sending them requests, and the health is Unknown. Pods that say
    /// themselves that they are unhealthy do not count. Absent: 50.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub panic_percent: Option<i32>,
}

/// What a plugin may use. What is absent comes from the namespace's PluginSystem, else from
/// the default that the field names.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::tmp_size_needs_tmp())]
pub struct Sandbox {
    /// The memory of each pod, requested and not to be passed. Absent: 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::quantity_is_positive())]
    pub memory: Option<Quantity>,
    /// The CPU that each pod may use at most; a tenth of it is requested. Absent: 500m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::quantity_is_positive())]
    pub cpu: Option<Quantity>,
    /// What of the container's file system can be written. /tmp lives in memory and counts
    /// against it.
    #[serde(default)]
    pub filesystem: FileSystem,
    /// How much /tmp may hold. Absent: as much as there is memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::quantity_is_positive())]
    pub tmp_size: Option<Quantity>,
    /// What the plugin may reach.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// How long each of Initialize, Start and Stop may take. Absent: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// What of a container's file system can be written.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileSystem {
    /// Only /tmp can be written.
    #[default]
    ReadOnly,
    /// All of it can be written; nothing outlives the container.
    ReadWrite,
    /// Nothing can be written, and there is no /tmp of its own: only the message that a process
    /// leaves at its end, in /dev/termination-log.
    None,
}

/// Overrides for a plugin's pods. Every field has the meaning it has in a Pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels to add to the pods. Those under goforward.dev/ are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = rules::keys_are_not_ours())]
    pub labels: BTreeMap<String, String>,
    /// Annotations to add to the pods. Those under goforward.dev/ are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    #[x_kube(validation = rules::keys_are_not_ours())]
    pub annotations: BTreeMap<String, String>,
    /// Environment variables to add. Those that start with GOFORWARD_ are the operator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = rules::variables_are_not_ours(), merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Secrets with the credentials of image registries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The ServiceAccount of the pods; the PluginSystem must allow it. Absent: one of the
    /// plugin's own, named after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// The nodes that the pods may run on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// The taints that the pods tolerate; the PluginSystem says which they may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Where the pods would rather run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How the pods are spread over the nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The PriorityClass of the pods; the PluginSystem must allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
}
