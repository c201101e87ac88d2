//! The Deployment of a plugin: a rolling update that never takes the last good pod away.

use std::collections::BTreeMap;

use forward_crds::{PLUGIN_LABEL, Plugin, PodTemplate, RESTART, Reload};
use forward_plan::restart;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        core::v1::{
            EmptyDirVolumeSource, PodSecurityContext, PodSpec, PodTemplateSpec, SeccompProfile, Volume,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kube::ResourceExt;

use super::{
    CONFIG_HASH, Config, HOOK_REVISION, Input, REVISION, TEMPLATE_HASH, VERSION,
    config::hash,
    container::{DRAIN, Limits, container, memory_volume},
    metadata, network, stage,
};

/// The user and group of a plugin's process.
const USER: i64 = 65_532;
/// Time beside Initialize and Start that a rollout may take: scheduling and pulling the image.
const ROLLOUT_SECONDS: i32 = 60;
/// Old ReplicaSets kept for people to look at; going back is applying the old spec.
const HISTORY: i32 = 3;

pub fn deployment(input: &Input<'_>, config: &Config) -> serde_json::Result<Deployment> {
    let plugin = input.plugin;
    let limits = Limits::of(plugin, input.system);
    let mut metadata = metadata(plugin, plugin.name_any());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(REVISION.to_owned(), input.revision.to_owned());
    annotations.extend(input.hooks.map(|revision| (HOOK_REVISION.to_owned(), revision.to_owned())));
    if plugin.spec.reload == Reload::InPlace {
        // Not in the template: that would replace the pods.
        annotations.insert(CONFIG_HASH.to_owned(), config.hash.clone());
    }
    // How long pods wait to be permitted is nobody's fault.
    let deadline = match input.stage {
        Some(_) => i32::MAX,
        None => limits.timeout.whole_seconds().saturating_mul(2).saturating_add(ROLLOUT_SECONDS),
    };
    Ok(Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(input.replicas),
            selector: LabelSelector {
                match_labels: Some([(PLUGIN_LABEL.to_owned(), plugin.name_any())].into()),
                match_expressions: None,
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_unavailable: Some(IntOrString::Int(0)),
                    max_surge: Some(IntOrString::String("25%".to_owned())),
                }),
            }),
            progress_deadline_seconds: Some(deadline),
            revision_history_limit: Some(HISTORY),
            template: template(input, &limits, config)?,
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

/// The pod template, annotated with its own hash.
fn template(input: &Input<'_>, limits: &Limits, config: &Config) -> serde_json::Result<PodTemplateSpec> {
    let plugin = input.plugin;
    let overrides = plugin.spec.template.clone().unwrap_or_default();
    let mut template = PodTemplateSpec {
        metadata: Some(pod_metadata(input, &overrides, config)),
        spec: Some(pod(input, limits, *overrides, config)),
    };
    let hash = hash(&[&serde_json::to_vec(&template)?]);
    let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
    annotations.insert(TEMPLATE_HASH.to_owned(), hash);
    Ok(template)
}

/// Labels and annotations that pods of the plugin and of its hooks have: those of the template that
/// are not ours, and the labels by which other plugins let them in.
pub fn pod_labels(
    plugin: &Plugin,
    overrides: &PodTemplate,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let foreign = |entries: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        entries
            .iter()
            .filter(|(key, _)| !key.starts_with("goforward.dev/"))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let mut labels = foreign(&overrides.labels);
    labels.extend(network::reach_labels(plugin));
    (labels, foreign(&overrides.annotations))
}

fn pod_metadata(input: &Input<'_>, overrides: &PodTemplate, config: &Config) -> ObjectMeta {
    let plugin = input.plugin;
    let (mut labels, mut annotations) = pod_labels(plugin, overrides);
    labels.extend(metadata(plugin, plugin.name_any()).labels.unwrap_or_default());
    labels.insert(VERSION.to_owned(), label_value(&plugin.spec.version));
    if plugin.spec.reload == Reload::Rolling {
        annotations.insert(CONFIG_HASH.to_owned(), config.hash.clone());
    }
    annotations.insert(VERSION.to_owned(), plugin.spec.version.clone());
    let waits = input.hooks.filter(|_| input.stage.is_some());
    annotations.extend(waits.map(|revision| (HOOK_REVISION.to_owned(), revision.to_owned())));
    annotations.extend(restart(plugin).map(|value| (RESTART.to_owned(), value.to_owned())));
    ObjectMeta { labels: Some(labels), annotations: Some(annotations), ..ObjectMeta::default() }
}

/// A version as a label's value, where `+` is not allowed; at most 63 characters.
pub fn label_value(version: &str) -> String {
    let mut value = version.replace('+', "_");
    value.truncate(63);
    value.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

pub fn pod(input: &Input<'_>, limits: &Limits, overrides: PodTemplate, config: &Config) -> PodSpec {
    let PodTemplate {
        labels: _,
        annotations: _,
        env: _,
        image_pull_secrets,
        service_account_name,
        node_selector,
        tolerations,
        affinity,
        topology_spread_constraints,
        priority_class_name,
    } = overrides;
    let own_account = service_account_name.is_none();
    let volumes = [
        Volume { name: "config".to_owned(), projected: Some(config.volume.clone()), ..Volume::default() },
        Volume {
            name: memory_volume(limits.filesystem).to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                medium: Some("Memory".to_owned()),
                size_limit: limits.tmp_size.clone(),
            }),
            ..Volume::default()
        },
    ];
    PodSpec {
        containers: vec![container(input, limits)],
        volumes: Some(volumes.into_iter().chain(stage::volume(input)).collect()),
        service_account_name: Some(service_account_name.unwrap_or_else(|| input.plugin.name_any())),
        automount_service_account_token: own_account.then_some(false),
        // Kubernetes' variables for every Service of the namespace are not part of the contract,
        // and would make pods of the same template differ.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(grace_seconds(limits)),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        image_pull_secrets: some(image_pull_secrets),
        node_selector: (!node_selector.is_empty()).then_some(node_selector),
        tolerations: some(tolerations),
        affinity,
        topology_spread_constraints: some(topology_spread_constraints),
        priority_class_name,
        ..PodSpec::default()
    }
}

/// The drain, then as long as open requests may take, then as long as Stop may take, and a rest for
/// the process to end by itself.
fn grace_seconds(limits: &Limits) -> i64 {
    let timeout = i64::from(limits.timeout.whole_seconds());
    i64::from(DRAIN.whole_seconds()) + 2 * timeout + 10
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_becomes_a_label_value() {
        assert_eq!(label_value("1.2.0-rc.1+build.7"), "1.2.0-rc.1_build.7");
        let long = format!("1.0.0-{}.tail", "a".repeat(56));
        assert!(label_value(&long).len() <= 63);
        assert!(!label_value(&long).ends_with('.'));
    }
}
