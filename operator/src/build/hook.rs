//! The Job of a hook: a container that runs to its end in the plugin's own sandbox. Its pods are
//! none of the plugin's: no Service leads to them, and a policy of their own holds them.

use std::collections::BTreeMap;

use forward_crds::{HookJob, Plugin, PluginSystemSpec};
use forward_plan::HookCall;
use k8s_openapi::{
    api::{
        batch::v1::{
            Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
        },
        core::v1::{ConfigMap, Container, EnvVar, PodTemplateSpec, ServiceAccount},
        networking::v1::NetworkPolicy,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::ResourceExt;

use super::{
    CONTAINER, Config, HOOK, HOOK_ID, HOOK_OF, Input, Peers,
    container::{Limits, container},
    deployment::{pod, pod_labels},
    metadata, network, service,
};

/// How long a finished Job and its log are kept for people, in seconds.
const KEPT: i32 = 3_600;
/// What a process of a hook has from SIGTERM to SIGKILL, in seconds.
const GRACE: i64 = 5;
/// Most characters of a plugin's name in that of a Job: with the rest 63, what a label may have.
const NAME: usize = 46;

/// A hook that is a Job, and what it is run for.
pub struct HookInput<'a> {
    pub plugin: &'a Plugin,
    pub system: Option<&'a PluginSystemSpec>,
    pub peers: &'a Peers,
    pub call: &'a HookCall,
    pub job: &'a HookJob,
    /// Seconds that it may take.
    pub limit: i32,
    /// Why the plugin is where it is.
    pub message: &'a str,
}

/// A Job and what its pod needs, in the order in which they are applied.
pub struct HookObjects {
    /// Absent when the template names another account.
    pub service_account: Option<ServiceAccount>,
    pub config_map: ConfigMap,
    pub network_policy: NetworkPolicy,
    pub job: Job,
}

pub fn hook(input: &HookInput<'_>) -> serde_json::Result<HookObjects> {
    let HookInput { plugin, system, peers, .. } = *input;
    let build = Input { plugin, system, peers, revision: "", hooks: None, stage: None, replicas: 0 };
    let config = Config::fixed(plugin)?;
    Ok(HookObjects {
        service_account: service::account(plugin),
        network_policy: network::hook_policy(&build),
        job: job(input, &build, &config),
        config_map: config.config_map,
    })
}

fn job(input: &HookInput<'_>, build: &Input<'_>, config: &Config) -> Job {
    let HookInput { plugin, call, limit, .. } = *input;
    let mut metadata = metadata(plugin, name(plugin, call));
    metadata.labels.get_or_insert_default().insert(HOOK.to_owned(), call.hook.to_string());
    metadata.annotations.get_or_insert_default().insert(HOOK_ID.to_owned(), call.id.clone());
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(0),
            active_deadline_seconds: Some(limit.into()),
            ttl_seconds_after_finished: Some(KEPT),
            pod_failure_policy: Some(tell_exit_code()),
            template: template(input, build, config),
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn name(plugin: &Plugin, call: &HookCall) -> String {
    let mut name = plugin.name_any();
    name.truncate(NAME);
    format!("{}-hook-{}", name.trim_end_matches('-'), call.id)
}

/// With a policy the Job's own status says which exit code it was: no pod has to be watched.
fn tell_exit_code() -> PodFailurePolicy {
    PodFailurePolicy {
        rules: vec![PodFailurePolicyRule {
            action: "FailJob".to_owned(),
            on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                container_name: Some(CONTAINER.to_owned()),
                operator: "NotIn".to_owned(),
                values: vec![0],
            }),
            on_pod_conditions: None,
        }],
    }
}

fn template(input: &HookInput<'_>, build: &Input<'_>, config: &Config) -> PodTemplateSpec {
    let plugin = input.plugin;
    let limits = Limits::of(plugin, input.system);
    let overrides = plugin.spec.template.clone().unwrap_or_default();
    let (labels, annotations) = pod_labels(plugin, &overrides);
    let own = [(HOOK_OF.to_owned(), plugin.name_any()), network::reach_label(&plugin.name_any())];
    let mut pod = pod(build, &limits, *overrides, config);
    pod.containers = vec![run(input, container(build, &limits))];
    pod.restart_policy = Some("Never".to_owned());
    pod.termination_grace_period_seconds = Some(GRACE);
    let metadata = ObjectMeta {
        labels: Some(labels.into_iter().chain(own).collect()),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..ObjectMeta::default()
    };
    PodTemplateSpec { metadata: Some(metadata), spec: Some(pod) }
}

/// The plugin's container, running something else and answering nobody.
fn run(input: &HookInput<'_>, plugin: Container) -> Container {
    let HookJob { image, command, args, env } = input.job;
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    Container {
        image: image.clone().or(plugin.image),
        command: some(command),
        args: some(args),
        env: Some(environment(input, plugin.env.unwrap_or_default(), env)),
        ports: None,
        startup_probe: None,
        readiness_probe: None,
        liveness_probe: None,
        lifecycle: None,
        ..plugin
    }
}

/// The plugin's variables, what the hook is about, then its own, which replace others of their name.
fn environment(input: &HookInput<'_>, plugin: Vec<EnvVar>, own: &[EnvVar]) -> Vec<EnvVar> {
    let HookCall { hook, id, revision, since: _, going: _ } = input.call;
    let about = [
        ("GOFORWARD_HOOK", hook.to_string()),
        ("GOFORWARD_HOOK_ID", id.clone()),
        ("GOFORWARD_HOOK_REVISION", revision.clone()),
        ("GOFORWARD_HOOK_MESSAGE", input.message.to_owned()),
    ];
    let about =
        about.map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value), value_from: None });
    let own: BTreeMap<_, _> = own
        .iter()
        .filter(|variable| !variable.name.starts_with("GOFORWARD_"))
        .map(|variable| (&variable.name, variable))
        .collect();
    let rest = plugin.into_iter().filter(|variable| !own.contains_key(&variable.name));
    rest.chain(about).chain(own.values().map(|variable| (*variable).clone())).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::{build::peers, golden};

    /// A plugin, and a hook of it.
    #[derive(Deserialize)]
    struct Case {
        plugin: Plugin,
        #[serde(default)]
        system: Option<PluginSystemSpec>,
        hook: forward_crds::HookName,
    }

    fn call(hook: forward_crds::HookName) -> HookCall {
        let since = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        HookCall { hook, revision: "0a1b2c3d4e".to_owned(), id: "5f6a7b8c9d".to_owned(), since, going: false }
    }

    #[test]
    fn builds_the_job_of_each_case() {
        golden::check("hooks", "objects", 3, |case: Case| {
            let hook = case.plugin.spec.hooks.as_ref().and_then(|hooks| hooks.get(case.hook)).unwrap();
            let input = HookInput {
                plugin: &case.plugin,
                system: case.system.as_ref(),
                peers: &peers(),
                call: &call(case.hook),
                job: hook.job.as_ref().unwrap(),
                limit: hook.limit().whole_seconds(),
                message: "waits for its hook",
            };
            let HookObjects { service_account, config_map, network_policy, job } =
                super::hook(&input).unwrap();
            let documents = [
                service_account.map(|account| serde_saphyr::to_string(&account).unwrap()),
                Some(serde_saphyr::to_string(&config_map).unwrap()),
                Some(serde_saphyr::to_string(&network_policy).unwrap()),
                Some(serde_saphyr::to_string(&job).unwrap()),
            ];
            documents.into_iter().flatten().collect::<Vec<_>>().join("---\n")
        });
    }

    #[test]
    fn the_name_of_a_job_is_one_that_its_pods_can_be_labelled_with() {
        let named = |plugin: &str| {
            let plugin = json!({"metadata": {"name": plugin}, "spec": {"version": "1.0.0", "image": "a"}});
            name(&serde_json::from_value(plugin).unwrap(), &call(forward_crds::HookName::BeforeInitialize))
        };
        assert_eq!(named("cart"), "cart-hook-5f6a7b8c9d");
        assert_eq!(
            named(&format!("{}-{}", "a".repeat(45), "b".repeat(4))),
            format!("{}-hook-5f6a7b8c9d", "a".repeat(45))
        );
        assert!(named(&"a".repeat(50)).len() <= 63);
    }
}
