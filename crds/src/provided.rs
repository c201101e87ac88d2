//! Middleware that plugins provide: what the gateway asks them about requests.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Duration, MiddlewarePhase, RouteSelector,
    rules::{middleware as names, provided as own},
};

/// A middleware that a plugin provides: the gateway asks the plugin about requests before they go on
/// (the service goforward.plugin.v1.Middleware). Each plugin whose requests meet it lists it in
/// `status.middleware`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = own::plugins_are_for_named(),
    validation = own::identity_is_closed(),
    validation = own::cache_is_of_callers()
)]
pub struct ProvidedMiddleware {
    /// The name, by which the plugin knows which one it is asked for.
    #[schemars(length(max = 63))]
    #[x_kube(validation = names::name())]
    pub name: String,
    /// When it acts on a request; on the answer it is the other way round.
    pub phase: MiddlewarePhase,
    /// Who acts first within the phase. Higher is first.
    #[serde(default)]
    #[schemars(range(min = -1_000_000, max = 1_000_000))]
    pub priority: i32,
    /// Whose requests it is for. What is beyond the plugin's own, `middlewareFrom` of the namespace's
    /// PluginSystem must allow.
    #[serde(default)]
    pub scope: MiddlewareScope,
    /// With `scope: Named`, the plugins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 50), regex(pattern = "^[a-z]([-a-z0-9]*[a-z0-9])?$")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub plugins: Vec<String>,
    /// The routes that it is for, of the plugins whose requests it is for. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub routes: Vec<RouteSelector>,
    /// What happens to a request when the plugin gives no answer. In the phases Authenticate and
    /// Authorize it is always Closed.
    #[serde(default)]
    pub failure_mode: FailureMode,
    /// How long an answer may take, at most 10s. Absent: 500ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = own::deadline_is_short())]
    pub deadline: Option<Duration>,
    /// Whether the plugin is asked about the answers too, on their way back.
    #[serde(default)]
    pub response: bool,
    /// Show the plugin the bodies of requests. Absent: it is not shown them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<ProvidedBody>,
    /// In the phase Authenticate: the headers of a request on which alone it depends who asks, for
    /// example Authorization. What the plugin says with a time to keep it then holds for that long, 60s
    /// at most, for requests for the same plugin with the same values in all of them. Absent: the
    /// plugin is asked about each request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(length(min = 1, max = 64), regex(pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"))
    )]
    #[x_kube(validation = names::header_names_are_not_ours(), merge_strategy = ListMerge::Set)]
    pub cache_by: Vec<String>,
}

/// The bodies of requests that a plugin is shown. Each is waited for whole before the plugin is asked.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProvidedBody {
    /// The most bytes. What is larger gets 413, and is not asked about.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub max_bytes: i64,
}

/// Whose requests a middleware of a plugin is for.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MiddlewareScope {
    /// Those for the plugin's own routes.
    #[default]
    Own,
    /// Those for the plugins that `plugins` names.
    Named,
    /// Those for all other plugins of the namespace.
    All,
}

/// What happens to a request when the plugin that is asked about it gives no answer.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureMode {
    /// The client gets 503.
    #[default]
    Closed,
    /// It goes on as if there were no such middleware.
    Open,
}
