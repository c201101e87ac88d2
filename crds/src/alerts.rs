//! Who is told when plugins of a namespace are not as they should be.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{Duration, rules};

/// Who is told when plugins of the namespace are not as they should be, and how.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Alerts {
    /// How long something must be wrong until it is told. Absent: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#for: Option<Duration>,
    /// Those that are told, each by itself: one that does not answer keeps nothing from the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub receivers: Vec<AlertReceiver>,
}

/// One that is told.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::exactly_one_receiver())]
pub struct AlertReceiver {
    /// What it is called.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// The alerts that it is told of. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub alerts: Vec<AlertName>,
    /// An Alertmanager, which groups, repeats and passes on itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alertmanager: Option<Alertmanager>,
    /// What takes the webhooks of Alertmanager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// An Alertmanager, spoken to by its API in version 2.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Alertmanager {
    /// Its address, without `/api/v2/alerts`, and without `?` and `#`. Without TLS it must be one that
    /// the gateway's operator allows.
    #[schemars(
        length(max = 512),
        regex(pattern = "^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!\"$->@-~]*)?$")
    )]
    pub url: String,
}

/// What takes the webhooks of Alertmanager: version 4 of their payload, by POST.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Its address, without `#`. Without TLS it must be one that the gateway's operator allows.
    #[schemars(length(max = 512), regex(pattern = "^https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!\"$-~]*)?$"))]
    pub url: String,
    /// The labels by which alerts are told together: those that have the same values. Absent:
    /// namespace and alertname.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub group_by: Vec<AlertLabel>,
    /// How long others are waited for before a group is told the first time. Absent: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<Duration>,
    /// How long after a group was told it is told what has changed in it. Absent: 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_interval: Option<Duration>,
    /// How long after a group was told it is told once more, where nothing has changed. Absent: 4h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_interval: Option<Duration>,
    /// Whether it is told that alerts are over. Absent: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_resolved: Option<bool>,
}

/// What can be wrong with a plugin.
#[derive(
    Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
pub enum AlertName {
    /// Every ready pod says that it is not able to work: requests get 503.
    PluginUnhealthy,
    /// It failed to come up, or to stay up.
    PluginError,
    /// It does not come any further, and waiting does not help.
    PluginStalled,
    /// It had ready pods and has none any more, and is not meant to be stopped.
    PluginWithoutPods,
    /// Some of its pods get no requests, as they are not healthy.
    PluginPodsUnhealthy,
    /// So many of its pods cannot be asked that the gateway mistrusts itself.
    PluginUnanswered,
    /// It has lost a plugin that it needs or uses.
    PluginDegraded,
}

/// A label of alerts.
#[derive(
    Serialize, Deserialize, schemars::JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord,
)]
#[serde(rename_all = "lowercase")]
pub enum AlertLabel {
    /// What is wrong: an [`AlertName`].
    Alertname,
    /// The plugin's namespace.
    Namespace,
    /// The plugin's name.
    Plugin,
    /// critical: requests are not answered; warning: they still are.
    Severity,
}

impl Alerts {
    /// How long something must be wrong.
    pub fn hold(&self) -> Duration {
        self.r#for.unwrap_or(Duration::from_secs(60))
    }
}

impl AlertReceiver {
    /// Whether it is told of an alert.
    pub fn wants(&self, alert: AlertName) -> bool {
        self.alerts.is_empty() || self.alerts.contains(&alert)
    }
}

impl AlertName {
    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PluginUnhealthy => "PluginUnhealthy",
            Self::PluginError => "PluginError",
            Self::PluginStalled => "PluginStalled",
            Self::PluginWithoutPods => "PluginWithoutPods",
            Self::PluginPodsUnhealthy => "PluginPodsUnhealthy",
            Self::PluginUnanswered => "PluginUnanswered",
            Self::PluginDegraded => "PluginDegraded",
        }
    }
}

impl AlertLabel {
    /// The label's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alertname => "alertname",
            Self::Namespace => "namespace",
            Self::Plugin => "plugin",
            Self::Severity => "severity",
        }
    }
}
