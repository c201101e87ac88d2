//! Builds the objects that run a plugin. Synchronous and pure: the same plugin and settings give
//! the same objects, byte by byte, so that a difference to what is there is a reason to write.

mod config;
mod container;
mod deployment;
mod disruption;
mod hook;
mod network;
mod service;
mod stage;

use forward_crds::{PLUGIN_LABEL, Plugin, PluginSystemSpec};
use forward_plan::Stage;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{Resource, ResourceExt};

pub use config::Config;
pub use container::FALLBACK_TO_LOGS;
pub use hook::{HookInput, hook};
pub use network::{HOOK_POLICY, Peers, Pods};

/// Annotation on a Deployment: the revision of the plugin that it was built from.
pub const REVISION: &str = "goforward.dev/revision";
/// Annotation on a pod template: the hash of the template, by which a pod is known as current.
pub const TEMPLATE_HASH: &str = "goforward.dev/template-hash";
/// Annotation on a pod template, or on the Deployment and pods of a plugin that takes new
/// configurations while it runs: the hash of the configuration.
pub const CONFIG_HASH: &str = "goforward.dev/config-hash";
/// Annotation on a pod: the version of the plugin that it runs; also a label, shortened to fit.
pub const VERSION: &str = "goforward.dev/version";
/// Annotation on a Deployment, and on pods that wait to be permitted and what permits them: the spec
/// that hooks were run for.
pub const HOOK_REVISION: &str = "goforward.dev/hook-revision";
/// Key of the ConfigMap, and name of the file, that says how far pods may go.
pub const STAGE: &str = "stage";
/// Annotation on a pod: how far it may go, as it was last told.
pub const STAGE_NOTE: &str = "goforward.dev/stage";
/// Label on the Job of a hook: the hook's name.
pub const HOOK: &str = "goforward.dev/hook";
/// Annotation on the Job of a hook: what tells the run from all others.
pub const HOOK_ID: &str = "goforward.dev/hook-id";
/// Label on the pods of a hook's Job: the plugin's name.
pub const HOOK_OF: &str = "goforward.dev/hook-of";
/// Name of the container, of its port and of the Service's port.
pub const CONTAINER: &str = "plugin";
pub const PORT: &str = "http";

/// The objects that run a plugin, in the order in which they are applied.
#[derive(Debug, PartialEq)]
pub struct Objects {
    /// Absent when the template names another account.
    pub service_account: Option<ServiceAccount>,
    pub config_map: ConfigMap,
    /// The hash of the configuration in it.
    pub config_hash: String,
    /// Absent where pods do not wait to be permitted.
    pub stage_map: Option<ConfigMap>,
    pub service: Service,
    pub network_policy: NetworkPolicy,
    /// Absent for a plugin with one pod, or none.
    pub disruption_budget: Option<PodDisruptionBudget>,
    pub deployment: Deployment,
}

/// What the namespace's PluginSystem and the operator add to a plugin.
pub struct Input<'a> {
    pub plugin: &'a Plugin,
    pub system: Option<&'a PluginSystemSpec>,
    pub peers: &'a Peers,
    /// What [`REVISION`] is to say.
    pub revision: &'a str,
    /// What [`HOOK_REVISION`] is to say; absent for a plugin without hooks that starts by itself.
    pub hooks: Option<&'a str>,
    /// How far pods may go; absent where they do not wait to be permitted.
    pub stage: Option<Stage>,
    /// Pods to run: those of the spec, or none for a stopped plugin.
    pub replicas: i32,
}

pub fn build(input: &Input<'_>) -> serde_json::Result<Objects> {
    let config = Config::of(input.plugin)?;
    Ok(Objects {
        service_account: service::account(input.plugin),
        service: service::service(input.plugin),
        network_policy: network::network_policy(input),
        disruption_budget: disruption::disruption_budget(input),
        deployment: deployment::deployment(input, &config)?,
        config_map: config.config_map,
        config_hash: config.hash,
        stage_map: stage::stage_map(input),
    })
}

/// Name, labels and owner of an object of the plugin.
fn metadata(plugin: &Plugin, name: String) -> ObjectMeta {
    let labels = [
        (PLUGIN_LABEL, plugin.name_any()),
        ("app.kubernetes.io/name", plugin.name_any()),
        ("app.kubernetes.io/managed-by", "forward".to_owned()),
    ];
    ObjectMeta {
        name: Some(name),
        namespace: plugin.namespace(),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value)).into()),
        owner_references: Some(owner(plugin).into_iter().collect()),
        ..ObjectMeta::default()
    }
}

/// The plugin as the controller of its objects; absent for a plugin that no server has seen.
fn owner(plugin: &Plugin) -> Option<OwnerReference> {
    plugin.controller_owner_ref(&())
}

/// Peers for tests.
#[cfg(test)]
pub fn peers() -> Peers {
    let pods = |namespace: &str, key: &str, value: &str| Pods {
        namespace: namespace.to_owned(),
        labels: [(key.to_owned(), value.to_owned())].into(),
    };
    Peers {
        gateway: pods("forward-system", "app.kubernetes.io/component", "gateway"),
        dns: pods("kube-system", "k8s-app", "kube-dns"),
    }
}

#[cfg(test)]
mod tests {
    use forward_crds::{PluginSystem, PluginSystemSpec};
    use forward_plan::Settings;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::{golden, live::Object};

    /// A case: a plugin, and what its namespace says.
    #[derive(Deserialize)]
    struct Case {
        plugin: Plugin,
        #[serde(default)]
        system: Option<PluginSystemSpec>,
        #[serde(default)]
        stopped: bool,
        /// The spec that hooks were run for.
        #[serde(default)]
        hooks: Option<String>,
        #[serde(default)]
        stage: Option<Stage>,
    }

    #[test]
    fn builds_the_objects_of_each_case() {
        let peers = peers();
        golden::check("build", "objects", 10, |case: Case| {
            // Nothing that is built from was taken off it.
            let Object::Plugin(plugin) = case.plugin.into() else { panic!("it is a Plugin") };
            let input = Input {
                plugin: &plugin,
                system: case.system.as_ref(),
                peers: &peers,
                revision: "3-0",
                hooks: case.hooks.as_deref(),
                stage: case.stage,
                replicas: if case.stopped { 0 } else { plugin.spec.replicas },
            };
            render(&build(&input).unwrap())
        });
    }

    /// What a PluginSystem can say that plugins are built from, and what it says to others.
    fn systems() -> Vec<PluginSystem> {
        let mut systems = Vec::new();
        for timeout in [json!(null), json!("30s"), json!("1m")] {
            for memory in [json!(null), json!("256Mi"), json!("64Mi")] {
                for cpu in [json!(null), json!("500m"), json!("1")] {
                    for (mode, rest) in [
                        (json!(null), json!({})),
                        (json!("All"), json!({"hosts": ["a.example"], "maxConcurrentRollouts": 2})),
                        (json!("Declared"), json!({"templates": {"serviceAccountNames": ["a"]}})),
                        (json!("None"), json!({})),
                    ] {
                        let sandbox = json!({"memory": memory, "cpu": cpu, "network": {"mode": mode}});
                        let mut spec = json!({"timeout": timeout, "sandbox": sandbox});
                        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
                        let system = json!({"metadata": {"name": "default"}, "spec": spec});
                        systems.push(serde_json::from_value(system).unwrap());
                    }
                }
            }
        }
        systems
    }

    #[test]
    fn a_revision_changes_exactly_when_what_is_built_does() {
        let peers = peers();
        let sandboxes = [
            json!({}),
            json!({"timeout": "5s"}),
            json!({"memory": "1Gi", "cpu": "2"}),
            json!({"network": {"mode": "All"}}),
            json!({"network": {"egress": [{"plugin": "stock"}]}}),
        ];
        for sandbox in sandboxes {
            let plugin: Plugin = serde_json::from_value(json!({
                "metadata": {"name": "cart", "generation": 1},
                "spec": {"version": "1.0.0", "image": "cart", "sandbox": sandbox},
            }))
            .unwrap();
            let built = |system: &PluginSystem| {
                let (system, replicas) = (Some(&system.spec), 1);
                let (revision, hooks, stage) = ("same", None, None);
                let (plugin, peers) = (&plugin, &peers);
                build(&Input { plugin, system, peers, revision, hooks, stage, replicas }).unwrap()
            };
            let systems = systems();
            let first = &systems[0];
            for (a, b) in systems.iter().map(|other| (first, other)).chain(systems.iter().zip(&systems[1..]))
            {
                let revision = |system| forward_plan::revision(&plugin, &Settings::from(Some(system)));
                let same = revision(a) == revision(b);
                assert_eq!(same, built(a) == built(b), "{} and {}", revision(a), revision(b));
            }
        }
    }

    #[test]
    fn a_changed_value_of_config_from_changes_the_pods_that_read_it_when_they_start() {
        let from = json!([{"path": "/key", "secretKeyRef": {"name": "stripe", "key": "key"}}]);
        let plugin = |changed: Option<&str>, reload: &str, from: &Value| -> Plugin {
            serde_json::from_value(json!({
                "metadata": {"name": "cart", "generation": 1},
                "spec": {"version": "1.0.0", "image": "cart", "reload": reload, "configFrom": from},
                "status": {"configFromChanged": changed},
            }))
            .unwrap()
        };
        for (reload, from, differs) in
            [("Rolling", &from, true), ("InPlace", &from, false), ("Rolling", &json!([]), false)]
        {
            let made = [None, Some("2026-01-01T00:00:00Z"), Some("2026-01-02T00:00:00Z")].map(|changed| {
                let plugin = plugin(changed, reload, from);
                let (peers, revision, hooks, stage, replicas) = (peers(), "same", None, None, 1);
                let plugin = &plugin;
                let input = Input { plugin, system: None, peers: &peers, revision, hooks, stage, replicas };
                (build(&input).unwrap(), forward_plan::revision(plugin, &Settings::default()))
            });
            for (a, b) in [(&made[0], &made[1]), (&made[1], &made[2])] {
                assert_eq!((a.0 != b.0, a.1 != b.1), (differs, differs), "{reload} {from}");
            }
        }
    }

    fn render(objects: &Objects) -> String {
        let Objects {
            service_account,
            config_map,
            config_hash: _,
            stage_map,
            service,
            network_policy,
            disruption_budget,
            deployment,
        } = objects;
        let documents = [
            service_account.as_ref().map(|object| serde_saphyr::to_string(object).unwrap()),
            Some(serde_saphyr::to_string(config_map).unwrap()),
            stage_map.as_ref().map(|object| serde_saphyr::to_string(object).unwrap()),
            Some(serde_saphyr::to_string(service).unwrap()),
            Some(serde_saphyr::to_string(network_policy).unwrap()),
            disruption_budget.as_ref().map(|object| serde_saphyr::to_string(object).unwrap()),
            Some(serde_saphyr::to_string(deployment).unwrap()),
        ];
        documents.into_iter().flatten().collect::<Vec<_>>().join("---\n")
    }
}
