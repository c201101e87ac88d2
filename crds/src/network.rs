//! Which other processes a plugin's pods may reach.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::rules;

/// What a plugin's pods may reach. The operator writes it as a NetworkPolicy, which the cluster's
/// network must enforce.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::egress_needs_declared())]
pub struct Network {
    /// How far connections may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<NetworkMode>,
    /// What the plugin may reach besides its dependencies. For mode Declared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub egress: Vec<Egress>,
}

/// How far the connections of a plugin's pods may go. None: nowhere, not even to DNS. Declared: to
/// the plugins in `dependencies`, to DNS, and to what `egress` names. All: anywhere. Absent:
/// Declared where the plugin has `egress`, else the PluginSystem's, else All. Whatever the mode,
/// connections come in from the gateway, the kubelet and, but with None, from plugins that name this
/// one in their `dependencies` or `egress`.
#[derive(Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// Nowhere.
    None,
    /// To what the plugin declares.
    Declared,
    /// Anywhere.
    #[default]
    All,
}

/// Something that a plugin may reach: plugins, pods or addresses. There is no way to name hosts:
/// a NetworkPolicy knows none.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::exactly_one_peer(),
    validation = rules::except_needs_cidr(),
    validation = rules::except_is_inside(),
    validation = rules::ports_are_not_for_plugins()
)]
pub struct Egress {
    /// A plugin of the same namespace, by name. That plugin lets this one in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 50))]
    #[x_kube(validation = rules::dependency_name())]
    pub plugin: Option<String>,
    /// Pods of the same namespace, by their labels, for example of a database that is no plugin.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub pods: BTreeMap<String, String>,
    /// Addresses, for example 10.0.0.0/8. Whether the addresses of pods and Services count is up to
    /// the cluster's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 43))]
    #[x_kube(validation = rules::cidr_is_network())]
    pub cidr: Option<String>,
    /// Addresses of `cidr` that may not be reached, for example 10.1.0.0/16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 43)))]
    #[x_kube(validation = rules::cidrs_are_networks(), merge_strategy = ListMerge::Set)]
    pub except: Vec<String>,
    /// The TCP ports. Empty: all ports of all protocols.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = 1, max = 65_535)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ports: Vec<i32>,
}
