//! Reads what runs of a plugin from its Deployment and pods. Pure: no call is made, so whatever
//! is said about a plugin can be traced to an object that `kubectl get` shows.

use std::collections::BTreeMap;

use forward_plan::{HookRun, Observed, Pod as PodFacts, PodPhase, Problem, Stage, Workload};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentStatus},
        batch::v1::Job,
        core::v1::{
            ConfigMap, Container, ContainerState, ContainerStateTerminated, ContainerStateWaiting,
            ContainerStatus, Pod,
        },
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Resource, ResourceExt};

use crate::{
    build::{
        CONFIG_HASH, CONTAINER, FALLBACK_TO_LOGS, HOOK_ID, HOOK_REVISION, REVISION, STAGE, TEMPLATE_HASH,
        VERSION,
    },
    index::Live,
};

/// A run of this many seconds makes the kubelet begin anew with its pauses between restarts: the end
/// of such a run is the first of its kind, whatever the container's count says.
const LONG_RUN: i64 = 600;
/// Reasons of the kubelet for an image that it could not get.
const IMAGE_REASONS: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];
/// Reasons of the kubelet for a container that it could not make.
const CREATE_REASONS: [&str; 5] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreCreateHookError",
    "PostStartHookError",
];

pub fn observe(live: &Live) -> Observed {
    let deadline = live.deployment.as_deref().and_then(passed_deadline);
    let template =
        live.deployment.as_deref().and_then(|deployment| template_annotation(deployment, TEMPLATE_HASH));
    let pods = live.pods.values().map(|pod| pod_facts(pod, template, deadline)).collect();
    Observed {
        workload: live.deployment.as_deref().map(workload),
        pods,
        hooks: hooks(live),
        stages: live.config_maps.values().filter_map(|map| stage(map)).collect(),
    }
}

/// What is seen of hooks, by the id of each run.
fn hooks(live: &Live) -> BTreeMap<String, HookRun> {
    let jobs = live.jobs.values().filter_map(|job| Some((job.annotations().get(HOOK_ID)?.clone(), run(job))));
    let mut runs: BTreeMap<_, _> = jobs.collect();
    runs.extend(live.answers.clone());
    runs
}

fn run(job: &Job) -> HookRun {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_true = |type_: &str| {
        let mut conditions = conditions.into_iter().flatten();
        conditions.find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    if is_true("Complete").is_some() {
        return HookRun::Succeeded;
    }
    let Some(failed) = is_true("Failed") else { return HookRun::Going };
    let said = failed.message.clone().unwrap_or_default();
    // The Job's policy has its status name the code.
    let code = said.split_once("exit code ").and_then(|(_, rest)| rest.split_whitespace().next());
    let why = match (failed.reason.as_deref(), code) {
        (Some("DeadlineExceeded"), _) => "did not end in time".to_owned(),
        (_, Some(code)) => format!("exited with code {code}"),
        (_, None) => said,
    };
    HookRun::Failed { message: format!("{why} (\"kubectl logs job/{}\" has what it wrote)", job.name_any()) }
}

/// How far pods may go, by the spec that they are of.
fn stage(map: &ConfigMap) -> Option<(String, Stage)> {
    let said = map.data.as_ref()?.get(STAGE)?;
    let stage = Stage::ALL.into_iter().find(|stage| stage.as_str() == said)?;
    Some((map.annotations().get(HOOK_REVISION)?.clone(), stage))
}

fn workload(deployment: &Deployment) -> Workload {
    let DeploymentStatus {
        observed_generation,
        replicas,
        updated_replicas,
        ready_replicas,
        available_replicas,
        ..
    } = deployment.status.clone().unwrap_or_default();
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let (total, updated) = (replicas.unwrap_or(0), updated_replicas.unwrap_or(0));
    let seen = observed_generation >= deployment.metadata.generation;
    let annotation = |key| template_annotation(deployment, key).unwrap_or_default().to_owned();
    Workload {
        revision: deployment.annotations().get(REVISION).cloned().unwrap_or_default(),
        hook_revision: deployment.annotations().get(HOOK_REVISION).cloned().unwrap_or_default(),
        version: annotation(VERSION),
        config_hash: match deployment.annotations().get(CONFIG_HASH) {
            Some(hash) => hash.clone(),
            None => annotation(CONFIG_HASH),
        },
        replicas: wanted,
        total_replicas: total,
        updated_replicas: updated,
        ready_replicas: ready_replicas.unwrap_or(0),
        rolled_out: seen
            && updated == wanted
            && total == wanted
            && available_replicas.unwrap_or(0) == wanted
            && ready_replicas.unwrap_or(0) == wanted,
        progress_deadline_exceeded: seen && passed_deadline(deployment).is_some(),
        pods_refused: pods_refused(deployment).filter(|_| seen),
    }
}

/// What the API server said when the Deployment's ReplicaSet could not make a pod: no such
/// ServiceAccount, a quota that is used up, a policy.
fn pods_refused(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    failure.message.clone().or_else(|| failure.reason.clone())
}

/// The deadline in seconds, once the Deployment controller says that it has passed.
fn passed_deadline(deployment: &Deployment) -> Option<i32> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let passed = conditions.iter().any(|condition| {
        condition.type_ == "Progressing" && condition.reason.as_deref() == Some("ProgressDeadlineExceeded")
    });
    passed.then(|| deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds).unwrap_or(600))
}

fn template_annotation<'a>(deployment: &'a Deployment, key: &str) -> Option<&'a str> {
    let template = deployment.spec.as_ref()?.template.metadata.as_ref()?;
    template.annotations.as_ref()?.get(key).map(String::as_str)
}

fn pod_facts(pod: &Pod, template: Option<&str>, deadline: Option<i32>) -> PodFacts {
    let container = container(pod);
    let phase = phase(pod, container);
    let current = template.is_some() && pod.annotations().get(TEMPLATE_HASH).map(String::as_str) == template;
    let problem = match phase {
        PodPhase::Ready | PodPhase::Terminating => None,
        _ => problem(pod, container)
            .or_else(|| deadline.filter(|_| current).map(|after| overdue(phase, after))),
    };
    PodFacts {
        name: pod.name_any(),
        current,
        phase,
        problem,
        version: pod.annotations().get(VERSION).cloned().unwrap_or_default(),
        config_hash: pod.annotations().get(CONFIG_HASH).cloned().unwrap_or_default(),
        created: pod.creation_timestamp(),
        up: container.and_then(|container| container.state.as_ref()?.running.as_ref()?.started_at.clone()),
        ready: ready_since(pod),
    }
}

fn ready_since(pod: &Pod) -> Option<Time> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready =
        conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    ready.last_transition_time.clone()
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.iter().find(|container| container.name == CONTAINER)
}

fn phase(pod: &Pod, container: Option<&ContainerStatus>) -> PodPhase {
    if pod.meta().deletion_timestamp.is_some() {
        return PodPhase::Terminating;
    }
    let Some(container) = container else { return PodPhase::Pending };
    let running = container.state.as_ref().is_some_and(|state| state.running.is_some());
    match (running, container.started.unwrap_or(false), container.ready) {
        (false, _, _) => PodPhase::Pending,
        (true, false, _) => PodPhase::Loaded,
        (true, true, false) => PodPhase::Initialized,
        (true, true, true) => PodPhase::Ready,
    }
}

fn problem(pod: &Pod, container: Option<&ContainerStatus>) -> Option<Problem> {
    let Some(container) = container else { return unschedulable(pod) };
    let state = container.state.clone().unwrap_or_default();
    if let Some(ContainerStateWaiting { reason: Some(reason), message }) = &state.waiting {
        let message = message.clone().unwrap_or_else(|| reason.clone());
        if IMAGE_REASONS.contains(&reason.as_str()) {
            return Some(Problem::ImageNotPulled { image: container.image.clone(), message });
        }
        if CREATE_REASONS.contains(&reason.as_str()) {
            return Some(Problem::CreateFailed { message });
        }
    }
    let ended = |state: ContainerState| state.terminated;
    let last = ended(state).or_else(|| container.last_state.clone().and_then(ended))?;
    Some(exit(pod, &last, container.restart_count))
}

fn exit(pod: &Pod, ended: &ContainerStateTerminated, restarts: i32) -> Problem {
    let restarts = if ran_long(ended) { 0 } else { restarts };
    if ended.reason.as_deref() == Some("OOMKilled") {
        return Problem::OutOfMemory { limit: memory_limit(pod).unwrap_or_default(), restarts };
    }
    let message = ended.message.as_deref().unwrap_or_default().trim();
    let logged =
        spec(pod).is_some_and(|spec| spec.termination_message_policy.as_deref() == Some(FALLBACK_TO_LOGS));
    // The end of a log is many lines, of which the last says most.
    let message = if logged { message.lines().next_back().unwrap_or_default() } else { message };
    Problem::Exited { code: ended.exit_code, message: message.to_owned(), restarts }
}

fn ran_long(ended: &ContainerStateTerminated) -> bool {
    let span = ended.started_at.as_ref().zip(ended.finished_at.as_ref());
    span.is_some_and(|(started, finished)| started.0.duration_until(finished.0).as_secs() >= LONG_RUN)
}

fn spec(pod: &Pod) -> Option<&Container> {
    pod.spec.as_ref()?.containers.iter().find(|container| container.name == CONTAINER)
}

fn memory_limit(pod: &Pod) -> Option<String> {
    let limits: &BTreeMap<_, _> = spec(pod)?.resources.as_ref()?.limits.as_ref()?;
    limits.get("memory").map(|memory| memory.0.clone())
}

fn unschedulable(pod: &Pod) -> Option<Problem> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions.iter().find(|condition| {
        condition.type_ == "PodScheduled" && condition.reason.as_deref() == Some("Unschedulable")
    })?;
    Some(Problem::Unschedulable { message: condition.message.clone().unwrap_or_default() })
}

/// What is wrong with a pod that gave no reason until the deadline passed.
fn overdue(phase: PodPhase, seconds: i32) -> Problem {
    match phase {
        PodPhase::Pending => Problem::CreateFailed {
            message: format!(
                "no container after {seconds} s; the usual cause is a Secret or ConfigMap of configFrom that does not exist"
            ),
        },
        _ => Problem::NeverReady { after: format!("{seconds}s") },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde::Deserialize;

    use super::*;
    use crate::golden;

    /// Objects as a cluster showed them.
    #[derive(Deserialize)]
    struct Case {
        deployment: Deployment,
        pods: Vec<Pod>,
        #[serde(default)]
        jobs: Vec<Job>,
        #[serde(default)]
        config_maps: Vec<ConfigMap>,
    }

    #[test]
    fn observes_each_case() {
        golden::check("observe", "observed", 10, |case: Case| {
            let pods = case.pods.into_iter().map(|pod| (pod.name_any(), Arc::new(pod))).collect();
            let jobs = case.jobs.into_iter().map(|job| (job.name_any(), Arc::new(job))).collect();
            let config_maps = case.config_maps.into_iter().map(|map| (map.name_any(), Arc::new(map)));
            let (deployment, config_maps) = (Some(Arc::new(case.deployment)), config_maps.collect());
            let live = Live { deployment, pods, jobs, config_maps, ..Live::default() };
            serde_saphyr::to_string(&observe(&live)).unwrap()
        });
    }

    #[test]
    fn nothing_is_observed_of_nothing() {
        assert_eq!(observe(&Live::default()), Observed::default());
    }
}
