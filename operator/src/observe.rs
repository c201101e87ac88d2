//! Reads what runs of a plugin from its Deployment and pods. Pure: no call is made, so whatever
//! is said about a plugin can be traced to an object that `kubectl get` shows.

use std::collections::BTreeMap;

use forward_crds::Word;
use forward_plan::{HookRun, Observed, Pod as PodFacts, PodPhase, Problem, Stage, Workload};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentStatus},
        batch::v1::{Job, JobCondition},
        core::v1::{
            ConfigMap, Container, ContainerState, ContainerStateTerminated, ContainerStateWaiting,
            ContainerStatus, Pod, Service, ServiceAccount,
        },
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Resource, ResourceExt};

use crate::{
    build::{
        CONFIG_HASH, CONTAINER, FALLBACK_TO_LOGS, HOOK_ID, HOOK_REVISION, REVISION, STAGE, STAGE_NOTE,
        TEMPLATE_HASH, VERSION,
    },
    hooks::{HookKind, Ran},
    kept::Keep,
    live::Live,
};

/// A run of this many seconds makes the kubelet begin anew with its pauses between restarts: the end
/// of such a run is the first of its kind, whatever the container's count says.
const LONG_RUN: i64 = 600;
/// What the API server calls the phases of a pod whose containers have all ended and are not started
/// again. A ReplicaSet counts such pods no more, and does not delete them when it goes to none.
const ENDED: [&str; 2] = ["Failed", "Succeeded"];
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

/// What is read from a Deployment.
#[derive(Debug)]
pub struct DeploymentFacts {
    workload: Workload,
    /// The hash of its template.
    template: Option<Word>,
    /// Its deadline in seconds, once that has passed.
    passed_deadline: Option<i32>,
}

/// What is read from a pod by itself.
#[derive(Debug)]
pub struct PodSeen {
    facts: PodFacts,
    /// What the [annotations that are asked for](ANNOTATIONS) say.
    annotations: [Option<Word>; ANNOTATIONS.len()],
}

/// The annotations of pods that are asked for.
const ANNOTATIONS: [&str; 4] = [TEMPLATE_HASH, CONFIG_HASH, HOOK_REVISION, STAGE_NOTE];

impl PodSeen {
    /// Whether its processes have ended for good.
    pub fn is_ended(&self) -> bool {
        self.facts.is_ended()
    }

    /// One of the annotations that are asked for.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        let place = ANNOTATIONS.iter().position(|it| *it == key)?;
        self.annotations[place].as_deref()
    }
}

impl Keep for Deployment {
    type Facts = DeploymentFacts;

    fn facts(&self) -> DeploymentFacts {
        DeploymentFacts {
            workload: workload(self),
            template: template_annotation(self, TEMPLATE_HASH).map(Word::from),
            passed_deadline: passed_deadline(self),
        }
    }
}

impl Keep for Pod {
    type Facts = PodSeen;
    const IS_COMPARED: bool = false;

    fn facts(&self) -> PodSeen {
        let annotations = self.annotations();
        let annotations = ANNOTATIONS.map(|key| annotations.get(key).map(Word::from));
        PodSeen { facts: pod_facts(self), annotations }
    }
}

impl Keep for ConfigMap {
    /// How far pods may go, by the spec that they are of.
    type Facts = Option<(String, Stage)>;

    fn facts(&self) -> Self::Facts {
        stage(self)
    }
}

impl Keep for Job {
    /// What is seen of a hook, and the id of its run.
    type Facts = Option<(String, Ran)>;
    const IS_COMPARED: bool = false;

    fn facts(&self) -> Self::Facts {
        Some((self.annotations().get(HOOK_ID)?.clone(), ran_by(self)))
    }
}

impl Keep for Service {
    type Facts = ();

    fn facts(&self) {}
}

impl Keep for ServiceAccount {
    type Facts = ();

    fn facts(&self) {}
}

impl Keep for NetworkPolicy {
    type Facts = ();

    fn facts(&self) {}
}

impl Keep for PodDisruptionBudget {
    type Facts = ();

    fn facts(&self) {}
}

/// What runs of a plugin.
pub fn observe(live: &Live) -> Observed {
    let deployment = live.deployment.as_deref().map(|deployment| &deployment.facts);
    Observed {
        workload: deployment.map(|deployment| deployment.workload.clone()),
        pods: live.pods.iter().map(|pod| pod_of(&pod.facts, deployment)).collect(),
        hooks: hooks(live),
        stages: live.config_maps.iter().filter_map(|map| map.facts.clone()).collect(),
    }
}

/// A pod as one of its Deployment's.
fn pod_of(pod: &PodSeen, deployment: Option<&DeploymentFacts>) -> PodFacts {
    let template = deployment.and_then(|deployment| deployment.template.as_deref());
    let mut facts = pod.facts.clone();
    facts.current = template.is_some() && pod.annotation(TEMPLATE_HASH) == template;
    let is_on_its_way = !matches!(facts.phase, PodPhase::Ready | PodPhase::Terminating | PodPhase::Ended);
    if facts.current && is_on_its_way && facts.problem.is_none() {
        let deadline = deployment.and_then(|deployment| deployment.passed_deadline);
        facts.problem = deadline.map(|after| overdue(facts.phase, after));
    }
    facts
}

/// What is seen of hooks, by the id of each run.
fn hooks(live: &Live) -> BTreeMap<String, HookRun> {
    let jobs = live.jobs.iter().filter_map(|job| job.facts.as_ref()).map(|(id, ran)| (id, ran));
    jobs.chain(&live.answers).map(|(id, ran)| (id.clone(), ran.run.clone())).collect()
}

/// What is seen of one run of a hook.
pub fn ran<'a>(live: &'a Live, id: &str) -> Option<&'a Ran> {
    let of_jobs = || live.jobs.iter().filter_map(|job| job.facts.as_ref()).find(|(of, _)| of == id);
    live.answers.get(id).or_else(|| of_jobs().map(|(_, ran)| ran))
}

fn ran_by(job: &Job) -> Ran {
    let going = Ran::untimed(HookKind::Job, HookRun::Going);
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_true = |type_: &str| {
        let mut conditions = conditions.into_iter().flatten();
        conditions.find(|condition| condition.type_ == type_ && condition.status == "True")
    };
    let took = |end: &JobCondition| {
        let (begin, end) = (job.creation_timestamp()?.0, end.last_transition_time.as_ref()?.0);
        // None where clocks were set meanwhile.
        end.duration_since(begin).try_into().ok()
    };
    if let Some(complete) = is_true("Complete") {
        return Ran { run: HookRun::Succeeded, took: took(complete), ..going };
    }
    let Some(failed) = is_true("Failed") else { return going };
    let said = failed.message.clone().unwrap_or_default();
    // The Job's policy has its status name the code.
    let code = said.split_once("exit code ").and_then(|(_, rest)| rest.split_whitespace().next());
    let late = failed.reason.as_deref() == Some("DeadlineExceeded");
    let why = match (late, code) {
        (true, _) => "did not end in time".to_owned(),
        (false, Some(code)) => format!("exited with code {code}"),
        (false, None) => said,
    };
    let message = format!("{why} (\"kubectl logs job/{}\" has what it wrote)", job.name_any());
    Ran { run: HookRun::Failed { message }, late, took: took(failed), ..going }
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
    let of_template = |key| Word::from(template_annotation(deployment, key).unwrap_or_default());
    let own = |key| deployment.annotations().get(key).map(Word::from);
    Workload {
        revision: own(REVISION).unwrap_or_default(),
        hook_revision: own(HOOK_REVISION).unwrap_or_default(),
        version: of_template(VERSION),
        config_hash: own(CONFIG_HASH).unwrap_or_else(|| of_template(CONFIG_HASH)),
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

/// A pod by itself: whether it is current, and late, its Deployment tells.
fn pod_facts(pod: &Pod) -> PodFacts {
    let container = container(pod);
    let phase = phase(pod, container);
    let problem = match phase {
        PodPhase::Ready | PodPhase::Terminating => None,
        PodPhase::Ended if pod.meta().deletion_timestamp.is_some() => None,
        PodPhase::Pending | PodPhase::Loaded | PodPhase::Initialized | PodPhase::Ended => {
            problem(pod, container)
        }
    };
    // Of a pod whose node was lost the status says for ever that it runs.
    let live = Some(phase).filter(|phase| *phase != PodPhase::Ended);
    PodFacts {
        name: pod.name_any().into(),
        current: false,
        phase,
        problem,
        version: pod.annotations().get(VERSION).map(Word::from).unwrap_or_default(),
        config_hash: pod.annotations().get(CONFIG_HASH).map(Word::from).unwrap_or_default(),
        created: pod.creation_timestamp(),
        up: live.and(container).and_then(|it| it.state.as_ref()?.running.as_ref()?.started_at.clone()),
        ready: live.and_then(|_| ready_since(pod)),
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
    let said = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if said.is_some_and(|phase| ENDED.contains(&phase)) {
        return PodPhase::Ended;
    }
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
    let Some(container) = container else { return rejected(pod).or_else(|| unschedulable(pod)) };
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

/// What the kubelet says of a pod that it did not take, or evicted before it had a container.
fn rejected(pod: &Pod) -> Option<Problem> {
    let status = pod.status.as_ref().filter(|_| phase(pod, None) == PodPhase::Ended)?;
    let message = status.message.clone().or_else(|| status.reason.clone())?;
    Some(Problem::CreateFailed { message })
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
    use serde::Deserialize;

    use super::*;
    use crate::{golden, live::Object};

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
            let pods = case.pods.into_iter().map(Object::from);
            let jobs = case.jobs.into_iter().map(Object::from);
            let config_maps = case.config_maps.into_iter().map(Object::from);
            let mut live = Live::default();
            for object in pods.chain(jobs).chain(config_maps).chain([case.deployment.into()]) {
                live.change(object, true);
            }
            serde_saphyr::to_string(&observe(&live)).unwrap()
        });
    }

    #[test]
    fn nothing_is_observed_of_nothing() {
        assert_eq!(observe(&Live::default()), Observed::default());
    }
}
