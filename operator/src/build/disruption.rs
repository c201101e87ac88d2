//! The PodDisruptionBudget of a plugin: a drained node takes one of its pods at a time.

use forward_crds::PLUGIN_LABEL;
use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kube::ResourceExt;

use super::{Input, metadata};

/// None for a plugin with one pod: that would hold up the drain of its node for good.
pub fn disruption_budget(input: &Input<'_>) -> Option<PodDisruptionBudget> {
    let name = input.plugin.name_any();
    (input.replicas > 1).then(|| PodDisruptionBudget {
        metadata: metadata(input.plugin, name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            // A pod that does not become ready must not keep its node from being drained.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            selector: Some(LabelSelector {
                match_labels: Some([(PLUGIN_LABEL.to_owned(), name)].into()),
                match_expressions: None,
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    })
}
