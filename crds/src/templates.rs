//! What the plugins of a namespace may ask of Kubernetes beyond their sandbox.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What `template` of the namespace's plugins may say of those of its fields that lead out of
/// the sandbox. In each list `*` stands for every name. A plugin that asks for more is not
/// accepted: what runs of it stays as it is.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TemplateRules {
    /// ServiceAccounts that `template.serviceAccountName` may name. Their tokens are mounted: the
    /// plugin can do what they may. Absent: none, so that each plugin has its own without rights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub service_account_names: Vec<String>,
    /// PriorityClasses that `template.priorityClassName` may name: pods of a higher one drive out
    /// others. Absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub priority_class_names: Vec<String>,
    /// Keys of the taints that `template.tolerations` may name. A toleration without a key, which
    /// is one of every taint, needs `*`. Absent: every key but those of the nodes' roles, as of
    /// the control plane (node-role.kubernetes.io/…).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 317)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub toleration_keys: Option<Vec<String>>,
}
